"""The xcap-diff package on a real notifier, over a network in memory."""

from __future__ import annotations

import gzip
import itertools
from typing import Any

from lxml import etree
from twisted.internet.defer import fail
from twisted.trial.unittest import SynchronousTestCase

from tests.xcap.notifying import (
    ANN,
    INDEX,
    JOE,
    NAMESPACE,
    OTHER_ROOT,
    PSI,
    RLS,
    ROOT,
    DocumentNode,
    busy,
    lists,
    subscriber,
)
from xcap import feed as feed_module
from xcap.changedoc import AttributeState, DocumentChange, ElementState
from xcap.errors import StoreUnavailable
from xcap.patch import apply

A, B = f"tests/users/{JOE}/a", f"tests/users/{JOE}/b"
GREAT = b"<a>" + b"<b>c</b>" * 200 + b"</a>"


class DocumentTestCase(SynchronousTestCase):
    """A document server and a subscriber.

    :cvar interval: least seconds between two NOTIFYs.
    """

    interval = 0.0

    def setUp(self) -> None:
        """Start them."""
        self.node = DocumentNode(interval=self.interval)
        self.peer = subscriber(self.node)

    def subscribe(self, *uris: str, status: int = 200, **fields: Any) -> Any:
        """SUBSCRIBE, wait for the NOTIFY and give the response."""
        response = self.peer.uris(*uris, **fields)
        self.assertEqual(response.status, status)
        self.node.advance(0.5)
        return response

    def last(self) -> list[Any]:
        """The items of the last NOTIFY."""
        return self.peer.told()[-1]

    def tags(self) -> list[tuple[str, str, str]]:
        """Those of documents, as tags."""
        return self.peer.tags()[-1]

    def count(self) -> int:
        """How many NOTIFYs there were."""
        return len(self.peer.notifies())


class InitialTests(DocumentTestCase):
    """The first NOTIFY."""

    def test_existing(self) -> None:
        """Documents that exist and may be read, with their tag and no former one (XEVT-07).

        The others come when they appear; entity-tags have no quotes (XDIFF-03, XDIFF-04).
        """
        tag = self.node.put(A, b"<a/>")
        self.node.put(f"tests/users/{ANN}/a", b"<a/>")
        self.subscribe(A, B, f"tests/users/{ANN}/a")
        self.assertEqual(self.peer.tags(), [[(A, "", tag)]])
        self.assertNotIn(b'"&quot;', self.peer.notifies()[0].body)
        new = self.node.put(B, b"<b/>")
        self.assertEqual(self.peer.tags()[1:], [[(B, "", new)]])

    def test_empty(self) -> None:
        """With nothing to tell it is an empty root element (XEVT-07)."""
        self.subscribe(A)
        (report,) = self.peer.reports()
        self.assertEqual((report.root, report.items), (ROOT, ()))

    def test_headers(self) -> None:
        """Event name, default lifetime and content type (XEVT-01, XEVT-06)."""
        response = self.subscribe(A)
        self.assertEqual(response.expires, 3600)
        (notify,) = self.peer.notifies()
        self.assertEqual(notify.headers["event"], ["xcap-diff"])
        self.assertEqual(notify.headers["content-type"], ["application/xcap-diff+xml"])
        self.assertTrue(notify.headers["subscription-state"][0].startswith("active"))

    def test_accept(self) -> None:
        """Without Accept the format is meant; with another one it is 406 (XEVT-05)."""
        self.subscribe(A, accept=None)
        self.subscribe(A, accept="application/*;q=0.5")
        self.subscribe(A, accept="application/pidf+xml", status=406)
        self.subscribe(A, accept="", status=406)

    def test_spelling(self) -> None:
        """A URI is repeated octet for octet, an absolute one without its root (XEVT-08)."""
        tag = self.node.put(A, b"<a/>")
        other = self.node.put(B, b"<b/>")
        spelled = "tests/users/sip%3Ajoe@example.com/%61"
        self.subscribe(f"{ROOT}{spelled}", f"/{B}")
        self.assertEqual(self.tags(), [(spelled, "", tag), (B, "", other)])
        new = self.node.put(A, b"<b/>")
        self.assertEqual(self.tags(), [(spelled, tag, new)])

    def test_collection(self) -> None:
        """A collection has all documents below it, later ones too, recursively (XEVT-02)."""
        one = self.node.put(A, b"<a/>")
        two = self.node.put(f"tests/users/{JOE}/x y/deep", b"<a/>")
        self.subscribe(f"tests/users/{JOE}/")
        deep = f"tests/users/{JOE}/x%20y/deep"
        self.assertEqual(self.tags(), [(A, "", one), (deep, "", two)])
        new = self.node.put(B, b"<b/>")
        self.assertEqual(self.tags(), [(B, "", new)])
        self.node.delete(A)
        self.assertEqual(self.tags(), [(A, one, "")])
        self.node.put(INDEX, lists())
        self.assertEqual(self.count(), 3)

    def test_home(self) -> None:
        """Without a list all documents of the subscriber, at all usages (XEVT-03)."""
        tags = [self.node.put(INDEX, lists()), self.node.put(A, b"<a/>")]
        self.node.put(f"tests/users/{ANN}/a", b"<a/>")
        self.node.put("tests/global/a", b"<a/>")
        self.subscribe()
        self.assertEqual(self.tags(), [(INDEX, "", tags[0]), (A, "", tags[1])])
        self.node.put(f"tests/users/{ANN}/b", b"<a/>")
        self.assertEqual(self.count(), 1)

    def test_overlap(self) -> None:
        """What is selected twice is told once (XEVT-09)."""
        tag = self.node.put(A, b'<a b="c"/>')
        part = f"{A}/~~/a/@b"
        self.subscribe(f"tests/users/{JOE}/", A, "tests/", part, f"{A}/~~/%61/@b")
        self.assertEqual(self.last(), [DocumentChange(A, "", tag), AttributeState(part, True, "c")])
        new = self.node.put(A, b"<a/>")
        self.assertEqual(self.last(), [DocumentChange(A, tag, new), AttributeState(part, False)])

    def test_wide(self) -> None:
        """Of all users' documents one's own are told; who may read all is told all (XEVT-17)."""
        own = self.node.put(A, b"<a/>")
        other = self.node.put(f"tests/users/{ANN}/a", b"<a/>")
        everybody = self.node.put("tests/global/a", b"<a/>")
        self.subscribe("tests/")
        rls = subscriber(self.node, "192.0.2.11")
        rls.uris("tests/", sender=RLS)
        self.node.advance(0.5)
        public = ("tests/global/a", "", everybody)
        self.assertEqual(sorted(self.tags()), sorted([public, (A, "", own)]))
        self.assertEqual(
            sorted(rls.tags()[0]),
            sorted([public, (A, "", own), (f"tests/users/{ANN}/a", "", other)]),
        )
        self.node.put(f"tests/users/{ANN}/a", b"<b/>")
        self.assertEqual((self.count(), len(rls.notifies())), (1, 2))

    def test_too_wide(self) -> None:
        """A subscription to more documents than can be told is ended; a fetch is answered."""
        self.patch(feed_module, "DOCUMENTS", 1)
        self.node.put(A, b"<a/>")
        self.node.put(B, b"<b/>")
        self.subscribe("tests/")
        (notify,) = self.peer.notifies()
        self.assertIn("terminated;reason=rejected", notify.headers["subscription-state"][0])
        self.assertEqual((len(self.node.feed), len(self.node.notifier)), (0, 0))
        self.subscribe("tests/", expires=0)
        self.assertEqual(len(self.tags()), 2)

    def test_fetch(self) -> None:
        """Expires 0 tells the state once, and keeps nothing (SUB-09)."""
        tag = self.node.put(A, b"<a/>")
        self.subscribe(A, f"{A}/~~/a", expires=0)
        self.assertEqual(
            self.last(), [DocumentChange(A, "", tag), ElementState(f"{A}/~~/a", True, b"<a/>")]
        )
        (notify,) = self.peer.notifies()
        self.assertIn("terminated;reason=timeout", notify.headers["subscription-state"][0])
        self.node.put(A, b"<b/>")
        self.assertEqual(self.count(), 1)
        self.assertEqual(len(self.node.feed), 0)

    def test_roots(self) -> None:
        """A subscription is about one root; that of its first URI (XCAP-04)."""
        tag = self.node.put(A, b"<a/>", OTHER_ROOT)
        self.subscribe(f"https://nowhere.example/{A}", f"{OTHER_ROOT}{A}", f"{ROOT}{B}", B)
        (report,) = self.peer.reports()
        self.assertEqual((report.root, self.tags()), (OTHER_ROOT, [(A, "", tag)]))
        self.node.put(A, b"<a/>")
        self.node.put(B, b"<a/>")
        self.assertEqual(self.count(), 1)
        self.node.put(B, b"<a/>", OTHER_ROOT)
        self.assertEqual(self.count(), 1)
        self.node.put(A, b"<b/>", OTHER_ROOT)
        self.assertEqual(self.count(), 2)

    def test_request_uri(self) -> None:
        """The server itself, by its configured or numeric address, or a user (XEVT-20)."""
        tag = self.node.put(A, b"<a/>")
        for uri in (PSI, "sip:example.com", "sip:192.0.2.1", JOE, ANN):
            self.subscribe(A, to=uri)
            self.assertEqual(self.tags(), [(A, "", tag)])
        self.subscribe(A, to="sip:joe@elsewhere.example", status=404)
        self.subscribe(A, to="sip:unknown@example.com", status=403)
        self.subscribe(A, to="http:a", status=416)

    def test_nobody(self) -> None:
        """Without an identity there is no subscription (RFC 5875 section 7)."""
        self.subscribe(A, sender="sip:anonymous@anonymous.invalid", status=403)

    def test_bad_lists(self) -> None:
        """A list that is none is refused, a body of another type as well (XEVT-02)."""
        self.subscribe(A, body=b"<list", status=400)
        self.subscribe(A, body=b"<a/>", status=400)
        self.subscribe(A, content_type="text/plain", status=415)
        self.assertEqual((len(self.node.feed), len(self.node.notifier)), (0, 0))

    def test_compressed(self) -> None:
        """A list may be compressed (MSG-26)."""
        tag = self.node.put(A, b"<a/>")
        body = (
            f'<resource-lists xmlns="{NAMESPACE}"><list><entry uri="{A}"/></list></resource-lists>'
        )
        self.subscribe(A, body=gzip.compress(body.encode()), content_encoding="gzip")
        self.assertEqual(self.tags(), [(A, "", tag)])


class RefreshTests(DocumentTestCase):
    """SUBSCRIBE in the dialog."""

    def test_full(self) -> None:
        """A refresh is answered with the whole state, without a list for the same (XEVT-07)."""
        tag = self.node.put(A, b"<a/>")
        response = self.subscribe(A, B)
        self.peer.again(response)
        self.node.advance(0.5)
        self.assertEqual(self.peer.tags(), [[(A, "", tag)]] * 2)

    def test_new_list(self) -> None:
        """Another list takes the place of the former one (XEVT-10)."""
        one, two = self.node.put(A, b"<a/>"), self.node.put(B, b"<b/>")
        response = self.subscribe(A)
        self.peer.again(response, B)
        self.node.advance(0.5)
        self.assertEqual(self.tags(), [(B, "", two)])
        self.node.put(A, b"<x/>")
        self.assertEqual(self.count(), 2)
        new = self.node.put(B, b"<x/>")
        self.assertEqual(self.tags(), [(B, two, new)])
        self.assertNotEqual(one, two)
        self.assertEqual(len(self.node.feed._by_key), 1)

    def test_refused(self) -> None:
        """A list that is refused changes nothing (XEVT-10)."""
        tag = self.node.put(A, b"<a/>")
        response = self.subscribe(A)
        refused = self.peer.again(response, B, body=b"<list")
        self.assertEqual(refused.status, 400)
        new = self.node.put(A, b"<x/>")
        self.assertEqual(self.tags(), [(A, tag, new)])

    def test_not_stored(self) -> None:
        """A list that could not be stored changes nothing (XEVT-10, SUB-11)."""
        tag = self.node.put(A, b"<a/>")
        response = self.subscribe(A)
        self.node.store.fail_next()
        self.assertEqual(self.peer.again(response, B).status, 500)
        self.node.advance(5)
        new = self.node.put(A, b"<x/>")
        self.assertEqual(self.tags(), [(A, tag, new)])
        self.node.put(B, b"<b/>")
        self.assertEqual(self.count(), 2)

    def test_mode(self) -> None:
        """Another mode counts from the NOTIFY after the one that answers it (XEVT-11)."""
        self.node.put(A, GREAT)
        response = self.subscribe(A)
        self.node.put(A, GREAT.replace(b"c", b"d", 1))
        self.assertIsNone(self.last()[0].patch)
        self.peer.again(response, event="xcap-diff;diff-processing=aggregate")
        self.node.advance(0.5)
        self.assertEqual([(i.before, i.patch) for i in self.last()], [("", None)])
        self.node.put(A, GREAT)
        self.assertIsNotNone(self.last()[0].patch)
        self.peer.again(response)  # absent is no-patching (XEVT-01)
        self.node.advance(0.5)
        self.node.put(A, b"<x/>")
        self.assertIsNone(self.last()[0].patch)

    def test_unsubscribe(self) -> None:
        """After the end nothing is kept."""
        response = self.subscribe(A, f"{B}/~~/b", f"tests/users/{JOE}/")
        self.assertEqual(len(self.node.feed), 1)
        self.peer.again(response, expires=0)
        self.node.advance(0.5)
        self.assertIn("terminated", self.peer.notifies()[-1].headers["subscription-state"][0])
        self.assertEqual(len(self.node.feed), 0)
        self.assertEqual((self.node.feed._by_key, self.node.feed._by_prefix), ({}, {}))

    def test_expiry(self) -> None:
        """Nor after the lifetime is over."""
        self.subscribe(A, expires=60)
        self.node.advance(61)
        self.assertEqual(len(self.node.feed), 0)


class ModeTests(DocumentTestCase):
    """Values of diff-processing."""

    interval = 5.0

    def changed(self, mode: str, *versions: bytes) -> list[Any]:
        """Change a document several times within an interval; the items that tell of it."""
        first = self.node.put(A, versions[0])
        event = f"xcap-diff;diff-processing={mode}" if mode else "xcap-diff"
        self.subscribe(A, event=event)
        self.assertEqual(self.tags(), [(A, "", first)])
        self.etags = [first]
        for version in versions[1:]:
            self.etags.append(self.node.put(A, version))
        self.node.advance(6)
        self.assertEqual(self.count(), 2)
        return self.last()

    def follow(self, old: bytes, items: list[Any]) -> bytes:
        """Apply all patches of some items."""
        for item in items:
            operations = etree.fromstring(b"<p>%s</p>" % item.patch)
            old = apply(old, operations)
        return old

    VERSIONS = (GREAT, GREAT.replace(b"c", b"d", 1), GREAT.replace(b"c", b"e", 2))

    def test_no_patching(self) -> None:
        """Tags only, from the last one told to that of now (XEVT-11, XDIFF-05)."""
        for mode in ("no-patching", "", "something-else"):
            items = self.changed(mode, *self.VERSIONS)
            self.assertEqual(items, [DocumentChange(A, self.etags[0], self.etags[2])], mode)
            self.setUp()

    def test_xcap_patching(self) -> None:
        """Every change with its own patch, in order (XEVT-11, XDIFF-03, XDIFF-05)."""
        items = self.changed("xcap-patching", *self.VERSIONS)
        self.assertEqual(
            [(item.before, item.after) for item in items],
            [tuple(self.etags[:2]), tuple(self.etags[1:])],
        )
        self.assertEqual(self.follow(GREAT, items), self.VERSIONS[2])
        self.assertEqual(self.follow(GREAT, items[:1]), self.VERSIONS[1])

    def test_aggregate(self) -> None:
        """Several changes in one patch (XEVT-11)."""
        items = self.changed("aggregate", *self.VERSIONS)
        self.assertEqual(
            [(item.before, item.after) for item in items], [(self.etags[0], self.etags[2])]
        )
        self.assertEqual(self.follow(GREAT, items), self.VERSIONS[2])

    def test_unchanged(self) -> None:
        """A change of the tag alone is told as one (XDIFF-03)."""
        for mode in ("xcap-patching", "aggregate"):
            (item,) = self.changed(mode, b"<a b='c'/>", b'<a b="c"></a>')
            self.assertTrue(item.body_not_changed)
            self.setUp()

    def test_history(self) -> None:
        """Removal and creation in between are told when every change is (XEVT-11, XDIFF-03)."""
        first = self.node.put(A, GREAT)
        self.subscribe(A, event="xcap-diff;diff-processing=xcap-patching")
        self.node.delete(A)
        second = self.node.put(A, GREAT)
        third = self.node.put(A, self.VERSIONS[1])
        self.node.advance(6)
        self.assertEqual(self.tags(), [(A, first, ""), (A, "", second), (A, second, third)])
        self.assertEqual([item.patch is None for item in self.last()], [True, True, False])

    def test_passing(self) -> None:
        """What was created and removed in between is told only when every change is (XEVT-11)."""
        self.subscribe(A, B)
        every = subscriber(self.node, "192.0.2.11")
        every.uris(A, B, event="xcap-diff;diff-processing=xcap-patching")
        self.node.advance(0.5)
        passing = self.node.put(A, b"<a/>")
        self.node.delete(A)
        self.node.advance(6)
        self.assertEqual(self.count(), 1)
        self.assertEqual(every.tags()[1:], [[(A, "", passing), (A, passing, "")]])

    def test_chronological(self) -> None:
        """The changes of several documents come in their order (XEVT-11)."""
        one, two = self.node.put(A, b"<a/>"), self.node.put(B, b"<a/>")
        self.subscribe(A, B, event="xcap-diff;diff-processing=xcap-patching")
        three = self.node.put(B, b"<b/>")
        four = self.node.put(A, b"<b/>")
        five = self.node.put(B, b"<c/>")
        self.node.advance(6)
        self.assertEqual(self.tags(), [(B, two, three), (A, one, four), (B, three, five)])

    def test_fall_back(self) -> None:
        """A change without patch is followed by ones with patches (XEVT-12)."""
        first = self.node.put(A, GREAT)
        self.subscribe(A, event="xcap-diff;diff-processing=xcap-patching")
        second = self.node.put(A, b"<?p q?>" + GREAT)  # the prolog has changed
        self.node.advance(6)
        self.assertEqual(self.last(), [DocumentChange(A, first, second)])
        third = self.node.put(A, b"<?p q?>" + self.VERSIONS[1])
        self.node.advance(6)
        self.assertEqual(self.tags(), [(A, second, third)])
        self.assertIsNotNone(self.last()[0].patch)

    def test_many(self) -> None:
        """More changes than are kept are told by tags; then patches go on (XEVT-12)."""
        first = self.node.put(A, GREAT)
        self.subscribe(A, event="xcap-diff;diff-processing=xcap-patching")
        self.node.advance(6)
        (subscription,) = self.node.notifier.subscriptions("xcap-diff", PSI)
        subscription.data.view._size = 3 * len(GREAT)
        self.node.put(A, self.VERSIONS[1], seconds=0.0)
        self.node.advance(0.05)
        self.assertEqual(self.count(), 2)  # the gate is closed from now on
        known = self.tags()[-1][-1]
        for version in self.VERSIONS:
            last = self.node.put(A, version)
        self.node.advance(6)
        self.assertEqual(self.last(), [DocumentChange(A, known, last)])
        new = self.node.put(A, GREAT)
        self.node.advance(6)
        self.assertEqual(self.tags(), [(A, last, new)])
        self.assertIsNotNone(self.last()[0].patch)
        self.assertNotEqual(first, known)

    def test_great(self) -> None:
        """Documents too great to compare are told by tags (XPATCH-12)."""
        self.patch(feed_module, "_PATCHABLE", 100)
        items = self.changed("aggregate", *self.VERSIONS)
        self.assertEqual(items, [DocumentChange(A, self.etags[0], self.etags[2])])

    def test_simpler(self) -> None:
        """The operator may have less offered than is asked for (XEVT-11)."""
        self.node = DocumentNode(interval=5.0, modes=frozenset({"no-patching"}))
        self.peer = subscriber(self.node)
        items = self.changed("xcap-patching", *self.VERSIONS)
        self.assertEqual(items, [DocumentChange(A, self.etags[0], self.etags[2])])

    def test_rate(self) -> None:
        """Changes within an interval become one NOTIFY; refreshes do not wait (XEVT-15)."""
        response = self.subscribe(A, B)
        one = self.node.put(A, b"<a/>")
        self.peer.again(response)
        self.node.advance(0.5)
        self.assertEqual(self.peer.tags(), [[], [(A, "", one)]])
        two, three = self.node.put(A, b"<b/>"), self.node.put(B, b"<b/>")
        self.node.advance(3)
        self.assertEqual(self.count(), 2)
        self.node.advance(3)
        self.assertEqual(self.count(), 3)
        self.assertEqual(sorted(self.tags()), [(A, one, two), (B, "", three)])


class ComponentTests(DocumentTestCase):
    """Elements and attributes (XEVT-13)."""

    ELEMENT = f"{INDEX}/~~/resource-lists/list%5b@name=%22a%22%5d"
    ATTRIBUTE = f"{INDEX}/~~/resource-lists/list%5b2%5d/@name"

    def test_states(self) -> None:
        """The content of what exists; its removal; nothing of the rest (XEVT-07, XEVT-13)."""
        self.node.put(INDEX, lists("a", "b"))
        absent = f"{INDEX}/~~/resource-lists/list%5b@name=%22z%22%5d"
        self.subscribe(self.ELEMENT, self.ATTRIBUTE, absent)
        element, attribute = self.last()
        content = b'<list name="a"><entry uri="sip:a@x"/></list>'
        self.assertEqual(element, ElementState(self.ELEMENT, True, content, element.bindings))
        self.assertEqual(dict(element.bindings)[""], NAMESPACE)
        self.assertEqual(attribute, AttributeState(self.ATTRIBUTE, True, "b"))
        self.node.put(INDEX, lists("a", "c"))
        self.assertEqual(self.last(), [AttributeState(self.ATTRIBUTE, True, "c")])
        self.node.put(INDEX, lists("b", "c"))
        self.assertEqual(self.last(), [ElementState(self.ELEMENT, False)])
        self.node.put(INDEX, lists("b", "c", "d"))
        self.assertEqual(self.count(), 3)
        self.node.put(INDEX, lists("b", "c", "z"))
        self.assertEqual([item.sel for item in self.last()], [absent])

    def test_removal(self) -> None:
        """With the document goes what is in it; mode and tags do not matter (XEVT-13)."""
        self.node.put(INDEX, lists("a", "b"))
        self.subscribe(
            self.ELEMENT, self.ATTRIBUTE, event="xcap-diff;diff-processing=xcap-patching"
        )
        self.node.delete(INDEX)
        gone = [ElementState(self.ELEMENT, False), AttributeState(self.ATTRIBUTE, False)]
        self.assertEqual(self.last(), gone)
        self.assertIn(b'exists="false"', self.peer.notifies()[-1].body)
        self.node.put(INDEX, lists("a"))
        self.assertEqual([item.exists for item in self.last()], [True])

    def test_latest(self) -> None:
        """Of several changes only the last state is told, even if it is the first (XEVT-13)."""
        self.node.end()
        self.node = DocumentNode(network=self.node.network, interval=5.0)
        self.node.put(INDEX, lists("a", "b"))
        self.subscribe(self.ELEMENT, self.ATTRIBUTE)
        for names in (("b",), ("a", "c"), ("a", "b")):
            self.node.put(INDEX, lists(*names))
        self.node.advance(6)
        self.assertEqual(self.count(), 1)
        self.node.put(INDEX, lists("a", "b", "z"))  # opens the gate
        for names in (("a", "c"), ("b",), ("a", "d")):
            self.node.put(INDEX, lists(*names))
        self.node.advance(6)
        told = [item for items in self.peer.told()[1:] for item in items]
        self.assertEqual([(i.sel, i.exists) for i in told][-1:], [(self.ATTRIBUTE, True)])
        self.assertEqual(told[-1].value, "d")

    def test_namespaces(self) -> None:
        """Declarations around an element count as part of it (XDIFF-06)."""
        text = '<p:a xmlns:p="urn:p" xmlns:q="urn:{}"><p:b q:c="d"><e/></p:b></p:a>'
        self.node.put(A, text.format("q").encode())
        uri = f"{A}/~~/x:a/x:b?xmlns(x=urn:p)"
        self.subscribe(uri)
        (state,) = self.last()
        self.assertEqual(state.content, b'<p:b q:c="d"><e/></p:b>')
        self.assertEqual(
            {p: uri for p, uri in state.bindings if p in ("p", "q", "")},
            {"p": "urn:p", "q": "urn:q"},
        )
        self.node.put(A, text.format("r").encode())
        self.assertEqual(dict(self.last()[0].bindings)["q"], "urn:r")

    def test_root(self) -> None:
        """The root element is one, too."""
        self.node.put(A, b"<a/>")
        self.subscribe(f"{A}/~~/a", f"{A}/~~/*", f"{A}/~~/b")
        self.assertEqual([item.sel for item in self.last()], [f"{A}/~~/a", f"{A}/~~/*"])
        self.node.put(A, b"<b/>")
        self.assertEqual(
            [(item.sel, item.exists, item.content) for item in self.last()],
            [
                (f"{A}/~~/a", False, b""),
                (f"{A}/~~/*", True, b"<b/>"),
                (f"{A}/~~/b", True, b"<b/>"),
            ],
        )

    def test_shared(self) -> None:
        """A document is parsed once for all who watch parts of it."""
        self.node.put(INDEX, lists("a", "b"))
        parsed: list[Any] = []
        inner = feed_module.parse_stored
        self.patch(feed_module, "parse_stored", lambda octets: parsed.append(1) or inner(octets))
        self.subscribe(self.ELEMENT)
        self.subscribe(self.ATTRIBUTE)
        self.node.put(INDEX, lists("b", "c"))
        self.assertEqual(len(parsed), 2)

    def test_broken(self) -> None:
        """A stored document that is no XML has no components."""
        self.node.put(A, b"<a/>")
        self.subscribe(f"{A}/~~/a")
        self.node.put(A, b"<a")
        self.assertEqual(self.last(), [ElementState(f"{A}/~~/a", False)])


class PermissionTests(DocumentTestCase):
    """Read permission at every notification (XEVT-17, XDIFF-08)."""

    def setUp(self) -> None:
        """A document and a part of it."""
        super().setUp()
        self.first = self.node.put(A, b'<a b="c"/>')
        self.part = f"{A}/~~/a/@b"

    def test_lost_and_found(self) -> None:
        """Loss looks like removal, permission like creation; nothing comes between (XEVT-17)."""
        self.subscribe(A, B, self.part)
        self.node.samples.hidden.add("a")
        other = self.node.put(B, b"<b/>")
        self.assertEqual(sorted(self.tags()), [(A, self.first, ""), (B, "", other)])
        self.assertIn(AttributeState(self.part, False), self.last())
        new = self.node.put(A, b'<a b="d"/>')
        self.assertEqual(self.count(), 2)
        self.node.samples.hidden.clear()
        self.node.feed.recheck()
        self.node.advance(0.5)
        self.assertEqual(
            self.last(), [DocumentChange(A, "", new), AttributeState(self.part, True, "d")]
        )

    def test_recheck(self) -> None:
        """A change of permissions alone is told once somebody says so (XEVT-17)."""
        self.subscribe(A, self.part)
        self.node.feed.recheck()
        self.node.advance(0.5)
        self.assertEqual(self.count(), 1)
        self.node.samples.hidden.add("a")
        self.node.feed.recheck()
        self.node.advance(0.5)
        self.assertEqual(
            self.last(), [DocumentChange(A, self.first, ""), AttributeState(self.part, False)]
        )
        self.assertEqual(self.count(), 2)

    def test_patches(self) -> None:
        """No patch or tag of what may not be read leaves in any mode (XDIFF-08)."""
        self.node.samples.hidden.add("a")
        self.subscribe(A, event="xcap-diff;diff-processing=xcap-patching")
        self.assertEqual(self.last(), [])
        self.node.put(A, b"<a/>")
        self.node.delete(A)
        self.assertEqual(self.count(), 1)

    def test_foreign(self) -> None:
        """Another's documents are told to nobody but the trusted (XEVT-17, XDM-05, XDM-07)."""
        self.subscribe(A, self.part, sender=ANN)
        self.subscribe(A, self.part, sender=RLS)
        self.assertEqual([len(items) for items in self.peer.told()], [0, 2])
        self.node.put(A, b"<a/>")
        self.assertEqual([len(items) for items in self.peer.told()], [0, 2, 2])

    def test_after_restart(self) -> None:
        """What cannot be read is not told of when that began before a restart (XDIFF-08)."""
        self.node.samples.hidden.add("a")
        self.subscribe(A, self.part)
        self.node = self.node.restart()
        self.node.put(A, b"<a/>")
        self.node.delete(A)
        self.node.advance(1)
        self.assertEqual(self.count(), 1)
        self.node.samples.hidden.clear()
        new = self.node.put(A, b'<a b="x"/>')
        self.assertEqual(
            self.last(), [DocumentChange(A, "", new), AttributeState(self.part, True, "x")]
        )


class DeliveryTests(DocumentTestCase):
    """Reliable transfer (XEVT-14)."""

    def setUp(self) -> None:
        """A subscription to two documents."""
        super().setUp()
        self.first = self.node.put(A, GREAT)
        self.event = "xcap-diff;diff-processing=xcap-patching"
        self.subscribe(A, B, f"{B}/~~/b", event=self.event)

    def test_one_at_a_time(self) -> None:
        """The next NOTIFY waits for the 2xx to the last one, and goes on from it (XEVT-14)."""
        self.peer.answer = 0
        second = self.node.put(A, b"<a/>")
        third = self.node.put(A, b"<b/>")
        self.assertEqual(self.count(), 2)
        self.assertEqual(self.tags(), [(A, self.first, second)])
        self.peer.answer = 200
        self.node.advance(5)
        self.assertEqual(self.tags(), [(A, second, third)])
        self.assertEqual(self.count(), 3)

    def test_refused(self) -> None:
        """What was refused is told again, with what has come since (XEVT-14, XDIFF-05)."""
        self.peer.answer = busy
        second = self.node.put(A, GREAT.replace(b"c", b"d"))
        self.peer.answer = 200
        third = self.node.put(A, b"<b/>", seconds=0)
        fourth = self.node.put(B, b"<b/>", seconds=3)
        self.assertEqual(
            self.tags(), [(A, self.first, second), (A, second, third), (B, "", fourth)]
        )
        self.assertIn(ElementState(f"{B}/~~/b", True, b"<b/>"), self.last())
        count = self.count()
        self.node.advance(10)
        self.assertEqual(self.count(), count)

    def test_first_refused(self) -> None:
        """The answer to a SUBSCRIBE is the whole state until it has arrived (XEVT-07)."""
        self.peer.answer = busy
        self.subscribe(A, to=JOE)
        second = self.node.put(A, b"<a/>")
        self.peer.requests.clear()
        self.peer.answer = 200
        self.node.advance(5)
        both = sorted(self.peer.tags(), key=repr)
        self.assertEqual(both, [[(A, "", second)], [(A, self.first, second)]])

    def test_timeout(self) -> None:
        """A NOTIFY that is not answered ends the subscription (XEVT-14)."""
        self.peer.answer = 0
        self.node.put(A, b"<a/>")
        self.node.advance(40, step=0.5)
        self.assertEqual((len(self.node.notifier), len(self.node.feed)), (0, 0))

    def test_gone(self) -> None:
        """So does 481."""
        self.peer.answer = 481
        self.node.put(A, b"<a/>")
        self.node.advance(1)
        self.assertEqual((len(self.node.notifier), len(self.node.feed)), (0, 0))

    def test_last(self) -> None:
        """What was not told yet is in the last NOTIFY."""
        (subscription,) = self.node.notifier.subscriptions("xcap-diff", PSI)
        subscription.gate = self.node.clock.seconds() + 1000
        new = self.node.put(A, b"<a/>")
        self.assertEqual(self.count(), 1)
        self.node.notifier.terminate(subscription, "timeout")
        self.node.advance(1)
        self.assertEqual(self.tags(), [(A, self.first, new)])

    def test_many_subscribers(self) -> None:
        """Many are told in several turns, each once."""
        peers = [subscriber(self.node, f"192.0.3.{number}") for number in range(1, 121)]
        for number, peer in enumerate(peers):
            peer.send(
                peer.request(
                    "SUBSCRIBE", PSI, sender=f"sip:{number}@example.com", event="xcap-diff"
                )
            )
        self.node.advance(1)
        for number in range(120):
            self.node.put(f"tests/users/sip:{number}@example.com/a", b"<a/>", seconds=0)
        rls = subscriber(self.node, "192.0.2.11")
        rls.uris("tests/", sender=RLS)
        self.node.advance(1)
        self.assertEqual([len(peer.notifies()) for peer in peers], [2] * 120)
        self.assertEqual(len(rls.tags()[0]), 121)


class SizeTests(DocumentTestCase):
    """Bodies that would be too large (XEVT-19)."""

    def test_too_large(self) -> None:
        """Patches go first, then the contents of elements; tags stay (XEVT-19, XDIFF-06)."""
        self.node.end()
        self.node = DocumentNode(network=self.node.network, body_limit=1000)
        first = self.node.put(A, GREAT)
        self.node.put(B, b"<b/>")
        element = f"{B}/~~/b"
        self.subscribe(A, element, event="xcap-diff;diff-processing=aggregate")
        self.assertEqual(
            self.last(), [DocumentChange(A, "", first), ElementState(element, True, b"<b/>")]
        )
        second = self.node.put(A, self.with_text(300))
        self.assertEqual(self.tags(), [(A, first, second)])
        self.assertIsNotNone(self.last()[0].patch)
        third = self.node.put(A, self.with_text(1200))
        self.assertEqual(self.last(), [DocumentChange(A, second, third)])
        self.node.put(B, b"<b>%s</b>" % (b"c" * 500))
        self.assertEqual(len(self.last()[0].content), 507)
        self.node.put(B, b"<b>%s</b>" % (b"c" * 1000))
        self.assertEqual(self.last(), [ElementState(element)])
        self.assertLess(max(len(notify.body) for notify in self.peer.notifies()), 1000)

    def test_both(self) -> None:
        """A patch goes before a content does (XEVT-19)."""
        self.node.end()
        self.node = DocumentNode(network=self.node.network, body_limit=2500)
        first = self.node.put(A, GREAT)
        element = f"{A}/~~/a"
        self.subscribe(A, element, event="xcap-diff;diff-processing=aggregate")
        second = self.node.put(A, self.with_text(300))
        self.assertEqual(
            self.last(),
            [DocumentChange(A, first, second), ElementState(element, True, self.with_text(300))],
        )

    @staticmethod
    def with_text(size: int) -> bytes:
        """A document with so much text."""
        return GREAT.replace(b"</a>", b"<x>%s</x></a>" % (b"y" * size))


class RestartTests(DocumentTestCase):
    """Durable subscriptions."""

    def setUp(self) -> None:
        """A subscription to a document, a collection and a part."""
        super().setUp()
        self.first = self.node.put(A, GREAT)
        self.part = f"{B}/~~/b/@c"
        self.event = "xcap-diff;diff-processing=xcap-patching"
        self.response = self.subscribe(
            A, self.part, f"resource-lists/users/{JOE}/", event=self.event
        )

    def test_nothing(self) -> None:
        """Without a change nothing is told after a restart."""
        for _ in range(3):
            self.node = self.node.restart()
            self.node.advance(1)
        self.assertEqual((self.count(), len(self.node.feed)), (1, 1))

    def test_unrelated(self) -> None:
        """Nor if only other documents have changed."""
        self.node.put(f"tests/users/{ANN}/x", b"<x/>")
        self.node = self.node.restart()
        self.node.advance(1)
        self.assertEqual(self.count(), 1)

    def test_going_on(self) -> None:
        """After a restart changes are told from the last tag, with patches (XDIFF-05)."""
        self.node = self.node.restart()
        second = self.node.put(A, GREAT.replace(b"c", b"d", 1))
        self.assertEqual(self.tags(), [(A, self.first, second)])
        self.assertIsNotNone(self.last()[0].patch)
        listed = self.node.put(INDEX, lists())
        self.assertEqual(self.tags(), [(INDEX, "", listed)])
        self.node.put(B, b'<b c="d"/>')
        self.assertEqual(self.last(), [AttributeState(self.part, True, "d")])
        self.node.delete(A)
        self.assertEqual(self.tags(), [(A, second, "")])

    def test_missed(self) -> None:
        """A change whose NOTIFY was not acknowledged is told after the restart, once."""
        self.peer.answer = 0
        second = self.node.put(A, b"<a/>", seconds=0)
        self.node.put(B, b'<b c="d"/>', seconds=0)
        listed = self.node.put(INDEX, lists(), seconds=0)
        self.node.end()
        self.peer.requests.clear()
        self.peer.answer = 200
        self.node = self.node.begin_again()
        self.node.notifier.resume()
        self.node.advance(2)
        self.assertEqual(self.count(), 1)
        self.assertEqual(self.tags(), [(A, self.first, second), (INDEX, "", listed)])
        self.assertIn(AttributeState(self.part, True, "d"), self.last())
        self.node.put(A, b"<b/>")
        self.assertEqual(self.tags()[0][1], second)

    def test_removed_part(self) -> None:
        """The removal of a component is told although nobody knows what was told (XEVT-13)."""
        self.node.put(B, b'<b c="d"/>')
        self.peer.answer = 0
        self.node.put(B, b"<b/>", seconds=0)
        self.node.end()
        self.peer.requests.clear()
        self.peer.answer = 200
        self.node = self.node.begin_again()
        self.node.notifier.resume()
        self.node.advance(2)
        self.assertEqual(self.last(), [AttributeState(self.part, False)])
        self.assertEqual(self.count(), 1)

    def test_changes_while_catching_up(self) -> None:
        """Changes at the very beginning are told with the missed ones, in order."""
        self.peer.answer = 0
        second = self.node.put(A, b"<a/>", seconds=0)
        self.node.end()
        self.peer.requests.clear()
        self.peer.answer = 200
        self.node = self.node.begin_again()
        third = self.node.put(A, b"<b/>", seconds=0)
        fourth = self.node.put(A, b"<c/>", seconds=0)
        self.node.notifier.resume()
        self.node.advance(2)
        told = [entry for tags in self.peer.tags() for entry in tags]
        self.assertEqual((told[0][1], told[-1][2]), (self.first, fourth))
        for former, latter in itertools.pairwise(told):
            self.assertEqual(former[2], latter[1])
        self.assertTrue({second, third} - {""})

    def test_refresh(self) -> None:
        """A refresh after a restart is answered with everything (XEVT-07)."""
        self.node = self.node.restart()
        self.peer.again(self.response)
        self.node.advance(1)
        self.assertEqual(self.tags(), [(A, "", self.first)])

    def test_forgotten(self) -> None:
        """When the changes since are not known any more everything is told again."""
        self.node.put(B, b"<b/>")
        other = subscriber(self.node, "192.0.2.11")
        other.uris(A)
        self.node.advance(0.5)
        new = self.node.put(f"tests/users/{ANN}/x", b"<x/>")
        self.assertTrue(new)
        tables = self.node.documents._tables
        tables.feed.popleft()
        tables.feed.popleft()
        self.node = self.node.restart()
        self.node.advance(2)
        self.assertEqual(self.tags(), [(A, "", self.first)])
        self.assertEqual(self.count(), 2)
        self.assertEqual(len(other.notifies()), 1)  # its changes are known
        second = self.node.put(A, b"<a/>")
        self.assertEqual(self.tags(), [(A, self.first, second)])
        self.assertEqual(other.tags()[-1], [(A, self.first, second)])

    def test_other_store(self) -> None:
        """So it is with a document store that is behind what was told."""
        self.node.put(A, b"<b/>")
        self.node.end()
        emptied = DocumentNode(network=self.node.network, store=self.node.store)
        emptied.notifier.resume()
        emptied.advance(1)
        self.assertEqual(self.last(), [])
        self.assertEqual(self.count(), 3)

    def test_unavailable(self) -> None:
        """A document store that cannot be read is asked again later."""
        self.peer.answer = 0
        second = self.node.put(A, b"<a/>", seconds=0)
        self.node.end()
        self.peer.answer = 200
        documents = self.node.documents
        inner = documents._ask
        documents._ask = lambda question: _unavailable()  # type: ignore[method-assign]
        self.node = self.node.begin_again()
        self.node.notifier.resume()
        self.node.advance(3)
        self.peer.requests.clear()
        documents._ask = inner  # type: ignore[method-assign]
        self.node.advance(6)
        self.assertEqual(self.tags(), [(A, self.first, second)])

    def test_damaged(self) -> None:
        """A record whose terms are damaged selects nothing, and harms nobody."""
        (subscription,) = self.node.notifier.subscriptions("xcap-diff", PSI)
        subscription.detail = b"\xff"
        self.node.store.put_subscription(
            subscription.record(self.node.wall(), self.node.clock.seconds())
        )
        self.node = self.node.restart()
        self.assertEqual(len(self.flushLoggedErrors()), 0)
        self.node.put(A, b"<b/>")
        self.assertEqual(self.count(), 1)
        self.peer.again(self.response, A)
        self.node.advance(1)
        self.assertEqual([sel for sel, _, _ in self.tags()], [A])


def _unavailable() -> Any:
    return fail(StoreUnavailable())


class StoreTests(DocumentTestCase):
    """The document store while subscriptions are made."""

    def test_unavailable(self) -> None:
        """A first NOTIFY waits for the store, and has what came meanwhile."""
        self.node.put(A, b"<a/>")
        documents = self.node.documents
        inner = documents._ask
        documents._ask = lambda question: _unavailable()  # type: ignore[method-assign]
        self.subscribe("tests/")
        self.assertEqual(self.count(), 0)
        documents._ask = inner  # type: ignore[method-assign]
        one, two = self.node.put(A, b"<b/>"), self.node.put(B, b"<b/>")
        self.assertEqual(self.count(), 0)
        self.node.advance(6)
        self.assertEqual(self.peer.tags(), [[(A, "", one), (B, "", two)]])

    def test_ended_meanwhile(self) -> None:
        """Nothing is sent for a subscription that ends before its state was read."""
        documents = self.node.documents
        documents._ask = lambda question: _unavailable()  # type: ignore[method-assign]
        response = self.subscribe("tests/")
        self.peer.again(response, expires=0)
        self.node.advance(10)
        self.assertEqual(self.count(), 1)
        self.assertEqual(self.peer.notifies()[0].body, b"")

    def test_bug(self) -> None:
        """A failure to tell one subscription does not keep the others waiting."""
        self.subscribe(A)
        other = subscriber(self.node, "192.0.2.11")
        other.uris(A)
        self.node.advance(0.5)
        (first, _) = self.node.notifier.subscriptions("xcap-diff", PSI)
        first.data.view.report = None
        self.node.put(A, b"<a/>")
        self.assertEqual((self.count(), len(other.notifies())), (1, 2))
        self.assertEqual(len(self.flushLoggedErrors(TypeError)), 1)

    def test_recheck_ends(self) -> None:
        """A look at all subscriptions goes on when one of them ends by it."""
        self.subscribe("tests/")
        self.subscribe(A)
        self.patch(feed_module, "DOCUMENTS", 1)
        tags = self.node.put(A, b"<a/>"), self.node.put(B, b"<b/>")
        self.node.feed.recheck()
        self.node.advance(0.5)
        self.assertEqual((len(self.node.feed), len(self.node.notifier)), (1, 1))
        self.assertEqual(len(set(tags)), 2)

    def test_nothing_left(self) -> None:
        """A feed that is stopped leaves no delayed call behind."""
        self.node.documents._ask = lambda question: _unavailable()  # type: ignore[method-assign]
        self.subscribe("tests/")
        self.assertEqual(len(self.node.feed._calls), 1)
        self.node.feed.stop()
        self.assertEqual(self.node.feed._calls, set())

    def test_stopped(self) -> None:
        """A feed that was stopped says nothing more."""
        self.subscribe(A)
        self.node.feed.stop()
        self.node.put(A, b"<a/>")
        self.assertEqual(self.count(), 1)
