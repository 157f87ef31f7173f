"""What store tests share: a reactor whose turns can be told apart, and records."""

from __future__ import annotations

from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads
from twisted.internet.task import Clock
from zope.interface import implementer

from presence.records import WatcherRecord
from pysip.event.records import BindingRecord, PublicationRecord, SubscriptionRecord

_PATIENCE = 20.0


@implementer(IReactorFromThreads)
class StoreReactor(Clock):
    """A clock that real threads may call into, which runs turn by turn.

    :ivar turns: number of the turn, so that a test can tell two of them apart.
    """

    def __init__(self) -> None:
        super().__init__()
        self.turns = 0
        self._arrived: SimpleQueue[tuple[Callable[..., Any], Any, Any]] = SimpleQueue()

    def callFromThread(self, callable: Callable[..., Any], *args: object, **kwargs: object) -> None:
        """Queue a call for a turn of its own."""
        self._arrived.put((callable, args, kwargs))

    def turn(self) -> bool:
        """Run what is due now, but nothing that it schedules; True when there was something."""
        due = [call for call in self.calls if call.getTime() <= self.seconds()]
        self.turns += 1
        for call in due:
            if call.active():
                self.calls.remove(call)
                call.called = 1
                call.func(*call.args, **call.kw)
        return bool(due)

    def until(self, reached: Callable[[], object]) -> None:
        """Run turns, waiting for threads, until ``reached()`` is true."""
        while not reached():
            if self.turn():
                continue
            try:
                function, args, kwargs = self._arrived.get(timeout=_PATIENCE)
            except Empty:
                raise AssertionError("no thread reports, and nothing is scheduled") from None
            self.turns += 1
            function(*args, **kwargs)

    def wait(self, outcome: Deferred[Any]) -> Any:
        """Run until a Deferred fires; give its result or raise its error."""
        fired: list[Any] = []
        failures: list[Any] = []
        outcome.addCallbacks(fired.append, failures.append)
        self.until(lambda: fired or failures)
        if failures:
            failures[0].raiseException()
        return fired[0]


def publication(id: int, **changes: Any) -> PublicationRecord:
    """A publication; every field differs from those of another id."""
    fields: dict[str, Any] = {
        "package": "presence",
        "resource": f"sip:user{id}@example.com",
        "etag": f"etag{id}",
        "expires": 1000.5 + id,
        "created": 10.25 + id,
        "changed": 20.75 + id,
        "publisher": f"sip:publisher{id}@example.com",
        "content_type": "application/pidf+xml",
        "body": b"<presence/>\x00\xff%d" % id,
    }
    return PublicationRecord(id, **(fields | changes))


def subscription(id: int, **changes: Any) -> SubscriptionRecord:
    """A subscription; every field differs from those of another id."""
    fields: dict[str, Any] = {
        "package": "presence",
        "resource": f"sip:user{id}@example.com",
        "cseq": 7 + id,
        "expires": 2000.5 + id,
        "dialog": b"dialog\x00\xff%d" % id,
    }
    return SubscriptionRecord(id, **(fields | changes))


def binding(user: str, contact: str = "sip:a@192.0.2.1", **changes: Any) -> BindingRecord:
    """A binding of ``sip:{user}@example.com``."""
    fields: dict[str, Any] = {
        "call_id": f"call-{user}",
        "cseq": 3,
        "expires": 300.5,
        "q": 500,
        "instance": "<urn:uuid:1>",
    }
    return BindingRecord(f"sip:{user}@example.com", contact, **(fields | changes))


def watcher(id: int, **changes: Any) -> WatcherRecord:
    """A watcher; every field differs from those of another id."""
    fields: dict[str, Any] = {
        "package": "presence",
        "resource": f"sip:user{id}@example.com",
        "status": ("pending", "active", "waiting")[id % 3],
        "event": ("subscribe", "approved", "timeout")[id % 3],
        "created": 10.25 + id,
        "deadline": 3000.5 + id,
        "subscription": id,
        "uris": f"sip:watcher{id}@example.com tel:+1555{id}",
        "display_name": f"Watcher {id}",
        "anonymous": id % 2 == 1,
        "terms": f"{id:x}",
    }
    return WatcherRecord(id, **(fields | changes))
