"""What a list subscription has been told, and what it is told next."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NoReturn

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from presence.partial.difference import difference
from presence.rls.draft import Terms
from presence.rls.listwatch import WatchedInstance, WatchedList
from presence.rls.model import Instance, Member
from presence.rls.rlmi import ListedResource, Rlmi, read_related
from presence.rls.table import ListTable, Report
from pysip.mime import Related

LIST = "sip:friends@home.example"
PIDF = "application/pidf+xml"
TERMS = Terms(host="rls.home.example")
A, B, C, D = (Member(f"sip:{name}@x", f"key-{name}", (("", name.upper()),)) for name in "abcd")
PENDING = Instance("p", "pending")
REJECTED = Instance("r", "terminated", "rejected")


def active(text: str, id: str = "1", kind: str = PIDF) -> Instance:
    """An instance with a state."""
    return Instance(id, "active", "", kind, text.encode())


class Unwalkable(dict):  # type: ignore[type-arg]
    """Can be looked up, and not gone through."""

    def _refuse(self) -> NoReturn:
        raise AssertionError("work that grows with the list")

    __iter__ = items = values = keys = __len__ = _refuse  # type: ignore[assignment]


class TableCase(SynchronousTestCase):
    """A list of three members."""

    def setUp(self) -> None:
        """Nothing has been reported."""
        self.version = -1
        self.table = ListTable(LIST)
        self.table.set_service((("en", "Friends"),), [A, B, C])

    def make(self, terms: Terms = TERMS) -> Report | None:
        """The next report."""
        self.version += 1
        return self.table.report(self.version, f"tok{self.version}", terms)

    def some(self, terms: Terms = TERMS) -> Report:
        """The next report, of which there is one."""
        report = self.make(terms)
        assert report is not None
        return report

    def tell(self, terms: Terms = TERMS) -> tuple[Rlmi, Related]:
        """The next report, which arrives."""
        report = self.some(terms)
        self.table.acknowledged(report)
        return read_related(report.content_type, report.body)

    def told(self, terms: Terms = TERMS) -> dict[str, str]:
        """What it tells of each member."""
        document, related = self.tell(terms)
        return {row.uri: self.text(row, related) for row in document.resources}

    def text(self, row: ListedResource, related: Related) -> str:
        """The document of a member, or how it is without."""
        if not row.instances:
            return "none"
        (instance,) = row.instances
        if not instance.cid:
            return f"{instance.state} {instance.reason}".strip()
        return related.parts[instance.cid].body.decode()


class ChangesTests(TableCase):
    """Changes of members' documents, for who takes them."""

    def test_back_at_once(self) -> None:
        """PNO-04: versions go on when a member leaves the list and is back before that is told.

        Its instance may have the same id; a watcher takes what has an older version for old.
        """
        terms = attrs.evolve(TERMS, changes=difference)
        watched = WatchedList()
        for text in ("one", "two", "three"):
            self.table.set_instance(A.key, active(presence(text)))
            report = self.some(terms)
            watched.take(report.content_type, report.body)
            self.table.acknowledged(report)
        self.table.set_service((), [B])
        self.table.set_service((), [A, B])
        self.table.set_instance(A.key, active(presence("four")))
        report = self.some(terms)
        taken = watched.take(report.content_type, report.body)
        self.assertFalse(taken.refresh)
        instance = watched.members[A.uri].instance
        assert instance is not None
        self.assertIn(b">four<", instance.document or b"")


def presence(note: str) -> str:
    """A document with a note."""
    space = "urn:ietf:params:xml:ns:pidf"
    return f'<presence xmlns="{space}" entity="{A.uri}"><note>{note}</note></presence>'


class ReportTests(TableCase):
    """What is told when."""

    def test_first(self) -> None:
        """The first report lists all members, also those without any state (RLS-07)."""
        self.table.set_instance(A.key, active("a1"))
        report = self.some()
        document, related = read_related(report.content_type, report.body)
        self.assertEqual((document.uri, document.version, document.full), (LIST, 0, True))
        self.assertEqual(document.names, (("en", "Friends"),))
        self.assertEqual([row.uri for row in document.resources], [A.uri, B.uri, C.uri])
        (instance,) = document.resources[0].instances
        self.assertEqual((instance.id, instance.state), ("1", "active"))
        self.assertEqual(related.parts[instance.cid].body, b"a1")
        self.assertEqual(document.resources[1].instances, ())
        self.assertEqual((report.full, report.version, report.rest), (True, 0, False))

    def test_empty_list(self) -> None:
        """A list that is not known yet, or has nobody, is told of as well (RLS-07)."""
        self.table = ListTable(LIST)
        document, _ = self.tell()
        self.assertEqual((document.full, document.resources), (True, ()))
        self.assertIsNone(self.make())

    def test_content_ids(self) -> None:
        """Each part has an id of its own, which one instance refers to (RLS-04, RLS-09)."""
        for member in (A, B, C):
            self.table.set_instance(member.key, active(f"{member.uri} 1"))
        for text in ("1", "2"):
            document, related = self.tell()
            cids = [row.instances[0].cid for row in document.resources]
            self.assertEqual(len({related.root.content_id, *cids}), 4)
            self.assertEqual(sorted(cids), sorted(related.parts))
            for row in document.resources:
                body = related.parts[row.instances[0].cid].body.decode()
                self.assertEqual(body, f"{row.uri} {text}")
                self.table.set_instance(f"key-{row.uri[4]}", active(f"{row.uri} 2"))

    def test_partial(self) -> None:
        """Then only who has changed is listed, with its part (RLS-07, RLS-09, RLS-10)."""
        self.table.set_instance(A.key, active("a1"))
        self.tell()
        self.assertIsNone(self.make())
        self.assertTrue(self.table.set_instance(B.key, active("b1")))
        document, _ = self.tell()
        self.assertFalse(document.full)
        self.table.set_instance(A.key, active("a2"))
        self.table.set_instance(C.key, PENDING)
        self.assertEqual(self.told(), {A.uri: "a2", C.uri: "pending"})
        self.table.set_instance(A.key, REJECTED)
        self.table.remove_instance(C.key)
        self.assertEqual(self.told(), {A.uri: "terminated rejected", C.uri: "none"})
        self.assertIsNone(self.make())
        self.assertFalse(self.table.due)

    def test_no_change(self) -> None:
        """An equal instance, or one that changes back before it is told, is no change (RLS-10)."""
        self.table.set_instance(A.key, active("a1"))
        self.tell()
        self.assertFalse(self.table.set_instance(A.key, active("a1")))
        self.assertTrue(self.table.set_instance(A.key, active("a2")))
        self.assertTrue(self.table.set_instance(B.key, PENDING))
        self.table.set_instance(A.key, active("a1"))
        self.assertFalse(self.table.remove_instance(B.key))
        self.assertIsNone(self.make())

    def test_what_counts(self) -> None:
        """Bodies without an active state, and reasons without an end, are not told (RLS-09)."""
        self.tell()
        self.table.set_instance(A.key, Instance("1", "pending", "giveup", PIDF, b"neutral"))
        self.table.set_instance(B.key, Instance("1", "terminated", "timeout", PIDF, b"last"))
        self.assertEqual(self.told(), {A.uri: "pending", B.uri: "terminated timeout"})
        self.assertFalse(self.table.set_instance(A.key, Instance("1", "pending")))
        self.table.set_instance(A.key, Instance("1", "active", "giveup", PIDF, b"a1"))
        self.assertEqual(self.told(), {A.uri: "a1"})
        self.assertFalse(self.table.set_instance(A.key, active("a1")))

    def test_active_without_state(self) -> None:
        """Active without state would have no part: it is like nothing known (RLS-09)."""
        self.tell()
        for instance in (
            Instance("1", "active", "", PIDF, b""),
            Instance("1", "active", "", "", b"a"),
            Instance("1", "active", "", f"{PIDF}\r\nX: y", b"a"),
        ):
            self.assertFalse(self.table.set_instance(A.key, instance))

    def test_refresh(self) -> None:
        """After a SUBSCRIBE everything is told, with all states that are known (RLS-07)."""
        self.table.set_instance(A.key, active("a1"))
        self.tell()
        self.table.refresh()
        self.assertTrue(self.table.due)
        document, related = self.tell()
        self.assertTrue(document.full)
        self.assertEqual(len(document.resources), 3)
        self.assertEqual(self.text(document.resources[0], related), "a1")
        self.assertIsNone(self.make())

    def test_strangers(self) -> None:
        """Who is no member is ignored; an instance has an id (RLS-05)."""
        self.tell()
        self.assertFalse(self.table.set_instance(D.key, PENDING))
        self.assertFalse(self.table.remove_instance(D.key))
        self.assertIsNone(self.table.instance(D.key))
        self.assertRaises(ValueError, self.table.set_instance, A.key, Instance("", "pending"))

    def test_acceptable(self) -> None:
        """A state of a type that the watcher does not accept is not sent (RLS-02)."""
        terms = attrs.evolve(TERMS, accept=[(PIDF, 1.0), ("multipart/related", 0.5)])
        self.table.set_instance(A.key, active("a1", kind=f'{PIDF};charset="UTF-8"'))
        self.table.set_instance(B.key, active("b1", kind="text/plain"))
        self.table.set_instance(C.key, active("c1", kind="no type"))
        for full in (True, False):
            expected = {A.uri: "a1", B.uri: "none", C.uri: "none"}
            self.assertEqual(self.told(terms), expected, full)
            self.assertIsNone(self.make(terms))
            self.table.set_instance(A.key, active("a1", "2"))
            self.table.set_instance(B.key, active("b1", "2", kind="text/plain"))
            self.table.set_instance(C.key, active("c1", "2", kind="no type"))

    def test_nested(self) -> None:
        """The multipart of another server is a part as it is (RLS-15)."""
        kind = "multipart/related;boundary=b"
        octets = "--b\r\nContent-ID: <1@y>\r\n\r\nx\r\n--b--\r\n"
        self.table.set_instance(A.key, active(octets, kind=kind))
        document, related = self.tell()
        part = related.parts[document.resources[0].instances[0].cid]
        self.assertEqual((part.body.decode(), part.first("content-type")), (octets, kind))

    def test_bare_ids(self) -> None:
        """CLI-17: the switch reaches the parts."""
        self.table.set_instance(A.key, active("a1"))
        report = self.some(attrs.evolve(TERMS, bare_ids=True))
        self.assertIn(b"\r\nContent-Id: 1.tok0@rls.home.example\r\n", report.body)

    def test_cost(self) -> None:
        """A change and its report do not grow with the list."""
        members = [Member(f"sip:{n}@x", f"{n}") for n in range(1000)]
        self.table.set_service((), members)
        for member in members:
            self.table.set_instance(member.key, active("1"))
        self.tell()
        self.table._rows = Unwalkable(self.table._rows)
        self.table.set_instance("500", active("2"))
        report = self.some()
        self.table.acknowledged(report)
        self.assertLess(len(report.body), 1000)
        self.assertEqual(report.body.count(b"<resource "), 1)
        self.assertIsNone(self.make())


class ListTests(TableCase):
    """The list itself changes."""

    def test_difference(self) -> None:
        """Full state without who was removed, with what is known of who stays (RLS-10, RLS-22)."""
        for member in (A, B, C):
            self.table.set_instance(member.key, active(member.uri))
        self.tell()
        self.table.set_service((("en", "Friends"),), [D, C, A])
        document, related = self.tell()
        self.assertTrue(document.full)
        self.assertEqual(
            [(row.uri, self.text(row, related)) for row in document.resources],
            [(D.uri, "none"), (C.uri, C.uri), (A.uri, A.uri)],
        )
        self.assertIsNone(self.make())

    def test_forgotten(self) -> None:
        """Who comes back has to be heard of anew (RLS-22)."""
        self.table.set_instance(A.key, active("a1"))
        self.tell()
        self.table.set_service((), [B, C])
        self.table.set_service((), [A, B, C])
        self.assertEqual(self.told(), dict.fromkeys((A.uri, B.uri, C.uri), "none"))

    def test_names(self) -> None:
        """Other names, or another spelling of a URI, are a change of the list (RLS-22)."""
        self.tell()
        self.table.set_service((("en", "Friends"),), [A, B, C])
        self.assertIsNone(self.make())
        self.table.set_service((("en", "Enemies"),), [A, B, C])
        self.assertEqual(self.tell()[0].names, (("en", "Enemies"),))
        self.table.set_instance(A.key, active("a1"))
        self.table.set_service((), [attrs.evolve(A, uri="sip:%61@x"), B, C])
        self.assertEqual(self.told()["sip:%61@x"], "a1")

    def test_duplicates(self) -> None:
        """Two of one key are one member, at the place of the first (RLS-17)."""
        self.table.set_service((), [A, B, attrs.evolve(A, uri="sip:%61@x")])
        self.assertEqual(list(self.told()), [A.uri, B.uri])
        self.assertEqual(self.table.subscribed, (A, B))

    def test_beyond_without_instance(self) -> None:
        """Members beyond the greatest number are listed without an instance (RLO-04)."""
        self.table = ListTable(LIST, maximum=2)
        self.table.set_service((), [A, B, C, D])
        self.assertEqual(self.table.subscribed, (A, B))
        for member in (A, C):
            self.table.set_instance(member.key, active("1"))
        expected = {A.uri: "1", B.uri: "none", C.uri: "none", D.uri: "none"}
        self.assertEqual(self.told(), expected)
        self.assertFalse(self.table.set_instance(C.key, active("2")))

    def test_beyond_terminated(self) -> None:
        """... or with one that was given up (RLO-04)."""
        self.table = ListTable(LIST, maximum=1, excess="terminated")
        self.table.set_service((), [A, B])
        self.table.set_instance(B.key, active("b"))
        self.assertEqual(self.told(), {A.uri: "none", B.uri: "terminated giveup"})

    def test_beyond_moves(self) -> None:
        """Who comes within the number begins without state; who leaves it loses it (RLO-04)."""
        self.table = ListTable(LIST, maximum=1, excess="terminated")
        self.table.set_service((), [A, B])
        self.table.set_instance(A.key, active("a"))
        self.tell()
        self.table.set_service((), [B, A])
        self.assertEqual(self.told(), {B.uri: "none", A.uri: "terminated giveup"})
        self.table.set_instance(B.key, active("b"))
        self.assertEqual(self.told(), {B.uri: "b"})


class LossTests(TableCase):
    """Reports that were not acknowledged."""

    def test_full(self) -> None:
        """A full report that was not acknowledged stays full (RLS-07)."""
        self.some()
        self.assertTrue(self.some().full)
        self.table.acknowledged(self.some())
        self.assertIsNone(self.make())

    def test_told_again(self) -> None:
        """What was not acknowledged is told again, joined with later changes."""
        self.tell()
        self.table.set_instance(A.key, active("a1"))
        self.some()
        self.table.set_instance(B.key, active("b1"))
        self.some()
        self.assertEqual(self.told(), {A.uri: "a1", B.uri: "b1"})
        self.assertIsNone(self.make())

    def test_uncertain(self) -> None:
        """What changes back after it may have been told is told again."""
        self.table.set_instance(A.key, active("a1"))
        self.tell()
        self.table.set_instance(A.key, active("a2"))
        self.some()
        self.assertTrue(self.table.set_instance(A.key, active("a1")))
        self.assertEqual(self.told(), {A.uri: "a1"})
        self.assertIsNone(self.make())

    def test_changed_in_flight(self) -> None:
        """What changes while its report is under way follows."""
        for full in (True, False):
            self.table.set_instance(A.key, active(f"a1 {full}"))
            report = self.some()
            self.assertEqual(report.full, full)
            self.table.set_instance(A.key, active(f"a2 {full}"))
            self.table.set_instance(B.key, active(f"b1 {full}"))
            self.table.acknowledged(report)
            self.assertEqual(self.told(), {A.uri: f"a2 {full}", B.uri: f"b1 {full}"})
            self.assertIsNone(self.make())

    def test_asked_in_flight(self) -> None:
        """Full state that is asked for while a full report is under way is told after it."""
        for ask in (self.table.refresh, lambda: self.table.set_service((), [B, D])):
            self.table.refresh()
            report = self.some()
            ask()
            self.table.acknowledged(report)
            self.assertTrue(self.tell()[0].full)
            self.assertIsNone(self.make())

    def test_late(self) -> None:
        """Only the last report counts, and once."""
        self.tell()
        self.table.set_instance(A.key, active("a1"))
        first = self.some()
        self.table.set_instance(A.key, active("a2"))
        second = self.some()
        self.table.acknowledged(first)
        self.assertTrue(self.table.due)
        self.table.acknowledged(second)
        self.assertFalse(self.table.due)
        self.table.set_instance(A.key, active("a3"))
        self.table.acknowledged(second)
        self.assertEqual(self.told(), {A.uri: "a3"})

    def test_late_and_back(self) -> None:
        """... also when what an earlier one told is true again: the later one may have arrived."""
        self.tell()
        self.table.set_instance(A.key, active("a1"))
        first = self.some()
        self.table.set_instance(A.key, active("a2"))
        self.some()
        self.table.set_instance(A.key, active("a1"))
        self.table.acknowledged(first)
        self.assertEqual(self.told(), {A.uri: "a1"})


class SizeTests(TableCase):
    """Bodies of limited size (RLS-18)."""

    def limited(self, limit: int) -> Terms:
        """Terms of that limit."""
        return attrs.evolve(TERMS, limit=limit)

    def test_full(self) -> None:
        """A full report lists all and tells of those who fit; the others follow (RLS-18)."""
        for member in (A, B, C):
            self.table.set_instance(member.key, active(member.uri * 100))
        report = self.some(self.limited(2000))
        self.assertTrue(report.rest)
        self.assertLessEqual(len(report.body), 2000)
        document, _ = read_related(report.content_type, report.body)
        self.assertEqual([len(row.instances) for row in document.resources], [1, 0, 0])
        self.table.acknowledged(report)
        document, _ = self.tell(self.limited(2000))
        self.assertEqual(([row.uri for row in document.resources], document.full), ([B.uri], False))
        self.assertEqual(self.told(self.limited(2000)), {C.uri: C.uri * 100})
        self.assertIsNone(self.make())

    def test_full_over(self) -> None:
        """A full report lists all members even where the limit has no room for them (RLS-07)."""
        self.table.set_instance(A.key, active("a"))
        self.table.set_instance(B.key, PENDING)
        self.assertEqual(
            self.told(self.limited(1)), {A.uri: "none", B.uri: "pending", C.uri: "none"}
        )
        self.assertEqual(self.told(self.limited(1)), {A.uri: "a"})

    def test_exact(self) -> None:
        """The limit is that of the whole body, to the octet (RLS-18)."""
        for full in (True, False):
            for member in (A, B, C):
                self.table.set_instance(member.key, active(f"{member.uri} {full} é"))
            whole = self.some()
            self.assertEqual((whole.full, whole.rest), (full, False))
            for limit, rest in ((len(whole.body), False), (len(whole.body) - 1, True)):
                self.version -= 1
                report = self.some(self.limited(limit))
                self.assertEqual((report.rest, len(report.body) <= limit), (rest, True))
            self.table.acknowledged(self.some())

    def test_alone(self) -> None:
        """A state over the limit goes alone; nobody waits for ever (RLS-18)."""
        self.tell()
        big, limit = "big" * 1000, 1500
        for member, text in ((A, "a"), (B, big), (C, "c")):
            self.table.set_instance(member.key, active(text))
        self.assertEqual(self.told(self.limited(limit)), {A.uri: "a"})
        # what changes again keeps its place
        self.table.set_instance(A.key, active("a2"))
        self.table.set_instance(B.key, active(f"{big}!"))
        self.assertEqual(self.told(self.limited(limit)), {B.uri: f"{big}!"})
        self.assertEqual(self.told(self.limited(limit)), {C.uri: "c", A.uri: "a2"})
        self.assertIsNone(self.make())

    def test_lost(self) -> None:
        """What was cut off a report that was lost is told with the rest of it."""
        self.tell()
        for member in (A, B, C):
            self.table.set_instance(member.key, active(member.uri * 100))
        self.some(self.limited(1500))
        self.assertEqual(list(self.told()), [A.uri, B.uri, C.uri])


MEMBERS = [
    Member(uri, f"key{n}", names)
    for n in range(5)
    for uri, names in ((f"sip:{n}@x", ()), (f"sip:%3{n}@x", (("en", f"Number {n}"),)))
]
INSTANCES = st.builds(
    lambda id, state, text, kind: Instance(
        id, state, "rejected" if state == "terminated" else "", kind, text
    ),
    st.sampled_from("12"),
    st.sampled_from(["active", "active", "pending", "terminated"]),
    st.sampled_from([b"", b"x", b"--tok", b"y" * 400, b"z" * 2000]),
    st.sampled_from([PIDF, PIDF, "text/plain"]),
)
LISTS = st.lists(st.sampled_from(MEMBERS), max_size=8)
STEPS = st.one_of(
    st.tuples(st.just("list"), LISTS),
    st.tuples(st.just("set"), st.integers(0, 4), INSTANCES),
    st.tuples(st.just("set"), st.integers(0, 4), INSTANCES),
    st.tuples(st.just("remove"), st.integers(0, 4)),
    st.tuples(st.just("refresh")),
    st.tuples(st.just("tell"), st.sampled_from(["arrives", "arrives", "unanswered", "lost"])),
    st.tuples(st.just("tell"), st.just("arrives")),
)


class PropertyTests(SynchronousTestCase):
    """Whatever happens, the watcher knows the truth when nothing is due."""

    @settings(max_examples=300, deadline=None)
    @given(
        st.lists(STEPS, max_size=25),
        st.sampled_from([0, 1, 700, 1200]),
        st.sampled_from([None, 0, 3]),
        st.sampled_from(["unlisted", "terminated"]),
    )
    def test_truth(self, steps, limit, maximum, excess) -> None:  # type: ignore[no-untyped-def]
        """RLS-07, RLS-09, RLS-10, RLS-18, RLS-22, RLS-26 between a table and who reads it."""
        table = ListTable(LIST, maximum=maximum, excess=excess)
        terms = attrs.evolve(TERMS, limit=limit, accept=[(PIDF, 1.0)])
        run = _Run(self, table, terms, excess)
        for step in steps:
            run.step(*step)
        for _ in range(20):
            if not table.due:
                break
            run.tell("arrives")
        run.check()


class _Run:
    """A list subscription, and what is true."""

    def __init__(
        self, case: SynchronousTestCase, table: ListTable, terms: Terms, excess: str
    ) -> None:
        self.excess = excess
        self.case = case
        self.table = table
        self.terms = terms
        self.watched = WatchedList()
        self.version = 0
        self.members: dict[str, Member] = {}
        self.states: dict[str, Instance] = {}
        self.last = -1

    def step(self, kind: str, *args) -> None:  # type: ignore[no-untyped-def]
        """Do something."""
        if kind == "list":
            self.list(*args)
        elif kind == "refresh":
            self.table.refresh()
        elif kind == "tell":
            self.tell(*args)
        else:
            key = f"key{args[0]}"
            if kind == "set":
                self.table.set_instance(key, args[1])
            else:
                self.table.remove_instance(key)
            if key in {member.key for member in self.table.subscribed}:
                self.states.pop(key, None)
                if kind == "set":
                    self.states[key] = args[1]

    def list(self, members: list[Member]) -> None:
        """The list becomes another."""
        self.table.set_service((), members)
        self.members = {}
        for member in members:
            self.members.setdefault(member.key, member)
        within = {member.key for member in self.table.subscribed}
        self.states = {key: state for key, state in self.states.items() if key in within}

    def tell(self, fate: str) -> None:
        """Send a report."""
        report = self.table.report(self.version, "tok", self.terms)
        self.case.assertEqual(report is None, not self.table.due)
        if report is None:
            self.check()
            return
        if report.version == 0:
            self.case.assertTrue(report.full)
        if self.terms.limit and len(report.body) > self.terms.limit:
            alone = report.body.count(b"<resource ") == 1
            self.case.assertTrue(report.full or alone)
        self.version += 1
        if fate == "lost":
            return
        taken = self.watched.take(report.content_type, report.body)
        self.case.assertTrue(taken.processed)
        self.case.assertEqual(taken.refresh, not report.full and report.version != self.last + 1)
        self.last = report.version
        if fate == "arrives":
            self.table.acknowledged(report)
            if report.rest:
                self.case.assertTrue(self.table.due)

    def check(self) -> None:
        """Nothing is due: the watcher knows the truth."""
        self.case.assertFalse(self.table.due)
        self.case.assertEqual(
            list(self.truth()),
            [(row.uri, row.names, row.instances) for row in self.watched.members.values()],
        )

    def truth(self) -> Iterator[tuple[str, object, tuple[WatchedInstance, ...]]]:
        """What the watcher ought to know."""
        within = {member.key for member in self.table.subscribed}
        for key, member in self.members.items():
            told: tuple[WatchedInstance, ...] = ()
            state = self.states.get(key)
            if key not in within:
                if self.excess == "terminated":
                    told = (WatchedInstance("excess", "terminated", "giveup"),)
            elif state is None:
                pass
            elif state.state != "active":
                told = (WatchedInstance(state.id, state.state, state.reason),)
            elif state.body and state.content_type == PIDF:
                told = (WatchedInstance(state.id, "active", "", PIDF, state.body),)
            yield member.uri, member.names, told
