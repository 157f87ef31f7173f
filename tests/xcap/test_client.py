"""The XCAP client, with a document server behind it."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable
from typing import Any, TypeVar, cast

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.xcap.xdms import DOCUMENT, ELEMENT, JOE, NS, ROOT, TYPE, XdmsTestCase, entry
from xcap.agent import HttpAgent
from xcap.cache import DOCUMENTS, CachedDocument, DocumentCache
from xcap.client import Refused, UnsupportedNamespaces, XcapClient, uri_step
from xcap.contents import (
    Capabilities,
    attribute_body,
    attribute_value,
    check_fit,
    entity_tag,
    read_capabilities,
    read_conflict,
)
from xcap.errors import Conflict, Exists
from xcap.interfaces import IDocumentClient
from xcap.media import ATTRIBUTE_TYPE, USAGES, KnownUsage
from xcap.records import HttpResponse
from xcap.report import CONTENT_TYPE, report
from xcap.uri import parse_node, parse_target

Result = TypeVar("Result")

HOME = f"test/users/{JOE}"
INDEX = f"{HOME}/index"
FRIENDS = f"{INDEX}/~~/resource-lists/" + "list%5b@name=%22friends%22%5d"
BOB = f"{FRIENDS}/entry%5b@uri=%22sip:bob@example.com%22%5d"
CAPS = (
    b'<xcap-caps xmlns="urn:ietf:params:xml:ns:xcap-caps"><auids><auid>test</auid></auids>'
    b"<extensions><extension> x </extension></extensions>"
    b"<namespaces><namespace>urn:example:known</namespace></namespaces></xcap-caps>"
)


class Agent:
    """Hands requests to a document server, or answers them itself.

    :ivar asked: method, target and fields of each.
    :ivar answers: instead of the server's, by method and target.
    :ivar before: done before the next request of a method.
    """

    def __init__(self, case: XdmsTestCase) -> None:
        self._case = case
        self.asked: list[tuple[str, str, dict[str, str]]] = []
        self.answers: dict[tuple[str, str], HttpResponse] = {}
        self.before: dict[str, list[Callable[[], object]]] = {}

    async def request(
        self, method: str, uri: str, headers: Iterable[tuple[str, str]] = (), body: bytes = b""
    ) -> HttpResponse:
        """Send a request."""
        target = uri.removeprefix(ROOT.rstrip("/"))
        fields = dict(headers)
        self.asked.append((method, target, fields))
        for act in self.before.pop(method, []):
            act()
        if (method, target) in self.answers:
            return self.answers[(method, target)]
        media = fields.pop("content-type", None)
        return await self._case.exchange(self._case.head(method, target, media, fields), body)


class ClientTestCase(XdmsTestCase):
    """Base with a client of a server."""

    def setUp(self) -> None:
        """Start a server, and put a document there."""
        super().setUp()
        self.agent = Agent(self)
        usages = {**USAGES, "test": KnownUsage(TYPE, NS)}
        self.client = XcapClient(
            cast(HttpAgent, self.agent), ROOT, usages=usages, random=lambda n: b"\xab" * n
        )
        self.first = self.put()

    def get(self, work: Deferred[Result] | Coroutine[Any, Any, Result]) -> Result:
        """What comes out."""
        running = work if isinstance(work, Deferred) else Deferred.fromCoroutine(work)
        return self.finish(running)[0]

    def raises(self, kind: type[Exception], work: Deferred[Any] | Coroutine[Any, Any, Any]) -> Any:
        """The error that comes out."""
        running = work if isinstance(work, Deferred) else Deferred.fromCoroutine(work)
        for _ in range(100):
            self.clock.advance(0.001)
        return self.failureResultOf(running, kind).value

    def methods(self) -> list[str]:
        """The methods of all requests so far, forgotten then."""
        methods = [method for method, _, _ in self.agent.asked]
        self.agent.asked.clear()
        return methods


class RequestTests(ClientTestCase):
    """Single requests."""

    def test_interface(self) -> None:
        """It is what others expect of a client."""
        verifyObject(IDocumentClient, self.client)

    def test_get(self) -> None:
        """GET of a document and a node, relative and absolute; conditional GET."""
        for uri in (INDEX, "/" + INDEX, ROOT + INDEX):
            response = self.get(self.client.get(uri))
            self.assertEqual((response.status, response.body), (200, DOCUMENT))
        self.assertEqual(self.get(self.client.get(INDEX, self.first)).status, 304)
        self.assertEqual(self.get(self.client.get(INDEX, "other")).status, 200)
        body = self.get(self.client.get(f"{BOB}/@uri")).body
        self.assertEqual(attribute_value(body), "sip:bob@example.com")

    def test_put(self) -> None:
        """PUT with conditions."""
        other = DOCUMENT.replace(b"empty", b"full")
        self.assertEqual(self.get(self.client.put(INDEX, other, TYPE, match="")).status, 412)
        self.assertEqual(self.get(self.client.put(INDEX, other, TYPE, match="x")).status, 412)
        self.assertEqual(
            self.get(self.client.put(INDEX, other, TYPE, match=self.first)).status, 200
        )
        self.assertEqual(self.get(self.client.put(f"{HOME}/b", other, TYPE, match="")).status, 201)
        self.assertEqual(self.octets(), other)

    def test_delete(self) -> None:
        """DELETE with a condition."""
        self.assertEqual(self.get(self.client.delete(INDEX, match="x")).status, 412)
        self.assertEqual(self.get(self.client.delete(BOB, match=self.first)).status, 200)
        self.assertEqual(self.get(self.client.delete(INDEX)).status, 200)
        self.assertIsNone(self.stored())

    def test_identity(self) -> None:
        """The identity to act for goes along."""
        client = XcapClient(cast(HttpAgent, self.agent), ROOT[:-1], JOE)
        self.get(client.get(INDEX))
        self.assertEqual(self.agent.asked[-1][2]["x-3gpp-intended-identity"], f'"{JOE}"')

    def test_below_the_root(self) -> None:
        """Documents of other roots are none of ours."""
        work = self.client.put("https://other.example.com/a/global/b", b"<a/>", TYPE)
        self.raises(ValueError, work)
        self.raises(ValueError, self.client.delete("no/document"))
        self.raises(ValueError, self.client.put(f"{INDEX}/~~/q:a", b"<a/>", ELEMENT))

    def test_fit(self) -> None:
        """XCLI-04: what would not be found again is not sent."""
        self.methods()
        for uri, body in (
            (BOB, entry("sip:other@example.com")),
            (BOB, b'<list name="x"/>'),
            (f"{FRIENDS}/@name", b'"a" b="c"'),
            (f"{FRIENDS}/namespace::*", b"x"),
        ):
            self.raises(ValueError, self.client.put(uri, body, ELEMENT))
        self.assertEqual(self.methods(), [])
        for uri, body in (
            (BOB, entry("sip:bob@example.com")),
            (f"{FRIENDS}/*%5b2%5d", b'<entry uri="sip:x@example.com"/>'),
        ):
            self.assertEqual(self.get(self.client.put(uri, body, ELEMENT)).status, 200)

    def test_unknown_prefixes(self) -> None:
        """XCLI-04: prefixes of the document cannot be checked here."""
        selector = parse_node("a/b%5b@c=%22d%22%5d", "", "")
        check_fit(selector, b"<x:b/>")

    def test_media_types(self) -> None:
        """Media types follow from URIs."""
        for uri, media in (
            (INDEX, TYPE),
            (BOB, ELEMENT),
            (f"{BOB}/@uri", ATTRIBUTE_TYPE),
            ("resource-lists/global/index", "application/resource-lists+xml"),
            ("unknown/global/index", "application/xml"),
        ):
            self.assertEqual(self.client.media_type(uri), media)

    def test_document_of(self) -> None:
        """The document of a node."""
        for uri in (INDEX, BOB, f"{BOB}/@q:a?xmlns(q=urn:q)"):
            self.assertEqual(self.client.document_of(uri), ROOT + INDEX)


class CacheTests(ClientTestCase):
    """XCLI-03: documents and their entity-tags are kept."""

    def cached(self) -> CachedDocument:
        """The document as known; asked for with its tag."""
        self.methods()
        document = self.get(self.client.fetch(INDEX))
        assert document is not None
        self.assertIn("if-none-match", self.agent.asked[-1][2], "not cached")
        self.assertEqual(document.octets, self.octets())
        return document

    def test_fetch(self) -> None:
        """XCLI-03: a known document is asked for with its tag."""
        document = self.get(self.client.fetch(INDEX))
        assert document is not None
        self.assertEqual(document, CachedDocument(DOCUMENT, self.first, TYPE))
        self.assertEqual(self.cached(), document)
        self.put(DOCUMENT + b" ")
        self.assertNotEqual(self.cached(), document)

    def test_absent(self) -> None:
        """A document that is gone is forgotten; other refusals are errors."""
        self.get(self.client.fetch(INDEX))
        self.ask("DELETE", "/" + INDEX)
        self.assertIsNone(self.get(self.client.fetch(INDEX)))
        self.get(self.client.fetch(INDEX))
        self.assertNotIn("if-none-match", self.agent.asked[-1][2])
        self.agent.answers[("GET", "/" + INDEX)] = HttpResponse(500)
        self.assertEqual(self.raises(Refused, self.client.fetch(INDEX)).response.status, 500)

    def test_put(self) -> None:
        """XCLI-03: after PUT of a document no GET is needed to know it."""
        other = DOCUMENT.replace(b"empty", b"full")
        response = self.get(self.client.put(INDEX, other, TYPE))
        self.assertEqual(self.cached().etag, entity_tag(response))

    def test_nodes(self) -> None:
        """XCLI-03: changes of nodes are made in the known document."""
        self.get(self.client.fetch(INDEX))
        new = f"{FRIENDS}/entry%5b@uri=%22sip:new@example.com%22%5d"
        response = self.get(
            self.client.put(new, entry("sip:new@example.com"), ELEMENT, match=self.first)
        )
        self.assertEqual(self.cached().etag, entity_tag(response))
        tag = entity_tag(response)
        name = f"{INDEX}/~~/resource-lists/list%5b2%5d/@name"
        response = self.get(self.client.put(name, b'"full"', ATTRIBUTE_TYPE, match=tag))
        self.assertEqual(self.cached().etag, entity_tag(response))
        response = self.get(self.client.delete(BOB, match=entity_tag(response)))
        self.assertEqual(self.cached().etag, entity_tag(response))

    def test_unknown_base(self) -> None:
        """Without knowing what was changed nothing is known of the result."""
        for match in (None, self.first):
            self.get(self.client.fetch(INDEX))
            self.put(DOCUMENT + b" ")
            work = self.client.put(BOB, entry("sip:bob@example.com"), ELEMENT, match=match)
            self.get(work)
            self.get(self.client.fetch(INDEX))
            self.assertNotIn("if-none-match", self.agent.asked[-1][2])

    def test_limit(self) -> None:
        """Documents unused for longest are forgotten."""
        cache = DocumentCache()
        for number in range(DOCUMENTS):
            cache.put(str(number), CachedDocument(b"", "t"))
        cache.get("0")
        cache.put("new", CachedDocument(b"", "t"))
        cache.put("tagless", CachedDocument(b"", ""))
        self.assertIsNotNone(cache.get("0"))
        self.assertIsNone(cache.get("1"))
        self.assertIsNotNone(cache.get("new"))
        self.assertIsNone(cache.get("tagless"))

    def test_strange_nodes(self) -> None:
        """What the cache cannot do itself it forgets."""
        cache = DocumentCache()
        selector = parse_node("a/b/c", "", "")
        for octets in (b"<a/>", b"no XML"):
            cache.put("x", CachedDocument(octets, "1"))
            cache.put_node("x", "1", "2", selector, b"<c/>")
            self.assertIsNone(cache.get("x"))
            cache.put("x", CachedDocument(octets, "1"))
            cache.delete_node("x", "1", "2", selector)
            self.assertIsNone(cache.get("x"))


class ChangeTests(ClientTestCase):
    """XCLI-03: changes of documents that others change, too."""

    def rename(self, octets: bytes) -> bytes:
        """An edit."""
        return octets.replace(b"empty", b"full")

    def interfere(self, times: int) -> None:
        """Somebody else changes the document before each of our next PUTs."""
        if times:
            self.put(self.octets() + b" ")
            self.agent.before["PUT"] = [lambda: self.interfere(times - 1)]

    def test_change(self) -> None:
        """XCLI-03: read, edit, write with the tag."""
        document = self.get(self.client.change(INDEX, self.rename))
        self.assertEqual(document.octets, self.octets())
        self.assertIn(b"full", self.octets())
        self.assertEqual(self.agent.asked[-1][2]["if-match"], f'"{self.first}"')

    def test_nothing_to_do(self) -> None:
        """What is as it should be is not written."""
        self.get(self.client.change(INDEX, lambda octets: octets))
        self.assertEqual(self.methods(), ["GET"])

    def test_create(self) -> None:
        """A document that does not exist is made unless somebody else does."""
        document = self.get(self.client.change(f"{HOME}/new", lambda octets: octets or DOCUMENT))
        self.assertEqual(document.octets, DOCUMENT)
        self.assertEqual(self.agent.asked[-1][2]["if-none-match"], "*")
        self.assertEqual(self.agent.asked[-1][2].get("content-type", TYPE), TYPE)

    def test_retry(self) -> None:
        """XCLI-03: after somebody else's change ours is made on theirs; three times."""
        for times in (1, 2, 3):
            self.put()
            self.interfere(0)
            self.agent.before["PUT"] = [lambda times=times: self.interfere(times)]
            self.methods()
            self.get(self.client.change(INDEX, self.rename))
            self.assertEqual(self.methods().count("PUT"), times + 1)
            self.assertTrue(self.octets().endswith(b"\n" + b" " * times))
            self.assertIn(b"full", self.octets())

    def test_give_up(self) -> None:
        """XCLI-03: not for ever."""
        self.agent.before["PUT"] = [lambda: self.interfere(10)]
        error = self.raises(Refused, self.client.change(INDEX, self.rename))
        self.assertEqual(error.response.status, 412)
        self.assertEqual(self.methods().count("PUT"), 4)

    def test_lost_answer(self) -> None:
        """A 412 that our own change has caused, whose answer was lost, is a success."""
        self.agent.before["PUT"] = [lambda: self.put(self.rename(DOCUMENT))]
        document = self.get(self.client.change(INDEX, self.rename))
        self.assertEqual(document.octets, self.rename(DOCUMENT))
        self.assertEqual(self.methods(), ["GET", "PUT", "GET"])

    def test_refused(self) -> None:
        """XCLI-05: what is refused is not sent again; the report is read."""
        error = self.raises(Refused, self.client.change(INDEX, lambda _: b"<a/>"))
        assert error.conflict is not None
        self.assertEqual(error.conflict.kind, "schema-validation-error")
        self.assertEqual(self.methods().count("PUT"), 1)
        self.assertEqual(self.octets(), DOCUMENT)

    def test_failing_edit(self) -> None:
        """What an edit raises comes out."""

        def edit(octets: bytes) -> bytes:
            raise KeyError

        self.raises(KeyError, self.client.change(INDEX, edit))


class UniqueTests(ClientTestCase):
    """XCLI-05: values that must be unique."""

    def make(self, value: str) -> tuple[str, bytes]:
        """A document that claims a value."""
        body = f'<resource-lists xmlns="{NS}"><list>{entry(value).decode()}</list></resource-lists>'
        return f"{HOME}/mine", body.encode()

    def test_free(self) -> None:
        """A free value is taken."""
        self.assertEqual(self.get(self.client.put_unique(self.make, "im:free", TYPE)), "im:free")

    def test_alternatives(self) -> None:
        """XCLI-05: the values that the server offers come next."""
        self.put(self.make("im:x")[1], f"/{HOME}/other")
        self.methods()
        self.assertEqual(self.get(self.client.put_unique(self.make, "im:x", TYPE)), "im:x0")
        self.assertEqual(self.methods(), ["PUT", "PUT"])

    def test_invented(self) -> None:
        """XCLI-05: without offers random values that grow; nothing is sent twice."""
        target = parse_target(f"/{HOME}/mine")
        conflict = Conflict("uniqueness-failure", "Taken", exists=(Exists("a/@b"),))
        refusal = HttpResponse(
            409, (("Content-Type", CONTENT_TYPE),), report(conflict, ROOT, target)
        )
        self.agent.answers[("PUT", f"/{HOME}/mine")] = refusal
        tried: list[str] = []

        def make(value: str) -> tuple[str, bytes]:
            tried.append(value)
            return self.make(value)

        self.raises(Refused, self.client.put_unique(make, "sip:x@example.com", TYPE))
        self.assertEqual(
            tried[:3], ["sip:x@example.com", "sip:x-ab@example.com", "sip:x-abab@example.com"]
        )
        self.assertEqual(len(tried), len(set(tried)))
        self.assertEqual(len(tried), 8)

    def test_other_refusal(self) -> None:
        """XCLI-05, XCLI-06: another refusal, or one not understood, is not answered by guessing."""
        extension = (
            b'<xcap-error xmlns="urn:ietf:params:xml:ns:xcap-error"><extension/></xcap-error>'
        )
        for answer in (
            HttpResponse(403),
            HttpResponse(409, (), b"what"),
            HttpResponse(409, (("Content-Type", CONTENT_TYPE),), extension),
        ):
            self.agent.answers[("PUT", f"/{HOME}/mine")] = answer
            self.methods()
            error = self.raises(Refused, self.client.put_unique(self.make, "im:y", TYPE))
            self.assertIsNone(error.conflict)
            self.assertEqual(self.methods(), ["PUT"])


class CapabilityTests(ClientTestCase):
    """XCLI-10: what the server can do."""

    caps = ("GET", "/xcap-caps/global/index")
    vendor = (
        b'<resource-lists xmlns="%s"><list name="a"><v:x xmlns:v="urn:example:%s"/></list>'
        b"</resource-lists>"
    )

    def test_once(self) -> None:
        """XCLI-10: capabilities are asked for once."""
        self.agent.answers[self.caps] = HttpResponse(200, (), CAPS)
        expected = Capabilities(
            frozenset({"test"}), frozenset({"x"}), frozenset({"urn:example:known"})
        )
        self.methods()
        for _ in range(3):
            self.assertEqual(self.get(self.client.capabilities()), expected)
        self.assertEqual(self.methods(), ["GET"])

    def test_vendor_namespaces(self) -> None:
        """XCLI-10: before a namespace of a vendor is used they are looked at."""
        self.agent.answers[self.caps] = HttpResponse(200, (), CAPS)
        known = self.vendor % (NS.encode(), b"known")
        other = self.vendor % (NS.encode(), b"other")
        self.methods()
        self.assertEqual(self.get(self.client.put(INDEX, known, TYPE)).status, 200)
        self.assertEqual(self.methods(), ["GET", "PUT"])
        error = self.raises(UnsupportedNamespaces, self.client.put(INDEX, other, TYPE))
        self.assertEqual(error.names, {"urn:example:other"})
        self.assertEqual(self.methods(), [])
        self.get(self.client.put(INDEX, other, TYPE, checked=False))
        self.assertEqual(self.methods(), ["PUT"])

    def test_not_needed(self) -> None:
        """XCLI-10: namespaces of the IETF need no look."""
        self.methods()
        self.get(self.client.put(INDEX, DOCUMENT, TYPE))
        self.assertEqual(self.methods(), ["PUT"])

    def test_silent_server(self) -> None:
        """A server that does not tell may know everything."""
        self.agent.answers[self.caps] = HttpResponse(404)
        other = self.vendor % (NS.encode(), b"other")
        self.assertEqual(self.get(self.client.put(INDEX, other, TYPE)).status, 200)
        self.assertIsNone(read_capabilities(b"<a>"))


class ContentTests(SynchronousTestCase):
    """Bodies and header fields."""

    def test_attribute_values(self) -> None:
        """XCLI-08: bodies of attributes with and without quotes."""
        for body, value in (
            (b'"a"', "a"),
            (b"'a'", "a"),
            (b"a", "a"),
            (b"", ""),
            (b'""', ""),
            (b' "a b"\n', "a b"),
            (b'"&lt;&amp;&#10;"', "<&\n"),
            (b'say "no"', 'say "no"'),
            (b"it's", "it's"),
            ("é".encode(), "é"),
        ):
            self.assertEqual(attribute_value(body), value)
        for body in (b'"<"', b'"a" b="c"', b'"&e;"', b"\xff", b'"/><b a="', b"'\""):
            self.assertRaises(ValueError, attribute_value, body)

    @given(st.text(st.characters(exclude_categories=("Cs", "Cc", "Cn"))))
    def test_attribute_bodies(self, value: str) -> None:
        """XCLI-08: what is written as an attribute reads the same."""
        self.assertEqual(attribute_value(attribute_body(value)), value)

    def test_entity_tags(self) -> None:
        """Only strong entity-tags count."""
        for field, tag in (
            ('"a"', "a"),
            (' "a b" ', "a b"),
            ('W/"a"', ""),
            ("a", ""),
            ('""', ""),
            ('"', ""),
            ("", ""),
        ):
            self.assertEqual(entity_tag(HttpResponse(200, (("etag", field),))), tag)
        self.assertEqual(entity_tag(HttpResponse(200)), "")

    def test_steps(self) -> None:
        """XCLI-02, XCLI-07: SIP URIs in selectors are canonical and escaped."""
        self.assertEqual(
            uri_step("entry", "SIP:Bob@EXAMPLE.com"),
            "entry%5b@uri=%22sip:Bob@example.com%22%5d",
        )
        self.assertIn("%2F", uri_step("rl:entry", "sip:a/b@example.com"))
        self.assertRaises(ValueError, uri_step, "entry", "")

    def test_conflicts(self) -> None:
        """XCLI-06: only a 409 has a report."""
        octets = report(Conflict("cannot-insert", "No"), ROOT, parse_target(f"/{INDEX}"))
        conflict = read_conflict(HttpResponse(409, (), octets))
        assert conflict is not None
        self.assertEqual(conflict.kind, "cannot-insert")
        self.assertIsNone(read_conflict(HttpResponse(404, (), octets)))
