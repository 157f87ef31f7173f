"""Canonical forms of URIs."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from xcap.canonical import HttpUri, canonical_sip_uri, is_relative_path, parse_http_uri


class SipTests(SynchronousTestCase):
    """:func:`xcap.canonical.canonical_sip_uri`."""

    def test_forms(self) -> None:
        """XDM-33: hosts and tokens in lower case, no needless escapes, sorted, no headers."""
        for text, wanted in (
            # the example of RFC 4826 section 5
            ("sip:%6aoe%20smith@example.com", "sip:joe%20smith@example.com"),
            ("SIP:Joe@EXAMPLE.com", "sip:Joe@example.com"),
            ("sips:joe@example.com", "sips:joe@example.com"),
            ("sip:joe@example.com;Transport=UDP", "sip:joe@example.com;transport=udp"),
            ("sip:j@x;lr;b=2;a=%41", "sip:j@x;a=a;b=2;lr"),
            ("sip:j@x?subject=hello", "sip:j@x"),
            ("sip:j:se%63ret@x", "sip:j:secret@x"),
            ("sip:j@[0:0::1]:5061", "sip:j@[::1]:5061"),
            ("sip:x", "sip:x"),
            (" sip:j@x\n", "sip:j@x"),
            ("sip:j@x;p=%2f%3b", "sip:j@x;p=/%3B"),
            ("sip:joe@example.com;pres-list=Friends", "sip:joe@example.com;pres-list=friends"),
        ):
            self.assertEqual(canonical_sip_uri(text), wanted)
            self.assertEqual(canonical_sip_uri(wanted), wanted)

    def test_refused(self) -> None:
        """Other URIs and text have no such form."""
        for text in ("", "tel:+1555", "joe@example.com", "sip:", "sip:j@x y", "http://x/"):
            self.assertRaises(ValueError, canonical_sip_uri, text)

    @given(st.text(max_size=30))
    def test_any_text(self, text: str) -> None:
        """Nothing but ValueError is raised, and the form is stable."""
        try:
            found = canonical_sip_uri(f"sip:{text}")
        except ValueError:
            return
        self.assertEqual(canonical_sip_uri(found), found)


class HttpTests(SynchronousTestCase):
    """:func:`xcap.canonical.parse_http_uri` and :func:`xcap.canonical.is_relative_path`."""

    def test_read(self) -> None:
        """XDM-33: default ports go, hosts are in lower case, needless escapes are undone."""
        for text, origin, path, tail in (
            ("http://X.example", "http://x.example", "/", ""),
            ("HTTPS://x:443/A?b#c", "https://x", "/A", "?b#c"),
            ("http://x:443/", "http://x:443", "/", ""),
            ("http://x:/", "http://x", "/", ""),
            ("http://[::1]:80/%7e%7E/%5bA%5D", "http://[::1]", "/~~/%5BA%5D", ""),
            (" https://x/a\n", "https://x", "/a", ""),
        ):
            self.assertEqual(parse_http_uri(text), HttpUri(origin, path, tail))
        self.assertEqual(str(HttpUri("http://x", "/a", "?b")), "http://x/a?b")

    def test_no_http_uri(self) -> None:
        """What is relative, of another scheme or not percent-encoded is none (XDM-24)."""
        for text in (
            "",
            "a/b",
            "/a",
            "//x/a",
            "sip:a@x",
            "http:/a",
            "http:a",
            "http://",
            "http:///a",
            'http://x/list[@name="a"]',
            "http://x/a b",
            "http://x/%zz",
            "http://x/\u00e4",
            "http://joe@x/",
            "http://x:123456/",
        ):
            self.assertIsNone(parse_http_uri(text), text)

    def test_relative(self) -> None:
        """XDM-23: neither scheme nor authority nor a slash at the start."""
        for text in ("a", "a/sip:b@x/~~/c%5b1%5d", "a?b", "./a", "..", "a#b", " a "):
            self.assertTrue(is_relative_path(text), text)
        for text in ("", "/a", "//x/a", "http://x/a", "a:b", "?a", "#a", "a b", "a[1]", "a%"):
            self.assertFalse(is_relative_path(text), text)
