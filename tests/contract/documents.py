"""What tests of document stores share: keys, and a case with a store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tests.contract.storing import StoreReactor
from xcap.records import Change, Claim, Document, DocumentKey, Draft
from xcap.store.documents import DocumentStore

if TYPE_CHECKING:
    _Base = SynchronousTestCase
else:
    _Base = object

ROOT = "https://xcap.example.com/"
OTHER_ROOT = "https://xcap.example.net:8443/services/"
SPACE = "rls-services"


def key(
    user: str = "joe", path: str = "index", auid: str = "resource-lists", root: str = ROOT
) -> DocumentKey:
    """The key of a document of ``sip:{user}@example.com``, or of the global tree."""
    return DocumentKey(root, auid, f"sip:{user}@example.com" if user else "", path)


def claims(*names: str) -> tuple[Claim, ...]:
    """Claims whose content differs from each other."""
    return tuple(Claim(SPACE, name, b"<service/>%a" % name) for name in names)


class Outcome:
    """What becomes of a Deferred.

    :ivar found: result or exception, once it is there.
    :ivar turn: number of the turn in which it came.
    """

    def __init__(self, reactor: StoreReactor, deferred: Deferred[Any]) -> None:
        self.fired = False
        self.found: Any = None
        self.turn = 0
        self._reactor = reactor
        deferred.addBoth(self._fire)

    def _fire(self, found: Any) -> None:
        self.fired = True
        self.turn = self._reactor.turns
        self.found = found.value if isinstance(found, Failure) else found


class DocumentCase(_Base):
    """A store that somebody watches.

    :ivar seen: the changes of which the store has told.
    """

    reactor: StoreReactor
    store: Any
    now: float

    def begin(self, store: DocumentStore) -> None:
        """Start the store."""
        self.store = store
        self.seen: list[Change] = []
        store.watch(self.seen.append)
        self.reactor.wait(store.start())
        self.addCleanup(lambda: self.reactor.wait(self.store.stop()))

    def wait(self, deferred: Deferred[Any]) -> Any:
        """The result of a Deferred."""
        return self.reactor.wait(deferred)

    def outcomes(self, *deferreds: Deferred[Any]) -> list[Any]:
        """Results and exceptions of Deferreds, when all have fired."""
        found = [Outcome(self.reactor, deferred) for deferred in deferreds]
        self.reactor.until(lambda: all(outcome.fired for outcome in found))
        return [outcome.found for outcome in found]

    def put(
        self, key: DocumentKey, octets: bytes = b"<a/>", before: str | None = None, **more: Any
    ) -> Document:
        """Write a document, over what is there unless told; wait for it."""
        if before is None:
            there = self.fetch(key)
            before = there.etag if there is not None else ""
        document = self.wait(self.store.commit(Draft(key, before, octets, **more)))
        assert isinstance(document, Document)
        return document

    def fetch(self, key: DocumentKey) -> Document | None:
        """What the store has."""
        document = self.wait(self.store.fetch(key))
        assert document is None or isinstance(document, Document)
        return document

    def restart(self) -> None:
        """Stop the store and start it again, with nothing in memory."""
        self.wait(self.store.stop())
        self.wait(self.store.start())
