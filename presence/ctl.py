"""The ``presencectl`` command: accounts, presence and documents from a terminal."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from presence.commands import account
from presence.commands.failures import EXIT_STATUS, CommandError
from presence.commands.options import Parsers

if TYPE_CHECKING:
    from collections.abc import Sequence


def make_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    from presence.commands import authorize, lists, publish, rules, watch, watchers, xcap

    parser = argparse.ArgumentParser(
        prog="presencectl",
        description=(
            "Manage accounts of a presence server, publish presence and watch it, "
            "decide who may watch you, keep lists, read and write documents."
        ),
        epilog=(
            "presencectl COMMAND --help shows the options of a command and examples.\n\n"
            "environment: PRESENCE_SERVER, PRESENCE_USER, PRESENCE_PASSWORD_FILE,\n"
            "PRESENCE_STATE and PRESENCE_XCAP_ROOT are defaults of the options named there.\n\n"
            + EXIT_STATUS
        ),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parsers = Parsers(parser)
    account.add_parser(parsers)
    publish.add_parser(parsers)
    watch.add_parser(parsers)
    watchers.add_parser(parsers)
    authorize.add_parser(parsers)
    rules.add_parser(parsers)
    lists.add_parser(parsers)
    xcap.add_parser(parsers)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    :param arguments: of the command line; None takes those of the process.
    :returns: exit status of the process.
    """
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")  # a note may not fit the terminal's encoding
    options = make_parser().parse_args(arguments)
    try:
        status: int = options.run(options)
    except CommandError as error:
        print(f"presencectl: {error}", file=sys.stderr)
        return error.status
    except KeyboardInterrupt:
        print(file=sys.stderr)
        return 130  # as shells have it
    return status


if __name__ == "__main__":
    sys.exit(main())
