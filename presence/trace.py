"""Seeing messages: the trace of single users (OBS-02) and the lines of log level debug.

Both are taps of the transports, which cost one comparison per message while there is none.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from twisted.logger import Logger
from zope.interface import implementer

from presence.boundedfile import BoundedFile
from presence.oplog import TRACE_FAILED, report
from pysip.correlate import correlation
from pysip.errors import ParseError
from pysip.header import parse_name_addr, split_list
from pysip.interfaces import IMessageTap
from pysip.message import Message, Request, Response
from pysip.parse import BadMessage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from presence.tables import Trace
    from pysip.interfaces import IFlow, ITransport

_PARTIES = ("from", "to", "p-asserted-identity", "p-preferred-identity")
_CREDENTIALS = frozenset(
    (
        *("authorization", "proxy-authorization"),
        *("authentication-info", "proxy-authentication-info"),
    )
)
_SECRET = re.compile(r"""\b(response|rspauth|cnonce)\s*=\s*("(?:[^"\\]|\\.)*"?|[^\s,]*)""", re.I)
"""Parameters of Digest by which a password could be guessed or a request replayed."""

_USERINFO = re.compile(r"""\b(sips?:)([^\s<>@:"]*):[^\s<>@"]*@""", re.I)
"""A URI with a password."""


@implementer(IMessageTap)
class Tracer:
    """Writes all messages of some users, with credentials masked (OBS-02).

    A message is a user's when it comes from, goes to or asserts one of them.

    :param users: their canonical URIs.
    :param canonical: makes a URI canonical; raises ParseError.
    :param file: where to.
    :param wall: wall-clock seconds.
    """

    _log = Logger()

    def __init__(
        self,
        users: Iterable[str],
        canonical: Callable[[str], str],
        file: BoundedFile,
        wall: Callable[[], float],
    ) -> None:
        self._users = frozenset(users)
        self._canonical = canonical
        self._file: BoundedFile | None = file
        self._wall = wall
        # A message is looked at more closely when it has a user part in it, or something
        # that can be written in several ways.
        self._signs = [user[4:].rpartition("@")[0] for user in self._users if user[:4] == "sip:"]
        self._numbers = len(self._signs) < len(self._users)

    def received(self, message: Request | Response | BadMessage, flow: IFlow) -> None:
        """Write a message that has arrived, if it is of a traced user."""
        if isinstance(message, BadMessage):
            if message.message is not None:
                note = f", refused: {message.status} {message.reason}"
                self._consider(message.message, "received from", flow, note)
        else:
            self._consider(message, "received from", flow)

    def sent(self, data: bytes, flow: IFlow) -> None:
        """Write a message that leaves, if it is of a traced user."""
        head = data.partition(b"\r\n\r\n")[0]
        if not self._promising(head.decode("utf-8", "surrogateescape")):
            return
        self._consider(_read_own(data), "sent to", flow)

    def close(self) -> None:
        """Write nothing more."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _promising(self, text: str) -> bool:
        if "%" in text or any(sign in text for sign in self._signs):
            return True
        text = text.lower()
        return "user=phone" in text or (self._numbers and "tel:" in text)

    def _consider(self, message: Message, what: str, flow: IFlow, note: str = "") -> None:
        if self._file is None or not self._concerns(message):
            return
        when = datetime.fromtimestamp(self._wall(), UTC).isoformat(timespec="microseconds")
        host, port = flow.remote
        call = correlation(message)
        title = f"--- {when} {what} {flow.protocol} {host} port {port}, call {call}{note}\n"
        try:
            text = masked(message).encode().replace(b"\r\n", b"\n").rstrip(b"\n")
        except ValueError:
            text = b"(it has line ends where there are none)"
        try:
            self._file.write(title.encode("utf-8", "replace") + text + b"\n\n")
        except OSError as error:
            report(self._log, TRACE_FAILED, str(error))
            self.close()

    def _concerns(self, message: Message) -> bool:
        """Whether one of the users takes part."""
        texts = [value for name in _PARTIES for value in message.headers.get(name, ())]
        if isinstance(message, Request):
            texts.append(message.uri)
        return self._promising("\n".join(texts)) and not self._users.isdisjoint(
            self._parties(message)
        )

    def _parties(self, message: Message) -> Iterator[str]:
        """Canonical URIs of those who take part, as far as they can be read."""
        uris = [message.uri] if isinstance(message, Request) else []
        for name in _PARTIES:
            for value in message.headers.get(name, ()):
                try:
                    uris += [parse_name_addr(one).uri for one in split_list(value)]
                except ParseError:
                    continue
        for uri in uris:
            try:
                yield self._canonical(uri)
            except ParseError:
                continue


def masked(message: Message) -> Message:
    """A copy of ``message`` without what one could log in with."""
    headers = {
        name: [
            _masked_credentials(name, value) if name in _CREDENTIALS else _without_password(value)
            for value in values
        ]
        for name, values in message.headers.items()
    }
    if isinstance(message, Request):
        return Request(message.method, _without_password(message.uri), headers, message.body)
    if isinstance(message, Response):
        return Response(message.status, message.reason, headers, message.body)
    raise TypeError("neither request nor response")


def _masked_credentials(name: str, value: str) -> str:
    """Digest credentials without what proves them; of other schemes nothing is shown."""
    if name.endswith("authorization") and value[:7].lower() != "digest ":
        return "***"
    return _SECRET.sub(r'\1="***"', value)


def _without_password(value: str) -> str:
    """A header value, or URI, without the password that a SIP URI in it may have."""
    return _USERINFO.sub(r"\1\2:***@", value) if "@" in value else value


def _read_own(data: bytes) -> Request | Response:
    """A message of ours: well formed, but for what it repeats of a malformed request."""
    head, _, body = data.partition(b"\r\n\r\n")
    start, *lines = head.decode("utf-8", "surrogateescape").split("\r\n")
    headers: dict[str, list[str]] = {}
    for line in lines:
        name, _, value = line.partition(": ")
        headers.setdefault(name.lower(), []).append(value)
    first, second, rest = start.split(" ", 2)
    if first == "SIP/2.0":
        return Response(int(second), rest, headers, body)
    return Request(first, second, headers, body)


@implementer(IMessageTap)
class MessageLog:
    """One line of level debug for each message (OBS-03)."""

    _log = Logger()

    def received(self, message: Request | Response | BadMessage, flow: IFlow) -> None:
        """Log a message that has arrived."""
        if isinstance(message, BadMessage):
            line = f"what is no message: {message.status} {message.reason}"
            call = correlation(message.message) if message.message is not None else ""
        else:
            line, call = start_line(message), correlation(message)
        self._tell("received {line} from", line, flow, call)

    def sent(self, data: bytes, flow: IFlow) -> None:
        """Log a message that leaves."""
        message = _read_own(data)
        self._tell("sent {line} to", start_line(message), flow, correlation(message))

    def _tell(self, what: str, line: str, flow: IFlow, call: str) -> None:
        self._log.debug(
            what + " {protocol} {host} port {port} (call {call})",
            line=line,
            protocol=flow.protocol,
            host=flow.remote[0],
            port=flow.remote[1],
            call=call,
        )


def start_line(message: Request | Response) -> str:
    """Method or status, and the CSeq that tells which request it is."""
    cseq = message.first("cseq")
    if isinstance(message, Request):
        return f"{message.method} {_without_password(message.uri)}, CSeq {cseq}"
    return f"{message.status} {message.reason}, CSeq {cseq}"


@implementer(IMessageTap)
class Taps:
    """Several taps as one."""

    def __init__(self, taps: Sequence[IMessageTap]) -> None:
        self._taps = tuple(taps)

    def received(self, message: Request | Response | BadMessage, flow: IFlow) -> None:
        """Show a message that has arrived."""
        for tap in self._taps:
            tap.received(message, flow)

    def sent(self, data: bytes, flow: IFlow) -> None:
        """Show a message that leaves."""
        for tap in self._taps:
            tap.sent(data, flow)


class Tracing:
    """Sets the taps of the transports as the configuration wants them.

    :param transports: the listening points.
    :param canonical: makes a URI canonical; raises ParseError.
    :param wall: wall-clock seconds.
    """

    _log = Logger()

    def __init__(
        self,
        transports: Iterable[ITransport],
        canonical: Callable[[str], str],
        wall: Callable[[], float],
    ) -> None:
        self._transports = list(transports)
        self._canonical = canonical
        self._wall = wall
        self._tracer: Tracer | None = None

    def apply(self, settings: Trace, path: Path, debug: bool) -> None:
        """Begin, change or end.

        :param settings: whom to trace.
        :param path: where to.
        :param debug: log a line for each message.
        """
        self.stop()
        taps: list[IMessageTap] = [MessageLog()] if debug else []
        if settings.users:
            self._tracer = self._begin(settings, path)
            if self._tracer is not None:
                taps.append(self._tracer)
        tap = taps[0] if len(taps) == 1 else Taps(taps) if taps else None
        for transport in self._transports:
            transport.tap = tap

    def _begin(self, settings: Trace, path: Path) -> Tracer | None:
        try:
            users = [
                self._canonical(user if ":" in user else f"sip:{user}") for user in settings.users
            ]
            file = BoundedFile(path, settings.max_size)
        except (OSError, ParseError) as error:
            report(self._log, TRACE_FAILED, str(error))
            return None
        self._log.info("tracing {count} users to {file}", count=len(users), file=str(path))
        return Tracer(users, self._canonical, file, self._wall)

    def stop(self) -> None:
        """Show messages to nobody."""
        for transport in self._transports:
            transport.tap = None
        if self._tracer is not None:
            self._tracer.close()
            self._tracer = None
            self._log.info("tracing has ended")
