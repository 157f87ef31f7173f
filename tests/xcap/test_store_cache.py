"""Documents in memory."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.contract.documents import key
from xcap.records import Document
from xcap.store.cache import OVERHEAD, DocumentCache


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
