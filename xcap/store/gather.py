"""The reactor's half of a store: gather what is queued per turn, commit it, call who waits.

What is queued in one reactor turn forms a batch.  While a batch is on its way to the medium
("flying") the next one gathers, so that a slow medium makes batches larger, not the queue
longer.  What a batch is, and what a medium, subclasses of :class:`Gathering` say.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sized
from typing import TYPE_CHECKING, Generic, TypeAlias, TypeVar

from twisted.internet.defer import Deferred, fail, succeed
from twisted.logger import Logger

from xcap.histogram import Histogram
from xcap.store.errors import StoreError

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall, IReactorTime
    from twisted.python.failure import Failure

#: seconds between two trials of a medium that has refused a write
PROBE_INTERVAL = 1.0
#: seconds that the callbacks of a commit may take in one turn of the reactor
CALLBACKS = 0.01
#: bounds in seconds of the histogram of commit times
COMMIT_TIMES = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)

Done: TypeAlias = Callable[[bool], None]
_Batch = TypeVar("_Batch", bound=Sized)


class Gathering(Generic[_Batch]):
    """Queue of a write-behind store; all methods belong to the reactor thread.

    A batch that the medium refuses takes everything down that was queued after it: what comes
    later may build upon what is lost.

    :param reactor: clock.
    :param new: makes an empty batch.  A batch is true when somebody may wait for it; its
        length is the number of rows in it.

    :ivar patient: whether what has gathered while a batch was flying waits for one more turn
        to join it.  Batches get larger when few clients wait for each other's commits; worth it
        where a row costs less than a commit.
    :ivar failed: True while the medium refuses writes.
    :ivar commits: batches that became durable.
    :ivar rows: rows in them.
    :ivar refused: batches that the medium has refused.
    :ivar latency: seconds from handing a batch over to hearing that it is durable.
    """

    patient = False

    _log = Logger()

    def __init__(self, reactor: IReactorTime, new: Callable[[], _Batch]) -> None:
        self.failed = False
        self.commits = 0
        self.rows = 0
        self.refused = 0
        self.latency = Histogram(COMMIT_TIMES)
        self._reactor = reactor
        self._new = new
        self._batch = new()
        self._waiting: list[Done] = []
        self._flying: _Batch | None = None
        self._flying_waiting: list[Done] = []
        self._called: deque[Done] = deque()  # to be told that all is durable
        self._callbacks: IDelayedCall | None = None
        self._since: float | None = None  # the first of what gathers was queued
        self._flying_since: float | None = None
        self._sent = 0.0
        self._due = False  # a turn has ended while a batch was flying
        self._flush_call: IDelayedCall | None = None
        self._probe_call: IDelayedCall | None = None
        self._starting = False
        self._opened = False
        self._stopping: Deferred[None] | None = None
        self._stop_once_started: list[Deferred[None]] = []

    @property
    def oldest(self) -> float:
        """Seconds that the oldest change has waited to become durable; 0 without one."""
        since = self._since if self._flying_since is None else self._flying_since
        return 0.0 if since is None else self._reactor.seconds() - since

    def when_durable(self, done: Done) -> None:
        """Call ``done`` in a later turn, when all that was queued before is settled.

        With True when it is durable, with False when it is lost: then the last one first, since
        each may undo its change upon the ones before.
        """
        self._waiting.append(done)
        if self._flush_call is None:
            self._schedule()

    # Life.

    def start(self) -> Deferred[None]:
        """Open the medium, creating or migrating its schema.

        :raises StoreError: (in the Deferred) it cannot be used.
        """
        if self._starting or self._opened or self._stopping is not None:
            return fail(StoreError("this store has been started already"))
        self._starting = True
        started: Deferred[None] = Deferred()

        def succeeded(_: object) -> None:
            self._starting = False
            self.failed = False
            self._opened = True
            started.callback(None)
            stopping, self._stop_once_started = self._stop_once_started, []
            for stopped in stopping:
                self.stop().chainDeferred(stopped)

        def failed(reason: Failure) -> None:
            self._starting = False
            started.errback(reason)
            stopping, self._stop_once_started = self._stop_once_started, []
            for stopped in stopping:
                stopped.callback(None)

        self._open().addCallbacks(succeeded, failed)
        return started

    def stop(self) -> Deferred[None]:
        """Commit what is queued and close; rows queued later are refused.  Never fails."""
        stopped: Deferred[None] = Deferred()
        if self._starting:
            self._stop_once_started.append(stopped)
            return stopped
        if self._stopping is not None:
            self._stopping.chainDeferred(stopped)
            return stopped
        if not self._opened:
            return succeed(None)
        self._stopping = stopped
        if self._flying is None:
            self._send()
        else:
            self._due = True
        self._proceed()
        return stopped

    # What a medium has to do.

    def _open(self) -> Deferred[None]:
        """Take the medium into use; fail with StoreError."""
        raise NotImplementedError

    def _commit(self, batch: _Batch) -> None:
        """Write a batch; end in :meth:`_committed` or :meth:`_refused`."""
        raise NotImplementedError

    def _probe(self) -> None:
        """Try a small write; end in :meth:`_works` or :meth:`_still_refuses`."""
        raise NotImplementedError

    def _close(self) -> None:
        """Close the medium; end in :meth:`_closed`."""
        raise NotImplementedError

    # What a batch may need.

    def _worth_a_commit(self) -> bool:
        """Whether there is anything to write."""
        return bool(self._batch)

    def _seal(self, batch: _Batch) -> None:
        """Add what has waited for a commit to go along with."""

    def _lost(self, batch: _Batch) -> None:
        """Save of a refused batch what must not be lost."""

    def _quiet(self) -> None:
        """Cancel timers; the store is about to close."""

    def _report(self, cause: str) -> None:
        """Tell the operator that the medium refuses writes."""
        self._log.critical("{cause}", cause=cause, problem="store-refuses")

    def _report_over(self) -> None:
        """Tell the operator that it takes them again."""
        self._log.critical("the store takes writes again")

    # The cycle.

    def _schedule(self) -> None:
        if self._since is None:
            self._since = self._reactor.seconds()
        self._flush_call = self._reactor.callLater(0, self._flush)

    def _flush(self) -> None:
        self._flush_call = None
        self._flush_if_idle()

    def _flush_if_idle(self) -> None:
        if self._flying is None:
            self._send()
        elif self._stopping is None:
            self._due = True

    def _send(self) -> None:
        """Hand over what has gathered; nothing is flying."""
        self._due = False
        batch = self._batch
        if self.failed or not self._opened:
            if batch:
                self._drop([])
            else:
                self._answer()
            return
        if not self._worth_a_commit():
            self._answer()
            return
        self._seal(batch)
        self._flying, self._batch = batch, self._new()
        self._flying_waiting, self._waiting = self._waiting, []
        self._flying_since, self._since = self._since, None
        self._sent = self._reactor.seconds()
        self._commit(batch)

    def _answer(self) -> None:
        """Nothing is queued or flying: whoever waits, waits for nothing."""
        waiting, self._waiting = self._waiting, []
        self._since = None
        self._called.extend(waiting)
        self._call_some()

    def _call_some(self) -> None:
        """Tell some of whom their rows are durable, in order; the others in the next turn."""
        called = self._called
        began = self._reactor.seconds()
        while called:
            self._call(called.popleft(), True)
            if called and self._reactor.seconds() - began >= CALLBACKS:
                if self._callbacks is None:
                    self._callbacks = self._reactor.callLater(0, self._call_more)
                return

    def _call_more(self) -> None:
        self._callbacks = None
        self._call_some()

    def _call_all(self) -> None:
        """Before others hear that theirs are lost, or the end."""
        while self._called:
            self._call(self._called.popleft(), True)
        if self._callbacks is not None:
            self._callbacks.cancel()
            self._callbacks = None

    def _drop(self, earlier: list[Done]) -> None:
        """Give up all queued rows and tell who waits, the last one first."""
        self._call_all()
        waiting = earlier + self._waiting
        self._batch, self._waiting, self._since = self._new(), [], None
        for done in reversed(waiting):
            self._call(done, False)

    def _call(self, done: Done, durable: bool) -> None:
        try:
            done(durable)
        except Exception:
            self._log.failure(
                "who waited for a commit has failed (durable: {durable}); its request stays"
                " unanswered, the others go on",
                durable=durable,
            )

    def _committed(self) -> None:
        """The flying batch is durable."""
        if self._flying is not None:
            self.rows += len(self._flying)
        self.commits += 1
        self.latency.observe(self._reactor.seconds() - self._sent)
        self._flying_since = None
        waiting, self._flying_waiting, self._flying = self._flying_waiting, [], None
        self._called.extend(waiting)
        due, self._due = self._due, False
        patient = self.patient and self._stopping is None
        if due and not patient and self._worth_a_commit():
            # before the callbacks: the medium works while they run
            self._send()
            due = False
        self._call_some()
        if due and self._flying is None:
            if not patient:
                self._send()
            elif self._flush_call is None:
                # the first call comes before the turn's input, the one it makes after that
                self._flush_call = self._reactor.callLater(0, self._schedule)
        self._proceed()

    def _refused(self, error: BaseException) -> None:
        """The flying batch is lost."""
        self.refused += 1
        self._flying_since = None
        batch, self._flying, self._due = self._flying, None, False
        waiting, self._flying_waiting = self._flying_waiting, []
        if batch is not None:
            self._lost(batch)
        self.failed = True
        self._report(str(error))
        self._drop(waiting)
        self._probe_later()
        self._proceed()

    def _proceed(self) -> None:
        """Close when stopping and the last batch has been settled."""
        if self._stopping is None or self._flying is not None or not self._opened:
            return
        self._opened = False
        for call in (self._flush_call, self._probe_call):
            if call is not None:
                call.cancel()
        self._flush_call = self._probe_call = None
        self._quiet()
        self._drop([])
        self._close()

    def _closed(self) -> None:
        """The medium has been closed after :meth:`stop`."""
        stopped, self._stopping = self._stopping, None
        if stopped is not None:
            stopped.callback(None)

    # An outage.

    def _probe_later(self) -> None:
        self._probe_call = self._reactor.callLater(PROBE_INTERVAL, self._start_probe)

    def _start_probe(self) -> None:
        self._probe_call = None
        self._probe()

    def _works(self) -> None:
        """The medium has taken a write again."""
        if not self._opened:
            return
        self.failed = False
        self._report_over()

    def _still_refuses(self) -> None:
        """The medium does not work yet."""
        if self._opened:
            self._probe_later()
