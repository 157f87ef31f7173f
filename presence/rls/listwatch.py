"""What the subscriber of a list knows: the tables of RFC 4662 section 5.6."""

from __future__ import annotations

import attrs

from presence.rls.model import Names
from presence.rls.rlmi import ListedInstance, ListedResource, Rlmi, State, read_related
from presence.watching.cache import PresenceCache
from presence.watching.media import DIFF_TYPE, PIDF_TYPE, RELATED_TYPE
from presence.watching.objects import WatchedObject
from pysip.header import MediaType
from pysip.mime import Part, Related


@attrs.frozen(slots=True)
class WatchedInstance:
    """One notifier of a member.

    :ivar state: ``active``, ``pending`` or ``terminated``.
    :ivar reason: why it is terminated; nothing is to be done because of it (RLS-11).
    :ivar content_type: Content-Type of the document with its parameters.
    :ivar document: the state of the member; None where there is none, and for a list.
    :ivar nested: the members, where the member is a list of another server (RLS-15).
    :ivar cache: what differences are applied to, and what has objects; None without such.
    """

    id: str
    state: State
    reason: str = ""
    content_type: str = ""
    document: bytes | None = None
    nested: WatchedList | None = attrs.field(default=None, eq=False)
    cache: PresenceCache | None = attrs.field(default=None, eq=False)

    @property
    def objects(self) -> dict[str, WatchedObject]:
        """The objects that the document refers to, by Content-ID (CIN-08)."""
        return {} if self.cache is None else self.cache.objects


@attrs.frozen(slots=True)
class WatchedMember:
    """A row of the table.

    :ivar uri: as the list has it.
    :ivar names: display names, with their languages.
    :ivar instances: one at most for packages that do not fork, such as presence.
    """

    uri: str
    names: Names = ()
    instances: tuple[WatchedInstance, ...] = ()

    @property
    def instance(self) -> WatchedInstance | None:
        """The first instance, None without any."""
        return self.instances[0] if self.instances else None


@attrs.frozen(slots=True)
class Taken:
    """What became of the body of a NOTIFY.

    :ivar processed: it was newer than what was known.
    :ivar refresh: something is missing: a refresh would bring full state (RLS-26).
    :ivar full: it has replaced the table.
    :ivar changed: URIs of the members that are new or not what they were.
    :ivar removed: URIs of the members that are gone.
    """

    processed: bool
    refresh: bool = False
    full: bool = False
    changed: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()


class WatchedList:
    """The table that a list subscription keeps; a new subscription begins with a new one.

    :ivar version: of the document taken last; None before the first.
    :ivar uri: of the list.
    :ivar names: of the list.
    :ivar members: by URI, in the order of the list.
    """

    def __init__(self) -> None:
        self.version: int | None = None
        self.uri = ""
        self.names: Names = ()
        self.members: dict[str, WatchedMember] = {}

    def take(self, content_type: str | MediaType, body: bytes) -> Taken:
        """Take the body of a NOTIFY (RLS-26, CLI-15); an empty one tells nothing (RLS-29).

        Full state replaces the table.  Partial state changes the members that it lists, also
        after a gap, for which a refresh is to be sent.  What is not newer is discarded.

        :raises ValueError: it is no list notification, and has changed nothing.
        """
        if not body:
            return Taken(False)
        rlmi, related = read_related(content_type, body)
        return self._take(rlmi, related)

    def _take(self, rlmi: Rlmi, related: Related) -> Taken:
        known = self.version
        if known is not None and rlmi.version <= known:
            return Taken(False)
        refresh = not rlmi.full and (known is None or rlmi.version != known + 1)
        self.version = rlmi.version
        self.uri = rlmi.uri
        if rlmi.full or rlmi.names:
            self.names = rlmi.names
        before = self.members
        if rlmi.full:
            self.members = {}
        changed: dict[str, None] = {}
        for resource in rlmi.resources:
            old = before.get(resource.uri)
            row, is_changed, is_missing = _row(resource, old, related, rlmi.full)
            self.members[row.uri] = row
            refresh = refresh or is_missing
            if is_changed or row != old:
                changed[row.uri] = None
        removed = tuple(uri for uri in before if uri not in self.members) if rlmi.full else ()
        return Taken(True, refresh, rlmi.full, tuple(changed), removed)


def _row(
    resource: ListedResource, old: WatchedMember | None, related: Related, full: bool
) -> tuple[WatchedMember, bool, bool]:
    """The new row of a member; whether a list in it has changed, and whether one lacks something.

    Names that a partial document leaves out are kept.
    """
    former = {instance.id: instance for instance in old.instances} if old is not None else {}
    instances: list[WatchedInstance] = []
    changed = missing = False
    for listed in resource.instances:
        instance, taken = _instance(listed, former.get(listed.id), related, full)
        instances.append(instance)
        changed = changed or taken.processed
        missing = missing or taken.refresh
    names = resource.names
    if old is not None and not full and not names:
        names = old.names
    return WatchedMember(resource.uri, names, tuple(instances)), changed, missing


def _instance(
    listed: ListedInstance, old: WatchedInstance | None, related: Related, full: bool
) -> tuple[WatchedInstance, Taken]:
    """What is known of an instance now, and what became of the list in it.

    An active one without its part, which RLS-09 forbids, keeps what it had; a list in it that
    cannot be read stays what it was.
    """
    untouched = Taken(False)
    part = related.find(listed.cid) if listed.cid else None
    if part is None:
        plain = WatchedInstance(listed.id, listed.state, listed.reason)
        if listed.state != "active" or full or old is None:
            return plain, untouched
        kept = attrs.evolve(
            plain,
            content_type=old.content_type,
            document=old.document,
            nested=old.nested,
            cache=old.cache,
        )
        return kept, untouched
    kind = part.first("content-type") or "text/plain"
    instance = WatchedInstance(listed.id, listed.state, listed.reason, kind)
    inner = _list_in(part)
    if inner is None:
        return _presence(instance, part, old)
    nested = old.nested if old is not None and old.nested is not None else WatchedList()
    try:
        taken = nested.take(inner.content_type, inner.body)
    except ValueError:
        taken = untouched
    return attrs.evolve(instance, nested=nested), taken


def _presence(
    instance: WatchedInstance, part: Part, old: WatchedInstance | None
) -> tuple[WatchedInstance, Taken]:
    """An instance with its document, which may come as a difference or with objects (PNO-11)."""
    cache = old.cache if old is not None else None
    media = part.content_type
    if media.type not in (DIFF_TYPE, RELATED_TYPE):
        if cache is not None:
            cache.clear()  # its versions go on (PNO-08)
        return attrs.evolve(instance, document=part.body, cache=cache), Taken(False)
    if cache is None:
        cache = PresenceCache()
    missing = cache.take(media, part.body) in ("lost", "failed")
    document = cache.document
    if missing and document is None and old is not None:
        document = old.document
    told = attrs.evolve(instance, content_type=cache.content_type, document=document, cache=cache)
    return told, Taken(False, missing)


def _list_in(part: Part) -> Part | None:
    """The list notification in a part, also in one that was signed; None without any.

    Whether the signature is good is not looked at.
    """
    if part.content_type.type == "multipart/signed" and part.parts:
        part = part.parts[0]
    if part.content_type.type != RELATED_TYPE:
        return None
    kind = part.content_type.params.get("type") or ""
    if not kind and part.parts:
        kind = part.parts[0].content_type.type
    # that of a presentity has a document as its root, and objects beside it
    return None if kind.lower() in (PIDF_TYPE, DIFF_TYPE) else part
