"""Watched presence as a table on a terminal, written anew in its place at each change."""

from __future__ import annotations

import shutil
import unicodedata
from typing import TYPE_CHECKING

import attrs

from presence.commands.listrows import Place, rows
from presence.commands.views import (
    Appearance,
    appearance,
    list_appearance,
    local_time,
    row_appearance,
)
from presence.pidf.plain import plain

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from presence.commands.session import Output
    from presence.rls.listwatch import Taken
    from presence.watcher import ListWatch, PresenceWatch


@attrs.frozen(slots=True)
class _Line:
    """A line of the table.

    :ivar since: when it was seen first as it is, "" while nothing was told.
    """

    label: str
    since: str
    seen: Appearance


class TableView:
    """A table; the members of a list stand below it.

    What does not fit on the terminal is counted only.

    :param watched: presentities and lists, in the order to show.
    :param width: gives the columns of the terminal.
    :param height: gives its lines.
    """

    def __init__(
        self,
        output: Output,
        wall: Callable[[], float],
        watched: Sequence[str],
        width: Callable[[], int] = lambda: shutil.get_terminal_size().columns,
        height: Callable[[], int] = lambda: shutil.get_terminal_size().lines,
    ) -> None:
        self._output = output
        self._wall = wall
        self._width = width
        self._height = height
        waiting = Appearance("", "(waiting for the server)")
        self._blocks: dict[str, dict[Place, _Line]] = {
            uri: {(uri,): _Line(uri, "", waiting)} for uri in watched
        }
        self._remark = ""
        self._drawn = 0
        self._draw()

    def show(self, watch: PresenceWatch, *, notified: bool) -> None:
        """Write the table anew if a row has changed."""
        now = self._wall()
        line = self._line((watch.uri,), watch.uri, appearance(watch, now), now, notified)
        self._put(watch.uri, {(watch.uri,): line})

    def show_list(self, watch: ListWatch, taken: Taken, *, notified: bool) -> None:
        """Write the table anew if a row of the list has changed, come or gone."""
        now = self._wall()
        place: Place = (watch.uri,)
        before = self._blocks.get(watch.uri, {})
        head = list_appearance(watch)
        block = {place: self._line(place, watch.uri, head, now, notified)}
        changed = frozenset(taken.changed)
        # what was seen before permission was taken away is no state of now
        for row in rows(watch.table, place) if head.status else ():
            known = before.get(row.place)
            seen = known.seen if known is not None else Appearance("", "")
            if known is None or row.place[1] in changed:
                seen = row_appearance(row, now)
            label = "  " * (len(row.place) - 1) + row.label
            block[row.place] = self._line(row.place, label, seen, now, bool(row.state))
        self._put(watch.uri, block)

    def remark(self, text: str) -> None:
        """Show the last remark under the table."""
        self._remark = f"{local_time(self._wall())}  {plain(text)}"
        self._draw()

    def _line(
        self, place: Place, label: str, seen: Appearance, now: float, notified: bool
    ) -> _Line:
        before = self._blocks.get(place[0], {}).get(place)
        if before is not None and before.seen == seen and (before.since or not notified):
            return attrs.evolve(before, label=label)
        told = notified or (before is not None and before.since)
        return _Line(label, local_time(now) if told else "", seen)

    def _put(self, uri: str, block: dict[Place, _Line]) -> None:
        # their order counts, too
        if list(self._blocks.get(uri, {}).items()) != list(block.items()):
            self._blocks[uri] = block
            self._draw()

    def _draw(self) -> None:
        lines = [line for block in self._blocks.values() for line in block.values()]
        columns = ["PRESENTITY", "STATUS", "SINCE"]
        first = max(_cells(label) for label in [columns[0], *(line.label for line in lines)])
        texts = [f"{columns[0]:<{first}}  {columns[1]:<8}  {columns[2]:<8}  NOTE"]
        for line in lines:
            padded = line.label + " " * (first - _cells(line.label))
            seen = line.seen
            texts.append(f"{padded}  {seen.status or '-':<8}  {line.since or '-':<8}  {seen.text}")
        # What has left the top of the terminal cannot be written anew.
        fitting = max(self._height() - 1 - bool(self._remark), 2)
        if len(texts) > fitting:
            hidden = len(texts) - fitting + 1
            texts[fitting - 1 :] = [f"… and {hidden} more"]
        if self._remark:
            texts.append(self._remark)
        # A line that wraps would be counted wrongly when the table is written anew.
        texts = [_cut(text.rstrip(), self._width() - 1) for text in texts]
        up = f"\x1b[{self._drawn}A" if self._drawn else ""
        self._output.write(f"{up}\r\x1b[J" + "".join(f"{text}\n" for text in texts))
        self._drawn = len(texts)


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
