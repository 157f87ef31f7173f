"""The ``twistd presence`` command: ``start`` and ``check-config``.

What can go wrong because of the machine or the configuration is found before ``twistd``
becomes a daemon, so that both ways of starting show the one message on standard error and
exit with status 1.
"""

from __future__ import annotations

import errno
import os
import pwd
import socket
import sys
import tempfile
from typing import TYPE_CHECKING, Any, ClassVar

from twisted.python import usage

from presence.config import Config, ConfigError, load, warnings
from presence.logs import LoggedService, LogSettings
from presence.tomlfile import dotted
from xcap.usage.serviceuri import ServiceTemplate

if TYPE_CHECKING:
    from twisted.application.service import IService

    from presence.config import HttpListen, Listen


class _ConfigOptions(usage.Options):
    """What both commands take."""

    optParameters: ClassVar[list[Any]] = [
        ["config", "c", None, "TOML file; without it the built-in loopback configuration holds."],
        ["state-dir", None, None, "Directory of the database, accounts and certificate."],
    ]

    def load(self) -> Config:
        """The configuration that the options name.

        :raises SystemExit: with the message for the operator.
        """
        try:
            config = load(self["config"], self["state-dir"])
        except ConfigError as error:
            raise SystemExit(f"presence: {error}") from None
        template = config.xcap.service_template
        try:
            if template:
                ServiceTemplate(template)
        except ValueError as error:
            place = self["config"] or "built-in configuration"
            raise SystemExit(f"presence: {place}: xcap.service_template: {error}") from None
        return config


class StartOptions(_ConfigOptions):
    """``twistd presence start``."""

    longdesc = "Run the server.  twistd makes it a daemon; twistd -n keeps it in the foreground."

    loaded: Config
    log: LogSettings | None = None

    def postOptions(self) -> None:
        """Load the configuration.

        :raises SystemExit: it cannot be used; with the message for the operator.
        """
        self.loaded = self.load()
        twistd = self.parent.parent if self.parent is not None else None
        # an observer of the operator's own choice is left alone
        if twistd is not None and not twistd["logger"] and not twistd["syslog"]:
            self.log = LogSettings(twistd, self.loaded.log.level)

    def reread(self) -> Config:
        """The configuration as it is now, for a reload; its log level is in force at once.

        :raises ConfigError: it cannot be used.
        """
        config = load(self["config"], self["state-dir"])
        if self.log is not None:
            self.log.set_level(config.log.level)
        return config


class CheckOptions(_ConfigOptions):
    """``twistd presence check-config``."""

    longdesc = "Read and check the configuration without starting anything."

    def postOptions(self) -> None:
        """Do the whole work: nothing is left for ``twistd`` to run.

        :raises SystemExit: always; with status 0 when the configuration is good.
        """
        config = self.load()
        for warning in warnings(config):
            print(f"warning: {warning}", file=sys.stderr)
        print(summary(config, self["config"] or "built-in configuration"))
        raise SystemExit(0)


class Options(usage.Options):
    """``twistd presence``."""

    subCommands: ClassVar[list[Any]] = [
        ["start", None, StartOptions, "Run the server."],
        ["check-config", None, CheckOptions, "Check the configuration and say what it means."],
    ]

    def postOptions(self) -> None:
        """Insist on a command.

        :raises usage.UsageError: there is none.
        """
        if self.subCommand is None:
            raise usage.UsageError("say start or check-config, for example: presence start")


def summary(config: Config, name: str) -> str:
    """What a checked configuration amounts to, a few lines of text."""
    points = ", ".join(
        [
            *(_place(listen) for listen in config.listen),
            *(_http_place(at) for _, at in config.http_points()),
        ]
    )
    store = config.store_path if config.store.type == "sqlite" else "memory"
    return (
        f"{name}: ok\n"
        f"  roles    {', '.join(config.roles)}\n"
        f"  domains  {', '.join(config.domains)}\n"
        f"  listen   {points}\n"
        f"  store    {store}"
    )


def makeService(options: Options) -> IService:
    """The service of ``twistd presence start``.

    :raises SystemExit: it cannot start; with the message for the operator.
    """
    start: StartOptions = options.subOptions
    config = start.loaded
    for warning in warnings(config):
        print(f"presence: warning: {warning}", file=sys.stderr)
    check_state_dir(config)
    check_ports(config)
    # the reactor is installed by now, and check-config needs nothing of the server
    from presence.service import make_service

    service = make_service(config, start.reread)
    if start.log is None:
        return service
    root = LoggedService(start.log)
    service.setServiceParent(root)  # type: ignore[no-untyped-call]
    return root


def check_state_dir(config: Config) -> None:
    """Make the state directory and try to write there.

    :raises SystemExit: that is not possible.
    """
    path = config.state_path
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise SystemExit(
            f"presence: state directory {path}: {_reason(error)}; make it writable for user "
            f"{_user()}, or choose another by state_dir or --state-dir"
        ) from None


def check_ports(config: Config) -> None:
    """Try to bind every listening point once.

    :raises SystemExit: one cannot be bound, as a rule because it is in use.
    """
    points = [
        (f"[[listen]] {_place(point)}", point.transport == "udp", point.address, point.bind_port)
        for point in config.listen
    ]
    points += [
        (f"{dotted(key)} {_http_place(at)}", False, at.address, at.port)
        for key, at in config.http_points()
    ]
    if config.metrics.enabled:
        points.append(("[metrics]", False, config.metrics.address, config.metrics.port))
    for name, datagrams, address, port in points:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        kind = socket.SOCK_DGRAM if datagrams else socket.SOCK_STREAM
        try:
            with socket.socket(family, kind) as probe:
                if not datagrams:  # as the reactor does: only a listening socket is in the way
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                probe.bind((address, port))
                if not datagrams:
                    probe.listen(1)
        except OSError as error:
            raise SystemExit(f"presence: {name}: {_bind_reason(error, port)}") from None


def _bind_reason(error: OSError, port: int) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            return (
                f"port {port} is in use; stop the program that has it (ss -lnp shows it) "
                "or configure another port"
            )
        case errno.EACCES:
            return f"user {_user()} may not bind port {port}; choose a port above 1023"
        case errno.EADDRNOTAVAIL | errno.EAFNOSUPPORT:
            return "this machine does not have the address; correct it (ip address shows them)"
        case _:
            return f"cannot be bound: {_reason(error)}"


def _place(listen: Listen) -> str:
    host = f"[{listen.address}]" if ":" in listen.address else listen.address
    return f"{listen.transport} {host}:{listen.bind_port}"


def _http_place(at: HttpListen) -> str:
    host = f"[{at.address}]" if ":" in at.address else at.address
    return f"{'https' if at.tls else 'http'} {host}:{at.port}"


def _reason(error: OSError) -> str:
    return error.strerror or str(error)


def _user() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())
