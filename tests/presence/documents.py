"""Presence documents for tests: the files of ``tests/vectors/pidf``."""

from __future__ import annotations

from pathlib import Path

from presence.pidf.validate import accept

BOB = "sip:bob@home.example"
DIRECTORY = Path(__file__).parent.parent / "vectors" / "pidf"


def is_bob(entity: str) -> bool:
    """Whether an entity is the presentity of all vectors."""
    return entity in (BOB, "pres:bob@home.example")


def vector(name: str) -> bytes:
    """The document ``name`` without its ``.xml``."""
    return (DIRECTORY / f"{name}.xml").read_bytes()


def names(prefix: str) -> list[str]:
    """Names of all documents of a kind, sorted."""
    found = sorted(path.stem for path in DIRECTORY.glob(f"{prefix}-*.xml"))
    if not found:
        raise AssertionError(f"no vectors {prefix}-*.xml")
    return found


def lenient(body: bytes) -> bytes:
    """What is kept of ``body`` in lenient mode."""
    return accept(body, entity_ok=is_bob, strict=False)


def strict(body: bytes) -> bytes:
    """What is kept of ``body`` in strict mode."""
    return accept(body, entity_ok=is_bob, strict=True)


def document(inner: str, attributes: str = "") -> bytes:
    """A document about Bob with the usual prefixes; ``inner`` starts in line 2."""
    return (
        '<?xml version="1.0" encoding="UTF-8"?>'
        '<presence xmlns="urn:ietf:params:xml:ns:pidf"'
        ' xmlns:dm="urn:ietf:params:xml:ns:pidf:data-model"'
        ' xmlns:r="urn:ietf:params:xml:ns:pidf:rpid"'
        ' xmlns:op="urn:oma:xml:prs:pidf:oma-pres"'
        f' xmlns:x="urn:example:extension" entity="{BOB}"{attributes}>\n{inner}</presence>'
    ).encode()
