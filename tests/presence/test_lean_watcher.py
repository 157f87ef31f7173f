"""Watches with differences, filters, rates, conditions and objects, and a scripted server."""

from __future__ import annotations

import gzip
from typing import Any

from twisted.trial import unittest

from presence.partial.documents import full
from presence.watcher import (
    Known,
    ListWatch,
    PresenceWatch,
    Watcher,
    WatcherTerms,
    WatchOptions,
)
from presence.watching.objects import InlineObject, ReferredObject
from pysip.event.changes import ChangeRefusedError
from pysip.event.rates import Rates
from pysip.event.subscriber import NotifyRouter
from pysip.message import Request
from pysip.mime import Part, write_related
from tests.presence.test_rls_listwatch import LIST, A, B, active, notify
from tests.presence.test_watcher import Listener
from tests.presence.test_watcher_lists import Listener as ListListener
from tests.presence.test_watching import (
    BOB,
    canonical,
    document,
    inline,
    referred,
    step,
    with_objects,
)
from tests.pysip.scripted import Pair, accept, answer

PIDF = "application/pidf+xml"
DIFF = "application/pidf-diff+xml"
FILTER = "application/simple-filter+xml"
ONE, TWO, THREE = document("1"), document("1", "2"), document("3", "2")

quiet = answer(204, ("Expires", "3600"))


def filters(*ids: str) -> bytes:
    """A filter document."""
    inner = "".join(f'<filter id="{each}"><what/></filter>' for each in ids)
    return f'<filter-set xmlns="urn:ietf:params:xml:ns:simple-filter">{inner}</filter-set>'.encode()


class LeanCase(unittest.SynchronousTestCase):
    """A watcher and a scripted server."""

    def setUp(self) -> None:
        """Nobody is watched yet."""
        self.pair = Pair()
        self.pair.script("SUBSCRIBE", accept)
        self.listener = Listener()
        self.lists = ListListener()
        self.watcher = Watcher(
            NotifyRouter(self.pair.client),
            WatcherTerms(
                local_uri="<sip:alice@example.com>", contact=lambda: self.pair.contact, limit=9
            ),
        )

    def watch(self, known: Known | None = None, **options: Any) -> PresenceWatch:
        """Watch Bob; nothing is told yet."""
        watch = self.watcher.watch(BOB, self.listener, WatchOptions(**options), known)
        self.pair.run()
        return watch

    def watch_list(self, **options: Any) -> ListWatch:
        """Watch a list; nothing is told yet."""
        watch = self.watcher.watch_list(LIST, self.lists, WatchOptions(**options))
        self.pair.run()
        return watch

    def tell(
        self,
        body: bytes = b"",
        content_type: str = PIDF,
        tag: str = "",
        state: str = "active;expires=3600",
        **headers: str,
    ) -> int:
        """Send a NOTIFY; the status of the answer."""
        fields: dict[str, str | None] = {k.replace("_", "-"): v for k, v in headers.items()}
        if tag:
            fields["SIP-ETag"] = tag
        answers = self.pair.notify(
            self.last, state, body=body, content_type=content_type, headers=fields
        )
        self.pair.run()
        return answers[0].status

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


class PartialTests(LeanCase):
    """RFC 5263 section 4.5."""

    def same(self, watch: PresenceWatch, expected: bytes) -> None:
        """Compare documents by what they say."""
        assert watch.document is not None
        self.assertEqual(canonical(watch.document), canonical(expected))

    def test_accept(self) -> None:
        """PNO-03, WAT-01, WAT-04: differences are preferred, whole documents always taken."""
        self.watch(partial=True)
        self.assertEqual(self.last.first("accept"), f"{DIFF}, {PIDF}")

    def test_cache(self) -> None:
        """PNO-11: the watcher's document is the whole one after each difference."""
        watch = self.watch(partial=True)
        self.tell(full(ONE, 1), DIFF)
        self.same(watch, ONE)
        self.tell(step(ONE, TWO, 2), DIFF)
        self.same(watch, TWO)
        self.tell(step(ONE, TWO, 2), DIFF)
        self.tell(step(TWO, THREE, 3), DIFF)
        self.same(watch, THREE)
        self.assertEqual((watch.content_type, self.count), (PIDF, 1))

    def test_lost(self) -> None:
        """PNO-11, PNO-12: after a gap a refresh; the NOTIFY is answered 200 all the same."""
        watch = self.watch(partial=True, conditional=True)
        self.tell(full(ONE, 1), DIFF, "a1")
        self.assertEqual(self.tell(step(TWO, THREE, 3), DIFF, "a3"), 200)
        self.same(watch, ONE)
        self.assertEqual((self.count, self.condition), (2, None))
        self.assertEqual(self.last.first("accept"), f"{DIFF}, {PIDF}")
        self.tell(full(THREE, 4), DIFF, "a3")
        self.same(watch, THREE)
        watch.subscriber.refresh(full=False)
        self.pair.run()
        self.assertEqual(self.condition, "a3")

    def test_second_failure(self) -> None:
        """PNO-12, WAT-04: at the second failure without differences in Accept."""
        watch = self.watch(partial=True)
        self.tell(full(ONE, 1), DIFF)
        self.tell(b"<no-diff/>", DIFF)
        self.assertEqual((self.count, self.last.first("accept")), (2, f"{DIFF}, {PIDF}"))
        self.tell(full(TWO, 2), DIFF)
        self.tell(step(ONE, THREE, 9), DIFF)
        self.assertEqual((self.count, self.last.first("accept")), (3, PIDF))
        self.assertFalse(watch.options.partial)
        self.tell(THREE)
        self.same(watch, THREE)
        self.tell(state="terminated;reason=deactivated")
        self.pair.run(0.1)
        self.assertEqual(self.last.first("accept"), PIDF, "for good")

    def test_second_failure_refused(self) -> None:
        """PNO-12: a server that refuses another Accept is left as it is."""
        self.watch(partial=True)
        self.tell(full(ONE, 1), DIFF)
        self.pair.script("SUBSCRIBE", accept, answer(406), accept)
        for _ in range(4):
            self.assertEqual(self.tell(b"<no-diff/>", DIFF), 200)
        self.assertEqual(self.count, 3)
        self.assertEqual(self.listener.ends, [])

    def test_another_type(self) -> None:
        """PNO-08: from differences to whole documents and back; versions go on."""
        watch = self.watch(partial=True)
        self.tell(full(ONE, 4), DIFF)
        self.tell(TWO)
        self.same(watch, TWO)
        self.tell(full(THREE, 5), DIFF)
        self.same(watch, THREE)
        self.assertEqual(self.count, 1)
        self.tell(TWO)
        self.tell(step(THREE, ONE, 6), DIFF)
        self.assertEqual(self.count, 2, "nothing that it could be applied to")
        self.same(watch, TWO)

    def test_new_subscription(self) -> None:
        """PNO-04, SBR-07: versions begin anew, what is known stays in force meanwhile."""
        watch = self.watch(partial=True)
        self.tell(full(ONE, 8), DIFF)
        self.tell(state="terminated;reason=deactivated")
        self.pair.run(0.1)
        self.same(watch, ONE)
        self.tell(full(TWO, 1), DIFF)
        self.same(watch, TWO)
        self.assertEqual(self.count, 2)


class ConditionalTests(LeanCase):
    """RFC 5839 at the watch."""

    def test_resumed(self) -> None:
        """SNE-03: after a loss nothing is told again, and the document stays (SBR-05)."""
        watch = self.watch(conditional=True)
        self.tell(ONE, tag="a1")
        self.tell(state="terminated;reason=deactivated")
        self.pair.run(0.1)
        self.assertEqual((self.last.to.tag, self.condition), ("", "a1"))
        self.tell(tag="a1")
        self.assertEqual((watch.document, watch.state, watch.tag), (ONE, "active", "a1"))

    def test_started_anew(self) -> None:
        """SNE-03: a watcher goes on with what it knew before it was started anew."""
        watch = self.watch(Known("a1", ONE))
        self.assertEqual((self.condition, watch.document), ("a1", ONE))
        self.tell(tag="a1")
        self.assertEqual(self.listener.changes[-1], (BOB, "active", ONE))
        self.tell(TWO, tag="b2")
        self.assertEqual((watch.document, watch.tag), (TWO, "b2"))

    def test_poll(self) -> None:
        """SNE-03: a poll with what is known is answered without it."""
        fetched = self.watcher.fetch(BOB, known=Known("a1", ONE))
        self.pair.run()
        self.assertEqual((self.condition, self.last.first("expires")), ("a1", "0"))
        self.tell(tag="a1", state="terminated;reason=timeout")
        self.assertEqual(self.successResultOf(fetched).document, ONE)

    def test_unusable_state_has_no_tag(self) -> None:
        """SNE-15: the tag of a body that could not be read is not used, until one could."""
        watch = self.watch(conditional=True)
        self.tell(ONE, tag="a1")
        for _ in range(2):
            self.tell(b"<presence", tag="b2")
            self.assertEqual(watch.tag, "")
        self.assertEqual((self.count, self.condition), (2, None))
        self.tell(TWO, tag="b2")
        self.assertEqual(watch.tag, "b2")

    def test_new_contact(self) -> None:
        """SNE-09: after a change of address all refresh, with their conditions (DLG-08)."""
        self.watch(conditional=True)
        self.tell(ONE, tag="a1")
        self.watcher.refresh()
        self.pair.run()
        self.assertEqual(self.condition, "a1")

    def test_suspend(self) -> None:
        """OM2-08, SNE-09: no state while suspended; then what is new."""
        watch = self.watch()
        self.tell(ONE, tag="a1")
        self.pair.script("SUBSCRIBE", quiet, accept)
        watch.suspend()
        self.pair.run()
        self.assertEqual(self.condition, "*")
        self.tell(tag="b2", state="active;expires=900")
        self.assertEqual(watch.document, ONE)
        watch.resume()
        self.pair.run()
        self.assertEqual(self.condition, "a1")
        self.tell(TWO, tag="b2")
        self.assertEqual(watch.document, TWO)


class FilterTests(LeanCase):
    """Filters and rates (RFC 4660, RFC 6446)."""

    def test_placed(self) -> None:
        """WAT-04, FLT-21: in the first SUBSCRIBE, kept by refreshes, again after a loss."""
        self.watch(filters=filters("a"))
        self.assertEqual((self.last.first("content-type"), self.last.body), (FILTER, filters("a")))
        self.tell(ONE)
        self.watcher.refresh()
        self.pair.run()
        self.assertEqual(self.last.body, b"")
        self.tell(state="terminated;reason=deactivated")
        self.pair.run(0.1)
        self.assertEqual(self.last.body, filters("a"))

    def test_changed(self) -> None:
        """FLT-21: other filters by a refresh, those that are not wanted removed by name."""
        watch = self.watch(filters=filters("a", "b"), conditional=True)
        self.tell(ONE, tag="a1")
        done = watch.change_filters(filters("b", "c"))
        self.pair.run()
        self.successResultOf(done)
        self.assertIn(b'id="a" remove="true"', self.last.body)
        self.assertIsNone(self.condition)
        self.tell(state="terminated;reason=deactivated")
        self.pair.run(0.1)
        self.assertEqual(self.last.body, filters("b", "c"))

    def test_nothing_passes(self) -> None:
        """FLT-12, PRE-07: a NOTIFY without body after other filters: nothing is left of it."""
        watch = self.watch(filters=filters("a"))
        self.tell(ONE)
        self.tell()
        self.assertEqual(watch.document, ONE, "these filters have let it pass")
        watch.change_filters(filters("b"))
        self.pair.run()
        self.tell()
        self.assertEqual((watch.document, watch.content_type), (None, ""))

    def test_nothing_left_of_the_known(self) -> None:
        """FLT-12, SNE-15: what was known before is not there any more, nor what its tag names."""
        watch = self.watch(Known("a1", ONE), filters=filters("a"), conditional=True)
        self.tell(tag="a0")
        self.assertIsNone(watch.document)
        watch.subscriber.refresh(full=False)
        self.pair.run()
        self.assertIsNone(self.condition)

    def test_nothing_left_after_decision(self) -> None:
        """FLT-12: when a decision has come, a NOTIFY without body means that nothing passes."""
        watch = self.watch(filters=filters("a"))
        self.tell(ONE)
        self.tell(state="pending;expires=3600")
        self.same(watch, ONE)
        self.tell()
        self.assertIsNone(watch.document)

    def same(self, watch: PresenceWatch, expected: bytes) -> None:
        """Compare documents."""
        self.assertEqual(watch.document, expected)

    def test_nothing_passes_any_more(self) -> None:
        """FLT-12: so with a new subscription, unless the tag says that nothing has changed."""
        for tag, left in (("a1", ONE), ("b2", None)):
            watch = self.watch(filters=filters("a"), conditional=True)
            self.tell(ONE, tag="a1")
            self.tell(state="terminated;reason=deactivated")
            self.pair.run(0.1)
            self.tell(tag="a1", state="pending;expires=3600")
            self.assertEqual(watch.document, ONE)
            self.tell(tag=tag)
            self.assertEqual(watch.document, left)

    def test_refused(self) -> None:
        """FLT-26: filters that are refused later leave those before; refused first: the end."""
        watch = self.watch(filters=filters("a"))
        self.tell(ONE)
        self.pair.script("SUBSCRIBE", answer(488))
        done = watch.change_filters(filters("bad"))
        self.pair.run()
        self.failureResultOf(done, ChangeRefusedError)
        self.assertEqual(watch.options.filters, filters("a"))
        self.tell()
        self.assertEqual(watch.document, ONE)
        other = self.watch(filters=filters("bad"))
        self.assertTrue(other.ended)
        self.assertEqual(self.listener.failures, [(BOB, 488, None)])

    def test_bad_filter(self) -> None:
        """FLT-26: found bad after the 2xx: the end, with its reason."""
        watch = self.watch(filters=filters("a"))
        self.tell(state="terminated;reason=badfilter")
        self.assertEqual((watch.ended, watch.reason), (True, "badfilter"))
        self.assertEqual(self.listener.ends, [(BOB, "badfilter", None)])

    def test_no_filter_document(self) -> None:
        """FLT-01: what is none is not sent, and changes nothing."""
        watch = self.watch(filters=filters("a"))
        with self.assertRaises(ValueError):
            watch.change_filters(b"<a/>")
        self.assertEqual(watch.options.filters, filters("a"))

    def test_rates(self) -> None:
        """RAT-01, RAT-03: asked for, adopted, changed."""
        watch = self.watch(rates=Rates(0.5, 0.01))
        self.assertEqual(self.last.first("event"), "presence;max-rate=0.5;min-rate=0.01")
        self.tell(ONE, state="active;expires=3600;max-rate=0.2;min-rate=0.01")
        self.assertEqual(watch.rates, Rates(0.2, 0.01))
        done = watch.change_rates(Rates(0.1))
        self.pair.run()
        self.successResultOf(done)
        self.assertEqual(self.last.first("event"), "presence;max-rate=0.1")
        with self.assertRaises(ValueError):
            watch.change_rates(Rates(0.1, 0.2))
        self.assertEqual(watch.options.rates, Rates(0.1))

    def test_compressed(self) -> None:
        """MSG-26: compressed bodies, when wanted."""
        watch = self.watch(compressed=True)
        self.assertEqual(self.last.first("accept-encoding"), "gzip, deflate, identity")
        self.tell(gzip.compress(ONE), Content_Encoding="gzip")
        self.assertEqual(watch.document, ONE)


class ObjectTests(LeanCase):
    """RFC 4483, RFC 2387."""

    def test_asked_for(self) -> None:
        """CIN-04, WAT-06: who wants objects says so; others refuse them."""
        watch = self.watch(objects=True)
        self.assertEqual(
            self.last.first("accept"), f"{PIDF}, multipart/related, message/external-body"
        )
        told = document(icon="cid:a@x")
        kind, body = with_objects(PIDF, told, inline("a@x", b"PNG"))
        self.assertEqual(self.tell(body, kind), 200)
        self.assertEqual(watch.document, told)
        self.assertEqual(watch.objects, {"a@x": InlineObject("a@x", "image/png", b"PNG")})
        kind, body = with_objects(PIDF, told, referred("a@x"))
        self.tell(body, kind)
        self.assertIsInstance(watch.objects["a@x"], ReferredObject)

    def test_not_asked_for(self) -> None:
        """CIN-04: who does not take them answers 415, and gets the document inline."""
        self.watch()
        kind, body = with_objects(PIDF, document(icon="cid:a@x"), referred("a@x"))
        self.assertEqual(self.tell(body, kind), 415)


class ListTests(LeanCase):
    """Lists (RFC 4662) with what their members have."""

    def part(self, kind: str, body: bytes, cid: str) -> Part:
        """What is told of a member."""
        return Part({"content-type": [kind], "content-id": [f"<{cid}>"]}, body)

    def tell_member(self, version: int, kind: str, body: bytes, *, whole: bool = False) -> int:
        """A NOTIFY about one member."""
        state = "true" if whole else "false"
        rlmi = (
            f'<list xmlns="urn:ietf:params:xml:ns:rlmi" uri="{LIST}" version="{version}" '
            f'fullState="{state}"><resource uri="{BOB}"><instance id="1" state="active" cid="m@x"/>'
            "</resource></list>"
        ).encode()
        parts = [
            self.part("application/rlmi+xml", rlmi, "root@x"),
            self.part(kind, body, "m@x"),
        ]
        content_type, content = write_related(parts, "0uter")
        return self.tell(content, content_type, Require="eventlist")

    def member(self, watch: ListWatch) -> bytes:
        """The document of the member."""
        instance = watch.table.members[BOB].instance
        assert instance is not None and instance.document is not None
        return canonical(instance.document)

    def test_differences(self) -> None:
        """PNO-11: members may be told in differences; each counts for itself."""
        watch = self.watch_list(partial=True)
        self.assertIn(DIFF, self.last.first("accept") or "")
        self.tell_member(0, DIFF, full(ONE, 1), whole=True)
        self.tell_member(1, DIFF, step(ONE, TWO, 2))
        self.assertEqual(self.member(watch), canonical(TWO))
        self.assertEqual(self.lists.changes[-1][1].changed, (BOB,))
        self.tell_member(2, DIFF, step(TWO, THREE, 4))
        self.assertEqual((self.member(watch), self.count), (canonical(TWO), 2))
        self.tell_member(3, DIFF, full(THREE, 5), whole=True)
        self.tell_member(4, PIDF, ONE)
        self.assertEqual(self.member(watch), canonical(ONE))
        self.tell_member(5, DIFF, full(TWO, 6))
        self.assertEqual((self.member(watch), self.count), (canonical(TWO), 2))

    def test_second_failure(self) -> None:
        """PNO-12: a list, too, is watched without differences when they fail again."""
        self.watch_list(partial=True)
        self.tell_member(0, DIFF, full(ONE, 1), whole=True)
        self.tell_member(1, DIFF, b"<no-diff/>")
        self.tell_member(2, DIFF, full(ONE, 2), whole=True)
        self.tell_member(3, DIFF, b"<no-diff/>")
        self.assertEqual(self.count, 3)
        self.assertNotIn(DIFF, self.last.first("accept") or "")

    def test_objects(self) -> None:
        """CIN-08, WAT-06: the objects of a member stand in a multipart of its own."""
        watch = self.watch_list(objects=True)
        told = document(icon="cid:a@x")
        kind, body = with_objects(PIDF, told, inline("a@x", b"PNG"))
        self.tell_member(0, kind, body, whole=True)
        instance = watch.table.members[BOB].instance
        assert instance is not None
        self.assertEqual((instance.document, instance.content_type), (told, PIDF))
        self.assertEqual(instance.objects, {"a@x": InlineObject("a@x", "image/png", b"PNG")})
        self.assertIsNone(instance.nested)

    def test_resumed(self) -> None:
        """SNE-03, RLS-26: a list goes on with its tag; a change without the whole is a gap."""
        watch = self.watch_list(conditional=True)
        kind, body = notify(0, (A, active("a")), (B, active("b")), full=True)
        self.tell(body, kind, "t1")
        self.tell(state="terminated;reason=deactivated")
        self.pair.run(0.1)
        self.assertEqual((self.last.to.tag, self.condition), ("", "t1"))
        self.tell(tag="t1")
        self.assertEqual(list(watch.table.members), [A.uri, B.uri])
        kind, body = notify(1, (A, active("a2")))
        self.tell(body, kind, "t2")
        self.assertEqual(list(watch.table.members), [A.uri, B.uri])
        self.assertEqual((self.count, self.condition), (3, None), "the whole is asked for")
        kind, body = notify(2, (B, active("b3")), full=True)
        self.tell(body, kind, "t3")
        self.assertEqual((list(watch.table.members), watch.tag), ([B.uri], "t3"))
