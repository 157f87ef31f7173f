"""The sphere that somebody is in now, learnt as any watcher would (XDM-116)."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from presence.commands.failures import refusal
from presence.commands.watch import make_watcher
from presence.link import UnreachableError
from presence.pidf.parse import DocumentError, parse_compact, to_utf8
from presence.rules.sphere import sphere_of
from presence.watcher import FetchError
from pysip.transport.credentials import CredentialsError

if TYPE_CHECKING:
    from presence.client import PresenceClient


class UnknownSphereError(Exception):
    """It could not be learnt; the text says why."""


async def fetch_sphere(client: PresenceClient, presentity: str) -> str | None:
    """The sphere by what is published now, None when there is none, or several.

    :param client: of who asks, not started yet; users always see themselves (PSV-14).
    :raises UnknownSphereError: presence could not be fetched.
    """
    own = client.settings.aor
    what = f"asking for the sphere of {presentity}"
    try:
        await client.start()
        watch = await make_watcher(client, [presentity], 0).fetch(presentity)
        if watch.document is None:
            raise UnknownSphereError(f"{what}: presence is not shown to {own}")
        return sphere_of([parse_compact(to_utf8(watch.document))], time.time())
    except FetchError as error:
        known = client.credentials is not None
        raise UnknownSphereError(str(refusal(error.response, what, own, known))) from None
    except (UnreachableError, CredentialsError, DocumentError) as error:
        raise UnknownSphereError(f"{what}: {error}") from None
    finally:
        await client.stop()
