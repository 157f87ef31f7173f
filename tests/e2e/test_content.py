"""The Content Server over HTTPS: stored by one client, shown by another (issue 6, item 5)."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.e2e.contents import MIB, ContentDaemon
from tests.e2e.daemon import PASSWORD, ROOT
from tests.e2e.phone import aor
from tests.e2e.xdm import DOCUMENT, Answer, at_once, index, tls_context

PNG = b"\x89PNG" + bytes(range(256)) * 40


class Curl(SynchronousTestCase):
    """A client that others have made."""

    algorithm = "SHA-256"

    def setUp(self) -> None:
        """Start the server."""
        if shutil.which("curl") is None:
            raise SkipTest("curl is not installed")
        self.server = ContentDaemon(
            self, content={"size": 6 * MIB}, proxy={"algorithms": [self.algorithm]}
        ).start()
        self.curl = self.server.curl
        self.file = self.server.daemon.directory / "icon.png"

    def post(self, octets: bytes, *arguments: str) -> dict[str, str]:
        """Store an object; the header fields of the answer."""
        self.file.write_bytes(octets)
        status, fields, _ = self.curl(
            *("--data-binary", f"@{self.file}", "--header", "Content-Type: image/png"),
            *arguments,
            f"{self.server.base}users/{aor('alice')}/",
        )
        self.assertEqual(status, 201)
        return fields

    def test_course(self) -> None:
        """AGP-106, AGP-107, CSV-01 to CSV-03: store, read, replace, extend and delete."""
        made = self.post(PNG, "--header", "X-Expires: 7200")
        uri = made["location"]
        self.assertTrue(uri.startswith(f"{self.server.base}o/"))
        status, fields, body = self.curl(uri, user="bob")
        self.assertEqual((status, body), (200, PNG))
        self.assertEqual(fields["content-type"], "image/png")
        self.assertEqual((fields["etag"], fields["expires"]), (made["etag"], made["expires"]))
        status, fields, body = self.curl("--range", "1-4", uri, user="bob")
        self.assertEqual((status, body), (206, PNG[1:5]))
        self.assertEqual(fields["content-range"], f"bytes 1-4/{len(PNG)}")
        unchanged = ("--header", f"If-None-Match: {made['etag']}")
        status, _, body = self.curl(*unchanged, uri, user="bob")
        self.assertEqual((status, body), (304, b""))
        status, fields, _ = self.curl("--head", uri, user="bob")
        self.assertEqual((status, fields["content-length"]), (200, str(len(PNG))))
        status, fields, _ = self.curl(
            *("--request", "PUT", "--header", "X-Refresh: 1", "--header", "X-Expires: 9000"),
            *("--header", "Content-Length: 0", uri),
        )
        self.assertEqual(status, 204)
        self.assertNotEqual(fields["expires"], made["expires"])
        self.file.write_bytes(b"other")
        put = ("--upload-file", str(self.file), "--header", "Content-Type: image/png")
        status, fields, _ = self.curl(*put, "--header", 'If-Match: "x"', uri)
        self.assertEqual(status, 412)
        status, fields, _ = self.curl(*put, "--header", f"If-Match: {made['etag']}", uri)
        self.assertEqual(status, 204)
        self.assertEqual(self.curl(uri, user="bob")[2], b"other")
        status, _, body = self.curl(f"{self.server.base}users/{aor('alice')}/")
        (row,) = json.loads(body)
        self.assertEqual((row["uri"], row["size"]), (uri, 5))
        self.assertEqual(row["sha1"], hashlib.sha1(b"other").hexdigest())
        self.assertEqual(self.curl("--request", "DELETE", uri, user="bob")[0], 404)
        self.assertEqual(self.curl("--request", "DELETE", uri)[0], 204)
        self.assertEqual(self.curl(uri)[0], 404)

    def test_large(self) -> None:
        """A large object, which curl announces with Expect; and one in chunks."""
        octets = os.urandom(5 * MIB)
        uri = self.post(octets)["location"]
        self.assertEqual(self.curl(uri, user="bob")[2], octets)
        uri = self.post(octets, "--header", "Transfer-Encoding: chunked")["location"]
        self.assertEqual(self.curl("--range", f"{MIB}-", uri)[2], octets[MIB:])

    def test_wrong_password(self) -> None:
        """AGP-111: who does not know the password gets nothing."""
        uri = self.post(PNG)["location"]
        self.assertEqual(self.curl(uri, password="wrong")[0], 401)


class CurlMd5(Curl):
    """The same with the older hash."""

    algorithm = "MD5"


class Hostile(SynchronousTestCase):
    """What a hostile client sends is refused, and nothing of it stays (issue 6)."""

    def setUp(self) -> None:
        """Start the server; alice has an object."""
        self.server = ContentDaemon(
            self,
            content={"size": 100_000, "objects": 5, "upload_timeout": 4.0},
            http={"idle_timeout": 5.0},
        ).start()
        self.alice = self.server.client()
        made = self.post(PNG)
        self.target = self.server.target(made["location"])
        self.before = self.server.files()

    def post(self, body: bytes, **fields: str | None) -> Answer:
        """Store something."""
        fields = {"content_type": "image/png", **fields}
        return self.alice.ask("POST", self.server.home(), body, **fields)

    def wire(self) -> ssl.SSLSocket:
        """A connection."""
        context = tls_context(self.server.daemon.certificate)
        raw = socket.create_connection(("127.0.0.1", self.server.port), timeout=20)
        wire = context.wrap_socket(raw, server_hostname="localhost")
        self.addCleanup(wire.close)
        return wire

    def head(self, *fields: str, method: str = "POST", target: str = "") -> bytes:
        """A request of alice's, up to its body."""
        target = target or self.server.home()
        lines = [
            f"{method} {target} HTTP/1.1",
            f"Host: localhost:{self.server.port}",
            "Content-Type: image/png",
            f"Authorization: {self.alice.authorization(method, target)}",
            *fields,
            "",
            "",
        ]
        return "\r\n".join(lines).encode()

    def status(self, wire: ssl.SSLSocket) -> int:
        """The status of the answer."""
        data = b""
        while b"\r\n\r\n" not in data:
            piece = wire.recv(65536)
            if not piece:
                break
            data += piece
        return int(data.split(b" ", 2)[1])

    def check(self) -> None:
        """Nothing has stayed, and the server serves."""
        deadline = time.monotonic() + 10
        while self.server.files() != self.before and time.monotonic() < deadline:
            time.sleep(0.05)
        self.assertEqual(self.server.files(), self.before)
        self.assertEqual(self.alice.ask("GET", self.target).body, PNG)

    def test_slow(self) -> None:
        """CSV-04, AGP-77: a body that drips is given up after its time."""
        wires = [self.wire() for _ in range(3)]
        for wire in wires:
            wire.sendall(self.head("Content-Length: 90000") + b"x" * 20_000)
        began = time.monotonic()
        while time.monotonic() - began < 3.0:
            for wire in wires:
                wire.sendall(b"x" * 500)
            time.sleep(0.1)
        self.assertEqual([self.status(wire) for wire in wires], [408] * 3)
        self.check()

    def test_large(self) -> None:
        """AGP-110: 413 with a length told, and as soon as it is too much without."""
        self.assertEqual(self.post(b"x" * 100_001).status, 413)
        wire = self.wire()
        wire.sendall(self.head("Content-Length: 999999999999"))
        self.assertEqual(self.status(wire), 413)
        wire = self.wire()
        wire.sendall(self.head("Transfer-Encoding: chunked"))
        try:
            for _ in range(50):
                wire.sendall(b"4000\r\n" + b"x" * 0x4000 + b"\r\n")
        except OSError:
            pass  # it has been cut off while we sent on
        else:
            self.assertEqual(self.status(wire), 413)
        self.check()

    def test_types(self) -> None:
        """AGP-110: nothing that a browser runs."""
        for kind in ("text/html", "image/svg+xml", "text/javascript", "application/xhtml+xml"):
            self.assertEqual(self.post(b"<script/>", content_type=kind).status, 415)
        self.assertEqual(self.post(b"x", content_type=None).status, 415)
        self.check()

    def test_paths(self) -> None:
        """No path leads out of the objects."""
        id = self.target.rpartition("/")[2]
        for target in (
            "/cs/o/../../../../etc/passwd",
            "/cs/o/..%2f..%2fcontent.sqlite",
            "/cs/o/%2e%2e/%2e%2e/accounts.db",
            f"/cs/o/%2e/{id}",
            f"/cs/%6f/{id}",
            f"/cs/o/{id}%2f",
            f"/cs/o/{id}/../{id}",
            "/cs/o/content.sqlite",
            "/cs/../accounts.db",
            f"/cs/users/{aor('alice')}/../{aor('bob')}/",
            "/cs/users/..%2f..%2f/",
        ):
            for method in ("GET", "PUT", "DELETE", "POST"):
                answer = self.alice.ask(method, target, b"x", content_type="image/png")
                self.assertEqual(answer.status, 404, (method, target))
        self.check()

    def test_ranges(self) -> None:
        """Many ranges make no work: the whole object, once."""
        ranges = "bytes=" + ",".join("0-" for _ in range(1500))
        answer = self.alice.ask("GET", self.target, None, range=ranges)
        self.assertEqual((answer.status, answer.body), (200, PNG))

    def test_digest(self) -> None:
        """AGP-112: a body that is not what it promises is not stored."""
        answer = self.post(PNG, digest="SHA=" + "A" * 27 + "=")
        self.assertEqual(answer.status, 400)
        self.check()

    def test_race(self) -> None:
        """CSV-04: ten uploads at once get exactly what there is room for."""
        clients = [self.server.client() for _ in range(10)]
        bodies = [b"%d" % n * 5000 for n in range(10)]
        answers = at_once(
            [
                partial(client.ask, "POST", self.server.home(), body, content_type="image/png")
                for client, body in zip(clients, bodies, strict=True)
            ]
        )
        statuses = sorted(answer.status for answer in answers)
        self.assertEqual(statuses, [201] * 4 + [507] * 6)
        self.assertEqual(len(json.loads(self.alice.ask("GET", self.server.home()).body)), 5)

    def test_leaving(self) -> None:
        """Clients that leave in the midst leave nothing."""
        for size in (0, 10, 50_000):
            wire = self.wire()
            wire.sendall(self.head("Content-Length: 90000") + b"x" * size)
            wire.close()
        self.check()


class Together(SynchronousTestCase):
    """All roles in one process, and one port for documents and objects."""

    def setUp(self) -> None:
        """Start the server."""
        self.server = ContentDaemon(self, alone=False, content={"size": 6 * MIB}).start()
        self.alice = self.server.client()

    def store(self, body: bytes = PNG) -> str:
        """Store an object; its request target."""
        answer = self.alice.ask("POST", self.server.home(), body, content_type="image/png")
        self.assertEqual(answer.status, 201, answer)
        return self.server.target(answer["location"])

    def test_one_port(self) -> None:
        """AGP-106: documents and objects are reached by the same port and the same password."""
        target = self.store()
        self.assertEqual(self.server.client("bob").ask("GET", target).body, PNG)
        self.assertEqual(self.alice.put(index("alice"), DOCUMENT).status, 201)
        self.assertEqual(self.alice.get(index("alice")).body, DOCUMENT)
        large = self.alice.put(index("alice"), b"x" * (MIB + 1))
        self.assertEqual(large.status, 413, "documents stay as small as they were")

    def test_removed(self) -> None:
        """AGP-113, PSV-19: with an account all of its objects go, within a minute."""
        for body in (PNG, b"x" * MIB):
            self.store(body)
        kept = self.server.client("bob").ask(
            "POST", self.server.home("bob"), PNG, content_type="image/png"
        )
        self.assertEqual(len(self.server.files()), 3)
        done = subprocess.run(
            [
                *(sys.executable, "-m", "presence.ctl", "account", "remove"),
                *(aor("alice"), "--state-dir", str(self.server.daemon.state)),
            ],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"},
            capture_output=True,
            timeout=60,
        )
        self.assertEqual(done.returncode, 0, done)
        deadline = time.monotonic() + 60
        while len(self.server.files()) > 1 and time.monotonic() < deadline:
            time.sleep(0.1)
        self.assertEqual(len(self.server.files()), 1)
        target = self.server.target(kept["location"])
        self.assertEqual(self.server.client("bob").ask("GET", target).body, PNG)

    def test_access_log(self) -> None:
        """AGP-84: the log tells each request, and gives nobody access to an object."""
        target = self.store()
        self.alice.ask("GET", target)
        self.server.daemon.stop()
        log = (self.server.daemon.state / "access.log").read_text()
        told = [json.loads(line) for line in log.splitlines()]
        rows = [
            (row["method"], row["target"], row["status"])
            for row in told
            if row.get("server") == "content" and row["status"] != 401
        ]
        self.assertEqual(rows, [("POST", "collection", 201), ("GET", "object", 200)])
        secret = target.rpartition("/")[2]
        self.assertNotIn(secret, log)
        self.assertNotIn(secret, self.server.daemon.log())

    def test_flat(self) -> None:
        """Issue 6: a 5 MB icon of one client is shown by another with the server's memory flat."""
        octets = os.urandom(5 * MIB)
        bob = self.server.client("bob")
        # who is not known is cut off in the midst of so much
        self.assertEqual(self.alice.ask("GET", self.server.home()).status, 200)
        target = self.store(octets)  # whatever is needed once is there now
        self.assertEqual(bob.ask("GET", target).body, octets)
        before = self.server.daemon.resident()
        readers = [self.server.client("bob") for _ in range(8)]
        most = before
        for number in range(3):
            self.alice.ask("DELETE", target)
            target = self.store(octets[number:])
            answers = at_once([partial(reader.ask, "GET", target) for reader in readers])
            for answer in answers:
                self.assertEqual(answer.body, octets[number:])
            most = max(most, self.server.daemon.resident())
        # 135 MB have gone through; eight readers have a few pieces of 128 KiB each on their way
        peak = self._peak()
        self.assertLess(most - before, 8 * MIB)
        self.assertLess(peak - before, 12 * MIB)

    def test_not_read(self) -> None:
        """Clients that ask for large objects and read nothing of them fill no memory."""
        self.assertEqual(self.alice.ask("GET", self.server.home()).status, 200)
        target = self.store(os.urandom(5 * MIB))
        self.alice.ask("GET", target)
        before = self.server.daemon.resident()
        context = tls_context(self.server.daemon.certificate)
        for _ in range(16):
            raw = socket.create_connection(("127.0.0.1", self.server.port), timeout=20)
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            wire = context.wrap_socket(raw, server_hostname="localhost")
            self.addCleanup(wire.close)
            wire.sendall(
                f"GET {target} HTTP/1.1\r\nHost: localhost:{self.server.port}\r\n"
                f"Authorization: {self.alice.authorization('GET', target)}\r\n\r\n".encode()
            )
            self.assertEqual(wire.recv(12), b"HTTP/1.1 200")
        self.assertEqual(self.server.client("bob").ask("GET", target).status, 200)
        self.assertLess(self.server.daemon.resident() - before, 16 * MIB)

    def _peak(self) -> int:
        """Most resident memory that the process ever had, in octets."""
        status = Path(f"/proc/{self.server.daemon.pid}/status").read_text()
        (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024

    def test_password(self) -> None:
        """AGP-39: who guesses passwords here is locked out there, too."""
        wrong = self.server.client("bob", password="wrong")
        for _ in range(12):
            wrong.challenge = {}
            answer = wrong.ask("GET", self.server.home("bob"))
        self.assertEqual(answer.status, 429)
        bob = self.server.client("bob", password=PASSWORD)
        self.assertEqual(bob.get(index("bob")).status, 429)


class Restart(SynchronousTestCase):
    """What was acknowledged stays."""

    def test_restart(self) -> None:
        """AGP-113: objects are there after the end of the process, whatever end it was."""
        server = ContentDaemon(self).start()
        alice = server.client()
        targets = []
        for number in range(10):
            answer = alice.ask(
                "POST", server.home(), b"%d" % number * 1000, content_type="image/png"
            )
            targets.append(server.target(answer["location"]))
        for end in (server.daemon.kill, server.daemon.stop):
            end()
            server.start()
            for number, target in enumerate(targets):
                alice.close()
                alice.challenge = {}
                self.assertEqual(alice.ask("GET", target).body, b"%d" % number * 1000)
            self.assertEqual(len(server.files()), 10)
