"""Subscribers of document changes for tests against the real server, with a reader of their own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
from lxml import etree

from tests.e2e.phone import Phone, Watch
from tests.e2e.wire import Message

DIFF = "application/xcap-diff+xml"
_SPACE = "{urn:ietf:params:xml:ns:xcap-diff}"
_PARSER = etree.XMLParser(resolve_entities=False, no_network=True)


@attrs.frozen
class Told:
    """What a notification says of one document, element or attribute.

    :ivar before: entity-tag, "" for none; of documents only, like ``after``.
    :ivar exists: of elements and attributes.
    :ivar element: where it is said.
    """

    kind: str
    sel: str
    before: str
    after: str
    exists: bool
    element: Any = attrs.field(eq=False, repr=False)

    @property
    def tags(self) -> tuple[str, str, str]:
        """What is told of a document: its URI, the tag before, the tag now."""
        assert self.kind == "document", self
        return self.sel, self.before, self.after


def read(message: Message) -> tuple[str, list[Told]]:
    """XCAP root and content of a change report (RFC 5874).

    :raises AssertionError: the message holds none.
    """
    assert message["content-type"] == DIFF, message
    root = etree.fromstring(message.body, _PARSER)
    assert root.tag == f"{_SPACE}xcap-diff", root.tag
    found = []
    for child in root:
        kind = str(child.tag).removeprefix(_SPACE)
        assert kind in ("document", "element", "attribute"), child.tag
        before, after = child.get("previous-etag", ""), child.get("new-etag", "")
        exists = child.get("exists", "true") in ("true", "1")
        found.append(Told(kind, child.get("sel", ""), before, after, exists, child))
    return root.get("xcap-root", ""), found


def canonical(octets: bytes) -> bytes:
    """A document in canonical form, with its comments."""
    found: bytes = etree.tostring(etree.fromstring(octets, _PARSER), method="c14n")
    return found


def uri_list(*uris: str) -> bytes:
    """The body of a SUBSCRIBE of package xcap-diff (RFC 5875 section 4.4)."""
    entries = "".join(f'<entry uri="{uri}"/>' for uri in uris)
    space = "urn:ietf:params:xml:ns:resource-lists"
    return f'<resource-lists xmlns="{space}"><list>{entries}</list></resource-lists>'.encode()


class Follower:
    """Somebody who follows documents by SIP.

    :ivar root: XCAP root that the last notification named.
    """

    def __init__(self, phone: Phone) -> None:
        self.phone = phone
        self.root = ""
        self.watch: Watch

    def follow(
        self, *uris: str, mode: str = "", user: str = "", expires: int | None = None
    ) -> Message:
        """SUBSCRIBE to URIs below the root by the package xcap-diff; the response."""
        event = f"xcap-diff;diff-processing={mode}" if mode else "xcap-diff"
        self.watch = self.phone.subscribe(
            user or self.phone.user,
            event,
            accept=DIFF,
            expires=expires,
            body=uri_list(*uris),
            content_type="application/resource-lists+xml",
        )
        return self.watch.response

    def profile(self, params: Mapping[str, str], accept: str | None = DIFF) -> Message:
        """SUBSCRIBE by the package ua-profile with its parameters; the response."""
        given = {"vendor": "example.com", "model": "pc", "version": "1.0", **params}
        text = "".join(f';{name}="{value}"' for name, value in given.items())
        event = f'ua-profile;profile-type="application"{text}'
        self.watch = self.phone.subscribe(self.phone.user, event, accept=accept)
        return self.watch.response

    def told(self, timeout: float = 30.0) -> list[Told]:
        """What the next notification says."""
        self.root, found = read(self.phone.notify(self.watch, timeout))
        return found

    def tags(self) -> list[tuple[str, str, str]]:
        """What the next notification says of documents."""
        return [told.tags for told in self.told()]

    def silent(self, seconds: float = 0.6) -> bool:
        """Whether no further notification comes in that time."""
        return self.phone.silent(self.watch, seconds)
