"""A scripted SIP client for tests against the real server: publishes, watches, registers."""

from __future__ import annotations

import hashlib
import itertools
import re
import time
from collections import defaultdict, deque
from collections.abc import Callable
from xml.etree import ElementTree

from tests.e2e.wire import HOST, Message, Wire, parameter

DOMAIN = "example.com"
PIDF = "application/pidf+xml"
_SPACE = "{urn:ietf:params:xml:ns:pidf}"
_HASHES = {"MD5": "md5", "SHA-256": "sha256", "SHA-512-256": "sha512_256"}
NOTED = 0.6
"""Seconds after which the server has noted for sure what a watcher has acknowledged.

It does so in 200 ms; a kill before that costs the watcher at most one NOTIFY it need not have.
"""
_ANSWER_SECONDS = 15.0
_RESEND_SECONDS = 0.5
_serial = itertools.count(1)


def aor(user: str) -> str:
    """The address of a user of the served domain."""
    return f"sip:{user}@{DOMAIN}"


def pidf(user: str, note: str, tuple_id: str = "t1", basic: str = "open") -> bytes:
    """A presence document of one tuple with a note."""
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>'
        f'<presence xmlns="urn:ietf:params:xml:ns:pidf" entity="{aor(user)}">'
        f'<tuple id="{tuple_id}"><status><basic>{basic}</basic></status>'
        f"<note>{note}</note></tuple></presence>"
    ).encode()


def notes(message: Message) -> list[str]:
    """The notes of the presence document in a NOTIFY, sorted.

    :raises AssertionError: it holds no presence document.
    """
    assert message["content-type"] == PIDF, message
    root = ElementTree.fromstring(message.body)
    assert root.tag == f"{_SPACE}presence", root.tag
    return sorted(element.text or "" for element in root.iter(f"{_SPACE}note"))


def challenge_for(response: Message, algorithm: str) -> dict[str, str]:
    """The parameters of the challenge with an algorithm."""
    for value in response.every("www-authenticate"):
        found = dict(re.findall(r'(\w+)="?([^",]*)"?', value.partition(" ")[2]))
        if found["algorithm"] == algorithm:
            return found
    raise AssertionError(f"no challenge with {algorithm}: {response}")


def credentials(
    challenge: dict[str, str],
    user: str,
    password: str,
    method: str,
    uri: str,
    *,
    count: int = 1,
    cnonce: str = "0a4f113b",
) -> str:
    """The Authorization that answers a challenge (RFC 7616, qop auth)."""

    def hashed(text: str) -> str:
        return hashlib.new(_HASHES[challenge["algorithm"]], text.encode()).hexdigest()

    realm, nonce = challenge["realm"], challenge["nonce"]
    secret = hashed(f"{user}:{realm}:{password}")
    response = hashed(f"{secret}:{nonce}:{count:08x}:{cnonce}:auth:{hashed(f'{method}:{uri}')}")
    return (
        f'Digest username="{user}", realm="{realm}", nonce="{nonce}", uri="{uri}",'
        f' response="{response}", algorithm={challenge["algorithm"]}, qop=auth,'
        f' nc={count:08x}, cnonce="{cnonce}", opaque="{challenge.get("opaque", "")}"'
    )


class Watch:
    """The client's side of a subscription.

    :ivar event: value of Event.
    :ivar response: the answer to the last SUBSCRIBE.
    :ivar target: Request-URI for the next one.
    :ivar cseq: CSeq number of the last one.
    :ivar last_cseq: CSeq number of the last NOTIFY.
    """

    def __init__(self, uri: str, call_id: str, tag: str, event: str = "presence") -> None:
        self.uri = uri
        self.event = event
        self.call_id = call_id
        self.tag = tag
        self.remote_tag = ""
        self.target = uri
        self.cseq = 0
        self.last_cseq = 0
        self.response: Message

    def fields(self) -> dict[str, str | int]:
        """What :meth:`Phone.build` has to know for a SUBSCRIBE in this dialog."""
        return {
            "to": self.uri,
            "call_id": self.call_id,
            "tag": self.tag,
            "to_tag": self.remote_tag,
            "cseq": self.cseq,
            "event": self.event,
        }

    def subscribed(self, response: Message) -> None:
        """Take the answer to a SUBSCRIBE."""
        self.response = response
        self.cseq = response.cseq
        if response.status in (200, 202):
            self.remote_tag = parameter(response["to"], "tag")
            self.target = response["contact"].partition("<")[2].partition(">")[0]


class Phone:
    """A client at one wire.

    :param wire: to the server.
    :param user: user part of its address, and name for Digest.
    :param password: "" not to answer challenges.
    :param algorithm: which challenge to answer.

    :ivar answer: status for incoming requests, 0 to leave them unanswered, or a function of
        the request.
    :ivar contact: URI at which it wants its NOTIFYs; by default that of the wire.
    :ivar incoming: all requests that came, without retransmissions.
    :ivar responses: final responses that nobody has taken yet, by branch.
    """

    def __init__(
        self, wire: Wire, user: str = "alice", password: str = "", algorithm: str = "SHA-256"
    ) -> None:
        self.wire = wire
        self.user = user
        self.password = password
        self.algorithm = algorithm
        self.answer: int | Callable[[Message], int] = 200
        host, port = wire.local
        kind = "" if wire.protocol == "UDP" else f";transport={wire.protocol.lower()}"
        self.contact = f"sip:{user}@{host}:{port}{kind}"
        self.incoming: list[Message] = []
        self._notifies: defaultdict[str, deque[Message]] = defaultdict(deque)
        self.responses: dict[str, Message] = {}
        self._branches: set[str] = set()
        self._tag = f"f{next(_serial)}"

    # -- messages

    def build(
        self,
        method: str,
        uri: str,
        *,
        sender: str = "",
        to: str = "",
        call_id: str = "",
        tag: str = "",
        to_tag: str = "",
        cseq: int = 1,
        body: bytes = b"",
        **fields: str | int | None,
    ) -> tuple[str, bytes]:
        """A request with the usual header fields: its branch and its octets.

        Further fields by keyword, ``sip_if_match="x"`` is ``sip-if-match: x``; None leaves a
        usual field out.
        """
        number = next(_serial)
        host, port = self.wire.local
        branch = f"z9hG4bK{port}n{number}"
        usual: dict[str, str | int | None] = {
            "via": f"SIP/2.0/{self.wire.protocol} {host}:{port};branch={branch};rport",
            "max-forwards": 70,
            "from": f"<{sender or aor(self.user)}>;tag={tag or self._tag}",
            "to": f"<{to or uri}>" + (f";tag={to_tag}" if to_tag else ""),
            "call-id": call_id or f"{number}-{port}@{HOST}",
            "cseq": f"{cseq} {method}",
        }
        if method in ("SUBSCRIBE", "REGISTER"):
            usual["contact"] = f"<{self.contact}>"
        if method in ("SUBSCRIBE", "PUBLISH"):
            usual["event"] = "presence"
        if body:
            usual["content-type"] = PIDF
        usual |= {name.replace("_", "-"): value for name, value in fields.items()}
        usual["content-length"] = len(body)
        lines = [f"{name}: {value}\r\n" for name, value in usual.items() if value is not None]
        head = f"{method} {uri} SIP/2.0\r\n{''.join(lines)}\r\n"
        return branch, head.encode() + body

    def request(self, method: str, uri: str, **fields: str | int | bytes | None) -> Message:
        """Send a request, answer one challenge and give the final response."""
        fields.setdefault("call_id", f"{next(_serial)}-{self.wire.local[1]}@{HOST}")
        response = self.ask(*self.build(method, uri, **fields))  # type: ignore[arg-type]
        if response.status != 401 or not self.password or "authorization" in fields:
            return response
        fields["authorization"] = credentials(
            challenge_for(response, self.algorithm), self.user, self.password, method, uri
        )
        fields["cseq"] = int(fields.get("cseq") or 1) + 1
        return self.ask(*self.build(method, uri, **fields))  # type: ignore[arg-type]

    def ask(self, branch: str, data: bytes) -> Message:
        """Send a request and give its final response.

        :raises AssertionError: there is none.
        """
        self.responses.pop(branch, None)
        self.wire.send(data)
        deadline = time.monotonic() + _ANSWER_SECONDS
        resend = time.monotonic() + _RESEND_SECONDS
        while (now := time.monotonic()) < deadline:
            response = self.responses.pop(branch, None)
            if response is not None:
                return response
            if self.wire.protocol == "UDP" and now >= resend:
                self.wire.send(data)
                resend = now + 2 * _RESEND_SECONDS
            self.step(min(deadline, resend) - now if self.wire.protocol == "UDP" else 1.0)
        raise AssertionError(f"no answer to {data[:40]!r}...")

    def step(self, timeout: float) -> Message | None:
        """Take one message from the wire, None when none comes in time."""
        message = self.wire.receive(timeout)
        if message is None:
            return None
        if message.status:
            if message.status >= 200:
                self.responses[message.branch] = message
            return message
        if message.branch not in self._branches:
            self._branches.add(message.branch)
            self.incoming.append(message)
            self._notifies[message["call-id"]].append(message)
        status = self.answer(message) if callable(self.answer) else self.answer
        if status:
            self.reply(message, status)
        return message

    def reply(self, request: Message, status: int) -> None:
        """Answer a request of the server."""
        kept = [
            f"{name}: {value}\r\n"
            for name, value in request.fields
            if name in ("via", "from", "to", "call-id", "cseq")
        ]
        head = f"SIP/2.0 {status} Said So\r\n{''.join(kept)}Content-Length: 0\r\n\r\n"
        self.wire.send(head.encode(errors="surrogateescape"))

    def listen(self, seconds: float) -> list[Message]:
        """Serve the wire for some time; the requests that came meanwhile."""
        before = len(self.incoming)
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self.step(left)
        return self.incoming[before:]

    # -- presence

    def publish(
        self, body: bytes = b"", etag: str = "", user: str = "", **fields: str | int | None
    ) -> Message:
        """PUBLISH the presence of ``user``, as a rule one's own."""
        if etag:
            fields["sip_if_match"] = etag
        return self.request("PUBLISH", aor(user or self.user), body=body, **fields)

    def register(self, **fields: str | int | None) -> Message:
        """REGISTER the own contact."""
        fields.setdefault("to", aor(self.user))
        return self.request("REGISTER", f"sip:{DOMAIN}", **fields)

    def subscribe(
        self, user: str, event: str = "presence", **fields: str | int | bytes | None
    ) -> Watch:
        """SUBSCRIBE to somebody; the answer is in the result."""
        number = next(_serial)
        watch = Watch(aor(user), f"w{number}-{self.wire.local[1]}@{HOST}", f"w{number}", event)
        self.resubscribe(watch, **fields)
        return watch

    def resubscribe(self, watch: Watch, **fields: str | int | bytes | None) -> Message:
        """SUBSCRIBE in the dialog of ``watch``, or begin it."""
        watch.cseq += 1
        watch.subscribed(self.request("SUBSCRIBE", watch.target, **{**watch.fields(), **fields}))
        return watch.response

    def notify(self, watch: Watch, timeout: float = 15.0) -> Message:
        """The next NOTIFY of a subscription, checked for its dialog and CSeq (NOT-01, NOT-06).

        :raises AssertionError: none comes in time.
        """
        deadline = time.monotonic() + timeout
        queue = self._notifies[watch.call_id]
        while not queue:
            left = deadline - time.monotonic()
            assert left > 0, f"no NOTIFY in {timeout} s"
            self.step(left)
        message = queue.popleft()
        assert parameter(message["to"], "tag") == watch.tag, message
        if watch.remote_tag:
            assert parameter(message["from"], "tag") == watch.remote_tag, message
        package = message["event"].partition(";")[0]
        assert package == watch.event.partition(";")[0], message
        assert message.cseq > watch.last_cseq, (message.cseq, watch.last_cseq)
        watch.last_cseq = message.cseq
        return message

    def silent(self, watch: Watch, seconds: float) -> bool:
        """Whether no further NOTIFY of a subscription comes in that time."""
        self.listen(seconds)
        return not self._notifies[watch.call_id]

    def close(self) -> None:
        """Close the wire."""
        self.wire.close()
