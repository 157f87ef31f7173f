"""Watcher information of lists, which is not offered (RLO-09)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zope.interface import implementer

from pysip.errors import SipError
from pysip.event.interfaces import IEventPackage
from pysip.event.notification import Notification

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred
    from twisted.python.failure import Failure

    from presence.rls.package import ListPackage
    from pysip.event.interfaces import ISubscription
    from pysip.interfaces import Identity
    from pysip.message import Request


@implementer(IEventPackage)
class ListWinfoPackage:
    """Watcher information of lists, which is not offered (RLO-09).

    :param lists: knows what is a list.
    """

    name = "presence.list.winfo"
    event = "presence.winfo"
    default_expires = 3600
    notify_types: tuple[str, ...] = ()
    subscribe_types: tuple[str, ...] = ()
    template = True
    incremental = False

    def __init__(self, lists: ListPackage) -> None:
        self._lists = lists

    def prepare(self, request: Request, watcher: Identity) -> Deferred[None] | None:
        """Refuse what is a list, whoever asks.

        :raises SipError: (in the Deferred) 489.
        """
        finding = self._lists.prepare(request, watcher)
        if finding is None:
            return None

        def refused(failure: Failure) -> None:
            error = failure.value
            if isinstance(error, SipError) and error.status in (403, 489):
                raise SipError(489) from None
            failure.raiseException()

        return finding.addErrback(refused)

    def resolve(self, request: Request) -> str:
        """Never anything.

        :raises SipError: 489 for a list, 404 for what is none.
        """
        if not request.to.tag:
            self._lists.resolve(request)
            raise SipError(489)
        raise SipError(404)

    def entity(self, request: Request, resource: str) -> str:
        """Never asked."""
        return resource

    def authorize(self, resource: str, watcher: Identity) -> str:
        """Never asked."""
        return "rejected"

    def choose_type(self, request: Request) -> str:
        """Never asked."""
        raise SipError(489)

    def subscribe(self, request: Request, subscription: ISubscription, initial: bool) -> None:
        """Never asked."""

    def subscribed(self, subscription: ISubscription) -> None:
        """Never told."""

    def unsubscribed(self, subscription: ISubscription) -> None:
        """Never told."""

    def notification(self, subscription: ISubscription) -> Notification:
        """Never asked."""
        return Notification()

    def entity_tag(self, subscription: ISubscription) -> None:
        """Never asked: nothing is subscribed to here."""

    def acknowledged(self, subscription: ISubscription) -> None:
        """Never told."""
