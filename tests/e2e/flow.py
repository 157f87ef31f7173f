"""Plays a course of messages from a file: sends what is ours, compares what the server sends."""

from __future__ import annotations

import re
import time
from pathlib import Path

import attrs
from lxml import etree

from tests.e2e.wire import Message, Wire

_TITLE = re.compile(r"^== (\w+) (\w+) > (\w+)$", re.M)
_NAME = re.compile(r"\{([\w-]+|#)\}")
_UNTOLD = frozenset({"allow", "server", "user-agent", "supported", "content-length", "sip-etag"})
"""Header fields that a course need not name."""
_SECONDS = 15.0


@attrs.frozen
class Step:
    """A message of the course.

    :ivar ours: whether the test sends it.
    :ivar start: the start-line.
    :ivar fields: (name in lower case, value).
    """

    name: str
    ours: bool
    start: str
    fields: tuple[tuple[str, str], ...]
    body: str


def read(path: Path, domain: str) -> dict[str, Step]:
    """The messages of a file, by name.

    :param domain: put in for ``home.example``.
    """
    text = path.read_text(encoding="utf-8").replace("home.example", domain)
    parts = _TITLE.split(text)[1:]
    found = {}
    for name, _, receiver, text in zip(*[iter(parts)] * 4, strict=True):
        head, _, body = text.strip("\n").partition("\n\n")
        start, *lines = head.split("\n")
        fields = tuple(
            (key.strip().lower(), value.strip())
            for key, _, value in (line.partition(":") for line in lines)
        )
        found[name] = Step(name, receiver == "PS", start, fields, body)
    return found


class Course:
    """Plays messages over one wire: that of the proxy before all users.

    :ivar values: of the names in the messages.
    """

    def __init__(self, steps: dict[str, Step], wire: Wire, **values: str) -> None:
        self.values = values
        self.steps = steps
        self._wire = wire
        self._received: list[Message] = []
        self._seen: set[tuple[str, str]] = set()
        self._last: dict[str, Message] = {}

    def play(self, *names: str) -> None:
        """Send or await messages in this order; a 200 answers the last NOTIFY awaited."""
        awaited: Message | None = None
        for name in names:
            step = self.steps[name]
            if not step.ours:
                awaited = self.await_(step)
            elif step.start.startswith("SIP/2.0"):
                assert awaited is not None, f"{name} answers nothing"
                self.answer(awaited)
            else:
                self.send(self._octets(step))

    def send(self, data: bytes) -> None:
        """Send something to the server."""
        self._wire.send(data)

    def await_(self, step: Step | str) -> Message:
        """The next message of a dialog, which has to be as the course says.

        :raises AssertionError: it is not, or does not come.
        """
        if isinstance(step, str):
            step = self.steps[step]
        call = dict(step.fields)["call-id"]
        message = self.next(call, step.start.startswith("SIP/2.0"))
        self._compare(step, message)
        return message

    def next(self, call: str, response: bool = False, seconds: float = _SECONDS) -> Message:
        """The next message with a Call-ID, retransmissions left out."""
        deadline = time.monotonic() + seconds
        while True:
            for message in self._received:
                if message["call-id"] == call and bool(message.status) == response:
                    self._received.remove(message)
                    return message
            left = deadline - time.monotonic()
            assert left > 0, f"nothing comes with {call}, but {self._received}"
            message = self._wire.receive(left)
            if message is None:
                continue
            key = (message.branch, message.start)
            if key not in self._seen:
                self._seen.add(key)
                self._received.append(message)

    def answer(self, request: Message, status: int = 200) -> None:
        """Answer a request of the server."""
        kept = ("via", "from", "to", "call-id", "cseq", "record-route")
        lines = [f"{name}: {value}" for name, value in request.fields if name in kept]
        head = "\r\n".join([f"SIP/2.0 {status} OK", *lines, "Content-Length: 0", "", ""])
        self._wire.send(head.encode())

    def silent(self, seconds: float) -> bool:
        """Whether nothing further comes."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            message = self._wire.receive(left)
            if message is not None and (message.branch, message.start) not in self._seen:
                self._received.append(message)
        return not self._received

    def _octets(self, step: Step) -> bytes:
        """What is to be sent."""

        def value(found: re.Match[str]) -> str:
            return self.values[found[1]]

        body = _NAME.sub(value, step.body).encode()
        lines = [f"{name}: {text}" for name, text in step.fields]
        head = "\r\n".join([step.start, *lines, f"Content-Length: {len(body)}", "", ""])
        return _NAME.sub(value, head).encode() + body

    def _compare(self, step: Step, message: Message) -> None:
        self._match(step, step.start, message.start)
        names = list(dict.fromkeys(name for name, _ in step.fields))
        for name in names:
            wanted = [text for key, text in step.fields if key == name]
            there = message.every(name)
            assert len(there) == len(wanted), (step.name, name, there)
            for text, found in zip(wanted, there, strict=True):
                self._match(step, text, found)
        more = {name for name, _ in message.fields} - set(names) - _UNTOLD
        assert not more, (step.name, more)
        if step.body:
            self._match(step, canonical(step.body.encode()), canonical(message.body))
        else:
            assert message.body == b"", (step.name, message.body)

    def _match(self, step: Step, wanted: str, found: str) -> None:
        """Compare a text; a new name gets its value."""
        names: list[str] = []

        def pattern(part: str) -> str:
            if part == "#":
                return r"\d+"
            if part in self.values:
                return re.escape(self.values[part])
            if part in names:
                return f"(?P=n{names.index(part)})"
            names.append(part)
            end = r"[^\n]+" if part == "packages" else r"[^\s;,\"<>@]+"
            return f"(?P<n{len(names) - 1}>{end})"

        parts = _NAME.split(wanted)
        made = "".join(
            pattern(part) if place % 2 else re.escape(part) for place, part in enumerate(parts)
        )
        match = re.fullmatch(made, found)
        assert match is not None, f"{step.name}: {found!r} is not {wanted!r}"
        for place, name in enumerate(names):
            self.values[name] = match[f"n{place}"]


def canonical(document: bytes) -> str:
    """Canonical XML of a document, without white space between elements."""
    parser = etree.XMLParser(resolve_entities=False, no_network=True, remove_blank_text=True)
    return etree.tostring(etree.fromstring(document, parser), method="c14n").decode()
