"""The document server and requests that mean it ill, or are just random."""

from __future__ import annotations

import time
import tracemalloc

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred

from tests.xcap.test_server_usages import LISTS, RL, UsagesTestCase, services
from tests.xcap.xdms import ATTRIBUTE, ELEMENT, JOE
from tests.xcap.xmldocuments import elements
from xcap.records import HttpResponse

TYPE = "application/resource-lists+xml"
DOCUMENT = (
    f'<resource-lists xmlns="{RL}" xmlns:p="urn:p"><list name="a"><entry uri="sip:a@x"/>'
    '<entry uri="sip:b@x" p:q="r"/></list><list/></resource-lists>'
).encode()
STATUSES = {200, 201, 304, 400, 401, 403, 404, 405, 406, 409, 412, 413, 414, 415, 421, 501}
PIECES = st.one_of(
    st.sampled_from(
        [
            "/",
            "~~",
            "%7e~",
            "/~~/",
            "resource-lists",
            "rls-services",
            "pres-rules",
            "xcap-caps",
            "org.openmobilealliance.xcap-directory",
            "directory.xml",
            "users",
            "global",
            "sip:joe@example.com",
            "index",
            "list",
            "entry",
            "*",
            "[1]",
            "%5b2%5d",
            '[@uri="sip:a@x"]',
            "[@name='a']",
            "@uri",
            "@xmlns",
            "@p:q",
            "namespace::*",
            "?",
            "xmlns(p=urn:p)",
            "..",
            "%2F",
            "%00",
            "%FF",
            "#",
            "[",
            '"',
        ]
    ),
    st.text(max_size=4),
)
BODIES = st.one_of(
    st.just(DOCUMENT),
    st.just(b'<entry uri="sip:c@x"/>'),
    st.just(b'"v"'),
    elements().map(lambda text: text.encode()),
    st.binary(max_size=40),
    st.tuples(st.integers(0, len(DOCUMENT)), st.binary(max_size=4)).map(
        lambda cut: DOCUMENT[: cut[0]] + cut[1] + DOCUMENT[cut[0] + len(cut[1]) :]
    ),
)
FIELDS = st.dictionaries(
    st.sampled_from(["If-Match", "If-None-Match", "Accept", "If-Modified-Since", "X-User"]),
    st.one_of(st.sampled_from(["*", '"x"', "*/*", "sip:joe@example.com"]), st.text(max_size=8)),
    max_size=2,
)


class RandomTests(UsagesTestCase):
    """No request makes the server fail."""

    def setUp(self) -> None:
        """Begin with a document."""
        super().setUp()
        self.put(DOCUMENT, LISTS)

    def current(self) -> bytes:
        """The document as it is now; it is made anew when it is gone."""
        answer = self.ask("GET", LISTS)
        if answer.status == 404:
            self.put(DOCUMENT, LISTS)
            return DOCUMENT
        return answer.body

    @settings(max_examples=300, deadline=None)
    @given(
        st.sampled_from(["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "POST", "X", ""]),
        st.one_of(
            st.lists(PIECES, max_size=12).map("".join),
            st.lists(PIECES, max_size=5).map(lambda parts: LISTS + "/~~/" + "/".join(parts)),
        ),
        st.sampled_from(
            [TYPE, ELEMENT, ATTRIBUTE, "application/rls-services+xml", "", "x;charset"]
        ),
        FIELDS,
        BODIES,
    )
    def test_requests(
        self, method: str, target: str, kind: str, fields: dict[str, str], body: bytes
    ) -> None:
        """Every answer is one of the table; a refusal changes nothing (XCAP-52)."""
        before = self.current()
        position = self.store.position
        answer = self.ask(method, target, body, content_type=kind, headers=fields)
        self.assertIn(answer.status, STATUSES)
        if method not in ("PUT", "DELETE") or answer.status not in (200, 201):
            self.assertEqual(self.store.position, position)
            self.assertEqual(self.ask("GET", LISTS).body, before)
        else:
            self.assertEqual(self.store.position, position + 1)

    @settings(max_examples=200, deadline=None)
    @given(
        st.sampled_from(
            [
                (LISTS, TYPE),
                (LISTS + "/~~/resource-lists/list[1]/*[2]", ELEMENT),
                (LISTS + "/~~/resource-lists/*[1]/entry[3]", ELEMENT),
                (LISTS + "/~~/resource-lists/list[1]/entry[1]/@uri", ATTRIBUTE),
            ]
        ),
        BODIES,
    )
    def test_bodies(self, where: tuple[str, str], body: bytes) -> None:
        """A body is refused, or a GET gives it back (XCAP-52, XCAP-60, XCAP-98)."""
        target, kind = where
        before = self.current()
        answer = self.ask("PUT", target, body, content_type=kind)
        if answer.status == 409:
            self.assertEqual(self.ask("GET", LISTS).body, before)
        else:
            self.assertIn(answer.status, (200, 201))
            got = self.ask("GET", target).body
            if kind == ATTRIBUTE and body.strip()[:1] not in (b'"', b"'"):
                got = got[1:-1]
            self.assertEqual(got, body if kind == TYPE else body.strip())
        self.ask("PUT", LISTS, DOCUMENT)

    @settings(max_examples=50, deadline=None)
    @given(st.lists(st.tuples(st.integers(0, 4), st.booleans()), max_size=12))
    def test_interleaved(self, requests: list[tuple[int, bool]]) -> None:
        """Requests at the same time give what they give one after the other (XCAP-145)."""
        self.ask("PUT", LISTS, DOCUMENT)
        expected: dict[str, bytes] = {}
        statuses: list[int] = []
        running: list[Deferred[HttpResponse]] = []
        for number, (name, pause) in enumerate(requests):
            target = f"{LISTS}/~~/resource-lists/list[1]/entry[@uri='sip:{name}@x']"
            body = f'<entry uri="sip:{name}@x" xmlns:n="urn:{number}"/>'.encode()
            statuses.append(200 if target in expected else 201)
            expected[target] = body
            running.append(self.start(self.exchange(self.head("PUT", target, ELEMENT), body)))
            if pause:
                self.clock.advance(0)
        answers = self.finish(*running)
        self.assertEqual([answer.status for answer in answers], statuses)
        for target, body in expected.items():
            self.assertEqual(self.ask("GET", target).body, body)


class BombTests(UsagesTestCase):
    """Bodies that are small on the wire or large in memory (XCAP-160 to XCAP-163)."""

    WRAP = f'<resource-lists xmlns="{RL}">%b</resource-lists>'.encode()

    def refused(self, body: bytes, status: int, kind: str = "") -> None:
        """Make sure that a document is refused, in little memory."""
        tracemalloc.start()
        answer = self.ask("PUT", LISTS, body)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        self.assertEqual(answer.status, status, answer.body)
        if kind:
            self.assertConflict(answer, kind)
        self.assertLess(peak, 64 << 20)
        self.assertIsNone(self.stored(auid="resource-lists"))

    def test_entities(self) -> None:
        """Entities cannot be declared, so not expanded (XCAP-161, XCAP-162)."""
        nested = b"<!DOCTYPE a [<!ENTITY a 'aaaaaaaaaa'>"
        for one, two in zip("abcdefgh", "bcdefghi", strict=True):
            nested += f"<!ENTITY {two} '{f'&{one};' * 10}'>".encode()
        nested += b"]>" + self.WRAP % b"&i;"
        quadratic = b"<!DOCTYPE a [<!ENTITY a '" + b"a" * 50_000 + b"'>]>"
        quadratic += self.WRAP % (b"&a;" * 50_000)
        for body in (nested, quadratic):
            self.refused(body, 409, "constraint-failure")
            began = time.process_time()
            self.ask("PUT", LISTS, body)
            self.assertLess(time.process_time() - began, 1.0)

    def test_external(self) -> None:
        """Nothing is fetched from anywhere (XCAP-160)."""
        for declaration in (
            b'<!DOCTYPE a SYSTEM "file:///etc/passwd">',
            b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]>',
            b'<!DOCTYPE a [<!ENTITY % x SYSTEM "http://127.0.0.1:9/"> %x;]>',
        ):
            self.refused(declaration + self.WRAP % b"<list/>", 409, "constraint-failure")

    def test_depth(self) -> None:
        """A million levels are refused at the limit (XCAP-162)."""
        self.refused(b"<a>" * 300_000, 409, "constraint-failure")
        self.refused(b"<a>" * 1_000_000, 413)

    def test_size(self) -> None:
        """10 MB are too much (XCAP-162)."""
        self.refused(self.WRAP % (b" " * (10 << 20)), 413)

    def test_many(self) -> None:
        """So are too many elements, attributes, too long names and values (XCAP-162)."""
        attributes = "".join(f' a{number}="x"' for number in range(300))
        for inner in (
            b"<a/>" * 100_001,
            f"<a{attributes}/>".encode(),
            b"<%b/>" % (b"a" * 2000),
            b'<a b="%b"/>' % (b"c" * 70_000),
        ):
            self.refused(self.WRAP % inner, 409, "constraint-failure")

    def test_node_bodies(self) -> None:
        """In a node's body no declaration and no entity is possible (XCAP-161, XCAP-163)."""
        self.put(DOCUMENT, LISTS)
        target = LISTS + "/~~/resource-lists/list[1]/entry[3]"
        for body in (
            b'<!DOCTYPE a [<!ENTITY a "b">]><entry uri="&a;"/>',
            b'<entry uri="&a;"/>',
            b'<?xml version="1.0"?><entry uri="a"/>',
            b"</list><list>",
            b"<entry>" * 100_000,
        ):
            answer = self.ask("PUT", target, body)
            self.assertEqual(answer.status, 409)
        self.assertEqual(self.ask("GET", LISTS).body, DOCUMENT)

    def test_echo(self) -> None:
        """What a client sent does not come back in refusals (XCAP-165)."""
        evil = b"<script>alert(1)</script>"
        for body in (evil, self.WRAP % evil, self.WRAP % b'<list name="%b"/>' % b"&lt;script"):
            answer = self.ask("PUT", LISTS, body)
            self.assertNotIn(b"<script", answer.body)
            self.assertNotIn(b"alert", answer.body)
        answer = self.ask("GET", f"/resource-lists/users/{JOE}/<script>")
        self.assertNotIn(b"script", answer.body)
        answer = self.ask("PUT", LISTS + "/~~/no/%3Cscript%3E", b"<a/>")
        self.assertNotIn(b"<script", answer.body)

    def test_wrong_place(self) -> None:
        """A document of another usage is not valid here (XCAP-140)."""
        self.refused(services(), 409, "schema-validation-error")
