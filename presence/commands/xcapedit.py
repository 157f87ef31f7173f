"""``presencectl xcap edit``: a document in the user's editor."""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import ProcessProtocol

from presence.commands.failures import OK, REFUSED, USAGE, CommandError
from presence.commands.options import Parsers
from presence.commands.session import Output, run_session
from presence.commands.xcapsession import (
    DOCUMENT_HELP,
    DocumentSession,
    document_settings,
    document_uri,
    http_refusal,
    no_answer,
    sip_settings,
)
from xcap.agent import NoAnswer
from xcap.client import Refused, UnsupportedNamespaces, XcapClient
from xcap.contents import entity_tag

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from twisted.python.failure import Failure

    from presence.commands.xcapsession import DocumentSettings


def add_parser(actions: Parsers) -> argparse.ArgumentParser:
    """Describe the command."""
    parser = actions.add(
        "edit",
        "open a document or element in your editor, and write it if nobody else has meanwhile",
        """
presencectl xcap edit resource-lists/index
presencectl xcap edit 'resource-lists/index/~~/resource-lists/list[@name="friends"]'
EDITOR=nano presencectl xcap edit pres-rules/index
""",
    )
    parser.add_argument("uri", metavar="DOCUMENT", help=DOCUMENT_HELP)
    parser.add_argument(
        "--unchecked", action="store_true", help="do not ask whether the server knows namespaces"
    )
    parser.set_defaults(run=_run)
    return parser


class Editing:
    """One document on its way through the editor.

    :param edit: opens a file in the editor; fires with its exit status.
    :param what: for errors.
    """

    def __init__(
        self,
        uri: str,
        edit: Callable[[Path], Awaitable[int]],
        settings: DocumentSettings,
        output: Output,
        errors: Output,
        *,
        what: str = "editing",
        checked: bool = True,
    ) -> None:
        self._uri = uri
        self._edit = edit
        self._settings = settings
        self._output = output
        self._errors = errors
        self._what = what
        self._checked = checked

    async def work(self, client: XcapClient) -> int:
        """Fetch, edit, write; gives the exit status.

        :raises CommandError: it could not be written; what was edited is kept in a file.
        """
        response = await client.get(self._uri)
        if response.status not in (200, 404):
            raise Refused(response)
        before = response.body if response.status == 200 else b""
        tag = entity_tag(response) if response.status == 200 else ""
        if response.status == 200 and not tag:
            raise CommandError(f"{self._what}: the server gives no entity-tag", REFUSED)
        handle, name = tempfile.mkstemp(prefix="xcap-", suffix=".xml")
        file = Path(name)
        with os.fdopen(handle, "wb") as stream:
            stream.write(before)
        kept = True
        try:
            status = await self._edit(file)
            after = file.read_bytes()
            kept = after != before
            if status:
                raise CommandError(f"the editor has failed with status {status}", REFUSED)
            if not kept or not after.strip():
                self._output.line("not changed")
                return OK
            await self._write(client, after, None if self._is_new_node(response.status) else tag)
            kept = False
        except OSError as error:
            raise CommandError(f"{file}: {error.strerror}", REFUSED) from None
        finally:
            if kept:
                self._errors.line(f"presencectl: what you have written is in {file}")
            else:
                file.unlink(missing_ok=True)
        return OK

    def _is_new_node(self, status: int) -> bool:
        """A node that does not exist, in a document that may."""
        return status == 404 and "/~~/" in self._uri

    async def _write(self, client: XcapClient, body: bytes, tag: str | None) -> None:
        try:
            response = await client.put(
                self._uri, body, client.media_type(self._uri), match=tag, checked=self._checked
            )
        except NoAnswer as error:
            raise no_answer(error) from None
        except UnsupportedNamespaces as error:
            text = f"{self._what}: the server does not know {error}; see --unchecked"
            raise CommandError(text, REFUSED) from None
        if response.status >= 300:
            raise http_refusal(response, self._what, self._settings)
        done = "created" if response.status == 201 else "written"
        self._output.line(f"{done}, entity-tag {entity_tag(response) or 'unknown'}")


class _Program(ProcessProtocol):
    """An editor that has the terminal."""

    def __init__(self) -> None:
        self.ended: Deferred[int] = Deferred()

    def processEnded(self, reason: Failure) -> None:
        """It is done."""
        code = getattr(reason.value, "exitCode", None)
        self.ended.callback(1 if code is None else code)


def command_line(environment: dict[str, str]) -> list[str]:
    """The user's editor and its arguments.

    :raises CommandError: it is not named as a shell would take it.
    """
    text = environment.get("VISUAL") or environment.get("EDITOR") or "vi"
    try:
        words = shlex.split(text)
    except ValueError:
        words = []
    if not words:
        raise CommandError(f"$VISUAL or $EDITOR: {text!r} is no command", USAGE)
    return words


def _run(options: argparse.Namespace) -> int:
    settings = document_settings(options, sip_settings(options))
    uri = document_uri(options.uri, settings)
    words = command_line(dict(os.environ))
    output, errors = Output(sys.stdout), Output(sys.stderr)

    def make(reactor: Any) -> DocumentSession:
        async def edit(file: Path) -> int:
            program = _Program()
            # Ctrl-C is for the editor; unlike an ignored signal, a handler is not inherited
            before = signal.signal(signal.SIGINT, lambda *_: None)
            try:
                reactor.spawnProcess(
                    program,
                    words[0],
                    [*words, str(file)],
                    env=None,
                    childFDs={0: 0, 1: 1, 2: 2},
                )
                return await program.ended
            finally:
                signal.signal(signal.SIGINT, before)

        what = f"editing {options.uri}"
        editing = Editing(
            uri, edit, settings, output, errors, what=what, checked=not options.unchecked
        )
        return DocumentSession(reactor, settings, what, editing.work, errors)

    return run_session(make, output, debug=options.debug)
