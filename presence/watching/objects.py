"""MIME objects of a presence document, as its watcher gets them (CIN-03, CIN-08, CIN-11)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, TypeAlias
from urllib.parse import unquote_to_bytes

import attrs

from pysip.errors import ParseError
from pysip.external import EXTERNAL_BODY, ExternalBody, parse_external
from pysip.mime import Part

MOST_OBJECTS: Final = 64
"""Objects of one document that are kept."""

MOST_OCTETS: Final = 1 << 22
"""Octets of them together."""

_CID: Final = re.compile(rb"(?i:cid):([^\s<>\"']{1,1024})")


@attrs.frozen(slots=True)
class InlineObject:
    """An object that stood in the NOTIFY.

    :ivar cid: its Content-ID, without angle brackets.
    :ivar content_type: as it was sent, with parameters.
    """

    cid: str
    content_type: str
    body: bytes


@attrs.frozen(slots=True)
class ReferredObject:
    """An object that is elsewhere.

    :ivar cid: its Content-ID, without angle brackets.
    :ivar reference: where it is, and what is known of it: one URL (CIN-11).
    """

    cid: str
    reference: ExternalBody


WatchedObject: TypeAlias = InlineObject | ReferredObject


def read_objects(parts: Iterable[Part]) -> dict[str, WatchedObject]:
    """The objects in the parts beside a document, by Content-ID; of equal ones the first.

    What cannot be read is left out: that an object is missing is no error (CIN-05).
    """
    found: dict[str, WatchedObject] = {}
    for part in parts:
        try:
            made = _read(part)
        except ParseError:
            continue
        if made is not None and made.cid:
            found.setdefault(made.cid, made)
    return found


def _read(part: Part) -> WatchedObject | None:
    media = part.content_type
    if media.type == EXTERNAL_BODY:
        reference = parse_external(part)
        return ReferredObject(reference.content_id, reference)
    if media.type.startswith(("multipart/", "message/")):
        return None
    return InlineObject(part.content_id, part.first("content-type") or str(media.type), part.body)


def mentioned(document: bytes) -> set[str]:
    """The Content-IDs that a document may refer to by ``cid:`` URLs (RFC 2392, MPR-02)."""
    return {
        unquote_to_bytes(found.replace(b"&amp;", b"&")).decode("utf-8", "surrogateescape")
        for found in _CID.findall(document)
    }


def kept(
    document: bytes, before: dict[str, WatchedObject], new: dict[str, WatchedObject]
) -> dict[str, WatchedObject]:
    """The objects that a document refers to, those that came last first in line for the room."""
    wanted = mentioned(document)
    found: dict[str, WatchedObject] = {}
    room = MOST_OCTETS
    for cid, each in (*new.items(), *before.items()):
        if cid not in wanted or cid in found or len(found) >= MOST_OBJECTS:
            continue
        room -= len(each.body) if isinstance(each, InlineObject) else 0
        if room < 0:
            break
        found[cid] = each
    return found
