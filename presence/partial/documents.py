"""``application/pidf-diff+xml``: whole documents and changes of them (RFC 5262, PNO-01)."""

from __future__ import annotations

import re
from typing import Final, TypeAlias

import attrs
from lxml import etree

from presence.pidf import names
from presence.pidf.parse import DECLARATION, MAX_DEPTH, DocumentError, parse, to_utf8
from presence.pidf.tree import attributes, line
from presence.pidf.validate import DEFAULT_LIMIT
from presence.pidf.write import attribute_value, serialize
from xcap import tree
from xcap.tree import Bounds, Element, TreeError, declaration_text

CONTENT_TYPE: Final = "application/pidf-diff+xml"

NAMESPACE: Final = "urn:ietf:params:xml:ns:pidf-diff"
FULL: Final = f"{{{NAMESPACE}}}pidf-full"
DIFF: Final = f"{{{NAMESPACE}}}pidf-diff"

_NCNAME = rb"[A-Za-z_][A-Za-z0-9._-]*"
_PLAIN: Final = re.compile(
    rb"(?:<\?xml[^<>]*\?>)?\s*<(?P<name>(?:" + _NCNAME + rb":)?presence)(?=\s)(?P<rest>[^<>]*)>"
)
_MOST = 2**32 - 1  # xs:unsignedInt
_BOUNDS: Final = Bounds(depth=MAX_DEPTH, namespaces=128, declared=8192)


@attrs.frozen(slots=True)
class Full:
    """A whole document.

    :ivar entity: of whom it tells.
    :ivar version: None without one.
    :ivar document: the same as an ordinary PIDF document.
    """

    entity: str
    version: int | None
    document: bytes


@attrs.frozen(slots=True, eq=False)
class Diff:
    """Changes of a document.

    :ivar entity: None when it does not tell; else that of the document they are for.
    :ivar version: None without one.
    :ivar operations: what to do, as children of this element; it is not a lxml tree, since
        declarations and texts are nodes to operations.
    """

    entity: str | None
    version: int | None
    operations: Element


Partial: TypeAlias = Full | Diff


def full(document: bytes, version: int | None = None) -> bytes:
    """A PIDF document as ``pidf-full`` (PNO-01).

    :param document: UTF-8, as :func:`presence.pidf.validate.accept` or a composition gives it.
    :param version: left out in PUBLISH (PPU-01).
    :raises DocumentError: it is not well-formed.
    """
    found = _PLAIN.match(document)
    body = document.rstrip()
    if found is None or b"version" in found["rest"] or found["rest"].endswith(b"/"):
        return _full_tree(document, version)
    name, start = found["name"], found.start("name")
    end = b"</" + name + b">"
    if not body.endswith(end):
        return _full_tree(document, version)
    prefix = _free_prefix(document)
    number = b"" if version is None else b' version="%d"' % version
    return b"".join(
        (
            DECLARATION,
            b"\n<",
            prefix,
            b':pidf-full xmlns:%b="%b"' % (prefix, NAMESPACE.encode()),
            number,
            body[start + len(name) : -len(end)],
            b"</",
            prefix,
            b":pidf-full>",
        )
    )


def _free_prefix(document: bytes) -> bytes:
    """A prefix that nothing in a document declares."""
    prefix, number = b"p", 0
    while re.search(rb"xmlns:%b[\s=]" % prefix, document):
        number += 1
        prefix = b"p%d" % number
    return prefix


def _full_tree(document: bytes, version: int | None) -> bytes:
    """As :func:`full`, of a document that is written in an unusual way."""
    old = parse(to_utf8(document))
    prefix = _free_prefix(document).decode()
    spaces: dict[str | None, str] = {**old.nsmap, prefix: NAMESPACE}
    root = etree.Element(FULL, nsmap=spaces)  # type: ignore[arg-type]
    for name, value in attributes(old):
        if name != "version":
            root.set(name, value)
    if version is not None:
        root.set("version", str(version))
    root.text = old.text
    root.extend(old)
    return serialize(root)


def partial(operations: bytes, entity: str | None, version: int | None = None) -> bytes:
    """Changes as ``pidf-diff`` (PNO-01).

    :param operations: as :func:`presence.partial.difference.difference` gives them.
    :param entity: of whom the document tells; None where that is known.
    :param version: left out in PUBLISH (PPU-01).
    """
    name, space, rest = operations.partition(b" ")
    whom = b"" if entity is None else b' entity="%b"' % attribute_value(entity)
    number = b"" if version is None else b' version="%d"' % version
    return b"".join((DECLARATION, b"\n", name, whom, number, space, rest))


def read(
    body: bytes,
    charset: str | None = None,
    limit: int = DEFAULT_LIMIT,
    *,
    versioned: bool = True,
) -> Partial:
    """A body of type ``application/pidf-diff+xml``.

    The schema is left to who uses it.

    :param charset: the ``charset`` parameter of the Content-Type (PID-01, PNO-14).
    :param limit: greatest size in octets.
    :param versioned: whether the version counts; else there is none (PPU-01).
    :raises DocumentError: 413 too large, 415 unknown character set, 400 anything else; also
        when the root is ``presence`` (PNO-01).
    """
    if len(body) > limit:
        raise DocumentError(413, f"document larger than {limit} octets")
    octets = to_utf8(body, charset)
    root = parse(octets)
    entity = root.get("entity")
    if root.tag == DIFF:
        version = _version(root) if versioned else None
        try:
            operations = tree.parse(octets, _BOUNDS).root
        except TreeError as error:
            raise DocumentError(400, f"not to be read ({error.reason})") from None
        return Diff(entity.strip() if entity is not None else None, version, operations)
    if root.tag != FULL:
        raise DocumentError(400, "root element is neither pidf-full nor pidf-diff", line(root))
    if entity is None:
        raise DocumentError(400, "pidf-full without entity", line(root))
    version = _version(root) if versioned else None
    return Full(entity.strip(), version, _presence(root))


def _version(root: etree._Element) -> int | None:
    """The version of a document.

    :raises DocumentError: 400, it is none.
    """
    text = root.get("version")
    if text is None:
        return None
    digits = text.strip()
    if not re.fullmatch(r"\+?[0-9]{1,20}", digits) or int(digits) > _MOST:
        raise DocumentError(400, "version is no unsigned integer", line(root))
    return int(digits)


def _presence(root: etree._Element) -> bytes:
    """The PIDF document that a ``pidf-full`` is; changes the tree."""
    root.tag = names.PRESENCE
    root.attrib.pop("version", "")
    text = serialize(root)
    for prefix, uri in root.nsmap.items():
        if prefix and uri == NAMESPACE and not re.search(rf"\b{re.escape(prefix)}:".encode(), text):
            declaration = declaration_text(prefix, uri).encode()
            text = text.replace(declaration, b"", 1)  # the root is the first that has it
    return text
