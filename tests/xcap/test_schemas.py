"""The schemas: loaded without network, and what they declare."""

from __future__ import annotations

from pathlib import Path

from lxml import etree
from twisted.trial.unittest import SynchronousTestCase

import xcap
from xcap import schemas
from xcap.usage.names import VALIDATED

SCHEMA = Path(xcap.__file__).parent / "schema"
RL = "{urn:ietf:params:xml:ns:resource-lists}"
RLS = "{urn:ietf:params:xml:ns:rls-services}"


class LoadTests(SynchronousTestCase):
    """:func:`xcap.schemas.load`."""

    def test_every_file(self) -> None:
        """Each schema loads by itself, its imports found in the folder (XCAP-160)."""
        names = sorted(path.name for path in SCHEMA.glob("*.xsd"))
        self.assertIn(schemas.DOCUMENTS, names)
        for name in names:
            if name not in ("xml-patch-ops.xsd", "pidf-common-schema.xsd"):
                self.assertIsInstance(schemas.load(name), etree.XMLSchema, name)

    def test_once(self) -> None:
        """A schema is compiled once in a process."""
        schemas.warm()
        self.assertIs(schemas.load(schemas.DOCUMENTS), schemas.load(schemas.DOCUMENTS))
        self.assertIs(
            schemas.declarations(schemas.DOCUMENTS), schemas.declarations(schemas.DOCUMENTS)
        )

    def test_no_other_file(self) -> None:
        """Nothing outside the folder is read."""
        for name in ("../errors.py", "/etc/passwd", "missing.xsd", "README.md"):
            self.assertRaises(FileNotFoundError, schemas.load, name)

    def test_offline(self) -> None:
        """What a schema names elsewhere is not fetched (XCAP-160)."""
        parser = etree.XMLParser(no_network=True)
        parser.resolvers.add(schemas._Offline())
        path = Path(self.mktemp())
        path.write_text(
            '<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema" targetNamespace="urn:x">'
            '<xs:element name="x"/></xs:schema>'
        )
        importing = etree.fromstring(
            '<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema" xmlns:x="urn:x">'
            f'<xs:import namespace="urn:x" schemaLocation="{path.resolve()}"/>'
            '<xs:element name="y"><xs:complexType><xs:sequence><xs:element ref="x:x"/>'
            "</xs:sequence></xs:complexType></xs:element></xs:schema>",
            parser,
        )
        self.assertRaises(etree.XMLSchemaParseError, etree.XMLSchema, importing)


class DeclarationsTests(SynchronousTestCase):
    """:func:`xcap.schemas.declarations`."""

    def test_namespaces(self) -> None:
        """What xcap-caps tells of is what the driver of documents loads (XCAP-142, XDM-03)."""
        found = schemas.declarations(schemas.DOCUMENTS).namespaces
        self.assertEqual(found, VALIDATED)
        for namespace in (
            "urn:ietf:params:xml:ns:common-policy",
            "urn:ietf:params:xml:ns:pres-rules",
            "urn:oma:xml:xdm:common-policy",
            "urn:oma:xml:prs:pres-rules",
            "urn:ietf:params:xml:ns:resource-lists",
            "urn:ietf:params:xml:ns:rls-services",
            "urn:oma:xml:xdm:resource-list:oma-uriusage",
            "urn:ietf:params:xml:ns:pidf",
            "urn:ietf:params:xml:ns:pidf:rpid",
            "urn:oma:xml:xdm:xcap-directory",
            "urn:ietf:params:xml:ns:xcap-caps",
        ):
            self.assertIn(namespace, found)

    def test_inner(self) -> None:
        """Local elements are known by their parent, types of other schemas included."""
        known = schemas.declarations(schemas.DOCUMENTS)
        members = {f"{RL}{name}" for name in ("display-name", "list", "entry", "entry-ref")}
        members.add(f"{RL}external")
        self.assertEqual(known.inner[f"{RL}list"], members)
        self.assertEqual(known.inner[f"{RLS}list"], members)
        self.assertEqual(
            known.inner[f"{RLS}service"],
            {f"{RLS}resource-list", f"{RLS}list", f"{RLS}packages"},
        )
        self.assertIn(f"{RL}resource-lists", known.top)
        self.assertNotIn(f"{RL}entry", known.top)
        self.assertIn(f"{RL}entry", known.names)

    def test_included(self) -> None:
        """A schema without namespace belongs to the one that includes it."""
        known = schemas.declarations(schemas.DOCUMENTS)
        rpid = "{urn:ietf:params:xml:ns:pidf:rpid}"
        self.assertIn(f"{rpid}note", known.inner[f"{rpid}activities"])
        self.assertIn(f"{rpid}away", known.inner[f"{rpid}activities"])

    def test_covers(self) -> None:
        """Elements of our namespaces are told from others."""
        known = schemas.declarations(schemas.DOCUMENTS)
        self.assertTrue(known.covers(f"{RL}anything"))
        self.assertFalse(known.covers("{urn:x}list"))
        self.assertFalse(known.covers("list"))

    def test_closed(self) -> None:
        """A document in one namespace needs no closer look, unless it uses types of others."""
        known = schemas.declarations(schemas.DOCUMENTS)
        self.assertTrue(known.closed(f"{RL}resource-lists", {f"{RL}list"}))
        self.assertFalse(known.closed(f"{RL}resource-lists", {f"{RL}list", "{urn:x}list"}))
        self.assertFalse(known.closed(f"{RLS}rls-services", {f"{RLS}service"}))
        self.assertFalse(known.closed("list", {"list"}))
