"""Documents that are generated: capabilities, directories, the index of services."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from xcap.records import Document, DocumentKey

if TYPE_CHECKING:
    from xcap.interfaces import IApplicationUsage, IDocumentStore
    from xcap.uri import NodeSelector


class ComputedDocuments:
    """Generates documents when they are asked for."""

    def __init__(self, usages: Iterable[IApplicationUsage], store: IDocumentStore) -> None:
        self._usages = tuple(usages)
        self._store = store

    async def find(
        self, usage: IApplicationUsage, key: DocumentKey, selectors: tuple[NodeSelector, ...]
    ) -> Document | None:
        """A generated document, or the part of it that a node selector is about."""
        return None
