"""What clients know of application usages: media types and default namespaces."""

from __future__ import annotations

from typing import Final

import attrs

from xcap.usage.groupusage import GroupUsageList
from xcap.usage.pidfmanipulation import PidfManipulation
from xcap.usage.prescontent import PresContent
from xcap.usage.presrules import OmaPresRules, PresRules
from xcap.usage.resourcelists import ResourceLists
from xcap.usage.rlsservices import RlsServices

ELEMENT_TYPE: Final = "application/xcap-el+xml"
ATTRIBUTE_TYPE: Final = "application/xcap-att+xml"


@attrs.frozen(slots=True)
class KnownUsage:
    """An application usage.

    :ivar media_type: of its documents.
    :ivar default_namespace: of names without prefix in node selectors, "" for none.
    """

    media_type: str
    default_namespace: str


USAGES: Final = {
    usage.auid: KnownUsage(usage.mime_type, usage.default_namespace)
    for usage in (
        GroupUsageList,
        OmaPresRules,
        PidfManipulation,
        PresContent,
        PresRules,
        ResourceLists,
        RlsServices,
    )
}
"""Usages by AUID."""
