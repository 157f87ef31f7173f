"""The alternative document of somebody who has published nothing (PRE-11)."""

from __future__ import annotations

from xml.sax.saxutils import quoteattr

from presence.pidf import names


def closed_document(entity: str) -> bytes:
    """One tuple with ``closed``, for watchers that cannot show a document without tuples."""
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<presence xmlns="{names.PIDF}" entity={quoteattr(entity)}>'
        f'<tuple id="offline"><status><basic>closed</basic></status></tuple></presence>'
    ).encode()
