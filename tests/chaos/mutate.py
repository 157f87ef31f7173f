"""Damaged SIP messages, the same ones for the same seed."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable

from tests.e2e.phone import DOMAIN, PIDF, pidf
from tests.e2e.wire import HOST

USERS = 50
"""Users that the messages speak of."""

_TOKENS = (
    *(b"\r\n", b"\n", b"\r\n\r\n", b"\r\n ", b"\t", b"\0", b" ", b",", b";", b":", b"=", b'"'),
    *(b"<", b">", b"<>", b"@", b"%", b"%00", b"%zz", b"*", b"?", b"[", b"]", b"[::1]", b"\\"),
    *(b"\xff\xfe", b"\xc3\x28", b"\xed\xa0\x80", "é漢".encode(), b"&amp;", b"&x;", b"]]>"),
    *(b"0", b"-1", b"4294967295", b"4294967296", b"9" * 25, b"1e9", b"0x10", b"1.5"),
    *(b"SIP/2.0", b"SIP/3.0", b"sip:", b"sips:", b"tel:+1", b"pres:", b"urn:x", b"INVITE", b"ACK"),
    *(b"A" * 300, b"a;b=c", b";lr", b";tag=x", b";branch=z9hG4bK", b";rport", b"z9hG4bK"),
    *(b"<!DOCTYPE p [<!ENTITY x 'y'>]>", b"<a>" * 200, b"<?x?>", b"xmlns=''", b"<![CDATA["),
)
_LINES = (
    *(b"Require: frob", b"Content-Encoding: gzip", b"Content-Length: 5", b"Content-Length: 99999"),
    *(
        b"Content-Type: multipart/mixed;boundary=x",
        b"Transfer-Encoding: chunked",
        b"Route: <sip:x>",
    ),
    *(b"Max-Forwards: 0", b"Max-Forwards: x", b"Expires: 99999999999", b"Expires: -1", b"Event: x"),
    *(b"Via: SIP/2.0/UDP 127.0.0.1:9;branch=z9hG4bKx", b"Via: SIP/2.0/UDP [::1", b"Contact: *"),
    *(b"Record-Route: <sip:127.0.0.1;lr>", b"SIP-If-Match: *", b"SIP-If-Match: a, b", b": x"),
    *(b"P-Asserted-Identity: <sip:a@b>", b"Privacy: id;critical", b"Timestamp: x", b"To: <", b"x"),
    *(b"Authorization: Digest", b"Authorization: Basic YTpi", b"Accept: ,", b"Supported: ,,"),
    *(b"Subscription-State: active", b"CSeq: 1", b"Call-ID:", b"v: x", b"From: x;tag=1;tag=2"),
)
_COMPACT = {
    **{b"via": b"v", b"from": b"f", b"to": b"t", b"call-id": b"i", b"contact": b"m"},
    **{b"event": b"o", b"content-length": b"l", b"content-type": b"c"},
}

Mutation = Callable[[random.Random, bytes], bytes]


class Mutator:
    """Makes damaged messages, seldom a sound one.

    :param seed: of all choices.
    :param authorization: value for some of the messages, or "".
    """

    def __init__(self, seed: int, authorization: str = "") -> None:
        self.random = random.Random(seed)
        self._authorization = authorization
        self._numbers = itertools.count(1)

    def message(self, protocol: str, local: tuple[str, int]) -> bytes:
        """The next message, as from the address ``local``."""
        rng = self.random
        data = self._sound(protocol, local)
        for _ in range(rng.choice((0, 1, 1, 1, 2, 2, 3, 5))):
            data = rng.choice(_MUTATIONS)(rng, data)
        if rng.random() < 0.05:
            other = self._sound(protocol, local)
            data = data[: rng.randrange(len(data) + 1)] + other[rng.randrange(len(other)) :]
        return data[:60000]

    def answer(self, request: bytes) -> bytes:
        """A damaged answer to a request of the server."""
        rng = self.random
        lines = [
            line
            for line in request.split(b"\r\n\r\n")[0].split(b"\r\n")
            if line.partition(b":")[0].lower() in (b"via", b"from", b"to", b"call-id", b"cseq")
        ]
        status = rng.choice((b"200 OK", b"481 Gone", b"503 Busy", b"302 Moved", b"100 Trying"))
        data = b"\r\n".join((b"SIP/2.0 " + status, *lines, b"Content-Length: 0", b"", b""))
        if rng.random() < 0.5:
            data = rng.choice(_MUTATIONS)(rng, data)
        return data

    def _sound(self, protocol: str, local: tuple[str, int]) -> bytes:
        """A message without fault."""
        rng = self.random
        number = next(self._numbers)
        method = rng.choice(("PUBLISH", "PUBLISH", "SUBSCRIBE", "REGISTER", "NOTIFY", "OPTIONS"))
        user = f"user{rng.randrange(USERS)}"
        aor = f"sip:{user}@{DOMAIN}"
        uri = f"sip:{DOMAIN}" if method == "REGISTER" else aor
        host, port = local
        kind = "" if protocol == "UDP" else f";transport={protocol.lower()}"
        lines = [
            f"{method} {uri} SIP/2.0",
            f"via: SIP/2.0/{protocol} {host}:{port};branch=z9hG4bK{port}m{number};rport",
            "max-forwards: 70",
            f'from: "{user}" <{aor}>;tag=f{number}',
            f"to: <{aor}>" + (f";tag=t{number}" if rng.random() < 0.1 else ""),
            f"call-id: {number}m{port}@{HOST}",
            f"cseq: {rng.randrange(1, 1000)} {method}",
        ]
        body = b""
        if method in ("PUBLISH", "SUBSCRIBE", "NOTIFY"):
            lines.append("event: presence")
        if method in ("SUBSCRIBE", "NOTIFY", "REGISTER"):
            lines.append(f"contact: <sip:{user}@{host}:{port}{kind}>;expires=2")
        if method == "NOTIFY":
            lines.append("subscription-state: active;expires=2")
        if method in ("PUBLISH", "NOTIFY"):
            body = pidf(user, f"note {number}")
            lines.append(f"content-type: {PIDF}")
        if method == "SUBSCRIBE":
            lines.append(f"accept: {PIDF}, multipart/related;q=0.5")
        if method in ("PUBLISH", "SUBSCRIBE", "REGISTER"):
            lines.append(f"expires: {rng.choice((0, 1, 2, 3600))}")
        if method == "PUBLISH" and rng.random() < 0.1:
            lines.append(f"sip-if-match: x{number}")
        if self._authorization and rng.random() < 0.5:
            lines.append(f"authorization: {self._authorization}")
        lines.append(f"content-length: {len(body)}")
        return "\r\n".join([*lines, "", ""]).encode() + body


def _flip(rng: random.Random, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8))):
        if changed:
            changed[rng.randrange(len(changed))] = rng.randrange(256)
    return bytes(changed)


def _span(rng: random.Random, data: bytes) -> tuple[int, int]:
    start = rng.randrange(len(data) + 1)
    return start, min(len(data), start + rng.choice((1, 2, 5, 20, 100)))


def _delete(rng: random.Random, data: bytes) -> bytes:
    start, end = _span(rng, data)
    return data[:start] + data[end:]


def _repeat(rng: random.Random, data: bytes) -> bytes:
    start, end = _span(rng, data)
    return data[:end] + data[start:end] * rng.choice((1, 1, 3, 50)) + data[end:]


def _insert(rng: random.Random, data: bytes) -> bytes:
    start = rng.randrange(len(data) + 1)
    return data[:start] + rng.choice(_TOKENS) + data[start:]


def _overwrite(rng: random.Random, data: bytes) -> bytes:
    start, end = _span(rng, data)
    return data[:start] + rng.choice(_TOKENS) + data[end:]


def _truncate(rng: random.Random, data: bytes) -> bytes:
    return data[: rng.randrange(len(data) + 1)]


def _lines(change: Callable[[random.Random, list[bytes]], None]) -> Mutation:
    """A mutation of the lines of the head."""

    def mutated(rng: random.Random, data: bytes) -> bytes:
        head, separator, body = data.partition(b"\r\n\r\n")
        lines = head.split(b"\r\n")
        change(rng, lines)
        return b"\r\n".join(lines) + separator + body

    return mutated


def _remove_line(rng: random.Random, lines: list[bytes]) -> None:
    del lines[rng.randrange(len(lines))]


def _repeat_line(rng: random.Random, lines: list[bytes]) -> None:
    lines.insert(rng.randrange(len(lines) + 1), rng.choice(lines) if lines else b"")


def _add_line(rng: random.Random, lines: list[bytes]) -> None:
    lines.insert(rng.randrange(len(lines) + 1), rng.choice(_LINES))


def _shuffle(rng: random.Random, lines: list[bytes]) -> None:
    rest = lines[1:]
    rng.shuffle(rest)
    lines[1:] = rest


def _revalue(rng: random.Random, lines: list[bytes]) -> None:
    at = rng.randrange(len(lines))
    name = lines[at].partition(b":")[0]
    lines[at] = name + b": " + b"".join(rng.choices(_TOKENS, k=rng.randrange(4)))


def _shorten(rng: random.Random, lines: list[bytes]) -> None:
    for at, line in enumerate(lines):
        name, colon, value = line.partition(b":")
        lines[at] = _COMPACT.get(name.lower(), name) + colon + value


_MUTATIONS: tuple[Mutation, ...] = (
    *(_flip, _flip, _delete, _repeat, _insert, _insert, _overwrite, _overwrite, _truncate),
    *map(_lines, (_remove_line, _repeat_line, _add_line, _add_line, _shuffle, _revalue, _shorten)),
)
