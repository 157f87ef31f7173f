"""HTTP Digest at the proxy: challenges, verification, replay, lock-out."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import attrs
from hypothesis import given
from hypothesis import strategies as st
from twisted.logger import LogLevel, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from pysip.auth.digest import (
    ALGORITHMS,
    ha1,
    ha2,
    hash_hex,
    response_digest,
    session_ha1,
)
from pysip.header import parse_credentials
from xcap.auth.audit import AuditEvent, log_audit
from xcap.auth.digest import (
    DigestAuthenticated,
    DigestSettings,
    HttpDigestAuthenticator,
    nonce_windows,
)
from xcap.auth.lockout import LockOut
from xcap.auth.nonces import Nonces
from xcap.errors import XcapError
from xcap.interfaces import IAuthenticated, IAuthenticator
from xcap.records import Head, Headers, HttpPeer, HttpResponse

REALM = "xcap.example.com"
PASSWORD = "s3cr3t pass"
NONCE = "dGVzdC1ub25jZS0wMDE"
CNONCE = "0a4f113b"
URI1 = (
    "/resource-lists/users/sip:alice@example.com/index/~~/resource-lists/"
    "list%5b@name=%22friends%22%5d"
)
URI2 = URI1 + "/entry%5b@uri=%22sip:bob@example.com%22%5d"
BODY = b'<entry uri="sip:bob@example.com"/>'
KEY = b"0123456789abcdef"

HA1 = {
    "MD5": "d4722bb279e66a2c97daaac801502fd5",
    "SHA-256": "7f815eea8311635552dd07f230ea379326607e1efde29b561f868ab53015a838",
}
GET_AUTH = {
    "MD5": "bd3370722818f1148de5f3133ec89096",
    "SHA-256": "33eebe070028e388a091d78ef15413c1af24ea46d12e663729ceca984732f3d9",
}
GET_RSPAUTH = {
    "MD5": "ba2cc49e589552a1ec38d4ca1bf3a3ae",
    "SHA-256": "011a91a1445c3e61dfdb67f86c1d90c680c327f3da728a6bfd376be922610ab2",
}
PUT_INT = {
    "MD5": "688f9503a62295f5e8fc6b6ff86f09e3",
    "SHA-256": "7836829d22dd9f5773fd8be0ca524cb27458ec4a19cea826975afb1259f5dabb",
}
PUT_RSPAUTH = {
    "MD5": "45564c6953dab1c7631f86d970cc3dc8",
    "SHA-256": "577aa6aa2cbb2eb71a33e3ffacdc0a48abad27b4adb3914509976afc2c9a973c",
}
GET_SESS = {
    "MD5": "9c47ce631c55a71c1548048f9faf9b20",
    "SHA-256": "b8d34827eebf27b9c6cb7fa325f492a74ca3a795517ca581b3d6ff759f1bc99f",
}
USERHASH = {
    "MD5": "f79b46f6e0fd6fd46e136e8e137d17d4",
    "SHA-256": "45d7f45f2f9bfa3b77255338bbf1bc97c0d4646b2621667446600d66015e6dfc",
}


class Time:
    """A clock to set."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        """What was set."""
        return self.now


class Source:
    """Accounts of some users, by name and realm."""

    def __init__(self) -> None:
        self.passwords = {("alice", REALM): PASSWORD, ("Jäsøn", REALM): "p"}

    def ha1(self, username: str, realm: str, algorithm: str) -> str | None:
        """HA1 of a user."""
        password = self.passwords.get((username, realm))
        return None if password is None else ha1(username, realm, password, algorithm)

    def identities(self, username: str, realm: str) -> tuple[str, ...]:
        """Identities of a user."""
        return (f"sip:{username}@example.com", "tel:+15555550100")


class FixedNonces(Nonces):
    """Knows the nonce of the vectors."""

    def read(self, nonce: str, realm: str) -> tuple[str, float] | None:
        """The vectors' nonce is fresh."""
        return ("00", 0.0) if nonce == NONCE else super().read(nonce, realm)


def request(
    authorization: str | tuple[str, ...] | None = None,
    method: str = "GET",
    target: str = URI1,
    address: str = "192.0.2.1",
    authority: str = REALM,
) -> Head:
    """The head of a request."""
    if authorization is None:
        values: tuple[str, ...] = ()
    else:
        values = (authorization,) if isinstance(authorization, str) else authorization
    fields = [("Authorization", value) for value in values]
    return Head(method, target, authority, Headers(fields), HttpPeer(address, secure=True))


def credentials(**changes: str | None) -> str:
    """Credentials with these parameters instead of the first vector's; None leaves one out."""
    params: dict[str, str | None] = {
        "username": '"alice"',
        "realm": f'"{REALM}"',
        "nonce": f'"{NONCE}"',
        "uri": f'"{URI1}"',
        "response": f'"{GET_AUTH["SHA-256"]}"',
        "algorithm": "SHA-256",
        "cnonce": f'"{CNONCE}"',
        "qop": "auth",
        "nc": "00000001",
    }
    params.update(changes)
    return "Digest " + ", ".join(
        f"{name.replace('_star', '*')}={value}" for name, value in params.items() if value
    )


class DigestTestCase(SynchronousTestCase):
    """Base with an authenticator on a clock to set."""

    def setUp(self) -> None:
        """Make an authenticator."""
        self.time = Time()
        self.source = Source()
        self.audited: list[AuditEvent] = []
        self.auth = self.make()

    def make(
        self,
        settings: DigestSettings | None = None,
        *,
        key: bytes = KEY,
        lifetime: float = 300.0,
        limit: int = 1000,
        realm_of: Callable[[Head], str] = lambda head: REALM,
        **options: object,
    ) -> HttpDigestAuthenticator:
        """An authenticator with these options."""
        options.setdefault("lock_out", LockOut(clock=self.time))
        return HttpDigestAuthenticator(
            self.source,
            realm_of,
            FixedNonces(key, lifetime, wall=self.time),
            settings=settings,
            windows=nonce_windows(lifetime, limit, self.time),
            audit=self.audited.append,
            **options,  # type: ignore[arg-type]
        )

    def refused(self, status: int, head: Head, body: bytes | None = b"") -> XcapError:
        """What is raised for a request."""
        error: XcapError = self.assertRaises(XcapError, self.auth.authenticate, head, body)
        self.assertEqual(error.status, status, error.text)
        return error

    def accepted(self, head: Head, body: bytes | None = b"") -> DigestAuthenticated:
        """What is made of a request."""
        done = self.auth.authenticate(head, body)
        assert done is not None
        return done

    def challenges(self, error: XcapError) -> list[dict[str, str]]:
        """Parameters of the challenges of a 401."""
        self.assertEqual({name for name, _ in error.headers}, {"WWW-Authenticate"})
        return [parse_credentials(value)[1] for _, value in error.headers]

    def is_stale(self, error: XcapError) -> bool:
        """Whether all challenges say stale."""
        (stale,) = {each.get("stale") == "true" for each in self.challenges(error)}
        return stale

    def answer(
        self,
        *,
        user: str = "alice",
        password: str = PASSWORD,
        nonce: str | None = None,
        count: int = 1,
        method: str = "GET",
        uri: str = URI1,
        algorithm: str = "SHA-256",
        session: bool = False,
        qop: str = "auth",
        body: bytes = b"",
        realm: str = REALM,
        **changes: str | None,
    ) -> str:
        """A right answer to a fresh challenge, or to one with ``nonce``."""
        if nonce is None:
            nonce = parse_credentials(self.auth.challenges(realm)[0])[1]["nonce"]
        secret = ha1(user, realm, password, algorithm)
        if session:
            secret = session_ha1(secret, nonce, CNONCE, algorithm)
        nc = f"{count:08x}"
        second = ha2(method, uri, algorithm, body if qop == "auth-int" else None)
        proof = response_digest(secret, second, nonce, algorithm, nc, CNONCE, qop)
        values: dict[str, str | None] = {
            "username": f'"{user}"',
            "realm": f'"{realm}"',
            "nonce": f'"{nonce}"',
            "uri": f'"{uri}"',
            "response": f'"{proof}"',
            "algorithm": algorithm + ("-sess" if session else ""),
            "qop": qop or None,
            "nc": nc if qop else None,
            "cnonce": f'"{CNONCE}"' if qop else None,
        }
        values.update(changes)
        return credentials(**values)

    def nonce(self) -> str:
        """A fresh nonce."""
        return parse_credentials(self.auth.challenges(REALM)[0])[1]["nonce"]


class VectorTests(DigestTestCase):
    """The numbers of aggregation-proxy.md section 3."""

    def test_functions(self) -> None:
        """AGP-33, AGP-151: HA1, response and user hash of the specification."""
        for algorithm in HA1:
            self.assertEqual(ha1("alice", REALM, PASSWORD, algorithm), HA1[algorithm])
            self.assertEqual(hash_hex(algorithm, f"alice:{REALM}"), USERHASH[algorithm])

    def test_auth(self) -> None:
        """AGP-33, AGP-38, AGP-151: GET with qop auth verifies, rspauth is as stated."""
        for algorithm in HA1:
            self.setUp()
            value = credentials(algorithm=algorithm, response=f'"{GET_AUTH[algorithm]}"')
            done = self.accepted(request(value))
            answer = HttpResponse(200, (), b'<list name="friends"><entry uri="sip:x@y.z"/></list>')
            self.assertEqual(
                done.answer_headers(answer),
                [
                    (
                        "Authentication-Info",
                        f'qop=auth, rspauth="{GET_RSPAUTH[algorithm]}",'
                        f' cnonce="{CNONCE}", nc=00000001',
                    )
                ],
            )

    def test_auth_int(self) -> None:
        """AGP-34, AGP-38, AGP-151: PUT with auth-int covers the body, rspauth the answer's."""
        for algorithm in HA1:
            self.setUp()
            head = request(
                credentials(
                    algorithm=algorithm,
                    uri=f'"{URI2}"',
                    qop="auth-int",
                    nc="00000002",
                    response=f'"{PUT_INT[algorithm]}"',
                ),
                "PUT",
                URI2,
            )
            self.assertEqual(len(BODY), 34)
            self.assertIsNone(self.auth.authenticate(head, None))
            done = self.accepted(head, BODY)
            ((_, value),) = done.answer_headers(HttpResponse(201))
            self.assertIn(f'rspauth="{PUT_RSPAUTH[algorithm]}"', value)
            ((_, other),) = done.answer_headers(HttpResponse(409, (), b"x"))
            self.assertNotEqual(value, other)

    def test_auth_int_other_body(self) -> None:
        """AGP-34: a body that is not the one covered gives 401."""
        head = request(
            credentials(
                uri=f'"{URI2}"',
                qop="auth-int",
                nc="00000002",
                response=f'"{PUT_INT["SHA-256"]}"',
            ),
            "PUT",
            URI2,
        )
        self.assertFalse(self.is_stale(self.refused(401, head, BODY + b" ")))

    def test_session(self) -> None:
        """AGP-32, AGP-33, AGP-151: the -sess variants verify where they are switched on only."""
        for algorithm in HA1:
            value = credentials(algorithm=f"{algorithm}-sess", response=f'"{GET_SESS[algorithm]}"')
            self.auth = self.make()
            self.refused(401, request(value))
            self.auth = self.make(DigestSettings(sessions=True))
            self.accepted(request(value))

    def test_userhash(self) -> None:
        """AGP-36, AGP-151: a hashed user name is found where that is switched on only."""
        for algorithm in HA1:
            value = credentials(
                username=f'"{USERHASH[algorithm]}"',
                userhash="true",
                algorithm=algorithm,
                response=f'"{GET_AUTH[algorithm]}"',
            )
            self.auth = self.make()
            self.refused(401, request(value))
            names = {(USERHASH[algorithm], REALM, algorithm): "alice"}
            self.auth = self.make(usernames=lambda *key, names=names: names.get(key))
            done = self.accepted(request(value))
            self.assertEqual(done.username, "alice")
            self.assertIn("userhash=true", self.auth.challenges(REALM)[0])
            other = value.replace(USERHASH[algorithm], "0" * len(USERHASH[algorithm]))
            self.refused(401, request(other))


class ChallengeTests(DigestTestCase):
    """What a 401 offers."""

    def test_form(self) -> None:
        """AGP-20, AGP-21, AGP-22, AGP-23, AGP-24: SHA-256, then MD5; quoted what must be."""
        error = self.refused(401, request())
        values = [value for _, value in error.headers]
        for value, algorithm in zip(values, ("SHA-256", "MD5"), strict=True):
            self.assertRegex(
                value,
                r'^Digest realm="xcap\.example\.com", nonce="[-_A-Za-z0-9]{72}",'
                rf' opaque="[0-9a-f]{{16}}", algorithm={algorithm}, qop="auth,auth-int",'
                r" charset=UTF-8$",
            )
        self.assertEqual(len({each["nonce"] for each in self.challenges(error)}), 1)

    def test_other_offer(self) -> None:
        """AGP-20, AGP-23: algorithms and qop are configurable."""
        self.auth = self.make(DigestSettings(ALGORITHMS, ("auth",)))
        found = self.challenges(self.refused(401, request()))
        self.assertEqual([each["algorithm"] for each in found], list(ALGORITHMS))
        self.assertEqual({each["qop"] for each in found}, {"auth"})
        self.accepted(request(self.answer(algorithm="SHA-512-256")))
        self.assertRaises(ValueError, DigestSettings, ("SHA-1",))
        self.assertRaises(ValueError, DigestSettings, ("MD5",), ("none",))

    def test_realms(self) -> None:
        """AGP-24: each root has its realm, and credentials for one are none for another."""
        self.auth = self.make(realm_of=lambda head: head.authority)
        self.source.passwords["alice", "other.example.com"] = PASSWORD
        for realm in (REALM, "other.example.com"):
            found = self.challenges(self.refused(401, request(authority=realm)))
            self.assertEqual({each["realm"] for each in found}, {realm})
        value = self.answer(realm="other.example.com")
        self.accepted(request(value, authority="other.example.com"))
        self.assertFalse(self.is_stale(self.refused(401, request(value))))

    def test_nonce_of_another_realm(self) -> None:
        """AGP-25: a nonce is bound to its realm."""
        other = parse_credentials(self.auth.challenges("other.example.com")[0])[1]["nonce"]
        self.assertTrue(self.is_stale(self.refused(401, request(self.answer(nonce=other)))))

    def test_basic_is_never_taken(self) -> None:
        """AGP-39: Basic and other schemes get the Digest challenges."""
        for value in ("Basic YWxpY2U6czNjcjN0IHBhc3M=", "Bearer x", "Basic", "Negotiate a=b, a"):
            error = self.refused(401, request(value))
            self.assertEqual(len(self.challenges(error)), 2)

    def test_interfaces(self) -> None:
        """The authenticator and what it gives are what their interfaces say."""
        verifyObject(IAuthenticator, self.auth)
        done = self.accepted(request(self.answer()))
        verifyObject(IAuthenticated, done)
        self.assertEqual(done.username, "alice")
        self.assertEqual(done.identities, ("sip:alice@example.com", "tel:+15555550100"))


class SyntaxTests(DigestTestCase):
    """What is malformed, and what is just not right."""

    def test_malformed(self) -> None:
        """AGP-29, AGP-152: duplicate, missing, contradicting or impossible parameters: 400."""
        for value in (
            credentials() + ', realm="x"',
            credentials() + ", NC=00000001",
            credentials(username_star="UTF-8''alice"),
            credentials(username=None, username_star="ISO-8859-1''alice"),
            credentials(username=None),
            credentials(realm=None),
            credentials(nonce=None),
            credentials(uri=None),
            credentials(response=None),
            credentials(nc="1"),
            credentials(nc="0000000g"),
            credentials(nc="000000001"),
            credentials(nc=None),
            credentials(cnonce=None),
            credentials(qop="auth-conf"),
            credentials(response=f'"{GET_AUTH["MD5"]}"'),
            credentials(response=f'"{GET_AUTH["SHA-256"][:-1]}"'),
            credentials(response='""'),
            credentials(algorithm="MD5"),
            "Digest",
            "Digest username",
            'Digest username="alice',
        ):
            error = self.refused(400, request(value))
            self.assertEqual(error.headers, ())
        self.assertEqual(self.auth.outcomes, {"malformed": 22})

    def test_two_fields(self) -> None:
        """AGP-29: credentials twice are malformed."""
        self.refused(400, request((credentials(), credentials())))

    def test_tolerated(self) -> None:
        """AGP-29: any order, case and blanks; quoted algorithm, qop and nc; escapes."""
        for value in (
            credentials(algorithm='"SHA-256"', qop='"auth"', nc='"00000001"'),
            credentials().replace(", ", ","),
            credentials().replace(", ", "  ,\t"),
            credentials().replace("nonce", "NONCE").replace("realm", "Realm"),
            credentials(username='"al\\ice"'),
            credentials().replace("Digest", "digest "),
            "Digest " + ", ".join(reversed(credentials()[7:].split(", "))),
            credentials(username=None, username_star="UTF-8''al%69ce"),
            credentials(algorithm="sha-256", qop="AUTH"),
            credentials() + ', something="else"',
        ):
            self.setUp()
            self.accepted(request(value))

    def test_utf8_username(self) -> None:
        """AGP-33, AGP-36: user names are UTF-8 octets, as they are or in username*."""
        value = self.answer(user="Jäsøn", password="p")
        # header fields hold octets, one character each
        head = request(value.encode().decode("latin-1"))
        self.assertEqual(self.accepted(head).username, "Jäsøn")
        value = self.answer(user="Jäsøn", password="p").replace(
            'username="Jäsøn"', "username*=UTF-8''J%C3%A4s%C3%B8n"
        )
        self.assertEqual(self.accepted(request(value)).username, "Jäsøn")

    def test_octets_that_are_no_utf8(self) -> None:
        """AGP-29: whatever octets come, the answer is 400 or 401; what is sent back can be."""
        value = self.answer(cnonce='"\xff"', response=None)
        nonce = parse_credentials(value)[1]["nonce"]
        proof = response_digest(
            HA1["SHA-256"],
            ha2("GET", URI1, "SHA-256"),
            nonce,
            "SHA-256",
            "00000001",
            "\udcff",
            "auth",
        )
        done = self.accepted(request(f'{value}, response="{proof}"'))
        ((_, info),) = done.answer_headers(HttpResponse(200))
        self.assertIn('cnonce="\xff"', info)
        self.refused(401, request(credentials(username='"\xff"')))

    @given(st.text(st.characters(max_codepoint=255), max_size=200))
    def test_anything(self, text: str) -> None:
        """AGP-29: no Authorization raises anything but a refusal."""
        self.setUp()
        for value in (text, f"Digest {text}", f"{credentials()}, {text}"):
            try:
                self.auth.authenticate(request(value), b"")
            except XcapError as error:
                self.assertIn(error.status, (400, 401))

    def test_not_ours(self) -> None:
        """AGP-32: other algorithm, realm or opaque: 401 with a fresh challenge, not stale."""
        for value in (
            credentials(algorithm="SHA-512-256"),
            credentials(algorithm="SHA-1"),
            credentials(algorithm="MD5-sess"),
            credentials(realm='"other"'),
            credentials(opaque='"other"'),
        ):
            self.assertFalse(self.is_stale(self.refused(401, request(value))))
        opaque = parse_credentials(self.auth.challenges(REALM)[0])[1]["opaque"]
        self.accepted(request(credentials(opaque=f'"{opaque}"')))

    def test_algorithm_absent(self) -> None:
        """AGP-32: without algorithm it is MD5."""
        self.accepted(request(credentials(algorithm=None, response=f'"{GET_AUTH["MD5"]}"')))

    def test_qop_not_offered(self) -> None:
        """AGP-29: a qop that was not offered is malformed."""
        self.auth = self.make(DigestSettings(qop=("auth",)))
        self.refused(400, request(self.answer(qop="auth-int")))

    def test_without_qop(self) -> None:
        """AGP-35: RFC 2069 responses are taken with a switch, once per nonce."""
        value = self.answer(qop="", algorithm="MD5")
        self.refused(401, request(value))
        self.auth = self.make(DigestSettings(without_qop=True))
        value = self.answer(qop="", algorithm="MD5")
        done = self.accepted(request(value))
        ((_, info),) = done.answer_headers(HttpResponse(200))
        self.assertRegex(info, r'^nextnonce="[-_A-Za-z0-9]{72}"$')
        self.assertTrue(self.is_stale(self.refused(401, request(value))))
        self.refused(401, request(self.answer(qop="")))


class TargetTests(DigestTestCase):
    """The digest-uri and the request target."""

    def test_changed_target(self) -> None:
        """AGP-31, AGP-152: credentials for another target: 400."""
        self.refused(400, request(self.answer(), target=URI2))
        self.refused(400, request(self.answer(), target=URI1 + "?"))
        self.refused(400, request(self.answer(uri=f"http://evil.example.com{URI1}")))
        self.assertEqual(self.audited, [])

    def test_escapes(self) -> None:
        """AGP-31: a node selector with %5b and %22 verifies, the case of hex digits aside."""
        self.accepted(request(self.answer()))
        self.accepted(request(self.answer(uri=URI1.replace("%5b", "%5B"))))
        self.refused(400, request(self.answer(uri=URI1.replace("%5b", "["))))

    def test_absolute(self) -> None:
        """AGP-31: the absolute form is resolved against the Host."""
        for prefix in (f"https://{REALM}", f"HTTPS://{REALM.upper()}"):
            self.accepted(request(self.answer(uri=prefix + URI1)))
        self.accepted(request(self.answer(uri=f"https://{REALM}"), target="/"))

    def test_raw_quotes(self) -> None:
        """CLI-18: raw brackets and unescaped quotes in uri are what the target has."""
        target = '/resource-lists/users/sip:a@b/index/~~/resource-lists/list[@name="f"]'
        self.accepted(request(self.answer(uri=target), target=target))
        self.refused(400, request(self.answer(uri=target), target=target[:-1]))


class FreshnessTests(DigestTestCase):
    """Nonces and their counts."""

    def test_expiry(self) -> None:
        """AGP-26: 300 s; then a right response is stale and a wrong one is wrong."""
        right, wrong = self.answer(), self.answer(password="x")
        self.time.now += 300
        self.accepted(request(right))
        self.time.now += 1
        late = self.answer(nonce=parse_credentials(right)[1]["nonce"], count=2)
        error = self.refused(401, request(late))
        self.assertTrue(self.is_stale(error))
        self.assertFalse(self.is_stale(self.refused(401, request(wrong))))
        fresh = self.challenges(error)[0]["nonce"]
        self.accepted(request(self.answer(nonce=fresh)))

    def test_lifetime(self) -> None:
        """AGP-26: it is configurable between 10 s and a day."""
        self.auth = self.make(lifetime=10)
        value = self.answer()
        self.time.now += 11
        self.assertTrue(self.is_stale(self.refused(401, request(value))))
        self.auth = self.make(lifetime=86_400)
        value = self.answer()
        self.time.now += 86_399
        self.accepted(request(value))
        for lifetime in (9, 86_401):
            self.assertRaises(ValueError, Nonces, KEY, lifetime)

    def test_other_node(self) -> None:
        """AGP-05, AGP-26, AGP-152: after a restart, or at another node: stale, then accepted."""
        value = self.answer()
        for key in (KEY, b"another secret of 32 octets or so"):
            self.auth = self.make(key=key)
            error = self.refused(401, request(value))
            self.assertTrue(self.is_stale(error))
            self.accepted(request(self.answer(nonce=self.challenges(error)[0]["nonce"])))

    def test_forged_nonces(self) -> None:
        """AGP-25: only nonces as they were issued count."""
        nonce = self.nonce()
        swapped = nonce[:-1] + ("A" if nonce[-1] != "A" else "B")
        for forged in (nonce[:-1], nonce + "A", swapped, "x", "\xe9" * 72, "!" * 72, "A" * 72):
            value = self.answer(nonce=forged).encode().decode("latin-1")
            self.assertTrue(self.is_stale(self.refused(401, request(value))))

    def test_replay(self) -> None:
        """AGP-30, AGP-152: the byte-identical request again: 401 stale."""
        value = self.answer()
        self.accepted(request(value))
        self.assertTrue(self.is_stale(self.refused(401, request(value))))
        self.assertEqual(self.auth.outcomes, {"ok": 1, "replay": 1})

    def test_window(self) -> None:
        """AGP-30, AGP-152: any order within 128 counts; below them and seen ones: stale."""
        nonce = self.nonce()
        for count in (200, 100, 73, 150, 199):
            self.accepted(request(self.answer(nonce=nonce, count=count)))
        for count in (72, 1, 0, 200, 100):
            error = self.refused(401, request(self.answer(nonce=nonce, count=count)))
            self.assertTrue(self.is_stale(error))
        self.accepted(request(self.answer(nonce=nonce, count=0xFFFFFFFF)))

    def test_connections(self) -> None:
        """CLI-21: a nonce is good on every connection and from every address."""
        nonce = self.nonce()
        for count in (1, 2, 3):
            head = request(self.answer(nonce=nonce, count=count), address=f"192.0.2.{count}")
            self.accepted(head)

    def test_bound(self) -> None:
        """AGP-30: with too many nonces the oldest are stale, never replayed."""
        self.auth = self.make(limit=10)
        first = self.nonce()
        self.accepted(request(self.answer(nonce=first)))
        for _ in range(20):
            self.time.now += 0.01
            self.accepted(request(self.answer()))
        self.assertLessEqual(len(self.auth.windows), 10)
        for count in (1, 2):
            error = self.refused(401, request(self.answer(nonce=first, count=count)))
            self.assertTrue(self.is_stale(error))

    def test_nextnonce(self) -> None:
        """AGP-38: a next nonce is given when a fifth of the life or less is left."""
        nonce = self.nonce()
        self.time.now += 239
        done = self.accepted(request(self.answer(nonce=nonce, count=1)))
        self.assertNotIn("nextnonce", done.answer_headers(HttpResponse(200))[0][1])
        self.time.now += 2
        done = self.accepted(request(self.answer(nonce=nonce, count=2)))
        info = done.answer_headers(HttpResponse(200))[0][1]
        following = info.rpartition('nextnonce="')[2].rstrip('"')
        self.time.now += 200
        self.accepted(request(self.answer(nonce=following)))


class GuessingTests(DigestTestCase):
    """Wrong passwords."""

    def wrong(
        self, address: str = "192.0.2.1", user: str = "alice", status: int = 401
    ) -> XcapError:
        """Try a wrong password."""
        return self.refused(status, request(self.answer(user=user, password="x"), address=address))

    def test_indistinguishable(self) -> None:
        """AGP-27: unknown user and wrong password look the same."""
        wrong, unknown = self.wrong(), self.wrong(user="nobody")
        self.assertEqual((wrong.status, wrong.text), (unknown.status, unknown.text))

        def shape(error: XcapError) -> list[tuple[str, list[str]]]:
            return [(name, sorted(parse_credentials(v)[1])) for name, v in error.headers]

        self.assertEqual(shape(wrong), shape(unknown))
        self.assertNotIn("alice", repr(wrong.headers))
        self.assertEqual(self.auth.outcomes, {"wrong": 1, "unknown": 1})

    def test_time(self) -> None:
        """AGP-27: and take the same time, within 5 ms."""
        self.auth = self.make(lock_out=LockOut(0, 0, clock=self.time))
        taken: dict[str, list[float]] = {"alice": [], "nobody": []}
        for _ in range(50):
            for user, times in taken.items():
                value = self.answer(user=user, password="x")
                began = time.perf_counter()
                self.refused(401, request(value))
                times.append(time.perf_counter() - began)
        medians = [statistics.median(times) for times in taken.values()]
        self.assertLess(abs(medians[0] - medians[1]), 0.005)

    def test_lock(self) -> None:
        """AGP-39, AGP-152: the eleventh is not evaluated; other addresses are not concerned."""
        for _ in range(10):
            self.wrong()
        error = self.wrong(status=429)
        self.assertEqual(error.headers, (("Retry-After", "60"),))
        self.refused(429, request(self.answer()))
        self.accepted(request(self.answer(), address="192.0.2.2"))
        self.time.now += 60
        self.accepted(request(self.answer()))
        self.assertEqual([e.kind for e in self.audited], ["wrong"] * 10 + ["locked"])
        self.assertEqual(self.audited[-1].username, "alice")

    def test_lock_before_body(self) -> None:
        """AGP-39: a locked user's body is not even asked for."""
        for _ in range(10):
            self.wrong()
        head = request(self.answer(method="PUT", qop="auth-int", body=BODY), "PUT")
        self.refused(429, head, None)

    def test_lock_again(self) -> None:
        """AGP-39: after a lock one more wrong response within the period locks again."""
        for _ in range(10):
            self.wrong()
        self.time.now += 60
        self.wrong()
        self.wrong(status=429)

    def test_slow_guessing(self) -> None:
        """AGP-39: ten wrong responses in more than five minutes lock nothing."""
        for _ in range(30):
            self.wrong()
            self.time.now += 34

    def test_everywhere(self) -> None:
        """AGP-39: fifty wrong responses from anywhere lock the user everywhere."""
        for i in range(50):
            self.wrong(address=f"192.0.2.{i}")
        self.refused(429, request(self.answer(), address="198.51.100.1"))
        self.accepted(request(self.answer(user="Jäsøn", password="p").encode().decode("latin-1")))
        self.assertIn("anywhere", self.audited[-1].text)

    def test_unknown_users_too(self) -> None:
        """AGP-27, AGP-39: users that do not exist are locked just the same."""
        for _ in range(10):
            self.wrong(user="nobody")
        self.wrong(user="nobody", status=429)

    def test_not_counted(self) -> None:
        """AGP-39: stale nonces, replays and malformed credentials do not count."""
        value, old = self.answer(), self.answer()
        self.accepted(request(value))
        for _ in range(20):
            self.refused(401, request(value))
            self.refused(400, request(credentials(nc="1")))
            self.refused(401, request())
        self.time.now += 301
        for _ in range(20):
            self.refused(401, request(old))
        self.accepted(request(self.answer()))
        self.assertEqual(self.audited, [])

    def test_changed_password(self) -> None:
        """AGP-37: a new password counts with the next request, the old one no more."""
        nonce = self.nonce()
        self.accepted(request(self.answer(nonce=nonce)))
        self.source.passwords["alice", REALM] = "new"
        self.refused(401, request(self.answer(nonce=nonce, count=2)))
        self.accepted(request(self.answer(nonce=nonce, count=3, password="new")))

    def test_no_secret_shown(self) -> None:
        """AGP-37: what is kept of a request does not show HA1."""
        done = self.accepted(request(self.answer()))
        self.assertNotIn(HA1["SHA-256"], repr(done))
        self.assertIn("_secret", {field.name for field in attrs.fields(DigestAuthenticated)})


class AuditTests(SynchronousTestCase):
    """What the operator reads."""

    def test_log(self) -> None:
        """AGP-39, AGP-84: a lock is a numbered problem; who and from where only for debugging."""
        events: list[dict[str, object]] = []
        globalLogPublisher.addObserver(events.append)
        self.addCleanup(globalLogPublisher.removeObserver, events.append)
        log_audit(AuditEvent("wrong", "alice", "192.0.2.1"))
        log_audit(AuditEvent("locked", "alice", "192.0.2.1", "ten"))
        self.assertEqual([e.get("problem") for e in events], [None, "guessing", None])
        loud = [e for e in events if e["log_level"] is not LogLevel.debug]
        self.assertEqual(len(loud), 1)
        self.assertNotIn("alice", repr(loud))
