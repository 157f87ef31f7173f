"""``presencectl watch`` with what spares traffic, and with icons (issue 6)."""

from __future__ import annotations

import argparse
import io
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from presence.commands import icons as icons_module
from presence.commands.failures import OK, REFUSED, CommandError
from presence.commands.icons import IconFolder
from presence.commands.lean import add_lean_options, rates_remark, watch_options
from presence.commands.options import content_server
from presence.commands.session import Output, Session
from presence.commands.views import LineView
from presence.commands.watch import FetchCommand, WatchCommand
from presence.content.client import RetrievedObject
from presence.content.errors import ContentError
from presence.ctl import main
from presence.partial.documents import read
from presence.watcher import WatchOptions
from presence.watching.cache import PresenceCache
from presence.watching.interfaces import IObjectRetriever
from presence.watching.objects import InlineObject, ReferredObject, WatchedObject
from pysip.event.rates import Rates
from pysip.external import ExternalBody
from tests.node import BOB, Node, pidf
from tests.presence.test_client import CommandCase

FILTER = b"""<filter-set xmlns="urn:ietf:params:xml:ns:simple-filter"><ns-bindings>
<ns-binding prefix="p" urn="urn:ietf:params:xml:ns:pidf"/></ns-bindings>
<filter id="1"><what><include>//p:tuple[p:status/p:basic='open']</include></what></filter>
</filter-set>"""


class OptionTests(SynchronousTestCase):
    """What is made of the command line."""

    def setUp(self) -> None:
        """A filter document."""
        self.file = Path(self.mktemp())
        self.file.write_bytes(FILTER)

    def options(self, *words: str) -> WatchOptions:
        """Read options."""
        parser = argparse.ArgumentParser()
        add_lean_options(parser)
        return watch_options(parser.parse_args(words))

    def test_none(self) -> None:
        """Without options nothing special is asked for."""
        self.assertEqual(self.options(), WatchOptions())

    def test_all(self) -> None:
        """WAT-04: rates are given as seconds between NOTIFYs, as people think of them (RAT-01)."""
        found = self.options(
            *("--partial", "--conditional", "--compress", "--filter", str(self.file)),
            *("--max-rate", "30", "--min-rate", "600", "--icons", "x"),
        )
        expected = WatchOptions(
            partial=True,
            filters=FILTER,
            rates=Rates(0.0333333333, 0.0016666667),
            conditional=True,
            compressed=True,
            objects=True,
        )
        self.assertEqual(found, expected)
        self.assertEqual(self.options("--max-rate", "5", "--min-rate", "5").rates, Rates(0.2, 0.2))

    def test_unusable(self) -> None:
        """What cannot be sent is told before anything is, with the option's name."""
        bad = Path(self.mktemp())
        bad.write_bytes(FILTER.replace(b"p:tuple", b"q:tuple"))
        large = Path(self.mktemp())
        large.write_bytes(bytes(200000))
        for words, text in (
            (("--max-rate", "0"), "--max-rate: from"),
            (("--max-rate", "-5"), "--max-rate: from"),
            (("--max-rate", "nan"), "--max-rate: from"),
            (("--min-rate", "1e99"), "--min-rate: from"),
            (("--max-rate", "30", "--min-rate", "10"), "--min-rate: not less seconds"),
            (("--filter", "/nowhere"), "--filter /nowhere: No such file"),
            (("--filter", str(bad)), "line 3"),
            (("--filter", str(large)), "too large"),
            (("--icons-from", "x"), "--icons DIR is missing"),
        ):
            with self.assertRaises(CommandError, msg=str(words)) as caught:
                self.options(*words)
            self.assertIn(text, str(caught.exception))

    def test_remarks(self) -> None:
        """RAT-02: what the server keeps to is told where it is not what was asked for."""
        for asked, adopted, text in (
            (Rates(), Rates(0.2), ""),
            (Rates(0.2), Rates(0.2), ""),
            (Rates(1.0), Rates(0.2), "the server tells at most once in 5 s"),
            (Rates(0.0, 1.0), Rates(), "does not bound how often it tells (at least)"),
            (Rates(1.0, 0.1), Rates(0.2, 0.05), "in 5 s, and the server tells at least once in 20"),
        ):
            said = rates_remark(asked, adopted)
            self.assertIn(text, said)
            self.assertEqual(bool(text), bool(said))

    def test_help(self) -> None:
        """The help says what the S of rates is."""
        with redirect_stdout(io.StringIO()) as out, self.assertRaises(SystemExit):
            main(["watch", "--help"])
        self.assertIn("at most once in S seconds", " ".join(out.getvalue().split()))

    def test_content_server(self) -> None:
        """CIN-06: icons come from the user's own Content Server unless more is allowed."""
        for given, domain, expected in (
            (None, "example.com", "https://xcap.example.com/cs/"),
            (None, "localhost", "https://localhost:8443/cs/"),
            ("https://cs.example.com:1/x", "example.com", "https://cs.example.com:1/x/"),
        ):
            options = argparse.Namespace(content_server=given)
            self.assertEqual(content_server(options, domain), expected)
        with self.assertRaises(CommandError):
            content_server(argparse.Namespace(content_server="cs.example.com"), "example.com")


class WatchTests(CommandCase):
    """The command against a server in memory."""

    def setUp(self) -> None:
        """A phone that publishes for Bob."""
        super().setUp()
        self.phone = self.node.peer()
        self.etag = ""

    def publish(self, **what: str) -> None:
        """Publish another state of Bob."""
        fields = {"sip_if_match": self.etag} if self.etag else {}
        self.etag = self.phone.publish(pidf(**what), **fields).first("sip-etag") or ""
        self.node.advance(6)

    def watch(self, **options: Any) -> Session:
        """Begin to watch."""
        view = LineView(Output(self.out), Output(self.err), self.node.wall)
        return self.session(WatchCommand([BOB], view, options=WatchOptions(**options)))

    def seen(self) -> list[str]:
        """Printed lines without their time."""
        return [line.partition("  ")[2] for line in self.printed()]

    def test_partial(self) -> None:
        """WAT-04, PNO-11: differences on the wire, whole documents on the screen."""
        self.publish(note="one" * 100)
        self.watch(partial=True, compressed=True, conditional=True)
        self.printed()
        told: list[str] = []
        take = PresenceCache.take

        def spy(cache: PresenceCache, media: Any, body: bytes) -> Any:
            told.append(type(read(body)).__name__)
            return take(cache, media, body)

        self.patch(PresenceCache, "take", spy)
        self.publish(basic="closed", note="one" * 100)
        self.assertEqual([line.split()[1] for line in self.seen()], ["closed"])
        self.assertEqual(told, ["Diff"])

    def test_filter(self) -> None:
        """WAT-04: what the filters do not let pass is not seen."""
        self.publish(note="here")
        self.watch(filters=FILTER)
        self.assertEqual(self.seen(), [f'{BOB}  open  "here"'])
        self.publish(basic="closed", note="away")
        self.assertEqual(self.seen(), [f"{BOB}  offline"])

    def test_rates(self) -> None:
        """RAT-02: the user hears at which rate the server tells, once."""
        self.node.stop()
        self.node = Node(interval=5.0)
        self.phone = self.node.peer()
        self.watch(rates=Rates(1.0))
        self.publish(note="one")
        self.publish(note="two")
        said = [line for line in self.err.getvalue().splitlines() if "the server tells" in line]
        self.assertEqual(said, [f"presencectl: {BOB}: the server tells at most once in 5 s"])

    def test_bad_filter(self) -> None:
        """FLT-26: a filter that the server refuses ends the command, with the reason."""
        self.watch(filters=b"<no-filter/>")
        self.ended(REFUSED)
        self.assertIn("488", self.err.getvalue())
        self.assertIn("the server does not take the filters", self.err.getvalue())


@implementer(IObjectRetriever)
class Retriever:
    """Brings what the test has put at a URL."""

    def __init__(self) -> None:
        self.there: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.waiting: list[Deferred[RetrievedObject]] = []
        self.slow = False

    def retrieve(self, reference: ExternalBody, to: Path) -> Deferred[RetrievedObject]:
        """Write the file."""
        url = reference.url
        self.asked.append(url)
        if self.slow:
            self.waiting.append(Deferred())
            return self.waiting[-1]
        if url not in self.there:
            return fail(ContentError("foreign"))
        body = self.there[url]
        to.write_bytes(body)
        done: Deferred[RetrievedObject] = Deferred()
        done.callback(RetrievedObject(url, "image/png", len(body), "", "", to))
        return done


class IconTests(SynchronousTestCase):
    """The folder of ``--icons``."""

    def setUp(self) -> None:
        """An empty folder."""
        self.directory = Path(self.mktemp())
        self.retriever = Retriever()
        self.told: list[str] = []
        self.folder = IconFolder(self.directory, self.retriever, self.told.append)
        self.folder.prepare()

    def take(self, *objects: WatchedObject, uri: str = BOB) -> None:
        """Objects of a document."""
        self.folder.take(uri, {each.cid: each for each in objects})

    def files(self) -> dict[str, bytes]:
        """What is in the folder, by name."""
        return {file.name: file.read_bytes() for file in sorted(self.directory.iterdir())}

    def referred(self, cid: str, url: str = "https://c.example/1") -> ReferredObject:
        """A reference."""
        return ReferredObject(cid, ExternalBody(url, 2e9))

    def test_inline(self) -> None:
        """WAT-06, CIN-08: what stood in the NOTIFY is saved, once."""
        for _ in range(2):
            self.take(InlineObject("a@x", "image/png;x=y", b"PNG"))
        ((name, body),) = self.files().items()
        self.assertTrue(name.startswith("bob@example.com-") and name.endswith(".png"), name)
        self.assertEqual(body, b"PNG")
        self.assertEqual(self.told, [f"icon of {BOB} saved as {self.directory / name}"])

    def test_referred(self) -> None:
        """WAT-06: what is elsewhere is retrieved, once; what changed is another file."""
        self.retriever.there["https://c.example/1"] = b"PNG"
        self.take(self.referred("a@x"))
        self.take(self.referred("a@x"))
        self.take(InlineObject("a@x", "text/x-unknown", b"changed"))
        self.assertEqual(sorted(self.files().values()), [b"PNG", b"changed"])
        self.assertEqual(sorted(name[-4:] for name in self.files()), [".bin", ".png"])
        self.assertEqual(self.retriever.asked, ["https://c.example/1"])

    def test_linked(self) -> None:
        """WAT-06: so is what a document refers to by a URL, but by http."""
        self.retriever.there["https://c.example/1"] = b"PNG"
        links = "".join(
            f"<r:status-icon>{scheme}://c.example/1</r:status-icon>" for scheme in ("https", "http")
        )
        document = (
            '<presence xmlns="urn:ietf:params:xml:ns:pidf" entity="sip:bob@example.com" '
            'xmlns:r="urn:ietf:params:xml:ns:pidf:rpid" '
            'xmlns:d="urn:ietf:params:xml:ns:pidf:data-model">'
            f'<d:person id="p">{links}</d:person></presence>'
        ).encode()
        for text in (None, b"status-icon", document, document):
            self.folder.take(BOB, {}, text)
        self.assertEqual(list(self.files().values()), [b"PNG"])
        self.assertEqual(self.retriever.asked, ["https://c.example/1"])

    def test_failed(self) -> None:
        """CIN-05: an icon that cannot be had is told, and no error; nothing is left of it."""
        self.take(self.referred("a@x"))
        self.assertEqual(
            self.told,
            [
                f"icon of {BOB} cannot be had: "
                "its server is not among those that may be asked; see --icons-from"
            ],
        )
        self.assertEqual(self.files(), {})
        self.successResultOf(self.folder.finished())

    def test_hostile_names(self) -> None:
        """No address leads out of the folder, or is of any length."""
        for uri in (
            "sip:../../etc/passwd",
            "sip:/x@y",
            "sip:.x@y",
            "nonsense\0",
            "sip:" + "a" * 999,
        ):
            self.take(InlineObject("a@x", "image/png", uri.encode()), uri=uri)
        names = list(self.files())
        self.assertEqual(len(names), 5)
        self.assertTrue(all(len(name) < 120 and name[0] != "." for name in names), names)

    def test_bounds(self) -> None:
        """Others cannot fill the disk."""
        self.patch(icons_module, "MOST_FILES", 3)
        for number in range(5):
            self.take(InlineObject(f"{number}@x", "image/png", b"PNG"))
        self.assertEqual(len(self.files()), 3)
        self.assertEqual(self.told[3:], ["no more icons are saved: there are too many"])
        self.setUp()
        self.patch(icons_module, "MOST_FILES", 100)
        self.patch(icons_module, "MOST_ALTOGETHER", 5)
        for number in range(5):
            self.take(InlineObject(f"{number}@x", "image/png", b"PNG"))
        self.assertEqual(len(self.files()), 2)

    def test_stopped(self) -> None:
        """What is under way at the end is not waited for."""
        self.retriever.slow = True
        self.take(self.referred("a@x"))
        finished = self.folder.finished()
        self.assertNoResult(finished)
        self.folder.stop()
        self.successResultOf(finished)

    def test_no_folder(self) -> None:
        """A folder that cannot be made is told by its name."""
        file = Path(self.mktemp())
        file.write_bytes(b"")
        with self.assertRaises(CommandError) as caught:
            IconFolder(file / "icons", self.retriever, self.told.append).prepare()
        self.assertIn("--icons", str(caught.exception))


class IconCommandTests(CommandCase):
    """``--icons`` of the command."""

    def test_fetch_waits(self) -> None:
        """WAT-06: a fetch ends when its icons are there."""
        retriever = Retriever()
        retriever.slow = True
        directory = Path(self.mktemp())
        made: list[IconFolder] = []

        def opened(reactor: object, told: Any) -> IconFolder:
            made.append(IconFolder(directory, retriever, told))
            made[0].prepare()
            made[0].take(BOB, {"a@x": ReferredObject("a@x", ExternalBody("https://c/1", 2e9))})
            return made[0]

        view = LineView(Output(self.out), Output(self.err), self.node.wall)
        self.session(FetchCommand([BOB], view, options=WatchOptions(objects=True), icons=opened))
        self.assertNoResult(self.status)
        retriever.waiting[0].errback(ContentError("late"))
        self.ended(OK)
        self.assertIn("it did not come in time", self.err.getvalue())
