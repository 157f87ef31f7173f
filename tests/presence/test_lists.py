"""Tests of :mod:`presence.lists`: most cases are ``tests/vectors/lists/cases.json``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree
from twisted.trial.unittest import SynchronousTestCase

from presence.listreferences import BadReference, References
from presence.lists import (
    Limits,
    Resolution,
    Resolved,
    members,
    subscribable,
)
from xcap.uri import quote_node
from xcap.usage.names import RESOURCE_LISTS

ROOT = "https://xcap.example.com/"
INDEX = "resource-lists/users/sip:joe@example.com/index"
CASES = json.loads((Path(__file__).parent.parent / "vectors" / "lists" / "cases.json").read_text())


def document(inner: str) -> bytes:
    """A document of lists."""
    return f'<resource-lists xmlns="{RESOURCE_LISTS}">{inner}</resource-lists>'.encode()


def anchor(node: str, path: str = INDEX) -> str:
    """The URI of a list by its node selector, not percent-encoded."""
    return f"{ROOT}{path}/~~/{quote_node(node)}"


class Documents:
    """Drives resolutions.

    :ivar fetched: what was asked for.
    """

    def __init__(self, documents: Mapping[str, bytes], unavailable: tuple[str, ...] = ()) -> None:
        self.documents = documents
        self.unavailable = unavailable
        self.fetched: list[str] = []
        self.pauses = 0

    def resolve(
        self,
        uri: str | etree._Element,
        *,
        foreign: bool = False,
        limits: Limits | None = None,
    ) -> Resolved:
        """Resolve a list to the end."""
        resolution = Resolution(uri, References(ROOT, foreign=foreign), limits)
        while resolution.result is None:
            while resolution.run():
                self.pauses += 1
            wanted = resolution.wanted
            if wanted is not None:
                path = wanted.uri.removeprefix(ROOT)
                self.fetched.append(path)
                if path in self.unavailable:
                    resolution.give(None, "unavailable")
                else:
                    resolution.give(self.documents.get(path))
        return resolution.result


class VectorTests(SynchronousTestCase):
    """The data file."""

    def check(self, case: Mapping[str, Any]) -> None:
        """Resolve and compare."""
        documents = Documents(
            {path: document("\n".join(lines)) for path, lines in CASES["documents"].items()},
            tuple(case.get("unavailable", ())),
        )
        uri = case["anchor"]
        if not uri.startswith("https:"):
            uri = anchor(uri)
        result = documents.resolve(uri, foreign=case.get("foreign", False))
        name = case["name"]
        self.assertEqual(list(result.uris), case["uris"], name)
        kinds = [problem.kind for problem in result.problems]
        self.assertEqual(kinds, case.get("problems", []), name)
        self.assertEqual(result.complete, not kinds)
        self.assertEqual(len(documents.fetched), len(set(documents.fetched)), name)
        if "fetched" in case:
            self.assertEqual(documents.fetched, case["fetched"], name)

    def test_cases(self) -> None:
        """XDM-28, XDM-29, XDM-32: every case of the data file."""
        self.assertGreater(len(CASES["cases"]), 15)
        for case in CASES["cases"]:
            self.check(case)


class LimitTests(SynchronousTestCase):
    """XDM-28: how far a resolution goes."""

    def resolve(self, inner: str, limits: Limits) -> Resolved:
        """Resolve the first list of a document."""
        return Documents({INDEX: document(inner)}).resolve(
            anchor("resource-lists/list[1]"), limits=limits
        )

    def test_depth(self) -> None:
        """XDM-28: lists within each other."""
        for depth, complete in ((16, True), (17, False)):
            inner = "<list>" * depth + '<entry uri="sip:a@x"/>' + "</list>" * depth
            result = self.resolve(inner, Limits())
            self.assertEqual(result.complete, complete)
            self.assertEqual(result.uris, ("sip:a@x",) if complete else ())
        self.assertEqual([problem.kind for problem in result.problems], ["limit"])

    def test_depth_of_references(self) -> None:
        """XDM-28: a reference is one level deeper."""
        chain = "".join(
            f'<list name="l{n}"><entry uri="sip:u{n}@x"/>'
            f"<external anchor='{anchor(f'resource-lists/list[{n + 2}]')}'/></list>"
            for n in range(20)
        )
        result = self.resolve(chain, Limits())
        self.assertEqual(result.uris, tuple(f"sip:u{n}@x" for n in range(16)))
        self.assertEqual([problem.kind for problem in result.problems], ["limit"])

    def test_uris(self) -> None:
        """XDM-28: entries, duplicates included."""
        for count, complete in ((5000, True), (5001, False)):
            entries = "".join(f'<entry uri="sip:u{n % 4000}@x"/>' for n in range(count))
            result = self.resolve(f"<list>{entries}</list>", Limits())
            self.assertEqual(result.complete, complete)
            self.assertEqual(len(result.uris), 4000)

    def test_fetches(self) -> None:
        """XDM-28: documents."""
        documents = {INDEX: document("")}
        for number in range(101):
            path = f"resource-lists/users/sip:joe@example.com/d{number}"
            documents[path] = document(f'<list><entry uri="sip:u{number}@x"/></list>')
        for count, complete in ((99, True), (100, False)):
            externals = "".join(
                f"<external anchor='{anchor('resource-lists/list', path)}'/>"
                for path in list(documents)[1 : count + 1]
            )
            documents[INDEX] = document(f"<list>{externals}</list>")
            driver = Documents(documents)
            result = driver.resolve(anchor("resource-lists/list"))
            self.assertEqual(result.complete, complete)
            self.assertEqual(len(driver.fetched), 100)
            self.assertEqual(len(result.uris), 99)

    def test_elements(self) -> None:
        """XDM-28: what is looked at to find elements counts, too."""
        entries = "".join(f'<entry uri="sip:u{n}@x"/>' for n in range(500))
        refs = "".join(
            f"<entry-ref ref='{INDEX}/~~/resource-lists/list%5b1%5d/entry%5b{n + 1}%5d'/>"
            for n in range(500)
        )
        inner = f"<list>{entries}</list><list>{refs}</list>"
        for limit, complete in ((50_000, True), (2000, False)):
            result = Documents({INDEX: document(inner)}).resolve(
                anchor("resource-lists/list[2]"), limits=Limits(elements=limit)
            )
            self.assertEqual(result.complete, complete)

    def test_pauses(self) -> None:
        """A long list leaves room for others."""
        entries = "".join(f'<entry uri="sip:u{n}@x"/>' for n in range(2600))
        driver = Documents({INDEX: document(f"<list>{entries}</list>")})
        self.assertTrue(driver.resolve(anchor("resource-lists/list")).complete)
        self.assertEqual(driver.pauses, 5)


class StartTests(SynchronousTestCase):
    """Lists in documents of others, as the one in a service."""

    def test_cases(self) -> None:
        """XDM-28, XDM-41, XDM-53: a list given as an element holds what its children say."""
        documents = {path: document("\n".join(lines)) for path, lines in CASES["documents"].items()}
        for case in CASES["cases"]:
            uri = case["anchor"]
            start = etree.Element("{urn:example:any}list")
            child = etree.SubElement(start, f"{{{RESOURCE_LISTS}}}external")
            child.set("anchor", uri if uri.startswith("https:") else anchor(uri))
            driver = Documents(documents, tuple(case.get("unavailable", ())))
            result = driver.resolve(start, foreign=case.get("foreign", False))
            self.assertEqual(list(result.uris), case["uris"], case["name"])
            self.assertTrue(result.found)

    def test_entry_ref(self) -> None:
        """XDM-53: the XCAP root is the base of references in the element."""
        start = etree.fromstring(
            f'<x xmlns="{RESOURCE_LISTS}"><list><entry uri="sip:a@x"/></list>'
            f'<entry-ref ref="{INDEX}/~~/resource-lists/list/entry"/></x>'
        )
        driver = Documents({INDEX: document('<list><entry uri="sip:b@x"/></list>')})
        self.assertEqual(driver.resolve(start).uris, ("sip:a@x", "sip:b@x"))

    def test_found(self) -> None:
        """XDM-52: it is told when there is no list at all."""
        driver = Documents({INDEX: document("<list name='a'/>")})
        self.assertTrue(driver.resolve(anchor("resource-lists/list")).found)
        for node in ("resource-lists", "resource-lists/list[2]", "resource-lists/list/@name"):
            self.assertFalse(driver.resolve(anchor(node)).found)

    def test_names(self) -> None:
        """RFC 4826 3.2: display names of the list and, by URI, of entries."""
        name = '<display-name xml:lang="en">{}</display-name>'
        inner = (
            f"<list xml:lang='fr'><display-name> L </display-name>"
            f"<entry uri='sip:a@x'/><list>{name.format('inner')}"
            f"<entry uri='sip:a@x'>{name.format('A')}</entry>"
            f"<entry uri='sip:b@x'><display-name> </display-name></entry></list></list>"
        )
        result = Documents({INDEX: document(inner)}).resolve(anchor("resource-lists/list"))
        self.assertEqual(result.title, (("fr", "L"),))
        self.assertEqual(result.names, {"sip:a@x": (("en", "A"),)})


class HostileTests(SynchronousTestCase):
    """Documents of others."""

    def test_documents(self) -> None:
        """What is no document of lists resolves to nothing."""
        for octets in (
            b"",
            b"\x00",
            b"<",
            b"<resource-lists/>",
            b"<!DOCTYPE resource-lists [<!ENTITY a 'b'>]>" + document("<list/>"),
            document("<list>&a;</list>"),
            document("<list>" + "<list>" * 400 + "</list>" * 400 + "</list>"),
        ):
            result = Documents({INDEX: octets}).resolve(anchor("resource-lists/list"))
            self.assertEqual(result.uris, ())
            self.assertFalse(result.complete)

    def test_comments(self) -> None:
        """Comments and instructions are no members."""
        octets = document('<!-- a --><list><?a b?><!-- c --><entry uri="sip:a@x"/></list>')
        result = Documents({INDEX: octets}).resolve(anchor("resource-lists/list"))
        self.assertEqual(result, Resolved(("sip:a@x",)))

    def test_give(self) -> None:
        """Only what is wanted can be given."""
        resolution = Resolution(anchor("resource-lists/list"), References(ROOT))
        self.assertRaises(ValueError, resolution.give, None)
        self.assertFalse(resolution.run())
        self.assertFalse(resolution.run())  # still waiting
        resolution.give(None)
        self.assertFalse(resolution.run())
        self.assertIsNotNone(resolution.result)
        self.assertRaises(ValueError, resolution.give, None)

    @settings(max_examples=200, deadline=None)
    @given(st.text(max_size=40), st.text(max_size=40))
    def test_references(self, anchor_text: str, ref: str) -> None:
        """No reference makes anything but the documented error."""
        references = References(ROOT, foreign=True)
        for text in (anchor_text, ROOT + anchor_text, f"{ROOT}{INDEX}/~~/{anchor_text}"):
            try:
                references.external(text)
            except BadReference as error:
                self.assertIn(error.kind, ("malformed", "elsewhere", "not-a-list"))
        for text in (ref, INDEX + ref, f"{INDEX}/~~/{ref}"):
            try:
                references.entry(text, ROOT)
            except BadReference as error:
                self.assertIn(error.kind, ("malformed", "elsewhere", "not-a-list"))


class ReferenceTests(SynchronousTestCase):
    """Spelling of references."""

    def test_one_form(self) -> None:
        """XDM-33: all spellings of a list are one, of its document as well."""
        found = [
            References(ROOT).external(uri)
            for uri in (
                f"{ROOT}{INDEX}/~~/resource-lists/list%5b1%5d",
                f"  HTTPS://XCAP.EXAMPLE.COM:443/{INDEX}/~~/resource-lists/list%5b1%5d\n",
                f"{ROOT}%72esource-lists/users/sip:joe@example.com/index/~~/"
                "resource-lists/list%5B1%5D",
            )
        ]
        self.assertEqual(len({one.uri for one in found}), 1)
        self.assertEqual({one.place.path for one in found}, {INDEX})
        for user in ("sip%3Ajoe%40example.com", "sip:joe@EXAMPLE.com", "sips:joe@example.com"):
            one = References(ROOT).external(
                f"{ROOT}resource-lists/users/{user}/index/~~/resource-lists/list"
            )
            self.assertEqual((one.place.path, one.place.xui), (INDEX, "sip:joe@example.com"))

    def test_aliases(self) -> None:
        """A user's other identities name the same home directory."""
        references = References(ROOT, lambda xui: "sip:joe@example.com" if "tel" in xui else xui)
        one = references.external(
            f"{ROOT}resource-lists/users/tel:+1555/index/~~/resource-lists/list"
        )
        self.assertEqual(one.place.path, INDEX)

    def test_root_with_path(self) -> None:
        """XDM-28: an entry-ref is relative to the XCAP root, not to the server."""
        references = References("https://example.com/services/")
        one = references.entry(f"{INDEX}/~~/resource-lists/list/entry", references.root)
        self.assertEqual(one.place.uri, f"https://example.com/services/{INDEX}")
        with self.assertRaises(BadReference):
            references.external(f"https://example.com/{INDEX}/~~/resource-lists/list")


class MemberTests(SynchronousTestCase):
    """What becomes of the URIs."""

    def test_members(self) -> None:
        """XDM-33, XDM-120: members compare in canonical form; who cannot watch is no member."""
        found = members(
            (
                "sip:ann@EXAMPLE.com;transport=tcp",
                "sip:%61nn@example.com",
                "tel:+1-555-555-0123",
                "sip:+15555550123@example.com;user=phone",
                "mailto:eve@example.com",
                "",
                "nonsense",
            )
        )
        self.assertEqual(
            found,
            {"sip:ann@example.com", "tel:+15555550123", "sip:+15555550123@example.com"},
        )

    def test_subscribable(self) -> None:
        """XDM-32: schemes that can be subscribed to."""
        uris = ("sip:a@x", "SIPS:b@x", "pres:c@x", "tel:+1", "mailto:d@x", "nonsense", "")
        self.assertEqual(subscribable(uris), uris[:3])
        self.assertEqual(subscribable(uris, tel=True), uris[:4])
