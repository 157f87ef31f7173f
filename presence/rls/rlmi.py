"""Resource list meta-information: RLMI documents and the multiparts they head (RFC 4662 5).

A document names the members of a list, or those that have changed, and the states of their
back-end subscriptions; the states of the members themselves are other parts of the same
``multipart/related`` body.  The layout is that of the example RLS-28.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import starmap
from typing import Final, Literal, cast, get_args

import attrs
from lxml import etree

from presence.pidf.parse import parse_compact, to_utf8
from presence.rls.model import Instance, Member, Names
from presence.xmltext import quote
from pysip import mime
from pysip.header import MediaType
from pysip.message import HEADER_NAMES

NAMESPACE: Final = "urn:ietf:params:xml:ns:rlmi"
MEDIA_TYPE: Final = "application/rlmi+xml"
MAX_OCTETS: Final = 4194304
"""Octets of a document that is read: some 20000 members."""

State = Literal["active", "pending", "terminated"]

_CONTENT_TYPE: Final = f'{MEDIA_TYPE};charset="UTF-8"'
_END: Final = b"</list>"
_ROOT: Final = f"{{{NAMESPACE}}}list"
_RESOURCE: Final = f"{{{NAMESPACE}}}resource"
_INSTANCE: Final = f"{{{NAMESPACE}}}instance"
_NAME: Final = f"{{{NAMESPACE}}}name"
_LANGUAGE: Final = "{http://www.w3.org/XML/1998/namespace}lang"
_WHITE: Final = " \t\r\n"
_VERSION: Final = re.compile(r"[+]?[0-9]{1,20}")
_VERSION_LIMIT: Final = 1 << 32
_BOOLEAN: Final = {"true": True, "1": True, "false": False, "0": False}
_STATES: Final = frozenset(get_args(State))
_UNKNOWN_REASON: Final = "probation"
_BARE: Final = {**HEADER_NAMES, "content-id": "Content-Id"}


# -- writing ----------------------------------------------------------------------------


def write_rlmi(
    uri: str,
    version: int,
    full: bool,
    names: Names,
    resources: Iterable[tuple[Member, Instance | None, str]],
) -> bytes:
    """An RLMI document in UTF-8 (RLS-05).

    :param uri: the list as it was subscribed to (RLS-08).
    :param version: number of the NOTIFY within its subscription.
    :param full: all members are listed; else those that have changed.
    :param resources: members with what is told of each, and the Content-ID of its part or "".
    """
    return join_rlmi(uri, version, full, names, starmap(write_row, resources))


def write_row(member: Member, instance: Instance | None, cid: str) -> bytes:
    """The element of one member, as :func:`join_rlmi` takes it.

    A terminated instance has a reason even where its notifier gave none (RLS-09): that it may
    come back later is what RFC 3265 section 3.2.4 says then.
    """
    text = f'  <resource uri="{quote(member.uri)}"'
    if instance is None and not member.names:
        return f"{text}/>\n".encode()
    text += f">\n{''.join([f'    {_name(*name)}' for name in member.names])}"
    if instance is not None:
        text += f'    <instance id="{quote(instance.id)}" state="{instance.state}"'
        if instance.state == "terminated":
            text += f' reason="{quote(instance.reason or _UNKNOWN_REASON)}"'
        text += f' cid="{quote(cid)}"/>\n' if cid else "/>\n"
    return f"{text}  </resource>\n".encode()


def join_rlmi(uri: str, version: int, full: bool, names: Names, rows: Iterable[bytes]) -> bytes:
    """As :func:`write_rlmi`, of elements that are written already."""
    head = (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<list xmlns="{NAMESPACE}" uri="{quote(uri)}" version="{version}"'
        f' fullState="{"true" if full else "false"}">\n'
    )
    lines = [head.encode()]
    lines += [f"  {_name(*name)}".encode() for name in names]
    lines += rows
    lines.append(_END)
    return b"".join(lines)


def _name(language: str, text: str) -> str:
    tag = f'name xml:lang="{quote(language)}"' if language else "name"
    return f"<{tag}>{quote(text)}</name>\n"


@attrs.frozen(slots=True)
class Enclosure:
    """A part beside the RLMI document: the state of one member.

    :ivar cid: its Content-ID without angle brackets.
    :ivar content_type: Content-Type with its parameters.
    :ivar body: octets; a multipart of another Resource List Server passes as it is (RLS-15).
    """

    cid: str
    content_type: str
    body: bytes

    def size(self, boundary: str, bare_ids: bool = False) -> int:
        """Octets that it adds to a body, its delimiter included."""
        fixed = _BARE_PART if bare_ids else _PART
        kind = self.content_type.encode("utf-8", "surrogateescape")
        return fixed + len(boundary) + len(self.cid.encode()) + len(kind) + len(self.body)


_PART: Final = len(
    "--\r\nContent-Transfer-Encoding: binary\r\nContent-ID: <>\r\nContent-Type: \r\n\r\n\r\n"
)
_BARE_PART: Final = _PART - len("<>")


def write_related(
    root: Enclosure, parts: Iterable[Enclosure], boundary: str, *, bare_ids: bool = False
) -> tuple[str, bytes]:
    """The body of a NOTIFY: its Content-Type and octets (RLS-04, MPR-04).

    :param root: the RLMI document, see :func:`enclose`.
    :param boundary: a token that nobody can guess, so that it occurs in no part.
    :param bare_ids: write ``Content-Id`` without angle brackets in the parts (CLI-17).
    """
    every = [_part(root, bare_ids)]
    every += [_part(part, bare_ids) for part in parts]
    return mime.write_related(every, boundary, names=_BARE if bare_ids else HEADER_NAMES)


def enclose(cid: str, document: bytes) -> Enclosure:
    """An RLMI document as the root of a multipart."""
    return Enclosure(cid, _CONTENT_TYPE, document)


def related_size(root: Enclosure, boundary: str, bare_ids: bool = False) -> int:
    """Octets of a body that has no part but its root."""
    return root.size(boundary, bare_ids) + len(f"--{boundary}--\r\n")


def _part(enclosure: Enclosure, bare_ids: bool) -> mime.Part:
    cid = enclosure.cid
    return mime.Part(
        {
            "content-transfer-encoding": ["binary"],
            "content-id": [cid if bare_ids else f"<{cid}>"],
            "content-type": [enclosure.content_type],
        },
        enclosure.body,
    )


# -- reading ----------------------------------------------------------------------------


@attrs.frozen(slots=True)
class ListedInstance:
    """An instance as a document lists it.

    :ivar cid: Content-ID of its part, or "".
    """

    id: str
    state: State
    reason: str = ""
    cid: str = ""


@attrs.frozen(slots=True)
class ListedResource:
    """A member as a document lists it."""

    uri: str
    names: Names = ()
    instances: tuple[ListedInstance, ...] = ()


@attrs.frozen(slots=True)
class Rlmi:
    """An RLMI document.

    :ivar full: it lists every member; else those that have changed.
    :ivar cid: Content-ID of the part with aggregate state, or "".
    """

    uri: str
    version: int
    full: bool
    names: Names = ()
    resources: tuple[ListedResource, ...] = ()
    cid: str = ""


def read_rlmi(octets: bytes, charset: str | None = None) -> Rlmi:
    """The document that was received; unknown elements and attributes are ignored (RLS-05).

    :param charset: as the Content-Type tells it.
    :raises ValueError: it is none, or over :data:`MAX_OCTETS`; the message does not quote it.
    """
    if len(octets) > MAX_OCTETS:
        raise ValueError("RLMI too large")
    root = parse_compact(to_utf8(octets, charset))
    if root.tag != _ROOT:
        raise ValueError("root element is not an RLMI list")
    version = (_attribute(root, "version") or "").strip(_WHITE)
    if not _VERSION.fullmatch(version) or int(version) >= _VERSION_LIMIT:
        raise ValueError("list without version")
    full = _BOOLEAN.get((_attribute(root, "fullState") or "").strip(_WHITE))
    if full is None:
        raise ValueError("list without fullState")
    return Rlmi(
        _uri(root),
        int(version),
        full,
        _read_names(root),
        tuple(map(_read_resource, root.iterchildren(_RESOURCE))),
        _attribute(root, "cid") or "",
    )


def _read_resource(element: etree._Element) -> ListedResource:
    instances = tuple(map(_read_instance, element.iterchildren(_INSTANCE)))
    return ListedResource(_uri(element), _read_names(element), instances)


def _read_instance(element: etree._Element) -> ListedInstance:
    number = _attribute(element, "id")
    state = _attribute(element, "state")
    if number is None or state not in _STATES:
        raise ValueError("instance without id or state")
    return ListedInstance(
        number,
        cast(State, state),
        _attribute(element, "reason") or "",
        _attribute(element, "cid") or "",
    )


def _read_names(element: etree._Element) -> Names:
    return tuple(
        (_attribute(name, _LANGUAGE) or "", name.text or "") for name in element.iterchildren(_NAME)
    )


def _uri(element: etree._Element) -> str:
    uri = (_attribute(element, "uri") or "").strip(_WHITE)
    if not uri:
        raise ValueError("list or resource without uri")
    return uri


def _attribute(element: etree._Element, name: str) -> str | None:
    value: str | None = element.get(name)
    return value


def read_related(content_type: str | MediaType, body: bytes) -> tuple[Rlmi, mime.Related]:
    """The body of a NOTIFY: its RLMI document, and the parts that this refers to.

    :raises ValueError: it is none, or its root is no RLMI document.
    """
    related = mime.parse_related(content_type, body)
    media = related.root.content_type
    if media.type != MEDIA_TYPE:
        raise ValueError("root is no RLMI document")
    return read_rlmi(related.root.body, media.params.get("charset")), related
