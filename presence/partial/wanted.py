"""Whether a watcher wants to be told changes rather than whole documents (RFC 5263, PNO-03)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from presence.partial.documents import CONTENT_TYPE
from pysip.header import accepts

PIDF: Final = "application/pidf+xml"


def wants_changes(ranges: Iterable[tuple[str, float]]) -> bool:
    """Whether Accept names the type of changes, and likes it no less than whole documents.

    :param ranges: as of :func:`pysip.header.parse_accept`.
    """
    known = list(ranges)
    changes = dict(known).get(CONTENT_TYPE, 0.0)
    return changes > 0 and changes >= accepts(known, PIDF)
