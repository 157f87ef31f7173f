"""The Presence Source publishes objects (SRC-03), against a scripted server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
from twisted.trial import unittest
from zope.interface import implementer
from zope.interface.verify import verifyObject

from presence.content.client import ContentClient
from presence.content.errors import ContentError
from presence.content.interfaces import IOwnObjects
from presence.partial.documents import CONTENT_TYPE as DIFF_TYPE
from presence.partial.documents import Diff, Full, read
from presence.pidf.summary import summarise
from presence.pidf.validate import accept
from presence.publishing.interfaces import ISourceDelegate
from presence.publishing.objects import SourceObject
from presence.source import PresenceSource, SourceTerms, Status
from pysip.event.publisher import Publisher
from pysip.external import parse_external
from pysip.header import format_date
from pysip.message import Request
from pysip.mime import Part, Related, parse_related
from pysip.ua import ServerRequest
from tests.presence.objects import hashed
from tests.presence.ownobjects import BASE, PNG, WALL, Shed
from tests.pysip.scripted import Pair, Script, answer
from tests.pysip.test_publisher import Compositor, Recorder

ALICE = "sip:alice@example.com"
PIDF = "application/pidf+xml"
RELATED = "multipart/related"
EXTERNAL = "message/external-body"
SMALL = PNG + b"x" * (5120 - len(PNG))
LARGE = SMALL + b"x"


def icon(body: bytes = SMALL, kind: str = "image/png") -> SourceObject:
    """A picture."""
    return SourceObject(body, kind)


@implementer(ISourceDelegate)
class Listener(Recorder):
    """Notes what it is told of objects, too."""

    def __init__(self) -> None:
        super().__init__()
        self.missing: list[tuple[str, float | None]] = []

    def object_failed(
        self, object: SourceObject, error: ContentError, retry_after: float | None
    ) -> None:
        """A failure."""
        self.missing.append((error.kind, retry_after))


class SourceCase(unittest.SynchronousTestCase):
    """A source, a scripted server, and a Content Server."""

    def setUp(self) -> None:
        """A source that has said nothing yet."""
        self.pair = Pair("TCP")
        self.compositor = Compositor()
        self.pair.script("PUBLISH", self.compositor)
        self.publisher = Publisher(self.pair.client)
        self.told = Listener()
        self.shed = Shed(self.pair.clock)
        self.terms = SourceTerms(presentity=ALICE, local_uri=f"<{ALICE}>", throttle=0.0)
        self.source = self.make()

    def make(self, *, store: bool = True, **changes: object) -> PresenceSource:
        """A source on other terms."""
        terms = attrs.evolve(self.terms, **changes)
        shed = self.shed if store else None
        return PresenceSource(self.publisher, terms, self.told, self.shed.wall, shed)

    def say(self, icon: SourceObject | str = "", note: str = "") -> None:
        """Publish a status."""
        self.source.set_status(Status(icon=icon, note=note))
        self.pair.run()

    @property
    def last(self) -> Request:
        """The last PUBLISH."""
        return self.pair.received[-1]

    @property
    def kinds(self) -> list[str]:
        """The media type of each PUBLISH."""
        return [(each.first("content-type") or "").partition(";")[0] for each in self.pair.received]

    @property
    def body(self) -> Related:
        """The last PUBLISH taken apart."""
        return parse_related(self.last.first("content-type") or "", self.last.body)

    @property
    def part(self) -> Part:
        """The one object in it."""
        (part,) = self.body.others
        return part

    def shown(self, document: bytes | None = None) -> str:
        """The icon in the last document, "" for none."""
        found = summarise(self.last.body if document is None else document)
        links = [link.uri for person in found.persons for link in person.links]
        return links[0] if links else ""

    def stop(self) -> None:
        """Publish no more."""
        done = self.source.stop()
        self.pair.run()
        self.successResultOf(done)


class ObjectTests(SourceCase):
    """What is published, and how."""

    def test_enclosed(self) -> None:
        """SRC-03, AGP-116, CIN-08: up to CLIENT-OBJ-DATA-LIMIT in a multipart/related."""
        self.say(icon())
        self.assertEqual(self.kinds, [RELATED])
        root = self.body.root
        self.assertEqual(root.content_type.type, PIDF)
        accept(root.body, entity_ok=lambda uri: uri == ALICE, strict=True)
        url = self.shown(root.body)
        part = self.body.find(url)
        assert part is not None
        self.assertEqual(part, self.part)
        self.assertEqual(url, f"cid:{part.content_id}")
        self.assertEqual(part.first("content-type"), "image/png")
        self.assertEqual(part.first("content-disposition"), "render")
        self.assertEqual(part.body, SMALL)
        self.assertEqual((self.shed.asked, self.told.missing), ([], []))

    def test_referred(self) -> None:
        """SRC-03, AGP-114, AGP-116, CIN-01, CIN-02, CIN-11: one octet more goes by reference."""
        self.say(icon(LARGE))
        (url,) = self.shed.objects
        params = self.part.content_type.params
        self.assertEqual(self.part.content_type.type, EXTERNAL)
        until = WALL + 4 * 3600
        self.assertEqual(
            {name: params[name] for name in params},
            {
                "access-type": "URL",
                "url": url,
                "expiration": format_date(until),
                "size": "5121",
                "hash": hashed(LARGE),
            },
        )
        cid = self.shown(self.body.root.body).removeprefix("cid:")
        self.assertEqual(
            self.part.body,
            f"Content-Type: image/png\r\nContent-ID: <{cid}>\r\n"
            "Content-Disposition: render\r\n\r\n".encode(),
        )
        self.assertEqual(self.shed.objects[url].body, LARGE)
        self.assertEqual(self.shed.objects[url].until, until)

    def test_limit(self) -> None:
        """AGP-116: the limit is the operator's; 0 means never in SIP."""
        self.source = self.make(object_limit=0)
        self.say(icon(b"x"))
        self.assertEqual(self.part.content_type.type, EXTERNAL)
        self.source = self.make(object_limit=5121)
        self.say(icon(LARGE))
        self.assertEqual(self.part.body, LARGE)

    def test_file(self) -> None:
        """An object in a file; one that cannot be read keeps nothing from being published."""
        file = Path(self.mktemp())
        for body in (SMALL, LARGE):
            file.write_bytes(body)
            self.say(SourceObject(file, "image/png"))
            self.assertIn(body, [self.part.body, *self.shed.alive()])
        self.say(SourceObject(file.with_name("none"), "image/png"), note="here")
        self.assertEqual(self.shown(), "")
        self.assertEqual(summarise(self.last.body).notes, ("here",))
        self.assertEqual(self.told.missing, [("refused", None)])

    def test_content_id(self) -> None:
        """AGP-114: the same content keeps its Content-ID, however it is told; other has another."""
        found = []
        for body, limit in ((SMALL, 5120), (SMALL, 5120), (SMALL, 0), (SMALL[:-1], 5120)):
            self.source = self.make(object_limit=limit)
            self.say(icon(body))
            found.append(self.shown(self.body.root.body))
        self.say(icon(SMALL[:-1], "image/x-other"))
        found.append(self.shown(self.body.root.body))
        self.assertEqual(found[:2], found[1:3])
        self.assertEqual(len(set(found)), 3)
        self.assertRegex(found[0], r"^cid:[0-9a-f]{32}@example\.com$")

    def test_document(self) -> None:
        """Documents made elsewhere bring objects, too; what is no object of theirs stays.

        Objects that a document does not refer to are not published.
        """
        document = self.source.document(Status(icon="cid:me@here", note="cid:note"))
        self.source.set_document(document, {"me@here": icon(), "unused": icon(LARGE)})
        self.pair.run()
        self.assertEqual((len(self.body.others), self.shed.asked), (1, []))
        part = self.body.find(self.shown(self.body.root.body))
        assert part is not None
        self.assertEqual(part.body, SMALL)
        self.assertIn(b">cid:note<", self.body.root.body)

    def test_same_object_twice(self) -> None:
        """One object with two names is told once."""
        document = self.source.document(Status(icon="cid:1", note="cid:2"))
        one = icon()
        self.source.set_document(document, {"1": one, "2": one})
        self.pair.run()
        self.assertEqual(self.body.root.body.count(self.part.content_id.encode()), 2)

    def test_media_type(self) -> None:
        """What is no media type is refused before anything is sent."""
        for kind in ("", "png", "image/png\r\nX: y", "image/\x01"):
            with self.assertRaises(ValueError):
                SourceObject(b"", kind)

    def test_interface(self) -> None:
        """The client of Content Servers, and its stand-in here, are what a source needs."""
        verifyObject(IOwnObjects, self.shed)
        verifyObject(IOwnObjects, ContentClient(self.pair.clock))
        verifyObject(ISourceDelegate, self.told)

    def test_any_delegate(self) -> None:
        """Who owns a source need not care for objects."""
        self.told = Recorder()  # type: ignore[assignment]
        self.source = self.make()
        self.shed.down = ContentError("large")
        self.say(icon(LARGE))
        self.assertEqual(self.told.lifetimes, [3600])

    def test_without_server(self) -> None:
        """Without a Content Server what is small goes, and what is large does not."""
        self.source = self.make(store=False)
        self.say(icon())
        self.assertEqual(self.part.body, SMALL)
        self.say(icon(LARGE))
        self.say(SourceObject("file", "image/png"))
        self.assertEqual((self.kinds[-1], self.shown()), (PIDF, ""))
        self.assertEqual(self.told.missing, [("foreign", None)] * 2)


class LifeTests(SourceCase):
    """SRC-03, AGP-117: objects are there as long as they are published, and no longer."""

    def test_unchanged(self) -> None:
        """The same object is stored once, whatever else changes."""
        one = icon(LARGE)
        for note in ("a", "b", "c"):
            self.say(one, note)
        self.assertEqual(self.shed.asked, [("store", "image/png")])
        self.assertEqual(len(self.pair.received), 3)

    def test_changed(self) -> None:
        """What is not referred to any more is deleted, when the server knows that."""
        self.source = self.make(throttle=10.0)
        self.say(icon(LARGE))
        self.say(icon(LARGE + b"2"))
        self.assertEqual(len(self.pair.received), 1)
        self.assertEqual(len(self.shed.objects), 2, "watchers are still told the old one")
        self.pair.run(10)
        self.assertEqual(len(self.pair.received), 2)
        self.assertEqual(self.shed.alive(), [LARGE + b"2"])
        self.say(icon())
        self.pair.run(10)
        self.assertEqual(self.shed.alive(), [])

    def test_refresh_between(self) -> None:
        """A refresh that comes before the new state does not take the old object away."""
        self.source = self.make(expires=60)
        self.say(icon(LARGE))
        self.shed.held = []
        self.say(icon(LARGE + b"2"))
        self.pair.run(4)
        count = len(self.pair.received)
        self.source.publication._enter()  # a refresh, just now
        self.pair.run()
        self.assertEqual(len(self.pair.received), count + 1)
        self.assertEqual(self.shed.asked, [("store", "image/png")], "nothing is deleted")

    def test_answer_between(self) -> None:
        """Nor does the answer to a state that was on its way."""
        one = icon(LARGE)
        self.say(one)
        served: list[ServerRequest] = []
        self.pair.script("PUBLISH", served.append, answer(400))
        self.say(one, "a note")
        self.say(icon(LARGE + b"2"))
        self.compositor(served[0])
        self.pair.run()
        self.assertEqual(self.told.failures, [(400, None)])
        self.assertIn(LARGE, self.shed.alive())

    def test_refused_change(self) -> None:
        """A state that the server refuses leaves the objects of the one before."""
        self.say(icon(LARGE))
        self.pair.script("PUBLISH", answer(400), self.compositor)
        self.say(icon(LARGE + b"2"))
        self.assertIn(LARGE, self.shed.alive())
        self.say(icon(LARGE + b"3"))
        self.assertEqual(self.shed.alive(), [LARGE + b"3"])

    def test_stop(self) -> None:
        """The end of the publication is the end of its objects, in this order (SRC-05)."""
        self.say(icon(LARGE))
        removed: list[int] = []

        def removing(served: Any) -> None:
            removed.append(len(self.shed.objects))
            self.compositor(served)

        self.pair.script("PUBLISH", removing)
        self.stop()
        self.assertEqual(self.last.first("expires"), "0")
        self.assertEqual((removed, self.shed.objects), ([1], {}))
        self.pair.run(100000, step=500)
        self.assertEqual([operation for operation, _ in self.shed.asked], ["store", "delete"])

    def test_stop_while_storing(self) -> None:
        """Who stops before all is there leaves nothing behind, and publishes nothing."""
        self.shed.held = []
        self.say(icon(LARGE))
        self.stop()
        self.shed.let()
        self.pair.run(100)
        self.assertEqual((self.pair.received, self.shed.alive()), ([], []))

    def test_stop_fails(self) -> None:
        """An object that cannot be deleted ends by itself."""
        self.say(icon(LARGE))
        self.shed.down = ContentError("unreachable")
        self.stop()
        self.assertEqual(self.compositor.state, {})

    def test_stop_slowly(self) -> None:
        """Who does not wait for the end of the objects knows that the publication has ended."""
        self.say(icon(LARGE))
        self.shed.held = []
        done = self.source.stop()
        self.pair.run()
        self.assertNoResult(done)
        self.assertEqual((self.source.publication.etag, self.compositor.state), ("", {}))
        self.shed.let()
        self.successResultOf(done)
        self.assertEqual(self.shed.alive(), [])

    def test_again(self) -> None:
        """After the end it can begin again."""
        one = icon(LARGE)
        self.say(one)
        self.stop()
        self.say(one)
        self.assertEqual(self.shed.alive(), [LARGE])
        self.assertEqual(self.kinds[-1], RELATED)

    def test_lost(self) -> None:
        """After a 412 all is told again, with its objects; later they are deleted as ever."""
        self.say(icon(LARGE))
        self.compositor.state.clear()
        self.say(icon(LARGE + b"2"))
        self.pair.run(2)
        self.assertEqual(self.last.first("sip-if-match"), None)
        self.assertEqual(parse_external(self.part).sha1, hashed(LARGE + b"2"))
        self.assertEqual(self.shed.alive(), [LARGE + b"2"])
        self.stop()
        self.assertEqual(self.shed.alive(), [])

    def test_new_life(self) -> None:
        """AGP-109: an object gets a new life in time, and watchers are told of it."""
        self.say(icon(LARGE))
        first = parse_external(self.part)
        note = self.body.root.body
        for _ in range(60):
            self.pair.run(1800, step=60)
            (found,) = self.shed.objects.values()
            deadline = self.shed.wall() + 3600
            self.assertGreaterEqual(found.until, deadline - 1, "longer than the publication")
        told = parse_external(self.part)
        self.assertEqual(told.expiration, found.until)
        self.assertEqual(attrs.evolve(told, expiration=first.expiration), first, "CIN-02")
        self.assertEqual(self.body.root.body, note, "nothing new is said")
        lives = sum(operation == "extend" for operation, _ in self.shed.asked)
        self.assertEqual(lives, len([kind for kind in self.kinds if kind]) - 1)
        self.assertEqual(lives, 10)

    def test_short_life(self) -> None:
        """A server that grants shorter lives than publications have is asked more often."""
        self.shed.longest = 600
        self.say(icon(LARGE))
        for _ in range(100):
            self.pair.run(60, step=10)
            self.assertEqual(self.shed.alive(), [LARGE])
        self.assertLess(len(self.shed.asked), 20)

    def test_other_clock(self) -> None:
        """A server whose clock is far behind is not asked all the time."""
        self.shed.longest = -86400
        self.say(icon(LARGE))
        self.pair.run(300, step=1)
        self.assertLessEqual(len(self.shed.asked), 21)

    def test_gone(self) -> None:
        """What the Content Server has lost is stored again; the content may be another by now."""
        file = Path(self.mktemp())
        file.write_bytes(LARGE)
        self.say(SourceObject(file, "image/png"))
        self.shed.objects.clear()
        file.write_bytes(LARGE + b"2")
        self.pair.run(3 * 3600 + 60, step=60)
        self.assertEqual(self.shed.alive(), [LARGE + b"2"])
        (url,) = self.shed.objects
        told = parse_external(self.part)
        self.assertEqual((told.url, told.sha1), (url, hashed(LARGE + b"2")))

    def test_no_new_life(self) -> None:
        """What gets no new life is told to the owner, and tried again."""
        self.say(icon(LARGE))
        self.shed.down = ContentError("unreachable")
        self.pair.run(3 * 3600 + 60, step=60)
        self.assertGreater(len(self.told.missing), 1)
        self.assertTrue(all(delay is not None for _, delay in self.told.missing))
        self.assertEqual(len([kind for kind in self.kinds if kind]), 1)
        self.shed.down = None
        self.pair.run(1000, step=10)
        self.assertGreater(self.shed.objects[BASE + "1"].until, self.shed.wall() + 12000)


class FailureTests(SourceCase):
    """SRC-03: presence is published whatever becomes of its objects."""

    def test_unreachable(self) -> None:
        """Without the Content Server there is no icon; it is tried again, and then there is."""
        self.shed.down = ContentError("unreachable")
        self.say(icon(LARGE), "here")
        self.assertEqual((self.kinds, self.shown()), ([PIDF], ""))
        self.assertEqual(summarise(self.last.body).notes, ("here",))
        ((kind, delay),) = self.told.missing
        self.assertEqual(kind, "unreachable")
        self.pair.run((delay or 0) + 0.2)
        self.assertEqual(len(self.told.missing), 2)
        self.assertEqual(len(self.pair.received), 1, "nothing new")
        self.shed.down = None
        self.pair.run(60)
        self.assertEqual(parse_external(self.part).sha1, hashed(LARGE))
        self.assertEqual(self.told.failures, [])

    def test_refused(self) -> None:
        """What the Content Server refuses is not tried again; what it cannot now, is."""
        self.shed.down = ContentError("large", "too large", 413)
        self.say(icon(LARGE))
        self.assertEqual(self.told.missing, [("large", None)])
        self.pair.run(4000, step=10)
        self.assertEqual(len(self.shed.asked), 1)
        self.shed.down = ContentError("refused", "busy", 503)
        self.say(icon(LARGE))
        self.shed.down = None
        self.pair.run(10)
        self.assertEqual(self.kinds[-1], RELATED)

    def test_slow(self) -> None:
        """Presence waits some seconds for its icon, and then goes without it."""
        self.shed.held = []
        self.say(icon(LARGE), "here")
        self.pair.run(4.5)
        self.assertEqual(self.pair.received, [])
        self.pair.run(1)
        self.assertEqual((self.kinds, self.shown()), ([PIDF], ""))
        self.say(icon(LARGE), "changed")
        self.pair.run(3)
        self.say("", "no icon")
        self.assertEqual(summarise(self.last.body).notes, ("no icon",))
        self.say(icon(LARGE), "again")
        self.shed.let()
        self.pair.run()
        self.shed.let()
        self.pair.run()
        self.assertEqual(self.kinds[-1], RELATED)
        self.assertEqual(self.shed.alive(), [LARGE])

    def test_impatient(self) -> None:
        """Changes meanwhile do not make it wait any longer."""
        self.shed.held = []
        one = icon(LARGE)
        for number in range(8):
            self.say(one, str(number))
            self.pair.run(1)
        notes = [summarise(each.body).notes for each in self.pair.received]
        self.assertEqual(notes, [("5",), ("6",), ("7",)])

    def test_bug(self) -> None:
        """A store with a bug is an icon less."""
        self.shed.down = ZeroDivisionError()
        self.say(icon(LARGE))
        self.assertEqual(self.kinds, [PIDF])
        self.assertEqual(self.told.missing, [("refused", None)])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_replaced_while_storing(self) -> None:
        """An object that nobody wants any more is not waited for, and does not stay."""
        self.shed.held = []
        self.say(icon(LARGE))
        self.say(icon(b"small"))
        self.shed.let()
        self.pair.run()
        self.assertEqual(self.part.body, b"small")
        self.assertEqual((self.shed.alive(), self.told.missing), ([], []))


class RefusalTests(SourceCase):
    """CIN-04, AGP-115: servers that do not take everything."""

    def refuse(self, status: int, accept: str | None, *, times: int = 1) -> None:
        """Answer so first."""
        headers = [] if accept is None else [("Accept", accept)]
        scripts: list[Script] = [answer(status, *headers)] * times
        self.pair.script("PUBLISH", *scripts, self.compositor)

    def hold(self) -> None:
        """The Content Server is slow from the refusal on."""
        refusal, *others = self.pair._scripts["PUBLISH"]

        def slow(served: ServerRequest) -> None:
            self.shed.held = []
            refusal(served)

        self.pair.script("PUBLISH", slow, *others)

    def same_operation(self) -> None:
        """All PUBLISHes are attempts of one: the same Call-ID, the next CSeq, at once."""
        calls = {each.call_id for each in self.pair.received}
        self.assertEqual(len(calls), 1)
        self.assertEqual(set(self.pair.times), {self.pair.times[0]})

    def test_no_references(self) -> None:
        """Without message/external-body in Accept the URL stands in the document."""
        self.source = self.make(throttle=10.0)
        self.refuse(415, f"{PIDF}, {RELATED}")
        one = icon(LARGE)
        self.say(one)
        self.same_operation()
        (url,) = self.shed.objects
        self.assertEqual((self.kinds, self.shown()), ([RELATED, PIDF], url))
        self.assertEqual(self.told.missing, [])
        self.pair.run(10)
        self.say(one, "later")
        self.assertEqual((self.kinds[2:], self.shown()), ([PIDF], url), "it is not asked again")
        self.pair.run(10)
        self.say(icon())
        self.assertEqual((self.part.body, self.shed.alive()), (SMALL, []))

    def test_no_multipart(self) -> None:
        """Without multipart/related a small one is stored, too, and told by its URL."""
        self.refuse(415, PIDF)
        self.hold()
        self.say(icon())
        self.assertEqual((self.kinds, self.shown()), ([RELATED, PIDF], ""))
        self.shed.let()
        self.pair.run()
        (url,) = self.shed.objects
        self.assertEqual((self.kinds[2:], self.shown()), ([PIDF], url))
        self.assertEqual(self.told.failures, [])

    def test_not_told(self) -> None:
        """A 415 without Accept: first without references, then without anything beside."""
        self.refuse(415, None)
        self.say(icon(LARGE))
        self.assertEqual(self.kinds, [RELATED, PIDF])
        self.refuse(415, None)
        self.say(icon())
        self.assertEqual(self.kinds[2:4], [RELATED, PIDF])
        self.refuse(415, "nonsense;;")
        self.source = self.make()
        self.say(icon())
        self.assertEqual(self.kinds[-1], PIDF)

    def test_type(self) -> None:
        """A server that takes both, but not this type of object, gets none."""
        for body in (SMALL, LARGE):
            self.source = self.make()
            self.refuse(415, f"{PIDF}, {RELATED}, {EXTERNAL}")
            self.say(icon(body, "image/x-odd"))
            self.assertEqual((self.kinds[-1], self.shown()), (PIDF, ""))
        self.assertEqual(self.told.missing, [("large", None)] * 2)
        self.assertEqual(self.shed.alive(), [])

    def test_large_inside(self) -> None:
        """413: what is too large for the body goes by reference."""
        self.refuse(413, None)
        self.hold()
        self.say(icon())
        self.same_operation()
        self.assertEqual((self.kinds, self.shown()), ([RELATED, PIDF], ""), "not without presence")
        self.shed.let()
        self.pair.run()
        self.assertEqual(self.kinds[2:], [RELATED])
        self.assertEqual(parse_external(self.part).sha1, hashed(SMALL))
        self.say(icon(SMALL[:-1]))
        self.assertEqual(self.part.body, SMALL[:-1], "a smaller one may do")

    def test_large_elsewhere(self) -> None:
        """513: what is too large for the server is left out, and deleted."""
        self.refuse(513, None)
        self.say(icon(LARGE), "here")
        self.assertEqual((self.kinds, self.shown()), ([RELATED, PIDF], ""))
        self.assertEqual(self.told.missing, [("large", None)])
        self.assertEqual(self.shed.alive(), [])
        self.assertEqual(self.told.failures, [])

    def test_everything(self) -> None:
        """Who refuses everything is believed in the end."""
        for status in (413, 415, 513):
            self.source = self.make()
            self.refuse(status, None, times=10)
            before = len(self.pair.received)
            self.say(icon(LARGE))
            self.pair.run(5)
            self.assertLessEqual(len(self.pair.received), before + 4)
            self.assertEqual(self.told.failures[-1], (status, None))

    def test_no_https(self) -> None:
        """CIN-03: without a hash beside it no URL but of HTTPS is told."""
        self.shed._base = "http://content.example.com/"
        self.refuse(415, f"{PIDF}, {RELATED}")
        self.say(icon(LARGE))
        self.assertEqual((self.kinds, self.shown()), ([RELATED, PIDF], ""))


class PartialTests(SourceCase):
    """SRC-01, PPU-07: objects beside documents that are told in parts."""

    def setUp(self) -> None:
        """A source that tells changes."""
        super().setUp()
        self.source = self.make(partial=True)

    def test_change(self) -> None:
        """Changes go alone while the objects stay; with another object all is told whole."""
        one = icon(LARGE)
        words = "some words that do not change: "
        self.say(one, f"{words}1")
        self.assertEqual(self.body.root.content_type.type, DIFF_TYPE)
        self.assertIsInstance(read(self.body.root.body), Full)
        self.assertEqual(self.part.content_type.type, EXTERNAL)
        self.say(one, f"{words}2")
        self.assertEqual(self.kinds[-1], DIFF_TYPE)
        change = read(self.last.body)
        self.assertIsInstance(change, Diff)
        self.assertNotIn(b"status-icon", self.last.body)
        self.say(icon(LARGE + b"2"), f"{words}3")
        self.assertEqual(self.kinds[-1], RELATED)
        self.assertIsInstance(read(self.body.root.body), Full)
        self.assertEqual(parse_external(self.part).sha1, hashed(LARGE + b"2"))
        self.say("", f"{words}4")
        self.assertEqual(self.kinds[-1], DIFF_TYPE)
        self.assertEqual(self.shed.alive(), [])

    def test_no_multipart(self) -> None:
        """A server that takes changes, and nothing beside them, goes on to get changes."""
        refusal = answer(415, ("Accept", f"{PIDF}, {DIFF_TYPE}"))
        self.pair.script("PUBLISH", refusal, self.compositor)
        self.say(icon(LARGE))
        self.assertEqual(self.kinds, [RELATED, DIFF_TYPE])

    def test_no_changes(self) -> None:
        """A server that takes objects, and no changes, gets objects."""
        refusal = answer(415, ("Accept", f"{PIDF}, {RELATED}, {EXTERNAL}"))
        self.pair.script("PUBLISH", refusal, self.compositor)
        self.say(icon(LARGE))
        self.assertEqual(self.body.root.content_type.type, PIDF)
        self.assertEqual(self.part.content_type.type, EXTERNAL)

    def test_nothing(self) -> None:
        """One that takes neither gets PIDF."""
        self.pair.script("PUBLISH", answer(415), answer(415), self.compositor)
        self.say(icon(LARGE))
        (url,) = self.shed.objects
        self.assertEqual((self.kinds[-1], self.shown()), (PIDF, url))


class MeasureTests(unittest.SynchronousTestCase):
    """Looking at files."""

    def test_growing(self) -> None:
        """A file that is written meanwhile is no content yet."""
        from presence.content import local

        file = Path(self.mktemp())
        file.write_bytes(b"12345")
        real = local.outgoing

        def grown(content: Any) -> local.Outgoing:
            found = real(content)
            file.write_bytes(b"1")
            return found

        self.patch(local, "outgoing", grown)
        with self.assertRaises(OSError):
            local.measured(file, 10)
