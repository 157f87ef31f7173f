"""What happens between a request and its commit, and what an outage or restart undoes."""

from __future__ import annotations

import ipaddress
from typing import Any

from presence.store.memory import MemoryStore
from presence.store.records import Batch
from pysip.auth.domains import Domains
from pysip.auth.trust import IdentityPolicy, TrustPolicy
from pysip.event.table import NotifierPolicy
from pysip.message import Request, Response, response_to
from tests.node import ALICE, BOB, DOMAIN, Node, pidf
from tests.presence.test_server_subscribe import SubscribeCase


class HeldStore(MemoryStore):
    """A store whose commits wait for a word.

    :ivar hold: let commits wait.
    """

    def __init__(self, reactor: Any) -> None:
        super().__init__(reactor)
        self.hold = False
        self._held: Batch | None = None

    def _commit(self, batch: Batch) -> None:
        if self.hold:
            self._held = batch
        else:
            super()._commit(batch)

    def release(self, fail: bool = False) -> None:
        """Let the commit happen that waits, and all later ones."""
        self.hold = False
        batch, self._held = self._held, None
        if fail:
            self.fail_next()
        if batch is not None:
            super()._commit(batch)


class RaceCase(SubscribeCase):
    """A node whose commits can be held."""

    def setUp(self) -> None:
        """Start it."""
        super().setUp()
        self.store = HeldStore(self.node.clock)
        self.node = self.bob.node = self.alice.node = self.rebuilt(self.node)

    def rebuilt(self, node: Node) -> Node:
        """A node in the place of another, on the held store."""
        for deferred in node.ua.stop():
            node.done(deferred)
        node.wheel.stop()
        node.presence.stop()
        return Node(
            store=self.store,
            network=node.network,
            decision=self.decision,
            interval=self.interval,
            policy=self.policy,
        )

    def restart(self) -> None:
        """Another process on the same store."""
        self.node.presence.stop()
        self.node.done(self.store.stop())
        self.node = self.bob.node = self.alice.node = self.rebuilt(self.node)
        self.node.presence.resume()
        self.node.advance(0.5)

    def begin(self, method: str, uri: str = BOB, **fields: Any) -> None:
        """A request whose commit waits; its answer comes with :meth:`finish`."""
        self.store.hold = True
        self.alice.send(self.alice.request(method, uri, **fields))
        self.node.advance(0.1)

    def begin_again(self, made: Response, **fields: Any) -> None:
        """A SUBSCRIBE in a dialog whose commit waits."""
        self.begin(
            "SUBSCRIBE",
            made.contacts[0].uri,
            to=BOB,
            to_tag=made.to.tag,
            call_id=made.call_id,
            **fields,
        )

    def finish(self, fail: bool = False) -> Response:
        """Let the commit happen; the answer."""
        before = len(self.alice.responses)
        self.store.release(fail)
        self.node.advance(0.2)
        self.assertEqual(len(self.alice.responses), before + 1)
        return self.alice.responses[-1]

    def states(self) -> list[str]:
        """States of the NOTIFYs that Alice got."""
        return [self.state(notify)[0] for notify in self.alice.notifies()]

    def live(self) -> int:
        """Live subscriptions."""
        return len(self.node.presence.notifier)


class SubscriptionRaceTests(RaceCase):
    """SUBSCRIBE and everything that may come between (EVT-03)."""

    def test_rejected_by_a_refresh(self) -> None:
        """A refresh decides anew: one last NOTIFY, without the state (SUB-10, NOT-07, EVT-03)."""
        self.publish("secret")
        made = self.watch()
        self.node.watchers.default = "block"
        self.assertEqual(self.again(made).status, 200)
        self.assertEqual(self.states(), ["active", "terminated"])
        self.assertEqual(self.state(self.last())[1], {"reason": "rejected"})
        self.assertEqual(self.last().body, b"")
        self.assertEqual(self.live(), 0)
        self.node.advance(40)
        self.assertEqual(len(self.alice.notifies()), 2)

    def test_allowed_by_a_refresh(self) -> None:
        """Pending to active by a refresh: 200 and one NOTIFY (SUB-10, SUB-14)."""
        self.publish("x")
        self.node.watchers.default = "confirm"
        made = self.watch()
        self.node.watchers.default = "allow"
        self.assertEqual(self.again(made).status, 200)
        self.assertEqual(self.states(), ["pending", "active"])
        self.node.watchers.default = "confirm"
        self.assertEqual(self.again(made).status, 202)
        self.assertEqual(self.states(), ["pending", "active", "pending"])
        self.assertEqual(self.last().body, b"")

    def test_unsubscribed_by_the_rejected(self) -> None:
        """The last NOTIFY shows nothing to whom it may not be shown any more (SUB-13, NOT-07)."""
        for decision in ("block", "confirm"):
            self.setUp()
            self.publish("secret")
            made = self.watch()
            self.node.watchers.default = decision  # type: ignore[assignment]
            self.assertEqual(self.again(made, expires=0).status, 200)
            self.assertEqual(self.states(), ["active", "terminated"])
            self.assertEqual(self.last().body, b"")

    def test_rejected_during_a_refresh(self) -> None:
        """A rejection between a refresh and its commit stands (EVT-03)."""
        self.publish("secret")
        made = self.watch()
        self.begin_again(made)
        self.node.watchers.default = "block"
        self.node.presence.reauthorize()
        self.node.watchers.default = "allow"
        self.assertEqual(self.finish().status, 481)
        self.assertEqual(self.states(), ["active", "terminated"])
        self.restart()
        self.assertEqual(self.live(), 0)

    def test_gone_during_a_refresh(self) -> None:
        """A 481 to a NOTIFY between a refresh and its commit ends it (NOT-10)."""
        made = self.watch()
        self.alice.answer = 0
        self.publish("x")
        self.begin_again(made)
        self.alice.answer = 481
        self.node.advance(0.6)  # the repeated NOTIFY is answered
        self.assertEqual(self.finish().status, 481)
        self.assertEqual(len(self.alice.notifies()), 2)
        self.assertEqual(self.live(), 0)

    def test_rejected_before_it_began(self) -> None:
        """A rejection between the first SUBSCRIBE and its commit: one NOTIFY, the last (EVT-03)."""
        self.publish("secret")
        self.begin("SUBSCRIBE", call_id="c1")
        self.node.watchers.default = "block"
        self.node.presence.reauthorize()
        self.assertEqual(self.finish().status, 200)
        self.assertEqual(self.states(), ["terminated"])
        self.assertEqual(self.last().body, b"")
        self.assertEqual(self.live(), 0)

    def test_missed_meanwhile(self) -> None:
        """An un-SUBSCRIBE that is undone leaves a watcher that has missed nothing (EVT-01)."""
        made = self.watch()
        self.store.hold = True
        self.bob.send(self.bob.request("PUBLISH", sender=BOB, body=pidf(note="new")))
        self.node.advance(0.1)
        self.alice.send(
            self.alice.request(
                "SUBSCRIBE",
                made.contacts[0].uri,
                to=BOB,
                to_tag=made.to.tag,
                call_id="c1",
                expires=0,
            )
        )
        self.node.advance(0.1)
        held, self.store._held = self.store._held, None
        assert held is not None
        MemoryStore._commit(self.store, held)  # the publication; the end waits
        self.node.advance(0.1)
        self.assertEqual(len(self.alice.notifies()), 1)
        self.assertEqual(self.finish(fail=True).status, 500)
        self.assertEqual(self.live(), 1)
        self.assertIn(b"new", self.last().body)

    def test_order_of_two_refreshes(self) -> None:
        """Two refreshes of one failed batch leave what was before both (UAS-09)."""
        made = self.watch(expires=100)
        for number, expires in ((50, 1000), (51, 2000)):
            self.begin_again(made, cseq=number, expires=expires)
        self.store.release(fail=True)
        self.node.advance(2)
        self.assertEqual([r.status for r in self.alice.responses[1:]], [500, 500])
        self.assertEqual(self.again(made, cseq=50, expires=30).status, 423)
        self.node.advance(99)
        self.assertEqual(self.states()[-1], "terminated")

    def test_device_that_comes_again(self) -> None:
        """Its old subscription stays until the new one is durable (UAS-09, WISHES 5)."""
        contact = '<sip:peer@192.0.2.20>;+sip.instance="<urn:uuid:1>"'
        self.watch(contact=contact)
        self.begin("SUBSCRIBE", call_id="c2", contact=contact)
        self.assertEqual(self.finish(fail=True).status, 500)
        self.node.advance(2)
        self.publish("x")
        self.assertEqual({n.call_id for n in self.alice.notifies()}, {"c1"})
        self.assertIn(b"x", self.last().body)
        self.node.presence.notifier.policy = NotifierPolicy(per_pair=1)
        self.assertEqual(self.watch(call_id="c3", contact=contact).status, 200)
        self.assertEqual(self.watch(call_id="c4").status, 403)
        self.publish("y")
        self.assertEqual(self.last().call_id, "c3")
        self.assertEqual(self.live(), 1)

    def test_pending_is_told_again(self) -> None:
        """A pending watcher whose NOTIFY failed for a while gets it later (NOT-10, SUB-08)."""
        self.node.watchers.default = "confirm"

        def busy(request: Request) -> Response:
            return response_to(request, 500, headers=(("Retry-After", "5"),))

        self.alice.answer = busy
        self.watch()
        self.alice.answer = 200
        self.node.advance(4)
        self.assertEqual(self.states(), ["pending"])
        self.node.advance(2)
        self.assertEqual(self.states(), ["pending", "pending"])

    def test_replaced_while_in_flight(self) -> None:
        """The last word to a subscription that was replaced is no more NOTIFY (EVT-03)."""
        contact = '<sip:peer@192.0.2.20>;+sip.instance="<urn:uuid:1>"'
        made = self.watch(contact=contact)
        self.alice.answer = 0
        self.publish("x")
        self.again(made, contact=contact)  # owes one more NOTIFY
        self.watch(call_id="c2", contact=contact)

        def busy(request: Request) -> Response:
            return response_to(request, 500, headers=(("Retry-After", "1"),))

        self.alice.answer = busy
        self.node.advance(0.6)
        self.alice.answer = 200
        self.node.advance(40)
        self.assertEqual(len([n for n in self.alice.notifies() if n.call_id == "c1"]), 2)
        self.assertEqual(self.live(), 1)

    def test_removed_during_a_round(self) -> None:
        """Who has been removed while a round is under way gets no NOTIFY (EVT-03)."""
        for number in range(150):
            self.alice.send(
                self.alice.request(
                    "SUBSCRIBE", sender=f"sip:w{number}@example.com", call_id=f"w{number}"
                )
            )
        self.node.advance(1)
        self.assertEqual(self.live(), 150)
        del self.alice.requests[:]
        notifier = self.node.presence.notifier
        last = notifier.subscriptions("presence", BOB)[-1]
        visit = notifier.sender.changed

        def visited(subscription: Any) -> bool:
            if subscription.id == 1:
                notifier._live.remove(last)
            return visit(subscription)

        notifier._pacer._visit = visited
        self.publish("x")
        self.node.advance(1)
        self.assertEqual(len(self.alice.notifies()), 149)
        self.assertNotIn(last.dialog.call_id, {n.call_id for n in self.alice.notifies()})


class OutageTests(RaceCase):
    """What the store could not take (PUB-09, DLG-13)."""

    def outage(self) -> None:
        """The next commit fails, and the store refuses for some seconds."""
        self.store.fail_next(3)

    def test_undone_publication_was_told(self) -> None:
        """A watcher that was told of it is told again (EVT-01)."""
        self.publish("old")
        made = self.watch()
        self.store.hold = True
        self.bob.send(
            self.bob.request("PUBLISH", sender=BOB, body=pidf(note="new"), sip_if_match=self.tag)
        )
        self.node.advance(0.1)
        self.node.presence.package.published(BOB)
        self.node.advance(0.1)
        self.assertIn(b"new", self.last().body)
        self.store.release(fail=True)
        self.node.advance(1)
        self.assertIn(b"old", self.last().body)
        self.assertEqual(self.states(), ["active"] * 3)
        self.assertEqual(self.live(), 1)
        self.assertTrue(made.to.tag)

    def test_ended_in_an_outage(self) -> None:
        """What ended while nothing could be written does not come back (EVT-03, PSV-20)."""
        self.publish("secret")
        self.watch()
        self.node.watchers.default = "block"
        self.outage()
        self.node.presence.reauthorize()
        self.node.advance(5)
        self.assertEqual(self.states(), ["active", "terminated"])
        self.node.watchers.default = "allow"
        self.restart()
        self.assertEqual(self.live(), 0)
        self.assertEqual(self.states(), ["active", "terminated"])

    def test_gone_in_an_outage(self) -> None:
        """So with a watcher that is gone (NOT-10)."""
        self.watch()
        self.alice.answer = 481
        self.publish("x")
        self.assertEqual(self.live(), 0)
        self.setUp()
        self.watch()
        self.alice.answer = 0
        self.publish("x")
        self.alice.answer = 481
        self.outage()
        self.node.advance(6)
        self.alice.answer = 200
        self.restart()
        self.assertEqual(self.live(), 0)

    def outage_at_reservation(self) -> Any:
        """The next reservation of CSeq numbers meets an outage; gives the subscription."""
        sender = self.node.presence.notifier.sender
        reserve = sender._reserve

        def failing(*arguments: Any) -> bool:
            sender._reserve = reserve  # type: ignore[method-assign]
            self.outage()
            return reserve(*arguments)

        sender._reserve = failing  # type: ignore[method-assign]
        (subscription,) = self.node.presence.notifier.subscriptions("presence", BOB)
        return subscription

    def test_reserved_in_vain(self) -> None:
        """Numbers whose reservation failed are not used beyond it (WISHES 19, NOT-06)."""
        self.watch()
        subscription = self.outage_at_reservation()
        subscription.dialog.local_cseq = 899  # the next block is reserved at 900
        self.publish("b")
        self.assertIn(b"b", self.last().body)
        self.assertEqual(self.last().cseq[0], 900)
        self.node.advance(5)
        self.assertEqual(subscription.cseq_limit, 1000)
        for number in range(150):
            self.publish(f"n{number}.")
        used = [n.cseq[0] for n in self.alice.notifies()][1:]
        self.assertEqual(used, list(range(900, 900 + len(used))))
        self.restart()
        self.tag = None
        self.publish("z")
        self.assertGreater(self.last().cseq[0], used[-1])

    def test_reserved_in_vain_then_restart(self) -> None:
        """A restart after a failed reservation repeats no number (WISHES 19)."""
        self.watch()
        subscription = self.outage_at_reservation()
        subscription.dialog.local_cseq = 899
        self.publish("b")
        self.node.advance(5)
        subscription.dialog.local_cseq = 998
        for note in "cdef":
            self.publish(note)
        self.assertEqual(self.last().cseq[0], 1002)
        self.restart()
        self.tag = None
        self.publish("g")
        self.assertGreater(self.last().cseq[0], 1002)

    def test_waits_for_the_reservation(self) -> None:
        """Without a number left a NOTIFY waits for the store; the newest follows (NOT-05)."""
        self.watch()
        self.outage_at_reservation().dialog.local_cseq = 999
        count = len(self.alice.notifies())
        self.publish("b")
        self.node.advance(1.0)
        self.assertEqual(len(self.alice.notifies()), count)
        self.node.advance(4)
        self.assertEqual(len(self.alice.notifies()), count + 1)
        self.assertEqual(self.last().cseq[0], 1000)
        self.assertIn(b"b", self.last().body)


class RestartTests(RaceCase):
    """Recovery (PSV-20, DLG-13)."""

    def test_decided_anew(self) -> None:
        """What the operator decided while the node was down counts (NOT-07, RUL-04)."""
        self.publish("secret")
        self.watch()
        self.decision = "block"
        self.restart()
        self.assertEqual(self.states(), ["active", "terminated"])
        self.assertEqual(self.state(self.last())[1], {"reason": "rejected"})
        self.assertEqual(self.last().body, b"")
        self.assertEqual(self.live(), 0)

    def test_in_flight_at_the_end(self) -> None:
        """What was not acknowledged when the process ended is told again (EVT-01)."""
        self.publish("old")
        self.watch()
        self.node.advance(1)
        self.alice.answer = 0
        self.publish("new")
        self.assertIn(b"new", self.last().body)
        held = self.bob.request("PUBLISH", sender=BOB, body=pidf(note="old"), sip_if_match=self.tag)
        self.bob.ask(held)  # as before: nothing would be left to tell
        self.restart()
        self.alice.answer = 200
        self.node.advance(5)
        self.assertIn(b"old", self.last().body)

    def test_expired_while_down(self) -> None:
        """So with a state that was told, not acknowledged, and expired meanwhile (EVT-01)."""
        self.watch()
        self.node.advance(1)
        self.alice.answer = 0
        self.bob.publish(pidf(note="short"), expires=60)
        self.assertIn(b"short", self.last().body)
        # the process is killed: nothing is noted any more
        self.alice.answer = 200
        self.node.wheel.stop()
        self.node.ua.layer.stop()
        self.patch(self.node.presence.notifier, "stop", lambda: None)
        self.node.clock.advance(100)
        self.restart()
        self.node.advance(1)
        self.assertNotIn(b"short", self.last().body)

    def test_still_pending(self) -> None:
        """A pending subscription stays pending, and becomes active when allowed."""
        self.decision = "confirm"
        self.restart()
        self.publish("x")
        self.watch()
        self.restart()
        self.assertEqual(self.states(), ["pending"])
        self.decision = "allow"
        self.restart()
        self.assertEqual(self.states(), ["pending", "active"])
        self.assertIn(b"x", self.last().body)


class DialogTests(SubscribeCase):
    """Dialogs at a node (DLG-11 to DLG-15, ROU-05)."""

    def test_contact(self) -> None:
        """The same Contact in the 2xx, in NOTIFYs and after a refresh (DLG-11, DLG-19)."""
        made = self.watch()
        again = self.again(made)
        contacts = {made.first("contact"), again.first("contact"), self.last().first("contact")}
        self.assertEqual(len(contacts), 1)
        contact = contacts.pop() or ""
        self.assertTrue(contact.startswith("<sip:") and contact.endswith(";gr>"), contact)
        self.assertNotIn("alice", contact)
        self.assertNotIn("bob", contact)

    def test_sips_contact(self) -> None:
        """A sips Contact for a peer that asks for one (DLG-14)."""
        made = self.watch(contact="<sips:peer@192.0.2.20>")
        self.assertTrue((made.first("contact") or "").startswith("<sips:"))
        made = self.watch(
            call_id="c2", contact="<sips:peer@192.0.2.20>", record_route="<sip:192.0.2.20;lr>"
        )
        self.assertTrue((made.first("contact") or "").startswith("<sip:"))

    def test_target_refresh(self) -> None:
        """A refresh moves the target, never the route set (DLG-08)."""
        made = self.watch(record_route="<sip:192.0.2.20;lr>")
        self.again(
            made, contact="<sip:new@192.0.2.20>", record_route="<sip:192.0.2.99;lr>, <sip:x;lr>"
        )
        self.assertEqual(self.last().uri, "sip:new@192.0.2.20")
        self.assertEqual(self.last().values("route"), ["<sip:192.0.2.20;lr>"])
        self.again(made, contact=None)  # without a Contact it stays
        self.assertEqual(self.last().uri, "sip:new@192.0.2.20")

    def test_matching(self) -> None:
        """Only Call-ID and tags are compared, never the URIs (DLG-16)."""
        made = self.watch()
        response = self.alice.subscribe(
            made.contacts[0].uri, to="sip:other@elsewhere.example", to_tag=made.to.tag, call_id="c1"
        )
        self.assertEqual(response.status, 200)
        for fields in (
            {"call_id": "C1"},
            {"from_tag": "F1"},
            {"to_tag": made.to.tag.upper() + "x"},
        ):
            used: dict[str, Any] = {"to_tag": made.to.tag, "call_id": "c1", **fields}
            self.assertEqual(self.alice.subscribe(made.contacts[0].uri, **used).status, 481)

    def test_no_record_route(self) -> None:
        """We never put ourselves into a route (ROU-05)."""
        made = self.watch()
        self.publish("x")
        self.assertNotIn("record-route", made.headers)
        self.assertNotIn("record-route", self.last().headers)


VECTOR = 'icid-value="b1c9";orig-ioi=home.example'


class TrustTests(SubscribeCase):
    """Header fields of the trust domain (IMS-09, IMS-12 to IMS-14)."""

    def setUp(self) -> None:
        """192.0.2.20 is a trusted peer."""
        super().setUp()
        trust = TrustPolicy([(ipaddress.ip_network("192.0.2.20"), None)])
        domains = Domains([DOMAIN])
        for deferred in self.node.ua.stop():
            self.node.done(deferred)
        self.node = Node(
            network=self.node.network, identities=IdentityPolicy(trust, domains, mode="trust")
        )
        self.node.ua.network = "ours.example"
        self.alice.node = self.bob.node = self.node

    def watch(self, peer: Any = None, **fields: Any) -> Response:
        """A SUBSCRIBE with an asserted identity."""
        fields.setdefault("p_asserted_identity", f"<{ALICE}>")
        return super().watch(peer, **fields)

    def test_vector(self) -> None:
        """NOTIFYs carry the vector of the SUBSCRIBE, the answer our network (IMS-13, IMS-14)."""
        made = self.watch(p_charging_vector=VECTOR)
        self.assertEqual(made.first("p-charging-vector"), f"{VECTOR};term-ioi=ours.example")
        notify = self.last()
        self.assertEqual(notify.headers["p-charging-vector"], [VECTOR])
        self.assertEqual(notify.headers["p-asserted-identity"], [f"<{BOB}>"])

    def test_made(self) -> None:
        """Without one we make it, the same for the life of the dialog (IMS-12)."""
        made = self.watch()
        self.assertNotIn("p-charging-vector", made.headers)
        self.again(made, p_asserted_identity=f"<{ALICE}>")
        one, other = (n.headers["p-charging-vector"] for n in self.alice.notifies())
        self.assertEqual(one, other)
        self.assertIn("orig-ioi=ours.example", one[0])

    def test_kept_inside(self) -> None:
        """A NOTIFY that leaves the trust domain has none of it (IMS-09)."""
        outside = self.node.peer("192.0.2.77")
        self.watch(contact="<sip:peer@192.0.2.77>", p_charging_vector=VECTOR)
        (notify,) = outside.notifies()
        self.assertEqual([name for name in notify.headers if name.startswith("p-")], [])
        self.publish_by_peer("x" * 2000)  # by TCP, or back to UDP
        self.assertEqual(len(outside.notifies()), 2)
        for notify in outside.notifies():
            self.assertEqual([name for name in notify.headers if name.startswith("p-")], [])

    def publish_by_peer(self, note: str) -> None:
        """Bob publishes by the trusted peer."""
        response = self.alice.publish(pidf(note=note), p_asserted_identity=f"<{BOB}>")
        self.assertEqual(response.status, 200)
        self.node.advance(0.5)

    def test_untrusted(self) -> None:
        """Who is not trusted is refused, and told nothing (IMS-01)."""
        response = self.watch(self.bob, p_charging_vector=VECTOR)
        self.assertEqual(response.status, 403)
        self.assertNotIn("p-charging-vector", response.headers)
