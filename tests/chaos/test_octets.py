"""Octets that are no UTF-8, where real clients put them."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.e2e.daemon import OPEN_POINTS, Daemon
from tests.e2e.phone import NOTED, Phone, Watch, aor, notes, pidf
from tests.e2e.wire import Message

_LATIN = "Fran\xe7ois".encode("latin-1")


class Octets(SynchronousTestCase):
    """A display name in Latin-1, and worse, is served and kept (MSG-01, DLG-13)."""

    def setUp(self) -> None:
        """Start a server."""
        self.daemon = Daemon(self, OPEN_POINTS).start()
        self.phone = self.daemon.phone("udp", "bob")

    def ask(self, data: bytes, old: bytes, new: bytes) -> Message:
        """Send a request with some octets replaced."""
        self.assertIn(old, data)
        branch = data.partition(b";branch=")[2].partition(b";")[0].decode()
        return self.phone.ask(branch, data.replace(old, new, 1))

    def watch(self, number: int, old: bytes, new: bytes) -> Watch:
        """SUBSCRIBE to alice with some octets replaced."""
        watch = Watch(aor("alice"), f"octets{number}", "t")
        watch.cseq = 1
        _, data = self.phone.build("SUBSCRIBE", watch.uri, **watch.fields())  # type: ignore[arg-type]
        answer = self.ask(data, old, new)
        self.assertEqual(answer.status, 200, new)
        watch.subscribed(answer)
        return watch

    def test_subscription(self) -> None:
        """A watcher whose From or Contact has such octets is served, also after a restart."""
        named = self.watch(1, b"from: <", b'from: "' + _LATIN + b'" <')
        contact = self.watch(2, b"contact: <", b'contact: "' + _LATIN + b'" <')
        for watch in (named, contact):
            self.phone.notify(watch)
        self.phone.listen(NOTED)
        self.daemon.restart()
        Phone(self.phone.wire, "alice").publish(pidf("alice", "here"))
        for watch in (named, contact):
            told = self.phone.notify(watch)
            self.assertEqual(notes(told), ["here"])
        self.assertEqual(self.phone.resubscribe(named).status, 200)

    def test_others(self) -> None:
        """PUBLISH and REGISTER with such octets are answered, and stored or refused whole."""
        phone = self.phone
        publish = phone.build("PUBLISH", aor("bob"), body=pidf("bob", "here"))[1]
        first = self.ask(publish, b"from: <", b'from: "' + _LATIN + b'" <')
        self.assertEqual(first.status, 200)
        register = phone.build("REGISTER", "sip:example.com", to=aor("bob"), expires=600)[1]
        self.assertEqual(self.ask(register, b"call-id: ", b"call-id: " + _LATIN).status, 200)
        uri = self.ask(register.replace(b";branch=", b";branch=z9hG4bKx"), b"<sip:", b"<sip:\xe7")
        self.assertEqual(uri.status, 400)
        self.daemon.restart()
        self.assertEqual(phone.publish(etag=first["sip-etag"]).status, 200)
        self.assertIn(phone.contact, phone.register(contact=None)["contact"])
