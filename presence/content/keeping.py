"""The rules of the Content Server, whoever asks and however: types, room, lives, names."""

from __future__ import annotations

import base64
import os
import time
from collections import Counter
from typing import TYPE_CHECKING

import attrs

from presence.content.media import TYPES, checked_type
from presence.content.records import Add, Extend, Quota, QuotaExceeded, Replace
from xcap.errors import XcapError

if TYPE_CHECKING:
    from collections.abc import Callable

    from presence.content.interfaces import IContentStore
    from presence.content.records import Content, ContentObject
    from xcap.interfaces import ISubscribers

_RANDOM = 24
"""Octets of randomness in the URI of an object: 192 bits (CSV-01 wants 128)."""


@attrs.frozen(slots=True, kw_only=True)
class KeepingSettings:
    """What is kept, and how long (AGP-109, AGP-110); lives in seconds, sizes in octets.

    :ivar uploads: of one user at a time.
    """

    size: int = 1 << 20
    quota: Quota = attrs.field(factory=lambda: Quota(200, 20 << 20))
    types: tuple[str, ...] = TYPES
    default_life: int = 86_400
    max_life: int = 30 * 86_400
    uploads: int = 16


class Keeping:
    """Puts objects into a store, by the rules.

    :param subscribers: whose objects there may be.
    :param wall: wall-clock seconds.
    :param random: gives that many random octets.

    :ivar busy: uploads under way, by owner.
    """

    def __init__(
        self,
        store: IContentStore,
        subscribers: ISubscribers,
        settings: KeepingSettings | None = None,
        *,
        wall: Callable[[], float] = time.time,
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self.store = store
        self.subscribers = subscribers
        self.settings = KeepingSettings() if settings is None else settings
        self.wall = wall
        self.busy: Counter[str] = Counter()
        self._random = random

    def owner(self, xui: str) -> str:
        """The canonical URI of a user, "" when there is no such user."""
        try:
            owner = self.subscribers.canonical(xui)
        except ValueError:
            return ""
        return owner if self.subscribers.known(owner) else ""

    def type(self, value: str | None) -> str:
        """A media type that may be stored.

        :raises XcapError: 415.
        """
        return checked_type(value, self.settings.types)

    def until(self, life: int | None) -> float:
        """When something ends that shall live so long from now on.

        :param life: seconds, None for the default.
        """
        settings = self.settings
        life = settings.default_life if life is None else min(life, settings.max_life)
        return float(int(self.wall()) + life)  # as HTTP dates can tell it

    def alive(self, found: ContentObject | None) -> ContentObject | None:
        """An object unless its time is over."""
        return found if found is not None and found.expires > self.wall() else None

    async def room(self, owner: str, size: int, old: ContentObject | None = None) -> None:
        """See that there is room; what counts in the end is seen when it is made durable.

        :param size: octets, as far as known.
        :param old: what is to be replaced.
        :raises XcapError: 413 or 507.
        :raises xcap.errors.StoreUnavailable: nobody knows.
        """
        settings = self.settings
        if size > settings.size:
            raise XcapError(413, "The object is too large")
        usage = await self.store.usage(owner)
        octets = usage.octets + size - (0 if old is None else old.size)
        if (old is None and usage.objects >= settings.quota.objects) or (
            octets > settings.quota.octets
        ):
            raise no_room()

    def occupy(self, owner: str) -> None:
        """An upload begins; :meth:`release` has to follow.

        :raises XcapError: 429 there are too many.
        """
        if self.busy[owner] >= self.settings.uploads:
            raise XcapError(429, "Too many uploads at a time", (("Retry-After", "2"),))
        self.busy[owner] += 1

    def release(self, owner: str) -> None:
        """An upload has ended."""
        self.busy[owner] -= 1
        if not self.busy[owner]:
            del self.busy[owner]

    async def add(self, owner: str, type: str, content: Content, expires: float) -> ContentObject:
        """Make an object.

        :raises XcapError: 507 there is no room, 404 the user was removed meanwhile.
        :raises xcap.errors.StoreUnavailable: the medium does not work.
        """
        if not self.subscribers.known(owner):
            # what is removed with a user must not come after (AGP-113)
            self.store.discard(content)
            raise XcapError(404, "No such place")
        id = base64.urlsafe_b64encode(self._random(_RANDOM)).decode()
        quota = self.settings.quota
        change = Add(id, owner, type, content, self.wall(), expires, quota)
        try:
            made: ContentObject = await self.store.change(change)
        except QuotaExceeded:
            raise no_room() from None
        return made

    async def replace(
        self, old: ContentObject, type: str, content: Content, expires: float, etag: str
    ) -> ContentObject:
        """Give an object other content.

        :param etag: that it must still have, "" for any.
        :raises XcapError: 507 there is no room.
        :raises presence.content.records.Vanished: it is gone, or another one.
        :raises xcap.errors.StoreUnavailable: the medium does not work.
        """
        quota = self.settings.quota
        change = Replace(old.id, type, content, self.wall(), expires, quota, etag)
        try:
            made: ContentObject = await self.store.change(change)
        except QuotaExceeded:
            raise no_room() from None
        return made

    async def extend(self, id: str, until: float, etag: str = "") -> ContentObject:
        """Give an object a longer life, as far as one may be.

        :param until: wall-clock seconds.
        :raises presence.content.records.Vanished: it is gone, or another one.
        :raises xcap.errors.StoreUnavailable: the medium does not work.
        """
        now = self.wall()
        until = min(until, int(now) + self.settings.max_life)
        made: ContentObject = await self.store.change(Extend(id, now, until, etag))
        return made


def no_room() -> XcapError:
    """The refusal of what is too much for a user."""
    return XcapError(507, "No room for another object")
