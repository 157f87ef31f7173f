"""``presencectl watch``: see the presence of others change, one by one or whole lists."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from twisted.internet.defer import Deferred, DeferredList
from zope.interface import implementer

from presence.commands.contentaccess import content_access
from presence.commands.failures import OK, REFUSED
from presence.commands.icons import IconFolder, IconSettings
from presence.commands.lasting import Ending, LastingCommand
from presence.commands.lean import add_lean_options, rates_remark, watch_options
from presence.commands.listrows import listed_instances
from presence.commands.options import (
    Parsers,
    add_client_options,
    add_expires_option,
    check_expires,
    client_settings,
    presentity,
)
from presence.commands.session import Output, run
from presence.commands.tableview import TableView
from presence.commands.views import JsonView, LineView, TerminalView, View
from presence.commands.xcapsession import sip_settings
from presence.interfaces import IListListener, IWatchListener
from presence.rls.listwatch import Taken
from presence.watcher import (
    FetchError,
    ListWatch,
    PresenceWatch,
    Watcher,
    WatcherTerms,
    WatchOptions,
    is_list,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from presence.client import ClientSettings, PresenceClient
    from pysip.message import Response


OpenIcons: TypeAlias = "Callable[[Any, Callable[[str], None]], IconFolder]"
"""Makes a folder for a reactor and for who is told of what is saved."""


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
presencectl watch alice-friends               (all members of a list, as a table)
presencectl watch alice-friends --json | jq -r '[.presentity, .status] | @tsv'
presencectl watch bob --partial --filter open.xml --max-rate 30    (the newest state, each 30 s)
presencectl watch bob --icons ~/icons
""",
    )
    parser.add_argument(
        "uris",
        metavar="URI",
        nargs="+",
        help="who to watch, or the URI of a list (presencectl list show tells yours); user alone "
        "means your own domain",
    )
    parser.add_argument(
        "--list",
        action="store_true",
        help="subscribe as to a list at once (default: when the server says that it is one)",
    )
    parser.add_argument(
        "--json",
        action="store_true",
        help="one JSON object per NOTIFY, and per change in a list, one a line, for scripts",
    )
    parser.add_argument("--fetch", action="store_true", help="ask for the state once and exit")
    add_expires_option(parser, "a")
    add_lean_options(parser)
    add_client_options(parser)
    parser.set_defaults(run=_run)


def make_watcher(
    client: PresenceClient,
    uris: Sequence[str],
    expires: int,
    options: WatchOptions | None = None,
) -> Watcher:
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
            options=options or WatchOptions(),
        ),
    )


@implementer(IWatchListener, IListListener)
class WatchCommand(LastingCommand):
    """Watches until it is interrupted, or nobody is left to watch.

    :param lists: all that is watched are lists; else what the server calls one (RLS-01).
    :param options: how to be told.
    :param icons: makes the folder where objects are saved; None for none.
    """

    def __init__(
        self,
        uris: Sequence[str],
        view: View,
        expires: int = 3600,
        *,
        lists: bool = False,
        options: WatchOptions | None = None,
        icons: OpenIcons | None = None,
    ) -> None:
        super().__init__()
        self._uris = uris
        self._view = view
        self._expires = expires
        self._lists = lists
        self._options = options or WatchOptions()
        self._open_icons = icons
        self._icons: IconFolder | None = None
        self._adopted: dict[str, str] = {}
        self._all: Watcher | None = None
        self._watches: dict[str, PresenceWatch | ListWatch] = {}
        self._status = OK

    def run(self, client: PresenceClient) -> Deferred[int]:
        """Watch; fires with the exit status when it is over."""
        self._client = client
        if self._open_icons is not None:
            self._icons = self._open_icons(client.ua.clock, self.remark)
        self._all = watcher = make_watcher(client, self._uris, self._expires, self._options)
        self._keep(client)
        for uri in self._uris:
            begin = watcher.watch_list if self._lists else watcher.watch
            self._watches[uri] = begin(uri, self)
        self._end_if_nobody_is_left()
        return self._over

    def _refresh(self) -> None:
        if self._all is not None:
            self._all.refresh()

    def _stop(self) -> Deferred[Any]:
        watches = [watch for watch in self._watches.values() if not watch.ended]
        stopping = [watch.stop() for watch in watches]
        if self._icons is not None:
            stopping.append(self._icons.stop())
        return DeferredList(stopping, consumeErrors=True)

    def remark(self, text: str) -> None:
        """Tell the user of something that will be made good."""
        self._view.remark(text)

    def _end_if_nobody_is_left(self) -> None:
        watches = self._watches.values()
        if len(watches) == len(self._uris) and all(w.ended for w in watches):
            self._end(self._status or REFUSED)

    def changed(self, watch: PresenceWatch) -> None:
        """A NOTIFY has come."""
        if self._ending:
            return
        self._view.show(watch, notified=True)
        self._say_adopted(watch)
        if self._icons is not None:
            self._icons.take(watch.uri, watch.objects, watch.document)

    def list_changed(self, watch: ListWatch, taken: Taken) -> None:
        """A NOTIFY of a list has come."""
        if self._ending:
            return
        if watch.problem:
            self._view.remark(f"{watch.uri}: what has come is no list ({watch.problem})")
        self._view.show_list(watch, taken, notified=True)
        self._say_adopted(watch)
        if self._icons is not None:
            take_listed(self._icons, watch)

    def _say_adopted(self, watch: PresenceWatch | ListWatch) -> None:
        """Tell the user how often the server tells, if otherwise than asked for (RAT-02)."""
        said = rates_remark(watch.options.rates, watch.rates)
        if said and self._adopted.get(watch.uri) != said:
            self._view.remark(f"{watch.uri}: {said}")
        self._adopted[watch.uri] = said

    def failed(
        self,
        watch: PresenceWatch | ListWatch,
        response: Response | None,
        retry_after: float | None,
    ) -> None:
        """Refused, or no answer; a list is watched as such."""
        if self._ending:
            return
        if isinstance(watch, PresenceWatch) and is_list(response) and self._all is not None:
            self._watches[watch.uri] = self._all.watch_list(watch.uri, self)
            return
        error = self._refusal(f"watching {watch.uri}", response)
        if retry_after is None:
            self._status = self._status or error.status
            self._view.remark(str(error))
            self._end_if_nobody_is_left()
        else:
            self._view.remark(f"{error}; trying again in {retry_after:.0f} s")

    def ended(
        self, watch: PresenceWatch | ListWatch, reason: str, retry_after: float | None
    ) -> None:
        """The subscription has ended, perhaps only to be made anew."""
        if self._ending:
            return
        if retry_after is None:
            if isinstance(watch, ListWatch):
                self._view.show_list(watch, Taken(False), notified=False)
            else:
                self._view.show(watch, notified=False)
            self._end_if_nobody_is_left()
        elif retry_after > 0:
            self._view.remark(
                f"the subscription to {watch.uri} has ended ({reason or 'no reason given'}); "
                f"trying again in {retry_after:.0f} s"
            )


class FetchCommand(Ending):
    """Asks once for each presentity or list.

    :param lists: see :class:`WatchCommand`; likewise the others.
    """

    def __init__(
        self,
        uris: Sequence[str],
        view: View,
        *,
        lists: bool = False,
        options: WatchOptions | None = None,
        icons: OpenIcons | None = None,
    ) -> None:
        super().__init__()
        self._uris = uris
        self._view = view
        self._lists = lists
        self._options = options
        self._open_icons = icons
        self._icons: IconFolder | None = None

    def run(self, client: PresenceClient) -> Deferred[int]:
        """Fetch; fires with the exit status when all answers are there."""
        self._client = client
        if self._open_icons is not None:
            self._icons = self._open_icons(client.ua.clock, self._view.remark)
        watcher = make_watcher(client, self._uris, 0, self._options)
        statuses = [Deferred.fromCoroutine(self._fetch(watcher, uri)) for uri in self._uris]
        DeferredList(statuses).addCallback(self._fetched)
        return self._over

    def _fetched(self, results: list[tuple[bool, int]]) -> None:
        status = next((s for _, s in results if s), OK)
        icons = self._icons
        if icons is None:
            self._end(status)
            return
        finishing = icons.finished().addCallback(lambda _: icons.stop())
        finishing.addBoth(lambda _: self._end(status))

    def interrupt(self) -> None:
        """Wait no longer."""
        if self._icons is not None:
            self._icons.stop()
        self._end(OK)

    async def _fetch(self, watcher: Watcher, uri: str) -> int:
        try:
            if not self._lists:
                try:
                    return self._show(await watcher.fetch(uri))
                except FetchError as error:
                    if not is_list(error.response):
                        raise
            return self._show_list(await watcher.fetch_list(uri))
        except FetchError as error:
            told = self._refusal(f"watching {uri}", error.response)
            self._view.remark(str(told))
            return told.status

    def _show(self, watch: PresenceWatch) -> int:
        watch.reason = ""  # a fetch always ends; that is no news
        self._view.show(watch, notified=True)
        if self._icons is not None:
            self._icons.take(watch.uri, watch.objects, watch.document)
        return OK

    def _show_list(self, watch: ListWatch) -> int:
        watch.reason = ""
        if watch.problem:
            self._view.remark(f"{watch.uri}: what has come is no list ({watch.problem})")
            return REFUSED
        everything = Taken(True, full=True, changed=tuple(watch.table.members))
        self._view.show_list(watch, everything, notified=True)
        if self._icons is not None:
            take_listed(self._icons, watch)
        return OK


def take_listed(icons: IconFolder, watch: ListWatch) -> None:
    """Save what is new among the objects of the members of a list."""
    for place, instance in listed_instances(watch.table, ()):
        icons.take(place[-1], instance.objects, instance.document)


def _run(options: argparse.Namespace) -> int:
    check_expires(options)
    wanted = watch_options(options)
    settings = _settings(options)
    icons = _icons(options, settings)
    uris = list(dict.fromkeys(presentity(u, "", settings.user.host) for u in options.uris))
    output, errors = Output(sys.stdout), Output(sys.stderr)
    lines = LineView(output, errors, time.time)
    view: View = lines
    if options.json:
        view = JsonView(output, errors, time.time)
    elif sys.stdout.isatty() and not options.fetch:
        view = TerminalView(lines, lambda: TableView(output, time.time, uris))
        if len(uris) > 1 or options.list:
            view = TableView(output, time.time, uris)
    command = (
        FetchCommand(uris, view, lists=options.list, options=wanted, icons=icons)
        if options.fetch
        else WatchCommand(
            uris, view, options.expires, lists=options.list, options=wanted, icons=icons
        )
    )
    return run(settings, command, output, debug=options.debug)


def _settings(options: argparse.Namespace) -> ClientSettings:
    """Settings of the SIP side; what is for TLS may be for the web servers of icons alone."""
    if options.icons and options.transport in ("udp", "tcp"):
        return sip_settings(options)
    return client_settings(options)


def _icons(options: argparse.Namespace, sip: ClientSettings) -> OpenIcons | None:
    """What opens the folder of ``--icons``, None without.

    :raises CommandError: it cannot be used.
    """
    if not options.icons:
        return None
    settings = IconSettings(
        directory=Path(options.icons),
        access=content_access(options, sip),
        hosts=tuple(options.icons_from),
    )
    return lambda reactor, told: settings.open(reactor, time.time, told)
