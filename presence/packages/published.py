"""What a PUBLISH says: the document to keep, whole or changed (PUB-07, PUB-08, RFC 5264)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from presence.partial.publication import published, report
from presence.pidf.parse import DocumentError
from presence.pidf.validate import accept
from presence.view import PIDF, PIDF_DIFF
from pysip.errors import SipError
from pysip.header import parse_media_type
from xcap.patch import MIME_TYPE, PatchError

if TYPE_CHECKING:
    from collections.abc import Callable

TYPES: tuple[str, ...] = (PIDF, PIDF_DIFF)
"""Media types of documents, the preferred one first (PPU-06)."""


def document(
    content_type: str,
    body: bytes,
    before: bytes | None,
    *,
    entity_ok: Callable[[str], bool],
    strict: bool,
    limit: int,
) -> bytes:
    """The schema-valid document to keep (PUB-07, PUB-08, CLI-10).

    What changes make of the document before has to be valid in any case: if it were repaired,
    its source would no longer know what it is (XPO-11).

    :param content_type: of the body, with its parameters.
    :param before: the document that a modify is about; None for an initial PUBLISH.
    :param entity_ok: whether an ``entity`` names the presentity.
    :param strict: refuse whole documents that are not valid instead of repairing them.
    :param limit: greatest size in octets.
    :raises SipError: 400, 413 or 415 with a Warning that names line and reason; 400 with a
        report when changes cannot be applied (PPU-03).
    """
    charset = None
    try:
        if content_type != PIDF:
            media = parse_media_type(content_type)
            charset = media.params.get("charset")
            if media.type == PIDF_DIFF:
                body, changed = published(
                    body, before, entity_ok=entity_ok, charset=charset, limit=limit
                )
                charset, strict = None, strict or changed
        return accept(body, entity_ok=entity_ok, strict=strict, charset=charset, limit=limit)
    except PatchError as error:
        told = report(error)
        warning = f'399 presence "{error.kind}"'
        kind = MIME_TYPE if told else ""
        raise SipError(400, None, (("Warning", warning),), told, kind) from None
    except DocumentError as error:
        # the reason names the line and has nothing that would need escaping
        warning = f'399 presence "{error.reason}"'
        raise SipError(error.status, None, (("Warning", warning),)) from None
