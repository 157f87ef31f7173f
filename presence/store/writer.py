"""The one thread that a store's blocking calls are made in."""

from __future__ import annotations

from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING, Any, TypeVar

from twisted.python.failure import Failure

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorFromThreads

_Result = TypeVar("_Result")


class WriterThread:
    """Runs jobs one after the other; their outcome arrives in the reactor thread.

    The thread is a daemon: a process that ends without :meth:`stop` is not held up, and the
    medium has to survive that like any crash.

    :param reactor: where outcomes go.
    :param name: of the thread, for debuggers and ``/proc``.
    """

    __slots__ = ("_jobs", "_reactor", "_thread")

    def __init__(self, reactor: IReactorFromThreads, name: str) -> None:
        self._reactor = reactor
        self._jobs: SimpleQueue[
            tuple[Callable[..., Any], Any, Callable[..., None], Callable[[Failure], None]] | None
        ] = SimpleQueue()
        self._thread = Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def submit(
        self,
        job: Callable[..., _Result],
        argument: Any,
        succeeded: Callable[[_Result], None],
        failed: Callable[[Failure], None],
    ) -> None:
        """Call ``job(argument)`` in the thread, then one of the other two in the reactor's."""
        self._jobs.put((job, argument, succeeded, failed))

    def stop(self) -> None:
        """End the thread after the jobs that were submitted.

        Call it when the outcome of the last job has arrived: then it does not block.
        """
        self._jobs.put(None)
        self._thread.join()

    def _run(self) -> None:
        jobs = self._jobs
        report = self._reactor.callFromThread
        while (entry := jobs.get()) is not None:
            job, argument, succeeded, failed = entry
            try:
                result = job(argument)
            except BaseException:
                # nothing is lost: whoever submitted the job gets the failure
                report(failed, Failure())
            else:
                report(succeeded, result)
            # a batch or a result must not live on while the thread waits
            entry = job = argument = succeeded = failed = result = None
