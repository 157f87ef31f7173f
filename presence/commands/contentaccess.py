"""The user's own Content Server, for commands that store or retrieve objects."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

import attrs

from presence.commands.failures import USAGE, CommandError
from presence.commands.options import content_server, fingerprint
from presence.content.client import ContentClient
from pysip.transport.credentials import CredentialsError, load_trust_roots
from xcap.agenttls import Trust
from xcap.auth.client import HttpCredentials

if TYPE_CHECKING:
    from presence.client import ClientSettings


@attrs.frozen(slots=True, kw_only=True)
class ContentAccess:
    """How a Content Server is asked.

    :ivar base: base URI of the user's own.
    :ivar identity: address of record of the user.
    :ivar credentials: shown to that server only; None without a password.
    :ivar trust: for TLS.
    """

    base: str
    identity: str
    credentials: HttpCredentials | None
    trust: Trust

    def client(self, reactor: Any) -> ContentClient:
        """A client; it connects when it has something to ask."""
        return ContentClient(
            reactor,
            self.base,
            self.identity,
            self.credentials,
            trust=self.trust,
            agent="presencectl",
        )


def content_access(options: argparse.Namespace, sip: ClientSettings) -> ContentAccess:
    """What the options for TLS and of :func:`add_content_option` say.

    :param sip: who the user is.
    :raises CommandError: an option cannot be used.
    """
    try:
        roots = load_trust_roots((options.ca,)) if options.ca else None
    except CredentialsError as error:
        raise CommandError(str(error), USAGE) from None
    credentials = None
    if sip.password is not None:
        credentials = HttpCredentials(sip.username, sip.password)
    return ContentAccess(
        base=content_server(options, sip.user.host.lower()),
        identity=sip.aor,
        credentials=credentials,
        trust=Trust(roots, fingerprint(options.fingerprint), options.insecure),
    )
