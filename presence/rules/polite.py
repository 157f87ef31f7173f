"""What watchers see who see nothing real: politely blocked and pending ones.

The politely blocked one sees what everybody sees of a presentity that has published nothing
(:mod:`presence.pidf.offline`), so that neither form nor bytes tell the two apart (PBK-02,
PBK-04). Transformations of rules play no part (PBK-08).
"""

from __future__ import annotations

from typing import Final
from xml.sax.saxutils import escape

from presence.pidf.offline import closed_document, empty_document

PENDING_NOTE: Final = "Authorization is pending"
"""The note of PBK-10, in English."""

_END: Final = b"</presence>"
_EMPTY_END: Final = b"/>"


def polite_document(entity: str, *, closed: bool) -> bytes:
    """The document of a politely blocked watcher (PBK-01, XDM-136).

    A function of its arguments only: real activity changes nothing (PBK-02, PBK-03).

    :param entity: the presentity's URI as the watcher is told it.
    :param closed: whether this deployment tells of who has published nothing by a closed
        tuple instead of no tuple (PRE-11).
    """
    return closed_document(entity) if closed else empty_document(entity)


def pending_document(entity: str, *, closed: bool, note: str = PENDING_NOTE) -> bytes:
    """The document of a pending watcher where the deployment sends one (PBK-10, NOT-09).

    :param entity: the presentity's URI as the watcher is told it.
    :param closed: as for :func:`polite_document`.
    :param note: says why there is nothing more, in English.
    """
    polite = polite_document(entity, closed=closed)
    told = b'<note xml:lang="en">%b</note>%b' % (escape(note).encode(), _END)
    if polite.endswith(_END):
        return polite.removesuffix(_END) + told
    return polite.removesuffix(_EMPTY_END) + b">" + told
