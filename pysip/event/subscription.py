"""A subscription at the notifier, whichever way its watcher is told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from zope.interface import implementer

from pysip.event.interfaces import ISubscription
from pysip.event.records import SubscriptionRecord
from pysip.timers import Alarm, Timed

if TYPE_CHECKING:
    from collections.abc import Hashable

    from pysip.event.notifier import Notifier
    from pysip.event.rates import Pulse
    from pysip.interfaces import Identity

CSEQ_BLOCK = 1000
"""CSeq numbers reserved by one write (ARCHITECTURE 6: no write per NOTIFY)."""

NOT_DUE, CHANGED, REPEATED, FORCED = 0, 1, 2, 3
"""Why a NOTIFY is owed: not at all, the state changed, too long nothing was sent (RAT-07), or a
SUBSCRIBE was answered (SUB-08)."""


@implementer(ISubscription)
class Subscription(Timed):
    """One subscription of one watcher.

    As a :class:`Timed` it waits for its expiry.

    :cvar limited: it counts against the limits of its watcher.

    :ivar place: what it is found by: the identifier of its dialog, or a key.
    :ivar package: name of the package that serves it.
    :ivar event: what matches SUBSCRIBEs and NOTIFYs to it: event type and ``id`` (SUB-02).
    :ivar event_params: what follows that in the Event header of NOTIFYs.
    :ivar require: option tags for Require of its NOTIFYs and of the 2xx to its SUBSCRIBEs.
    :ivar detail: what the package keeps of it, durable.
    :ivar data: what the package keeps of it in memory.
    :ivar entity: the URI it was addressed to.
    :ivar deadline: monotonic time of expiry.
    :ivar created: wall-clock time of creation.
    :ivar cseq_limit: CSeq numbers, or of notifications, below it are reserved in the store.
    :ivar instance: ``+sip.instance`` of the subscriber's Contact, or "".
    :ivar pulse: the rates that it wants; None without any (RFC 6446).
    :ivar ready: its creation is durable, NOTIFYs may leave.
    :ivar due: a further NOTIFY is owed (NOT_DUE, CHANGED or FORCED).
    :ivar forced: the NOTIFY being made leaves in any case.
    :ivar delivered: digest of the view the watcher last acknowledged.
    :ivar uncertain: nobody has answered the last NOTIFY: it may have arrived.
    :ivar reason: why it ends, "" while it lives.
    :ivar ending: Subscription-State of the last NOTIFY, "" while it lives.
    """

    __slots__ = (
        "alarm",
        "content_type",
        "created",
        "cseq_limit",
        "data",
        "deadline",
        "delivered",
        "detail",
        "due",
        "ending",
        "entity",
        "event",
        "event_name",
        "event_params",
        "forced",
        "id",
        "instance",
        "notifier",
        "package",
        "place",
        "pulse",
        "ready",
        "reason",
        "require",
        "resource",
        "state",
        "uncertain",
        "watcher",
    )

    limited: ClassVar[bool] = True

    def __init__(
        self,
        notifier: Notifier,
        id: int,
        place: Hashable,
        package: str,
        resource: str,
        entity: str,
        event: str,
        watcher: Identity,
        state: str,
        content_type: str,
        deadline: float,
        created: float,
    ) -> None:
        self._slot = -1
        self.notifier = notifier
        self.id = id
        self.place = place
        self.package = package
        self.resource = resource
        self.entity = entity
        self.event = event
        self.watcher = watcher
        self.state = state
        self.content_type = content_type
        self.deadline = deadline
        self.created = created
        self.cseq_limit = 0
        self.instance = ""
        self.event_name = ""
        self.event_params = ""
        self.require = ""
        self.detail = b""
        self.data: object = None
        self.pulse: Pulse | None = None
        self.ready = False
        self.due = NOT_DUE
        self.forced = False
        self.delivered: int | None = None
        self.uncertain = False
        self.reason = ""
        self.ending = ""
        self.alarm: Alarm | None = None

    @property
    def event_value(self) -> str:
        """Event header of its NOTIFYs, but for parameters that the package adds."""
        _, semicolon, tail = self.event.partition(";")
        return f"{self.event_name}{semicolon}{tail}" if self.event_name else self.event

    @property
    def lasting(self) -> bool:
        """False for a fetch, which gets one NOTIFY and is gone (SUB-09)."""
        return bool(self.id)

    @property
    def sequence(self) -> int:
        """How many NOTIFYs were sent; after a restart, how many may have been."""
        raise NotImplementedError

    def fire(self) -> None:
        """The subscription has expired (NOT-08)."""
        self.notifier.expired(self)

    def owe(self, due: int) -> None:
        """Tell the watcher now, or as soon as that is possible."""
        raise NotImplementedError

    def changed(self) -> bool:
        """Tell the watcher of a change when its gate is open; true when a NOTIFY has left."""
        raise NotImplementedError

    def resume(self) -> None:
        """Tell the watcher what it is owed: what held it up is over."""
        raise NotImplementedError

    def reset_head(self) -> None:
        """Something that all NOTIFYs repeat has changed."""

    def terms(self) -> tuple[Any, ...]:
        """What a further SUBSCRIBE may change."""
        return (
            self.deadline,
            self.content_type,
            self.event_params,
            self.require,
            self.detail,
            self.data,
        )

    def restore(self, terms: tuple[Any, ...]) -> None:
        """Take back what has changed since :meth:`terms`."""
        (
            self.deadline,
            self.content_type,
            self.event_params,
            self.require,
            self.detail,
            self.data,
        ) = terms[:6]
        self.reset_head()

    def record(self, wall: float, now: float) -> SubscriptionRecord:
        """The record to store.

        :param wall: wall-clock seconds now.
        :param now: monotonic seconds now.
        """
        return SubscriptionRecord(
            self.id,
            self.package,
            self.resource,
            self.cseq_limit,
            wall + self.deadline - now,
            self.details(),
        )

    def details(self) -> bytes:
        """What the record holds besides its columns."""
        raise NotImplementedError
