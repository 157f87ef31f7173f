"""The client role of Digest: answering 401 and 407 (RFC 3261 section 22.2, RFC 8760 2.4)."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping

import attrs

from pysip.auth.digest import (
    Challenge,
    Credentials,
    format_credentials,
    ha1,
    ha2,
    parse_challenge,
    parse_digest_credentials,
    response_digest,
    session_ha1,
)
from pysip.errors import ParseError
from pysip.header import parse_credentials

_REALMS = 16
"""Realms whose nonces one account keeps; realms are chosen by the servers."""


@attrs.define(slots=True)
class _Session:
    """The use of one challenge: its nonce, our cnonce and the running nonce count."""

    challenge: Challenge
    ha1: str
    cnonce: str
    count: int = 0
    nonce: str = ""


class ClientCredentials:
    """What a client knows of one account, and its running nonces.

    One object serves any number of concurrent requests of one account; sessions are kept by
    realm, so that a nonce is reused with a rising count (AUT-19).

    :param username: as it goes into the ``username`` parameter, without colon.
    :param password: the password, or None when ``ha1s`` are given.
    :param ha1s: ``H(username:realm:password)`` by algorithm (``MD5``, ``SHA-256``,
        ``SHA-512-256``), instead of the password; needs ``realm``.
    :param realm: answer challenges of this realm only; None for any.
    :param random: gives that many random octets.
    """

    def __init__(
        self,
        username: str,
        password: str | None = None,
        *,
        ha1s: Mapping[str, str] | None = None,
        realm: str | None = None,
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        if (password is None) == (ha1s is None):
            raise ValueError("either a password or HA1 values are needed")
        if ha1s is not None and realm is None:
            raise ValueError("HA1 values belong to a realm")
        self.username = username
        self.realm = realm
        self._password = password
        self._ha1s = ha1s or {}
        self._random = random
        self._sessions: dict[str, _Session] = {}

    def authorize(
        self,
        challenges: Iterable[str],
        method: str,
        uri: str,
        body: bytes = b"",
        sent: Iterable[str] = (),
    ) -> str | None:
        """Answer the challenges of a 401 or 407.

        The topmost challenge that can be answered is (AUT-03, RFC 8760 section 2.4).

        :param challenges: WWW-Authenticate or Proxy-Authenticate values, in their order.
        :param uri: the Request-URI as it will be sent.
        :param sent: the Authorization (Proxy-Authorization) values of the refused request; a
            realm that refused them for anything but a stale nonce is given up (AUT-19).
        :return: the value for Authorization (Proxy-Authorization), or None to give up.
        """
        used = {c.realm: c.nonce for c in map(_own, sent) if c is not None}
        for value in challenges:
            try:
                challenge = parse_challenge(value)
            except ParseError:
                continue  # "MUST ignore any challenge it does not understand"
            if self.realm is not None and challenge.realm != self.realm:
                continue
            secret = self._secret(challenge)
            if secret is None:
                continue
            if challenge.realm in used and not challenge.stale:
                session = self._sessions.get(challenge.realm)
                if session is not None and session.nonce == used[challenge.realm]:
                    del self._sessions[challenge.realm]
                continue
            return self._answer(self._begin(challenge, secret), method, uri, body)
        return None

    def reuse(self, realm: str, method: str, uri: str, body: bytes = b"") -> str | None:
        """Credentials for a further request to a realm that was answered before (AUT-19).

        :return: the header value with the next nonce count; None without a running nonce.
        """
        session = self._sessions.get(realm)
        return self._answer(session, method, uri, body) if session is not None else None

    def note_info(self, realm: str, info: str) -> None:
        """Take over ``nextnonce`` of an Authentication-Info value (RFC 7616 section 3.5).

        :param realm: the realm whose credentials the answered request carried.
        """
        session = self._sessions.get(realm)
        try:
            # the parameters are written like those of credentials
            nonce = parse_credentials(f"Digest {info}")[1].get("nextnonce")
        except ParseError:
            return
        if session is not None and nonce and nonce != session.nonce:
            session.nonce = nonce
            session.count = 0

    def _secret(self, challenge: Challenge) -> str | None:
        if self._password is None:
            return self._ha1s.get(challenge.algorithm)
        return ha1(self.username, challenge.realm, self._password, challenge.algorithm)

    def _begin(self, challenge: Challenge, secret: str) -> _Session:
        session = self._sessions.get(challenge.realm)
        if session is not None and session.challenge == challenge:
            return session  # two requests were answered with one nonce
        cnonce = self._random(8).hex()
        if challenge.session:
            secret = session_ha1(secret, challenge.nonce, cnonce, challenge.algorithm)
        session = _Session(challenge, secret, cnonce, nonce=challenge.nonce)
        self._sessions.pop(challenge.realm, None)
        if len(self._sessions) >= _REALMS:
            del self._sessions[next(iter(self._sessions))]
        self._sessions[challenge.realm] = session
        return session

    def _answer(self, session: _Session, method: str, uri: str, body: bytes) -> str:
        challenge = session.challenge
        algorithm = challenge.algorithm
        session.count += 1
        qop = nc = ""
        if challenge.qop:
            qop = "auth" if "auth" in challenge.qop else "auth-int"
            nc = f"{session.count:08x}"
        response = response_digest(
            session.ha1,
            ha2(method, uri, algorithm, body if qop == "auth-int" else None),
            session.nonce,
            algorithm,
            nc,
            session.cnonce,
            qop,
        )
        return format_credentials(
            Credentials(
                self.username,
                challenge.realm,
                session.nonce,
                uri,
                response,
                challenge.algorithm_token,
                qop,
                nc,
                session.count,
                session.cnonce,
                challenge.opaque,
            )
        )


def _own(value: str) -> Credentials | None:
    """Credentials that we have sent ourselves."""
    try:
        return parse_digest_credentials(value)
    except ParseError:
        return None
