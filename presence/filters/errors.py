"""Why a filter is refused (FLT-26, FLT-27)."""

from __future__ import annotations


class FilterError(ValueError):
    """A filter, or a change of filters, is refused.

    :ivar status: response code, 488 (RFC 4660 section 5.4).
    :ivar reason: short text naming line and cause; never quotes the document, so that it can
        stand in a ``Warning: 399`` and in logs.
    """

    def __init__(self, reason: str, line: int = 0, status: int = 488) -> None:
        self.status = status
        self.reason = f"line {line}: {reason}" if line else reason
        super().__init__(self.reason)


class Exhausted(FilterError):
    """Applying a filter to a document costs more than may be spent (FLT-27)."""

    def __init__(self) -> None:
        super().__init__("filter costs too much")
