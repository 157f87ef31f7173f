"""Client registrations against a scripted registrar (RFC 3261 section 10.2)."""

from __future__ import annotations

import attrs
from twisted.trial import unittest
from zope.interface import implementer

from pysip.interfaces import IRegistrationDelegate
from pysip.message import Request, Response
from pysip.registration import Registration, RegistrationTerms
from pysip.ua import ServerRequest
from tests.pysip.scripted import Pair, answer, ignore


@implementer(IRegistrationDelegate)
class Recorder:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.lifetimes: list[int] = []
        self.failures: list[tuple[int | None, float | None]] = []

    def registered(self, lifetime: int) -> None:
        """A success."""
        self.lifetimes.append(lifetime)

    def registration_failed(self, response: Response | None, retry_after: float | None) -> None:
        """A failure."""
        self.failures.append((response.status if response else None, retry_after))


class RegistrationTests(unittest.SynchronousTestCase):
    """A registration over an ideal network."""

    def setUp(self) -> None:
        """A client that is ready to register."""
        self.pair = Pair()
        self.told = Recorder()
        self.terms = RegistrationTerms(
            registrar="sip:example.com",
            aor="sip:alice@example.com",
            contact=lambda: self.pair.contact,
        )
        self.pair.script("REGISTER", self.grant(600))

    def grant(self, lifetime: int) -> object:
        """A script that grants so many seconds, among other bindings."""

        def script(served: ServerRequest) -> None:
            contacts = f"<sip:alice@192.0.2.1>;expires=7, {self.pair.contact};expires={lifetime}"
            served.respond(200, headers=[("Contact", contacts), ("Expires", "3600")])

        return script

    def register(self, **changes: object) -> Registration:
        """Register and let it be answered."""
        registration = Registration(
            self.pair.client, attrs.evolve(self.terms, **changes), self.told
        )
        registration.register()
        self.pair.run()
        return registration

    @property
    def last(self) -> Request:
        """The last REGISTER."""
        return self.pair.received[-1]

    @property
    def count(self) -> int:
        """REGISTERs received."""
        return len(self.pair.received)

    def test_register(self) -> None:
        """Request-URI without user, To and From the address of record (RFC 3261 10.2)."""
        self.register()
        request = self.last
        self.assertEqual(request.uri, "sip:example.com")
        self.assertEqual(request.to.uri, "sip:alice@example.com")
        self.assertEqual(request.from_.uri, "sip:alice@example.com")
        self.assertEqual(request.to.tag, "")
        self.assertEqual(request.first("contact"), self.pair.contact)
        self.assertEqual(request.first("expires"), "3600")
        self.assertEqual(self.told.lifetimes, [600])

    def test_refresh(self) -> None:
        """Same Call-ID, rising CSeq, at half of what our own binding was granted."""
        self.register()
        self.pair.run(269, step=1)
        self.assertEqual(self.count, 1)
        self.pair.run(62, step=1)
        first, second = self.pair.received
        self.assertEqual(second.call_id, first.call_id)
        self.assertEqual(second.cseq[0], first.cseq[0] + 1)

    def test_granted_by_expires(self) -> None:
        """Without expires in the Contact, the Expires header tells (RFC 3261 10.2.4)."""
        self.pair.script("REGISTER", answer(200, ("Expires", "100"), ("Contact", "<sip:x@y>")))
        self.register()
        self.assertEqual(self.told.lifetimes, [100])

    def test_unreadable_contact_list(self) -> None:
        """A list that cannot be read does no harm."""
        self.pair.script("REGISTER", answer(200, ("Contact", "<<>")))
        self.register()
        self.assertEqual(self.told.lifetimes, [3600])

    def test_interval_too_brief(self) -> None:
        """A 423 is retried with Min-Expires (UAC-07)."""
        self.pair.script("REGISTER", answer(423, ("Min-Expires", "900")), self.grant(900))
        self.register(expires=60)
        self.assertEqual(self.last.first("expires"), "900")
        self.assertEqual(self.told.lifetimes, [900])

    def test_failures(self) -> None:
        """Passing failures are retried with growing delays, others are not."""
        self.pair.script("REGISTER", answer(500), ignore, self.grant(600))
        self.register()
        self.pair.run(60)
        self.assertEqual(self.count, 3)
        self.assertEqual([status for status, _ in self.told.failures], [500, None])
        self.setUp()
        self.pair.script("REGISTER", answer(403))
        self.register()
        self.pair.run(60)
        self.assertEqual(self.count, 1)
        self.assertEqual(self.told.failures, [(403, None)])

    def test_register_again(self) -> None:
        """A changed contact is registered after the REGISTER under way."""
        waiting: list[ServerRequest] = []
        self.pair.script("REGISTER", waiting.append, self.grant(600))
        registration = self.register()
        registration.register()
        self.pair.run()
        self.assertEqual(self.count, 1)
        waiting[0].respond(200)
        self.pair.run()
        self.assertEqual(self.count, 2)

    def test_stop(self) -> None:
        """Stopping removes our binding: Expires 0 with our Contact (RFC 3261 10.2.2)."""
        registration = self.register()
        done = registration.stop()
        self.pair.run()
        self.successResultOf(done)
        self.assertEqual(self.last.first("expires"), "0")
        self.assertEqual(self.last.first("contact"), self.pair.contact)
        self.pair.run(1000, step=10)
        self.assertEqual(self.count, 2)

    def test_stop_waits_for_the_answer(self) -> None:
        """A stop follows the REGISTER under way."""
        waiting: list[ServerRequest] = []
        self.pair.script("REGISTER", waiting.append, self.grant(600))
        registration = self.register()
        done = registration.stop()
        self.pair.run()
        self.assertEqual(self.count, 1)
        waiting[0].respond(200)
        self.pair.run()
        self.successResultOf(done)
        self.assertEqual(self.last.first("expires"), "0")

    def test_stop_nothing(self) -> None:
        """Without a binding there is nothing to remove."""
        self.pair.script("REGISTER", answer(403))
        registration = self.register()
        self.successResultOf(registration.stop())
        self.assertEqual(self.count, 1)

    def test_stop_unanswered(self) -> None:
        """A stop ends even when nobody answers."""
        self.pair.script("REGISTER", self.grant(600), ignore)
        registration = self.register()
        done = registration.stop()
        self.pair.run(33)
        self.successResultOf(done)
        self.assertEqual(len(self.pair.client.wheel), 0)
