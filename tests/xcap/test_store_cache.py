"""Documents and home directories in memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.contract.documents import ROOT, key
from xcap.errors import StoreUnavailable
from xcap.records import Document, Draft, Entry
from xcap.store.cache import HOME_ENTRIES, HOMES, OVERHEAD, DocumentCache, HomeCache
from xcap.store.memory import MemoryDocumentStore
from xcap.store.reading import Reading


def document(user: str, size: int = 0) -> Document:
    """A document of so many octets."""
    return Document(key(user), bytes(size), f"tag{size}", 1.0)


class DocumentCacheTests(SynchronousTestCase):
    """A cache that is bounded by octets."""

    def test_least_recently_used_goes(self) -> None:
        """What has not been looked at for longest goes first."""
        cache = DocumentCache(3 * (OVERHEAD + 100))
        for user in ("a", "b", "c"):
            cache.put(key(user), document(user, 100))
        self.assertEqual(cache.peek(key("a")), document("a", 100))
        cache.put(key("d"), document("d", 100))
        self.assertIsNone(cache.peek(key("b")))
        for user in ("a", "c", "d"):
            self.assertIsNotNone(cache.peek(key(user)))

    def test_too_large(self) -> None:
        """A document that is larger than the cache is not kept."""
        cache = DocumentCache(5000)
        cache.put(key("a"), document("a", 10_000))
        self.assertIsNone(cache.peek(key("a")))
        self.assertEqual((cache.octets, len(cache)), (0, 0))

    def test_absent(self) -> None:
        """What is known to be missing is told apart from what is not known."""
        cache = DocumentCache(100_000)
        self.assertFalse(cache.absent(key("a")))
        cache.put(key("a"), None)
        self.assertTrue(cache.absent(key("a")))
        self.assertIsNone(cache.peek(key("a")))
        cache.put(key("a"), document("a"))
        self.assertFalse(cache.absent(key("a")))
        cache.put(key("a"), None)
        cache.forget(key("a"))
        self.assertFalse(cache.absent(key("a")))
        self.assertEqual(cache.octets, 0)

    def test_absence_displaces_nothing(self) -> None:
        """Any number of questions for what is not there leaves the documents alone."""
        cache = DocumentCache(80_000)
        cache.put(key("a"), document("a"))
        cache.put(key("missing"), None)
        for n in range(1000):
            cache.put(key(f"user{n}"), None)
            cache.absent(key("missing"))
        self.assertIsNotNone(cache.peek(key("a")))
        self.assertTrue(cache.absent(key("missing")))
        self.assertLess(len(cache), 20)

    def test_clear(self) -> None:
        """Nothing is known after clear()."""
        cache = DocumentCache(100_000)
        cache.put(key("a"), document("a"))
        cache.put(key("b"), None)
        cache.clear()
        self.assertEqual((cache.octets, len(cache)), (0, 0))
        self.assertIsNone(cache.peek(key("a")))

    def test_model(self) -> None:
        """It never tells anything that is not so, and never takes more than it may."""
        users = st.sampled_from("abcdefg")
        steps = st.lists(
            st.one_of(
                st.tuples(st.just("put"), users, st.integers(0, 3000)),
                st.tuples(st.just("gone"), users, st.just(0)),
                st.tuples(st.just("forget"), users, st.just(0)),
                st.tuples(st.just("peek"), users, st.just(0)),
            ),
            max_size=50,
        )

        @settings(max_examples=100, deadline=None, database=None)
        @given(steps)
        def check(plan: list[tuple[str, str, int]]) -> None:
            cache = DocumentCache(8000)
            truth: dict[str, Document | None] = {}
            for name, user, size in plan:
                if name in ("put", "gone"):
                    truth[user] = document(user, size) if name == "put" else None
                    cache.put(key(user), truth[user])
                elif name == "forget":
                    cache.forget(key(user))
                found = cache.peek(key(user))
                if found is not None:
                    self.assertEqual(found, truth[user])
                if cache.absent(key(user)):
                    self.assertIsNone(truth[user])
                kept = [cache.peek(key(each)) for each in truth]
                self.assertEqual(
                    cache.octets, sum(len(each.octets) + OVERHEAD for each in kept if each)
                )
                self.assertLessEqual(cache.octets, 8000)

        check()


class HomeCacheTests(SynchronousTestCase):
    """Home directories for who creates a document."""

    HOME = (ROOT, "resource-lists", "sip:joe@example.com")

    def setUp(self) -> None:
        """Start with nothing."""
        self.homes = HomeCache()

    def found(self, count: int) -> list[Entry]:
        """So many documents."""
        return [Entry(key(path=f"d{n}"), "tag", 1.0, 10) for n in range(count)]

    def test_known(self) -> None:
        """What was found is known until something changes there."""
        self.assertIsNone(self.homes.get(self.HOME))
        self.homes.put(self.HOME, self.homes.ask(self.HOME), self.found(2))
        self.assertEqual(self.homes.get(self.HOME), self.found(2))
        self.homes.forget(key("ann"))
        self.assertIsNotNone(self.homes.get(self.HOME))
        self.homes.forget(key("joe", "other"))
        self.assertIsNone(self.homes.get(self.HOME))

    def test_changed_meanwhile(self) -> None:
        """What was true before a change is not kept."""
        question = self.homes.ask(self.HOME)
        self.homes.forget(key())
        self.homes.put(self.HOME, question, [])
        self.assertIsNone(self.homes.get(self.HOME))

    def test_asked_twice(self) -> None:
        """Only the latest question counts."""
        first, second = self.homes.ask(self.HOME), self.homes.ask(self.HOME)
        self.homes.put(self.HOME, first, [])
        self.assertIsNone(self.homes.get(self.HOME))
        self.homes.put(self.HOME, second, self.found(1))
        self.assertEqual(self.homes.get(self.HOME), self.found(1))

    def test_nothing_asked(self) -> None:
        """A question that looked for no directory leaves nothing."""
        self.homes.put(self.HOME, self.homes.ask(self.HOME), None)
        self.assertIsNone(self.homes.get(self.HOME))
        self.assertEqual(len(self.homes), 0)

    def test_bounded(self) -> None:
        """Few directories are kept, and no large ones."""
        self.homes.put(self.HOME, self.homes.ask(self.HOME), self.found(HOME_ENTRIES + 1))
        self.assertEqual(len(self.homes), 0)
        for n in range(HOMES + 5):
            home = (ROOT, "resource-lists", f"sip:u{n}@example.com")
            self.homes.put(home, self.homes.ask(home), self.found(HOME_ENTRIES))
        self.assertEqual(len(self.homes), HOMES)
        self.homes.clear()
        self.assertEqual(len(self.homes), 0)


class SlowStore(MemoryDocumentStore):
    """A store whose answers come when the test says."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock, clock.seconds)
        self.answers: list[Callable[[], None]] = []

    def _ask(self, question: Callable[[Reading], Any]) -> Deferred[Any]:
        found = question(self._tables)
        answer: Deferred[Any] = Deferred()
        self.answers.append(lambda: answer.callback(found))
        return answer

    def refuse(self) -> None:
        """Let the next question fail."""
        self._ask = lambda question: self._failing_ask()  # type: ignore[assignment, method-assign]

    def _failing_ask(self) -> Deferred[Any]:
        del self._ask
        answer: Deferred[Any] = Deferred()
        self.answers.append(lambda: answer.errback(StoreUnavailable("not now")))
        return answer


class MissedTests(SynchronousTestCase):
    """Who misses a document learns what is beside it with the same question (XDM-08)."""

    def setUp(self) -> None:
        """Start a store."""
        self.clock = Clock()
        self.store = SlowStore(self.clock)
        self.successResultOf(self.store.start())

    def put(self, user: str, path: str) -> Document:
        """Store a document that is new."""
        stored = self.store.commit(Draft(key(user, path), "", b"<a/>", ""))
        self.clock.advance(0)
        document = self.successResultOf(stored)
        assert isinstance(document, Document)
        return document

    def paths(self) -> list[str]:
        """What is in the home directory of Joe, known without a question."""
        count = len(self.store.answers)
        listed = self.store.listing(ROOT, "resource-lists", "sip:joe@example.com")
        self.assertEqual(len(self.store.answers), count)
        return [entry.key.path for entry in self.successResultOf(listed)]

    def asks(self) -> None:
        """Expect that the home directory of Joe has to be looked up."""
        count = len(self.store.answers)
        self.store.listing(ROOT, "resource-lists", "sip:joe@example.com")
        self.assertEqual(len(self.store.answers), count + 1)

    def test_one_question(self) -> None:
        """The directory is known when the document was missed, until it changes (XDM-08)."""
        self.put("joe", "a")
        missed = self.store.fetch(key("joe", "b"))
        self.store.answers.pop()()
        self.assertIsNone(self.successResultOf(missed))
        self.assertEqual(self.paths(), ["a"])
        self.put("ann", "b")
        self.assertEqual(self.paths(), ["a"])
        self.put("joe", "b")
        self.asks()

    def test_found(self) -> None:
        """Who finds a document has not asked for others."""
        document = self.put("joe", "a")
        self.store._cache.clear()
        found = self.store.fetch(key("joe", "a"))
        self.store.answers.pop()()
        self.assertEqual(self.successResultOf(found), document)
        self.asks()

    def test_changed_meanwhile(self) -> None:
        """A change beside it, made while the answer was on its way, is not overlooked (XDM-08)."""
        missed = self.store.fetch(key("joe", "b"))
        self.put("joe", "a")
        self.store.answers.pop()()
        self.assertIsNone(self.successResultOf(missed))
        self.asks()

    def test_refused(self) -> None:
        """A question that failed tells nothing."""
        self.store.refuse()
        missed = self.store.fetch(key("joe", "b"))
        self.store.answers.pop()()
        self.failureResultOf(missed, StoreUnavailable)
        self.asks()

    def test_lost(self) -> None:
        """After a change that may have been stored or not, the directory is looked up."""
        missed = self.store.fetch(key("joe", "b"))
        self.store.answers.pop()()
        self.assertIsNone(self.successResultOf(missed))
        self.store.fail_next()
        lost = self.store.commit(Draft(key("joe", "b"), "", b"<a/>", ""))
        self.clock.advance(0)
        self.failureResultOf(lost, StoreUnavailable)
        self.flushLoggedErrors()
        self.asks()
