"""``presencectl list`` and watched lists on the screen."""

from __future__ import annotations

import io
import json
from collections.abc import Callable

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from presence import ctl
from presence.commands.failures import OK, REFUSED, UNREACHABLE, USAGE, CommandError
from presence.commands.listmaking import usual_uri, wanted_uris
from presence.commands.lists import Desk, read_member
from presence.commands.session import Output
from presence.commands.tableview import TableView
from presence.commands.views import JsonView, LineView, TerminalView, View
from presence.commands.xcapsession import DocumentSession, DocumentSettings
from presence.rls.listwatch import Taken, WatchedList
from presence.rls.model import Instance, Member
from presence.rls.ownlists import Entry, read_lists, read_services
from presence.rls.rlmi import Enclosure, enclose, write_related, write_rlmi
from tests.node import pidf
from tests.presence.test_rls_listwatch import notify
from tests.xcap.webserver import CLOSE, Answer, Asked, WebServer
from xcap.agent import HttpAgent
from xcap.client import Refused, XcapClient
from xcap.errors import Conflict, Exists
from xcap.records import HttpResponse
from xcap.report import CONTENT_TYPE, report
from xcap.uri import parse_target

ALICE, BOB, CAROL, DAVE = (f"sip:{n}@example.com" for n in ("alice", "bob", "carol", "dave"))
ROOT = "https://xcap.example.com/"
SETTINGS = DocumentSettings(aor=ALICE, username="alice", password=None, root=ROOT)
LISTS = f"resource-lists/users/{ALICE}/index"
SERVICES = f"rls-services/users/{ALICE}/index"
FRIENDS = "sip:alice-friends@example.com"


def conflict(asked: Asked, what: Conflict) -> HttpResponse:
    """A refusal."""
    body = report(what, ROOT, parse_target(asked.target))
    return HttpResponse(409, (("Content-Type", CONTENT_TYPE),), body)


class ListCommandTests(SynchronousTestCase):
    """Commands against a document server that knows whole documents, and new services.

    :ivar documents: by path.
    :ivar refuse: may answer a request in place of the server.
    """

    def setUp(self) -> None:
        """There is nothing yet."""
        self.documents: dict[str, bytes] = {}
        self.refuse: Callable[[Asked], Answer | None] = lambda asked: None
        self.server = WebServer(self.answer)

    def answer(self, asked: Asked) -> Answer:
        """GET, PUT and DELETE with conditions."""
        refused = self.refuse(asked)
        if refused is not None:
            return refused
        path, _, node = asked.target.lstrip("/").partition("/~~/")
        octets = self.documents.get(path)
        tag = None if octets is None else f'"{hash(octets)}"'
        if asked.headers.get("if-match") not in (None, tag):
            return HttpResponse(412)
        if asked.method == "GET":
            if octets is None or tag is None:
                return HttpResponse(404)
            return HttpResponse(200, (("ETag", tag),), octets)
        if asked.headers.get("if-none-match") == "*" and octets is not None:
            return HttpResponse(412)
        if asked.method == "DELETE":
            del self.documents[path]
            return HttpResponse(200)
        body = asked.body
        if node:
            assert octets is not None
            body = octets.replace(b"</rls", body + b"</rls")
        self.documents[path] = body
        return HttpResponse(200, (("ETag", f'"{hash(body)}"'),))

    def run_list(self, *words: str) -> tuple[int, str, str]:
        """Exit status, standard output and standard error."""
        out, err = io.StringIO(), io.StringIO()
        options = ctl.make_parser().parse_args(["list", *words])
        desk = Desk(settings=SETTINGS, domain="example.com", output=Output(out), errors=Output(err))

        def make_client(settings: DocumentSettings, reactor: object) -> XcapClient:
            agent = HttpAgent(Clock(), (ROOT,), connect=self.server.connect)
            return XcapClient(agent, ROOT, settings.aor)

        self.patch(DocumentSettings, "make_client", make_client)
        what, work = options.action(options, desk)
        session = DocumentSession(Clock(), SETTINGS, what, work, Output(err))
        return self.successResultOf(session.start()), out.getvalue(), err.getvalue()

    def members(self) -> list[str]:
        """URIs in the list of friends."""
        (found,) = read_lists(self.documents[LISTS])
        return [item.uri for item in found.items if isinstance(item, Entry)]

    def test_create(self) -> None:
        """XDM-43: list and service, where there is nothing; once more changes nothing."""
        self.assertEqual(self.run_list("create", "friends", "bob"), (OK, f"{FRIENDS}\n", ""))
        self.assertEqual(self.members(), [BOB])
        (service,) = read_services(self.documents[SERVICES], ROOT, ALICE)
        self.assertEqual((service.uri, service.list), (FRIENDS, "friends"))
        before = dict(self.documents)
        count = len(self.server.asked)
        status, out, err = self.run_list("create", "friends", "bob")
        self.assertEqual((status, out), (OK, f"{FRIENDS}\n"))
        self.assertIn("is in friends already", err)
        self.assertEqual(self.documents, before)
        self.assertEqual({one.method for one in self.server.asked[count:]}, {"GET"})

    def test_somebody_else(self) -> None:
        """XCLI-03: what another client writes meanwhile is kept, and the edit made anew."""
        self.run_list("create", "friends", "bob")
        other = self.documents[LISTS].replace(b"</list>", f'<entry uri="{DAVE}"/></list>'.encode())

        def once(asked: Asked) -> None:
            if asked.method == "PUT":
                self.documents[LISTS] = other
                self.refuse = lambda asked: None

        self.refuse = once
        status, out, _ = self.run_list("add", "friends", "carol", "dave")
        self.assertEqual(status, OK)
        self.assertEqual(out, f"{CAROL}: added\n{DAVE}: already in friends\n")
        self.assertEqual(self.members(), [BOB, DAVE, CAROL])

    def test_service_refused(self) -> None:
        """When the service is refused nothing is left, or it is said what is."""

        def no_service(asked: Asked) -> HttpResponse | None:
            return HttpResponse(403) if "/~~/" in asked.target else None

        self.refuse = no_service
        status, out, err = self.run_list("create", "friends", "bob")
        self.assertEqual((status, out), (REFUSED, ""))
        self.assertIn("status 403", err)
        self.assertIn("; nothing was changed", err)
        self.assertEqual(self.documents, {})
        self.documents[LISTS] = list_only = (
            b'<resource-lists xmlns="urn:ietf:params:xml:ns:resource-lists">'
            b'<list name="friends"/></resource-lists>'
        )
        self.assertIn("is as it was", self.run_list("create", "friends")[2])
        self.run_list("create", "friends", "bob")
        self.assertEqual(self.documents, {LISTS: list_only})

        def meanwhile(asked: Asked) -> HttpResponse | None:
            if "/~~/" in asked.target:
                self.documents[LISTS] += b"<!-- of somebody else -->"
            return no_service(asked)

        self.refuse = meanwhile
        _, _, err = self.run_list("create", "friends", "bob")
        self.assertIn("the list friends remains, without a URI to watch it by", err)
        self.assertIn(b"somebody else", self.documents[LISTS])

    def test_no_answer(self) -> None:
        """Without an answer it is said that the list is there, and how to go on."""
        self.refuse = lambda asked: CLOSE if "/~~/" in asked.target else None
        status, _, err = self.run_list("create", "friends", "bob")
        self.assertEqual(status, UNREACHABLE)
        self.assertIn("the list friends is there, perhaps without a URI", err)
        self.refuse = lambda asked: None
        self.assertEqual(self.run_list("create", "friends", "bob")[:2], (OK, f"{FRIENDS}\n"))

    def test_taken(self) -> None:
        """XCLI-05, XDM-46: what is free is used, unless a URI was asked for."""
        free = "sip:alice-friends-7@example.com"

        def taken(asked: Asked) -> HttpResponse | None:
            if free in asked.target or "/~~/" not in asked.target:
                return None
            exists = Exists("rls-services/service/@uri", (free,))
            return conflict(asked, Conflict("uniqueness-failure", "taken", exists=(exists,)))

        self.refuse = taken
        status, _, err = self.run_list("create", "friends", "--uri", "alice-friends")
        self.assertEqual(status, REFUSED)
        self.assertIn(f"free is {free}", err)
        self.assertEqual(self.documents, {})
        self.assertEqual(self.run_list("create", "friends")[:2], (OK, f"{free}\n"))

    def test_wanted(self) -> None:
        """XDM-56: the form that a server tells, with the name of the list alone first."""
        usual = usual_uri(ALICE, "my friends")
        self.assertEqual(usual, "sip:alice-my%20friends@example.com")
        example = f"{ALICE};pres-list=alice-my%20friends"
        asked = Asked(("https", "x", 443), "PUT", f"/{LISTS}", {}, b"", 0)  # type: ignore[arg-type]
        for kind, phrase, expected in (
            (
                "constraint-failure",
                f"must have the form {example}",
                [f"{ALICE};pres-list=my%20friends", example],
            ),
            ("constraint-failure", "too many services", []),
            ("uniqueness-failure", f"must have the form {example}", []),
        ):
            refused = Refused(conflict(asked, Conflict(kind, phrase)))
            self.assertEqual(list(wanted_uris(refused, usual, "my friends")), expected)

    def test_members(self) -> None:
        """XCLI-07: what may be typed for a member."""
        for text, uri, name in (
            ("bob", BOB, ""),
            ("SIP:bob@EXAMPLE.com;transport=tcp", BOB, ""),
            ("Bob <bob>", BOB, "Bob"),
            ('"Bob <B>" <sip:bob@example.com>', BOB, "Bob <B>"),
            ("sip:joe@example.com;pres-list=x", "sip:joe@example.com;pres-list=x", ""),
            ("tel:+1-555-0100", "tel:+15550100", ""),
        ):
            self.assertEqual(read_member(text, "example.com"), Entry(uri, name), text)
        for text in ("", "<>", "Bob <", "http://x/"):
            error = self.assertRaises(CommandError, read_member, text, "example.com")
            self.assertEqual(error.status, USAGE)


def state(text: str, uri: str = BOB) -> Instance:
    """A member that is there."""
    return Instance("1", "active", "", "application/pidf+xml", pidf(uri, note=text))


class Watched:
    """Stands in for a :class:`ListWatch`."""

    def __init__(self) -> None:
        self.uri = FRIENDS
        self.state = "active"
        self.reason = ""
        self.table = WatchedList()

    def take(self, view: View, *args: object, **kwargs: object) -> None:
        """Take a NOTIFY, and show what it has changed."""
        taken = self.table.take(*notify(*args, **kwargs))  # type: ignore[arg-type]
        view.show_list(self, taken, notified=True)  # type: ignore[arg-type]


class ViewTests(SynchronousTestCase):
    """How lists are shown."""

    def setUp(self) -> None:
        """Two members of one name, and one without."""
        self.out, self.err = io.StringIO(), io.StringIO()
        self.time = 0.0
        self.lines = 24
        self.watch = Watched()
        self.members = [
            Member(BOB, BOB, (("", "Bob\n\x9b2J"),)),
            Member(CAROL, CAROL, (("en", "Twin"),)),
            Member(DAVE, DAVE, (("", "Twin"),)),
        ]

    def table(self) -> TableView:
        """A table on a small terminal."""
        return TableView(
            Output(self.out), lambda: self.time, [FRIENDS], lambda: 100, lambda: self.lines
        )

    def drawn(self) -> list[str]:
        """The table as it is on the terminal, without times."""
        lines = self.out.getvalue().rpartition("\x1b[J")[2].splitlines()
        return [" ".join(word for word in line.split() if word.count(":") != 2) for line in lines]

    def test_table(self) -> None:
        """Members stand below their list by name, and go when they are removed."""
        bob, carol, dave = self.members
        view = TerminalView(LineView(Output(self.out), Output(self.err), float), self.table)
        self.watch.take(view, 0, (bob, None), (carol, state("hi", CAROL)), (dave, None), full=True)
        self.assertEqual(
            self.drawn(),
            [
                "PRESENTITY STATUS SINCE NOTE",
                f"{FRIENDS} list 3 members",
                "Bob 2J - - (waiting for the server)",
                f'Twin <{CAROL}> open "hi"',
                f"Twin <{DAVE}> - - (waiting for the server)",
            ],
        )
        refused = Instance("1", "terminated", "rejected")
        self.watch.take(view, 1, (bob, Instance("1", "pending")), (dave, refused))
        self.assertEqual(self.drawn()[2], "Bob 2J - (waiting for permission)")
        self.assertEqual(self.drawn()[4], f"Twin <{DAVE}> - (subscription ended: rejected)")
        self.watch.take(view, 2, (dave, None), (bob, state("back")), full=True)
        self.assertEqual(
            self.drawn()[1:],
            [
                f"{FRIENDS} list 2 members",
                "Twin - (waiting for the server)",
                'Bob 2J open "back"',
            ],
        )
        self.assertNotIn("\x9b", self.out.getvalue())
        self.watch.state, self.watch.reason = "terminated", "noresource"
        view.show_list(self.watch, Taken(False), notified=False)  # type: ignore[arg-type]
        self.assertEqual(
            self.drawn()[1:], [f"{FRIENDS} - (subscription ended: noresource)"], "not of now"
        )

    def test_low_terminal(self) -> None:
        """What does not fit is counted: it could not be written anew in its place."""
        self.lines = 4
        view = self.table()
        self.watch.take(view, 0, *((member, None) for member in self.members), full=True)
        self.assertEqual(self.drawn()[1:], [f"{FRIENDS} list 3 members", "… and 3 more"])

    def test_lines(self) -> None:
        """A line per change; a new subscription repeats none."""
        view = LineView(Output(self.out), Output(self.err), lambda: 0.0)
        bob, carol, _ = self.members
        self.watch.take(view, 0, (bob, state("in")), (carol, None), full=True)
        self.watch.take(view, 1, (bob, state("in")))
        self.watch.take(view, 2, (bob, state("out")), full=True)
        self.assertEqual(
            [line.partition("  ")[2] for line in self.out.getvalue().splitlines()],
            [
                f"{FRIENDS}  list  2 members",
                f'Bob 2J <{BOB}>  open  "in"',
                f"Twin <{CAROL}>  -  (waiting for the server)",
                f"{FRIENDS}  list  1 member",
                f"{CAROL}  -  (no member any more)",
                f'Bob 2J <{BOB}>  open  "out"',
            ],
        )

    def test_json(self) -> None:
        """An object for the list when it is another one, and for every change of a member."""
        view = JsonView(Output(self.out), Output(self.err), lambda: 0.0)
        bob, carol, _ = self.members
        self.watch.take(view, 0, (bob, state("in")), (carol, None), full=True)
        self.watch.take(view, 1, (bob, state("out")))
        self.watch.take(view, 2, (bob, state("out")), full=True)
        told = [json.loads(line) for line in self.out.getvalue().splitlines()]
        self.assertEqual({one["list"] for one in told}, {FRIENDS})
        self.assertEqual(
            [(one.get("presentity"), one.get("status"), one.get("members")) for one in told],
            [
                (None, None, [BOB, CAROL]),
                (BOB, "open", None),
                (CAROL, None, None),
                (BOB, "open", None),
                (None, None, [BOB]),
                (CAROL, None, None),
            ],
        )
        self.assertEqual(told[-1]["removed"], True)

    def test_nested(self) -> None:
        """RLS-15: the members of a list of another server stand below it."""
        bob, carol, _ = self.members
        kind, inner = notify(0, (bob, state("in")), full=True, uri="sip:team@y")
        team = Member("sip:team@y", "sip:team@y", (("", "Team"),))
        instance = Instance("1", "active", "", kind, inner)
        document = write_rlmi(FRIENDS, 0, True, (), [(team, instance, "1@x"), (carol, None, "")])
        body = write_related(enclose("0@x", document), [Enclosure("1@x", kind, inner)], "outer")
        for view in (self.table(), LineView(Output(self.out), Output(self.err), lambda: 0.0)):
            self.watch.table = WatchedList()
            view.show_list(self.watch, self.watch.table.take(*body), notified=True)  # type: ignore[arg-type]
        shown = self.out.getvalue()
        self.assertRegex(shown, r"\n  Team +list +\d\d:\d\d:\d\d  1 member\n    Bob 2J +open ")
        self.assertIn(f'  Bob 2J <{BOB}>  open  "in"\n', shown)
