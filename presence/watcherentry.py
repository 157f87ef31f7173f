"""One watcher of one presentity, and all of a presentity: what a watcher book is made of."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from typing import TYPE_CHECKING, Final

import attrs

from presence.records import WatcherRecord
from presence.watcherinfo import ACTIVE, EVENTS, INIT, PENDING, STATUSES, WAITING
from pysip.timers import Timed

if TYPE_CHECKING:
    from pysip.event.interfaces import ISubscription
    from pysip.interfaces import Identity

OPEN: Final = (PENDING, WAITING)
"""Statuses in which a decision is waited for."""
WORD: Final = (1 << 64) - 1

_WEIGHTS: Final = {
    state: (2 * n + 1) * 0x9E3779B97F4A7C15 & WORD
    for n, state in enumerate((s, e) for s in sorted(STATUSES) for e in sorted(EVENTS))
}


@attrs.frozen(slots=True, kw_only=True)
class WatcherLimits:
    """How long, and of how many, decisions are waited for (WFS-04, WFS-05).

    :ivar pending: seconds that a subscription stays pending.
    :ivar waiting: seconds that its watcher is remembered after that.
    :ivar per_watcher: pending and waiting entries of one watcher.
    :ivar per_presentity: pending and waiting entries of one presentity.
    """

    pending: float = 7 * 86400.0
    waiting: float = 7 * 86400.0
    per_watcher: int = 100
    per_presentity: int = 1000


class Entry(Timed):
    """One watcher of one presentity; as a :class:`Timed` it waits to be given up (WFS-04).

    :ivar key: number of 63 bits that stays with it; tells nothing about the dialog (WID-06).
    :ivar watcher: who it is.
    :ivar status: where its state machine is.
    :ivar event: what led there.
    :ivar created: wall-clock time of the SUBSCRIBE.
    :ivar deadline: wall-clock time when the server gives up; 0 when nothing is waited for.
    :ivar subscription: while there is one.
    :ivar terms: digest of what it asked for.
    :ivar asked: a decision was, or is, to be made: its end is told of whenever it comes.
    """

    __slots__ = (
        "_expired",
        "asked",
        "created",
        "deadline",
        "event",
        "key",
        "resource",
        "status",
        "subscription",
        "terms",
        "watcher",
    )

    def __init__(
        self,
        expired: Callable[[Entry], None],
        key: int,
        resource: str,
        watcher: Identity,
        created: float,
        subscription: ISubscription | None,
        terms: str,
    ) -> None:
        self._slot = -1
        self._expired = expired
        self.key = key
        self.resource = resource
        self.watcher = watcher
        self.status = INIT
        self.event = ""
        self.created = created
        self.deadline = 0.0
        self.subscription = subscription
        self.terms = terms
        self.asked = False

    def fire(self) -> None:
        """Nobody has decided in time."""
        self._expired(self)

    @property
    def durable(self) -> bool:
        """Whether there is more to keep of it than its subscription tells."""
        return self.status in OPEN or (self.status == ACTIVE and self.event == "approved")

    @property
    def weight(self) -> int:
        """What it adds to the digest of its presentity."""
        return self.key * _WEIGHTS.get((self.status, self.event), 0) & WORD

    def record(self, package: str) -> WatcherRecord:
        """What to keep of it."""
        watcher = self.watcher
        return WatcherRecord(
            self.key,
            package,
            self.resource,
            self.status,
            self.event,
            self.created,
            self.deadline,
            self.subscription.id if self.subscription is not None else 0,
            " ".join(watcher.uris),
            watcher.display_name,
            watcher.anonymous,
            self.terms,
        )

    def same_request(self, other: Entry) -> bool:
        """Whether two SUBSCRIBEs came from one watcher and ask for the same."""
        return (
            bool(self.watcher.uris)
            and self.resource == other.resource
            and self.terms == other.terms
            and self.watcher.uri == other.watcher.uri
            and self.watcher.anonymous == other.watcher.anonymous
        )


class Table:
    """The watchers of a presentity.

    :ivar subscribed: entries with a subscription, by its number.
    :ivar open: pending and waiting entries by key, the oldest in its status first.
    :ivar serial: number of the last change.
    :ivar digest: sum of the weights.
    """

    __slots__ = ("digest", "open", "serial", "subscribed")

    def __init__(self) -> None:
        self.subscribed: dict[int, Entry] = {}
        self.open: dict[int, Entry] = {}
        self.serial = 0
        self.digest = 0


def make_key(text: str) -> int:
    """The number for an entry made of what does not change: 63 bits."""
    digest = blake2b(text.encode("utf-8", "surrogateescape"), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1
