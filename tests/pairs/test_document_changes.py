"""Subscribers of document changes, over a network that loses, doubles and delays."""

from __future__ import annotations

import random

import attrs
from lxml import etree
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from pysip.event.interfaces import ISubscriberDelegate
from pysip.event.subscriber import NotifyRouter, Subscriber
from pysip.event.terms import SubscriptionTerms
from pysip.message import Request, Response
from tests.audit import NotifyAudit
from tests.pairs.test_lossy import client, route
from tests.xcap.notifying import JOE, NAMESPACE, PSI, DocumentNode, document, key
from xcap.changedoc import AttributeState, DocumentChange, ElementState, read
from xcap.notifier import DIFF, LISTS
from xcap.patch import apply
from xcap.records import Draft

PATHS = [f"tests/users/{JOE}/{name}" for name in ("a", "b", "deep/c")]
PART = f"tests/users/{JOE}/a/~~/a/b%5b1%5d"


@attrs.frozen(slots=True, kw_only=True)
class DiffTerms(SubscriptionTerms):
    """With a mode.

    :ivar mode: ``diff-processing``.
    """

    mode: str

    @property
    def event(self) -> str:
        """Value of the Event header."""
        return f"{self.package};diff-processing={self.mode}"


@implementer(ISubscriberDelegate)
class Copies:
    """What a subscriber has: documents, patched or fetched, and a part of one.

    :ivar broken: entity-tags that did not go on from what was told before.
    """

    def __init__(self, node: DocumentNode) -> None:
        self.node = node
        self.documents: dict[str, tuple[str, bytes]] = {}
        self.told: dict[str, str] = {}
        self.part: bytes | None = None
        self.patched = 0
        self.fetched = 0
        self.broken: list[str] = []
        self.ends: list[str] = []

    def notified(self, request: Request, state: str, content_type: str, body: bytes) -> None:
        """A NOTIFY."""
        for item in read(body).items if body else ():
            if isinstance(item, ElementState):
                self.part = item.content if item.exists else None
            elif isinstance(item, DocumentChange):
                self._changed(item)
            else:
                assert not isinstance(item, AttributeState)

    def _changed(self, item: DocumentChange) -> None:
        known = self.told.get(item.sel, "")
        if item.before and item.before != known:
            self.broken.append(f"{item.before} after {known}")
        self.told[item.sel] = item.after
        tag, octets = self.documents.get(item.sel, ("", b""))
        if not item.after:
            self.documents.pop(item.sel, None)
        elif item.patch and tag == item.before:
            operations = etree.fromstring(b"<p>%s</p>" % item.patch)
            self.documents[item.sel] = item.after, apply(octets, operations)
            self.patched += 1
        elif tag != item.after:
            self._fetch(item.sel)

    def _fetch(self, path: str) -> None:
        """As by GET: the document may be newer than what was told of it, or gone."""
        self.fetched += 1
        self.node.documents.fetch(key(path)).addCallback(
            lambda found: (
                self.documents.update({path: (found.etag, found.octets)})
                if found is not None
                else self.documents.pop(path, None)
            )
        )

    def subscription_failed(self, response: Response | None, retry_after: float | None) -> None:
        """That must not happen."""
        self.ends.append("failed")

    def subscription_ended(self, reason: str, retry_after: float | None) -> None:
        """Nor that, while it is wanted."""
        self.ends.append(reason)


class ChangesTests(SynchronousTestCase):
    """In the end the subscriber has what the store has (XEVT-14, XDIFF-05)."""

    def play(self, seed: int, mode: str, interval: float = 5.0, restarts: int = 0) -> Copies:
        """Change documents while messages are lost; compare the copies at the end."""
        rng = random.Random(seed)
        node = DocumentNode(interval=interval, seed=seed)
        audit = NotifyAudit(node)
        network = node.network
        network.loss, network.duplicate, network.reorder = 0.1, 0.05, 0.1
        network.delay = (0.005, 0.08)
        copies = Copies(node)
        uris = "".join(f'<entry uri="{uri}"/>' for uri in (f"tests/users/{JOE}/", PART))
        body = f'<resource-lists xmlns="{NAMESPACE}"><list>{uris}</list></resource-lists>'
        terms = DiffTerms(
            uri=PSI,
            local_uri=f"<{JOE}>",
            package="xcap-diff",
            contact=lambda: "<sip:joe@198.51.100.1:5060>",
            accept=(DIFF,),
            expires=300,
            route=route("UDP"),
            content_type=LISTS,
            body=body.encode(),
            mode=mode,
        )
        subscriber = Subscriber(NotifyRouter(client(node, "198.51.100.1", seed)), terms, copies)
        subscriber.subscribe()
        for number in range(120):
            self.change(node, rng, number)
            node.advance(rng.choice([0.0, 0.0, 0.3, 2.0, 8.0]))
            if restarts and number % 40 == 20:
                node.advance(0.1)
                node = node.restart()
                copies.node = node
                audit.attach(node)
        node.advance(120, step=0.5)
        expected = {}
        for path in PATHS:
            found = document(node, path)
            if found is not None:
                expected[path] = (
                    found.etag,
                    etree.canonicalize(found.octets.decode(), with_comments=True),
                )
        self.assertEqual(
            {
                path: (tag, etree.canonicalize(octets.decode(), with_comments=True))
                for path, (tag, octets) in copies.documents.items()
            },
            expected,
        )
        source = document(node, PATHS[0])
        parts = etree.fromstring(source.octets).findall("b") if source is not None else []
        self.assertEqual(copies.part, etree.tostring(parts[0]) if parts else None)
        self.assertEqual((copies.ends, audit.errors), ([], []))
        self.assertEqual((len(node.notifier), len(node.feed)), (1, 1))
        self.assertGreater(node.ua.layer.retransmissions_sent, 0)
        return copies

    def change(self, node: DocumentNode, rng: random.Random, number: int) -> None:
        """Store or remove a document."""
        path, place = rng.choice(PATHS), rng.randrange(10)
        known = document(node, path)
        before = known.etag if known is not None else ""
        members = (f"<b c='{number if n == place else n}'/>" for n in range(30))
        octets: bytes | None = f"<a>{''.join(members)}</a>".encode()
        if known is not None and rng.random() < 0.1:
            octets = None
        node.done(node.documents.commit(Draft(key(path), before, octets, JOE)))

    def test_patches(self) -> None:
        """Every change with its patch: each goes on from the one before (XEVT-11)."""
        for seed in range(3):
            copies = self.play(seed, "xcap-patching")
            self.assertEqual(copies.broken, [])
            self.assertGreater(copies.patched, 30)
            self.assertGreater(copies.patched, copies.fetched)

    def test_aggregate(self) -> None:
        """Several changes in one patch."""
        copies = self.play(10, "aggregate")
        self.assertEqual(copies.broken, [])
        self.assertGreater(copies.patched, 10)

    def test_tags(self) -> None:
        """Tags alone, without a rate gate."""
        copies = self.play(20, "no-patching", interval=0.0)
        self.assertEqual((copies.broken, copies.patched), ([], 0))

    def test_restarts(self) -> None:
        """With restarts of the document server in between."""
        for seed in (30, 31):
            copies = self.play(seed, "aggregate", restarts=3)
            self.assertGreater(copies.patched, 10)
