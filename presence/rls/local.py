"""Members that are served in the same process: no SIP, the same outcome (RLS-24)."""

from __future__ import annotations

from functools import partial
from hashlib import blake2b
from typing import TYPE_CHECKING, Final

from twisted.internet.defer import CancelledError
from twisted.logger import Logger
from zope.interface import implementer

from presence.filtering import MEDIA_TYPE as FILTERS
from presence.filters.filterset import FilterSet, changes_between
from presence.filters.write import write_filters
from presence.pidf.offline import empty_document
from presence.preferences import kept_filters
from presence.rls.model import Instance
from presence.rls.sip import PIDF, RELATED, failure_reason
from pysip.errors import SipError
from pysip.event.interfaces import ILocalSink
from pysip.refresh import PASSING
from pysip.timers import Alarm

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.python.failure import Failure

    from presence.rls.backend import Watching
    from presence.rls.model import Member
    from presence.rls.pace import Pace
    from pysip.event.localsubscription import LocalSubscription
    from pysip.event.notification import Notification
    from pysip.event.notifier import Notifier
    from pysip.timers import TimerWheel

_PREFIX: Final = "list:"
_AGAIN: Final = 30.0
"""Seconds until what has ended for a passing reason is tried again (RLS-11)."""
_FOR_GOOD: Final = frozenset({"rejected", "noresource", "invariant", "badfilter"})
_BODY: Final[dict[str, tuple[str, ...]]] = {"content-type": (FILTERS,)}
_SETTLE: Final = 60.0
"""Seconds that what was recovered may take to be wanted again."""


class LocalBackEnds:
    """Subscribes to members at the notifier of this process.

    :param notifier: of the Presence Server.
    :param pace: at which those end that nobody wants any more.

    :ivar count: members that are watched so.
    """

    def __init__(self, notifier: Notifier, wheel: TimerWheel, pace: Pace) -> None:
        self.notifier = notifier
        self.wheel = wheel
        self._pace = pace
        self.count = 0
        self._fetches = 0
        self._wanted: set[str] | None = set()
        self._unwanted: set[str] = set()
        self._settled = Alarm(self._drop_unwanted)

    def subscribe(
        self,
        member: Member,
        watching: Watching,
        told: Callable[[Instance], None],
        filters: FilterSet,
    ) -> LocalBackEnd:
        """Subscribe to a member; see :class:`presence.rls.backend.BackEnds`."""
        number = str(watching.list_id)
        if not watching.list_id:
            self._fetches += 1
            number = f"f{self._fetches}"
        key = f"{_PREFIX}{number} {member.key}"
        if self._wanted is not None:
            self._wanted.add(key)
        self._unwanted.discard(key)
        self.count += 1
        return LocalBackEnd(self, key, member, watching, told, filters)

    def settle(self) -> None:
        """All lists are back: end in a while what none of them has wanted (RLO-06)."""
        self.wheel.after(_SETTLE, self._settled)

    def _drop_unwanted(self) -> None:
        wanted, self._wanted = self._wanted or set(), None
        for key in self.notifier.local_keys():
            if key.startswith(_PREFIX) and key not in wanted:
                self._unwanted.add(key)
                self._pace.add(self, partial(self._drop, key))

    def _drop(self, key: str) -> None:
        """End one, unless a list has begun to want it meanwhile."""
        if key in self._unwanted:
            self._unwanted.discard(key)
            self.notifier.drop_local(key)

    def stop(self) -> None:
        """The process ends; what is durable goes on after the next start."""
        self.wheel.cancel(self._settled)


@implementer(ILocalSink)
class LocalBackEnd:
    """One subscription; it is made anew while there is hope."""

    _log = Logger()

    def __init__(
        self,
        owner: LocalBackEnds,
        key: str,
        member: Member,
        watching: Watching,
        told: Callable[[Instance], None],
        filters: FilterSet,
    ) -> None:
        self._owner = owner
        self._key = key
        self._uri = member.uri
        self._watching = watching
        self._told = told
        self._stopped = False
        self._attempt = 0
        self._again = Alarm(self._subscribe)
        self._subscription: LocalSubscription | None = None
        self._filters = filters
        self._making = filters
        if ";" in member.key:
            # What is named as lists are, and is no list of the watcher's (RLS-15), is refused
            # to it over SIP as well; it is nobody's address.
            self._again = Alarm(partial(self._end, "rejected", again=False))
            owner.wheel.after(0.0, self._again)
            return
        self._subscription = owner.notifier.attach_local(key, self)
        if self._subscription is None:
            self._subscribe()
        else:
            # what it has is what the package has kept of it
            self._making = _filters_of(self._subscription)
            self._made(self._subscription)

    def filter(self, filters: FilterSet) -> None:
        """Subscribe with these filters from now on, if they are others."""
        self._filters = filters
        if self._subscription is not None:
            self._made(self._subscription)

    def refresh(self, expires: int) -> None:
        """The list lives on, and so does this."""
        if self._subscription is not None:
            self._subscription.refresh(expires).addErrback(self._failed)

    def stop(self) -> None:
        """Tell nothing more, and unsubscribe."""
        if self._stopped:
            return
        self._stopped = True
        self._owner.count -= 1
        self._owner.wheel.cancel(self._again)
        self._owner.notifier.drop_local(self._key)

    def notified(self, state: str, reason: str, notification: Notification) -> None:
        """The member's state is so now."""
        fetched = not self._watching.expires and bool(notification.body)
        if state == "active" or fetched:
            body = notification.body or empty_document(self._uri)  # as over SIP (RLS-24)
            self._tell("active", "", notification.content_type or PIDF, body)
        elif state == "pending":
            self._tell("pending")
        else:
            self._end(reason or "probation", reason not in _FOR_GOOD)

    def _subscribe(self) -> None:
        watching = self._watching
        self._making = self._filters
        body = write_filters(self._filters.filters) if self._filters else b""
        headers = dict(_BODY) if body else {}
        if watching.objects:
            headers["accept"] = (PIDF, RELATED, *watching.accepted)
        making = self._owner.notifier.subscribe_local(
            "presence",
            self._uri,
            watching.watcher,
            self._key,
            watching.expires,
            self,
            headers,
            body,
        )
        making.addCallbacks(self._made, self._failed)

    def _made(self, subscription: LocalSubscription) -> None:
        self._subscription = subscription
        change = changes_between(self._making, self._filters)
        if change and self._watching.expires and not self._stopped:
            self._making = self._filters
            subscription.refresh(self._watching.expires, _BODY, change).addErrback(self._failed)

    def _failed(self, failure: Failure) -> None:
        """It was refused, or could not be refreshed."""
        if failure.check(CancelledError) or self._stopped:
            return
        if isinstance(error := failure.value, SipError):
            again = error.status in PASSING or any(
                name.lower() == "retry-after" for name, _ in error.headers
            )
            self._end(failure_reason(error.status, again=again), again)
            return
        self._log.failure("watching a member of a list failed", failure)
        self._end("probation", again=True)

    def _end(self, reason: str, again: bool) -> None:
        self._subscription = None
        self._tell("terminated", reason)
        self._attempt += 1
        if again and not self._stopped and self._watching.expires:
            self._owner.wheel.after(_AGAIN, self._again)

    def _tell(self, state: str, reason: str = "", kind: str = "", body: bytes = b"") -> None:
        if not self._stopped:
            self._told(Instance(self._name(), state, reason, kind, body))  # type: ignore[arg-type]

    def _name(self) -> str:
        """The instance, the same after a restart (RLS-09) until it is made anew (RLS-11)."""
        name = f"{self._attempt} {self._key}".encode("utf-8", "surrogateescape")
        return blake2b(name, digest_size=8).hexdigest()


def _filters_of(subscription: LocalSubscription) -> FilterSet:
    """The filters that a subscription has; what is damaged is like none."""
    try:
        return kept_filters(subscription)
    except ValueError:
        return FilterSet()
