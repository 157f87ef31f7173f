"""Watchers that are gone, silent, or reached by another way than they came (NOT-10, CLI-08)."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.certificates import issue, make_ca
from tests.e2e import wire
from tests.e2e.daemon import OPEN_POINTS, Daemon, tables
from tests.e2e.phone import NOTED, Phone, notes, pidf

_T1 = 0.05
_GIVE_UP = 64 * _T1
"""Timer F in seconds."""
_LARGE = "long " * 400
"""A note that makes a NOTIFY too large for UDP (TRN-05)."""


class _Case(SynchronousTestCase):
    """A server with short timers, alice who publishes and bob who watches."""

    def begin(self, points: dict[str, dict[str, Any]] | None = None, **changed: Any) -> None:
        """Start the server."""
        timers = {"t1": _T1, "t2": 0.4, "t4": 0.5}
        settings = tables(timers=timers, **changed)
        self.daemon = Daemon(self, points or OPEN_POINTS, (), settings).start()
        self.alice = self.daemon.phone("udp", "alice")
        self.bob = self.daemon.phone("udp", "bob")

    def publish(self, note: str) -> None:
        """Alice says something, as one more publication in place of the last."""
        etag = getattr(self, "etag", "")
        answer = self.alice.publish(pidf("alice", note), etag)
        self.assertEqual(answer.status, 200)
        self.etag = answer["sip-etag"]

    def accept(self, listener: socket.socket) -> wire.StreamWire:
        """The connection that the server opens."""
        listener.settimeout(15)
        made = wire.StreamWire(listener.accept()[0])
        self.addCleanup(made.close)
        return made

    def listener(self, port: int = 0) -> socket.socket:
        """A listening socket on loopback."""
        made = socket.create_server((wire.HOST, port))
        self.addCleanup(made.close)
        return made


class Gone(_Case):
    """Watchers over UDP that answer badly or not at all."""

    def test_unanswered(self) -> None:
        """An unanswered NOTIFY is repeated until timer F, then the watcher is gone (TXN-05)."""
        self.begin()
        carol = self.daemon.phone("udp", "carol")
        silent, heard = self.bob.subscribe("alice"), carol.subscribe("alice")
        self.bob.notify(silent)
        carol.notify(heard)
        self.bob.answer = 0
        received: list[wire.Message] = []
        self.bob.answer = lambda message: received.append(message) or 0  # type: ignore[func-returns-value]
        self.publish("one")
        self.assertEqual(notes(carol.notify(heard)), ["one"], "the others are served meanwhile")
        told = self.bob.notify(silent)
        self.bob.listen(_GIVE_UP + 1)
        self.assertGreater(len(received), 4, "retransmissions")
        self.assertEqual({message.branch for message in received}, {told.branch})
        self.publish("two")
        self.assertEqual(notes(carol.notify(heard)), ["two"])
        self.assertTrue(self.bob.silent(silent, 0.5))
        self.assertEqual(self.bob.resubscribe(silent).status, 481)

    def test_answers_late(self) -> None:
        """One NOTIFY is in flight at a time; the next has the newest state only (NOT-05)."""
        self.begin()
        watch = self.bob.subscribe("alice")
        self.bob.notify(watch)
        self.bob.answer = 0
        self.publish("one")
        held = self.bob.notify(watch)
        for note in ("two", "three", "four"):
            self.publish(note)
        self.assertTrue(self.bob.silent(watch, 0.3))
        self.bob.answer = 200
        self.bob.reply(held, 200)
        self.assertEqual(notes(self.bob.notify(watch)), ["four"])
        self.assertTrue(self.bob.silent(watch, 0.3))

    def test_refused(self) -> None:
        """A NOTIFY answered 481 ends the subscription: no second one comes (DLG-10, NOT-10)."""
        self.begin()
        self.bob.answer = 481
        watch = self.bob.subscribe("alice")
        self.bob.notify(watch)
        self.bob.listen(0.2)
        self.publish("one")
        self.assertTrue(self.bob.silent(watch, 0.5))
        self.assertEqual(self.bob.resubscribe(watch).status, 481)

    def test_refused_later(self) -> None:
        """The same for a watcher that has forgotten its subscription after a while (CLI-09)."""
        self.begin()
        watch = self.bob.subscribe("alice")
        self.bob.notify(watch)
        self.bob.answer = 481
        self.publish("one")
        self.bob.notify(watch)
        self.publish("two")
        self.assertTrue(self.bob.silent(watch, 0.5))
        # that it is gone survives a restart
        self.daemon.restart()
        self.publish("three")
        self.assertTrue(self.bob.silent(watch, 0.5))
        self.assertEqual(self.bob.resubscribe(watch).status, 481)

    def test_busy(self) -> None:
        """503 with Retry-After keeps the subscription; the newest state comes after it (NOT-10)."""
        self.begin()
        watch = self.bob.subscribe("alice")
        self.bob.notify(watch)
        self.bob.answer = 0
        self.publish("one")
        busy = self.bob.notify(watch)
        fields = "".join(
            f"{name}: {value}\r\n"
            for name, value in busy.fields
            if name in ("via", "from", "to", "call-id", "cseq")
        )
        self.bob.answer = 200
        answer = f"SIP/2.0 503 Busy\r\n{fields}Retry-After: 1\r\nContent-Length: 0\r\n\r\n"
        self.bob.wire.send(answer.encode())
        self.publish("two")
        self.assertEqual(notes(self.bob.notify(watch)), ["two"])
        self.assertEqual(self.bob.resubscribe(watch).status, 200)


class OtherWays(_Case):
    """NOTIFYs by another connection than the SUBSCRIBE came by."""

    def test_new_connection(self) -> None:
        """The connection is lost: the NOTIFY comes by a new one to the Contact (WISHES 10)."""
        self.begin()
        listener = self.listener()
        bob = self.daemon.phone("tcp", "bob")
        bob.contact = f"sip:bob@{wire.HOST}:{listener.getsockname()[1]};transport=tcp"
        watch = bob.subscribe("alice")
        again = Phone(self.accept(listener), "bob")
        self.assertEqual(notes(again.notify(watch)), [])
        bob.close()
        again.close()
        self.publish("one")
        third = Phone(self.accept(listener), "bob")
        self.assertEqual(notes(third.notify(watch)), ["one"])
        # the refresh comes by that connection, too; it is as good as any
        self.assertEqual(third.resubscribe(watch).status, 200)
        self.publish("two")
        self.assertIn("two", [*notes(third.notify(watch)), *notes(third.notify(watch))])

    def test_after_restart(self) -> None:
        """After a restart the server connects to the Contact by itself (DLG-13, WISHES 10)."""
        self.begin()
        listener = self.listener()
        bob = self.daemon.phone("tcp", "bob")
        bob.contact = f"sip:bob@{wire.HOST}:{listener.getsockname()[1]};transport=tcp"
        watch = bob.subscribe("alice")
        Phone(self.accept(listener), "bob").notify(watch)
        self.alice.listen(NOTED)
        self.daemon.restart()
        self.publish("one")
        self.assertEqual(notes(Phone(self.accept(listener), "bob").notify(watch)), ["one"])

    def test_connection_gone_for_good(self) -> None:
        """A Contact that is only that connection cannot be reached again: it is over (NOT-10)."""
        self.begin()
        bob = self.daemon.phone("tcp", "bob")
        watch = bob.subscribe("alice")
        bob.notify(watch)
        bob.close()
        self.publish("one")
        self.daemon.answers()
        self.alice.listen(0.3)
        again = self.daemon.phone("tcp", "bob")
        self.assertEqual(again.resubscribe(watch).status, 481)

    def test_new_tls_connection(self) -> None:
        """The same with TLS to a client whose certificate names its address (TRN-22)."""
        authority = make_ca(str(Path(self.mktemp()).parent.absolute()))
        own = issue(authority, [wire.HOST])
        points = {name: {"transport": name, "auth": "none"} for name in ("udp", "tls")}
        self.begin(points, tls={"ca": authority.file})
        listener = self.listener()
        bob = self.daemon.phone("tls", "bob")
        bob.contact = f"sip:bob@{wire.HOST}:{listener.getsockname()[1]};transport=tls"
        watch = bob.subscribe("alice")
        bob.close()
        context = wire.ssl.SSLContext(wire.ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(own.certificate, own.key)
        listener.settimeout(15)
        accepted = wire.StreamWire(context.wrap_socket(listener.accept()[0], server_side=True))
        self.addCleanup(accepted.close)
        phone = Phone(accepted, "bob")
        phone.notify(watch)
        self.publish("one")
        self.assertEqual(notes(phone.notify(watch)), ["one"])

    def test_large(self) -> None:
        """A NOTIFY too large for UDP goes by TCP to the same Contact (TRN-05)."""
        self.begin()
        listener = self.listener(self.bob.wire.local[1])
        watch = self.bob.subscribe("alice")
        self.bob.notify(watch)
        self.publish(_LARGE)
        stream = Phone(self.accept(listener), "bob")
        told = stream.notify(watch)
        self.assertTrue(told["via"].startswith("SIP/2.0/TCP "))
        self.assertEqual(notes(told), [_LARGE])
        self.publish("short")
        self.assertEqual(notes(self.bob.notify(watch)), ["short"])

    def test_large_without_tcp(self) -> None:
        """It goes by UDP all the same when TCP is refused there (TRN-06)."""
        self.begin()
        watch = self.bob.subscribe("alice")
        self.bob.notify(watch)
        self.publish(_LARGE)
        told = self.bob.notify(watch)
        self.assertTrue(told["via"].startswith("SIP/2.0/UDP "))
        self.assertEqual(notes(told), [_LARGE])
