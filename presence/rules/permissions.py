"""What a watcher may see: the transformations of presence rules as values.

Sources: RFC 4745 section 10.2 (combining), RFC 5025 section 3.3, OMA Presence XDM;
requirements XDM-140 to XDM-144, RUL-01, RUL-05 and RUL-21. What permissions do to a document
is :mod:`presence.rules.transform`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import IntEnum
from typing import Final, Literal

import attrs
from lxml import etree

from presence.pidf import names
from xcap.usage.names import OMA_PRES_RULES, PRES_RULES

__all__ = [
    "ALL",
    "ATTRIBUTES",
    "EVERYTHING",
    "Attribute",
    "Kind",
    "Member",
    "Permissions",
    "UserInput",
    "combine",
    "read_permissions",
    "token",
]

Attribute = Literal[
    "activities",
    "class",
    "deviceID",
    "mood",
    "place-is",
    "place-type",
    "privacy",
    "relationship",
    "sphere",
    "status-icon",
    "time-offset",
    "note",
    "willingness",
    "network-availability",
    "session-participation",
    "registration-state",
    "barring-state",
    "geopriv",
]
"""A permission that is given or not: its element name without ``provide-``."""

Kind = Literal[
    "all",
    "class",
    "occurrence-id",
    "service-uri",
    "service-uri-scheme",
    "deviceID",
    "service-id",
]
"""By what a member of a set selects components; ``all`` selects every one."""

Member = tuple[Kind, str]
"""A kind and the value to match, white space collapsed."""


class UserInput(IntEnum):
    """How much of ``rpid:user-input`` is seen (RFC 5025 section 3.3.2.12)."""

    NONE = 0
    BARE = 10
    THRESHOLDS = 20
    FULL = 30


ALL: Final[Member] = ("all", "")
"""The member that lets every component of its sort through."""

EVERYTHING: Final = frozenset({ALL})
"""The set that ``all-services``, ``all-persons`` or ``all-devices`` stands for."""

_BOOLEANS: Final[dict[str, Attribute]] = {
    f"{{{PRES_RULES}}}provide-activities": "activities",
    f"{{{PRES_RULES}}}provide-class": "class",
    f"{{{PRES_RULES}}}provide-deviceID": "deviceID",
    f"{{{PRES_RULES}}}provide-mood": "mood",
    f"{{{PRES_RULES}}}provide-place-is": "place-is",
    f"{{{PRES_RULES}}}provide-place-type": "place-type",
    f"{{{PRES_RULES}}}provide-privacy": "privacy",
    f"{{{PRES_RULES}}}provide-relationship": "relationship",
    f"{{{PRES_RULES}}}provide-sphere": "sphere",
    f"{{{PRES_RULES}}}provide-status-icon": "status-icon",
    f"{{{PRES_RULES}}}provide-time-offset": "time-offset",
    f"{{{PRES_RULES}}}provide-note": "note",
    f"{{{OMA_PRES_RULES}}}provide-willingness": "willingness",
    f"{{{OMA_PRES_RULES}}}provide-network-availability": "network-availability",
    f"{{{OMA_PRES_RULES}}}provide-session-participation": "session-participation",
    f"{{{OMA_PRES_RULES}}}provide-registration-state": "registration-state",
    f"{{{OMA_PRES_RULES}}}provide-barring-state": "barring-state",
}
_GEOPRIV: Final = f"{{{OMA_PRES_RULES}}}provide-geopriv"
_USER_INPUT: Final = f"{{{PRES_RULES}}}provide-user-input"
_UNKNOWN: Final = f"{{{PRES_RULES}}}provide-unknown-attribute"
_ALL_ATTRIBUTES: Final = f"{{{PRES_RULES}}}provide-all-attributes"

ATTRIBUTES: Final[frozenset[Attribute]] = frozenset((*_BOOLEANS.values(), "geopriv"))
"""Every permission that is given or not."""

_USER_INPUTS: Final = {
    "false": UserInput.NONE,
    "bare": UserInput.BARE,
    "thresholds": UserInput.THRESHOLDS,
    "full": UserInput.FULL,
}

# the members each set may have (XDM-141)
_SERVICES: Final[dict[str, Kind]] = {
    f"{{{PRES_RULES}}}all-services": "all",
    f"{{{PRES_RULES}}}class": "class",
    f"{{{PRES_RULES}}}occurrence-id": "occurrence-id",
    f"{{{PRES_RULES}}}service-uri": "service-uri",
    f"{{{PRES_RULES}}}service-uri-scheme": "service-uri-scheme",
    f"{{{OMA_PRES_RULES}}}service-id": "service-id",
}
_PERSONS: Final[dict[str, Kind]] = {
    f"{{{PRES_RULES}}}all-persons": "all",
    f"{{{PRES_RULES}}}class": "class",
    f"{{{PRES_RULES}}}occurrence-id": "occurrence-id",
}
_DEVICES: Final[dict[str, Kind]] = {
    f"{{{PRES_RULES}}}all-devices": "all",
    f"{{{PRES_RULES}}}class": "class",
    f"{{{PRES_RULES}}}occurrence-id": "occurrence-id",
    f"{{{PRES_RULES}}}deviceID": "deviceID",
}
_PROVIDE_SERVICES: Final = f"{{{PRES_RULES}}}provide-services"
_PROVIDE_PERSONS: Final = f"{{{PRES_RULES}}}provide-persons"
_PROVIDE_DEVICES: Final = f"{{{PRES_RULES}}}provide-devices"

# elements with a permission of their own, or always given: never "unknown" (XDM-144)
_KNOWN: Final = frozenset(
    {
        f"{{{names.GEOPRIV}}}geopriv",
        *(
            f"{{{names.OMA}}}{name}"
            for name in (
                "service-description",
                "willingness",
                "overriding-willingness",
                "network-availability",
                "session-participation",
                "registration-state",
                "barring-state",
            )
        ),
    }
)
_SPACE: Final = re.compile(r"[ \t\r\n]+")
_KNOWN_NAMESPACES: Final = (f"{{{names.PIDF}}}", f"{{{names.DM}}}", f"{{{names.RPID}}}")


@attrs.frozen(cache_hash=True)
class Permissions:
    """The permissions of one watcher; equal ones give equal views (RUL-26).

    What changes nothing is left out, so that equality is equality of effect: other members
    beside :data:`ALL`, everything that ``all_attributes`` covers, and unknown attributes
    that the server knows (XDM-144). Nothing given is nothing granted (RUL-05).

    :ivar services: which tuples are seen.
    :ivar persons: which persons are seen.
    :ivar devices: which devices are seen.
    :ivar attributes: the attributes seen in them.
    :ivar user_input: how much of ``rpid:user-input`` is seen.
    :ivar unknown: expanded names (``{namespace}local``) of other attributes seen.
    :ivar all_attributes: every attribute is seen, known or not.
    """

    services: frozenset[Member] = frozenset()
    persons: frozenset[Member] = frozenset()
    devices: frozenset[Member] = frozenset()
    attributes: frozenset[Attribute] = frozenset()
    user_input: UserInput = UserInput.NONE
    unknown: frozenset[str] = frozenset()
    all_attributes: bool = False

    def __attrs_post_init__(self) -> None:
        """Bring the values to the form in which equal effect is equal value."""
        # a frozen instance is set while it is made by this way only
        for field in ("services", "persons", "devices"):
            if ALL in getattr(self, field):
                object.__setattr__(self, field, EVERYTHING)
        if self.all_attributes:
            object.__setattr__(self, "attributes", ATTRIBUTES)
            object.__setattr__(self, "user_input", UserInput.FULL)
            object.__setattr__(self, "unknown", frozenset())
        elif self.unknown:
            unknown = (name for name in self.unknown if not _is_known(name))
            object.__setattr__(self, "unknown", frozenset(unknown))

    @classmethod
    def none(cls) -> Permissions:
        """Nothing is seen."""
        return cls()

    @classmethod
    def all(cls) -> Permissions:
        """Everything is seen."""
        return cls(EVERYTHING, EVERYTHING, EVERYTHING, all_attributes=True)


def read_permissions(transformations: etree._Element) -> Permissions:
    """The permissions of one rule (XDM-140 to XDM-142).

    Elements not known grant nothing (XDM-95); of one that stands there twice the higher
    value counts, as if it came from two rules.

    :param transformations: the ``cp:transformations`` of a schema-valid rule.
    """
    sets: dict[str, set[Member]] = {"services": set(), "persons": set(), "devices": set()}
    attributes: set[Attribute] = set()
    unknown: set[str] = set()
    user_input = UserInput.NONE
    all_attributes = False
    for element in transformations.iterchildren(etree.Element):
        tag = element.tag
        if tag in _BOOLEANS:
            if _is_true(element):
                attributes.add(_BOOLEANS[tag])
        elif tag == _PROVIDE_SERVICES:
            sets["services"].update(_members(element, _SERVICES))
        elif tag == _PROVIDE_PERSONS:
            sets["persons"].update(_members(element, _PERSONS))
        elif tag == _PROVIDE_DEVICES:
            sets["devices"].update(_members(element, _DEVICES))
        elif tag == _USER_INPUT:
            level = _USER_INPUTS.get(token(element), UserInput.NONE)
            user_input = max(user_input, level)
        elif tag == _GEOPRIV:
            if token(element) == "full":
                attributes.add("geopriv")
        elif tag == _UNKNOWN:
            name, namespace = element.get("name", ""), element.get("ns", "")
            if name and namespace and ":" not in name and _is_true(element):
                unknown.add(f"{{{namespace}}}{name}")
        elif tag == _ALL_ATTRIBUTES:
            all_attributes = True
    return Permissions(
        services=frozenset(sets["services"]),
        persons=frozenset(sets["persons"]),
        devices=frozenset(sets["devices"]),
        attributes=frozenset(attributes),
        user_input=user_input,
        unknown=frozenset(unknown),
        all_attributes=all_attributes,
    )


def combine(permissions: Iterable[Permissions]) -> Permissions:
    """What several rules grant together, each permission on its own (XDM-140, RUL-01).

    Booleans OR, levels maximum, sets union; order and repetition do not matter. Without
    rules nothing is granted.
    """
    rules = list(permissions)
    if len(rules) == 1:
        return rules[0]
    return Permissions(
        services=frozenset().union(*(rule.services for rule in rules)),
        persons=frozenset().union(*(rule.persons for rule in rules)),
        devices=frozenset().union(*(rule.devices for rule in rules)),
        attributes=frozenset().union(*(rule.attributes for rule in rules)),
        user_input=max((rule.user_input for rule in rules), default=UserInput.NONE),
        unknown=frozenset().union(*(rule.unknown for rule in rules)),
        all_attributes=any(rule.all_attributes for rule in rules),
    )


def _members(element: etree._Element, kinds: dict[str, Kind]) -> Iterable[Member]:
    """The members of a set that are understood; an empty value matches nothing."""
    for child in element.iterchildren(etree.Element):
        kind = kinds.get(child.tag)
        if kind == "all":
            yield ALL
        elif kind is not None and (value := token(child)):
            yield kind, value


def _is_known(name: str) -> bool:
    """Whether an expanded name is of an element with rules of its own (XDM-144).

    All of PIDF, data model and RPID counts as known, also an element that stands where it
    does not belong.
    """
    return name.startswith(_KNOWN_NAMESPACES) or name in _KNOWN


def _is_true(element: etree._Element) -> bool:
    """The value of an xs:boolean element."""
    return token(element) in ("true", "1")


def token(element: etree._Element) -> str:
    """The text of an element as an xs:token: comments left out, white space collapsed."""
    text = element.text or ""
    if len(element):
        text += "".join(child.tail or "" for child in element)
    # other blanks of Unicode are characters like any other
    return " ".join(filter(None, _SPACE.split(text)))
