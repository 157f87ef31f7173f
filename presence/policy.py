"""Who may watch whom when no rules of the presentity say so.

The operator's default stands in until presence rules (RFC 5025) exist, and afterwards for
presentities without a rules document (RUL-02, CLI-04).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Protocol

from zope.interface import implementer

from presence.interfaces import IWatcherPolicy

if TYPE_CHECKING:
    from presence.tables import Decision
    from pysip.interfaces import Identity


class Identities(Protocol):
    """Looks up the other URIs of a presentity."""

    def __call__(self, presentity: str) -> Collection[str]:
        """All canonical URIs of the user, that of ``presentity`` not necessarily among them."""


def _no_aliases(presentity: str) -> Collection[str]:
    """A presentity known by one URI only."""
    return ()


@implementer(IWatcherPolicy)
class OperatorWatcherPolicy:
    """One decision for everybody, by the presentity's domain.

    A presentity's own identities are always allowed (PSV-14), also when the request asks
    for privacy: the identity is proven all the same.

    :ivar default: for domains without a decision of their own, and for ``tel:`` URIs.
    :ivar domains: decision by lower-case domain.
    :ivar anonymous: for watchers without a proven identity and those that asked for
        anonymity (XDM-118); None treats them like others.
    :ivar identities: the other URIs of a presentity (PSV-16).
    """

    __slots__ = ("anonymous", "default", "domains", "identities")

    def __init__(
        self,
        default: Decision = "confirm",
        domains: Mapping[str, Decision] | None = None,
        anonymous: Decision | None = None,
        identities: Identities = _no_aliases,
    ) -> None:
        self.default = default
        self.domains = {name.lower(): decision for name, decision in (domains or {}).items()}
        self.anonymous = anonymous
        self.identities = identities

    def decide(self, presentity: str, watcher: Identity) -> str:
        """The decision on one watcher; see :class:`presence.interfaces.IWatcherPolicy`."""
        uris = watcher.uris
        if presentity in uris:
            return "allow"
        if uris:
            own = self.identities(presentity)
            if own and any(uri in own for uri in uris):
                return "allow"
        if self.anonymous is not None and (watcher.anonymous or not uris):
            return self.anonymous
        return self.domains.get(_domain(presentity), self.default)


def _domain(uri: str) -> str:
    """The host of a canonical URI; "" for ``tel:``."""
    scheme, _, rest = uri.partition(":")
    return "" if scheme == "tel" else rest.rpartition("@")[2]
