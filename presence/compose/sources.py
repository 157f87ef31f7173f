"""What takes part in composition, and in which order (COM-01, COM-13, XDM-62)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final, NamedTuple

from presence.compose.timed import remaining
from presence.objects.published import decode
from presence.objects.references import told
from presence.pidf.parse import parse_compact

if TYPE_CHECKING:
    from pysip.event.records import PublicationRecord

__all__ = ["HARD_STATE", "Source", "gather"]

HARD_STATE: Final = "pidf-manipulation"
"""``package`` of a record that holds the presentity's permanent document (RFC 4827)."""

_FIRST: Final = -1
"""The owner's number of hard state: it is older than every publication."""


class Source(NamedTuple):
    """A Presence Source with what it says now.

    :ivar body: a schema-valid document.
    :ivar number: the number of the publication, -1 for hard state; a lower one is older and
        keeps its ids (COM-14).
    """

    body: bytes
    number: int


def gather(
    publications: Iterable[PublicationRecord],
    now: float | None = None,
    rank: Callable[[PublicationRecord], int] | None = None,
) -> list[Source]:
    """The sources, most recent content first, equal documents once (PUB-17).

    A refresh changes no content, so it does not change the order; publications of the same
    time are in the order of their numbers, which a refresh leaves alone too (COM-01, COM-13).
    The permanent document is the oldest source, and none at all while it says nothing
    (XDM-62, XDM-64).

    Objects have the names that watchers are told, which are different for different objects
    (CIN-08).

    :param now: seconds since 1970; what has ended by then is left out (RPI-02, CIN-09). None
        keeps everything.
    :param rank: sources with a lower rank stand before all with a higher one.
    """
    newest_first = sorted(
        publications,
        key=lambda record: (record.package != HARD_STATE, record.changed, record.id),
        reverse=True,
    )
    if rank is not None:
        newest_first.sort(key=rank)
    owners: dict[bytes, int] = {}
    for record in newest_first:
        body, number = record.body, record.id
        if record.package == HARD_STATE:
            if not len(parse_compact(body)):
                continue
            number = _FIRST
        if now is not None:
            body = remaining(body, now, record.changed)
        if record.objects:
            body = told(body, decode(record.objects), now)
        # of equal documents the oldest owns the ids, the most recent gives the place
        owner = owners.get(body)
        if owner is None or number < owner:
            owners[body] = number
    return [Source(body, number) for body, number in owners.items()]
