"""How often a subscription is told: what we choose, and what its watcher wants (RFC 6446)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pysip.errors import ParseError
from pysip.event.rates import Pulse, adopt, read_rates
from pysip.header import parse_event

if TYPE_CHECKING:
    from collections.abc import Callable

    from pysip.event.dialogsubscription import DialogSubscription
    from pysip.event.interfaces import IRatePolicy
    from pysip.message import Response
    from pysip.timers import TimerWheel

_SOON = 1.0
_ROUNDING = 1e-6
"""Seconds that a timer may seem early by."""


class Pacing:
    """Keeps to the rates of all subscriptions.

    :param wheel: where they wait.
    :param repeat: tells a subscription its state again; whether a NOTIFY has left.

    :ivar rates: our own choice.
    :ivar repeat_rate: the greatest rate at which NOTIFYs repeat what is known; 0 for none.
    """

    def __init__(
        self,
        wheel: TimerWheel,
        rates: IRatePolicy,
        repeat_rate: float,
        repeat: Callable[[DialogSubscription], bool],
    ) -> None:
        self._wheel = wheel
        self._repeat = repeat
        self.rates = rates
        self.repeat_rate = repeat_rate

    def interval(self, subscription: DialogSubscription) -> float:
        """Least seconds until the next change is told (NOT-13, RAT-04)."""
        interval = self.rates.interval(subscription.package, subscription.resource)
        pulse = subscription.pulse
        return interval if pulse is None else max(interval, pulse.interval)

    def begin(self, subscription: DialogSubscription) -> None:
        """Keep to the rates that a subscription asks for from now on.

        They depend on its lifetime, too (RAT-05).  What was sent before counts only if the rates
        stay what they are.
        """
        asked, pulse = subscription.rates, subscription.pulse
        if not asked and pulse is None:
            return
        now = self._wheel.clock.seconds()
        adopted = adopt(
            asked,
            subscription.deadline - now,
            self.rates.interval(subscription.package, subscription.resource),
            self.repeat_rate,
        )
        if pulse is not None and asked == pulse.asked and adopted == pulse.adopted:
            return
        if pulse is not None:
            self._wheel.cancel(pulse)
        subscription.pulse = None
        if adopted:
            subscription.pulse = Pulse(asked, adopted, now, lambda: self._due(subscription))

    def sent(self, subscription: DialogSubscription, now: float) -> None:
        """A NOTIFY leaves: changes wait for the next one, and too long a silence ends with it."""
        subscription.gate = now + self.interval(subscription)
        if subscription.pulse is not None:
            pause = subscription.pulse.sent(now)
            if pause:
                self._wheel.after(pause, subscription.pulse)

    def _due(self, subscription: DialogSubscription) -> None:
        """Too long nothing was sent: tell the state as it is (RAT-07, RAT-08)."""
        pulse = subscription.pulse
        if pulse is None or subscription.state != "active":
            return  # its next NOTIFY begins anew
        wait = subscription.gate - self._wheel.clock.seconds()
        if subscription.in_flight or not subscription.ready or wait >= _ROUNDING:
            self._wheel.after(max(wait, _SOON), pulse)
        elif not self._repeat(subscription):
            self._wheel.after(max(pulse.pause, _SOON), pulse)

    def answered(self, subscription: DialogSubscription, response: Response) -> bool:
        """Take the rates of the Event header in a 2xx to a NOTIFY (RAT-13).

        What is wrong with it changes nothing: nobody could be told.

        :returns: whether they are others than before.
        """
        try:
            event = parse_event(response.first("event") or "")
        except ParseError:
            return False
        if event.package != subscription.event.partition(";")[0] or subscription.ending:
            return False
        asked = read_rates(event.params)
        if asked == subscription.rates:
            return False
        before = self.interval(subscription)
        subscription.rates = asked
        self.begin(subscription)
        subscription.gate += self.interval(subscription) - before
        return True
