"""The global index of services, computed from claims (RFC 4826 section 4.4.8, XDM-47 to 51)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from xcap.canonical import canonical_sip_uri
from xcap.usage.names import RLS_SERVICES, SERVICE
from xcap.usage.writing import HEAD

if TYPE_CHECKING:
    from xcap.records import Claim
    from xcap.uri import NodeSelector

_ROOT: Final = f"{{{RLS_SERVICES}}}rls-services"
_START: Final = f'{HEAD}<rls-services xmlns="{RLS_SERVICES}">\n'.encode()
_END: Final = b"</rls-services>\n"


def index_document(claims: Iterable[Claim]) -> bytes:
    """The union of all services, or a part of it.

    :param claims: in the order to write them; those without content are held only.
    """
    services = b"".join(claim.content + b"\n" for claim in claims if claim.content)
    return _START + services + _END


def wanted_service(selector: NodeSelector) -> str | None:
    """The name of the one claim that decides what a selector finds (XDM-50).

    A document of that service alone gives what the whole index would: no two services have
    URIs that differ only in spelling.

    :returns: None when the whole index is needed.
    """
    steps = selector.steps
    if len(steps) < 2 or steps[0].name not in (_ROOT, None):
        return None
    if steps[0].position is not None or steps[0].attribute is not None:
        return None
    service = steps[1]
    if service.name not in (SERVICE, None) or service.position is not None:
        return None
    if service.attribute is None or service.attribute[0] != "uri":
        return None
    try:
        return canonical_sip_uri(service.attribute[1])
    except ValueError:
        return service.attribute[1]  # nobody holds that
