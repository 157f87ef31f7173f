"""Tests of :mod:`presence.pidf.validate`: what is taken, and how refusals are worded."""

from __future__ import annotations

import time

from twisted.trial.unittest import SynchronousTestCase

from presence.pidf import schemas
from presence.pidf.parse import DECLARATION, parse
from presence.pidf.validate import DEFAULT_LIMIT, DocumentError, accept
from tests.presence.documents import BOB, document, is_bob, lenient, names, strict, vector


def many(count: int, component: str) -> bytes:
    """A document with ``count`` components, ``{}`` standing for their numbers."""
    return document("".join(component.replace("{}", str(i)) for i in range(count)))


class AcceptTests(SynchronousTestCase):
    """Both modes, over all vectors."""

    def test_valid(self) -> None:
        """PID-08, DMO-09: valid documents with any extension are kept, octet by octet."""
        for name in names("valid"):
            body = vector(name)
            self.assertIs(lenient(body), body, name)
            self.assertIs(strict(body), body, name)

    def test_encodings(self) -> None:
        """PID-01: what was valid in another encoding is kept in UTF-8, declared."""
        for name in names("encoding"):
            kept = strict(vector(name))
            self.assertTrue(kept.startswith(DECLARATION), name)
            self.assertIn("gr\u00fc\u00dfe".encode(), kept, name)
            self.assertIs(strict(kept), kept, name)

    def test_refused(self) -> None:
        """PUB-08: what is beyond repair is refused in both modes."""
        for name in names("bad"):
            for mode in (lenient, strict):
                error = self.assertRaises(DocumentError, mode, vector(name))
                self.assertEqual(error.status, 415 if name == "bad-charset" else 400, name)

    def test_strict(self) -> None:
        """CLI-10: strict mode refuses what lenient mode repairs, and names the line."""
        for name in names("quirk"):
            error = self.assertRaises(DocumentError, strict, vector(name))
            self.assertEqual(error.status, 400, name)
            self.assertGreater(error.line, 1, name)
            self.assertTrue(error.reason.startswith(f"line {error.line}: "), name)
            self.assertLess(len(error.reason), 80, name)

    def test_strict_reason(self) -> None:
        """PUB-08: the reason tells line, element and cause."""
        body = document('<tuple id="a">\n<status>\n<basic>OPEN</basic>\n</status></tuple>')
        error = self.assertRaises(DocumentError, strict, body)
        self.assertEqual(error.reason, "line 4: basic: value not allowed")
        self.assertEqual(str(error), error.reason)

    def test_content_not_quoted(self) -> None:
        """A reason never has a word of the document in it."""
        for inner in (
            '<tuple id="SECRET SECRET"><status/></tuple>',
            '<tuple id="a"><status><basic>SECRET</basic></status></tuple>',
            '<tuple id="a" SECRET="SECRET"><status/></tuple>',
            '<tuple id="a"><SECRET/></tuple>',
            "<SECRET/>",
            "<SECRET>",
            "<SECRET:a/>",
            "&SECRET;",
            '<x:a SECRET="1" SECRET="2"/>',
        ):
            error = self.assertRaises(DocumentError, strict, document(inner))
            self.assertNotIn("SECRET", error.reason)

    def test_entity(self) -> None:
        """PUB-07: the entity is judged by the caller, in both modes, before anything else."""
        asked: list[str] = []

        def entity_ok(entity: str) -> bool:
            asked.append(entity)
            return False

        for body in (vector("valid-source-a"), vector("quirk-no-namespace")):
            with self.assertRaises(DocumentError) as caught:
                accept(body, entity_ok=entity_ok, strict=False)
            self.assertEqual(caught.exception.status, 400)
            self.assertIn("entity", caught.exception.reason)
        self.assertEqual(asked, [BOB, BOB])

    def test_entity_white_space(self) -> None:
        """An anyURI is judged without the white space around it."""
        body = document("").replace(b'"sip:bob@home.example"', b'" sip:bob@home.example\n"')
        self.assertIs(strict(body), body)

    def test_size(self) -> None:
        """PID-10: 256 KiB are taken, one octet more is 413."""
        self.assertEqual(DEFAULT_LIMIT, 262144)
        body = document("<note></note>")
        room = DEFAULT_LIMIT - len(body)
        body = document(f"<note>{'n' * room}</note>")
        self.assertIs(strict(body), body)
        error = self.assertRaises(DocumentError, lenient, body + b"\n")
        self.assertEqual(error.status, 413)
        with self.assertRaises(DocumentError) as caught:
            accept(b"<a/>", entity_ok=is_bob, strict=False, limit=3)
        self.assertEqual(caught.exception.status, 413)

    def test_charset(self) -> None:
        """PID-01: the charset parameter is honoured."""
        body = vector("valid-source-a").decode().encode("utf-16")
        kept = accept(body, entity_ok=is_bob, strict=True, charset="UTF-16")
        self.assertEqual(kept, vector("valid-source-a"))

    def test_schema_in_use(self) -> None:
        """DMO-04: xs:ID is unique over components and RPID elements of a document."""
        body = document('<dm:person id="a"><r:mood id="a"><r:sad/></r:mood></dm:person>')
        self.assertRaises(DocumentError, strict, body)


class LargeTests(SynchronousTestCase):
    """Documents with very many elements: taken when valid, never repaired."""

    def test_valid(self) -> None:
        """PID-10: size alone is no reason to refuse."""
        body = many(4000, '<tuple id="t{}"><status><basic>open</basic></status></tuple>')
        self.assertIs(lenient(body), body)
        self.assertIs(strict(body), body)

    def test_duplicate_ids(self) -> None:
        """XML-01: ids are unique in a large document, too."""
        body = many(2000, '<tuple id="t"><status/></tuple>')
        error = self.assertRaises(DocumentError, lenient, body)
        self.assertEqual((error.status, error.line), (400, 2))

    def test_last_element(self) -> None:
        """PUB-08: an error at the very end is found, and the line is near."""
        body = many(3000, '<x:a n="{}"/>\n').replace(b"</presence>", b"<y/></presence>")
        error = self.assertRaises(DocumentError, lenient, body)
        self.assertTrue(2900 < error.line <= 3002, error.line)

    def test_many_errors(self) -> None:
        """MSG-28: a document full of errors costs no more than any other."""
        started = time.process_time()
        for component in (
            "<tuple/>",
            "<dm:person/>",
            "<z/>",
            "<note " + " ".join(f'a{i}=""' for i in range(200)) + "/>",
            '<tuple id="1"><status><basic>x</basic></status></tuple>',
        ):
            body = many(200000 // len(component), component)
            self.assertRaises(DocumentError, lenient, body)
        self.assertLess(time.process_time() - started, 1.0)

    def test_other_root(self) -> None:
        """A large document without namespace is not repaired either."""
        body = b"<presence entity='sip:bob@home.example'>" + b"<note/>" * 2000 + b"</presence>"
        self.assertRaises(DocumentError, lenient, body)


class SchemaTests(SynchronousTestCase):
    """What we changed in the schemas, and finding elements by libxml2's paths."""

    def test_forgotten_names(self) -> None:
        """RPI-06, CIP-01, CAP-01: what the RFC's text has and its schema forgot."""
        self.assertIn(b"lunch", strict(vector("valid-rpid")))
        self.assertIn(b"xml:lang", strict(vector("valid-more")))
        self.assertIn(b"higherthan", strict(vector("valid-more")))

    def test_compiled_once(self) -> None:
        """The compiled schema is kept."""
        self.assertIs(schemas.presence(), schemas.presence())

    def test_locate(self) -> None:
        """A path is followed by prefixes and positions as they are in the document."""
        root = parse(
            document(
                "<!-- c --><note>1</note><x:a/><x:a><x:b/><y:b xmlns:y='urn:y'/></x:a>"
                "<x:a xmlns:x='urn:other'>other</x:a>"
            )
        )
        self.assertIs(schemas.locate(root, "/*"), root)
        for path, tag, text in (
            ("/*/*[1]", "{urn:ietf:params:xml:ns:pidf}note", "1"),
            ("/*/x:a[2]/x:b", "{urn:example:extension}b", None),
            ("/*/x:a[2]/y:b", "{urn:y}b", None),
            ("/*/x:a[3]", "{urn:other}a", "other"),
        ):
            node = schemas.locate(root, path)
            assert node is not None
            self.assertEqual((node.tag, node.text), (tag, text))
        self.assertIsNone(schemas.locate(root, "/*/x:a[4]"))
