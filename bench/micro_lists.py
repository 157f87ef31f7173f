"""What a change of a member costs the Resource List Server: NOTIFYs, octets and processor time.

The whole server is built from ``bench/presence.toml`` with lists, stores in memory, and a
connection to its watchers, all in this process.  So many lists of so many members are watched;
members publish at a steady rate of the simulated clock, and each list tells of that::

    python -m bench.micro_lists

With ``window`` 0 nothing is aggregated but what happens at once.  Only the server's own work is
timed: a PUBLISH with all that follows from it, and no socket, no disk.  What a PUBLISH costs
that nobody watches is measured first.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import json
import random
import sys
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from msgspec.structs import replace
from twisted.internet.defer import Deferred
from twisted.internet.testing import MemoryReactorClock

from bench.micro_server import MemoryFlow, MemoryTransport
from bench.report import lists_table
from bench.servers import CONFIG, DOMAIN
from presence.build import Node, build_node
from presence.config import load
from presence.rls.listwatch import WatchedList

SIZES = (10, 100, 1000)
WINDOWS = (2.0, 0.0)
LISTS = 5
CHANGES = 200
RATE = 5.0
"""Changes a second, of all members together."""

_ROOT = f"https://xcap.{DOMAIN}/"
_STEP = 0.02
_QUIET = 5.0
_SETTLED = 20.0
"""Seconds until nothing is left to do after the beginning."""
_PATIENCE = 30.0
_LIMIT = 1 << 20


class Reactor(MemoryReactorClock):
    """A clock that other threads may call: large documents are looked at aside."""

    def __init__(self) -> None:
        super().__init__()
        self._called: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()

    def callFromThread(self, what: Callable[..., object], *args: Any) -> None:
        """Call it in a later turn of :meth:`serve`."""
        self._called.append((what, args))

    def serve(self) -> None:
        """Do what threads have asked for, and let a little time pass."""
        while self._called:
            what, args = self._called.popleft()
            what(*args)
        self.advance(0.001)


class StreamFlow(MemoryFlow):
    """A connection, on which nothing is too large."""

    protocol = "TCP"
    reliable = True


class StreamTransport(MemoryTransport):
    """TCP without a socket."""

    protocol = "TCP"

    def __init__(self, clock: MemoryReactorClock) -> None:
        super().__init__(clock)
        self.flows = {port: StreamFlow(port, self.outbox) for port in self.flows}


class Bench:
    """The server with watched lists.

    :param members: of each list.
    :param lists: how many, all of the same members.
    :param window: in which changes become one NOTIFY, in seconds.

    :ivar seconds: processor time of the server.
    :ivar notifies: NOTIFYs that it has sent.
    :ivar octets: of these.
    """

    def __init__(self, members: int, lists: int, window: float) -> None:
        self.clock = Reactor()
        config = load(CONFIG, "/nonexistent")
        config = replace(
            config,
            roles=("presence-server", "rls", "shared-xdms", "rls-xdms"),
            store=replace(config.store, type="memory"),
            xcap=replace(config.xcap, users="served", roots={_ROOT: DOMAIN}),
            documents=replace(config.documents, entries=max(members, 500)),
            rls=replace(
                config.rls,
                **{"window": window, "members": members, "body_limit": _LIMIT},
                **{"rate": 1e6, "rate_total": 1e6},
            ),
        )
        self.seconds = 0.0
        self.notifies = 0
        self.octets = 0
        self._serial = itertools.count(1)
        self._in: list[bytes] = []
        self._etags: dict[str, str] = {}
        self.tables: dict[bytes, WatchedList] = {}
        self.node: Node = build_node(config, self.clock)
        node = self.node
        assert node.documents is not None and node.lists is not None
        self.transport = StreamTransport(self.clock)
        self._flow = self.transport.flows[5100]
        node.identities.set_mode(self.transport, "none")
        node.ua.start_transport(self.transport)
        self._wait(node.store.start())
        self._wait(node.documents.store.start())
        self._wait(Deferred.fromCoroutine(node.events.recover()))
        node.lists.recovered()
        node.lists.resume()
        self.members = [f"sip:m{number}@{DOMAIN}" for number in range(members)]
        for number in range(lists):
            self._watch(f"sip:w{number}@{DOMAIN}")

    def _wait(self, deferred: Deferred[Any]) -> Any:
        outcome: list[Any] = []
        deferred.addBoth(outcome.append)
        deadline = time.monotonic() + _PATIENCE
        while not outcome:
            self.clock.serve()
            time.sleep(0.0)
            if time.monotonic() > deadline:
                raise SystemExit("the server does nothing")
        if hasattr(outcome[0], "raiseException"):
            outcome[0].raiseException()
        return outcome[0]

    def _watch(self, user: str) -> None:
        """Store a list of all members, and subscribe to it."""
        uri = f"{user};pres-list=all"
        entries = "".join(f'<rl:entry uri="{member}"/>' for member in self.members)
        document = (
            '<rls-services xmlns="urn:ietf:params:xml:ns:rls-services"'
            ' xmlns:rl="urn:ietf:params:xml:ns:resource-lists">'
            f'<service uri="{uri}"><list>{entries}</list></service></rls-services>'
        ).encode()
        assert self.node.reading is not None
        client = self.node.reading.xcap(_ROOT, user)
        path = f"rls-services/users/{user}/index"
        answer = self._wait(client.put(path, document, "application/rls-services+xml"))
        if answer.status not in (200, 201):
            raise SystemExit(f"a list cannot be stored: {answer.status} {answer.body!r}")
        call = f"list-{next(self._serial)}"
        self.tables[call.encode()] = WatchedList()
        self.request(
            "SUBSCRIBE",
            uri,
            user,
            call,
            "Event: presence\r\nSupported: eventlist\r\nExpires: 3600\r\n"
            "Accept: application/pidf+xml, application/rlmi+xml, multipart/related\r\n"
            "Contact: <sip:w@127.0.0.1:5100;transport=tcp>\r\n",
        )
        self.turn(0.1)

    def request(self, method: str, uri: str, user: str, call: str, more: str = "") -> None:
        """Queue a request for the next turn; ``more`` ends with its body, if it has one."""
        head, _, body = more.partition("\r\n\r\n")
        number = next(self._serial)
        self._in.append(
            f"{method} {uri} SIP/2.0\r\nVia: SIP/2.0/TCP 127.0.0.1:5100;branch=z9hG4bK{number}\r\n"
            f"Max-Forwards: 70\r\nFrom: <{user}>;tag=t{call}\r\nTo: <{uri}>\r\nCall-ID: {call}\r\n"
            f"CSeq: {number} {method}\r\n{head.removesuffix(chr(13) + chr(10))}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n{body}".encode()
        )

    def publish(self, member: str) -> None:
        """Let a member publish something new."""
        number = next(self._serial)
        match = f"SIP-If-Match: {self._etags[member]}\r\n" if member in self._etags else ""
        self.request(
            "PUBLISH",
            member,
            member,
            f"p-{member[4:]}",
            f"Event: presence\r\nExpires: 3600\r\n{match}Content-Type: application/pidf+xml\r\n\r\n"
            f'<presence xmlns="urn:ietf:params:xml:ns:pidf" entity="{member}"><tuple id="t1">'
            f"<status><basic>open</basic></status><contact>{member}</contact><note>{number}</note>"
            "</tuple></presence>",
        )

    def turn(self, seconds: float) -> None:
        """Deliver what waits, and let time pass until all is answered."""
        end = self.clock.seconds() + seconds
        while self._in or self.clock.seconds() < end - 1e-9:
            arriving, self._in = self._in, []
            began = time.thread_time()
            for data in arriving:
                self.transport.deliver_datagram(data, self._flow)
            for _ in range(6):
                self.clock.advance(0)
            self.clock.advance(_STEP)
            self.seconds += time.thread_time() - began
            sent, self.transport.outbox[:] = list(self.transport.outbox), []
            for data in sent:
                self._take(data)

    def _take(self, data: bytes) -> None:
        head, _, body = data.partition(b"\r\n\r\n")
        fields = {}
        for line in head.split(b"\r\n")[1:]:
            name, _, value = line.partition(b":")
            fields[name.lower()] = value.strip()
        if head.startswith(b"SIP/"):
            if int(head[8:11]) >= 300:
                raise SystemExit(f"a request was refused: {head!r}")
            if b"sip-etag" in fields:
                member = fields[b"to"].partition(b"<")[2].partition(b">")[0].decode()
                self._etags[member] = fields[b"sip-etag"].decode()
            return
        self.notifies += 1
        self.octets += len(data)
        taken = self.tables[fields[b"call-id"]].take(fields[b"content-type"].decode(), body)
        if not taken.processed or taken.refresh:
            raise SystemExit(f"a version is missing: {head!r}")
        names = (b"Via", b"From", b"To", b"Call-ID", b"CSeq")
        lines = [b"SIP/2.0 200 OK", *(b"%b: %b" % (n, fields[n.lower()]) for n in names)]
        self._in.append(b"\r\n".join([*lines, b"Content-Length: 0\r\n\r\n"]))

    def forget(self) -> None:
        """Begin to count anew."""
        self.seconds, self.notifies, self.octets = 0.0, 0, 0

    def check(self) -> None:
        """See that every list shows what every member has published last."""
        notes = None
        for table in self.tables.values():
            rows = {
                uri: row.instance.document if row.instance is not None else None
                for uri, row in table.members.items()
            }
            if list(rows) != self.members or None in rows.values():
                raise SystemExit("a list lacks members, or their states")
            if notes is not None and rows != notes:
                raise SystemExit("lists differ")
            notes = rows


def measure(members: int, lists: int, window: float, changes: int) -> dict[str, Any]:
    """Let members change one after the other; what that has cost, by change and list.

    :returns: a result for :mod:`bench.report`.
    """
    chance = random.Random(7)
    alone = Bench(members, 0, window)
    spread = [chance.choice(alone.members) for _ in range(changes)]
    bench = Bench(members, lists, window)
    for one in (alone, bench):
        for member in one.members:
            one.publish(member)
        one.turn(_SETTLED)
    gc.collect()
    gc.freeze()
    costs = []
    for one in (alone, bench):
        one.forget()
        for member in spread:
            one.publish(member)
            one.turn(1.0 / RATE)
        one.turn(_QUIET)
        costs.append(one.seconds)
    bench.check()
    gc.unfreeze()
    told = changes * lists
    return {
        **{"load": "lists", "phase": f"lists-{members}-{window:g}", "members": members},
        **{"lists": lists, "window": window, "changes": changes, "rate_of_changes": RATE},
        "notifies": bench.notifies / told,
        "octets": bench.octets / told,
        "publish_us": costs[0] / changes * 1e6,
        "cpu_us": (costs[1] - costs[0]) / told * 1e6,
    }


def main() -> None:
    """Measure all sizes, with a window and without; print a table, or JSON lines."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="members of a list")
    parser.add_argument("--windows", type=float, nargs="+", default=WINDOWS, help="in seconds")
    parser.add_argument("--lists", type=int, default=LISTS)
    parser.add_argument("--changes", type=int, default=CHANGES)
    parser.add_argument("--json", action="store_true", help="JSON lines instead of a table")
    given = parser.parse_args()
    results = []
    for members in given.sizes:
        for window in given.windows:
            results.append(measure(members, given.lists, window, given.changes))
            if given.json:
                print(json.dumps(results[-1]), flush=True)
    if not given.json:
        sys.stdout.write(lists_table(results))


if __name__ == "__main__":
    main()
