"""``presencectl rules``: see what rules decide about a watcher, and why."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import attrs

from presence.commands.explanation import Explanation, as_json, as_text
from presence.commands.failures import OK, REFUSED, USAGE, CommandError
from presence.commands.options import Parsers, add_client_options, presentity
from presence.commands.ownsphere import UnknownSphereError, fetch_sphere
from presence.commands.session import Output
from presence.commands.xcapsession import (
    add_root_option,
    document_settings,
    run_documents,
    sip_settings,
)
from presence.ruledocuments import RuleSettings
from presence.rulereader import OwnRules, RuleReader
from presence.rules.document import merge
from presence.rules.foresight import foresee
from presence.rules.model import Context, Watcher
from presence.rules.override import Override
from pysip.uri import canonical_aor

if TYPE_CHECKING:
    from presence.client import ClientSettings
    from presence.rules.ruleset import RuleSet
    from xcap.client import XcapClient

Canonical = Callable[[str], str]


def add_parser(parsers: Parsers) -> None:
    """Describe the commands."""
    rules = parsers.add(
        "rules",
        "see what your rules say",
        "presencectl rules explain bob --user sip:alice@example.com",
    )
    actions = Parsers(rules)
    told = actions.add(
        "explain",
        "tell what rules decide about a watcher, and why",
        """
presencectl rules explain sip:bob@example.com --user sip:alice@example.com
presencectl rules explain bob --sphere work --json
presencectl rules explain bob --presentity alice --config /etc/txpresence/presence.toml \\
    --user sip:operator@example.com
""",
    )
    told.add_argument("watcher", metavar="WATCHER", help="user alone means your own domain")
    told.add_argument("--anonymous", action="store_true", help="as if it asked for privacy")
    told.add_argument(
        "--sphere",
        metavar="NAME",
        help="as if in that sphere (default: asked of the server when rules depend on it)",
    )
    told.add_argument(
        "--presentity",
        metavar="URI",
        help="whom it watches (default: --user); to read the rules of others is for operators",
    )
    told.add_argument(
        "--config",
        metavar="FILE",
        help="configuration of the server: take its lists and defaults into account",
    )
    told.add_argument("--json", action="store_true", help="as one JSON object")
    add_client_options(told)
    add_root_option(told.add_argument_group("documents"))
    told.set_defaults(run=_run)


@attrs.frozen(slots=True, kw_only=True)
class Operator:
    """What the operator of the server has decided, as far as it is known.

    :ivar known: whether it is known at all.
    :ivar default: what stands in for missing rules.
    """

    known: bool = False
    override: Override = attrs.field(factory=Override)
    default: RuleSet | None = None
    settings: RuleSettings = attrs.field(factory=RuleSettings)
    privacy_is_anonymous: bool = True


@attrs.frozen(slots=True, kw_only=True)
class Question:
    """What is asked.

    :ivar presentity: canonical URI.
    :ivar sphere: to suppose; None to ask for the one of now.
    """

    presentity: str
    watcher: Watcher
    operator: Operator = attrs.field(factory=Operator)
    sphere: str | None = None


def _run(options: argparse.Namespace) -> int:
    sip = sip_settings(options)
    settings = document_settings(options, sip)
    domain = sip.user.host
    whom = presentity(options.presentity, "--presentity", domain) if options.presentity else sip.aor
    operator, canonical = _operator(options.config, whom)
    question = Question(
        presentity=canonical(whom),
        watcher=Watcher((canonical(presentity(options.watcher, "", domain)),), options.anonymous),
        operator=operator,
        sphere=options.sphere,
    )
    output = Output(sys.stdout)
    work = explaining(
        question,
        output,
        Output(sys.stderr),
        _asking(sip, question.presentity),
        as_object=options.json,
    )
    what = f"reading the rules of {question.presentity}"
    return run_documents(settings, what, work, output, debug=options.debug)


def _asking(settings: ClientSettings, presentity: str) -> Callable[[], Awaitable[str | None]]:
    def ask() -> Awaitable[str | None]:
        from twisted.internet import reactor

        from presence.client import PresenceClient

        client = PresenceClient(reactor, settings, agent="presencectl")
        return fetch_sphere(client, presentity)

    return ask


def _operator(file: str | None, presentity: str) -> tuple[Operator, Canonical]:
    """What a configuration says, and the canonical form of its addresses.

    :raises CommandError: it cannot be used.
    """
    if file is None:
        return Operator(), canonical_aor
    from presence.config import load
    from presence.operatorrules import defaults, override, rule_settings
    from presence.tomlfile import ConfigError
    from pysip.auth.domains import Domains

    try:
        config = load(file)
    except ConfigError as error:
        raise CommandError(f"--config {error}", USAGE) from None
    domains = Domains(config.domains, config.domain_aliases)
    operator = Operator(
        known=True,
        override=override(config, domains),
        default=defaults(config).rules(domains.canonical(presentity)),
        settings=rule_settings(config),
        privacy_is_anonymous=config.rules.privacy_is_anonymous,
    )
    return operator, domains.canonical


def explaining(
    question: Question,
    output: Output,
    errors: Output,
    ask_sphere: Callable[[], Awaitable[str | None]],
    *,
    as_object: bool = False,
    wall: Callable[[], float] = time.time,
) -> Callable[[XcapClient], Awaitable[int]]:
    """Tells what the rules decide; gives the exit status.

    :param ask_sphere: gives the sphere of now; may raise UnknownSphereError.
    :param wall: wall-clock seconds.
    """
    operator, watcher = question.operator, question.watcher

    async def work(client: XcapClient) -> int:
        reader = RuleReader(client, question.presentity, operator.settings)
        own = await reader.documents()
        rules = _rules(question, own)
        sphere = question.sphere
        if sphere is None and rules.uses_sphere:
            try:
                sphere = await ask_sphere()
            except UnknownSphereError as error:
                errors.line(f"presencectl: {error}; told as without a sphere, see --sphere")
        lists = await reader.lists(rules.anchors)
        members = {anchor: one.members for anchor, one in lists.items()}
        context = Context(wall(), sphere, members.get, operator.privacy_is_anonymous)
        presentity = frozenset((question.presentity,))
        decide = operator.override.decide
        explanation = Explanation(
            presentity=question.presentity,
            watcher=watcher,
            decision=decide(rules, presentity, watcher, context),
            findings=operator.override.explain(rules, presentity, watcher, context),
            outlook=foresee(rules, presentity, watcher, context, decide),
            documents=tuple(one.name for one in own.counting),
            idle=tuple(one.name for one in own.idle),
            sphere=sphere,
            uses_sphere=rules.uses_sphere,
            lists=lists,
            operator=operator.known,
        )
        if as_object:
            output.line(as_json(explanation))
        else:
            for line in as_text(explanation):
                output.line(line)
        return OK

    return work


def _rules(question: Question, own: OwnRules) -> RuleSet:
    """The rules to decide by.

    :raises CommandError: there are none, or they cannot be read.
    """
    try:
        sets = [one.rules() for one in own.counting]
    except ValueError as error:
        raise CommandError(
            f"the rules of {question.presentity} cannot be read, so that they allow nobody: "
            f"{error}",
            REFUSED,
        ) from None
    if sets:
        return merge(sets)
    if question.operator.default is None:
        raise CommandError(
            f"{question.presentity} has no rules of its own; the server's default decides, which "
            "--config shows on its host",
            REFUSED,
        )
    return question.operator.default
