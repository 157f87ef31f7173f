"""Editing a rule document so that it decides about one watcher (reactive authorization, UAP-12).

What is not concerned stays as it is, unknown elements and the ids of other clients included.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from lxml import etree

from presence.pidf.parse import DocumentError, parse
from presence.pidf.write import serialize
from presence.rules.conditions import identity_key
from presence.rules.decide import decide
from presence.rules.document import merge, read_rules
from presence.rules.model import Context, Flavour, Handling, Watcher
from presence.rules.ruleset import RuleSet
from xcap.usage.names import COMMON_POLICY, OMA_COMMON_POLICY, PRES_RULES

__all__ = ["NotDecisiveError", "authorize"]

_CP: Final = f"{{{COMMON_POLICY}}}"
_PR: Final = f"{{{PRES_RULES}}}"
_OCP: Final = f"{{{OMA_COMMON_POLICY}}}"
_EVERYTHING: Final = (
    ("provide-services", "all-services"),
    ("provide-persons", "all-persons"),
    ("provide-devices", "all-devices"),
    ("provide-all-attributes", ""),
)


class NotDecisiveError(Exception):
    """Other rules decide about the watcher all the same.

    :ivar reasons: which, for people.
    """

    def __init__(self, handling: Handling, reasons: tuple[str, ...]) -> None:
        super().__init__(f"it would still be {handling}: {'; '.join(reasons)}")
        self.reasons = reasons


def authorize(
    document: bytes,
    owner: str,
    watcher: str,
    handling: Handling,
    context: Context,
    *,
    flavour: Flavour = "oma",
    others: Iterable[RuleSet] = (),
    taken: Iterable[str] = (),
) -> bytes:
    """The document with a decision about one watcher.

    A new document has the rules for all others that clients of OMA begin with (XDM-152): oneself
    is allowed, anonymous watchers are blocked, who is not named has to wait for a decision.

    :param document: empty for a new one, of the OMA usage.
    :param owner: canonical URI of the presentity.
    :param watcher: canonical URI.
    :param context: what the decision depends on besides the rules, as it is now.
    :param flavour: by the application usage of the document.
    :param others: further documents that count with this one (XDM-100).
    :param taken: ids of rules in all other documents, which are given to no new rule (XDM-102).
    :raises ValueError: the document cannot be read, or ``watcher`` names nobody.
    :raises NotDecisiveError: a rule for a whole domain, for example, says otherwise.
    """
    key = identity_key(watcher)
    if key is None:
        raise ValueError("no address of a watcher")
    if document:
        read_rules(document, flavour)
        try:
            root = parse(document)
        except DocumentError as error:
            raise ValueError(error.reason) from None
    else:
        root = _beginning(owner)
    chosen = f"presencectl_{handling}"
    before = etree.tostring(root)
    target, ours = None, ""
    for rule in list(root.iterchildren(f"{_CP}rule")):
        if target is None and _is_ours(rule, handling):
            ours = rule.get("id", "")
            target = rule.find(f"{_CP}conditions/{_CP}identity")
        else:
            _forget(rule, key)
    if target is None:
        ours = _free_id(root, chosen, taken)
        target = _rule(root, ours, handling)
    if all(identity_key(one.get("id", "")) != key for one in target.iterchildren(f"{_CP}one")):
        etree.SubElement(target, f"{_CP}one", {"id": watcher})
    made = document if etree.tostring(root) == before and document else serialize(root)
    rules = merge([read_rules(made, flavour), *others])
    decision = decide(rules, frozenset((owner,)), Watcher((key,)), context)
    if decision.handling != handling:
        raise NotDecisiveError(
            decision.handling,
            tuple(reason for reason in decision.reasons if not reason.startswith(f"rule {ours} ")),
        )
    return made


def _beginning(owner: str) -> etree._Element:
    """The rules that everybody begins with."""
    root = etree.Element(
        f"{_CP}ruleset",
        nsmap={"cp": COMMON_POLICY, "pr": PRES_RULES, "ocp": OMA_COMMON_POLICY},
    )
    own = _rule(root, "wp_prs_allow_own", "allow")
    etree.SubElement(own, f"{_CP}one", {"id": owner})
    for name, condition, handling in (
        ("wp_prs_block_anonymous", "anonymous-request", "block"),
        ("wp_prs_unlisted", "other-identity", "confirm"),
    ):
        rule = etree.SubElement(root, f"{_CP}rule", {"id": name})
        conditions = etree.SubElement(rule, f"{_CP}conditions")
        etree.SubElement(conditions, f"{_OCP}{condition}")
        actions = etree.SubElement(rule, f"{_CP}actions")
        etree.SubElement(actions, f"{_PR}sub-handling").text = handling
    return root


def _rule(root: etree._Element, name: str, handling: Handling) -> etree._Element:
    """The ``identity`` of a new rule, without members; who is allowed sees everything."""
    rule = etree.SubElement(
        root, f"{_CP}rule", {"id": name}, nsmap={"cp": COMMON_POLICY, "pr": PRES_RULES}
    )
    conditions = etree.SubElement(rule, f"{_CP}conditions")
    identity = etree.SubElement(conditions, f"{_CP}identity")
    actions = etree.SubElement(rule, f"{_CP}actions")
    etree.SubElement(actions, f"{_PR}sub-handling").text = handling
    if handling == "allow":
        shown = etree.SubElement(rule, f"{_CP}transformations")
        for name, member in _EVERYTHING:
            element = etree.SubElement(shown, f"{_PR}{name}")
            if member:
                etree.SubElement(element, f"{_PR}{member}")
    return identity


def _is_ours(rule: etree._Element, handling: Handling) -> bool:
    """Whether a rule is as :func:`_rule` makes it: somebody else may have changed it."""
    if not rule.get("id", "").startswith(f"presencectl_{handling}"):
        return False
    conditions = rule.find(f"{_CP}conditions")
    said = rule.findtext(f"{_CP}actions/{_PR}sub-handling", "").strip()
    if conditions is None or said != handling:
        return False
    return [child.tag for child in conditions.iterchildren(etree.Element)] == [f"{_CP}identity"]


def _forget(rule: etree._Element, key: str) -> None:
    """Take a watcher out of a rule, and the rule away when it is for nobody then."""
    identity = rule.find(f"{_CP}conditions/{_CP}identity")
    if identity is None:
        return
    for one in list(identity.iterchildren(f"{_CP}one")):
        if identity_key(one.get("id", "")) == key:
            identity.remove(one)
    parent = rule.getparent()
    if identity.find("*") is None and parent is not None:
        parent.remove(rule)


def _free_id(root: etree._Element, wanted: str, taken: Iterable[str]) -> str:
    """An id that no rule of the user has (XDM-102)."""
    used = {rule.get("id") for rule in root.iterchildren(f"{_CP}rule")}.union(taken)
    name, number = wanted, 1
    while name in used:
        number += 1
        name = f"{wanted}_{number}"
    return name
