"""What is durable of event state: the rows a store keeps.

Records are encoded with msgspec, which ignores unknown fields and fills missing ones
from defaults, so that each release reads the records of the one before and after it.
Deadlines are wall-clock seconds since the epoch (OBS-04): they survive a restart.
"""

from __future__ import annotations

import msgspec


class PublicationRecord(msgspec.Struct, frozen=True, gc=False):
    """One publication: event state under one entity-tag (RFC 3903 section 4).

    :ivar id: number given by the compositor, never used twice; the primary key.
    :ivar package: event package.
    :ivar resource: canonical URI of the presentity.
    :ivar etag: current entity-tag.
    :ivar expires: deadline.
    :ivar created: when the publication was first made.
    :ivar changed: when its body last changed (initial or modify, COM-01).
    :ivar publisher: canonical URI of who published.
    :ivar content_type: media type of ``body``.
    :ivar body: the document.
    :ivar objects: what the package keeps beside the document, b"" for nothing (opaque here).
    """

    id: int
    package: str
    resource: str
    etag: str
    expires: float
    created: float
    changed: float
    publisher: str
    content_type: str
    body: bytes
    objects: bytes = b""

    @property
    def size(self) -> int:
        """Octets of what is published."""
        return len(self.body) + len(self.objects)


class SubscriptionRecord(msgspec.Struct, frozen=True, gc=False):
    """One subscription with its dialog (DLG-13).

    :ivar id: number given by the notifier, never used twice; the primary key.
    :ivar resource: canonical URI of the resource.
    :ivar cseq: CSeq numbers below this one may have been used; after a restart the next
        NOTIFY takes it (they are reserved in blocks).
    :ivar expires: deadline.
    :ivar dialog: the rest, encoded by the notifier (opaque to stores).
    """

    id: int
    package: str
    resource: str
    cseq: int
    expires: float
    dialog: bytes


class BindingRecord(msgspec.Struct, frozen=True, gc=False):
    """One binding of a registrar (RFC 3261 section 10).

    :ivar aor: canonical address of record.
    :ivar contact: contact URI as registered.
    :ivar call_id: Call-ID of the last REGISTER that touched it.
    :ivar cseq: its CSeq number.
    :ivar expires: deadline.
    :ivar q: preference in thousandths.
    :ivar instance: ``+sip.instance`` value, or "".
    """

    aor: str
    contact: str
    call_id: str
    cseq: int
    expires: float
    q: int = 1000
    instance: str = ""
