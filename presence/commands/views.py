"""How watched presence is shown: lines, a table in place, or JSON."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

import attrs

from presence.commands import details
from presence.commands.listrows import Place, Row, changed_rows
from presence.pidf.parse import DocumentError
from presence.pidf.plain import plain
from presence.pidf.summary import Summary, latest_person, reachable, summarise

if TYPE_CHECKING:
    from collections.abc import Callable

    from presence.commands.session import Output
    from presence.rls.listwatch import Taken
    from presence.watcher import ListWatch, PresenceWatch

_EXPLAINED = {
    "": "waiting for the server",
    "pending": "waiting for permission",
}


class Presentity(Protocol):
    """Somebody who is watched, by himself or as a member of a list."""

    @property
    def uri(self) -> str:
        """As it is addressed."""

    @property
    def state(self) -> str:
        """Of the subscription; "" before anything is known."""

    @property
    def reason(self) -> str:
        """Why it is terminated, or ""."""

    @property
    def document(self) -> bytes | None:
        """The newest presence document, None without any."""


@attrs.frozen(slots=True)
class Appearance:
    """What is seen of a presentity.

    :ivar status: ``open``, ``closed``, ``offline`` (nothing is published), ``unknown``
        (nothing is said), ``list`` for a list, or "" while there is no document.
    :ivar text: activities, moods, notes, and the state of the subscription when it is not
        active.
    :ivar details: what else is known, in lines.
    """

    status: str
    text: str
    details: tuple[str, ...] = ()


def appearance(watch: Presentity, now: float) -> Appearance:
    """What is seen of ``watch``.

    :param now: wall-clock seconds.
    """
    parts = [_explained(watch.state, watch.reason)]
    summary = summary_of(watch)
    if summary is None:
        return Appearance("", parts[0])
    parts.append(", ".join(details.doings(latest_person(summary), now)))
    notes = list(summary.notes)
    for service in summary.services:
        notes += service.notes
    parts += details.quoted(notes)
    own = watch.uri.partition(":")[2]
    contacts = dict.fromkeys(
        service.contact
        for service in summary.services
        if service.basic == "open" and service.contact.partition(":")[2] not in ("", own)
    )
    parts += contacts
    text = " ".join(filter(None, parts))
    return Appearance(_status(summary), text, tuple(details.lines(summary, now)))


def list_appearance(watch: ListWatch) -> Appearance:
    """What is seen of a list as such."""
    explained = _explained(watch.state, watch.reason)
    ended = watch.state == "terminated" and watch.reason
    if watch.table.version is None or watch.state == "pending" or ended:
        return Appearance("", explained)
    return _list_of(len(watch.table.members), explained)


def row_appearance(row: Row, now: float) -> Appearance:
    """What is seen of a member of a list.

    :param now: wall-clock seconds.
    """
    if row.size is not None:
        return _list_of(row.size, _explained(row.state, row.reason))
    return appearance(row, now)


def _list_of(size: int, explained: str) -> Appearance:
    members = "1 member" if size == 1 else f"{size} members"
    return Appearance("list", f"{explained} {members}".strip())


def _explained(state: str, reason: str) -> str:
    """What there is to say of a subscription that is not active."""
    explained = _EXPLAINED.get(state, "")
    if state == "terminated" and reason:
        explained = f"subscription ended: {plain(reason)}"
    return f"({explained})" if explained else ""


def summary_of(watch: Presentity) -> Summary | None:
    """The document of ``watch`` in short, None without one.

    What was seen before permission was taken away, or asked for again, is no state of now.
    """
    ended = watch.state == "terminated" and watch.reason
    if watch.document is None or watch.state == "pending" or ended:
        return None
    try:
        return summarise(watch.document)
    except DocumentError:
        return None


def _status(summary: Summary) -> str:
    return (reachable(summary) or "unknown") if summary.services else "offline"


class View(Protocol):
    """Shows watched presentities."""

    def show(self, watch: PresenceWatch, *, notified: bool) -> None:
        """``watch`` is new; ``notified`` by a NOTIFY."""

    def show_list(self, watch: ListWatch, taken: Taken, *, notified: bool) -> None:
        """``watch`` is new: ``taken`` tells what in its table."""

    def remark(self, text: str) -> None:
        """Something to say beside."""


class LineView:
    """One line per change, and lines of details below it."""

    def __init__(self, output: Output, errors: Output, wall: Callable[[], float]) -> None:
        self._output = output
        self._errors = errors
        self._wall = wall
        self._shown: dict[PresenceWatch, Appearance] = {}
        self._listed: dict[Place, Appearance] = {}

    def show(self, watch: PresenceWatch, *, notified: bool) -> None:
        """Print what is seen, if it is other than before."""
        now = self._wall()
        seen = appearance(watch, now)
        if self._shown.get(watch) != seen:
            self._shown[watch] = seen
            self._output.write(_lines(now, watch.uri, seen))

    def show_list(self, watch: ListWatch, taken: Taken, *, notified: bool) -> None:
        """Print what is seen of the list and of its members, if it is other than before."""
        now = self._wall()
        self._show((watch.uri,), watch.uri, list_appearance(watch), now)
        for uri in taken.removed:
            for place in [p for p in self._listed if p[:2] == (watch.uri, uri)]:
                del self._listed[place]
            self._output.write(_lines(now, plain(uri), Appearance("", "(no member any more)")))
        for row in changed_rows(watch, taken):
            uri = plain(row.uri)
            label = f"{row.name} <{uri}>" if row.name else uri
            self._show(row.place, label, row_appearance(row, now), now)

    def _show(self, place: Place, label: str, seen: Appearance, now: float) -> None:
        if self._listed.get(place) != seen:
            self._listed[place] = seen
            self._output.write(_lines(now, label, seen))

    def remark(self, text: str) -> None:
        """Print to the errors."""
        self._errors.line(f"presencectl: {text}")


class JsonView:
    """One JSON object a line: per NOTIFY of a presentity, per change in a list."""

    def __init__(self, output: Output, errors: Output, wall: Callable[[], float]) -> None:
        self._output = output
        self._errors = errors
        self._wall = wall
        self._lists: dict[ListWatch, tuple[object, ...]] = {}

    def show(self, watch: PresenceWatch, *, notified: bool) -> None:
        """Print a NOTIFY with everything it told."""
        if not notified:
            return
        now = self._wall()
        found: dict[str, object] = {
            "presentity": watch.uri,
            "subscription": watch.state,
            "status": appearance(watch, now).status or None,
        }
        self._print(now, found | _told(watch))

    def show_list(self, watch: ListWatch, taken: Taken, *, notified: bool) -> None:
        """Print the list when its state or its members are others, then each member's change."""
        if not notified:
            return
        now = self._wall()
        members = tuple(watch.table.members)
        head = (watch.state, watch.table.version is None, members)
        if self._lists.get(watch) != head:
            self._lists[watch] = head
            self._print(now, {"list": watch.uri, "subscription": watch.state, "members": members})
        for uri in taken.removed:
            self._print(now, {"list": watch.uri, "presentity": uri, "removed": True})
        for row in changed_rows(watch, taken):
            of_row: dict[str, object] = {
                "list": row.place[-2],
                "presentity": row.uri,
                "name": row.name or None,
                "subscription": row.state,
                "reason": row.reason or None,
                "status": row_appearance(row, now).status or None,
            }
            self._print(now, of_row | _told(row))

    def _print(self, now: float, found: dict[str, object]) -> None:
        time = datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds")
        self._output.line(_escaped(json.dumps({"time": time, **found}, ensure_ascii=False)))

    def remark(self, text: str) -> None:
        """Print to the errors."""
        self._errors.line(f"presencectl: {text}")


class TerminalView:
    """Lines, until a list turns up: then a table."""

    def __init__(self, lines: View, table: Callable[[], View]) -> None:
        self._view = lines
        self._table: Callable[[], View] | None = table

    def show(self, watch: PresenceWatch, *, notified: bool) -> None:
        """As the view of now does."""
        self._view.show(watch, notified=notified)

    def show_list(self, watch: ListWatch, taken: Taken, *, notified: bool) -> None:
        """As a table."""
        if self._table is not None:
            self._view, self._table = self._table(), None
        self._view.show_list(watch, taken, notified=notified)

    def remark(self, text: str) -> None:
        """As the view of now does."""
        self._view.remark(text)


def _lines(now: float, label: str, seen: Appearance) -> str:
    """A line, and lines of details below it."""
    line = f"{local_time(now)}  {label}  {seen.status or '-'}  {seen.text}".rstrip()
    return "".join(f"{text}\n" for text in (line, *map(_below, seen.details)))


def _told(watch: Presentity) -> dict[str, object]:
    """What a document tells, and the document."""
    summary = summary_of(watch)
    if summary is None or watch.document is None:
        return {}
    return attrs.asdict(summary) | {"document": watch.document.decode("utf-8", "replace")}


def _below(text: str) -> str:
    """A line of details below the line that begins with the time."""
    return f"          {text}"


def _escaped(text: str) -> str:
    """JSON whose strings hold nothing that moves a cursor; it means the same."""
    if text.isprintable():
        return text
    # what is not printable stands in strings only, since we indent nothing
    return "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text)


def local_time(seconds: float) -> str:
    """Wall-clock seconds as the clock on the wall shows them."""
    return datetime.fromtimestamp(seconds).strftime("%H:%M:%S")
