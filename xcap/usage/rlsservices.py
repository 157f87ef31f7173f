"""``rls-services`` (RFC 4826 section 4, XDM-40 to XDM-57)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from hashlib import blake2b
from typing import TYPE_CHECKING, ClassVar, Final

import attrs
from lxml import etree

from pysip.uri import SipUri, parse_uri
from xcap.canonical import canonical_sip_uri, parse_http_uri
from xcap.errors import Conflict, Exists
from xcap.records import Claim
from xcap.usage.base import BOTH, Quotas, Trusted, Usage, constraint, quota, unique
from xcap.usage.fields import EXISTS_LIMIT, attribute_field
from xcap.usage.names import (
    LIST_ATTRIBUTES,
    RESOURCE_LISTS,
    RLS_SERVICES,
    SERVICE,
)
from xcap.usage.references import below, is_list_of
from xcap.usage.resourcelists import (
    check_quotas,
    check_references,
    list_parents,
    repeated_members,
)
from xcap.usage.serviceuri import ServiceTemplate

if TYPE_CHECKING:
    from xcap.interfaces import ISubscribers
    from xcap.records import DocumentKey, Requester

_RESOURCE_LIST: Final = f"{{{RLS_SERVICES}}}resource-list"
_PREFIXES: Final = {RLS_SERVICES: "", RESOURCE_LISTS: "rl"}
# parameters that choose a way to a resource; others name another resource
_WAYS: Final = frozenset({"transport", "user", "method", "ttl", "maddr", "lr"})
_OFFERED: Final = 5


@attrs.frozen(slots=True)
class ServicePolicy:
    """Which URIs services may have (XDM-45, XDM-56).

    :ivar subscribers: who has an address of record already.
    :ivar serves: whether a domain, in lower case, is ours.
    :ivar reserved: canonical SIP URIs of other resources, such as our own servers.
    :ivar template: the form they must have; None for any.
    """

    subscribers: ISubscribers
    serves: Callable[[str], bool]
    reserved: frozenset[str] = frozenset()
    template: ServiceTemplate | None = None


class RlsServices(Usage):
    """Services of a resource list server, each a URI to subscribe to.

    :param policy: which URIs services may have.
    :param quotas: how many services there may be, lists in one, and entries in those.
    """

    auid = "rls-services"
    mime_type = "application/rls-services+xml"
    default_namespace = RLS_SERVICES
    namespaces = (RLS_SERVICES, RESOURCE_LISTS)
    schema = "rls-services"
    trees = BOTH
    index = "index"
    unique_attributes: ClassVar[dict[str, str]] = {SERVICE: "uri", **LIST_ATTRIBUTES}

    def __init__(
        self,
        policy: ServicePolicy,
        trusted: Iterable[Trusted] = (),
        quotas: Quotas | None = None,
    ) -> None:
        super().__init__(trusted)
        self._policy = policy
        self._quotas = quotas or Quotas()

    def check(self, root: etree._Element, key: DocumentKey) -> None:
        """XDM-43 to XDM-45, XDM-56, and the quotas.

        :raises Conflict: ``uniqueness-failure`` or ``constraint-failure``.
        """
        lists = list(list_parents(root))
        services = list(root.iterchildren(SERVICE))
        # what is beyond the quota is refused anyway, not looked up before
        unique(self._repeated(services[: self._quotas.services + 1], lists, key))
        for service in services:
            self._check_uri(service, key)
            self._check_resource_list(service, key)
        check_references(lists)
        quota(len(services), self._quotas.services, "services")
        check_quotas(lists, self._quotas)

    def claims(self, root: etree._Element, key: DocumentKey) -> tuple[Claim, ...]:
        """The URI of every service, with its element where it is part of the index."""
        indexed = key.tree == "users" and key.path == self.index
        return tuple(
            Claim(self.auid, name, stand_alone(service) if indexed else b"")
            for service in root.iterchildren(SERVICE)
            if (name := _canonical(service)) is not None
        )

    def variants(self, name: str, key: DocumentKey) -> tuple[str, ...]:
        """URIs like one that is taken: a number behind it, then letters nobody else has."""
        found = []
        for variant in self._spellings(name, key):
            try:
                canonical = canonical_sip_uri(variant)
            except ValueError:
                continue
            if not self._exists(canonical):
                found.append(canonical)
        return tuple(found)

    def taken(
        self, root: etree._Element, key: DocumentKey, names: Mapping[str, tuple[str, ...]]
    ) -> Conflict:
        """The refusal of services whose URIs belong to other documents (XDM-46)."""
        exists: list[Exists] = []
        for service in root.iterchildren(SERVICE):
            name = _canonical(service)
            if name is not None and name in names and len(exists) < EXISTS_LIMIT:
                field = attribute_field(service, "uri", 0, _PREFIXES)
                exists.append(Exists(field, tuple(names[name][:_OFFERED])))
        return Conflict("uniqueness-failure", "The URI of a service is taken", exists=tuple(exists))

    def may(self, requester: Requester, operation: str, key: DocumentKey) -> bool:
        """As by default; the index is for trusted principals to read (XDM-49)."""
        if key.tree == "global" and key.path == self.index:
            return operation == "read" and self.trusts(requester, "read")
        return super().may(requester, operation, key)

    # -- checks ---------------------------------------------------------------------------

    def _repeated(
        self, services: list[etree._Element], lists: list[etree._Element], key: DocumentKey
    ) -> Iterator[Exists]:
        """Services whose URI another one or somebody else has, then members of lists."""
        seen: set[str] = set()
        left = EXISTS_LIMIT
        for position, service in enumerate(services, 1):
            name = _canonical(service)
            if name is None:
                continue
            if (name in seen or self._exists(name)) and left:
                left -= 1
                field = attribute_field(service, "uri", position, _PREFIXES)
                free = [other for other in self.variants(name, key) if other not in seen]
                yield Exists(field, tuple(free[:_OFFERED]))
            seen.add(name)
        yield from repeated_members(lists, _PREFIXES)

    def _exists(self, name: str) -> bool:
        """Whether a canonical URI is that of a subscriber or of another resource here."""
        if name in self._policy.reserved:
            return True
        uri = parse_uri(name)
        if not isinstance(uri, SipUri) or not self._policy.serves(uri.host):
            return False
        if not _WAYS.issuperset(uri.params):
            return False
        if not uri.user:
            return True  # the domain itself
        subscribers = self._policy.subscribers
        try:
            return subscribers.known(subscribers.canonical(f"sip:{uri.user}@{_bracket(uri.host)}"))
        except ValueError:
            return False

    def _check_uri(self, service: etree._Element, key: DocumentKey) -> None:
        name = _canonical(service)
        if name is None:
            raise constraint("The uri of a service must be a SIP URI")
        uri = parse_uri(name)
        if not isinstance(uri, SipUri) or not self._policy.serves(uri.host):
            raise constraint("The uri of a service must be in a domain served here")
        template = self._policy.template
        if template is None or key.tree == "global":
            return
        if template.identifier(name, key.xui) is None:
            example = template.make(key.xui, _identifier(name, template))
            raise constraint(f"The uri of a service must have the form {example}")

    def _check_resource_list(self, service: etree._Element, key: DocumentKey) -> None:
        element = service.find(_RESOURCE_LIST)
        if element is None:
            return
        uri = parse_http_uri(element.text or "")
        if uri is None:
            raise constraint("A resource-list must be an absolute HTTP URI")
        if not is_list_of(below(uri, key.root), key.xui, self._policy.subscribers):
            raise constraint(
                "A resource-list must be in the owner's resource-lists below the same XCAP root"
            )

    def _spellings(self, name: str, key: DocumentKey) -> Iterator[str]:
        uri = parse_uri(name)
        if not isinstance(uri, SipUri):
            return
        template = self._policy.template if key.xui else None
        for suffix in _suffixes(name, key):
            if template is not None:
                yield template.make(key.xui, _identifier(name, template) + suffix)
                continue
            params = dict(uri.params)
            user = uri.user
            if last := next((n for n in reversed(params) if n not in _WAYS and params[n]), ""):
                params[last] = f"{params[last]}{suffix}"
            else:
                user = f"{user or 'list'}{suffix}"
            yield str(attrs.evolve(uri, user=user, params=params))
        if template is None and key.xui.startswith("sip:") and not uri.params:
            yield f"{key.xui};pres-list={_identifier(name, None)}"


def stand_alone(element: etree._Element) -> bytes:
    """An element with the namespace declarations it needs from around it (XDM-48)."""
    octets = etree.tostring(element, encoding="UTF-8", with_tail=False)
    if None in element.nsmap:
        return octets
    # it may be put where a default namespace is declared, which it does not have
    name = etree.QName(element).localname
    if element.prefix:
        name = f"{element.prefix}:{name}"
    start = len(name.encode()) + 1
    return octets[:start] + b' xmlns=""' + octets[start:]


def _canonical(service: etree._Element) -> str | None:
    try:
        return canonical_sip_uri(service.get("uri", ""))
    except ValueError:
        return None


def _suffixes(name: str, key: DocumentKey) -> Iterator[str]:
    for number in range(2, 6):
        yield f"-{number}"
    for number in range(3):
        seed = f"{name}\n{key.xui}\n{number}".encode("utf-8", "surrogatepass")
        yield f"-{blake2b(seed, digest_size=4).hexdigest()}"


def _identifier(name: str, template: ServiceTemplate | None) -> str:
    """What tells a service from others of its owner, also of a URI that does not fit."""
    uri = parse_uri(name)
    if not isinstance(uri, SipUri):
        return "list"
    if template is not None:
        owner = template.owner(name)
        found = template.identifier(name, owner) if owner else None
        if found:
            return found
    last = next((value for value in reversed(uri.params.values()) if value), None)
    text = last or uri.user or "list"
    return "".join(character for character in text if character.isalnum() or character in "-_.")


def _bracket(host: str) -> str:
    return f"[{host}]" if ":" in host else host
