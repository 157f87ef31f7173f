"""``resource-lists`` (RFC 4826 section 3, XDM-20 to XDM-34)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, ClassVar, Final

from xcap.canonical import is_relative_path, parse_http_uri
from xcap.errors import Exists
from xcap.usage.base import BOTH, Quotas, Trusted, Usage, constraint, quota, unique
from xcap.usage.fields import EXISTS_LIMIT, attribute_field
from xcap.usage.names import (
    APP_USAGE,
    ENTRY,
    ENTRY_REF,
    EXTERNAL,
    LIST,
    LIST_ATTRIBUTES,
    RESOURCE_LISTS,
    SERVICE,
    SERVICE_LIST,
    URI_USAGE,
)

if TYPE_CHECKING:
    from lxml import etree

    from xcap.records import DocumentKey

_MEMBERS: Final = (LIST, ENTRY, ENTRY_REF, EXTERNAL)
_ALTERNATIVES: Final = 5


class ResourceLists(Usage):
    """Lists of URIs.

    :param quotas: how many lists and entries there may be.
    """

    auid = "resource-lists"
    mime_type = "application/resource-lists+xml"
    default_namespace = RESOURCE_LISTS
    namespaces: tuple[str, ...] = (RESOURCE_LISTS, URI_USAGE, APP_USAGE)
    schema = "resource-lists"
    trees = BOTH
    unique_attributes: ClassVar[dict[str, str]] = LIST_ATTRIBUTES

    def __init__(self, trusted: Iterable[Trusted] = (), quotas: Quotas | None = None) -> None:
        super().__init__(trusted)
        self._quotas = quotas or Quotas()

    def check(self, root: etree._Element, key: DocumentKey) -> None:
        """XDM-22 to XDM-24, and the quotas.

        :raises Conflict: ``uniqueness-failure`` or ``constraint-failure``.
        """
        lists = list(list_parents(root))
        unique(repeated_members(lists, {RESOURCE_LISTS: ""}))
        check_references(lists)
        check_quotas(lists, self._quotas)


def list_parents(root: etree._Element) -> Iterator[etree._Element]:
    """Every element that may hold lists or members of lists, in document order.

    What stands in extensions, which nobody here understands, is not among them.
    """
    waiting = [root]
    while waiting:
        parent = waiting.pop()
        yield parent
        waiting.extend(reversed([*parent.iterchildren(LIST, SERVICE, SERVICE_LIST)]))


def repeated_members(
    parents: Iterable[etree._Element], prefixes: dict[str, str]
) -> Iterator[Exists]:
    """The members of lists whose names or URIs others in the same list have (XDM-22).

    :param prefixes: prefix by namespace, "" for that of the default document namespace.
    :returns: the second and further ones, the first hundred.
    """
    bindings = tuple((prefix, space) for space, prefix in prefixes.items() if prefix)
    left = EXISTS_LIMIT
    for parent in parents:
        seen: dict[str, set[str]] = {tag: set() for tag in _MEMBERS}
        counts = dict.fromkeys(_MEMBERS, 0)
        for child in parent.iterchildren(*_MEMBERS):
            tag = child.tag
            counts[tag] += 1
            value = child.get(LIST_ATTRIBUTES[tag])
            if value is None:
                continue
            if value not in seen[tag]:
                seen[tag].add(value)
                continue
            if not left:
                return
            left -= 1
            free = _free_names(parent, value) if tag == LIST else ()
            field = attribute_field(child, LIST_ATTRIBUTES[tag], counts[tag], prefixes)
            yield Exists(field, free, bindings)


def _free_names(parent: etree._Element, name: str) -> tuple[str, ...]:
    """Names like one that is taken, which no list beside it has (XCAP-134)."""
    used = {child.get("name") for child in parent.iterchildren(LIST)}
    free: list[str] = []
    number = 2
    while len(free) < _ALTERNATIVES:
        text = f"{name}-{number}"
        if text not in used:
            free.append(text)
        number += 1
    return tuple(free)


def check_references(parents: Iterable[etree._Element]) -> None:
    """Check the form of references; they are not followed (XDM-23 to XDM-25).

    :raises Conflict: ``constraint-failure``.
    """
    for parent in parents:
        for element in parent.iterchildren(ENTRY_REF, EXTERNAL):
            if element.tag == ENTRY_REF:
                if not is_relative_path(element.get("ref", "")):
                    raise constraint("The ref of an entry-ref must be a relative path")
            elif parse_http_uri(element.get("anchor", "")) is None:
                raise constraint("The anchor of an external must be an absolute HTTP URI")


def check_quotas(parents: Iterable[etree._Element], quotas: Quotas) -> None:
    """Count lists and their entries (XDM-08).

    :raises Conflict: ``constraint-failure``.
    """
    lists = [parent for parent in parents if parent.tag in (LIST, SERVICE_LIST)]
    quota(len(lists), quotas.lists, "lists")
    for parent in lists:
        entries = sum(1 for _ in parent.iterchildren(ENTRY, ENTRY_REF, EXTERNAL))
        quota(entries, quotas.entries, "entries in a list")
