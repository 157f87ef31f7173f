"""What watchers see changes with its sources and with the time (:mod:`presence.views`)."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any
from unittest import mock

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from presence.compose.oma import OmaComposition
from presence.compose.sources import HARD_STATE
from presence.compose.union import UnionComposition
from presence.interfaces import IPermanentState
from presence.server import PresenceServer
from pysip.event.records import PublicationRecord
from tests.node import BOB, Node, Peer, pidf
from tests.presence.test_authorization import ALL, SERVICES, Classes


def rich(until: float, note: str = "here", mood: str = "") -> bytes:
    """A service with a note, and a person with an activity that ends so many seconds from 2026."""
    end = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(Node.EPOCH + until))
    person = (
        '<dm:person xmlns:dm="urn:ietf:params:xml:ns:pidf:data-model"'
        ' xmlns:r="urn:ietf:params:xml:ns:pidf:rpid" id="p1">'
        f'<r:activities until="{end}"><r:meeting/></r:activities>{mood}</dm:person>'
    )
    return pidf(note=note).replace(b"</presence>", f"{person}</presence>".encode())


@implementer(IPermanentState)
class Written:
    """Permanent state as a test writes it.

    :ivar bodies: by presentity.
    :ivar held: who is held.
    """

    subscribes = False

    def __init__(self) -> None:
        self.bodies: dict[str, bytes] = {}
        self.held: set[str] = set()
        self._listeners: list[Callable[[str], None]] = []

    def write(self, body: bytes, presentity: str = BOB) -> None:
        """Another document, b"" for none."""
        self.bodies[presentity] = body
        for listener in self._listeners:
            listener(presentity)

    def prepare(self, presentity: str) -> None:
        """Nothing has to be waited for."""

    def hold(self, presentity: str) -> None:
        """Hold."""
        self.held.add(presentity)

    def release(self, presentity: str) -> None:
        """Release."""
        self.held.discard(presentity)

    def keep(self, presentity: str) -> None:
        """Nothing has to be kept."""

    def drop(self, presentity: str) -> None:
        """Nothing was kept."""

    def watch(self, changed: Callable[[str], None]) -> None:
        """Tell of what is written."""
        self._listeners.append(changed)

    def record(self, presentity: str) -> PublicationRecord | None:
        """What was written."""
        body = self.bodies.get(presentity)
        if not body:
            return None
        end = float("inf")
        return PublicationRecord(0, HARD_STATE, presentity, "", end, 0.0, 0.0, BOB, "", body)


class ViewsCase(SynchronousTestCase):
    """Base with a node where Alice may watch Bob."""

    def start(self, **options: Any) -> None:
        """Start it."""
        self.node = Node(**options)
        self.permanent = Written()
        self.node.presence.set_permanent(self.permanent)
        self.node.presence.package.composition = OmaComposition()
        self.bob = self.node.peer("192.0.2.10")
        self.alice = self.node.peer("192.0.2.20")

    def watch(self, peer: Peer, sender: str, **fields: Any) -> None:
        """Subscribe; what is told first does not count."""
        self.assertEqual(peer.subscribe(sender=sender, **fields).status, 200)
        self.node.advance(0.5)
        peer.requests.clear()

    def told(self, peer: Peer | None = None) -> list[bytes]:
        """What was notified since this was called last."""
        peer = peer or self.alice
        bodies = [notify.body for notify in peer.notifies()]
        peer.requests.clear()
        return bodies


class TimeTests(ViewsCase):
    """Something said is over (COM-42)."""

    def test_until(self) -> None:
        """COM-42, RPI-02: it is told when it is over, once, with one timer for all watchers."""
        self.start()
        self.bob.publish(rich(200.0))
        self.node.advance(40)  # transactions are over
        timers = len(self.node.wheel)
        other = self.node.peer("192.0.2.30")
        self.watch(self.alice, "sip:alice@example.com")
        self.watch(other, "sip:carol@example.com", uri="pres:bob@example.com")
        self.node.advance(40)
        self.assertEqual(len(self.node.wheel), timers + 3)
        self.node.advance(199.9 - self.node.clock.seconds())
        self.assertEqual(self.told() + self.told(other), [])
        self.node.advance(1)
        for body in (*self.told(), *self.told(other)):
            self.assertNotIn(b"meeting", body)
            self.assertIn(b"here", body)
        self.node.advance(40)
        self.assertEqual(self.told(), [])
        self.assertEqual(len(self.node.wheel), timers + 2)

    def test_same_view(self) -> None:
        """COM-42: whose view stays the same octets is told nothing (NOT-14)."""
        self.start()
        self.node.presence.set_watchers(Classes(ALL, SERVICES))
        self.bob.publish(rich(60.0))
        other = self.node.peer("192.0.2.30")
        self.watch(self.alice, "sip:w0@example.com")
        self.watch(other, "sip:w1@example.com")
        self.node.advance(70)
        self.assertEqual(len(self.told()), 1)
        self.assertEqual(self.told(other), [])

    def test_rate(self) -> None:
        """COM-42, NOT-13: it is told no sooner than the interval allows."""
        self.start(interval=50.0)
        self.bob.publish(rich(60.0))
        self.watch(self.alice, "sip:alice@example.com")
        self.node.advance(50)
        self.bob.publish(pidf(note="more"))
        self.node.advance(5)
        self.assertEqual(len(self.told()), 1)
        self.node.advance(39)
        self.assertEqual(self.told(), [])
        self.node.advance(10)
        self.assertEqual([b"meeting" in body for body in self.told()], [False])

    def test_far(self) -> None:
        """COM-42: a time days away is waited for, too, in steps of a day at most."""
        self.start()
        end = 2.5 * 86400
        self.permanent.write(rich(end, "always"))
        package = self.node.presence.package
        composition = mock.Mock(wraps=package.composition)
        package.composition = composition
        self.watch(self.alice, "sip:alice@example.com", expires=86400)
        seen = []
        for day in range(3):
            self.node.clock.advance(86400 - 40)
            self.node.advance(10)
            self.watch(self.alice, "sip:alice@example.com", expires=86400, call_id=f"again{day}")
            self.node.advance(29)
            view = package._views.view(BOB, BOB, ALL.permissions)
            seen.append(b"meeting" in view.body)
        self.assertEqual(seen, [True, True, False])
        self.assertEqual(composition.compose.call_count, 2)

    def test_nobody_watches(self) -> None:
        """COM-42: who is not watched has no timer, nor has a fetch."""
        self.start()
        self.bob.publish(rich(1000.0))
        self.node.advance(40)
        timers = len(self.node.wheel)
        self.assertEqual(self.alice.subscribe(expires=0).status, 200)
        self.node.advance(40)
        self.assertEqual(len(self.node.wheel), timers)
        self.watch(self.alice, "sip:alice@example.com", expires=60)
        self.node.advance(100)
        self.assertEqual(len(self.node.wheel), timers)
        self.assertEqual(len(self.node.presence.package._views), 0)

    def test_stopped(self) -> None:
        """Nothing is composed after the end."""
        self.start()
        self.bob.publish(rich(60.0))
        self.watch(self.alice, "sip:alice@example.com")
        self.node.presence.stop()
        self.node.advance(70)
        self.assertEqual(self.told(), [])


class RecoveryTests(ViewsCase):
    """A restart."""

    def test_told_while_recovering(self) -> None:
        """PSV-20: what comes while everything is read back is told when requests are served."""
        self.start()
        tag = self.bob.publish(pidf(note="here")).first("sip-etag")
        self.watch(self.alice, "sip:alice@example.com")
        written, ready = Written(), Deferred[None]()
        clock = self.node.clock
        clock.callLater(0.05, written.write, pidf(note="always"))
        clock.callLater(0.1, ready.callback, None)

        class Server(PresenceServer):
            def __init__(self, *arguments: Any) -> None:
                super().__init__(*arguments)
                self.set_permanent(written)

        with (
            mock.patch.object(written, "prepare", lambda presentity: ready),
            mock.patch("tests.node.PresenceServer", Server),
        ):
            again = self.node.restart()
        self.assertTrue(ready.called)
        again.advance(0.5)
        self.assertEqual((self.told(), len(again.presence.notifier)), ([], 1))
        again.presence.resume()
        again.advance(0.5)
        (body,) = self.told()
        self.assertTrue(b"here" in body and b"always" in body)
        self.alice.node = self.bob.node = again
        self.assertEqual(self.bob.publish(sip_if_match=tag, expires=0).status, 200)
        again.advance(0.5)
        self.assertEqual(self.told(), [pidf(note="always")])


class SourceTests(ViewsCase):
    """Sources come and go (COM-42)."""

    def test_expiry(self) -> None:
        """COM-42, COM-11: with the end of one of two publications all is composed anew."""
        self.start()
        self.bob.publish(pidf(note="long"))
        self.bob.publish(pidf(basic="closed", note="short"), expires=60)
        self.watch(self.alice, "sip:alice@example.com")
        self.node.advance(70)
        (body,) = self.told()
        self.assertEqual((b"long" in body, b"short" in body), (True, False))

    def test_removal(self) -> None:
        """COM-42, PUB-11: the same for the removal of one."""
        self.start()
        self.bob.publish(pidf(note="kept"))
        gone = self.bob.publish(pidf(basic="closed", note="gone"))
        self.watch(self.alice, "sip:alice@example.com")
        self.bob.publish(sip_if_match=gone.first("sip-etag"), expires=0)
        self.node.advance(1)
        (body,) = self.told()
        self.assertEqual((b"kept" in body, b"gone" in body), (True, False))

    def test_permanent(self) -> None:
        """COM-42, COM-46, XDM-62, XDM-64: the permanent document is a source like others."""
        self.start()
        self.assertTrue(verifyObject(IPermanentState, self.permanent))
        self.watch(self.alice, "sip:alice@example.com")
        self.assertEqual(self.permanent.held, {BOB})
        self.permanent.write(pidf(note="always"))
        self.node.advance(1)
        (alone,) = self.told()
        self.assertEqual(alone, pidf(note="always"))  # COM-46
        tag = self.bob.publish(pidf(basic="closed", note="now")).first("sip-etag")
        self.node.advance(1)
        (both,) = self.told()
        self.assertTrue(b"always" in both and b"now" in both)
        self.bob.publish(sip_if_match=tag, expires=0)  # XDM-62: no PUBLISH changes it
        self.node.advance(1)
        self.assertEqual(self.told(), [alone])
        self.permanent.write(b"")
        self.node.advance(1)
        (none,) = self.told()
        self.assertNotIn(b"always", none)

    def test_offline(self) -> None:
        """PRE-11, COM-46: who has written something permanent is not offline."""
        self.start()
        self.node.presence.package.closed_when_offline = True
        self.permanent.write(pidf(note="always"))
        self.alice.subscribe()
        self.node.advance(0.5)
        self.assertEqual(self.told(), [pidf(note="always")])
        self.permanent.write(b"")
        self.node.advance(0.5)
        self.assertIn(b"closed", self.told()[0])

    def test_other_policy(self) -> None:
        """COM-44: with another policy everybody is composed anew."""
        self.start()
        self.bob.publish(pidf(note="here"))
        self.bob.publish(pidf(note="here").replace(b'"t1"', b'"t2"').replace(b"open", b"closed"))
        self.bob.publish(pidf(note="here"))
        self.watch(self.alice, "sip:alice@example.com")
        self.node.presence.package.composition = UnionComposition()
        self.assertEqual(len(self.node.presence.package._views), 0)

    def test_inputs(self) -> None:
        """COM-01: the permanent document is the oldest source of all."""
        self.start()
        self.bob.publish(pidf(note="now"))
        self.permanent.write(pidf(note="always"))
        sources = self.node.presence.package.sources(BOB)
        self.assertEqual([b"always" in source.body for source in sources], [True, False])
