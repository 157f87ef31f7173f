"""Which documents are the rules of a presentity (RFC 5025 section 9.7, XDM-100, XDM-150)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final, Literal

import attrs
from lxml import etree

from presence.copies import CopySettings
from presence.documentcopy import DIRECTORY, IETF_RULES, OMA_RULES, Source
from presence.lists import Limits
from presence.rules.document import RuleSet, merge, read_rules
from presence.rules.permissions import Permissions
from presence.rules.ruleset import Rule
from xcap.canonical import parse_http_uri
from xcap.errors import Conflict
from xcap.uri import build
from xcap.usage.names import XCAP_DIRECTORY
from xcap.usage.references import below
from xcap.validate import parse_tree

if TYPE_CHECKING:
    from presence.documentcopy import Copy

Status = Literal["rules", "default", "none", "unreachable", "damaged"]
"""What the rules of a presentity are: documents of its own; the operator's document
(XDM-150); no document; not at hand, so that everybody is to be confirmed (PSV-08); of a document
that cannot be read, so that it grants nothing (XDM-151)."""

CONFIRM: Final = RuleSet(
    "ietf", (Rule("rules-not-at-hand", "confirm", Permissions.none()),), "default"
)
"""While it is not known what the rules are (PSV-08)."""
BLOCK: Final = RuleSet("ietf", (), "default")
"""For a document that cannot be read (XDM-151)."""

_FOLDER: Final = f"{{{XCAP_DIRECTORY}}}folder"
_ENTRY: Final = f"{{{XCAP_DIRECTORY}}}entry"
_ERROR: Final = f"{{{XCAP_DIRECTORY}}}error-code"
_DEFAULT: Final = f"{OMA_RULES}/global/pres-rules"


@attrs.frozen(slots=True, kw_only=True)
class RuleSettings:
    """Choices of the operator; times in seconds.

    :ivar union: evaluate OMA and IETF documents together (XDM-100).
    :ivar default_document: there may be a rule document in the global tree for presentities
        without one of their own (XDM-150).
    :ivar foreign: lists at servers of others may be referred to (XDM-29).
    :ivar first: how long a decision waits for documents at first (PSV-08).
    :ivar patience: how long the old state is used after a change while more documents are
        fetched (PSV-09).  Both bound the time of a resolution, too (XDM-28).
    :ivar keep: how long the last good resolution of a list is used (XDM-123).
    :ivar limits: of the resolution of a list.
    :ivar anchors: external lists of one presentity; others are undetermined.
    :ivar documents: IETF rule documents of one presentity; with more nobody knows the rules.
    :ivar copies: how documents are kept.
    """

    union: bool = False
    default_document: bool = False
    foreign: bool = False
    first: float = 2.0
    patience: float = 0.5
    keep: float = 86400.0
    limits: Limits = attrs.field(factory=Limits)
    anchors: int = 200
    documents: int = 100
    copies: CopySettings = attrs.field(factory=CopySettings)


class NotYet(Exception):
    """A document has to be waited for."""


class RuleDocuments:
    """Finds and compiles the rule documents of one presentity.

    :param root: XCAP root.
    :param home: identifier of its home directories.
    """

    __slots__ = ("_default", "_directory", "_home", "_merged", "_oma", "_root", "_settings")

    def __init__(self, root: str, home: str, settings: RuleSettings) -> None:
        self._root = root
        self._home = home
        self._settings = settings
        self._merged: tuple[tuple[RuleSet, ...], RuleSet] = ((), BLOCK)
        self._oma = Source(root, build("", OMA_RULES, home, "pres-rules")[1:])
        self._directory = Source(root, build("", DIRECTORY, home, "directory.xml")[1:])
        self._default = Source(root, _DEFAULT)

    def find(self, need: Callable[[Source], Copy], forced: bool) -> tuple[RuleSet | None, Status]:
        """The rules that count (XDM-100, XDM-150, XDM-151, PSV-08).

        :param need: gives the copy of a document, which is fetched.
        :param forced: do without documents of which nothing is known yet.
        :returns: the same object as long as the documents are the same; None without any.
        :raises NotYet: they are not known yet.
        """

        def settled(source: Source) -> Copy:
            copy = need(source)
            if not copy.settled and not forced:
                raise NotYet
            return copy

        oma = settled(self._oma)
        if not oma.known:
            return CONFIRM, "unreachable"
        sets: list[RuleSet | None] = []
        if oma.octets is not None:
            sets.append(oma.read(_read_oma))
        if not sets or self._settings.union:
            copies = self._ietf(need, settled)
            if copies is None:
                return CONFIRM, "unreachable"
            sets += [copy.read(_read_ietf) for copy in copies if copy.octets is not None]
        if sets:
            return self._together(sets, "rules")
        if self._settings.default_document:
            default = settled(self._default)
            if not default.known:
                return CONFIRM, "unreachable"
            if default.octets is not None:
                return self._together([default.read(_read_default)], "default")
        return None, "none"

    def _ietf(
        self, need: Callable[[Source], Copy], settled: Callable[[Source], Copy]
    ) -> list[Copy] | None:
        """All documents in the home directory of the IETF usage; None: they are not at hand."""
        directory = settled(self._directory)
        if not directory.known:
            return None
        if directory.octets is None:  # a server without directories has the usual name at least
            names: tuple[str, ...] | None = ("index",)
        else:
            names = directory.read(self._names)
        if names is None or len(names) > self._settings.documents:
            return None
        sources = [Source(self._root, build("", IETF_RULES, self._home, n)[1:]) for n in names]
        for source in sources:
            need(source)  # fetched side by side
        copies = [settled(source) for source in sources]
        return copies if all(copy.known for copy in copies) else None

    def _names(self, octets: bytes) -> tuple[str, ...]:
        return read_names(octets, self._root)

    def _together(self, sets: Iterable[RuleSet | None], status: Status) -> tuple[RuleSet, Status]:
        # a document that never was readable grants nothing
        key = tuple(BLOCK if rules is None else rules for rules in sets)
        if self._merged[0] != key:
            self._merged = key, merge(key)
        return self._merged[1], "damaged" if BLOCK in key else status


def read_names(octets: bytes, root: str) -> tuple[str, ...]:
    """The names of the IETF rule documents in a directory of a user (XDM-80, XDM-82).

    :param root: XCAP root.
    :raises ValueError: it does not tell.
    """
    try:
        tree = parse_tree(octets)
    except Conflict as error:
        raise ValueError(error.phrase) from None
    names: list[str] = []
    for folder in tree.iterchildren(_FOLDER):
        if folder.get("auid") != IETF_RULES:
            continue
        if folder.find(_ERROR) is not None:
            raise ValueError("the document server could not be asked")
        names += filter(None, (_name(entry, root) for entry in folder.iterchildren(_ENTRY)))
    return tuple(dict.fromkeys(names))


def _name(entry: etree._Element, root: str) -> str:
    uri = parse_http_uri(entry.get("uri", ""))
    target = None if uri is None else below(uri, root)
    if target is None or target.auid != IETF_RULES or target.node is not None:
        return ""
    return "/".join(target.path)


def _read_oma(octets: bytes) -> RuleSet:
    return read_rules(octets, "oma")


def _read_ietf(octets: bytes) -> RuleSet:
    return read_rules(octets, "ietf")


def _read_default(octets: bytes) -> RuleSet:
    rules = read_rules(octets, "oma")
    return RuleSet(rules.flavour, rules.rules, "default")
