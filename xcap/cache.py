"""Documents that a client has seen, with their entity-tags (XCLI-03)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from xcap.document import parse_document
from xcap.edit import delete_node, put_node
from xcap.errors import XcapError

if TYPE_CHECKING:
    from xcap.uri import NodeSelector

DOCUMENTS = 64
"""Documents that are kept; the one unused for longest goes first."""


@attrs.frozen(slots=True)
class CachedDocument:
    """A document as the server has it or had it.

    :ivar etag: entity-tag without quotes; "" if the server gave none.
    :ivar content_type: media type, "" if unknown.
    """

    octets: bytes
    etag: str
    content_type: str = ""


class DocumentCache:
    """Documents by URI; only those that have an entity-tag."""

    def __init__(self) -> None:
        self._documents: dict[str, CachedDocument] = {}

    def get(self, uri: str) -> CachedDocument | None:
        """The document as last seen."""
        document = self._documents.pop(uri, None)
        if document is not None:
            self._documents[uri] = document  # the newest is last
        return document

    def put(self, uri: str, document: CachedDocument) -> None:
        """Keep what was read or written."""
        self.drop(uri)
        if document.etag:
            self._documents[uri] = document
        while len(self._documents) > DOCUMENTS:
            del self._documents[next(iter(self._documents))]

    def drop(self, uri: str) -> None:
        """Forget a document."""
        self._documents.pop(uri, None)

    def put_node(
        self, uri: str, before: str | None, after: str, selector: NodeSelector, body: bytes
    ) -> None:
        """Do to a document what the server has done in answer to a PUT.

        :param before: entity-tag it had there, None if that is not known.
        :param after: entity-tag it has now.
        """
        document = self._base(uri, before)
        if document is not None:
            try:
                edited = put_node(parse_document(document.octets), selector, body)
            except XcapError:
                return
            octets = edited.document.octets
            self.put(uri, attrs.evolve(document, octets=octets, etag=after))

    def delete_node(self, uri: str, before: str | None, after: str, selector: NodeSelector) -> None:
        """Do to a document what the server has done in answer to a DELETE."""
        document = self._base(uri, before)
        if document is not None:
            try:
                octets = delete_node(parse_document(document.octets), selector).octets
            except XcapError:
                return
            self.put(uri, attrs.evolve(document, octets=octets, etag=after))

    def _base(self, uri: str, before: str | None) -> CachedDocument | None:
        """Take out the document that was changed, None unless it is what the server had."""
        document = self._documents.pop(uri, None)
        return document if document is not None and document.etag == before else None
