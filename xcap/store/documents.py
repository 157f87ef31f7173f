"""What the stores of documents have in common: queue, cache, feed of changes.

The process that has opened a medium is its only owner, so what it has cached stays true until
it commits a change itself.  Readers see a change when it has been settled here and those who
watch have been told, even if the medium shows it a moment before.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import attrs
from twisted.internet.defer import Deferred, DeferredList, fail, succeed

from xcap.errors import StoreUnavailable, TagMismatch
from xcap.records import Change, Claim, Document, DocumentKey, Draft, Entry
from xcap.store.cache import DocumentCache, HomeCache
from xcap.store.evaluate import Effects, Outcome, Work
from xcap.store.gather import Gathering
from xcap.store.reading import Reading

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

_Result = TypeVar("_Result")

#: octets of documents that are kept in memory
CACHE_OCTETS = 64 << 20
#: changes that are remembered
HISTORY = 100_000
#: how often the removal of a user is tried while somebody goes on changing documents
_ROUNDS = 10


def random_start() -> str:
    """What the entity-tags of one start of a store begin with: 72 bits of chance."""
    return secrets.token_urlsafe(9)


@attrs.define(slots=True, eq=False)
class _Pending:
    """A draft and who waits for it."""

    draft: Draft
    known: bytes | None
    done: Deferred[Document | None]
    outcome: Outcome = None

    def settle(self, durable: bool) -> None:
        """Tell the outcome."""
        outcome = self.outcome
        if not durable:
            self.done.errback(StoreUnavailable("the change was not stored"))
        elif outcome is None:
            self.done.callback(None)
        elif isinstance(outcome, Change):
            self.done.callback(_document(outcome))
        else:
            self.done.errback(outcome)


class _Drafts:
    """A batch.

    :ivar changes: how many drafts have succeeded.
    """

    __slots__ = ("changes", "pending")

    def __init__(self) -> None:
        self.pending: list[_Pending] = []
        self.changes = 0

    def __bool__(self) -> bool:
        return bool(self.pending)

    def __len__(self) -> int:
        return self.changes


class DocumentStore(Gathering[_Drafts]):
    """A store of documents without its medium; all methods belong to the reactor thread.

    :param reactor: clock.
    :param wall: wall-clock seconds, for the times of changes.
    :param cache_octets: how much memory documents may take.
    :param start: gives what entity-tags begin with, something else at every start.

    :ivar position: of the last durable change.
    """

    patient = True

    def __init__(
        self,
        reactor: IReactorTime,
        wall: Callable[[], float],
        *,
        cache_octets: int = CACHE_OCTETS,
        start: Callable[[], str] = random_start,
    ) -> None:
        super().__init__(reactor, _Drafts)
        self.position = 0
        self._wall = wall
        self._start = start
        self._cache = DocumentCache(cache_octets)
        self._homes = HomeCache()
        self._fetching: dict[DocumentKey, list[Deferred[Document | None]]] = {}
        self._watching: list[Callable[[Change], None]] = []

    # Reading.

    def peek(self, key: DocumentKey) -> Document | None:
        """The document if it is in the cache; None says nothing about whether it exists."""
        return self._cache.peek(key)

    def fetch(self, key: DocumentKey) -> Deferred[Document | None]:
        """The document, None when there is none.

        :raises StoreUnavailable: (in the Deferred) it cannot be read.
        """
        document = self._cache.peek(key)
        if document is not None or self._cache.absent(key) or not _sayable(*_texts(key)):
            return succeed(document)
        answer: Deferred[Document | None] = Deferred()
        waiting = self._fetching.get(key)
        if waiting is not None:
            waiting.append(answer)
            return answer
        waiting = self._fetching[key] = [answer]
        home = (key.root, key.auid, key.xui)
        question = self._homes.ask(home)

        def look(reading: Reading) -> tuple[Document | None, list[Entry] | None]:
            document = reading.fetch(key)
            # who misses a document may create it, and has to know what is beside it
            beside = document is None and key.xui
            return document, reading.listing(*home, "") if beside else None

        def read(found: tuple[Document | None, list[Entry] | None]) -> None:
            document, entries = found
            self._homes.put(home, question, entries)
            # unless a commit has answered meanwhile
            if self._fetching.get(key) is waiting:
                self._cache.put(key, document)
                self._answer_fetches(key, document)

        def failed(_: object) -> None:
            self._homes.put(home, question, None)
            if self._fetching.get(key) is waiting:
                self._refuse_fetches(key)

        self._ask(look).addCallbacks(read, failed)
        return answer

    def listing(
        self, root: str, auid: str | None, xui: str | None, below: str = ""
    ) -> Deferred[list[Entry]]:
        """The documents of a collection; see :class:`xcap.interfaces.IDocumentStore`."""
        if auid is not None and xui and not below:
            entries = self._homes.get((root, auid, xui))
            if entries is not None:
                return succeed(entries)
        if not _sayable(root, auid or "", xui or "", below):
            return succeed([])
        return self._ask(lambda reading: reading.listing(root, auid, xui, below))

    def claimed(self, space: str, name: str) -> Deferred[tuple[DocumentKey, Claim] | None]:
        """Who holds a value; a key lookup (XDM-50)."""
        if not _sayable(space, name):
            return succeed(None)
        return self._ask(lambda reading: reading.claimed(space, name))

    def claims(self, space: str, root: str) -> Deferred[list[Claim]]:
        """All values of a space held by documents of a root, by name."""
        if not _sayable(space, root):
            return succeed([])
        return self._ask(lambda reading: reading.claims(space, root))

    def claims_tag(self, space: str, root: str) -> Deferred[str]:
        """Entity-tag of all that :meth:`claims` gives (XDM-51)."""
        if not _sayable(space, root):
            return succeed("")
        return self._ask(lambda reading: reading.claims_tag(space, root))

    def changes(self, after: int, limit: int = 1000) -> Deferred[list[Change] | None]:
        """The changes behind a position, oldest first; None when some are not known."""
        return self._ask(lambda reading: reading.changes(after, limit))

    # Writing.

    def commit(self, draft: Draft) -> Deferred[Document | None]:
        """Make a change durable; fires with the new document, None after a removal.

        :raises TagMismatch: (in the Deferred) the document has changed meanwhile.
        :raises ClaimTaken: (in the Deferred) another document holds a claim, or the draft
            claims a value twice.
        :raises StoreUnavailable: (in the Deferred) it was not stored.
        """
        if not _sayable(*_texts(draft.key), *(c.space + c.name for c in draft.claims)):
            return fail(StoreUnavailable("a name in the change has no UTF-8 form"))
        if not _sayable(draft.author, draft.node):
            draft = attrs.evolve(
                draft, author=_sayable_form(draft.author), node=_sayable_form(draft.node)
            )
        cached = self._cache.peek(draft.key)
        known = cached.octets if cached is not None and cached.etag == draft.before else None
        pending = _Pending(draft, known, Deferred())
        self._batch.pending.append(pending)
        self.when_durable(pending.settle)
        return pending.done

    def remove_user(self, xui: str, author: str = "") -> Deferred[int]:
        """Remove all documents of a user, at all usages and roots (XDM-09).

        :raises ValueError: (in the Deferred) "" is no user.
        :raises StoreUnavailable: (in the Deferred) some may still be there.
        """
        return Deferred.fromCoroutine(self._remove_user(xui, author))

    async def _remove_user(self, xui: str, author: str) -> int:
        if not xui:
            raise ValueError("the global tree belongs to no user")
        if not _sayable(xui):
            return 0
        removed = 0
        for _ in range(_ROUNDS):
            entries = await self._ask(lambda reading: reading.home(xui))
            if not entries:
                return removed
            outcomes: list[tuple[bool, Any]] = await DeferredList(
                [self.commit(Draft(entry.key, entry.etag, None, author)) for entry in entries],
                consumeErrors=True,
            )
            for succeeded, outcome in outcomes:
                if succeeded:
                    removed += 1
                elif not outcome.check(TagMismatch):
                    outcome.raiseException()
        raise StoreUnavailable("somebody goes on changing the documents of the user")

    def watch(self, changed: Callable[[Change], None]) -> None:
        """Call back with every change once it is durable, before its commit's Deferred fires."""
        self._watching.append(changed)

    # What a medium has to do, beside what Gathering asks for.

    def _ask(self, question: Callable[[Reading], _Result]) -> Deferred[_Result]:
        """Look something up.

        :raises StoreUnavailable: (in the Deferred) it cannot be read.
        """
        raise NotImplementedError

    def _write(self, work: Work) -> None:
        """Make what succeeds durable; end in :meth:`_written` or :meth:`_refused`."""
        raise NotImplementedError

    # What the cycle asks for.

    def _commit(self, batch: _Drafts) -> None:
        pending = batch.pending
        self._write(Work([p.draft for p in pending], [p.known for p in pending], self._wall()))

    def _written(self, effects: Effects) -> None:
        """The flying batch is durable."""
        batch = self._flying
        if batch is not None:
            changes = effects.changes
            batch.changes = len(changes)
            for pending, outcome in zip(batch.pending, effects.outcomes, strict=True):
                pending.outcome = outcome
            for change in changes:
                self._settle(change)
        self.position = effects.position
        self._settled()
        self._committed()

    def _settle(self, change: Change) -> None:
        """Show a change to readers and tell who watches."""
        document = _document(change)
        self.position = change.position
        self._cache.put(change.key, document)
        self._homes.forget(change.key)
        for changed in self._watching:
            try:
                changed(change)
            except Exception:
                self._log.failure("who watches documents has failed; the others go on")
        if change.key in self._fetching:
            self._answer_fetches(change.key, document)

    def _settled(self) -> None:
        """All changes of a batch were shown."""

    def _lost(self, batch: _Drafts) -> None:
        # what has become of them on the medium is not certain
        for pending in batch.pending:
            self._cache.forget(pending.draft.key)
            self._homes.forget(pending.draft.key)

    def _ended(self) -> None:
        """Nothing can be read any more."""
        self._cache.clear()
        self._homes.clear()
        for key in list(self._fetching):
            self._refuse_fetches(key)

    def _answer_fetches(self, key: DocumentKey, document: Document | None) -> None:
        for answer in self._fetching.pop(key):
            answer.callback(document)

    def _refuse_fetches(self, key: DocumentKey) -> None:
        for answer in self._fetching.pop(key):
            answer.errback(StoreUnavailable("the document cannot be read"))


def _document(change: Change) -> Document | None:
    """What a change has left."""
    if not change.after:
        return None
    return Document(change.key, change.new, change.after, change.time)


def _texts(key: DocumentKey) -> Sequence[str]:
    return key.root, key.auid, key.xui, key.path


def _sayable(*texts: str) -> bool:
    """Whether texts have a UTF-8 form; octets of a peer that are no UTF-8 have not."""
    for text in texts:
        if not text.isascii():
            try:
                text.encode()
            except UnicodeEncodeError:
                return False
    return True


def _sayable_form(text: str) -> str:
    return text.encode("utf-8", "replace").decode()
