"""The access log of the HTTP servers: one line of JSON for each request (AGP-68, AGP-84).

Lines are gathered and written by a thread, so that no request waits for the disk.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger

from presence.boundedfile import BoundedFile
from presence.oplog import ACCESS_LOG_FAILED, report
from xcap.auth.audit import log_audit
from xcap.store.writer import WriterThread

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from twisted.internet.interfaces import IDelayedCall

    from presence.content.passage import ContentRecord
    from xcap.auth.audit import AuditEvent
    from xcap.http.settings import AccessRecord
    from xcap.proxylog import ProxyRecord

_DELAY = 0.5
"""Seconds that a line may wait."""
_PENDING = 1 << 20
"""Octets that may wait for the disk; beyond it lines are dropped."""

_encode = msgspec.json.Encoder().encode


class AccessLog:
    """One file for all HTTP servers of a process.

    :param path: the file, readable by its owner only.
    :param limit: octets that it takes, together with its predecessor.
    :param reactor: clock, and where the thread reports to.
    :param wall: wall-clock seconds.

    :ivar dropped: lines lost because the disk was too slow.
    """

    _log = Logger()

    def __init__(self, path: Path, limit: int, reactor: Any, wall: Callable[[], float]) -> None:
        self._path = path
        self._wall = wall
        self._limit = limit
        self._reactor = reactor
        self._file: BoundedFile | None = None
        self._thread: WriterThread | None = None
        self._lines: list[bytes] = []
        self._pending = 0
        self._call: IDelayedCall | None = None
        self._stopping: Deferred[None] | None = None
        self.dropped = 0

    def start(self) -> None:
        """Open the file; what cannot be written is reported, and requests are served anyway."""
        try:
            self._file = BoundedFile(self._path, self._limit)
        except OSError as error:
            report(self._log, ACCESS_LOG_FAILED, f"{self._path}: {error.strerror}")
            return
        self._thread = WriterThread(self._reactor, "access-log")

    def stop(self) -> Deferred[None]:
        """Write what waits and close the file."""
        if self._thread is None:
            return succeed(None)
        self._stopping = Deferred()
        self._flush()
        self._thread.submit(lambda _: None, None, self._ended, self._ended)
        return self._stopping

    # -- what is told -------------------------------------------------------------------

    def proxied(self, record: ProxyRecord) -> None:
        """A request that the Aggregation Proxy has answered."""
        peer = record.peer
        self._tell(
            {
                "time": round(record.time, 3),
                "server": "proxy",
                "id": record.request_id,
                "from": peer.address,
                "tls": peer.tls_version,
                "user": record.username,
                "identity": record.identity,
                "method": record.method,
                "target": record.target,
                "auid": record.auid,
                "backend": record.back_end,
                "status": record.status,
                "received": record.received,
                "sent": record.sent,
                "seconds": round(record.seconds, 6),
                "auth": round(record.auth_seconds, 6),
                "upstream": round(record.upstream_seconds, 6),
            }
        )

    def served(self, record: AccessRecord) -> None:
        """A request of a proxy elsewhere that the document servers have answered."""
        head = record.head
        self._tell(
            {
                "time": round(record.time, 3),
                "server": "xdms",
                "id": (head.headers.get("x-request-id") or "-") if head is not None else "-",
                "from": record.peer.address,
                "tls": record.peer.tls_version,
                "method": record.method,
                "target": record.target,
                "status": record.status,
                "received": record.received,
                "sent": record.sent,
                "seconds": round(record.duration, 6),
            }
        )

    def content(self, record: ContentRecord) -> None:
        """A request that the Content Server has answered; URIs of objects are secrets."""
        self._tell(
            {
                "time": round(record.time, 3),
                "server": "content",
                "id": record.request_id,
                "from": record.peer.address,
                "tls": record.peer.tls_version,
                "user": record.user,
                "method": record.method,
                "target": record.kind,
                "status": record.status,
                "received": record.received,
                "sent": record.sent,
                "seconds": round(record.seconds, 6),
            }
        )

    def audited(self, event: AuditEvent) -> None:
        """A wrong password, a lock, or something forbidden; told in the log as well."""
        log_audit(event)
        self._tell(
            {
                "time": round(self._wall(), 3),
                "audit": event.kind,
                "user": event.username,
                "from": event.address,
                "text": event.text,
            }
        )

    # -- writing ------------------------------------------------------------------------

    def _tell(self, entry: dict[str, Any]) -> None:
        if self._thread is None or self._stopping is not None:
            return
        line = _encode(entry) + b"\n"
        if self._pending + len(line) > _PENDING:
            self.dropped += 1
            return
        self._pending += len(line)
        self._lines.append(line)
        if self._call is None:
            self._call = self._reactor.callLater(_DELAY, self._flush)

    def _flush(self) -> None:
        if self._call is not None and self._call.active():
            self._call.cancel()
        self._call = None
        lines, self._lines = self._lines, []
        if lines and self._thread is not None:
            self._thread.submit(self._write, lines, self._written, self._failed)

    def _write(self, lines: list[bytes]) -> int:
        """In the thread."""
        assert self._file is not None  # noqa: S101  # opened before the thread was made
        for line in lines:
            self._file.write(line)
        return sum(map(len, lines))

    def _written(self, octets: int) -> None:
        self._pending -= octets

    def _failed(self, error: BaseException) -> None:
        report(self._log, ACCESS_LOG_FAILED, f"{self._path}: {error}")
        self._close()

    def _ended(self, _: object) -> None:
        self._close()
        if self._stopping is not None:
            self._stopping.callback(None)

    def _close(self) -> None:
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.stop()
        if self._file is not None:
            self._file.close()
            self._file = None
