"""The configuration's tables of the Content Server.

They follow the rules of :mod:`presence.tables`.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from presence.addresses import Network, parse_peer
from presence.content.media import TYPES, active, is_pattern
from presence.tables import Count, Positive, Table, Text, check_within
from presence.tomlfile import WrongValueError
from presence.xdmtables import HttpListen, check_http, check_proxies

_LONGEST_LIFE = 366 * 86400


class ContentPeer(Table, frozen=True):
    """A Content Server elsewhere, for the Presence Server of this process (PRS-15).

    :ivar uri: its base URI (CONTENT-SERVER-URI).
    :ivar ca: PEM authorities of its certificate; "": the system's.
    :ivar certificate: PEM client certificate, by which it trusts us; "" for none.
    :ivar key: its PEM private key.
    """

    uri: Text
    ca: str = ""
    certificate: str = ""
    key: str = ""

    def __post_init__(self) -> None:
        """Check the URI, and that certificate and key come together."""
        check_http(("uri",), self.uri)
        if bool(self.certificate) != bool(self.key):
            missing = "key" if self.certificate else "certificate"
            raise WrongValueError(
                (missing,), ..., "the other half of the pair", "set certificate and key together"
            )


class ContentTable(Table, frozen=True):
    """The Content Server: pictures, sounds and texts that presence refers to (AGP-106 to AGP-113).

    :ivar listen: listening points of its own; none stands for those of the Aggregation Proxy,
        or where that is elsewhere for port 8444 with TLS on loopback.
    :ivar uris: the served domain of each base URI (CONTENT-SERVER-URI); none stands for ``cs/``
        below each XCAP root, or with listening points of its own for
        ``https://content.<domain>/cs/``, and the first of them for localhost and numeric ones.
    :ivar path: directory of the objects, relative to the state directory.
    :ivar read: who may read an object: whoever has an account here and its URI, the ``owner``
        and trusted servers, or ``anybody`` who has its URI (AGP-111).
    :ivar size: of one object; beyond it 413.
    :ivar objects: of one user; beyond it 507.
    :ivar total_size: all objects of one user; beyond it 507.
    :ivar types: media types that are stored, such as ``audio/*``; what a browser would run
        never is (AGP-110).
    :ivar default_life: of an object whose owner asks for nothing else.
    :ivar max_life: that is granted.
    :ivar upload_timeout: for a client to complete an upload.
    :ivar uploads: of one user at a time; beyond it 429.
    :ivar proxies: addresses or networks of proxies and servers that may assert identities.
    :ivar servers: who may act for every user (PRS-15): names in client certificates, and
        identities asserted from one of ``proxies``.
    :ivar server: Content Servers elsewhere, for the Presence Server of this process; that of
        this process needs no entry.
    :ivar answer_timeout: for the Presence Server to get or store an object.
    """

    listen: tuple[HttpListen, ...] = ()
    uris: dict[str, Text] = msgspec.field(default_factory=dict)
    path: Text = "content"
    read: Literal["authenticated", "owner", "anybody"] = "authenticated"
    size: Annotated[int, Meta(ge=1, le=1 << 30)] = 1048576
    objects: Count = 200
    total_size: Count = 20971520
    types: tuple[Text, ...] = TYPES
    default_life: Annotated[int, Meta(ge=1, le=_LONGEST_LIFE)] = 86400
    max_life: Annotated[int, Meta(ge=1, le=_LONGEST_LIFE)] = 2592000
    upload_timeout: Positive = 120.0
    uploads: Count = 16
    proxies: tuple[str, ...] = ()
    servers: tuple[Text, ...] = ()
    server: tuple[ContentPeer, ...] = ()
    answer_timeout: Positive = 5.0

    def __post_init__(self) -> None:
        """Check addresses, types and what is within something else."""
        for uri in self.uris:
            check_http(("uris", uri), uri)
        for i, name in enumerate(self.types):
            if not is_pattern(name) or active(name):
                raise WrongValueError(
                    ("types", i),
                    name,
                    'a media type that no browser runs, or one such as "audio/*"',
                    "remove it",
                )
        check_proxies(self.proxies)
        check_within(self, ("size", "total_size"), ("default_life", "max_life"))

    @property
    def networks(self) -> tuple[Network, ...]:
        """The proxies as networks."""
        return tuple(parse_peer(peer)[0] for peer in self.proxies)
