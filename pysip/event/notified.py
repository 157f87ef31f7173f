"""The body of a NOTIFY that has come: whether it can be read, and what it says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pysip.errors import SipError
from pysip.header import accepts, parse_accept
from pysip.mime import ACCEPT_ENCODING, codings_known, decode_body

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pysip.message import Request


def unreadable(request: Request, accept: Sequence[str]) -> SipError | None:
    """The refusal of a body of a type or coding that was not asked for (SBR-06).

    :param accept: media types that were; none for any.
    """
    if not request.body:
        return None
    content = request.content_type
    if content is None:
        return SipError(400, "Bad Request: Content-Type missing")
    if accept and not accepts(parse_accept(accept), content.type):
        return SipError(415, None, (("Accept", ", ".join(accept)),))
    if not codings_known(request.values("content-encoding")):
        return SipError(415, None, (("Accept-Encoding", ACCEPT_ENCODING),))
    return None


def decode(request: Request) -> bool:
    """Undo the content codings of the body, in place; false when that cannot be done (MSG-26).

    Then there is none: a NOTIFY that was taken in is not refused for what it says (SBR-06).
    """
    codings = request.values("content-encoding")
    if codings and request.body:
        request.remove("content-encoding")
        try:
            request.body = decode_body(codings, request.body)
        except SipError:
            request.body = b""
            return False
    return True
