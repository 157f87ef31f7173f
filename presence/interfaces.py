"""Interfaces of the Presence Server: what operators and later roles plug in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zope.interface import Attribute, Interface

from pysip.event.interfaces import IEventStateStore

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from twisted.internet.defer import Deferred

    from presence.records import WatcherRecord
    from presence.rls.listwatch import Taken
    from presence.rules.model import Decision
    from presence.watcher import ListWatch, PresenceWatch
    from pysip.event.interfaces import ISubscription
    from pysip.event.records import BindingRecord, PublicationRecord
    from pysip.interfaces import Identity
    from pysip.message import Response
    from xcap.histogram import Histogram


class IPresenceStore(IEventStateStore):
    """Durable state of a presence node: event state, registrar bindings and watchers."""

    oldest: float = Attribute(
        "Seconds that the oldest change has waited to become durable; 0 when all are."
    )
    commits: int = Attribute("Batches that became durable.")
    rows: int = Attribute("Rows in them.")
    refused: int = Attribute("Batches that the medium has refused.")
    latency: Histogram = Attribute("Seconds that commits took.")

    def start() -> Deferred[None]:
        """Open the medium, creating or migrating its schema.

        :raises xcap.store.errors.StoreError: (in the Deferred) it cannot be used; the
            message tells the operator why and what to do.
        """

    def stop() -> Deferred[None]:
        """Commit what is queued and close."""

    def recover_bindings(bindings: Callable[[list[BindingRecord]], None]) -> Deferred[None]:
        """Read the registrar's bindings back, in chunks of at most 1000."""

    def put_binding(record: BindingRecord) -> None:
        """Insert or replace the binding of (aor, contact)."""

    def remove_binding(aor: str, contact: str) -> None:
        """Forget the binding; an unknown one is ignored."""

    def recover_watchers(watchers: Callable[[list[WatcherRecord]], None]) -> Deferred[None]:
        """Read back who waits for a decision, in chunks of at most 1000."""

    def put_watcher(record: WatcherRecord) -> None:
        """Insert or replace the whole record."""

    def remove_watcher(id: int) -> None:
        """Forget the watcher; an unknown one is ignored."""


class ICompositionPolicy(Interface):
    """How many publications become one raw presence document (presence-data.md J)."""

    def compose(
        entity: str, publications: Sequence[PublicationRecord], now: float | None = None
    ) -> bytes:
        """The composed, schema-valid ``application/pidf+xml`` document; a pure function.

        :param entity: the presentity's URI for the root element.
        :param publications: oldest content first, and the permanent document (COM-01); may be
            empty (PRE-11).
        :param now: seconds since 1970: what has ended by then is left out (RPI-02).
        """

    def next_change(publications: Sequence[PublicationRecord], now: float) -> float | None:
        """When to compose anew although no publication changes (COM-42); None for never.

        :param now: seconds since 1970, as for :meth:`compose`.
        :returns: seconds since 1970, after now.
        """


class IHolder(Interface):
    """Has at hand what documents say of presentities (PSV-08, PSV-10)."""

    subscribes: bool = Attribute(
        "Whether changes are told only of what is held, not of every document."
    )

    def prepare(presentity: str) -> Deferred[None] | None:
        """Gather what documents say of a presentity (PSV-08).

        It stays at hand for some seconds, also when the presentity is not held.

        :param presentity: canonical.
        :returns: fires, never with a failure, when all is known; None when it is already.
        """

    def hold(presentity: str) -> None:
        """Keep it, and follow its changes, until :meth:`release`.

        It is held once, however often this is called.
        """

    def release(presentity: str) -> None:
        """Nobody needs a presentity any more; an unknown one is ignored."""

    def keep(presentity: str) -> Deferred[None] | None:
        """Keep it at hand, too, though nobody needs it now, until :meth:`drop` (PSV-10).

        Changes are followed; all the same :meth:`prepare` asks for it again.

        :returns: as :meth:`prepare`.
        """

    def drop(presentity: str) -> None:
        """Keep it no more; an unknown one is ignored."""

    def watch(changed: Callable[[str], None]) -> None:
        """Call back with each presentity that is held and of which something else holds now."""


class IWatcherPolicy(IHolder):
    """Subscription authorization: who may watch whom, and see what (PSV-06, RUL-01 to RUL-05)."""

    def decide(presentity: str, watcher: Identity) -> Decision:
        """What holds for a watcher now (RFC 5025 section 3.2.1); cheap enough for each NOTIFY.

        :param presentity: canonical; one that is held, or was prepared just before.
        """

    def published(presentity: str) -> None:
        """The inputs of composition have changed, and perhaps the sphere (RUL-04, XDM-116)."""


class IPermanentState(IHolder):
    """Presence that is written as a document and never expires (RFC 4827, XDM-62)."""

    def record(presentity: str) -> PublicationRecord | None:
        """The permanent document as a source of composition, None while it says nothing.

        :param presentity: one that is held, or was prepared just before.
        :returns: its ``package`` is :data:`presence.compose.sources.HARD_STATE`; the same
            object as long as it is the same document.
        """


class IWatcherObserver(Interface):
    """Told by an event package who watches, for watcher information (RFC 3857 section 4.7)."""

    def subscribed(subscription: ISubscription) -> None:
        """A subscription was made, recovered, or its ``state`` has changed; it is durable."""

    def unsubscribed(subscription: ISubscription) -> None:
        """A subscription has ended for its ``reason``; it need not have been told of before."""

    def fetched(subscription: ISubscription) -> None:
        """Somebody about whom nothing is decided has fetched (WFS-03)."""

    def waits(resource: str) -> bool:
        """Whether somebody waits for a decision of a presentity without a subscription."""


class IWatchListener(Interface):
    """Who looks at presentities."""

    def changed(watch: PresenceWatch) -> None:
        """A NOTIFY has come: state and perhaps document of ``watch`` are new."""

    def failed(watch: PresenceWatch, response: Response | None, retry_after: float | None) -> None:
        """The subscription was refused or not answered (None).

        :param retry_after: seconds until it is tried again, None for never.
        """

    def ended(watch: PresenceWatch, reason: str, retry_after: float | None) -> None:
        """The subscription has ended; ``retry_after`` when it will be made anew."""


class IListListener(Interface):
    """Who looks at lists."""

    def list_changed(watch: ListWatch, taken: Taken) -> None:
        """A NOTIFY has come: the state of ``watch`` is new, and perhaps its table.

        :param taken: what is new in the table.
        """

    def failed(watch: ListWatch, response: Response | None, retry_after: float | None) -> None:
        """As of :class:`IWatchListener`."""

    def ended(watch: ListWatch, reason: str, retry_after: float | None) -> None:
        """As of :class:`IWatchListener`; the table is kept until there is a new one."""
