"""Subscriptions to lists against a server in memory (RLS-06, RLS-07, XDM-56)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from presence.rls.listwatch import WatchedList
from presence.rls.subscription import ListSettings
from pysip.message import Request
from pysip.transport.loop import LoopNetwork
from tests.node import Node, Peer
from tests.presence.listnode import ListNode
from tests.presence.listservices import FRIENDS, SERVICES, service, services
from tests.presence.rulesources import ANN, BOB, JOE, DocumentsTestCase

ACCEPT = "application/pidf+xml, application/rlmi+xml, multipart/related"


class PackageTests(DocumentsTestCase):
    """Joe watches a list of two."""

    def setUp(self) -> None:
        """Start the server."""
        super().setUp()
        self.put(SERVICES, services(service((ANN, BOB))))
        self.node: Node = ListNode(
            self.clients,
            self.store_feed,
            ListSettings(window=1.0),
            network=LoopNetwork(self.clock),
        )
        self.peer = self.node.peer()

    def subscribe(self, **fields: Any) -> Request:
        """A SUBSCRIBE of Joe to the list."""
        fields = {"supported": "eventlist", "accept": ACCEPT, "sender": JOE, **fields}
        return self.peer.request("SUBSCRIBE", FRIENDS, call_id="c", **fields)

    def tables(self, peer: Peer) -> tuple[WatchedList, list[tuple[int | None, bool]]]:
        """The table of all NOTIFYs, and version and fullness of each."""
        table = WatchedList()
        found = []
        for notify in peer.notifies():
            taken = table.take(notify.first("content-type") or "", notify.body)
            self.assertTrue(taken.processed and not taken.refresh, notify)
            found.append((table.version, taken.full))
        return table, found

    def test_list_of_a_user(self) -> None:
        """XDM-56: a URI of a user with a parameter may name a list, one without never does."""
        self.assertEqual(self.peer.ask(self.subscribe()).status, 200)
        self.node.advance(3.0)
        table, found = self.tables(self.peer)
        self.assertEqual(found, [(0, True), (1, False)])
        self.assertEqual(list(table.members), [ANN, BOB])
        single = self.peer.ask(self.peer.request("SUBSCRIBE", JOE, sender=JOE))
        self.assertEqual(single.status, 200)
        self.assertNotIn("require", single)

    def test_told_before_the_answer(self) -> None:
        """RLS-06, RLS-07: the NOTIFY after a refresh is full, and comes once."""
        answer = self.peer.ask(self.subscribe())
        self.node.advance(3.0)
        notifier = self.node.presence.notifier
        (live,) = notifier.subscriptions("presence.list", FRIENDS)
        durable: list[Callable[[bool], None]] = []
        patch = self.patch(self.node.store, "when_durable", durable.append)
        self.peer.send(self.subscribe(to_tag=answer.to.tag, expires=600))
        self.node.advance(0.1)
        notifier.touch(live)  # type: ignore[arg-type]
        self.node.advance(0.1)
        patch.restore()
        for done in durable:
            done(True)
        self.node.advance(3.0)
        _, found = self.tables(self.peer)
        self.assertEqual(found, [(0, True), (1, False), (2, True)])
