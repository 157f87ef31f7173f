"""Presence lists over real sockets (issue 5; RFC 4662, oma-presence.md section 7)."""

from __future__ import annotations

import time
import zlib
from typing import Any, ClassVar

from twisted.trial.unittest import SynchronousTestCase

from presence.rls.listwatch import Taken, WatchedList
from presence.rls.ownlists import list_uri
from tests.e2e.deployments import AllInOne, Apart
from tests.e2e.phone import NOTED, Phone, Watch, aor, pidf
from tests.e2e.test_rules import EVERYTHING, one, rule, ruleset
from tests.e2e.wire import HOST, Message
from tests.e2e.xdm import index

SERVICES = index("alice", "rls-services")
LISTS = index("alice")
FRIENDS = "alice-friends"
ACCEPT = "application/pidf+xml, application/rlmi+xml, multipart/related"


def services(*members: str, user: str = FRIENDS, inner: str = "") -> bytes:
    """A document with one service whose list has members, or what ``inner`` says."""
    listed = inner or "".join(f'<rl:entry uri="{uri}"/>' for uri in members)
    return (
        '<?xml version="1.0" encoding="UTF-8"?>'
        '<rls-services xmlns="urn:ietf:params:xml:ns:rls-services"'
        ' xmlns:rl="urn:ietf:params:xml:ns:resource-lists">'
        f'<service uri="{aor(user)}"><list>{listed}</list>'
        "<packages><package>presence</package></packages></service></rls-services>"
    ).encode()


class Buddies:
    """Somebody's subscription to a list, with the table that it makes."""

    def __init__(self, phone: Phone, watch: Watch) -> None:
        self.phone = phone
        self.watch = watch
        self.table = WatchedList()
        self.taken: list[Taken] = []
        self.messages: list[Message] = []

    def take(self, timeout: float = 15.0) -> Taken:
        """Take the next NOTIFY."""
        message = self.phone.notify(self.watch, timeout)
        assert message.tokens("require") == {"eventlist"}, message
        taken = self.table.take(message["content-type"], message.body)
        self.messages.append(message)
        self.taken.append(taken)
        return taken

    def told(self) -> dict[str, str]:
        """State of each member: ``-`` without any, else state and reason or the note."""
        found = {}
        for uri, member in self.table.members.items():
            instance = member.instance
            if instance is None:
                found[uri] = "-"
            elif instance.document is not None:
                text = instance.document.decode()
                note = text.partition("<note>")[2].partition("</note>")[0]
                found[uri] = f"{instance.state} {note}".strip()
            else:
                found[uri] = f"{instance.state} {instance.reason}".strip()
        return found

    def until(self, expected: dict[str, str], seconds: float = 20.0) -> None:
        """Take NOTIFYs until the table is so."""
        deadline = time.monotonic() + seconds
        while self.told() != expected:
            left = deadline - time.monotonic()
            assert left > 0, (self.told(), expected)
            self.take(left)


class ListTestCase(SynchronousTestCase):
    """Base with all roles in one process; alice has a list."""

    changed: ClassVar[dict[str, Any]] = {}
    members: ClassVar[tuple[str, ...]] = (aor("bob"), aor("carol"))

    def setUp(self) -> None:
        """Start."""
        settings = {"rls": {"window": 0.1, "rate": 1000.0}, **self.changed}
        self.xdm = AllInOne(self, **settings)
        self.server = self.xdm.proxy
        self.alice, self.bob, self.carol = (self.phone(u) for u in ("alice", "bob", "carol"))
        self.client = self.xdm.client()
        self.client.store(SERVICES, services(*self.members))

    def phone(self, user: str) -> Phone:
        """Somebody's phone, on TCP."""
        return self.server.phone("tcp", user)

    def watch(self, phone: Phone, status: int = 200, **fields: Any) -> Buddies:
        """Subscribe to the list."""
        fields = {"supported": "eventlist", "accept": ACCEPT, **fields}
        watch = phone.subscribe(FRIENDS, **fields)
        self.assertEqual(watch.response.status, status, watch.response)
        return Buddies(phone, watch)


class SubscribeTests(ListTestCase):
    """SUBSCRIBE and its refusals."""

    def test_list(self) -> None:
        """RLS-03, RLS-06, RLS-07, RLS-14, CLI-15: a full NOTIFY at once, then what changes."""
        self.assertEqual(self.bob.publish(pidf("bob", "here")).status, 200)
        buddies = self.watch(self.alice)
        self.assertEqual(buddies.watch.response.tokens("require"), {"eventlist"})
        first = buddies.take()
        self.assertTrue(first.full)
        self.assertEqual(buddies.table.version, 0)
        self.assertEqual(list(buddies.table.members), list(self.members))
        buddies.until({aor("bob"): "active here", aor("carol"): "active"})
        self.assertEqual(self.carol.publish(pidf("carol", "in town")).status, 200)
        self.assertFalse(buddies.take().full)
        self.assertEqual(buddies.taken[-1].changed, (aor("carol"),))
        self.assertEqual(
            buddies.told(), {aor("bob"): "active here", aor("carol"): "active in town"}
        )
        versions = [taken.processed and not taken.refresh for taken in buddies.taken]
        self.assertTrue(all(versions), "versions go up by one")
        self.assertEqual(self.alice.resubscribe(buddies.watch, supported="eventlist").status, 200)
        self.assertTrue(buddies.take().full)
        ended = self.alice.resubscribe(buddies.watch, supported="eventlist", expires=0)
        self.assertEqual((ended.status, ended.tokens("require")), (200, {"eventlist"}))
        self.assertTrue(buddies.take().full)
        self.assertIn("terminated", buddies.messages[-1]["subscription-state"])
        self.bob.publish(pidf("bob", "elsewhere", "t2"))
        self.assertTrue(self.alice.silent(buddies.watch, 0.5))

    def test_refusals(self) -> None:
        """RLS-01, RLS-02, RLS-23, RLS-27, RLO-09, XDM-52: who may not, or does not understand."""
        refused = self.watch(self.alice, 421, supported=None).watch.response
        self.assertEqual(refused.tokens("require"), {"eventlist"})
        self.watch(self.alice, 406, accept="application/pidf+xml")
        self.watch(self.bob, 403)
        info = self.alice.subscribe(FRIENDS, event="presence.winfo", supported="eventlist")
        self.assertEqual(info.response.status, 489)
        self.client.store(SERVICES, services(*self.members).replace(b">presence<", b">dialog<"))
        self.watch(self.alice, 489)
        single = self.alice.subscribe("bob", supported="eventlist", accept=ACCEPT)
        self.assertEqual(single.response.status, 200)
        self.assertNotIn("require", single.response)
        self.assertEqual(self.alice.notify(single)["content-type"], "application/pidf+xml")

    def test_address(self) -> None:
        """CLI-13: an address of the server stands for its domain in the URI of a list, too."""
        watch = Watch(f"sip:{FRIENDS}@{HOST}", "by-address", "a1")
        fields = {"supported": "eventlist", "accept": ACCEPT}
        self.assertEqual(self.alice.resubscribe(watch, **fields).status, 200)
        buddies = Buddies(self.alice, watch)
        buddies.until({aor("bob"): "active", aor("carol"): "active"})

    def test_fetch(self) -> None:
        """RCL-06: a fetch waits for its members and tells them all at once."""
        self.bob.publish(pidf("bob", "here"))
        buddies = self.watch(self.alice, expires=0)
        self.assertTrue(buddies.take().full)
        self.assertEqual(buddies.told(), {aor("bob"): "active here", aor("carol"): "active"})
        self.assertEqual(buddies.messages[-1]["subscription-state"], "terminated;reason=timeout")

    def test_list_changes(self) -> None:
        """RLS-22: members that come and go are told by a full NOTIFY; a list that goes ends it."""
        self.bob.publish(pidf("bob", "here"))
        self.phone("dave").publish(pidf("dave", "new"))
        buddies = self.watch(self.alice)
        buddies.until({aor("bob"): "active here", aor("carol"): "active"})
        self.client.store(SERVICES, services(aor("dave"), aor("bob")))
        buddies.until({aor("dave"): "active new", aor("bob"): "active here"})
        self.carol.publish(pidf("carol", "unseen"))
        self.assertTrue(self.alice.silent(buddies.watch, 0.5))
        self.assertEqual(self.client.delete(SERVICES).status, 200)
        told = self.alice.notify(buddies.watch)
        self.assertEqual(told["subscription-state"], "terminated;reason=noresource")

    def test_decisions(self) -> None:
        """RLS-11, RLS-12, RLS-24, PBK-06: rules of the members decide, and change what is told."""
        bob = self.xdm.client("bob")
        rules = f"/org.openmobilealliance.pres-rules/users/{aor('bob')}/pres-rules"
        self.bob.publish(pidf("bob", "here"))

        def write(handling: str) -> None:
            shown = EVERYTHING if handling == "allow" else ""
            bob.store(rules, ruleset(rule("a", one("alice"), handling, shown)))

        write("confirm")
        info = self.bob.subscribe("bob", event="presence.winfo")
        self.bob.notify(info)
        buddies = self.watch(self.alice)
        buddies.until({aor("bob"): "pending", aor("carol"): "active"})
        self.assertIn(aor("alice").encode(), self.bob.notify(info).body)
        write("allow")
        buddies.until({aor("bob"): "active here", aor("carol"): "active"})
        write("polite-block")
        buddies.until({aor("bob"): "active", aor("carol"): "active"})
        write("block")
        buddies.until({aor("bob"): "terminated rejected", aor("carol"): "active"})

    def test_reactive(self) -> None:
        """FLW-02: Alice comes by a list: her instance of Bob is pending until he approves her.

        RLO-03: the subscription is hers, as Bob sees it.
        """
        bob = self.xdm.client("bob")
        rules = f"/org.openmobilealliance.pres-rules/users/{aor('bob')}/pres-rules"
        self.bob.publish(pidf("bob", "here"))
        bob.store(rules, ruleset(rule("a", one("alice"), "confirm")))
        info = self.bob.subscribe("bob", event="presence.winfo")
        self.bob.notify(info)
        buddies = self.watch(self.alice)
        buddies.until({aor("bob"): "pending", aor("carol"): "active"})
        asked = self.bob.notify(info).body.decode()
        self.assertRegex(asked, rf'status="pending" event="subscribe"[^>]*>{aor("alice")}<')
        row = buddies.table.members[aor("bob")].instance
        bob.store(rules, ruleset(rule("a", one("alice"), "allow", EVERYTHING)))
        buddies.until({aor("bob"): "active here", aor("carol"): "active"})
        told = self.bob.notify(info).body.decode()
        self.assertRegex(told, rf'status="active" event="approved"[^>]*>{aor("alice")}<')
        after = buddies.table.members[aor("bob")].instance
        assert row is not None and after is not None
        self.assertEqual(after.id, row.id)
        self.assertTrue(self.alice.silent(buddies.watch, 0.3))

    def test_reload(self) -> None:
        """NFR-02, RLO-04: what SIGHUP may change of lists holds for the next subscription."""
        self.watch(self.alice)
        self.server.settings["rls"] |= {"members": 1, "excess": "refuse"}
        self.server.reload()
        refused = self.watch(self.alice, 403).watch.response
        self.assertIn("399", refused["warning"])
        self.server.settings["rls"]["excess"] = "terminated"
        self.server.reload()
        buddies = self.watch(self.alice)
        buddies.until({aor("bob"): "active", aor("carol"): "terminated giveup"})


class ContainedTests(ListTestCase):
    """Lists that a SUBSCRIBE brings along, and lists in lists."""

    changed: ClassVar[dict[str, Any]] = {
        "rls": {"window": 0.1, "rate": 1000.0, "members": 3, "contained": "sip:lists@example.com"}
    }

    def bring(self, phone: Phone, status: int, *members: str, **fields: Any) -> Buddies:
        """Subscribe with a list."""
        entries = "".join(f'<entry uri="{uri}"/>' for uri in members)
        space = "urn:ietf:params:xml:ns:resource-lists"
        body = f'<resource-lists xmlns="{space}"><list>{entries}</list></resource-lists>'.encode()
        fields = {
            "supported": "eventlist",
            "accept": ACCEPT,
            "require": "recipient-list-subscribe",
            "content_type": "application/resource-lists+xml",
            "content_disposition": "recipient-list",
            "body": body,
            **fields,
        }
        watch = phone.subscribe("lists", **fields)
        self.assertEqual(watch.response.status, status, watch.response)
        return Buddies(phone, watch)

    def test_contained(self) -> None:
        """RCL-01, RCL-02, RCL-03, RCL-04, RCL-06: a list that comes along is watched.

        CLI-16: a refresh says that there is one, and has none.
        """
        self.bob.publish(pidf("bob", "here"))
        options = self.alice.request("OPTIONS", "sip:example.com")
        self.assertIn("recipient-list-subscribe", options.tokens("supported"))
        members = (aor("bob"), aor("carol"), "mailto:x@example.com", aor("bob"))
        packed = {"content_encoding": "deflate"}
        for more in ({}, packed):
            body: dict[str, Any] = {}
            if more:
                space = "urn:ietf:params:xml:ns:resource-lists"
                entries = "".join(f'<entry uri="{uri}"/>' for uri in members)
                octets = f'<resource-lists xmlns="{space}"><list>{entries}</list></resource-lists>'
                body = {"body": zlib.compress(octets.encode())}
            buddies = self.bring(self.alice, 200, *members, **more, **body)
            self.assertTrue(buddies.take().full)
            self.assertEqual(buddies.table.uri, "sip:lists@example.com")
            buddies.until({aor("bob"): "active here", aor("carol"): "active"})
        again = self.alice.resubscribe(
            buddies.watch,
            supported="eventlist",
            require="recipient-list-subscribe",
            content_disposition="recipient-list",
            **packed,
        )
        self.assertEqual(again.status, 200)
        self.assertTrue(buddies.take().full)
        late = self.alice.resubscribe(
            buddies.watch,
            supported="eventlist",
            body=b"<x/>",
            content_type="application/resource-lists+xml",
            content_disposition="recipient-list",
        )
        self.assertEqual(late.status, 415)
        fetch = self.bring(self.alice, 200, aor("bob"), expires=0)
        self.assertTrue(fetch.take().full)
        self.assertEqual(fetch.told(), {aor("bob"): "active here"})
        self.bring(self.alice, 403, *(aor(f"u{number}") for number in range(4)))
        self.bring(self.alice, 400)
        self.bring(self.alice, 400, body=b"<no")
        stranger = self.phone("eve")
        self.bring(stranger, 403, aor("bob"), sender="sip:eve@elsewhere.example")

    def test_restart(self) -> None:
        """PSV-20: what was brought along is there after kill -9."""
        buddies = self.bring(self.alice, 200, aor("bob"))
        buddies.until({aor("bob"): "active"})
        self.alice.listen(NOTED)
        self.server.restart()
        self.alice.wire = self.server.wire("tcp")
        host, port = self.alice.wire.local
        self.alice.contact = f"sip:alice@{host}:{port};transport=tcp"
        again = self.alice.resubscribe(buddies.watch, supported="eventlist")
        self.assertEqual(again.status, 200)
        self.phone("bob").publish(pidf("bob", "back"))
        buddies.until({aor("bob"): "active back"})

    def test_lists_in_lists(self) -> None:
        """RLS-15: a member that is a list is its members; what is met again is left out."""
        self.bob.publish(pidf("bob", "here"))
        outer = services(aor("inner"), aor("dave"))
        inner = services(aor("bob"), aor(FRIENDS), user="inner")
        start, end = b"<service", b"</rls-services>"
        second = inner[inner.index(start) : inner.index(end)]
        self.client.store(SERVICES, outer.replace(end, second + end))
        buddies = self.watch(self.alice)
        buddies.until({aor("bob"): "active here", aor("dave"): "active"})
        changed = second.replace(aor("bob").encode(), aor("carol").encode())
        self.client.store(SERVICES, outer.replace(end, changed + end))
        buddies.until({aor("carol"): "active", aor("dave"): "active"})


class RestartTests(ListTestCase):
    """RLO-06, PSV-20."""

    def test_kill(self) -> None:
        """After kill -9 list and members go on where they were, and all is told once more."""
        self.bob.publish(pidf("bob", "here"))
        # over UDP it can be reached at once: who cannot be is no watcher any more (NOT-10)
        alice = self.server.phone("udp", "alice")
        buddies = self.watch(alice)
        buddies.until({aor("bob"): "active here", aor("carol"): "active"})
        alice.listen(NOTED)
        self.server.restart()
        self.assertEqual(alice.resubscribe(buddies.watch, supported="eventlist").status, 200)
        self.assertTrue(buddies.take().full)
        self.phone("carol").publish(pidf("carol", "back"))
        buddies.until({aor("bob"): "active here", aor("carol"): "active back"})


class ApartTests(SynchronousTestCase):
    """Lists whose documents are at servers of their own."""

    def test_followed(self) -> None:
        """RLO-02, RLO-10: service and list are fetched and followed by xcap-diff.

        RLO-08: without its server a list is as it was; another one cannot be looked up.
        """
        xdm = Apart(self, presence={"rls": {"window": 0.1, "rate": 1000.0}})
        server = xdm.parts["rls"]
        client, alice = xdm.client(), server.phone("tcp", "alice")
        reference = list_uri(xdm.root, aor("alice"), "friends")

        def store(*members: str) -> None:
            entries = "".join(f'<entry uri="{uri}"/>' for uri in members)
            space = "urn:ietf:params:xml:ns:resource-lists"
            listed = f'<list name="friends">{entries}</list>'
            text = f'<resource-lists xmlns="{space}">{listed}</resource-lists>'
            client.store(LISTS, text.encode())

        store(aor("bob"))
        named = f"<resource-list>{reference}</resource-list>".encode()
        client.store(SERVICES, services().replace(b"<list></list>", named))
        watch = alice.subscribe(FRIENDS, supported="eventlist", accept=ACCEPT)
        self.assertEqual(watch.response.status, 200, watch.response)
        buddies = Buddies(alice, watch)
        buddies.until({aor("bob"): "active"})
        store(aor("bob"), aor("carol"))
        buddies.until({aor("bob"): "active", aor("carol"): "active"})
        client.store(SERVICES, services(aor("dave")))
        buddies.until({aor("dave"): "active"})
        server.expected = "P601"
        xdm.parts["rls-xdms"].kill()
        again = alice.resubscribe(watch, supported="eventlist")
        self.assertEqual(again.status, 200)
        self.assertTrue(buddies.take().full)
        self.assertEqual(buddies.told(), {aor("dave"): "active"})
        bob = server.phone("tcp", "bob")
        lost = bob.subscribe("bob-list", supported="eventlist", accept=ACCEPT)
        self.assertEqual(lost.response.status, 480, lost.response)
        self.assertIn("retry-after", lost.response)
