"""Resolving resource lists to the URIs they hold (RFC 4826 section 4.5, XDM-28 to XDM-33).

A list may refer to entries and lists in other documents.  A :class:`Resolution` goes through it
step by step: it tells which document it needs next, and is given it or told that there is none.
Who drives it fetches whole documents, each once, so that it knows on which documents the result
depends.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterable, Mapping
from typing import Final, TypeAlias

import attrs
from lxml import etree

from presence.listreferences import BadReference, Place, Reference, References
from presence.rules.conditions import identity_key
from xcap.uri import Step
from xcap.usage.names import DISPLAY_NAME, ENTRY, ENTRY_REF, EXTERNAL, LIST

Names: TypeAlias = tuple[tuple[str, str], ...]
"""Display names in document order: ``xml:lang`` or "", and the text."""

_LANGUAGE: Final = "{http://www.w3.org/XML/1998/namespace}lang"
_MEMBERS: Final = (LIST, ENTRY, ENTRY_REF, EXTERNAL)
_SPACE: Final = " \t\r\n"
_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*(?=:)")
_BATCH: Final = 500
"""Elements between two places where a resolution can pause."""
_PARSED: Final = 4


@attrs.frozen(slots=True)
class Limits:
    """How far a resolution goes (XDM-28).

    :ivar depth: lists within each other, also by reference.
    :ivar uris: entries, those that are dropped as duplicates included.
    :ivar fetches: documents.
    :ivar elements: looked at in all.
    """

    depth: int = 16
    uris: int = 5000
    fetches: int = 100
    elements: int = 50_000


@attrs.frozen(slots=True)
class Problem:
    """Why a list could not be resolved, or not in full.

    :ivar kind: ``malformed`` reference or document, ``elsewhere`` (where none may lead),
        ``unavailable`` (the document cannot be read now), ``missing`` (there is no such
        document or element), ``not-a-list`` (it is something else), ``loop`` or ``limit``.
    :ivar uri: the reference.
    """

    kind: str
    uri: str


@attrs.frozen(slots=True)
class Resolved:
    """The outcome of a resolution.

    :ivar uris: as written, in document order, none twice (XDM-32).
    :ivar problems: what ``uris`` lacks something for.
    :ivar title: display names of the list itself.
    :ivar names: display names of entries, by URI; those without any are left out.
    :ivar found: whether there is the list itself, whatever became of its parts.
    """

    uris: tuple[str, ...]
    problems: tuple[Problem, ...] = ()
    title: Names = ()
    names: Mapping[str, Names] = attrs.field(factory=dict)
    found: bool = True

    @property
    def complete(self) -> bool:
        """Whether everything could be resolved (XDM-30)."""
        return not self.problems


class _EndError(Exception):
    """The traversal ends here."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        self.problem = problem


_Steps: TypeAlias = Generator["Place | None", None, None]


class Resolution:
    """Resolves one list, depth-first in document order (XDM-28).

    :param start: absolute URI of the list; or an element below the XCAP root of
        ``references`` whose children are those of a list (XDM-41).
    :ivar wanted: the document that has to be given next; None while none is.
    :ivar result: None until it is there.
    """

    def __init__(
        self,
        start: str | etree._Element,
        references: References,
        limits: Limits | None = None,
    ) -> None:
        self.wanted: Place | None = None
        self.result: Resolved | None = None
        self._references = references
        self._limits = limits or Limits()
        self._uris: dict[str, None] = {}
        self._names: dict[str, Names] = {}
        self._title: Names | None = None
        self._entries = 0
        self._elements = 0
        self._pause = _BATCH
        self._problems: list[Problem] = []
        self._visited: set[str] = set()
        self._trees: dict[Place, etree._Element | str] = {}
        self._steps: _Steps = (
            self._external(start, 1)
            if isinstance(start, str)
            else self._list(start, references.root, 1)
        )

    def run(self) -> bool:
        """Go on until a document is wanted, all is done, or a while has passed.

        :returns: whether to call it again at once; a pause lets others work between.
        """
        if self.wanted is not None or self.result is not None:
            return False
        try:
            self.wanted = next(self._steps)
        except StopIteration:
            self._finish()
        except _EndError as end:
            self._problems.append(end.problem)
            self._finish()
        return self.wanted is None and self.result is None

    def give(
        self, octets: bytes | None, problem: str = "missing", parser: Parser | None = None
    ) -> None:
        """Give the document that is wanted.

        :param octets: None when there is none, or none can be had.
        :param problem: why there is none: ``missing`` or ``unavailable``.
        :param parser: shared by resolutions that need the same documents.
        """
        if self.wanted is None:
            raise ValueError("no document is wanted")
        if octets is None:
            self._trees[self.wanted] = problem
        else:
            self._trees[self.wanted] = (
                parse_document(octets) if parser is None else parser.parse(octets)
            )
        self.wanted = None

    def _finish(self) -> None:
        self.result = Resolved(
            tuple(self._uris),
            tuple(self._problems),
            self._title or (),
            self._names,
            self._title is not None,
        )
        self._trees.clear()
        self._steps.close()

    # -- traversal ------------------------------------------------------------------------

    def _external(self, anchor: str, depth: int) -> _Steps:
        try:
            reference = self._references.external(anchor)
        except BadReference as error:
            self._problems.append(Problem(error.kind, anchor))
            return
        if reference.uri in self._visited:
            raise _EndError(Problem("loop", anchor))
        self._visited.add(reference.uri)
        yield from self._fetch(reference.place, anchor)
        element = self._find(reference, LIST, anchor)
        if element is not None:
            yield from self._list(element, reference.place.root, depth)

    def _list(self, parent: etree._Element, root: str, depth: int) -> _Steps:
        if depth > self._limits.depth:
            raise _EndError(Problem("limit", ""))
        if self._title is None:
            self._title = display_names(parent)
        for child in parent.iterchildren(*_MEMBERS):
            self._elements += 1
            if self._elements > self._limits.elements:
                raise _EndError(Problem("limit", ""))
            if self._elements >= self._pause:
                self._pause = self._elements + _BATCH
                yield None
            if child.tag == ENTRY:
                self._entry(child, display_names(child))
            elif child.tag == LIST:
                yield from self._list(child, root, depth + 1)
            elif child.tag == EXTERNAL:
                yield from self._external(child.get("anchor", ""), depth + 1)
            else:
                yield from self._entry_ref(child, root)

    def _entry_ref(self, parent: etree._Element, root: str) -> _Steps:
        ref = parent.get("ref", "")
        try:
            reference = self._references.entry(ref, root)
        except BadReference as error:
            self._problems.append(Problem(error.kind, ref))
            return
        yield from self._fetch(reference.place, ref)
        element = self._find(reference, ENTRY, ref)
        if element is not None:
            # who refers to an entry may have a name of its own for it
            self._entry(element, display_names(parent) or display_names(element))

    def _entry(self, element: etree._Element, names: Names) -> None:
        self._entries += 1
        if self._entries > self._limits.uris:
            raise _EndError(Problem("limit", ""))
        uri = element.get("uri", "").strip(_SPACE)
        self._uris[uri] = None
        if names:
            self._names.setdefault(uri, names)

    def _fetch(self, place: Place, uri: str) -> _Steps:
        """Ask for a document unless it was given already."""
        if place not in self._trees:
            if len(self._trees) >= self._limits.fetches:
                raise _EndError(Problem("limit", uri))
            yield place

    def _find(self, reference: Reference, tag: str, uri: str) -> etree._Element | None:
        """The element that a reference names."""
        tree = self._trees[reference.place]
        selector = reference.selector
        if isinstance(tree, str):
            self._problems.append(Problem(tree, uri))
            return None
        if selector.attribute is not None or selector.namespaces:
            element = None
        else:
            element = _select(tree, selector.steps, self._count)
            if element is None:
                self._problems.append(Problem("missing", uri))
                return None
        if element is None or element.tag != tag:
            self._problems.append(Problem("not-a-list", uri))
            return None
        return element

    def _count(self, elements: int) -> None:
        """Selecting is work, too."""
        self._elements += elements // 16
        if self._elements > self._limits.elements:
            raise _EndError(Problem("limit", ""))


def display_names(parent: etree._Element) -> Names:
    """The display names of a list or a member, with their languages (RFC 4826 section 3.2)."""
    return tuple(
        (_language(child), text)
        for child in parent.iterchildren(DISPLAY_NAME)
        if (text := (child.text or "").strip(_SPACE))
    )


def _language(element: etree._Element) -> str:
    """What ``xml:lang`` says of an element, or else of what is around it."""
    around: etree._Element | None = element
    while around is not None:
        language = around.get(_LANGUAGE)
        if language is not None:
            return language.strip(_SPACE)
        around = around.getparent()
    return ""


def parse_document(octets: bytes) -> etree._Element | str:
    """The tree of a document, or the problem with it."""
    parser = etree.XMLParser(
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        huge_tree=False,
        collect_ids=False,
        remove_comments=True,
        remove_pis=True,
    )
    try:
        root = etree.fromstring(octets, parser)
    except (etree.XMLSyntaxError, ValueError):
        return "malformed"
    doctype = root.getroottree().docinfo.internalDTD
    return "malformed" if doctype is not None else root


class Parser:
    """Parses documents, and knows the last few still."""

    __slots__ = ("_parsed",)

    def __init__(self) -> None:
        self._parsed: list[tuple[bytes, etree._Element | str]] = []

    def parse(self, octets: bytes) -> etree._Element | str:
        """The tree of a document, not to be changed, or the problem with it."""
        for known, tree in self._parsed:
            if known is octets:
                return tree
        tree = parse_document(octets)
        self._parsed = [(octets, tree), *self._parsed[: _PARSED - 1]]
        return tree

    def knows(self, octets: bytes) -> bool:
        """Whether a document is parsed already."""
        return any(known is octets for known, _ in self._parsed)

    def clear(self) -> None:
        """Forget them."""
        self._parsed.clear()


def _select(
    root: etree._Element, steps: Iterable[Step], count: Callable[[int], None]
) -> etree._Element | None:
    """The one element that all steps select (RFC 4825 section 6.3), None if there is none."""
    children = [root]
    element = None
    for step in steps:
        count(len(children))
        found = [child for child in children if step.name is None or child.tag == step.name]
        if step.position is not None:
            place = step.position
            found = found[place - 1 : place] if place > 0 else []
        if step.attribute is not None:
            name, value = step.attribute
            found = [child for child in found if child.get(name) == value]
        if len(found) != 1:
            return None
        element = found[0]
        children = list(element)
    return element


# -- what becomes of the URIs -------------------------------------------------------------


def members(uris: Iterable[str], key: Callable[[str], str | None] = identity_key) -> frozenset[str]:
    """The members of a list as they compare with watchers (XDM-113, XDM-120).

    :param key: the canonical URI of a watcher; None for a URI that is none of a watcher's.
    """
    return frozenset(filter(None, map(key, uris)))


def subscribable(uris: Iterable[str], *, tel: bool = False) -> tuple[str, ...]:
    """The members of a list that can be subscribed to (XDM-32).

    :param tel: whether the operator maps ``tel`` URIs.
    """
    schemes = {"sip", "sips", "pres", "tel"} if tel else {"sip", "sips", "pres"}
    return tuple(uri for uri in uris if _scheme(uri) in schemes)


def _scheme(uri: str) -> str:
    match = _SCHEME.match(uri)
    return "" if match is None else match[0].lower()
