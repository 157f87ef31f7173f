"""Properties of :mod:`presence.filters.content`, over documents and filters made at random."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from lxml import etree
from twisted.trial.unittest import SynchronousTestCase

from presence.filters.content import PIDF, WATCHERINFO, Kind, select
from presence.filters.errors import Exhausted
from presence.filters.expression import parse_expression
from presence.filters.model import Namespace, Selection, What
from presence.pidf import schemas
from presence.pidf.parse import parse_compact
from tests.presence.documents import document
from tests.presence.documents import names as pidf_names
from tests.presence.documents import vector as pidf_vector
from tests.presence.test_filters_content import DEVICE, PERSON, TUPLE
from tests.presence.test_filters_vectors import VECTORS, WATCHERINFO_SCHEMA, vector
from tests.presence.test_rules_transform import canonical

CASES = 1500
DIRECTORY = Path(__file__).parent.parent / "vectors"


def documents() -> list[bytes]:
    """All valid presence documents that there are."""
    found = [pidf_vector(name) for name in pidf_names("valid")]
    found += [
        (DIRECTORY / "transform" / f"{name}.xml").read_bytes() for name in ("composed", "full")
    ]
    found += [vector("flt-30-document"), vector("rfc4661-6.6-document")]
    geopriv = (
        '<gp:geopriv xmlns:gp="urn:ietf:params:xml:ns:pidf:geopriv10"><gp:location-info><x:l/>'
        "</gp:location-info><gp:usage-rules/><gp:provided-by><x:a/><x:b/></gp:provided-by>"
        "</gp:geopriv>"
    )
    found.append(document(TUPLE.replace("</status>", f"{geopriv}</status>") + PERSON + DEVICE))
    return found


class Paths:
    """The nodes of a document by the path that leads to them, with their attributes."""

    def __init__(self, octets: bytes) -> None:
        self.root = parse_compact(octets)
        self.names = sorted({each.tag for each in self.root.iter()})
        self.attributes = sorted({name for each in self.root.iter() for name in each.attrib})

    def contains(self, other: etree._Element, mine: etree._Element | None = None) -> bool:
        """Whether a tree can be had by leaving out parts of this one, in the same order."""
        mine = self.root if mine is None else mine
        if mine.tag != other.tag or not set(other.attrib.items()) <= set(mine.attrib.items()):
            return False
        if len(other) == 0 and len(mine) == 0 and (other.text or "") != (mine.text or ""):
            return False
        candidates = iter(mine)
        return all(
            any(self.contains(child, candidate) for candidate in candidates) for child in other
        )


def expression(rng: random.Random, paths: Paths, conditions: bool) -> Selection:
    """A selection of something that is perhaps there."""
    prefixes = {urn: prefix for prefix, urn in bindings_of(paths).items()}

    def short(clark: str) -> str:
        namespace, brace, local = clark[1:].rpartition("}")
        return f"{prefixes[namespace]}:{local}" if brace else clark

    if rng.random() < 0.1:
        return Namespace(etree.QName(rng.choice(paths.names)).namespace or "urn:none")
    element = rng.choice(list(paths.root.iter()))
    steps = [element, *element.iterancestors()][::-1]
    if rng.random() < 0.7:
        steps = steps[-rng.choice((1, 2)) :]
        text = "//"
    else:
        text = "/"
    parts = []
    for step in steps:
        part = "*" if rng.random() < 0.15 else short(step.tag)
        if conditions and rng.random() < 0.2:
            child = rng.choice([*step, step])
            operand = "." if child is step else short(child.tag)
            part += (
                f'[{operand}="{(child.text or "").strip()}"]'
                if '"' not in (child.text or "")
                else ""
            )
        parts.append(part)
    text += "/".join(parts)
    if rng.random() < 0.2 and element.attrib:
        text += f"/@{short(rng.choice(sorted(element.attrib)))}"
    return parse_expression(text, bindings_of(paths))


def bindings_of(paths: Paths) -> dict[str, str]:
    """A prefix for every namespace of a document."""
    spaces = {etree.QName(name).namespace for name in (*paths.names, *paths.attributes)}
    spaces -= {None, "http://www.w3.org/XML/1998/namespace"}
    found = {f"n{number}": space for number, space in enumerate(sorted(map(str, spaces)))}
    return {**found, "xml": "http://www.w3.org/XML/1998/namespace"}


class PropertyTests(SynchronousTestCase):
    """What holds for every document and every filter."""

    def run_all(self, kind: Kind, octets: list[bytes], schema: Any, seed: int) -> None:
        """Check documents with filters made for them."""
        rng = random.Random(seed)
        given = [(each, Paths(each)) for each in octets]
        reduced = nothing = 0
        for _ in range(CASES):
            before, paths = rng.choice(given)
            conditions = rng.random() < 0.5
            asked = What(
                tuple(
                    expression(rng, paths, conditions) for _ in range(rng.choice((0, 1, 1, 2, 4)))
                ),
                tuple(
                    expression(rng, paths, conditions) for _ in range(rng.choice((0, 0, 1, 2, 4)))
                ),
            )
            try:
                found = select(before, asked, kind)
            except Exhausted:
                continue
            if found is None:
                nothing += 1
                continue
            tree = parse_compact(found)
            if not schema.validate(tree):
                self.fail(f"{asked}\n{before.decode()}\n{found.decode()}\n{schema.error_log}")
            self.assertTrue(paths.contains(tree), (asked, found))
            self.assertEqual(tree.attrib.get("entity"), paths.root.attrib.get("entity"))
            reduced += found is not before
            if not conditions:
                again = select(found, asked, kind)
                if again is None:
                    self.fail(f"{asked}\n{found.decode()}")
                self.assertEqual(canonical(again), canonical(found), asked)
        self.assertGreater(reduced, CASES // 4)
        self.assertGreater(nothing, 0)

    def test_presence(self) -> None:
        """Results are valid, parts of what there was, and no less the next time (FLT-10, FLT-11).

        A filter with conditions may find less the next time: what they are about need not be
        part of the result.
        """
        octets = documents()
        for each in octets:
            schemas.presence().assertValid(parse_compact(each))
        self.run_all(PIDF, octets, schemas.presence(), 4661)

    def test_watcherinfo(self) -> None:
        """The same of watcher information (FLT-10, FLT-11)."""
        schema = etree.XMLSchema(file=str(WATCHERINFO_SCHEMA))
        names = ("oma-m3", "oma-m10", "rfc3858-example", "wid-09", "foreign")
        octets = [(DIRECTORY / "watcherinfo" / f"{name}.xml").read_bytes() for name in names]
        octets += [path.read_bytes() for path in VECTORS.glob("rfc4661-6.3-*.xml")]
        octets = [each for each in octets if schema.validate(parse_compact(each))]
        self.assertGreater(len(octets), 4)
        self.run_all(WATCHERINFO, octets, schema, 3858)
