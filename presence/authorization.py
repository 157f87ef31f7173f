"""Who may watch whom, and see what, by the rules of presentities (PSV-06, xdm.md section 8).

What decides, in this order: the operator's list before the rules, the rules of the presentity,
its own identity, the operator's list after the rules, the operator's default (XDM-139, XDM-150).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Final

from lxml import etree
from twisted.logger import Logger
from zope.interface import implementer

from presence.compose.timed import next_change
from presence.interfaces import IWatcherPolicy
from presence.lingering import Lingering
from presence.pidf.parse import parse_compact
from presence.rules.conditions import domain_of
from presence.rules.defaults import default_rules
from presence.rules.model import Context, Decision, Handling, Watcher
from presence.rules.override import Override
from presence.rules.transform import sphere_of
from pysip.timers import Alarm

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IReactorTime

    from presence.rules.ruleset import RuleSet
    from presence.rulesource import RuleSource
    from pysip.event.records import PublicationRecord
    from pysip.interfaces import Identity
    from pysip.timers import TimerWheel

_FARTHEST: Final = 86400.0
"""The longest time that is waited for at once; what comes later is looked at again then."""


class Defaults:
    """The operator's default as rules, by the presentity's domain (XDM-150, CLI-04).

    :param default: for domains without a decision of their own, and for ``tel:`` URIs.
    :param domains: decision by domain.
    """

    __slots__ = ("_default", "_domains")

    def __init__(
        self, default: Handling = "confirm", domains: Mapping[str, Handling] | None = None
    ) -> None:
        self._default = default_rules(default)
        self._domains = {
            name.lower(): default_rules(handling) for name, handling in (domains or {}).items()
        }

    def rules(self, presentity: str) -> RuleSet:
        """What stands in for the rules of a presentity that has none."""
        if not self._domains:
            return self._default
        return self._domains.get(domain_of(presentity) or "", self._default)


class _Due:
    """When decisions on a presentity's watchers change by themselves.

    :ivar at: seconds since the epoch; the earliest time of which a decision told.
    """

    __slots__ = ("alarm", "at")

    def __init__(self, at: float, alarm: Alarm) -> None:
        self.at = at
        self.alarm = alarm


@implementer(IWatcherPolicy)
class RulesetPolicy(Lingering):
    """Decides by rule documents.

    :param source: the rules and lists of presentities.
    :param clock: monotonic time and delayed calls.
    :param wheel: timers.
    :param wall: wall-clock seconds.
    :param publications: of a presentity, for its sphere.
    :param account: to whom a canonical URI belongs; None for nobody who is known (PSV-16).

    :ivar source: the rules and lists.
    :ivar subscribes: whether changes are told only of what is held.
    :ivar defaults: for presentities without rules.
    :ivar override: the operator's lists.
    :ivar privacy_is_anonymous: see :class:`presence.rules.model.Context`.
    """

    _log = Logger()

    def __init__(
        self,
        source: RuleSource,
        clock: IReactorTime,
        wheel: TimerWheel,
        wall: Callable[[], float],
        publications: Callable[[str], Iterable[PublicationRecord]] = lambda presentity: (),
        account: Callable[[str], str | None] = lambda uri: None,
        *,
        defaults: Defaults | None = None,
        override: Override | None = None,
        privacy_is_anonymous: bool = True,
    ) -> None:
        self.defaults = defaults or Defaults()
        self.override = override or Override()
        self.privacy_is_anonymous = privacy_is_anonymous
        super().__init__(clock)
        self.subscribes = False
        self.source = source
        source.attended = self.attends
        self._wheel = wheel
        self._wall = wall
        self._publications = publications
        self._account = account
        # presentity -> its sphere, and when it changes by itself (seconds since the epoch)
        self._spheres: dict[str, tuple[str | None, float | None]] = {}
        self._due: dict[str, _Due] = {}
        self._listeners: list[Callable[[str], None]] = []
        source.watch(self._changed)

    @property
    def held(self) -> int:
        """Presentities whose rules are at hand."""
        return len(self.source)

    @property
    def documents(self) -> int:
        """Copies of documents that decisions depend on."""
        return self.source.documents

    def stop(self) -> None:
        """Wait for nothing any more, and forget everybody."""
        super().stop()
        self.source.stop()

    # -- decisions ----------------------------------------------------------------------

    def decide(self, presentity: str, watcher: Identity) -> Decision:
        """What holds for a watcher now; see :class:`presence.interfaces.IWatcherPolicy`."""
        rules = self.rules(presentity)
        who = Watcher(watcher.uris, watcher.anonymous)
        decision = self.override.decide(
            rules, self.own(presentity, watcher), who, self.context(presentity, rules)
        )
        if decision.source == "override":
            # PSV-11; of users nothing is logged
            self._log.debug("{reasons}", reasons="; ".join(decision.reasons))
        if decision.boundary is not None:
            self._decide_again(presentity, decision.boundary)
        return decision

    def rules(self, presentity: str) -> RuleSet:
        """The rules to decide by, the operator's default without any (XDM-150)."""
        rules = self.source.rules(presentity)
        return self.defaults.rules(presentity) if rules is None else rules

    def own(self, presentity: str, watcher: Identity) -> frozenset[str]:
        """The presentity's URIs, as far as they matter for this watcher (PSV-14, PSV-16)."""
        account = self._account(presentity)
        if account is None:
            return frozenset((presentity,))
        own = [uri for uri in watcher.uris if self._account(uri) == account]
        return frozenset((presentity, account, *own))

    def context(self, presentity: str, rules: RuleSet) -> Context:
        """What decisions on the watchers of a presentity depend on besides the rules."""
        sphere = self._sphere(presentity) if rules.uses_sphere else None
        return Context(
            self._wall(), sphere, self.source.lists(presentity), self.privacy_is_anonymous
        )

    # -- who is at hand -----------------------------------------------------------------

    def _begin(self, presentity: str) -> None:
        self.source.hold(presentity)

    def _end(self, presentity: str) -> None:
        self.source.release(presentity)
        self._spheres.pop(presentity, None)
        due = self._due.pop(presentity, None)
        if due is not None:
            self._wheel.cancel(due.alarm)

    def _refresh(self, presentity: str) -> None:
        self.source.refresh(presentity)

    def _ready(self, presentity: str) -> Deferred[None] | None:
        return self.source.ready(presentity)

    # -- changes ------------------------------------------------------------------------

    def watch(self, changed: Callable[[str], None]) -> None:
        """Call back with changes; see :class:`IWatcherPolicy`."""
        self._listeners.append(changed)

    def published(self, presentity: str) -> None:
        """Look at the sphere again, if decisions depend on it (RUL-04)."""
        known = self._spheres.pop(presentity, None)
        if known is not None and self._sphere(presentity) != known[0]:
            self._changed(presentity)

    def _changed(self, presentity: str) -> None:
        """Rules, lists, sphere or the time make other decisions."""
        due = self._due.pop(presentity, None)
        if due is not None:
            self._wheel.cancel(due.alarm)
        if presentity not in self._held:
            return
        for listener in self._listeners:
            listener(presentity)

    def _decide_again(self, presentity: str, at: float) -> None:
        """Decisions on the watchers of a presentity change at a time (XDM-117)."""
        due = self._due.get(presentity)
        if due is not None:
            if due.at <= at:
                return
            due.at = at
        elif self._at_hand(presentity):
            due = self._due[presentity] = _Due(at, Alarm(lambda: self._passed(presentity)))
        else:
            return
        self._wheel.after(min(max(0.0, at - self._wall()), _FARTHEST), due.alarm)

    def _passed(self, presentity: str) -> None:
        self._spheres.pop(presentity, None)
        self._changed(presentity)

    # -- sphere -------------------------------------------------------------------------

    def _sphere(self, presentity: str) -> str | None:
        """The sphere of a presentity by its publications (XDM-116)."""
        now = self._wall()
        known = self._spheres.get(presentity)
        if known is not None and (known[1] is None or now < known[1]):
            if known[1] is not None:
                self._decide_again(presentity, known[1])
            return known[0]
        records = list(self._publications(presentity))
        sphere = sphere_of(_roots(records), now)
        changes = (next_change(record.body, now, record.changed) for record in records)
        again = min((at for at in changes if at is not None), default=None)
        if self._at_hand(presentity):
            self._spheres[presentity] = sphere, again
        if again is not None:
            self._decide_again(presentity, again)
        return sphere


def _roots(records: Iterable[PublicationRecord]) -> Iterable[etree._Element]:
    for record in records:
        yield parse_compact(record.body)
