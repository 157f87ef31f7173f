"""A Presence Server with watcher information on the in-memory network."""

from __future__ import annotations

from typing import Any, cast

from presence.packages.winfo import MOST_WATCHERS, WatcherInfoPackage
from presence.policy import OperatorWatcherPolicy
from presence.rules.model import Decision, Handling
from presence.watcherbook import WatcherBook
from presence.watcherentry import WatcherLimits
from presence.watcherinfo import Watcher, WatcherInfo, WatcherTable, read
from pysip.event.table import NotifierPolicy
from tests.node import BOB, Node, Peer

OPERATOR = "sip:operator@example.com"
BOB_TEL = "tel:+15550100"
WINFO = "presence.winfo"


class Rules(OperatorWatcherPolicy):
    """Decisions by watcher.

    :ivar default: for others.
    :ivar by: decision by URI.
    """

    def __init__(self, default: Handling = "confirm") -> None:
        super().__init__(default)
        self.by: dict[str, Handling] = {}

    def decide(self, presentity: str, watcher: Any) -> Decision:
        """The presentity itself is allowed."""
        handling = self.by.get(watcher.uri, self.default)
        return OperatorWatcherPolicy(handling).decide(presentity, watcher)


class WinfoNode(Node):
    """The node.

    :ivar rules: its watcher policy.
    :ivar book: who watches.
    """

    def __init__(
        self,
        *,
        rules: Rules | None = None,
        limits: WatcherLimits | None = None,
        most: int = MOST_WATCHERS,
        resumed: bool = True,
        **options: Any,
    ) -> None:
        self.rules = rules or Rules()
        self.limits = limits or WatcherLimits()
        self.most = most
        self.options = {k: v for k, v in options.items() if k not in ("store", "network")}
        options.setdefault("policy", NotifierPolicy(min_expires=1))
        super().__init__(**options)
        if resumed:
            self.presence.resume()

    def done(self, deferred: Any) -> Any:
        """As before; once the server is there, watcher information joins it before it recovers."""
        if not hasattr(self, "presence") or hasattr(self, "book"):
            return super().done(deferred)
        result = super().done(deferred)  # the store has started
        notifier, package = self.presence.notifier, self.presence.package
        package.watchers = self.rules
        self.book = WatcherBook(
            self.store,
            self.wheel,
            self.wall,
            lambda resource, watcher: package.watchers.decide(resource, watcher).handling,
            lambda subscription, reason: notifier.terminate(cast("Any", subscription), reason),
            self.limits,
        )
        package.observer = self.book
        self.winfo = WatcherInfoPackage(
            package,
            self.book,
            lambda resource: {BOB_TEL} if resource == BOB else (),
            self.clock.seconds,
            self.wall,
            serves=package.serves,
            terminate=lambda subscription, reason: notifier.terminate(
                cast("Any", subscription), reason
            ),
            subscriptions=notifier.subscriptions,
            changed=notifier.changed,
            operators=frozenset({OPERATOR}),
            most=self.most,
        )
        self.presence.add_package(self.winfo)
        self.presence.book, self.presence.watcherinfo = self.book, self.winfo
        return result

    def decide(self, *everybody: Handling, **decisions: Handling) -> None:
        """Change the rules, and let them take effect; ``alice="allow"`` is a user here."""
        for decision in everybody:
            self.rules.default = decision
        for user, decision in decisions.items():
            self.rules.by[f"sip:{user}@example.com"] = decision
        self.presence.reauthorize()
        for resource in self.book.waited_for():
            self.book.reauthorize(resource)
        self.advance(0.2)

    def end(self) -> None:
        """As at the end of this process."""
        self.book.stop()
        self.presence.stop()
        self.done(self.store.stop())
        for deferred in self.ua.stop():
            self.done(deferred)
        self.wheel.stop()

    def restart(self, down: float = 0.0) -> WinfoNode:
        """Another node on the same store, rules and network."""
        self.end()
        self.advance(down, step=max(0.05, down / 20))
        return WinfoNode(
            rules=self.rules,
            limits=self.limits,
            most=self.most,
            store=self.store,
            network=self.network,
            **self.options,
        )


class Looker:
    """Somebody who subscribes to watcher information, and keeps its table.

    :ivar peer: where it is.
    :ivar table: as RFC 3858 section 4 says.
    """

    def __init__(self, node: Node, host: str = "192.0.2.20", sender: str = BOB) -> None:
        self.node = node
        self.peer: Peer = node.peer(host)
        self.sender = sender
        self.table = WatcherTable()
        self.refreshes = 0
        self._taken = 0
        self._cseq = 0
        self.dialog: Any = None

    def subscribe(self, uri: str = BOB, **fields: Any) -> Any:
        """SUBSCRIBE, for the first time or again in the dialog."""
        fields = {"event": WINFO, "accept": "application/watcherinfo+xml", **fields}
        if self.dialog is not None:
            fields |= {"call_id": self.dialog.call_id, "to_tag": self.dialog.to.tag}
        self._cseq += 1
        answer = self.peer.subscribe(uri, sender=self.sender, cseq=self._cseq, **fields)
        if answer.status == 200 and fields.get("expires", 1):
            self.dialog = answer
        return answer

    def documents(self) -> list[WatcherInfo]:
        """The documents that came since the last call; the table takes them."""
        notifies = self.peer.notifies()
        new, self._taken = notifies[self._taken :], len(notifies)
        found = [read(request.body) for request in new if request.body]
        for document in found:
            self.refreshes += self.table.take(document).refresh
        return found

    def news(self, seconds: float = 0.5) -> list[list[tuple[str, str, str]]]:
        """After some time: (user, status, event) of each document that has come."""
        self.node.advance(seconds, step=max(0.05, seconds / 200))
        return [
            [(_user(w.uri), w.status, w.event) for each in document.lists for w in each.watchers]
            for document in self.documents()
        ]

    def rows(self) -> list[tuple[str, str, str]]:
        """(user, status, event) of all in the table, sorted."""
        self.documents()
        return sorted((_user(w.uri), w.status, w.event) for _, w in self.table.rows())

    def watchers(self) -> dict[str, Watcher]:
        """The rows by user."""
        self.documents()
        return {_user(w.uri): w for _, w in self.table.rows()}


def _user(uri: str) -> str:
    return uri.partition(":")[2].partition("@")[0]
