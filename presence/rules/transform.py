"""What permissions leave of a presence document (RFC 5025 section 3.3, presence-data.md K).

Applied to the composed document, before the watcher's own filter (XDM-147, RUL-25). What is
withheld leaves no trace: no namespace declaration, no comment. Conditions and combination
are elsewhere in :mod:`presence.rules`.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from lxml import etree

from presence.pidf import names
from presence.pidf.equality import UriSet, device_key
from presence.pidf.parse import parse_own
from presence.pidf.tidy import tidy
from presence.pidf.tree import attributes, remove
from presence.pidf.write import serialize
from presence.rules.permissions import ALL, Attribute, Member, Permissions, UserInput, token
from presence.rules.sphere import sphere_of

__all__ = ["Transformation", "sphere_of", "transform", "transform_tree"]

_R: Final = f"{{{names.RPID}}}"
_O: Final = f"{{{names.OMA}}}"
_CLASS: Final = f"{_R}class"
_USER_INPUT: Final = f"{_R}user-input"
_GEOPRIV: Final = f"{{{names.GEOPRIV}}}geopriv"
_SERVICE_DESCRIPTION: Final = f"{_O}service-description"
_SERVICE_ID: Final = f"{_O}service-id"

# given in every component that is let through (XDM-143)
_ALWAYS: Final = {
    names.TUPLE: (
        names.STATUS,
        names.CONTACT,
        names.TIMESTAMP,
        f"{_R}service-class",
        _SERVICE_DESCRIPTION,
    ),
    names.PERSON: (names.DM_TIMESTAMP,),
    names.DEVICE: (names.DEVICE_ID, names.DM_TIMESTAMP),
    names.STATUS: (names.BASIC,),
    names.PRESENCE: (),
}
# the children that a permission opens, by where they stand (XDM-142)
_OPENED: Final[dict[str, dict[Attribute, str]]] = {
    names.TUPLE: {
        "class": _CLASS,
        "deviceID": names.DEVICE_ID,
        "privacy": f"{_R}privacy",
        "relationship": f"{_R}relationship",
        "status-icon": f"{_R}status-icon",
        "note": names.NOTE,
        "willingness": f"{_O}willingness",
        "session-participation": f"{_O}session-participation",
        "registration-state": f"{_O}registration-state",
        "barring-state": f"{_O}barring-state",
        "geopriv": _GEOPRIV,
    },
    names.PERSON: {
        "activities": names.ACTIVITIES,
        "class": _CLASS,
        "mood": names.MOOD,
        "place-is": f"{_R}place-is",
        "place-type": names.PLACE_TYPE,
        "privacy": f"{_R}privacy",
        "sphere": names.SPHERE,
        "status-icon": f"{_R}status-icon",
        "time-offset": f"{_R}time-offset",
        "note": names.DM_NOTE,
        "willingness": f"{_O}overriding-willingness",
        "geopriv": _GEOPRIV,
    },
    names.DEVICE: {
        "class": _CLASS,
        "note": names.DM_NOTE,
        "network-availability": f"{_O}network-availability",
        "geopriv": _GEOPRIV,
    },
    names.STATUS: {"geopriv": _GEOPRIV},
    names.PRESENCE: {"note": names.NOTE},
}
_COMPONENTS: Final = (names.TUPLE, names.PERSON, names.DEVICE)

# "since" is an old name of last-input (RFC 5025 section 3.3.2.12)
_THRESHOLD: Final = "idle-threshold"
_NOT_BARE: Final = (_THRESHOLD, "last-input", "since")


def transform(document: bytes, permissions: Permissions) -> bytes:
    """The view of a watcher: what ``permissions`` leave of a document.

    Schema-valid when the document is. Applying it again changes nothing (XDM-145); only
    components chosen by a class that is not itself seen would then be gone (RUL-27). Without
    any permission ``presence`` with ``entity`` remains (XDM-148). Who may see everything
    gets the same object.

    :param document: a schema-valid ``application/pidf+xml`` document in UTF-8, which somebody
        has accepted or composed.
    :raises presence.pidf.parse.DocumentError: it is not well-formed.
    """
    transformation = _transformation(permissions)
    if transformation.identical:
        return document
    root = parse_own(document)
    transformation.apply(root)
    return serialize(root)


def transform_tree(root: etree._Element, permissions: Permissions) -> None:
    """As :func:`transform`, on the tree of a document, in place; blank text stays."""
    transformation = _transformation(permissions)
    if not transformation.identical:
        # nobody grants comments, wherever they stand
        etree.strip_tags(root, etree.Comment, etree.ProcessingInstruction)
        transformation.apply(root)


class Transformation:
    """Permissions made ready to be applied.

    :ivar identical: everything is seen; documents stay as they are.
    """

    __slots__ = ("_attributes", "_kept", "_scattered", "_selectors", "_user_input", "identical")

    def __init__(self, permissions: Permissions) -> None:
        self.identical = permissions == Permissions.all()
        self._selectors: dict[str, _Selector] = {
            names.TUPLE: _Selector(permissions.services),
            names.PERSON: _Selector(permissions.persons),
            names.DEVICE: _Selector(permissions.devices),
        }
        self._attributes = permissions.all_attributes
        self._kept = {place: _kept(place, permissions) for place in _ALWAYS}
        self._user_input = permissions.user_input
        self._scattered = _scattered(permissions)

    def apply(self, root: etree._Element) -> None:
        """Remove from a document what is not granted.

        :param root: the ``presence`` of a schema-valid document without comments.
        """
        if self.identical:
            return
        whole = self._attributes
        selectors = self._selectors
        kept = self._kept
        at_root = kept[names.PRESENCE]
        for child in list(root):
            tag = child.tag
            selector = selectors.get(tag)
            if selector is None:
                if not whole and tag not in at_root:
                    root.remove(child)
            elif not selector.selects(child):
                root.remove(child)
            elif not whole:
                _keep(child, kept[tag])
                if tag == names.TUPLE and (status := child.find(names.STATUS)) is not None:
                    _keep(status, kept[names.STATUS])
        if self._scattered:
            self._reduce(root)
        tidy(root)

    def _reduce(self, root: etree._Element) -> None:
        """Withhold what must not be seen wherever it stands, and parts of user-input."""
        for element in list(root.iter(*self._scattered)):
            if element.tag != _USER_INPUT or self._user_input == UserInput.NONE:
                remove(element)
                continue
            bare = self._user_input == UserInput.BARE
            for name, _ in attributes(element):
                if name in _NOT_BARE if bare else name != _THRESHOLD:
                    del element.attrib[name]


@lru_cache(maxsize=1024)
def _transformation(permissions: Permissions) -> Transformation:
    """The same permissions come again and again (RUL-26)."""
    return Transformation(permissions)


class _Selector:
    """Which components of a sort are let through (XDM-141, RUL-10 to RUL-13)."""

    __slots__ = ("all", "classes", "devices", "ids", "schemes", "services", "uris")

    def __init__(self, members: frozenset[Member]) -> None:
        self.all = ALL in members
        self.classes = _values(members, "class")
        self.ids = _values(members, "occurrence-id")
        self.schemes = _values(members, "service-uri-scheme")
        self.services = _values(members, "service-id")
        self.devices = frozenset(device_key(text) for text in _values(members, "deviceID"))
        self.uris = UriSet(_values(members, "service-uri"))

    def selects(self, element: etree._Element) -> bool:
        """Whether one of the members names the component."""
        if self.all:
            return True
        if self.ids and element.get("id", "").strip() in self.ids:
            return True
        if self.classes and any(
            token(child) in self.classes for child in element.iterchildren(_CLASS)
        ):
            return True
        if self.devices and any(
            device_key(token(child)) in self.devices
            for child in element.iterchildren(names.DEVICE_ID)
        ):
            return True
        if self.services and any(
            token(child) in self.services
            for description in element.iterchildren(_SERVICE_DESCRIPTION)
            for child in description.iterchildren(_SERVICE_ID)
        ):
            return True
        if not self.schemes and not self.uris:
            return False
        return any(
            self._selects_contact(token(child)) for child in element.iterchildren(names.CONTACT)
        )

    def _selects_contact(self, contact: str) -> bool:
        """By URI equality, or by the scheme as it is written."""
        scheme, colon, _ = contact.partition(":")
        if colon and scheme in self.schemes:
            return True
        return bool(self.uris) and contact in self.uris


def _values(members: frozenset[Member], kind: str) -> frozenset[str]:
    """The values of one kind."""
    return frozenset(value for each, value in members if each == kind)


def _kept(place: str, permissions: Permissions) -> frozenset[str]:
    """The names of the children that stay in a component, a status or the root."""
    kept = set(_ALWAYS[place])
    kept.update(tag for name, tag in _OPENED[place].items() if name in permissions.attributes)
    if place != names.STATUS:
        kept |= permissions.unknown
    if place in _COMPONENTS and permissions.user_input > UserInput.NONE:
        kept.add(_USER_INPUT)
    return frozenset(kept)


def _scattered(permissions: Permissions) -> tuple[str, ...]:
    """Elements that are withheld or reduced also inside those that are granted (XDM-142)."""
    withheld = []
    if "class" not in permissions.attributes:
        withheld.append(_CLASS)
    if "geopriv" not in permissions.attributes:
        withheld.append(_GEOPRIV)
    if permissions.user_input < UserInput.FULL:
        withheld.append(_USER_INPUT)
    return tuple(withheld)


def _keep(element: etree._Element, kept: frozenset[str]) -> None:
    """Remove the children with other names."""
    for child in list(element):
        if child.tag not in kept:
            element.remove(child)
