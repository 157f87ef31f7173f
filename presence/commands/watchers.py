"""``presencectl watchers``: see who watches you, and who waits for your decision."""

from __future__ import annotations

import argparse
import json
import sys
import time
from datetime import datetime
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from presence.commands.failures import OK
from presence.commands.lasting import OneSubscription
from presence.commands.options import (
    Parsers,
    add_client_options,
    add_expires_option,
    check_expires,
    client_settings,
    presentity,
)
from presence.commands.session import Output, run
from presence.watcherinfo import MEDIA_TYPE, Watcher, WatcherTable, read
from pysip.event.interfaces import ISubscriberDelegate
from pysip.event.subscriber import Subscriber
from pysip.event.terms import SubscriptionTerms

if TYPE_CHECKING:
    from collections.abc import Callable

    from presence.client import PresenceClient
    from pysip.message import Request, Response


def add_parser(parsers: Parsers) -> None:
    """Describe the command."""
    parser = parsers.add(
        "watchers",
        "see who watches you, and who waits for your decision, until stopped",
        """
presencectl watchers --user sip:alice@example.com
presencectl watchers --fetch --json
presencectl watchers --of bob --user sip:operator@example.com
""",
    )
    parser.add_argument("--of", metavar="URI", help="the watchers of somebody else, for operators")
    parser.add_argument(
        "--json", action="store_true", help="one JSON object per watcher, one a line, for scripts"
    )
    parser.add_argument("--fetch", action="store_true", help="ask once and exit")
    add_expires_option(parser)
    add_client_options(parser)
    parser.set_defaults(run=_run)


class WatchersView:
    """How watchers are shown, one a line.

    :param as_json: one object a line.
    :param wall: wall-clock seconds.
    """

    def __init__(
        self, output: Output, *, as_json: bool = False, wall: Callable[[], float] = time.time
    ) -> None:
        self._output = output
        self._json = as_json
        self._wall = wall

    def show(self, watcher: Watcher) -> None:
        """A watcher is new, or has changed."""
        now = self._wall()
        if self._json:
            told = {
                "time": round(now, 3),
                "watcher": watcher.uri,
                "status": watcher.status,
                "event": watcher.event,
                "name": watcher.display_name,
                "expires": watcher.expiration,
                "since": watcher.duration,
            }
            self._output.line(json.dumps(told))
            return
        name = "".join(c for c in watcher.display_name if c.isprintable())
        named = f' "{name}"' if name else ""
        moment = datetime.fromtimestamp(now).astimezone()
        uri = "".join(c for c in watcher.uri if c.isprintable())
        self._output.line(f"{moment:%H:%M:%S} {uri}{named}: {watcher.status} ({watcher.event})")


@implementer(ISubscriberDelegate)
class WatchersCommand(OneSubscription):
    """Follows watcher information until it is interrupted, or ends.

    :param uri: presentity; "" for the user itself.
    """

    def __init__(
        self, uri: str, view: WatchersView, errors: Output, *, expires: int = 3600
    ) -> None:
        super().__init__("asking for watchers", errors)
        self._uri = uri
        self._view = view
        self._expires = expires
        self._subscriber: Subscriber | None = None
        self._table = WatcherTable()
        self._shown: dict[str, tuple[str, str]] | None = None

    def run(self, client: PresenceClient) -> Deferred[int]:
        """Follow; fires with the exit status when it is over."""
        self._client = client
        terms = SubscriptionTerms(
            uri=self._uri or client.settings.aor,
            local_uri=client.local_uri,
            package="presence.winfo",
            contact=client.link.contact,
            accept=(MEDIA_TYPE,),
            expires=self._expires,
            route=client.route,
            credentials=client.credentials,
        )
        self._subscriber = Subscriber(client.router, terms, self)
        if self._expires:
            self._keep(client)
        self._subscriber.subscribe()
        return self._over

    def _refresh(self) -> None:
        if self._subscriber is not None:
            self._subscriber.refresh()

    def _stop(self) -> Deferred[Any]:
        return succeed(None) if self._subscriber is None else self._subscriber.unsubscribe()

    # -- the subscription tells -----------------------------------------------------------

    def notified(self, request: Request, state: str, content_type: str, body: bytes) -> None:
        """A NOTIFY has come: show what is new in it."""
        if self._ending or not body:
            return
        try:
            taken = self._table.take(read(body))
        except ValueError as error:
            self.remark(f"watcher information cannot be read: {error}")
            return
        if not taken.processed:
            return
        known = {watcher.id: watcher for _, watcher in self._table.rows()}
        if self._shown is None and not known:
            self.remark("nobody is watching")
        shown = self._shown or {}
        for id, watcher in known.items():
            now = (watcher.status, watcher.event)
            if shown.get(id) != now:
                self._view.show(watcher)
        self._shown = {id: (watcher.status, watcher.event) for id, watcher in known.items()}
        if taken.refresh and self._expires:
            self._refresh()

    def subscription_failed(self, response: Response | None, retry_after: float | None) -> None:
        """The subscription was refused or not answered."""
        self._failed(response, retry_after)

    def subscription_ended(self, reason: str, retry_after: float | None) -> None:
        """The subscription has ended; after a fetch it always does."""
        if not self._expires:
            self._end(OK)
            return
        self._table, self._shown = WatcherTable(), {}
        self._ended(reason, retry_after)


def _run(options: argparse.Namespace) -> int:
    settings = client_settings(options)
    check_expires(options)
    uri = presentity(options.of, "--of", settings.user.host) if options.of else ""
    output = Output(sys.stdout)
    command = WatchersCommand(
        uri,
        WatchersView(output, as_json=options.json),
        Output(sys.stderr),
        expires=0 if options.fetch else options.expires,
    )
    return run(settings, command, output, debug=options.debug)
