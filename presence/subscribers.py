"""Who the users of the document servers are (XCAP-08, XCAP-09)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from zope.interface import implementer

from presence.oplog import ACCOUNTS_VANISHED, DOCUMENTS_LEFT, report
from pysip.errors import ParseError
from xcap.errors import StoreUnavailable
from xcap.interfaces import ISubscribers
from xcap.uri import canonical_xui

MOST_REMOVED = 100
"""Accounts that may leave the file between two looks with their documents removed; more look
like a file that was lost or replaced."""

if TYPE_CHECKING:
    from twisted.python.failure import Failure

    from presence.accounts import Accounts
    from pysip.auth.domains import Domains


@implementer(ISubscribers)
class AccountSubscribers:
    """Everybody who has an account here; all identities of one share its home directories.

    :param accounts: the accounts.
    :param domains: the served domains, whose aliases mean the same.
    """

    def __init__(self, accounts: Accounts, domains: Domains) -> None:
        self._accounts = accounts
        self._domains = domains

    def canonical(self, xui: str) -> str:
        """The address of record of the account that an identity belongs to.

        :raises ValueError: it is no URI.
        """
        found = served_identity(xui, self._domains)
        return self._accounts.account_of(found) or found

    def known(self, xui: str) -> bool:
        """Whether a canonical identifier is one of an account."""
        return xui in self._accounts


@implementer(ISubscribers)
class ServedSubscribers:
    """Everybody in the served domains, as behind an IMS core that knows the users.

    :param domains: the served domains.
    """

    def __init__(self, domains: Domains) -> None:
        self._domains = domains

    def canonical(self, xui: str) -> str:
        """The identifier with the alias of a domain replaced.

        :raises ValueError: it is no URI.
        """
        return served_identity(xui, self._domains)

    def known(self, xui: str) -> bool:
        """Whether it is a user of a served domain; telephone numbers are."""
        scheme, _, rest = xui.partition(":")
        if scheme == "tel":
            return bool(rest)
        user, at, host = rest.rpartition("@")
        return bool(at and user) and self._domains.served(host) is not None


class _Remover(Protocol):
    """A document store."""

    def remove_user(self, xui: str, author: str = "") -> Deferred[int]:
        """Remove all documents of a user."""


class HomeRemover:
    """Removes the documents of accounts that are removed (XDM-09).

    :param store: of the documents; their removal is told to who follows them.
    """

    _log = Logger()

    def __init__(self, store: _Remover) -> None:
        self._store = store

    def removed(self, aors: set[str]) -> None:
        """Accounts are no longer in the file."""
        if len(aors) > MOST_REMOVED:
            report(self._log, ACCOUNTS_VANISHED, f"{len(aors)} accounts are gone at once")
            return
        for aor in sorted(aors):
            self._store.remove_user(aor).addCallbacks(self._done, self._failed)

    def _done(self, count: int) -> None:
        self._log.info("removed the {count} documents of a removed account", count=count)

    def _failed(self, failure: Failure) -> None:
        failure.trap(StoreUnavailable)
        report(self._log, DOCUMENTS_LEFT, "the document store was not available")


def served_identity(xui: str, domains: Domains) -> str:
    """The one form of a user identifier that names a home directory.

    :raises ValueError: it is no URI.
    """
    canonical = canonical_xui(xui)
    try:
        return domains.canonical(canonical)
    except ParseError:
        raise ValueError("no URI of a user") from None
