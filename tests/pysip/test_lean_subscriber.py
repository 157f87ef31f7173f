"""Conditions, rates, changes and pauses of a subscriber (events.md F, I; RFC 5839, RFC 6446)."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable
from typing import Any

import attrs
from twisted.trial import unittest

from pysip.event.changes import ChangeRefusedError
from pysip.event.conditions import Conditions
from pysip.event.rates import Rates, format_rate, read_rates
from pysip.event.subscriber import NotifyRouter, Subscriber
from pysip.event.terms import SubscriptionTerms
from pysip.event.wishes import pausing
from pysip.message import Request, Response
from pysip.ua import ServerRequest
from tests.pysip.scripted import Pair, accept, answer, ignore
from tests.pysip.test_subscriber import Recorder

FILTER = "application/simple-filter+xml"
PIDF = "application/pidf+xml"
DIFF = "application/pidf-diff+xml"

quiet = answer(204, ("Expires", "3600"))


class LeanTests(unittest.SynchronousTestCase):
    """A subscriber and a scripted notifier."""

    def setUp(self) -> None:
        """Nothing is subscribed to yet."""
        self.pair = Pair()
        self.router = NotifyRouter(self.pair.client)
        self.told = Recorder()
        self.terms = SubscriptionTerms(
            uri="sip:bob@example.com",
            local_uri="<sip:alice@example.com>",
            package="presence",
            contact=lambda: self.pair.contact,
            accept=(PIDF,),
            conditional=True,
        )
        self.pair.script("SUBSCRIBE", accept)

    def subscribe(self, **changes: Any) -> Subscriber:
        """Subscribe, and let the SUBSCRIBE be answered."""
        self.terms = attrs.evolve(self.terms, **changes)
        subscriber = Subscriber(self.router, self.terms, self.told)
        subscriber.subscribe()
        self.pair.run()
        return subscriber

    def establish(self, tag: str | None = "a1", **changes: Any) -> Subscriber:
        """Subscribe and be notified once."""
        subscriber = self.subscribe(**changes)
        self.notify(b"one", tag)
        return subscriber

    def notify(
        self,
        body: bytes = b"",
        tag: str | None = None,
        state: str = "active;expires=3600",
        content_type: str = PIDF,
        **headers: str,
    ) -> Response:
        """Send a NOTIFY; the answer."""
        fields: dict[str, str | None] = {k.replace("_", "-"): v for k, v in headers.items()}
        if tag is not None:
            fields["SIP-ETag"] = tag
        answers = self.pair.notify(
            self.last, state, body=body, content_type=content_type, headers=fields
        )
        self.pair.run()
        return answers[0]

    @property
    def last(self) -> Request:
        """The last SUBSCRIBE."""
        return self.pair.received[-1]

    @property
    def count(self) -> int:
        """SUBSCRIBEs received."""
        return len(self.pair.received)

    @property
    def condition(self) -> str | None:
        """Suppress-If-Match of the last SUBSCRIBE."""
        return self.last.first("suppress-if-match")

    def refresh(self, subscriber: Subscriber) -> None:
        """A refresh as when it is due."""
        subscriber.refresh(full=False)
        self.pair.run()


class ConditionTests(LeanTests):
    """RFC 5839 section 5."""

    def test_only_when_wanted(self) -> None:
        """SNE-03: without the wish no SUBSCRIBE has a condition."""
        subscriber = self.establish(conditional=False)
        self.refresh(subscriber)
        self.assertEqual((self.count, self.condition), (2, None))

    def test_every_tag_is_stored(self) -> None:
        """SNE-15: the tag of each NOTIFY with a state, also one that was seen before."""
        subscriber = self.establish()
        for tag in ("b2", "a1", "a1", "%7E!x.*`'~"):
            self.notify(b"other", tag)
            self.refresh(subscriber)
            self.assertEqual(self.condition, tag, "octet by octet (SNE-14)")

    def test_unusable_tags(self) -> None:
        """SNE-14: what is no token, or is the wildcard, is no tag."""
        for tag in ("*", "a b", '"a"', "a,b", ""):
            self.setUp()
            subscriber = self.establish(tag)
            self.refresh(subscriber)
            self.assertIsNone(self.condition, tag)

    def test_tag_goes_with_its_state(self) -> None:
        """SNE-15: a state without tag replaces one with a tag; no state replaces nothing."""
        subscriber = self.establish()
        self.notify(state="pending;expires=3600")
        self.refresh(subscriber)
        self.assertEqual(self.condition, "a1")
        self.notify(b"untagged")
        self.refresh(subscriber)
        self.assertIsNone(self.condition)

    def test_nothing_is_a_state(self) -> None:
        """SNE-15: without a condition in force, a tag without body names the empty state."""
        subscriber = self.subscribe()
        self.notify(tag="e0", state="pending;expires=3600")
        self.refresh(subscriber)
        self.assertEqual(self.condition, "e0")

    def test_no_notification(self) -> None:
        """SNE-15, SBR-02: after a 204 nothing is waited for and nothing has changed."""
        subscriber = self.establish()
        self.pair.script("SUBSCRIBE", answer(204, ("Expires", "600")))
        self.refresh(subscriber)
        self.pair.run(40)
        self.assertEqual((subscriber.state, self.told.ends), ("active", []))
        self.assertEqual(len(self.told.notifications), 1)
        self.pair.run(300, step=1)
        self.assertEqual((self.count, self.condition), (3, "a1"), "the lifetime is that of the 204")

    def test_full_state(self) -> None:
        """SBR-06: who has lost the state asks without condition, until there is one again."""
        subscriber = self.establish()
        subscriber.refresh()
        self.pair.run()
        self.assertIsNone(self.condition)
        self.notify(tag="a1")
        self.refresh(subscriber)
        self.assertIsNone(self.condition, "the state that this names is not at hand")
        self.notify(b"again", "a1")
        self.refresh(subscriber)
        self.assertEqual(self.condition, "a1")

    def test_resumes_after_loss(self) -> None:
        """SNE-03: a new subscription in place of a lost one has the last tag."""
        self.establish()
        self.notify(state="terminated;reason=deactivated")
        self.pair.run(0.1)
        self.assertEqual((self.last.to.tag, self.condition), ("", "a1"))
        self.notify(tag="a1")
        self.assertEqual(self.told.notifications[-1], ("active", "", b""))

    def test_resumes_after_restart(self) -> None:
        """SNE-03: a state that was kept from an earlier run is not notified again."""
        subscriber = self.subscribe(tag="kept7")
        self.assertEqual(self.condition, "kept7")
        self.notify(tag="kept7")
        self.refresh(subscriber)
        self.assertEqual(self.condition, "kept7")
        self.assertEqual(Conditions("*").tag, "")

    def test_conditional_end(self) -> None:
        """SNE-15: a 204 concludes an un-SUBSCRIBE; a 200 is followed by a NOTIFY as ever."""
        for script, over in ((quiet, True), (accept, False)):
            self.setUp()
            subscriber = self.establish()
            self.pair.script("SUBSCRIBE", script)
            done = subscriber.unsubscribe()
            self.pair.run()
            self.assertEqual((self.condition, self.last.first("expires")), ("a1", "0"))
            self.assertEqual(len(self.router), 0 if over else 1)
            if not over:
                self.notify(tag="a1", state="terminated;reason=timeout")
            self.successResultOf(done)
            self.pair.run(70, step=1)
            self.assertEqual((self.count, len(self.pair.client.wheel)), (2, 0))

    def test_end_after_a_failed_refresh(self) -> None:
        """SBR-05: a refresh that fails while the end waits does not take its place."""
        subscriber = self.establish()
        self.pair.script("SUBSCRIBE", answer(503), quiet)
        subscriber.refresh(full=False)
        done = subscriber.unsubscribe()
        self.pair.run()
        self.assertEqual((self.count, self.last.first("expires")), (3, "0"))
        self.successResultOf(done)


class FallbackTests(LeanTests):
    """SNE-12: peers that stumble over conditions (RFC 5839 section 5.8)."""

    def test_swallowed_initial_notify(self) -> None:
        """SNE-12: a NOTIFY without body never came: the next attempt has no condition."""
        subscriber = self.subscribe(tag="kept7")
        self.pair.run(39)
        self.assertEqual((self.count, self.condition), (2, None))
        self.notify(b"whole", "b2")
        self.refresh(subscriber)
        self.assertEqual(self.condition, "b2", "once may be chance")
        self.pair.run(33)
        self.assertEqual((self.count, self.condition), (4, None))
        self.notify(b"whole", "b2")
        self.refresh(subscriber)
        self.assertIsNone(self.condition, "twice is not")

    def test_swallowed_refresh(self) -> None:
        """SNE-12: a device that missed the NOTIFY after a refresh and ends the dialog."""
        subscriber = self.establish()
        for round_ in range(2):
            self.pair.script("SUBSCRIBE", quiet, answer(481), accept)
            self.refresh(subscriber)
            self.refresh(subscriber)
            self.pair.run(30, step=1)
            self.assertEqual(self.last.to.tag, "")
            self.assertEqual(self.condition, None if round_ else "a1")
            self.notify(b"whole", "a1")
        self.refresh(subscriber)
        self.assertIsNone(self.condition)

    def test_dialog_outlives_silence(self) -> None:
        """SNE-12: a server that was started anew is no device that minds conditions."""
        subscriber = self.establish()
        for _ in range(3):
            self.pair.script("SUBSCRIBE", quiet, quiet, answer(481), accept)
            for _ in range(3):
                self.refresh(subscriber)
                self.assertEqual(self.condition, "a1")
            while self.last.to.tag:
                self.pair.run(1, step=1)
            self.assertEqual(self.condition, "a1")
            self.notify(tag="a1")

    def test_refused(self) -> None:
        """SNE-12: a 400 may be meant for the condition, inside a dialog and outside."""
        subscriber = self.establish()
        self.pair.script("SUBSCRIBE", answer(400), accept)
        self.refresh(subscriber)
        self.assertEqual((self.count, self.condition), (3, None))
        self.assertEqual(self.told.ends, [])
        self.setUp()
        self.pair.script("SUBSCRIBE", answer(400), accept)
        self.subscribe(tag="kept7")
        self.pair.run(0.1)
        self.assertEqual((self.count, self.condition), (2, None))
        self.assertEqual(self.told.failures, [(400, 0.0)])

    def test_refused_without_condition(self) -> None:
        """A 400 to a SUBSCRIBE without condition is not tried again."""
        self.pair.script("SUBSCRIBE", answer(400))
        self.subscribe()
        self.pair.run(20)
        self.assertEqual((self.count, self.told.failures), (1, [(400, None)]))

    def test_dead_server(self) -> None:
        """SNE-12: a server that does not answer at all has nothing against conditions."""
        self.pair.script("SUBSCRIBE", ignore, ignore, ignore, accept)
        subscriber = self.subscribe(tag="kept7")
        self.pair.run(150, step=1)
        self.notify(tag="kept7")
        self.refresh(subscriber)
        self.assertEqual(self.condition, "kept7")

    def test_nothing_notified_outside(self) -> None:
        """SNE-12: a 204 to an initial SUBSCRIBE, which no notifier may send, is no success."""
        self.pair.script("SUBSCRIBE", quiet, accept)
        self.subscribe(tag="kept7")
        self.pair.run(39)
        self.assertEqual((self.count, self.condition), (2, None))


class SuspendTests(LeanTests):
    """RFC 5839 section 5.2, RFC 6446 section 5.3 (OM2-08)."""

    def test_wildcard(self) -> None:
        """SNE-09, OM2-08: suspended by the wildcard, also in refreshes; resumed with the tag."""
        subscriber = self.establish(conditional=False)
        self.pair.script("SUBSCRIBE", quiet)
        subscriber.suspend()
        subscriber.suspend()
        self.pair.run()
        self.assertEqual((self.count, self.condition), (2, "*"))
        self.notify(tag="b2", state="pending;expires=3600")
        self.refresh(subscriber)
        self.assertEqual(self.condition, "*")
        subscriber.resume()
        subscriber.resume()
        self.pair.run()
        self.assertEqual((self.count, self.condition), (4, "a1"))
        self.refresh(subscriber)
        self.assertIsNone(self.condition, "as wanted (SNE-09)")

    def test_suspended_at_once(self) -> None:
        """SNE-09: before the first NOTIFY it is not known how; then it is done."""
        subscriber = self.subscribe()
        subscriber.suspend()
        self.pair.run()
        self.assertEqual(self.count, 1)
        self.notify(b"one", "a1")
        self.assertEqual((self.count, self.condition), (2, "*"))

    def test_lost_while_suspended(self) -> None:
        """SNE-09: a subscription made anew is suspended as well, and resumed with the old tag."""
        subscriber = self.establish()
        subscriber.suspend()
        self.pair.run()
        self.notify(state="terminated;reason=deactivated")
        self.pair.run(0.1)
        self.assertEqual((self.last.to.tag, self.condition), ("", "*"))
        self.notify(tag="c3")
        subscriber.resume()
        self.pair.run()
        self.assertEqual(self.condition, "a1", "c3 was never seen (SNE-15)")

    def test_lowest_rate(self) -> None:
        """RAT-14, OM2-08: where states have no tags the rate is 1 in the whole lifetime."""
        subscriber = self.establish(None, rates=Rates(0.5), expires=600)
        self.assertEqual(self.last.first("event"), "presence;max-rate=0.5")
        subscriber.suspend()
        self.pair.run()
        self.assertEqual(self.last.first("event"), "presence;max-rate=0.0016666667")
        self.assertIsNone(self.condition)
        self.notify(b"one")
        subscriber.resume()
        self.pair.run()
        self.assertEqual(self.last.first("event"), "presence;max-rate=0.5")
        self.notify(b"one")
        subscriber.suspend()
        subscriber.unsubscribe()
        self.pair.run()
        self.assertEqual(self.last.first("expires"), "0")

    def test_end_while_suspended(self) -> None:
        """SNE-09: the end of a suspended subscription needs no state either."""
        subscriber = self.establish()
        self.pair.script("SUBSCRIBE", quiet)
        subscriber.suspend()
        done = subscriber.unsubscribe()
        self.pair.run()
        self.assertEqual((self.condition, self.last.first("expires")), ("*", "0"))
        self.successResultOf(done)


class RateTests(LeanTests):
    """RFC 6446 sections 4.1, 5.1, 6.1, 7.1 and 9."""

    def test_adopted(self) -> None:
        """RAT-01, RAT-03: each NOTIFY tells what the notifier has adopted; bad values count not."""
        subscriber = self.establish(rates=Rates(0.2, 0.001, 0.01))
        self.assertEqual(
            self.last.first("event"), "presence;max-rate=0.2;min-rate=0.001;adaptive-min-rate=0.01"
        )
        self.assertEqual(subscriber.adopted, Rates())
        self.notify(b"x", state="active;expires=3000;max-rate=0.1;min-rate=0;adaptive-min-rate=x")
        self.assertEqual(subscriber.adopted, Rates(0.1))
        self.notify(b"x", state="active;expires=3000")
        self.assertFalse(subscriber.adopted)

    def test_sensible(self) -> None:
        """RAT-14: min < adaptive < max, and nothing that cannot be written (RAT-01)."""
        for rates in (
            Rates(0.1, 0.2),
            Rates(0.0, 0.1, 0.1),
            Rates(0.1, 0.0, 0.1),
            Rates(100.0),
            Rates(0.0, -1.0),
            Rates(0.0, 0.0, float("nan")),
        ):
            with self.assertRaises(ValueError, msg=str(rates)):
                attrs.evolve(self.terms, rates=rates)
        for rates in (Rates(), Rates(0.1, 0.1), Rates(0.3, 0.1, 0.2)):
            self.assertEqual(attrs.evolve(self.terms, rates=rates).rates, rates)

    def test_written(self) -> None:
        """RAT-01: no exponent, no more than ten decimals; what is written is read."""
        for rate in (1e-10, 0.2, 1.0, 1 / 3, 99.9999999999, pausing(4294967295).maximum):
            text = format_rate(rate)
            self.assertLessEqual(len(text.partition(".")[2]), 10)
            found = read_rates({"max-rate": text}).maximum
            self.assertAlmostEqual(found, rate, 10)

    def test_in_answer(self) -> None:
        """RAT-13: all wishes in the next 2xx to NOTIFY, once; not in a refusal of it."""
        subscriber = self.establish(rates=Rates(0.2), event_id="7")
        subscriber.pace(Rates(1.0, 0.1))
        refused = self.notify(b"x", content_type="text/plain")
        self.assertEqual((refused.status, refused.first("event")), (415, None))
        event = self.notify(b"x").first("event")
        self.assertEqual(event, "presence;max-rate=1;min-rate=0.1", "no other parameters")
        self.assertIsNone(self.notify(b"x").first("event"))
        self.assertEqual(self.count, 1)
        subscriber.pace(Rates())
        self.assertEqual(self.notify(b"x").first("event"), "presence")
        with self.assertRaises(ValueError):
            subscriber.pace(Rates(0.1, 0.2))

    def test_in_subscribe(self) -> None:
        """RAT-13: where the last SUBSCRIBE has no rate, another SUBSCRIBE tells it."""
        subscriber = self.establish()
        subscriber.pace(Rates(1.0))
        self.pair.run()
        self.assertEqual((self.count, self.last.first("event")), (2, "presence;max-rate=1"))
        self.assertIsNone(self.notify(b"x").first("event"))
        subscriber.pace(Rates(0.5))
        self.refresh(subscriber)
        self.assertEqual(self.last.first("event"), "presence;max-rate=0.5")
        self.assertIsNone(self.notify(b"x").first("event"), "told already")

    def test_kept(self) -> None:
        """RAT-03: every SUBSCRIBE has the wishes, also of a subscription made anew."""
        subscriber = self.establish(rates=Rates(0.2))
        subscriber.change(rates=Rates(0.4))
        self.pair.run()
        self.notify(b"x")
        self.refresh(subscriber)
        self.assertEqual(self.last.first("event"), "presence;max-rate=0.4")
        self.assertEqual(self.condition, None, "this x has no tag")
        self.notify(state="terminated;reason=deactivated")
        self.pair.run(0.1)
        self.assertEqual(self.last.first("event"), "presence;max-rate=0.4")


class ChangeTests(LeanTests):
    """Other terms for a subscription that lasts."""

    def test_filters(self) -> None:
        """WAT-04: filters in the initial SUBSCRIBE; refreshes leave them out (FLT-21)."""
        subscriber = self.establish(body=b"first", content_type=FILTER)
        self.assertEqual((self.last.first("content-type"), self.last.body), (FILTER, b"first"))
        self.refresh(subscriber)
        self.assertEqual((self.last.first("content-type"), self.last.body), (None, b""))
        self.notify(b"one", "a1")
        done = subscriber.change(body=(FILTER, b"whole"), update=b"difference")
        self.pair.run()
        self.successResultOf(done)
        self.assertEqual((self.last.first("content-type"), self.last.body), (FILTER, b"difference"))
        self.assertIsNone(self.condition, "another view of the state")
        self.refresh(subscriber)
        self.assertEqual(self.last.body, b"")
        self.notify(state="terminated;reason=deactivated")
        self.pair.run(0.1)
        self.assertEqual(self.last.body, b"whole")

    def test_refused(self) -> None:
        """FLT-21: after a 488 all is as before, and refreshed when that is due."""
        subscriber = self.establish(body=b"first", content_type=FILTER, expires=600)
        for status in (415, 488):
            self.pair.script("SUBSCRIBE", answer(status), accept)
            done = subscriber.change(body=(FILTER, b"bad"), rates=Rates(0.1))
            self.pair.run()
            error = self.failureResultOf(done, ChangeRefusedError).value
            self.assertEqual(error.response.status, status)
        self.assertEqual((subscriber.terms.body, subscriber.terms.rates), (b"first", Rates()))
        self.assertEqual((self.told.ends, self.told.failures), ([], []))
        count = self.count
        self.pair.run(200, step=1)
        self.assertEqual(self.count, count)
        self.pair.run(131, step=1)
        self.assertEqual((self.count, self.last.body), (count + 1, b""))
        self.assertEqual(self.last.first("event"), "presence")

    def test_told_again(self) -> None:
        """SBR-05: a change that met an overloaded server is told with the next attempt."""
        subscriber = self.establish()
        self.pair.script("SUBSCRIBE", answer(503), accept)
        done = subscriber.change(body=(FILTER, b"new"))
        self.pair.run(1)
        self.assertNoResult(done)
        self.pair.run(5)
        self.assertEqual((self.count, self.last.body), (3, b"new"))
        self.successResultOf(done)

    def test_one_after_the_other(self) -> None:
        """Each change has a SUBSCRIBE of its own, and is refused alone."""
        waiting: list[ServerRequest] = []
        subscriber = self.establish()
        self.pair.script("SUBSCRIBE", waiting.append)
        first = subscriber.change(body=(FILTER, b"1"))
        second = subscriber.change(rates=Rates(0.5))
        self.pair.run()
        self.assertEqual((len(waiting), self.last.body), (1, b"1"))
        answer(488)(waiting.pop())
        self.pair.run()
        self.failureResultOf(first, ChangeRefusedError)
        self.assertEqual((self.last.first("event"), self.last.body), ("presence;max-rate=0.5", b""))
        accept(waiting.pop())
        self.pair.run()
        self.successResultOf(second)
        self.assertEqual((subscriber.terms.body, subscriber.terms.rates), (b"", Rates(0.5)))

    def test_before_the_dialog(self) -> None:
        """Asked for during the first SUBSCRIBE it follows the first NOTIFY."""
        subscriber = self.subscribe()
        done = subscriber.change(body=(FILTER, b"new"))
        self.pair.run()
        self.assertNoResult(done)
        self.assertEqual(self.count, 1)
        self.notify(b"one")
        self.successResultOf(done)
        self.assertEqual((self.count, self.last.body), (2, b"new"))

    def test_without_subscription(self) -> None:
        """Between attempts the next one is told to be so; so is one that was lost meanwhile."""
        self.pair.script("SUBSCRIBE", answer(500), accept)
        subscriber = self.subscribe()
        self.successResultOf(subscriber.change(body=(FILTER, b"new")))
        self.pair.run(6)
        self.assertEqual(self.last.body, b"new")
        self.notify(b"one")
        self.pair.script("SUBSCRIBE", answer(481), accept)
        done = subscriber.change(body=(FILTER, b"newer"))
        self.pair.run(40, step=1)
        self.successResultOf(done)
        self.assertEqual((self.last.to.tag, self.last.body), ("", b"newer"))

    def test_other_types(self) -> None:
        """PNO-03: Accept can change; what is still under way of the former types is taken."""
        subscriber = self.establish(accept=(DIFF, PIDF))
        self.assertEqual(self.last.first("accept"), f"{DIFF}, {PIDF}")
        subscriber.change(accept=(PIDF,))
        self.pair.run()
        self.assertEqual(self.last.first("accept"), PIDF)
        self.assertEqual(self.notify(b"late", content_type=DIFF).status, 200)

    def test_end_instead(self) -> None:
        """The end tells no other terms; whoever waits for them waits no longer."""
        waiting: list[ServerRequest] = []
        subscriber = self.establish()
        self.pair.script("SUBSCRIBE", waiting.append, quiet)
        subscriber.refresh(full=False)
        changing = subscriber.change(body=(FILTER, b"new"))
        ending = subscriber.unsubscribe()
        self.pair.run()
        accept(waiting.pop())
        self.pair.run()
        self.assertEqual((self.last.first("expires"), self.last.body), ("0", b""))
        self.successResultOf(ending)
        self.successResultOf(changing)

    def test_bad_filter(self) -> None:
        """FLT-26: terminated for a bad filter: told, and not tried again."""
        self.subscribe(body=b"bad", content_type=FILTER)
        self.notify(state="terminated;reason=badfilter")
        self.pair.run(60, step=1)
        self.assertEqual((self.told.ends, self.count), ([("badfilter", None)], 1))


class CodingTests(LeanTests):
    """Bodies that come compressed (MSG-26)."""

    def test_read(self) -> None:
        """MSG-26: gzip and deflate are asked for when wanted, and read in any case."""
        packers: dict[str, Callable[[bytes], bytes]] = {
            "gzip": gzip.compress,
            "deflate": zlib.compress,
            "identity": bytes,
        }
        for compressed in (False, True):
            self.setUp()
            self.establish(compressed=compressed)
            expected = "gzip, deflate, identity" if compressed else None
            self.assertEqual(self.last.first("accept-encoding"), expected)
            for name, pack in packers.items():
                response = self.notify(pack(b"<a/>"), "a1", Content_Encoding=name)
                self.assertEqual(response.status, 200)
                self.assertEqual(self.told.notifications[-1], ("active", PIDF, b"<a/>"), name)
        self.assertEqual(self.count, 1)

    def test_garbled(self) -> None:
        """SBR-06: what is not in its coding, or grows too much, is lost state: asked for, plain."""
        for body in (b"no gzip", gzip.compress(bytes(1 << 21)), gzip.compress(b"<a/>")[:-9]):
            self.setUp()
            self.establish(compressed=True)
            for _ in range(3):
                self.assertEqual(self.notify(body, "b2", Content_Encoding="gzip").status, 200)
            self.assertEqual(self.told.notifications[-1], ("active", PIDF, b""))
            self.assertEqual(self.count, 2, "asked for once")
            self.assertIsNone(self.last.first("accept-encoding"))
            self.assertIsNone(self.condition)
            self.notify(b"plain", "b2")
            self.assertEqual(self.told.notifications[-1], ("active", PIDF, b"plain"))
