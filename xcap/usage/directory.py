"""``org.openmobilealliance.xcap-directory``: a user's documents (XDM-80 to XDM-86)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, ClassVar, Final

from lxml import etree

from xcap.uri import build
from xcap.usage.base import USERS, ComputedUsage
from xcap.usage.names import XCAP_DIRECTORY
from xcap.usage.writing import HEAD, escape, read_computed

if TYPE_CHECKING:
    from xcap.interfaces import IApplicationUsage
    from xcap.records import Entry
    from xcap.uri import NodeSelector

DOCUMENT: Final = "directory.xml"
"""Name of the one document in each home directory."""

_ROOT: Final = f"{{{XCAP_DIRECTORY}}}xcap-directory"
_FOLDER: Final = f"{{{XCAP_DIRECTORY}}}folder"
_ERROR: Final = f"{{{XCAP_DIRECTORY}}}error-code"
_START: Final = f'{HEAD}<xcap-directory xmlns="{XCAP_DIRECTORY}">\n'
_END: Final = "</xcap-directory>\n"


class XcapDirectory(ComputedUsage):
    """Directories of the documents of each user."""

    auid = "org.openmobilealliance.xcap-directory"
    mime_type = "application/vnd.oma.xcap-directory+xml"
    default_namespace = XCAP_DIRECTORY
    namespaces = (XCAP_DIRECTORY,)
    schema = "xcap-directory"
    trees = USERS
    document_names = frozenset({DOCUMENT})
    unique_attributes: ClassVar[dict[str, str]] = {
        _FOLDER: "auid",
        f"{{{XCAP_DIRECTORY}}}entry": "uri",
    }


def directory_auids(usages: Iterable[IApplicationUsage]) -> list[str]:
    """The usages that have a folder: those with documents of users (XDM-84)."""
    return sorted(usage.auid for usage in usages if "users" in usage.trees and not usage.computed)


def directory_document(
    auids: Iterable[str], entries: Iterable[Entry], *, quoted_tags: bool = False
) -> bytes:
    """The directory of a user, or that part of it with the folders of some usages.

    :param auids: one folder for each, also without documents (XDM-84).
    :param entries: the user's documents; those of other usages are left out.
    :param quoted_tags: write entity-tags with the quotes of HTTP (XDM-81).
    """
    folders: dict[str, list[str]] = {auid: [] for auid in sorted(auids)}
    for entry in sorted(entries, key=lambda entry: entry.key):
        if entry.key.auid in folders:
            folders[entry.key.auid].append(_entry(entry, quoted_tags))
    return "".join(
        [_START, *(_folder(auid, "".join(items)) for auid, items in folders.items()), _END]
    ).encode()


def wanted_folder(selector: NodeSelector) -> str | None:
    """The one usage whose folder decides what a selector finds (XDM-83); None if several do."""
    steps = selector.steps
    if len(steps) < 2 or steps[0].name not in (_ROOT, None):
        return None
    if steps[0].position is not None or steps[0].attribute is not None:
        return None
    folder = steps[1]
    if folder.name != _FOLDER or folder.position is not None or folder.attribute is None:
        return None
    name, value = folder.attribute
    return value if name == "auid" else None


def merge_directories(
    documents: Iterable[bytes], failures: Mapping[str, str] | None = None
) -> bytes:
    """One directory out of those of several servers (XDM-86, AGP-58).

    :param failures: usages whose server could not be asked, each with what to tell, such as
        ``503 Service Unavailable`` (XDM-82).
    :raises ValueError: one of the documents is not understood.
    """
    folders: dict[str, str] = {}
    for octets in documents:
        for folder in read_computed(octets, _ROOT).iterfind(_FOLDER):
            auid = folder.get("auid", "")
            failed = folder.find(_ERROR) is not None
            if auid not in folders or (_failed(folders[auid]) and not failed):
                folders[auid] = _copy(folder)
    for auid, text in (failures or {}).items():
        if auid not in folders:
            folders[auid] = _folder(auid, f"<error-code>{escape(text)}</error-code>")
    return "".join([_START, *(folders[auid] for auid in sorted(folders)), _END]).encode()


def _folder(auid: str, content: str) -> str:
    start = f'  <folder auid="{escape(auid)}"'
    return f"{start}>{content}</folder>\n" if content else f"{start}/>\n"


def _entry(entry: Entry, quoted_tags: bool) -> str:
    key = entry.key
    uri = build(key.root, key.auid, key.xui, key.path)
    etag = f'"{entry.etag}"' if quoted_tags else entry.etag
    modified = datetime.fromtimestamp(entry.modified, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return (
        f'<entry uri="{escape(uri)}" etag="{escape(etag)}"'
        f' last-modified="{modified}" size="{entry.size}"/>'
    )


def _failed(folder: str) -> bool:
    return "<error-code>" in folder


def _copy(folder: etree._Element) -> str:
    """A folder of another server, written our way: what the schema knows and no more."""
    error = folder.find(_ERROR)
    if error is not None:
        content = f"<error-code>{escape(error.text or '')}</error-code>"
    else:
        content = "".join(
            "<entry"
            + "".join(
                f' {name}="{escape(value)}"'
                for name in ("uri", "etag", "last-modified", "size")
                if (value := entry.get(name)) is not None
            )
            + "/>"
            for entry in folder.iterfind(f"{{{XCAP_DIRECTORY}}}entry")
        )
    return _folder(folder.get("auid", ""), content)
