"""Documents that were parsed lately, so that element requests need not parse them again."""

from __future__ import annotations

from collections import OrderedDict

import attrs

from xcap.document import ALL_LEVELS, DEFAULT_LIMITS, Limits, XmlDocument, parse_document
from xcap.errors import XcapError
from xcap.records import Document, DocumentKey

OCTETS = 4 << 20
"""Octets of documents whose trees are kept; a tree takes about ten times as much."""

# what is stored was checked when it came; limits may have become tighter since
_STORED = Limits(
    size=1 << 30, depth=1000, elements=1 << 30, attributes=1 << 20, name=1 << 30, value=1 << 30
)


class ParsedDocuments:
    """Trees by document and entity-tag; those not used for longest go first.

    :param limit: octets of the documents whose trees are kept.
    :param limits: what documents may have now.
    """

    def __init__(self, limit: int = OCTETS, limits: Limits = DEFAULT_LIMITS) -> None:
        self._limit = limit
        self._limits = limits
        self._octets = 0
        self._trees: OrderedDict[DocumentKey, tuple[str, XmlDocument]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._trees)

    def get(self, document: Document, levels: int = ALL_LEVELS) -> XmlDocument:
        """The tree of a stored document.

        :param levels: of elements that are needed.
        """
        found = self._trees.get(document.key)
        if found is not None and found[0] == document.etag and found[1].levels >= levels:
            self._trees.move_to_end(document.key)
            return found[1]
        try:
            tree = parse_document(document.octets, self._limits, levels)
        except XcapError:
            limits = _STORED
            if len(document.octets) > limits.size:
                limits = attrs.evolve(limits, size=len(document.octets))
            tree = parse_document(document.octets, limits, levels)
        self.put(document, tree)
        return tree

    def put(self, document: Document, tree: XmlDocument) -> None:
        """Keep a tree that is known already."""
        self.forget(document.key)
        size = len(document.octets)
        if size > self._limit:
            return
        self._trees[document.key] = (document.etag, tree)
        self._octets += size
        while self._octets > self._limit:
            _, (_, old) = self._trees.popitem(last=False)
            self._octets -= len(old.octets)

    def forget(self, key: DocumentKey) -> None:
        """Drop the tree of a document that is no more."""
        found = self._trees.pop(key, None)
        if found is not None:
            self._octets -= len(found[1].octets)
