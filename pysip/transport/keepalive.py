"""Keep-alive pings on connections we opened (RFC 5626 section 4.4.1, TRN-13)."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from pysip.errors import TransportError

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import IDelayedCall, IReactorTime

    from pysip.transport.stream import StreamFlow

PING = b"\r\n\r\n"

PONG_TIMEOUT = 10.0
"""Seconds within which the peer must answer."""


class KeepAlive:
    """Pings a peer at random intervals, and aborts its flow when it does not answer.

    Only for peers that are known to answer: by their ``Flow-Timer`` or configuration.
    """

    def __init__(
        self,
        flow: StreamFlow,
        clock: IReactorTime,
        interval: tuple[float, float],
        choose: Callable[[float, float], float] | None = None,
    ) -> None:
        """Wait for the first ping.

        :param interval: least and greatest time between pings, seconds.
        :param choose: random number between two bounds.
        """
        self._flow = flow
        self._clock = clock
        self._interval = interval
        self._choose = choose or random.SystemRandom().uniform
        self._pinged = False
        self._call: IDelayedCall
        self._schedule()

    def _schedule(self) -> None:
        self._pinged = False
        self._call = self._clock.callLater(self._choose(*self._interval), self._ping)

    def _ping(self) -> None:
        self._pinged = True
        self._flow.write_between(PING)
        self._call = self._clock.callLater(PONG_TIMEOUT, self._dead)

    def _dead(self) -> None:
        self._flow.abort(TransportError("no answer to a keep-alive ping"))

    def pong(self) -> bool:
        """Line ends have arrived; whether they were awaited.

        Two pongs in a row look like a ping to whoever frames the stream, so what arrives
        after a ping of ours is its pong either way.
        """
        if not self._pinged:
            return False
        self._call.cancel()
        self._schedule()
        return True

    def stop(self) -> None:
        """Ping no more."""
        if self._call.active():
            self._call.cancel()
