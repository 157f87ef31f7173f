"""What is to be followed, and who wants to know."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Protocol, TypeAlias

import attrs

from pysip.event.terms import SubscriptionTerms
from xcap import tree
from xcap.changedoc import AttributeState, ElementState

if TYPE_CHECKING:
    from pysip.auth.client import ClientCredentials
    from pysip.message import Response
    from xcap.cache import CachedDocument

PATCHING = "xcap-patching"
PLAIN = "no-patching"

State: TypeAlias = ElementState | AttributeState

_LISTS = "urn:ietf:params:xml:ns:resource-lists"


class FollowListener(Protocol):
    """Who wants to know."""

    def document(self, sel: str, document: CachedDocument | None) -> None:
        """A document is now so; None when it is gone.

        :param sel: its URI relative to the XCAP root.
        """

    def component(self, state: State) -> None:
        """An element or attribute is now so."""

    def remark(self, text: str) -> None:
        """Something that will be made good, such as a patch that did not fit."""

    def failed(self, response: Response | None, retry_after: float | None) -> None:
        """The subscription was refused or not answered; tried again unless None."""

    def ended(self, reason: str, retry_after: float | None) -> None:
        """The subscription has ended; made anew unless None."""


@attrs.frozen(slots=True, kw_only=True)
class FollowTerms:
    """What to follow, and who asks.

    :ivar uris: relative to the XCAP root: documents, elements or attributes in them, or
        collections ending in ``/``; none for all documents of the user (XEVT-03).
    :ivar uri: where to subscribe: the user's address of record, or the server's (XEVT-20).
    :ivar local_uri: From value without tag.
    :ivar contact: gives our Contact value for the next SUBSCRIBE.
    :ivar expires: lifetime to ask for, seconds.
    :ivar mode: ``xcap-patching``, ``aggregate`` or ``no-patching``.
    :ivar route: preloaded Route values.
    :ivar headers: further header fields of each SUBSCRIBE.
    :ivar credentials: to answer challenges of SIP with.
    """

    uris: tuple[str, ...]
    uri: str
    local_uri: str
    contact: Callable[[], str]
    expires: int = 3600
    mode: str = PATCHING
    route: tuple[str, ...] = ()
    headers: tuple[tuple[str, str], ...] = ()
    credentials: ClientCredentials | None = None


@attrs.frozen(slots=True, kw_only=True)
class EventTerms(SubscriptionTerms):
    """Terms whose Event tells how changes are to be reported; that may change."""

    mode: Callable[[], str]

    @property
    def event(self) -> str:
        """Value of the Event header."""
        return f"{self.package};diff-processing={self.mode()}"


def uri_list(uris: Iterable[str]) -> bytes:
    """The body of a SUBSCRIBE: a flat list of URIs (RFC 5875 section 4.4)."""
    entries = "".join(f"<entry{tree.attribute_text('uri', uri)}/>" for uri in uris)
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<resource-lists xmlns="{_LISTS}"><list>{entries}</list></resource-lists>'
    ).encode()
