"""What the answer to a NOTIFY means for its subscription (NOT-10)."""

from __future__ import annotations

DELIVERED = "delivered"
REMOVE = "remove"
RETRY = "retry"
REDIRECT = "redirect"

_ENDING = frozenset((404, 405, 410, 416, 480, 481, 482, 483, 484, 485, 489, 501, 604))


def notify_outcome(status: int, retry_after: int | None, keep_on_timeout: bool = False) -> str:
    """The outcome of a NOTIFY.

    :param status: final status; 408 also for no answer at all, 503 for a transport error.
    :param retry_after: seconds of Retry-After, None without one.
    :param keep_on_timeout: operator's choice to keep the subscription after a time-out.
    :returns: ``delivered``; ``remove`` the subscription (RFC 6665 4.2.2, and RFC 3265 3.2.2 for
        failures without Retry-After); ``retry`` after ``retry_after``; ``redirect`` for a 3xx.
    """
    if 200 <= status < 300:
        return DELIVERED
    if status in _ENDING:
        return REMOVE
    if status == 408:
        return RETRY if keep_on_timeout else REMOVE
    if 300 <= status < 400:
        return REDIRECT
    return RETRY if retry_after is not None else REMOVE
