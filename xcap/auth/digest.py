"""HTTP Digest at the Aggregation Proxy (AGP-20 to AGP-39, CLI-18, CLI-21)."""

from __future__ import annotations

import hashlib
import hmac
import math
import os
import re
import time
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING

import attrs
from zope.interface import implementer

from pysip.auth.digest import (
    ALGORITHMS,
    Credentials,
    credentials_of,
    digest_params,
    ha2,
    hash_hex,
    response_digest,
    session_ha1,
    split_algorithm,
)
from pysip.auth.server import NonceWindows
from pysip.errors import ParseError
from pysip.header import quote
from xcap.auth.audit import AuditEvent, log_audit
from xcap.auth.lockout import LockOut
from xcap.auth.nonces import Nonces
from xcap.errors import XcapError
from xcap.interfaces import IAuthenticated, IAuthenticator

if TYPE_CHECKING:
    from pysip.interfaces import ICredentialSource, INonceStore
    from xcap.records import Head, HttpResponse

WINDOW = 128
"""Nonce counts that may overtake each other (AGP-30)."""
NONCES = 200_000
"""Nonces whose counts are remembered by default."""
_SKEW = 60.0
"""Seconds that the clock may be set back without a nonce being forgotten too early."""
_SCOPE = "http"
_LENGTHS = {"MD5": 32, "SHA-256": 64, "SHA-512-256": 64}
_ESCAPE = re.compile(r"%[0-9A-Fa-f]{2}")

Usernames = Callable[[str, str, str], str | None]
"""Finds the user name with ``H(username:realm)``: (hash, realm, algorithm) to name or None."""


@attrs.frozen(slots=True)
class DigestSettings:
    """What a digest authenticator offers and takes.

    :ivar algorithms: offered, best first (AGP-20).
    :ivar qop: offered (AGP-23).
    :ivar sessions: take the ``-sess`` variants too (AGP-32).
    :ivar without_qop: take MD5 responses without qop, once per nonce (AGP-35).
    """

    algorithms: tuple[str, ...] = ("SHA-256", "MD5")
    qop: tuple[str, ...] = ("auth", "auth-int")
    sessions: bool = False
    without_qop: bool = False

    def __attrs_post_init__(self) -> None:
        if not self.algorithms or not set(self.algorithms) <= set(ALGORITHMS):
            raise ValueError(f"digest algorithms are {', '.join(ALGORITHMS)}")
        if not self.qop or not set(self.qop) <= {"auth", "auth-int"}:
            raise ValueError("qualities of protection are auth and auth-int")


@implementer(IAuthenticated)
@attrs.frozen(slots=True)
class DigestAuthenticated:
    """A verified request.

    :ivar username: of the account.
    :ivar identities: public identities of the account, the default one first.
    """

    username: str
    identities: tuple[str, ...]
    _credentials: Credentials
    _algorithm: str
    _secret: str = attrs.field(repr=False)
    _next: Callable[[], str | None]

    def answer_headers(self, response: HttpResponse) -> list[tuple[str, str]]:
        """Authentication-Info (AGP-38).

        :param response: its body is what will be sent, content coding included.
        """
        used = self._credentials
        parts = []
        if used.qop:
            body = response.body if used.qop == "auth-int" else None
            proof = response_digest(
                self._secret,
                ha2("", used.uri, self._algorithm, body),
                used.nonce,
                self._algorithm,
                used.nc,
                used.cnonce,
                used.qop,
            )
            parts = [
                f"qop={used.qop}",
                f'rspauth="{proof}"',
                f"cnonce={_wire(quote(used.cnonce))}",
                f"nc={used.nc}",
            ]
        following = self._next()
        if following is not None:
            parts.append(f'nextnonce="{following}"')
        return [("Authentication-Info", ", ".join(parts))] if parts else []


@implementer(IAuthenticator)
class HttpDigestAuthenticator:
    """Challenges and verifies (RFC 7616).

    :param source: the accounts.
    :param realm_of: the realm of the root that a request is for (AGP-24).
    :param nonces: makes and verifies nonces.
    :param windows: counts their use.
    :param lock_out: against the guessing of passwords.
    :param usernames: finds hashed user names; their use is offered when given (AGP-36).
    :param audit: told of wrong responses and locks.

    :ivar outcomes: how often what happened: ``ok wrong unknown stale replay malformed locked
        none`` (AGP-85); ``none`` stands for requests without credentials that we offered.
    :ivar windows: its length is the number of nonces remembered.
    """

    def __init__(
        self,
        source: ICredentialSource,
        realm_of: Callable[[Head], str],
        nonces: Nonces,
        *,
        settings: DigestSettings | None = None,
        windows: NonceWindows | None = None,
        lock_out: LockOut | None = None,
        usernames: Usernames | None = None,
        audit: Callable[[AuditEvent], None] = log_audit,
    ) -> None:
        self._source = source
        self._realm_of = realm_of
        self._nonces = nonces
        self._settings = DigestSettings() if settings is None else settings
        self.windows = nonce_windows(nonces.lifetime) if windows is None else windows
        self._counts: INonceStore = self.windows
        self._lock_out = LockOut() if lock_out is None else lock_out
        self._usernames = usernames
        self._audit = audit
        self._qop = ",".join(self._settings.qop)
        # an account nobody has: unknown users are compared with it (AGP-27)
        secret = os.urandom(16).hex()
        self._nobody = {name: hash_hex(name, secret) for name in self._settings.algorithms}
        self.outcomes: Counter[str] = Counter()

    # -- challenges ---------------------------------------------------------------------

    def challenges(self, realm: str, stale: bool = False) -> list[str]:
        """WWW-Authenticate values with one fresh nonce, one per algorithm (AGP-20 to AGP-22)."""
        head = (
            f'Digest realm={_wire(quote(realm))}, nonce="{self._nonces.make(realm)}",'
            f' opaque="{_opaque(realm)}"'
        )
        tail = f'qop="{self._qop}", charset=UTF-8'
        if self._usernames is not None:
            tail += ", userhash=true"
        if stale:
            tail += ", stale=true"
        return [f"{head}, algorithm={name}, {tail}" for name in self._settings.algorithms]

    def _refusal(self, realm: str, outcome: str) -> XcapError:
        self.outcomes[outcome] += 1
        challenges = self.challenges(realm, outcome in ("stale", "replay"))
        return XcapError(
            401,
            "Authentication is needed",
            tuple(("WWW-Authenticate", value) for value in challenges),
        )

    # -- verification -------------------------------------------------------------------

    def authenticate(self, head: Head, body: bytes | None) -> DigestAuthenticated | None:
        """Verify the credentials of a request; see :class:`xcap.interfaces.IAuthenticator`."""
        realm = self._realm_of(head)
        used = self._credentials(head, realm)
        algorithm, session = self._method(used, realm)
        if not _same_target(used.uri, head):
            raise self._malformed("Digest of another request target")
        if used.opaque is not None and used.opaque != _opaque(realm):
            raise self._refusal(realm, "none")
        # one name for all spellings, so that they are counted together
        name = self._username(used, realm, algorithm)
        username = used.username if name is None else name
        address = head.peer.address
        wait = self._lock_out.wait(username, realm, address)
        if wait:
            self.outcomes["locked"] += 1
            raise XcapError(
                429,
                "Too many wrong responses, try again later",
                (("Retry-After", str(math.ceil(wait))),),
            )
        if used.qop == "auth-int" and body is None:
            return None
        known = None if name is None else self._source.ha1(name, realm, algorithm)
        secret = self._nobody[algorithm] if known is None else known
        if session:
            secret = session_ha1(secret, used.nonce, used.cnonce, algorithm)
        if not _right(used, secret, algorithm, head.method, body) or known is None:
            self._failed(username, realm, address, known is not None)
            raise self._refusal(realm, "unknown" if known is None else "wrong")
        self._lock_out.succeeded(username, realm, address)
        age = self._use(used, realm)
        self.outcomes["ok"] += 1

        def following() -> str | None:
            # a nonce without counts is spent; others are replaced when they are near their end
            if used.qop and age <= 0.8 * self._nonces.lifetime:
                return None
            return self._nonces.make(realm)

        return DigestAuthenticated(
            username, self._source.identities(username, realm), used, algorithm, secret, following
        )

    def _malformed(self, text: str) -> XcapError:
        self.outcomes["malformed"] += 1
        return XcapError(400, text)

    def _credentials(self, head: Head, realm: str) -> Credentials:
        """The Digest credentials of a request (AGP-29).

        :raises XcapError: 401 there are none for this realm, 400 they are malformed.
        """
        values = head.headers.all("authorization")
        if len(values) > 1:
            raise self._malformed("More than one Authorization")
        try:
            params = digest_params(_text(values[0])) if values else None
            if params is None:
                raise self._refusal(realm, "none")
            used = credentials_of(params)
        except ParseError as error:
            raise self._malformed(f"Bad credentials: {error}") from None
        if used.realm != realm:
            raise self._refusal(realm, "none")
        return used

    def _method(self, used: Credentials, realm: str) -> tuple[str, bool]:
        """The algorithm used, and whether it is a ``-sess`` variant (AGP-32).

        :raises XcapError: 401 for what we did not offer, 400 for what makes no sense with it.
        """
        if used.qop and used.qop not in self._settings.qop:
            raise self._malformed("Quality of protection was not offered")
        try:
            algorithm, session = split_algorithm(used.algorithm)
        except ParseError:
            raise self._refusal(realm, "none") from None
        if algorithm not in self._nobody or (session and not self._settings.sessions):
            raise self._refusal(realm, "none")
        if len(used.response) != _LENGTHS[algorithm]:
            raise self._malformed("Response of wrong length")
        if not used.qop and (session or algorithm != "MD5" or not self._settings.without_qop):
            raise self._refusal(realm, "none")
        return algorithm, session

    def _username(self, used: Credentials, realm: str, algorithm: str) -> str | None:
        """The name of the account; None for a hash of no account (AGP-36)."""
        if not used.userhash:
            return used.username
        if self._usernames is None:
            return None
        return self._usernames(used.username.lower(), realm, algorithm)

    def _failed(self, username: str, realm: str, address: str, known: bool) -> None:
        self._audit(AuditEvent("wrong" if known else "unknown", username, address))
        scope = self._lock_out.failed(username, realm, address)
        if scope:
            where = "from one address" if scope == "address" else "from anywhere"
            self._audit(
                AuditEvent("locked", username, address, f"wrong responses of one user {where}")
            )

    def _use(self, used: Credentials, realm: str) -> float:
        """Check that the nonce is one of ours, not too old, and its count new.

        :returns: its age in seconds.
        :raises XcapError: 401 with ``stale=true``, since the response was right.
        """
        read = self._nonces.read(used.nonce, realm)
        if read is None:
            raise self._refusal(realm, "stale")
        key, age = read
        if not -_SKEW <= age <= self._nonces.lifetime:
            raise self._refusal(realm, "stale")
        # without qop there is no count: good for one request
        if not self._counts.use(key, used.count if used.qop else 1, _SCOPE):
            raise self._refusal(realm, "replay")
        return age


def nonce_windows(
    lifetime: float = 300.0,
    limit: int = NONCES,
    clock: Callable[[], float] = time.monotonic,
) -> NonceWindows:
    """Counts of nonces for :class:`HttpDigestAuthenticator` (AGP-30).

    :param lifetime: seconds a nonce lives.
    :param limit: nonces remembered.
    """
    # it keeps two generations
    return NonceWindows(lifetime + _SKEW, max(1, limit // 2), clock, WINDOW)


def _text(value: str) -> str:
    """A header value as UTF-8, which user names are hashed in; it comes as octets (Latin-1)."""
    return value if value.isascii() else value.encode("latin-1").decode("utf-8", "surrogateescape")


def _wire(text: str) -> str:
    """The opposite of :func:`_text`."""
    return text if text.isascii() else text.encode("utf-8", "surrogateescape").decode("latin-1")


def _opaque(realm: str) -> str:
    """The same at all times and nodes, so that none of them rejects that of another."""
    text = f"opaque:{realm}".encode("utf-8", "surrogateescape")
    return hashlib.sha256(text).hexdigest()[:16]


def _right(used: Credentials, secret: str, algorithm: str, method: str, body: bytes | None) -> bool:
    expected = response_digest(
        secret,
        # the URI as it was sent, not as it was compared (AGP-31)
        ha2(method, used.uri, algorithm, body if used.qop == "auth-int" else None),
        used.nonce,
        algorithm,
        used.nc,
        used.cnonce,
        used.qop,
    )
    given = used.response.encode("utf-8", "surrogateescape")
    return hmac.compare_digest(expected.encode("ascii"), given)


def _same_target(uri: str, head: Head) -> bool:
    """Whether a digest-uri stands for the request (AGP-31)."""
    target = head.target
    if uri == target:
        return True
    if uri[:7].lower() == "http://" or uri[:8].lower() == "https://":
        authority, slash, rest = uri.partition("://")[2].partition("/")
        if authority.lower() != head.authority.lower():
            return False
        uri = slash + rest or "/"
    return _ESCAPE.sub(_upper, uri) == _ESCAPE.sub(_upper, target)


def _upper(match: re.Match[str]) -> str:
    return match[0].upper()
