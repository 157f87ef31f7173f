"""PUT and DELETE of documents and their nodes: the steps of XCAP-50 from existence on.

Changes of one document are made one after the other, each from the state the last one left
(XCAP-145).  A compare-and-set in the store guards against others outside this process.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

import attrs
from twisted.logger import Logger

from xcap.answers import changed, conditional, media_type, request_uri
from xcap.conditions import outcome
from xcap.document import DEFAULT_LIMITS, Limits, XmlDocument, check_document
from xcap.edit import delete_node, put_node, require_node, require_parent
from xcap.errors import ClaimTaken, Conflict, TagMismatch, XcapError
from xcap.http.coding import decompress
from xcap.records import Claim, Document, DocumentKey, Draft, Head, HttpResponse, Requester
from xcap.select import deepest
from xcap.turns import Turns
from xcap.uri import NodeSelector, Target
from xcap.validate import parse_tree, validate

if TYPE_CHECKING:
    from lxml import etree
    from twisted.internet.defer import Deferred

    from xcap.interfaces import IApplicationUsage, IDocumentStore
    from xcap.parsed import ParsedDocuments
    from xcap.roots import Root

ALTERNATIVES = 5
"""Values offered in place of one that is taken (XCAP-134)."""
ATTEMPTS = 10
"""Tries of a change while others outside this process change the document."""

ASIDE = 32_768
"""Octets of document and body from which the work on them is done beside the reactor."""

_Made: TypeAlias = "tuple[bytes, XmlDocument | None, bool, etree._Element, tuple[Claim, ...]]"

_UTF8 = frozenset({"", "utf-8"})


@attrs.frozen(slots=True, kw_only=True)
class ServerSettings:
    """What an operator may choose.

    :ivar limits: of documents (XCAP-162).
    :ivar documents: a user may have at one application usage (XDM-08); 0 for any number.
    :ivar retry_after: seconds after which to try again while the store does not work.
    :ivar authenticate_first: ask who it is before saying that a user is unknown (XCAP-51).
    :ivar any_document_type: take whole documents also without media type or with that of a
        form, as some clients send them (CLI-19).
    :ivar bare_att_value: URIs of roots that give attribute values without quotes (XCAP-62).
    :ivar accept_bare_att_value: take attribute values without quotes (XCAP-86).
    :ivar quoted_tags: write entity-tags in directories with quotes (XDM-81).
    :ivar fallback_namespaces: by AUID, what unprefixed names mean when the default document
        namespace does not even give the root element (XDM-02).
    """

    limits: Limits = DEFAULT_LIMITS
    documents: int = 20
    retry_after: int = 5
    authenticate_first: bool = False
    any_document_type: bool = True
    bare_att_value: frozenset[str] = frozenset()
    accept_bare_att_value: bool = True
    quoted_tags: bool = False
    fallback_namespaces: Mapping[str, str] = attrs.field(factory=dict)


@attrs.frozen(slots=True)
class Admitted:
    """A request that was let in.

    :ivar selectors: what the node selector means, best first; none for whole documents.
    """

    head: Head
    root: Root
    target: Target
    usage: IApplicationUsage
    key: DocumentKey
    requester: Requester
    selectors: tuple[NodeSelector, ...]

    @property
    def node(self) -> str:
        """Raw node selector with its query, for the record of changes (XCAP-148)."""
        target = self.target
        if target.node is None:
            return ""
        return f"{target.node}?{target.query}" if target.query else target.node

    @property
    def attribute(self) -> bool:
        """Whether it is about an attribute."""
        return bool(self.selectors) and self.selectors[0].attribute is not None

    @property
    def levels(self) -> int:
        """Levels of elements that it is about."""
        return max((len(selector.steps) for selector in self.selectors), default=0)

    def selector(self, tree: XmlDocument) -> NodeSelector:
        """The meaning of the node selector that fits a document (XDM-02)."""
        first, *others = self.selectors
        if others and not deepest(tree, first.steps[:1]):
            return others[0]
        return first


class DocumentWriter:
    """Changes documents.

    :param parsed: trees of documents, shared with who reads.
    :param aside: does work on large documents beside the reactor; None does it at once.
    """

    _log = Logger()

    def __init__(
        self,
        store: IDocumentStore,
        parsed: ParsedDocuments,
        settings: ServerSettings,
        aside: Callable[[Callable[[], _Made]], Deferred[_Made]] | None = None,
    ) -> None:
        self._aside = aside
        self._store = store
        self._parsed = parsed
        self._settings = settings
        self._turns = Turns()

    async def prepare(self, request: Admitted) -> HttpResponse | None:
        """Steps 9 and 10, as the document is before the body is read.

        :returns: an answer by the preconditions, None to go on with :meth:`change`.
        :raises XcapError: a refusal.
        :raises StoreUnavailable: nothing can be read now.
        """
        answer = self._check(request, await self._current(request))
        if answer is not None:
            return answer
        if request.head.method == "PUT":
            _, charset = media_type(request.head.headers.get("content-type"))
            if charset not in _UTF8:
                raise Conflict("not-utf-8", "The charset has to be UTF-8")
        return None

    async def _current(self, request: Admitted) -> Document | None:
        return self._store.peek(request.key) or await self._store.fetch(request.key)

    def _check(self, request: Admitted, document: Document | None) -> HttpResponse | None:
        """Existence (9) and preconditions (10); None to go on."""
        head = request.head
        if head.method == "DELETE":
            if document is None:
                raise XcapError(404, "No such document")
            if request.selectors:
                tree = self._parsed.get(document, request.levels)
                require_node(tree, request.selector(tree))
        elif request.selectors:
            if document is None:
                raise Conflict("no-parent", "Document does not exist")
            tree = self._parsed.get(document, request.levels)
            require_parent(tree, request.selector(tree))
        etag, modified = None, None
        if document is not None:
            etag, modified = document.etag, document.modified
        status = outcome(head.method, head.headers, etag, modified)
        return conditional(status, etag) if status else None

    async def change(self, request: Admitted, body: bytes) -> HttpResponse:
        """Steps 11 to 16, with the body.

        :raises XcapError: a refusal.
        :raises StoreUnavailable: nothing can be stored now.
        """
        return await self._change(request, self._content(request, body))

    def _content(self, request: Admitted, body: bytes) -> bytes:
        if request.head.method == "DELETE":
            return b""
        limit = self._settings.limits.size
        return decompress(body, request.head.headers.get("content-encoding") or "", limit)

    async def _change(self, request: Admitted, body: bytes) -> HttpResponse:
        key = request.key
        async with self._turns.take(key):
            for _ in range(ATTEMPTS):
                document = await self._current(request)
                answer = self._check(request, document)
                if answer is not None:
                    return answer
                try:
                    if document is None:
                        # so that no two creations pass the quota at once
                        async with self._turns.take((key.root, key.auid, key.xui)):
                            await self._check_home(key)
                            return await self._apply(request, None, body)
                    return await self._apply(request, document, body)
                except TagMismatch:
                    continue  # somebody outside was faster
        self._log.warn("a document of {auid} changes too often", auid=key.auid)
        raise XcapError(503, "The document changes too often", (("Retry-After", "1"),))

    async def _check_home(self, key: DocumentKey) -> None:
        """Whether a new document has room in its home directory (XDM-08, XCAP-10)."""
        limit = self._settings.documents if key.xui else 0
        entries = await self._store.listing(key.root, key.auid, key.xui)
        for entry in entries:
            if key.path.startswith(f"{entry.key.path}/"):
                raise Conflict("no-parent", "A document has the name of the directory")
            if entry.key.path.startswith(f"{key.path}/"):
                raise Conflict("constraint-failure", "A directory has this name")
        if limit and len(entries) >= limit:
            raise Conflict("constraint-failure", f"More than {limit} documents")

    async def _apply(
        self, request: Admitted, document: Document | None, body: bytes
    ) -> HttpResponse:
        key, before = request.key, "" if document is None else document.etag
        author = request.requester.identity
        if request.head.method == "DELETE" and not request.selectors:
            await self._store.commit(Draft(key, before, None, author))
            self._parsed.forget(key)
            return changed(None)
        old = None
        if document is not None and request.selectors:
            old = self._parsed.get(document, request.levels)
        work = partial(self._make, request, old, document is None, body)
        size = len(body) + (len(document.octets) if old is not None and document else 0)
        if self._aside is None or size < ASIDE:
            made = work()
        else:
            made = await self._aside(work)
        octets, tree, created, root, claims = made
        draft = Draft(key, before, octets, author, request.node, claims)
        try:
            stored = await self._store.commit(draft)
        except ClaimTaken as error:
            free = await self._alternatives(request.usage, key, claims, error.names)
            raise request.usage.taken(root, key, free) from None
        if stored is not None and tree is not None:
            self._parsed.put(stored, tree)
        else:
            self._parsed.forget(key)
        return changed(stored, request_uri(request.root.uri, request.target) if created else "")

    def _make(self, request: Admitted, old: XmlDocument | None, absent: bool, body: bytes) -> _Made:
        """Steps 11 to 15; depends on nothing but its arguments, so that a thread may do it."""
        octets, tree, created = self._edit(request, old, absent, body)
        root = parse_tree(octets)
        # as long as all elements have an object, looking at them again is cheap
        elements = list(root.iter())
        validate(request.usage.schema, root, octets)
        request.usage.check(root, request.key)
        claims = request.usage.claims(root, request.key)
        del elements
        return octets, tree, created, root, claims

    def _edit(
        self, request: Admitted, old: XmlDocument | None, absent: bool, body: bytes
    ) -> tuple[bytes, XmlDocument | None, bool]:
        """The new document, its tree, and whether what was named is new (steps 11 and 12).

        A whole document gets its tree when somebody asks for an element of it.
        """
        limits = self._settings.limits
        if old is None:
            check_document(body, limits)
            return body, None, absent
        selector = request.selector(old)
        if request.head.method == "DELETE":
            tree = delete_node(old, selector, limits=limits)
            return tree.octets, tree, False
        bare = self._settings.accept_bare_att_value
        edited = put_node(old, selector, body, accept_bare=bare, limits=limits)
        return edited.document.octets, edited.document, edited.created

    async def _alternatives(
        self,
        usage: IApplicationUsage,
        key: DocumentKey,
        claims: tuple[Claim, ...],
        names: tuple[str, ...],
    ) -> dict[str, tuple[str, ...]]:
        """Values that are free, for each that is taken (XCAP-134, XDM-46)."""
        spaces = {claim.name: claim.space for claim in claims}
        found: dict[str, tuple[str, ...]] = {}
        for name in names:
            free: list[str] = []
            for variant in usage.variants(name, key):
                if len(free) == ALTERNATIVES:
                    break
                if variant not in spaces and not await self._store.claimed(spaces[name], variant):
                    free.append(variant)
            found[name] = tuple(free)
        return found
