"""Microseconds of CPU per decision on a watcher (XDM-173).

200 rules, lists of 500 entries; OMA's classes and the IETF's combining, for watchers whom
rules find in different ways, with reading the document besides::

    python bench/micro_rules.py [repetitions]

The aim is a median well under 1000 µs; the exit status is 1 if one is not reached.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.timing import measure
from presence.rules.decide import decide
from presence.rules.document import read_rules
from presence.rules.model import Context, Flavour, Watcher

LIMIT = 1000.0
RULES = 200
ENTRIES = 500
PRESENTITY = frozenset({"sip:joe@example.com"})
HEAD = (
    '<cp:ruleset xmlns:cp="urn:ietf:params:xml:ns:common-policy"'
    ' xmlns:pr="urn:ietf:params:xml:ns:pres-rules"'
    ' xmlns:ocp="urn:oma:xml:xdm:common-policy">'
)
TAIL = (
    "<cp:actions><pr:sub-handling>allow</pr:sub-handling></cp:actions><cp:transformations>"
    "<pr:provide-services><pr:class>c{0}</pr:class></pr:provide-services>"
    "<pr:provide-mood>true</pr:provide-mood></cp:transformations></cp:rule>"
)


def anchor(number: int) -> str:
    """What names a list."""
    return f"https://xcap.example.com/lists/{number}"


def document() -> bytes:
    """Half of the rules with external lists, a quarter each with names and with domains."""
    rules = []
    for number in range(RULES - 1):
        if number % 2:
            condition = (
                f'<ocp:external-list><ocp:entry anc="{anchor(number)}"/></ocp:external-list>'
            )
        elif number % 4:
            ones = "".join(f'<cp:one id="sip:n{number}x{i}@example.com"/>' for i in range(10))
            condition = f"<cp:identity>{ones}</cp:identity>"
        else:
            condition = (
                f'<cp:identity><cp:many domain="d{number}.example">'
                '<cp:except id="sip:boss@example.com"/></cp:many></cp:identity>'
                "<cp:validity><cp:from>2020-01-01T00:00:00Z</cp:from>"
                "<cp:until>2099-01-01T00:00:00Z</cp:until></cp:validity>"
            )
        rules.append(
            f'<cp:rule id="r{number}"><cp:conditions>{condition}</cp:conditions>'
            f"{TAIL.format(number)}"
        )
    rules.append(
        f'<cp:rule id="rest"><cp:conditions><ocp:other-identity/></cp:conditions>{TAIL.format(0)}'
    )
    return f"{HEAD}{''.join(rules)}</cp:ruleset>".encode()


def everybody() -> bytes:
    """The worst: each rule is found by the watcher's domain and matches."""
    rules = (
        f'<cp:rule id="r{number}"><cp:conditions><cp:identity><cp:many domain="example.com"/>'
        f"</cp:identity></cp:conditions>{TAIL.format(number)}"
        for number in range(RULES)
    )
    return f"{HEAD}{''.join(rules)}</cp:ruleset>".encode()


def main() -> int:
    """Print one line for each kind of watcher."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    lists = {
        anchor(number): frozenset(f"sip:l{number}x{i}@example.com" for i in range(ENTRIES))
        for number in range(RULES)
    }
    context = Context(time.time(), "work", lists.get)
    octets = document()
    print(f"read {RULES} rules ({len(octets)} octets): ", end="")
    print(f"{measure(lambda: read_rules(octets, 'oma'), max(count // 100, 5)):10.0f} µs")
    worst = 0.0
    flavours: tuple[Flavour, ...] = ("oma", "ietf")
    for flavour in flavours:
        rules = read_rules(octets, flavour)
        dense = read_rules(everybody(), flavour)
        cases = (
            ("named", rules, ("sip:n2x5@example.com",)),
            ("of a domain", rules, ("sip:x@d4.example",)),
            ("in a list", rules, ("sip:l101x499@example.com",)),
            ("two identities, one in a list", rules, ("tel:+15550100", "sip:l101x499@example.com")),
            ("other", rules, ("sip:eve@evil.example",)),
            ("anonymous", rules, ()),
            ("of all rules", dense, ("sip:ann@example.com",)),
        )
        for name, found, uris in cases:
            watcher = Watcher(uris)
            spent = measure(lambda r=found, w=watcher: decide(r, PRESENTITY, w, context), count)
            worst = max(worst, spent)
            print(f"{flavour:5} {name:30}{spent:10.1f} µs")
    return int(worst >= LIMIT)


if __name__ == "__main__":
    sys.exit(main())
