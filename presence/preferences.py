"""What watchers want of what they may see: filters, and partial documents (PSV-12, ORD-02)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs
from twisted.logger import Logger

from presence.filtering import brings_filters
from presence.filters.errors import FilterError
from presence.filters.filterset import FilterSet
from presence.objects.related import without
from presence.view import PIDF_DIFF, View
from pysip.event.notification import Notification

if TYPE_CHECKING:
    from collections.abc import Callable

    from presence.filtering import Filtering
    from presence.filters.model import Filter
    from pysip.event.interfaces import ISubscription
    from pysip.message import Request

_NOTHING: Final = Notification()
_NO_FILTERS: Final = FilterSet()


@attrs.frozen(eq=False, slots=True)
class Told:
    """What a NOTIFY tells.

    :ivar raw: all that the watcher may see (FLT-15).
    :ivar view: what of it is told.
    :ivar version: of the document in ``application/pidf-diff+xml``; 0 in another type.
    :ivar asked: how many SUBSCRIBEs there were.
    """

    raw: View
    view: View
    version: int
    asked: int


@attrs.define(eq=False, slots=True)
class Preferences:
    """Those of one subscription.

    :ivar filters: all of them.
    :ivar filter: the one in force, if any.
    :ivar version: of the last document in ``application/pidf-diff+xml`` that has arrived (PNO-04).
    :ivar asked: how many SUBSCRIBEs there were.
    :ivar told: what the watcher has; None when that is in doubt.
    :ivar sent: what a NOTIFY tells that was not acknowledged yet.
    :ivar had: the watcher was told some document.
    :ivar damaged: nobody knows what they were.
    """

    filters: FilterSet = _NO_FILTERS
    filter: Filter | None = None
    version: int = 0
    asked: int = 0
    told: Told | None = None
    sent: Told | None = None
    had: bool = False
    damaged: bool = False


def kept_filters(subscription: ISubscription) -> FilterSet:
    """The filters that are durable with a subscription to presence.

    :raises ValueError: the store has damaged them.
    """
    return FilterSet.decode(without(subscription.detail))


class Preferred:
    """Applies the preferences of watchers to what they may see.

    Each NOTIFY tells of the state at its time; what a trigger waits for, and what a partial
    document changes, is compared with what has arrived last.

    :param filtering: reads filters.
    :param terminate: ends a subscription with a reason.
    """

    _log = Logger()

    def __init__(
        self, filtering: Filtering, terminate: Callable[[ISubscription, str], None]
    ) -> None:
        self._filtering = filtering
        self._terminate = terminate

    def subscribe(self, request: Request, subscription: ISubscription) -> None:
        """Take the filters of a SUBSCRIBE (FLT-21).

        :raises SipError: 488 with a Warning, or what is wrong with the coding of the body.
        """
        kept = subscription.data
        brings = brings_filters(request)
        if not isinstance(kept, Preferences):
            if not brings and subscription.content_type != PIDF_DIFF:
                return
            kept = Preferences()
        told, filters = kept.told, kept.filters
        if brings:
            filters = self._filtering.changed(filters, request, subscription.resource)
            told = None if filters != kept.filters else told
        subscription.detail = filters.encode()
        subscription.data = attrs.evolve(
            kept,
            filters=filters,
            filter=self._filtering.chosen(filters, subscription.resource),
            asked=kept.asked + 1,
            told=told,
        )

    def subscribed(self, subscription: ISubscription) -> None:
        """Take the filters of a subscription that was recovered.

        Its versions go on above all that may have been used (PNO-04).
        """
        if subscription.data is not None:
            return
        version = subscription.sequence if subscription.content_type == PIDF_DIFF else 0
        if not without(subscription.detail) and not version:
            return
        try:
            filters = kept_filters(subscription)
        except ValueError:
            self._log.error(
                "the filters of subscription {id} in the store are damaged",
                id=subscription.id,
            )
            # There is nobody to send a NOTIFY yet; the first one ends it, and it is made anew.
            subscription.data = Preferences(damaged=True)
            return
        chosen = self._filtering.chosen(filters, subscription.resource)
        # Who waits for a decision may have been told a document before.
        had = subscription.state == "pending"
        subscription.data = Preferences(filters, chosen, version, had=had)

    def notification(self, subscription: ISubscription, view: View) -> Notification | None:
        """What of a view is told.

        None when its filter costs too much, or is lost: then it has ended (FLT-26, FLT-27).
        """
        partial = subscription.content_type == PIDF_DIFF
        preferences = subscription.data
        if not isinstance(preferences, Preferences):
            if not partial:
                return view
            preferences = subscription.data = Preferences()
        if preferences.damaged:
            return self._end(subscription, "deactivated")
        told = preferences.told
        try:
            if (
                preferences.filter is not None
                and told is not None
                and not subscription.forced
                and preferences.filter.triggers
                and not view.fires(preferences.filter.triggers, told.raw)
            ):
                return Notification(digest=subscription.delivered or 0)
            selected = self._selected(preferences, subscription, view)
        except FilterError:
            return self._end(subscription, "badfilter")
        if selected is None:
            self.nothing(subscription)
            return _NOTHING
        version = self._next(preferences, subscription) if partial else 0
        preferences.sent = Told(view, selected, version, preferences.asked)
        if not partial:
            return selected
        base = None
        if (
            told is not None
            and told.version
            and told.asked == preferences.asked
            and told.view.digest == subscription.delivered
        ):
            base = told.view
        return selected.changes(base, version)

    def _selected(
        self, preferences: Preferences, subscription: ISubscription, view: View
    ) -> View | None:
        """What a filter leaves of a view, None for nothing (FLT-12).

        Who has something learns that there is nothing any more: a document without content.  That
        is who was told a document, also when something without one was told since, or failed.
        """
        chosen = preferences.filter
        if chosen is None or not chosen.what:
            return view
        selected = view.selected(chosen.what)
        if selected is None and (preferences.had or subscription.delivered not in (None, 0)):
            return view.emptied
        return selected

    def _next(self, preferences: Preferences, subscription: ISubscription) -> int:
        """The version of the next document (PNO-04)."""
        self._use_up(preferences, subscription)
        return preferences.version + 1

    def _use_up(self, preferences: Preferences, subscription: ISubscription) -> None:
        """The number of a document that may have arrived is not given again (PNO-04)."""
        if preferences.sent is not None and subscription.uncertain:
            preferences.version = max(preferences.version, preferences.sent.version)

    def nothing(self, subscription: ISubscription) -> None:
        """The next NOTIFY has no document: its answer acknowledges none that was made before."""
        preferences = subscription.data
        if isinstance(preferences, Preferences):
            self._use_up(preferences, subscription)
            preferences.sent = None

    def _end(self, subscription: ISubscription, reason: str) -> Notification | None:
        """End a subscription; one that is ending anyway is told nothing more."""
        if not subscription.lasting or subscription.reason:
            return _NOTHING
        self._log.info(
            "subscription {id} ends for its filter: {reason}", id=subscription.id, reason=reason
        )
        self._terminate(subscription, reason)
        return None

    def entity_tag(self, subscription: ISubscription, view: View) -> str:
        """That of what of a view is told to who asks (SNE-10)."""
        preferences = subscription.data
        if isinstance(preferences, Preferences):
            try:
                selected = self._selected(preferences, subscription, view)
            except FilterError:
                return _NOTHING.tag
            if selected is None:
                return _NOTHING.tag
            view = selected
        return view.partial_tag if subscription.content_type == PIDF_DIFF else view.tag

    def unsubscribed(self, subscription: ISubscription) -> None:
        """A subscription has ended: its last NOTIFY tells all once more (PNO-05)."""
        if isinstance(subscription.data, Preferences):
            subscription.data.asked += 1

    def acknowledged(self, subscription: ISubscription) -> None:
        """What was told has arrived (PNO-09)."""
        preferences = subscription.data
        if isinstance(preferences, Preferences) and preferences.sent is not None:
            told = preferences.told = preferences.sent
            preferences.sent = None
            preferences.had = True
            preferences.version = max(preferences.version, told.version)
