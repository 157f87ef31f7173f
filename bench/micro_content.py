"""What the Content Server costs: CPU of small objects, throughput of large ones.

A Content Server with its store on disk is served on a loopback socket; the clients are another
process, so that only the server's CPU is counted::

    python bench/micro_content.py [operations] [--plain] [--profile]

Users are known by an identity that a trusted proxy asserts, so that Digest is not a part of
the figures (it costs what it costs at the Aggregation Proxy).
"""

from __future__ import annotations

import argparse
import cProfile
import ipaddress
import json
import os
import pstats
import resource
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from twisted.internet import reactor
from twisted.internet.defer import Deferred

from presence.content.access import Access
from presence.content.keeping import Keeping, KeepingSettings
from presence.content.records import Quota
from presence.content.server import ContentServer, ContentSettings
from presence.content.store import ContentStore
from presence.subscribers import ServedSubscribers, served_identity
from pysip.auth.domains import Domains
from pysip.transport.credentials import TlsSettings, load_credentials
from tests.certificates import issue, make_ca
from xcap.auth.digest import HttpDigestAuthenticator
from xcap.auth.identity import IdentityAsserter
from xcap.auth.nonces import Nonces
from xcap.http.settings import HttpSettings
from xcap.http.site import HttpSite
from xcap.roots import Root, Roots

SMALL = 10_000
LARGE = 5 << 20
LARGE_TIMES = 40
WIDTH = 8
"""Connections side by side."""

_HOST = "content.example.com"
_USERS = [f"sip:user{n}@example.com" for n in range(20)]


class Wire:
    """One connection of a client."""

    def __init__(self, port: int, tls: bool) -> None:
        self.sock: Any = socket.create_connection(("127.0.0.1", port))
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            self.sock = context.wrap_socket(self.sock)
        self._file = self.sock.makefile("rb", buffering=1 << 16)

    def ask(
        self, method: str, target: str, body: bytes = b"", *fields: str, user: str = _USERS[0]
    ) -> dict[str, str]:
        """Send a request and read its answer; the header fields of it."""
        lines = [
            f"{method} {target} HTTP/1.1",
            f"Host: {_HOST}",
            f'X-3GPP-Asserted-Identity: "{user}"',
            *fields,
        ]
        if method == "POST":
            lines += ["Content-Type: image/png", f"Content-Length: {len(body)}"]
        self.sock.sendall("\r\n".join([*lines, "", ""]).encode() + body)
        found = {"status": self._file.readline().split()[1].decode()}
        while line := self._file.readline().strip():
            name, _, value = line.decode("latin-1").partition(":")
            found[name.lower()] = value.strip()
        left = int(found.get("content-length", "0")) if found["status"] != "304" else 0
        while left:
            left -= len(self._file.read(min(left, 1 << 16)))
        return found


def client(port: int, count: int, tls: bool) -> None:
    """Send requests, a phase at a time; each begins when the server says so."""
    wires = [Wire(port, tls) for _ in range(WIDTH)]
    targets: list[tuple[str, str]] = []
    small = [os.urandom(SMALL) for _ in range(count)]
    large = os.urandom(LARGE)

    def path(found: dict[str, str]) -> str:
        assert found["status"] == "201", found
        return found["location"].partition(_HOST)[2]

    def post(wire: Wire, n: int) -> None:
        user = _USERS[n % len(_USERS)]
        found = wire.ask("POST", f"/cs/users/{user}/", small[n], user=user)
        targets.append((path(found), found["etag"]))

    def get(wire: Wire, n: int) -> None:
        assert wire.ask("GET", targets[n][0])["status"] == "200"

    def same(wire: Wire, n: int) -> None:
        target, tag = targets[n]
        assert wire.ask("GET", target, b"", f"If-None-Match: {tag}")["status"] == "304"

    def post_large(wire: Wire, n: int) -> None:
        body = b"%09d" % n + large[9:]
        targets.append((path(wire.ask("POST", f"/cs/users/{_USERS[0]}/", body)), ""))

    def get_large(wire: Wire, n: int) -> None:
        assert wire.ask("GET", targets[-1 - n][0])["status"] == "200"

    phases = [
        (post, count, WIDTH),
        (get, count, WIDTH),
        (same, count, WIDTH),
        (post_large, LARGE_TIMES, 1),
        (get_large, LARGE_TIMES, 1),
        (get_large, LARGE_TIMES, WIDTH),
    ]
    with ThreadPoolExecutor(WIDTH) as pool:
        for work, times, width in phases:
            sys.stdin.readline()

            def some(first: int, work: Any = work, times: int = times, width: int = width) -> None:
                for n in range(first, times, width):
                    work(wires[first], n)

            list(pool.map(some, range(width)))
            print("done", flush=True)
    for wire in wires:
        wire.sock.close()


NAMES = (
    ("POST 10 kB", 0, WIDTH),
    ("GET 10 kB", 0, WIDTH),
    ("GET 10 kB, 304", 0, WIDTH),
    ("POST 5 MiB", LARGE, 1),
    ("GET 5 MiB", LARGE, 1),
    ("GET 5 MiB, 8 at a time", LARGE, WIDTH),
)


def server(directory: str) -> tuple[ContentServer, ContentStore]:
    """A Content Server with everything but limits that matter here."""
    domains = Domains(["example.com"])
    store = ContentStore(reactor, directory)  # type: ignore[arg-type]
    quota = Quota(1 << 20, 1 << 40)
    subscribers = ServedSubscribers(domains)
    keeping = Keeping(store, subscribers, KeepingSettings(size=6 << 20, quota=quota))
    roots = Roots([Root(f"https://{_HOST}/cs/", "example.com"), Root(f"http://{_HOST}/cs/")])

    def canonical(uri: str) -> str:
        return served_identity(uri, domains)

    class Nobody:
        """No accounts."""

        def ha1(self, username: str, realm: str, algorithm: str) -> None:
            """Nobody is known."""

        def identities(self, username: str, realm: str) -> tuple[str, ...]:
            """Nobody has any."""
            return ()

    authenticator = HttpDigestAuthenticator(Nobody(), roots.realm, Nonces(b"k" * 32, 300.0))  # type: ignore[arg-type]
    networks = [ipaddress.ip_network("127.0.0.1/32")]
    asserter = IdentityAsserter(networks=networks, strict=False, canonical=canonical)
    access = Access(authenticator, asserter, subscribers, (), canonical)
    settings = ContentSettings(rate=0.0)
    return ContentServer(roots, keeping, access, reactor, settings), store  # type: ignore[arg-type]


async def measured(count: int, tls: bool, profile: cProfile.Profile | None) -> list[dict[str, Any]]:
    """Serve the clients; what each phase has cost."""
    directory = tempfile.mkdtemp(prefix="micro_content", dir=os.environ.get("BENCH_DIR"))
    service, store = server(directory)
    await store.start()
    site = HttpSite(service, reactor, HttpSettings(streamed=6 << 20))  # type: ignore[arg-type]
    settings = None
    if tls:
        own = issue(make_ca(directory), ["127.0.0.1"])
        settings = TlsSettings(
            credentials=load_credentials(own.certificate, own.key), client_certificates="none"
        )
    _, port = site.listen("127.0.0.1", 0, settings)
    arguments = [sys.executable, __file__, str(count), "--client", str(port)]
    process = subprocess.Popen(
        arguments + ([] if tls else ["--plain"]), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    found = []
    if profile is not None:
        profile.enable()
    for name, size, width in NAMES:
        times = LARGE_TIMES if size else count
        cpu, wall = time.process_time(), time.monotonic()
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(b"go\n")
        process.stdin.flush()
        done: Deferred[str] = Deferred()
        lines = process.stdout
        reactor.callInThread(  # type: ignore[attr-defined]
            lambda done=done, lines=lines: reactor.callFromThread(  # type: ignore[attr-defined]
                done.callback, lines.readline()
            )
        )
        if await done != b"done\n":
            raise SystemExit("the client has failed")
        cpu, wall = time.process_time() - cpu, time.monotonic() - wall
        found.append(
            {"name": name, "width": width, "cpu": cpu / times, "wall": wall / times, "size": size}
        )
    if profile is not None:
        profile.disable()
    process.communicate()
    await site.stop()
    await store.stop()
    subprocess.run(["rm", "-r", directory], check=True)
    return found


def main() -> None:
    """Print one line for each phase."""
    parser = argparse.ArgumentParser(description="CPU and throughput of the Content Server.")
    parser.add_argument("count", nargs="?", type=int, default=2000)
    parser.add_argument("--plain", action="store_true", help="without TLS")
    parser.add_argument("--profile", action="store_true", help="print the costliest functions")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--client", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.client:
        client(options.client, options.count, not options.plain)
        return
    profile = cProfile.Profile() if options.profile else None
    sys.setswitchinterval(0.001)  # as the server sets it
    results: list[Any] = []

    def stop(result: object) -> None:
        results.append(result)
        reactor.stop()  # type: ignore[attr-defined]

    def start() -> None:
        work = measured(options.count, not options.plain, profile)
        Deferred.fromCoroutine(work).addBoth(stop)

    reactor.callWhenRunning(start)  # type: ignore[attr-defined]
    reactor.run()  # type: ignore[attr-defined]
    if not isinstance(results[0], list):
        results[0].raiseException()
    if options.json:
        print(json.dumps(results[0]))
        return
    kind = "HTTP" if options.plain else "HTTPS"
    for row in results[0]:
        text = f"{row['name'] + ', ' + kind:34} {row['cpu'] * 1e6:9.0f} us CPU"
        if row["size"]:
            rate = row["size"] / row["wall"] / 1e6
            text += f" {rate:8.0f} MB/s {row['cpu'] / row['size'] * 1e12:7.0f} us CPU a MB"
        else:
            text += f" {1 / row['wall']:8.0f} a second"
        print(text)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{'most resident memory':34} {peak:9.0f} MiB")
    if profile is not None:
        pstats.Stats(profile).sort_stats("tottime").print_stats(30)


if __name__ == "__main__":
    main()
