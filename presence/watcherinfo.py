"""Watcher information: the state machine of RFC 3857 and the documents of RFC 3858.

A document tells of all watchers of a presentity, or of those that have changed.  Writing takes
some 2 us a watcher; the layout is that of the examples in oma-presence.md section 11.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from itertools import chain
from types import MappingProxyType
from typing import Final

import attrs
from lxml import etree

from presence.pidf.parse import parse, to_utf8
from presence.xmltext import quote

NAMESPACE: Final = "urn:ietf:params:xml:ns:watcherinfo"
MEDIA_TYPE: Final = "application/watcherinfo+xml"
ANONYMOUS: Final = "sip:anonymous@anonymous.invalid"
"""What stands for a watcher who asked for privacy, or has no identity (WIN-07)."""

INIT, PENDING, ACTIVE = "init", "pending", "active"
WAITING, TERMINATED = "waiting", "terminated"
STATUSES: Final = frozenset((PENDING, ACTIVE, WAITING, TERMINATED))
EVENTS: Final = frozenset(
    (
        "subscribe",
        "approved",
        "deactivated",
        "probation",
        "rejected",
        "timeout",
        "giveup",
        "noresource",
    )
)

TRANSITIONS: Final[Mapping[tuple[str, str], tuple[str, str]]] = MappingProxyType(
    {
        (INIT, "allow"): (ACTIVE, "subscribe"),
        (INIT, "confirm"): (PENDING, "subscribe"),
        (INIT, "block"): (TERMINATED, "rejected"),  # transient, never told of
        (PENDING, "approved"): (ACTIVE, "approved"),
        (PENDING, "rejected"): (TERMINATED, "rejected"),
        (PENDING, "timeout"): (WAITING, "timeout"),
        (PENDING, "giveup"): (TERMINATED, "giveup"),
        (PENDING, "noresource"): (TERMINATED, "noresource"),
        (PENDING, "deactivated"): (TERMINATED, "deactivated"),
        (PENDING, "probation"): (TERMINATED, "probation"),
        (ACTIVE, "rejected"): (TERMINATED, "rejected"),
        (ACTIVE, "timeout"): (TERMINATED, "timeout"),
        (ACTIVE, "deactivated"): (TERMINATED, "deactivated"),
        (ACTIVE, "probation"): (TERMINATED, "probation"),
        (ACTIVE, "noresource"): (TERMINATED, "noresource"),
        # Not in RFC 3857: rules that ask again for a decision (XDM-137).
        (ACTIVE, "withdrawn"): (PENDING, "subscribe"),
        (WAITING, "approved"): (TERMINATED, "approved"),
        (WAITING, "rejected"): (TERMINATED, "rejected"),
        (WAITING, "giveup"): (TERMINATED, "giveup"),
        (WAITING, "noresource"): (TERMINATED, "noresource"),
    }
)
"""(status, input) to (status, event told): RFC 3857 section 4.7.1, WFS-01.

The inputs of ``init`` are decisions, ``polite-block`` being one to allow (WFS-07).
"""

_SERIAL_LIMIT: Final = 1 << 32
_NUMBER: Final = re.compile(r"[+]?[0-9]{1,20}")
_TOKEN: Final = re.compile(r"[A-Za-z0-9.!%*_+`'~-]+")
_WHITE: Final = " \t\r\n"
_ROOT: Final = f"{{{NAMESPACE}}}watcherinfo"
_LIST: Final = f"{{{NAMESPACE}}}watcher-list"
_WATCHER: Final = f"{{{NAMESPACE}}}watcher"
_LANGUAGE: Final = "{http://www.w3.org/XML/1998/namespace}lang"


def step(status: str, put: str) -> tuple[str, str] | None:
    """The (status, event) that an input leads to; None when it changes nothing (WFS-01)."""
    return TRANSITIONS.get((status, put))


@attrs.frozen(slots=True)
class Watcher:
    """A row of a watcher list.

    :ivar id: token, one for each subscription (WID-06).
    :ivar uri: who watches.
    :ivar status: ``pending``, ``active``, ``waiting`` or ``terminated``.
    :ivar event: what led to that (WID-05).
    :ivar display_name: or "".
    :ivar expiration: seconds until the subscription expires, or None.
    :ivar duration: seconds since the SUBSCRIBE, or None.
    :ivar language: of the display name, or "".
    """

    id: str
    uri: str
    status: str
    event: str
    display_name: str = ""
    expiration: int | None = None
    duration: int | None = None
    language: str = ""


@attrs.frozen(slots=True)
class WatcherList:
    """The watchers of one resource.

    :ivar resource: URI of the presentity.
    :ivar package: event package that is watched.
    """

    resource: str
    package: str
    watchers: tuple[Watcher, ...] = ()


@attrs.frozen(slots=True)
class WatcherInfo:
    """A watcher information document.

    :ivar version: number within its subscription (WID-02).
    :ivar full: it tells everything known; else what has changed (WID-03).
    """

    version: int
    full: bool
    lists: tuple[WatcherList, ...] = ()


def write(info: WatcherInfo) -> bytes:
    """The document in UTF-8 (WID-01); characters that XML does not have become U+FFFD."""
    state = "full" if info.full else "partial"
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<watcherinfo xmlns="{NAMESPACE}" version="{info.version}" state="{state}">\n'
    ]
    for each in info.lists:
        head = f' <watcher-list resource="{quote(each.resource)}" package="{quote(each.package)}"'
        if each.watchers:
            lines += chain((f"{head}>\n",), map(_row, each.watchers), (" </watcher-list>\n",))
        else:
            lines.append(f"{head}/>\n")
    lines.append("</watcherinfo>")
    return "".join(lines).encode()


def _row(watcher: Watcher) -> str:
    text = f'  <watcher id="{watcher.id}" status="{watcher.status}" event="{watcher.event}"'
    if watcher.display_name:
        text += f' display-name="{quote(watcher.display_name)}"'
    if watcher.expiration is not None:
        text += f' expiration="{watcher.expiration}"'
    if watcher.duration is not None:
        text += f' duration-subscribed="{watcher.duration}"'
    if watcher.language:
        text += f' xml:lang="{quote(watcher.language)}"'
    return f"{text}>{quote(watcher.uri)}</watcher>\n"


def read(octets: bytes) -> WatcherInfo:
    """The document that was received; unknown elements and attributes are ignored (WID-01).

    :raises ValueError: it is none; the message does not quote it.
    """
    root = parse(to_utf8(octets))
    if root.tag != _ROOT:
        raise ValueError("root element is not watcherinfo")
    version = _number(root, "version")
    if version is None or version >= _SERIAL_LIMIT:
        raise ValueError("watcherinfo without version")
    state = _attribute(root, "state")
    if state not in ("full", "partial"):
        raise ValueError("watcherinfo without state")
    lists = tuple(map(_read_list, root.iterchildren(_LIST)))
    return WatcherInfo(version, state == "full", lists)


def _read_list(element: etree._Element) -> WatcherList:
    resource = _attribute(element, "resource")
    package = _attribute(element, "package")
    if not resource or not package:
        raise ValueError("watcher-list without resource or package")
    return WatcherList(
        resource.strip(_WHITE), package, tuple(map(_read_row, element.iterchildren(_WATCHER)))
    )


def _read_row(element: etree._Element) -> Watcher:
    number = _attribute(element, "id") or ""
    status = _attribute(element, "status") or ""
    event = _attribute(element, "event") or ""
    if not _TOKEN.fullmatch(number) or status not in STATUSES or event not in EVENTS:
        raise ValueError("watcher without id, status or event")
    return Watcher(
        number,
        "".join(element.itertext(with_tail=False)).strip(_WHITE),  # type: ignore[arg-type]
        status,
        event,
        _attribute(element, "display-name") or "",
        _number(element, "expiration"),
        _number(element, "duration-subscribed"),
        _attribute(element, _LANGUAGE) or "",
    )


def _attribute(element: etree._Element, name: str) -> str | None:
    value: str | None = element.get(name)
    return value


def _number(element: etree._Element, name: str) -> int | None:
    """The value of a numeric attribute, None without one.

    :raises ValueError: it is no number.
    """
    value = _attribute(element, name)
    if value is None:
        return None
    if not _NUMBER.fullmatch(value.strip(_WHITE)):
        raise ValueError(f"{name} is no number")
    return int(value)


@attrs.define
class WatcherTable:
    """The tables that a watcher information subscription keeps (WID-08, WAT-05).

    :ivar version: of the document taken last; None before the first.
    :ivar lists: for each resource its watchers by id.
    """

    version: int | None = None
    lists: dict[str, dict[str, Watcher]] = attrs.field(factory=dict)

    def take(self, info: WatcherInfo) -> Taken:
        """Take a document; watchers that have terminated stay until the next is taken."""
        known = self.version
        if known is not None and info.version <= known:
            return Taken(False)
        gap = known is not None and info.version > known + 1
        self.version = info.version
        if info.full:
            self.lists.clear()
        else:
            self._forget_terminated()
        for each in info.lists:
            rows = self.lists.setdefault(each.resource, {})
            rows.update((watcher.id, watcher) for watcher in each.watchers)
        return Taken(True, refresh=(gap or known is None) and not info.full)

    def rows(self) -> Iterable[tuple[str, Watcher]]:
        """(resource, watcher) of all that are known."""
        for resource, rows in self.lists.items():
            for watcher in rows.values():
                yield resource, watcher

    def _forget_terminated(self) -> None:
        for rows in self.lists.values():
            gone = [id for id, watcher in rows.items() if watcher.status == TERMINATED]
            for id in gone:
                del rows[id]


@attrs.frozen
class Taken:
    """What became of a document.

    :ivar processed: it was newer than what was known.
    :ivar refresh: something is missing: a refresh would bring full state (WID-08).
    """

    processed: bool
    refresh: bool = False


@attrs.define
class ForkedWatcherTables:
    """The tables of all dialogs that one SUBSCRIBE has made, seen as one (WIN-09).

    Ids are unique within a dialog only.

    :ivar tables: by whatever tells the dialogs apart.
    """

    tables: dict[object, WatcherTable] = attrs.field(factory=dict)

    def take(self, dialog: object, info: WatcherInfo) -> Taken:
        """Take a document that came in a dialog."""
        return self.tables.setdefault(dialog, WatcherTable()).take(info)

    def ended(self, dialog: object) -> None:
        """Forget what a dialog has told: its subscription has ended."""
        self.tables.pop(dialog, None)

    def rows(self) -> Iterable[tuple[str, Watcher]]:
        """(resource, watcher) of all that are known."""
        for table in self.tables.values():
            yield from table.rows()
