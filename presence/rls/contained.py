"""Lists that a SUBSCRIBE brings along (RFC 5367, RCL-01 to RCL-06)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from presence.lists import display_names, parse_document, subscribable
from presence.rls.definitions import member_key
from presence.rls.model import Member
from pysip.errors import SipError
from pysip.mime import decode_body, parse_disposition
from xcap.usage.names import ENTRY, RESOURCE_LISTS

if TYPE_CHECKING:
    from pysip.message import Request

LISTS: Final = "application/resource-lists+xml"
OPTION: Final = "recipient-list-subscribe"
_MOST_OCTETS: Final = 262144
"""A thousand members with names: what is larger is not read in one turn of the reactor."""
_ROOT: Final = f"{{{RESOURCE_LISTS}}}resource-lists"


def brings_list(request: Request) -> bool:
    """Whether the body of a request is a list of recipients."""
    media = request.content_type
    if not request.body or media is None or media.type != LISTS:
        return False
    disposition = request.first("content-disposition")
    return disposition is None or parse_disposition(disposition)[0] == "recipient-list"


def contained_members(request: Request, most: int) -> tuple[Member, ...]:
    """The members of the list that a SUBSCRIBE brings along; only entries count (RCL-01).

    :param most: members that are allowed.
    :raises SipError: 400 for what is no list, 403 for too long a list (RCL-03), 413 or 415 for
        too many octets or an unknown coding.
    """
    body = decode_body(request.values("content-encoding"), request.body, _MOST_OCTETS)
    root = parse_document(body)
    if isinstance(root, str) or root.tag != _ROOT:
        raise SipError(400, "Bad Request: no resource list")
    found: dict[str, Member] = {}
    for entry in root.iter(ENTRY):
        for uri in subscribable((entry.get("uri", "").strip(),)):
            key = member_key(uri)
            if key is not None:
                found.setdefault(key, Member(uri, key, display_names(entry)))
        if len(found) > most:
            raise SipError(403, None, (("Warning", '399 presence "the list is too long"'),))
    if not found:
        raise SipError(400, "Bad Request: nobody in the list")
    return tuple(found.values())
