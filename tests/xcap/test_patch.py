"""Patches: the cases of ``tests/vectors/patch``, errors, bounds."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree
from twisted.trial.unittest import SynchronousTestCase

from xcap import patch, schemas
from xcap.patch import KINDS, PatchError
from xcap.tree import Bounds

VECTORS = Path(__file__).parent.parent / "vectors" / "patch"
CHANGES = "urn:ietf:params:xml:ns:xcap-diff"


def canonical(octets: bytes) -> bytes:
    """A document in canonical form with comments."""
    document = etree.fromstring(octets).getroottree()
    return etree.tostring(document, method="c14n", with_comments=True)


def sections(path: Path) -> dict[str, bytes]:
    """The sections of a case by name."""
    _, *parts = path.read_text().split("\n=== ")
    named = (part.split("\n", 1) for part in parts)
    return {name.strip(): text.removesuffix("\n").encode() for name, text in named}


def operations(text: str) -> etree._Element:
    """A diff document with these operations."""
    return etree.fromstring(f"<diff>{text}</diff>")


class PatchTestCase(SynchronousTestCase):
    """Base that expects failures."""

    def fails(self, document: bytes, diff: etree._Element | bytes, **options: object) -> PatchError:
        """The error that a patch ends with."""
        return self.assertRaises(PatchError, patch.apply, document, diff, **options)

    def check_report(self, error: PatchError) -> etree._Element:
        """Validate the error document; returns the element of the error."""
        report = etree.fromstring(patch.error_document(error))
        schemas.load("patch-ops-error.xsd").assertValid(report)
        self.assertEqual(report.tag, f"{{{patch.NAMESPACE}}}patch-ops-error")
        self.assertEqual(len(report), 1)
        self.assertEqual(report[0].tag, f"{{{patch.NAMESPACE}}}{error.kind}")
        return report[0]


class VectorTests(PatchTestCase):
    """XPATCH-01 to XPATCH-09: the cases in files."""

    def test_accepted(self) -> None:
        """Patches give what the RFC says, in canonical form.

        XPATCH-01, XPATCH-02, XPATCH-03, XPATCH-04, XPATCH-05, XPATCH-06, XPATCH-07, XPATCH-08.
        """
        for path in sorted(VECTORS.glob("*.txt")):
            case = sections(path)
            if "result" not in case:
                continue
            result = patch.apply(case["target"], etree.fromstring(case["diff"]))
            self.assertEqual(canonical(result), canonical(case["result"]), path.name)

    def test_refused(self) -> None:
        """XPATCH-09, XPATCH-10: patches fail with the error that says why, the document valid."""
        for path in sorted(VECTORS.glob("bad-*.txt")):
            case = sections(path)
            error = self.fails(case["target"], etree.fromstring(case["diff"]))
            self.assertEqual(error.kind, case["error"].decode(), path.name)
            self.check_report(error)

    def test_octets(self) -> None:
        """Operations given as octets, one after the other, do the same."""
        for path in sorted(VECTORS.glob("*.txt")):
            case = sections(path)
            diff = etree.fromstring(case["diff"])
            parts = [etree.tostring(child, with_tail=False) for child in diff]
            if "result" in case:
                result = patch.apply(case["target"], b"".join(parts))
                self.assertEqual(canonical(result), canonical(case["result"]), path.name)

    def test_trees(self) -> None:
        """The tree of a document can be patched; it stays as it is."""
        root = etree.fromstring("<?p?><doc><a/></doc>")
        new = patch.apply_tree(root, operations('<add sel="doc/a"><b/></add>'))
        self.assertEqual(etree.tostring(new.getroottree()), b"<?p?><doc><a><b/></a></doc>")
        self.assertEqual(etree.tostring(root), b"<doc><a/></doc>")
        self.assertRaises(PatchError, patch.apply_tree, root, operations('<remove sel="x"/>'))

    def test_declaration(self) -> None:
        """An XML declaration is kept, and so is the line feed at the end."""
        head = b'<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
        add = operations('<add sel="doc"><a/></add>')
        self.assertEqual(patch.apply(head + b"<doc/>\n", add), head + b"<doc><a/></doc>\n")
        self.assertEqual(patch.apply(b"<doc/>", add), b"<doc><a/></doc>")


class ErrorTests(PatchTestCase):
    """XPATCH-10: errors and their documents."""

    def test_every_kind(self) -> None:
        """XPATCH-10: there is a failing case for each element of the error document."""
        kinds = {sections(path)["error"].decode() for path in VECTORS.glob("bad-*.txt")}
        elsewhere = {
            "invalid-entity-declaration",
            "unsupported-id-function",
            "unsupported-xml-id",
        }
        self.assertEqual(kinds | elsewhere, KINDS)

    def test_operation(self) -> None:
        """XPATCH-10: the operation that failed is in the error, with its namespaces."""
        diff = etree.fromstring(
            f'<d:diff xmlns:d="{CHANGES}" xmlns="urn:n"><d:add sel="id(\'x\')"><note/></d:add>'
            "</d:diff>"
        )
        error = self.fails(b"<doc/>", diff)
        element = self.check_report(error)
        self.assertEqual(element[0].tag, f"{{{CHANGES}}}add")
        self.assertEqual(element[0][0].tag, "{urn:n}note")
        self.assertEqual(element.get("phrase"), error.phrase)
        self.assertEqual(element.get("{http://www.w3.org/XML/1998/namespace}lang"), "en")

    def test_simple(self) -> None:
        """XPATCH-10: two errors name no operation, whatever it was."""
        for octets, kind in (
            (b"<add sel='doc'>", "invalid-diff-format"),
            (b"</patch><patch>", "invalid-diff-format"),
            (b"<add sel='doc'>\xff</add>", "invalid-character-set"),
            (b"<remove/>", "invalid-diff-format"),
        ):
            error = self.fails(b"<doc/>", octets)
            self.assertEqual((error.kind, error.operation), (kind, None))
            self.assertEqual(len(self.check_report(error)), 0)

    def test_entity(self) -> None:
        """XPATCH-10: a reference to an entity that is not declared."""
        parser = etree.XMLParser(resolve_entities=False, load_dtd=False, no_network=True)
        diff = etree.fromstring(
            "<!DOCTYPE diff [<!ENTITY e 'x'>]><diff><add sel='doc'>&e;</add></diff>", parser
        )
        error = self.fails(b"<doc/>", diff)
        self.assertEqual(error.kind, "invalid-entity-declaration")
        self.assertEqual(self.check_report(error)[0].get("sel"), "doc")

    def test_target_entities(self) -> None:
        """Documents with entities or document types are not patched."""
        for octets in (b"<doc>&e;</doc>", b'<!DOCTYPE doc SYSTEM "x"><doc/>'):
            self.assertEqual(self.fails(octets, operations("")).kind, "invalid-diff-format")

    def test_identifiers(self) -> None:
        """XPATCH-10: what id() can find is for the caller to say."""
        diff = operations("<add sel=\"id('x')\"><b/></add>")
        none = self.fails(b"<doc><a id='x'/></doc>", diff, identifiers=())
        self.assertEqual(none.kind, "unsupported-id-function")
        self.check_report(none)
        other = self.fails(b"<doc><a xml:id='x'/></doc>", diff, identifiers=("id",))
        self.assertEqual(other.kind, "unsupported-xml-id")
        self.check_report(other)
        missing = self.fails(b"<doc><a id='y'/></doc>", diff, identifiers=("id",))
        self.assertEqual(missing.kind, "unlocated-node")
        result = patch.apply(b"<doc><a id='x'/></doc>", diff, identifiers=("id",))
        self.assertEqual(result, b'<doc><a id="x"><b/></a></doc>')

    def test_namespace_of_the_document(self) -> None:
        """Directives of the namespace of the diff document must be known, others are ignored."""
        error = self.fails(b"<doc/>", etree.fromstring(f'<diff xmlns="{CHANGES}"><copy/></diff>'))
        self.assertEqual(error.kind, "invalid-patch-directive")
        self.check_report(error)
        foreign = etree.fromstring(f'<diff xmlns="{CHANGES}"><copy xmlns="urn:x"/><?pi?></diff>')
        self.assertEqual(patch.apply(b"<doc/>", foreign), b"<doc/>")


class BoundTests(PatchTestCase):
    """Patches come from others; their cost is bounded."""

    def test_depth(self) -> None:
        """Patches cannot nest elements more deeply than documents may be."""
        bounds = Bounds(depth=5)
        document = b"<a><a><a/></a></a>"
        for name, sel in (("add", "a/a/a"), ("replace", "a/a/a")):
            for depth in (1, 2, 3, 4):
                nested = "<a>" * depth + "</a>" * depth
                diff = operations(f"<{name} sel='{sel}'>{nested}</{name}>")
                if depth + (3 if name == "add" else 2) <= 5:
                    patch.apply(document, diff, bounds=bounds)
                else:
                    error = self.fails(document, diff, bounds=bounds)
                    self.assertEqual(error.kind, "invalid-patch-directive")

    def test_work(self) -> None:
        """A patch that looks at too many nodes ends with an error."""
        document = b"<doc>" + b"<a><b>x</b></a>" * 2000 + b"</doc>"
        diff = operations("<add sel=\"doc/a[b='y'][1]\"/>" * 1)
        self.assertEqual(self.fails(document, diff).kind, "unlocated-node")
        diff = operations("<add sel=\"*/*[b='x'][b='x'][b='x'][1]\"/>" * 400)
        self.assertEqual(self.fails(document, diff).kind, "invalid-patch-directive")

    def test_namespaces(self) -> None:
        """Nobody can declare namespaces without end."""
        many = "".join(f'<add sel="doc" type="namespace::p{n}">urn:x</add>' for n in range(257))
        error = self.fails(b"<doc/>", operations(many))
        self.assertEqual(error.kind, "invalid-patch-directive")
        declared = "".join(f' xmlns:p{n}="urn:{n}"' for n in range(300))
        error = self.fails(b"<doc/>", etree.fromstring(f"<diff{declared}/>"))
        self.assertEqual(error.kind, "invalid-diff-format")

    def test_size(self) -> None:
        """Documents and operations have bounds."""
        bounds = Bounds(size=100)
        error = self.fails(b"<doc>" + b" " * 100 + b"</doc>", operations(""), bounds=bounds)
        self.assertEqual(error.kind, "invalid-diff-format")
        diff = operations(f"<add sel='doc'>{' ' * 100}</add>")
        self.assertEqual(self.fails(b"<doc/>", diff, bounds=bounds).kind, "invalid-diff-format")

    def test_selector_length(self) -> None:
        """Selectors have a bound."""
        diff = operations(f"<remove sel='{'a/' * 40000}a'/>")
        self.assertEqual(self.fails(b"<doc/>", diff).kind, "invalid-attribute-value")


TOKENS = (
    "doc",
    *("a", "b", "*", "/", "/", "//", ".", "..", "@", "@k", "namespace::", "p", "text()", "|", ":"),
    *("comment()", "processing-instruction(", ")", "[", "]", "[1]", "[2]", "[@k='1']", "[.='t']"),
    *("[a='t']", "'", '"', "id(", "'x'", "="),
)
SELECTORS = st.lists(st.sampled_from(TOKENS), max_size=8).map("".join)


class AnyPatchTests(SynchronousTestCase):
    """Patches that make no sense."""

    @given(
        st.lists(
            st.tuples(
                st.sampled_from(("add", "replace", "remove")),
                SELECTORS,
                st.dictionaries(
                    st.sampled_from(("pos", "type", "ws")),
                    st.sampled_from(
                        ("before", "after", "both", "prepend", "@k", "@p:k", "namespace::q", "")
                    ),
                    max_size=2,
                ),
                st.sampled_from(("", "t", "<a/>", "<!--c-->", "<?i?>", "<p:a/>", " <b k='1'/> ")),
            ),
            max_size=4,
        )
    )
    @settings(max_examples=400, deadline=None)
    def test_result_or_error(self, found: list[tuple[str, str, dict[str, str], str]]) -> None:
        """XPATCH-01: whatever a patch asks for, the result is well-formed or the error is ours."""
        diff = etree.Element("diff", nsmap={"p": "urn:p"})
        for name, sel, options, content in found:
            text = f'<diff xmlns:p="urn:p"><{name}>{content}</{name}></diff>'
            operation = etree.fromstring(text)[0]
            operation.set("sel", sel)
            for key, value in options.items():
                operation.set(key, value)
            diff.append(operation)
        target = (
            b'<doc xmlns:p="urn:p">t<a k="1" p:k="2">t<b/></a><!--c--><?i?><a xml:id="x"/></doc>'
        )
        try:
            result = patch.apply(target, diff)
        except PatchError as error:
            self.assertIn(error.kind, KINDS)
            report = etree.fromstring(patch.error_document(error))
            schemas.load("patch-ops-error.xsd").assertValid(report)
        else:
            etree.fromstring(result)
