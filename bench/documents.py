"""Load of documents over HTTP: the XDMS by itself, through the Aggregation Proxy, and Kamailio.

``python -m bench.documents 127.0.0.1:PORT/root --pid PID`` prints one JSON object for each phase,
as :mod:`bench.load` does.  The document is a resource list of 20 entries.  Each of the threads
has one persistent connection and one request in flight; every status is checked, and of GETs
the body.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import socket
import ssl
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from bench.proc import cpu_seconds, main_thread_seconds, tree

ENTRIES = 20
USER = "load"
"""Who acts for everybody: a trusted principal."""

_LISTS = "application/resource-lists+xml"
_ELEMENT = "application/xcap-el+xml"
_PARAMETER = re.compile(r'(\w+)=(?:"([^"]*)"|([^\s,]+))')

Made = tuple[str, str, bytes, str, dict[str, str]]
"""Method, target, body, media type, further fields."""


class Connection:
    """One persistent connection; with a password it answers the challenge for SHA-256."""

    def __init__(self, root: str, domain: str, password: str, certificate: str) -> None:
        parts = urlsplit(root)
        self._host = parts.netloc
        raw = socket.create_connection((parts.hostname or "", parts.port or 80), 30)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket: socket.socket = raw
        if parts.scheme == "https":
            context = ssl.create_default_context(cafile=certificate)
            self._socket = context.wrap_socket(raw, server_hostname=parts.hostname)
        self._fields: dict[str, str] = {}
        if not password:
            self._fields["X-XCAP-Asserted-Identity"] = f'"sip:{USER}@{domain}"'
        self._secret = _hash(f"{USER}:{domain}:{password}")
        self._password = password
        self._challenge: dict[str, str] = {}
        self._count = 0
        self._rest = b""

    def close(self) -> None:
        """Close it."""
        self._socket.close()

    def ask(self, made: Made) -> tuple[int, dict[str, str], bytes]:
        """Send a request and wait for its answer: status, fields, body."""
        answer = self._ask(made)
        if answer[0] == 401 and self._password:
            for value in answer[1]["www-authenticate"].split("\n"):
                found = {name: a or b for name, a, b in _PARAMETER.findall(value)}
                if found.get("algorithm") == "SHA-256":
                    self._challenge, self._count = found, 0
            answer = self._ask(made)
        return answer

    def _ask(self, made: Made) -> tuple[int, dict[str, str], bytes]:
        method, target, body, kind, further = made
        fields = {"Host": self._host, **self._fields, **further}
        if kind:
            fields["Content-Type"] = kind
        if body or method == "PUT":
            fields["Content-Length"] = str(len(body))
        if self._challenge:
            fields["Authorization"] = self._credentials(method, target)
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        self._socket.sendall(f"{method} {target} HTTP/1.1\r\n{head}\r\n".encode() + body)
        return self._answer()

    def _credentials(self, method: str, target: str) -> str:
        self._count += 1
        given = self._challenge
        count, own = f"{self._count:08x}", "0a4f113b"
        second = _hash(f"{method}:{target}")
        proof = _hash(f"{self._secret}:{given['nonce']}:{count}:{own}:auth:{second}")
        return (
            f'Digest username="{USER}", realm="{given["realm"]}", nonce="{given["nonce"]}",'
            f' uri="{target}", response="{proof}", algorithm=SHA-256, cnonce="{own}",'
            f' opaque="{given.get("opaque", "")}", qop=auth, nc={count}'
        )

    def _answer(self) -> tuple[int, dict[str, str], bytes]:
        data = self._rest
        while (end := data.find(b"\r\n\r\n")) < 0:
            data += self._more()
        lines = data[:end].decode("latin-1").split("\r\n")
        fields: dict[str, str] = {}
        for line in lines[1:]:
            name, _, value = line.partition(":")
            name = name.lower()
            fields[name] = f"{fields[name]}\n{value.strip()}" if name in fields else value.strip()
        status = int(lines[0][9:12])
        length = 0 if status in (204, 304) else int(fields.get("content-length", "0"))
        while len(data) < end + 4 + length:
            data += self._more()
        self._rest = data[end + 4 + length :]
        return status, fields, data[end + 4 : end + 4 + length]

    def _more(self) -> bytes:
        data = self._socket.recv(65536)
        if not data:
            raise ConnectionError("closed by the server")
        return data


def _cpu(pid: int) -> float:
    """Processor time of a server with all its processes."""
    return sum(cpu_seconds(each) for each in tree(pid))


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


class Load:
    """All phases against one server."""

    def __init__(self, given: argparse.Namespace) -> None:
        self._given = given
        self._prefix = urlsplit(given.root).path.rstrip("/")
        self._tags: dict[int, str] = {}
        self.failed = False

    # -- requests -----------------------------------------------------------------------

    def _document(self, generation: int) -> bytes:
        entries = "".join(
            f'   <entry uri="sip:f{j}@{self._given.domain}"><display-name>Friend {j} g{generation}'
            "</display-name></entry>\n"
            for j in range(ENTRIES)
        )
        return (
            '<?xml version="1.0" encoding="UTF-8"?>\n<resource-lists '
            'xmlns="urn:ietf:params:xml:ns:resource-lists">\n  <list name="friends">\n'
            f"{entries}  </list>\n</resource-lists>\n"
        ).encode()

    def _path(self, i: int) -> str:
        return f"{self._prefix}/resource-lists/users/sip:x{i}@{self._given.domain}/index"

    def _element(self, i: int, j: int) -> str:
        return (
            f"{self._path(i)}/~~/resource-lists/list%5b@name=%22friends%22%5d"
            f"/entry%5b@uri=%22sip:f{j}@{self._given.domain}%22%5d"
        )

    def run(self) -> None:
        """Every operation on every document, one phase after the other."""

        def put(generation: int, **fields: str) -> Callable[[int], Made]:
            body = self._document(generation)
            return lambda i: ("PUT", self._path(i), body, _LISTS, fields)

        def entry(i: int) -> bytes:
            uri = f"sip:f7@{self._given.domain}"
            return f'<entry uri="{uri}"><display-name>New {i}</display-name></entry>'.encode()

        def tagged(field: str) -> Callable[[int], dict[str, str]]:
            return lambda i: {field: self._tags.get(i, '"none"')}

        def got(i: int, body: bytes) -> bool:
            return body.count(b"<entry") == ENTRIES and b" g1<" in body

        same, unlike = tagged("If-None-Match"), tagged("If-Match")
        path, element = self._path, self._element
        self._phase("put-new", put(1), {200, 201})
        self._phase("get", lambda i: ("GET", path(i), b"", "", {}), {200}, got)
        self._phase("get-304", lambda i: ("GET", path(i), b"", "", same(i)), {304})
        self._phase("put-replace", put(2), {200})
        body = self._document(3)
        self._phase("put-if-match", lambda i: ("PUT", path(i), body, _LISTS, unlike(i)), {200})
        self._phase("put-412", put(4, **{"If-Match": '"stale"'}), {412})
        self._phase(
            "get-element",
            lambda i: ("GET", element(i, i % ENTRIES), b"", "", {}),
            {200},
            lambda i, body: f"sip:f{i % ENTRIES}@".encode() in body,
        )
        self._phase("put-element", lambda i: ("PUT", element(i, 7), entry(i), _ELEMENT, {}), {200})
        self._phase("delete-element", lambda i: ("DELETE", element(i, 3), b"", "", {}), {200, 204})
        self._phase("delete", lambda i: ("DELETE", path(i), b"", "", {}), {200, 204})

    # -- phases -------------------------------------------------------------------------

    def _phase(
        self,
        name: str,
        make: Callable[[int], Made],
        wanted: set[int],
        check: Callable[[int, bytes], bool] | None = None,
    ) -> None:
        given = self._given
        numbers = iter(range(given.n))
        lock = threading.Lock()
        times: list[float] = []
        faults: Counter[str] = Counter()
        statuses: Counter[int] = Counter()
        connections = [
            Connection(given.root, given.domain, given.password, given.certificate)
            for _ in range(min(given.width, given.n))
        ]
        end = time.monotonic() + given.seconds

        def work(connection: Connection) -> None:
            while time.monotonic() < end:
                with lock:
                    i = next(numbers, None)
                if i is None:
                    return
                began = time.perf_counter()
                try:
                    status, fields, body = connection.ask(make(i))
                except (OSError, ValueError) as error:
                    with lock:
                        faults[type(error).__name__] += 1
                    return
                took = time.perf_counter() - began
                with lock:
                    times.append(took)
                    statuses[status] += 1
                    if status not in wanted:
                        faults[f"status {status}"] += 1
                    elif check is not None and not check(i, body):
                        faults["body"] += 1
                    if "etag" in fields and status < 300:
                        self._tags[i] = fields["etag"]

        before = _cpu(given.pid), main_thread_seconds(given.pid)
        load_before, began = time.process_time(), time.perf_counter()
        threads = [threading.Thread(target=work, args=(each,)) for each in connections]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        seconds = time.perf_counter() - began
        used = _cpu(given.pid) - before[0], main_thread_seconds(given.pid) - before[1]
        for connection in connections:
            connection.close()
        done = max(1, len(times))
        if len(times) < given.n and not faults:
            faults["not done in time"] += given.n - len(times)
        times.sort()
        self.failed = self.failed or bool(faults)
        report: dict[str, Any] = {
            "phase": f"xcap-{name}",
            "operations": len(times),
            "width": len(connections),
            "seconds": round(seconds, 4),
            "rate": round(len(times) / seconds, 1),
            "cpu_ms": round(used[0] / done * 1e3, 5),
            "main_cpu_ms": round(used[1] / done * 1e3, 5),
            "load_cpu_ms": round((time.process_time() - load_before) / done * 1e3, 5),
            "latency_ms": {
                name: {
                    label: round(times[min(int(len(times) * share), len(times) - 1)] * 1e3, 3)
                    for label, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))
                }
            }
            if times
            else {},
            "statuses": {str(status): count for status, count in sorted(statuses.items())},
            "faults": dict(faults),
        }
        print(json.dumps(report), flush=True)


def main() -> None:
    """Parse the arguments and run all phases."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("root", help="XCAP root on loopback, such as http://127.0.0.1:8080/xcap")
    parser.add_argument("--pid", type=int, default=os.getpid(), help="whose time to measure")
    parser.add_argument("--domain", default="bench.invalid")
    parser.add_argument("--password", default="", help="of the account load, for Digest")
    parser.add_argument("--certificate", default="", help="PEM file to trust")
    parser.add_argument("-n", type=int, default=1500, help="documents")
    parser.add_argument("-w", "--width", type=int, default=8, help="connections")
    parser.add_argument("--seconds", type=float, default=60, help="bound of each phase")
    given = parser.parse_args()
    host = urlsplit(given.root).hostname or ""
    if host != "localhost" and not host.startswith("127."):
        parser.error("the server must be on loopback")
    load = Load(given)
    load.run()
    sys.exit(1 if load.failed else 0)


if __name__ == "__main__":
    main()
