"""Values that the parts of the document servers hand each other."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Literal, TypeAlias

import attrs

Tree: TypeAlias = Literal["users", "global"]


# -- HTTP ---------------------------------------------------------------------------------


class Headers:
    """Header fields of a message, in order; names compare without regard to case.

    :param fields: (name, value) pairs; names are kept in lower case.
    """

    __slots__ = ("fields",)

    def __init__(self, fields: Iterable[tuple[str, str]] = ()) -> None:
        self.fields: list[tuple[str, str]] = [(name.lower(), value) for name, value in fields]

    def __repr__(self) -> str:
        return f"Headers({[name for name, _ in self.fields]})"  # values may be secret

    def get(self, name: str) -> str | None:
        """The value of a field, several joined by commas (RFC 9110 section 5.3)."""
        found: str | None = None
        for given, value in self.fields:
            if given == name:
                found = value if found is None else f"{found}, {value}"
        return found

    def all(self, name: str) -> list[str]:
        """Every value of a field, as received."""
        return [value for given, value in self.fields if given == name]

    def __contains__(self, name: str) -> bool:
        return self.get(name) is not None


@attrs.frozen(slots=True)
class HttpPeer:
    """Where a request came from.

    :ivar address: numeric IP address.
    :ivar secure: over TLS.
    :ivar tls_version: such as ``TLSv1.3``, "" without TLS.
    :ivar names: identities in a verified client certificate.
    :ivar connection: number of the connection, unique in the process.
    """

    address: str
    port: int = 0
    secure: bool = False
    tls_version: str = ""
    names: tuple[str, ...] = ()
    connection: int = 0


@attrs.frozen(slots=True)
class Head:
    """A request without its body.

    :ivar method: as sent, case-sensitive.
    :ivar target: raw request target in origin form: path and query, octet for octet (XCAP-12).
    :ivar authority: host and port the request is for: of the absolute form, else of Host.
    """

    method: str
    target: str
    authority: str
    headers: Headers
    peer: HttpPeer


@attrs.frozen(slots=True)
class HttpResponse:
    """An answer.

    :ivar headers: (name, value) pairs; the server that sends it adds Content-Length, Date and
        Connection.
    :ivar body: octets; not sent in answer to HEAD.
    """

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""

    def header(self, name: str) -> str | None:
        """The first value of a field, its name in any case."""
        name = name.lower()
        for given, value in self.headers:
            if given.lower() == name:
                return value
        return None


Receive: TypeAlias = Callable[[bytes], Awaitable[HttpResponse]]
"""Takes the body of a request that was let in and gives the answer."""


# -- documents ----------------------------------------------------------------------------


@attrs.frozen(slots=True, order=True)
class DocumentKey:
    """Names a document (RFC 4825 section 6.2).

    :ivar root: the XCAP root it belongs to, as configured, ending in ``/``.
    :ivar auid: application usage.
    :ivar xui: canonical user identifier, "" in the global tree.
    :ivar path: decoded segments below the home directory or ``global``, joined by ``/``.
    """

    root: str
    auid: str
    xui: str
    path: str

    @property
    def tree(self) -> Tree:
        """``users`` or ``global``."""
        return "users" if self.xui else "global"


@attrs.frozen(slots=True)
class Document:
    """A stored document.

    :ivar etag: entity-tag without quotes.
    :ivar modified: wall-clock seconds of its last change.
    """

    key: DocumentKey
    octets: bytes
    etag: str
    modified: float


@attrs.frozen(slots=True)
class Claim:
    """A value that one document in the whole store may hold (XDM-46).

    :ivar space: what kind of value, such as ``rls-services``.
    :ivar name: the canonical value.
    :ivar content: what to hand out to who looks the value up: for services their element, with
        all namespace declarations it needs (XDM-48).
    """

    space: str
    name: str
    content: bytes = b""


@attrs.frozen(slots=True)
class Draft:
    """A change to commit.

    :ivar before: entity-tag the document must have, "" when it must not exist.
    :ivar octets: the new document; None removes it.
    :ivar author: canonical URI of who makes the change.
    :ivar node: raw node selector of the request with its query, "" for the whole document.
    :ivar claims: what the new document claims, instead of what the old one did.
    """

    key: DocumentKey
    before: str
    octets: bytes | None
    author: str = ""
    node: str = ""
    claims: tuple[Claim, ...] = ()


@attrs.frozen(slots=True)
class Change:
    """A committed change, one for each commit, in order (XCAP-148).

    :ivar position: rises by at least one with every commit of the store.
    :ivar before: entity-tag before, "" when the document was created.
    :ivar after: entity-tag after, "" when it was removed.
    :ivar old: octets before, b"" when created or no longer known (after a restart).
    :ivar new: octets after, b"" when removed or no longer known.
    :ivar operation: ``create``, ``replace`` or ``delete``.
    """

    position: int
    key: DocumentKey
    before: str
    after: str
    old: bytes
    new: bytes
    author: str
    node: str
    time: float

    @property
    def operation(self) -> str:
        """What was done to the document as a whole."""
        if not self.before:
            return "create"
        return "replace" if self.after else "delete"


@attrs.frozen(slots=True)
class Entry:
    """A document in a listing (XDM-80).

    :ivar size: octets.
    """

    key: DocumentKey
    etag: str
    modified: float
    size: int


# -- access -------------------------------------------------------------------------------


@attrs.frozen(slots=True)
class Requester:
    """Who a request is from.

    :ivar identities: canonical public identities of one subscriber, the asserted one first;
        empty for nobody.
    :ivar names: identities of its TLS client certificate.
    """

    identities: tuple[str, ...] = ()
    names: tuple[str, ...] = ()

    @property
    def identity(self) -> str:
        """The asserted identity, "" for nobody."""
        return self.identities[0] if self.identities else ""
