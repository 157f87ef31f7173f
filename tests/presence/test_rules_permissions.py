"""Tests of :mod:`presence.rules.permissions`."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from lxml import etree
from twisted.trial.unittest import SynchronousTestCase

from presence.rules.permissions import (
    ALL,
    ATTRIBUTES,
    EVERYTHING,
    Permissions,
    UserInput,
    combine,
    read_permissions,
)

NAMES = (
    'xmlns:cp="urn:ietf:params:xml:ns:common-policy" xmlns="urn:ietf:params:xml:ns:pres-rules"'
    ' xmlns:op="urn:oma:xml:prs:pres-rules" xmlns:x="urn:example:extension"'
)

MEMBERS = st.frozensets(
    st.sampled_from([ALL, ("class", "a"), ("class", "b"), ("occurrence-id", "a")]), max_size=3
)
PERMISSIONS = st.builds(
    Permissions,
    services=MEMBERS,
    persons=MEMBERS,
    devices=MEMBERS,
    attributes=st.frozensets(st.sampled_from(sorted(ATTRIBUTES)), max_size=4),
    user_input=st.sampled_from(UserInput),
    unknown=st.frozensets(st.sampled_from(["{urn:x}a", "{urn:x}b", "{urn:y}a"]), max_size=2),
    all_attributes=st.booleans(),
)


def read(inner: str) -> Permissions:
    """The permissions of transformations with this content."""
    return read_permissions(
        etree.fromstring(f"<cp:transformations {NAMES}>{inner}</cp:transformations>")
    )


class ReadTests(SynchronousTestCase):
    """Tests of :func:`read_permissions`."""

    def test_nothing(self) -> None:
        """RUL-05: what is not given is not granted."""
        self.assertEqual(read(""), Permissions.none())
        self.assertEqual(Permissions.none().attributes, frozenset())
        self.assertEqual(Permissions.none().user_input, UserInput.NONE)

    def test_booleans(self) -> None:
        """XDM-142: each boolean permission by itself, in both notations of true."""
        for name in ATTRIBUTES - {"geopriv"}:
            oma = name in (
                "willingness",
                "network-availability",
                "session-participation",
                "registration-state",
                "barring-state",
            )
            tag, other = ("op:", "") if oma else ("", "op:")
            for value in ("true", "1", " true\n", "<!-- yes -->true"):
                found = read(f"<{tag}provide-{name}>{value}</{tag}provide-{name}>")
                self.assertEqual(found, Permissions(attributes=frozenset((name,))), name)
            for value in ("false", "0", "", "yes", "TRUE"):
                found = read(f"<{tag}provide-{name}>{value}</{tag}provide-{name}>")
                self.assertEqual(found, Permissions.none(), name)
            found = read(f"<{other}provide-{name}>true</{other}provide-{name}>")
            self.assertEqual(found, Permissions.none(), name)

    def test_levels(self) -> None:
        """XDM-142: user-input has four levels, geopriv two."""
        for value, level in (("false", 0), ("bare", 10), ("thresholds", 20), ("full", 30)):
            found = read(f"<provide-user-input>{value}</provide-user-input>")
            self.assertEqual(found.user_input, level)
        twice = (
            "<provide-user-input>full</provide-user-input>"
            "<provide-user-input>bare</provide-user-input>"
        )
        self.assertEqual(read(twice).user_input, UserInput.FULL)
        self.assertEqual(read("<provide-user-input>true</provide-user-input>").user_input, 0)
        self.assertEqual(
            read("<op:provide-geopriv>full</op:provide-geopriv>").attributes, {"geopriv"}
        )
        for value in ("false", "true", ""):
            found = read(f"<op:provide-geopriv>{value}</op:provide-geopriv>")
            self.assertEqual(found, Permissions.none())

    def test_sets(self) -> None:
        """XDM-141: members by kind and value; what is not understood selects nothing."""
        common = (
            "<class> a \n b</class><occurrence-id>id1</occurrence-id><x:age>9</x:age><class/>"
            "<deviceID>mac:1</deviceID><service-uri>sip:a@b</service-uri>"
            "<service-uri-scheme>sip</service-uri-scheme><op:service-id>s:1</op:service-id>"
        )
        both = {("class", "a b"), ("occurrence-id", "id1")}
        self.assertEqual(read(f"<provide-persons>{common}</provide-persons>").persons, both)
        self.assertEqual(
            read(f"<provide-devices>{common}</provide-devices>").devices,
            both | {("deviceID", "mac:1")},
        )
        self.assertEqual(
            read(f"<provide-services>{common}</provide-services>").services,
            both
            | {
                ("service-uri", "sip:a@b"),
                ("service-uri-scheme", "sip"),
                ("service-id", "s:1"),
            },
        )

    def test_everything(self) -> None:
        """XDM-141: the ``all`` member is for its own sort, and others add nothing to it."""
        found = read("<provide-persons><all-persons/></provide-persons>")
        self.assertEqual(found, Permissions(persons=EVERYTHING))
        found = read("<provide-services><class>a</class><all-services/></provide-services>")
        self.assertEqual(found, Permissions(services=EVERYTHING))
        found = read("<provide-devices><all-devices/></provide-devices>")
        self.assertEqual(found, Permissions(devices=EVERYTHING))
        found = read("<provide-devices><all-persons/><all-services/></provide-devices>")
        self.assertEqual(found, Permissions.none())
        self.assertEqual(
            combine([Permissions(persons=EVERYTHING), Permissions(all_attributes=True)]),
            read("<provide-all-attributes/><provide-persons><all-persons/></provide-persons>"),
        )

    def test_unknown_attributes(self) -> None:
        """XDM-144: unknown attributes by expanded name, none that has its own permission."""
        form = '<provide-unknown-attribute name="%s" ns="%s">%s</provide-unknown-attribute>'
        found = read(
            form % ("a", "urn:x", "true") + form % ("a", "urn:y", "1") + form % ("b", "urn:x", "0")
        )
        self.assertEqual(found, Permissions(unknown=frozenset({"{urn:x}a", "{urn:y}a"})))
        for name, namespace in (
            ("mood", "urn:ietf:params:xml:ns:pidf:rpid"),
            ("away", "urn:ietf:params:xml:ns:pidf:rpid"),
            ("note", "urn:ietf:params:xml:ns:pidf"),
            ("note", "urn:ietf:params:xml:ns:pidf:data-model"),
            ("person", "urn:ietf:params:xml:ns:pidf:data-model"),
            ("geopriv", "urn:ietf:params:xml:ns:pidf:geopriv10"),
            ("willingness", "urn:oma:xml:prs:pidf:oma-pres"),
            ("x:a", "urn:x"),
            ("", "urn:x"),
            ("a", ""),
        ):
            self.assertEqual(read(form % (name, namespace, "true")), Permissions.none(), name)
        # no permission of its own: OMA has none for it
        tag = "{urn:oma:xml:prs:pidf:oma-pres}reach"
        self.assertEqual(read(form % ("reach", tag[1:-6], "true")).unknown, {tag})

    def test_ignored(self) -> None:
        """XDM-95: what the server does not know grants nothing."""
        self.assertEqual(
            read("<x:provide-mood>true</x:provide-mood><provide-money>true</provide-money>"),
            Permissions.none(),
        )


class PermissionsTests(SynchronousTestCase):
    """Tests of :class:`Permissions` and :func:`combine`."""

    def test_equal_effect(self) -> None:
        """RUL-26: permissions of the same effect are equal and have one hash."""
        more = Permissions(
            services=EVERYTHING | {("class", "a")},
            attributes=frozenset({"mood"}),
            unknown=frozenset({"{urn:x}a"}),
            all_attributes=True,
        )
        same = Permissions(services=EVERYTHING, all_attributes=True)
        self.assertEqual(more, same)
        self.assertEqual(hash(more), hash(same))
        self.assertNotEqual(same, Permissions.all())
        self.assertNotEqual(Permissions.none(), Permissions.all())

    def test_combine(self) -> None:
        """XDM-140, RUL-01: OR, maximum and union, each permission on its own."""
        one = read(
            "<provide-services><class>a</class><class>b</class></provide-services>"
            "<provide-mood>true</provide-mood><provide-note>false</provide-note>"
            "<provide-user-input>thresholds</provide-user-input>"
        )
        two = read(
            "<provide-services><class>b</class><occurrence-id>a</occurrence-id></provide-services>"
            "<provide-devices><all-devices/></provide-devices>"
            "<provide-mood>false</provide-mood><provide-user-input>bare</provide-user-input>"
            '<provide-unknown-attribute name="a" ns="urn:x">true</provide-unknown-attribute>'
        )
        self.assertEqual(
            combine([one, two]),
            Permissions(
                services=frozenset({("class", "a"), ("class", "b"), ("occurrence-id", "a")}),
                devices=EVERYTHING,
                attributes=frozenset({"mood"}),
                user_input=UserInput.THRESHOLDS,
                unknown=frozenset({"{urn:x}a"}),
            ),
        )
        self.assertEqual(combine([]), Permissions.none())
        self.assertTrue(combine([one, Permissions(all_attributes=True)]).all_attributes)

    @given(PERMISSIONS, PERMISSIONS, PERMISSIONS)
    def test_combine_laws(self, a: Permissions, b: Permissions, c: Permissions) -> None:
        """RUL-01: order, grouping and repetition of rules do not matter."""
        self.assertEqual(combine([a, b]), combine([b, a]))
        self.assertEqual(combine([a, a]), a)
        self.assertEqual(combine([a, b, c]), combine([combine([a, b]), c]))
        self.assertEqual(combine([a, Permissions.none()]), a)
        self.assertEqual(combine([a, Permissions.all()]), Permissions.all())
