"""GET, PUT and DELETE of parts of a document, by splicing its octets (RFC 4825 sections 7, 8).

Nothing that a request does not name changes by an octet (XCAP-61, XCAP-94, XCAP-97,
XCAP-105).  Documents are never changed in place: a refusal is an exception and nothing has
happened.  The order of checks is that of XCAP-50: who has to look at preconditions between
existence and body calls :func:`require_node` or :func:`require_parent` first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from xcap.document import (
    DEFAULT_LIMITS,
    Limits,
    XmlDocument,
    check_utf8,
    is_attribute_value,
    parse_document,
    parse_fragment,
)
from xcap.element import Element
from xcap.errors import Conflict, XcapError
from xcap.namespaces import split_clark
from xcap.select import NoMatch, deepest, matches, named, select_element
from xcap.splice import Splice, splice
from xcap.uri import XML_NAMESPACE, XMLNS_NAMESPACE

if TYPE_CHECKING:
    from xcap.uri import NodeSelector, Step

ELEMENT_TYPE = "application/xcap-el+xml"
ATTRIBUTE_TYPE = "application/xcap-att+xml"
NAMESPACES_TYPE = "application/xcap-ns+xml"

_SPACE = b" \t\r\n"


@attrs.frozen(slots=True)
class Edited:
    """The outcome of a PUT.

    :ivar document: the new document, parsed; its ``octets`` are what to store.
    :ivar created: True when the node is new (201), False when it was replaced (200).
    """

    document: XmlDocument
    created: bool


# -- existence, step (9) of XCAP-50 -------------------------------------------------------


def require_node(document: XmlDocument, selector: NodeSelector) -> Element:
    """The element a GET or DELETE is about, that of the attribute or the namespaces.

    :raises XcapError: 404, the selector is a no-match or invalid (XCAP-64, XCAP-121).
    """
    try:
        element = select_element(document, selector.steps)
    except NoMatch:
        raise XcapError(404, "No such node") from None
    if selector.attribute is not None and selector.attribute not in element.attributes:
        raise XcapError(404, "No such attribute")
    return element


def require_parent(document: XmlDocument, selector: NodeSelector) -> Element:
    """The parent of what a PUT is about; the document node for the root element (XCAP-70).

    :raises Conflict: ``no-parent`` with how many steps select something (XCAP-73).
    :raises XcapError: 405, the selector is one for namespaces (XCAP-76).
    """
    _refuse_namespaces(selector)
    steps = selector.steps if selector.attribute is not None else selector.steps[:-1]
    try:
        return select_element(document, steps)
    except NoMatch:
        depth = deepest(document, steps)
        raise Conflict("no-parent", "Parent does not exist", depth=depth) from None


# -- operations ---------------------------------------------------------------------------


def get_node(
    document: XmlDocument, selector: NodeSelector, *, bare_attributes: bool = False
) -> tuple[str, bytes]:
    """An element, attribute or set of namespaces (XCAP-61 to XCAP-64).

    :param bare_attributes: leave out the quotes around attribute values (XCAP-62).
    :returns: content type and octets.
    :raises XcapError: 404, there is no such node.
    """
    element = require_node(document, selector)
    if selector.namespaces:
        return NAMESPACES_TYPE, element.write_namespaces()
    if selector.attribute is None:
        return ELEMENT_TYPE, element.source
    _, start, end = element.attribute_place(selector.attribute)
    if bare_attributes:
        start, end = start + 1, end - 1
    return ATTRIBUTE_TYPE, document.octets[start:end]


def put_node(
    document: XmlDocument,
    selector: NodeSelector,
    body: bytes,
    *,
    accept_bare: bool = True,
    limits: Limits = DEFAULT_LIMITS,
) -> Edited:
    """Create or replace an element or attribute (XCAP-70 to XCAP-110).

    :param body: as received; white space around it is dropped.
    :param accept_bare: take an attribute body without quotes for the value (XCAP-86).
    :param limits: of the resulting document.
    :raises Conflict: ``no-parent``, ``not-utf-8``, ``not-xml-frag``, ``not-xml-att-value``,
        ``cannot-insert``, ``constraint-failure`` (a limit).
    :raises XcapError: 405, the selector is one for namespaces; 413, the body or the result
        is too long.
    """
    parent = require_parent(document, selector)
    if len(body) > limits.size:
        raise XcapError(413, f"More than {limits.size} octets")
    check_utf8(body)
    if selector.attribute is None:
        return _put_element(document, parent, selector, body.strip(_SPACE), limits)
    literal = _literal(body.strip(_SPACE), accept_bare)
    return _put_attribute(document, parent, selector, selector.attribute, literal, limits)


def delete_node(
    document: XmlDocument, selector: NodeSelector, *, limits: Limits = DEFAULT_LIMITS
) -> XmlDocument:
    """Remove an element or attribute (XCAP-121, XCAP-122, XCAP-124).

    :returns: the new document; its ``octets`` are what to store.
    :raises Conflict: ``cannot-delete``, the selector would select something afterwards;
        ``schema-validation-error`` for the root element.
    :raises XcapError: 404, there is no such node; 405, the selector is one for namespaces.
    """
    _refuse_namespaces(selector)
    element = require_node(document, selector)
    name = selector.attribute
    if name is not None:
        start, _, end = element.attribute_place(name)
        result = _rewrite(document, start, end, b"", limits)
        left = _selected(result, selector)
        found = left is not None and name in left.attributes
    elif element is document.root:
        raise Conflict(
            "schema-validation-error",
            "A document has a root element; delete the URI of the document instead",
        )
    else:
        parent = select_element(document, selector.steps[:-1])
        others = [child for child in parent.children if child is not element]
        result = splice(document, Splice(parent, others, element.start, element.end), limits)
        found = len(matches(others, selector.steps[-1])) == 1
    if found:
        raise Conflict("cannot-delete", "The URI would select another node")
    return result


def _refuse_namespaces(selector: NodeSelector) -> None:
    if selector.namespaces:
        raise XcapError(405, "Namespaces are read-only", (("Allow", "GET, HEAD, OPTIONS"),))


def _rewrite(
    document: XmlDocument, start: int, end: int, octets: bytes, limits: Limits
) -> XmlDocument:
    old = document.octets
    new = b"%b%b%b" % (old[:start], octets, old[end:])
    return parse_document(new, limits, document.levels)


def _selected(document: XmlDocument, selector: NodeSelector) -> Element | None:
    try:
        return select_element(document, selector.steps)
    except NoMatch:
        return None


def _cannot_insert(phrase: str) -> Conflict:
    return Conflict("cannot-insert", phrase)


# -- elements -----------------------------------------------------------------------------


def _put_element(
    document: XmlDocument,
    parent: Element,
    selector: NodeSelector,
    body: bytes,
    limits: Limits,
) -> Edited:
    new = parse_fragment(body, parent.scope, limits)
    target = selector.steps[-1]
    found = matches(parent.children, target)
    if len(found) > 1:
        raise _cannot_insert("The URI selects several elements")
    text, close = body, 0
    if found:
        at = start = found[0].start
        end = found[0].end
    elif parent is document.node:
        raise _cannot_insert("A document has one root element")
    else:
        _check_fit(new, target)
        at = start = end = _place(parent, target, new.name)
        if parent.empty:
            # <p/> becomes <p>new</p> (XCAP-95)
            text = b">%b</%b>" % (body, parent.qname.encode())
            at, start = end - 1, end - 2
            close = at + len(body)
    before = [child for child in parent.children if child.start < at]
    children = [*before, new, *parent.children[len(before) + len(found) :]]
    change = Splice(parent, children, start, end, text, new, at, len(selector.steps), close)
    result = splice(document, change, limits)
    selected = matches(children, target)
    if len(selected) != 1 or selected[0] is not new:
        raise _cannot_insert("The URI would not select the new element")
    return Edited(result, not found)


def _check_fit(new: Element, step: Step) -> None:
    """Check that a new element is what the URI says (XCAP-90)."""
    if step.name is not None and new.name != step.name:
        raise _cannot_insert("The element does not have the name in the URI")
    if step.attribute is not None:
        name, value = step.attribute
        if new.attributes.get(name) != value:
            raise _cannot_insert("The element does not have the attribute in the URI")


def _place(parent: Element, step: Step, name: str) -> int:
    """Where a new element goes (XCAP-91 to XCAP-94, XCAP-96).

    :param name: of the new element, which decides when the step has no position.
    """
    position = step.position
    if position is None:
        same = named(parent.children, name)
        return same[-1].end if same else parent.close_start
    if position < 1:
        raise _cannot_insert("There is no position 0")
    same = named(parent.children, step.name)
    if position == 1:
        return same[0].start if same else parent.close_start
    if len(same) < position - 1:
        raise _cannot_insert("The position is too high")
    return same[position - 2].end


# -- attributes ---------------------------------------------------------------------------


def _put_attribute(
    document: XmlDocument,
    element: Element,
    selector: NodeSelector,
    name: str,
    literal: bytes,
    limits: Limits,
) -> Edited:
    created = name not in element.attributes
    if not created:
        # with the quotes of the body, so that GET gives what was PUT (XCAP-107)
        _, start, end = element.attribute_place(name)
        result = _rewrite(document, start, end, literal, limits)
    else:
        text = b" %b=%b" % (_attribute_qname(element, selector, name).encode(), literal)
        # before white space that may end the tag, so that DELETE restores it
        start = element.attributes_end
        result = _rewrite(document, start, start, text, limits)
    selected = _selected(result, selector)
    if selected is None or selected.start != element.start:
        raise _cannot_insert("The URI would not select the attribute")
    return Edited(result, created)


def _literal(body: bytes, accept_bare: bool) -> bytes:
    """The AttValue in the body of a request, stripped of white space (XCAP-86)."""
    if body and accept_bare and body[:1] not in (b'"', b"'"):
        if b'"' not in body:
            body = b'"%b"' % body
        elif b"'" not in body:
            body = b"'%b'" % body
        else:
            body = b'"%b"' % body.replace(b'"', b"&quot;")
    if not is_attribute_value(body):
        raise Conflict("not-xml-att-value", "Body is not an attribute value")
    return body


def _attribute_qname(element: Element, selector: NodeSelector, name: str) -> str:
    """What to call a new attribute in a document, with a prefix in scope (XCAP-109)."""
    uri, local = split_clark(name)
    if uri == XMLNS_NAMESPACE or name == "xmlns":
        raise _cannot_insert("A namespace declaration is not an attribute")
    if not uri:
        return local
    if uri == XML_NAMESPACE:
        return f"xml:{local}"
    prefixes = [prefix for prefix, bound in element.namespaces().items() if prefix and bound == uri]
    if not prefixes:
        raise _cannot_insert("No prefix is in scope for the namespace of the attribute")
    # the client's own prefix if it will do
    prefix = min(prefixes, key=lambda prefix: (selector.bindings.get(prefix) != uri, prefix))
    return f"{prefix}:{local}"
