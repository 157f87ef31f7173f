"""What a proxy does to header fields on their way (RFC 9110 section 7, AGP-47, AGP-65 to 68)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from xcap.records import Headers, HttpPeer, HttpResponse

HOP_BY_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
"""Fields that concern one connection only (AGP-65)."""

UNTRUSTED = frozenset(
    {
        "x-3gpp-asserted-identity",
        "x-xcap-asserted-identity",
        "x-3gpp-authorization-flags",
        "x-forwarded-for",
        "x-forwarded-proto",
        "forwarded",
        "p-asserted-identity",
    }
)
"""Fields that a client has no say in (AGP-47)."""

# verified, answered or set anew by the proxy
_OURS = frozenset({"authorization", "expect", "x-request-id"})
# of the hop from which the answer came, or written by the server that sends it on
_ANSWER = HOP_BY_HOP | {"authentication-info", "content-length", "date", "server"}


def untrusted(names: Iterable[str] = ()) -> frozenset[str]:
    """The fields to remove from a client's request.

    :param names: further ones of this installation.
    """
    return UNTRUSTED | _OURS | HOP_BY_HOP | {_plain(name) for name in names}


def request_fields(headers: Headers, removed: frozenset[str]) -> list[tuple[str, str]]:
    """The fields of a request that go on.

    :param removed: see :func:`untrusted`; names with ``_`` for ``-`` count as these.
    """
    listed = _listed(headers.all("connection"))
    return [
        (name, value)
        for name, value in headers.fields
        if name not in removed
        and name not in listed
        and ("_" not in name or _plain(name) not in removed)
    ]


def answer_fields(response: HttpResponse, *, keep_length: bool) -> list[tuple[str, str]]:
    """The fields of an answer that go on.

    :param keep_length: for an answer to HEAD, whose length is not that of its body.
    """
    fields = [(name.lower(), name, value) for name, value in response.headers]
    listed = _listed(value for lower, _, value in fields if lower == "connection")
    removed = _ANSWER - {"content-length"} if keep_length else _ANSWER
    return [
        (name, value)
        for lower, name, value in fields
        if lower not in removed and lower not in listed
    ]


def visited(headers: Headers, pseudonym: str) -> bool:
    """Whether a request has been here before (AGP-66)."""
    pseudonym = pseudonym.lower()
    for value in headers.all("via"):
        for element in value.split(","):
            words = element.split(None, 2)
            if len(words) > 1 and words[1].lower() == pseudonym:
                return True
    return False


def forwarded(peer: HttpPeer) -> tuple[str, str]:
    """The Forwarded field (RFC 7239)."""
    address = f'"[{peer.address}]"' if ":" in peer.address else peer.address
    return ("Forwarded", f"for={address};proto={'https' if peer.secure else 'http'}")


def has_body(headers: Headers) -> bool:
    """Whether a request has a body that is not empty, as its head says."""
    if "transfer-encoding" in headers:
        return True
    length = headers.get("content-length")
    return length is not None and length.strip("0 \t") != ""


def _plain(name: str) -> str:
    return name.lower().replace("_", "-")


def _listed(values: Iterable[str]) -> frozenset[str]:
    return frozenset(name.strip().lower() for value in values for name in value.split(","))
