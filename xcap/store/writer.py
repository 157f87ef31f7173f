"""The one thread that a store's blocking calls are made in."""

from __future__ import annotations

from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorFromThreads

_Argument = TypeVar("_Argument")
_Result = TypeVar("_Result")
_Job: TypeAlias = tuple[
    Callable[[Any], Any], Any, Callable[[Any], None], Callable[[BaseException], None]
]


class WriterThread:
    """Runs jobs one after the other; their outcome arrives in the reactor thread.

    The thread is a daemon: a process that ends without :meth:`stop` is not held up, and the
    medium has to survive that like any crash.

    :param reactor: where outcomes go.
    :param name: of the thread, for debuggers.
    """

    __slots__ = ("_jobs", "_reactor", "_thread")

    def __init__(self, reactor: IReactorFromThreads, name: str) -> None:
        self._reactor = reactor
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._thread = Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def submit(
        self,
        job: Callable[[_Argument], _Result],
        argument: _Argument,
        succeeded: Callable[[_Result], None],
        failed: Callable[[BaseException], None],
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
        while self._serve(jobs.get()):
            pass

    def _serve(self, entry: _Job | None) -> bool:
        """Do one job; a method, so that nothing of it lives on while the thread waits."""
        if entry is None:
            return False
        job, argument, succeeded, failed = entry
        try:
            result = job(argument)
        except BaseException as error:
            # not lost: whoever submitted the job gets it
            self._reactor.callFromThread(failed, error)
        else:
            self._reactor.callFromThread(succeeded, result)
        return True
