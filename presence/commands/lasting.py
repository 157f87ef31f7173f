"""How commands go on until they are interrupted, and end."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred

from presence.commands.failures import OK, REFUSED, refusal
from presence.commands.session import GRACE

if TYPE_CHECKING:
    from presence.client import PresenceClient
    from presence.commands.failures import CommandError
    from presence.commands.session import Output
    from pysip.message import Response


class Ending:
    """When a command is over, and with which status."""

    def __init__(self) -> None:
        self._client: PresenceClient | None = None
        self._over: Deferred[int] = Deferred()

    def _end(self, status: int) -> None:
        if not self._over.called:
            self._over.callback(status)

    def _refusal(self, what: str, response: Response | None) -> CommandError:
        """The error for an answer.

        :param what: what was tried, such as "watching sip:bob@example.com".
        """
        client = self._client
        aor = client.settings.aor if client is not None else ""
        return refusal(response, what, aor, client is not None and client.credentials is not None)


class LastingCommand(Ending, ABC):
    """Keeps the connection up, tells when it is lost, and says good-bye in the end."""

    def __init__(self) -> None:
        super().__init__()
        self._ending = False

    @abstractmethod
    def _refresh(self) -> None:
        """Tell the server that this client is here; it may be at another place now."""

    @abstractmethod
    def _stop(self) -> Deferred[Any]:
        """Say good-bye to the server."""

    @abstractmethod
    def remark(self, text: str) -> None:
        """Tell the user of something that will be made good."""

    def _keep(self, client: PresenceClient) -> None:
        """Keep the connection of the client up."""
        link = client.link
        link.moved = self._moved
        link.lost = self._lost
        link.keep()

    def interrupt(self) -> None:
        """Say good-bye and end."""
        self._ending = True
        client = self._client
        if client is None or self._over.called:
            return
        stopping = self._stop()
        stopping.addTimeout(GRACE, client.ua.clock)
        stopping.addBoth(lambda _: self._end(OK))

    def _moved(self) -> None:
        self.remark("connected again")
        self._refresh()

    def _lost(self, cause: str, delay: float) -> None:
        self.remark(f"connection lost: {cause}; trying again in {delay:.0f} s")


class OneSubscription(LastingCommand):
    """Lasts as long as its one subscription.

    :param what: what it does, such as "asking for watchers"; for errors.
    :param errors: where remarks go.
    """

    def __init__(self, what: str, errors: Output) -> None:
        super().__init__()
        self._what = what
        self._errors = errors

    def remark(self, text: str) -> None:
        """Tell the user of something that will be made good."""
        self._errors.line(f"presencectl: {text}")

    def _failed(self, response: Response | None, retry_after: float | None) -> None:
        """The subscription was refused or not answered."""
        if self._ending:
            return
        error = self._refusal(self._what, response)
        if retry_after is None:
            self.remark(str(error))
            self._end(error.status)
        else:
            self.remark(f"{error}; trying again in {retry_after:.0f} s")

    def _ended(self, reason: str, retry_after: float | None) -> None:
        """The subscription has ended, perhaps only to be made anew."""
        if self._ending:
            return
        said = f"the subscription has ended ({reason or 'no reason given'})"
        if retry_after is None:
            self.remark(said)
            self._end(REFUSED)
        elif retry_after > 0:
            self.remark(f"{said}; trying again in {retry_after:.0f} s")
