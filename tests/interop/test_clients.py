"""The oddities of real clients, replayed against the real server (CLI-05 to CLI-13)."""

from __future__ import annotations

import itertools
import socket
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from presence.pidf.validate import accept
from tests.e2e import wire
from tests.e2e.daemon import OPEN_POINTS, PASSWORD, Daemon, tables
from tests.e2e.phone import aor, challenge_for, notes
from tests.e2e.wire import HOST, parameter
from tests.interop.replay import (
    BARESIP_PUBLISH,
    BARESIP_SUBSCRIBE,
    INSTANCE,
    LINPHONE_PUBLISH,
    LINPHONE_REGISTER,
    LINPHONE_SUBSCRIBE,
    LINPHONE_UNPUBLISH,
    Replay,
    baresip_pidf,
    linphone_credentials,
    linphone_pidf,
)

_COPIED = ("via", "from", "to", "call-id", "cseq")
PIDF = "application/pidf+xml"
PIDF_DIFF = "application/pidf-diff+xml"
_SILENCE = 1.2
"""Seconds in which a NOTIFY that must not come would have come, or come again (T1 is 0.5)."""


class ReplayTests(SynchronousTestCase):
    """Clients that everybody believes: what matters is what they write."""

    def begin(self, point: str = "udp", **changed: Any) -> None:
        """Start a server with bob's and alice's telephone, and somebody who watches bob."""
        self.daemon = Daemon(self, OPEN_POINTS, (), tables(**changed)).start()
        self.bob = Replay(self.daemon.phone(point, "bob", ""), friend="alice")
        self.alice = Replay(self.daemon.phone(point, "alice", ""), friend="bob")
        self.watcher = self.daemon.phone("udp", "watcher", "")
        self.watch = self.watcher.subscribe("bob")
        self.assertEqual(notes(self.watcher.notify(self.watch)), [])

    def told(self) -> bytes:
        """The body of the watcher's next NOTIFY; what we send is valid (CLI-10)."""
        body = self.watcher.notify(self.watch).body
        accept(body, entity_ok=lambda entity: entity == aor("bob"), strict=True)
        return body

    def published(self, **values: str) -> str:
        """Bob's telephone says that it is there; the entity-tag."""
        answer = self.bob.say(LINPHONE_PUBLISH, linphone_pidf("bob", "_f.ght"), **values)
        self.assertEqual(answer.status, 200)
        self.assertIn(b"<basic>open</basic>", self.told())
        return answer["sip-etag"]

    def test_requests_without_length(self) -> None:
        """Over UDP requests without body lack Content-Length; un-PUBLISH (CLI-05, CLI-11)."""
        self.begin()
        answer = self.alice.say(LINPHONE_REGISTER)
        self.assertEqual(answer.status, 200)
        self.assertIn(f'+sip.instance="{INSTANCE}"', answer["contact"])
        self.assertNotIn("gruu", answer["contact"])  # CLI-01
        etag = self.published()
        answer = self.bob.say(LINPHONE_UNPUBLISH, etag=etag)
        self.assertEqual((answer.status, answer["expires"]), (200, "0"))
        self.assertNotIn(b"<tuple", self.told())

    def test_response_without_length(self) -> None:
        """Over UDP the answer to a NOTIFY lacks Content-Length: it is one (CLI-05)."""
        self.begin()
        phone = self.alice.phone
        phone.answer = 0
        watch = self.alice.watch(LINPHONE_SUBSCRIBE)
        notify = phone.notify(watch)
        fields = "".join(f"{name}: {text}\r\n" for name, text in notify.fields if name in _COPIED)
        phone.wire.send(f"SIP/2.0 200 Ok\r\n{fields}\r\n".encode())
        self.assertIsNone(phone.step(_SILENCE))

    def test_odd_headers(self) -> None:
        """To without brackets, no Accept, a Contact with parameters and odd user (CLI-07)."""
        self.begin()
        self.published()
        watch = self.alice.watch(LINPHONE_SUBSCRIBE, user="0x7f3c50")
        self.assertEqual(watch.response.status, 200)
        self.assertRegex(watch.response["to"], r"^<?sip:bob@example\.com>?;tag=[^;]+$")
        notify = self.alice.phone.notify(watch)
        self.assertIn(f"NOTIFY sip:0x7f3c50@{self.alice.here};transport=udp SIP/2.0", notify.start)
        self.assertIn(b"<basic>open</basic>", notify.body)

    def test_abilities(self) -> None:
        """What SUBSCRIBEs say of types, preferences and ids is heeded (EVT-04, PNO-03)."""
        self.begin()
        self.published()
        for accept_fields, event, told in (
            ("", "presence", PIDF),
            ("Accept: application/pidf+xml\n", "presence;id=1", PIDF),
            ("Accept: multipart/related, application/rlmi+xml, */*\n", "presence", PIDF),
            (f"Accept: {PIDF};q=0.5,\n {PIDF_DIFF}\n", "presence", PIDF_DIFF),
            (f"Accept: {PIDF_DIFF};q=0.1, {PIDF}\n", "presence;id=1", PIDF),
            (f"Accept: {PIDF}\nAccept: {PIDF_DIFF}\n", "presence;id=2", PIDF_DIFF),
        ):
            text = LINPHONE_SUBSCRIBE.replace(
                "Event: presence\n", f"Event: {event}\n{accept_fields}"
            )
            watch = self.alice.watch(text.replace("9wYDbhC0xH", f"9wYDbhC0x{event[-1]}{told[-8]}"))
            self.assertEqual(watch.response.status, 200)
            notify = self.alice.phone.notify(watch)
            self.assertEqual((notify["event"], notify["content-type"]), (event, told))
            self.assertIn(b"<basic>open</basic>", notify.body)

    def test_last_notify_refused(self) -> None:
        """The NOTIFY after an unsubscribe is answered 481; there is nothing more (CLI-09)."""
        self.begin()
        watch = self.alice.watch(LINPHONE_SUBSCRIBE)
        self.alice.phone.notify(watch)
        self.alice.phone.answer = 481
        self.assertEqual(self.alice.phone.resubscribe(watch, expires=0).status, 200)
        self.assertIn("terminated", self.alice.phone.notify(watch)["subscription-state"])
        self.published()
        self.assertIsNone(self.alice.phone.step(_SILENCE))

    def test_leaves_without_waiting(self) -> None:
        """A client un-PUBLISHes and closes its connection at once (CLI-09, CLI-11)."""
        self.begin("tcp")
        etag = self.published()
        _, message = self.bob.message(
            LINPHONE_UNPUBLISH + "Content-Length: 0\n", etag=etag
        )  # over TCP it has one
        self.bob.phone.wire.send(message)
        self.bob.phone.close()
        self.assertNotIn(b"<tuple", self.told())

    def test_port_of_the_connection(self) -> None:
        """Liblinphone's Contact has the port of its connection, which is used (CLI-08)."""
        self.begin("tcp")
        watch = self.alice.watch(LINPHONE_SUBSCRIBE)
        self.alice.phone.notify(watch)
        self.published()
        self.assertIn(b"open", self.alice.phone.notify(watch).body)

    def test_listening_port(self) -> None:
        """Baresip's Contact has its listening port, to which we connect (CLI-03, CLI-08)."""
        self.begin("tcp")
        with socket.create_server((HOST, 0)) as listener:
            listener.settimeout(15)
            place = "{}:{}".format(*listener.getsockname())
            watch = self.alice.watch(BARESIP_SUBSCRIBE, listening=place)
            self.assertEqual(watch.response.status, 200)
            incoming = wire.StreamWire(listener.accept()[0])
        self.addCleanup(incoming.close)
        notify = incoming.receive(15)
        assert notify is not None
        self.assertIn(f"NOTIFY sip:alice-0x5645546b2ee0@{place};transport=tcp", notify.start)
        self.assertIsNone(self.alice.phone.step(0.1))  # not here

    def test_published_anew(self) -> None:
        """After a 412 baresip publishes anew, with the To tag of an answer (CLI-09, CLI-12)."""
        self.begin()
        document = baresip_pidf("bob", "open")
        answer = self.bob.say(BARESIP_PUBLISH, document, match="SIP-If-Match: forgotten")
        self.assertEqual(answer.status, 412)
        tag = f";tag={parameter(answer['to'], 'tag')}"
        answer = self.bob.say(BARESIP_PUBLISH, document, tag=tag)
        self.assertEqual(answer.status, 200)
        self.assertIn(b"open", self.told())
        match = f"SIP-If-Match: {answer['sip-etag']}"
        document = baresip_pidf("bob", "closed")
        answer = self.bob.say(BARESIP_PUBLISH, document, match=match, tag=tag)
        self.assertEqual(answer.status, 200)
        self.assertIn(b"closed", self.told())

    def test_invalid_documents(self) -> None:
        """What the schema does not allow is repaired, so that what we send is (CLI-10)."""
        self.begin()
        answer = self.bob.say(BARESIP_PUBLISH, baresip_pidf("bob", "unknown"))
        self.assertEqual(answer.status, 200)
        body = self.told()
        self.assertIn(b"<tuple", body)
        self.assertNotIn(b"unknown", body)
        other = self.bob.say(LINPHONE_PUBLISH, linphone_pidf("bob", "q5", "idle"))
        self.assertEqual(other.status, 200)
        self.assertIn(b"pidfonline:online", self.told())

    def test_another_tuple_id_each_time(self) -> None:
        """A modification has another tuple id and is still the same publication (CLI-10)."""
        self.begin()
        etag = self.published()
        for number in range(3):
            document = linphone_pidf("bob", f"id{number}", f"note {number}")
            match = f"SIP-If-Match: {etag}"
            etag = self.bob.say(BARESIP_PUBLISH, document, match=match)["sip-etag"]
            self.assertEqual(self.told().count(b"<tuple"), 1)

    def test_strict(self) -> None:
        """In strict mode they are refused with the line and reason (CLI-10)."""
        self.begin(publication={"min_expires": 1, "validation": "strict"})
        for document in (baresip_pidf("bob", "unknown"), linphone_pidf("bob", "q5")):
            answer = self.bob.say(BARESIP_PUBLISH, document)
            self.assertEqual(answer.status, 400)
            self.assertRegex(answer["warning"], r'^399 \S+ ".*line \d+.*"$')

    def test_address_as_domain(self) -> None:
        """An address with port stands for the domain, in the document, too (CLI-13)."""
        self.begin()
        place = self.bob.server
        document = linphone_pidf("bob", "x", domain=place)
        answer = self.bob.say(LINPHONE_PUBLISH, document, domain=place)
        self.assertEqual(answer.status, 200)
        self.assertIn(b"open", self.told())
        watch = self.alice.watch(LINPHONE_SUBSCRIBE, domain=HOST)
        self.assertIn(b"open", self.alice.phone.notify(watch).body)


class CredentialsTests(SynchronousTestCase):
    """What liblinphone does with nonces (CLI-06, CLI-07)."""

    def setUp(self) -> None:
        """Start a server that knows bob."""
        daemon = Daemon(self, None, ("bob",)).start()
        self.bob = Replay(daemon.phone("udp", "bob", ""))
        self.challenge: dict[str, str] = {}
        self.number = itertools.count(1)

    def ask(self, template: str, name: str = "", count: int = 0) -> wire.Message:
        """Send a request with credentials of the last challenge, in a header of that name."""
        method, uri = template.split()[:2]
        uri = uri.format(user="bob", domain="example.com")
        value = ""
        if name:
            given = linphone_credentials(self.challenge, "bob", PASSWORD, method, uri, count)
            value = f"{name}:{given}"
        body = b""
        if method == "PUBLISH":  # with another tuple id each time, also after a challenge
            body = linphone_pidf("bob", f"id{next(self.number)}", "idle")
        answer = self.bob.say(template, body, credentials=value)
        if answer.status == 401:
            self.challenge = challenge_for(answer, "MD5")
        return answer

    def test_two_headers(self) -> None:
        """The nonce of REGISTER goes on in Proxy-Authorization, then starts anew (CLI-06).

        That is one count per header; a count that comes again is refused as stale, with a
        nonce that then does it.
        """
        self.assertEqual(self.ask(LINPHONE_REGISTER).status, 401)
        first = self.challenge
        self.assertEqual(self.ask(LINPHONE_REGISTER, "Authorization", 1).status, 200)
        self.assertEqual(self.ask(LINPHONE_PUBLISH, "Proxy-Authorization", 2).status, 200)
        self.assertEqual(self.challenge, first)
        answer = self.ask(LINPHONE_PUBLISH, "Authorization", 1)
        self.assertEqual((answer.status, self.challenge.get("stale")), (401, "true"))
        self.assertNotEqual(self.challenge["nonce"], first["nonce"])
        self.assertEqual(self.ask(LINPHONE_PUBLISH, "Authorization", 1).status, 200)

    def test_fresh_nonces(self) -> None:
        """Each challenge has a nonce of its own; an old one in the other header does (CLI-06)."""
        nonces = set()
        for _ in range(3):
            self.assertEqual(self.ask(LINPHONE_PUBLISH).status, 401)
            nonces.add(self.challenge["nonce"])
        self.assertEqual(len(nonces), 3)
        self.assertEqual(self.ask(LINPHONE_PUBLISH, "Proxy-Authorization", 1).status, 200)
        self.assertEqual(self.ask(LINPHONE_PUBLISH, "Authorization", 1).status, 200)
