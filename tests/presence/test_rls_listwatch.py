"""The table that the subscriber of a list keeps."""

from __future__ import annotations

import contextlib
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from presence.rls.listwatch import Taken, WatchedInstance, WatchedList, WatchedMember
from presence.rls.model import Instance, Member, Names
from presence.rls.rlmi import Enclosure, enclose, write_related, write_rlmi

DIRECTORY = Path(__file__).parent.parent / "vectors" / "rlmi"
LIST = "sip:friends@home.example"
PIDF = "application/pidf+xml"
RELATED = 'multipart/related;type="application/rlmi+xml"'
A, B, C = (Member(f"sip:{name}@x", f"sip:{name}@x", (("", name),)) for name in "abc")


def active(text: str, id: str = "1") -> Instance:
    """An instance with a state."""
    return Instance(id, "active", "", PIDF, text.encode())


def notify(
    version: int,
    *rows: tuple[Member, Instance | None],
    full: bool = False,
    names: Names = (),
    lost: bool = False,
    uri: str = LIST,
) -> tuple[str, bytes]:
    """The body of a NOTIFY.

    :param lost: leave the parts out.
    """
    listed, parts = [], []
    for place, (member, instance) in enumerate(rows, 1):
        cid = f"{place}@x" if instance is not None and instance.state == "active" else ""
        listed.append((member, instance, cid))
        if instance is not None and cid and not lost:
            parts.append(Enclosure(cid, instance.content_type, instance.body))
    document = write_rlmi(uri, version, full, names, listed)
    return write_related(enclose("0@x", document), parts, "token")


class ListCase(SynchronousTestCase):
    """A new table."""

    def setUp(self) -> None:
        """Nothing is known."""
        self.list = WatchedList()

    def states(self) -> dict[str, str]:
        """The documents, or states without one, by member."""
        return {
            uri: "none"
            if row.instance is None
            else (row.instance.document or row.instance.state.encode()).decode()
            for uri, row in self.list.members.items()
        }


class TakeTests(ListCase):
    """NOTIFYs in any order."""

    def test_first(self) -> None:
        """Full state makes the table (RLS-26, CLI-15)."""
        taken = self.list.take(
            *notify(
                0,
                (A, active("a1")),
                (B, Instance("2", "terminated", "rejected")),
                (C, None),
                full=True,
                names=(("en", "Friends"),),
            )
        )
        self.assertEqual(taken, Taken(True, False, True, (A.uri, B.uri, C.uri)))
        self.assertEqual((self.list.version, self.list.uri), (0, LIST))
        self.assertEqual(self.list.names, (("en", "Friends"),))
        self.assertEqual(
            list(self.list.members.values()),
            [
                WatchedMember(A.uri, A.names, (WatchedInstance("1", "active", "", PIDF, b"a1"),)),
                WatchedMember(
                    B.uri, B.names, (WatchedInstance("2", "terminated", "rejected", "", None),)
                ),
                WatchedMember(C.uri, C.names),
            ],
        )

    def test_next(self) -> None:
        """Partial state of the next version changes what it lists, and nothing else (RLS-26)."""
        self.list.take(*notify(0, (A, active("a1")), (B, active("b1")), full=True))
        taken = self.list.take(*notify(1, (B, active("b2")), (C, Instance("1", "pending"))))
        self.assertEqual(taken, Taken(True, False, False, (B.uri, C.uri)))
        self.assertEqual(self.states(), {A.uri: "a1", B.uri: "b2", C.uri: "pending"})
        self.assertEqual(self.list.version, 1)

    def test_full_replaces(self) -> None:
        """Each full state clears the table, with any greater version (CLI-15, RLS-26)."""
        self.list.take(
            *notify(0, (A, active("a1")), (B, active("b1")), full=True, names=(("", "L"),))
        )
        taken = self.list.take(*notify(9, (C, active("c1")), (B, active("b1")), full=True))
        self.assertEqual(taken, Taken(True, False, True, (C.uri,), (A.uri,)))
        self.assertEqual(list(self.states().items()), [(C.uri, "c1"), (B.uri, "b1")])
        self.assertEqual((self.list.version, self.list.names), (9, ()))

    def test_gap(self) -> None:
        """After a gap the state is taken all the same, and full state to be asked for (RLS-26)."""
        self.list.take(*notify(0, (A, active("a1")), (B, active("b1")), full=True))
        taken = self.list.take(*notify(2, (A, active("a2"))))
        self.assertEqual(taken, Taken(True, True, False, (A.uri,)))
        self.assertEqual((self.list.version, self.states()[A.uri]), (2, "a2"))
        self.assertFalse(self.list.take(*notify(3, (A, active("a3")))).refresh)

    def test_partial_first(self) -> None:
        """Partial state before any full one: the same, whatever its version (RLS-26)."""
        for version in (0, 5):
            self.list = WatchedList()
            self.assertTrue(self.list.take(*notify(version, (A, active("a1")))).refresh)
            self.assertEqual(self.states(), {A.uri: "a1"})

    def test_old(self) -> None:
        """What is not newer is discarded, full state too (RLS-26)."""
        self.list.take(*notify(3, (A, active("a1")), full=True))
        for version in (3, 2, 0):
            for full in (False, True):
                self.assertEqual(
                    self.list.take(*notify(version, (B, active("b")), full=full)), Taken(False)
                )
        self.assertEqual((self.list.version, self.states()), (3, {A.uri: "a1"}))

    def test_unchanged(self) -> None:
        """Members told of again are no change."""
        self.list.take(*notify(0, (A, active("a1")), (B, None), full=True))
        taken = self.list.take(*notify(1, (A, active("a1")), (B, None), full=True))
        self.assertEqual(taken, Taken(True, False, True))
        self.assertEqual(self.list.take(*notify(2, (A, active("a1")))), Taken(True))

    def test_no_body(self) -> None:
        """A NOTIFY without body tells nothing (RLS-29)."""
        self.list.take(*notify(0, (A, active("a1")), full=True))
        self.assertEqual(self.list.take("", b""), Taken(False))
        self.assertEqual(self.states(), {A.uri: "a1"})

    def test_unreadable(self) -> None:
        """What cannot be read is a ValueError, and changes nothing."""
        self.list.take(*notify(0, (A, active("a1")), full=True))
        kind, body = notify(1, (B, active("b")), full=True)
        for content_type, octets in (
            (PIDF, b"<presence/>"),
            (kind, body[:-9]),
            (kind, body.replace(b"fullState", b"state")),
            (kind.replace("0@x", "7@x"), body),
        ):
            self.assertRaises(ValueError, self.list.take, content_type, octets)
        self.assertEqual((self.list.version, self.states()), (0, {A.uri: "a1"}))

    @settings(max_examples=100, deadline=None)
    @given(st.data())
    def test_any_octets(self, data: st.DataObject) -> None:
        """Damaged bodies are read or refused, and nothing else happens."""
        kind, body = notify(0, (A, active("a1")), (B, None), full=True)
        start = data.draw(st.integers(0, len(body)))
        end = data.draw(st.integers(start, min(start + 9, len(body))))
        octets = body[:start] + data.draw(st.binary(max_size=9)) + body[end:]
        with contextlib.suppress(ValueError):
            WatchedList().take(kind, octets)

    def test_missing_part(self) -> None:
        """An active member whose part is missing keeps what it had, until full state."""
        self.list.take(*notify(0, (A, active("a1")), full=True))
        self.list.take(*notify(1, (A, active("a2")), lost=True))
        self.assertEqual(self.states(), {A.uri: "a1"})
        self.list.take(*notify(2, (A, active("a3", "other")), lost=True))
        self.assertEqual(self.states(), {A.uri: "active"})
        self.list.take(*notify(3, (A, active("a3"))))
        self.list.take(*notify(4, (A, active("a4")), lost=True, full=True))
        self.assertEqual(self.states(), {A.uri: "active"})

    def test_names(self) -> None:
        """Names that a partial document leaves out are kept."""
        self.list.take(*notify(0, (A, None), full=True, names=(("", "L"),)))
        nameless = Member(A.uri, A.key)
        self.list.take(*notify(1, (nameless, active("a1"))))
        self.assertEqual(self.list.names, (("", "L"),))
        self.assertEqual(self.list.members[A.uri].names, A.names)
        self.list.take(*notify(2, (nameless, None), full=True))
        self.assertEqual((self.list.names, self.list.members[A.uri].names), ((), ()))


class NestedTests(ListCase):
    """Lists of other servers in the list."""

    def nest(
        self, version: int, inner: tuple[str, bytes], full: bool = False, id: str = "n"
    ) -> Taken:
        """Take a NOTIFY about A, which is a list."""
        kind, body = inner
        return self.list.take(
            *notify(version, (A, Instance(id, "active", "", kind, body)), full=full)
        )

    def nested(self) -> WatchedList:
        """The list that A is."""
        instance = self.list.members[A.uri].instance
        assert instance is not None and instance.nested is not None
        self.assertIsNone(instance.document)
        return instance.nested

    def test_own_versions(self) -> None:
        """A nested list has versions and full state of its own (RLS-15, RLS-26)."""
        taken = self.nest(0, notify(4, (B, active("b1")), full=True, uri="sip:in@x"), full=True)
        self.assertEqual(taken, Taken(True, False, True, (A.uri,)))
        self.assertEqual((self.nested().uri, self.nested().version), ("sip:in@x", 4))
        taken = self.nest(1, notify(5, (C, active("c1"))))
        self.assertEqual(taken, Taken(True, False, False, (A.uri,)))
        self.assertEqual(list(self.nested().members), [B.uri, C.uri])

    def test_outer_full(self) -> None:
        """Full state of the outer list is none of the inner one (RFC 4662 section 4.6)."""
        first = notify(4, (B, active("b1")), full=True)
        self.nest(0, first, full=True)
        taken = self.nest(1, first, full=True)
        self.assertEqual(taken, Taken(True, False, True))
        self.assertEqual(list(self.nested().members), [B.uri])

    def test_gap(self) -> None:
        """A gap of the inner list asks for full state as well (RLS-26)."""
        self.nest(0, notify(4, (B, active("b1")), full=True), full=True)
        self.assertTrue(self.nest(1, notify(6, (B, active("b2")))).refresh)

    def test_another_instance(self) -> None:
        """Another instance is another subscription: its versions begin anew (RLS-09)."""
        self.nest(0, notify(4, (B, active("b1")), full=True), full=True)
        self.nest(1, notify(0, (C, active("c1")), full=True), id="m")
        self.assertEqual(list(self.nested().members), [C.uri])

    def test_unreadable(self) -> None:
        """An inner list that is none leaves the others, and what was known of it."""
        self.nest(0, notify(4, (B, active("b1")), full=True), full=True)
        kind, body = notify(5, (B, active("b2")))
        taken = self.nest(1, (kind, body.replace(b"fullState", b"state")))
        self.assertTrue(taken.processed)
        self.assertEqual(self.nested().version, 4)

    def test_rfc_flow(self) -> None:
        """RFC 4662 section 6: a partial NOTIFY brings a signed list of another server (RLS-15)."""
        for name, boundary in (
            ("rfc4662-first.txt", "50UBfW7LSCVLtggUPe5z"),
            ("rfc4662-second.txt", "TfZxoxgAvLqgj4wRWPDL"),
        ):
            body = (DIRECTORY / name).read_bytes().replace(b"\n", b"\r\n")
            taken = self.list.take(f"{RELATED};boundary={boundary}", body)
            self.assertEqual((taken.processed, taken.refresh), (True, False))
        self.assertEqual(self.list.version, 2)
        bob, dave, ed, friends = self.list.members.values()
        for row, basic in ((bob, b"open"), (dave, b"closed")):
            assert row.instance is not None and row.instance.document is not None
            self.assertIn(basic, row.instance.document)
        assert ed.instance is not None and friends.instance is not None
        self.assertEqual(ed.instance.state, "pending")
        inner = friends.instance.nested
        assert inner is not None
        self.assertEqual(
            list(inner.members), ["sip:joe@stockholm.example.org", "sip:mark@stockholm.example.org"]
        )
