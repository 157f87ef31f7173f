"""Exceptions of the SIP stack.

A protocol error carries the answer it deserves; it becomes a response in exactly one
place (:mod:`pysip.ua`).
"""

from __future__ import annotations

from collections.abc import Iterable


class ParseError(ValueError):
    """A header value or URI does not follow its grammar.

    ``str(error)`` is short, names the construct and never quotes the input, so that it
    can stand in a reason phrase and in logs.
    """


class SipError(Exception):
    """A request cannot be served; carries the final response to send.

    :ivar status: response code, 300-699.
    :ivar reason: reason phrase, or None for the standard phrase of the code.
    :ivar headers: extra header fields of the response, as (name, value) pairs.
    :ivar body: body of the response, often empty.
    :ivar content_type: of the body.
    """

    def __init__(
        self,
        status: int,
        reason: str | None = None,
        headers: Iterable[tuple[str, str]] = (),
        body: bytes = b"",
        content_type: str = "",
    ) -> None:
        super().__init__(status, reason)
        self.status = status
        self.reason = reason
        self.headers = tuple(headers)
        self.body = body
        self.content_type = content_type


class TransportError(Exception):
    """A message could not be sent or its flow has failed (RFC 3261 section 18.4)."""


class RequestTimeout(Exception):
    """No final response came in time: a local 408 (RFC 3261 section 8.1.3.1)."""
