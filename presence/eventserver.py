"""Event packages on one user agent: compositor, notifier, and their life with the store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pysip.event.compositor import Compositor
from pysip.event.notifier import Notifier
from pysip.uri import TelUri

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from twisted.internet.defer import Deferred

    from presence.interfaces import IPresenceStore
    from pysip.event.interfaces import IEventPackage, IPublicationPolicy, IRatePolicy
    from pysip.event.table import NotifierPolicy
    from pysip.message import Request
    from pysip.ua import UserAgent
    from pysip.uri import Uri


class EventServer:
    """Serves PUBLISH and SUBSCRIBE for the packages that the roles of this process add.

    :param ua: the user agent whose requests it serves.
    :param store: durable state, started.
    :param publication_policy: lifetimes and limits of PUBLISH.
    :param rates: notification intervals.
    :param notifier_policy: limits and choices of the notifier.
    :param wall: wall-clock seconds.
    """

    def __init__(
        self,
        ua: UserAgent,
        store: IPresenceStore,
        publication_policy: IPublicationPolicy,
        rates: IRatePolicy,
        notifier_policy: NotifierPolicy,
        wall: Callable[[], float],
    ) -> None:
        self._ua = ua
        self._store = store
        self._resolve: Callable[[Request], Any] | None = None
        self.compositor = Compositor(store, ua.wheel, wall, ua.tokens, publication_policy)
        self.notifier = Notifier(ua, store, rates, notifier_policy, wall)
        ua.find = self.find
        ua.add_method("PUBLISH", self.compositor.serve)
        ua.add_method("SUBSCRIBE", self.notifier.serve)

    def add_package(self, package: IEventPackage) -> None:
        """Serve one more event package; before :meth:`recover`."""
        if self._resolve is None:
            self._resolve = package.resolve
        self.notifier.add_package(package)

    def find(self, request: Request) -> None:
        """See that a request is for somebody or something here (UAS-01 steps 5 and 6, UAS-10).

        A URI without a user part is that of the server.

        :raises SipError: 404 or 481.
        """
        if request.method == "SUBSCRIBE":
            self.notifier.find(request)
        elif self._resolve is not None and (
            request.method == "PUBLISH" or (not request.to.tag and _names_user(request.target))
        ):
            self._resolve(request)

    async def recover(self) -> None:
        """Take publications and subscriptions back from the store."""
        recovered: Deferred[None] = self._store.recover(
            self.compositor.recovered, self.notifier.recovered
        )
        await recovered
        for package, resource in self.compositor.lapsed:
            # What watchers have acknowledged may be older than what has expired meanwhile.
            self.notifier.forget_delivered(package, resource)
        self.compositor.lapsed.clear()

    def resume(self) -> None:
        """Decide anew on all watchers, and tell those whose view has changed meanwhile."""
        self.notifier.resume()

    def reauthorize(self) -> None:
        """Decide anew on all subscriptions, after the watcher policy has changed."""
        self.notifier.reauthorize_all()

    def end_watchers(self, gone: Mapping[str, float]) -> None:
        """Users are no more: end what they watch (PSV-19).

        :param gone: canonical URIs with wall-clock times; what was made later is of others.
        """
        self.notifier.end_watchers(gone)

    def end_presentity(self, uri: str, before: float) -> None:
        """A user is no more: there is nobody to watch (PSV-19); nothing, without such a package.

        :param before: wall-clock time; what was made later is of somebody else.
        """

    def stop(self) -> None:
        """Send no more NOTIFYs."""
        self.notifier.stop()


def _names_user(uri: Uri) -> bool:
    """Whether a Request-URI is of a user, not of a server."""
    return isinstance(uri, TelUri) or bool(getattr(uri, "user", None))
