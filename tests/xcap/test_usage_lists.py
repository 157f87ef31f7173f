"""The usages ``resource-lists`` and ``group-usage-list``."""

from __future__ import annotations

from lxml import etree
from twisted.trial.unittest import SynchronousTestCase

from tests.xcap.usages import RL, key, lists, refusal, tree, usage, verdict
from xcap.document import parse_document
from xcap.errors import Conflict
from xcap.report import report
from xcap.select import select_element
from xcap.uri import bindings_query, parse_node, parse_target, quote_node
from xcap.usage.base import Quotas
from xcap.usage.resourcelists import list_parents

LISTS = "resource-lists"
GROUPS = "org.openmobilealliance.group-usage-list"
ANCHOR = "https://xcap.example.org/resource-lists/users/sip:a@x/index/~~/resource-lists/list"


class ConstraintTests(SynchronousTestCase):
    """What is demanded beyond the schema."""

    def test_unique(self) -> None:
        """Members of one list differ, compared as strings, absent names do not (XDM-22)."""
        for content in (
            "<list name='a'/><list name='b'/><list/><list/>",
            "<list name='a'/><list name='A'/>",
            "<list name='a'><list name='a'/></list>",
            "<list><entry uri='sip:a@x'/><entry uri='sip:a@X'/></list>",
            "<list><entry uri='sip:a@x'/><entry-ref ref='sip'/></list>",
            "<list><entry uri='sip:a@x'/></list><list><entry uri='sip:a@x'/></list>",
        ):
            self.assertIsNone(refusal(usage(LISTS), lists(content), key(LISTS)), content)
        for content in (
            "<list name='a'/><list name='a'/>",
            "<list><list name='a'/><list/><list name='a'/></list>",
            "<list><entry uri='a'/><list/><entry uri='a'/></list>",
            "<list><entry-ref ref='a'/><entry-ref ref='a'/></list>",
            f"<list><external anchor='{ANCHOR}'/><external anchor='{ANCHOR}'/></list>",
        ):
            for auid in (LISTS, GROUPS):
                conflict = refusal(usage(auid), lists(content), key(auid))
                assert conflict is not None, content
                self.assertEqual(conflict.kind, "uniqueness-failure", content)
                self.assertEqual(len(conflict.exists), 1)

    def test_fields(self) -> None:
        """Every repeated value is told, each by a selector of just that one (XCAP-133, 135)."""
        body = lists(
            "<list name='a'><entry uri='q\"&lt;&amp;'/><list/>"
            "<list><entry uri='x'/><entry uri='x'/><entry uri='x'/></list>"
            "<entry uri='q\"&lt;&amp;'/></list><list/><list name='a'/>"
        )
        one = usage(LISTS)
        conflict = refusal(one, body, key(LISTS))
        assert conflict is not None
        self.assertEqual(
            [exists.field for exists in conflict.exists],
            [
                'resource-lists/list[3][@name="a"]/@name',
                'resource-lists/list[1]/entry[2][@uri="q&quot;&lt;&amp;"]/@uri',
                'resource-lists/list[1]/list[2]/entry[2][@uri="x"]/@uri',
                'resource-lists/list[1]/list[2]/entry[3][@uri="x"]/@uri',
            ],
        )
        document = parse_document(body.encode())
        for exists in conflict.exists:
            query = bindings_query(dict(exists.bindings))
            selector = parse_node(quote_node(exists.field), query, one.default_namespace)
            found = select_element(document, selector.steps)
            self.assertIn(selector.attribute, found.attributes)

    def test_alternatives(self) -> None:
        """Up to five free names are offered for a list, none for a URI (XCAP-134)."""
        conflict = refusal(
            usage(LISTS),
            lists("<list name='a'/><list name='a-3'/><list name='a'/>"),
            key(LISTS),
        )
        assert conflict is not None
        self.assertEqual(conflict.exists[0].alternatives, ("a-2", "a-4", "a-5", "a-6", "a-7"))
        conflict = refusal(
            usage(LISTS), lists("<list><entry uri='a'/><entry uri='a'/></list>"), key(LISTS)
        )
        assert conflict is not None
        self.assertEqual(conflict.exists[0].alternatives, ())

    def test_report_is_bounded(self) -> None:
        """A document full of repetitions gives a report of bearable size."""
        body = lists("<list>" + "<entry uri='a'/>" * 5000 + "</list>")
        conflict = refusal(usage(LISTS), body, key(LISTS))
        assert conflict is not None
        self.assertEqual(len(conflict.exists), 100)
        target = parse_target("/resource-lists/users/sip:joe@example.com/index")
        self.assertLess(len(report(conflict, "https://x/", target)), 1 << 16)

    def test_ref(self) -> None:
        """A ref is a relative path (XDM-23); where it leads nobody asks (XDM-25, XCAP-144)."""
        good = "resource-lists/users/sip:b@x/index/~~/resource-lists/list%5b1%5d/entry"
        for ref in (good, "x", f" {good}\n"):
            body = lists(f"<list><entry-ref ref='{ref}'/></list>")
            self.assertEqual(verdict(usage(LISTS), body, key(LISTS)), ("", ""))
        for ref in ("", f"/{good}", f"//x/{good}", f"https://x/{good}", "a b"):
            body = lists(f"<list><list><entry-ref ref='{ref}'/></list></list>")
            self.assertEqual(
                verdict(usage(LISTS), body, key(LISTS)),
                ("constraint-failure", "The ref of an entry-ref must be a relative path"),
                ref,
            )

    def test_anchor(self) -> None:
        """An anchor is an absolute HTTP URI (XDM-24); where it leads nobody asks (XDM-25)."""
        for anchor in (ANCHOR, "http://elsewhere.example/", f"\n{ANCHOR}%5b@name=%22a%22%5d "):
            body = lists(f"<list><external anchor='{anchor}'/></list>")
            self.assertEqual(verdict(usage(LISTS), body, key(LISTS)), ("", ""))
        bad = [f"anchor='{anchor}'" for anchor in ("", "a/b", "/a", "//x/a", "sip:a@x")]
        for attribute in ("", *bad, "anchor='https://x/a b'"):
            body = lists(f"<list><external {attribute}/></list>")
            self.assertEqual(
                verdict(usage(LISTS), body, key(LISTS)),
                (
                    "constraint-failure",
                    "The anchor of an external must be an absolute HTTP URI",
                ),
                attribute,
            )

    def test_well_known_names(self) -> None:
        """The names that OMA and RCS give lists are names like others (XDM-26)."""
        for name in ("oma_buddylist", "oma_grantedcontacts", "rcs", "rcs_blockedcontacts"):
            body = lists(f"<list name='{name}'/>")
            self.assertEqual(verdict(usage(LISTS), body, key(LISTS)), ("", ""))

    def test_quotas(self) -> None:
        """Lists in a document and entries in a list are counted (XDM-08)."""
        small = usage(LISTS, quotas=Quotas(lists=3, entries=2))
        entries = "<entry uri='a'/><entry-ref ref='a'/>"
        external = f"<external anchor='{ANCHOR}'/>"
        for content, phrase in (
            (f"<list><list>{entries}</list></list><list>{entries}</list>", ""),
            ("<list><list/></list><list/><list/>", "Too many lists, at most 3 are allowed"),
            (
                f"<list>{entries}{external}</list>",
                "Too many entries in a list, at most 2 are allowed",
            ),
        ):
            found = verdict(small, lists(content), key(LISTS))
            self.assertEqual(found, ("constraint-failure" if phrase else "", phrase))
        self.assertEqual(
            verdict(usage(LISTS), lists("<list/>" * 100), key(LISTS)),
            ("", ""),
        )
        self.assertNotEqual(verdict(usage(LISTS), lists("<list/>" * 101), key(LISTS)), ("", ""))

    def test_uniqueness_first(self) -> None:
        """What is not unique is told before what breaks another rule (XCAP-143)."""
        body = lists("<list name='a'><entry-ref ref='/a'/></list><list name='a'/>")
        self.assertEqual(verdict(usage(LISTS), body, key(LISTS))[0], "uniqueness-failure")

    def test_extensions_are_not_ours(self) -> None:
        """Lists inside an extension are not looked at."""
        inner = f"<x:y xmlns:x='urn:x' xmlns='{RL}'><list><external/></list></x:y>"
        body = lists(f"<list>{inner}</list>")
        self.assertEqual(verdict(usage(LISTS), body, key(LISTS)), ("", ""))
        names = [etree.QName(found).localname for found in list_parents(tree(usage(LISTS), body))]
        self.assertEqual(names, ["resource-lists", "list"])


class GroupUsageTests(SynchronousTestCase):
    """``org.openmobilealliance.group-usage-list`` (XDM-35)."""

    def test_names(self) -> None:
        """Every list has a name (XDM-36)."""
        for content, good in (
            ("<list name='a'><list name='a'/></list>", True),
            ("<list/>", False),
            ("<list name='a'><list/></list>", False),
        ):
            found = verdict(usage(GROUPS), lists(content), key(GROUPS))
            wanted = ("", "") if good else ("constraint-failure", "Name attribute is required")
            self.assertEqual(found, wanted, content)

    def test_members(self) -> None:
        """A list has entries and lists only (XDM-37)."""
        for content, good in (
            ("<entry uri='a'/>", True),
            ("<entry-ref ref='a'/>", False),
            (f"<external anchor='{ANCHOR}'/>", False),
            ("<list name='b'><entry-ref ref='a'/></list>", False),
        ):
            body = lists(f"<list name='a'>{content}</list>")
            wanted = ("", "") if good else ("constraint-failure", "Not allowed")
            self.assertEqual(verdict(usage(GROUPS), body, key(GROUPS)), wanted, content)

    def test_unique(self) -> None:
        """What must be unique in resource lists must be here (XDM-38)."""
        body = lists("<list name='a'/><list name='a'/>")
        self.assertEqual(verdict(usage(GROUPS), body, key(GROUPS))[0], "uniqueness-failure")

    def test_uses(self) -> None:
        """An entry says what its group is for (XDM-35)."""
        uses = '<uriusages xmlns="urn:oma:xml:xdm:resource-list:oma-uriusage"/>'
        body = lists(f"<list name='a'><entry uri='a'>{uses}</entry></list>")
        self.assertEqual(verdict(usage(GROUPS), body, key(GROUPS)), ("", ""))

    def test_document(self) -> None:
        """There is one document, ``index``."""
        groups = usage(GROUPS)
        groups.locate("users", ("index",))
        conflict = self.assertRaises(Conflict, groups.locate, "users", ("other",))
        self.assertEqual(conflict.kind, "constraint-failure")
