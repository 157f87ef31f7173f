"""Start, stop, reload and what can go wrong with them (issue 2, items 4 and 5; OVL-05)."""

from __future__ import annotations

import os
import signal
import socket
import time
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.certificates import issue, make_ca
from tests.e2e import wire
from tests.e2e.daemon import OPEN_POINTS, Daemon, run, tables, write_config
from tests.e2e.phone import Phone, aor, notes, pidf

_SILENCE = 0.6
_BURST = 60


class Stopping(SynchronousTestCase):
    """SIGTERM and the start after it."""

    def test_state_survives(self) -> None:
        """After a graceful stop all is as before: tags, dialogs, bindings (OVL-05, DLG-13)."""
        daemon = Daemon(self, OPEN_POINTS).start()
        alice, bob = daemon.phone("udp", "alice"), daemon.phone("udp", "bob")
        published = alice.publish(pidf("alice", "here"))
        alice.register(expires=600)
        watch = bob.subscribe("alice", expires=600)
        self.assertEqual(notes(bob.notify(watch)), ["here"])
        self.assertEqual(daemon.stop(), 0)
        self.assertTrue(bob.silent(watch, 0.1), "no subscription ends because we stop")

        daemon.start()
        self.assertTrue(bob.silent(watch, _SILENCE), "nothing has changed")
        self.assertEqual(alice.publish(etag=published["sip-etag"]).status, 200)
        self.assertIn(alice.contact, alice.register(contact=None)["contact"])
        self.assertEqual(bob.resubscribe(watch).status, 200)
        self.assertEqual(notes(bob.notify(watch)), ["here"])

    def test_answers_in_flight(self) -> None:
        """What was taken in before SIGTERM is answered, and no 200 is lost (OVL-05, PUB-09)."""
        daemon = Daemon(self, OPEN_POINTS).start()
        phone = daemon.phone("udp", "user")
        sent = {}
        for number in range(_BURST):
            user = f"user{number}"
            branch, data = phone.build(
                "PUBLISH", aor(user), sender=aor(user), body=pidf(user, "kept")
            )
            sent[branch] = user
            phone.wire.send(data)
        daemon.signal(signal.SIGTERM)
        self.assertEqual(daemon.wait(), 0)
        answers = {}
        while (message := phone.step(0.2)) is not None:
            answers[message.branch] = message
        for message in answers.values():
            self.assertIn(message.status, (200, 503))
            self.assertEqual(message.status == 503, "retry-after" in message)

        daemon.start()
        for branch, user in sent.items():
            answer = answers.get(branch)
            found = notes(phone.notify(phone.subscribe(user, expires=0)))
            if answer is not None and answer.status == 200:
                self.assertEqual(found, ["kept"], user)
                refreshed = phone.publish(etag=answer["sip-etag"], user=user, sender=aor(user))
                self.assertEqual(refreshed.status, 200)
            else:
                self.assertEqual(found, [], f"{user}: stored, but not answered 200")

    def test_connections_are_closed(self) -> None:
        """TCP and TLS connections end with the server, without delay to its end (OVL-05)."""
        daemon = Daemon(self).start()
        wires = [daemon.wire(name) for name in ("tcp", "tls") for _ in range(5)]
        daemon.signal(signal.SIGTERM)
        self.assertEqual(wire.closed_within(wires, 10), len(wires))
        self.assertEqual(daemon.wait(), 0)

    def test_daemon(self) -> None:
        """Without -n it goes to the background; SIGTERM by its PID file ends it."""
        settings = tables(roles=["presence-server", "presence-xdms"])
        daemon = Daemon(self, OPEN_POINTS, (), settings)
        daemon.start()
        self.assertEqual(daemon.stop(), 0)  # its ports are in the file now
        file = daemon.directory / "twistd.pid"
        status, out, err = run(
            daemon.directory,
            *(f"--pidfile={file}", "--logfile=background.log", "presence", "start"),
            *("-c", str(daemon.config), "--state-dir", str(daemon.state)),
        )
        self.assertEqual((status, err), (0, ""), out)
        deadline = time.monotonic() + 20
        log = daemon.directory / "background.log"
        while not (log.exists() and "ready: serving" in log.read_text()):
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.02)
        pid = int(file.read_text())
        daemon.answers()
        os.kill(pid, signal.SIGTERM)
        while file.exists():
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.02)
        self.assertNotIn("Traceback", log.read_text())


class Reload(SynchronousTestCase):
    """SIGHUP (NFR-02)."""

    def begin(self, decision: str) -> None:
        """Start a server with a default decision; alice has published."""
        settings = tables(subscription={"default_decision": decision})
        self.daemon = Daemon(self, OPEN_POINTS, (), settings).start()
        self.bob = self.daemon.phone("udp", "bob")
        self.daemon.phone("udp", "alice").publish(pidf("alice", "here"))

    def decide(self, decision: str) -> None:
        """Change the default decision in the file and reload."""
        self.daemon.settings["subscription"]["default_decision"] = decision
        self.daemon.reload()

    def test_block_to_allow(self) -> None:
        """Who was blocked may subscribe after the reload (SUB-14)."""
        self.begin("block")
        self.assertEqual(self.bob.subscribe("alice").response.status, 403)
        self.decide("allow")
        self.assertEqual(notes(self.bob.notify(self.bob.subscribe("alice"))), ["here"])

    def test_allow_to_block(self) -> None:
        """Watchers whose decision becomes block are told that it is over, and no more (NOT-07)."""
        self.begin("allow")
        watch = self.bob.subscribe("alice")
        self.bob.notify(watch)
        self.decide("block")
        ended = self.bob.notify(watch)
        self.assertEqual(ended["subscription-state"], "terminated;reason=rejected")
        self.assertEqual(ended.body, b"")
        self.assertEqual(self.bob.resubscribe(watch).status, 481)

    def test_confirm_to_allow(self) -> None:
        """Pending watchers become active with the state (NOT-07, NOT-09)."""
        self.begin("confirm")
        watch = self.bob.subscribe("alice")
        self.assertEqual(watch.response.status, 202)
        told = self.bob.notify(watch)
        self.assertTrue(told["subscription-state"].startswith("pending;expires="))
        self.assertEqual(told.body, b"")
        self.decide("allow")
        told = self.bob.notify(watch)
        self.assertTrue(told["subscription-state"].startswith("active;expires="))
        self.assertEqual(notes(told), ["here"])

    def test_polite_block_to_allow(self) -> None:
        """Politely blocked watchers see nobody, then the state (SUB-15, NOT-07)."""
        self.begin("polite-block")
        watch = self.bob.subscribe("alice")
        self.assertEqual(watch.response.status, 200)
        self.assertEqual(notes(self.bob.notify(watch)), [])
        self.decide("allow")
        self.assertEqual(notes(self.bob.notify(watch)), ["here"])
        self.decide("polite-block")
        self.assertEqual(notes(self.bob.notify(watch)), [])

    def test_bad_file(self) -> None:
        """A file that is wrong is refused with a message; the old values hold (NFR-02)."""
        self.begin("block")
        daemon = self.daemon
        daemon.expected = "reload refused"
        daemon.settings["subscription"]["default_decision"] = "perhaps"
        log = daemon.reload("reload refused")
        self.assertIn("default_decision", log)
        self.assertIn("perhaps", log)
        self.assertEqual(self.bob.subscribe("alice").response.status, 403)
        daemon.config.write_text("not TOML at all")
        start = len(daemon.log())
        daemon.signal(signal.SIGHUP)
        daemon.await_log("reload refused", start)
        daemon.answers()
        self.decide("allow")
        self.assertEqual(self.bob.subscribe("alice").response.status, 200)

    def test_restart_required(self) -> None:
        """What only a restart changes is named, the rest applied (NFR-02)."""
        self.begin("block")
        self.daemon.settings["timers"] = {"t1": 0.6}
        self.daemon.settings["subscription"]["default_decision"] = "allow"
        log = self.daemon.reload("after a restart")
        self.assertIn("timers.t1: changed", log)
        self.assertEqual(self.bob.subscribe("alice").response.status, 200)

    def test_certificate(self) -> None:
        """A renewed certificate is used for new connections, old ones go on (TRN-02)."""
        authority = make_ca(str(Path(self.mktemp()).parent.absolute()))
        points: dict[str, dict[str, Any]] = {"tls": {"transport": "tls", "auth": "none"}}
        daemon = Daemon(self, points)
        files = [daemon.directory / name for name in ("certificate.pem", "key.pem")]

        def install() -> bytes:
            made = issue(authority, [wire.HOST])
            for file, source in zip(files, (made.certificate, made.key), strict=True):
                file.write_bytes(Path(source).read_bytes())
            return files[0].read_bytes()

        first = install()
        daemon.points["tls"] |= {"certificate": str(files[0]), "key": str(files[1])}
        daemon.write()
        # Daemon.wire trusts the file of the generated certificate
        Path(daemon.certificate).parent.mkdir(parents=True)
        Path(daemon.certificate).write_bytes(Path(authority.file).read_bytes())
        daemon.start()
        old = daemon.phone("tls", "alice")
        self.assertNotEqual(install(), first)
        daemon.reload()
        self.assertEqual(old.register().status, 200)
        new = daemon.phone("tls", "alice")
        self.assertEqual(new.register().status, 200)
        one, other = (p.wire._socket.getpeercert()["serialNumber"] for p in (old, new))  # type: ignore[attr-defined]
        self.assertNotEqual(one, other)


class Refusals(SynchronousTestCase):
    """What keeps the server from starting: one clear message, status 1 (issue 2, item 5)."""

    def setUp(self) -> None:
        """A directory."""
        self.directory = Path(self.mktemp()).absolute()
        self.directory.mkdir(parents=True)
        self.file = self.directory / "presence.toml"
        self.state = self.directory / "state"
        self.points: dict[str, dict[str, Any]] = {"udp": {"transport": "udp", "port": 0}}

    def refused(self, *fragments: str, command: str = "start") -> str:
        """Start, or check the configuration, and assert that it is refused in one line."""
        options = ["--state-dir", str(self.state)]
        status, out, err = run(
            self.directory, "-n", "--pidfile=", "presence", command, "-c", str(self.file), *options
        )
        self.assertEqual(status, 1, err)
        for text in (out, err):
            self.assertNotIn("Traceback", text)
            self.assertNotIn("Unhandled", text)
        self.assertEqual(len(err.splitlines()), 1, err)
        self.assertTrue(err.startswith("presence: "), err)
        for fragment in fragments:
            self.assertIn(fragment, err)
        return err

    def write(self, **settings: dict[str, Any]) -> None:
        """Write the configuration, without roles that have a port of their own."""
        roles = {"roles": ["presence-server", "registrar", "presence-xdms"]}
        write_config(self.file, self.points, {**roles, **settings})

    def test_configuration(self) -> None:
        """Wrong keys, types and values are named with file and line, by both commands."""
        cases: list[tuple[dict[str, dict[str, Any]], tuple[str, ...]]] = [
            ({"limits": {"publish_rat": 1.0}}, ("limits.publish_rat", "publish_rate", "line")),
            ({"timers": {"t1": "fast"}}, ("timers.t1", "fast", "line")),
            ({"subscription": {"min_expires": 0}}, ("subscription.min_expires", "0")),
            ({"subscription": {"default_decision": "maybe"}}, ("default_decision", "maybe")),
            ({"trust": {"peers": ["scscf.example.com"]}}, ("trust.peers", "scscf.example.com")),
        ]
        for settings, fragments in cases:
            self.write(**settings)
            for command in ("start", "check-config"):
                self.refused("presence.toml", *fragments, command=command)
        self.assertFalse(self.state.exists(), "nothing is made for a wrong configuration")

    def test_no_file(self) -> None:
        """A configuration file that is not there, or no TOML, is named."""
        self.refused("presence.toml", "No such file")
        self.file.write_text("[limits\n")
        self.refused("presence.toml", "TOML", "line 1")

    def test_good_configuration(self) -> None:
        """check-config says what a good file means, starts nothing and leaves with 0."""
        self.points["udp"]["address"] = "0.0.0.0"
        self.points["udp"]["auth"] = "none"
        self.write()
        status, out, err = run(self.directory, "presence", "check-config", "-c", str(self.file))
        self.assertEqual(status, 0)
        self.assertIn("ok", out)
        self.assertIn("example.com", out)
        self.assertIn("warning", err)
        self.assertIn("auth = none", err)
        self.assertEqual([path.name for path in self.directory.iterdir()], ["presence.toml"])

    def test_port_in_use(self) -> None:
        """A port that somebody else has is named with what to do."""
        for transport, kind in (("udp", socket.SOCK_DGRAM), ("tcp", socket.SOCK_STREAM)):
            with socket.socket(socket.AF_INET, kind) as other:
                other.bind((wire.HOST, 0))
                if transport == "tcp":
                    other.listen()
                port = other.getsockname()[1]
                self.points = {"point": {"transport": transport, "port": port}}
                self.write()
                self.refused(f"{transport} {wire.HOST}:{port}", "in use")

    def test_foreign_address(self) -> None:
        """An address that this machine does not have is named."""
        self.points["udp"]["address"] = "192.0.2.1"
        self.points["tcp"] = {**self.points["udp"], "transport": "tcp"}
        self.write()
        self.refused("192.0.2.1", "address")

    def test_certificate(self) -> None:
        """A certificate or key that is missing, no PEM, or of another pair is named."""
        authority = make_ca(str(self.directory))
        good, other = issue(authority, [wire.HOST]), issue(authority, [wire.HOST])
        garbage = self.directory / "garbage.pem"
        garbage.write_text("no certificate")
        for certificate, key, fragments in (
            (str(self.directory / "none.pem"), good.key, ("No such file",)),
            (str(self.directory), good.key, ("directory",)),
            (str(garbage), good.key, ("certificate", "PEM")),
            (good.certificate, str(garbage), ("key", "PEM")),
            (good.certificate, other.key, ("do not fit",)),
        ):
            self.points = {
                "tls": {"transport": "tls", "port": 0, "certificate": certificate, "key": key}
            }
            self.write()
            self.refused("listen[0]", *fragments)

    def test_state_directory(self) -> None:
        """A state directory that cannot be one is named."""
        self.write()
        self.state.write_text("a file")
        self.refused(str(self.state), "state")

    def test_damaged_store(self) -> None:
        """A damaged database or account file is named, and not written to."""
        self.write()
        self.state.mkdir()
        for name in ("presence.sqlite", "accounts.db"):
            file = self.state / name
            file.write_bytes(b"something else" * 500)
            self.refused(name)
            self.assertEqual(file.read_bytes(), b"something else" * 500)
            file.unlink()

    def test_two_servers(self) -> None:
        """A second server on the same database is refused; the first goes on (one owner)."""
        daemon = Daemon(self, OPEN_POINTS).start()
        alice = daemon.phone("udp", "alice")
        published = alice.publish(pidf("alice", "here"))
        self.state = daemon.state
        self.write()
        self.refused("presence.sqlite", f"in use by process {daemon.pid}")
        self.assertEqual(alice.publish(etag=published["sip-etag"]).status, 200)
        # what a killed server leaves is no obstacle
        daemon.restart()
        self.assertEqual(Phone(alice.wire, "alice").publish(pidf("alice", "x")).status, 200)
