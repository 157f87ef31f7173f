"""Digest: the vectors of AUT-16 and RFC 7616, and the header values."""

from __future__ import annotations

import hashlib

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pysip.auth.digest import (
    ALGORITHMS,
    Credentials,
    credentials_of,
    digest_params,
    format_credentials,
    ha1,
    ha2,
    hash_hex,
    parse_challenge,
    parse_digest_credentials,
    response_digest,
    session_ha1,
    split_algorithm,
)
from pysip.errors import ParseError
from pysip.header import parse_credentials

USER = "alice@example.com"
REALM = "example.com"
PASSWORD = "open sesame"
NONCE = "84f1c1ae6cbe5ua9c8e88dfa3ecm3459"
CNONCE = "0a4f113b"
METHOD = "SUBSCRIBE"
URI = "sip:bob@example.com"


def response(algorithm: str, qop: str = "auth", body: bytes | None = None) -> str:
    """The response of the AUT-16 request."""
    name, session = split_algorithm(algorithm)
    first = ha1(USER, REALM, PASSWORD, name)
    if session:
        first = session_ha1(first, NONCE, CNONCE, name)
    second = ha2(METHOD, URI, name, body)
    return response_digest(first, second, NONCE, name, "00000001", CNONCE, qop)


class VectorTests(SynchronousTestCase):
    """Known answers."""

    def test_md5(self) -> None:
        """AUT-16, AUT-04: HA1, HA2 and response with MD5."""
        self.assertEqual(ha1(USER, REALM, PASSWORD), "87c6e3286a6d51d540ca5e5fdb20e94d")
        self.assertEqual(ha2(METHOD, URI), "cb6d8836a559f488141d660a1538fb58")
        self.assertEqual(response("MD5"), "4d83a2404fdaedb16a683c510c5d4bba")

    def test_md5_without_qop(self) -> None:
        """AUT-16, AUT-04: the RFC 2069 form."""
        self.assertEqual(response("MD5", ""), "c93f6b7080e02605294ca426b8a20ad7")

    def test_md5_session(self) -> None:
        """AUT-16, AUT-04: MD5-sess."""
        self.assertEqual(response("MD5-sess"), "8922791f78cc6727c8913dd9137d1215")

    def test_md5_integrity(self) -> None:
        """AUT-16, AUT-04: auth-int covers the body."""
        self.assertEqual(response("MD5", "auth-int", b"hello"), "502d1c4e399184d4b25b5f652193ea43")

    def test_sha_256(self) -> None:
        """AUT-16, AUT-12: SHA-256 in its three forms, 64 lower-case hex digits."""
        self.assertEqual(
            response("SHA-256"), "ae484fa57562385614d0143f9ad549cac6401273afe5330e5a5ecbbc9285b0cc"
        )
        self.assertEqual(
            response("SHA-256-sess"),
            "884ee080ecbb0534efbef714fee6e9ac3f61834f54a3c2befd965b74866b85c1",
        )
        self.assertEqual(
            response("SHA-256", "auth-int", b"hello"),
            "69c7635f3ba7b62c8372f60d91fcd2906c53f88c68378187f20ff7d6cc545a0c",
        )

    def test_sha_512_256(self) -> None:
        """AUT-16: SHA-512-256 is SHA-512/256, not SHA-512 cut short."""
        self.assertEqual(
            response("SHA-512-256"),
            "66e4312b5026e1633fb1af125ab9a3a4f9dbd2eafb7f598d487139c76c7bfcde",
        )
        self.assertEqual(
            response("SHA-512-256", "auth-int", b"hello"),
            "5c1223dfff86edc0ab821ad6aa47415448014a33abdd5e0a7cf93b64c4dd181c",
        )

    def test_rfc_7616(self) -> None:
        """RFC 7616 section 3.9.1; its 3.9.2 hashes with truncated SHA-512, an erratum."""
        nonce = "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v"
        cnonce = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ"
        for algorithm, expected in (
            ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
            ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
        ):
            first = ha1("Mufasa", "http-auth@example.org", "Circle of Life", algorithm)
            second = ha2("GET", "/dir/index.html", algorithm)
            self.assertEqual(
                response_digest(first, second, nonce, algorithm, "00000001", cnonce, "auth"),
                expected,
            )

    def test_empty_body(self) -> None:
        """AUT-04: without a body auth-int hashes the empty string."""
        empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        self.assertEqual(
            ha2(METHOD, URI, "SHA-256", b""), hash_hex("SHA-256", f"{METHOD}:{URI}:{empty}")
        )

    def test_octets_that_are_no_utf_8(self) -> None:
        """Text is hashed as the octets that were received."""
        octets = b"\xff\xfe"
        text = octets.decode("utf-8", "surrogateescape")
        self.assertEqual(hash_hex("MD5", text), hashlib.md5(octets).hexdigest())


class AlgorithmTests(SynchronousTestCase):
    """The algorithm parameter."""

    def test_split(self) -> None:
        """Names are compared without case; nothing means MD5 (RFC 3261 22.4)."""
        self.assertEqual(split_algorithm(""), ("MD5", False))
        self.assertEqual(split_algorithm("md5-SESS"), ("MD5", True))
        for name in ALGORITHMS:
            self.assertEqual(split_algorithm(name.lower()), (name, False))
        self.assertRaises(ParseError, split_algorithm, "SHA-512")


class ChallengeTests(SynchronousTestCase):
    """Reading challenges."""

    def test_full(self) -> None:
        """RFC 7616 3.3: all parameters; qop is a quoted list."""
        challenge = parse_challenge(
            'Digest realm="a\\"b", nonce="n", opaque="o", algorithm=SHA-256-sess, '
            'qop="auth, AUTH-INT,token", stale=TRUE'
        )
        self.assertEqual((challenge.realm, challenge.nonce, challenge.opaque), ('a"b', "n", "o"))
        self.assertEqual((challenge.algorithm, challenge.session), ("SHA-256", True))
        self.assertEqual(challenge.qop, ("auth", "auth-int"))
        self.assertTrue(challenge.stale)

    def test_least(self) -> None:
        """RFC 3261 era: no algorithm, no qop."""
        challenge = parse_challenge('Digest realm="r", nonce="n"')
        self.assertEqual((challenge.algorithm, challenge.algorithm_token), ("MD5", ""))
        self.assertEqual((challenge.qop, challenge.opaque, challenge.stale), ((), None, False))

    def test_not_understood(self) -> None:
        """AUT-03, AUT-17: other schemes, algorithms and qops are no challenge for us."""
        for value in (
            'Basic realm="r"',
            'Digest realm="r"',
            'Digest nonce="n"',
            'Digest realm="r", nonce="n", algorithm=AKAv1-MD5',
            'Digest realm="r", nonce="n", qop="other"',
        ):
            self.assertRaises(ParseError, parse_challenge, value)


FULL = (
    'Digest username="alice", realm="example.com", nonce="n", uri="sip:bob@example.com", '
    'response="00", algorithm=MD5, cnonce="c", qop=auth, nc=0000000a, opaque="o"'
)


TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\r\n"))
PIECES = ("a=b", 'a="b"', 'c="d,e"', ", ", ",", " ", '"', "\\", "=", "x", 'f=""', "D=1", "g=h i")


class CredentialsTests(SynchronousTestCase):
    """Reading and writing credentials."""

    def test_full(self) -> None:
        """All parameters; nc is hexadecimal (AUT-06)."""
        self.assertEqual(
            parse_digest_credentials(FULL),
            Credentials(
                "alice", "example.com", "n", URI, "00", "MD5", "auth", "0000000a", 10, "c", "o"
            ),
        )

    def test_blanks(self) -> None:
        """CLI-07: blanks after the scheme and around commas, quoted or bare values."""
        value = FULL.replace("Digest ", "digest   ").replace(", ", " ,  ")
        self.assertEqual(parse_digest_credentials(value), parse_digest_credentials(FULL))
        value = FULL.replace("qop=auth", 'qop="auth"').replace("username", "UserName")
        self.assertEqual(parse_digest_credentials(value), parse_digest_credentials(FULL))

    def test_unescaped_quotes(self) -> None:
        """CLI-18: quotes inside the uri that no comma follows belong to it."""
        value = FULL.replace("sip:bob@example.com", 'x/[@y="z"]/w')
        found = parse_digest_credentials(value)
        self.assertEqual(found and found.uri, 'x/[@y="z"]/w')

    def test_other_scheme(self) -> None:
        """TOR-38: another scheme is no error."""
        self.assertIsNone(parse_digest_credentials("NoOneKnowsThis opaque-data=here"))
        self.assertIsNone(digest_params("Basic Zm9v"))

    def test_required(self) -> None:
        """AUT-20: a missing parameter is an error."""
        for name in ("username", "realm", "nonce", "uri", "response", "cnonce", "nc"):
            params = parse_credentials(FULL)[1]
            del params[name]
            self.assertRaises(ParseError, credentials_of, params)
        self.assertRaises(ParseError, parse_digest_credentials, "Digest ")
        self.assertRaises(ParseError, parse_digest_credentials, "Digest nonsense")
        self.assertRaises(ParseError, parse_digest_credentials, FULL + ', nonce="m"')

    def test_nonce_count(self) -> None:
        """AUT-06: nc is exactly 8 hex digits."""
        for nc in ("1", "000000001", "0000000g", "+0000001", "0x000001"):
            value = FULL.replace("0000000a", nc)
            self.assertRaises(ParseError, parse_digest_credentials, value)

    def test_extended_username(self) -> None:
        """AUT-20, RFC 7616 3.4: username* alone is decoded, together with username is an error."""
        value = FULL.replace('username="alice"', "username*=UTF-8''J%C3%A4s%C3%B8n%20Doe")
        found = parse_digest_credentials(value)
        self.assertEqual(found and found.username, "Jäsøn Doe")
        self.assertRaises(ParseError, parse_digest_credentials, FULL + ", username*=UTF-8''alice")
        for bad in ("alice", "UTF-8'alice", "ISO-8859-1''alice", "UTF-8''%ff"):
            self.assertRaises(
                ParseError,
                parse_digest_credentials,
                value.replace("UTF-8''J%C3%A4s%C3%B8n%20Doe", bad),
            )

    def test_without_qop(self) -> None:
        """AUT-04: without qop neither nc nor cnonce is needed, nor written."""
        value = 'Digest username="a", realm="r", nonce="n", uri="u:v", response="00"'
        found = parse_digest_credentials(value)
        self.assertIsNotNone(found)
        self.assertEqual(found and format_credentials(found), value)

    def test_quoting(self) -> None:
        """RFC 7616 3.4: algorithm, qop and nc are written bare, the rest quoted."""
        found = parse_digest_credentials(FULL)
        self.assertEqual(found and format_credentials(found), FULL)

    @settings(max_examples=100, deadline=None)
    @given(
        st.lists(
            st.text(st.characters(codec="utf-8", exclude_characters="\r\n")), min_size=5, max_size=5
        ),
        st.integers(0, 2**32 - 1),
    )
    def test_round_trip(self, texts: list[str], count: int) -> None:
        """What is written is read again, whatever the texts."""
        user, realm, nonce, opaque, cnonce = texts
        written = Credentials(
            user, realm, nonce, "u:v", "0" * 64, "MD5", "auth", f"{count:08x}", count,
            cnonce or "c", opaque,
        )  # fmt: skip
        assert parse_digest_credentials(format_credentials(written)) == written

    @settings(max_examples=150, deadline=None)
    @given(
        st.lists(
            st.sampled_from(
                [
                    'a="b"',
                    "a=b",
                    'c="d,e"',
                    ", ",
                    ",",
                    " ",
                    '"',
                    "\\",
                    "=",
                    "x",
                    'f=""',
                    "D=1",
                    "g=h i",
                ]
            ),
            max_size=8,
        )
    )
    def test_fast_reader(self, parts: list[str]) -> None:
        """The fast reader never differs from the thorough one where both understand."""
        value = "Digest " + "".join(parts)
        try:
            expected = parse_credentials(value)[1]
        except ParseError:
            self.assertRaises(ParseError, digest_params, value)
        else:
            assert digest_params(value) == expected
