"""What elements must have to be valid by their schema: what filters may not take (FLT-10, FLT-11).

The parts of ``xcap/schema`` and RFC 3858 that selections meet all the time are written down
here, so that a result is valid by the way it is made. Where they end a validator is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import attrs
from lxml import etree

from presence.pidf import names, schemas
from presence.pidf.tidy import XSI_TYPE
from xcap.schemas import PRESENCE, declarations

_WATCHERINFO: Final = "urn:ietf:params:xml:ns:watcherinfo"
_R: Final = f"{{{names.RPID}}}"
_O: Final = f"{{{names.OMA}}}"
_G: Final = f"{{{names.GEOPRIV}}}"
_W: Final = f"{{{_WATCHERINFO}}}"
_PLACE_IS: Final = f"{_R}place-is"


@attrs.frozen(slots=True)
class Kind:
    """A kind of document.

    :ivar attributes: mandatory attributes by element.
    :ivar children: by element, names of children of which there must be one.
    :ivar known: how the tags begin of which all of that is said here.
    :ivar covers: whether the schema speaks of an element at all.
    :ivar validator: the compiled schema, None where nothing but ``known`` is ever reduced.
    """

    attributes: Mapping[str, tuple[str, ...]]
    children: Mapping[str, tuple[str, ...]]
    known: tuple[str, ...]
    covers: Callable[[str], bool]
    validator: Callable[[], etree.XMLSchema] | None = None

    def certain(self, element: etree._Element) -> bool:
        """Whether what an element must have is known without a validator."""
        tag = element.tag
        if XSI_TYPE in element.attrib:
            return False
        return tag.startswith(self.known) or not self.covers(tag)


PIDF: Final = Kind(
    {
        names.PRESENCE: ("entity",),
        names.TUPLE: ("id",),
        names.PERSON: ("id",),
        names.DEVICE: ("id",),
        f"{_O}network": ("id",),
        names.TIMED_STATUS: ("from",),
    },
    {
        names.TUPLE: (names.STATUS,),
        names.DEVICE: (names.DEVICE_ID,),
        f"{_O}service-description": (f"{_O}service-id", f"{_O}version"),
        f"{_O}network-availability": (f"{_O}network",),
        names.GEOPRIV_OBJECT: (f"{_G}location-info", f"{_G}usage-rules"),
    },
    (
        f"{{{names.PIDF}}}",
        f"{{{names.DM}}}",
        _R,
        _O,
        f"{{{names.CIPID}}}",
        f"{{{names.TIMED}}}",
        names.GEOPRIV_OBJECT,
    ),
    lambda tag: declarations(PRESENCE).covers(tag),
    schemas.presence,
)
"""Presence documents."""

WATCHERINFO: Final = Kind(
    {
        f"{_W}watcherinfo": ("version", "state"),
        f"{_W}watcher-list": ("resource", "package"),
        f"{_W}watcher": ("status", "event", "id"),
    },
    {},
    (_W,),
    lambda tag: tag.startswith(_W),
)
"""Watcher information documents (RFC 3858)."""

_ONE_OF: Final = frozenset({names.MOOD, names.PLACE_TYPE, f"{_R}service-class"})
_ASPECTS: Final = frozenset({f"{_R}audio", f"{_R}video", f"{_R}text"})


def needs_one(element: etree._Element) -> bool:
    """Whether an element of RPID must have some child that is not a note (RFC 4480)."""
    if element.tag in _ONE_OF:
        return True
    parent = element.getparent()
    return element.tag in _ASPECTS and parent is not None and parent.tag == _PLACE_IS


def is_note(element: etree._Element) -> bool:
    """Whether an element is a note of RPID."""
    return bool(element.tag == names.RPID_NOTE)
