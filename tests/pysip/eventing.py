"""A small event package and a sink, for what the event framework does whatever the package."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from zope.interface import implementer

from pysip.errors import SipError
from pysip.event.interfaces import IEventPackage, ILocalSink
from pysip.event.notification import Notification
from pysip.interfaces import Identity
from tests.node import Node

ALICE_IDENTITY = Identity(("sip:alice@example.com",), "Alice", source="asserted")


@implementer(IEventPackage)
class Small:
    """Tells a text of each of its resources.

    :ivar calls: what it was asked, in order.
    :ivar texts: text by resource; others are not here.
    """

    default_expires = 3600
    notify_types = ("text/plain",)
    subscribe_types: tuple[str, ...] = ("text/plain",)
    template = False
    incremental = False

    def __init__(self, name: str = "small", event: str = "small", **texts: str) -> None:
        self.name = name
        self.event = event
        self.texts = {f"sip:{user}@example.com": text for user, text in texts.items()}
        self.calls: list[tuple[Any, ...]] = []
        self.decision = "active"
        self.require = ""
        self.preparing: Deferred[None] | None = None
        self.missing = 404
        self.open = True

    def prepare(self, request: Any, watcher: Any) -> Any:
        """What the test says."""
        self.calls.append(("prepare", request.uri))
        return self.preparing

    def resolve(self, request: Any) -> str:
        """Those that there is a text of."""
        self.calls.append(("resolve", request.uri))
        if request.uri not in self.texts:
            raise SipError(self.missing)
        return str(request.uri)

    def entity(self, request: Any, resource: str) -> str:
        """The same."""
        return resource

    def authorize(self, resource: str, watcher: Any) -> str:
        """What the test says."""
        self.calls.append(("authorize", watcher.uri))
        return self.decision

    def choose_type(self, request: Any) -> str:
        """Text, for who can do what is required."""
        self.calls.append(("choose_type", request.first("accept")))
        if self.require and self.require not in request.values("supported"):
            raise SipError(421, None, (("Require", self.require),))
        return "text/plain"

    def subscribe(self, request: Any, subscription: Any, initial: bool) -> None:
        """Keep the body."""
        self.calls.append(("subscribe", initial, subscription.lasting))
        if request.body == b"bad":
            raise SipError(400)
        subscription.detail = request.body or subscription.detail
        subscription.require = self.require

    def notification(self, subscription: Any) -> Notification | None:
        """The text; nothing while somebody waits for a decision."""
        self.calls.append(("notification", subscription.state))
        if not self.open:
            return None
        if subscription.state == "pending":
            return Notification()
        text = self.texts[subscription.resource].encode()
        return Notification("text/plain", text)

    def entity_tag(self, subscription: Any) -> str | None:
        """That of the text."""
        made = self.notification(subscription)
        return None if made is None else made.tag

    def acknowledged(self, subscription: Any) -> None:
        """Noted."""
        self.calls.append(("acknowledged",))

    def subscribed(self, subscription: Any) -> None:
        """Noted."""
        subscription.require = self.require
        self.calls.append(("subscribed", subscription.state, subscription.detail))

    def unsubscribed(self, subscription: Any) -> None:
        """Noted."""
        self.calls.append(("unsubscribed", subscription.reason))


@implementer(ILocalSink)
class Sink:
    """Keeps what it is told.

    :ivar told: (state, reason, body).
    :ivar during: called at each time.
    """

    def __init__(self) -> None:
        self.told: list[tuple[str, str, bytes]] = []
        self.during: Callable[[], object] = lambda: None

    def notified(self, state: str, reason: str, notification: Notification) -> None:
        """Keep it."""
        self.told.append((state, reason, notification.body))
        self.during()

    def take(self) -> list[tuple[str, str, bytes]]:
        """What it was told since the last time."""
        told, self.told = self.told, []
        return told


class SmallNode(Node):
    """A node that knows the packages before it recovers."""

    def __init__(self, *packages: Small, resumed: bool = True, **options: Any) -> None:
        self.packages = packages
        super().__init__(**options)
        if resumed:
            self.presence.resume()
            self.advance(0.1)

    def done(self, deferred: Any) -> Any:
        """As before; the first time the notifier is there, the packages join it."""
        if hasattr(self, "presence") and self.packages[0].name not in self.notifier._packages:
            for package in self.packages:
                self.notifier.add_package(package)
        return super().done(deferred)

    @property
    def notifier(self) -> Any:
        """The notifier."""
        return self.presence.notifier

    def again(self, down: float = 0.0) -> SmallNode:
        """Another node on the same store, as after kill -9: nothing is told to anybody."""
        self.wheel.stop()
        self.notifier.stop()
        self.done(self.store.stop())
        for deferred in self.ua.stop():
            self.done(deferred)
        self.advance(down, step=max(0.05, down / 20))
        return SmallNode(*self.packages, store=self.store, network=self.network)


def fired(deferred: Deferred[Any]) -> list[Any]:
    """What a Deferred will have given, a SipError as its status."""
    results: list[Any] = []

    def failed(failure: Any) -> None:
        failure.trap(SipError)
        results.append(failure.value.status)

    deferred.addCallbacks(results.append, failed)
    return results
