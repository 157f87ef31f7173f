"""``presencectl list``: make, change and show the own presence lists."""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import attrs

from presence.commands.failures import OK, REFUSED, USAGE, CommandError
from presence.commands.listmaking import ListMaking
from presence.commands.listshow import as_json, as_text, labelled, pairs
from presence.commands.options import Parsers, presentity
from presence.commands.session import Output
from presence.commands.xcapsession import (
    add_root_options,
    document_settings,
    run_documents,
    sip_settings,
)
from presence.pidf.plain import plain
from presence.rls.definitions import member_key, services_path
from presence.rls.listedit import (
    NoListError,
    add_members,
    remove_list,
    remove_members,
    remove_services,
)
from presence.rls.ownlists import Entry, lists_path, read_lists, read_services
from xcap.canonical import canonical_sip_uri

if TYPE_CHECKING:
    from collections.abc import Iterable

    from presence.commands.xcapsession import DocumentSettings
    from xcap.client import XcapClient

Work = Callable[["XcapClient"], Awaitable[int]]

_NAMED = re.compile(r'\s*(?:"([^"]*)"|([^"<>]*))\s*<([^<>]+)>\s*')


def add_parser(parsers: Parsers) -> None:
    """Describe the commands."""
    parser = parsers.add(
        "list",
        "make, change and show your presence lists, which are watched with one subscription",
        """
presencectl list create friends bob 'Carol <sip:carol@example.com>' --user sip:alice@example.com
presencectl list add friends dave
presencectl list remove friends bob
presencectl list show
presencectl watch alice-friends               (the URI that create has printed)
""",
    )
    actions = Parsers(parser)
    create = actions.add(
        "create",
        "make a list and a URI to watch it by, which is printed; what is there stays",
        """
presencectl list create friends bob carol
presencectl list create friends --title "Friends of mine"
presencectl list create work bob --uri alice-work
""",
    )
    create.add_argument(
        "--uri",
        metavar="URI",
        help="to watch the list by (default: what the server wants, or USER-NAME@DOMAIN)",
    )
    create.add_argument("--title", metavar="TEXT", help="display name of the list")
    add = actions.add(
        "add",
        "add members to a list, or give them another name",
        """
presencectl list add friends dave
presencectl list add friends 'Dave <sip:dave@example.com>' '"Eve B." <sip:eve@example.com>'
""",
    )
    remove = actions.add(
        "remove", "remove members from a list", "presencectl list remove friends bob carol"
    )
    delete = actions.add(
        "delete",
        "remove a list and the URIs to watch it by",
        "presencectl list delete friends",
    )
    show = actions.add(
        "show",
        "show your lists, their members, and the URIs to watch them by",
        "presencectl list show\npresencectl list show friends --json",
    )
    for one in (create, add, remove, delete):
        one.add_argument("name", metavar="NAME", help="of the list")
    show.add_argument("name", metavar="NAME", nargs="?", help="of one list (default: all)")
    show.add_argument("--json", action="store_true", help="one JSON object per list, one a line")
    for one, count in ((create, "*"), (add, "+"), (remove, "+")):
        one.add_argument(
            "members",
            metavar="MEMBER",
            nargs=count,
            help="URI, or 'Name <URI>'; user alone means your own domain",
        )
    for one, action in (
        (create, _create),
        (add, _add),
        (remove, _remove),
        (delete, _delete),
        (show, _show),
    ):
        one.set_defaults(run=_run, action=action)
        add_root_options(one)


@attrs.frozen(slots=True, kw_only=True)
class Desk:
    """What the commands work with.

    :ivar settings: whose lists they are, and where.
    :ivar domain: own domain.
    :ivar output: for what was asked for.
    :ivar errors: for remarks.
    """

    settings: DocumentSettings
    domain: str
    output: Output
    errors: Output

    def remark(self, text: str) -> None:
        """Something to say beside."""
        self.errors.line(f"presencectl: {text}")


def _run(options: argparse.Namespace) -> int:
    sip = sip_settings(options)
    desk = Desk(
        settings=document_settings(options, sip),
        domain=sip.user.host,
        output=Output(sys.stdout),
        errors=Output(sys.stderr),
    )
    what, work = options.action(options, desk)
    return run_documents(desk.settings, what, work, desk.output, debug=options.debug)


# -- what people type ----------------------------------------------------------------------


def read_member(text: str, domain: str) -> Entry:
    """A member: ``bob``, ``sip:bob@example.com`` or ``Bob <sip:bob@example.com>`` (XCLI-07).

    :param domain: the own domain.
    :raises CommandError: it cannot be one.
    """
    named = _NAMED.fullmatch(text)
    uri = named[3].strip() if named else text
    found = presentity(uri, "member", domain)
    key = member_key(found)
    if key is None:
        raise CommandError(f"member {text}: no address", USAGE)
    return Entry(key, plain((named[1] or named[2] or "") if named else ""))


def read_members(texts: Iterable[str], desk: Desk) -> list[Entry]:
    """The members that are typed, each once; the later name counts.

    :raises CommandError: one cannot be a member.
    """
    found: dict[str, Entry] = {}
    for text in texts:
        member = read_member(text, desk.domain)
        known = found.get(member.uri)
        if known is not None:
            desk.remark(f"{member.uri} is named twice")
            member = attrs.evolve(member, name=member.name or known.name)
        found[member.uri] = member
    return list(found.values())


def read_name(text: str) -> str:
    """The name of a list.

    :raises CommandError: it cannot be one.
    """
    if not text.strip() or not text.isprintable():
        raise CommandError("the name of a list must be printable text", USAGE)
    return text


# -- commands ------------------------------------------------------------------------------


def _create(options: argparse.Namespace, desk: Desk) -> tuple[str, Work]:
    name = read_name(options.name)
    uri = ""
    if options.uri:
        try:
            uri = canonical_sip_uri(presentity(options.uri, "--uri", desk.domain))
        except ValueError:
            raise CommandError(f"--uri {options.uri}: a SIP URI is needed", USAGE) from None
    making = ListMaking(
        settings=desk.settings,
        name=name,
        title=plain(options.title or ""),
        members=read_members(options.members, desk),
        uri=uri,
        remark=desk.remark,
    )

    async def work(client: XcapClient) -> int:
        desk.output.line(await making.make(client))
        return OK

    return f"making the list {name}", work


def _add(options: argparse.Namespace, desk: Desk) -> tuple[str, Work]:
    name, members = read_name(options.name), read_members(options.members, desk)

    async def work(client: XcapClient) -> int:
        done: tuple[Entry, ...] = ()
        left: tuple[Entry, ...] = ()

        def edit(before: bytes) -> bytes:
            nonlocal done, left
            after, done, left = add_members(before, name, members)
            return after

        await _change(client, lists_path(desk.settings.aor), edit, name)
        for member in done:
            desk.output.line(f"{labelled(member)}: added")
        for member in left:
            desk.output.line(f"{labelled(member)}: already in {name}")
        return OK

    return f"adding to the list {name}", work


def _remove(options: argparse.Namespace, desk: Desk) -> tuple[str, Work]:
    name = read_name(options.name)
    uris = [member.uri for member in read_members(options.members, desk)]

    async def work(client: XcapClient) -> int:
        done: tuple[str, ...] = ()
        left: tuple[str, ...] = ()

        def edit(before: bytes) -> bytes:
            nonlocal done, left
            after, done, left = remove_members(before, name, uris)
            return after

        await _change(client, lists_path(desk.settings.aor), edit, name)
        for uri in done:
            desk.output.line(f"{uri}: removed")
        for uri in left:
            desk.output.line(f"{uri}: not in {name}")
        return OK

    return f"removing from the list {name}", work


def _delete(options: argparse.Namespace, desk: Desk) -> tuple[str, Work]:
    name, settings = read_name(options.name), desk.settings

    async def work(client: XcapClient) -> int:
        present = await client.fetch(lists_path(settings.aor))
        read = read_lists(b"" if present is None else present.octets)
        is_there = any(one.name == name for one in read)
        gone: list[str] = []

        def edit(before: bytes) -> bytes:
            services = read_services(before, settings.root, settings.aor)
            gone[:] = [service.uri for service in services if service.list == name]
            return remove_services(before, gone)

        # the services first: nobody is to find one whose list has gone
        if await client.fetch(services_path(settings.aor)) is not None:
            await _change(client, services_path(settings.aor), edit, name)
        for uri in gone:
            desk.output.line(f"{uri}: removed")
        if is_there:
            await _change(
                client, lists_path(settings.aor), lambda before: remove_list(before, name), name
            )
        elif not gone:
            raise _no_list(name)
        desk.output.line(f"{name}: removed")
        return OK

    return f"removing the list {name}", work


async def _change(client: XcapClient, path: str, edit: Callable[[bytes], bytes], name: str) -> None:
    try:
        await client.change(path, edit)
    except NoListError:
        raise _no_list(name) from None


def _no_list(name: str) -> CommandError:
    return CommandError(
        f"you have no list {name}; presencectl list create makes one, list show tells yours",
        REFUSED,
    )


# -- showing -------------------------------------------------------------------------------


def _show(options: argparse.Namespace, desk: Desk) -> tuple[str, Work]:
    settings = desk.settings

    async def work(client: XcapClient) -> int:
        lists = await client.fetch(lists_path(settings.aor))
        services = await client.fetch(services_path(settings.aor))
        found = pairs(
            read_lists(b"" if lists is None else lists.octets),
            read_services(
                b"" if services is None else services.octets, settings.root, settings.aor
            ),
        )
        if options.name is not None:
            found = [(one, by) for one, by in found if one is not None and one.name == options.name]
            if not found:
                raise _no_list(options.name)
        for one, by in found:
            if options.json:
                desk.output.line(json.dumps(as_json(one, by)))
            else:
                for text in as_text(one, by):
                    desk.output.line(text)
        if not found and not options.json:
            desk.remark("there are no lists; presencectl list create makes one")
        return OK

    return "reading your lists", work
