"""Everything that is published, each thing once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from lxml import etree
from zope.interface import implementer

from presence.compose.document import (
    OTHERS,
    RANKS,
    StatedType,
    declare,
    make_ids_unique,
    restore_types,
    stated_types,
    with_entity,
)
from presence.compose.forms import Form, Ids, form
from presence.compose.policy import TimedPolicy
from presence.compose.sources import Source, gather
from presence.interfaces import ICompositionPolicy
from presence.pidf import names
from presence.pidf.parse import parse_compact
from presence.pidf.tree import new_presence
from presence.pidf.write import serialize

if TYPE_CHECKING:
    from pysip.event.records import PublicationRecord

__all__ = ["UnionComposition"]


@implementer(ICompositionPolicy)
class UnionComposition(TimedPolicy):
    """The union of all publications, most recent content first; nothing is merged (COM-44).

    - A single publication is given as published; only ``entity`` is made the presentity's
      (PRE-05).
    - Components, root notes and other root elements that are equal but for their ids are
      given once (PUB-17, COM-04); equal ones inside one publication are all kept
      (COM-02). Nothing else is left out (COM-45).
    - Order as in COM-41; the same input gives the same octets.
    - Ids are unique. Of publications that use the same id the oldest keeps it, the others
      add a suffix made from the publication's own number, so that a watcher sees stable
      ids (PID-09, COM-14).
    """

    __slots__ = ()

    def compose(
        self, entity: str, publications: Sequence[PublicationRecord], now: float | None = None
    ) -> bytes:
        """The schema-valid document; see :class:`presence.interfaces.ICompositionPolicy`.

        :param entity: the presentity's URI.
        :param publications: bodies as :func:`presence.pidf.validate.accept` returned them,
            in any order.
        :param now: seconds since 1970; None tells also what has ended.
        :raises presence.pidf.parse.DocumentError: a body is not well-formed.
        """
        sources = gather(publications, now)
        if not sources:
            return self.offline(entity)
        if len(sources) == 1:
            return with_entity(sources[0].body, entity)
        return _union(entity, sources)


class _Part:
    """An element of the root that appears in the result.

    :ivar owner: number of the oldest source that has it.
    :ivar ids: where its xs:ID values are.
    """

    __slots__ = ("element", "ids", "owner")

    def __init__(self, element: etree._Element, owner: int, ids: Ids) -> None:
        self.element = element
        self.owner = owner
        self.ids = ids


def _union(entity: str, sources: Iterable[Source]) -> bytes:
    """The union of different documents, most recent first."""
    parts: dict[tuple[int, Form], _Part] = {}
    nsmap: dict[str | None, str] = {None: names.PIDF}
    types: list[StatedType] = []
    for body, owner in sources:
        source = parse_compact(body)
        declare(nsmap, source)
        types += stated_types(body, source)
        counts: dict[Form, int] = {}
        for element in source:
            ids: Ids = []
            said = form(element, ids)
            # equal elements of one publication are different occurrences
            count = counts[said] = counts.get(said, 0) + 1
            part = parts.get((count, said))
            # what several have is told in the words of the oldest, ids included
            if part is None or owner < part.owner:
                parts[count, said] = _Part(element, owner, ids)
    root = new_presence({"entity": entity}, nsmap)
    root.extend(
        sorted(
            (part.element for part in parts.values()),
            key=lambda element: RANKS.get(element.tag, OTHERS),
        )
    )
    make_ids_unique(
        (part.owner, element, name) for part in parts.values() for element, name in part.ids
    )
    restore_types(types)
    return serialize(root)
