"""A report to the watcher of a list while it is written: what fits into it, as it may be."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import attrs

from presence.partial.documents import CONTENT_TYPE as PIDF_DIFF
from presence.partial.documents import full, partial
from presence.partial.wanted import PIDF
from presence.pidf.parse import DocumentError
from presence.rls.model import Instance, Member
from presence.rls.rlmi import Enclosure, write_row
from pysip.errors import ParseError
from pysip.header import accepts, parse_media_type


@attrs.frozen(slots=True, kw_only=True)
class Terms:
    """How reports to a watcher are to be.

    :ivar host: right side of Content-IDs.
    :ivar limit: octets that a body may have; 0 for any number.
    :ivar accept: media ranges that the watcher accepts, as of
        :func:`pysip.header.parse_accept`; None for all.
    :ivar changes: the difference of two PIDF documents, None where that is no smaller, for a
        watcher who wants to be told changes (PNO-03); None for others.
    :ivar bare_ids: write ``Content-Id`` without angle brackets (CLI-17).
    """

    host: str
    limit: int = 0
    accept: Sequence[tuple[str, float]] | None = None
    changes: Callable[[bytes, bytes], bytes | None] | None = None
    bare_ids: bool = False


@attrs.frozen(slots=True)
class Standing:
    """Where a watcher stands with the changes of one member.

    :ivar version: of the last document of its instance (PNO-04).
    :ivar known: the body that it has; None when that is in doubt, or is to be told whole.
    """

    version: int = 0
    known: bytes | None = None


class Draft:
    """A report that is being written.

    :ivar rows: elements of the RLMI document.
    :ivar parts: the states that they refer to.
    :ivar size: octets of the whole body.
    :ivar versions: of documents in ``application/pidf-diff+xml``, by key of member.
    """

    def __init__(self, token: str, terms: Terms) -> None:
        self.rows: list[bytes] = []
        self.parts: list[Enclosure] = []
        self.size = 0
        self.versions: dict[str, int] = {}
        self._token = token
        self._terms = terms
        self._acceptable: dict[str, bool] = {}

    def cid(self, place: int) -> str:
        """The Content-ID of a part, unique in the message (RLS-04)."""
        return f"{place}.{self._token}@{self._terms.host}"

    def mention(self, member: Member, instance: Instance | None) -> None:
        """List a member, of whose state there is no part, whatever the size."""
        row = write_row(member, instance, "")
        self.rows.append(row)
        self.size += len(row)

    def enrich(self, place: int, member: Member, instance: Instance, standing: Standing) -> bool:
        """Give a listed member its active instance; false, and nothing done, where it is too large.

        Of a type that the watcher does not accept nothing is told.
        """
        part = self._part(member, instance, standing)
        if part is None:
            return True
        row = write_row(member, instance, part.cid)
        if not self._grow(len(row) - len(self.rows[place]) + self._size(part)):
            return False
        self.rows[place] = row
        self._append(member, part, standing)
        return True

    def add(self, member: Member, instance: Instance | None, standing: Standing) -> bool:
        """List a member and its state; false, and nothing done, where both are too large.

        The first is never too large.
        """
        part = None
        if instance is not None and instance.state == "active":
            part = self._part(member, instance, standing)
            if part is None:
                instance = None
        row = write_row(member, instance, part.cid if part is not None else "")
        size = len(row) + (self._size(part) if part is not None else 0)
        if not self._grow(size, anyway=not self.rows):
            return False
        self.rows.append(row)
        if part is not None:
            self._append(member, part, standing)
        return True

    def _append(self, member: Member, part: Enclosure, standing: Standing) -> None:
        self.parts.append(part)
        if part.content_type == PIDF_DIFF:
            self.versions[member.key] = standing.version + 1

    def _part(self, member: Member, instance: Instance, standing: Standing) -> Enclosure | None:
        """The part of an active instance; None when its type is not acceptable (RLS-02)."""
        changes = self._terms.changes
        if changes is not None and instance.content_type == PIDF:
            body = _partial(instance.body, standing, changes)
            if body is not None:
                return Enclosure(self.cid(len(self.parts) + 1), PIDF_DIFF, body)
        kind = instance.content_type
        if self._terms.accept is not None:
            acceptable = self._acceptable.get(kind)
            if acceptable is None:
                acceptable = self._acceptable[kind] = _accepts(self._terms.accept, kind)
            if not acceptable:
                return None
        return Enclosure(self.cid(len(self.parts) + 1), kind, instance.body)

    def _size(self, part: Enclosure) -> int:
        return part.size(self._token, self._terms.bare_ids)

    def _grow(self, octets: int, *, anyway: bool = False) -> bool:
        limit = self._terms.limit
        if limit and self.size + octets > limit and not anyway:
            return False
        self.size += octets
        return True


def _partial(
    document: bytes, standing: Standing, changes: Callable[[bytes, bytes], bytes | None]
) -> bytes | None:
    """A document as it is told to who wants changes (PNO-04, PNO-07); None if it is none."""
    version = standing.version + 1
    known = standing.known
    operations = None if known is None else changes(known, document)
    if operations is not None:
        return partial(operations, None, version)
    try:
        return full(document, version)
    except DocumentError:
        return None


def _accepts(ranges: Sequence[tuple[str, float]], content_type: str) -> bool:
    try:
        return accepts(ranges, parse_media_type(content_type).type) > 0
    except ParseError:
        return False
