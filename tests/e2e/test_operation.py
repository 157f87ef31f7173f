"""What operators see of the real daemon: start, figures, health, trace (OBS-01 to OBS-03)."""

from __future__ import annotations

import http.client
import re
import sqlite3
import stat
import time

from twisted.trial.unittest import SynchronousTestCase

from tests.e2e.daemon import DIGEST_POINTS, OPEN_POINTS, PASSWORD, Daemon, tables
from tests.e2e.phone import aor, notes, pidf
from tests.presence.test_metrics import Samples, parse


class OperationCase(SynchronousTestCase):
    """A daemon that offers its figures."""

    def offer(self, daemon: Daemon) -> None:
        """Start it with metrics at a port that the system chooses."""
        daemon.settings["metrics"] = {"enabled": True, "port": 0}
        daemon.write()
        daemon.start()
        self.daemon = daemon
        self.place = re.findall(r"metrics and health at http://([\d.:]+)/metrics", daemon.log())[-1]

    def get(self, path: str) -> tuple[int, bytes]:
        """Status and body of a page."""
        connection = http.client.HTTPConnection(self.place, timeout=10)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def figures(self) -> Samples:
        """All samples now."""
        status, body = self.get("/metrics")
        self.assertEqual(status, 200)
        return parse(body)[1]


class Figures(OperationCase):
    """OBS-01, NFR-04, WISHES 23."""

    def test_figures(self) -> None:
        """Every figure tells what clients have done over UDP, TCP and TLS with Digest."""
        self.offer(Daemon(self, DIGEST_POINTS, ("alice", "bob")))
        alice, bob = self.daemon.phone("tls", "alice"), self.daemon.phone("tcp", "bob")
        alice.register()
        published = alice.publish(pidf("alice", "here"))
        watch = bob.subscribe("alice")
        self.assertEqual(notes(bob.notify(watch)), ["here"])
        alice.publish(etag=published["sip-etag"])
        alice.publish(etag="unknown")
        guest = self.daemon.phone("udp", "alice", "wrong")
        guest.publish(pidf("alice", "x"))
        guest.wire.send(b"no SIP at all\r\n\r\n")
        guest.wire.send(b"\r\n\r\n")
        self.daemon.answers()
        guest.listen(0.3)  # a sample of the event loop's lateness
        found = self.figures()

        def count(name: str, **labels: str) -> float:
            """Sum of the samples with these labels."""
            return sum(
                value
                for sample, value in found.items()
                if sample.partition("{")[0] == name
                and all(f'{label}="{text}"' in sample for label, text in labels.items())
            )

        self.assertEqual(count("presence_requests_total", transport="TLS", method="REGISTER"), 2)
        self.assertEqual(count("presence_requests_total", transport="TLS", method="PUBLISH"), 6)
        self.assertEqual(count("presence_requests_total", transport="TCP", method="SUBSCRIBE"), 2)
        self.assertEqual(count("presence_requests_total", transport="UDP", method="PUBLISH"), 2)
        self.assertEqual(count("presence_responses_total", transport="TLS", code="412"), 1)
        self.assertEqual(count("presence_responses_total", transport="UDP", code="200"), 0)
        self.assertEqual(count("presence_responses_total", method="PUBLISH", code="200"), 2)
        self.assertEqual(count("presence_requests_sent_total", method="NOTIFY"), 1)
        self.assertEqual(count("presence_notify_outcomes_total", code="200"), 1)
        self.assertEqual(count("presence_connections", transport="TLS"), 1)
        self.assertEqual(count("presence_connections", transport="TCP"), 1)
        self.assertEqual(count("presence_messages_malformed_total", transport="UDP"), 1)
        self.assertEqual(count("presence_messages_dropped_total", transport="UDP"), 1)
        self.assertEqual(count("presence_publications"), 1)
        self.assertEqual(count("presence_subscriptions", state="active"), 1)
        self.assertEqual(count("presence_bindings"), 1)
        self.assertEqual(count("presence_accounts"), 2)
        self.assertEqual(count("presence_presentities"), 2)
        self.assertEqual(count("presence_store_failed"), 0)
        commits = count("presence_store_commits_total")
        self.assertGreaterEqual(commits, 4)
        self.assertGreaterEqual(count("presence_store_rows_total"), commits)
        self.assertEqual(count("presence_store_commit_seconds_count"), commits)
        self.assertGreater(count("presence_event_loop_delay_seconds_count"), 0)
        self.assertLess(count("presence_overload_load"), 1)
        self.assertEqual(count("presence_overload_shed_total"), 0)
        self.assertEqual(count("presence_problems_total"), 0)
        year = 365 * 86400
        self.assertGreater(
            count("presence_certificate_expiry_timestamp_seconds"), time.time() + year
        )
        received = count("presence_messages_received_total")
        self.assertGreaterEqual(received, count("presence_requests_total"))

    def test_trusted_peers(self) -> None:
        """Requests of a trusted peer are counted for it."""
        point = {"udp": {"transport": "udp", "auth": "both"}}
        self.offer(Daemon(self, point, (), tables(trust={"peers": ["127.0.0.1"]})))
        phone = self.daemon.phone("udp", "alice")
        phone.publish(pidf("alice", "x"), p_asserted_identity=f"<{aor('alice')}>")
        found = self.figures()
        self.assertGreaterEqual(found['presence_peer_requests_total{peer="127.0.0.1"}'], 1)

    def test_health(self) -> None:
        """Ready while the store takes writes; alive all the time (NFR-04, P201)."""
        self.offer(Daemon(self, OPEN_POINTS))
        self.daemon.expected = "P201"
        self.assertEqual(self.get("/livez"), (200, b"ok\n"))
        self.assertEqual(self.get("/readyz"), (200, b"process: ok\nstore: ok\n"))
        phone = self.daemon.phone("udp", "alice")
        other = sqlite3.connect(self.daemon.state / "presence.sqlite", isolation_level=None)
        self.addCleanup(other.close)
        other.execute("BEGIN IMMEDIATE")
        self.assertEqual(phone.publish(pidf("alice", "x")).status, 500)
        self.assertEqual(self.get("/readyz"), (503, b"process: ok\nstore: refuses writes\n"))
        self.assertEqual(self.get("/livez")[0], 200)
        found = self.figures()
        self.assertEqual(found["presence_store_failed"], 1)
        self.assertEqual(found['presence_problems_total{number="201"}'], 1)
        other.execute("ROLLBACK")
        self.daemon.await_log("P201 is over")
        self.assertEqual(self.get("/readyz")[0], 200)
        self.assertEqual(phone.publish(pidf("alice", "x")).status, 200)

    def test_off_by_default(self) -> None:
        """Nobody asked for it: no port, no word."""
        daemon = Daemon(self, OPEN_POINTS).start()
        self.assertNotIn("metrics", daemon.log())


class Tracing(SynchronousTestCase):
    """OBS-02."""

    def test_trace(self) -> None:
        """Begun and ended by SIGHUP; full messages, masked credentials; no name in the log."""
        daemon = Daemon(self, DIGEST_POINTS, ("alice", "bob", "carol")).start()
        alice, bob = daemon.phone("tls", "alice"), daemon.phone("udp", "bob")
        carol = daemon.phone("tcp", "carol")
        file = daemon.state / "trace.log"
        alice.publish(pidf("alice", "before"))
        self.assertFalse(file.exists())

        daemon.settings["trace"] = {"users": [aor("alice").removeprefix("sip:")]}
        daemon.reload()
        etag = alice.publish(pidf("alice", "traced"))["sip-etag"]
        watch = bob.subscribe("alice")
        bob.notify(watch)
        carol.publish(pidf("carol", "somebody else"))
        text = file.read_text()
        self.assertEqual(stat.S_IMODE(file.stat().st_mode), 0o600)
        for part in ("PUBLISH ", "SUBSCRIBE ", "NOTIFY ", "SIP/2.0 401", "SIP/2.0 200", "traced"):
            self.assertIn(part, text)
        self.assertIn('response="***"', text)
        self.assertNotRegex(text, r'response="?[0-9a-f]|somebody else|carol')
        self.assertNotIn(PASSWORD, text)

        daemon.settings["trace"] = {"users": []}
        daemon.reload()
        alice.publish(pidf("alice", "after"), etag=etag)
        self.assertEqual(file.read_text(), text)
        log = daemon.log()
        self.assertIn("tracing 1 users to", log)
        self.assertIn("tracing has ended", log)


class Start(SynchronousTestCase):
    """What a newcomer sees first."""

    def test_first(self) -> None:
        """Where it listens, where its state is, how to make an account; no noise."""
        daemon = Daemon(self).start()
        log = daemon.log()
        self.assertEqual(log.count("SHA-256 "), 1)
        self.assertIn(f"from {daemon.state} in", log)
        self.assertIn("presencectl account add <name>@", log)
        self.assertIn(f"--state-dir {daemon.state}", log)
        self.assertLess(len(log.splitlines()), 9)
        self.assertNotRegex(log, "resolv|Resolver|starting|reactor class")

    def test_later(self) -> None:
        """With an account there is nothing to be told."""
        daemon = Daemon(self, DIGEST_POINTS, ("alice",)).start()
        self.assertNotIn("account add", daemon.log())
        self.assertIn("1 accounts", daemon.log())

    def test_debug(self) -> None:
        """OBS-03: with level debug all lines of a request have its correlation."""
        daemon = Daemon(self, OPEN_POINTS, (), tables(log={"level": "debug"}))
        daemon.expected = "#debug|#info"
        daemon.start()
        phone = daemon.phone("udp", "alice")
        phone.publish(pidf("alice", "x"))
        lines = [line for line in daemon.log().splitlines() if "PUBLISH" in line]
        calls = [re.findall(r"\(call ([0-9a-f]{12})\)$", line) for line in lines]
        self.assertEqual(len(calls), 2, lines)
        self.assertEqual(calls[0], calls[1])
        self.assertEqual(len(calls[0]), 1)
