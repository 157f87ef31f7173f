"""Rule documents, read into rule sets (RFC 4745 section 13, RFC 5025 section 7, OMA; XDM-90 ff.).

Documents come from a server that has validated them. What could be misread all the same
makes a document unreadable, so that nothing is granted by mistake (XDM-151).
"""

from __future__ import annotations

import re
from typing import Final

from lxml import etree

from presence.pidf.parse import parse_compact, to_utf8
from presence.rules.conditions import (
    AnonymousRequest,
    Condition,
    ExternalList,
    Identity,
    Many,
    OtherIdentity,
    Sphere,
    Unknown,
    domain_key,
    identity_key,
)
from presence.rules.model import VALUES, Flavour, Handling
from presence.rules.permissions import Permissions, read_permissions
from presence.rules.ruleset import Rule, RuleSet, merge
from presence.rules.times import Validity, instant
from xcap.usage.names import COMMON_POLICY, OMA_COMMON_POLICY, PRES_RULES

__all__ = ["RuleSet", "merge", "read_rules"]

_RULESET: Final = f"{{{COMMON_POLICY}}}ruleset"
_RULE: Final = f"{{{COMMON_POLICY}}}rule"
_CONDITIONS: Final = f"{{{COMMON_POLICY}}}conditions"
_ACTIONS: Final = f"{{{COMMON_POLICY}}}actions"
_TRANSFORMATIONS: Final = f"{{{COMMON_POLICY}}}transformations"
_IDENTITY: Final = f"{{{COMMON_POLICY}}}identity"
_ONE: Final = f"{{{COMMON_POLICY}}}one"
_MANY: Final = f"{{{COMMON_POLICY}}}many"
_EXCEPT: Final = f"{{{COMMON_POLICY}}}except"
_SPHERE: Final = f"{{{COMMON_POLICY}}}sphere"
_VALIDITY: Final = f"{{{COMMON_POLICY}}}validity"
_FROM: Final = f"{{{COMMON_POLICY}}}from"
_UNTIL: Final = f"{{{COMMON_POLICY}}}until"
_SUB_HANDLING: Final = f"{{{PRES_RULES}}}sub-handling"
_EXTERNAL_LIST: Final = f"{{{OMA_COMMON_POLICY}}}external-list"
_ENTRY: Final = f"{{{OMA_COMMON_POLICY}}}entry"
_OTHER_IDENTITY: Final = f"{{{OMA_COMMON_POLICY}}}other-identity"
_ANONYMOUS_REQUEST: Final = f"{{{OMA_COMMON_POLICY}}}anonymous-request"

_SPACE: Final = " \t\r\n"
_BLANKS: Final = re.compile(f"[{_SPACE}]+")
_HANDLINGS: Final[dict[str, Handling]] = {name: name for name in VALUES}


def read_rules(octets: bytes, flavour: Flavour) -> RuleSet:
    """Compile a rule document (XDM-90 to XDM-95, XDM-173).

    Unknown transformations grant nothing (XDM-95); an unknown condition makes its rule match
    nobody (XDM-110).

    :param octets: the document, checked by its server (XDM-96 to XDM-99).
    :param flavour: by the application usage that it is of.
    :raises ValueError: it cannot be read; the text says why without quoting it.
    """
    root = parse_compact(to_utf8(octets))
    if root.tag != _RULESET:
        raise ValueError("line 1: not a rule document")
    return RuleSet(flavour, [_read_rule(rule) for rule in root.iterchildren(_RULE)])


def _read_rule(element: etree._Element) -> Rule:
    name = element.get("id")
    if not name:
        raise _unreadable(element, "rule without id")
    parts: dict[str, etree._Element] = {}
    for child in element.iterchildren(etree.Element):
        if parts.setdefault(child.tag, child) is not child:
            raise _unreadable(child, "element may stand here once")
    conditions, actions = parts.get(_CONDITIONS), parts.get(_ACTIONS)
    transformations = parts.get(_TRANSFORMATIONS)
    tests: list[Condition] = []
    validities: list[list[tuple[float, float]]] = []
    if conditions is not None:
        for child in conditions.iterchildren(etree.Element):
            if child.tag == _VALIDITY:
                validities.append(_read_validity(child))
            else:
                tests.append(_read_condition(child))
    return Rule(
        name.strip(_SPACE),
        "block" if actions is None else _read_handling(actions),
        Permissions.none() if transformations is None else read_permissions(transformations),
        tuple(tests),
        Validity.of(validities) if validities else None,
    )


def _read_handling(actions: etree._Element) -> Handling:
    """``sub-handling``; the lowest of several in one rule, ``block`` without any (XDM-94)."""
    found: list[Handling] = []
    for element in actions.iterchildren(_SUB_HANDLING):
        handling = _HANDLINGS.get((element.text or "").strip(_SPACE))
        if handling is None:
            raise _unreadable(element, "sub-handling has an unknown value")
        found.append(handling)
    return min(found, key=VALUES.__getitem__, default="block")


def _read_condition(element: etree._Element) -> Condition:
    if element.tag == _IDENTITY:
        return _read_identity(element)
    if element.tag == _SPHERE:
        tokens = filter(None, _BLANKS.split(_required(element, "value")))
        return Sphere(frozenset(token.casefold() for token in tokens))
    if element.tag == _EXTERNAL_LIST:
        anchors = (entry.get("anc", "").strip(_SPACE) for entry in element.iterchildren(_ENTRY))
        return ExternalList(tuple(dict.fromkeys(filter(None, anchors))))
    if element.tag == _OTHER_IDENTITY:
        return OtherIdentity()
    if element.tag == _ANONYMOUS_REQUEST:
        return AnonymousRequest()
    return Unknown(etree.QName(element).localname)


def _read_identity(element: etree._Element) -> Identity:
    """``cp:identity`` (XDM-92, XDM-111).

    :raises ValueError: it is empty, which the schema forbids and could mean anything.
    """
    ones: set[str] = set()
    manys: list[Many] = []
    shown: list[str] = []
    for child in element.iterchildren(etree.Element):
        if child.tag == _ONE:
            key = identity_key(_required(child, "id"))
            if key is not None:
                ones.add(key)
            shown.append("one")
        elif child.tag == _MANY:
            manys.append(_read_many(child))
            shown.append("many")
    if not len(element):
        raise _unreadable(element, "identity without members")
    text = f"identity {' or '.join(sorted(set(shown))) or '(not understood)'}"
    return Identity(frozenset(ones), tuple(manys), text)


def _read_many(element: etree._Element) -> Many:
    """``cp:many``; an ``except`` with id and domain counts as two (XDM-124)."""
    uris: set[str] = set()
    domains: set[str] = set()
    for child in element.iterchildren(_EXCEPT):
        uri = identity_key(child.get("id", ""))
        domain = domain_key(child.get("domain", ""))
        if uri is not None:
            uris.add(uri)
        if domain is not None:
            domains.add(domain)
    domain = element.get("domain")
    return Many("" if domain is None else domain_key(domain), frozenset(uris), frozenset(domains))


def _read_validity(element: etree._Element) -> list[tuple[float, float]]:
    """The spans of a ``cp:validity``: each from with the until after it (XDM-92, XDM-117)."""
    children = list(element.iterchildren(etree.Element))
    tags = [child.tag for child in children]
    if not tags or tags != [_FROM, _UNTIL] * (len(tags) // 2):
        raise _unreadable(element, "validity without pairs of from and until")
    try:
        times = [instant(child.text or "") for child in children]
    except ValueError:
        raise _unreadable(element, "validity with a bad time") from None
    return list(zip(times[::2], times[1::2], strict=True))


def _required(element: etree._Element, name: str) -> str:
    """An attribute that has to be there.

    :raises ValueError: it is not.
    """
    value = element.get(name)
    if value is None:
        raise _unreadable(element, f"attribute {name} missing")
    return value


def _unreadable(element: etree._Element, reason: str) -> ValueError:
    return ValueError(f"line {element.sourceline or 1}: {reason}")
