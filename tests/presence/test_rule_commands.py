"""``presencectl authorize`` and ``presencectl rules explain`` against documents on a server."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any

import attrs
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from presence.commands.authorize import authorizing
from presence.commands.failures import AUTHENTICATION, OK, REFUSED
from presence.commands.ownsphere import UnknownSphereError
from presence.commands.rules import Operator, Question, explaining
from presence.commands.session import Output
from presence.commands.xcapsession import DocumentSession, DocumentSettings
from presence.ruledocuments import RuleSettings
from presence.rules.defaults import default_rules
from presence.rules.document import read_rules
from presence.rules.model import Handling, Watcher
from presence.rules.override import Override, OverrideEntry
from tests.presence.rulesources import (
    ANN,
    BOB,
    DEFAULT,
    DIRECTORY,
    EVE,
    IETF,
    JOE,
    LISTS,
    OMA,
    ROOT,
    anchor,
    listed,
    lists,
    one,
    rule,
    ruleset,
)
from tests.xcap.webserver import Asked, WebServer
from xcap.agent import HttpAgent
from xcap.client import XcapClient
from xcap.records import HttpResponse

NOW = 1_700_000_000.0
SETTINGS = DocumentSettings(aor=JOE, username="joe", password=None, root=ROOT)
ANYBODY = "<cp:identity><cp:many/></cp:identity>"
LATER = (
    "<cp:validity><cp:from>2023-11-15T00:00:00Z</cp:from>"
    "<cp:until>2023-11-16T00:00:00Z</cp:until></cp:validity>"
)


class RuleCommandCase(SynchronousTestCase):
    """Base with a document server of the simplest kind.

    :ivar documents: by path.
    :ivar refused: statuses of paths that may not be read.
    :ivar before_put: called before a document is written, once.
    """

    def setUp(self) -> None:
        """There is nothing yet."""
        self.documents: dict[str, bytes] = {}
        self.refused: dict[str, int] = {}
        self.before_put: Callable[[], object] | None = None
        self.server = WebServer(self.answer)
        self.out, self.err = io.StringIO(), io.StringIO()

        def make_client(settings: DocumentSettings, reactor: object) -> XcapClient:
            agent = HttpAgent(Clock(), (ROOT,), connect=self.server.connect)
            return XcapClient(agent, ROOT, settings.aor)

        self.patch(DocumentSettings, "make_client", make_client)

    def answer(self, asked: Asked) -> HttpResponse:
        """GET and PUT with conditions."""
        path = asked.target.lstrip("/")
        if path in self.refused:
            return HttpResponse(self.refused[path])
        if asked.method == "PUT" and self.before_put is not None:
            act, self.before_put = self.before_put, None
            act()
        octets = self.directory() if path == DIRECTORY else self.documents.get(path)
        tag = None if octets is None else f'"{hash(octets)}"'
        if asked.method == "PUT":
            if asked.headers.get("if-match") not in (None, tag):
                return HttpResponse(412)
            if octets is not None and asked.headers.get("if-none-match") == "*":
                return HttpResponse(412)
            self.documents[path] = octets = asked.body
            return HttpResponse(200, (("ETag", f'"{hash(octets)}"'),))
        if octets is None or tag is None:
            return HttpResponse(404)
        if asked.headers.get("if-none-match") == tag:
            return HttpResponse(304)
        return HttpResponse(200, (("ETag", tag),), octets)

    def directory(self) -> bytes:
        """The documents of the IETF usage."""
        entries = "".join(
            f'<entry uri="{ROOT}{path}" etag="1"/>'
            for path in self.documents
            if path.startswith(IETF)
        )
        return (
            '<xcap-directory xmlns="urn:oma:xml:xdm:xcap-directory">'
            f'<folder auid="pres-rules">{entries}</folder></xcap-directory>'
        ).encode()

    def run_work(self, work: Any) -> int:
        """The exit status of work in a session; what was said before is forgotten."""
        for stream in (self.out, self.err):
            stream.seek(0)
            stream.truncate()
        session = DocumentSession(Clock(), SETTINGS, "testing", work, Output(self.err))
        return self.successResultOf(session.start())

    @property
    def written(self) -> list[str]:
        """Paths of the documents that were written."""
        return [a.target.lstrip("/") for a in self.server.asked if a.method == "PUT"]


class AuthorizeTests(RuleCommandCase):
    """Which document is edited, and what comes of it."""

    def authorize(self, watcher: str, decision: Handling, status: int = OK) -> str:
        """Decide; what was said, remarks included."""
        work = authorizing(
            SETTINGS, watcher, decision, Output(self.out), Output(self.err), lambda: NOW
        )
        self.assertEqual(self.run_work(work), status, self.err.getvalue())
        return self.out.getvalue() + self.err.getvalue()

    def test_none(self) -> None:
        """Without any rules a document of OMA is made; the same again writes nothing."""
        self.assertEqual(self.authorize(BOB, "allow"), f"{BOB}: allow\n")
        self.assertEqual(self.written, [OMA])
        self.assertEqual(self.authorize(BOB, "allow"), f"{BOB}: allow already\n")
        self.assertEqual(self.written, [OMA])

    def test_ietf(self) -> None:
        """The IETF's document is edited when it is the one that counts (XDM-100)."""
        self.documents[f"{IETF}index"] = ruleset(one(ANN, handling="confirm", name="ann"))
        for decision in ("allow", "block", "polite-block", "confirm"):
            self.assertEqual(self.authorize(BOB, decision), f"{BOB}: {decision}\n")
            self.assertEqual(self.authorize(ANN, decision), f"{ANN}: {decision}\n")
        self.assertEqual(set(self.written), {f"{IETF}index"})
        self.assertEqual(set(self.documents), {f"{IETF}index"})

    def test_several(self) -> None:
        """Of several documents that of the usual name is edited; all count, no id comes twice.

        XDM-100, XDM-102.
        """
        self.documents[f"{IETF}friends"] = ruleset(one(EVE, name="presencectl_allow"))
        self.documents[f"{IETF}index"] = ruleset(one(ANN, name="ann"))
        self.assertEqual(self.authorize(BOB, "allow"), f"{BOB}: allow\n")
        self.assertEqual(self.written, [f"{IETF}index"])
        self.assertIn(b"presencectl_allow_2", self.documents[f"{IETF}index"])
        said = self.authorize(EVE, "block", REFUSED)
        self.assertIn("it would still be allow: rule presencectl_allow", said)
        self.assertIn("nothing was changed", said)
        self.assertEqual(self.written, [f"{IETF}index"])

    def test_ids(self) -> None:
        """Rules get ids that no rule of the user has, not even in documents without effect.

        XDM-102.
        """
        self.documents[OMA] = ruleset(one(ANN, name="ann"))
        self.documents[f"{IETF}index"] = ruleset(one(EVE, name="presencectl_block"))
        self.documents[f"{IETF}broken"] = b"<no"
        said = self.authorize(BOB, "block")
        self.assertIn("does not count beside OMA's document", said)
        ids = [found.id for found in read_rules(self.documents[OMA], "oma").rules]
        self.assertEqual(ids, ["ann", "presencectl_block_2"])

    def test_list(self) -> None:
        """A list that says otherwise is looked up; one that cannot be read is told of."""
        self.documents[f"{IETF}index"] = ruleset(listed(anchor("friends"), name="friends"))
        self.documents[LISTS] = lists(friends=(BOB,))
        said = self.authorize(BOB, "block", REFUSED)
        self.assertIn("it would still be allow: rule friends (external-list): allow", said)
        self.assertEqual(self.written, [])
        self.assertEqual(self.authorize(ANN, "block"), f"{ANN}: block\n")
        self.refused[LISTS] = 403
        said = self.authorize(EVE, "block")
        self.assertIn("a list that your rules name cannot be read", said)

    def test_oma_list(self) -> None:
        """In OMA's classes a decision about somebody goes before any list (XDM-130)."""
        self.documents[OMA] = ruleset(listed(anchor("friends"), name="friends"))
        self.documents[LISTS] = lists(friends=(BOB,))
        self.assertEqual(self.authorize(BOB, "block"), f"{BOB}: block\n")

    def test_domain(self) -> None:
        """A rule for a whole domain, or everybody, that allows more is named."""
        self.documents[OMA] = ruleset(rule(ANYBODY, "allow", "all"))
        said = self.authorize(BOB, "block", REFUSED)
        self.assertIn("rule all (identity many): allow", said)
        self.assertIn("pres-rules/pres-rules", said)

    def test_other_times(self) -> None:
        """What another time or sphere makes of it is told beforehand (XDM-116, XDM-117)."""
        at_work = f'{ANYBODY}<cp:sphere value="work"/>'
        self.documents[OMA] = ruleset(
            rule(ANYBODY + LATER, "allow", "fair"), rule(at_work, "polite-block", "office")
        )
        said = self.authorize(BOB, "confirm")
        self.assertTrue(said.startswith(f"{BOB}: confirm\n"), said)
        self.assertRegex(said, r"from 2023-11-1\d [\d:]+ on it is allow: rule fair")
        self.assertRegex(
            said, r"from 2023-11-1\d [\d:]+ on it is confirm: rule presencectl_confirm"
        )
        self.assertIn("in sphere work it is polite-block", said)

    def test_now(self) -> None:
        """A rule that holds now counts now."""
        present = LATER.replace("15T", "14T")
        self.documents[OMA] = ruleset(rule(ANYBODY + present, "allow", "fair"))
        self.assertIn("rule fair", self.authorize(BOB, "block", REFUSED))

    def test_changed_meanwhile(self) -> None:
        """Somebody else's change is kept, and the decision made anew upon it (XCLI-03)."""
        self.documents[OMA] = ruleset(one(ANN, name="ann"))

        def meddle() -> None:
            self.documents[OMA] = ruleset(one(EVE, name="eve"))

        self.before_put = meddle
        self.assertEqual(self.authorize(BOB, "allow"), f"{BOB}: allow\n")
        self.assertEqual(self.written, [OMA, OMA])
        self.assertIn(b'id="eve"', self.documents[OMA])

    def test_overtaken(self) -> None:
        """A document that decides from now on in place of the one that was edited is told of."""
        self.documents[f"{IETF}index"] = ruleset(one(ANN, name="ann"))

        def meddle() -> None:
            self.documents[OMA] = ruleset(rule("", "confirm", "all"))

        self.before_put = meddle
        said = self.authorize(BOB, "allow", REFUSED)
        self.assertIn(f"{BOB}: confirm", said)
        self.assertIn("other rules decide: rule all", said)

    def test_unreadable(self) -> None:
        """What cannot be read is not written over."""
        self.documents[OMA] = b"<no"
        self.assertIn("cannot be read", self.authorize(BOB, "allow", REFUSED))
        self.assertEqual(self.written, [])

    def test_wrong_password(self) -> None:
        """A refusal has its own exit status."""
        self.refused[OMA] = 401
        self.authorize(BOB, "allow", AUTHENTICATION)


class ExplainTests(RuleCommandCase):
    """Why rules decide as they do."""

    def ask(self) -> Any:
        """The sphere is asked for."""
        self.asked += 1

        async def answer() -> str | None:
            if isinstance(self.sphere, Exception):
                raise self.sphere
            return self.sphere

        return answer()

    def explain(self, who: str, status: int = OK, as_object: bool = False, **asked: Any) -> str:
        """What is told."""
        question = attrs.evolve(Question(presentity=JOE, watcher=Watcher((who,))), **asked)
        work = explaining(
            question,
            Output(self.out),
            Output(self.err),
            self.ask,
            as_object=as_object,
            wall=lambda: NOW,
        )
        self.assertEqual(self.run_work(work), status, self.err.getvalue())
        return self.out.getvalue()

    def object(self, who: str, **asked: Any) -> Any:
        """What is told to a program."""
        return json.loads(self.explain(who, as_object=True, **asked))

    def setUp(self) -> None:
        """Nobody is in a sphere."""
        super().setUp()
        self.sphere: str | Exception | None = None
        self.asked = 0

    def test_rules(self) -> None:
        """Every rule is told, with what became of it, and that more may decide."""
        self.documents[OMA] = ruleset(
            one(ANN, name="ann"), rule("<ocp:other-identity/>", "confirm", "rest")
        )
        told = self.explain(BOB).splitlines()
        self.assertEqual(
            told[:3],
            [
                f"{BOB}: confirm",
                "  because rule rest (other-identity): confirm",
                f"rules of {JOE}: org.openmobilealliance.pres-rules/pres-rules",
            ],
        )
        self.assertIn("rule ann (allow): not used", told)
        self.assertIn("  identity one: false", told)
        self.assertIn("rule rest (confirm): used", told)
        self.assertIn("not seen from here", told[-1])
        self.assertEqual(self.asked, 0)

    def test_ietf(self) -> None:
        """The IETF's documents are read when they count, and told of when not (XDM-100)."""
        self.documents[f"{IETF}index"] = ruleset(one(ANN, name="ann"))
        self.documents[f"{IETF}more"] = ruleset(one(BOB, handling="confirm", name="bob"))
        told = self.object(ANN)
        self.assertEqual((told["decision"], told["source"]), ("allow", "rules"))
        self.assertEqual(told["documents"], ["pres-rules/index", "pres-rules/more"])
        self.documents[OMA] = ruleset(one(ANN, handling="block", name="a"))
        told = self.object(ANN)
        self.assertEqual(
            (told["decision"], told["idle"]), ("block", ["pres-rules/index", "pres-rules/more"])
        )
        both = Operator(settings=RuleSettings(union=True))
        self.assertEqual(self.object(ANN, operator=both)["decision"], "allow")

    def test_lists(self) -> None:
        """Lists are resolved, through references, or told why not (XDM-120, XDM-123, XDM-28)."""
        far = "https://elsewhere.example.com/resource-lists/users/sip:a@b/index/~~/resource-lists/list"
        self.documents[OMA] = ruleset(
            listed(anchor("friends"), name="friends"),
            listed(anchor("gone"), handling="block", name="gone"),
            listed(far, handling="block", name="far"),
        )
        self.documents[LISTS] = lists(friends=(anchor("more"),), more=(BOB, EVE))
        told = self.object(BOB)
        self.assertEqual(told["decision"], "allow")
        self.assertTrue(told["undetermined"])
        found = told["lists"][anchor("friends")]
        self.assertEqual((found["members"], found["holds"]), (2, True))
        self.assertEqual(
            [told["lists"][uri]["problems"][0]["kind"] for uri in (anchor("gone"), far)],
            ["missing", "elsewhere"],
        )
        text = self.explain(ANN)
        self.assertIn("2 members, the watcher is none of them", text)
        self.assertIn("cannot be resolved (missing)", text)
        self.assertIn("external-list: not known", text)
        self.refused[LISTS] = 403
        self.assertIn("cannot be resolved (unavailable)", self.explain(BOB))

    def test_sphere(self) -> None:
        """The sphere of now is asked for when rules depend on it; another may be supposed."""
        self.documents[OMA] = ruleset(
            rule(f'{ANYBODY}<cp:sphere value="work"/>', "allow", "work"),
            one(BOB, handling="confirm"),
        )
        self.sphere = "Work"
        told = self.explain(BOB)
        self.assertTrue(told.startswith(f"{BOB}: allow\n"), told)
        self.assertIn("sphere: Work", told)
        self.assertIn("without a sphere it is confirm", told)
        self.assertEqual(self.asked, 1)
        told = self.explain(BOB, sphere="home")
        self.assertTrue(told.startswith(f"{BOB}: confirm\n"), told)
        self.assertIn("in sphere work it is allow", told)
        self.assertEqual(self.asked, 1)
        self.sphere = UnknownSphereError("no answer")
        self.assertEqual(self.object(BOB)["decision"], "confirm")
        self.assertIn("no answer; told as without a sphere", self.err.getvalue())

    def test_validity(self) -> None:
        """What will change by itself is told with its time (XDM-117)."""
        self.documents[OMA] = ruleset(rule(ANYBODY + LATER, "allow", "fair"))
        told = self.object(BOB)
        self.assertEqual(told["decision"], "block")
        self.assertEqual(
            [(o["decision"], o["from"]) for o in told["outlook"]],
            [("allow", 1_700_006_400.0), ("block", 1_700_092_800.0)],
        )
        self.assertEqual(told["rules"][0]["conditions"]["validity"], False)

    def test_no_rules(self) -> None:
        """Without rules the default of the operator decides, if it is known (XDM-150)."""
        self.explain(BOB, status=REFUSED)
        self.assertIn("has no rules of its own", self.err.getvalue())
        operator = Operator(known=True, default=default_rules("confirm"))
        told = self.explain(BOB, operator=operator)
        self.assertTrue(told.startswith(f"{BOB}: confirm\n"), told)
        self.assertIn("none, so that the operator's default decides", told)
        self.assertNotIn("not seen from here", told)
        operator = attrs.evolve(operator, settings=RuleSettings(default_document=True))
        self.documents[DEFAULT] = ruleset(rule(ANYBODY, "polite-block", "all"))
        told = self.object(BOB, operator=operator)
        self.assertEqual((told["decision"], told["source"]), ("polite-block", "default"))

    def test_operator(self) -> None:
        """The operator's lists decide before and after rules, and are told (XDM-139, PSV-11)."""
        self.documents[OMA] = ruleset(one(BOB, name="bob"))
        override = Override(
            (OverrideEntry("refused", "block", frozenset([BOB])),),
            (OverrideEntry("colleagues", "allow", domains=frozenset(["example.com"])),),
        )
        operator = Operator(known=True, override=override)
        told = self.explain(BOB, operator=operator)
        self.assertTrue(told.startswith(f"{BOB}: block\n"), told)
        self.assertIn("operator's list before the rules refused (block): used", told)
        self.assertIn("rule bob (allow): not used", told)
        told = self.object(ANN, operator=operator)
        self.assertEqual((told["decision"], told["source"]), ("allow", "override"))
        self.assertEqual(
            [(r["id"], r["place"], r["used"]) for r in told["rules"]],
            [("refused", "before", False), ("bob", "rules", False), ("colleagues", "after", True)],
        )
        self.assertEqual(self.object(EVE, operator=operator)["decision"], "block")

    def test_seen(self) -> None:
        """What an allowed watcher sees is told in the words of the rules (XDM-140 to XDM-142)."""
        for shown, seen in (
            ("", []),
            ("<pr:provide-all-attributes/>", ["with all they say"]),
            (
                "<pr:provide-persons><pr:all-persons/></pr:provide-persons>"
                "<pr:provide-services><pr:class>work</pr:class>"
                "<pr:service-uri-scheme>tel</pr:service-uri-scheme></pr:provide-services>"
                "<pr:provide-mood>true</pr:provide-mood>"
                "<pr:provide-activities>true</pr:provide-activities>"
                "<pr:provide-user-input>bare</pr:provide-user-input>"
                '<pr:provide-unknown-attribute name="x" ns="urn:x">true'
                "</pr:provide-unknown-attribute>",
                [
                    "services with class work or service-uri-scheme tel",
                    "all persons",
                    "activities",
                    "mood",
                    "user-input (bare)",
                    "x",
                ],
            ),
        ):
            allowed = one(BOB, name="bob").replace(
                "</cp:rule>", f"<cp:transformations>{shown}</cp:transformations></cp:rule>"
            )
            self.documents[OMA] = ruleset(allowed)
            self.assertEqual(self.object(BOB)["sees"], seen)
            self.assertIn(f"  sees {', '.join(seen) or 'nothing'}\n", self.explain(BOB))
        self.assertNotIn("sees", self.explain(ANN))

    def test_anonymous(self) -> None:
        """Who asks for privacy, and how the operator takes that (XDM-119)."""
        self.documents[OMA] = ruleset(
            one(BOB, name="bob"), rule("<ocp:anonymous-request/>", "polite-block", "anonymous")
        )
        who = Watcher((BOB,), True)
        self.assertEqual(self.object(BOB, watcher=who)["decision"], "polite-block")
        lenient = Operator(known=True, privacy_is_anonymous=False)
        self.assertEqual(self.object(BOB, watcher=who, operator=lenient)["decision"], "allow")

    def test_unreadable(self) -> None:
        """Rules that cannot be read are told as such (XDM-151)."""
        self.documents[OMA] = b"<no"
        self.explain(BOB, status=REFUSED)
        self.assertIn("cannot be read, so that they allow nobody", self.err.getvalue())

    def test_forbidden(self) -> None:
        """The rules of others are for operators; what does not count need not be readable."""
        self.documents[OMA] = ruleset(one(BOB, name="bob"))
        self.refused[DIRECTORY] = 403
        self.assertEqual(self.object(BOB)["decision"], "allow")
        self.refused[OMA] = 403
        self.explain(BOB, status=REFUSED)
        self.assertIn("403", self.err.getvalue())
