"""Where presence lists come from: documents of services and the lists that they name.

A service is looked for when somebody subscribes to it, followed while it is held, and known a
little longer (XDM-52 to XDM-54, RLO-01, RLO-02, RLO-08).  What is found are documents in memory,
as :mod:`presence.copies` keeps them, so that a change shows at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred, TimeoutError
from twisted.logger import Logger

from presence.rls.definitions import index_path, service_key
from presence.rls.entries import Entries, ServiceSettings
from pysip.errors import SipError
from pysip.uri import canonical_aor
from xcap.agent import NoAnswer
from xcap.errors import StoreUnavailable, XcapError

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

    from presence.following import Feed
    from presence.lists import Resolved
    from presence.rls.entries import Entry
    from presence.rls.model import Service
    from pysip.interfaces import Identity
    from xcap.interfaces import IDocumentClient

_LONGEST = 1024
"""Characters of the URI of a list; of a longer one document servers need not be asked."""


class HeldService:
    """A service that is followed for somebody."""

    __slots__ = ("_entries", "_entry")

    def __init__(
        self, entries: Entries, entry: Entry, changed: Callable[[Service | None], None]
    ) -> None:
        self._entries = entries
        self._entry = entry
        entry.holders[self] = changed

    @property
    def service(self) -> Service | None:
        """As the documents have it now, or had it when they could be read last (RLO-08)."""
        return self._entry.service

    @property
    def known(self) -> bool:
        """Whether the documents were read: without a service it is gone, then."""
        return self._entry.known

    def stop(self) -> None:
        """Hold it no more, and tell nothing more; once more does nothing."""
        if self in self._entry.holders:
            del self._entry.holders[self]
            self._entries.leave(self._entry)


class ServiceSource:
    """Finds and follows services.

    :param clock: time and delayed calls; its seconds must not jump.
    :param clients: by XCAP root and reader: a user's canonical identity, or "" for the
        Resource List Server; None for a root that nothing may be fetched from.
    :param feed: tells of changes of documents.
    :param root: the XCAP root of a user by its canonical URI, ending in ``/``.
    :param canonical: the identifier of the home directory of a user; ValueError for what is
        no user identifier.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        clients: Callable[[str, str], IDocumentClient | None],
        feed: Feed,
        root: Callable[[str], str],
        canonical: Callable[[str], str],
        settings: ServiceSettings | None = None,
    ) -> None:
        self._clock = clock
        self._clients = clients
        self._root = root
        self._canonical = canonical
        self._settings = settings or ServiceSettings()
        self._entries = Entries(clock, clients, feed, root, canonical, self._settings)

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def documents(self) -> int:
        """How many documents there are copies of."""
        return self._entries.documents

    # -- for who serves lists -------------------------------------------------------------

    def find(self, uri: str, watcher: Identity, package: str) -> Deferred[Service | None]:
        """The service that a watcher subscribes to (XDM-52).

        The owner alone may: it is looked for among the watcher's own.

        :param uri: Request-URI of the SUBSCRIBE.
        :param package: event package.
        :returns: None where there is no list (404, unless it is something else); fails with
            :exc:`pysip.errors.SipError` 403 for a list of somebody else, 489 for a list that
            is not for the package, 480 while document servers cannot be asked (RLO-08), 502
            for a reference to a list that is none, or to anything else that cannot be resolved
            if the operator is strict (XDM-54).
        """
        return Deferred.fromCoroutine(self._find(uri, watcher, package))

    def named(self, uri: str) -> bool:
        """Whether a URI is that of a list by the operator's form (XDM-56), if there is any."""
        template = self._settings.template
        try:
            return template is not None and template.fits(service_key(uri))
        except ValueError:
            return False

    def known(self, uri: str, watcher: Identity | None = None) -> Service | None:
        """A service that was found just now, or is held.

        :param watcher: whose it is; None for anybody's.
        """
        try:
            key = service_key(uri)
        except ValueError:
            return None
        homes = None if watcher is None else self._homes(watcher.uris)
        for entry in self._entries.of(key):
            if entry.service is not None and (homes is None or entry.home in homes):
                return entry.service
        return None

    def hold(self, uri: str, owner: str, changed: Callable[[Service | None], None]) -> HeldService:
        """Follow a service; right after it was found that fetches nothing.

        :param owner: whose service it is, as in :attr:`Service.owner`.
        :param changed: called with the service whenever its members, names or packages are
            others, and with None when it is gone; also when it is known for the first time,
            later than here.  It may come back.
        :raises ValueError: the URI is none of a service.
        """
        entry = self._entries.use(service_key(uri), owner)
        return HeldService(self._entries, entry, changed)

    def stop(self) -> None:
        """Forget everything, whoever holds it."""
        self._entries.stop()

    # -- finding --------------------------------------------------------------------------

    async def _find(self, uri: str, watcher: Identity, package: str) -> Service | None:
        try:
            key = service_key(uri)
        except ValueError:
            return None
        if len(key) > _LONGEST:
            return None
        homes = self._homes(watcher.uris)
        users = [canonical_aor(key), *homes]
        template = self._settings.template
        if template is not None:
            if not template.fits(key):
                return None
            owner = self._homes([template.owner(key) or ""])
            if owner:
                users = owner
                homes = [home for home in homes if home in owner]
        entries = self._entries
        asked = [(entries.has(key, home), entries.use(key, home)) for home in homes]
        try:
            reached = True
            for before, entry in asked:
                await entries.ready(entry)
                if entry.service is None and before:
                    await entries.renew(entry)
                if entry.service is not None:
                    return self._serve(entry.service, entry.resolved, package)
                reached &= entry.known
        finally:
            for _, entry in asked:
                entries.leave(entry)
        if not reached:
            raise self._unreachable()
        if await self._anybody(key, users):
            raise SipError(403, "Not your list")
        return None

    def _homes(self, uris: Iterable[str]) -> list[str]:
        """The home directories of a user, by the canonical URIs that it has."""
        homes: dict[str, None] = {}
        for uri in uris:
            try:
                homes[self._canonical(uri)] = None
            except ValueError:
                continue  # one without documents
        return list(homes)

    def _serve(self, service: Service, resolved: Resolved | None, package: str) -> Service:
        """See whether a subscription of the owner can be served."""
        if service.packages is not None and package not in service.packages:
            allowed = ", ".join(sorted(service.packages))
            raise SipError(489, None, (("Allow-Events", allowed),) if allowed else ())
        missing = resolved is not None and not resolved.found
        if missing or (self._settings.strict and not service.complete):
            raise SipError(502, "The list cannot be resolved")
        return service

    async def _anybody(self, key: str, users: Iterable[str]) -> bool:
        """Whether somebody has a service of that URI, by the global index.

        :param users: whose XCAP roots to look at.
        """
        for root in dict.fromkeys(map(self._root, users)):
            client = self._clients(root, "")
            if client is None:
                continue
            getting = client.get(root + index_path(key))
            try:
                response = await getting.addTimeout(self._settings.patience, self._clock)
            except (NoAnswer, XcapError, StoreUnavailable, ValueError, TimeoutError):
                raise self._unreachable() from None
            if response.status == 200:
                return True
            if response.status not in (404, 410):
                self._log.debug("the index of lists: status {status}", status=response.status)
                raise self._unreachable()
        return False

    def _unreachable(self) -> SipError:
        headers = (("Retry-After", str(self._settings.retry)),)
        return SipError(480, "Presence lists cannot be looked up", headers)
