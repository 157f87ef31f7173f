"""What the operator decides about watchers, from the configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING

from presence.authorization import Defaults
from presence.copies import CopySettings
from presence.ruledocuments import RuleSettings
from presence.rules.conditions import domain_key
from presence.rules.override import Override, OverrideEntry

if TYPE_CHECKING:
    from collections.abc import Iterable

    from presence.config import Config
    from presence.ruletables import OverrideList
    from pysip.auth.domains import Domains


def defaults(config: Config) -> Defaults:
    """What decides where a presentity has no rules (XDM-150)."""
    return Defaults(
        config.subscription.default_decision,
        {name: config.default_decision(name) for name in config.domain},
    )


def override(config: Config, domains: Domains) -> Override:
    """The operator's lists before and after the rules (XDM-139)."""
    return Override(
        tuple(_override(entry, domains) for entry in config.override.before),
        tuple(_override(entry, domains) for entry in config.override.after),
    )


def rule_settings(config: Config) -> RuleSettings:
    """Which documents count, and how long they are waited for."""
    rules, fetch = config.rules, config.fetch
    return RuleSettings(
        union=rules.union,
        default_document=rules.default_document,
        first=rules.first,
        keep=rules.keep,
        copies=CopySettings(poll=fetch.poll, check=fetch.check),
    )


def _override(entry: OverrideList, domains: Domains) -> OverrideEntry:
    return OverrideEntry(
        entry.name,
        entry.decision,
        addresses(entry.watchers, domains),
        frozenset(filter(None, map(domain_key, entry.domains))),
        entry.anonymous,
        entry.everybody,
        addresses(entry.presentities, domains),
        frozenset(filter(None, map(domain_key, entry.presentity_domains))),
    )


def addresses(texts: Iterable[str], domains: Domains) -> frozenset[str]:
    """Canonical URIs of addresses as configurations have them."""
    return frozenset(address(text, domains) for text in texts)


def address(text: str, domains: Domains) -> str:
    """The canonical URI of an address; ``sip:`` may be left out."""
    return domains.canonical(text if ":" in text else f"sip:{text}")
