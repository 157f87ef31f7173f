"""What filters are made of: values that are equal when they ask for the same (RFC 4661)."""

from __future__ import annotations

from decimal import Decimal
from typing import Final, Literal

import attrs

from presence.filters.expression import Path

MAX_FILTERS: Final = 32
"""Filters that live with one subscription (FLT-27)."""

MAX_EXPRESSIONS: Final = 64
"""Expressions of all of them together (FLT-27)."""


@attrs.frozen(slots=True)
class Namespace:
    """A selection of ``type="namespace"``: the elements of one namespace (FLT-05)."""

    uri: str


Selection = Path | Namespace


@attrs.frozen(slots=True, cache_hash=True)
class What:
    """The content that is delivered: ``<what>`` (FLT-04). Without any selection: everything.

    :ivar includes: what is selected, together; () for everything.
    :ivar excludes: what is left out of it, in this order.
    """

    includes: tuple[Selection, ...] = ()
    excludes: tuple[Selection, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.includes or self.excludes)


EVERYTHING: Final = What()
"""The content of a filter without ``<what>``."""


@attrs.frozen(slots=True)
class Condition:
    """A change that a trigger waits for: ``<changed>``, ``<added>`` or ``<removed>`` (FLT-16).

    :ivar path: the element or attribute.
    :ivar old: value of ``from``, white space around it gone; None without one.
    :ivar new: value of ``to``, likewise.
    :ivar by: least difference of two numbers, or None.
    """

    kind: Literal["changed", "added", "removed"]
    path: Path
    old: str | None = None
    new: str | None = None
    by: Decimal | None = None


@attrs.frozen(slots=True, cache_hash=True)
class Trigger:
    """Conditions that together cause a notification (FLT-06)."""

    conditions: tuple[Condition, ...]


@attrs.frozen(slots=True)
class Filter:
    """A filter as it lives with a subscription (FLT-03).

    At most one of ``uri`` and ``domain`` is there; without either it is about the resource
    that is subscribed to (FLT-23).

    :ivar id: unique among the filters of a subscription.
    :ivar uri: as it was written, or "".
    :ivar domain: in lower case, or "".
    :ivar enabled: one that is not is as if it were absent (FLT-20).
    :ivar what: what is delivered.
    :ivar triggers: one of them has to fire; () for any change.
    """

    id: str
    uri: str = ""
    domain: str = ""
    enabled: bool = True
    what: What = EVERYTHING
    triggers: tuple[Trigger, ...] = ()

    @property
    def empty(self) -> bool:
        """Whether it says neither what nor when."""
        return not self.what and not self.triggers

    @property
    def expressions(self) -> int:
        """How many expressions it has."""
        return (
            len(self.what.includes)
            + len(self.what.excludes)
            + sum(len(trigger.conditions) for trigger in self.triggers)
        )


@attrs.frozen(slots=True)
class Changes:
    """What a SUBSCRIBE does to the filters of its subscription (FLT-21).

    :ivar filters: to be placed or replaced. An empty one enables or disables the filter of its
        id, whose contents stay.
    :ivar removed: ids of filters that go.
    """

    filters: tuple[Filter, ...] = ()
    removed: frozenset[str] = frozenset()
