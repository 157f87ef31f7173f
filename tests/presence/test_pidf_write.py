"""Tests of :mod:`presence.pidf.write`."""

from __future__ import annotations

from itertools import combinations

from twisted.trial.unittest import SynchronousTestCase

from presence.pidf.parse import DocumentError
from presence.pidf.write import digest
from tests.presence.documents import document, names, vector


class DigestTests(SynchronousTestCase):
    """What tells whether a document says something new."""

    def test_other_words(self) -> None:
        """XML-03: order of attributes, blanks, comments and declarations are no change."""
        tuple_ = '<tuple id="t"><status><x:a m="1" n="2">one two</x:a></status></tuple>'
        known = digest(document(tuple_))
        for same in (
            tuple_.replace('m="1" n="2"', " n = '2'  m='1' "),
            tuple_.replace("><", ">\n   <"),
            tuple_.replace("<status>", "<!-- for now --><?x y?><status>"),
            tuple_.replace("<x:a", '<x:a xmlns:unused="urn:unused"'),
            tuple_.replace("one two", "<![CDATA[one two]]>"),
        ):
            self.assertEqual(digest(document(same)), known, same)
        for other in (
            tuple_.replace("one two", "one  two"),
            tuple_.replace('m="1"', 'm="2"'),
            tuple_.replace('m="1"', 'x:m="1"'),
            tuple_.replace('"t"', '"u"'),
            tuple_ + "<note/>",
        ):
            self.assertNotEqual(digest(document(other)), known, other)

    def test_range(self) -> None:
        """XML-03: every document has another, of 64 bits with a sign as stores keep them."""
        every = {name: digest(vector(name)) for name in names("valid")}
        for one, other in combinations(every, 2):
            self.assertNotEqual(every[one], every[other], f"{one} {other}")
        for number in every.values():
            self.assertTrue(-(1 << 63) <= number < 1 << 63)
        self.assertRaises(DocumentError, digest, b"<presence")
