"""Interfaces of Presence Sources that publish objects."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pysip.event.interfaces import IPublisherDelegate

if TYPE_CHECKING:
    from presence.content.errors import ContentError
    from presence.publishing.objects import SourceObject


class ISourceDelegate(IPublisherDelegate):
    """Owner of a source that publishes objects (:class:`presence.source.PresenceSource`)."""

    def object_failed(object: SourceObject, error: ContentError, retry_after: float | None) -> None:
        """An object is not published, or not for longer; the rest of presence is.

        :param retry_after: seconds until it is tried again, None for never.
        """
