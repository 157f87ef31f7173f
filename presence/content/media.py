"""Which media types are stored, and how each is handed out (AGP-110, CSV-06)."""

from __future__ import annotations

import re

from xcap.errors import XcapError

TYPES = (
    "image/png",
    "image/jpeg",
    "image/gif",
    "image/webp",
    "audio/*",
    "text/plain",
    "application/pidf+xml",
    "application/xml",
)
"""Accepted unless the configuration says otherwise."""

NEVER = frozenset(
    {
        "application/ecmascript",
        "application/java-archive",
        "application/javascript",
        "application/wasm",
        "application/x-javascript",
        "application/x-shockwave-flash",
        "application/xhtml+xml",
        "application/xslt+xml",
        "image/svg+xml",
        "text/cache-manifest",
        "text/css",
        "text/ecmascript",
        "text/html",
        "text/javascript",
        "text/xsl",
        "text/x-component",
        "text/x-javascript",
    }
)
"""Content that a browser would run; no configuration admits these."""

_WORD = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_QUOTED = r'"(?:[\t \x21\x23-\x5b\x5d-\x7e]|\\[\t \x21-\x7e])*"'
_TYPE = re.compile(rf"({_WORD}/{_WORD})((?:[ \t]*;[ \t]*{_WORD}=(?:{_WORD}|{_QUOTED}))*)[ \t]*;?")
_LONGEST = 256


def is_pattern(text: str) -> bool:
    """Whether a configured type is one: a media type, or all of one kind such as ``audio/*``."""
    return re.fullmatch(rf"{_WORD}/(?:{_WORD}|\*)", text) is not None and text[0] != "*"


def active(pattern: str) -> bool:
    """Whether a configured type names content that is never stored."""
    return pattern.lower() in NEVER


def checked_type(value: str | None, patterns: tuple[str, ...]) -> str:
    """The media type of an object as it will be handed out, parameters and all.

    :param value: of Content-Type.
    :param patterns: what is accepted; ``audio/*`` stands for all that begin so.
    :raises XcapError: 415 it is not accepted, or there is none.
    """
    match = _TYPE.fullmatch(value.strip(" \t")) if value is not None else None
    if value is None or match is None or len(value) > _LONGEST:
        raise _refused(patterns)
    essence = match[1].lower()
    if essence in NEVER or not any(_fits(essence, pattern.lower()) for pattern in patterns):
        raise _refused(patterns)
    return essence + match[2]


def _fits(essence: str, pattern: str) -> bool:
    if pattern.endswith("/*"):
        return essence.startswith(pattern[:-1])
    return essence == pattern


def _refused(patterns: tuple[str, ...]) -> XcapError:
    return XcapError(415, "Objects of this type are not stored", (("Accept", ", ".join(patterns)),))


def disposition(content_type: str) -> str:
    """Value of Content-Disposition: nothing but pictures and plain text is shown in place."""
    essence = content_type.partition(";")[0].strip().lower()
    return "inline" if essence == "text/plain" or essence.startswith("image/") else "attachment"
