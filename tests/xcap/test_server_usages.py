"""The document server with the application usages of PKT-PRS, and with many clients at once."""

from __future__ import annotations

import itertools
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lxml import etree
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from tests.xcap.xdms import (
    ANN,
    ELEMENT,
    JOE,
    ROOT,
    TRUSTED,
    Subscribers,
    XdmsTestCase,
    entry,
)
from xcap.errors import TagMismatch, XcapError
from xcap.interfaces import IApplicationUsage
from xcap.records import Document, DocumentKey, Draft, Entry, HttpResponse
from xcap.turns import WAITING_LIMIT, Turns
from xcap.usage.base import Trusted
from xcap.usage.standard import UsageSettings, standard_usages
from xcap.validate import parse_tree, validate
from xcap.writing import ATTEMPTS, ServerSettings

VECTORS = Path(__file__).parents[1] / "vectors" / "xcap" / "exchanges"
BILL = "sip:bill@example.com"
LISTS = f"/resource-lists/users/{JOE}/index"
SERVICES = f"/rls-services/users/{JOE}/index"
GLOBAL = "/rls-services/global/index"
CAPS = "/xcap-caps/global/index"
DIRECTORY = f"/org.openmobilealliance.xcap-directory/users/{JOE}/directory.xml"
CP = "urn:ietf:params:xml:ns:common-policy"
RLS = "urn:ietf:params:xml:ns:rls-services"
RL = "urn:ietf:params:xml:ns:resource-lists"
CAPS_NS = "urn:ietf:params:xml:ns:xcap-caps"
DIRECTORY_NS = "urn:oma:xml:xdm:xcap-directory"
TYPES = {
    "resource-lists": "application/resource-lists+xml",
    "rls-services": "application/rls-services+xml",
    "pres-rules": "application/auth-policy+xml",
    "org.openmobilealliance.pres-rules": "application/auth-policy+xml",
    "pidf-manipulation": "application/pidf+xml",
}
RULES = f'<ruleset xmlns="{CP}"><rule id="a"/></ruleset>'.encode()
READ_ONLY = "GET, HEAD, OPTIONS"


class People(Subscribers):
    """Bill, too."""

    def known(self, xui: str) -> bool:
        """Whether there is such a user."""
        return xui == BILL or super().known(xui)


def services(*uris: str) -> bytes:
    """A document with services, each an empty list."""
    inner = "".join(f'<service uri="{uri}"><list/></service>' for uri in uris)
    return f'<rls-services xmlns="{RLS}">{inner}</rls-services>'.encode()


class UsagesTestCase(XdmsTestCase):
    """Base with all usages in one server."""

    subscribers = People()

    def usages(self) -> Iterable[IApplicationUsage]:
        """Those of all roles, each once."""
        settings = UsageSettings(
            self.subscribers,
            lambda domain: domain == "example.com",
            (Trusted(TRUSTED, write=True),),
        )
        found: dict[str, IApplicationUsage] = {}
        for usages in standard_usages(settings).values():
            found.update((usage.auid, usage) for usage in usages)
        return found.values()

    def ask(self, method: str, target: str, body: bytes = b"", **details: Any) -> HttpResponse:
        """Make a request; whole documents get their media type."""
        if method == "PUT" and "/~~/" not in target and "content_type" not in details:
            details["content_type"] = TYPES[target.split("/")[1]]
        return super().ask(method, target, body, **details)


class PidfTests(UsagesTestCase):
    """``pidf-manipulation``."""

    def test_elements(self) -> None:
        """One tuple or note is written by itself, and what breaks PIDF refused (XDM-65)."""
        index = f"/pidf-manipulation/users/{JOE}/index"
        pidf = "urn:ietf:params:xml:ns:pidf"
        body = (
            f'<presence xmlns="{pidf}" entity="{JOE}"><tuple id="a"><status><basic>open</basic>'
            "</status></tuple></presence>"
        )
        self.assertEqual(self.ask("PUT", index, body.encode()).status, 201)
        note = f'{index}/~~/presence/tuple%5b@id="a"%5d/note'
        self.assertEqual(self.ask("PUT", note, b"<note>away</note>").status, 201)
        basic = f'{index}/~~/presence/tuple%5b@id="a"%5d/status/basic'
        self.assertEqual(self.ask("PUT", basic, b"<basic>closed</basic>").status, 200)
        kept = self.stored(auid="pidf-manipulation")
        assert kept is not None
        changed = body.replace("open", "closed").replace("</tuple>", "<note>away</note></tuple>")
        self.assertEqual(kept.octets, changed.encode())
        refused = self.ask("PUT", basic, b"<basic>perhaps</basic>")
        self.assertConflict(refused, "schema-validation-error")
        self.assertEqual(self.stored(auid="pidf-manipulation"), kept)


class ExchangeTests(UsagesTestCase):
    """Exchanges written down elsewhere."""

    def replay(self, name: str) -> None:
        """Make the requests of a file one after the other and compare the answers."""
        vector = tomllib.loads((VECTORS / name).read_text())
        self.roots = (vector["root"],)
        self.server = self.serve()
        tags: dict[str, str] = {}
        for row in vector["exchange"]:
            headers = {}
            for field, key in (("If-Match", "if_match"), ("If-None-Match", "if_none_match")):
                if key in row:
                    value = row[key]
                    headers[field] = value if value == "*" else f'"{tags[value]}"'
            answer = self.ask(
                row["method"],
                row["target"],
                row.get("body", "").encode(),
                content_type=row.get("content_type"),
                headers=headers,
                user=vector["user"],
            )
            self.assertEqual(answer.status, row["status"], (row["title"], answer.body))
            if "etag" in row:
                tag = self.tag(answer)
                self.assertEqual(tags.setdefault(row["etag"], tag), tag, row["title"])
            if "answer_type" in row:
                self.assertEqual(answer.header("content-type"), row["answer_type"])
            if "answer" in row:
                self.assertEqual(answer.body.decode(), row["answer"], row["title"])

    def test_rfc4825(self) -> None:
        """The examples of RFC 4825 section 13 (XCAP-60 to XCAP-62, XCAP-91, XCAP-121)."""
        self.replay("rfc4825-section13.toml")

    def test_worked(self) -> None:
        """The worked exchange of the requirements (XCAP-95, XCAP-112, XCAP-155, XCAP-157)."""
        self.replay("worked.toml")


class RulesTests(UsagesTestCase):
    """The two usages for rules and their default document namespaces."""

    OMA = f"/org.openmobilealliance.pres-rules/users/{JOE}/pres-rules"
    IETF = f"/pres-rules/users/{JOE}/index"

    def test_default_namespaces(self) -> None:
        """An unprefixed ``ruleset`` matches under the OMA usage only (XDM-01, XCAP-24)."""
        self.put(RULES, self.OMA)
        self.put(RULES, self.IETF)
        self.assertEqual(self.ask("GET", self.OMA + "/~~/ruleset").status, 200)
        self.assertEqual(self.ask("GET", self.IETF + "/~~/ruleset").status, 404)
        query = f"?xmlns(cp={CP})"
        for document in (self.OMA, self.IETF):
            self.assertEqual(self.ask("GET", f"{document}/~~/cp:ruleset{query}").status, 200)
            self.assertEqual(self.ask("GET", f"{document}/~~/cp:ruleset").status, 400)

    def test_compatibility(self) -> None:
        """A switch, off by default, lets it match under the other, too (XDM-02)."""
        self.put(RULES, self.IETF)
        self.server = self.serve(ServerSettings(fallback_namespaces={"pres-rules": CP}))
        self.assertEqual(self.ask("GET", self.IETF + "/~~/ruleset/rule").status, 200)
        target = self.IETF + "/~~/ruleset/rule%5b@id=%22b%22%5d"
        body = f'<rule xmlns="{CP}" id="b"/>'.encode()
        self.assertEqual(self.ask("PUT", target, body).status, 201)
        self.assertEqual(self.ask("DELETE", target).status, 200)

    def test_identifiers(self) -> None:
        """No id twice in a document (XCAP-167)."""
        self.put(RULES, self.OMA)
        target = self.OMA + "/~~/ruleset/rule%5b2%5d"
        answer = self.ask("PUT", target, b'<rule id="a"/>')
        self.assertConflict(answer, "schema-validation-error")
        self.assertEqual(self.ask("GET", self.OMA).body, RULES)
        self.assertEqual(self.ask("PUT", target, b'<rule id="b"/>').status, 201)


class CapabilitiesTests(UsagesTestCase):
    """``xcap-caps``."""

    def test_document(self) -> None:
        """What the server can do, for everybody who is known (XCAP-170 to XCAP-173, XDM-03)."""
        for user in (JOE, ANN, TRUSTED):
            answer = self.ask("GET", CAPS, user=user)
            self.assertEqual(answer.status, 200)
        self.assertEqual(answer.header("content-type"), "application/xcap-caps+xml")
        self.assertIsNone(answer.header("last-modified"))
        root = parse_tree(answer.body)
        validate("xcap-caps", root)
        auids = [element.text for element in root.iter(f"{{{CAPS_NS}}}auid")]
        self.assertEqual(auids, sorted(usage.auid for usage in self.usages()))
        namespaces = {element.text for element in root.iter(f"{{{CAPS_NS}}}namespace")}
        self.assertLessEqual({CAPS_NS, CP, RL, RLS, DIRECTORY_NS}, namespaces)

    def test_tag(self) -> None:
        """Its tag changes when the content does, not with documents (XCAP-173)."""
        tag = self.tag(self.ask("GET", CAPS))
        self.put(RULES, RulesTests.IETF)
        self.server = self.serve()
        self.assertEqual(self.tag(self.ask("GET", CAPS)), tag)
        answer = self.ask("GET", CAPS, headers={"If-None-Match": f'"{tag}"'})
        self.assertEqual(answer.status, 304)
        usages = list(self.usages())[1:]
        self.patch(self, "usages", lambda: usages)
        self.server = self.serve()
        self.assertNotEqual(self.tag(self.ask("GET", CAPS)), tag)

    def test_nodes(self) -> None:
        """Parts can be fetched (XCAP-61)."""
        answer = self.ask("GET", CAPS + "/~~/xcap-caps/auids/auid[1]")
        self.assertTrue(answer.body.startswith(b"<auid>"))
        self.assertEqual(self.ask("GET", CAPS + "/~~/xcap-caps/no").status, 404)

    def test_read_only(self) -> None:
        """Nobody writes it (XCAP-173, XCAP-52)."""
        before = self.ask("GET", CAPS).body
        for method in ("PUT", "DELETE", "POST"):
            for target in (CAPS, CAPS + "/~~/xcap-caps/auids"):
                answer = self.ask(method, target, content_type=ELEMENT, user=TRUSTED)
                self.assertEqual((answer.status, answer.header("allow")), (405, READ_ONLY))
        self.assertEqual(self.ask("OPTIONS", CAPS).header("allow"), READ_ONLY)
        self.assertEqual(self.ask("GET", CAPS).body, before)
        self.assertEqual(self.ask("GET", CAPS, user=None).status, 401)

    def test_elsewhere(self) -> None:
        """There is one document in the global tree and none of users (XCAP-170)."""
        for target in ("/xcap-caps/global/other", f"/xcap-caps/users/{JOE}/index"):
            self.assertEqual(self.ask("GET", target).status, 404)
        # that usage has no tree of users, whoever asks
        self.assertEqual(self.ask("GET", target, user=None).status, 404)


class DirectoryTests(UsagesTestCase):
    """Directories of documents."""

    def folders(self, body: bytes) -> dict[str, list[dict[str, str]]]:
        """Attributes of the entries by folder."""
        root = parse_tree(body)
        return {
            folder.get("auid", ""): [dict(item.items()) for item in folder]
            for folder in root.iter(f"{{{DIRECTORY_NS}}}folder")
        }

    def test_document(self) -> None:
        """All documents of a user, and where there are none (XDM-80, XDM-81, XDM-84)."""
        tag = self.put(services(), SERVICES)
        self.put(RULES, f"/pres-rules/users/{JOE}/a%20b")
        self.put(RULES, f"/pres-rules/users/{ANN}/index", user=ANN)
        answer = self.ask("GET", DIRECTORY)
        self.assertEqual(answer.header("content-type"), "application/vnd.oma.xcap-directory+xml")
        validate("xcap-directory", parse_tree(answer.body))
        folders = self.folders(answer.body)
        self.assertEqual(
            folders["rls-services"],
            [
                {
                    "uri": ROOT[:-1] + SERVICES,
                    "etag": tag,
                    "last-modified": "2023-11-14T22:13:20Z",
                    "size": str(len(services())),
                }
            ],
        )
        self.assertEqual(
            [item["uri"] for item in folders["pres-rules"]],
            [f"{ROOT}pres-rules/users/{JOE}/a%20b"],
        )
        self.assertEqual(folders["resource-lists"], [])
        self.assertNotIn("xcap-caps", folders)
        self.assertNotIn("org.openmobilealliance.xcap-directory", folders)

    def test_changes(self) -> None:
        """It is as current as the store, and so is its tag (XDM-80)."""
        tag = self.tag(self.ask("GET", DIRECTORY))
        self.assertEqual(self.tag(self.ask("GET", DIRECTORY)), tag)
        self.put(services(), SERVICES)
        answer = self.ask("GET", DIRECTORY, headers={"If-None-Match": f'"{tag}"'})
        self.assertEqual(answer.status, 200)
        self.ask("DELETE", SERVICES)
        self.assertEqual(self.tag(self.ask("GET", DIRECTORY)), tag)

    def test_folder(self) -> None:
        """One folder is computed without the others (XDM-83)."""
        self.put(services(), SERVICES)
        asked: list[object] = []
        listing = self.store.listing

        def listen(root: str, auid: str | None, xui: str | None) -> Deferred[list[Entry]]:
            asked.append(auid)
            return listing(root, auid, xui)

        self.patch(self.store, "listing", listen)
        node = "/~~/xcap-directory/folder%5b@auid=%22{}%22%5d"
        answer = self.ask("GET", DIRECTORY + node.format("rls-services"))
        self.assertEqual(answer.status, 200)
        self.assertTrue(answer.body.startswith(b'<folder auid="rls-services"><entry '))
        self.assertEqual(asked, ["rls-services"])
        for auid in ("xcap-caps", "none"):
            self.assertEqual(self.ask("GET", DIRECTORY + node.format(auid)).status, 404)
        self.assertEqual(asked, ["rls-services"])
        answer = self.ask("GET", DIRECTORY + node.format("rls-services") + "/entry/@size")
        self.assertEqual(answer.body, f'"{len(services())}"'.encode())
        self.assertEqual(self.ask("GET", DIRECTORY + "/~~/*/folder[1]/@auid").status, 200)

    def test_quotes(self) -> None:
        """A switch writes tags as in HTTP (XDM-81)."""
        self.server = self.serve(ServerSettings(quoted_tags=True))
        tag = self.put(services(), SERVICES)
        folders = self.folders(self.ask("GET", DIRECTORY).body)
        self.assertEqual(folders["rls-services"][0]["etag"], f'"{tag}"')

    def test_access(self) -> None:
        """The owner and trusted principals read it, nobody writes it (XDM-85)."""
        self.assertEqual(self.ask("GET", DIRECTORY, user=TRUSTED).status, 200)
        self.assertEqual(self.ask("GET", DIRECTORY, user=ANN).status, 403)
        for method in ("PUT", "DELETE"):
            answer = self.ask(method, DIRECTORY, content_type="x", user=TRUSTED)
            self.assertEqual((answer.status, answer.header("allow")), (405, READ_ONLY))
        self.assertEqual(self.ask("GET", DIRECTORY[:-4]).status, 404)


class IndexTests(UsagesTestCase):
    """The global index of services."""

    ONE = GLOBAL + "/~~/rls-services/service%5b@uri=%22{}%22%5d"

    def uris(self) -> list[str]:
        """The services in the index."""
        answer = self.ask("GET", GLOBAL, user=TRUSTED)
        self.assertEqual(answer.header("content-type"), "application/rls-services+xml")
        root = parse_tree(answer.body)
        validate("rls-services", root)
        return [service.get("uri", "") for service in root]

    def test_union(self) -> None:
        """It has the services of all users' indexes, at once (XDM-47, XCAP-147)."""
        self.assertEqual(self.uris(), [])
        self.put(services("sip:a@example.com", "sip:b@example.com"), SERVICES)
        self.put(services("sip:c@example.com"), SERVICES.replace(JOE, ANN), user=ANN)
        self.put(services("sip:other@example.com"), SERVICES[:-5] + "more")
        self.assertEqual(self.uris(), [f"sip:{name}@example.com" for name in "abc"])
        node = "/~~/rls-services/service%5b@uri=%22sip:a@example.com%22%5d"
        self.assertEqual(self.ask("DELETE", SERVICES + node).status, 200)
        self.assertEqual(self.uris(), ["sip:b@example.com", "sip:c@example.com"])
        self.ask("DELETE", SERVICES)
        self.assertEqual(self.uris(), ["sip:c@example.com"])

    def test_namespaces_survive(self) -> None:
        """Services keep the declarations of their old ancestors (XDM-48)."""
        self.put(
            f'<r:rls-services xmlns:r="{RLS}" xmlns:l="{RL}" xmlns:x="urn:x">'
            '<r:service uri="sip:a@example.com"><r:list><l:entry uri="sip:b@example.com"/>'
            '</r:list><x:y z="l:q"/></r:service></r:rls-services>'.encode(),
            SERVICES,
        )
        for target in (GLOBAL, self.ONE.format("sip:a@example.com")):
            body = self.ask("GET", target, user=TRUSTED).body
            found = etree.fromstring(body)
            service = found if found.tag == f"{{{RLS}}}service" else found[0]
            self.assertEqual(len(list(service.iter(f"{{{RL}}}entry", "{urn:x}y"))), 2)
            self.assertEqual(service[-1].nsmap["l"], RL)

    def test_access(self) -> None:
        """Trusted principals read it, nobody writes it (XDM-49)."""
        self.assertEqual(self.ask("GET", GLOBAL).status, 403)
        self.assertEqual(self.ask("GET", self.ONE.format("sip:a@example.com")).status, 403)
        for method in ("PUT", "DELETE"):
            answer = self.ask(method, GLOBAL, services(), user=TRUSTED)
            self.assertEqual((answer.status, answer.header("allow")), (405, READ_ONLY))
        self.assertEqual(self.uris(), [])

    def test_key_lookup(self) -> None:
        """One service is found without the others (XDM-50)."""
        self.put(services("sip:a@example.com", "sip:b@example.com"), SERVICES)
        self.patch(self.store, "claims", None)
        answer = self.ask("GET", self.ONE.format("sip:b@example.com"), user=TRUSTED)
        self.assertEqual(answer.status, 200)
        self.assertTrue(answer.body.startswith(b"<service "), answer.body)
        self.assertEqual(etree.fromstring(answer.body).get("uri"), "sip:b@example.com")
        answer = self.ask("GET", self.ONE.format("sip:x@example.com"), user=TRUSTED)
        self.assertEqual(answer.status, 404)
        answer = self.ask("GET", self.ONE.format("sip:b@example.com") + "/@uri", user=TRUSTED)
        self.assertEqual(answer.body, b'"sip:b@example.com"')

    def test_roots(self) -> None:
        """An index has the services of its own root (XCAP-04, XDM-47)."""
        self.roots = (ROOT, "https://other.example/")
        self.server = self.serve()
        self.put(services("sip:a@example.com"), SERVICES, authority="other.example")
        self.assertEqual(self.uris(), [])
        one = self.ONE.format("sip:a@example.com")
        self.assertEqual(self.ask("GET", one, user=TRUSTED).status, 404)
        answer = self.ask("GET", one, user=TRUSTED, authority="other.example")
        self.assertEqual(answer.status, 200)

    def test_tag(self) -> None:
        """Its tag changes with every part; one service has its own (XDM-51)."""
        self.put(services("sip:a@example.com"), SERVICES)
        one = self.ONE.format("sip:a@example.com")
        service = self.tag(self.ask("GET", one, user=TRUSTED))
        seen = {self.tag(self.ask("GET", GLOBAL, user=TRUSTED))}
        for uris in (("sip:b@example.com",), ("sip:c@example.com",), ()):
            self.put(services(*uris), SERVICES.replace(JOE, ANN), user=ANN)
            answer = self.ask("GET", GLOBAL, user=TRUSTED)
            tag = self.tag(answer)
            self.assertNotIn(tag, seen)
            seen.add(tag)
            self.assertEqual(self.tag(self.ask("GET", GLOBAL, user=TRUSTED)), tag)
            headers = {"If-None-Match": f'"{tag}"'}
            answer = self.ask("GET", GLOBAL, user=TRUSTED, headers=headers)
            self.assertEqual(answer.status, 304)
        self.assertEqual(self.tag(self.ask("GET", one, user=TRUSTED)), service)

    def test_changed_while_read(self) -> None:
        """An index that changes while it is read is not given an old tag (XDM-51)."""
        self.put(services("sip:a@example.com"), SERVICES)
        numbers = iter(range(100))
        tags: list[Deferred[str]] = []

        def claims_tag(space: str, root: str) -> Deferred[str]:
            tags.append(Deferred())
            tags[-1].callback(str(next(numbers)))
            return tags[-1]

        self.patch(self.store, "claims_tag", claims_tag)
        tag = self.tag(self.ask("GET", GLOBAL, user=TRUSTED))
        self.assertNotIn(tag, map(str, range(100)))

    def test_taken(self) -> None:
        """A service URI belongs to one document; free ones are offered (XDM-46, XCAP-134)."""
        self.put(services("sip:a@example.com"), SERVICES)
        theirs = SERVICES.replace(JOE, ANN)
        # another spelling of the same URI
        answer = self.ask("PUT", theirs, services("sip:%61@EXAMPLE.com"), user=ANN)
        conflict = self.assertConflict(answer, "uniqueness-failure")
        self.assertEqual(len(conflict.exists), 1)
        self.assertTrue(conflict.exists[0].field.startswith("rls-services/service"))
        self.assertTrue(conflict.exists[0].field.endswith("/@uri"))
        free = conflict.exists[0].alternatives
        self.assertTrue(1 <= len(free) <= 5)
        self.assertNotIn("sip:a@example.com", free)
        self.assertIsNone(self.stored(xui=ANN, auid="rls-services"))
        self.assertEqual(self.ask("PUT", theirs, services(free[0]), user=ANN).status, 201)

    def test_two_at_once(self) -> None:
        """Of two users who put one URI at the same time exactly one wins (XDM-46)."""
        running = []
        for user in (JOE, ANN):
            head = self.head("PUT", SERVICES.replace(JOE, user), TYPES["rls-services"], user=user)
            running.append(self.start(self.exchange(head, services("sip:a@example.com"))))
        self.assertEqual(sorted(a.status for a in self.finish(*running)), [201, 409])
        self.assertEqual(self.uris(), ["sip:a@example.com"])


class ConcurrencyTests(UsagesTestCase):
    """Many clients at once."""

    EMPTY = f'<resource-lists xmlns="{RL}"><list name="a"/></resource-lists>'.encode()

    def entries(self) -> list[str]:
        """The URIs in the list."""
        root = etree.fromstring(self.ask("GET", LISTS).body)
        return [element.get("uri", "") for element in root.iter(f"{{{RL}}}entry")]

    def start_puts(self, count: int, headers: dict[str, str]) -> list[Deferred[HttpResponse]]:
        """Clients that each insert an entry of their own."""
        running = []
        for number in range(count):
            uri = f"sip:{number}@x"
            target = f"{LISTS}/~~/resource-lists/list/entry%5b@uri=%22{uri}%22%5d"
            head = self.head("PUT", target, ELEMENT, headers=headers)
            running.append(self.start(self.exchange(head, entry(uri))))
        return running

    def test_unconditional(self) -> None:
        """50 clients that insert an entry each make 50 entries (XCAP-145, XCAP-148)."""
        self.put(self.EMPTY, LISTS)
        before = len(self.changes)
        answers = self.finish(*self.start_puts(50, {}))
        self.assertEqual({answer.status for answer in answers}, {201})
        self.assertEqual(len({answer.header("etag") for answer in answers}), 50)
        self.assertEqual(self.entries(), [f"sip:{number}@x" for number in range(50)])
        changes = self.changes[before:]
        self.assertEqual(len(changes), 50)
        for one, two in itertools.pairwise(changes):
            self.assertEqual((one.after, one.new), (two.before, two.old))

    def test_conditional(self) -> None:
        """Of 10 clients with the same If-Match one wins, the others get 412 (XCAP-145)."""
        tag = self.put(self.EMPTY, LISTS)
        answers = self.finish(*self.start_puts(10, {"If-Match": f'"{tag}"'}))
        statuses = sorted(answer.status for answer in answers)
        self.assertEqual(statuses, [201] + [412] * 9)
        winner = answers[[answer.status for answer in answers].index(201)]
        for answer in answers:
            self.assertEqual(self.tag(answer), self.tag(winner))
        self.assertEqual(len(self.entries()), 1)

    def test_creation(self) -> None:
        """Of 10 clients that create a document one does (XCAP-145, XCAP-155)."""
        running = [
            self.start(
                self.exchange(
                    self.head(
                        "PUT", LISTS, TYPES["resource-lists"], headers={"If-None-Match": "*"}
                    ),
                    self.EMPTY,
                )
            )
            for _ in range(10)
        ]
        statuses = sorted(answer.status for answer in self.finish(*running))
        self.assertEqual(statuses, [201] + [412] * 9)

    def test_quota(self) -> None:
        """Documents created at once do not get around the quota (XDM-08, XCAP-145)."""
        running = [
            self.start(
                self.exchange(
                    self.head("PUT", f"{LISTS}{number}", TYPES["resource-lists"]), self.EMPTY
                )
            )
            for number in range(25)
        ]
        statuses = sorted(answer.status for answer in self.finish(*running))
        self.assertEqual(statuses, [201] * 20 + [409] * 5)

    def test_removed_before_the_body(self) -> None:
        """What is removed while a body is on its way has no parent any more (XCAP-72)."""
        self.put(self.EMPTY, LISTS)
        target = LISTS + "/~~/resource-lists/list/entry"
        receive = self.finish(self.start(self.server.begin(self.head("PUT", target, ELEMENT))))[0]
        assert not isinstance(receive, HttpResponse)
        self.ask("DELETE", LISTS)

        async def send() -> HttpResponse:
            return await receive(entry("sip:a@x"))

        self.assertConflict(self.finish(self.start(send()))[0], "no-parent")

    def test_durable(self) -> None:
        """The answer waits until the change is durable (XCAP-146)."""
        head = self.head("PUT", LISTS, TYPES["resource-lists"])
        running = self.start(self.exchange(head, self.EMPTY))
        self.assertNoResult(running)
        self.assertEqual(self.changes, [])
        self.finish(running)
        self.assertEqual(len(self.changes), 1)

    def race(self, times: int) -> None:
        """Let somebody outside change the document before so many of our commits."""
        commit = self.store.commit
        key = DocumentKey(ROOT, "resource-lists", JOE, "index")
        left = [times]

        def overtaken(draft: Draft) -> Deferred[Document | None]:
            if left[0]:
                left[0] -= 1
                commit(Draft(key, draft.before, self.EMPTY))
            return commit(draft)

        self.patch(self.store, "commit", overtaken)

    def test_overtaken(self) -> None:
        """A change from outside is built upon, unless there is a condition (XCAP-145)."""
        self.put(self.EMPTY, LISTS)
        self.race(2)
        self.assertEqual(self.finish(*self.start_puts(1, {}))[0].status, 201)
        self.assertEqual(len(self.entries()), 1)
        tag = self.tag(self.ask("GET", LISTS))
        self.race(1)
        answer = self.finish(*self.start_puts(1, {"If-Match": f'"{tag}"'}))[0]
        self.assertEqual(answer.status, 412)
        self.assertNotEqual(self.tag(answer), tag)

    def test_always_overtaken(self) -> None:
        """Who is never fast enough is told to try later (XCAP-52)."""
        self.put(self.EMPTY, LISTS)
        self.race(ATTEMPTS)
        answer = self.finish(*self.start_puts(1, {}))[0]
        self.assertEqual((answer.status, answer.header("retry-after")), (503, "1"))

    def test_overtaken_deletion(self) -> None:
        """What somebody outside has removed is gone (XCAP-127)."""
        self.put(self.EMPTY, LISTS)
        original = self.store.commit
        key = DocumentKey(ROOT, "resource-lists", JOE, "index")

        def overtaken(draft: Draft) -> Deferred[Document | None]:
            original(Draft(key, draft.before, None))
            return original(draft)

        self.patch(self.store, "commit", overtaken)
        self.assertEqual(self.ask("DELETE", LISTS).status, 404)


class TurnsTests(SynchronousTestCase):
    """:class:`xcap.turns.Turns`."""

    def setUp(self) -> None:
        """Nobody has a turn."""
        self.turns = Turns()
        self.log: list[object] = []

    def work(self, name: object, until: Deferred[None] | None = None) -> Deferred[None]:
        """Work on one key, until told to stop."""

        async def run() -> None:
            async with self.turns.take("key"):
                self.log.append(name)
                if until is not None:
                    await until

        return Deferred.fromCoroutine(run())

    def test_order(self) -> None:
        """One after the other, as they came (XCAP-145)."""
        gates: list[Deferred[None]] = [Deferred() for _ in range(3)]
        running = [self.work(number, gate) for number, gate in enumerate(gates)]
        for number, gate in enumerate(gates):
            self.assertEqual(self.log, list(range(number + 1)))
            gate.callback(None)
            self.successResultOf(running[number])
        self.assertEqual(len(self.turns), 0)

    def test_many(self) -> None:
        """A long queue that is done at once does not exhaust the stack (XCAP-145)."""
        gate: Deferred[None] = Deferred()
        running = [self.work(number, None if number else gate) for number in range(WAITING_LIMIT)]
        gate.callback(None)
        for deferred in running:
            self.successResultOf(deferred)
        self.assertEqual(self.log, list(range(WAITING_LIMIT)))

    def test_too_many(self) -> None:
        """The queue is bounded."""
        gate: Deferred[None] = Deferred()
        running = [self.work(number, gate) for number in range(WAITING_LIMIT + 1)]
        error = self.failureResultOf(self.work("late"), XcapError).value
        self.assertEqual(error.status, 503)
        gate.callback(None)
        for deferred in running:
            self.successResultOf(deferred)

    def test_given_up(self) -> None:
        """Who stops waiting does not stop the others."""
        gate: Deferred[None] = Deferred()
        first, second, third = (self.work(number, gate) for number in range(3))
        second.addErrback(lambda _: None)
        second.cancel()
        gate.callback(None)
        self.successResultOf(first)
        self.successResultOf(third)
        self.assertEqual(self.log, [0, 2])
        self.assertEqual(len(self.turns), 0)

    def test_failure(self) -> None:
        """A turn ends when the work fails."""

        async def fail() -> None:
            async with self.turns.take("key"):
                raise TagMismatch("x")

        self.failureResultOf(Deferred.fromCoroutine(fail()), TagMismatch)
        self.successResultOf(self.work(1))
