"""Preconditions of requests."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from xcap.conditions import evaluate, http_date, outcome, parse_date
from xcap.errors import XcapError
from xcap.records import Headers

THEN = 784111777.0
"""Sun, 06 Nov 1994 08:49:37 GMT."""
DATE = "Sun, 06 Nov 1994 08:49:37 GMT"
BEFORE = "Sun, 06 Nov 1994 08:49:36 GMT"


def check(method: str, etag: str | None, *fields: tuple[str, str]) -> int:
    """The outcome for a document changed at :data:`THEN`."""
    return outcome(method, Headers(fields), etag, None if etag is None else THEN)


class OutcomeTests(SynchronousTestCase):
    """:func:`xcap.conditions.outcome`."""

    def test_table(self) -> None:
        """The table of conditions; rows that end earlier belong to the server (XCAP-155)."""
        for method, field, value, absent, current, other in (
            ("PUT", "If-Match", '"t"', 412, 0, 412),
            ("PUT", "If-Match", "*", 412, 0, 0),
            ("PUT", "If-None-Match", "*", 0, 412, 412),
            ("PUT", "If-None-Match", '"t"', 0, 412, 0),
            ("GET", "If-None-Match", '"t"', 0, 304, 0),
            ("GET", "If-None-Match", "*", 0, 304, 304),
            ("HEAD", "If-None-Match", '"t"', 0, 304, 0),
            ("GET", "If-Match", '"t"', 412, 0, 412),
            ("GET", "If-Match", "*", 412, 0, 0),
            ("DELETE", "If-Match", '"t"', 412, 0, 412),
            ("DELETE", "If-None-Match", "*", 0, 412, 412),
        ):
            row = (method, field, value)
            self.assertEqual(check(method, None, (field, value)), absent, row)
            self.assertEqual(check(method, "t", (field, value)), current, row)
            self.assertEqual(check(method, "u", (field, value)), other, row)

    def test_none(self) -> None:
        """Without conditions every request goes on (XCAP-155)."""
        for method in ("GET", "PUT", "DELETE"):
            self.assertEqual(check(method, "t"), 0)

    def test_lists(self) -> None:
        """Lists of tags, also over several fields and with odd commas (XCAP-153)."""
        for value in ('"a", "t"', '"t","a"', ', "a" ,, "t",', '"a,b" , "t"', 'W/"t", "t"'):
            self.assertEqual(check("PUT", "t", ("If-Match", value)), 0, value)
            self.assertEqual(check("PUT", "u", ("If-Match", value)), 412, value)
        self.assertEqual(check("PUT", "t", ("If-Match", '"a"'), ("If-Match", '"t"')), 0)

    def test_weak(self) -> None:
        """A weak tag matches If-None-Match only (XCAP-153)."""
        self.assertEqual(check("PUT", "t", ("If-Match", 'W/"t"')), 412)
        self.assertEqual(check("GET", "t", ("If-None-Match", 'W/"t"')), 304)

    def test_malformed(self) -> None:
        """A malformed list is refused, whatever else is said (XCAP-153)."""
        for value in ("", "t", '"t', 't"', '"a" "t"', '*, "t"', '"t", *', 'w/"t"', '"a\x01"', ","):
            for field in ("If-Match", "If-None-Match"):
                for etag in ("t", None):
                    headers = Headers([(field, value)])
                    error = self.assertRaises(XcapError, outcome, "PUT", headers, etag, None)
                    self.assertEqual(error.status, 400, value)
        headers = Headers([("If-Match", '"x"'), ("If-None-Match", "x")])
        error = self.assertRaises(XcapError, outcome, "PUT", headers, "t", None)
        self.assertEqual(error.status, 400)

    def test_match_first(self) -> None:
        """If-Match is looked at before If-None-Match (XCAP-156)."""
        both = (("If-Match", '"x"'), ("If-None-Match", '"t"'))
        self.assertEqual(check("GET", "t", *both), 412)
        both = (("If-Match", '"t"'), ("If-None-Match", '"t"'))
        self.assertEqual(check("GET", "t", *both), 304)
        self.assertEqual(check("PUT", "t", *both), 412)

    def test_modified_since(self) -> None:
        """If-Modified-Since counts for GET, without If-None-Match (XCAP-156)."""
        self.assertEqual(check("GET", "t", ("If-Modified-Since", DATE)), 304)
        self.assertEqual(check("HEAD", "t", ("If-Modified-Since", DATE)), 304)
        self.assertEqual(check("GET", "t", ("If-Modified-Since", BEFORE)), 0)
        self.assertEqual(check("PUT", "t", ("If-Modified-Since", DATE)), 0)
        both = (("If-None-Match", '"x"'), ("If-Modified-Since", DATE))
        self.assertEqual(check("GET", "t", *both), 0)
        both = (("If-Match", '"x"'), ("If-Modified-Since", DATE))
        self.assertEqual(check("GET", "t", *both), 412)

    def test_unmodified_since(self) -> None:
        """If-Unmodified-Since counts without If-Match (XCAP-156)."""
        self.assertEqual(check("PUT", "t", ("If-Unmodified-Since", BEFORE)), 412)
        self.assertEqual(check("PUT", "t", ("If-Unmodified-Since", DATE)), 0)
        self.assertEqual(check("PUT", None, ("If-Unmodified-Since", BEFORE)), 0)
        both = (("If-Match", '"t"'), ("If-Unmodified-Since", BEFORE))
        self.assertEqual(check("PUT", "t", *both), 0)

    def test_bad_dates(self) -> None:
        """Dates that cannot be read are ignored (XCAP-156)."""
        for value in ("", "yesterday", "0", DATE + ", " + DATE, "Sun, 31 Feb 1994 08:49:37 GMT"):
            self.assertEqual(check("GET", "t", ("If-Modified-Since", value)), 0)
            self.assertEqual(check("PUT", "t", ("If-Unmodified-Since", value)), 0)

    def test_raised(self) -> None:
        """What is raised carries the current tag (XCAP-157, XCAP-65)."""
        headers = Headers([("If-None-Match", "*")])
        for method, status in (("GET", 304), ("PUT", 412)):
            error = self.assertRaises(XcapError, evaluate, method, headers, "t", THEN)
            self.assertEqual((error.status, error.headers), (status, (("ETag", '"t"'),)))
        headers = Headers([("If-Match", "*")])
        error = self.assertRaises(XcapError, evaluate, "PUT", headers, None, None)
        self.assertEqual((error.status, error.headers), (412, ()))
        evaluate("PUT", headers, "t", THEN)

    @given(st.text(max_size=30), st.sampled_from(["GET", "PUT"]))
    def test_any(self, value: str, method: str) -> None:
        """No value raises anything but 400 (XCAP-153)."""
        for field in ("if-match", "if-none-match", "if-modified-since", "if-unmodified-since"):
            try:
                self.assertIn(check(method, "t", (field, value)), (0, 304, 412))
            except XcapError as error:
                self.assertEqual(error.status, 400)


class DateTests(SynchronousTestCase):
    """HTTP dates."""

    def test_forms(self) -> None:
        """All three forms are read (XCAP-156, RFC 9110 section 5.6.7)."""
        for text in (DATE, "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"):
            self.assertEqual(parse_date(text), int(THEN))

    def test_bad(self) -> None:
        """What is no date of HTTP is none."""
        for text in (
            "Sun, 06 Nov 1994 08:49:37 CET",
            "Sun, 6 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 24:00:00 GMT",
            "Sun, 06 Nov 1994 08:61:00 GMT",
            "Sun, 00 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 0000 08:49:37 GMT",
            "Sun, 06 Nov \u0661994 08:49:37 GMT",
        ):
            self.assertIsNone(parse_date(text), text)

    @given(st.integers(0, 253402300799))
    def test_round_trip(self, seconds: int) -> None:
        """A date that is written reads back (XCAP-65)."""
        self.assertEqual(parse_date(http_date(seconds)), seconds)
