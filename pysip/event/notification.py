"""What NOTIFYs carry, with the entity-tags of RFC 5839."""

from __future__ import annotations

from hashlib import blake2b

from pysip.coding import encode_body

_WORTH_CODING = 256
"""Octets below which a body is smaller, or hardly larger, without a content coding."""


class Notification:
    """What a NOTIFY carries, shared by all subscriptions with the same view.

    :param digest: None computes it from the body; a package whose bodies tell of changes gives
        the position up to which they do.
    :param label: what else tells its entity-tag from those of the same digest.

    :ivar content_type: media type, or "" for no body.
    :ivar body: octets.
    :ivar digest: 64-bit signed digest of the view; equal digests mean equal views.
    :ivar tag: entity-tag of the whole state that the view has with it (RFC 5839, SNE-01, SNE-10).
    :ivar tail: the last lines of the message: SIP-ETag, Content-Type and so on, Content-Length and
        body.
    """

    __slots__ = ("_coded", "body", "content_type", "digest", "tag", "tail")

    def __init__(
        self,
        content_type: str = "",
        body: bytes = b"",
        digest: int | None = None,
        label: str = "",
    ) -> None:
        self.content_type = content_type
        self.body = body
        if digest is None:
            digest = (
                int.from_bytes(blake2b(body, digest_size=8).digest(), "big", signed=True)
                if body
                else 0
            )
        self.digest = digest
        self.tag = entity_tag(digest, label)
        kind = f"Content-Type: {content_type}\r\n" if body else ""
        head = f"SIP-ETag: {self.tag}\r\n{kind}Content-Length: {len(body)}\r\n\r\n"
        self.tail = head.encode() + body
        self._coded: dict[str, bytes] = {}

    def coded(self, coding: str) -> bytes:
        """The tail with its body in a content coding, which has an entity-tag of its own.

        :param coding: one of :data:`pysip.coding.CODINGS`; "" for none.
        """
        if not coding:
            return self.tail
        tail = self._coded.get(coding)
        if tail is None:
            body, kind = self.body, ""
            if body:
                kind = f"Content-Type: {self.content_type}\r\n"
            if len(body) >= _WORTH_CODING:
                body = encode_body(coding, body)
                kind += f"Content-Encoding: {coding}\r\n"
            tag = coded_tag(self.tag, coding)
            head = f"SIP-ETag: {tag}\r\n{kind}Content-Length: {len(body)}\r\n\r\n"
            tail = self._coded[coding] = head.encode() + body
        return tail


def entity_tag(digest: int, label: str = "") -> str:
    """The entity-tag of a view with a digest (SNE-02).

    It says nothing about who is subscribed or when, so that it holds in further subscriptions.
    """
    return f"{digest & 0xFFFFFFFFFFFFFFFF:016x}{label}"


def bodyless(notification: Notification, coding: str) -> bytes:
    """The tail of a NOTIFY whose body is suppressed: it keeps its entity-tag (SNE-05, SNE-16)."""
    tag = coded_tag(notification.tag, coding)
    return f"SIP-ETag: {tag}\r\nContent-Length: 0\r\n\r\n".encode()


def coded_tag(tag: str, coding: str) -> str:
    """The entity-tag where bodies are sent in a content coding: that is part of the entity.

    RFC 5839 section 4.

    :param coding: "" for none.
    """
    return f"{tag}.{coding}" if coding else tag
