"""Client subscriptions against a scripted notifier (events.md B, sip-core.md 7)."""

from __future__ import annotations

import attrs
from twisted.trial import unittest
from zope.interface import implementer

from pysip.event.interfaces import ISubscriberDelegate
from pysip.event.subscriber import NotifyRouter, Subscriber
from pysip.event.terms import SubscriptionTerms
from pysip.interfaces import Target
from pysip.message import Request, Response
from pysip.refresh import Backoff, refresh_delay
from pysip.tokens import TokenSource
from pysip.ua import ServerRequest
from tests.pysip.scripted import SERVER, Pair, accept, answer, ignore, random_octets

GONE = (404, 405, 410, 416, 480, 481, 482, 483, 484, 485, 489, 501, 604)


@implementer(ISubscriberDelegate)
class Recorder:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.notifications: list[tuple[str, str, bytes]] = []
        self.failures: list[tuple[int | None, float | None]] = []
        self.ends: list[tuple[str, float | None]] = []

    def notified(self, request: Request, state: str, content_type: str, body: bytes) -> None:
        """A NOTIFY."""
        self.notifications.append((state, content_type, body))

    def subscription_failed(self, response: Response | None, retry_after: float | None) -> None:
        """A failure."""
        self.failures.append((response.status if response else None, retry_after))

    def subscription_ended(self, reason: str, retry_after: float | None) -> None:
        """An end."""
        self.ends.append((reason, retry_after))


class SubscriberTests(unittest.SynchronousTestCase):
    """A subscriber over an ideal network."""

    def setUp(self) -> None:
        """A client that is ready to subscribe."""
        self.pair = Pair()
        self.router = NotifyRouter(self.pair.client)
        self.told = Recorder()
        self.terms = SubscriptionTerms(
            uri="sip:bob@example.com",
            local_uri="<sip:alice@example.com>",
            package="presence",
            contact=lambda: self.pair.contact,
            accept=("application/pidf+xml",),
        )
        self.pair.script("SUBSCRIBE", accept)

    def subscribe(self, **changes: object) -> Subscriber:
        """Subscribe, and let the SUBSCRIBE be answered."""
        self.terms = attrs.evolve(self.terms, **changes)
        subscriber = Subscriber(self.router, self.terms, self.told)
        subscriber.subscribe()
        self.pair.run()
        return subscriber

    def establish(self, **changes: object) -> Subscriber:
        """Subscribe and be notified once."""
        subscriber = self.subscribe(**changes)
        self.pair.notify(self.last)
        self.pair.run()
        self.assertEqual(subscriber.state, "active")
        return subscriber

    @property
    def last(self) -> Request:
        """The last SUBSCRIBE."""
        return self.pair.received[-1]

    @property
    def count(self) -> int:
        """SUBSCRIBEs received."""
        return len(self.pair.received)

    # -- SUBSCRIBE ----------------------------------------------------------------------

    def test_initial_subscribe(self) -> None:
        """It has Event, Expires, Accept, Contact and asked-for Supported (SBR-01, UAC-01)."""
        self.subscribe(
            supported=("eventlist",), event_id="7", body=b"filter", content_type="text/plain"
        )
        request = self.last
        self.assertEqual(request.uri, "sip:bob@example.com")
        self.assertEqual(request.first("event"), "presence;id=7")
        self.assertEqual(request.first("expires"), "3600")
        self.assertEqual(request.first("accept"), "application/pidf+xml")
        self.assertEqual(request.first("contact"), self.pair.contact)
        self.assertEqual(request.first("supported"), "eventlist")
        self.assertEqual(request.body, b"filter")
        self.assertEqual(request.to.tag, "")
        self.assertGreaterEqual(len(request.from_.tag), 8)
        self.assertNotIn("require", request)

    def test_refresh_in_time(self) -> None:
        """Half of a short lifetime, 600 s before the end of a long one, jitter 10 % (SBR-04)."""
        tokens = TokenSource(random_octets(5))
        for _ in range(200):
            self.assertTrue(270 <= refresh_delay(600, tokens) <= 330)
            self.assertTrue(3600 - 660 <= refresh_delay(3600, tokens) <= 3600 - 540)
            self.assertTrue(86400 - 660 <= refresh_delay(86400, tokens) <= 86400 - 540)
        delays = {round(refresh_delay(600, tokens), 3) for _ in range(50)}
        self.assertGreater(len(delays), 10)

    def test_refresh_is_in_dialog(self) -> None:
        """A refresh has the tags, Call-ID, next CSeq and no body (DLG-06, DLG-16, SUB-16)."""
        self.establish(expires=600, body=b"filter", content_type="text/plain")
        first = self.last
        self.pair.run(331)
        self.assertEqual(self.count, 2)
        again = self.last
        self.assertEqual(again.call_id, first.call_id)
        self.assertEqual(again.from_.tag, first.from_.tag)
        self.assertEqual(again.to.tag, "server")
        self.assertEqual(again.cseq[0], first.cseq[0] + 1)
        self.assertEqual(again.uri, f"sip:server@{SERVER}:5060")
        self.assertEqual(again.body, b"")
        self.assertEqual(again.first("contact"), self.pair.contact)

    def test_granted_lifetime_counts(self) -> None:
        """The 2xx may grant less than was asked for (SBR-01)."""
        self.pair.script("SUBSCRIBE", answer(200, ("Expires", "100")))
        self.subscribe()
        self.pair.notify(self.last, "active")
        self.pair.run(44)
        self.assertEqual(self.count, 1)
        self.pair.run(12)
        self.assertEqual(self.count, 2)

    def test_granted_lifetime_never_longer(self) -> None:
        """A 2xx that grants more than was asked for does not lengthen it (SBR-01)."""
        self.pair.script("SUBSCRIBE", answer(200, ("Expires", "100000")))
        self.subscribe(expires=100)
        self.pair.notify(self.last, "active")
        self.pair.run(56)
        self.assertEqual(self.count, 2)

    def test_accepted_is_ok(self) -> None:
        """202 is no different from 200 (SUB-14)."""
        self.pair.script("SUBSCRIBE", answer(202, ("Expires", "3600")))
        subscriber = self.subscribe()
        self.pair.notify(self.last, "pending;expires=3600")
        self.pair.run()
        self.assertEqual(subscriber.state, "pending")
        self.assertEqual(self.told.notifications, [("pending", "", b"")])

    def test_interval_too_brief(self) -> None:
        """A 423 is retried once with Min-Expires, same Call-ID, next CSeq (UAC-02, UAC-07)."""
        self.pair.script("SUBSCRIBE", answer(423, ("Min-Expires", "1800")))
        self.subscribe(expires=60)
        first, second = self.pair.received
        self.assertEqual(second.first("expires"), "1800")
        self.assertEqual(second.call_id, first.call_id)
        self.assertEqual(second.from_.tag, first.from_.tag)
        self.assertEqual(second.cseq[0], first.cseq[0] + 1)
        self.assertEqual(self.told.failures, [(423, None)])

    def test_interval_always_too_brief(self) -> None:
        """A notifier that asks for more each time is not followed for ever (UAC-07)."""
        scripts = [answer(423, ("Min-Expires", str(100 * n))) for n in range(1, 9)]
        self.pair.script("SUBSCRIBE", *scripts)
        self.subscribe(expires=60)
        self.assertEqual(self.count, 2)

    # -- failures -----------------------------------------------------------------------

    def test_refused_for_good(self) -> None:
        """A 403 is not tried again by itself."""
        self.pair.script("SUBSCRIBE", answer(403))
        subscriber = self.subscribe()
        self.pair.run(100, step=10)
        self.assertEqual(self.told.failures, [(403, None)])
        self.assertEqual(self.count, 1)
        self.assertEqual(len(self.router), 0)
        self.assertEqual(subscriber.state, "idle")

    def test_backoff(self) -> None:
        """Failed initial attempts wait 5 s, doubling up to 30 min (SBR-09)."""
        backoff = Backoff(TokenSource(random_octets(1)))
        delays = [backoff.next() for _ in range(12)]
        for number, delay in enumerate(delays):
            base = min(5.0 * 2**number, 1800.0)
            self.assertTrue(base <= delay <= base * 1.1, (number, delay))
        self.assertGreaterEqual(backoff.next(7200), 7200)
        backoff.reset()
        self.assertLess(backoff.next(), 5.6)

    def test_retries_with_new_identifiers(self) -> None:
        """Each new attempt has its own Call-ID and From tag (SBR-05, SBR-09)."""
        self.pair.script("SUBSCRIBE", answer(500))
        self.subscribe()
        self.pair.run(5.7)
        self.assertEqual(self.count, 2)
        first, second = self.pair.received
        self.assertNotEqual(first.call_id, second.call_id)
        self.assertNotEqual(first.from_.tag, second.from_.tag)
        self.pair.run(9)
        self.assertEqual(self.count, 2)
        self.pair.run(2.5)
        self.assertEqual(self.count, 3)
        self.assertEqual([status for status, _ in self.told.failures], [500, 500, 500])

    def test_retry_after(self) -> None:
        """Retry-After of a 503 is honoured (SBR-09, UAC-07)."""
        self.pair.script("SUBSCRIBE", answer(503, ("Retry-After", "120")), accept)
        self.subscribe()
        self.pair.run(119)
        self.assertEqual(self.count, 1)
        self.pair.run(14)
        self.assertEqual(self.count, 2)

    def test_no_server(self) -> None:
        """A peer that is not there is a failure at once, and tried again (SBR-09)."""
        self.pair.network.cut("127.0.0.1", SERVER)
        self.pair = Pair("TCP")
        self.pair.network.cut("127.0.0.1", SERVER)
        self.router = NotifyRouter(self.pair.client)
        self.pair.script("SUBSCRIBE", accept)
        self.subscribe()
        self.assertEqual(len(self.told.failures), 1)
        self.assertIsNone(self.told.failures[0][0])
        self.pair.network.heal("127.0.0.1", SERVER)
        self.pair.run(5.7)
        self.assertEqual(self.count, 1)

    # -- Timer N ------------------------------------------------------------------------

    def test_timer_n_initial(self) -> None:
        """Without NOTIFY in 32 s the subscription has failed; a later one gets 481 (SBR-02)."""
        self.subscribe()
        request = self.last
        self.pair.run(31.8)
        self.assertEqual(self.told.failures, [])
        self.pair.run(0.4)
        self.assertEqual([status for status, _ in self.told.failures], [None])
        late = self.pair.notify(request)
        self.pair.run()
        self.assertEqual([r.status for r in late], [481])
        self.assertEqual(self.told.notifications, [])

    def test_timer_n_refresh(self) -> None:
        """A refresh without NOTIFY in 32 s ends the old and makes a new subscription (SBR-02)."""
        subscriber = self.establish(expires=600)
        subscriber.refresh()
        self.pair.run()
        old = self.last
        self.pair.run(31.8)
        self.assertEqual(self.count, 2)
        self.pair.run(0.4)
        self.assertEqual(self.told.ends, [("silent", 0.0)])
        self.assertEqual(self.count, 3)
        self.assertNotEqual(self.last.call_id, old.call_id)
        self.assertEqual(self.last.to.tag, "")

    def test_notify_stops_timer_n(self) -> None:
        """A NOTIFY in time keeps the subscription (SBR-02)."""
        self.establish()
        self.pair.run(40)
        self.assertEqual(self.told.failures, [])
        self.assertEqual(self.told.ends, [])

    def test_no_notification_status(self) -> None:
        """A 204 cancels Timer N: no NOTIFY will come (SBR-02)."""
        subscriber = self.establish()
        self.pair.script("SUBSCRIBE", answer(204, ("Expires", "3600")))
        subscriber.refresh()
        self.pair.run(40)
        self.assertEqual(self.told.ends, [])

    def test_timer_n_counts_from_the_answered_attempt(self) -> None:
        """A dead first server does not use up the time for the NOTIFY (SBR-02, DNS-05)."""
        self.pair.locator.extra = [
            Target("UDP", ("127.0.0.9", 5060)),
            Target("UDP", (SERVER, 5060)),
        ]
        self.pair.network.cut("127.0.0.1", "127.0.0.9")
        subscriber = self.subscribe()
        self.pair.run(33)
        self.assertEqual(self.count, 1)
        self.pair.locator.extra = []
        self.pair.run(20)
        self.pair.notify(self.last)
        self.pair.run()
        self.assertEqual(subscriber.state, "active")
        self.assertEqual(self.told.failures, [])

    def test_timer_n_after_a_late_answer(self) -> None:
        """After a late answer Timer N runs once more (SBR-02)."""
        self.pair.locator.extra = [
            Target("UDP", ("127.0.0.9", 5060)),
            Target("UDP", (SERVER, 5060)),
        ]
        self.pair.network.cut("127.0.0.1", "127.0.0.9")
        self.subscribe()
        self.pair.run(63)
        self.assertEqual(self.told.failures, [])
        self.pair.run(2)
        self.assertEqual([status for status, _ in self.told.failures], [None])

    # -- NOTIFY -------------------------------------------------------------------------

    def test_notify_before_response(self) -> None:
        """A NOTIFY that overtakes the 2xx makes the dialog (SBR-03, DLG-03)."""
        waiting: list[ServerRequest] = []
        self.pair.script("SUBSCRIBE", waiting.append, accept)
        subscriber = self.subscribe(expires=600)
        answers = self.pair.notify(self.last, "active;expires=600", body=b"<presence/>")
        self.pair.run()
        self.assertEqual([r.status for r in answers], [200])
        self.assertEqual(subscriber.state, "active")
        self.assertEqual(
            self.told.notifications, [("active", "application/pidf+xml", b"<presence/>")]
        )
        accept(waiting[0])
        self.pair.run(331)
        self.assertEqual(self.count, 2)
        self.assertEqual(self.last.to.tag, "server")

    def test_response_lost(self) -> None:
        """A NOTIFY proves the subscription when the 2xx never comes (SBR-10)."""
        self.pair.script("SUBSCRIBE", ignore, accept)
        self.subscribe(expires=600)
        self.pair.notify(self.last, "active;expires=600")
        self.pair.run(60)
        self.assertEqual((self.told.failures, self.told.ends), ([], []))
        self.pair.run(300)
        self.assertEqual(self.count, 2)
        self.assertEqual(self.last.to.tag, "server")

    def test_foreign_notifies(self) -> None:
        """Other Call-ID, To tag or Event id: 481; unknown package: 489 (SBR-03, SBR-06)."""
        self.subscribe()
        for status, name, value in (
            (481, "Call-ID", "other"),
            (481, "To", "<sip:alice@example.com>;tag=other"),
            (481, "Event", "presence;id=1"),
            (489, "Event", "dialog"),
            (489, "Event", None),
        ):
            answers = self.pair.notify(self.last, headers={name: value})
            self.pair.run()
            self.assertEqual([r.status for r in answers], [status], (name, value))
        self.assertEqual(self.told.notifications, [])

    def test_event_id_must_match(self) -> None:
        """A subscription with id takes only NOTIFYs with that id (DLG-03, SUB-02)."""
        self.subscribe(event_id="1")
        plain = self.pair.notify(self.last, headers={"Event": "presence"})
        same = self.pair.notify(self.last, headers={"Event": "presence;id=1;other=x"})
        self.pair.run()
        self.assertEqual([plain[0].status, same[0].status], [481, 200])

    def test_forked(self) -> None:
        """XEVT-18: The first NOTIFY makes the dialog, others get 481 (DLG-04, PRE-08)."""
        self.pair.script("SUBSCRIBE", answer(200, ("Expires", "3600"), tag="b"), accept)
        subscriber = self.subscribe()
        first = self.pair.notify(self.last, "active;expires=600", tag="a")
        second = self.pair.notify(self.last, tag="b")
        self.pair.run()
        self.assertEqual([first[0].status, second[0].status], [200, 481])
        self.assertEqual(len(self.told.notifications), 1)
        # The 2xx of the other fork tells nothing: the NOTIFY's own lifetime counts.
        self.pair.run(331)
        self.assertEqual(self.count, 2)
        self.assertEqual(self.last.to.tag, "a")
        self.assertEqual(subscriber.state, "active")

    def test_response_of_another_fork(self) -> None:
        """What a 2xx of another fork grants is nothing to our dialog (DLG-04)."""
        waiting: list[ServerRequest] = []
        self.pair.script("SUBSCRIBE", waiting.append, accept)
        self.subscribe()
        self.pair.notify(self.last, "active", tag="a")
        self.pair.run()
        answer(200, ("Expires", "100"), tag="b")(waiting[0])
        self.pair.run(60)
        self.assertEqual(self.count, 1)
        self.setUp()
        self.pair.script("SUBSCRIBE", answer(200, ("Expires", "100"), tag="b"), accept)
        self.subscribe()
        self.pair.notify(self.last, "active", tag="a")
        self.pair.run(60)
        self.assertEqual(self.count, 1)

    def test_route_set_from_notify(self) -> None:
        """The route set is the NOTIFY's Record-Route in the given order (DLG-03, SBR-10)."""
        self.pair.script(
            "SUBSCRIBE", answer(200, ("Expires", "600"), ("Record-Route", "<sip:wrong;lr>")), accept
        )
        self.subscribe()
        route = f"<sip:{SERVER};lr;x=1>, <sip:two.example.com;lr>"
        self.pair.notify(
            self.last,
            "active;expires=600",
            headers={"Record-Route": route, "Contact": "<sip:bob@192.0.2.9:5070>"},
        )
        self.pair.run(331)
        self.assertEqual(self.count, 2)
        self.assertEqual(self.last.uri, "sip:bob@192.0.2.9:5070")
        self.assertEqual(self.last.values("route"), route.split(", "))

    def test_preloaded_route_is_for_initial_requests(self) -> None:
        """A preloaded Route is no route set (ROU-03, DLG-05)."""
        self.establish(route=(f"<sip:{SERVER}:5060;lr>",), expires=600)
        self.assertEqual(self.last.values("route"), [f"<sip:{SERVER}:5060;lr>"])
        self.pair.run(331)
        self.assertEqual(self.count, 2)
        self.assertEqual(self.last.values("route"), [])

    def test_unusable_route_set(self) -> None:
        """A NOTIFY whose Record-Route is no address is refused, not remembered (DLG-03)."""
        self.subscribe()
        answers = self.pair.notify(self.last, headers={"Record-Route": "<nonsense>"})
        self.pair.run()
        self.assertEqual([r.status for r in answers], [400])
        self.assertEqual(self.told.notifications, [])

    def test_target_refresh(self) -> None:
        """A later NOTIFY's Contact is the new target; the route set stays (DLG-08)."""
        subscriber = self.establish()
        self.pair.notify(
            self.last,
            headers={
                "Contact": f"<sip:moved@{SERVER}:5060>",
                "Record-Route": f"<sip:{SERVER};lr>",
            },
        )
        self.pair.run()
        self.pair.script("SUBSCRIBE", answer(200, ("Contact", f"<sip:third@{SERVER}:5060>")))
        subscriber.refresh()
        self.pair.run()
        self.assertEqual(self.last.uri, f"sip:moved@{SERVER}:5060")
        self.assertEqual(self.last.values("route"), [])
        subscriber.refresh()
        self.pair.run()
        self.assertEqual(self.last.uri, f"sip:third@{SERVER}:5060")

    def test_bad_contact(self) -> None:
        """No Contact or several: 400 (DLG-12)."""
        self.subscribe()
        for value in (None, "*", "<sip:a@192.0.2.1>, <sip:b@192.0.2.1>", "<tel:+1>"):
            answers = self.pair.notify(self.last, headers={"Contact": value})
            self.pair.run()
            self.assertEqual([r.status for r in answers], [400], value)

    def test_out_of_order(self) -> None:
        """A lower or equal CSeq gets 500 and changes nothing (DLG-07)."""
        self.subscribe()
        self.pair.notify(self.last, cseq=5)
        self.pair.run()
        old = self.pair.notify(self.last, cseq=4, body=b"old")
        same = self.pair.notify(self.last, cseq=5, body=b"same")
        later = self.pair.notify(self.last, cseq=9, body=b"later")
        self.pair.run()
        self.assertEqual([old[0].status, same[0].status, later[0].status], [500, 500, 200])
        self.assertEqual([body for _, _, body in self.told.notifications], [b"", b"later"])

    def test_body_type(self) -> None:
        """A body of a type not asked for gets 415 with Accept (SBR-06)."""
        self.establish()
        other = self.pair.notify(self.last, body=b"x", content_type="text/plain")
        untyped = self.pair.notify(self.last, body=b"x", headers={"Content-Type": None})
        coded = self.pair.notify(self.last, body=b"x", headers={"Content-Encoding": "br"})
        self.pair.run()
        self.assertEqual(other[0].status, 415)
        self.assertEqual(other[0].first("accept"), "application/pidf+xml")
        self.assertEqual(untyped[0].status, 400)
        self.assertEqual(coded[0].status, 415)
        self.assertEqual(coded[0].first("accept-encoding"), "gzip, deflate, identity")
        self.assertEqual(len(self.told.notifications), 1)

    def test_state_missing(self) -> None:
        """A NOTIFY without Subscription-State is a bad request (NOT-02)."""
        self.subscribe()
        answers = self.pair.notify(self.last, headers={"Subscription-State": None})
        self.pair.run()
        self.assertEqual([r.status for r in answers], [400])

    def test_unknown_state_is_active(self) -> None:
        """A state value we do not know leaves the subscription alive (NOT-02)."""
        self.subscribe()
        self.pair.notify(self.last, "waiting;expires=600")
        self.pair.run(331)
        self.assertEqual(self.count, 2)
        self.assertEqual(self.told.ends, [])

    def test_shorter_lifetime(self) -> None:
        """A shorter expires in a NOTIFY moves the refresh, a longer one never (SBR-08)."""
        self.establish(expires=3600)
        self.pair.notify(self.last, "active;expires=100")
        self.pair.run(56)
        self.assertEqual(self.count, 2)
        self.pair.script("SUBSCRIBE", answer(200, ("Expires", "100")))
        self.pair.notify(self.last, "active;expires=100")
        self.pair.run()
        self.pair.notify(self.last, "active;expires=7200")
        self.pair.run(56)
        self.assertEqual(self.count, 3)

    def test_notifies_do_not_move_the_refresh(self) -> None:
        """Counting down expires in each NOTIFY leaves the time of the refresh (SBR-04, SBR-08)."""
        self.establish(expires=1000)
        for elapsed in range(50, 450, 50):
            self.pair.run(50, step=1)
            self.pair.notify(self.last, f"active;expires={1000 - elapsed - 1}")
            self.pair.run()
        self.assertEqual(self.count, 1)
        self.pair.run(151, step=1)
        self.assertEqual(self.count, 2)

    # -- refresh failures ---------------------------------------------------------------

    def test_refresh_answers_that_end_it(self) -> None:
        """These answers to a refresh: a new subscription at once (SBR-05, DLG-18)."""
        for status in (*GONE, 408):
            self.setUp()
            self.pair.script("SUBSCRIBE", accept, answer(status), accept)
            subscriber = self.establish()
            self.pair.run(33)
            subscriber.refresh()
            self.pair.run(0.1)
            self.assertEqual(self.count, 3, status)
            self.assertEqual(self.last.to.tag, "", status)
            self.assertNotEqual(self.last.call_id, self.pair.received[0].call_id)
            self.assertEqual(self.told.ends, [("gone", 0.0)])

    def test_refresh_answers_that_keep_it(self) -> None:
        """Another failure leaves the subscription; the refresh is tried again (SBR-05)."""
        for status in (400, 403, 500, 503):
            self.setUp()
            self.pair.script("SUBSCRIBE", accept, answer(status), accept)
            subscriber = self.establish()
            subscriber.refresh()
            self.pair.run(5.7)
            self.assertEqual(self.count, 3, status)
            self.assertEqual(self.last.to.tag, "server")
            self.assertEqual(self.told.ends, [])
            self.assertEqual(subscriber.state, "active")

    def test_failed_refresh_honours_retry_after(self) -> None:
        """Retry-After of a failed refresh counts too (UAC-07)."""
        self.pair.script("SUBSCRIBE", accept, answer(503, ("Retry-After", "60")), accept)
        subscriber = self.establish()
        subscriber.refresh()
        self.pair.run(59)
        self.assertEqual(self.count, 2)
        self.pair.run(8)
        self.assertEqual(self.count, 3)

    def test_expiry_after_failed_refreshes(self) -> None:
        """A subscription that cannot be refreshed ends with its lifetime (SBR-05)."""
        self.pair.script("SUBSCRIBE", accept, answer(500))
        self.establish(expires=100)
        self.pair.run(99, step=0.5)
        self.assertEqual(self.told.ends, [])
        self.pair.run(2)
        self.assertEqual(self.told.ends, [("expired", 0.0)])
        self.assertEqual(self.last.to.tag, "")

    def test_refresh_without_answer(self) -> None:
        """No answer to a refresh ends the dialog (DLG-18)."""
        self.pair.script("SUBSCRIBE", accept, ignore, accept)
        subscriber = self.establish()
        subscriber.refresh()
        self.pair.run(33)
        self.assertEqual(self.told.ends, [("unreachable", 0.0)])
        self.assertEqual(self.last.to.tag, "")

    def test_refresh_over_broken_transport(self) -> None:
        """A transport failure leaves the subscription to be refreshed later (SBR-05)."""
        subscriber = self.establish()
        self.pair.script("SUBSCRIBE", accept)
        transports = self.pair.client._transports
        self.pair.client.layer._transports.clear()
        subscriber.refresh()
        self.pair.run()
        self.assertEqual(self.told.ends, [])
        self.pair.client.layer.add_transport(transports[0])
        self.pair.run(5.7)
        self.assertEqual(self.count, 2)
        self.assertEqual(self.last.to.tag, "server")

    def test_one_refresh_at_a_time(self) -> None:
        """A refresh asked for during a SUBSCRIBE follows it."""
        waiting: list[ServerRequest] = []
        self.pair.script("SUBSCRIBE", accept, waiting.append, accept)
        subscriber = self.establish()
        subscriber.refresh()
        subscriber.refresh()
        self.pair.run()
        self.assertEqual(self.count, 2)
        accept(waiting[0])
        self.pair.run()
        self.assertEqual(self.count, 3)

    # -- the end ------------------------------------------------------------------------

    def end(self, state: str, lived: float = 40.0) -> float | None:
        """Let the notifier end the subscription; gives the delay told."""
        self.setUp()
        self.establish()
        self.pair.run(lived)
        self.pair.notify(self.last, state)
        self.pair.run()
        self.assertEqual(self.told.notifications[-1][0], "terminated")
        self.assertEqual(len(self.told.ends), 1)
        return self.told.ends[0][1]

    def test_terminated_again_at_once(self) -> None:
        """Deactivated and timeout, and giveup without a time: at once (SBR-07)."""
        for reason in ("deactivated", "timeout", "giveup"):
            self.assertEqual(self.end(f"terminated;reason={reason}"), 0.0)
            self.pair.run(0.1)
            self.assertEqual(self.count, 2)
            first, second = self.pair.received
            self.assertNotEqual(first.call_id, second.call_id)
            self.assertEqual(second.to.tag, "")
            self.assertEqual(second.values("route"), [])

    def test_terminated_again_later(self) -> None:
        """probation, giveup, unknown and no reason: not before retry-after (SBR-07)."""
        for reason in (";reason=probation", ";reason=giveup", ";reason=new", ""):
            delay = self.end(f"terminated{reason};retry-after=60")
            self.assertTrue(delay is not None and 60 <= delay <= 66)
            self.pair.run(59)
            self.assertEqual(self.count, 1)
            self.pair.run(8)
            self.assertEqual(self.count, 2)

    def test_probation_without_time(self) -> None:
        """Probation without retry-after: later, by the back-off (SBR-07)."""
        delay = self.end("terminated;reason=probation")
        self.assertTrue(delay is not None and delay >= 5)

    def test_retry_after_means_nothing_elsewhere(self) -> None:
        """retry-after with deactivated or timeout is ignored (NOT-03)."""
        self.assertEqual(self.end("terminated;reason=deactivated;retry-after=60"), 0.0)

    def test_terminated_for_good(self) -> None:
        """rejected, noresource, invariant: never again by itself (SBR-07)."""
        for reason in ("rejected", "noresource", "invariant"):
            delay = self.end(f"terminated;reason={reason};retry-after=1")
            self.assertIsNone(delay)
            self.pair.run(30, step=1)
            self.assertEqual(self.count, 1)
            self.assertEqual(len(self.router), 0)

    def test_no_storm(self) -> None:
        """A notifier that ends each subscription at once meets a back-off (SBR-09)."""

        def turn_away(served: ServerRequest) -> None:
            accept(served)
            self.pair.notify(served.request, "terminated;reason=deactivated")

        self.pair.script("SUBSCRIBE", turn_away)
        self.subscribe()
        self.pair.run(60)
        self.assertLess(self.count, 6)

    def test_terminated_first_notify(self) -> None:
        """A first NOTIFY that is terminated makes no dialog usage (DLG-03)."""
        subscriber = self.subscribe()
        self.pair.notify(self.last, "terminated;reason=rejected")
        self.pair.run()
        again = self.pair.notify(self.last)
        self.pair.run()
        self.assertEqual(self.told.ends, [("rejected", None)])
        self.assertEqual([r.status for r in again], [481])
        self.assertEqual(subscriber.state, "idle")

    def test_refresh_asked_for_at_the_end(self) -> None:
        """Nothing is sent any more in a dialog that a NOTIFY has just ended."""
        subscriber = self.establish()
        self.patch(self.told, "notified", lambda *_: subscriber.refresh())
        self.pair.notify(self.last, "terminated;reason=rejected")
        self.pair.run(5)
        self.assertEqual(self.count, 1)
        self.assertEqual(self.told.ends, [("rejected", None)])

    def test_unsubscribe_at_the_end(self) -> None:
        """Unsubscribing on the final NOTIFY only means not to subscribe again."""
        subscriber = self.establish()
        self.patch(self.told, "notified", lambda *_: subscriber.unsubscribe())
        self.pair.notify(self.last, "terminated;reason=deactivated")
        self.pair.run(5)
        self.assertEqual(self.count, 1)
        self.assertEqual(self.told.ends, [("deactivated", None)])

    def test_unsubscribe(self) -> None:
        """It sends Expires 0 in the dialog and ends with the final NOTIFY."""
        subscriber = self.establish()
        done = subscriber.unsubscribe()
        self.pair.run()
        self.assertEqual(self.last.first("expires"), "0")
        self.assertEqual(self.last.to.tag, "server")
        self.assertNoResult(done)
        self.pair.notify(self.last, "terminated;reason=timeout")
        self.pair.run(1)
        self.successResultOf(done)
        self.assertEqual(self.told.ends, [("timeout", None)])
        self.pair.run(100, step=5)
        self.assertEqual(self.count, 2)

    def test_unsubscribe_before_notify(self) -> None:
        """Given up before there is a dialog, it is ended as soon as there is one (DLG-03)."""
        subscriber = self.subscribe()
        done = subscriber.unsubscribe()
        self.pair.run()
        self.assertEqual(self.count, 1)
        self.pair.notify(self.last)
        self.pair.run()
        self.assertEqual(self.count, 2)
        self.assertEqual(self.last.first("expires"), "0")
        self.pair.notify(self.last, "terminated;reason=timeout")
        self.pair.run()
        self.successResultOf(done)

    def test_unsubscribe_without_answer(self) -> None:
        """It is over after Timer N or Timer F at the latest (SBR-02)."""
        for script in (accept, ignore, answer(481), answer(500)):
            self.setUp()
            self.pair.script("SUBSCRIBE", accept, script)
            subscriber = self.establish()
            done = subscriber.unsubscribe()
            self.pair.run(33)
            self.successResultOf(done)
            self.assertEqual(self.count, 2)
            self.assertEqual(len(self.router), 0)

    def test_unsubscribe_while_waiting(self) -> None:
        """Between attempts there is nothing to end, and no further attempt."""
        self.pair.script("SUBSCRIBE", answer(500))
        subscriber = self.subscribe()
        self.successResultOf(subscriber.unsubscribe())
        self.pair.run(20)
        self.assertEqual(self.count, 1)

    def test_fetch(self) -> None:
        """Expires 0 gets one NOTIFY and is over (SUB-09)."""
        self.subscribe(expires=0)
        self.assertEqual(self.last.first("expires"), "0")
        self.pair.notify(self.last, "terminated;reason=timeout", body=b"<presence/>")
        self.pair.run(60, step=1)
        self.assertEqual(
            self.told.notifications, [("terminated", "application/pidf+xml", b"<presence/>")]
        )
        self.assertEqual(self.told.ends, [("timeout", None)])
        self.assertEqual(self.count, 1)
        self.assertEqual(len(self.router), 0)

    def test_failed_fetch(self) -> None:
        """A fetch is not repeated by itself."""
        self.pair.script("SUBSCRIBE", answer(503, ("Retry-After", "1")))
        self.subscribe(expires=0)
        self.pair.run(10)
        self.assertEqual(self.told.failures, [(503, None)])
        self.assertEqual(self.count, 1)

    def test_no_timers_left(self) -> None:
        """After the end neither timers nor usages remain (EVT-02)."""
        subscriber = self.establish()
        subscriber.unsubscribe()
        self.pair.run()
        self.pair.notify(self.last, "terminated;reason=timeout")
        self.pair.run(70, step=1)
        self.assertEqual(len(self.router), 0)
        self.assertEqual(len(self.pair.client.wheel), 0)


class LossyTests(unittest.SynchronousTestCase):
    """Subscriptions over a network that loses, doubles and reorders datagrams."""

    def test_last_state_arrives(self) -> None:
        """With loss and reordering each subscription ends with the newest state (EVT-03)."""
        for seed in range(5):
            pair = Pair(seed=seed)
            pair.network.loss = 0.1
            pair.network.duplicate = 0.1
            pair.network.reorder = 0.2
            pair.network.delay = (0.01, 0.2)
            told = Recorder()
            terms = SubscriptionTerms(
                uri="sip:bob@example.com",
                local_uri="<sip:alice@example.com>",
                package="presence",
                contact=lambda pair=pair: pair.contact,
                accept=("application/pidf+xml",),
            )
            pair.script("SUBSCRIBE", accept)
            Subscriber(NotifyRouter(pair.client), terms, told).subscribe()
            pair.run(5)
            for number in range(20):
                answers = pair.notify(pair.received[-1], body=b"%d" % number)
                while not answers:  # one NOTIFY at a time (NOT-05)
                    pair.run(0.5)
                self.assertEqual(answers[0].status, 200)
            bodies = [body for _, _, body in told.notifications]
            self.assertEqual(bodies, [b"%d" % number for number in range(20)])
            self.assertEqual(len(pair.received), 1)
