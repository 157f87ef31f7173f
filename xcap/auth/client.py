"""HTTP Digest as a client: answers challenges, and has servers prove themselves (AGP-38)."""

from __future__ import annotations

import hmac
import os
import re
from collections.abc import Callable, Iterable

from pysip.auth.client import ClientCredentials
from pysip.auth.digest import (
    Credentials,
    ha1,
    ha2,
    parse_digest_credentials,
    response_digest,
    session_ha1,
    split_algorithm,
)
from pysip.errors import ParseError
from pysip.header import parse_credentials

_NEXT = re.compile(
    r",[ \t]*(?=[!#$%&'*+.^_`|~0-9A-Za-z-]+[ \t]+[!#$%&'*+.^_`|~0-9A-Za-z-]+[ \t]*=)"
)
"""Between two challenges in one field."""

_SERVERS = 64


class ServerUnproven(Exception):
    """An answer claims to come from somebody who knows the password, and does not."""


class HttpCredentials:
    """User name and password for HTTP servers (RFC 7616).

    Nonces are used on with rising counts for all servers of a realm, ``nextnonce`` is taken
    over, and ``rspauth`` is checked where a server gives it.

    :param username: without colon.
    :param realm: answer challenges of this realm only; None for any.
    :param random: gives that many random octets.
    """

    def __init__(
        self,
        username: str,
        password: str,
        realm: str | None = None,
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._username = username
        self._password = password
        self._inner = ClientCredentials(username, password, realm=realm, random=random)
        self._realms: dict[str, str] = {}  # by server
        self._begun: dict[str, str] = {}  # nonce that the session of a realm began with

    def reuse(self, server: str, method: str, target: str, body: bytes) -> str | None:
        """Credentials for a further request to a server, None before its first challenge.

        :param server: tells servers apart.
        :param target: the request target as it will be sent.
        """
        realm = self._realms.get(server)
        return None if realm is None else self._inner.reuse(realm, method, target, body)

    def answer(
        self,
        server: str,
        challenges: Iterable[str],
        method: str,
        target: str,
        body: bytes,
        sent: str | None,
    ) -> str | None:
        """Credentials in answer to a 401.

        :param challenges: values of WWW-Authenticate, each with one challenge or several.
        :param sent: what the refused request carried.
        :returns: None when there is nothing to add: the password is wrong, or no challenge is
            understood.
        """
        single = [part for value in challenges for part in _NEXT.split(value)]
        value = self._inner.authorize(single, method, target, body, [sent] if sent else [])
        credentials = parse_digest_credentials(value) if value is not None else None
        if credentials is None:
            self._realms.pop(server, None)
            return None
        while len(self._realms) >= _SERVERS:
            realm = self._realms.pop(next(iter(self._realms)))
            self._begun.pop(realm, None)
        self._realms[server] = credentials.realm
        self._begun[credentials.realm] = credentials.nonce
        return value

    def check(self, info: str, sent: str, body: bytes) -> None:
        """Take an Authentication-Info in.

        :param info: its value.
        :param sent: the credentials of the request that is answered.
        :param body: of the answer, as received.
        :raises ServerUnproven: ``rspauth`` is wrong.
        """
        used = parse_digest_credentials(sent)
        try:
            params = parse_credentials(f"Digest {info}")[1]
        except ParseError:
            raise ServerUnproven from None
        if used is None:
            return
        given = params.get("rspauth")
        if given is not None:
            whole = (params.get("qop") or used.qop).lower() == "auth-int"
            expected = self._proof(used, body if whole else None)
            if not hmac.compare_digest(expected.encode(), given.lower().encode()):
                raise ServerUnproven
        self._inner.note_info(used.realm, info)

    def _proof(self, used: Credentials, body: bytes | None) -> str:
        """What ``rspauth`` has to be (RFC 7616 section 3.5)."""
        algorithm, session = split_algorithm(used.algorithm)
        secret = ha1(self._username, used.realm, self._password, algorithm)
        if session:
            begun = self._begun.get(used.realm, used.nonce)
            secret = session_ha1(secret, begun, used.cnonce, algorithm)
        hashed = ha2("", used.uri, algorithm, body)
        return response_digest(
            secret, hashed, used.nonce, algorithm, used.nc, used.cnonce, used.qop
        )
