"""Figures in the text format, and health over HTTP."""

from __future__ import annotations

import http.client
import io
import ipaddress
import json
import os
import pathlib
import re
from collections.abc import Iterable
from typing import Any

import msgspec
from twisted.internet import reactor
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactor, MemoryReactorClock, StringTransport
from twisted.internet.threads import deferToThread
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase, TestCase

from presence import metrics
from presence.build import Node as Parts
from presence.build import build_node
from presence.config import Config
from presence.exposition import counter, exposition, gauge, histogram
from presence.health import HealthPort, make_site
from presence.metrics import collect
from presence.overload import LatencyGuard
from presence.registrar import Registrar
from presence.tables import Listen
from presence.turns import Turns
from presence.xdmmetrics import collect_xdm
from presence.xdmtables import BackEnd, HttpListen, Proxy, Xdms
from pysip.auth.trust import TrustPolicy
from pysip.dns import RecordCache
from pysip.transport.credentials import TlsSettings, load_credentials
from pysip.transport.udp import UdpTransport
from tests.certificates import issue, make_ca
from tests.node import ALICE, BOB, Node, pidf
from tests.presence import test_operation
from xcap.histogram import Histogram

ROOT = pathlib.Path(__file__).resolve().parents[2]
Samples = dict[str, float]

_SAMPLE = re.compile(r'^([a-z_]+)((?:\{(?:[a-z]+="(?:[^"\\]|\\.)*",?)+\})?) (\S+)$')


def parse(text: bytes) -> tuple[dict[str, str], Samples]:
    """Kinds by family name, and values by sample name with labels; strictly."""
    kinds: dict[str, str] = {}
    samples: Samples = {}
    assert text.endswith(b"\n")
    for line in text.decode().splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert name not in kinds, f"{name} comes twice"
            kinds[name] = kind
        elif not line.startswith("# HELP "):
            found = _SAMPLE.match(line)
            assert found, line
            name = re.sub("_(bucket|sum|count)$", "", found[1])
            assert found[1] in kinds or kinds[name] == "histogram", line
            assert found[1] + found[2] not in samples, f"{line} comes twice"
            samples[found[1] + found[2]] = float(found[3])
    return kinds, samples


class ExpositionTests(SynchronousTestCase):
    """The text format 0.0.4 (OBS-01)."""

    def test_text(self) -> None:
        """HELP, TYPE and samples; an empty family is left out."""
        families = [
            counter("a_total", "All of a.", ({"x": "1"}, 2), ({"x": "2"}, 0.5)),
            gauge("b", "One b.", ({}, 3.0)),
            counter("c_total", "None."),
        ]
        self.assertEqual(
            exposition(families).decode(),
            "# HELP a_total All of a.\n# TYPE a_total counter\n"
            'a_total{x="1"} 2\na_total{x="2"} 0.5\n'
            "# HELP b One b.\n# TYPE b gauge\nb 3\n",
        )

    def test_escapes(self) -> None:
        """Quotes, backslashes and line ends in labels cannot forge lines."""
        text = exposition([gauge("a", "h\n\\", ({"x": 'q"\\\n'}, 1))]).decode()
        self.assertEqual(text, '# HELP a h\\n\\\\\n# TYPE a gauge\na{x="q\\"\\\\\\n"} 1\n')

    def test_histogram(self) -> None:
        """Buckets are cumulative; the last is +Inf and equals the count."""
        values = Histogram((0.1, 1.0))
        for value in (0.05, 0.1, 0.5, 7.0):
            values.observe(value)
        _, samples = parse(exposition([histogram("h", "H.", values)]))
        self.assertEqual(
            samples,
            {
                'h_bucket{le="0.1"}': 2,
                'h_bucket{le="1"}': 3,
                'h_bucket{le="+Inf"}': 4,
                "h_sum": 7.65,
                "h_count": 4,
            },
        )


def parts(node: Node, **changes: Any) -> Parts:
    """The parts of a node in memory, as if they had been built from a configuration."""
    guard = LatencyGuard(node.clock, store_age=lambda: node.store.oldest)
    made: dict[str, Any] = {
        "wheel": node.wheel,
        "domains": node.domains,
        "accounts": ("alice", "bob"),
        "identities": node.identities,
        "store": node.store,
        "guard": guard,
        "records": RecordCache(None, node.clock),  # type: ignore[arg-type]
        "ua": node.ua,
        "events": node.presence,
        "registrar": Registrar(node.store, node.domains, node.clock, node.wheel, node.wall),
        "tls": {},
        "generated": None,
        "documents": None,
        "reading": None,
        "lists": None,
        "authorization": None,
        "permanent": None,
        "proxy": None,
        "content": None,
        "objects": None,
        "access": None,
        "sites": [],
        "removals": None,
        "turns": Turns(object()),
        "transports": [
            (Listen("udp"), node.ua.layer.transport("UDP")),
            (Listen("tcp"), node.ua.layer.transport("TCP")),
        ],
    }
    return Parts(**(made | changes))


class CollectTests(SynchronousTestCase):
    """Every figure moves when its reason happens (OBS-01, WISHES 23)."""

    def setUp(self) -> None:
        """A node that bob has published at, and alice watches."""
        self.node = Node()
        self.parts = parts(self.node)
        self.bob = self.node.peer("192.0.2.10")
        self.alice = self.node.peer("192.0.2.11")

    def samples(self, problems: dict[int, int] | None = None) -> Samples:
        """All samples now."""
        return parse(exposition(collect(self.parts, problems or {})))[1]

    def test_well_formed(self) -> None:
        """Counters end in _total and nothing else does."""
        self.bob.publish(pidf())
        kinds, _ = parse(exposition(collect(self.parts, {201: 1})))
        for name, kind in kinds.items():
            self.assertEqual(name.endswith("_total"), kind == "counter", name)
            self.assertRegex(name, "^(presence|process)_[a-z_]+$")

    def test_requests(self) -> None:
        """By transport, method and code, without retransmissions."""
        etag = self.bob.publish(pidf()).first("sip-etag")
        self.bob.publish(sip_if_match=etag)
        self.bob.publish(pidf(), sip_if_match="unknown")
        self.bob.ask(self.bob.request("OPTIONS"))
        self.bob.ask(self.bob.request("BREW"))
        over_tcp = self.node.peer("192.0.2.12", protocol="TCP")
        over_tcp.ask(over_tcp.request("OPTIONS"))
        again = self.bob.request("OPTIONS", branch="z9hG4bKagain")
        for _ in range(3):
            self.bob.ask(again)
        found = self.samples()
        requests = {name: n for name, n in found.items() if name.startswith("presence_requests_to")}
        self.assertEqual(
            requests,
            {
                'presence_requests_total{transport="UDP",method="PUBLISH"}': 3,
                'presence_requests_total{transport="UDP",method="OPTIONS"}': 2,
                'presence_requests_total{transport="UDP",method="other"}': 1,
                'presence_requests_total{transport="TCP",method="OPTIONS"}': 1,
            },
        )
        responses = {name: n for name, n in found.items() if "responses_total" in name}
        name = "presence_responses_total"
        self.assertEqual(
            responses,
            {
                f'{name}{{transport="UDP",method="PUBLISH",code="200"}}': 2,
                f'{name}{{transport="UDP",method="PUBLISH",code="412"}}': 1,
                f'{name}{{transport="UDP",method="OPTIONS",code="200"}}': 2,
                f'{name}{{transport="UDP",method="other",code="501"}}': 1,
                f'{name}{{transport="TCP",method="OPTIONS",code="200"}}': 1,
            },
        )
        self.assertEqual(found['presence_retransmissions_total{direction="received"}'], 2)

    def test_transports(self) -> None:
        """Messages in and out, malformed ones, connections."""
        self.bob.ask(self.bob.request("OPTIONS"))
        self.bob.send(b"no SIP at all\r\n\r\n")
        self.bob.send(b"\r\n\r\n")
        self.node.advance(0.1)
        over_tcp = self.node.peer("192.0.2.12", protocol="TCP")
        over_tcp.ask(over_tcp.request("OPTIONS"))
        found = self.samples()
        udp = '{transport="UDP",address="192.0.2.1:5060"}'
        tcp = '{transport="TCP",address="192.0.2.1:5060"}'
        self.assertEqual(found[f"presence_messages_received_total{udp}"], 2)
        self.assertEqual(found[f"presence_messages_sent_total{udp}"], 1)
        self.assertEqual(found[f"presence_messages_malformed_total{udp}"], 1)
        self.assertEqual(found[f"presence_messages_dropped_total{udp}"], 1)
        self.assertEqual(found[f"presence_messages_received_total{tcp}"], 1)
        self.assertEqual(found[f"presence_connections{tcp}"], 1)
        self.assertEqual(found[f"presence_connections_refused_total{tcp}"], 0)
        self.assertNotIn(f"presence_connections{udp}", found)

    def test_state(self) -> None:
        """Publications, subscriptions by state, presentities, NOTIFYs and their outcome."""
        self.bob.publish(pidf())
        self.bob.publish(pidf())
        self.alice.subscribe()
        self.node.watchers.default = "confirm"
        self.alice.subscribe("sip:carol@example.com")
        found = self.samples()
        self.assertEqual(found["presence_publications"], 2)
        self.assertEqual(found['presence_subscriptions{state="active"}'], 1)
        self.assertEqual(found['presence_subscriptions{state="pending"}'], 1)
        self.assertEqual(found['presence_presentities{has="publications"}'], 1)
        self.assertEqual(found['presence_presentities{has="watchers"}'], 2)
        self.assertEqual(found['presence_requests_sent_total{method="NOTIFY"}'], 2)
        self.assertEqual(found['presence_notify_outcomes_total{code="200"}'], 2)
        self.assertEqual(found["presence_accounts"], 2)
        self.assertEqual(found["presence_bindings"], 0)
        self.assertGreater(found["presence_timers"], 3)

    def test_lost_watcher(self) -> None:
        """An unanswered NOTIFY: repetitions, a client transaction, in the end a 408."""
        self.alice.answer = 0
        self.alice.subscribe()
        self.node.advance(2)
        found = self.samples()
        self.assertEqual(found['presence_transactions{side="client"}'], 1)
        self.assertEqual(found['presence_transactions{side="server"}'], 1)
        self.assertEqual(found['presence_retransmissions_total{direction="sent"}'], 2)
        self.node.advance(35)
        found = self.samples()
        self.assertEqual(found['presence_notify_outcomes_total{code="408"}'], 1)
        self.assertEqual(found['presence_transactions{side="client"}'], 0)

    def test_bindings(self) -> None:
        """Registered contacts."""
        self.node.ua.add_method("REGISTER", self.parts.registrar.serve)
        answer = self.alice.ask(
            self.alice.request("REGISTER", "sip:example.com", to=ALICE, sender=ALICE)
        )
        self.assertEqual(answer.status, 200)
        self.assertEqual(self.samples()["presence_bindings"], 1)

    def test_store(self) -> None:
        """Commits and rows; refusals, and that it refuses now."""
        self.bob.publish(pidf())
        found = self.samples()
        self.assertEqual(found["presence_store_commits_total"], 1)
        self.assertEqual(found["presence_store_rows_total"], 1)
        self.assertEqual(found["presence_store_commit_seconds_count"], 1)
        self.assertEqual(found["presence_store_failed"], 0)
        self.node.store.fail_next()
        self.bob.publish(pidf())
        found = self.samples()
        self.assertEqual(found["presence_store_failed"], 1)
        self.assertEqual(found["presence_store_refused_total"], 1)
        self.assertEqual(found["presence_store_oldest_change_seconds"], 0)

    def test_strain(self) -> None:
        """Lateness of the event loop, load, and what was refused for it."""
        guard = self.parts.guard
        guard.start()
        self.addCleanup(guard.stop)
        self.node.clock.advance(0.25 + 0.75)
        guard.admit("PUBLISH", True)
        found = self.samples()
        self.assertEqual(found['presence_event_loop_delay_seconds_bucket{le="0.5"}'], 0)
        self.assertEqual(found['presence_event_loop_delay_seconds_bucket{le="1"}'], 1)
        self.assertEqual(found["presence_overload_load"], 1.5)
        self.assertEqual(found["presence_overload_shed_total"], 1)

    def test_turns(self) -> None:
        """Processor time of the turns of the event loop, until it is measured no more."""
        times = iter((1.0, 1.002, 1.032, 1.033))
        waited: list[float] = []

        class Reactor:
            """As far as it is looked at."""

            def doIteration(self, delay: float) -> None:
                """A turn."""
                waited.append(delay)

        reactor = Reactor()
        turns = Turns(reactor, lambda: next(times))
        turns.stop()
        turns.start()
        self.parts = parts(self.node, turns=turns)
        for delay in (0.1, 0.2, 0.3):
            reactor.doIteration(delay)
        found = self.samples()
        self.assertEqual(found['presence_event_loop_turn_seconds_bucket{le="0.025"}'], 2)
        self.assertEqual(found['presence_event_loop_turn_seconds_bucket{le="0.05"}'], 3)
        self.assertAlmostEqual(found["presence_event_loop_longest_turn_seconds"], 0.03)
        turns.stop()
        reactor.doIteration(0.4)
        self.assertEqual(waited, [0.1, 0.2, 0.3, 0.4])

    def test_peers(self) -> None:
        """Requests of trusted peers by their address; others are not listed."""
        trust = TrustPolicy([(ipaddress.ip_network("192.0.2.8/29"), None)])
        self.node = Node(trust=trust, mode="none")
        self.node.identities._mode = "trust"
        self.parts = parts(self.node)
        for host in ("192.0.2.10", "192.0.2.10", "192.0.2.11", "192.0.2.99"):
            peer = self.node.peer(host, self.node.network.free_port())
            peer.ask(peer.request("OPTIONS"))
        peers = {name: n for name, n in self.samples().items() if "peer_requests" in name}
        self.assertEqual(
            peers,
            {
                'presence_peer_requests_total{peer="192.0.2.10"}': 2,
                'presence_peer_requests_total{peer="192.0.2.11"}': 1,
            },
        )

    def test_many_peers(self) -> None:
        """However many peers are trusted, the list has an end."""
        self.node = Node(trust=TrustPolicy([(ipaddress.ip_network("10.0.0.0/8"), None)]))
        self.node.identities._mode = "trust"
        for number in range(250):
            peer = self.node.peer(f"10.0.0.{number}")
            peer.send(peer.request("OPTIONS"))
        self.node.advance(0.1)
        peers = self.node.identities.peers
        self.assertEqual((len(peers), peers["other"]), (201, 50))

    def test_certificates(self) -> None:
        """When the certificate of a TLS listening point expires."""
        own = issue(make_ca(), days=20)
        credentials = load_credentials(own.certificate, own.key)
        listen = Listen("tls")
        transport = self.node.ua.layer.transport("TCP")
        self.parts = parts(
            self.node,
            tls={listen: TlsSettings(credentials=credentials)},
            transports=[(Listen("udp"), self.node.ua.layer.transport("UDP")), (listen, transport)],
        )
        found = {name: n for name, n in self.samples().items() if "certificate" in name}
        self.assertEqual(
            list(found.values()), [credentials.certificate.not_valid_after_utc.timestamp()]
        )

    def test_overflow(self) -> None:
        """Datagrams that the system has dropped, where it tells them."""
        real = UdpTransport(Clock(), "127.0.0.1", 0)  # type: ignore[arg-type]
        self.patch(real, "_reactor", MemoryReactor())
        real.start(None)  # type: ignore[arg-type]
        self.addCleanup(real.stop)
        self.parts = parts(self.node, transports=[(Listen("udp"), real)])
        name = f'presence_udp_overflow_total{{transport="UDP",address="127.0.0.1:{real.local[1]}"}}'
        inode = os.fstat(real.fileno()).st_ino
        self.patch(metrics, "_kernel_drops", lambda: {inode: 7, 1: 8})
        self.assertEqual(self.samples()[name], 7)
        self.patch(metrics, "_kernel_drops", dict)
        self.assertNotIn(name, self.samples())

    def test_kernel_table(self) -> None:
        """The system's table of UDP sockets is read as proc(5) has it."""
        line = (
            "  108: 0100007F:13C4 00000000:0000 07 00000000:00000000 00:00000000 00000000"
            "  1000        0 424242 2 0000000000000000 17\n"
        )
        vars(metrics)["open"] = lambda *_, **__: io.StringIO("head\n" + line)
        self.addCleanup(vars(metrics).pop, "open")
        self.assertEqual(metrics._kernel_drops(), {424242: 17})

    def test_problems(self) -> None:
        """Numbered problems."""
        found = self.samples({201: 3, 501: 1})
        self.assertEqual(found['presence_problems_total{number="201"}'], 3)
        self.assertEqual(found['presence_problems_total{number="501"}'], 1)

    def test_process(self) -> None:
        """Versions, CPU, memory and descriptors of the process."""
        found = self.samples()
        self.assertGreater(found["process_cpu_seconds_total"], 0)
        self.assertGreater(found["process_resident_memory_bytes"], 1e6)
        self.assertGreater(found["process_open_fds"], 2)
        self.assertTrue(any(name.startswith("presence_info{version=") for name in found))

    def test_no_users(self) -> None:
        """SEC-04: no figure names a user, a Call-ID or a document."""
        self.bob.publish(pidf(note="secret"))
        self.alice.subscribe()
        text = exposition(collect(self.parts, {})).decode()
        self.assertNotRegex(text, "bob|alice|example|secret|@")


class PageTests(SynchronousTestCase):
    """The pages, on a connection in memory."""

    def setUp(self) -> None:
        """A site with one figure and settable checks."""
        self.checks = {"process": "", "store": ""}
        self.figures = lambda: [gauge("a", "A.", ({}, 1))]
        self.site = make_site(lambda: self.figures(), lambda: self.checks, Clock())

    def get(self, path: str, method: str = "GET") -> tuple[int, dict[str, str], str]:
        """Status, header and body."""
        channel: Any = self.site.buildProtocol(None)
        transport = StringTransport()
        channel.makeConnection(transport)
        request = f"{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        channel.dataReceived(request.encode())
        head, _, body = transport.value().decode().partition("\r\n\r\n")
        start, *lines = head.split("\r\n")
        fields = {name.lower(): value for name, _, value in (x.partition(": ") for x in lines)}
        return int(start.split()[1]), fields, body

    def test_metrics(self) -> None:
        """The figures, with the type that Prometheus expects (OBS-01)."""
        status, fields, body = self.get("/metrics")
        self.assertEqual(status, 200)
        self.assertEqual(fields["content-type"], "text/plain; version=0.0.4; charset=utf-8")
        self.assertEqual(body, "# HELP a A.\n# TYPE a gauge\na 1\n")

    def test_live(self) -> None:
        """Liveness needs nothing but the process (NFR-04)."""
        self.checks = {"process": "starting", "store": "refuses writes"}
        self.assertEqual(self.get("/livez")[::2], (200, "ok\n"))

    def test_ready(self) -> None:
        """Readiness names what is the matter, and is 503 until all is well (NFR-04)."""
        self.assertEqual(self.get("/readyz")[::2], (200, "process: ok\nstore: ok\n"))
        self.checks["store"] = "refuses writes"
        self.assertEqual(self.get("/readyz")[::2], (503, "process: ok\nstore: refuses writes\n"))

    def test_head(self) -> None:
        """HEAD gives the head alone."""
        self.assertEqual(self.get("/readyz", "HEAD")[::2], (200, ""))

    def test_others(self) -> None:
        """Nothing else is there, and nothing can be changed."""
        self.assertEqual(self.get("/")[0], 404)
        self.assertEqual(self.get("/metrics/x")[0], 404)
        self.assertEqual(self.get("/metrics", "POST")[0], 405)
        self.assertEqual(self.get("/metrics", "PUT")[0], 405)

    def test_bug(self) -> None:
        """A collector that fails gives a 500 without a traceback in it."""
        self.figures = lambda: [gauge("a", "A.", ({}, 1 // 0))]
        status, _, body = self.get("/metrics")
        self.assertEqual(status, 500)
        self.assertNotIn("Traceback", body)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_quiet(self) -> None:
        """Being asked leaves no line in the log."""
        events: list[Any] = []
        globalLogPublisher.addObserver(events.append)
        self.addCleanup(globalLogPublisher.removeObserver, events.append)
        self.get("/metrics")
        self.assertEqual(events, [])


class PortTests(TestCase):
    """The pages over loopback."""

    async def test_http(self) -> None:
        """A real client gets the page; after the stop nobody listens."""
        site = make_site(lambda: [gauge("a", "A.", ({}, 1))], dict, reactor)  # type: ignore[arg-type]
        port = HealthPort(reactor, "127.0.0.1", 0, site)  # type: ignore[arg-type]
        self.assertEqual(port.port, 0)
        port.start()
        number = port.port
        status, body = await deferToThread(fetch, number)
        self.assertEqual((status, body.splitlines()[-1]), (200, b"a 1"))
        await port.stop()
        self.assertEqual(port.port, 0)
        await port.stop()
        with self.assertRaises(ConnectionRefusedError):
            await deferToThread(fetch, number)

    def test_only_there(self) -> None:
        """It listens on the configured address and port."""
        memory = MemoryReactorClock()
        HealthPort(memory, "127.0.0.1", 9464, make_site(list, dict, memory)).start()
        ((number, _, _, address),) = memory.tcpServers
        self.assertEqual((address, number), ("127.0.0.1", 9464))


def fetch(port: int) -> tuple[int, bytes]:
    """Status and body of ``/metrics``."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", "/metrics", headers={"Connection": "close"})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


class OperatorFileTests(SynchronousTestCase):
    """Alert rules and dashboard name metrics that exist."""

    def names(self) -> set[str]:
        """All series names that a node with some traffic offers."""
        case = CollectTests("test_state")
        case.setUp()
        case.bob.publish(pidf())
        case.alice.subscribe(BOB)
        case.node.identities.peers["192.0.2.1"] += 1
        found: set[str] = set()
        for family in (*collect(case.parts, {201: 1}), *collect_xdm(self.documents())):
            found.update(family.name + suffix for suffix, _, _ in family.samples or [("", {}, 0)])
        return found

    def check(self, expressions: Iterable[str]) -> None:
        """Every metric in the expressions exists; there are some."""
        used = {
            name
            for expression in expressions
            for name in re.findall(r"\b(?:presence|process)_[a-z_]+\b", expression)
        }
        self.assertGreater(len(used), 4)
        self.assertEqual(used - self.names(), set())

    def test_alerts(self) -> None:
        """etc/prometheus/presence-alerts.yml."""
        text = (ROOT / "etc" / "prometheus" / "presence-alerts.yml").read_text()
        expressions = re.findall(r"^ +expr: (.+)$", text, re.M)
        self.assertEqual(len(expressions), text.count("- alert: "))
        self.assertEqual(len(expressions), text.count("summary: "))
        self.check(expressions)
        numbers = set(re.findall(r"docs/problems.md, P(\d+)", text))
        guide = (ROOT / "docs" / "problems.md").read_text()
        for number in numbers:
            self.assertIn(f"## P{number}: ", guide)

    def test_dashboard(self) -> None:
        """etc/grafana/presence.json."""
        board = json.loads((ROOT / "etc" / "grafana" / "presence.json").read_text())
        panels = board["panels"]
        self.assertEqual(len({panel["id"] for panel in panels}), len(panels))
        for panel in panels:
            self.assertTrue(panel["title"] and panel["targets"], panel)
        self.check(target["expr"] for panel in panels for target in panel["targets"])

    def test_guide(self) -> None:
        """docs/operator.md lists every metric with its kind, and no other."""
        guide = (ROOT / "docs" / "operator.md").read_text()
        told = dict(re.findall(r"^\| `((?:presence|process)_[a-z_]+)` \| (\w+) \|", guide, re.M))
        case = CollectTests("test_state")
        case.setUp()
        offered = {family.name: family.kind for family in collect(case.parts, {})}
        offered |= {family.name: family.kind for family in collect_xdm(self.documents())}
        self.assertEqual(told, offered)

    def documents(self) -> Parts:
        """A node with all roles, and a document server elsewhere."""
        elsewhere = BackEnd(name="other", servers=("http://127.0.0.1:1/",), auids=("x",))
        config = Config(
            state_dir=str(pathlib.Path(self.mktemp()).absolute()),
            listen=(Listen("udp", port=0),),
            store=msgspec.structs.replace(Config().store, type="memory"),
            xdms=Xdms(listen=(HttpListen(port=0, tls=False),)),
            proxy=Proxy(listen=(HttpListen(port=0),), backend=(elsewhere,)),
        )
        node = build_node(config, test_operation.Reactor())
        self.addCleanup(node.wheel.stop)
        return node

    def test_documents(self) -> None:
        """What the HTTP side does is counted, by server (AGP-85)."""
        node = self.documents()
        assert node.proxy is not None and node.documents is not None
        node.proxy.proxy.requests["resource-lists", "GET", 200] = 3
        node.documents.server.answers["resource-lists", "GET", 200] = 4
        node.proxy.authenticator.outcomes["wrong"] = 2
        node.proxy.site.counters.malformed = 5
        node.proxy.servers.remotes[0].failures["refused"] = 6
        _, samples = parse(exposition(collect_xdm(node)))
        told = 'auid="resource-lists",method="GET",code="200"'
        for name, value in (
            (f'presence_xcap_answers_total{{server="proxy",{told}}}', 3),
            (f'presence_xcap_answers_total{{server="xdms",{told}}}', 4),
            ('presence_proxy_authentications_total{outcome="wrong"}', 2),
            ('presence_http_malformed_total{server="proxy"}', 5),
            ('presence_http_malformed_total{server="xdms"}', 0),
            ('presence_backend_failures_total{backend="other",kind="refused"}', 6),
            ('presence_backend_up{backend="other"}', 1),
        ):
            self.assertEqual(samples[name], value, name)

    def test_content(self) -> None:
        """What the Content Server does is counted, and no object named (OBS-01)."""
        node = self.documents()
        assert node.content is not None
        node.content.server.requests["object", "GET", 200] = 3
        node.content.server.sent = 700
        node.content.ending.expired = 5
        node.content.authenticator.outcomes["wrong"] = 2
        _, samples = parse(exposition(collect_xdm(node)))
        for name, value in (
            ('presence_content_answers_total{kind="object",method="GET",code="200"}', 3),
            ("presence_content_sent_bytes_total", 700),
            ('presence_content_removed_total{reason="expired"}', 5),
            ('presence_content_removed_total{reason="user"}', 0),
            ('presence_content_authentications_total{outcome="wrong"}', 2),
            ("presence_content_failed", 0),
            ("presence_content_objects", 0),
        ):
            self.assertEqual(samples[name], value, name)
