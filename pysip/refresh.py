"""When soft state is refreshed and when a failed request is tried again.

Shared by the clients of subscriptions, publications and registrations (SBR-04, SBR-09,
PUA-01).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pysip.header import parse_delta
from pysip.message import REASONS

if TYPE_CHECKING:
    from pysip.message import Response
    from pysip.tokens import TokenSource

MARGIN = 600.0
"""Most seconds before expiry at which state is refreshed (SBR-04)."""

STATE_GONE = frozenset((404, 405, 410, 416, 480, 481, 482, 483, 484, 485, 489, 501, 604))
"""Answers to an in-dialog SUBSCRIBE that end the subscription (SBR-05, RFC 6665 4.1.2.2)."""

PASSING = frozenset((408, 480, 481, 482, 486, 491, 500, 502, 503, 504)) | frozenset(
    status for status in range(500, 600) if status not in REASONS
)
"""Answers that a later attempt may not get; others stand until somebody changes something,
unless they name a time with Retry-After.  A 5xx that nobody knows is a 500 (UAC-03)."""


def uniform(tokens: TokenSource) -> float:
    """A random number from 0 to 1."""
    return int(tokens.random(8), 16) / 0xFFFFFFFF


def refresh_delay(lifetime: float, tokens: TokenSource) -> float:
    """Seconds until state with this lifetime is refreshed (SBR-04).

    Half of the lifetime when it is under 1200 s, else 600 s before its end.  The jitter of
    10 % is of the margin, so that a refresh never comes after the end.
    """
    margin = min(lifetime / 2, MARGIN)
    return max(0.0, lifetime - margin * (0.9 + 0.2 * uniform(tokens)))


def min_expires(response: Response) -> int | None:
    """Min-Expires of a 423, None without a usable one (UAC-07)."""
    return parse_delta(response.first("min-expires") or "")


class Backoff:
    """Growing delays between attempts that fail (SBR-09).

    :param tokens: for the jitter: up to 10 % longer, so that clients that failed together
        do not come back together.
    :param first: first delay in seconds; each failure doubles it.
    :param most: largest delay in seconds.
    """

    __slots__ = ("_first", "_most", "_tokens", "failures")

    def __init__(self, tokens: TokenSource, first: float = 5.0, most: float = 1800.0) -> None:
        self._tokens = tokens
        self._first = first
        self._most = most
        self.failures = 0

    def next(self, at_least: float | None = None) -> float:
        """Count a failure and give the seconds to wait.

        :param at_least: what the server asked for with Retry-After; never undercut.
        """
        delay = min(self._first * 2.0 ** min(self.failures, 20), self._most)
        self.failures += 1
        return max(delay, at_least or 0.0) * (1.0 + 0.1 * uniform(self._tokens))

    def reset(self) -> None:
        """It has worked: begin anew with the first delay."""
        self.failures = 0
