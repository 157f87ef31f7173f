"""The way from a client to its server: chosen, tested, kept up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.task import deferLater
from twisted.logger import Logger
from zope.interface import implementer

from pysip.errors import RequestTimeout, TransportError
from pysip.interfaces import IFlow, IFlowListener, ILocator, Target
from pysip.message import Request
from pysip.refresh import Backoff, uniform
from pysip.timers import Alarm
from pysip.transport.base import host_port
from pysip.transport.stream import StreamFlow
from pysip.uri import SipUri

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.python.failure import Failure

    from presence.client import PresenceClient
    from pysip.locate import Locator
    from pysip.uri import Uri

PATIENCE = 5.0
"""Seconds to wait for a sign of life of each address of the server."""

KEEP_ALIVE = (95.0, 120.0)
"""Seconds between two signs of life on a connection, chosen at random (TRN-13)."""


class UnreachableError(Exception):
    """The server cannot be reached; tells why."""


@implementer(ILocator)
class ServerLocator:
    """Leads requests for the user's domain and server to the chosen target.

    The server's own addresses keep the name that TLS has verified, whatever URI names them.

    :ivar hosts: names, lower case, that mean the server.
    :ivar target: the chosen target.
    :ivar addresses: numeric addresses that requests were sent to.
    """

    def __init__(self, inner: Locator, hosts: set[str]) -> None:
        self.inner = inner
        self.hosts = hosts
        self.target: Target | None = None
        self.addresses: set[str] = set()

    def immediate(self, uri: Uri) -> Target | None:
        """The only target of ``uri``."""
        target = self.target
        if (
            target is not None
            and isinstance(uri, SipUri)
            and uri.host.lower() in self.hosts
            and uri.port in (None, target.address[1])
        ):
            self.addresses.add(target.address[0])
            return target
        found = self.inner.immediate(uri)
        return None if found is None else self._note(found)

    def locate(self, uri: Uri) -> Deferred[list[Target]]:
        """All targets of ``uri``."""
        return self.inner.locate(uri).addCallback(lambda found: [self._note(t) for t in found])

    def failed(self, target: Target, seconds: float) -> None:
        """Do not offer ``target`` first for so long."""
        self.inner.failed(target, seconds)

    def _note(self, found: Target) -> Target:
        self.addresses.add(found.address[0])
        target = self.target
        if target is not None and (found.protocol, found.address) == (
            target.protocol,
            target.address,
        ):
            return target
        return found


@implementer(IFlowListener)
class ServerLink:
    """The way to the server: tested at the start, watched and, if wanted, kept up.

    :ivar moved: called when the way to the server, and with it our Contact, is new.
    :ivar lost: called with a cause and the seconds to the next attempt.
    """

    _log = Logger()

    def __init__(self, client: PresenceClient, locator: ServerLocator) -> None:
        self.moved: Callable[[], object] | None = None
        self.lost: Callable[[str, float], object] | None = None
        self._client = client
        self._ua = client.ua
        self._locator = locator
        self._targets: list[Target] = []
        self._flow: IFlow | None = None
        self._contact = ""
        self._cause = ""
        self._kept = False
        self._backoff = Backoff(client.ua.tokens, 1.0, 60.0)
        self._alarm = Alarm(self._test)

    async def connect(self, targets: list[Target]) -> None:
        """Use the first of ``targets`` that answers.

        :raises UnreachableError: none does.
        """
        self._targets = targets
        await self._connect()

    def keep(self) -> None:
        """Keep the connection up from now on; with UDP there is nothing to keep."""
        flow = self._flow
        self._kept = flow is not None and flow.reliable
        if flow is not None and flow.closed:
            self.flow_failed(flow, TransportError("connection is closed"))
        else:
            self._test_later()

    def stop(self) -> None:
        """Keep it up no longer."""
        self._kept = False
        self._ua.wheel.cancel(self._alarm)
        if self._flow is not None:
            self._flow.listeners.discard(self)

    def contact(self) -> str:
        """Our Contact value for requests to the server.

        On a connection it is the connection's own address, so that the server's requests
        come back on it (CLI-08): a client behind TLS or NAT could not be reached otherwise.
        While there is no connection it is that of the last one.
        """
        flow = self._flow
        if flow is None:
            return self._contact
        user = self._client.settings.user
        where = flow.sent_by
        if isinstance(flow, StreamFlow) and flow.local is not None:
            where = host_port(*flow.local)
        if user.scheme == "sips":
            self._contact = f"<sips:{user.user}@{where}>"
        else:
            transport = f";transport={flow.protocol.lower()}" if flow.reliable else ""
            self._contact = f"<sip:{user.user}@{where}{transport}>"
        return self._contact

    async def _connect(self) -> None:
        causes: dict[str, str] = {}
        if self._flow is not None:
            self._flow.listeners.discard(self)
            self._flow = None
        for target in self._targets:
            self._cause = ""
            self._locator.target = target
            transport = self._ua.layer.transport(target.protocol, target.address[0])
            if transport is None:
                continue
            flow = transport.flow_to(target.address, target.name)
            flow.listeners.add(self)
            try:
                await self._ping()
            except (TransportError, RequestTimeout, TimeoutError) as error:
                # The flow tells its listeners the cause one after the other, us perhaps last.
                await deferLater(self._ua.clock, 0)
                if isinstance(error, TimeoutError):
                    self._cause = self._cause or f"no answer in {PATIENCE:.0f} s"
                flow.listeners.discard(self)
                causes[target.address[0]] = self._cause or str(error)
                continue
            self._backoff.reset()
            self._flow = flow
            return
        if len(set(causes.values())) > 1:
            causes = {host: f"{cause} ({host})" for host, cause in causes.items()}
        raise UnreachableError(", ".join(dict.fromkeys(causes.values())) or "no address to try")

    def _ping(self) -> Deferred[Any]:
        """Ask for a sign of life; any final response is one."""
        settings = self._client.settings
        domain = f"{settings.user.scheme}:{settings.user.host}"
        request = Request("OPTIONS", domain)
        request.set("From", f"{self._client.local_uri};tag={self._ua.tokens.tag()}")
        request.set("To", f"<{domain}>")
        request.set("Call-ID", self._ua.tokens.call_id())
        request.set("CSeq", "1 OPTIONS")
        sending = self._ua.request(request, route=self._client.route)
        return sending.addTimeout(PATIENCE, self._ua.clock)

    def flow_failed(self, flow: IFlow, error: TransportError) -> None:
        """The connection is gone, or (UDP) nobody listens at the server's port."""
        self._cause = str(error)
        if self._kept and flow is self._flow and flow.reliable:
            self._flow = None
            self._reconnect_later()

    def _reconnect_later(self) -> None:
        delay = self._backoff.next()
        self._ua.wheel.after(delay, self._alarm)
        if self.lost is not None:
            self.lost(self._cause, delay)

    def _test_later(self) -> None:
        if self._kept:
            least, most = KEEP_ALIVE
            delay = least + (most - least) * uniform(self._ua.tokens)
            self._ua.wheel.after(delay, self._alarm)

    def _test(self) -> None:
        """Test the connection, or make a new one when it is gone."""
        flow = self._flow
        test = self._reconnect() if flow is None else self._keep_alive(flow)
        Deferred.fromCoroutine(test).addErrback(self._bug)

    def _bug(self, failure: Failure) -> None:
        self._log.failure("testing the connection failed", failure=failure)

    async def _reconnect(self) -> None:
        try:
            await self._connect()
        except UnreachableError as error:
            self._cause = str(error)
            if self._kept:
                self._reconnect_later()
            return
        self._test_later()
        if self.moved is not None:
            self.moved()

    async def _keep_alive(self, flow: IFlow) -> None:
        try:
            await self._ping()
        except TransportError:
            return  # flow_failed has told
        except (RequestTimeout, TimeoutError):
            if isinstance(flow, StreamFlow):
                flow.abort(TransportError("the server does not answer any more"))
            return
        if flow is self._flow:
            self._test_later()
