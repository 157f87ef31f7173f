"""The ``ua-profile`` event package for XML documents (OMA XDM 1.0; RFC 6080)."""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING

from twisted.logger import Logger

from pysip.errors import SipError
from pysip.event.notification import Notification
from pysip.header import accepts, format_date, parse_accept, quote
from pysip.mime import Part, write_multipart
from xcap.notifier import DIFF, DocumentPackage
from xcap.records import DocumentKey
from xcap.selection import Component, SelectionError, Terms, profile_uri

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pysip.auth.domains import Domains
    from pysip.event.interfaces import ISubscription
    from pysip.message import Request
    from xcap.changes import Entry, Report
    from xcap.feed import ChangeFeed
    from xcap.interfaces import ISubscribers
    from xcap.notifier import NotifierSettings
    from xcap.records import Requester
    from xcap.watch import Watch

INDIRECT = "message/external-body"
_VALID_SECONDS = 86400
"""How long a URI in a notification is said to be good for."""
_TYPED = ("vendor", "model", "version")


class UaProfilePackage(DocumentPackage):
    """Changes of the documents that the parameters of ``Event`` name.

    :param wall: wall-clock seconds.
    """

    name = event = "ua-profile"
    default_expires = 86400
    notify_types = (DIFF, INDIRECT)
    subscribe_types = ("*/*",)  # ignored (UAP-07)

    _log = Logger()

    def __init__(
        self,
        feed: ChangeFeed,
        subscribers: ISubscribers,
        domains: Domains,
        settings: NotifierSettings,
        wall: Callable[[], float],
    ) -> None:
        super().__init__(feed, subscribers, domains, settings)
        self._wall = wall

    def choose_type(self, request: Request) -> str:
        """A change document, or a reference, or "" for no body at all (UAP-06).

        :raises SipError: 406.
        """
        accept = request.headers.get("accept")
        if accept is None:
            return ""
        ranges = parse_accept(accept)
        if accepts(ranges, DIFF):
            return DIFF
        if accepts(ranges, INDIRECT):
            return INDIRECT
        raise SipError(406, None, (("Accept", f"{DIFF}, {INDIRECT}"),))

    def _terms(self, request: Request, subscription: ISubscription, former: Terms | None) -> Terms:
        """What the parameters of Event name (UAP-01 to UAP-03).

        :raises SelectionError: 404 or 403 (UAP-05).
        """
        params: Mapping[str, str | None] = request.event.params if request.event else {}
        kind = params.get("profile-type")
        if former is not None and kind is None:
            return former
        if kind is None or kind.lower() != "application":
            raise SelectionError(404, "profile-type is not offered here")
        missing = [name for name in _TYPED if params.get(name) is None]
        if missing:
            self._log.info("ua-profile subscription without {missing}", missing=missing)
        auid, document = params.get("auid") or "", params.get("document") or ""
        requester = self.resolver.requester(subscription.watcher.uris)
        root = self.settings.roots[0]
        uris: tuple[str, ...] = ()
        if auid or document:
            uri = profile_uri(auid, document, requester.identity)
            self._check(root, uri, requester)
            uris = (uri,)
        terms = Terms(
            root,
            uris,
            home=not uris,
            mode=self.settings.profile_mode,
            draft=params.get("vendor") in self.settings.draft_vendors,
            params=(auid, document),
        )
        subscription.event_params = self._event_params(terms, None)
        return terms

    def _check(self, root: str, uri: str, requester: Requester) -> None:
        """See that there can be what is named, and that it may be read (UAP-05).

        :raises SelectionError: 404 or 403.
        """
        place = self.resolver.collection(root, uri)
        found: DocumentKey | Component | None
        if place is not None and len(place) > 2:
            usage = self.feed.usages.get(place[1])
            tree, xui = place[2], "".join(place[3:4]) if place[2] == "users" else ""
            if usage is None or tree not in usage.trees or not (xui or tree == "global"):
                raise SelectionError(404, "no such collection of documents")
            found = DocumentKey(root, place[1], xui, "index")
        else:
            found = self.resolver.document(root, uri)
        if not isinstance(found, DocumentKey):
            raise SelectionError(404, "there can be no such document")
        if found.xui and not self.subscribers.known(found.xui):
            raise SelectionError(403, "no such user")
        if not self.resolver.may_read(requester, found):
            raise SelectionError(403, "document may not be read")

    # -- NOTIFY -------------------------------------------------------------------------

    def _notification(
        self, subscription: ISubscription, watch: Watch, report: Report, digest: int
    ) -> Notification:
        params = self._event_params(watch.terms, report)
        if params != subscription.event_params:
            subscription.event_params = params
            subscription.reset_head()
        if subscription.content_type == INDIRECT:
            return self._indirect(watch, report, digest)
        if subscription.content_type != DIFF:
            return Notification("", b"", digest)
        return super()._notification(subscription, watch, report, digest)

    def _event_params(self, terms: Terms, report: Report | None) -> str:
        """``profile-type`` and the changed document, for OMA clients (UAP-09).

        A notification of several documents repeats what was subscribed to.
        """
        if not self.settings.profile_params:
            return ""
        auid, document = terms.params
        entries = report.entries if report is not None else ()
        keys = {entry.key for entry in entries}
        if len(keys) == 1 and (terms.home or not document or document.endswith("/")):
            auid, _, document = entries[0].sel.partition("/")
        text = ';profile-type="application"'
        if auid:
            text += f";auid={quote(auid)}"
        if document:
            text += f";document={quote(document)}"
        return text

    def _indirect(self, watch: Watch, report: Report, digest: int) -> Notification:
        """References to the documents that there are (RFC 4483)."""
        parts = [
            self._reference(watch.terms.root, entry) for entry in report.entries if entry.after
        ]
        if not parts:
            return Notification("", b"", digest)
        if len(parts) == 1:
            return Notification(parts[0].headers["content-type"][0], parts[0].body, digest)
        boundary = blake2b(b"".join(part.body for part in parts), digest_size=16).hexdigest()
        return Notification(*write_multipart(parts, "mixed", boundary), digest)

    def _reference(self, root: str, entry: Entry) -> Part:
        expiration = format_date(self._wall() + _VALID_SECONDS)
        content_type = (
            f'{INDIRECT};access-type="URL";expiration="{expiration}";URL={quote(root + entry.sel)}'
        )
        mime_type = self.feed.usages[entry.key.auid].mime_type
        name = blake2b(repr(entry.key).encode(), digest_size=8).hexdigest()
        host = root.partition("//")[2].partition("/")[0].partition(":")[0]
        inner = (
            f"Content-Type: {mime_type}\r\n"
            f"Content-ID: <{name}.{entry.after}@{host}>\r\n"
            "Content-Disposition: render\r\n\r\n"
        )
        return Part({"content-type": [content_type]}, inner.encode())
