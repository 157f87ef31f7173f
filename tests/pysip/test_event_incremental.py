"""Packages whose notifications tell of changes: what the notifier does for them."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from presence.limits import DomainRates
from pysip.errors import SipError
from pysip.event.dialogrecord import decode_dialog
from pysip.event.dialogsubscription import DialogSubscription
from pysip.event.interfaces import IEventPackage
from pysip.event.notification import Notification, entity_tag
from pysip.event.table import NotifierPolicy
from pysip.message import response_to
from tests.node import BOB, Node, Peer


@implementer(IEventPackage)
class Counting:
    """Tells the numbers since the last one that the watcher has acknowledged."""

    name = event = "counting"
    default_expires = 3600
    notify_types = ("text/plain",)
    subscribe_types = ("*/*",)
    template = False
    incremental = True

    def __init__(self) -> None:
        self.number = 0
        self.open = True
        self.seen: dict[int, int] = {}
        self.told: list[Any] = []
        self.preparing: Any = None

    def resolve(self, request: Any) -> str:
        """Everybody counts."""
        return BOB

    def entity(self, request: Any, resource: str) -> str:
        """The same."""
        return resource

    def prepare(self, request: Any, watcher: Any) -> Any:
        """What the test says."""
        return self.preparing

    def authorize(self, resource: str, watcher: Any) -> str:
        """Whoever likes."""
        return "active"

    def choose_type(self, request: Any) -> str:
        """Text."""
        return "text/plain"

    def subscribe(self, request: Any, subscription: Any, initial: bool) -> None:
        """Keep the body."""
        if request.body == b"bad":
            raise SipError(400)
        subscription.detail = request.body or subscription.detail
        subscription.data = request.body
        subscription.event_params = ";n=" + request.body.decode() if request.body else ""
        self.told.append(("subscribe", initial, subscription.lasting))

    def notification(self, subscription: Any) -> Notification | None:
        """Numbers after the acknowledged one."""
        if not self.open:
            return None
        known = self.seen.get(subscription.id, subscription.delivered or 0)
        text = ",".join(map(str, range(known + 1, self.number + 1)))
        self.told.append(("told", self.number))
        return Notification("text/plain", text.encode(), digest=self.number)

    def entity_tag(self, subscription: Any) -> str | None:
        """That of the number."""
        return entity_tag(self.number)

    def acknowledged(self, subscription: Any) -> None:
        """Count on from there."""
        self.seen[subscription.id] = self.told[-1][1]

    def subscribed(self, subscription: Any) -> None:
        """Noted."""
        self.told.append(("subscribed", subscription.detail))

    def unsubscribed(self, subscription: Any) -> None:
        """Noted."""
        self.told.append(("unsubscribed", subscription.detail))


class IncrementalTests(SynchronousTestCase):
    """A package that keeps state of its own for each subscription."""

    def setUp(self) -> None:
        """A node that serves the package, and a watcher."""
        self.package = Counting()
        self.node = Node()
        self.node.presence.notifier.add_package(self.package)
        self.peer = self.node.peer()

    def subscribe(self, **fields: Any) -> Any:
        """SUBSCRIBE to the count."""
        fields.setdefault("content_type", "text/plain")
        return self.peer.subscribe(event="counting", **fields)

    def count(self, *subscriptions: Any) -> None:
        """One more, and tell."""
        self.package.number += 1
        for subscription in self.node.presence.notifier.subscriptions("counting", BOB):
            self.node.presence.notifier.touch(subscription)
        self.node.advance(1)

    def bodies(self, peer: Peer | None = None) -> list[bytes]:
        """Bodies of the NOTIFYs."""
        return [request.body for request in (peer or self.peer).notifies()]

    def test_changes_since_acknowledged(self) -> None:
        """Each NOTIFY goes on from the last one that got a 2xx; a failed one is repeated."""
        self.subscribe(body=b"x")
        self.count()
        self.assertEqual(self.bodies(), [b"", b"1"])
        self.peer.answer = _busy
        self.count()
        self.peer.answer = 200
        self.node.advance(5)
        self.assertEqual(self.bodies()[2:], [b"2", b"2"])
        self.assertEqual(self.peer.notifies()[-1].headers["event"], ["counting;n=x"])

    def test_nothing_new(self) -> None:
        """A watcher that has been told everything is not told again."""
        self.subscribe(body=b"x")
        (subscription,) = self.node.presence.notifier.subscriptions("counting", BOB)
        self.node.presence.notifier.touch(subscription)
        self.node.advance(1)
        self.assertEqual(len(self.bodies()), 1)

    def test_refused(self) -> None:
        """What the package refuses leaves nothing behind."""
        self.assertEqual(self.subscribe(body=b"bad").status, 400)
        self.assertEqual(len(self.node.presence.notifier), 0)

    def test_time_out_ends(self) -> None:
        """A NOTIFY that nobody answers ends the subscription, whatever presence does (XEVT-14)."""
        notifier = self.node.presence.notifier
        notifier.set_policy(NotifierPolicy(keep_on_timeout=True), DomainRates(0.0, {}))
        self.subscribe(body=b"x")
        self.peer.answer = 0
        self.count()
        self.node.advance(40, step=0.5)
        self.assertEqual(len(notifier), 0)

    def test_answer_after_the_end(self) -> None:
        """What is answered once the notifier has stopped changes nothing in the store."""
        self.subscribe(body=b"x")
        (subscription,) = self.node.presence.notifier.subscriptions("counting", BOB)
        self.node.presence.stop()
        self.node.presence.notifier.sender.answered(subscription, 481, None)
        self.assertEqual(len(self.node.presence.notifier), 1)

    def test_reason(self) -> None:
        """The package learns why a subscription has ended (WFS-01)."""
        reasons: list[str] = []
        self.package.unsubscribed = lambda ended: reasons.append(ended.reason)  # type: ignore
        notifier = self.node.presence.notifier
        answer = self.subscribe(body=b"x")
        self.subscribe(expires=0, call_id=answer.call_id, to_tag=answer.to.tag, cseq=9)
        self.node.advance(1)
        for end in ("rejected", "deactivated"):
            self.subscribe(body=b"x")
            (subscription,) = notifier.subscriptions("counting", BOB)
            self.assertEqual(subscription.reason, "")
            notifier.terminate(subscription, end)
        self.subscribe(body=b"x", expires=60)
        self.node.advance(61)
        self.subscribe(body=b"x")
        self.peer.answer = 481
        self.count()
        self.assertEqual(reasons, ["timeout", "rejected", "deactivated", "timeout", "timeout"])

    def test_rejected_at_its_end(self) -> None:
        """Who may not watch any more when it un-subscribes was rejected (WFS-01)."""
        reasons: list[str] = []
        self.package.unsubscribed = lambda ended: reasons.append(ended.reason)  # type: ignore
        answer = self.subscribe(body=b"x")
        self.package.authorize = lambda *_: "rejected"  # type: ignore
        self.subscribe(expires=0, call_id=answer.call_id, to_tag=answer.to.tag, cseq=9)
        self.node.advance(1)
        self.assertEqual(reasons, ["rejected"])

    def test_sequence(self) -> None:
        """Notifications are numbered from 0; a restart goes on higher up (WID-02)."""
        numbers: list[int] = []
        inner = self.package.notification

        def note(subscription: Any) -> Notification | None:
            numbers.append(subscription.sequence)
            return inner(subscription)

        self.package.notification = note  # type: ignore[method-assign]
        self.subscribe(body=b"x")
        self.count()
        self.count()
        self.subscribe(body=b"x", expires=0)
        self.node.advance(1)
        self.assertEqual(numbers, [0, 1, 2, 0])
        record = self.node.store._subscriptions[1]
        kept = decode_dialog(record.dialog)
        again = DialogSubscription.from_record(self.node.presence.notifier, record, kept, 0.0, 0.0)
        self.assertGreater(again.sequence, 2)

    def test_prepared(self) -> None:
        """A SUBSCRIBE waits for what its package has to know first, and is then served as ever."""
        for body, status in ((b"x", 200), (b"bad", 400)):
            self.package.preparing = Deferred()
            self.peer.send(
                self.peer.request(
                    "SUBSCRIBE", event="counting", body=body, content_type="text/plain"
                )
            )
            self.node.advance(1)
            self.assertEqual(len(self.peer.responses), 0)
            self.package.preparing.callback(None)
            self.node.advance(1)
            self.assertEqual([each.status for each in self.peer.responses], [status])
            self.peer.responses.clear()

    def test_put_off(self) -> None:
        """A notification that is not there yet leaves as soon as it is, for a fetch too."""
        self.package.open = False
        for expires in (600, 0):
            peer = self.node.peer(f"192.0.2.{20 + bool(expires)}")
            seen: list[Any] = []
            inner = self.package.notification

            def keep(subscription: Any, seen: Any = seen, inner: Any = inner) -> Any:
                seen.append(subscription)
                return inner(subscription)

            self.package.notification = keep  # type: ignore[method-assign]
            answer = peer.subscribe(
                event="counting", expires=expires, body=b"x", content_type="text/plain"
            )
            self.assertEqual(answer.status, 200)
            self.assertEqual(peer.notifies(), [])
            self.package.open = True
            self.node.presence.notifier.ready(seen[-1])
            self.node.advance(1)
            self.assertEqual(len(peer.notifies()), 1)
            self.package.open = False
            self.package.notification = inner  # type: ignore[method-assign]

    def test_restart(self) -> None:
        """After a restart the watcher hears of what it has not acknowledged, and no more."""
        self.subscribe(body=b"kept")
        self.count()
        self.peer.answer = 0
        self.package.number += 1
        (subscription,) = self.node.presence.notifier.subscriptions("counting", BOB)
        self.node.presence.notifier.touch(subscription)
        self.node.advance(0.3)
        node = self.node
        node.presence.stop()
        self.peer.answer = 200
        self.peer.requests.clear()
        other = Counting()
        other.number = self.package.number
        store, network = node.store, node.network
        node.done(store.stop())
        for deferred in node.ua.stop():
            node.done(deferred)
        node.wheel.stop()
        again = _WithPackage(other, store, network)
        again.presence.resume()
        again.advance(1)
        self.assertIn(("subscribed", b"kept"), other.told)
        self.assertEqual(self.bodies(), [b"2"])
        self.assertEqual(self.peer.notifies()[0].headers["event"], ["counting;n=kept"])


def _busy(request: Any) -> Any:
    """503 with Retry-After."""
    response = response_to(request, 503)
    response.set("Retry-After", "1")
    return response


class _WithPackage(Node):
    """A node that knows the package before it recovers."""

    def __init__(self, package: Counting, store: Any, network: Any) -> None:
        self._package = package
        super().__init__(store=store, network=network)

    def done(self, deferred: Any) -> Any:
        """As before; the first time the notifier is there, the package joins it."""
        if hasattr(self, "presence") and "counting" not in self.presence.notifier._packages:
            self.presence.notifier.add_package(self._package)
        return super().done(deferred)
