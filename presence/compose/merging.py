"""The policies that merge components: one way to compose, several ways to decide."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from presence.compose.document import with_entity
from presence.compose.merge import merge
from presence.compose.policy import TimedPolicy
from presence.compose.sources import Source, gather
from presence.pidf import names
from presence.pidf.equality import device_key
from presence.pidf.parse import parse_compact

if TYPE_CHECKING:
    from lxml import etree

    from pysip.event.records import PublicationRecord

__all__ = ["MergingPolicy"]


class MergingPolicy(TimedPolicy):
    """A policy that merges what different sources say about one thing.

    A source that is the only one to say anything is given as it is, but for two occurrences of
    one device (COM-21) and what has ended; only ``entity`` is made the presentity's (PRE-05).

    :cvar overriding: whether of tuples and persons that conflict the first source's is told,
        instead of all.
    """

    __slots__ = ()

    overriding: ClassVar[bool] = False

    def compose(
        self, entity: str, publications: Sequence[PublicationRecord], now: float | None = None
    ) -> bytes:
        """The schema-valid document; see :class:`presence.interfaces.ICompositionPolicy`.

        :param entity: the presentity's URI.
        :param publications: bodies as :func:`presence.pidf.validate.accept` returned them, in
            any order; hard state is a record whose ``package`` is ``pidf-manipulation``.
        :param now: seconds since 1970; None tells also what has ended.
        :raises presence.pidf.parse.DocumentError: a body is not well-formed.
        """
        sources = self._gather(publications, now)
        if not sources:
            return self.offline(entity)
        if len(sources) == 1:
            return self._alone(entity, sources[0])
        telling = [(source, tree) for source in sources if len(tree := parse_compact(source.body))]
        if len(telling) < 2:
            return self._alone(entity, telling[0][0] if telling else sources[0])
        return merge(entity, telling, overriding=self.overriding)

    def _gather(self, publications: Sequence[PublicationRecord], now: float | None) -> list[Source]:
        """The sources, the one that takes precedence first."""
        return gather(publications, now)

    def _alone(self, entity: str, source: Source) -> bytes:
        """What a single source tells."""
        body = source.body
        # more than one start and one end tag
        if body.count(b"device") - body.count(b"deviceID") > 2:
            tree = parse_compact(body)
            if _has_twins(tree):
                return merge(entity, [(source, tree)], overriding=self.overriding)
        return with_entity(body, entity)


def _has_twins(root: etree._Element) -> bool:
    """Whether two device elements are about one device."""
    keys = [
        device_key(device.findtext(names.DEVICE_ID) or "") for device in root.findall(names.DEVICE)
    ]
    return len(set(keys)) < len(keys)
