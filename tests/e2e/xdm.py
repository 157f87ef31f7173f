"""A plain client of document servers and the Aggregation Proxy.

It is :mod:`http.client` with Digest of RFC 7616 computed on demand: blocking, and nothing of
the product's own HTTP.
"""

from __future__ import annotations

import http.client
import re
import socket
import ssl
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar
from xml.etree import ElementTree

import attrs

from pysip.auth.digest import ha1, ha2, response_digest
from tests.e2e.daemon import PASSWORD
from tests.e2e.phone import aor
from tests.e2e.wire import HOST

Result = TypeVar("Result")

SECONDS = 30.0
"""Seconds for an answer."""

LISTS_TYPE = "application/resource-lists+xml"
SERVICES_TYPE = "application/rls-services+xml"
RULES_TYPE = "application/auth-policy+xml"
ELEMENT = "application/xcap-el+xml"
ATTRIBUTE = "application/xcap-att+xml"
ERROR = "application/xcap-error+xml"
LISTS = "urn:ietf:params:xml:ns:resource-lists"
ERROR_SPACE = "{urn:ietf:params:xml:ns:xcap-error}"

DOCUMENT = b"""<?xml version="1.0" encoding="UTF-8"?>
<resource-lists xmlns="urn:ietf:params:xml:ns:resource-lists">
 <list name="friends">
  <!-- kept -->
  <entry uri='sip:bob@example.com'><display-name>Bob &amp; Co</display-name></entry>
  <entry uri="sip:ann@example.com"/>
 </list>
</resource-lists>
"""
FRIENDS = "/~~/resource-lists/list%5b@name=%22friends%22%5d"


def index(user: str, auid: str = "resource-lists") -> str:
    """The target of a user's document ``index``."""
    return f"/{auid}/users/{aor(user)}/index"


def entry_step(uri: str) -> str:
    """The step that selects an entry by its URI."""
    return f"/entry%5b@uri=%22{uri}%22%5d"


@attrs.frozen
class Answer:
    """What a server answered.

    :ivar fields: (name in lower case, value) of its header fields.
    """

    status: int
    fields: tuple[tuple[str, str], ...]
    body: bytes

    def __getitem__(self, name: str) -> str:
        """The first value of a field, "" when there is none."""
        return next((value for key, value in self.fields if key == name), "")

    def every(self, name: str) -> list[str]:
        """All values of a field."""
        return [value for key, value in self.fields if key == name]

    @property
    def etag(self) -> str:
        """The entity-tag without its quotes."""
        value = self["etag"]
        assert value[:1] == value[-1:] == '"', self
        return value[1:-1]

    @property
    def conflict(self) -> str:
        """The kind of conflict that is reported (XCAP-130), "" when none is."""
        if self.status != 409:
            return ""
        assert self["content-type"] == ERROR, self
        root = ElementTree.fromstring(self.body)
        assert root.tag == f"{ERROR_SPACE}xcap-error" and len(root) == 1, self
        return root[0].tag.removeprefix(ERROR_SPACE)

    def challenge(self, algorithm: str) -> dict[str, str]:
        """The parameters of the challenge with an algorithm."""
        for value in self.every("www-authenticate"):
            found = {
                name: quoted or token
                for name, quoted, token in re.findall(r'(\w+)=(?:"([^"]*)"|([^", ]+))', value)
            }
            if found.get("algorithm") == algorithm:
                return found
        raise AssertionError(f"no challenge with {algorithm}: {self}")


def tls_context(certificate: str) -> ssl.SSLContext:
    """Trusts one certificate only."""
    return ssl.create_default_context(cafile=certificate)


class XcapClient:
    """One user at an Aggregation Proxy, or a connection to a document server itself.

    :param certificate: PEM file of the one to trust; "" for plain HTTP.
    :param password: "" not to answer challenges.
    :param source: own address.
    :param host: value of Host; that of the port if empty.

    :ivar challenge: the last one; its nonce is used on with rising counts.
    """

    def __init__(
        self,
        port: int,
        certificate: str = "",
        user: str = "alice",
        password: str = PASSWORD,
        algorithm: str = "SHA-256",
        qop: str = "auth",
        source: str = HOST,
        host: str = "",
    ) -> None:
        self.port = port
        self.host = host or f"localhost:{port}"
        self.user = user
        self.password = password
        self.algorithm = algorithm
        self.qop = qop
        self.challenge: dict[str, str] = {}
        self.count = 0
        self._source = source
        self._context = tls_context(certificate) if certificate else None
        self._connection: http.client.HTTPConnection | None = None

    # -- requests

    def ask(
        self, method: str, target: str, body: bytes | None = None, /, **fields: str | None
    ) -> Answer:
        """Make a request and answer a challenge.

        :param fields: header fields, ``if_match="x"`` is ``if-match: x``; the type of a PUT is
            that which is due for its target unless it is given; None for none.
        """
        if method == "PUT" and "content_type" not in fields:
            fields["content_type"] = _due_type(target)
        given = {k.replace("_", "-"): v for k, v in fields.items() if v is not None}
        if not self.password or "authorization" in given:
            return self.send(method, target, body, given)
        if self.challenge:
            given["authorization"] = self.authorization(method, target, body)
        answer = self.send(method, target, body, given)
        if answer.status == 401 and self._fresh(answer):
            given["authorization"] = self.authorization(method, target, body)
            answer = self.send(method, target, body, given)
        return answer

    def _fresh(self, answer: Answer) -> bool:
        """Take a challenge; whether it is worth an answer: not when the password was wrong."""
        first, self.count = not self.challenge, 0
        self.challenge = answer.challenge(self.algorithm)
        return first or self.challenge.get("stale") == "true"

    def authorization(
        self,
        method: str,
        target: str,
        body: bytes | None = None,
        *,
        password: str = "",
        user: str = "",
    ) -> str:
        """The value of Authorization for the next request (RFC 7616)."""
        self.count += 1
        user, password = user or self.user, password or self.password
        algorithm, realm, nonce = self.algorithm, self.challenge["realm"], self.challenge["nonce"]
        secret = ha1(user, realm, password, algorithm)
        whole = (body or b"") if self.qop == "auth-int" else None
        rest = ha2(method, target, algorithm, whole)
        count, cnonce = f"{self.count:08x}", "0a4f113b"
        response = response_digest(secret, rest, nonce, algorithm, count, cnonce, self.qop)
        return (
            f'Digest username="{user}", realm="{realm}", nonce="{nonce}", uri="{target}",'
            f' response="{response}", algorithm={algorithm}, qop={self.qop}, nc={count},'
            f' cnonce="{cnonce}", opaque="{self.challenge["opaque"]}"'
        )

    def send(
        self, method: str, target: str, body: bytes | None, fields: Mapping[str, str]
    ) -> Answer:
        """Send a request as it is and read the answer."""
        if self._connection is None:
            self._connection = self._connect()
        connection = self._connection
        connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
        if "host" not in fields:
            connection.putheader("Host", self.host)
        for name, value in fields.items():
            connection.putheader(name, value)
        if body is not None and "transfer-encoding" not in fields:
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders()
        if body:
            connection.send(body)
        with connection.getresponse() as response:
            headers = tuple((name.lower(), value) for name, value in response.getheaders())
            answer = Answer(response.status, headers, response.read())
        if "close" in answer["connection"].lower():
            self.close()
        return answer

    def _connect(self) -> http.client.HTTPConnection:
        source = (self._source, 0)
        raw = socket.create_connection((HOST, self.port), SECONDS, source)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = http.client.HTTPConnection("localhost", self.port, timeout=SECONDS)
        connection.sock = raw
        if self._context is not None:
            name = self.host.partition(":")[0]
            connection.sock = self._context.wrap_socket(raw, server_hostname=name)
        connection.auto_open = 0
        return connection

    def use(self, connection: http.client.HTTPConnection) -> None:
        """Use a connection that somebody else has made."""
        self._connection = connection

    def close(self) -> None:
        """Close the connection; the next request opens another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    # -- documents

    def get(self, target: str, **fields: str | None) -> Answer:
        """GET."""
        return self.ask("GET", target, None, **fields)

    def put(self, target: str, body: bytes = DOCUMENT, **fields: str | None) -> Answer:
        """PUT."""
        return self.ask("PUT", target, body, **fields)

    def delete(self, target: str, **fields: str | None) -> Answer:
        """DELETE."""
        return self.ask("DELETE", target, None, **fields)

    def store(self, target: str, body: bytes = DOCUMENT) -> str:
        """PUT that has to succeed; the new entity-tag."""
        answer = self.put(target, body)
        assert answer.status in (200, 201), answer
        return answer.etag

    def octets(self, target: str) -> bytes:
        """The octets of a document that there has to be."""
        answer = self.get(target)
        assert answer.status == 200, answer
        return answer.body


def _due_type(target: str) -> str:
    """The media type of a PUT (XCAP-80)."""
    path = target.partition("?")[0]
    if "/~~/" in path:
        return ATTRIBUTE if path.rpartition("/")[2].startswith("@") else ELEMENT
    auid = path.lstrip("/").partition("/")[0]
    return {
        "resource-lists": LISTS_TYPE,
        "rls-services": SERVICES_TYPE,
        "pres-rules": RULES_TYPE,
        "org.openmobilealliance.pres-rules": RULES_TYPE,
        "pidf-manipulation": "application/pidf+xml",
        "org.openmobilealliance.group-usage-list": "application/vnd.oma.group-usage-list+xml",
        "org.openmobilealliance.pres-content": "application/vnd.oma.pres-content+xml",
    }[auid]


def at_once(tasks: Sequence[Callable[[], Result]]) -> list[Result]:
    """Do several things at the same time, each in a thread; their results in order."""
    barrier = threading.Barrier(len(tasks))

    def work(task: Callable[[], Result]) -> Result:
        barrier.wait(SECONDS)
        return task()

    with ThreadPoolExecutor(len(tasks)) as pool:
        return list(pool.map(work, tasks))
