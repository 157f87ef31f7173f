"""Building what decides on watchers and composes, from the configuration.

Part of the composition root, with :mod:`presence.build`.
"""

from __future__ import annotations

import time
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

import attrs

from presence.authorization import RulesetPolicy
from presence.compose.newest import NewestComposition
from presence.compose.oma import OmaComposition
from presence.compose.priority import OTHERS, PERMANENT, PRESENTITY, PriorityComposition
from presence.compose.union import UnionComposition
from presence.documentcopy import OMA_RULES
from presence.operatorrules import address, addresses, defaults, override, rule_settings
from presence.policy import OperatorWatcherPolicy
from presence.rules.conditions import domain_of
from presence.rulesource import RuleSource
from presence.watcherentry import WatcherLimits

if TYPE_CHECKING:
    from collections.abc import Callable

    from presence.accounts import Accounts
    from presence.config import Config
    from presence.interfaces import ICompositionPolicy
    from presence.reading import Reading
    from presence.server import PresenceServer
    from pysip.auth.domains import Domains


def watcher_limits(config: Config) -> WatcherLimits:
    """How long decisions are waited for."""
    winfo = config.winfo
    return WatcherLimits(
        pending=winfo.pending,
        waiting=winfo.waiting,
        per_watcher=winfo.per_watcher,
        per_presentity=winfo.per_presentity,
    )


def operators(config: Config, domains: Domains) -> frozenset[str]:
    """Who may see the watchers of everybody."""
    return addresses(config.winfo.operators, domains)


def composition(config: Config, domains: Domains) -> ICompositionPolicy:
    """The composition policy that the operator has chosen."""
    settings = config.composition
    if settings.policy == "union":
        return UnionComposition()
    if settings.policy == "newest":
        return NewestComposition()
    if settings.policy == "priority":
        places = (PRESENTITY, OTHERS, PERMANENT)
        return PriorityComposition(
            [name if name in places else address(name, domains) for name in settings.priorities]
        )
    return OmaComposition()


def operator_policy(config: Config) -> OperatorWatcherPolicy:
    """What decides where no rules are within reach."""
    domains = {name.lower(): config.default_decision(name) for name in config.domain}
    return OperatorWatcherPolicy(config.subscription.default_decision, domains)


def ruleset_policy(
    config: Config,
    reactor: Any,
    server: PresenceServer,
    wheel: Any,
    reading: Reading | None,
    accounts: Accounts,
    domains: Domains,
) -> RulesetPolicy | None:
    """What decides by rules, None where no document server with rules is within reach."""
    if reading is None or not reading.holds(OMA_RULES):
        return None
    first = next(iter(reading.roots.values()))
    roots = reading.roots
    source = RuleSource(
        reactor,
        reading.client,
        reading.feed,
        lambda presentity: roots.get(domain_of(presentity) or "", first),
        reading.subscribers.canonical,
        settings=rule_settings(config),
    )
    policy = RulesetPolicy(
        source,
        reactor,
        wheel,
        time.time,
        server.package.sources,
        accounts.account_of,
    )
    configure(policy, config, domains)
    return policy


def configure(policy: RulesetPolicy, config: Config, domains: Domains) -> None:
    """Set what a reload may change."""
    policy.defaults = defaults(config)
    policy.override = override(config, domains)
    policy.privacy_is_anonymous = config.rules.privacy_is_anonymous


@attrs.frozen
class OwnIdentities(Collection[str]):
    """The URIs of the user whom one of them belongs to; only asked whether they hold one.

    :param account: to whom a URI belongs.
    """

    account: Callable[[str], str | None]
    presentity: str

    def __contains__(self, uri: object) -> bool:
        owner = self.account(self.presentity)
        return owner is not None and isinstance(uri, str) and self.account(uri) == owner

    def __iter__(self) -> Any:
        return iter((self.presentity,))

    def __len__(self) -> int:
        return 1
