"""Capabilities and directories of all document servers together."""

from __future__ import annotations

from lxml import etree

from tests.xcap.proxies import FakeBackEnd, ProxyTestCase, head
from xcap.auth.identity import IdentityAsserter
from xcap.merge import MergeSettings
from xcap.records import HttpResponse
from xcap.routes import Group
from xcap.upstream import UpstreamError
from xcap.usage.names import XCAP_CAPS, XCAP_DIRECTORY

CAPS = "/xcap-caps/global/index"
HOME = "/org.openmobilealliance.xcap-directory/users/sip:alice@example.com/directory.xml"


def caps(auids: str, namespaces: str = "", extensions: str = "") -> HttpResponse:
    """A server's capabilities; words separated by blanks."""

    def items(name: str, words: str) -> str:
        return "".join(f"<{name}>{word}</{name}>" for word in words.split())

    body = (
        f'<xcap-caps xmlns="{XCAP_CAPS}"><auids>{items("auid", auids)}</auids>'
        f"<extensions>{items('extension', extensions)}</extensions>"
        f"<namespaces>{items('namespace', namespaces)}</namespaces></xcap-caps>"
    )
    fields = (("Content-Type", "application/xcap-caps+xml"), ("ETag", '"theirs"'))
    return HttpResponse(200, fields, body.encode())


def directory(*folders: str) -> HttpResponse:
    """A server's directory, with one entry in each folder."""
    content = "".join(
        f'<folder auid="{auid}"><entry uri="https://x/{auid}" etag="1" size="5"/></folder>'
        for auid in folders
    )
    body = f'<xcap-directory xmlns="{XCAP_DIRECTORY}">{content}</xcap-directory>'
    fields = (("Content-Type", "application/vnd.oma.xcap-directory+xml"), ("ETag", '"theirs"'))
    return HttpResponse(200, fields, body.encode())


def texts(octets: bytes, name: str) -> list[str]:
    """The texts of the elements of a name, in order."""
    root = etree.fromstring(octets)
    return [each.text or "" for each in root.iter(f"{{{XCAP_CAPS}}}{name}")]


class CapabilitiesTests(ProxyTestCase):
    """xcap-caps/global/index."""

    def setUp(self) -> None:
        """Three servers with different capabilities."""
        super().setUp()
        both = "xcap-caps org.openmobilealliance.xcap-directory"
        self.shared.answer = caps(f"resource-lists {both} unrouted", "urn:b urn:a", "x")
        self.presence.answer = caps(f"pres-rules {both}", "urn:b urn:c")
        self.rls.answer = caps(f"rls-services {both}", "urn:a")
        self.routes.replace(
            [
                Group("rls", (self.rls,), frozenset({"rls-services"})),
                Group("shared", (self.shared,), frozenset({"resource-lists"})),
                Group("presence", (self.presence,), frozenset({"pres-rules"})),
            ]
        )
        self.all = (self.rls, self.shared, self.presence)

    def test_union(self) -> None:
        """AGP-57, XCAP-174: sorted, without duplicates; usages routed, and the computed ones."""
        answer = self.ask(head(CAPS))
        self.assertEqual(answer.status, 200)
        self.assertEqual(answer.header("content-type"), "application/xcap-caps+xml")
        self.assertEqual(
            texts(answer.body, "auid"),
            [
                "org.openmobilealliance.xcap-directory",
                "pres-rules",
                "resource-lists",
                "rls-services",
                "unrouted",
                "xcap-caps",
            ],
        )
        self.assertEqual(texts(answer.body, "namespace"), ["urn:a", "urn:b", "urn:c"])
        self.assertEqual(texts(answer.body, "extension"), ["x"])
        self.assertEqual(answer.header("authentication-info"), f"length={len(answer.body)}")

    def test_only_what_is_routed(self) -> None:
        """AGP-57: a usage that goes to nobody is not told, nor the directory when it is off."""
        self.proxy = self.make(merge=MergeSettings(directory=False))
        self.ask(head(CAPS))
        self.routes.learn("shared", [])
        found = texts(self.ask(head(CAPS)).body, "auid")
        self.assertEqual(found, ["pres-rules", "resource-lists", "rls-services", "xcap-caps"])
        self.refused(404, head(HOME))

    def test_asked_as_whom(self) -> None:
        """AGP-57, AGP-45: the servers are asked by the proxy itself, with the root as Host."""
        self.proxy = self.make(asserters={"rls": IdentityAsserter("oma")})
        self.ask(head(CAPS, "GET", ("If-None-Match", '"theirs"')))
        asked = self.shared.head
        self.assertEqual((asked.method, asked.target), ("GET", CAPS))
        self.assertEqual(asked.headers.all("host"), ["xcap.example.com"])
        self.assertEqual(asked.headers.get("x-3gpp-asserted-identity"), '"sip:proxy@example.com"')
        self.assertNotIn("if-none-match", asked.headers)
        self.assertNotIn("x-3gpp-asserted-identity", self.rls.head.headers)

    def test_not_often(self) -> None:
        """AGP-57: servers are asked at most every 60 s."""
        first = self.ask(head(CAPS))
        self.clock.advance(59)
        self.assertEqual(self.ask(head(CAPS)).body, first.body)
        self.assertEqual([len(each.heads) for each in self.all], [1, 1, 1])
        self.clock.advance(1)
        self.ask(head(CAPS))
        self.assertEqual([len(each.heads) for each in self.all], [2, 2, 2])

    def test_parallel(self) -> None:
        """AGP-57: all are asked at the same time; several clients wait for the same answers."""
        for each in self.all:
            each.answer = None
        work = [self.start(head(CAPS)) for _ in range(3)]
        self.assertEqual([len(each.waiting) for each in self.all], [1, 1, 1])
        work[0].cancel()
        self.failureResultOf(work[0])
        for each in self.all:
            each.waiting[0].callback(caps(f"{each.name}-auid"))
        for each in work[1:]:
            found = texts(self.successResultOf(each).body, "auid")
            self.assertEqual(found, ["presence-auid", "rls-auid", "shared-auid"])

    def test_last_known(self) -> None:
        """AGP-57, AGP-153: who does not answer contributes its last known answer."""
        first = self.ask(head(CAPS))
        for failure in (
            UpstreamError("refused", False),
            HttpResponse(500),
            HttpResponse(200, (), b"<nonsense"),
            HttpResponse(200, (), b"<!DOCTYPE x [<!ENTITY e SYSTEM 'file:///etc/passwd'>]><x/>"),
        ):
            self.shared.answer = failure
            self.clock.advance(60)
            answer = self.ask(head(CAPS))
            self.assertEqual(
                (answer.body, answer.header("etag")), (first.body, first.header("etag"))
            )

    def test_late(self) -> None:
        """AGP-57: nobody waits longer than 3 s for a server that is silent, or down."""
        self.shared.answer = None
        self.rls.up = False
        work = self.start(head(CAPS))
        self.clock.advance(2.9)
        self.assertNoResult(work)
        self.clock.advance(0.2)
        found = texts(self.successResultOf(work).body, "auid")
        self.assertEqual(
            found, ["org.openmobilealliance.xcap-directory", "pres-rules", "xcap-caps"]
        )
        self.assertEqual((self.shared.cancelled, len(self.rls.heads)), (1, 0))

    def test_nobody(self) -> None:
        """AGP-80: with no answer ever there is nothing to tell: 503."""
        for each in self.all:
            each.answer = UpstreamError("refused", False)
        self.assertIsNotNone(self.refused(503, head(CAPS)).header("retry-after"))

    def test_conditional(self) -> None:
        """AGP-57: the ETag is of the content; conditional GETs work on the merged document."""
        first = self.ask(head(CAPS))
        etag = first.header("etag") or ""
        self.assertRegex(etag, r'^"[0-9a-f]+"$')
        answer = self.ask(head(CAPS, "GET", ("If-None-Match", f'"x", {etag}')))
        self.assertEqual((answer.status, answer.header("etag")), (304, etag))
        self.assertEqual(self.ask(head(CAPS, "GET", ("If-None-Match", '"x"'))).status, 200)
        self.assertEqual(self.ask(head(CAPS, "GET", ("If-Match", '"x"'))).status, 412)
        self.clock.advance(60)
        self.rls.answer = caps("rls-services", "urn:new")
        self.assertNotEqual(self.ask(head(CAPS)).header("etag"), etag)

    def test_nodes(self) -> None:
        """AGP-57: node selectors work on the merged document, with its ETag."""
        etag = self.ask(head(CAPS)).header("etag")
        answer = self.ask(head(f"{CAPS}/~~/xcap-caps/auids/auid%5b2%5d"))
        self.assertEqual(answer.body, b"<auid>pres-rules</auid>")
        self.assertEqual(answer.header("content-type"), "application/xcap-el+xml")
        self.assertEqual(answer.header("etag"), etag)
        self.refused(404, head(f"{CAPS}/~~/xcap-caps/auids/auid%5b9%5d"))
        self.refused(400, head(f"{CAPS}/~~/xcap-caps/p:auids"))
        self.refused(406, head(CAPS, "GET", ("Accept", "text/html")))

    def test_read_only(self) -> None:
        """AGP-57, XCAP-173: PUT and DELETE are 405 with what is allowed; HEAD is as GET."""
        for method in ("PUT", "DELETE", "POST"):
            answer = self.refused(405, head(CAPS, method), b"")
            self.assertEqual(answer.header("allow"), "GET, HEAD, OPTIONS")
        self.assertEqual(self.ask(head(CAPS, "OPTIONS")).header("allow"), "GET, HEAD, OPTIONS")
        self.assertEqual(
            self.ask(head(CAPS, "HEAD")).header("etag"), self.ask(head(CAPS)).header("etag")
        )
        self.refused(401, head(CAPS, user=None))

    def test_other_documents(self) -> None:
        """XCAP-170: there is only the one document."""
        for target in (f"{CAPS}2", "/xcap-caps/users/sip:alice@example.com/index", "/xcap-caps/x"):
            self.refused(404, head(target))

    def test_routes_are_learnt(self) -> None:
        """AGP-52: every 60 s what the servers say of themselves becomes routes."""
        self.routes.replace([Group(each.name, (each,)) for each in self.all])
        self.merged.start()
        self.addCleanup(self.merged.stop)
        self.refused(404, head("/rls-services/global/index"))
        self.clock.advance(0)
        self.assertEqual(self.ask(head("/rls-services/global/index")).status, 200)
        self.assertEqual(self.routes.conflicts, frozenset())
        self.rls.answer = caps("other")
        self.clock.advance(60)
        self.refused(404, head("/rls-services/global/index"))

    def test_stop(self) -> None:
        """Nothing remains after stopping, not even amid the asking."""
        self.shared.answer = None
        self.merged.start()
        self.clock.advance(0)
        self.merged.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(self.shared.cancelled, 1)


class DirectoryTests(ProxyTestCase):
    """users/…/directory.xml."""

    def setUp(self) -> None:
        """Three servers with documents of alice."""
        super().setUp()
        self.shared.answer = directory("resource-lists")
        self.presence.answer = directory("pres-rules")
        self.rls.answer = directory("rls-services")
        self.all = (self.shared, self.presence, self.rls)

    def folders(self, answer: HttpResponse) -> dict[str, str]:
        """By usage its error, or the URIs of its documents."""
        self.assertEqual(answer.status, 200)
        found = {}
        for folder in etree.fromstring(answer.body):
            error = folder.find(f"{{{XCAP_DIRECTORY}}}error-code")
            uris = " ".join(entry.get("uri", "") for entry in folder)
            found[folder.get("auid", "")] = uris if error is None else error.text or ""
        return found

    def test_merged(self) -> None:
        """AGP-58, XDM-86: all are asked as the client, and make one document."""
        target = HOME.replace("alice", "%61lice")
        answer = self.ask(head(target, "GET", ("If-None-Match", '"theirs"'), ("Accept", "*/*")))
        self.assertEqual(
            self.folders(answer),
            {
                auid: f"https://x/{auid}"
                for auid in ("pres-rules", "resource-lists", "rls-services")
            },
        )
        self.assertEqual(answer.header("content-type"), "application/vnd.oma.xcap-directory+xml")
        for each in self.all:
            self.assertEqual((each.head.method, each.head.target), ("GET", target))
            headers = each.head.headers
            self.assertEqual(headers.get("x-xcap-asserted-identity"), '"sip:alice@example.com"')
            self.assertNotIn("if-none-match", headers)
            self.assertNotIn("accept", headers)
            self.assertNotIn("authorization", headers)

    def test_parallel_and_late(self) -> None:
        """AGP-58, AGP-153: in parallel, 3 s at most; who is late, down or failed gets an error."""
        self.routes.learn("shared", ["org.openmobilealliance.group-usage-list"])
        self.shared.answer = None
        self.rls.up = False
        self.presence.answer = None
        work = self.start(head(HOME))
        self.assertEqual((len(self.shared.waiting), len(self.presence.waiting)), (1, 1))
        self.presence.waiting[0].errback(UpstreamError("reset", True))
        self.clock.advance(3)
        self.assertEqual(
            self.folders(self.successResultOf(work)),
            {
                "org.openmobilealliance.group-usage-list": "504 Gateway Timeout",
                "pres-rules": "502 Bad Gateway",
                "resource-lists": "504 Gateway Timeout",
                "rls-services": "503 Service Unavailable",
            },
        )
        self.assertEqual(self.shared.cancelled, 1)

    def test_bad_answers(self) -> None:
        """AGP-58: answers that are no directory, or refuse, become errors."""
        self.shared.answer = HttpResponse(200, (), b"<x/>")
        self.presence.answer = HttpResponse(403)
        self.rls.answer = HttpResponse(499)
        self.assertEqual(
            self.folders(self.ask(head(HOME))),
            {
                "pres-rules": "403 Forbidden",
                "resource-lists": "502 Bad Gateway",
                "rls-services": "499",
            },
        )

    def test_all_refuse(self) -> None:
        """AGP-58: 403 from all is 403; so is 404."""
        for status in (403, 404):
            for each in self.all:
                each.answer = HttpResponse(status)
            self.refused(status, head(HOME))

    def test_one_folder(self) -> None:
        """AGP-58, XDM-83: a selector of one folder asks only the server that has it."""
        node = "/~~/xcap-directory/folder%5b@auid=%22pres-rules%22%5d"
        answer = self.ask(head(HOME + node))
        self.assertIn(b'<folder auid="pres-rules">', answer.body)
        self.assertEqual(answer.header("content-type"), "application/xcap-el+xml")
        self.assertEqual([len(each.heads) for each in self.all], [0, 1, 0])
        self.assertEqual(self.presence.head.target, HOME)
        self.refused(404, head(HOME + node.replace("pres-rules", "unknown")))
        answer = self.ask(head(f"{HOME}/~~/xcap-directory/folder%5b1%5d"))
        self.assertIn(b'<folder auid="pres-rules">', answer.body)
        self.assertEqual([len(each.heads) for each in self.all], [1, 2, 1])

    def test_partition(self) -> None:
        """AGP-53, AGP-58: of each group the partition of the user is asked."""
        parts = tuple(FakeBackEnd(str(i)) for i in range(4))
        for part in parts:
            part.answer = directory("resource-lists")
        group = Group("g", parts, frozenset({"resource-lists"}))
        self.routes.replace([group])
        self.ask(head(HOME.replace("alice@example", "Bob@EXAMPLE")))
        holder = group.holder("sip:Bob@example.com")
        self.assertEqual([len(part.heads) for part in parts], [int(p is holder) for p in parts])

    def test_conditional(self) -> None:
        """AGP-58: it has an ETag of its own; read-only as capabilities are."""
        etag = self.ask(head(HOME)).header("etag") or ""
        self.assertEqual(self.ask(head(HOME, "GET", ("If-None-Match", etag))).status, 304)
        for method in ("PUT", "DELETE"):
            self.refused(405, head(HOME, method))

    def test_client_leaves(self) -> None:
        """AGP-81: the servers are no longer asked when the client has gone."""
        for each in self.all:
            each.answer = None
        work = self.start(head(HOME))
        work.cancel()
        self.failureResultOf(work)
        self.assertEqual([each.cancelled for each in self.all], [1, 1, 1])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_other_documents(self) -> None:
        """XDM-80: there is only this document."""
        for target in (HOME.replace("directory.xml", "index"), HOME.replace("users/", "global/")):
            self.refused(404, head(target))
