"""Command line options that several commands share."""

from __future__ import annotations

import argparse
import getpass
import os
import sys
from typing import TYPE_CHECKING

from presence.addresses import is_host, split_port
from presence.commands.failures import EXIT_STATUS, USAGE, CommandError
from pysip.errors import ParseError
from pysip.uri import SipUri, canonical_aor, parse_uri
from xcap.agent import split_uri

if TYPE_CHECKING:
    from typing import TypeAlias

    from presence.client import ClientSettings

    ArgumentGroup: TypeAlias = argparse._ArgumentGroup  # has no public name


class Parsers:
    """Makes the parsers of sub-commands, all of one style."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        self._sub = parser.add_subparsers(
            title="commands", metavar="COMMAND", dest="command", required=True
        )

    def add(self, name: str, about: str, examples: str) -> argparse.ArgumentParser:
        """A sub-command.

        :param about: one sentence.
        :param examples: example calls, one a line.
        """
        lines = "\n".join(f"  {line}" for line in examples.strip().splitlines())
        return self._sub.add_parser(
            name,
            help=about,
            description=about[0].upper() + about[1:] + ".",
            epilog=f"examples:\n{lines}\n\n{EXIT_STATUS}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )


def add_client_options(parser: argparse.ArgumentParser) -> None:
    """The options of commands that talk to the server."""
    group = parser.add_argument_group("server and user")
    add_user_options(group)
    group.add_argument(
        "--server",
        metavar="HOST[:PORT]",
        default=os.environ.get("PRESENCE_SERVER"),
        help="the server; without it, the one of your domain [$PRESENCE_SERVER]",
    )
    group.add_argument(
        "--transport", choices=("udp", "tcp", "tls"), help="how to reach it (default: udp)"
    )
    add_trust_options(group, "TLS: ")
    group.add_argument("--debug", action="store_true", help="log to standard error")


def add_user_options(group: ArgumentGroup) -> None:
    """Who the user is."""
    group.add_argument(
        "--user",
        metavar="URI",
        default=os.environ.get("PRESENCE_USER"),
        help="who you are, such as sip:alice@example.com [$PRESENCE_USER]",
    )
    group.add_argument(
        "--password-file",
        metavar="FILE",
        default=os.environ.get("PRESENCE_PASSWORD_FILE"),
        help="your password is its first line; - reads standard input "
        "(default: ask at the terminal) [$PRESENCE_PASSWORD_FILE]",
    )


def add_trust_options(group: ArgumentGroup, where: str = "") -> None:
    """Which certificates to believe.

    :param where: begins the help of each option.
    """
    group.add_argument(
        "--ca",
        metavar="FILE",
        help=f"{where}believe the authorities (or the server) in this PEM file",
    )
    group.add_argument(
        "--fingerprint",
        metavar="SHA256",
        help=f"{where}believe the certificate with this fingerprint",
    )
    group.add_argument(
        "--insecure",
        action="store_true",
        help=f"{where}believe any certificate; only to try out",
    )


def add_content_option(group: ArgumentGroup) -> None:
    """Where objects are; see :func:`content_server`."""
    group.add_argument(
        "--content-server",
        metavar="URL",
        default=os.environ.get("PRESENCE_CONTENT_SERVER"),
        help="your Content Server (default: https://xcap.DOMAIN/cs/ of --user; for localhost "
        "https://localhost:8443/cs/) [$PRESENCE_CONTENT_SERVER]",
    )


def content_server(options: argparse.Namespace, domain: str) -> str:
    """The base URI of the user's Content Server, from :func:`add_content_option`.

    :param domain: of the user.
    :raises CommandError: it is none.
    """
    default = (
        "https://localhost:8443/cs/" if domain == "localhost" else f"https://xcap.{domain}/cs/"
    )
    base: str = options.content_server or default
    try:
        split_uri(base)
    except ValueError:
        raise CommandError(f"--content-server {base}: an https URL is needed", USAGE) from None
    return base if base.endswith("/") else f"{base}/"


def add_expires_option(parser: argparse.ArgumentParser, article: str = "the") -> None:
    """How long a subscription is to last; see :func:`check_expires`."""
    parser.add_argument(
        "--expires",
        metavar="N",
        type=int,
        default=3600,
        help=f"lifetime of {article} subscription in seconds (default 3600); it is refreshed",
    )


def check_expires(options: argparse.Namespace) -> None:
    """Whether ``--expires`` can be sent.

    :raises CommandError: it cannot.
    """
    if not 0 < options.expires < 2**32:
        raise CommandError("--expires: a positive number of seconds is needed", USAGE)


def client_settings(options: argparse.Namespace) -> ClientSettings:
    """What :func:`add_client_options` has got.

    :raises CommandError: an option cannot be used.
    """
    from presence.client import ClientSettings, Transport

    if not options.user:
        raise CommandError("--user is missing, for example --user sip:alice@example.com", USAGE)
    user = parse_uri(presentity(options.user, "--user"))
    if not isinstance(user, SipUri) or not user.user:
        raise CommandError(f"--user {options.user}: a SIP address user@domain is needed", USAGE)
    secure = bool(options.ca or options.fingerprint or options.insecure or user.scheme == "sips")
    transport: Transport = options.transport or ("tls" if secure else "udp")
    if secure and transport != "tls":
        raise CommandError("--ca, --fingerprint, --insecure and sips need --transport tls", USAGE)
    return ClientSettings(
        user=user,
        password=_client_password(options.password_file, options.user),
        server=_server(options.server),
        transport=transport,
        ca=options.ca or "",
        fingerprint=fingerprint(options.fingerprint),
        insecure=options.insecure,
    )


def presentity(text: str, option: str = "", domain: str = "") -> str:
    """A presentity's URI from what people type: ``sip:`` and the own domain may be left out.

    :param option: where it stands, for the error.
    :param domain: the own domain; "" when there is none.
    :raises CommandError: it is no address.
    """
    scheme, _, rest = text.partition(":")
    known = scheme.lower() in ("sip", "sips", "pres", "tel")
    uri = f"{scheme.lower()}:{rest}" if known else f"sip:{text}"
    if domain and uri.startswith("sip:") and "@" not in uri:
        uri = f"{uri}@{domain}"
    try:
        key = canonical_aor(uri)
    except ParseError as error:
        raise CommandError(f"{option} {text}: no SIP address ({error})".strip(), USAGE) from None
    if key.startswith("sip:") and "@" not in key:
        raise CommandError(f"{option} {text}: write user@domain".strip(), USAGE)
    return uri


def read_password(file: str) -> str:
    """The first line of a file, or of standard input for ``-``.

    :raises CommandError: there is none.
    """
    try:
        if file == "-":
            line = sys.stdin.readline()
        else:
            with open(file, encoding="utf-8") as stream:
                line = stream.readline()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is not UTF-8 text"
        raise CommandError(f"password file {file}: {reason}", USAGE) from None
    password = line.rstrip("\r\n")
    if not password:
        raise CommandError(f"password file {file}: its first line is empty", USAGE)
    return password


def _client_password(file: str | None, user: str) -> str | None:
    """From a file, else from the terminal if there is one; None when there is none at hand."""
    if file:
        return read_password(file)
    if not sys.stdin.isatty():
        return None
    return getpass.getpass(f"Password of {user}: ") or None


def _server(text: str | None) -> tuple[str, int | None] | None:
    if not text:
        return None
    try:
        host, port = split_port(text)
        if not is_host(host):
            raise ValueError
    except ValueError:
        raise CommandError(
            f"--server {text}: write HOST, HOST:PORT or [IPv6]:PORT", USAGE
        ) from None
    return host, port


def fingerprint(text: str | None) -> str:
    """What ``--fingerprint`` says, "" for nothing.

    :raises CommandError: it is no fingerprint.
    """
    bare = (text or "").replace(":", "")
    if bare and (len(bare) != 64 or set(bare.lower()) - set("0123456789abcdef")):
        raise CommandError("--fingerprint: 32 octets in hexadecimal are needed (SHA-256)", USAGE)
    return text or ""
