"""Rich presence as lines of text, whatever its source has written."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import Any

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree
from twisted.trial.unittest import SynchronousTestCase

from presence.commands.details import MOST, doings, lines
from presence.pidf.instant import instant
from presence.pidf.parse import parse
from presence.pidf.summary import latest_person, reachable, summarise
from tests.presence.documents import document, vector

MORNING = instant("2026-01-05T10:00:00Z") or 0.0
EVENING = instant("2026-01-05T19:30:00Z") or 0.0
_SPACES = (
    ("ts", "urn:ietf:params:xml:ns:pidf:timed-status", "timed-status basic note"),
    ("ci", "urn:ietf:params:xml:ns:pidf:cipid", "display-name icon"),
    ("ca", "urn:ietf:params:xml:ns:pidf:caps", "servcaps audio mobility supported mobile"),
    ("gp", "urn:ietf:params:xml:ns:pidf:geopriv10", "geopriv location-info method"),
    ("cv", "urn:ietf:params:xml:ns:pidf:geopriv10:civicAddr", "civicAddress A1 RD"),
    ("g", "http://www.opengis.net/gml", "Point pos radius"),
)
NAMES = (
    *("tuple", "status", "basic", "contact", "note", "timestamp"),
    *("dm:person", "dm:device", "dm:deviceID", "dm:note", "dm:timestamp", "x:thing"),
    *("r:activities", "r:mood", "r:other", "r:meeting", "r:note", "r:sphere", "r:place-is"),
    *("r:user-input", "r:time-offset", "r:status-icon", "r:relationship", "r:audio", "r:class"),
    *("op:service-description", "op:service-id", "op:version", "op:willingness", "op:basic"),
    *("op:network-availability", "op:network", "op:active", "op:overriding-willingness"),
    *(
        f'{prefix}:{name} xmlns:{prefix}="{space}"'
        for prefix, space, names in _SPACES
        for name in names.split()
    ),
)
ATTRIBUTES = (
    "",
    "",
    ' from="2026-01-05T12:00:00Z"',
    ' from="0000-00-00T00:00:00Z" until="99999-01-01T00:00:00Z"',
    ' description="\u202ez" priority="NaN" id="&#x9b;"',
    ' last-input="2026-01-05T09:00:00+99:99" idle-threshold="x"',
)


def texts(value: Any) -> Iterator[str]:
    """All strings in a value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from texts(each)
    elif isinstance(value, tuple | list):
        for each in value:
            yield from texts(each)


class DetailTests(SynchronousTestCase):
    """What ``presencectl watch`` shows below the status."""

    def setUp(self) -> None:
        """Be in Greenwich."""
        before = os.environ.get("TZ")

        def leave() -> None:
            if before is None:
                del os.environ["TZ"]
            else:
                os.environ["TZ"] = before
            time.tzset()

        os.environ["TZ"] = "UTC0"
        time.tzset()
        self.addCleanup(leave)

    def test_rich(self) -> None:
        """Everything has its line, aligned; icons are links (issue 4, item 7)."""
        summary = summarise(vector("valid-rich"))
        self.assertEqual(
            lines(summary, MORNING),
            [
                "person       Bob Builder; dinner (from 19:00 until 20:00); at convention-center; "
                "around: audio noisy, video ok; sphere work; private: text; UTC+1:00 (Berlin); "
                "willing",
                "service      Push-to-talk (org.openmobilealliance:PoC-session 1.0); open; "
                "sip:bob@192.0.2.7; willing; not in a session; registered; "
                'can audio, principal, de; class friends; "Talk to me"',
                'planned      closed from 2026-01-06 08:00 until 2026-01-06 09:30 "dentist"',
                "service      closed; tel:+4930123456; of assistant",
                'device       "mobile"; IMS connected; GPRS not connected; idle since 09:50; '
                "urn:uuid:d27459b7-8213-4395-aa77-ed859a3e5b3a",
                "location     52.5163, 13.3777 (GPS)",
                "location     floor 2, Pariser Platz 1, 10117 Berlin, DE",
                "status-icon  https://icons.home.example/fair.png",
                "card         https://home.example/bob.vcf",
                "homepage     https://home.example/bob",
                "icon         https://home.example/bob.png",
                "map          https://home.example/map.png",
                "sound        https://home.example/bob.mp3",
            ],
        )

    def test_doings(self) -> None:
        """What begins later is not done yet (RPI-02)."""
        person = latest_person(summarise(vector("valid-rich")))
        fair = 'meeting, stand-up "at the fair"'
        self.assertEqual(doings(person, MORNING), [f"{fair} (until 18:00)", "happy, relaxed"])
        self.assertEqual(doings(person, EVENING), [fair, "dinner (until 20:00)", "happy, relaxed"])
        self.assertEqual(doings(None, MORNING), [])

    def test_nothing_more(self) -> None:
        """A lone service that only says whether it is open has no line."""
        for name in ("valid-minimal", "valid-empty", "valid-extensions"):
            self.assertEqual(lines(summarise(vector(name)), MORNING), [])

    def test_overlapping(self) -> None:
        """Timed statuses that overlap are all shown, the past as well (TIM-03, TIM-02)."""
        space = 'xmlns:ts="urn:ietf:params:xml:ns:pidf:timed-status"'
        timed = "".join(
            f'<ts:timed-status {space} from="2026-01-0{day}T08:00:00Z" '
            'until="2026-01-09T08:00:00Z"><ts:basic>closed</ts:basic></ts:timed-status>'
            for day in (4, 6, 7)
        )
        body = document(f'<tuple id="t"><status><basic>open</basic></status>{timed}</tuple>')
        shown = lines(summarise(body), MORNING)
        self.assertEqual([line.split()[0] for line in shown], ["before", "planned", "planned"])
        self.assertIn("from 2026-01-04 08:00 until 2026-01-09 08:00", shown[0])

    def test_order_of_locations(self) -> None:
        """The first device with a location first, then services, the person last (LOC-02)."""
        place = (
            '<gp:geopriv xmlns:gp="urn:ietf:params:xml:ns:pidf:geopriv10"><gp:location-info>'
            '<c:civicAddress xmlns:c="urn:ietf:params:xml:ns:pidf:geopriv10:civicAddr">'
            "<c:A1>{}</c:A1></c:civicAddress></gp:location-info><gp:usage-rules/></gp:geopriv>"
        )
        tuple_ = '<tuple id="{0}"><status>{1}</status>{2}</tuple>'
        body = document(
            tuple_.format("t", place.format("C"), "")
            + tuple_.format("u", "", place.format("D"))
            + f'<dm:person id="p">{place.format("E")}</dm:person>'
            + "".join(
                f'<dm:device id="{name}">{where}<dm:deviceID>mac:{name}</dm:deviceID></dm:device>'
                for name, where in (("e", ""), ("f", place.format("A")), ("g", place.format("B")))
            )
        )
        shown = [line.split() for line in lines(summarise(body), MORNING)]
        told = [words[1] for words in shown if words[0] == "location"]
        self.assertEqual(told, ["A", "B", "C", "D", "E"])

    def test_several_persons(self) -> None:
        """What the person to believe does stands above, what others do in their lines (WAT-07)."""
        body = document(
            '<dm:person id="a"><r:activities><r:meal/></r:activities>'
            "<dm:timestamp>2026-01-05T09:00:00Z</dm:timestamp></dm:person>"
            '<dm:person id="b"><r:activities><r:tv/></r:activities><r:class>home</r:class>'
            "<dm:timestamp>2026-01-05T09:30:00Z</dm:timestamp></dm:person>"
        )
        summary = summarise(body)
        self.assertEqual(doings(latest_person(summary), MORNING), ["tv"])
        self.assertEqual(lines(summary, MORNING), ["person       meal", "person       class home"])

    def test_odd_values(self) -> None:
        """Values that make no sense are left out or shown as they are, and never fail."""
        body = document(
            '<dm:person id="a"><r:time-offset description="Moon">99999</r:time-offset>'
            '<r:activities from="soon" until="9999999-01-01T00:00:00Z"><r:away/></r:activities>'
            "<r:user-input last-input='-0044-03-15T12:00:00Z'>idle</r:user-input></dm:person>"
            '<dm:device id="d"><op:network-availability><op:network/></op:network-availability>'
            "</dm:device>"
        )
        summary = summarise(body)
        self.assertEqual(lines(summary, MORNING), ["person       idle; Moon"])
        self.assertEqual(doings(latest_person(summary), MORNING), ["away"])

    @settings(max_examples=150, deadline=None)
    @given(st.data())
    def test_any(self, data: st.DataObject) -> None:
        """Whatever stands wherever, there are lines of printable text, and no failure."""

        def element(depth: int) -> str:
            name = data.draw(st.sampled_from(NAMES))
            spans = data.draw(st.sampled_from(ATTRIBUTES))
            count = data.draw(st.integers(0, 3)) if depth < 4 else 0
            inner = "".join(element(depth + 1) for _ in range(count))
            text = data.draw(st.sampled_from(("", "", "open", "closed", "7", "-1e9", "\u202ex")))
            return f"<{name}{spans}>{text}{inner}</{name.partition(' ')[0]}>"

        summary = summarise(document("".join(element(0) for _ in range(3))))
        for text in (*lines(summary, MORNING), *doings(latest_person(summary), EVENING)):
            self.assertTrue(text.isprintable(), ascii(text))
        self.assertIn(reachable(summary), ("", "open", "closed"))

    def test_bounded(self) -> None:
        """A document cannot fill the terminal."""
        tuples = "".join(
            f'<tuple id="t{n}"><status><basic>open</basic></status></tuple>' for n in range(500)
        )
        shown = lines(summarise(document(tuples)), MORNING)
        self.assertEqual(len(shown), MOST)
        self.assertEqual(shown[-1], f"... and {500 - MOST + 1} lines more")

    def test_hostile(self) -> None:
        """No text or attribute reaches the terminal with what moves its cursor."""
        root = parse(vector("valid-rich"))
        for element in root.iter(etree.Element):
            if (element.text or "").strip():
                element.text = f"\u009b2J{element.text}\u202e\u0085x\u009d0;owned\u009c"
            for name in element.attrib:
                element.set(name, f"\u009b31m{element.get(name)}\u2028")
        summary = summarise(etree.tostring(root))
        for text in (*texts(attrs.asdict(summary)), *lines(summary, MORNING)):
            self.assertTrue(text.isprintable(), ascii(text))
        self.assertIn("2JBob Builder x0;owned", lines(summary, MORNING)[0])
