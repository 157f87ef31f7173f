"""Partial publication at a whole node (RFC 5264; events.md G.3)."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

from lxml import etree
from twisted.trial.unittest import SynchronousTestCase

from presence.partial.difference import difference
from presence.partial.documents import CONTENT_TYPE, full, partial
from presence.partial.patching import MOST_OPERATIONS
from presence.partial.publication import LONGEST_REPORT
from presence.pidf.validate import accept
from presence.store.memory import MemoryStore
from pysip.message import Response
from tests.node import BOB, Node, pidf
from tests.presence.compositions import canonical
from tests.presence.objects import ICON, inline, multipart, person
from tests.presence.test_partial_patching import VECTORS
from xcap import schemas
from xcap.patch import MIME_TYPE, NAMESPACE

HEAD = (
    '<p:pidf-diff xmlns="urn:ietf:params:xml:ns:pidf"'
    f' xmlns:p="urn:ietf:params:xml:ns:pidf-diff" entity="{BOB}">'
)
DAMAGE = (
    *(b"", b"x", b"<", b">", b"'", b'"', b"/", b"[", b"]", b"*", b"@", b"&", b"&amp;", b"\xff"),
    *(b"tuple", b"text()", b"namespace::p", b'ws="both"', b'pos="before"', b'type="@id"', b"[2]"),
    *(b"<note>n</note>", b"<!-- c -->", b"<?x y?>", b"<![CDATA[x]]>", b" xmlns=''", b"id('t1')"),
)
OPEN, CLOSED = pidf(note="a note"), pidf(basic="closed", note="a note")


def changes(operations: str) -> bytes:
    """A ``pidf-diff`` about Bob."""
    return f"{HEAD}{operations}</p:pidf-diff>".encode()


def diff(old: bytes, new: bytes) -> bytes:
    """The body that tells of a change of Bob's document."""
    made = difference(old, new)
    assert made is not None
    return partial(made, BOB)


class PartialPublicationTests(SynchronousTestCase):
    """PUBLISH with ``pidf-full`` and ``pidf-diff``."""

    def setUp(self) -> None:
        """A node and the presentity's phone."""
        self.node = Node()
        self.bob = self.node.peer()

    def publish(self, body: bytes, **fields: Any) -> Response:
        """PUBLISH a partial document."""
        fields.setdefault("content_type", CONTENT_TYPE)
        return self.bob.publish(body, **fields)

    def etag(self, response: Response) -> str:
        """The entity-tag of a 200."""
        self.assertEqual(response.status, 200, response.headers)
        return response.first("sip-etag") or ""

    def kept(self) -> list[Any]:
        """Live publications of Bob."""
        return self.node.presence.compositor.publications("presence", BOB)

    def holds(self, *documents: bytes) -> None:
        """Check what is kept."""
        kept = [canonical(record.body) for record in self.kept()]
        self.assertEqual(kept, [canonical(document) for document in documents])
        for record in self.kept():
            self.assertEqual(record.content_type, "application/pidf+xml")

    def refused(self, body: bytes, status: int = 400, **fields: Any) -> Response:
        """A refusal, after which what was kept is still there with its tag (PPU-03)."""
        before = [(record.etag, record.body, record.expires) for record in self.kept()]
        response = self.publish(body, **fields)
        self.assertEqual(response.status, status, body)
        after = [(record.etag, record.body, record.expires) for record in self.kept()]
        self.assertEqual(after, before)
        return response

    def test_initial(self) -> None:
        """PPU-01, PSV-01: a publication begins with a whole document; it is kept as PIDF."""
        self.etag(self.publish(full(OPEN)))
        self.holds(OPEN)

    def test_version_is_ignored(self) -> None:
        """PPU-01: a version in PUBLISH means nothing, whatever it is."""
        tag = self.etag(self.publish(full(OPEN, 7)))
        body = diff(OPEN, CLOSED).replace(b" entity=", b' version="3" entity=')
        tag = self.etag(self.publish(body, sip_if_match=tag))
        self.holds(CLOSED)
        body = full(OPEN, 1).replace(b'version="1"', b'version="first"')
        self.etag(self.publish(body, sip_if_match=tag))
        self.holds(OPEN)

    def test_changes_of_nothing(self) -> None:
        """PPU-01: changes without SIP-If-Match are 400; with an unknown tag 412."""
        response = self.refused(diff(OPEN, CLOSED))
        self.assertIn("SIP-If-Match", response.first("warning") or "")
        self.assertEqual(response.body, b"")
        self.refused(diff(OPEN, CLOSED), 412, sip_if_match="unknown")
        self.holds()

    def test_modify(self) -> None:
        """PPU-02: changes are applied to what has the entity-tag, a whole document replaces it."""
        first = self.etag(self.publish(full(OPEN)))
        second = self.etag(self.publish(diff(OPEN, CLOSED), sip_if_match=first))
        self.assertNotEqual(first, second)
        self.holds(CLOSED)
        self.refused(diff(OPEN, CLOSED), 412, sip_if_match=first)
        third = self.etag(self.publish(full(pidf()), sip_if_match=second))
        self.assertNotEqual(second, third)
        self.holds(pidf())

    def test_own_publication_only(self) -> None:
        """PPU-02: another publication of the same presentity stays as it is."""
        self.etag(self.publish(full(OPEN)))
        tag = self.etag(self.publish(full(OPEN)))
        self.etag(self.publish(diff(OPEN, CLOSED), sip_if_match=tag))
        self.holds(OPEN, CLOSED)

    def test_either_type(self) -> None:
        """PPU-05: PIDF may be changed, and what was changed replaced by PIDF."""
        tag = self.etag(self.bob.publish(OPEN))
        tag = self.etag(self.publish(diff(OPEN, CLOSED), sip_if_match=tag))
        self.holds(CLOSED)
        tag = self.etag(self.bob.publish(OPEN, sip_if_match=tag))
        self.holds(OPEN)
        self.etag(self.publish(diff(OPEN, CLOSED), sip_if_match=tag))
        self.holds(CLOSED)

    def test_failing_changes(self) -> None:
        """PPU-03, XPO-12: 400 with a report that names the error and the operation."""
        tag = self.etag(self.publish(full(OPEN)))
        body = changes('<p:remove sel="*/tuple/note"/><p:remove sel="*/tuple[@id=\'t9\']"/>')
        response = self.refused(body, sip_if_match=tag)
        self.assertEqual(response.content_type and response.content_type.type, MIME_TYPE)
        self.assertIn("unlocated-node", response.first("warning") or "")
        report = etree.fromstring(response.body)
        schemas.load("patch-ops-error.xsd").assertValid(report)
        self.assertEqual(report[0].tag, f"{{{NAMESPACE}}}unlocated-node")
        self.assertEqual(report[0][0].get("sel"), "*/tuple[@id='t9']")
        self.holds(OPEN)
        self.etag(self.publish(diff(OPEN, CLOSED), sip_if_match=tag))

    def test_long_report(self) -> None:
        """PPU-03: a report that would not fit is left out."""
        tag = self.etag(self.publish(full(OPEN)))
        note = "x" * LONGEST_REPORT
        body = changes(f'<p:add sel="*/nobody"><note>{note}</note></p:add>')
        response = self.refused(body, sip_if_match=tag)
        self.assertEqual(response.body, b"")
        self.assertIn("unlocated-node", response.first("warning") or "")

    def test_malformed(self) -> None:
        """PPU-03: 400 for what cannot be parsed, and for other roots."""
        tag = self.etag(self.publish(full(OPEN)))
        for body in (b"<", OPEN, b"<x/>", full(OPEN)[:-9], diff(OPEN, CLOSED)[:-4], b"\xff"):
            response = self.refused(body, sip_if_match=tag)
            self.assertIn("399", response.first("warning") or "")
        self.refused(full(OPEN).replace(b"urn:ietf:params:xml:ns:pidf-diff", b"urn:x"))
        self.refused(changes("<p:remove/>" * (MOST_OPERATIONS + 1)), sip_if_match=tag)

    def test_somebody_else(self) -> None:
        """PUB-07, PNO-14: neither document may be about somebody else."""
        tag = self.etag(self.publish(full(OPEN)))
        self.refused(full(pidf("sip:carol@example.com")))
        body = diff(OPEN, CLOSED).replace(BOB.encode(), b"sip:carol@example.com", 1)
        self.refused(body, sip_if_match=tag)
        body = changes('<p:replace sel="*/@entity">sip:carol@example.com</p:replace>')
        self.refused(body, sip_if_match=tag)

    def test_no_entity(self) -> None:
        """PNO-01: changes need not say whose they are; whole documents do."""
        tag = self.etag(self.publish(full(OPEN)))
        self.refused(full(OPEN).replace(b"entity=", b"b="))
        body = diff(OPEN, CLOSED).replace(f' entity="{BOB}"'.encode(), b"")
        self.etag(self.publish(body, sip_if_match=tag))
        self.holds(CLOSED)

    def test_invalid_result(self) -> None:
        """XPO-11: what changes make has to be valid, whether documents are repaired or not."""
        for strict in (False, True):
            self.node.presence.package.strict = strict
            tag = self.etag(self.publish(full(OPEN)))
            for operations in (
                '<p:remove sel="*/tuple/status"/>',
                '<p:replace sel="*/tuple/status/basic/text()">ajar</p:replace>',
                '<p:remove sel="*/@entity"/>',
                '<p:add sel="*" pos="prepend"><note>x</note></p:add><p:remove sel="*/tuple/@id"/>',
            ):
                response = self.refused(changes(operations), sip_if_match=tag)
                self.assertEqual(response.body, b"", operations)
                self.assertIn("line", response.first("warning") or "entity")

    def test_too_large(self) -> None:
        """PID-10: the limit is for bodies and for what they make."""
        self.node.presence.package.document_limit = 1000
        self.refused(full(pidf(note="x" * 1000)), 413)
        tag = self.etag(self.publish(full(OPEN)))
        add = f'<p:add sel="*"><note>{"x" * 700}</note></p:add>'
        tag = self.etag(self.publish(changes(add), sip_if_match=tag))
        self.refused(changes(add), 413, sip_if_match=tag)

    def test_expiry(self) -> None:
        """PPU-04: a publication that was changed expires as a whole."""
        tag = self.etag(self.publish(full(OPEN), expires=100))
        self.etag(self.publish(diff(OPEN, CLOSED), sip_if_match=tag, expires=100))
        self.node.advance(90)
        self.holds(CLOSED)
        self.node.advance(15)
        self.assertEqual(self.kept(), [])

    def test_support_is_announced(self) -> None:
        """PPU-06: the type is in the Accept of OPTIONS 200 and of 415."""
        accept = self.refused(OPEN, 415, content_type="text/plain").first("accept") or ""
        self.assertEqual(accept.split(", ")[:2], ["application/pidf+xml", CONTENT_TYPE])
        response = self.bob.ask(self.bob.request("OPTIONS", "sip:example.com"))
        self.assertEqual(response.status, 200)
        self.assertIn(CONTENT_TYPE, response.first("accept") or "")

    def test_character_sets(self) -> None:
        """PID-01: other character sets are taken, and kept as UTF-8."""
        german = pidf(note="Grüße")
        body = full(german).decode().replace("UTF-8", "ISO-8859-1").encode("latin-1")
        tag = self.etag(self.publish(body))
        self.holds(german)
        text = changes('<p:replace sel="*/tuple/note/text()">schön</p:replace>').decode()
        kind = f"{CONTENT_TYPE};charset=iso-8859-1"
        self.etag(self.publish(text.encode("latin-1"), content_type=kind, sip_if_match=tag))
        self.holds(pidf(note="schön"))
        self.refused(OPEN, 415, content_type=f"{CONTENT_TYPE};charset=ebcdic")

    def test_objects(self) -> None:
        """Both documents may have objects beside them; those still referred to stay (CIN-01)."""
        old, new = person(more="<r:class>work</r:class>"), person(more="<r:class>home</r:class>")
        given = multipart(inline(), root=full(old), kind=CONTENT_TYPE)
        tag = self.etag(self.publish(**given))
        self.holds(old)
        objects = self.kept()[0].objects
        self.assertIn(ICON, objects)
        tag = self.etag(self.publish(diff(old, new), sip_if_match=tag))
        self.holds(new)
        self.assertEqual(self.kept()[0].objects, objects)
        other = inline(b"other", "icon2@ua")
        newer = new.replace(b"icon1@ua", b"icon2@ua")
        given = multipart(other, root=diff(new, newer), kind=CONTENT_TYPE)
        self.etag(self.publish(**given, sip_if_match=tag))
        self.holds(newer)
        self.assertNotIn(ICON, self.kept()[0].objects)
        self.assertIn(b"other", self.kept()[0].objects)
        self.refused(**multipart(inline(), root=diff(old, new), kind=CONTENT_TYPE))

    def test_mutations(self) -> None:
        """Damaged bodies get their answer, and never harm what is kept (PPU-03)."""
        source = random.Random(5264)
        bodies = [path.read_bytes() for path in sorted(VECTORS.glob("*.txt"))]
        bodies = [part for body in bodies for part in body.split(b"\n=== ")[1:3]]
        bodies = [
            body.partition(b"\n")[2].replace(b"home.example", b"example.com") for body in bodies
        ]
        tag = self.etag(self.publish(full(OPEN)))
        answers: Counter[int] = Counter()
        for _ in range(1500):
            body = bytearray(source.choice(bodies))
            for _ in range(source.choice((0, 1, 2, 5))):
                at = source.randrange(len(body))
                length = source.choice((0, 1, 5, 40))
                body[at : at + length] = source.choice(DAMAGE)
            response = self.publish(bytes(body), sip_if_match=tag)
            answers[response.status] += 1
            if response.status == 200:
                tag = response.first("sip-etag") or ""
            for record in self.kept():
                accept(record.body, entity_ok=lambda uri: uri == BOB, strict=True)
        self.assertLessEqual(set(answers), {200, 400, 413, 415})
        self.assertGreater(answers[200], 50)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_watchers(self) -> None:
        """PPU-02: watchers are told what changes make, and nothing of a refusal."""
        tag = self.etag(self.publish(full(OPEN)))
        watcher = self.node.peer("192.0.2.20")
        watcher.subscribe()
        tag = self.etag(self.publish(diff(OPEN, CLOSED), sip_if_match=tag))
        self.node.advance(10)
        self.assertEqual(len(watcher.notifies()), 2)
        self.assertIn(b"closed", watcher.notifies()[-1].body)
        self.refused(changes('<p:remove sel="*/nobody"/>'), sip_if_match=tag)
        self.node.advance(10)
        self.assertEqual(len(watcher.notifies()), 2)

    def test_failed_store(self) -> None:
        """PPU-03: changes that could not be stored are undone: 500."""
        tag = self.etag(self.publish(full(OPEN)))
        assert isinstance(self.node.store, MemoryStore)
        self.node.store.fail_next()
        self.refused(diff(OPEN, CLOSED), 500, sip_if_match=tag)
        self.node.advance(3)
        self.etag(self.publish(diff(OPEN, CLOSED), sip_if_match=tag))

    def test_recovery(self) -> None:
        """PPU-02: after the end of the process changes are applied to what was kept."""
        tag = self.etag(self.publish(full(OPEN)))
        tag = self.etag(self.publish(diff(OPEN, CLOSED), sip_if_match=tag))
        self.node = self.node.restart()
        self.bob = self.node.peer("192.0.2.11")
        self.holds(CLOSED)
        self.etag(self.publish(diff(CLOSED, OPEN), sip_if_match=tag))
        self.holds(OPEN)
