"""The configuration's table of the Resource List Server.

It follows the rules of :mod:`presence.tables`.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from presence.addresses import is_address, sip_protocol
from presence.tables import Count, Positive, Seconds, Table, Text
from presence.tomlfile import WrongValueError


class Rls(Table, frozen=True):
    """Subscriptions to presence lists (RLO-01 to RLO-06, RLS-14, RLS-18).

    :ivar identity: who this server is where a watcher has no identity (RLS-19).
    :ivar route: SIP URI of the next hop of subscriptions to members that are not served here,
        such as ``sip:192.0.2.8:5060;transport=tcp``; "" goes by the member's domain.
    :ivar window: in which changes of members become one NOTIFY.
    :ivar fetch: how long a fetch of a list waits for its members (RCL-06).
    :ivar members: of one list that are subscribed to
        (MAX-NUMBER-OF-SUBSCRIPTIONS-IN-PRESENCE-LIST).
    :ivar excess: what becomes of further ones: listed without state, listed as given up, or
        the list is refused.
    :ivar rate: subscriptions to members a second for one list.
    :ivar rate_total: for all lists together.
    :ivar expires: lifetime of subscriptions to members over SIP: their refresh shows that a
        server is gone.
    :ivar retry: how long after a failure they are tried again; each further failure doubles it.
    :ivar retry_most: how long it may become.
    :ivar body_limit: octets of a NOTIFY; what does not fit follows in the next one.
    :ivar contained: URI at which a SUBSCRIBE may bring its list along (RFC 5367), such as
        ``sip:lists@example.com``; "" offers that not.
    :ivar bare_id_agents: clients, by the beginning of their User-Agent, that find the states in
        a list only by ``Content-Id`` without angle brackets, below ``Event: Presence`` (CLI-17).
    """

    identity: Text = "sip:rls@presence.invalid"
    route: str = ""
    window: Seconds = 2.0
    fetch: Positive = 5.0
    members: Count = 200
    excess: Literal["unlisted", "terminated", "refuse"] = "unlisted"
    rate: Annotated[float, Meta(gt=0)] = 50.0
    rate_total: Annotated[float, Meta(gt=0)] = 1000.0
    expires: Count = 3600
    retry: Positive = 5.0
    retry_most: Positive = 1800.0
    body_limit: Count = 61440
    contained: str = ""
    bare_id_agents: tuple[Text, ...] = ()

    def __post_init__(self) -> None:
        """Check the addresses."""
        if not is_address(self.identity):
            raise WrongValueError(
                ("identity",),
                self.identity,
                "the address of somebody",
                'write for example "sip:rls@example.com"',
            )
        if self.contained and not is_address(self.contained):
            raise WrongValueError(
                ("contained",),
                self.contained,
                "the address of a service",
                'write for example "sip:lists@example.com"',
            )
        if self.route and sip_protocol(self.route) is None:
            raise WrongValueError(
                ("route",),
                self.route,
                "the SIP URI of a server",
                'write for example "sip:192.0.2.8:5060;transport=tcp"',
            )
