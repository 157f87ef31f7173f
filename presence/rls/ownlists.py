"""A user's own lists and services, as documents have them (RFC 4826)."""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

import attrs
from lxml import etree

from presence.listreferences import BadReference, References
from presence.pidf.parse import DocumentError, parse, to_utf8
from presence.pidf.plain import plain
from presence.rls.definitions import member_key, service_key
from xcap.uri import attribute_step, build
from xcap.usage.names import (
    DISPLAY_NAME,
    ENTRY,
    ENTRY_REF,
    EXTERNAL,
    LIST,
    RESOURCE_LISTS,
    RLS_SERVICES,
    SERVICE,
    SERVICE_LIST,
)

PRESENCE: Final = "presence"
"""The event package."""
LISTS_ROOT: Final = f"{{{RESOURCE_LISTS}}}resource-lists"
"""Root element of a document of lists."""
SERVICES_ROOT: Final = f"{{{RLS_SERVICES}}}rls-services"
"""Root element of a document of services."""

_RESOURCE_LIST: Final = f"{{{RLS_SERVICES}}}resource-list"
_PACKAGES: Final = f"{{{RLS_SERVICES}}}packages"
_PACKAGE: Final = f"{{{RLS_SERVICES}}}package"
_SPACE: Final = " \t\r\n"


@attrs.frozen(slots=True)
class Entry:
    """A member of a list.

    :ivar uri: canonical (XDM-33); as it stands where it is no URI to subscribe to.
    :ivar name: display name, "" without any.
    """

    uri: str
    name: str = ""


@attrs.frozen(slots=True)
class Elsewhere:
    """Members that other documents hold.

    :ivar uri: the reference.
    """

    kind: Literal["external", "entry-ref"]
    uri: str


@attrs.frozen(slots=True)
class OwnList:
    """A list.

    :ivar name: what tells it from others, "" without any.
    :ivar title: display name, "" without any.
    :ivar items: in document order.
    """

    name: str
    title: str
    items: tuple[Item, ...]


Item: TypeAlias = Entry | Elsewhere | OwnList


@attrs.frozen(slots=True)
class OwnService:
    """A service: a URI to subscribe to.

    :ivar uri: as the document has it.
    :ivar packages: event packages; None for all (XDM-42).
    :ivar list: name of the own list that it is for; None when it is for another one.
    :ivar inline: the list that is part of it.
    :ivar elsewhere: reference to another list, "" without any.
    """

    uri: str
    packages: tuple[str, ...] | None
    list: str | None = None
    inline: OwnList | None = None
    elsewhere: str = ""

    @property
    def serves_presence(self) -> bool:
        """Whether presence can be subscribed to."""
        return self.packages is None or PRESENCE in self.packages

    def is_at(self, uri: str) -> bool:
        """Whether it has a URI, in whatever spelling.

        :param uri: a SIP URI.
        """
        try:
            return service_key(self.uri) == service_key(uri)
        except ValueError:
            return False


# -- names of documents and lists ----------------------------------------------------------


def lists_path(owner: str) -> str:
    """The document with the lists of a user, relative to the XCAP root.

    :param owner: canonical identifier.
    """
    return build("", "resource-lists", owner, "index")[1:]


def list_uri(root: str, owner: str, name: str) -> str:
    """The absolute URI of a list, as ``resource-list`` holds it (XDM-43).

    :param root: XCAP root.
    :param owner: canonical identifier.
    :raises ValueError: the name holds a character that XML does not allow.
    """
    step = attribute_step("list", "name", name)
    return f"{root.rstrip('/')}/{lists_path(owner)}/~~/resource-lists/{step}"


# -- reading -------------------------------------------------------------------------------


def read_lists(document: bytes) -> tuple[OwnList, ...]:
    """The lists of a document of ``resource-lists``; b"" is one without any.

    :raises ValueError: it is none.
    """
    if not document:
        return ()
    return tuple(
        _read_list(element) for element in read_root(document, LISTS_ROOT).iterchildren(LIST)
    )


def read_services(document: bytes, root: str, owner: str) -> tuple[OwnService, ...]:
    """The services of a document of ``rls-services``; b"" is one without any.

    :param root: XCAP root.
    :param owner: canonical identifier.
    :raises ValueError: it is none.
    """
    if not document:
        return ()
    references = References(root if root.endswith("/") else f"{root}/")
    place = lists_path(owner)

    def read(element: etree._Element) -> OwnService:
        packages = element.find(_PACKAGES)
        names = None
        if packages is not None:
            names = tuple((p.text or "").strip(_SPACE) for p in packages.iterchildren(_PACKAGE))
        service = OwnService(element.get("uri", "").strip(_SPACE), names)
        inline = element.find(SERVICE_LIST)
        if inline is not None:
            return attrs.evolve(service, inline=_read_list(inline))
        text = (element.findtext(_RESOURCE_LIST) or "").strip(_SPACE)
        name = _own_list(text, references, place)
        return attrs.evolve(service, list=name, elsewhere="" if name is not None else text)

    return tuple(map(read, read_root(document, SERVICES_ROOT).iterchildren(SERVICE)))


def _own_list(text: str, references: References, place: str) -> str | None:
    """The name of the own list that a reference names, None for any other."""
    try:
        reference = references.external(text)
    except BadReference:
        return None
    steps = reference.selector.steps
    if reference.place.path != place or reference.selector.attribute or len(steps) != 2:
        return None
    named = steps[1].attribute
    return named[1] if steps[1].name == LIST and named and named[0] == "name" else None


def _read_list(element: etree._Element) -> OwnList:
    items: list[Item] = []
    for child in element.iterchildren(ENTRY, ENTRY_REF, EXTERNAL, LIST):
        if child.tag == ENTRY:
            uri = child.get("uri", "").strip(_SPACE)
            items.append(Entry(member_key(uri) or uri, display_name(child)))
        elif child.tag == LIST:
            items.append(_read_list(child))
        elif child.tag == EXTERNAL:
            items.append(Elsewhere("external", child.get("anchor", "").strip(_SPACE)))
        else:
            items.append(Elsewhere("entry-ref", child.get("ref", "").strip(_SPACE)))
    return OwnList(element.get("name", ""), display_name(element), tuple(items))


def display_name(element: etree._Element) -> str:
    """The display name of a list or entry on one line, "" without any."""
    return plain(element.findtext(DISPLAY_NAME) or "")


def read_root(document: bytes, tag: str) -> etree._Element:
    """The root of a document.

    :param tag: that it must have.
    :raises ValueError: it has not, or there is none.
    """
    try:
        root = parse(to_utf8(document))
    except DocumentError as error:
        raise ValueError(error.reason) from None
    if root.tag != tag:
        raise ValueError("it is a document of another kind")
    return root
