"""``org.openmobilealliance.group-usage-list`` (OMA Shared XDM 5.2, XDM-35 to XDM-39)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xcap.usage.base import USERS, constraint, unique
from xcap.usage.names import ENTRY_REF, EXTERNAL, LIST, RESOURCE_LISTS, URI_USAGE
from xcap.usage.resourcelists import ResourceLists, check_quotas, list_parents, repeated_members

if TYPE_CHECKING:
    from lxml import etree

    from xcap.records import DocumentKey


class GroupUsageList(ResourceLists):
    """The groups that a user knows, with what they are for."""

    auid = "org.openmobilealliance.group-usage-list"
    mime_type = "application/vnd.oma.group-usage-list+xml"
    namespaces = (RESOURCE_LISTS, URI_USAGE)
    trees = USERS
    document_names = frozenset({"index"})

    def check(self, root: etree._Element, key: DocumentKey) -> None:
        """XDM-22, XDM-36, XDM-37, and the quotas.

        :raises Conflict: ``uniqueness-failure`` or ``constraint-failure``.
        """
        lists = list(list_parents(root))
        unique(repeated_members(lists, {RESOURCE_LISTS: ""}))
        for element in lists:
            if element.tag == LIST and element.get("name") is None:
                raise constraint("Name attribute is required")
            if next(element.iterchildren(ENTRY_REF, EXTERNAL), None) is not None:
                raise constraint("Not allowed")
        check_quotas(lists, self._quotas)
