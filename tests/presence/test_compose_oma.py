"""Properties of the policies that merge: :mod:`presence.compose`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from itertools import count
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from presence.compose.newest import NewestComposition
from presence.compose.oma import OmaComposition
from presence.compose.priority import PERMANENT, PRESENTITY, PriorityComposition
from presence.compose.union import UnionComposition
from presence.interfaces import ICompositionPolicy
from presence.pidf import names
from presence.pidf.offline import closed_document, empty_document
from presence.pidf.parse import DocumentError, parse, parse_compact
from presence.pidf.write import digest
from presence.rules.permissions import EVERYTHING, Permissions
from presence.rules.transform import transform
from pysip.event.records import PublicationRecord
from tests.presence.compose_oracle import Part, Source, composed, text
from tests.presence.compositions import Policy, canonical, permanent, publication
from tests.presence.documents import BOB, document, lenient, strict, vector
from tests.presence.documents import names as vectors

KEPT = [
    lenient(vector(name))
    for kind in ("valid", "quirk", "encoding")
    for name in vectors(kind)
    if name not in ("valid-attributes", "valid-deep")
]
POLICIES: tuple[Policy, ...] = (
    OmaComposition(),
    NewestComposition(),
    PriorityComposition([PERMANENT, "sip:network@home.example", PRESENTITY]),
    UnionComposition(),
)

# -- random sources for the oracle -----------------------------------------------------------


def _some(*values: str) -> st.SearchStrategy[str]:
    return st.sampled_from(values)


def _pairs(
    names: tuple[str, ...], values: st.SearchStrategy[str], most: int = 2
) -> st.SearchStrategy[tuple[tuple[str, str], ...]]:
    pair = st.tuples(st.sampled_from(names), values)
    found = st.lists(pair, max_size=most, unique_by=lambda item: item[0])
    return found.map(tuple)


MOODS = _some("<r:sad/>", "<r:shy/>")
TEXTS = _some("1", "2")
NOTES = _pairs(("", "en", "de"), TEXTS, 1)
TIMES = st.none() | st.integers(0, 59)
IDS = _some("a", "b", "c")
TUPLES = st.builds(
    Part,
    kind=st.just("tuple"),
    id=IDS,
    contact=st.tuples(_some("sip:1@h", "sip:1@H", "sip:2@h"), _some("", "0.1", "0.5"))
    | st.just(("", "")),
    service=st.tuples(_some("org:IM", "org:Im"), _some("1.0"), _some("", "one", "two"))
    | st.just(("", "", "")),
    group=_some("", "", "k", "l"),
    status=_pairs(("x:load", "x:free"), TEXTS).flatmap(
        lambda rest: _pairs(("basic",), _some("open", "closed")).map(lambda basic: basic + rest)
    ),
    children=_pairs(("x:a", "x:b", "r:user-input"), _some("active", "idle")),
    notes=NOTES,
    time=TIMES,
)
PERSONS = st.builds(
    Part,
    kind=st.just("person"),
    id=IDS,
    group=_some("", "", "k"),
    children=_pairs(("r:mood",), MOODS).flatmap(
        lambda mood: _pairs(("x:a", "x:b"), TEXTS).map(lambda rest: rest + mood)
    ),
    notes=NOTES,
    time=TIMES,
)
DEVICES = st.builds(
    Part,
    kind=st.just("device"),
    id=IDS,
    device=_some("mac:1", "MAC:1", "mac:2"),
    children=_pairs(("r:class", "x:a", "x:b"), TEXTS),
    notes=NOTES,
    time=TIMES,
)


def _numbered(drawn: list[tuple[int, list[Part], tuple[tuple[str, str], ...]]]) -> list[Source]:
    """Sources with numbers of their own, and ids that are unique in each."""
    numbers = count(1)
    sources = []
    for changed, parts, notes in drawn:
        kept = {part.id: part for part in parts}
        sources.append(Source(next(numbers), changed, tuple(kept.values()), notes))
    return sources


SOURCES = st.lists(
    st.tuples(st.integers(0, 5), st.lists(TUPLES | PERSONS | DEVICES, max_size=4), NOTES),
    max_size=4,
).map(_numbered)


def records(sources: Iterable[Source]) -> list[PublicationRecord]:
    """The publications that sources are."""
    return [publication(source.number, text(source), source.changed) for source in sources]


def leaves(body: bytes) -> Counter[tuple[str, ...]]:
    """What the tuples and persons of a document say, by name and text of childless elements.

    Left out is what merging makes one of: timestamps, contacts, descriptions and (empty)
    statuses (COM-11).
    """
    one = {names.TIMESTAMP, names.DM_TIMESTAMP, names.CONTACT, f"{{{names.OMA}}}description"}
    one.add(names.STATUS)
    found: Counter[tuple[str, ...]] = Counter()
    for component in parse_compact(body):
        if component.tag not in (names.TUPLE, names.PERSON):
            continue
        for element in component.iter():
            if len(element) or element is component or element.tag in one:
                continue
            path = [element.tag, *(ancestor.tag for ancestor in element.iterancestors())]
            found[(" ".join((element.text or "").split()), *path)] += 1
    return found


def ids(body: bytes) -> list[str]:
    """Ids of tuples, persons and devices, in order."""
    return [element.get("id", "") for element in parse(body) if element.tag in names.COMPONENTS]


class OracleTests(SynchronousTestCase):
    """Random publications against the rules, applied one by one."""

    @given(SOURCES)
    @settings(max_examples=400, deadline=None)
    def test_oma(self, sources: list[Source]) -> None:
        """COM-02, COM-10 to COM-14, COM-20, COM-21, COM-30, COM-40, COM-41: as the rules say."""
        found = OmaComposition().compose(BOB, records(sources))
        self.assertEqual(canonical(found), canonical(text(composed(sources))))

    @given(SOURCES)
    @settings(max_examples=200, deadline=None)
    def test_newest(self, sources: list[Source]) -> None:
        """COM-44: the same, where the most recent source is right."""
        found = NewestComposition().compose(BOB, records(sources))
        self.assertEqual(canonical(found), canonical(text(composed(sources, overriding=True))))


class PropertyTests(SynchronousTestCase):
    """What holds for every policy and all documents."""

    @given(
        st.lists(st.tuples(st.sampled_from(KEPT), st.integers(0, 3)), min_size=1, max_size=4),
        st.none() | st.sampled_from(KEPT),
        st.randoms(use_true_random=False),
    )
    @settings(max_examples=150, deadline=None)
    def test_any(self, chosen: list[tuple[bytes, int]], hard: bytes | None, random: Random) -> None:
        """COM-13, COM-41, DMO-09: schema-valid octets that no order of arrival changes."""
        publications = [publication(i, body, when) for i, (body, when) in enumerate(chosen, 1)]
        if hard is not None:
            publications.append(permanent(hard))
        for policy in POLICIES:
            found = policy.compose(BOB, publications)
            self.assertIs(strict(found), found)
            self.assertEqual(parse(found).get("entity"), BOB)
            random.shuffle(publications)
            self.assertEqual(policy.compose(BOB, publications), found)
            # what has been composed is not composed any further, alone or twice
            self.assertIs(policy.compose(BOB, [publication(9, found)]), found)
            again = [publication(8, found), publication(9, found)]
            self.assertIs(policy.compose(BOB, again), found)

    @given(st.lists(st.sampled_from(KEPT), min_size=1, max_size=4))
    @settings(max_examples=150, deadline=None)
    def test_nothing_lost(self, bodies: list[bytes]) -> None:
        """COM-45: what tuples and persons say is told, and nothing that nobody says."""
        publications = [publication(i, body) for i, body in enumerate(bodies, 1)]
        said = leaves(OmaComposition().compose(BOB, publications))
        everything: Counter[tuple[str, ...]] = Counter()
        for body in bodies:
            self.assertEqual(leaves(body) - said, Counter())
            everything |= leaves(body)
        # root notes that have become notes of persons are said by the source, too
        new = {leaf for leaf in set(said) - set(everything) if leaf[1] != names.DM_NOTE}
        self.assertEqual(new, set())

    @given(st.lists(st.tuples(st.sampled_from("pmr"), st.integers(0, 3), SOURCES), max_size=8))
    @settings(max_examples=60, deadline=None)
    def test_incremental(self, steps: list[tuple[str, int, list[Source]]]) -> None:
        """COM-42, COM-43: after any changes the result is that of composing from scratch."""
        for policy, fresh in ((OmaComposition(), OmaComposition),):
            live: dict[int, PublicationRecord] = {}
            numbers = count(1)
            for clock, (step, which, sources) in enumerate(steps):
                body = text(sources[0]) if sources else empty_document(BOB)
                known = sorted(live)
                if step == "p" or not known:
                    number = next(numbers)
                elif step == "m":
                    number = known[which % len(known)]
                else:
                    del live[known[which % len(known)]]
                    continue
                live[number] = publication(number, body, float(clock))
                found = policy.compose(BOB, list(live.values()))
                order = sorted(live.values(), key=lambda record: record.etag)
                self.assertEqual(fresh().compose(BOB, order), found)

    @given(SOURCES)
    @settings(max_examples=100, deadline=None)
    def test_stable_ids(self, sources: list[Source]) -> None:
        """PID-09, COM-14: a source that says the same again, later, changes no id."""
        publications = records(sources)
        for policy in POLICIES:
            before = policy.compose(BOB, publications)
            self.assertEqual(len(set(ids(before))), len(ids(before)))
            # the oldest component has the id that its source gave it
            oldest = [record for record in publications if ids(record.body)][:1]
            for record in oldest:
                self.assertTrue(set(ids(record.body)) & set(ids(before)))

    @given(SOURCES, st.integers(0, 3))
    @settings(max_examples=100, deadline=None)
    def test_refresh(self, sources: list[Source], which: int) -> None:
        """COM-01: a refresh, which changes entity-tag and expiry only, changes nothing."""
        publications = records(sources)
        for policy in POLICIES:
            before = policy.compose(BOB, publications)
            refreshed = [
                publication(record.id, record.body, record.changed) if i == which else record
                for i, record in enumerate(publications)
            ]
            self.assertEqual(policy.compose(BOB, refreshed), before)


class OneSourceTests(SynchronousTestCase):
    """A source that is the only one."""

    def test_nothing(self) -> None:
        """PRE-11: of somebody who has published nothing the offline document is told."""
        for kind in (OmaComposition, NewestComposition, UnionComposition):
            self.assertEqual(kind().compose(BOB, []), empty_document(BOB))
            self.assertEqual(kind(closed_document).compose(BOB, []), closed_document(BOB))
        policy = PriorityComposition((), closed_document)
        self.assertEqual(policy.compose(BOB, []), closed_document(BOB))

    def test_same_object(self) -> None:
        """A single source is given as it is, whatever is in it."""
        for policy in POLICIES:
            for body in KEPT:
                found = policy.compose(BOB, [publication(1, body)])
                if b"pres:bob" not in body:
                    self.assertEqual(canonical(found), canonical(body))
                    if body.startswith(b'<?xml version="1.0" encoding="UTF-8"?>\n<presence'):
                        self.assertIs(found, body)

    def test_entity(self) -> None:
        """PRE-05, COM-03: the entity is the presentity's, of one and of several sources."""
        bodies = [vector("valid-pres-entity"), vector("valid-source-a")]
        for policy in POLICIES:
            for several in (bodies[:1], bodies):
                made = [publication(i, body) for i, body in enumerate(several, 1)]
                found = policy.compose("sip:alias@home.example", made)
                self.assertEqual(parse(found).get("entity"), "sip:alias@home.example")

    def test_silent(self) -> None:
        """Publications that say nothing change nothing."""
        body = vector("valid-source-a")
        for policy in POLICIES[:3]:
            silent = [publication(i, empty_document(BOB)) for i in (1, 3)]
            self.assertIs(policy.compose(BOB, [*silent, publication(2, body)]), body)
            self.assertEqual(policy.compose(BOB, silent), empty_document(BOB))

    def test_only_permanent(self) -> None:
        """COM-46, XDM-64: permanent state alone is told; an empty document is no source."""
        body = vector("valid-source-a")
        for policy in POLICIES:
            self.assertIs(policy.compose(BOB, [permanent(body)]), body)
            self.assertEqual(policy.compose(BOB, [permanent(document(""))]), empty_document(BOB))

    def test_interface(self) -> None:
        """The policies provide ICompositionPolicy."""
        for policy in POLICIES:
            self.assertTrue(verifyObject(ICompositionPolicy, policy))

    def test_malformed(self) -> None:
        """A body that is no XML is refused, as the interface says."""
        for policy in POLICIES:
            made = [publication(1, vector("valid-source-a")), publication(2, b"<presence")]
            self.assertRaises(DocumentError, policy.compose, BOB, made)


class MergeTests(SynchronousTestCase):
    """Single rules that the vectors do not show."""

    def compose(self, *bodies: bytes) -> bytes:
        """OMA's composition of bodies, oldest first; valid."""
        made = [publication(i, body) for i, body in enumerate(bodies, 1)]
        found = OmaComposition().compose(BOB, made)
        self.assertIs(strict(found), found)
        return found

    def test_prefixes(self) -> None:
        """COM-03, XML-02: what each source calls its namespaces is no matter; told at the root."""
        first = document('<tuple id="t"><status/><x:a><x:b/></x:a></tuple>')
        second = first.replace(b"x:", b"yy:").replace(b":x=", b":yy=")
        other = document('<tuple id="u"><status/><x:a/></tuple>')
        other = other.replace(b"urn:example:extension", b"urn:other")
        found = parse(self.compose(first, second + b"\n", other))
        self.assertEqual(len(found), 1)
        self.assertLessEqual({"urn:example:extension", "urn:other"}, set(found.nsmap.values()))
        tags = [child.tag for child in found[0]]
        self.assertEqual(tags[1:], ["{urn:other}a", "{urn:example:extension}a"])

    def test_types(self) -> None:
        """COM-03, DMO-09: an xsi:type means the same type after composition."""
        xsi = ' xmlns:i="http://www.w3.org/2001/XMLSchema-instance" xmlns:p="{}"'
        typed = document(
            '<note i:type="p:note">a</note><tuple id="t"><status/>'
            '<x:a i:type="p:note" xml:lang="en">b</x:a></tuple>',
            xsi.format(names.PIDF),
        )
        plain = document("<p:b/>", xsi.format("urn:other"))
        for policy in (OmaComposition(), UnionComposition()):
            made = [publication(1, typed), publication(2, plain)]
            found = policy.compose(BOB, made)
            self.assertIs(strict(found), found)
            for element in etree.fromstring(found).iter(f"{{{names.PIDF}}}note", "{*}a"):
                kind = element.get("{http://www.w3.org/2001/XMLSchema-instance}type") or ""
                prefix, _, local = kind.rpartition(":")
                self.assertEqual(element.nsmap[prefix or None], names.PIDF)
                self.assertEqual(local, "note")

    def test_types_without_prefix(self) -> None:
        """COM-03, DMO-09: a type keeps its namespace where nothing else there is of it."""
        typed = (
            '<tuple id="{0}" xmlns:s="http://www.w3.org/2001/XMLSchema"><status/>'
            '<x:{0} i:type="s:date">2026-01-05</x:{0}>'
            '<{0} xmlns="urn:example:extension" xmlns:p="{1}" i:type="p:note"/></tuple>'
        )
        xsi = ' xmlns:i="http://www.w3.org/2001/XMLSchema-instance"'
        bodies = [document(typed.format(name, names.PIDF), xsi) for name in "ab"]
        for body in bodies:
            self.assertIs(strict(body), body)
        found = self.compose(*bodies)
        self.assertEqual(len(parse(found)), 1)
        self.assertEqual(found.count(b"date"), 2)

    def test_many_namespaces(self) -> None:
        """COM-03, MSG-28: the namespaces of many sources make no document that cannot be read."""
        sources = 32
        bodies = [
            document(
                f'<tuple id="t"><status/><y1:a xmlns:z="urn:z"><y2:b y3:c=""/></y1:a>'
                f"<contact>sip:{source}@h</contact></tuple>",
                "".join(f' xmlns:y{number}="urn:{source}:{number}"' for number in range(200)),
            )
            for source in range(sources)
        ]
        made = [publication(number, body) for number, body in enumerate(bodies, 1)]
        for policy in POLICIES:
            found = policy.compose(BOB, made)
            self.assertIs(strict(found), found)
            self.assertLess(len(found), sum(map(len, bodies)))
            for source in range(sources):
                for number in (1, 2, 3):
                    self.assertIn(f'"urn:{source}:{number}"'.encode(), found)

    def test_own_limits(self) -> None:
        """MSG-28, RUL-23: what sources within the limits make together can be told."""
        bodies = [
            document(
                f'<tuple id="t"><status/><x:{name} '
                + " ".join(f'a{number}=""' for number in range(200))
                + f">{''.join(f'<y{number}:b/>' for number in range(100))}</x:{name}></tuple>",
                "".join(f' xmlns:y{number}="urn:{name}:{number}"' for number in range(100)),
            )
            for name in "cd"
        ]
        for body in bodies:
            self.assertIs(strict(body), body)
        composed = OmaComposition().compose(BOB, [publication(i, b) for i, b in enumerate(bodies)])
        self.assertRaises(DocumentError, strict, composed)
        given = Permissions(services=EVERYTHING, unknown=frozenset({"{urn:example:extension}c"}))
        seen = transform(composed, given)
        self.assertEqual((seen.count(b":b/>"), seen.count(b"<x:d")), (100, 0))
        self.assertNotEqual(digest(composed), digest(seen))

    def test_device_ids(self) -> None:
        """COM-05: telling a device twice is telling it."""
        twice = "<dm:deviceID>mac:1</dm:deviceID><dm:deviceID>MAC:1</dm:deviceID>"
        bodies = [
            document(f'<tuple id="{name}"><status/>{devices}</tuple>')
            for name, devices in (("a", twice), ("b", "<dm:deviceID>mac:1</dm:deviceID>"))
        ]
        self.assertEqual(ids(self.compose(*bodies)), ["a"])

    def test_several(self) -> None:
        """COM-05: several elements of a name are compared together, in any order."""
        mood = '<r:mood from="2026-01-0{}T00:00:00Z"><r:sad/></r:mood>'
        person = '<dm:person id="{}">{}</dm:person>'
        first, second = mood.format(1), mood.format(2)
        one = document(person.format("a", first + second))
        same = document(person.format("b", second + first))
        part = document(person.format("c", first))
        self.assertEqual(ids(self.compose(one, same)), ["a"])
        self.assertEqual(ids(self.compose(one, part)), ["c", "a"])

    def test_schema_location(self) -> None:
        """COM-04: where a schema may be found is no difference."""
        tuple_ = (
            '<tuple id="{}"><status/><x:a xmlns:i="http://www.w3.org/2001/XMLSchema-instance"'
            ' i:schemaLocation="urn:example:extension {}"/></tuple>'
        )
        bodies = [document(tuple_.format(name, name)) for name in "ab"]
        self.assertEqual(ids(self.compose(*bodies)), ["a"])

    def test_description(self) -> None:
        """COM-11, COM-14: the description of the most recent, beside ids of the oldest."""
        tuple_ = (
            '<tuple id="{0}"><status/><op:service-description xml:id="{0}s">'
            "<op:service-id>i</op:service-id><op:version>1</op:version>"
            "<op:description>{0}</op:description></op:service-description></tuple>"
        )
        found = self.compose(*(document(tuple_.format(name)) for name in "ab"))
        self.assertIn(b'xml:id="as"', found)
        self.assertIn(b"<op:description>b</op:description>", found)
        self.assertEqual(found.count(b"<op:description>"), 1)

    def test_must_understand(self) -> None:
        """PID-08: unknown extensions and their mustUnderstand are kept."""
        body = document(
            '<tuple id="t"><status><x:a><x:b p:mustUnderstand="true"/></x:a></status></tuple>',
            f' xmlns:p="{names.PIDF}"',
        )
        other = document('<tuple id="u"><status><basic>open</basic></status></tuple>')
        found = parse(self.compose(body, other))
        self.assertEqual(found[0][0][1][0].get(f"{{{names.PIDF}}}mustUnderstand"), "true")

    def test_lunch(self) -> None:
        """RPI-06: an activity that only the text of RFC 4480 knows is passed."""
        person = '<dm:person id="{}"><r:activities><r:lunch/></r:activities>{}</dm:person>'
        first = document(person.format("a", ""))
        found = self.compose(first, document(person.format("b", "<dm:note>n</dm:note>")))
        self.assertEqual(found.count(b"<r:lunch/>"), 1)

    def test_idle_not_made(self) -> None:
        """RPI-03: user-input is told as published."""
        device = '<dm:device id="{}">{}<dm:deviceID>mac:1</dm:deviceID></dm:device>'
        active = document(device.format("a", "<r:user-input>active</r:user-input>"))
        found = self.compose(active, document(device.format("b", "")))
        self.assertIn(b">active<", found)
        self.assertNotIn(b"idle", found)

    def test_capabilities(self) -> None:
        """CAP-01: servcaps pass, and are compared as a whole."""
        caps = ' xmlns:caps="urn:ietf:params:xml:ns:pidf:caps"'
        body = (
            '<tuple id="{}"><status/>'
            "<caps:servcaps><caps:audio>{}</caps:audio>{}</caps:servcaps></tuple>"
        )
        one = document(body.format("a", "true", ""), caps)
        same = document(body.format("b", " true ", ""), caps)
        other = document(body.format("c", "true", "<caps:text>true</caps:text>"), caps)
        self.assertEqual(ids(self.compose(one, same)), ["a"])
        self.assertEqual(ids(self.compose(one, other)), ["c", "a"])

    def test_notes_bounded(self) -> None:
        """COM-40: notes of a root that would multiply stay where they are."""
        persons = "".join(f'<dm:person id="p{i}"/>' for i in range(1000))
        notes = "".join(f"<note>{i}</note>" for i in range(1000))
        tuples = document('<tuple id="t"><status/></tuple>')
        found = self.compose(tuples, document(notes + persons))
        self.assertEqual(found.count(b"<note>"), 1000)
        self.assertNotIn(b"dm:note", found)
        found = self.compose(tuples, document("<note>1</note>" + persons))
        self.assertEqual(found.count(b"<dm:note>"), 1000)

    def test_many(self) -> None:
        """Thousands of tuples that fit none of thousands are composed in reasonable time."""
        bodies = [
            document(
                "".join(
                    f'<tuple id="t{i}"><status/><note>{source} {i}</note></tuple>'
                    for i in range(1500)
                )
            )
            for source in "ab"
        ]
        made = [publication(i, body) for i, body in enumerate(bodies, 1)]
        self.assertEqual(len(parse(OmaComposition().compose(BOB, made))), 3000)


class ClockTests(SynchronousTestCase):
    """What happens without a publication."""

    BODY = document(
        '<tuple id="t"><status/>'
        '<ts:timed-status from="1970-01-01T00:01:40Z" until="1970-01-01T00:03:20Z"/></tuple>'
        '<dm:person id="p"><r:activities until="1970-01-01T00:02:30Z"><r:away/></r:activities>'
        "</dm:person>",
        ' xmlns:ts="urn:ietf:params:xml:ns:pidf:timed-status"',
    )

    def test_next_change(self) -> None:
        """COM-42, RPI-02, TIM-02: the times at which to compose anew are known."""
        made = [publication(1, self.BODY), publication(2, vector("valid-source-a"))]
        made.append(publication(3, self.BODY.replace(b"02:30Z", b"02:00Z")))
        for policy in (OmaComposition(), UnionComposition()):
            now = 0.0
            seen = []
            while (at := policy.next_change(made, now)) is not None:
                self.assertGreater(at, now)
                before = policy.compose(BOB, made, now)
                self.assertEqual(policy.compose(BOB, made, at - 0.001), before)
                now = at
                self.assertNotEqual(policy.compose(BOB, made, now), before)
                seen.append(at)
            self.assertEqual(seen, [100.0, 120.0, 150.0, 200.0])
            self.assertNotIn(b"away", policy.compose(BOB, made, now))
            self.assertIn(b"timed-status ", policy.compose(BOB, made, now))

    def test_without_time(self) -> None:
        """Without a time everything is told."""
        made = [publication(1, self.BODY)]
        for policy in POLICIES:
            self.assertIs(policy.compose(BOB, made), self.BODY)

    def test_unreadable(self) -> None:
        """XML-05: years that no calendar has are before or after everything."""
        body = document(
            '<dm:person id="p"><r:mood until="-0044-03-15T12:00:00Z"><r:sad/></r:mood>'
            '<r:activities until="123456-01-01T00:00:00Z"><r:away/></r:activities></dm:person>'
        )
        policy = OmaComposition()
        found = policy.compose(BOB, [publication(1, body)], 1e9)
        self.assertNotIn(b"mood", found)
        self.assertIn(b"away", found)
        self.assertIsNone(policy.next_change([publication(1, body)], 1e9))
