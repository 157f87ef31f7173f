"""The documents of a document server in the same process, as a client sees them.

What a client over HTTP may and may not do, this one may and may not: every request goes through
the document server, which looks at access and constraints; only the hop is a function call.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred
from zope.interface import implementer

from xcap.auth.identity import IN_PROCESS
from xcap.interfaces import IDocumentClient
from xcap.records import Head, Headers, HttpResponse
from xcap.roots import Root

if TYPE_CHECKING:
    from xcap.interfaces import IHttpService, IIdentityAsserter


@implementer(IDocumentClient)
class LocalClient:
    """A client of one XCAP root of a document server of this process (XDM-05, XDM-29).

    URIs may be absolute, or relative to the root.

    :param service: the document server.
    :param root: the XCAP root, ending in ``/``.
    :param asserter: of the document server, to tell it who asks.
    :param identities: canonical identities of who asks: a trusted principal, or a user.
    """

    def __init__(
        self,
        service: IHttpService,
        root: str,
        asserter: IIdentityAsserter,
        identities: tuple[str, ...],
    ) -> None:
        self._service = service
        self._root = Root(root)
        self._assertion = tuple(asserter.assertion(identities))

    def get(self, uri: str, etag: str | None = None) -> Deferred[HttpResponse]:
        """GET; with ``etag`` conditional (304).

        :raises ValueError: (in the Deferred) the URI is not below the root.
        """
        condition = [] if etag is None else [("If-None-Match", f'"{etag}"')]
        return Deferred.fromCoroutine(self._request("GET", uri, condition))

    def put(
        self, uri: str, body: bytes, content_type: str, *, match: str | None = None
    ) -> Deferred[HttpResponse]:
        """PUT; ``match`` is the entity-tag it must have, "" that it must not exist.

        :raises ValueError: (in the Deferred) the URI is not below the root.
        """
        headers = [("Content-Type", content_type)]
        if match is not None:
            headers.append(("If-Match", f'"{match}"') if match else ("If-None-Match", "*"))
        return Deferred.fromCoroutine(self._request("PUT", uri, headers, body))

    def delete(self, uri: str, *, match: str | None = None) -> Deferred[HttpResponse]:
        """DELETE, conditional with ``match``.

        :raises ValueError: (in the Deferred) the URI is not below the root.
        """
        headers = [] if match is None else [("If-Match", f'"{match}"')]
        return Deferred.fromCoroutine(self._request("DELETE", uri, headers))

    async def _request(
        self, method: str, uri: str, headers: list[tuple[str, str]], body: bytes = b""
    ) -> HttpResponse:
        root = self._root
        if not uri.lower().startswith(("http://", "https://")):
            target = root.prefix + uri.lstrip("/")
        elif uri.startswith(root.uri):
            target = root.prefix + uri[len(root.uri) :]
        else:
            raise ValueError("not below the XCAP root")
        fields = Headers([*self._assertion, *headers])
        answer = await self._service.begin(Head(method, target, root.authority, fields, IN_PROCESS))
        return answer if isinstance(answer, HttpResponse) else await answer(body)
