"""XCAP URIs: request targets, node selectors, namespace bindings, and their builders.

RFC 4825 section 6.  Everything starts from the raw request target (XCAP-12): it is split
while it is still percent-encoded and decoded once, piece by piece.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NoReturn
from urllib.parse import quote, unquote, unquote_to_bytes

import attrs

from pysip.uri import OtherUri, canonical_aor, parse_uri
from xcap.errors import XcapError
from xcap.records import DocumentKey, Tree

NODE_SELECTOR_LIMIT = 8192
"""Octets of a raw node selector (XCAP-34)."""
STEPS_LIMIT = 64
"""Steps of a node selector, the terminal one included (XCAP-34)."""
XML_NAMESPACE = "http://www.w3.org/XML/1998/namespace"
"""What the prefix ``xml`` is always bound to."""
XMLNS_NAMESPACE = "http://www.w3.org/2000/xmlns/"
"""Namespace of ``xmlns`` and ``xmlns:p``, which are no attributes to XCAP (XCAP-27)."""

_START = (
    "A-Z_a-z\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u02ff\u0370-\u037d\u037f-\u1fff\u200c-\u200d"
    "\u2070-\u218f\u2c00-\u2fef\u3001-\ud7ff\uf900-\ufdcf\ufdf0-\ufffd\U00010000-\U000effff"
)
_NCNAME = f"[{_START}][{_START}\\-.0-9\u00b7\u0300-\u036f\u203f-\u2040]*"
_REFERENCE = r"&(?:amp|lt|gt|quot|apos|#[0-9]{1,8}|#x[0-9A-Fa-f]{1,8});"
_QNAME = f"(?:{_NCNAME}:)?{_NCNAME}"
_STEP = re.compile(
    rf"(?P<name>{_QNAME}|\*)"
    r"(?:\[(?P<position>[0-9]+)\])?"
    rf"(?:\[@(?P<attribute>{_QNAME})="
    rf"(?P<value>\"(?:[^<&\"]|{_REFERENCE})*\"|'(?:[^<&']|{_REFERENCE})*')\])?"
)
_TERMINAL = re.compile(rf"@({_QNAME})")
_NAMESPACES = "namespace::*"
_REFERENCES = re.compile(_REFERENCE)
_PREDEFINED = {"&amp;": "&", "&lt;": "<", "&gt;": ">", "&quot;": '"', "&apos;": "'"}
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
# what no request target may hold; the rest of US-ASCII is tolerated raw (XCAP-32, CLI-18)
_BAD_TARGET = re.compile(r"[^\x20-\x7e]")
# characters that XML cannot carry, and the separator of our paths
_BAD_SEGMENT = re.compile(r"[\x00-\x1f\x7f/\ud800-\udfff\ufffe\uffff]")
_NOT_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_WIRE_SYNTAX = re.compile(r"[\[\]\"'/]|%5[bBdD]|%2[27]")
_TEXT_SYNTAX = re.compile(r"[\[\]\"'/]")
_SYNTAX = {"%5b": "[", "%5d": "]", "%22": '"', "%27": "'"}
# after the unreserved characters: what else a path segment may hold (RFC 3986 section 3.3)
_SEGMENT_SAFE = "!$&'()*+,;=:@~"
_QUERY_SAFE = _SEGMENT_SAFE + "/?"
_PART_HEAD = re.compile(rf"({_QNAME})\(")
_SPACE = " \t\r\n"
_BINDING = re.compile(rf"({_NCNAME})[{_SPACE}]*=[{_SPACE}]*(.*)", re.DOTALL)


# -- reading ------------------------------------------------------------------------------


@attrs.frozen(slots=True)
class Target:
    """A request target, its node selector not yet interpreted.

    :ivar auid: decoded.
    :ivar xui: decoded once, not canonical; "" in the global tree.
    :ivar path: decoded segments below the home directory or ``global``.
    :ivar document: raw document part from the AUID to the last segment of the path.
    :ivar node: raw node selector, "" when nothing follows the separator, None without one.
    :ivar query: raw query, "" without.
    """

    auid: str
    tree: Tree
    xui: str
    path: tuple[str, ...]
    document: str
    node: str | None = None
    query: str = ""


@attrs.frozen(slots=True)
class Step:
    """One step of an element selector (XCAP-21, XCAP-22).

    :ivar name: in Clark notation, None for ``*``.
    :ivar position: None without; 0 never matches and stands for longer numbers (XCAP-33).
    :ivar attribute: name in Clark notation and value with references expanded.
    """

    name: str | None
    position: int | None = None
    attribute: tuple[str, str] | None = None


@attrs.frozen(slots=True)
class NodeSelector:
    """A node selector with all prefixes resolved.

    :ivar steps: steps from the document node on, at least one.
    :ivar attribute: Clark name of a terminal ``@name``; a namespace declaration has a name in
        :data:`XMLNS_NAMESPACE`, ``@xmlns`` that of ``{...}xmlns``.
    :ivar namespaces: True for a terminal ``namespace::*``.
    :ivar bindings: namespace URI by prefix, from the query and ``xml``.
    :ivar texts: every step as it was on the wire, the terminal one included.
    """

    steps: tuple[Step, ...]
    attribute: str | None
    namespaces: bool
    bindings: Mapping[str, str]
    texts: tuple[str, ...]


def parse_target(target: str, prefix: str = "/") -> Target:
    """Split a request target in origin form (XCAP-01 to XCAP-16).

    :param target: octet for octet as received.
    :param prefix: path of the XCAP root, beginning and ending in ``/``.
    :raises XcapError: 400 bad escape, bad UTF-8, raw characters outside printable US-ASCII or
        a fragment; 404 no document can be there; 414 the node selector is too long.
    """
    if "#" in target or _BAD_TARGET.search(target):
        raise XcapError(400, "Bad character in request target")
    if "%" in target:
        _decode(target)  # all of it: an octet sequence of UTF-8 never spans a delimiter
    path, _, query = target.partition("?")
    if not path.startswith(prefix):
        raise XcapError(404, "Not below the XCAP root")
    document, node = _separate(path[len(prefix) :])
    if node is not None and len(node) > NODE_SELECTOR_LIMIT:
        raise XcapError(414, "Node selector is too long")
    segments = [unquote(segment) for segment in document.split("/")]
    for segment in segments:
        if segment in ("", ".", ".."):
            raise XcapError(404, "Not a document")
    tree = segments[1] if len(segments) > 1 else ""
    if tree == "users" and len(segments) > 3:
        xui, rest = segments[2], segments[3:]
    elif tree == "global" and len(segments) > 2:
        xui, rest = "", segments[2:]
    else:
        raise XcapError(404, "Not a document")
    for segment in rest:
        # a decoded slash would make two names of one path
        if _BAD_SEGMENT.search(segment):
            raise XcapError(404, "Not a name of a document")
    return Target(
        segments[0], "users" if xui else "global", xui, tuple(rest), document, node, query
    )


def parse_node(node: str, query: str, default_namespace: str) -> NodeSelector:
    """Interpret a node selector (XCAP-20 to XCAP-34) with the bindings of the query.

    :param node: raw, as in :attr:`Target.node`.
    :param query: raw, as in :attr:`Target.query`.
    :param default_namespace: of element names without prefix, "" for none (XCAP-24).
    :raises XcapError: 400 empty step, bad escape, unbound prefix or malformed query; 404 a
        step of none of the defined forms; 414 too many steps.
    """
    bindings = parse_query(query)
    bindings["xml"] = XML_NAMESPACE
    texts = split_node(node)
    if len(texts) > STEPS_LIMIT:
        raise XcapError(414, "Node selector has too many steps")
    if not all(texts):
        raise XcapError(400, "Empty step in node selector")
    decoded = [_decode(text) for text in texts]
    attribute: str | None = None
    namespaces = False
    if len(decoded) > 1:
        last = decoded[-1]
        if last == _NAMESPACES:
            namespaces = True
            decoded.pop()
        elif match := _TERMINAL.fullmatch(last):
            attribute = _attribute_name(match[1], bindings)
            decoded.pop()
    steps: list[Step] = []
    extension = False
    for text in decoded:
        step = _parse_step(text, bindings, default_namespace)
        if step is None:
            extension = True  # an unbound prefix further on comes first (XCAP-50)
        else:
            steps.append(step)
    if extension:
        raise XcapError(404, "Node selector is not understood")
    return NodeSelector(tuple(steps), attribute, namespaces, bindings, tuple(texts))


def split_node(node: str) -> list[str]:
    """The steps of a raw node selector, as on the wire.

    A raw ``/`` inside the quotes of a predicate does not end its step (XCAP-31).
    """
    return _split(node, _WIRE_SYNTAX)


def parse_query(query: str) -> dict[str, str]:
    """Namespace bindings in a raw query, by prefix (XCAP-40 to XCAP-44).

    A binding to the empty string removes the prefix.

    :raises XcapError: 400 when it is no sequence of XPointer parts.
    """
    bindings: dict[str, str] = {}
    if not query:
        return bindings
    text = _decode(query).strip(_SPACE)
    place = 0
    while place < len(text):
        head = _PART_HEAD.match(text, place)
        if head is None:
            _bad_query()
        data, place = _part_data(text, head.end())
        while place < len(text) and text[place] in _SPACE:
            place += 1
        if head[1] == "xmlns":
            _bind(bindings, data)
    return bindings


def canonical_xui(xui: str) -> str:
    """The one spelling of a user identifier (XCAP-08).

    Of SIP, pres and tel URIs it is that of :func:`pysip.uri.canonical_aor`, so that it
    compares with asserted identities; of other schemes only the scheme is changed.

    :param xui: decoded once.
    :raises ValueError: it is no URI.
    """
    if not xui.isascii():
        xui = quote(xui, safe=_ASCII)
    if xui.startswith("sip:"):
        return canonical_aor(xui)  # most are canonical, which it sees without parsing
    uri = parse_uri(xui)
    if isinstance(uri, OtherUri):
        return f"{uri.scheme}:{uri.rest}"
    return canonical_aor(uri)


_ASCII = "".join(map(chr, range(128)))


def _decode(text: str) -> str:
    if "%" not in text:
        return text
    if _BAD_ESCAPE.search(text):
        raise XcapError(400, "Bad percent-encoding")
    try:
        return unquote_to_bytes(text).decode()
    except UnicodeDecodeError:
        raise XcapError(400, "Percent-encoded octets are not UTF-8") from None


def _separate(path: str) -> tuple[str, str | None]:
    """Split at the first segment that decodes to ``~~`` (XCAP-12)."""
    if "~~" not in path and "%7" not in path:
        return path, None
    start = 0
    while True:
        end = path.find("/", start)
        segment = path[start:] if end < 0 else path[start:end]
        if segment == "~~" or ("%7" in segment and unquote(segment) == "~~"):
            document = path[: start - 1] if start else ""
            return document, "" if end < 0 else path[end + 1 :]
        if end < 0:
            return path, None
        start = end + 1


def _split(node: str, syntax: re.Pattern[str]) -> list[str]:
    if "[" not in node and "%5" not in node:
        return node.split("/")
    steps: list[str] = []
    start = 0
    inside = False
    quoted = ""
    for match in syntax.finditer(node):
        found = match[0]
        character = _SYNTAX.get(found.lower(), found)
        if quoted:
            if character == quoted:
                quoted = ""
        elif inside:
            if character in "\"'":
                quoted = character
            elif character == "]":
                inside = False
            elif character == "/":  # no predicate after all
                inside = False
                steps.append(node[start : match.start()])
                start = match.end()
        elif character == "[":
            inside = True
        elif character == "/":
            steps.append(node[start : match.start()])
            start = match.end()
    steps.append(node[start:])
    return steps


def _parse_step(text: str, bindings: Mapping[str, str], default_namespace: str) -> Step | None:
    match = _STEP.fullmatch(text)
    if match is None:
        return None
    name, digits, attribute, value = match.groups()
    position: int | None = None
    if digits is not None:
        position = int(digits) if len(digits) <= 9 else 0
    test: tuple[str, str] | None = None
    if attribute is not None:
        expanded = _expand(value[1:-1])
        if expanded is None:
            return None
        test = (_attribute_name(attribute, bindings), expanded)
    if name == "*":
        return Step(None, position, test)
    prefix, colon, local = name.partition(":")
    if not colon:
        clark = f"{{{default_namespace}}}{name}" if default_namespace else name
    else:
        clark = f"{{{_bound(prefix, bindings)}}}{local}"
    return Step(clark, position, test)


def _attribute_name(name: str, bindings: Mapping[str, str]) -> str:
    prefix, colon, local = name.partition(":")
    if not colon:
        return f"{{{XMLNS_NAMESPACE}}}xmlns" if name == "xmlns" else name
    if prefix == "xmlns":
        return f"{{{XMLNS_NAMESPACE}}}{local}"
    return f"{{{_bound(prefix, bindings)}}}{local}"


def _bound(prefix: str, bindings: Mapping[str, str]) -> str:
    namespace = bindings.get(prefix)
    if namespace is None:
        raise XcapError(400, "Unbound namespace prefix in node selector")
    return namespace


def _expand(value: str) -> str | None:
    """Expand references (XCAP-26); None when one names no character of XML."""
    if "&" not in value:
        return None if _NOT_XML.search(value) else value
    parts: list[str] = []
    start = 0
    for match in _REFERENCES.finditer(value):
        reference = match[0]
        character = _PREDEFINED.get(reference)
        if character is None:
            code = int(reference[3:-1], 16) if reference[2] == "x" else int(reference[2:-1])
            if code > 0x10FFFF:
                return None
            character = chr(code)
        parts += (value[start : match.start()], character)
        start = match.end()
    parts.append(value[start:])
    text = "".join(parts)
    return None if _NOT_XML.search(text) else text


def _bad_query() -> NoReturn:
    raise XcapError(400, "Malformed query")


def _part_data(text: str, place: int) -> tuple[str, int]:
    """Data of an XPointer part without its escapes, and where the part ends (XCAP-42)."""
    data: list[str] = []
    depth = 1
    end = len(text)
    while place < end:
        character = text[place]
        place += 1
        if character == "^":
            character = text[place : place + 1]
            if not character or character not in "()^":
                _bad_query()
            place += 1
        elif character == "(":
            depth += 1
        elif character == ")":
            depth -= 1
            if not depth:
                return "".join(data), place
        data.append(character)
    _bad_query()


def _bind(bindings: dict[str, str], data: str) -> None:
    match = _BINDING.fullmatch(data)
    if match is None:
        _bad_query()
    prefix, namespace = match.groups()
    if prefix == "xmlns" or (prefix == "xml") != (namespace == XML_NAMESPACE):
        _bad_query()
    if namespace:
        bindings[prefix] = namespace
    else:
        bindings.pop(prefix, None)


# -- building -----------------------------------------------------------------------------


def quote_segment(text: str) -> str:
    """Percent-encode a path segment: an XUI, a file name, a step (XCAP-07, XCLI-02).

    Escapes have upper-case digits, but ``%5b`` and ``%5d``, which the examples of RFC 4825
    write so.
    """
    return quote(text, safe=_SEGMENT_SAFE).replace("%5B", "%5b").replace("%5D", "%5d")


def attribute_step(name: str, attribute: str, value: str) -> str:
    """A step such as ``entry[@uri="sip:bob@example.com"]``, percent-encoded (XCLI-02).

    :param name: element name with its prefix, or ``*``.
    :param attribute: attribute name with its prefix.
    :param value: the value as an application sees it.
    :raises ValueError: the value holds a character that XML does not allow.
    """
    if _NOT_XML.search(value):
        raise ValueError("Character not allowed in XML")
    for character, reference in _ESCAPES:
        value = value.replace(character, reference)
    return quote_segment(f'{name}[@{attribute}="{value}"]')


_ESCAPES = (
    ("&", "&amp;"),
    ("<", "&lt;"),
    ('"', "&quot;"),
    # other servers may normalise white space in the selector, which references survive
    ("\t", "&#9;"),
    ("\n", "&#10;"),
    ("\r", "&#13;"),
)


def quote_node(node: str) -> str:
    """Percent-encode a decoded node selector; a ``/`` in a quoted value becomes ``%2F``."""
    return "/".join(quote_segment(step) for step in _split(node, _TEXT_SYNTAX))


def unquote_node(node: str) -> str:
    """Decode a raw node selector, the inverse of :func:`quote_node`.

    :raises XcapError: 400 for a bad escape or octets that are not UTF-8.
    """
    return "/".join(map(_decode, split_node(node)))


def bindings_query(bindings: Mapping[str, str]) -> str:
    """The query that binds prefixes, percent-encoded, without ``?`` (XCAP-40)."""
    parts: list[str] = []
    for prefix, namespace in bindings.items():
        escaped = namespace.replace("^", "^^").replace("(", "^(").replace(")", "^)")
        parts.append(f"xmlns({prefix}={escaped})")
    return quote("".join(parts), safe=_QUERY_SAFE)


def tidy(raw: str) -> str:
    """Raw text of a target as it may stand in a URI: what is no URI character is encoded."""
    return quote(raw, safe=_QUERY_SAFE + "%").replace("%5B", "%5b").replace("%5D", "%5d")


def build(root: str, auid: str, xui: str, path: str) -> str:
    """URI of a document (XCLI-02).

    :param root: absolute URI of the XCAP root, with or without ``/`` at its end.
    :param xui: "" for the global tree.
    :param path: decoded segments joined by ``/``.
    """
    home = f"users/{quote_segment(xui)}" if xui else "global"
    below = "/".join(map(quote_segment, path.split("/")))
    return f"{root.rstrip('/')}/{quote_segment(auid)}/{home}/{below}"


def document_path(key: DocumentKey) -> str:
    """Path of a document relative to its root, percent-encoded."""
    return build("", key.auid, key.xui, key.path)[1:]
