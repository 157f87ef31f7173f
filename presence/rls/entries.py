"""What users may have as services, followed in documents (XDM-28, XDM-52 to XDM-54, RLO-02).

An entry is looked at when it is used first and whenever a document changes that it was made
of; some in each turn.  It is known a little longer than it is used.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

import attrs
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from presence.copies import Copies, CopySettings
from presence.documentcopy import Source
from presence.listcopies import CopiedList, Needs
from presence.listreferences import References
from presence.lists import Limits, Parser
from presence.rls.definitions import list_members, read_services, services_path
from presence.rls.model import Service
from presence.workturns import Pause, Turns, Work

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall, IReactorTime

    from presence.following import Feed
    from presence.lists import Resolved
    from presence.rls.definitions import Definition
    from xcap.interfaces import IDocumentClient
    from xcap.usage.serviceuri import ServiceTemplate

_PARSED = 1 << 16


@attrs.frozen(slots=True, kw_only=True)
class ServiceSettings:
    """Choices of the operator; times in seconds.

    :ivar template: the form of service URIs, which tells the owner (XDM-56); other URIs are
        no lists and nothing is fetched for them.  None: any URI may be one.
    :ivar strict: refuse new subscriptions to a list that cannot be resolved in full (XDM-54).
    :ivar tel: ``tel`` URIs are mapped, and so can be subscribed to (XDM-32).
    :ivar foreign: lists at servers of others may be referred to (XDM-29).
    :ivar patience: how long documents are waited for before what is found is used (XDM-28).
    :ivar linger: how long a service is known that nobody holds.
    :ivar retry: Retry-After while the document server cannot be asked (RLO-08).
    :ivar limits: of the resolution of a list.
    :ivar copies: how documents are kept; by default what was read last is used as long as its
        server cannot be reached (RLO-08).
    """

    template: ServiceTemplate | None = None
    strict: bool = False
    tel: bool = False
    foreign: bool = False
    patience: float = 5.0
    linger: float = 10.0
    retry: int = 20
    limits: Limits = attrs.field(factory=Limits)
    copies: CopySettings = attrs.field(factory=lambda: CopySettings(keep=math.inf))


class _NotYet(Exception):
    """A document has to be waited for."""


class _Unknown(Exception):
    """A document that everything depends on cannot be had."""


class Entry:
    """What a user may have as a service.

    :ivar key: see :func:`presence.rls.definitions.service_key`.
    :ivar home: identifier of the user's home directories.
    :ivar service: as the documents have it now, or had it when they could be read last
        (RLO-08); None when there is none, or none is known.
    :ivar holders: called back with changes.
    :ivar changed: called with the entry when one of its documents has changed.
    :ivar needs: the documents that it uses.
    :ivar uses: who finds it now, and who holds it.
    :ivar settled: a look at the documents has ended.
    :ivar known: the documents have said what the service is, or that there is none.
    :ivar forced: what is not there is not waited for.
    :ivar list: of the definition.
    :ivar resolved: what the service was made of.
    :ivar timer: ends the waiting for documents.
    :ivar end: ends the lingering.
    """

    __slots__ = (
        "changed",
        "definition",
        "end",
        "forced",
        "holders",
        "home",
        "key",
        "known",
        "list",
        "needs",
        "references",
        "resolved",
        "service",
        "settled",
        "source",
        "timer",
        "uses",
        "waiting",
    )

    def __init__(
        self,
        key: str,
        home: str,
        references: References,
        copies: Copies,
        changed: Callable[[Entry], None],
    ) -> None:
        self.changed = changed
        self.key = key
        self.home = home
        self.references = references
        self.source = Source(references.root, services_path(home))
        self.needs = Needs(copies, self)
        self.uses = 0
        self.settled = self.known = self.forced = False
        self.definition: Definition | None = None
        self.list: CopiedList | None = None
        self.resolved: Resolved | None = None
        self.service: Service | None = None
        self.timer: IDelayedCall | None = None
        self.end: IDelayedCall | None = None
        self.holders: dict[object, Callable[[Service | None], None]] = {}
        self.waiting: dict[Deferred[None], None] = {}

    @property
    def attended(self) -> bool:
        """Whether it is used, or only lingers."""
        return self.uses > 0

    def touched(self) -> None:
        """A document has changed."""
        self.changed(self)


class Entries:
    """All entries.

    For the parameters see :class:`presence.rls.services.ServiceSource`.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        clients: Callable[[str, str], IDocumentClient | None],
        feed: Feed,
        root: Callable[[str], str],
        canonical: Callable[[str], str],
        settings: ServiceSettings,
    ) -> None:
        self._clock = clock
        self._root = root
        self._canonical = canonical
        self._settings = settings
        self._turns: Turns[Entry] = Turns(clock, self._evaluate)
        self._copies = Copies(clock, clients, feed, settings.copies)
        self._entries: dict[str, dict[str, Entry]] = {}
        self._parser = Parser()

    def __len__(self) -> int:
        return sum(map(len, self._entries.values()))

    @property
    def documents(self) -> int:
        """How many documents there are copies of."""
        return len(self._copies)

    def of(self, key: str) -> Iterator[Entry]:
        """The entries of a URI, of different users."""
        return iter(self._entries.get(key, {}).values())

    def has(self, key: str, home: str) -> bool:
        """Whether there is an entry already."""
        return home in self._entries.get(key, {})

    def use(self, key: str, home: str) -> Entry:
        """What somebody finds or holds; to be followed by one call of :meth:`leave`."""
        entries = self._entries.setdefault(key, {})
        entry = entries.get(home)
        if entry is None:
            references = References(self._root(home), self._canonical, self._settings.foreign)
            entry = Entry(key, home, references, self._copies, self._turns.add)
            entries[home] = entry
            self._evaluate(entry, Work())
        if entry.end is not None:
            entry.end.cancel()
            entry.end = None
        entry.uses += 1
        return entry

    def leave(self, entry: Entry) -> None:
        """End one use."""
        entry.uses -= 1
        if not entry.uses and self._alive(entry):
            entry.end = self._clock.callLater(self._settings.linger, self._lapsed, entry)

    def _alive(self, entry: Entry) -> bool:
        return self._entries.get(entry.key, {}).get(entry.home) is entry

    def _lapsed(self, entry: Entry) -> None:
        entry.end = None
        self._forget(entry)

    def _forget(self, entry: Entry) -> None:
        entries = self._entries[entry.key]
        del entries[entry.home]
        if not entries:
            del self._entries[entry.key]
        self._turns.discard(entry)
        for timer in (entry.timer, entry.end):
            if timer is not None:
                timer.cancel()
        entry.timer = entry.end = None
        entry.needs.clear()
        self._parser.clear()
        self._fire(entry)

    def stop(self) -> None:
        """Forget everything, whoever uses it."""
        for entries in list(self._entries.values()):
            for entry in list(entries.values()):
                entry.holders.clear()
                self._forget(entry)

    def ready(self, entry: Entry) -> Deferred[None]:
        """Wait until a look at the documents has ended."""
        ready: Deferred[None] = Deferred(lambda _: entry.waiting.pop(ready, None))
        if entry.settled:
            ready.callback(None)
        else:
            entry.waiting[ready] = None
        return ready

    async def renew(self, entry: Entry) -> None:
        """Look again for a service that there was none of, unless that would have been told."""
        if not self._alive(entry):
            return
        copy = entry.needs.need(entry.source)
        if copy.sure and copy.known and not copy.failing:
            return
        entry.settled = False
        self._copies.refresh(copy)
        self._evaluate(entry, Work())
        await self.ready(entry)

    # -- evaluation -----------------------------------------------------------------------

    def _evaluate(self, entry: Entry, work: Work) -> None:
        """Look at the documents and take over what they say, if all are there."""
        entry.needs.begin()
        try:
            service = self._look(entry, work)
        except Pause:
            self._turns.add(entry)
        except _NotYet:
            if entry.timer is None:
                delay = self._settings.patience
                entry.timer = self._clock.callLater(delay, self._force, entry)
        except _Unknown:
            self._end(entry)  # what was known is not forgotten
            self._fire(entry)
        else:
            self._take(entry, service)

    def _look(self, entry: Entry, work: Work) -> Service | None:
        """The service, None when there is none.

        :raises _NotYet: a document is on its way.
        :raises _Unknown: the document with the service, or with its list, cannot be had.
        :raises Pause: go on in another turn.
        """
        index = entry.needs.need(entry.source)
        if not index.settled and not entry.forced:
            raise _NotYet
        if not index.known:
            raise _Unknown
        if index.octets is None:
            return None
        if index.unread:
            work.spend(index.unread // _PARSED)
        services: dict[str, Definition] | None = index.read(read_services)
        if services is None:
            raise _Unknown
        definition = services.get(entry.key)
        if definition is None:
            return None
        if entry.list is None or definition != entry.definition:
            entry.definition = definition
            entry.list = CopiedList(
                definition.start,
                entry.references,
                entry.home,
                self._settings.limits,
                len(definition.content),
            )
        resolved = entry.list.resolve(entry.needs.need, entry.forced, work.spend, self._parser)
        if resolved is None:
            raise _NotYet
        if not resolved.found and any(each.kind == "unavailable" for each in resolved.problems):
            raise _Unknown
        if entry.service is None or resolved is not entry.resolved:
            entry.resolved = resolved
            return self._service(entry, definition, resolved, services)
        if entry.service.siblings != services.keys():
            return attrs.evolve(entry.service, siblings=frozenset(services))
        return entry.service

    def _service(
        self,
        entry: Entry,
        definition: Definition,
        resolved: Resolved,
        services: Iterable[str],
    ) -> Service:
        return Service(
            definition.uri,
            entry.home,
            definition.packages,
            resolved.title,
            list_members(resolved, entry.key, tel=self._settings.tel),
            resolved.complete,
            entry.key,
            frozenset(services),
        )

    def _force(self, entry: Entry) -> None:
        """Go on without what is not there."""
        entry.timer = None
        entry.forced = True
        self._turns.add(entry)

    def _end(self, entry: Entry) -> None:
        """A look has ended."""
        self._parser.clear()
        entry.forced = False
        entry.settled = True
        if entry.timer is not None:
            entry.timer.cancel()
            entry.timer = None
        entry.needs.settle()

    def _take(self, entry: Entry, service: Service | None) -> None:
        """This is the service from now on."""
        self._end(entry)
        told = not entry.known or _content(service) != _content(entry.service)
        entry.known = True
        entry.service = service
        self._fire(entry)
        if told:
            self._tell(entry, service)

    def _tell(self, entry: Entry, service: Service | None) -> None:
        for holder, changed in list(entry.holders.items()):
            if holder not in entry.holders:
                continue
            try:
                changed(service)
            except Exception:
                self._log.failure("who holds a list has failed; the others go on")

    @staticmethod
    def _fire(entry: Entry) -> None:
        while entry.waiting:
            ready = next(iter(entry.waiting))
            del entry.waiting[ready]
            ready.callback(None)


def _content(service: Service | None) -> object:
    """What has to be told of a service when it is another one."""
    if service is None:
        return None
    lists = [member.key for member in service.members if member.key in service.siblings]
    return service.packages, service.names, service.members, lists
