"""A subscription to document changes, from the side of the feed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from xcap.changes import Report, View
    from xcap.records import Change, DocumentKey
    from xcap.selection import Terms


class Watch:
    """A subscription's side of the feed: lives in ``ISubscription.data``.

    :ivar terms: what is asked for.
    :ivar view: what its subscriber knows.
    :ivar sent: the report in the NOTIFY last made.
    :ivar asked: a notification was asked for; before that nothing is sent, since after a restart
        there may be no way to send it yet.
    :ivar owed: it was asked for before it could be given.
    :ivar ended: nothing can be put off any more.
    :ivar entered: changes are led to it.
    :ivar reading: what it needs is being read.
    :ivar buffer: changes that came before the state is there, those of a document as one; None
        when it is.
    """

    __slots__ = ("asked", "buffer", "ended", "entered", "owed", "reading", "sent", "terms", "view")

    def __init__(self, terms: Terms, view: View) -> None:
        self.terms = terms
        self.view = view
        self.sent: Report | None = None
        self.asked = False
        self.owed = False
        self.ended = False
        self.entered = False
        self.reading = False
        self.buffer: dict[DocumentKey, Change] | None = {}

    @property
    def ready(self) -> bool:
        """Whether a report can be made."""
        return self.buffer is None and not self.view.missing

    def take(self, change: Change) -> bool:
        """Take over a change, now or later; true when it was now."""
        if self.buffer is None:
            self.view.apply(change)
            return True
        held = self.buffer.get(change.key)
        if held is not None:
            # Without the old octets there is no patch over several changes (XEVT-11).
            change = attrs.evolve(change, before=held.before, old=b"")
        self.buffer[change.key] = change
        return False

    def open(self, after: int = -1) -> None:
        """The state is there: take over the changes since.

        :param after: position of the last one that is in it.
        """
        buffer, self.buffer = self.buffer or {}, None
        for change in buffer.values():
            if change.position > after:
                self.view.apply(change)
