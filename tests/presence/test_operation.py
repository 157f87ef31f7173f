"""What operators see of a node: readiness, certificates, what a reload changes."""

from __future__ import annotations

import contextlib
import datetime
import pathlib
from typing import Any

from msgspec.structs import replace
from OpenSSL import SSL
from twisted.internet.interfaces import IReactorFromThreads
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import Logger, LogPublisher
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from presence import build, certificate, endpoints, service
from presence.config import Config, Listen, Metrics, Tls, Trace
from presence.config import Log as LogTable
from presence.expiry import CertificateWatch
from presence.operation import Operation
from presence.oplog import BUG, report
from pysip.timers import TimerWheel
from pysip.transport.credentials import Credentials, TlsSettings, load_credentials
from tests.certificates import issue, make_ca

DAY = 86400


@implementer(IReactorFromThreads)
class Reactor(MemoryReactorClock):
    """Opens no port and no file."""

    def callFromThread(self, function: Any, *arguments: Any) -> None:  # type: ignore[override]
        """Call at once."""
        function(*arguments)


class OperationCase(SynchronousTestCase):
    """A node that was built and is not started."""

    points: tuple[Listen, ...] = (Listen("udp", port=0), Listen("tls", port=0))

    def setUp(self) -> None:
        """Build it."""
        self.state = pathlib.Path(self.mktemp()).absolute()
        self.config = Config(
            state_dir=str(self.state),
            listen=self.points,
            metrics=Metrics(enabled=True, port=9464),
            store=replace(Config().store, type="memory"),
        )
        self.reactor = Reactor()
        self.node = build.build_node(self.config, self.reactor)
        self.addCleanup(self.node.wheel.stop)
        self.life = "starting"
        self.operation = Operation(self.config, self.node, self.reactor, lambda: self.life)

    def start(self) -> None:
        """Begin to watch."""
        self.operation.start()
        self.addCleanup(self.operation.stop)


class BuildTests(OperationCase):
    """The parts follow the configuration."""

    def test_one_certificate(self) -> None:
        """The self-signed certificate is made once, whatever number of TLS points uses it."""
        points = [Listen("tls", port=0), Listen("tls", "::1", 0), Listen("udp")]
        settings, generated = endpoints.tls_settings(self.config, points)
        self.assertEqual(list(settings), points[:2])
        assert generated is not None
        first, second = (one.credentials for one in settings.values())
        assert first is not None and second is not None
        self.assertEqual(first.certificate, second.certificate)

    def test_no_tls(self) -> None:
        """Without a TLS listening point there is no certificate."""
        self.assertEqual(endpoints.tls_settings(self.config, [Listen("udp")]), ({}, None))

    def test_minimum_version(self) -> None:
        """TRN-02: tls.minimum_version reaches the transport."""
        config = replace(self.config, tls=Tls(minimum_version="1.3"))
        ((_, settings),) = endpoints.tls_settings(config, self.points)[0].items()
        self.assertEqual(settings.minimum_version, "1.3")

    def test_store_age(self) -> None:
        """OVL-01: overload control looks at the age of what is not durable."""
        self.assertEqual(self.node.guard._store_age(), 0.0)
        self.node.store._since = self.reactor.seconds() - 3  # type: ignore[attr-defined]
        self.assertEqual(self.node.guard._store_age(), 3)

    def test_reload_with_other_points(self) -> None:
        """NFR-02: certificates are read again though the file names other listening points."""
        before = self.node.tls[self.points[1]]
        changed = replace(self.config, listen=(Listen("udp", port=0),))
        endpoints.reload_certificates(changed, self.node)
        self.assertEqual(list(self.node.tls), [self.points[1]])
        self.assertIsNot(self.node.tls[self.points[1]], before)

    def test_account_command(self) -> None:
        """A newcomer is told how to make an account."""
        self.assertEqual(
            service._account_command(self.config),
            f"presencectl account add <name>@localhost --state-dir {self.state}",
        )
        built_in = Config(state_dir=str(pathlib.Path(Config().state_dir).expanduser()))
        self.assertEqual(
            service._account_command(built_in), "presencectl account add <name>@localhost"
        )

    def test_account_program(self) -> None:
        """It is the program beside the one that runs."""
        self.state.mkdir(exist_ok=True)
        (self.state / "presencectl").touch()
        self.patch(service.sys, "argv", [str(self.state / "twistd")])
        command = service._account_command(self.config)
        self.assertTrue(command.startswith(f"{self.state}/presencectl account add"), command)


class ReadinessTests(OperationCase):
    """NFR-04."""

    def test_checks(self) -> None:
        """Ready when the process runs and the store takes writes."""
        self.assertEqual(self.operation.checks(), {"process": "starting", "store": ""})
        self.life = ""
        self.assertFalse(any(self.operation.checks().values()))
        self.node.store.failed = True
        self.assertEqual(self.operation.checks(), {"process": "", "store": "refuses writes"})

    def test_port(self) -> None:
        """The HTTP port is opened before the store is, on loopback; off by default."""
        self.start()
        ((port, _, _, address),) = self.reactor.tcpServers
        self.assertEqual((address, port), ("127.0.0.1", 9464))
        off = replace(self.config, metrics=Metrics())
        self.assertIsNone(Operation(off, self.node, self.reactor, str).http)
        self.assertFalse(Config().metrics.enabled)

    def test_problems(self) -> None:
        """Problems are counted from the start to the stop."""
        counts = self.operation._problems.counts
        report(Logger("test"), BUG, "before")
        self.start()
        report(Logger("test"), BUG, "x")
        self.operation.stop()
        report(Logger("test"), BUG, "after")
        self.assertEqual(counts, {501: 1})

    def test_reload(self) -> None:
        """OBS-02, OBS-03: trace and debug lines begin and end with a reload."""
        self.start()
        udp: Any = self.node.transports[0][1]
        self.assertIsNone(udp.tap)
        for changes in ({"trace": Trace(users=("a@localhost",))}, {"log": LogTable("debug")}):
            self.operation.apply(replace(self.config, **changes))
            self.assertIsNotNone(udp.tap, changes)
        self.assertTrue((self.state / "trace.log").exists())
        self.operation.apply(self.config)
        self.assertIsNone(udp.tap)


class CertificateTests(OperationCase):
    """P101, and the self-signed certificate."""

    def setUp(self) -> None:
        """Keep what the watch reports."""
        super().setUp()
        self.events: list[dict[str, Any]] = []
        log = Logger("test", observer=LogPublisher(self.events.append))
        self.patch(CertificateWatch, "_log", log)
        self.patch(Operation, "_log", log)
        self.clock = Clock()
        self.renewed = 0

    def credentials(self, days: float) -> Credentials:
        """Credentials that are valid for so long."""
        issued = issue(make_ca(), days=days)
        return load_credentials(issued.certificate, issued.key)

    def causes(self) -> list[str]:
        """Causes of the problems reported."""
        return [event["cause"] for event in self.events if event.get("number") == 101]

    def watch(self, **credentials: Credentials) -> None:
        """Begin to watch these."""

        def renew() -> None:
            self.renewed += 1

        wheel = TimerWheel(self.clock, granularity=60)
        self.addCleanup(wheel.stop)
        CertificateWatch(wheel, lambda: credentials, renew).start()

    def test_soon(self) -> None:
        """Only what expires within 14 days is reported, with the listening point and the day."""
        self.watch(good=self.credentials(20), bad=self.credentials(10))
        (cause,) = self.causes()
        day = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=10)
        self.assertIn("that of bad expires on ", cause)
        self.assertIn(f"{day:%Y-%m-%d}", cause)

    def test_each_day(self) -> None:
        """It is looked at again each day, after what can be renewed was."""
        self.watch(bad=self.credentials(10))
        for _ in range(2 * 24 + 1):
            self.clock.advance(3600)
        self.assertEqual((len(self.causes()), self.renewed), (3, 2))

    def test_expired(self) -> None:
        """One that has expired is told of in other words."""
        good = self.credentials(10)
        self.patch(Credentials, "seconds_left", lambda _: -5.0)
        self.watch(bad=good)
        self.assertIn("has expired", self.causes()[0])

    def test_self_signed(self) -> None:
        """The generated certificate is made anew before it would be reported."""
        self.start()
        before = self.node.generated
        self.patch(certificate, "_RENEW_BEFORE", datetime.timedelta(days=900))
        self.operation._renew()
        after = self.node.generated
        assert before is not None and after is not None
        self.assertNotEqual(before.fingerprint, after.fingerprint)
        self.assertEqual(self.causes(), [])

    def test_cannot_renew(self) -> None:
        """When that fails it is a problem, and the old one stays."""
        self.start()
        before = self.node.tls

        def fail(*_: object) -> None:
            raise OSError("read-only file system")

        self.patch(endpoints, "ensure_certificate", fail)
        self.operation._renew()
        self.assertIs(self.node.tls, before)
        self.assertIn("read-only file system", self.causes()[0])

    def test_named_certificates_are_left_alone(self) -> None:
        """Files of the operator are read at SIGHUP only."""
        self.node.generated = None
        before = self.node.tls
        self.operation._renew()
        self.assertIs(self.node.tls, before)


class VersionTests(SynchronousTestCase):
    """TRN-02: the oldest TLS version spoken."""

    def handshake(self, server: str, newest_of_client: int) -> str:
        """The version that a server and a client agree on."""
        issued = issue(make_ca(), ["localhost"])
        settings = TlsSettings(
            credentials=load_credentials(issued.certificate, issued.key),
            client_certificates="none",
            minimum_version=server,  # type: ignore[arg-type]
        )
        context = SSL.Context(SSL.TLS_METHOD)
        context.set_max_proto_version(newest_of_client)
        ends = SSL.Connection(settings.server_context()), SSL.Connection(context)
        ends[0].set_accept_state()
        ends[1].set_connect_state()
        for _ in range(6):
            for here, there in (ends, ends[::-1]):
                with contextlib.suppress(SSL.WantReadError):
                    here.do_handshake()
                with contextlib.suppress(SSL.WantReadError):
                    there.bio_write(here.bio_read(65536))
        return ends[1].get_protocol_version_name()

    def test_default(self) -> None:
        """TLS 1.2 and 1.3, by default."""
        self.assertEqual(self.handshake("1.2", SSL.TLS1_2_VERSION), "TLSv1.2")
        self.assertEqual(self.handshake("1.2", SSL.TLS1_3_VERSION), "TLSv1.3")

    def test_newer_only(self) -> None:
        """With 1.3 as minimum a client of 1.2 is refused."""
        self.assertEqual(self.handshake("1.3", SSL.TLS1_3_VERSION), "TLSv1.3")
        self.assertRaises(SSL.Error, self.handshake, "1.3", SSL.TLS1_2_VERSION)
