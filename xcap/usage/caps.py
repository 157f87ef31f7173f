"""``xcap-caps``: what a server can do (RFC 4825 section 12, XCAP-170 to XCAP-174)."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Final

from xcap.usage.base import GLOBAL, ComputedUsage
from xcap.usage.names import VALIDATED, XCAP_CAPS
from xcap.usage.writing import HEAD, escape, read_computed

if TYPE_CHECKING:
    from xcap.interfaces import IApplicationUsage

_PARTS: Final = (("auids", "auid"), ("extensions", "extension"), ("namespaces", "namespace"))


class XcapCaps(ComputedUsage):
    """Capabilities of this server.

    Its namespaces are all that are validated here, whichever usage brings them (XDM-03).
    """

    auid = "xcap-caps"
    mime_type = "application/xcap-caps+xml"
    default_namespace = XCAP_CAPS
    namespaces = VALIDATED
    schema = "xcap-caps"
    trees = GLOBAL
    document_names = frozenset({"index"})


def caps_document(usages: Iterable[IApplicationUsage]) -> bytes:
    """The capabilities of a server with these usages (XCAP-171, XCAP-172)."""
    auids: set[str] = set()
    namespaces: set[str] = set()
    for usage in usages:
        auids.add(usage.auid)
        namespaces.update(usage.namespaces)
    return _write(auids, (), namespaces)


def merge_caps(documents: Iterable[bytes], auids: Collection[str] | None = None) -> bytes:
    """The union of what several servers can do (XCAP-174, AGP-57).

    :param auids: the usages to tell of; None for all.
    :raises ValueError: one of the documents is not understood.
    """
    found: dict[str, set[str]] = {part: set() for part, _ in _PARTS}
    for octets in documents:
        root = read_computed(octets, f"{{{XCAP_CAPS}}}xcap-caps")
        for part, item in _PARTS:
            for element in root.iterfind(f"{{{XCAP_CAPS}}}{part}/{{{XCAP_CAPS}}}{item}"):
                if text := (element.text or "").strip():
                    found[part].add(text)
    if auids is not None:
        found["auids"].intersection_update(auids)
    return _write(*(found[part] for part, _ in _PARTS))


def _write(*values: Iterable[str]) -> bytes:
    parts = [f'{HEAD}<xcap-caps xmlns="{XCAP_CAPS}">\n']
    for (part, item), texts in zip(_PARTS, values, strict=True):
        items = "".join(f"    <{item}>{escape(text)}</{item}>\n" for text in sorted(texts))
        # some clients demand extensions, which may be left out by RFC 4825
        parts.append(f"  <{part}>\n{items}  </{part}>\n" if items else f"  <{part}/>\n")
    parts.append("</xcap-caps>\n")
    return "".join(parts).encode()
