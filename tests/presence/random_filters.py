"""Random filters about what :mod:`tests.presence.publications` makes, from a seed."""

from __future__ import annotations

import random

from tests.presence.filters_oracle import SPACES, Asked
from tests.presence.publications import CLASSES, CONTACTS, DEVICES, SERVICE_IDS

_SID = "op:service-description/op:service-id"
CONDITIONS = (
    *(f'[p:contact="{uri}"]' for uri in CONTACTS),
    *(f'[r:class="{name}"]' for name in CLASSES),
    *(f"[{_SID}='{name}']" for name in SERVICE_IDS),
    '[p:status/p:basic="open"]',
    '[@id="s0" or @id="s1"]',
    "[p:note > 1000500]",
)
TUPLES = ("//p:tuple", "/p:presence/p:tuple", "//p:tuple[§]", "//*[§]")
INSIDE = (
    *("/p:note", "/p:status", "/p:status/p:basic", "/p:contact", "/p:timestamp", "/r:mood"),
    *("/op:service-description", "/op:willingness", "/r:class", "/x:a", "/x:b", "/@id", "/x:a/@k"),
)
ELSEWHERE = (
    *("//dm:person", "//dm:device", "/p:presence/dm:person", "//dm:person/r:activities"),
    *("//dm:person/dm:note", "//dm:note", "//r:mood", "//r:class", "//x:a", "//x:b", "//x:a/@k"),
    *(f'//dm:device[dm:deviceID="{uri}"]' for uri in DEVICES),
    *("/p:presence/p:note", "//p:note", "/*/x:b", "//@id"),
    *("//r:user-input", "//dm:device/op:network-availability", "//r:status-icon"),
)
NAMESPACES = tuple(f"ns:{SPACES[prefix]}" for prefix in ("p", "dm", "r", "op", "x"))
TRIGGERS = (
    ("changed", "", "//p:tuple/p:status/p:basic"),
    ("changed", ' to="open"', "//p:tuple/p:status/p:basic"),
    ("changed", ' from="open"', "//p:tuple/p:status/p:basic"),
    ("changed", ' from="open" to="closed"', "//p:tuple/p:status/p:basic"),
    ("changed", "", "//dm:person"),
    ("changed", "", "//p:tuple/p:note"),
    ("changed", "", "//x:a/@k"),
    ("added", "", "//p:tuple"),
    ("added", "", "//dm:person/r:activities"),
    ("removed", "", "/p:presence/dm:device"),
    ("removed", "", "//p:note"),
)


class RandomFilters:
    """Makes filters."""

    def __init__(self, source: random.Random) -> None:
        self.random = source

    def asked(self, triggers: float = 0.3) -> Asked:
        """A filter that says something.

        :param triggers: share of those with triggers.
        """
        choose = self.random.choice
        while True:
            found = Asked(
                tuple(self.selection() for _ in range(choose((0, 1, 1, 2, 3)))),
                tuple(self.selection() for _ in range(choose((0, 0, 0, 1, 2)))),
                tuple(choose(TRIGGERS) for _ in range(choose((1, 1, 2))))
                if self.random.random() < triggers
                else (),
            )
            if found != Asked():
                return found

    def selection(self) -> str:
        """What is included or excluded."""
        choose, chance = self.random.choice, self.random.random()
        if chance < 0.12:
            return choose(NAMESPACES)
        if chance < 0.5:
            return choose(ELSEWHERE)
        path = choose(TUPLES)
        if "§" in path:
            path = path.replace("[§]", self.condition())
        return path + (choose(INSIDE) if self.random.random() < 0.6 else "")

    def condition(self) -> str:
        """A condition on a tuple, or on something that has what tuples have."""
        return self.random.choice(CONDITIONS)
