"""Running a client command: start, work until it is over or interrupted, clean up."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Protocol

from twisted.internet.defer import CancelledError, Deferred

from presence.client import ClientSettings, PresenceClient, UnreachableError
from presence.commands.failures import OK, USAGE, CommandError, unreachable
from pysip.transport.base import host_port
from pysip.transport.credentials import CredentialsError

if TYPE_CHECKING:
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


class Output:
    """A text stream of which each line is seen at once.

    :ivar broken: its reader is gone; what is written vanishes.
    """

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.broken = False

    def write(self, text: str) -> None:
        """Write and flush; never raises."""
        if self.broken:
            return
        try:
            self.stream.write(text)
            self.stream.flush()
        except (BrokenPipeError, ValueError):
            self.broken = True

    def line(self, text: str) -> None:
        """Write one line."""
        self.write(text + "\n")


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
            await client.stop()

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


class _Process:
    """A session under the reactor: Ctrl-C and SIGTERM interrupt it, its end stops the reactor."""

    def __init__(self, reactor: Any, session: Session) -> None:
        self._reactor = reactor
        self._session = session
        self._stopping = False
        self._gone: Deferred[None] = Deferred()
        self.status = 1
        reactor.addSystemEventTrigger("before", "shutdown", self._shut_down)
        reactor.callWhenRunning(self._begin)

    def _begin(self) -> None:
        self._session.start().addCallbacks(self._ended, self._bug).addBoth(self._leave)

    def _ended(self, status: int) -> None:
        self.status = status

    def _bug(self, failure: Failure) -> None:
        sys.stderr.write(failure.getTraceback())

    def _leave(self, _: object) -> None:
        self._gone.callback(None)
        if not self._stopping:
            self._reactor.stop()

    def _shut_down(self) -> Deferred[None] | None:
        """The reactor waits until the good-bye is said."""
        self._stopping = True
        if self._gone.called:
            return None
        self._session.interrupt()
        return self._gone


def run(settings: ClientSettings, command: ClientCommand, *, debug: bool = False) -> int:
    """Run a command under the reactor; gives the exit status of the process."""
    from twisted.internet import reactor
    from twisted.logger import globalLogBeginner, textFileLogObserver

    if debug:
        globalLogBeginner.beginLoggingTo(
            [textFileLogObserver(sys.stderr)], redirectStandardIO=False
        )
    client = PresenceClient(reactor, settings, agent="presencectl")
    process = _Process(reactor, Session(client, command, Output(sys.stderr)))
    reactor.run()
    return process.status
