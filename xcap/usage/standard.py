"""The application usages of the document servers of PKT-PRS (xdm.md section 1)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import attrs

from xcap.usage.base import Quotas, Trusted
from xcap.usage.caps import XcapCaps
from xcap.usage.directory import XcapDirectory
from xcap.usage.groupusage import GroupUsageList
from xcap.usage.pidfmanipulation import PidfManipulation
from xcap.usage.prescontent import ICON_LIMIT, PresContent
from xcap.usage.presrules import OmaPresRules, PresRules
from xcap.usage.resourcelists import ResourceLists
from xcap.usage.rlsservices import RlsServices, ServicePolicy
from xcap.usage.serviceuri import ServiceTemplate

if TYPE_CHECKING:
    from xcap.interfaces import IApplicationUsage, ISubscribers


@attrs.frozen(slots=True)
class UsageSettings:
    """What the operator says about documents.

    :ivar subscribers: who the users are.
    :ivar serves: whether a domain, in lower case, is ours (XDM-45).
    :ivar trusted: who may more than others (XDM-05).
    :ivar foreign_lists: let rules name lists of other users (XDM-98).
    :ivar service_template: form of service URIs, "" for any (XDM-56).
    :ivar reserved: canonical SIP URIs that services may not have (XDM-45).
    :ivar icon_size: octets of a status icon (XDM-160).
    """

    subscribers: ISubscribers
    serves: Callable[[str], bool]
    trusted: tuple[Trusted, ...] = ()
    quotas: Quotas = attrs.field(factory=Quotas)
    foreign_lists: bool = False
    service_template: str = ""
    reserved: frozenset[str] = frozenset()
    icon_size: int = ICON_LIMIT


def standard_usages(settings: UsageSettings) -> dict[str, list[IApplicationUsage]]:
    """The usages of each document server, by its role.

    :raises ValueError: the service template cannot be understood.
    """
    trusted, quotas = settings.trusted, settings.quotas
    template = ServiceTemplate(settings.service_template) if settings.service_template else None
    policy = ServicePolicy(settings.subscribers, settings.serves, settings.reserved, template)
    roles: dict[str, list[IApplicationUsage]] = {
        "presence-xdms": [
            OmaPresRules(settings.subscribers, trusted, quotas, settings.foreign_lists),
            PresRules(trusted, quotas),
            PidfManipulation(settings.subscribers, trusted),
            PresContent(trusted, settings.icon_size),
        ],
        "rls-xdms": [RlsServices(policy, trusted, quotas)],
        "shared-xdms": [ResourceLists(trusted, quotas), GroupUsageList(trusted, quotas)],
    }
    for usages in roles.values():
        usages += [XcapCaps(trusted), XcapDirectory(trusted)]
    return roles
