"""What a client reads in answers, and what it checks before it sends (XCLI-04 to XCLI-10)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from xcap import tree
from xcap.report import parse_report

if TYPE_CHECKING:
    from xcap.errors import Conflict
    from xcap.records import HttpResponse
    from xcap.uri import NodeSelector

_CAPABILITIES = "urn:ietf:params:xml:ns:xcap-caps"


@attrs.frozen(slots=True)
class Capabilities:
    """What a server can do (RFC 4825 section 12)."""

    auids: frozenset[str] = frozenset()
    extensions: frozenset[str] = frozenset()
    namespaces: frozenset[str] = frozenset()


def entity_tag(response: HttpResponse) -> str:
    """The strong entity-tag of an answer without quotes, "" if it has none."""
    value = (response.header("etag") or "").strip()
    return value[1:-1] if len(value) > 2 and value[0] == value[-1] == '"' else ""


def attribute_value(body: bytes) -> str:
    """The value in the body of an attribute, with or without quotes (XCLI-08).

    :raises ValueError: it is no attribute value.
    """
    text = body.strip(b" \t\r\n")
    if len(text) < 2 or text[:1] != text[-1:] or text[:1] not in (b'"', b"'"):
        quote = b"'" if b'"' in text else b'"'
        text = quote + text + quote
    try:
        root = tree.parse(b"<a v=" + text + b"/>").root
    except tree.TreeError as error:
        raise ValueError(str(error)) from None
    if set(root.attributes) != {"v"} or root.children:
        raise ValueError("not an attribute value")
    return root.attributes["v"].value


def attribute_body(value: str) -> bytes:
    """The body that PUTs an attribute."""
    return f'"{tree.escape_value(value)}"'.encode()


def read_conflict(response: HttpResponse) -> Conflict | None:
    """What a 409 reports, None when it is not understood (XCLI-05, XCLI-06)."""
    if response.status != 409:
        return None
    try:
        conflict = parse_report(response.body)
    except ValueError:
        return None
    return None if conflict.kind == "extension" else conflict


def read_capabilities(octets: bytes) -> Capabilities | None:
    """Read an ``xcap-caps`` document, None when it is none."""
    try:
        root = tree.parse(octets).root
    except tree.TreeError:
        return None
    found: dict[str, set[str]] = {"auid": set(), "extension": set(), "namespace": set()}
    for group in root.elements():
        for item in group.elements():
            if item.namespace == _CAPABILITIES and item.local in found:
                texts = (child.data for child in item.children if isinstance(child, tree.Text))
                found[item.local].add("".join(texts).strip())
    return Capabilities(*(frozenset(found[name]) for name in ("auid", "extension", "namespace")))


def used_namespaces(body: bytes) -> set[str]:
    """Namespaces of elements and attributes; none when the body is no document by itself."""
    try:
        stack = [tree.parse(body).root]
    except tree.TreeError:
        return set()
    found: set[str] = set()
    while stack:
        element = stack.pop()
        found.add(element.namespace)
        found.update(tree.split(name)[0] for name in element.attributes)
        stack.extend(element.elements())
    return found


def check_fit(selector: NodeSelector, body: bytes) -> None:
    """See that GET would give what PUT has sent, as far as that can be seen (XCLI-04).

    :raises ValueError: it would not.
    """
    if selector.namespaces:
        raise ValueError("namespaces cannot be written")
    if selector.attribute is not None:
        attribute_value(body)
        return
    try:
        element = tree.parse(body).root
    except tree.TreeError:
        return  # it may use prefixes of its document
    step = selector.steps[-1]
    if step.name is not None and tree.split(step.name)[1] != element.local:
        raise ValueError(f"the URI selects another element than {element.local}")
    if step.attribute is not None:
        name, value = step.attribute
        known = element.attributes.get(name)
        if known is None or known.value != value:
            raise ValueError("the element has not the attribute that the URI selects it by")
