"""Every element of a presence document that the standards name, on its way to a watcher.

Tables as in RFC 4480 (section 5.1 and table 1), RFC 4481, RFC 4482, RFC 5196, RFC 4119 and
OMA's presence information: what is written here is taken, composed and given by permission.
"""

from __future__ import annotations

from typing import Any

import attrs
from lxml import etree
from twisted.trial.unittest import SynchronousTestCase

from presence.compose.oma import OmaComposition
from presence.pidf import names
from presence.pidf.parse import DocumentError, parse_compact
from presence.rules.permissions import (
    ATTRIBUTES,
    EVERYTHING,
    Permissions,
    UserInput,
    combine,
)
from presence.rules.transform import transform
from tests.presence.compositions import publication
from tests.presence.documents import BOB, document, lenient, strict

P, T, D = "person", "tuple", "device"
NAMESPACES = (
    ' xmlns:lt="urn:ietf:params:xml:ns:location-type"'
    ' xmlns:ts="urn:ietf:params:xml:ns:pidf:timed-status"'
    ' xmlns:ci="urn:ietf:params:xml:ns:pidf:cipid"'
    ' xmlns:caps="urn:ietf:params:xml:ns:pidf:caps"'
    ' xmlns:gp="urn:ietf:params:xml:ns:pidf:geopriv10"'
    ' xmlns:gbp="urn:ietf:params:xml:ns:pidf:geopriv10:basicPolicy"'
    ' xmlns:ca="urn:ietf:params:xml:ns:pidf:geopriv10:civicAddr"'
    ' xmlns:gml="http://www.opengis.net/gml"'
    ' xmlns:pde="urn:oma:xml:pde:pidf:ext"'
)


def empty(prefix: str, values: str) -> tuple[str, ...]:
    """Elements without content, by their names."""
    return tuple(f"<{prefix}:{name}/>" for name in values.split())


ACTIVITIES = empty(
    "r",
    "appointment away breakfast busy dinner holiday in-transit looking-for-work lunch meal meeting"
    " on-the-phone performance permanent-absence playing presentation shopping sleeping spectator"
    " steering travel tv vacation working worship unknown",
)
MOODS = empty(
    "r",
    "afraid amazed angry annoyed anxious ashamed bored brave calm cold confused contented cranky"
    " curious depressed disappointed disgusted distracted embarrassed excited flirtatious"
    " frustrated grumpy guilty happy hot humbled humiliated hungry hurt impressed in_awe in_love"
    " indignant interested invincible jealous lonely mean moody nervous neutral offended playful"
    " proud relieved remorseful restless sad sarcastic serious shocked shy sick sleepy stressed"
    " surprised thirsty worried unknown",
)
PLACES = empty(
    "lt",
    "aircraft airport arena automobile bank bar bicycle bus bus-station cafe classroom club"
    " construction convention-center government hospital hotel industrial library motorcycle"
    " office outdoors parking place-of-worship prison public public-transport residence restaurant"
    " school shopping-area stadium store street theater train train-station truck underway unknown"
    " warehouse water watercraft",
)
OTHER = "<r:other>in other words</r:other>"
FOREIGN = "<x:yodelling/>"


@attrs.frozen
class Row:
    """An element that is known.

    :ivar where: the kinds of components that it belongs to.
    :ivar contents: each a content it may have.
    :ivar permission: what opens it; "" when it is always given, None with all attributes only.
    :ivar attributes: attributes it may have, all at once.
    """

    name: str
    where: tuple[str, ...]
    contents: tuple[str, ...]
    permission: str | None
    attributes: str = ""

    def markup(self, content: str, id: str = "") -> str:
        """The element."""
        own = f' id="{id}"' if id else ""
        return f"<{self.name}{own}{self.attributes}>{content}</{self.name}>"


TIMED = ' from="2026-01-01T00:00:00Z" until="2030-01-01T00:00:00+01:00"'
RPID = (
    Row(
        "r:activities",
        (P,),
        (*ACTIVITIES, OTHER, FOREIGN, "<r:note>n</r:note><r:away/><r:busy/>" + FOREIGN),
        "activities",
        TIMED,
    ),
    Row("r:class", (P, T, D), ("forFriends",), "class"),
    Row("r:mood", (P,), (*MOODS, OTHER, FOREIGN, "<r:note>n</r:note><r:sad/><r:shy/>"), "mood"),
    Row(
        "r:place-is",
        (P,),
        (
            *(f"<r:audio><r:{name}/></r:audio>" for name in ("noisy", "ok", "quiet", "unknown")),
            *(f"<r:video><r:{name}/></r:video>" for name in ("toobright", "ok", "dark", "unknown")),
            *(
                f"<r:text><r:{name}/></r:text>"
                for name in ("uncomfortable", "inappropriate", "ok", "unknown")
            ),
            "<r:note>n</r:note><r:audio><r:ok/></r:audio><r:text><r:ok/></r:text>",
        ),
        "place-is",
        TIMED,
    ),
    Row("r:place-type", (P,), (*PLACES, "".join(PLACES[:2]), OTHER, FOREIGN), "place-type", TIMED),
    Row(
        "r:privacy",
        (P, T),
        ("<r:unknown/>", "<r:audio/>", "<r:text/>", "<r:video/>", "<r:audio/><r:text/>" + FOREIGN),
        "privacy",
        TIMED,
    ),
    Row(
        "r:relationship",
        (T,),
        (
            *empty("r", "assistant associate family friend self supervisor unknown"),
            OTHER,
            FOREIGN,
            "<r:note>n</r:note><r:friend/>",
        ),
        "relationship",
    ),
    Row(
        "r:service-class",
        (T,),
        (*empty("r", "courier electronic freight in-person postal unknown"), FOREIGN),
        "",
    ),
    Row("r:sphere", (P,), ("", *empty("r", "home work unknown"), FOREIGN), "sphere", TIMED),
    Row(
        "r:status-icon",
        (P, T),
        ("http://www.example.com/i.png", "https://www.example.com/i.png", "cid:i@example.com"),
        "status-icon",
        TIMED,
    ),
    Row("r:time-offset", (P,), ("-240", "0", "+330"), "time-offset", ' description="x"' + TIMED),
    Row(
        "r:user-input",
        (P, T, D),
        ("active", "idle"),
        "user-input",
        ' idle-threshold="600" last-input="2026-01-05T10:00:00.5-05:00"',
    ),
)
BASIC = ("<op:basic>open</op:basic>", "<op:basic>closed</op:basic>", "", FOREIGN)
OMA = (
    Row(
        "op:service-description",
        (T,),
        (
            "<op:service-id>org.openmobilealliance:PoC-session</op:service-id>"
            "<op:version>1.0</op:version>",
        ),
        "",
    ),
    Row("op:willingness", (T,), BASIC, "willingness", ' pde:until="2030-01-01T00:00:00Z"'),
    Row("op:session-participation", (T,), BASIC, "session-participation"),
    Row("op:registration-state", (T,), ("active", "terminated"), "registration-state"),
    Row("op:barring-state", (T,), ("active", "terminated"), "barring-state"),
    Row("op:overriding-willingness", (P,), BASIC, "willingness"),
    Row(
        "op:network-availability",
        (D,),
        (
            '<op:network id="IMS"><op:active/></op:network>',
            '<op:network id="IMS"><op:terminated/></op:network>',
            '<op:network id="of nobody\'s list"/><op:network id="CS"><op:active/></op:network>',
        ),
        "network-availability",
    ),
)
RULES = (
    "<gbp:retransmission-allowed>false</gbp:retransmission-allowed>"
    "<gbp:retention-expiry>2030-01-01T00:00:00Z</gbp:retention-expiry>"
    "<gbp:external-ruleset>https://rules.example.com/bob</gbp:external-ruleset>"
    "<gbp:note-well xml:lang='en'>for friends</gbp:note-well>"
)
CIVIC = (
    "<gp:location-info><ca:civicAddress><ca:country>DE</ca:country><ca:A1>Bavaria</ca:A1>"
    "<ca:A3>Munich</ca:A3></ca:civicAddress></gp:location-info>"
)
POINT = (
    '<gp:location-info><gml:Point srsName="urn:ogc:def:crs:EPSG::4326"><gml:pos>48.1 11.6</gml:pos>'
    "</gml:Point></gp:location-info>"
)
LOCATION = Row(
    "gp:geopriv",
    (P, T, D),
    (
        f"{CIVIC}<gp:usage-rules/>",
        f"{POINT}<gp:usage-rules>{RULES}</gp:usage-rules><gp:method>A-GPS</gp:method>",
        f"{CIVIC}<gp:usage-rules>{RULES}</gp:usage-rules><gp:provided-by><x:who/></gp:provided-by>",
    ),
    "geopriv",
)
CIPID = tuple(
    Row(f"ci:{name}", (P,), (content,), None)
    for name, content in (
        ("card", "https://www.example.com/bob.vcf"),
        ("display-name", "Bob Builder"),
        ("homepage", "https://www.example.com/"),
        ("icon", "https://www.example.com/bob.jpeg"),
        ("map", "https://www.example.com/map.png"),
        ("sound", "https://www.example.com/bob.mp3"),
    )
)
_EITHER = "<caps:supported>{0}</caps:supported><caps:notsupported>{1}</caps:notsupported>"
SERVCAPS = (
    "".join(
        f"<caps:{name}>{content}</caps:{name}>"
        for name, content in (
            ("actor", _EITHER.format("<caps:principal/>", "<caps:principal/>")),
            ("application", "false"),
            ("audio", "true"),
            ("automata", "0"),
            ("class", _EITHER.format("<caps:business/>", "<caps:personal/>")),
            ("control", "false"),
            ("data", "1"),
            ("description", "in words"),
            ("duplex", _EITHER.format("<caps:full/>", "<caps:half/>")),
            ("event-packages", _EITHER.format("<caps:presence/>", "<caps:refer/>")),
            ("extensions", _EITHER.format("<caps:rel100/>", "<caps:timer/>")),
            ("isfocus", "true"),
            ("message", "true"),
            ("methods", _EITHER.format("<caps:INVITE/>", "<caps:BYE/>")),
            ("languages", _EITHER.format("<caps:l>en</caps:l>", "<caps:l>de</caps:l>")),
            (
                "priority",
                _EITHER.format('<caps:higherthan minvalue="1"/>', '<caps:higherhan minvalue="1"/>'),
            ),
            ("schemes", _EITHER.format("<caps:s>sip</caps:s>", "<caps:s>tel</caps:s>")),
            ("text", "true"),
            ("type", "text/html"),
            ("video", "true"),
        )
    )
    + "<x:more/>"
)
DEVCAPS = (
    "<caps:description>d</caps:description>"
    "<caps:mobility><caps:supported><caps:mobile/></caps:supported></caps:mobility>"
)
CAPABILITIES = (
    Row("caps:servcaps", (T,), (SERVCAPS,), None),
    Row("caps:devcaps", (D,), (DEVCAPS,), None),
)
FUTURE = '<ts:timed-status from="2030-01-01T00:00:00Z"><ts:basic>open</ts:basic></ts:timed-status>'


def component(kind: str, id: str, inner: str, status: str = "") -> str:
    """A tuple, person or device around extensions."""
    if kind == T:
        return (
            f'<tuple id="{id}"><status>{status}</status>{inner}<contact>sip:1@h</contact></tuple>'
        )
    device = "<dm:deviceID>mac:1</dm:deviceID>" if kind == D else ""
    return f'<dm:{kind} id="{id}">{inner}{device}</dm:{kind}>'


def about(*components: str) -> bytes:
    """A document of components, checked to be valid by all schemas."""
    body = document("".join(components), NAMESPACES)
    found = strict(body)
    assert found is body
    return body


def compose(*bodies: bytes) -> bytes:
    """OMA's composition, oldest first; valid."""
    made = [publication(number, body) for number, body in enumerate(bodies, 1)]
    found = OmaComposition().compose(BOB, made)
    assert strict(found) is found
    return found


def element(body: bytes, name: str) -> bytes:
    """The first element of a name, in canonical XML."""
    root = parse_compact(body)
    prefix, _, local = name.partition(":")
    found = root.find(f".//{{{root.nsmap[prefix]}}}{local}")
    assert found is not None
    text: bytes = etree.tostring(found, method="c14n", exclusive=True, with_tail=False)
    return text


def opened(*attributes: Any, **fields: Any) -> Permissions:
    """All components, with these attributes."""
    components = Permissions(EVERYTHING, EVERYTHING, EVERYTHING)
    return combine([components, Permissions(attributes=frozenset(attributes), **fields)])


def with_permission(name: str | None) -> Permissions:
    """What :class:`Row` says of a permission."""
    if name is None:
        return opened(all_attributes=True)
    if name == "user-input":
        return opened(user_input=UserInput.FULL)
    return opened(*filter(None, [name]))


def without_permission(name: str | None) -> Permissions:
    """Every permission but one."""
    given: set[Any] = {*ATTRIBUTES} - {name}
    return opened(*given, user_input=UserInput.NONE if name == "user-input" else UserInput.FULL)


class ElementTests(SynchronousTestCase):
    """Each element, in each place, with each content."""

    def check(self, rows: tuple[Row, ...]) -> None:
        """Take, compose and give."""
        for row in rows:
            for kind in row.where:
                for content in row.contents:
                    self.pass_through(row, kind, content)
                self.conflict(row, kind)
                self.withheld(row, kind)

    def pass_through(self, row: Row, kind: str, content: str) -> None:
        """Two sources say it, in other words: one component, and the watcher sees it."""
        has_id = row.name.startswith("r:") and row.permission not in ("class", "", "relationship")
        first = about(component(kind, "a", row.markup(content, "i" if has_id else "")))
        second = about(component(kind, "b", row.markup(content) + "<x:more/>"))
        composed = compose(first, second)
        self.assertEqual(len(parse_compact(composed)), 1, f"{row.name} {content}")
        self.assertEqual(element(composed, row.name), element(first, row.name))
        seen = transform(composed, with_permission(row.permission))
        self.assertEqual(element(seen, row.name), element(first, row.name))
        self.assertIs(strict(seen), seen)

    def conflict(self, row: Row, kind: str) -> None:
        """Of what is not the same two stay, of a device the newer one."""
        if len(row.contents) < 2:
            return
        bodies = [
            about(component(kind, id, row.markup(content)))
            for id, content in zip("ab", row.contents, strict=False)
        ]
        root = parse_compact(compose(*bodies))
        self.assertEqual(len(root), 1 if kind == D else 2, row.name)

    def withheld(self, row: Row, kind: str) -> None:
        """Without its permission it is not seen, whatever else is given."""
        body = about(component(kind, "a", row.markup(row.contents[-1])))
        seen = transform(body, without_permission(row.permission))
        self.assertEqual(f"<{row.name}".encode() in seen, row.permission == "", row.name)
        self.assertIs(strict(seen), seen)

    def test_rpid(self) -> None:
        """RPI-01, RPI-06: all of RFC 4480 is known to composition and rules; the rest passes."""
        self.check(RPID)

    def test_oma(self) -> None:
        """OMA-D01, OMA-D05: OMA's seven elements, with networks of any id."""
        self.check(OMA)
        self.assertEqual(len(OMA), 7)

    def test_cipid(self) -> None:
        """CIP-01: contact information comes with all attributes only, or by name."""
        self.check(CIPID)
        body = about(component(P, "a", CIPID[0].markup(CIPID[0].contents[0])))
        card = frozenset({f"{{{names.CIPID}}}card"})
        self.assertIn(b"<ci:card>", transform(body, opened(unknown=card)))

    def test_capabilities(self) -> None:
        """CAP-01, CAP-02: capabilities pass as they are; to rules they are unknown attributes."""
        self.check(CAPABILITIES)
        for row in CAPABILITIES:
            local = row.name.partition(":")[2]
            body = about(component(row.where[0], "a", row.markup(row.contents[0])))
            for tag, seen in ((f"{{{names.CAPS}}}{local}", True), (f"{{urn:x}}{local}", False)):
                view = transform(body, opened(*ATTRIBUTES, unknown=frozenset({tag})))
                self.assertEqual(f"<{row.name}".encode() in view, seen)

    def test_icons(self) -> None:
        """OMA-D07: an icon is a URL or stands beside the document; either is told as it is."""
        for icon in ("https://content.example.com/pres-content/bob/i.png", "cid:i@example.com"):
            for kind in (P, T):
                body = about(component(kind, "a", f"<r:status-icon>{icon}</r:status-icon>"))
                self.assertIn(icon.encode(), transform(body, opened("status-icon")))


class LocationTests(SynchronousTestCase):
    """Locations (RFC 4119, RFC 5491)."""

    def test_form(self) -> None:
        """LOC-01: location-info and usage-rules must be there, the rules may be empty."""
        for content in LOCATION.contents:
            about(component(T, "a", LOCATION.markup(content)))
        for content in (CIVIC, "<gp:usage-rules/>", f"<gp:usage-rules/>{CIVIC}", ""):
            body = document(component(T, "a", LOCATION.markup(content)), NAMESPACES)
            self.assertRaises(DocumentError, strict, body)
            self.assertNotIn(b"geopriv>", lenient(body))
        rules = "<gp:usage-rules><gbp:retention-expires>2030-01-01</gbp:retention-expires>"
        body = document(
            component(T, "a", LOCATION.markup(f"{CIVIC}{rules}</gp:usage-rules>")), NAMESPACES
        )
        self.assertRaises(DocumentError, strict, body)

    def test_places(self) -> None:
        """LOC-02, LOC-06: in person, device, tuple and status; each stays where it is."""
        for content in LOCATION.contents:
            here = LOCATION.markup(content)
            both = [
                component(T, "t", "", status=here),
                component(T, "u", here).replace("sip:1@h", "sip:2@h"),
                component(P, "p", here),
                component(D, "d", here),
            ]
            body = about(*both)
            composed = compose(body, about(component(P, "q", "<r:mood><r:sad/></r:mood>")))
            self.assertEqual(
                [
                    len(list(child.iter(names.GEOPRIV_OBJECT)))
                    for child in sorted(parse_compact(composed), key=lambda child: child.get("id"))
                ],
                [1, 1, 1, 1],
            )

    def test_permission(self) -> None:
        """LOC-04: only by its own permission or with all attributes, and never without rules."""
        row = LOCATION
        for kind, status in ((P, False), (T, False), (D, False), (T, True)):
            for content in row.contents:
                here = row.markup(content)
                body = about(component(kind, "a", *(("", here) if status else (here,))))
                for given in (opened("geopriv"), opened(all_attributes=True)):
                    seen = transform(body, combine([given, opened("geopriv")]))
                    root = parse_compact(seen)
                    location = next(root.iter(names.GEOPRIV_OBJECT))
                    self.assertIsNotNone(location.find(f"{{{names.GEOPRIV}}}usage-rules"))
                    expected = RULES.count("</gbp:") if RULES in content else 0
                    self.assertEqual(seen.count(b"</gbp:"), expected)
                    self.assertIs(strict(seen), seen)
                by_name = frozenset({names.GEOPRIV_OBJECT, f"{{{names.GEOPRIV}}}location-info"})
                for given in (without_permission("geopriv"), opened(unknown=by_name)):
                    self.assertNotIn(b"geopriv", transform(body, given))


class StructureTests(SynchronousTestCase):
    """Components and what belongs to them (RFC 4479, RFC 4481)."""

    def test_components(self) -> None:
        """DMO-01: persons, devices and tuples, in any order among each other, are taken."""
        person = '<dm:person id="p"/>'
        device = '<dm:device id="d"><dm:deviceID>mac:1</dm:deviceID></dm:device>'
        service = '<tuple id="t"><status/></tuple>'
        for inner in (service + person + device, service + device + person):
            about(inner)
        for inner in (person + service + device, device + person + service):
            found = parse_compact(lenient(document(inner)))
            self.assertEqual(found[0].tag, names.TUPLE, "services come first (PID-02)")
            self.assertEqual({child.get("id") for child in found}, {"p", "d", "t"})

    def test_content(self) -> None:
        """DMO-02: ids and deviceID are mandatory, notes and timestamp are of the data model."""
        end = (
            '<dm:note xml:lang="en">one</dm:note><dm:note xml:lang="de">eins</dm:note>'
            "<dm:timestamp>2026-01-05T10:00:00Z</dm:timestamp>"
        )
        about(f'<dm:person id="p"><x:a/>{end}</dm:person>')
        about(f'<dm:device id="d"><x:a/><dm:deviceID>urn:uuid:1</dm:deviceID>{end}</dm:device>')
        for wrong in (
            "<dm:person/>",
            "<dm:device><dm:deviceID>mac:1</dm:deviceID></dm:device>",
            '<dm:device id="d"/>',
            f'<dm:person id="p">{end}<x:a/></dm:person>',
            f'<dm:device id="d">{end}<dm:deviceID>mac:1</dm:deviceID></dm:device>',
            '<dm:person id="p"><dm:timestamp>yesterday</dm:timestamp></dm:person>',
        ):
            self.assertRaises(DocumentError, strict, document(wrong))

    def test_devices_of_a_service(self) -> None:
        """DMO-03: several, in any order, with or without a device of that id."""
        ids = [f"<dm:deviceID>urn:uuid:{number}</dm:deviceID>" for number in (1, 2)]
        first = about(component(T, "a", ids[0] + ids[1]))
        self.assertEqual(
            len(parse_compact(compose(first, about(component(T, "b", ids[1] + ids[0]))))), 1
        )
        self.assertEqual(len(parse_compact(compose(first, about(component(T, "b", ids[0]))))), 2)
        self.assertIs(strict(first), first)

    def test_status_or_tuple(self) -> None:
        """DMO-10: what one source says in status and another in the tuple is not put into both."""
        for one in ("<x:load>1</x:load>", LOCATION.markup(LOCATION.contents[0])):
            inside = about(component(T, "a", "", status=one))
            outside = about(component(T, "b", one))
            for bodies in ((inside, outside), (outside, inside)):
                root = parse_compact(compose(*bodies))
                self.assertEqual(len(root), 2)
                for service in root:
                    status = service.find(names.STATUS)
                    assert status is not None
                    within = {child.tag for child in status}
                    self.assertEqual(within & {child.tag for child in service}, set())

    def test_availability(self) -> None:
        """OMA-D02: whatever OMA's elements say, basic and contact stay what they are."""
        unwilling = (
            "<op:willingness><op:basic>closed</op:basic></op:willingness>"
            "<op:registration-state>terminated</op:registration-state>"
            "<op:barring-state>active</op:barring-state>"
        )
        open_ = "<basic>open</basic>"
        first = about(component(T, "a", "", status=open_))
        second = about(
            component(T, "b", unwilling), component(P, "p", "<op:overriding-willingness/>")
        )
        for seen in (
            compose(first, second),
            transform(compose(first, second), opened("willingness")),
        ):
            (service,) = parse_compact(seen).findall(names.TUPLE)
            self.assertEqual(service.findtext(f"{names.STATUS}/{names.BASIC}"), "open")
            self.assertEqual(service.findtext(names.CONTACT), "sip:1@h")
        # and basic alone decides whether two sources contradict each other about it
        closed = about(component(T, "c", unwilling, status="<basic>closed</basic>"))
        self.assertEqual(len(parse_compact(compose(first, closed))), 2)

    def test_timed_status(self) -> None:
        """TIM-01: a child of the tuple, with ``from``; elsewhere it is refused or dropped."""
        about(component(T, "a", FUTURE))
        about(
            component(
                T,
                "a",
                '<ts:timed-status from="2030-01-01T00:00:00Z" until="2030-01-02T00:00:00Z">'
                "<ts:basic>closed</ts:basic><ts:note>n</ts:note><x:a/></ts:timed-status>",
            )
        )
        wrong = (
            component(T, "a", "<x:a/>", status=FUTURE),
            component(T, "a", FUTURE.replace("</ts:timed", FUTURE + "</ts:timed")),
            component(T, "a", FUTURE.replace(' from="2030-01-01T00:00:00Z"', "")),
            component(T, "a", FUTURE.replace("open", "ajar")),
        )
        for inner in wrong:
            many = "".join(f'<tuple id="t{number}"><status/></tuple>' for number in range(600))
            for whole in (inner, inner + many):
                self.assertRaises(DocumentError, strict, document(whole, NAMESPACES))
        self.assertNotIn(b"<ts:", lenient(document(wrong[0], NAMESPACES)))
        self.assertIn(b"<x:a/>", lenient(document(wrong[0], NAMESPACES)))
        self.assertEqual(lenient(document(wrong[1], NAMESPACES)).count(b"<ts:timed-status"), 1)
