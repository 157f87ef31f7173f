"""How watched presence is shown: lines, a table in place, or JSON."""

from __future__ import annotations

import json
import shutil
import unicodedata
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

import attrs

from presence.commands import details
from presence.pidf.parse import DocumentError
from presence.pidf.plain import plain
from presence.pidf.summary import Summary, latest_person, reachable, summarise

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from presence.commands.session import Output
    from presence.watcher import PresenceWatch

_EXPLAINED = {
    "": "waiting for the server",
    "pending": "waiting for permission",
}


@attrs.frozen(slots=True)
class Appearance:
    """What is seen of a presentity.

    :ivar status: ``open``, ``closed``, ``offline`` (nothing is published), ``unknown``
        (nothing is said), or "" while there is no document.
    :ivar text: activities, moods, notes, and the state of the subscription when it is not
        active.
    :ivar details: what else is known, in lines.
    """

    status: str
    text: str
    details: tuple[str, ...] = ()


def appearance(watch: PresenceWatch, now: float) -> Appearance:
    """What is seen of ``watch``.

    :param now: wall-clock seconds.
    """
    parts = []
    explained = _EXPLAINED.get(watch.state)
    if watch.state == "terminated" and watch.reason:
        explained = f"subscription ended: {plain(watch.reason)}"
    summary = summary_of(watch)
    if explained:
        parts.append(f"({explained})")
    if summary is None:
        return Appearance("", " ".join(parts))
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


def summary_of(watch: PresenceWatch) -> Summary | None:
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

    def remark(self, text: str) -> None:
        """Something to say beside."""


class LineView:
    """One line per change, and lines of details below it."""

    def __init__(self, output: Output, errors: Output, wall: Callable[[], float]) -> None:
        self._output = output
        self._errors = errors
        self._wall = wall
        self._shown: dict[PresenceWatch, Appearance] = {}

    def show(self, watch: PresenceWatch, *, notified: bool) -> None:
        """Print what is seen, if it is other than before."""
        now = self._wall()
        seen = appearance(watch, now)
        if self._shown.get(watch) != seen:
            self._shown[watch] = seen
            line = f"{_local(now)}  {watch.uri}  {seen.status or '-'}  {seen.text}".rstrip()
            self._output.write("".join(f"{text}\n" for text in (line, *map(_below, seen.details))))

    def remark(self, text: str) -> None:
        """Print to the errors."""
        self._errors.line(f"presencectl: {text}")


class JsonView:
    """One JSON object per NOTIFY, one a line."""

    def __init__(self, output: Output, errors: Output, wall: Callable[[], float]) -> None:
        self._output = output
        self._errors = errors
        self._wall = wall

    def show(self, watch: PresenceWatch, *, notified: bool) -> None:
        """Print a NOTIFY with everything it told."""
        if not notified:
            return
        now = self._wall()
        found: dict[str, object] = {
            "time": datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds"),
            "presentity": watch.uri,
            "subscription": watch.state,
            "status": appearance(watch, now).status or None,
        }
        summary = summary_of(watch)
        if summary is not None and watch.document is not None:
            found |= attrs.asdict(summary)
            found["document"] = watch.document.decode("utf-8", "replace")
        self._output.line(_escaped(json.dumps(found, ensure_ascii=False)))

    def remark(self, text: str) -> None:
        """Print to the errors."""
        self._errors.line(f"presencectl: {text}")


class TableView:
    """A table on a terminal, written anew in its place at each change.

    :param rows: the presentities, in the order to show.
    :param width: gives the columns of the terminal.
    """

    def __init__(
        self,
        output: Output,
        wall: Callable[[], float],
        rows: Sequence[str],
        width: Callable[[], int] = lambda: shutil.get_terminal_size().columns,
    ) -> None:
        self._output = output
        self._wall = wall
        self._width = width
        self._rows: dict[str, tuple[str, Appearance]] = {
            uri: ("", Appearance("", "(waiting for the server)")) for uri in rows
        }
        self._remark = ""
        self._height = 0
        self._draw()

    def show(self, watch: PresenceWatch, *, notified: bool) -> None:
        """Write the table anew if a row has changed."""
        seen = appearance(watch, self._wall())
        before = self._rows.get(watch.uri)
        if before is None or before[1] != seen or (notified and not before[0]):
            self._rows[watch.uri] = (_local(self._wall()), seen)
            self._draw()

    def remark(self, text: str) -> None:
        """Show the last remark under the table."""
        self._remark = f"{_local(self._wall())}  {plain(text)}"
        self._draw()

    def _draw(self) -> None:
        columns = ["PRESENTITY", "STATUS", "SINCE"]
        first = max(map(_cells, [columns[0], *self._rows]))
        lines = [f"{columns[0]:<{first}}  {columns[1]:<8}  {columns[2]:<8}  NOTE"]
        for uri, (since, seen) in self._rows.items():
            padded = uri + " " * (first - _cells(uri))
            lines.append(f"{padded}  {seen.status or '-':<8}  {since or '-':<8}  {seen.text}")
        if self._remark:
            lines.append(self._remark)
        # A line that wraps would be counted wrongly when the table is written anew.
        lines = [_cut(line.rstrip(), self._width() - 1) for line in lines]
        up = f"\x1b[{self._height}A" if self._height else ""
        self._output.write(f"{up}\r\x1b[J" + "".join(f"{line}\n" for line in lines))
        self._height = len(lines)


def _below(text: str) -> str:
    """A line of details below the line that begins with the time."""
    return f"          {text}"


def _escaped(text: str) -> str:
    """JSON whose strings hold nothing that moves a cursor; it means the same."""
    if text.isprintable():
        return text
    # what is not printable stands in strings only, since we indent nothing
    return "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text)


def _local(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).strftime("%H:%M:%S")


def _cells(text: str) -> int:
    """Columns that ``text`` takes on a terminal."""
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1
        for c in text
    )


def _cut(text: str, width: int) -> str:
    """``text`` shortened to ``width`` columns."""
    if _cells(text) <= width:
        return text
    while text and _cells(text) > width - 1:
        text = text[:-1]
    return text + "…"
