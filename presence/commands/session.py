"""Running a client command: start, work until it is over or interrupted, clean up."""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING, Any, Protocol

from twisted.internet.defer import CancelledError, Deferred

from presence.client import ClientSettings, PresenceClient
from presence.commands.failures import OK, USAGE, CommandError, unreachable
from presence.link import UnreachableError
from pysip.transport.base import host_port
from pysip.transport.credentials import CredentialsError

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TextIO

    from twisted.python.failure import Failure

GRACE = 5.0
"""Seconds for the good-bye to the server."""


class ClientCommand(Protocol):
    """Work to do with a client."""

    def run(self, client: PresenceClient) -> Deferred[int]:
        """Begin; fires with the exit status when it is over.

        Fails with CommandError.
        """

    def interrupt(self) -> None:
        """Come to an end soon; the Deferred of :meth:`run` fires then."""


class Interruptible(Protocol):
    """Work from start to end."""

    def start(self) -> Deferred[int]:
        """Do everything; fires with the exit status once all is closed."""

    def interrupt(self) -> None:
        """The user has had enough."""


class Output:
    """A text stream of which each line is seen at once.

    :ivar broken: its reader is gone; what is written vanishes.
    :ivar on_broken: called when that is found out.
    """

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.broken = False
        self.on_broken: Callable[[], object] | None = None

    def write(self, text: str) -> None:
        """Write and flush; never raises."""
        if self.broken:
            return
        try:
            self.stream.write(text)
            self.stream.flush()
        except OSError:
            self.broken = True
            # The interpreter flushes once more at its end, into nothing.
            with open(os.devnull, "w", encoding="ascii") as nothing:
                os.dup2(nothing.fileno(), self.stream.fileno())
            if self.on_broken is not None:
                self.on_broken()

    def line(self, text: str) -> None:
        """Write one line, without characters that would move the cursor of a terminal.

        What others say may be part of any line: notes, names, reasons of refusals.
        """
        self.write((text if text.isprintable() else "".join(filter(str.isprintable, text))) + "\n")


class Session:
    """One command with its client, from start to end.

    :param client: not started yet.
    :param command: what to do.
    :param errors: where messages go.
    """

    def __init__(self, client: PresenceClient, command: ClientCommand, errors: Output) -> None:
        self._client = client
        self._command = command
        self._errors = errors
        self._running = False
        self._whole: Deferred[int] | None = None

    def start(self) -> Deferred[int]:
        """Do everything; fires with the exit status once all is closed."""
        self._whole = Deferred.fromCoroutine(self._go())
        return self._whole

    def interrupt(self) -> None:
        """The user has had enough."""
        if self._running:
            self._command.interrupt()
        elif self._whole is not None:
            self._whole.cancel()

    async def _go(self) -> int:
        try:
            status = await self._work()
        except Exception:
            await self._client.stop()
            raise
        await self._client.stop()
        return status

    async def _work(self) -> int:
        client = self._client
        try:
            await client.start()
            self._running = True
            return await self._command.run(client)
        except CancelledError:
            return OK
        except UnreachableError as error:
            return self._fail(unreachable(_place(client.settings), str(error), tls=_tls(client)))
        except CredentialsError as error:
            return self._fail(CommandError(str(error), USAGE))
        except CommandError as error:
            return self._fail(error)
        finally:
            self._running = False

    def _fail(self, error: CommandError) -> int:
        self._errors.line(f"presencectl: {error}")
        return error.status


def _tls(client: PresenceClient) -> bool:
    return client.settings.transport == "tls"


def _place(settings: ClientSettings) -> str:
    """The server as its user would name it."""
    transport = settings.transport.upper()
    if settings.server is None:
        return f"the server of {settings.user.host} by {transport}"
    host, port = settings.server
    return f"{host_port(host, port) if port else host} by {transport}"


class Process:
    """A session under the reactor: a signal interrupts it, its end stops the reactor.

    The first SIGINT, SIGTERM or SIGHUP asks for a good-bye to the server, the second does
    without.

    :ivar status: exit status of the process.
    """

    def __init__(self, reactor: Any, session: Interruptible) -> None:
        self._reactor = reactor
        self._session = session
        self._interrupted = False
        self._stopped = False
        self.status = 1
        reactor.callWhenRunning(self._begin)

    def _begin(self) -> None:
        self._session.start().addCallbacks(self._ended, self._bug).addBoth(self._stop)

    def _ended(self, status: int) -> None:
        self.status = status

    def _bug(self, failure: Failure) -> None:
        sys.stderr.write(failure.getTraceback())

    def _stop(self, _: object = None) -> None:
        if not self._stopped:
            self._stopped = True
            self._reactor.stop()

    def signalled(self, number: int, frame: object) -> None:
        """A signal handler."""
        self._reactor.callFromThread(self.interrupt)

    def interrupt(self) -> None:
        """The user has had enough."""
        if self._interrupted:
            self.status = 130
            self._stop()
        elif not self._stopped:
            self._interrupted = True
            self._session.interrupt()


def run(
    settings: ClientSettings, command: ClientCommand, output: Output, *, debug: bool = False
) -> int:
    """Run a command under the reactor; gives the exit status of the process."""

    def make(reactor: Any) -> Session:
        client = PresenceClient(reactor, settings, agent="presencectl")
        return Session(client, command, Output(sys.stderr))

    return run_session(make, output, debug=debug)


def run_session(
    make: Callable[[Any], Interruptible], output: Output, *, debug: bool = False
) -> int:
    """Run what ``make`` makes for the reactor; gives the exit status of the process."""
    from twisted.internet import reactor
    from twisted.logger import globalLogBeginner, textFileLogObserver

    if debug:
        globalLogBeginner.beginLoggingTo(
            [textFileLogObserver(sys.stderr)], redirectStandardIO=False
        )
    process = Process(reactor, make(reactor))
    output.on_broken = process.interrupt
    # Once it runs, the reactor has a descriptor that wakes it at every signal; without that
    # a signal just before it begins to wait would be noticed at the next timer only.
    reactor.callWhenRunning(_heed_signals, process)
    reactor.run()
    return process.status


def _heed_signals(process: Process) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:  # nohup, or a job in the background
            signal.signal(number, process.signalled)
