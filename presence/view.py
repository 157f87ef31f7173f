"""One state of a presentity as some watchers see it, in the forms in which they want it.

All who have the same permissions share it, and of these all who have the same filter, and all who
stand at the same version; each form is made once (RUL-26, PSV-12).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from presence.filters.content import PIDF as KIND
from presence.filters.content import select
from presence.filters.errors import FilterError
from presence.filters.triggers import fired
from presence.partial.difference import difference
from presence.partial.documents import CONTENT_TYPE, full, partial
from presence.pidf.offline import empty_document
from presence.pidf.write import digest
from pysip.event.notification import Notification

if TYPE_CHECKING:
    from presence.filters.model import Trigger, What

PIDF: Final = "application/pidf+xml"
PIDF_DIFF: Final = CONTENT_TYPE
_LABEL: Final = ".p"
"""Of entity-tags where the state is told in ``application/pidf-diff+xml`` (SNE-10)."""


class View(Notification):
    """A whole presence document.

    :param entity: the presentity as these watchers call it.
    """

    __slots__ = ("_emptied", "_fired", "_forms", "_selected", "entity")

    def __init__(self, entity: str, document: bytes) -> None:
        super().__init__(PIDF, document, digest(document))
        self.entity = entity
        self._emptied: View | None = None
        self._selected: dict[What, View | FilterError | None] = {}
        self._fired: dict[tuple[int, tuple[Trigger, ...]], bool | FilterError] = {}
        self._forms: dict[tuple[int | None, int], Notification] = {}

    @property
    def partial_tag(self) -> str:
        """The entity-tag of the state where it is told in ``application/pidf-diff+xml``."""
        return self.tag + _LABEL

    @property
    def emptied(self) -> View:
        """A document without content, for who has to learn that nothing is left."""
        if self._emptied is None:
            self._emptied = View(self.entity, empty_document(self.entity))
        return self._emptied

    def selected(self, what: What) -> View | None:
        """What a filter selects of it; None for nothing (FLT-10 to FLT-12).

        :raises FilterError: that costs too much (FLT-27).
        """
        if what not in self._selected:
            try:
                document = select(self.body, what, KIND)
                view = None if document is None else View(self.entity, document)
                self._selected[what] = view
            except FilterError as error:
                self._selected[what] = error
        found = self._selected[what]
        if isinstance(found, FilterError):
            raise found
        return found

    def fires(self, triggers: tuple[Trigger, ...], before: View) -> bool:
        """Whether what has changed since another view is what a filter waits for (FLT-15).

        :raises FilterError: to tell that costs too much (FLT-27).
        """
        key = (before.digest, triggers)
        found = self._fired.get(key)
        if found is None:
            try:
                found = fired(triggers, before.body, self.body)
            except FilterError as error:
                found = error
            self._fired[key] = found
        if isinstance(found, FilterError):
            raise found
        return found

    def changes(self, base: View | None, version: int) -> Notification:
        """It as ``application/pidf-diff+xml`` (PNO-01, PNO-07).

        :param base: what the watcher has; None when that is in doubt.
        :param version: number of the document within its subscription.
        """
        key = (None if base is None else base.digest, version)
        form = self._forms.get(key)
        if form is None:
            operations = None if base is None else difference(base.body, self.body)
            if operations is None:
                body = full(self.body, version)
            else:
                body = partial(operations, self.entity, version)
            form = self._forms[key] = Notification(PIDF_DIFF, body, self.digest, _LABEL)
        return form
