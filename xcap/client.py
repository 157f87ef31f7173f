"""The XCAP client: reads and writes documents, elements and attributes (XCLI-01 to XCLI-10)."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred, DeferredLock
from zope.interface import implementer

from xcap import uri
from xcap.cache import CachedDocument, DocumentCache
from xcap.contents import (
    Capabilities,
    check_fit,
    entity_tag,
    read_capabilities,
    read_conflict,
    used_namespaces,
)
from xcap.errors import XcapError
from xcap.interfaces import IDocumentClient
from xcap.media import ATTRIBUTE_TYPE, ELEMENT_TYPE, USAGES, KnownUsage

if TYPE_CHECKING:
    from xcap.agent import Agent
    from xcap.records import HttpResponse
    from xcap.uri import NodeSelector, Target

RETRIES = 3
"""How often a change is made anew after somebody else's (XCLI-03)."""

_NAMES = 8  # values tried for something that must be unique
_OURS = ("urn:ietf:", "http://www.w3.org/")
_CAPS = "xcap-caps/global/index"

Edit = Callable[[bytes], bytes]
"""Makes a new document of the present one, b"" meaning that there is none."""


class Refused(Exception):
    """A server has refused a request.

    :ivar conflict: what a 409 reports; None without a report that is understood (XCLI-06).
    """

    def __init__(self, response: HttpResponse) -> None:
        super().__init__(response.status)
        self.response = response
        self.conflict = read_conflict(response)


class UnsupportedNamespaces(Exception):
    """A document uses namespaces that the server does not know (XCLI-10)."""

    def __init__(self, names: frozenset[str]) -> None:
        super().__init__(", ".join(sorted(names)))
        self.names = names


@implementer(IDocumentClient)
class XcapClient:
    """A client of one XCAP root.

    URIs may be absolute, or relative to the root; node selectors are percent-encoded, as
    :func:`xcap.uri.attribute_step` and :func:`uri_step` give them.

    :param agent: sends the requests; it must be allowed to reach the root.
    :param root: absolute URI of the XCAP root.
    :param identity: which public identity of the user to act for, "" for the default one.
    :param usages: what is known of application usages, by AUID.
    :param random: gives that many random octets, for names that must be unique.
    """

    def __init__(
        self,
        agent: Agent,
        root: str,
        identity: str = "",
        usages: Mapping[str, KnownUsage] = USAGES,
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self.agent = agent
        self.root = root if root.endswith("/") else root + "/"
        self._identity = identity
        self._usages = usages
        self._random = random
        self._cache = DocumentCache()
        self._capabilities: Capabilities | None = None
        self._asking = DeferredLock()

    # -- single requests ------------------------------------------------------------------

    def get(self, uri: str, etag: str | None = None) -> Deferred[HttpResponse]:
        """GET; with ``etag`` only what has changed since (304).

        :raises xcap.agent.NoAnswer: (in the Deferred) there is no answer.
        :raises ValueError: (in the Deferred) the URI is not below the root.
        """
        condition = () if etag is None else (("if-none-match", f'"{etag}"'),)
        return Deferred.fromCoroutine(self._request("GET", uri, condition))

    def put(
        self,
        uri: str,
        body: bytes,
        content_type: str,
        *,
        match: str | None = None,
        checked: bool = True,
    ) -> Deferred[HttpResponse]:
        """PUT.

        :param match: entity-tag the document must have, "" that it must not exist.
        :param checked: look first whether the server knows the namespaces (XCLI-10).
        :raises xcap.agent.NoAnswer: (in the Deferred) there is no answer.
        :raises UnsupportedNamespaces: (in the Deferred) it does not.
        :raises ValueError: (in the Deferred) the URI is not below the root, or would not select
            what is put (XCLI-04).
        """
        return Deferred.fromCoroutine(self._put(uri, body, content_type, match, checked))

    def delete(self, uri: str, *, match: str | None = None) -> Deferred[HttpResponse]:
        """DELETE.

        :param match: entity-tag the document must have.
        :raises xcap.agent.NoAnswer: (in the Deferred) there is no answer.
        :raises ValueError: (in the Deferred) the URI is not below the root.
        """
        return Deferred.fromCoroutine(self._delete(uri, match))

    # -- documents ------------------------------------------------------------------------

    async def fetch(self, uri: str) -> CachedDocument | None:
        """A document as it is now, over the cache; None when there is none.

        :raises Refused: anything but 200, 304 and 404.
        :raises xcap.agent.NoAnswer: there is no answer.
        """
        uri = self.resolve(uri)
        known = self._cache.get(uri)
        response = await self.get(uri, known.etag if known is not None else None)
        if response.status == 304 and known is not None:
            return known
        if response.status == 200:
            found = CachedDocument(
                response.body, entity_tag(response), response.header("content-type") or ""
            )
            self._cache.put(uri, found)
            return found
        self._cache.drop(uri)
        if response.status == 404:
            return None
        raise Refused(response)

    def learn(self, uri: str, document: CachedDocument) -> None:
        """Keep a document that became known otherwise, such as by a notification."""
        self._cache.put(self.resolve(uri), document)

    async def change(self, uri: str, edit: Edit, content_type: str = "") -> CachedDocument:
        """Change a whole document that others may change, too (XCLI-03).

        After somebody else's change the edit is made anew on what that has left.

        :param edit: may be called several times; what it raises comes out here.
        :param content_type: of a new document; "" for that of its application usage.
        :returns: the document afterwards.
        :raises Refused: the server refuses it, or others change it all the time (412).
        :raises xcap.agent.NoAnswer: there is no answer.
        """
        uri = self.resolve(uri)
        attempts = 0
        wanted: bytes | None = None
        while True:
            present = await self.fetch(uri)
            before = b"" if present is None else present.octets
            if present is not None and wanted == before:
                return present  # it was our own change whose answer was lost
            wanted = edit(before)
            if present is not None and wanted == before:
                return present
            media = content_type or (present.content_type if present is not None else "")
            tag = present.etag if present is not None else ""
            response = await self.put(uri, wanted, media or self.media_type(uri), match=tag)
            if response.status < 300:
                return CachedDocument(wanted, entity_tag(response), media)
            if response.status != 412 or attempts == RETRIES:
                raise Refused(response)
            attempts += 1

    async def put_unique(
        self, make: Callable[[str], tuple[str, bytes]], value: str, content_type: str
    ) -> str:
        """PUT something with a value that must be unique, such as the URI of a service (XCLI-05).

        When it is taken, the values that the server offers are tried, then random ones that
        grow longer; nothing is sent twice.

        :param make: gives the URI and body for a value.
        :returns: the value that was accepted.
        :raises Refused: for another reason, or all values are taken.
        :raises xcap.agent.NoAnswer: there is no answer.
        """
        offered: list[str] = []
        tried: set[str] = set()
        candidate = value
        while True:
            tried.add(candidate)
            response = await self.put(*make(candidate), content_type)
            if response.status < 300:
                return candidate
            refused = Refused(response)
            conflict = refused.conflict
            if conflict is None or conflict.kind != "uniqueness-failure" or len(tried) >= _NAMES:
                raise refused
            offered.extend(alt for one in conflict.exists for alt in one.alternatives)
            offered = [alt for alt in offered if alt and alt not in tried]
            candidate = offered.pop(0) if offered else self._invent(value, len(tried))

    async def capabilities(self) -> Capabilities | None:
        """What the server can do, asked once; None when it does not tell (XCLI-10).

        :raises xcap.agent.NoAnswer: there is no answer.
        """
        await self._asking.acquire()
        try:
            if self._capabilities is None:
                response = await self._request("GET", _CAPS, ())
                if response.status != 200:
                    return None
                self._capabilities = read_capabilities(response.body)
            return self._capabilities
        finally:
            self._asking.release()

    # -- URIs -----------------------------------------------------------------------------

    def resolve(self, uri: str) -> str:
        """The absolute form of a URI."""
        if uri.lower().startswith(("http://", "https://")):
            return uri
        return self.root + uri.lstrip("/")

    def document_of(self, uri: str) -> str:
        """The URI of the document that a URI of a node is in."""
        uri = self.resolve(uri)
        target = self._target(uri)
        return uri if target.node is None else uri.partition("?")[0][: -len(target.node) - 4]

    def media_type(self, uri: str) -> str:
        """The media type to PUT to a URI: of an element, an attribute, or by usage."""
        target = self._target(self.resolve(uri))
        selector = self._selector(target)
        if selector is not None:
            return ELEMENT_TYPE if selector.attribute is None else ATTRIBUTE_TYPE
        usage = self._usages.get(target.auid)
        return usage.media_type if usage is not None else "application/xml"

    # -- inside ---------------------------------------------------------------------------

    async def _request(
        self, method: str, uri: str, headers: tuple[tuple[str, str], ...], body: bytes = b""
    ) -> HttpResponse:
        if self._identity:
            headers += (("x-3gpp-intended-identity", f'"{self._identity}"'),)
        return await self.agent.request(method, self.resolve(uri), headers, body)

    async def _put(
        self, uri: str, body: bytes, content_type: str, match: str | None, checked: bool
    ) -> HttpResponse:
        uri = self.resolve(uri)
        target = self._target(uri)
        selector = self._selector(target)
        if selector is not None:
            check_fit(selector, body)
        if checked:
            await self._check_namespaces(body)
        headers = [("content-type", content_type)]
        if match is not None:
            headers.append(("if-match", f'"{match}"') if match else ("if-none-match", "*"))
        response = await self._request("PUT", uri, tuple(headers), body)
        if response.status < 300:
            tag = entity_tag(response)
            if selector is None:
                self._cache.put(uri, CachedDocument(body, tag, content_type))
            else:
                self._cache.put_node(self.document_of(uri), match, tag, selector, body)
        elif response.status == 412:
            self._cache.drop(self.document_of(uri))
        return response

    async def _delete(self, uri: str, match: str | None) -> HttpResponse:
        uri = self.resolve(uri)
        selector = self._selector(self._target(uri))
        headers = () if match is None else (("if-match", f'"{match}"'),)
        response = await self._request("DELETE", uri, headers)
        if response.status < 300 and selector is not None:
            tag = entity_tag(response)
            self._cache.delete_node(self.document_of(uri), match, tag, selector)
        elif response.status < 300 or response.status == 412:
            self._cache.drop(self.document_of(uri))
        return response

    def _target(self, absolute: str) -> Target:
        if not absolute.startswith(self.root):
            raise ValueError("not below the XCAP root")
        try:
            return uri.parse_target("/" + absolute[len(self.root) :])
        except XcapError as error:
            raise ValueError(error.text) from None

    def _selector(self, target: Target) -> NodeSelector | None:
        if target.node is None:
            return None
        usage = self._usages.get(target.auid)
        default = usage.default_namespace if usage is not None else ""
        try:
            return uri.parse_node(target.node, target.query, default)
        except XcapError as error:
            raise ValueError(error.text) from None

    async def _check_namespaces(self, body: bytes) -> None:
        foreign = frozenset(n for n in used_namespaces(body) if n and not n.startswith(_OURS))
        if not foreign:
            return
        known = await self.capabilities()
        if known is not None and not foreign <= known.namespaces:
            raise UnsupportedNamespaces(foreign - known.namespaces)

    def _invent(self, value: str, attempt: int) -> str:
        """A value like another one, with a random part that grows with every attempt."""
        mark = self._random(attempt).hex()
        user, at, host = value.partition("@")
        return f"{user}-{mark}{at}{host}"


def uri_step(name: str, address: str) -> str:
    """A step that selects by a SIP URI in its canonical form (XCLI-02, XCLI-07).

    :param name: element name with its prefix.
    :raises ValueError: it is no URI.
    """
    return uri.attribute_step(name, "uri", uri.canonical_xui(address))
