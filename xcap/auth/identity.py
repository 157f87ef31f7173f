"""Identities between client, Aggregation Proxy and document servers (AGP-40 to AGP-49)."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Literal
from urllib.parse import unquote

from twisted.logger import Logger
from zope.interface import implementer

from pysip.header import quote
from pysip.uri import canonical_aor
from xcap.errors import XcapError
from xcap.interfaces import IIdentityAsserter
from xcap.records import HttpPeer, Requester

if TYPE_CHECKING:
    from xcap.records import Head, Headers

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Style = Literal["both", "3gpp", "oma"]

INTENDED = "x-3gpp-intended-identity"
ASSERTED_3GPP = "x-3gpp-asserted-identity"
ASSERTED_XCAP = "x-xcap-asserted-identity"

IN_PROCESS = HttpPeer("in process")
"""The proxy, to a document server of the same process; no socket has such an address."""

_CACHED = 10_000
_CACHED_LENGTH = 256
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')
_QUOTED_PAIR = re.compile(r"\\(.)")
_BARE = re.compile(r'[^",<>\s]+')
_BRACKETED = re.compile(r"<([^<>\"\s]*)>")
_COMMA = re.compile(r"[ \t]*,[ \t]*")
_BLANKS = " \t"


def parse_identities(value: str) -> list[str]:
    """Read a comma list of identities: quoted, in ``<>`` or bare, not yet canonical.

    A comma within quotes or brackets belongs to its URI (AGP-44); one within a bare URI ends it.

    :raises ValueError: something else is in the list.
    """
    found: list[str] = []
    value = value.strip(_BLANKS)
    position = 0
    while True:
        for pattern in (_QUOTED, _BRACKETED, _BARE):
            match = pattern.match(value, position)
            if match is not None:
                break
        else:
            raise ValueError("not an identity")
        text = match[match.lastindex or 0]
        if match.re is _QUOTED:
            text = _QUOTED_PAIR.sub(r"\1", text).strip(_BLANKS)
            bracketed = _BRACKETED.fullmatch(text)
            text = bracketed[1] if bracketed else text
        found.append(text)
        if match.end() == len(value):
            return found
        comma = _COMMA.match(value, match.end())
        if comma is None:
            raise ValueError("text after an identity")
        position = comma.end()


def canonical_identity(text: str, canonical: Callable[[str], str] = canonical_aor) -> str:
    """The canonical form of an identity in a header field, percent-encoded or not (AGP-41).

    :raises ValueError: it is no sip: or tel: URI.
    """
    try:
        return canonical(text)
    except ValueError:
        decoded = unquote(text, errors="strict")
        if decoded == text:
            raise
        return canonical(decoded)


def intended_identity(
    headers: Headers, canonical: Callable[[str], str] = canonical_aor
) -> str | None:
    """The identity a client wants to act under, canonical; None without the header (AGP-41).

    :raises XcapError: 400 more than one, or not a URI.
    """
    values = headers.all(INTENDED)
    if not values:
        return None
    try:
        if len(values) > 1:
            raise ValueError("several fields")
        (text,) = parse_identities(values[0])
        return canonical_identity(text, canonical)
    except ValueError:  # of a URI, of UTF-8, or of the number of values
        raise XcapError(400, "Bad X-3GPP-Intended-Identity") from None


@implementer(IIdentityAsserter)
class IdentityAsserter:
    """Writes and reads the header fields that carry an identity between servers.

    One with ``networks`` accepts assertions from peers in them (AGP-49), and from the proxy of
    the same process.  A peer with a verified certificate that asserts nobody stands for itself.

    :param style: what to write (AGP-45): ``3gpp`` X-3GPP-Asserted-Identity, ``oma``
        X-XCAP-Asserted-Identity, or ``both``.
    :param networks: where the proxies are.
    :param names: identities of their certificates, when those are needed too.
    :param strict: answer assertions of others with 403 instead of ignoring them.
    :param canonical: brings a URI into the one form that names a user; the same one each time.

    :ivar conflicts: requests whose two headers did not agree.
    """

    _log = Logger()

    def __init__(
        self,
        style: Style = "both",
        *,
        networks: Iterable[Network] = (),
        names: Iterable[str] = (),
        strict: bool = True,
        canonical: Callable[[str], str] = canonical_aor,
    ) -> None:
        self._style = style
        self._networks = tuple(networks)
        self._names = frozenset(name.lower() for name in names)
        self._strict = strict
        self._canonical = canonical
        self._cache: dict[str, bool] = {}
        self._known: dict[str, tuple[str, ...]] = {}
        self.conflicts = 0

    def assertion(self, identities: tuple[str, ...]) -> list[tuple[str, str]]:
        """Header fields for a forwarded request, the identity meant first (AGP-43, AGP-44)."""
        fields = []
        if self._style in ("both", "3gpp"):
            fields.append(("X-3GPP-Asserted-Identity", ", ".join(map(quote, identities))))
        if self._style in ("both", "oma"):
            fields.append(("X-XCAP-Asserted-Identity", quote(identities[0])))
        return fields

    def accept(self, head: Head) -> Requester:
        """Who a request is from; see :class:`xcap.interfaces.IIdentityAsserter`."""
        peer = head.peer
        asserted = ASSERTED_3GPP in head.headers or ASSERTED_XCAP in head.headers
        if not self._trusted(peer):
            if peer.names and not asserted:
                return Requester((), peer.names)
            if self._strict:
                raise XcapError(403, "Requests must come through the Aggregation Proxy")
            raise _nobody()
        if not asserted:
            if peer.names:
                return Requester((), peer.names)
            raise _nobody()
        # The peer's own names stay out: what it may do by itself its users may not.
        return Requester(self._asserted(head.headers))

    def _asserted(self, headers: Headers) -> tuple[str, ...]:
        listed = self._read(headers, ASSERTED_3GPP)
        single = self._read(headers, ASSERTED_XCAP)
        if len(single) > 1:
            raise XcapError(400, "More than one asserted identity")
        if listed and single and listed[0] != single[0]:
            self.conflicts += 1
            self._log.warn(
                "a proxy asserts two different identities of one requester",
                problem="asserted-identity",
            )
            raise XcapError(403, "Asserted identities differ")
        return listed or single

    def _read(self, headers: Headers, name: str) -> tuple[str, ...]:
        value = headers.get(name)
        if value is None:
            return ()
        known = self._known.get(value)
        if known is not None:
            return known
        try:
            found = [canonical_identity(text, self._canonical) for text in parse_identities(value)]
        except ValueError:
            raise XcapError(400, "Bad asserted identity") from None
        identities = tuple(dict.fromkeys(found))
        if len(value) <= _CACHED_LENGTH:
            if len(self._known) >= _CACHED:
                self._known.clear()
            self._known[value] = identities
        return identities

    def _trusted(self, peer: HttpPeer) -> bool:
        if peer.address == IN_PROCESS.address:
            return True
        if self._names and self._names.isdisjoint(name.lower() for name in peer.names):
            return False
        trusted = self._cache.get(peer.address)
        if trusted is None:
            if len(self._cache) >= _CACHED:
                self._cache.clear()
            trusted = self._cache[peer.address] = self._inside(peer.address)
        return trusted

    def _inside(self, text: str) -> bool:
        try:
            address = ipaddress.ip_address(text.partition("%")[0])
        except ValueError:
            return False
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        return any(address in network for network in self._networks)


def _nobody() -> XcapError:
    # RFC 9110 wants a challenge with each 401; this one names what is missing
    return XcapError(
        401, "No asserted identity", (("WWW-Authenticate", "X-XCAP-Asserted-Identity"),)
    )
