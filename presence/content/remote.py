"""Objects of a Content Server elsewhere, for the Presence Server (PRS-15)."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from twisted.internet.defer import Deferred
from zope.interface import implementer

from presence.content.errors import ContentError, ErrorKind
from presence.content.interfaces import Fetched, IContentObjects
from presence.content.local import OctetsSink
from presence.content.objects import Bases, in_time
from xcap.agent import NoAnswer
from xcap.transfer import Transfer

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import IReactorTime

    from xcap.agent import HttpAgent
    from xcap.interfaces import IIdentityAsserter
    from xcap.records import HttpResponse

_KINDS: dict[str, ErrorKind] = {"late": "late", "large": "large", "redirect": "foreign"}
_STATUSES: dict[int, ErrorKind] = {
    404: "missing",
    410: "missing",
    413: "large",
    502: "unreachable",
    503: "unreachable",
    504: "late",
    507: "large",
}


@implementer(IContentObjects)
class RemoteObjects:
    """Asks a Content Server by HTTPS, as a server that it trusts.

    :param agent: sends the requests; it may reach that server only.
    :param base: its base URI.
    :param clock: for time-outs.
    :param wall: wall-clock seconds.
    :param asserter: tells who asks, where the certificate does not.
    :param identity: who asks.
    :param timeout: seconds.
    """

    def __init__(
        self,
        agent: HttpAgent,
        base: str,
        clock: IReactorTime,
        wall: Callable[[], float],
        asserter: IIdentityAsserter,
        identity: str,
        timeout: float = 5.0,
    ) -> None:
        self._agent = agent
        self._base = base if base.endswith("/") else f"{base}/"
        self._bases = Bases([self._base])
        self._clock = clock
        self._wall = wall
        self._fields = asserter.assertion((identity,))
        self._timeout = timeout

    def owns(self, uri: str) -> bool:
        """Whether a URI is of an object there."""
        return self._bases.id_of(uri) != ""

    def fetch(self, uri: str, limit: int) -> Deferred[Fetched]:
        """An object."""
        return in_time(self._fetch(uri, limit), self._clock, self._timeout)

    def store(self, owner: str, content_type: str, body: bytes, until: float) -> Deferred[str]:
        """Store an object for a user."""
        work = self._store(owner, content_type, body, until)
        return in_time(work, self._clock, self._timeout)

    def keep(self, uri: str, until: float) -> Deferred[None]:
        """Make the life of an object longer."""
        return in_time(self._keep(uri, until), self._clock, self._timeout)

    async def stop(self) -> None:
        """Close the connections."""
        await self._agent.stop()

    async def _fetch(self, uri: str, limit: int) -> Fetched:
        self._check(uri)
        sink = OctetsSink(limit)

        def take(head: HttpResponse) -> OctetsSink | None:
            return sink if head.status == 200 else None

        answer = await self._ask("GET", uri, [], transfer=Transfer(self._timeout, sink=take))
        kind = answer.header("content-type") or "application/octet-stream"
        return Fetched(kind, sink.octets())

    async def _store(self, owner: str, content_type: str, body: bytes, until: float) -> str:
        fields = [("content-type", content_type), self._life(until)]
        uri = f"{self._base}users/{quote(owner, safe=':@+')}/"
        location = (await self._ask("POST", uri, fields, body)).header("location") or ""
        if not self.owns(location):
            raise ContentError("refused", "the server does not say where the object is")
        return location

    async def _keep(self, uri: str, until: float) -> None:
        self._check(uri)
        await self._ask("PUT", uri, [("x-refresh", "1"), self._life(until)])

    def _life(self, until: float) -> tuple[str, str]:
        return "x-expires", str(max(1, round(until - self._wall())))

    def _check(self, uri: str) -> None:
        if not self.owns(uri):
            raise ContentError("foreign")

    async def _ask(
        self,
        method: str,
        uri: str,
        fields: list[tuple[str, str]],
        body: bytes = b"",
        transfer: Transfer | None = None,
    ) -> HttpResponse:
        try:
            answer = await self._agent.request(
                method, uri, [*self._fields, *fields], body, transfer
            )
        except NoAnswer as failure:
            kind = _KINDS.get(failure.kind, "unreachable")
            raise ContentError(kind, str(failure)) from None
        if answer.status >= 300:
            kind = _STATUSES.get(answer.status, "refused")
            raise ContentError(kind, f"the server answers {answer.status}", answer.status)
        return answer
