"""``presencectl account``: the accounts of a server on this machine."""

from __future__ import annotations

import argparse
import getpass
import sys
from typing import TYPE_CHECKING

from presence.commands.failures import OK, REFUSED, USAGE, CommandError
from presence.commands.options import Parsers, read_password

if TYPE_CHECKING:
    from presence.accounts import AccountStore


def add_parser(parsers: Parsers) -> None:
    """Describe the command."""
    parser = parsers.add(
        "account",
        "add, list and remove the accounts of the server on this machine",
        """
presencectl account add alice@example.com
presencectl account add bob@example.com --password-file bob.txt --identity tel:+4930123456
presencectl account list
presencectl account passwd alice@example.com
presencectl account remove bob@example.com
presencectl account list --state-dir /var/lib/txpresence
""",
    )
    actions = Parsers(parser)
    add = actions.add("add", "make an account", "presencectl account add alice@example.com")
    add.add_argument(
        "--identity",
        metavar="URI",
        action="append",
        default=[],
        help="a further public identity of the account; may be repeated",
    )
    passwd = actions.add(
        "passwd", "set the password", "presencectl account passwd alice@example.com"
    )
    remove = actions.add(
        "remove", "remove an account", "presencectl account remove alice@example.com"
    )
    for one in (add, passwd, remove):
        one.add_argument("address", metavar="USER@DOMAIN", help="the account")
    for one in (add, passwd):
        one.add_argument(
            "--password-file",
            metavar="FILE",
            help="the password is its first line; - reads standard input "
            "(default: ask at the terminal)",
        )
    shown = actions.add("list", "list the accounts", "presencectl account list")
    for one, action in ((add, _add), (passwd, _passwd), (remove, _remove), (shown, _list)):
        one.add_argument(
            "--state-dir",
            metavar="DIR",
            help="state directory of the server "
            "(default: $PRESENCE_STATE, else ~/.local/state/txpresence)",
        )
        one.add_argument(
            "-c", "--config", metavar="FILE", help="take the state directory of this configuration"
        )
        one.set_defaults(run=_run, action=action)


def _run(options: argparse.Namespace) -> int:
    from presence.accounts import AccountError, AccountStore
    from presence.config import ConfigError, load

    try:
        path = load(options.config, options.state_dir).accounts_path
        if options.action in (_passwd, _remove, _list) and not path.exists():
            raise CommandError(f"{path.parent}: there are no accounts yet", REFUSED)
        with AccountStore(path) as store:
            options.action(store, options)
    except ConfigError as error:
        raise CommandError(str(error), USAGE) from None
    except AccountError as error:
        raise CommandError(str(error), REFUSED) from None
    return OK


def _add(store: AccountStore, options: argparse.Namespace) -> None:
    account = store.add(options.address, _new_password(options), options.identity)
    print(f"added {account.aor}")


def _passwd(store: AccountStore, options: argparse.Namespace) -> None:
    store.set_password(options.address, _new_password(options))
    print(f"changed the password of {options.address}")


def _remove(store: AccountStore, options: argparse.Namespace) -> None:
    store.remove(options.address)
    print(f"removed {options.address}")


def _list(store: AccountStore, options: argparse.Namespace) -> None:
    for account in store.list():
        further = ", ".join(account.identities[1:])
        print(account.aor + (f"  also {further}" if further else ""))


def _new_password(options: argparse.Namespace) -> str:
    """From a file, from the terminal without echo, or else from standard input."""
    if options.password_file:
        return read_password(options.password_file)
    if not sys.stdin.isatty():
        return read_password("-")
    password = getpass.getpass(f"Password for {options.address}: ")
    if getpass.getpass("Once more: ") != password:
        raise CommandError("the two passwords differ; nothing was changed", USAGE)
    return password
