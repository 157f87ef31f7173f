"""Icons and other objects of watched documents, saved in a directory (WAT-06)."""

from __future__ import annotations

import contextlib
import math
import os
import re
from collections.abc import Callable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import attrs
from twisted.internet.defer import Deferred, DeferredList

from presence.commands.failures import USAGE, CommandError
from presence.content.errors import ContentError
from presence.pidf.parse import DocumentError
from presence.pidf.plain import plain
from presence.pidf.summary import summarise
from presence.watching.objects import InlineObject, ReferredObject
from presence.watching.retrieve import MOST_OCTETS, ReferenceRetriever
from pysip.external import ExternalBody

if TYPE_CHECKING:
    from twisted.python.failure import Failure

    from presence.commands.contentaccess import ContentAccess
    from presence.content.client import RetrievedObject
    from presence.watching.interfaces import IObjectRetriever
    from presence.watching.objects import WatchedObject

MOST_LINKS: Final = 20
"""Links of one document that are looked at."""

MOST_FILES: Final = 1000
"""Files of one run: others must not fill the disk."""

MOST_ALTOGETHER: Final = 256 << 20
"""Octets of them together."""

_ENDINGS: Final = {
    "image/png": ".png",
    "image/jpeg": ".jpg",
    "image/gif": ".gif",
    "image/webp": ".webp",
    "image/svg+xml": ".svg",
    "image/x-icon": ".ico",
    "image/bmp": ".bmp",
}
_UNSAFE: Final = re.compile(r"[^A-Za-z0-9@._+-]")

_TEXTS: Final = {
    "missing": "it is not there any more",
    "large": f"it is larger than {MOST_OCTETS >> 20} MiB",
    "mismatch": "it is not what was announced",
    "late": "it did not come in time",
    "unreachable": "its server cannot be reached",
    "foreign": "its server is not among those that may be asked; see --icons-from",
}


class IconFolder:
    """Saves objects, each once.

    Files are named after the presentity and a digest of what makes the object another one.

    :param directory: where they go; it is made when missing.
    :param retriever: brings those that are elsewhere.
    :param told: is told of each file, and of what could not be had.
    :param stop: called when no more is wanted.
    """

    def __init__(
        self,
        directory: Path,
        retriever: IObjectRetriever,
        told: Callable[[str], None],
        stop: Callable[[], Deferred[Any]] | None = None,
    ) -> None:
        self._directory = directory
        self._retriever = retriever
        self._told = told
        self._stop = stop
        self._seen: set[str] = set()
        self._octets = 0
        self._full = False
        self._under_way: set[Deferred[None]] = set()

    def prepare(self) -> None:
        """Make the directory.

        :raises CommandError: it cannot be made, or not be written to.
        """
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise CommandError(f"--icons {self._directory}: {error.strerror}", USAGE) from None
        if not os.access(self._directory, os.W_OK):
            raise CommandError(f"--icons {self._directory}: cannot be written", USAGE)

    def take(
        self, uri: str, objects: Mapping[str, WatchedObject], document: bytes | None = None
    ) -> None:
        """Save what is new among the objects of a presentity's document.

        :param document: it may also have icons that it refers to by ``https`` URLs.
        """
        for each in (*objects.values(), *_linked(document)):
            key = _key(each)
            if key in self._seen:
                continue
            if len(self._seen) >= MOST_FILES or self._octets >= MOST_ALTOGETHER:
                self._say_full()
                return
            self._seen.add(key)
            stem = self._directory / f"{_safe(uri)}-{key}"
            if isinstance(each, InlineObject):
                self._save(uri, stem, each)
            else:
                self._retrieve(uri, stem, each)

    def finished(self) -> Deferred[Any]:
        """Fires, never with a failure, when nothing is under way any more."""
        return DeferredList(list(self._under_way))

    def stop(self) -> Deferred[Any]:
        """Want no more; fires when all is closed."""
        for each in list(self._under_way):
            each.cancel()
        return self._stop() if self._stop is not None else DeferredList([])

    def _save(self, uri: str, stem: Path, found: InlineObject) -> None:
        part = stem.with_name(f"{stem.name}.part")
        try:
            part.write_bytes(found.body)
            self._place(uri, part, stem, found.content_type, len(found.body))
        except OSError as error:
            self._told(f"icon of {plain(uri)} cannot be saved: {error.strerror}")

    def _retrieve(self, uri: str, stem: Path, found: ReferredObject) -> None:
        part = stem.with_name(f"{stem.name}.part")
        retrieving = self._retriever.retrieve(found.reference, part)

        def come(there: RetrievedObject) -> None:
            kind = found.reference.content_type or there.content_type
            self._place(uri, part, stem, kind, there.size)

        def failed(failure: Failure) -> None:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)
            error = failure.value
            if isinstance(error, ContentError):
                text = _TEXTS.get(error.kind) or error.text or "its server refuses it"
            else:
                failure.trap(OSError)
                text = str(error.strerror) if isinstance(error, OSError) else ""
            self._told(f"icon of {plain(uri)} cannot be had: {text}")

        done: Deferred[None] = retrieving.addCallback(come)
        done.addErrback(failed)
        self._under_way.add(done)
        done.addBoth(lambda _: self._under_way.discard(done))

    def _place(self, uri: str, part: Path, stem: Path, content_type: str, size: int) -> None:
        kind = content_type.partition(";")[0].strip().lower()
        file = stem.with_name(stem.name + _ENDINGS.get(kind, ".bin"))
        part.replace(file)
        self._octets += size
        self._told(f"icon of {plain(uri)} saved as {file}")

    def _say_full(self) -> None:
        if not self._full:
            self._full = True
            self._told("no more icons are saved: there are too many")


@attrs.frozen(slots=True, kw_only=True)
class IconSettings:
    """Where icons go, and where they come from.

    :ivar access: to the user's own Content Server.
    :ivar hosts: web servers that may be asked besides: ``host``, or ``host:port``.
    """

    directory: Path
    access: ContentAccess
    hosts: tuple[str, ...]

    def open(
        self, reactor: Any, wall: Callable[[], float], told: Callable[[str], None]
    ) -> IconFolder:
        """A folder that is ready.

        :raises CommandError: it cannot be used.
        """
        client = self.access.client(reactor)
        retriever = ReferenceRetriever(client, self.hosts, wall)
        folder = IconFolder(self.directory, retriever, told, client.stop)
        folder.prepare()
        return folder


def _linked(document: bytes | None) -> list[ReferredObject]:
    """The icons to which a document refers by URLs of the web."""
    if document is None or b"status-icon" not in document:
        return []
    try:
        summary = summarise(document)
    except DocumentError:
        return []
    links = [link for person in summary.persons for link in person.links]
    links += [link for service in summary.services for link in service.links]
    return [
        ReferredObject(link.uri, ExternalBody(link.uri, math.inf))
        for link in links[:MOST_LINKS]
        if link.kind == "status-icon" and link.uri[:6].lower() == "https:"
    ]


def _key(each: WatchedObject) -> str:
    digest = sha256(each.cid.encode("utf-8", "surrogateescape"))
    if isinstance(each, InlineObject):
        digest.update(each.body)
    else:
        digest.update(f" {each.reference.url} {each.reference.sha1}".encode())
    return digest.hexdigest()[:16]


def _safe(uri: str) -> str:
    return _UNSAFE.sub("_", uri.partition(":")[2] or uri).lstrip(".")[:80]
