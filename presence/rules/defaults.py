"""What holds where a presentity has no readable rules (XDM-150, XDM-151, RUL-02).

The default is a rule set like any other, so that own identities are allowed by it (XDM-138)
and a rule document of the operator can stand in its place.
"""

from __future__ import annotations

from presence.rules.conditions import AnonymousRequest, OtherIdentity
from presence.rules.document import read_rules
from presence.rules.model import Flavour, Handling
from presence.rules.permissions import Permissions
from presence.rules.ruleset import Rule, RuleSet


def default_rules(handling: Handling = "confirm", anonymous: Handling | None = None) -> RuleSet:
    """The operator's default for presentities without a rule document (XDM-150).

    ``block`` is for documents that cannot be read (XDM-151), ``confirm`` for those that cannot
    be fetched (PSV-08).

    :param handling: for every watcher; who is allowed sees everything.
    :param anonymous: for anonymous requests (XDM-118), None for the same.
    """
    if anonymous is None:
        rules = [_rule("default", handling)]
    else:
        rules = [
            _rule("default-anonymous", anonymous, AnonymousRequest()),
            _rule("default", handling, OtherIdentity()),
        ]
    return RuleSet("oma", rules, "default")


def read_or_keep(octets: bytes, flavour: Flavour, last: RuleSet | None) -> tuple[RuleSet, str]:
    """Compile a rule document; if it cannot be read, fail closed (XDM-151).

    :param last: the last good version, None without.
    :return: the rules of the document, or ``last``, or rules that block everybody; and what
        is wrong with the document, "" if nothing is.
    """
    try:
        return read_rules(octets, flavour), ""
    except ValueError as error:
        return default_rules("block") if last is None else last, str(error)


def _rule(name: str, handling: Handling, *conditions: AnonymousRequest | OtherIdentity) -> Rule:
    permissions = Permissions.all() if handling == "allow" else Permissions.none()
    return Rule(name, handling, permissions, conditions)
