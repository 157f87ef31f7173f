"""What a watcher asks for, and what it makes of bodies (oma-presence.md 6, events.md G, H, K)."""

from __future__ import annotations

import random

from lxml import etree
from twisted.trial.unittest import SynchronousTestCase

from presence.partial.difference import difference
from presence.partial.documents import full, partial
from presence.pidf.parse import parse
from presence.watching.cache import PresenceCache
from presence.watching.filterchange import filter_ids, filter_update
from presence.watching.objects import (
    MOST_OBJECTS,
    MOST_OCTETS,
    InlineObject,
    ReferredObject,
    WatchedObject,
    kept,
    mentioned,
    read_objects,
)
from presence.watching.options import WatchOptions
from presence.watching.resync import Resync
from pysip.event.rates import Rates
from pysip.external import ExternalBody, write_external
from pysip.header import parse_media_type
from pysip.mime import Part, write_related

BOB = "sip:bob@example.com"
PIDF = parse_media_type("application/pidf+xml")
DIFF = parse_media_type("application/pidf-diff+xml")


def document(*notes: str, icon: str = "") -> bytes:
    """A presence document with a tuple for each note."""
    tuples = "".join(
        f'<tuple id="t{n}"><status><basic>open</basic></status><note>{note}</note></tuple>'
        for n, note in enumerate(notes)
    )
    person = f'<d:person id="p1"><r:status-icon>{icon}</r:status-icon></d:person>' if icon else ""
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<presence xmlns="urn:ietf:params:xml:ns:pidf" '
        'xmlns:d="urn:ietf:params:xml:ns:pidf:data-model" '
        f'xmlns:r="urn:ietf:params:xml:ns:pidf:rpid" entity="{BOB}">{tuples}{person}</presence>'
    ).encode()


def canonical(octets: bytes) -> bytes:
    """A document as it compares."""
    return etree.tostring(parse(octets), method="c14n", exclusive=True)


def step(old: bytes, new: bytes, version: int) -> bytes:
    """A ``pidf-diff`` from one document to the next."""
    operations = difference(old, new)
    assert operations is not None
    return partial(operations, BOB, version)


def inline(cid: str, body: bytes, content_type: str = "image/png") -> Part:
    """A part with an object."""
    return Part({"content-type": [content_type], "content-id": [f"<{cid}>"]}, body)


def referred(cid: str, number: int = 1) -> Part:
    """A part with a reference."""
    url = f"https://content.example.com/{number}"
    return write_external(ExternalBody(url, 2e9, content_type="image/png", content_id=cid))


def with_objects(media_type: str, body: bytes, *parts: Part) -> tuple[str, bytes]:
    """A document and its objects as one body."""
    root = Part({"content-type": [media_type], "content-id": ["<root@example.com>"]}, body)
    return write_related([root, *parts], "b0undary")


class CacheTests(SynchronousTestCase):
    """The document of one presentity."""

    def setUp(self) -> None:
        """Nothing is known."""
        self.cache = PresenceCache()
        self.one, self.two, self.three = document("1"), document("1", "2"), document("3", "2")

    def same(self, expected: bytes) -> None:
        """Compare documents by what they say."""
        assert self.cache.document is not None
        self.assertEqual(canonical(self.cache.document), canonical(expected))

    def test_whole(self) -> None:
        """WAT-01: a whole document replaces; what cannot be read changes nothing (SBR-06)."""
        self.assertEqual(self.cache.take(PIDF, self.one), "replaced")
        self.assertEqual((self.cache.document, self.cache.content_type), (self.one, PIDF.type))
        for bad in (b"<presence", b"", b"<!DOCTYPE a><a/>", b"\xff\xfe<"):
            self.assertEqual(self.cache.take(PIDF, bad), "failed", bad)
        self.assertEqual(self.cache.document, self.one)

    def test_differences(self) -> None:
        """PNO-11: full, then differences one after the other."""
        self.assertEqual(self.cache.take(DIFF, full(self.one, 1)), "replaced")
        self.assertEqual(self.cache.take(DIFF, step(self.one, self.two, 2)), "applied")
        self.same(self.two)
        self.assertEqual(self.cache.content_type, PIDF.type)
        self.assertEqual(self.cache.take(DIFF, step(self.two, self.three, 4)), "lost")
        self.assertEqual(self.cache.take(DIFF, step(self.one, self.two, 2)), "discarded")
        self.same(self.two)
        self.assertEqual(self.cache.take(DIFF, full(self.three, 5)), "replaced")
        self.same(self.three)

    def test_versions_go_on(self) -> None:
        """PNO-08: another type drops what was here, and keeps the counter."""
        self.cache.take(DIFF, full(self.one, 7))
        self.cache.take(PIDF, self.two)
        self.assertEqual(self.cache.document, self.two)
        self.assertEqual(self.cache.take(DIFF, step(self.one, self.two, 8)), "lost")
        self.assertEqual(self.cache.take(DIFF, full(self.one, 7)), "discarded")
        self.assertEqual(self.cache.take(DIFF, full(self.three, 8)), "replaced")
        self.same(self.three)

    def test_another_subscription(self) -> None:
        """PNO-04: it counts anew; what is known stays until it is told."""
        self.cache.take(DIFF, full(self.one, 7))
        self.cache.begin_anew()
        self.same(self.one)
        self.assertEqual(self.cache.take(DIFF, step(self.one, self.two, 1)), "lost")
        self.assertEqual(self.cache.take(DIFF, full(self.two, 1)), "replaced")
        self.same(self.two)

    def test_random_histories(self) -> None:
        """PNO-11: after any loss, repetition and order, what is taken is what was told."""
        rng = random.Random(5263)
        for _ in range(60):
            self.cache = PresenceCache()
            truth, version = document("0"), 1
            told = [(truth, full(truth, version))]
            for number in range(rng.randrange(1, 12)):
                notes = [str(rng.randrange(3)) for _ in range(rng.randrange(1, 4))]
                new, version = document(*notes, str(number)), version + 1
                whole = rng.random() < 0.3
                told.append((new, full(new, version) if whole else step(truth, new, version)))
                truth = new
            index = 0
            while index < len(told):
                outcome = self.cache.take(DIFF, told[index][1])
                if outcome in ("replaced", "applied"):
                    self.same(told[index][0])
                index += rng.choice((1, 1, 1, 2, 0, -1)) if index else 1
                index = max(index, 0)

    def test_objects(self) -> None:
        """CIN-08, WAT-06: inline and referred objects of what the document refers to."""
        told = document("1", icon="cid:icon%311@example.com")
        body = with_objects(
            PIDF.type,
            told,
            inline("icon11@example.com", b"PNG"),
            inline("other@example.com", b"nobody speaks of it"),
        )
        self.assertEqual(self.cache.take(parse_media_type(body[0]), body[1]), "replaced")
        self.assertEqual(self.cache.document, told)
        self.assertEqual(
            self.cache.objects,
            {"icon11@example.com": InlineObject("icon11@example.com", "image/png", b"PNG")},
        )
        self.cache.take(PIDF, document("1"))
        self.assertEqual(self.cache.objects, {})

    def test_objects_of_differences(self) -> None:
        """CIN-08: an object stays while the document refers to it, and comes with a difference."""
        one, two = document("1", icon="cid:a@x"), document("2", icon="cid:a@x")
        three = document("2", icon="cid:b@x")
        first = with_objects(DIFF.type, full(one, 1), referred("a@x"))
        self.assertEqual(self.cache.take(parse_media_type(first[0]), first[1]), "replaced")
        self.assertEqual(self.cache.take(DIFF, step(one, two, 2)), "applied")
        self.assertEqual(list(self.cache.objects), ["a@x"])
        third = with_objects(DIFF.type, step(two, three, 3), inline("b@x", b"PNG"))
        self.assertEqual(self.cache.take(parse_media_type(third[0]), third[1]), "applied")
        self.assertEqual(list(self.cache.objects), ["b@x"])

    def test_broken_multipart(self) -> None:
        """SBR-06: a multipart that cannot be read changes nothing."""
        self.cache.take(PIDF, self.one)
        for kind, body in (
            ("multipart/related;boundary=b", b"--b\r\n\r\nx"),
            ("multipart/related", b"x"),
            ("multipart/related;boundary=b;start=no", b"--b\r\n\r\nx\r\n--b--"),
            ("multipart/related;boundary=b", b"--b\r\n\r\nno document\r\n--b--"),
        ):
            self.assertEqual(self.cache.take(parse_media_type(kind), body), "failed", kind)
        self.assertEqual(self.cache.document, self.one)


class ObjectTests(SynchronousTestCase):
    """Objects beside a document."""

    def test_references(self) -> None:
        """CIN-11: one URL per part, several in parts of their own; inline ones beside them."""
        found = read_objects(
            [referred("a@x", 1), referred("b@x", 2), inline("c@x", b"C"), inline("c@x", b"again")]
        )
        urls = [o.reference.url for o in found.values() if isinstance(o, ReferredObject)]
        self.assertEqual(urls, ["https://content.example.com/1", "https://content.example.com/2"])
        self.assertEqual(found["c@x"], InlineObject("c@x", "image/png", b"C"))

    def test_what_is_no_object(self) -> None:
        """CIN-05: a part that cannot be read, or has no name, is no error."""
        bad = Part({"content-type": ["message/external-body;access-type=ftp"]}, b"")
        for part in (
            bad,
            Part({"content-type": ["nonsense"], "content-id": ["<a@x>"]}, b""),
            Part({"content-type": ["image/png"]}, b""),
            Part({"content-type": ["message/rfc822"], "content-id": ["<a@x>"]}, b""),
        ):
            self.assertEqual(read_objects([part]), {})

    def test_mentioned(self) -> None:
        """MPR-02: cid URLs in text and attributes, percent-decoded."""
        text = b"<a href='cid:a%40x' b=\"CID:b@x\">cid:c&amp;d@x <b>cid:e@x</b></a> acid"
        self.assertEqual(mentioned(text), {"a@x", "b@x", "c&d@x", "e@x"})

    def test_bounds(self) -> None:
        """WAT-06: what a peer sends is kept within bounds."""
        many: dict[str, WatchedObject] = {
            f"{n}@x": InlineObject(f"{n}@x", "a/b", b"") for n in range(2 * MOST_OBJECTS)
        }
        text = " ".join(f"cid:{cid}" for cid in many).encode()
        self.assertEqual(len(kept(text, {}, many)), MOST_OBJECTS)
        half = InlineObject("a@x", "a/b", bytes(MOST_OCTETS // 2 + 1))
        old: dict[str, WatchedObject] = {"a@x": half}
        new: dict[str, WatchedObject] = {"b@x": half}
        self.assertEqual(list(kept(b"cid:a@x cid:b@x", old, new)), ["b@x"])


class OptionTests(SynchronousTestCase):
    """What is asked for."""

    def test_accept(self) -> None:
        """WAT-01, WAT-02, PNO-03, CIN-04: PIDF always, differences before it, objects if wanted."""
        pidf, diff = "application/pidf+xml", "application/pidf-diff+xml"
        rlmi = ("application/rlmi+xml", "multipart/related")
        external = "message/external-body"
        for options, single, listed in (
            (WatchOptions(), (pidf,), (*rlmi, pidf)),
            (WatchOptions(partial=True), (diff, pidf), (*rlmi, diff, pidf)),
            (
                WatchOptions(objects=True),
                (pidf, "multipart/related", external),
                (*rlmi, pidf, external),
            ),
        ):
            self.assertEqual(options.accept(lists=False), single)
            self.assertEqual(options.accept(lists=True), listed)

    def test_rates(self) -> None:
        """RAT-14: rates that contradict each other are not asked for."""
        with self.assertRaises(ValueError):
            WatchOptions(rates=Rates(0.1, 0.2))


class ResyncTests(SynchronousTestCase):
    """How what was missed is got back."""

    def test_once(self) -> None:
        """SBR-06, PNO-11: a refresh, once, until something was taken in."""
        resync = Resync(partial=False)
        self.assertEqual([resync.missing() for _ in range(9)], ["refresh", *[""] * 8])
        resync.taken()
        self.assertEqual(resync.missing(), "refresh")
        resync.begin_anew()
        self.assertEqual(resync.missing(), "refresh")

    def test_second_failure(self) -> None:
        """PNO-11, PNO-12: at the second failure differences are asked for no more."""
        resync = Resync(partial=True)
        self.assertEqual(resync.missing(), "refresh")
        resync.taken()
        self.assertEqual((resync.missing(), resync.partial), ("whole", False))
        resync.taken()
        self.assertEqual(resync.missing(), "refresh")

    def test_refresh_in_vain(self) -> None:
        """PNO-12: one that was under way may fail as well; the next one is the answer."""
        resync = Resync(partial=True)
        self.assertEqual([resync.missing() for _ in range(5)], ["refresh", "", "whole", "", ""])

    def test_proved(self) -> None:
        """PNO-11: a difference that was applied shows that differences work."""
        resync = Resync(partial=True)
        for _ in range(3):
            self.assertEqual(resync.missing(), "refresh")
            resync.taken()
            resync.taken(applied=True)
        self.assertTrue(resync.partial)


class FilterChangeTests(SynchronousTestCase):
    """From one filter document to another (FLT-21)."""

    def filters(self, *ids: str, what: str = "") -> bytes:
        """A filter document."""
        inner = "".join(f'<filter id="{each}"><what>{what}</what></filter>' for each in ids)
        return (
            f'<filter-set xmlns="urn:ietf:params:xml:ns:simple-filter">{inner}</filter-set>'
        ).encode()

    def test_added_and_replaced(self) -> None:
        """FLT-21: the same ids replace, new ones add: the document as it is."""
        new = self.filters("a", "b")
        self.assertEqual(filter_update(b"", new), new)
        self.assertEqual(filter_update(self.filters("a"), new), new)
        self.assertEqual(filter_update(b"", b""), b"")

    def test_removed(self) -> None:
        """FLT-21: what is not wanted any more is removed by name, as the server reads it."""
        from presence.filters.document import read_filters

        text = "<include>//presence</include>"
        for after, left in ((self.filters("b", what=text), ["b"]), (b"", [])):
            update = filter_update(self.filters("a", "b", "c"), after)
            read = read_filters(update, "presence")
            self.assertEqual([each.id for each in read.filters], left)
            self.assertEqual(read.removed, {"a", "b", "c"} - set(left))
            self.assertIn("a", filter_ids(update))

    def test_no_filters(self) -> None:
        """FLT-01: what is none is told before it is sent."""
        for bad in (b"<a/>", b"nonsense", b"<!DOCTYPE a><a/>"):
            with self.assertRaises(ValueError):
                filter_update(b"", bad) or filter_ids(bad)
