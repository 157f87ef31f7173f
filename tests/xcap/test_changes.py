"""Reports of document changes: what one subscriber knows, and what it is told next."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.xcap.notifying import ROOT, key
from xcap.changedoc import Item, read, write
from xcap.changes import View, parse_stored
from xcap.records import Change, DocumentKey
from xcap.selection import MODES, XCAP_PATCHING, Component, Selections
from xcap.uri import document_path, parse_node

NAMES = ("a", "b", "c")
KEYS = {name: key(f"tests/users/sip:joe@example.com/{name}") for name in NAMES}
PART = Component("part", KEYS["c"], parse_node("x/@y", "", ""))
SELECTIONS = Selections(
    {KEYS["a"]: document_path(KEYS["a"])},
    ((ROOT, "tests", "users", "sip:joe@example.com"),),
    (PART,),
)


class Store:
    """Documents with a feed of changes, and who may read them."""

    def __init__(self) -> None:
        self.documents: dict[DocumentKey, tuple[str, bytes]] = {}
        self.hidden: set[DocumentKey] = set()
        self.position = 0
        self.feed: list[Change] = []

    def may(self, key: DocumentKey) -> bool:
        """Whether it is not hidden."""
        return key not in self.hidden

    def write(self, key: DocumentKey, octets: bytes) -> Change | None:
        """Store octets, or remove the document for b""."""
        before, old = self.documents.get(key, ("", b""))
        if not (before or octets):
            return None
        self.position += 1
        after = f"t{self.position}" if octets else ""
        change = Change(self.position, key, before, after, old, octets, "", "", 0.0)
        if octets:
            self.documents[key] = after, octets
        else:
            del self.documents[key]
        self.feed.append(change)
        return change

    def load(self, view: View) -> None:
        """Let a view read everything."""
        octets = {key: octets for key, (_, octets) in self.documents.items()}
        view.load({key: tag for key, (tag, _) in self.documents.items()}, octets)

    def visible(self) -> dict[str, str]:
        """Entity-tags of what may be read."""
        return {
            document_path(key): tag for key, (tag, _) in self.documents.items() if self.may(key)
        }

    def part(self) -> str | None:
        """The attribute that may be read."""
        _, octets = self.documents.get(KEYS["c"], ("", b""))
        if not octets or not self.may(KEYS["c"]):
            return None
        document = parse_stored(octets)
        assert document is not None
        return document.root.attributes.get("y")


class Copy:
    """What a subscriber makes of reports."""

    def __init__(self, case: SynchronousTestCase) -> None:
        self.case = case
        self.tags: dict[str, str] = {}
        self.part: str | None = None

    def take(self, octets: bytes, full: bool) -> None:
        """Take over a report, which must go on from what is known."""
        if full:
            self.tags.clear()
            self.part = None
        for item in read(octets).items:
            self._item(item)

    def _item(self, item: Item) -> None:
        if item.sel == "part":
            self.part = item.value if item.exists else None  # type: ignore[union-attr]
            return
        assert not hasattr(item, "exists")
        self.case.assertEqual(self.tags.get(item.sel, ""), item.before)
        if item.after:
            self.tags[item.sel] = item.after
        else:
            del self.tags[item.sel]


def parse(_: DocumentKey, octets: bytes) -> Any:
    """Without a cache."""
    return parse_stored(octets)


def patch(first: Change, last: Change) -> bytes | None:
    """A stand-in that shows what it was asked for."""
    return f'<p xmlns="urn:x" a="{first.before}" b="{last.after}"/>'.encode()


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.sampled_from(NAMES), st.sampled_from([b"", b"1", b"2"])),
        st.tuples(st.just("hide"), st.sampled_from(NAMES), st.booleans()),
        st.tuples(st.just("report"), st.booleans(), st.none()),
        st.tuples(st.just("refresh"), st.none(), st.none()),
        st.tuples(st.just("restart"), st.none(), st.none()),
    ),
    max_size=30,
)


class ViewTests(SynchronousTestCase):
    """Whatever happens, the copy becomes what may be read."""

    @settings(max_examples=300)
    @given(mode=st.sampled_from(MODES), steps=STEPS)
    def test_any_order(self, mode: str, steps: list[Any]) -> None:
        """Changes, lost and refused reports, refreshes, restarts, permissions.

        Reports chain (XDIFF-05), have nothing that may not be read (XDIFF-08, XEVT-17) and
        bring the latest state in the end (XEVT-07, XEVT-13).
        """
        store, copy = Store(), Copy(self)
        view = View(SELECTIONS, mode, store.may)
        store.load(view)
        known: int | None = None
        hid = False
        for what, one, two in steps:
            if what == "write":
                octets = two and b'<x y="%s">%s</x>' % (two, one.encode())
                change = store.write(KEYS[one], octets)
                if change is not None:
                    view.apply(change)
            elif what == "hide":
                if not view.complete:
                    continue  # what was readable before a restart is not known after it
                hid = True
                (store.hidden.add if two else store.hidden.discard)(KEYS[one])
            elif what == "report":
                report = view.report(parse, store.position)
                told = write(ROOT, report.items(mode, patch))
                for key in store.hidden:
                    for item in report.items(mode, patch):
                        if item.sel == document_path(key):
                            self.assertEqual(getattr(item, "after", ""), "")
                if one:
                    copy.take(told, report.full)
                    view.acknowledged(report)
                    known = report.position
            elif what == "refresh":
                view = View(SELECTIONS, mode, store.may)
                store.load(view)
            elif not hid and known is not None and not view.full:
                view = View(SELECTIONS, mode, store.may)
                view.resume()
                for change in store.feed[known:]:
                    view.apply(change)
        store.hidden.clear()
        if hid:  # somebody says so
            store.load(view)
        for _ in range(2):
            report = view.report(parse, store.position)
            copy.take(write(ROOT, report.items(mode, patch)), report.full)
            view.acknowledged(report)
        self.assertFalse(report)
        self.assertEqual(copy.tags, store.visible())
        self.assertEqual(copy.part, store.part())

    def test_every_change(self) -> None:
        """With xcap-patching the whole history is told, whatever was lost (XEVT-11)."""
        store = Store()
        view = View(SELECTIONS, XCAP_PATCHING, store.may)
        store.load(view)
        view.acknowledged(view.report(parse, 0))
        for octets in (b"<x/>", b"<y/>", b"", b"<z/>", b"<x/>"):
            change = store.write(KEYS["a"], octets)
            assert change is not None
            view.apply(change)
            view.report(parse, store.position)  # does not arrive
        report = view.report(parse, store.position)
        told = [(i.before, i.after) for i in report.items(XCAP_PATCHING, patch)]  # type: ignore[union-attr]
        self.assertEqual(told, [("", "t1"), ("t1", "t2"), ("t2", ""), ("", "t4"), ("t4", "t5")])
        view.acknowledged(report)
        self.assertFalse(view.report(parse, store.position))

    def test_read_ahead(self) -> None:
        """A state that was read before the news of it came is told once."""
        store = Store()
        view = View(SELECTIONS, XCAP_PATCHING, store.may)
        change = store.write(KEYS["a"], b"<x/>")
        assert change is not None
        store.load(view)
        view.acknowledged(view.report(parse, 0))
        view.apply(change)
        self.assertFalse(view.report(parse, store.position))

    def test_missing(self) -> None:
        """A change whose octets are not known has them read first (XEVT-13)."""
        store = Store()
        view = View(SELECTIONS, XCAP_PATCHING, store.may)
        store.load(view)
        view.acknowledged(view.report(parse, 0))
        view.apply(Change(1, KEYS["c"], "", "t", b"", b"", "", "", 0.0))
        self.assertEqual(view.missing, [KEYS["c"]])
        view.supply(KEYS["c"], b'<x y="z"/>')
        view.supply(KEYS["c"], b"")
        view.supply(KEYS["a"], b"")
        self.assertEqual(view.missing, [])
        (_, part) = view.report(parse, 1).items(XCAP_PATCHING, patch)
        self.assertEqual(part.value, "z")  # type: ignore[union-attr]
