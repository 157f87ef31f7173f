"""The Watcher of lists (WAT-02; RFC 4662 sections 4 and 5.6)."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from presence.interfaces import IListListener
from presence.rls.listwatch import Taken
from presence.watcher import (
    FetchError,
    ListWatch,
    SubscriptionLimitError,
    Watcher,
    WatcherTerms,
    is_list,
)
from pysip.event.subscriber import NotifyRouter
from pysip.message import Request, Response
from tests.presence.test_rls_listwatch import LIST, A, B, active, notify
from tests.pysip.scripted import Pair, accept, answer


@implementer(IListListener)
class Listener:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.changes: list[tuple[str, Taken]] = []
        self.failures: list[Response | None] = []
        self.ends: list[tuple[str, float | None]] = []

    def list_changed(self, watch: ListWatch, taken: Taken) -> None:
        """A NOTIFY."""
        self.changes.append((watch.state, taken))

    def failed(
        self, watch: ListWatch, response: Response | None, retry_after: float | None
    ) -> None:
        """A failure."""
        self.failures.append(response)

    def ended(self, watch: ListWatch, reason: str, retry_after: float | None) -> None:
        """An end."""
        self.ends.append((reason, retry_after))


class ListWatchTests(SynchronousTestCase):
    """A watcher and a scripted Resource List Server."""

    def setUp(self) -> None:
        """Watch a list of which nothing is known."""
        self.pair = Pair()
        self.pair.script("SUBSCRIBE", accept)
        self.listener = Listener()
        self.watcher = Watcher(
            NotifyRouter(self.pair.client),
            WatcherTerms(
                local_uri="<sip:alice@example.com>", contact=lambda: self.pair.contact, limit=1
            ),
        )

    @property
    def last(self) -> Request:
        """The last SUBSCRIBE."""
        return self.pair.received[-1]

    def watch(self) -> ListWatch:
        """Watch, without a NOTIFY."""
        watch = self.watcher.watch_list(LIST, self.listener)
        self.pair.run()
        return watch

    def tell(
        self,
        content: tuple[str, bytes] = ("", b""),
        state: str = "active;expires=3600",
        tag: str = "server",
    ) -> int:
        """Send a NOTIFY; the status of the answer."""
        answers = self.pair.notify(
            self.last,
            state,
            tag=tag,
            body=content[1],
            content_type=content[0],
            headers={"Require": "eventlist"},
        )
        self.pair.run()
        return answers[0].status

    def test_subscribe(self) -> None:
        """WAT-02, RLS-01, RLS-02: Supported and Accept, and no Require."""
        self.watch()
        self.assertEqual(self.last.uri, LIST)
        self.assertEqual(self.last.first("event"), "presence")
        self.assertEqual(self.last.first("supported"), "eventlist")
        self.assertIsNone(self.last.first("require"))
        self.assertEqual(
            self.last.first("accept"),
            "application/rlmi+xml, multipart/related, application/pidf+xml",
        )

    def test_table(self) -> None:
        """RLS-03, RLS-26: NOTIFYs that require eventlist are taken, and their changes told."""
        watch = self.watch()
        self.assertEqual(self.tell(notify(0, (A, active("a")), (B, None), full=True)), 200)
        self.assertEqual(self.tell(notify(1, (B, active("b")))), 200)
        self.assertEqual([t.changed for _, t in self.listener.changes], [(A.uri, B.uri), (B.uri,)])
        documents = [m.instance and m.instance.document for m in watch.table.members.values()]
        self.assertEqual(documents, [b"a", b"b"])
        self.assertEqual(self.tell(), 200)
        self.assertEqual(self.listener.changes[-1], ("active", Taken(False)))
        self.assertEqual(len(self.pair.received), 1)

    def test_gap(self) -> None:
        """RLS-26: after a gap full state is asked for, once; what is old changes nothing."""
        watch = self.watch()
        self.tell(notify(0, (A, None), (B, None), full=True))
        self.tell(notify(2, (A, active("a"))))
        self.assertEqual(len(self.pair.received), 2)
        self.assertEqual((self.last.to.tag, self.last.first("expires")), ("server", "3600"))
        self.tell(notify(4, (A, active("a2"))))
        self.assertEqual(len(self.pair.received), 2, "asked for already")
        self.tell(notify(3, (A, active("old"))))
        self.tell(notify(5, (A, active("a3")), (B, active("b")), full=True))
        self.tell(notify(7, (B, active("b2"))))
        self.assertEqual(len(self.pair.received), 3, "another gap")
        documents = [m.instance and m.instance.document for m in watch.table.members.values()]
        self.assertEqual(documents, [b"a3", b"b2"])

    def test_unreadable(self) -> None:
        """RLS-29, SBR-06: what is no list changes nothing; full state is asked for, once."""
        watch = self.watch()
        self.tell(notify(0, (A, active("a")), full=True))
        for _ in range(3):
            self.assertEqual(self.tell(("application/pidf+xml", b"<presence/>")), 200)
            self.assertNotEqual(watch.problem, "")
        self.assertEqual(len(self.pair.received), 2)
        self.assertEqual(list(watch.table.members), [A.uri])
        self.tell(notify(1, (A, active("a2")), full=True))
        self.assertEqual(watch.problem, "")

    def test_again(self) -> None:
        """RLS-06: a new subscription begins with version 0; until then the table stays."""
        watch = self.watch()
        self.tell(notify(0, (A, active("a")), (B, None), full=True))
        self.tell(notify(1, (A, active("a2"))))
        self.tell(state="terminated;reason=deactivated")
        self.pair.run(0.1)
        self.assertEqual(self.listener.ends, [("deactivated", 0.0)])
        self.assertEqual((list(watch.table.members), watch.ended), ([A.uri, B.uri], False))
        self.tell(notify(0, (A, active("a3")), full=True))
        self.assertEqual(self.listener.changes[-1][1].removed, (B.uri,))
        self.assertEqual(list(watch.table.members), [A.uri])
        self.tell(notify(1, (A, active("a4"))))
        self.assertEqual(len(self.pair.received), 2, "no gap")

    def test_lost_before(self) -> None:
        """RLS-26: what one subscription has asked for in vain the next one asks for again."""
        self.watch()
        self.tell(notify(1, (A, active("a"))))
        self.assertEqual(len(self.pair.received), 2, "full state")
        self.tell(state="terminated;reason=deactivated")
        self.pair.run(0.1)
        self.assertEqual(len(self.pair.received), 3, "a new subscription")
        self.tell(notify(1, (A, active("a2"))))
        self.assertEqual(len(self.pair.received), 4, "full state, again")

    def test_forked(self) -> None:
        """RLS-30: of a forked SUBSCRIBE one subscription only is installed."""
        watch = self.watch()
        self.assertEqual(self.tell(notify(0, (A, None), full=True)), 200)
        self.assertEqual(self.tell(notify(0, (B, None), full=True), tag="other"), 481)
        self.assertEqual(list(watch.table.members), [A.uri])

    def test_limit(self) -> None:
        """WAT-03: a list is one subscription."""
        self.watch()
        with self.assertRaises(SubscriptionLimitError):
            self.watcher.watch_list(LIST, self.listener)
        with self.assertRaises(SubscriptionLimitError):
            self.watcher.fetch_list(LIST)

    def test_stop(self) -> None:
        """Stopping unsubscribes, and frees the place."""
        watch = self.watch()
        self.tell(notify(0, (A, None), full=True))
        done = watch.stop()
        self.pair.run()
        self.assertEqual(self.last.first("expires"), "0")
        self.tell(notify(1, (A, None), full=True), "terminated;reason=timeout")
        self.successResultOf(done)
        self.assertEqual((watch.ended, self.watcher.watches), (True, {}))

    def test_fetch(self) -> None:
        """RCL-06: a fetch gives the state of all members; a refusal is an error."""
        fetched = self.watcher.fetch_list(LIST)
        self.pair.run()
        self.assertEqual(self.last.first("expires"), "0")
        self.tell(notify(0, (A, active("a")), full=True), "terminated;reason=timeout")
        self.assertEqual(list(self.successResultOf(fetched).table.members), [A.uri])
        self.pair.script("SUBSCRIBE", answer(403))
        fetched = self.watcher.fetch_list(LIST)
        self.pair.run()
        error = self.failureResultOf(fetched, FetchError).value
        self.assertEqual((error.response.status, is_list(error.response)), (403, False))

    def test_is_list(self) -> None:
        """RLS-01: only a 421 that requires eventlist says so."""
        for headers, expected in (
            ((("Require", "eventlist"),), True),
            ((("Require", "timer, EventList"),), True),
            ((("Require", "timer"),), False),
            ((), False),
        ):
            self.pair.script("SUBSCRIBE", answer(421, *headers))
            self.watch()
            self.assertIs(is_list(self.listener.failures[-1]), expected, headers)
        self.assertFalse(is_list(None))
