"""``presencectl watch``: see the presence of others change."""

from __future__ import annotations

import argparse
import sys
import time
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, DeferredList
from zope.interface import implementer

from presence.commands.failures import OK, REFUSED
from presence.commands.lasting import Ending, LastingCommand
from presence.commands.options import (
    Parsers,
    add_client_options,
    add_expires_option,
    check_expires,
    client_settings,
    presentity,
)
from presence.commands.session import Output, run
from presence.commands.views import JsonView, LineView, TableView, View
from presence.interfaces import IWatchListener
from presence.watcher import FetchError, PresenceWatch, Watcher, WatcherTerms

if TYPE_CHECKING:
    from collections.abc import Sequence

    from presence.client import PresenceClient
    from pysip.message import Response


def add_parser(parsers: Parsers) -> None:
    """Describe the command."""
    parser = parsers.add(
        "watch",
        "watch the presence of others until stopped: status, doings, places, services, devices",
        """
presencectl watch sip:bob@example.com --user sip:alice@example.com
presencectl watch bob carol dave              (in alice's domain, with $PRESENCE_USER set)
presencectl watch bob --json | jq -r .status
presencectl watch bob --json | jq .persons
presencectl watch bob --fetch
""",
    )
    parser.add_argument(
        "uris", metavar="URI", nargs="+", help="who to watch; user alone means your own domain"
    )
    parser.add_argument(
        "--json", action="store_true", help="one JSON object per NOTIFY, one a line, for scripts"
    )
    parser.add_argument("--fetch", action="store_true", help="ask for the state once and exit")
    add_expires_option(parser, "a")
    add_client_options(parser)
    parser.set_defaults(run=_run)


def make_watcher(client: PresenceClient, uris: Sequence[str], expires: int) -> Watcher:
    """A watcher of some presentities; 0 seconds to fetch."""
    return Watcher(
        client.router,
        WatcherTerms(
            local_uri=client.local_uri,
            contact=client.link.contact,
            expires=expires,
            limit=max(len(uris), 1),
            route=client.route,
            credentials=client.credentials,
        ),
    )


@implementer(IWatchListener)
class WatchCommand(LastingCommand):
    """Watches until it is interrupted, or nobody is left to watch."""

    def __init__(self, uris: Sequence[str], view: View, expires: int = 3600) -> None:
        super().__init__()
        self._uris = uris
        self._view = view
        self._expires = expires
        self._all: Watcher | None = None
        self._watches: list[PresenceWatch] = []
        self._status = OK

    def run(self, client: PresenceClient) -> Deferred[int]:
        """Watch; fires with the exit status when it is over."""
        self._client = client
        self._all = watcher = make_watcher(client, self._uris, self._expires)
        self._keep(client)
        for uri in self._uris:
            self._watches.append(watcher.watch(uri, self))
        self._end_if_nobody_is_left()
        return self._over

    def _refresh(self) -> None:
        if self._all is not None:
            self._all.refresh()

    def _stop(self) -> Deferred[Any]:
        return DeferredList([watch.stop() for watch in self._watches if not watch.ended])

    def remark(self, text: str) -> None:
        """Tell the user of something that will be made good."""
        self._view.remark(text)

    def _end_if_nobody_is_left(self) -> None:
        if len(self._watches) == len(self._uris) and all(w.ended for w in self._watches):
            self._end(self._status or REFUSED)

    def changed(self, watch: PresenceWatch) -> None:
        """A NOTIFY has come."""
        if not self._ending:
            self._view.show(watch, notified=True)

    def failed(
        self, watch: PresenceWatch, response: Response | None, retry_after: float | None
    ) -> None:
        """Refused, or no answer."""
        if self._ending:
            return
        error = self._refusal(f"watching {watch.uri}", response)
        if retry_after is None:
            self._status = self._status or error.status
            self._view.remark(str(error))
            self._end_if_nobody_is_left()
        else:
            self._view.remark(f"{error}; trying again in {retry_after:.0f} s")

    def ended(self, watch: PresenceWatch, reason: str, retry_after: float | None) -> None:
        """The subscription has ended, perhaps only to be made anew."""
        if self._ending:
            return
        if retry_after is None:
            self._view.show(watch, notified=False)
            self._end_if_nobody_is_left()
        elif retry_after > 0:
            self._view.remark(
                f"the subscription to {watch.uri} has ended ({reason or 'no reason given'}); "
                f"trying again in {retry_after:.0f} s"
            )


class FetchCommand(Ending):
    """Asks once for each presentity."""

    def __init__(self, uris: Sequence[str], view: View) -> None:
        super().__init__()
        self._uris = uris
        self._view = view

    def run(self, client: PresenceClient) -> Deferred[int]:
        """Fetch; fires with the exit status when all answers are there."""
        self._client = client
        watcher = make_watcher(client, self._uris, 0)
        statuses: list[Deferred[int]] = []
        for uri in self._uris:
            fetched = watcher.fetch(uri)
            statuses.append(fetched.addCallbacks(self._show, self._failed, errbackArgs=(uri,)))
        DeferredList(statuses).addCallback(
            lambda results: self._end(next((s for _, s in results if s), OK))
        )
        return self._over

    def interrupt(self) -> None:
        """Wait no longer."""
        self._end(OK)

    def _show(self, watch: PresenceWatch) -> int:
        watch.reason = ""  # a fetch always ends; that is no news
        self._view.show(watch, notified=True)
        return OK

    def _failed(self, failure: object, uri: str) -> int:
        value = getattr(failure, "value", None)
        response = value.response if isinstance(value, FetchError) else None
        error = self._refusal(f"watching {uri}", response)
        self._view.remark(str(error))
        return error.status


def _run(options: argparse.Namespace) -> int:
    settings = client_settings(options)
    check_expires(options)
    uris = list(dict.fromkeys(presentity(u, "", settings.user.host) for u in options.uris))
    output, errors = Output(sys.stdout), Output(sys.stderr)
    view: View
    if options.json:
        view = JsonView(output, errors, time.time)
    elif sys.stdout.isatty() and len(uris) > 1 and not options.fetch:
        view = TableView(output, time.time, uris)
    else:
        view = LineView(output, errors, time.time)
    command = (
        FetchCommand(uris, view) if options.fetch else WatchCommand(uris, view, options.expires)
    )
    return run(settings, command, output, debug=options.debug)
