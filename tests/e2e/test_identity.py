"""Who may say to be whom, against the real server (issue 2: "are refused", sip-core 8 and 9)."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.e2e import wire
from tests.e2e.daemon import PASSWORD, Daemon, tables
from tests.e2e.phone import DOMAIN, Phone, aor, challenge_for, credentials, notes, pidf


class DigestRefusals(SynchronousTestCase):
    """What a Digest listening point refuses."""

    def setUp(self) -> None:
        """Start a server with the accounts alice and bob."""
        self.daemon = Daemon(self, None, ("alice", "bob")).start()
        self.alice = self.daemon.phone("udp", "alice")

    def assert_nothing_published(self, user: str = "alice") -> None:
        """No publication of ``user`` is there."""
        bob = self.daemon.phone("udp", "bob")
        self.assertEqual(notes(bob.notify(bob.subscribe(user, expires=0))), [])

    def test_wrong_password(self) -> None:
        """A wrong password is challenged again, and the fifth one refused (AUT-08, AUT-15)."""
        thief = self.daemon.phone("udp", "alice", "guess")
        answers = [thief.publish(pidf("alice", "x")) for _ in range(6)]
        self.assertEqual([a.status for a in answers], [401] * 5 + [403])
        self.assertNotIn("stale", answers[0]["www-authenticate"])
        # the right one is refused as well, from there and for this user only
        self.assertEqual(self.alice.publish(pidf("alice", "x")).status, 403)
        self.assertEqual(self.daemon.phone("udp", "bob").register().status, 200)
        self.assert_nothing_published()

    def test_unknown_user(self) -> None:
        """A user without account is answered like a wrong password (AUT-08)."""
        nobody = self.daemon.phone("udp", "nobody")
        self.assertEqual(nobody.publish(pidf("nobody", "x")).status, 401)
        self.assertEqual(nobody.register().status, 401)

    def test_modified_from(self) -> None:
        """A From that is no identity of the Digest user is 403 (AUT-11)."""
        for method, uri in (
            ("PUBLISH", aor("bob")),
            ("SUBSCRIBE", aor("bob")),
            ("SUBSCRIBE", aor("alice")),
            ("REGISTER", f"sip:{DOMAIN}"),
        ):
            body = pidf("bob", "forged") if method == "PUBLISH" else b""
            answer = self.alice.request(
                method, uri, sender=aor("bob"), to=aor("bob"), body=body, expires=60
            )
            self.assertEqual(answer.status, 403, method)
        self.assert_nothing_published("bob")

    def test_forged_identity(self) -> None:
        """P-Asserted-Identity of an untrusted sender is as if it were not there (IMS-01)."""
        forged = f"<{aor('bob')}>"
        unproven = self.daemon.phone("udp", "bob", "")
        answer = unproven.publish(pidf("bob", "forged"), p_asserted_identity=forged)
        self.assertEqual(answer.status, 401)
        other = self.alice.publish(pidf("bob", "forged"), user="bob", p_asserted_identity=forged)
        self.assertEqual(other.status, 403)
        self.assertEqual(
            self.alice.publish(pidf("alice", "x"), p_preferred_identity=forged).status, 403
        )
        self.assert_nothing_published("bob")

    def test_replayed_digest(self) -> None:
        """Credentials seen before are 401 with stale=true, for the thief's body too (AUT-06)."""
        alice = self.alice
        uri = aor("alice")
        challenge = challenge_for(alice.ask(*alice.build("PUBLISH", uri)), "SHA-256")
        proof = credentials(challenge, "alice", PASSWORD, "PUBLISH", uri)
        first = alice.publish(pidf("alice", "mine"), authorization=proof)
        self.assertEqual(first.status, 200)

        thief = self.daemon.phone("udp", "alice", "")
        replayed = thief.publish(pidf("alice", "forged"), authorization=proof)
        self.assertEqual(replayed.status, 401)
        self.assertIn("stale=true", replayed["www-authenticate"])
        removal = thief.publish(etag=first["sip-etag"], expires=0, authorization=proof)
        self.assertEqual(removal.status, 401)
        # the next count with the same nonce is the owner's alone to make
        proof = credentials(challenge, "alice", PASSWORD, "PUBLISH", uri, count=2)
        again = alice.publish(etag=first["sip-etag"], authorization=proof)
        self.assertEqual(again.status, 200)
        forged = proof.replace("nc=00000002", "nc=00000003")
        self.assertEqual(thief.publish(etag=first["sip-etag"], authorization=forged).status, 401)

        bob = self.daemon.phone("udp", "bob")
        self.assertEqual(notes(bob.notify(bob.subscribe("alice", expires=0))), ["mine"])

    def test_digest_of_something_else(self) -> None:
        """Credentials made for another method, URI, realm or nonce do not serve (AUT-05)."""
        alice = self.alice
        uri = aor("alice")
        body = pidf("alice", "x")

        def answer(method: str = "PUBLISH", of: str = uri, **changed: str) -> int:
            challenge = challenge_for(alice.ask(*alice.build("PUBLISH", uri)), "SHA-256")
            proof = credentials(challenge | changed, "alice", PASSWORD, method, of)
            return alice.publish(body, authorization=proof).status

        self.assertEqual(answer(method="SUBSCRIBE"), 401)
        self.assertEqual(answer(of=aor("bob")), 400)
        self.assertEqual(answer(realm="elsewhere.test"), 401)
        self.assertEqual(answer(nonce="0" * 60), 401)
        self.assertEqual(answer(), 200)

    def test_same_datagram_again(self) -> None:
        """A datagram that comes twice is one transaction: one answer, one publication (TXN-07)."""
        alice = self.alice
        uri = aor("alice")
        challenge = challenge_for(alice.ask(*alice.build("PUBLISH", uri)), "SHA-256")
        proof = credentials(challenge, "alice", PASSWORD, "PUBLISH", uri)
        branch, data = alice.build("PUBLISH", uri, body=pidf("alice", "x"), authorization=proof)
        first = alice.ask(branch, data)
        second = alice.ask(branch, data)
        self.assertEqual((first.status, second.status), (200, 200))
        self.assertEqual(first["sip-etag"], second["sip-etag"])


class Trusted(SynchronousTestCase):
    """Listening points that heed P-Asserted-Identity from one peer (IMS-02, AUT-01)."""

    def setUp(self) -> None:
        """Start a server that trusts one port of 127.0.0.1, that of ``self.peer``."""
        socket = wire.udp_socket()
        self.addCleanup(socket.close)
        peer = f"{wire.HOST}:{socket.getsockname()[1]}"
        points = {
            "both": {"transport": "udp", "auth": "both"},
            "trust": {"transport": "udp", "auth": "trust"},
            "udp": {"transport": "udp"},
        }
        self.daemon = Daemon(
            self, points, ("alice", "bob"), tables(trust={"peers": [peer]})
        ).start()
        self.socket = socket

    def peer(self, point: str) -> Phone:
        """The trusted peer as a client of a listening point."""
        return Phone(wire.Wire(self.socket, (wire.HOST, self.daemon.port(point))), "scscf")

    def test_asserted_identity(self) -> None:
        """A trusted peer's P-Asserted-Identity is the sender, whatever the From (IMS-02)."""
        for point in ("both", "trust"):
            peer = self.peer(point)
            asserted = f'"Alice" <{aor("alice")}>'
            published = peer.publish(
                pidf("alice", point), user="alice", expires=60, p_asserted_identity=asserted
            )
            self.assertEqual(published.status, 200, point)
            foreign = peer.publish(pidf("bob", "x"), user="bob", p_asserted_identity=asserted)
            self.assertEqual(foreign.status, 403, point)
            watch = peer.subscribe("alice", p_asserted_identity=f"<{aor('bob')}>")
            self.assertEqual(watch.response.status, 200, point)
            told = peer.notify(watch)
            self.assertIn(point, notes(told))
            self.assertEqual(told["p-asserted-identity"], f"<{aor('alice')}>")  # IMS-09
            peer.publish(
                etag=published["sip-etag"], user="alice", expires=0, p_asserted_identity=asserted
            )

    def test_forged_elsewhere(self) -> None:
        """The same header from any other port is challenged, or refused (IMS-01)."""
        forged = f"<{aor('alice')}>"
        for point, status in (("both", 401), ("trust", 403), ("udp", 401)):
            stranger = self.daemon.phone(point, "alice", "")
            answer = stranger.publish(pidf("alice", "forged"), p_asserted_identity=forged)
            self.assertEqual(answer.status, status, point)
            watch = stranger.subscribe("bob", p_asserted_identity=forged)
            self.assertEqual(watch.response.status, status, point)
        # Digest serves strangers where both are allowed
        self.assertEqual(self.daemon.phone("both", "alice").register().status, 200)

    def test_trusted_peer_at_a_digest_point(self) -> None:
        """Where only Digest counts the peer is nobody special (AUT-01)."""
        answer = self.peer("udp").publish(
            pidf("alice", "x"), user="alice", p_asserted_identity=f"<{aor('alice')}>"
        )
        self.assertEqual(answer.status, 401)

    def test_nothing_asserted(self) -> None:
        """A trusted peer that asserts nothing is challenged, or refused (IMS-04)."""
        self.assertEqual(self.peer("both").publish(pidf("scscf", "x")).status, 401)
        self.assertEqual(self.peer("trust").publish(pidf("scscf", "x")).status, 403)
