"""What a change costs on the wire and in the server, by what its watchers ask for.

Run: ``python -m bench.micro_lean [watchers]``

A presentity with the document of ``micro_partial.py`` changes in its five ways, one after the
other, again and again; so many watchers are told: whole documents, changes, either with gzip, or
what a filter leaves.  Octets are those of a NOTIFY with its head, in the mean of the changes.
Microseconds are CPU of the server, as in ``micro_server.py``: of a change that nobody watches,
and of each NOTIFY of one that all watch.
"""

from __future__ import annotations

import gc
import sys
from itertools import cycle, islice
from typing import Any

from bench.micro_partial import BOB, changes
from bench.micro_server import DOMAIN, Bench
from bench.report import lean_table
from bench.wire import Fields

WATCHERS = 100
PIDF = b"Accept: application/pidf+xml\r\n"
DIFF = b"Accept: application/pidf-diff+xml, application/pidf+xml\r\n"
GZIP = b"Accept-Encoding: gzip\r\n"
FILTER = (
    b'<filter-set xmlns="urn:ietf:params:xml:ns:simple-filter"><ns-bindings>'
    b'<ns-binding prefix="p" urn="urn:ietf:params:xml:ns:pidf"/>'
    b'<ns-binding prefix="dm" urn="urn:ietf:params:xml:ns:pidf:data-model"/>'
    b'<ns-binding prefix="r" urn="urn:ietf:params:xml:ns:pidf:rpid"/></ns-bindings>'
    b'<filter id="f"><what><include>//p:tuple/p:status</include>'
    b"<include>//dm:person/r:activities</include></what></filter></filter-set>"
)
FORMS: dict[str, tuple[bytes, bytes]] = {
    "whole documents": (PIDF, b""),
    "whole, gzip": (PIDF + GZIP, b""),
    "changes": (DIFF, b""),
    "changes, gzip": (DIFF + GZIP, b""),
    "status and activities by a filter": (PIDF, FILTER),
    "changes of these": (DIFF, FILTER),
}


class Listener:
    """A watcher that counts.

    :ivar place: which of the simulated clients it is.
    """

    place = 0

    def __init__(self, owner: Lean) -> None:
        self._owner = owner

    def notified(self, fields: Fields, body: bytes) -> bool:
        """A NOTIFY."""
        self._owner.notifies += 1
        return True


class Lean(Bench):
    """The server, one presentity, and listeners.

    :ivar notifies: that came.
    :ivar octets: of them.
    """

    def __init__(self) -> None:
        super().__init__()
        self.notifies = self.octets = 0
        self._uri = b"sip:bob@" + DOMAIN.encode()
        self._etag = b""
        self._cseq = 0

    def _take(self, data: bytes) -> None:
        if data.startswith(b"NOTIFY"):
            self.octets += len(data)
        super()._take(data)

    def ask(self, method: bytes, sender: bytes, call: bytes, rest: bytes, body: bytes) -> float:
        """One request and all that follows; seconds of CPU in the server."""
        self._cseq += 1
        head = b"%b %b SIP/2.0" % (method, self._uri)
        fields = (
            b"Max-Forwards: 70\r\nFrom: <%b>;tag=f\r\nTo: <%b>\r\nCall-ID: %b\r\n"
            b"CSeq: %d %b\r\nEvent: presence\r\n%bContent-Length: %d\r\n\r\n"
        ) % (sender, self._uri, call, self._cseq, method, rest, len(body))
        answers: list[Fields] = []

        def answered(status: int, fields: Fields) -> None:
            if status != 200:
                raise SystemExit(f"{method.decode()} answered {status}")
            answers.append(fields)

        self.request(0, head, fields + body, answered)
        seconds = self.turn()
        self._etag = answers[-1].get(b"sip-etag", self._etag)
        return seconds

    def publish(self, document: bytes) -> float:
        """Another state of the presentity."""
        known = b"SIP-If-Match: %b\r\n" % self._etag if self._etag else b""
        kind = b"Content-Type: application/pidf+xml\r\n"
        body = document.replace(BOB.encode(), self._uri, 1)
        return self.ask(b"PUBLISH", self._uri, b"publication", known + kind, body)

    def subscribe(self, number: int, fields: bytes, body: bytes) -> None:
        """One more watcher."""
        call = b"w%d" % number
        self.watchers[call] = Listener(self)  # type: ignore[assignment]
        if body:
            fields += b"Content-Type: application/simple-filter+xml\r\n"
        contact = b"Contact: <sip:w%d@%b>\r\nExpires: 3600\r\n" % (number, self.places[0])
        self.ask(b"SUBSCRIBE", b"sip:w%d@watchers.example" % number, call, contact + fields, body)


def _course() -> list[bytes]:
    """The documents that follow one another, each change from where the one before has led."""
    found = []
    for before, after in changes().values():
        found += [before, after]
    return found


def measure(form: str, watchers: int, turns: int) -> dict[str, Any]:
    """Octets and CPU for one form."""
    fields, body = FORMS[form]
    lean = Lean()
    course = cycle(_course())
    for document in islice(course, 10):
        lean.publish(document)
    alone = sorted(lean.publish(next(course)) for _ in range(turns))
    for number in range(watchers):
        lean.subscribe(number, fields, body)
    lean.notifies = lean.octets = 0
    gc.collect()
    watched = sorted(lean.publish(next(course)) for _ in range(turns))
    each = sum(watched[: turns // 2]) - sum(alone[: turns // 2])
    return {
        "load": "lean",
        "form": form,
        "watchers": watchers,
        "octets": lean.octets / lean.notifies,
        "notifies": lean.notifies / turns / watchers,
        "publish_us": sum(alone[: turns // 2]) / (turns // 2) * 1e6,
        "notify_us": each / (turns // 2) / watchers * 1e6,
    }


def results(watchers: int = WATCHERS, turns: int = 60) -> list[dict[str, Any]]:
    """What each form costs, as :func:`bench.report.lean_table` takes it."""
    return [measure(form, watchers, turns) for form in FORMS]


def main() -> None:
    """Print the table."""
    print(lean_table(results(int(sys.argv[1]) if len(sys.argv) > 1 else WATCHERS)))


if __name__ == "__main__":
    main()
