"""The document server: its order of checks and every row of its status table."""

from __future__ import annotations

import gzip
from typing import Any

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.xcap.xdms import (
    ANN,
    ATTRIBUTE,
    DOCUMENT,
    ELEMENT,
    FRIENDS,
    HOME,
    INDEX,
    JOE,
    NS,
    ROOT,
    START,
    TRUSTED,
    TYPE,
    TestUsage,
    XdmsTestCase,
    entry,
    step,
)
from xcap import parsed
from xcap.document import Limits, XmlDocument, parse_document
from xcap.errors import Exists
from xcap.interfaces import IApplicationUsage, IHttpService
from xcap.parsed import ParsedDocuments
from xcap.records import Document, DocumentKey, Draft, HttpResponse
from xcap.writing import ServerSettings

ALLOW = "GET, HEAD, PUT, DELETE, OPTIONS"
BAD_NODE = "/~~/resource-lists/p:list"


class InterfaceTests(XdmsTestCase):
    """What the server is."""

    def test_interface(self) -> None:
        """It answers HTTP requests, for usages that are plugged in (XCAP-177)."""
        verifyObject(IHttpService, self.server)
        verifyObject(IApplicationUsage, TestUsage())


class OrderTests(XdmsTestCase):
    """The order of checks."""

    # requests that break the rule of their row and those of all rows that follow
    ROWS: tuple[tuple[int, str, str, dict[str, Any]], ...] = (
        (400, "BREW", "/test/users/sip:joe@example.com/%zz", {"user": None}),
        (400, "BREW", "/nowhere#", {"user": None}),
        (421, "BREW", "/nowhere/~~", {"user": None, "authority": "elsewhere"}),
        (404, "BREW", f"/Test/users/{JOE}/index{BAD_NODE}", {"user": None}),
        (404, "BREW", f"/test/user/{JOE}/index{BAD_NODE}", {"user": None}),
        (404, "BREW", f"/test/users/sip:x@example.com/index{BAD_NODE}", {"user": None}),
        (404, "BREW", f"/test/users/joe/index{BAD_NODE}", {"user": None}),
        (401, "BREW", f"{INDEX}{BAD_NODE}", {"user": None}),
        (501, "BREW", f"{INDEX}{BAD_NODE}", {"user": ANN}),
        (405, "POST", f"{INDEX}{BAD_NODE}", {"user": ANN}),
        (403, "PUT", f"{INDEX}{BAD_NODE}", {"user": ANN}),
        (400, "PUT", f"{INDEX}{BAD_NODE}", {}),
        (400, "PUT", f"{INDEX}/~~/a//namespace::*", {}),
        (404, "PUT", f"{INDEX}/~~/a[]/namespace::*", {}),
        (405, "PUT", f"{INDEX}/~~/a/namespace::*", {"content_type": "text/xml"}),
        (415, "PUT", f"{INDEX}/~~/no/no", {"content_type": "text/xml"}),
        (415, "PUT", f"{INDEX}/~~/no/no", {"headers": {"Content-Encoding": "br"}}),
        (409, "PUT", f"{INDEX}/~~/no/no", {"content_type": ELEMENT, "headers": {"If-Match": "*"}}),
        (412, "PUT", INDEX, {"content_type": TYPE, "headers": {"If-None-Match": "*"}}),
        (409, "PUT", INDEX, {"content_type": f"{TYPE};charset=latin-1"}),
        (409, "PUT", INDEX, {"content_type": TYPE}),
    )

    def test_first_failure_answers(self) -> None:
        """Of several faults the first in the order of checks is answered (XCAP-50)."""
        self.put()
        for status, method, target, details in self.ROWS:
            answer = self.ask(method, target, b"<no", **details)
            self.assertEqual(answer.status, status, (method, target, answer.body))
            self.assertEqual(self.octets(), DOCUMENT)

    def test_before_the_body(self) -> None:
        """All but the faults of the body are found before it is read (XCAP-114, XCAP-50)."""
        self.put()
        for status, method, target, details in self.ROWS[:-1]:
            running = self.start(self.server.begin(self.head(method, target, **details)))
            answer = self.finish(running)[0]
            assert isinstance(answer, HttpResponse), target
            self.assertEqual(answer.status, status)
        running = self.start(self.server.begin(self.head("PUT", INDEX, TYPE)))
        self.assertFalse(isinstance(self.finish(running)[0], HttpResponse))

    def test_existence_before_conditions(self) -> None:
        """What does not exist is said before preconditions are looked at (XCAP-50, XCAP-155)."""
        match = {"If-Match": '"x"', "If-None-Match": "*"}
        for method in ("GET", "HEAD", "DELETE"):
            self.assertEqual(self.ask(method, INDEX, headers=match).status, 404)
            target = INDEX + "/~~/resource-lists"
            self.assertEqual(self.ask(method, target, headers=match).status, 404)
        answer = self.ask("PUT", INDEX + FRIENDS, b"<list/>", headers=match)
        self.assertConflict(answer, "no-parent")
        self.put()
        for method in ("GET", "DELETE"):
            target = INDEX + "/~~/resource-lists/no"
            self.assertEqual(self.ask(method, target, headers=match).status, 404)
        answer = self.ask("PUT", INDEX + "/~~/resource-lists/no/no", b"<no/>", headers=match)
        self.assertConflict(answer, "no-parent")

    def test_conditions_before_body(self) -> None:
        """Preconditions are looked at before the body (XCAP-50, CLI-21)."""
        self.put()
        for target in (INDEX, INDEX + FRIENDS, INDEX + FRIENDS + "/@name"):
            answer = self.ask("PUT", target, b"<no", headers={"If-Match": '"x"'})
            self.assertEqual(answer.status, 412)

    def test_place_of_schema(self) -> None:
        """Schema comes before uniqueness, that before other constraints (XCAP-50, XCAP-135)."""
        rows = (
            ("not-well-formed", "<list"),
            ("schema-validation-error", "<list><no/>{dup}{dup}{evil}</list>"),
            ("uniqueness-failure", "<list>{dup}{dup}{evil}</list>"),
            ("constraint-failure", "<list>{evil}</list>"),
        )
        for kind, lists in rows:
            inner = lists.format(dup='<entry uri="sip:d@x"/>', evil='<entry uri="sip:evil@x"/>')
            octets = f'<resource-lists xmlns="{NS}">{inner}</resource-lists>'.encode()
            self.assertConflict(self.ask("PUT", INDEX, octets), kind)
            self.assertIsNone(self.stored())

    def test_who_first(self) -> None:
        """A switch asks who it is before it tells that a user is unknown (XCAP-51)."""
        unknown = "/test/users/sip:x@example.com/index"
        self.assertEqual(self.ask("GET", unknown, user=None).status, 404)
        self.server = self.serve(ServerSettings(authenticate_first=True))
        self.assertEqual(self.ask("GET", unknown, user=None).status, 401)
        self.assertEqual(self.ask("GET", unknown).status, 404)


class StatusTests(XdmsTestCase):
    """The rows of the status table that no other test is about."""

    def test_roots(self) -> None:
        """The root is no resource, another host is not served (XCAP-02, XCAP-14, XCAP-52)."""
        for target in ("/", "/test", "/test/", "/test/users", HOME, HOME + "/", HOME + "/a/"):
            for method in ("GET", "PUT", "DELETE"):
                self.assertEqual(self.ask(method, target, b"<a/>").status, 404, target)
        answer = self.ask("GET", INDEX, authority="xcap.example.org")
        self.assertEqual(answer.status, 421)

    def test_traversal(self) -> None:
        """No spelling of a path reaches another one (XCAP-10, XCAP-12)."""
        self.put()
        for bad in ("/../index", "/x/../index", "/%2e%2e/index", "/./index", "//index"):
            for method in ("GET", "PUT", "DELETE"):
                self.assertEqual(self.ask(method, HOME + bad, DOCUMENT).status, 404)
        self.assertEqual(self.ask("GET", f"/test/users/{JOE}%2Findex").status, 404)
        self.assertEqual(self.ask("GET", f"/test/users%2F{JOE}/index").status, 404)
        self.assertEqual(self.ask("PUT", HOME + "/dir%2Fa", DOCUMENT).status, 404)

    def test_long(self) -> None:
        """A node selector over the limit is too long (XCAP-34, XCAP-52)."""
        self.put()
        self.assertEqual(self.ask("GET", f"{INDEX}/~~/{'a' * 8193}").status, 414)
        self.assertEqual(self.ask("GET", f"{INDEX}/~~/{'a/' * 64}a").status, 414)
        self.assertEqual(self.ask("GET", f"{INDEX}/~~/{'a/' * 63}a").status, 404)

    def test_selectors(self) -> None:
        """What a selector can be wrong in, and the status (XCAP-30, XCAP-45, XCAP-64)."""
        self.put()
        for status, node in (
            (200, "resource-lists"),
            (200, "*/list[1]"),
            (404, "list"),
            (404, "resource-lists/list"),
            (404, "resource-lists/list[9]"),
            (404, "resource-lists/list[0]"),
            (404, "resource-lists/list[]"),
            (404, "resource-lists/list[1]/@no"),
            (404, "resource-lists/text()"),
            (400, ""),
            (400, "resource-lists//list"),
            (400, "resource-lists/"),
            (400, "p:resource-lists"),
            (400, "resource-lists?xmlns(p=urn:x"),
            (200, "resource-lists?xmlns(p=urn:x)"),
            (200, f"p:resource-lists?xmlns(p={NS})"),
        ):
            answer = self.ask("GET", f"{INDEX}/~~/{node}")
            self.assertEqual(answer.status, status, node)
            if status != 200:
                self.assertNotIn("xcap-error", answer.header("content-type") or "")

    def test_methods(self) -> None:
        """Other methods are not allowed, or not known at all (XCAP-53, XCAP-54)."""
        self.put()
        for target in (INDEX, INDEX + FRIENDS, INDEX + FRIENDS + "/@name", HOME + "/no"):
            for method in ("POST", "TRACE", "PATCH"):
                answer = self.ask(method, target)
                self.assertEqual((answer.status, answer.header("allow")), (405, ALLOW))
            self.assertEqual(self.ask("BREW", target).status, 501)
            self.assertEqual(self.ask("get", target).status, 501)
            answer = self.ask("OPTIONS", target)
            self.assertEqual((answer.status, answer.header("allow")), (200, ALLOW))
            self.assertEqual(answer.body, b"")
        answer = self.ask("OPTIONS", "*", user=None)
        self.assertEqual((answer.status, answer.header("allow")), (200, ALLOW))

    def test_namespaces(self) -> None:
        """Namespace bindings are read, never written (XCAP-28, XCAP-63, XCAP-76, XCAP-126)."""
        self.put()
        target = INDEX + FRIENDS + "/namespace::*"
        answer = self.ask("GET", target)
        self.assertEqual(answer.header("content-type"), "application/xcap-ns+xml")
        self.assertEqual(answer.body, f'<list xmlns="{NS}"/>'.encode())
        for method in ("PUT", "DELETE"):
            for kind in (ELEMENT, ATTRIBUTE, "application/xcap-ns+xml"):
                answer = self.ask(method, target, b"<a/>", content_type=kind)
                self.assertEqual(answer.status, 405)
                self.assertEqual(answer.header("allow"), "GET, HEAD, OPTIONS")
        self.assertEqual(self.ask("OPTIONS", target).header("allow"), "GET, HEAD, OPTIONS")
        self.assertEqual(self.octets(), DOCUMENT)

    def test_unauthenticated(self) -> None:
        """Nobody gets in without saying who he is (XCAP-52)."""
        self.put()
        for method in ("GET", "HEAD", "PUT", "DELETE", "OPTIONS", "POST"):
            answer = self.ask(method, INDEX, DOCUMENT, user=None)
            self.assertEqual(answer.status, 401)
            self.assertEqual(answer.header("www-authenticate"), 'Digest realm="x"')
        self.assertEqual(self.octets(), DOCUMENT)

    def test_authorization(self) -> None:
        """Others are not allowed; each identity of the owner is (XCAP-175, XCAP-176)."""
        self.put()
        for method in ("GET", "PUT", "DELETE"):
            self.assertEqual(self.ask(method, INDEX, DOCUMENT, user=ANN).status, 403)
        self.assertEqual(self.octets(), DOCUMENT)
        for user in (JOE, f"tel:+1666,{JOE}", TRUSTED):
            self.assertEqual(self.ask("GET", INDEX, user=user).status, 200)
        target = "/test/global/index"
        self.assertEqual(self.ask("PUT", target, DOCUMENT).status, 403)
        self.assertEqual(self.ask("PUT", target, DOCUMENT, user=TRUSTED).status, 201)
        self.assertEqual(self.ask("GET", target, user=ANN).status, 200)

    def test_spellings_of_a_user(self) -> None:
        """All spellings of an XUI, of an alias too, reach one home directory (XCAP-08)."""
        self.put()
        for xui in ("sip%3Ajoe%40example.com", "SIP:joe@EXAMPLE.com", "sip:%256aoe@example.com"):
            self.assertEqual(self.ask("GET", f"/test/users/{xui}/index").body, DOCUMENT)
        self.assertEqual(self.ask("GET", "/test/users/tel:+1555/index").body, DOCUMENT)
        self.assertEqual(self.ask("GET", "/test/users/sip:Joe@example.com/index").status, 404)

    def test_media_types(self) -> None:
        """A PUT needs the media type of what it puts (XCAP-80, XCAP-52)."""
        self.put()
        for target, wanted, body in (
            (INDEX, TYPE, DOCUMENT),
            (INDEX + FRIENDS + step("sip:bob@example.com"), ELEMENT, entry("sip:bob@example.com")),
            (INDEX + FRIENDS + "/@name", ATTRIBUTE, b'"friends"'),
        ):
            before = self.octets()
            others = {TYPE, ELEMENT, ATTRIBUTE} - {wanted}
            for kind in (*others, "application/xml", "text/xml", "application/xcap-ns+xml", "x"):
                answer = self.ask("PUT", target, body, content_type=kind)
                self.assertEqual(answer.status, 415, (target, kind))
                self.assertEqual(self.octets(), before)
            for kind in (wanted, wanted.upper(), f"{wanted}; charset=UTF-8", f"{wanted} ; q=1"):
                answer = self.ask("PUT", target, body, content_type=kind)
                self.assertEqual(answer.status, 200, kind)
            answer = self.ask("PUT", target, body, content_type=f'{wanted};charset="ISO-8859-1"')
            self.assertConflict(answer, "not-utf-8")

    def test_no_media_type(self) -> None:
        """A switch takes whole documents without the right type, nodes never (CLI-19)."""
        form = "application/x-www-form-urlencoded"
        node = INDEX + FRIENDS + step("sip:bob@example.com")
        for kind in (None, form):
            self.assertIn(
                self.ask("PUT", INDEX, DOCUMENT, content_type=kind).status, (200, 201), kind
            )
            answer = self.ask("PUT", node, entry("sip:bob@example.com"), content_type=kind)
            self.assertEqual(answer.status, 415)
        self.server = self.serve(ServerSettings(any_document_type=False))
        for kind in (None, form):
            self.assertEqual(self.ask("PUT", INDEX, b"", content_type=kind).status, 415)
        self.assertEqual(self.octets(), DOCUMENT)

    def test_content_coding(self) -> None:
        """Bodies may be packed by gzip, within the limit (XCAP-164)."""
        packed = gzip.compress(DOCUMENT)
        for coding in ("gzip", "GZIP", "x-gzip"):
            answer = self.ask("PUT", INDEX, packed, headers={"Content-Encoding": coding})
            self.assertIn(answer.status, (200, 201))
            self.assertEqual(self.octets(), DOCUMENT)
        for coding in ("deflate", "br", "gzip, gzip"):
            answer = self.ask("PUT", INDEX, packed, headers={"Content-Encoding": coding})
            self.assertEqual(answer.status, 415)
        gzipped = {"Content-Encoding": "gzip"}
        self.assertEqual(self.ask("PUT", INDEX, DOCUMENT, headers=gzipped).status, 400)
        bomb = gzip.compress(b" " * (10 << 20))
        self.assertEqual(self.ask("PUT", INDEX, bomb, headers=gzipped).status, 413)
        self.assertEqual(self.octets(), DOCUMENT)

    def test_too_large(self) -> None:
        """A body, or the document it would make, over the limit is refused (XCAP-162)."""
        self.server = self.serve(ServerSettings(limits=Limits(size=len(DOCUMENT))))
        self.put()
        self.assertEqual(self.ask("PUT", INDEX, DOCUMENT + b" ").status, 413)
        target = INDEX + FRIENDS + step("sip:a@x")
        self.assertEqual(self.ask("PUT", target, entry("sip:a@x")).status, 413)
        self.assertEqual(self.ask("PUT", target, b" " * 1000).status, 413)
        self.assertEqual(self.octets(), DOCUMENT)

    def test_store_down(self) -> None:
        """While the store does not work clients are to come back later (XCAP-52)."""
        self.put()
        self.store.fail_next()
        answer = self.ask("PUT", INDEX, DOCUMENT)
        self.assertEqual((answer.status, answer.header("retry-after")), (503, "5"))
        self.assertEqual(self.octets(), DOCUMENT)
        self.finish(self.store.stop())
        answer = self.ask("GET", HOME + "/other")
        self.assertEqual((answer.status, answer.header("retry-after")), (503, "5"))

    def test_partial_put(self) -> None:
        """A PUT of a part of the octets is refused, not taken for a whole (XCAP-52)."""
        answer = self.ask("PUT", INDEX, DOCUMENT, headers={"Content-Range": "bytes 0-9/20"})
        self.assertEqual(answer.status, 400)

    def test_range(self) -> None:
        """Range requests get the whole (XCAP-56)."""
        self.put()
        answer = self.ask("GET", INDEX, headers={"Range": "bytes=0-9"})
        self.assertEqual((answer.status, answer.body), (200, DOCUMENT))

    def test_query(self) -> None:
        """The query of a document means nothing (XCAP-16)."""
        self.put(target=INDEX + "?a=b")
        self.assertEqual(self.ask("GET", INDEX + "?xmlns(").body, DOCUMENT)

    def test_accept(self) -> None:
        """A client that excludes what there is gets 406 (XCAP-57)."""
        self.put()
        for accept, status in (
            ("*/*", 200),
            ("", 200),
            ("application/*", 200),
            ("text/html, Application/Test+XML;q=0.1", 200),
            ("application/test+xml;level=1", 200),
            (f"{ELEMENT}, {ATTRIBUTE}, application/xml;q=0.5, */*;q=0.1", 200),
            ("text/xml", 406),
            ("application/xml", 406),
            ("application/test+xml;q=0, */*", 406),
            ("*/*, application/test+xml;q=0.0", 406),
            ("application/*;q=0, */*", 406),
            ("*/*;q=0", 406),
        ):
            self.assertEqual(self.ask("GET", INDEX, headers={"Accept": accept}).status, status)
        node = self.ask("GET", INDEX + FRIENDS, headers={"Accept": ELEMENT})
        self.assertEqual(node.status, 200)

    def test_plain_refusals(self) -> None:
        """Refusals other than conflicts are short text that is not kept (XCAP-64, XCAP-158)."""
        for answer in (
            self.ask("GET", INDEX),
            self.ask("GET", INDEX, user=ANN),
            self.ask("GET", INDEX + "/~~/"),
            self.ask("PUT", INDEX, content_type="x"),
        ):
            self.assertEqual(answer.header("content-type"), "text/plain; charset=utf-8")
            self.assertEqual(answer.header("cache-control"), "no-store")
            self.assertIsNone(answer.header("etag"))
            self.assertLess(len(answer.body), 100)

    def test_counted(self) -> None:
        """Answers are counted by usage, method and status."""
        self.put()
        self.ask("GET", INDEX)
        self.ask("GET", "/x/global/y")
        self.ask("BREW", INDEX)
        self.ask("GET", INDEX, authority="no")
        self.assertEqual(
            self.server.answers,
            {
                ("test", "PUT", 201): 1,
                ("test", "GET", 200): 1,
                ("", "GET", 404): 1,
                ("test", "other", 501): 1,
                ("", "GET", 421): 1,
            },
        )


class ReadTests(XdmsTestCase):
    """GET and HEAD."""

    def test_document(self) -> None:
        """A document comes back as it was PUT, to the octet (XCAP-60, XCAP-65, XCAP-150)."""
        octets = b"\xef\xbb\xbf" + DOCUMENT.replace(b"?>\n", b"?>\r\n<!-- a --> <?b c?>\n")
        tag = self.put(octets)
        answer = self.ask("GET", INDEX)
        self.assertEqual((answer.status, answer.body), (200, octets))
        self.assertEqual(answer.header("content-type"), TYPE)
        self.assertEqual(answer.header("cache-control"), "no-cache")
        self.assertEqual(answer.header("last-modified"), "Tue, 14 Nov 2023 22:13:20 GMT")
        self.assertIsNone(answer.header("expires"))
        self.assertEqual(self.tag(answer), tag)

    def test_nodes(self) -> None:
        """Elements and attributes come as they are, with the document's tag (XCAP-61, CLI-20)."""
        tag = self.put()
        for node, kind, body in (
            (
                "resource-lists/list[1]/entry[1]",
                ELEMENT,
                b"<entry uri='sip:bob@example.com'><display-name>Bob &amp; Co</display-name>"
                b"</entry>",
            ),
            ("resource-lists/list[2]", ELEMENT, b'<list name="empty"/>'),
            ("resource-lists/list[1]/entry[1]/@uri", ATTRIBUTE, b"'sip:bob@example.com'"),
            ("*/*[2]/@name", ATTRIBUTE, b'"empty"'),
        ):
            answer = self.ask("GET", f"{INDEX}/~~/{node}")
            self.assertEqual((answer.status, answer.body), (200, body))
            self.assertEqual(answer.header("content-type"), kind)
            self.assertEqual(self.tag(answer), tag)
            self.assertEqual(answer.header("last-modified"), "Tue, 14 Nov 2023 22:13:20 GMT")

    def test_head(self) -> None:
        """HEAD has the headers of GET (XCAP-55)."""
        self.put()
        for target in (INDEX, INDEX + FRIENDS):
            self.assertEqual(self.ask("HEAD", target).headers, self.ask("GET", target).headers)
        self.assertEqual(self.ask("HEAD", HOME + "/no").status, 404)

    def test_bare_values(self) -> None:
        """A switch of a root leaves out the quotes of attribute values (XCAP-62)."""
        self.put()
        target = INDEX + FRIENDS + "/@name"
        self.assertEqual(self.ask("GET", target).body, b'"friends"')
        self.server = self.serve(ServerSettings(bare_att_value=frozenset({ROOT})))
        self.assertEqual(self.ask("GET", target).body, b"friends")

    def test_not_modified(self) -> None:
        """What the client has already is not sent again (XCAP-52, XCAP-154)."""
        tag = self.put()
        for target in (INDEX, INDEX + FRIENDS, INDEX + FRIENDS + "/@name"):
            for method in ("GET", "HEAD"):
                answer = self.ask(method, target, headers={"If-None-Match": f'"{tag}"'})
                self.assertEqual((answer.status, answer.body), (304, b""))
                self.assertEqual(self.tag(answer), tag)
            answer = self.ask("GET", target, headers={"If-None-Match": '"x"'})
            self.assertEqual(answer.status, 200)
            answer = self.ask("GET", target, headers={"If-Match": '"x"'})
            self.assertEqual((answer.status, self.tag(answer)), (412, tag))
            since = {"If-Modified-Since": "Tue, 14 Nov 2023 22:13:20 GMT"}
            self.assertEqual(self.ask("GET", target, headers=since).status, 304)

    def test_nothing_is_parsed(self) -> None:
        """Whole documents are given out, or not, without a look into them."""
        tag = self.put()
        self.server = self.serve()  # has not seen the document yet
        self.patch(self.server._parsed, "get", None)  # type: ignore[attr-defined]
        self.assertEqual(self.ask("GET", INDEX).status, 200)
        self.assertEqual(self.ask("GET", INDEX, headers={"If-None-Match": f'"{tag}"'}).status, 304)
        self.assertEqual(self.ask("PUT", INDEX, headers={"If-Match": '"x"'}).status, 412)

    def test_parsed_once(self) -> None:
        """Several elements of a document cost one parse, and none after one was PUT."""
        calls: list[object] = []
        original = parsed.parse_document

        def parse(*arguments: Any) -> XmlDocument:
            calls.append(arguments)
            return original(*arguments)

        self.patch(parsed, "parse_document", parse)
        self.put()
        for _ in range(3):
            self.assertEqual(self.ask("GET", INDEX + FRIENDS).status, 200)
        self.assertEqual(len(calls), 1)
        self.assertEqual(self.ask("PUT", INDEX + FRIENDS, b'<list name="friends"/>').status, 200)
        self.assertEqual(self.ask("GET", INDEX + FRIENDS).status, 200)
        self.assertEqual(len(calls), 1)
        self.put(DOCUMENT)
        self.assertNotEqual(self.ask("GET", INDEX + FRIENDS).body, b'<list name="friends"/>')
        self.assertEqual(len(calls), 2)

    def test_changed_elsewhere(self) -> None:
        """What somebody else has changed is parsed again (XCAP-150)."""
        tag = self.put()
        target = INDEX + "/~~/resource-lists/list[2]/@name"
        self.assertEqual(self.ask("GET", target).body, b'"empty"')
        octets = DOCUMENT.replace(b'"empty"', b'"other"')
        self.store.commit(Draft(DocumentKey(ROOT, "test", JOE, "index"), tag, octets))
        self.clock.advance(1)
        self.assertEqual(self.ask("GET", target).body, b'"other"')

    def test_tighter_limits(self) -> None:
        """A document stored under wider limits can be read and mended (XCAP-162)."""
        self.put()
        self.server = self.serve(ServerSettings(limits=Limits(depth=2, size=400)))
        self.assertEqual(self.ask("GET", INDEX + FRIENDS).status, 200)
        answer = self.ask("DELETE", INDEX + FRIENDS + step("sip:ann@example.com"))
        self.assertConflict(answer, "constraint-failure")
        self.assertEqual(self.ask("DELETE", INDEX + FRIENDS).status, 200)

    def test_fallback_namespace(self) -> None:
        """A switch lets unprefixed names mean another namespace, too (XDM-02)."""

        class Other(TestUsage):
            default_namespace = "urn:other"

        self.patch(self, "usages", lambda: (Other(),))
        self.server = self.serve()
        self.put()
        node = "/~~/resource-lists/list[2]"
        self.assertEqual(self.ask("GET", INDEX + node).status, 404)
        self.server = self.serve(ServerSettings(fallback_namespaces={"test": NS}))
        self.assertEqual(self.ask("GET", INDEX + node).status, 200)
        self.assertEqual(self.ask("DELETE", INDEX + node).status, 200)
        answer = self.ask("PUT", INDEX + "/~~/resource-lists/list[2]", b"<list/>")
        self.assertEqual(answer.status, 201)


class ConflictTests(XdmsTestCase):
    """Every error element, with what is accepted beside it, through the server."""

    LISTS = f'<resource-lists xmlns="{NS}">{{}}</resource-lists>'

    def check(self, kind: str, method: str, target: str, body: bytes = b"") -> None:
        """Make sure that a request is refused and nothing has changed."""
        before, position = self.octets(), self.store.position
        self.assertConflict(self.ask(method, target, body), kind)
        self.assertEqual(self.octets(), before)
        self.assertEqual(self.store.position, position)

    def test_not_well_formed(self) -> None:
        """Documents have to be well-formed XML 1.0 (XCAP-82, XCAP-87, XCAP-131, XCAP-149)."""
        self.put()
        good = self.LISTS.format("").encode()
        for body in (b"", b"x", good[:-1], good + good, b'<?xml version="1.1"?>' + good):
            self.check("not-well-formed", "PUT", INDEX, body)
        self.check("not-well-formed", "PUT", INDEX, self.LISTS.format("&nbsp;").encode())
        self.check("not-well-formed", "PUT", INDEX, self.LISTS.format("<p:a/>").encode())
        self.assertEqual(self.ask("PUT", INDEX, good).status, 200)

    def test_not_utf_8(self) -> None:
        """Everything is UTF-8 (XCAP-81, XCAP-82, XCAP-131)."""
        self.put()
        latin = self.LISTS.format("<list name='\u00e9'/>")
        self.check("not-utf-8", "PUT", INDEX, latin.encode("latin-1"))
        self.check("not-utf-8", "PUT", INDEX, latin.encode("utf-16"))
        self.check("not-utf-8", "PUT", INDEX, b'<?xml version="1.0" encoding="latin-1"?><a/>')
        self.check("not-utf-8", "PUT", INDEX + FRIENDS, b"<list name='\xe9'/>")
        self.check("not-utf-8", "PUT", INDEX + FRIENDS + "/@name", b'"\xe9"')
        self.assertEqual(self.ask("PUT", INDEX, latin.encode()).status, 200)

    def test_not_xml_frag(self) -> None:
        """Elements have to be one balanced element (XCAP-83, XCAP-87, XCAP-131)."""
        self.put()
        target = INDEX + FRIENDS + step("sip:a@x")
        good = entry("sip:a@x")
        for body in (b"", b"x", good[:-2], good + good, b"x" + good, b"<p:entry/>", b"</a><b>"):
            self.check("not-xml-frag", "PUT", target, body)
        self.assertEqual(self.ask("PUT", target, b"\n " + good + b" ").status, 201)

    def test_not_xml_att_value(self) -> None:
        """Attributes have to be a value in quotes (XCAP-86, XCAP-87, XCAP-131)."""
        self.put()
        target = INDEX + "/~~/resource-lists/list[1]/@name"
        for body in (b"", b'"a', b'"a"b"', b'"<"', b'"&"', b'"&nbsp;"', b"a<b", b'"\x01"'):
            self.check("not-xml-att-value", "PUT", target, body)
        self.assertEqual(self.ask("PUT", target, b"'a'").status, 200)
        self.assertEqual(self.ask("PUT", target, b"bare").status, 200)
        self.server = self.serve(ServerSettings(accept_bare_att_value=False))
        self.check("not-xml-att-value", "PUT", target, b"bare")

    def test_no_parent(self) -> None:
        """There has to be something to put into (XCAP-70 to XCAP-73, XCAP-131)."""
        answer = self.ask("PUT", INDEX + FRIENDS, b"<list/>")
        self.assertIsNone(self.assertConflict(answer, "no-parent").depth)
        self.put()
        for node, depth, ancestor in (
            ("/~~/no/list", 0, ""),
            ("/~~/resource-lists/no/list", 1, "/~~/resource-lists"),
            ("/~~/resource-lists/list/entry", 1, "/~~/resource-lists"),
            ("/~~/resource-lists/no/@name", 1, "/~~/resource-lists"),
            (FRIENDS + "/list/list", 2, FRIENDS),
            ("/~~/no/list?xmlns(p=urn:x)", 0, ""),
        ):
            body = b'"a"' if "/@name" in node else b"<list/>"
            answer = self.ask("PUT", INDEX + node, body)
            self.assertEqual(self.assertConflict(answer, "no-parent").depth, depth)
            uri = f"{ROOT[:-1]}{INDEX}{ancestor}"
            self.assertIn(f"<ancestor>{uri}</ancestor>".encode(), answer.body)
        self.check("no-parent", "PUT", HOME + "/a/index", DOCUMENT)
        self.assertEqual(self.octets(), DOCUMENT)
        self.assertEqual(self.ask("PUT", HOME + "/dir/index", DOCUMENT).status, 201)

    def test_cannot_insert(self) -> None:
        """A GET has to give what was PUT (XCAP-90, XCAP-98, XCAP-106, XCAP-131)."""
        self.put()
        for node, body in (
            (FRIENDS + step("sip:a@x"), entry("sip:b@x")),
            (FRIENDS + "/entry[4]", entry("sip:b@x")),
            (FRIENDS + "/entry", entry("sip:b@x")),
            ("/~~/other", self.LISTS.format("").encode()),
            (FRIENDS + step("sip:bob@example.com"), entry("sip:b@x")),
            (FRIENDS + step("sip:bob@example.com") + "/@uri", b'"sip:b@x"'),
            (FRIENDS + "/@xmlns", b'"urn:x"'),
            (FRIENDS + "/@p:a?xmlns(p=urn:x)", b'"b"'),
        ):
            kind = ATTRIBUTE if "/@" in node else ELEMENT
            answer = self.ask("PUT", INDEX + node, body, content_type=kind)
            self.assertConflict(answer, "cannot-insert")
            self.assertEqual(self.octets(), DOCUMENT)
        self.assertEqual(
            self.ask("PUT", INDEX + FRIENDS + "/entry[3]", entry("sip:b@x")).status, 201
        )

    def test_cannot_delete(self) -> None:
        """A DELETE may not leave something to delete (XCAP-121, XCAP-131)."""
        self.put()
        self.check("cannot-delete", "DELETE", INDEX + FRIENDS + "/entry[1]")
        self.assertEqual(self.ask("DELETE", INDEX + FRIENDS + "/entry[2]").status, 200)
        self.assertEqual(self.ask("DELETE", INDEX + FRIENDS + "/entry[1]").status, 200)

    def test_schema(self) -> None:
        """The result has to be valid, after DELETE too (XCAP-123, XCAP-124, XCAP-140)."""
        self.put()
        self.check("schema-validation-error", "PUT", INDEX, self.LISTS.format("<no/>").encode())
        self.check("schema-validation-error", "PUT", INDEX, b"<other/>")
        self.check("schema-validation-error", "PUT", INDEX + FRIENDS + "/no", b"<no/>")
        self.check("schema-validation-error", "PUT", INDEX + "/~~/resource-lists/@no", b'"x"')
        self.check("schema-validation-error", "DELETE", INDEX + FRIENDS + "/entry[1]/@uri")
        self.check("schema-validation-error", "DELETE", INDEX + "/~~/resource-lists")
        foreign = b'<p:x xmlns:p="urn:foreign"><p:y/></p:x>'
        target = INDEX + FRIENDS + "/p:x?xmlns(p=urn:foreign)"
        self.assertEqual(self.ask("PUT", target, foreign).status, 201)

    def test_uniqueness(self) -> None:
        """What has to be unique is, all that is not is told (XCAP-135, XCAP-143)."""
        self.put()
        target = INDEX + FRIENDS + "/entry[3]"
        self.check("uniqueness-failure", "PUT", target, entry("sip:ann@example.com"))
        doubled = "".join(f'<entry uri="sip:{name}@x"/>' for name in "abab")
        answer = self.ask("PUT", INDEX, self.LISTS.format(f"<list>{doubled}</list>").encode())
        conflict = self.assertConflict(answer, "uniqueness-failure")
        self.assertEqual(
            [exists.field for exists in conflict.exists],
            [f'resource-lists/entry[@uri="sip:{name}@x"]/@uri' for name in "ab"],
        )
        self.assertEqual(self.ask("PUT", target, entry("sip:c@x")).status, 201)

    def test_constraint(self) -> None:
        """Other rules of the usage hold, also for names (XCAP-143)."""
        self.put()
        self.check("constraint-failure", "PUT", INDEX + FRIENDS + "/entry[3]", entry("sip:evil@x"))
        self.check("constraint-failure", "PUT", HOME + "/bad", DOCUMENT)
        for method in ("GET", "DELETE"):
            self.assertEqual(self.ask(method, HOME + "/bad").status, 404)
            self.assertEqual(self.ask(method, HOME + "/a/b").status, 404)
        self.assertEqual(self.ask("PUT", HOME + "/none", DOCUMENT).status, 404)
        dtd = b'<!DOCTYPE resource-lists [<!ENTITY a "b">]>' + self.LISTS.format("").encode()
        self.check("constraint-failure", "PUT", INDEX, dtd)

    def test_claims(self) -> None:
        """Values that are unique in the whole store, with free ones (XCAP-134, XDM-46)."""
        self.put(self.LISTS.format('<list><entry uri="im:a"/></list>').encode())
        theirs = f"/test/users/{ANN}/index"
        wanted = self.LISTS.format(
            '<list><entry uri="im:a"/><entry uri="im:a0"/><entry uri="im:b"/></list>'
        ).encode()
        self.put(self.LISTS.format('<list><entry uri="im:a1"/></list>').encode(), HOME + "/two")
        answer = self.ask("PUT", theirs, wanted, user=ANN)
        conflict = self.assertConflict(answer, "uniqueness-failure")
        free = tuple(f"im:a{number}" for number in (2, 3, 4, 5, 6))
        self.assertEqual(conflict.exists, (Exists('resource-lists/entry[@uri="im:a"]/@uri', free),))
        self.assertIsNone(self.stored(xui=ANN))
        self.assertEqual(self.ask("DELETE", INDEX).status, 200)
        self.assertEqual(self.ask("PUT", theirs, wanted, user=ANN).status, 201)
        self.assertConflict(
            self.ask("PUT", HOME + "/two" + "/~~/*/*[1]" + step("im:b"), entry("im:b")),
            "uniqueness-failure",
        )

    def test_quota(self) -> None:
        """A user may have so many documents at a usage, not more (XDM-08)."""
        self.server = self.serve(ServerSettings(documents=2))
        self.put()
        self.put(target=HOME + "/b")
        self.check("constraint-failure", "PUT", HOME + "/c", DOCUMENT)
        self.assertEqual(self.ask("PUT", HOME + "/b", DOCUMENT).status, 200)
        self.assertEqual(self.ask("PUT", f"/test/users/{ANN}/c", DOCUMENT, user=ANN).status, 201)
        self.assertEqual(self.ask("DELETE", HOME + "/b").status, 200)
        self.assertEqual(self.ask("PUT", HOME + "/c", DOCUMENT).status, 201)
        for name in "abc":
            answer = self.ask("PUT", f"/test/global/{name}", DOCUMENT, user=TRUSTED)
            self.assertEqual(answer.status, 201)

    def test_default_quota(self) -> None:
        """Without configuration it is 20 (XDM-08)."""
        for number in range(20):
            self.put(target=f"{HOME}/{number}")
        self.assertConflict(self.ask("PUT", HOME + "/x", DOCUMENT), "constraint-failure")

    def test_directory_names(self) -> None:
        """No document has the name of a directory, nor the reverse (XCAP-10)."""
        self.put()
        self.put(target=HOME + "/dir/a")
        self.check("constraint-failure", "PUT", HOME + "/dir", DOCUMENT)
        self.assertEqual(self.ask("GET", HOME + "/dir").status, 404)
        self.check("no-parent", "PUT", HOME + "/dir/a/b", DOCUMENT)
        self.assertEqual(self.ask("PUT", HOME + "/dir/b", DOCUMENT).status, 201)
        self.put(target="/test/global/dir/a", user=TRUSTED)
        answer = self.ask("PUT", "/test/global/dir", DOCUMENT, user=TRUSTED)
        self.assertConflict(answer, "constraint-failure")


class WriteTests(XdmsTestCase):
    """PUT and DELETE that succeed, and what they leave behind."""

    def test_create_and_replace(self) -> None:
        """201 and then 200, without body, with the new tag (XCAP-111 to XCAP-113, XCAP-152)."""
        answer = self.ask("PUT", INDEX, DOCUMENT)
        self.assertEqual((answer.status, answer.body), (201, b""))
        self.assertEqual(answer.header("location"), ROOT[:-1] + INDEX)
        first = self.tag(answer)
        answer = self.ask("PUT", INDEX, DOCUMENT)
        self.assertEqual((answer.status, answer.body), (200, b""))
        self.assertIsNone(answer.header("location"))
        self.assertNotEqual(self.tag(answer), first)
        self.assertEqual(self.tag(self.ask("GET", INDEX)), self.tag(answer))

    def test_element(self) -> None:
        """An element is created, replaced, removed; nothing else moves (XCAP-100, XCAP-125)."""
        tag = self.put()
        target = INDEX + FRIENDS + step("sip:new@x")
        answer = self.ask("PUT", target, entry("sip:new@x"))
        self.assertEqual((answer.status, answer.body), (201, b""))
        self.assertEqual(answer.header("location"), ROOT[:-1] + target)
        self.assertNotEqual(self.tag(answer), tag)
        new = b'<entry uri="sip:ann@example.com"/>'
        self.assertEqual(self.octets(), DOCUMENT.replace(new, new + entry("sip:new@x")))
        self.assertEqual(self.ask("GET", target).body, entry("sip:new@x"))
        self.assertEqual(self.ask("PUT", target, entry("sip:new@x")).status, 200)
        answer = self.ask("DELETE", target)
        self.assertEqual((answer.status, answer.body), (200, b""))
        self.assertEqual(self.tag(answer), self.tag(self.ask("GET", INDEX)))
        self.assertEqual(self.octets(), DOCUMENT)
        self.assertEqual(self.ask("DELETE", target).status, 404)

    def test_attribute(self) -> None:
        """An attribute is created, replaced, removed (XCAP-107, XCAP-122, XCAP-127)."""
        self.put()
        target = INDEX + "/~~/resource-lists/list[2]/@name"
        self.assertEqual(self.ask("DELETE", target).status, 200)
        self.assertIn(b"<list/>", self.octets())
        self.assertEqual(self.ask("DELETE", target).status, 404)
        self.assertEqual(self.ask("PUT", target, b"'a'").status, 201)
        self.assertEqual(self.ask("PUT", target, b'"empty"').status, 200)
        self.assertEqual(self.octets(), DOCUMENT)

    def test_delete(self) -> None:
        """A document is removed once; a body is ignored (XCAP-120, XCAP-126, XCAP-127)."""
        self.put()
        self.assertEqual(self.ask("GET", INDEX + FRIENDS).status, 200)
        self.assertEqual(len(self.server._parsed), 1)
        answer = self.ask("DELETE", INDEX, b"whatever", headers={"Content-Encoding": "br"})
        self.assertEqual((answer.status, answer.body), (200, b""))
        self.assertIsNone(answer.header("etag"))
        self.assertIsNone(self.stored())
        self.assertEqual(len(self.server._parsed), 0)
        self.assertEqual(self.ask("DELETE", INDEX).status, 404)
        self.assertEqual(self.ask("GET", INDEX).status, 404)

    def test_tags_are_new(self) -> None:
        """No tag comes twice, not after removal either (XCAP-151)."""
        seen = set()
        for _ in range(3):
            for octets in (DOCUMENT, DOCUMENT):
                seen.add(self.put(octets))
            seen.add(self.put(b'"x"', INDEX + "/~~/resource-lists/list[2]/@name"))
            self.ask("DELETE", INDEX)
        self.assertEqual(len(seen), 9)

    def test_location_is_a_uri(self) -> None:
        """What may not stand in a URI is encoded in Location (XCAP-112)."""
        self.put()
        query = f"?xmlns(p={NS})"
        node = "/~~/p:resource-lists/p:list[1]/p:entry[3]" + query
        answer = self.ask("PUT", INDEX + node, entry("sip:a@x"))
        encoded = node.replace("[", "%5b").replace("]", "%5d")
        self.assertEqual(answer.header("location"), ROOT[:-1] + INDEX + encoded)

    def test_changes(self) -> None:
        """Each change is told once, by whom and where (XCAP-148)."""
        target = INDEX + FRIENDS + step("sip:new@x") + "?xmlns(p=urn:x)"
        first = self.put(user=f"{JOE},tel:+1555")
        second = self.put(entry("sip:new@x"), target, user=TRUSTED)
        self.ask("PUT", INDEX, b"<no")
        self.ask("DELETE", INDEX)
        rows = [(c.operation, c.before, c.after, c.author, c.node) for c in self.changes]
        node = target.partition("/~~/")[2]
        self.assertEqual(
            rows,
            [
                ("create", "", first, JOE, ""),
                ("replace", first, second, TRUSTED, node),
                ("delete", second, "", JOE, ""),
            ],
        )
        self.assertEqual({change.key.path for change in self.changes}, {"index"})
        self.assertEqual(self.changes[1].new, self.changes[2].old)

    def test_conditions(self) -> None:
        """The table of conditions through the server (XCAP-154, XCAP-155, XCAP-157)."""
        node = INDEX + FRIENDS + step("sip:new@x")
        for target, body in ((INDEX, DOCUMENT), (node, entry("sip:new@x"))):
            self.ask("DELETE", INDEX)
            tag = self.put() if target == node else ""
            if not tag:
                for value in ('"t"', "*"):
                    answer = self.ask("PUT", target, body, headers={"If-Match": value})
                    self.assertEqual((answer.status, answer.header("etag")), (412, None))
                tag = self.put(headers={"If-None-Match": "*"})
            for headers in ({"If-Match": '"x"'}, {"If-None-Match": "*"}):
                answer = self.ask("PUT", target, body, headers=headers)
                self.assertEqual((answer.status, self.tag(answer)), (412, tag))
                self.assertNotIn(b"xcap-error", answer.body)
            answer = self.ask("PUT", target, body, headers={"If-None-Match": f'"{tag}"'})
            self.assertEqual(answer.status, 412)
            self.assertEqual(self.octets(), DOCUMENT)
            answer = self.ask("PUT", target, body, headers={"If-Match": f'"x", "{tag}"'})
            self.assertIn(answer.status, (200, 201))
            tag = self.tag(answer)
            for headers in ({"If-Match": '"x"'}, {"If-None-Match": "*"}):
                answer = self.ask("DELETE", target, headers=headers)
                self.assertEqual((answer.status, self.tag(answer)), (412, tag))
            answer = self.ask("DELETE", target, headers={"If-Match": f'"{tag}"'})
            self.assertEqual(answer.status, 200)

    def test_times(self) -> None:
        """Times may be preconditions, too (XCAP-156)."""
        self.put()
        late = {"If-Unmodified-Since": "Tue, 14 Nov 2023 22:13:19 GMT"}
        self.assertEqual(self.ask("PUT", INDEX, DOCUMENT, headers=late).status, 412)
        self.assertEqual(self.ask("DELETE", INDEX, headers=late).status, 412)
        good = {"If-Unmodified-Since": "Tue, 14 Nov 2023 22:13:20 GMT"}
        self.assertEqual(self.ask("PUT", INDEX, DOCUMENT, headers=good).status, 200)
        self.assertEqual(self.stored().modified // 1, START)  # type: ignore[union-attr]


class RootsTests(XdmsTestCase):
    """Several roots in one process."""

    roots = (ROOT, "https://xcap.example.com:8443/services/", "https://other.example/")

    def test_apart(self) -> None:
        """No document is seen under another root (XCAP-04)."""
        self.put()
        self.assertEqual(self.ask("GET", INDEX, authority="other.example").status, 404)
        for authority, target in (
            ("xcap.example.com:8443", "/services" + INDEX),
            ("OTHER.example:443", INDEX),
        ):
            answer = self.ask("PUT", target, DOCUMENT, authority=authority)
            self.assertEqual(answer.status, 201)
        self.assertEqual(self.ask("DELETE", INDEX, authority="other.example").status, 200)
        self.assertEqual(self.ask("GET", INDEX).status, 200)

    def test_prefix(self) -> None:
        """The path of a root belongs to its URIs (XCAP-02)."""
        details: dict[str, Any] = {"authority": "xcap.example.com:8443"}
        target = "/services" + INDEX
        answer = self.ask("PUT", target, DOCUMENT, **details)
        self.assertEqual(answer.header("location"), f"https://xcap.example.com:8443{target}")
        self.assertEqual(self.ask("GET", INDEX, **details).status, 404)
        answer = self.ask("PUT", target + "/~~/resource-lists/no/no", b"<no/>", **details)
        self.assertIn(f"8443{target}/~~/resource-lists<".encode(), answer.body)


class ParsedTests(SynchronousTestCase):
    """:class:`xcap.parsed.ParsedDocuments`."""

    def test_bounded(self) -> None:
        """Trees not used for longest are dropped when there are too many octets."""
        one, two, three = (
            Document(DocumentKey(ROOT, "a", "", n), b"<abcdefg/>", "1", 0.0) for n in "abc"
        )
        trees = ParsedDocuments(25)
        first = trees.get(one)
        second = trees.get(two)
        self.assertIs(trees.get(one), first)
        trees.get(three)
        self.assertEqual(len(trees), 2)
        self.assertIs(trees.get(one), first)
        self.assertIsNot(trees.get(two), second)

    def test_replaced(self) -> None:
        """Of a document only the newest tree is kept; none when it is gone."""
        trees = ParsedDocuments(25)
        for etag in "1234":
            document = Document(DocumentKey(ROOT, "a", "", "b"), b"<abcdefg/>", etag, 0.0)
            tree = parse_document(document.octets)
            trees.put(document, tree)
            self.assertIs(trees.get(document), tree)
            self.assertEqual(len(trees), 1)
        trees.forget(document.key)
        self.assertEqual(len(trees), 0)
        trees.forget(document.key)
        other = Document(DocumentKey(ROOT, "a", "", "c"), b"<abcdefg/>", "1", 0.0)
        self.assertIs(trees.get(other), trees.get(other))

    def test_large(self) -> None:
        """What is larger than all room is not kept."""
        trees = ParsedDocuments(5)
        document = Document(DocumentKey(ROOT, "a", "", "b"), b"<abcdefg/>", "1", 0.0)
        self.assertIsNot(trees.get(document), trees.get(document))
        self.assertEqual(len(trees), 0)
