"""Threads for what blocks and need not be done in order: files, and questions to the store."""

from __future__ import annotations

from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorFromThreads

_Tool = TypeVar("_Tool")
_Result = TypeVar("_Result")
_Job: TypeAlias = tuple[Callable[[Any], Any], "Deferred[Any]"]


class Workers(Generic[_Tool]):
    """Some threads, each with a tool of its own such as a connection to a database.

    The threads are daemons: a process that ends without :meth:`stop` is not held up.

    :param reactor: where outcomes go.
    :param name: of the threads, for debuggers.
    :param make: makes the tool of a thread, in that thread.
    :param end: takes it apart.

    :ivar waiting: jobs that are not done.
    """

    def __init__(
        self,
        reactor: IReactorFromThreads,
        name: str,
        count: int,
        make: Callable[[], _Tool],
        end: Callable[[_Tool], None],
    ) -> None:
        self.waiting = 0
        self._reactor = reactor
        self._make = make
        self._end = end
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._threads = [
            Thread(target=self._run, name=f"{name}-{number}", daemon=True)
            for number in range(count)
        ]
        for thread in self._threads:
            thread.start()

    def do(self, job: Callable[[_Tool], _Result]) -> Deferred[_Result]:
        """Call ``job`` in one of the threads; fires in the reactor's with what comes out.

        It is done to its end, also when the Deferred is cancelled.
        """
        done: Deferred[_Result] = Deferred(lambda _: None)
        self.waiting += 1
        self._jobs.put((job, done))
        return done

    def stop(self) -> None:
        """End the threads after the jobs that they have; waits for that.

        Call it when nobody waits for a job any more: then it hardly blocks.
        """
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join()
        self._threads = []

    def _run(self) -> None:
        tool: _Tool | None = None
        while (job := self._jobs.get()) is not None:
            if tool is None:
                try:
                    tool = self._make()
                except BaseException as error:
                    self._reactor.callFromThread(self._done, job[1], Failure(error))
                    continue
            self._serve(tool, *job)
            del job  # nothing of it lives on while the thread waits
        if tool is not None:
            self._end(tool)

    def _serve(self, tool: _Tool, job: Callable[[_Tool], _Result], done: Deferred[_Result]) -> None:
        try:
            result: Any = job(tool)
        except BaseException as error:
            # not lost: whoever wanted the job done gets it
            result = Failure(error)
        self._reactor.callFromThread(self._done, done, result)

    def _done(self, done: Deferred[Any], result: Any) -> None:
        self.waiting -= 1
        if not done.called:
            done.callback(result)
