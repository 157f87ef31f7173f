"""Composition at work in a server: what watchers are told after each change."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lxml import etree
from twisted.trial.unittest import SynchronousTestCase

from presence.compose.oma import OmaComposition
from presence.pidf import names
from presence.pidf.offline import empty_document
from presence.pidf.parse import parse_compact
from presence.policy import OperatorWatcherPolicy
from presence.rules.model import Decision
from presence.rules.permissions import EVERYTHING, Permissions
from pysip.event.records import PublicationRecord
from tests.node import ALICE, BOB, Node, pidf
from tests.presence.compose_oracle import Source, composed, text
from tests.presence.compositions import canonical
from tests.presence.documents import BOB as WRITTEN
from tests.presence.test_compose_oma import SOURCES

#: a step: what is done, to which publication, and with what
STEPS = st.lists(
    st.tuples(st.sampled_from("ppmmrexf"), st.integers(0, 3), SOURCES), min_size=1, max_size=8
)
LONG, SHORT = 3600, 120


class Granting(OperatorWatcherPolicy):
    """Allows everybody, with some permissions."""

    def __init__(self, permissions: Permissions) -> None:
        super().__init__("allow")
        self.permissions = permissions

    def decide(self, presentity: str, watcher: Any) -> Decision:
        """The same for all."""
        return Decision("allow", self.permissions)


def oma_node() -> Node:
    """A server that composes as OMA says."""
    node = Node()
    node.presence.package.composition = OmaComposition()
    return node


def written(source: Source) -> bytes:
    """The document of a source, about the server's Bob."""
    return text(source).replace(WRITTEN.encode(), BOB.encode())


class StepTests(SynchronousTestCase):
    """Publications come, change and go."""

    @given(STEPS)
    @settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    def test_every_step(self, steps: list[tuple[str, int, list[Source]]]) -> None:
        """COM-42, COM-43: after each change watchers have what composing from scratch gives."""
        node = oma_node()
        alice, bob = node.peer("192.0.2.20"), node.peer("192.0.2.10")
        alice.subscribe()
        live: dict[int, tuple[str, float, Source]] = {}
        number = 0
        for clock, (step, which, drawn) in enumerate(steps, 1):
            source = drawn[0] if drawn else Source(0, 0, ())
            known = sorted(live)
            at = known[which % len(known)] if known else 0
            seconds = SHORT if step == "e" else LONG
            if step in "pe" or not known:
                number += 1
                at, response = number, bob.publish(written(source), expires=seconds)
                live[at] = (response.first("sip-etag"), node.wall() + seconds, source)
            elif step == "m":
                etag, ends, _ = live[at]
                left = int(ends - node.wall())
                response = bob.publish(written(source), sip_if_match=etag, expires=left)
                live[at] = (response.first("sip-etag"), node.wall() + left, source)
            elif step == "f":
                etag, _, before = live[at]
                response = bob.publish(sip_if_match=etag, expires=LONG)
                live[at] = (response.first("sip-etag"), node.wall() + LONG, before)
            elif step == "r":
                response = bob.publish(sip_if_match=live.pop(at)[0], expires=0)
            else:
                node.advance(SHORT + 1.0, step=1.0)
                live = {at: one for at, one in live.items() if one[1] > node.wall()}
            self.assertEqual(response.status, 200)
            if step in "pme" or not known:
                etag, ends, _ = live[at]
                live[at] = (etag, ends, Source(at, clock, source.parts, source.notes))
            node.advance(1.0)
            scratch = [one for _, _, one in live.values()]
            expected = written(composed(scratch)) if scratch else empty_document(BOB)
            self.assertEqual(canonical(alice.notifies()[-1].body), canonical(expected))


class OrderTests(SynchronousTestCase):
    """What is done first."""

    def seen(self, permissions: Permissions, *inner: str) -> etree._Element:
        """What a watcher sees of several publications."""
        node = oma_node()
        node.presence.package.watchers = Granting(permissions)
        bob, alice = node.peer("192.0.2.10"), node.peer("192.0.2.20")
        for part in inner:
            body = (
                f'<presence xmlns="{names.PIDF}" xmlns:r="{names.RPID}" entity="{BOB}">'
                f"{part}</presence>"
            )
            self.assertEqual(bob.publish(body.encode()).status, 200)
        alice.subscribe(sender=ALICE)
        return parse_compact(alice.notifies()[-1].body)

    def test_composed_before_filtered(self) -> None:
        """DMO-07: classes keep services apart although the watcher does not see classes."""
        tuple_ = '<tuple id="{0}"><status/><r:class>{0}</r:class></tuple>'
        found = self.seen(Permissions(services=EVERYTHING), tuple_.format("a"), tuple_.format("b"))
        self.assertEqual([child.get("id") for child in found], ["b", "a"])
        self.assertEqual(found.findall(f".//{{{names.RPID}}}class"), [])

    def test_ids_of_the_composed_document(self) -> None:
        """DMO-07: an occurrence is chosen by the id that the composed document gives it."""
        first = '<tuple id="t"><status/><r:class>a</r:class></tuple>'
        second = '<tuple id="t"><status/><r:class>b</r:class></tuple>'
        chosen = Permissions(services=frozenset({("occurrence-id", "t-p2")}))
        found = self.seen(chosen, first, second)
        self.assertEqual([child.get("id") for child in found], ["t-p2"])


class LocationTests(SynchronousTestCase):
    """Locations are kept as long as they may be, whoever watches."""

    def setUp(self) -> None:
        """A server, a phone, and a watcher that comes later."""
        self.node = oma_node()
        self.bob = self.node.peer("192.0.2.10")

    def located(self, seconds: float) -> bytes:
        """A document with a location that may be kept so long from now on."""
        expiry = datetime.fromtimestamp(self.node.wall() + seconds, UTC).isoformat()
        place = (
            '<gp:geopriv xmlns:gp="urn:ietf:params:xml:ns:pidf:geopriv10"><gp:location-info/>'
            '<gp:usage-rules xmlns:b="urn:ietf:params:xml:ns:pidf:geopriv10:basicPolicy">'
            f"<b:retention-expiry>{expiry}</b:retention-expiry></gp:usage-rules></gp:geopriv>"
        )
        return pidf().replace(b"<contact>", f"{place}<contact>".encode())

    def stored(self, node: Node) -> list[bytes]:
        """The documents that a server keeps, in memory as in its store."""
        records = node.presence.compositor.publications("presence", BOB)
        rows: list[PublicationRecord] = []
        node.done(node.store.recover(rows.extend, lambda records, digests: None))
        self.assertEqual({row.id: row.body for row in rows}, {one.id: one.body for one in records})
        return [record.body for record in records]

    def test_on_arrival(self) -> None:
        """LOC-03: one that may not be kept any longer when it comes is never kept."""
        self.assertEqual(self.bob.publish(self.located(-1.0)).status, 200)
        (kept,) = self.stored(self.node)
        self.assertNotIn(b"geopriv", kept)
        self.assertIn(b"<basic>open</basic>", kept)

    def test_its_time(self) -> None:
        """LOC-03: at its retention-expiry it leaves the store, and watchers hear of it."""
        body = self.located(60.0)
        tag = self.bob.publish(body, expires=300).first("sip-etag")
        self.bob.publish(pidf(note="other"), expires=300)
        alice = self.node.peer("192.0.2.20")
        alice.subscribe()
        self.node.advance(58.0, step=1.0)
        self.assertEqual(self.stored(self.node)[0], body)
        self.assertIn(b"<gp:geopriv", alice.notifies()[-1].body)
        self.node.advance(4.0)
        self.assertNotIn(b"geopriv", b"".join(self.stored(self.node)))
        self.assertNotIn(b"<gp:geopriv", alice.notifies()[-1].body)
        # it is the same publication, as old as before, and ends when it would have
        response = self.bob.publish(sip_if_match=tag, expires=100)
        self.assertEqual(response.status, 200)
        self.node.advance(101.0, step=1.0)
        self.assertEqual(len(self.stored(self.node)), 1)

    def test_restart(self) -> None:
        """LOC-03: what its time has come for is gone from the store, too, at the latest then."""
        self.bob.publish(self.located(30.0), expires=3600)
        self.bob.publish(self.located(90.0), expires=3600)
        self.node.advance(35.0, step=1.0)
        self.node = self.node.restart()
        first, second = self.stored(self.node)
        self.assertEqual((b"geopriv" in first, b"geopriv" in second), (False, True))
        self.node.advance(60.0, step=1.0)
        self.assertNotIn(b"geopriv", b"".join(self.stored(self.node)))

    def test_while_stopped(self) -> None:
        """LOC-03: what its time has come for while nothing ran is discarded at the start."""
        self.bob.publish(self.located(30.0), expires=3600)
        self.node.presence.stop()
        self.node.done(self.node.store.stop())
        for deferred in self.node.ua.stop():
            self.node.done(deferred)
        self.node.wheel.stop()
        self.node.clock.advance(60.0)
        node = Node(store=self.node.store, network=self.node.network)
        node.advance(1.0)
        self.assertNotIn(b"geopriv", b"".join(self.stored(node)))
        self.assertEqual(len(self.stored(node)), 1)


class NewsTests(SynchronousTestCase):
    """What counts as a change."""

    def test_same_in_other_words(self) -> None:
        """XML-03: a document that says the same in other words is no news to watchers."""
        node = oma_node()
        alice, bob = node.peer("192.0.2.20"), node.peer("192.0.2.10")
        alice.subscribe()
        tag = bob.publish(pidf(note="one")).first("sip-etag")
        node.advance(1.0)
        told = len(alice.notifies())
        for same in (
            pidf(note="one").replace(b"><", b">\n  <"),
            pidf(note="one").replace(b"<contact>", b"<!-- mobile --><contact>"),
            pidf(note="one").replace(b' id="t1"', b" id = 't1' "),
        ):
            response = bob.publish(same, sip_if_match=tag)
            self.assertEqual(response.status, 200)
            tag = response.first("sip-etag")
            node.advance(1.0)
            self.assertEqual(len(alice.notifies()), told)
        self.assertEqual(bob.publish(pidf(note="two"), sip_if_match=tag).status, 200)
        node.advance(1.0)
        self.assertEqual(len(alice.notifies()), told + 1)
