"""A subscription from inside the process: no dialog, and a sink instead of NOTIFYs (RLS-24)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from twisted.internet.defer import Deferred

from pysip.event.dialogrecord import DialogRecord, encode_dialog
from pysip.event.subscription import CHANGED, Subscription
from pysip.interfaces import Identity

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pysip.event.interfaces import ILocalSink
    from pysip.event.notifier import Notifier
    from pysip.event.records import SubscriptionRecord

_NOWHERE = "sip:local@local.invalid"
"""Remote target in the record: a release that does not know of these finds no way there."""


class LocalSubscription(Subscription):
    """One subscription of somebody in this process, in a watcher's name.

    It does not count against the limits of its watcher: its owner bounds how many there are.

    :ivar key: what its owner calls it.
    :ivar sink: who is told; None after a restart, until there is one again.
    :ivar queued: it waits for its turn to be told.
    :ivar told: state that the sink was told last, "" at first.
    :ivar count: notifications so far.
    """

    __slots__ = ("count", "key", "queued", "sink", "told")

    limited: ClassVar[bool] = False

    def __init__(
        self,
        notifier: Notifier,
        id: int,
        package: str,
        resource: str,
        entity: str,
        event: str,
        watcher: Identity,
        state: str,
        content_type: str,
        deadline: float,
        created: float,
        key: str,
        sink: ILocalSink | None,
    ) -> None:
        super().__init__(
            notifier,
            id,
            key,
            package,
            resource,
            entity,
            event,
            watcher,
            state,
            content_type,
            deadline,
            created,
        )
        self.key = key
        self.sink = sink
        self.queued = False
        self.told = ""
        self.count = 0

    @property
    def sequence(self) -> int:
        """How many notifications there were; after a restart, how many there may have been."""
        return self.count

    def refresh(
        self,
        expires: int,
        headers: Mapping[str, Sequence[str]] | None = None,
        body: bytes = b"",
    ) -> Deferred[None]:
        """Let it live for ``expires`` seconds from now, or end it when that is 0.

        :param headers: as for :meth:`pysip.event.notifier.Notifier.subscribe_local`.
        :returns: fires when that is durable; fails with a SipError, and nothing has changed:
            481 when it has ended meanwhile.
        """
        return Deferred.fromCoroutine(
            self.notifier.local.refresh(self, expires, headers or {}, body)
        )

    def unsubscribe(self) -> None:
        """End it; the sink is told that, once it is durable."""
        self.notifier.local.unsubscribe(self)

    def owe(self, due: int) -> None:
        """Tell the sink, in a later turn of the reactor."""
        self.notifier.local.owe(self, due)

    def changed(self) -> bool:
        """Tell the sink of a change, in a later turn of the reactor; no NOTIFY leaves."""
        if self.state == "active" and not self.ending:
            self.notifier.local.owe(self, CHANGED)
        return False

    def resume(self) -> None:
        """Tell the sink what it is owed."""
        if self.due:
            self.notifier.local.owe(self, self.due)

    def details(self) -> bytes:
        """What the record holds besides its columns."""
        watcher = self.watcher
        return encode_dialog(
            DialogRecord(
                self.key,
                "local",
                "local",
                f"<{_NOWHERE}>",
                f"<{_NOWHERE}>",
                _NOWHERE,
                (),
                f"<{_NOWHERE}>",
                0,
                False,
                self.event,
                self.entity,
                self.state,
                self.content_type,
                self.created,
                watcher.uris,
                watcher.display_name,
                watcher.anonymous,
                watcher.source,
                event_params=self.event_params,
                detail=self.detail,
                local=self.key,
            )
        )

    @classmethod
    def from_record(
        cls,
        notifier: Notifier,
        record: SubscriptionRecord,
        kept: DialogRecord,
        wall: float,
        now: float,
    ) -> LocalSubscription:
        """The subscription that ``record`` describes; nobody is told until it has a sink.

        :param kept: what its record holds besides its columns.
        """
        watcher = Identity(kept.watcher, kept.display_name, kept.anonymous, kept.source)
        subscription = cls(
            notifier,
            record.id,
            record.package,
            record.resource,
            kept.entity,
            kept.event,
            watcher,
            kept.state,
            kept.content_type,
            now + record.expires - wall,
            kept.created,
            kept.local,
            None,
        )
        subscription.event_params = kept.event_params
        subscription.detail = kept.detail
        subscription.cseq_limit = subscription.count = record.cseq
        subscription.ready = True
        return subscription
