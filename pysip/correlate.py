"""What the log lines of one request have in common (OBS-03)."""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pysip.message import Message

_LONGEST = 64


def call_hash(call_id: str) -> str:
    """The Call-ID, which often shows an address, in 12 hexadecimal digits.

    They are those that ``b2sum -l 48`` computes.
    """
    return blake2b(call_id.encode("utf-8", "surrogateescape"), digest_size=6).hexdigest()


def correlation(message: Message) -> str:
    """Names a request, its responses and its dialog, and says nothing of who talks.

    It is the hash of the Call-ID and, after a dash, the ``icid-value`` of P-Charging-Vector
    (RFC 7315 section 5.6), by which an IMS core knows the session.

    :returns: "" when the message has no Call-ID.
    """
    call_id = message.first("call-id")
    if not call_id:
        return ""
    digest = call_hash(call_id)
    vector = message.first("p-charging-vector")
    if vector is None:
        return digest
    icid = vector.partition("icid-value=")[2].partition(";")[0].strip().strip('"')
    if not icid.isascii() or not icid.isprintable() or "@" in icid:
        return digest
    return f"{digest}-{icid[:_LONGEST]}" if icid else digest
