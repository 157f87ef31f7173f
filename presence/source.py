"""The Presence Source: publishes what is known about a presentity (oma-presence.md 5)."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

import attrs
from lxml import etree
from zope.interface import implementer

from presence.objects.references import mentioned, pointed
from presence.partial.difference import difference
from presence.partial.documents import CONTENT_TYPE as DIFF_TYPE
from presence.partial.documents import full, partial
from presence.pidf import names
from presence.pidf.parse import DocumentError, parse, to_utf8
from presence.pidf.vocabulary import ACTIVITIES, MOODS, PLACES
from presence.pidf.write import serialize
from presence.publishing.interfaces import ISourceDelegate
from presence.publishing.objects import KeepingTerms, SourceObject, SourceObjects
from presence.publishing.telling import taken_after
from pysip.errors import ParseError
from pysip.event.interfaces import IPartialEncoding, IPublisherDelegate
from pysip.event.publisher import Document, Publication, PublicationTerms, Publisher
from pysip.timers import Alarm
from pysip.uri import canonical_aor

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from twisted.internet.defer import Deferred

    from presence.content.errors import ContentError
    from presence.content.interfaces import IOwnObjects
    from pysip.auth.client import ClientCredentials
    from pysip.message import Response

PIDF_TYPE = "application/pidf+xml"
_ICON = "icon"
"""What :meth:`PresenceSource.document` calls the icon."""

_HOST = re.compile(r"[A-Za-z0-9.-]+")
_LIVES = 4
"""Lifetimes of a publication that an object is stored for.  Each new life of an object is told
to the server, and that shall not happen at each refresh; and there is time to find out that the
Content Server has lost it."""
_RPID = f"{{{names.RPID}}}"
_OMA = f"{{{names.OMA}}}"
_NAMESPACES: dict[str, str] = {
    None: names.PIDF,  # type: ignore[dict-item]  # the stubs know no default namespace
    "dm": names.DM,
    "rpid": names.RPID,
    "lt": names.LOCATION_TYPE,
    "op": names.OMA,
}


@attrs.frozen(slots=True, kw_only=True)
class Status:
    """What a source says of a presentity.

    :ivar basic: whether the presentity can be reached here.
    :ivar note: free text about the person, or "".
    :ivar contact: where it can be reached; "" for the presentity's own URI.
    :ivar activities: what the person does, by their names in RFC 4480 section 3.2; what has no
        name there is told as it is.
    :ivar moods: how it feels, likewise (section 3.4).
    :ivar place: what kind of place it is at, likewise (RFC 4589), or "".
    :ivar sphere: ``home``, ``work``, ``unknown`` or "".
    :ivar icon: a picture of what it does: its URI, or the picture itself; "" for none.
    """

    basic: Literal["open", "closed"] = "open"
    note: str = ""
    contact: str = ""
    activities: tuple[str, ...] = ()
    moods: tuple[str, ...] = ()
    place: str = ""
    sphere: Literal["", "home", "work", "unknown"] = ""
    icon: str | SourceObject = ""

    @property
    def personal(self) -> bool:
        """Whether it says something of the person."""
        return bool(
            self.note or self.activities or self.moods or self.place or self.sphere or self.icon
        )


@attrs.frozen(slots=True, kw_only=True)
class SourceTerms:
    """Who publishes for whom, and how.

    :ivar presentity: URI of the presentity.
    :ivar local_uri: From value without tag.
    :ivar expires: lifetime to ask for, seconds.
    :ivar throttle: SOURCE-THROTTLE-PUBLISH: least seconds between two PUBLISH, 0 for no limit.
    :ivar service_id: ``op:service-id`` of the tuple (OMA-D03).
    :ivar version: ``op:version`` of the service.
    :ivar device: ``dm:deviceID``, a URN, or "" when it is not known.
    :ivar route: preloaded Route values.
    :ivar credentials: to answer challenges with.
    :ivar partial: tell the server what has changed, if it takes that and it is less (PPU-07).
    :ivar object_limit: CLIENT-OBJ-DATA-LIMIT: octets up to which an object goes in the PUBLISH;
        0 for never (SRC-03, AGP-116).
    :ivar patience: seconds that presence waits for its objects to be read and stored; then it is
        published without those that are not there yet.
    """

    presentity: str
    local_uri: str
    expires: int = 3600
    throttle: float = 10.0
    service_id: str = names.PLAIN_SERVICE
    version: str = "1.0"
    device: str = ""
    route: tuple[str, ...] = ()
    credentials: ClientCredentials | None = None
    partial: bool = False
    object_limit: int = 5120
    patience: float = 5.0


@implementer(IPartialEncoding)
class PidfChanges:
    """PIDF documents told as ``pidf-full`` and ``pidf-diff`` (RFC 5264, PPU-07).

    :param presentity: URI that changes name.
    """

    def __init__(self, presentity: str) -> None:
        self._presentity = presentity

    def whole(self, state: Document) -> Document:
        """A document as ``pidf-full``."""
        return Document(DIFF_TYPE, full(to_utf8(state.body)))

    def change(self, before: Document, state: Document) -> Document | None:
        """The ``pidf-diff`` between two documents; None when it would be no smaller."""
        made = difference(to_utf8(before.body), to_utf8(state.body))
        return None if made is None else Document(DIFF_TYPE, partial(made, self._presentity))


@implementer(IPublisherDelegate)
class PresenceSource:
    """One source of presence of one presentity: one publication (SRC-01, OMP-05).

    Several sources of one presentity are several objects; the publisher they share keeps
    them from sending at once (PUA-02).

    Objects that a status or document has go with it, whole or by reference to the Content
    Server, where they are kept while they are published (SRC-03).  A server that takes no
    references is told their URLs in the document instead, and one that takes no multipart at all
    likewise; what cannot be told is left out.

    :param publisher: of the user agent to publish with.
    :param terms: who and how.
    :param delegate: is told how it goes; of objects, too, if it is an :class:`ISourceDelegate`.
    :param wall: wall-clock seconds, for timestamps.
    :param store: the user's Content Server, None for none.
    """

    def __init__(
        self,
        publisher: Publisher,
        terms: SourceTerms,
        delegate: IPublisherDelegate,
        wall: Callable[[], float],
        store: IOwnObjects | None = None,
    ) -> None:
        self.terms = terms
        self._delegate = delegate
        self._wall = wall
        self._wheel = publisher.ua.wheel
        self._base = b""  # what is to be published, but for the URLs of its objects
        self._named: Mapping[str, SourceObject] = {}
        self._made: Document | None = None  # what was made of them
        self._waits = False
        self._alarm = Alarm(self._tell)
        self._stamped = 0.0  # wall-clock seconds of the last document
        tokens = publisher.ua.tokens
        # Chosen once: ids live as long as the publication (PUA-04).
        self._tuple_id = f"t{tokens.random(8)}"
        self._person_id = f"p{tokens.random(8)}"
        self._device_id = f"d{tokens.random(8)}"
        self.publication = Publication(
            publisher,
            PublicationTerms(
                uri=terms.presentity,
                local_uri=terms.local_uri,
                package="presence",
                expires=terms.expires,
                interval=terms.throttle,
                route=terms.route,
                credentials=terms.credentials,
                partial=PidfChanges(terms.presentity) if terms.partial else None,
                instead=self._instead,
            ),
            self,
        )
        host = terms.presentity.partition(";")[0].rpartition("@")[2]
        keeping = KeepingTerms(
            host=host if _HOST.fullmatch(host) else "presence.invalid",
            limit=terms.object_limit,
            life=_LIVES * terms.expires,
        )
        self._objects = SourceObjects(
            publisher.ua, store, keeping, wall, self._changed, self._object_failed
        )

    def set_status(self, status: Status) -> None:
        """Publish a status; within the throttle interval the last one counts (SRC-02)."""
        icon = status.icon
        objects = {_ICON: icon} if isinstance(icon, SourceObject) else {}
        self._publish(self.document(status), objects)

    def set_document(
        self, document: bytes, objects: Mapping[str, SourceObject] | None = None
    ) -> None:
        """Publish a document made elsewhere; its tuple ids are its maker's duty (PUA-04).

        :param objects: those that it refers to by ``cid:`` URLs, by Content-ID; what they are
            called in the end is made of their content (AGP-114).
        :raises DocumentError: it is not well-formed, no PIDF, or of another presentity.
        """
        root = parse(to_utf8(document))
        if root.tag != names.PRESENCE:
            raise DocumentError(400, "the root element is not presence of PIDF")
        entity = root.get("entity", "")
        try:
            same = canonical_aor(entity) == canonical_aor(self.terms.presentity)
        except ParseError:
            same = False
        if not same:
            raise DocumentError(400, f"its entity is not {self.terms.presentity}")
        self._publish(document, objects or {})

    def stop(self) -> Deferred[None]:
        """Remove the publication (SRC-05), then its objects (AGP-117); never fails."""
        self._wheel.cancel(self._alarm)
        self._base, self._named, self._made = b"", {}, None
        self._waits = False
        return self.publication.remove().addCallback(self._removed)

    def _removed(self, _: None) -> Deferred[None] | None:
        if self._base:
            return None  # published again meanwhile
        return self._objects.stop().addCallback(lambda _: None)

    # -- objects ------------------------------------------------------------------------

    def _publish(self, base: bytes, objects: Mapping[str, SourceObject]) -> None:
        """Publish a document as soon as its objects are ready, or when that takes too long."""
        if objects:
            used = mentioned(base)
            objects = {name: each for name, each in objects.items() if name in used}
        self._base, self._named, self._made = base, objects, None
        if self._objects.want(objects.values()) and not self._waits:
            self._waits = True
            self._wheel.after(self.terms.patience, self._alarm)
        if not (self._waits and self._objects.waiting):
            self._tell()

    def _tell(self) -> None:
        """Publish what there is now."""
        self._wheel.cancel(self._alarm)
        self._waits = False
        self._made = self._document()
        self.publication.publish(self._made)

    def _document(self) -> Document:
        """The state to publish, with the objects that can be told."""
        if not self._named:
            return Document(PIDF_TYPE, self._base)
        shown = {name: self._objects.shown(each) for name, each in self._named.items()}
        urls = {name: None if each is None else each.url for name, each in shown.items()}
        parts = {each.url: each.part for each in shown.values() if each and each.part}
        return Document(PIDF_TYPE, pointed(self._base, urls), tuple(parts.values()))

    def _changed(self) -> None:
        """An object can be told otherwise than before."""
        if not self._base or (self._waits and self._objects.waiting):
            return
        if self._made is None or self._document() != self._made:
            self._tell()

    def _instead(self, refused: Document, response: Response) -> Document | None:
        """What to publish to a server that does not take a document with its objects (CIN-04)."""
        accept = response.values("accept") if "accept" in response else None
        before = self._objects.taken
        taken = taken_after(before, refused.parts, response.status, accept)
        if taken is None or taken == before or not self._base:
            return None
        self._objects.take(taken)
        self._made = self._document()
        return self._made

    def _object_failed(
        self, object: SourceObject, error: ContentError, retry_after: float | None
    ) -> None:
        delegate = self._delegate
        if ISourceDelegate.providedBy(delegate):
            delegate.object_failed(object, error, retry_after)

    def published(self, lifetime: int) -> None:
        """See :class:`IPublisherDelegate`; objects that are not published any more go."""
        if self._made is not None and self.publication.known is self._made:
            self._objects.settle()
        self._delegate.published(lifetime)

    def publication_failed(self, response: Response | None, retry_after: float | None) -> None:
        """See :class:`IPublisherDelegate`."""
        self._delegate.publication_failed(response, retry_after)

    # -- documents ----------------------------------------------------------------------

    def document(self, status: Status) -> bytes:
        """The presence document of a status (SRC-04).

        It has one tuple, a person when there is something to say of one, and the device when
        it is known.
        """
        terms = self.terms
        now = self._timestamp()
        root = etree.Element(names.PRESENCE, nsmap=_NAMESPACES)
        root.set("entity", terms.presentity)
        service = etree.SubElement(root, names.TUPLE, id=self._tuple_id)
        _add(etree.SubElement(service, names.STATUS), names.BASIC, status.basic)
        description = etree.SubElement(service, f"{_OMA}service-description")
        _add(description, f"{_OMA}service-id", terms.service_id)
        _add(description, f"{_OMA}version", terms.version)
        if terms.device:
            _add(service, names.DEVICE_ID, terms.device)
        _add(service, names.CONTACT, status.contact or terms.presentity)
        _add(service, names.TIMESTAMP, now)
        if status.personal:
            self._add_person(root, status, now)
        if terms.device:
            device = etree.SubElement(root, names.DEVICE, id=self._device_id)
            _add(device, names.DEVICE_ID, terms.device)
            _add(device, names.DM_TIMESTAMP, now)
        return serialize(root)

    def _add_person(self, root: etree._Element, status: Status, now: str) -> None:
        person = etree.SubElement(root, names.PERSON, id=self._person_id)
        _add_values(person, names.ACTIVITIES, status.activities, _RPID, ACTIVITIES)
        _add_values(person, names.MOOD, status.moods, _RPID, MOODS)
        places = (status.place,) if status.place else ()
        _add_values(person, names.PLACE_TYPE, places, f"{{{names.LOCATION_TYPE}}}", PLACES)
        if status.sphere:
            etree.SubElement(etree.SubElement(person, names.SPHERE), _RPID + status.sphere)
        if status.icon:
            url = f"cid:{_ICON}" if isinstance(status.icon, SourceObject) else status.icon
            _add(person, f"{_RPID}status-icon", url)
        if status.note:
            _add(person, names.DM_NOTE, status.note)
        _add(person, names.DM_TIMESTAMP, now)

    def _timestamp(self) -> str:
        """The time now, later than in every document before (PID-07)."""
        self._stamped = max(self._wall(), self._stamped + 0.001)
        now = datetime.fromtimestamp(self._stamped, UTC)
        return now.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _add(parent: etree._Element, tag: str, text: str) -> None:
    etree.SubElement(parent, tag).text = text


def _add_values(
    parent: etree._Element, tag: str, values: Sequence[str], space: str, words: Collection[str]
) -> None:
    """A container of values, none without any; ``unknown`` stands alone (RFC 4480 section 5.1)."""
    told = [value for value in values if value != "unknown"] or list(values)[:1]
    if not told:
        return
    container = etree.SubElement(parent, tag)
    for value in told:
        if value in words:
            etree.SubElement(container, space + value)
        else:
            _add(container, f"{_RPID}other", value)
