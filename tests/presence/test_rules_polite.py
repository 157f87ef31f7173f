"""Tests of :mod:`presence.rules.polite`."""

from __future__ import annotations

from lxml import etree
from twisted.trial.unittest import SynchronousTestCase

from presence.pidf import names, schemas
from presence.pidf.offline import closed_document, empty_document
from presence.pidf.parse import parse_compact
from presence.rules.polite import PENDING_NOTE, pending_document, polite_document

BOB = "sip:bob@home.example"
ODD = 'sip:"<&>@home.example'


def valid(document: bytes) -> etree._Element:
    """The root of a document, after the schema has taken it."""
    root = parse_compact(document)
    schemas.presence().assertValid(root)
    return root


class PoliteTests(SynchronousTestCase):
    """Tests of :func:`polite_document`."""

    def test_like_offline(self) -> None:
        """PBK-04: octet by octet what is told of who has published nothing."""
        for entity in (BOB, "pres:bob@home.example", ODD):
            self.assertEqual(polite_document(entity, closed=False), empty_document(entity))
            self.assertEqual(polite_document(entity, closed=True), closed_document(entity))

    def test_unavailable(self) -> None:
        """PBK-01, PBK-02, XDM-136: valid; one closed tuple, nothing else, and stable."""
        document = polite_document(BOB, closed=True)
        root = valid(document)
        self.assertEqual(root.get("entity"), BOB)
        (only,) = root
        self.assertEqual(only.tag, names.TUPLE)
        self.assertEqual(only.findtext(f"{names.STATUS}/{names.BASIC}"), "closed")
        self.assertEqual(len(only), 1)
        self.assertEqual(document, polite_document(BOB, closed=True))
        other = valid(polite_document("sip:ann@home.example", closed=True))
        self.assertNotEqual(other[0].get("id"), only.get("id"))
        self.assertEqual(len(valid(polite_document(BOB, closed=False))), 0)


class PendingTests(SynchronousTestCase):
    """Tests of :func:`pending_document`."""

    def test_note(self) -> None:
        """PBK-10, NOT-09: the polite document, and a note that says why."""
        for closed in (False, True):
            for entity in (BOB, ODD):
                root = valid(pending_document(entity, closed=closed))
                note = root[-1]
                self.assertEqual((note.tag, note.text), (names.NOTE, PENDING_NOTE))
                self.assertEqual(note.get(names.XML_LANG), "en")
                root.remove(note)
                polite = parse_compact(polite_document(entity, closed=closed))
                self.assertEqual(etree.tostring(root), etree.tostring(polite))

    def test_own_note(self) -> None:
        """PBK-10: the text may be another, whatever characters it has."""
        root = valid(pending_document(BOB, closed=True, note="Please <wait> & see ]]>"))
        self.assertEqual(root[-1].text, "Please <wait> & see ]]>")
