"""Who waits for a commit is called in slices (NFR-01)."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from presence.records import WatcherRecord
from presence.store.memory import MemoryStore


def record(id: int) -> WatcherRecord:
    """Something to write."""
    return WatcherRecord(id, "presence", "sip:bob@x", "waiting", "timeout", 1.0, 2.0, 0, "sip:a@x")


class CallbackTests(SynchronousTestCase):
    """Many callbacks of one commit."""

    def setUp(self) -> None:
        """A store, and what its callbacks were told."""
        self.clock = Clock()
        self.store = MemoryStore(self.clock)
        self.store.start()
        self.called: list[tuple[int, bool]] = []

    def wait(self, id: int) -> None:
        """Write something, and take 4 ms when that is durable."""

        def done(stored: bool) -> None:
            self.called.append((id, stored))
            self.clock.rightNow += 0.004

        self.store.put_watcher(record(id))
        self.store.when_durable(done)

    def turn(self) -> list[int]:
        """The reactor turns; who was called."""
        before = len(self.called)
        calls, self.clock.calls = self.clock.calls, []
        for call in calls:
            call.called = 1
            call.func(*call.args, **call.kw)
        return [id for id, _ in self.called[before:]]

    def test_slices(self) -> None:
        """They are called in order, some in each turn; later commits do not overtake them."""
        for id in range(8):
            self.wait(id)
        self.assertEqual(self.turn(), [0, 1, 2])
        self.wait(8)
        self.assertEqual(self.turn(), [3, 4, 5, 6, 7, 8])  # the slice, and that of the new commit
        self.assertEqual(self.turn(), [])
        self.assertEqual(self.called, [(id, True) for id in range(9)])
        self.assertEqual(self.clock.calls, [])

    def test_refused(self) -> None:
        """Who is durable hears of that before others hear that theirs is lost."""
        for id in range(5):
            self.wait(id)
        self.turn()
        self.store.fail_next(1)
        for id in (5, 6):
            self.wait(id)
        self.clock.calls.reverse()  # the new commit before the rest of the old one
        self.turn()
        self.assertEqual(self.called, [*((id, True) for id in range(5)), (6, False), (5, False)])

    def test_stop(self) -> None:
        """All have been called when the store has stopped."""
        for id in range(5):
            self.wait(id)
        self.turn()
        stopped = self.store.stop()
        self.assertEqual([id for id, _ in self.called], [0, 1, 2, 3, 4])
        self.successResultOf(stopped)
        self.assertEqual(self.clock.calls, [])
