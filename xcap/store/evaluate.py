"""Which drafts of a batch succeed, and what they leave behind; pure.

Drafts are taken in order; each sees what those before it have done (XCAP-145).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count
from typing import TypeAlias

import attrs

from xcap.errors import ClaimTaken, TagMismatch
from xcap.records import Change, Document, DocumentKey, Draft

Name: TypeAlias = tuple[str, str]
"""Space and name of a claim."""

Outcome: TypeAlias = Change | TagMismatch | ClaimTaken | None
"""What became of a draft; None when there was nothing to remove."""


def tags(start: str) -> Callable[[], str]:
    """A source of entity-tags that never repeat (XCAP-151).

    :param start: random, another one at every start of a store.
    """
    serial = count(1)
    return lambda: f"{start}{next(serial):x}"


@attrs.frozen(slots=True)
class Work:
    """The drafts of one transaction.

    :ivar known: for each draft the octets of the document that has the tag ``before``; None
        when they must be looked up.
    :ivar time: wall-clock seconds of the changes.
    """

    drafts: Sequence[Draft]
    known: Sequence[bytes | None]
    time: float


@attrs.define(slots=True)
class Ground:
    """What drafts find: as much of the store as they concern.

    :ivar tags: entity-tags of the documents that exist.
    :ivar octets: their contents, needed for those that a draft replaces or removes.
    :ivar held: what each of them claims, (contents by name).
    :ivar holders: who holds the names that drafts claim, and the names in ``held``.
    """

    tags: dict[DocumentKey, str] = attrs.Factory(dict)
    octets: dict[DocumentKey, bytes] = attrs.Factory(dict)
    held: dict[DocumentKey, dict[Name, bytes]] = attrs.Factory(dict)
    holders: dict[Name, DocumentKey] = attrs.Factory(dict)


@attrs.define(slots=True)
class Effects:
    """What a batch leaves behind.

    :ivar position: of the last change.
    :ivar outcomes: one for each draft, in order.
    :ivar documents: those that have changed; None: gone.
    :ivar claims: holder and content of those that have changed; None: free.
    :ivar claim_tags: new entity-tags by (root, space) of the claims that have changed.
    """

    position: int
    outcomes: list[Outcome] = attrs.Factory(list)
    documents: dict[DocumentKey, Document | None] = attrs.Factory(dict)
    claims: dict[Name, tuple[DocumentKey, bytes] | None] = attrs.Factory(dict)
    claim_tags: dict[tuple[str, str], str] = attrs.Factory(dict)

    @property
    def changes(self) -> list[Change]:
        """Those of the drafts that have succeeded."""
        return [outcome for outcome in self.outcomes if isinstance(outcome, Change)]


def evaluate(work: Work, ground: Ground, position: int, tag: Callable[[], str]) -> Effects:
    """Apply drafts.

    :param ground: is changed.
    :param position: of the last change in the store.
    :param tag: gives a new entity-tag.
    """
    effects = Effects(position)
    for draft in work.drafts:
        effects.outcomes.append(_apply(draft, ground, effects, tag, work.time))
    return effects


def _apply(
    draft: Draft, ground: Ground, effects: Effects, tag: Callable[[], str], time: float
) -> Outcome:
    key = draft.key
    current = ground.tags.get(key, "")
    if current != draft.before:
        return TagMismatch(current)
    octets = draft.octets
    wanted: dict[Name, bytes] = {}
    taken: list[str] = []
    for claim in draft.claims if octets is not None else ():
        name = claim.space, claim.name
        if name in wanted or ground.holders.get(name, key) != key:
            taken.append(claim.name)
        wanted[name] = claim.content
    if taken:
        return ClaimTaken(tuple(dict.fromkeys(taken)))
    if octets is None and not current:
        return None
    effects.position += 1
    after = ""
    old = ground.octets.get(key, b"")
    if octets is None:
        del ground.tags[key]
        ground.octets.pop(key, None)
        effects.documents[key] = None
    else:
        after = tag()
        ground.tags[key] = after
        ground.octets[key] = octets
        effects.documents[key] = Document(key, octets, after, time)
    _claim(key, wanted, ground, effects, tag)
    return Change(
        position=effects.position,
        key=key,
        before=current,
        after=after,
        old=old,
        new=b"" if octets is None else octets,
        author=draft.author,
        node=draft.node,
        time=time,
    )


def _claim(
    key: DocumentKey,
    wanted: dict[Name, bytes],
    ground: Ground,
    effects: Effects,
    tag: Callable[[], str],
) -> None:
    """Let a document claim ``wanted`` instead of what it did."""
    held = ground.held.get(key, {})
    if held == wanted:
        return
    spaces = set()
    for name in held:
        if name not in wanted:
            del ground.holders[name]
            effects.claims[name] = None
            spaces.add(name[0])
    for name, content in wanted.items():
        if held.get(name) != content:
            ground.holders[name] = key
            effects.claims[name] = key, content
            spaces.add(name[0])
    ground.held[key] = wanted
    for space in spaces:
        effects.claim_tags[key.root, space] = tag()
