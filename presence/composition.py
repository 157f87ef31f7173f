"""How several publications become one raw presence document.

:class:`UnionComposition` gives everything that is published, each thing once. It merges
nothing: the OMA policy of presence-data.md J, which does, is another implementation of
:class:`presence.interfaces.ICompositionPolicy`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from zope.interface import implementer

from presence.interfaces import ICompositionPolicy
from presence.pidf.offline import closed_document, empty_document
from presence.pidf.union import union, with_entity

if TYPE_CHECKING:
    from pysip.event.records import PublicationRecord

__all__ = ["UnionComposition", "closed_document", "empty_document"]


@implementer(ICompositionPolicy)
class UnionComposition:
    """The union of all publications, most recent content first.

    - A single publication is given as published; only ``entity`` is made the presentity's
      (PRE-05).
    - Components, root notes and other root elements that are equal but for their ids are
      given once (PUB-17, COM-04); equal ones inside one publication are all kept
      (COM-02). Nothing else is left out (COM-45).
    - Order as in COM-41; the same input gives the same octets.
    - Ids are unique. Of publications that use the same id the oldest keeps it, the others
      add a suffix made from the publication's own number, so that a watcher sees stable
      ids (PID-09, COM-14).

    :ivar offline: makes the document of a presentity without publications, from its URI:
        :func:`empty_document` or :func:`closed_document` (PRE-11).
    """

    __slots__ = ("offline",)

    def __init__(self, offline: Callable[[str], bytes] = empty_document) -> None:
        self.offline = offline

    def compose(self, entity: str, publications: Sequence[PublicationRecord]) -> bytes:
        """The schema-valid document; see :class:`presence.interfaces.ICompositionPolicy`.

        :param entity: the presentity's URI.
        :param publications: bodies as :func:`presence.pidf.validate.accept` returned them,
            in any order.
        :raises presence.pidf.parse.DocumentError: a body is not well-formed.
        """
        if not publications:
            return self.offline(entity)
        if len(publications) == 1:
            return with_entity(publications[0].body, entity)
        # the owner of equal bodies is the publication that was made first
        newest_first = sorted(publications, key=lambda p: (p.changed, p.id), reverse=True)
        owners: dict[bytes, int] = {}
        for publication in newest_first:
            owner = owners.get(publication.body)
            if owner is None or publication.id < owner:
                owners[publication.body] = publication.id
        if len(owners) == 1:
            return with_entity(newest_first[0].body, entity)
        return union(entity, owners.items())
