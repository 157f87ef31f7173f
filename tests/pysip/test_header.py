"""Values of header fields."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial import unittest

from pysip import header
from pysip.errors import ParseError
from pysip.header import EventType, MediaType, NameAddr, Via

_TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), max_size=20)


class ListTests(unittest.SynchronousTestCase):
    """MSG-07: comma lists."""

    def test_split(self) -> None:
        """MSG-07: commas inside quotes and brackets separate nothing."""
        self.assertEqual(header.split_list(""), [])
        self.assertEqual(header.split_list("a"), ["a"])
        self.assertEqual(header.split_list("a , b,c"), ["a", "b", "c"])
        self.assertEqual(
            header.split_list('"x,\\",y" <sip:a,b@h>;p="<,", <sip:c@h>'),
            ['"x,\\",y" <sip:a,b@h>;p="<,"', "<sip:c@h>"],
        )
        self.assertEqual(header.split_list("a,,b"), ["a", "", "b"])

    def test_unclosed(self) -> None:
        """A quote or bracket that does not end is an error."""
        for value in ('a,"b', "a,<b", '"a\\",'):
            self.assertRaises(ParseError, header.split_list, value)

    def test_tokens(self) -> None:
        """CLI-07: an empty list field is an empty list."""
        self.assertEqual(header.parse_token_list([""]), [])
        self.assertEqual(header.parse_token_list(["a, b", "C,,d"]), ["a", "b", "C", "d"])
        self.assertRaises(ParseError, header.parse_token_list, ["a b"])


class ParamsTests(unittest.SynchronousTestCase):
    """Parameters of header values."""

    def test_params(self) -> None:
        """MSG-06, MSG-10: blanks around separators; quoted values lose their quotes."""
        self.assertEqual(
            header.parse_params(' ; A = b;c ; d = "x;\\"y\\\\" '.strip()),
            {"a": "b", "c": None, "d": 'x;"y\\'},
        )
        self.assertEqual(header.parse_params("a=1"), {"a": "1"})
        self.assertEqual(header.parse_params(""), {})

    def test_refused(self) -> None:
        """MSG-29: a repeated parameter, and all that is no parameter."""
        for text in (
            ";a;A",
            ";a=1;a=2",
            ";",
            ";;a",
            ";a;",
            ";=1",
            ";a=",
            ";a=b c",
            ';a="b',
            ';a="b"c',
            ';a=b"c',
            ";a b",
            ";é=1",
        ):
            with self.assertRaises(ParseError, msg=text):
                header.parse_params(text)

    @settings(max_examples=100, deadline=None)
    @given(
        st.dictionaries(
            st.text("abcXYZ-_.", min_size=1, max_size=5).map(str.lower), st.none() | _TEXT
        )
    )
    def test_round_trip(self, params: dict[str, str | None]) -> None:
        """Parameters that are written are read again."""
        self.assertEqual(header.parse_params(header.format_params(params)), params)


class NameAddrTests(unittest.SynchronousTestCase):
    """From, To, Contact and the like."""

    def test_forms(self) -> None:
        """MSG-06, MSG-09, MSG-10, CLI-07: all ways to write an address."""
        for value, expected in (
            ("<sip:a@b>", NameAddr("", "sip:a@b")),
            ("<sip:a@b;lr>;tag=1", NameAddr("", "sip:a@b;lr", {"tag": "1"})),
            ("sip:a@b", NameAddr("", "sip:a@b")),
            ("sip:a@x;tag=1", NameAddr("", "sip:a@x", {"tag": "1"})),
            ("sip:a@x ; tag = 1", NameAddr("", "sip:a@x", {"tag": "1"})),
            ("Bob  B. <sip:a@b> ;x", NameAddr("Bob B.", "sip:a@b", {"x": None})),
            ("bob<sip:a@b>", NameAddr("bob", "sip:a@b")),
            ("Zoë Ö <sip:a@b>", NameAddr("Zoë Ö", "sip:a@b")),
            ('"bob" <sip:a@b>', NameAddr("bob", "sip:a@b")),
            ('"b\\"o\\\\b <"<sip:a@b>', NameAddr('b"o\\b <', "sip:a@b")),
            ('"" <sip:a@b>', NameAddr("", "sip:a@b")),
            ("*", NameAddr("", "*")),
            ("<tel:+1>", NameAddr("", "tel:+1")),
            (
                '<sip:a@b>;+sip.instance="<urn:uuid:1>"',
                NameAddr("", "sip:a@b", {"+sip.instance": "<urn:uuid:1>"}),
            ),
        ):
            self.assertEqual(header.parse_name_addr(value), expected, value)

    def test_tag(self) -> None:
        """MSG-18: a missing tag is an empty one; MSG-02: tags keep their case."""
        self.assertEqual(header.parse_name_addr("<sip:a@b>").tag, "")
        self.assertEqual(header.parse_name_addr("<sip:a@b>;TAG=aB").tag, "aB")

    def test_refused(self) -> None:
        """MSG-09, TOR-19, TOR-26 to TOR-28: malformed addresses."""
        for value in (
            "",
            "bob",
            "<>",
            "<sip:a@b",
            "sip:a@b>",
            "< sip:a@b >",
            "<sip:a@b> x",
            "<<sip:a@b>>",
            "sip:a@b?x=y",
            "sip:a@b,c",
            "sip:a@b x",
            "sip:a@b;",
            "<sip:a@b>;",
            "<sip:a@b>;tag=1;tag=2",
            "Bell, A. <sip:a@b>",
            "sip:a@b <sip:a@b>",
            '"bob <sip:a@b>',
            '"bob" x <sip:a@b>',
            '"bob" sip:a@b',
            'x "bob" <sip:a@b>',
        ):
            with self.assertRaises(ParseError, msg=value):
                header.parse_name_addr(value)

    def test_format(self) -> None:
        """MSG-10: what is not purely tokens is quoted."""
        self.assertEqual(header.format_name_addr("", "sip:a@b"), "<sip:a@b>")
        self.assertEqual(
            header.format_name_addr("Bob B.", "sip:a@b", {"tag": "1"}), "Bob B. <sip:a@b>;tag=1"
        )
        self.assertEqual(header.format_name_addr('B, "x\\', "sip:a@b"), '"B, \\"x\\\\" <sip:a@b>')

    @settings(max_examples=100, deadline=None)
    @given(_TEXT)
    def test_round_trip(self, display: str) -> None:
        """A display name that is written is read again."""
        value = header.format_name_addr(display, "sip:a@b")
        self.assertEqual(header.parse_name_addr(value).display, display)


class ViaTests(unittest.SynchronousTestCase):
    """Via values."""

    def test_plain(self) -> None:
        """The usual Via, and what its properties say."""
        via = header.parse_via("SIP/2.0/UDP Host.example:5070;branch=z9hG4bKx;rport")
        self.assertEqual(
            via, Via("UDP", "host.example", 5070, {"branch": "z9hG4bKx", "rport": None})
        )
        self.assertEqual((via.branch, via.sent_by), ("z9hG4bKx", "host.example:5070"))
        self.assertEqual(str(via), "SIP/2.0/UDP host.example:5070;branch=z9hG4bKx;rport")

    def test_odd_forms(self) -> None:
        """MSG-02, MSG-06, TRN-03: blanks, case and IPv6."""
        for value, protocol, sent_by in (
            ("sip/2.0/udp h", "UDP", "h:5060"),
            ("SIP / 2.0 / TCP  h : 5070 ;branch=x", "TCP", "h:5070"),
            ("SIP/2.0/UDP\th", "UDP", "h:5060"),
            ("SIP/2.0/UDP  h", "UDP", "h:5060"),
            ("SIP/2.0/UDP h ;a", "UDP", "h:5060"),
            ("SIP/2.0/TLS [2001:DB8::1]", "TLS", "[2001:db8::1]:5061"),
            ("SIP/2.0/TLS [2001:db8::1]:5099;a", "TLS", "[2001:db8::1]:5099"),
            ("SIP/2.0/XYZ h", "XYZ", "h:5060"),
        ):
            via = header.parse_via(value)
            self.assertEqual((via.protocol, via.sent_by), (protocol, sent_by), value)

    def test_default_port(self) -> None:
        """TXN-02: a missing port is the default of the transport."""
        self.assertEqual(header.parse_via("SIP/2.0/TLS h").sent_by, "h:5061")
        self.assertEqual(header.parse_via("SIP/2.0/TCP h").sent_by, "h:5060")
        self.assertIsNone(header.parse_via("SIP/2.0/TCP h").port)

    def test_refused(self) -> None:
        """TOR-14: empty parameters and unreadable parts."""
        for value in (
            "",
            "SIP/2.0/UDP",
            "SIP/2.0/UDP ",
            "SIP/2.0 h",
            "HTTP/2.0/UDP h",
            "SIP/2.0/UDP h;",
            "SIP/2.0/UDP h;;branch=x",
            "SIP/2.0/UDP h;branch=x;branch=y",
            "SIP/2.0/UDP h:x",
            "SIP/2.0/UDP h:99999",
            "SIP/2.0/UDP h x",
            "SIP/2.0/UDP [::1",
            "SIP/2.0/UDP h@i",
        ):
            with self.assertRaises(ParseError, msg=value):
                header.parse_via(value)

    def test_salvage(self) -> None:
        """MSG-17: what can be read of a malformed Via."""
        via = header.salvage_via("SIP/7.0/UDP h:5070;;branch=x;=;branch=y;rport,;")
        self.assertEqual(via, Via("UDP", "h", 5070, {"branch": "x", "rport": None}))
        for value in ("", "SIP/2.0/UDP", "SIP/2.0/UDP ;branch=x", "x y"):
            self.assertIsNone(header.salvage_via(value))


class NumberTests(unittest.SynchronousTestCase):
    """CSeq, delta-seconds, Retry-After and Date."""

    def test_cseq(self) -> None:
        """MSG-19: 0 to 2**31-1 and a method; leading zeros and blanks are allowed."""
        self.assertEqual(header.parse_cseq("1 PUBLISH"), (1, "PUBLISH"))
        self.assertEqual(header.parse_cseq("2147483647 X"), (2147483647, "X"))
        self.assertEqual(header.parse_cseq("0009 \t INVITE"), (9, "INVITE"))
        self.assertEqual(header.parse_cseq("0" * 5000 + " X"), (0, "X"))
        for value in ("", "1", "X 1", "-1 X", "2147483648 X", "9" * 5000 + " X", "1 X Y", "1 <"):
            with self.assertRaises(ParseError, msg=value[:20]):
                header.parse_cseq(value)

    def test_delta(self) -> None:
        """MSG-20: 0 to 2**32-1."""
        self.assertEqual(header.parse_delta("3600"), 3600)
        self.assertEqual(header.parse_delta(" 0 "), 0)
        self.assertEqual(header.parse_delta("4294967295"), 2**32 - 1)
        self.assertEqual(header.parse_delta("0000000000000000001"), 1)
        for value in ("4294967296", "99999999999", "-1", "1.5", "x", "", "٣", "9" * 5000):
            self.assertIsNone(header.parse_delta(value), value[:20])

    def test_retry_after(self) -> None:
        """OVL-03: comment and duration are understood."""
        self.assertEqual(header.parse_retry_after("120"), (120, None))
        self.assertEqual(header.parse_retry_after("18 (in a \\) meeting) ;duration=36"), (18, 36))
        for value in ("x", "1x", "949302838503028349304023988", "1 (x", "1 ;;", "1;;duration=2"):
            self.assertRaises(ParseError, header.parse_retry_after, value)

    def test_date(self) -> None:
        """MSG-23: RFC 1123 in GMT and nothing else."""
        text = "Sat, 13 Nov 2010 23:29:00 GMT"
        seconds = header.parse_date(text)
        assert seconds is not None
        self.assertEqual(header.format_date(seconds), text)
        for value in (
            "Sat, 13 Nov 2010 23:29:00 EST",
            "13 Nov 2010",
            "Sat, 33 Nov 2010 23:29:00 GMT",
            "Sat, 13 Xyz 2010 23:29:00 GMT",
        ):
            self.assertIsNone(header.parse_date(value))


class EventTests(unittest.SynchronousTestCase):
    """Event and Subscription-State."""

    def test_event(self) -> None:
        """MSG-31: package and id, byte by byte."""
        event = header.parse_event("presence.winfo ;id=Ab;x")
        self.assertEqual(event, EventType("presence.winfo", "Ab", {"id": "Ab", "x": None}))
        plain = header.parse_event("presence")
        self.assertFalse(plain.matches(header.parse_event("Presence")))
        self.assertFalse(plain.matches(header.parse_event("presence;id=1")))
        self.assertTrue(plain.matches(header.parse_event("presence;x=1")))

    def test_refused(self) -> None:
        """MSG-31: exactly one event type."""
        for value in ("", "a,b", "a b", ";id=1", "a;", "a;id=1;id=2"):
            self.assertRaises(ParseError, header.parse_event, value)

    def test_subscription_state(self) -> None:
        """MSG-02: the state is a token, so its case does not matter."""
        self.assertEqual(
            header.parse_subscription_state("Terminated;reason=timeout; retry-after=5"),
            ("terminated", {"reason": "timeout", "retry-after": "5"}),
        )
        for value in ("", "a b", "a,b", "a;"):
            self.assertRaises(ParseError, header.parse_subscription_state, value)


class MediaTests(unittest.SynchronousTestCase):
    """Content-Type and Accept."""

    def test_media_type(self) -> None:
        """MSG-24: type and parameter names in any case, values quoted or not."""
        self.assertEqual(
            header.parse_media_type('Application / PIDF+xml ; Charset="UTF-8"'),
            MediaType("application/pidf+xml", {"charset": "UTF-8"}),
        )
        for value in ("", "text", "text/", "/xml", "a b/c", "a/b/c", "a/b;"):
            self.assertRaises(ParseError, header.parse_media_type, value)

    def test_accept(self) -> None:
        """UAS-06: several fields and lists, q and wildcards; an empty one accepts nothing."""
        ranges = header.parse_accept(
            ["application/pidf+xml;q=0.5, Text/*", "*/*;q=0.1", "text/plain;q=0"]
        )
        self.assertEqual(header.accepts(ranges, "application/pidf+xml"), 0.5)
        self.assertEqual(header.accepts(ranges, "text/html"), 1.0)
        self.assertEqual(header.accepts(ranges, "text/plain"), 0.0)
        self.assertEqual(header.accepts(ranges, "image/png"), 0.1)
        self.assertEqual(header.parse_accept([""]), [])
        self.assertEqual(header.accepts([], "text/plain"), 0.0)
        for value in ("x", "a/b;q=2", "a/b;q=x", "a/b;q=1.0000"):
            self.assertRaises(ParseError, header.parse_accept, [value])


class CredentialsTests(unittest.SynchronousTestCase):
    """Authorization and challenges."""

    def test_digest(self) -> None:
        """CLI-07: two blanks after the scheme, blanks around commas and equals signs."""
        self.assertEqual(
            header.parse_credentials(
                'Digest  username="a\\"b", realm = "x, y" ,nc=00000001,qop=auth , uri="sip:h"'
            ),
            (
                "digest",
                {
                    "username": 'a"b',
                    "realm": "x, y",
                    "nc": "00000001",
                    "qop": "auth",
                    "uri": "sip:h",
                },
            ),
        )

    def test_stray_quotes(self) -> None:
        """CLI-18: quotes inside the Digest uri are part of it."""
        _, params = header.parse_credentials(
            'Digest uri="/x/~~/list[@name="friends"]/e", response="1"'
        )
        self.assertEqual(params, {"uri": '/x/~~/list[@name="friends"]/e', "response": "1"})

    def test_other_scheme(self) -> None:
        """TOR-38: credentials of another scheme are no error."""
        self.assertEqual(
            header.parse_credentials("NoOneKnowsThisScheme opaque-data=here"),
            ("nooneknowsthisscheme", {"opaque-data": "here"}),
        )
        self.assertEqual(header.parse_credentials("Basic dXNlcjpw"), ("basic", {}))

    def test_refused(self) -> None:
        """MSG-29: a repeated parameter; a scheme that is none; broken parameters."""
        for value in (
            "",
            "<x>",
            "Digest a=1,a=2",
            "Digest a",
            "Digest a=",
            'Digest a="b',
            "Digest =b",
        ):
            self.assertRaises(ParseError, header.parse_credentials, value)


class TokenTests(unittest.SynchronousTestCase):
    """Tokens and quoted strings."""

    def test_is_token(self) -> None:
        """Tokens are not empty and ASCII."""
        self.assertTrue(header.is_token("a-.!%*_+`'~9"))
        for text in ("", "a b", "a@b", "é", "a\0"):
            self.assertFalse(header.is_token(text))

    def test_quote(self) -> None:
        """MSG-10: quotes and backslashes are escaped; a line end cannot get in."""
        self.assertEqual(header.quote('a"b\\c\r\nd'), '"a\\"b\\\\cd"')


class RobustnessTests(unittest.SynchronousTestCase):
    """TOR-48: nothing but ParseError leaves a parser."""

    @settings(max_examples=150, deadline=None)
    @given(st.text(alphabet='ab1 \t"\\<>;,=/:[]%\0é.()-', max_size=25))
    def test_any_text(self, value: str) -> None:
        """TOR-48: whatever the text, a value or a ParseError."""
        for parse in (
            header.split_list,
            header.parse_params,
            header.parse_name_addr,
            header.parse_via,
            header.salvage_via,
            header.parse_cseq,
            header.parse_delta,
            header.parse_retry_after,
            header.parse_event,
            header.parse_media_type,
            header.parse_subscription_state,
            header.parse_credentials,
            header.parse_date,
        ):
            for text in (value, f"Digest {value}", f"SIP/2.0/UDP {value}"):
                try:
                    parse(text)
                except ParseError as error:
                    self.assertTrue(str(error))
