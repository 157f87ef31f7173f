"""The Watcher (oma-presence.md section 6)."""

from __future__ import annotations

import attrs
from twisted.trial import unittest
from zope.interface import implementer

from presence.interfaces import IWatchListener
from presence.watcher import (
    FetchError,
    PresenceWatch,
    SubscriptionLimitError,
    Watcher,
    WatcherTerms,
)
from pysip.event.subscriber import NotifyRouter
from pysip.message import Request, Response
from tests.pysip.scripted import Pair, accept, answer

BOB = "sip:bob@example.com"
DOCUMENT = b'<presence xmlns="urn:ietf:params:xml:ns:pidf" entity="sip:bob@example.com"/>'


@implementer(IWatchListener)
class Listener:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.changes: list[tuple[str, str, bytes | None]] = []
        self.failures: list[tuple[str, int | None, float | None]] = []
        self.ends: list[tuple[str, str, float | None]] = []

    def changed(self, watch: PresenceWatch) -> None:
        """A NOTIFY."""
        self.changes.append((watch.uri, watch.state, watch.document))

    def failed(
        self, watch: PresenceWatch, response: Response | None, retry_after: float | None
    ) -> None:
        """A failure."""
        self.failures.append((watch.uri, response.status if response else None, retry_after))

    def ended(self, watch: PresenceWatch, reason: str, retry_after: float | None) -> None:
        """An end."""
        self.ends.append((watch.uri, reason, retry_after))


class WatcherTests(unittest.SynchronousTestCase):
    """A watcher and a scripted server."""

    def setUp(self) -> None:
        """A watcher that watches nobody yet."""
        self.pair = Pair()
        self.pair.script("SUBSCRIBE", accept)
        self.listener = Listener()
        self.router = NotifyRouter(self.pair.client)
        self.terms = WatcherTerms(
            local_uri="<sip:alice@example.com>", contact=lambda: self.pair.contact
        )
        self.watcher = Watcher(self.router, self.terms)

    def limit(self, limit: int) -> None:
        """Watch on with another limit."""
        self.watcher = Watcher(self.router, attrs.evolve(self.terms, limit=limit))

    @property
    def last(self) -> Request:
        """The last SUBSCRIBE."""
        return self.pair.received[-1]

    def watch(self, uri: str = BOB) -> PresenceWatch:
        """Watch somebody, with a first NOTIFY."""
        watch = self.watcher.watch(uri, self.listener)
        self.pair.run()
        self.pair.notify(self.last, body=DOCUMENT)
        self.pair.run()
        return watch

    def test_subscribe(self) -> None:
        """A presence subscription that accepts PIDF (WAT-01, SBR-01)."""
        watch = self.watch()
        self.assertEqual(self.last.uri, BOB)
        self.assertEqual(self.last.first("event"), "presence")
        self.assertEqual(self.last.first("accept"), "application/pidf+xml")
        self.assertEqual(self.last.first("expires"), "3600")
        self.assertEqual(self.listener.changes, [(BOB, "active", DOCUMENT)])
        self.assertEqual(watch.content_type, "application/pidf+xml")

    def test_notify_without_body(self) -> None:
        """It leaves the earlier document in force (PRE-07)."""
        watch = self.watch()
        self.pair.notify(self.last, "pending;expires=3000")
        self.pair.run()
        self.assertEqual(watch.document, DOCUMENT)
        self.assertEqual(self.listener.changes[-1], (BOB, "pending", DOCUMENT))

    def test_newest_document(self) -> None:
        """The highest CSeq of the dialog is current; an older one never replaces it (PRE-07)."""
        watch = self.watch()
        newer = DOCUMENT.replace(b"/>", b"><!-- 2 --></presence>")
        self.pair.notify(self.last, cseq=20, body=newer)
        self.pair.notify(self.last, cseq=19, body=DOCUMENT)
        self.pair.run()
        self.assertEqual(watch.document, newer)

    def test_malformed_document(self) -> None:
        """It is answered 200, the old one kept, the full state asked for, once (SBR-06)."""
        watch = self.watch()
        for _ in range(3):
            answers = self.pair.notify(self.last, body=b"<presence")
            self.pair.run()
            self.assertEqual([r.status for r in answers], [200])
        self.assertEqual(watch.document, DOCUMENT)
        self.assertEqual(len(self.pair.received), 2)
        self.assertEqual(self.last.to.tag, "server")
        self.assertEqual(self.last.first("expires"), "3600")

    def test_stop(self) -> None:
        """Stopping unsubscribes and ends the watch for good."""
        watch = self.watch()
        done = watch.stop()
        self.pair.run()
        self.assertEqual(self.last.first("expires"), "0")
        self.pair.notify(self.last, "terminated;reason=timeout")
        self.pair.run()
        self.successResultOf(done)
        self.assertEqual((watch.state, watch.reason, watch.ended), ("terminated", "timeout", True))
        self.assertEqual(self.watcher.watches, {})

    def test_rejected(self) -> None:
        """A rejected watch is over; its place is free (SBR-07, WAT-03)."""
        watch = self.watch()
        self.pair.notify(self.last, "terminated;reason=rejected")
        self.pair.run()
        self.assertTrue(watch.ended)
        self.assertEqual(self.listener.ends, [(BOB, "rejected", None)])
        self.assertEqual(self.watcher.watches, {})

    def test_ended_for_now(self) -> None:
        """A deactivated watch goes on with a new subscription and keeps its document."""
        watch = self.watch()
        self.pair.notify(self.last, "terminated;reason=deactivated")
        self.pair.run(0.1)
        self.assertFalse(watch.ended)
        self.assertEqual(watch.document, DOCUMENT)
        self.assertEqual(len(self.pair.received), 2)
        self.pair.notify(self.last)
        self.pair.run()
        self.assertEqual((watch.state, watch.reason), ("active", ""))

    def test_refused(self) -> None:
        """A refusal is told, with whether it will be tried again."""
        self.pair.script("SUBSCRIBE", answer(403))
        watch = self.watcher.watch(BOB, self.listener)
        self.pair.run()
        self.assertEqual(self.listener.failures, [(BOB, 403, None)])
        self.assertTrue(watch.ended)
        self.pair.script("SUBSCRIBE", answer(500))
        watch = self.watcher.watch(BOB, self.listener)
        self.pair.run()
        self.assertEqual(self.listener.failures[-1][:2], (BOB, 500))
        self.assertFalse(watch.ended)
        self.successResultOf(watch.stop())
        self.assertEqual(self.watcher.watches, {})

    def test_limit(self) -> None:
        """No more than MAX-NUMBER-OF-PRESENCE-SUBSCRIPTIONS at once (WAT-03)."""
        self.limit(2)
        first = self.watch("sip:a@example.com")
        self.watch("sip:b@example.com")
        with self.assertRaises(SubscriptionLimitError):
            self.watcher.watch("sip:c@example.com", self.listener)
        with self.assertRaises(SubscriptionLimitError):
            self.watcher.fetch("sip:c@example.com")
        self.assertEqual(len(self.pair.received), 2)
        first.stop()
        self.pair.run(33)
        self.watch("sip:c@example.com")
        self.assertEqual(self.last.uri, "sip:c@example.com")

    def test_fetch(self) -> None:
        """A fetch gives the one document and leaves nothing behind (SUB-09, WAT-01)."""
        fetched = self.watcher.fetch(BOB)
        self.pair.run()
        self.assertEqual(self.last.first("expires"), "0")
        self.assertNoResult(fetched)
        self.pair.notify(self.last, "terminated;reason=timeout", body=DOCUMENT)
        self.pair.run()
        watch = self.successResultOf(fetched)
        self.assertEqual(watch.document, DOCUMENT)
        self.assertEqual(self.watcher.watches, {})

    def test_failed_fetch(self) -> None:
        """A refused fetch tells the response, an unanswered one None."""
        self.pair.script("SUBSCRIBE", answer(403))
        fetched = self.watcher.fetch(BOB)
        self.pair.run()
        error = self.failureResultOf(fetched, FetchError).value
        self.assertEqual(error.response.status, 403)
        self.pair.script("SUBSCRIBE", accept)
        fetched = self.watcher.fetch(BOB)
        self.pair.run(33)
        error = self.failureResultOf(fetched, FetchError).value
        self.assertIsNone(error.response)

    def test_refresh_all(self) -> None:
        """After a change of our address all subscriptions tell the new Contact (DLG-08)."""
        self.watch("sip:a@example.com")
        self.watch("sip:b@example.com")
        contact = "<sip:alice@127.0.0.1:5060;x=1>"
        self.patch(Pair, "contact", contact)
        self.watcher.refresh()
        self.pair.run()
        self.assertEqual(len(self.pair.received), 4)
        self.assertEqual([r.first("contact") for r in self.pair.received[2:]], [contact] * 2)
