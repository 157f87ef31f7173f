"""A Presence Server and Resource List Server of one process, on an in-memory network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from presence.following import Feed
from presence.rls.backend import ChosenBackEnds
from presence.rls.definitions import member_domain
from presence.rls.entries import ServiceSettings
from presence.rls.local import LocalBackEnds
from presence.rls.model import Member
from presence.rls.pace import Pace
from presence.rls.package import ListPackage
from presence.rls.services import ServiceSource
from presence.rls.sip import SipBackEnds, SipSettings
from presence.rls.subscription import ListSettings
from pysip.event.subscriber import NotifyRouter
from pysip.event.subscription import Subscription
from tests.node import DOMAIN, Node
from tests.presence.rulesources import ROOT, Users
from xcap.interfaces import IDocumentClient
from xcap.usage.serviceuri import ServiceTemplate

IDENTITY = "sip:lists@example.com"


class ListNode(Node):
    """A node that serves presence lists, too.

    :param clients: of documents, by root and reader.
    :param feed: tells of changes of documents.
    :param lists: what the operator has chosen for lists, and for subscriptions to members.
    :param template: the form of URIs of lists, "" for any.
    """

    def __init__(
        self,
        clients: Callable[[str, str], IDocumentClient | None],
        feed: Feed,
        lists: ListSettings | None = None,
        sip: SipSettings | None = None,
        template: str = "",
        **options: Any,
    ) -> None:
        self._clients = clients
        self._feed = feed
        self._lists = lists or ListSettings()
        self._sip_settings = sip or SipSettings()
        self._template = template
        self._options = options
        super().__init__(**options)
        self.local.settle()
        self.pace.start()

    def add_parts(self) -> None:
        """The Resource List Server."""
        clock, notifier, tokens = self.clock, self.presence.notifier, self.ua.tokens
        self.router = NotifyRouter(self.ua)
        self.services = ServiceSource(
            clock,
            self._clients,
            self._feed,
            lambda uri: ROOT,
            Users().canonical,
            ServiceSettings(
                template=ServiceTemplate(self._template) if self._template else None,
            ),
        )
        self.pace = Pace(clock, 1000.0, 10000.0)
        self.sip = SipBackEnds(
            self.router, lambda: self.ua.contact_on("UDP", "list"), (), IDENTITY, self._sip_settings
        )
        self.local = LocalBackEnds(notifier, self.wheel, self.pace)

        def here(member: Member) -> bool:
            return member_domain(member) == DOMAIN

        self.package = ListPackage(
            self.services,
            ChosenBackEnds(self.local, self.sip, here),
            self.pace,
            self.wheel,
            tokens,
            self.domains,
            Users().known,
            DOMAIN,
            self._lists,
            touch=lambda subscription: notifier.touch(cast("Subscription", subscription)),
            ready=lambda subscription: notifier.ready(cast("Subscription", subscription)),
            terminate=lambda subscription, reason: notifier.terminate(
                cast("Subscription", subscription), reason
            ),
        )
        self.presence.add_package(self.package)

    def restart(self) -> ListNode:
        """Another one on the same store, documents and clock."""
        self.stop()
        options = {**self._options, "store": self.store, "network": self.network}
        return ListNode(
            self._clients, self._feed, self._lists, self._sip_settings, self._template, **options
        )

    def stop(self) -> None:
        """End it, in the order of :class:`presence.service.PresenceService`."""
        self.presence.notifier.stop()
        self.local.stop()
        self.pace.stop()
        self.services.stop()
        super().stop()
