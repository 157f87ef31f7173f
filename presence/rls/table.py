"""What the watcher of a list has been told, and what its next NOTIFY has to tell.

A change costs the same whatever the size of the list; a report costs as much as it tells.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from hashlib import blake2b
from typing import Final, Literal

import attrs

from presence.partial.wanted import PIDF
from presence.rls.draft import Draft, Standing, Terms
from presence.rls.model import Instance, Member, Names
from presence.rls.rlmi import enclose, join_rlmi, related_size, write_related

Excess = Literal["unlisted", "terminated"]
"""How members beyond the greatest number are listed (RLO-04): without an instance, or with one
that is terminated with reason ``giveup``."""

_ANYWHERE: Final = Standing()
_EXCESS: Final = Instance("excess", "terminated", "giveup")
_WORD: Final = (1 << 64) - 1
_UNCERTAIN: Final = Instance("", "pending")
# What a watcher knows who may have got a NOTIFY, or not.  No member has an instance like it:
# instances with an empty id are refused.


@attrs.define(eq=False, slots=True)
class _Row:
    """A member.

    :ivar beyond: it has no state: there are too many before it.
    :ivar now: what is to be told of it; None when nothing is known.
    :ivar known: what the watcher knows of it.
    :ivar version: of the last document in ``application/pidf-diff+xml`` that has arrived.
    :ivar counted: id of the instance that it counts in.
    """

    member: Member
    beyond: bool
    now: Instance | None = None
    known: Instance | None = None
    version: int = 0
    counted: str = ""

    def standing(self, first: int, *, full: bool) -> Standing:
        """Where the watcher stands with its changes.

        :param first: versions of a new instance begin above it.
        """
        now, known = self.now, self.known
        if now is None:
            return _ANYWHERE
        if self.counted != now.id:
            self.counted, self.version = now.id, first
        same = not full and known is not None and known.id == now.id
        base = known.body if same and known is not None and known.body else None
        return Standing(self.version, base if known is not None and _is_pidf(known) else None)


@attrs.frozen(eq=False, slots=True, kw_only=True)
class Report:
    """The body of a NOTIFY.

    :ivar version: its number within the subscription.
    :ivar full: it lists all members.
    :ivar content_type: Content-Type.
    :ivar body: octets.
    :ivar rest: it does not tell everything there is to tell (RLS-18).
    :ivar mark: what the watcher knows with it, as a 64-bit number that outlives restarts.
    :ivar versions: of documents in ``application/pidf-diff+xml``, by key of member.
    :ivar told: what it tells, by key of member; the table's concern.
    :ivar asked: requests for full state that it answers; the table's concern.
    """

    version: int
    full: bool
    content_type: str
    body: bytes = attrs.field(repr=False)
    rest: bool
    mark: int
    versions: dict[str, int] = attrs.field(repr=False)
    told: dict[str, Instance | None] = attrs.field(repr=False)
    asked: int = attrs.field(repr=False)


class ListTable:
    """The members of one list subscription and their states.

    The first report is full, and so is each one after :meth:`refresh` until one of them has
    been acknowledged (RLS-07); the others tell of members that have changed (RLS-10).

    :param uri: the list as it was subscribed to (RLS-08).
    :param names: display names of the list.
    :param maximum: members that have a state; None for all (RLO-04).
    :param excess: how the others are listed.
    :param first: versions of documents in ``application/pidf-diff+xml`` begin above it: after a
        restart, at what no one before can have had (PNO-04).
    """

    __slots__ = (
        "_asked",
        "_due",
        "_excess",
        "_first",
        "_given",
        "_known_mark",
        "_list_mark",
        "_marks",
        "_maximum",
        "_members",
        "_names",
        "_rows",
        "_sent",
        "_uri",
    )

    def __init__(
        self,
        uri: str,
        names: Names = (),
        *,
        maximum: int | None = None,
        excess: Excess = "unlisted",
        first: int = 0,
    ) -> None:
        self._uri = uri
        self._first = first
        self._names = names
        self._maximum = maximum
        self._excess = _EXCESS if excess == "terminated" else None
        self._members: tuple[Member, ...] = ()
        self._rows: dict[str, _Row] = {}
        # Keys of what is to be told, in the order in which it became due.
        self._due: dict[str, None] = {}
        self._asked = 1
        self._given = 0
        self._sent: Report | None = None
        self._list_mark = self._known_mark = 0
        self._marks: dict[str, int] = {}

    @property
    def subscribed(self) -> tuple[Member, ...]:
        """The members that have a state: those within the greatest number (RLO-04)."""
        return self._members[: self._maximum]

    @property
    def due(self) -> bool:
        """Whether there is anything to report."""
        return self._given < self._asked or bool(self._due)

    @property
    def mark(self) -> int:
        """What a watcher knows to whom everything is told, as :attr:`Report.mark`."""
        return self._mark_of({key: row.now for key, row in self._rows.items()})

    def _mark_of(self, states: Mapping[str, Instance | None]) -> int:
        mark = self._list_mark
        for key, state in states.items():
            mark ^= _mark(key, state)
        return _signed(mark)

    def _mark_after(self, told: Mapping[str, Instance | None]) -> int:
        """What the watcher knows after a partial report."""
        mark = self._known_mark
        for key, state in told.items():
            mark ^= self._marks.get(key, 0) ^ _mark(key, state)
        return _signed(mark)

    def instance(self, key: str) -> Instance | None:
        """What is to be told of a member; None when nothing is, or it is no member."""
        row = self._rows.get(key)
        return None if row is None else row.now

    # -- changes ------------------------------------------------------------------------

    def set_service(self, names: Names, members: Iterable[Member]) -> None:
        """The list has changed: the next report is full (RLS-22).

        Members that stay keep what is known of them, others are forgotten.  Of members with
        one key the first counts (RLS-17).  A list like the one before changes nothing.
        """
        first: dict[str, Member] = {}
        for member in members:
            first.setdefault(member.key, member)
        unique = tuple(first.values())
        if names == self._names and unique == self._members:
            return
        most = len(unique) if self._maximum is None else self._maximum
        rows: dict[str, _Row] = {}
        for place, member in enumerate(unique):
            old = self._rows.get(member.key)
            row = rows[member.key] = _Row(member, place >= most)
            if row.beyond:
                row.now = self._excess
            elif old is not None and not old.beyond:
                row.now = old.now
                row.version, row.counted = old.version, old.counted
                continue
            if old is not None:
                self._leave(member.key, old)
        for key, old in self._rows.items():
            if key not in rows:
                self._leave(key, old)
        self._names = names
        self._members = unique
        self._list_mark = _list_mark(names, unique)
        self._marks.clear()  # the next report is full
        self._rows = rows
        self._asked += 1

    def _leave(self, key: str, row: _Row) -> None:
        """A member is forgotten; its versions go on (PNO-04).

        If it comes back before the watcher hears of that, its instance may have the same id.
        """
        sent = 0 if self._sent is None else self._sent.versions.get(key, 0)
        self._first = max(self._first, row.version, sent)

    def set_instance(self, key: str, instance: Instance) -> bool:
        """A back-end subscription has told something; whether a report is due after that.

        Only active instances have a state: one without is like none, since it has to have a
        part (RLS-09, RFC 4662 section 4.5).  Who is no member, or has no state, is ignored.

        :raises ValueError: the instance has no id.
        """
        if not instance.id:
            raise ValueError("instance without id")
        return self._set(key, _shown(instance))

    def remove_instance(self, key: str) -> bool:
        """Nothing is known of a member any more; whether a report is due after that."""
        return self._set(key, None)

    def refresh(self) -> None:
        """The next report is full, as after each SUBSCRIBE (RLS-07)."""
        self._asked += 1

    def _set(self, key: str, instance: Instance | None) -> bool:
        row = self._rows.get(key)
        if row is not None and not row.beyond:
            row.now = instance
            if row.known == instance:
                row.now = row.known  # which need not be kept twice
                self._due.pop(key, None)
            else:
                self._due[key] = None
        return self.due

    # -- reports ------------------------------------------------------------------------

    def report(self, version: int, token: str, terms: Terms) -> Report | None:
        """What the next NOTIFY has to tell; None when that is nothing.

        A report takes the place of the one before, which may have arrived or not: unless that
        has been acknowledged, what it told is told again, with what has changed since.

        A body over the limit is cut (RLS-18): a full report then lists members without an
        instance, a partial one leaves them out, and they stay due.  A full report lists all
        members, whatever the limit, and a partial one tells of one at least.

        :param version: number of the NOTIFY in the subscription, from 0 (RLS-06).
        :param token: what makes Content-IDs and boundary, of the characters of a token; one
            that nobody can guess, for it may not occur in what members publish.
        """
        draft = Draft(token, terms)
        full = self._given < self._asked
        told: dict[str, Instance | None] = {}
        draft.size = related_size(
            enclose(draft.cid(0), join_rlmi(self._uri, version, full, self._names, ())),
            token,
            terms.bare_ids,
        )
        if full:
            rest = self._tell_all(draft, told)
        elif self._due:
            rest = self._tell_changes(draft, told)
        else:
            return None
        document = join_rlmi(self._uri, version, full, self._names, draft.rows)
        content_type, body = write_related(
            enclose(draft.cid(0), document), draft.parts, token, bare_ids=terms.bare_ids
        )
        self._sent = Report(
            version=version,
            full=full,
            content_type=content_type,
            body=body,
            rest=rest,
            mark=self._mark_of(told) if full else self._mark_after(told),
            versions=draft.versions,
            told=told,
            asked=self._asked if full else 0,
        )
        return self._sent

    def _tell_all(self, draft: Draft, told: dict[str, Instance | None]) -> bool:
        """List all members, with the states that fit; whether some do not."""
        rest = False
        for row in self._rows.values():
            now = row.now
            draft.mention(row.member, None if now is None or now.state == "active" else now)
        for place, (key, row) in enumerate(self._rows.items()):
            now = told[key] = row.now
            if now is None or now.state != "active":
                continue
            standing = row.standing(self._first, full=True)
            if draft.enrich(place, row.member, now, standing):
                continue
            told[key] = None
            rest = True
        return rest

    def _tell_changes(self, draft: Draft, told: dict[str, Instance | None]) -> bool:
        """List the members that are due and fit; whether some do not.

        What does not fit waits for its turn: nobody's change is overtaken for ever.
        """
        for key in self._due:
            row = self._rows[key]
            standing = row.standing(self._first, full=False)
            if not draft.add(row.member, row.now, standing):
                return True
            told[key] = row.now
            row.known = _UNCERTAIN
        return False

    def acknowledged(self, report: Report) -> None:
        """A report has arrived: what it told need not be told again.

        Only the last one counts: after another, it is not known what the watcher has.
        """
        if report is not self._sent:
            return
        self._sent = None
        for key, told in report.told.items():
            self._marks[key] = _mark(key, told)
        self._known_mark = report.mark & _WORD
        for key, version in report.versions.items():
            if key in self._rows:
                self._rows[key].version = version
        if report.full:
            self._given = report.asked
            self._due.clear()
            for key, row in self._rows.items():
                row.known = report.told.get(key)
                if row.known != row.now:
                    self._due[key] = None
            return
        for key, told in report.told.items():
            told_row = self._rows.get(key)
            if told_row is not None:
                told_row.known = told
                if told_row.now == told:
                    self._due.pop(key, None)


def _is_pidf(instance: Instance) -> bool:
    return instance.content_type == PIDF


def _shown(instance: Instance) -> Instance | None:
    """What there is to tell of an instance, and nothing else."""
    if instance.state == "terminated":
        return Instance(instance.id, "terminated", instance.reason)
    if instance.state == "pending":
        return Instance(instance.id, "pending")
    kind = instance.content_type
    # a line end would forge a header field
    if not instance.body or not kind or "\r" in kind or "\n" in kind:
        return None
    return instance if not instance.reason else attrs.evolve(instance, reason="")


def _digest(*parts: bytes) -> int:
    digest = blake2b(digest_size=8)
    for part in parts:
        digest.update(part)
        digest.update(b"\0")
    return int.from_bytes(digest.digest(), "big")


def _list_mark(names: Names, members: Iterable[Member]) -> int:
    told = repr((names, [(member.uri, member.names) for member in members]))
    return _digest(told.encode("utf-8", "surrogateescape"))


def _mark(key: str, state: Instance | None) -> int:
    """What tells states of a member apart: all but the number of the instance."""
    if state is None:
        return 0
    told = f"{key} {state.state} {state.reason} {state.content_type}"
    return _digest(told.encode("utf-8", "surrogateescape"), state.body)


def _signed(mark: int) -> int:
    return mark - (1 << 64) if mark >> 63 else mark
