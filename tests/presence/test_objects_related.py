"""Which objects a watcher is told, how, and the body that it gets."""

from __future__ import annotations

from msgspec.structs import replace
from twisted.trial.unittest import SynchronousTestCase

from presence.objects.published import PublishedObject
from presence.objects.related import (
    Takes,
    Telling,
    available,
    choose,
    enclosed,
    referred,
    related,
    takes,
)
from pysip.errors import ParseError
from tests.presence.objects import ICON, PIDF, Got, person

HERE = PublishedObject("i@x", "n@example.com", "image/png", "", ICON, "", 0.0, len(ICON))
THERE = PublishedObject("i@x", "n@example.com", "image/png", "icon", b"", "https://c/1", 99.0, 20)


class TakesTests(SynchronousTestCase):
    """CIN-04: what Accept says."""

    def test_accept(self) -> None:
        """CIN-04: multiparts and references have to be named; lists are another matter."""
        for accept, wanted in (
            (None, Takes.NOTHING),
            ([], Takes.NOTHING),
            ([PIDF], Takes.NOTHING),
            (["*/*"], Takes.NOTHING),
            (["application/*, */*;q=0.1"], Takes.NOTHING),
            ([f"{PIDF}, multipart/related"], Takes.OBJECTS),
            ([PIDF, "Multipart/*;q=0.5"], Takes.OBJECTS),
            ([f"{PIDF}, multipart/related;q=0"], Takes.NOTHING),
            ([f"{PIDF}, multipart/mixed"], Takes.NOTHING),
            ([f"{PIDF}, message/external-body"], Takes.NOTHING),
            ([f"{PIDF}, message/external-body, multipart/related"], Takes.REFERENCES),
            ([PIDF, "multipart/related", "message/*"], Takes.REFERENCES),
            ([f"{PIDF}, multipart/related, message/external-body;q=0"], Takes.OBJECTS),
            ([f"{PIDF}, application/rlmi+xml, multipart/related"], Takes.NOTHING),
            (
                [f"{PIDF}, application/rlmi+xml, multipart/related, message/external-body"],
                Takes.REFERENCES,
            ),
        ):
            self.assertEqual(takes(accept), wanted, accept)
        self.assertRaises(ParseError, takes, ["multipart/"])


class ChooseTests(SynchronousTestCase):
    """CIN-06, CIN-07, AGP-116: how an object is told."""

    def test_here(self) -> None:
        """AGP-116: small ones stand in the body, larger ones are told by reference or not."""
        size = len(ICON)
        for limit, wanted, served, how in (
            (size, Takes.OBJECTS, False, Telling.ENCLOSED),
            (size, Takes.REFERENCES, True, Telling.ENCLOSED),
            (size - 1, Takes.OBJECTS, True, Telling.NOT),
            (size - 1, Takes.REFERENCES, True, Telling.STORED),
            (size - 1, Takes.REFERENCES, False, Telling.NOT),
            (0, Takes.OBJECTS, True, Telling.NOT),
            (0, Takes.REFERENCES, True, Telling.STORED),
        ):
            self.assertEqual(choose(HERE, wanted, limit, served=served), how, (limit, wanted))
        empty = PublishedObject("i@x", "n@x")
        self.assertEqual(choose(empty, Takes.OBJECTS, 0, served=True), Telling.NOT)

    def test_there(self) -> None:
        """CIN-06, CIN-07: fetched from our servers only, and if it is small."""
        for told, limit, wanted, served, how in (
            (THERE, 0, Takes.REFERENCES, False, Telling.REFERRED),
            (THERE, 100, Takes.REFERENCES, True, Telling.REFERRED),
            (THERE, 20, Takes.OBJECTS, True, Telling.FETCHED),
            (THERE, 20, Takes.OBJECTS, False, Telling.NOT),
            (THERE, 19, Takes.OBJECTS, True, Telling.NOT),
            (THERE, 0, Takes.OBJECTS, True, Telling.NOT),
        ):
            self.assertEqual(choose(told, wanted, limit, served=served), how)

    def test_available(self) -> None:
        """Of equal objects the one that is here, else the reference that is good the longest."""
        other = PublishedObject("j@x", "m@example.com")
        later = PublishedObject("k@x", "n@example.com", url="https://c/2", expires=100.0)
        for order in ((THERE, later), (later, THERE)):
            self.assertIs(available([order, (other,)])["n@example.com"], later)
        for orders in ([(HERE,), (later,)], [(later,), (HERE,)]):
            self.assertIs(available(orders)["n@example.com"], HERE)


class RelatedTests(SynchronousTestCase):
    """CIN-08, MPR-04: the body."""

    def test_body(self) -> None:
        """CIN-08: the document is the root, the parts have the Content-IDs that it refers to."""
        document = person("cid:n@example.com")
        parts = [
            enclosed(HERE, "image/png", ICON),
            referred(replace(THERE, name="m@example.com"), "https://c/1", 1767614400.0),
        ]
        kind, body = related(PIDF, document, parts, "example.com")
        found = Got(kind, body)
        self.assertEqual(found.document, document)
        self.assertEqual(found.objects, {"n@example.com": ICON})
        told = found.references["m@example.com"]
        # AGP-114, CIN-02
        self.assertEqual(
            (told.url, told.expiration, told.size, told.disposition, told.content_type),
            ("https://c/1", 1767614400.0, 20, "icon", "image/png"),
        )
        assert found.related is not None
        self.assertEqual(found.related.others[0].first("content-disposition"), "render")
        self.assertTrue(kind.startswith('multipart/related;type="application/pidf+xml";start="<'))
        self.assertIn(b"Content-ID: <n@example.com>", body)

    def test_same(self) -> None:
        """ORD-04: the same input gives the same octets; another object gives others."""
        document = person()
        first = related(PIDF, document, [enclosed(HERE, "image/png", ICON)], "x")
        again = related(PIDF, document, [enclosed(HERE, "image/png", ICON)], "x")
        other = related(PIDF, document, [enclosed(HERE, "image/png", b"other")], "x")
        self.assertEqual(first, again)
        self.assertNotEqual(first[0], other[0])

    def test_boundary(self) -> None:
        """MPR-04: no object can end its part, whatever its octets are."""
        hostile = b"--" + b"a" * 30 + b"\r\n--xx42--\r\n"
        kind, body = related(PIDF, person(), [enclosed(HERE, "a/b", hostile)], "x")
        self.assertEqual(Got(kind, body).objects, {"n@example.com": hostile})
