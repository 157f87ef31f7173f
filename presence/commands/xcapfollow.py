"""``presencectl xcap follow``: see documents change."""

from __future__ import annotations

import argparse
import json
import sys
import time
from datetime import datetime
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, succeed

from presence.commands.failures import USAGE, CommandError
from presence.commands.lasting import OneSubscription
from presence.commands.options import (
    Parsers,
    add_client_options,
    add_expires_option,
    check_expires,
)
from presence.commands.session import Output, run
from presence.commands.xcapsession import (
    add_root_option,
    collection_uri,
    document_settings,
    sip_settings,
)
from pysip.transport.credentials import CredentialsError
from xcap.follow import DocumentFollower
from xcap.followterms import FollowTerms, State

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from presence.client import PresenceClient
    from presence.commands.xcapsession import DocumentSettings
    from pysip.message import Response
    from xcap.cache import CachedDocument
    from xcap.client import XcapClient


def add_parser(actions: Parsers) -> None:
    """Describe the command."""
    parser = actions.add(
        "follow",
        "watch documents change until stopped",
        """
presencectl xcap follow                       (all your documents)
presencectl xcap follow resource-lists/index --document
presencectl xcap follow resource-lists/ pres-rules/ --json
presencectl xcap follow 'resource-lists/index/~~/resource-lists/list[1]/@name'
""",
    )
    parser.add_argument(
        "uris",
        metavar="DOCUMENT",
        nargs="*",
        help="documents, elements or attributes as in get, or collections ending in / "
        "(default: all your documents)",
    )
    parser.add_argument(
        "--document", action="store_true", help="print documents in whole after each change"
    )
    parser.add_argument(
        "--json", action="store_true", help="one JSON object per change, one a line, for scripts"
    )
    parser.add_argument(
        "--no-patching", action="store_true", help="fetch what has changed instead of patching"
    )
    add_expires_option(parser)
    add_client_options(parser)
    add_root_option(parser.add_argument_group("documents"))
    parser.set_defaults(run=_run)


class FollowView:
    """How changes are shown.

    :param whole: print documents, too.
    :param as_json: one object a line.
    :param wall: wall-clock seconds.
    """

    def __init__(
        self,
        output: Output,
        *,
        whole: bool = False,
        as_json: bool = False,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._output = output
        self._whole = whole
        self._json = as_json
        self._wall = wall

    def document(self, sel: str, document: CachedDocument | None) -> None:
        """A document is new, has changed or is gone."""
        text = None if document is None else document.octets.decode(errors="backslashreplace")
        if self._json:
            told: dict[str, object] = {"document": sel, "exists": document is not None}
            if document is not None:
                told["etag"] = document.etag
                if self._whole:
                    told["content"] = text
            self._object(told)
            return
        if document is None or text is None:
            self._line(f"{sel}: removed")
            return
        self._line(f"{sel}: {len(document.octets)} octets, entity-tag {document.etag}")
        if self._whole:
            self._output.write(text if text.endswith("\n") else text + "\n")

    def component(self, state: State) -> None:
        """An element or attribute is new, has changed or is gone."""
        value = getattr(state, "value", None)
        if value is None:
            value = getattr(state, "content", b"").decode(errors="backslashreplace")
        if self._json:
            self._object({"node": state.sel, "exists": state.exists, "content": value})
        elif state.exists:
            self._line(f"{state.sel}: {value}")
        else:
            self._line(f"{state.sel}: removed")

    def _line(self, text: str) -> None:
        moment = datetime.fromtimestamp(self._wall()).astimezone()
        self._output.line(f"{moment:%H:%M:%S} {text}")

    def _object(self, told: dict[str, object]) -> None:
        self._output.line(json.dumps({"time": round(self._wall(), 3), **told}))


class FollowCommand(OneSubscription):
    """Follows documents until it is interrupted, or cannot any more.

    :param uris: relative to the root.
    :param make_client: makes the client of the documents for a reactor.
    """

    def __init__(
        self,
        uris: Sequence[str],
        view: FollowView,
        errors: Output,
        make_client: Callable[[object], XcapClient],
        *,
        expires: int = 3600,
        mode: str = "xcap-patching",
    ) -> None:
        super().__init__("following documents", errors)
        self._uris = tuple(uris)
        self._view = view
        self._make_client = make_client
        self._expires = expires
        self._mode = mode
        self._documents: XcapClient | None = None
        self._follower: DocumentFollower | None = None

    def run(self, client: PresenceClient) -> Deferred[int]:
        """Follow; fires with the exit status when it is over."""
        self._client = client
        try:
            self._documents = documents = self._make_client(client.ua.clock)
        except CredentialsError as error:
            self._over.errback(CommandError(str(error), USAGE))
            return self._over
        terms = FollowTerms(
            uris=self._uris,
            uri=client.settings.aor,
            local_uri=client.local_uri,
            contact=client.link.contact,
            expires=self._expires,
            mode=self._mode,
            route=client.route,
            credentials=client.credentials,
        )
        self._follower = follower = DocumentFollower(client.router, documents, terms, self)
        self._keep(client)
        follower.start()
        return self._over

    def _refresh(self) -> None:
        if self._follower is not None:
            self._follower.refresh()

    def _stop(self) -> Deferred[Any]:
        return succeed(None) if self._follower is None else self._follower.stop()

    def _end(self, status: int) -> None:
        if not self._over.called and self._documents is not None:
            closing = Deferred.fromCoroutine(self._documents.agent.stop())
            closing.addBoth(lambda _: self._over.callback(status))

    # -- the follower tells ---------------------------------------------------------------

    def document(self, sel: str, document: CachedDocument | None) -> None:
        """A document is now so."""
        if not self._ending:
            self._view.document(sel, document)

    def component(self, state: State) -> None:
        """An element or attribute is now so."""
        if not self._ending:
            self._view.component(state)

    def failed(self, response: Response | None, retry_after: float | None) -> None:
        """The subscription was refused or not answered."""
        self._failed(response, retry_after)

    def ended(self, reason: str, retry_after: float | None) -> None:
        """The subscription has ended."""
        self._ended(reason, retry_after)


def _run(options: argparse.Namespace) -> int:
    settings = sip_settings(options)
    documents: DocumentSettings = document_settings(options, settings)
    check_expires(options)
    uris = list(dict.fromkeys(collection_uri(text, documents) for text in options.uris))
    output = Output(sys.stdout)
    command = FollowCommand(
        uris,
        FollowView(output, whole=options.document, as_json=options.json),
        Output(sys.stderr),
        documents.make_client,
        expires=options.expires,
        mode="no-patching" if options.no_patching else "xcap-patching",
    )
    return run(settings, command, output, debug=options.debug)
