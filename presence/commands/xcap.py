"""``presencectl xcap``: read, write, edit and follow documents."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING

from presence.commands import xcapedit, xcapfollow
from presence.commands.failures import OK, REFUSED, USAGE, CommandError
from presence.commands.options import Parsers
from presence.commands.session import Output
from presence.commands.xcapsession import (
    DOCUMENT_HELP,
    add_root_options,
    document_settings,
    document_uri,
    run_documents,
    sip_settings,
)
from xcap.client import Refused
from xcap.contents import attribute_body, attribute_value, entity_tag
from xcap.media import ATTRIBUTE_TYPE, ELEMENT_TYPE

if TYPE_CHECKING:
    from presence.commands.xcapsession import DocumentSettings
    from xcap.client import XcapClient

Work = Callable[["XcapClient"], Awaitable[int]]


def add_parser(parsers: Parsers) -> None:
    """Describe the commands."""
    parser = parsers.add(
        "xcap",
        "read, write, edit and follow documents: lists, rules, services",
        """
presencectl xcap get resource-lists/index --user sip:alice@example.com
presencectl xcap edit org.openmobilealliance.pres-rules/pres-rules
presencectl xcap follow resource-lists/
presencectl xcap put --help                   (more about one of the commands)
""",
    )
    actions = Parsers(parser)
    get = actions.add(
        "get",
        "print a document, an element or the value of an attribute",
        """
presencectl xcap get resource-lists/index
presencectl xcap get 'resource-lists/index/~~/resource-lists/list[@name="friends"]'
presencectl xcap get rls-services/global/index
""",
    )
    get.add_argument("uri", metavar="DOCUMENT", help=DOCUMENT_HELP)
    get.add_argument(
        "--etag", action="store_true", help="print the entity-tag to standard error, too"
    )
    put = actions.add(
        "put",
        "write a document, an element or the value of an attribute",
        """
presencectl xcap put resource-lists/index lists.xml
presencectl xcap put resource-lists/index lists.xml --new
presencectl xcap put 'resource-lists/index/~~/resource-lists/list[@name="friends"]/\
entry[@uri="sip:bob@example.com"]' --text '<entry uri="sip:bob@example.com"/>'
presencectl xcap put 'resource-lists/index/~~/resource-lists/list[1]/@name' --text family
""",
    )
    put.add_argument("uri", metavar="DOCUMENT", help=DOCUMENT_HELP)
    put.add_argument(
        "file", metavar="FILE", nargs="?", default="-", help="what to write (default: - for stdin)"
    )
    put.add_argument("--text", metavar="TEXT", help="write this instead of a file")
    put.add_argument("--type", metavar="TYPE", help="media type (default: the one that fits)")
    put.add_argument("--new", action="store_true", help="only if there is no such document yet")
    put.add_argument(
        "--unchecked", action="store_true", help="do not ask whether the server knows namespaces"
    )
    delete = actions.add(
        "delete",
        "remove a document, an element or an attribute",
        """
presencectl xcap delete resource-lists/index
presencectl xcap delete 'resource-lists/index/~~/resource-lists/list[1]/\
entry[@uri="sip:bob@example.com"]'
""",
    )
    delete.add_argument("uri", metavar="DOCUMENT", help=DOCUMENT_HELP)
    for one in (put, delete):
        one.add_argument(
            "--if-match", metavar="ETAG", help="only if the document has this entity-tag"
        )
    edit = xcapedit.add_parser(actions)
    caps = actions.add(
        "caps",
        "print what the server can do",
        "presencectl xcap caps --user sip:alice@example.com\npresencectl xcap caps --json",
    )
    caps.add_argument("--json", action="store_true", help="as one JSON object")
    for one, action in ((get, _get), (put, _put), (delete, _delete), (caps, _caps)):
        one.set_defaults(run=_run, action=action)
    for one in (get, put, delete, edit, caps):
        add_root_options(one)
    xcapfollow.add_parser(actions)


def _run(options: argparse.Namespace) -> int:
    settings = document_settings(options, sip_settings(options))
    output = Output(sys.stdout)
    what, work = options.action(options, settings, output)
    return run_documents(settings, what, work, output, debug=options.debug)


def _get(
    options: argparse.Namespace, settings: DocumentSettings, output: Output
) -> tuple[str, Work]:
    uri = document_uri(options.uri, settings)

    async def work(client: XcapClient) -> int:
        response = await client.get(uri)
        if response.status != 200:
            raise Refused(response)
        text = response.body.decode(errors="backslashreplace")
        if client.media_type(uri) == ATTRIBUTE_TYPE:
            text = attribute_value(response.body)
        output.write(text if text.endswith("\n") else text + "\n")
        if options.etag:
            sys.stderr.write(f"{entity_tag(response)}\n")
        return OK

    return f"reading {options.uri}", work


def _put(
    options: argparse.Namespace, settings: DocumentSettings, output: Output
) -> tuple[str, Work]:
    uri = document_uri(options.uri, settings)
    if options.new and options.if_match:
        raise CommandError("--new and --if-match exclude each other", USAGE)
    if options.text is not None and options.file != "-":
        raise CommandError("give either FILE or --text", USAGE)
    if options.text is None and {options.file, options.password_file} == {"-"}:
        raise CommandError("the password and the document cannot both be standard input", USAGE)
    body = _read(options.file) if options.text is None else options.text.encode()
    match = "" if options.new else options.if_match

    async def work(client: XcapClient) -> int:
        media = options.type or client.media_type(uri)
        whole = media not in (ELEMENT_TYPE, ATTRIBUTE_TYPE)
        content = body
        if media == ATTRIBUTE_TYPE and options.text is not None:
            content = attribute_body(options.text)
        response = await client.put(
            uri, content, media, match=match, checked=whole and not options.unchecked
        )
        if response.status >= 300:
            raise Refused(response)
        done = "created" if response.status == 201 else "written"
        output.line(f"{done}, entity-tag {entity_tag(response) or 'unknown'}")
        return OK

    return f"writing {options.uri}", work


def _delete(
    options: argparse.Namespace, settings: DocumentSettings, output: Output
) -> tuple[str, Work]:
    uri = document_uri(options.uri, settings)

    async def work(client: XcapClient) -> int:
        response = await client.delete(uri, match=options.if_match)
        if response.status >= 300:
            raise Refused(response)
        output.line("removed")
        return OK

    return f"removing {options.uri}", work


def _caps(
    options: argparse.Namespace, settings: DocumentSettings, output: Output
) -> tuple[str, Work]:
    async def work(client: XcapClient) -> int:
        found = await client.capabilities()
        if found is None:
            raise CommandError(f"{settings.root} does not tell what it can do", REFUSED)
        parts = {
            "auids": sorted(found.auids),
            "extensions": sorted(found.extensions),
            "namespaces": sorted(found.namespaces),
        }
        if options.json:
            output.line(json.dumps(parts))
            return OK
        for name, values in parts.items():
            output.line(f"{name}:")
            for value in values:
                output.line(f"  {value}")
        return OK

    return "asking for capabilities", work


def _read(file: str) -> bytes:
    try:
        return sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as error:
        raise CommandError(f"{file}: {error.strerror}", USAGE) from None
