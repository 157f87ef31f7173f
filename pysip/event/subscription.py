"""A subscription at the notifier: dialog, life time and the prebuilt head of its NOTIFYs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from zope.interface import implementer

from pysip.dialog import Dialog
from pysip.event.interfaces import ISubscription
from pysip.event.records import SubscriptionRecord
from pysip.interfaces import IClientTransactionUser, Identity, Target
from pysip.timers import Alarm, Timed

if TYPE_CHECKING:
    from collections.abc import Callable

    from pysip.event.notifier import Notifier
    from pysip.interfaces import IClientTransaction
    from pysip.message import Response

CSEQ_BLOCK = 1000
"""CSeq numbers reserved by one write (ARCHITECTURE 6: no write per NOTIFY)."""

NOT_DUE, CHANGED, FORCED = 0, 1, 2
"""Why a NOTIFY is owed: not at all, the state changed, or a SUBSCRIBE was answered (SUB-08)."""


class DialogRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a SubscriptionRecord holds besides its columns.

    :ivar octets: every character stands for one octet of UTF-8, or of what is none.
    """

    call_id: str
    local_tag: str
    remote_tag: str
    local_uri: str
    remote_uri: str
    remote_target: str
    route_set: tuple[str, ...]
    contact: str
    remote_cseq: int
    secure: bool
    event: str
    entity: str
    state: str
    content_type: str
    created: float
    watcher: tuple[str, ...]
    display_name: str = ""
    anonymous: bool = False
    source: str = "none"
    fields: tuple[tuple[str, str], ...] = ()
    instance: str = ""
    charging: str = ""
    octets: bool = False
    event_params: str = ""
    detail: bytes = b""


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(DialogRecord).decode


def encode_dialog(record: DialogRecord) -> bytes:
    """The octets to store of a dialog.

    Text that was no UTF-8 on the wire (a display name in Latin-1) cannot be encoded as it is;
    then all text is kept as its octets, and ``octets`` is set.
    """
    try:
        return _encode(record)
    except UnicodeEncodeError:
        return _encode(_recode(msgspec.structs.replace(record, octets=True), _to_octets))


def decode_dialog(data: bytes) -> DialogRecord:
    """What :func:`encode_dialog` was given.

    :raises msgspec.DecodeError: the octets are damaged.
    """
    record = _decode(data)
    return _recode(record, _from_octets) if record.octets else record


def _to_octets(text: str) -> str:
    return text.encode("utf-8", "surrogateescape").decode("latin-1")


def _from_octets(text: str) -> str:
    return text.encode("latin-1").decode("utf-8", "surrogateescape")


def _recode(record: DialogRecord, change: Callable[[str], str]) -> DialogRecord:
    """The record with all text in it changed."""

    def changed(value: Any) -> Any:
        if isinstance(value, str):
            return change(value)
        return tuple(map(changed, value)) if isinstance(value, tuple) else value

    fields = {name: changed(getattr(record, name)) for name in record.__struct_fields__}
    return msgspec.structs.replace(record, **fields)


@implementer(ISubscription, IClientTransactionUser)
class Subscription(Timed):
    """One subscription of one watcher.

    As a :class:`Timed` it waits for its expiry.

    :ivar event: what matches SUBSCRIBEs and NOTIFYs to it: package and ``id`` (SUB-02).
    :ivar event_params: what follows that in the Event header of NOTIFYs.
    :ivar detail: what the package keeps of it, durable.
    :ivar data: what the package keeps of it in memory.
    :ivar entity: the URI it was addressed to.
    :ivar deadline: monotonic time of expiry.
    :ivar created: wall-clock time of creation.
    :ivar cseq_limit: CSeq numbers below it are reserved in the store.
    :ivar fields: header fields that each NOTIFY repeats (identity, charging).
    :ivar instance: ``+sip.instance`` of the subscriber's Contact, or "".
    :ivar charging: P-Charging-Function-Addresses as received (IMS-15).
    :ivar ready: its creation is durable, NOTIFYs may leave.
    :ivar in_flight: a NOTIFY awaits its final response (NOT-05).
    :ivar due: a further NOTIFY is owed (NOT_DUE, CHANGED or FORCED).
    :ivar booked: it waits for its turn at its destination (OVL-06).
    :ivar gate: monotonic time before which no change is told (NOT-13).
    :ivar delivered: digest of the view the watcher last acknowledged.
    :ivar sent: digest of the view in flight.
    :ivar reason: why it ends, "" while it lives.
    :ivar ending: Subscription-State of the last NOTIFY, "" while it lives.
    """

    __slots__ = (
        "alarm",
        "booked",
        "charging",
        "content_type",
        "created",
        "cseq_limit",
        "data",
        "deadline",
        "delivered",
        "detail",
        "dialog",
        "due",
        "ending",
        "entity",
        "event",
        "event_params",
        "fields",
        "gate",
        "head",
        "id",
        "in_flight",
        "instance",
        "notifier",
        "package",
        "ready",
        "reason",
        "redirected",
        "resource",
        "sent",
        "start",
        "state",
        "target",
        "watcher",
    )

    def __init__(
        self,
        notifier: Notifier,
        id: int,
        package: str,
        resource: str,
        entity: str,
        event: str,
        dialog: Dialog,
        watcher: Identity,
        state: str,
        content_type: str,
        deadline: float,
        created: float,
    ) -> None:
        self._slot = -1
        self.notifier = notifier
        self.id = id
        self.package = package
        self.resource = resource
        self.entity = entity
        self.event = event
        self.dialog = dialog
        self.watcher = watcher
        self.state = state
        self.content_type = content_type
        self.deadline = deadline
        self.created = created
        self.cseq_limit = 0
        self.fields: tuple[tuple[str, str], ...] = ()
        self.instance = ""
        self.charging = ""
        self.event_params = ""
        self.detail = b""
        self.data: object = None
        self.ready = False
        self.in_flight = False
        self.due = NOT_DUE
        self.gate = 0.0
        self.delivered: int | None = None
        self.sent = 0
        self.reason = ""
        self.ending = ""
        self.redirected = False
        self.booked = False
        self.alarm: Alarm | None = None
        # Of the prebuilt NOTIFY: everything before the branch, and from there to the CSeq.
        self.start = b""
        self.head = b""
        self.target: Target | None = None

    @property
    def lasting(self) -> bool:
        """False for a fetch, which gets one NOTIFY and is gone (SUB-09)."""
        return bool(self.id)

    @property
    def sequence(self) -> int:
        """How many NOTIFYs were sent in the dialog; after a restart, how many may have been."""
        return self.dialog.local_cseq

    def fire(self) -> None:
        """The subscription has expired (NOT-08)."""
        self.notifier.expired(self)

    def response_received(self, transaction: IClientTransaction, response: Response) -> None:
        """A response to the NOTIFY in flight."""
        if response.status >= 200:
            self.notifier.sender.answered(self, response.status, response)

    def transaction_failed(self, transaction: IClientTransaction, status: int) -> None:
        """The NOTIFY in flight has failed."""
        self.notifier.sender.answered(self, status, None)

    def reset_head(self) -> None:
        """The dialog has changed: build the head anew at the next NOTIFY."""
        self.start = self.head = b""
        self.target = None

    def record(self, wall: float, now: float) -> SubscriptionRecord:
        """The record to store.

        :param wall: wall-clock seconds now.
        :param now: monotonic seconds now.
        """
        dialog = self.dialog
        watcher = self.watcher
        return SubscriptionRecord(
            self.id,
            self.package,
            self.resource,
            self.cseq_limit,
            wall + self.deadline - now,
            encode_dialog(
                DialogRecord(
                    dialog.call_id,
                    dialog.local_tag,
                    dialog.remote_tag,
                    dialog.local_uri,
                    dialog.remote_uri,
                    dialog.remote_target,
                    dialog.route_set,
                    dialog.contact,
                    dialog.remote_cseq,
                    dialog.secure,
                    self.event,
                    self.entity,
                    self.state,
                    self.content_type,
                    self.created,
                    watcher.uris,
                    watcher.display_name,
                    watcher.anonymous,
                    watcher.source,
                    self.fields,
                    self.instance,
                    self.charging,
                    event_params=self.event_params,
                    detail=self.detail,
                )
            ),
        )

    @classmethod
    def from_record(
        cls, notifier: Notifier, record: SubscriptionRecord, wall: float, now: float
    ) -> Subscription:
        """The subscription that ``record`` describes; its next NOTIFY takes a fresh CSeq.

        :raises msgspec.DecodeError: the record is damaged.
        """
        kept = decode_dialog(record.dialog)
        dialog = Dialog(
            kept.call_id,
            kept.local_tag,
            kept.remote_tag,
            kept.local_uri,
            kept.remote_uri,
            kept.remote_target,
            kept.route_set,
            kept.contact,
            local_cseq=record.cseq - 1,
            remote_cseq=kept.remote_cseq,
            secure=kept.secure,
        )
        watcher = Identity(kept.watcher, kept.display_name, kept.anonymous, kept.source)
        subscription = cls(
            notifier,
            record.id,
            record.package,
            record.resource,
            kept.entity,
            kept.event,
            dialog,
            watcher,
            kept.state,
            kept.content_type,
            now + record.expires - wall,
            kept.created,
        )
        subscription.fields = kept.fields
        subscription.instance = kept.instance
        subscription.charging = kept.charging
        subscription.event_params = kept.event_params
        subscription.detail = kept.detail
        subscription.cseq_limit = record.cseq
        subscription.ready = True
        return subscription
