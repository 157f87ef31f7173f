"""The domains served here: their aliases and their Digest realms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pysip.errors import ParseError
from pysip.uri import canonical_aor

if TYPE_CHECKING:
    from pysip.message import Request


class Domains:
    """Served domains; each is the realm of its accounts (AUT-18, CLI-02).

    :param names: served domains, the default one first.
    :param aliases: further names and numeric addresses of served domains (CLI-13); IPv6
        without brackets.
    """

    def __init__(self, names: Sequence[str], aliases: Mapping[str, str] | None = None) -> None:
        if not names:
            raise ValueError("at least one domain must be served")
        self.names = tuple(_plain(name) for name in names)
        self._served = {name: name for name in self.names}
        self._aliases: dict[str, str] = {}
        for alias, name in (aliases or {}).items():
            if _plain(name) in self._served and _plain(alias) not in self._served:
                self._aliases[_plain(alias)] = _plain(name)
        self._served.update(self._aliases)

    @property
    def default(self) -> str:
        """The realm when a request names no domain of ours."""
        return self.names[0]

    def served(self, host: str) -> str | None:
        """The served domain that a host (IPv6 with or without brackets) names, or None."""
        return self._served.get(host) or self._served.get(_plain(host))

    def canonical(self, uri: str) -> str:
        """The key of a presentity or user: canonical, with an alias replaced by its domain.

        :raises ParseError: see :func:`pysip.uri.canonical_aor`.
        """
        aor = canonical_aor(uri)
        if self._aliases and aor[:4] == "sip:":
            user, at, host = aor[4:].rpartition("@")
            domain = self._aliases.get(host) or self._aliases.get(_plain(host))
            if domain is not None:
                return f"sip:{user}{at}{domain}"
        return aor

    def domain_of(self, uri: str) -> str | None:
        """The served domain of a URI; None when there is none or the URI is malformed."""
        try:
            aor = canonical_aor(uri)
        except ParseError:
            return None
        return self.served(aor[4:].rpartition("@")[2]) if aor[:4] == "sip:" else None

    def realm_for(self, request: Request) -> str:
        """The realm to challenge a request with: the domain of who claims to send it.

        That is the To of a REGISTER and the From of other requests; when neither that nor
        the Request-URI is of a served domain, the default one.

        :raises ParseError: the address is malformed.
        """
        sender = request.to if request.method == "REGISTER" else request.from_
        return self.domain_of(sender.uri) or self.domain_of(request.uri) or self.default


def _plain(host: str) -> str:
    return host.lower().strip("[]").rstrip(".")
