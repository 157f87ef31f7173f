"""What partial presence costs and saves: octets, and microseconds of CPU.

Run: ``python -m bench.micro_partial [repetitions]``

The document is that of somebody with five services, three devices and much to tell of the
person.  Octets are those of bodies: PIDF, the same as ``pidf-full``, the change as
``pidf-diff``, and each of them with gzip.  ``made`` is what it takes to find the change, once
for all watchers who have the document before; ``applied`` is what a watcher, or the server for
a PUBLISH, spends on it.  The best of several rounds.
"""

from __future__ import annotations

import gzip
import sys
import time
from collections.abc import Callable
from typing import Any

from bench.report import partial_table
from presence.partial.difference import difference
from presence.partial.documents import full, partial, read
from presence.partial.patching import apply

BOB = "sip:bob@home.example"
HEAD = (
    '<?xml version="1.0" encoding="UTF-8"?>\n'
    '<presence xmlns="urn:ietf:params:xml:ns:pidf"'
    ' xmlns:dm="urn:ietf:params:xml:ns:pidf:data-model"'
    ' xmlns:rpid="urn:ietf:params:xml:ns:pidf:rpid"'
    ' xmlns:op="urn:oma:xml:prs:pidf:oma-pres"'
    ' xmlns:caps="urn:ietf:params:xml:ns:pidf:caps"'
    ' xmlns:ci="urn:ietf:params:xml:ns:pidf:cipid"'
    f' entity="{BOB}">'
)
SERVICES = (
    ("org.openmobilealliance:PoC-session", "sip:bob@home.example;gr=1"),
    ("org.openmobilealliance:IM-pager-mode", "im:bob@home.example"),
    ("org.3gpp.urn:urn-7:3gpp-service.ims.icsi.mmtel", "tel:+15550100"),
    ("org.3gpp.urn:urn-7:3gpp-service.ims.icsi.vs", "sip:bob@home.example;gr=2"),
    ("org.example:mail", "mailto:bob@home.example"),
)
ACTIVITIES = "<rpid:activities><rpid:meeting/><rpid:busy/></rpid:activities>"
NOTE = '<dm:note xml:lang="en">back in the office at noon</dm:note>'
TIME = "<dm:timestamp>2026-01-05T10:00:00Z</dm:timestamp>"


def service(number: int) -> str:
    """A tuple."""
    kind, contact = SERVICES[number]
    return (
        f'<tuple id="t{number}"><status><basic>open</basic></status>'
        "<op:willingness><op:basic>open</op:basic></op:willingness>"
        "<op:registration-state>active</op:registration-state>"
        f"<op:service-description><op:service-id>{kind}</op:service-id>"
        "<op:version>1.0</op:version></op:service-description>"
        "<rpid:class>business</rpid:class>"
        "<caps:servcaps><caps:audio>true</caps:audio><caps:message>true</caps:message>"
        "<caps:video>false</caps:video></caps:servcaps>"
        f"<dm:deviceID>urn:uuid:d27459b7-8213-4395-aa77-00000000000{number % 3}</dm:deviceID>"
        f'<contact priority="0.{number + 1}">{contact}</contact>'
        f"<timestamp>2026-01-05T10:0{number}:00Z</timestamp></tuple>"
    )


def device(number: int) -> str:
    """A device."""
    return (
        f'<dm:device id="d{number}"><caps:devcaps><caps:mobility><caps:supported>'
        "<caps:mobile/></caps:supported></caps:mobility></caps:devcaps>"
        '<op:network-availability><op:network id="IMS"><op:active/></op:network>'
        "</op:network-availability>"
        f"<dm:deviceID>urn:uuid:d27459b7-8213-4395-aa77-00000000000{number}</dm:deviceID>"
        f"{TIME}</dm:device>"
    )


PERSON = (
    f'<dm:person id="p0">{ACTIVITIES}<rpid:mood><rpid:happy/></rpid:mood>'
    "<rpid:place-is><rpid:audio><rpid:quiet/></rpid:audio></rpid:place-is>"
    "<rpid:place-type><rpid:other>headquarters</rpid:other></rpid:place-type>"
    "<rpid:sphere><rpid:work/></rpid:sphere>"
    "<rpid:status-icon>http://icons.example/bob.png</rpid:status-icon>"
    "<rpid:time-offset>60</rpid:time-offset>"
    "<ci:homepage>http://www.home.example/bob</ci:homepage>"
    "<op:overriding-willingness><op:basic>open</op:basic></op:overriding-willingness>"
    f"{TIME}</dm:person>"
)


def document(services: int = 5) -> str:
    """The document, with so many services."""
    return (
        f"{HEAD}{''.join(map(service, range(services)))}{PERSON}"
        f"{''.join(map(device, range(3)))}</presence>"
    )


def changes() -> dict[str, tuple[bytes, bytes]]:
    """Typical changes: the documents before and after."""
    whole = document()
    found = {
        "basic flips": (whole, whole.replace("<basic>open", "<basic>closed", 1)),
        "activity replaced": (whole, whole.replace("<rpid:meeting/><rpid:busy/>", "<rpid:meal/>")),
        "note added": (whole, whole.replace(f"{TIME}</dm:person>", f"{NOTE}{TIME}</dm:person>")),
        "tuple added": (document(4), whole),
        "tuple removed": (whole, document(4)),
    }
    return {name: (old.encode(), new.encode()) for name, (old, new) in found.items()}


def cost(work: Callable[[], object], repetitions: int) -> float:
    """Microseconds of CPU, the best of five."""
    best = float("inf")
    for _ in range(5):
        began = time.process_time()
        for _ in range(repetitions):
            work()
        best = min(best, time.process_time() - began)
    return best / repetitions * 1e6


def packed(body: bytes) -> int:
    """Octets with gzip."""
    return len(gzip.compress(body, 6, mtime=0))


def results(repetitions: int = 300) -> list[dict[str, Any]]:
    """Octets and costs of each change, as :func:`bench.report.partial_table` takes them."""
    found: list[dict[str, Any]] = []
    for name, (old, new) in changes().items():
        made = difference(old, new)
        if made is None:
            raise AssertionError(name)
        whole, diff = full(new, 2), partial(made, BOB, 2)
        found.append(
            {
                "load": "partial",
                "change": name,
                "octets": {"pidf": len(new), "full": len(whole), "diff": len(diff)},
                "gzip": {"pidf": packed(new), "full": packed(whole), "diff": packed(diff)},
                "us": {
                    "full": cost(lambda new=new: full(new, 2), repetitions),  # type: ignore[misc]
                    "made": cost(lambda o=old, n=new: difference(o, n), repetitions),  # type: ignore[misc]
                    "written": cost(lambda made=made: partial(made, BOB, 2), repetitions),  # type: ignore[misc]
                    "read": cost(lambda body=whole: read(body), repetitions),  # type: ignore[misc]
                    "applied": cost(lambda o=old, d=diff: apply(o, d), max(1, repetitions // 10)),  # type: ignore[misc]
                },
            }
        )
    return found


def main() -> None:
    """Print the table."""
    print(partial_table(results(int(sys.argv[1]) if len(sys.argv) > 1 else 300)))


if __name__ == "__main__":
    main()
