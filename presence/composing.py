"""Building what takes part in composition besides publications.

Part of the composition root, with :mod:`presence.build`.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from presence.documentcopy import OMA_RULES, PERMANENT
from presence.permanent import PermanentState

if TYPE_CHECKING:
    from presence.authorization import RulesetPolicy
    from presence.config import Config
    from presence.reading import Reading
    from presence.server import PresenceServer


def permanent_state(
    config: Config,
    reactor: Any,
    server: PresenceServer,
    authorization: RulesetPolicy | None,
    reading: Reading | None,
) -> PermanentState | None:
    """The permanent documents of presentities; None where they are out of reach (XDM-62).

    They are fetched and followed with the rules, so they have to be on the same server.
    """
    if authorization is None or reading is None:
        return None
    source = authorization.source
    # where changes come by subscription, what is not followed is not known either (PSV-10)
    authorization.subscribes = bool(config.fetch.server)
    if not reading.together(OMA_RULES, PERMANENT):
        return None
    permanent = PermanentState(
        reactor,
        time.time,
        source.copies,
        source.home,
        first=config.rules.first,
        limit=config.limits.pidf_size,
    )
    permanent.subscribes = authorization.subscribes
    server.set_permanent(permanent)
    return permanent
