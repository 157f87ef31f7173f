"""Microseconds of CPU per request for the HTTP server below the document servers.

A service that answers at once is served on a loopback socket; the client of the benchmark
is another process, so that only the server's CPU is counted::

    python bench/micro_http.py [requests] [--tls] [--profile]

The aim is 60 µs for GET of a small document on a connection that is kept, reactor and
kernel included.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from twisted.internet import reactor
from zope.interface import implementer

from pysip.transport.credentials import TlsSettings, load_credentials
from tests.certificates import issue, make_ca
from xcap.http.body import ChunkedBody, LengthBody
from xcap.http.coding import compress, decompress
from xcap.http.messages import encode_response, parse_head
from xcap.http.settings import HttpSettings
from xcap.http.site import HttpSite
from xcap.interfaces import IHttpService
from xcap.records import Head, HttpResponse, Receive

DOCUMENT = b"""<?xml version="1.0" encoding="UTF-8"?>
<resource-lists xmlns="urn:ietf:params:xml:ns:resource-lists"><list name="friends">
  <entry uri="sip:bob@example.com"><display-name>Bob</display-name></entry>
</list></resource-lists>
""".ljust(700)

HEAD = (
    b"/resource-lists/users/sip:alice@example.com/index HTTP/1.1\r\n"
    b"Host: xcap.example.com\r\n"
    b"User-Agent: micro_http\r\n"
    b"Accept: */*\r\n"
    b'X-3GPP-Intended-Identity: "sip:alice@example.com"\r\n'
    b'Authorization: Digest username="alice", realm="xcap.example.com",'
    b' nonce="dGVzdC1ub25jZS0wMDE", uri="/resource-lists/users/sip:alice@example.com/index",'
    b' response="33eebe070028e388a091d78ef15413c1af24ea46d12e663729ceca984732f3d9",'
    b' algorithm=SHA-256, cnonce="0a4f113b", qop=auth, nc=00000001\r\n'
)
GET = b"GET " + HEAD + b"\r\n"
PUT = b"PUT %bContent-Type: application/resource-lists+xml\r\nContent-Length: %d\r\n\r\n%b" % (
    HEAD,
    len(DOCUMENT),
    DOCUMENT,
)

ANSWER = HttpResponse(
    200, (("Content-Type", "application/resource-lists+xml"), ("ETag", '"4f1"')), DOCUMENT
)
CREATED = HttpResponse(201, (("ETag", '"4f2"'),))


@implementer(IHttpService)
class Instant:
    """Answers at once."""

    async def begin(self, head: Head) -> HttpResponse | Receive:
        """The document for GET; PUT is let in."""
        return ANSWER if head.method == "GET" else self._store

    async def _store(self, body: bytes) -> HttpResponse:
        return CREATED


def measure(work: Callable[[], object], count: int) -> float:
    """CPU time of one call in microseconds: the best of five rounds."""
    best = float("inf")
    for _ in range(5):
        start = time.process_time()
        for _ in range(count):
            work()
        best = min(best, time.process_time() - start)
    return best / count * 1e6


def steps(count: int) -> None:
    """Print what the parts cost."""
    settings = HttpSettings()
    end = GET.index(b"\r\n\r\n") + 2
    chunked = b"2bc\r\n" + DOCUMENT + b"\r\n0\r\n\r\n"
    coded = compress(ANSWER, "gzip").body
    parts: list[tuple[str, Callable[[], object]]] = [
        ("read head of GET", lambda: parse_head(GET[:end], settings)),
        (
            "write answer",
            lambda: encode_response(ANSWER, head=False, close=False, date="D\r\n", server="S\r\n"),
        ),
        ("body with length", lambda: LengthBody(len(DOCUMENT)).feed(DOCUMENT)),
        ("body in chunks", lambda: ChunkedBody(1 << 20).feed(chunked)),
        ("gzip an answer", lambda: compress(ANSWER, "gzip")),
        ("expand a body", lambda: decompress(coded, "gzip", 1 << 20)),
    ]
    for name, work in parts:
        print(f"{name:32} {measure(work, count):7.2f} us")


def client(port: int, count: int, tls: bool) -> None:
    """Send requests one after the other."""
    sock = socket.create_connection(("127.0.0.1", port))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        sock = context.wrap_socket(sock)
    for octets, times in ((GET, 200), (GET, count), (PUT, count)):
        for _ in range(times):
            sock.sendall(octets)
            answer = b""
            while b"\r\n\r\n" not in answer or (octets is GET and len(answer) < len(DOCUMENT)):
                piece = sock.recv(65536)
                if not piece:
                    raise ConnectionError(f"closed after {answer!r}")
                answer += piece
    sock.close()


def served(count: int, tls: bool, profile: cProfile.Profile | None) -> None:
    """Serve the client and print the CPU time of each kind of request."""
    site = HttpSite(Instant(), reactor)  # type: ignore[arg-type]
    settings = None
    if tls:
        ca = make_ca(tempfile.mkdtemp())
        own = issue(ca, ["127.0.0.1"])
        settings = TlsSettings(
            credentials=load_credentials(own.certificate, own.key), client_certificates="none"
        )
    _, port = site.listen("127.0.0.1", 0, settings)
    marks: list[float] = []
    requests: list[int] = []

    def look() -> None:
        """The first requests warm up; then as many GET as PUT."""
        done = site.counters.answers["GET", 200] + site.counters.answers["PUT", 201]
        if len(marks) < 3 and done >= (200, 200 + count, 200 + 2 * count)[len(marks)]:
            marks.append(time.process_time())
            requests.append(done)
        if len(marks) == 3 or process.poll():
            reactor.stop()
        else:
            reactor.callLater(0.002, look)

    arguments = [sys.executable, __file__, str(count), "--client", str(port)]
    with subprocess.Popen(arguments + (["--tls"] if tls else [])) as process:
        look()
        if profile is not None:
            profile.enable()
        reactor.run()
        if profile is not None:
            profile.disable()
        process.wait()
    if len(marks) < 3:
        raise SystemExit("the client has failed")
    kind = "HTTPS" if tls else "HTTP"
    for number, name in enumerate(("GET 700 octets", "PUT 700 octets")):
        cost = (marks[number + 1] - marks[number]) / (requests[number + 1] - requests[number])
        print(f"{name + ', ' + kind:32} {cost * 1e6:7.2f} us")


def main() -> None:
    """Print one line for each measured step."""
    parser = argparse.ArgumentParser(description="CPU per HTTP request.")
    parser.add_argument("count", nargs="?", type=int, default=5000)
    parser.add_argument("--tls", action="store_true", help="over TLS")
    parser.add_argument("--profile", action="store_true", help="print the costliest functions")
    parser.add_argument("--client", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.client:
        client(options.client, options.count, options.tls)
        return
    if not options.tls:
        steps(options.count)
    profile = cProfile.Profile() if options.profile else None
    served(options.count, options.tls, profile)
    if profile is not None:
        pstats.Stats(profile).sort_stats("tottime").print_stats(25)


if __name__ == "__main__":
    main()
