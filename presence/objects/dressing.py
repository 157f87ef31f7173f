"""Bodies with objects, for watchers who take them (CIN-04, CIN-07, ORD-02)."""

from __future__ import annotations

from hashlib import sha1
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from presence.objects.contents import PATIENCE, Contents, Stored
from presence.objects.published import ObjectLimits, PublishedObject, decode
from presence.objects.references import mentioned
from presence.objects.related import (
    Takes,
    Telling,
    available,
    choose,
    enclosed,
    referred,
    related,
)
from pysip.event.notification import Notification, entity_tag

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from twisted.internet.interfaces import IReactorTime

    from presence.content.interfaces import IContentObjects
    from presence.objects.contents import Key
    from pysip.event.interfaces import ISubscription
    from pysip.event.records import PublicationRecord
    from pysip.mime import Part

__all__ = ["Objects"]

_Body = tuple[int, bytes, Takes]
_WHOLE: Final = "application/pidf+xml"
_LABELS: Final = {Takes.OBJECTS: ".o", Takes.REFERENCES: ".r"}


class Objects:
    """Puts the objects that a document refers to beside it, for each kind of watcher once.

    No object is told without its reference: what a watcher may not see of a document takes its
    objects away, too.

    :param clock: monotonic seconds and delayed calls.
    :param wall: wall-clock seconds.
    :param ready: told of subscriptions whose NOTIFY was put off and can be made now.
    :param watched: whether a presentity has subscriptions.

    :ivar contents: what is at the Content Servers.
    """

    def __init__(
        self,
        clock: IReactorTime,
        wall: Callable[[], float],
        ready: Callable[[ISubscription], None],
        watched: Callable[[str], bool],
    ) -> None:
        self.contents = Contents(clock, wall, self._come)
        self._clock = clock
        self._wall = wall
        self._ready = ready
        self._watched = watched
        self._limits = ObjectLimits()
        self._waiting: dict[Key, dict[int, ISubscription]] = {}
        # since when the NOTIFY of each is put off
        self._since: dict[int, float] = {}
        # by presentity; dropped with its views
        self._bodies: dict[str, dict[_Body, Notification]] = {}

    @property
    def limits(self) -> ObjectLimits:
        """What publications may have, and what stands in a NOTIFY."""
        return self._limits

    @limits.setter
    def limits(self, limits: ObjectLimits) -> None:
        self._limits = limits
        self._bodies.clear()

    def use(self, servers: IContentObjects | None) -> None:
        """Fetch from, and store at, these Content Servers; None for none."""
        self.contents.servers = servers
        self._bodies.clear()

    def stop(self) -> None:
        """Wait for nothing more."""
        self._waiting.clear()
        self.contents.stop()
        self._bodies.clear()

    def drop(self, presentity: str) -> None:
        """Forget the bodies of a presentity: they are others, or nobody needs them."""
        self._bodies.pop(presentity, None)

    def lives(self, record: PublicationRecord) -> None:
        """A publication is made or refreshed: its objects live as long (CSV-05, AGP-109)."""
        self.drop(record.resource)  # what was stored is there for longer
        if self.contents.servers is not None:
            for told in decode(record.objects):
                self.contents.keep(record.resource, told, record.expires)

    def concern(self, plain: Notification) -> bool:
        """Whether there may be objects for a document."""
        return b"cid:" in plain.body

    def dressed(
        self,
        subscription: ISubscription,
        plain: Notification,
        sources: Callable[[str], Sequence[PublicationRecord]],
        wanted: Takes,
    ) -> Notification | None:
        """What a watcher is told whose document is ``plain``: the same when nothing is added.

        None while an object has to be fetched or stored; ``ready`` is called then within
        :data:`presence.objects.contents.PATIENCE` seconds.

        :param sources: publications of a presentity, those that the document is made of.
        """
        if not wanted or not self.concern(plain):
            return plain
        presentity = subscription.resource
        bodies = self._bodies.get(presentity)
        key = plain.digest, plain.body, wanted
        found = bodies.get(key) if bodies is not None else None
        if found is not None:
            return found
        records = [record for record in sources(presentity) if record.objects]
        if not records:
            return plain
        named = available(map(decode, (record.objects for record in records)))
        used = sorted(mentioned(plain.body).intersection(named))
        host = presentity.rpartition("@")[2]
        until = max(record.expires for record in records)
        parts: list[Part] = []
        waits: list[Key] = []
        whole = True
        for told in (named[name] for name in used):
            how = self._how(told, wanted)
            if how is Telling.NOT:
                continue
            part = self._part(presentity, told, how, until)
            if part is None:
                whole = False
            elif isinstance(part, tuple):
                waits.append(part)
            else:
                parts.append(part)
        if waits and self._may_wait(subscription):
            for each in waits:
                self._waiting.setdefault(each, {})[id(subscription)] = subscription
            return None
        self._since.pop(id(subscription), None)
        made = plain
        if parts:
            made = _with_parts(plain, *related(plain.content_type, plain.body, parts, host), wanted)
        # what failed is tried again at a later NOTIFY
        if whole and not waits and self._watched(presentity):
            self._bodies.setdefault(presentity, {})[key] = made
        return made

    def _may_wait(self, subscription: ISubscription) -> bool:
        """Whether a NOTIFY can be put off: not that of the end, and not for longer than that."""
        if subscription.lasting and subscription.reason:
            return False
        now = self._clock.seconds()
        return now - self._since.setdefault(id(subscription), now) < PATIENCE

    def forget(self, subscription: ISubscription) -> None:
        """A subscription has ended."""
        self._since.pop(id(subscription), None)

    def _how(self, told: PublishedObject, wanted: Takes) -> Telling:
        if told.over(self._wall()):
            return Telling.NOT
        contents = self.contents
        served = contents.owns(told.url) if told.url else contents.servers is not None
        return choose(told, wanted, self._limits.inline, served=served)

    def _part(
        self, presentity: str, told: PublishedObject, how: Telling, until: float
    ) -> Part | Key | None:
        """The part of an object; the key to wait for; None when it cannot be had now."""
        if how is Telling.REFERRED:
            return referred(told, told.url, told.expires)
        if how is Telling.STORED:
            place = self.contents.place(presentity, told, until)
            if not isinstance(place, Stored):
                return place
            known = sha1(told.body, usedforsecurity=False).hexdigest()  # AGP-114
            return referred(replace(told, sha1=known), place.url, place.until)
        if how is Telling.ENCLOSED:
            return enclosed(told, told.content_type, told.body)
        fetched = self.contents.body(told, self._limits.inline)
        if fetched is None or isinstance(fetched, tuple):
            return fetched
        return enclosed(told, told.content_type or fetched.content_type, fetched.body)

    def _come(self, key: Key) -> None:
        for subscription in self._waiting.pop(key, {}).values():
            self._ready(subscription)


def _with_parts(plain: Notification, content_type: str, body: bytes, wanted: Takes) -> Notification:
    """A notification of its own; of a partial document the digest tells what it leads to."""
    if plain.content_type == _WHOLE:
        return Notification(content_type, body)
    label = plain.tag.removeprefix(entity_tag(plain.digest))
    return Notification(content_type, body, plain.digest, label + _LABELS[wanted])
