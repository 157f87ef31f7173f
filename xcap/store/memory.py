"""A store that keeps its documents in this process: for tests, and where nothing need survive."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import attrs
from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import implementer

from xcap.errors import StoreUnavailable
from xcap.interfaces import IDocumentStore
from xcap.records import Change, Claim, Document, DocumentKey, Entry
from xcap.store.documents import HISTORY, DocumentStore
from xcap.store.errors import StoreError
from xcap.store.evaluate import Effects, Ground, Name, Work, evaluate, tags
from xcap.store.reading import Reading

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

_Result = TypeVar("_Result")


class _Tables(Reading):
    """What the medium holds."""

    def __init__(self, history: int) -> None:
        self.documents: dict[DocumentKey, Document] = {}
        self.held: dict[DocumentKey, dict[Name, bytes]] = {}
        self.holders: dict[Name, DocumentKey] = {}
        self.tags: dict[tuple[str, str], str] = {}
        self.feed: deque[Change] = deque(maxlen=history)
        self.position = 0

    def fetch(self, key: DocumentKey) -> Document | None:
        return self.documents.get(key)

    def listing(self, root: str, auid: str | None, xui: str | None, below: str) -> list[Entry]:
        return self._entries(
            lambda key: (
                key.root == root
                and auid in (None, key.auid)
                and xui in (None, key.xui)
                and key.path.startswith(below)
            )
        )

    def home(self, xui: str) -> list[Entry]:
        return self._entries(lambda key: key.xui == xui)

    def _entries(self, meant: Callable[[DocumentKey], bool]) -> list[Entry]:
        return [
            Entry(key, document.etag, document.modified, len(document.octets))
            for key, document in sorted(self.documents.items(), key=lambda item: item[0])
            if meant(key)
        ]

    def claimed(self, space: str, name: str) -> tuple[DocumentKey, Claim] | None:
        key = self.holders.get((space, name))
        if key is None:
            return None
        return key, Claim(space, name, self.held[key][space, name])

    def claims(self, space: str, root: str) -> list[Claim]:
        return [
            Claim(*name, self.held[key][name])
            for name, key in sorted(self.holders.items())
            if name[0] == space and key.root == root
        ]

    def claims_tag(self, space: str, root: str) -> str:
        return self.tags.get((root, space), "")

    def changes(self, after: int, limit: int) -> list[Change] | None:
        first = self.feed[0].position if self.feed else 1
        if not first - 1 <= after <= self.position:
            return None
        return [change for change in self.feed if change.position > after][:limit]

    def write(self, work: Work, tag: Callable[[], str]) -> Effects:
        """Apply drafts."""
        ground = Ground(
            {key: document.etag for key, document in self.documents.items()},
            {key: document.octets for key, document in self.documents.items()},
            dict(self.held),
            dict(self.holders),
        )
        effects = evaluate(work, ground, self.position, tag)
        for key, document in effects.documents.items():
            if document is None:
                del self.documents[key]
            else:
                self.documents[key] = document
        self.held = {key: names for key, names in ground.held.items() if names}
        self.holders = ground.holders
        self.tags.update(effects.claim_tags)
        self.feed.extend(attrs.evolve(change, old=b"", new=b"") for change in effects.changes)
        self.position = effects.position
        return effects


@implementer(IDocumentStore)
class MemoryDocumentStore(DocumentStore):
    """Durable in a later turn, for the life of the object.

    Documents survive :meth:`stop` and :meth:`start`, so that a restart can be tried out;
    :meth:`fail_next` makes an outage.

    :param options: see :class:`xcap.store.documents.DocumentStore`.
    :param history: changes that are remembered.
    """

    def __init__(
        self,
        reactor: IReactorTime,
        wall: Callable[[], float],
        *,
        history: int = HISTORY,
        **options: Any,
    ) -> None:
        super().__init__(reactor, wall, **options)
        self._tables = _Tables(history)
        self._tag = tags("")
        self._failing = 0

    def fail_next(self, times: int = 1) -> None:
        """Refuse the next commit and the ``times - 1`` writes (probes too) after it."""
        self._failing = times

    def _ask(self, question: Callable[[Reading], _Result]) -> Deferred[_Result]:
        if not self._opened:
            return fail(StoreUnavailable("the document store is not open"))
        return succeed(question(self._tables))

    def _open(self) -> Deferred[None]:
        self._tag = tags(self._start())
        self.position = self._tables.position
        return succeed(None)

    def _write(self, work: Work) -> None:
        if self._failing:
            self._failing -= 1
            self._refused(StoreError("a failure was asked for"))
        else:
            self._written(self._tables.write(work, self._tag))

    def _probe(self) -> None:
        if self._failing:
            self._failing -= 1
            self._still_refuses()
        else:
            self._works()

    def _close(self) -> None:
        self._ended()
        self._closed()
