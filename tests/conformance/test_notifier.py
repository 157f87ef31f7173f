"""Decisions, views and NOTIFYs at a whole node (events.md A, C and E, oma-presence.md 4.1)."""

from __future__ import annotations

import ipaddress
import itertools
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from presence.policy import OperatorWatcherPolicy
from pysip.auth.client import ClientCredentials
from pysip.auth.digest import ha1
from pysip.auth.domains import Domains
from pysip.auth.server import DigestAuthenticator
from pysip.auth.trust import IdentityPolicy, TrustPolicy
from pysip.errors import SipError
from pysip.message import Request, Response, response_to
from tests.node import ALICE, BOB, DOMAIN, Node, Peer, pidf

ISC = "192.0.2.20"


class NotifierCase(SynchronousTestCase):
    """A node, Bob who publishes and Alice who watches."""

    def make(self, **settings: Any) -> None:
        """Start them."""
        self.node = Node(**settings)
        self.alice = self.node.peer(ISC)
        self.bob = self.node.peer("192.0.2.10")
        self.tag: str | None = None

    def publish(self, note: str) -> None:
        """Bob publishes, modifying what he published before."""
        response = self.bob.publish(pidf(note=note), sip_if_match=self.tag)
        self.assertEqual(response.status, 200)
        self.tag = response.first("sip-etag")

    def decide(self, decision: Any) -> None:
        """The operator's default changes; nobody is told yet."""
        self.node.presence.package.watchers = OperatorWatcherPolicy(decision)

    def states(self, peer: Peer | None = None) -> list[str]:
        """Subscription-State values of the NOTIFYs, without parameters."""
        notifies = (peer or self.alice).notifies()
        return [(n.first("subscription-state") or "").partition(";")[0] for n in notifies]


class AnswerAtOnceTests(NotifierCase):
    """Nobody waits for a human, nor for watchers."""

    def test_open_decision(self) -> None:
        """An open decision: 202 and a NOTIFY pending, both at once (SUB-21, TXN-21, NOT-09)."""
        self.make(decision="confirm")
        self.publish("secret")
        response = self.alice.ask(self.alice.request("SUBSCRIBE"), seconds=0.02)
        self.assertEqual(response.status, 202)
        (notify,) = self.alice.notifies()
        self.assertEqual(self.states(), ["pending"])
        self.assertEqual(notify.body, b"")
        self.assertEqual(self.alice.subscribe(expires=0, call_id="fetch").status, 202)

    def test_publish_waits_for_nobody(self) -> None:
        """200 to PUBLISH while no watcher answers, and before any NOTIFY (PUB-14)."""
        self.make()
        self.alice.answer = 0
        for number in range(5):
            self.alice.subscribe(call_id=f"c{number}")
        seen: list[bytes] = []
        self.node.network.taps.append(lambda *what: seen.append(what[3][:7]))
        response = self.bob.ask(self.bob.request("PUBLISH", body=pidf(), sender=BOB), seconds=0.02)
        self.assertEqual(response.status, 200)
        self.assertEqual(seen[:2], [b"PUBLISH", b"SIP/2.0"])


class FormatTests(NotifierCase):
    """What a SUBSCRIBE asks for, and what is sent."""

    def test_preference(self) -> None:
        """Of the formats in Accept the best that can be made (NOT-04)."""
        self.make()
        for number, (accept, kind) in enumerate(
            (
                ("application/pidf-diff+xml;q=1, application/pidf+xml;q=0.3", "pidf-diff"),
                ("application/pidf-diff+xml;q=0.2, application/pidf+xml;q=0.3", "pidf"),
                ("text/plain, application/pidf+xml;q=0.001", "pidf"),
                ("application/*;q=0.5, text/*", "pidf"),
            )
        ):
            self.assertEqual(self.alice.subscribe(call_id=f"c{number}", accept=accept).status, 200)
            notify = self.alice.notifies()[-1]
            self.assertEqual(notify.first("content-type"), f"application/{kind}+xml")

    def test_package(self) -> None:
        """No body and no parameter is needed; parameters nobody knows do not matter (PRE-01)."""
        self.make()
        for number, event in enumerate(("presence", "presence ; x=1", "presence;x")):
            response = self.alice.subscribe(call_id=f"c{number}", event=event)
            self.assertEqual(response.status, 200)
            self.assertEqual(self.alice.notifies()[-1].first("event"), "presence")


class OutcomeTests(NotifierCase):
    """What becomes of a NOTIFY that fails."""

    def test_removal_frees(self) -> None:
        """After a 481 tables, limits, views and timers are as before (NOT-11, EVT-02)."""
        self.make()
        self.publish("x")
        self.node.advance(40)
        timers = len(self.node.wheel)
        self.alice.answer = 481
        for number in range(20):  # twice the limit of a pair
            self.assertEqual(self.alice.subscribe(call_id=f"c{number}").status, 200)
            self.node.advance(0.5)
        self.assertEqual(len(self.node.presence.notifier), 0)
        self.assertEqual(self.node.presence.notifier.resources(), [])
        self.assertEqual(len(self.node.presence.package._views), 0)
        self.node.advance(40)
        self.assertEqual(len(self.node.wheel), timers)
        again = self.node.restart()
        self.assertEqual(len(again.presence.notifier), 0)

    def test_failure_is_no_delivery(self) -> None:
        """State whose NOTIFY failed is sent again, though nothing has changed since (NOT-12)."""
        self.make()
        self.publish("one")
        self.alice.subscribe()
        self.alice.answer = lambda request: _busy(request, 3)
        self.publish("two")
        self.alice.answer = 200
        self.node.advance(1)
        self.assertEqual(len(self.alice.notifies()), 2)
        self.node.advance(3)
        notifies = self.alice.notifies()
        self.assertEqual([n.cseq[0] for n in notifies], [1, 2, 3])
        self.assertEqual(notifies[2].body, notifies[1].body)
        self.node.advance(10)
        self.assertEqual(len(self.alice.notifies()), 3)

    def test_back_to_what_was_delivered(self) -> None:
        """The failed NOTIFY may have been seen: the state before it is told anew (NOT-12)."""
        self.make()
        self.publish("one")
        self.alice.subscribe()
        self.alice.answer = lambda request: _busy(request, 3)
        self.publish("two")
        self.alice.answer = 200
        self.publish("one")
        self.node.advance(5)
        self.assertIn(b"one", self.alice.notifies()[-1].body)
        self.assertEqual(len(self.alice.notifies()), 3)


def _busy(request: Request, seconds: int) -> Response:
    return response_to(request, 503, headers=(("Retry-After", str(seconds)),))


class Accounts:
    """Alice's and Bob's accounts."""

    def ha1(self, username: str, realm: str, algorithm: str) -> str | None:
        """HA1 of either."""
        known = username in ("alice", "bob")
        return ha1(username, realm, "secret", algorithm) if known else None

    def identities(self, username: str, realm: str) -> tuple[str, ...]:
        """Their addresses."""
        return (f"sip:{username}@{DOMAIN}",)


class AuthenticationTests(NotifierCase):
    """Watchers are authenticated and decided on (PRE-03, PRE-12, UAS-15)."""

    def make(self, **settings: Any) -> None:
        """With Digest, and a trusted peer."""
        accounts = Accounts()
        identities = IdentityPolicy(
            TrustPolicy([(ipaddress.ip_network("192.0.2.30"), None)]),
            Domains([DOMAIN]),
            mode="both",
            authenticator=DigestAuthenticator(accounts, b"0123456789abcdef"),
            accounts=accounts,
        )
        super().make(identities=identities, **settings)

    def digest(self, name: str = "alice") -> Response:
        """A SUBSCRIBE with Digest."""
        sender = f"sip:{name}@{DOMAIN}"
        refused = self.alice.subscribe(sender=sender, call_id=name)
        self.assertEqual(refused.status, 401)
        self.assertNotIn("proxy-authenticate", refused.headers)
        answer = ClientCredentials(name, "secret").authorize(
            refused.headers["www-authenticate"], "SUBSCRIBE", BOB, b""
        )
        return self.alice.subscribe(sender=sender, call_id=name, authorization=answer)

    def test_both_ways(self) -> None:
        """Digest, and the asserted identity of a trusted domain, count as proof (PRE-12)."""
        self.make()
        self.assertEqual(self.digest().status, 200)
        trusted = self.node.peer("192.0.2.30")
        asserted = {"p_asserted_identity": f"<{ALICE}>"}
        self.assertEqual(trusted.subscribe(**asserted).status, 200)
        watchers = self.node.presence.notifier.subscriptions("presence", BOB)
        self.assertEqual({each.watcher.uri for each in watchers}, {ALICE})
        stranger = self.node.peer("192.0.2.66")
        self.assertEqual(stranger.subscribe(**asserted).status, 401)

    def test_decisions(self) -> None:
        """Allow, block, confirm and polite-block, after authentication (PRE-03, SUB-14)."""
        for decision, status, state in (
            ("allow", 200, "active"),
            ("block", 403, ""),
            ("confirm", 202, "pending"),
            ("polite-block", 200, "active"),
        ):
            self.make(decision=decision)
            self.assertEqual(self.digest().status, status)
            self.assertEqual(self.states(), [state] if state else [])
            self.assertEqual(self.digest("bob").status, 200)  # himself

    def test_unknown(self) -> None:
        """Who proves nothing makes nothing, whatever the decision would be (PRE-03)."""
        self.make(decision="allow")
        self.assertEqual(self.alice.subscribe().status, 401)
        self.assertEqual(self.alice.notifies(), [])
        self.assertEqual(len(self.node.presence.notifier), 0)


class OrderTests(NotifierCase):
    """The order of a SUBSCRIBE (ORD-01)."""

    def test_order(self) -> None:
        """Of two faults the one that is looked for first is told (ORD-01, PRE-10).

        Overload, identity, presentity, Event, authorization, Expires, Accept, body: the identity
        goes before the Event as UAS-01 has it, Expires after the decision as SUB-03 and RFC 6665
        section 4.2.1.1 have it.
        """
        self.make(decision="block")
        fields: dict[str, Any] = {
            "uri": "sip:bob@elsewhere.example",
            "event": "x",
            "expires": 5,
            "accept": "text/plain",
            "body": b"x",
            "content_type": "text/x-filter",
            "contact": "*",
        }
        layer = self.node.ua.layer
        layer._admission = Shut()  # type: ignore[assignment]
        self.node.identities.identify = _nobody  # type: ignore[method-assign]
        self.expect(503, fields)
        layer._admission = None
        self.expect(403, fields, "Nobody")
        del self.node.identities.identify
        self.expect(404, fields)
        fields["uri"] = BOB
        self.expect(489, fields)
        del fields["event"]
        self.expect(403, fields)
        self.decide("allow")
        self.expect(423, fields)
        del fields["expires"]
        self.expect(406, fields)
        del fields["accept"]
        self.expect(415, fields)
        del fields["body"]
        self.expect(400, fields)
        del fields["contact"]
        self.expect(200, fields)
        self.assertEqual(len(self.node.presence.notifier), 1)

    def expect(self, status: int, fields: dict[str, Any], reason: str = "") -> None:
        """A SUBSCRIBE with these fields is answered so."""
        response = self.alice.subscribe(**fields)
        self.assertEqual((response.status, fields), (status, fields))
        self.assertIn(reason, response.reason)


class Shut:
    """Admits nothing."""

    def admit(self, method: str, initial: bool) -> int:
        """Half a minute."""
        return 30


def _nobody(request: Request, flow: object) -> None:
    raise SipError(403, "Nobody")


class PipelineTests(NotifierCase):
    """From publications to a NOTIFY (ORD-02 to ORD-05)."""

    def test_interval(self) -> None:
        """One NOTIFY in five seconds, the newest state at their end (PRE-09, NOT-13)."""
        self.make(interval=5.0)
        self.alice.subscribe()
        times: list[float] = []
        self.alice.answer = lambda request: times.append(self.node.clock.seconds()) or 200
        for number in range(40):
            self.publish(f"n{number}")
            self.node.advance(0.4)
        self.node.advance(6)
        gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
        self.assertGreaterEqual(len(gaps), 3)
        for gap in gaps:
            self.assertGreaterEqual(gap, 4.9)
        self.assertIn(b"n39", self.alice.notifies()[-1].body)

    def test_made_when_sent(self) -> None:
        """What is sent at the end of the interval is what holds then (ORD-03).

        The last publication of the interval has expired before its end.
        """
        self.make(interval=200.0)
        self.publish("lasting")
        self.alice.subscribe()
        self.bob.publish(pidf(note="passing").replace(b"t1", b"t2"), call_id="2", expires=60)
        self.node.advance(100)
        self.assertEqual(len(self.alice.notifies()), 1)
        self.publish("newest")
        self.node.advance(110)
        body = self.alice.notifies()[-1].body
        self.assertIn(b"newest", body)
        self.assertNotIn(b"passing", body)

    def test_nothing_to_tell_after_all(self) -> None:
        """A change that is taken back within the interval makes no NOTIFY (ORD-03, NOT-14)."""
        self.make(interval=5.0)
        self.publish("one")
        self.alice.subscribe()
        self.publish("two")
        self.publish("one")
        self.node.advance(10)
        self.assertEqual(len(self.alice.notifies()), 1)

    def test_any_node(self) -> None:
        """The same publications give the same octets at any node, and after a restart (ORD-04)."""
        bodies = []
        for seed in (1, 2):
            self.make(seed=seed)
            for number in range(3):
                document = pidf(note=f"n{number}")
                self.bob.publish(document, call_id=f"p{number}")
                self.node.advance(1)
            self.alice.subscribe(expires=0)
            bodies.append(self.alice.notifies()[-1].body)
        node = self.node.restart()
        alice = node.peer("192.0.2.25")
        alice.subscribe(expires=0)
        bodies.append(alice.notifies()[-1].body)
        for note in (b"n0", b"n1", b"n2"):
            self.assertIn(note, bodies[0])
        self.assertEqual(len(set(bodies)), 1)

    def test_authorized_again(self) -> None:
        """A decision that changed since the SUBSCRIBE holds for the next NOTIFY (ORD-05)."""
        for decision, seen in (
            ("allow", True),
            ("polite-block", False),
            ("block", False),
            ("confirm", False),
        ):
            self.make(interval=5.0)
            self.alice.subscribe()
            self.publish("secret")
            self.decide(decision)
            self.node.advance(10)
            bodies = b"".join(notify.body for notify in self.alice.notifies())
            self.assertEqual(b"secret" in bodies, seen, decision)
