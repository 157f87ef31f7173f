"""What is queued for the medium: the rows of one transaction, coalesced by key."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

if TYPE_CHECKING:
    from presence.records import WatcherRecord
    from pysip.event.records import BindingRecord, PublicationRecord, SubscriptionRecord


class Batch:
    """Rows that become durable together; of several rows with one key the last one wins.

    :ivar publications: what to write by id; None removes.
    :ivar touched: (entity-tag, deadline) by id, of publications that are not in
        ``publications``.
    :ivar subscriptions: what to write by id; None removes.
    :ivar forgotten: ids whose digest goes, whether or not the id is written anew.
    :ivar bindings: what to write by (aor, contact); None removes.
    :ivar watchers: what to write by id; None removes.
    :ivar notes: delivered digests by subscription id, written after everything else.
    """

    __slots__ = (
        "bindings",
        "forgotten",
        "notes",
        "publications",
        "subscriptions",
        "touched",
        "watchers",
    )

    def __init__(self) -> None:
        self.publications: dict[int, PublicationRecord | None] = {}
        self.touched: dict[int, tuple[str, float]] = {}
        self.subscriptions: dict[int, SubscriptionRecord | None] = {}
        self.forgotten: dict[int, None] = {}
        self.bindings: dict[tuple[str, str], BindingRecord | None] = {}
        self.watchers: dict[int, WatcherRecord | None] = {}
        self.notes: dict[int, int] = {}

    def __bool__(self) -> bool:
        """True when somebody may wait for these rows; notes alone do not count."""
        return bool(
            self.publications
            or self.touched
            or self.subscriptions
            or self.bindings
            or self.watchers
        )

    def __len__(self) -> int:
        """Rows, notes and all."""
        return (
            len(self.publications)
            + len(self.touched)
            + len(self.subscriptions)
            + len(self.bindings)
            + len(self.watchers)
            + len(self.notes)
        )

    def touch(self, id: int, etag: str, expires: float) -> None:
        """Fold a refresh into a record that waits to be written, else note it by itself."""
        publications = self.publications
        if id in publications:
            record = publications[id]
            if record is not None:
                publications[id] = replace(record, etag=etag, expires=expires)
        else:
            self.touched[id] = (etag, expires)
