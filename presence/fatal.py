"""Ending the process when it cannot go on: one message, a non-zero exit status."""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
from typing import TYPE_CHECKING, Protocol

from twisted.logger import Logger

from presence.oplog import CANNOT_START, report

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_log = Logger()


class Stoppable(Protocol):
    """The part of a reactor that is needed here."""

    def callWhenRunning(self, function: Callable[[], Any]) -> Any:  # noqa: D102
        ...

    def stop(self) -> None:  # noqa: D102
        ...


def exit_with(message: str, reactor: Stoppable, status: int = 1) -> None:
    """Say ``message`` to the operator, stop the reactor and leave with ``status``.

    ``twistd`` turns the end of the reactor into exit status 0 and gives no way to change
    that, so the status is set by the first exit function to run: by then the services are
    stopped, the PID file is gone and other threads have ended.  With ``twistd -n`` the
    message is on standard error; a daemon has only its log, where it is too.

    :param message: one sentence or more that tells what to do.
    """
    report(_log, CANNOT_START, message)
    if sys.__stderr__ is not None:  # twistd makes sys.stderr a log
        print(f"presence: {message}", file=sys.__stderr__, flush=True)
    atexit.register(_leave, status)
    reactor.callWhenRunning(reactor.stop)


def _leave(status: int) -> None:
    for stream in (sys.__stdout__, sys.__stderr__):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()  # type: ignore[union-attr]
    os._exit(status)
