"""Looks at certificates while the server runs: tells of, or renews, what is about to expire."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.logger import Logger

from presence.oplog import CERTIFICATE, report
from pysip.timers import Alarm

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pysip.timers import TimerWheel
    from pysip.transport.credentials import Credentials

NOTICE = 14 * 86400.0
"""Seconds of validity below which a certificate is reported."""

_DAY = 86400.0


class CertificateWatch:
    """Looks once a day.

    :param wheel: timers.
    :param credentials: gives what is in use now, by the name of the listening point.
    :param renew: renews what the server can renew by itself.
    """

    _log = Logger()

    def __init__(
        self,
        wheel: TimerWheel,
        credentials: Callable[[], Mapping[str, Credentials]],
        renew: Callable[[], None],
    ) -> None:
        self._wheel = wheel
        self._credentials = credentials
        self._renew = renew
        self._alarm = Alarm(self._tomorrow)

    def start(self) -> None:
        """Look now, and each day from now on; called again it does the same."""
        self._wheel.after(_DAY, self._alarm)
        for name, credentials in self._credentials().items():
            left = credentials.seconds_left()
            if left < NOTICE:
                when = f"{credentials.certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC"
                state = "expires" if left > 0 else "has expired"
                report(self._log, CERTIFICATE, f"that of {name} {state} on {when}")

    def _tomorrow(self) -> None:
        self._renew()
        self.start()
