"""Lists, their members, and what back-end subscriptions tell of these."""

from __future__ import annotations

from typing import Literal

import attrs

Names = tuple[tuple[str, str], ...]
"""(``xml:lang`` or "", text) in document order."""


@attrs.frozen(slots=True)
class Member:
    """A member of a list.

    :ivar uri: as in the list (RLS-08).
    :ivar key: canonical URI: two of one key are one member (RLS-17).
    :ivar names: display names.
    """

    uri: str
    key: str
    names: Names = ()


@attrs.frozen(slots=True)
class Service:
    """A presence list as documents have it now.

    :ivar uri: canonical URI of the service.
    :ivar owner: canonical user identifier (XUI) of the owner.
    :ivar packages: event packages that it serves; None for all (XDM-42).
    :ivar names: display names of the list.
    :ivar members: flattened, in document order, no duplicates, subscribable only.
    :ivar complete: false when something could not be resolved (XDM-54).
    :ivar key: what it is found by, as :attr:`Member.key` of lists that have it as a member.
    :ivar siblings: keys of all services of the owner (RLS-15).
    """

    uri: str
    owner: str
    packages: frozenset[str] | None
    names: Names
    members: tuple[Member, ...]
    complete: bool = True
    key: str = ""
    siblings: frozenset[str] = frozenset()


@attrs.frozen(slots=True)
class Instance:
    """What a back-end subscription tells of a member (RLS-09).

    :ivar id: of the back-end subscription, unique within the member.
    :ivar state: ``active``, ``pending`` or ``terminated``.
    :ivar reason: why it is terminated, as in Subscription-State.
    :ivar content_type: Content-Type of the body with its parameters.
    :ivar body: the state; octets without content encoding.
    """

    id: str
    state: Literal["active", "pending", "terminated"]
    reason: str = ""
    content_type: str = ""
    body: bytes = b""
