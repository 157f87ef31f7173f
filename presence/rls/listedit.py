"""Editing documents with a user's own lists and services (RFC 4826).

What an edit is not about stays as it is, unknown elements of other clients included.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from lxml import etree

from presence.pidf.parse import DECLARATION
from presence.pidf.plain import plain
from presence.rls.definitions import member_key
from presence.rls.ownlists import (
    LISTS_ROOT,
    PRESENCE,
    SERVICES_ROOT,
    Entry,
    display_name,
    read_root,
)
from presence.xmltext import quote
from xcap.usage.names import (
    DISPLAY_NAME,
    ENTRY,
    ENTRY_REF,
    EXTERNAL,
    LIST,
    RESOURCE_LISTS,
    RLS_SERVICES,
    SERVICE,
)

NO_SERVICES: Final = (
    DECLARATION + f'\n<rls-services xmlns="{RLS_SERVICES}">\n</rls-services>'.encode()
)
"""A document without services yet."""

_SPACE: Final = " \t\r\n"
_NO_LISTS: Final = (
    DECLARATION + f'\n<resource-lists xmlns="{RESOURCE_LISTS}">\n</resource-lists>'.encode()
)


class NoListError(Exception):
    """There is no list of that name."""


def put_list(document: bytes, name: str, title: str = "") -> bytes:
    """The document with a list; one that is there keeps its members.

    :param document: b"" for a new one.
    :param title: its display name; "" leaves that as it is.
    :raises ValueError: it is no document of lists.
    """
    root = read_root(document or _NO_LISTS, LISTS_ROOT)
    element = _find(root, name)
    if element is not None and (not title or display_name(element) == plain(title)):
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
        if entry is not None and member.name in ("", display_name(entry)):
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
    root = read_root(document, SERVICES_ROOT)
    wanted = frozenset(uris)
    found = [s for s in root.iterchildren(SERVICE) if s.get("uri", "").strip(_SPACE) in wanted]
    for element in found:
        _remove(element)
    return _write(root) if found else document


def _write(root: etree._Element) -> bytes:
    text: bytes = etree.tostring(root.getroottree(), encoding="UTF-8", xml_declaration=False)
    return DECLARATION + b"\n" + text


def _list(document: bytes, name: str) -> tuple[etree._Element, etree._Element]:
    if not document:
        raise NoListError(name)
    root = read_root(document, LISTS_ROOT)
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
