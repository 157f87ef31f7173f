"""Changes applied to presence documents, and the vectors of ``tests/vectors/partial``."""

from __future__ import annotations

from pathlib import Path

from lxml import etree
from twisted.trial.unittest import SynchronousTestCase

from presence.partial.documents import Diff, Full, partial, read
from presence.partial.patching import MOST_OPERATIONS, PatchError, apply
from presence.pidf.parse import DocumentError
from tests.presence.compositions import canonical
from tests.presence.documents import BOB, document
from xcap import patch, schemas

VECTORS = Path(__file__).parent.parent / "vectors" / "partial"
HEAD = (
    '<p:pidf-diff xmlns="urn:ietf:params:xml:ns:pidf"'
    ' xmlns:p="urn:ietf:params:xml:ns:pidf-diff">{}</p:pidf-diff>'
)


def sections(path: Path) -> dict[str, bytes]:
    """The sections of a case by name."""
    title, *parts = path.read_text().split("\n=== ")
    named = (part.split("\n", 1) for part in parts)
    found = {name.strip(): text.removesuffix("\n").encode() for name, text in named}
    return {"title": title.encode(), **found}


def exact(octets: bytes) -> bytes:
    """A document in canonical form, with comments and white space between elements."""
    text: bytes = etree.tostring(
        etree.fromstring(octets).getroottree(), method="c14n", exclusive=True, with_comments=True
    )
    return text


def kept(octets: bytes) -> bytes:
    """The PIDF document of a ``pidf-full``."""
    found = read(octets)
    assert isinstance(found, Full)
    return found.document


class VectorTests(SynchronousTestCase):
    """The cases in files."""

    def test_examples(self) -> None:
        """The examples of RFC 5262, RFC 5263 and RFC 5264, and PNO-13."""
        names = ("rfc5262", "rfc5263", "rfc5264", "notification")
        for name in names:
            case = sections(VECTORS / f"{name}.txt")
            new = apply(kept(case["full"]), case["diff"])
            self.assertEqual(canonical(new), canonical(case["result"]), name)

    def test_accepted(self) -> None:
        """XPO-01, XPO-02, XPO-04, XPO-05, XPO-06, XPO-07, XPO-08, XPO-09, XPO-10, PNO-02."""
        found = sorted(VECTORS.glob("ok-*.txt"))
        self.assertGreater(len(found), 15)
        for path in found:
            case = sections(path)
            new = apply(kept(case["full"]), case["diff"])
            self.assertEqual(exact(new), exact(case["result"]), path.name)

    def test_refused(self) -> None:
        """XPO-01, XPO-02, XPO-03, XPO-04, XPO-05, XPO-07, XPO-08, XPO-09, XPO-10, XPO-12."""
        found = sorted(VECTORS.glob("bad-*.txt"))
        self.assertGreater(len(found), 20)
        for path in found:
            case = sections(path)
            error = self.assertRaises(PatchError, apply, kept(case["full"]), case["diff"])
            self.assertEqual(error.kind, case["error"].decode(), path.name)
            report = etree.fromstring(patch.error_document(error))
            schemas.load("patch-ops-error.xsd").assertValid(report)
            self.assertEqual(
                [child.tag for child in report], [f"{{{patch.NAMESPACE}}}{error.kind}"]
            )


class ApplyTests(SynchronousTestCase):
    """:func:`presence.partial.patching.apply`."""

    def fails(self, operations: str, inner: str = "<note>n</note>") -> PatchError:
        """The error that operations end with."""
        diff = HEAD.format(operations).encode()
        return self.assertRaises(PatchError, apply, document(inner), diff)

    def test_declared_once(self) -> None:
        """PNO-01: what is read can be applied without being read again."""
        octets = HEAD.format('<p:remove sel="presence/note"/>').encode()
        found = read(octets)
        assert isinstance(found, Diff)
        for _ in range(2):  # the value is not used up
            self.assertEqual(exact(apply(document("<note>n</note>"), found)), exact(document("")))

    def test_other_documents(self) -> None:
        """PNO-01: only a ``pidf-diff`` can be applied."""
        whole = sections(VECTORS / "rfc5262.txt")["full"]
        self.assertRaises(DocumentError, apply, document(""), whole)
        self.assertRaises(DocumentError, apply, document(""), document(""))
        self.assertRaises(DocumentError, apply, document(""), b"<")

    def test_bounds(self) -> None:
        """Operations, sizes, depth and work are bounded."""
        many = '<p:add sel="*"><note/></p:add>' * (MOST_OPERATIONS + 1)
        self.assertEqual(self.fails(many).kind, "invalid-diff-format")
        grow = "".join(f'<p:add sel="*"><note>{"x" * 200}</note></p:add>' for _ in range(20))
        diff = HEAD.format(grow).encode()
        error = self.assertRaises(DocumentError, apply, document(""), diff, 3000)
        self.assertEqual(error.status, 413)
        deep = f"{'<tuple>' * 40}{'</tuple>' * 40}"
        inner = f"<tuple>{'<x:a>' * 30}{'</x:a>' * 30}</tuple>"
        place = f"*/tuple{'/*' * 30}"
        error = self.fails(f'<p:add sel="{place}">{deep}</p:add>', inner)
        self.assertEqual(error.kind, "invalid-patch-directive")
        wide = "<note/>" * 20_000
        looks = "[.='']" * 500
        error = self.fails(f'<p:remove sel="*/note{looks}[7]"/>', wide)
        self.assertEqual(error.kind, "invalid-patch-directive")
        wide = "".join(
            f"<tuple id='a{n}'><status><basic>open</basic></status></tuple>" for n in range(2000)
        )
        search = "<p:remove sel=\"*/tuple[status='shut']\"/>" * 400
        self.assertIn(self.fails(search, wide).kind, ("unlocated-node", "invalid-patch-directive"))

    def test_entity_stays(self) -> None:
        """PNO-14: the entity of a diff document is for its reader to compare."""
        body = partial(HEAD.format("").encode(), 'sip:a&<"@home.example', 3)
        found = read(body)
        assert isinstance(found, Diff)
        self.assertEqual((found.entity, found.version), ('sip:a&<"@home.example', 3))
        self.assertEqual(exact(apply(document(""), body)), exact(document("")))
        self.assertIn(BOB.encode(), apply(document(""), body))
