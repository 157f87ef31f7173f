"""Client publications against a scripted compositor (events.md E)."""

from __future__ import annotations

import attrs
from twisted.trial import unittest
from zope.interface import implementer

from pysip.event.interfaces import IPartialEncoding, IPublisherDelegate
from pysip.event.publisher import Document, Publication, PublicationTerms, Publisher
from pysip.message import Request, Response
from pysip.mime import Part, parse_related
from pysip.ua import ServerRequest
from tests.pysip.scripted import SERVER, Pair, answer, ignore

PIDF = "application/pidf+xml"
DIFF = "application/pidf-diff+xml"


def document(text: str) -> Document:
    """A document to publish."""
    return Document(PIDF, text.encode())


@implementer(IPartialEncoding)
class Changes:
    """Tells states by their names: ``=new`` and ``old>new``; what is ``all new`` as a whole."""

    def whole(self, state: Document) -> Document:
        """A whole state."""
        return Document(DIFF, b"=" + state.body)

    def change(self, before: Document, state: Document) -> Document | None:
        """A change."""
        if state.body == b"all new":
            return None
        return Document(DIFF, before.body + b">" + state.body)


@implementer(IPublisherDelegate)
class Recorder:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.lifetimes: list[int] = []
        self.failures: list[tuple[int | None, float | None]] = []

    def published(self, lifetime: int) -> None:
        """A success."""
        self.lifetimes.append(lifetime)

    def publication_failed(self, response: Response | None, retry_after: float | None) -> None:
        """A failure."""
        self.failures.append((response.status if response else None, retry_after))


class Compositor:
    """A compositor in a few lines: RFC 3903 section 6 for one resource at a time."""

    def __init__(self, lifetime: int = 100000) -> None:
        self.lifetime = lifetime
        self.state: dict[str, bytes] = {}
        self.count = 0

    def __call__(self, served: ServerRequest) -> None:
        """Serve a PUBLISH."""
        request = served.request
        given = request.first("sip-if-match")
        if given is not None and given not in self.state:
            served.respond(412)
            return
        body = self.state.pop(given, b"") if given is not None else b""
        self.count += 1
        etag = f"tag{self.count}"
        if request.expires:
            self.state[etag] = request.body or body
        expires = str(min(self.lifetime, request.expires or 0))
        served.respond(200, headers=[("SIP-ETag", etag), ("Expires", expires)])


class PublisherTests(unittest.SynchronousTestCase):
    """A publisher over an ideal network."""

    def setUp(self) -> None:
        """A client that is ready to publish."""
        self.pair = Pair()
        self.publisher = Publisher(self.pair.client)
        self.told = Recorder()
        self.terms = PublicationTerms(
            uri="sip:alice@example.com", local_uri="<sip:alice@example.com>", package="presence"
        )
        self.compositor = Compositor()
        self.pair.script("PUBLISH", self.compositor)

    def publication(self, **changes: object) -> Publication:
        """A publication, not sent yet."""
        return Publication(self.publisher, attrs.evolve(self.terms, **changes), self.told)

    def publish(self, text: str = "one", **changes: object) -> Publication:
        """Publish and let it be answered."""
        publication = self.publication(**changes)
        publication.publish(document(text))
        self.pair.run()
        return publication

    def change(self, publication: Publication, text: str) -> None:
        """Publish another state and let it be answered."""
        publication.publish(document(text))
        self.pair.run(1.2)

    @property
    def bodies(self) -> list[bytes]:
        """The body of each PUBLISH."""
        return [request.body for request in self.pair.received]

    @property
    def last(self) -> Request:
        """The last PUBLISH."""
        return self.pair.received[-1]

    @property
    def count(self) -> int:
        """PUBLISHes received."""
        return len(self.pair.received)

    def matches(self) -> list[str | None]:
        """SIP-If-Match of each PUBLISH."""
        return [request.first("sip-if-match") for request in self.pair.received]

    def test_initial(self) -> None:
        """One Event, Expires, a body, no SIP-If-Match, no dialog (PUA-03, PUB-12, PUB-19)."""
        publication = self.publish()
        request = self.last
        self.assertEqual(request.uri, "sip:alice@example.com")
        self.assertEqual(request.headers["event"], ["presence"])
        self.assertEqual(request.first("expires"), "3600")
        self.assertEqual(request.first("content-type"), PIDF)
        self.assertEqual(request.body, b"one")
        self.assertNotIn("sip-if-match", request)
        self.assertEqual(request.to.tag, "")
        self.assertEqual(publication.etag, "tag1")
        self.assertEqual(self.told.lifetimes, [3600])

    def test_chain_of_tags(self) -> None:
        """Each SIP-ETag replaces the one before; one tag in SIP-If-Match (PUA-01, PUA-03)."""
        publication = self.publish("one")
        publication.publish(document("two"))
        self.pair.run()
        publication.publish(document("three"))
        self.pair.run()
        self.assertEqual(self.matches(), [None, "tag1", "tag2"])
        self.assertEqual([r.body for r in self.pair.received], [b"one", b"two", b"three"])
        ids = {request.call_id for request in self.pair.received}
        self.assertEqual(len(ids), 3)  # each its own request outside any dialog (UAC-01)

    def test_refresh(self) -> None:
        """A refresh in time has the tag and no body (PUA-01, PUB-06)."""
        self.compositor.lifetime = 600
        self.publish()
        self.pair.run(269, step=1)
        self.assertEqual(self.count, 1)
        self.pair.run(62, step=1)
        self.assertEqual(self.count, 2)
        self.assertEqual(self.last.first("sip-if-match"), "tag1")
        self.assertEqual(self.last.body, b"")
        self.assertNotIn("content-type", self.last)
        self.assertEqual(self.last.first("expires"), "3600")
        self.assertEqual(self.compositor.state, {"tag2": b"one"})

    def test_many_refreshes(self) -> None:
        """The publication lives as long as it is wanted."""
        self.compositor.lifetime = 60
        self.publish()
        self.pair.run(1000, step=1)
        self.assertGreater(self.count, 25)
        self.assertEqual(list(self.compositor.state.values()), [b"one"])
        self.assertEqual(self.told.failures, [])

    def test_lost_state(self) -> None:
        """412: the tag is dropped and the full state published anew (PUA-01)."""
        publication = self.publish("one")
        self.compositor.state.clear()
        publication.publish(document("two"))
        self.pair.run(1.2)
        self.assertEqual(self.matches(), [None, "tag1", None])
        self.assertEqual(self.last.body, b"two")
        self.assertEqual(publication.etag, "tag2")
        self.assertEqual(self.told.failures, [])

    def test_lost_state_found_by_refresh(self) -> None:
        """412 to a refresh: the full state is published anew (PUA-01)."""
        self.compositor.lifetime = 60
        self.publish("one")
        self.compositor.state.clear()
        self.pair.run(35)
        self.assertEqual(self.matches(), [None, "tag1", None])
        self.assertEqual(self.last.body, b"one")

    def test_new_start_is_spread(self) -> None:
        """After a 412 clients do not all come back at the same moment (PUA-01)."""
        times = set()
        for seed in range(10):
            self.pair = Pair(seed=seed)
            self.publisher = Publisher(self.pair.client)
            self.pair.script("PUBLISH", self.compositor)
            publication = self.publish()
            self.compositor.state.clear()
            publication.publish(document("two"))
            self.pair.run(1.2, step=0.05)
            times.add(round(self.pair.times[-1] - self.pair.times[-2], 2))
        self.assertGreater(len(times), 3)

    def test_one_at_a_time(self) -> None:
        """No PUBLISH while another to that Request-URI awaits its answer (PUA-02)."""
        waiting: list[ServerRequest] = []
        self.pair.script("PUBLISH", waiting.append)
        first, second = self.publication(), self.publication()
        elsewhere = self.publication(uri="sip:bob@example.com")
        first.publish(document("first"))
        second.publish(document("second"))
        elsewhere.publish(document("elsewhere"))
        self.pair.run(0.2)
        self.assertEqual([r.body for r in self.pair.received], [b"first", b"elsewhere"])
        self.compositor(waiting[0])
        self.pair.run(0.2)
        self.assertEqual(self.last.body, b"second")

    def test_one_at_a_time_after_timeout(self) -> None:
        """A time-out makes way for the next publication (PUA-02)."""
        self.pair.script("PUBLISH", ignore, self.compositor)
        first, second = self.publication(), self.publication()
        first.publish(document("first"))
        second.publish(document("second"))
        self.pair.run(31.5)
        self.assertEqual(self.count, 1)
        self.pair.run(1)
        self.assertEqual(self.last.body, b"second")

    def test_changes_meanwhile_are_merged(self) -> None:
        """Only the newest of several changes made during a PUBLISH follows (PUA-02)."""
        waiting: list[ServerRequest] = []
        self.pair.script("PUBLISH", waiting.append, self.compositor)
        publication = self.publish("one")
        for text in ("two", "three", "four"):
            publication.publish(document(text))
        self.pair.run(1)
        self.assertEqual(self.count, 1)
        self.compositor(waiting[0])
        self.pair.run()
        self.assertEqual([r.body for r in self.pair.received], [b"one", b"four"])
        self.assertEqual(self.matches(), [None, "tag1"])

    def test_interval(self) -> None:
        """Changes inside the interval are merged and sent at its end (SRC-02)."""
        publication = self.publish("one", interval=10.0)
        for text in ("two", "three"):
            publication.publish(document(text))
            self.pair.run(3)
        self.assertEqual(self.count, 1)
        self.pair.run(3.5)
        self.assertEqual(self.count, 1)
        self.pair.run(1)
        self.assertEqual([r.body for r in self.pair.received], [b"one", b"three"])
        self.assertGreaterEqual(self.pair.times[1] - self.pair.times[0], 10)

    def test_interval_does_not_delay_the_new_start(self) -> None:
        """412 recovery is exempt from the interval (SRC-02)."""
        publication = self.publish("one", interval=60.0)
        self.pair.run(61, step=1)
        self.compositor.state.clear()
        publication.publish(document("two"))
        self.pair.run(1.2)
        self.assertEqual(self.count, 3)

    def test_interval_does_not_delay_removal(self) -> None:
        """Removal is exempt from the interval (SRC-02)."""
        publication = self.publish("one", interval=60.0)
        publication.publish(document("two"))
        done = publication.remove()
        self.pair.run()
        self.successResultOf(done)
        self.assertEqual(self.last.first("expires"), "0")

    def test_interval_too_brief(self) -> None:
        """A 423 is answered with Min-Expires, then and later (PUA-01, UAC-02)."""
        self.pair.script("PUBLISH", answer(423, ("Min-Expires", "900")), self.compositor)
        publication = self.publish(expires=60)
        first, second = self.pair.received
        self.assertEqual(second.first("expires"), "900")
        self.assertEqual(second.call_id, first.call_id)
        self.assertEqual(second.cseq[0], first.cseq[0] + 1)
        self.assertEqual(second.body, b"one")
        publication.publish(document("two"))
        self.pair.run()
        self.assertEqual(self.last.first("expires"), "900")

    def test_interval_too_brief_again(self) -> None:
        """A 423 that asks for no more than it got is a failure, not a loop."""
        self.pair.script("PUBLISH", answer(423, ("Min-Expires", "900")))
        self.publish(expires=60)
        self.assertEqual(self.count, 2)
        self.assertEqual(self.told.failures, [(423, None)])

    def test_changes(self) -> None:
        """First the whole, then what has changed; the whole after a 412 (PPU-07)."""
        publication = self.publish("one", partial=Changes())
        self.change(publication, "two")
        self.compositor.state.clear()
        self.change(publication, "three")
        self.assertEqual(self.bodies, [b"=one", b"one>two", b"two>three", b"=three"])
        self.assertEqual({r.first("content-type") for r in self.pair.received}, {DIFF})
        self.assertEqual(self.matches(), [None, "tag1", "tag2", None])

    def test_changes_that_are_larger(self) -> None:
        """The whole is sent when it is not larger than the changes (PPU-07)."""
        publication = self.publish("one", partial=Changes())
        self.change(publication, "all new")
        self.change(publication, "two")
        self.assertEqual(self.bodies, [b"=one", b"=all new", b"all new>two"])
        self.assertEqual(self.matches(), [None, "tag1", "tag2"])

    def test_changes_are_batched(self) -> None:
        """Several changes before one PUBLISH become one, since what is acknowledged (PPU-07)."""
        waiting: list[ServerRequest] = []
        self.pair.script("PUBLISH", self.compositor, waiting.append, self.compositor)
        publication = self.publish("one", partial=Changes())
        for text in ("two", "three", "four"):
            self.change(publication, text)
        self.compositor(waiting[0])
        self.pair.run()
        self.assertEqual(self.bodies, [b"=one", b"one>two", b"two>four"])

    def test_changes_in_an_interval(self) -> None:
        """Changes inside the interval are merged (SRC-02, PPU-07)."""
        publication = self.publish("one", partial=Changes(), interval=10.0)
        for text in ("two", "three"):
            self.change(publication, text)
        self.pair.run(11)
        self.assertEqual(self.bodies, [b"=one", b"one>three"])

    def test_changes_after_a_refresh(self) -> None:
        """A refresh gives the same state another tag; changes follow on it (PPU-02)."""
        self.compositor.lifetime = 60
        publication = self.publish("one", partial=Changes())
        self.pair.run(35)
        self.change(publication, "two")
        self.assertEqual(self.bodies, [b"=one", b"", b"one>two"])
        self.assertEqual(self.matches(), [None, "tag1", "tag2"])

    def test_changes_that_are_lost(self) -> None:
        """Without an answer the same is tried with the old tag, which tells what it is of."""
        self.pair.script("PUBLISH", self.compositor, ignore, self.compositor)
        publication = self.publish("one", partial=Changes())
        self.change(publication, "two")
        self.change(publication, "three")
        self.pair.run(60)
        self.assertEqual(self.bodies, [b"=one", b"one>two", b"one>three"])
        self.assertEqual(self.matches(), [None, "tag1", "tag1"])

    def test_changes_that_arrived_unnoticed(self) -> None:
        """When they have arrived all the same, their tag is gone: the whole follows (PUA-01)."""

        def lose_answer(served: ServerRequest) -> None:
            self.compositor.state = {"unknown": b""}

        self.pair.script("PUBLISH", self.compositor, lose_answer, self.compositor)
        publication = self.publish("one", partial=Changes())
        self.change(publication, "two")
        self.pair.run(60)
        self.assertEqual(self.bodies, [b"=one", b"one>two", b"one>two", b"=two"])
        self.assertEqual(self.matches(), [None, "tag1", "tag1", None])

    def test_failing_changes(self) -> None:
        """On 400 the whole follows at once, as another try of the same (PPU-03)."""
        self.pair.script("PUBLISH", self.compositor, answer(400), self.compositor)
        publication = self.publish("one", partial=Changes())
        self.change(publication, "two")
        self.change(publication, "three")
        self.assertEqual(self.bodies, [b"=one", b"one>two", b"=two", b"two>three"])
        self.assertEqual(self.matches(), [None, "tag1", "tag1", "tag2"])
        first, second = self.pair.received[1:3]
        self.assertEqual((second.call_id, second.cseq[0]), (first.call_id, first.cseq[0] + 1))
        self.assertEqual(self.told.failures, [])

    def test_failing_server(self) -> None:
        """On 500 the whole follows after a while (PPU-03)."""
        self.pair.script("PUBLISH", self.compositor, answer(500), self.compositor)
        publication = self.publish("one", partial=Changes())
        self.change(publication, "two")
        self.pair.run(20)
        self.assertEqual(self.bodies, [b"=one", b"one>two", b"=two"])

    def test_changes_that_always_fail(self) -> None:
        """A server that never can make use of changes gets whole states after three."""

        def only_wholes(served: ServerRequest) -> None:
            if b">" in served.request.body:
                served.respond(400)
            else:
                self.compositor(served)

        self.pair.script("PUBLISH", only_wholes)
        publication = self.publish("0", partial=Changes())
        for number in range(1, 7):
            self.change(publication, str(number))
        self.assertEqual(sum(b">" in body for body in self.bodies), 3)
        self.assertEqual(self.bodies[-2:], [b"=5", b"=6"])
        self.assertEqual(self.told.failures, [])

    def test_unsupported(self) -> None:
        """On 415 the state itself follows, and nothing else for good (PUA-01, PPU-06)."""
        self.pair.script("PUBLISH", answer(415), self.compositor)
        publication = self.publish("one", partial=Changes())
        self.change(publication, "two")
        self.compositor.state.clear()
        self.change(publication, "three")
        self.assertEqual(self.bodies, [b"=one", b"one", b"two", b"three", b"three"])
        self.assertEqual(self.last.first("content-type"), PIDF)
        self.assertEqual(self.told.failures, [])

    def test_unsupported_later(self) -> None:
        """Also when it is changes that are not supported (PUA-01)."""
        self.pair.script("PUBLISH", self.compositor, answer(415), self.compositor)
        publication = self.publish("one", partial=Changes())
        self.change(publication, "two")
        self.change(publication, "three")
        self.assertEqual(self.bodies, [b"=one", b"one>two", b"two", b"three"])

    def test_too_brief_changes(self) -> None:
        """A 423 to changes: the same again (PUA-01)."""
        self.pair.script(
            "PUBLISH", self.compositor, answer(423, ("Min-Expires", "9000")), self.compositor
        )
        publication = self.publish("one", partial=Changes())
        self.change(publication, "two")
        self.assertEqual(self.bodies, [b"=one", b"one>two", b"one>two"])

    def test_changes_after_expiry(self) -> None:
        """What has expired meanwhile is told whole (PPU-04)."""
        self.compositor.lifetime = 60
        self.pair.script("PUBLISH", self.compositor, answer(500))
        publication = self.publish("one", partial=Changes())
        self.pair.run(300, step=1)
        self.change(publication, "two")
        self.pair.run(300, step=1)
        self.assertNotIn(b"one>two", self.bodies)
        self.assertEqual(self.last.first("sip-if-match"), None)
        self.assertEqual(self.last.body, b"=two")

    def test_changes_after_removal(self) -> None:
        """What was removed begins with the whole (PPU-01)."""
        publication = self.publish("one", partial=Changes())
        publication.remove()
        self.change(publication, "two")
        self.assertEqual(self.bodies, [b"=one", b"", b"=two"])

    def test_unsupported_full_state(self) -> None:
        """A 415 to the full state is a failure."""
        self.pair.script("PUBLISH", answer(415))
        self.publish("one")
        self.assertEqual(self.count, 1)
        self.assertEqual(self.told.failures, [(415, None)])

    def test_parts(self) -> None:
        """What stands beside a state goes with it in a multipart/related (CIN-08, RFC 2387)."""
        part = Part({"content-type": ["image/png"], "content-id": ["<1@x>"]}, b"png")
        publication = self.publication()
        publication.publish(Document(PIDF, b"one", (part,)))
        self.pair.run()
        request = self.pair.received[-1]
        found = parse_related(request.first("content-type") or "", request.body)
        self.assertEqual((found.root.content_type.type, found.root.body), (PIDF, b"one"))
        self.assertEqual(found.others, (part,))
        self.assertEqual(publication.known, Document(PIDF, b"one", (part,)))

    def test_other_form(self) -> None:
        """A state that is refused for its size or type is told in another form at once (CIN-04).

        What was published in its place is what is known; with nothing in its place it has failed.
        """
        asked: list[int] = []

        def instead(refused: Document, response: Response) -> Document | None:
            asked.append(response.status)
            return document("less") if refused == document("more") else None

        for status in (413, 415, 513):
            self.pair.script("PUBLISH", answer(status), self.compositor)
            publication = self.publication(instead=instead, interval=60.0)
            publication.publish(document("more"))
            self.pair.run()
            first, second = self.pair.received[-2:]
            self.assertEqual((first.body, second.body), (b"more", b"less"))
            self.assertEqual(first.call_id, second.call_id)
            self.assertEqual(second.cseq[0], first.cseq[0] + 1)
            self.assertEqual(publication.known, document("less"))
        self.pair.script("PUBLISH", answer(413), answer(413), answer(400))
        self.publication(instead=instead).publish(document("more"))
        self.pair.run()
        self.publication(instead=instead).publish(document("more"))
        self.pair.run()
        self.assertEqual(asked, [413, 415, 513, 413, 413])
        self.assertEqual(self.told.failures, [(413, None), (400, None)])

    def test_unavailable(self) -> None:
        """503 with Retry-After: no PUBLISH before, not even for a change (PUA-01)."""
        self.pair.script("PUBLISH", answer(503, ("Retry-After", "60")), self.compositor)
        publication = self.publish("one")
        self.pair.run(30, step=1)
        publication.publish(document("two"))
        self.pair.run(29, step=1)
        self.assertEqual(self.count, 1)
        self.pair.run(8)
        self.assertEqual([r.body for r in self.pair.received], [b"one", b"two"])
        self.assertEqual(len(self.told.failures), 1)

    def test_lost_response(self) -> None:
        """After a time-out the same with the old tag; on 412 anew (PUA-01)."""

        def lose_answer(served: ServerRequest) -> None:
            self.compositor.state = {"unknown": served.request.body}

        self.pair.script("PUBLISH", self.compositor, lose_answer, self.compositor)
        publication = self.publish("one")
        publication.publish(document("two"))
        self.pair.run(39)
        self.assertEqual(self.matches(), [None, "tag1", "tag1", None])
        self.assertEqual([r.body for r in self.pair.received][1:], [b"two"] * 3)
        self.assertEqual(self.told.failures[0][0], None)
        self.assertEqual(publication.etag, "tag2")

    def test_lost_refresh(self) -> None:
        """A refresh that is not answered is repeated as a refresh (PUA-01)."""
        self.compositor.lifetime = 300
        self.pair.script("PUBLISH", self.compositor, ignore, self.compositor)
        self.publish("one")
        self.pair.run(210, step=0.5)
        self.assertEqual(self.matches(), [None, "tag1", "tag1"])
        self.assertEqual(self.last.body, b"")

    def test_expired_meanwhile(self) -> None:
        """When the server was away for longer than the lifetime, all starts anew."""
        self.compositor.lifetime = 60
        self.pair.script("PUBLISH", self.compositor, answer(500))
        self.publish("one")
        self.pair.run(300, step=1)
        self.assertEqual(self.last.first("sip-if-match"), None)
        self.assertEqual(self.last.body, b"one")

    def test_unreachable(self) -> None:
        """Without a way to the server it is tried again with growing delays."""
        self.pair = Pair("TCP")
        self.publisher = Publisher(self.pair.client)
        self.pair.script("PUBLISH", self.compositor)
        self.pair.network.cut("127.0.0.1", SERVER)
        self.publish("one")
        self.pair.run(20)
        self.assertEqual(len(self.told.failures), 3)
        self.pair.network.heal("127.0.0.1", SERVER)
        self.pair.run(25)
        self.assertEqual(self.count, 1)

    def test_refused_for_good(self) -> None:
        """A 403 is not repeated; the next change is tried."""
        self.pair.script("PUBLISH", answer(403), self.compositor)
        publication = self.publish("one")
        self.pair.run(100, step=1)
        self.assertEqual(self.count, 1)
        self.assertEqual(self.told.failures, [(403, None)])
        publication.publish(document("two"))
        self.pair.run()
        self.assertEqual(self.last.body, b"two")

    def test_refused_change(self) -> None:
        """The state before a refused change is kept up."""
        self.compositor.lifetime = 600
        self.pair.script("PUBLISH", self.compositor, answer(400), self.compositor)
        publication = self.publish("one")
        publication.publish(document("bad"))
        self.pair.run(331, step=1)
        self.assertEqual(self.matches(), [None, "tag1", "tag1"])
        self.assertEqual(self.last.body, b"")
        self.assertEqual(self.told.failures, [(400, None)])

    def test_without_entity_tag(self) -> None:
        """An answer without SIP-ETag: the state is published anew in time, no loop."""
        self.pair.script("PUBLISH", answer(200, ("Expires", "600")))
        self.publish("one")
        self.pair.run(331, step=1)
        self.assertEqual(self.matches(), [None, None])
        self.assertEqual(self.last.body, b"one")

    def test_remove(self) -> None:
        """Removal has Expires 0, the tag and no body (PUB-05, SRC-05)."""
        publication = self.publish("one")
        done = publication.remove()
        self.pair.run()
        self.successResultOf(done)
        self.assertEqual(self.last.first("expires"), "0")
        self.assertEqual(self.last.first("sip-if-match"), "tag1")
        self.assertEqual(self.last.body, b"")
        self.assertEqual(self.compositor.state, {})
        self.pair.run(5000, step=50)
        self.assertEqual(self.count, 2)

    def test_remove_waits_for_the_answer(self) -> None:
        """A removal follows the PUBLISH under way, with its tag (PUA-02)."""
        waiting: list[ServerRequest] = []
        self.pair.script("PUBLISH", waiting.append, self.compositor)
        publication = self.publish("one")
        done = publication.remove()
        self.pair.run()
        self.assertEqual(self.count, 1)
        self.compositor(waiting[0])
        self.pair.run()
        self.successResultOf(done)
        self.assertEqual(self.matches(), [None, "tag1"])
        self.assertEqual(self.compositor.state, {})

    def test_remove_instead_of_adapting(self) -> None:
        """What is to be removed is not published once more with a longer lifetime."""
        waiting: list[ServerRequest] = []
        self.pair.script("PUBLISH", waiting.append, self.compositor)
        publication = self.publish("one", expires=60)
        done = publication.remove()
        answer(423, ("Min-Expires", "900"))(waiting[0])
        self.pair.run(1)
        self.successResultOf(done)
        self.assertEqual(self.count, 1)

    def test_remove_nothing(self) -> None:
        """Without a publication there is nothing to remove."""
        self.successResultOf(self.publication().remove())
        self.pair.script("PUBLISH", answer(500))
        publication = self.publish("one")
        self.successResultOf(publication.remove())
        self.pair.run(20)
        self.assertEqual(self.count, 1)

    def test_remove_unanswered(self) -> None:
        """A removal ends even when nobody answers, or the tag is unknown already."""
        for script in (ignore, answer(412), answer(500), answer(403)):
            self.setUp()
            self.pair.script("PUBLISH", self.compositor, script)
            publication = self.publish("one")
            done = publication.remove()
            self.pair.run(33)
            self.successResultOf(done)
            self.assertEqual(self.count, 2)

    def test_publish_after_remove(self) -> None:
        """A publication can be made again after its removal."""
        publication = self.publish("one")
        publication.remove()
        publication.publish(document("two"))
        self.pair.run()
        self.assertEqual(self.matches(), [None, "tag1", None])
        self.assertEqual(self.compositor.state, {"tag3": b"two"})

    def test_no_timers_left(self) -> None:
        """After removal no timers remain (EVT-02)."""
        publication = self.publish("one")
        publication.remove()
        self.pair.run(40)
        self.assertEqual(len(self.pair.client.wheel), 0)


class LossyTests(unittest.SynchronousTestCase):
    """Publications over a network that loses, doubles and reorders datagrams."""

    def test_last_state_is_published(self) -> None:
        """With loss and reordering the server ends with one publication, the newest."""
        for seed in range(5):
            pair = Pair(seed=seed)
            network = pair.network
            network.loss, network.duplicate, network.reorder = 0.2, 0.1, 0.2
            network.delay = (0.01, 0.2)
            compositor = Compositor(lifetime=120)
            pair.script("PUBLISH", compositor)
            terms = PublicationTerms(
                uri="sip:alice@example.com",
                local_uri="<sip:alice@example.com>",
                package="presence",
            )
            publication = Publication(Publisher(pair.client), terms, Recorder())
            for number in range(30):
                publication.publish(document(str(number)))
                pair.run(pair.network.random.uniform(0, 3))
            pair.run(60)
            self.assertEqual(list(compositor.state.values()), [b"29"])
