"""What subscriptions to document changes select."""

from __future__ import annotations

import contextlib

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.xcap.notifying import (
    ANN,
    INDEX,
    JOE,
    NAMESPACE,
    OTHER_ROOT,
    RLS,
    ROOT,
    Samples,
    Users,
    key,
)
from xcap.records import DocumentKey, Requester
from xcap.selection import (
    LIST_LIMIT,
    Component,
    Resolver,
    SelectionError,
    Selections,
    Terms,
    listed,
    parse_list,
    prefixes,
    profile_uri,
    relative,
)
from xcap.usage.base import Trusted
from xcap.usage.resourcelists import ResourceLists

ROOTS = (ROOT, OTHER_ROOT)


def uri_list(inner: str) -> bytes:
    """A resource list with something in it."""
    return f'<resource-lists xmlns="{NAMESPACE}">{inner}</resource-lists>'.encode()


class ListTests(SynchronousTestCase):
    """URI lists in the body of SUBSCRIBE."""

    def test_flat(self) -> None:
        """The entries of the list in order, each once (XEVT-02)."""
        body = uri_list('<list><entry uri="a/b"/><entry uri="c/"/><entry uri="a/b"/></list>')
        self.assertEqual(parse_list(body), ["a/b", "c/"])

    def test_unknown(self) -> None:
        """Nested lists, references and unknown content are passed over (XEVT-02)."""
        body = uri_list(
            "<list name='n' xmlns:x='urn:x' x:y='1'><display-name>n</display-name>"
            '<list><entry uri="nested"/></list><entry-ref ref="r"/><external anchor="e"/>'
            '<x:entry uri="x"/><entry/><entry uri="kept" x:z="2"><x:w/></entry></list>'
            '<x:list xmlns:x="urn:x"><entry uri="y"/></x:list>'
        )
        self.assertEqual(parse_list(body), ["kept"])

    def test_refused(self) -> None:
        """No resource list, no XML, a document type or too many entries (XEVT-02)."""
        many = "".join(f'<entry uri="{n}"/>' for n in range(LIST_LIMIT + 1))
        for body, status in (
            (b"", 400),
            (b"<list", 400),
            (b"<a/>", 400),
            (b'<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>', 400),
            (b"\xff", 400),
            (uri_list(f"<list>{many}</list>"), 413),
            (uri_list("<list>" * 20 + "</list>" * 20), 413),
            (uri_list(f"<list>{' ' * (1 << 18)}</list>"), 413),
        ):
            with self.assertRaises(SelectionError) as caught:
                parse_list(body)
            self.assertEqual(caught.exception.status, status, body[:40])

    @given(st.binary(max_size=60))
    def test_anything(self, octets: bytes) -> None:
        """No octets raise anything else."""
        with contextlib.suppress(SelectionError):
            parse_list(octets)


class RelativeTests(SynchronousTestCase):
    """URIs below an XCAP root."""

    def test_absolute(self) -> None:
        """An absolute URI loses its root, however that is spelled, and nothing else (XEVT-08)."""
        for uri in (
            f"{ROOT}a/users/x%20y/d",
            "HTTPS://XCAP.example.com:443/a/users/x%20y/d",
        ):
            self.assertEqual(relative(uri, ROOTS), (ROOT, "a/users/x%20y/d"))
        self.assertEqual(relative(f"{OTHER_ROOT}a/", ROOTS), (OTHER_ROOT, "a/"))
        self.assertEqual(relative("https://xcap.example.com", ROOTS), (ROOT, ""))

    def test_relative(self) -> None:
        """A relative URI is below the first root (XEVT-02)."""
        self.assertEqual(relative(INDEX, ROOTS), (ROOT, INDEX))
        self.assertEqual(relative(f"/{INDEX}", ROOTS), (ROOT, INDEX))
        roots = (OTHER_ROOT,)
        self.assertEqual(relative(f"/services/{INDEX}", roots), (OTHER_ROOT, INDEX))
        self.assertIsNone(relative(f"/{INDEX}", roots))

    def test_foreign(self) -> None:
        """What is elsewhere, or no XCAP URI, is below no root (XCAP-04)."""
        for uri in (
            "http://xcap.example.com/a/",
            "https://xcap.example.com:8443/a/",
            "https://other.example.com:8443/a/",
            "//xcap.example.com/a/",
            "ftp://xcap.example.com/a",
            "mailto:a",
            "a/users/x/d#f",
            "a/users/\xe4/d",
        ):
            self.assertIsNone(relative(uri, ROOTS), uri)


class ResolveTests(SynchronousTestCase):
    """From URIs to documents, collections and components."""

    def setUp(self) -> None:
        """Two usages."""
        trusted = (Trusted(RLS),)
        usages = (ResourceLists(trusted), Samples(trusted))
        self.resolver = Resolver({usage.auid: usage for usage in usages}, Users().canonical)

    def resolve(self, *uris: str, who: str = JOE, home: bool = False) -> Selections:
        """What they select."""
        requester = self.resolver.requester((who,))
        return self.resolver.resolve(Terms(ROOT, uris, home=home), requester)

    def test_document(self) -> None:
        """A document is named as it was given; in the global tree, too (XEVT-02, XEVT-08)."""
        encoded = "resource-lists/users/sip%3Ajoe@EXAMPLE.com/index"
        found = self.resolve(encoded, "tests/global/a/b%20c")
        self.assertEqual(
            found.documents,
            {key(INDEX): encoded, key("tests/global/a/b c"): "tests/global/a/b%20c"},
        )
        self.assertEqual(found.sel(key(INDEX)), encoded)
        self.assertEqual((found.collections, found.components), ((), ()))

    def test_once(self) -> None:
        """Two spellings of a thing are one; a collection goes into one around it (XEVT-09)."""
        node = "~~/resource-lists/list%5b@name=%22a%22%5d"
        found = self.resolve(
            INDEX,
            "resource-lists/users/sip%3Ajoe@example.com/index",
            f"{INDEX}/{node}",
            f"{INDEX}/~~/resource-lists/list[@name='a']",
            f"{INDEX}/~~/resource-lists/list%5b@name=%22a%22%5d/@name",
            f"tests/users/{JOE}/a/b/",
            f"tests/users/{JOE}/",
            f"tests/users/{JOE}/a/",
        )
        self.assertEqual(found.documents, {key(INDEX): INDEX})
        self.assertEqual(found.collections, ((ROOT, "tests", "users", JOE),))
        self.assertEqual(
            [component.sel for component in found.components],
            [f"{INDEX}/{node}", f"{INDEX}/{node}/@name"],
        )

    def test_alias(self) -> None:
        """A user identifier is looked up as HTTP does (XEVT-17, XCAP-08)."""
        found = self.resolve("tests/users/tel:+1-555-555-0123/d", "tests/users/tel:+15555550123/")
        self.assertEqual(list(found.documents), [key(f"tests/users/{JOE}/d")])
        self.assertEqual(found.collections, ((ROOT, "tests", "users", JOE),))

    def test_component(self) -> None:
        """Elements and attributes, with the usage's default namespace and bindings (XEVT-02)."""
        uri = f"{INDEX}/~~/resource-lists/x:a/@x:b?xmlns(x=urn:x)"
        (found,) = self.resolve(uri).components
        self.assertEqual(found.key, key(INDEX))
        self.assertEqual(
            [step.name for step in found.selector.steps],
            [f"{{{NAMESPACE}}}resource-lists", "{urn:x}a"],
        )
        self.assertEqual(found.selector.attribute, "{urn:x}b")
        self.assertIsInstance(found, Component)

    def test_namespaces(self) -> None:
        """A selector of namespaces is ignored (XEVT-04)."""
        self.assertEqual(self.resolve(f"{INDEX}/~~/resource-lists/namespace::*").components, ())
        self.assertEqual(len(self.resolve(f"{INDEX}/~~/resource-lists").components), 1)

    def test_nothing(self) -> None:
        """What there cannot be selects nothing, and refuses nothing (XEVT-07)."""
        for uri in (
            f"unknown/users/{JOE}/index",
            f"unknown/users/{JOE}/",
            "unknown/",
            "resource-lists/users",
            "resource-lists/elsewhere/a/b",
            "resource-lists/elsewhere/",
            f"resource-lists/users/{JOE}/sub/index",
            "resource-lists/users/%zz/index",
            "resource-lists/users/%ff/",
            "resource-lists/users/nobody/index",
            "resource-lists/users/nobody/",
            f"tests/users/{JOE}/../x/",
            f"tests/users/{JOE}//d/",
            f"tests/users/{JOE}/a%2Fb/",
            f"{INDEX}/~~/",
            f"{INDEX}/~~",
            f"{INDEX}/~~/x:a",
            f"{INDEX}/~~/id(1)",
        ):
            self.assertEqual(self.resolve(uri), Selections({}, (), ()), uri)

    def test_wide(self) -> None:
        """A collection above home directories is what of it the subscriber may read (XEVT-17)."""
        own = (
            (ROOT, "tests", "global"),
            (ROOT, "tests", "users", JOE),
        )
        self.assertEqual(self.resolve("tests/").collections, own)
        self.assertEqual(self.resolve("tests/users/").collections, own[1:])
        self.assertEqual(self.resolve("tests/global/").collections, own[:1])
        everything = self.resolve("").collections
        self.assertEqual(len(everything), 4)
        self.assertEqual(everything[2:], own)
        self.assertEqual(
            self.resolve("tests/", who=RLS).collections,
            ((ROOT, "tests", "global"), (ROOT, "tests", "users")),
        )

    def test_home(self) -> None:
        """All documents of the subscriber, of others none even if they might be read (XEVT-03)."""
        for who in (JOE, RLS):
            self.assertEqual(
                self.resolve(who=who, home=True).collections,
                ((ROOT, "resource-lists", "users", who), (ROOT, "tests", "users", who)),
            )

    def test_covers(self) -> None:
        """A collection has all documents below it, and no others (XEVT-02)."""
        found = self.resolve(f"tests/users/{JOE}/a/", f"tests/users/{JOE}/x")
        for path, covered in (("a/b", True), ("a/b/c", True), ("x", True), ("a", False)):
            self.assertEqual(found.covers(key(f"tests/users/{JOE}/{path}")), covered, path)
        self.assertFalse(found.covers(key(f"tests/users/{ANN}/a/b")))
        self.assertFalse(found.covers(key(f"tests/users/{JOE}/a/b", OTHER_ROOT)))
        self.assertEqual(found.sel(key(f"tests/users/{JOE}/a/b c")), f"tests/users/{JOE}/a/b%20c")

    def test_requester(self) -> None:
        """A subscriber is known by the home directories of its identities (XCAP-176)."""
        found = self.resolver.requester(("tel:+15555550123", ANN))
        self.assertEqual(found, Requester((JOE, ANN, "tel:+15555550123")))

    @given(st.text(alphabet="/~%2Faus:@?[]'\"=*x. e", max_size=30))
    def test_anything(self, uri: str) -> None:
        """No URI raises anything."""
        for given_ in (uri, f"tests/users/{JOE}/{uri}", f"{INDEX}/~~/{uri}"):
            place = relative(given_, ROOTS)
            if place is not None:
                self.resolve(place[1])


class ListingTests(SynchronousTestCase):
    """Collections and the store's listings."""

    def test_listed(self) -> None:
        """Each collection has its arguments (XEVT-02)."""
        for prefix, arguments in (
            ((ROOT,), (ROOT, None, None, "")),
            ((ROOT, "a"), (ROOT, "a", None, "")),
            ((ROOT, "a", "users"), (ROOT, "a", None, "")),
            ((ROOT, "a", "global"), (ROOT, "a", "", "")),
            ((ROOT, "a", "global", "b"), (ROOT, "a", "", "b/")),
            ((ROOT, "a", "users", JOE), (ROOT, "a", JOE, "")),
            ((ROOT, "a", "users", JOE, "b", "c"), (ROOT, "a", JOE, "b/c/")),
        ):
            self.assertEqual(listed(prefix), arguments)

    def test_prefixes(self) -> None:
        """A document is in all collections around it."""
        self.assertEqual(
            list(prefixes(DocumentKey(ROOT, "a", JOE, "b/c"))),
            [
                (ROOT,),
                (ROOT, "a"),
                (ROOT, "a", "users"),
                (ROOT, "a", "users", JOE),
                (ROOT, "a", "users", JOE, "b"),
            ],
        )
        self.assertEqual(list(prefixes(DocumentKey(ROOT, "a", "", "b")))[-1], (ROOT, "a", "global"))


class ProfileTests(SynchronousTestCase):
    """The parameters auid and document of ua-profile."""

    def test_forms(self) -> None:
        """Relative to the root, to the AUID or to the home directory; encoded or not (UAP-03)."""
        home = f"resource-lists/users/{JOE}"
        for auid, document, uri in (
            ("", INDEX, INDEX),
            ("", f"/{INDEX}", INDEX),
            ("resource-lists", INDEX, INDEX),
            ("resource-lists", f"users/{JOE}/index", INDEX),
            ("resource-lists", "users/sip%3Ajoe%40example.com/index", INDEX),
            ("resource-lists", "users%2Fsip%3Ajoe%40example.com%2Findex", INDEX),
            ("resource-lists", "index", INDEX),
            ("resource-lists", "sub/my list", f"{home}/sub/my%20list"),
            ("resource-lists", f"users/{ANN}/index", f"resource-lists/users/{ANN}/index"),
            ("resource-lists", "global/index", "resource-lists/global/index"),
            ("", "resource-lists/global/index", "resource-lists/global/index"),
            ("resource-lists", "", f"{home}/"),
            (
                "org.openmobilealliance.pres-rules",
                "",
                f"org.openmobilealliance.pres-rules/users/{JOE}/",
            ),
        ):
            self.assertEqual(profile_uri(auid, document, JOE), uri, (auid, document))

    def test_refused(self) -> None:
        """What names nothing (UAP-05)."""
        for auid, document in (
            ("", "index"),
            ("", "%ff"),
            ("%ff", ""),
            ("pres-rules", INDEX),
        ):
            with self.assertRaises(SelectionError) as caught:
                profile_uri(auid, document, JOE)
            self.assertEqual(caught.exception.status, 404)
