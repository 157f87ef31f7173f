"""Compositions for tests: the cases of ``tests/vectors/composition``, and publications."""

from __future__ import annotations

from pathlib import Path

import attrs
from lxml import etree

from presence.compose.merging import MergingPolicy
from presence.compose.newest import NewestComposition
from presence.compose.oma import OmaComposition
from presence.compose.priority import PriorityComposition
from presence.compose.sources import HARD_STATE
from presence.compose.union import UnionComposition
from presence.pidf import tree
from presence.pidf.instant import instant
from presence.pidf.parse import parse_compact
from presence.pidf.tree import new_presence
from presence.pidf.write import serialize
from pysip.event.records import PublicationRecord
from tests.presence.documents import BOB

DIRECTORY = Path(__file__).parent.parent / "vectors" / "composition"
_CASE = "urn:example:composition-case"

Policy = MergingPolicy | UnionComposition


def publication(
    number: int, body: bytes, changed: float | None = None, publisher: str = BOB
) -> PublicationRecord:
    """A publication whose content dates from ``changed``, by default in order of numbers."""
    return PublicationRecord(
        id=number,
        package="presence",
        resource=BOB,
        etag=f"e{number}",
        expires=1e12,
        created=float(number),
        changed=float(number) if changed is None else changed,
        publisher=publisher,
        content_type="application/pidf+xml",
        body=body,
    )


def permanent(body: bytes, changed: float = 0.0) -> PublicationRecord:
    """Hard state that was written at ``changed``."""
    return PublicationRecord(
        id=0,
        package=HARD_STATE,
        resource=BOB,
        etag="x",
        expires=float("inf"),
        created=changed,
        changed=changed,
        publisher=BOB,
        content_type="application/pidf+xml",
        body=body,
    )


def canonical(body: bytes) -> bytes:
    """Exclusive canonical XML without blank text between elements (XML-03)."""
    root = parse_compact(body)
    if not len(root):
        root.text = None
    text: bytes = etree.tostring(root, method="c14n", exclusive=True)
    return text


@attrs.frozen
class Case:
    """A composition and what is expected of it.

    :ivar sources: what is composed.
    :ivar expected: documents by the name of the policy.
    :ivar now: seconds since 1970, None when the time is no matter.
    """

    name: str
    requirements: str
    sources: tuple[PublicationRecord, ...]
    expected: dict[str, bytes]
    now: float | None

    def policy(self, name: str) -> Policy:
        """The policy ``name``."""
        kind, _, priorities = name.partition(":")
        if kind == "priority":
            return PriorityComposition(priorities.split(","))
        kinds: dict[str, type[MergingPolicy] | type[UnionComposition]] = {
            "oma": OmaComposition,
            "newest": NewestComposition,
            "union": UnionComposition,
        }
        return kinds[kind]()


def cases(prefix: str = "") -> list[Case]:
    """All cases whose name begins with ``prefix``."""
    found = [_read(path) for path in sorted(DIRECTORY.glob(f"case-{prefix}*.xml"))]
    if not found:
        raise AssertionError(f"no vectors case-{prefix}*.xml")
    return found


def _read(path: Path) -> Case:
    case = parse_compact(path.read_bytes())
    nsmap = {prefix: uri for prefix, uri in case.nsmap.items() if uri != _CASE}
    sources: list[PublicationRecord] = []
    expected: dict[str, bytes] = {}
    for part in case:
        root = new_presence({"entity": BOB}, nsmap)
        attributes: dict[str, str] = dict(tree.attributes(part))
        root.extend(list(part))
        body = serialize(root)
        if part.tag == f"{{{_CASE}}}expect":
            expected.update((policy, body) for policy in attributes["policy"].split())
        elif attributes["number"] == "permanent":
            sources.append(permanent(body, float(attributes["changed"])))
        else:
            sources.append(
                publication(
                    int(attributes["number"]),
                    body,
                    float(attributes["changed"]),
                    attributes.get("publisher", BOB),
                )
            )
    now = instant(case.get("now") or "")
    requirements = case.get("requirements") or ""
    return Case(path.stem, requirements, tuple(sources), expected, now)
