"""Changes made from two versions of a presence document."""

from __future__ import annotations

import random
from itertools import pairwise

from lxml import etree
from twisted.trial.unittest import SynchronousTestCase

from bench import micro_partial
from presence.partial.difference import LARGEST, difference
from presence.partial.documents import NAMESPACE, full, partial
from presence.partial.patching import apply
from presence.rules.permissions import EVERYTHING, Permissions
from presence.rules.transform import transform
from tests.presence.changes import Changes
from tests.presence.documents import BOB, document
from tests.presence.publications import Publications
from xcap import schemas

PAIRS = 10_000
PERSON = '<dm:person id="p1">{}</dm:person>'


def canonical(octets: bytes) -> bytes:
    """A document in canonical form with comments; declarations and white space count."""
    root = etree.fromstring(octets).getroottree()
    text: bytes = etree.tostring(root, method="c14n", with_comments=True)
    return text


class DifferenceTests(SynchronousTestCase):
    """:func:`presence.partial.difference.difference`."""

    def told(self, old: bytes, new: bytes) -> list[tuple[str, dict[str, str]]]:
        """The operations between two documents; checks what they do, and their form."""
        made = difference(old, new)
        assert made is not None
        body = partial(made, BOB, 2)
        self.assertEqual(canonical(apply(old, body)), canonical(new))
        root = etree.fromstring(body)
        schemas.load("pidf-diff.xsd").assertValid(root)
        self.assertEqual(body.count(NAMESPACE.encode()), 1)
        return [(etree.QName(child).localname, dict(child.attrib)) for child in root]

    def change(self, inner: str, old: str, new: str) -> list[tuple[str, dict[str, str]]]:
        """The operations that replace a part of a document, in a document that has more."""
        self.assertIn(old, inner)
        more = '<tuple id="t0"><status/><note>many words to make it worth the while</note></tuple>'
        return self.told(document(more + inner), document(more + inner.replace(old, new)))

    def test_text(self) -> None:
        """XPO-13, PNO-02: a changed leaf is replaced, found by the id around it."""
        inner = '<tuple id="x"><status><basic>open</basic></status></tuple>'
        self.assertEqual(
            self.change(inner, "open", "closed"),
            [("replace", {"sel": "*/tuple[@id='x']/status/basic/text()"})],
        )

    def test_one_component(self) -> None:
        """PNO-02: the id is there also when one tuple or person is the only one."""
        old = document(PERSON.format("<dm:note>a note that is long enough to say so</dm:note>"))
        new = old.replace(b"long", b"short")
        (operation,) = self.told(old, new)
        self.assertEqual(operation[1]["sel"], "*/dm:person[@id='p1']/dm:note/text()")

    def test_attributes(self) -> None:
        """XPO-13: attributes are added, replaced and removed."""
        inner = '<tuple id="x"><status/><contact priority="0.8">sip:b@h</contact></tuple>'
        sel = "*/tuple[@id='x']/contact"
        replace = [("replace", {"sel": f"{sel}/@priority"})]
        self.assertEqual(self.change(inner, "0.8", "0.7"), replace)
        remove = [("remove", {"sel": f"{sel}/@priority"})]
        self.assertEqual(self.change(inner, ' priority="0.8"', ""), remove)
        add = [("add", {"sel": sel, "type": "@x:m"})]
        self.assertEqual(self.change(inner, "<contact", '<contact x:m="1"'), add)
        add = [("add", {"sel": sel, "type": "@xml:lang"})]
        self.assertEqual(self.change(inner, "<contact", '<contact xml:lang="en"'), add)

    def test_elements(self) -> None:
        """XPO-13: elements are added, removed and replaced where they are."""
        inner = PERSON.format("<r:activities><r:busy/></r:activities><dm:note>n</dm:note>")
        sel = "*/dm:person[@id='p1']"
        added = self.change(inner, "<dm:note>n", "<dm:note>m</dm:note><dm:note>n")
        self.assertEqual(added, [("add", {"sel": f"{sel}/r:activities", "pos": "after"})])
        removed = self.change(inner, "<dm:note>n</dm:note>", "")
        self.assertEqual(removed, [("remove", {"sel": f"{sel}/dm:note"})])
        replaced = self.change(inner, "busy", "away")
        self.assertEqual(replaced, [("replace", {"sel": f"{sel}/r:activities/r:busy"})])

    def test_components(self) -> None:
        """XPO-13: tuples, persons and devices are told by their ids, wherever they move."""
        tuples = [f'<tuple id="t{n}"><status/><note>note {n}</note></tuple>' for n in range(5)]
        old = document("".join(tuples))
        (one,) = self.told(old, document("".join(tuples[:2] + tuples[3:])))
        self.assertEqual(one, ("remove", {"sel": "*/tuple[@id='t2']"}))
        (one,) = self.told(document("".join(tuples[:2] + tuples[3:])), old)
        self.assertEqual(one, ("add", {"sel": "*/tuple[@id='t1']", "pos": "after"}))
        moved = self.told(old, document("".join([*tuples[1:], tuples[0]])))
        self.assertEqual([kind for kind, _ in moved], ["remove", "add"])

    def test_quotes(self) -> None:
        """XPO-02: ids that XPath can or cannot express."""
        for number, name in enumerate(("a'b", 'a"b', "a'b\"c", "a&amp;b", "a]b")):
            value = name.replace('"', "&quot;")
            inner = f'<tuple id="{value}"><status><basic>open</basic></status></tuple>'
            old = document('<tuple id="t0"><status/></tuple>' + inner)
            (operation,) = self.told(old, old.replace(b"open", b"closed"))
            by_id = "[@id=" in operation[1]["sel"]
            self.assertEqual(by_id, number != 2, name)

    def test_white_space(self) -> None:
        """White space between elements is kept, and goes with what is removed."""
        old = document(
            '<tuple id="a">\n  <status/>\n </tuple>\n <tuple id="b">\n  <status/>\n </tuple>\n'
        )
        new = document('<tuple id="a">\n  <status/>\n </tuple>\n')
        self.assertEqual(
            self.told(old, new), [("remove", {"sel": "*/tuple[@id='b']", "ws": "before"})]
        )
        self.assertEqual([kind for kind, _ in self.told(new, old)], ["add"])

    def test_declarations(self) -> None:
        """XPO-07, XPO-09: declarations of the root are added and removed."""
        old = document('<tuple id="t1"><status/><note>as it was, word by word</note></tuple>')
        new = old.replace(b" entity=", b' xmlns:y="urn:y" entity=').replace(
            b"<status/>", b"<status/><y:a/>"
        )
        first, _ = self.told(old, new)
        self.assertEqual(first, ("add", {"sel": "*", "type": "namespace::y"}))
        _, last = self.told(new, old)
        self.assertEqual(last, ("remove", {"sel": "*/namespace::y"}))

    def test_operation_prefix(self) -> None:
        """Prefixes of the document and of the operations do not clash."""
        old = document(
            '<p:a xmlns:p="urn:p"><p:b k="words enough to tell the change">1</p:b></p:a>'
        )
        self.told(old, old.replace(b">1<", b">2<"))
        old = old.replace(b" entity=", b' xmlns:p="urn:q" p:version="1" entity=')
        self.told(old, old.replace(b">1<", b">2<"))

    def test_equal(self) -> None:
        """Documents that are equal have no operations between them."""
        old = document(PERSON.format("<dm:note>n</dm:note>"))
        self.assertEqual(self.told(old, old), [])
        self.assertEqual(self.told(old, old.replace(b"<dm:note>", b"<dm:note >")), [])

    def test_not_told(self) -> None:
        """PNO-07: no changes when the whole document is no larger, or it cannot be told."""
        one = document("<note>a</note>")
        for old, new in (
            (document("<x:a/>" * 30), document("<x:b/>" * 30)),
            (one, one.replace(BOB.encode(), b"sip:al@home.example")),
            (one, one.replace(b"urn:example:extension", b"urn:example:other")),
            (one, one.replace(b"<presence", b"<!-- c --><presence")),
            (one, b"<presence"),
            (b"", one),
            (one, document(f"<note>{'x' * LARGEST}</note>")),
        ):
            self.assertIsNone(difference(old, new))

    def test_many(self) -> None:
        """PNO-07: of very many changes the whole is told, without much ado."""
        old = document("".join(f"<tuple id='t{n}'><status/></tuple>" for n in range(2000)))
        self.assertIsNone(difference(old, old.replace(b"<status/>", b"<status><x:a/></status>")))

    def test_view(self) -> None:
        """PNO-10: changes are those of the watcher's view; what it may not see is not in them."""
        inner = (
            '<tuple id="t1"><status><basic>{}</basic></status></tuple>'
            '<dm:person id="p1"><r:activities>{}</r:activities></dm:person>'
        )
        allowed = Permissions(services=EVERYTHING, persons=EVERYTHING)
        views = [
            transform(document(inner.format(*one)), allowed)
            for one in (("open", "<r:busy/>"), ("open", "<r:away/>"), ("closed", "<r:away/>"))
        ]
        made = [difference(*pair) for pair in pairwise(views)]
        assert made[0] is not None and made[1] is not None
        self.assertNotIn(b"sel", made[0])
        self.assertIn(b"basic", made[1])
        self.assertNotIn(b"away", made[0] + made[1])

    def test_typical(self) -> None:
        """XPO-13, PNO-07: one changed leaf of a rich document takes a few hundred octets."""
        for name, (old, new) in micro_partial.changes().items():
            made = difference(old, new)
            assert made is not None
            body = partial(made, BOB, 2)
            self.assertEqual(canonical(apply(old, body)), canonical(new))
            self.assertLess(len(body), 1200 if name == "tuple added" else 450, name)


class PropertyTests(SynchronousTestCase):
    """Random documents and changes."""

    def test_pairs(self) -> None:
        """XPO-13, PNO-07: applied to the old document, changes give exactly the new one.

        What is told of a change is never larger than the new document.
        """
        source = random.Random(5262)
        publications, changes = Publications(source), Changes(source)
        told = 0
        for number in range(PAIRS):
            old, _ = publications.document(BOB, alone=source.random() < 0.6)
            if source.random() < 0.3:
                old = changes.spaced(old)
            if source.random() < 0.05:
                new, _ = publications.document(BOB)
            else:
                new = changes.changed(old, source.choice((0, 1, 1, 1, 2, 3, 6)))
            if source.random() < 0.05:
                new = new.replace(b" xmlns:gp=", b' xmlns:new="urn:new" xmlns:gp=', 1)
            if source.random() < 0.05:
                old = old.replace(b" xmlns:gp=", b' xmlns:old="urn:old" xmlns:gp=', 1)
            made = difference(old, new)
            if made is None:
                continue
            told += 1
            body = partial(made, BOB, number)
            self.assertLess(len(body), len(full(new, number)))
            self.assertEqual(canonical(apply(old, body)), canonical(new), (number, old, new))
        self.assertGreater(told, PAIRS * 0.9)
