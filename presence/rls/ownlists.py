"""A user's own lists and services: reading the documents, and editing them (RFC 4826).

What an edit is not about stays as it is, unknown elements of other clients included.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal, TypeAlias

import attrs
from lxml import etree

from presence.listreferences import BadReference, References
from presence.pidf.parse import DECLARATION, DocumentError, parse, to_utf8
from presence.pidf.plain import plain
from presence.rls.definitions import member_key, service_key
from presence.xmltext import quote
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
NO_SERVICES: Final = (
    DECLARATION + f'\n<rls-services xmlns="{RLS_SERVICES}">\n</rls-services>'.encode()
)
"""A document without services yet."""

_LISTS: Final = f"{{{RESOURCE_LISTS}}}resource-lists"
_SERVICES: Final = f"{{{RLS_SERVICES}}}rls-services"
_RESOURCE_LIST: Final = f"{{{RLS_SERVICES}}}resource-list"
_PACKAGES: Final = f"{{{RLS_SERVICES}}}packages"
_PACKAGE: Final = f"{{{RLS_SERVICES}}}package"
_SPACE: Final = " \t\r\n"
_NO_LISTS: Final = (
    DECLARATION + f'\n<resource-lists xmlns="{RESOURCE_LISTS}">\n</resource-lists>'.encode()
)


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


class NoListError(Exception):
    """There is no list of that name."""


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
    return tuple(_read_list(element) for element in _root(document, _LISTS).iterchildren(LIST))


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

    return tuple(map(read, _root(document, _SERVICES).iterchildren(SERVICE)))


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
            items.append(Entry(member_key(uri) or uri, _name(child)))
        elif child.tag == LIST:
            items.append(_read_list(child))
        elif child.tag == EXTERNAL:
            items.append(Elsewhere("external", child.get("anchor", "").strip(_SPACE)))
        else:
            items.append(Elsewhere("entry-ref", child.get("ref", "").strip(_SPACE)))
    return OwnList(element.get("name", ""), _name(element), tuple(items))


def _name(element: etree._Element) -> str:
    return plain(element.findtext(DISPLAY_NAME) or "")


# -- editing -------------------------------------------------------------------------------


def put_list(document: bytes, name: str, title: str = "") -> bytes:
    """The document with a list; one that is there keeps its members.

    :param document: b"" for a new one.
    :param title: its display name; "" leaves that as it is.
    :raises ValueError: it is no document of lists.
    """
    root = _root(document or _NO_LISTS, _LISTS)
    element = _find(root, name)
    if element is not None and (not title or _name(element) == plain(title)):
        return document
    if element is not None:
        _set_name(element, title)
        return _write(root)
    element = _append(root, LIST, {"name": name}, (LIST,))
    if title:
        _append(element, DISPLAY_NAME, {}, ()).text = title
    return _write(root)


def add_members(
    document: bytes, name: str, members: Iterable[Entry]
) -> tuple[bytes, tuple[Entry, ...], tuple[Entry, ...]]:
    """The document with more members in a list; one that is in it gets its new name.

    :param members: with canonical URIs.
    :returns: the document, who was added or renamed, and who was in it as he is.
    :raises NoListError: there is no such list.
    :raises ValueError: it is no document of lists.
    """
    root, element = _list(document, name)
    known = {_key(entry): entry for entry in element.iterchildren(ENTRY)}
    done: list[Entry] = []
    left: list[Entry] = []
    for member in members:
        entry = known.get(member.uri)
        if entry is not None and member.name in ("", _name(entry)):
            left.append(member)
            continue
        if entry is None:
            where = (DISPLAY_NAME, LIST, EXTERNAL, ENTRY, ENTRY_REF)
            entry = known[member.uri] = _append(element, ENTRY, {"uri": member.uri}, where)
        if member.name:
            _set_name(entry, member.name)
        done.append(member)
    return _write(root) if done else document, tuple(done), tuple(left)


def remove_members(
    document: bytes, name: str, uris: Iterable[str]
) -> tuple[bytes, tuple[str, ...], tuple[str, ...]]:
    """The document with fewer members in a list.

    :param uris: canonical.
    :returns: the document, who was removed, and who was not in it.
    :raises NoListError: there is no such list.
    :raises ValueError: it is no document of lists.
    """
    root, element = _list(document, name)
    done: list[str] = []
    left: list[str] = []
    for uri in uris:
        found = [entry for entry in element.iterchildren(ENTRY) if _key(entry) == uri]
        for entry in found:
            _remove(entry)
        (done if found else left).append(uri)
    return _write(root) if done else document, tuple(done), tuple(left)


def remove_list(document: bytes, name: str) -> bytes:
    """The document without a list.

    :raises NoListError: there is no such list.
    :raises ValueError: it is no document of lists.
    """
    root, element = _list(document, name)
    _remove(element)
    return _write(root)


def service_element(uri: str, of_list: str) -> bytes:
    """A service for the presence of the members of a list, to be put into a document.

    :param of_list: absolute URI of the list, see :func:`list_uri`.
    """
    return (
        f'<service xmlns="{RLS_SERVICES}" uri="{quote(uri)}">'
        f"<resource-list>{quote(of_list)}</resource-list>"
        f"<packages><package>{PRESENCE}</package></packages></service>"
    ).encode()


def remove_services(document: bytes, uris: Iterable[str]) -> bytes:
    """The document without some services.

    :param uris: as the document has them.
    :raises ValueError: it is no document of services.
    """
    if not document:
        return document
    root = _root(document, _SERVICES)
    wanted = frozenset(uris)
    found = [s for s in root.iterchildren(SERVICE) if s.get("uri", "").strip(_SPACE) in wanted]
    for element in found:
        _remove(element)
    return _write(root) if found else document


def _root(document: bytes, tag: str) -> etree._Element:
    try:
        root = parse(to_utf8(document))
    except DocumentError as error:
        raise ValueError(error.reason) from None
    if root.tag != tag:
        raise ValueError("it is a document of another kind")
    return root


def _write(root: etree._Element) -> bytes:
    text: bytes = etree.tostring(root.getroottree(), encoding="UTF-8", xml_declaration=False)
    return DECLARATION + b"\n" + text


def _list(document: bytes, name: str) -> tuple[etree._Element, etree._Element]:
    if not document:
        raise NoListError(name)
    root = _root(document, _LISTS)
    element = _find(root, name)
    if element is None:
        raise NoListError(name)
    return root, element


def _find(root: etree._Element, name: str) -> etree._Element | None:
    return next((child for child in root.iterchildren(LIST) if child.get("name") == name), None)


def _key(entry: etree._Element) -> str:
    uri = entry.get("uri", "").strip(_SPACE)
    return member_key(uri) or uri


def _set_name(element: etree._Element, text: str) -> None:
    """Give a display name, which stands before everything else."""
    name = element.find(DISPLAY_NAME)
    if name is None:
        name = etree.Element(DISPLAY_NAME)
        if len(element):
            name.tail = element.text
        element.insert(0, name)
    name.text = text


def _append(
    parent: etree._Element, tag: str, attributes: dict[str, str], after: tuple[str, ...]
) -> etree._Element:
    """A new element behind the last one of some kinds, on a line of its own, else the first.

    What the schemas allow at the end stays there: elements of others.
    """
    element = etree.Element(tag, attributes)
    children = list(parent.iterchildren(*after)) if after else []
    line = "\n" + "  " * (1 + sum(1 for _ in parent.iterancestors()))
    if not children:
        element.tail, parent.text = parent.text or line[:-2], line
        parent.insert(0, element)
        return element
    last = children[-1]
    if last.tail:  # else the document has no lines
        element.tail, last.tail = last.tail, line
    parent.insert(parent.index(last) + 1, element)
    return element


def _remove(element: etree._Element) -> None:
    """Take an element away; the white space before it goes with it."""
    parent = element.getparent()
    if parent is None:
        return
    tail = element.tail or ""
    before = element.getprevious()
    if before is None:
        if not (parent.text or "").strip(_SPACE):
            parent.text = tail
        else:
            parent.text = (parent.text or "") + tail
    elif not (before.tail or "").strip(_SPACE):
        before.tail = tail
    else:
        before.tail = (before.tail or "") + tail
    parent.remove(element)
