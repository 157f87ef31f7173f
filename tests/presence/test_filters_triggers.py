"""Tests of :mod:`presence.filters.triggers`."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from presence.filters.document import read_filters
from presence.filters.errors import Exhausted
from presence.filters.model import Trigger
from presence.filters.triggers import fired
from tests.presence.documents import document
from tests.presence.test_filters_content import BINDINGS

BASIC = "//p:tuple/p:status/p:basic"


def triggers(*inner: str) -> tuple[Trigger, ...]:
    """Triggers with these contents."""
    bindings = "".join(
        f'<ns-binding prefix="{prefix}" urn="{urn}"/>' for prefix, urn in BINDINGS.items()
    )
    body = (
        '<filter-set xmlns="urn:ietf:params:xml:ns:simple-filter">'
        f'<ns-bindings>{bindings}</ns-bindings><filter id="f"><what><include>//p:x</include></what>'
        f"{''.join(f'<trigger>{each}</trigger>' for each in inner)}</filter></filter-set>"
    )
    return read_filters(body.encode(), "presence").filters[0].triggers


def service(id: str, basic: str = "open", inner: str = "", rest: str = "") -> str:
    """A tuple."""
    return (
        f'<tuple id="{id}"><status><basic>{basic}</basic></status>{inner}'
        f"<contact>sip:{id}@x</contact>{rest}</tuple>"
    )


def value(text: str) -> str:
    """A tuple with a value of our own."""
    return service("t", inner=f"<x:v>{text}</x:v>")


class Triggers(SynchronousTestCase):
    """What checks share."""

    def fires(self, asked: str, before: str, after: str) -> bool:
        """Whether one trigger fires."""
        return fired(triggers(asked), document(before), document(after))


class ChangedTests(Triggers):
    """``<changed>``."""

    def test_any(self) -> None:
        """Without attributes every other value is a change, the same is none (FLT-16)."""
        asked = f"<changed>{BASIC}</changed>"
        self.assertTrue(self.fires(asked, service("a"), service("a", "closed")))
        self.assertFalse(self.fires(asked, service("a"), service("a", rest="<note>n</note>")))

    def test_from_to(self) -> None:
        """From and to name the old and the new value, letter by letter (FLT-16)."""
        to_open, to_closed = ("closed", "open"), ("open", "closed")
        for attributes, change, fires in (
            ('from="closed"', to_open, True),
            ('from="closed"', to_closed, False),
            ('to="open"', to_open, True),
            ('to="open"', to_closed, False),
            ('from="closed" to="open"', to_open, True),
            ('from="closed" to="open"', to_closed, False),
            ('from="CLOSED" to="OPEN"', to_open, False),
            ('from="closed" to="closed"', to_open, False),
            ('to="open"', ("open", "open"), False),
        ):
            before, after = (service("a", basic) for basic in change)
            found = self.fires(f"<changed {attributes}>{BASIC}</changed>", before, f"{after}\n")
            self.assertEqual(found, fires, (attributes, change))

    def test_by(self) -> None:
        """A number that differs by so much, up or down; RFC 4661 section 3.6.1.3 (FLT-16)."""
        for old, new, fires in (
            ("6", "8", True),
            ("6", "7.9", False),
            ("6", "4", True),
            ("6", "4.01", False),
            ("6", "100", True),
            ("6", "x", False),
            ("", "8", False),
            ("6", " +8.0\n", True),
            ("1e1", "1e2", False),
            ("0." + "0" * 40 + "1", "2", False),
            ("0." + "0" * 40 + "1", "2." + "0" * 40 + "1", True),
            ("1" * 100, "5", False),
        ):
            found = self.fires('<changed by="2">//x:v</changed>', value(old), value(new))
            self.assertEqual(found, fires, (old, new))

    def test_by_with_others(self) -> None:
        """All of them hold, compared as numbers (FLT-16)."""
        for attributes, fires in (
            ('from="6"', True),
            ('from="6.0" to="+8"', True),
            ('to="9"', False),
            ('from="7"', False),
        ):
            asked = f'<changed by="2" {attributes}>//x:v</changed>'
            self.assertEqual(self.fires(asked, value("6"), value("8")), fires, attributes)
        self.assertFalse(self.fires('<changed by="0">//x:v</changed>', value("6"), value("6.0")))

    def test_attribute(self) -> None:
        """The value of an attribute (FLT-16)."""
        asked = '<changed to="2">//@x:k</changed>'
        one, two = (service("a", inner=f'<x:v x:k="{number}"/>') for number in "12")
        self.assertTrue(self.fires(asked, one, two))
        self.assertFalse(self.fires(asked, two, one))

    def test_subtree(self) -> None:
        """The value of an element with children is all that it contains (FLT-16)."""
        asked = "<changed>//p:tuple/p:status</changed>"
        self.assertTrue(self.fires(asked, service("a"), service("a", "closed")))
        self.assertFalse(self.fires(asked, service("a"), service("a", rest="<note>n</note>")))
        before = service("a").replace("</basic>", '</basic><x:v x:a="1" x:b="2"/>')
        after = service("a").replace("</basic>", "</basic>  <x:v x:b='2' x:a='1'></x:v>")
        self.assertFalse(self.fires(asked, before, after))

    def test_not_added(self) -> None:
        """What comes or goes has not changed (FLT-16)."""
        asked = f"<changed>{BASIC}</changed>"
        one, two = service("a"), service("b", "closed")
        self.assertFalse(self.fires(asked, one, one + two))
        self.assertFalse(self.fires(asked, one + two, one))
        self.assertFalse(self.fires(asked, one, two))

    def test_order(self) -> None:
        """Tuples are told apart by their ids, not by their places (FLT-16, FLT-17)."""
        one, two = service("a"), service("b", "closed")
        for asked in (
            f"<changed>{BASIC}</changed>",
            "<added>//p:tuple</added>",
            "<removed>//p:contact</removed>",
        ):
            self.assertFalse(self.fires(asked, one + two, two + one), asked)


class ComeAndGoTests(Triggers):
    """``<added>`` and ``<removed>``."""

    def test_elements(self) -> None:
        """An element that was not there, or is not there any more (FLT-17)."""
        added, removed = "<added>//p:note</added>", "<removed>//p:note</removed>"
        without, with_one = service("a"), service("a", rest="<note>n</note>")
        with_two = service("a", rest="<note>n</note><note>m</note>")
        for before, after, comes, goes in (
            (without, with_one, True, False),
            (with_one, without, False, True),
            (with_one, with_two, True, False),
            (with_two, with_one, False, True),
            (with_one, with_one.replace(">n<", ">m<"), False, False),
            (with_one, service("b", rest="<note>n</note>"), True, True),
        ):
            self.assertEqual(self.fires(added, before, after), comes, (before, after))
            self.assertEqual(self.fires(removed, before, after), goes, (before, after))

    def test_attributes(self) -> None:
        """An attribute, likewise (FLT-17)."""
        without, with_one = service("a"), service("a").replace("<contact", '<contact priority="1"')
        self.assertTrue(self.fires("<added>//@priority</added>", without, with_one))
        self.assertFalse(self.fires("<added>//@priority</added>", with_one, without))
        self.assertTrue(self.fires("<removed>//@priority</removed>", with_one, without))

    def test_watchers(self) -> None:
        """Watchers have ids, their lists resource and package (FLT-17)."""

        def winfo(*lists: tuple[str, str]) -> bytes:
            inner = "".join(
                f'<watcher-list resource="{resource}" package="presence">'
                f'<watcher id="{id}" status="active" event="approved">sip:w@x</watcher>'
                "</watcher-list>"
                for resource, id in lists
            )
            return (
                '<watcherinfo xmlns="urn:ietf:params:xml:ns:watcherinfo" version="1" state="full">'
                f"{inner}</watcherinfo>"
            ).encode()

        asked = triggers("<added>//wi:watcher</added>")
        a, b = ("sip:a@x", "1"), ("sip:b@x", "1")
        self.assertFalse(fired(asked, winfo(a, b), winfo(b, a)))
        self.assertTrue(fired(asked, winfo(a), winfo(a, b)))
        self.assertTrue(fired(asked, winfo(a), winfo(("sip:a@x", "2"))))


class CombinationTests(Triggers):
    """Several conditions, several triggers."""

    def test_and_or(self) -> None:
        """Conditions of one trigger hold together; one trigger is enough (FLT-06)."""
        opened = f'<changed to="open">{BASIC}</changed>'
        noted = "<added>//p:note</added>"
        before = document(service("a", "closed"))
        only_open = document(service("a"))
        both = document(service("a", rest="<note>n</note>"))
        self.assertTrue(fired(triggers(opened, noted), before, only_open))
        self.assertFalse(fired(triggers(opened + noted), before, only_open))
        self.assertTrue(fired(triggers(opened + noted), before, both))
        self.assertTrue(fired(triggers("<removed>//p:tuple</removed>", opened), before, both))

    def test_none(self) -> None:
        """Without triggers every change counts, and no change none (FLT-19)."""
        one, two = document(service("a")), document(service("b"))
        self.assertTrue(fired((), one, two))
        self.assertFalse(fired((), one, one))
        self.assertFalse(fired(triggers("<changed>//p:tuple</changed>"), one, one))

    def test_equal(self) -> None:
        """Triggers that say the same are equal, whatever their prefixes."""
        asked = triggers(f"<changed>{BASIC}</changed>")
        self.assertEqual({asked: 1}[triggers(f"<changed> {BASIC}\n</changed>")], 1)
        self.assertNotEqual(asked, triggers(f"<changed to=''>{BASIC}</changed>"))

    def test_cost(self) -> None:
        """What may be spent is bounded (FLT-27)."""
        many = "".join(service(f"t{number}") for number in range(1500))
        before, after = document(many), document(many + service("x"))
        self.assertTrue(fired(triggers("<added>//p:tuple</added>"), before, after))
        asked = triggers(*["<changed>//*</changed>"] * 10, f"<changed>{'//*' * 20}</changed>")
        for _ in range(2):
            self.assertRaises(Exhausted, fired, asked, before, after)
