"""Documents that are generated when somebody asks: capabilities, directories, indexes.

They are as current as the store, and their entity-tags change with their content only
(XCAP-173, XDM-51).
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from typing import TYPE_CHECKING

from xcap.records import Document, DocumentKey
from xcap.usage.caps import XcapCaps, caps_document
from xcap.usage.directory import (
    XcapDirectory,
    directory_auids,
    directory_document,
    wanted_folder,
)
from xcap.usage.index import index_document, wanted_service

if TYPE_CHECKING:
    from xcap.interfaces import IApplicationUsage, IDocumentStore
    from xcap.uri import NodeSelector

_ROUNDS = 3
"""Tries to read all of an index while nobody changes it."""


class ComputedDocuments:
    """Generates the documents that nobody writes.

    :param usages: all that are served.
    :param quoted_tags: write entity-tags in directories with the quotes of HTTP (XDM-81).
    """

    def __init__(
        self,
        usages: Iterable[IApplicationUsage],
        store: IDocumentStore,
        *,
        quoted_tags: bool = False,
    ) -> None:
        usages = tuple(usages)
        self._store = store
        self._quoted_tags = quoted_tags
        self._auids = directory_auids(usages)
        self._caps = caps_document(usages)

    @staticmethod
    def covers(usage: IApplicationUsage, key: DocumentKey) -> bool:
        """Whether a document is generated."""
        return usage.computed or (not key.xui and bool(usage.index) and key.path == usage.index)

    async def find(
        self, usage: IApplicationUsage, key: DocumentKey, selectors: tuple[NodeSelector, ...]
    ) -> Document | None:
        """A document, or a part in which a node selector finds what it finds in the whole.

        :param selectors: the node selector, () for the whole.
        :returns: without time of change; None where nothing is generated.
        :raises StoreUnavailable: nothing can be read now.
        """
        selector = selectors[0] if selectors else None
        if not usage.computed:
            return await self._index(key, selector)
        if usage.auid == XcapCaps.auid:
            return _document(key, self._caps)
        if usage.auid == XcapDirectory.auid:
            return await self._directory(key, selector)
        return None

    async def _directory(self, key: DocumentKey, selector: NodeSelector | None) -> Document:
        auids = self._auids
        only = wanted_folder(selector) if selector is not None else None
        if only is not None:
            auids = [only] if only in auids else []
        entries = await self._store.listing(key.root, only, key.xui) if auids else []
        return _document(key, directory_document(auids, entries, quoted_tags=self._quoted_tags))

    async def _index(self, key: DocumentKey, selector: NodeSelector | None) -> Document:
        name = wanted_service(selector) if selector is not None else None
        if name is not None:
            found = await self._store.claimed(key.auid, name)
            held = () if found is None or found[0].root != key.root else (found[1],)
            return _document(key, index_document(held))
        for _ in range(_ROUNDS):
            tag = await self._store.claims_tag(key.auid, key.root)
            octets = index_document(await self._store.claims(key.auid, key.root))
            if tag and tag == await self._store.claims_tag(key.auid, key.root):
                return Document(key, octets, tag, 0.0)
        return _document(key, octets)


def _document(key: DocumentKey, octets: bytes) -> Document:
    return Document(key, octets, blake2b(octets, digest_size=12).hexdigest(), 0.0)
