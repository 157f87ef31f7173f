"""Every row of the tables of statuses and conditions over HTTPS: what is taken, what refused."""

from __future__ import annotations

import gzip

from twisted.trial.unittest import SynchronousTestCase

from tests.e2e import wire
from tests.e2e.deployments import AllInOne
from tests.e2e.phone import aor
from tests.e2e.xdm import (
    ATTRIBUTE,
    DOCUMENT,
    ELEMENT,
    FRIENDS,
    LISTS,
    LISTS_TYPE,
    Answer,
    entry_step,
    index,
    tls_context,
)

HOME = f"/resource-lists/users/{aor('alice')}"
INDEX = index("alice")
BOB, CAROL = "sip:bob@example.com", "sip:carol@example.com"
ENTRY = f'<entry uri="{CAROL}"/>'.encode()
ALLOW = "GET, HEAD, PUT, DELETE, OPTIONS"
ALLOW_READ = "GET, HEAD, OPTIONS"
LIMIT = 1 << 20

Row = tuple[int, str, str, bytes | None, dict[str, str | None]]
"""Status, method, target, body and header fields."""


class StatusTestCase(SynchronousTestCase):
    """Base with a document whose octets no refusal may change."""

    def setUp(self) -> None:
        """Start a server and store the document."""
        self.xdm = AllInOne(self)
        self.client = self.xdm.client()
        self.reset()

    def reset(self) -> None:
        """Store the document."""
        self.tag = self.client.store(INDEX)

    def check_unchanged(self, what: object) -> None:
        """Assert that the document is what it was, tag and octets."""
        now = self.client.get(INDEX)
        self.assertEqual((now.status, now.body, now.etag), (200, DOCUMENT, self.tag), what)

    def refused(
        self,
        status: int,
        method: str,
        target: str,
        body: bytes | None = None,
        fields: dict[str, str | None] | None = None,
    ) -> Answer:
        """Make a request that is refused and changes nothing."""
        what = (method, target, body and body[:60], fields)
        answer = self.client.ask(method, target, body, **fields or {})
        self.assertEqual(answer.status, status, (what, answer))
        self.check_unchanged(what)
        return answer

    def accepted(
        self,
        status: int,
        method: str,
        target: str,
        body: bytes | None = None,
        fields: dict[str, str | None] | None = None,
    ) -> Answer:
        """Make a request that is carried out; afterwards the document is as before."""
        what = (method, target, body and body[:60], fields)
        answer = self.client.ask(method, target, body, **fields or {})
        self.assertEqual(answer.status, status, (what, answer))
        if method in ("PUT", "DELETE"):
            self.reset()
        return answer


class Statuses(StatusTestCase):
    """Section 5: statuses but 401 and 429, which are of Digest, and 409 and 412."""

    def test_success(self) -> None:
        """200, 201 and 304 with their header fields (XCAP-52, XCAP-55, XCAP-65, XCAP-112)."""
        whole = self.client.get(INDEX)
        self.assertEqual((whole.status, whole.body), (200, DOCUMENT))
        self.assertEqual(whole["content-type"], LISTS_TYPE)
        self.assertEqual(whole["cache-control"], "no-cache")
        self.assertTrue(whole["last-modified"])
        head = self.client.ask("HEAD", INDEX)
        self.assertEqual((head.status, head.body), (200, b""))
        for name in ("content-type", "etag", "content-length", "last-modified"):
            self.assertEqual(head[name], whole[name], name)
        node = f"{INDEX}{FRIENDS}{entry_step(CAROL)}"
        for target, body in (
            (f"{HOME}/other", DOCUMENT),
            (node, ENTRY),
        ):
            answer = self.client.put(target, body)
            self.assertEqual((answer.status, answer.body), (201, b""), target)
            self.assertTrue(answer["location"].startswith(self.xdm.root))
            self.assertEqual(self.client.put(target, body).status, 200)
            now = self.client.get(target)
            self.assertEqual(self.client.get(target, if_none_match=now["etag"]).status, 304)
            self.assertEqual(self.client.get(target, if_none_match='"other"').body, body)
            gone = self.client.delete(target)
            self.assertEqual((gone.status, gone.body), (200, b""))
            self.assertEqual(self.client.delete(target).status, 404)  # XCAP-127
        language = f"{INDEX}{FRIENDS}{entry_step(BOB)}/display-name/@xml:lang"
        self.assertEqual(self.client.put(language, b'"en"').status, 201)
        self.assertEqual(self.client.get(language).body, b'"en"')
        self.assertEqual(self.client.put(language, b'"de"').status, 200)
        self.assertEqual(self.client.delete(language).status, 200)
        self.assertEqual(self.client.get(language).status, 404)
        self.assertEqual(self.client.octets(INDEX), DOCUMENT)

    def test_content_types(self) -> None:
        """Elements, attributes and bindings come back as they are (XCAP-61 to XCAP-63)."""
        bob = f"{INDEX}{FRIENDS}{entry_step(BOB)}"
        for target, kind, body in (
            (
                bob,
                ELEMENT,
                b"<entry uri='sip:bob@example.com'>"
                b"<display-name>Bob &amp; Co</display-name></entry>",
            ),
            (f"{bob}/@uri", ATTRIBUTE, b"'sip:bob@example.com'"),
            (
                f"{bob}/namespace::*",
                "application/xcap-ns+xml",
                f'<entry xmlns="{LISTS}"/>'.encode(),
            ),
        ):
            answer = self.client.get(target)
            self.assertEqual((answer.status, answer.body), (200, body))
            self.assertEqual((answer["content-type"], answer.etag), (kind, self.tag))

    def test_400(self) -> None:
        """What cannot be read is 400, the same spelled right is not (XCAP-13, XCAP-30, XCAP-45)."""
        for bad, good in (
            (f"{HOME}/inde%zz", f"{HOME}/inde%78"),
            (f"{HOME}/inde%ff", INDEX),
            (f"{INDEX}#a", INDEX),
            (f"{INDEX}/~~/", f"{INDEX}/~~/resource-lists"),
            (f"{INDEX}/~~/resource-lists//list", f"{INDEX}/~~/resource-lists/list"),
            (f"{INDEX}/~~/resource-lists/", f"{INDEX}/~~/*"),
            (f"{INDEX}/~~/l:resource-lists", f"{INDEX}/~~/l:resource-lists?xmlns(l={LISTS})"),
            (f"{INDEX}/~~/l:*?xmlns(l={LISTS}", f"{INDEX}/~~/resource-lists?element(/1)"),
            (f"{INDEX}/~~/*?xmlns(l=a%5eb)", f"{INDEX}/~~/*?xmlns(l=a%5e(b)"),
        ):
            for method in ("GET", "PUT", "DELETE"):
                self.refused(400, method, bad, DOCUMENT if method == "PUT" else None)
            self.accepted(200, "GET", good)
        for name, value in (("if_match", "x"), ("if_none_match", '"a" "b"'), ("if_match", '"')):
            self.refused(400, "PUT", INDEX, DOCUMENT, {name: value})
        self.refused(400, "PUT", INDEX, DOCUMENT, {"content_range": "bytes 0-9/20"})

    def test_malformed_http(self) -> None:
        """Malformed HTTP is refused and the connection closed (AGP-74, XCAP-15, XCAP-50)."""
        host = f"Host: localhost:{self.xdm.port}\r\n"
        line = f"GET {INDEX} HTTP/1.1\r\n"
        for status, request in (
            (400, f"{line}\r\n"),
            (400, f"{line}{host}{host}\r\n"),
            (400, f"{line}{host}Content-Length: 1\r\nContent-Length: 2\r\n\r\nab"),
            (400, f"{line}{host}Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
            (400, f"{line}{host}X: a\r\n b\r\n\r\n"),
            (400, f"{line}{host}X : a\r\n\r\n"),
            (400, f"{line}{host}X: a\rb\r\n\r\n"),
            (400, f"GET {INDEX} x HTTP/1.1\r\n{host}\r\n"),
            (400, f"GET {INDEX}\x01 HTTP/1.1\r\n{host}\r\n"),
            (501, f"{line}{host}Transfer-Encoding: gzip\r\n\r\n"),
            (414, f"GET /{'a' * 9000} HTTP/1.1\r\n{host}\r\n"),
            (431, f"{line}{host}X: {'a' * 17000}\r\n\r\n"),
            (431, f"{line}{host}{'X: a' * 1}\r\n" + "X: a\r\n" * 100 + "\r\n"),
            (401, f"{line}{host}\r\n"),  # this one is right
        ):
            context = tls_context(self.xdm.proxy.certificate)
            with (
                wire.tcp_socket(self.xdm.port) as raw,
                context.wrap_socket(raw, server_hostname="localhost") as sock,
            ):
                sock.sendall(request.encode())
                sock.settimeout(30)
                answer = sock.recv(65536)
                self.assertEqual(answer[:12], f"HTTP/1.1 {status}".encode(), (request, answer))
                if status != 401:
                    self.assertIn(b"connection: close", answer.lower())
        self.check_unchanged("malformed requests")

    def test_403(self) -> None:
        """Documents of others are neither read nor changed (XCAP-175, XCAP-176)."""
        bob = self.xdm.client("bob")
        node = f"{INDEX}{FRIENDS}{entry_step(CAROL)}"
        for method, target, body in (
            ("GET", INDEX, None),
            ("HEAD", INDEX, None),
            ("PUT", INDEX, DOCUMENT),
            ("DELETE", INDEX, None),
            ("GET", f"{INDEX}{FRIENDS}", None),
            ("PUT", node, ENTRY),
            ("DELETE", f"{INDEX}{FRIENDS}", None),
            ("GET", f"{HOME}/none", None),
            ("PUT", "/resource-lists/global/index", DOCUMENT),
        ):
            self.assertEqual(bob.ask(method, target, body).status, 403, (method, target))
            self.check_unchanged((method, target))
        self.accepted(201, "PUT", node, ENTRY)
        self.assertEqual(bob.put(index("bob")).status, 201)

    def test_404(self) -> None:
        """What does not exist is 404, never with an error document (XCAP-06, XCAP-11, XCAP-64)."""
        for target in (
            "/",
            "/resource-lists",
            HOME,
            f"{HOME}/",
            f"{HOME}/none/",
            f"{HOME}/./index",
            f"{HOME}/x/../index",
            f"{HOME}/%2e%2e/index",
            f"//{HOME}/index",
            f"/Resource-Lists/users/{aor('alice')}/index",
            f"/unknown/users/{aor('alice')}/index",
            f"/resource-lists/user/{aor('alice')}/index",
            index("nobody"),
            "/resource-lists/users/alice/index",
            "/resource-lists/users/sip:alice@elsewhere.example/index",
            f"/resource-lists/users/{aor('alice')}%2Findex",
        ):
            for method in ("GET", "PUT", "DELETE"):
                answer = self.refused(
                    404,
                    method,
                    target,
                    DOCUMENT if method == "PUT" else None,
                    {"content_type": LISTS_TYPE} if method == "PUT" else {},
                )
                self.assertNotIn("xcap-error", answer["content-type"])
        for node in (
            "no",
            "resource-lists/list[2]",
            "resource-lists/list[0]",
            "*/*/entry",
            "resource-lists/list[]",
            "resource-lists/text()",
            "resource-lists/list/@no",
        ):
            for method in ("GET", "DELETE"):
                answer = self.refused(404, method, f"{INDEX}/~~/{node}")
                self.assertNotIn("xcap-error", answer["content-type"])
        self.refused(404, "GET", f"{HOME}/none")
        self.refused(404, "GET", f"{HOME}/none/~~/resource-lists")
        # all spellings of what is there
        for target in (
            f"{HOME}/index?query",
            "/resource-lists/users/sip%3Aalice%40example.com/index",
            "/resource-lists/users/sip:alice@EXAMPLE.COM/index",
            "/resource%2dlists/users/sip:%61lice@example.com/%69ndex",
            f"https://localhost:{self.xdm.port}{INDEX}",
        ):
            self.assertEqual(self.accepted(200, "GET", target).body, DOCUMENT)
        for separator in ("%7E%7E", "%7e~", "~~"):
            self.accepted(200, "GET", f"{INDEX}/{separator}/resource-lists/list[1]")

    def test_methods(self) -> None:
        """405 with Allow, 501, OPTIONS (XCAP-53, XCAP-54, XCAP-76, XCAP-126, XCAP-173)."""
        node = f"{INDEX}{FRIENDS}"
        for target in (INDEX, node, f"{node}/@name"):
            for method in ("POST", "TRACE", "PATCH"):
                answer = self.refused(405, method, target)
                self.assertEqual(answer["allow"], ALLOW)
            self.refused(501, "BREW", target)
            answer = self.accepted(200, "OPTIONS", target)
            self.assertEqual((answer["allow"], answer.body), (ALLOW, b""))
        bindings = f"{node}/namespace::*"
        self.accepted(200, "GET", bindings)
        for method, target in (
            ("PUT", bindings),
            ("DELETE", bindings),
            ("PUT", "/xcap-caps/global/index"),
            ("DELETE", "/xcap-caps/global/index"),
            ("PUT", f"/org.openmobilealliance.xcap-directory/users/{aor('alice')}/directory.xml"),
        ):
            body = b"<a/>" if method == "PUT" else None
            answer = self.refused(405, method, target, body, {"content_type": ELEMENT})
            self.assertEqual(answer["allow"], ALLOW_READ)
        self.accepted(200, "GET", "/xcap-caps/global/index")

    def test_types_and_codings(self) -> None:
        """406 and 415, and what is taken instead (XCAP-57, XCAP-80, XCAP-164, CLI-19)."""
        node, attribute = f"{INDEX}{FRIENDS}{entry_step(CAROL)}", f"{INDEX}{FRIENDS}/@name"
        for target, body, due in (
            (INDEX, DOCUMENT, LISTS_TYPE),
            (node, ENTRY, ELEMENT),
            (attribute, b'"friends"', ATTRIBUTE),
        ):
            for kind in {LISTS_TYPE, ELEMENT, ATTRIBUTE, "application/xml", "text/xml"} - {due}:
                self.refused(415, "PUT", target, body, {"content_type": kind})
            for kind in (due.upper(), f'{due}; charset="utf-8"'):
                self.accepted(
                    201 if target == node else 200, "PUT", target, body, {"content_type": kind}
                )
        for untyped in (None, "application/x-www-form-urlencoded"):
            self.accepted(200, "PUT", INDEX, DOCUMENT, {"content_type": untyped})
            self.refused(415, "PUT", node, ENTRY, {"content_type": untyped})
        for accept in ("text/html", f"{LISTS_TYPE};q=0"):
            self.refused(406, "GET", INDEX, None, {"accept": accept})
        for accept in ("*/*", LISTS_TYPE, "text/html, application/*;q=0.1"):
            self.accepted(200, "GET", INDEX, None, {"accept": accept})
        packed = gzip.compress(DOCUMENT)
        for coding in ("br", "deflate", "gzip, gzip"):
            answer = self.refused(415, "PUT", INDEX, packed, {"content_encoding": coding})
            self.assertEqual(answer["accept-encoding"], "gzip")
        self.refused(400, "PUT", INDEX, DOCUMENT, {"content_encoding": "gzip"})
        self.accepted(200, "PUT", INDEX, packed, {"content_encoding": "gzip"})
        answer = self.accepted(200, "GET", INDEX, None, {"accept_encoding": "gzip"})
        self.assertEqual(gzip.decompress(answer.body), DOCUMENT)
        self.assertEqual(answer.etag, self.tag)  # AGP-72
        answer = self.accepted(200, "GET", INDEX, None, {"range": "bytes=0-9"})
        self.assertEqual(answer.body, DOCUMENT)  # XCAP-56

    def test_sizes(self) -> None:
        """413 and 414 begin just beyond the limits (XCAP-34, XCAP-162, AGP-73, AGP-76)."""
        largest = DOCUMENT + b" " * (LIMIT - len(DOCUMENT))
        self.refused(413, "PUT", INDEX, largest + b" ")
        self.refused(413, "PUT", INDEX, gzip.compress(largest + b" "), {"content_encoding": "gzip"})
        self.accepted(200, "PUT", INDEX, largest)
        self.accepted(200, "PUT", INDEX, gzip.compress(largest), {"content_encoding": "gzip"})
        chunk = b"%x\r\n%b\r\n" % (len(DOCUMENT), DOCUMENT)
        chunked: dict[str, str | None] = {"transfer_encoding": "chunked"}
        self.accepted(200, "PUT", INDEX, chunk + b"0\r\n\r\n", chunked)
        self.refused(414, "GET", f"{INDEX}/~~/{'*/' * 64}*")
        self.refused(404, "GET", f"{INDEX}/~~/{'*/' * 63}*")

    def test_authority(self) -> None:
        """A host that is no root of ours is 421 (XCAP-14, AGP-10)."""
        for host in ("elsewhere.example", "localhost", f"localhost:{self.xdm.port + 1}"):
            self.refused(421, "GET", INDEX, None, {"host": host, "authorization": "Digest x"})
        self.accepted(200, "GET", INDEX, None, {"host": f"LOCALHOST:{self.xdm.port}"})
