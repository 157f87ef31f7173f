"""What clients publish: event states, and the terms on which they do (RFC 3903 section 4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from pysip.mime import Part, write_related

if TYPE_CHECKING:
    from collections.abc import Callable

    from pysip.auth.client import ClientCredentials
    from pysip.event.interfaces import IPartialEncoding
    from pysip.message import Response

__all__ = ["Document", "PublicationTerms"]


@attrs.frozen(slots=True)
class Document:
    """Event state to publish.

    :ivar parts: what stands beside it in a ``multipart/related`` (RFC 2387); with none it
        stands alone.
    """

    content_type: str
    body: bytes
    parts: tuple[Part, ...] = ()

    def written(self, token: str) -> tuple[str, bytes]:
        """Content-Type and octets of the body that it is sent as.

        :param token: names the document among its parts, and bounds them.
        """
        if not self.parts:
            return self.content_type, self.body
        headers = {"content-type": [self.content_type], "content-id": [f"<{token}@root.invalid>"]}
        return write_related([Part(headers, self.body), *self.parts], token)


@attrs.frozen(slots=True, kw_only=True)
class PublicationTerms:
    """What is published, and how.

    :ivar uri: Request-URI: the resource's address of record, as a bare URI (PUB-19).
    :ivar local_uri: From value without tag.
    :ivar package: event package.
    :ivar expires: wanted lifetime in seconds.
    :ivar interval: least seconds between two PUBLISH; 0 for no limit.  Changes meanwhile
        are merged; removal and a new start after a 412 do not wait.
    :ivar route: preloaded Route values.
    :ivar headers: further header fields of each PUBLISH.
    :ivar credentials: to answer challenges with.
    :ivar partial: how changes are told to servers that take them; None to tell each state
        whole, as it is.
    :ivar instead: asked when a server refuses a state for its size or media type (413, 415,
        513): what to publish at once in its place, None for nothing.  It has to come to an end.
    """

    uri: str
    local_uri: str
    package: str
    expires: int = 3600
    interval: float = 0.0
    route: tuple[str, ...] = ()
    headers: tuple[tuple[str, str], ...] = ()
    credentials: ClientCredentials | None = None
    partial: IPartialEncoding | None = None
    instead: Callable[[Document, Response], Document | None] | None = None
