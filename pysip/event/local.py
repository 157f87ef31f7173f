"""Subscriptions from inside the process, for a Resource List Server beside us (RLS-24).

They are decided on, limited, kept and ended as those of SIP are, by the same calls of the
package in the same order.  What differs is how they are told: their sink is called in a turn of
its own with the newest state, at most once for one state, and as often as that changes: whoever
listens has a rate gate of its own.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import attrs
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from pysip.errors import ParseError, SipError
from pysip.event.live import TIMEOUT
from pysip.event.localsubscription import LocalSubscription
from pysip.event.notification import Notification
from pysip.event.packages import admit, agreed_type, event_value, granted
from pysip.event.subscription import CSEQ_BLOCK, FORCED, NOT_DUE
from pysip.message import Request
from pysip.slices import SLICE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from twisted.internet.interfaces import IDelayedCall

    from pysip.event.interfaces import IEventPackage, ILocalSink
    from pysip.event.live import LiveSubscriptions
    from pysip.event.notifier import Notifier
    from pysip.event.packages import Packages
    from pysip.interfaces import Identity

_NOTHING = Notification()
_NOT_STORED = "Server Internal Error: storage"
_TOLD_AT_ONCE = 100
"""Most sinks called in one turn of the reactor."""


class LocalSubscriptions:
    """Makes and tells them.

    :param notifier: what subscriptions belong to.
    :param live: all subscriptions.
    :param packages: asked about each of them.
    """

    _log = Logger()

    def __init__(self, notifier: Notifier, live: LiveSubscriptions, packages: Packages) -> None:
        self._notifier = notifier
        self._live = live
        self._packages = packages
        self._making: dict[str, object] = {}
        self._queue: deque[LocalSubscription] = deque()
        self._call: IDelayedCall | None = None
        self._stopped = False

    def stop(self) -> None:
        """Tell nobody any more."""
        self._stopped = True
        self._queue.clear()
        if self._call is not None:
            self._call.cancel()
            self._call = None

    # -- owners -------------------------------------------------------------------------

    def keys(self) -> list[str]:
        """The keys of all that live, with a sink or without."""
        return [place for place in self._live.table.places if isinstance(place, str)]

    def get(self, key: str) -> LocalSubscription | None:
        """The one of this key."""
        found = self._live.table.places.get(key)
        return found if isinstance(found, LocalSubscription) else None

    def attach(self, key: str, sink: ILocalSink) -> LocalSubscription | None:
        """Tell this sink from now on, beginning with the state that there is."""
        subscription = self.get(key)
        if subscription is not None:
            subscription.sink = sink
            subscription.told = ""
            subscription.delivered = None
            subscription.owe(FORCED)
        return subscription

    def drop(self, key: str) -> bool:
        """End the one of this key and tell nobody."""
        if self._making.pop(key, None) is not None:
            return True
        subscription = self.get(key)
        if subscription is None:
            return False
        subscription.sink = None
        self.unsubscribe(subscription)
        return True

    # -- SUBSCRIBE ----------------------------------------------------------------------

    def subscribe(
        self,
        event: str,
        uri: str,
        watcher: Identity,
        key: str,
        expires: int,
        sink: ILocalSink,
        headers: Mapping[str, Sequence[str]],
        body: bytes,
    ) -> Deferred[LocalSubscription]:
        """As :meth:`pysip.event.notifier.Notifier.subscribe_local`."""
        if not key or key in self._making or key in self._live.table.places:
            raise ValueError(f"the key {key!r} is in use")
        request = _request(event, uri, watcher, key, expires, headers, body)
        mark = self._making[key] = object()
        return Deferred.fromCoroutine(self._subscribe(request, watcher, key, sink, mark))

    async def _subscribe(
        self, request: Request, watcher: Identity, key: str, sink: ILocalSink, mark: object
    ) -> LocalSubscription:
        try:
            if self._live.store.failed:
                raise SipError(503, None, (("Retry-After", "10"),))
            package, resource = await self._find(request, watcher)
            if self._making.get(key) is not mark:
                raise SipError(487)  # dropped meanwhile
            subscription = self._made(request, package, resource, watcher, key, sink)
        except ParseError as error:
            raise SipError(400, f"Bad Request: {error}") from None
        finally:
            if self._making.get(key) is mark:
                del self._making[key]
        if not subscription.lasting:
            subscription.ready = True
            subscription.reason = "timeout"
            self._live.finish(subscription, TIMEOUT)
            return subscription
        begun: Deferred[bool] = Deferred()
        self._live.begin(subscription, begun.callback)
        if not await begun:
            raise SipError(500, _NOT_STORED)
        self._live.ready(subscription)
        return subscription

    async def _find(self, request: Request, watcher: Identity) -> tuple[IEventPackage, str]:
        """The package that has the resource, and its name there."""
        event = request.event
        packages = self._packages.by_event.get(event.package) if event is not None else None
        missing = SipError(489)
        for package in packages or ():
            waiting = package.prepare(request, watcher)
            if waiting is not None:
                await waiting
            try:
                return package, package.resolve(request)
            except SipError as error:
                if error.status != 404:
                    raise
                missing = error
        raise missing

    def _made(
        self,
        request: Request,
        package: IEventPackage,
        resource: str,
        watcher: Identity,
        key: str,
        sink: ILocalSink,
    ) -> LocalSubscription:
        live = self._live
        if watcher.info:
            watcher = attrs.evolve(watcher, info="")  # of one request only
        state, expires, content_type = admit(request, package, resource, watcher, live.policy)
        event = request.event
        subscription = LocalSubscription(
            self._notifier,
            live.last_id + 1 if expires else 0,
            package.name,
            resource,
            package.entity(request, resource),
            event_value(event) if event is not None else package.event,
            watcher,
            state,
            content_type,
            live.clock.seconds() + expires,
            live.wall(),
            key,
            sink,
        )
        if expires:
            live.table.check_limits(subscription, live.policy)
        package.subscribe(request, subscription, True)
        return subscription

    async def refresh(
        self,
        subscription: LocalSubscription,
        expires: int,
        headers: Mapping[str, Sequence[str]],
        body: bytes,
    ) -> None:
        """As :meth:`LocalSubscription.refresh`."""
        live = self._live
        package = self._packages.by_name[subscription.package]
        request = _request(
            subscription.event,
            subscription.entity,
            subscription.watcher,
            subscription.key,
            expires,
            headers,
            body,
        )
        waiting = package.prepare(request, subscription.watcher)
        if waiting is not None:
            await waiting
        if not live.table.holds(subscription):
            raise SipError(481)
        before = subscription.terms()
        try:
            lifetime = granted(request, package, live.policy)
            if not lifetime:
                self.unsubscribe(subscription)
                return
            content_type = agreed_type(request, package)
            package.subscribe(request, subscription, False)
        except ParseError as error:
            raise SipError(400, f"Bad Request: {error}") from None
        subscription.content_type = content_type
        subscription.deadline = live.clock.seconds() + lifetime
        live.rearm(subscription)
        live.put(subscription)
        kept: Deferred[bool] = Deferred()
        live.store.when_durable(kept.callback)
        if not await kept:
            subscription.restore(before)
            if live.table.holds(subscription):
                live.rearm(subscription)
            raise SipError(500, _NOT_STORED)
        if not live.table.holds(subscription):
            raise SipError(481)
        state = package.authorize(subscription.resource, subscription.watcher)
        live.decided(subscription, state)
        if state != "rejected":
            subscription.owe(FORCED)

    def unsubscribe(self, subscription: LocalSubscription) -> None:
        """As :meth:`LocalSubscription.unsubscribe`."""
        if not self._live.table.holds(subscription):
            return
        package = self._packages.by_name[subscription.package]
        state = package.authorize(subscription.resource, subscription.watcher)
        if state != "rejected":
            self._live.table.set_state(subscription, state)
        self._live.terminate(subscription, "rejected" if state == "rejected" else "timeout")

    # -- sinks --------------------------------------------------------------------------

    def owe(self, subscription: LocalSubscription, due: int) -> None:
        """Tell the sink in a later turn, when there is one and the subscription is durable."""
        subscription.due = max(subscription.due, due)
        if not subscription.ready or subscription.queued or subscription.sink is None:
            return
        subscription.queued = True
        self._queue.append(subscription)
        self._schedule()

    def _schedule(self) -> None:
        if self._queue and self._call is None and not self._stopped:
            self._call = self._live.clock.callLater(0, self._turn)

    def _turn(self) -> None:
        self._call = None
        seconds = self._live.clock.seconds
        began = seconds()
        for _ in range(min(_TOLD_AT_ONCE, len(self._queue))):
            if self._stopped:
                return
            subscription = self._queue.popleft()
            subscription.queued = False
            try:
                self._tell(subscription)
            except Exception:
                # A bug in one must not keep the others waiting for ever.
                self._log.failure("telling somebody in this process failed")
            if seconds() - began >= SLICE:
                break
        self._schedule()

    def _tell(self, subscription: LocalSubscription) -> None:
        sink, due = subscription.sink, subscription.due
        subscription.due = NOT_DUE
        subscription.forced = due == FORCED
        if sink is None or not (subscription.ending or self._live.table.holds(subscription)):
            return  # its end waits for the store
        package = self._packages.by_name[subscription.package]
        notification = _NOTHING
        if subscription.state != "terminated":
            made = package.notification(subscription)
            if made is None:  # the package has to gather it first
                subscription.due = max(subscription.due, due)
                return
            notification = made
        state = "terminated" if subscription.ending else subscription.state
        if state == subscription.told and notification.digest == subscription.delivered:
            return
        subscription.count += 1
        self._reserve(subscription)
        subscription.told = state
        # Who fails has not heard of it, and gets the next one in any case.
        subscription.delivered = None
        sink.notified(state, subscription.reason, notification)
        if not subscription.ending:
            subscription.delivered = notification.digest
            package.acknowledged(subscription)

    def _reserve(self, subscription: LocalSubscription) -> None:
        """Reserve further numbers in the store before they are used up, as of CSeq."""
        limit = subscription.cseq_limit
        if subscription.count < limit - CSEQ_BLOCK // 10 or subscription.ending:
            return
        subscription.cseq_limit = limit + CSEQ_BLOCK
        self._live.put(subscription)

        def durable(stored: bool) -> None:
            if not stored:
                subscription.cseq_limit = limit  # as in the store, where a restart begins

        self._live.store.when_durable(durable)


def _request(
    event: str,
    uri: str,
    watcher: Identity,
    key: str,
    expires: int,
    headers: Mapping[str, Sequence[str]],
    body: bytes,
) -> Request:
    """The SUBSCRIBE that a subscription stands for, as far as packages look at it."""
    fields = {name: list(values) for name, values in headers.items()}
    fields |= {
        "from": [f"<{watcher.uri}>;tag=local"],
        "to": [f"<{uri}>"],
        "call-id": [key],
        "cseq": ["1 SUBSCRIBE"],
        "event": [event],
        "expires": [str(expires)],
    }
    return Request("SUBSCRIBE", uri, fields, body)
