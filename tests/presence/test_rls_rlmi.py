"""RLMI documents, and the multiparts that they head."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree
from twisted.trial.unittest import SynchronousTestCase

from presence.rls import rlmi
from presence.rls.model import Instance, Member, Names
from presence.rls.rlmi import (
    Enclosure,
    ListedInstance,
    ListedResource,
    Rlmi,
    enclose,
    read_related,
    read_rlmi,
    related_size,
    write_related,
    write_rlmi,
)
from pysip.errors import ParseError
from pysip.header import parse_media_type

DIRECTORY = Path(__file__).parent.parent / "vectors" / "rlmi"
LIST = "sip:alice-buddies@home.example"
BOB = Member("sip:bob@home.example", "sip:bob@home.example", (("", "Bob"),))
CAROL = Member("sip:carol@other.example", "sip:carol@other.example")
PIDF = 'application/pidf+xml;charset="UTF-8"'


def vector(name: str) -> bytes:
    """A file of ``tests/vectors/rlmi``."""
    return (DIRECTORY / name).read_bytes()


def on_the_wire(name: str) -> bytes:
    """A body of ``tests/vectors/rlmi``."""
    return vector(name).replace(b"\n", b"\r\n")


def schema() -> etree.XMLSchema:
    """That of RFC 4662 section 5.1."""
    return etree.XMLSchema(etree.parse(DIRECTORY / "rlmi.xsd"))


class WriteTests(SynchronousTestCase):
    """What we write."""

    def test_example(self) -> None:
        """RLS-28, RLS-04, MPR-01, CLI-14: octet for octet; the boundary has no quotes."""
        state = vector("rls-28.txt").split(b"\n\n")[2].partition(b"\n--b50UYb--")[0]
        document = write_rlmi(
            LIST,
            0,
            True,
            (("en", "Buddies"),),
            [
                (BOB, Instance("i1", "active", "", PIDF, state), "s1@rls.home.example"),
                (CAROL, Instance("i2", "pending"), ""),
            ],
        )
        content_type, body = write_related(
            enclose("m1@rls.home.example", document),
            [Enclosure("s1@rls.home.example", PIDF, state)],
            "b50UYb",
        )
        self.assertEqual(
            content_type,
            'multipart/related;type="application/rlmi+xml";start="<m1@rls.home.example>"'
            ";boundary=b50UYb",
        )
        self.assertEqual(body.replace(b"\r\n", b"\n"), vector("rls-28.txt"))
        self.assertIn(b"\r\n\r\n" + state + b"\r\n--b50UYb--\r\n", body)

    def test_states(self) -> None:
        """Terminated always has a reason, others never; no instance is no element (RLS-09)."""
        for instance, written in (
            (Instance("1", "terminated", "rejected"), 'state="terminated" reason="rejected"/>'),
            (Instance("1", "terminated"), 'state="terminated" reason="probation"/>'),
            (Instance("1", "pending", "rejected"), 'state="pending"/>'),
        ):
            document = write_rlmi(LIST, 0, False, (), [(CAROL, instance, "")])
            self.assertIn(f'<instance id="1" {written}'.encode(), document)
        document = write_rlmi(LIST, 0, False, (), [(BOB, None, ""), (CAROL, None, "")])
        self.assertNotIn(b"<instance", document)
        self.assertEqual(document.count(b"<resource "), 2)

    def test_no_lifetime(self) -> None:
        """Of an instance id, state, reason and cid are told; nothing of its expiry (RLS-13)."""
        document = write_rlmi(
            LIST, 0, True, (), [(CAROL, Instance("1", "active", "", PIDF, b"<x/>"), "1@x")]
        )
        (instance,) = etree.fromstring(document).iter("{*}instance")
        self.assertEqual(instance.attrib, {"id": "1", "state": "active", "cid": "1@x"})

    def test_uris_as_given(self) -> None:
        """URIs stand as in the SUBSCRIBE and in the list, not as they compare (RLS-08)."""
        member = Member("SIP:%42ob@Home.Example;x=1&2", "sip:Bob@home.example")
        written = read_rlmi(write_rlmi("sip:L@X;a=%61", 0, True, (), [(member, None, "")]))
        self.assertEqual(written.uri, "sip:L@X;a=%61")
        self.assertEqual(written.resources[0].uri, member.uri)

    def test_valid_and_read_again(self) -> None:
        """What is written is valid by the schema, and read as it was meant (RLS-05)."""
        found = schema()
        text = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
        readable = text.filter(lambda each: each.strip() == each != "" and each.isprintable())
        languages = st.sampled_from(["", "en", "de-AT"])
        names = st.lists(st.tuples(languages, readable), max_size=2).map(tuple)
        members = st.builds(Member, st.sampled_from([BOB.uri, "sip:a%20b@x;p=1&2"]), text, names)
        instances = st.none() | st.builds(
            Instance, readable, st.sampled_from(["active", "pending", "terminated"]), readable
        )
        rows = st.lists(st.tuples(members, instances, st.sampled_from(["", "1@x"])), max_size=4)

        @settings(max_examples=100, deadline=None)
        @given(names, st.integers(0, 2**32 - 1), st.booleans(), rows)
        def check(
            names: Names, version: int, full: bool, rows: list[tuple[Member, Instance, str]]
        ) -> None:
            document = write_rlmi(LIST, version, full, names, rows)
            self.assertTrue(found.validate(etree.fromstring(document)), found.error_log)
            listed = []
            for member, instance, cid in rows:
                told = ()
                if instance is not None:
                    reason = instance.reason if instance.state == "terminated" else ""
                    told = (ListedInstance(instance.id, instance.state, reason, cid),)
                listed.append(ListedResource(member.uri, member.names, told))
            self.assertEqual(read_rlmi(document), Rlmi(LIST, version, full, names, tuple(listed)))

        check()

    def test_markup_is_quoted(self) -> None:
        """Nothing in a list or an instance becomes markup, or is no XML (RLS-05)."""
        name = "A \"<b>\" & 'c'\t]]>"
        member = Member('sip:"<&@x', "k", (('e"n', name),))
        instance = Instance('i"1', "terminated", '"/>')
        document = write_rlmi(
            'sip:"<&l@x', 0, True, (("", "J\udcfc\x00"),), [(member, instance, "")]
        )
        read = read_rlmi(document)
        self.assertEqual((read.uri, read.names), ('sip:"<&l@x', (("", "J\ufffd\ufffd"),)))
        (row,) = read.resources
        self.assertEqual((row.uri, row.names), (member.uri, (('e"n', name),)))
        self.assertEqual(row.instances, (ListedInstance('i"1', "terminated", '"/>'),))


class MultipartTests(SynchronousTestCase):
    """A document and its parts."""

    def test_boundary_in_no_part(self) -> None:
        """Where the boundary occurs in a part it is another one (MPR-04)."""
        parts = [
            Enclosure("1@x", "text/plain", b"a\r\n--tok\r\n"),
            Enclosure("2@x", PIDF, b"--tok0"),
        ]
        content_type, body = write_related(enclose("0@x", b"<l/>"), parts, "tok")
        boundary = parse_media_type(content_type).params["boundary"]
        self.assertEqual(boundary, "tok00")
        self.assertEqual(body.count(b"--tok00"), 4)

    def test_binary(self) -> None:
        """Every part is binary, and octets of any value arrive (MPR-04)."""
        octets = bytes(range(256)) + b"\r\n--\r\n"
        root = enclose("0@x", write_rlmi(LIST, 0, True, (), ()))
        content_type, body = write_related(root, [Enclosure("1@x", "image/png", octets)], "tok")
        self.assertEqual(body.count(b"Content-Transfer-Encoding: binary\r\n"), 2)
        _, related = read_related(content_type, body)
        self.assertEqual(related.parts["1@x"].body, octets)

    def test_nested_list(self) -> None:
        """The multipart of another server passes as it is (RLS-15)."""
        inner = on_the_wire("rfc4662-first.txt")
        kind = 'multipart/related;type="application/rlmi+xml";boundary="50UBfW7LSCVLtggUPe5z"'
        root = enclose("0@x", write_rlmi(LIST, 0, True, (), ()))
        content_type, body = write_related(root, [Enclosure("1@x", kind, inner)], "tok")
        self.assertIn(f"Content-Type: {kind}\r\n\r\n".encode() + inner + b"\r\n--tok--", body)
        _, related = read_related(content_type, body)
        self.assertEqual(len(related.parts["1@x"].parts), 3)

    def test_size(self) -> None:
        """The size of a body is known before it is written."""
        parts = [Enclosure("1@xé", 'text/plain;a="é"', b"a" * 77), Enclosure("2@x", PIDF, b"")]
        root = enclose("0@x", b"<l/>")
        for bare in (False, True):
            _, body = write_related(root, parts, "tok", bare_ids=bare)
            expected = related_size(root, "tok", bare)
            expected += sum(part.size("tok", bare) for part in parts)
            self.assertEqual(len(body), expected)

    def test_bare_ids(self) -> None:
        """CLI-17: part headers as liblinphone wants them, by a switch; we read them, too."""
        root = enclose("0@x", write_rlmi(LIST, 0, True, (), ()))
        parts = [Enclosure("1@x", PIDF, b"<p/>")]
        content_type, body = write_related(root, parts, "tok", bare_ids=True)
        self.assertIn(b"\r\nContent-Id: 1@x\r\n", body)
        self.assertNotIn(b"Content-ID", body)
        document, related = read_related(content_type, body)
        self.assertEqual((document.uri, list(related.parts)), (LIST, ["1@x"]))


class ReadTests(SynchronousTestCase):
    """What others write."""

    def test_rfc_document(self) -> None:
        """The example of RFC 4662 section 5.1 (RLS-05)."""
        read = read_rlmi(vector("rfc4662-example.xml"))
        self.assertEqual((read.version, read.full), (7, True))
        self.assertEqual(read.names, (("en", "Buddy List"), ("fr", "Liste d'amis")))
        self.assertEqual(
            [(row.names[0][1], *row.instances) for row in read.resources],
            [
                (
                    "Bob Smith",
                    ListedInstance("juwigmtboe", "active", "", "12345.aaa@vancouver.example.com"),
                ),
                (
                    "Dave Jones",
                    ListedInstance("hqzsuxtfyq", "active", "", "12345.aab@vancouver.example.com"),
                ),
                ("Jim", ListedInstance("oflzxqzuvg", "terminated", "rejected")),
                ("Ed", ListedInstance("grqhzsppxb", "pending")),
            ],
        )

    def test_forms(self) -> None:
        """Numbers for booleans, blanks, foreign markup, several instances, a cid (RLS-05)."""
        for value, full in (("1", True), ("true", True), ("0", False), (" false ", False)):
            read = read_rlmi(
                b'<r:list xmlns:r="urn:ietf:params:xml:ns:rlmi" xmlns:f="urn:f" f:a="1" cid="9@x"'
                b' uri=" sip:l@x " version=" +7 " fullState="%b"><f:x/><r:name>B<!-- -->ob</r:name>'
                b'<r:resource uri="sip:a@x" f:b="2"><r:instance id="" state="pending"><f:y/>'
                b'</r:instance><r:instance id="2" state="active" cid="1@x"/></r:resource></r:list>'
                % value.encode()
            )
            instances = (ListedInstance("", "pending"), ListedInstance("2", "active", "", "1@x"))
            row = ListedResource("sip:a@x", (), instances)
            self.assertEqual(read, Rlmi("sip:l@x", 7, full, (("", "Bob"),), (row,), "9@x"))

    def test_refused(self) -> None:
        """Broken, dangerous, incomplete documents are a ValueError that quotes nothing (RLS-05)."""
        files = sorted(DIRECTORY.glob("bad-*.xml"))
        self.assertGreater(len(files), 10)
        for path in files:
            with self.assertRaises(ValueError, msg=path.name) as caught:
                read_rlmi(path.read_bytes())
            self.assertNotIn("sip:", str(caught.exception))

    def test_bounded(self) -> None:
        """A document over the limit is not even parsed."""
        self.patch(rlmi, "MAX_OCTETS", 200)
        document = write_rlmi(LIST, 0, True, (), [(CAROL, None, "")] * 5)
        self.assertRaises(ValueError, read_rlmi, document)

    def test_character_set(self) -> None:
        """The Content-Type of the root tells its character set (MSG-25)."""
        document = write_rlmi(LIST, 0, True, (("", "Jürgen"),), ()).decode().encode("latin-1")
        root = Enclosure("0@x", "application/rlmi+xml;charset=iso-8859-1", document)
        read, _ = read_related(*write_related(root, [], "tok"))
        self.assertEqual(read.names, (("", "Jürgen"),))

    def test_rfc_bodies(self) -> None:
        """The bodies of RFC 4662 section 6, one with a signed list in it (MPR-01, MPR-02)."""
        kind = (
            'multipart/related;type="application/rlmi+xml";'
            ' start="<nXYxAE@pres.vancouver.example.com>"; boundary="50UBfW7LSCVLtggUPe5z"'
        )
        read, related = read_related(kind, on_the_wire("rfc4662-first.txt"))
        self.assertEqual((read.version, read.full, len(read.resources)), (1, True, 4))
        for row in read.resources[:2]:
            part = related.find(row.instances[0].cid)
            assert part is not None
            self.assertIn(row.uri.encode(), part.body)
        kind = 'multipart/related;type="application/rlmi+xml";boundary=TfZxoxgAvLqgj4wRWPDL'
        read, related = read_related(kind, on_the_wire("rfc4662-second.txt"))
        self.assertEqual((read.version, read.full), (2, False))
        part = related.find(read.resources[1].instances[0].cid)
        assert part is not None
        signed, signature = part.parts
        self.assertEqual(signature.content_type.type, "application/pkcs7-signature")
        inner, _ = read_related(signed.content_type, signed.body)
        self.assertEqual(inner.uri, "sip:adam-friends@stockholm.example.org")

    def test_root(self) -> None:
        """``start`` names the root wherever it is, and has to be RLMI (MPR-01, MPR-03)."""
        document = write_rlmi(LIST, 0, True, (), ())
        _, body = write_related(
            Enclosure("1@x", PIDF, b"<p/>"),
            [enclose("0@x", document), Enclosure("2@x", PIDF, b"<q/>")],
            "tok",
        )
        kind = "multipart/related;boundary=tok"
        read, related = read_related(f'{kind};start="<0@x>";start-info="x"', body)
        self.assertEqual((read.uri, list(related.parts)), (LIST, ["1@x", "2@x"]))
        for wrong in (kind, f'{kind};start="<2@x>"', f'{kind};start="<3@x>"'):
            self.assertRaises(ValueError, read_related, wrong, body)
        self.assertRaises(ParseError, read_related, "multipart/mixed;boundary=tok", body)
