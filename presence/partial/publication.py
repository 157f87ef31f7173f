"""Partial publication: what a PUBLISH makes of the document that is kept (RFC 5264)."""

from __future__ import annotations

from collections.abc import Callable

from presence.partial.documents import Full, read
from presence.partial.patching import PatchError, apply
from presence.pidf.parse import DocumentError
from presence.pidf.validate import DEFAULT_LIMIT
from xcap.patch import error_document

__all__ = ["LONGEST_REPORT", "published", "report"]

LONGEST_REPORT = 4096
"""Octets of a report: one repeats an operation, and a response may have to fit a datagram."""


def published(
    body: bytes,
    before: bytes | None,
    *,
    entity_ok: Callable[[str], bool],
    charset: str | None = None,
    limit: int = DEFAULT_LIMIT,
) -> tuple[bytes, bool]:
    """The whole PIDF document that a body of type ``application/pidf-diff+xml`` makes.

    A version in it means nothing (PPU-01).  The result is neither valid nor about the right
    presentity before somebody has looked (XPO-11).

    :param before: what a modify is about: ``pidf-full`` replaces it, ``pidf-diff`` changes it
        (PPU-02); None for an initial PUBLISH.
    :param entity_ok: whether an ``entity`` names the presentity (PUB-07).
    :param charset: the ``charset`` parameter of the Content-Type (PID-01).
    :param limit: greatest size of body and result in octets.
    :returns: also whether it was made by changes.
    :raises PatchError: a change fails (PPU-03).
    :raises DocumentError: 400 for a body that is malformed, or tells of changes of nothing
        (PPU-01), or of somebody else's; 413, 415.
    """
    found = read(body, charset, limit, versioned=False)
    if isinstance(found, Full):
        return found.document, False
    if before is None:
        raise DocumentError(400, "pidf-diff without SIP-If-Match")
    if found.entity is not None and not entity_ok(found.entity):
        raise DocumentError(400, "entity is not the presentity")
    return apply(before, found, limit), True


def report(error: PatchError) -> bytes:
    """The ``application/patch-ops-error+xml`` body for a failure; empty if too long (XPO-12)."""
    octets = error_document(error)
    return octets if len(octets) <= LONGEST_REPORT else b""
