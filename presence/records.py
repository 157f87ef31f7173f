"""What is durable of presence besides event state: the rows a presence store keeps.

As in :mod:`pysip.event.records` times are wall-clock seconds since the epoch (OBS-04).
"""

from __future__ import annotations

import msgspec


class WatcherRecord(msgspec.Struct, frozen=True, gc=False):
    """A watcher about whom a decision is, or was, to be made (WFS-02, PSV-20).

    Watchers that were allowed from the start have none: their subscription tells everything.

    :ivar id: number made of what does not change, never negative; the primary key.
    :ivar package: event package that is watched.
    :ivar resource: canonical URI of the presentity.
    :ivar status: ``pending``, ``active`` or ``waiting`` (RFC 3857 section 4.7.1).
    :ivar event: what led to that.
    :ivar created: when the SUBSCRIBE came.
    :ivar deadline: when the server gives up to wait for a decision; 0 when it was made.
    :ivar subscription: number of the subscription, 0 without one.
    :ivar uris: canonical URIs of the watcher separated by blanks, the principal first.
    :ivar display_name: that came with the proven identity, or "".
    :ivar anonymous: the watcher asked for privacy.
    :ivar terms: digest of what the SUBSCRIBE asked for, "" when for nothing in particular.
    """

    id: int
    package: str
    resource: str
    status: str
    event: str
    created: float
    deadline: float
    subscription: int
    uris: str
    display_name: str = ""
    anonymous: bool = False
    terms: str = ""
