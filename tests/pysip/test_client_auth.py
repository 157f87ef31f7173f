"""How a user agent answers challenges (sip-core.md 6 and 9)."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial import unittest

from pysip.auth.client import ClientCredentials
from pysip.auth.digest import parse_digest_credentials
from pysip.event.publisher import Document, Publication, PublicationTerms, Publisher
from pysip.event.subscriber import NotifyRouter, Subscriber
from pysip.event.terms import SubscriptionTerms
from pysip.interfaces import Target
from pysip.message import Request, Response
from tests.pysip.scripted import SERVER, Pair, accept, answer
from tests.pysip.test_publisher import Compositor, Recorder
from tests.pysip.test_subscriber import Recorder as Watching

CHALLENGE = 'Digest realm="example.com", nonce="n{}", qop="auth", algorithm=SHA-256{}'


def challenge(number: int, stale: bool = False, status: int = 401) -> tuple[str, str]:
    """A header field that asks for credentials."""
    name = "WWW-Authenticate" if status == 401 else "Proxy-Authenticate"
    return name, CHALLENGE.format(number, ", stale=true" if stale else "")


class ChallengeTests(unittest.SynchronousTestCase):
    """A publisher whose server asks who it is."""

    def setUp(self) -> None:
        """A client with a password."""
        self.pair = Pair()
        self.told = Recorder()
        self.compositor = Compositor()
        terms = PublicationTerms(
            uri="sip:alice@example.com",
            local_uri="<sip:alice@example.com>",
            package="presence",
            credentials=ClientCredentials("alice", "secret"),
        )
        self.publication = Publication(Publisher(self.pair.client), terms, self.told)

    def publish(self, text: str = "one") -> None:
        """Publish and let it be answered."""
        self.publication.publish(Document("application/pidf+xml", text.encode()))
        self.pair.run()

    def nonces(self, header: str = "authorization") -> list[str | None]:
        """Nonce and count of each PUBLISH."""
        found: list[str | None] = []
        for request in self.pair.received:
            value = request.first(header)
            if value is None:
                found.append(None)
            else:
                credentials = parse_digest_credentials(value)
                assert credentials is not None
                found.append(f"{credentials.nonce} {credentials.nc}")
        return found

    def test_answered(self) -> None:
        """The answer keeps Call-ID and tags, and has the next CSeq (UAC-02, UAC-06)."""
        self.pair.script("PUBLISH", answer(401, challenge(1)), self.compositor)
        self.publish()
        first, second = self.pair.received
        self.assertEqual(second.call_id, first.call_id)
        self.assertEqual(second.from_.tag, first.from_.tag)
        self.assertEqual(second.cseq[0], first.cseq[0] + 1)
        self.assertNotEqual(second.via.branch, first.via.branch)
        self.assertEqual(self.nonces(), [None, "n1 00000001"])
        self.assertEqual(self.told.lifetimes, [3600])

    def test_by_proxy(self) -> None:
        """407 is answered in Proxy-Authorization (UAC-06)."""
        self.pair.script("PUBLISH", answer(407, challenge(1, status=407)), self.compositor)
        self.publish()
        self.assertEqual(self.nonces("proxy-authorization"), [None, "n1 00000001"])
        self.assertEqual(self.nonces(), [None, None])

    def test_credentials_are_reused(self) -> None:
        """Further requests carry the nonce with a running count at once (AUT-19)."""
        self.pair.script("PUBLISH", answer(401, challenge(1)), self.compositor)
        self.publish("one")
        self.publish("two")
        self.publish("three")
        self.assertEqual(self.nonces(), [None, "n1 00000001", "n1 00000002", "n1 00000003"])

    def test_stale_nonce(self) -> None:
        """A stale nonce is replaced without giving up (UAC-06, AUT-06)."""
        self.pair.script(
            "PUBLISH",
            answer(401, challenge(1)),
            self.compositor,
            answer(401, challenge(2, stale=True)),
            self.compositor,
        )
        self.publish("one")
        self.publish("two")
        self.assertEqual(self.nonces(), [None, "n1 00000001", "n1 00000002", "n2 00000001"])
        self.assertEqual(self.told.failures, [])

    def test_wrong_password(self) -> None:
        """Rejected credentials are not sent again (AUT-19, UAC-06)."""
        self.pair.script("PUBLISH", *(answer(401, challenge(n)) for n in range(9)))
        self.publish()
        self.pair.run(20)
        self.assertEqual(len(self.pair.received), 2)
        self.assertEqual(self.told.failures, [(401, None)])

    def test_endless_staleness(self) -> None:
        """A server that calls every nonce stale does not make a loop (CLI-06)."""
        self.pair.script("PUBLISH", *(answer(401, challenge(n, stale=True)) for n in range(9)))
        self.publish()
        self.pair.run(20)
        self.assertLess(len(self.pair.received), 5)
        self.assertEqual(self.told.failures, [(401, None)])

    def test_dialog_counts_on(self) -> None:
        """In a dialog the next request follows the number of the answer (DLG-06, UAC-02)."""
        terms = SubscriptionTerms(
            uri="sip:bob@example.com",
            local_uri="<sip:alice@example.com>",
            package="presence",
            contact=lambda: self.pair.contact,
            credentials=ClientCredentials("alice", "secret"),
        )
        self.pair.script("SUBSCRIBE", answer(401, challenge(1)), accept)
        subscriber = Subscriber(NotifyRouter(self.pair.client), terms, Watching())
        subscriber.subscribe()
        self.pair.run()
        self.pair.notify(self.pair.received[-1])
        self.pair.run()
        subscriber.refresh()
        self.pair.run()
        numbers = [request.cseq[0] for request in self.pair.received]
        self.assertEqual(numbers, [numbers[0] + step for step in range(len(numbers))])
        self.assertGreaterEqual(len(numbers), 3)

    def test_given_up_while_locating(self) -> None:
        """A request given up before its target is known is never sent."""
        self.pair.script("OPTIONS", answer(200))
        located: Deferred[list[Target]] = Deferred()
        self.pair.locator.extra = [Target("UDP", (SERVER, 5060))]
        self.patch(self.pair.locator, "locate", lambda uri: located)
        request = Request("OPTIONS", "sip:example.com")
        request.set("From", "<sip:alice@example.com>;tag=1")
        request.set("To", "<sip:example.com>")
        request.set("Call-ID", "1")
        request.set("CSeq", "1 OPTIONS")
        sending: Deferred[Response] = self.pair.client.request(request)
        sending.cancel()
        self.failureResultOf(sending, CancelledError)
        located.callback(self.pair.locator.extra)
        self.pair.run()
        self.assertEqual(self.pair.received, [])
