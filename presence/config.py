"""The configuration: one TOML file, decoded strictly; every key has a default.

Without a file the server listens on loopback with Digest and a generated certificate and
keeps its state in a SQLite file.  All values are checked when a struct is built, so a
:class:`Config` made in code is as sound as one that was loaded.
"""

from __future__ import annotations

import ipaddress
import os
import pathlib
import socket
from typing import Literal, TypeVar

import msgspec
from msgspec.structs import replace

from presence.addresses import is_host, sip_protocol
from presence.certificate import check_pair, read_certificates
from presence.contenttables import ContentPeer, ContentTable
from presence.rlstables import Rls
from presence.ruletables import Composition, Override, Rules, Winfo
from presence.tables import (
    Decision,
    Digest,
    Domain,
    Limits,
    Listen,
    Locator,
    Log,
    Metrics,
    Notify,
    Overload,
    Publication,
    Registrar,
    Store,
    Subscription,
    Table,
    Text,
    Timers,
    Tls,
    Trace,
    Transport,
    TransportOptions,
    Trust,
)
from presence.tomlfile import ConfigError, Path, WrongValueError, decode, dotted, line_of, read
from presence.xdmtables import (
    BackEnd,
    Documents,
    Fetch,
    FetchServer,
    Http,
    HttpListen,
    Proxy,
    Trusted,
    Xcap,
    Xdms,
)

__all__ = [
    "BackEnd",
    "Composition",
    "Config",
    "ConfigError",
    "ContentPeer",
    "ContentTable",
    "Decision",
    "Digest",
    "Documents",
    "Domain",
    "Fetch",
    "FetchServer",
    "Http",
    "HttpListen",
    "Limits",
    "Listen",
    "Locator",
    "Log",
    "Metrics",
    "Notify",
    "Overload",
    "Override",
    "Proxy",
    "Publication",
    "Registrar",
    "Rls",
    "Rules",
    "Store",
    "Subscription",
    "Timers",
    "Tls",
    "Trace",
    "TransportOptions",
    "Trust",
    "Trusted",
    "Winfo",
    "Xcap",
    "Xdms",
    "default_listen",
    "load",
    "restart_required",
    "warnings",
]

Role = Literal[
    "presence-server",
    "rls",
    "registrar",
    "presence-xdms",
    "rls-xdms",
    "shared-xdms",
    "aggregation-proxy",
    "content-server",
]
XDMS_ROLES: tuple[Role, ...] = ("presence-xdms", "rls-xdms", "shared-xdms")
"""Roles that hold documents."""
SIP_ROLES: tuple[Role, ...] = ("presence-server", "rls", "registrar", *XDMS_ROLES)
"""Roles that speak SIP."""
DEFAULT_PROXY_PORT = 8443
DEFAULT_CONTENT_PORT = 8444

DEFAULT_STATE_DIR = "~/.local/state/txpresence"
AnyBackEnd = TypeVar("AnyBackEnd", bound=BackEnd)
_LOOPBACK_ALIASES = {"127.0.0.1": "localhost", "::1": "localhost"}


class Config(Table, frozen=True):
    """The whole configuration.

    :ivar state_dir: database, accounts and generated certificate are kept here.
    :ivar roles: what this process does.
    :ivar accounts: file of the Digest accounts, relative to the state directory.
    :ivar domains: domains whose presentities live here.
    :ivar domain_aliases: other names, or numeric addresses, of served domains (CLI-13).
    :ivar listen: listening points; none stands for :func:`default_listen`.
    :ivar domain: settings of single served domains.
    """

    state_dir: Text = DEFAULT_STATE_DIR
    roles: tuple[Role, ...] = (*SIP_ROLES, "aggregation-proxy", "content-server")
    accounts: Text = "accounts.db"
    domains: tuple[Text, ...] = ("localhost",)
    domain_aliases: dict[str, Text] = msgspec.field(default_factory=_LOOPBACK_ALIASES.copy)
    listen: tuple[Listen, ...] = ()
    tls: Tls = Tls()
    trust: Trust = Trust()
    digest: Digest = Digest()
    locator: Locator = Locator()
    timers: Timers = Timers()
    transport: TransportOptions = TransportOptions()
    limits: Limits = Limits()
    publication: Publication = Publication()
    subscription: Subscription = Subscription()
    domain: dict[str, Domain] = msgspec.field(default_factory=dict)
    composition: Composition = Composition()
    rules: Rules = Rules()
    override: Override = Override()
    winfo: Winfo = Winfo()
    notify: Notify = Notify()
    store: Store = Store()
    registrar: Registrar = Registrar()
    overload: Overload = Overload()
    log: Log = Log()
    trace: Trace = Trace()
    metrics: Metrics = Metrics()
    http: Http = Http()
    xcap: Xcap = Xcap()
    documents: Documents = Documents()
    xdms: Xdms = Xdms()
    fetch: Fetch = Fetch()
    rls: Rls = Rls()
    proxy: Proxy = Proxy()
    content: ContentTable = ContentTable()

    def __post_init__(self) -> None:
        """Check what concerns several tables."""
        if not self.roles or len(set(self.roles)) < len(self.roles):
            raise WrongValueError(
                ("roles",), list(self.roles), "at least one role and none twice", "correct it"
            )
        if not self.domains:
            raise WrongValueError(("domains",), [], "at least one domain", "name what you serve")
        for i, domain in enumerate(self.domains):
            if not is_host(domain):
                raise WrongValueError(
                    ("domains", i), domain, "a domain name or address without port", "correct it"
                )
        served = {domain.lower() for domain in self.domains}
        for alias, domain in self.domain_aliases.items():
            if not is_host(alias):
                raise WrongValueError(
                    ("domain_aliases", alias), None, "a domain or address as key", "correct it"
                )
            # the defaults may name a domain that the file does not serve
            if domain.lower() not in served and (alias, domain) not in _LOOPBACK_ALIASES.items():
                raise WrongValueError(
                    ("domain_aliases", alias), domain, "one of domains", "add it to domains"
                )
        for name in self.domain:
            if name.lower() not in served:
                raise WrongValueError(
                    ("domain", name), None, "the name of one of domains", "add it to domains"
                )
        for root, domain in self.xcap.roots.items():
            if domain.lower() not in served:
                raise WrongValueError(
                    ("xcap", "roots", root), domain, "one of domains", "add it to domains"
                )
        self._check_content()
        _check_distinct(self.listen, self.http_points())
        _check_ways(self.listen, self.fetch)
        if (
            "aggregation-proxy" in self.roles
            and not self.proxy.backend
            and set(XDMS_ROLES).isdisjoint(self.roles)
        ):
            raise WrongValueError(
                ("proxy", "backend"),
                [],
                "document servers behind the proxy",
                "add a [[proxy.backend]], or a role that ends in -xdms",
            )

    def _check_content(self) -> None:
        """The base URIs of the Content Server: of served domains, and apart from XCAP roots."""
        for uri, domain in self.content.uris.items():
            if domain.lower() not in {each.lower() for each in self.domains}:
                raise WrongValueError(
                    ("content", "uris", uri), domain, "one of domains", "add it to domains"
                )
            base = uri if uri.endswith("/") else f"{uri}/"
            if self.content_shares and any(root.startswith(base) for root in self.xcap_roots()):
                raise WrongValueError(
                    ("content", "uris", uri),
                    domain,
                    "a URI with no XCAP root below it",
                    'write for example "https://xcap.example.com/cs/", or give the Content'
                    " Server a [[content.listen]]",
                )

    @property
    def state_path(self) -> pathlib.Path:
        """The state directory; it need not exist."""
        return pathlib.Path(self.state_dir).expanduser()

    @property
    def store_path(self) -> pathlib.Path:
        """The file of the SQLite store."""
        return self.state_path / pathlib.Path(self.store.path).expanduser()

    @property
    def accounts_path(self) -> pathlib.Path:
        """The file of the accounts."""
        return self.state_path / pathlib.Path(self.accounts).expanduser()

    @property
    def documents_path(self) -> pathlib.Path:
        """The file of the document store."""
        return self.state_path / pathlib.Path(self.documents.path).expanduser()

    @property
    def content_path(self) -> pathlib.Path:
        """The directory of the Content Server's objects."""
        return self.state_path / pathlib.Path(self.content.path).expanduser()

    @property
    def content_shares(self) -> bool:
        """Whether the Content Server is reached by the ports of the Aggregation Proxy."""
        return "aggregation-proxy" in self.roles and not self.content.listen

    def http_points(self) -> list[tuple[Path, HttpListen]]:
        """Where the roles of this process speak HTTP, with the keys that say so."""
        points: list[tuple[Path, HttpListen]] = []
        if not set(XDMS_ROLES).isdisjoint(self.roles):
            points += [(("xdms", "listen", i), at) for i, at in enumerate(self.xdms.listen)]
        if "aggregation-proxy" in self.roles:
            points += [(("proxy", "listen", i), at) for i, at in enumerate(self.proxy.listen)]
        if "content-server" in self.roles:
            points += [(("content", "listen", i), at) for i, at in enumerate(self.content.listen)]
        return points

    def xcap_roots(self) -> dict[str, str]:
        """The served domain of each XCAP root; roots end in a slash (XCAP-02 to XCAP-04)."""
        if self.xcap.roots:
            return {
                root if root.endswith("/") else f"{root}/": domain.lower()
                for root, domain in self.xcap.roots.items()
            }
        port = self.proxy.listen[0].port if self.proxy.listen else DEFAULT_PROXY_PORT
        return {_default_root(domain.lower(), port): domain.lower() for domain in self.domains}

    def content_uris(self) -> dict[str, str]:
        """The served domain of each base URI of the Content Server; they end in a slash."""
        if self.content.uris:
            return {
                uri if uri.endswith("/") else f"{uri}/": domain.lower()
                for uri, domain in self.content.uris.items()
            }
        if self.content_shares:
            return {f"{root}cs/": domain for root, domain in self.xcap_roots().items()}
        listen = self.content.listen
        port = listen[0].port if listen else DEFAULT_CONTENT_PORT
        domains = [domain.lower() for domain in self.domains]
        return {f"{_default_root(domain, port, 'content')}cs/": domain for domain in domains}

    @property
    def access_log_path(self) -> pathlib.Path | None:
        """The file of the access log, None for none."""
        if not self.http.access_log:
            return None
        return self.state_path / pathlib.Path(self.http.access_log).expanduser()

    @property
    def trace_path(self) -> pathlib.Path:
        """The file of the trace."""
        return self.state_path / pathlib.Path(self.trace.file).expanduser()

    def notify_interval(self, domain: str) -> float:
        """Least seconds between two NOTIFYs of a subscription to somebody in ``domain``."""
        own = self._domain(domain).notify_interval
        return self.subscription.notify_interval if own is None else own

    def default_decision(self, domain: str) -> Decision:
        """The decision on watchers that no rule of a presentity in ``domain`` speaks of."""
        own = self._domain(domain).default_decision
        return self.subscription.default_decision if own is None else own

    def _domain(self, domain: str) -> Domain:
        for name, settings in self.domain.items():
            if name.lower() == domain.lower():
                return settings
        return Domain()

    def certificate_files(
        self, listen: Listen | HttpListen
    ) -> tuple[pathlib.Path, pathlib.Path] | None:
        """Certificate and key of a TLS listening point, or None to generate them."""
        certificate = listen.certificate or self.tls.certificate
        if not certificate:
            return None
        return pathlib.Path(certificate), pathlib.Path(listen.key or self.tls.key)


def load(path: str | os.PathLike[str] | None = None, state_dir: str | None = None) -> Config:
    """Read, check and complete the configuration.

    Relative file names are relative to the file that names them.  The state directory is
    ``state_dir``, else the file's, else ``$PRESENCE_STATE``, else the default.

    :param path: TOML file, or None for the built-in configuration.
    :raises ConfigError: with a message for the operator.
    """
    name, text = "", ""
    if path is not None:
        name = os.fspath(path)
        text = _read_file(name)
    data = read(text, name)
    if state_dir is not None:
        data["state_dir"] = os.path.abspath(state_dir)
    elif "state_dir" not in data and os.environ.get("PRESENCE_STATE"):
        data["state_dir"] = os.path.abspath(os.environ["PRESENCE_STATE"])
    try:
        config: Config = decode(data, Config)
        if not config.listen and not set(SIP_ROLES).isdisjoint(config.roles):
            config = replace(config, listen=default_listen())
        if not config.proxy.listen and "aggregation-proxy" in config.roles:
            config = replace(config, proxy=replace(config.proxy, listen=default_http()))
        if "content-server" in config.roles and not (
            config.content.listen or config.content_shares
        ):
            listen = default_http(DEFAULT_CONTENT_PORT)
            config = replace(config, content=replace(config.content, listen=listen))
        config = _resolve(config, pathlib.Path(name or ".").absolute().parent)
        _check_files(config)
    except WrongValueError as error:
        line = line_of(text, error.key)
        raise ConfigError(error.message(), name, line, dotted(error.key)) from error
    return config


def default_listen() -> tuple[Listen, ...]:
    """UDP, TCP and TLS on the loopback addresses that this machine has."""
    transports: tuple[Transport, ...] = ("udp", "tcp", "tls")
    return tuple(Listen(transport=t, address=a) for a in _loopback() for t in transports)


def default_http(port: int = DEFAULT_PROXY_PORT) -> tuple[HttpListen, ...]:
    """HTTPS on the loopback addresses that this machine has."""
    return tuple(HttpListen(port=port, address=a) for a in _loopback())


def _loopback() -> list[str]:
    addresses = ["127.0.0.1"]
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            probe.bind(("::1", 0))
        addresses.append("::1")
    except OSError:
        pass
    return addresses


def _default_root(domain: str, port: int, name: str = "xcap") -> str:
    """Where clients that were told nothing look for documents (XCAP-03), or objects."""
    if domain == "localhost" or not domain.strip("[]:.0123456789abcdef"):
        host = f"[{domain}]" if ":" in domain else domain
        return f"https://{host}:{port}/"
    return f"https://{name}.{domain}/"


def restart_required(old: Config, new: Config) -> list[str]:
    """The keys that differ and only a restart can change (NFR-02)."""
    keys = []
    for name in Config.__struct_fields__:
        before, after = getattr(old, name), getattr(new, name)
        if before == after or name in RELOADABLE:
            continue
        if isinstance(before, msgspec.Struct):
            keys += [
                f"{name}.{key}"
                for key in before.__struct_fields__
                if f"{name}.{key}" not in RELOADABLE and getattr(before, key) != getattr(after, key)
            ]
        else:
            keys.append(name)
    return keys


RELOADABLE = frozenset(
    {
        "composition",
        "domain",
        "log",
        "notify",
        "override",
        "publication",
        "subscription",
        "trace",
        "rls.window",
        "rls.fetch",
        "rls.members",
        "rls.excess",
        "rls.bare_id_agents",
        "rls.body_limit",
        "rules.privacy_is_anonymous",
        "winfo",
        "limits.publications_per_presentity",
        "limits.publish_rate",
        "limits.publish_burst",
        "limits.pidf_size",
        "limits.pidf_total_size",
        "limits.subscriptions_per_watcher",
        "limits.subscriptions_per_presentity",
        "limits.subscriptions_per_pair",
        "limits.pending_per_watcher",
    }
)
"""Tables and keys of :class:`Config` that a reload (SIGHUP) applies to requests to come."""


def warnings(config: Config) -> list[str]:
    """What is allowed but an operator should know, one sentence each."""
    found = []
    streams = {(at.address, at.bind_port) for at in config.listen if at.transport == "tcp"}
    for listen in config.listen:
        where = f"{listen.transport} {listen.address} port {listen.bind_port}"
        public = not ipaddress.ip_address(listen.address).is_loopback
        if public and listen.auth == "none":
            found.append(
                f"{where}: auth = none lets anybody be anyone; use it in a laboratory only"
            )
        if public and listen.transport == "tls" and config.certificate_files(listen) is None:
            found.append(f"{where}: uses a self-signed certificate that no client trusts by itself")
        place = (listen.address, listen.bind_port)
        if public and listen.transport == "udp" and place not in streams:
            found.append(f"{where}: has no tcp beside it, where large messages go (TRN-01)")
        if listen.auth in ("trust", "both") and not (config.trust.peers or config.trust.tls_names):
            found.append(f"{where}: auth = {listen.auth}, but [trust] names no peer")
    if config.trace.users:
        found.append(
            f"trace: messages of {len(config.trace.users)} users are written to "
            f"{config.trace_path}; empty trace.users when you have seen enough"
        )
    for _, at in config.http_points():
        where = f"HTTP {at.address} port {at.port}"
        public = not ipaddress.ip_address(at.address).is_loopback
        if public and not at.tls:
            found.append(f"{where}: has no TLS; whoever is on the way can read what passes")
        elif public and config.certificate_files(at) is None:
            found.append(f"{where}: uses a self-signed certificate that no client trusts by itself")
    reach = set(config.roles).union(server.name for server in config.fetch.server)
    auids = {auid for server in config.fetch.server for auid in server.auids}
    if "presence-server" in config.roles and not (
        "presence-xdms" in reach or "org.openmobilealliance.pres-rules" in auids
    ):
        found.append(
            "roles: no presence-xdms is here and no [[fetch.server]] names one; not the rules of"
            " users decide who may watch, but default_decision alone"
        )
    if config.store.type == "memory":
        found.append("store: type = memory forgets all publications and subscriptions at the end")
    return found


def _check_distinct(points: tuple[Listen, ...], http_points: list[tuple[Path, HttpListen]]) -> None:
    """TCP, TLS and HTTP cannot share a port; UDP is apart."""
    seen = set()
    for i, point in enumerate(points):
        if not point.bind_port:
            continue
        kind = "udp" if point.transport == "udp" else "tcp"
        place = (kind, ipaddress.ip_address(point.address), point.bind_port)
        if place in seen:
            raise WrongValueError(
                ("listen", i),
                f"{point.transport} {point.address} port {point.bind_port}",
                "an address and port that no other [[listen]] has",
                "change its port or remove one of the two",
            )
        seen.add(place)
    for path, at in http_points:
        place = ("tcp", ipaddress.ip_address(at.address), at.port)
        if at.port and place in seen:
            raise WrongValueError(
                path,
                f"{at.address} port {at.port}",
                "an address and port that nothing else listens on",
                "change its port or remove one of the two",
            )
        seen.add(place)


def _check_ways(points: tuple[Listen, ...], fetch: Fetch) -> None:
    """Subscriptions leave from a listening point, where NOTIFYs come back."""
    own = {point.transport for point in points} or {"udp", "tcp", "tls"}
    for i, server in enumerate(fetch.server):
        for j, text in enumerate(server.sip):
            if (sip_protocol(text) or "").lower() not in own:
                raise WrongValueError(
                    ("fetch", "server", i, "sip", j),
                    text,
                    "a transport that one of [[listen]] has",
                    "add such a [[listen]], or choose another transport",
                )


def _read_file(name: str) -> str:
    try:
        return pathlib.Path(name).read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"found no file that can be read ({error.strerror}); check its name and permissions",
            name,
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError("found octets that are no UTF-8; save it as UTF-8", name) from error


def _resolve(config: Config, base: pathlib.Path) -> Config:
    """Make all file names absolute."""

    def absolute(text: str) -> str:
        return str(base / pathlib.Path(text).expanduser()) if text else ""

    def files(
        table: Listen | Tls | HttpListen | BackEnd | ContentPeer, *names: str
    ) -> dict[str, str]:
        return {name: absolute(getattr(table, name)) for name in names}

    def http(points: tuple[HttpListen, ...]) -> tuple[HttpListen, ...]:
        names = ("certificate", "key", "client_ca")
        return tuple(replace(point, **files(point, *names)) for point in points)

    def back_ends(tables: tuple[AnyBackEnd, ...]) -> tuple[AnyBackEnd, ...]:
        return tuple(replace(one, **files(one, "ca", "certificate", "key")) for one in tables)

    return replace(
        config,
        state_dir=absolute(config.state_dir),
        tls=replace(config.tls, **files(config.tls, "certificate", "key", "ca", "client_ca")),
        listen=tuple(
            replace(point, **files(point, "certificate", "key", "client_ca"))
            for point in config.listen
        ),
        xdms=replace(config.xdms, listen=http(config.xdms.listen)),
        fetch=replace(config.fetch, server=back_ends(config.fetch.server)),
        proxy=replace(
            config.proxy,
            listen=http(config.proxy.listen),
            backend=back_ends(config.proxy.backend),
        ),
        content=replace(
            config.content,
            listen=http(config.content.listen),
            server=tuple(
                replace(one, **files(one, "ca", "certificate", "key"))
                for one in config.content.server
            ),
        ),
    )


def _check_files(config: Config) -> None:
    """Try every file that is named (item 5 of the first cut: no surprise after the start)."""
    tables: list[tuple[Path, Listen | Tls | HttpListen | BackEnd | ContentPeer]] = [
        (("tls",), config.tls)
    ]
    tables += [(("listen", i), point) for i, point in enumerate(config.listen)]
    tables += config.http_points()
    tables += [(("proxy", "backend", i), at) for i, at in enumerate(config.proxy.backend)]
    tables += [(("fetch", "server", i), at) for i, at in enumerate(config.fetch.server)]
    tables += [(("content", "server", i), at) for i, at in enumerate(config.content.server)]
    for path, table in tables:
        try:
            if table.certificate:
                check_pair(table.certificate, table.key)
            for name in ("ca", "client_ca"):
                if getattr(table, name, ""):
                    read_certificates(getattr(table, name), name)
        except WrongValueError as error:
            raise error.below(path) from None
