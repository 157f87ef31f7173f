"""Tests of :mod:`presence.filters.filterset`."""

from __future__ import annotations

import msgspec
from twisted.trial.unittest import SynchronousTestCase

from presence.filters.document import read_filters
from presence.filters.errors import FilterError
from presence.filters.filterset import FilterSet, changes_between
from presence.filters.model import Changes, Filter
from presence.filters.write import write_filters
from tests.presence.test_filters_document import bindings, read, wrap
from tests.presence.test_filters_vectors import read_set

BOB = "sip:bob@home.example"
LIST = "sip:list1@example.com"
WHAT = "<what><include>//pidf:tuple</include></what>"
OTHER = "<what><include>//pidf:note</include></what>"


def filters(*each: str) -> Changes:
    """Changes: each is an id, attributes, and perhaps contents after a bar."""
    inner = ""
    for one in each:
        head, _, content = one.partition("|")
        id, _, attributes = head.partition(" ")
        inner += f'<filter id="{id}" {attributes}>{content}</filter>'
    return read(inner)


def placed(*each: str) -> FilterSet:
    """A set after one SUBSCRIBE."""
    return FilterSet().changed(filters(*each))


def ids(found: FilterSet) -> list[str]:
    """What is there, in order."""
    return [each.id for each in found.filters]


class ChangeTests(SynchronousTestCase):
    """What SUBSCRIBEs do to filters."""

    def refused(self, before: FilterSet, *each: str, resource: str = "") -> None:
        """A change is refused; nothing has changed."""
        copy = before.encode()
        error = self.assertRaises(FilterError, before.changed, filters(*each), resource)
        self.assertEqual(error.status, 488)
        self.assertEqual(before.encode(), copy)

    def test_life(self) -> None:
        """Ids add, replace and remove (FLT-21)."""
        first = placed(f"a|{WHAT}", f'b uri="sip:b@x"|{WHAT}')
        self.assertEqual(ids(first), ["a", "b"])
        self.assertEqual(first.changed(Changes()), first)
        added = first.changed(filters(f'c domain="x"|{WHAT}'))
        self.assertEqual(ids(added), ["a", "b", "c"])
        replaced = added.changed(filters(f'b uri="sip:c@x"|{OTHER}'))
        self.assertEqual(ids(replaced), ["a", "b", "c"])
        self.assertEqual(replaced.filters[1], filters(f'b uri="sip:c@x"|{OTHER}').filters[0])
        removed = replaced.changed(filters('a remove="true"', f'b remove="true"|{WHAT}'))
        self.assertEqual(ids(removed), ["c"])
        self.assertEqual(ids(removed.changed(filters('nobody remove="true"'))), ["c"])
        self.assertFalse(removed.changed(filters('c remove="1"')))

    def test_enabled(self) -> None:
        """A filter is suspended and comes back with its contents (FLT-20, FLT-21)."""
        first = placed(f'a uri="{BOB}"|{WHAT}')
        off = first.changed(filters('a enabled="false"'))
        self.assertEqual(off.filters[0].what, first.filters[0].what)
        self.assertIsNone(off.chosen(BOB))
        self.assertEqual(off.changed(filters("a")), first)
        self.assertEqual(off.changed(filters('a enabled="true"')).chosen(BOB), first.filters[0])
        self.assertEqual(
            off.changed(filters(f'a uri="{BOB}"|{OTHER}')).chosen(BOB),
            filters(f'a uri="{BOB}"|{OTHER}').filters[0],
        )
        moved = off.changed(filters('a uri="sip:c@x"')).filters[0]
        self.assertEqual((moved.uri, moved.what), ("sip:c@x", first.filters[0].what))

    def test_first_time(self) -> None:
        """Enabled for the first time it needs contents (FLT-03)."""
        self.refused(FilterSet(), "a")
        self.refused(placed(f"a|{WHAT}"), 'b uri="sip:b@x"')
        self.assertEqual(FilterSet().changed(filters('a enabled="false"')), FilterSet())
        off = placed(f'a enabled="false"|{WHAT}')
        self.assertIsNone(off.chosen(BOB))
        self.assertTrue(off.changed(filters("a")).chosen(BOB))

    def test_same_target(self) -> None:
        """A new id for the same resource or domain is refused (FLT-21, FLT-22)."""
        before = placed(f"a|{WHAT}", f'b uri="sip:b@x"|{WHAT}', f'c domain="x"|{WHAT}')
        self.refused(before, f"d|{WHAT}")
        self.refused(before, f'd uri="sip:b@X;transport=tcp"|{WHAT}')
        self.refused(before, f'd domain="X"|{WHAT}')
        self.refused(before, f'a uri="sip:b@x"|{WHAT}')
        self.refused(before.changed(filters('b enabled="false"')), f'd uri="sip:b@x"|{WHAT}')
        self.assertEqual(
            ids(before.changed(filters('a remove="true"', f"d|{WHAT}"))), ["b", "c", "d"]
        )

    def test_own_uri(self) -> None:
        """One for the resource's URI is one without any (FLT-22, FLT-23)."""
        before = placed(f"a|{WHAT}")
        self.refused(before, f'b uri="{BOB}"|{WHAT}', resource=BOB)
        self.assertEqual(
            ids(before.changed(filters(f'b uri="{BOB}"|{WHAT}'), "sip:x@y")), ["a", "b"]
        )


class ChoiceTests(SynchronousTestCase):
    """Which filter is in force at a Presence Server."""

    def test_none(self) -> None:
        """Without filters everything is told (FLT-20)."""
        self.assertIsNone(FilterSet().chosen(BOB))

    def test_resource(self) -> None:
        """One without uri is for what is subscribed to, another for its own (FLT-23)."""
        self.assertTrue(placed(f"a|{WHAT}").chosen(BOB))
        for uri in (BOB, "pres:bob@HOME.example", "sip:bob@home.example;transport=tcp"):
            self.assertTrue(placed(f'a uri="{uri}"|{WHAT}').chosen(BOB), uri)
        for uri in ("sip:alice@home.example", "sip:Bob@home.example", "tel:+1", "bob@home.example"):
            self.assertIsNone(placed(f'a uri="{uri}"|{WHAT}').chosen(BOB), uri)
        by_number = placed(f'a uri="tel:+1-555"|{WHAT}')
        self.assertTrue(by_number.chosen(BOB, aliases={"tel:+1555"}))

    def test_domain(self) -> None:
        """One for a domain that is served, whoever the user is (FLT-24)."""
        of_domain = placed(f'a domain="Home.Example"|{WHAT}')
        self.assertTrue(of_domain.chosen(BOB, serves="home.example".__eq__))
        self.assertIsNone(of_domain.chosen(BOB, serves="other.example".__eq__))
        self.assertIsNone(of_domain.chosen(BOB))
        self.assertIsNone(of_domain.chosen("sip:b@x.home.example", serves=lambda domain: True))
        self.assertIsNone(of_domain.chosen("tel:+1", serves=lambda domain: True))

    def test_precedence(self) -> None:
        """One for the resource comes before one for its domain; one that is off is not there.

        FLT-20, FLT-25.
        """
        for first in (f"a|{WHAT}", f'a uri="{BOB}"|{WHAT}'):
            both = placed(f'd domain="home.example"|{WHAT}', first)
            self.assertEqual(self.chosen(both), "a")
            off = both.changed(filters('a enabled="false"'))
            self.assertEqual(self.chosen(off), "d")
            self.assertIsNone(self.chosen(off.changed(filters('d enabled="0"'))))

    def chosen(self, found: FilterSet) -> str | None:
        """The id of the filter for Bob."""
        chosen = found.chosen(BOB, serves=lambda domain: True)
        return None if chosen is None else chosen.id


class ListTests(SynchronousTestCase):
    """What a list server does with filters (RFC 4660 section 4.1)."""

    MEMBERS = frozenset({"sip:bob@example.com", "sip:list2@biloxi.com"})

    def split(self, found: FilterSet, member: str) -> tuple[list[str], list[str]]:
        """Ids that go to a member, and that are kept."""
        options = {"is_member": self.MEMBERS.__contains__, "administers": "example.com".__eq__}
        return (
            ids(found.for_member(member, LIST, **options)),
            ids(found.for_list(LIST, **options)),
        )

    def test_example(self) -> None:
        """Alice's filter goes to all, Sarah's stays with the RLS (FLT-28)."""
        found = read_set("rfc4660-4.1-filter")
        for member in self.MEMBERS:
            self.assertEqual(self.split(found, member), (["8439"], ["999"]))

    def test_list(self) -> None:
        """One for the list goes to every member, there without a uri (FLT-28)."""
        for attributes in ("", 'uri="sip:list1@example.com"', 'uri="sips:list1@EXAMPLE.com"'):
            found = placed(f"a {attributes}|{WHAT}")
            for member in self.MEMBERS:
                self.assertEqual(self.split(found, member), (["a"], []))
                options = {"is_member": bool, "administers": bool}
                (sent,) = found.for_member(member, LIST, **options).filters
                self.assertEqual((sent.id, sent.uri), ("a", ""))

    def test_member(self) -> None:
        """One for a member goes to it alone, in place of that of the list (FLT-25, FLT-28)."""
        found = placed(f"a|{WHAT}", f'b uri="sip:bob@example.com"|{OTHER}')
        self.assertEqual(self.split(found, "sip:bob@example.com"), (["b"], []))
        self.assertEqual(self.split(found, "sip:list2@biloxi.com"), (["a"], []))
        off = found.changed(filters('b enabled="false"'))
        self.assertEqual(self.split(off, "sip:bob@example.com"), (["a"], []))

    def test_domain(self) -> None:
        """One for a domain goes to all and is not applied here (FLT-28)."""
        found = placed(f'a domain="example.com"|{WHAT}', f'b domain="biloxi.com"|{WHAT}')
        for member in self.MEMBERS:
            self.assertEqual(self.split(found, member), (["a", "b"], []))

    def test_strangers(self) -> None:
        """One for somebody of ours that is no member is told to nobody (FLT-28)."""
        found = placed(f'a uri="sip:x@example.com"|{WHAT}', f'b uri="tel:+1"|{WHAT}')
        for member in self.MEMBERS:
            self.assertEqual(self.split(found, member), (["b"], ["a"]))

    def test_propagated(self) -> None:
        """Ids are kept; changes and removals are told, and nothing else (FLT-29)."""
        before = placed(f"a|{WHAT}", f'd domain="x"|{WHAT}', f'e domain="y"|{WHAT}')
        body = write_filters(before.filters, package="presence")
        there = FilterSet().changed(read_filters(body, "presence"))
        self.assertEqual(there, before)
        after = before.changed(
            filters('a remove="1"', f'd domain="x"|{OTHER}', f'f uri="{BOB}"|{WHAT}')
        )
        body = changes_between(before, after, package="presence")
        self.assertNotIn(b'"e"', body)
        self.assertEqual(there.changed(read_filters(body, "presence")), after)
        self.assertEqual(changes_between(after, after), b"")
        body = changes_between(after, FilterSet())
        self.assertEqual(after.changed(read_filters(body, "presence")), FilterSet())
        self.assertEqual(changes_between(FilterSet(), before), write_filters(before.filters))


class DurableTests(SynchronousTestCase):
    """The form in which filters outlive a process."""

    FULL = (
        f'a enabled="false"|{WHAT}',
        'b uri="sip:b@x"|<what><include>//pidf:tuple[r:class="x"]/@id</include><exclude '
        'type="namespace">urn:x</exclude></what><trigger><changed from="1" to="5" by="2">//@id'
        "</changed><added>//r:class</added></trigger><trigger><removed>//*</removed></trigger>",
        f'c domain="x"|{OTHER}',
    )

    def test_round_trip(self) -> None:
        """All that a set says is there again (FLT-21)."""
        found = placed(*self.FULL)
        again = FilterSet.decode(found.encode())
        self.assertEqual(again, found)
        self.assertEqual(hash(again), hash(found))
        self.assertEqual((FilterSet().encode(), FilterSet.decode(b"")), (b"", FilterSet()))

    def test_loose(self) -> None:
        """Names that match in every namespace do so afterwards, beside others (FLT-08)."""
        loose = read_filters(
            wrap('<filter id="l"><what><include>//x/@y</include></what></filter>', bound=""),
            "presence",
        )
        found = FilterSet().changed(loose).changed(filters(f'c domain="x"|{WHAT}'))
        self.assertEqual(FilterSet.decode(found.encode()), found)

    def test_long(self) -> None:
        """An expression of the greatest length survives, whatever its prefix was."""
        steps = "/q:a" * 255
        body = wrap(
            f'<filter id="l"><what><include>{steps}</include></what></filter>',
            bound=bindings(q="urn:ietf:params:xml:ns:pidf"),
        )
        found = FilterSet().changed(read_filters(body, "presence"))
        self.assertEqual(FilterSet.decode(found.encode()), found)

    def test_later(self) -> None:
        """Fields of a later release are passed over; garbage is an error."""
        found = placed(f"a|{WHAT}")
        tree = msgspec.msgpack.decode(found.encode())
        tree["more"] = 1
        tree["filters"][0]["more"] = 1
        self.assertEqual(FilterSet.decode(msgspec.msgpack.encode(tree)), found)
        self.assertRaises(ValueError, FilterSet.decode, b"\x81")
        tree["filters"][0]["includes"] = [["xpath", "garbage("]]
        self.assertRaises(ValueError, FilterSet.decode, msgspec.msgpack.encode(tree))

    def test_values(self) -> None:
        """Equal filters are one key, so that watchers who have them share a body."""
        self.assertEqual(len({placed(f"a|{WHAT}"), placed(f"a|{WHAT}"), FilterSet()}), 2)
        self.assertEqual(Filter("a"), Filter("a"))
