"""Sources that publish icons at random, restarts, and watchers of each kind, against a model."""

from __future__ import annotations

import random

import attrs
from twisted.trial.unittest import SynchronousTestCase

from presence.compose.union import UnionComposition
from tests.node import Node, Peer
from tests.presence.objects import (
    PIDF,
    TAKES_OBJECTS,
    TAKES_REFERENCES,
    Got,
    Shelf,
    got,
    inline,
    multipart,
    person,
    reference,
)

ACCEPTS = (PIDF, TAKES_OBJECTS, TAKES_REFERENCES)
BODIES = tuple(b"icon%d" % n for n in range(4))
STEPS = 60


@attrs.define
class Source:
    """What one source has published last.

    :ivar body: of its icon, b"" for one that it refers to and does not bring.
    :ivar url: where the icon is, "" for one in the publication.
    :ivar ends: when the reference is over.
    """

    tag: str
    expires: float
    body: bytes = b""
    url: str = ""
    ends: float = 0.0


class ModelTests(SynchronousTestCase):
    """CIN-07 to CIN-09, AGP-117: what is told is what live publications have now."""

    def setUp(self) -> None:
        """Start a node, and a watcher of each kind."""
        self.shelf = Shelf()
        self.node = Node()
        self.use(self.node)
        self.peers: dict[str, Peer] = {}
        self.last: dict[str, Got] = {}
        for n, accept in enumerate(ACCEPTS):
            peer = self.node.peer(f"192.0.2.{20 + n}", protocol="TCP")
            self.peers[accept] = peer
            sender = f"sip:w{n}@example.com"
            self.assertEqual(
                peer.subscribe(sender=sender, accept=accept, expires=86400).status, 200
            )
        self.phone = self.node.peer("192.0.2.10", protocol="TCP")
        self.sources: dict[int, Source] = {}

    def use(self, node: Node) -> None:
        """Go on with a node, perhaps after a restart."""
        self.node = node
        node.presence.package.composition = UnionComposition()
        node.presence.package.objects.use(self.shelf)

    def publish(self, chance: random.Random, number: int) -> None:
        """One of the sources publishes, for the first time or again."""
        source = self.sources.get(number)
        now = self.node.wall()
        lifetime = chance.choice((60, 300, 3000))
        body, url, ends = chance.choice((b"", *BODIES)), "", 0.0
        part = inline(body)
        if body and chance.random() < 0.5:
            url, ends = (
                self.shelf.put(f"{number}-{body.decode()}", body),
                now + chance.choice((30, 500)),
            )
            ends = float(int(ends))
            part = reference(url, ends, size=chance.choice((None, len(body))))
        root = person(id=f"p{number}")
        given = multipart(part, root=root) if body else {"body": root}
        if source is not None:
            given["sip_if_match"] = source.tag
        answer = self.phone.publish(expires=lifetime, **given)
        self.assertEqual(answer.status, 200)
        tag = answer.first("sip-etag") or ""
        # the lifetime begins when the request comes
        self.sources[number] = Source(tag, now + lifetime, body, url, ends)

    def remove(self, number: int) -> None:
        """One of them publishes no more."""
        source = self.sources.pop(number, None)
        if source is not None:
            self.phone.publish(sip_if_match=source.tag, expires=0)

    def restart(self) -> None:
        """The node ends and another takes its place."""
        self.use(self.node.restart())
        for peer in (*self.peers.values(), self.phone):
            peer.node = self.node
        self.node.presence.resume()

    def check(self) -> None:
        """Compare what each watcher was told last with what is live."""
        self.node.advance(1.2)
        now = self.node.wall()
        live = [source for source in self.sources.values() if source.expires > now]
        told = [each for each in live if not each.url or each.ends > now]
        wanted = {(each.body, each.url) for each in told if each.body}
        for accept, peer in self.peers.items():
            for notify in peer.notifies():
                self.last[accept] = got(notify)
            peer.requests.clear()
            found = self.last[accept]
            dangling = any(not each.body for each in live)
            self.assertEqual("icon1@ua" in found.cids, dangling, accept)
            cids = set(found.cids) - {"icon1@ua"}
            self.assertEqual(len(cids), len(wanted), accept)
            self.assertEqual(found.document, self.last[PIDF].document)
            if accept == PIDF:
                self.assertEqual(found.type, PIDF)
                continue
            self.assertEqual(set(found.objects) | set(found.references), cids)
            bodies = sorted(found.objects.values())
            urls = sorted(each.url for each in found.references.values())
            if accept == TAKES_OBJECTS:
                self.assertEqual((bodies, urls), (sorted(body for body, _ in wanted), []))
            else:
                self.assertEqual(bodies, sorted(body for body, url in wanted if not url))
                self.assertEqual(urls, sorted(url for _, url in wanted if url))

    def run_steps(self, seed: int) -> None:
        """Do what a seed says."""
        chance = random.Random(seed)
        self.check()
        for _ in range(STEPS):
            number = chance.randrange(4)
            what = chance.random()
            if what < 0.55:
                self.publish(chance, number)
            elif what < 0.7:
                self.remove(number)
            elif what < 0.95:
                self.node.advance(chance.choice((5, 40, 120)), 1)
            else:
                self.restart()
            now = self.node.wall()
            for key, source in list(self.sources.items()):
                if source.expires <= now + 1.3:
                    # near its end nobody can tell
                    self.node.advance(3, 0.5)
                    del self.sources[key]
            self.check()

    def test_random(self) -> None:
        """CIN-07, CIN-08, CIN-09: watchers of all kinds agree with the model at each step."""
        for seed in range(6):
            if seed:
                self.node.stop()
                self.setUp()
            self.run_steps(seed)
