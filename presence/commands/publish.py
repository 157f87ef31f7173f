"""``presencectl publish``: publish presence until stopped."""

from __future__ import annotations

import argparse
import re
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
from twisted.internet.defer import Deferred
from zope.interface import implementer

from presence.commands.contentaccess import ContentAccess, content_access
from presence.commands.failures import OK, USAGE, CommandError, refusal
from presence.commands.options import (
    Parsers,
    add_client_options,
    add_content_option,
    check_expires,
    client_settings,
    presentity,
)
from presence.commands.pictures import picture
from presence.commands.session import GRACE, Output, run
from presence.commands.xcapsession import sip_settings
from presence.pidf.parse import DocumentError
from presence.publishing.interfaces import ISourceDelegate
from presence.publishing.objects import SourceObject
from presence.source import PresenceSource, SourceTerms, Status
from pysip.errors import ParseError
from pysip.uri import OtherUri, parse_uri

if TYPE_CHECKING:
    from collections.abc import Callable

    from presence.client import ClientSettings, PresenceClient
    from presence.content.client import ContentClient
    from presence.content.errors import ContentError
    from pysip.message import Response


_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_STORING = 60.0
"""Seconds that a command waits for its icon that publishes only once."""

_TEXTS = {
    "late": "the Content Server does not answer in time",
    "unreachable": "the Content Server cannot be reached; see --content-server",
}

_SAYING = ("status", "note", "contact", "activity", "mood", "place", "sphere", "icon", "device")


def add_parser(parsers: Parsers) -> None:
    """Describe the command."""
    parser = parsers.add(
        "publish",
        "publish presence and keep it published until stopped",
        """
presencectl publish --user sip:alice@example.com --password-file alice.txt
presencectl publish --status closed --note "back on Monday"
presencectl publish --note "on the road" --contact tel:+4930123456
presencectl publish --activity meeting --mood happy --place office --sphere work
presencectl publish --activity vacation --icon beach.jpg
presencectl publish --file alice.xml --once --expires 600
presencectl publish --server 192.0.2.1 --transport tls --ca server.pem
""",
    )
    parser.add_argument(
        "uri", metavar="URI", nargs="?", help="the presentity to publish for (default: --user)"
    )
    parser.add_argument(
        "--status", choices=("open", "closed"), help="can it be reached? (default: open)"
    )
    parser.add_argument("--note", metavar="TEXT", help="what to say about the person")
    parser.add_argument(
        "--contact", metavar="URI", help="where it can be reached (default: the presentity)"
    )
    for option, kind, example in (
        ("--activity", "what you do", "meeting, on-the-phone, away"),
        ("--mood", "how you feel", "happy, sleepy"),
    ):
        parser.add_argument(
            option,
            metavar="WORD",
            action="append",
            default=[],
            help=f"{kind}: a word of RFC 4480 such as {example}, or your own; may be repeated",
        )
    parser.add_argument(
        "--place",
        metavar="WORD",
        help="where you are: a word of RFC 4589 such as office, or your own",
    )
    parser.add_argument(
        "--sphere", choices=("home", "work"), help="the part of your life you are in"
    )
    parser.add_argument(
        "--device", metavar="URN", help="the device you are at, such as urn:uuid:..."
    )
    parser.add_argument(
        "--file", metavar="PIDF", help="publish this presence document; - reads standard input"
    )
    parser.add_argument(
        "--expires", metavar="N", type=int, default=3600, help="lifetime in seconds (default 3600)"
    )
    parser.add_argument(
        "--partial",
        action="store_true",
        help="publish so that only changes have to follow (RFC 5264), if the server takes that",
    )
    parser.add_argument(
        "--once", action="store_true", help="publish once and leave it to expire by itself"
    )
    parser.add_argument(
        "--keep", action="store_true", help="when stopped, leave the publication to expire"
    )
    group = parser.add_argument_group("icon")
    group.add_argument(
        "--icon",
        metavar="FILE",
        help="a picture of it (PNG, JPEG or GIF), which is stored at your Content Server if it "
        "is large; or the URL of one that others can fetch",
    )
    add_content_option(group)
    add_client_options(parser)
    parser.set_defaults(run=_run)


@attrs.frozen(slots=True, kw_only=True)
class Publishing:
    """What to publish, and for how long.

    :ivar presentity: for whom.
    :ivar status: what; used when there is no ``document``.
    :ivar device: the device it is published from, a URN, or "".
    :ivar document: a presence document, or None.
    :ivar expires: lifetime to ask for, seconds.
    :ivar partial: tell changes to a server that takes them (PPU-07).
    :ivar once: end after the first success.
    :ivar keep: do not remove the publication at the end.
    :ivar access: to the Content Server where the icon is stored, if that is in a file.
    """

    presentity: str
    status: Status = attrs.field(factory=Status)
    device: str = ""
    document: bytes | None = None
    expires: int = 3600
    partial: bool = False
    once: bool = False
    keep: bool = False
    access: ContentAccess | None = None


@implementer(ISourceDelegate)
class PublishCommand:
    """Publishes until it is interrupted.

    :param wall: wall-clock seconds.
    """

    def __init__(
        self,
        what: Publishing,
        output: Output,
        errors: Output,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._what = what
        self._output = output
        self._errors = errors
        self._wall = wall
        self._client: PresenceClient | None = None
        self._content: ContentClient | None = None
        self._source: PresenceSource | None = None
        self._over: Deferred[int] = Deferred()
        self._ending = False
        self._up = False  # published, as far as the user was told

    def run(self, client: PresenceClient) -> Deferred[int]:
        """Publish; fires with the exit status when it is over."""
        self._client = client
        if self._what.access is not None:
            self._content = self._what.access.client(client.ua.clock)
        return Deferred.fromCoroutine(self._go(client))

    async def _go(self, client: PresenceClient) -> int:
        try:
            self._begin(client)
            return await self._over
        finally:
            if self._content is not None:
                await self._content.stop()

    def _begin(self, client: PresenceClient) -> None:
        """Say it for the first time.

        :raises CommandError: it cannot be said.
        """
        what = self._what
        terms = SourceTerms(
            presentity=what.presentity,
            local_uri=client.local_uri,
            expires=what.expires,
            device=what.device,
            route=client.route,
            credentials=client.credentials,
            partial=what.partial,
        )
        if what.once:
            terms = attrs.evolve(terms, patience=_STORING)
        self._source = source = PresenceSource(
            client.publisher, terms, self, self._wall, self._content
        )
        try:
            if what.document is not None:
                source.set_document(what.document)
            else:
                source.set_status(what.status)
        except DocumentError as error:
            raise CommandError(f"the presence document: {error.reason}", USAGE) from None
        except ValueError:
            raise CommandError("control characters cannot be published", USAGE) from None

    def interrupt(self) -> None:
        """Remove the publication unless it is to be kept (SRC-05), and end."""
        source, client = self._source, self._client
        if self._over.called or source is None or client is None:
            return
        self._ending = True
        if self._what.keep or self._what.once:
            self._over.callback(OK)
            return
        removal = source.stop()
        removal.addTimeout(GRACE, client.ua.clock)
        removal.addBoth(self._removed)

    def _removed(self, result: object) -> None:
        if self._over.called:
            return
        source = self._source
        gone = result is None or (source is not None and not source.publication.etag)
        if gone and self._up:
            self._output.line(f"removed the publication for {self._what.presentity}")
        if not gone:
            self._errors.line("presencectl: no answer to the removal; the publication will expire")
        elif result is not None:
            self._errors.line(
                "presencectl: the Content Server does not answer; the icon will expire"
            )
        self._over.callback(OK)

    def _fail(self, error: CommandError) -> None:
        if not self._over.called:
            self._over.errback(error)

    def published(self, lifetime: int) -> None:
        """The state is published; tell so once."""
        if self._over.called:
            return
        if self._what.once:
            self._output.line(f"published {self._what.presentity} for {lifetime} s")
            self._over.callback(OK)
        elif not self._up:
            self._output.line(
                f"published {self._what.presentity} for {lifetime} s, refreshed until Ctrl-C"
            )
        self._up = True

    def publication_failed(self, response: Response | None, retry_after: float | None) -> None:
        """Tell what went wrong; end unless it will be tried again."""
        client = self._client
        if client is None or self._over.called:
            return
        error = refusal(
            response,
            f"publishing for {self._what.presentity}",
            client.settings.aor,
            client.credentials is not None,
        )
        if retry_after is None or self._what.once:
            self._fail(error)
            return
        self._up = False
        self._errors.line(f"presencectl: {error}; trying again in {retry_after:.0f} s")

    def object_failed(
        self, object: SourceObject, error: ContentError, retry_after: float | None
    ) -> None:
        """Tell why there is no icon; presence is published all the same."""
        if self._over.called or self._ending:
            return
        text = _TEXTS.get(error.kind) or error.text or "the Content Server refuses it"
        again = "" if retry_after is None else f"; trying again in {retry_after:.0f} s"
        self._errors.line(f"presencectl: the icon cannot be published: {text}{again}")


def _run(options: argparse.Namespace) -> int:
    settings = _settings(options)
    own = settings.aor
    if options.file and any(getattr(options, name) for name in _SAYING):
        raise CommandError(f"--file says all; leave --{', --'.join(_SAYING)} out", USAGE)
    check_expires(options)
    icon = _icon(options.icon)
    what = Publishing(
        presentity=presentity(options.uri, "", settings.user.host) if options.uri else own,
        status=Status(
            basic=options.status or "open",
            note=options.note or "",
            contact=_uri("--contact", options.contact),
            activities=tuple(map(_activity, options.activity)),
            moods=tuple(options.mood),
            place=options.place or "",
            sphere=options.sphere or "",
            icon=icon,
        ),
        device=_uri("--device", options.device),
        document=_read(options.file) if options.file else None,
        expires=options.expires,
        partial=options.partial,
        once=options.once,
        keep=options.keep,
        access=content_access(options, settings) if isinstance(icon, SourceObject) else None,
    )
    output = Output(sys.stdout)
    command = PublishCommand(what, output, Output(sys.stderr))
    return run(settings, command, output, debug=options.debug)


def _settings(options: argparse.Namespace) -> ClientSettings:
    """Settings of the SIP side; what is for TLS may be for the Content Server alone."""
    if _is_file(options.icon) and options.transport in ("udp", "tcp"):
        return sip_settings(options)
    return client_settings(options)


def _is_file(icon: str | None) -> bool:
    return bool(icon) and not _SCHEME.match(icon or "")


def _icon(text: str | None) -> str | SourceObject:
    """A picture in a file, or the URI of one."""
    if text and _is_file(text):
        return picture("--icon", text)
    return _uri("--icon", text)


def _activity(word: str) -> str:
    return "meal" if word == "lunch" else word  # which the schema has forgotten (RPI-06)


def _uri(option: str, text: str | None) -> str:
    if text:
        try:
            if isinstance(parse_uri(text), OtherUri) and ":" not in text:
                raise ParseError("no scheme")
        except ParseError as error:
            raise CommandError(f"{option} {text}: not a URI ({error})", USAGE) from None
    return text or ""


def _read(file: str) -> bytes:
    try:
        return sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as error:
        raise CommandError(f"--file {file}: {error.strerror}", USAGE) from None
