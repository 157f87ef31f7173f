"""A politely blocked watcher cannot tell that from somebody who is offline (presence-data.md L)."""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import quote

from twisted.trial.unittest import SynchronousTestCase

from tests.e2e.deployments import AllInOne
from tests.e2e.phone import NOTED, Phone, Watch, aor
from tests.e2e.test_rules import SERVICES, one, rich, rule, ruleset
from tests.e2e.wire import Message

HIDDEN, OFFLINE = "alice", "carol"
_TOKEN = re.compile(
    r"(?<=;tag=)\w+|(?<=;branch=)\w+|(?<=<sip:)[0-9a-f]{16}(?=@)|(?<=tuple id=\")t\w+"
)
"""What is random: tags, branches, the user of a Contact of ours, the id of a tuple."""


def rules(user: str) -> str:
    """Where somebody's rules are."""
    return f"/org.openmobilealliance.pres-rules/users/{quote(aor(user), safe=':@')}/pres-rules"


def shape(
    message: Message, port: int, tags: dict[str, str]
) -> tuple[str, list[tuple[str, str]], str]:
    """All of a message, of random tokens only the length; whoever it is about.

    :param port: of the watcher.
    :param tags: names for entity-tags; they are made of the document, and so of the name in it.
    """

    def masked(text: str) -> str:
        text = re.sub(rf"z9hG4bK{port}n\d+|(?<=;tag=)[fw]\d+\b|\b{port}\b", "own", text)
        return _TOKEN.sub(lambda token: "x" * len(token[0]), text.replace(HIDDEN, OFFLINE))

    fields = [
        (name, tags.setdefault(value, f"tag {len(tags)}") if name == "sip-etag" else masked(value))
        for name, value in message.fields
        if name != "call-id"
    ]
    return masked(message.start), fields, masked(message.body.decode())


class Side:
    """Bob as the watcher of one of the two.

    :ivar watch: his subscription.
    :ivar tags: names for the entity-tags that he has seen, in their order.
    """

    def __init__(self, phone: Phone, user: str) -> None:
        self.phone = phone
        self.user = user
        self.tags: dict[str, str] = {}
        self.watch: Watch

    def subscribe(self, **fields: str | int) -> list[Message]:
        """SUBSCRIBE: the answer, and the NOTIFY."""
        self.watch = self.phone.subscribe(self.user, **fields)
        return self.told()

    def again(self, **fields: str | int) -> list[Message]:
        """The same in the dialog."""
        self.phone.resubscribe(self.watch, **fields)
        return self.told()

    def told(self) -> list[Message]:
        """The answer to a SUBSCRIBE and the NOTIFY, if there has to be one."""
        answer = self.watch.response
        return [answer] if answer.status >= 300 else [answer, self.phone.notify(self.watch)]


class PoliteTests(SynchronousTestCase):
    """Alice is there and hides from bob; carol is not there, and would show herself."""

    def setUp(self) -> None:
        """Start, with rules of both."""
        self.xdm = AllInOne(self)
        self.clients = {user: self.xdm.client(user) for user in (HIDDEN, OFFLINE)}
        self.alice = self.xdm.proxy.phone("tcp", HIDDEN)
        self.etag = self.alice.publish(rich())["sip-etag"]
        self.write()
        self.sides = [Side(self.bob(), HIDDEN), Side(self.bob(), OFFLINE)]

    def bob(self) -> Phone:
        """A phone of his."""
        return self.xdm.proxy.phone("tcp", "bob")

    def write(self, *others: str) -> None:
        """Both write their rules anew."""
        for user, handling in ((HIDDEN, "polite-block"), (OFFLINE, "allow")):
            shown = "" if handling == "polite-block" else SERVICES
            about = [rule("bob", one("bob"), handling, shown)]
            about += [rule(f"{other}s", one(other), "allow") for other in others]
            self.clients[user].store(rules(user), ruleset(*about))

    def publish(self, note: str) -> None:
        """Alice is active."""
        answer = self.alice.publish(rich().replace(b">here<", f">{note}<".encode()), self.etag)
        self.assertEqual(answer.status, 200)
        self.etag = answer["sip-etag"]

    def both(self, act: Callable[[Side], list[Message]], *statuses: int) -> None:
        """Do the same to both, and see the same; 0 stands for a NOTIFY."""
        hidden, offline = (
            [shape(message, side.phone.wire.local[1], side.tags) for message in act(side)]
            for side in self.sides
        )
        self.assertEqual(len(hidden), len(offline))
        for one_message, other in zip(hidden, offline, strict=True):
            self.assertEqual(one_message, other)
        starts = [start for start, _, _ in hidden]
        found = [int(s.split()[1]) if s.startswith("SIP/2.0") else 0 for s in starts]
        self.assertEqual(found, list(statuses))

    def silence(self) -> None:
        """Neither is told anything."""
        for side in self.sides:
            self.assertTrue(side.phone.silent(side.watch, 0.3))

    def course(self) -> None:
        """Subscribe, refresh, fetch, and end, while alice and the rules change."""
        self.both(lambda side: side.subscribe(), 200, 0)
        self.publish("one")
        self.silence()
        self.both(lambda side: side.again(expires=700), 200, 0)
        self.write("dave")
        self.publish("two")
        self.silence()
        self.both(lambda side: side.again(accept="application/pidf+xml"), 200, 0)
        self.both(lambda side: side.again(accept="text/plain"), 406)
        fetch = [Side(side.phone, side.user) for side in self.sides]
        kept, self.sides = self.sides, fetch
        self.both(lambda side: side.subscribe(expires=0), 200, 0)
        self.both(lambda side: side.subscribe(event="presence.winfo"), 403)
        self.sides = kept
        self.publish("three")
        self.both(lambda side: side.again(expires=0), 200, 0)
        self.both(lambda side: side.again(), 481)

    def test_indistinguishable(self) -> None:
        """PBK-01, PBK-03, PBK-04: every message the same, in each form of who is offline."""
        self.course()
        self.xdm.proxy.settings["subscription"]["offline_document"] = "closed"
        self.xdm.proxy.reload()
        self.course()

    def test_restart(self) -> None:
        """PBK-03, PBK-04, PSV-20: neither is told anything after a restart, before asking."""
        self.both(lambda side: side.subscribe(), 200, 0)
        for side in self.sides:
            side.phone.listen(NOTED)
        self.publish("before")
        self.xdm.proxy.restart()
        self.alice = self.xdm.proxy.phone("tcp", HIDDEN)
        self.publish("after")
        for side in self.sides:
            phone = self.bob()
            side.phone.wire, side.phone.contact = phone.wire, phone.contact
        self.silence()
        self.both(lambda side: side.again(), 200, 0)
        self.publish("later")
        self.silence()
        self.both(lambda side: side.again(expires=0), 200, 0)

    def test_decided_otherwise(self) -> None:
        """PBK-09, NOT-07: what is real comes and goes in NOTIFYs like any other."""
        side = self.sides[0]
        _, polite = side.subscribe()
        heads = [[name for name, _ in polite.fields]]
        for handling, real in (("allow", True), ("polite-block", False)):
            self.clients[HIDDEN].store(rules(HIDDEN), ruleset(rule("b", one("bob"), handling)))
            told = side.phone.notify(side.watch)
            self.assertEqual(b"meeting" in told.body, real)
            self.assertTrue(told["subscription-state"].startswith("active;expires="))
            heads.append([name for name, _ in told.fields])
        self.assertEqual(told.body, polite.body)
        self.assertEqual(heads, heads[:1] * 3)
        self.assertTrue(side.phone.silent(side.watch, 0.3))
