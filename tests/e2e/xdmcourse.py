"""A course of requests about documents of every usage, and answers made comparable."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

from tests.e2e.phone import aor
from tests.e2e.xdm import DOCUMENT, Answer, index

VECTORS = Path(__file__).resolve().parents[1] / "vectors" / "xcap" / "usage"
ROOT = "https://xcap.example.com/"
ALICE = aor("alice")
INDEX = index("alice")
CAPS = "/xcap-caps/global/index"
DIRECTORY = f"/org.openmobilealliance.xcap-directory/users/{ALICE}/directory.xml"
CAROL = "sip:carol@example.com"
ENTRY = f'<entry uri="{CAROL}"/>'.encode()
PLACES = {
    "resource-lists": ("shared-xdms", "index", "friends.xml"),
    "org.openmobilealliance.group-usage-list": ("shared-xdms", "index", "my-groups.xml"),
    "pres-rules": ("presence-xdms", "index", "rfc5025-6.xml"),
    "org.openmobilealliance.pres-rules": ("presence-xdms", "pres-rules", "document-a.xml"),
    "pidf-manipulation": ("presence-xdms", "index", "rfc4827-8.xml"),
    "org.openmobilealliance.pres-content": (
        "presence-xdms",
        "oma_status-icon/dot.xml",
        "dot.xml",
    ),
    "rls-services": ("rls-xdms", "index", "friends.xml"),
}
"""By application usage the server, the path below the home directory and an example."""


def place(auid: str) -> str:
    """Where alice has a document of an application usage."""
    return f"/{auid}/users/{ALICE}/{PLACES[auid][1]}"


def example(auid: str) -> bytes:
    """A document of an application usage, as alice would have it at ROOT."""
    octets = (VECTORS / auid / PLACES[auid][2]).read_bytes()
    return octets.replace(b"sip:joe@", b"sip:alice@").replace(b"sip:someone@", b"sip:alice@")


def requests() -> list[tuple[str, str, str, bytes | None, dict[str, str | None]]]:
    """A course of requests of two users, good and bad ones."""
    found: list[tuple[str, str, str, bytes | None, dict[str, str | None]]] = []

    def add(method: str, target: str, body: bytes | None = None, **fields: str | None) -> None:
        found.extend((user, method, target, body, fields) for user in ("alice", "bob"))

    for auid in PLACES:
        target, octets = place(auid), example(auid)
        add("GET", target)
        add("PUT", target, octets)
        add("PUT", target, octets, if_none_match="*")
        add("PUT", target, octets, if_match="*", content_type="text/plain")
        add("PUT", target, octets[:-9])
        add("PUT", target, b"\xff")
        for method in ("GET", "HEAD", "OPTIONS", "POST", "TRACE", "BREW"):
            add(method, target)
        add("GET", target, accept_encoding="gzip")
        add("GET", target, accept="text/html")
        add("HEAD", target, accept_encoding="gzip")
        for node in (
            "*",
            "*/*[1]",
            "*/*[77]",
            "*/@x",
            "*/namespace::*",
            "x:y",
            "",
            "a//b",
            "*/text()",
        ):
            for method in ("GET", "DELETE"):
                found.append(("alice", method, f"{target}/~~/{node}", None, {}))
            found.append(("alice", "PUT", f"{target}/~~/{node}", b"<x/>", {}))
    for target in (
        "/", "/x", "/resource-lists", "/resource-lists/users/x/y", index("nobody"),
        "/resource-lists/global/index", f"{INDEX}/", f"{INDEX}/%zz", f"{INDEX}/../index",
        f"{INDEX}#x", "/xcap-caps/global/other", f"/xcap-caps/users/{ALICE}/index", CAPS,
        f"{CAPS}/~~/xcap-caps/auids", f"{CAPS}/~~/xcap-caps/no", DIRECTORY,
        f"{DIRECTORY}/~~/xcap-directory/folder[1]",
        f"{DIRECTORY}/~~/xcap-directory/folder[@auid=%22pres-rules%22]",
        DIRECTORY.replace("directory.xml", "other.xml"),
        "/rls-services/global/index",
    ):  # fmt: skip
        for method in ("GET", "HEAD", "OPTIONS", "DELETE"):
            add(method, target)
        add("PUT", target, DOCUMENT, content_type="application/resource-lists+xml")
    for auid in PLACES:
        add("DELETE", place(auid))
    return found


_VARYING = {"date", "x-request-id", "via", "authentication-info", "last-modified", "content-length"}
_IN_DIRECTORY = re.compile(rb'(etag|last-modified)="[^"]*"')


def normal(answer: Answer, tags: dict[str, str]) -> tuple[int, list[tuple[str, str]], bytes]:
    """An answer without what differs from one server to the next.

    :param tags: names for entity-tags, by their order.
    """

    def name(tag: str) -> str:
        return tags.setdefault(tag, f"tag {len(tags)}")

    fields = [
        (key, name(value) if key == "etag" else value)
        for key, value in answer.fields
        if key not in _VARYING
    ]
    body = answer.body
    if answer["content-encoding"] == "gzip" and body:
        body = gzip.decompress(body)
    return answer.status, sorted(fields), _IN_DIRECTORY.sub(rb"\1", body)
