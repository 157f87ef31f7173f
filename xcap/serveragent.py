"""Requests straight to document servers, past the Aggregation Proxy (PRS-5, PRS-8, PRS-9, PRS-10).

What a client over HTTP may and may not do, who asks this way may and may not do: every request
goes through a document server, which looks at access and constraints; to one in the same
process the hop is a function call.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from xcap.agent import NoAnswer
from xcap.auth.identity import IN_PROCESS, IdentityAsserter
from xcap.errors import XcapError
from xcap.records import Head, Headers, HttpResponse
from xcap.roots import Root
from xcap.uri import canonical_xui, parse_target

if TYPE_CHECKING:
    from xcap.interfaces import IIdentityAsserter, IRouteTable


class ServerAgent:
    """Sends requests for one XCAP root to the document servers, in somebody's name.

    It is the agent of an :class:`xcap.client.XcapClient`.

    :param root: the XCAP root, ending in ``/``.
    :param routes: which document server holds what.
    :param identities: canonical identities of who asks: a trusted principal, or a user (XDM-05,
        XDM-29).
    :param asserters: how single servers are told who asks, by name (AGP-45).
    :param canonical: the identifier of the home directory of a user.
    """

    def __init__(
        self,
        root: str,
        routes: IRouteTable,
        identities: tuple[str, ...],
        asserters: Mapping[str, IIdentityAsserter] | None = None,
        canonical: Callable[[str], str] = canonical_xui,
    ) -> None:
        self._root = Root(root)
        self._routes = routes
        self._identities = identities
        self._asserters = asserters or {}
        self._asserter = IdentityAsserter()
        self._canonical = canonical

    async def request(
        self,
        method: str,
        uri: str,
        headers: Iterable[tuple[str, str]] = (),
        body: bytes = b"",
    ) -> HttpResponse:
        """Send a request.

        :param uri: absolute, percent-encoded; its path and query are sent as they are.
        :raises NoAnswer: there is no server for it, or no answer of it.
        :raises ValueError: ``uri`` is not below the root.
        """
        root = self._root
        if not uri.startswith(root.uri):
            raise ValueError("not below the XCAP root")
        target = root.prefix + uri[len(root.uri) :]
        try:
            place = parse_target(target, root.prefix)
            server = self._routes.route(place.auid, self._canonical(place.xui) if place.xui else "")
            asserter = self._asserters.get(server.name, self._asserter)
            fields = Headers(
                [("host", root.authority), *asserter.assertion(self._identities), *headers]
            )
            answer = await server.begin(Head(method, target, root.authority, fields, IN_PROCESS))
            return answer if isinstance(answer, HttpResponse) else await answer(body)
        except XcapError as error:
            raise NoAnswer("unreachable", root.authority, error.text) from None

    async def stop(self) -> None:
        """Nothing: the connections are the servers'."""
