"""What the log shows, and what it never shows."""

from __future__ import annotations

import ast
import io
import pathlib
import re
from collections.abc import Iterator
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.logger import FileLogObserver, Logger, LogPublisher, globalLogPublisher
from twisted.names.client import Resolver
from twisted.python import log as legacy
from twisted.trial.unittest import SynchronousTestCase

from presence.logs import LogSettings, format_event, redacted
from presence.oplog import STORE_REFUSES, report
from tests.node import ALICE, BOB, Node, pidf

ROOT = pathlib.Path(__file__).resolve().parents[2]
SOURCES = sorted([*ROOT.glob("presence/**/*.py"), *ROOT.glob("pysip/**/*.py")])


class LogCase(SynchronousTestCase):
    """A log in memory."""

    def setUp(self) -> None:
        """Make it."""
        self.stream = io.StringIO()
        self.log = Logger("test", observer=LogPublisher(FileLogObserver(self.stream, format_event)))

    def text(self) -> str:
        """What was logged."""
        return self.stream.getvalue()


class RedactionTests(LogCase):
    """OBS-03, SEC-04: no address of a user at any level but debug."""

    def test_addresses(self) -> None:
        """URIs and addresses are masked; what is none stays."""
        for private in (
            "sip:bob@example.com",
            "SIPS:bob@example.com",
            "TEL:+4930123456",
            "<sip:+4930123456@ims.example;user=phone>",
            "tel:+4930123456",
            "pres:bob@example.com",
            "bob@example.com",
            "'sip:b%20b@[2001:db8::1]:5060'",
        ):
            shown = redacted(f"KeyError: {private} and more")
            self.assertNotRegex(shown, "bob|4930|example|b%20b", private)
            self.assertTrue(shown.startswith("KeyError: ") and shown.endswith(" and more"), shown)
        for plain in (
            "listening on UDP 127.0.0.1 port 5060, authentication digest",
            "make one: presencectl account add <name>@localhost --state-dir /x",
            'File "/a/b.py", line 3, in f',
            "self-signed certificate /a, SHA-256 AB:CD:EF",
            "2026-11-22T23:45:44+0000 [presence.service.PresenceService#info] ready",
            "@implementer(IFoo)",
        ):
            self.assertEqual(redacted(plain), plain)

    @given(st.from_regex(r"[a-z0-9.+_-]{1,10}", fullmatch=True))
    def test_users(self, user: str) -> None:
        """Whatever the user part."""
        self.assertNotIn(f"{user}@", redacted(f"x <sip:{user}@h.example> {user}@h.example"))

    def test_traceback(self) -> None:
        """An exception that quotes its input shows the place of the fault, not the input."""
        try:
            {}["sip:bob@example.com"]
        except KeyError:
            self.log.failure("looking up {uri} failed", uri="sip:bob@example.com")
        text = self.text()
        self.assertNotIn("bob", text)
        self.assertIn("Traceback", text)
        self.assertIn("test_logs.py", text)
        self.assertIn("sip:***", text)

    def test_debug(self) -> None:
        """Level debug shows addresses: that is what it is for."""
        self.log.debug("from {uri}", uri="sip:bob@example.com")
        self.assertIn("sip:bob@example.com", self.text())


class NumberTests(LogCase):
    """Problems have their number in the log."""

    def test_bug(self) -> None:
        """A failure of the library is a fault of the program, with number and remedy."""
        try:
            raise ValueError("x")
        except ValueError:
            self.log.failure("serving {method} failed (call {call})", method="PUBLISH", call="a1")
        line = self.text().splitlines()[0]
        self.assertIn("[test#critical] P501: a fault of the program. Effect: ", line)
        self.assertIn("Cause: serving PUBLISH failed (call a1)", line)

    def test_older_api(self) -> None:
        """A failure that a library reports by the older logging API is one as well."""
        observer = FileLogObserver(self.stream, format_event)
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        legacy.err(ValueError("sip:bob@example.com"), "reading {x}")
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        self.assertIn("P501: a fault of the program.", self.text())
        self.assertIn("Cause: reading {x}\n", self.text())
        self.assertNotIn("bob", self.text())

    def test_reported(self) -> None:
        """A problem that is reported is one line."""
        report(self.log, STORE_REFUSES, "disk full")
        self.assertRegex(self.text(), r"#critical\] P201: .+ Cause: disk full\. Effect: .+\n$")
        self.assertEqual(self.text().count("\n"), 1)

    def test_nothing(self) -> None:
        """An event without text gives no line."""
        self.assertIsNone(format_event({}))


class QuietTests(SynchronousTestCase):
    """What Twisted tells of itself is left to level debug."""

    def setUp(self) -> None:
        """A log file."""
        self.file = pathlib.Path(self.mktemp())

    def lines(self, level: str) -> list[str]:
        """What is logged at that level while a resolver starts and others speak."""
        settings = LogSettings({"logfile": str(self.file), "nodaemon": True}, level)
        observer = settings.observer()
        globalLogPublisher.addObserver(observer)
        self.addCleanup(settings.stream.close)  # type: ignore[union-attr]
        resolver = Resolver(resolv=str(self.resolv()), reactor=Node().clock)
        self.assertEqual(resolver.dynServers, [("192.0.2.53", 53)])
        legacy.msg("Acceptor starting on 5060")
        Logger("twisted.internet.base").info("Main loop terminated.")
        Logger("twisted.web.http").warn("something odd")
        Logger("presence.service").info("ready")
        globalLogPublisher.removeObserver(observer)
        return [line.partition("] ")[2] for line in self.file.read_text().splitlines()]

    def resolv(self) -> pathlib.Path:
        """A resolv.conf."""
        path = pathlib.Path(self.mktemp())
        path.write_text("nameserver 192.0.2.53\n")
        return path

    def test_info(self) -> None:
        """At level info only what concerns the operator."""
        self.assertEqual(self.lines("info"), ["something odd", "ready"])

    def test_error(self) -> None:
        """A higher level holds for all."""
        self.assertEqual(self.lines("error"), [])

    def test_debug(self) -> None:
        """At level debug everything."""
        self.assertEqual(len(self.lines("debug")), 6)


class PrivacyTests(SynchronousTestCase):
    """WISHES 25, SEC-04: requests of all kinds leave nothing of users in the log."""

    def test_node(self) -> None:
        """Publishing, watching, refusing and failing at info level."""
        events: list[dict[str, Any]] = []
        globalLogPublisher.addObserver(events.append)
        self.addCleanup(globalLogPublisher.removeObserver, events.append)
        node = Node()
        bob, alice = node.peer("192.0.2.10"), node.peer("192.0.2.11")
        bob.publish(pidf(note="a secret"))
        alice.subscribe()
        alice.publish(pidf(), sender=ALICE)
        alice.ask(alice.request("PUBLISH", BOB, body=b"<broken"))
        alice.send(b"no SIP at all\r\n\r\n")
        node.store.fail_next()
        bob.publish(pidf())
        alice.answer = 481
        bob.publish(pidf(basic="closed"))
        node.advance(40)
        shown = [format_event(event) or "" for event in events if "log_level" in event]
        self.assertTrue(any("P201" in text for text in shown))
        for text in shown:
            self.assertNotRegex(text, "alice|bob|secret|presence xmlns|192.0.2")


class CallTests(SynchronousTestCase):
    """Every logging call of the code, read as text."""

    def calls(self) -> Iterator[tuple[str, str, ast.Call]]:
        """File, method and call."""
        for file in SOURCES:
            for node in ast.walk(ast.parse(file.read_text())):
                if (
                    isinstance(node, ast.Call)
                    and isinstance(node.func, ast.Attribute)
                    and ast.unparse(node.func.value) in ("self._log", "self.log", "_log", "log")
                    and node.func.attr in ("debug", "info", "warn", "error", "critical", "failure")
                ):
                    yield str(file.relative_to(ROOT)), node.func.attr, node

    def test_fields(self) -> None:
        """OBS-03: above debug no field holds an address, a message or a document."""
        private = {"uri", "user", "username", "aor", "address", "resource", "watcher", "body"}
        private |= {"request", "response", "message", "data", "call_id", "remote", "flow", "from"}
        count = 0
        for file, level, call in self.calls():
            count += 1
            if level == "debug":
                continue
            names = {keyword.arg for keyword in call.keywords}
            self.assertEqual(names & private, set(), f"{file}: line {call.lineno}")
        self.assertGreater(count, 20)

    def test_formats(self) -> None:
        """Formats are literals with named fields, so that nothing is formatted in vain."""
        for file, _, call in self.calls():
            text = call.args[0]
            where = f"{file}: line {call.lineno}"
            if isinstance(text, ast.BinOp):
                text = text.right
            self.assertIsInstance(text, ast.Constant, where)
            assert isinstance(text, ast.Constant)
            fields = set(re.findall(r"\{(\w+)", str(text.value)))
            given = {keyword.arg for keyword in call.keywords}
            self.assertLessEqual(fields, given, where)
