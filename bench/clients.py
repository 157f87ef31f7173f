"""Simulated presence sources and watchers, which check all that they are told."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable

from bench.wire import Fields, Link

EXPIRES = 3600

_DOCUMENT = b"""<?xml version="1.0" encoding="UTF-8"?>
<presence xmlns="urn:ietf:params:xml:ns:pidf"
    xmlns:dm="urn:ietf:params:xml:ns:pidf:data-model"
    xmlns:rpid="urn:ietf:params:xml:ns:pidf:rpid"
    entity="%b">
  <tuple id="desk">
    <status><basic>open</basic></status>
    <rpid:class>telephony</rpid:class>
    <dm:deviceID>urn:uuid:9a3f6c1e-52b7-4d0a-8c55-3d1f0b7e2a64</dm:deviceID>
    <contact priority="0.6">%b</contact>
    <note xml:lang="en">%b</note>
    <timestamp>2026-11-02T08:30:00Z</timestamp>
  </tuple>
  <dm:person id="self">
    <rpid:activities><rpid:meeting/></rpid:activities>
    <rpid:mood><rpid:calm/></rpid:mood>
    <rpid:place-type><rpid:other>workshop</rpid:other></rpid:place-type>
    <dm:note>Back after lunch</dm:note>
    <dm:timestamp>2026-11-02T08:30:00Z</dm:timestamp>
  </dm:person>
</presence>
"""


class Operation:
    """A unit of the closed loop: it is done when all its parts are.

    :ivar began: perf_counter seconds.
    :ivar left: parts not done yet; 0 once it is over.
    """

    __slots__ = ("_over", "began", "kind", "left")

    def __init__(self, kind: str, over: Callable[[Operation, float, str], None]) -> None:
        self.kind = kind
        self.began = time.perf_counter()
        self.left = 1
        self._over = over

    def part(self) -> None:
        """One part is done."""
        self.left -= 1
        if not self.left:
            self._over(self, time.perf_counter() - self.began, "")

    def fail(self, fault: str) -> None:
        """It cannot be done."""
        if self.left > 0:
            self.left = -1
            self._over(self, 0.0, fault)


class Credentials:
    """Digest with MD5 and ``qop=auth``, as most telephones do it (RFC 3261 section 22)."""

    __slots__ = ("_count", "_ha1", "_nonce", "_opaque", "_password", "_realm", "_user")

    def __init__(self, user: bytes, password: bytes) -> None:
        self._user = user
        self._password = password
        self._realm = self._nonce = self._opaque = self._ha1 = b""
        self._count = 0

    def challenged(self, challenge: bytes) -> None:
        """Take the values of a WWW-Authenticate."""
        values = {}
        for item in challenge.partition(b" ")[2].split(b", "):
            name, _, value = item.partition(b"=")
            values[name.strip()] = value.strip(b'"')
        self._realm = values[b"realm"]
        self._nonce = values[b"nonce"]
        self._opaque = values.get(b"opaque", b"")
        self._ha1 = _md5(b"%b:%b:%b" % (self._user, self._realm, self._password))
        self._count = 0

    def header(self, method: bytes, uri: bytes) -> bytes:
        """The Authorization line; nothing before the first challenge."""
        if not self._nonce:
            return b""
        self._count += 1
        count = b"%08x" % self._count
        digest = _md5(
            b"%b:%b:%b:5eed:auth:%b"
            % (self._ha1, self._nonce, count, _md5(b"%b:%b" % (method, uri)))
        )
        return (
            b'Authorization: Digest username="%b", realm="%b", nonce="%b", uri="%b", '
            b'response="%b", algorithm=MD5, opaque="%b", qop=auth, nc=%b, cnonce="5eed"\r\n'
            % (self._user, self._realm, self._nonce, uri, digest, self._opaque, count)
        )


def _md5(data: bytes) -> bytes:
    return hashlib.md5(data, usedforsecurity=False).hexdigest().encode()


class Client:
    """What sources and watchers have in common.

    :param user: name of the account.
    :param number: makes the identifiers distinct and chooses the socket.
    :param password: "" answers no challenge.
    """

    __slots__ = ("_credentials", "_cseq", "_wire", "aor", "call_id", "number", "place", "tag")

    def __init__(
        self, wire: Link, user: bytes, domain: bytes, number: int, password: bytes
    ) -> None:
        self._wire = wire
        self._cseq = 0
        self._credentials = Credentials(user, password) if password else None
        self.number = number
        self.aor = b"sip:%b@%b" % (user, domain)
        self.place = number % len(wire.places)
        self.call_id = b"%b.%b" % (user, wire.nonce)
        self.tag = b"%x" % (number + 1)

    def _request(
        self,
        method: bytes,
        uri: bytes,
        to: bytes,
        lines: bytes,
        answered: Callable[[int, Fields], None],
        body: bytes = b"",
        challenged: bool = False,
    ) -> None:
        """Send a request; a first challenge is answered, as often as needed by the nonce."""
        self._cseq += 1
        credentials = self._credentials
        taken = answered
        if credentials is not None and not challenged:

            def taken(status: int, fields: Fields) -> None:
                if status == 401:
                    credentials.challenged(fields[b"www-authenticate"])
                    self._request(method, uri, to, lines, answered, body, True)
                else:
                    answered(status, fields)

        self._wire.request(
            self.place,
            b"%b %b SIP/2.0" % (method, uri),
            b"Max-Forwards: 70\r\nFrom: <%b>;tag=%b\r\nTo: %b\r\nCall-ID: %b\r\nCSeq: %d %b\r\n"
            b"Event: presence\r\n%b%bContent-Length: %d\r\n\r\n%b"
            % (
                self.aor,
                self.tag,
                to,
                self.call_id,
                self._cseq,
                method,
                lines,
                credentials.header(method, uri) if credentials is not None else b"",
                len(body),
                body,
            ),
            taken,
        )


class Source(Client):
    """Publishes for one presentity (RFC 3903).

    :ivar mark: text that only its newest document has.
    :ivar change: the operation that waits for the watchers to be told.
    :ivar busy: operations under way on it or its watchers.
    """

    __slots__ = ("_etag", "_revision", "busy", "change", "mark", "watchers")

    def __init__(
        self, wire: Link, user: bytes, domain: bytes, number: int, password: bytes = b""
    ) -> None:
        super().__init__(wire, user, domain, number, password)
        self._etag = b""
        self._revision = 0
        self.mark = b""
        self.watchers: list[Watcher] = []
        self.change: Operation | None = None
        self.busy = 0

    @property
    def changing(self) -> bool:
        """Whether watchers are still to be told of its last change."""
        return self.change is not None and self.change.left > 0

    def publish(self, operation: Operation) -> None:
        """Send a document: the first one, or one in place of the last."""
        self._revision += 1
        self.mark = b"revision %d of %d." % (self._revision, self.number)
        if self.watchers:
            self.change = operation
            operation.left += len(self.watchers)
        body = _DOCUMENT % (self.aor, self.aor, self.mark)
        self._publish(operation, b"Content-Type: application/pidf+xml\r\n", body)

    def refresh(self, operation: Operation) -> None:
        """Only prolong the publication."""
        self._publish(operation, b"", b"")

    def _publish(self, operation: Operation, lines: bytes, body: bytes) -> None:
        self.busy += 1
        if self._etag:
            lines = b"%bSIP-If-Match: %b\r\n" % (lines, self._etag)
        self._request(
            b"PUBLISH",
            self.aor,
            b"<%b>" % self.aor,
            b"Expires: %d\r\n%b" % (EXPIRES, lines),
            lambda status, fields: self._published(operation, status, fields),
            body,
        )

    def _published(self, operation: Operation, status: int, fields: Fields) -> None:
        self.busy -= 1
        etag = fields.get(b"sip-etag", b"")
        if status != 200:
            operation.fail(f"PUBLISH answered {status}")
        elif not etag or etag == self._etag:
            operation.fail("no new SIP-ETag")
        elif fields.get(b"expires") != b"%d" % EXPIRES:
            operation.fail("wrong Expires")
        else:
            self._etag = etag
            operation.part()


class Watcher(Client):
    """Watches one presentity (RFC 6665).

    :ivar told: the mark of the newest document seen.
    """

    __slots__ = ("_ending", "_notify_cseq", "_remote_tag", "_target", "_waits", "source", "told")

    def __init__(
        self,
        wire: Link,
        user: bytes,
        domain: bytes,
        number: int,
        source: Source,
        password: bytes = b"",
    ) -> None:
        super().__init__(wire, user, domain, number, password)
        self.source = source
        self.told = b""
        self._remote_tag = b""
        self._target = source.aor
        self._notify_cseq = 0
        self._waits: Operation | None = None
        self._ending = False

    @property
    def busy(self) -> bool:
        """Whether a SUBSCRIBE of it awaits its NOTIFY."""
        return self._waits is not None

    def subscribe(self, operation: Operation, expires: int = EXPIRES) -> None:
        """Subscribe, refresh, or with 0 end: done with the 200 and its NOTIFY."""
        operation.left += 1
        self.source.busy += 1
        self._waits = operation
        self._ending = not expires
        to = b"<%b>" % self.source.aor
        if self._remote_tag:
            to += b";tag=" + self._remote_tag
        self._request(
            b"SUBSCRIBE",
            self._target,
            to,
            b"Contact: <sip:%d@%b>\r\nExpires: %d\r\nAccept: application/pidf+xml\r\n"
            % (self.number, self._wire.places[self.place], expires),
            lambda status, fields: self._subscribed(operation, status, fields, expires),
        )

    def unsubscribe(self, operation: Operation) -> None:
        """End the subscription."""
        self.subscribe(operation, 0)

    def _subscribed(self, operation: Operation, status: int, fields: Fields, expires: int) -> None:
        self.source.busy -= 1
        if status != 200:
            self._waits = None
            operation.fail(f"SUBSCRIBE answered {status}")
            return
        tag = fields[b"to"].rpartition(b";tag=")[2]
        if self._remote_tag and tag != self._remote_tag:
            operation.fail("To tag changed")
            return
        if fields.get(b"expires") != b"%d" % expires:
            operation.fail("wrong Expires")
            return
        self._remote_tag = tag
        self._target = fields[b"contact"].partition(b"<")[2].partition(b">")[0]
        operation.part()

    def notified(self, fields: Fields, body: bytes) -> bool:
        """Take a NOTIFY; False when it is of another dialog (answered 481)."""
        counts = self._wire.counts
        cseq = int(fields[b"cseq"].split()[0])
        tag = fields[b"from"].rpartition(b";tag=")[2]
        self._remote_tag = self._remote_tag or tag
        if tag != self._remote_tag or not fields[b"to"].endswith(b";tag=" + self.tag):
            counts["fault: NOTIFY of a foreign dialog"] += 1
            return False
        if cseq <= self._notify_cseq:
            counts["repeated NOTIFYs"] += 1
            return True
        self._notify_cseq = cseq
        counts["NOTIFYs"] += 1
        counts["NOTIFY octets"] += len(body)
        fault = self._fault(fields, body)
        operation = self._waits
        change = self.source.change
        if operation is not None:
            self._waits = None
            if fault:
                operation.fail(fault)
            else:
                self.told = self.source.mark
                operation.part()
        elif change is not None and self.told is not self.source.mark:
            if fault:
                change.fail(fault)
            else:
                self.told = self.source.mark
                change.part()
        else:
            counts["fault: NOTIFY without reason"] += 1
        return True

    def _fault(self, fields: Fields, body: bytes) -> str:
        """What is wrong with a NOTIFY, "" for nothing."""
        state = fields.get(b"subscription-state", b"")
        if not state.startswith(b"terminated;reason=timeout" if self._ending else b"active;"):
            return "wrong Subscription-State"
        if fields.get(b"event") != b"presence" or b"contact" not in fields:
            return "wrong Event or no Contact"
        if fields.get(b"content-type") != b"application/pidf+xml":
            return "wrong Content-Type"
        if fields.get(b"content-length") != b"%d" % len(body):
            return "wrong Content-Length"
        if self.source.mark not in body or self.source.aor not in body:
            return "NOTIFY without the newest document"
        return ""
