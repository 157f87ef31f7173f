"""Documents over HTTPS: the examples of RFC 4825, Digest over real TLS, many at once (issue 3)."""

from __future__ import annotations

import ssl
import subprocess
import time
import tomllib
import warnings
from functools import partial
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from twisted.trial.unittest import SynchronousTestCase

from pysip.auth.digest import ha1, ha2, response_digest
from tests.e2e import wire
from tests.e2e.daemon import PASSWORD
from tests.e2e.deployments import AllInOne
from tests.e2e.phone import aor
from tests.e2e.xdm import (
    DOCUMENT,
    FRIENDS,
    LISTS,
    LISTS_TYPE,
    Answer,
    XcapClient,
    at_once,
    entry_step,
    index,
    tls_context,
)

VECTORS = Path(__file__).resolve().parents[1] / "vectors" / "xcap" / "exchanges"
INDEX = index("alice")
_CONDITIONAL = 10
_UNCONDITIONAL = 50


class Examples(SynchronousTestCase):
    """Exchanges as the RFC prints them, at a server that has the RFC's XCAP root."""

    def replay(self, name: str) -> None:
        """Replay a file of exchanges."""
        exchanges = tomllib.loads((VECTORS / name).read_text("utf-8"))
        deployment = AllInOne(self, ("bill",), root=exchanges["root"])
        client = deployment.client("bill")
        self.assertEqual(exchanges["user"], aor("bill"))
        tags: dict[str, str] = {}
        for exchange in exchanges["exchange"]:
            answer = self.one(client, exchange, tags)
            name = exchange.get("etag", "")
            if name:
                self.assertEqual(answer.etag, tags.setdefault(name, answer.etag), exchange)
        self.assertEqual(len(set(tags.values())), len(tags), "each change has a tag of its own")

    def one(self, client: XcapClient, exchange: dict[str, Any], tags: dict[str, str]) -> Answer:
        """Replay one exchange."""
        fields = {}
        for name in ("if_match", "if_none_match"):
            value = exchange.get(name)
            if value is not None:
                fields[name] = value if value == "*" else f'"{tags[value]}"'
        if "content_type" in exchange:
            fields["content_type"] = exchange["content_type"]
        body = exchange["body"].encode() if "body" in exchange else None
        answer = client.ask(exchange["method"], exchange["target"], body, **fields)
        self.assertEqual(answer.status, exchange["status"], (exchange["title"], answer))
        if "answer" in exchange:
            self.assertEqual(answer.body.decode(), exchange["answer"], exchange["title"])
        if "answer_type" in exchange:
            self.assertEqual(answer["content-type"], exchange["answer_type"])
        return answer

    def test_rfc4825(self) -> None:
        """RFC 4825 gives the results it states (XCAP-60, XCAP-62, XCAP-91, XCAP-111)."""
        self.replay("rfc4825-section13.toml")

    def test_worked(self) -> None:
        """The worked exchange with its conditions and tags (XCAP-95, XCAP-150, XCAP-157)."""
        self.replay("worked.toml")

    def test_all_files(self) -> None:
        """There is no other file of exchanges than those replayed here."""
        names = sorted(path.name for path in VECTORS.glob("*.toml"))
        self.assertEqual(names, ["rfc4825-section13.toml", "worked.toml"])


class DigestTests(SynchronousTestCase):
    """HTTP Digest between a plain client and the real proxy."""

    def setUp(self) -> None:
        """Start a server that is soon fed up with wrong passwords."""
        self.xdm = AllInOne(self, proxy={"max_failures": 3, "block_time": 1.0})
        self.client = self.xdm.client()
        self.client.store(INDEX)

    def test_challenge(self) -> None:
        """Without credentials 401 with a challenge per algorithm (AGP-20 to AGP-24, AGP-27)."""
        answer = self.xdm.client(password="").get(INDEX)
        self.assertEqual(answer.status, 401)
        best, old = answer.challenge("SHA-256"), answer.challenge("MD5")
        for challenge in (best, old):
            self.assertEqual(challenge["realm"], "example.com")
            self.assertEqual(challenge["qop"], "auth,auth-int")
            self.assertNotIn("stale", challenge)
        self.assertIn("SHA-256", answer.every("www-authenticate")[0])
        self.assertTrue(answer["content-type"].startswith("text/plain"))
        basic = self.xdm.client(password="").get(INDEX, authorization="Basic YWxpY2U6eA==")
        self.assertEqual(basic.status, 401)
        self.assertTrue(basic.challenge("MD5"))

    def test_algorithms(self) -> None:
        """Both algorithms and both qualities work; the server proves itself (AGP-33, AGP-38)."""
        for algorithm in ("MD5", "SHA-256"):
            for qop in ("auth", "auth-int"):
                client = self.xdm.client(algorithm=algorithm, qop=qop)
                self.assertEqual(client.put(INDEX).status, 200)
                answer = client.get(INDEX)
                self.assertEqual(answer.body, DOCUMENT)
                info = dict(
                    part.strip().split("=", 1) for part in answer["authentication-info"].split(",")
                )
                body = answer.body if qop == "auth-int" else None
                proof = response_digest(
                    ha1("alice", "example.com", PASSWORD, algorithm),
                    ha2("", INDEX, algorithm, body),
                    client.challenge["nonce"],
                    algorithm,
                    info["nc"],
                    "0a4f113b",
                    qop,
                )
                self.assertEqual(info["rspauth"], f'"{proof}"')

    def test_wrong(self) -> None:
        """Wrong password and unknown user are refused alike and change nothing (AGP-26, AGP-27)."""
        tag = self.client.get(INDEX).etag
        wrong = self.xdm.client(password="wrong").put(INDEX)
        nobody = self.xdm.client("nobody", password="wrong").put(INDEX)
        for answer in (wrong, nobody):
            self.assertEqual(answer.status, 401)
            self.assertNotIn("stale", answer.challenge("SHA-256"))
        self.assertEqual(wrong.body, nobody.body)
        varying = {"date", "x-request-id", "www-authenticate"}
        shapes = [
            [(name, value) for name, value in answer.fields if name not in varying]
            for answer in (wrong, nobody)
        ]
        self.assertEqual(*shapes)
        self.assertEqual(self.client.get(INDEX).etag, tag)

    def test_replay(self) -> None:
        """A request that was used is worth nothing, to the last octet (AGP-30)."""
        value = self.client.authorization("PUT", INDEX)
        first = self.client.put(INDEX, authorization=value)
        self.assertEqual(first.status, 200)
        for client in (self.client, self.xdm.client()):
            again = client.put(INDEX, authorization=value)
            self.assertEqual(again.status, 401)
            self.assertEqual(again.challenge("SHA-256")["stale"], "true")
        self.assertEqual(self.client.get(INDEX).etag, first.etag)
        # counts may overtake each other, each once
        later, sooner = (self.client.authorization("GET", INDEX) for _ in range(2))
        for value in (sooner, later):
            self.assertEqual(self.client.get(INDEX, authorization=value).status, 200)

    def test_stale(self) -> None:
        """A right response to an old nonce costs one more round, a wrong one says nothing (AGP-26).

        The state of Digest is lost in a restart: the client feels no more of it (AGP-05).
        """
        self.xdm.proxy.restart()
        self.client.close()
        answer = self.client.get(INDEX, authorization=self.client.authorization("GET", INDEX))
        self.assertEqual(answer.status, 401)
        self.assertEqual(answer.challenge("SHA-256")["stale"], "true")
        wrong = self.client.authorization("GET", INDEX, password="wrong")
        answer = self.client.get(INDEX, authorization=wrong)
        self.assertEqual(answer.status, 401)
        self.assertNotIn("stale", answer.challenge("SHA-256"))
        self.assertEqual(self.client.get(INDEX).body, DOCUMENT)  # it takes the new nonce

    def test_tampered(self) -> None:
        """Another target than was signed is 400, another body 401 (AGP-29, AGP-31, AGP-34)."""
        tag = self.client.get(INDEX).etag
        client = self.xdm.client(qop="auth-int")
        client.get(INDEX)
        other = client.authorization("GET", index("bob"))
        self.assertEqual(client.get(INDEX, authorization=other).status, 400)
        value = client.authorization("PUT", INDEX, DOCUMENT)
        answer = client.put(INDEX, DOCUMENT.replace(b"Bob", b"Eve"), authorization=value)
        self.assertEqual(answer.status, 401)
        value = client.authorization("PUT", INDEX).replace("nc=", "nc=x")
        self.assertEqual(client.put(INDEX, authorization=value).status, 400)
        value = client.authorization("GET", INDEX)
        self.assertEqual(client.delete(INDEX, authorization=value).status, 401)
        self.assertEqual(self.client.get(INDEX).etag, tag)
        # escapes that mean the same are the same target, and the digest is over what was sent
        target = f"{INDEX}{FRIENDS}"
        value = client.authorization("GET", target.replace("%5b", "%5B"))
        self.assertEqual(client.get(target, authorization=value).status, 200)

    def test_locked(self) -> None:
        """Three wrong passwords give 429 for a while, to nobody else (AGP-39)."""
        guesser = self.xdm.client(password="wrong")
        statuses = [guesser.get(INDEX).status for _ in range(3)]
        self.assertEqual(statuses, [401, 401, 401])
        answer = self.client.get(INDEX)
        self.assertEqual(answer.status, 429, "also with the right password")
        self.assertGreater(int(answer["retry-after"]), 0)
        self.assertEqual(self.xdm.client("bob").get(index("bob")).status, 404)
        self.assertEqual(self.xdm.client(source="127.0.0.2").get(INDEX).status, 200)
        deadline = time.monotonic() + 20
        while self.client.get(INDEX).status != 200:
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.05)

    def test_intended_identity(self) -> None:
        """One's own identity may be meant, that of somebody else not (AGP-41, AGP-42)."""
        for own in ('"sip:alice@example.com"', "sip:alice@EXAMPLE.com", "<sip:alice@example.com>"):
            answer = self.client.get(INDEX, x_3gpp_intended_identity=own)
            self.assertEqual(answer.status, 200, own)
        tag = self.client.get(INDEX).etag
        for method in ("GET", "PUT", "DELETE"):
            body = DOCUMENT if method == "PUT" else None
            answer = self.client.ask(
                method, INDEX, body, x_3gpp_intended_identity=f'"{aor("bob")}"'
            )
            self.assertEqual(answer.status, 403, method)
        for bad in ('"sip:alice@example.com", "sip:bob@example.com"', "alice", ""):
            answer = self.client.get(INDEX, x_3gpp_intended_identity=bad)
            self.assertEqual(answer.status, 400, bad)
        self.assertEqual(self.client.get(INDEX).etag, tag)


class Tls(SynchronousTestCase):
    """TLS as the proxy offers it, and curl over it."""

    def test_versions(self) -> None:
        """TLS 1.2 and 1.3 are spoken; 1.1 and plain HTTP are refused (AGP-06, AGP-07, AGP-12)."""
        xdm = AllInOne(self)
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            context = tls_context(xdm.proxy.certificate)
            context.minimum_version = context.maximum_version = version
            with (
                wire.tcp_socket(xdm.port) as raw,
                context.wrap_socket(raw, server_hostname="localhost") as sock,
            ):
                self.assertEqual(sock.version(), version.name.replace("_", "."))
        old = tls_context(xdm.proxy.certificate)
        old.set_ciphers("ALL:@SECLEVEL=0")  # else the client itself refuses
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
        with wire.tcp_socket(xdm.port) as raw:
            error = self.assertRaises(
                ssl.SSLError, old.wrap_socket, raw, server_hostname="localhost"
            )
            self.assertEqual(error.reason, "TLSV1_ALERT_PROTOCOL_VERSION")
        with wire.tcp_socket(xdm.port) as raw:
            raw.sendall(b"GET /xcap-caps/global/index HTTP/1.1\r\nHost: localhost\r\n\r\n")
            self.assertNotIn(b"HTTP/1.1 2", raw.recv(4096))
        self.assertEqual(xdm.client().get("/xcap-caps/global/index").status, 200)

    def test_curl(self) -> None:
        """Digests of curl are understood, SHA-256 and MD5, raw brackets too (AGP-20, CLI-18)."""
        for algorithm in ("SHA-256", "MD5"):
            xdm = AllInOne(self, proxy={"algorithms": [algorithm]})
            curl = partial(self.curl, xdm)
            file = xdm.proxy.directory / "lists.xml"
            file.write_bytes(DOCUMENT)
            kind = ("-H", f"Content-Type: {LISTS_TYPE}")
            self.assertEqual(curl(INDEX, "-T", str(file), *kind)[0], 201)
            self.assertEqual(curl(INDEX), (200, DOCUMENT))
            file.write_bytes(b'<entry uri="sip:carol@example.com"/>')
            node = f"{INDEX}{FRIENDS}{entry_step('sip:carol@example.com')}"
            kind = ("-H", "Content-Type: application/xcap-el+xml")
            self.assertEqual(curl(node, "-T", str(file), *kind)[0], 201)
            self.assertEqual(curl(node), (200, file.read_bytes()))
            # raw brackets and quotes, as some clients send them
            raw = node.replace("%5b", "[").replace("%5d", "]").replace("%22", '"')
            self.assertEqual(curl(raw, "-X", "DELETE")[0], 200)
            self.assertEqual(curl(INDEX), (200, DOCUMENT))
            self.assertEqual(curl(INDEX, user="alice:wrong")[0], 401)

    def curl(
        self, xdm: AllInOne, target: str, *options: str, user: str = f"alice:{PASSWORD}"
    ) -> tuple[int, bytes]:
        """Run curl: status and body."""
        done = subprocess.run(
            [
                *("curl", "--silent", "--show-error", "--globoff", "--digest", "--ipv4"),
                *("--user", user, "--cacert", xdm.proxy.certificate, "--max-time", "60"),
                *("--write-out", "\n%{http_code}", *options),
                f"https://localhost:{xdm.port}{target}",
            ],
            capture_output=True,
            check=False,
        )
        self.assertEqual((done.returncode, done.stderr), (0, b""))
        body, _, status = done.stdout.rpartition(b"\n")
        return int(status), body


class Concurrent(SynchronousTestCase):
    """Many clients of one user change one document."""

    def setUp(self) -> None:
        """Start a server that takes all their connections."""
        self.xdm = AllInOne(self, http={"connections_per_address": 200})
        self.xdm.client().store(INDEX)

    def clients(self, count: int) -> list[XcapClient]:
        """So many clients, each with a connection and a nonce."""
        clients = [self.xdm.client() for _ in range(count)]
        for client in clients:
            self.assertEqual(client.get(INDEX).status, 200)
        return clients

    def test_conditional(self) -> None:
        """Of ten changes with If-Match one wins and nine get 412 (XCAP-145, XCAP-155)."""
        clients = self.clients(_CONDITIONAL)
        for _ in range(5):
            tag = clients[0].get(INDEX).etag
            bodies = [
                DOCUMENT.replace(b"Bob", b"Bob %d of %s" % (number, tag.encode()))
                for number in range(_CONDITIONAL)
            ]
            answers = at_once(
                [
                    partial(client.put, INDEX, body, if_match=f'"{tag}"')
                    for client, body in zip(clients, bodies, strict=True)
                ]
            )
            statuses = sorted(answer.status for answer in answers)
            self.assertEqual(statuses, [200] + [412] * (_CONDITIONAL - 1))
            (winner,) = [n for n, answer in enumerate(answers) if answer.status == 200]
            now = clients[0].get(INDEX)
            self.assertEqual((now.etag, now.body), (answers[winner].etag, bodies[winner]))
            for answer in answers:
                self.assertEqual(answer.etag, now.etag, "412 tells the current tag")

    def test_creation(self) -> None:
        """Of ten creations with If-None-Match one wins (XCAP-155)."""
        clients = self.clients(_CONDITIONAL)
        target = INDEX.replace("index", "other")
        answers = at_once(
            [partial(client.put, target, DOCUMENT, if_none_match="*") for client in clients]
        )
        statuses = sorted(answer.status for answer in answers)
        self.assertEqual(statuses, [201] + [412] * (_CONDITIONAL - 1))

    def test_unconditional(self) -> None:
        """Fifty clients insert an entry each and there are fifty more (XCAP-145, XCAP-150).

        They are there after kill -9 right behind the last answer (XCAP-146).
        """
        clients = self.clients(_UNCONDITIONAL)
        uris = [f"sip:u{number}@example.com" for number in range(_UNCONDITIONAL)]
        answers = at_once(
            [
                partial(
                    client.put,
                    f"{INDEX}{FRIENDS}{entry_step(uri)}",
                    f'<entry uri="{uri}"/>'.encode(),
                )
                for client, uri in zip(clients, uris, strict=True)
            ]
        )
        self.assertEqual([answer.status for answer in answers], [201] * _UNCONDITIONAL)
        self.assertEqual(len({answer.etag for answer in answers}), _UNCONDITIONAL)
        self.xdm.proxy.restart()
        octets = self.xdm.client().octets(INDEX)
        entries = ElementTree.fromstring(octets).iter(f"{{{LISTS}}}entry")
        found = [entry.get("uri") for entry in entries]
        self.assertEqual(sorted(found[2:], key=str), sorted(uris))
        self.assertEqual(found[:2], ["sip:bob@example.com", "sip:ann@example.com"])
