"""Whom a filter is about (RFC 4660 sections 3.3.2 and 5.2.1, FLT-23, FLT-24)."""

from __future__ import annotations

from pysip.errors import ParseError
from pysip.uri import canonical_aor


def canonical(uri: str) -> str:
    """The canonical form of a URI; one that names no presentity is its own."""
    try:
        return canonical_aor(uri) if uri else ""
    except ParseError:
        return uri


def domain_of(uri: str) -> str:
    """The domain of a canonical URI, in lower case; "" when it has none."""
    scheme, _, rest = uri.partition(":")
    return rest.rpartition("@")[2].lower() if scheme == "sip" else ""
