"""SQL for many rows at once.

The interpreter lock is given up for every step of a statement, and a busy reactor keeps it for a
switch interval (5 ms unless set) before it is won back: what counts is the number of steps.  So
each kind of row is one statement for all its rows.  Its text has room for a power of two of
them, so that few texts serve all batches and stay in the cache of prepared statements.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    import sqlite3

#: a probe that is too small finds room where the next batch finds none
PROBE_OCTETS = 1 << 18

#: rows in a statement at most; SQLite takes 32766 parameters, a publication has 11
LARGEST = 2048

#: SQL text and its parameters
Step: TypeAlias = tuple[str, list[Any]]


class Rows:
    """A statement for any number of rows; room that they leave is filled and cut off again.

    :param head: text before the rows.
    :param row: text of one row, with its parameters.
    :param tail: text after the rows.  When it has ``LIMIT ?`` that gets the number of rows,
        else the last row is repeated, which must do no harm.
    """

    __slots__ = ("_limited", "_texts", "_width")

    def __init__(self, head: str, row: str, tail: str) -> None:
        self._width = row.count("?")
        self._limited = "LIMIT ?" in tail
        self._texts = [
            head + ",".join([row] * (1 << power)) + tail for power in range(LARGEST.bit_length())
        ]

    def steps(self, values: list[Any]) -> Iterator[Step]:
        """What to execute for ``values``, the parameters of all rows one after the other."""
        width = self._width
        for first in range(0, len(values), LARGEST * width):
            some = values[first : first + LARGEST * width]
            rows = len(some) // width
            power = (rows - 1).bit_length()
            room = (1 << power) - rows
            if self._limited:
                # integers: binding None is slow
                some += [0] * (room * width)
                some.append(rows)
            elif room:
                some += some[-width:] * room
            yield self._texts[power], some


def transact(database: sqlite3.Connection, steps: list[Step]) -> None:
    """Execute statements in one transaction.

    :raises sqlite3.Error: nothing has been written.
    """
    execute = database.execute
    if len(steps) == 1:
        # a transaction by itself
        execute(*steps[0])
        return
    execute("BEGIN IMMEDIATE")
    try:
        for text, values in steps:
            execute(text, values)
        execute("COMMIT")
    except BaseException:
        if database.in_transaction:
            execute("ROLLBACK")
        raise


def probe(database: sqlite3.Connection) -> None:
    """Write as much as a batch may be, and free it again.

    :raises sqlite3.Error: the medium takes no writes yet.
    """
    transact(database, [("UPDATE layout SET probe = zeroblob(?)", [PROBE_OCTETS])])
    transact(database, [("UPDATE layout SET probe = NULL", [])])
