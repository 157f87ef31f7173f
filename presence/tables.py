"""The tables of the configuration file, each of which checks its own values.

``etc/presence.toml`` shows all keys with their meaning.  Lengths of time are seconds, sizes
are octets; file names are absolute once :func:`presence.config.load` has read them.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from presence.addresses import (
    Network,
    check_address,
    check_place,
    is_address,
    is_host,
    parse_peer,
)
from presence.tomlfile import WrongValueError

Seconds = Annotated[float, Meta(ge=0)]
Positive = Annotated[float, Meta(gt=0)]
Count = Annotated[int, Meta(ge=1)]
Natural = Annotated[int, Meta(ge=0)]
Rate = Annotated[float, Meta(ge=0)]
Port = Annotated[int, Meta(ge=0, le=65535)]
Text = Annotated[str, Meta(min_length=1)]
Transport = Literal["udp", "tcp", "tls"]
Auth = Literal["trust", "digest", "both", "none"]
Decision = Literal["allow", "confirm", "block", "polite-block"]
Algorithm = Literal["SHA-512-256", "SHA-256", "MD5"]

DEFAULT_PORTS = {"udp": 5060, "tcp": 5060, "tls": 5061}


class Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A table of the file."""


class Listen(Table, frozen=True):
    """One listening point (TRN-01, TRN-02, AUT-01).

    :ivar address: numeric address, or ``0.0.0.0`` or ``::`` for all.
    :ivar port: 0 lets the system choose, None stands for 5060, or 5061 with TLS.
    :ivar advertise: ``host`` or ``host:port`` for Via and Contact when peers reach it by
        another address; "" for the bound one.
    :ivar auth: how senders prove who they are here: trusted peers only, Digest, both, or
        (in a laboratory) not at all.
    :ivar certificate: PEM chain for TLS, own certificate first; "" takes ``[tls]``'s.
    :ivar key: PEM private key; "" takes ``[tls]``'s.
    :ivar client_ca: PEM authorities of client certificates; "" takes ``[tls]``'s.
    :ivar require_client_certificate: refuse TLS clients without a valid certificate.
    """

    transport: Transport
    address: str = "127.0.0.1"
    port: Port | None = None
    advertise: str = ""
    auth: Auth = "digest"
    certificate: str = ""
    key: str = ""
    client_ca: str = ""
    require_client_certificate: bool = False

    def __post_init__(self) -> None:
        """Check the values that the types leave open."""
        check_address(("address",), self.address)
        if self.advertise:
            check_place(("advertise",), self.advertise, numeric=False)
        if bool(self.certificate) != bool(self.key):
            missing = "key" if self.certificate else "certificate"
            raise WrongValueError(
                (missing,), ..., "the other half of the pair", "set certificate and key together"
            )
        if self.transport != "tls":
            for name in ("certificate", "client_ca"):
                if getattr(self, name):
                    raise WrongValueError(
                        (name,), getattr(self, name), "it only where transport is tls", "remove it"
                    )

    @property
    def bind_port(self) -> int:
        """The port to bind."""
        return DEFAULT_PORTS[self.transport] if self.port is None else self.port


class Tls(Table, frozen=True):
    """What TLS listening points and outgoing TLS have in common (TRN-02, TRN-22, TRN-23).

    :ivar certificate: PEM chain; "" generates a self-signed one in the state directory.
    :ivar key: its PEM private key.
    :ivar ca: PEM trust anchors for servers we connect to; "" takes the system's.
    :ivar client_ca: PEM authorities of client certificates; "" asks clients for none.
    :ivar minimum_version: oldest protocol version spoken.
    """

    certificate: str = ""
    key: str = ""
    ca: str = ""
    client_ca: str = ""
    minimum_version: Literal["1.2", "1.3"] = "1.2"

    def __post_init__(self) -> None:
        """Check that certificate and key come together."""
        if bool(self.certificate) != bool(self.key):
            missing = "key" if self.certificate else "certificate"
            raise WrongValueError(
                (missing,), ..., "the other half of the pair", "set certificate and key together"
            )


class Trust(Table, frozen=True):
    """The trust domain (IMS-01, IMS-09, IMS-12).

    :ivar peers: addresses, networks, or either with a port: ``192.0.2.0/24``,
        ``192.0.2.7:5060``, ``[2001:db8::7]:5060``.
    :ivar tls_names: identities in verified client certificates, such as
        ``scscf1.home.example``.
    :ivar network_name: own network, for ``orig-ioi`` and ``term-ioi``; "" writes no
        P-Charging-Vector.
    :ivar notify_identity: P-Asserted-Identity of NOTIFYs to trusted peers: "" for the
        presentity, else the URI of this service.
    """

    peers: tuple[str, ...] = ()
    tls_names: tuple[Text, ...] = ()
    network_name: str = ""
    notify_identity: str = ""

    def __post_init__(self) -> None:
        """Check that the peers parse."""
        for i, peer in enumerate(self.peers):
            try:
                parse_peer(peer)
            except ValueError:
                raise WrongValueError(
                    ("peers", i),
                    peer,
                    "a numeric address or network, with or without a port",
                    'write for example "192.0.2.0/24", "192.0.2.7:5060" or "[2001:db8::7]:5060" '
                    "(a network has no bits set behind its prefix)",
                ) from None
        for i, name in enumerate(self.tls_names):
            if not is_host(name):
                raise WrongValueError(("tls_names", i), name, "a domain name", "correct it")

    @property
    def networks(self) -> tuple[tuple[Network, int | None], ...]:
        """The trusted peers as (network, port or None for any port)."""
        return tuple(parse_peer(peer) for peer in self.peers)


class Digest(Table, frozen=True):
    """Digest authentication (sip-core.md section 9).

    :ivar algorithms: offered in this order (AUT-02).
    :ivar nonce_lifetime: after it clients are told ``stale=true`` (AUT-06).
    :ivar allow_no_qop: accept RFC 2069 style MD5 answers (AUT-04).
    :ivar auth_int: offer ``auth-int`` too (AUT-02).
    :ivar authentication_info: add Authentication-Info to 2xx (AUT-10).
    :ivar md5_agents: clients, by the beginning of their User-Agent, that give up when any
        challenge is not for MD5; they get that one only (CLI-02).
    :ivar max_failures: so many failures of a user from one address in ``failure_window``
        refuse it for ``block_time`` (AUT-15); 0 never does.
    """

    algorithms: tuple[Algorithm, ...] = ("SHA-256", "MD5")
    nonce_lifetime: Positive = 300.0
    allow_no_qop: bool = False
    auth_int: bool = False
    authentication_info: bool = False
    md5_agents: tuple[Text, ...] = ("baresip",)
    max_failures: Annotated[int, Meta(ge=0)] = 5
    failure_window: Positive = 60.0
    block_time: Positive = 60.0

    def __post_init__(self) -> None:
        """Check that there is something to offer, once each (AUT-02)."""
        if not self.algorithms or len(set(self.algorithms)) < len(self.algorithms):
            raise WrongValueError(
                ("algorithms",),
                list(self.algorithms),
                "at least one algorithm and none twice",
                'write for example ["SHA-256", "MD5"]',
            )


class Locator(Table, frozen=True):
    """Where requests go (RFC 3263).

    :ivar nameservers: numeric addresses, with or without port; empty takes the system's.
    :ivar hosts: for a domain or host the SIP URIs of the places to try in this order,
        instead of DNS: ``"sip:192.0.2.9:5060;transport=tcp"``.
    """

    nameservers: tuple[str, ...] = ()
    hosts: dict[str, tuple[Text, ...]] = msgspec.field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check addresses and names."""
        for i, server in enumerate(self.nameservers):
            check_place(("nameservers", i), server, numeric=True)
        for name, places in self.hosts.items():
            if not is_host(name):
                raise WrongValueError(("hosts", name), None, "a domain as key", "correct it")
            for i, place in enumerate(places):
                if not place.startswith(("sip:", "sips:")):
                    raise WrongValueError(
                        ("hosts", name, i),
                        place,
                        "a SIP URI",
                        'write for example "sip:192.0.2.9:5060;transport=tcp"',
                    )


class Timers(Table, frozen=True):
    """Base values of the SIP timers (RFC 3261 table 4)."""

    t1: Positive = 0.5
    t2: Positive = 4.0
    t4: Positive = 5.0

    def __post_init__(self) -> None:
        """T1 is an estimate of the round trip, T2 the longest interval between repetitions."""
        if self.t2 < self.t1:
            raise WrongValueError(("t2",), self.t2, f"at least t1 ({self.t1:g})", "raise it")


class TransportOptions(Table, frozen=True):
    """Sockets and connections (TRN-18, TRN-19, TRN-26 to TRN-28).

    :ivar dscp: code point of signalling packets; 24 is CS3.
    :ivar socket_buffer: receive and send buffer asked for on UDP sockets.
    :ivar message_timeout: a stream peer must complete a message in this time.
    :ivar handshake_timeout: a TLS peer must complete its handshake in this time.
    :ivar connect_timeout: to give up a connection attempt.
    :ivar idle_timeout: to close a connection nobody has used.
    :ivar queue_messages: messages that wait for one connection to open.
    :ivar queue_size: octets that wait for one peer to read.
    """

    dscp: Annotated[int, Meta(ge=0, le=63)] = 24
    socket_buffer: Count = 4194304
    message_timeout: Positive = 32.0
    handshake_timeout: Positive = 10.0
    connect_timeout: Positive = 10.0
    idle_timeout: Annotated[float, Meta(ge=32)] = 3600.0
    queue_messages: Count = 1000
    queue_size: Count = 4194304


def check_within(table: Table, *pairs: tuple[str, str]) -> None:
    """See that a value which another one bounds can be reached.

    :param pairs: names of the inner and the outer value.
    :raises WrongValueError: an inner one is greater.
    """
    for inner, outer in pairs:
        value, most = getattr(table, inner), getattr(table, outer)
        if value > most:
            raise WrongValueError(
                (inner,), value, f"at most {outer} ({most})", f"lower it or raise {outer}"
            )


class Limits(Table, frozen=True):
    """Protection against what is too much (TRN-17, SUB-18, PUB-16, LIM-01).

    :ivar head_size: start-line and header of a message.
    :ivar line_size: one header line.
    :ivar header_fields: header fields in a message.
    :ivar vias: Via header values in a message.
    :ivar body_size: body of a message.
    :ivar transactions: server transactions at a time; beyond it 503.
    :ivar connections: stream connections at a time.
    :ivar publications_per_presentity: beyond it 403.
    :ivar publish_rate: PUBLISHes a second per publisher in the long run; 0 for no limit.
    :ivar publish_burst: PUBLISHes a publisher may send at once.
    :ivar pidf_size: a published document; beyond it 413.
    :ivar pidf_total_size: all documents published for a presentity; beyond it 413.
    :ivar subscriptions_per_watcher: beyond it 403.
    :ivar subscriptions_per_presentity: beyond it 403.
    :ivar subscriptions_per_pair: of one watcher to one presentity.
    :ivar pending_per_watcher: subscriptions of one watcher that wait for a decision.
    """

    head_size: Count = 65536
    line_size: Count = 8192
    header_fields: Count = 256
    vias: Count = 70
    body_size: Count = 1048576
    transactions: Count = 100000
    connections: Count = 10000
    publications_per_presentity: Count = 32
    publish_rate: Rate = 1.0
    publish_burst: Count = 10
    pidf_size: Count = 262144
    pidf_total_size: Count = 262144
    subscriptions_per_watcher: Count = 1000
    subscriptions_per_presentity: Count = 10000
    subscriptions_per_pair: Count = 10
    pending_per_watcher: Count = 100

    def __post_init__(self) -> None:
        """Check that a limit inside another can be reached."""
        check_within(self, ("line_size", "head_size"), ("pidf_size", "body_size"))


class Lifetime(Table, frozen=True):
    """Expiry times granted (PUB-04, SUB-04, SUB-05, SUB-06)."""

    default_expires: Count = 3600
    min_expires: Count = 60
    max_expires: Count = 86400

    def __post_init__(self) -> None:
        """Check that 0 < min <= default <= max."""
        if self.min_expires > self.max_expires:
            raise WrongValueError(
                ("min_expires",),
                self.min_expires,
                f"at most max_expires ({self.max_expires})",
                "lower it or raise max_expires",
            )
        if not self.min_expires <= self.default_expires <= self.max_expires:
            raise WrongValueError(
                ("default_expires",),
                self.default_expires,
                f"a value from min_expires ({self.min_expires}) "
                f"to max_expires ({self.max_expires})",
                "move it between them",
            )


class Publication(Lifetime, frozen=True):
    """PUBLISH (PUB-04, PUB-20, CLI-10), and the objects that come with it (SRC-03, AGP-116).

    :ivar validation: ``lenient`` repairs what real clients get wrong, ``strict`` answers 400.
    :ivar network_sources: ``user@domain`` or URIs of servers and gateways, as they are asserted
        or as they authenticate, that may publish for every presentity.
    :ivar objects: MIME objects beside one document.
    :ivar object_size: octets of one in a PUBLISH.
    :ivar object_inline: octets of one in a NOTIFY; 0 for none at all.
    :ivar object_referenced: octets of one that a reference may speak of.
    """

    validation: Literal["lenient", "strict"] = "lenient"
    network_sources: tuple[Text, ...] = ()
    objects: Natural = 16
    object_size: Natural = 5120
    object_inline: Natural = 5120
    object_referenced: Natural = 1048576

    def __post_init__(self) -> None:
        """Check the lifetimes, and that the sources are addresses."""
        super().__post_init__()
        for i, source in enumerate(self.network_sources):
            if not is_address(source):
                raise WrongValueError(
                    ("network_sources", i),
                    source,
                    "the address of a network source",
                    'write for example "sip:gateway@example.com"',
                )


class Subscription(Lifetime, frozen=True):
    """SUBSCRIBE (SUB-04 to SUB-14, NOT-09, NOT-13, PRE-11, CLI-04).

    :ivar notify_interval: least time between two NOTIFYs of a subscription; 0 for none.
    :ivar default_decision: for watchers that no rule of the presentity speaks of.
    :ivar rfc6665_responses: answer 200 where RFC 3265 and OMA answer 202.
    :ivar pending_body: body of NOTIFYs while a decision is pending.
    :ivar offline_document: of a presentity without publications: no tuple, or one closed.
    :ivar filter_names: whether names without prefix in filters may match any namespace.
    :ivar erroneous_filters: what becomes of filters with expressions that mean nothing.
    """

    notify_interval: Seconds = 5.0
    default_decision: Decision = "allow"
    rfc6665_responses: bool = False
    pending_body: Literal["none", "neutral"] = "none"
    offline_document: Literal["empty", "closed"] = "empty"
    filter_names: Literal["lenient", "strict"] = "lenient"
    erroneous_filters: Literal["refuse", "ignore"] = "refuse"

    def __post_init__(self) -> None:
        """Check the lifetimes, and that a 423 is allowed for the minimum (SUB-06)."""
        super().__post_init__()
        if self.min_expires > 3600:
            raise WrongValueError(
                ("min_expires",), self.min_expires, "at most 3600 (RFC 6665)", "lower it"
            )


class Domain(Table, frozen=True):
    """What one domain has of its own; what is left out is as in ``[subscription]``."""

    notify_interval: Seconds | None = None
    default_decision: Decision | None = None


class Notify(Table, frozen=True):
    """Sending NOTIFYs (NOT-10, OVL-06).

    :ivar rate: NOTIFYs a second in all; 0 for no limit.
    :ivar rate_per_destination: NOTIFYs a second to one next hop; 0 for no limit.
    :ivar repeat_rate: NOTIFYs a second that a watcher may ask for without changes; 0 for none.
    :ivar on_timeout: what becomes of a subscription whose NOTIFY nobody answers.
    """

    rate: Rate = 5000.0
    rate_per_destination: Rate = 2000.0
    repeat_rate: Rate = 0.1
    on_timeout: Literal["remove", "keep"] = "remove"


class Store(Table, frozen=True):
    """Where publications, subscriptions and bindings are kept.

    :ivar type: ``memory`` forgets everything at the end.
    :ivar path: SQLite file, relative to the state directory.
    :ivar synchronous: ``full`` survives a power cut, ``normal`` a crash of the process.
    """

    type: Literal["sqlite", "memory"] = "sqlite"
    path: Text = "presence.sqlite"
    synchronous: Literal["full", "normal"] = "full"


class Registrar(Lifetime, frozen=True):
    """REGISTER for use without an IMS core (CLI-01); needs the role ``registrar``."""

    max_bindings: Count = 10


class Overload(Table, frozen=True):
    """When new requests get 503 (OVL-01).

    :ivar queue_delay: lateness of the event loop that counts as overload.
    :ivar store_delay: time of a commit that counts as overload.
    :ivar memory: resident memory that counts as overload; 0 for no limit.
    :ivar retry_after: mean of the Retry-After sent, randomised by half either way.
    """

    enabled: bool = True
    queue_delay: Positive = 0.5
    store_delay: Positive = 2.0
    memory: Annotated[int, Meta(ge=0)] = 0
    retry_after: Annotated[int, Meta(ge=10, le=60)] = 30


class Log(Table, frozen=True):
    """The operator's log."""

    level: Literal["debug", "info", "warn", "error"] = "info"


class Trace(Table, frozen=True):
    """Messages of single users in full (OBS-02).

    :ivar users: ``user@domain`` or a URI of presentities and watchers; none switches it off.
    :ivar file: relative to the state directory.
    :ivar max_size: octets of the file and its predecessor together.
    """

    users: tuple[Text, ...] = ()
    file: Text = "trace.log"
    max_size: Annotated[int, Meta(ge=65536)] = 10485760

    def __post_init__(self) -> None:
        """Check that the users are addresses."""
        for i, user in enumerate(self.users):
            if not is_address(user):
                raise WrongValueError(
                    ("users", i),
                    user,
                    "the address of a user",
                    'write for example "alice@example.com" or "tel:+4930123456"',
                )


class Metrics(Table, frozen=True):
    """Counters and health over HTTP (OBS-01, NFR-04)."""

    enabled: bool = False
    address: str = "127.0.0.1"
    port: Port = 9464

    def __post_init__(self) -> None:
        """Check the address."""
        check_address(("address",), self.address)
