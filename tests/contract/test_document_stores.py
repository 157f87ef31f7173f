"""The contract of IDocumentStore, run against every store of documents."""

from __future__ import annotations

from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.contract.documents import OTHER_ROOT, ROOT, SPACE, DocumentCase, Outcome, claims, key
from tests.contract.storing import StoreReactor
from xcap.errors import ClaimTaken, StoreUnavailable, TagMismatch
from xcap.interfaces import IDocumentStore
from xcap.records import Change, Claim, Document, DocumentKey, Draft, Entry
from xcap.store.documents import DocumentStore
from xcap.store.errors import StoreError
from xcap.store.memory import MemoryDocumentStore
from xcap.store.sqlite import SqliteDocumentStore

if TYPE_CHECKING:
    _Base = SynchronousTestCase
else:
    _Base = object


class DocumentStoreContract(DocumentCase, _Base):
    """Cases for all stores; a subclass makes the store, breaks and mends it."""

    def make_store(self, **options: Any) -> DocumentStore:
        """A store on a fresh medium."""
        raise NotImplementedError

    def break_medium(self) -> None:
        """Let every write fail from now on."""
        raise NotImplementedError

    def mend_medium(self) -> None:
        """Let writes work again."""
        raise NotImplementedError

    def setUp(self) -> None:
        """Start a store."""
        self.reactor = StoreReactor()
        self.now = 1000.5
        self.begin(self.make_store())

    def wall(self) -> float:
        """The time that changes get."""
        return self.now

    def other(self, **options: Any) -> None:
        """Use a store with other options instead."""
        self.wait(self.store.stop())
        self.begin(self.make_store(**options))

    def test_interface(self) -> None:
        """A store provides IDocumentStore."""
        verifyObject(IDocumentStore, self.store)

    # Documents.

    def test_life_of_a_document(self) -> None:
        """A document is created, replaced and removed; after a restart it is as it was."""
        created = self.put(key(), b"<a/>")
        self.assertEqual((created.key, created.octets, created.modified), (key(), b"<a/>", 1000.5))
        self.restart()
        self.assertEqual(self.fetch(key()), created)
        self.now = 2000.25
        replaced = self.put(key(), b"<b>\xc3\xa9\x00</b>", created.etag)
        self.assertEqual((replaced.octets, replaced.modified), (b"<b>\xc3\xa9\x00</b>", 2000.25))
        self.assertEqual(self.fetch(key()), replaced)
        self.restart()
        self.assertEqual(self.fetch(key()), replaced)
        self.assertIsNone(self.wait(self.store.commit(Draft(key(), replaced.etag, None))))
        self.assertIsNone(self.fetch(key()))
        self.restart()
        self.assertIsNone(self.fetch(key()))

    def test_nothing_there(self) -> None:
        """A document that does not exist is None, and removing it changes nothing."""
        self.assertIsNone(self.fetch(key()))
        self.assertIsNone(self.wait(self.store.commit(Draft(key(), "", None))))
        self.assertEqual((self.seen, self.store.position), ([], 0))

    def test_keys_are_apart(self) -> None:
        """XCAP-04: documents that differ in root, usage, user or path are different ones."""
        keys = [
            key(),
            key(root=OTHER_ROOT),
            key(auid="pres-rules"),
            key("ann"),
            key(""),
            key(path="a/index"),
            key(path="INDEX"),
        ]
        for number, each in enumerate(keys):
            self.put(each, b"%d" % number)
        self.restart()
        for number, each in enumerate(keys):
            document = self.fetch(each)
            assert document is not None
            self.assertEqual(document.octets, b"%d" % number)

    def test_compare_and_set(self) -> None:
        """XCAP-145: a draft for another state of the document fails and changes nothing."""
        first = self.put(key(), b"<a/>")
        second = self.put(key(), b"<b/>")
        found = self.outcomes(
            self.store.commit(Draft(key(), first.etag, b"<c/>")),
            self.store.commit(Draft(key(), "", b"<c/>")),
            self.store.commit(Draft(key(), first.etag, None)),
            self.store.commit(Draft(key(), "", None)),
            self.store.commit(Draft(key("ann"), first.etag, b"<c/>")),
            self.store.commit(Draft(key("ann"), first.etag, None)),
        )
        for error, current in zip(found, [second.etag] * 4 + [""] * 2, strict=True):
            assert isinstance(error, TagMismatch)
            self.assertEqual(error.current, current)
        self.restart()
        self.assertEqual(self.fetch(key()), second)
        self.assertIsNone(self.fetch(key("ann")))
        self.assertEqual(len(self.seen), 2)

    def test_each_by_itself(self) -> None:
        """XCAP-145: of the drafts of one turn some fail, the others do not mind."""
        tag = self.put(key()).etag
        good, bad, removed, absent = self.outcomes(
            self.store.commit(Draft(key("ann"), "", b"<a/>")),
            self.store.commit(Draft(key("bob"), tag, b"<a/>")),
            self.store.commit(Draft(key(), tag, None)),
            self.store.commit(Draft(key(), tag, b"<z/>")),
        )
        self.assertEqual(good.octets, b"<a/>")
        self.assertIsInstance(bad, TagMismatch)
        self.assertIsNone(removed)
        self.assertEqual(absent.current, "")
        self.restart()
        self.assertEqual(self.fetch(key("ann")), good)
        self.assertIsNone(self.fetch(key()))

    def test_later_sees_earlier(self) -> None:
        """XCAP-145: a draft sees what the ones before it in the same turn have done."""
        tag = self.put(key(), b"old").etag
        _, created, again = self.outcomes(
            self.store.commit(Draft(key(), tag, None)),
            self.store.commit(Draft(key(), "", b"new")),
            self.store.commit(Draft(key(), "", b"newer")),
        )
        self.assertEqual(created.octets, b"new")
        self.assertEqual(again.current, created.etag)
        self.assertEqual(
            [(c.operation, c.old, c.new) for c in self.seen[1:]],
            [("delete", b"old", b""), ("create", b"", b"new")],
        )
        self.restart()
        self.assertEqual(self.fetch(key()), created)

    def test_one_of_ten_wins(self) -> None:
        """XCAP-145: of ten conditional changes of one state one wins, in one turn or in many."""
        for turns in (False, True):
            tag = self.put(key()).etag
            waiting = []
            for n in range(10):
                draft = Draft(key(), tag, b"%d" % n)
                waiting.append(Outcome(self.reactor, self.store.commit(draft)))
                if turns:
                    self.reactor.turn()
            self.reactor.until(lambda waiting=waiting: all(each.fired for each in waiting))
            won = [each.found for each in waiting if isinstance(each.found, Document)]
            lost = [each.found for each in waiting if isinstance(each.found, TagMismatch)]
            self.assertEqual((len(won), len(lost)), (1, 9))
            self.assertEqual({error.current for error in lost}, {won[0].etag})
            self.assertEqual(self.fetch(key()), won[0])

    def test_fifty_insert(self) -> None:
        """XCAP-145: fifty who each add an entry, and try again when too late, add fifty."""
        done: list[int] = []

        def attempt(n: int, document: Document | None) -> None:
            octets = document.octets if document is not None else b""
            before = document.etag if document is not None else ""
            draft = Draft(key(), before, octets + b"%d " % n)
            self.store.commit(draft).addCallbacks(
                lambda _: done.append(n), lambda failure: again(n, failure)
            )

        def again(n: int, failure: Any) -> None:
            failure.trap(TagMismatch)
            self.store.fetch(key()).addCallback(lambda document: attempt(n, document))

        for n in range(50):
            attempt(n, None)
        self.reactor.until(lambda: len(done) == 50)
        document = self.fetch(key())
        assert document is not None
        self.assertEqual(sorted(map(int, document.octets.split())), list(range(50)))
        self.assertEqual(len(self.seen), 50)

    def test_acknowledged_later(self) -> None:
        """XCAP-146: a commit fires in a later turn, after all of its batch is durable."""
        outcome = Outcome(self.reactor, self.store.commit(Draft(key(), "", b"<a/>")))
        self.assertFalse(outcome.fired)
        self.assertIsNone(self.store.peek(key()))
        began = self.reactor.turns
        self.reactor.until(lambda: outcome.fired)
        self.assertGreater(outcome.turn, began)

    def test_tags_never_repeat(self) -> None:
        """XCAP-151: a tag is never used again: not after removal, a failure or a restart."""
        tags: list[str] = []
        for _ in range(3):
            for _ in range(3):
                tags.append(self.put(key(), b"<same/>").etag)
            self.wait(self.store.commit(Draft(key(), tags[-1], None)))
            tags.append(self.put(key(), b"<same/>").etag)
            self.break_medium()
            lost = self.outcomes(self.store.commit(Draft(key(), tags[-1], b"<lost/>")))
            self.assertIsInstance(lost[0], StoreUnavailable)
            self.mend_medium()
            self.reactor.advance(1)
            self.reactor.until(lambda: not self.store.failed)
            self.restart()
        self.assertEqual(len(set(tags)), len(tags))
        for tag in tags:
            self.assertRegex(tag, r"\A[!#-~]+\Z")

    def test_tags_of_a_start(self) -> None:
        """XCAP-151: what tags begin with is asked for at every start."""
        starts = (f"start{n}-" for n in count(1))
        self.other(start=lambda: next(starts))
        self.assertTrue(self.put(key("first")).etag.startswith("start1-"))
        self.restart()
        self.assertTrue(self.put(key("second")).etag.startswith("start2-"))

    def test_names(self) -> None:
        """Any characters in names come back as they were."""
        odd = DocumentKey(ROOT, "org.example.%", "sip:j\u00f6\U0001f600@example.com", "a'b/\x00 ~~")
        document = self.put(odd, author="sip:\u00e9@example.com", node="/a/b[@c=%22d%22]?xmlns()")
        self.restart()
        self.assertEqual(self.fetch(odd), document)
        (change,) = self.wait(self.store.changes(0))
        self.assertEqual(
            (change.key, change.author, change.node),
            (odd, "sip:\u00e9@example.com", "/a/b[@c=%22d%22]?xmlns()"),
        )

    def test_text_that_is_not_utf8(self) -> None:
        """Names with no UTF-8 form are not there and cannot be made; neighbours do not mind."""
        odd = key("\udcff")
        self.assertIsNone(self.fetch(odd))
        bad, named, good, told = self.outcomes(
            self.store.commit(Draft(odd, "", b"<a/>")),
            self.store.commit(Draft(key("ann"), "", b"<a/>", claims=claims("\udcff"))),
            self.store.commit(Draft(key(), "", b"<a/>")),
            self.store.commit(Draft(key("bob"), "", b"<a/>", author="sip:\udcff", node="\udc80")),
        )
        self.assertIsInstance(bad, StoreUnavailable)
        self.assertIsInstance(named, StoreUnavailable)
        self.assertIsInstance(good, Document)
        self.assertIsInstance(told, Document)
        self.assertEqual((self.seen[-1].author, self.seen[-1].node), ("sip:?", "?"))
        self.assertEqual(self.wait(self.store.listing(ROOT, None, "\udcff")), [])
        self.assertIsNone(self.wait(self.store.claimed(SPACE, "\udcff")))
        self.assertEqual(self.wait(self.store.claims("\udcff", ROOT)), [])
        self.assertEqual(self.wait(self.store.claims_tag("\udcff", ROOT)), "")
        self.assertEqual(self.wait(self.store.remove_user("\udcff")), 0)

    # The cache.

    def test_peek(self) -> None:
        """peek() gives what was fetched or committed, and nothing else."""
        self.assertIsNone(self.store.peek(key()))
        document = self.put(key())
        self.assertEqual(self.store.peek(key()), document)
        self.restart()
        self.assertIsNone(self.store.peek(key()))
        self.fetch(key())
        self.assertEqual(self.store.peek(key()), document)
        replaced = self.put(key(), b"<b/>")
        self.assertEqual(self.store.peek(key()), replaced)
        self.wait(self.store.commit(Draft(key(), replaced.etag, None)))
        self.assertIsNone(self.store.peek(key()))

    def test_absence_is_known(self) -> None:
        """What was found missing is answered at once, and found when it is created."""
        self.fetch(key())
        outcome = Outcome(self.reactor, self.store.fetch(key()))
        self.assertTrue(outcome.fired)
        document = self.put(key(), b"<a/>", "")
        self.assertEqual(self.fetch(key()), document)

    def test_displaced(self) -> None:
        """What the cache has no room for is read again, and its changes tell old contents."""
        self.other(cache_octets=5000)
        documents = [self.put(key(f"user{n}"), b"%d" % n * 1000) for n in range(10)]
        self.assertIsNone(self.store.peek(key("user0")))
        self.assertEqual(self.store.peek(key("user9")), documents[9])
        self.assertEqual([self.fetch(key(f"user{n}")) for n in range(10)], documents)
        self.wait(self.store.commit(Draft(key("user0"), documents[0].etag, b"<b/>")))
        self.assertEqual(self.seen[-1].old, b"0" * 1000)
        large = self.put(key("large"), bytes(10000))
        self.assertIsNone(self.store.peek(key("large")))
        self.assertEqual(self.fetch(key("large")), large)

    def test_fetched_twice_at_once(self) -> None:
        """Who asks for one document at the same time gets the same answer."""
        document = self.put(key())
        self.restart()
        self.assertEqual(
            self.outcomes(*(self.store.fetch(key()) for _ in range(3))), [document] * 3
        )

    def test_fetched_while_committed(self) -> None:
        """What is fetched beside a commit is the state that watchers know at that moment."""
        known: list[Document | None] = []
        self.store.watch(lambda change: known.append(self.store.peek(key())))
        seen: list[tuple[Any, Any]] = []
        for n in range(20):
            before = self.put(key())
            self.restart()
            committed = Outcome(self.reactor, self.store.commit(Draft(key(), before.etag, b"new")))
            self.reactor.turn()
            for _ in range(3):
                self.store.fetch(key()).addCallback(
                    lambda document: seen.append((document, known[-1]))
                )
                self.reactor.turn()
            self.reactor.until(lambda n=n: len(seen) == 3 * n + 3)
            self.reactor.until(lambda committed=committed: committed.fired)
            self.assertEqual(self.store.peek(key()), committed.found)
        for found, current in seen:
            self.assertEqual(found, current)

    def test_given_up(self) -> None:
        """Who cancels a fetch or a commit does not harm the others."""
        document = self.put(key())
        self.restart()
        fetches = [self.store.fetch(key()) for _ in range(2)]
        commits = [self.store.commit(Draft(key(n), "", b"<a/>")) for n in ("ann", "bob")]
        for deferred in (fetches[0], commits[0]):
            deferred.addErrback(lambda _: None)
            deferred.cancel()
        self.assertEqual(self.wait(fetches[1]), document)
        self.assertIsInstance(self.wait(commits[1]), Document)
        self.assertIsInstance(self.fetch(key("ann")), Document)

    # The feed.

    def test_changes(self) -> None:
        """XCAP-148: every commit is one change with tags, author, node and time, in order."""
        first = self.put(key(), b"<a/>", author="sip:joe@example.com")
        self.now = 1001.0
        second = self.put(key(), b"<b/>", author="sip:ann@example.com", node="/a/b?x")
        self.wait(self.store.commit(Draft(key(), second.etag, None, "sip:joe@example.com")))
        joe, ann = "sip:joe@example.com", "sip:ann@example.com"
        a, b = b"<a/>", b"<b/>"
        expected = [
            Change(1, key(), "", first.etag, b"", a, joe, "", 1000.5),
            Change(2, key(), first.etag, second.etag, a, b, ann, "/a/b?x", 1001.0),
            Change(3, key(), second.etag, "", b, b"", joe, "", 1001.0),
        ]
        self.assertEqual(self.seen, expected)
        self.assertEqual([c.operation for c in self.seen], ["create", "replace", "delete"])
        self.assertEqual(self.store.position, 3)
        self.restart()
        self.assertEqual(self.store.position, 3)
        without = [
            Change(c.position, c.key, c.before, c.after, b"", b"", c.author, c.node, c.time)
            for c in expected
        ]
        self.assertEqual(self.wait(self.store.changes(0)), without)
        self.assertEqual(self.wait(self.store.changes(1)), without[1:])
        self.assertEqual(self.wait(self.store.changes(1, 1)), without[1:2])
        self.assertEqual(self.wait(self.store.changes(3)), [])

    def test_chain_of_changes(self) -> None:
        """XCAP-148: each change of a document begins where the one before has ended."""
        for n in range(30):
            document = self.put(key(f"user{n % 3}"), b"%d" % n)
            if n % 7 == 6:
                self.wait(self.store.commit(Draft(document.key, document.etag, None)))
        self.assertEqual([c.position for c in self.seen], list(range(1, len(self.seen) + 1)))
        state: dict[DocumentKey, tuple[str, bytes]] = {}
        for change in self.seen:
            self.assertEqual((change.before, change.old), state.get(change.key, ("", b"")))
            state[change.key] = change.after, change.new

    def test_told_before_answered(self) -> None:
        """Who watches hears of a change before its commit fires, and can see it."""
        order: list[Any] = []

        def changed(change: Change) -> None:
            document = self.store.peek(change.key)
            order.append((change.after, document.etag, self.store.position))

        self.store.watch(changed)
        for user in ("joe", "ann"):
            self.store.commit(Draft(key(user), "", b"<a/>")).addCallback(
                lambda document: order.append(document.etag)
            )
        self.reactor.until(lambda: len(order) == 4)
        self.assertEqual(
            order, [(order[2], order[2], 1), (order[3], order[3], 2), order[2], order[3]]
        )

    def test_failing_watcher(self) -> None:
        """A watcher that raises is logged and stops neither the others nor the commit."""
        others: list[Change] = []

        def fail(change: Change) -> None:
            raise ZeroDivisionError

        self.store.watch(fail)
        self.store.watch(others.append)
        self.put(key())
        self.assertEqual(others, self.seen)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_commit_from_watcher(self) -> None:
        """A watcher may commit a change itself."""
        made: list[Any] = []

        def follow(change: Change) -> None:
            if change.key == key():
                self.store.commit(Draft(key("ann"), "", b"<b/>")).addCallback(made.append)

        self.store.watch(follow)
        self.put(key())
        self.reactor.until(lambda: made)
        self.assertEqual([c.key for c in self.seen], [key(), key("ann")])

    def test_history_is_bounded(self) -> None:
        """Of old changes only some are kept; who was away for longer is told so."""
        self.other(history=5)
        for n in range(8):
            self.put(key(), b"%d" % n)
        for _ in range(2):
            self.assertIsNone(self.wait(self.store.changes(2)))
            found = self.wait(self.store.changes(3))
            self.assertEqual([c.position for c in found], [4, 5, 6, 7, 8])
            self.assertEqual(self.wait(self.store.changes(8)), [])
            self.restart()
        self.assertEqual(self.store.position, 8)

    def test_position_of_another_file(self) -> None:
        """A position that was not reached yet belongs to another history."""
        self.assertEqual(self.wait(self.store.changes(0)), [])
        self.assertIsNone(self.wait(self.store.changes(1)))
        self.put(key())
        self.assertIsNone(self.wait(self.store.changes(2)))

    # Claims.

    def test_claims(self) -> None:
        """XDM-46: a value that is claimed is no other document's, in whichever root."""
        joe = self.put(key(), claims=claims("sip:a@x", "sip:b@x"))
        for other in (key("ann"), key(path="second"), key(root=OTHER_ROOT)):
            draft = Draft(other, "", b"<a/>", claims=claims("sip:c@x", "sip:b@x", "sip:a@x"))
            with self.assertRaises(ClaimTaken) as caught:
                self.wait(self.store.commit(draft))
            self.assertEqual(caught.exception.names, ("sip:b@x", "sip:a@x"))
            self.assertIsNone(self.fetch(other))
        self.assertIsNone(self.wait(self.store.claimed(SPACE, "sip:c@x")))
        self.put(key("ann"), claims=(Claim("other", "sip:a@x"),))
        self.restart()
        for name in ("sip:a@x", "sip:b@x"):
            (claim,) = claims(name)
            self.assertEqual(self.wait(self.store.claimed(SPACE, name)), (key(), claim))
        self.assertEqual(self.fetch(key()), joe)
        with self.assertRaises(ClaimTaken):
            self.put(key("bob"), claims=claims("sip:a@x"))

    def test_claims_of_a_new_version(self) -> None:
        """XDM-46: a document keeps its own values; those it leaves are free for others."""
        self.put(key(), claims=claims("sip:a@x", "sip:b@x"))
        self.put(key(), claims=claims("sip:b@x", "sip:c@x"))
        self.assertIsNone(self.wait(self.store.claimed(SPACE, "sip:a@x")))
        ann = self.put(key("ann"), claims=claims("sip:a@x"))
        with self.assertRaises(ClaimTaken):
            self.put(key("ann"), claims=claims("sip:a@x", "sip:c@x"))
        self.assertEqual(self.fetch(key("ann")), ann)
        joe = self.fetch(key())
        assert joe is not None
        self.wait(self.store.commit(Draft(key(), joe.etag, None)))
        self.put(key("ann"), claims=claims("sip:a@x", "sip:b@x", "sip:c@x"))
        self.restart()
        self.assertEqual(
            self.wait(self.store.claims(SPACE, ROOT)), list(claims("sip:a@x", "sip:b@x", "sip:c@x"))
        )

    def test_claimed_at_once(self) -> None:
        """XDM-46: of several who claim a value in one turn exactly one gets it."""
        found = self.outcomes(
            *(
                self.store.commit(Draft(key(f"user{n}"), "", b"<a/>", claims=claims("sip:a@x")))
                for n in range(5)
            )
        )
        self.assertIsInstance(found[0], Document)
        for error in found[1:]:
            self.assertEqual(error.names, ("sip:a@x",))
        holder, _ = self.wait(self.store.claimed(SPACE, "sip:a@x"))
        self.assertEqual(holder, key("user0"))

    def test_claim_moves_in_a_turn(self) -> None:
        """XDM-46: a value that is given up may be claimed in the same turn; not before."""
        tag = self.put(key(), claims=claims("sip:a@x")).etag
        early, _, late = self.outcomes(
            self.store.commit(Draft(key("ann"), "", b"<a/>", claims=claims("sip:a@x"))),
            self.store.commit(Draft(key(), tag, None)),
            self.store.commit(Draft(key("bob"), "", b"<a/>", claims=claims("sip:a@x"))),
        )
        self.assertIsInstance(early, ClaimTaken)
        self.assertIsInstance(late, Document)
        self.restart()
        holder, _ = self.wait(self.store.claimed(SPACE, "sip:a@x"))
        self.assertEqual(holder, key("bob"))

    def test_claimed_twice(self) -> None:
        """XDM-46: a document that claims a value twice is refused."""
        with self.assertRaises(ClaimTaken) as caught:
            self.put(key(), claims=claims("sip:a@x", "sip:a@x"))
        self.assertEqual(caught.exception.names, ("sip:a@x",))
        self.assertIsNone(self.fetch(key()))

    def test_removal_claims_nothing(self) -> None:
        """The claims of a draft that removes its document count for nothing."""
        tag = self.put(key(), claims=claims("sip:a@x")).etag
        self.wait(self.store.commit(Draft(key(), tag, None, claims=claims("sip:b@x"))))
        self.assertIsNone(self.wait(self.store.claimed(SPACE, "sip:a@x")))
        self.assertIsNone(self.wait(self.store.claimed(SPACE, "sip:b@x")))

    def test_claims_of_a_root(self) -> None:
        """XCAP-04: claims are listed by root and space, in the order of their names."""
        self.put(key("joe"), claims=claims("sip:c@x", "sip:a@x"))
        self.put(key("ann"), claims=(*claims("sip:b@x"), Claim("other", "sip:b@x")))
        self.put(key("bob", root=OTHER_ROOT), claims=claims("sip:d@x"))
        for _ in range(2):
            self.assertEqual(
                self.wait(self.store.claims(SPACE, ROOT)),
                list(claims("sip:a@x", "sip:b@x", "sip:c@x")),
            )
            self.assertEqual(
                self.wait(self.store.claims(SPACE, OTHER_ROOT)), list(claims("sip:d@x"))
            )
            self.assertEqual(
                self.wait(self.store.claims("other", ROOT)), [Claim("other", "sip:b@x")]
            )
            self.assertEqual(self.wait(self.store.claims("none", ROOT)), [])
            self.restart()

    def test_claims_tag(self) -> None:
        """XDM-51: the index has another tag after every change of any part, and only then."""
        tags: list[str] = []

        def tag(root: str = ROOT) -> str:
            found = self.wait(self.store.claims_tag(SPACE, root))
            assert isinstance(found, str)
            return found

        self.assertEqual(tag(), "")
        self.put(key(), claims=claims("sip:a@x"))
        tags.append(tag())
        self.put(key("ann"), claims=claims("sip:b@x"))
        tags.append(tag())
        self.put(key(), b"<other/>", claims=claims("sip:a@x"))
        self.put(key("bob"))
        self.put(key("carl", root=OTHER_ROOT), claims=claims("sip:z@x"))
        self.put(key("dan"), claims=(Claim("other", "sip:a@x"),))
        with self.assertRaises(ClaimTaken):
            self.put(key("eve"), claims=claims("sip:a@x"))
        self.assertEqual(tag(), tags[-1])
        self.put(key(), claims=(Claim(SPACE, "sip:a@x", b"<other/>"),))
        tags.append(tag())
        self.restart()
        self.assertEqual(tag(), tags[-1])
        document = self.put(key(), claims=())
        tags.append(tag())
        self.put(key(), claims=claims("sip:a@x"))
        tags.append(tag())
        document = self.put(key())
        self.wait(self.store.commit(Draft(key(), document.etag, None)))
        tags.append(tag())
        self.assertEqual(len(set(tags)), 6)
        self.assertNotIn(tag(OTHER_ROOT), ["", *tags])

    # Collections.

    def test_listing(self) -> None:
        """XDM-80: the documents of a collection come in order, with tag, time and size."""
        entries: dict[DocumentKey, Entry] = {}
        for each in (
            key("joe", "index"),
            key("joe", "a/b/c"),
            key("joe", "a/b"),
            key("joe", "a/bc/d"),
            key("joe", "a0"),
            key("ann", "a/b/c"),
            key("", "a/b/c"),
            key("joe", "index", "pres-rules"),
            key("", "index", "xcap-caps"),
            key("ann", "index", "pres-rules"),
            key("joe", "index", root=OTHER_ROOT),
        ):
            self.now += 1
            octets = b"x" * len(entries)
            document = self.put(each, octets)
            entries[each] = Entry(each, document.etag, self.now, len(octets))

        def expect(found: list[Entry], *wanted: DocumentKey) -> None:
            self.assertEqual(found, [entries[each] for each in wanted])

        joe = "sip:joe@example.com"
        for _ in range(2):
            everything = sorted(
                (each for each in entries if each.root == ROOT),
                key=lambda each: (each.auid, each.xui, each.path),
            )
            ask = self.store.listing
            expect(self.wait(ask(ROOT, None, None)), *everything)
            lists = [each for each in everything if each.auid == "resource-lists"]
            expect(self.wait(ask(ROOT, "resource-lists", None)), *lists)
            expect(self.wait(ask(ROOT, None, joe)), *(e for e in everything if e.xui == joe))
            expect(self.wait(ask(ROOT, "resource-lists", joe)), *(e for e in lists if e.xui == joe))
            expect(self.wait(ask(ROOT, "resource-lists", "")), key("", "a/b/c"))
            expect(
                self.wait(ask(ROOT, None, "")),
                key("", "a/b/c"),
                key("", "index", "xcap-caps"),
            )
            expect(self.wait(ask(ROOT, "resource-lists", joe, "a/b/")), key("joe", "a/b/c"))
            expect(
                self.wait(ask(ROOT, "resource-lists", joe, "a/")),
                key("joe", "a/b"),
                key("joe", "a/b/c"),
                key("joe", "a/bc/d"),
            )
            expect(
                self.wait(ask(ROOT, None, None, "a/b/")),
                key("", "a/b/c"),
                key("ann", "a/b/c"),
                key("joe", "a/b/c"),
            )
            expect(self.wait(ask(OTHER_ROOT, None, None)), key("joe", "index", root=OTHER_ROOT))
            expect(self.wait(ask("https://nowhere/", None, None)))
            expect(self.wait(ask(ROOT, "unknown", None)))
            expect(self.wait(ask(ROOT, None, "sip:nobody@example.com")))
            self.restart()

    def test_remove_user(self) -> None:
        """XDM-09: all documents of a user go, at all usages and roots, with their events."""
        mine = [
            key(),
            key(path="a/b"),
            key(auid="pres-rules"),
            key(auid="rls-services"),
            key(root=OTHER_ROOT),
        ]
        for each in mine:
            self.put(each, claims=claims("sip:a@x") if each.auid == "rls-services" else ())
        others = [self.put(each) for each in (key("ann"), key(""), key("joe2"))]
        before = len(self.seen)
        self.assertEqual(
            self.wait(self.store.remove_user("sip:joe@example.com", "sip:admin@example.com")), 5
        )
        self.assertCountEqual([change.key for change in self.seen[before:]], mine)
        for change in self.seen[before:]:
            self.assertEqual((change.operation, change.author), ("delete", "sip:admin@example.com"))
        self.assertEqual(self.store.position, before + 5)
        self.restart()
        self.assertEqual(self.wait(self.store.listing(ROOT, None, "sip:joe@example.com")), [])
        self.assertIsNone(self.wait(self.store.claimed(SPACE, "sip:a@x")))
        self.assertEqual([self.fetch(document.key) for document in others], others)
        self.assertEqual(self.wait(self.store.remove_user("sip:joe@example.com")), 0)

    def test_remove_nobody(self) -> None:
        """XDM-09: the global tree is no user's and cannot be removed like one's."""
        self.put(key(""))
        with self.assertRaises(ValueError):
            self.wait(self.store.remove_user(""))
        self.assertIsNotNone(self.fetch(key("")))

    def test_remove_busy_user(self) -> None:
        """XDM-09: a document that changes while its user is removed goes as well."""
        document = self.put(key())
        removing = Outcome(self.reactor, self.store.remove_user("sip:joe@example.com"))
        changing = Outcome(
            self.reactor, self.store.commit(Draft(key(), document.etag, b"<changed/>"))
        )
        self.reactor.until(lambda: removing.fired and changing.fired)
        self.assertEqual(removing.found, 1)
        self.assertIsNone(self.fetch(key()))

    def test_remove_user_who_never_stops(self) -> None:
        """XDM-09: who goes on changing a document makes the removal fail, not last for ever."""
        self.put(key())
        ask = self.store._ask

        def change(entries: list[Entry]) -> list[Entry]:
            draft = Draft(key(), entries[0].etag, b"<changed/>")
            self.store.commit(draft)
            return entries

        self.patch(self.store, "_ask", lambda question: ask(question).addCallback(change))
        with self.assertRaises(StoreUnavailable):
            self.wait(self.store.remove_user("sip:joe@example.com"))

    def test_remove_user_in_an_outage(self) -> None:
        """XDM-09: a removal that is not stored fails."""
        document = self.put(key())
        self.put(key(path="second"))
        self.break_medium()
        with self.assertRaises(StoreUnavailable):
            self.wait(self.store.remove_user("sip:joe@example.com"))
        self.mend_medium()
        self.assertEqual(self.fetch(key()), document)

    # Outages.

    def recover(self) -> None:
        """Mend the medium and let the store find out."""
        self.mend_medium()
        self.reactor.advance(1)
        self.reactor.until(lambda: not self.store.failed)

    def test_outage(self) -> None:
        """XCAP-146: what the medium refuses was not done, and whoever waits is told."""
        document = self.put(key(), claims=claims("sip:a@x"))
        position = self.store.position
        self.break_medium()
        waiting = [
            Outcome(self.reactor, self.store.commit(draft))
            for draft in (
                Draft(key(), document.etag, b"<lost/>", claims=claims("sip:b@x")),
                Draft(key("ann"), "", b"<lost/>"),
                Draft(key("bob"), "no such tag", b"<lost/>"),
            )
        ]
        self.reactor.turn()
        late = Outcome(self.reactor, self.store.commit(Draft(key("carl"), "", b"<lost/>")))
        self.reactor.until(lambda: late.fired and all(each.fired for each in waiting))
        for each in (*waiting, late):
            self.assertIsInstance(each.found, StoreUnavailable)
        self.assertTrue(self.store.failed)
        self.assertEqual((len(self.seen), self.store.position), (1, position))
        # reading goes on
        self.assertEqual(self.fetch(key()), document)
        self.assertIsNone(self.fetch(key("ann")))
        self.assertIsNotNone(self.wait(self.store.claimed(SPACE, "sip:a@x")))
        self.recover()
        self.assertIsNone(self.wait(self.store.claimed(SPACE, "sip:b@x")))
        after = self.put(key(), b"<after/>", document.etag)
        self.assertEqual((self.seen[-1].position, self.seen[-1].old), (position + 1, b"<a/>"))
        self.restart()
        self.assertEqual(self.fetch(key()), after)
        self.assertIsNone(self.fetch(key("ann")))

    def test_refused_until_it_works(self) -> None:
        """Drafts are refused until a probe has found the medium working."""
        self.break_medium()
        self.assertIsInstance(
            self.outcomes(self.store.commit(Draft(key(), "", b"<a/>")))[0], StoreUnavailable
        )
        self.reactor.advance(1)
        self.mend_medium()
        self.assertIsInstance(
            self.outcomes(self.store.commit(Draft(key(), "", b"<a/>")))[0], StoreUnavailable
        )
        self.recover()
        self.put(key())

    def test_figures(self) -> None:
        """OBS-01: commits, changes and their time are counted, and batches that were refused."""
        self.assertEqual((self.store.oldest, self.store.commits, self.store.rows), (0.0, 0, 0))
        waiting = [self.store.commit(Draft(key(n), "", b"<a/>")) for n in ("a", "b", "c")]
        waiting.append(self.store.commit(Draft(key(), "no", b"<a/>")))
        self.reactor.rightNow += 1.5
        self.assertEqual(self.store.oldest, 1.5)
        self.outcomes(*waiting)
        self.assertEqual((self.store.oldest, self.store.commits, self.store.rows), (0.0, 1, 3))
        self.assertEqual((sum(self.store.latency.counts), self.store.refused), (1, 0))
        self.break_medium()
        self.outcomes(self.store.commit(Draft(key(), "", b"<a/>")))
        self.assertEqual((self.store.refused, self.store.commits, self.store.oldest), (1, 1, 0.0))
        self.recover()

    # Life.

    def test_stop_commits(self) -> None:
        """stop() commits what is queued, answers who waits, and leaves nothing behind."""
        first = Outcome(self.reactor, self.store.commit(Draft(key(), "", b"<a/>")))
        self.reactor.turn()
        second = Outcome(self.reactor, self.store.commit(Draft(key("ann"), "", b"<a/>")))
        fetched = Outcome(self.reactor, self.store.fetch(key("bob")))
        stopping = [self.store.stop(), self.store.stop()]
        for each in stopping:
            self.wait(each)
        self.assertTrue(fetched.fired)
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.wait(self.store.start())
        self.assertEqual(self.fetch(key()), first.found)
        self.assertEqual(self.fetch(key("ann")), second.found)

    def test_stopped(self) -> None:
        """A stopped store refuses everything, and stopping it again does nothing."""
        self.put(key())
        self.wait(self.store.stop())
        self.wait(self.store.stop())
        self.assertIsNone(self.store.peek(key()))
        questions: list[Deferred[Any]] = [
            self.store.commit(Draft(key("ann"), "", b"<a/>")),
            self.store.fetch(key()),
            self.store.listing(ROOT, None, None),
            self.store.claimed(SPACE, "a"),
            self.store.claims(SPACE, ROOT),
            self.store.claims_tag(SPACE, ROOT),
            self.store.changes(0),
            self.store.remove_user("sip:joe@example.com"),
        ]
        for error in self.outcomes(*questions):
            self.assertIsInstance(error, StoreUnavailable)
        self.wait(self.store.start())
        self.assertIsNone(self.fetch(key("ann")))

    def test_started_twice(self) -> None:
        """A store that is started twice says so and goes on."""
        with self.assertRaises(StoreError):
            self.wait(self.store.start())
        self.put(key())

    def test_stopped_while_starting(self) -> None:
        """A stop before the start has finished closes the medium once it is open."""
        self.wait(self.store.stop())
        started, stopped = self.store.start(), self.store.stop()
        self.wait(started)
        self.wait(stopped)
        self.restart()

    # Everything at once.

    def test_interleavings(self) -> None:
        """XCAP-145, XCAP-148: any order of calls ends as if they were made one by one."""
        users = st.sampled_from(["joe", "ann", "bob"])
        names = st.lists(st.sampled_from(["sip:a@x", "sip:b@x", "sip:c@x"]), max_size=2)
        steps = st.one_of(
            st.tuples(st.just("put"), users, st.integers(-3, 0), names),
            st.tuples(st.just("remove"), users, st.integers(-3, 0)),
            st.tuples(st.just("fetch"), users),
            st.tuples(st.just("turn")),
            st.tuples(st.just("settle")),
            st.tuples(st.just("restart")),
        )

        @settings(
            max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), database=None
        )
        @given(st.lists(steps, max_size=40))
        def check(plan: list[tuple[Any, ...]]) -> None:
            Interleaving(self).run(plan)

        check()


class Interleaving:
    """One random order of calls, and what a plain dict makes of them."""

    def __init__(self, case: DocumentStoreContract) -> None:
        self.case = case
        self.store = case.store
        self.drafts: list[tuple[Draft, Outcome]] = []
        self.fetches: list[Outcome] = []
        self.tags: dict[DocumentKey, list[str]] = {
            key(user): [""] for user in ("joe", "ann", "bob")
        }
        for each in self.tags:
            document = case.fetch(each)
            if document is not None:
                case.wait(self.store.commit(Draft(each, document.etag, None)))
        case.seen.clear()
        self.begin = self.store.position

    def run(self, plan: list[tuple[Any, ...]]) -> None:
        """Make the calls and check everything."""
        reactor, store = self.case.reactor, self.store
        serial = count()
        for name, *args in plan:
            if name == "turn":
                reactor.turn()
            elif name == "settle":
                self.settle()
            elif name == "restart":
                self.settle()
                self.case.restart()
            elif name == "fetch":
                self.fetch(key(args[0]))
            else:
                each = key(args[0])
                known = self.tags[each]
                before = known[max(args[1] - 1, -len(known))]
                octets, wanted = None, ()
                if name == "put":
                    octets, wanted = b"%d" % next(serial), claims(*args[2])
                draft = Draft(each, before, octets, claims=wanted)
                outcome = Outcome(reactor, store.commit(draft).addBoth(self.noted, each))
                self.drafts.append((draft, outcome))
        self.settle()
        self.check()

    def noted(self, found: Any, each: DocumentKey) -> Any:
        """Remember the tag for later drafts."""
        if found is None or isinstance(found, Document):
            self.tags[each].append(found.etag if found is not None else "")
        return found

    def fetch(self, each: DocumentKey) -> None:
        """Fetch, and compare with what the feed has told at that moment."""

        def found(document: Document | None) -> None:
            state = (document.etag, document.octets) if document is not None else ("", b"")
            last = [change for change in self.case.seen if change.key == each][-1:]
            assert state == (("", b"") if not last else (last[0].after, last[0].new)), state

        self.fetches.append(Outcome(self.case.reactor, self.store.fetch(each).addCallback(found)))

    def settle(self) -> None:
        """Wait for everything."""
        waiting = [outcome for _, outcome in self.drafts] + self.fetches
        self.case.reactor.until(lambda: all(outcome.fired for outcome in waiting))

    def check(self) -> None:
        """Replay the drafts one by one."""
        case = self.case
        for outcome in self.fetches:
            case.assertIsNone(outcome.found)
        state: dict[DocumentKey, tuple[str, bytes]] = {}
        held: dict[str, DocumentKey] = {}
        changes: list[tuple[Any, ...]] = []
        for draft, outcome in self.drafts:
            found = outcome.found
            etag, octets = state.get(draft.key, ("", b""))
            wanted = [claim.name for claim in draft.claims]
            if draft.before != etag:
                assert isinstance(found, TagMismatch), found
                case.assertEqual(found.current, etag)
                continue
            if len(set(wanted)) < len(wanted) or any(
                held.get(name, draft.key) != draft.key for name in wanted
            ):
                assert isinstance(found, ClaimTaken), found
                continue
            if draft.octets is None:
                case.assertIsNone(found)
                if not etag:
                    continue
                del state[draft.key]
                changes.append((draft.key, etag, "", octets, b""))
            else:
                case.assertEqual(found.octets, draft.octets)
                state[draft.key] = found.etag, draft.octets
                changes.append((draft.key, etag, found.etag, octets, draft.octets))
            held = {name: each for name, each in held.items() if each != draft.key}
            held.update(dict.fromkeys(wanted, draft.key))
        case.assertEqual([(c.key, c.before, c.after, c.old, c.new) for c in case.seen], changes)
        case.assertEqual(
            [c.position for c in case.seen],
            list(range(self.begin + 1, self.begin + 1 + len(changes))),
        )
        feed = case.wait(self.store.changes(self.begin))
        case.assertEqual([(c.key, c.before, c.after) for c in feed], [c[:3] for c in changes])
        listed = case.wait(self.store.listing(ROOT, None, None))
        case.assertEqual({e.key: e.etag for e in listed}, {k: tag for k, (tag, _) in state.items()})
        case.assertEqual(
            [claim.name for claim in case.wait(self.store.claims(SPACE, ROOT))], sorted(held)
        )
        for name, each in held.items():
            case.assertEqual(case.wait(self.store.claimed(SPACE, name))[0], each)


class MemoryDocumentStoreTests(DocumentStoreContract, SynchronousTestCase):
    """The store in memory."""

    def make_store(self, **options: Any) -> DocumentStore:
        """A store of its own."""
        return MemoryDocumentStore(self.reactor, self.wall, **options)

    def break_medium(self) -> None:
        """Fail for good."""
        self.store.fail_next(1000)

    def mend_medium(self) -> None:
        """Fail no more."""
        self.store.fail_next(0)

    def test_fail_next(self) -> None:
        """fail_next() fails one commit, and the probe after a second finds all well."""
        self.store.fail_next()
        found = self.outcomes(self.store.commit(Draft(key(), "", b"<a/>")))
        self.assertIsInstance(found[0], StoreUnavailable)
        self.assertTrue(self.store.failed)
        self.reactor.advance(1)
        self.assertFalse(self.store.failed)


class SqliteDocumentStoreTests(DocumentStoreContract, SynchronousTestCase):
    """The store in a SQLite file."""

    def make_store(self, **options: Any) -> DocumentStore:
        """A store in a directory of the test."""
        path = Path(self.mktemp()) / "documents.sqlite"
        return SqliteDocumentStore(self.reactor, path, self.wall, "normal", **options)

    def _write_access(self, allowed: bool) -> None:
        """As when the file system is mounted read-only, or writable again."""
        changed: list[object] = []
        self.store._file.submit(
            self.store._writer.database.execute,
            f"PRAGMA query_only = {'OFF' if allowed else 'ON'}",
            changed.append,
            self.fail,
        )
        self.reactor.until(lambda: changed)

    def break_medium(self) -> None:
        """Make it read-only."""
        self._write_access(False)

    def mend_medium(self) -> None:
        """Make it writable."""
        self._write_access(True)
