"""Building the Resource List Server of one process, from its configuration.

Part of the composition root, with :mod:`presence.build`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import attrs

from presence.addresses import sip_protocol
from presence.rls.backend import ChosenBackEnds
from presence.rls.contained import OPTION
from presence.rls.definitions import member_domain
from presence.rls.entries import ServiceSettings
from presence.rls.local import LocalBackEnds
from presence.rls.pace import Pace
from presence.rls.package import ListPackage
from presence.rls.services import ServiceSource
from presence.rls.sip import SipBackEnds, SipSettings
from presence.rls.subscription import ListSettings
from presence.rls.winfo import ListWinfoPackage
from presence.rules.conditions import domain_of
from xcap.usage.serviceuri import ServiceTemplate

if TYPE_CHECKING:
    from presence.config import Config
    from presence.eventserver import EventServer
    from presence.reading import Reading
    from presence.rls.backend import BackEnds
    from presence.rls.model import Member
    from pysip.auth.domains import Domains
    from pysip.event.subscriber import NotifyRouter
    from pysip.event.subscription import Subscription
    from pysip.timers import TimerWheel
    from pysip.ua import UserAgent


@attrs.define(eq=False)
class ListServer:
    """The Resource List Server of this process."""

    services: ServiceSource
    pace: Pace
    package: ListPackage
    local: LocalBackEnds
    sip: SipBackEnds

    def recovered(self) -> None:
        """All subscriptions are back: end those to members that no list has any more (RLO-06)."""
        self.local.settle()

    def resume(self) -> None:
        """This process can be reached: begin to watch members (RLO-06)."""
        self.pace.start()

    def stop(self) -> None:
        """Begin and end nothing any more; what is durable goes on after the next start."""
        self.local.stop()
        self.pace.stop()
        self.services.stop()


def list_settings(config: Config, domains: Domains) -> ListSettings:
    """What ``[rls]`` says of list subscriptions."""
    rls = config.rls
    service = domains.canonical(rls.contained) if rls.contained else ""
    return ListSettings(
        rls.window,
        rls.fetch,
        rls.members,
        rls.excess,
        rls.body_limit,
        service,
        tuple(agent.lower() for agent in rls.bare_id_agents),
    )


def build_rls(
    config: Config,
    reactor: Any,
    ua: UserAgent,
    events: EventServer,
    reading: Reading,
    router: NotifyRouter,
    wheel: TimerWheel,
    domains: Domains,
) -> ListServer:
    """The Resource List Server; its packages are added to ``events``."""
    rls, notifier = config.rls, events.notifier
    template = config.xcap.service_template
    first = next(iter(reading.roots.values()))
    services = ServiceSource(
        reactor,
        reading.client,
        reading.feed,
        lambda uri: reading.roots.get(domain_of(uri) or "", first),
        reading.subscribers.canonical,
        ServiceSettings(template=ServiceTemplate(template) if template else None),
    )
    pace = Pace(reactor, rls.rate, rls.rate_total)
    point = config.listen[0].transport.upper() if config.listen else "UDP"
    protocol = sip_protocol(rls.route) if rls.route else point
    sip = SipBackEnds(
        router,
        lambda: ua.contact_on(protocol or "UDP", "list"),
        (f"<{rls.route};lr>",) if rls.route else (),
        domains.canonical(rls.identity),
        SipSettings(expires=rls.expires, retry=(rls.retry, max(rls.retry, rls.retry_most))),
    )
    local = LocalBackEnds(notifier, wheel, pace)
    backends: BackEnds = sip
    if "presence-server" in config.roles:

        def here(member: Member) -> bool:
            host = member_domain(member)
            return host is not None and domains.served(host) is not None

        backends = ChosenBackEnds(local, sip, here)
    package = ListPackage(
        services,
        backends,
        pace,
        wheel,
        ua.tokens,
        domains,
        reading.is_user,
        domains.default,
        list_settings(config, domains),
        touch=lambda subscription: notifier.touch(cast("Subscription", subscription)),
        ready=lambda subscription: notifier.ready(cast("Subscription", subscription)),
        terminate=lambda subscription, reason: notifier.terminate(
            cast("Subscription", subscription), reason
        ),
    )
    ua.supported.append("eventlist")
    if rls.contained:
        ua.supported.append(OPTION)  # RCL-04
    events.add_package(package)
    events.add_package(ListWinfoPackage(package))
    return ListServer(services, pace, package, local, sip)
