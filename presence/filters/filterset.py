"""The filters of a subscription: their life and whom they are for (FLT-20 to FLT-25, FLT-28)."""

from __future__ import annotations

from collections.abc import Callable, Collection
from decimal import Decimal
from functools import lru_cache
from typing import Final

import attrs
import msgspec

from presence.filters.errors import FilterError
from presence.filters.expression import Path, parse_expression, write_expression
from presence.filters.model import (
    MAX_EXPRESSIONS,
    MAX_FILTERS,
    Changes,
    Condition,
    Filter,
    Namespace,
    Selection,
    Trigger,
    What,
)
from presence.filters.target import canonical, domain_of
from presence.filters.write import Prefixes, write_filters

_CACHED: Final = 2048
"""Octets of a durable form that is remembered with its meaning."""


def nowhere(domain: str) -> bool:
    """No domain is served or administered."""
    return False


@attrs.frozen(slots=True, cache_hash=True)
class FilterSet:
    """The filters that live with a subscription; empty at first.

    :ivar filters: in the order in which they were placed.
    """

    filters: tuple[Filter, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.filters)

    def changed(self, changes: Changes, resource: str = "") -> FilterSet:
        """The filters after a SUBSCRIBE (FLT-21, FLT-22).

        Removals come first. One of an id that is not there changes nothing, and neither does
        disabling it.

        :param resource: what is subscribed to, a filter for which is one without ``uri``.
        :raises FilterError: 488; this set stays as it is.
        """
        filters = {each.id: each for each in self.filters if each.id not in changes.removed}
        for new in changes.filters:
            old = filters.get(new.id)
            if new.empty:
                if old is None:
                    if new.enabled:
                        raise FilterError("filter without what and trigger")
                    continue
                new = _switched(old, new)
                if new.enabled and new.empty:
                    raise FilterError("filter without what and trigger")
            filters[new.id] = new
        return FilterSet(_checked(tuple(filters.values()), resource))

    def chosen(
        self,
        resource: str,
        *,
        aliases: Collection[str] = (),
        serves: Callable[[str], bool] = nowhere,
    ) -> Filter | None:
        """The filter in force for a resource, None when everything is told (FLT-20).

        One for the resource comes before one for its domain (FLT-25); others, for whomever
        they are, are passed over (FLT-23).

        :param resource: canonical URI of what is subscribed to.
        :param aliases: other canonical URIs of it.
        :param serves: whether this server is responsible for a domain (FLT-24).
        """
        found = None
        for each in self.filters:
            if not each.enabled:
                continue
            if each.domain:
                if each.domain == domain_of(resource) and serves(each.domain):
                    found = found or each
            elif not each.uri or (key := canonical(each.uri)) == resource or key in aliases:
                return each
        return found

    def for_member(
        self,
        member: str,
        resource: str,
        *,
        is_member: Callable[[str], bool],
        administers: Callable[[str], bool],
    ) -> FilterSet:
        """What goes into the back-end SUBSCRIBE to a member of a list, ids kept (FLT-28).

        :func:`presence.filters.write.write_filters` makes a document of it, and
        :func:`changes_between` what turns the one of a running subscription into another.

        :param member: canonical URI of the member.
        :param resource: canonical URI of the list.
        :param is_member: whether a canonical URI is one of the list.
        :param administers: whether a domain is ours.
        """
        general = own = None
        others = []
        for each in self.filters:
            if not each.enabled:
                continue
            target = _target(each, resource)
            if each.domain:
                others.append(each)
            elif not target:
                # at the member it is about whomever is subscribed to
                general = attrs.evolve(each, uri="")
            elif target == member:
                own = each
            elif not is_member(target) and not administers(domain_of(target)):
                others.append(each)
        first = own or general
        return FilterSet((first, *others) if first is not None else tuple(others))

    def for_list(
        self,
        resource: str,
        *,
        is_member: Callable[[str], bool],
        administers: Callable[[str], bool],
    ) -> FilterSet:
        """What the list server applies itself, wherever the resource turns up (FLT-28).

        Filters for resources in its administration that are no members: they go nowhere, so
        that no foreign domain learns of them (RFC 4660 section 8).
        """
        return FilterSet(
            tuple(
                each
                for each in self.filters
                if each.enabled
                and not each.domain
                and (target := _target(each, resource))
                and not is_member(target)
                and administers(domain_of(target))
            )
        )

    def encode(self) -> bytes:
        """The durable form; b"" of an empty set."""
        if not self.filters:
            return b""
        prefixes = Prefixes("any")
        kept = [_keep(each, prefixes) for each in self.filters]
        return _encode(_KeptSet(prefixes.bindings, kept))

    @classmethod
    def decode(cls, data: bytes) -> FilterSet:
        """What :meth:`encode` made, of this or a later release.

        :raises ValueError: it is nothing like that.
        """
        if not data:
            return cls()
        return _decoded(data) if len(data) <= _CACHED else _read(data)


def changes_between(before: FilterSet, after: FilterSet, *, package: str = "") -> bytes:
    """The document that makes the filters of a running subscription into others (FLT-29).

    :return: b"" when they are the same.
    """
    known = {each.id: each for each in before.filters}
    gone = known.keys() - {each.id for each in after.filters}
    placed = [each for each in after.filters if known.get(each.id) != each]
    return write_filters(placed, package=package, removed=gone)


def _switched(old: Filter, new: Filter) -> Filter:
    """A filter enabled or disabled, perhaps with another target, its contents kept."""
    if new.uri or new.domain:
        return attrs.evolve(new, what=old.what, triggers=old.triggers)
    return attrs.evolve(old, enabled=new.enabled)


def _checked(filters: tuple[Filter, ...], resource: str) -> tuple[Filter, ...]:
    """The filters, within limits and each for something else."""
    if len(filters) > MAX_FILTERS:
        raise FilterError(f"more than {MAX_FILTERS} filters")
    if sum(each.expressions for each in filters) > MAX_EXPRESSIONS:
        raise FilterError(f"more than {MAX_EXPRESSIONS} expressions")
    targets = {(each.domain, _target(each, resource)) for each in filters}
    if len(targets) < len(filters):
        raise FilterError("two filters for one resource or domain")
    return filters


def _target(each: Filter, resource: str) -> str:
    """Canonical URI that a filter is for; "" for what is subscribed to, and for a domain."""
    target = canonical(each.uri)
    return "" if target == canonical(resource) else target


class _KeptCondition(msgspec.Struct, omit_defaults=True):
    """Durable form of a :class:`.Condition`."""

    kind: str
    path: str
    old: str | None = None
    new: str | None = None
    by: str | None = None


class _KeptFilter(msgspec.Struct, omit_defaults=True):
    """Durable form of a :class:`.Filter`; selections by kind and text."""

    id: str
    uri: str = ""
    domain: str = ""
    enabled: bool = True
    includes: list[tuple[str, str]] = []
    excludes: list[tuple[str, str]] = []
    triggers: list[list[_KeptCondition]] = []


class _KeptSet(msgspec.Struct):
    """Durable form of a :class:`FilterSet`."""

    bindings: dict[str, str]
    filters: list[_KeptFilter]


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_KeptSet).decode


def _keep(each: Filter, prefixes: Prefixes) -> _KeptFilter:
    def selection(one: Selection) -> tuple[str, str]:
        if isinstance(one, Path):
            return "xpath", write_expression(one, prefixes)
        return "namespace", one.uri

    return _KeptFilter(
        each.id,
        each.uri,
        each.domain,
        each.enabled,
        [selection(one) for one in each.what.includes],
        [selection(one) for one in each.what.excludes],
        [
            [
                _KeptCondition(
                    one.kind,
                    write_expression(one.path, prefixes),
                    one.old,
                    one.new,
                    None if one.by is None else f"{one.by:f}",
                )
                for one in trigger.conditions
            ]
            for trigger in each.triggers
        ],
    )


@lru_cache(maxsize=256)
def _decoded(data: bytes) -> FilterSet:
    """Many watchers have the same client, and so the same filters."""
    return _read(data)


def _read(data: bytes) -> FilterSet:
    try:
        kept = _decode(data)
    except msgspec.MsgspecError as error:
        raise ValueError("not a set of filters") from error
    return FilterSet(tuple(_restored(each, kept.bindings) for each in kept.filters))


def _restored(kept: _KeptFilter, bindings: dict[str, str]) -> Filter:
    def selection(one: tuple[str, str]) -> Selection:
        kind, text = one
        return parse_expression(text, bindings) if kind == "xpath" else Namespace(text)

    def condition(one: _KeptCondition) -> Condition:
        path = parse_expression(one.path, bindings)
        by = None if one.by is None else Decimal(one.by)
        if one.kind == "changed":
            return Condition("changed", path, one.old, one.new, by)
        return Condition("added" if one.kind == "added" else "removed", path)

    return Filter(
        kept.id,
        kept.uri,
        kept.domain,
        kept.enabled,
        What(tuple(map(selection, kept.includes)), tuple(map(selection, kept.excludes))),
        tuple(Trigger(tuple(map(condition, each))) for each in kept.triggers),
    )
