"""What is known of one presentity, from bodies that tell the whole or changes (WAT-04, PNO-11)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from presence.partial.state import Outcome, PartialState
from presence.pidf.parse import DocumentError, parse_compact, to_utf8
from presence.watching.media import DIFF_TYPE, PIDF_TYPE, RELATED_TYPE
from presence.watching.objects import WatchedObject, kept, read_objects
from pysip.errors import ParseError
from pysip.header import parse_media_type
from pysip.mime import parse_related

if TYPE_CHECKING:
    from pysip.header import MediaType
    from pysip.mime import Part


class PresenceCache:
    """The document of a presentity and its objects.

    :param document: from an earlier subscription, or None.

    :ivar document: the newest whole document; None before the first.
    :ivar content_type: its media type, "" without one.
    :ivar objects: what it refers to, by Content-ID (CIN-08).
    """

    def __init__(self, document: bytes | None = None) -> None:
        self.document = document
        self.content_type = "" if document is None else PIDF_TYPE
        self.objects: dict[str, WatchedObject] = {}
        self._state = PartialState()

    def begin_anew(self) -> None:
        """A new subscription counts its versions anew; what is known stays (PNO-04)."""
        self._state = PartialState()

    def clear(self) -> None:
        """Nothing is known any more; the versions go on."""
        self.document, self.content_type = None, ""
        self.objects = {}

    def take(self, media: MediaType, body: bytes) -> Outcome:
        """Take the body of a NOTIFY, or of a part about one presentity.

        A document that cannot be read changes nothing (PNO-11, PNO-12, SBR-06).

        :param media: Content-Type of the body.
        """
        parts: tuple[Part, ...] = ()
        if media.type == RELATED_TYPE:
            try:
                related = parse_related(media, body)
                kind = related.root.first("content-type")
                media = parse_media_type(kind or PIDF_TYPE)
            except ParseError:
                return "failed"
            body, parts = related.root.body, related.others
        charset = media.params.get("charset")
        if media.type == DIFF_TYPE:
            outcome = self._take_partial(body, charset)
        else:
            outcome = self._take_whole(media.type, body, charset)
        if outcome in ("replaced", "applied") and self.document is not None:
            self.objects = kept(self.document, self.objects, read_objects(parts))
        return outcome

    def _take_partial(self, body: bytes, charset: str | None) -> Outcome:
        outcome = self._state.take(body, charset)
        if outcome in ("replaced", "applied"):
            self.document, self.content_type = self._state.document, PIDF_TYPE
        return outcome

    def _take_whole(self, media_type: str, body: bytes, charset: str | None) -> Outcome:
        try:
            utf8 = to_utf8(body, charset)
            parse_compact(utf8)
        except DocumentError:
            return "failed"
        self._state.take_whole(utf8)
        self.document, self.content_type = body, media_type
        return "replaced"
