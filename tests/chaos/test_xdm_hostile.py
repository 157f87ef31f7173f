"""Requests that mean ill: refused with the right status, in constant memory, and life goes on."""

from __future__ import annotations

import contextlib
import gzip
import itertools
import select
import socket
import ssl
import time
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar

from twisted.trial.unittest import SynchronousTestCase

from tests.e2e import wire
from tests.e2e.deployments import AllInOne
from tests.e2e.xdiff import DIFF
from tests.e2e.xdm import (
    DOCUMENT,
    FRIENDS,
    LISTS,
    LISTS_TYPE,
    entry_step,
    index,
    tls_context,
)

INDEX = index("alice")
HOME = INDEX.removesuffix("/index")
NODE = f"{INDEX}{FRIENDS}{entry_step('sip:x@example.com')}"
MIB = 1 << 20
GROWTH = 20 * MIB
"""Octets of memory that the server may have more after everything."""
_SECONDS = 30.0
_SEED = 20_260_302
START = f'<resource-lists xmlns="{LISTS}">'.encode()
END = b"</resource-lists>"


def lists(content: bytes) -> bytes:
    """A document with some content."""
    return START + content + END


class HostileTestCase(SynchronousTestCase):
    """Base with a server, a document and a baseline of its memory.

    :cvar settings: of the server.
    """

    settings: ClassVar[dict[str, Any]] = {}

    def setUp(self) -> None:
        """Start."""
        self.xdm = AllInOne(self, **self.settings)
        self.client = self.xdm.client()
        for octets in (DOCUMENT + b" " * (MIB - len(DOCUMENT)), DOCUMENT):
            self.tag = self.client.store(INDEX, octets)
            self.client.octets(INDEX)
        self.baseline = self.xdm.proxy.resident()

    def check(self) -> None:
        """The document is what it was, others are served, and memory has not grown."""
        now = self.client.get(INDEX)
        self.assertEqual((now.status, now.body, now.etag), (200, DOCUMENT, self.tag))
        self.assertLess(self.xdm.proxy.answers(), _SECONDS)
        grown = self.xdm.proxy.resident() - self.baseline
        self.assertLess(grown, GROWTH, f"{grown >> 10} KiB more")

    def connect(self) -> ssl.SSLSocket:
        """A bare connection to the proxy."""
        raw = wire.tcp_socket(self.xdm.port)
        self.addCleanup(raw.close)
        context = tls_context(self.xdm.proxy.certificate)
        made = context.wrap_socket(raw, server_hostname="localhost")
        self.addCleanup(made.close)
        return made

    def head(self, method: str, target: str, *fields: str, authorized: bool = True) -> bytes:
        """The head of a request."""
        lines = [f"{method} {target} HTTP/1.1", f"Host: {self.client.host}", *fields]
        if authorized:
            lines.append(f"Authorization: {self.client.authorization(method, target)}")
        return ("\r\n".join(lines) + "\r\n\r\n").encode()

    def shove(self, head: bytes, pieces: Iterable[bytes]) -> int:
        """Send a request until there is an answer; its status, 0 for a closed connection."""
        sock = self.connect()
        sock.settimeout(_SECONDS)
        answer = b""
        with contextlib.suppress(OSError):
            for piece in itertools.chain((head,), pieces):
                sock.sendall(piece)
                if select.select([sock], [], [], 0)[0]:
                    sock.setblocking(False)
                    with contextlib.suppress(ssl.SSLWantReadError):
                        answer = sock.recv(65536)
                    sock.settimeout(_SECONDS)
                    if answer:
                        break
        if not answer:
            with contextlib.suppress(ConnectionError, ssl.SSLError):
                answer = sock.recv(65536)
        return int(answer[9:12]) if answer else 0


class Bodies(HostileTestCase):
    """Bodies that are too large, packed, or slow."""

    settings: ClassVar[dict[str, Any]] = {"http": {"body_timeout": 1.0, "header_timeout": 1.0}}

    def test_large(self) -> None:
        """Bodies of 10 MB are refused however they come (AGP-73, AGP-76, AGP-28, XCAP-162)."""
        piece = b"x" * 65536
        typed = f"Content-Type: {LISTS_TYPE}"
        length = f"Content-Length: {10 * MIB}"
        chunk = b"10000\r\n" + piece + b"\r\n"
        for _ in range(3):
            head = self.head("PUT", INDEX, typed, length)
            self.assertEqual(self.shove(head, itertools.repeat(piece, 160)), 413)
            head = self.head("PUT", INDEX, typed, length, "Expect: 100-continue")
            self.assertEqual(self.shove(head, ()), 413)
            head = self.head("PUT", INDEX, typed, "Transfer-Encoding: chunked")
            self.assertEqual(self.shove(head, itertools.repeat(chunk, 160)), 413)
            head = self.head("PUT", INDEX, typed, "Transfer-Encoding: chunked", authorized=False)
            self.assertEqual(self.shove(head, itertools.repeat(chunk, 160)), 401)
            head = self.head("DELETE", INDEX, length, "If-Match: *")
            self.assertEqual(self.shove(head, itertools.repeat(piece, 160)), 413)
            head = self.head("PUT", INDEX, typed, "Content-Length: 99999999999999999999")
            self.assertIn(self.shove(head, ()), (400, 413))
            head = self.head("PUT", INDEX, typed, "Transfer-Encoding: chunked")
            self.assertEqual(self.shove(head, [b"fffffff\r\n"]), 413)
            # a body in chunks of one octet, each with an extension
            tiny = b"1;" + b"e" * 200 + b"\r\nx\r\n"
            head = self.head("PUT", INDEX, typed, "Transfer-Encoding: chunked")
            self.assertEqual(self.shove(head, itertools.repeat(tiny * 100, 1000)), 431)
        self.check()

    def test_packed(self) -> None:
        """What expands beyond the limit is not expanded (XCAP-164, AGP-73)."""
        packer = zlib.compressobj(9, zlib.DEFLATED, 31)
        bomb = b"".join(packer.compress(b" " * MIB) for _ in range(300)) + packer.flush()
        self.assertLess(len(bomb), MIB)
        bodies = (
            (413, bomb),
            (413, gzip.compress(START + b" " * 10 * MIB + END)),
            (413, gzip.compress(b"<list>" * 1_000_000)),
            (413, gzip.compress(b" " * (MIB - 1)) * 20),
            (400, gzip.compress(b"") * 1000),
            (400, gzip.compress(DOCUMENT)[:-4]),
            (400, gzip.compress(DOCUMENT) + b"x"),
            (400, DOCUMENT),
            (409, gzip.compress(gzip.compress(DOCUMENT))),
        )
        for status, body in bodies * 3:
            answer = self.client.put(INDEX, body, content_encoding="gzip")
            self.assertEqual(answer.status, status, body[:40])
        self.check()

    def test_slow(self) -> None:
        """Heads and bodies that never end cost a connection for a while (AGP-77)."""
        whole = self.head("PUT", INDEX, f"Content-Type: {LISTS_TYPE}", "Content-Length: 1000")
        slow = {}
        for beginning in (b"", whole[:1], whole[:50], whole[:-2], whole, whole + DOCUMENT):
            for _ in range(4):
                slow[self.connect()] = beginning
        for sock, beginning in slow.items():
            sock.sendall(beginning)
        answers: dict[bytes, set[bytes]] = {}
        deadline = time.monotonic() + _SECONDS
        for sock, beginning in slow.items():
            sock.settimeout(max(0.1, deadline - time.monotonic()))
            received = b""
            with contextlib.suppress(ConnectionError, ssl.SSLError):
                while data := sock.recv(4096):
                    received += data
            answers.setdefault(beginning, set()).add(received[:12])
            self.assertEqual(self.client.get(INDEX).status, 200)
        for beginning, found in answers.items():
            # who has not even begun is told nothing, or of the time-out; who repeats
            # credentials is not believed
            allowed = {b"HTTP/1.1 408", b"HTTP/1.1 401"} | ({b""} if not beginning else set())
            self.assertLessEqual(found, allowed, beginning)
        self.check()

    def test_many_connections(self) -> None:
        """Connections beyond those for one address are closed, the others served (AGP-76)."""
        self.xdm.proxy.expected = "connections"
        mine = [self.connect() for _ in range(30)]
        refused = 0
        for _ in range(40):
            try:
                mine.append(self.connect())
            except OSError:
                refused += 1
        self.assertGreater(refused, 30)
        self.assertEqual(self.client.get(INDEX).status, 200)
        self.assertEqual(self.xdm.client(source="127.0.0.2").get(INDEX).status, 200)
        for sock in mine:
            sock.close()
        self.check()


def filled(start: bytes, piece: bytes, end: bytes = b"", size: int = MIB - 1000) -> bytes:
    """As many pieces as there is room for; ``%d`` in them is their number."""
    found, left = [start], size - len(start) - len(end)
    for number in itertools.count():
        octets = piece % number if b"%d" in piece else piece
        left -= len(octets)
        if left < 0:
            return b"".join([*found, end])
        found.append(octets)
    raise AssertionError


class Shapes(HostileTestCase):
    """XML made to hurt the parser."""

    def test_shapes(self) -> None:
        """As much of anything as a body can hold: refused, deep, wide or long (XCAP-162)."""
        limit = ("constraint-failure", "constraint-failure")
        name = b"a" * (MIB - 1000)
        for (document, node), body in (
            (limit, filled(START, b"<list>")),
            (limit, filled(b"", b"<a>")),
            (limit, filled(START, b"<list/>", END)),
            (limit, filled(b"<a>", b"<a/>", b"</a>")),
            (limit, filled(b"<a", b" a%d=''", b"/>")),
            (limit, filled(b"<a", b" xmlns:a%d='u'", b"/>")),
            (limit, b"<" + name + b"/>"),
            (limit, b"<a " + name + b"=''/>"),
            (limit, b"<a b='" + name + b"'/>"),
            (limit, b"<a xmlns='" + name + b"'/>"),
            (("not-well-formed", "not-xml-frag"), filled(b"<a>", b"&amp")),
            (("not-well-formed", "not-xml-frag"), filled(b"", b"<")),
            (("not-well-formed", "not-xml-frag"), filled(b"", b"<!--")),
            (("not-well-formed", "not-xml-frag"), b"<a><![CDATA[" + name + b"</a>"),
            (("schema-validation-error", "cannot-insert"), b"<a>" + name + b"</a>"),
        ):
            for target, kind in ((INDEX, document), (NODE, node)):
                answer = self.client.put(target, body)
                self.assertEqual(answer.conflict, kind, (target, body[:60], answer.body))
        self.check()


class Deep(HostileTestCase):
    """A server that takes larger documents than by default."""

    settings: ClassVar[dict[str, Any]] = {
        "http": {"body_size": 8 * MIB},
        "documents": {"size": 8 * MIB},
    }

    def test_deep(self) -> None:
        """A million elements inside each other are refused where the limit is (XCAP-162)."""
        million = b"<a>" * 1_000_000
        packed = gzip.compress(million)
        for _ in range(3):
            for target, body in ((INDEX, million), (INDEX, START + million), (NODE, million)):
                answer = self.client.put(target, body)
                self.assertEqual(answer.conflict, "constraint-failure", answer.body)
                self.assertIn(b"levels of elements", answer.body)
            answer = self.client.put(INDEX, packed, content_encoding="gzip")
            self.assertEqual(answer.conflict, "constraint-failure", answer.body)
        self.check()


class Entities(HostileTestCase):
    """Document type declarations, and references to elsewhere."""

    def test_entities(self) -> None:
        """Entities are neither expanded nor fetched, nor anything else (XCAP-160, XCAP-161)."""
        listener = socket.create_server((wire.HOST, 0))
        self.addCleanup(listener.close)
        elsewhere = f"http://127.0.0.1:{listener.getsockname()[1]}/x"
        secret = Path(self.mktemp()).absolute()
        secret.write_text("a secret")
        laughs = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
        declarations = (
            f'<!DOCTYPE a [<!ENTITY l0 "lol">{laughs}]>',
            f'<!DOCTYPE a [<!ENTITY l9 "{"x" * 500_000}">]>',
            f'<!DOCTYPE a [<!ENTITY l9 SYSTEM "file://{secret}">]>',
            f'<!DOCTYPE a [<!ENTITY l9 SYSTEM "{elsewhere}">]>',
            f'<!DOCTYPE a [<!ENTITY % p SYSTEM "{elsewhere}"> %p;]>',
            f'<!DOCTYPE a SYSTEM "{elsewhere}">',
            f'<!DOCTYPE a PUBLIC "-//X//Y" "{elsewhere}">',
            '<!DOCTYPE a [<!ATTLIST a b CDATA "c">]>',
            "<!DOCTYPE a>",
        )
        for declaration in declarations * 3:
            content = "&l9;" * (10_000 if "x" * 1000 in declaration else 1)
            for body in (
                f'{declaration}<resource-lists xmlns="{LISTS}">{content}</resource-lists>',
                f'<?xml version="1.0"?>\n{declaration}<resource-lists xmlns="{LISTS}"/>',
            ):
                answer = self.client.put(INDEX, body.encode())
                self.assertEqual(answer.conflict, "constraint-failure", declaration[:60])
                self.assertNotIn(b"secret", answer.body)
            answer = self.client.put(
                NODE, f"{declaration}<entry uri='sip:x@example.com'/>".encode()
            )
            self.assertEqual(answer.conflict, "not-xml-frag")
        self.assertEqual(self.client.put(INDEX, lists(b"&l9;")).conflict, "not-well-formed")
        self.assertEqual(self.client.put(NODE, b"<entry>&l9;</entry>").conflict, "not-xml-frag")
        attribute = f"{INDEX}{FRIENDS}/@name"
        self.assertEqual(self.client.put(attribute, b'"&l9;"').conflict, "not-xml-att-value")
        # what refers to elsewhere without an entity is plain content
        harmless = (
            f'<?xml-stylesheet href="{elsewhere}"?><resource-lists xmlns="{LISTS}"'
            ' xmlns:x="http://www.w3.org/2001/XMLSchema-instance"'
            f' x:schemaLocation="{LISTS} {elsewhere}"/>',
            f'<resource-lists xmlns="{LISTS}"><list><i:include href="{elsewhere}"'
            ' xmlns:i="http://www.w3.org/2001/XInclude"/></list></resource-lists>',
        )
        for text in harmless:
            self.assertIn(self.client.put(INDEX, text.encode()).status, (200, 409))
        self.tag = self.client.store(INDEX)
        self.assertEqual(select.select([listener], [], [], 0.5)[0], [], "it has asked elsewhere")
        phone = self.xdm.proxy.phone("tcp", "alice")
        for declaration in declarations[2:]:
            body = f"{declaration}<resource-lists xmlns='{LISTS}'><list/></resource-lists>"
            watch = phone.subscribe(
                "alice", "xcap-diff", accept=DIFF, body=body.encode(), content_type=LISTS_TYPE
            )
            self.assertEqual(watch.response.status, 400)
        self.assertEqual(select.select([listener], [], [], 0)[0], [], "it has asked elsewhere")
        self.check()
