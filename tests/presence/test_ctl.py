"""The presencectl command: options, accounts and messages."""

from __future__ import annotations

import contextlib
import getpass
import io
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from twisted.trial import unittest

from presence import ctl
from presence.accounts import AccountStore
from presence.client import ClientSettings
from presence.commands import options, publish, watch
from presence.commands.failures import (
    AUTHENTICATION,
    OK,
    REFUSED,
    UNREACHABLE,
    USAGE,
    CommandError,
    refusal,
    unreachable,
)
from presence.commands.session import Output
from pysip.message import Response
from pysip.uri import SipUri, canonical_aor, parse_uri

ENVIRONMENT = (
    "PRESENCE_SERVER",
    "PRESENCE_USER",
    "PRESENCE_PASSWORD_FILE",
    "PRESENCE_STATE",
    "PRESENCE_XCAP_ROOT",
)


class Terminal(io.StringIO):
    """Standard input at a terminal."""

    def isatty(self) -> bool:
        """It is one."""
        return True


class CtlCase(unittest.SynchronousTestCase):
    """Runs the command in this process."""

    def setUp(self) -> None:
        """Have a directory and nothing in the environment."""
        self.directory = Path(self.mktemp()).absolute()
        self.directory.mkdir()
        self.state = self.directory / "state"
        environment = {k: v for k, v in os.environ.items() if k not in ENVIRONMENT}
        self.patch(os, "environ", environment)

    def call(self, *arguments: str, given: str | io.StringIO = "") -> tuple[int, str, str]:
        """Exit status, standard output and standard error."""
        out, err = io.StringIO(), io.StringIO()
        self.patch(sys, "stdin", io.StringIO(given) if isinstance(given, str) else given)
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                status = ctl.main(arguments)
            except SystemExit as end:  # argparse
                status = end.code if isinstance(end.code, int) else 1
        return status, out.getvalue(), err.getvalue()

    def file(self, name: str, text: str) -> str:
        """The path of a new file."""
        path = self.directory / name
        path.write_text(text, encoding="utf-8")
        return str(path)


class AccountTests(CtlCase):
    """``presencectl account``."""

    def account(self, *arguments: str, given: str | io.StringIO = "") -> tuple[int, str, str]:
        """Call it for our state directory."""
        action, *rest = arguments
        return self.call("account", action, "--state-dir", str(self.state), *rest, given=given)

    def accounts(self) -> list[tuple[str, ...]]:
        """Identities of all accounts in the file."""
        with AccountStore(self.state / "accounts.db") as store:
            return [account.identities for account in store.list()]

    def secret(self) -> bytes:
        """What the file holds."""
        return (self.state / "accounts.db").read_bytes()

    def test_add(self) -> None:
        """An account is made from a password file; no password is stored (AUT-09)."""
        file = self.file("password", "open sesame\nsecond line\n")
        status, out, err = self.account(
            "add", "alice@example.com", "--password-file", file, "--identity", "tel:+4930123456"
        )
        self.assertEqual((status, out, err), (OK, "added sip:alice@example.com\n", ""))
        self.assertEqual(self.accounts(), [("sip:alice@example.com", "tel:+4930123456")])
        self.assertNotIn(b"sesame", self.secret())

    def test_password_from_standard_input(self) -> None:
        """Without a file and a terminal the password is the first line of standard input."""
        for arguments in (("add", "a@example.com"), ("add", "b@example.com", "--password-file=-")):
            self.assertEqual(self.account(*arguments, given="secret\n")[0], OK)
        self.assertEqual(len(self.accounts()), 2)

    def test_password_from_terminal(self) -> None:
        """At a terminal it is asked for twice, without echo."""
        answers = ["secret", "secret", "one", "other"]
        self.patch(getpass, "getpass", lambda prompt: answers.pop(0))
        self.assertEqual(self.account("add", "a@example.com", given=Terminal())[0], OK)
        before = self.secret()
        status, _, err = self.account("passwd", "a@example.com", given=Terminal())
        self.assertEqual(status, USAGE)
        self.assertIn("differ", err)
        self.assertEqual(self.secret(), before)

    def test_change_password(self) -> None:
        """A new password changes what is stored."""
        self.account("add", "a@example.com", given="one\n")
        before = self.secret()
        status, out, _ = self.account("passwd", "a@example.com", given="two\n")
        self.assertEqual((status, out), (OK, "changed the password of a@example.com\n"))
        self.assertNotEqual(self.secret(), before)

    def test_list_and_remove(self) -> None:
        """Accounts are listed in order and removed."""
        for name in ("bob", "alice"):
            self.account("add", f"{name}@example.com", given="secret\n")
        _, out, _ = self.account("list")
        self.assertEqual(out, "sip:alice@example.com\nsip:bob@example.com\n")
        self.assertEqual(self.account("remove", "alice@example.com")[0], OK)
        _, out, _ = self.account("list")
        self.assertEqual(out, "sip:bob@example.com\n")

    def test_mistakes(self) -> None:
        """Each mistake has its message and exit status."""
        self.account("add", "a@example.com", given="secret\n")
        missing = str(self.directory / "missing")
        for status, text, arguments, given in (
            (REFUSED, "already belongs", ("add", "a@example.com"), "x\n"),
            (REFUSED, "there is no account", ("remove", "b@example.com"), ""),
            (REFUSED, "there is no account", ("passwd", "b@example.com"), "x\n"),
            (REFUSED, "write user@domain", ("add", "nobody"), "x\n"),
            (USAGE, "first line is empty", ("add", "b@example.com"), ""),
            (USAGE, "No such file", ("add", "b@example.com", "--password-file", missing), ""),
        ):
            found, out, err = self.account(*arguments, given=given)
            self.assertEqual((found, out), (status, ""), arguments)
            self.assertIn(text, err)
            self.assertTrue(err.startswith("presencectl: "))
            self.assertEqual(err.count("\n"), 1)

    def test_no_accounts_yet(self) -> None:
        """Nothing is made by looking."""
        for arguments in (("list",), ("remove", "a@b.c"), ("passwd", "a@b.c")):
            status, _, err = self.account(*arguments, given="x\n")
            self.assertEqual(status, REFUSED)
            self.assertIn("no accounts yet", err)
        self.assertFalse(self.state.exists())

    def test_state_directory(self) -> None:
        """It is the server's: of the option, the configuration, the environment."""
        config = self.file("presence.toml", f'state_dir = "{self.state}"\n')
        self.assertEqual(self.call("account", "add", "a@b.c", "-c", config, given="x\n")[0], OK)
        os.environ["PRESENCE_STATE"] = str(self.state)
        self.assertEqual(self.call("account", "list")[1], "sip:a@b.c\n")
        status, _, err = self.call("account", "list", "-c", str(self.directory / "none.toml"))
        self.assertEqual(status, USAGE)
        self.assertIn("none.toml", err)


class OptionTests(CtlCase):
    """What ``publish`` and ``watch`` make of their options."""

    def setUp(self) -> None:
        """Run nothing but note what would be."""
        super().setUp()
        self.ran: list[tuple[ClientSettings, Any]] = []

        def run(settings: ClientSettings, command: Any, output: Output, *, debug: bool) -> int:
            self.ran.append((settings, command))
            return OK

        self.patch(publish, "run", run)
        self.patch(watch, "run", run)

    def settings(self, *arguments: str) -> ClientSettings:
        """Settings of a command that would run."""
        status, _, err = self.call(*arguments)
        self.assertEqual(status, OK, err)
        return self.ran[-1][0]

    def mistake(self, text: str, *arguments: str) -> None:
        """A call that is refused with a message."""
        status, out, err = self.call(*arguments)
        self.assertEqual((status, out), (USAGE, ""), err)
        self.assertIn(text, err)
        self.assertEqual(self.ran, [])

    def test_defaults(self) -> None:
        """The least one has to say."""
        settings = self.settings("publish", "--user", "sip:alice@example.com")
        self.assertEqual(settings.aor, "sip:alice@example.com")
        self.assertEqual(settings.username, "alice")
        self.assertEqual(
            (settings.server, settings.transport, settings.password), (None, "udp", None)
        )

    def test_all(self) -> None:
        """Every option arrives."""
        settings = self.settings(
            *("watch", "bob", "--user", "alice@example.com", "--server", "[2001:db8::1]:5070"),
            *("--transport", "tls", "--password-file", self.file("p", "secret\r\n")),
            *("--fingerprint", "AB:" * 31 + "cd"),
        )
        self.assertEqual(settings.server, ("2001:db8::1", 5070))
        self.assertEqual((settings.transport, settings.password), ("tls", "secret"))
        self.assertEqual(settings.fingerprint, "AB:" * 31 + "cd")

    def test_environment(self) -> None:
        """Defaults come from the environment; options win."""
        os.environ.update(
            PRESENCE_SERVER="192.0.2.1:5070",
            PRESENCE_USER="alice@example.com",
            PRESENCE_PASSWORD_FILE=self.file("p", "secret"),
        )
        settings = self.settings("publish")
        self.assertEqual(settings.server, ("192.0.2.1", 5070))
        self.assertEqual((settings.aor, settings.password), ("sip:alice@example.com", "secret"))
        self.assertEqual(self.settings("publish", "--server", "other").server, ("other", None))

    def test_password_from_terminal(self) -> None:
        """Without a file the password is asked for at a terminal; there may be none."""
        for typed, password in (("secret", "secret"), ("", None)):
            self.patch(getpass, "getpass", lambda prompt, typed=typed: typed)
            status, _, _ = self.call("publish", "--user=alice@example.com", given=Terminal())
            self.assertEqual((status, self.ran[-1][0].password), (OK, password))

    def test_tls_is_implied(self) -> None:
        """Options about certificates, and sips, mean TLS."""
        for extra in (("--ca", "x.pem"), ("--insecure",), ("--user", "sips:alice@example.com")):
            settings = self.settings("publish", "--user", "alice@example.com", *extra)
            self.assertEqual(settings.transport, "tls")
        self.ran.clear()
        self.mistake("--transport tls", "publish", "--user=a@b", "--insecure", "--transport=udp")

    def test_username_is_unescaped(self) -> None:
        """The Digest user name is the user part without escapes (CLI-02)."""
        settings = self.settings("publish", "--user", "sip:a%6cice@example.com:5070;x=y")
        self.assertEqual(settings.username, "alice")
        self.assertEqual(canonical_aor(settings.aor), "sip:alice@example.com")

    def test_presentities(self) -> None:
        """Scheme and own domain may be left out; nobody is watched twice."""
        self.settings(
            "watch", "bob", "carol@example.org", "sip:bob@example.com", "--user=a@example.com"
        )
        command = self.ran[-1][1]
        self.assertEqual(command._uris, ["sip:bob@example.com", "sip:carol@example.org"])

    def test_publishing(self) -> None:
        """Status, note and contact, or a document."""
        self.settings(
            *("publish", "bob", "--user=a@example.com", "--status=closed", "--note=away"),
            *("--contact=tel:+1", "--expires=60", "--once"),
        )
        what = self.ran[-1][1]._what
        self.assertEqual(what.presentity, "sip:bob@example.com")
        self.assertEqual(
            (what.status.basic, what.status.note, what.status.contact), ("closed", "away", "tel:+1")
        )
        self.assertEqual((what.expires, what.once, what.keep), (60, True, False))
        self.assertFalse(what.partial)
        self.settings("publish", "--user=a@example.com", "--partial")
        self.assertTrue(self.ran[-1][1]._what.partial)
        self.settings(
            *("publish", "--user=a@example.com", "--activity=lunch", "--activity=gardening"),
            *("--mood=happy", "--place=office", "--sphere=work", "--device=urn:uuid:1"),
            "--icon=https://example.com/a.png",
        )
        what = self.ran[-1][1]._what
        self.assertEqual(what.status.activities, ("meal", "gardening"), "lunch: RPI-06")
        self.assertEqual((what.status.moods, what.status.place), (("happy",), "office"))
        self.assertEqual(
            (what.status.sphere, what.status.icon), ("work", "https://example.com/a.png")
        )
        self.assertEqual(what.device, "urn:uuid:1")
        self.settings("publish", "--user=a@example.com", "--file", self.file("d", "<presence/>"))
        self.assertEqual(self.ran[-1][1]._what.document, b"<presence/>")

    def test_icons(self) -> None:
        """What a picture is, its content says, and not its name (SRC-03)."""
        who = ("publish", "--user=a@example.com")
        for begin, kind in (
            (b"\x89PNG\r\n\x1a\n", "image/png"),
            (b"\xff\xd8\xff\xe0", "image/jpeg"),
            (b"GIF87a", "image/gif"),
            (b"GIF89a", "image/gif"),
        ):
            file = self.file("me.txt", "")
            Path(file).write_bytes(begin + b"...")
            settings = self.settings(*who, "--icon", file, "--insecure", "--transport=udp")
            self.assertFalse(settings.insecure, "that is for the Content Server")
            what = self.ran[-1][1]._what
            self.assertEqual(what.status.icon.content_type, kind)
            self.assertEqual(what.status.icon.content, os.path.abspath(file))
            self.assertEqual(what.access.base, "https://xcap.example.com/cs/")
        self.settings(*who, "--icon", file, "--content-server=https://cs.example.com/x")
        self.assertEqual(self.ran[-1][1]._what.access.base, "https://cs.example.com/x/")
        self.settings(*who, "--icon=https://example.com/a.png", "--content-server=nonsense")
        self.assertIsNone(self.ran[-1][1]._what.access)
        self.ran.clear()
        pipe = file + ".pipe"
        os.mkfifo(pipe)
        for text, given in (
            ("none.png: No such file", ("--icon=none.png",)),
            ("not a file", ("--icon", pipe)),
            ("not a file", ("--icon", os.path.dirname(pipe) or ".")),
            ("neither PNG nor JPEG nor GIF", ("--icon", self.file("a.png", "<svg/>"))),
            ("neither PNG nor JPEG nor GIF", ("--icon", self.file("a.png", ""))),
            ("an https URL", ("--icon", file, "--content-server=nonsense")),
        ):
            self.mistake(text, *who, *given)

    def test_mistakes(self) -> None:
        """Each mistake has its message; nothing is run."""
        who = "--user=a@example.com"
        for text, arguments in (
            ("--user is missing", ("publish",)),
            ("--user is missing", ("watch", "bob")),
            ("write user@domain", ("publish", "--user=nobody")),
            ("SIP address", ("publish", "--user=tel:+1")),
            ("no SIP address", ("watch", "bob jones@example.com", who)),
            ("--server", ("publish", who, "--server=a:b:c")),
            ("--server", ("publish", who, "--server=host:0")),
            ("--fingerprint", ("publish", who, "--fingerprint=AB:CD")),
            ("--expires", ("publish", who, "--expires=0")),
            ("--expires", ("watch", "b", who, "--expires=-1")),
            ("--file says all", ("publish", who, "--file=x", "--note=y")),
            ("--file x: No such file", ("publish", who, "--file=x")),
            ("--contact", ("publish", who, "--contact=not a uri")),
            ("--icon", ("publish", who, "--icon=nowhere")),
            ("--file says all", ("publish", who, "--file=x", "--mood=happy")),
            ("password file none", ("publish", who, "--password-file=none")),
            ("required: URI", ("watch", who)),
            ("invalid choice", ("publish", who, "--status=busy")),
            ("required: COMMAND", ()),
        ):
            self.mistake(text, *arguments)

    def test_help(self) -> None:
        """Every command has help with examples and the exit statuses."""
        for arguments in (
            ("publish",),
            ("watch",),
            ("watchers",),
            ("authorize",),
            ("rules", "explain"),
            ("account",),
            ("account", "add"),
            ("account", "list"),
            ("account", "passwd"),
            ("account", "remove"),
        ):
            status, out, _ = self.call(*arguments, "--help")
            self.assertEqual(status, OK)
            self.assertIn("examples:\n  presencectl " + " ".join(arguments), out)
            self.assertIn("exit status:", out)
        self.assertIn("PRESENCE_SERVER", self.call("--help")[1])


class MessageTests(unittest.SynchronousTestCase):
    """What users are told, and which exit status scripts get."""

    def refusal(self, status: int, password: bool = True, **headers: str) -> CommandError:
        """The error of a response."""
        response = Response(status, "Reason")
        for name, value in headers.items():
            response.set(name.replace("_", "-"), value)
        return refusal(response, "publishing", "sip:a@b", password)

    def test_statuses(self) -> None:
        """Refused, authentication, no answer."""
        self.assertEqual(self.refusal(403).status, REFUSED)
        self.assertEqual(self.refusal(500).status, REFUSED)
        self.assertEqual(self.refusal(401).status, AUTHENTICATION)
        self.assertEqual(self.refusal(407).status, AUTHENTICATION)
        self.assertEqual(refusal(None, "publishing", "sip:a@b", True).status, UNREACHABLE)
        self.assertEqual(unreachable("x", "y").status, UNREACHABLE)

    def test_texts(self) -> None:
        """What failed, why, and what to do."""
        self.assertEqual(
            str(self.refusal(403)), "publishing: 403 Reason; sip:a@b is not allowed to do that"
        )
        self.assertEqual(str(self.refusal(499)), "publishing: 499 Reason")
        self.assertIn("try again in 7 s", str(self.refusal(503, retry_after="7")))
        self.assertIn("line 3", str(self.refusal(400, warning='399 x "line 3"')))
        self.assertIn("--password-file", str(self.refusal(401, password=False)))
        self.assertNotIn("--password-file", str(self.refusal(401)))
        text = str(unreachable("x", "TLS failure: certificate verify failed", tls=True))
        self.assertIn("--ca", text)
        self.assertNotIn("--ca", str(unreachable("x", "connection refused", tls=True)))

    def test_broken_pipe(self) -> None:
        """When nobody reads any more, that is the end and no error."""
        ends: list[bool] = []
        reader, writer = os.pipe()
        os.close(reader)
        with open(writer, "w", encoding="utf-8") as stream:
            output = Output(stream)
            output.on_broken = lambda: ends.append(True)
            output.line("one")
            output.line("two")
        self.assertEqual((ends, output.broken), ([True], True))

    def test_presentity(self) -> None:
        """What people type becomes a URI."""
        expected: Sequence[tuple[str, str]] = (
            ("bob", "sip:bob@example.com"),
            ("bob@example.org", "sip:bob@example.org"),
            ("sips:bob@example.org", "sips:bob@example.org"),
            ("pres:bob@example.org", "pres:bob@example.org"),
            ("tel:+4930123456", "tel:+4930123456"),
        )
        for text, uri in expected:
            self.assertEqual(options.presentity(text, domain="example.com"), uri)
        self.assertIsInstance(parse_uri(expected[0][1]), SipUri)
