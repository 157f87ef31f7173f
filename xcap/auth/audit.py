"""What an operator wants to read about attempts to get in (AGP-39, AGP-84)."""

from __future__ import annotations

import attrs
from twisted.logger import Logger

_log = Logger()


@attrs.frozen(slots=True)
class AuditEvent:
    """Something that may be an attack.

    :ivar kind: ``wrong`` or ``unknown`` (credentials), ``locked`` (a lock begins),
        ``forbidden`` (403).
    :ivar username: as claimed; of the authenticated user with ``forbidden``.
    :ivar address: where the request came from.
    :ivar text: what more there is to say.
    """

    kind: str
    username: str
    address: str
    text: str = ""


def log_audit(event: AuditEvent) -> None:
    """Write an event to the log; who and from where only where debug output is wanted."""
    if event.kind == "locked":
        _log.warn(
            "somebody tries passwords: {text}, further attempts get 429",
            problem="guessing",
            text=event.text,
        )
    # whose name and address it is may be personal (OBS-03)
    _log.debug(
        "audit: {kind} {username} from {address} {text}",
        kind=event.kind,
        username=event.username,
        address=event.address,
        text=event.text,
    )
