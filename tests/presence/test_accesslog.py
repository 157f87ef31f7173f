"""The access log: a line of JSON for each request (AGP-84), written by a thread."""

from __future__ import annotations

import json
import os
import queue
import stat
from pathlib import Path
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from presence import accesslog
from presence.accesslog import AccessLog
from presence.content.passage import ContentRecord
from xcap.auth.audit import AuditEvent
from xcap.http.settings import AccessRecord
from xcap.proxylog import ProxyRecord
from xcap.records import Head, Headers, HttpPeer

PEER = HttpPeer("192.0.2.9", 40000, True, "TLSv1.3")


class Reactor(Clock):
    """A clock whose calls from threads the test runs itself."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._calls: queue.Queue[Any] = queue.Queue()

    def callFromThread(self, function: Any, *args: Any) -> None:
        """Queue a call."""
        self._calls.put((function, args))

    def run(self) -> None:
        """Wait for one call and run it."""
        function, args = self._calls.get(timeout=10)
        function(*args)


def proxied(**changes: Any) -> ProxyRecord:
    """A record of the proxy."""
    made: dict[str, Any] = {
        "time": 1.5,
        "request_id": "ab",
        "peer": PEER,
        "username": "alice",
        "identity": "sip:alice@example.com",
        "method": "GET",
        "target": "/x",
        "auid": "resource-lists",
        "back_end": "local",
        "status": 200,
        "received": 0,
        "sent": 9,
        "seconds": 0.25,
        "auth_seconds": 0.125,
        "upstream_seconds": 0.0625,
    }
    return ProxyRecord(**(made | changes))


class AccessLogTests(SynchronousTestCase):
    """What the file has."""

    def setUp(self) -> None:
        """A log in a directory of its own."""
        self.directory = Path(self.mktemp())
        self.directory.mkdir()
        self.path = self.directory / "access.log"
        self.reactor = Reactor()

    def begin(self, limit: int = 1 << 20) -> AccessLog:
        """A log that is open."""
        log = AccessLog(self.path, limit, self.reactor, lambda: 7.0)
        log.start()
        return log

    def end(self, log: AccessLog) -> list[Any]:
        """Stop it; its lines."""
        stopped = log.stop()
        while not stopped.called:
            self.reactor.run()
        return [json.loads(line) for line in self.path.read_text().splitlines()]

    def test_lines(self) -> None:
        """Requests at the proxy and at document servers, and what is to be audited (AGP-84)."""
        log = self.begin()
        log.proxied(proxied())
        head = Head("PUT", "/y?q", "h", Headers([("X-Request-Id", "cd")]), PEER)
        log.served(AccessRecord(2.0, PEER, head, "PUT", "/y", 201, 5, 0, 0.5, False))
        log.served(AccessRecord(2.0, PEER, None, "", "", 400, 0, 0, 0.5, False))
        log.audited(AuditEvent("wrong", "alice", "192.0.2.9"))
        first, second, third, audit = self.end(log)
        self.assertEqual(
            (first["server"], first["id"], first["user"], first["backend"], first["upstream"]),
            ("proxy", "ab", "alice", "local", 0.0625),
        )
        self.assertEqual((second["server"], second["id"], second["status"]), ("xdms", "cd", 201))
        self.assertEqual((third["id"], third["status"]), ("-", 400))
        self.assertEqual((audit["audit"], audit["user"], audit["time"]), ("wrong", "alice", 7.0))

    def test_content(self) -> None:
        """Requests for objects, without what would give access to them (AGP-84)."""
        log = self.begin()
        log.content(ContentRecord(3.0, "ef", PEER, "alice", "GET", "object", 200, 0, 4123, 0.25))
        (line,) = self.end(log)
        self.assertEqual(
            line,
            {
                "time": 3.0,
                "server": "content",
                "id": "ef",
                "from": "192.0.2.9",
                "tls": "TLSv1.3",
                "user": "alice",
                "method": "GET",
                "target": "object",
                "status": 200,
                "received": 0,
                "sent": 4123,
                "seconds": 0.25,
            },
        )

    def test_no_secrets(self) -> None:
        """Authorization never gets there, nor may others read the file (AGP-84)."""
        log = self.begin()
        fields = Headers([("Authorization", 'Digest response="secret"')])
        head = Head("GET", "/z", "h", fields, PEER)
        log.served(AccessRecord(2.0, PEER, head, "GET", "/z", 200, 0, 0, 0.5, False))
        self.end(log)
        self.assertNotIn("secret", self.path.read_text())
        self.assertEqual(stat.S_IMODE(os.stat(self.path).st_mode), 0o600)

    def test_gathered(self) -> None:
        """Lines of half a second are written together, while the log stays open."""
        log = self.begin()
        log.proxied(proxied())
        log.proxied(proxied())
        self.assertEqual(self.path.read_text(), "")
        self.reactor.advance(0.5)
        self.reactor.run()
        self.assertEqual(len(self.path.read_text().splitlines()), 2)
        self.assertEqual(len(self.end(log)), 2)

    def test_slow_disk(self) -> None:
        """What the disk cannot take in time is dropped and counted."""
        self.patch(accesslog, "_PENDING", 300)
        log = self.begin()
        for _ in range(3):
            log.proxied(proxied())
        self.assertEqual(log.dropped, 2)
        self.assertEqual(len(self.end(log)), 1)

    def test_cannot_open(self) -> None:
        """A file that cannot be opened is told of; requests go on."""
        self.path.mkdir()
        log = self.begin()
        log.proxied(proxied())
        self.assertTrue(log.stop().called)

    def test_cannot_write(self) -> None:
        """When writing fails logging ends, and stopping still does."""
        log = self.begin()

        def full(*_: Any) -> int:
            raise OSError(28, "No space left on device")

        self.patch(os, "write", full)
        log.proxied(proxied())
        self.reactor.advance(0.5)
        self.reactor.run()
        log.proxied(proxied())
        self.assertTrue(log.stop().called)
