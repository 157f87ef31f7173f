"""The server role of Digest: challenges and verification (sip-core.md section 9).

One :class:`DigestAuthenticator` serves SIP listening points and HTTP alike.  Its failures
are :class:`pysip.errors.SipError`: status, reason and challenge fields mean the same in
both protocols.
"""

from __future__ import annotations

import hmac
import os
import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import attrs
from twisted.logger import Logger
from zope.interface import implementer

from pysip.auth.digest import (
    ALGORITHMS,
    Credentials,
    credentials_of,
    digest_params,
    ha2,
    hash_hex,
    response_digest,
    split_algorithm,
)
from pysip.errors import ParseError, SipError
from pysip.header import quote
from pysip.interfaces import INonceStore

if TYPE_CHECKING:
    from pysip.interfaces import ICredentialSource

_SKEW = 60.0
"""Seconds that the clocks of a cluster may differ."""


@implementer(INonceStore)
class NonceWindows:
    """Nonce counts already seen, in a sliding window for each nonce and header (AUT-06).

    Entries are kept in two generations of ``lifetime`` each, so that every nonce is
    remembered for its lifetime at least.  When one generation is full the older one goes
    early; nonces no newer than it are then refused, never replayed.  This needs nonces that
    sort by their time of issue, as those of :class:`DigestAuthenticator` do.

    :param lifetime: seconds a nonce lives.
    :param limit: entries of one generation, about 250 octets each.
    :param clock: seconds; a clock that never goes back.
    :param window: counts below the highest one that may still come, for requests that
        overtake each other.
    """

    def __init__(
        self,
        lifetime: float = 300.0,
        limit: int = 200_000,
        clock: Callable[[], float] = time.monotonic,
        window: int = 64,
    ) -> None:
        self._window = window
        self._mask = (1 << window) - 1
        self._lifetime = lifetime
        self._limit = limit
        self._clock = clock
        self._began = clock()
        # "scope nonce" -> highest count << window | which of the counts up to it were seen
        self._young: dict[str, int] = {}
        self._old: dict[str, int] = {}
        self._young_newest = ""
        self._old_newest = ""
        self._floor = ""

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def use(self, nonce: str, count: int, scope: str) -> bool:
        """Note a nonce count; False for one that was seen or is below the window."""
        age = self._clock() - self._began
        if age >= self._lifetime:
            self._turn(age >= 2 * self._lifetime)
        key = f"{scope} {nonce}"
        state = self._young.get(key)
        if state is None:
            found = self._old.pop(key, None)
            if found is None and nonce <= self._floor:
                return False
            state = found or 0
            if len(self._young) >= self._limit:
                self._floor = max(self._floor, self._old_newest)
                self._turn(False)
            self._young[key] = state
            if nonce > self._young_newest:
                self._young_newest = nonce
        window = self._window
        highest, seen = state >> window, state & self._mask
        if count > highest:
            shift = count - highest
            seen = (seen << shift | 1) & self._mask if shift < window else 1
            highest = count
        else:
            bit = highest - count
            if count < 1 or bit >= window or seen >> bit & 1:
                return False
            seen |= 1 << bit
        self._young[key] = highest << window | seen
        return True

    def _turn(self, both: bool) -> None:
        self._old = {} if both else self._young
        self._old_newest = self._young_newest
        self._young = {}
        self._young_newest = ""
        self._began = self._clock()


class FailureGuard:
    """Stops the guessing of passwords (AUT-15).

    :param failures: wrong digests of one user from one address (0 never refuses) ...
    :param period: ... within so many seconds ...
    :param penalty: ... refuse the pair for so many seconds.
    :param limit: pairs remembered; the oldest is forgotten first.
    :param clock: seconds; a clock that never goes back.
    """

    _log = Logger()

    def __init__(
        self,
        failures: int = 5,
        period: float = 60.0,
        penalty: float = 60.0,
        limit: int = 50_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._failures = failures
        self._period = period
        self._penalty = penalty
        self._limit = limit
        self._clock = clock
        # (user, realm, address) -> times of recent failures
        self._seen: dict[tuple[str, str, str], list[float]] = {}
        self._blocked: dict[tuple[str, str, str], float] = {}

    def blocked(self, username: str, realm: str, address: str) -> bool:
        """Whether the pair is refused now, whatever it sends."""
        if not self._blocked:
            return False
        key = (username, realm, address)
        until = self._blocked.get(key)
        if until is None:
            return False
        if self._clock() < until:
            return True
        del self._blocked[key]
        return False

    def failed(self, username: str, realm: str, address: str) -> None:
        """Note a wrong digest."""
        if not self._failures:
            return
        key = (username, realm, address)
        now = self._clock()
        times = [t for t in self._seen.pop(key, ()) if t > now - self._period]
        times.append(now)
        if len(times) >= self._failures:
            _bound(self._blocked, self._limit)
            self._blocked[key] = now + self._penalty
            self._log.warn(
                "{failures} wrong passwords of one user from one address, which is refused for"
                " {penalty:g} s",
                problem="guessing",
                failures=len(times),
                penalty=self._penalty,
            )
            # whose address it is may be personal (OBS-03)
            self._log.debug("wrong passwords from {address}", address=address)
        else:
            _bound(self._seen, self._limit)
            self._seen[key] = times

    def succeeded(self, username: str, realm: str, address: str) -> None:
        """Forget the failures of the pair."""
        if self._seen:
            self._seen.pop((username, realm, address), None)


def _bound(table: dict[tuple[str, str, str], Any], limit: int) -> None:
    """Make room for one more entry by forgetting the oldest."""
    if len(table) >= limit:
        del table[next(iter(table))]


@attrs.frozen(slots=True)
class Authenticated:
    """The outcome of a successful verification.

    :ivar username: as in the credentials.
    :ivar algorithm: as in :data:`pysip.auth.digest.ALGORITHMS`.
    :ivar credentials: what was verified.
    """

    username: str
    realm: str
    algorithm: str
    credentials: Credentials


class DigestAuthenticator:
    """Challenges and verifies (RFC 7616, RFC 8760, RFC 3261 section 22).

    A nonce is its time of issue, a random part and an HMAC over both and the realm: every
    node with the same key verifies it without any memory (AUT-07).

    :param source: the accounts.
    :param key: secret for the nonces, 16 octets at least; shared by the nodes of a cluster.
    :param algorithms: what to offer, most preferred first, of
        :data:`~pysip.auth.digest.ALGORITHMS`; MD5 is what most phones speak (AUT-02, CLI-02).
    :param auth_int: offer ``auth-int`` too.
    :param allow_no_qop: accept MD5 credentials without qop (AUT-04).
    :param lifetime: seconds a nonce is good for.
    :param nonces: counts the use of nonces.
    :param guard: against the guessing of passwords.
    :param wall_clock: seconds since the epoch, the same on all nodes.
    :param random: gives that many random octets.
    """

    _log = Logger()

    def __init__(
        self,
        source: ICredentialSource,
        key: bytes,
        *,
        algorithms: Sequence[str] = ("SHA-256", "MD5"),
        auth_int: bool = False,
        allow_no_qop: bool = False,
        lifetime: float = 300.0,
        nonces: INonceStore | None = None,
        guard: FailureGuard | None = None,
        wall_clock: Callable[[], float] = time.time,
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        if len(key) < 16:
            raise ValueError("the nonce key needs 16 octets at least")
        if not algorithms or not set(algorithms) <= set(ALGORITHMS):
            raise ValueError(f"digest algorithms are {', '.join(ALGORITHMS)}")
        self._source = source
        self._key = key
        self._algorithms = tuple(dict.fromkeys(algorithms))
        self._qop = "auth,auth-int" if auth_int else "auth"
        self._qops = frozenset(self._qop.split(","))
        self._allow_no_qop = allow_no_qop
        self._lifetime = lifetime
        # counts must be remembered for as long as a nonce of a fast clock can be used
        self._nonces = NonceWindows(lifetime + _SKEW) if nonces is None else nonces
        self._guard = FailureGuard() if guard is None else guard
        self._wall_clock = wall_clock
        self._random = random
        self._opaque = hmac.digest(key, b"opaque", "sha256").hex()[:16]
        # an account nobody has: unknown users are compared with it (AUT-08)
        self._nobody = {name: hash_hex(name, key.hex()) for name in self._algorithms}

    def nonce(self, realm: str) -> str:
        """A fresh nonce: 12 hex digits of milliseconds, 16 random, 32 of HMAC."""
        head = f"{int(self._wall_clock() * 1000):012x}{self._random(8).hex()}"
        return head + self._mac(head, realm)

    def challenges(self, realm: str, stale: bool = False) -> list[str]:
        """WWW-Authenticate values with one fresh nonce, one for each algorithm (AUT-02)."""
        nonce = self.nonce(realm)
        tail = ", stale=true" if stale else ""
        head = f'Digest realm={quote(realm)}, nonce="{nonce}", opaque="{self._opaque}"'
        return [f'{head}, algorithm={name}, qop="{self._qop}"{tail}' for name in self._algorithms]

    def challenge(self, realm: str, stale: bool = False) -> SipError:
        """The 401 with its challenges."""
        return SipError(
            401, None, [("WWW-Authenticate", value) for value in self.challenges(realm, stale)]
        )

    def verify(
        self,
        values: Iterable[tuple[str, str]],
        realm: str,
        method: str,
        uri_accepted: Callable[[str], bool],
        body: bytes,
        address: str,
    ) -> Authenticated:
        """Verify the credentials of one request.

        Credentials of other schemes and realms are passed over (AUT-20, TOR-38).

        :param values: (header name, value) of every Authorization and Proxy-Authorization;
            nonce counts are kept apart by header name (CLI-06).
        :param realm: the one realm that counts.
        :param method: request method.
        :param uri_accepted: whether a digest-uri may stand for this request (AUT-05).
        :param body: entity body, for ``auth-int``.
        :param address: where the request came from, for the guard.
        :raises SipError: 401 with fresh challenges, 400 for malformed credentials or a digest
            of another URI, 403 while the guard refuses the sender.
        """
        stale = misplaced = False
        for scope, value in values:
            try:
                params = digest_params(value)
                if params is None or params.get("realm", realm) != realm:
                    continue
                credentials = credentials_of(params)
            except ParseError as error:
                raise SipError(400, f"Bad Request: {error}") from error
            algorithm = self._algorithm(credentials)
            if algorithm is None or not credentials.response or not credentials.nonce:
                continue  # not what we offered, or sent before any challenge (RFC 8760 2.7)
            if self._guard.blocked(credentials.username, realm, address):
                raise SipError(403, "Too Many Authentication Failures")
            if not self._digest_right(credentials, algorithm, method, body):
                # each counts: headers of one request must not be a way to guess in bulk
                self._guard.failed(credentials.username, realm, address)
                continue
            if not uri_accepted(credentials.uri):
                misplaced = True
                continue
            if self._fresh(credentials, realm, scope):
                self._guard.succeeded(credentials.username, realm, address)
                return Authenticated(credentials.username, realm, algorithm, credentials)
            stale = True
        if misplaced:
            raise SipError(400, "Bad Request: digest of another URI")
        raise self.challenge(realm, stale)

    def authentication_info(self, done: Authenticated, body: bytes = b"") -> str:
        """Value of Authentication-Info for the 2xx (AUT-10, RFC 7616 section 3.5).

        :param body: entity body of the response.
        """
        used = done.credentials
        info = f'nextnonce="{self.nonce(done.realm)}"'
        secret = self._source.ha1(done.username, done.realm, done.algorithm)
        if not used.qop or secret is None:
            return info
        second = ha2("", used.uri, done.algorithm, body if used.qop == "auth-int" else None)
        proof = response_digest(
            secret, second, used.nonce, done.algorithm, used.nc, used.cnonce, used.qop
        )
        return (
            f'{info}, qop={used.qop}, rspauth="{proof}", cnonce={quote(used.cnonce)}, nc={used.nc}'
        )

    def _mac(self, head: str, realm: str) -> str:
        text = f"{head}:{realm}".encode("utf-8", "surrogateescape")
        return hmac.digest(self._key, text, "sha256").hex()[:32]

    def _algorithm(self, credentials: Credentials) -> str | None:
        """The algorithm used, None when it or the qop is not one that we offer."""
        try:
            name, session = split_algorithm(credentials.algorithm)
        except ParseError:
            return None
        if session or name not in self._nobody or credentials.userhash:
            return None
        if credentials.qop:
            return name if credentials.qop in self._qops else None
        return name if self._allow_no_qop and name == "MD5" else None

    def _digest_right(
        self, credentials: Credentials, algorithm: str, method: str, body: bytes
    ) -> bool:
        secret = self._source.ha1(credentials.username, credentials.realm, algorithm)
        expected = response_digest(
            self._nobody[algorithm] if secret is None else secret,
            ha2(
                method, credentials.uri, algorithm, body if credentials.qop == "auth-int" else None
            ),
            credentials.nonce,
            algorithm,
            credentials.nc,
            credentials.cnonce,
            credentials.qop,
        )
        given = credentials.response.encode("utf-8", "surrogateescape")
        return hmac.compare_digest(expected.encode(), given) and secret is not None

    def _fresh(self, credentials: Credentials, realm: str, scope: str) -> bool:
        """Whether the nonce is one of ours, not too old, and its count new."""
        nonce = credentials.nonce
        if len(nonce) != 60 or not nonce.isascii():
            return False
        head = nonce[:28]
        if not hmac.compare_digest(self._mac(head, realm), nonce[28:]):
            return False
        age = self._wall_clock() - int(head[:12], 16) / 1000
        if not -_SKEW <= age <= self._lifetime:
            return False
        if not credentials.qop:
            # without qop there is no count: good for one request (AUT-06)
            return self._nonces.use(nonce, 1, scope)
        return self._nonces.use(nonce, credentials.count, scope)
