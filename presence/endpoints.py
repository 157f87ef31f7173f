"""Building where a process listens: transports of SIP, HTTP servers, and their certificates.

Part of the composition root, with :mod:`presence.build`.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from presence.certificate import GeneratedCertificate, ensure_certificate
from presence.xdmtables import HttpListen
from pysip.parse import Limits
from pysip.transport.credentials import TlsSettings, load_credentials, load_trust_roots
from pysip.transport.stream import StreamSettings
from pysip.transport.tcp import TcpTransport
from pysip.transport.tls import TlsTransport
from pysip.transport.udp import UdpTransport

if TYPE_CHECKING:
    from collections.abc import Iterable

    from presence.build import Node
    from presence.config import Config, Listen
    from presence.contentserver import Content
    from presence.xdm import Documents, Proxy
    from pysip.interfaces import ITransport
    from xcap.http.site import HttpSite


def all_points(config: Config) -> list[Listen | HttpListen]:
    """All places where this process listens."""
    return [*config.listen, *(point for _, point in config.http_points())]


def tls_settings(
    config: Config, points: Iterable[Listen | HttpListen]
) -> tuple[dict[Listen | HttpListen, TlsSettings], GeneratedCertificate | None]:
    """Certificates of the TLS listening points; a self-signed one where none is named.

    :param points: listening points of any kind.
    :returns: settings by listening point, and the self-signed certificate if it is used.
    :raises CredentialsError: a file cannot be used, or OSError.
    """
    found: dict[Listen | HttpListen, TlsSettings] = {}
    generated = None
    for listen in points:
        secure = listen.tls if isinstance(listen, HttpListen) else listen.transport == "tls"
        if not secure:
            continue
        files = config.certificate_files(listen)
        if files is None:
            if generated is None:
                names = {*config.domains, *config.domain_aliases, socket.gethostname()}
                names |= {urlsplit(root).hostname or "" for root in config.xcap_roots()}
                if "content-server" in config.roles:
                    names |= {urlsplit(uri).hostname or "" for uri in config.content_uris()}
                generated = ensure_certificate(config.state_path, sorted(names))
            files = (generated.certificate, generated.key)
        client_ca = listen.client_ca or config.tls.client_ca
        anchors = [file for file in (config.tls.ca, client_ca) if file]
        client = "none"
        if client_ca:
            client = "require" if listen.require_client_certificate else "request"
        found[listen] = TlsSettings(
            credentials=load_credentials(str(files[0]), str(files[1])),
            trust_roots=load_trust_roots(anchors) if anchors else None,
            client_certificates=client,  # type: ignore[arg-type]
            minimum_version=config.tls.minimum_version,
        )
    return found, generated


def make_transport(
    config: Config, listen: Listen, reactor: Any, tls: dict[Listen | HttpListen, TlsSettings]
) -> ITransport:
    """The transport of a listening point, not started.

    :param tls: as of :func:`tls_settings`.
    """
    limits = config.limits
    options = config.transport
    common: dict[str, Any] = {
        "advertise": listen.advertise,
        "dscp": options.dscp,
        "limits": Limits(
            head=limits.head_size,
            line=limits.line_size,
            fields=limits.header_fields,
            body=limits.body_size,
            vias=limits.vias,
        ),
    }
    where = (reactor, listen.address, listen.bind_port)
    if listen.transport == "udp":
        return UdpTransport(*where, buffer=options.socket_buffer, **common)
    common["settings"] = StreamSettings(
        message_timeout=options.message_timeout,
        idle_timeout=options.idle_timeout,
        connect_timeout=options.connect_timeout,
        handshake_timeout=options.handshake_timeout,
        queue_messages=options.queue_messages,
        queue_octets=options.queue_size,
        max_connections=limits.connections,
    )
    if listen.transport == "tcp":
        return TcpTransport(*where, **common)
    return TlsTransport(*where, tls[listen], **common)


def http_sites(
    config: Config, documents: Documents | None, proxy: Proxy | None, content: Content | None
) -> list[tuple[HttpSite, tuple[HttpListen, ...]]]:
    """The HTTP servers but that of operators, with their listening points."""
    sites: list[tuple[HttpSite, tuple[HttpListen, ...]]] = []
    if documents is not None and documents.site is not None:
        sites.append((documents.site, config.xdms.listen))
    if proxy is not None:
        sites.append((proxy.site, config.proxy.listen))
    if content is not None and content.site is not None:
        sites.append((content.site, config.content.listen))
    return sites


def reload_certificates(config: Config, node: Node) -> None:
    """Read all certificates again and use them from the next connection on.

    :raises CredentialsError: one cannot be used, or OSError; then all stay as they were.
    """
    points: list[Listen | HttpListen] = [listen for listen, _ in node.transports]
    points += [point for _, listening in node.sites for point in listening]
    tls, generated = tls_settings(config, points)
    for listen, transport in node.transports:
        if isinstance(transport, TlsTransport):
            transport.reload(tls[listen])
    for site, listening in node.sites:
        for place, point in enumerate(point for point in listening if point.tls):
            site.reload(tls[point], place=place)
    node.tls, node.generated = tls, generated
