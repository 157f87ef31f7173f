"""Content codings of the bodies that we send (RFC 3261 section 20.2, RFC 9110 section 12.5.3)."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

CODINGS: Final = ("gzip", "deflate")
"""What bodies can be coded in, best first; ``deflate`` is the zlib format."""

_ALIASES: Final = {"x-gzip": "gzip"}
_WINDOWS: Final = {"gzip": 31, "deflate": 15}
_LEVEL: Final = 6


def choose_coding(accept_encoding: Iterable[str]) -> str:
    """The coding that a peer likes best and that we have, or "" for none.

    :param accept_encoding: values of Accept-Encoding; without any there is no coding.
    """
    weights: dict[str, float] = {}
    for value in accept_encoding:
        for item in value.split(","):
            name, *params = item.lower().replace(" ", "").replace("\t", "").split(";")
            weights[_ALIASES.get(name, name)] = _weight(params)
    best, greatest = "", weights.get("identity", 0.0)
    for name in CODINGS:
        weight = weights.get(name, weights.get("*", 0.0))
        if weight > 0 and (weight > greatest or (not best and weight == greatest)):
            best, greatest = name, weight
    return best


def _weight(params: list[str]) -> float:
    for param in params:
        if param.startswith("q="):
            try:
                return float(param[2:])
            except ValueError:
                return 0.0
    return 1.0


def encode_body(coding: str, body: bytes) -> bytes:
    """A body in one of :data:`CODINGS`; the same octets give the same result at any time."""
    packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, _WINDOWS[coding])
    return packer.compress(body) + packer.flush()
