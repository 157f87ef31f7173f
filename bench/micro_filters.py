"""Microseconds of CPU to apply a watcher's filter to a document (FLT-27).

A rich document: five tuples, a person and three devices, with RPID and OMA's extensions; the
filters are those of the RFCs and worse::

    python bench/micro_filters.py [repetitions]

The aim is a median well under 1000 µs; the exit status is 1 if one is not reached.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.timing import measure
from presence.filters.content import select
from presence.filters.document import read_filters
from presence.filters.filterset import FilterSet
from presence.filters.model import Filter
from presence.filters.triggers import fired

LIMIT = 1000.0
NAMESPACES = {
    "pidf": "urn:ietf:params:xml:ns:pidf",
    "dm": "urn:ietf:params:xml:ns:pidf:data-model",
    "rpid": "urn:ietf:params:xml:ns:pidf:rpid",
    "op": "urn:oma:xml:prs:pidf:oma-pres",
}
CASES = (
    (
        "status and contact of a class",
        '<what><include>//pidf:tuple[rpid:class="c1" or rpid:class="c3"]/pidf:status</include>'
        '<include>//pidf:tuple[rpid:class="c1" or rpid:class="c3"]/pidf:contact</include></what>',
    ),
    (
        "activities of the person",
        "<what><include>/pidf:presence/dm:person/rpid:activities</include></what>",
    ),
    (
        "a namespace without notes",
        '<what><include type="namespace">urn:ietf:params:xml:ns:pidf</include>'
        "<exclude>//pidf:note</exclude></what>",
    ),
    ("everything but devices", "<what><exclude>//dm:device</exclude></what>"),
    ("all ids", "<what><include>//@id</include></what>"),
    (
        "64 expressions",
        f"<what>{'<include>//pidf:tuple/pidf:note</include>' * 64}</what>",
    ),
    ("steps to all descendants", f"<what><include>{'//*' * 5}</include></what>"),
    (
        "trigger: closed to open",
        '<trigger><changed from="closed" to="open">//pidf:tuple/pidf:status/pidf:basic</changed>'
        "</trigger>",
    ),
    (
        "trigger: any change of a tuple, or one more",
        "<trigger><changed>//pidf:tuple</changed></trigger>"
        "<trigger><added>//pidf:tuple</added></trigger>",
    ),
    ("trigger: anything", "<trigger><changed>//*</changed></trigger>"),
)


def document(basic: str) -> bytes:
    """A rich document; ``basic`` is the status of its last tuple."""
    tuples = "".join(
        f'<tuple id="t{n}"><status><basic>{basic if n == 4 else "open"}</basic></status>'
        "<op:registration-state>active</op:registration-state>"
        "<op:service-description><op:service-id>org.example:s</op:service-id>"
        f"<op:version>1.{n}</op:version></op:service-description><rpid:class>c{n}</rpid:class>"
        "<op:willingness><op:basic>open</op:basic></op:willingness>"
        f"<dm:deviceID>urn:uuid:d27459b7-8213-4395-aa77-ed859a3e5b3{n}</dm:deviceID>"
        f'<contact priority="0.{n}">sip:bob@home.example;gr={n}</contact>'
        f'<note xml:lang="en">note {n}</note><timestamp>2026-01-05T10:05:0{n}Z</timestamp></tuple>'
        for n in range(5)
    )
    person = (
        '<dm:person id="p1"><rpid:activities from="2026-01-05T10:00:00Z"><rpid:note>n</rpid:note>'
        "<rpid:meeting/><rpid:busy/></rpid:activities><rpid:mood><rpid:calm/></rpid:mood>"
        "<rpid:place-is><rpid:audio><rpid:noisy/></rpid:audio></rpid:place-is>"
        "<rpid:sphere><rpid:work/></rpid:sphere><rpid:time-offset>60</rpid:time-offset>"
        "<op:overriding-willingness><op:basic>open</op:basic></op:overriding-willingness>"
        "<dm:note>in a meeting</dm:note><dm:timestamp>2026-01-05T10:07:00Z</dm:timestamp>"
        "</dm:person>"
    )
    devices = "".join(
        f'<dm:device id="d{n}"><rpid:user-input idle-threshold="60">active</rpid:user-input>'
        '<op:network-availability><op:network id="IMS"><op:active/></op:network>'
        "</op:network-availability>"
        f"<dm:deviceID>urn:uuid:d27459b7-8213-4395-aa77-ed859a3e5b3{n}</dm:deviceID>"
        "<dm:timestamp>2026-01-05T10:05:00Z</dm:timestamp></dm:device>"
        for n in range(3)
    )
    declared = " ".join(
        f'xmlns:{prefix}="{urn}"' for prefix, urn in NAMESPACES.items() if prefix != "pidf"
    )
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<presence xmlns="{NAMESPACES["pidf"]}" {declared} entity="sip:bob@home.example">'
        f"{tuples}{person}{devices}</presence>"
    ).encode()


def filter_document(inner: str) -> bytes:
    """A document with one filter."""
    bindings = "".join(
        f'<ns-binding prefix="{prefix}" urn="{urn}"/>' for prefix, urn in NAMESPACES.items()
    )
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<filter-set xmlns="urn:ietf:params:xml:ns:simple-filter">'
        f'<ns-bindings>{bindings}</ns-bindings><filter id="1">{inner}</filter></filter-set>'
    ).encode()


def main() -> int:
    """Print one line for each filter."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    before, after = document("closed"), document("open")
    print(f"document of {len(after)} octets")
    worst = 0.0

    def tell(name: str, work: Callable[[], object]) -> None:
        nonlocal worst
        spent = measure(work, count)
        worst = max(worst, spent)
        print(f"{name:46}{spent:10.1f} µs")

    for name, inner in CASES:
        body = filter_document(inner)
        filters = FilterSet().changed(read_filters(body, "presence"))
        chosen: Filter = filters.filters[0]
        if chosen.triggers:
            tell(name, lambda c=chosen: fired(c.triggers, before, after))
        else:
            tell(name, lambda c=chosen: select(after, c.what))
    body = filter_document(CASES[0][1])
    filters = FilterSet().changed(read_filters(body, "presence"))
    tell("read a filter document", lambda: read_filters(body, "presence"))
    tell("encode the filters of a subscription", filters.encode)
    kept = filters.encode()
    tell("decode them", lambda: FilterSet.decode(kept))
    return int(worst >= LIMIT)


if __name__ == "__main__":
    sys.exit(main())
