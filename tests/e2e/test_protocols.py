"""What clients do over UDP, TCP and TLS with Digest, against the real server (issue 2, item 8)."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any

from twisted.trial.unittest import SynchronousTestCase

from tests.e2e import wire
from tests.e2e.daemon import PASSWORD, Daemon, tables
from tests.e2e.phone import DOMAIN, PIDF, Phone, aor, notes, pidf
from tests.e2e.wire import parameter

if TYPE_CHECKING:
    _Base = SynchronousTestCase
else:
    _Base = object

_SILENCE = 0.6
"""Seconds in which a NOTIFY that must not come would have come."""


class _Flows(_Base):
    """The cases; each subclass runs them over its transport."""

    point = ""
    algorithm = "SHA-256"

    def begin(self, **changed: dict[str, Any]) -> None:
        """Start a server; alice is the presentity and bob the watcher."""
        self.daemon = Daemon(self, None, ("alice", "bob"), tables(**changed)).start()
        self.alice = self.phone("alice")
        self.bob = self.phone("bob")

    def phone(self, user: str, password: str = PASSWORD) -> Phone:
        """A phone over the transport under test."""
        return self.daemon.phone(self.point, user, password, algorithm=self.algorithm)

    # -- REGISTER

    def test_register(self) -> None:
        """REGISTER with Digest binds, shows, refreshes and removes a contact (CLI-01, CLI-02)."""
        self.begin()
        answer = self.alice.register(expires=600)
        self.assertEqual(answer.status, 200)
        self.assertIn(self.alice.contact, answer["contact"])
        self.assertEqual(int(parameter(answer["contact"], "expires")), 600)
        self.assertNotIn("gruu", answer["contact"])
        query = self.alice.register(contact=None)
        self.assertIn(self.alice.contact, query["contact"])
        again = self.alice.register(expires=1200)
        self.assertEqual(len(again.every("contact")), 1)
        gone = self.alice.register(expires=0)
        self.assertEqual((gone.status, gone.every("contact")), (200, []))
        self.assertEqual(self.alice.register(to=aor("bob")).status, 403)

    def test_challenge(self) -> None:
        """Without credentials everything that counts is 401, a challenge per algorithm (AUT-02)."""
        self.begin()
        nobody = self.phone("alice", "")
        requests = {
            "REGISTER": nobody.register(),
            "PUBLISH": nobody.publish(pidf("alice", "x")),
            "SUBSCRIBE": nobody.subscribe("bob").response,
        }
        for method, answer in requests.items():
            self.assertEqual(answer.status, 401, method)
            found = [parameter(v.replace(",", ";"), "algorithm") for v in challenges(answer)]
            self.assertEqual(found, ["SHA-256", "MD5"], method)

    # -- PUBLISH

    def test_publication(self) -> None:
        """Initial, refresh, modify and remove, each with a new tag (PUB-02, PUB-03, PUB-05)."""
        self.begin()
        watch = self.bob.subscribe("alice")
        self.assertEqual(notes(self.bob.notify(watch)), [])

        first = self.alice.publish(pidf("alice", "one"), expires=600)
        self.assertEqual((first.status, first["expires"]), (200, "600"))
        self.assertEqual(notes(self.bob.notify(watch)), ["one"])

        refreshed = self.alice.publish(etag=first["sip-etag"], expires=900)
        self.assertEqual((refreshed.status, refreshed["expires"]), (200, "900"))
        self.assertTrue(self.bob.silent(watch, _SILENCE), "a refresh changes nothing (PUB-15)")

        modified = self.alice.publish(pidf("alice", "two"), refreshed["sip-etag"])
        self.assertEqual((modified.status, modified["expires"]), (200, "3600"))
        self.assertEqual(notes(self.bob.notify(watch)), ["two"])

        self.assertEqual(self.alice.publish(etag=first["sip-etag"]).status, 412)
        removed = self.alice.publish(etag=modified["sip-etag"], expires=0)
        self.assertEqual((removed.status, removed["expires"]), (200, "0"))
        self.assertEqual(notes(self.bob.notify(watch)), [])  # CLI-11
        self.assertEqual(self.alice.publish(etag=modified["sip-etag"]).status, 412)

        tags = {answer["sip-etag"] for answer in (first, refreshed, modified, removed)}
        self.assertEqual(len(tags), 4)

    def test_publication_expires(self) -> None:
        """A publication that is not refreshed is gone, and the watcher is told (PUB-10)."""
        self.begin()
        watch = self.bob.subscribe("alice")
        self.bob.notify(watch)
        answer = self.alice.publish(pidf("alice", "short"), expires=1)
        self.assertEqual(answer["expires"], "1")
        self.assertEqual(notes(self.bob.notify(watch)), ["short"])
        self.assertEqual(notes(self.bob.notify(watch)), [])
        self.assertEqual(self.alice.publish(etag=answer["sip-etag"]).status, 412)

    def test_two_sources(self) -> None:
        """Publications of one presentity live apart and are told together (PUB-11, CLI-10)."""
        self.begin()
        watch = self.bob.subscribe("alice")
        self.bob.notify(watch)
        desk = self.alice.publish(pidf("alice", "desk"))
        self.assertEqual(notes(self.bob.notify(watch)), ["desk"])
        other = self.phone("alice")
        other.publish(pidf("alice", "mobile"))  # with the same tuple id
        self.assertEqual(notes(self.bob.notify(watch)), ["desk", "mobile"])
        self.alice.publish(etag=desk["sip-etag"], expires=0)
        self.assertEqual(notes(self.bob.notify(watch)), ["mobile"])

    def test_publish_refusals(self) -> None:
        """The standard answers: 400, 403, 404, 412, 413, 415, 423, 489 (PUB-01, PUB-07, PUB-08)."""
        self.begin(publication={"min_expires": 60}, limits={"publish_rate": 0.0, "pidf_size": 2000})
        alice, body = self.alice, pidf("alice", "x")
        self.assertEqual(alice.publish().status, 400)
        self.assertEqual(alice.publish(body[:-9]).status, 400)
        self.assertEqual(alice.publish(pidf("bob", "x"), user="alice").status, 400)
        self.assertEqual(alice.publish(pidf("bob", "x"), user="bob").status, 403)
        foreign = alice.request("PUBLISH", "sip:alice@elsewhere.test", body=body)
        self.assertEqual(foreign.status, 404)
        self.assertEqual(alice.publish(body, "unknown").status, 412)
        self.assertEqual(alice.publish(pidf("alice", "x" * 3000)).status, 413)
        wrong = alice.publish(body, content_type="text/plain")
        documents = f"{PIDF}, application/pidf-diff+xml"
        taken = f"{documents}, multipart/related, message/external-body"
        self.assertEqual((wrong.status, wrong["accept"]), (415, taken))
        brief = alice.publish(body, expires=59)
        self.assertEqual((brief.status, brief["min-expires"]), (423, "60"))
        bad = alice.publish(body, event="dialog")
        self.assertEqual((bad.status, bad["allow-events"]), (489, "presence"))
        self.assertEqual(alice.publish(body, event=None).status, 489)
        self.assertEqual(notes(self.bob.notify(self.bob.subscribe("alice"))), [])

    # -- SUBSCRIBE

    def test_subscription(self) -> None:
        """SUBSCRIBE, NOTIFY with body, refresh and unsubscribe (SUB-07, SUB-08, SUB-10, SUB-13)."""
        self.begin()
        self.alice.publish(pidf("alice", "here"))
        watch = self.bob.subscribe("alice", expires=600)
        self.assertEqual((watch.response.status, watch.response["expires"]), (200, "600"))
        told = self.bob.notify(watch)
        self.assertEqual(notes(told), ["here"])
        self.assertTrue(told["subscription-state"].startswith("active;expires="))
        self.assertAlmostEqual(state_expires(told), 600, delta=10)

        self.assertEqual(self.bob.resubscribe(watch, expires=900).status, 200)
        told = self.bob.notify(watch)
        self.assertEqual(notes(told), ["here"])
        self.assertAlmostEqual(state_expires(told), 900, delta=10)

        self.assertEqual(self.bob.resubscribe(watch, expires=0)["expires"], "0")
        ended = self.bob.notify(watch)
        self.assertEqual(ended["subscription-state"], "terminated;reason=timeout")
        self.alice.publish(pidf("alice", "later"))
        self.assertTrue(self.bob.silent(watch, _SILENCE))
        self.assertEqual(self.bob.resubscribe(watch).status, 481)

    def test_contact_of_the_connection(self) -> None:
        """NOTIFYs go to the very socket that subscribed, whatever its port (CLI-08, TRN-20)."""
        self.begin()
        watch = self.bob.subscribe("alice")
        told = self.bob.notify(watch)
        self.assertIn(f"{self.bob.wire.local[1]}", told.start)
        self.assertTrue(told["via"].startswith(f"SIP/2.0/{self.bob.wire.protocol} "))
        for number in range(3):
            self.alice.publish(pidf("alice", f"{number}"))
            self.assertIn(f"{number}", notes(self.bob.notify(watch)))

    def test_fetch(self) -> None:
        """A fetch gets one last NOTIFY with the state, and nothing stays (SUB-09)."""
        self.begin()
        self.alice.publish(pidf("alice", "here"))
        watch = self.bob.subscribe("alice", expires=0)
        self.assertEqual((watch.response.status, watch.response["expires"]), (200, "0"))
        told = self.bob.notify(watch)
        self.assertEqual(notes(told), ["here"])
        self.assertEqual(told["subscription-state"], "terminated;reason=timeout")
        self.alice.publish(pidf("alice", "later"))
        self.assertTrue(self.bob.silent(watch, _SILENCE))
        self.assertEqual(self.bob.resubscribe(watch).status, 481)

    def test_subscription_expires(self) -> None:
        """A subscription that is not refreshed ends with a NOTIFY (NOT-08, SUB-11)."""
        self.begin()
        watch = self.bob.subscribe("alice", expires=1)
        self.bob.notify(watch)
        ended = self.bob.notify(watch)
        self.assertEqual(ended["subscription-state"], "terminated;reason=timeout")
        self.assertEqual(self.bob.resubscribe(watch).status, 481)

    def test_subscribe_refusals(self) -> None:
        """Refusals 403, 404, 406, 415, 423, 481, 489 (SUB-01, SUB-03, SUB-06, SUB-17)."""
        self.begin(
            subscription={"min_expires": 60, "notify_interval": 0.0},
        )
        bob = self.bob
        bad = bob.subscribe("alice", event="dialog").response
        self.assertEqual((bad.status, bad["allow-events"]), (489, "presence"))
        self.assertEqual(bob.subscribe("alice", event="Presence").response.status, 489)  # EVT-05
        brief = bob.subscribe("alice", expires=59).response
        self.assertEqual((brief.status, brief["min-expires"]), (423, "60"))
        picky = bob.subscribe("alice", accept="text/plain").response
        self.assertEqual(
            (picky.status, picky["accept"]), (406, f"{PIDF}, application/pidf-diff+xml")
        )
        filled = bob.request(
            "SUBSCRIBE", aor("alice"), body=b"<x/>", content_type="application/unknown+xml"
        )
        self.assertEqual(filled.status, 415)
        self.assertEqual(bob.request("SUBSCRIBE", "sip:alice@elsewhere.test").status, 404)
        lost = bob.request("SUBSCRIBE", aor("alice"), to_tag="never-given")
        self.assertEqual(lost.status, 481)
        self.assertEqual(bob.listen(_SILENCE), [])

    def test_blocked(self) -> None:
        """A watcher whom the operator's default blocks gets 403 and no NOTIFY (SUB-14)."""
        self.begin(subscription={"default_decision": "block"})
        self.assertEqual(self.bob.subscribe("alice").response.status, 403)
        self.assertEqual(self.bob.listen(_SILENCE), [])

    def test_foreign_dialog(self) -> None:
        """Nobody else may refresh a subscription, knowing its dialog (AUT-13)."""
        self.begin()
        watch = self.bob.subscribe("alice")
        self.bob.notify(watch)
        stolen = self.alice.request(
            "SUBSCRIBE",
            watch.target,
            to=watch.uri,
            call_id=watch.call_id,
            tag=watch.tag,
            to_tag=watch.remote_tag,
            cseq=watch.cseq + 1,
            expires=0,
        )
        self.assertEqual(stolen.status, 403)
        self.assertEqual(self.bob.resubscribe(watch).status, 200)

    # -- the rest

    def test_options(self) -> None:
        """OPTIONS tells methods, packages and types, to server and presentity (UAS-10, PUB-18)."""
        self.begin()
        for uri in (f"sip:{DOMAIN}", aor("alice")):
            answer = self.bob.request("OPTIONS", uri)
            self.assertEqual(answer.status, 200)
            self.assertLessEqual(
                {"PUBLISH", "SUBSCRIBE", "OPTIONS", "REGISTER"}, answer.tokens("allow")
            )
            self.assertEqual(answer.tokens("allow-events"), {"presence"})
            self.assertIn(PIDF, answer.tokens("accept"))

    def test_unserved(self) -> None:
        """405, 416, 420 and 501 for what is not served (UAS-01, UAS-02, UAS-04)."""
        self.begin()
        message = self.bob.request("MESSAGE", aor("alice"))
        self.assertEqual(message.status, 405)
        self.assertIn("PUBLISH", message.tokens("allow"))
        self.assertEqual(self.bob.request("FROB", aor("alice")).status, 501)
        self.assertEqual(self.bob.request("OPTIONS", "mailto:alice@example.com").status, 416)
        odd = self.bob.request("OPTIONS", aor("alice"), require="frob")
        self.assertEqual((odd.status, odd["unsupported"]), (420, "frob"))


def challenges(message: wire.Message) -> list[str]:
    """The WWW-Authenticate values of a 401."""
    return message.every("www-authenticate")


def state_expires(message: wire.Message) -> int:
    """The seconds left of Subscription-State."""
    return int(parameter(message["subscription-state"], "expires"))


class UdpFlows(_Flows, SynchronousTestCase):
    """Over UDP."""

    point = "udp"


class TcpFlows(_Flows, SynchronousTestCase):
    """Over TCP, with the Digest that most telephones speak."""

    point = "tcp"
    algorithm = "MD5"


class TlsFlows(_Flows, SynchronousTestCase):
    """Over TLS with the certificate that the server has made for itself."""

    point = "tls"

    def test_certificate(self) -> None:
        """Clients that trust the generated certificate connect, others do not (TRN-02, TRN-22)."""
        self.begin()
        other = ssl.create_default_context()
        with self.assertRaises(ssl.SSLCertVerificationError):
            other.wrap_socket(
                wire.socket.create_connection((wire.HOST, self.daemon.port("tls"))),
                server_hostname=wire.HOST,
            )
        self.assertEqual(self.phone("alice").register().status, 200)

    def test_sips(self) -> None:
        """A sips URI is served over TLS; over TCP it is refused with 480 (TRN-24, DLG-14)."""
        self.begin()
        uri = f"sips:alice@{DOMAIN}"
        contact = f"<{self.bob.contact.replace('sip:', 'sips:', 1).partition(';')[0]}>"
        answer = self.bob.request("SUBSCRIBE", uri, contact=contact)
        self.assertEqual(answer.status, 200)
        self.assertTrue(answer["contact"].startswith("<sips:"))
        self.assertEqual(len(self.bob.listen(_SILENCE)), 1)
        plain = self.daemon.phone("tcp", "bob")
        self.assertEqual(plain.request("SUBSCRIBE", uri).status, 480)
