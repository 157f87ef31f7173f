"""What application usages have in common: access, names of documents (RFC 4825 section 5)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

import attrs
from zope.interface import implementer

from xcap.errors import Conflict, Exists, XcapError
from xcap.interfaces import IApplicationUsage

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lxml import etree

    from xcap.records import Claim, DocumentKey, Requester, Tree

USERS: frozenset[Tree] = frozenset({"users"})
GLOBAL: frozenset[Tree] = frozenset({"global"})
BOTH: frozenset[Tree] = USERS | GLOBAL


@attrs.frozen(slots=True)
class Trusted:
    """Somebody who may more than others: a presence server, an RLS, provisioning (XDM-05).

    :ivar identity: canonical public identity, "" for none.
    :ivar name: identity in its client certificate, "" for none.
    :ivar auids: application usages it concerns; none stands for all.
    :ivar read: may read the documents of everybody.
    :ivar write: may change them, those in the global tree included.
    """

    identity: str = ""
    name: str = ""
    auids: frozenset[str] = frozenset()
    read: bool = True
    write: bool = False

    def matches(self, requester: Requester) -> bool:
        """Whether a request is from this one."""
        return bool(self.identity and self.identity in requester.identities) or bool(
            self.name and self.name in requester.names
        )


@attrs.frozen(slots=True)
class Quotas:
    """How much documents may hold (XDM-08).

    :ivar lists: in one document, nested ones included.
    :ivar entries: members of one list.
    :ivar services: of one user.
    :ivar rules: in one document.
    """

    lists: int = 100
    entries: int = 500
    services: int = 20
    rules: int = 200


def quota(count: int, limit: int, what: str) -> None:
    """Refuse what is beyond a quota.

    :raises Conflict: ``constraint-failure``.
    """
    if count > limit:
        raise constraint(f"Too many {what}, at most {limit} are allowed")


def constraint(phrase: str) -> Conflict:
    """The refusal of a document that breaks a rule of its usage (XCAP-143)."""
    return Conflict("constraint-failure", phrase)


def unique(exists: Iterable[Exists]) -> None:
    """Refuse a document with values that are not unique, if there are any (XCAP-143).

    :raises Conflict: ``uniqueness-failure`` with all of them (XCAP-135).
    """
    found = tuple(exists)
    if found:
        raise Conflict("uniqueness-failure", "A value is not unique", exists=found)


@implementer(IApplicationUsage)
class Usage:
    """An application usage with the default authorization (XCAP-175, XCAP-176).

    :param trusted: who may more than others.
    :ivar document_names: the names that documents may have; none stands for any.
    """

    auid: str = ""
    mime_type: str = ""
    default_namespace: str = ""
    namespaces: tuple[str, ...] = ()
    schema: str = ""
    trees: frozenset[Tree] = USERS
    computed: bool = False
    index: str = ""
    unique_attributes: ClassVar[dict[str, str]] = {}
    document_names: frozenset[str] = frozenset()

    def __init__(self, trusted: Iterable[Trusted] = ()) -> None:
        self._trusted = tuple(
            someone for someone in trusted if not someone.auids or self.auid in someone.auids
        )

    def locate(self, tree: Tree, path: tuple[str, ...]) -> None:
        """Check the place of a document: directly in its home directory, of a fitting name.

        :raises XcapError: 404 where the usage has no documents at all.
        :raises Conflict: ``no-parent`` below a subdirectory (XCAP-71), ``constraint-failure``
            where a document would be of no effect (XDM-60).
        """
        if tree not in self.trees or not path:
            raise XcapError(404, "No such document")
        if len(path) > 1:
            raise Conflict("no-parent", "The application usage has no subdirectories")
        if self.document_names and path[0] not in self.document_names:
            names = " or ".join(sorted(self.document_names))
            raise constraint(f"The document must be named {names}")

    def check(self, root: etree._Element, key: DocumentKey) -> None:
        """Nothing beyond the schema."""

    def claims(self, root: etree._Element, key: DocumentKey) -> tuple[Claim, ...]:
        """Nothing that must be unique in the whole store."""
        return ()

    def variants(self, name: str, key: DocumentKey) -> tuple[str, ...]:
        """Nothing to offer, as nothing is claimed."""
        return ()

    def taken(
        self, root: etree._Element, key: DocumentKey, names: Mapping[str, tuple[str, ...]]
    ) -> Conflict:
        """A refusal that names no field, as nothing is claimed."""
        return Conflict("uniqueness-failure", "A value belongs to another document")

    def may(self, requester: Requester, operation: str, key: DocumentKey) -> bool:
        """Owners do everything in their home directory; everybody known reads ``global``."""
        if self.trusts(requester, operation):
            return True
        if key.tree == "users":
            return operation in ("read", "write") and key.xui in requester.identities
        return operation == "read" and bool(requester.identities)

    def trusts(self, requester: Requester, operation: str) -> bool:
        """Whether a trusted principal asks for what it may do (XDM-05)."""
        return any(
            someone.matches(requester)
            and ((operation == "read" and someone.read) or (operation == "write" and someone.write))
            for someone in self._trusted
        )


class ComputedUsage(Usage):
    """A usage whose documents are generated, so that nobody writes them (XCAP-173, XDM-85)."""

    computed = True

    def may(self, requester: Requester, operation: str, key: DocumentKey) -> bool:
        """As by default, but reading only."""
        return operation == "read" and super().may(requester, operation, key)
