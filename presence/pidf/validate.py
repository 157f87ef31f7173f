"""Which presence documents are taken, and in what form they are kept (CLI-10, PUB-08).

``strict`` refuses what the schema does not allow; ``lenient`` repairs or drops it, so that
what is stored, composed and sent is schema-valid in both modes.
"""

from __future__ import annotations

from collections.abc import Callable

from lxml import etree

from presence.pidf import names, schemas
from presence.pidf.parse import DocumentError, parse, parse_compact, to_utf8
from presence.pidf.repair import repair
from presence.pidf.tree import attributes, is_id, line
from presence.pidf.write import serialize

__all__ = ["DEFAULT_LIMIT", "DocumentError", "accept"]

DEFAULT_LIMIT = 262144
"""Octets of a presence document (PID-10)."""

_LARGE = 1500
"""Tags and attributes beyond which a document is validated while it is parsed.

libxml2 tells each schema error with its path, which takes time in the square of the number
of siblings; validation in pieces can stop at the first error instead.
"""

_PIECE = 1024


def accept(
    body: bytes,
    *,
    entity_ok: Callable[[str], bool],
    strict: bool,
    charset: str | None = None,
    limit: int = DEFAULT_LIMIT,
) -> bytes:
    """The schema-valid document to keep for a published body.

    A body that already is valid UTF-8 PIDF comes back as the same object. What is too
    large to be repaired in reasonable time (more than 1500 tags and attributes) must be
    valid in both modes.

    :param entity_ok: whether the root's ``entity`` names the presentity (PUB-07).
    :param strict: refuse instead of repair (CLI-10).
    :param charset: the ``charset`` parameter of the Content-Type (PID-01).
    :param limit: greatest size in octets (PID-10).
    :raises DocumentError: 413 too large, 415 unknown character set, 400 anything else.
    """
    if len(body) > limit:
        raise DocumentError(413, f"document larger than {limit} octets")
    data = to_utf8(body, charset)
    root = parse(data)
    large = data.count(b"<") + data.count(b"=") > _LARGE
    if root.tag == names.PRESENCE:
        _check_entity(root, entity_ok)
        if large:
            _check_large(data, root)
            return data
        validator = schemas.presence()
        if not validator.validate(root):
            if strict:
                raise schemas.refusal(schemas.violations(validator.error_log)[0], root)
        elif (stray := schemas.stray(root)) is None:
            return data
        elif strict:
            raise _out_of_place(stray)
    elif strict or root.tag != "presence" or large:
        raise DocumentError(400, "root element is not presence", line(root))
    repaired = repair(parse_compact(data))
    _check_entity(repaired, entity_ok)
    return serialize(repaired)


def _check_entity(root: etree._Element, entity_ok: Callable[[str], bool]) -> None:
    """Refuse a document about somebody else (PUB-07).

    :raises DocumentError: 400.
    """
    entity = root.get("entity")
    if entity is None:
        raise DocumentError(400, "presence without entity", line(root))
    if not entity_ok(entity.strip()):
        raise DocumentError(400, "entity is not the presentity", line(root))


def _check_large(data: bytes, root: etree._Element) -> None:
    """Validate a large document, stopping at the first error.

    :raises DocumentError: 400.
    """
    parser = etree.XMLPullParser(
        events=(), schema=schemas.presence(), resolve_entities=False, no_network=True
    )
    at = 0
    try:
        for at in range(0, len(data), _PIECE):
            parser.feed(data[at : at + _PIECE])
            found = schemas.violations(parser.feed_error_log)
            if found:
                raise DocumentError(400, found[0].cause, data.count(b"\n", 0, at) + 1)
        parser.close()
    except etree.XMLSyntaxError:
        reason = "not valid by the schema"
        raise DocumentError(400, reason, data.count(b"\n", 0, at) + 1) from None
    if (stray := schemas.stray(root)) is not None:
        raise _out_of_place(stray)
    # validation during parsing does not see whether ids are unique
    seen: set[str] = set()
    for element in root.iter(etree.Element):
        for name, value in attributes(element):
            if is_id(element, name):
                if value in seen:
                    raise DocumentError(400, "id used twice", line(element))
                seen.add(value)


def _out_of_place(stray: etree._Element) -> DocumentError:
    """The error for a ``timed-status`` that is not a child of a tuple (TIM-01)."""
    return DocumentError(400, "timed-status: element out of place", line(stray))
