"""Users who are no more: what they have left ends (PSV-19).

Whoever removes an account leaves a note in the account file.  It is heeded by servers that run,
and by others when they start; one that was interrupted begins anew.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from twisted.logger import Logger

from pysip.slices import Slices

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from twisted.internet.interfaces import IReactorTime

    from presence.eventserver import EventServer

_AT_ONCE: Final = 1000
"""Watchers for whom the subscriptions are looked through together."""


class Removals:
    """Ends subscriptions and publications of identities that were removed.

    :param server: whose.
    :param clock: delayed calls.
    """

    _log = Logger()

    def __init__(self, server: EventServer, clock: IReactorTime) -> None:
        self._server = server
        self._slices = Slices(clock)
        self._waiting: dict[str, float] = {}
        self._started = False

    def gone(self, identities: Mapping[str, float]) -> None:
        """Identities were removed.

        :param identities: canonical URIs with wall-clock times: what was made later is of
            somebody else.
        """
        self._waiting.update(identities)
        self._work()

    def start(self) -> None:
        """All that is to be ended has been recovered; what was told before is done now."""
        self._started = True
        self._work()

    def stop(self) -> None:
        """Do no more; after the next start it is done again."""
        self._slices.stop()

    def _work(self) -> None:
        if self._started and self._waiting:
            self._slices.run("gone", self._parts, self._end)

    def _parts(self) -> Iterable[dict[str, float]]:
        waiting, self._waiting = self._waiting, {}
        uris = list(waiting)
        for begin in range(0, len(uris), _AT_ONCE):
            yield {uri: waiting[uri] for uri in uris[begin : begin + _AT_ONCE]}

    def _end(self, identities: dict[str, float]) -> None:
        self._server.end_watchers(identities)
        for uri, before in identities.items():
            self._server.end_presentity(uri, before)
