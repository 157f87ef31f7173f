"""What tests of objects share: bodies of sources, what watchers got, and a Content Server."""

from __future__ import annotations

from hashlib import sha1
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from zope.interface import implementer

from presence.content.errors import ContentError
from presence.content.interfaces import Fetched, IContentObjects
from pysip.external import ExternalBody, parse_external
from pysip.header import format_date
from pysip.message import Request
from pysip.mime import Related, parse_related
from tests.node import BOB

RELATED = "multipart/related"
EXTERNAL = "message/external-body"
PIDF = "application/pidf+xml"
TAKES_OBJECTS = f"{PIDF}, {RELATED}"
TAKES_REFERENCES = f"{PIDF}, {RELATED}, {EXTERNAL}"
CONTENT = "https://content.example.com/cs/"
ICON = b"\x89PNG\r\n\x1a\n--icon\x00\xff"


def person(icon: str = "cid:icon1@ua", id: str = "p1", entity: str = BOB, more: str = "") -> bytes:
    """A document with a person that has a status-icon."""
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<presence xmlns="urn:ietf:params:xml:ns:pidf" entity="{entity}"'
        ' xmlns:dm="urn:ietf:params:xml:ns:pidf:data-model"'
        ' xmlns:r="urn:ietf:params:xml:ns:pidf:rpid">'
        f'<dm:person id="{id}">{more}<r:status-icon>{icon}</r:status-icon></dm:person></presence>'
    ).encode()


def inline(
    body: bytes = ICON, cid: str = "icon1@ua", kind: str = "image/png", extra: str = ""
) -> bytes:
    """A part with an object."""
    head = f"Content-Type: {kind}\r\n" + (f"Content-ID: <{cid}>\r\n" if cid else "")
    return f"{head}{extra}\r\n".encode() + body


def reference(
    url: str,
    expires: float,
    cid: str = "icon1@ua",
    *,
    size: int | None = None,
    sha: str = "",
    kind: str = "image/png",
    disposition: str = "render",
) -> bytes:
    """A part with a reference."""
    params = f'access-type="URL"; expiration="{format_date(expires)}";\r\n URL="{url}"'
    params += "" if size is None else f"; size={size}"
    params += f"; hash={sha.upper()}" if sha else ""
    inside = f"Content-Type: {kind}\r\n" if kind else ""
    inside += f"Content-ID: <{cid}>\r\nContent-Disposition: {disposition}\r\n"
    return f"Content-Type: {EXTERNAL}; {params}\r\n\r\n{inside}\r\n".encode()


def multipart(
    *parts: bytes, root: bytes | None = None, kind: str = PIDF, boundary: str = "xx42"
) -> dict[str, Any]:
    """Body and Content-Type of a PUBLISH whose root is a document."""
    document = person() if root is None else root
    first = f"Content-Type: {kind}\r\nContent-ID: <d1@ua>\r\n\r\n".encode() + document
    mark = f"--{boundary}".encode()
    body = b"".join(mark + b"\r\n" + part + b"\r\n" for part in (first, *parts)) + mark + b"--\r\n"
    content_type = f'{RELATED};type="{kind}";start="<d1@ua>";boundary="{boundary}"'
    return {"body": body, "content_type": content_type}


class Got:
    """What a NOTIFY has brought.

    :ivar type: media type of its body.
    :ivar document: the presence document.
    :ivar objects: bodies by Content-ID.
    :ivar references: references by Content-ID.
    :ivar order: type of each part but the root.
    """

    def __init__(self, content_type: str, body: bytes) -> None:
        self.type = content_type.partition(";")[0]
        self.objects: dict[str, bytes] = {}
        self.references: dict[str, ExternalBody] = {}
        self.kinds: dict[str, str] = {}
        self.document = body
        self.related: Related | None = None
        if self.type != RELATED:
            return
        self.related = related = parse_related(content_type, body)
        self.document = related.root.body
        for part in related.others:
            if part.content_type.type == EXTERNAL:
                told = parse_external(part)
                self.references[told.content_id] = told
            else:
                self.objects[part.content_id] = part.body
                self.kinds[part.content_id] = part.first("content-type") or ""

    @property
    def cids(self) -> list[str]:
        """What stands in the status-icons of the document."""
        text = self.document.decode()
        pieces = text.split("status-icon>cid:")[1:]
        return [piece.partition("<")[0] for piece in pieces]


def got(request: Request) -> Got:
    """What a NOTIFY has brought."""
    return Got(request.first("content-type") or "", request.body)


def hashed(body: bytes) -> str:
    """The hash of an object as references have it."""
    return sha1(body, usedforsecurity=False).hexdigest()


@implementer(IContentObjects)
class Shelf:
    """A Content Server in memory.

    :ivar objects: what is there, by URL.
    :ivar until: the life of each.
    :ivar fetched: URLs that were asked for.
    :ivar held: requests wait here for :meth:`let` while this is a list.
    :ivar down: all requests fail so.
    :ivar clock: each request takes a second of it.
    """

    def __init__(self) -> None:
        self.objects: dict[str, Fetched] = {}
        self.until: dict[str, float] = {}
        self.fetched: list[str] = []
        self.stored: list[tuple[str, str, bytes, float]] = []
        self.kept: list[tuple[str, float]] = []
        self.held: list[Deferred[None]] | None = None
        self.down: ContentError | None = None
        self.clock: IReactorTime | None = None

    def put(self, name: str, body: bytes, kind: str = "image/png") -> str:
        """Put an object there; its URL."""
        url = CONTENT + name
        self.objects[url] = Fetched(kind, body)
        return url

    def let(self) -> None:
        """Let go what waits."""
        waiting, self.held = self.held or [], None
        for each in waiting:
            if not each.called:
                each.callback(None)

    def _wait(self) -> Deferred[None]:
        if self.down is not None:
            return fail(self.down)
        if self.clock is not None:
            return deferLater(self.clock, 1.0)
        if self.held is None:
            return succeed(None)
        waiting: Deferred[None] = Deferred()
        self.held.append(waiting)
        return waiting

    def owns(self, uri: str) -> bool:
        """Ours is what begins so."""
        return uri.startswith(CONTENT)

    def fetch(self, uri: str, limit: int) -> Deferred[Fetched]:
        """An object."""
        self.fetched.append(uri)

        def give(_: None) -> Fetched:
            found = self.objects.get(uri)
            if found is None:
                raise ContentError("missing", status=404)
            if len(found.body) > limit:
                raise ContentError("large")
            return found

        return self._wait().addCallback(give)

    def store(self, owner: str, content_type: str, body: bytes, until: float) -> Deferred[str]:
        """Store it."""
        self.stored.append((owner, content_type, body, until))
        return self._wait().addCallback(
            lambda _: self.put(f"stored{len(self.stored)}", body, content_type)
        )

    def keep(self, uri: str, until: float) -> Deferred[None]:
        """Note it."""
        self.kept.append((uri, until))
        return self._wait()
