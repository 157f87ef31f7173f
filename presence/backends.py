"""Building the document servers that requests go to: in this process, and elsewhere.

Part of the composition root, with :mod:`presence.xdm`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import attrs
from twisted.internet.defer import DeferredList

from pysip.transport.credentials import TlsSettings, load_credentials, load_trust_roots
from xcap.auth.identity import IdentityAsserter
from xcap.clienttls import VerifiedServer
from xcap.records import Head, Headers, HttpPeer
from xcap.routes import STANDARD_AUIDS, Group, RouteTable, Servers
from xcap.upstream import LocalBackEnd, RemoteBackEnd, UpstreamSettings, server_endpoint

if TYPE_CHECKING:
    from presence.xdm import Documents
    from presence.xdmtables import BackEnd
    from xcap.interfaces import IBackEnd, IIdentityAsserter
    from xcap.roots import Roots

LOCAL = "local"
"""The group of the document servers of this process."""
_DEFAULT_PORTS = {"http": 80, "https": 443}


@attrs.define(eq=False)
class BackEnds:
    """Document servers and what is routed to each.

    :ivar asserters: how each is told who asks, by its name (AGP-45); others are told both ways.
    :ivar remotes: those elsewhere.
    """

    routes: RouteTable
    asserters: dict[str, IIdentityAsserter]
    remotes: list[RemoteBackEnd]

    def start(self) -> None:
        """Begin to look after those elsewhere."""
        for remote in self.remotes:
            remote.start()

    async def stop(self) -> None:
        """Leave them alone."""
        await DeferredList([remote.stop() for remote in self.remotes])


def back_ends(
    reactor: Any,
    documents: Documents | None,
    tables: Iterable[BackEnd],
    roots: Roots,
    settings: UpstreamSettings,
    beside: Mapping[str, str] | None = None,
) -> BackEnds:
    """The document servers of this process, and those that the configuration names.

    :param roots: the XCAP roots.
    :param beside: usages that every server computes for itself, and the usage whose server is
        to be asked for each; a proxy asks all of them.
    :raises CredentialsError: a certificate for a server elsewhere cannot be used.
    """

    def routed(auids: frozenset[str]) -> frozenset[str]:
        computed = beside or {}
        return auids - computed.keys() | {a for a, other in computed.items() if other in auids}

    groups = []
    remotes: list[RemoteBackEnd] = []
    asserters: dict[str, IIdentityAsserter] = {}
    if documents is not None:
        local = LocalBackEnd(LOCAL, documents.server, documents.usages)
        groups.append(Group(LOCAL, (local,), routed(frozenset(documents.usages))))
    authority = next(iter(roots)).authority
    for table in tables:
        servers = _remotes(table, reactor, authority, settings)
        remotes += servers
        parts: tuple[IBackEnd, ...] = tuple(servers)
        if table.partition == "none":
            parts = (Servers(table.name, servers),)
        groups.append(Group(table.name, parts, routed(_usages_of(table))))
        asserter = IdentityAsserter(table.identity_header)
        asserters.update({part.name: asserter for part in (*parts, *servers)})
    return BackEnds(RouteTable(groups), asserters, remotes)


def _usages_of(table: BackEnd) -> frozenset[str]:
    """The application usages that the configuration routes to document servers elsewhere."""
    return frozenset(table.auids) or STANDARD_AUIDS.get(table.name, frozenset())


def _remotes(
    table: BackEnd, reactor: Any, authority: str, settings: UpstreamSettings
) -> list[RemoteBackEnd]:
    """The servers of a back-end elsewhere."""
    found = []
    for server in table.servers:
        parts = urlsplit(server)
        host, port = parts.hostname or "", parts.port or _DEFAULT_PORTS[parts.scheme]
        tls = None
        if parts.scheme == "https":
            own = load_credentials(table.certificate, table.key) if table.key else None
            trusted = load_trust_roots([table.ca]) if table.ca else None
            tls = VerifiedServer(host, TlsSettings(credentials=own, trust_roots=trusted))
        name = table.name if len(table.servers) == 1 else f"{table.name}-{parts.netloc}"
        found.append(
            RemoteBackEnd(
                reactor,
                name,
                server_endpoint(reactor, host, port, tls=tls, timeout=settings.connect),
                auids=table.auids,
                probe=Head("OPTIONS", "*", authority, Headers([("Host", authority)]), HttpPeer("")),
                settings=settings,
            )
        )
    return found
