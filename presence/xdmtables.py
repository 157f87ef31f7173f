"""The configuration's tables of the document servers and the Aggregation Proxy.

They follow the rules of :mod:`presence.tables`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from presence.addresses import Network, check_address, is_address, is_host, parse_peer, sip_protocol
from presence.tables import Algorithm, Count, Port, Positive, Rate, Seconds, Table, Text
from presence.tomlfile import Path, WrongValueError

PRESENCE_SERVER = "sip:presence-server@presence.invalid"
"""The Presence Server at document servers, unless it is told otherwise; no user is called so."""


def check_proxies(peers: tuple[str, ...]) -> None:
    """See that the trusted proxies of a table are addresses or networks.

    :raises WrongValueError: one is not; it names the place below ``proxies``.
    """
    for i, peer in enumerate(peers):
        try:
            parse_peer(peer)
        except ValueError:
            raise WrongValueError(
                ("proxies", i),
                peer,
                "a numeric address or network",
                'write for example "192.0.2.7" or "192.0.2.0/24"',
            ) from None


class HttpListen(Table, frozen=True):
    """One place where HTTP is spoken (AGP-06, AGP-11, AGP-12).

    :ivar address: numeric address, or ``0.0.0.0`` or ``::`` for all.
    :ivar port: 0 lets the system choose.
    :ivar tls: false speaks plain HTTP.
    :ivar certificate: PEM chain, own certificate first; "" takes ``[tls]``'s.
    :ivar key: PEM private key; "" takes ``[tls]``'s.
    :ivar client_ca: PEM authorities of client certificates; "" takes ``[tls]``'s.
    :ivar require_client_certificate: refuse clients without a valid certificate.
    """

    port: Port
    address: str = "127.0.0.1"
    tls: bool = True
    certificate: str = ""
    key: str = ""
    client_ca: str = ""
    require_client_certificate: bool = False

    def __post_init__(self) -> None:
        """Check the address, and that nothing is said of TLS where there is none."""
        check_address(("address",), self.address)
        if bool(self.certificate) != bool(self.key):
            missing = "key" if self.certificate else "certificate"
            raise WrongValueError(
                (missing,), ..., "the other half of the pair", "set certificate and key together"
            )
        for name in ("certificate", "client_ca"):
            if getattr(self, name) and not self.tls:
                raise WrongValueError(
                    (name,), getattr(self, name), "it only where tls is true", "remove it"
                )


class Http(Table, frozen=True):
    """Bounds of every HTTP server of this process (AGP-76, AGP-77).

    :ivar request_line: beyond it 414.
    :ivar header_size: all header fields of a request; beyond it 431.
    :ivar header_fields: beyond it 431.
    :ivar body_size: beyond it 413.
    :ivar connections: open at a time.
    :ivar connections_per_address: from one address.
    :ivar handshake_timeout: for a TLS handshake.
    :ivar header_timeout: for a client to complete the header of a request.
    :ivar body_timeout: for a client to complete a body.
    :ivar idle_timeout: between two requests of a connection.
    :ivar request_timeout: for an answer.
    :ivar balancers: addresses of load balancers that end TLS before this server.
    :ivar ciphers: ``compatible`` adds a suite for handsets of 2006.
    :ivar access_log: file with a line for each request, relative to the state directory; ""
        for none (AGP-84).
    :ivar access_log_size: octets of it and its predecessor together.
    """

    request_line: Count = 8192
    header_size: Count = 16384
    header_fields: Count = 100
    body_size: Count = 1048576
    connections: Count = 10000
    connections_per_address: Count = 32
    handshake_timeout: Positive = 10.0
    header_timeout: Positive = 10.0
    body_timeout: Positive = 30.0
    idle_timeout: Positive = 75.0
    request_timeout: Positive = 30.0
    balancers: tuple[str, ...] = ()
    ciphers: Literal["modern", "compatible"] = "modern"
    access_log: str = "access.log"
    access_log_size: Annotated[int, Meta(ge=65536)] = 67108864

    def __post_init__(self) -> None:
        """Check the addresses."""
        for i, address in enumerate(self.balancers):
            check_address(("balancers", i), address)


class Trusted(Table, frozen=True):
    """Somebody who may more than others with documents (XDM-05).

    :ivar identity: public identity, or "".
    :ivar name: identity in its client certificate, or "".
    :ivar auids: application usages it concerns; none stands for all.
    :ivar read: may read everybody's documents.
    :ivar write: may change them.
    """

    identity: str = ""
    name: str = ""
    auids: tuple[Text, ...] = ()
    read: bool = True
    write: bool = False

    def __post_init__(self) -> None:
        """Check that somebody is named."""
        if bool(self.identity) == bool(self.name):
            raise WrongValueError(
                ("identity",), self.identity, "either identity or name", "set one of the two"
            )
        if self.identity and not is_address(self.identity):
            raise WrongValueError(
                ("identity",),
                self.identity,
                "the address of somebody",
                'write for example "sip:rls@example.com"',
            )


class Xcap(Table, frozen=True):
    """XML documents, as document servers and proxy see them.

    :ivar roots: the served domain of each XCAP root; none stands for ``https://xcap.<domain>/``
        of each served domain, and the first port of the proxy for localhost and numeric ones.
    :ivar users: whose documents there may be: those who have an account here, or all
        users of the served domains (XCAP-09).
    :ivar trusted: who may more than others.
    :ivar bare_attributes: give attributes without quotes (XCAP-62).
    :ivar accept_bare_attributes: take them without quotes (XCAP-86).
    :ivar accept_untyped_documents: take documents without media type, or as a form (CLI-19).
    :ivar plain_ruleset: under pres-rules find ``ruleset`` without prefix (XDM-02).
    :ivar foreign_lists: let rules name lists of other users (XDM-98).
    :ivar quoted_directory_tags: write entity-tags with quotes into directories (XDM-81).
    :ivar service_template: form of service URIs, such as ``<xui>;pres-list=<id>``; "" for any
        (XDM-56).
    """

    roots: dict[str, Text] = msgspec.field(default_factory=dict)
    users: Literal["accounts", "served"] = "accounts"
    trusted: tuple[Trusted, ...] = ()
    bare_attributes: bool = False
    accept_bare_attributes: bool = True
    accept_untyped_documents: bool = True
    plain_ruleset: bool = False
    foreign_lists: bool = False
    quoted_directory_tags: bool = False
    service_template: str = ""

    def __post_init__(self) -> None:
        """Check the roots."""
        for root in self.roots:
            check_http(("roots", root), root)
        if self.service_template and self.service_template.count("<id>") != 1:
            raise WrongValueError(
                ("service_template",),
                self.service_template,
                "<id> in it once",
                'write for example "<xui>;pres-list=<id>"',
            )


class Documents(Table, frozen=True):
    """Where documents are kept, and how much (XCAP-162, XDM-08).

    :ivar path: SQLite file, relative to the state directory.
    :ivar cache: octets of documents kept in memory.
    :ivar changes: changes remembered for subscribers that come back after a restart.
    :ivar size: of one document, 8 MiB at most; beyond it 413.
    :ivar depth: elements inside each other.
    :ivar elements: in one document.
    :ivar attributes: of one element.
    :ivar name_size: of a name.
    :ivar value_size: of an attribute value.
    :ivar per_usage: documents of one user at one application usage.
    :ivar lists: in one document.
    :ivar entries: in one list.
    :ivar services: of one user.
    :ivar rules: in one document.
    :ivar icon_size: content of one pres-content document (XDM-160).
    """

    path: Text = "documents.sqlite"
    cache: Count = 67108864
    changes: Count = 100000
    size: Annotated[int, Meta(ge=1, le=8388608)] = 1048576
    depth: Count = 64
    elements: Count = 100000
    attributes: Count = 256
    name_size: Count = 1024
    value_size: Count = 65536
    per_usage: Count = 20
    lists: Count = 100
    entries: Count = 500
    services: Count = 20
    rules: Count = 200
    icon_size: Count = 307200


class Xdms(Table, frozen=True):
    """The document servers of this process, for proxies elsewhere (AGP-49, AGP-82).

    :ivar listen: where they speak HTTP; a proxy in this process needs none.
    :ivar proxies: addresses or networks of proxies that may assert identities.
    :ivar proxy_names: names in their client certificates; none asks for no certificate.
    :ivar strict: refuse assertions of others with 403, instead of ignoring them.
    :ivar ua_profile_params: repeat the parameters of ua-profile in NOTIFYs (UAP-09).
    :ivar ua_profile_patches: tell ua-profile subscribers patches (UAP-09).
    :ivar body_limit: of a NOTIFY; beyond it patches and contents are left out (XEVT-19).
    :ivar notify_interval: least time between two NOTIFYs to who has subscribed at the server
        itself, as other servers do (XEVT-20); 0 for none.
    """

    listen: tuple[HttpListen, ...] = ()
    proxies: tuple[str, ...] = ("127.0.0.1", "::1")
    proxy_names: tuple[Text, ...] = ()
    strict: bool = True
    ua_profile_params: bool = True
    ua_profile_patches: bool = False
    body_limit: Count = 65536
    notify_interval: Seconds = 0.5

    def __post_init__(self) -> None:
        """Check the addresses."""
        check_proxies(self.proxies)

    @property
    def networks(self) -> tuple[Network, ...]:
        """The proxies as networks."""
        return tuple(parse_peer(peer)[0] for peer in self.proxies)


class BackEnd(Table, frozen=True):
    """Document servers elsewhere (AGP-50 to AGP-53, AGP-78).

    :ivar name: for logs and figures.
    :ivar servers: their addresses, such as ``http://192.0.2.7:8080/``.
    :ivar auids: application usages routed there; none takes those of the role that ``name``
        is (``presence-xdms``, ``rls-xdms``, ``shared-xdms``), and what the servers tell.
    :ivar partition: which of the servers: any, or by a hash of the user.
    :ivar identity_header: how the user is told: ``both``, ``3gpp`` or ``oma`` (AGP-45).
    :ivar ca: PEM authorities of the servers' certificates; "": the system's.
    :ivar certificate: PEM client certificate; "" for none.
    :ivar key: its PEM private key.
    """

    name: Text
    servers: tuple[Text, ...]
    auids: tuple[Text, ...] = ()
    partition: Literal["none", "hash"] = "none"
    identity_header: Literal["both", "3gpp", "oma"] = "both"
    ca: str = ""
    certificate: str = ""
    key: str = ""

    def __post_init__(self) -> None:
        """Check that there are servers, and what they are called."""
        if not self.servers:
            raise WrongValueError(
                ("servers",),
                [],
                "at least one server",
                'write for example "http://192.0.2.7:8080/"',
            )
        for i, server in enumerate(self.servers):
            check_http(("servers", i), server)
        if bool(self.certificate) != bool(self.key):
            missing = "key" if self.certificate else "certificate"
            raise WrongValueError(
                (missing,), ..., "the other half of the pair", "set certificate and key together"
            )


class FetchServer(BackEnd, frozen=True):
    """Document servers elsewhere whose documents are read here (PRS-5, PRS-8).

    :ivar sip: where they take subscriptions to changes, such as
        ``sip:192.0.2.7:5060;transport=tcp``: none, one, or with ``hash`` one for each server.
    """

    sip: tuple[Text, ...] = ()

    def __post_init__(self) -> None:
        """Check the addresses for subscriptions, too."""
        super().__post_init__()
        for i, text in enumerate(self.sip):
            if sip_protocol(text) is None:
                raise WrongValueError(
                    ("sip", i),
                    text,
                    "the SIP URI of a server",
                    'write for example "sip:192.0.2.7:5060;transport=tcp"',
                )
        if len(self.sip) > 1 and (self.partition == "none" or len(self.sip) != len(self.servers)):
            raise WrongValueError(
                ("sip",),
                list(self.sip),
                'one address, or with partition = "hash" one for each of servers',
                "correct it",
            )


class Fetch(Table, frozen=True):
    """Reading documents of document servers elsewhere (PSV-07 to PSV-10).

    :ivar identity: who this process is there; they have it in an ``[[xcap.trusted]]``.
    :ivar server: the servers; those of this process need no entry.
    :ivar poll: between two attempts to fetch what cannot be had, or is not followed now.
    :ivar check: after which what is followed is fetched all the same, since a notification may
        be lost unnoticed (FLW-04); 0 for never.
    :ivar expires: lifetime of subscriptions to ask for.
    :ivar connect_timeout: to a server.
    :ivar answer_timeout: for the first octet of its answer (PSV-08).
    :ivar health_interval: between two looks whether a server lives; 0 for none.
    """

    identity: Text = PRESENCE_SERVER
    server: tuple[FetchServer, ...] = ()
    poll: Positive = 20.0
    check: Seconds = 50.0
    expires: Annotated[int, Meta(ge=60, le=604800)] = 3600
    connect_timeout: Positive = 2.0
    answer_timeout: Positive = 2.0
    health_interval: Seconds = 5.0

    def __post_init__(self) -> None:
        """Check the identity, and that names are unique."""
        if not is_address(self.identity):
            raise WrongValueError(
                ("identity",),
                self.identity,
                "the address of somebody",
                'write for example "sip:presence-server@example.com"',
            )
        check_names("server", self.server)


class Proxy(Table, frozen=True):
    """The Aggregation Proxy (AGP-06 to AGP-85).

    :ivar listen: where clients reach it; none stands for port 8443 with TLS on loopback.
    :ivar backend: document servers elsewhere; those of this process need no entry.
    :ivar algorithms: offered in this order (AGP-20).
    :ivar qop: protection offered.
    :ivar session_algorithms: accept MD5-sess and SHA-256-sess (AGP-32).
    :ivar allow_no_qop: accept answers without qop (AGP-35).
    :ivar userhash: offer clients to send a hash of their user name (AGP-36).
    :ivar nonce_lifetime: after it clients are told ``stale=true``.
    :ivar max_failures: wrong passwords of a user from one address that give 429 (AGP-39).
    :ivar max_failures_anywhere: the same from all addresses together.
    :ivar failure_window: seconds in which they count.
    :ivar block_time: seconds that the user is refused.
    :ivar rate: requests a second of one user in the long run; 0 for no limit.
    :ivar burst: requests a user may send at once.
    :ivar connect_timeout: to a server elsewhere.
    :ivar answer_timeout: for the first octet of its answer.
    :ivar health_interval: between two looks whether a server lives; 0 for none.
    :ivar compress: answers with gzip where clients take it.
    """

    listen: tuple[HttpListen, ...] = ()
    backend: tuple[BackEnd, ...] = ()
    algorithms: tuple[Algorithm, ...] = ("SHA-256", "MD5")
    qop: Literal["both", "auth", "auth-int"] = "both"
    session_algorithms: bool = False
    allow_no_qop: bool = False
    userhash: bool = False
    nonce_lifetime: Annotated[float, Meta(ge=10, le=86400)] = 300.0
    max_failures: Count = 10
    max_failures_anywhere: Count = 50
    failure_window: Positive = 300.0
    block_time: Positive = 60.0
    rate: Rate = 20.0
    burst: Count = 60
    connect_timeout: Positive = 2.0
    answer_timeout: Positive = 10.0
    health_interval: Seconds = 5.0
    compress: bool = True

    def __post_init__(self) -> None:
        """Check that there is something to offer, and names are unique."""
        if not self.algorithms or len(set(self.algorithms)) < len(self.algorithms):
            raise WrongValueError(
                ("algorithms",),
                list(self.algorithms),
                "at least one algorithm and none twice",
                'write for example ["SHA-256", "MD5"]',
            )
        check_names("backend", self.backend)


def check_names(key: str, backends: Sequence[BackEnd]) -> None:
    """Check that no two have one name.

    :raises WrongValueError: below ``key``.
    """
    names = [backend.name for backend in backends]
    for i, name in enumerate(names):
        if name in names[:i]:
            raise WrongValueError((key, i, "name"), name, "a name of its own", "choose another")


def check_http(key: Path, text: str) -> None:
    """Check an http or https URI of a server or an XCAP root (XCAP-02).

    :raises WrongValueError: for ``key``.
    """
    try:
        parts = urlsplit(text)
        port = parts.port
        good = (
            parts.scheme in ("http", "https")
            and is_host(parts.hostname or "")
            and port != 0
            and not parts.query
            and not parts.fragment
            and "@" not in parts.netloc
        )
    except ValueError:
        good = False
    if not good:
        raise WrongValueError(
            key,
            text,
            "an http or https URI without query",
            'write for example "https://xcap.example.com/"',
        )
