"""The client role of Digest."""

from __future__ import annotations

import itertools

from twisted.trial.unittest import SynchronousTestCase

from pysip.auth.client import ClientCredentials
from pysip.auth.digest import (
    ALGORITHMS,
    Credentials,
    ha1,
    ha2,
    parse_digest_credentials,
    response_digest,
    session_ha1,
)

URI = "sip:bob@example.com"


def offer(
    algorithm: str = "MD5", realm: str = "r", nonce: str = "n", qop: str = "auth", more: str = ""
) -> str:
    """A challenge."""
    value = f'Digest realm="{realm}", nonce="{nonce}", algorithm={algorithm}'
    return value + (f', qop="{qop}"' if qop else "") + more


class ClientTestCase(SynchronousTestCase):
    """Base with the credentials of alice."""

    def setUp(self) -> None:
        """Make credentials with cnonces that can be told apart."""
        numbers = itertools.count(1)
        self.client = ClientCredentials(
            "alice", "secret", random=lambda n: next(numbers).to_bytes(n, "big")
        )

    def read(self, value: str | None) -> Credentials:
        """The credentials written."""
        assert value is not None
        found = parse_digest_credentials(value)
        assert found is not None
        return found

    def answer(self, *challenges: str, body: bytes = b"", sent: str = "") -> Credentials:
        """What challenges are answered with."""
        return self.read(
            self.client.authorize(challenges, "PUBLISH", URI, body, [sent] if sent else [])
        )


class ChoiceTests(ClientTestCase):
    """Which challenge is answered."""

    def test_topmost(self) -> None:
        """AUT-03: the topmost challenge that is supported, in the server's order."""
        self.assertEqual(self.answer(offer("SHA-256"), offer("MD5")).algorithm, "SHA-256")
        self.assertEqual(self.answer(offer("MD5"), offer("SHA-256")).algorithm, "MD5")

    def test_not_understood(self) -> None:
        """AUT-03, AUT-17: what is not understood is ignored, Basic above all."""
        found = self.answer(
            'Basic realm="r"', offer("AKAv1-MD5"), offer(qop="other"), "Digest x", offer("SHA-256")
        )
        self.assertEqual(found.algorithm, "SHA-256")

    def test_nothing_to_answer(self) -> None:
        """AUT-03: the client gives up when no challenge can be answered."""
        self.assertIsNone(self.client.authorize(['Basic realm="r"'], "PUBLISH", URI))
        self.assertIsNone(self.client.authorize([], "PUBLISH", URI))

    def test_realms(self) -> None:
        """RFC 8760 2.4: with several realms the topmost one is answered."""
        self.assertEqual(self.answer(offer(realm="x"), offer(realm="y")).realm, "x")
        bound = ClientCredentials("alice", "secret", realm="y")
        value = bound.authorize([offer(realm="x"), offer(realm="y")], "PUBLISH", URI)
        self.assertEqual(self.read(value).realm, "y")
        self.assertIsNone(bound.authorize([offer(realm="x")], "PUBLISH", URI))

    def test_stored_hashes(self) -> None:
        """AUT-09: HA1 values of some algorithms are enough for their challenges."""
        client = ClientCredentials("alice", ha1s={"MD5": ha1("alice", "r", "secret")}, realm="r")
        value = client.authorize([offer("SHA-256"), offer("MD5")], "PUBLISH", URI)
        found = self.read(value)
        self.assertEqual(
            found.response,
            response_digest(
                ha1("alice", "r", "secret"), ha2("PUBLISH", URI), "n", "MD5",
                "00000001", found.cnonce, "auth",
            ),
        )  # fmt: skip
        self.assertIsNone(client.authorize([offer("SHA-256")], "PUBLISH", URI))

    def test_settings(self) -> None:
        """Password or hashes, and hashes with their realm."""
        self.assertRaises(ValueError, ClientCredentials, "alice")
        self.assertRaises(ValueError, ClientCredentials, "alice", "x", ha1s={}, realm="r")
        self.assertRaises(ValueError, ClientCredentials, "alice", ha1s={})


class AnswerTests(ClientTestCase):
    """What an answer holds."""

    def test_response(self) -> None:
        """AUT-04: all algorithms and their -sess variants are computed."""
        for name in ALGORITHMS:
            for token in (name, f"{name}-sess"):
                found = self.answer(offer(token, nonce=token))
                first = ha1("alice", "r", "secret", name)
                if token != name:
                    first = session_ha1(first, token, found.cnonce, name)
                self.assertEqual(found.algorithm, token)
                self.assertEqual(
                    found.response,
                    response_digest(
                        first, ha2("PUBLISH", URI, name), token, name,
                        "00000001", found.cnonce, "auth",
                    ),
                )  # fmt: skip

    def test_qop(self) -> None:
        """AUT-03, AUT-04: qop is sent when offered, auth before auth-int, none else."""
        self.assertEqual(self.answer(offer(qop="auth-int, auth")).qop, "auth")
        found = self.answer(offer(qop="auth-int", nonce="m"), body=b"hello")
        self.assertEqual(found.qop, "auth-int")
        self.assertEqual(
            found.response,
            response_digest(
                ha1("alice", "r", "secret"), ha2("PUBLISH", URI, "MD5", b"hello"), "m", "MD5",
                "00000001", found.cnonce, "auth-int",
            ),
        )  # fmt: skip
        found = self.answer(offer(qop="", nonce="o"))
        self.assertEqual((found.qop, found.nc, found.cnonce), ("", "", ""))
        self.assertEqual(
            found.response,
            response_digest(ha1("alice", "r", "secret"), ha2("PUBLISH", URI), "o"),
        )

    def test_echo(self) -> None:
        """RFC 7616 3.4: opaque comes back, algorithm only when it was given; uri as sent."""
        found = self.answer(offer(more=', opaque="a\\"b"'))
        self.assertEqual((found.opaque, found.uri, found.username), ('a"b', URI, "alice"))
        found = self.answer('Digest realm="r", nonce="n", qop="auth"')
        self.assertEqual((found.algorithm, found.opaque), ("", None))


class SessionTests(ClientTestCase):
    """Reuse and rejection."""

    def test_running_count(self) -> None:
        """AUT-19, AUT-06: further requests reuse the nonce with a rising count."""
        self.assertIsNone(self.client.reuse("r", "PUBLISH", URI))
        first = self.answer(offer("SHA-256-sess"))
        second = self.read(self.client.reuse("r", "SUBSCRIBE", "sip:x@y"))
        self.assertEqual((first.count, second.count), (1, 2))
        self.assertEqual((first.nonce, first.cnonce), (second.nonce, second.cnonce))
        self.assertEqual(
            second.response,
            response_digest(
                session_ha1(
                    ha1("alice", "r", "secret", "SHA-256"), "n", first.cnonce, "SHA-256"
                ),
                ha2("SUBSCRIBE", "sip:x@y", "SHA-256"),
                "n", "SHA-256", "00000002", first.cnonce, "auth",
            ),
        )  # fmt: skip
        self.assertIsNone(self.client.reuse("other", "PUBLISH", URI))

    def test_one_nonce_for_two(self) -> None:
        """AUT-06: two requests challenged with one nonce do not use the same count."""
        self.assertEqual([self.answer(offer()).count for _ in range(2)], [1, 2])

    def test_new_nonce(self) -> None:
        """AUT-06: a new nonce is counted from 1, with a new cnonce."""
        first = self.answer(offer())
        second = self.answer(offer(nonce="m"))
        self.assertEqual((second.count, second.nonce), (1, "m"))
        self.assertNotEqual(first.cnonce, second.cnonce)

    def test_rejected(self) -> None:
        """AUT-19: credentials that were just rejected are not tried again."""
        sent = self.client.authorize([offer()], "PUBLISH", URI)
        assert sent is not None
        again = self.client.authorize([offer(nonce="m")], "PUBLISH", URI, sent=[sent])
        self.assertIsNone(again)
        self.assertIsNone(self.client.reuse("r", "PUBLISH", URI))

    def test_stale(self) -> None:
        """AUT-19: after stale=true the same password is used with the new nonce."""
        sent = self.client.authorize([offer()], "PUBLISH", URI)
        found = self.answer(offer(nonce="m", more=", stale=true"), sent=sent or "")
        self.assertEqual((found.nonce, found.count), ("m", 1))

    def test_rejected_elsewhere(self) -> None:
        """AUT-19: credentials of one realm may be added to those of another."""
        sent = self.client.authorize([offer(realm="x")], "PUBLISH", URI)
        found = self.answer(offer(realm="y"), sent=sent or "")
        self.assertEqual(found.realm, "y")

    def test_next_nonce(self) -> None:
        """AUT-10: nextnonce of Authentication-Info takes over, counted from 1."""
        self.answer(offer())
        self.client.note_info("r", 'qop=auth, rspauth="00", nextnonce="m", nc=00000001')
        found = self.read(self.client.reuse("r", "PUBLISH", URI))
        self.assertEqual((found.nonce, found.count), ("m", 1))
        self.client.note_info("r", "rubbish,,")
        self.client.note_info("other", 'nextnonce="x"')
        self.client.note_info("r", 'nextnonce="m"')
        self.assertEqual(self.read(self.client.reuse("r", "PUBLISH", URI)).count, 2)

    def test_bounded(self) -> None:
        """Servers cannot fill the memory with realms."""
        for i in range(100):
            self.answer(offer(realm=f"r{i}"))
        self.assertLessEqual(len(self.client._sessions), 16)
        self.assertIsNotNone(self.client.reuse("r99", "PUBLISH", URI))
