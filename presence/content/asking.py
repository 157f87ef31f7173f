"""Requests to Content Servers, and what their answers say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from twisted.internet.defer import Deferred, DeferredList

from presence.content.errors import ContentError, ErrorKind
from xcap.agent import AgentSettings, HttpAgent, NoAnswer, split_uri
from xcap.conditions import parse_date

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from twisted.internet.interfaces import IStreamClientEndpoint

    from xcap.agent import Origin
    from xcap.auth.client import HttpCredentials
    from xcap.records import HttpResponse
    from xcap.transfer import Transfer

_KINDS: Final[dict[str, ErrorKind]] = {"late": "late", "large": "large", "redirect": "foreign"}
_STATUSES: Final[dict[int, ErrorKind]] = {
    404: "missing",
    410: "missing",
    413: "large",
    507: "large",
}
_PORTS: Final = {"http": 80, "https": 443}


class ContentServers:
    """All servers that are asked, each over connections of its own.

    :param own: the user's own server, the only one that sees the credentials; None for none.
    :param connect: makes endpoints, in tests.
    """

    def __init__(
        self,
        reactor: Any,
        own: Origin | None,
        credentials: HttpCredentials | None,
        settings: AgentSettings,
        connect: Callable[[Origin], IStreamClientEndpoint] | None = None,
    ) -> None:
        self._reactor = reactor
        self.own = own
        self._credentials = credentials
        self._settings = settings
        self._connect = connect
        self._agents: dict[Origin, HttpAgent] = {}

    def stop(self) -> Deferred[Any]:
        """Close all connections."""
        return DeferredList([Deferred.fromCoroutine(a.stop()) for a in self._agents.values()])

    async def ask(
        self,
        method: str,
        uri: str,
        fields: list[tuple[str, str]],
        transfer: Transfer | None = None,
    ) -> HttpResponse:
        """Send a request to the user's own server.

        :raises ContentError: it is not for that, or has no success.
        """
        origin = origin_of(uri)
        if origin != self.own:
            raise ContentError("foreign", "that is not the user's own Content Server")
        return good(await self.request(origin, method, uri, fields, transfer))

    async def request(
        self,
        origin: Origin,
        method: str,
        uri: str,
        fields: list[tuple[str, str]],
        transfer: Transfer | None,
    ) -> HttpResponse:
        """Send a request to a server, and give its answer whatever that is.

        :raises ContentError: there is none.
        """
        try:
            return await self._agent(origin).request(method, uri, fields, transfer=transfer)
        except NoAnswer as failure:
            kind = _KINDS.get(failure.kind, "unreachable")
            raise ContentError(kind, str(failure)) from None

    def _agent(self, origin: Origin) -> HttpAgent:
        agent = self._agents.get(origin)
        if agent is None:
            agent = self._agents[origin] = HttpAgent(
                self._reactor,
                [f"{origin.scheme}://{origin.authority}/"],
                # nobody else gets to see them
                self._credentials if origin == self.own else None,
                self._settings,
                self._connect,
            )
        return agent


def origin_of(uri: str) -> Origin:
    """The server of a URI.

    :raises ContentError: it is no http or https URI.
    """
    try:
        return split_uri(uri)[0]
    except ValueError:
        raise ContentError("foreign", "it is no http or https URI") from None


def is_allowed(origin: Origin, allowed: Collection[str]) -> bool:
    """Whether a server is one of these: hosts, or hosts with a port (CIN-06)."""
    names = {name.lower() for name in allowed}
    host = f"[{origin.host}]" if ":" in origin.host else origin.host
    if f"{host}:{origin.port}" in names:
        return True
    return origin.port == _PORTS[origin.scheme] and (host in names or origin.host in names)


def good(answer: HttpResponse) -> HttpResponse:
    """The answer, if it is a success.

    :raises ContentError: it is not.
    """
    if answer.status < 300:
        return answer
    kind = _STATUSES.get(answer.status, "refused")
    raise ContentError(kind, f"the server answers {answer.status}", answer.status)


def etag_of(answer: HttpResponse) -> str:
    """The entity-tag without quotes, "" without one."""
    return (answer.header("etag") or "").removeprefix("W/").strip('"')


def expires_of(answer: HttpResponse) -> float:
    """Until when the server keeps an object, in wall-clock seconds.

    :raises ContentError: it does not say.
    """
    date = parse_date(answer.header("expires") or "")
    if date is None:
        raise ContentError("refused", "the server does not say how long it keeps the object")
    return float(date)
