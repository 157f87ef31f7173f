"""Metrics and health over HTTP, for machines of the operator (OBS-01, NFR-04)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, cast

from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.web.http import Request
from twisted.web.pages import notFound
from twisted.web.resource import Resource
from twisted.web.server import Site

from presence.exposition import CONTENT_TYPE, Family, exposition

if TYPE_CHECKING:
    from twisted.internet.interfaces import IListeningPort, IReactorTCP, IReactorTime
    from twisted.internet.protocol import ServerFactory
    from twisted.web.resource import IResource

_TEXT = b"text/plain; charset=utf-8"
_IDLE = 30.0
"""Seconds until an unused connection is closed."""


class _Folder(Resource):
    """Has the pages that were put there, and no others."""

    def getChild(self, path: bytes, request: Request) -> IResource:
        """404."""
        return notFound()


class _Page(_Folder):
    """A page that is made anew each time."""

    def __init__(self, content_type: bytes, render: Callable[[], tuple[int, bytes]]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._content_type = content_type
        self._render = render

    def render(self, request: Request) -> bytes:
        """The page and its status; 405 when somebody wants to do more than read."""
        if request.method not in (b"GET", b"HEAD"):
            request.setResponseCode(405)
            request.setHeader(b"allow", b"GET, HEAD")
            return b""
        status, body = self._render()
        request.setResponseCode(status)
        request.setHeader(b"content-type", self._content_type)
        request.setHeader(b"cache-control", b"no-store")
        return body


class _QuietSite(Site):
    """A site that does not log who asks every few seconds."""

    noisy = False

    def log(self, request: Request) -> None:
        """Say nothing."""


def make_site(
    figures: Callable[[], Iterable[Family]],
    checks: Callable[[], Mapping[str, str]],
    clock: IReactorTime,
) -> Site:
    """``/metrics``, ``/livez`` and ``/readyz``.

    :param figures: collects the metrics.
    :param checks: what has to be well for requests to be served; "" for each that is, else
        what is the matter.
    :param clock: to close connections that nobody uses.
    """

    def metrics() -> tuple[int, bytes]:
        return 200, exposition(figures())

    def live() -> tuple[int, bytes]:
        return 200, b"ok\n"  # whoever answers is alive

    def ready() -> tuple[int, bytes]:
        found = checks()
        lines = [f"{name}: {trouble or 'ok'}\n" for name, trouble in found.items()]
        return (503 if any(found.values()) else 200), "".join(lines).encode()

    root = _Folder()  # type: ignore[no-untyped-call]
    root.putChild(b"metrics", _Page(CONTENT_TYPE, metrics))
    root.putChild(b"livez", _Page(_TEXT, live))
    root.putChild(b"readyz", _Page(_TEXT, ready))
    return _QuietSite(root, timeout=_IDLE, reactor=clock)  # type: ignore[no-untyped-call]


class HealthPort:
    """The listening point of a site.

    :ivar port: the real port while it listens, else 0.
    """

    def __init__(self, reactor: IReactorTCP, address: str, port: int, site: Site) -> None:
        self._reactor = reactor
        self._address = address
        self._port = port
        self._site = site
        self._listening: IListeningPort | None = None

    @property
    def port(self) -> int:
        """The port that is listened on."""
        host: Any = self._listening.getHost() if self._listening is not None else None
        return host.port if host is not None else 0

    def start(self) -> None:
        """Listen.

        :raises twisted.internet.error.CannotListenError: the address is in use.
        """
        factory = cast("ServerFactory[Any]", self._site)
        self._listening = self._reactor.listenTCP(self._port, factory, interface=self._address)

    def stop(self) -> Deferred[Any]:
        """Listen no more; fires when the port is closed."""
        listening, self._listening = self._listening, None
        if listening is None:
            return succeed(None)
        return maybeDeferred(listening.stopListening)
