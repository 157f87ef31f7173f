"""Lists in lists: a member that is another list of the same owner is its members (RLS-15)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Final

import attrs
from twisted.logger import Logger

if TYPE_CHECKING:
    from presence.rls.model import Member, Service
    from presence.rls.services import HeldService, ServiceSource

DEPTH: Final = 8
"""Lists within each other, at most."""
LISTS: Final = 100
"""Lists in one list, at most."""
MEMBERS: Final = 5000
"""Members that they have together, at most: as of a list without others (XDM-28)."""


class ExpandedService:
    """A service that is followed, with all that it contains.

    A list that is met a second time is left out, which ends every loop.  All is gone through
    in one turn of the reactor, so that there are bounds to it.

    :param uri: of the service.
    :param owner: as in :attr:`presence.rls.model.Service.owner`.
    :param changed: called with the service when it is not what it was; with None when it is gone.
    """

    _log = Logger()

    def __init__(
        self,
        services: ServiceSource,
        uri: str,
        owner: str,
        changed: Callable[[Service | None], None],
    ) -> None:
        self._services = services
        self._owner = owner
        self._changed = changed
        self._inner: dict[str, HeldService] = {}
        self._used: set[str] = set()
        self._stopped = False
        self._held = services.hold(uri, owner, self._told)
        self.service = self._flat(self._held.service)

    def stop(self) -> None:
        """Follow it no more."""
        self._stopped = True
        self._held.stop()
        for held in self._inner.values():
            held.stop()
        self._inner.clear()

    def _told(self, _: Service | None) -> None:
        """One of the lists has changed."""
        if self._stopped:
            return
        before, self.service = self.service, self._flat(self._held.service)
        if self.service != before or self.service is None:
            self._changed(self.service)

    def _flat(self, service: Service | None) -> Service | None:
        """The service with the members of all lists in it, each once (RLS-17)."""
        if service is None:
            return None
        self._used = {service.key}
        members: dict[str, Member] = {}
        for member in islice(self._members(service, 1), MEMBERS):
            members.setdefault(member.key, member)
        for key in [key for key in self._inner if key not in self._used]:
            self._inner.pop(key).stop()
        return attrs.evolve(service, members=tuple(members.values()))

    def _members(self, service: Service, depth: int) -> Iterator[Member]:
        for member in service.members:
            if member.key not in service.siblings:
                yield member
            elif member.key in self._used or depth == DEPTH or len(self._used) > LISTS:
                self._log.info("a list is left out: met before, too deep, or one too many")
            else:
                inner = self._hold(member.key).service
                if inner is not None:
                    yield from self._members(inner, depth + 1)

    def _hold(self, key: str) -> HeldService:
        self._used.add(key)
        held = self._inner.get(key)
        if held is None:
            held = self._inner[key] = self._services.hold(key, self._owner, self._told)
        return held
