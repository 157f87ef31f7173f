"""Publications and permanent documents make one presence, over SIP and HTTPS (issue 4)."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.e2e.daemon import OPEN_POINTS, Daemon
from tests.e2e.deployments import USERS, AllInOne, Apart, Deployment
from tests.e2e.phone import NOTED, Phone, Watch, aor, notes, pidf
from tests.e2e.test_rules import EVERYTHING, RULES, one, rule, ruleset
from tests.e2e.wire import Message
from tests.e2e.xdm import index

TARGET = index("alice", "pidf-manipulation")
_DM = "urn:ietf:params:xml:ns:pidf:data-model"
_RPID = "urn:ietf:params:xml:ns:pidf:rpid"


def person(inner: str, note: str = "here") -> bytes:
    """A document of alice: a service with a note, and a person."""
    element = f'<dm:person xmlns:dm="{_DM}" xmlns:r="{_RPID}" id="p1">{inner}</dm:person>'
    return pidf("alice", note).replace(b"</presence>", f"{element}</presence>".encode())


def instant(seconds: float) -> str:
    """A time, seconds since 1970, as documents say it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


class WithoutLists(Deployment):
    """A Presence Server with the documents of presence only: lists are out of reach."""

    def __init__(self, case: SynchronousTestCase, **changed: Any) -> None:
        super().__init__(case)
        roles = ["presence-server", "presence-xdms", "aggregation-proxy"]
        proxy = {"listen": [{"port": self.port}], "rate": 0.0}
        self.proxy = Daemon(
            case, OPEN_POINTS, USERS, self._settings(roles=roles, proxy=proxy, **changed)
        )
        self.parts = dict.fromkeys(roles, self.proxy)
        self.start()


class CompositionTestCase(SynchronousTestCase):
    """Base with a server where everybody may watch."""

    def setUp(self) -> None:
        """Start."""
        self.xdm = self.deploy({"subscription": {"default_decision": "allow"}})
        self.server = self.xdm.parts["presence-server"]
        self.alice, self.bob = self.phone("alice"), self.phone("bob")
        self.client = self.xdm.client()

    def deploy(self, settings: Mapping[str, Any]) -> Deployment:
        """Start all servers."""
        return AllInOne(self, **settings)

    def phone(self, user: str) -> Phone:
        """Somebody's phone, on TCP."""
        return self.server.phone("tcp", user)

    def watch(self) -> Watch:
        """Bob subscribes to alice; the first NOTIFY is still to come."""
        watch = self.bob.subscribe("alice")
        self.assertEqual(watch.response.status, 200)
        return watch

    def told(self, watch: Watch) -> Message:
        """The next NOTIFY to bob."""
        told = self.bob.notify(watch)
        self.assertEqual(told["subscription-state"].partition(";")[0], "active")
        return told

    def publish(self, body: bytes, **fields: Any) -> str:
        """Alice publishes; the entity-tag."""
        response = self.alice.publish(body, **fields)
        self.assertEqual(response.status, 200)
        return response["sip-etag"]


class PermanentState(CompositionTestCase):
    """The document of pidf-manipulation (RFC 4827)."""

    def test_life(self) -> None:
        """It is told as it is written, with what is published and without, until it is removed.

        COM-01, COM-42, COM-46, XDM-62, XDM-64, XDM-65.
        """
        watch = self.watch()
        self.assertEqual(notes(self.told(watch)), [])
        self.client.store(TARGET, pidf("alice", "always"))
        self.assertEqual(notes(self.told(watch)), ["always"])
        step = "/~~/presence/tuple%5b@id=%22t1%22%5d/note"
        answer = self.client.put(f"{TARGET}{step}", b"<note>ever</note>")
        self.assertEqual(answer.status, 200)
        self.assertEqual(notes(self.told(watch)), ["ever"])
        etag = self.publish(pidf("alice", "now", "t2", "closed"))
        self.assertEqual(notes(self.told(watch)), ["ever", "now"])
        self.assertEqual(notes(self.fetched()), ["ever", "now"])
        self.assertEqual(self.alice.publish(etag=etag, expires=0).status, 200)
        self.assertEqual(notes(self.told(watch)), ["ever"])
        self.assertEqual(self.client.get(TARGET).body.count(b"now"), 0, "no PUBLISH changes it")
        refused = self.client.put(TARGET, pidf("alice", "x").replace(b"<status>", b"<stat>"))
        self.assertEqual(refused.status, 409)
        self.assertEqual(self.client.delete(TARGET).status, 200)
        self.assertEqual(notes(self.told(watch)), [])
        self.assertTrue(self.bob.silent(watch, 0.3))

    def fetched(self) -> Message:
        """What bob gets without a subscription."""
        watch = self.bob.subscribe("alice", expires=0)
        self.assertEqual(watch.response.status, 200)
        return self.bob.notify(watch)

    def test_restart(self) -> None:
        """After a restart it takes part as before, and is followed (PSV-20, PSV-10).

        COM-46: who fetches the presence of somebody whom nobody watches gets it, too (PSV-08).
        """
        self.client.store(TARGET, pidf("alice", "always"))
        self.assertEqual(notes(self.fetched()), ["always"])
        self.publish(pidf("alice", "now", "t2", "closed"))
        watch = self.watch()
        self.assertEqual(notes(self.told(watch)), ["always", "now"])
        self.bob.listen(NOTED)
        self.server.restart()
        self.bob.wire = self.server.wire("tcp")
        host, port = self.bob.wire.local
        self.bob.contact = f"sip:bob@{host}:{port};transport=tcp"
        self.assertEqual(self.bob.resubscribe(watch).status, 200)
        self.assertEqual(notes(self.told(watch)), ["always", "now"])
        client = self.xdm.client()
        client.store(TARGET, pidf("alice", "later"))
        self.assertEqual(notes(self.told(watch)), ["later", "now"])


class PermanentStateApart(PermanentState):
    """The same with Presence Server, document servers and proxy as processes of their own.

    XDM-64, PSV-07, PSV-10, PRS-8.
    """

    def deploy(self, settings: Mapping[str, Any]) -> Deployment:
        """Start all servers."""
        return Apart(self, presence=settings)

    def test_outage(self) -> None:
        """PSV-08, PSV-10: who publishes has the documents at hand when the server is down.

        SUB-18: changes of more users are followed than a watcher may subscribe to.
        """
        self.client.store(TARGET, pidf("alice", "always"))
        self.publish(pidf("alice", "now", "t2", "closed"))
        for number in range(15):
            user = f"u{number}"
            self.assertEqual(self.phone(user).publish(pidf(user, "now")).status, 200)
        xdms = self.xdm.parts["presence-xdms"]
        self.server.expected = xdms.expected = "cannot be reached|back-end|subscribed|subscription"
        time.sleep(2.0)  # all is fetched and followed after the 200, without anybody to tell
        self.assertNotIn("cannot be subscribed to", self.server.log())
        xdms.kill()
        self.assertEqual(notes(self.told(self.watch())), ["always", "now"])
        xdms.start()


class Sphere(CompositionTestCase):
    """What the permanent document says decides, too."""

    def test_sphere(self) -> None:
        """XDM-116: the sphere in it decides with the rules, as one that is published."""
        at_work = f'{one("bob")}<cp:sphere value="work"/>'
        self.client.store(
            RULES,
            ruleset(rule("work", at_work, "allow", EVERYTHING), rule("b", one("bob"), "confirm")),
        )
        watch = self.bob.subscribe("alice")
        self.assertEqual(watch.response.status, 202)
        self.assertEqual(self.bob.notify(watch)["subscription-state"].partition(";")[0], "pending")
        self.client.store(TARGET, person("<r:sphere><r:work/></r:sphere>"))
        self.assertIn(b"sphere", self.told(watch).body)


class PresenceDocuments(CompositionTestCase):
    """The documents of presence are here, those of lists are not."""

    def deploy(self, settings: Mapping[str, Any]) -> Deployment:
        """Start the server."""
        return WithoutLists(self, **settings)

    def test_permanent(self) -> None:
        """XDM-64: the permanent document is told and followed all the same."""
        self.client.store(TARGET, pidf("alice", "always"))
        watch = self.watch()
        self.assertEqual(notes(self.told(watch)), ["always"])
        self.assertEqual(self.client.delete(TARGET).status, 200)
        self.assertEqual(notes(self.told(watch)), [])


class Sources(CompositionTestCase):
    """Publications by OMA's policy."""

    def awaited(self, watch: Watch, expected: str, *, without: bytes = b"more") -> Message:
        """The first NOTIFY with the notes that are expected, and without something."""
        while True:
            told = self.told(watch)
            if " ".join(notes(told)) == expected and without not in told.body:
                return told

    def test_end(self) -> None:
        """COM-42: the end of one of two publications is told: it expires, or is removed."""
        self.publish(pidf("alice", "here"))
        other = pidf("alice", "short", "t2", "closed")
        watch = self.watch()
        self.awaited(watch, "here")
        self.publish(other, expires=1)
        self.awaited(watch, "here short")
        self.awaited(watch, "here")
        etag = self.publish(other)
        self.awaited(watch, "here short")
        self.assertEqual(self.alice.publish(etag=etag, expires=0).status, 200)
        self.awaited(watch, "here")

    def test_until(self) -> None:
        """COM-42, RPI-02: the end of something said is told, without a request of anybody."""
        end = int(time.time()) + 4
        said = f'<r:activities until="{instant(end)}"><r:meeting/></r:activities>'
        self.publish(person(said))
        watch = self.watch()
        self.awaited(watch, "here", without=b"meeting")
        self.assertGreaterEqual(time.time(), end)
        self.assertTrue(self.bob.silent(watch, 0.3))

    def test_merged(self) -> None:
        """COM-10, COM-11, COM-42: what two sources say as one is what the other says alone."""
        both = pidf("alice", "here").replace(
            b"</tuple>", b'<contact priority="0.5">sip:a@x</contact></tuple>'
        )
        both = both.replace(b"<note>here</note><contact", b"<contact").replace(
            b"</contact></tuple>", b"</contact><note>here</note></tuple>"
        )
        self.publish(both)
        etag = self.publish(both.replace(b"0.5", b"0.9").replace(b'"t1"', b'"t2"'))
        watch = self.watch()
        told = self.told(watch)
        self.assertEqual((told.body.count(b"<tuple"), b"0.9" in told.body), (1, True), told.body)
        self.assertEqual(self.alice.publish(etag=etag, expires=0).status, 200)
        told = self.told(watch)
        self.assertEqual((told.body.count(b"<tuple"), b"0.5" in told.body), (1, True), told.body)
        self.assertIn(aor("alice").encode(), told.body)
