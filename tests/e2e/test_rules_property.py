"""Random rules, lists and publications: what every NOTIFY of the real server may show."""

from __future__ import annotations

import random
import re
import time
from datetime import UTC, datetime
from typing import Any

import attrs
from lxml import etree
from twisted.trial.unittest import SynchronousTestCase

from tests.e2e.deployments import AllInOne
from tests.e2e.phone import Phone, Watch, aor
from tests.e2e.wire import Message
from tests.e2e.xdm import index
from tests.presence import rules_oracle, view_oracle
from tests.presence.publications import Publications
from tests.presence.random_rules import HEAD, Choices, RandomRules

ALICE = aor("alice")
OMA = f"/org.openmobilealliance.pres-rules/users/{ALICE}/pres-rules"
IETF = (index("alice", "pres-rules"), f"/pres-rules/users/{ALICE}/more")
LISTS = index("alice")
PROBE = "".join(f'<q:n{n} xmlns:q="urn:example:probe"/>' for n in range(2))
NOTHING = b'<presence xmlns="urn:ietf:params:xml:ns:pidf" entity="%b"></presence>' % ALICE.encode()
MARK = re.compile(rb"1\d{6}")
SECONDS = 10.0

Shown = tuple[str, bytes]
"""Subscription-State without lifetime, and the document in canonical XML."""

REJECTED: Shown = ("terminated;reason=rejected", b"")


def shown(notify: Message) -> Shown:
    """What a NOTIFY shows."""
    words = notify["subscription-state"].split(";")
    state = ";".join(word for word in words if not word.startswith("expires="))
    if not notify.body:
        return state, b""
    return state, view_oracle.canonical(etree.fromstring(notify.body))


@attrs.define(eq=False)
class Seer:
    """A watcher, its phone and subscription.

    :ivar uri: its identity.
    :ivar fields: further header fields of its requests.
    :ivar path: what it may be shown, in this order: what holds, what held before it in this
        step, and what will hold in the end.
    :ivar last: what it was shown last; None without subscription.
    """

    phone: Phone
    uri: str
    fields: dict[str, str]
    watch: Watch | None = None
    path: list[Shown] = attrs.field(factory=list)
    last: Shown | None = None

    def subscribe(self) -> int:
        """SUBSCRIBE for the first time or again; the status."""
        if self.watch is None:
            self.watch = self.phone.subscribe("alice", sender=self.uri, **self.fields)
        else:
            self.phone.resubscribe(self.watch, sender=self.uri, **self.fields)
        return self.watch.response.status

    def take(self, seconds: float) -> None:
        """Take a NOTIFY: it shows what is to be seen now, or later in this step."""
        assert self.watch is not None
        self.last = shown(self.phone.notify(self.watch, seconds))
        assert self.last in self.path, f"{self.uri}: {self.last}\nmay be {self.path}"
        del self.path[: self.path.index(self.last)]
        if self.last[0].startswith("terminated"):
            self.watch = self.last = None

    def catch_up(self) -> None:
        """Take what has been sent, and wait for what is to be shown in the end.

        What the server has sent before it answers an OPTIONS comes before that.
        """
        deadline = time.monotonic() + SECONDS
        assert self.phone.request("OPTIONS", "sip:example.com").status == 200
        while self.watch is not None:
            if not self.phone.silent(self.watch, 0.0):
                self.take(0.0)
            elif self.last == self.path[-1]:
                break
            else:
                self.take(deadline - time.monotonic())
        wanted = self.path[-1]
        assert self.watch is not None or REJECTED in self.path, f"{self.uri}: gone, not {wanted}"
        del self.path[:-1]
        if self.watch is None:
            self.begin()

    def begin(self) -> None:
        """Try to watch."""
        (wanted,) = self.path
        status = {"active": 200, "pending": 202}.get(wanted[0], 403)
        assert self.subscribe() == status, f"{self.uri}: not {status}: {wanted}"
        if status == 403:
            self.watch = None
        else:
            self.take(SECONDS)

    def refresh(self) -> None:
        """A refresh shows what holds."""
        if self.watch is not None:
            self.subscribe()
            self.take(SECONDS)

    def fetch(self) -> None:
        """So does a fetch."""
        (wanted,) = self.path
        watch = self.phone.subscribe("alice", sender=self.uri, expires=0, **self.fields)
        if wanted == REJECTED:
            assert watch.response.status == 403, watch.response
        else:
            found = shown(self.phone.notify(watch, SECONDS))
            assert found == ("terminated;reason=timeout", wanted[1]), f"{found}\nnot {wanted}"


class RandomCourse:
    """One deployment, and what happens to it.

    :param oma: by which usage alice writes her rules.
    """

    def __init__(self, case: SynchronousTestCase, seed: int, oma: bool) -> None:
        override = {"name": "all", "decision": "allow", "watchers": ["root@example.com"]}
        settings: dict[str, Any] = {"override": {"before": [override]}}
        self.xdm = AllInOne(case, ("alice",), **settings)
        self.client = self.xdm.client()
        self.random = random.Random(seed)
        self.oma = oma
        self.alice = self.phone("alice")
        self.root = Seer(self.phone("root"), aor("root"), {})
        self.probe = Seer(self.phone("probe"), aor("probe"), {})
        self.seers = [
            Seer(self.phone("bob"), aor("bob"), {}),
            Seer(self.phone("carol"), aor("carol"), {}),
            Seer(self.phone("dave"), "sip:dave@other.example", {}),
            Seer(self.phone("erin"), aor("erin"), {"privacy": "id"}),
            self.probe,
        ]
        uris = [seer.uri for seer in self.seers if seer is not self.probe]
        lists = f"{self.xdm.root.rstrip('/')}{LISTS}/~~/resource-lists/list%5b@name=%22"
        self.anchors = [f"{lists}{name}%22%5d" for name in ("one", "two", "missing")]
        self.uris = uris
        self.rules = RandomRules(
            self.random,
            Choices(
                (*uris, "sip:%62ob@EXAMPLE.com;user=phone"),
                ("example.com", "Example.COM", "other.example"),
                self.anchors,
                strict=True,
                always=f'<cp:except id="{self.probe.uri}"/>',
                more=4,
                timed=False,
            ),
        )
        self.publications = Publications(self.random)
        self.turn = 0
        self.inner = [""] if oma else ["", ""]
        self.documents = [etree.fromstring(f"{HEAD}</cp:ruleset>") for _ in self.inner]
        self.members: dict[str, list[str] | None] = dict.fromkeys(self.anchors)
        self.composed = etree.fromstring(NOTHING)
        self.sphere: str | None = None
        self.etag = ""

    def phone(self, user: str) -> Phone:
        """Somebody's phone, on TCP."""
        return self.xdm.proxy.phone("tcp", user)

    def start(self) -> None:
        """Everybody watches."""
        self.publish()
        self.write_lists()
        for which in range(len(self.documents)):
            self.put(which)
        for seer in self.seers:
            del seer.path[:-1]
            seer.begin()

    # -- what is to be seen

    def wanted(self, seer: Seer) -> Shown:
        """What the oracles say."""
        case = rules_oracle.Case(
            self.oma,
            [ALICE],
            [seer.uri],
            "privacy" in seer.fields,
            True,
            datetime.now(UTC),
            self.sphere,
            self.members,
        )
        handling, granted, _ = rules_oracle.decide(self.documents, case)
        if handling == "allow":
            return "active", view_oracle.view(self.composed, granted)
        polite = view_oracle.canonical(etree.fromstring(NOTHING))
        return {"polite-block": ("active", polite), "confirm": ("pending", b"")}.get(
            handling, REJECTED
        )

    def changed(self) -> None:
        """Another state of things has come about."""
        for seer in self.seers:
            seer.path.append(self.wanted(seer))

    # -- what happens

    def write_rules(self) -> None:
        """Alice writes a rule document anew."""
        which = self.random.randrange(len(self.documents))
        rules = [self.rules.rule(f"r{n}") for n in range(self.random.randint(0, 5))]
        self.inner[which] = "".join(rules)
        self.put(which)
        if which:
            self.put(0)

    def put(self, which: int) -> None:
        """Store a rule document; the first one opens another thing to the probe each time."""
        text = f"{HEAD}{self.inner[which]}{'' if which else self.probed()}</cp:ruleset>"
        self.documents[which] = etree.fromstring(text)
        self.client.store(OMA if self.oma else IETF[which], text.encode())
        self.changed()

    def probed(self) -> str:
        """The rule for the probe."""
        self.turn += 1
        name = f'name="n{self.turn % 2}" ns="urn:example:probe"'
        return (
            f'<cp:rule id="probe"><cp:conditions><cp:identity><cp:one id="{self.probe.uri}"/>'
            "</cp:identity></cp:conditions><cp:actions><pr:sub-handling>allow</pr:sub-handling>"
            "</cp:actions><cp:transformations>"
            f"<pr:provide-unknown-attribute {name}>true</pr:provide-unknown-attribute>"
            "</cp:transformations></cp:rule>"
        )

    def write_lists(self) -> None:
        """Alice writes her lists anew."""
        lists = []
        for name, anchor in zip(("one", "two"), self.anchors, strict=False):
            members = sorted({*self.rules.some(self.uris, 3)})
            self.members[anchor] = members
            entries = "".join(f'<entry uri="{uri}"/>' for uri in members)
            lists.append(f'<list name="{name}">{entries}</list>')
        space = "urn:ietf:params:xml:ns:resource-lists"
        document = f'<resource-lists xmlns="{space}">{"".join(lists)}</resource-lists>'
        self.client.store(LISTS, document.encode())
        self.changed()

    def publish(self) -> None:
        """Alice publishes something else; root sees all of it."""
        body, spheres = self.publications.document(ALICE, alone=True)
        body = body.replace(b"</presence>", PROBE.encode() + b"</presence>")
        answer = self.alice.publish(body, self.etag)
        assert answer.status == 200, answer
        self.etag = answer["sip-etag"]
        self.sphere = spheres.pop() if spheres else None
        if self.root.watch is None:
            self.root.watch = self.root.phone.subscribe("alice")
        told = self.root.phone.notify(self.root.watch, SECONDS)
        assert sorted(MARK.findall(told.body)) == sorted(MARK.findall(body)), told.body
        self.composed = etree.fromstring(told.body)
        self.changed()

    def step(self) -> None:
        """Something happens, and settles."""
        kind = self.random.choice(("rules", "rules", "publish", "lists", "refresh", "fetch"))
        if kind == "publish":
            self.publish()
        elif kind == "rules":
            self.write_rules()
        elif kind == "lists":
            self.write_lists()
            self.put(0)
        else:
            getattr(self.random.choice(self.seers), kind)()
        if kind in ("rules", "lists"):
            # it is told last, and each time something else: then all of that is in force
            assert self.probe.path[0] != self.probe.path[-1]
            self.probe.catch_up()
        for seer in self.seers:
            seer.catch_up()


class PropertyTests(SynchronousTestCase):
    """Product and oracles over real sockets (XDM-171)."""

    def run_course(self, seed: int, oma: bool, steps: int) -> None:
        """Run a course; a failure tells the seed and the step."""
        course = RandomCourse(self, seed, oma)
        number = 0
        states: set[str] = set()
        try:
            course.start()
            while number < steps:
                number += 1
                course.step()
                states.update(seer.path[-1][0] for seer in course.seers)
        except Exception as error:
            texts = b"\n".join(etree.tostring(one) for one in course.documents).decode()
            raise AssertionError(f"seed {seed}, step {number}: {error}\n{texts}") from error
        self.assertEqual(states, {"active", "pending", REJECTED[0]})

    def test_oma(self) -> None:
        """RUL-20, XDM-130, PSV-09: by rules of the OMA usage no NOTIFY shows what they withhold.

        Each shows what rules, lists and publications of its moment give, no older state comes
        after a newer one, and the last one is the oracle's document.
        """
        self.run_course(20261123, True, 150)

    def test_ietf(self) -> None:
        """RUL-20, XDM-100, XDM-133: so by two documents of the IETF usage."""
        self.run_course(5025, False, 150)
