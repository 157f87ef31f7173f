"""What a subscription to document changes selects: URI lists and ua-profile parameters.

RFC 5875 sections 4.1 and 4.4 and the ua-profile parameters of OMA XDM 1.0 (xcap.md sections 16
and 17).  A URI keeps its spelling, since reports repeat it octet for octet (XEVT-08); what it
names is found by the rules for HTTP requests.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING
from urllib.parse import unquote, unquote_to_bytes

import attrs
import msgspec

from xcap.errors import XcapError
from xcap.records import DocumentKey, Requester
from xcap.tree import Bounds, TreeError, parse
from xcap.uri import document_path, parse_node, parse_target, quote_segment

if TYPE_CHECKING:
    from xcap.interfaces import IApplicationUsage
    from xcap.uri import NodeSelector

NO_PATCHING = "no-patching"
XCAP_PATCHING = "xcap-patching"
AGGREGATE = "aggregate"
MODES = (NO_PATCHING, XCAP_PATCHING, AGGREGATE)
"""Values of ``diff-processing`` (RFC 5875 section 4.3), the simplest first."""

LIST_LIMIT = 500
"""Entries of a URI list."""
_LIST_BOUNDS = Bounds(size=1 << 18, depth=16, nodes=10_000)

_LISTS = "urn:ietf:params:xml:ns:resource-lists"
_PROBE = "sip:nobody@invalid"
"""A user that cannot be: who may read that home directory may read any."""

_ABSOLUTE = re.compile(r"(https?)://([^/?#]*)(.*)", re.IGNORECASE | re.DOTALL)
_PORTS = {"http": ":80", "https": ":443"}

Prefix = tuple[str, ...]
"""A collection: root, AUID, tree, user identifier and directories, as far as they are given."""


class SelectionError(Exception):
    """What a subscription asks for is refused.

    :ivar status: of the SIP response.
    :ivar text: why, without data of users.
    """

    def __init__(self, status: int, text: str) -> None:
        super().__init__(status, text)
        self.status = status
        self.text = text


class Terms(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a subscription asks for, as it is kept with it.

    :ivar root: XCAP root all of it is below.
    :ivar uris: relative to the root; with ``~~`` an element or attribute, with a slash at the
        end a collection.
    :ivar home: all documents of the subscriber, besides.
    :ivar mode: one of :data:`MODES`.
    :ivar draft: notify in the syntax of 2005 (UAP-10).
    :ivar params: ``auid`` and ``document`` as given (UAP-09).
    """

    root: str
    uris: tuple[str, ...] = ()
    home: bool = False
    mode: str = NO_PATCHING
    draft: bool = False
    params: tuple[str, str] = ("", "")


@attrs.frozen(slots=True)
class Component:
    """An element or attribute that is subscribed to.

    :ivar sel: as given.
    """

    sel: str
    key: DocumentKey
    selector: NodeSelector


@attrs.frozen(slots=True)
class Selections:
    """What a subscription selects, nothing twice (XEVT-09).

    :ivar documents: how each document that was named itself is spelled.
    :ivar collections: none within another.
    """

    documents: Mapping[DocumentKey, str]
    collections: tuple[Prefix, ...]
    components: tuple[Component, ...]

    def covers(self, key: DocumentKey) -> bool:
        """Whether a document as a whole is selected, by itself or with a collection."""
        if key in self.documents:
            return True
        return bool(self.collections) and any(
            prefix in self.collections for prefix in prefixes(key)
        )

    def sel(self, key: DocumentKey) -> str:
        """How reports name a document (XEVT-08)."""
        return self.documents.get(key) or document_path(key)


def prefixes(key: DocumentKey) -> Iterator[Prefix]:
    """All collections that a document is in, the greatest first."""
    place: Prefix = (key.root, key.auid, key.tree)
    if key.xui:
        place += (key.xui,)
    place += tuple(key.path.split("/")[:-1])
    for length in range(1, len(place) + 1):
        yield place[:length]


def listed(prefix: Prefix) -> tuple[str, str | None, str | None, str]:
    """The arguments of ``IDocumentStore.listing`` that give at least a collection."""
    auid = prefix[1] if len(prefix) > 1 else None
    xui: str | None = None
    rest = prefix[3:]
    if len(prefix) > 2:
        if prefix[2] == "global":
            xui = ""
        elif rest:
            xui, rest = rest[0], rest[1:]
    return prefix[0], auid, xui, "".join(f"{segment}/" for segment in rest)


# -- URI lists ----------------------------------------------------------------------------


def parse_list(octets: bytes) -> list[str]:
    """The URIs of a resource list (XEVT-02), each once.

    Nested lists, references and what is unknown are passed over.

    :raises SelectionError: 400 no resource list, 413 too long.
    """
    try:
        root = parse(octets, _LIST_BOUNDS).root
    except TreeError as error:
        if error.reason == "limit":
            raise SelectionError(413, "URI list is too large") from None
        raise SelectionError(400, "URI list is not well-formed") from None
    if root.name != f"{{{_LISTS}}}resource-lists":
        raise SelectionError(400, "Body is no resource list")
    found: dict[str, None] = {}
    for member in root.elements():
        if member.name == f"{{{_LISTS}}}list":
            for entry in member.elements():
                if entry.name == f"{{{_LISTS}}}entry" and "uri" in entry.attributes:
                    found[entry.attributes["uri"].value] = None
    if len(found) > LIST_LIMIT:
        raise SelectionError(413, f"URI list has more than {LIST_LIMIT} entries")
    return list(found)


def relative(uri: str, roots: Sequence[str]) -> tuple[str, str] | None:
    """The root that a URI is below, and the rest of it as it is spelled.

    :param roots: XCAP roots, each ending in ``/``; relative URIs are below the first.
    :returns: None when it is below none of them.
    """
    if not uri.isascii() or "#" in uri:
        return None
    given = _absolute(uri)
    if given is None:
        if uri.startswith("//") or re.match(r"[A-Za-z][A-Za-z0-9+.\-]*:", uri.split("/")[0]):
            return None
        if not uri.startswith("/"):
            return roots[0], uri
        roots = roots[:1]
    authority, path = given or ("", uri)
    for root in roots:
        of_root = _absolute(root)
        if of_root is None:
            continue
        home, prefix = of_root
        if (not authority or authority == home) and f"{path}/".startswith(prefix):
            return root, path[len(prefix) :]
    return None


def _absolute(uri: str) -> tuple[str, str] | None:
    """Scheme with authority, normalised, and path of an HTTP URI; None for another one."""
    match = _ABSOLUTE.fullmatch(uri)
    if match is None:
        return None
    scheme, authority, path = match[1].lower(), match[2].lower(), match[3]
    return f"{scheme}://{authority.removesuffix(_PORTS[scheme])}", path or "/"


# -- ua-profile ---------------------------------------------------------------------------


def profile_uri(auid: str, document: str, xui: str) -> str:
    """The URI, relative to the root, that ``auid`` and ``document`` name (UAP-03).

    ``document`` may be relative to the root, to the AUID, or to the subscriber's home
    directory there, and percent-encoded as a whole or not at all.

    :param auid: "" when it is not given.
    :param document: "" when it is not given: all documents at ``auid``.
    :param xui: the subscriber.
    :raises SelectionError: 404 it names nothing.
    """
    if "/" not in document and re.search("%2f", document, re.IGNORECASE):
        document = _decoded(document)
    segments = [_decoded(segment) for segment in document.split("/")] if document else [""]
    auid = _decoded(auid)
    if segments[0] == "" and len(segments) > 1:
        del segments[0]  # a path that begins with a slash
    if segments[0] in ("users", "global") and auid:
        segments.insert(0, auid)
    elif len(segments) > 1 and segments[1] in ("users", "global"):
        if auid and segments[0] != auid:
            raise SelectionError(404, "auid and document contradict each other")
    elif auid:
        segments = [auid, "users", xui, *segments]
    else:
        raise SelectionError(404, "document names no application usage")
    return "/".join(map(quote_segment, segments))


def _decoded(text: str) -> str:
    try:
        return unquote_to_bytes(text).decode()
    except UnicodeDecodeError:
        raise SelectionError(404, "Percent-encoded octets are not UTF-8") from None


# -- what it means ------------------------------------------------------------------------


class Resolver:
    """Finds what URIs select.

    :param usages: application usages by AUID.
    :param canonical: the one form of a user identifier, as ``ISubscribers.canonical``.
    """

    def __init__(
        self, usages: Mapping[str, IApplicationUsage], canonical: Callable[[str], str]
    ) -> None:
        self.usages = usages
        self._canonical = canonical

    def requester(self, uris: Sequence[str]) -> Requester:
        """A subscriber as the application usages know it: with its home directories.

        :param uris: its proven identities, the principal first.
        """
        found: dict[str, None] = {}
        for uri in uris:
            try:
                found[self._canonical(uri)] = None
            except ValueError:
                continue
        found.update(dict.fromkeys(uris))
        return Requester(tuple(found))

    def may_read(self, requester: Requester, key: DocumentKey) -> bool:
        """The decision that a GET meets (XEVT-17)."""
        usage = self.usages.get(key.auid)
        return usage is not None and usage.may(requester, "read", key)

    def resolve(self, terms: Terms, requester: Requester) -> Selections:
        """What terms select; what cannot be selects nothing, silently (XEVT-07)."""
        documents: dict[DocumentKey, str] = {}
        components: dict[object, Component] = {}
        places: dict[Prefix, None] = {}
        for uri in terms.uris:
            place = self.collection(terms.root, uri)
            if place is not None:
                places.update(dict.fromkeys(self._narrow(place, requester)))
                continue
            found = self.document(terms.root, uri)
            if isinstance(found, Component):
                selector = found.selector
                same = (found.key, selector.steps, selector.attribute)
                components.setdefault(same, found)
            elif found is not None:
                documents.setdefault(found, uri)
        if terms.home:
            for auid, usage in self.usages.items():
                if "users" in usage.trees:
                    for identity in requester.identities:
                        places[terms.root, auid, "users", identity] = None
        collections = tuple(
            place
            for place in places
            if not any(place[:length] in places for length in range(1, len(place)))
        )
        return Selections(documents, collections, tuple(components.values()))

    def collection(self, root: str, uri: str) -> Prefix | None:
        """The collection that a relative URI names; None when it is no collection."""
        path, _, _ = uri.partition("?")
        if path and not path.endswith("/"):
            return None
        segments = path.split("/")[:-1]
        try:
            decoded = [unquote(segment, errors="strict") for segment in segments]
        except UnicodeDecodeError:
            return None
        if "~~" in decoded or any(s in ("", ".", "..") or "/" in s for s in decoded):
            return None
        if len(decoded) > 1 and decoded[1] not in ("users", "global"):
            return None
        if len(decoded) > 2 and decoded[1] == "users":
            try:
                decoded[2] = self._canonical(decoded[2])
            except ValueError:
                return None
        return (root, *decoded)

    def document(self, root: str, uri: str) -> DocumentKey | Component | None:
        """The document or component that a relative URI names, by the rules of HTTP requests."""
        try:
            target = parse_target(f"/{uri}")
            usage = self.usages.get(target.auid)
            if usage is None or target.tree not in usage.trees:
                return None
            usage.locate(target.tree, target.path)
            xui = self._canonical(target.xui) if target.xui else ""
            key = DocumentKey(root, target.auid, xui, "/".join(target.path))
            if target.node is None:
                return key
            selector = parse_node(target.node, target.query, usage.default_namespace)
        except (XcapError, ValueError):
            return None
        if selector.namespaces:
            return None  # XEVT-04
        return Component(uri, key, selector)

    def _narrow(self, place: Prefix, requester: Requester) -> Iterator[Prefix]:
        """The parts of a collection that a subscriber has a chance to read.

        Above the home directories these are its own ones and the global tree, unless the
        usage lets it read everybody's.
        """
        if len(place) == 1:
            for auid in self.usages:
                yield from self._narrow((*place, auid), requester)
            return
        usage = self.usages.get(place[1])
        if usage is None:
            return
        if len(place) == 2:
            for tree in sorted(usage.trees):
                yield from self._narrow((*place, tree), requester)
        elif len(place) == 3 and place[2] == "users" and not self._reads_all(place, requester):
            for identity in requester.identities:
                yield (*place, identity)
        else:
            yield place

    def _reads_all(self, place: Prefix, requester: Requester) -> bool:
        probe = DocumentKey(place[0], place[1], _PROBE, "index")
        return self.usages[place[1]].may(requester, "read", probe)
