"""What tells a list subscription of its members (RLS-24, RLO-03)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import attrs

from pysip.external import EXTERNAL_BODY

if TYPE_CHECKING:
    from collections.abc import Callable

    from presence.filters.filterset import FilterSet
    from presence.rls.model import Instance, Member
    from pysip.interfaces import Identity


@attrs.frozen(slots=True)
class Watching:
    """In whose name members are watched.

    :ivar list_id: number of the list subscription, durable with it; 0 for a fetch.
    :ivar watcher: who has subscribed to the list (RLS-19).
    :ivar max_forwards: of the SUBSCRIBEs for the members (RLS-16).
    :ivar expires: lifetime to ask for in seconds; 0 fetches once.
    :ivar secured: types of signed and encrypted bodies that the watcher reads (RLS-20).
    :ivar objects: it reads MIME objects of members, too (CIN-04).
    """

    list_id: int
    watcher: Identity
    max_forwards: int
    expires: int
    secured: tuple[str, ...] = ()
    objects: bool = False

    @property
    def accepted(self) -> tuple[str, ...]:
        """Types of bodies about members that it reads, besides documents and lists (RLS-20)."""
        return (*((EXTERNAL_BODY,) if self.objects else ()), *self.secured)


class BackEnd(Protocol):
    """A subscription to one member."""

    def refresh(self, expires: int) -> None:
        """The list subscription lives on for so many seconds."""

    def filter(self, filters: FilterSet) -> None:
        """These filters of the watcher are for the member from now on (FLT-29)."""

    def stop(self) -> None:
        """Tell nothing more, and unsubscribe."""


class BackEnds(Protocol):
    """Makes subscriptions to members: in this process, or over SIP."""

    def subscribe(
        self,
        member: Member,
        watching: Watching,
        told: Callable[[Instance], None],
        filters: FilterSet,
    ) -> BackEnd:
        """Subscribe to a member.

        :param told: is called with each news, never before this returns.
        :param filters: of the watcher for the member (FLT-28).
        """


class ChosenBackEnds:
    """Watches members in this process where they are served, and over SIP else (RLS-24).

    :param here: whether a member is served in this process.
    """

    def __init__(
        self, local: BackEnds, elsewhere: BackEnds, here: Callable[[Member], bool]
    ) -> None:
        self._local = local
        self._elsewhere = elsewhere
        self._here = here

    def subscribe(
        self,
        member: Member,
        watching: Watching,
        told: Callable[[Instance], None],
        filters: FilterSet,
    ) -> BackEnd:
        """Subscribe to a member; see :class:`BackEnds`."""
        chosen = self._local if self._here(member) else self._elsewhere
        return chosen.subscribe(member, watching, told, filters)
