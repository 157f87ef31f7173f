"""Which document server a request goes to (AGP-50 to AGP-53, AGP-61, AGP-78 to AGP-80)."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import attrs
from twisted.logger import Logger
from zope.interface import implementer

from xcap.errors import XcapError
from xcap.interfaces import IBackEnd, IRouteTable
from xcap.records import HttpResponse
from xcap.upstream import UpstreamError

if TYPE_CHECKING:
    from xcap.records import Head, Receive

SLOTS = 1024
"""Parts into which users are hashed; a partition holds a range of them."""

CAPS = "xcap-caps"
DIRECTORY = "org.openmobilealliance.xcap-directory"
COMPUTED = frozenset({CAPS, DIRECTORY})
"""Usages that every document server has and the proxy answers for all of them."""

STANDARD_AUIDS: Mapping[str, frozenset[str]] = {
    "shared-xdms": frozenset(
        {
            "resource-lists",
            "org.openmobilealliance.group-usage-list",
        }
    ),
    "presence-xdms": frozenset(
        {
            "pres-rules",
            "org.openmobilealliance.pres-rules",
            "pidf-manipulation",
            "org.openmobilealliance.pres-content",
        }
    ),
    "rls-xdms": frozenset({"rls-services"}),
}
"""The usages of each kind of document server (AGP-50)."""

Random = Callable[[int], bytes]


def slot(xui: str) -> int:
    """The slot of a canonical user identifier, the same in all processes."""
    octets = hashlib.sha256(xui.encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(octets[:4], "big") % SLOTS


def unavailable(random: Random = os.urandom) -> XcapError:
    """The 503 when there is nobody to ask; clients come back at different times (AGP-80)."""
    return XcapError(
        503,
        "No document server is available",
        (("Retry-After", str(1 + random(1)[0] % 30)),),
    )


@implementer(IBackEnd)
class Servers:
    """Servers of which each can answer the same requests; chosen in turn, retried once.

    :param servers: at least one.
    :param random: for Retry-After.
    """

    def __init__(self, name: str, servers: Sequence[IBackEnd], random: Random = os.urandom) -> None:
        if not servers:
            raise ValueError(f"{name} has no servers")
        self.name = name
        self.auids = frozenset(auid for server in servers for auid in server.auids)
        self._servers = tuple(servers)
        self._random = random
        self._turn = 0

    @property
    def up(self) -> bool:
        """Whether any of the servers is up."""
        return any(server.up for server in self._servers)

    async def begin(self, head: Head) -> HttpResponse | Receive:
        """Ask one of the servers, and another one if it fails and that does no harm (AGP-79).

        :raises XcapError: 502, 503 or 504.
        """
        server = self._choose()
        if server is None:
            raise unavailable(self._random)
        try:
            answer = await server.begin(head)
        except UpstreamError as error:
            return await self._other(head, server, error).begin(head)
        if isinstance(answer, HttpResponse):
            return answer
        return partial(self._receive, head, server, answer)

    async def _receive(
        self, head: Head, server: IBackEnd, receive: Receive, body: bytes
    ) -> HttpResponse:
        try:
            return await receive(body)
        except UpstreamError as error:
            answer = await self._other(head, server, error).begin(head)
        return answer if isinstance(answer, HttpResponse) else await answer(body)

    def _choose(self, but: IBackEnd | None = None) -> IBackEnd | None:
        """The next server that is up, ``but`` only if there is no other."""
        servers = self._servers
        if len(servers) == 1:
            return servers[0] if servers[0].up else None
        for _ in servers:
            self._turn = (self._turn + 1) % len(servers)
            server = servers[self._turn]
            if server.up and server is not but:
                return server
        return but if but is not None and but.up else None

    def _other(self, head: Head, failed: IBackEnd, error: UpstreamError) -> IBackEnd:
        """Where to try again.

        :raises XcapError: nowhere.
        """
        other = self._choose(failed) if error.may_repeat(head.method) else None
        # a server that took its time, or has no room, will not do better at once
        if other is None or (other is failed and error.kind in ("late", "busy")):
            if error.status == 503:
                raise unavailable(self._random) from None
            raise error
        return other


@attrs.frozen(slots=True)
class Group:
    """The servers of some application usages.

    :ivar name: for logs.
    :ivar partitions: each holds the documents of some users.
    :ivar auids: usages routed here whatever the servers say (static entries).
    :ivar bounds: first slot of each partition after the first; () divides them evenly.
    :ivar designated: the partition that holds the global documents (AGP-53).
    """

    name: str
    partitions: tuple[IBackEnd, ...]
    auids: frozenset[str] = frozenset()
    bounds: tuple[int, ...] = ()
    designated: int = 0

    def __attrs_post_init__(self) -> None:
        count = len(self.partitions)
        if not count or not 0 <= self.designated < count:
            raise ValueError(f"{self.name} has no such partition")
        if self.bounds and (
            len(self.bounds) != count - 1 or list(self.bounds) != sorted(self.bounds)
        ):
            raise ValueError(f"{self.name} needs the first slot of each partition but the first")

    def holder(self, xui: str) -> IBackEnd:
        """The partition of a user, the designated one for ""."""
        if len(self.partitions) == 1:
            return self.partitions[0]
        if not xui:
            return self.partitions[self.designated]
        place = slot(xui)
        if self.bounds:
            return self.partitions[sum(bound <= place for bound in self.bounds)]
        return self.partitions[place * len(self.partitions) // SLOTS]


@implementer(IRouteTable)
class RouteTable:
    """Application usages and the groups that serve them.

    Static entries win over learnt ones; of several groups that claim a usage the one
    configured first has it (AGP-52).

    :param groups: in the order of the configuration.

    :ivar conflicts: usages that several groups claim without a static entry.
    """

    _log = Logger()

    def __init__(self, groups: Iterable[Group]) -> None:
        self._learnt: dict[str, frozenset[str]] = {}
        self.conflicts: frozenset[str] = frozenset()
        self.replace(groups)

    def replace(self, groups: Iterable[Group]) -> None:
        """Take other groups for new requests; those in flight stay where they are (AGP-61)."""
        self._groups = tuple(groups)
        names = [group.name for group in self._groups]
        if len(set(names)) < len(names):
            raise ValueError("two groups of one name")
        self._learnt = {name: self._learnt[name] for name in names if name in self._learnt}
        self._build()

    def learn(self, name: str, auids: Iterable[str]) -> None:
        """Note what the servers of a group say they have (AGP-52)."""
        found = frozenset(auids) - COMPUTED
        if self._learnt.get(name) != found:
            self._learnt[name] = found
            self._build()

    @property
    def groups(self) -> tuple[Group, ...]:
        """All groups."""
        return self._groups

    @property
    def auids(self) -> frozenset[str]:
        """The usages routed to some group."""
        return frozenset(self._table)

    def group(self, auid: str) -> Group | None:
        """The group of a usage, None when it is unknown."""
        return self._table.get(auid)

    def served(self, group: Group) -> frozenset[str]:
        """The usages routed to a group."""
        return frozenset(auid for auid, found in self._table.items() if found is group)

    def route(self, auid: str, xui: str) -> IBackEnd:
        """The back-end of a request; see :class:`xcap.interfaces.IRouteTable`."""
        group = self._table.get(auid)
        if group is None:
            raise XcapError(404, "No such application usage")
        holder = group.holder(xui)
        if not holder.up:
            raise unavailable()
        return holder

    def backends(self, xui: str = "") -> list[IBackEnd]:
        """One back-end of each group: the one that holds ``xui``."""
        return [group.holder(xui) for group in self._groups]

    def _build(self) -> None:
        table: dict[str, Group] = {}
        for group in self._groups:
            for auid in group.auids:
                table.setdefault(auid, group)
        static = frozenset(table)
        conflicts = set()
        for group in self._groups:
            for auid in self._learnt.get(group.name, frozenset()) - static:
                if table.setdefault(auid, group) is not group:
                    conflicts.add(auid)
        for auid in sorted(conflicts - self.conflicts):
            self._log.warn(
                "several back-ends claim {auid}; {group} has it",
                auid=auid,
                group=table[auid].name,
                problem="route-conflict",
            )
        self.conflicts = frozenset(conflicts)
        self._table = table
