"""The client program and its commands against a whole node, in memory."""

from __future__ import annotations

import io
import json
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial import unittest

from presence.client import ClientSettings, PresenceClient
from presence.commands.failures import AUTHENTICATION, OK, REFUSED, UNREACHABLE, USAGE
from presence.commands.ownsphere import UnknownSphereError, fetch_sphere
from presence.commands.publish import PublishCommand, Publishing
from presence.commands.session import ClientCommand, Output, Process, Session
from presence.commands.tableview import TableView
from presence.commands.views import JsonView, LineView, View
from presence.commands.watch import FetchCommand, WatchCommand
from presence.link import UnreachableError
from presence.source import Status
from pysip.auth.digest import ha1
from pysip.auth.domains import Domains
from pysip.auth.server import DigestAuthenticator
from pysip.auth.trust import IdentityPolicy, TrustPolicy
from pysip.interfaces import ITransport, Target
from pysip.uri import SipUri, parse_uri
from tests.node import ALICE, BOB, DOMAIN, SERVER, Node, Peer, pidf

CAROL = "sip:carol@example.com"


class Accounts:
    """Everybody's password is "secret"."""

    def ha1(self, username: str, realm: str, algorithm: str) -> str | None:
        """HA1 of anybody."""
        return ha1(username, realm, "secret", algorithm)

    def identities(self, username: str, realm: str) -> tuple[str, ...]:
        """The one identity of a user."""
        return (f"sip:{username}@{realm}",)


class ClientCase(unittest.SynchronousTestCase):
    """A node and clients of it."""

    def setUp(self) -> None:
        """Start a node that believes everybody."""
        self.node = Node()
        self.made: list[ITransport] = []

    def use_digest(self) -> None:
        """Start a node that asks for passwords instead."""
        accounts = Accounts()
        authenticator = DigestAuthenticator(accounts, b"0123456789abcdef")
        self.node = Node(
            identities=IdentityPolicy(
                TrustPolicy(),
                Domains([DOMAIN], {SERVER[0]: DOMAIN}),
                authenticator=authenticator,
                accounts=accounts,
            )
        )

    def client(self, user: str = ALICE, **settings: Any) -> PresenceClient:
        """A client of the node, not started."""
        uri = parse_uri(user)
        assert isinstance(uri, SipUri)
        settings.setdefault("server", SERVER)

        def make_transport(protocol: str, host: str) -> ITransport:
            transport = self.node.network.transport((host, 0), protocol)
            self.made.append(transport)
            return transport

        return PresenceClient(
            self.node.clock,
            ClientSettings(user=uri, **settings),
            make_transport=make_transport,
        )

    def started(self, user: str = ALICE, **settings: Any) -> PresenceClient:
        """A client that has found its server."""
        client = self.client(user, **settings)
        self.node.done(Deferred.fromCoroutine(client.start()))
        return client


class LinkTests(ClientCase):
    """Finding the server and staying in touch."""

    def test_contact_by_udp(self) -> None:
        """The Contact of a UDP client is its port."""
        client = self.started()
        host, port = self.made[0].local
        self.assertEqual(client.link.contact(), f"<sip:alice@{host}:{port}>")
        self.assertEqual([t.protocol for t in self.made], ["UDP", "TCP"])

    def test_contact_by_tcp(self) -> None:
        """On a connection the Contact is the connection's own address (CLI-08)."""
        client = self.started(transport="tcp")
        listening = self.made[0].local
        uri = parse_uri(client.link.contact().strip("<>"))
        assert isinstance(uri, SipUri)
        self.assertEqual((uri.host, uri.transport), (listening[0], "tcp"))
        self.assertNotEqual(uri.port, listening[1])

    def test_route(self) -> None:
        """Route names the server when it is not the domain itself (ROU-03)."""
        self.assertEqual(self.client().route, ("<sip:192.0.2.1:5060;transport=udp;lr>",))
        client = self.client(server=("example.com", None), transport="tls")
        self.assertEqual(client.route, ())
        client = self.client(server=("2001:db8::1", None), transport="tls")
        self.assertEqual(client.route, ("<sip:[2001:db8::1]:5061;transport=tls;lr>",))
        self.assertEqual(self.client(server=None).route, ())

    def test_refused(self) -> None:
        """A port where nobody listens is told at once, with the cause."""
        for transport in ("udp", "tcp"):
            client = self.client(server=(SERVER[0], 9), transport=transport)
            starting = Deferred.fromCoroutine(client.start())
            self.node.advance(1)
            error = self.failureResultOf(starting, UnreachableError).value
            self.assertEqual(str(error), "connection refused")

    def test_silence(self) -> None:
        """A server that does not answer is given up after some seconds."""
        self.node.network.loss = 1.0
        starting = Deferred.fromCoroutine(self.client().start())
        self.node.advance(4.5)
        self.assertNoResult(starting)
        self.node.advance(1)
        error = self.failureResultOf(starting, UnreachableError).value
        self.assertEqual(str(error), "no answer in 5 s")

    def test_second_address(self) -> None:
        """When the first address does not work the second is used."""
        client = self.started(transport="tcp")
        targets = [
            Target("TCP", ("192.0.2.99", 5060), "example.com"),
            Target("TCP", SERVER, "example.com"),
        ]
        connecting = Deferred.fromCoroutine(client.link.connect(targets))
        self.node.advance(1)
        self.successResultOf(connecting)
        targets[1] = Target("TCP", ("192.0.2.98", 5060), "example.com")
        connecting = Deferred.fromCoroutine(client.link.connect(targets))
        self.node.advance(1)
        self.failureResultOf(connecting, UnreachableError)

    def test_strangers(self) -> None:
        """Only the server's address may send us anything (AUT-14)."""
        client = self.started()
        _, port = self.made[0].local
        for host, status in (("192.0.2.66", 403), (SERVER[0], 489)):
            peer = Peer(self.node, (host, 7000))
            request = peer.request("NOTIFY", f"sip:alice@{self.made[0].local[0]}:{port}")
            request.set("Event", "other")
            peer.transport.flow_to(self.made[0].local).send(request.encode())
            self.node.advance(0.2)
            self.assertEqual([r.status for r in peer.responses], [status])
        self.node.done(Deferred.fromCoroutine(client.stop()))

    def test_reconnect(self) -> None:
        """A lost connection is made anew, and its owner told (TRN-13)."""
        client = self.started(transport="tcp")
        events: list[str] = []
        client.link.lost = lambda cause, delay: events.append("lost")
        client.link.moved = lambda: events.append("moved")
        client.link.keep()
        before = client.link.contact()
        self.node.network.reset(self.made[0].local[0], SERVER[0])
        self.node.advance(2)
        self.assertEqual(events, ["lost", "moved"])
        self.assertNotEqual(client.link.contact(), before)

    def test_reconnect_takes_time(self) -> None:
        """While the server is away it is tried with growing delays."""
        client = self.started(transport="tcp")
        delays: list[float] = []
        client.link.lost = lambda cause, delay: delays.append(delay)
        client.link.keep()
        here = self.made[0].local[0]
        self.node.network.cut(here, SERVER[0])
        self.node.advance(12)
        self.assertEqual([round(delay / 1.05) for delay in delays], [1, 2, 4, 8])
        self.node.network.heal(here, SERVER[0])
        moved: list[bool] = []
        client.link.moved = lambda: moved.append(True)
        self.node.advance(20)
        self.assertEqual(moved, [True])

    def test_keep_alive(self) -> None:
        """An idle connection is tested every 95 to 120 s; a dead one is replaced (TRN-13)."""
        client = self.started(transport="tcp")
        events: list[str] = []
        client.link.lost = lambda cause, delay: events.append(cause)
        client.link.moved = lambda: events.append("moved")
        client.link.keep()
        sent: list[bytes] = []
        self.node.network.taps.append(lambda p, s, d, data: sent.append(data))
        self.node.advance(94, step=1)
        self.assertEqual(sent, [])
        self.node.advance(27, step=1)
        self.assertEqual(len([data for data in sent if data.startswith(b"OPTIONS")]), 1)
        self.assertEqual(events, [])
        self.node.network.stall(SERVER[0])
        self.node.advance(127, step=0.5)
        self.assertEqual(events[:1], ["the server does not answer any more"])
        self.node.network.unstall(SERVER[0])
        self.node.advance(60, step=0.5)
        self.assertEqual(events[-1], "moved")

    def test_stop(self) -> None:
        """After the end nothing is left running."""
        client = self.started(transport="tcp")
        client.link.keep()
        self.node.done(Deferred.fromCoroutine(client.stop()))
        self.assertEqual(len(client.ua.wheel), 0)


class CommandCase(ClientCase):
    """Commands as their user sees them."""

    def setUp(self) -> None:
        """Collect what is printed."""
        super().setUp()
        self.out = io.StringIO()
        self.err = io.StringIO()

    def session(self, command: ClientCommand, user: str = ALICE, **settings: Any) -> Session:
        """Begin a command."""
        session = Session(self.client(user, **settings), command, Output(self.err))
        self.status: Deferred[int] = session.start()
        self.node.advance(0.5)
        return session

    def ended(self, status: int) -> None:
        """The command has ended with this exit status."""
        self.assertEqual(self.successResultOf(self.status), status, self.err.getvalue())

    def printed(self) -> list[str]:
        """Lines on standard output since the last call."""
        lines = self.out.getvalue().splitlines()
        self.out.seek(0)
        self.out.truncate()
        return lines


class PublishTests(CommandCase):
    """``presencectl publish``."""

    def publish(self, user: str = BOB, *, settings: Any = None, **what: Any) -> Session:
        """Begin to publish."""
        what.setdefault("presentity", BOB)
        command = PublishCommand(
            Publishing(**what), Output(self.out), Output(self.err), self.node.wall
        )
        return self.session(command, user, **(settings or {}))

    @property
    def bodies(self) -> list[bytes]:
        """Documents that the node holds of Bob."""
        return [r.body for r in self.node.presence.compositor.publications("presence", BOB)]

    def test_until_interrupted(self) -> None:
        """It keeps the publication up and removes it at the end (SRC-05)."""
        session = self.publish(status=Status(note="here"), expires=120)
        self.assertEqual(self.printed(), [f"published {BOB} for 120 s, refreshed until Ctrl-C"])
        self.node.advance(1000, step=1)
        self.assertIn(b"here", self.bodies[0])
        self.assertNoResult(self.status)
        self.assertEqual(self.printed(), [])
        session.interrupt()
        self.node.advance(1)
        self.ended(OK)
        self.assertEqual(self.bodies, [])
        self.assertEqual(self.printed(), [f"removed the publication for {BOB}"])

    def test_once(self) -> None:
        """--once ends after the first success and leaves the publication."""
        self.publish(once=True)
        self.ended(OK)
        self.assertEqual(len(self.bodies), 1)

    def test_keep(self) -> None:
        """--keep leaves the publication at the end."""
        session = self.publish(keep=True)
        session.interrupt()
        self.node.advance(1)
        self.ended(OK)
        self.assertEqual(len(self.bodies), 1)

    def test_removal_unanswered(self) -> None:
        """The good-bye takes some seconds at most."""
        session = self.publish()
        self.node.network.loss = 1.0
        session.interrupt()
        self.node.advance(5.5)
        self.ended(OK)
        self.assertIn("no answer to the removal", self.err.getvalue())

    def test_document(self) -> None:
        """A document from a file goes out as it is."""
        self.publish(document=pidf(note="mine"), once=True)
        self.ended(OK)
        self.assertIn(b"mine", self.bodies[0])

    def test_bad_document(self) -> None:
        """A document that cannot be published is the user's mistake."""
        self.publish(document=pidf(ALICE))
        self.ended(USAGE)
        self.assertIn(f"its entity is not {BOB}", self.err.getvalue())

    def test_control_characters(self) -> None:
        """What XML cannot hold is the user's mistake."""
        self.publish(status=Status(note="\x00"))
        self.ended(USAGE)

    def test_refused(self) -> None:
        """A refusal ends it, and says who may not do what."""
        self.publish(ALICE)
        self.ended(REFUSED)
        self.assertIn("403 Forbidden", self.err.getvalue())
        self.assertIn(f"{ALICE} is not allowed", self.err.getvalue())

    def test_unknown_domain(self) -> None:
        """A presentity of another domain is not found."""
        self.publish(presentity="sip:bob@elsewhere.example")
        self.ended(REFUSED)
        self.assertIn("404", self.err.getvalue())

    def test_password(self) -> None:
        """A right password is accepted."""
        self.use_digest()
        self.publish(once=True, settings={"password": "secret"})
        self.ended(OK)

    def test_wrong_password(self) -> None:
        """A wrong password is an authentication failure."""
        self.use_digest()
        self.publish(settings={"password": "wrong"})
        self.ended(AUTHENTICATION)
        self.assertIn("check --user and the password", self.err.getvalue())

    def test_no_password(self) -> None:
        """Without a password the message says how to give one."""
        self.use_digest()
        self.publish()
        self.ended(AUTHENTICATION)
        self.assertIn("--password-file", self.err.getvalue())

    def test_unreachable(self) -> None:
        """A server that is not there is told with a way out."""
        self.publish(settings={"server": (SERVER[0], 9), "transport": "tcp"})
        self.ended(UNREACHABLE)
        self.assertIn("cannot reach 192.0.2.1:9 by TCP: connection refused", self.err.getvalue())

    def test_busy(self) -> None:
        """A passing failure is told and tried again; with --once it ends the command."""
        self.node.ua.draining = True
        self.publish()
        self.assertNoResult(self.status)
        self.assertIn("503 Service Unavailable", self.err.getvalue())
        self.assertIn("trying again in", self.err.getvalue())
        self.node.ua.draining = False
        self.node.advance(20)
        self.assertEqual(len(self.printed()), 1)
        self.node.ua.draining = True
        self.publish(once=True)
        self.ended(REFUSED)

    def test_interrupted_early(self) -> None:
        """Ctrl-C while the server is looked for ends it at once."""
        self.node.network.loss = 1.0
        session = self.publish()
        session.interrupt()
        self.node.advance(0.1)
        self.ended(OK)


class WatchTests(CommandCase):
    """``presencectl watch``."""

    def setUp(self) -> None:
        """A phone that publishes for Bob."""
        super().setUp()
        self.phone = self.node.peer()

    def lines(self) -> View:
        """A view of lines."""
        return LineView(Output(self.out), Output(self.err), self.node.wall)

    def watch(self, *uris: str, view: View | None = None, **settings: Any) -> Session:
        """Begin to watch."""
        command = WatchCommand(uris or (BOB,), view or self.lines())
        return self.session(command, **settings)

    def seen(self) -> list[str]:
        """Printed lines without their time."""
        return [line.partition("  ")[2] for line in self.printed()]

    def test_changes(self) -> None:
        """One line per change, none when nothing changed (WAT-01)."""
        for transport in ("udp", "tcp"):
            session = self.watch(transport=transport)
            self.assertEqual(self.seen(), [f"{BOB}  offline"])
            answer = self.phone.publish(pidf(note="hello"))
            self.node.advance(1)
            self.assertEqual(self.seen(), [f'{BOB}  open  "hello"'])
            self.phone.publish(sip_if_match=answer.first("sip-etag"), expires=0)
            self.node.advance(4000, step=5)  # with a refresh, which changes nothing
            self.assertEqual(self.seen(), [f"{BOB}  offline"])
            session.interrupt()
            self.node.advance(1)
            self.ended(OK)
            self.assertEqual(len(self.node.presence.notifier), 0)

    def test_oversize(self) -> None:
        """A document too large for a datagram arrives with UDP too (TRN-05)."""
        self.watch()
        self.printed()
        large = pidf(note="x" * 3000)
        phone = self.node.peer("192.0.2.11", protocol="TCP")
        phone.publish(large)
        self.node.advance(1)
        self.assertEqual([len(line) > 3000 for line in self.printed()], [True])

    def test_json(self) -> None:
        """One JSON object per NOTIFY."""
        view = JsonView(Output(self.out), Output(self.err), self.node.wall)
        self.watch(view=view)
        self.phone.publish(pidf(note="grüße"))
        self.node.advance(1)
        first, second = map(json.loads, self.printed())
        self.assertEqual((first["presentity"], first["status"]), (BOB, "offline"))
        self.assertEqual(second["subscription"], "active")
        self.assertEqual(second["status"], "open")
        self.assertEqual(second["services"][0]["notes"], ["grüße"])
        self.assertIn("<presence", second["document"])
        self.assertTrue(second["time"].startswith("2026-01-01T00:00:"))

    def test_table(self) -> None:
        """A table that is written anew in its place."""
        view = TableView(Output(self.out), self.node.wall, [BOB, CAROL], lambda: 60, lambda: 24)
        self.watch(BOB, CAROL, view=view)
        self.phone.publish(pidf(note="n" * 100))
        self.node.advance(1)
        last = self.out.getvalue().rpartition("\x1b[J")[2].splitlines()
        self.assertEqual(len(last), 3)
        self.assertTrue(last[0].startswith("PRESENTITY"))
        self.assertRegex(last[1], rf'^{BOB}   +open  +\d\d:\d\d:\d\d  "n+…$')
        self.assertEqual(max(map(len, last)), 59)
        self.assertRegex(last[2], rf"^{CAROL} +offline +\d\d:\d\d:\d\d$")
        self.assertIn("\x1b[3A\r", self.out.getvalue())

    def test_refused(self) -> None:
        """It ends when nobody is left to watch, with the status of the first refusal."""
        self.watch("sip:x@elsewhere.example", "sip:y@elsewhere.example")
        self.ended(REFUSED)
        self.assertEqual(self.err.getvalue().count("404"), 2)

    def test_one_refused(self) -> None:
        """As long as one can be watched it goes on."""
        self.watch(BOB, "sip:y@elsewhere.example")
        self.assertNoResult(self.status)
        self.assertIn("404", self.err.getvalue())

    def test_rejected_later(self) -> None:
        """A watcher who is blocked is told, and it ends."""
        self.watch()
        self.node.watchers.default = "block"
        self.node.presence.reauthorize()
        self.node.advance(1)
        self.ended(REFUSED)
        self.assertEqual(self.seen()[-1], f"{BOB}  -  (subscription ended: rejected)")

    def test_permission_withdrawn(self) -> None:
        """What was seen before is not shown as the state of now while a decision is awaited."""
        self.phone.publish(pidf(note="secret"))
        view = JsonView(Output(self.out), Output(self.err), self.node.wall)
        for shown in (self.lines(), view):
            self.node.watchers.default = "allow"
            self.node.presence.reauthorize()
            session = self.watch(view=shown)
            self.node.watchers.default = "confirm"
            self.node.presence.reauthorize()
            self.node.advance(1)
            before, after = self.printed()
            self.assertIn("secret", before)
            self.assertNotIn("secret", after)
            self.assertNotIn("open", after)
            session.interrupt()
            self.node.advance(1)
            self.printed()
        self.assertEqual(json.loads(after)["subscription"], "pending")

    def test_pending(self) -> None:
        """An open decision is shown as such."""
        self.node = Node(decision="confirm")
        self.watch()
        self.assertEqual(self.seen(), [f"{BOB}  -  (waiting for permission)"])

    def test_wrong_password(self) -> None:
        """A wrong password ends it with its own status."""
        self.use_digest()
        self.watch(password="wrong")
        self.ended(AUTHENTICATION)

    def test_password(self) -> None:
        """Subscribing, refreshing and unsubscribing with Digest (AUT-13)."""
        self.use_digest()
        session = self.watch(password="secret", transport="tcp")
        self.node.advance(4000, step=5)
        session.interrupt()
        self.node.advance(1)
        self.ended(OK)
        self.assertEqual(self.err.getvalue(), "")
        self.assertEqual(len(self.node.presence.notifier), 0)

    def test_connection_lost(self) -> None:
        """Over a new connection the view goes on (DLG-08)."""
        self.watch(transport="tcp")
        self.printed()
        self.node.network.reset(self.made[0].local[0], SERVER[0])
        self.node.advance(3)
        self.assertIn("connection lost", self.err.getvalue())
        self.assertIn("connected again", self.err.getvalue())
        self.phone.publish(pidf(note="again"))
        self.node.advance(1)
        self.assertEqual(self.seen(), [f'{BOB}  open  "again"'])

    def test_fetch(self) -> None:
        """--fetch shows the states once and ends."""
        self.phone.publish(pidf(note="now"))
        self.session(FetchCommand([BOB, CAROL], self.lines()))
        self.ended(OK)
        self.assertEqual(sorted(self.seen()), [f'{BOB}  open  "now"', f"{CAROL}  offline"])
        self.assertEqual(len(self.node.presence.notifier), 0)

    def test_failed_fetch(self) -> None:
        """A refused fetch tells why and gives the status; the others are shown."""
        self.session(FetchCommand([BOB, "sip:x@elsewhere.example"], self.lines()))
        self.ended(REFUSED)
        self.assertEqual(self.seen(), [f"{BOB}  offline"])
        self.assertIn("404", self.err.getvalue())

    def test_fetch_interrupted(self) -> None:
        """Ctrl-C ends the waiting."""
        session = self.session(FetchCommand([BOB], self.lines()))
        session.interrupt()
        self.node.advance(0.1)
        self.ended(OK)

    def test_hostile_text(self) -> None:
        """Control sequences in a note do not reach the terminal."""
        self.watch()
        self.printed()
        self.phone.publish(pidf(note="a&#x9b;31m\x7fb"))
        self.node.advance(1)
        (line,) = self.printed()
        self.assertTrue(line.isprintable())

    def test_hostile_json(self) -> None:
        """JSON is safe for a terminal, too, and means the same."""
        self.watch(view=JsonView(Output(self.out), Output(self.err), self.node.wall))
        self.printed()
        self.phone.publish(pidf(note="a&#x9b;31m\x7fb\u202e\U000e0041"))
        self.node.advance(1)
        (line,) = self.printed()
        self.assertTrue(line.isprintable(), ascii(line))
        self.assertIn("a&#x9b;31m\x7fb\u202e\U000e0041", json.loads(line)["document"])

    def test_hostile_reason(self) -> None:
        """Whatever others say in remarks and results is without control characters."""
        Output(self.out).line("refused: \x1b[2Jno\u009b1m\r\nway\u202e")
        self.assertEqual(self.out.getvalue(), "refused: [2Jno1mway\n")

    def test_details(self) -> None:
        """Rich presence has lines of its own below the status; JSON has it in parts."""
        person = (
            '<dm:person xmlns:dm="urn:ietf:params:xml:ns:pidf:data-model"'
            ' xmlns:r="urn:ietf:params:xml:ns:pidf:rpid" id="p">'
            "<r:activities><r:meeting/></r:activities><r:mood><r:happy/></r:mood>"
            "<r:sphere><r:work/></r:sphere>"
            "<r:status-icon>https://example.com/me.png</r:status-icon></dm:person></presence>"
        )
        body = pidf(note="hi").replace(b"</presence>", person.encode())
        self.watch()
        self.printed()
        self.phone.publish(body)
        self.node.advance(1)
        first, *others = self.printed()
        self.assertTrue(first.endswith(f'{BOB}  open  meeting, happy "hi"'), first)
        self.assertEqual(
            others,
            [
                "          person       sphere work",
                "          status-icon  https://example.com/me.png",
            ],
        )
        view = JsonView(Output(self.out), Output(self.err), self.node.wall)
        self.session(FetchCommand([BOB], view))
        (told,) = map(json.loads, self.printed())
        self.assertEqual(told["activities"], ["meeting"])
        self.assertEqual(told["persons"][0]["spheres"][0]["values"], ["work"])
        self.assertEqual(
            told["persons"][0]["links"],
            [{"kind": "status-icon", "uri": "https://example.com/me.png", "label": ""}],
        )
        self.assertEqual(told["devices"], [])


class SphereTests(ClientCase):
    """What ``presencectl rules explain`` asks for when rules depend on the sphere (XDM-116)."""

    def ask(self, presentity: str = ALICE, **settings: Any) -> Deferred[str | None]:
        """Alice asks."""
        found = Deferred.fromCoroutine(fetch_sphere(self.client(**settings), presentity))
        self.node.advance(40)
        return found

    def publish(self, sphere: str) -> None:
        """Alice is somewhere."""
        person = (
            '<dm:person xmlns:dm="urn:ietf:params:xml:ns:pidf:data-model"'
            ' xmlns:r="urn:ietf:params:xml:ns:pidf:rpid" id="p">'
            f"<r:sphere>{sphere}</r:sphere></dm:person></presence>"
        )
        body = pidf(ALICE).replace(b"</presence>", person.encode())
        self.assertEqual(self.node.peer().publish(body, uri=ALICE).status, 200)

    def test_sphere(self) -> None:
        """It is the one that is published, or none."""
        self.assertIsNone(self.successResultOf(self.ask()))
        self.publish("<r:work/>")
        self.assertEqual(self.successResultOf(self.ask()), "work")

    def test_unknown(self) -> None:
        """Why it cannot be known is told: nobody there, not shown, nobody answers."""
        failure = self.failureResultOf(self.ask("sip:x@elsewhere.example"), UnknownSphereError)
        self.assertIn("404", str(failure.value))
        self.node = Node(decision="confirm")
        failure = self.failureResultOf(self.ask(BOB), UnknownSphereError)
        self.assertIn("not shown to sip:alice", str(failure.value))
        failure = self.failureResultOf(self.ask(server=("192.0.2.99", 5060)), UnknownSphereError)
        self.assertIn("connection refused", str(failure.value))


class ProcessTests(unittest.SynchronousTestCase):
    """Signals."""

    def test_signals(self) -> None:
        """The first signal asks for a good-bye, the second does not wait for it."""
        calls: list[str] = []

        class Reactor:
            def callWhenRunning(self, function: Any) -> None:
                function()

            def callFromThread(self, function: Any) -> None:
                function()

            def stop(self) -> None:
                calls.append("stop")

        class Slow:
            def start(self) -> Deferred[int]:
                self.status: Deferred[int] = Deferred()
                return self.status

            def interrupt(self) -> None:
                calls.append("interrupt")

        slow = Slow()
        process = Process(Reactor(), slow)  # type: ignore[arg-type]
        process.signalled(2, None)
        self.assertEqual(calls, ["interrupt"])
        process.signalled(2, None)
        self.assertEqual((calls, process.status), (["interrupt", "stop"], 130))
        slow.status.callback(0)
        self.assertEqual(calls, ["interrupt", "stop"])
        quick = Slow()
        process = Process(Reactor(), quick)  # type: ignore[arg-type]
        quick.status.callback(3)
        self.assertEqual((calls, process.status), (["interrupt", "stop", "stop"], 3))
