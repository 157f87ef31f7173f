"""Who may watch whom where the rules of presentities are not within reach (RUL-02, CLI-04).

With rules at hand it is :class:`presence.authorization.RulesetPolicy` that decides.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Final, Protocol

from zope.interface import implementer

from presence.interfaces import IWatcherPolicy
from presence.rules.model import VALUES, Decision, Handling
from presence.rules.permissions import Permissions

if TYPE_CHECKING:
    from pysip.interfaces import Identity

_OWN: Final = Decision("allow", Permissions.all(), None, ("own identity",), "own")
_DECISIONS: Final[dict[Handling, Decision]] = {
    handling: Decision(
        handling,
        Permissions.all() if handling == "allow" else Permissions.none(),
        None,
        (f"default: {handling}",),
        "default",
    )
    for handling in VALUES
}


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

    subscribes = False

    def __init__(
        self,
        default: Handling = "confirm",
        domains: Mapping[str, Handling] | None = None,
        anonymous: Handling | None = None,
        identities: Identities = _no_aliases,
    ) -> None:
        self.default = default
        self.domains = {name.lower(): decision for name, decision in (domains or {}).items()}
        self.anonymous = anonymous
        self.identities = identities

    def decide(self, presentity: str, watcher: Identity) -> Decision:
        """The decision on one watcher; see :class:`presence.interfaces.IWatcherPolicy`."""
        uris = watcher.uris
        if presentity in uris:
            return _OWN
        if uris:
            own = self.identities(presentity)
            if own and any(uri in own for uri in uris):
                return _OWN
        if self.anonymous is not None and (watcher.anonymous or not uris):
            return _DECISIONS[self.anonymous]
        return _DECISIONS[self.domains.get(_domain(presentity), self.default)]

    def prepare(self, presentity: str) -> None:
        """Nothing: the operator's policy knows everything."""

    def hold(self, presentity: str) -> None:
        """Nothing is to be followed."""

    def release(self, presentity: str) -> None:
        """Nothing was followed."""

    def keep(self, presentity: str) -> None:
        """Nothing is to be kept."""

    def drop(self, presentity: str) -> None:
        """Nothing was kept."""

    def published(self, presentity: str) -> None:
        """Publications have no influence."""

    def watch(self, changed: Callable[[str], None]) -> None:
        """Never: with another configuration another policy takes its place."""


def _domain(uri: str) -> str:
    """The host of a canonical URI; "" for ``tel:``."""
    scheme, _, rest = uri.partition(":")
    return "" if scheme == "tel" else rest.rpartition("@")[2]
