"""The model of list subscriptions, with watchers that take changes and set filters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from presence.rls.rlmi import read_related
from pysip.message import Request, Response
from tests.node import DOMAIN, Peer
from tests.pairs import test_list_model as model
from tests.pairs.test_list_model import REMOTE
from tests.presence.filters_oracle import Asked, filter_set

DIFF = "application/pidf-diff+xml"
FILTERS = "application/simple-filter+xml"
STEPS = 2_500
PAD = "".join(f"<note>as always {n}</note>" for n in range(12))

Wish = Literal["basic", "note", "open"]
"""What a watcher wants to hear of a member: whether it is open, its notes, or all if it is open."""

ASKED: dict[Wish, Asked] = {
    "basic": Asked(("//p:basic",)),
    "note": Asked(("//p:note",)),
    "open": Asked(('//p:tuple[p:status/p:basic="open"]',)),
}


class LeanWatching(model.Watching):
    """A subscription to a list in changes, with filters.

    :ivar wishes: by the attribute that tells for whom: "" for all members.
    :ivar kinds: how many documents of each media type have come.
    """

    accept = f"{DIFF}, {model.ACCEPT}"

    def __init__(self, peer: Peer, list_uri: str, serial: int, wishes: dict[str, Wish]) -> None:
        super().__init__(peer, list_uri, serial)
        self.wishes = wishes
        self.kinds: dict[str, int] = {}

    def subscribe(self, expires: int = 3600, **fields: Any) -> Response:
        """Begin with the filters; a refresh and the end leave them alone."""
        if self.wishes and not self.to_tag:
            fields = self.body(self.wishes, ())
        return super().subscribe(expires, **fields)

    def wish(self, wishes: dict[str, Wish]) -> Response:
        """Refresh with others."""
        placed = {
            target: wish for target, wish in wishes.items() if self.wishes.get(target) != wish
        }
        names = {_name(target) for target in wishes}
        gone = [target for target in self.wishes if _name(target) not in names]
        self.wishes = wishes
        return self.subscribe(**self.body(placed, gone)) if placed or gone else self.subscribe()

    def body(self, placed: dict[str, Wish], gone: Any) -> dict[str, Any]:
        """A filter document as the body of a SUBSCRIBE."""
        filters = [ASKED[wish].element(_name(t), f" {t}") for t, wish in placed.items()]
        filters += [f'<filter id="{_name(target)}" remove="true"/>' for target in gone]
        return {"body": filter_set(*filters), "content_type": FILTERS}

    def take(self, request: Request) -> None:
        """Take a NOTIFY."""
        new = request.cseq[0] > self.notified
        super().take(request)
        if new and request.body:
            _, related = read_related(request.first("content-type") or "", request.body)
            for part in related.others:
                kind = part.content_type.type
                if kind == DIFF and b"pidf-full" in part.body:
                    kind = "full"
                self.kinds[kind] = self.kinds.get(kind, 0) + 1


def _name(target: str) -> str:
    """The id of a filter for a target."""
    return target.partition("=")[0] or "all"


class LeanListModelTests(model.ListModelTests):
    """The same two servers and lists (FLT-28, FLT-29, RLS-21, RLS-24, PNO-04, RAT-06)."""

    def setUp(self) -> None:
        """As before."""
        self.told: dict[str, int] = {}
        self.opened: dict[str, bool] = {}
        super().setUp()

    def document(self, who: str, note: str) -> bytes:
        """A document of which a change is a small part."""
        basic = self.random.choice(("open", "closed"))
        self.opened[who] = basic == "open"
        return (
            f'<presence xmlns="urn:ietf:params:xml:ns:pidf" entity="{who}"><tuple id="t1"><status>'
            f"<basic>{basic}</basic></status><note>{note}</note>{PAD}</tuple></presence>"
        ).encode()

    def kinds(self) -> dict[Callable[[], None], float]:
        """And filters change."""
        return {**super().kinds(), self.other_filters: 8.0}

    def wishes(self) -> dict[str, Wish]:
        """Random filters: for everybody, for a member, for a domain."""
        who = self.random.choice(self.people)
        targets = ["", f'uri="{who}"', f'domain="{self.random.choice((DOMAIN, REMOTE))}"']
        return {
            target: self.random.choice(tuple(ASKED))
            for target in targets
            if self.random.random() < 0.35
        }

    def watching(self, uri: str) -> LeanWatching:
        """With filters of its own."""
        return LeanWatching(self.phone, uri, self.serial, self.wishes())

    def other_filters(self) -> None:
        """A watcher wants something else."""
        watching = self.random.choice(list(self.watches.values()))
        assert isinstance(watching, LeanWatching)
        self.assertEqual(watching.wish(self.wishes()).status, 200)

    def end(self, place: str) -> None:
        """Count what was told."""
        watching = self.watches[place]
        super().end(place)
        assert isinstance(watching, LeanWatching)
        for kind, count in watching.kinds.items():
            self.told[kind] = self.told.get(kind, 0) + count

    def truth(self, place: str) -> list[tuple[str, str]]:
        """What is left of the table."""
        watching = self.watches[place]
        assert isinstance(watching, LeanWatching)
        found = []
        for uri, text in super().truth(place):
            state, _, note = text.partition(" ")
            wish = self.wish_for(watching.wishes, uri.lower())
            if wish == "basic" or (wish == "open" and not self.opened.get(uri.lower())):
                note = ""
            found.append((uri, f"{state} {note}".strip()))
        return found

    @staticmethod
    def wish_for(wishes: dict[str, Wish], uri: str) -> Wish | None:
        """The filter for a member: its own, that for all, that for its domain (FLT-25, FLT-28)."""
        domain = uri.partition("@")[2]
        for target in (f'uri="{uri}"', "", f'domain="{domain}"'):
            if target in wishes:
                return wishes[target]
        return None

    def test_truth(self) -> None:
        """The tables always are what filters leave of the truth, told in changes for the most."""
        self.live(STEPS)
        self.assertGreater(self.compared, STEPS // 25)
        self.assertEqual(set(self.told), {DIFF, "full"})
        self.assertGreater(self.told[DIFF], STEPS // 10)
        self.assertEqual(len(self.node.presence.notifier), 0)
        self.node.stop()
        self.elsewhere.stop()
