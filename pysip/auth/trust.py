"""Who is trusted, and who sent a request (sip-core.md sections 8 and 9)."""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from zope.interface import implementer

from pysip.auth.privacy import (
    asserted_identities,
    check_critical,
    hides_identity,
    is_anonymous,
    privacy,
    strip_private,
)
from pysip.errors import ParseError, SipError
from pysip.interfaces import Identity, IIdentityPolicy
from pysip.uri import equivalent, parse_uri

if TYPE_CHECKING:
    from pysip.auth.domains import Domains
    from pysip.auth.server import Authenticated, DigestAuthenticator
    from pysip.interfaces import ICredentialSource, IFlow, ITransport
    from pysip.message import Request

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

MODES = ("trust", "digest", "both", "none")
"""How the senders at a listening point prove who they are (AUT-01)."""

_NOBODY = Identity(())
_ANONYMOUS = Identity((), anonymous=True, source="asserted")
_GUEST = "anonymous"
"""The user that proves nothing about who it is (RFC 3261 section 22.1, RFC 5025 3.1.1.1)."""
_CACHED = 10_000
_COUNTED = 200
"""Trusted peers that are counted each by itself."""


class TrustPolicy:
    """The trust domain: networks, with or without a port, and TLS names (IMS-01).

    A peer with a verified certificate is judged by its names alone when names are
    configured (TRN-23); all others by their address.

    :param peers: (network, port or None for any port).
    :param names: identities in verified certificates.
    """

    def __init__(
        self, peers: Iterable[tuple[Network, int | None]] = (), names: Iterable[str] = ()
    ) -> None:
        self._names = frozenset(name.lower() for name in names)
        self._networks: list[Network] = []
        self._hosts: set[str] = set()
        self._endpoints: list[tuple[Network, int]] = []
        for network, port in peers:
            if port is not None:
                self._endpoints.append((network, port))
            elif network.num_addresses == 1:
                self._hosts.add(str(network.network_address))
            else:
                self._networks.append(network)
        # what was found for addresses that are in no set
        self._cache: dict[tuple[str, int], bool] = {}

    def trusted(self, flow: IFlow) -> bool:
        """Whether the peer of ``flow`` belongs to the trust domain."""
        names = flow.names
        if names and self._names:
            return not names.isdisjoint(self._names)
        remote = flow.remote
        if remote[0] in self._hosts:
            return True
        if not self._networks and not self._endpoints and not self._hosts:
            return False
        found = self._cache.get(remote)
        if found is None:
            if len(self._cache) >= _CACHED:
                self._cache.clear()
            found = self._cache[remote] = self._match(*remote)
        return found

    def _match(self, host: str, port: int) -> bool:
        try:
            address = ipaddress.ip_address(host.partition("%")[0])
        except ValueError:
            return False
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        return (
            str(address) in self._hosts
            or any(address in network for network in self._networks)
            or any(port == own and address in network for network, own in self._endpoints)
        )


@implementer(IIdentityPolicy)
class IdentityPolicy:
    """Identifies the sender of every request, by the mode of the listening point (AUT-01).

    ``trust``: the asserted identity of trusted peers, others are refused; ``digest``: Digest
    for everybody; ``both``: asserted from trusted peers, Digest for the rest; ``none``: the
    From is believed, for laboratories.

    :param trust: the trust domain.
    :param domains: served domains; they are the Digest realms.
    :param mode: for listening points without a mode of their own, see
        :meth:`set_mode`.
    :param authenticator: Digest, needed for ``digest`` and ``both``.
    :param accounts: the identities of the Digest users.
    :param authentication_info: prove in 2xx that we know the password too, and give the
        next nonce (AUT-10).
    :param md5_agents: prefixes of User-Agent values of clients that give up when any
        challenge is for an algorithm they do not know; they are challenged with MD5 only,
        where that is offered (CLI-02).

    :ivar peers: requests of trusted peers by their address (OBS-01).
    """

    def __init__(
        self,
        trust: TrustPolicy,
        domains: Domains,
        *,
        mode: str = "digest",
        authenticator: DigestAuthenticator | None = None,
        accounts: ICredentialSource | None = None,
        authentication_info: bool = False,
        md5_agents: Sequence[str] = (),
    ) -> None:
        self._trust = trust
        self._domains = domains
        self._authenticator = authenticator
        self._accounts = accounts
        self._authentication_info = authentication_info
        self._md5_agents = tuple(agent.lower() for agent in md5_agents)
        self.peers: Counter[str] = Counter()
        self._modes: dict[tuple[str, str], str] = {}
        self._mode = self._checked(mode)

    def set_mode(self, transport: ITransport, mode: str) -> None:
        """Set the mode of one listening point, once it listens and its port is known."""
        self._checked(mode)
        sent_by = transport.sent_by
        self._modes[transport.protocol, sent_by] = mode
        if transport.local[0] in ("0.0.0.0", "::"):  # noqa: S104
            # a wildcard has a sent-by for each local address; only family and port stay
            self._modes[transport.protocol, _wildcard(sent_by)] = mode

    def _checked(self, mode: str) -> str:
        if mode not in MODES:
            raise ValueError(f"the mode is one of {', '.join(MODES)}")
        if mode in ("digest", "both") and (self._authenticator is None or self._accounts is None):
            raise ValueError(f"the mode {mode} needs accounts")
        return mode

    def _mode_of(self, flow: IFlow) -> str:
        modes = self._modes
        if not modes:
            return self._mode
        sent_by = flow.sent_by
        mode = modes.get((flow.protocol, sent_by))
        if mode is None:
            mode = modes.get((flow.protocol, _wildcard(sent_by)), self._mode)
        return mode

    def trusted(self, flow: IFlow) -> bool:
        """Whether the peer is of the trust domain, and its listening point heeds that."""
        return self._mode_of(flow) in ("trust", "both") and self._trust.trusted(flow)

    def identify(self, request: Request, flow: IFlow) -> Identity:
        """The proven identity of the sender; untrusted private headers are removed (IMS-01).

        :raises SipError: 401 with challenges, 403, or 400 for bad syntax.
        """
        mode = self._mode_of(flow)
        trusted = mode in ("trust", "both") and self._trust.trusted(flow)
        if not trusted:
            strip_private(request)
        if request.method in ("ACK", "CANCEL"):
            return _NOBODY  # never challenged (AUT-17), and they assert nothing (IMS-02)
        try:
            if mode == "none":
                return self._stated(request)
            if trusted:
                peers, host = self.peers, flow.remote[0]
                peers[host if host in peers or len(peers) < _COUNTED else "other"] += 1
                identity = self._asserted(request)
                if identity is not None:
                    return identity
                if request.method == "NOTIFY":
                    return _NOBODY  # the dialog it belongs to proves enough (AUT-14)
            if mode == "trust":
                raise SipError(403, "Forbidden: Sender Not Identified")
            return self._authenticated(request, flow)
        except ParseError as error:
            raise SipError(400, f"Bad Request: {error}") from error

    def _asserted(self, request: Request) -> Identity | None:
        """What a trusted peer says (IMS-02, IMS-03, IMS-04); None when it says nothing."""
        hidden = hides_identity(privacy(request))
        if "p-asserted-identity" in request.headers:
            sip, tel = asserted_identities(request.values("p-asserted-identity"))
            canonical = self._domains.canonical
            uris = tuple(canonical(address.uri) for address in (sip, tel) if address is not None)
            if sip is not None and is_anonymous(sip.uri):
                return _ANONYMOUS
            if uris:
                first = sip or tel
                display = first.display if first is not None else ""
                return Identity(uris, display, hidden, "asserted")
        if hidden or is_anonymous(request.from_.uri):
            return _ANONYMOUS
        return None

    def _stated(self, request: Request) -> Identity:
        """What the sender says of itself (AUT-01 ``none``)."""
        sender = request.from_
        if is_anonymous(sender.uri):
            return Identity((), anonymous=True)
        uri = self._principal(sender.uri)
        hidden = hides_identity(privacy(request))
        return Identity((uri,) if uri else (), sender.display, hidden, "none")

    def _authenticated(self, request: Request, flow: IFlow) -> Identity:
        """What Digest proves (AUT-11)."""
        authenticator, accounts = self._authenticator, self._accounts
        if authenticator is None or accounts is None:
            raise SipError(403)
        headers = request.headers
        realm = self._domains.realm_for(request)
        try:
            done = authenticator.verify(
                [
                    (name, value)
                    for name in ("authorization", "proxy-authorization")
                    for value in headers.get(name, ())
                ],
                realm,
                request.method,
                lambda uri: _uri_accepted(uri, request),
                request.body,
                flow.remote[0],
            )
        except SipError as error:
            raise self._for_agent(request, error) from None
        identities = accounts.identities(done.username, realm)
        wanted = privacy(request)
        check_critical(wanted)
        hidden = hides_identity(wanted)
        if done.username.partition("@")[0] == _GUEST:
            return Identity((), "", True, "digest", self._info(authenticator, done))
        sender = request.from_
        display = sender.display
        if is_anonymous(sender.uri):
            hidden, display, principal = True, "", identities[0] if identities else ""
        else:
            principal = self._principal(sender.uri)
        if principal not in identities:
            raise SipError(403, "Forbidden: From Is Not an Identity of the User")
        if "p-preferred-identity" in headers:
            principal, display = self._preferred(request, identities)
        if len(identities) > 1:
            identities = (principal, *(uri for uri in identities if uri != principal))
        return Identity(identities, display, hidden, "digest", self._info(authenticator, done))

    def _info(self, authenticator: DigestAuthenticator, done: Authenticated) -> str:
        """Authentication-Info for the answer, "" without."""
        return authenticator.authentication_info(done) if self._authentication_info else ""

    def _for_agent(self, request: Request, error: SipError) -> SipError:
        """The challenge as this client can take it.

        Nothing is weakened: whoever is offered MD5 at all may choose it.
        """
        agent = request.first("user-agent")
        if error.status != 401 or not agent or not agent.lower().startswith(self._md5_agents):
            return error
        known = [header for header in error.headers if "algorithm=MD5," in header[1]]
        return SipError(401, error.reason, known) if known else error

    def _principal(self, uri: str) -> str:
        """The canonical URI; "" for one of a scheme that names no user (TOR-35)."""
        try:
            return self._domains.canonical(uri)
        except ParseError:
            return ""

    def _preferred(self, request: Request, identities: tuple[str, ...]) -> tuple[str, str]:
        """The identity that P-Preferred-Identity chooses, and its display name (IMS-10)."""
        sip, tel = asserted_identities(request.values("p-preferred-identity"))
        address = sip or tel
        if address is None:
            raise ParseError("Bad P-Preferred-Identity")
        principal = self._domains.canonical(address.uri)
        if principal not in identities:
            raise SipError(403, "Forbidden: Preferred Identity Is Not of the User")
        return principal, address.display


def _wildcard(sent_by: str) -> str:
    """``*:port`` or ``[*]:port``: what all sent-by values of a wildcard socket share."""
    host, _, port = sent_by.rpartition(":")
    return f"[*]:{port}" if host.startswith("[") else f"*:{port}"


def _uri_accepted(text: str, request: Request) -> bool:
    """Whether a digest-uri fits the request: its Request-URI or, outside a dialog, its To.

    Proxies rewrite the Request-URI, so a digest of the To is one of the same resource
    (AUT-05, RFC 8760 section 2.6 item 6).
    """
    if text == request.uri:
        return True
    try:
        uri = parse_uri(text)
        if equivalent(uri, request.target):
            return True
        return not request.to.tag and equivalent(uri, parse_uri(request.to.uri))
    except ParseError:
        return False
