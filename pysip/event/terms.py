"""What a subscriber asks for: the terms of a subscription (events.md B)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from pysip.event.rates import Rates
from pysip.event.wishes import check_rates
from pysip.message import Request

if TYPE_CHECKING:
    from collections.abc import Callable

    from pysip.auth.client import ClientCredentials
    from pysip.dialog import Dialog
    from pysip.uri import Uri


def _fit(_: object, __: object, rates: Rates) -> None:
    check_rates(rates)


@attrs.frozen(slots=True, kw_only=True)
class SubscriptionTerms:
    """What to subscribe to, and how (SBR-01).

    :ivar uri: Request-URI and To, as a bare URI.
    :ivar local_uri: From value without tag: ``<sip:alice@example.com>``.
    :ivar package: event package.
    :ivar contact: gives our Contact value, with angle brackets, for the next SUBSCRIBE.
    :ivar accept: media types for Accept; () for no Accept header.
    :ivar expires: wanted lifetime in seconds; 0 fetches the state once.
    :ivar event_id: ``id`` parameter of Event, or "".
    :ivar supported: option tags for Supported (``eventlist`` for lists, WAT-02).
    :ivar route: preloaded Route values of initial requests (ROU-03).
    :ivar headers: further header fields of each SUBSCRIBE.
    :ivar content_type: media type of ``body``.
    :ivar body: sent with the initial SUBSCRIBE only; a refresh without one keeps it (SUB-16).
    :ivar credentials: to answer challenges with.
    :ivar retry: seconds until the first new attempt after a failure, and at most (SBR-09).
    :ivar rates: how often to be notified (RAT-01, RAT-03); a ValueError when they contradict
        each other (RAT-14).
    :ivar conditional: what is at hand is not to be notified again: by a refresh, nor by a new
        subscription in place of one that was lost (SNE-03).
    :ivar tag: SIP-ETag of a state that is at hand from an earlier subscription to the same, or
        "": for conditional polls and after a restart (RFC 5839 sections 5.4 and 5.5).
    :ivar compressed: compressed bodies are welcome; they are read in any case (MSG-26).
    """

    uri: str
    local_uri: str
    package: str
    contact: Callable[[], str]
    accept: tuple[str, ...] = ()
    expires: int = 3600
    event_id: str = ""
    supported: tuple[str, ...] = ()
    route: tuple[str, ...] = ()
    headers: tuple[tuple[str, str], ...] = ()
    content_type: str = ""
    body: bytes = b""
    credentials: ClientCredentials | None = None
    retry: tuple[float, float] = (5.0, 1800.0)
    rates: Rates = attrs.field(default=Rates(), validator=_fit)
    conditional: bool = False
    tag: str = ""
    compressed: bool = False

    @property
    def event(self) -> str:
        """Value of the Event header, without the parameters of ``rates``."""
        return f"{self.package};id={self.event_id}" if self.event_id else self.package

    def subscribe(
        self, dialog: Dialog | None, local_tag: str, contact: str
    ) -> tuple[Request, tuple[str, ...], Uri | None]:
        """A SUBSCRIBE without what tells it from others of its dialog.

        :param dialog: None for an initial one.
        :returns: also its Route values, and the next hop where these do not tell.
        """
        if dialog is None:
            uri, route, hop = self.uri, self.route, None
            local, remote = self.local_uri, f"<{self.uri}>"
        else:
            uri, route, hop = dialog.routing()
            local = dialog.local_uri
            remote = f"{dialog.remote_uri};tag={dialog.remote_tag}"
            dialog.contact = contact
        request = Request("SUBSCRIBE", uri)
        request.set("From", f"{local};tag={local_tag}")
        request.set("To", remote)
        request.set("Contact", contact)
        if self.accept:
            request.set("Accept", ", ".join(self.accept))
        if self.supported:
            request.set("Supported", ", ".join(self.supported))
        for name, value in self.headers:
            request.add(name, value)
        return request, route, hop
