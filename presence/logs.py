"""The log that ``twistd`` writes: levels, numbers of problems, and no word about users."""

from __future__ import annotations

import os
import re
import signal
import sys
from typing import TYPE_CHECKING, Any, TextIO, cast

from twisted.application.service import MultiService
from twisted.logger import (
    FileLogObserver,
    FilteringLogObserver,
    ILogObserver,
    LogLevel,
    LogLevelFilterPredicate,
    formatEventAsClassicLogText,
)
from twisted.python.components import Componentized
from twisted.python.logfile import LogFile

from presence.oplog import numbered

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from twisted.logger import LogEvent

_PRIVATE = re.compile(
    r"""\b(?P<scheme>sips?|pres|im|tel):[^\s<>"'(),;]+"""  # a URI
    r"""|[\w.!#$%&*+/=?^`{|}~-]+@[\w.:\[\]-]*\w""",  # or an address without scheme
    re.IGNORECASE,
)


def redacted(text: str) -> str:
    """``text`` without URIs and addresses of users (OBS-03, SEC-04)."""
    if "@" not in text and ":" not in text:
        return text
    return _PRIVATE.sub(lambda found: f"{found['scheme']}:***" if found["scheme"] else "***", text)


def format_event(event: LogEvent) -> str | None:
    """A line, or the lines of a traceback; None for an event without text.

    Whatever an exception may quote, addresses of users appear at level ``debug`` only.
    """
    text = formatEventAsClassicLogText(numbered(event))
    if text is None or event.get("log_level") is LogLevel.debug:
        return text
    return redacted(text)


class LogSettings:
    """Makes the log observer of ``twistd`` and changes its level while it runs.

    :param options: those of ``twistd`` itself: ``logfile`` and ``nodaemon`` say where to write.
    :param level: ``debug``, ``info``, ``warn`` or ``error``.
    :ivar stream: what the observer writes to, once there is one.
    """

    stream: TextIO | None = None

    def __init__(self, options: Mapping[str, Any], level: str) -> None:
        self._file = options["logfile"]
        self._foreground = bool(options["nodaemon"])
        self._predicate = LogLevelFilterPredicate()
        self.set_level(level)

    def set_level(self, level: str) -> None:
        """Drop events below ``level`` from now on.

        What Twisted itself tells, such as each port that it opens and each name server that
        it finds, is dropped below ``warn`` unless ``level`` is ``debug``.
        """
        wanted = LogLevel.levelWithName(level)
        quiet = max(wanted, LogLevel.warn) if level != "debug" else wanted
        self._predicate.setLogLevelForNamespace("", wanted)
        for namespace in ("twisted", "log_legacy"):
            self._predicate.setLogLevelForNamespace(namespace, quiet)

    def observer(self) -> ILogObserver:
        """The observer, which opens its file.

        Without ``--logfile`` a foreground process writes to standard output and a daemon to
        ``twistd.log``; SIGUSR1 begins a new file.
        """
        if self._file == "-" or (self._foreground and not self._file):
            self.stream = sys.stdout
        else:
            file = LogFile.fromFullPath(os.path.abspath(self._file or "twistd.log"))
            if signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL:
                signal.signal(signal.SIGUSR1, _rotation(file))
            self.stream = cast(TextIO, file)
        writer = FileLogObserver(self.stream, format_event)
        return cast(ILogObserver, FilteringLogObserver(writer, [self._predicate]))


class LoggedService(MultiService):
    """A service that gives the application it becomes part of its log observer.

    :param settings: where to log, and what.
    """

    def __init__(self, settings: LogSettings) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._settings = settings

    def setServiceParent(self, parent: Any) -> None:
        """Become part of ``parent``; ``twistd`` asks it for an observer before it logs."""
        super().setServiceParent(parent)  # type: ignore[no-untyped-call]
        if isinstance(parent, Componentized):
            parent.setComponent(ILogObserver, self._settings.observer())


def _rotation(file: LogFile) -> Callable[[int, object], None]:
    def rotate(number: int, frame: object) -> None:
        from twisted.internet import reactor

        reactor.callFromThread(file.rotate)  # type: ignore[attr-defined]

    return rotate
