"""Properties of :mod:`presence.rules.transform`, against tables written from the standards."""

from __future__ import annotations

import re
from collections.abc import Callable

import attrs
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree
from twisted.trial.unittest import SynchronousTestCase

from presence.pidf import schemas
from presence.pidf.parse import parse, parse_compact
from presence.rules.permissions import (
    ALL,
    ATTRIBUTES,
    Permissions,
    UserInput,
    combine,
)
from presence.rules.transform import transform
from tests.presence.documents import document

Grant = Callable[[Permissions], bool]


def has(name: str) -> Grant:
    """Granted by the permission of this name."""
    return lambda given: name in given.attributes


def level(*levels: UserInput) -> Grant:
    """Granted at these levels of user-input."""
    return lambda given: given.user_input in levels


def named(name: str) -> Grant:
    """Granted as an unknown attribute of the extension namespace."""
    tag = f"{{urn:example:extension}}{name}"
    return lambda given: given.all_attributes or tag in given.unknown


def always(given: Permissions) -> bool:
    """Granted whenever the component is."""
    return True


def whole(given: Permissions) -> bool:
    """Granted with all attributes only."""
    return given.all_attributes


def both(one: Grant, other: Grant) -> Grant:
    """Granted when both are."""
    return lambda given: one(given) and other(given)


GEOPRIV = (
    '<gp:geopriv xmlns:gp="urn:ietf:params:xml:ns:pidf:geopriv10">'
    "<gp:location-info/><gp:usage-rules/><gp:method>§</gp:method></gp:geopriv>"
)
#: markup, its marks written as ``§``, and what grants each of them
Row = tuple[str, tuple[Grant, ...]]

USER_INPUT: tuple[Row, ...] = (
    ("<r:user-input x:by='§'>idle</r:user-input>", (level(UserInput.BARE, UserInput.FULL),)),
    (
        "<r:user-input idle-threshold='§'>idle</r:user-input>",
        (level(UserInput.THRESHOLDS, UserInput.FULL),),
    ),
    (
        "<r:user-input last-input='2026-01-05T00:00:00.§Z'>idle</r:user-input>",
        (level(UserInput.FULL),),
    ),
    ("<r:user-input since='§'>idle</r:user-input>", (level(UserInput.FULL),)),
)
ANYWHERE: tuple[Row, ...] = (
    ("<r:class>§</r:class>", (has("class"),)),
    (GEOPRIV, (has("geopriv"),)),
    *USER_INPUT,
    ("<x:a k='§'><x:b>§</x:b></x:a>", (named("a"), named("a"))),
    ("<x:b>§</x:b>", (named("b"),)),
    (f"<x:a>§{GEOPRIV}</x:a>", (named("a"), both(named("a"), has("geopriv")))),
    ("<x:a><r:class>§</r:class></x:a>", (both(named("a"), has("class")),)),
    (
        "<x:b><r:user-input idle-threshold='§'>active</r:user-input></x:b>",
        (both(named("b"), level(UserInput.THRESHOLDS, UserInput.FULL)),),
    ),
)
TUPLE: tuple[Row, ...] = (
    *ANYWHERE,
    ("<dm:deviceID>mac:§</dm:deviceID>", (has("deviceID"),)),
    ("<r:privacy><r:note>§</r:note><r:audio/></r:privacy>", (has("privacy"),)),
    ("<r:relationship><r:note>§</r:note><r:self/></r:relationship>", (has("relationship"),)),
    ("<r:service-class><r:note>§</r:note><r:unknown/></r:service-class>", (always,)),
    ("<r:status-icon>http://§</r:status-icon>", (has("status-icon"),)),
    ("<op:willingness x:m='§'/>", (has("willingness"),)),
    ("<op:session-participation x:m='§'/>", (has("session-participation"),)),
    ("<op:registration-state x:m='§'>active</op:registration-state>", (has("registration-state"),)),
    ("<op:barring-state x:m='§'>active</op:barring-state>", (has("barring-state"),)),
    ("<op:overriding-willingness x:m='§'/>", (whole,)),
    ("<r:mood><r:note>§</r:note><r:sad/></r:mood>", (whole,)),
    (
        "<op:network-availability x:m='§'><op:network id='§'/></op:network-availability>",
        (whole, whole),
    ),
)
PERSON: tuple[Row, ...] = (
    *ANYWHERE,
    ("<r:activities><r:note>§</r:note><r:away/></r:activities>", (has("activities"),)),
    (f"<r:activities>{GEOPRIV}</r:activities>", (both(has("activities"), has("geopriv")),)),
    ("<r:mood><r:note>§</r:note><r:sad/></r:mood>", (has("mood"),)),
    ("<r:place-is><r:note>§</r:note></r:place-is>", (has("place-is"),)),
    ("<r:place-type><r:other>§</r:other></r:place-type>", (has("place-type"),)),
    ("<r:privacy><r:note>§</r:note><r:unknown/></r:privacy>", (has("privacy"),)),
    ("<r:sphere x:m='§'><r:work/></r:sphere>", (has("sphere"),)),
    ("<r:status-icon>http://§</r:status-icon>", (has("status-icon"),)),
    ("<r:time-offset>§</r:time-offset>", (has("time-offset"),)),
    ("<op:overriding-willingness x:m='§'/>", (has("willingness"),)),
    ("<op:willingness x:m='§'/>", (whole,)),
    ("<note>§</note>", (whole,)),
    ("<r:relationship><r:note>§</r:note><r:self/></r:relationship>", (whole,)),
)
DEVICE: tuple[Row, ...] = (
    *ANYWHERE,
    (
        "<op:network-availability><op:network id='§'/></op:network-availability>",
        (has("network-availability"),),
    ),
    ("<r:status-icon>http://§</r:status-icon>", (whole,)),
    ("<op:willingness x:m='§'/>", (whole,)),
)
STATUS: tuple[Row, ...] = (
    (GEOPRIV, (has("geopriv"),)),
    ("<x:a>§</x:a>", (whole,)),
    ("<r:user-input x:by='§'>idle</r:user-input>", (whole,)),
    ("<r:mood><r:note>§</r:note><r:sad/></r:mood>", (whole,)),
)
ROOT: tuple[Row, ...] = (
    ("<x:a>§</x:a>", (named("a"),)),
    ("<x:b m='§'/>", (named("b"),)),
    ("<r:user-input x:by='§'>idle</r:user-input>", (whole,)),
    (GEOPRIV, (whole,)),
    ("<r:mood><r:note>§</r:note><r:sad/></r:mood>", (whole,)),
)
SERVICE = (
    "<op:service-description><op:service-id>s:{id}</op:service-id><op:version>1</op:version>"
    "<op:description>§</op:description></op:service-description>"
)
NOTE: Row = ("<note>§</note>", (has("note"),))
DM_NOTE: Row = ("<dm:note>§</dm:note>", (has("note"),))
MARK = re.compile(r"7\d{4}")


@attrs.frozen
class Component:
    """One generated child of the root: what selects it, and its parts."""

    sort: str
    id: str
    class_: str
    rows: tuple[Row, ...]
    status: tuple[Row, ...] = ()

    def selected(self, given: Permissions) -> bool:
        """XDM-141, by the facts that :meth:`markup` writes."""
        members = {
            (kind, value.lower() if kind == "service-uri" else value)
            for kind, value in getattr(given, self.sort)
        }
        return ALL in members or not members.isdisjoint(
            {
                ("class", self.class_ or "none"),
                ("occurrence-id", self.id),
                *(
                    {
                        ("service-id", f"s:{self.id}"),
                        ("service-uri", f"sip:{self.id}@home.example"),
                        ("service-uri-scheme", "sip"),
                    }
                    if self.sort == "services"
                    else {("deviceID", f"mac:{self.id}")}
                    if self.sort == "devices"
                    else ()
                ),
            }
        )

    def parts(self) -> tuple[Row, ...]:
        """The markup around and of the rows, in the order of the schema."""
        kind: Row = (f"<r:class>{self.class_}</r:class>" if self.class_ else "", ())
        if self.sort == "services":
            return (
                (f'<tuple id="{self.id}"><status><basic>open</basic>', ()),
                *self.status,
                ("</status>", ()),
                (SERVICE.format(id=self.id), (always,)),
                kind,
                *self.rows,
                (f"<contact>sip:{self.id}@home.example</contact>", ()),
                NOTE,
                ("<timestamp>2026-01-05T00:00:00.§Z</timestamp></tuple>", (always,)),
            )
        name = "person" if self.sort == "persons" else "device"
        device = f"<dm:deviceID>mac:{self.id}</dm:deviceID>" if name == "device" else ""
        return (
            (f'<dm:{name} id="{self.id}">', ()),
            kind,
            *self.rows,
            (device, ()),
            DM_NOTE,
            ("<dm:timestamp>2026-01-05T00:00:00.§Z</dm:timestamp>", (always,)),
            (f"</dm:{name}>", ()),
        )


@attrs.frozen
class Written:
    """A generated document and what grants each of its marks."""

    components: tuple[Component, ...]
    root: tuple[Row, ...]
    octets: bytes
    grants: dict[str, Grant]

    @classmethod
    def of(cls, components: tuple[Component, ...], root: tuple[Row, ...]) -> Written:
        """The document, in the order of the schema."""
        grants: dict[str, Grant] = {}
        inner = []

        def write(row: Row, condition: Grant) -> None:
            pieces = row[0].split("§")
            for piece, grant in zip(pieces, row[1], strict=False):
                mark = str(70000 + len(grants))
                grants[mark] = both(condition, grant)
                inner.append(piece + mark)
            inner.append(pieces[-1])

        tuples = [each for each in components if each.sort == "services"]
        others = [each for each in components if each.sort != "services"]
        for component in tuples:
            for row in component.parts():
                write(row, component.selected)
        write(NOTE, always)
        for component in others:
            for row in component.parts():
                write(row, component.selected)
        for row in root:
            write(row, always)
        return cls(components, root, document("".join(inner)), grants)

    def allowed(self, given: Permissions) -> set[str]:
        """The marks that a watcher may see."""
        return {mark for mark, grant in self.grants.items() if grant(given)}

    def chosen(self, given: Permissions) -> Permissions:
        """The same permissions, the components chosen named by their ids (RUL-27)."""

        def ids(sort: str) -> frozenset[tuple[str, str]]:
            return frozenset(
                ("occurrence-id", each.id)
                for each in self.components
                if each.sort == sort and each.selected(given)
            )

        named: dict[str, frozenset[tuple[str, str]]] = {
            sort: getattr(given, sort) | ids(sort) for sort in ("services", "persons", "devices")
        }
        return attrs.evolve(given, **named)


def component(sort: str, rows: tuple[Row, ...]) -> st.SearchStrategy[Component]:
    """Components of a sort; their ids are made unique by :data:`DOCUMENTS`."""
    return st.builds(
        Component,
        st.just(sort),
        st.just(""),
        st.sampled_from(["", "work", "home"]),
        st.lists(st.sampled_from(rows), max_size=5).map(tuple),
        st.lists(st.sampled_from(STATUS), max_size=1).map(tuple)
        if sort == "services"
        else st.just(()),
    )


DOCUMENTS = st.builds(
    lambda components, root: Written.of(
        tuple(
            attrs.evolve(each, id=f"{each.sort[0]}{number}")
            for number, each in enumerate(components)
        ),
        tuple(root),
    ),
    st.lists(
        st.one_of(
            component("services", TUPLE), component("persons", PERSON), component("devices", DEVICE)
        ),
        max_size=4,
    ),
    st.lists(st.sampled_from(ROOT), max_size=2),
)


def members(*more: tuple[str, str]) -> st.SearchStrategy[frozenset[tuple[str, str]]]:
    """Sets of members, of those that every sort has and others."""
    ids = [("occurrence-id", f"{sort}{number}") for sort in "spd" for number in range(3)]
    common = [("class", "work"), ("class", "play"), *ids]
    return st.one_of(
        st.just(frozenset({ALL})),
        st.frozensets(st.sampled_from([*common, *more]), max_size=3),
    )


PERMISSIONS = st.builds(
    Permissions,
    services=members(
        ("service-id", "s:s0"),
        ("service-uri", "sip:s1@HOME.example"),
        ("service-uri", "sip:s1@home.example"),
        ("service-uri-scheme", "sip"),
        ("service-uri-scheme", "tel"),
    ),
    persons=members(),
    devices=members(("deviceID", "mac:d0"), ("deviceID", "mac:d1")),
    attributes=st.frozensets(st.sampled_from(sorted(ATTRIBUTES))),
    user_input=st.sampled_from(UserInput),
    unknown=st.frozensets(
        st.sampled_from(["{urn:example:extension}a", "{urn:example:extension}b", "{urn:x}a"])
    ),
    all_attributes=st.sampled_from([False, False, True]),
)


def canonical(octets: bytes) -> bytes:
    """Canonical XML of a document."""
    found: bytes = etree.tostring(parse_compact(octets), method="c14n", exclusive=True)
    return found


def used(root: etree._Element) -> set[str]:
    """The namespaces of the elements and attributes of a document."""
    tags = [str(element.tag) for element in root.iter()]
    attributes = [str(name) for element in root.iter() for name in element.attrib]
    return {etree.QName(name).namespace or "" for name in tags + attributes}


class TransformPropertyTests(SynchronousTestCase):
    """Random documents and permissions."""

    @given(DOCUMENTS, PERMISSIONS)
    def test_exactly_what_is_granted(self, written: Written, given: Permissions) -> None:
        """XDM-142, RUL-20: what is withheld never appears, and all that is granted does."""
        schemas.presence().assertValid(parse(written.octets))
        found = transform(written.octets, given)
        self.assertEqual(set(MARK.findall(found.decode())), written.allowed(given))

    @given(DOCUMENTS, PERMISSIONS)
    def test_valid(self, written: Written, given: Permissions) -> None:
        """RUL-23: every view is schema-valid."""
        schemas.presence().assertValid(parse(transform(written.octets, given)))

    @given(DOCUMENTS, PERMISSIONS)
    def test_idempotent(self, written: Written, given: Permissions) -> None:
        """XDM-145, RUL-27: F(F(D)) = F(D), the components chosen once being chosen."""
        found = transform(written.octets, given)
        self.assertEqual(transform(found, written.chosen(given)), found)
        kinds = {kind for kind, _ in given.services | given.persons | given.devices}
        if "class" not in kinds or "class" in given.attributes:
            self.assertEqual(transform(found, given), found)

    @given(DOCUMENTS, PERMISSIONS)
    def test_no_trace(self, written: Written, given: Permissions) -> None:
        """RUL-20: no namespace is declared that nothing in the view is of."""
        if given == Permissions.all():
            return
        root = parse(transform(written.octets, given))
        declared = {uri for element in root.iter() for uri in element.nsmap.values()}
        self.assertEqual(declared - used(root), set())

    @given(DOCUMENTS, PERMISSIONS, PERMISSIONS)
    def test_more_permissions_more_view(
        self, written: Written, one: Permissions, other: Permissions
    ) -> None:
        """RUL-01: a further rule never takes away what another one grants.

        Alone ``thresholds`` does, by its definition: attributes that ``bare`` leaves.
        """
        if {one.user_input, other.user_input} == {UserInput.BARE, UserInput.THRESHOLDS}:
            other = attrs.evolve(other, user_input=UserInput.FULL)
        more = set(MARK.findall(transform(written.octets, combine([one, other])).decode()))
        for each in (one, other):
            less = set(MARK.findall(transform(written.octets, each).decode()))
            self.assertLessEqual(less, more)

    @given(DOCUMENTS, DOCUMENTS, PERMISSIONS)
    def test_bounds(self, written: Written, another: Written, given: Permissions) -> None:
        """XDM-148, RUL-26: all gives the document, none nothing, and views do not mix."""
        before = transform(written.octets, given)
        transform(another.octets, given)
        transform(written.octets, Permissions.all())
        self.assertEqual(transform(written.octets, Permissions.all()), written.octets)
        self.assertEqual(len(parse(transform(written.octets, Permissions.none()))), 0)
        self.assertEqual(canonical(transform(written.octets, given)), canonical(before))
