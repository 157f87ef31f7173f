"""What authorization is asked and what it answers (xdm.md sections 8 and 10)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, Literal

import attrs

from presence.rules.permissions import Permissions

Handling = Literal["block", "confirm", "polite-block", "allow"]
"""What becomes of a subscription: ``pr:sub-handling`` (XDM-94)."""

Flavour = Literal["oma", "ietf"]
"""How rules combine: in classes (XDM-130), or all that match (XDM-133)."""

Source = Literal["rules", "own", "none", "default", "override"]
"""What a decision rests on: the presentity's rules, its own identity (XDM-138), the absence of
any matching rule (XDM-135), the operator's default (XDM-150) or override (XDM-139)."""

Lists = Callable[[str], frozenset[str] | None]
"""Canonical URIs of an external list by the ``anc`` that names it; None: undetermined."""

VALUES: Final[dict[Handling, int]] = {"block": 0, "confirm": 10, "polite-block": 20, "allow": 30}
"""By what handlings combine (RFC 5025 section 3.2.1)."""


def highest(handlings: Iterable[Handling]) -> Handling:
    """What several rules say together: the maximum, ``block`` without any (XDM-135, RUL-02)."""
    return max(handlings, key=VALUES.__getitem__, default="block")


def no_lists(anchor: str) -> None:
    """Every external list is undetermined."""


@attrs.frozen(slots=True)
class Watcher:
    """Who asks (XDM-112).

    :ivar uris: all authenticated or asserted URIs, canonical as of
        :func:`pysip.uri.canonical_aor`; () for an unauthenticated watcher.
    :ivar anonymous: whether the request asks for anonymity (XDM-118); without URIs it is
        anonymous in any case.
    """

    uris: tuple[str, ...] = ()
    anonymous: bool = False


@attrs.frozen(slots=True)
class Context:
    """What else a decision depends on.

    :ivar now: seconds since the epoch.
    :ivar sphere: the presentity's sphere, None while undefined (XDM-116).
    :ivar lists: the external lists (XDM-120, XDM-123).
    :ivar privacy_is_anonymous: whether OMA rules take a watcher that asks for anonymity for
        anonymous although its identity is known (XDM-119).
    """

    now: float
    sphere: str | None = None
    lists: Lists = no_lists
    privacy_is_anonymous: bool = True


@attrs.frozen(slots=True)
class Decision:
    """What rules say about one watcher.

    :ivar handling: what becomes of the subscription (XDM-136, RUL-03).
    :ivar permissions: what is seen; nothing unless ``handling`` is ``allow`` (PBK-08).
    :ivar boundary: seconds since the epoch when a ``validity`` may change the decision,
        the earliest such time; None for never (XDM-117).
    :ivar reasons: for people: the rules in use with their conditions, or what else decided.
    :ivar source: what the decision rests on.
    :ivar undetermined: whether a list that is not at hand may change it (XDM-123).
    """

    handling: Handling
    permissions: Permissions
    boundary: float | None = None
    reasons: tuple[str, ...] = ()
    source: Source = "rules"
    undetermined: bool = False
