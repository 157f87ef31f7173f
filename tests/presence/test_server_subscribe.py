"""SUBSCRIBE and NOTIFY at a whole node (events.md sections A and C)."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from presence.rules.polite import pending_document
from pysip.event.table import NotifierPolicy
from pysip.header import parse_subscription_state
from pysip.message import Request, Response, response_to
from tests.node import ALICE, BOB, Node, Peer, pidf


class SubscribeCase(SynchronousTestCase):
    """A node, Bob who publishes and Alice who watches."""

    interval = 0.0
    decision = "allow"
    policy: NotifierPolicy | None = None

    def setUp(self) -> None:
        """Start them."""
        self.node = Node(interval=self.interval, decision=self.decision, policy=self.policy)
        self.bob = self.node.peer("192.0.2.10")
        self.alice = self.node.peer("192.0.2.20")
        self.tag: str | None = None

    def publish(self, note: str = "", basic: str = "open") -> None:
        """Bob publishes, modifying what he published before."""
        response = self.bob.publish(pidf(basic=basic, note=note), sip_if_match=self.tag)
        self.assertEqual(response.status, 200)
        self.tag = response.first("sip-etag")

    def watch(self, peer: Peer | None = None, **fields: Any) -> Response:
        """Alice subscribes in dialog ``c1``."""
        fields.setdefault("call_id", "c1")
        return (peer or self.alice).subscribe(**fields)

    def again(self, response: Response, **fields: Any) -> Response:
        """A request in the dialog that ``response`` made."""
        contact = response.contacts[0].uri
        return self.alice.subscribe(
            contact, to=BOB, to_tag=response.to.tag, call_id=response.call_id, **fields
        )

    def state(self, request: Request) -> tuple[str, dict[str, str | None]]:
        """The Subscription-State of a NOTIFY."""
        return parse_subscription_state(request.first("subscription-state") or "")

    def last(self) -> Request:
        """The last NOTIFY that Alice got."""
        return self.alice.notifies()[-1]


class SubscribeTests(SubscribeCase):
    """Making, refreshing and ending subscriptions."""

    def test_initial(self) -> None:
        """200 with what is mandatory, then a NOTIFY with the state (PSV-03, SUB-07, NOT-01)."""
        self.publish("hello")
        response = self.watch(expires=600, record_route="<sip:192.0.2.20;lr>")
        self.assertEqual(response.status, 200)
        self.assertEqual(response.first("expires"), "600")
        self.assertEqual(response.headers["record-route"], ["<sip:192.0.2.20;lr>"])
        self.assertEqual(response.first("allow-events"), "presence")
        self.assertTrue(response.to.tag)
        self.assertIn(";gr", response.first("contact") or "")
        (notify,) = self.alice.notifies()
        self.assertEqual(notify.uri, "sip:peer@192.0.2.20:5060")
        self.assertEqual(notify.values("route"), ["<sip:192.0.2.20;lr>"])
        self.assertEqual(notify.from_.tag, response.to.tag)
        self.assertEqual((notify.from_.uri, notify.to.uri, notify.to.tag), (BOB, ALICE, "f1"))
        self.assertEqual(notify.call_id, "c1")
        self.assertEqual(notify.first("contact"), response.first("contact"))
        self.assertEqual(notify.first("event"), "presence")
        self.assertEqual(notify.first("max-forwards"), "70")
        self.assertEqual(self.state(notify), ("active", {"expires": "600"}))
        self.assertEqual(notify.first("content-type"), "application/pidf+xml")
        self.assertIn(b"hello", notify.body)

    def test_answer_before_notify(self) -> None:
        """The 200 leaves before the NOTIFY, both after the commit (WISHES 18)."""
        seen: list[bytes] = []
        self.node.network.taps.append(lambda *what: seen.append(what[3][:11]))
        self.watch()
        order = [octets for octets in seen if octets[:7] in (b"SIP/2.0", b"NOTIFY ")]
        self.assertEqual([o[:7] for o in order[:2]], [b"SIP/2.0", b"NOTIFY "])

    def test_not_stored_not_subscribed(self) -> None:
        """A failed commit gives 500, no subscription and no NOTIFY (UAS-09)."""
        self.node.store.fail_next()
        self.assertEqual(self.watch().status, 500)
        self.assertEqual(len(self.node.presence.notifier), 0)
        self.assertEqual(self.alice.notifies(), [])

    def test_offline(self) -> None:
        """Nothing published: a document without tuples, or one closed tuple (PRE-11)."""
        self.watch()
        self.assertNotIn(b"tuple", self.last().body)
        self.assertIn(BOB.encode(), self.last().body)
        self.node.presence.package.closed_when_offline = True
        self.node.presence.package.published(BOB)
        self.watch(call_id="c2")
        self.assertIn(b"<basic>closed</basic>", self.last().body)

    def test_change(self) -> None:
        """Every change reaches the watcher, CSeq rising by one (PRE-04, NOT-06)."""
        self.watch()
        for note in ("one", "two", "three"):
            self.publish(note)
        notifies = self.alice.notifies()
        self.assertEqual([n.cseq[0] for n in notifies], [1, 2, 3, 4])
        self.assertIn(b"three", notifies[-1].body)

    def test_refreshing_a_publication_tells_nobody(self) -> None:
        """A PUBLISH refresh makes no NOTIFY (PUB-15, NOT-14)."""
        self.publish()
        self.watch()
        for _ in range(3):
            self.tag = self.bob.publish(sip_if_match=self.tag).first("sip-etag")
        self.assertEqual(len(self.alice.notifies()), 1)

    def test_same_document_tells_nobody(self) -> None:
        """A modify that changes no octet makes no NOTIFY (NOT-14)."""
        self.publish("same")
        self.watch()
        self.publish("same")
        self.assertEqual(len(self.alice.notifies()), 1)

    def test_expired_publication(self) -> None:
        """When a publication ends the watchers are told (CLI-11, PUB-10)."""
        self.publish("here")
        self.watch()
        self.bob.publish(sip_if_match=self.tag, expires=0)
        self.assertNotIn(b"tuple", self.last().body)

    def test_refresh(self) -> None:
        """A refresh resets the expiry, moves the target and is answered by full state (SUB-10)."""
        self.publish("x")
        made = self.watch(expires=100)
        self.node.advance(90)
        response = self.again(made, expires=200, contact="<sip:new@192.0.2.20:5060>")
        self.assertEqual((response.status, response.first("expires")), (200, "200"))
        self.assertEqual(self.last().uri, "sip:new@192.0.2.20:5060")
        self.assertIn(b"x", self.last().body)
        self.assertEqual(self.last().cseq[0], 2)
        self.node.advance(150)
        self.publish("y")
        self.assertEqual(self.state(self.last()), ("active", {"expires": "50"}))

    def test_failed_refresh_is_undone(self) -> None:
        """When the refresh cannot be stored target and expiry stay (UAS-09)."""
        made = self.watch(expires=100)
        self.node.store.fail_next()
        response = self.again(made, expires=1000, contact="<sip:new@192.0.2.20:5060>", cseq=50)
        self.assertEqual(response.status, 500)
        self.node.advance(3)
        self.publish("y")
        self.assertEqual(self.last().uri, "sip:peer@192.0.2.20:5060")
        self.node.advance(100)
        self.assertEqual(self.state(self.last())[0], "terminated")

    def test_unsubscribe(self) -> None:
        """Expires 0 in the dialog: 200, a last NOTIFY, then 481 (SUB-13, SUB-11)."""
        self.publish("x")
        made = self.watch()
        response = self.again(made, expires=0)
        self.assertEqual((response.status, response.first("expires")), (200, "0"))
        self.assertEqual(self.state(self.last()), ("terminated", {"reason": "timeout"}))
        self.assertIn(b"x", self.last().body)
        self.assertEqual(self.again(made).status, 481)
        self.publish("y")
        self.assertEqual(len(self.alice.notifies()), 2)
        self.assertEqual(len(self.node.presence.notifier), 0)

    def test_failed_unsubscribe_is_undone(self) -> None:
        """When the end cannot be stored the subscription lives on (UAS-09)."""
        made = self.watch()
        self.node.store.fail_next()
        self.assertEqual(self.again(made, expires=0).status, 500)
        self.node.advance(3)
        self.publish("y")
        self.assertIn(b"y", self.last().body)

    def test_fetch(self) -> None:
        """Expires 0 outside a dialog: one NOTIFY with the state, nothing kept (PSV-03, SUB-09)."""
        self.publish("x")
        response = self.watch(expires=0)
        self.assertEqual((response.status, response.first("expires")), (200, "0"))
        (notify,) = self.alice.notifies()
        self.assertEqual(self.state(notify), ("terminated", {"reason": "timeout"}))
        self.assertIn(b"x", notify.body)
        self.assertEqual(len(self.node.presence.notifier), 0)

    def test_expiry(self) -> None:
        """Without a refresh it ends with a NOTIFY (NOT-08)."""
        self.watch(expires=60)
        self.node.advance(61)
        self.assertEqual(self.state(self.last()), ("terminated", {"reason": "timeout"}))
        self.assertEqual(len(self.node.presence.notifier), 0)

    def test_expiry_values(self) -> None:
        """Default 3600 s, a day at most, 423 below the minimum (SUB-04, SUB-05, SUB-06)."""
        for number, (asked, granted) in enumerate(((None, "3600"), (100000, "86400"), (61, "61"))):
            response = self.watch(call_id=f"e{number}", expires=asked)
            self.assertEqual(response.first("expires"), granted)
        response = self.watch(call_id="e9", expires=10)
        self.assertEqual((response.status, response.first("min-expires")), (423, "60"))

    def test_event_id(self) -> None:
        """The id of Event is part of the key and is echoed (SUB-02, MSG-31)."""
        made = self.watch(event="presence;id=7;x=y")
        self.assertEqual(self.last().first("event"), "presence;id=7")
        response = self.again(made)
        self.assertEqual(response.status, 403)
        self.assertIn("dialog sharing", response.reason)
        self.assertEqual(self.again(made, event="presence;id=7").status, 200)

    def test_unknown_event(self) -> None:
        """489 with Allow-Events; case counts (SUB-01, EVT-05)."""
        for event in (None, "dialog", "Presence", "presence.winfo"):
            response = self.watch(event=event)
            self.assertEqual((response.status, response.first("allow-events")), (489, "presence"))

    def test_unknown_dialog(self) -> None:
        """A To tag that matches nothing: 481 (SUB-11, DLG-09)."""
        self.assertEqual(self.watch(to_tag="nonesuch").status, 481)

    def test_cseq(self) -> None:
        """In a dialog an old or equal CSeq is 500, gaps are fine (DLG-07)."""
        made = self.watch(cseq=10)
        self.assertEqual(self.again(made, cseq=10).status, 500)
        self.assertEqual(self.again(made, cseq=9).status, 500)
        self.assertEqual(self.again(made, cseq=20).status, 200)

    def test_somebody_else_in_the_dialog(self) -> None:
        """Another identity than the subscriber's is refused in the dialog (AUT-13)."""
        made = self.watch()
        response = self.again(made, sender="sip:mallory@example.com")
        self.assertEqual(response.status, 403)

    def test_merged(self) -> None:
        """The same request by another path is 482 and makes nothing (UAS-03, SUB-19)."""
        self.watch(cseq=5)
        response = self.watch(cseq=5, branch="z9hG4bKother")
        self.assertEqual(response.status, 482)
        self.assertEqual(len(self.node.presence.notifier), 1)

    def test_contacts(self) -> None:
        """Exactly one SIP Contact, else 400 (DLG-12)."""
        for contact in (None, "*", "<sip:a@192.0.2.20>, <sip:b@192.0.2.20>", "<tel:+1>"):
            self.assertEqual(self.watch(contact=contact).status, 400, contact)

    def test_accept(self) -> None:
        """406 when nothing acceptable can be made; no Accept is the default (UAS-06, PRE-02)."""
        for number, (accept, status) in enumerate(
            (
                (None, 200),
                ("application/pidf+xml", 200),
                ("application/*", 200),
                ("*/*;q=0.1", 200),
                ("text/plain", 406),
                ("application/pidf+xml;q=0", 406),
                ("", 406),
            )
        ):
            response = self.watch(call_id=f"a{number}", accept=accept)
            self.assertEqual(response.status, status, accept)

    def test_body(self) -> None:
        """A body of an unknown type is 415 unless it is optional (SUB-17, MSG-27)."""
        response = self.watch(body=b"x", content_type="application/x-filter")
        self.assertEqual(response.status, 415)
        self.assertIn("accept", response.headers)
        response = self.watch(
            body=b"x",
            content_type="application/x-filter",
            content_disposition="filter;handling=optional",
        )
        self.assertEqual(response.status, 200)

    def test_pres_uri(self) -> None:
        """A pres URI is the presentity, and the document keeps it (PRE-05, PRE-06)."""
        self.publish("x")
        self.watch(uri="pres:bob@example.com")
        self.assertIn(b'entity="pres:bob@example.com"', self.last().body)
        self.assertIn(b"x", self.last().body)

    def test_domain_alias(self) -> None:
        """The address of the server is an alias of the domain (CLI-13)."""
        self.publish("x")
        self.watch(uri="sip:bob@192.0.2.1")
        self.assertIn(b"x", self.last().body)
        self.assertIn(b'entity="sip:bob@192.0.2.1"', self.last().body)

    def test_strict_router(self) -> None:
        """A first route without lr goes into the Request-URI (DLG-05)."""
        self.watch(record_route="<sip:192.0.2.20>, <sip:192.0.2.99;lr>")
        self.assertEqual(self.last().uri, "sip:192.0.2.20")
        self.assertEqual(
            self.last().values("route"),
            ["<sip:192.0.2.99;lr>", "<sip:peer@192.0.2.20:5060>"],
        )

    def test_long_route_set_moves_to_tcp(self) -> None:
        """A NOTIFY of more than 1300 octets goes by TCP (TRN-05)."""
        listener = self.node.peer("192.0.2.20", 5060, "TCP")
        self.publish("x" * 1300)
        self.watch()
        self.node.advance(0.5)
        self.assertEqual(self.alice.notifies(), [])
        (notify,) = listener.notifies()
        self.assertEqual(notify.via.protocol, "TCP")

    def test_back_to_udp_when_tcp_is_refused(self) -> None:
        """When nothing listens on TCP the NOTIFY goes by UDP, and later ones at once (TRN-06)."""
        self.publish("x" * 1300)
        self.watch()
        self.node.advance(0.5)
        (notify,) = self.alice.notifies()
        self.assertEqual(notify.via.protocol, "UDP")
        self.patch(self.node.network, "open_stream", lambda *_: self.fail("TCP was tried again"))
        self.publish("y" * 1300)
        self.assertEqual(len(self.alice.notifies()), 2)

    def test_tcp_watcher(self) -> None:
        """Over TCP the NOTIFY comes by the connection of the SUBSCRIBE (TRN-20, CLI-08)."""
        phone = self.node.peer("192.0.2.30", 33333, "TCP")
        self.publish("x")
        phone.subscribe(call_id="t1")
        (notify,) = phone.notifies()
        self.assertEqual(notify.via.protocol, "TCP")
        self.assertIn(b"x", notify.body)

    def test_limits(self) -> None:
        """403 with Warning above the limits (SUB-18, LIM-01)."""
        self.node.presence.notifier.policy = NotifierPolicy(per_pair=2, per_watcher=3)
        for number, status in enumerate((200, 200, 403)):
            self.assertEqual(self.watch(call_id=f"p{number}").status, status)
        self.assertEqual(self.watch(call_id="q1", uri="sip:carol@example.com").status, 200)
        response = self.watch(call_id="q2", uri="sip:dave@example.com")
        self.assertEqual(response.status, 403)
        self.assertIn("subscription limit", response.first("warning") or "")

    def test_same_device_again(self) -> None:
        """A device that subscribes anew takes the place of its old subscription (WISHES 5)."""
        contact = '<sip:peer@192.0.2.20>;+sip.instance="<urn:uuid:1>"'
        for number in range(20):
            self.assertEqual(self.watch(call_id=f"d{number}", contact=contact).status, 200)
        self.assertEqual(len(self.node.presence.notifier), 1)

    def test_recovery(self) -> None:
        """After a restart: dialog, expiry and a higher CSeq (DLG-13, PSV-20, WISHES 19)."""
        self.publish("x")
        made = self.watch(expires=600)
        self.publish("y")
        before = self.last().cseq[0]
        self.node.advance(1)
        node = self.node = self.alice.node = self.bob.node = self.node.restart()
        node.presence.resume()
        node.advance(1)
        self.assertEqual(self.last().cseq[0], before)  # its view has not changed
        self.publish("z")
        self.assertGreater(self.last().cseq[0], before)
        self.assertIn(b"z", self.last().body)
        self.assertEqual(self.again(made).status, 200)

    def test_changed_while_down(self) -> None:
        """A view that changed while the node was down is told once (ARCHITECTURE 6)."""
        self.publish("x")
        self.bob.publish(pidf(note="short"), expires=60)
        self.watch(expires=6000)
        self.node.advance(1)
        self.node.wheel.stop()
        self.node.clock.advance(100)
        count = len(self.alice.notifies())
        node = self.node.restart()
        node.presence.resume()
        node.advance(1)
        self.assertEqual(len(self.alice.notifies()), count + 1)
        self.assertNotIn(b"short", self.last().body)


class AuthorizationTests(SubscribeCase):
    """Decisions of the operator's policy (SUB-14, SUB-15)."""

    def test_block(self) -> None:
        """403 and nothing kept."""
        self.node.watchers.default = "block"
        self.assertEqual(self.watch().status, 403)
        self.assertEqual(len(self.node.presence.notifier), 0)

    def test_confirm(self) -> None:
        """202 and a NOTIFY pending without body (NOT-09); changes are not told."""
        self.node.watchers.default = "confirm"
        self.publish("secret")
        self.assertEqual(self.watch().status, 202)
        self.assertEqual(self.state(self.last()), ("pending", {"expires": "3600"}))
        self.assertEqual(self.last().body, b"")
        self.publish("more")
        self.assertEqual(len(self.alice.notifies()), 1)

    def test_confirm_by_rfc6665(self) -> None:
        """With the switch a pending subscription is answered 200 (SUB-14)."""
        self.node.watchers.default = "confirm"
        self.node.presence.notifier.policy = NotifierPolicy(accepted_pending=False)
        self.assertEqual(self.watch().status, 200)

    def test_neutral_document(self) -> None:
        """PBK-10, NOT-09: instead of no body the polite document, with a note that says why."""
        self.node.watchers.default = "confirm"
        self.node.presence.package.neutral_pending = True
        self.publish("secret")
        for closed in (False, True):
            self.node.presence.package.closed_when_offline = closed
            self.watch(call_id=f"c{closed}")
            self.assertEqual(self.last().body, pending_document(BOB, closed=closed))
            self.assertNotIn(b"secret", self.last().body)

    def test_polite_block(self) -> None:
        """The same answer and headers as allowed, a document of somebody offline (SUB-15)."""
        self.publish("secret")
        allowed = self.watch(call_id="c1")
        seen = self.last()
        self.node.watchers.default = "polite-block"
        polite = self.watch(call_id="c2")
        shown = self.last()
        self.assertEqual(polite.status, allowed.status)
        self.assertEqual(set(polite.headers), set(allowed.headers))
        self.assertEqual(set(shown.headers), set(seen.headers))
        self.assertEqual(self.state(shown), self.state(seen))
        self.assertNotIn(b"secret", shown.body)
        count = len(self.alice.notifies())
        self.publish("news")
        self.assertEqual(len(self.alice.notifies()), count + 1)  # to the allowed one only

    def test_changed_decisions(self) -> None:
        """Pending to active shows the state, to blocked ends it (NOT-07)."""
        self.publish("x")
        self.node.watchers.default = "confirm"
        self.watch()
        self.node.watchers.default = "allow"
        self.node.presence.reauthorize()
        self.node.advance(0.1)
        self.assertEqual(self.state(self.last())[0], "active")
        self.assertIn(b"x", self.last().body)
        self.node.watchers.default = "polite-block"
        self.node.presence.package.published(BOB)
        self.node.advance(0.1)
        self.assertNotIn(b"tuple", self.last().body)
        self.assertEqual(self.state(self.last())[0], "active")
        self.node.watchers.default = "block"
        self.node.presence.reauthorize()
        self.node.advance(0.1)
        self.assertEqual(self.state(self.last()), ("terminated", {"reason": "rejected"}))
        self.assertEqual(self.last().body, b"")

    def test_own_presence(self) -> None:
        """The presentity always sees itself (PSV-14)."""
        self.node.watchers.default = "block"
        self.assertEqual(self.watch(sender=BOB).status, 200)

    def test_pending_limit(self) -> None:
        """Pending subscriptions of a watcher are limited apart (SUB-18)."""
        self.node.watchers.default = "confirm"
        self.node.presence.notifier.policy = NotifierPolicy(pending_per_watcher=1)
        self.assertEqual(self.watch(call_id="c1").status, 202)
        self.assertEqual(self.watch(call_id="c2", uri="sip:carol@example.com").status, 403)


class RateTests(SubscribeCase):
    """The rate gate (NOT-13, NOT-05, PSV-15)."""

    interval = 5.0

    def test_coalesced(self) -> None:
        """A thousand changes in a second are a NOTIFY per interval (NOT-05, NOT-13, WISHES 1).

        The last state arrives, and the CSeq rises by one.
        """
        self.watch()
        self.node.advance(5)
        for number in range(1000):
            self.publish(f"n{number}.")
        self.node.advance(6)
        notifies = self.alice.notifies()
        self.assertLessEqual(len(notifies), 1 + 1 + 25)
        self.assertEqual([n.cseq[0] for n in notifies], list(range(1, len(notifies) + 1)))
        self.assertIn(b"n999.", notifies[-1].body)

    def test_interval(self) -> None:
        """The first change goes at once, the next at the end of the interval."""
        self.watch()
        self.node.advance(6)
        self.publish("one")
        self.publish("two")
        self.assertIn(b"one", self.last().body)
        self.node.advance(4.5)
        self.assertIn(b"one", self.last().body)
        self.node.advance(0.6)
        self.assertIn(b"two", self.last().body)

    def test_refresh_is_not_delayed(self) -> None:
        """The NOTIFY that answers a SUBSCRIBE leaves at once and restarts the interval (NOT-15)."""
        made = self.watch()
        self.assertEqual(self.again(made).status, 200)
        self.assertEqual(len(self.alice.notifies()), 2)
        self.publish("x")
        self.node.advance(4.5)
        self.assertEqual(len(self.alice.notifies()), 2)
        self.node.advance(0.5)
        self.assertEqual(len(self.alice.notifies()), 3)

    def test_end_is_not_delayed(self) -> None:
        """The last NOTIFY leaves at once (NOT-13)."""
        made = self.watch()
        self.again(made, expires=0)
        self.assertEqual(self.state(self.last())[0], "terminated")


class OutcomeTests(SubscribeCase):
    """What the answers to NOTIFYs mean (NOT-10, NOT-05)."""

    def test_one_in_flight(self) -> None:
        """While a NOTIFY is unanswered no other leaves; the newest state follows (NOT-05)."""
        self.alice.answer = 0
        self.watch()
        for note in ("one", "two", "three"):
            self.publish(note)
        self.assertEqual(len(self.alice.notifies()), 1)
        self.alice.answer = 200
        self.node.advance(1)
        notifies = self.alice.notifies()
        self.assertEqual(len(notifies), 2)
        self.assertIn(b"three", notifies[-1].body)

    def test_refresh_while_in_flight(self) -> None:
        """The NOTIFY that a refresh asks for follows the one in flight (SUB-08, NOT-05)."""
        self.alice.answer = 0
        made = self.watch()
        self.again(made)
        self.again(made, expires=0)
        self.assertEqual(len(self.alice.notifies()), 1)
        self.alice.answer = 200
        self.node.advance(2)
        self.assertEqual(
            [self.state(n)[0] for n in self.alice.notifies()], ["active", "terminated"]
        )

    def test_ending_statuses(self) -> None:
        """These remove the subscription at once, with no further NOTIFY."""
        for status in (404, 405, 410, 416, 480, 481, 482, 483, 484, 485, 489, 501, 604, 400, 500):
            with self.subTest(status=status):
                self.setUp()
                self.alice.answer = status
                self.watch()
                self.assertEqual(len(self.node.presence.notifier), 0)
                self.alice.answer = 200
                self.publish("x")
                self.assertEqual(len(self.alice.notifies()), 1)

    def test_timeout(self) -> None:
        """No answer for 32 s removes it, eleven transmissions later (TXN-06)."""
        self.alice.answer = 0
        self.watch()
        self.node.advance(31)
        self.assertEqual(len(self.node.presence.notifier), 1)
        self.node.advance(2)
        self.assertEqual(len(self.node.presence.notifier), 0)
        self.assertEqual(len(self.alice.requests), 11)

    def test_timeout_kept(self) -> None:
        """By the operator's choice a time-out keeps it and the state is sent again (WISHES 6)."""
        self.node.presence.notifier.set_policy(
            NotifierPolicy(keep_on_timeout=True), self.node.presence.notifier.sender.pacing.rates
        )
        self.alice.answer = 0
        self.watch()
        self.node.advance(33)
        self.alice.answer = 200
        self.node.advance(3)
        self.assertEqual(len(self.node.presence.notifier), 1)
        self.assertEqual(len(self.alice.notifies()), 2)

    def test_retry_after(self) -> None:
        """A failure with Retry-After keeps it; the next NOTIFY comes not before."""

        def busy(request: Request) -> Response:
            return response_to(request, 503, headers=(("Retry-After", "10"),))

        self.alice.answer = busy
        self.watch()
        self.alice.answer = 200
        self.publish("x")
        self.node.advance(9)
        self.assertEqual(len(self.alice.notifies()), 1)
        self.node.advance(2)
        self.assertEqual(len(self.alice.notifies()), 2)
        self.assertIn(b"x", self.last().body)

    def test_redirect(self) -> None:
        """A 3xx is followed once."""
        other = self.node.peer("192.0.2.40")

        def moved(request: Request) -> Response:
            return response_to(request, 302, headers=(("Contact", "<sip:a@192.0.2.40>"),))

        self.alice.answer = moved
        self.watch()
        self.assertEqual(len(other.notifies()), 1)
        self.assertEqual(other.notifies()[0].uri, "sip:a@192.0.2.40")
        self.assertEqual(len(self.node.presence.notifier), 1)
        other.answer = moved
        self.publish("x")
        self.assertEqual(len(self.node.presence.notifier), 0)

    def test_target_refresh_by_the_answer(self) -> None:
        """A Contact in the 2xx to a NOTIFY moves the target (DLG-08)."""

        def moved(request: Request) -> Response:
            return response_to(request, 200, headers=(("Contact", "<sip:new@192.0.2.20>"),))

        self.alice.answer = moved
        self.watch()
        self.publish("x")
        self.assertEqual(self.last().uri, "sip:new@192.0.2.20")

    def test_dead_watchers_leave_nothing(self) -> None:
        """A thousand silent watchers are gone one lease later, with their timers (WISHES 5)."""
        self.alice.answer = 0
        for number in range(1000):
            sender = f"sip:w{number}@example.com"
            self.alice.send(
                self.alice.request("SUBSCRIBE", sender=sender, call_id=f"w{number}", expires=60)
            )
        self.node.advance(1)
        self.assertEqual(len(self.node.presence.notifier), 1000)
        self.node.advance(140, step=0.5)
        self.assertEqual(len(self.node.presence.notifier), 0)
        self.assertEqual(len(self.node.ua.layer.clients), 0)
        self.assertEqual(len(self.node.ua.layer.servers), 0)
        self.assertEqual(len(self.node.wheel), 0)

    def test_cseq_blocks(self) -> None:
        """Beyond the reserved block numbers go on rising by one (ARCHITECTURE 6)."""
        self.watch()
        for number in range(1200):
            self.publish(f"n{number}.")
        numbers = [n.cseq[0] for n in self.alice.notifies()]
        self.assertEqual(numbers, list(range(1, 1202)))
        node = self.node.restart()
        (subscription,) = node.presence.notifier.subscriptions("presence", BOB)
        self.assertGreaterEqual(subscription.dialog.local_cseq, 1201)


class PacingTests(SubscribeCase):
    """NOTIFY storms at a node (OVL-06)."""

    def crowd(self, peer: Peer, count: int) -> None:
        """So many watchers behind one peer."""
        for number in range(count):
            sender = f"sip:w{number}@example.com"
            call_id = f"{peer.address[0]}-{number}"
            peer.send(peer.request("SUBSCRIBE", sender=sender, call_id=call_id))
        self.node.advance(0.5)
        self.assertEqual(len(peer.notifies()), count)
        del peer.requests[:]

    def test_destination_rate(self) -> None:
        """One destination gets so many a second, others do not wait for it (OVL-06)."""
        notifier = self.node.presence.notifier
        notifier.set_policy(NotifierPolicy(destination_rate=50.0), notifier.sender.pacing.rates)
        self.crowd(self.alice, 200)
        other = self.node.peer("192.0.2.30")
        self.crowd(other, 3)
        visits = 0
        changed = notifier.sender.changed

        def counted(subscription: Any) -> bool:
            nonlocal visits
            visits += 1
            return changed(subscription)

        notifier._pacer._visit = counted
        notifier.sender.changed = counted  # type: ignore[method-assign]
        self.publish("x")
        self.assertEqual(len(other.notifies()), 3)
        self.assertLessEqual(len(self.alice.notifies()), 12)
        self.node.advance(1.9)
        self.assertTrue(95 <= len(self.alice.notifies()) <= 110, len(self.alice.notifies()))
        self.node.advance(2.2)
        self.assertEqual(len(self.alice.notifies()), 200)
        self.assertLess(visits, 3 * 203)
        self.publish("y")
        self.node.advance(5)
        self.assertEqual(len(self.alice.notifies()), 400)
        self.assertEqual(sum(b"<note>y<" in n.body for n in self.alice.notifies()), 200)

    def test_global_rate(self) -> None:
        """So many a second over everything; answers to SUBSCRIBE do not wait (OVL-06, SUB-08)."""
        notifier = self.node.presence.notifier
        notifier.set_policy(NotifierPolicy(rate=40.0), notifier.sender.pacing.rates)
        self.crowd(self.alice, 100)
        self.publish("x")
        self.node.advance(0.9)
        self.assertTrue(36 <= len(self.alice.notifies()) <= 50, len(self.alice.notifies()))
        late = self.node.peer("192.0.2.30")
        late.subscribe()
        self.assertEqual(len(late.notifies()), 1)
        self.node.advance(2)
        self.assertEqual(len(self.alice.notifies()), 100)
