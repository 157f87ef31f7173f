"""``presence.winfo`` by its messages: who may look, and what it tells when (PRE-13)."""

from __future__ import annotations

from typing import Any, ClassVar

from twisted.trial.unittest import SynchronousTestCase

from presence.packages import winfo
from pysip.event.table import NotifierPolicy
from pysip.message import response_to
from tests.node import ALICE, BOB, Peer
from tests.presence.watching import BOB_TEL, OPERATOR, WINFO, Looker, WinfoNode


class WinfoCase(SynchronousTestCase):
    """Bob looks at his watchers; Alice is one."""

    options: ClassVar[dict[str, Any]] = {}

    def setUp(self) -> None:
        """A node, Bob, and a phone for watchers."""
        self.node = WinfoNode(**self.options)
        self.bob = Looker(self.node)
        self.phone = self.node.peer("192.0.2.30")
        self.dialogs: dict[str, Any] = {}

    def look(self) -> None:
        """Bob subscribes to his watcher information, which has not begun yet."""
        self.assertEqual(self.bob.subscribe().status, 200)
        self.bob.news()

    def watch(self, user: str = "alice", peer: Peer | None = None, **fields: Any) -> Any:
        """Somebody subscribes to Bob's presence."""
        sender = fields.pop("sender", f"sip:{user}@example.com")
        answer = (peer or self.phone).subscribe(sender=sender, **fields)
        self.dialogs[user] = answer
        return answer

    def unwatch(self, user: str = "alice", **fields: Any) -> Any:
        """... and ends that."""
        dialog = self.dialogs[user]
        fields = {"expires": 0, **fields}
        return self.phone.subscribe(
            sender=f"sip:{user}@example.com",
            call_id=dialog.call_id,
            to_tag=dialog.to.tag,
            **fields,
        )


class SubscribeTests(WinfoCase):
    """SUBSCRIBE for watcher information."""

    def test_first_document(self) -> None:
        """The first NOTIFY is a full document of version 0 (WIN-01, WIN-03, WID-02 to WID-04)."""
        answer = self.bob.subscribe()
        self.assertEqual((answer.status, answer.first("expires")), (200, "3600"))
        self.node.advance(0.5)
        (notify,) = self.bob.peer.notifies()
        self.assertEqual(notify.headers["event"], ["presence.winfo"])
        self.assertEqual(notify.headers["content-type"], ["application/watcherinfo+xml"])
        self.assertEqual(notify.headers["subscription-state"], ["active;expires=3600"])
        (document,) = self.bob.documents()
        self.assertEqual((document.version, document.full), (0, True))
        (each,) = document.lists
        self.assertEqual((each.resource, each.package, each.watchers), (BOB, "presence", ()))

    def test_message_bodies(self) -> None:
        """M3 and M10 of oma-presence.md section 11, for the names used here (WID-01)."""
        self.look()
        self.watch()
        self.node.advance(0.5)
        first, second = (notify.body for notify in self.bob.peer.notifies())
        self.assertEqual(
            first,
            b'<?xml version="1.0" encoding="UTF-8"?>\n'
            b'<watcherinfo xmlns="urn:ietf:params:xml:ns:watcherinfo" version="0" state="full">\n'
            b' <watcher-list resource="sip:bob@example.com" package="presence"/>\n'
            b"</watcherinfo>",
        )
        (alice,) = self.bob.watchers().values()
        self.assertEqual(
            second.decode(),
            '<?xml version="1.0" encoding="UTF-8"?>\n'
            '<watcherinfo xmlns="urn:ietf:params:xml:ns:watcherinfo" version="1"'
            ' state="partial">\n'
            ' <watcher-list resource="sip:bob@example.com" package="presence">\n'
            f'  <watcher id="{alice.id}" status="pending" event="subscribe" expiration="3600"'
            ' duration-subscribed="0">sip:alice@example.com</watcher>\n'
            " </watcher-list>\n"
            "</watcherinfo>",
        )

    def test_accept(self) -> None:
        """The type is meant without Accept; an Accept that lacks it is a 406 (WIN-01)."""
        for accept, status in (
            (None, 200),
            ("application/watcherinfo+xml", 200),
            ("application/*;q=0.5", 200),
            ("application/pidf+xml", 406),
            ("application/watcherinfo+xml;q=0", 406),
        ):
            looker = Looker(self.node, f"192.0.2.{40 + len(str(accept))}")
            answer = looker.subscribe(accept=accept)
            self.assertEqual(answer.status, status, accept)
            if status == 406:
                self.assertEqual(answer.headers["accept"], ["application/watcherinfo+xml"])

    def test_who_may(self) -> None:
        """The presentity by any of its URIs and operators may look, nobody else (WIN-02)."""
        for n, (sender, status) in enumerate(
            (
                (BOB, 200),
                (BOB_TEL, 200),
                (OPERATOR, 200),
                (ALICE, 403),
                ("sip:anonymous@anonymous.invalid", 403),
            )
        ):
            looker = Looker(self.node, f"192.0.2.{50 + n}", sender)
            self.assertEqual(looker.subscribe().status, status, sender)

    def test_an_allowed_watcher(self) -> None:
        """Who may watch may not look for that (WIN-02)."""
        self.node.decide("allow")
        self.watch()
        self.assertEqual(Looker(self.node, "192.0.2.50", ALICE).subscribe().status, 403)

    def test_of_somebody_else(self) -> None:
        """Bob sees nobody else's watchers; a stranger's address is 404 (WIN-02)."""
        self.assertEqual(self.bob.subscribe("sip:carol@example.com").status, 403)
        self.assertEqual(Looker(self.node, "192.0.2.51").subscribe("sip:x@other.com").status, 404)

    def test_recursion(self) -> None:
        """Watchers of watchers are not offered (WIN-08)."""
        answer = self.bob.subscribe(event="presence.winfo.winfo")
        self.assertEqual(answer.status, 489)
        self.assertEqual(answer.headers["allow-events"], ["presence"])

    def test_body(self) -> None:
        """A body that must be understood and is not is refused (SUB-17)."""
        answer = self.bob.subscribe(body=b"x", content_type="application/unknown")
        self.assertEqual(answer.status, 415)

    def test_refresh(self) -> None:
        """After a refresh everything is told, in the next version (WIN-03, WID-02)."""
        self.look()
        self.watch()
        self.bob.news()
        self.bob.subscribe()
        self.node.advance(0.5)
        (document,) = self.bob.documents()
        self.assertEqual((document.version, document.full), (2, True))
        self.assertEqual(self.bob.rows(), [("alice", "pending", "subscribe")])

    def test_fetch(self) -> None:
        """A fetch gets a full document of version 0 and leaves nothing behind (PSV-05, WIN-03)."""
        self.watch()
        self.assertEqual(self.bob.subscribe(expires=0).status, 200)
        self.node.advance(0.5)
        (document,) = self.bob.documents()
        self.assertEqual((document.version, document.full), (0, True))
        self.assertEqual(self.bob.rows(), [("alice", "pending", "subscribe")])
        (notify,) = self.bob.peer.notifies()
        self.assertEqual(notify.headers["subscription-state"], ["terminated;reason=timeout"])
        self.assertEqual(self.node.presence.notifier.subscriptions(WINFO, BOB), [])

    def test_unsubscribe(self) -> None:
        """The last NOTIFY tells everything, too (WIN-03)."""
        self.look()
        self.watch()
        self.bob.news()
        self.bob.subscribe(expires=0)
        self.node.advance(0.5)
        (document,) = self.bob.documents()
        self.assertEqual((document.version, document.full), (2, True))
        self.assertEqual(len(document.lists[0].watchers), 1)
        self.watch("carol")
        self.assertEqual(self.bob.news(), [])

    def test_refused_by_the_store(self) -> None:
        """A refresh and an end that cannot be kept cost nothing but a fuller document."""
        self.look()
        for expires in (600, 0):
            self.node.store.fail_next()
            self.assertEqual(self.bob.subscribe(expires=expires).status, 500)
            self.node.advance(2)
            self.flushLoggedErrors()
            self.bob.documents()
            self.watch(f"alice{expires}")
            self.bob.news()
        self.assertEqual([row[0] for row in self.bob.rows()], ["alice0", "alice600"])


class MachineTests(WinfoCase):
    """What happens to watchers, as Bob sees it (events.md D.2)."""

    def setUp(self) -> None:
        """Bob looks from the start."""
        super().setUp()
        self.look()

    def states(self) -> list[str]:
        """Subscription-State of the NOTIFYs that watchers got."""
        return [r.headers["subscription-state"][0] for r in self.phone.notifies()]

    def test_allowed(self) -> None:
        """A watcher that is allowed is active by its SUBSCRIBE, and terminated by its end."""
        self.node.decide("allow")
        self.assertEqual(self.watch().status, 200)
        self.assertEqual(self.bob.news(), [[("alice", "active", "subscribe")]])
        self.unwatch()
        self.assertEqual(self.bob.news(), [[("alice", "terminated", "timeout")]])
        self.bob.subscribe()
        self.assertEqual(self.bob.news(), [[]])

    def test_polite_block(self) -> None:
        """A politely blocked watcher is active (WFS-07, PBK-07)."""
        self.node.decide("polite-block")
        self.assertEqual(self.watch().status, 200)
        self.assertEqual(self.bob.news(), [[("alice", "active", "subscribe")]])

    def test_blocked(self) -> None:
        """A blocked watcher gets 403 and is never told of (WFS-01, WFS-07)."""
        self.node.decide("block")
        self.assertEqual(self.watch().status, 403)
        self.assertEqual(self.watch(expires=0).status, 403)
        self.assertEqual(self.bob.news(), [])
        self.bob.subscribe()
        self.assertEqual(self.bob.news(), [[]])

    def test_approved(self) -> None:
        """Pending, then allowed: active by ``approved``, the same row (WFS-01, WID-05, WID-06)."""
        self.assertEqual(self.watch().status, 202)
        self.assertEqual(self.bob.news(), [[("alice", "pending", "subscribe")]])
        before = self.bob.watchers()["alice"].id
        self.node.decide(alice="allow")
        self.assertEqual(self.bob.news(), [[("alice", "active", "approved")]])
        self.assertEqual(self.bob.watchers()["alice"].id, before)
        self.assertEqual(self.states(), ["pending;expires=3600", "active;expires=3599"])

    def test_approved_politely(self) -> None:
        """Pending, then politely blocked: active by ``approved`` (WFS-07)."""
        self.watch()
        self.bob.news()
        self.node.decide(alice="polite-block")
        self.assertEqual(self.bob.news(), [[("alice", "active", "approved")]])
        self.node.decide(alice="allow")
        self.assertEqual(self.bob.news(), [])

    def test_decided_the_same(self) -> None:
        """A decision that stays the same is no event (WFS-01)."""
        self.node.decide(alice="allow")
        self.watch()
        self.watch("carol")
        self.bob.news()
        self.node.decide()
        self.node.decide(alice="allow", carol="confirm")
        self.assertEqual(self.bob.news(), [])

    def test_rejected(self) -> None:
        """Pending or active, then blocked: terminated by ``rejected`` (WFS-01)."""
        self.node.decide(alice="allow")
        self.watch()
        self.watch("carol")
        self.bob.news()
        self.node.decide("block", alice="block")
        self.assertEqual(
            self.bob.news(),
            [[("alice", "terminated", "rejected"), ("carol", "terminated", "rejected")]],
        )
        self.assertEqual(self.states()[-2:], ["terminated;reason=rejected"] * 2)
        self.assertEqual(self.bob.peer.notifies()[-1].body.count(b"expiration"), 0)

    def test_withdrawn(self) -> None:
        """Active, then to be confirmed again: pending, the same row (XDM-137)."""
        self.node.decide(alice="allow")
        self.watch()
        self.bob.news()
        before = self.bob.watchers()["alice"].id
        self.node.decide(alice="confirm")
        self.assertEqual(self.bob.news(), [[("alice", "pending", "subscribe")]])
        self.assertEqual(self.bob.watchers()["alice"].id, before)
        self.node.decide(alice="allow")
        self.assertEqual(self.bob.news(), [[("alice", "active", "approved")]])

    def test_pending_expires(self) -> None:
        """A pending subscription that ends leaves its watcher waiting (WFS-01, WID-07)."""
        self.watch(expires=60)
        self.bob.news()
        self.assertEqual(self.bob.news(61), [[("alice", "waiting", "timeout")]])
        self.assertIsNone(self.bob.watchers()["alice"].expiration)
        self.assertEqual(self.bob.watchers()["alice"].duration, 60)
        self.assertEqual(self.states()[-1], "terminated;reason=timeout")

    def test_pending_unsubscribes(self) -> None:
        """So does one that is un-SUBSCRIBEd (WFS-01)."""
        self.watch()
        self.bob.news()
        self.unwatch()
        self.assertEqual(self.bob.news(), [[("alice", "waiting", "timeout")]])

    def test_active_unanswered(self) -> None:
        """An active watcher that does not answer NOTIFYs has ended by ``timeout`` (WFS-01)."""
        self.node.decide("allow")
        self.watch()
        self.bob.news()
        self.phone.answer = 481
        self.phone.publish(b"", expires=60)
        subscriptions = self.node.presence.notifier.subscriptions("presence", BOB)
        self.node.presence.notifier.sender.owe(subscriptions[0], 2)
        self.assertEqual(self.bob.news(), [[("alice", "terminated", "timeout")]])

    def test_ended_by_the_server(self) -> None:
        """Migration, probation and removal of the presentity have their events (WFS-01)."""
        notifier = self.node.presence.notifier
        for allowed in ("allow", "confirm"):
            self.node.decide(allowed)
            for reason, event in (
                ("deactivated", "deactivated"),
                ("probation", "probation"),
                ("noresource", "noresource"),
                ("invariant", "deactivated"),
            ):
                self.watch()
                self.bob.news()
                (subscription,) = notifier.subscriptions("presence", BOB)
                notifier.terminate(subscription, reason)
                self.assertEqual(self.bob.news(), [[("alice", "terminated", event)]])

    def test_waiting_decided(self) -> None:
        """A decision on who waits ends the wait, and the watcher hears nothing (WFS-02)."""
        for decision, event in (
            ("allow", "approved"),
            ("polite-block", "approved"),
            ("block", "rejected"),
        ):
            self.node.decide("confirm")
            self.watch()
            self.unwatch()
            self.bob.news()
            told = len(self.phone.notifies())
            self.node.decide(decision)
            self.assertEqual(self.bob.news(), [[("alice", "terminated", event)]])
            self.assertEqual(len(self.phone.notifies()), told)
            self.assertEqual(self.node.book.entries(BOB), [])

    def test_waiting_and_no_resource(self) -> None:
        """Who waits for somebody that is no more waits no longer (WFS-01)."""
        self.watch()
        self.unwatch()
        self.bob.news()
        self.node.book.removed(BOB, self.node.wall() - 60)  # that was another Bob
        self.node.book.removed(ALICE, self.node.wall())
        self.assertEqual(self.bob.news(), [])
        self.node.book.removed(BOB, self.node.wall())
        self.assertEqual(self.bob.news(), [[("alice", "terminated", "noresource")]])

    def test_waiting_and_again(self) -> None:
        """A new SUBSCRIBE of who waits ends the wait and starts a new row (WFS-01)."""
        self.watch()
        self.unwatch()
        self.bob.news()
        self.watch()
        (news,) = self.bob.news()
        self.assertEqual(
            sorted(news), [("alice", "pending", "subscribe"), ("alice", "terminated", "giveup")]
        )
        self.bob.subscribe()
        self.assertEqual(self.bob.news(), [[("alice", "pending", "subscribe")]])

    def test_waiting_and_again_allowed(self) -> None:
        """If it is allowed by then, the wait was for that (WFS-01)."""
        self.watch()
        self.unwatch()
        self.bob.news()
        self.node.rules.default = "allow"
        self.watch()
        (news,) = self.bob.news()
        self.assertEqual(
            sorted(news), [("alice", "active", "subscribe"), ("alice", "terminated", "approved")]
        )

    def test_waiting_is_by_watcher(self) -> None:
        """Somebody else's SUBSCRIBE ends nobody's wait (WFS-01)."""
        self.watch()
        self.unwatch()
        self.bob.news()
        self.watch("carol")
        self.assertEqual(self.bob.news(), [[("carol", "pending", "subscribe")]])
        self.assertEqual(len(self.node.book.entries(BOB)), 2)

    def test_device_comes_again(self) -> None:
        """A device in place of itself leaves one pending row (WFS-01)."""
        contact = '<sip:peer@192.0.2.30>;+sip.instance="<urn:uuid:1>"'
        self.watch(contact=contact)
        self.bob.news()
        self.watch(contact=contact, from_tag="f2")
        (news,) = self.bob.news()
        self.assertEqual(
            sorted(news), [("alice", "pending", "subscribe"), ("alice", "terminated", "giveup")]
        )
        self.assertEqual(len(self.node.book.entries(BOB)), 1)

    def test_fetch_unauthorized(self) -> None:
        """A fetch that has to be confirmed leaves its watcher waiting (WFS-03)."""
        self.assertEqual(self.watch(expires=0).status, 202)
        self.assertEqual(self.bob.news(), [[("alice", "waiting", "timeout")]])
        before = self.bob.watchers()["alice"].id
        self.watch(expires=0)
        (news,) = self.bob.news()
        self.assertEqual(
            sorted(news), [("alice", "terminated", "giveup"), ("alice", "waiting", "timeout")]
        )
        self.bob.subscribe()
        self.node.advance(0.5)
        self.bob.documents()
        self.assertNotEqual(self.bob.watchers()["alice"].id, before)
        self.assertEqual(len(self.bob.watchers()), 1)

    def test_fetch_authorized(self) -> None:
        """A fetch of who is allowed is transient: nothing is told (WIN-04)."""
        self.node.decide("allow")
        self.watch(expires=0)
        self.assertEqual(self.bob.news(), [])

    def test_decided_at_the_end(self) -> None:
        """Who was approved, and ends before anybody is told, was active (WFS-01)."""
        self.watch()
        self.bob.news()
        self.node.rules.default = "allow"
        self.unwatch()
        self.assertEqual(self.bob.news(), [[("alice", "terminated", "timeout")]])
        self.watch()
        self.bob.news()
        self.node.rules.default = "block"
        self.unwatch()
        self.assertEqual(self.bob.news(), [[("alice", "terminated", "rejected")]])

    def test_order_of_messages(self) -> None:
        """The watcher's NOTIFY leaves before the presentity's (oma-presence.md M8, M10)."""
        order: list[str] = []
        self.phone.answer = lambda request: (order.append("alice"), response_to(request, 200))[1]
        self.bob.peer.answer = lambda request: (order.append("bob"), response_to(request, 200))[1]
        self.watch()
        self.bob.news()
        self.assertEqual(order, ["alice", "bob"])


class RowTests(WinfoCase):
    """What is told of a watcher."""

    def test_attributes(self) -> None:
        """Name, time left and time since the SUBSCRIBE (WID-07)."""
        self.phone.subscribe(**{"from": '"Alice L." <sip:alice@example.com>;tag=x', "expires": 600})
        self.node.advance(20)
        self.bob.subscribe()
        self.node.advance(0.3)
        alice = self.bob.watchers()["alice"]
        self.assertEqual(
            (alice.display_name, alice.expiration, alice.duration), ("Alice L.", 580, 20)
        )

    def test_time_left_after_refresh(self) -> None:
        """A refresh changes the time left and is not worth a NOTIFY (WID-07, WIN-04)."""
        self.look()
        answer = self.watch(expires=600)
        self.bob.news(100)
        self.unwatch(expires=900, cseq=50)
        self.assertEqual(self.bob.news(10), [])
        self.bob.subscribe()
        self.node.advance(0.3)
        self.assertEqual(self.bob.watchers()["alice"].expiration, 890)
        self.assertEqual(answer.status, 202)

    def test_anonymous(self) -> None:
        """Who wants privacy has neither URI nor name, and an id of its own (WIN-07)."""
        for sender, privacy in (
            ('"A" <sip:alice@example.com>', "id"),
            ('"C" <sip:carol@example.com>', "id"),
            ('"X" <sip:anonymous@anonymous.invalid>', None),
        ):
            fields = {"from": f"{sender};tag=x", "privacy": privacy}
            self.assertEqual(self.phone.subscribe(**fields).status, 202)
        self.bob.subscribe()
        self.node.advance(0.3)
        self.bob.documents()
        rows = [watcher for _, watcher in self.bob.table.rows()]
        self.assertEqual(len({watcher.id for watcher in rows}), 3)
        for watcher in rows:
            self.assertEqual(watcher.uri, "sip:anonymous@anonymous.invalid")
            self.assertEqual(watcher.display_name, "")
        self.assertNotIn(b"alice", self.bob.peer.notifies()[0].body)

    def test_ids(self) -> None:
        """Ids are tokens, differ for all, and hold nothing of the dialog (WID-06)."""
        for user in ("alice", "carol"):
            for tag in ("t1", "t2"):
                self.watch(user, from_tag=tag, call_id=f"{user}{tag}")
        self.bob.subscribe()
        self.node.advance(0.3)
        self.bob.documents()
        ids = [watcher.id for _, watcher in self.bob.table.rows()]
        self.assertEqual(len(set(ids)), 4)
        for number in ids:
            self.assertRegex(number, r"^w[0-9a-f]{8,16}$")

    def test_pending_first(self) -> None:
        """Who waits for a decision is told of first."""
        self.node.decide("allow", carol="confirm", dave="confirm")
        for user in ("alice", "carol", "eve", "dave"):
            self.watch(user)
        self.unwatch("dave")
        self.bob.subscribe()
        self.assertEqual(
            [row[:2] for row in self.bob.news()[0]],
            [("carol", "pending"), ("dave", "waiting"), ("alice", "active"), ("eve", "active")],
        )


class RateTests(WinfoCase):
    """Changes become one document in each interval."""

    options: ClassVar = {"interval": 5.0}

    def test_coalesced(self) -> None:
        """At most one NOTIFY in 5 s, with the last state of each watcher (WIN-05)."""
        self.look()
        self.node.advance(5)
        self.watch()
        self.assertEqual(self.bob.news(), [[("alice", "pending", "subscribe")]])
        self.watch("carol")
        self.node.decide("allow")
        self.watch("dave")
        self.assertEqual(self.bob.news(4), [])
        (news,) = self.bob.news(2)
        self.assertEqual(
            sorted(news),
            [
                ("alice", "active", "approved"),
                ("carol", "active", "approved"),
                ("dave", "active", "subscribe"),
            ],
        )

    def test_pending_and_gone(self) -> None:
        """Who was pending and terminated between two NOTIFYs is told of once (WIN-05, WFS-06)."""
        self.look()
        self.node.advance(5)
        self.watch("carol")
        self.bob.news()
        self.watch()
        self.node.decide("block")
        (news,) = self.bob.news(6)
        self.assertEqual(
            sorted(news),
            [("alice", "terminated", "rejected"), ("carol", "terminated", "rejected")],
        )
        self.assertEqual(self.bob.news(10), [])
        self.bob.subscribe()
        self.assertEqual(self.bob.news(), [[]])

    def test_nothing_but_gone(self) -> None:
        """... also when that leaves the watchers as they were (WIN-05, WFS-06)."""
        self.look()
        self.node.advance(5)
        self.watch("carol")
        self.bob.news()
        self.watch()
        self.node.decide(alice="block")
        self.assertEqual(self.bob.news(6), [[("alice", "terminated", "rejected")]])
        self.assertEqual(self.bob.news(10), [])
        self.node.presence.notifier.changed(WINFO, BOB)
        self.assertEqual(self.bob.news(10), [])

    def test_transient(self) -> None:
        """Who came and went between two NOTIFYs without being asked for is not (WIN-04)."""
        self.look()
        self.node.decide("allow")
        self.node.advance(5)
        self.watch("carol")
        self.bob.news()
        self.watch()
        self.unwatch()
        self.assertEqual(self.bob.news(10), [])

    def test_gone_before_refresh(self) -> None:
        """A full document names those who have gone untold once, too (WFS-06)."""
        self.look()
        self.node.advance(5)
        self.watch("carol")
        self.bob.news()
        self.watch()
        self.node.decide(alice="block")
        self.bob.subscribe()
        self.assertEqual(
            self.bob.news(),
            [[("carol", "pending", "subscribe"), ("alice", "terminated", "rejected")]],
        )
        self.bob.subscribe()
        self.assertEqual(self.bob.news(), [[("carol", "pending", "subscribe")]])


class FailureTests(WinfoCase):
    """NOTIFYs that do not arrive."""

    def setUp(self) -> None:
        """Bob looks."""
        super().setUp()
        self.look()

    def test_told_again(self) -> None:
        """What was not confirmed is told again, in full and in a new version (WID-02, WID-08)."""
        self.bob.peer.answer = _busy
        self.watch()
        self.assertEqual(self.bob.news(0.3), [[("alice", "pending", "subscribe")]])
        self.bob.peer.answer = 200
        self.unwatch()
        self.watch("carol")
        self.node.advance(3)
        (document,) = self.bob.documents()
        self.assertEqual((document.version, document.full), (2, True))
        self.assertEqual(
            self.bob.rows(), [("alice", "waiting", "timeout"), ("carol", "pending", "subscribe")]
        )
        self.watch("dave")
        self.node.advance(1)
        (document,) = self.bob.documents()
        self.assertEqual((document.version, document.full), (3, False))

    def test_change_in_flight(self) -> None:
        """What changes while a NOTIFY is on its way is told in the next one (WIN-05)."""
        waiting: list[Any] = []
        self.bob.peer.answer = lambda request: waiting.append(request)
        self.watch()
        self.node.advance(0.2)
        self.node.decide(alice="allow")
        self.watch("carol")
        self.bob.peer.answer = 200
        for request in waiting[:1]:
            self.bob.peer.send(response_to(request, 200))
        news = self.bob.news(1)
        self.assertEqual(news[0], [("alice", "pending", "subscribe")])
        self.assertEqual(
            sorted(news[-1]), [("alice", "active", "approved"), ("carol", "pending", "subscribe")]
        )
        self.assertEqual(self.bob.refreshes, 0)

    def test_refresh_in_flight(self) -> None:
        """A refresh while a NOTIFY is on its way gets full state all the same (WIN-03)."""
        waiting: list[Any] = []
        self.bob.peer.answer = lambda request: waiting.append(request)
        self.watch()
        self.node.advance(0.2)
        self.bob.subscribe()
        self.bob.peer.answer = 200
        self.bob.peer.send(response_to(waiting[0], 200))
        self.node.advance(1)
        documents = self.bob.documents()
        self.assertEqual([(d.version, d.full) for d in documents], [(1, False), (2, True)])

    def test_gone(self) -> None:
        """Who answers 481 is looked at no more; its state goes with it (NOT-10)."""
        self.bob.peer.answer = 481
        self.watch()
        self.node.advance(1)
        self.assertEqual(self.node.presence.notifier.subscriptions(WINFO, BOB), [])


class ManyTests(WinfoCase):
    """More watchers than a document holds."""

    options: ClassVar = {"most": 3}

    def test_parts(self) -> None:
        """The rest of a full document follows in partial ones, until all is told."""
        for n in range(8):
            self.watch(f"u{n}")
        self.bob.subscribe()
        self.node.advance(1)
        documents = self.bob.documents()
        self.assertEqual([d.full for d in documents], [True, False, False])
        self.assertEqual([len(d.lists[0].watchers) for d in documents], [3, 3, 2])
        self.assertEqual([d.version for d in documents], [0, 1, 2])
        self.assertEqual(len(self.bob.rows()), 8)
        self.node.presence.notifier.changed(WINFO, BOB)
        self.assertEqual(self.bob.news(2), [])

    def test_changes_between_parts(self) -> None:
        """A change between the parts is told, and nothing is lost."""
        for n in range(8):
            self.watch(f"u{n}")
        self.bob.subscribe()
        self.node.decide("allow", u1="block")
        self.bob.news(2)
        self.assertEqual(
            {row[:2] for row in self.bob.rows()} - {("u1", "terminated")},
            {(f"u{n}", "active") for n in range(8) if n != 1},
        )

    def test_fetch(self) -> None:
        """A fetch gets what fits: it has one NOTIFY only."""
        for n in range(8):
            self.watch(f"u{n}")
        self.bob.subscribe(expires=0)
        self.assertEqual([len(rows) for rows in self.bob.news(2)], [3])

    def test_too_many_have_gone(self) -> None:
        """Bounded: when too many have gone untold, who is there is told instead (SEC-05)."""
        self.patch(winfo, "MOST_WATCHERS", 5)
        self.look()
        self.bob.peer.answer = 0
        for n in range(9):
            self.watch(f"u{n}")
            self.node.decide(**{f"u{n}": "block"})
        self.watch("last")
        (subscription,) = self.node.presence.notifier.subscriptions(WINFO, BOB)
        view: Any = subscription.data
        self.assertLess(len(view.changed), 8)
        self.bob.peer.answer = 200
        self.node.advance(5)
        self.bob.documents()
        self.assertEqual(
            [row for row in self.bob.rows() if row[1] != "terminated"],
            [("last", "pending", "subscribe")],
        )


class InterruptedTests(WinfoCase):
    """The server ends between the parts of a long list."""

    options: ClassVar = {"most": 3, "interval": 5.0}

    def test_restart_between_parts(self) -> None:
        """What was told in part is told again from the start (PSV-20, WIN-03)."""
        for n in range(4):
            self.watch(f"u{n}")
        self.look()
        self.assertEqual(len(self.bob.rows()), 3)
        for _ in range(2):
            self.node = self.bob.node = self.node.restart()
            self.bob.news(1)
        self.bob.news(20)
        self.assertEqual([row[0] for row in self.bob.rows()], ["u0", "u1", "u2", "u3"])
        self.assertEqual(self.bob.news(20), [])


class RestartTests(WinfoCase):
    """The server ends and begins again (PSV-20, WFS-02)."""

    def again(self, down: float = 0.0) -> None:
        """Restart, and let time pass."""
        self.node = self.node.restart(down)
        self.bob.node = self.node
        self.node.advance(1)

    def test_nothing_has_changed(self) -> None:
        """A subscriber that knows everything hears nothing (PSV-20).

        The next change comes with everything, since the version has skipped (WID-02, WID-08).
        """
        self.look()
        self.node.decide(eve="allow")
        for user in ("alice", "carol", "dave", "eve"):
            self.watch(user)
        self.unwatch("dave")
        self.node.decide(carol="allow")
        self.bob.news()
        before = self.bob.watchers()
        self.again()
        self.assertEqual(self.bob.news(), [])
        self.watch("frank")
        self.node.advance(1)
        (document,) = self.bob.documents()
        self.assertTrue(document.full)
        self.assertGreater(document.version, 5)
        self.watch("grace")
        self.node.advance(1)
        (document,) = self.bob.documents()
        self.assertFalse(document.full)
        self.assertEqual(self.bob.refreshes, 0)
        self.assertEqual(len(self.bob.watchers()), len(before) + 2)
        self.bob.subscribe()
        self.bob.news()
        after = self.bob.watchers()
        for user, watcher in before.items():
            self.assertEqual(
                (after[user].id, after[user].status, after[user].event),
                (watcher.id, watcher.status, watcher.event),
            )

    def test_waiting_survives(self) -> None:
        """Who waits still waits, with name, and is decided on as ever (WFS-02)."""
        self.phone.subscribe(**{"from": '"Al" <sip:alice@example.com>;tag=x', "expires": 0})
        self.node.advance(1)
        self.again(down=100)
        self.look()
        alice = self.bob.watchers()["alice"]
        self.assertEqual((alice.status, alice.display_name), ("waiting", "Al"))
        self.assertGreaterEqual(alice.duration or 0, 100)
        self.node.decide("allow")
        self.assertEqual(self.bob.news(), [[("alice", "terminated", "approved")]])
        self.again()
        self.assertEqual(self.node.book.entries(BOB), [])

    def test_pending_survives(self) -> None:
        """A pending watcher stays pending; one whose time is over meanwhile waits (WFS-02)."""
        self.watch(expires=600)
        self.watch("carol", expires=60)
        self.look()
        before = self.bob.watchers()
        self.again(down=100)
        self.bob.news(1)
        self.assertEqual(
            self.bob.rows(), [("alice", "pending", "subscribe"), ("carol", "waiting", "timeout")]
        )
        self.assertEqual(
            {user: w.id for user, w in self.bob.watchers().items()},
            {user: w.id for user, w in before.items()},
        )

    def test_changed_meanwhile(self) -> None:
        """What has changed before the watcher heard of it is told in full (PSV-20)."""
        self.look()
        self.watch()
        self.bob.news()
        self.bob.peer.answer = 0
        self.watch("carol")
        self.node.advance(0.5)
        self.bob.peer.answer = 200
        self.bob.documents()
        self.again()
        (document,) = self.bob.documents()
        self.assertTrue(document.full)
        self.assertEqual([row[0] for row in self.bob.rows()], ["alice", "carol"])

    def test_decided_meanwhile(self) -> None:
        """Rules that have changed while the server was down take effect at its start (WFS-01)."""
        self.look()
        self.watch()
        self.bob.news()
        self.node.rules.default = "allow"
        self.again()
        self.bob.news()
        self.assertEqual(self.bob.rows(), [("alice", "active", "approved")])

    def test_refreshed_at_once(self) -> None:
        """A refresh right after the start gets full state (WIN-03)."""
        self.look()
        self.watch()
        self.bob.news()
        self.node = self.bob.node = self.node.restart()
        self.bob.subscribe()
        self.node.advance(1)
        self.assertEqual([d.full for d in self.bob.documents()], [True])

    def test_lost_record(self) -> None:
        """A pending subscription whose record did not reach the store is there all the same."""
        self.watch()
        self.node.store._watchers.clear()
        self.again()
        self.look()
        self.assertEqual(self.bob.rows(), [("alice", "pending", "subscribe")])
        self.assertEqual(len(self.node.store._watchers), 1)

    def test_lost_subscription(self) -> None:
        """The record of a pending subscription that has gone makes its watcher wait (WFS-02)."""
        self.watch()
        self.watch("carol")
        self.node.decide(carol="allow")
        self.node.store._subscriptions.clear()
        self.again()
        self.look()
        self.assertEqual(self.bob.rows(), [("alice", "waiting", "timeout")])
        self.assertEqual([r.status for r in self.node.store._watchers.values()], ["waiting"])

    def test_number_used_again(self) -> None:
        """A record of another subscription with the same number is not mistaken for it."""
        self.watch()
        ((id, record),) = self.node.store._subscriptions.items()
        self.node.store._subscriptions.clear()
        self.again()
        self.assertEqual(len(self.node.store._watchers), 1)
        self.watch("carol")
        self.assertEqual(list(self.node.store._subscriptions), [id])
        self.assertNotEqual(self.node.store._subscriptions[id], record)
        self.look()
        self.assertEqual(
            self.bob.rows(), [("alice", "waiting", "timeout"), ("carol", "pending", "subscribe")]
        )


class LimitTests(WinfoCase):
    """How many subscriptions of others' a presentity bears (SEC-05)."""

    options: ClassVar = {"policy": NotifierPolicy(min_expires=1, per_resource=2)}

    def test_lookers(self) -> None:
        """Watcher information subscriptions are limited like others (SUB-18)."""
        status = [Looker(self.node, f"192.0.2.{60 + n}").subscribe().status for n in range(3)]
        self.assertEqual(status, [200, 200, 403])


def _busy(request: Any) -> Any:
    """503 with Retry-After."""
    response = response_to(request, 503)
    response.set("Retry-After", "1")
    return response
