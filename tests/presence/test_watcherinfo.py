"""Watcher information: state machine, documents, and the tables of who reads them."""

from __future__ import annotations

import contextlib
import itertools
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree
from twisted.trial.unittest import SynchronousTestCase

from presence.watcherinfo import (
    EVENTS,
    INIT,
    STATUSES,
    ForkedWatcherTables,
    Taken,
    Watcher,
    WatcherInfo,
    WatcherList,
    WatcherTable,
    read,
    step,
    write,
)

DIRECTORY = Path(__file__).parent.parent / "vectors" / "watcherinfo"
BOB = "sip:bob@home.example"
ALICE = "sip:alice@home.example"


def vector(name: str) -> bytes:
    """A file of ``tests/vectors/watcherinfo``."""
    return (DIRECTORY / name).read_bytes()


def schema() -> etree.XMLSchema:
    """That of RFC 3858 section 6."""
    return etree.XMLSchema(etree.parse(DIRECTORY / "watcherinfo.xsd"))


def info(version: int, *watchers: Watcher, full: bool = False, resource: str = BOB) -> WatcherInfo:
    """A document about one presentity."""
    return WatcherInfo(version, full, (WatcherList(resource, "presence", watchers),))


class MachineTests(SynchronousTestCase):
    """The state machine of RFC 3857 section 4.7.1."""

    FIGURE = """
        init       allow        active      subscribe
        init       confirm      pending     subscribe
        init       block        terminated  rejected
        pending    approved     active      approved
        pending    rejected     terminated  rejected
        pending    timeout      waiting     timeout
        pending    giveup       terminated  giveup
        pending    noresource   terminated  noresource
        pending    deactivated  terminated  deactivated
        pending    probation    terminated  probation
        active     rejected     terminated  rejected
        active     timeout      terminated  timeout
        active     deactivated  terminated  deactivated
        active     probation    terminated  probation
        active     noresource   terminated  noresource
        active     withdrawn    pending     subscribe
        waiting    approved     terminated  approved
        waiting    rejected     terminated  rejected
        waiting    giveup       terminated  giveup
        waiting    noresource   terminated  noresource
    """

    def test_every_pair(self) -> None:
        """Each input leads where figure 1 says, and no other changes anything (WFS-01)."""
        rows = [line.split() for line in self.FIGURE.strip().splitlines()]
        expected = {(row[0], row[1]): (row[2], row[3]) for row in rows}
        inputs = {row[1] for row in rows} | EVENTS | {"", "polite-block"}
        for status, put in itertools.product(STATUSES | {INIT}, inputs):
            self.assertEqual(step(status, put), expected.get((status, put)), (status, put))

    def test_approved_again(self) -> None:
        """A decision on an active watcher that stays the same is no event (WFS-01)."""
        self.assertIsNone(step("active", "approved"))

    def test_words(self) -> None:
        """Statuses and events of all transitions are those of the schema (WID-05)."""
        for status, put in itertools.product(STATUSES | {INIT}, EVENTS | {"allow", "confirm"}):
            moved = step(status, put)
            if moved is not None:
                self.assertIn(moved[0], STATUSES)
                self.assertIn(moved[1], EVENTS)


class WriteTests(SynchronousTestCase):
    """Documents that we write."""

    def test_no_watchers(self) -> None:
        """M3 of the flow of oma-presence.md, octet for octet (WID-01, WID-03, WID-04)."""
        self.assertEqual(write(info(0, full=True)), vector("oma-m3.xml"))

    def test_request_to_confirm(self) -> None:
        """M10 of the flow of oma-presence.md, octet for octet (WID-01, WID-03, WID-07)."""
        watcher = Watcher("w1", ALICE, "pending", "subscribe", expiration=3600, duration=0)
        self.assertEqual(write(info(1, watcher)), vector("oma-m10.xml"))

    def test_every_attribute(self) -> None:
        """The example of WID-09, which has a display name, in canonical XML."""
        watcher = Watcher("w7f3a", ALICE, "pending", "subscribe", "Alice", 3580, 20)
        ours, example = (
            etree.tostring(
                etree.fromstring(octets, etree.XMLParser(remove_blank_text=True)), method="c14n"
            )
            for octets in (write(info(1, watcher)), vector("wid-09.xml"))
        )
        self.assertEqual(ours, example)

    def test_markup_is_quoted(self) -> None:
        """Nothing that a watcher says about itself becomes markup (WID-01)."""
        name = "Mr. \"<X>\" & 'Co'\t\r\n]]>"
        watcher = Watcher("w1", "sip:a&b@x", "active", "subscribe", name, language="de")
        octets = write(info(0, watcher, resource='sip:"<&@x'))
        self.assertEqual(read(octets).lists[0].watchers, (watcher,))
        self.assertEqual(read(octets).lists[0].resource, 'sip:"<&@x')

    def test_octets_that_xml_has_not(self) -> None:
        """Control characters and broken UTF-8 of a display name are replaced (WID-01)."""
        watcher = Watcher("w1", ALICE, "active", "subscribe", "J\udcfcr\x00gen\ufffe")
        (row,) = read(write(info(0, watcher))).lists[0].watchers
        self.assertEqual(row.display_name, "J\ufffdr\ufffdgen\ufffd")

    def test_valid_and_read_again(self) -> None:
        """What is written is valid by the schema, and read as it was meant (WID-01)."""
        found = schema()
        text = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
        number = st.none() | st.integers(0, 2**63)
        tokens = st.text("abc0123-.!%*_+`'~", min_size=1, max_size=8)
        watchers = st.builds(
            Watcher,
            tokens,
            st.sampled_from([ALICE, "tel:+15551", "sip:a%20b@x;p=1"]),
            st.sampled_from(sorted(STATUSES)),
            st.sampled_from(sorted(EVENTS)),
            text,
            number,
            number,
            st.sampled_from(["", "en", "de-AT"]),
        )
        lists = st.builds(
            WatcherList,
            st.sampled_from([BOB, ALICE]),
            st.just("presence"),
            st.lists(watchers, max_size=4).map(tuple),
        )

        @settings(max_examples=200, deadline=None, database=None)
        @given(
            st.builds(
                WatcherInfo,
                st.integers(0, 2**32 - 1),
                st.booleans(),
                st.lists(lists, max_size=3).map(tuple),
            )
        )
        def check(document: WatcherInfo) -> None:
            octets = write(document)
            found.assertValid(etree.fromstring(octets))
            again = read(octets)
            self.assertEqual((again.version, again.full), (document.version, document.full))
            names = [w.display_name for each in again.lists for w in each.watchers]
            self.assertEqual(write(again), octets)
            for name in names:
                self.assertNotIn("\x00", name)

        check()


class ReadTests(SynchronousTestCase):
    """Documents of others."""

    def test_example(self) -> None:
        """The example of RFC 3858 section 5 (WID-01)."""
        self.assertEqual(
            read(vector("rfc3858-example.xml")),
            WatcherInfo(
                0,
                True,
                (
                    WatcherList(
                        "sip:professor@example.net",
                        "presence",
                        (
                            Watcher(
                                "8ajksjda7s",
                                "sip:userA@example.net",
                                "active",
                                "approved",
                                duration=509,
                            ),
                            Watcher(
                                "hh8juja87s997-ass7",
                                "sip:userB@example.org",
                                "pending",
                                "subscribe",
                                "Mr. Subscriber",
                            ),
                        ),
                    ),
                ),
            ),
        )
        self.assertTrue(schema().validate(etree.fromstring(vector("rfc3858-example.xml"))))

    def test_foreign(self) -> None:
        """Elements and attributes of other namespaces are ignored (WID-01)."""
        watcher = Watcher("w1", "sip:j@home.example", "waiting", "timeout", "Jürgen", language="de")
        self.assertEqual(read(vector("foreign.xml")), info(7, watcher))

    def test_refused(self) -> None:
        """What lacks something mandatory, or is none, is a ValueError that quotes nothing."""
        names = sorted(path.name for path in DIRECTORY.glob("bad-*.xml"))
        self.assertGreater(len(names), 10)
        for name in names:
            with self.assertRaises(ValueError, msg=name):
                read(vector(name))

    def test_any_octets(self) -> None:
        """No octets raise anything else."""

        @settings(max_examples=200, deadline=None, database=None)
        @given(
            st.binary(max_size=60) | st.integers(0, 350).map(lambda n: vector("oma-m10.xml")[:n])
        )
        def check(octets: bytes) -> None:
            with contextlib.suppress(ValueError):
                read(octets)

        check()


class TableTests(SynchronousTestCase):
    """The tables of a subscriber (RFC 3858 section 4)."""

    def setUp(self) -> None:
        """An empty table, and rows."""
        self.table = WatcherTable()
        self.alice = Watcher("w1", ALICE, "pending", "subscribe")
        self.carol = Watcher("w2", "sip:carol@home.example", "active", "subscribe")

    def rows(self) -> dict[str, str]:
        """Status by id."""
        return {watcher.id: watcher.status for _, watcher in self.table.rows()}

    def test_in_order(self) -> None:
        """The first document sets the version; the next ones change rows by id (WID-08, WAT-05)."""
        self.assertEqual(self.table.take(info(4, self.alice, full=True)), Taken(True))
        self.assertEqual(self.table.take(info(5, self.carol)), Taken(True))
        approved = Watcher("w1", ALICE, "active", "approved")
        self.assertEqual(self.table.take(info(6, approved)), Taken(True))
        self.assertEqual(self.table.version, 6)
        self.assertEqual(self.table.lists, {BOB: {"w1": approved, "w2": self.carol}})

    def test_gap(self) -> None:
        """After a gap the document counts, and full state is wanted unless it was (WID-08)."""
        self.table.take(info(0, self.alice, full=True))
        self.assertEqual(self.table.take(info(2, self.carol)), Taken(True, refresh=True))
        self.assertEqual(self.rows(), {"w1": "pending", "w2": "active"})
        self.assertEqual(self.table.take(info(9, self.carol, full=True)), Taken(True))
        self.assertEqual((self.rows(), self.table.version), ({"w2": "active"}, 9))

    def test_old(self) -> None:
        """A document that is older, or as old, is discarded (WID-08)."""
        self.table.take(info(3, self.alice, full=True))
        for version in (2, 3):
            self.assertEqual(self.table.take(info(version, self.carol)), Taken(False))
        self.assertEqual(self.rows(), {"w1": "pending"})

    def test_partial_first(self) -> None:
        """Who begins with a partial document wants full state (WID-08)."""
        self.assertEqual(self.table.take(info(3, self.alice)), Taken(True, refresh=True))

    def test_full_empties(self) -> None:
        """Full state empties the tables of all resources first (WID-08)."""
        self.table.take(info(0, self.alice, full=True))
        self.table.take(info(1, self.carol, resource="sip:eve@home.example"))
        self.assertEqual(set(self.table.lists), {BOB, "sip:eve@home.example"})
        self.table.take(info(2, self.carol, full=True))
        self.assertEqual(self.table.lists, {BOB: {"w2": self.carol}})

    def test_terminated(self) -> None:
        """A terminated row can be seen until the next document (WID-08, WFS-06)."""
        self.table.take(info(0, self.alice, self.carol, full=True))
        self.table.take(info(1, Watcher("w1", ALICE, "terminated", "giveup")))
        self.assertEqual(self.rows(), {"w1": "terminated", "w2": "active"})
        self.table.take(info(2))
        self.assertEqual(self.rows(), {"w2": "active"})

    def test_forked(self) -> None:
        """The tables of all dialogs of a SUBSCRIBE are one; ids count within each (WIN-09)."""
        forked = ForkedWatcherTables()
        forked.take("a", info(5, self.alice, full=True))
        forked.take("b", info(0, Watcher("w1", "sip:eve@x", "active", "subscribe"), full=True))
        self.assertEqual(forked.take("b", info(0)), Taken(False))
        self.assertEqual({watcher.uri for _, watcher in forked.rows()}, {ALICE, "sip:eve@x"})
        forked.ended("a")
        forked.ended("z")
        self.assertEqual([watcher.uri for _, watcher in forked.rows()], ["sip:eve@x"])
