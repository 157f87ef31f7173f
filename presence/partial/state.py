"""What a watcher holds of a presentity that it is told of in parts (PNO-08, PNO-11)."""

from __future__ import annotations

from typing import Literal, TypeAlias

from presence.partial.documents import Diff, Full, read
from presence.partial.patching import PatchError, apply
from presence.pidf.parse import DocumentError, to_utf8

Outcome: TypeAlias = Literal["replaced", "applied", "discarded", "lost", "failed"]
"""What has become of a body.

``replaced`` and ``applied``: the document is new.  ``discarded``: it was old.  ``lost``:
something before it is missing, and ``failed``: it cannot be understood or applied; after both
the subscription is to be refreshed, after the latter perhaps without ``pidf-diff`` (PNO-11).
The NOTIFY is answered with 200 in any case (PNO-12).
"""


class PartialState:
    """The document of one subscription.

    :ivar document: PIDF as of the last body that counted; None before the first one.
    :ivar version: of the last ``pidf-full`` or ``pidf-diff`` that counted.
    """

    def __init__(self) -> None:
        self.document: bytes | None = None
        self.version: int | None = None
        self._entity: str | None = None  # None while no diff can follow

    def take_whole(self, body: bytes) -> Outcome:
        """Take a body of type ``application/pidf+xml``.

        The counter stays as it is; after it only ``pidf-full`` is of use (PNO-08).
        """
        try:
            document = to_utf8(body)
        except DocumentError:
            return "failed"
        self.document = document
        self._entity = None
        return "replaced"

    def take(self, body: bytes, charset: str | None = None) -> Outcome:
        """Take a body of type ``application/pidf-diff+xml`` (PNO-11)."""
        try:
            found = read(body, charset)
        except DocumentError:
            return "failed"
        if found.version is None:
            return "failed"  # it is mandatory here (PNO-01)
        if self.version is not None and found.version <= self.version:
            return "discarded"
        if isinstance(found, Full):
            self.document, self.version = found.document, found.version
            self._entity = found.entity
            return "replaced"
        return self._change(found)

    def _change(self, diff: Diff) -> Outcome:
        """Apply what is newer than what is here."""
        if self.document is None or self._entity is None or self.version is None:
            return "lost"
        if diff.version != self.version + 1:
            return "lost"
        if diff.entity not in (None, self._entity):
            return "failed"
        try:
            self.document = apply(self.document, diff)
        except (PatchError, DocumentError):
            return "failed"
        self.version = diff.version
        return "applied"
