"""What a subscriber of document changes has been told, and what it has to be told next.

A view holds, for one subscription, the entity-tags that the subscriber has acknowledged and
those of now: a report is the difference, so whatever was lost or refused on the way, the next
report goes on from what has arrived (XDIFF-05).  The changes in between serve for patches only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from hashlib import blake2b
from typing import TYPE_CHECKING

import attrs

from xcap.changedoc import AttributeState, DocumentChange, ElementState
from xcap.document import Limits, parse_document
from xcap.errors import XcapError
from xcap.select import NoMatch, select_element
from xcap.selection import AGGREGATE, NO_PATCHING, XCAP_PATCHING

if TYPE_CHECKING:
    from xcap.changedoc import Item
    from xcap.document import XmlDocument
    from xcap.records import Change, DocumentKey
    from xcap.selection import Component, Selections

HISTORY = 200
"""Changes that a view keeps for patches."""
_LIMITS = Limits(size=1 << 24)  # stored documents were checked when they were stored

Patch = Callable[["Change", "Change"], "bytes | None"]
"""Gives the patch from before one change to after another of a document; None without one, b""
when the documents do not differ."""

Parse = Callable[["DocumentKey", bytes], "XmlDocument | None"]


@attrs.frozen(slots=True)
class Entry:
    """A document in a report.

    :ivar before: entity-tag that the subscriber knows, "" for none.
    :ivar after: entity-tag of now, "" when it is gone.
    :ivar changes: what led from the one to the other; () when that is not known or not wanted.
    """

    key: DocumentKey
    sel: str
    before: str
    after: str
    changes: tuple[Change, ...] = ()


@attrs.frozen(slots=True)
class Found:
    """A component as it is now.

    :ivar source: the element with its tags.
    :ivar value: of the attribute.
    :ivar bindings: namespaces in scope around the element.
    """

    component: Component
    exists: bool = False
    source: bytes = b""
    value: str = ""
    bindings: Mapping[str, str] = attrs.field(factory=dict)

    @property
    def digest(self) -> bytes:
        """Tells contents apart; b"" for an absent one."""
        if not self.exists:
            return b""
        scope = repr((self.value, sorted(self.bindings.items()))).encode()
        hashed = blake2b(scope, digest_size=16)
        hashed.update(b"\0")  # no XML and no repr has it
        hashed.update(self.source)
        return hashed.digest()

    def item(self) -> Item:
        """What a report says of it (XDIFF-06, XDIFF-07)."""
        sel = self.component.sel
        if self.component.selector.attribute is not None:
            return AttributeState(sel, self.exists, self.value)
        return ElementState(sel, self.exists, self.source, tuple(self.bindings.items()))


@attrs.frozen(slots=True)
class Report:
    """What a NOTIFY tells, and what the subscriber knows once it has arrived.

    :ivar full: it tells the whole state, in answer to a SUBSCRIBE (XEVT-07).
    :ivar told: entity-tags that will be known.
    :ivar known: digests of components that will be known.
    :ivar seen: the documents of components that were looked at.
    :ivar position: of the last change that is in it.
    """

    full: bool
    entries: tuple[Entry, ...]
    components: tuple[Found, ...]
    told: Mapping[DocumentKey, str]
    known: Mapping[str, bytes]
    seen: Mapping[DocumentKey, bytes | None]
    position: int

    def __bool__(self) -> bool:
        return bool(self.entries or self.components)

    def items(self, mode: str, patch: Patch) -> list[Item]:
        """The content of the change document, in chronological order (XEVT-11)."""
        placed: list[tuple[int, Item]] = []
        for entry in self.entries:
            changes = entry.changes
            if changes and mode == XCAP_PATCHING:
                placed += (
                    (change.position, _changed(entry.sel, change, change, patch))
                    for change in changes
                )
            elif changes and mode == AGGREGATE and entry.before and entry.after:
                item = _changed(entry.sel, changes[0], changes[-1], patch)
                placed.append((changes[-1].position, item))
            else:
                place = changes[-1].position if changes else 0
                placed.append((place, DocumentChange(entry.sel, entry.before, entry.after)))
        placed.sort(key=lambda pair: pair[0])
        return [item for _, item in placed] + [found.item() for found in self.components]


def _changed(sel: str, first: Change, last: Change, patch: Patch) -> DocumentChange:
    operations = patch(first, last) if first.before and last.after else None
    return DocumentChange(sel, first.before, last.after, operations)


class View:
    """What one subscriber knows.

    :param selections: what is subscribed to.
    :param mode: one of :data:`xcap.selection.MODES`.
    :param may: whether the subscriber may read a document now (XEVT-17).
    :param size: octets of document versions kept for patches, at most.

    :ivar full: the next report tells everything; until one that did was acknowledged.
    :ivar complete: everything that the subscriber was told is known; false after a restart,
        when that is known only of documents that have changed since, and what could be read
        before is taken to be what can be read now.
    """

    def __init__(
        self,
        selections: Selections,
        mode: str,
        may: Callable[[DocumentKey], bool],
        size: int = 1 << 22,
    ) -> None:
        self.selections = selections
        self.mode = mode
        self.full = True
        self.complete = True
        self._may = may
        self._size = size
        self._told: dict[DocumentKey, str] = {}
        self._now: dict[DocumentKey, str] = {}
        self._history: dict[DocumentKey, list[Change]] = {}
        self._kept: list[int] = []  # octets of each change in the history
        self._parts: dict[DocumentKey, list[Component]] = {}
        for component in selections.components:
            self._parts.setdefault(component.key, []).append(component)
        self._known: dict[str, bytes] = {}
        # documents of components that have to be looked at; None when they must be read first
        self._octets: dict[DocumentKey, bytes | None] = {}

    @property
    def keys(self) -> tuple[DocumentKey, ...]:
        """Documents that are named, themselves or with a component."""
        return tuple(dict.fromkeys((*self.selections.documents, *self._parts)))

    @property
    def parts(self) -> set[DocumentKey]:
        """Documents of components."""
        return set(self._parts)

    @property
    def missing(self) -> list[DocumentKey]:
        """Documents that have to be read before there can be a report."""
        return [key for key, octets in self._octets.items() if octets is None]

    def supply(self, key: DocumentKey, octets: bytes) -> None:
        """Octets of a document that was :attr:`missing`, b"" when there is none."""
        if key in self._octets and self._octets[key] is None:
            self._octets[key] = octets

    def load(self, tags: Mapping[DocumentKey, str], octets: Mapping[DocumentKey, bytes]) -> None:
        """Take over the state of now.

        :param tags: of every selected document.
        :param octets: documents of components.
        """
        self._now = {key: tag for key, tag in tags.items() if self.selections.covers(key)}
        if not self.complete and not self.full:
            for key, tag in self._now.items():
                self._told.setdefault(key, tag if self._may(key) else "")
            self.complete = True
        self._octets = {key: octets.get(key, b"") for key in self._parts}
        self._forget()

    def resume(self) -> None:
        """Go on where an earlier process has ended: all but the next changes is known."""
        self.full = False
        self.complete = False

    def apply(self, change: Change) -> None:
        """Take over a committed change of a selected document."""
        key = change.key
        if self.selections.covers(key):
            if not self.complete and not self.full and key not in self._told:
                # Of what cannot be read nothing was told, and nothing is now (XDIFF-08).
                self._told[key] = change.before if self._may(key) else ""
            if change.after:
                self._now[key] = change.after
            else:
                self._now.pop(key, None)
            if self.mode != NO_PATCHING:
                self._remember(change)
        if key in self._parts:
            self._octets[key] = change.new if change.new or not change.after else None

    def _remember(self, change: Change) -> None:
        self._history.setdefault(change.key, []).append(change)
        self._kept.append(len(change.old) + len(change.new))
        if len(self._kept) > HISTORY or sum(self._kept) > self._size:
            self._forget()  # only the tags are told then; patches go on after that (XEVT-12)

    def _forget(self) -> None:
        self._history.clear()
        self._kept.clear()

    # -- reports ------------------------------------------------------------------------

    def report(self, parse: Parse, position: int) -> Report:
        """What the subscriber has to be told; nothing may be :attr:`missing`.

        :param position: of the last change applied.
        """
        visible = {key: tag for key, tag in self._now.items() if self._may(key)}
        if self.full:
            entries = [Entry(key, self.selections.sel(key), "", visible[key]) for key in visible]
            told = visible
        else:
            entries = [
                entry
                for key in dict.fromkeys((*self._told, *visible, *self._history))
                if (entry := self._entry(key, visible)) is not None
            ]
            told = {**dict.fromkeys(self._told, ""), **visible}
            if self.complete:
                told = visible
        found, known = self._components(parse)
        return Report(
            self.full, tuple(entries), tuple(found), told, known, dict(self._octets), position
        )

    def _entry(self, key: DocumentKey, visible: Mapping[DocumentKey, str]) -> Entry | None:
        before, after = self._told.get(key, ""), visible.get(key, "")
        changes: tuple[Change, ...] = ()
        if key in self._history and (after or self._may(key)):
            changes = _chain(self._history[key], before, after)
        if before == after and (not changes or self.mode != XCAP_PATCHING):
            return None
        return Entry(key, self.selections.sel(key), before, after, changes)

    def _components(self, parse: Parse) -> tuple[list[Found], dict[str, bytes]]:
        """Components to tell, and the digests of all that are known then (XEVT-13)."""
        told: list[Found] = []
        known = {} if self.full else dict(self._known)
        for key, components in self._parts.items():
            readable = self._may(key)
            octets = self._octets.get(key) if readable else b""
            if readable and octets is None:
                continue  # it has not changed
            document = parse(key, octets) if octets else None
            for component in components:
                found = _find(document, component)
                before = known.get(component.sel)
                if before is None and not found.digest and (self.complete or not readable):
                    continue  # nothing was told of it, and there is nothing to tell
                if before == found.digest:
                    continue
                known[component.sel] = found.digest
                if found.digest or not self.full:
                    told.append(found)
        return told, known

    def acknowledged(self, report: Report) -> None:
        """A report has arrived."""
        if report.full:
            self.full = False
            self.complete = True
        self._told = dict(report.told)
        self._known = dict(report.known)
        for key, octets in report.seen.items():
            if key in self._octets and self._octets[key] is octets:
                del self._octets[key]
        kept = {
            key: [change for change in history if change.position > report.position]
            for key, history in self._history.items()
        }
        self._history = {key: history for key, history in kept.items() if history}
        self._kept = [
            len(change.old) + len(change.new)
            for history in self._history.values()
            for change in history
        ]


def _chain(history: list[Change], before: str, after: str) -> tuple[Change, ...]:
    """The changes from one entity-tag to another without a gap; () when there are none."""
    chain: list[Change] = []
    tag = before
    for change in history:
        if change.before == tag:
            chain.append(change)
            tag = change.after
        elif chain:
            return ()
    return tuple(chain) if tag == after else ()


def _find(document: XmlDocument | None, component: Component) -> Found:
    """A component in a document; absent when either is."""
    if document is None:
        return Found(component)
    selector = component.selector
    try:
        element = select_element(document, selector.steps)
    except NoMatch:
        return Found(component)
    if selector.attribute is not None:
        value = element.attributes.get(selector.attribute)
        return Found(component, value is not None, value=value or "")
    bindings: dict[str, str] = {}
    if len(selector.steps) > 1:
        bindings = select_element(document, selector.steps[:-1]).namespaces()
    return Found(component, True, element.source, bindings=bindings)


def parse_stored(octets: bytes) -> XmlDocument | None:
    """A stored document; None if it is none that we understand."""
    try:
        return parse_document(octets, _LIMITS)
    except XcapError:
        return None
