"""Interfaces of the document servers, the Aggregation Proxy and their clients."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zope.interface import Attribute, Interface

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from lxml import etree
    from twisted.internet.defer import Deferred

    from xcap.errors import Conflict
    from xcap.histogram import Histogram
    from xcap.records import (
        Change,
        Claim,
        Document,
        DocumentKey,
        Draft,
        Entry,
        Head,
        HttpResponse,
        Receive,
        Requester,
        Tree,
    )


class IHttpService(Interface):
    """Answers HTTP requests: a document server, the proxy, or a wrapper around one."""

    async def begin(head: Head) -> HttpResponse | Receive:
        """Look at a request before its body is read.

        :returns: the answer, or what takes the body; only then 100 (Continue) is sent.
        :raises xcap.errors.XcapError: a refusal, instead of returning it.
        """


class IApplicationUsage(Interface):
    """One application usage (RFC 4825 section 5, XCAP-177): all that is special about it."""

    auid: str = Attribute("Application unique ID.")
    mime_type: str = Attribute("Media type of its documents.")
    default_namespace: str = Attribute("Default document namespace, '' for none (XCAP-24).")
    namespaces: tuple[str, ...] = Attribute("What it adds to xcap-caps (XCAP-172).")
    schema: str = Attribute("Name of its schema set for :mod:`xcap.validate`.")
    trees: frozenset[Tree] = Attribute("Trees in which it has documents.")
    computed: bool = Attribute("True when documents are generated, so that nobody writes them.")
    index: str = Attribute(
        "Path of the one document in the global tree generated from the claims of all users'"
        " documents, whose space is the AUID; '' for none (XDM-47)."
    )
    unique_attributes: dict[str, str] = Attribute(
        "Attribute that tells siblings apart, by element name in Clark notation (XPATCH-11)."
    )

    def locate(tree: Tree, path: tuple[str, ...]) -> None:
        """Check the place of a document against the naming conventions.

        :param path: decoded segments below the home directory.
        :raises xcap.errors.XcapError: 404 where there can be no such document, or a Conflict
            for PUT (``no-parent``, ``constraint-failure``).
        """

    def check(root: etree._Element, key: DocumentKey) -> None:
        """Check uniqueness (first) and the other constraints of a schema-valid document.

        :raises xcap.errors.Conflict: ``uniqueness-failure`` or ``constraint-failure``.
        """

    def claims(root: etree._Element, key: DocumentKey) -> tuple[Claim, ...]:
        """What must be unique in the whole store; () for most usages.

        A claim with empty content is only held; it is no part of the index.
        """

    def variants(name: str, key: DocumentKey) -> tuple[str, ...]:
        """Values to offer in place of one that is taken, best first (XCAP-134).

        :param name: as in a claim.
        :returns: some that may be free, to be looked up as claims before they are offered.
        """

    def taken(
        root: etree._Element, key: DocumentKey, names: Mapping[str, tuple[str, ...]]
    ) -> Conflict:
        """The refusal of a document whose claims are held by others (XDM-46).

        :param names: the names of :class:`xcap.errors.ClaimTaken`, each with what is free.
        """

    def may(requester: Requester, operation: str, key: DocumentKey) -> bool:
        """Whether somebody may ``read`` or ``write`` (XCAP-175, XDM-04, XDM-05)."""


class IDocumentStore(Interface):
    """Durable documents with compare-and-set, and the feed of their changes.

    All callbacks and Deferreds fire in the reactor thread.  Deferreds fail with
    :class:`xcap.errors.StoreUnavailable` while the medium does not work.
    """

    failed: bool = Attribute("True while the medium refuses writes.")
    position: int = Attribute("Position of the last durable change.")
    oldest: float = Attribute(
        "Seconds that the oldest draft has waited to become durable; 0 without one."
    )
    commits: int = Attribute("Batches that became durable.")
    rows: int = Attribute("Changes in them.")
    refused: int = Attribute("Batches that the medium has refused.")
    latency: Histogram = Attribute("Seconds that commits took.")

    def start() -> Deferred[None]:
        """Open the medium, creating or migrating its schema.

        :raises xcap.store.errors.StoreError: (in the Deferred) with a text for the operator.
        """

    def stop() -> Deferred[None]:
        """Commit what is queued and close."""

    def peek(key: DocumentKey) -> Document | None:
        """The document if it is in the cache; None says nothing about whether it exists."""

    def fetch(key: DocumentKey) -> Deferred[Document | None]:
        """The document, None when there is none."""

    def commit(draft: Draft) -> Deferred[Document | None]:
        """Make a change durable; fires with the new document, None after a removal.

        Drafts queued in one reactor turn become one transaction, in order; each succeeds or
        fails by itself.

        :raises xcap.errors.TagMismatch: (in the Deferred) the document has changed meanwhile.
        :raises xcap.errors.ClaimTaken: (in the Deferred) another document holds a claim.
        """

    def listing(
        root: str, auid: str | None, xui: str | None, below: str = ""
    ) -> Deferred[list[Entry]]:
        """The documents of a collection, by (auid, xui, path).

        :param auid: None for all usages.
        :param xui: "" for the global tree, None for every user and the global tree.
        :param below: only paths that are below this directory (``a/b/``).
        """

    def claimed(space: str, name: str) -> Deferred[tuple[DocumentKey, Claim] | None]:
        """Who holds a value; a key lookup (XDM-50)."""

    def claims(space: str, root: str) -> Deferred[list[Claim]]:
        """All values of a space held by documents of a root, by name."""

    def claims_tag(space: str, root: str) -> Deferred[str]:
        """Entity-tag of all that :meth:`claims` gives, another after every change (XDM-51).

        "" while nothing was ever claimed.  What was read between two equal tags belongs to
        that tag.
        """

    def remove_user(xui: str, author: str = "") -> Deferred[int]:
        """Remove all documents of a user, at all usages and roots, with their events (XDM-09).

        :returns: how many there were.
        """

    def changes(after: int, limit: int = 1000) -> Deferred[list[Change] | None]:
        """The changes behind a position, oldest first, without octets.

        :returns: None when some of them are no longer known.
        """

    def watch(changed: Callable[[Change], None]) -> None:
        """Call back with every change once it is durable, before its commit's Deferred fires."""


class ISubscribers(Interface):
    """Who the users are (XCAP-08, XCAP-09)."""

    def canonical(xui: str) -> str:
        """The one form of a user identifier, also of an alias, that names the home directory.

        :raises ValueError: it is no URI.
        """

    def known(xui: str) -> bool:
        """Whether a canonical identifier is one of ours."""


class IAuthenticator(Interface):
    """Finds out who sends a request (AGP-20 to AGP-39); GAA is another one later."""

    def authenticate(head: Head, body: bytes | None) -> IAuthenticated | None:
        """Verify the credentials of a request.

        :param body: the entity body as received; None before it was read.
        :returns: None when the body is needed first (``auth-int``).
        :raises xcap.errors.XcapError: 400, 401 with challenges, 429.
        """


class IAuthenticated(Interface):
    """The outcome of an authentication."""

    username: str = Attribute("As authenticated (IMPI).")
    identities: tuple[str, ...] = Attribute("Public identities, the default one first (AGP-40).")

    def answer_headers(response: HttpResponse) -> list[tuple[str, str]]:
        """Header fields to add to the answer, such as Authentication-Info (AGP-38)."""


class IIdentityAsserter(Interface):
    """Tells document servers who a request is from (AGP-43 to AGP-49)."""

    def assertion(identities: tuple[str, ...]) -> list[tuple[str, str]]:
        """Header fields for a request forwarded by the proxy, the identity meant first."""

    def accept(head: Head) -> Requester:
        """Who a request is from, at a document server.

        :raises xcap.errors.XcapError: 401 nobody asserted, 403 the peer may not assert.
        """


class IRouteTable(Interface):
    """Which document server holds which application usage (AGP-50 to AGP-53)."""

    def route(auid: str, xui: str) -> IBackEnd:
        """The back-end of a request.

        :param xui: canonical user identifier, "" for the global tree.
        :raises xcap.errors.XcapError: 404 unknown AUID, 503 nobody is up.
        """

    def backends(xui: str = "") -> Iterable[IBackEnd]:
        """One back-end of each group, for merged documents: the one that holds ``xui``."""


class IBackEnd(Interface):
    """A document server as the proxy sees it: in this process or elsewhere."""

    name: str = Attribute("For logs.")
    auids: frozenset[str] = Attribute("Application usages routed to it.")
    up: bool = Attribute("False while it is known to be down (AGP-78).")

    async def begin(head: Head) -> HttpResponse | Receive:
        """As :meth:`IHttpService.begin`; the head is what the proxy has made of the request.

        :raises xcap.errors.XcapError: 502, 503 or 504.
        """


class IDocumentClient(Interface):
    """Reads and writes documents of a document server, over HTTP or in process."""

    def get(uri: str, etag: str | None = None) -> Deferred[HttpResponse]:
        """GET; with ``etag`` conditional (304)."""

    def put(
        uri: str, body: bytes, content_type: str, *, match: str | None = None
    ) -> Deferred[HttpResponse]:
        """PUT; ``match`` is the entity-tag it must have, "" that it must not exist."""

    def delete(uri: str, *, match: str | None = None) -> Deferred[HttpResponse]:
        """DELETE, conditional with ``match``."""
