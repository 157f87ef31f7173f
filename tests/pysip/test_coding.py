"""Content codings of what is sent."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from pysip.coding import CODINGS, choose_coding, encode_body
from pysip.mime import decode_body


class CodingTests(SynchronousTestCase):
    """RFC 3261 section 20.2."""

    def test_chosen(self) -> None:
        """What the peer likes best; gzip where it does not mind."""
        for values, chosen in (
            ([], ""),
            (["gzip"], "gzip"),
            (["x-gzip"], "gzip"),
            (["deflate"], "deflate"),
            (["deflate, gzip"], "gzip"),
            (["deflate", "gzip;q=0.5"], "deflate"),
            (["gzip;q=0"], ""),
            (["identity, gzip;q=0.5"], ""),
            (["identity;q=0.5, gzip;q=0.5"], "gzip"),
            (["*"], "gzip"),
            (["*;q=0.3, gzip;q=0"], "deflate"),
            (["br, compress"], ""),
            (["GZIP ; q=1.0"], "gzip"),
            (["gzip;q=many"], ""),
            ([""], ""),
        ):
            self.assertEqual(choose_coding(values), chosen, values)

    def test_encoded(self) -> None:
        """What is coded can be read, and is the same each time."""
        body = b"presence " * 100
        for coding in CODINGS:
            coded = encode_body(coding, body)
            self.assertLess(len(coded), len(body) // 5)
            self.assertEqual(coded, encode_body(coding, body))
            self.assertEqual(decode_body([coding], coded), body)
