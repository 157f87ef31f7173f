"""What a subscriber to watcher information wants of it (RFC 4660 section 7.2, WIN-06)."""

from __future__ import annotations

import re
from hashlib import blake2b
from typing import TYPE_CHECKING, Final

from presence.filters.content import WATCHERINFO, select
from presence.filters.triggers import fired
from presence.watcherinfo import MEDIA_TYPE
from pysip.event.notification import Notification

if TYPE_CHECKING:
    from presence.filters.model import Filter
    from pysip.event.interfaces import ISubscription

_NOTHING: Final = Notification()
_PASSING: Final = re.compile(rb' (?:version|expiration|duration-subscribed)="[0-9]*"')
"""What says how late it is, not who watches."""


class Filtered:
    """The filter of one subscription.

    :ivar detail: the filters as they are kept.
    :ivar filter: the one in force, if any.
    :ivar reason: why the subscription has to end, or "".
    """

    __slots__ = ("_had", "_lists", "_sent", "_told", "detail", "filter", "reason")

    def __init__(self, detail: bytes) -> None:
        self.detail = detail
        self.filter: Filter | None = None
        self.reason = ""
        self._sent = self._told = b""
        self._had = False  # the subscriber was told some document
        self._lists = False  # and is told one by what was made last

    @property
    def matters(self) -> bool:
        """Whether it makes a difference."""
        return self.filter is not None or bool(self.reason)

    def apply(self, everything: bytes, nothing: bytes, subscription: ISubscription) -> Notification:
        """What is told; with the digest of what was delivered when that is nothing new.

        :param everything: the document about all watchers.
        :param nothing: the one about none.
        :raises FilterError: it costs too much.
        """
        chosen = self.filter
        if chosen is None:
            return _NOTHING
        waits = bool(self._told) and not subscription.forced
        if waits and chosen.triggers and not fired(chosen.triggers, self._told, everything):
            return Notification(digest=subscription.delivered or 0)
        self._sent = everything
        document = select(everything, chosen.what, WATCHERINFO)
        if document is None:
            if subscription.delivered in (None, 0) and not self._had:
                self._lists = False
                return _NOTHING  # FLT-12
            document = nothing
        self._lists = True
        steady = blake2b(_PASSING.sub(b"", document), digest_size=8).digest()
        return Notification(MEDIA_TYPE, document, int.from_bytes(steady, "big", signed=True))

    def acknowledged(self) -> None:
        """What was told has arrived; triggers compare with it (FLT-15)."""
        if self._sent:
            self._told, self._sent = self._sent, b""
            self._had = self._had or self._lists
