"""Tests of :mod:`presence.rules.sphere`."""

from __future__ import annotations

from lxml import etree
from twisted.trial.unittest import SynchronousTestCase

from presence.pidf.instant import instant
from presence.pidf.parse import parse_compact
from presence.rules.transform import sphere_of
from tests.presence.documents import document

NOW = instant("2026-01-05T12:00:00Z") or 0.0


def person(*spheres: str) -> etree._Element:
    """A document with one person that has these spheres."""
    inner = "".join(spheres)
    return parse_compact(document(f'<dm:person id="p1">{inner}</dm:person>'))


WORK = "<r:sphere><r:work/></r:sphere>"
HOME = "<r:sphere><r:home/></r:sphere>"
OTHER = "<r:sphere><x:club/></r:sphere>"


class SphereTests(SynchronousTestCase):
    """Tests of :func:`sphere_of`."""

    def test_none(self) -> None:
        """XDM-116: without any sphere it is undefined."""
        self.assertIsNone(sphere_of([], NOW))
        self.assertIsNone(sphere_of([person()], NOW))
        self.assertIsNone(sphere_of([person("<r:sphere/>"), person("<r:sphere> </r:sphere>")], NOW))

    def test_agreement(self) -> None:
        """XDM-116, RPI-04: at least one person has it, and all that have it agree."""
        self.assertEqual(sphere_of([person(WORK)], NOW), "work")
        self.assertEqual(sphere_of([person(), person(WORK), person(WORK)], NOW), "work")
        self.assertIsNone(sphere_of([person(WORK), person(HOME)], NOW))
        two = document(f'<dm:person id="a">{WORK}</dm:person><dm:person id="b">{HOME}</dm:person>')
        self.assertIsNone(sphere_of([parse_compact(two)], NOW))

    def test_value(self) -> None:
        """XDM-125: the local name of the child, of whatever namespace, else the text."""
        self.assertEqual(sphere_of([person(OTHER)], NOW), "club")
        self.assertEqual(
            sphere_of([person("<r:sphere> at\n the club </r:sphere>")], NOW), "at the club"
        )
        self.assertEqual(
            sphere_of([person("<r:sphere>Work</r:sphere>"), person(WORK)], NOW), "Work"
        )
        self.assertEqual(sphere_of([person("<r:sphere><r:unknown/></r:sphere>")], NOW), "unknown")
        self.assertIsNone(sphere_of([person("<r:sphere><x:club/><x:bar/></r:sphere>")], NOW))

    def test_elsewhere(self) -> None:
        """XDM-116: only persons have a sphere, and only they themselves."""
        root = parse_compact(
            document(
                f'<tuple id="t"><status/>{WORK}</tuple>'
                f'<dm:person id="p"><x:was>{WORK}</x:was></dm:person>'
                f'<dm:device id="d">{WORK}<dm:deviceID>mac:1</dm:deviceID></dm:device>{WORK}'
            )
        )
        self.assertIsNone(sphere_of([root], NOW))

    def test_time(self) -> None:
        """XDM-125: from and until that exclude now, the end included, leave it out."""
        for times, applies in (
            ('from="2026-01-05T12:00:00Z"', True),
            ('from="2026-01-05T12:00:01Z"', False),
            ('until="2026-01-05T12:00:00Z"', False),
            ('until="2026-01-05T13:00:01+01:00"', True),
            ('from="2026-01-05T11:00:00Z" until="2026-01-05T13:00:00Z"', True),
            ('from="2026-01-05T11:00:00Z" until="2026-01-05T11:30:00Z"', False),
            ('from="soon"', False),
            ('until="late"', False),
        ):
            timed = person(f"<r:sphere {times}><r:home/></r:sphere>")
            self.assertEqual(sphere_of([timed], NOW), "home" if applies else None, times)
            both = sphere_of([timed, person(WORK)], NOW)
            self.assertEqual(both, None if applies else "work", times)
