"""A document server that notifies over an in-memory SIP network, and one that subscribes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import attrs
from twisted.internet.task import Clock
from zope.interface import implementer

from presence.store.memory import MemoryStore
from pysip.auth.domains import Domains
from pysip.auth.trust import IdentityPolicy, TrustPolicy
from pysip.dns import RecordCache
from pysip.event.interfaces import IRatePolicy
from pysip.event.notifier import Notifier
from pysip.event.table import NotifierPolicy
from pysip.locate import Locator
from pysip.message import Request, Response, response_to
from pysip.timers import TimerWheel
from pysip.tokens import TokenSource
from pysip.transport.loop import LoopNetwork
from pysip.ua import UserAgent
from tests.node import SERVER, Node, NoNames, Peer
from xcap.changedoc import NAMESPACE as DIFFS
from xcap.changedoc import ChangeReport, DocumentChange, ElementState, read
from xcap.feed import ChangeFeed
from xcap.interfaces import ISubscribers
from xcap.notifier import DIFF, LISTS, NotifierSettings, XcapDiffPackage
from xcap.profile import UaProfilePackage
from xcap.records import Document, DocumentKey, Draft, Requester, Tree
from xcap.store.memory import MemoryDocumentStore
from xcap.uri import canonical_xui
from xcap.usage.base import BOTH, Trusted, Usage
from xcap.usage.resourcelists import ResourceLists

ROOT = "https://xcap.example.com/"
OTHER_ROOT = "https://other.example.com:8443/services/"
PSI = "sip:xdms.example.com"
JOE = "sip:joe@example.com"
ANN = "sip:ann@example.com"
RLS = "sip:rls@example.com"
INDEX = f"resource-lists/users/{JOE}/index"
NAMESPACE = "urn:ietf:params:xml:ns:resource-lists"


class Samples(Usage):
    """A usage with subdirectories, without namespace, both trees and readers to be changed."""

    auid = "tests"
    mime_type = "application/xml"
    trees: frozenset[Tree] = BOTH

    def __init__(self, trusted: Iterable[Trusted] = ()) -> None:
        super().__init__(trusted)
        self.hidden: set[str] = set()
        self.asked = 0

    def locate(self, tree: Tree, path: tuple[str, ...]) -> None:
        """Anywhere."""

    def may(self, requester: Requester, operation: str, key: DocumentKey) -> bool:
        """By default; but nobody reads what is hidden."""
        self.asked += 1
        return key.path not in self.hidden and super().may(requester, operation, key)


@implementer(ISubscribers)
class Users:
    """Everybody at example.com but one, who has an alias."""

    aliases: Mapping[str, str] = {"tel:+15555550123": JOE}

    def canonical(self, xui: str) -> str:
        """Without alias."""
        found = canonical_xui(xui)
        return self.aliases.get(found, found)

    def known(self, xui: str) -> bool:
        """Not everybody."""
        return xui.endswith("@example.com") and "unknown" not in xui


@implementer(IRatePolicy)
class Rates:
    """One interval for all."""

    def __init__(self, interval: float) -> None:
        self._interval = interval

    def interval(self, package: str, resource: str) -> float:
        """Seconds."""
        return self._interval


def key(path: str, root: str = ROOT) -> DocumentKey:
    """The key of ``AUID/users/XUI/rest`` or ``AUID/global/rest``."""
    auid, tree, *rest = path.split("/")
    xui = rest.pop(0) if tree == "users" else ""
    return DocumentKey(root, auid, xui, "/".join(rest))


def lists(*names: str) -> bytes:
    """A resource list document with so many lists."""
    inner = "".join(f'<list name="{name}"><entry uri="sip:{name}@x"/></list>' for name in names)
    return f'<resource-lists xmlns="{NAMESPACE}">{inner}</resource-lists>'.encode()


class DocumentNode(Node):
    """A SIP node of a document server: notifier, both packages and a document store.

    :ivar documents: the document store.
    """

    def __init__(
        self,
        *,
        network: LoopNetwork | None = None,
        store: MemoryStore | None = None,
        documents: MemoryDocumentStore | None = None,
        usages: Iterable[Usage] | None = None,
        interval: float = 0.0,
        seed: int = 0,
        policy: NotifierPolicy | None = None,
        **settings: Any,
    ) -> None:
        self.address = SERVER
        self.network = network or LoopNetwork(Clock(), seed)
        self.clock: Clock = self.network.clock  # type: ignore[assignment]
        self.wheel = TimerWheel(self.clock)
        self.domains = Domains(["example.com"], {"192.0.2.1": "example.com"})
        self.ua = UserAgent(
            self.clock,
            self.wheel,
            Locator(RecordCache(NoNames(), self.clock), self.clock),
            IdentityPolicy(TrustPolicy(), self.domains, mode="none"),
            tokens=TokenSource(),
        )
        self.interval = interval
        self.settings = settings
        self.store = store or MemoryStore(self.clock)
        self.documents = documents or MemoryDocumentStore(self.clock, self.wall)
        trusted = (Trusted(RLS),)
        self.usages = list(usages or (ResourceLists(trusted), Samples(trusted)))
        self.notifier = Notifier(
            self.ua, self.store, Rates(interval), policy or NotifierPolicy(), self.wall
        )
        by_auid = {usage.auid: usage for usage in self.usages}
        self.feed = ChangeFeed(self.notifier, self.documents, self.clock, by_auid)
        chosen = NotifierSettings(roots=(ROOT, OTHER_ROOT), addresses=frozenset({PSI}), **settings)
        users = Users()
        self.diff = XcapDiffPackage(self.feed, users, self.domains, chosen)
        self.profile = UaProfilePackage(self.feed, users, self.domains, chosen, self.wall)
        self.notifier.add_package(self.diff)
        self.notifier.add_package(self.profile)
        self.ua.find = self.notifier.find
        self.ua.add_method("SUBSCRIBE", self.notifier.serve)
        self.done(self.documents.start())
        self.done(self.store.start())
        self.done(self.store.recover(lambda _: None, self.notifier.recovered))
        self.done(self.ua.start_transport(self.network.transport(SERVER, "UDP")))

    @property
    def samples(self) -> Samples:
        """The usage ``tests``."""
        (found,) = (usage for usage in self.usages if isinstance(usage, Samples))
        return found

    def put(self, path: str, octets: bytes, root: str = ROOT, seconds: float = 0.2) -> str:
        """Store a document and give its entity-tag; then time passes."""
        where = key(path, root)
        known = self.done(self.documents.fetch(where))
        before = known.etag if known is not None else ""
        stored = self.done(self.documents.commit(Draft(where, before, octets, JOE)))
        self.advance(seconds)
        return str(stored.etag)

    def delete(self, path: str, seconds: float = 0.2) -> None:
        """Remove a document; then time passes."""
        known = self.done(self.documents.fetch(key(path)))
        self.done(self.documents.commit(Draft(key(path), known.etag, None, JOE)))
        self.advance(seconds)

    def end(self) -> None:
        """As at the end of this process."""
        self.feed.stop()
        self.notifier.stop()
        self.done(self.store.stop())
        self.done(self.documents.stop())
        for deferred in self.ua.stop():
            self.done(deferred)
        self.wheel.stop()

    def restart(self) -> DocumentNode:
        """Another node on the same stores and clock, as after the end of this process."""
        self.end()
        node = self.begin_again()
        node.notifier.resume()
        return node

    def begin_again(self) -> DocumentNode:
        """Another node on the same stores that has not told anybody anything yet."""
        return DocumentNode(
            network=self.network,
            store=self.store,
            documents=self.documents,
            usages=self.usages,
            interval=self.interval,
            **self.settings,
        )


class Subscriber(Peer):
    """Subscribes to document changes, as told."""

    def uris(
        self, *uris: str, event: str = "xcap-diff", sender: str = JOE, to: str = PSI, **fields: Any
    ) -> Response:
        """SUBSCRIBE to a list of URIs and give the response; without URIs no body."""
        entries = "".join(f'<entry uri="{uri}"/>' for uri in uris)
        body = f'<resource-lists xmlns="{NAMESPACE}"><list>{entries}</list></resource-lists>'
        fields.setdefault("accept", DIFF)
        if uris:
            fields = {"body": body.encode(), "content_type": LISTS, **fields}
        return self.subscribe(to, sender=sender, event=event, **fields)

    def profile(
        self, auid: str = "", document: str = "", *, sender: str = JOE, **fields: Any
    ) -> Response:
        """SUBSCRIBE to ua-profile and give the response."""
        event = 'ua-profile;profile-type="application";vendor="v";model="m";version="1"'
        event += f';auid="{auid}"' if auid else ""
        event += f';document="{document}"' if document else ""
        fields.setdefault("event", event)
        fields.setdefault("accept", DIFF)
        return self.subscribe(fields.pop("to", JOE), sender=sender, **fields)

    def again(self, response: Response, *uris: str, **fields: Any) -> Response:
        """SUBSCRIBE in the dialog of an earlier one."""
        fields.setdefault("call_id", response.call_id)
        fields.setdefault("to_tag", response.to.tag)
        return self.uris(*uris, **fields)

    def reports(self) -> list[ChangeReport]:
        """What the NOTIFYs have told."""
        return [read(request.body) for request in self.notifies() if request.body]

    def told(self) -> list[list[Any]]:
        """The items of each NOTIFY; of the declarations around elements those of the source."""
        return [[_plain(item) for item in report.items] for report in self.reports()]

    def tags(self) -> list[list[tuple[str, str, str]]]:
        """URI, former and new entity-tag of the documents of each NOTIFY."""
        return [
            [
                (item.sel, item.before, item.after)
                for item in items
                if isinstance(item, DocumentChange)
            ]
            for items in self.told()
        ]


def subscriber(node: Node, host: str = "192.0.2.10") -> Subscriber:
    """A subscriber at an address of its own."""
    return Subscriber(node, (host, 5060))


def document(node: DocumentNode, path: str) -> Document | None:
    """A document as it is stored."""
    found: Document | None = node.done(node.documents.fetch(key(path)))
    return found


def busy(request: Request) -> Response:
    """A subscriber that is overloaded for a second."""
    response = response_to(request, 503)
    response.set("Retry-After", "1")
    return response


def _plain(item: Any) -> Any:
    if not isinstance(item, ElementState):
        return item
    return attrs.evolve(item, bindings=tuple(b for b in item.bindings if b[1] != DIFFS))
