"""The XCAP roots served, as the proxy tells them apart (XCAP-02, XCAP-04, XCAP-14, AGP-24)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import attrs

from xcap.errors import XcapError

if TYPE_CHECKING:
    from xcap.records import Head

_PORTS = {"http": ":80", "https": ":443"}


@attrs.frozen(slots=True)
class Root:
    """An XCAP root.

    :ivar uri: absolute URI ending in ``/``.
    :ivar realm: Digest realm; the host when not given.
    :ivar aliases: further hosts by which it is known, without port.
    :ivar authority: host, with a port that is not the default, in lower case.
    :ivar prefix: path, beginning and ending in ``/``.
    """

    uri: str
    realm: str = ""
    aliases: tuple[str, ...] = ()
    authority: str = attrs.field(init=False)
    prefix: str = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        parts = urlsplit(self.uri)
        if parts.scheme not in _PORTS or not parts.hostname or parts.query or parts.fragment:
            raise ValueError(f"{self.uri!r} is no http or https URI without query")
        if not parts.path.endswith("/"):
            raise ValueError(f"{self.uri!r} does not end in '/'")
        object.__setattr__(self, "authority", _authority(parts.netloc, _PORTS[parts.scheme]))
        object.__setattr__(self, "prefix", parts.path)
        if not self.realm:
            object.__setattr__(self, "realm", parts.hostname)

    @property
    def authorities(self) -> tuple[str, ...]:
        """Its authority, and the same with each of its aliases as host."""
        colon = self.authority.find(":", self.authority.rfind("]") + 1)
        port = self.authority[colon:] if colon >= 0 else ""
        hosts = (f"[{alias}]" if ":" in alias else alias.lower() for alias in self.aliases)
        return (self.authority, *(host + port for host in hosts))


def domain_roots(uris: Mapping[str, str], aliases: Mapping[str, str]) -> list[Root]:
    """The roots of domains; one whose host is the domain is also known by the domain's aliases.

    :param uris: domain, in lower case, by URI of a root.
    :param aliases: domain by another name of it.
    """
    found = []
    for uri, domain in uris.items():
        own = urlsplit(uri).hostname == domain
        others = [alias for alias, name in aliases.items() if own and name.lower() == domain]
        found.append(Root(uri, domain, tuple(others)))
    return found


class Roots:
    """Finds the root of a request.

    :param roots: at least one.
    :raises ValueError: there is none.
    """

    def __init__(self, roots: Iterable[Root]) -> None:
        self._by_authority: dict[str, list[Root]] = {}
        for root in roots:
            for authority in root.authorities:
                self._by_authority.setdefault(authority, []).append(root)
        if not self._by_authority:
            raise ValueError("there must be a root")
        for listed in self._by_authority.values():
            # of several prefixes the longest one counts
            listed.sort(key=lambda root: -len(root.prefix))

    def __iter__(self) -> Iterator[Root]:
        return iter([root for listed in self._by_authority.values() for root in listed])

    def find(self, head: Head) -> Root:
        """The root whose authority is meant, by prefix if there are several.

        :raises XcapError: 421 no root has this authority.
        """
        authority = _authority(head.authority, _PORTS["https" if head.peer.secure else "http"])
        listed = self._by_authority.get(authority)
        if listed is None:
            raise XcapError(421, "No XCAP root has this name")
        for root in listed:
            if head.target.startswith(root.prefix):
                return root
        return listed[-1]

    def realm(self, head: Head) -> str:
        """The realm of :meth:`find`, for an authenticator."""
        return self.find(head).realm


def _authority(text: str, port: str) -> str:
    return text.lower().removesuffix(port)
