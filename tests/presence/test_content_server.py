"""Tests of :mod:`presence.content.server`: the Content Server as clients see it, without ports."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from unittest import mock

from twisted.internet.defer import succeed

from presence.content.access import Asker
from presence.content.keeping import KeepingSettings
from presence.content.records import Quota
from presence.content.server import ContentSettings
from presence.content.upload import PIECE
from tests.presence.contents import ALICE, BASE, BOB, KIB, PASSWORD, SERVER, ServerCase
from xcap.auth.client import HttpCredentials
from xcap.conditions import http_date

PNG = b"\x89PNG" + bytes(range(256)) * 16
LONG = os.urandom(2 * PIECE)


def sha1(octets: bytes) -> str:
    """In base64."""
    return base64.b64encode(hashlib.sha1(octets).digest()).decode()


def sha256(octets: bytes) -> str:
    """In base64."""
    return base64.b64encode(hashlib.sha256(octets).digest()).decode()


class StoreTests(ServerCase):
    """POST to the objects of a user (AGP-106, AGP-107, CSV-01)."""

    def test_created(self) -> None:
        """201 with the URI, tag and end of the object, which has 128 random bits and more."""
        answer = self.post(PNG)
        self.assertEqual((answer.status, answer.body), (201, b""))
        uri = answer.headers["location"]
        self.assertRegex(uri, r"\A" + BASE + r"o/[A-Za-z0-9_-]{22,}\Z")
        self.assertRegex(answer.headers["etag"], r'\A"[0-9a-f]{64}"\Z')
        self.assertEqual(answer.headers["expires"], http_date(self.wall() + 3600))
        other = self.post(PNG)
        self.assertNotEqual(other.headers["location"], uri)
        self.assertEqual(other.headers["etag"], answer.headers["etag"])

    def test_long(self) -> None:
        """An object of several pieces."""
        uri = self.post(LONG).headers["location"]
        self.assertEqual(self.ask("GET", uri, user=BOB).body, LONG)

    def test_chunked(self) -> None:
        """A body whose length is not told."""
        chunks = b"".join(
            b"%x\r\n%b\r\n" % (len(LONG[n : n + 9999]), LONG[n : n + 9999])
            for n in range(0, len(LONG), 9999)
        )
        line = self.line()
        head = (
            f"POST /cs/users/{ALICE}/ HTTP/1.1\r\nHost: content.example.com\r\n"
            f'Content-Type: image/png\r\nX-3GPP-Asserted-Identity: "{ALICE}"\r\n'
            "Transfer-Encoding: chunked\r\n\r\n"
        ).encode()
        line.feed(head + chunks + b"0\r\n\r\n")
        self.reactor.until(lambda: line.wire.value())
        answer = line.answer()
        self.assertEqual(answer.status, 201)
        self.assertEqual(self.ask("GET", answer.headers["location"]).body, LONG)

    def test_spellings(self) -> None:
        """The user may be percent-encoded, without the last slash."""
        for owner in ("sip%3Aalice%40example.com", "sip:alice@EXAMPLE.COM"):
            self.assertEqual(self.post(PNG, owner=owner).status, 201)
        self.assertEqual(
            self.ask("POST", f"users/{ALICE}", PNG, "Content-Type: image/png").status, 201
        )

    def test_types(self) -> None:
        """AGP-110, CSV-04, CSV-06: only what is listed is stored, and nothing that runs."""
        for kind in ("image/png", "IMAGE/PNG", "text/plain; charset=utf-8", "audio/ogg"):
            self.assertEqual(self.post(b"x", f"Content-Type: {kind}").status, 201, kind)
        for kind in (
            "text/html",
            "image/svg+xml",
            "application/javascript",
            "application/octet-stream",
            "image/png, text/html",
            "image/png;",
            "image",
            "*/*",
            "",
            "image/png; a=" + "x" * 300,
        ):
            answer = self.post(b"x", f"Content-Type: {kind}")
            expected = 201 if kind == "image/png;" else 415
            self.assertEqual(answer.status, expected, kind)
            if expected == 415:
                self.assertIn("image/png", answer.headers["accept"])
        self.assertEqual(self.ask("POST", f"users/{ALICE}/", b"x").status, 415)

    def test_coding(self) -> None:
        """A coded body is refused, and part of an object."""
        self.assertEqual(self.post(PNG, "Content-Encoding: gzip").status, 415)
        self.assertEqual(self.post(PNG, "Content-Range: bytes 0-1/5").status, 400)

    def test_life(self) -> None:
        """AGP-109: X-Expires, else ttl, else the default; never more than the maximum."""
        for fields, query, seconds in (
            ((), "", 3600),
            (("X-Expires: 60",), "", 60),
            ((), "?ttl=61", 61),
            (("X-Expires: 62",), "?ttl=61", 62),
            (("X-Expires: 999999999",), "", 86400),
        ):
            owner = f"{ALICE}/{query}"
            answer = self.ask("POST", f"users/{owner}", PNG, "Content-Type: image/png", *fields)
            self.assertEqual(answer.headers["expires"], http_date(self.wall() + seconds))
        for fields, query in (
            (("X-Expires: 0",), ""),
            (("X-Expires: soon",), ""),
            (("X-Expires: -1",), ""),
            ((), "?ttl=x"),
            ((), "?ttl=1&ttl=2"),
        ):
            answer = self.ask(
                "POST", f"users/{ALICE}/{query}", PNG, "Content-Type: image/png", *fields
            )
            self.assertEqual(answer.status, 400, (fields, query))

    def test_digests(self) -> None:
        """AGP-112: what is promised of a body is checked before it is stored."""
        good = (
            f"Digest: SHA={sha1(PNG)}",
            f"Digest: sha={sha1(PNG)},SHA-256={sha256(PNG)}",
            f"Content-Digest: sha-256=:{sha256(PNG)}:",
            f"Content-Digest: sha-512=:AAAA:, sha-256=:{sha256(PNG)}:",
            "Digest: MD5=AAAA",
        )
        for field in good:
            self.keeping.settings = KeepingSettings()
            self.assertEqual(self.post(PNG, field).status, 201, field)
        bad = (
            f"Digest: SHA={sha1(b'x')}",
            f"Digest: SHA={sha1(PNG)},SHA-256={sha256(b'x')}",
            f"Content-Digest: sha-256=:{sha256(b'x')}:",
            "Digest: SHA=AAAA",
            "Digest: SHA=%%%",
            "Content-Digest: sha-256=AAAA",
            "Content-Digest: sha-256=:AA=A:",
        )
        before = self.files()
        for field in bad:
            self.assertEqual(self.post(PNG, field).status, 400, field)
        self.reactor.until(lambda: self.files() == before)

    def test_expect(self) -> None:
        """A client that waits learns of a refusal before it sends anything."""
        line = self.line()
        head = (
            f"POST /cs/users/{ALICE}/ HTTP/1.1\r\nHost: content.example.com\r\n"
            f'Content-Type: text/html\r\nX-3GPP-Asserted-Identity: "{ALICE}"\r\n'
            "Expect: 100-continue\r\nContent-Length: 5\r\n\r\n"
        ).encode()
        line.feed(head)
        self.assertEqual(line.answer().status, 415)
        line = self.line()
        line.feed(head.replace(b"text/html", b"image/png"))
        self.reactor.until(lambda: line.wire.value())
        self.assertEqual(line.raw(), b"HTTP/1.1 100 Continue\r\n\r\n")
        line.feed(b"12345")
        self.reactor.until(lambda: line.wire.value())
        self.assertEqual(line.answer().status, 201)

    def test_gone(self) -> None:
        """A client that leaves in the midst leaves nothing; told so in the log."""
        line = self.line()
        line.feed(
            f"POST /cs/users/{ALICE}/ HTTP/1.1\r\nHost: content.example.com\r\n"
            f'Content-Type: image/png\r\nX-3GPP-Asserted-Identity: "{ALICE}"\r\n'
            "Content-Length: 300000\r\n\r\n".encode()
            + b"x" * 200000
        )
        self.reactor.until(lambda: self.server.uploads)
        line.hang_up()
        self.assertEqual(self.server.uploads, 0)
        self.reactor.until(lambda: self.files() == [] and not self.store._using)
        self.assertEqual(self.records[-1].status, 499)
        self.assertEqual(self.keeping.busy, {})

    def test_slow(self) -> None:
        """An upload that does not go on is given up with 408; its file goes."""
        line = self.line()
        line.feed(
            f"POST /cs/users/{ALICE}/ HTTP/1.1\r\nHost: content.example.com\r\n"
            f'Content-Type: image/png\r\nX-3GPP-Asserted-Identity: "{ALICE}"\r\n'
            "Content-Length: 300000\r\n\r\n".encode()
            + b"x" * 2000
        )
        self.reactor.until(lambda: self.server.uploads)
        for _ in range(20):
            self.reactor.advance(1.0)
        self.assertEqual(line.answer().status, 408)
        self.assertEqual((self.records[-1].status, self.server.uploads), (408, 0))
        self.reactor.until(lambda: self.files() == [])

    def test_removed_meanwhile(self) -> None:
        """AGP-113: a user who is removed during an upload leaves nothing either."""
        line = self.line()
        line.feed(
            f"POST /cs/users/{ALICE}/ HTTP/1.1\r\nHost: content.example.com\r\n"
            f'Content-Type: image/png\r\nX-3GPP-Asserted-Identity: "{ALICE}"\r\n'
            "Content-Length: 5\r\n\r\n".encode()
        )
        self.reactor.until(lambda: self.server.uploads)
        with mock.patch.object(self.keeping.subscribers, "known", return_value=False):
            line.feed(b"12345")
            self.reactor.until(lambda: line.wire.value())
        self.assertEqual(line.answer().status, 404)
        self.reactor.until(lambda: self.files() == [])

    def test_unavailable(self) -> None:
        """While the store does not work: 503, and when to come back."""
        self.wait(self.store.stop())
        for answer in (self.post(PNG), self.ask("GET", "o/" + "x" * 32)):
            self.assertEqual((answer.status, answer.headers["retry-after"]), (503, "5"))


class LimitTests(ServerCase):
    """AGP-110, CSV-04: sizes and quotas."""

    def test_size(self) -> None:
        """413 for an object that is too large, with and without a length told."""
        self.assertEqual(self.post(b"x" * (300 * KIB)).status, 201)
        self.assertEqual(self.post(b"x" * (300 * KIB + 1)).status, 413)
        line = self.line()
        head = (
            f"POST /cs/users/{ALICE}/ HTTP/1.1\r\nHost: content.example.com\r\n"
            f'Content-Type: image/png\r\nX-3GPP-Asserted-Identity: "{ALICE}"\r\n'
            "Transfer-Encoding: chunked\r\n\r\n"
        ).encode()
        line.feed(head)
        chunk = b"8000\r\n" + b"y" * 0x8000 + b"\r\n"
        for _ in range(10):
            if line.wire.value():
                break
            line.feed(chunk)
            self.wait(self.store.find("x"))
        self.reactor.until(lambda: line.wire.value())
        self.assertEqual(line.answer().status, 413)
        self.assertEqual(self.records[-1].status, 413)
        self.reactor.until(lambda: len(self.files()) == 1)

    def test_objects(self) -> None:
        """507 for the sixth of five objects; another user has room."""
        for _ in range(5):
            self.assertEqual(self.post(PNG).status, 201)
        self.assertEqual(self.post(PNG).status, 507)
        self.assertEqual(self.post(PNG, user=BOB).status, 201)

    def test_octets(self) -> None:
        """507 when all together would be too large; a reference counts as much as content."""
        for _ in range(3):
            self.assertEqual(self.post(b"x" * (300 * KIB)).status, 201)
        self.assertEqual(self.post(b"x" * (300 * KIB)).status, 507)
        self.assertEqual(self.post(b"y" * (100 * KIB)).status, 201)
        self.assertEqual(len(self.files()), 2)

    def test_replace(self) -> None:
        """A replacement needs room for what is more."""
        for _ in range(3):
            uri = self.post(b"x" * (300 * KIB)).headers["location"]
        small = self.post(b"y").headers["location"]
        kind = "Content-Type: image/png"
        self.assertEqual(self.ask("PUT", uri, b"z" * (300 * KIB), kind).status, 204)
        self.assertEqual(self.ask("PUT", small, b"z" * (101 * KIB), kind).status, 507)
        self.assertEqual(self.ask("PUT", small, b"z" * (301 * KIB), kind).status, 413)
        self.assertEqual(self.ask("PUT", small, b"z" * (99 * KIB), kind).status, 204)

    def test_race(self) -> None:
        """Uploads at the same time get no more than the quota."""
        self.keeping.settings = KeepingSettings(quota=Quota(100, 10 * KIB))
        head = (
            f"POST /cs/users/{ALICE}/ HTTP/1.1\r\nHost: content.example.com\r\n"
            f'Content-Type: image/png\r\nX-3GPP-Asserted-Identity: "{ALICE}"\r\n'
            "Content-Length: 3000\r\n\r\n"
        ).encode()
        lines = [self.line() for _ in range(10)]
        for line in lines:
            line.feed(head)
        self.reactor.until(lambda: self.server.uploads == 10)
        for number, line in enumerate(lines):
            line.feed(b"%d" % number * 3000)
        self.reactor.until(lambda: all(line.wire.value() for line in lines))
        statuses = sorted(line.answer().status for line in lines)
        self.assertEqual(statuses, [201] * 3 + [507] * 7)
        self.reactor.until(lambda: len(self.files()) == 3)

    def test_at_a_time(self) -> None:
        """429 for too many uploads of one user at a time."""
        self.keeping.settings = KeepingSettings(uploads=2)
        head = (
            f"POST /cs/users/{ALICE}/ HTTP/1.1\r\nHost: content.example.com\r\n"
            f'Content-Type: image/png\r\nX-3GPP-Asserted-Identity: "{ALICE}"\r\n'
            "Content-Length: 3000\r\n\r\n"
        ).encode()
        for count in (1, 2):
            self.line().feed(head)
            self.reactor.until(lambda count=count: self.server.uploads == count)
        answer = self.post(PNG)
        self.assertEqual((answer.status, answer.headers["retry-after"]), (429, "2"))
        self.assertEqual(self.post(PNG, user=BOB).status, 201)


class ReadTests(ServerCase):
    """GET and HEAD of objects (AGP-107, CSV-02, CSV-03)."""

    def setUp(self) -> None:
        """Alice has a short and a long object."""
        super().setUp()
        made = self.post(PNG)
        self.uri, self.tag = made.headers["location"], made.headers["etag"]
        self.long = self.post(LONG).headers["location"]

    def test_get(self) -> None:
        """Type, tag, times and length, and the content as it was stored."""
        for uri, octets in ((self.uri, PNG), (self.long, LONG)):
            answer = self.ask("GET", uri, user=BOB)
            self.assertEqual((answer.status, answer.body == octets), (200, True))
            headers = answer.headers
            self.assertEqual(headers["content-type"], "image/png")
            self.assertEqual(headers["content-length"], str(len(octets)))
            self.assertEqual(headers["last-modified"], http_date(self.wall()))
            self.assertEqual(headers["expires"], http_date(self.wall() + 3600))
            self.assertEqual(headers["cache-control"], "private")
            self.assertEqual(headers["accept-ranges"], "bytes")
            head = self.ask("HEAD", uri, user=BOB)
            self.assertEqual((head.status, head.body), (200, b""))
            for name in headers:
                if name not in ("x-request-id", "date"):
                    self.assertEqual(head.headers[name], headers[name])

    def test_no_active_content(self) -> None:
        """CSV-06, AGP-110: nobody's browser guesses a type or shows more than pictures and text."""
        for kind, shown in (
            ("image/png", "inline"),
            ("text/plain; charset=utf-8", "inline"),
            ("audio/ogg", "attachment"),
            ("application/pidf+xml", "attachment"),
        ):
            uri = self.post(b"<html>", f"Content-Type: {kind}", user=BOB).headers["location"]
            headers = self.ask("GET", uri).headers
            self.assertEqual(headers["content-type"], kind)
            self.assertEqual(headers["content-disposition"], shown)
            self.assertEqual(headers["x-content-type-options"], "nosniff")
            self.assertIn("sandbox", headers["content-security-policy"])

    def test_conditions(self) -> None:
        """304 while it is as the client knows it; 412 when it should be otherwise."""
        for fields, status in (
            ((f"If-None-Match: {self.tag}",), 304),
            ((f'If-None-Match: "x", W/{self.tag}',), 304),
            (("If-None-Match: *",), 304),
            (('If-None-Match: "x"',), 200),
            ((f"If-Modified-Since: {http_date(self.wall())}",), 304),
            ((f"If-Modified-Since: {http_date(self.wall() - 5)}",), 200),
            (('If-Match: "x"',), 412),
            ((f"If-Match: {self.tag}",), 200),
            (("If-None-Match: x",), 400),
        ):
            answer = self.ask("GET", self.uri, None, *fields, user=BOB)
            self.assertEqual(answer.status, status, fields)
            if status == 304:
                self.assertEqual((answer.headers["etag"], answer.body), (self.tag, b""))
                self.assertNotIn("content-type", answer.headers)

    def test_ranges(self) -> None:
        """A single range gets 206, one outside 416; several are ignored."""
        size = len(PNG)
        for value, first, last in (
            ("bytes=0-0", 0, 0),
            ("bytes=10-19", 10, 19),
            ("Bytes=4000-", 4000, size - 1),
            ("bytes=-100", size - 100, size - 1),
            ("bytes=4000-99999", 4000, size - 1),
            ("bytes=-99999", 0, size - 1),
        ):
            answer = self.ask("GET", self.uri, None, f"Range: {value}")
            self.assertEqual((answer.status, answer.body), (206, PNG[first : last + 1]), value)
            self.assertEqual(answer.headers["content-range"], f"bytes {first}-{last}/{size}")
        for value in (f"bytes={size}-", "bytes=99999-999999", "bytes=-0"):
            answer = self.ask("GET", self.uri, None, f"Range: {value}")
            self.assertEqual(answer.status, 416, value)
            self.assertEqual(answer.headers["content-range"], f"bytes */{size}")
        many = ",".join(f"{n}-{n}" for n in range(0, 2000, 2))
        for value in (
            f"bytes={many}",
            "bytes=0-1,5-6",
            "bytes=5-4",
            "lines=1-2",
            "bytes=x",
            "bytes=-",
        ):
            answer = self.ask("GET", self.uri, None, f"Range: {value}")
            self.assertEqual((answer.status, len(answer.body)), (200, size), value[:20])

    def test_range_of_long(self) -> None:
        """A range of an object that goes in pieces."""
        answer = self.ask("GET", self.long, None, f"Range: bytes=7-{PIECE + 20}")
        self.assertEqual((answer.status, answer.body), (206, LONG[7 : PIECE + 21]))

    def test_if_range(self) -> None:
        """A range of another state gets the whole."""
        for value, status in (
            (self.tag, 206),
            ('"x"', 200),
            (f"W/{self.tag}", 200),
            (http_date(self.wall()), 206),
            (http_date(self.wall() - 1), 200),
            ("nonsense", 200),
        ):
            fields = ("Range: bytes=0-3", f"If-Range: {value}")
            self.assertEqual(self.ask("GET", self.uri, None, *fields).status, status, value)

    def test_digests(self) -> None:
        """AGP-112: both digests for who wants them, of all of it."""
        answer = self.ask("GET", self.uri, None, "Want-Digest: SHA")
        self.assertEqual(answer.headers["digest"], f"SHA={sha1(PNG)}, SHA-256={sha256(PNG)}")
        self.assertEqual(answer.headers["content-digest"], f"sha-256=:{sha256(PNG)}:")
        part = self.ask("GET", self.uri, None, "Want-Digest: SHA", "Range: bytes=0-3")
        self.assertEqual(part.headers["digest"], answer.headers["digest"])
        self.assertEqual(part.headers["repr-digest"], f"sha-256=:{sha256(PNG)}:")
        self.assertNotIn("content-digest", part.headers)
        self.assertNotIn("digest", self.ask("GET", self.uri).headers)

    def test_over(self) -> None:
        """AGP-109: until its time is over an object is there, and then no more."""
        self.reactor.advance(3599.0)
        self.assertEqual(self.ask("GET", self.uri).status, 200)
        self.reactor.advance(1.0)
        for method in ("GET", "HEAD", "PUT", "DELETE", "OPTIONS"):
            self.assertEqual(self.ask(method, self.uri).status, 404, method)

    def test_vanished(self) -> None:
        """A long object that goes between look and reading is not there."""
        with mock.patch.object(self.store, "source", return_value=succeed(None)):
            self.assertEqual(self.ask("GET", self.long).status, 404)


class ChangeTests(ServerCase):
    """PUT and DELETE of objects, and lists of them (AGP-107 to AGP-109)."""

    kind = "Content-Type: image/gif"

    def setUp(self) -> None:
        """Alice has an object."""
        super().setUp()
        made = self.post(PNG)
        self.uri, self.tag = made.headers["location"], made.headers["etag"]

    def test_put(self) -> None:
        """The owner replaces it: same URI, other tag; nobody else can."""
        answer = self.ask("PUT", self.uri, b"GIF89a", self.kind)
        self.assertEqual(answer.status, 204)
        self.assertNotEqual(answer.headers["etag"], self.tag)
        found = self.ask("GET", self.uri)
        self.assertEqual((found.body, found.headers["content-type"]), (b"GIF89a", "image/gif"))
        self.assertEqual(found.headers["etag"], answer.headers["etag"])
        self.assertEqual(self.ask("PUT", self.uri, b"x", self.kind, user=BOB).status, 404)
        self.assertEqual(self.ask("PUT", self.uri, b"x", "Content-Type: text/html").status, 415)

    def test_if_match(self) -> None:
        """A change is made to the state that the client knows, or not at all."""
        for method in ("PUT", "DELETE"):
            body = b"x" if method == "PUT" else None
            answer = self.ask(method, self.uri, body, self.kind, 'If-Match: "x"')
            self.assertEqual((answer.status, answer.headers["etag"]), (412, self.tag))
            self.assertEqual(
                self.ask(method, self.uri, body, self.kind, "If-None-Match: *").status, 412
            )
        answer = self.ask("PUT", self.uri, b"x", self.kind, f"If-Match: {self.tag}")
        self.assertEqual(answer.status, 204)

    def test_if_match_race(self) -> None:
        """Of two changes of one state made at the same time one wins."""
        head = (
            f"PUT {self.uri.removeprefix('https://content.example.com')} HTTP/1.1\r\n"
            f"Host: content.example.com\r\n{self.kind}\r\nIf-Match: {self.tag}\r\n"
            f'X-3GPP-Asserted-Identity: "{ALICE}"\r\nContent-Length: 1\r\n\r\n'
        ).encode()
        lines = [self.line() for _ in range(2)]
        for line in lines:
            line.feed(head)
        self.reactor.until(lambda: self.server.uploads == 2)
        for octet, line in zip((b"a", b"b"), lines, strict=True):
            line.feed(octet)
        self.reactor.until(lambda: all(line.wire.value() for line in lines))
        self.assertEqual(sorted(line.answer().status for line in lines), [204, 412])
        self.reactor.until(lambda: len(self.files()) == 1)

    def test_delete(self) -> None:
        """204, then 404; nobody else can."""
        self.assertEqual(self.ask("DELETE", self.uri, user=BOB).status, 404)
        self.assertEqual(self.ask("DELETE", self.uri).status, 204)
        for method in ("GET", "DELETE"):
            self.assertEqual(self.ask(method, self.uri).status, 404)
        self.assertEqual(self.files(), [])

    def test_refresh(self) -> None:
        """AGP-109: a longer life without a body; a shorter one keeps the promise made before."""
        refresh = "X-Refresh: 1"
        answer = self.ask("PUT", self.uri, b"", refresh, "X-Expires: 7200")
        self.assertEqual(answer.status, 204)
        self.assertEqual(answer.headers["expires"], http_date(self.wall() + 7200))
        self.assertEqual(answer.headers["etag"], self.tag)
        shorter = self.ask("PUT", self.uri, b"", refresh, "X-Expires: 10")
        self.assertEqual(shorter.headers["expires"], answer.headers["expires"])
        longest = self.ask("PUT", self.uri, b"", refresh, "X-Expires: 9999999")
        self.assertEqual(longest.headers["expires"], http_date(self.wall() + 86400))
        self.assertEqual(self.ask("GET", self.uri).body, PNG)
        self.assertEqual(self.ask("PUT", self.uri, b"x", refresh).status, 400)
        self.assertEqual(self.ask("PUT", self.uri, b"", "X-Refresh: yes").status, 400)
        self.assertEqual(self.ask("PUT", self.uri, b"", refresh, user=BOB).status, 404)
        self.assertEqual(self.ask("PUT", self.uri, b"", refresh, 'If-Match: "x"').status, 412)

    def test_list(self) -> None:
        """AGP-108: the owner lists what is alive; nobody else does."""
        second = self.post(b"abc", "X-Expires: 60").headers["location"]
        answer = self.ask("GET", f"users/{ALICE}/")
        self.assertEqual(answer.headers["content-type"], "application/json")
        rows = json.loads(answer.body)
        self.assertEqual({row["uri"] for row in rows}, {self.uri, second})
        (row,) = (row for row in rows if row["uri"] == second)
        self.assertEqual(
            {name: row[name] for name in ("type", "size", "sha1", "expires")},
            {
                "type": "image/png",
                "size": 3,
                "sha1": hashlib.sha1(b"abc").hexdigest(),
                "expires": http_date(self.wall() + 60),
            },
        )
        self.assertEqual(set(row), {"uri", "type", "size", "sha1", "etag", "expires"})
        self.reactor.advance(60.0)
        self.assertEqual(len(json.loads(self.ask("GET", f"users/{ALICE}/").body)), 1)
        self.assertEqual(self.ask("GET", f"users/{ALICE}/", user=BOB).status, 404)
        self.assertEqual(json.loads(self.ask("GET", f"users/{BOB}/", user=BOB).body), [])

    def test_methods(self) -> None:
        """405 and 501 tell what is possible."""
        for target, method, status, allowed in (
            (self.uri, "POST", 405, "PUT"),
            (f"users/{ALICE}/", "PUT", 405, "POST"),
            (f"users/{ALICE}/", "DELETE", 405, "POST"),
            (self.uri, "PATCH", 405, "PUT"),
        ):
            answer = self.ask(method, target, b"x", self.kind)
            self.assertEqual(answer.status, status, (target, method))
            self.assertIn(allowed, answer.headers["allow"])
        for target in (self.uri, f"users/{ALICE}/"):
            self.assertEqual(self.ask("OPTIONS", target).status, 200)


class AccessTests(ServerCase):
    """AGP-111, CSV-02: who may what."""

    def setUp(self) -> None:
        """Alice has an object."""
        super().setUp()
        self.uri = self.post(PNG).headers["location"]

    def test_nobody(self) -> None:
        """Without credentials there are challenges; which users and ids there are stays hidden."""
        for method, target in (
            ("GET", self.uri),
            ("GET", "o/" + "x" * 32),
            ("POST", f"users/{ALICE}/"),
            ("POST", "users/sip:nobody@example.com/"),
            ("GET", "nowhere"),
        ):
            answer = self.ask(method, target, user="")
            self.assertEqual(answer.status, 401, target)
            self.assertIn('qop="auth"', answer.headers["www-authenticate"])

    def test_assertions(self) -> None:
        """AGP-49: who asserts from elsewhere is asked for credentials."""
        self.assertEqual(self.ask("GET", self.uri, address="192.0.2.9").status, 401)
        self.assertEqual(self.post(PNG, user=ALICE).status, 201)

    def test_unknown(self) -> None:
        """Unknown id, unknown user and no permission are one 404."""
        answers = [
            self.ask("GET", "o/" + "x" * 32),
            self.ask("DELETE", self.uri, user=BOB),
            self.ask("DELETE", "o/" + "x" * 32, user=BOB),
        ]
        self.assertEqual({(a.status, a.body) for a in answers}, {(404, b"No such object\n")})
        answers = [
            self.post(PNG, owner=BOB),
            self.post(PNG, owner="sip:bob@foreign.example"),
            self.post(PNG, owner="tel:x"),
            self.ask("GET", f"users/{BOB}/"),
            self.ask("GET", "nowhere"),
        ]
        self.assertEqual({(a.status, a.body) for a in answers}, {(404, b"No such place\n")})

    def test_server(self) -> None:
        """PRS-15: a trusted server acts for every user, by what a proxy asserts."""
        made = self.post(PNG, user=SERVER, owner=BOB)
        self.assertEqual(made.status, 201)
        self.assertEqual(self.ask("GET", made.headers["location"], user=BOB).status, 200)
        self.assertEqual(len(json.loads(self.ask("GET", f"users/{BOB}/", user=BOB).body)), 1)
        self.assertEqual(self.ask("PUT", self.uri, b"", "X-Refresh: 1", user=SERVER).status, 204)
        self.assertEqual(self.ask("DELETE", self.uri, user=SERVER).status, 204)
        self.assertEqual(self.post(PNG, user=SERVER, owner="sip:x@foreign.example").status, 404)

    def test_places(self) -> None:
        """No path leads elsewhere, however it is spelt."""
        id = self.uri.rpartition("/")[2]
        for path in (
            f"/cs/o/{id}/",
            f"/cs/o//{id}",
            f"/cs//o/{id}",
            f"/cs/./o/{id}",
            f"/cs/x/../o/{id}",
            f"/cs/%6F/{id}",
            f"/cs/o/%2e%2e/{id}",
            f"/cs/o/..%2f{id}",
            f"/cs/o/{id}%00",
            f"/cs/o/{id}.png",
            f"/cs/o/%{ord(id[0]):02x}{id[1:]}",
            "/cs/o/../content.sqlite",
            "/cs/o/..%2f..%2fcontent.sqlite",
            "/cs/o/%2fetc%2fpasswd",
            "/cs/users/../o/",
            "/cs/users/%2e%2e/",
            "/cs/users/sip:alice%2f@example.com/",
            "/cs/users/sip:alice%00@example.com/",
            "/cs/users/sip:alice%zz@example.com/",
            "/cs/users/sip:alice%ff@example.com/",
            "/cs/users//",
            "/cs/users",
            "/cs/",
            "/",
            "/cs/users/sip:alice@example.com/x",
        ):
            for method in ("GET", "POST", "PUT", "DELETE"):
                answer = self.ask(method, path, b"x", "Content-Type: image/png")
                self.assertEqual(answer.status, 404, (method, path))
        self.assertEqual(len(self.files()), 1)

    def test_digest(self) -> None:
        """CSV-02: users prove who they are by Digest."""
        credentials = HttpCredentials("bob", PASSWORD)
        target = self.uri.removeprefix("https://content.example.com")
        line = self.line("192.0.2.9")
        first = self.ask("GET", self.uri, user="", line=line)
        value = credentials.answer(
            "content", [first.headers["www-authenticate"]], "GET", target, b"", None
        )
        answer = self.ask("GET", self.uri, None, f"Authorization: {value}", user="", line=line)
        self.assertEqual((answer.status, answer.body), (200, PNG))
        credentials.check(answer.headers["authentication-info"], value or "", answer.body)
        self.assertEqual(self.records[-1].user, "bob")
        self.assertEqual(Asker().name, "-")
        value = credentials.reuse("content", "GET", target, b"")
        other = 'X-3GPP-Intended-Identity: "sip:alice@example.com"'
        answer = self.ask(
            "GET", self.uri, None, f"Authorization: {value}", other, user="", line=line
        )
        self.assertEqual(answer.status, 403)

    def test_records(self) -> None:
        """AGP-84: each request is told once; nothing told gives access to an object."""
        self.records.clear()
        self.ask("GET", self.uri)
        self.ask("GET", f"users/{ALICE}/")
        self.ask("GET", "nowhere")
        self.post(PNG)
        told = [(r.kind, r.method, r.status, r.received) for r in self.records]
        self.assertEqual(
            told,
            [
                ("object", "GET", 200, 0),
                ("collection", "GET", 200, 0),
                ("-", "GET", 404, 0),
                ("collection", "POST", 201, len(PNG)),
            ],
        )
        self.assertEqual(self.records[0].sent, len(PNG))


class OwnerTests(ServerCase):
    """Only owners and servers read (AGP-111)."""

    settings = ContentSettings(reading="owner", rate=0.0)

    def test_reading(self) -> None:
        """Everybody else gets the 404 of what there is not."""
        uri = self.post(PNG).headers["location"]
        for user, status in ((ALICE, 200), (SERVER, 200), (BOB, 404)):
            self.assertEqual(self.ask("GET", uri, user=user).status, status)


class AnybodyTests(ServerCase):
    """Whoever has the URI reads (AGP-111)."""

    settings = ContentSettings(reading="anybody", rate=0.0)

    def test_reading(self) -> None:
        """Without credentials; everything else needs them."""
        uri = self.post(PNG).headers["location"]
        for method, target, status in (
            ("GET", uri, 200),
            ("HEAD", uri, 200),
            ("GET", "o/" + "x" * 32, 404),
            ("DELETE", uri, 401),
            ("PUT", uri, 401),
            ("GET", f"users/{ALICE}/", 401),
            ("GET", "nowhere", 401),
        ):
            answer = self.ask(method, target, user="", address="192.0.2.9")
            self.assertEqual(answer.status, status, (method, target))


class RateTests(ServerCase):
    """AGP-76: a user has so many requests at once."""

    settings = ContentSettings(rate=1.0, burst=3.0)

    def test_rate(self) -> None:
        """Then 429 and when to come back; servers and others go on."""
        for status in (201, 201, 201, 429):
            self.assertEqual(self.post(PNG).status, status)
        self.assertEqual(self.post(PNG, user=BOB).status, 201)
        for _ in range(5):
            self.assertEqual(self.ask("GET", f"users/{ALICE}/", user=SERVER).status, 200)
        self.reactor.advance(1.1)
        self.assertEqual(self.post(PNG).status, 201)
