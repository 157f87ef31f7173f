"""The rules and lists of presentities, as documents have them now (PSV-07 to PSV-10, XDM-100).

What is needed of a presentity is fetched when it is held for the first time, followed while it
is held, and forgotten with its release.  Decisions use what is in memory: a change of documents
shows when all that it needs has been fetched, or soon without what cannot be had.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from presence.copies import Copies
from presence.listcopies import Needs
from presence.listreferences import References
from presence.lists import Parser
from presence.ruledocuments import CONFIRM, NotYet, RuleDocuments, RuleSettings, Status
from presence.rulelists import ExternalList
from presence.rules.conditions import identity_key
from presence.workturns import Pause, Turns, Work
from xcap.uri import canonical_xui

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall, IReactorTime

    from presence.documentcopy import Copy, Source
    from presence.following import Feed
    from presence.rules.document import RuleSet
    from presence.rules.model import Lists
    from xcap.interfaces import IDocumentClient


class _Held:
    """A presentity that is held.

    :ivar owner: who holds it.
    :ivar complete: there is something to decide by.
    :ivar asked: somebody has decided before there was.
    :ivar forced: what is not there is not waited for.
    :ivar rules: to decide by; None without a document.
    :ivar members: of external lists, by anchor.
    :ivar needs: the documents that it uses.
    :ivar timer: ends the waiting for documents.
    :ivar lapse: ends the use of the last good members of a list.
    """

    __slots__ = (
        "asked",
        "complete",
        "count",
        "documents",
        "forced",
        "home",
        "lapse",
        "lists",
        "members",
        "needs",
        "owner",
        "presentity",
        "references",
        "rules",
        "status",
        "timer",
        "waiting",
    )

    def __init__(
        self,
        owner: RuleSource,
        presentity: str,
        home: str,
        references: References,
        settings: RuleSettings,
    ) -> None:
        self.owner = owner
        self.presentity = presentity
        self.home = home
        self.references = references
        self.documents = RuleDocuments(references.root, home, settings)
        self.count = 0
        self.complete = self.asked = self.forced = False
        self.rules: RuleSet | None = CONFIRM
        self.status: Status = "unreachable"
        self.members: Mapping[str, frozenset[str] | None] = {}
        self.needs = Needs(owner.copies, self)
        self.lists: dict[str, ExternalList] = {}
        self.timer: IDelayedCall | None = None
        self.lapse: IDelayedCall | None = None
        self.waiting: dict[Deferred[None], None] = {}

    @property
    def attended(self) -> bool:
        """Whether there is anybody to decide on."""
        return self.owner.attended(self.presentity)

    def touched(self) -> None:
        """A document has changed."""
        self.owner.turns.add(self)


class RuleSource:
    """Rules and lists of the presentities that are held.

    :param clock: time and delayed calls; its seconds must not jump.
    :param clients: by XCAP root and reader: a user's canonical identity, or "" for the
        Presence Server; None for a root that nothing may be fetched from.
    :param feed: tells of changes of documents.
    :param root: the XCAP root of a presentity, ending in ``/``.
    :param canonical: the identifier of the home directory of a user; ValueError for what is
        no user identifier.
    :param key: canonical URI of a watcher, as of :class:`presence.rules.model.Watcher`; None
        for a URI that names no watcher.

    :ivar turns: who is to be looked at.
    :ivar copies: of all documents; others may have theirs among them.
    :ivar attended: whether somebody needs a presentity that is held.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        clients: Callable[[str, str], IDocumentClient | None],
        feed: Feed,
        root: Callable[[str], str],
        canonical: Callable[[str], str] = canonical_xui,
        key: Callable[[str], str | None] = identity_key,
        settings: RuleSettings | None = None,
    ) -> None:
        self._clock = clock
        self._root = root
        self._canonical = canonical
        self._key = key
        self._settings = settings or RuleSettings()
        self.turns: Turns[_Held] = Turns(clock, self._evaluate)
        self.copies = Copies(clock, clients, feed, self._settings.copies)
        self.attended: Callable[[str], bool] = lambda presentity: True
        self._held: dict[str, _Held] = {}
        self._listeners: list[Callable[[str], None]] = []
        self._parser = Parser()

    def __len__(self) -> int:
        return len(self._held)

    @property
    def documents(self) -> int:
        """How many documents there are copies of."""
        return len(self.copies)

    def home(self, presentity: str) -> tuple[str, str]:
        """Where the documents of a presentity are: XCAP root, and name of its home directories."""
        try:
            return self._root(presentity), self._canonical(presentity)
        except ValueError:
            return self._root(presentity), presentity

    # -- for who decides ------------------------------------------------------------------

    def watch(self, changed: Callable[[str], None]) -> None:
        """Call back with each presentity whose rules, or lists that they use, are others now.

        That is once for a change, when :meth:`rules` and :meth:`lists` give what is new
        (PSV-09); and for who has asked them too early.
        """
        self._listeners.append(changed)

    def hold(self, presentity: str) -> None:
        """Fetch and follow what decisions on the watchers of a presentity need.

        :param presentity: canonical; each call is to be followed by one of :meth:`release`.
        """
        held = self._held.get(presentity)
        if held is None:
            root, home = self.home(presentity)
            settings = self._settings
            references = References(root, self._canonical, settings.foreign)
            held = self._held[presentity] = _Held(self, presentity, home, references, settings)
            self._evaluate(held, Work())
        held.count += 1

    def release(self, presentity: str) -> None:
        """Forget a presentity that nobody else holds.

        :raises KeyError: it is not held.
        """
        held = self._held[presentity]
        held.count -= 1
        if held.count:
            return
        del self._held[presentity]
        self.turns.discard(held)
        for timer in (held.timer, held.lapse):
            if timer is not None:
                timer.cancel()
        held.timer = held.lapse = None
        held.needs.clear()
        self._parser.clear()
        self._fire(held)

    def stop(self) -> None:
        """Release everybody, however often they are held."""
        for held in list(self._held.values()):
            held.count = 1
            self.release(held.presentity)

    def refresh(self, presentity: str) -> None:
        """Ask again for the documents of a presentity, to be waited for as at first.

        :raises KeyError: it is not held.
        """
        held = self._held[presentity]
        held.complete = False
        held.needs.refresh()
        self._evaluate(held, Work())

    def ready(self, presentity: str) -> Deferred[None] | None:
        """Wait until there is something to decide by (PSV-08).

        :param presentity: one that is held.
        :returns: None when there is; else fires, never with a failure, within ``first``.
        """
        held = self._held.get(presentity)
        if held is None or held.complete:
            return None
        ready: Deferred[None] = Deferred(lambda _: held.waiting.pop(ready, None))
        held.waiting[ready] = None
        return ready

    def rules(self, presentity: str) -> RuleSet | None:
        """The rules to decide by; None without a document: the operator's default (XDM-150).

        While they are not known, or the presentity is not held, everybody is to be confirmed.
        """
        held = self._held.get(presentity)
        if held is None:
            return CONFIRM
        held.asked = held.asked or not held.complete
        return held.rules

    def status(self, presentity: str) -> Status:
        """What :meth:`rules` gives, for people."""
        held = self._held.get(presentity)
        return "unreachable" if held is None else held.status

    def lists(self, presentity: str) -> Lists:
        """The external lists of a presentity, as they are now, by anchor."""
        held = self._held.get(presentity)
        if held is None:
            return _undetermined
        held.asked = held.asked or not held.complete
        return held.members.get

    # -- evaluation -----------------------------------------------------------------------

    def _evaluate(self, held: _Held, work: Work) -> None:
        """Look at the documents and take over what they say, if all are there."""
        held.needs.begin()
        need = held.needs.need
        try:
            rules, status = held.documents.find(need, held.forced)
            anchors = () if rules is None else rules.anchors
            ready = self._resolve(held, anchors, need, work)
        except NotYet:
            ready = False
        except Pause:
            self.turns.add(held)
            return
        if ready:
            self._take(held, rules, status)
        elif held.timer is None:
            delay = self._settings.patience if held.complete else self._settings.first
            held.timer = self._clock.callLater(delay, self._force, held)

    def _resolve(
        self, held: _Held, anchors: Iterable[str], need: Callable[[Source], Copy], work: Work
    ) -> bool:
        """Resolve external lists side by side (XDM-120); tells whether all are done."""
        wanted = sorted(anchors)[: self._settings.anchors]
        held.lists = {
            anchor: held.lists.get(anchor)
            or ExternalList(anchor, held.home, held.references, self._settings.limits, self._key)
            for anchor in wanted
        }
        ready = True
        for listed in held.lists.values():
            ready &= listed.resolve(need, held.forced, work.spend, self._parser)
        return ready

    def _force(self, held: _Held) -> None:
        """Go on without what is not there."""
        held.timer = None
        held.forced = True
        self.turns.add(held)

    def _take(self, held: _Held, rules: RuleSet | None, status: Status) -> None:
        """Decide by this from now on."""
        self._parser.clear()
        told = held.asked
        held.forced = held.asked = False
        if held.timer is not None:
            held.timer.cancel()
            held.timer = None
        held.needs.settle()
        members = self._members(held)
        if held.complete:
            told = rules is not held.rules or members != held.members
        held.complete = True
        held.rules, held.status, held.members = rules, status, members
        self._fire(held)
        if told and self._held.get(held.presentity) is held:
            self._changed(held.presentity)

    def _members(self, held: _Held) -> dict[str, frozenset[str] | None]:
        """The members of the lists; looked at again when some stop to be good (XDM-123)."""
        now = self._clock.seconds()
        found = {}
        ends = []
        for anchor, listed in held.lists.items():
            found[anchor], until = listed.members(now, self._settings.keep)
            if until is not None:
                ends.append(until)
        if held.lapse is not None:
            held.lapse.cancel()
            held.lapse = None
        if ends:
            held.lapse = self._clock.callLater(min(ends) - now, self._lapsed, held)
        return found

    def _lapsed(self, held: _Held) -> None:
        held.lapse = None
        self.turns.add(held)

    def _changed(self, presentity: str) -> None:
        for listener in self._listeners:
            try:
                listener(presentity)
            except Exception:
                self._log.failure("who waits for rules has failed; the others go on")

    @staticmethod
    def _fire(held: _Held) -> None:
        while held.waiting:
            ready = next(iter(held.waiting))
            del held.waiting[ready]
            ready.callback(None)


def _undetermined(anchor: str) -> None:
    """Nothing is known of a presentity that is not held."""
