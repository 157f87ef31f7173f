"""Tests of :mod:`presence.content.fields` and ``media``: what requests say, without a server."""

from __future__ import annotations

import random

from twisted.trial.unittest import SynchronousTestCase

from presence.content.fields import Place, parse_place, wanted_range
from presence.content.media import NEVER, TYPES, active, checked_type, disposition, is_pattern
from presence.content.records import ContentObject
from xcap.errors import XcapError
from xcap.records import Headers

ID = "kq1nT0d2Q1y9vW8mB4xJxA"


class PlaceTests(SynchronousTestCase):
    """Request targets."""

    def test_places(self) -> None:
        """AGP-107: an object by its id, the objects of a user by their identity."""
        for target, place in (
            (f"/cs/o/{ID}", Place(id=ID)),
            (f"/cs/o/{ID}?ttl=5", Place(id=ID, query="ttl=5")),
            ("/cs/users/sip:a@b/", Place(xui="sip:a@b")),
            ("/cs/users/tel:%2B491", Place(xui="tel:+491")),
            ("/cs/users/sip:%C3%A9@b/?x", Place(xui="sip:é@b", query="x")),
        ):
            self.assertEqual(parse_place(target, "/cs/"), place)

    def test_other_places(self) -> None:
        """Everything else is no place; random targets raise nothing but that (CSV-01)."""
        draw = random.Random(7)
        parts = ("/", "cs", "o", "users", ID, "..", ".", "%2f", "%2e", "sip:a@b", "?", "%", "\\")
        for _ in range(5000):
            target = "".join(draw.choice(parts) for _ in range(draw.randrange(12)))
            try:
                place = parse_place(target, "/cs/")
            except XcapError as error:
                self.assertEqual(error.status, 404)
            else:
                self.assertTrue(bool(place.id) != bool(place.xui))
                self.assertNotRegex(place.id + place.xui, r"[/\\]|^\.*$")


class TypeTests(SynchronousTestCase):
    """Media types."""

    def test_never(self) -> None:
        """AGP-110, CSV-06: what a browser runs is stored under no configuration."""
        for kind in NEVER:
            with self.assertRaises(XcapError) as caught:
                checked_type(kind.upper(), ("text/*", "image/*", "application/*", kind))
            self.assertEqual(caught.exception.status, 415)
            self.assertTrue(active(kind))

    def test_defaults(self) -> None:
        """CSV-04: pictures, sounds, plain text and presence documents are."""
        for kind in ("image/png", "image/jpeg", "image/gif", "text/plain", "audio/amr"):
            self.assertEqual(checked_type(kind, TYPES), kind)
        for kind in ("application/pidf+xml", "application/xml"):
            self.assertEqual(checked_type(kind, TYPES), kind)

    def test_parameters(self) -> None:
        """Parameters stay; a header field cannot be smuggled in."""
        for kind in ('text/plain;charset="utf-8"', "text/plain ; a=b;c=d"):
            self.assertEqual(checked_type(kind, TYPES), kind)
        for kind in ("text/plain;a=b\r\nX: y", 'text/plain;a="', "text/plain;a", "text /plain"):
            self.assertRaises(XcapError, checked_type, kind, TYPES)

    def test_patterns(self) -> None:
        """What a configuration may name."""
        for text in ("audio/*", "image/png", "application/vnd.x+xml"):
            self.assertTrue(is_pattern(text))
        for text in ("*/*", "*", "audio/", "image/png; a=b"):
            self.assertFalse(is_pattern(text), text)

    def test_disposition(self) -> None:
        """AGP-110: nothing but pictures and plain text is shown in place."""
        self.assertEqual(disposition("Image/png"), "inline")
        self.assertEqual(disposition("text/plain;charset=x"), "inline")
        self.assertEqual(disposition("text/calendar"), "attachment")


class RangeTests(SynchronousTestCase):
    """Ranges."""

    def test_against_model(self) -> None:
        """Whatever is asked, what is given lies within the object, as the octets asked for do."""
        draw = random.Random(3)
        octets = bytes(range(50))
        found = ContentObject("i", "o", "t/t", len(octets), b"", b"", "f", 0.0, 0.0, 0.0)
        for _ in range(3000):
            first = draw.choice(["", str(draw.randrange(60))])
            last = draw.choice(["", str(draw.randrange(60))])
            value = f"bytes={first}-{last}"
            try:
                part = wanted_range(Headers([("range", value)]), found)
            except XcapError as error:
                self.assertEqual(error.status, 416)
                self.assertTrue((first and int(first) >= 50) or (not first and last == "0"), value)
                continue
            if part is None:
                self.assertTrue(
                    (not first and not last)
                    or (first and last and first > last)
                    or (first and last and int(last) < int(first)),
                    value,
                )
                continue
            start, length = part
            if not first:
                wanted = octets[-int(last) :]
            else:
                wanted = octets[int(first) : int(last) + 1 if last else None]
            self.assertEqual(octets[start : start + length], wanted, value)

    def test_empty(self) -> None:
        """An empty object has no ranges."""
        found = ContentObject("i", "o", "t/t", 0, b"", b"", "f", 0.0, 0.0, 0.0)
        for value in ("bytes=0-", "bytes=-5"):
            self.assertRaises(XcapError, wanted_range, Headers([("range", value)]), found)
