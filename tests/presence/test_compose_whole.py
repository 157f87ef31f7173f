"""Nothing that is published is lost on the way into the composed document (COM-45)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from hypothesis import HealthCheck, given, settings
from lxml import etree
from twisted.trial.unittest import SynchronousTestCase

from presence.compose.oma import OmaComposition
from presence.pidf import names
from presence.pidf.parse import parse_compact
from tests.presence.compose_oracle import Source
from tests.presence.documents import BOB
from tests.presence.test_compose_oma import SOURCES, records

#: kind of component, deviceID in lower case, name of the element, what it says
Leaf = tuple[str, str, str, str]

_ONE = frozenset(
    {
        names.CONTACT,
        names.TIMESTAMP,
        names.DM_TIMESTAMP,
        f"{{{names.OMA}}}description",
        # the empty status of a tuple that merged with one that says something
        names.STATUS,
    }
)
"""Of these a merged component has one (COM-11), so they say less than all together."""


def leaves(body: bytes) -> Iterator[Leaf]:
    """Every element without children, but for those of which one remains."""
    for part in parse_compact(body):
        kind = etree.QName(part).localname
        device = (part.findtext(names.DEVICE_ID) or "").lower() if kind == "device" else ""
        for element in part.iter(etree.Element):
            if len(element) or element.tag in _ONE or element.tag in names.COMPONENTS:
                continue
            text = " ".join((element.text or "").split())
            if element.tag == names.DEVICE_ID:
                text = text.lower()
            said = f"{text} {element.get(names.XML_LANG, '')}"
            yield kind, device, str(element.tag), said


def as_note(leaf: Leaf) -> Leaf:
    """A note of the root, as it is told when it has become one of a person (COM-40)."""
    return ("person", "", names.DM_NOTE, leaf[3])


def _all_speak(body: bytes) -> bool:
    """Whether there are persons, and each has a note: root notes are nobody's (DMO-08)."""
    persons = parse_compact(body).findall(names.PERSON)
    return bool(persons) and all(person.find(names.DM_NOTE) is not None for person in persons)


class WholeTests(SynchronousTestCase):
    """OMA's policy, over random sources."""

    @given(SOURCES)
    @settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    def test_covered(self, sources: list[Source]) -> None:
        """COM-45: as often as any source says it; less only for what a device says anew (COM-20).

        Nothing is told that nobody says, and nothing more often than all together say it.
        """
        made = records(sources)
        told = Counter(leaves(OmaComposition().compose(BOB, made)))
        by_source = [(record, Counter(leaves(record.body))) for record in made]
        everything: Counter[Leaf] = Counter()
        for record, said in by_source:
            for leaf, times in said.items():
                kind, device, tag, text = leaf
                everything[leaf] += times
                if kind == "note":
                    heard = told[leaf] or told[as_note(leaf)] or _all_speak(record.body)
                    self.assertTrue(heard, leaf)
                    # a root note speaks for each person that has none
                    everything[as_note(leaf)] += len(record.body)
                elif kind != "device":
                    self.assertGreaterEqual(told[leaf], times, leaf)
                elif not told[leaf]:
                    anew = {
                        text
                        for kind, other, name, text in told
                        if (kind, other, name) == ("device", device, tag)
                    }
                    self.assertTrue(anew - {text}, leaf)
                    newer = [
                        leaf
                        for other, all_said in by_source
                        if (other.changed, other.id) >= (record.changed, record.id)
                        for leaf in all_said
                        if leaf[:3] == (kind, device, tag) and leaf[3] in anew
                    ]
                    self.assertTrue(newer, leaf)
        self.assertEqual(told - everything, Counter())
