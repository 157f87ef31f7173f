"""Services in documents of ``rls-services``: which there are, and how their URIs compare."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs
from lxml import etree

from presence.lists import parse_document, subscribable
from presence.rls.model import Member
from presence.rules.conditions import domain_of
from pysip.errors import ParseError
from pysip.uri import SipUri, canonical_aor, parse_uri
from xcap.canonical import canonical_sip_uri
from xcap.uri import attribute_step, build
from xcap.usage.names import RLS_SERVICES, SERVICE, SERVICE_LIST

if TYPE_CHECKING:
    from presence.lists import Parser, Resolved

AUID: Final = "rls-services"

_ROOT: Final = f"{{{RLS_SERVICES}}}rls-services"
_RESOURCE_LIST: Final = f"{{{RLS_SERVICES}}}resource-list"
_PACKAGES: Final = f"{{{RLS_SERVICES}}}packages"
_PACKAGE: Final = f"{{{RLS_SERVICES}}}package"
_SPACE: Final = " \t\r\n"
_ROUTES: Final = ("transport", "lr")
"""Parameters that say how a request gets to a service, not to which."""
_PLAIN: Final = frozenset({"transport", "lr", "maddr", "method", "ttl", "user"})
"""Parameters that the URI of a user may have; others name something else of the user."""


@attrs.frozen(slots=True)
class Definition:
    """A service as a document has it.

    :ivar uri: canonical.
    :ivar packages: the event packages that it is for; None for all (XDM-42).
    :ivar content: the element, standing alone.
    """

    uri: str
    packages: frozenset[str] | None
    content: bytes

    def start(self, parser: Parser) -> str | etree._Element:
        """The list, or the URI of the list, as :class:`presence.lists.Resolution` takes it.

        :param parser: of documents.
        """
        service = parser.parse(self.content)
        if isinstance(service, str):
            return ""
        inline = service.find(SERVICE_LIST)
        return (service.findtext(_RESOURCE_LIST) or "") if inline is None else inline


def service_key(uri: str) -> str:
    """What the URIs of services are found by (XDM-33, XDM-52).

    Equality of SIP URIs, but that of two parameters that choose the way only, and not of any,
    may be in one URI alone: or else ``sip:joe@example.com`` would equal all lists of Joe
    (RFC 3261 section 19.1.4).

    :raises ValueError: it is no SIP or SIPS URI.
    """
    canonical = canonical_sip_uri(uri)
    parsed = parse_uri(canonical)
    if not isinstance(parsed, SipUri) or not any(name in parsed.params for name in _ROUTES):
        return canonical
    params = {name: value for name, value in parsed.params.items() if name not in _ROUTES}
    return canonical_sip_uri(str(attrs.evolve(parsed, params=params)))


def member_key(uri: str) -> str | None:
    """What members of lists are told apart by (RLS-17); None for what cannot be subscribed to.

    That is the key of a presentity, but for the URI of a list, which is a member by itself
    (RLS-15).
    """
    try:
        if ";" not in uri:
            return canonical_aor(uri)
        parsed = parse_uri(uri)
        if isinstance(parsed, SipUri) and not _PLAIN.issuperset(parsed.params):
            return service_key(uri)
        return canonical_aor(parsed)
    except (ParseError, ValueError):
        return None


def member_domain(member: Member) -> str | None:
    """The domain of a member, also of a list that is named by parameters; None for ``tel``."""
    return domain_of(member.key.partition(";")[0])


def read_services(octets: bytes) -> dict[str, Definition]:
    """The services of a document, by :func:`service_key`; the first one of a key counts.

    :raises ValueError: it is no document of services.
    """
    root = parse_document(octets)
    if isinstance(root, str) or root.tag != _ROOT:
        raise ValueError("no document of services")
    found: dict[str, Definition] = {}
    for service in root.iterchildren(SERVICE):
        text = service.get("uri", "")
        try:
            key = service_key(text)
            uri = canonical_sip_uri(text)
        except ValueError:
            continue
        content = etree.tostring(service, encoding="UTF-8", with_tail=False)
        found.setdefault(key, Definition(uri, _packages(service), content))
    return found


def _packages(service: etree._Element) -> frozenset[str] | None:
    packages = service.find(_PACKAGES)
    if packages is None:
        return None
    names = ((package.text or "").strip(_SPACE) for package in packages.iterchildren(_PACKAGE))
    return frozenset(filter(None, names))


def list_members(resolved: Resolved, service: str, *, tel: bool = False) -> tuple[Member, ...]:
    """The members of a list that can be subscribed to, in document order (XDM-32, XDM-55).

    :param service: :func:`service_key` of the list, which is no member of itself (RLS-16).
    :param tel: whether the operator maps ``tel`` URIs.
    """
    found: dict[str, Member] = {}
    for uri in subscribable(resolved.uris, tel=tel):
        key = member_key(uri)
        if key is not None and key != service and key not in found:
            found[key] = Member(uri, key, resolved.names.get(uri, ()))
    return tuple(found.values())


def services_path(home: str) -> str:
    """The document with the services of a user, relative to the XCAP root (XDM-47).

    :param home: canonical identifier of the user's home directories.
    """
    return build("", AUID, home, "index")[1:]


def index_path(key: str) -> str:
    """Where the global index has a service, relative to the XCAP root (XDM-50, XDM-52).

    :param key: as of :func:`service_key`.
    """
    place = build("", AUID, "", "index")[1:]
    return f"{place}/~~/{AUID}/{attribute_step('service', 'uri', key)}"
