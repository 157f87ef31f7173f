"""What telephones have been seen to send, written out header by header (clients.md).

The placeholders in braces are filled in when a message is sent: ``{via}`` (the Via field),
``{here}`` (host and port of the sender), ``{domain}``, ``{length}`` (of the body) and whatever
else :meth:`Replay.say` is given.
"""

from __future__ import annotations

import itertools
import re
from typing import Any

from tests.e2e.phone import DOMAIN, Phone, Watch, credentials
from tests.e2e.wire import Message

INSTANCE = "<urn:uuid:f402ede7-9815-42d5-b0c5-66d7dabf93ba>"

LINPHONE_REGISTER = """
REGISTER sip:{domain} SIP/2.0
{via}
From: <sip:{user}@{domain}>;tag=hQmZSm18L
To: sip:{user}@{domain}
CSeq: {cseq} REGISTER
Call-ID: nPk8A34HWK
Max-Forwards: 70
Supported: replaces, outbound, gruu, path
Accept: application/sdp
Accept: text/plain
Contact: <sip:{user}@{here};transport=udp>;+sip.instance="{instance}"
Expires: 3600
User-Agent: LinphoneClient/5.1.65 (belle-sip)
{credentials}
"""
"""Without body and without Content-Length (CLI-05)."""

LINPHONE_PUBLISH = """
PUBLISH sip:{user}@{domain} SIP/2.0
{via}
From: "bob" <sip:{user}@{domain}>;tag=4e8l9Kw-v
To: "bob" <sip:{user}@{domain}>
CSeq: {cseq} PUBLISH
Call-ID: QBBa1PTZ9o
Max-Forwards: 70
Supported:
Event: presence
Content-Type: application/pidf+xml
Content-Length: {length}
Expires: 600
User-Agent: LinphoneClient/5.1.65 (belle-sip)
{credentials}
"""

LINPHONE_UNPUBLISH = """
PUBLISH sip:{user}@{domain} SIP/2.0
{via}
From: <sip:{user}@{domain}>;tag=4e8l9Kw-v
To: sip:{user}@{domain}
CSeq: {cseq} PUBLISH
Call-ID: QBBa1PTZ9o
Max-Forwards: 70
Supported: replaces, outbound, gruu, path
Event: presence
Expires: 0
SIP-If-Match: {etag}
User-Agent: LinphoneClient/5.1.65 (belle-sip)
{credentials}
"""
"""Without body and without Content-Length (CLI-05)."""

LINPHONE_SUBSCRIBE = """
SUBSCRIBE sip:{friend}@{domain} SIP/2.0
{via}
From: <sip:{user}@{domain}>;tag=w~8hN2aXq
To: sip:{friend}@{domain}
CSeq: {cseq} SUBSCRIBE
Call-ID: 9wYDbhC0xH
Max-Forwards: 70
Supported: replaces, outbound, gruu, path
Event: presence
Expires: 600
Contact: <sip:{user}@{here};transport={transport}>;expires=3600;+sip.instance="{instance}"
User-Agent: LinphoneClient/5.1.65 (belle-sip)
Content-Length: 0
"""
"""No Accept, and a Contact as in a REGISTER (CLI-07)."""

BARESIP_SUBSCRIBE = """
SUBSCRIBE sip:{friend}@{domain} SIP/2.0
{via}
Contact: <sip:{user}-0x5645546b2ee0@{listening};transport=tcp>
Max-Forwards: 70
Route: <sip:{server};transport=tcp;lr>
To: <sip:{friend}@{domain}>
From: <sip:{user}@{domain}>;tag=b4edb9345f812e27
Call-ID: 2ffa3eb2a7bed97c
CSeq: {cseq} SUBSCRIBE
User-Agent: baresip v1.0.0 (x86_64/linux)
Event: presence
Expires: 600
Supported: gruu
Content-Length: 0
"""
"""The Contact has the listening port, not that of the connection (CLI-08); a Route (CLI-03)."""

BARESIP_PUBLISH = """
PUBLISH sip:{user}@{domain} SIP/2.0
{via}
Max-Forwards: 70
To: <sip:{user}@{domain}>{tag}
From: <sip:{user}@{domain}>;tag=ca56ff3603757e95
Call-ID: d741851731f558b7
CSeq: {cseq} PUBLISH
User-Agent: baresip v1.0.0 (x86_64/linux)
Content-Type: application/pidf+xml
Event: presence
Expires: 60
{match}
Content-Length: {length}
"""

_LINPHONE_PIDF = """<?xml version="1.0" encoding="UTF-8"?>
<presence xmlns:dm="urn:ietf:params:xml:ns:pidf:data-model"\
 xmlns:rpid="urn:ietf:params:xml:ns:pidf:rpid"\
 xmlns:pidfonline="http://www.linphone.org/xsds/pidfonline.xsd"\
 entity="sip:{user}@{domain}" xmlns="urn:ietf:params:xml:ns:pidf">
 <tuple id="{id}">
  <status>
   <basic>open</basic>
   <pidfonline:online/>
  </status>
  <contact priority="0.8">sip:{user}@{domain}</contact>
  <timestamp>2026-01-05T10:00:00Z</timestamp>
 </tuple>
 <dm:person id="{id}">
  <rpid:activities/>
  <dm:note>{note}</dm:note>
  <timestamp>2026-01-05T10:00:00Z</timestamp>
 </dm:person>
</presence>
"""

_BARESIP_PIDF = """<?xml version="1.0" encoding="UTF-8" standalone="no"?>
<presence xmlns="urn:ietf:params:xml:ns:pidf"
    xmlns:dm="urn:ietf:params:xml:ns:pidf:data-model"
    xmlns:rpid="urn:ietf:params:xml:ns:pidf:rpid"
    entity="sip:{user}@{domain}">
  <dm:person id="p4159"><rpid:activities/></dm:person>
  <tuple id="t4109">
    <status>
      <basic>{basic}</basic>
    </status>
    <contact>sip:{user}@{domain}</contact>
  </tuple>
</presence>
"""

_serial = itertools.count(1)


def linphone_pidf(user: str, id: str, note: str = "", domain: str = DOMAIN) -> bytes:
    """What liblinphone publishes; it takes another ``id`` each time (CLI-10)."""
    return _LINPHONE_PIDF.format(user=user, domain=domain, id=id, note=note).encode()


def baresip_pidf(user: str, basic: str, domain: str = DOMAIN) -> bytes:
    """What baresip publishes; ``basic`` is ``unknown`` until it is registered (CLI-10)."""
    return _BARESIP_PIDF.format(user=user, domain=domain, basic=basic).encode()


def linphone_credentials(
    challenge: dict[str, str], user: str, password: str, method: str, uri: str, count: int
) -> str:
    """The value of Authorization in liblinphone's order and with its blanks (CLI-07)."""
    text = credentials(challenge, user, password, method, uri, count=count)
    made = dict(re.findall(r'(\w+)="?([^",]*)"?', text.partition(" ")[2]))
    return (
        f'  Digest  realm="{made["realm"]}", nonce="{made["nonce"]}",'
        f' algorithm={made["algorithm"]}, opaque="{made["opaque"]}",'
        f' username="{made["username"]}",  uri="{made["uri"]}", response="{made["response"]}",'
        f' cnonce="{made["cnonce"]}", nc={made["nc"]}, qop=auth'
    )


class Replay:
    """Sends such messages by a phone.

    :param phone: whose wire, and user, it is.
    :param values: further values for placeholders.

    :ivar here: host and port of the phone.
    :ivar server: those of the server.
    """

    def __init__(self, phone: Phone, **values: Any) -> None:
        host, port = phone.wire.local
        self.phone = phone
        self.here = f"{host}:{port}"
        self.server = "{}:{}".format(*phone.wire.peer)
        self._values: dict[str, Any] = {
            "user": phone.user,
            "domain": DOMAIN,
            "here": self.here,
            "server": self.server,
            "transport": phone.wire.protocol.lower(),
            "instance": INSTANCE,
            "credentials": "",
            "match": "",
            "tag": "",
            **values,
        }
        self._cseq = itertools.count(20)

    def message(self, template: str, body: bytes = b"", **values: Any) -> tuple[str, bytes]:
        """Fill in a template; the branch and the octets.  Empty lines are left out."""
        host, port = self.phone.wire.local
        branch = f"z9hG4bK.{next(_serial)}p{port}"
        head = template.format(
            **{
                "via": f"Via: SIP/2.0/{self.phone.wire.protocol} {host}:{port}"
                f";branch={branch};rport",
                "cseq": next(self._cseq),
                "length": len(body),
                **self._values,
                **values,
            }
        )
        lines = [line for line in head.split("\n") if line]
        return branch, "\r\n".join([*lines, "", ""]).encode() + body

    def say(self, template: str, body: bytes = b"", **values: Any) -> Message:
        """Send a request; its final response."""
        return self.phone.ask(*self.message(template, body, **values))

    def watch(self, template: str, **values: Any) -> Watch:
        """Send a SUBSCRIBE; the watch, whose NOTIFYs are :meth:`Phone.notify`'s."""
        _, sent = self.message(template, **values)
        text = sent.decode()
        call_id, tag, uri = (
            re.findall(pattern, text)[0]
            for pattern in (r"Call-ID: (\S+)", r"From: .*;tag=(\S+)", r"^SUBSCRIBE (\S+)")
        )
        watch = Watch(uri, call_id, tag)
        watch.subscribed(self.phone.ask(re.findall(r"branch=([^;\s]+)", text)[0], sent))
        return watch
