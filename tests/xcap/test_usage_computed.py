"""Computed documents: capabilities and directories; and what new subscribers get."""

from __future__ import annotations

from lxml import etree
from twisted.trial.unittest import SynchronousTestCase

from tests.xcap.usages import JOE, ROOT, key, refusal, settings, usage, vector
from xcap.document import parse_document
from xcap.edit import get_node
from xcap.records import Entry
from xcap.uri import build, parse_node, quote_node
from xcap.usage.caps import caps_document, merge_caps
from xcap.usage.defaults import DefaultPolicy, default_lists, default_rules, list_uri
from xcap.usage.directory import (
    directory_auids,
    directory_document,
    merge_directories,
    wanted_folder,
)
from xcap.usage.names import VALIDATED
from xcap.usage.standard import standard_usages
from xcap.validate import parse_tree, validate

CAPS = "{urn:ietf:params:xml:ns:xcap-caps}"
DIRECTORY = "{urn:oma:xml:xdm:xcap-directory}"
DIRECTORY_NS = "urn:oma:xml:xdm:xcap-directory"
BAD = (b"", b"<x/>", b"<", b"\xff", b'<!DOCTYPE x [<!ENTITY e "e">]><x>&e;</x>')


def texts(document: bytes, part: str) -> list[str]:
    """The values of a part of capabilities."""
    root = parse_tree(document)
    validate("xcap-caps", root)
    return [node.text or "" for node in root.iterfind(f"{CAPS}{part}/*")]


class CapsTests(SynchronousTestCase):
    """:mod:`xcap.usage.caps`."""

    def test_content(self) -> None:
        """All usages and every namespace validated here, sorted (XCAP-171, XCAP-172, XDM-03)."""
        for usages in standard_usages(settings()).values():
            document = caps_document(usages)
            self.assertEqual(texts(document, "auids"), sorted(one.auid for one in usages))
            self.assertIn("xcap-caps", texts(document, "auids"))
            self.assertEqual(texts(document, "namespaces"), list(VALIDATED))
            children = [etree.QName(node).localname for node in parse_tree(document)]
            self.assertEqual(children, ["auids", "extensions", "namespaces"])
            self.assertEqual(document, caps_document(reversed(usages)))

    def test_merge(self) -> None:
        """The proxy tells the union, without repetition (XCAP-174, AGP-57)."""
        mine = caps_document([usage("resource-lists"), usage("xcap-caps")])
        merged = merge_caps([vector("xcap-caps", "caps"), mine])
        self.assertEqual(
            texts(merged, "auids"),
            [
                "org.openmobilealliance.pres-rules",
                "resource-lists",
                "rls-services",
                "xcap-caps",
            ],
        )
        self.assertEqual(texts(merged, "namespaces"), list(VALIDATED))
        self.assertEqual(texts(merge_caps([merged], {"xcap-caps"}), "auids"), ["xcap-caps"])
        self.assertEqual(texts(merge_caps([]), "auids"), [])

    def test_without_extensions(self) -> None:
        """Others may leave the extensions out, or have some (XCAP-171)."""
        ns = "urn:ietf:params:xml:ns:xcap-caps"
        one = f'<xcap-caps xmlns="{ns}"><auids/><namespaces/></xcap-caps>'
        two = (
            f'<xcap-caps xmlns="{ns}"><auids/><extensions><extension> e&amp; </extension>'
            "</extensions><namespaces/></xcap-caps>"
        )
        self.assertEqual(texts(merge_caps([one.encode()]), "extensions"), [])
        self.assertEqual(texts(merge_caps([one.encode(), two.encode()]), "extensions"), ["e&"])

    def test_bad(self) -> None:
        """What is no such document is refused."""
        for octets in BAD:
            self.assertRaises(ValueError, merge_caps, [octets])


class DirectoryTests(SynchronousTestCase):
    """:mod:`xcap.usage.directory`."""

    ENTRIES = (
        Entry(key("rls-services"), "5", 0.0, 3),
        Entry(key("resource-lists", 'a b/<&">'), "4f1", 1795374000.9, 612),
        Entry(key("resource-lists"), "4f0", 1795374000.0, 611),
        Entry(key("unknown"), "1", 0.0, 1),
    )
    AUIDS = ("rls-services", "resource-lists", "pres-rules")

    def read(self, document: bytes) -> dict[str, list[dict[str, str]]]:
        """The entries of a valid directory by folder."""
        root = parse_tree(document)
        validate("xcap-directory", root)
        return {
            str(folder.get("auid")): [
                {str(name): str(value) for name, value in entry.attrib.items()} for entry in folder
            ]
            for folder in root
        }

    def test_content(self) -> None:
        """A folder for each usage, empty too, and an entry for each document (XDM-80, 84)."""
        found = self.read(directory_document(self.AUIDS, self.ENTRIES))
        self.assertEqual(
            found,
            {
                "pres-rules": [],
                "resource-lists": [
                    {
                        "uri": build(ROOT, "resource-lists", JOE, 'a b/<&">'),
                        "etag": "4f1",
                        "last-modified": "2026-11-22T19:00:00Z",
                        "size": "612",
                    },
                    {
                        "uri": f"{ROOT}resource-lists/users/{JOE}/index",
                        "etag": "4f0",
                        "last-modified": "2026-11-22T19:00:00Z",
                        "size": "611",
                    },
                ],
                "rls-services": [
                    {
                        "uri": f"{ROOT}rls-services/users/{JOE}/index",
                        "etag": "5",
                        "last-modified": "1970-01-01T00:00:00Z",
                        "size": "3",
                    }
                ],
            },
        )
        self.assertEqual(list(found), sorted(found))

    def test_quotes(self) -> None:
        """Entity-tags stand without quotes, with a switch in them (XDM-81)."""
        for quoted, etag in ((False, "5"), (True, '"5"')):
            document = directory_document(["rls-services"], self.ENTRIES, quoted_tags=quoted)
            self.assertEqual(self.read(document)["rls-services"][0]["etag"], etag)

    def test_usages(self) -> None:
        """Usages without documents of users have no folder (XDM-84)."""
        usages = [one for several in standard_usages(settings()).values() for one in several]
        self.assertEqual(
            directory_auids(usages),
            [
                "org.openmobilealliance.group-usage-list",
                "org.openmobilealliance.pres-content",
                "org.openmobilealliance.pres-rules",
                "pidf-manipulation",
                "pres-rules",
                "resource-lists",
                "rls-services",
            ],
        )

    def test_one_folder(self) -> None:
        """What selects one folder by its usage needs that folder only (XDM-83)."""
        whole = parse_document(directory_document(self.AUIDS, self.ENTRIES))
        for selector in (
            'xcap-directory/folder[@auid="resource-lists"]',
            'xcap-directory/folder[@auid="resource-lists"]/entry[2]/@etag',
            '*/folder[@auid="pres-rules"]/namespace::*',
        ):
            node = parse_node(quote_node(selector), "", DIRECTORY_NS)
            wanted = wanted_folder(node)
            assert wanted is not None
            part = parse_document(directory_document([wanted], self.ENTRIES))
            self.assertEqual(get_node(part, node), get_node(whole, node))
        for selector in (
            "xcap-directory",
            "xcap-directory/folder[1]",
            'xcap-directory/folder[1][@auid="a"]',
            'xcap-directory/*[@auid="a"]',
            'xcap-directory/folder[@x="a"]',
            'xcap-directory[1]/folder[@auid="a"]',
            'x/folder[@auid="a"]',
        ):
            node = parse_node(quote_node(selector), "", DIRECTORY_NS)
            self.assertIsNone(wanted_folder(node), selector)

    def test_merge(self) -> None:
        """The proxy joins directories; who could not be asked has an error (XDM-82, XDM-86)."""
        one = directory_document(["resource-lists"], self.ENTRIES)
        merged = merge_directories(
            [vector("org.openmobilealliance.xcap-directory", "joe"), one],
            {"rls-services": "504", "pres-rules": "504 <&>", "resource-lists": "504"},
        )
        root = parse_tree(merged)
        validate("xcap-directory", root)
        self.assertEqual(
            [(folder.get("auid"), [node.text for node in folder]) for folder in root],
            [
                ("pres-rules", ["504 <&>"]),
                ("resource-lists", [None]),
                ("rls-services", ["503 Service Unavailable"]),
            ],
        )
        self.assertEqual(root[1][0].get("etag"), "4f1")

    def test_merge_prefers_entries(self) -> None:
        """Of two folders of one usage the one that was read is taken (XDM-86)."""
        joe = vector("org.openmobilealliance.xcap-directory", "joe")
        one = directory_document(["rls-services"], self.ENTRIES)
        for documents in ([joe, one], [one, joe]):
            root = parse_tree(merge_directories(documents))
            folder = root.find(f"{DIRECTORY}folder[@auid='rls-services']")
            assert folder is not None
            self.assertEqual([node.get("etag") for node in folder], ["5"])

    def test_bad(self) -> None:
        """What is no such document is refused."""
        for octets in BAD:
            self.assertRaises(ValueError, merge_directories, [octets])


class DefaultTests(SynchronousTestCase):
    """:mod:`xcap.usage.defaults`."""

    OMA = "org.openmobilealliance.pres-rules"

    def test_rules(self) -> None:
        """The document of new subscribers is valid and breaks no constraint (XDM-152)."""
        for xui in (JOE, "tel:+15550199", "sip:a%22&'b@example.com"):
            for policy in (None, DefaultPolicy("polite-block", "block", "polite-block")):
                document = default_rules(ROOT, xui, policy)
                at = key(self.OMA, "pres-rules", xui)
                self.assertIsNone(refusal(usage(self.OMA), document, at), xui)

    def test_ids(self) -> None:
        """It has the rules that clients know, each with its handling (XDM-152)."""
        root = parse_tree(default_rules(ROOT, JOE))
        pr = "{urn:ietf:params:xml:ns:pres-rules}"
        found = {
            rule.get("id"): (
                next(rule.iter(f"{pr}sub-handling")).text,
                [etree.QName(node).localname for node in rule.iter(f"{pr}*")][1:],
            )
            for rule in root
        }
        persons = ["provide-services", "all-services", "provide-persons", "all-persons"]
        devices = ["provide-devices", "all-devices"]
        self.assertEqual(
            found,
            {
                "wp_prs_allow_own": ("allow", [*persons, *devices, "provide-all-attributes"]),
                "wp_prs_block_anonymous": ("block", []),
                "wp_prs_unlisted": ("confirm", []),
                "wp_prs_grantedcontacts": ("allow", [*persons, "provide-all-attributes"]),
                "wp_prs_blockedcontacts": ("block", []),
            },
        )

    def test_lists(self) -> None:
        """The lists that the rules name are in the lists of new subscribers (XDM-26)."""
        document = default_lists()
        self.assertIsNone(refusal(usage("resource-lists"), document, key("resource-lists")))
        anchors = [
            str(entry.get("anc")) for entry in parse_tree(default_rules(ROOT, JOE)).iter("{*}entry")
        ]
        self.assertEqual(
            anchors,
            [list_uri(ROOT, JOE, name) for name in ("oma_grantedcontacts", "oma_blockedcontacts")],
        )
        namespace = usage("resource-lists").default_namespace
        for anchor in anchors:
            node = parse_node(anchor.partition("/~~/")[2], "", namespace)
            get_node(parse_document(document), node)
