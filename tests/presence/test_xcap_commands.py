"""``presencectl xcap``: what is typed, what is told, what is kept."""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
import tempfile
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, cast

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from presence import ctl
from presence.client import ClientSettings, PresenceClient
from presence.commands import xcap, xcapfollow
from presence.commands.failures import (
    AUTHENTICATION,
    OK,
    REFUSED,
    UNREACHABLE,
    USAGE,
    CommandError,
)
from presence.commands.session import Output
from presence.commands.xcapedit import Editing, command_line
from presence.commands.xcapfollow import FollowCommand, FollowView
from presence.commands.xcapsession import (
    DocumentSession,
    DocumentSettings,
    collection_uri,
    document_settings,
    document_uri,
    http_refusal,
    no_answer,
    sip_settings,
)
from pysip.event.subscriber import NotifyRouter
from pysip.transport.credentials import CredentialsError
from pysip.uri import SipUri, parse_uri
from tests.certificates import make_ca
from tests.presence.test_ctl import CtlCase
from tests.pysip.scripted import Pair, accept, answer, ignore
from tests.xcap.webserver import Asked, WebServer
from xcap.agent import HttpAgent, NoAnswer
from xcap.cache import CachedDocument
from xcap.changedoc import MIME_TYPE, AttributeState, DocumentChange, ElementState, Item, write
from xcap.client import XcapClient
from xcap.errors import Conflict, Exists
from xcap.records import HttpResponse
from xcap.report import report
from xcap.uri import parse_target

ALICE = "sip:alice@example.com"
ROOT = "https://xcap.example.com/"
HOME = f"{ROOT}resource-lists/users/{ALICE}/"
SETTINGS = DocumentSettings(aor=ALICE, username="alice", password="secret", root=ROOT)
LISTS = b'<resource-lists xmlns="urn:ietf:params:xml:ns:resource-lists"/>'


def parse(*arguments: str) -> argparse.Namespace:
    """What the command line says."""
    return ctl.make_parser().parse_args(["xcap", *arguments])


class UriTests(SynchronousTestCase):
    """What people type for documents."""

    def test_documents(self) -> None:
        """Own documents need neither user nor root; node selectors may be typed as they are."""
        friends = "/~~/resource-lists/list%5b@name=%22friends%22%5d"
        for text, uri in (
            ("resource-lists", f"{HOME}index"),
            ("resource-lists/index", f"{HOME}index"),
            ("/resource-lists/a/b", f"{HOME}a/b"),
            ("rls-services/global/index", f"{ROOT}rls-services/global/index"),
            (
                "resource-lists/users/sip:bob@example.com/index",
                f"{ROOT}resource-lists/users/sip:bob@example.com/index",
            ),
            ("resource-lists/my lists", f"{HOME}my%20lists"),
            ("resource-lists/my%20lists", f"{HOME}my%20lists"),
            (
                'resource-lists/index/~~/resource-lists/list[@name="friends"]',
                f"{HOME}index{friends}",
            ),
            (f"resource-lists/index{friends}", f"{HOME}index{friends}"),
            (
                'resource-lists/index/~~/a[@b="c/d?e 100%"]/@f',
                f"{HOME}index/~~/a%5b@b=%22c%2Fd%3Fe%20100%25%22%5d/@f",
            ),
            (
                "resource-lists/index/~~/p:a/@p:b?xmlns(p=urn:x)",
                f"{HOME}index/~~/p:a/@p:b?xmlns(p=urn:x)",
            ),
            (f"{ROOT}x/global/y", f"{ROOT}x/global/y"),
        ):
            self.assertEqual(document_uri(text, SETTINGS), uri, text)

    def test_no_documents(self) -> None:
        """What cannot be a document."""
        for text in (
            "",
            "/",
            "resource-lists/users/sip:bob@example.com",
            "rls-services/global",
            "https://other.example.com/a/global/b",
            "resource-lists/index/~~/p:a?xmlns(p",
        ):
            error = self.assertRaises(CommandError, document_uri, text, SETTINGS)
            self.assertEqual(error.status, USAGE)

    def test_collections(self) -> None:
        """What can be followed, relative to the root."""
        for text, sel in (
            ("resource-lists/", f"resource-lists/users/{ALICE}/"),
            ("resource-lists/index", f"resource-lists/users/{ALICE}/index"),
            ("resource-lists/dir/", f"resource-lists/users/{ALICE}/dir/"),
            ("rls-services/global/", "rls-services/global/"),
            (f"{ROOT}rls-services/global/", "rls-services/global/"),
            ("resource-lists/index/~~/a/", f"resource-lists/users/{ALICE}/index/~~/a"),
        ):
            self.assertEqual(collection_uri(text, SETTINGS), sel, text)
        self.assertRaises(CommandError, collection_uri, "/", SETTINGS)


class SettingsTests(SynchronousTestCase):
    """Options of the command line."""

    def setUp(self) -> None:
        """Nothing in the environment, and no terminal."""
        self.patch(os, "environ", {})
        self.patch(sys, "stdin", io.StringIO())

    def settings(self, *arguments: str, user: str = ALICE) -> DocumentSettings:
        """What becomes of options."""
        options = parse("get", "resource-lists", "--user", user, *arguments)
        return document_settings(options, sip_settings(options))

    def test_root(self) -> None:
        """XCLI-01: the root is an option, or follows from the domain."""
        self.assertEqual(self.settings().root, ROOT)
        self.assertEqual(self.settings(user="sip:a@LOCALHOST").root, "https://localhost:8443/")
        self.assertEqual(
            self.settings("--root", "https://h:1/services").root, "https://h:1/services/"
        )
        self.patch(os, "environ", {"PRESENCE_XCAP_ROOT": "https://env/"})
        self.assertEqual(self.settings().root, "https://env/")

    def test_user(self) -> None:
        """The user's documents are those of the canonical address."""
        settings = self.settings(user="sip:Alice@Example.COM")
        self.assertEqual((settings.aor, settings.username), ("sip:Alice@example.com", "Alice"))

    def test_mistakes(self) -> None:
        """Options that cannot be."""
        for arguments in (
            ("--root", "ftp://h/"),
            ("--root", "https://h/?a"),
            ("--root", "http://h/", "--insecure"),
            ("--fingerprint", "1234"),
        ):
            error = self.assertRaises(CommandError, self.settings, *arguments)
            self.assertEqual(error.status, USAGE)

    def test_tls(self) -> None:
        """The options of TLS are for HTTPS, and for SIP only if that uses TLS."""
        options = parse("follow", "--user", ALICE, "--insecure")
        self.assertEqual(sip_settings(options).transport, "udp")
        self.assertTrue(document_settings(options, sip_settings(options)).insecure)
        options = parse("follow", "--user", ALICE, "--insecure", "--transport", "tls")
        self.assertTrue(sip_settings(options).insecure)

    def test_client(self) -> None:
        """A client is made of the settings."""
        authority = make_ca()
        settings = attrs.evolve(SETTINGS, ca=authority.file)
        self.assertEqual(settings.make_client(Clock()).root, ROOT)
        self.assertIsNone(
            attrs.evolve(settings, password=None).make_client(Clock()).agent.credentials
        )


class CommandLineTests(CtlCase):
    """Mistakes, and help."""

    def test_help(self) -> None:
        """Every command explains itself with examples."""
        for name in ("get", "put", "delete", "edit", "follow", "caps"):
            status, out, _ = self.call("xcap", name, "--help")
            self.assertEqual(status, OK)
            self.assertIn(f"examples:\n  presencectl xcap {name}", out.replace("EDITOR=nano ", ""))
            self.assertIn("exit status:", out)
        self.assertIn("follow", self.call("xcap", "--help")[1])
        self.assertIn("xcap", self.call("--help")[1])

    def test_mistakes(self) -> None:
        """Mistakes are told in one line, without any request."""
        user = ("--user", ALICE)
        for arguments in (
            ("get", "resource-lists"),
            ("get", "", *user),
            ("put", "resource-lists", "missing.xml", *user),
            ("put", "resource-lists", "--text", "x", "--new", "--if-match", "1", *user),
            ("put", "resource-lists", "file", "--text", "x", *user),
            ("put", "resource-lists", *user, "--password-file", "-"),
            ("follow", "--expires", "0", *user),
            ("get", "resource-lists", *user, "--fingerprint", "x"),
        ):
            status, out, err = self.call("xcap", *arguments, given="secret\n")
            self.assertEqual((status, out), (USAGE, ""), arguments)
            self.assertEqual(err.count("\n"), 1, err)


class WorkTestCase(SynchronousTestCase):
    """Base with a server in memory."""

    def setUp(self) -> None:
        """Everything asked for is there."""
        self.out = io.StringIO()
        self.err = io.StringIO()
        self.answers: dict[str, HttpResponse] = {
            "GET": HttpResponse(200, (("ETag", '"1"'),), LISTS),
            "PUT": HttpResponse(200, (("ETag", '"2"'),)),
            "DELETE": HttpResponse(200),
        }
        self.server = WebServer(lambda asked: self.answers[asked.method])
        self.settings = attrs.evolve(SETTINGS, password=None)

        def make_client(settings: DocumentSettings, reactor: object) -> XcapClient:
            agent = HttpAgent(Clock(), (ROOT,), connect=self.server.connect)
            return XcapClient(agent, ROOT, ALICE)

        self.patch(DocumentSettings, "make_client", make_client)

    def run_work(self, work: Callable[[XcapClient], Coroutine[Any, Any, int]]) -> int:
        """The exit status of work in a session."""
        session = DocumentSession(Clock(), self.settings, "testing", work, Output(self.err))
        return self.successResultOf(session.start())

    def call(self, *arguments: str) -> int:
        """The exit status of a command."""
        options = parse(*arguments, "--user", ALICE)
        _, work = options.action(options, self.settings, Output(self.out))
        return self.run_work(work)

    @property
    def last(self) -> Asked:
        """The last request."""
        return self.server.asked[-1]


class ActionTests(WorkTestCase):
    """get, put, delete, caps."""

    def setUp(self) -> None:
        """Nothing in the environment."""
        super().setUp()
        self.patch(os, "environ", {})

    def test_get(self) -> None:
        """A document is printed, and its tag on demand; the user is told to the server."""
        self.patch(sys, "stderr", self.err)
        self.assertEqual(self.call("get", "resource-lists", "--etag"), OK)
        self.assertEqual(self.out.getvalue(), LISTS.decode() + "\n")
        self.assertEqual(self.err.getvalue(), "1\n")
        self.assertEqual(self.last.target, f"/resource-lists/users/{ALICE}/index")
        self.assertEqual(self.last.headers.get("x-3gpp-intended-identity"), f'"{ALICE}"')

    def test_get_attribute(self) -> None:
        """XCLI-08: the value of an attribute is printed as it is."""
        self.answers["GET"] = HttpResponse(200, (), b'"a &lt; b"')
        self.call("get", "resource-lists/index/~~/a/@b")
        self.assertEqual(self.out.getvalue(), "a < b\n")

    def test_missing(self) -> None:
        """A document that is not there."""
        self.answers["GET"] = HttpResponse(404)
        self.assertEqual(self.call("get", "resource-lists"), REFUSED)
        self.assertIn("404", self.err.getvalue())

    def test_put(self) -> None:
        """A file is written with the type that fits, and with conditions."""
        file = Path(self.mktemp())
        file.write_bytes(LISTS)
        self.assertEqual(self.call("put", "resource-lists", str(file), "--new"), OK)
        self.assertEqual(self.last.headers.get("content-type"), "application/resource-lists+xml")
        self.assertEqual(self.last.headers.get("if-none-match"), "*")
        self.assertEqual(self.last.body, LISTS)
        self.assertEqual(self.out.getvalue(), "written, entity-tag 2\n")
        self.answers["PUT"] = HttpResponse(201)
        self.call("put", "resource-lists", str(file), "--if-match", "1", "--type", "text/xml")
        self.assertEqual(self.last.headers.get("if-match"), '"1"')
        self.assertEqual(self.last.headers.get("content-type"), "text/xml")
        self.assertIn("created, entity-tag unknown", self.out.getvalue())

    def test_put_nodes(self) -> None:
        """Elements and attributes can be given on the command line."""
        self.call("put", 'resource-lists/index/~~/a/b[@c="1"]', "--text", '<b c="1"/>')
        self.assertEqual(self.last.headers.get("content-type"), "application/xcap-el+xml")
        self.assertEqual(self.last.body, b'<b c="1"/>')
        self.call("put", "resource-lists/index/~~/a/@c", "--text", 'say "no" & go')
        self.assertEqual(self.last.headers.get("content-type"), "application/xcap-att+xml")
        self.assertEqual(self.last.body, b'"say &quot;no&quot; &amp; go"')

    def test_put_that_does_not_fit(self) -> None:
        """XCLI-04: what the URI does not select is not sent."""
        status = self.call("put", 'resource-lists/index/~~/a/b[@c="1"]', "--text", "<b/>")
        self.assertEqual((status, self.server.asked), (USAGE, []))

    def test_put_unknown_namespace(self) -> None:
        """XCLI-10: what the server does not know is not sent, unless on demand."""
        self.answers["GET"] = HttpResponse(
            200, (), b'<xcap-caps xmlns="urn:ietf:params:xml:ns:xcap-caps"/>'
        )
        text = '<a xmlns="urn:vendor"/>'
        self.assertEqual(self.call("put", "x/index", "--text", text), REFUSED)
        self.assertIn("urn:vendor", self.err.getvalue())
        self.assertEqual(self.call("put", "x/index", "--text", text, "--unchecked"), OK)

    def test_delete(self) -> None:
        """A document is removed, with a condition."""
        self.assertEqual(self.call("delete", "resource-lists", "--if-match", "7"), OK)
        self.assertEqual(self.last.headers.get("if-match"), '"7"')
        self.assertEqual(self.out.getvalue(), "removed\n")
        self.answers["DELETE"] = HttpResponse(412)
        self.assertEqual(self.call("delete", "resource-lists", "--if-match", "7"), REFUSED)

    def test_caps(self) -> None:
        """What the server can do, for people and for programs."""
        self.answers["GET"] = HttpResponse(
            200,
            (),
            b'<xcap-caps xmlns="urn:ietf:params:xml:ns:xcap-caps"><auids><auid>b</auid>'
            b"<auid>a</auid></auids></xcap-caps>",
        )
        self.assertEqual(self.call("caps"), OK)
        self.assertEqual(self.out.getvalue(), "auids:\n  a\n  b\nextensions:\nnamespaces:\n")
        self.out.truncate(0)
        self.out.seek(0)
        self.call("caps", "--json")
        self.assertEqual(json.loads(self.out.getvalue())["auids"], ["a", "b"])

    def test_no_caps(self) -> None:
        """A server that does not tell."""
        self.answers["GET"] = HttpResponse(404)
        self.assertEqual(self.call("caps"), REFUSED)


class SessionTests(WorkTestCase):
    """Runs and their ends."""

    def test_interrupted(self) -> None:
        """An interrupted command ends well."""

        async def work(client: XcapClient) -> int:
            await Deferred()
            return OK

        session = DocumentSession(Clock(), SETTINGS, "x", work, Output(self.err))
        over = session.start()
        self.assertNoResult(over)
        session.interrupt()
        self.assertEqual(self.successResultOf(over), OK)

    def test_bad_ca(self) -> None:
        """A file of authorities that is none."""
        self.patch(DocumentSettings, "make_client", MAKE_CLIENT)
        self.settings = attrs.evolve(SETTINGS, ca="missing.pem")
        self.assertEqual(self.call("caps"), USAGE)
        self.assertIn("missing.pem", self.err.getvalue())

    def test_no_answer(self) -> None:
        """A server that is not there."""

        async def work(client: XcapClient) -> int:
            raise NoAnswer("refused", "h:1", "it refuses connections")

        self.assertEqual(self.run_work(work), UNREACHABLE)
        self.assertIn("h:1", self.err.getvalue())


MAKE_CLIENT = DocumentSettings.make_client


class FailureTests(SynchronousTestCase):
    """What is told of refusals."""

    def told(self, response: HttpResponse, settings: DocumentSettings = SETTINGS) -> CommandError:
        """The error of a refusal."""
        return http_refusal(response, "testing", settings)

    def test_statuses(self) -> None:
        """Every status has an advice."""
        for status in (400, 403, 404, 405, 409, 412, 413, 415, 429, 500, 502, 503, 504):
            error = self.told(HttpResponse(status))
            self.assertEqual(error.status, REFUSED)
            self.assertIn(f"testing: status {status}; ", str(error))
        self.assertEqual(str(self.told(HttpResponse(418))), "testing: status 418")
        self.assertIn("again in 5 s", str(self.told(HttpResponse(418, (("Retry-After", "5"),)))))

    def test_authentication(self) -> None:
        """A wrong password, and none."""
        error = self.told(HttpResponse(401))
        self.assertEqual(error.status, AUTHENTICATION)
        self.assertIn("check --user", str(error))
        error = self.told(HttpResponse(401), attrs.evolve(SETTINGS, password=None))
        self.assertIn("--password-file", str(error))

    def test_conflict(self) -> None:
        """XCLI-05: a report of a conflict is told, with the values that are free."""
        conflict = Conflict(
            "uniqueness-failure", "Taken", exists=(Exists("a/@b", ("c", "d")), Exists("e/@f"))
        )
        octets = report(conflict, ROOT, parse_target("/a/global/b"))
        text = str(self.told(HttpResponse(409, (), octets)))
        self.assertIn("uniqueness-failure: Taken", text)
        self.assertIn("a/@b is taken, free is c or d", text)

    def test_no_answer(self) -> None:
        """What to do about servers that do not answer."""
        for kind, advice in (
            ("refused", "--root"),
            ("tls", "--fingerprint"),
            ("unproven", "somebody else"),
        ):
            error = no_answer(NoAnswer(kind, "h", "why"))
            self.assertEqual(error.status, UNREACHABLE)
            self.assertIn(advice, str(error))


class EditTests(WorkTestCase):
    """``presencectl xcap edit``."""

    def setUp(self) -> None:
        """Temporary files go where they can be seen."""
        super().setUp()
        self.directory = Path(self.mktemp()).absolute()
        self.directory.mkdir()
        self.patch(tempfile, "tempdir", str(self.directory))

    def edit(
        self, act: Callable[[bytes], bytes], uri: str = "resource-lists", status: int = 0
    ) -> int:
        """Edit by a function; the exit status."""

        async def edit(file: Path) -> int:
            self.assertEqual(file.stat().st_mode & 0o777, 0o600)
            file.write_bytes(act(file.read_bytes()))
            return status

        editing = Editing(
            document_uri(uri, SETTINGS), edit, SETTINGS, Output(self.out), Output(self.err)
        )
        return self.run_work(editing.work)

    def kept(self) -> list[bytes]:
        """What is left in files."""
        return [file.read_bytes() for file in self.directory.iterdir()]

    def test_edit(self) -> None:
        """What is edited is written if it is still what was read."""
        self.assertEqual(self.edit(lambda octets: octets + b"\n"), OK)
        self.assertEqual(self.last.body, LISTS + b"\n")
        self.assertEqual(self.last.headers.get("if-match"), '"1"')
        self.assertEqual(self.out.getvalue(), "written, entity-tag 2\n")
        self.assertEqual(self.kept(), [])

    def test_nothing_done(self) -> None:
        """What was not changed, or was emptied, is not written."""
        for act in (lambda octets: octets, lambda octets: b" \n"):
            self.assertEqual(self.edit(act), OK)
            self.assertEqual(self.last.method, "GET")
            self.assertEqual(self.out.getvalue().splitlines()[-1], "not changed")

    def test_new(self) -> None:
        """A document that does not exist is made unless somebody else does."""
        self.answers["GET"] = HttpResponse(404)
        self.edit(lambda octets: octets + LISTS)
        self.assertEqual(self.last.body, LISTS)
        self.assertEqual(self.last.headers.get("if-none-match"), "*")

    def test_new_element(self) -> None:
        """An element that does not exist is made in its document."""
        self.answers["GET"] = HttpResponse(404)
        self.edit(lambda _: b"<b/>", "resource-lists/index/~~/a/b")
        self.assertIsNone(self.last.headers.get("if-none-match"))
        self.assertEqual(self.last.headers.get("content-type"), "application/xcap-el+xml")

    def test_refused(self) -> None:
        """What is refused is not lost."""
        for status in (412, 409):
            self.answers["PUT"] = HttpResponse(status)
            self.assertEqual(self.edit(lambda octets: octets + b"\n"), REFUSED)
            self.assertIn(LISTS + b"\n", self.kept())
            (name,) = {file.name for file in self.directory.iterdir()}
            self.assertIn(name, self.err.getvalue())
            for file in self.directory.iterdir():
                file.unlink()

    def test_namespaces(self) -> None:
        """XCLI-10: neither is what the server does not know."""

        def act(_: bytes) -> bytes:
            caps = b'<xcap-caps xmlns="urn:ietf:params:xml:ns:xcap-caps"/>'
            self.answers["GET"] = HttpResponse(200, (), caps)
            return b'<a xmlns="urn:vendor"/>'

        self.assertEqual(self.edit(act), REFUSED)
        self.assertEqual(len(self.kept()), 1)

    def test_editor_fails(self) -> None:
        """An editor that fails writes nothing."""
        self.assertEqual(self.edit(lambda octets: octets + b" ", status=1), REFUSED)
        self.assertEqual(self.last.method, "GET")
        self.assertEqual(len(self.kept()), 1)
        self.assertEqual(self.edit(lambda octets: octets, status=1), REFUSED)
        self.assertEqual(len(self.kept()), 1)

    def test_no_tag(self) -> None:
        """Without an entity-tag nobody's changes would be safe."""
        self.answers["GET"] = HttpResponse(200, (), LISTS)
        self.assertEqual(self.edit(lambda octets: octets), REFUSED)
        self.answers["GET"] = HttpResponse(500)
        self.assertEqual(self.edit(lambda octets: octets), REFUSED)

    def test_editors(self) -> None:
        """The editor is $VISUAL, else $EDITOR, else vi."""
        self.assertEqual(command_line({"VISUAL": "a -b 'c d'", "EDITOR": "e"}), ["a", "-b", "c d"])
        self.assertEqual(command_line({"EDITOR": "nano"}), ["nano"])
        self.assertEqual(command_line({}), ["vi"])
        for text in ("'", " "):
            self.assertRaises(CommandError, command_line, {"EDITOR": text})


class FollowViewTests(SynchronousTestCase):
    """How changes are shown."""

    def view(self, **options: bool) -> FollowView:
        """A view."""
        self.out = io.StringIO()
        return FollowView(Output(self.out), wall=lambda: 1_700_000_000.5, **options)

    def show(self, view: FollowView) -> list[str]:
        """Some changes; their lines."""
        view.document("a/index", CachedDocument(b"<a/>", "1"))
        view.document("a/index", None)
        view.component(AttributeState("a/index/~~/a/@b", True, "c"))
        view.component(ElementState("a/index/~~/a/d", False))
        return self.out.getvalue().splitlines()

    def test_lines(self) -> None:
        """One line for each change."""
        lines = [line.split(" ", 1)[1] for line in self.show(self.view())]
        self.assertEqual(
            lines,
            [
                "a/index: 4 octets, entity-tag 1",
                "a/index: removed",
                "a/index/~~/a/@b: c",
                "a/index/~~/a/d: removed",
            ],
        )

    def test_documents(self) -> None:
        """Documents in whole."""
        self.assertEqual(self.show(self.view(whole=True))[1], "<a/>")

    def test_json(self) -> None:
        """One object for each change."""
        told = [json.loads(line) for line in self.show(self.view(whole=True, as_json=True))]
        self.assertEqual(
            told[0],
            {
                "time": 1_700_000_000.5,
                "document": "a/index",
                "exists": True,
                "etag": "1",
                "content": "<a/>",
            },
        )
        self.assertEqual([one["exists"] for one in told], [True, False, True, False])
        self.assertEqual(told[2]["content"], "c")
        self.assertNotIn("content", json.loads(self.show(self.view(as_json=True))[0]))


class Link:
    """The way to a SIP server."""

    def __init__(self, pair: Pair) -> None:
        self.pair = pair
        self.moved: Callable[[], object] | None = None
        self.lost: Callable[[str, float], object] | None = None
        self.kept = False

    def contact(self) -> str:
        """Our Contact value."""
        return self.pair.contact

    def keep(self) -> None:
        """Keep the connection."""
        self.kept = True


class SipClient:
    """As much of a presence client as the command needs."""

    route = ()
    credentials = None
    local_uri = f"<{ALICE}>"

    def __init__(self, pair: Pair) -> None:
        self.ua = pair.client
        self.router = NotifyRouter(pair.client)
        self.link = Link(pair)
        user = parse_uri(ALICE)
        assert isinstance(user, SipUri)
        self.settings = ClientSettings(user=user)


class FollowCommandTests(SynchronousTestCase):
    """``presencectl xcap follow``."""

    sel = f"resource-lists/users/{ALICE}/index"

    def setUp(self) -> None:
        """Follow a document."""
        self.pair = Pair()
        self.pair.script("SUBSCRIBE", accept)
        self.out, self.err = io.StringIO(), io.StringIO()
        self.server = WebServer(lambda asked: HttpResponse(200, (("ETag", '"1"'),), LISTS))
        self.sip = SipClient(self.pair)
        self.command = FollowCommand(
            (self.sel,), FollowView(Output(self.out), as_json=True), Output(self.err), self.make
        )

    def make(self, reactor: object) -> XcapClient:
        """The client of documents."""
        agent = HttpAgent(self.pair.clock, (ROOT,), connect=self.server.connect)
        return XcapClient(agent, ROOT, ALICE)

    def begin(self) -> Deferred[int]:
        """Run the command."""
        over = self.command.run(cast(PresenceClient, self.sip))
        self.pair.run()
        return over

    def notify(self, state: str = "active", *items: Item) -> None:
        """A NOTIFY."""
        self.pair.notify(
            self.pair.received[-1], state, body=write(ROOT, items), content_type=MIME_TYPE
        )
        self.pair.run()

    def test_follow(self) -> None:
        """Changes are shown until the user has had enough; then the subscription ends."""
        over = self.begin()
        self.assertTrue(self.sip.link.kept)
        self.notify("active", DocumentChange(self.sel, after="1"))
        self.assertEqual(json.loads(self.out.getvalue())["etag"], "1")
        self.command.interrupt()
        self.pair.run()
        self.assertEqual(self.pair.received[-1].first("expires"), "0")
        self.notify("terminated", DocumentChange(self.sel, "1"))
        self.assertEqual(self.successResultOf(over), OK)
        self.assertEqual(self.out.getvalue().count("\n"), 1)
        self.assertEqual(self.err.getvalue(), "")

    def test_no_good_bye(self) -> None:
        """A server that is gone does not keep us."""
        over = self.begin()
        self.notify("active", DocumentChange(self.sel, after="1"))
        self.pair.script("SUBSCRIBE", ignore)
        self.command.interrupt()
        self.pair.run(6.0)
        self.assertEqual(self.successResultOf(over), OK)

    def test_refused(self) -> None:
        """A refusal ends it."""
        self.pair.script("SUBSCRIBE", answer(403))
        self.assertEqual(self.successResultOf(self.begin()), REFUSED)
        self.assertIn("following documents: 403", self.err.getvalue())

    def test_busy(self) -> None:
        """A passing refusal does not."""
        self.pair.script("SUBSCRIBE", answer(503, ("Retry-After", "5")), accept)
        over = self.begin()
        self.assertNoResult(over)
        self.assertIn("trying again in", self.err.getvalue())
        self.pair.run(10.0)
        self.assertEqual(len(self.pair.received), 2)

    def test_ended(self) -> None:
        """The server may end it for good, or for a moment."""
        over = self.begin()
        self.notify("terminated;reason=probation;retry-after=5")
        self.assertNoResult(over)
        self.assertIn("trying again in", self.err.getvalue())
        self.pair.run(10.0)
        self.notify("terminated;reason=rejected")
        self.assertEqual(self.successResultOf(over), REFUSED)

    def test_connection(self) -> None:
        """After a new connection everything is asked for again."""
        self.begin()
        self.notify("active", DocumentChange(self.sel, after="1"))
        assert self.sip.link.lost is not None and self.sip.link.moved is not None
        self.sip.link.lost("gone", 2.0)
        self.sip.link.moved()
        self.pair.run()
        self.assertEqual(len(self.pair.received), 2)
        self.assertIn("gone; trying again in 2 s", self.err.getvalue())

    def test_bad_ca(self) -> None:
        """A file of authorities that is none."""

        def make(reactor: object) -> XcapClient:
            raise CredentialsError("missing")

        command = FollowCommand((), FollowView(Output(self.out)), Output(self.err), make)
        over = command.run(cast(PresenceClient, self.sip))
        self.assertEqual(self.failureResultOf(over, CommandError).value.status, USAGE)


class ModuleTests(SynchronousTestCase):
    """The modules fit together."""

    def test_runs(self) -> None:
        """Every command knows what to run."""
        for arguments in (("get", "a"), ("put", "a"), ("delete", "a"), ("caps",)):
            self.assertIs(parse(*arguments).run, xcap._run)
        self.assertIs(parse("follow").run, xcapfollow._run)
