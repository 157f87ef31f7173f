"""How often a subscriber wants to be notified: event rate control (RFC 6446, events.md I)."""

from __future__ import annotations

import re
from collections import deque
from typing import TYPE_CHECKING, Final

import attrs

from pysip.timers import Timed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_VALUE: Final = re.compile(r"[0-9]{1,2}(?:\.[0-9]{1,10})?", re.ASCII)
_LEAST: Final = 0.0000000001
_GREATEST: Final = 99.9999999999
_HISTORY: Final = 1000
"""Most notifications of a period that are remembered: beyond, the pause grows no further."""
_PERIOD: Final = 10.0
"""The period of the adaptive minimum rate, in reciprocals of that rate (RAT-08)."""


@attrs.frozen(slots=True)
class Rates:
    """Rates of a subscription in notifications per second; 0 for none.

    :ivar maximum: ``max-rate``.
    :ivar minimum: ``min-rate``.
    :ivar adaptive: ``adaptive-min-rate``.
    """

    maximum: float = 0.0
    minimum: float = 0.0
    adaptive: float = 0.0

    def __bool__(self) -> bool:
        return bool(self.maximum or self.minimum or self.adaptive)

    @property
    def params(self) -> str:
        """As parameters of Event or Subscription-State, with a semicolon before each."""
        return "".join(
            f";{name}={format_rate(value)}"
            for name, value in (
                ("max-rate", self.maximum),
                ("min-rate", self.minimum),
                ("adaptive-min-rate", self.adaptive),
            )
            if value
        )


def format_rate(rate: float) -> str:
    """A rate as RFC 6446 section 9.2 writes it: the nearest value that it can have."""
    text = f"{min(_GREATEST, max(_LEAST, rate)):.10f}".rstrip("0")
    return text.removesuffix(".")


def read_rates(params: Mapping[str, str | None]) -> Rates:
    """The rates that parameters ask for; what is no rate, or zero, is ignored (RAT-01)."""
    return Rates(
        _read(params.get("max-rate")),
        _read(params.get("min-rate")),
        _read(params.get("adaptive-min-rate")),
    )


def _read(text: str | None) -> float:
    return float(text) if text is not None and _VALUE.fullmatch(text) else 0.0


def adopt(asked: Rates, lifetime: float, interval: float, greatest_minimum: float) -> Rates:
    """The rates that are kept to, which Subscription-State tells (RAT-02, RAT-05, RAT-09, RAT-10).

    :param lifetime: seconds that the subscription has left.
    :param interval: least seconds between two NOTIFYs by our own choice; 0 for no limit.
    :param greatest_minimum: the greatest rate at which NOTIFYs repeat what is known; 0 for none.
    """
    own = 1 / interval if interval else _GREATEST
    maximum = 0.0
    if asked.maximum:
        # one that would keep everything back until the end is raised
        maximum = min(own, max(asked.maximum, 1 / lifetime if lifetime > 0 else _GREATEST))
    most = min(maximum or own, greatest_minimum)
    adaptive = min(asked.adaptive, most)
    minimum = min(asked.minimum, most)
    if asked.adaptive and minimum >= adaptive:
        minimum = 0.0
    return Rates(maximum, minimum, adaptive)


def adaptive_pause(count: int, rate: float, period: float, maximum: float = 0.0) -> float:
    """Seconds until the next notification by the adaptive minimum rate (RAT-08).

    :param count: notifications in the last ``period`` seconds.
    :param rate: ``adaptive-min-rate``.
    :param maximum: ``max-rate``, 0 for none.
    """
    pause = count / (rate * rate * period)
    return max(1 / maximum, pause) if maximum else pause


class Pulse(Timed):
    """The rates of one subscription, and the wait for the notification that is due by them.

    :param asked: what the subscriber wants.
    :param adopted: what is kept to.
    :param now: monotonic seconds.
    :param due: called when too long nothing was sent.

    :ivar interval: least seconds between two notifications by ``max-rate``.
    :ivar pause: seconds after which another notification was due last; 0 for never.
    """

    __slots__ = ("_due", "_period", "_sent", "adopted", "asked", "interval", "pause")

    def __init__(self, asked: Rates, adopted: Rates, now: float, due: Callable[[], None]) -> None:
        super().__init__()
        self.asked = asked
        self.adopted = adopted
        self.interval = 1 / adopted.maximum if adopted.maximum else 0.0
        self.pause = 0.0
        self._due = due
        self._period = _PERIOD / adopted.adaptive if adopted.adaptive else 0.0
        # A history of as many notifications as the rate allows for (RFC 6446 section 7.2).
        self._sent: deque[float] = deque(maxlen=_HISTORY)
        if adopted.adaptive:
            step = 1 / adopted.adaptive
            self._sent.extend(now - step * k for k in range(round(_PERIOD), 0, -1))

    def fire(self) -> None:
        """Nothing was sent for too long."""
        self._due()

    def sent(self, now: float) -> float:
        """A notification has left.

        :returns: seconds until another one is due; 0 for never.
        """
        adopted = self.adopted
        pause = self.pause = 1 / adopted.minimum if adopted.minimum else 0.0
        if not adopted.adaptive:
            return pause
        sent = self._sent
        sent.append(now)
        while sent[0] <= now - self._period:
            sent.popleft()
        adaptive = adaptive_pause(len(sent), adopted.adaptive, self._period, adopted.maximum)
        self.pause = min(pause, adaptive) if pause else adaptive
        return self.pause
