"""Dialogs: identifiers, route sets and in-dialog routing (RFC 3261 section 12)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from pysip.errors import ParseError, SipError
from pysip.header import parse_name_addr
from pysip.uri import SipUri, parse_uri

if TYPE_CHECKING:
    from pysip.message import Message, Request
    from pysip.uri import Uri

MAX_CSEQ = 2**31 - 1

DialogId = tuple[str, str, str]
"""Call-ID, local tag, remote tag (DLG-01)."""


@attrs.define(slots=True)
class Dialog:
    """The state of one dialog, on either side.

    :ivar local_uri: our From/To value without tag, with display name if there was one.
    :ivar remote_uri: the peer's, likewise.
    :ivar remote_target: URI of the peer's Contact, as sent (GRU-01).
    :ivar route_set: Route values in the order to use, with all parameters.
    :ivar contact: our Contact value, with angle brackets.
    :ivar local_cseq: last CSeq number used by us.
    :ivar remote_cseq: last CSeq number of the peer; -1 before the first.
    :ivar secure: it was made by a sips request over TLS.
    """

    call_id: str
    local_tag: str
    remote_tag: str
    local_uri: str
    remote_uri: str
    remote_target: str
    route_set: tuple[str, ...]
    contact: str
    local_cseq: int = 0
    remote_cseq: int = -1
    secure: bool = False

    @property
    def id(self) -> DialogId:
        """Call-ID, local tag, remote tag."""
        return (self.call_id, self.local_tag, self.remote_tag)

    def in_order(self, cseq: int) -> bool:
        """Whether a request with this CSeq number is newer than the last (DLG-07)."""
        return cseq > self.remote_cseq

    def routing(self) -> tuple[str, tuple[str, ...], Uri]:
        """Request-URI, Route values and next hop of a request in this dialog (DLG-05).

        :raises ParseError: the route set or the remote target is malformed.
        """
        if not self.route_set:
            return self.remote_target, (), parse_uri(self.remote_target)
        first = parse_name_addr(self.route_set[0]).uri
        uri = parse_uri(first)
        if isinstance(uri, SipUri) and uri.lr:
            return self.remote_target, self.route_set, next_hop(self.remote_target, self.route_set)
        # A strict router: its URI stands in the Request-URI, less what is not allowed there.
        if isinstance(uri, SipUri):
            params = {k: v for k, v in uri.params.items() if k != "method"}
            first = str(attrs.evolve(uri, params=params, headers=""))
        return first, (*self.route_set[1:], f"<{self.remote_target}>"), parse_uri(first)


def next_hop(request_uri: str, routes: tuple[str, ...]) -> Uri:
    """The URI to locate for a request with these Route values (DNS-01).

    A sips Request-URI makes the hop a sips one whatever the Route says.

    :raises ParseError: the URI is no URI.
    """
    if not routes:
        return parse_uri(request_uri)
    hop = parse_uri(parse_name_addr(routes[0]).uri)
    if isinstance(hop, SipUri) and hop.scheme == "sip" and request_uri[:5].lower() == "sips:":
        return attrs.evolve(hop, scheme="sips")
    return hop


def wants_sips(request: Request) -> bool:
    """Whether our Contact in the 2xx to ``request`` must be a sips URI (DLG-14).

    :raises ParseError: its Record-Route or Contact is malformed.
    """
    if request.uri[:5].lower() == "sips:":
        return True
    routes = request.values("record-route")
    if routes:
        return parse_name_addr(routes[0]).uri[:5].lower() == "sips:"
    return any(contact.uri[:5].lower() == "sips:" for contact in request.contacts)


def single_contact(message: Message) -> str:
    """The URI of the one Contact of a dialog-forming request (DLG-12).

    :raises SipError: 400 when there is none, several, ``*`` or no sip/sips URI.
    """
    if (message.first("contact") or "*").strip() == "*":
        raise SipError(400, "Bad Request: Contact missing")
    contacts = message.contacts
    if len(contacts) != 1:
        raise SipError(400, "Bad Request: not exactly one Contact")
    text = contacts[0].uri
    try:
        usable = isinstance(parse_uri(text), SipUri)
    except ParseError:
        usable = False
    if not usable:
        raise SipError(400, "Bad Request: Contact is no SIP URI")
    return text


def uas_dialog(request: Request, local_tag: str, contact: str, secure: bool) -> Dialog:
    """The dialog that a 2xx to ``request`` makes on our side (DLG-02).

    :param contact: our Contact value.
    :param secure: the request came over TLS.
    :raises SipError: 400 for a bad Contact.
    """
    request_uri = request.uri
    remote = request.from_
    return Dialog(
        call_id=request.call_id,
        local_tag=local_tag,
        remote_tag=remote.tag,
        local_uri=without_tag(request.headers["to"][0]),
        remote_uri=without_tag(request.headers["from"][0]),
        remote_target=single_contact(request),
        route_set=tuple(request.values("record-route")),
        contact=contact,
        remote_cseq=request.cseq[0],
        secure=secure and request_uri[:5].lower() == "sips:",
    )


def without_tag(value: str) -> str:
    """A From or To value without its header parameters, in angle brackets (DLG-16)."""
    end = value.rfind(">")
    if end >= 0:
        return value[: end + 1]
    address = parse_name_addr(value)
    return f"<{address.uri}>"
