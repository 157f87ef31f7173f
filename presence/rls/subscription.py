"""One subscription to a list: its members, and when what they tell is told (RLS-14, RLS-22)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Literal

import attrs

from presence.rls.backend import Watching
from presence.rls.draft import Terms
from presence.rls.table import ListTable
from pysip.timers import Alarm

if TYPE_CHECKING:
    from presence.filters.filterset import FilterSet
    from presence.rls.backend import BackEnd, BackEnds
    from presence.rls.model import Instance, Member, Service
    from presence.rls.pace import Pace
    from presence.rls.table import Report
    from pysip.event.interfaces import ISubscription
    from pysip.timers import TimerWheel


@attrs.define
class ListSettings:
    """Choices of the operator; times in seconds.

    :ivar window: in which changes of members become one NOTIFY (RLS-14).
    :ivar fetch: how long a fetch waits for the members (RCL-06).
    :ivar members: of one list that are subscribed to (RLO-04).
    :ivar excess: what becomes of further ones.
    :ivar body: octets of a NOTIFY body (RLS-18); by default it fits into a datagram with its
        head, for a watcher without TCP.
    :ivar service: canonical URI for lists that are brought along, "" for none (RCL-01).
    :ivar bare_id_agents: how User-Agents begin, in lower case, that need other spellings
        (CLI-17).
    """

    window: float = 2.0
    fetch: float = 5.0
    members: int = 200
    excess: Literal["unlisted", "terminated", "refuse"] = "unlisted"
    body: int = 61440
    service: str = ""
    bare_id_agents: tuple[str, ...] = ()


class ListSubscription:
    """What stands behind a subscription to a list.

    :param subscription: the watcher's.
    :param touch: something is to be told when the rate allows it.
    :param ready: what was put off can be told now: all members are known.
    :param filters: of the watcher.
    :param administers: whether a domain is one of ours (FLT-28).
    :param patient: wait until they are, as a fetch does and who was recovered: to the watcher
        who knows all that is found nothing need be told then.
    """

    def __init__(
        self,
        subscription: ISubscription,
        service: Service,
        watching: Watching,
        backends: BackEnds,
        pace: Pace,
        wheel: TimerWheel,
        settings: ListSettings,
        touch: Callable[[], None],
        ready: Callable[[], None],
        *,
        filters: FilterSet,
        administers: Callable[[str], bool],
        patient: bool,
    ) -> None:
        self.table = ListTable(
            subscription.entity,
            service.names,
            maximum=settings.members,
            excess="terminated" if settings.excess == "terminated" else "unlisted",
            first=subscription.sequence,
        )
        self.watching = watching
        self._backends = backends
        self._pace = pace
        self._wheel = wheel
        self._settings = settings
        self._touch = touch
        self._ready = ready
        self._resource = subscription.resource
        self._filters = filters
        self._administers = administers
        self._members: dict[str, Member] = {}
        self._subscribed: dict[str, BackEnd] = {}
        self._leaving: dict[BackEnd, None] = {}
        self._unknown: set[str] = set()
        self._alarm = Alarm(self._window_over)
        self._armed = False
        self._report: Report | None = None
        self._stopped = False
        self._patient = patient
        if patient:
            self._armed = True
            wheel.after(settings.fetch, self._alarm)
        self.changed(service)

    @property
    def complete(self) -> bool:
        """Whether what is known can be told: all is, or that has taken too long."""
        return not (self._patient and self._unknown and self._armed)

    # -- the list -----------------------------------------------------------------------

    def changed(self, service: Service) -> None:
        """The list is so now: begin and end what has come and gone (RLS-22)."""
        self.table.set_service(service.names, service.members)
        wanted = {member.key: member for member in self.table.subscribed}
        for key in [key for key in self._members if key not in wanted]:
            del self._members[key]
            self._unknown.discard(key)
            backend = self._subscribed.pop(key, None)
            if backend is not None:
                self._leaving[backend] = None
                self._pace.add(self, partial(self._leave, backend))
        for key, member in wanted.items():
            if key not in self._members:
                self._members[key] = member
                self._unknown.add(key)
                self._pace.add(self, partial(self._begin, key))
        if self._filters:
            self._pass_on()  # which goes to whom depends on who is a member
        self._tell_soon()

    def _leave(self, backend: BackEnd) -> None:
        del self._leaving[backend]
        backend.stop()

    def _begin(self, key: str) -> None:
        member = self._members.get(key)
        if member is None or key in self._subscribed or self._stopped:
            return
        self._subscribed[key] = self._backends.subscribe(
            member,
            self.watching,
            lambda instance: self._told(key, member, instance),
            self._filters_of(key),
        )

    # -- filters ------------------------------------------------------------------------

    def filter(self, filters: FilterSet) -> None:
        """The watcher has these filters from now on (FLT-29)."""
        if filters != self._filters:
            self._filters = filters
            self._pass_on()

    def _pass_on(self) -> None:
        for key, backend in self._subscribed.items():
            backend.filter(self._filters_of(key))

    def _filters_of(self, key: str) -> FilterSet:
        """Those that go into the SUBSCRIBE to a member (FLT-28)."""
        if not self._filters:
            return self._filters
        return self._filters.for_member(
            key,
            self._resource,
            is_member=self._members.__contains__,
            administers=self._administers,
        )

    def _told(self, key: str, member: Member, instance: Instance) -> None:
        """News of a member."""
        if self._members.get(key) is not member or self._stopped:
            return
        self._unknown.discard(key)
        if self.table.set_instance(key, instance) or self._patient:
            self._tell_soon()

    # -- NOTIFYs ------------------------------------------------------------------------

    def refresh(self, expires: int) -> None:
        """The watcher has refreshed: everything is told, and members live on (RLS-07)."""
        self.table.refresh()
        self.watching = attrs.evolve(self.watching, expires=expires)
        for backend in self._subscribed.values():
            backend.refresh(expires)

    def report(self, version: int, token: str, terms: Terms) -> Report | None:
        """What the next NOTIFY tells."""
        terms = attrs.evolve(terms, limit=self._settings.body)
        self._report = self.table.report(version, token, terms)
        return self._report

    def acknowledged(self) -> None:
        """The last NOTIFY has arrived; what did not fit follows (RLS-18).

        What has changed meanwhile waits for others that change within the window (RLS-14).
        """
        report, self._report = self._report, None
        if report is not None:
            self.table.acknowledged(report)
            if self.table.due and not self._stopped:
                if report.rest:
                    self._touch()
                else:
                    self._tell_soon()

    def _tell_soon(self) -> None:
        if self._patient:
            if not self._unknown:
                self._window_over()
        elif not self._armed:
            self._armed = True
            self._wheel.after(self._settings.window, self._alarm)

    def _window_over(self) -> None:
        self._armed = False
        self._wheel.cancel(self._alarm)
        if self._stopped:
            return
        if self._patient:
            self._patient = False
            self._ready()
        self._touch()

    # -- the end ------------------------------------------------------------------------

    def stop(self) -> None:
        """The subscription has ended: end those to members, at their pace (RLO-06)."""
        self._stopped = True
        self._wheel.cancel(self._alarm)
        self._pace.forget(self)
        for backend in (*self._leaving, *self._subscribed.values()):
            self._pace.add(self, backend.stop)
        self._leaving.clear()
        self._subscribed.clear()
        self._members.clear()
