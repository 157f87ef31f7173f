"""Identity and privacy header fields of the trust domain (RFC 3323, 3325, 5876, 7315)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pysip.errors import ParseError, SipError
from pysip.header import format_name_addr, parse_name_addr
from pysip.uri import TelUri, parse_uri

if TYPE_CHECKING:
    from pysip.header import NameAddr
    from pysip.message import Request

PRIVATE_HEADERS = (
    "p-asserted-identity",
    "p-charging-vector",
    "p-charging-function-addresses",
    "p-access-network-info",
    "p-visited-network-id",
    "p-served-user",
    "p-profile-key",
)
"""What may neither come from nor go to a peer outside the trust domain (IMS-01, IMS-09)."""

ANONYMOUS_HOST = "anonymous.invalid"
_PRIVATE = frozenset(PRIVATE_HEADERS)
_HIDING = frozenset(("id", "user", "header"))
_KNOWN = frozenset(("header", "session", "user", "id", "history"))


def strip_private(request: Request) -> None:
    """Remove the headers of the trust domain from a request (IMS-01)."""
    if not _PRIVATE.isdisjoint(request.headers):
        for name in PRIVATE_HEADERS:
            request.remove(name)


def is_anonymous(uri: str) -> bool:
    """Whether a URI is one of the anonymous forms (IMS-08); a display name proves nothing.

    :param uri: as in a header or canonical.
    """
    if ANONYMOUS_HOST not in uri.lower():
        return False
    try:
        parsed = parse_uri(uri)
    except ParseError:
        return False
    host = getattr(parsed, "host", "")
    return isinstance(host, str) and host.lower().rstrip(".") == ANONYMOUS_HOST


def parse_privacy(value: str) -> frozenset[str]:
    """The values of a Privacy header, lower case (RFC 3323 section 4.2, IMS-06).

    :raises ParseError: a value twice, ``none`` with others, or ``critical`` before others.
    """
    words = [word.strip().lower() for word in value.split(";")]
    values = frozenset(words)
    if "" in values or len(values) < len(words):
        raise ParseError("Bad Privacy")
    if "none" in values and len(words) > 1:
        raise ParseError("Privacy none with others")
    if words[0] == "critical":
        raise ParseError("Privacy critical before others")
    return values


def privacy(request: Request) -> frozenset[str]:
    """The Privacy of a request; empty without the header.

    :raises ParseError: see :func:`parse_privacy`.
    """
    values = request.headers.get("privacy")
    return parse_privacy(";".join(values)) if values else frozenset()


def hides_identity(values: frozenset[str]) -> bool:
    """Whether these Privacy values keep the identity from untrusted parties (IMS-06)."""
    return not _HIDING.isdisjoint(values)


def check_critical(values: frozenset[str]) -> None:
    """Refuse a critical privacy type that we cannot provide (IMS-07).

    The known types we do: no header, address or session data of a request goes any further.

    :raises SipError: 500 naming the type.
    """
    if "critical" in values:
        unknown = sorted(values - _KNOWN - {"critical"})
        if unknown:
            raise SipError(500, f"Privacy Type Not Supported: {unknown[0]}")


def asserted_identities(values: list[str]) -> tuple[NameAddr | None, NameAddr | None]:
    """The SIP(S) and the tel identity of P-Asserted-Identity or P-Preferred-Identity.

    The first of each kind counts (IMS-03); other schemes are passed over.

    :param values: the header's values, split.
    :raises ParseError: a value is malformed.
    """
    sip = tel = None
    for value in values:
        address = parse_name_addr(value)
        scheme = address.uri.partition(":")[0].lower()
        if scheme in ("sip", "sips"):
            sip = sip or address
        elif scheme == "tel":
            tel = tel or address
    return sip, tel


def assert_identity(
    request: Request, identities: tuple[str, ...], trusted: bool, display: str = ""
) -> None:
    """Put identity headers of a request that we send in order (IMS-09, IMS-10).

    Toward a trusted peer P-Asserted-Identity names whom we act for; toward any other all
    headers of the trust domain go.  A preferred identity never goes out.

    :param identities: whom we act for: a SIP URI, a tel URI or both; empty for anonymous.
    :param trusted: whether the next hop belongs to the trust domain.
    """
    request.remove("P-Preferred-Identity")
    if not trusted:
        strip_private(request)
        return
    request.remove("P-Asserted-Identity")
    sip = tel = ""
    for uri in identities:
        if isinstance(parse_uri(uri), TelUri):
            tel = tel or uri
        else:
            sip = sip or uri
    for uri in filter(None, (sip, tel)):
        request.add("P-Asserted-Identity", format_name_addr(display, uri))
