"""The conditions of a rule (RFC 4745 section 7, RFC 5025 section 3.1, OMA; XDM-110 to XDM-125).

Each is tested against a :class:`Request` by itself and is true, false, or undetermined
(None), when an external list is not at hand. Times are :class:`presence.rules.times.Validity`.
"""

from __future__ import annotations

from collections.abc import Iterable
from encodings.idna import ToASCII
from typing import Final, Protocol
from urllib.parse import quote, unquote

import attrs

from presence.rules.model import Context, Flavour, Lists, Watcher
from pysip.errors import ParseError
from pysip.uri import canonical_aor

_IDENTITY_SCHEMES: Final = ("sip", "sips", "tel")
_ASCII: Final = "".join(map(chr, range(128)))
# what separates labels besides the full stop (RFC 3490 section 3.1)
_DOTS: Final = str.maketrans({"\u3002": ".", "\uff0e": ".", "\uff61": "."})
_LONGEST_LABEL: Final = 63
_LONGEST_NAME: Final = 1024


def identity_key(text: str) -> str | None:
    """The form in which the ``id`` of a rule compares with canonical watcher URIs (XDM-113).

    URI parameters, port and password do not count; of ``tel`` URIs visual separators do not.
    Only SIP and tel URIs are identities of watchers, so None stands for what equals nobody.
    """
    text = text.strip(" \t\r\n")
    if text.partition(":")[0].lower() not in _IDENTITY_SCHEMES:
        return None
    try:
        return canonical_aor(text if text.isascii() else quote(text, safe=_ASCII))
    except ParseError:
        return None


def domain_key(text: str) -> str | None:
    """The form in which domains compare (RFC 4745 section 7.1.3, XDM-114).

    Percent-decoded, then by ToASCII of RFC 3490, in lower case; the root label is no part of
    a name. None when ToASCII fails: equal to nothing.
    """
    try:
        text = unquote(text, errors="strict") if "%" in text else text
    except UnicodeDecodeError:
        return None
    if len(text) > _LONGEST_NAME:
        return None
    labels = text.translate(_DOTS).removesuffix(".").split(".")
    try:
        ascii_labels = [_ascii_label(label) for label in labels]
    except UnicodeError:
        return None
    return ".".join(ascii_labels).lower()


def _ascii_label(label: str) -> str:
    if not label.isascii():
        label = ToASCII(label).decode("ascii")
    # some characters normalise to a full stop, which does not make two labels of one
    if not 0 < len(label) <= _LONGEST_LABEL or "." in label:
        raise UnicodeError("not a label")
    return label


def domain_of(uri: str) -> str | None:
    """Domain key of a canonical URI; a ``tel`` URI has none."""
    scheme, _, rest = uri.partition(":")
    return None if scheme == "tel" else domain_key(rest.rpartition("@")[2])


class Request:
    """What the conditions of a rule set are tested against.

    :ivar uris: the watcher's URIs; none while it counts as anonymous.
    :ivar domains: the domain keys of these.
    :ivar anonymous: whether it is an anonymous request to these rules (XDM-118, XDM-119).
    :ivar named: whether a rule with ``identity`` or ``external-list`` applies; known once
        those are tested (XDM-121).
    :ivar sphere: the presentity's sphere, case folded.
    :ivar now: seconds since the epoch.
    """

    __slots__ = ("_lists", "_states", "anonymous", "domains", "named", "now", "sphere", "uris")

    def __init__(self, flavour: Flavour, watcher: Watcher, context: Context) -> None:
        withheld = flavour == "oma" and context.privacy_is_anonymous and watcher.anonymous
        self.anonymous = withheld or not watcher.uris
        self.uris = () if self.anonymous else watcher.uris
        found = (domain_of(uri) for uri in self.uris)
        self.domains = frozenset(domain for domain in found if domain is not None)
        self.named = False
        self.sphere = None if context.sphere is None else context.sphere.casefold()
        self.now = context.now
        self._lists: Lists = context.lists
        self._states: dict[str, bool | None] = {}

    def listed(self, anchor: str) -> bool | None:
        """Whether an external list holds the watcher; None while that is not known."""
        if not self.uris:
            return False
        if anchor not in self._states:
            members = self._lists(anchor)
            self._states[anchor] = None if members is None else not members.isdisjoint(self.uris)
        return self._states[anchor]


class Condition(Protocol):
    """A child of ``cp:conditions``."""

    @property
    def text(self) -> str:
        """For people: what it asks for."""

    def test(self, request: Request) -> bool | None:
        """Whether it is true; None while an external list is undetermined."""


@attrs.frozen(slots=True)
class Many:
    """``cp:many`` (RFC 4745 section 7.1.3).

    :ivar domain: domain key, "" for anybody who is authenticated, None for a domain that no
        watcher can be of.
    :ivar except_uris: keys of ``except/@id``.
    :ivar except_domains: keys of ``except/@domain``.
    """

    domain: str | None
    except_uris: frozenset[str] = frozenset()
    except_domains: frozenset[str] = frozenset()

    def matches(self, request: Request) -> bool:
        """Whether it is true; an ``except`` for any URI of the watcher defeats it (XDM-115)."""
        if not request.uris or (self.domain != "" and self.domain not in request.domains):
            return False
        return self.except_uris.isdisjoint(request.uris) and self.except_domains.isdisjoint(
            request.domains
        )


@attrs.frozen(slots=True)
class Identity:
    """``cp:identity``: true if any of its members is (XDM-111).

    :ivar ones: keys of ``one/@id``.
    :ivar manys: its ``many`` members.
    """

    ones: frozenset[str] = frozenset()
    manys: tuple[Many, ...] = ()
    text: str = "identity"

    def test(self, request: Request) -> bool:
        """True for a watcher whom a member names; a member not understood names nobody."""
        return not self.ones.isdisjoint(request.uris) or any(
            many.matches(request) for many in self.manys
        )


@attrs.frozen(slots=True)
class Sphere:
    """``cp:sphere`` (XDM-116).

    :ivar values: the tokens of ``value``, case folded.
    """

    values: frozenset[str]

    @property
    def text(self) -> str:
        """For people: the spheres."""
        return f"sphere {' or '.join(sorted(self.values)) or 'none'}"

    def test(self, request: Request) -> bool:
        """True while one of the values is the presentity's sphere."""
        return request.sphere in self.values


@attrs.frozen(slots=True)
class ExternalList:
    """``ocp:external-list`` (XDM-120).

    :ivar anchors: the ``anc`` of its entries.
    """

    anchors: tuple[str, ...]
    text: str = "external-list"

    def test(self, request: Request) -> bool | None:
        """True if one of the lists holds the watcher; None if one that may is not at hand."""
        states = [request.listed(anchor) for anchor in self.anchors]
        return True if True in states else None if None in states else False


@attrs.frozen(slots=True)
class OtherIdentity:
    """``ocp:other-identity``, the catch-all (XDM-121)."""

    text: str = "other-identity"

    def test(self, request: Request) -> bool:
        """True for a watcher with an identity that no other rule names."""
        return not request.anonymous and not request.named


@attrs.frozen(slots=True)
class AnonymousRequest:
    """``ocp:anonymous-request`` (XDM-118)."""

    text: str = "anonymous-request"

    def test(self, request: Request) -> bool:
        """True for an anonymous request."""
        return request.anonymous


@attrs.frozen(slots=True)
class Unknown:
    """A condition that is not understood: never true (XDM-110).

    :ivar name: its local name.
    """

    name: str

    @property
    def text(self) -> str:
        """For people: its name."""
        return f"{self.name} (not understood)"

    def test(self, request: Request) -> bool:
        """False."""
        return False


def all_true(conditions: Iterable[Condition], request: Request) -> bool | None:
    """Whether all conditions are true; None if that hangs on a list not at hand (XDM-110)."""
    result: bool | None = True
    for condition in conditions:
        found = condition.test(request)
        if found is False:
            return False
        if found is None:
            result = None
    return result
