"""Where documents refer to objects, and what watchers are told there."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from presence.objects.published import PublishedObject
from presence.objects.references import mentioned, referred, told
from presence.pidf.validate import accept
from tests.node import BOB
from tests.presence.objects import person

CARD = (
    '<c:icon xmlns:c="urn:ietf:params:xml:ns:pidf:cipid">CID:card%201@ua </c:icon>'
    '<x:photo xmlns:x="urn:x" x:at="cid:photo@ua" other="about cid:none@ua">'
    "see cid:none@ua</x:photo>"
)


def valid(document: bytes) -> bool:
    """Whether the schema allows it."""
    return accept(document, entity_ok=lambda _: True, strict=True) is document


class ReferenceTests(SynchronousTestCase):
    """CIN-08: ``cid:`` URLs in elements and attributes."""

    def test_mentioned(self) -> None:
        """CIN-08: elements and attributes that are such a URL; any case, escapes undone."""
        self.assertEqual(mentioned(person(more=CARD)), {"icon1@ua", "card 1@ua", "photo@ua"})
        self.assertEqual(mentioned(person("http://x.example/cid:a@b")), frozenset())
        self.assertEqual(mentioned(person("&#99;id:&#105;con1@ua")), {"icon1@ua"})

    def test_referred(self) -> None:
        """What nobody refers to is not kept."""
        objects = [PublishedObject(cid, "n") for cid in ("icon1@ua", "other@ua", "Icon1@ua")]
        self.assertEqual([each.cid for each in referred(person(), objects)], ["icon1@ua"])
        self.assertEqual(referred(b"no document", ()), ())

    def test_told(self) -> None:
        """CIN-08: references get the names that watchers know; those of no object stay."""
        objects = [
            PublishedObject("icon1@ua", "aa@[2001:db8::1]"),
            PublishedObject("photo@ua", "bb@example.com"),
        ]
        document = told(person(more=CARD), objects, 0.0)
        self.assertEqual(mentioned(document), {"aa@[2001:db8::1]", "card 1@ua", "bb@example.com"})
        self.assertIn(b">cid:aa@%5B2001%3Adb8%3A%3A1%5D</r:status-icon>", document)
        self.assertTrue(valid(document))

    def test_over(self) -> None:
        """CIN-09: at its time a reference goes, with its element; others and text stay."""
        objects = [
            PublishedObject("icon1@ua", "a@x", url="https://c/1", expires=100.0),
            PublishedObject("photo@ua", "b@x", url="https://c/2", expires=200.0),
            PublishedObject("card 1@ua", "c@x", body=b"here"),
        ]
        document = person(more=CARD)
        for now, left in (
            (None, {"a@x", "b@x", "c@x"}),
            (99.0, {"a@x", "b@x", "c@x"}),
            (100.0, {"b@x", "c@x"}),
            (200.0, {"c@x"}),
        ):
            told_then = told(document, objects, now)
            self.assertEqual(mentioned(told_then), left)
            self.assertTrue(valid(told_then))
        self.assertNotIn(b"status-icon", told(document, objects, 100.0))
        self.assertNotIn(b"photo", told(document, objects, 200.0))

    def test_over_where_it_is_needed(self) -> None:
        """CIN-09: no document becomes invalid by it."""
        document = (
            f'<?xml version="1.0" encoding="UTF-8"?>\n<presence entity="{BOB}"'
            ' xmlns="urn:ietf:params:xml:ns:pidf"'
            ' xmlns:dm="urn:ietf:params:xml:ns:pidf:data-model"'
            ' xmlns:r="urn:ietf:params:xml:ns:pidf:rpid">'
            "<tuple id='t'><status><basic>open</basic></status>"
            "<contact>cid:a@x</contact></tuple>"
            "<dm:device id='d'><r:class>cid:a@x</r:class>"
            "<dm:deviceID>cid:a@x</dm:deviceID></dm:device></presence>"
        ).encode()
        gone = [PublishedObject("a@x", "b@x", url="https://c/1", expires=1.0)]
        left = told(document, gone, 2.0)
        self.assertTrue(valid(left))
        self.assertNotIn(b"contact", left)
        self.assertIn(b"deviceID", left)
