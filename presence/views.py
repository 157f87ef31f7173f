"""What the watchers of each presentity see: composed, transformed and shared (RUL-26, COM-42)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from presence.pidf.offline import closed_document, empty_document
from presence.rules.polite import polite_document
from presence.rules.transform import transform
from presence.view import View
from pysip.timers import Alarm

if TYPE_CHECKING:
    from collections.abc import Callable

    from presence.interfaces import ICompositionPolicy
    from presence.rules.permissions import Permissions
    from pysip.event.records import PublicationRecord
    from pysip.timers import TimerWheel

_FARTHEST: Final = 86400.0
"""The longest time that is waited for at once; what comes later is looked at again then."""


class _Views:
    """The bodies of one presentity.

    :ivar composed: documents that nothing was taken from, by entity.
    :ivar bodies: what watchers see, by entity and permissions, None for politely blocked ones.
    :ivar alarm: tells that something said in them is over.
    """

    __slots__ = ("alarm", "bodies", "composed")

    def __init__(self) -> None:
        self.composed: dict[str, bytes] = {}
        self.bodies: dict[tuple[str, Permissions | None], View] = {}
        self.alarm: Alarm | None = None


class Views:
    """The bodies of all presentities that are watched.

    Watchers with the same permissions share one body; it is made when the first NOTIFY needs it,
    and again after its sources have changed, or when the time makes another one of them.

    :param sources: what is composed: publications, and the permanent document.
    :param composition: how they become one document.
    :param wheel: timers.
    :param wall: wall-clock seconds.
    :param watched: whether a presentity has subscriptions.
    :param passed: told of presentities of which something is over.
    """

    def __init__(
        self,
        sources: Callable[[str], list[PublicationRecord]],
        composition: ICompositionPolicy,
        wheel: TimerWheel,
        wall: Callable[[], float],
        watched: Callable[[str], bool],
        passed: Callable[[str], None],
    ) -> None:
        self._sources = sources
        self._composition = composition
        self._wheel = wheel
        self._wall = wall
        self._watched = watched
        self._passed = passed
        self._closed = False
        # by presentity; dropped when its sources change or nobody watches
        self._views: dict[str, _Views] = {}

    def __len__(self) -> int:
        return len(self._views)

    @property
    def composition(self) -> ICompositionPolicy:
        """How sources become one document; with another one all are composed anew."""
        return self._composition

    @composition.setter
    def composition(self, composition: ICompositionPolicy) -> None:
        self._composition = composition
        self.stop()

    @property
    def closed_when_offline(self) -> bool:
        """Whether a closed tuple is told when there is no source (PRE-11)."""
        return self._closed

    @closed_when_offline.setter
    def closed_when_offline(self, closed: bool) -> None:
        self._closed = closed
        self.stop()

    def stop(self) -> None:
        """Forget all bodies."""
        for presentity in list(self._views):
            self.drop(presentity)

    def drop(self, presentity: str) -> None:
        """Forget the bodies of a presentity: they are others, or nobody needs them."""
        views = self._views.pop(presentity, None)
        if views is not None and views.alarm is not None:
            self._wheel.cancel(views.alarm)

    def view(self, presentity: str, entity: str, permissions: Permissions | None) -> View:
        """What a watcher sees.

        :param entity: the presentity as the watcher calls it.
        :param permissions: of the watcher, None for a politely blocked one.
        """
        views = self._views.get(presentity)
        if views is None:
            views = _Views()
            if self._watched(presentity):
                self._views[presentity] = views
        view = views.bodies.get((entity, permissions))
        if view is None:
            if permissions is None:
                body = polite_document(entity, closed=self._closed)
            else:
                body = transform(self._composed(views, presentity, entity), permissions)
            view = views.bodies[entity, permissions] = View(entity, body)
        return view

    def _composed(self, views: _Views, presentity: str, entity: str) -> bytes:
        composed = views.composed.get(entity)
        if composed is None:
            sources = self._sources(presentity)
            if sources:
                now = self._wall()
                composed = self._composition.compose(entity, sources, now)
                at = self._composition.next_change(sources, now)
                if at is not None and views.alarm is None:
                    self._compose_again(presentity, views, at)
            else:
                # PRE-11: what is told of somebody of whom nothing is known
                composed = closed_document(entity) if self._closed else empty_document(entity)
            views.composed[entity] = composed
        return composed

    # -- the time -----------------------------------------------------------------------

    def _compose_again(self, presentity: str, views: _Views, at: float) -> None:
        """What is composed is something else from a time on (COM-42)."""
        if self._views.get(presentity) is views:
            views.alarm = Alarm(lambda: self._over(presentity, views, at))
            self._wait(views.alarm, at)

    def _wait(self, alarm: Alarm, at: float) -> None:
        self._wheel.after(min(max(0.0, at - self._wall()), _FARTHEST), alarm)

    def _over(self, presentity: str, views: _Views, at: float) -> None:
        if self._wall() < at and views.alarm is not None:
            self._wait(views.alarm, at)
        else:
            self.drop(presentity)
            self._passed(presentity)
