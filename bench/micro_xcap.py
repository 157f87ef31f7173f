"""Microseconds of CPU per operation on the octets of a document.

The document is the one that :mod:`bench.documents` sends: a resource list with
20 entries.  Every element operation of a server is one of these, with the schema of the
application usage to check and the store besides::

    python bench/micro_xcap.py [repetitions]

The aim is well under 100 µs for reading a document of 2 kB; PUT and DELETE read their result.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from xcap.document import parse_document
from xcap.edit import delete_node, get_node, put_node
from xcap.select import select_element
from xcap.uri import NodeSelector, parse_node

NAMESPACE = "urn:ietf:params:xml:ns:resource-lists"
ENTRIES = 20
ENTRY = '<entry uri="sip:f{0}@example.com"><display-name>Friend {0} g{1}</display-name></entry>'
DOCUMENT = (
    '<?xml version="1.0" encoding="UTF-8"?>\n'
    f'<resource-lists xmlns="{NAMESPACE}">\n  <list name="friends">\n'
    + "".join(f"   {ENTRY.format(number, 1)}\n" for number in range(ENTRIES))
    + "  </list>\n</resource-lists>\n"
).encode()
LIST = "resource-lists/list%5b@name=%22friends%22%5d"


def entry(number: int, terminal: str = "") -> str:
    """Raw node selector of an entry."""
    return f"{LIST}/entry%5b@uri=%22sip:f{number}@example.com%22%5d{terminal}"


def node(text: str) -> NodeSelector:
    """A node selector."""
    return parse_node(text, "", NAMESPACE)


def measure(work: Callable[[], object], count: int) -> float:
    """CPU time of one call in microseconds: the best of five rounds."""
    best = float("inf")
    for _ in range(5):
        start = time.process_time()
        for _ in range(count):
            work()
        best = min(best, time.process_time() - start)
    return best / count * 1e6


def main() -> None:
    """Print one line for each measured step."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    document = parse_document(DOCUMENT)
    last = node(entry(ENTRIES - 1))
    new = node(entry(ENTRIES))
    name = node(entry(ENTRIES - 1, "/@name"))
    same = ENTRY.format(ENTRIES - 1, 2).encode()
    another = ENTRY.format(ENTRIES, 2).encode()
    steps: list[tuple[str, Callable[[], object]]] = [
        (f"parse document ({len(DOCUMENT)} octets)", lambda: parse_document(DOCUMENT)),
        ("parse node selector", lambda: node(entry(ENTRIES - 1))),
        ("select element", lambda: select_element(document, last.steps)),
        ("get element", lambda: get_node(document, last)),
        ("put element, new", lambda: put_node(document, new, another)),
        ("put element, replaced", lambda: put_node(document, last, same)),
        ("put attribute, new", lambda: put_node(document, name, b'"Friend"')),
        ("delete element", lambda: delete_node(document, last)),
        ("parse and get element", lambda: get_node(parse_document(DOCUMENT), last)),
        ("parse and put element", lambda: put_node(parse_document(DOCUMENT), last, same)),
    ]
    for text, work in steps:
        print(f"{text:32} {measure(work, count):7.2f} us")


if __name__ == "__main__":
    main()
