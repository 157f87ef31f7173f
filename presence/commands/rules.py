"""``presencectl authorize`` and ``presencectl rules``: decide about watchers, and see why."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from presence.commands.failures import OK, REFUSED, CommandError
from presence.commands.options import Parsers, presentity
from presence.commands.session import Output
from presence.commands.xcapsession import (
    add_root_options,
    document_settings,
    document_uri,
    run_documents,
    sip_settings,
)
from presence.rules.authorize import NotDecisiveError, authorize
from presence.rules.decide import decide, explain
from presence.rules.document import read_rules
from presence.rules.model import VALUES, Context, Watcher
from pysip.uri import canonical_aor

if TYPE_CHECKING:
    from presence.commands.xcapsession import DocumentSettings
    from presence.rules.model import Handling
    from xcap.client import XcapClient

RULES = "org.openmobilealliance.pres-rules/pres-rules"
_TRUTH = {True: "true", False: "false", None: "not known: the list was not looked up"}


def add_parser(parsers: Parsers) -> None:
    """Describe the commands."""
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
    parser.set_defaults(run=_authorize)
    rules = parsers.add(
        "rules",
        "see what your rules say",
        "presencectl rules explain bob --user sip:alice@example.com",
    )
    actions = Parsers(rules)
    told = actions.add(
        "explain",
        "tell what your rules decide about a watcher, and why",
        """
presencectl rules explain sip:bob@example.com --user sip:alice@example.com
presencectl rules explain bob --sphere work --json
""",
    )
    told.add_argument("watcher", metavar="WATCHER", help="user alone means your own domain")
    told.add_argument("--anonymous", action="store_true", help="as if it asked for privacy")
    told.add_argument("--sphere", metavar="NAME", help="as if you were in that sphere")
    told.add_argument("--json", action="store_true", help="as one JSON object")
    add_root_options(told)
    told.set_defaults(run=_explain)


def _session(
    options: argparse.Namespace,
    what: str,
    make_work: Callable[[DocumentSettings, str, Output], Callable[[XcapClient], Awaitable[int]]],
) -> int:
    sip = sip_settings(options)
    settings = document_settings(options, sip)
    watcher = canonical_aor(presentity(options.watcher, "", sip.user.host))
    output = Output(sys.stdout)
    work = make_work(settings, watcher, output)
    return run_documents(settings, what, work, output, debug=options.debug)


def _authorize(options: argparse.Namespace) -> int:
    return _session(
        options,
        f"authorizing {options.watcher}",
        lambda settings, watcher, output: authorizing(settings, watcher, options.decision, output),
    )


def authorizing(
    settings: DocumentSettings, watcher: str, decision: Handling, output: Output
) -> Callable[[XcapClient], Awaitable[int]]:
    """Changes the rules; gives the exit status.

    :param watcher: canonical URI.
    """
    uri = document_uri(RULES, settings)

    async def work(client: XcapClient) -> int:
        changed = False

        def edit(before: bytes) -> bytes:
            nonlocal changed
            try:
                after = authorize(before, settings.aor, watcher, decision)
            except NotDecisiveError as error:
                raise CommandError(f"{watcher}: {error}", REFUSED) from None
            except ValueError as error:
                raise CommandError(f"your rules cannot be read: {error}", REFUSED) from None
            changed = after != before
            return after

        await client.change(uri, edit)
        output.line(f"{watcher}: {decision}" if changed else f"{watcher}: {decision} already")
        return OK

    return work


def _explain(options: argparse.Namespace) -> int:
    return _session(
        options,
        "reading your rules",
        lambda settings, watcher, output: explaining(
            settings, Watcher((watcher,), options.anonymous), options.sphere, output, options.json
        ),
    )


def explaining(
    settings: DocumentSettings,
    watcher: Watcher,
    sphere: str | None,
    output: Output,
    as_json: bool = False,
) -> Callable[[XcapClient], Awaitable[int]]:
    """Tells what the rules decide; gives the exit status."""
    uri = document_uri(RULES, settings)

    async def work(client: XcapClient) -> int:
        document = await client.fetch(uri)
        if document is None:
            raise CommandError(
                f"{settings.aor} has no rules of its own; the server's default decides", REFUSED
            )
        try:
            rules = read_rules(document.octets, "oma")
        except ValueError as error:
            raise CommandError(f"your rules cannot be read: {error}", REFUSED) from None
        own, context = frozenset((settings.aor,)), Context(time.time(), sphere)
        decision = decide(rules, own, watcher, context)
        findings = explain(rules, own, watcher, context)
        if as_json:
            output.line(
                json.dumps(
                    {
                        "watcher": watcher.uris[0],
                        "decision": decision.handling,
                        "reasons": decision.reasons,
                        "rules": [
                            {
                                "id": finding.rule,
                                "decision": finding.handling,
                                "used": finding.used,
                                "conditions": dict(finding.conditions),
                            }
                            for finding in findings
                        ],
                    }
                )
            )
            return OK
        output.line(f"{watcher.uris[0]}: {decision.handling}")
        for reason in decision.reasons:
            output.line(f"  because {reason}")
        for finding in findings:
            used = "used" if finding.used else "not used"
            output.line(f"rule {finding.rule} ({finding.handling}): {used}")
            for text, holds in finding.conditions:
                output.line(f"  {text}: {_TRUTH[holds]}")
        return OK

    return work
