"""What holds where a presentity has no rules (XDM-150, RUL-02).

The default is a rule set like any other, so that own identities are allowed by it (XDM-138)
and a rule document of the operator can stand in its place.
"""

from __future__ import annotations

from presence.rules.model import Handling
from presence.rules.permissions import Permissions
from presence.rules.ruleset import Rule, RuleSet


def default_rules(handling: Handling = "confirm") -> RuleSet:
    """The operator's default for presentities without a rule document (XDM-150).

    :param handling: for every watcher; who is allowed sees everything.
    """
    permissions = Permissions.all() if handling == "allow" else Permissions.none()
    return RuleSet("oma", [Rule("default", handling, permissions)], "default")
