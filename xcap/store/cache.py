"""Documents in memory, the least recently used ones go first."""

from __future__ import annotations

from collections import OrderedDict

from xcap.records import Document, DocumentKey

#: octets that an entry costs beside its document: key, strings, tables
OVERHEAD = 1000


class DocumentCache:
    """What is known of documents: their contents, or that there is none.

    Keys without a document have a small budget of their own, so that requests for what does
    not exist displace nothing.

    :param octets: that documents may take.
    """

    __slots__ = ("_absent", "_absent_most", "_documents", "_most", "_octets")

    def __init__(self, octets: int) -> None:
        self._most = octets
        self._octets = 0
        self._documents: OrderedDict[DocumentKey, Document] = OrderedDict()
        self._absent: OrderedDict[DocumentKey, None] = OrderedDict()
        self._absent_most = octets // OVERHEAD // 8

    @property
    def octets(self) -> int:
        """What the documents take."""
        return self._octets

    def __len__(self) -> int:
        return len(self._documents) + len(self._absent)

    def peek(self, key: DocumentKey) -> Document | None:
        """The document when it is here."""
        document = self._documents.get(key)
        if document is not None:
            self._documents.move_to_end(key)
        return document

    def absent(self, key: DocumentKey) -> bool:
        """Whether there is known to be no document."""
        if key not in self._absent:
            return False
        self._absent.move_to_end(key)
        return True

    def put(self, key: DocumentKey, document: Document | None) -> None:
        """Note the state of a document."""
        self.forget(key)
        if document is None:
            self._absent[key] = None
            if len(self._absent) > self._absent_most:
                self._absent.popitem(last=False)
            return
        self._documents[key] = document
        self._octets += len(document.octets) + OVERHEAD
        while self._octets > self._most:
            _, gone = self._documents.popitem(last=False)
            self._octets -= len(gone.octets) + OVERHEAD

    def forget(self, key: DocumentKey) -> None:
        """Know nothing of a document."""
        self._absent.pop(key, None)
        gone = self._documents.pop(key, None)
        if gone is not None:
            self._octets -= len(gone.octets) + OVERHEAD

    def clear(self) -> None:
        """Know nothing."""
        self._absent.clear()
        self._documents.clear()
        self._octets = 0
