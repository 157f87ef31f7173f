"""Filters to filter documents (RFC 4661): for the client library and for propagation (FLT-29)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from presence.filters.document import NAMESPACE
from presence.filters.expression import ANY, Path, write_expression
from presence.filters.model import Condition, Filter, Selection
from presence.pidf import names
from presence.xmltext import quote

_PREFIXES: Final = {
    **names.PREFIXES,
    names.PIDF: "pidf",
    "urn:ietf:params:xml:ns:watcherinfo": "wi",
}


class Prefixes:
    """Prefixes for the namespaces of expressions, given as they are met.

    :ivar bindings: namespaces by prefix.
    """

    __slots__ = ("_any", "_known", "bindings")

    def __init__(self, any_prefix: str = "") -> None:
        self.bindings: dict[str, str] = {}
        self._known: dict[str, str] = {}
        self._any = any_prefix

    def __call__(self, namespace: str) -> str:
        """The prefix of a namespace."""
        if namespace == ANY and not self._any:
            return ""
        prefix = self._known.get(namespace)
        if prefix is None:
            if namespace == ANY:
                prefix = self._any
            else:
                prefix = _PREFIXES.get(namespace) or f"ns{len(self.bindings) + 1}"
            self._known[namespace] = prefix
            self.bindings[prefix] = namespace
        return prefix


def write_filters(
    filters: Iterable[Filter], *, package: str = "", removed: Iterable[str] = ()
) -> bytes:
    """A filter document in UTF-8 that says the same when it is read; b"" for nothing at all.

    Filters whose names match in every namespace (FLT-08) can only stand in a document without
    bindings: beside others that need some they are left out.

    :param package: event package it is for; "" for any.
    :param removed: ids of filters to remove.
    """
    placed = tuple(filters)
    bound = [each for each in placed if not _is_loose(each)]
    prefixes = Prefixes()
    written = [_filter(each, prefixes) for each in bound]
    if len(bound) < len(placed) and not prefixes.bindings:
        written = [_filter(each, prefixes) for each in placed]
    elif not prefixes.bindings and any(map(_is_bare, bound)):
        # a name in no namespace would be one in every namespace without any binding
        prefixes(names.PIDF)
    written += [f'<filter id="{quote(id)}" remove="true"/>' for id in sorted(removed)]
    if not written:
        return b""
    bindings = "".join(
        f'<ns-binding prefix="{quote(prefix)}" urn="{quote(urn)}"/>'
        for prefix, urn in prefixes.bindings.items()
    )
    for_package = f' package="{quote(package)}"' if package else ""
    text = (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<filter-set xmlns="{NAMESPACE}"{for_package}>'
        f"{f'<ns-bindings>{bindings}</ns-bindings>' if bindings else ''}"
        f"{''.join(written)}</filter-set>"
    )
    return text.encode()


def _filter(each: Filter, prefixes: Prefixes) -> str:
    attributes = f' id="{quote(each.id)}"'
    if each.uri:
        attributes += f' uri="{quote(each.uri)}"'
    if each.domain:
        attributes += f' domain="{quote(each.domain)}"'
    if not each.enabled:
        attributes += ' enabled="false"'
    inner = ""
    if each.what:
        selections = [_selection("include", one, prefixes) for one in each.what.includes]
        selections += [_selection("exclude", one, prefixes) for one in each.what.excludes]
        inner = f"<what>{''.join(selections)}</what>"
    for trigger in each.triggers:
        conditions = (
            _condition(one, prefixes)
            for kind in ("changed", "added", "removed")
            for one in trigger.conditions
            if one.kind == kind
        )
        inner += f"<trigger>{''.join(conditions)}</trigger>"
    return f"<filter{attributes}>{inner}</filter>" if inner else f"<filter{attributes}/>"


def _selection(name: str, selection: Selection, prefixes: Prefixes) -> str:
    if isinstance(selection, Path):
        return f"<{name}>{quote(write_expression(selection, prefixes))}</{name}>"
    return f'<{name} type="namespace">{quote(selection.uri)}</{name}>'


def _condition(condition: Condition, prefixes: Prefixes) -> str:
    attributes = ""
    for name, value in (("from", condition.old), ("to", condition.new)):
        if value is not None:
            attributes += f' {name}="{quote(value)}"'
    if condition.by is not None:
        attributes += f' by="{condition.by:f}"'
    text = quote(write_expression(condition.path, prefixes))
    return f"<{condition.kind}{attributes}>{text}</{condition.kind}>"


def paths_of(each: Filter) -> list[Path]:
    """All expressions of a filter."""
    found = [one for one in each.what.includes + each.what.excludes if isinstance(one, Path)]
    found += [one.path for trigger in each.triggers for one in trigger.conditions]
    return found


def _element_names(each: Filter) -> list[str]:
    """The names of elements in its expressions."""
    return [
        name
        for path in paths_of(each)
        for step in path.steps
        for name in (
            step.name,
            *(one for both in step.conditions for each_ in both for one in each_.path),
        )
    ]


def _is_loose(each: Filter) -> bool:
    """Whether it has names that match in every namespace."""
    return any(name.startswith(f"{{{ANY}}}") for name in _element_names(each))


def _is_bare(each: Filter) -> bool:
    """Whether it has names in no namespace."""
    return any(name[0] not in "{*" for name in _element_names(each))
