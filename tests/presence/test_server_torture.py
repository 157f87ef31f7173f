"""A whole node against bad, odd and hostile requests (sip-core.md 5, 13), order and table 2."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from pysip.auth.client import ClientCredentials
from pysip.auth.digest import ha1
from pysip.auth.domains import Domains
from pysip.auth.server import DigestAuthenticator
from pysip.auth.trust import IdentityPolicy, TrustPolicy
from pysip.event.table import NotifierPolicy
from pysip.message import Request, Response
from pysip.parse import BadMessage, parse_message
from tests.node import ALICE, BOB, DOMAIN, SERVER, Node, pidf

VECTORS = Path(__file__).parent.parent / "vectors" / "torture"

# what a Presence Server without registrar makes of each message; 0 is silence
EXPECTED = {
    "badaspec": 400,  # TOR-27
    "badbranch": 200,  # TOR-33
    "badct": 400,  # TOR-14
    "baddate": 405,  # TOR-25
    "baddn": 400,  # TOR-28
    "badinv01": 400,  # TOR-14
    "badvers": 505,  # TOR-29
    "bcast": 0,  # TOR-41
    "bext01": 420,  # TOR-36
    "bigcode": 0,  # TOR-32
    "clerr": 400,  # TOR-15
    "cparam01": 405,  # TOR-43
    "cparam02": 405,  # TOR-43
    "dblreq": 405,  # TOR-08
    "esc01": 405,  # TOR-03
    "esc02": 501,  # TOR-05
    "escnull": 405,  # TOR-04
    "escruri": 405,  # TOR-24
    "insuf": 400,  # TOR-34
    "intmeth": 501,  # TOR-02
    "inv2543": 405,  # TOR-46
    "invut": 405,  # TOR-37
    "ipv4-mapped-ipv6": 405,
    "ipv6-bad": 400,
    "ipv6-bug-abnf-3-colons": 200,
    "ipv6-good": 405,
    "ipv6-in-sdp": 405,
    "ipv6-zone": 400,
    "longreq": 405,  # TOR-07
    "ltgtruri": 400,  # TOR-20
    "lwsdisp": 200,  # TOR-06
    "lwsruri": 400,  # TOR-21
    "lwsstart": 400,  # TOR-22
    "mcl01": 400,  # TOR-40
    "mismatch01": 400,  # TOR-30
    "mismatch02": 400,  # TOR-31
    "mpart01": 405,  # TOR-11
    "mult-ip-in-header": 405,
    "mult-ip-in-sdp": 405,
    "multi01": 400,  # TOR-39
    "ncl": 400,  # TOR-16
    "noreason": 0,  # TOR-13
    "novelsc": 416,  # TOR-35
    "port-ambiguous": 405,
    "port-unambiguous": 405,
    "quotbal": 400,  # TOR-19
    "regaut01": 405,  # TOR-38
    "regbadct": 400,  # TOR-26
    "regescrt": 405,  # TOR-44
    "scalar-expires": 200,  # TOR-17
    "scalar-mf": 200,  # TOR-17
    "scalar02": 400,  # TOR-17
    "scalarlg": 0,  # TOR-18
    "sdp01": 405,  # TOR-45
    "semiuri": 200,  # TOR-09
    "transports": 200,  # TOR-10
    "trws": 400,  # TOR-23
    "unkscm": 416,  # TOR-35
    "unksm2": 405,  # TOR-35
    "unreason": 0,  # TOR-12
    "via-received-param-no-delim": 200,
    "via-received-param-with-delim": 200,
    "wsinv": 405,  # TOR-01
    "zeromf": 200,  # TOR-42
}


def read(octets: bytes) -> Response:
    """A response; that to a malformed request copies its faults, which no parser takes."""
    head = octets.partition(b"\r\n\r\n")[0].decode("utf-8", "surrogateescape")
    start, *lines = head.split("\r\n")
    _, status, reason = start.split(" ", 2)
    response = Response(int(status), reason)
    for line in lines:
        name, _, value = line.partition(": ")
        response.add(name, value)
    return response


class NodeCase(SynchronousTestCase):
    """A node whose answers are seen on the wire, wherever they go."""

    def setUp(self) -> None:
        """Start it."""
        self.make(Node())

    def make(self, node: Node) -> None:
        """Use this node."""
        self.node = node
        self.phone = node.peer()
        self.wire: list[tuple[tuple[str, int], bytes]] = []

        def tap(protocol: str, source: Any, destination: Any, data: bytes) -> None:
            if source == SERVER:
                self.wire.append((destination, data))

        node.network.taps.append(tap)

    def answers(self, data: bytes, seconds: float = 0.1) -> list[Response]:
        """What the node answers to these octets."""
        del self.wire[:]
        self.phone.send(data)
        self.node.advance(seconds)
        return [read(octets) for _, octets in self.wire if octets.startswith(b"SIP/2.0 ")]

    def subscribe(self, **fields: Any) -> Response:
        """The answer to a SUBSCRIBE."""
        return self.phone.ask(self.phone.request("SUBSCRIBE", **fields))


class TortureTests(NodeCase):
    """RFC 4475 and RFC 5118 at a node."""

    def setUp(self) -> None:
        """Everybody lives here."""
        super().setUp()
        self.node.domains._served["example.net"] = "example.net"
        self.node.ua.find = lambda request: None

    def test_vectors(self) -> None:
        """Each message gets the answer of the table, once (TOR-01 to TOR-47)."""
        self.assertEqual(set(EXPECTED), {path.stem for path in VECTORS.glob("*.dat")})
        for name, status in EXPECTED.items():
            found = self.answers((VECTORS / f"{name}.dat").read_bytes(), 0.4)
            self.assertEqual({r.status for r in found}, {status} if status else set(), name)
            # where the sent-by is another address that is tried, too (VIA-05)
            self.assertLessEqual(len({r.encode() for r in found}), 1, name)
            for response in found:
                if "to" in response.headers:
                    self.assertIn("tag=", response.headers["to"][0].replace(" ", ""), name)
                if status in (405, 501):
                    self.assertTrue(response.first("allow"), name)
            self.node.advance(40, step=1.0)  # until a refused INVITE is repeated no more

    def test_unsupported(self) -> None:
        """Unsupported names the tags of Require, not those of Proxy-Require (TOR-36, UAS-04)."""
        (response,) = self.answers((VECTORS / "bext01.dat").read_bytes())
        self.assertEqual(
            response.first("unsupported"), "nothingSupportsThis, nothingSupportsThisEither"
        )

    def test_repeated(self) -> None:
        """Sent twice each gets the same answer (UAS-14, TXN-07)."""
        for name, status in EXPECTED.items():
            if status and name not in ("scalar-expires",):
                data = (VECTORS / f"{name}.dat").read_bytes()
                one, other = self.answers(data), self.answers(data)
                self.assertEqual(one[0].encode(), other[0].encode(), name)

    def test_where_to(self) -> None:
        """The answer to a bad Via goes to where the request came from (TOR-14, VIA-05)."""
        self.answers((VECTORS / "badinv01.dat").read_bytes())
        self.assertEqual(self.wire[0][0][0], "192.0.2.10")

    def test_same_in_subscribe(self) -> None:
        """The same oddities in a SUBSCRIBE or PUBLISH (TOR-35, TOR-37, TOR-38, TOR-45)."""
        self.assertEqual(self.subscribe(to="http://example.com/").status, 200)
        self.assertEqual(self.subscribe(sender="isbn:123").status, 200)
        self.assertEqual(self.subscribe(contact="<isbn:123>").status, 400)
        self.assertEqual(
            self.subscribe(body=b"x", content_type="application/unknownformat").status, 415
        )
        response = self.phone.publish(b"x", content_type="application/unknownformat")
        self.assertEqual(response.status, 415)
        self.assertEqual(self.subscribe(authorization="NoOneKnows opaque=x").status, 200)
        self.assertEqual(self.subscribe(accept="text/nobody-knows").status, 406)

    def test_numbers(self) -> None:
        """Alone, a great Max-Forwards is absent, a great Expires 3600 (TOR-17, MSG-20, MSG-21)."""
        response = self.subscribe(max_forwards="300", expires="4294967296")
        self.assertEqual((response.status, response.first("expires")), (200, "3600"))

    def test_after_all(self) -> None:
        """After all of it nothing is left but what should be."""
        for name in EXPECTED:
            self.answers((VECTORS / f"{name}.dat").read_bytes())
        self.node.advance(70, step=0.5)
        self.assertEqual(len(self.node.ua.layer.servers), 0)
        self.assertEqual(len(self.node.ua.layer.clients), 0)
        # scalar-expires is a good SUBSCRIBE; its NOTIFY cannot be delivered
        self.assertEqual(len(self.node.presence.notifier), 0)

    def test_mutations(self) -> None:
        """Thousands of damaged messages: no error, no answer to what has no Via (TOR-48)."""
        rng = random.Random(1)
        subscribe = self.phone.request("SUBSCRIBE", expires=60, accept="application/pidf+xml")
        publish = self.phone.request("PUBLISH", sender=BOB, body=pidf(), expires=60)
        seeds = [subscribe.encode(), publish.encode()]
        seeds += [
            (VECTORS / f"{name}.dat").read_bytes() for name in ("zeromf", "mpart01", "bext01")
        ]
        for count in range(2500):
            data = bytearray(seeds[count % len(seeds)])
            for _ in range(rng.randint(1, 6)):
                where = rng.randrange(len(data))
                kind = rng.randrange(4)
                if kind == 0:
                    data[where] = rng.randrange(256)
                elif kind == 1:
                    del data[where : where + rng.randint(1, 30)]
                elif kind == 2:
                    data[where:where] = rng.choice(
                        [b"\r\n", b";", b",", b'"', b"<", b"%", b"\0", b"\xff", b" ", b"SIP/2.0 "]
                    )
                else:
                    data[where:where] = data[where : where + rng.randint(1, 60)]
            octets = bytes(data) or b"x"
            found = self.answers(octets, 0.05)
            try:
                message = parse_message(octets)
                answerable = isinstance(message, Request)
            except BadMessage as error:
                answerable = error.message is not None
            except Exception:
                answerable = False
            if not answerable:
                self.assertEqual(found, [])
            self.assertLessEqual(len(found), 2)
        self.node.advance(70, step=0.5)
        self.assertEqual(len(self.node.ua.layer.servers), 0)


class OrderTests(NodeCase):
    """UAS-01, SUB-03 and PUB-01 at a node."""

    def test_subscribe(self) -> None:
        """Each fault of a SUBSCRIBE in its turn (UAS-01, SUB-03)."""
        faults: dict[str, Any] = {
            "uri": "http://example.com/bob",
            "sender": "sip:mallory@example.com",
            "require": "unheard.of",
            "event": "dialog",
            "expires": 1,
            "accept": "text/plain",
            "body": b"x",
            "content_type": "application/x-unknown",
            "contact": "*",
        }
        self.node.watchers.domains[DOMAIN] = "block"

        def status() -> int:
            return self.subscribe(**faults).status

        self.assertEqual(status(), 416)
        faults["uri"] = "sip:bob@elsewhere.example"
        self.assertEqual(status(), 404)
        faults["uri"] = BOB
        faults["to_tag"] = "nonesuch"
        self.assertEqual(status(), 481)
        del faults["to_tag"]
        self.assertEqual(status(), 420)
        del faults["require"]
        self.assertEqual(status(), 489)
        faults["event"] = "presence"
        self.assertEqual(status(), 403)
        del self.node.watchers.domains[DOMAIN]
        self.assertEqual(status(), 423)
        del faults["expires"]
        self.assertEqual(status(), 406)
        del faults["accept"]
        self.assertEqual(status(), 415)
        del faults["body"], faults["content_type"]
        self.assertEqual(status(), 400)
        self.assertEqual(len(self.node.presence.notifier), 0)  # UAS-09
        del faults["contact"]
        self.assertEqual(status(), 200)

    def test_publish(self) -> None:
        """Each fault of a PUBLISH in its turn (PUB-01)."""
        faults: dict[str, Any] = {
            "uri": "sip:bob@elsewhere.example",
            "sender": ALICE,
            "event": "dialog",
            "sip_if_match": "unknown",
            "expires": 1,
            "body": b"x",
            "content_type": "application/x-unknown",
        }

        def status() -> int:
            return self.phone.publish(**faults).status

        self.assertEqual(status(), 404)
        faults["uri"] = BOB
        self.assertEqual(status(), 489)
        faults["event"] = "presence"
        self.assertEqual(status(), 403)
        faults["sender"] = BOB
        self.assertEqual(status(), 412)
        del faults["sip_if_match"]
        self.assertEqual(status(), 423)
        del faults["expires"]
        self.assertEqual(status(), 415)
        del faults["content_type"]
        self.assertEqual(status(), 400)
        self.assertEqual(self.node.presence.compositor.count, 0)  # UAS-09
        faults["body"] = pidf()
        self.assertEqual(status(), 200)

    def test_unknown_event_in_dialog(self) -> None:
        """In a dialog that is not there 481 comes before 489 (UAS-01)."""
        self.assertEqual(self.subscribe(event="dialog", to_tag="nonesuch").status, 481)
        made = self.subscribe(call_id="c1")
        response = self.subscribe(
            event="dialog", to_tag=made.to.tag, call_id="c1", uri=made.contacts[0].uri
        )
        self.assertEqual(response.status, 489)

    def test_merged(self) -> None:
        """A merged request is 482 only where the first would not have failed before (UAS-03)."""
        self.subscribe(call_id="m", cseq=7)
        self.assertEqual(self.subscribe(call_id="m", cseq=7).status, 482)
        self.assertEqual(
            self.subscribe(call_id="m", cseq=7, uri="sip:bob@elsewhere.example").status, 404
        )
        self.assertEqual(len(self.node.presence.notifier), 1)

    def test_dialog_requests_are_not_merged(self) -> None:
        """With a To tag nothing is merged (UAS-03)."""
        made = self.subscribe(call_id="c1")
        for _ in range(2):
            response = self.subscribe(
                call_id="c1", to_tag=made.to.tag, cseq=50, uri=made.contacts[0].uri
            )
        self.assertEqual(response.status, 500)  # DLG-07: not newer than the last


class OptionsTests(NodeCase):
    """OPTIONS at a node (UAS-10)."""

    def options(self, uri: str, **fields: Any) -> Response:
        """The answer to an OPTIONS."""
        return self.phone.ask(self.phone.request("OPTIONS", uri, **fields))

    def test_targets(self) -> None:
        """The server and presentities here: 200; others: 404 or 416 (UAS-10, UAS-12)."""
        for uri, status in (
            ("sip:192.0.2.1", 200),
            ("sip:192.0.2.1:5060;transport=udp", 200),
            ("sip:ps7.example.net", 200),
            (BOB, 200),
            ("pres:bob@example.com", 200),
            ("sip:bob@elsewhere.example", 404),
            ("tel:+15550100", 404),
            ("mailto:bob@example.com", 416),
        ):
            self.assertEqual(self.options(uri).status, status, uri)

    def test_no_storage(self) -> None:
        """A health probe works while the store does not, and touches nothing (UAS-10)."""
        self.node.store.fail_next(100)
        self.phone.publish(pidf())
        self.assertTrue(self.node.store.failed)
        response = self.options("sip:192.0.2.1")
        self.assertEqual(response.status, 200)
        # CIN-04: references are understood, in a multipart
        accept = (response.first("accept") or "").split(", ")
        wanted = {"application/pidf+xml", "multipart/related", "message/external-body"}
        self.assertLessEqual(wanted, set(accept))
        self.assertEqual(response.first("allow-events"), "presence")

    def test_in_dialog(self) -> None:
        """In a dialog: 200, and the subscription stays as it is (UAS-10)."""
        made = self.subscribe(call_id="c1")
        response = self.options(made.contacts[0].uri, call_id="c1", to_tag=made.to.tag, cseq=99)
        self.assertEqual(response.status, 200)
        (subscription,) = self.node.presence.notifier.subscriptions("presence", BOB)
        self.assertLess(subscription.dialog.remote_cseq, 99)


class TableTests(NodeCase):
    """Mandatory header fields of every response (table 2, UAS-11)."""

    def assert_fields(self, response: Response, status: int, *names: str) -> None:
        """The status, and these fields are there."""
        self.assertEqual(response.status, status)
        for name in names:
            self.assertTrue(response.first(name), (status, name))

    def test_table(self) -> None:
        """Table 2, line by line."""
        phone = self.phone
        self.assert_fields(self.subscribe(), 200, "expires", "contact")
        published = phone.publish(pidf())
        self.assert_fields(published, 200, "expires", "sip-etag")
        self.node.watchers.domains[DOMAIN] = "confirm"
        self.assert_fields(self.subscribe(), 202, "expires", "contact")
        self.node.watchers.domains[DOMAIN] = "block"
        self.assert_fields(self.subscribe(), 403, "warning")
        del self.node.watchers.domains[DOMAIN]
        self.assert_fields(self.subscribe(uri="sip:bob@elsewhere.example"), 404, "warning")
        self.assert_fields(phone.ask(phone.request("MESSAGE")), 405, "allow")
        self.assert_fields(self.subscribe(accept="text/plain"), 406)
        self.assert_fields(phone.publish(pidf(), sip_if_match="x"), 412)
        self.node.presence.package.document_limit = 100
        self.assert_fields(phone.publish(pidf()), 413, "warning")
        self.assert_fields(phone.publish(pidf(), content_type="text/plain"), 415, "accept")
        self.assert_fields(phone.publish(pidf(), content_encoding="br"), 415, "accept-encoding")
        self.assert_fields(self.subscribe(uri="urn:x:y"), 416)
        self.assert_fields(self.subscribe(require="foo"), 420, "unsupported")
        self.assert_fields(self.subscribe(expires=1), 423, "min-expires")
        self.assert_fields(self.subscribe(uri="sips:bob@example.com"), 480, "warning")
        self.assert_fields(self.subscribe(to_tag="x"), 481)
        self.assert_fields(self.subscribe(event="x"), 489, "allow-events")
        self.assert_fields(phone.ask(phone.request("FOO")), 501, "allow")
        self.node.presence.notifier.policy = NotifierPolicy(per_pair=0)
        self.assert_fields(self.subscribe(), 403, "warning")
        self.node.store.fail_next(2)
        self.node.presence.package.document_limit = 100000
        response = phone.publish(pidf())
        self.assert_fields(response, 500)
        self.assertIn("storage", response.reason)
        self.assert_fields(phone.publish(pidf()), 503, "retry-after")
        (response,) = self.answers(self.phone.request("OPTIONS", "sip:" + "x" * 3000).encode())
        self.assert_fields(response, 414)

    def test_no_personal_data(self) -> None:
        """Reasons and warnings name the check, not who or what (UAS-11)."""
        self.node.watchers.domains[DOMAIN] = "block"
        for response in (
            self.subscribe(sender="sip:private@example.com"),
            self.phone.publish(pidf("sip:private@example.com")),
            self.subscribe(uri="sip:private@elsewhere.example"),
        ):
            text = response.reason + (response.first("warning") or "")
            self.assertIn("399", text)
            self.assertNotIn("private", text)


class Accounts:
    """One account."""

    def ha1(self, username: str, realm: str, algorithm: str) -> str | None:
        """HA1 of alice."""
        return ha1(username, realm, "secret", algorithm) if username == "alice" else None

    def identities(self, username: str, realm: str) -> tuple[str, ...]:
        """Alice."""
        return (ALICE,)


class DigestTests(NodeCase):
    """A node that asks for Digest (UAS-15, AUT-10, AUT-13, SUB-20, PUB-22)."""

    def setUp(self) -> None:
        """With one account and Authentication-Info."""
        accounts = Accounts()
        self.authenticator = DigestAuthenticator(accounts, b"0123456789abcdef")
        identities = IdentityPolicy(
            TrustPolicy(),
            Domains([DOMAIN]),
            mode="digest",
            authenticator=self.authenticator,
            accounts=accounts,
            authentication_info=True,
        )
        self.make(Node(identities=identities))
        self.credentials = ClientCredentials("alice", "secret")

    def challenged(self, method: str, **fields: Any) -> tuple[Response, Response]:
        """The 401 and the answer to the second attempt."""
        uri = fields.pop("uri", BOB)
        first = self.phone.ask(self.phone.request(method, uri, **fields))
        answer = self.credentials.authorize(
            first.headers.get("www-authenticate", []), method, uri, fields.get("body", b"")
        )
        again = self.phone.request(method, uri, authorization=answer, **fields)
        return first, self.phone.ask(again)

    def test_subscribe(self) -> None:
        """401 with a challenge for each algorithm, then the 2xx with its proof (AUT-10)."""
        refused, accepted = self.challenged("SUBSCRIBE")
        self.assertEqual((refused.status, accepted.status), (401, 200))
        self.assertEqual(len(refused.headers["www-authenticate"]), 2)
        self.assertNotIn("authentication-info", refused.headers)
        info = accepted.first("authentication-info") or ""
        for part in ("nextnonce=", "rspauth=", "qop=auth", "nc=00000001", "cnonce="):
            self.assertIn(part, info)
        self.assertEqual(len(self.phone.notifies()), 1)
        # of the request, not of the subscription
        (subscription,) = self.node.presence.notifier.subscriptions("presence", BOB)
        self.assertEqual(subscription.watcher.info, "")

    def test_next_nonce(self) -> None:
        """The next nonce is a good one (AUT-10, AUT-19)."""
        _, accepted = self.challenged("SUBSCRIBE")
        self.credentials.note_info(DOMAIN, accepted.first("authentication-info") or "")
        answer = self.credentials.reuse(DOMAIN, "SUBSCRIBE", BOB)
        self.assertEqual(self.subscribe(authorization=answer).status, 200)

    def test_publish(self) -> None:
        """PUBLISH is challenged too; who proves to be another is refused (PUB-22, AUT-11)."""
        refused, accepted = self.challenged("PUBLISH", body=pidf())
        self.assertEqual((refused.status, accepted.status), (401, 403))
        refused, accepted = self.challenged("PUBLISH", uri=ALICE, body=pidf(ALICE))
        self.assertEqual((refused.status, accepted.status), (401, 200))
        self.assertIn("authentication-info", accepted.headers)

    def test_in_dialog(self) -> None:
        """Requests in a dialog are challenged as well (AUT-13)."""
        _, made = self.challenged("SUBSCRIBE", call_id="c1")
        response = self.subscribe(call_id="c1", to_tag=made.to.tag, uri=made.contacts[0].uri)
        self.assertEqual(response.status, 401)

    def test_nothing_before(self) -> None:
        """Who has not proved anything learns nothing: 401 for everything (UAS-15)."""
        for fields in ({"uri": "sip:bob@elsewhere.example"}, {"event": "x"}, {"require": "x"}):
            self.assertEqual(self.subscribe(**fields).status, 401, fields)
        self.assertEqual(self.phone.ask(self.phone.request("INVITE")).status, 401)
