"""Documents that new subscribers get (XDM-152): rules, and the lists these name (XDM-26)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal

import attrs

from xcap.uri import attribute_step, build
from xcap.usage.names import (
    COMMON_POLICY,
    OMA_COMMON_POLICY,
    PRES_RULES,
    RESOURCE_LISTS,
)
from xcap.usage.writing import HEAD, escape

SubHandling = Literal["block", "confirm", "polite-block", "allow"]

BUDDIES: Final = "oma_buddylist"
GRANTED: Final = "oma_grantedcontacts"
BLOCKED: Final = "oma_blockedcontacts"
WELL_KNOWN_LISTS: Final = (BUDDIES, GRANTED, BLOCKED)
"""Names of lists by OMA's guidelines; the server gives them no special treatment."""


@attrs.frozen(slots=True)
class DefaultRule:
    """One rule of the document, as data.

    :ivar condition: ``own``, ``anonymous``, ``other``, or the name of a list.
    :ivar shown: what is shown of a presentity: ``services``, ``persons``, ``devices``; all
        attributes go with any.
    """

    id: str
    condition: str
    handling: SubHandling
    shown: tuple[str, ...] = ()


@attrs.frozen(slots=True)
class DefaultPolicy:
    """What an operator chooses for new subscribers.

    :ivar anonymous: what anonymous watchers get: ``block`` or ``polite-block``.
    :ivar unlisted: what watchers get whom no rule names: ``confirm``, ``block`` or
        ``polite-block``.
    :ivar blocked: what blocked contacts get: ``block`` or ``polite-block``.
    """

    anonymous: SubHandling = "block"
    unlisted: SubHandling = "confirm"
    blocked: SubHandling = "block"

    def rules(self) -> tuple[DefaultRule, ...]:
        """The rules, with the ids that OMA and RCS clients use."""
        return (
            DefaultRule("wp_prs_allow_own", "own", "allow", ("services", "persons", "devices")),
            DefaultRule("wp_prs_block_anonymous", "anonymous", self.anonymous),
            DefaultRule("wp_prs_unlisted", "other", self.unlisted),
            DefaultRule("wp_prs_grantedcontacts", GRANTED, "allow", ("services", "persons")),
            DefaultRule("wp_prs_blockedcontacts", BLOCKED, self.blocked),
        )


def default_rules(root: str, xui: str, policy: DefaultPolicy | None = None) -> bytes:
    """The document at ``org.openmobilealliance.pres-rules`` of a new subscriber.

    :param root: absolute URI of the XCAP root, for references to the subscriber's lists.
    :param xui: canonical user identifier.
    """
    rules = (policy or DefaultPolicy()).rules()
    return "".join(
        [
            f'{HEAD}<cp:ruleset xmlns:cp="{COMMON_POLICY}" xmlns:pr="{PRES_RULES}"'
            f' xmlns:ocp="{OMA_COMMON_POLICY}">\n',
            *(_rule(rule, root, xui) for rule in rules),
            "</cp:ruleset>\n",
        ]
    ).encode()


def default_lists(names: Iterable[str] = WELL_KNOWN_LISTS) -> bytes:
    """The document at ``resource-lists`` of a new subscriber: the lists, all empty."""
    lists = "".join(f'  <list name="{escape(name)}"/>\n' for name in names)
    return (f'{HEAD}<resource-lists xmlns="{RESOURCE_LISTS}">\n{lists}</resource-lists>\n').encode()


def list_uri(root: str, xui: str, name: str) -> str:
    """The URI of a list in a subscriber's own document."""
    document = build(root, "resource-lists", xui, "index")
    return f"{document}/~~/resource-lists/{attribute_step('list', 'name', name)}"


def _rule(rule: DefaultRule, root: str, xui: str) -> str:
    shown = "".join(
        f"      <pr:provide-{kind}><pr:all-{kind}/></pr:provide-{kind}>\n" for kind in rule.shown
    )
    if shown:
        shown += "      <pr:provide-all-attributes/>\n"
        shown = f"    <cp:transformations>\n{shown}    </cp:transformations>\n"
    return (
        f'  <cp:rule id="{rule.id}">\n'
        f"    <cp:conditions>{_condition(rule.condition, root, xui)}</cp:conditions>\n"
        f"    <cp:actions><pr:sub-handling>{rule.handling}</pr:sub-handling></cp:actions>\n"
        f"{shown}  </cp:rule>\n"
    )


def _condition(condition: str, root: str, xui: str) -> str:
    if condition == "own":
        return f'<cp:identity><cp:one id="{escape(xui)}"/></cp:identity>'
    if condition == "anonymous":
        return "<ocp:anonymous-request/>"
    if condition == "other":
        return "<ocp:other-identity/>"
    anchor = escape(list_uri(root, xui, condition))
    return f'<ocp:external-list><ocp:entry anc="{anchor}"/></ocp:external-list>'
