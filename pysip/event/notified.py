"""A NOTIFY that has come: whether it is of the dialog, and whether its body can be read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pysip.dialog import single_contact, uas_dialog
from pysip.errors import SipError
from pysip.header import accepts, parse_accept
from pysip.mime import ACCEPT_ENCODING, codings_known, decode_body

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pysip.dialog import Dialog
    from pysip.message import Request
    from pysip.ua import ServerRequest


def begun(served: ServerRequest, local_tag: str, contact: str) -> Dialog:
    """The dialog that the first NOTIFY of a subscription makes (DLG-03).

    :param contact: our Contact value.
    :raises SipError: 400 without a From tag or a single Contact, or with an unusable route set.
    """
    request = served.request
    if not request.from_.tag:
        raise SipError(400, "Bad Request: From tag missing")
    dialog = uas_dialog(request, local_tag, contact, served.flow.secure)
    dialog.routing()  # an unusable route set is refused now, not at the refresh
    return dialog


def advance(dialog: Dialog, request: Request) -> None:
    """Take a further NOTIFY of a dialog in (DLG-04).

    :raises SipError: 481 for one of another fork, 500 out of order, 400 without a single Contact.
    """
    number = request.cseq[0]
    if request.from_.tag != dialog.remote_tag:
        raise SipError(481, "Subscription Does Not Exist")
    if not dialog.in_order(number):
        raise SipError(500, "Server Internal Error: CSeq out of order")
    dialog.remote_target = single_contact(request)  # DLG-08
    dialog.remote_cseq = number


def unreadable(request: Request, accept: Sequence[str]) -> SipError | None:
    """The refusal of a body of a type or coding that was not asked for (SBR-06).

    :param accept: media types that were; none for any.
    """
    if not request.body:
        return None
    content = request.content_type
    if content is None:
        return SipError(400, "Bad Request: Content-Type missing")
    if accept and not accepts(parse_accept(accept), content.type):
        return SipError(415, None, (("Accept", ", ".join(accept)),))
    if not codings_known(request.values("content-encoding")):
        return SipError(415, None, (("Accept-Encoding", ACCEPT_ENCODING),))
    return None


def decode(request: Request) -> bool:
    """Undo the content codings of the body, in place; false when that cannot be done (MSG-26).

    Then there is none: a NOTIFY that was taken in is not refused for what it says (SBR-06).
    """
    codings = request.values("content-encoding")
    if codings and request.body:
        request.remove("content-encoding")
        try:
            request.body = decode_body(codings, request.body)
        except SipError:
            request.body = b""
            return False
    return True
