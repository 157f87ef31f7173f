"""How objects come with a publication, and how they are kept."""

from __future__ import annotations

import gzip
import time

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from presence.objects.published import (
    ObjectLimits,
    PublishedObject,
    Unpacked,
    decode,
    encode,
    next_end,
    unpack,
)
from pysip.errors import SipError
from tests.presence.objects import (
    CONTENT,
    ICON,
    PIDF,
    hashed,
    inline,
    multipart,
    person,
    reference,
)

END = 1767614400.0
"""Monday, 5 January 2026, noon."""
LIMITS = ObjectLimits(count=4, size=100, inline=100, referenced=1000)


def taken(*parts: bytes, limits: ObjectLimits = LIMITS, total: int = 10000) -> Unpacked:
    """A multipart with these parts after the document, taken apart."""
    given = multipart(*parts)
    return unpack(given["content_type"], given["body"], "example.com", limits, total)


class UnpackTests(SynchronousTestCase):
    """SRC-03, CIN-01, CIN-02, CIN-08: a document and its objects."""

    def refused(self, status: int, *parts: bytes, total: int = 10000) -> str:
        """The text of the Warning of a refusal."""
        with self.assertRaises(SipError) as caught:
            taken(*parts, total=total)
        self.assertEqual(caught.exception.status, status)
        return dict(caught.exception.headers)["Warning"]

    def test_plain(self) -> None:
        """A document without objects stays as it is."""
        body = person()
        found = unpack(f"{PIDF};charset=utf-8", body, "example.com", LIMITS, 10)
        self.assertIs(found.document, body)
        self.assertEqual((found.content_type, found.objects), (f"{PIDF};charset=utf-8", ()))

    def test_inline(self) -> None:
        """SRC-03: an object stands in the body, with its type and Content-ID."""
        found = taken(inline(extra="Content-Disposition: icon\r\n"))
        self.assertEqual((found.content_type, found.document), (PIDF, person()))
        (icon,) = found.objects
        self.assertEqual(
            (icon.cid, icon.content_type, icon.disposition, icon.body, icon.size, icon.url),
            ("icon1@ua", "image/png", "icon", ICON, len(ICON), ""),
        )
        self.assertFalse(icon.over(time.time()))

    def test_reference(self) -> None:
        """CIN-01, CIN-11: each reference is a part of its own, among objects that are there."""
        sha = hashed(ICON)
        found = taken(
            reference(CONTENT + "1", END, "a@x", size=7, sha=sha),
            inline(cid="b@x"),
            reference("http://elsewhere.example/2", END, "c@x", kind=""),
        )
        first, _, last = found.objects
        self.assertEqual((first.cid, first.url, first.expires), ("a@x", CONTENT + "1", END))
        self.assertEqual((first.size, first.sha1, first.content_type), (7, sha, "image/png"))
        self.assertEqual((last.url, last.content_type), ("http://elsewhere.example/2", ""))
        self.assertEqual([each.over(END) for each in found.objects], [True, False, True])
        self.assertFalse(first.over(END - 1))

    def test_names(self) -> None:
        """AGP-114: equal objects have equal names, and a changed one another, whatever its cid."""
        one, other, changed = (
            taken(inline(cid="a@x")).objects[0],
            taken(inline(cid="b@x")).objects[0],
            taken(inline(ICON + b"!", cid="a@x")).objects[0],
        )
        self.assertEqual(one.name, other.name)
        self.assertNotEqual(one.name, changed.name)
        self.assertTrue(one.name.endswith("@example.com"))
        as_jpeg = taken(inline(kind="image/jpeg")).objects[0]
        self.assertNotEqual(one.name, as_jpeg.name)
        # of a reference with a hash the place says nothing, of one without it does
        sha = hashed(ICON)
        by_hash = [taken(reference(CONTENT + n, END, sha=sha)).objects[0].name for n in "12"]
        self.assertEqual(len(set(by_hash)), 1)
        by_place = [taken(reference(CONTENT + n, END)).objects[0].name for n in "112"]
        self.assertEqual(len(set(by_place)), 2)
        # CIN-02: a source that changes what is there gives it another Content-ID
        versions = [taken(reference(CONTENT, END, cid)).objects[0].name for cid in ("v1@x", "v2@x")]
        self.assertEqual(len(set(versions)), 2)
        # a later expiration is no change
        later = taken(reference(CONTENT + "1", END + 60)).objects[0]
        self.assertEqual(later.name, by_place[0])

    def test_without_content_id(self) -> None:
        """CIN-02: parts without Content-ID are taken, though nothing can refer to them."""
        self.assertEqual(taken(inline(cid="")).objects, ())

    def test_same_content_id(self) -> None:
        """Two parts of one Content-ID are refused."""
        self.assertIn("twice", self.refused(400, inline(), inline(b"other")))

    def test_start(self) -> None:
        """The root is what ``start`` names, wherever it stands (RFC 2387)."""
        body = (
            b"--b\r\n" + inline() + b"\r\n--b\r\nContent-Type: application/pidf+xml\r\n"
            b"Content-ID: <doc@x>\r\n\r\n" + person() + b"\r\n--b--"
        )
        found = unpack(
            'multipart/related;boundary=b;start="<doc@x>"', body, "example.com", LIMITS, 10000
        )
        self.assertEqual(found.document, person())
        self.assertEqual(len(found.objects), 1)

    def test_coded_root(self) -> None:
        """The root may have a content coding of its own (MSG-26); an object may not."""
        packed = gzip.compress(person())
        body = (
            b"--b\r\nContent-Type: application/pidf+xml\r\nContent-Encoding: gzip\r\n\r\n"
            + packed
            + b"\r\n--b--"
        )
        found = unpack("multipart/related;boundary=b", body, "example.com", LIMITS, 10000)
        self.assertEqual(found.document, person())
        self.refused(415, inline(extra="Content-Encoding: gzip\r\n"))

    def test_limits(self) -> None:
        """SRC-03, AGP-116: number, size of one, and of all: 413 with a Warning."""
        self.assertIn("4 objects", self.refused(413, *[inline(cid=f"{n}@x") for n in range(5)]))
        self.assertIn("100 octets", self.refused(413, inline(b"x" * 101)))
        self.assertIn("300 octets", self.refused(413, inline(b"x" * 50), total=300))
        self.assertEqual(len(taken(inline(b"x" * 100)).objects), 1)

    def test_size_of_a_reference(self) -> None:
        """AGP-115: what a reference speaks of may be too large: 513."""
        self.assertIn("1000 octets", self.refused(513, reference(CONTENT, END, size=1001)))
        self.assertEqual(len(taken(reference(CONTENT, END, size=1000)).objects), 1)

    def test_bad_reference(self) -> None:
        """CIN-05: 400 for a reference that cannot be read, none for one that is optional."""
        bad = reference("gopher://x/", END)
        self.assertIn("http URL", self.refused(400, bad))
        optional = b"Content-Disposition: render;handling=optional\r\n" + bad
        self.assertEqual(taken(optional).objects, ())

    def test_kinds(self) -> None:
        """415 for a part that cannot be an object, unless it is optional."""
        nested = b"Content-Type: multipart/mixed;boundary=n\r\n%s\r\n--n\r\n\r\nx\r\n--n--"
        self.refused(415, nested % b"")
        self.refused(415, b"Content-Type: message/sip\r\n\r\nx")
        optional = b"Content-Disposition: x;handling=optional\r\n"
        self.assertEqual(taken(nested % optional).objects, ())

    def test_document_by_reference(self) -> None:
        """CIN-04, CIN-05: the document itself is never fetched: 415, with no word of indirection.

        It is to be sent again in the body.
        """
        kind = reference(CONTENT, END).partition(b"\r\n\r\n")[0].decode().partition(": ")[2]
        whole = {"content_type": kind.replace("\r\n", ""), "body": b""}
        root = b"--b\r\n" + reference(CONTENT, END) + b"\r\n--b--"
        part = {"content_type": "multipart/related;boundary=b", "body": root}
        for case in (whole, part):
            with self.assertRaises(SipError) as caught:
                unpack(case["content_type"], case["body"], "example.com", LIMITS, 10000)
            self.assertEqual(caught.exception.status, 415)
            headers = dict(caught.exception.headers)
            self.assertEqual(headers["Accept"], "application/pidf+xml, multipart/related")
            self.assertTrue(headers["Warning"].startswith("399 "))

    def test_broken(self) -> None:
        """400 for multiparts that are none, with a Warning that does not quote them."""
        good = multipart(inline())["body"]
        for content_type, body in (
            ("multipart/related", good),
            ("multipart/related;boundary=yy", good),
            ("multipart/related;boundary=xx42", good[:-20]),
            ('multipart/related;boundary=xx42;start="<none@x>"', good),
            ("multipart/related;boundary=xx42;type=image/png", good),
            ("multipart/related;boundary=b", b"--b--"),
            ("multipart/related;boundary=b", b""),
            ("multipart/related;boundary=b", b"--b\r\nnonsense\r\n\r\nx\r\n--b--"),
        ):
            with self.assertRaises(SipError) as caught:
                unpack(content_type, body, "example.com", LIMITS, 10000)
            self.assertEqual(caught.exception.status, 400, content_type)
            self.assertIn("multipart", dict(caught.exception.headers)["Warning"])

    def test_odd_text(self) -> None:
        """Octets of header values that are no text are refused: they would be written again."""
        for odd in (b"\xff", b"\x00", b"\x1b"):
            part = b"Content-Type: image/png\r\nContent-ID: <a" + odd + b"@x>\r\n\r\nx"
            self.refused(400, part)
            part = b'Content-Type: image/png;name="' + odd + b'"\r\nContent-ID: <a@x>\r\n\r\nx'
            self.refused(400, part)

    def test_long_text(self) -> None:
        """So are very long ones, which would go to all watchers."""
        for head in ("Content-Disposition: x;a=" + "y" * 600, "Content-Description: x"):
            part = inline(extra=f"{head}\r\n")
            if len(head) > 600:
                self.refused(400, part)
            else:
                self.assertEqual(len(taken(part).objects), 1)

    def test_many_parts(self) -> None:
        """Very many parts, and very deep ones, take no time worth speaking of."""
        many = b"--b\r\n\r\n\r\n" * 90000 + b"--b--"
        began = time.process_time()
        with self.assertRaises(SipError):
            unpack("multipart/related;boundary=b", many, "example.com", LIMITS, 1048576)
        deep = b"Content-Type: multipart/mixed;boundary=b\r\n\r\n--b\r\n" * 20000
        with self.assertRaises(SipError):
            unpack("multipart/related;boundary=b", b"--b\r\n" + deep, "x", LIMITS, 1048576)
        self.assertLess(time.process_time() - began, 10)

    @settings(max_examples=200, deadline=None, derandomize=True)
    @given(st.lists(st.binary(max_size=100), max_size=6), st.text(max_size=60))
    def test_anything(self, parts: list[bytes], params: str) -> None:
        """No input raises anything but SipError, and what is taken can be kept."""
        given = multipart(*parts)
        for kind in (given["content_type"], f"multipart/related;boundary=xx42;{params}"):
            try:
                found = unpack(kind, given["body"], "example.com", LIMITS, 10000)
            except SipError:
                continue
            self.assertEqual(decode(encode(found.objects)), found.objects)


class KeptTests(SynchronousTestCase):
    """Objects as they are kept."""

    def test_round_trip(self) -> None:
        """NFR-07: objects come back; fields that another release has are passed over."""
        objects = taken(inline(), reference(CONTENT, END, "b@x", size=3)).objects
        self.assertEqual(decode(encode(objects)), objects)
        self.assertEqual((encode(()), decode(b"")), (b"", ()))
        import msgspec

        newer = msgspec.msgpack.encode([{"cid": "a", "name": "b", "colour": 7}])
        self.assertEqual(decode(newer), (PublishedObject("a", "b"),))

    def test_damaged(self) -> None:
        """What cannot be read is nothing: the document is told without it."""
        for kept in (b"\xc1", b"\x90\x90", encode(taken(inline()).objects)[:-1]):
            self.assertEqual(decode(kept), ())

    def test_next_end(self) -> None:
        """CIN-09: the next reference to end; what is here never does."""
        objects = taken(
            inline(),
            reference(CONTENT, END, "b@x"),
            reference(CONTENT, END + 5, "c@x"),
        ).objects
        kept = encode(objects)
        self.assertEqual(next_end(kept, END - 1), END)
        self.assertEqual(next_end(kept, END), END + 5)
        self.assertIsNone(next_end(kept, END + 5))
