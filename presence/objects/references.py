"""Where presence documents refer to objects: ``cid:`` URLs (RFC 2392, CIN-08)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, unquote

from lxml import etree

from presence.pidf import names
from presence.pidf.parse import parse_own
from presence.pidf.tree import attributes, remove
from presence.pidf.write import serialize

if TYPE_CHECKING:
    from presence.objects.published import PublishedObject

__all__ = ["mentioned", "pointed", "referred", "told"]

_SPACE: Final = " \t\r\n"

_NEEDED: Final = frozenset(
    {
        names.PRESENCE,
        names.STATUS,
        names.DEVICE_ID,
        f"{{{names.OMA}}}service-id",
        f"{{{names.OMA}}}version",
        *names.BASICS,
        *names.COMPONENTS,
    }
)
"""Without these what is around them is not valid; they stay whatever they refer to."""

_Place = tuple[etree._Element, str, str]


def mentioned(document: bytes) -> frozenset[str]:
    """The Content-IDs that a document refers to.

    :param document: one that somebody has accepted or composed, or a part of it.
    :raises presence.pidf.parse.DocumentError: it is not well-formed.
    """
    return frozenset(cid for _, _, cid in _places(parse_own(document)))


def referred(document: bytes, objects: Iterable[PublishedObject]) -> tuple[PublishedObject, ...]:
    """Those of the objects that a published document refers to.

    :raises presence.pidf.parse.DocumentError: the document is not well-formed.
    """
    if not objects:
        return ()
    cids = mentioned(document)
    return tuple(each for each in objects if each.cid in cids)


def told(document: bytes, objects: Iterable[PublishedObject], now: float | None) -> bytes:
    """A published document with the names that watchers are told.

    A reference that is good no longer goes, with the element that has it (CIN-09).

    :param now: seconds since 1970, None for a document with all references.
    """
    root = parse_own(document)
    given: dict[str, str] = {}
    over: set[str] = set()
    for each in objects:
        given[each.cid] = each.name
        if now is not None and each.over(now):
            over.add(each.cid)
    places = list(_places(root))
    _rename(places, given)
    for element, _, cid in places:
        if cid in over and element.tag not in _NEEDED:
            remove(element)
    return serialize(root)


def pointed(document: bytes, urls: Mapping[str, str | None]) -> bytes:
    """A document of a source whose references point to where its objects are.

    :param urls: by Content-ID, what stands in place of its ``cid:`` URL; None removes the
        element that has it.
    :raises presence.pidf.parse.DocumentError: it is not well-formed.
    """
    root = parse_own(document)
    for element, attribute, cid in list(_places(root)):
        url = urls.get(cid, "")
        if url is None:
            if element.tag not in _NEEDED:
                remove(element)
        elif url and attribute:
            element.set(attribute, url)
        elif url:
            element.text = url
    return serialize(root)


def _places(root: etree._Element) -> Iterator[_Place]:
    """Elements and attributes ("" for text) that are a ``cid:`` URL, and its Content-ID."""
    for element in root.iter(etree.Element):
        cid = _content_id(element.text)
        if cid:
            yield element, "", cid
        for name, value in attributes(element):
            cid = _content_id(value)
            if cid:
                yield element, name, cid


def _content_id(text: str | None) -> str:
    if text is None or ":" not in text:
        return ""
    text = text.strip(_SPACE)
    return unquote(text[4:]) if text[:4].lower() == "cid:" else ""


def _rename(places: Iterable[_Place], given: Mapping[str, str]) -> None:
    for element, attribute, cid in places:
        name = given.get(cid)
        if name is None:
            continue
        url = f"cid:{quote(name, safe='@')}"
        if attribute:
            element.set(attribute, url)
        else:
            element.text = url
