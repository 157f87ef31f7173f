"""``presencectl authorize``: decide about watchers by editing the own rules."""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from presence.commands.explanation import outlook_text
from presence.commands.failures import OK, REFUSED, CommandError
from presence.commands.options import Parsers, presentity
from presence.commands.session import Output
from presence.commands.xcapsession import (
    add_root_options,
    document_settings,
    run_documents,
    sip_settings,
)
from presence.documentcopy import OMA_RULES
from presence.rulereader import OwnRules, RuleDocument, RuleReader
from presence.rules.authorize import NotDecisiveError, authorize
from presence.rules.decide import decide
from presence.rules.document import merge
from presence.rules.foresight import foresee
from presence.rules.model import VALUES, Context, Watcher
from pysip.uri import canonical_aor
from xcap.uri import build

if TYPE_CHECKING:
    from presence.commands.xcapsession import DocumentSettings
    from presence.rules.model import Handling
    from presence.rules.ruleset import RuleSet
    from xcap.client import XcapClient

_USUAL = "index"


def add_parser(parsers: Parsers) -> None:
    """Describe the command."""
    parser = parsers.add(
        "authorize",
        "decide whether somebody may watch you",
        """
presencectl authorize sip:bob@example.com allow --user sip:alice@example.com
presencectl authorize bob polite-block        (in alice's domain, with $PRESENCE_USER set)
""",
    )
    parser.add_argument("watcher", metavar="WATCHER", help="user alone means your own domain")
    parser.add_argument(
        "decision",
        choices=tuple(reversed(VALUES)),
        help="allow: sees everything; polite-block: sees you offline; confirm: waits for another "
        "decision; block: is refused",
    )
    add_root_options(parser)
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    sip = sip_settings(options)
    settings = document_settings(options, sip)
    watcher = canonical_aor(presentity(options.watcher, "", sip.user.host))
    output = Output(sys.stdout)
    work = authorizing(settings, watcher, options.decision, output, Output(sys.stderr))
    return run_documents(
        settings, f"authorizing {options.watcher}", work, output, debug=options.debug
    )


def authorizing(
    settings: DocumentSettings,
    watcher: str,
    decision: Handling,
    output: Output,
    errors: Output,
    wall: Callable[[], float] = time.time,
) -> Callable[[XcapClient], Awaitable[int]]:
    """Changes the rules so that they make a decision; gives the exit status.

    The document that counts is edited: OMA's if there is one, else the IETF's (XDM-100); without
    any, one of OMA is made. Nothing is written where other rules would decide otherwise all the
    same; what is written is looked at once more.

    :param watcher: canonical URI.
    :param wall: wall-clock seconds.
    """

    async def work(client: XcapClient) -> int:
        edit = _Edit(settings.aor, watcher, decision, RuleReader(client, settings.aor), wall)
        changed = await edit.apply(client)
        reached, remarks = await edit.check()
        output.line(f"{watcher}: {reached}" + ("" if changed else " already"))
        for remark in remarks:
            errors.line(f"presencectl: {remark}")
        return OK if reached == decision else REFUSED

    return work


class _Edit:
    """One decision on its way into the rules."""

    def __init__(
        self,
        owner: str,
        watcher: str,
        decision: Handling,
        reader: RuleReader,
        wall: Callable[[], float],
    ) -> None:
        self._owner = owner
        self._watcher = watcher
        self._decision = decision
        self._reader = reader
        self._wall = wall

    async def apply(self, client: XcapClient) -> bool:
        """Edit the document; tells whether anything had to be changed.

        :raises CommandError: it would not be decisive, or the rules cannot be read.
        """
        own = await self._reader.documents()
        target = _target(own)
        others = [one for one in own.counting if one is not target]
        sets = [_read(one) for one in others]
        context = await self._context([*sets, *([_read(target)] if target else [])])
        taken = [rule.id for one in sets for rule in one.rules]
        for idle in own.idle:
            with contextlib.suppress(ValueError):  # it does not count, and may be no rules at all
                taken += [rule.id for rule in idle.rules().rules]
        path = target.path if target else build("", OMA_RULES, self._owner, "pres-rules")[1:]
        changed = False

        def edit(before: bytes) -> bytes:
            nonlocal changed
            if target is not None and not before:
                raise CommandError(f"{target.name} has gone meanwhile; try again", REFUSED)
            try:
                after = authorize(
                    before,
                    self._owner,
                    self._watcher,
                    self._decision,
                    context,
                    flavour=target.flavour if target else "oma",
                    others=sets,
                    taken=taken,
                )
            except NotDecisiveError as error:
                raise CommandError(
                    f"{self._watcher}: {error}; nothing was changed, see presencectl rules "
                    f"explain, and edit {', '.join(one.name for one in own.counting)}",
                    REFUSED,
                ) from None
            except ValueError as error:
                raise CommandError(f"your rules cannot be read: {error}", REFUSED) from None
            changed = after != before
            return after

        await client.change(path, edit)
        return changed

    async def check(self) -> tuple[Handling, list[str]]:
        """What the rules decide now, and remarks about what may be otherwise."""
        own = await self._reader.documents()
        rules = merge(map(_read, own.counting))
        presentity, watcher = frozenset((self._owner,)), Watcher((self._watcher,))
        context = await self._context([rules])
        decision = decide(rules, presentity, watcher, context)
        remarks = []
        if decision.handling != self._decision:
            remarks.append(f"other rules decide: {'; '.join(decision.reasons)}")
        elif decision.undetermined:
            remarks.append("a list that your rules name cannot be read now; it may yet decide")
        remarks += [
            outlook_text(outlook) for outlook in foresee(rules, presentity, watcher, context)
        ]
        if own.idle:
            names = ", ".join(one.name for one in own.idle)
            remarks.append(
                f"{names}: does not count beside OMA's document, unless the operator counts both"
            )
        return decision.handling, remarks

    async def _context(self, sets: list[RuleSet]) -> Context:
        """Of now; lists are looked up only where the decision depends on them."""
        watcher, plain = Watcher((self._watcher,)), Context(self._wall())
        rules = merge(sets)
        presentity = frozenset((self._owner,))
        if not decide(rules, presentity, watcher, plain).undetermined:
            return plain
        listed = await self._reader.lists(rules.anchors)
        members = {anchor: one.members for anchor, one in listed.items()}
        return Context(plain.now, lists=members.get)


def _target(own: OwnRules) -> RuleDocument | None:
    """The document to edit: OMA's, else the one of the usual name; None for a new one."""
    return min(
        own.counting,
        key=lambda one: (one.flavour != "oma", not one.name.endswith(f"/{_USUAL}")),
        default=None,
    )


def _read(document: RuleDocument) -> RuleSet:
    try:
        return document.rules()
    except ValueError as error:
        raise CommandError(f"{document.name} cannot be read: {error}", REFUSED) from None
