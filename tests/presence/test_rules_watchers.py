"""What watchers meet with by rule documents, at a whole node (xdm.md section 8, RFC 5025)."""

from __future__ import annotations

import ipaddress
import itertools
import re
from typing import Any
from unittest import mock

from lxml import etree
from twisted.trial.unittest import SynchronousTestCase

from presence.compose.oma import OmaComposition
from presence.interfaces import ICompositionPolicy
from presence.pidf import names
from presence.policy import OperatorWatcherPolicy
from presence.rules.decide import decide
from presence.rules.document import read_rules
from presence.rules.model import Context, Decision, Flavour, Handling, Watcher
from presence.rules.polite import polite_document
from presence.rules.transform import Transformation
from pysip.auth.domains import Domains
from pysip.auth.trust import IdentityPolicy, TrustPolicy
from pysip.event.table import NotifierPolicy
from pysip.header import parse_subscription_state
from pysip.interfaces import Identity
from pysip.message import Request, Response
from tests.node import ALICE, BOB, DOMAIN, Node, Peer, pidf
from tests.presence.random_rules import HEAD

COMPONENTS = (
    "<pr:provide-services><pr:all-services/></pr:provide-services>"
    "<pr:provide-persons><pr:all-persons/></pr:provide-persons>"
    "<pr:provide-devices><pr:all-devices/></pr:provide-devices>"
)
EVERYTHING = f"{COMPONENTS}<pr:provide-all-attributes/>"
HANDLINGS: tuple[Handling, ...] = ("block", "confirm", "polite-block", "allow")


def identity(*uris: str) -> str:
    """The condition that the watcher is one of these."""
    ones = "".join(f'<cp:one id="{uri}"/>' for uri in uris)
    return f"<cp:identity>{ones}</cp:identity>"


def rule(conditions: str, handling: str, shown: str = "", name: str = "a") -> str:
    """A rule."""
    shown = shown or (EVERYTHING if handling == "allow" else "")
    return (
        f'<cp:rule id="{name}"><cp:conditions>{conditions}</cp:conditions>'
        f"<cp:actions><pr:sub-handling>{handling}</pr:sub-handling></cp:actions>"
        f"<cp:transformations>{shown}</cp:transformations></cp:rule>"
    )


class DocumentPolicy(OperatorWatcherPolicy):
    """Decides by one rule document for every presentity."""

    def __init__(self, flavour: Flavour, *rules: str) -> None:
        super().__init__()
        self.rules = read_rules(f"{HEAD}{''.join(rules)}</cp:ruleset>".encode(), flavour)

    def decide(self, presentity: str, watcher: Identity) -> Decision:
        """As the rules say."""
        who = Watcher(watcher.uris, watcher.anonymous)
        return decide(self.rules, frozenset((presentity,)), who, Context(0.0))


def state(notify: Request) -> tuple[str, str | None]:
    """State and reason of a NOTIFY."""
    found, parameters = parse_subscription_state(notify.first("subscription-state") or "")
    return found, parameters.get("reason")


class RulesNode(Node):
    """A node whose watcher policy is a rule document."""

    def rule(self, *rules: str, flavour: Flavour = "oma") -> None:
        """Change the rules, and let them take effect."""
        self.presence.package.watchers = DocumentPolicy(flavour, *rules)
        self.presence.reauthorize()
        self.advance(0.2)


class IdentityTests(SynchronousTestCase):
    """Who a watcher is for the rules."""

    def decided(self, flavour: Flavour, *rules: str, **fields: str | None) -> int:
        """The status of a SUBSCRIBE from an IMS core, with header fields."""
        trust = TrustPolicy([(ipaddress.ip_network("192.0.2.20"), None)])
        node = RulesNode(identities=IdentityPolicy(trust, Domains([DOMAIN]), mode="trust"))
        node.rule(*rules, flavour=flavour)
        return node.peer("192.0.2.20").subscribe(expires=0, **fields).status

    def test_asserted(self) -> None:
        """XDM-112, XDM-113, PSV-13: every asserted URI counts, and nothing else of a request."""
        asserted = f"<{ALICE}>, <tel:+15550100>"
        for uri, status in (
            (ALICE, 200),
            ("tel:+1-555-0100", 200),
            ("sip:+15550100@example.com", 403),  # an alias at most
            ("sip:from@example.com", 403),
        ):
            found = self.decided(
                "oma",
                rule(identity(uri), "allow"),
                sender="sip:from@example.com",
                p_asserted_identity=asserted,
            )
            self.assertEqual(found, status, uri)

    def test_anonymous(self) -> None:
        """XDM-112, XDM-118, XDM-119: whose requests are anonymous, to which rules."""
        named = rule(identity(ALICE), "allow", name="n")
        hidden = rule("<ocp:anonymous-request/>", "confirm", name="h")
        other = rule("<ocp:other-identity/>", "block", name="o")
        known: dict[str, str | None] = {"p_asserted_identity": f"<{ALICE}>"}
        nobody: dict[str, str | None] = {
            "sender": "sip:anonymous@anonymous.invalid",
            "p_asserted_identity": None,
        }
        for fields, oma, ietf in (
            (known, 200, 200),
            ({**known, "privacy": "none"}, 200, 200),
            ({**known, "privacy": "id"}, 202, 200),
            ({**known, "privacy": "user"}, 202, 200),
            ({**known, "privacy": "header"}, 202, 200),
            (nobody, 202, 202),
            ({**known, "sender": "sip:anonymous@anonymous.invalid"}, 200, 200),
        ):
            self.assertEqual(self.decided("oma", named, hidden, other, **fields), oma, fields)
            self.assertEqual(self.decided("ietf", named, hidden, other, **fields), ietf, fields)

    def test_unauthenticated(self) -> None:
        """XDM-111, XDM-114: without identity no ``identity`` matches, and its absence does."""
        nobody = {"sender": "sip:anonymous@anonymous.invalid"}
        anybody = rule("<cp:identity><cp:many/></cp:identity>", "allow")
        for flavour in ("oma", "ietf"):
            self.assertEqual(self.decided(flavour, anybody, **nobody), 403)  # type: ignore[arg-type]
            self.assertEqual(self.decided(flavour, rule("", "allow"), **nobody), 200)  # type: ignore[arg-type]


class HandlingTests(SynchronousTestCase):
    """What becomes of subscriptions."""

    def setUp(self) -> None:
        """Bob has published."""
        self.node = RulesNode()
        self.bob = self.node.peer("192.0.2.10")
        self.alice = self.node.peer("192.0.2.20")
        self.etag = self.bob.publish(pidf(note="secret")).first("sip-etag")

    def decided(self, handling: str) -> None:
        """Bob's rules for Alice."""
        self.node.rule(rule(identity(ALICE), handling))

    def told(self) -> list[tuple[tuple[str, str | None], str]]:
        """State and sort of document of the NOTIFYs since the last call."""
        found = []
        for notify in self.alice.notifies():
            sort = "nothing" if not notify.body else "other"
            if notify.body == polite_document(BOB, closed=False):
                sort = "polite"
            elif b"secret" in notify.body:
                sort = "real"
            found.append((state(notify), sort))
        self.alice.requests.clear()
        return found

    def test_each(self) -> None:
        """XDM-136, RUL-03, PBK-01: answer and first NOTIFY by sub-handling, fetches alike."""
        expected: dict[str, tuple[int, str, str]] = {
            "block": (403, "", ""),
            "confirm": (202, "pending", "nothing"),
            "polite-block": (200, "active", "polite"),
            "allow": (200, "active", "real"),
        }
        for handling, (status, shown, sort) in expected.items():
            self.decided(handling)
            made = self.alice.subscribe(call_id=handling)
            self.assertEqual(made.status, status)
            self.assertEqual(self.told(), [((shown, None), sort)] if shown else [], handling)
            self.assertEqual(self.alice.subscribe(call_id=f"f{handling}", expires=0).status, status)
            ended = [(("terminated", "timeout"), sort)] if shown else []
            self.assertEqual(self.told(), ended, handling)
            if shown:
                self.end(made)

    def test_changes(self) -> None:
        """XDM-137, PBK-09, NOT-07: each decision after each other one, and what is told of it."""
        shown: dict[str, list[Any]] = {
            "block": [(("terminated", "rejected"), "nothing")],
            "confirm": [(("pending", None), "nothing")],
            "polite-block": [(("active", None), "polite")],
            "allow": [(("active", None), "real")],
        }
        for before, after in itertools.product(HANDLINGS[1:], HANDLINGS):
            self.decided(before)
            made = self.alice.subscribe(call_id=f"{before}-{after}")
            self.told()
            self.decided(after)
            expected = shown[after] if after != before else []
            self.assertEqual(self.told(), expected, (before, after))
            live = self.node.presence.notifier.subscriptions("presence", BOB)
            self.assertEqual(len(live), 0 if after == "block" else 1)
            if after != "block":
                self.end(made)

    def end(self, made: Response) -> None:
        """Alice unsubscribes."""
        uri = made.contacts[0].uri
        fields = {"to": BOB, "to_tag": made.to.tag, "call_id": made.call_id}
        self.alice.subscribe(uri, expires=0, **fields)
        self.told()

    def test_permissions(self) -> None:
        """XDM-137, RUL-04: other transformations are another document, the same ones none."""
        self.decided("allow")
        self.alice.subscribe(call_id="c1")
        self.told()
        self.node.rule(rule(identity(ALICE), "allow", COMPONENTS))
        self.assertEqual(self.told(), [(("active", None), "other")])
        self.node.rule(rule(identity(ALICE, "sip:carol@example.com"), "allow", COMPONENTS, "b"))
        self.assertEqual(self.told(), [])

    def test_nothing_while_hidden(self) -> None:
        """PBK-03, XDM-136: neither politely blocked nor pending watchers hear of changes."""
        for handling in ("polite-block", "confirm"):
            self.decided(handling)
            made = self.alice.subscribe(call_id=handling)
            self.assertEqual(len(self.told()), 1)
            for note in ("secret 1", "secret 2", "secret 3"):
                answer = self.bob.publish(pidf(note=note), sip_if_match=self.etag)
                self.etag = answer.first("sip-etag")
                self.node.advance(6)
            self.bob.publish(expires=0, sip_if_match=self.etag)
            self.etag = self.bob.publish(pidf(note="secret")).first("sip-etag")
            self.node.advance(6)
            self.assertEqual(self.told(), [], handling)
            self.end(made)


class ViewTests(SynchronousTestCase):
    """What is made of publications."""

    def person(self, id: str, inner: str) -> bytes:
        """A document of Bob with one person."""
        return (
            f'<presence xmlns="{names.PIDF}" xmlns:dm="{names.DM}" xmlns:r="{names.RPID}"'
            f' entity="{BOB}"><dm:person id="{id}">{inner}</dm:person></presence>'
        ).encode()

    def test_after_composition(self) -> None:
        """XDM-147, RUL-25: the composed document is transformed, not what it is made of.

        Of two sources that tell of one person, rules choose the person by the id it has in the
        composed document, and it has what both say.
        """
        node = RulesNode()
        node.presence.package.composition = OmaComposition()
        shown = (
            "<pr:provide-persons><pr:occurrence-id>one</pr:occurrence-id></pr:provide-persons>"
            "<pr:provide-activities>true</pr:provide-activities><pr:provide-mood>1</pr:provide-mood>"
        )
        node.rule(rule(identity(ALICE), "allow", shown))
        bob = node.peer("192.0.2.10")
        bob.publish(self.person("one", "<r:activities><r:away/></r:activities>"))
        node.advance(1)
        bob.publish(self.person("two", "<r:mood><r:happy/></r:mood>"))
        alice = node.peer("192.0.2.20")
        self.assertEqual(alice.subscribe().status, 200)
        root = etree.fromstring(alice.notifies()[-1].body)
        (person,) = root
        self.assertEqual(person.get("id"), "one")
        self.assertEqual({child.tag for child in person}, {names.ACTIVITIES, names.MOOD})

    def test_three_classes(self) -> None:
        """RUL-26: a thousand watchers by three rules cost one composition, three views."""
        node = RulesNode(policy=NotifierPolicy(per_resource=2000))
        uris = [[f"sip:w{n}@example.com" for n in range(first, 1000, 3)] for first in range(3)]
        node.rule(
            rule(identity(*uris[0]), "allow", COMPONENTS, "a"),
            rule(identity(*uris[1]), "allow", f"{COMPONENTS}<pr:provide-note>1</pr:provide-note>"),
            rule(identity(*uris[2]), "allow", "<pr:provide-mood>true</pr:provide-mood>", "c"),
        )
        bob = node.peer("192.0.2.10")
        etag = bob.publish(pidf(note="hello")).first("sip-etag")
        alice = node.peer("192.0.2.20", protocol="TCP")
        for number in range(1000):
            sender = f"sip:w{number}@example.com"
            alice.send(alice.request("SUBSCRIBE", sender=sender, call_id=f"c{number}"))
            node.advance(0.01, 0.01)
        node.advance(1)
        alice.requests.clear()
        composed = _Counted(node.presence.package.composition)
        node.presence.package.composition = composed
        apply = Transformation.apply
        with mock.patch.object(Transformation, "apply", autospec=True, side_effect=apply) as made:
            bob.publish(pidf(basic="closed", note="again"), sip_if_match=etag)
            node.advance(3)
        self.assertEqual((composed.calls, made.call_count), (1, 3))
        notifies = alice.notifies()
        # who sees neither services nor persons is told nothing new
        self.assertEqual(len(notifies), 667)
        bodies = {(int(notify.call_id[1:]) % 3, notify.body) for notify in notifies}
        self.assertEqual(sorted(number for number, _ in bodies), [0, 1])
        self.assertEqual([b"again" in body for _, body in sorted(bodies)], [False, True])


class _Counted:
    """A composition policy.

    :ivar calls: how often it was asked.
    """

    def __init__(self, policy: ICompositionPolicy) -> None:
        self._policy = policy
        self.calls = 0

    def compose(self, *arguments: Any, **named: Any) -> Any:
        """As the policy, counted."""
        self.calls += 1
        return self._policy.compose(*arguments, **named)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._policy, name)


_TOKEN = re.compile(r"(?<=;tag=)\w+|(?<=;branch=)\w+|(?<=<sip:)[0-9a-f]{16}(?=@)")
"""What is random in a message: tags, branches, and the user of a Contact of ours."""


def shape(message: Request | Response) -> tuple[Any, ...]:
    """All of a message; of random tokens only the length."""
    start = message.method if isinstance(message, Request) else message.status
    fields = [
        (name, _TOKEN.sub(lambda token: "x" * len(token[0]), value))
        for name, values in message.headers.items()
        for value in values
    ]
    return start, tuple(fields), message.body


class _Course:
    """One course of a watcher's life, as it looks from outside and to the store.

    :param handling: of the watcher.
    :param published: whether the presentity publishes all the time.

    :ivar seen: when which message came to the watcher.
    :ivar stored: when subscriptions were written, and commits waited for by its requests.
    """

    def __init__(self, handling: str, published: bool, closed: bool) -> None:
        self.node = RulesNode(interval=5.0, policy=NotifierPolicy(min_expires=1))
        self.published = published
        self.etag: str | None = None
        self.seen: list[tuple[float, tuple[Any, ...]]] = []
        self.stored: list[tuple[float, str]] = []
        self.handling = handling
        self.closed = closed
        self.number = 0
        self.tap()

    def tap(self) -> None:
        """Look into a new node."""
        self.node.presence.package.closed_when_offline = self.closed
        self.rules("")
        store = self.node.store
        for name in ("put_subscription", "remove_subscription", "note_delivered"):
            self._count(store, name)
        self.bob = self.node.peer("192.0.2.10", 5060 + self.number)
        self.alice = self.node.peer("192.0.2.20", 5060 + self.number)
        self.number += 1
        for name in ("request_received", "response_received"):
            self._look(self.alice, name)

    def _count(self, store: Any, name: str) -> None:
        real = getattr(type(store), name)

        def counted(*arguments: Any) -> Any:
            self.stored.append((self.node.clock.seconds(), name))
            return real(store, *arguments)

        setattr(store, name, counted)

    def _look(self, peer: Peer, name: str) -> None:
        real = getattr(peer, name)

        def looked(message: Request | Response, flow: Any) -> None:
            self.seen.append((self.node.clock.seconds(), shape(message)))
            real(message, flow)

        setattr(peer, name, looked)

    def rules(self, other: str) -> None:
        """The rules for Alice, and something about somebody else."""
        also = rule(identity(f"sip:{other or 'x'}@example.com"), "allow", name="b")
        self.node.rule(rule(identity(ALICE), self.handling), also)

    def publish(self) -> None:
        """The presentity is active, in one of the two courses."""
        if self.published:
            fields = {"sip_if_match": self.etag} if self.etag else {}
            note = f"{self.node.clock.seconds()}"
            answer = self.bob.publish(pidf(note=note), **fields)
            assert answer.status == 200
            self.etag = answer.first("sip-etag")
        else:
            self.node.advance(0.1)

    def again(self, made: Response, cseq: int, **fields: Any) -> None:
        """A request in the dialog."""
        uri = made.contacts[0].uri
        kept = {"to": BOB, "to_tag": made.to.tag, "call_id": made.call_id, "cseq": cseq}
        self.alice.subscribe(uri, **kept, **fields)

    def run(self) -> None:
        """Subscribe, refresh, fetch, lose a NOTIFY, unsubscribe; restart; expire."""
        self.publish()
        made = self.alice.subscribe(call_id="c1", cseq=1, expires=600)
        for _ in range(3):
            self.publish()
            self.node.advance(2)
        self.again(made, 2, expires=700)
        self.publish()
        self.rules("carol")
        self.node.advance(10)
        self.alice.subscribe(call_id="c2", cseq=1, expires=0)
        self.publish()
        self.alice.answer = 0
        self.again(made, 3)
        for _ in range(3):
            self.publish()
            self.node.advance(1)
        self.alice.answer = 200
        self.node.advance(40)
        self.publish()
        self.again(made, 4, expires=0)
        self.publish()
        made = self.alice.subscribe(call_id="c3", cseq=1)
        self.node.advance(3)
        kept = self.node
        kept.presence.stop()
        kept.done(kept.store.stop())
        for deferred in kept.ua.stop():
            kept.done(deferred)
        kept.wheel.stop()
        self.node = RulesNode(store=kept.store, network=kept.network, interval=5.0)
        self.tap()
        self.publish()
        self.node.presence.resume()
        self.node.advance(10)
        self.again(made, 2, contact=f"<sip:peer@192.0.2.20:{5060 + self.number - 1}>", expires=60)
        self.publish()
        self.node.advance(100)


class IndistinguishableTests(SynchronousTestCase):
    """Politely blocked, or somebody offline."""

    def test_same_course(self) -> None:
        """PBK-01 to PBK-04, PBK-07: message by message the same, at the same times.

        What the store is asked to do for the watcher is the same at the same times, too: the
        answer and the NOTIFY wait for the same commits.
        """
        for closed in (False, True):
            polite = _Course("polite-block", True, closed)
            offline = _Course("allow", False, closed)
            polite.run()
            offline.run()
            self.assertEqual(len(polite.seen), len(offline.seen))
            for one, other in zip(polite.seen, offline.seen, strict=True):
                self.assertEqual(one, other)
            self.assertEqual(polite.stored, offline.stored)
            starts = [message[0] for _, message in polite.seen]
            self.assertEqual(starts.count("NOTIFY"), 11, "8, and one three times again")
