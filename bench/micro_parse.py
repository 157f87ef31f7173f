"""Microseconds of CPU per message for the syntax layer.

Reads and answers the PUBLISH and SUBSCRIBE that the load generator ``sipload.py`` sends::

    python bench/micro_parse.py [repetitions]

The aim is 20 µs for reading the PUBLISH (transaction key and CSeq included) and 6 µs for
writing its answer.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pysip.message import Request, encode_response, response_to
from pysip.parse import StreamFramer, check_fields, parse_message
from pysip.uri import canonical_aor

BODY = b"""<?xml version="1.0" encoding="UTF-8"?>
<presence xmlns="urn:ietf:params:xml:ns:pidf" entity="sip:p000001@example.com">
  <tuple id="t-phone-1">
    <status><basic>open</basic></status>
    <contact priority="0.8">sip:p000001@example.com</contact>
    <note xml:lang="en">mk1-1e</note>
    <timestamp>2026-01-01T12:00:00Z</timestamp>
  </tuple>
</presence>
""".ljust(870)

PUBLISH = (
    b"PUBLISH sip:p000001@example.com SIP/2.0\r\n"
    b"Via: SIP/2.0/UDP 127.0.0.1:40123;branch=z9hG4bK000000001a1b2c3;rport\r\n"
    b"Max-Forwards: 70\r\n"
    b"From: <sip:p000001@example.com>;tag=pt1\r\n"
    b"To: <sip:p000001@example.com>\r\n"
    b"Call-ID: pub1-a1b2c3\r\n"
    b"CSeq: 1 PUBLISH\r\n"
    b"Event: presence\r\n"
    b"Expires: 3600\r\n"
    b"User-Agent: sipload\r\n"
    b"SIP-If-Match: a7Ns82kd\r\n"
    b"Content-Type: application/pidf+xml\r\n"
    b"Content-Length: %d\r\n\r\n%b" % (len(BODY), BODY)
)

SUBSCRIBE = (
    b"SUBSCRIBE sip:p000001@example.com SIP/2.0\r\n"
    b"Via: SIP/2.0/UDP 127.0.0.1:40123;branch=z9hG4bK000000002a1b2c3;rport\r\n"
    b"Max-Forwards: 70\r\n"
    b"From: <sip:w000001@example.com>;tag=wt1\r\n"
    b"To: <sip:p000001@example.com>\r\n"
    b"Call-ID: sub1-a1b2c3\r\n"
    b"CSeq: 1 SUBSCRIBE\r\n"
    b"Contact: <sip:w000001@127.0.0.1:40123>\r\n"
    b"Event: presence\r\n"
    b"Accept: application/pidf+xml\r\n"
    b"Expires: 3600\r\n"
    b"User-Agent: sipload\r\n"
    b"Content-Length: 0\r\n\r\n"
)


def measure(work: Callable[[], object], count: int) -> float:
    """CPU time of one call in microseconds: the best of five rounds."""
    best = float("inf")
    for _ in range(5):
        start = time.process_time()
        for _ in range(count):
            work()
        best = min(best, time.process_time() - start)
    return best / count * 1e6


def read(data: bytes) -> Request:
    """Parse and take what the transaction layer needs."""
    message = parse_message(data)
    assert isinstance(message, Request)
    via = message.via
    key = (via.branch, via.sent_by, message.method)
    assert key[0] and message.cseq
    return message


def main() -> None:
    """Print one line for each measured step."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 5000
    fields = [("Expires", "3600"), ("SIP-ETag", "a7Ns82ke")]
    publish = read(PUBLISH)
    framer = StreamFramer()
    steps: list[tuple[str, Callable[[], object]]] = [
        (f"read PUBLISH ({len(PUBLISH)} octets)", lambda: read(PUBLISH)),
        (f"read SUBSCRIBE ({len(SUBSCRIBE)} octets)", lambda: read(SUBSCRIBE)),
        ("read PUBLISH from a stream", lambda: framer.feed(PUBLISH)),
        ("read and check PUBLISH", lambda: check_fields(read(PUBLISH))),
        ("read and check SUBSCRIBE", lambda: check_fields(read(SUBSCRIBE))),
        ("response_to", lambda: response_to(publish, 200, to_tag="t", headers=fields).encode()),
        ("encode_response", lambda: encode_response(publish, 200, to_tag="t", headers=fields)),
        ("encode PUBLISH", publish.encode),
        ("canonical_aor", lambda: canonical_aor("sip:p000001@example.com")),
    ]
    for name, work in steps:
        print(f"{name:32} {measure(work, count):7.2f} us")


if __name__ == "__main__":
    main()
