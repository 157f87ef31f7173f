"""Presence rules, as the IETF and as OMA have them (XDM-90 to XDM-102).

The two differ in default document namespace and constraints: RFC 5025 section 9 has none
beyond the schema, OMA wants rules of a simple form.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar, Final

from xcap.canonical import parse_http_uri
from xcap.usage.base import BOTH, Quotas, Trusted, Usage, constraint, quota
from xcap.usage.names import (
    COMMON_POLICY,
    OMA_COMMON_POLICY,
    OMA_PRES_RULES,
    PRES_RULES,
    RULE,
)
from xcap.usage.references import below, is_list_of

if TYPE_CHECKING:
    from lxml import etree

    from xcap.interfaces import ISubscribers
    from xcap.records import DocumentKey

_CONDITIONS: Final = f"{{{COMMON_POLICY}}}conditions"
_ACTIONS: Final = f"{{{COMMON_POLICY}}}actions"
_TRANSFORMATIONS: Final = f"{{{COMMON_POLICY}}}transformations"
_SUB_HANDLING: Final = f"{{{PRES_RULES}}}sub-handling"
_EXTERNAL_LIST: Final = f"{{{OMA_COMMON_POLICY}}}external-list"
_ENTRY: Final = f"{{{OMA_COMMON_POLICY}}}entry"
_WHO: Final = (
    f"{{{COMMON_POLICY}}}identity",
    _EXTERNAL_LIST,
    f"{{{OMA_COMMON_POLICY}}}other-identity",
    f"{{{OMA_COMMON_POLICY}}}anonymous-request",
)


class PresRules(Usage):
    """``pres-rules`` (RFC 5025 section 9).

    :param quotas: how many rules there may be.
    """

    auid = "pres-rules"
    mime_type = "application/auth-policy+xml"
    default_namespace = PRES_RULES
    namespaces = (COMMON_POLICY, PRES_RULES, OMA_COMMON_POLICY, OMA_PRES_RULES)
    schema = "common-policy"
    trees = BOTH
    unique_attributes: ClassVar[dict[str, str]] = {RULE: "id"}

    def __init__(self, trusted: Iterable[Trusted] = (), quotas: Quotas | None = None) -> None:
        super().__init__(trusted)
        self._quotas = quotas or Quotas()

    def check(self, root: etree._Element, key: DocumentKey) -> None:
        """Nothing but the quota (XDM-99).

        :raises Conflict: ``constraint-failure``.
        """
        quota(sum(1 for _ in root.iterchildren(RULE)), self._quotas.rules, "rules")


class OmaPresRules(PresRules):
    """``org.openmobilealliance.pres-rules`` (OMA Presence XDM 5.1).

    :param subscribers: knows the one form of a user identifier.
    :param foreign_lists: let rules name lists of other users and elsewhere (XDM-98).
    """

    auid = "org.openmobilealliance.pres-rules"
    default_namespace = COMMON_POLICY
    document_names = frozenset({"pres-rules"})

    def __init__(
        self,
        subscribers: ISubscribers,
        trusted: Iterable[Trusted] = (),
        quotas: Quotas | None = None,
        foreign_lists: bool = False,
    ) -> None:
        super().__init__(trusted, quotas)
        self._subscribers = subscribers
        self._foreign_lists = foreign_lists

    def check(self, root: etree._Element, key: DocumentKey) -> None:
        """XDM-96 to XDM-98, and the quota.

        :raises Conflict: ``constraint-failure``.
        """
        for rule in root.iterchildren(RULE):
            conditions = rule.find(_CONDITIONS)
            if conditions is not None:
                if sum(1 for _ in conditions.iterchildren(*_WHO)) > 1:
                    raise constraint("Complex rules are not allowed")
                for external in conditions.iterchildren(_EXTERNAL_LIST):
                    for entry in external.iterchildren(_ENTRY):
                        self._check_anchor(entry.get("anc", ""), key)
            _check_transformations(rule)
        super().check(root, key)

    def _check_anchor(self, anchor: str, key: DocumentKey) -> None:
        uri = parse_http_uri(anchor)
        if uri is None:
            raise constraint("The anc of an external-list must be an absolute HTTP URI")
        target = below(uri, key.root)
        if target is None:
            allowed = self._foreign_lists and _looks_like_list(uri.path)
        else:
            allowed = (
                target.auid == "resource-lists"
                and bool(target.node)
                and (self._foreign_lists or is_list_of(target, key.xui, self._subscribers))
            )
        if not allowed:
            raise constraint("The anc of an external-list must be one of the owner's lists")


def _looks_like_list(path: str) -> bool:
    """Whether a path below a root that is not ours is that of a list."""
    document, separator, node = path.partition("/~~/")
    return bool(separator and node) and (
        "/resource-lists/users/" in document or "/resource-lists/global/" in document
    )


def _check_transformations(rule: etree._Element) -> None:
    """XDM-97: who is not allowed to see anything needs no say in what is seen."""
    transformations = rule.find(_TRANSFORMATIONS)
    actions = rule.find(_ACTIONS)
    if actions is None or transformations is None:
        return
    if next(transformations.iterchildren("{*}*"), None) is None:
        return
    for handling in actions.iterchildren(_SUB_HANDLING):
        if (handling.text or "").strip() != "allow":
            raise constraint("transformations element not allowed")
