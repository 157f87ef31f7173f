"""A subscription made by SIP: its dialog and the prebuilt head of its NOTIFYs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
from zope.interface import implementer

from pysip.dialog import Dialog
from pysip.event.dialogrecord import DialogRecord, encode_dialog
from pysip.event.notification import coded_tag
from pysip.event.rates import Rates
from pysip.event.subscription import Subscription
from pysip.interfaces import IClientTransactionUser, Identity, Target

if TYPE_CHECKING:
    from pysip.event.notifier import Notifier
    from pysip.event.records import SubscriptionRecord
    from pysip.interfaces import IClientTransaction
    from pysip.message import Response

_NO_RATES = Rates()


@implementer(IClientTransactionUser)
class DialogSubscription(Subscription):
    """One subscription in its dialog.

    :ivar fields: header fields that each NOTIFY repeats (identity, charging).
    :ivar charging: P-Charging-Function-Addresses as received (IMS-15).
    :ivar coding: content coding of its bodies, "" for none.
    :ivar suppress: entity-tag for which bodies, or whole NOTIFYs, are left out; ``*`` for any,
        "" for none (RFC 5839).
    :ivar rates: the rates that were asked for.
    :ivar in_flight: a NOTIFY awaits its final response (NOT-05).
    :ivar told: that NOTIFY has its body.
    :ivar booked: it waits for its turn at its destination (OVL-06).
    :ivar gate: monotonic time before which no change is told (NOT-13).
    :ivar sent: digest of the view that the watcher has with the NOTIFY in flight; None when that
        tells nothing of what it has.
    """

    __slots__ = (
        "booked",
        "charging",
        "coding",
        "dialog",
        "fields",
        "gate",
        "head",
        "in_flight",
        "rates",
        "redirected",
        "sent",
        "start",
        "suppress",
        "target",
        "told",
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
        super().__init__(
            notifier,
            id,
            dialog.id,
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
        self.dialog = dialog
        self.fields: tuple[tuple[str, str], ...] = ()
        self.charging = ""
        self.coding = ""
        self.suppress = ""
        self.rates = _NO_RATES
        self.in_flight = False
        self.told = True
        self.gate = 0.0
        self.sent: int | None = None
        self.redirected = False
        self.booked = False
        # Of the prebuilt NOTIFY: everything before the branch, and from there to the CSeq.
        self.start = b""
        self.head = b""
        self.target: Target | None = None

    @property
    def sequence(self) -> int:
        """How many NOTIFYs were sent in the dialog; after a restart, how many may have been."""
        return self.dialog.local_cseq

    def wish(self, coding: str, suppress: str, rates: Rates) -> None:
        """What a SUBSCRIBE says of how its sender wants to be told."""
        self.coding = coding
        self.suppress = suppress
        self.rates = rates

    def suppresses(self, tag: str | None) -> bool:
        """Whether the condition of its last SUBSCRIBE is true (SNE-03).

        :param tag: of the state as the package gives it; None when that is not known.
        """
        wanted = self.suppress
        return bool(wanted) and (
            wanted == "*" or (tag is not None and wanted == coded_tag(tag, self.coding))
        )

    def owe(self, due: int) -> None:
        """Send a NOTIFY now, or as soon as the one in flight is answered."""
        self.notifier.sender.owe(self, due)

    def changed(self) -> bool:
        """Send a NOTIFY of a change, now or when its gate opens; true when it has left."""
        return self.notifier.sender.changed(self)

    def resume(self) -> None:
        """Send the NOTIFY that it is owed."""
        self.notifier.sender.resume(self)

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

    def terms(self) -> tuple[Any, ...]:
        """What a further SUBSCRIBE may change."""
        dialog = self.dialog
        return (
            *super().terms(),
            self.coding,
            self.suppress,
            self.rates,
            dialog.remote_cseq,
            dialog.remote_target,
        )

    def restore(self, terms: tuple[Any, ...]) -> None:
        """Take back what has changed since :meth:`terms`."""
        super().restore(terms)
        self.coding, self.suppress, self.rates = terms[-5:-2]
        self.dialog.remote_cseq, self.dialog.remote_target = terms[-2:]

    def details(self) -> bytes:
        """What the record holds besides its columns."""
        dialog = self.dialog
        watcher = self.watcher
        return encode_dialog(
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
                coding=self.coding,
                suppress=self.suppress,
                rates=attrs.astuple(self.rates) if self.rates else (),
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
    ) -> DialogSubscription:
        """The subscription that ``record`` describes; its next NOTIFY takes a fresh CSeq.

        :param kept: what its record holds besides its columns.
        """
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
        subscription.coding = kept.coding
        subscription.suppress = kept.suppress
        subscription.rates = Rates(*kept.rates)
        subscription.cseq_limit = record.cseq
        subscription.ready = True
        return subscription
