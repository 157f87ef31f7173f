"""A long list whose members are served by two processes, in three domains (PRS-4, RLS-24)."""

from __future__ import annotations

import random
import time
from collections import Counter
from typing import Any, ClassVar

from twisted.trial.unittest import SynchronousTestCase

from presence.xdmtables import PRESENCE_SERVER
from tests.e2e.daemon import Daemon, tables
from tests.e2e.deployments import XDMS_ROLES, AllInOne
from tests.e2e.phone import DOMAIN, PIDF, Phone, aor, pidf
from tests.e2e.test_lists import ACCEPT, FRIENDS, SERVICES, Buddies, services
from tests.e2e.wire import HOST
from tests.e2e.xdm import XcapClient
from tests.ports import free_port

SECOND = "second.example"
REMOTE = "other.example"
POINTS = {
    # requests leave from the first point, and only trusted peers are told who asks
    "peers": {"transport": "tcp", "auth": "trust"},
    "tls": {"transport": "tls", "auth": "none"},
}
WINDOW = 0.5
_SEED = 20_260_505


def document(uri: str, note: str) -> bytes:
    """A presence document with a note."""
    return (
        f'<presence xmlns="urn:ietf:params:xml:ns:pidf" entity="{uri}">'
        f'<tuple id="t1"><status><basic>open</basic></status><note>{note}</note></tuple></presence>'
    ).encode()


class Served:
    """Somebody who publishes.

    :ivar note: of what is published now.
    """

    def __init__(self, uri: str, phone: Phone) -> None:
        self.uri = uri
        self.phone = phone
        self.note = ""
        self._etag = ""

    def publish(self, note: str) -> None:
        """Publish a new document."""
        etag = {"sip_if_match": self._etag} if self._etag else {}
        answer = self.phone.request(
            "PUBLISH", self.uri, sender=self.uri, body=document(self.uri, note), **etag
        )
        assert answer.status == 200, answer
        self.note = note
        self._etag = answer["sip-etag"]

    @property
    def state(self) -> str:
        """What a list has to show; see :meth:`Buddies.told`."""
        return f"active {self.note}".strip()


class ServersTestCase(SynchronousTestCase):
    """Base with a Resource List Server and Presence Server, and a Presence Server elsewhere.

    :cvar subscription: what the Presence Server elsewhere has as ``[subscription]``.
    """

    subscription: ClassVar[dict[str, Any]] = {}

    def setUp(self) -> None:
        """Start both; somebody's phone at each."""
        port = free_port()
        lasting = {**tables()["subscription"], **self.subscription}
        elsewhere = tables(trust={"peers": [HOST]}, subscription=lasting)
        elsewhere |= {"domains": [REMOTE], "domain_aliases": {HOST: REMOTE}}
        points = {**POINTS, "peers": {**POINTS["peers"], "port": port}}
        self.remote = Daemon(self, points, (), elsewhere).start()
        self.xdm = AllInOne(
            self,
            points=POINTS,
            domains=["example.com", SECOND],
            locator={"hosts": {REMOTE: [f"sip:{HOST}:{port};transport=tcp"]}},
            trust={"peers": [HOST]},
            rls={"window": WINDOW, "rate": 500.0, "retry": 0.5, "retry_most": 1.0},
        )
        self.alice = self.xdm.proxy.phone("tls", "alice")
        self.here = self.xdm.proxy.phone("tls", "publisher")
        self.there = self.remote.phone("tls", "publisher")

    def watch(self, *members: Served) -> Buddies:
        """Let alice watch a list of them."""
        self.xdm.client().store(SERVICES, services(*(member.uri for member in members)))
        watch = self.alice.subscribe(FRIENDS, supported="eventlist", accept=ACCEPT)
        self.assertEqual(watch.response.status, 200, watch.response)
        return Buddies(self.alice, watch)

    def until(self, buddies: Buddies, *members: Served, seconds: float = 60.0) -> None:
        """Take NOTIFYs until the list shows all as they are."""
        buddies.until({member.uri: member.state for member in members}, seconds)


class LongListTests(ServersTestCase):
    """Two hundred members."""

    def test_changes(self) -> None:
        """Each change is told once, those of a window together (RLS-14, RLS-18, RLS-24, RLO-05)."""
        chance = random.Random(_SEED)
        domains = ("example.com", SECOND, REMOTE)
        members = []
        for number in range(200):
            domain = domains[number % 3]
            phone = self.there if domain == REMOTE else self.here
            members.append(Served(f"sip:m{number}@{domain}", phone))
        for member in members[::4]:
            member.publish("before")
        buddies = self.watch(*members)
        first = buddies.take()
        self.assertTrue(first.full)
        self.assertEqual(list(buddies.table.members), [member.uri for member in members])
        self.until(buddies, *members)
        serial = 0
        for _ in range(5):
            del buddies.taken[:], buddies.messages[:]
            began = time.monotonic()
            changed = chance.sample(members, 30)
            for member in changed:
                serial += 1
                member.publish(f"n{serial}")
            self.until(buddies, *members)
            lasted = time.monotonic() - began
            told = Counter(uri for taken in buddies.taken for uri in taken.changed)
            self.assertEqual(told, Counter(member.uri for member in changed))
            self.assertFalse(any(taken.full or taken.refresh for taken in buddies.taken))
            self.assertLessEqual(len(buddies.taken), lasted / WINDOW + 2)
        self.assertTrue(self.alice.silent(buddies.watch, 2 * WINDOW))


class LostServerTests(ServersTestCase):
    """The server elsewhere is killed."""

    subscription: ClassVar[dict[str, Any]] = {"default_expires": 6, "max_expires": 6}

    def test_kill(self) -> None:
        """Its members are on probation until it is back; others live on (RLS-11, RLS-12)."""
        bob, dave = Served(aor("bob"), self.here), Served(f"sip:dave@{SECOND}", self.here)
        erin, frank = (Served(f"sip:{user}@{REMOTE}", self.there) for user in ("erin", "frank"))
        everybody = (bob, erin, dave, frank)
        for member in (bob, dave, erin):
            member.publish("here")
        buddies = self.watch(*everybody)
        self.until(buddies, *everybody)
        lost = {uri: row.instance.id for uri, row in buddies.table.members.items() if row.instance}
        self.remote.kill()
        states = {member.uri: member.state for member in everybody}
        probation = dict.fromkeys((erin.uri, frank.uri), "terminated probation")
        buddies.until({**states, **probation}, 60.0)
        bob.publish("still here")
        buddies.until({**states, bob.uri: bob.state, **probation}, 60.0)
        # also a later full NOTIFY shows it, while there is hope
        self.assertEqual(self.alice.resubscribe(buddies.watch, supported="eventlist").status, 200)
        while not buddies.take().full:
            continue
        self.assertEqual(buddies.told(), {**states, bob.uri: bob.state, **probation})
        self.remote.start()
        self.until(buddies, *everybody)
        for member in (erin, frank):
            row = buddies.table.members[member.uri]
            assert row.instance is not None
            self.assertNotEqual(row.instance.id, lost[member.uri])
        self.there = self.remote.phone("tls", "publisher")
        frank.phone = self.there
        frank.publish("back")
        self.until(buddies, *everybody)


class WatcherTests(ServersTestCase):
    """Subscriptions to members elsewhere: in whose name, and how long."""

    def test_restart(self) -> None:
        """A restart that is over before the next refresh changes nothing (RLS-13, PSV-20)."""
        erin = Served(f"sip:erin@{REMOTE}", self.there)
        erin.publish("here")
        buddies = self.watch(erin)
        self.until(buddies, erin)
        before = buddies.table.members[erin.uri].instance
        self.remote.restart()
        erin.phone = self.remote.phone("tls", "publisher")
        erin.publish("there")
        self.until(buddies, erin)
        after = buddies.table.members[erin.uri].instance
        assert before is not None and after is not None
        self.assertEqual(after.id, before.id)

    def test_name(self) -> None:
        """Their watcher is she who watches the list (RLS-19); its end is theirs (RLO-06)."""
        erin = Served(f"sip:erin@{REMOTE}", self.there)
        erin.publish("here")
        buddies = self.watch(erin)
        self.until(buddies, erin)
        watch = self.there.request(
            "SUBSCRIBE", erin.uri, sender=erin.uri, event="presence.winfo", call_id="winfo"
        )
        self.assertEqual(watch.status, 200, watch)
        self.assertIn(aor("alice").encode(), self._info())
        ended = self.alice.resubscribe(buddies.watch, supported="eventlist", expires=0)
        self.assertEqual(ended.status, 200)
        while b"terminated" not in self._info():
            continue

    def _info(self) -> bytes:
        """The next NOTIFY of watcher information."""
        before = len(self.there.incoming)
        deadline = time.monotonic() + 20.0
        while len(self.there.incoming) == before:
            self.assertGreater(deadline, time.monotonic())
            self.there.step(1.0)
        message = self.there.incoming[before]
        self.assertNotEqual(message["content-type"], PIDF)
        return message.body


class AloneTests(SynchronousTestCase):
    """The list server as a process of its own: issue 5, item 1 (PRS-4, PRS-9, PRS-10)."""

    def setUp(self) -> None:
        """Start document servers with their proxy, a Presence Server, and the list server."""
        web, sip, presence, port = (free_port() for _ in range(4))
        root = f"https://localhost:{port}/"
        common: dict[str, Any] = {"trust": {"peers": [HOST]}}
        self.documents = Daemon(
            self,
            {"peers": {"transport": "udp", "auth": "trust", "port": sip}},
            ("alice", "bob"),
            tables(
                roles=[*XDMS_ROLES, "aggregation-proxy"],
                xcap={"roots": {root: DOMAIN}, "trusted": [{"identity": PRESENCE_SERVER}]},
                xdms={"listen": [{"port": web, "tls": False}]},
                proxy={"listen": [{"port": port}], "rate": 0.0},
                **common,
            ),
        )
        self.presence = Daemon(
            self,
            {
                "peers": {"transport": "tcp", "auth": "trust", "port": presence},
                "udp": {"transport": "udp", "auth": "none"},
            },
            (),
            tables(roles=["presence-server"], **common),
        )
        server = {"servers": [f"http://{HOST}:{web}/"], "sip": [f"sip:{HOST}:{sip}"]}
        self.lists = Daemon(
            self,
            {
                "peers-udp": {"transport": "udp", "auth": "trust"},
                "peers": {"transport": "tcp", "auth": "trust"},
                "tls": {"transport": "tls", "auth": "none"},
            },
            (),
            tables(
                roles=["rls"],
                accounts=str(self.documents.state / "accounts.db"),
                xcap={"roots": {root: DOMAIN}},
                fetch={
                    "server": [{"name": f"{part}-xdms", **server} for part in ("rls", "shared")]
                },
                rls={"window": 0.1, "route": f"sip:{HOST}:{presence};transport=tcp", "retry": 0.5},
                **common,
            ),
        )
        self.documents.start()
        self.presence.start()
        self.lists.start()
        certificate = self.documents.certificate
        self.client = XcapClient(port, certificate, "alice", host=root.split("/")[2])
        self.addCleanup(self.client.close)

    def test_alone(self) -> None:
        """RLO-02, RLO-10, RLS-19: lists, presence and the server of lists on their own each.

        The list is followed, and what members publish.
        """
        bob = self.presence.phone("udp", "bob")
        answer = bob.publish(pidf("bob", "here"))
        self.client.store(SERVICES, services(aor("bob")))
        alice = self.lists.phone("tls", "alice")
        watch = alice.subscribe(FRIENDS, supported="eventlist", accept=ACCEPT)
        self.assertEqual(watch.response.status, 200)
        buddies = Buddies(alice, watch)
        buddies.until({aor("bob"): "active here"})
        self.assertEqual(bob.publish(pidf("bob", "there"), answer["sip-etag"]).status, 200)
        buddies.until({aor("bob"): "active there"})
        self.client.store(SERVICES, services(aor("bob"), aor("carol")))
        buddies.until({aor("bob"): "active there", aor("carol"): "active"})
