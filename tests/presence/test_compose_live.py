"""Composition at work in a server: what watchers are told after each change."""

from __future__ import annotations

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
from tests.node import ALICE, BOB, Node
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
