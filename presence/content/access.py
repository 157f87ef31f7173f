"""Who asks the Content Server (AGP-111, CSV-02)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import attrs

from xcap.auth.identity import intended_identity
from xcap.errors import XcapError
from xcap.records import Requester

if TYPE_CHECKING:
    from xcap.interfaces import IAuthenticated, IAuthenticator, IIdentityAsserter, ISubscribers
    from xcap.records import Head


@attrs.frozen(slots=True)
class Asker:
    """Who a request is from.

    :ivar owner: canonical URI of the user whose objects are his own, "" for none.
    :ivar server: a trusted server, which may act for every user.
    :ivar who: as authenticated by Digest; None when others have proved who it is.
    """

    owner: str = ""
    server: bool = False
    who: IAuthenticated | None = None

    @property
    def name(self) -> str:
        """For the access log."""
        if self.who is not None:
            return self.who.username
        return "server" if self.server else self.owner or "-"

    def may_change(self, owner: str) -> bool:
        """Whether objects of a user may be made and changed."""
        return self.server or (self.owner != "" and self.owner == owner)


class Access:
    """Finds out who asks: trusted servers and proxies by certificate or address, others by Digest.

    :param asserter: reads the identities that trusted peers assert; one that is not strict.
    :param servers: names in certificates, and asserted identities, of servers that may act for
        every user (PRS-15).
    :param canonical: brings a public identity into the form in which accounts have it.
    """

    def __init__(
        self,
        authenticator: IAuthenticator,
        asserter: IIdentityAsserter,
        subscribers: ISubscribers,
        servers: Iterable[str],
        canonical: Callable[[str], str],
    ) -> None:
        self._authenticator = authenticator
        self._asserter = asserter
        self._subscribers = subscribers
        self._canonical = canonical
        self._servers = frozenset(name.lower() for name in servers)

    def ask(self, head: Head) -> Asker:
        """Who a request is from.

        :raises XcapError: 400, 401 with challenges, 403 or 429.
        """
        if any(name.lower() in self._servers for name in head.peer.names):
            return Asker(server=True)
        identities = self._asserted(head).identities
        if any(identity in self._servers for identity in identities):
            return Asker(server=True)
        if identities:
            return Asker(self._owner(identities[0]))
        # Digest covers the head alone: bodies are not held until they are complete
        who: IAuthenticated | None = self._authenticator.authenticate(head, b"")
        if who is None or not who.identities:
            raise XcapError(403, "Not entitled to this service")
        intended = intended_identity(head.headers, self._canonical)
        if intended is not None and intended not in who.identities:
            raise XcapError(403, "Not an identity of yours")
        return Asker(self._owner(intended or who.identities[0]), who=who)

    def _asserted(self, head: Head) -> Requester:
        """What trusted peers assert; what others do counts for nothing (AGP-47, AGP-49)."""
        try:
            found: Requester = self._asserter.accept(head)
        except XcapError as error:
            if error.status != 401:
                raise
            return Requester()
        return found

    def _owner(self, identity: str) -> str:
        try:
            return self._subscribers.canonical(identity)
        except ValueError:
            return ""
