"""When two URIs in presence documents name the same thing (DMO-06, RUL-11, RUL-12)."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable
from typing import Final

from pysip.errors import ParseError
from pysip.uri import OtherUri, comparison_key, parse_uri

_SPACE: Final = " \t\r\n"
_ESCAPE: Final = re.compile(r"%[0-9A-Fa-f]{2}")
# URNs whose specific part is a number in hexadecimal
_HEXADECIMAL: Final = ("uuid", "esn")


class UriSet:
    """URIs that are asked whether an equivalent one is among them.

    Equivalence of SIP URIs is not transitive (RFC 3261 section 19.1.4), so there may be
    several that only optional parameters tell apart. What is no URI is equal to itself.
    """

    __slots__ = ("_params",)

    def __init__(self, texts: Iterable[str]) -> None:
        self._params: dict[Hashable, list[dict[str, str | None]]] = {}
        for text in texts:
            key, params = uri_key(text)
            self._params.setdefault(key, []).append(params)

    def __bool__(self) -> bool:
        return bool(self._params)

    def __contains__(self, text: str) -> bool:
        key, params = uri_key(text)
        return any(
            all(value == others[name] for name, value in params.items() if name in others)
            for others in self._params.get(key, ())
        )


def uri_key(text: str) -> tuple[Hashable, dict[str, str | None]]:
    """Key and parameters as :func:`pysip.uri.comparison_key` gives them, of any text."""
    text = text.strip(_SPACE)
    try:
        uri = parse_uri(text)
    except ParseError:
        return text, {}
    return (device_key(text), {}) if isinstance(uri, OtherUri) else comparison_key(uri)


def device_key(text: str) -> str:
    """A key that is the same for equal ``dm:deviceID`` values (DMO-06).

    Of a URN the namespace identifier is in lower case and the components that do not count
    are gone (RFC 8141 section 3.1); ``urn:uuid:``, ``urn:esn:`` and ``mac:`` know no case at
    all. Of other URIs scheme and host are in lower case.
    """
    scheme, colon, rest = text.strip(_SPACE).partition(":")
    scheme = scheme.lower()
    if not colon:
        return text.strip(_SPACE)
    rest = _ESCAPE.sub(lambda escape: escape[0].upper(), rest)
    if scheme == "mac":
        rest = rest.lower()
    elif scheme == "urn":
        namespace, colon, specific = rest.partition(":")
        namespace = namespace.lower()
        specific = re.split(r"\?[+=]|#", specific, maxsplit=1)[0]
        if namespace in _HEXADECIMAL:
            specific = specific.lower()
        rest = f"{namespace}{colon}{specific}"
    elif rest.startswith("//"):
        authority, slash, path = rest[2:].partition("/")
        user, at, host = authority.rpartition("@")
        rest = f"//{user}{at}{host.lower()}{slash}{path}"
    return f"{scheme}:{rest}"
