"""Rates that make sense to ask for (RFC 6446 sections 5.3 and 8; RAT-14)."""

from __future__ import annotations

from typing import Final

from pysip.event.rates import Rates

LOWEST: Final = 0.0000000001
"""Notifications per second; there is no smaller number for it (RFC 6446 section 9.2)."""
HIGHEST: Final = 99.9999999999
"""Likewise."""


def check_rates(rates: Rates) -> None:
    """Whether rates are fit to be asked for: min < adaptive < max (RAT-14).

    A notifier would put others right by itself (RAT-09), so that something else would hold
    than what was asked for.

    :raises ValueError: they are not, or one of them cannot be written (RAT-01).
    """
    low, middle, high = rates.minimum, rates.adaptive, rates.maximum
    for rate in (low, middle, high):
        if rate and not LOWEST <= rate <= HIGHEST:
            raise ValueError(f"a rate is {LOWEST:.10f} to {HIGHEST} notifications per second")
    if high and low > high:
        raise ValueError("min-rate is above max-rate")
    if middle and low >= middle:
        raise ValueError("min-rate is not below adaptive-min-rate")
    if high and middle >= high:
        raise ValueError("adaptive-min-rate is not below max-rate")


def pausing(lifetime: float) -> Rates:
    """Rates that let nothing pass for ``lifetime`` seconds (RAT-14, RFC 6446 section 5.3)."""
    return Rates(1.0 / max(lifetime, 1.0))
