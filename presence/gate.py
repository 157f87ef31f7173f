"""What guards the doors of all HTTP servers of a process: Digest with common nonces and locks.

Part of the composition root, with :mod:`presence.build`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from xcap.auth.audit import log_audit
from xcap.auth.digest import DigestSettings, HttpDigestAuthenticator, nonce_windows
from xcap.auth.lockout import LockOut
from xcap.auth.nonces import Nonces

if TYPE_CHECKING:
    from presence.accesslog import AccessLog
    from presence.accounts import Accounts
    from presence.config import Config
    from xcap.records import Head


class Gate:
    """Makes authenticators; who guesses passwords at one server is locked out of all.

    :param access: the log that is told of wrong passwords.

    :ivar audit: told of wrong passwords and what else an operator should know.
    """

    def __init__(
        self, config: Config, reactor: Any, accounts: Accounts, access: AccessLog | None
    ) -> None:
        settings = config.proxy
        self._settings = settings
        self._accounts = accounts
        self._nonces = Nonces(os.urandom(32), settings.nonce_lifetime)
        self._windows = nonce_windows(settings.nonce_lifetime, clock=reactor.seconds)
        self._lock_out = LockOut(
            settings.max_failures,
            settings.max_failures_anywhere,
            settings.failure_window,
            settings.block_time,
            clock=reactor.seconds,
        )
        self.audit = access.audited if access is not None else log_audit

    def authenticator(
        self, realm_of: Callable[[Head], str], qop: tuple[str, ...] = ()
    ) -> HttpDigestAuthenticator:
        """Digest for one server.

        :param realm_of: the realm of a request.
        :param qop: protection offered; none for what the configuration says.
        """
        settings = self._settings
        offered = ("auth", "auth-int") if settings.qop == "both" else (settings.qop,)
        return HttpDigestAuthenticator(
            self._accounts,
            realm_of,
            self._nonces,
            settings=DigestSettings(
                algorithms=settings.algorithms,
                qop=qop or offered,
                sessions=settings.session_algorithms,
                without_qop=settings.allow_no_qop,
            ),
            windows=self._windows,
            lock_out=self._lock_out,
            usernames=self._accounts.username if settings.userhash else None,
            audit=self.audit,
        )
