"""The xcap-diff package on a real notifier, over a network in memory."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.xcap.notifying import INDEX, DocumentNode, lists, subscriber


class FirstTests(SynchronousTestCase):
    """First."""

    def test_first(self) -> None:
        """First."""
        node = DocumentNode()
        tag = node.put(INDEX, lists("a"))
        peer = subscriber(node)
        self.assertEqual(peer.uris(INDEX).status, 200)
        node.advance(1)
        self.assertEqual(peer.tags(), [[(INDEX, "", tag)]])
        new = node.put(INDEX, lists("a", "b"))
        self.assertEqual(peer.tags()[1:], [[(INDEX, tag, new)]])
