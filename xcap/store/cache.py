"""Documents and home directories in memory, the least recently used ones go first."""

from __future__ import annotations

from collections import OrderedDict
from typing import TypeAlias

from xcap.records import Document, DocumentKey, Entry

#: octets that an entry costs beside its document: key, strings, tables
OVERHEAD = 1000
#: home directories that are kept, and documents that one of them may have
HOMES = 1000
HOME_ENTRIES = 50

Home: TypeAlias = tuple[str, str, str]
"""Root, AUID and XUI."""


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


class HomeCache:
    """Home directories in which a document was missed, for who creates it next."""

    __slots__ = ("_asked", "_homes")

    def __init__(self) -> None:
        self._homes: OrderedDict[Home, list[Entry]] = OrderedDict()
        self._asked: dict[Home, object] = {}

    def __len__(self) -> int:
        return len(self._homes)

    def ask(self, home: Home) -> object:
        """Note that a directory is looked up; gives what :meth:`put` wants."""
        question = self._asked[home] = object()
        return question

    def put(self, home: Home, question: object, entries: list[Entry] | None) -> None:
        """Note what was found; None: nothing was looked for.

        It counts only when nothing has changed there meanwhile.
        """
        if self._asked.get(home) is not question:
            return
        del self._asked[home]
        if entries is None or len(entries) > HOME_ENTRIES:
            return
        self._homes[home] = entries
        if len(self._homes) > HOMES:
            self._homes.popitem(last=False)

    def get(self, home: Home) -> list[Entry] | None:
        """The documents of a directory, None when they are not known."""
        entries = self._homes.get(home)
        return None if entries is None else list(entries)

    def forget(self, key: DocumentKey) -> None:
        """Know nothing of the directory of a document."""
        home = (key.root, key.auid, key.xui)
        self._asked.pop(home, None)
        self._homes.pop(home, None)

    def clear(self) -> None:
        """Know nothing."""
        self._asked.clear()
        self._homes.clear()
