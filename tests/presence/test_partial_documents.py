"""``application/pidf-diff+xml`` documents, and what a watcher makes of them."""

from __future__ import annotations

from lxml import etree
from twisted.trial.unittest import SynchronousTestCase

from presence.partial.difference import difference
from presence.partial.documents import DIFF, FULL, NAMESPACE, Diff, Full, full, partial, read
from presence.partial.state import PartialState
from presence.pidf.parse import DocumentError
from tests.presence.compositions import canonical
from tests.presence.documents import BOB, document, lenient, names, vector
from xcap import schemas

TUPLE = '<tuple id="t1"><status><basic>{}</basic></status></tuple>'
OPEN, CLOSED = document(TUPLE.format("open")), document(TUPLE.format("closed"))


def diff(old: bytes, new: bytes, version: int | None, entity: str = BOB) -> bytes:
    """The body that tells of a change."""
    made = difference(old, new)
    assert made is not None
    return partial(made, entity, version)


def valid(body: bytes) -> etree._Element:
    """The root of a body, which the schema of RFC 5262 allows."""
    root = etree.fromstring(body)
    schemas.load("pidf-diff.xsd").assertValid(root)
    return root


class FullTests(SynchronousTestCase):
    """:func:`presence.partial.documents.full` and what is read of it."""

    def test_form(self) -> None:
        """PNO-01: the root is ``pidf-full`` with entity and version; the rest stays."""
        root = valid(full(OPEN, 7))
        self.assertEqual(root.tag, FULL)
        self.assertEqual((root.get("entity"), root.get("version")), (BOB, "7"))
        self.assertEqual(etree.QName(root[0]).localname, "tuple")

    def test_without_version(self) -> None:
        """PNO-01: the version may be left out."""
        self.assertIsNone(valid(full(OPEN)).get("version"))
        found = read(full(OPEN))
        self.assertIsNone(found.version)

    def test_all_documents(self) -> None:
        """PNO-01, PNO-14: whatever document is kept comes back the same, in UTF-8."""
        for kind in ("valid", "quirk", "encoding"):
            for name in names(kind):
                kept = lenient(vector(name))
                body = full(kept, 3)
                body.decode("utf-8")
                found = read(body)
                assert isinstance(found, Full)
                self.assertEqual(canonical(found.document), canonical(kept), name)
                self.assertEqual(found.version, 3)
                self.assertNotIn(NAMESPACE.encode(), found.document, name)

    def test_unusual(self) -> None:
        """Documents that are written in an unusual way."""
        spaces = 'xmlns="urn:ietf:params:xml:ns:pidf"'
        for text in (
            f'<presence {spaces} entity="{BOB}"/>',
            f"<?xml version='1.0'?><!-- c --><presence {spaces} entity='{BOB}'> <note/></presence>",
            f'<q:presence {spaces.replace("=", ":q=")} entity="{BOB}"><q:note/></q:presence>',
            f'<presence {spaces} xmlns:p="urn:p" entity="{BOB}"><note p:a="1"/></presence>\n',
            f'<presence {spaces} xmlns:p ="urn:p" entity="{BOB}"><note p:a="1"/></presence>',
            f'<presence {spaces} entity="{BOB}"><p:a xmlns:p="urn:p" version="2"/></presence>',
            f'<presence {spaces} xmlns:v="urn:v" v:version="3" entity="{BOB}"><note/></presence>',
            f'<presence {spaces} entity="{BOB}"><note/></presence ><!-- end -->',
            f"<presence\n {spaces}\n entity='a>b'><note/></presence>",
        ):
            body = full(text.encode(), 12)
            root = etree.fromstring(body)
            self.assertEqual((root.tag, root.get("version")), (FULL, "12"), text)
            found = read(body)
            assert isinstance(found, Full)
            bare = text.replace("<!-- c -->", "").replace("<!-- end -->", "")
            self.assertEqual(canonical(found.document), canonical(bare.encode()), text)
        self.assertRaises(DocumentError, full, b"<presence>")

    def test_other_prefixes(self) -> None:
        """Prefixes of others: PIDF with a prefix, partial presence without."""
        for head, name in (
            (f'xmlns="{NAMESPACE}" xmlns:d="urn:ietf:params:xml:ns:pidf"', "pidf-full"),
            (f'xmlns:q="{NAMESPACE}" xmlns:d="urn:ietf:params:xml:ns:pidf"', "q:pidf-full"),
        ):
            body = f'<{name} {head} entity="{BOB}"><d:note>n</d:note></{name}>'
            found = read(body.encode())
            assert isinstance(found, Full)
            root = etree.fromstring(found.document)
            self.assertEqual(root.tag, "{urn:ietf:params:xml:ns:pidf}presence")
            self.assertEqual(root[0].tag, "{urn:ietf:params:xml:ns:pidf}note")
        bare = f'<p:pidf-full xmlns:p="{NAMESPACE}" entity="{BOB}"/>'
        found = read(bare.encode())
        assert isinstance(found, Full)
        self.assertEqual(
            etree.fromstring(found.document).tag, "{urn:ietf:params:xml:ns:pidf}presence"
        )


class ReadTests(SynchronousTestCase):
    """:func:`presence.partial.documents.read`."""

    def refused(self, body: bytes, **options: object) -> int:
        """The status of a refusal."""
        error: DocumentError = self.assertRaises(DocumentError, read, body, **options)
        return error.status

    def test_roots(self) -> None:
        """PNO-01: the root is one of two; ``presence`` is not allowed."""
        self.assertEqual(self.refused(OPEN), 400)
        self.assertEqual(self.refused(b"<pidf-full/>"), 400)
        self.assertEqual(self.refused(b"no XML"), 400)
        self.assertEqual(self.refused(b""), 400)

    def test_entity(self) -> None:
        """PNO-01: ``pidf-full`` needs an entity, ``pidf-diff`` does not."""
        self.assertEqual(self.refused(full(OPEN).replace(f'entity="{BOB}"'.encode(), b"")), 400)
        found = read(f'<pidf-diff xmlns="{NAMESPACE}" version=" 4 "/>'.encode())
        assert isinstance(found, Diff)
        self.assertIsNone(found.entity)
        self.assertEqual(found.version, 4)

    def test_versions(self) -> None:
        """PNO-01: the version is an unsigned integer of 32 bits."""
        text = f'<pidf-diff xmlns="{NAMESPACE}" version="{{}}"/>'
        self.assertEqual(read(text.format(2**32 - 1).encode()).version, 2**32 - 1)
        for number in ("-1", "x", "", "1.0", str(2**32), "9" * 100, "\u0661"):
            self.assertEqual(self.refused(text.format(number).encode()), 400, number)

    def test_limits(self) -> None:
        """MSG-28, PID-10: no document type, no endless documents, known character sets."""
        self.assertEqual(self.refused(full(OPEN), limit=100), 413)
        self.assertEqual(self.refused(b"<!DOCTYPE x [<!ENTITY a 'b'>]>" + full(OPEN)[39:]), 400)
        self.assertEqual(self.refused(full(OPEN), charset="ebcdic"), 415)
        body = full(OPEN).decode().replace("UTF-8", "ISO-8859-1").encode("latin-1")
        self.assertIsInstance(read(body), Full)


class StateTests(SynchronousTestCase):
    """:class:`presence.partial.state.PartialState`."""

    def setUp(self) -> None:
        """A watcher with the first document."""
        self.state = PartialState()
        self.assertEqual(self.state.take(full(OPEN, 1)), "replaced")

    def holds(self, document: bytes, version: int) -> None:
        """Check what the watcher has."""
        assert self.state.document is not None
        self.assertEqual(canonical(self.state.document), canonical(document))
        self.assertEqual(self.state.version, version)

    def test_first(self) -> None:
        """PNO-11: the first document sets the counter, whatever its version."""
        state = PartialState()
        self.assertEqual(state.take(full(OPEN, 567)), "replaced")
        self.assertEqual(state.version, 567)

    def test_next(self) -> None:
        """PNO-11: the next change is applied, and a newer whole document replaces."""
        self.assertEqual(self.state.take(diff(OPEN, CLOSED, 2)), "applied")
        self.holds(CLOSED, 2)
        self.assertEqual(self.state.take(diff(CLOSED, OPEN, 3)), "applied")
        self.holds(OPEN, 3)
        self.assertEqual(self.state.take(full(CLOSED, 9)), "replaced")
        self.holds(CLOSED, 9)

    def test_old(self) -> None:
        """PNO-11: what is not newer is discarded, whole documents as well."""
        self.state.take(diff(OPEN, CLOSED, 2))
        for body in (full(OPEN, 2), full(OPEN, 1), diff(CLOSED, OPEN, 2), diff(CLOSED, OPEN, 1)):
            self.assertEqual(self.state.take(body), "discarded")
        self.holds(CLOSED, 2)

    def test_lost(self) -> None:
        """PNO-11: a change that skips a number is not applied; the next whole document helps."""
        self.assertEqual(self.state.take(diff(OPEN, CLOSED, 3)), "lost")
        self.holds(OPEN, 1)
        self.assertEqual(self.state.take(diff(OPEN, CLOSED, 4)), "lost")
        self.assertEqual(self.state.take(full(CLOSED, 5)), "replaced")
        self.holds(CLOSED, 5)

    def test_nothing_before(self) -> None:
        """PNO-11: a change cannot be the first document."""
        state = PartialState()
        self.assertEqual(state.take(diff(OPEN, CLOSED, 1)), "lost")
        self.assertIsNone(state.document)
        self.assertEqual(state.take(full(CLOSED, 2)), "replaced")

    def test_failing(self) -> None:
        """PNO-11, PNO-12: what cannot be applied or understood changes nothing, and is no error."""
        body = diff(OPEN, CLOSED, 2).replace(b"t1", b"t2")
        other = diff(OPEN, CLOSED, 2, "sip:eve@home.example")
        none = diff(OPEN, CLOSED, None)
        for bad in (body, other, none, full(OPEN), OPEN, b"", b"<", b"\xff\xfe\x00"):
            self.assertEqual(self.state.take(bad), "failed")
        self.holds(OPEN, 1)
        self.assertEqual(self.state.take(diff(OPEN, CLOSED, 2)), "applied")

    def test_no_entity(self) -> None:
        """PNO-01: a change need not tell of whom it is."""
        body = diff(OPEN, CLOSED, 2).replace(f' entity="{BOB}"'.encode(), b"")
        self.assertEqual(self.state.take(body), "applied")

    def test_switch(self) -> None:
        """PNO-08: after a PIDF document only a whole one is taken; the counter goes on."""
        self.state.take(diff(OPEN, CLOSED, 2))
        self.assertEqual(self.state.take_whole(OPEN), "replaced")
        self.holds(OPEN, 2)
        self.assertEqual(self.state.take(diff(OPEN, CLOSED, 3)), "lost")
        self.assertEqual(self.state.take(full(CLOSED, 2)), "discarded")
        self.assertEqual(self.state.take(full(CLOSED, 3)), "replaced")
        self.assertEqual(self.state.take(diff(CLOSED, OPEN, 4)), "applied")
        self.assertEqual(self.state.take_whole(b"<?xml version='1.0' encoding='x'?>"), "failed")

    def test_forms(self) -> None:
        """PNO-01: a change has the form that the schema wants, also without entity and version."""
        root = valid(diff(OPEN, CLOSED, 2))
        self.assertEqual(root.tag, DIFF)
        self.assertEqual((root.get("entity"), root.get("version")), (BOB, "2"))
        made = difference(OPEN, CLOSED)
        assert made is not None
        self.assertEqual(dict(valid(made).attrib), {})
