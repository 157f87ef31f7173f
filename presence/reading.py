"""The documents that servers of this process read, wherever they are (PSV-07, PRS-5, PRS-8).

Part of the composition root, with :mod:`presence.build`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
from twisted.internet.defer import Deferred, DeferredList
from twisted.logger import Logger

from presence.addresses import sip_protocol
from presence.backends import LOCAL, BackEnds, back_ends
from presence.documentcopy import DIRECTORY, IETF_RULES
from presence.following import RoutedFeed, StoreFeed, SubscriptionFeed
from presence.xdm import known_subscribers, xcap_roots
from xcap.client import XcapClient
from xcap.exchange import ExchangeSettings
from xcap.follow import DocumentFollower
from xcap.followterms import PLAIN, FollowListener, FollowTerms
from xcap.roots import Roots
from xcap.serveragent import ServerAgent
from xcap.upstream import UpstreamSettings

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import IReactorTime

    from presence.accounts import Accounts
    from presence.config import Config
    from presence.following import Feed
    from presence.xdm import Documents
    from pysip.auth.domains import Domains
    from pysip.event.subscriber import NotifyRouter
    from xcap.interfaces import IDocumentClient, ISubscribers

PATIENCE = 2.0
"""Seconds that the end of subscriptions may take when the process stops."""


@attrs.define(eq=False)
class Reading:
    """Documents as servers of this process read and follow them.

    :ivar roots: the XCAP root of each served domain.
    :ivar subscribers: whose home directories there are.
    :ivar servers: where the documents are.
    :ivar feed: tells of changes.
    :ivar accounts: of the users; None where they are elsewhere.
    """

    _log = Logger()

    identity: str
    roots: dict[str, str]
    subscribers: ISubscribers
    servers: BackEnds
    feed: Feed
    accounts: Accounts | None
    _clock: IReactorTime
    _subscriptions: list[SubscriptionFeed]

    def holds(self, auid: str) -> bool:
        """Whether there is a document server for an application usage."""
        return auid in self.servers.routes.auids

    def together(self, *auids: str) -> bool:
        """Whether the documents of application usages are on one document server."""
        groups = [self.servers.routes.group(auid) for auid in auids]
        names = {None if group is None else group.name for group in groups}
        return len(names) == 1 and None not in names

    def is_user(self, uri: str) -> bool:
        """Whether a canonical URI is the address of an account; never where those are elsewhere."""
        return self.accounts is not None and self.accounts.account_of(uri) is not None

    def client(self, root: str, reader: str = "") -> IDocumentClient | None:
        """A client of the documents below a root; None for a root of others.

        :param reader: canonical identity of the user for whom is read (XDM-29); "" for this
            process itself.
        """
        return self.xcap(root, reader) if root in self.roots.values() else None

    def xcap(self, root: str, reader: str = "") -> XcapClient:
        """A client of the documents below one of the roots; see :meth:`client`."""
        canonical = self.subscribers.canonical
        who = (reader or self.identity,)
        agent = ServerAgent(root, self.servers.routes, who, self.servers.asserters, canonical)
        return XcapClient(agent, root)

    def start(self) -> None:
        """Begin to look after the document servers elsewhere."""
        self.servers.start()

    def subscribe(self) -> None:
        """Subscribe to changes from now on: this process can be reached."""
        for feed in self._subscriptions:
            feed.start()

    async def stop(self) -> None:
        """End subscriptions and connections."""
        ending = [Deferred.fromCoroutine(feed.stop()) for feed in self._subscriptions]
        # those that take too long are cancelled, and so end in a failure each
        ends = await DeferredList(ending, consumeErrors=True).addTimeout(PATIENCE, self._clock)
        if not all(ended for ended, _ in ends):
            self._log.info("a document server does not answer; its subscriptions are left behind")
        await self.servers.stop()


def fetches_by_sip(config: Config) -> bool:
    """Whether document servers elsewhere are subscribed to."""
    return any(server.sip for server in config.fetch.server)


def build_reading(
    config: Config,
    reactor: Any,
    router: NotifyRouter | None,
    documents: Documents | None,
    accounts: Accounts,
    domains: Domains,
) -> Reading | None:
    """What reads documents; None when there are none within reach.

    :param router: of the user agent to subscribe with; None to subscribe nowhere.
    :raises CredentialsError: a certificate for a document server cannot be used.
    """
    fetch = config.fetch
    if documents is None and not fetch.server:
        return None
    settings = UpstreamSettings(
        connect=fetch.connect_timeout,
        exchange=ExchangeSettings(first_byte=fetch.answer_timeout),
        interval=fetch.health_interval,
    )
    roots = Roots(xcap_roots(config))
    servers = back_ends(
        reactor, documents, fetch.server, roots, settings, beside={DIRECTORY: IETF_RULES}
    )
    subscribers = known_subscribers(config, accounts, domains)
    subscriptions: list[SubscriptionFeed] = []
    by_root = {domain: root for root, domain in config.xcap_roots().items()}
    feeds: dict[str, tuple[Feed, ...]] = {}
    reading = Reading(
        domains.canonical(fetch.identity),
        by_root,
        subscribers,
        servers,
        RoutedFeed(lambda auid, xui: _chosen(servers, feeds, auid, xui)),
        accounts if config.xcap.users == "accounts" else None,
        reactor,
        subscriptions,
    )
    if documents is not None:
        feeds[LOCAL] = (StoreFeed(documents.store),)
    if router is not None:
        for server in fetch.server:
            feeds[server.name] = made = tuple(
                SubscriptionFeed(reactor, _follower(reading, router, sip, fetch.expires))
                for sip in server.sip
            )
            subscriptions += made
    return reading


def _chosen(
    servers: BackEnds, feeds: dict[str, tuple[Feed, ...]], auid: str, xui: str
) -> Feed | None:
    """Who tells of the documents of a user; None for nobody."""
    group = servers.routes.group(auid)
    found = feeds.get(group.name, ()) if group is not None else ()
    if group is None or len(found) < 2:
        return found[0] if found else None
    return found[group.partitions.index(group.holder(xui))]


def _follower(
    reading: Reading, router: NotifyRouter, sip: str, expires: int
) -> Callable[[str, tuple[str, ...], FollowListener], DocumentFollower]:
    """What follows documents by subscriptions at a document server.

    :param sip: its SIP URI.
    """
    us = f"<{reading.identity}>"
    domains = {root: domain for domain, root in reading.roots.items()}
    protocol = sip_protocol(sip) or ""

    def follower(root: str, uris: tuple[str, ...], listener: FollowListener) -> DocumentFollower:
        terms = FollowTerms(
            uris=uris,
            uri=f"sip:{domains[root]}",
            local_uri=us,
            contact=lambda: router.ua.contact_on(protocol, "documents"),
            expires=expires,
            mode=PLAIN,  # what decides is read from the document server itself (PSV-07)
            route=(f"<{sip};lr>",),
            headers=(("P-Asserted-Identity", us),),
        )
        return DocumentFollower(router, reading.xcap(root), terms, listener)

    return follower
