"""What every request of ours is like, and where it goes (sip-core.md 1, 2, 3, 6 and 7)."""

from __future__ import annotations

from typing import Any

import attrs
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from pysip.errors import RequestTimeout
from pysip.event.interfaces import IPublisherDelegate, ISubscriberDelegate
from pysip.event.publisher import Document, Publication, PublicationTerms, Publisher
from pysip.event.subscriber import NotifyRouter, Subscriber
from pysip.event.terms import SubscriptionTerms
from pysip.interfaces import IRegistrationDelegate, Target
from pysip.message import Request, Response, response_to
from pysip.parse import parse_message
from pysip.registration import Registration, RegistrationTerms
from pysip.ua import ServerRequest
from tests.node import BOB, Node, pidf
from tests.pysip.scripted import CLIENT, SERVER, Pair, accept, answer

STANDARD_TAGS = {"eventlist", "gruu", "outbound", "path", "recipient-list-subscribe"}
"""Option tags of standards-track RFCs that may stand in Supported here."""


@implementer(ISubscriberDelegate, IPublisherDelegate, IRegistrationDelegate)
class Delegate:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    def notified(self, request: Request, state: str, content_type: str, body: bytes) -> None:
        """A NOTIFY."""
        self.told.append(state)

    def subscription_failed(self, response: Response | None, retry_after: float | None) -> None:
        """A failure, and whether it will be tried again."""
        self.told.append((response.status if response else None, retry_after is not None))

    def subscription_ended(self, reason: str, retry_after: float | None) -> None:
        """An end."""
        self.told.append(reason)

    def published(self, lifetime: int) -> None:
        """A success."""
        self.told.append(lifetime)

    def publication_failed(self, response: Response | None, retry_after: float | None) -> None:
        """A failure, and whether it will be tried again."""
        self.told.append((response.status if response else None, retry_after is not None))

    def registered(self, lifetime: int) -> None:
        """A success."""
        self.told.append(lifetime)

    def registration_failed(self, response: Response | None, retry_after: float | None) -> None:
        """A failure."""
        self.told.append(response)


class ClientCase(SynchronousTestCase):
    """A client of ours and a scripted server."""

    def setUp(self) -> None:
        """Start both."""
        self.pair = Pair()
        self.told = Delegate()
        for method in ("SUBSCRIBE", "PUBLISH", "REGISTER"):
            self.pair.script(method, accept)

    def subscriber(self, **changes: Any) -> Subscriber:
        """A subscription to bob, just begun."""
        terms = SubscriptionTerms(
            uri=BOB,
            local_uri="<sip:alice@example.com>",
            package="presence",
            contact=lambda: self.pair.contact,
            accept=("application/pidf+xml",),
        )
        router = NotifyRouter(self.pair.client)
        subscriber = Subscriber(router, attrs.evolve(terms, **changes), self.told)
        subscriber.subscribe()
        self.pair.run()
        return subscriber

    def publication(self, **changes: Any) -> Publication:
        """A publication of bob, just begun."""
        terms = PublicationTerms(uri=BOB, local_uri=f"<{BOB}>", package="presence")
        publication = Publication(
            Publisher(self.pair.client), attrs.evolve(terms, **changes), self.told
        )
        publication.publish(Document("application/pidf+xml", pidf()))
        self.pair.run()
        return publication


class MandatoryFieldTests(ClientCase):
    """Header fields that every request carries."""

    def check(self, request: Request) -> None:
        """All that MSG-16 and UAC-10 ask of a request."""
        for name in ("via", "max-forwards", "from", "to", "call-id", "cseq"):
            self.assertEqual(len(request.headers[name]), 1, name)
        self.assertEqual(request.first("max-forwards"), "70")
        self.assertTrue(request.from_.tag)
        self.assertEqual(request.cseq[1], request.method)
        events = 1 if request.method in ("SUBSCRIBE", "NOTIFY", "PUBLISH") else 0
        self.assertEqual(len(request.headers.get("event", ())), events)
        if request.method in ("SUBSCRIBE", "NOTIFY", "REGISTER"):
            self.assertEqual(len(request.contacts), 1)
        states = 1 if request.method == "NOTIFY" else 0
        self.assertEqual(len(request.headers.get("subscription-state", ())), states)
        self.assertLessEqual(set(request.values("supported")), STANDARD_TAGS)
        self.assertNotIn("require", request.headers)

    def test_client(self) -> None:
        """SUBSCRIBE, its refresh, PUBLISH and REGISTER (MSG-16, UAC-10)."""
        subscriber = self.subscriber(supported=("eventlist",))
        self.pair.notify(self.pair.received[0])
        self.pair.run()
        subscriber.refresh()
        self.publication()
        terms = RegistrationTerms(
            registrar="sip:example.com", aor=BOB, contact=lambda: self.pair.contact
        )
        Registration(self.pair.client, terms, self.told).register()
        self.pair.run()
        methods = [request.method for request in self.pair.received]
        self.assertEqual(methods, ["SUBSCRIBE", "SUBSCRIBE", "PUBLISH", "REGISTER"])
        for request in self.pair.received:
            self.check(request)

    def test_server(self) -> None:
        """The first, a later and the last NOTIFY (MSG-16, UAC-10, DLG-19)."""
        node = Node()
        alice, bob = node.peer("192.0.2.20"), node.peer("192.0.2.10")
        made = alice.subscribe(call_id="c")
        bob.publish(pidf())
        contact = made.contacts[0].uri
        alice.subscribe(contact, to=BOB, to_tag=made.to.tag, call_id="c", expires=0)
        notifies = alice.notifies()
        self.assertEqual(len(notifies), 3)
        for request in notifies:
            self.check(request)
            self.assertEqual(request.contacts[0].uri, contact)

    def test_contact_of_refreshes(self) -> None:
        """A refresh repeats the Contact of the SUBSCRIBE (DLG-19)."""
        subscriber = self.subscriber()
        self.pair.notify(self.pair.received[0])
        self.pair.run()
        subscriber.refresh()
        self.pair.run()
        first, second = (request.headers["contact"] for request in self.pair.received)
        self.assertEqual(first, second)


class UnknownStatusTests(ClientCase):
    """Status codes that nobody knows are those of their class (UAC-03, UAC-09)."""

    def test_final(self) -> None:
        """299 is a success, 499 a refusal, 599 passes by itself, 699 does not (UAC-03, UAC-09)."""
        for status, told in (
            (299, [3600]),
            (399, [(399, False)]),
            (499, [(499, False)]),
            (599, [(599, True)]),
            (699, [(699, False)]),
            (300, [(300, False)]),
            (500, [(500, True)]),
            (600, [(600, False)]),
        ):
            self.told.told.clear()
            fields = (("SIP-ETag", "x"), ("Expires", "3600")) if status < 300 else ()
            self.pair.script("PUBLISH", answer(status, *fields))
            self.publication()
            self.assertEqual(self.told.told, told)

    def test_subscription(self) -> None:
        """A subscription lives with a 299, and survives a 499 to its refresh (UAC-03)."""
        fields = (("Expires", "3600"), ("Contact", f"<sip:s@{SERVER}:5060>"))
        self.pair.script("SUBSCRIBE", answer(299, *fields), answer(499))
        subscriber = self.subscriber()
        self.pair.notify(self.pair.received[0])
        self.pair.run()
        subscriber.refresh()
        self.pair.run()
        self.assertEqual(subscriber.state, "active")
        self.assertEqual(self.told.told, ["active"])

    def test_provisional(self) -> None:
        """100, 183 and 1xx nobody knows do not end the wait for the answer (UAC-09, UAC-03)."""

        def slowly(served: ServerRequest) -> None:
            for status in (100, 183, 177):
                served.flow.send(response_to(served.request, status, to_tag="x").encode())
            self.pair.clock.callLater(
                20, served.respond, 200, None, (("SIP-ETag", "x"), ("Expires", "60"))
            )

        self.pair.script("PUBLISH", slowly)
        self.publication()
        self.pair.run(10)
        self.assertEqual(self.told.told, [])
        self.pair.run(11)
        self.assertEqual(self.told.told, [60])


class FailOverTests(ClientCase):
    """The next server of the list (TXN-15)."""

    def setUp(self) -> None:
        """Note every request on the network once."""
        super().setUp()
        self.sent: dict[str, tuple[str, Request]] = {}
        self.pair.network.taps.append(self.note)
        self.results: list[Any] = []

    def note(self, protocol: str, source: Any, destination: Any, octets: bytes) -> None:
        """Keep a request and where it goes, by branch."""
        message = parse_message(octets)
        if isinstance(message, Request):
            self.sent.setdefault(message.via.branch, (destination[0], message))

    def send(self, *hosts: str) -> list[tuple[str, int]]:
        """Send to these in turn: who got the request and with which CSeq."""
        self.pair.locator.extra = [Target("UDP", (host, 5060), host) for host in hosts]
        request = Request("PUBLISH", BOB)
        request.set("From", f"<{BOB}>;tag=f")
        request.set("To", f"<{BOB}>")
        request.set("Call-ID", "fail-over")
        request.set("CSeq", "7 PUBLISH")
        self.pair.client.request(request).addBoth(self.results.append)
        self.pair.run(70)
        return [(host, sent.cseq[0]) for host, sent in self.sent.values()]

    def slow(self, host: str) -> None:
        """A server that says 100 and no more."""

        def serve(served: ServerRequest) -> None:
            served.flow.send(response_to(served.request, 100).encode())

        self.pair._agent(host, "UDP", 77).add_method("PUBLISH", serve)

    def refusing(self, host: str, status: int) -> None:
        """A server that refuses so."""
        self.pair._agent(host, "UDP", 78).add_method("PUBLISH", answer(status))

    def test_next(self) -> None:
        """Unreachable, silent and busy servers: same CSeq, a new branch each (TXN-15, DLG-06)."""
        self.pair._agent("127.0.0.4", "UDP", 77)
        self.pair.network.cut(CLIENT, "127.0.0.4")
        self.refusing("127.0.0.5", 503)
        tried = self.send("127.0.0.3", "127.0.0.4", "127.0.0.5", SERVER)
        hosts = ["127.0.0.3", "127.0.0.4", "127.0.0.5", SERVER]
        self.assertEqual(tried, [(host, 7) for host in hosts])  # keyed by branch: all differ
        self.assertEqual(self.results[0].status, 200)

    def test_provisional_is_an_answer(self) -> None:
        """A server that said 100 and then nothing is not left for another (TXN-15)."""
        self.slow("127.0.0.4")
        self.assertEqual(self.send("127.0.0.4", SERVER), [("127.0.0.4", 7)])
        self.results[0].trap(RequestTimeout)

    def test_refusal_is_final(self) -> None:
        """A 500 is the answer; nobody else is asked (TXN-15)."""
        self.refusing("127.0.0.5", 500)
        self.assertEqual(self.send("127.0.0.5", SERVER), [("127.0.0.5", 7)])
        self.assertEqual(self.results[0].status, 500)


class NextHopTests(ClientCase):
    """Where an initial request goes."""

    def test_preloaded_route(self) -> None:
        """A configured Route decides the next hop, not the Request-URI (ROU-04)."""
        hop = self.pair._agent("127.0.0.9", "UDP", 9)
        got: list[Request] = []

        def serve(served: ServerRequest) -> None:
            got.append(served.request)
            served.respond(200, headers=(("SIP-ETag", "x"), ("Expires", "60")))

        hop.add_method("PUBLISH", serve)
        route = ("<sip:127.0.0.9;lr>", "<sip:next.example.com;lr>")
        self.publication(route=route)
        self.assertEqual(self.pair.received, [])
        self.assertEqual(got[0].uri, BOB)
        self.assertEqual(got[0].values("route"), list(route))
        self.assertEqual(self.told.told, [60])


class SizeTests(SynchronousTestCase):
    """Large messages (sip-core.md 1)."""

    def test_explicit_udp(self) -> None:
        """``transport=udp`` in the Contact lifts nothing: a large NOTIFY goes by TCP (TRN-07)."""
        node = Node()
        stream = node.peer("192.0.2.20", 5060, "TCP")
        alice, bob = node.peer("192.0.2.20"), node.peer("192.0.2.10")
        bob.publish(pidf(note="x" * 1300))
        alice.subscribe(contact="<sip:alice@192.0.2.20:5060;transport=udp>")
        node.advance(0.5)
        self.assertEqual(alice.notifies(), [])
        (notify,) = stream.notifies()
        self.assertEqual(notify.via.protocol, "TCP")

    def test_large_response(self) -> None:
        """A response of any size goes back by UDP when the request came so (TRN-08)."""
        node = Node()
        stream = node.peer("192.0.2.20", 5060, "TCP")
        alice = node.peer("192.0.2.20")
        route = ", ".join(f"<sip:{'p' * 100}{number}.example.com;lr>" for number in range(20))
        response = alice.subscribe(record_route=route, expires=0)
        self.assertEqual(response.status, 200)
        self.assertGreater(len(response.encode()), 2000)
        self.assertEqual(stream.responses, [])


class SourceAddressTests(ClientCase):
    """Our own identifiers."""

    def test_fresh(self) -> None:
        """Each initial request has a Call-ID and From tag of its own (UAC-01)."""
        self.subscriber()
        self.subscriber()
        one, two = self.pair.received
        self.assertNotEqual(one.call_id, two.call_id)
        self.assertNotEqual(one.from_.tag, two.from_.tag)
        for request in (one, two):
            self.assertEqual((request.uri, request.to.uri, request.to.tag), (BOB, BOB, ""))
            self.assertGreaterEqual(len(request.call_id), 11)  # 64 bits in base 64
            self.assertGreaterEqual(len(request.from_.tag), 6)  # 32 bits
            self.assertNotIn(CLIENT, request.call_id)
            self.assertLess(request.cseq[0], 2**31)
