"""What a filter leaves of a document, by brute force, written from events.md H.2 and H.3 alone.

It shares nothing with :mod:`presence.filters`: expressions are those of lxml's XPath, and what may
be left out is asked of the schema, one node after the other.
"""

from __future__ import annotations

from typing import Any, cast

import attrs
from lxml import etree

from presence.pidf import schemas
from tests.presence.view_oracle import SPACES as VIEW_SPACES
from tests.presence.view_oracle import canonical

SPACES = {
    "p": "urn:ietf:params:xml:ns:pidf",
    "x": "urn:example:extension",
    **{prefix: VIEW_SPACES[prefix] for prefix in ("dm", "r", "op", "gp")},
}
P, DM = f"{{{SPACES['p']}}}", f"{{{SPACES['dm']}}}"
FILTERS = "urn:ietf:params:xml:ns:simple-filter"
# what stays of an element of which something inside is selected, and what it has to have
ATTRIBUTES = {
    f"{P}presence": "entity",
    f"{P}tuple": "id",
    f"{DM}person": "id",
    f"{DM}device": "id",
    f"{{{SPACES['op']}}}network": "id",
}
CHILDREN = {f"{P}tuple": f"{P}status", f"{DM}device": f"{DM}deviceID"}

Node = tuple[etree._Element, str]
"""An element, or one of its attributes."""


@attrs.frozen
class Asked:
    """A filter.

    :ivar includes: expressions; with ``ns:`` before it a namespace.
    :ivar triggers: kind, attributes and expression of each, in triggers of their own.
    """

    includes: tuple[str, ...] = ()
    excludes: tuple[str, ...] = ()
    triggers: tuple[tuple[str, str, str], ...] = ()

    def inner(self) -> str:
        """Its content in XML."""
        parts = [_selection("include", one) for one in self.includes]
        parts += [_selection("exclude", one) for one in self.excludes]
        text = f"<what>{''.join(parts)}</what>" if parts else ""
        for kind, words, path in self.triggers:
            text += f"<trigger><{kind}{words}>{path}</{kind}></trigger>"
        return text

    def element(self, name: str, attributes: str = "") -> str:
        """A ``filter`` element."""
        return f'<filter id="{name}"{attributes}>{self.inner()}</filter>'


def filter_set(*filters: str) -> bytes:
    """A filter document."""
    bindings = "".join(
        f'<ns-binding prefix="{prefix}" urn="{urn}"/>' for prefix, urn in SPACES.items()
    )
    return (
        f'<filter-set xmlns="{FILTERS}"><ns-bindings>{bindings}</ns-bindings>'
        f"{''.join(filters)}</filter-set>"
    ).encode()


def _selection(kind: str, text: str) -> str:
    if text.startswith("ns:"):
        return f'<{kind} type="namespace">{text[3:]}</{kind}>'
    return f"<{kind}>{text.replace('<', '&lt;')}</{kind}>"


def _found(root: etree._Element, text: str) -> list[Node]:
    """The nodes that a selection is about."""
    if text.startswith("ns:"):
        return [(each, "") for each in root.iter(f"{{{text[3:]}}}*")]
    nodes: list[Node] = []
    for each in cast("list[Any]", root.xpath(text, namespaces=SPACES)):
        if isinstance(each, etree._Element):
            nodes.append((each, ""))
        else:
            nodes.append((each.getparent(), each.attrname))
    return nodes


def select(document: bytes, asked: Asked) -> bytes | None:
    """What is left, as canonical XML; None for nothing (FLT-12)."""
    root = etree.fromstring(document)
    if not asked.includes and not asked.excludes:
        return canonical(root) if len(root) else None
    included = [(each, text) for text in asked.includes for each in _found(root, text)]
    excluded = [each for text in asked.excludes for each in _found(root, text)]
    for element, attribute in excluded:
        _leave_out(root, element, attribute)
    if asked.includes:
        alive = set(root.iter())
        whole = {e for (e, a), text in included if e in alive and not a and text[:3] != "ns:"}
        shallow = {e for (e, a), text in included if e in alive and not a and text[:3] == "ns:"}
        marked: dict[etree._Element, set[str]] = {}
        for (element, attribute), _ in included:
            if attribute and element in alive and attribute in element.attrib:
                marked.setdefault(element, set()).add(attribute)
        if not (whole or shallow or marked):
            return None
        root = _reduced(root, whole, shallow, marked)
    return canonical(root) if len(root) else None


def _leave_out(root: etree._Element, element: etree._Element, attribute: str) -> None:
    """Take one node away, unless the document has to have it (FLT-11)."""
    if attribute:
        value = element.attrib.pop(attribute, None)
        if value is not None and not schemas.presence().validate(root):
            element.set(attribute, value)
        return
    parent = element.getparent()
    if parent is None:
        return
    place, tail = parent.index(element), element.tail
    before = parent[place - 1] if place else None
    if before is not None:
        old = before.tail
        before.tail = (before.tail or "") + (tail or "") or None
    else:
        old = parent.text
        parent.text = (parent.text or "") + (tail or "") or None
    parent.remove(element)
    if not schemas.presence().validate(root):
        if before is not None:
            before.tail = old
        else:
            parent.text = old
        parent.insert(place, element)
        element.tail = tail


def _reduced(
    element: etree._Element,
    whole: set[etree._Element],
    shallow: set[etree._Element],
    marked: dict[etree._Element, set[str]],
) -> etree._Element:
    """A copy with what is selected, and what that cannot do without (FLT-10)."""
    copy = etree.Element(element.tag, nsmap=element.nsmap)
    if element in whole:
        copied = etree.fromstring(etree.tostring(element, with_tail=False))
        copied.tail = element.tail
        return copied
    keep = {ATTRIBUTES.get(element.tag, "")} | marked.get(element, set())
    for name, value in element.attrib.items():
        if element in shallow or name in keep:
            copy.set(name, value)
    if element in shallow or not len(element):
        copy.text = element.text
    touched = whole | shallow | set(marked)
    wanted = [each for each in element if not touched.isdisjoint(each.iter())]
    needed = CHILDREN.get(element.tag)
    if needed and not any(each.tag == needed for each in wanted):
        whole = whole | {each for each in element if each.tag == needed}
        wanted = [each for each in element if each in wanted or each.tag == needed]
    for each in wanted:
        left = _reduced(each, whole, shallow, marked)
        left.tail = each.tail if element in shallow else None
        copy.append(left)
    return copy


def fires(before: bytes, after: bytes, asked: Asked) -> bool:
    """Whether a trigger fires between two documents (FLT-15 to FLT-17)."""
    old, new = etree.fromstring(before), etree.fromstring(after)
    if canonical(old) == canonical(new):
        return False
    if not asked.triggers:
        return True
    return any(_fires(old, new, *trigger) for trigger in asked.triggers)


def _fires(old: etree._Element, new: etree._Element, kind: str, words: str, path: str) -> bool:
    were, are = ({_name(n): _value(n) for n in _found(root, path)} for root in (old, new))
    if kind == "added":
        return bool(are.keys() - were.keys())
    if kind == "removed":
        return bool(were.keys() - are.keys())
    wanted = dict(word.split("=") for word in words.replace('"', "").split())
    return any(
        were[name] != are[name]
        and wanted.get("from", were[name]) == were[name]
        and wanted.get("to", are[name]) == are[name]
        for name in were.keys() & are.keys()
    )


def _name(node: Node) -> str:
    """What a node is called in one document and the next."""
    element, attribute = node
    parent = element.getparent()
    if parent is None:
        return f"{element.tag}@{attribute}"
    own = element.get("id", "")
    alike = [e for e in parent if e.tag == element.tag and e.get("id", "") == own]
    place = alike.index(element)
    return f"{_name((parent, ''))}/{element.tag}[{own}][{place}]@{attribute}"


def _value(node: Node) -> str:
    element, attribute = node
    if attribute:
        return element.get(attribute, "").strip()
    if not len(element):
        return (element.text or "").strip()
    copy = etree.fromstring(etree.tostring(element, with_tail=False))
    return canonical(copy).decode().strip()
