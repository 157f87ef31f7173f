"""URIs: reading, writing, comparison, identity keys."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial import unittest

from pysip.errors import ParseError
from pysip.uri import (
    OtherUri,
    SimpleUri,
    SipUri,
    TelUri,
    canonical_aor,
    check_uri,
    comparison_key,
    equivalent,
    escape_user,
    parse_uri,
    split_host_port,
    unescape,
)


def sip(text: str) -> SipUri:
    """A URI that must be a SIP URI."""
    uri = parse_uri(text)
    assert isinstance(uri, SipUri)
    return uri


class ParseTests(unittest.SynchronousTestCase):
    """Reading and writing of URIs."""

    def test_all_parts(self) -> None:
        """Every part of a SIP URI is found, and written back as it was."""
        text = "sips:al%69ce:se%3acret@Example.COM:5071;transport=TLS;lr;x-Y=%41?Subject=hi&a=b"
        uri = sip(text)
        self.assertEqual(uri.scheme, "sips")
        self.assertEqual(uri.user, "al%69ce")
        self.assertEqual(uri.password, "se%3acret")
        self.assertEqual((uri.host, uri.port), ("Example.COM", 5071))
        self.assertEqual(uri.params, {"transport": "TLS", "lr": None, "x-y": "%41"})
        self.assertEqual(uri.headers, "Subject=hi&a=b")
        self.assertEqual(uri.transport, "tls")
        self.assertTrue(uri.lr)
        self.assertEqual(str(uri), text.replace("x-Y", "x-y"))

    def test_case(self) -> None:
        """MSG-02: scheme and parameter names in any case, user in its own."""
        uri = sip("SIP:Alice@h;LR;Transport=UdP")
        self.assertEqual((uri.scheme, uri.user, uri.transport), ("sip", "Alice", "udp"))
        self.assertTrue(uri.lr)

    def test_ipv6(self) -> None:
        """TRN-03: the brackets are not part of the host, and come back on writing."""
        uri = sip("sip:a@[2001:db8::1]:5060;maddr=[2001:db8::2]")
        self.assertEqual((uri.host, uri.port), ("2001:db8::1", 5060))
        self.assertEqual(uri.maddr, "2001:db8::2")
        self.assertEqual(str(uri), "sip:a@[2001:db8::1]:5060;maddr=[2001:db8::2]")

    def test_telephone_user(self) -> None:
        """MSG-12: the user runs to the at sign, with its own parameters."""
        uri = sip("sip:+1-212-555-0100;ext=5@example.com;user=phone")
        self.assertEqual(uri.user, "+1-212-555-0100;ext=5")
        self.assertEqual(uri.params, {"user": "phone"})

    def test_escaped_parameter_name(self) -> None:
        """MSG-11: a parameter name means what its escapes say."""
        uri = sip("sip:h;%6C%72;%3B=1")
        self.assertTrue(uri.lr)
        self.assertEqual(str(uri), "sip:h;lr;%3B=1")

    def test_refused(self) -> None:
        """What breaks the grammar is a ParseError."""
        for text in (
            "",
            "alice",
            ":a@b",
            "1x:a",
            "sip:",
            "sip:@h",
            "sip:a@",
            "sip:a b@h",
            "sip:a@b@c",
            "sip:a@h:",
            "sip:a@h:0x1",
            "sip:a@h:65536",
            "sip:a@h:" + "0" * 5000,
            "sip:a@h:٣",
            "sip:a@h ",
            "sip:a@h;",
            "sip:a@h;;lr",
            "sip:a@h;a=",
            "sip:a@h;=a",
            "sip:a@h?",
            "sip:a@h/x",
            "sip:<a@h>",
            "sip:a%4@h",
            "sip:a%zz@h",
            "sip:a\0@h",
            "sip:é@h",
            "sip:a@é",
            "sip:a@[::1",
            "sip:a@[::1]x",
            "sip:a@[::1\0]",
            "sip:a@[fe80::1%eth0]",
            "sip:a@[12345::]",
            "sip:a@[]",
            "sip:a@2001:db8::1",
            "sip:a\r\nb@h",
            "tel:",
            "tel:+",
            "tel:+12x",
            "tel:123",
            "tel:xyz;phone-context=a.b",
            "pres:a",
            "pres:@h",
            "im:a@h:5060",
            "pres:a@h?",
            "urn:<>",
        ):
            with self.assertRaises(ParseError, msg=repr(text)):
                parse_uri(text)
            with self.assertRaises(ParseError, msg=repr(text)):
                check_uri(text)

    @settings(max_examples=200, deadline=None)
    @given(st.text(alphabet="a1.:@;=?[]%/-_", max_size=15))
    def test_check(self, text: str) -> None:
        """The quick check accepts what the parser accepts."""
        for uri in (f"sip:{text}", f"sips:a@{text}"):
            try:
                parse_uri(uri)
            except ParseError:
                self.assertRaises(ParseError, check_uri, uri)
            else:
                check_uri(uri)

    def test_repeated_parameter(self) -> None:
        """MSG-29: a parameter occurs once, whatever its case or escapes."""
        for text in ("sip:h;lr;LR", "sip:h;a=1;a=2", "sip:h;lr;%6cr", "tel:+1;ext=1;ext=1"):
            with self.assertRaises(ParseError, msg=text):
                parse_uri(text)

    def test_tel(self) -> None:
        """MSG-15: global and local telephone numbers."""
        self.assertEqual(parse_uri("tel:+1-212-555"), TelUri("+1-212-555"))
        uri = parse_uri("TEL:863-1234;phone-context=+1-914-555;isub=7")
        assert isinstance(uri, TelUri)
        self.assertEqual(uri.params, {"phone-context": "+1-914-555", "isub": "7"})
        self.assertEqual(str(uri), "tel:863-1234;phone-context=+1-914-555;isub=7")

    def test_pres_and_im(self) -> None:
        """MSG-15: pres and im URIs with headers."""
        uri = parse_uri("pres:fred@example.com?To=x")
        self.assertEqual(uri, SimpleUri("pres", "fred", "example.com", "To=x"))
        self.assertEqual(str(uri), "pres:fred@example.com?To=x")
        self.assertEqual(str(parse_uri("IM:f@[::1]")), "im:f@[::1]")

    def test_other(self) -> None:
        """A foreign scheme is kept as it is."""
        uri = parse_uri("URN:service:sos")
        self.assertEqual(uri, OtherUri("urn", "service:sos"))
        self.assertEqual(str(uri), "urn:service:sos")

    def test_split_host_port(self) -> None:
        """Hosts with and without port."""
        self.assertEqual(split_host_port("h.example"), ("h.example", None))
        self.assertEqual(split_host_port("192.0.2.1:5070"), ("192.0.2.1", 5070))
        self.assertEqual(split_host_port("[::1]:5070"), ("::1", 5070))


class EscapeTests(unittest.SynchronousTestCase):
    """Percent escapes."""

    def test_unescape(self) -> None:
        """MSG-11: decoded once; NUL and non-UTF-8 octets survive."""
        self.assertEqual(unescape("%2541"), "%41")
        self.assertEqual(unescape("a%00b"), "a\0b")
        self.assertEqual(unescape("%C3%A9"), "é")
        self.assertEqual(escape_user(unescape("%ff")), "%FF")

    def test_escape_user(self) -> None:
        """Only what a user part cannot hold is escaped."""
        self.assertEqual(escape_user("a;b=c&d+e$f,g?h/i"), "a;b=c&d+e$f,g?h/i")
        self.assertEqual(escape_user("a@b:c d%"), "a%40b%3Ac%20d%25")
        self.assertEqual(escape_user("é"), "%C3%A9")

    @settings(max_examples=100, deadline=None)
    @given(st.text())
    def test_round_trip(self, text: str) -> None:
        """Escaping and decoding gives the text back, and makes a legal user part."""
        try:
            text.encode("utf-8")
        except UnicodeEncodeError:
            return
        escaped = escape_user(text)
        self.assertEqual(unescape(escaped), text)
        if text:
            self.assertEqual(sip(f"sip:{escaped}@h").user, escaped)


class EquivalentTests(unittest.SynchronousTestCase):
    """MSG-13 and MSG-15: comparison by the rules of the scheme."""

    def check(self, a: str, b: str, expected: bool) -> None:
        """Compare both ways."""
        self.assertEqual(equivalent(parse_uri(a), parse_uri(b)), expected, (a, b))
        self.assertEqual(equivalent(parse_uri(b), parse_uri(a)), expected, (b, a))

    def test_equal(self) -> None:
        """MSG-13: case of hosts, escapes, order and one-sided other parameters do not count."""
        for a, b in (
            ("sip:%61lice@Example.com", "sip:alice@example.COM"),
            ("sip:a@h;transport=TCP", "sip:a@h;Transport=tcp"),
            ("sip:a@h;x=1;y=2", "sip:a@h;y=2;x=1"),
            ("sip:a@h", "sip:a@h;newparam=5"),
            ("sip:a@h;security=on", "sip:a@h;newparam=5"),
            ("sip:a@h?Subject=x&Priority=urgent", "sip:a@h?priority=urgent&subject=%78"),
            ("sip:a@[2001:db8::1]", "sip:a@[2001:DB8:0::1]"),
        ):
            self.check(a, b, True)

    def test_different(self) -> None:
        """MSG-13: scheme, user, password, port, decisive parameters and headers count."""
        for a, b in (
            ("sip:a@h", "sips:a@h"),
            ("sip:ALICE@h", "sip:alice@h"),
            ("sip:a@h", "sip:h"),
            ("sip:a:p@h", "sip:a@h"),
            ("sip:a:p@h", "sip:a:P@h"),
            ("sip:a@h", "sip:a@h:5060"),
            ("sip:a@h", "sip:a@h;transport=udp"),
            ("sip:a@h", "sip:a@h;user=ip"),
            ("sip:a@h", "sip:a@h;ttl=1"),
            ("sip:a@h", "sip:a@h;maddr=192.0.2.1"),
            ("sip:a@h", "sip:a@h;method=INVITE"),
            ("sip:a@h;x=1", "sip:a@h;x=2"),
            ("sip:a@h;x", "sip:a@h;x=2"),
            ("sip:a@h", "sip:a@h?Subject=x"),
            ("sip:a@h?Subject=x", "sip:a@h?Subject=y"),
            ("sip:a@localhost", "sip:a@127.0.0.1"),
            ("sip:a%3Bb@h", "sip:a;b@h"),
            ("sip:a%00@h", "sip:a%00%00@h"),
            ("sip:+1212@h", "tel:+1212"),
            ("pres:a@h", "im:a@h"),
        ):
            self.check(a, b, False)

    def test_tel(self) -> None:
        """MSG-15: visual separators do not count, parameters do."""
        self.check("tel:+1-212-555.0100", "tel:+1(212)5550100", True)
        self.check("tel:55;phone-context=A.b", "tel:5-5;phone-context=a.B", True)
        self.check("tel:55;phone-context=+1-2", "tel:55;phone-context=+12", True)
        self.check("tel:+1;ext=1-2", "tel:+1;ext=12", True)
        self.check("tel:+1212", "tel:1212;phone-context=+1", False)
        self.check("tel:+1212;ext=1", "tel:+1212", False)

    def test_pres(self) -> None:
        """MSG-15: pres and im URIs; other schemes compare as text."""
        self.check("pres:%61@H.example", "pres:a@h.Example", True)
        self.check("pres:a@h", "pres:A@h", False)
        self.check("pres:a@h?x=1", "pres:a@h", False)
        self.check("urn:a:b", "URN:a:b", True)
        self.check("urn:a:b", "urn:a:B", False)

    def test_key(self) -> None:
        """MSG-13: keys can be looked up; parameters that need not be in both stand beside."""
        key, params = comparison_key(parse_uri("sip:%61@H;gr=X;transport=TCP;ob?b=2&a=1"))
        same, none = comparison_key(parse_uri("sip:a@h;Transport=tcp?a=1&b=2"))
        self.assertEqual({key: 1}[same], 1)
        self.assertEqual((params, none), ({"gr": "x", "ob": None}, {}))
        texts = ("sip:a@h", "sips:a@h", "pres:a@h", "im:a@h", "tel:+1", "tel:+1;x=1", "urn:a:b")
        self.assertEqual(len({comparison_key(parse_uri(text))[0] for text in texts}), len(texts))


class CanonicalTests(unittest.SynchronousTestCase):
    """MSG-14: the keys of presentities and watchers."""

    def test_keys(self) -> None:
        """MSG-14: one key for all forms of an address of record."""
        for text, key in (
            ("sip:alice@example.com", "sip:alice@example.com"),
            ("SIP:alice@EXAMPLE.com", "sip:alice@example.com"),
            ("sips:alice@example.com:5061;transport=tls", "sip:alice@example.com"),
            ("sip:alice:secret@example.com?Subject=x", "sip:alice@example.com"),
            ("sip:%61lice@example.com", "sip:alice@example.com"),
            ("sip:a%3bb%40@example.com", "sip:a;b%40@example.com"),
            ("sip:a%00@example.com", "sip:a%00@example.com"),
            ("sip:Alice@example.com", "sip:Alice@example.com"),
            ("sip:example.com", "sip:example.com"),
            ("sip:a@[2001:DB8:0::1]", "sip:a@[2001:db8::1]"),
            ("pres:alice@Example.com", "sip:alice@example.com"),
            ("im:alice@example.com", "sip:alice@example.com"),
            ("sip:+1-212-555@example.com;user=phone", "sip:+1212555@example.com"),
            ("tel:+1-212-555;x=1", "tel:+1212555"),
            ("tel:5-5;phone-context=Example.com", "tel:55;phone-context=example.com"),
        ):
            self.assertEqual(canonical_aor(text), key)
            self.assertEqual(canonical_aor(parse_uri(text)), key)
            self.assertEqual(canonical_aor(key), key)

    def test_refused(self) -> None:
        """No key for what names no presentity."""
        for text in ("urn:service:sos", "alice", "", "sip:a b@h", "sip:a@h\n", "sip:a@"):
            self.assertRaises(ParseError, canonical_aor, text)

    @settings(max_examples=100, deadline=None)
    @given(st.text(alphabet="aZ0%4@:;?=& .é", max_size=20))
    def test_stable(self, text: str) -> None:
        """The key of a key is itself, and nothing but ParseError comes out."""
        try:
            key = canonical_aor(f"sip:{text}")
        except ParseError:
            return
        self.assertEqual(canonical_aor(key), key)
        self.assertEqual(str(parse_uri(key)), key)
