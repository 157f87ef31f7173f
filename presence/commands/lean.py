"""Options of ``presencectl watch`` that spare traffic, or ask for more than documents."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Final

from presence.commands.failures import USAGE, CommandError
from presence.commands.options import add_content_option
from presence.filters.document import LIMIT, read_filters
from presence.watcher import WatchOptions
from pysip.event.rates import Rates
from pysip.event.wishes import HIGHEST

_SHORTEST: Final = 1 / HIGHEST
_LONGEST: Final = 1e9
"""Seconds between NOTIFYs that can be asked for."""


def add_lean_options(parser: argparse.ArgumentParser) -> None:
    """What is to be told, and how often; see :func:`watch_options`."""
    group = parser.add_argument_group(
        "what is told, and how often",
        "The server heeds these as far as it knows them.",
    )
    group.add_argument(
        "--partial",
        action="store_true",
        help="be told changes instead of whole documents, where they are shorter",
    )
    group.add_argument(
        "--filter",
        metavar="FILE",
        help="be told only what passes the filters in this file (application/simple-filter+xml, "
        "RFC 4661)",
    )
    group.add_argument(
        "--max-rate",
        metavar="S",
        type=float,
        help="be told at most once in S seconds, by the newest state (as max-rate=1/S per second)",
    )
    group.add_argument(
        "--min-rate",
        metavar="S",
        type=float,
        help="be told at least once in S seconds, also when nothing changes (as min-rate=1/S per "
        "second)",
    )
    group.add_argument(
        "--conditional",
        action="store_true",
        help="when the subscription is refreshed or made anew, be told only what has changed",
    )
    group.add_argument("--compress", action="store_true", help="take compressed documents")
    group.add_argument(
        "--icons",
        metavar="DIR",
        help="save icons and other objects of the documents in this directory",
    )
    group.add_argument(
        "--icons-from",
        metavar="HOST[:PORT]",
        action="append",
        default=[],
        help="also get icons from this web server; without it only from your Content Server "
        "(may be repeated)",
    )
    add_content_option(group)


def watch_options(options: argparse.Namespace) -> WatchOptions:
    """What :func:`add_lean_options` has got.

    :raises CommandError: an option cannot be used.
    """
    most = _rate("--max-rate", options.max_rate)
    least = _rate("--min-rate", options.min_rate)
    if most and least > most:
        raise CommandError("--min-rate: not less seconds than --max-rate are needed", USAGE)
    if options.icons_from and not options.icons:
        raise CommandError("--icons-from: --icons DIR is missing", USAGE)
    return WatchOptions(
        partial=options.partial,
        filters=_filters(options.filter),
        rates=Rates(most, least),
        conditional=options.conditional,
        compressed=options.compress,
        objects=bool(options.icons),
    )


def rates_remark(asked: Rates, adopted: Rates) -> str:
    """What to say when a server keeps to other rates than it was asked for; "" for nothing."""
    said = []
    if asked.maximum and asked.maximum != adopted.maximum:
        said.append(_pace("at most", adopted.maximum))
    if asked.minimum and asked.minimum != adopted.minimum:
        said.append(_pace("at least", adopted.minimum))
    return ", and ".join(said)


def _pace(how: str, rate: float) -> str:
    if not rate:
        return f"the server does not bound how often it tells ({how})"
    return f"the server tells {how} once in {1 / rate:.4g} s"


def _rate(option: str, seconds: float | None) -> float:
    if seconds is None:
        return 0.0
    if not _SHORTEST <= seconds <= _LONGEST:
        raise CommandError(f"{option}: from {_SHORTEST:.2g} to {_LONGEST:g} seconds", USAGE)
    return round(1 / seconds, 10)


def _filters(file: str | None) -> bytes:
    if not file:
        return b""
    try:
        with Path(file).open("rb") as stream:
            document = stream.read(LIMIT + 1)
        read_filters(document, "presence")
    except OSError as error:
        raise CommandError(f"--filter {file}: {error.strerror}", USAGE) from None
    except ValueError as error:
        raise CommandError(f"--filter {file}: {error}", USAGE) from None
    return document
