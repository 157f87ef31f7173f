"""When changes of documents are committed together."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.contract.documents import key
from tests.contract.storing import StoreReactor
from xcap.records import Draft
from xcap.store.evaluate import Work
from xcap.store.memory import MemoryDocumentStore


class HeldStore(MemoryDocumentStore):
    """A store whose commits take until the test lets them end.

    :ivar flying: users whose documents are being written, batch by batch.
    """

    def __init__(self, reactor: StoreReactor) -> None:
        super().__init__(reactor, reactor.seconds)
        self.works: list[Work] = []

    def _write(self, work: Work) -> None:
        self.works.append(work)

    @property
    def batches(self) -> list[list[str]]:
        """Paths of what is being written."""
        return [[draft.key.path for draft in work.drafts] for work in self.works]

    def end(self) -> None:
        """Let a commit end."""
        super()._write(self.works.pop(0))


class BatchTests(SynchronousTestCase):
    """A store under the eye of somebody who counts turns of the reactor."""

    def setUp(self) -> None:
        """Start."""
        self.reactor = StoreReactor()
        self.store = HeldStore(self.reactor)
        self.successResultOf(self.store.start())
        self.stored: list[str] = []

    def commit(self, path: str) -> None:
        """Queue a new document."""
        done = self.store.commit(Draft(key(path=path), "", b"<a/>"))
        done.addCallback(lambda document: self.stored.append(document.key.path))

    def test_turn(self) -> None:
        """What is queued in one turn is one batch, which is on its way in the next one."""
        self.commit("a")
        self.commit("b")
        self.assertEqual(self.store.batches, [])
        self.reactor.turn()
        self.assertEqual(self.store.batches, [["a", "b"]])

    def test_input_of_the_turn(self) -> None:
        """What gathered during a commit waits until the turn that hears of it is over."""
        self.commit("a")
        self.reactor.turn()
        self.commit("b")
        self.reactor.turn()
        self.store.end()
        self.assertEqual((self.stored, self.store.batches), (["a"], []))
        self.reactor.turn()  # calls come before input
        self.commit("c")
        self.reactor.turn()
        self.assertEqual(self.store.batches, [["b", "c"]])
        self.store.end()
        self.assertEqual(self.stored, ["a", "b", "c"])

    def test_no_input(self) -> None:
        """Nothing more has to come for it to be committed."""
        self.commit("a")
        self.reactor.turn()
        self.commit("b")
        self.reactor.turn()
        self.store.end()
        self.reactor.turn()
        self.reactor.turn()
        self.assertEqual(self.store.batches, [["b"]])
        self.store.end()
        self.assertFalse(self.reactor.turn())

    def test_queued_by_a_callback(self) -> None:
        """What is queued when a commit is heard of does not delay what waits."""
        self.store.watch(lambda change: self.commit("c") if change.key.path == "a" else None)
        self.commit("a")
        self.reactor.turn()
        self.commit("b")
        self.reactor.turn()
        self.store.end()
        self.reactor.turn()
        self.reactor.turn()
        self.assertEqual(self.store.batches, [["b", "c"]])

    def test_stop(self) -> None:
        """A store that stops waits for nothing more."""
        self.commit("a")
        self.reactor.turn()
        self.commit("b")
        self.reactor.turn()
        stopped = self.store.stop()
        self.store.end()
        self.assertEqual(self.store.batches, [["b"]])
        self.store.end()
        self.successResultOf(stopped)
        self.assertEqual(self.stored, ["a", "b"])

    def test_stop_while_waiting(self) -> None:
        """So does one that is stopped in the turn in between."""
        self.commit("a")
        self.reactor.turn()
        self.commit("b")
        self.reactor.turn()
        self.store.end()
        stopped = self.store.stop()
        self.assertEqual(self.store.batches, [["b"]])
        self.store.end()
        self.successResultOf(stopped)
        self.assertFalse(self.reactor.turn())
