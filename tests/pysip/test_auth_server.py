"""The server role of Digest: challenges, nonces, replay and guessing."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from pysip.auth.client import ClientCredentials
from pysip.auth.digest import ALGORITHMS, ha1, ha2, parse_challenge, response_digest
from pysip.auth.server import Authenticated, DigestAuthenticator, FailureGuard, NonceWindows
from pysip.errors import SipError
from pysip.header import parse_credentials
from pysip.interfaces import INonceStore

REALM = "example.com"
URI = "sip:bob@example.com"
KEY = b"0123456789abcdef"
AUTHORIZATION = "authorization"
PROXY = "proxy-authorization"


class Time:
    """A clock to set."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        """What was set."""
        return self.now


class Source:
    """One account, alice; counts what is asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def ha1(self, username: str, realm: str, algorithm: str) -> str | None:
        """HA1 of alice."""
        self.asked.append(username)
        if (username, realm) != ("alice", REALM):
            return None
        return ha1("alice", REALM, "secret", algorithm)

    def identities(self, username: str, realm: str) -> tuple[str, ...]:
        """The identity of alice."""
        return ("sip:alice@example.com",)


class ServerTestCase(SynchronousTestCase):
    """Base with an authenticator on a clock to set."""

    def setUp(self) -> None:
        """Make an authenticator."""
        self.time = Time()
        self.source = Source()
        self.auth = self.make()

    def make(self, **options: object) -> DigestAuthenticator:
        """An authenticator with these options."""
        options.setdefault("nonces", NonceWindows(360, clock=self.time))
        options.setdefault("guard", FailureGuard(clock=self.time))
        return DigestAuthenticator(
            self.source,
            KEY,
            wall_clock=self.time,
            **options,  # type: ignore[arg-type]
        )

    def verify(
        self,
        *values: tuple[str, str],
        method: str = "PUBLISH",
        body: bytes = b"",
        address: str = "192.0.2.1",
        uri: str = URI,
    ) -> Authenticated:
        """Verify the credentials of a request."""
        return self.auth.verify(values, REALM, method, uri.__eq__, body, address)

    def refused(self, *values: tuple[str, str], **named: str) -> SipError:
        """Verify what is refused."""
        error: SipError = self.assertRaises(SipError, self.verify, *values, **named)
        return error

    def challenges(self, error: SipError) -> list[str]:
        """The challenges of a 401."""
        self.assertEqual(error.status, 401)
        self.assertEqual({name for name, _ in error.headers}, {"WWW-Authenticate"})
        return [value for _, value in error.headers]

    def stale(self, error: SipError) -> bool:
        """Whether all challenges of a 401 say stale=true."""
        (stale,) = {parse_challenge(value).stale for value in self.challenges(error)}
        return stale

    def answer(
        self, challenges: list[str] | None = None, user: str = "alice", password: str = "secret"
    ) -> str:
        """A right answer to challenges, fresh ones by default."""
        client = ClientCredentials(user, password)
        value = client.authorize(challenges or self.auth.challenges(REALM), "PUBLISH", URI)
        assert value is not None
        return value


def with_count(value: str, count: int, algorithm: str = "SHA-256") -> str:
    """The same credentials of alice with another nonce count."""
    params = parse_credentials(value)[1]
    nc = f"{count:08x}"
    proof = response_digest(
        ha1("alice", REALM, "secret", algorithm),
        ha2("PUBLISH", URI, algorithm),
        params["nonce"],
        algorithm,
        nc,
        params["cnonce"],
        "auth",
    )
    return value.replace(params["response"], proof).replace(f"nc={params['nc']}", f"nc={nc}")


class ChallengeTests(ServerTestCase):
    """What a 401 offers."""

    def test_one_per_algorithm(self) -> None:
        """AUT-02: a WWW-Authenticate per algorithm, the preferred first, quoted as it must be."""
        self.auth = self.make(algorithms=ALGORITHMS, auth_int=True)
        values = self.challenges(self.refused())
        self.assertEqual([parse_challenge(v).algorithm for v in values], list(ALGORITHMS))
        for value in values:
            self.assertRegex(
                value,
                r'^Digest realm="example\.com", nonce="[0-9a-f]{60}", opaque="[0-9a-f]+", '
                r'algorithm=[-A-Z0-9]+, qop="auth,auth-int"$',
            )

    def test_default(self) -> None:
        """AUT-02, AUT-17: SHA-256 before MD5, qop auth, never Basic; no stale without reason."""
        values = self.challenges(self.refused())
        self.assertEqual([parse_challenge(v).algorithm for v in values], ["SHA-256", "MD5"])
        self.assertEqual({parse_challenge(v).qop for v in values}, {("auth",)})
        self.assertNotIn("stale", "".join(values))

    def test_without_md5(self) -> None:
        """AUT-02: MD5 can be disabled, and then is not accepted either."""
        md5 = self.auth.challenges(REALM)[1:]
        self.auth = self.make(algorithms=["SHA-256"])
        self.assertFalse(self.stale(self.refused((AUTHORIZATION, self.answer(md5)))))
        self.assertEqual(len(self.auth.challenges(REALM)), 1)

    def test_fresh_nonce(self) -> None:
        """CLI-06: each challenge has a nonce of its own."""
        nonces = {parse_challenge(self.auth.challenges(REALM)[0]).nonce for _ in range(20)}
        self.assertEqual(len(nonces), 20)

    def test_settings(self) -> None:
        """A short key, no algorithm and an unknown one are refused."""
        self.assertRaises(ValueError, DigestAuthenticator, self.source, b"short")
        self.assertRaises(ValueError, self.make, algorithms=())
        self.assertRaises(ValueError, self.make, algorithms=("MD5-sess",))


class VerificationTests(ServerTestCase):
    """Right and wrong answers."""

    def test_right(self) -> None:
        """AUT-04: every algorithm that is offered is verified."""
        self.auth = self.make(algorithms=ALGORITHMS)
        for place, algorithm in enumerate(ALGORITHMS):
            value = self.answer(self.auth.challenges(REALM)[place:])
            done = self.verify((AUTHORIZATION, value))
            self.assertEqual((done.username, done.realm), ("alice", REALM))
            self.assertEqual(done.algorithm, algorithm)

    def test_no_algorithm_parameter(self) -> None:
        """AUT-02: an answer that names no algorithm is one with MD5."""
        md5 = [self.auth.challenges(REALM)[1].replace("algorithm=MD5, ", "")]
        value = self.answer(md5)
        self.assertNotIn("algorithm", value)
        self.assertEqual(self.verify((AUTHORIZATION, value)).algorithm, "MD5")

    def test_wrong(self) -> None:
        """AUT-06: a wrong password, method, body or user is 401 without stale."""
        self.assertFalse(self.stale(self.refused((AUTHORIZATION, self.answer(password="x")))))
        right = self.answer()
        self.assertFalse(self.stale(self.refused((AUTHORIZATION, right), method="SUBSCRIBE")))
        self.assertFalse(self.stale(self.refused((AUTHORIZATION, self.answer(user="bob")))))

    def test_upper_case_digest(self) -> None:
        """AUT-12: digests are lower-case hex."""
        value = self.answer()
        digest = parse_credentials(value)[1]["response"]
        self.refused((AUTHORIZATION, value.replace(digest, digest.upper())))

    def test_digest_that_is_no_ascii(self) -> None:
        """Any octets may stand for the digest; they are wrong."""
        value = self.answer()
        digest = parse_credentials(value)[1]["response"]
        self.refused((AUTHORIZATION, value.replace(digest, "é\udcff")))

    def test_unknown_user(self) -> None:
        """AUT-08: an unknown user takes the way of a wrong password, even one who knows it all."""
        self.refused((AUTHORIZATION, self.answer(user="bob")))
        self.refused((AUTHORIZATION, self.answer(password="x")))
        self.assertEqual(self.source.asked, ["bob", "alice"])
        value = self.answer(user="bob")
        params = parse_credentials(value)[1]
        proof = response_digest(
            self.auth._nobody["SHA-256"],
            ha2("PUBLISH", URI, "SHA-256"),
            params["nonce"],
            "SHA-256",
            params["nc"],
            params["cnonce"],
            "auth",
        )
        self.refused((AUTHORIZATION, value.replace(params["response"], proof)))

    def test_integrity(self) -> None:
        """AUT-02, AUT-04: auth-int only when configured, and then over the body."""
        client = ClientCredentials("alice", "secret")
        offers = [v.replace('"auth"', '"auth-int"') for v in self.auth.challenges(REALM)]
        value = client.authorize(offers, "PUBLISH", URI, b"body")
        assert value is not None
        self.refused((AUTHORIZATION, value))
        self.auth = self.make(auth_int=True)
        self.assertRaises(SipError, self.verify, (AUTHORIZATION, value), body=b"other")
        self.verify((AUTHORIZATION, value), body=b"body")

    def test_without_qop(self) -> None:
        """AUT-04: no qop only when configured, with MD5, and once for each nonce."""
        offers = [v.replace(', qop="auth"', "") for v in self.auth.challenges(REALM)]
        sha, md5 = self.answer(offers), self.answer(offers[1:])
        self.refused((AUTHORIZATION, md5))
        self.auth = self.make(allow_no_qop=True)
        self.refused((AUTHORIZATION, sha))
        self.verify((AUTHORIZATION, md5))
        self.assertTrue(self.stale(self.refused((AUTHORIZATION, md5))))

    def test_session_variant(self) -> None:
        """AUT-02: a -sess answer was not asked for."""
        offers = [self.auth.challenges(REALM)[0].replace("SHA-256", "SHA-256-sess")]
        self.refused((AUTHORIZATION, self.answer(offers)))

    def test_userhash(self) -> None:
        """AUT-12: a hashed user name was not offered."""
        self.refused((AUTHORIZATION, self.answer() + ", userhash=true"))

    def test_digest_uri(self) -> None:
        """AUT-05: a right digest of another resource is 400."""
        self.assertEqual(self.refused((AUTHORIZATION, self.answer()), uri="sip:x@y").status, 400)

    def test_initial_credentials(self) -> None:
        """RFC 8760 2.7: empty nonce and response, before any challenge, count as none."""
        value = (
            'Digest username="alice", realm="example.com", nonce="", uri="sip:example.com", '
            'response=""'
        )
        for _ in range(10):
            self.assertFalse(self.stale(self.refused((AUTHORIZATION, value))))
        self.verify((AUTHORIZATION, self.answer()))


class SeveralTests(ServerTestCase):
    """Several credentials in one request."""

    def test_our_realm_is_found(self) -> None:
        """AUT-20: other realms and schemes are passed over, wherever ours is."""
        other = self.answer().replace('realm="example.com"', 'realm="example.net"')
        done = self.verify(
            (AUTHORIZATION, "Bearer abc"), (AUTHORIZATION, other), (AUTHORIZATION, self.answer())
        )
        self.assertEqual(done.username, "alice")
        self.refused((AUTHORIZATION, other))

    def test_proxy_authorization(self) -> None:
        """CLI-06, AUT-17: credentials for a proxy are taken too; the challenge is 401."""
        self.verify((PROXY, self.answer()))

    def test_liblinphone(self) -> None:
        """CLI-06: one nonce in both headers, counted apart; the stale one spoils nothing."""
        value = self.answer()
        self.verify((AUTHORIZATION, value))
        pre_emptive = with_count(value, 2)
        self.verify((PROXY, pre_emptive))
        self.assertTrue(self.stale(self.refused((PROXY, pre_emptive))))
        self.time.now += 1
        value = self.answer()
        self.verify((PROXY, with_count(value, 2)))
        self.verify((PROXY, with_count(value, 2)), (AUTHORIZATION, value))

    def test_malformed(self) -> None:
        """AUT-20: username with username*, or a parameter missing, is 400."""
        value = self.answer()
        self.assertEqual(
            self.refused((AUTHORIZATION, value + ", username*=UTF-8''alice")).status, 400
        )
        self.assertEqual(
            self.refused((AUTHORIZATION, value.replace("nc=00000001", "nc=1"))).status, 400
        )
        self.assertEqual(
            self.refused((AUTHORIZATION, value.replace('username="alice", ', ""))).status, 400
        )


class NonceTests(ServerTestCase):
    """Nonces and their counts."""

    def test_replay(self) -> None:
        """AUT-06: a count that was seen is 401 with stale=true and a new nonce."""
        value = self.answer()
        self.verify((AUTHORIZATION, value))
        error = self.refused((AUTHORIZATION, value))
        self.assertTrue(self.stale(error))
        self.verify((AUTHORIZATION, self.answer(self.challenges(error))))

    def test_replay_with_wrong_digest(self) -> None:
        """AUT-06: stale is only said when the digest was right."""
        self.time.now -= 1000
        value = self.answer(password="x")
        self.time.now += 1000
        self.assertFalse(self.stale(self.refused((AUTHORIZATION, value))))

    def test_reordered(self) -> None:
        """AUT-06: counts may be skipped and reordered within 64."""
        value = self.answer()
        for count in (5, 3, 100, 37, 99, 1000, 937):
            self.verify((AUTHORIZATION, with_count(value, count)))
        for count in (5, 100, 936, 937, 1000, 0):
            self.assertTrue(self.stale(self.refused((AUTHORIZATION, with_count(value, count)))))

    def test_lifetime(self) -> None:
        """AUT-06: after 300 s a nonce is stale."""
        value = self.answer()
        self.time.now += 299
        self.verify((AUTHORIZATION, value))
        self.time.now += 2
        self.assertTrue(self.stale(self.refused((AUTHORIZATION, with_count(value, 2)))))

    def test_cluster(self) -> None:
        """AUT-07: a node with the same key accepts the nonce of another; a foreign one is stale."""
        value = self.answer()
        self.auth = self.make()
        self.verify((AUTHORIZATION, value))
        other = DigestAuthenticator(self.source, b"another key 0123", wall_clock=self.time)
        foreign = self.answer(other.challenges(REALM))
        self.assertTrue(self.stale(self.refused((AUTHORIZATION, foreign))))

    def test_fast_clock(self) -> None:
        """AUT-07: clocks of a cluster may differ by a minute."""
        value = self.answer()
        self.time.now -= 59
        self.verify((AUTHORIZATION, value))
        self.time.now -= 2
        self.assertTrue(self.stale(self.refused((AUTHORIZATION, with_count(value, 2)))))

    def test_nonce_of_another_realm(self) -> None:
        """AUT-07, AUT-18: a nonce is good for its realm only."""
        foreign = [v.replace("example.net", REALM) for v in self.auth.challenges("example.net")]
        self.assertTrue(self.stale(self.refused((AUTHORIZATION, self.answer(foreign)))))

    def test_forged(self) -> None:
        """AUT-07: a nonce that is not ours is stale at best."""
        for nonce in ("x", "0" * 60, "é" * 60, "0" * 59 + "é"):
            offers = [f'Digest realm="{REALM}", nonce="{nonce}", qop="auth", algorithm=MD5']
            self.assertTrue(self.stale(self.refused((AUTHORIZATION, self.answer(offers)))))

    def test_info(self) -> None:
        """AUT-10: Authentication-Info proves the server and gives the next nonce."""
        done = self.verify((AUTHORIZATION, self.answer()))
        params = parse_credentials(f"Digest {self.auth.authentication_info(done)}")[1]
        used = done.credentials
        self.assertEqual(
            params["rspauth"],
            response_digest(
                ha1("alice", REALM, "secret", "SHA-256"),
                ha2("", URI, "SHA-256"),
                used.nonce,
                "SHA-256",
                used.nc,
                used.cnonce,
                "auth",
            ),
        )
        self.assertEqual(
            (params["qop"], params["nc"], params["cnonce"]), ("auth", used.nc, used.cnonce)
        )
        offers = [
            f'Digest realm="{REALM}", nonce="{params["nextnonce"]}", qop="auth", algorithm=MD5'
        ]
        self.verify((AUTHORIZATION, self.answer(offers)))


class NonceWindowsTests(SynchronousTestCase):
    """The memory of nonce counts."""

    def setUp(self) -> None:
        """Make windows on a clock to set."""
        self.time = Time()
        self.windows = NonceWindows(300, limit=10, clock=self.time)

    def test_interface(self) -> None:
        """It is a nonce store."""
        verifyObject(INonceStore, self.windows)

    def test_scopes(self) -> None:
        """CLI-06: headers are counted apart."""
        self.assertTrue(self.windows.use("n", 1, "a"))
        self.assertTrue(self.windows.use("n", 1, "b"))
        self.assertFalse(self.windows.use("n", 1, "a"))

    def test_width(self) -> None:
        """AGP-30: the window is as wide as wanted: counts below it are refused."""
        for window, oldest in ((64, 137), (128, 73)):
            windows = NonceWindows(300, clock=self.time, window=window)
            self.assertTrue(windows.use("n", 200, "a"))
            self.assertFalse(windows.use("n", oldest - 1, "a"))
            self.assertTrue(windows.use("n", oldest, "a"))
            self.assertFalse(windows.use("n", oldest, "a"))

    def test_remembered_for_the_lifetime(self) -> None:
        """AUT-06: whenever a nonce is used within its lifetime, it was not forgotten."""
        for start in (0, 1, 150, 299, 300):
            nonce = f"n{start}"
            self.time.now += start
            self.assertTrue(self.windows.use(nonce, 1, "a"))
            for _ in range(3):
                self.time.now += 100
                self.assertFalse(self.windows.use(nonce, 1, "a"))

    def test_forgotten(self) -> None:
        """What has expired takes no memory."""
        for i in range(9):
            self.windows.use(f"n{i}", 1, "a")
        self.time.now += 301
        self.windows.use("o", 1, "a")
        self.time.now += 301
        self.windows.use("p", 1, "a")
        self.assertEqual(len(self.windows), 2)
        self.time.now += 1000
        self.windows.use("q", 1, "a")
        self.assertEqual(len(self.windows), 1)

    def test_bounded(self) -> None:
        """AUT-06: a full memory makes old nonces stale, it does not let them be replayed."""
        for i in range(100):
            self.assertTrue(self.windows.use(f"n{i:03}", 1, "a"))
            self.assertLessEqual(len(self.windows), 20)
        for i in range(100):
            self.assertFalse(self.windows.use(f"n{i:03}", 1, "a"))
        self.assertTrue(self.windows.use("n101", 1, "a"))

    @settings(max_examples=100, deadline=None)
    @given(st.lists(st.one_of(st.integers(0, 200), st.integers(0, 2**32 - 1)), max_size=60))
    def test_window(self, counts: list[int]) -> None:
        """AUT-06: new counts within 64 of the highest are accepted, once."""
        windows = NonceWindows(300)
        seen: set[int] = set()
        for count in counts:
            highest = max(seen, default=0)
            expected = count > 0 and count not in seen and count > highest - 64
            assert windows.use("n", count, "a") == expected
            if expected:
                seen.add(count)


class GuardTests(ServerTestCase):
    """Guessing of passwords."""

    def guess(self, address: str = "192.0.2.1", user: str = "alice") -> int:
        """Send a wrong password; the status."""
        value = self.answer(user=user, password="x")
        return self.refused((AUTHORIZATION, value), address=address).status

    def test_blocked(self) -> None:
        """AUT-15: after 5 failures in 60 s user and address are refused for 60 s."""
        self.assertEqual([self.guess() for _ in range(6)], [401] * 5 + [403])
        self.assertEqual(self.refused((AUTHORIZATION, self.answer())).status, 403)
        self.verify((AUTHORIZATION, self.answer()), address="192.0.2.2")
        self.assertEqual(self.guess(user="bob"), 401)
        self.time.now += 60
        self.verify((AUTHORIZATION, self.answer()))

    def test_unknown_user(self) -> None:
        """AUT-08, AUT-15: an unknown user is blocked alike."""
        self.assertEqual([self.guess(user="bob") for _ in range(6)], [401] * 5 + [403])

    def test_slow_failures(self) -> None:
        """AUT-15: only failures within 60 s count."""
        for _ in range(20):
            self.assertEqual(self.guess(), 401)
            self.time.now += 16

    def test_success_forgives(self) -> None:
        """AUT-15: a right password ends the counting; a replayed one does not."""
        for _ in range(4):
            self.guess()
        value = self.answer()
        self.verify((AUTHORIZATION, value))
        for _ in range(4):
            self.assertEqual(self.guess(), 401)
        self.assertTrue(self.stale(self.refused((AUTHORIZATION, value))))
        self.assertEqual([self.guess(), self.guess()], [401, 403])

    def test_many_headers(self) -> None:
        """AUT-15: the headers of one request are as many guesses."""
        values = [(AUTHORIZATION, self.answer(password=f"x{i}")) for i in range(10)]
        values.append((AUTHORIZATION, self.answer()))
        self.assertEqual(self.refused(*values).status, 403)

    def test_stale_is_no_failure(self) -> None:
        """AUT-15: an old nonce with the right password is no guess."""
        value = self.answer()
        self.verify((AUTHORIZATION, value))
        for _ in range(10):
            self.assertEqual(self.refused((AUTHORIZATION, value)).status, 401)

    def test_off(self) -> None:
        """Zero failures switch the guard off."""
        self.auth = self.make(guard=FailureGuard(0, clock=self.time))
        self.assertEqual({self.guess() for _ in range(20)}, {401})

    def test_bounded(self) -> None:
        """The guard forgets the oldest pairs."""
        guard = FailureGuard(2, limit=10, clock=self.time)
        for i in range(100):
            guard.failed("alice", REALM, str(i))
            guard.failed("alice", REALM, str(i))
            guard.failed("bob", REALM, str(i))
        self.assertLessEqual(len(guard._seen), 10)
        self.assertLessEqual(len(guard._blocked), 10)
        self.assertTrue(guard.blocked("alice", REALM, "99"))
        self.assertFalse(guard.blocked("alice", REALM, "1"))
