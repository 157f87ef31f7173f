"""Content by reference: ``message/external-body``."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pysip.errors import ParseError
from pysip.external import EXTERNAL_BODY, ExternalBody, parse_external, write_external
from pysip.mime import Part, parse_multipart, write_multipart

VECTORS = Path(__file__).parent.parent / "vectors" / "indirection"
EXPECTED: dict[str, dict[str, Any]] = json.loads((VECTORS / "expected.json").read_text())


def as_part(text: str) -> Part:
    """A part as it comes in a multipart."""
    data = text.replace("\n", "\r\n").encode()
    body = b"--b\r\n" + data + b"\r\n--b--\r\n"
    (part,) = parse_multipart("multipart/mixed;boundary=b", body)
    return part


class VectorTests(SynchronousTestCase):
    """CIN-01, CIN-02, AGP-114: the examples of RFC 4483, and what is like them."""

    def test_vectors(self) -> None:
        """CIN-01, CIN-02: parameters in any case, quoted, folded or not; headers may be missing."""
        names = {path.stem for path in VECTORS.glob("*.txt")} - {"cin-10-publish"}
        self.assertEqual(names, set(EXPECTED))
        for name, expected in EXPECTED.items():
            text = (VECTORS / f"{name}.txt").read_text()
            if "error" in expected:
                with self.assertRaises(ParseError) as caught:
                    parse_external(as_part(text))
                self.assertIn(expected["error"], str(caught.exception), name)
            else:
                self.assertEqual(parse_external(as_part(text)), ExternalBody(**expected), name)

    def test_written_is_read(self) -> None:
        """AGP-114, CIN-01: what is written of each reads the same, and always has a disposition."""
        for name, expected in EXPECTED.items():
            if "error" in expected:
                continue
            told = ExternalBody(**expected)
            part = write_external(told)
            kind, body = write_multipart([part], "mixed", "b")
            (again,) = parse_multipart(kind, body)
            wanted = attrs.evolve(told, disposition=told.disposition or "render")
            self.assertEqual(parse_external(again), wanted, name)
            # CIN-02: header fields and an empty line
            self.assertTrue(part.body.endswith(b"\r\n\r\n"), name)
            self.assertIn(b"Content-Disposition: ", part.body)

    def test_other_type(self) -> None:
        """What is of another type is no reference."""
        self.assertRaises(ParseError, parse_external, Part({}, b""))

    def test_one_url(self) -> None:
        """CIN-11: one URL in one part; two are refused."""
        kind = (
            f'{EXTERNAL_BODY};access-type=URL;URL="http://a.example/1";URL="http://a.example/2"'
            ';expiration="Mon, 05 Jan 2026 12:00:00 GMT"'
        )
        self.assertRaises(ParseError, parse_external, Part({"content-type": [kind]}, b""))

    def test_line_end(self) -> None:
        """No value can begin another header field."""
        told = ExternalBody("http://a.example/1", 0.0, disposition="render\r\nX: y")
        self.assertRaises(ValueError, write_external, told)

    @settings(max_examples=200, deadline=None, derandomize=True)
    @given(st.text(max_size=200), st.binary(max_size=200))
    def test_anything(self, params: str, body: bytes) -> None:
        """No input raises anything but ParseError."""
        with contextlib.suppress(ParseError):
            parse_external(Part({"content-type": [f"{EXTERNAL_BODY};{params}"]}, body))
