"""The trace of single users, and the lines of level debug."""

from __future__ import annotations

import itertools
import pathlib
import stat
from typing import Any

from twisted.logger import Logger, LogLevel, LogPublisher
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from presence import boundedfile, trace
from presence.boundedfile import BoundedFile
from presence.tables import Trace
from presence.trace import MessageLog, Taps, Tracer, Tracing, masked
from pysip.correlate import call_hash
from pysip.interfaces import IMessageTap
from pysip.message import Request, Response
from tests.node import ALICE, BOB, Node, pidf

DIGEST = (
    'Digest username="alice", realm="example.com", nonce="abc", uri="sip:example.com", qop=auth,'
    ' nc=00000001, cnonce="SECRET", response="SECRET", algorithm=MD5'
)


class TraceCase(SynchronousTestCase):
    """A node that traces alice."""

    users: tuple[str, ...] = ("alice@example.com",)

    def setUp(self) -> None:
        """Begin the trace."""
        self.events: list[dict[str, Any]] = []
        log = Logger("test", observer=LogPublisher(self.events.append))
        for kind in (Tracer, Tracing, MessageLog):
            self.patch(kind, "_log", log)
        self.path = pathlib.Path(self.mktemp())
        self.node = Node()
        layer = self.node.ua.layer
        self.transports = [layer.transport("UDP"), layer.transport("TCP")]
        self.tracing = Tracing(
            self.transports,  # type: ignore[arg-type]
            self.node.domains.canonical,
            self.node.wall,
        )
        self.addCleanup(self.tracing.stop)
        self.apply()
        self.alice, self.bob = self.node.peer("192.0.2.11"), self.node.peer("192.0.2.10")

    def apply(self, **changes: Any) -> None:
        """Heed settings."""
        settings = Trace(**{"users": self.users, **changes})
        self.tracing.apply(settings, self.path, debug=False)

    def text(self) -> str:
        """What is in the file."""
        return self.path.read_text()

    def titles(self) -> list[str]:
        """What happened with which message, in order."""
        lines = self.text().splitlines()
        return [
            f"{line.split()[2]} {start.removeprefix('SIP/2.0 ').split()[0]}"
            for line, start in itertools.pairwise(lines)
            if line.startswith("--- ")
        ]


class ConcernTests(TraceCase):
    """OBS-02: whose messages are written."""

    def test_watcher(self) -> None:
        """A traced watcher: SUBSCRIBE, its answer, NOTIFYs and theirs, in full."""
        self.bob.publish(pidf(note="at home"))
        self.alice.subscribe(call_id="c1")
        self.assertEqual(
            self.titles(), ["received SUBSCRIBE", "sent 200", "sent NOTIFY", "received 200"]
        )
        text = self.text()
        self.assertIn("at home", text)
        self.assertIn("received from UDP 192.0.2.11 port 5060, call " + call_hash("c1"), text)
        self.assertTrue(text.startswith("--- 2026-01-01T00:00:"), text[:40])
        self.assertNotIn("PUBLISH sip", text)

    def test_presentity(self) -> None:
        """A traced presentity: its PUBLISHes, and everything with its watchers."""
        self.apply(users=("bob@example.com",))
        self.bob.publish(pidf())
        self.alice.subscribe()
        self.bob.publish(pidf(basic="closed"))
        self.node.advance(1)
        told = self.titles()
        self.assertEqual(told.count("received PUBLISH"), 2)
        self.assertEqual(told.count("sent NOTIFY"), 2)
        self.assertEqual(told.count("received SUBSCRIBE"), 1)

    def test_others(self) -> None:
        """Nobody else is in the file, not even a namesake."""
        carol = self.node.peer("192.0.2.12")
        for user in ("sip:carol@example.com", "sip:alice@example.net", "sip:malice@example.com"):
            carol.ask(carol.request("OPTIONS", "sip:bob@example.com", sender=user))
        self.assertEqual(self.text(), "")

    def test_writings(self) -> None:
        """Aliases, other schemes, escapes and parameters are the same user."""
        for number, user in enumerate(
            (
                "sip:alice@192.0.2.1",
                "sips:alice@EXAMPLE.com;transport=tcp",
                "pres:alice@example.com",
                "sip:%61lice@example.com",
                "sip:alice:SECRET@example.com:5070",
            ),
            1,
        ):
            self.alice.send(self.alice.request("OPTIONS", sender=user))
            self.node.advance(0.1)
            self.assertEqual(self.titles().count("received OPTIONS"), number, user)
        self.assertNotIn("SECRET", self.text())

    def test_number(self) -> None:
        """A telephone number, with separators or as the user of a SIP URI."""
        self.apply(users=("tel:+4930123456",))
        for uri in ("tel:+49-30-123456", "TEL:+49(30)123.456"):
            self.bob.send(self.bob.request("OPTIONS", uri))
        self.apply(users=("tel:+4930123456", "+4930123456@example.com"))
        self.bob.send(self.bob.request("OPTIONS", "sip:+49-30-123456@example.com;user=phone"))
        self.node.advance(0.1)
        self.assertEqual(self.titles().count("received OPTIONS"), 3)

    def test_asserted(self) -> None:
        """Who is asserted takes part, and who a request is for."""
        anonymous = "sip:anonymous@anonymous.invalid"
        asserted = f'"A" <{ALICE}>, <tel:+4930123456>'
        self.bob.send(self.bob.request("OPTIONS", sender=anonymous, p_asserted_identity=asserted))
        self.bob.send(self.bob.request("OPTIONS", ALICE, to=BOB, sender=anonymous))
        self.node.advance(0.1)
        self.assertEqual(self.titles().count("received OPTIONS"), 2)

    def test_malformed(self) -> None:
        """What is refused before it is a request is seen with the reason."""
        request = self.alice.request("PUBLISH", sender=ALICE, cseq=1)
        request.set("CSeq", "many PUBLISH")
        self.alice.send(request)
        self.alice.send(b"garbage\r\n\r\n")
        self.node.advance(0.1)
        self.assertEqual(self.titles(), ["received PUBLISH", "sent 400"])
        self.assertIn(", refused: 400 ", self.text())

    def test_unreadable_parties(self) -> None:
        """Header values that cannot be read do no harm."""
        request = self.alice.request("OPTIONS", sender=ALICE)
        request.set("P-Asserted-Identity", '"alice')
        request.set("P-Preferred-Identity", "<http://alice>")
        request.set("To", "<<alice")
        self.alice.send(request)
        self.node.advance(0.1)
        self.assertIn("received OPTIONS", self.titles())

    def test_binary(self) -> None:
        """Octets that are no text are written as they are."""
        self.alice.send(
            self.alice.request("OPTIONS", sender=ALICE, user_agent="\udcff", body=b"\x00\xfe")
        )
        self.node.advance(0.1)
        self.assertIn(b"\xff", self.path.read_bytes())
        self.assertIn(b"\x00\xfe", self.path.read_bytes())

    def test_connections(self) -> None:
        """Messages over TCP are seen both ways."""
        alice = self.node.peer("192.0.2.13", protocol="TCP")
        alice.ask(alice.request("OPTIONS", sender=ALICE))
        self.assertEqual(self.titles(), ["received OPTIONS", "sent 200"])
        self.assertIn("received from TCP 192.0.2.13", self.text())

    def test_retransmissions(self) -> None:
        """A message that comes or goes again is written again."""
        again = self.alice.request("OPTIONS", sender=ALICE)
        for _ in range(2):
            self.alice.ask(again)
        self.assertEqual(self.titles(), ["received OPTIONS", "sent 200"] * 2)


class MaskTests(TraceCase):
    """OBS-02: credentials are masked, all else is as it was."""

    def test_digest(self) -> None:
        """Who authenticates is shown, what proves it is not."""
        request = self.alice.request("REGISTER", "sip:example.com", to=ALICE, authorization=DIGEST)
        request.set("Proxy-Authorization", 'digest response = "SE\\"CRET", realm=x,cnonce=SECRET')
        self.alice.send(request)
        self.node.advance(0.1)
        text = self.text()
        self.assertNotRegex(text, "SE.{0,2}CRET")
        for shown in ('username="alice"', 'nonce="abc"', "nc=00000001", "qop=auth", "realm=x"):
            self.assertIn(shown, text)

    def test_other_schemes(self) -> None:
        """Of schemes without a known form nothing is shown, nor of what cannot be read."""
        for value in ("Basic SECRET", "Bearer SECRET", "Digestresponse=SECRET", "SECRET", ""):
            shown = masked(Request("OPTIONS", "sip:x", {"authorization": [value]}))
            self.assertEqual(shown.headers["authorization"], ["***"])

    def test_server(self) -> None:
        """Our own proof is masked; a challenge is none."""
        info = 'nextnonce="n", rspauth="SECRET", cnonce="SECRET"'
        response = Response(
            200,
            "OK",
            {"authentication-info": [info], "www-authenticate": ['Digest nonce="n", realm="r"']},
        )
        shown = masked(response)
        self.assertEqual(
            shown.headers["authentication-info"], ['nextnonce="n", rspauth="***", cnonce="***"']
        )
        self.assertEqual(shown.headers["www-authenticate"], ['Digest nonce="n", realm="r"'])

    def test_passwords_in_uris(self) -> None:
        """A password in a URI is masked wherever the URI stands."""
        headers = {
            "from": ['"a:b@c" <sip:alice:SECRET@example.com>;tag=1'],
            "contact": ["<SIPS:a;b:SECRET@[2001:db8::1]:5061;x=y>, sip:c:SECRET@h"],
            "via": ["SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK@1"],
            "to": ["<sip:example.com:5060;x=y>"],
        }
        request = Request("OPTIONS", "sip:a:SECRET@h:5060", headers)
        shown = masked(request)
        self.assertNotIn(b"SECRET", shown.encode())
        self.assertEqual(shown.headers["via"], headers["via"])
        self.assertEqual(shown.headers["to"], headers["to"])
        self.assertEqual(shown.uri, "sip:a:***@h:5060")
        self.assertIn("SECRET", request.uri, "the message itself stays as it is")

    def test_message_untouched(self) -> None:
        """The request that is served has its credentials."""
        seen: list[Any] = []
        self.node.ua.add_method("OPTIONS", lambda served: seen.append(served.request))
        self.alice.send(self.alice.request("OPTIONS", sender=ALICE, authorization=DIGEST))
        self.node.advance(0.1)
        self.assertEqual(seen[0].first("authorization"), DIGEST)


class FileTests(SynchronousTestCase):
    """OBS-02: the file is bounded, and its owner's."""

    def setUp(self) -> None:
        """A place."""
        self.path = pathlib.Path(self.mktemp())
        self.older = pathlib.Path(f"{self.path}.1")

    def open(self, limit: int = 1000) -> BoundedFile:
        """A file."""
        file = BoundedFile(self.path, limit)
        self.addCleanup(file.close)
        return file

    def test_bound(self) -> None:
        """Both files together never exceed the limit, and the newest entries are there."""
        file = self.open()
        for number in range(100):
            file.write(b"%03d" % number + b"x" * 60)
            sizes = [p.stat().st_size for p in (self.path, self.older) if p.exists()]
            self.assertLessEqual(sum(sizes), 1000)
        kept = self.older.read_bytes() + self.path.read_bytes()
        self.assertTrue(b"099" in kept and b"094" in kept and b"080" not in kept)

    def test_large_entry(self) -> None:
        """An entry that is larger than a file is cut."""
        file = self.open()
        file.write(b"x" * 5000)
        self.assertEqual(self.path.stat().st_size, 500)
        self.assertTrue(self.path.read_bytes().endswith(b"x\n[...]\n"))

    def test_continued(self) -> None:
        """What an earlier process has written stays, and counts."""
        self.path.write_bytes(b"y" * 450)
        self.open().write(b"x" * 100)
        self.assertEqual(self.older.read_bytes(), b"y" * 450)
        self.assertEqual(self.path.read_bytes(), b"x" * 100)

    def test_private(self) -> None:
        """Only its owner can read it."""
        self.open().write(b"x" * 400)
        self.open().write(b"x" * 400)
        for path in (self.path, self.older):
            self.assertEqual(stat.S_IMODE(path.stat().st_mode), 0o600)


class LifeTests(TraceCase):
    """Off by default, changed by a reload, ended by a failure."""

    def test_off(self) -> None:
        """OBS-02: without users there is no tap, and no file."""
        self.tracing.stop()
        self.path.unlink()
        self.apply(users=())
        self.assertEqual({transport.tap for transport in self.transports}, {None})  # type: ignore[union-attr]
        self.alice.subscribe()
        self.assertFalse(self.path.exists())
        self.assertEqual(Trace().users, ())

    def test_changed(self) -> None:
        """Other users from the next message on."""
        self.apply(users=("sip:bob@example.com",))
        self.alice.ask(self.alice.request("OPTIONS", "sip:example.com", sender=ALICE))
        self.assertEqual(self.text(), "")
        self.bob.ask(self.bob.request("OPTIONS", "sip:example.com", sender=BOB))
        self.assertEqual(len(self.titles()), 2)

    def test_log_names_nobody(self) -> None:
        """SEC-04: the log says that there is a trace, and not whose."""
        self.tracing.stop()
        told = [event["log_format"].format(**event) for event in self.events]
        self.assertEqual(told, [f"tracing 1 users to {self.path}", "tracing has ended"])
        self.assertEqual(self.events[0]["log_level"], LogLevel.info)

    def problems(self) -> list[int]:
        """Numbers of the problems that were logged."""
        return [event["number"] for event in self.events if "problem" in event]

    def test_no_file(self) -> None:
        """A file that cannot be opened is a problem, and the server goes on."""
        self.path = pathlib.Path(self.mktemp()) / "nowhere" / "trace.log"
        self.apply()
        self.assertEqual(self.problems(), [403])
        self.assertEqual(self.alice.subscribe().status, 200)

    def test_no_address(self) -> None:
        """So is an address that passed the check of the configuration and is none."""
        self.patch(self.tracing, "_canonical", _refuse)
        self.apply()
        self.assertEqual(self.problems(), [403])

    def test_write_fails(self) -> None:
        """A full disk ends the trace, with one problem, and nothing else."""

        def full(*_: object) -> int:
            raise OSError(28, "No space left on device")

        self.patch(boundedfile.os, "write", full)
        self.assertEqual(self.alice.subscribe().status, 200)
        self.assertEqual(self.alice.subscribe().status, 200)
        self.assertEqual(self.problems(), [403])

    def test_strange_message(self) -> None:
        """What cannot be written down is noted (a line end inside a value)."""
        request = Request("OPTIONS", ALICE, {"subject": ["a\nVia: forged"]})
        tap: Any = self.transports[0].tap  # type: ignore[union-attr]
        tap.received(request, self.transports[0].flow_to(("192.0.2.11", 5060)))  # type: ignore[union-attr]
        self.assertNotIn("forged", self.text())
        self.assertIn("line ends", self.text())


def _refuse(uri: str) -> str:
    raise trace.ParseError("no URI")


class MessageLogTests(TraceCase):
    """OBS-03: with level debug each message is a line."""

    def test_lines(self) -> None:
        """All lines of one request have its correlation, at level debug only."""
        self.tracing.apply(Trace(), self.path, debug=True)
        self.events.clear()
        self.alice.ask(self.alice.request("OPTIONS", sender=ALICE, call_id="c1", cseq=7))
        self.alice.send(b"garbage\r\n\r\n")
        self.node.advance(0.1)
        place = f"UDP 192.0.2.11 port 5060 (call {call_hash('c1')})"
        self.assertEqual(
            [event["log_format"].format(**event) for event in self.events][:2],
            [
                f"received OPTIONS {BOB}, CSeq 7 OPTIONS from {place}",
                f"sent 200 OK, CSeq 7 OPTIONS to {place}",
            ],
        )
        self.assertEqual(len(self.events), 3)
        self.assertEqual({event["log_level"] for event in self.events}, {LogLevel.debug})

    def test_both(self) -> None:
        """Trace and lines at once."""
        self.tracing.apply(Trace(users=self.users), self.path, debug=True)
        self.events.clear()
        self.alice.ask(self.alice.request("OPTIONS", sender=ALICE))
        self.assertEqual((len(self.events), len(self.titles())), (2, 2))

    def test_interfaces(self) -> None:
        """Every tap provides IMessageTap."""
        file = BoundedFile(self.path, 1000)
        self.addCleanup(file.close)
        for tap in (MessageLog(), Taps(()), Tracer((), str, file, float)):
            verifyObject(IMessageTap, tap)
