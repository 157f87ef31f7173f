"""``presencectl watchers``: see who watches you, and who waits for your decision."""

from __future__ import annotations

import argparse
import json
import sys
import time
from datetime import datetime
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred
from zope.interface import implementer

from presence.commands.failures import OK, REFUSED, USAGE, CommandError, refusal
from presence.commands.options import Parsers, add_client_options, client_settings, presentity
from presence.commands.session import GRACE, Output, run
from presence.watcherinfo import MEDIA_TYPE, Watcher, WatcherTable, read
from pysip.event.interfaces import ISubscriberDelegate
from pysip.event.subscriber import Subscriber, SubscriptionTerms

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
    parser.add_argument(
        "--expires",
        metavar="N",
        type=int,
        default=3600,
        help="lifetime of the subscription in seconds (default 3600); it is refreshed",
    )
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
class WatchersCommand:
    """Follows watcher information until it is interrupted, or ends.

    :param uri: presentity; "" for the user itself.
    """

    def __init__(
        self, uri: str, view: WatchersView, errors: Output, *, expires: int = 3600
    ) -> None:
        self._uri = uri
        self._view = view
        self._errors = errors
        self._expires = expires
        self._client: PresenceClient | None = None
        self._subscriber: Subscriber | None = None
        self._table = WatcherTable()
        self._shown: dict[str, tuple[str, str]] | None = None
        self._over: Deferred[int] = Deferred()
        self._ending = False

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
            link = client.link
            link.moved = self._moved
            link.lost = self._lost
            link.keep()
        self._subscriber.subscribe()
        return self._over

    def interrupt(self) -> None:
        """Unsubscribe and end."""
        client, subscriber = self._client, self._subscriber
        if client is None or subscriber is None or self._over.called:
            return
        self._ending = True
        stopping = subscriber.unsubscribe()
        stopping.addTimeout(GRACE, client.ua.clock)
        stopping.addBoth(lambda _: self._end(OK))

    def _end(self, status: int) -> None:
        if not self._over.called:
            self._over.callback(status)

    def _moved(self) -> None:
        self._remark("connected again")
        if self._subscriber is not None:
            self._subscriber.refresh()

    def _lost(self, cause: str, delay: float) -> None:
        self._remark(f"connection lost: {cause}; trying again in {delay:.0f} s")

    def _remark(self, text: str) -> None:
        self._errors.line(f"presencectl: {text}")

    # -- the subscription tells -----------------------------------------------------------

    def notified(self, request: Request, state: str, content_type: str, body: bytes) -> None:
        """A NOTIFY has come: show what is new in it."""
        if self._ending or not body:
            return
        try:
            taken = self._table.take(read(body))
        except ValueError as error:
            self._remark(f"watcher information cannot be read: {error}")
            return
        if not taken.processed:
            return
        known = {watcher.id: watcher for _, watcher in self._table.rows()}
        if self._shown is None and not known:
            self._remark("nobody is watching")
        shown = self._shown or {}
        for id, watcher in known.items():
            now = (watcher.status, watcher.event)
            if shown.get(id) != now:
                self._view.show(watcher)
        self._shown = {id: (watcher.status, watcher.event) for id, watcher in known.items()}
        if taken.refresh and self._expires and self._subscriber is not None:
            self._subscriber.refresh()

    def subscription_failed(self, response: Response | None, retry_after: float | None) -> None:
        """The subscription was refused or not answered."""
        client = self._client
        if self._ending or client is None:
            return
        password = client.credentials is not None
        error = refusal(response, "asking for watchers", client.settings.aor, password)
        if retry_after is None:
            self._remark(str(error))
            self._end(error.status)
        else:
            self._remark(f"{error}; trying again in {retry_after:.0f} s")

    def subscription_ended(self, reason: str, retry_after: float | None) -> None:
        """The subscription has ended; after a fetch it always does."""
        if self._ending:
            return
        if not self._expires:
            self._end(OK)
            return
        self._table, self._shown = WatcherTable(), {}
        said = f"the subscription has ended ({reason or 'no reason given'})"
        if retry_after is None:
            self._remark(said)
            self._end(REFUSED)
        elif retry_after > 0:
            self._remark(f"{said}; trying again in {retry_after:.0f} s")


def _run(options: argparse.Namespace) -> int:
    settings = client_settings(options)
    if not 0 < options.expires < 2**32:
        raise CommandError("--expires: a positive number of seconds is needed", USAGE)
    uri = presentity(options.of, "--of", settings.user.host) if options.of else ""
    output = Output(sys.stdout)
    command = WatchersCommand(
        uri,
        WatchersView(output, as_json=options.json),
        Output(sys.stderr),
        expires=0 if options.fetch else options.expires,
    )
    return run(settings, command, output, debug=options.debug)
