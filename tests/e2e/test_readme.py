"""README.md and the operator's guide: their commands do what they say, word for word."""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import pty
import re
import select
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from presence.ctl import make_parser
from tests.e2e.daemon import heed_interrupts
from tests.ports import free_port

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
PAGES = (README, *sorted((ROOT / "docs").glob("*.md")))
PASSWORD = "open sesame"
SECONDS = 30.0

_FENCED = re.compile(r"^```(\w*)\n(.*?)^```", re.M | re.S)
_INLINE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
_LINK = re.compile(r"\]\(([^)#\s]+)")
_CLOCK = re.compile(r"\d\d:\d\d:\d\d")
_ESCAPE = re.compile(rb"\x1b\[[0-9;?]*[A-Za-z]")


def section(page: Path, title: str) -> str:
    """The text under a heading of the second level."""
    text = page.read_text("utf-8")
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", text, re.M | re.S)
    assert found is not None, f"{page.name} has no section {title!r}"
    return found[1]


def commands(text: str) -> list[list[str]]:
    """The command lines of each shell block; lines that end in a backslash are joined."""
    blocks = []
    for kind, block in _FENCED.findall(text):
        if kind != "sh":
            continue
        joined = re.sub(r"\\\n\s*", "", block)
        blocks.append([line.strip() for line in joined.splitlines() if line.strip()])
    return blocks


class Terminal:
    """A shell on a terminal of its own, in which somebody types.

    :param environment: of the shell.
    """

    PROMPT = "ready> "

    def __init__(self, environment: dict[str, str]) -> None:
        self._master, slave = pty.openpty()
        try:
            # setsid -c makes it the controlling terminal: Ctrl-C and password prompts work
            self._shell = subprocess.Popen(
                ["setsid", "-c", "bash", "--noprofile", "--norc", "--noediting"],
                cwd=ROOT,
                env={**environment, "PS1": self.PROMPT, "TERM": "xterm", "COLUMNS": "200"},
                stdin=slave,
                stdout=slave,
                stderr=slave,
                preexec_fn=heed_interrupts,
            )
        finally:
            os.close(slave)
        self._seen = b""
        self.expect(re.escape(self.PROMPT))

    def type(self, line: str) -> None:
        """Type a line; what was shown before is forgotten."""
        self._seen = b""
        os.write(self._master, line.encode() + b"\n")

    def forget(self) -> None:
        """Forget what was shown so far."""
        self._seen = b""

    def interrupt(self) -> None:
        """Press Ctrl-C."""
        self._seen = b""
        os.write(self._master, b"\x03")

    @property
    def shown(self) -> str:
        """What was shown since the last line was typed, without escape sequences."""
        return _ESCAPE.sub(b"", self._seen).decode("utf-8", "replace").replace("\r", "")

    def expect(self, pattern: str, seconds: float = SECONDS) -> str:
        """Wait until something is shown; the match.

        :raises AssertionError: it is not, in time.
        """
        deadline = time.monotonic() + seconds
        while (found := re.search(pattern, self.shown)) is None:
            left = deadline - time.monotonic()
            ready = select.select([self._master], [], [], max(0.0, left))[0]
            try:
                data = os.read(self._master, 65536) if ready else b""
            except OSError:
                data = b""
            if not data:
                raise AssertionError(f"no {pattern!r} on the terminal:\n{self.shown}")
            self._seen += data
        return found[0]

    def prompt(self) -> str:
        """Wait for the end of the command."""
        return self.expect(re.escape(self.PROMPT) + "$")

    def status(self) -> int:
        """Exit status of the last command."""
        self.type('echo "status=$?"')
        return int(self.expect(r"(?<=\nstatus=)\d+"))

    def close(self) -> None:
        """End the shell and what runs in it."""
        with contextlib.suppress(ProcessLookupError, OSError):
            os.killpg(os.tcgetpgrp(self._master), signal.SIGTERM)  # a job has a group of its own
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._shell.pid, signal.SIGHUP)
        os.close(self._master)
        try:
            self._shell.wait(SECONDS)
        except subprocess.TimeoutExpired:
            self._shell.kill()
            self._shell.wait()


class WalkTests(SynchronousTestCase):
    """The section "See presence move", typed into three terminals."""

    def setUp(self) -> None:
        """Start the server as ``make run`` does, with free ports and a home of its own."""
        for program in ("make", "setsid", "bash"):
            if shutil.which(program) is None:
                raise SkipTest(f"{program} is not installed")
        if not (ROOT / ".venv/bin/presencectl").exists():
            raise SkipTest("make run has made no .venv yet")
        self.home = Path(self.mktemp()).absolute()
        self.home.mkdir()
        self.environment = {
            "HOME": str(self.home),
            "PATH": os.environ["PATH"],
            "LANG": "C.UTF-8",
        }
        config = self.home / "ports.toml"
        self.https = free_port()
        config.write_text(
            "\n".join(
                f'[[listen]]\ntransport = "{transport}"\nport = 0'
                for transport in ("udp", "tcp", "tls")
            )
            + f"\n[[proxy.listen]]\nport = {self.https}\n"
            "[subscription]\nnotify_interval = 0.0\n"
        )
        self.environment["PRESENCE_XCAP_ROOT"] = f"https://localhost:{self.https}/"
        self.environment["PRESENCE_CONTENT_SERVER"] = f"https://localhost:{self.https}/cs/"
        made = subprocess.run(
            ["make", "-n", "run", f"ARGS=-c {config}"],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            check=True,
        )
        self.server = self.terminal()
        self.server.type(made.stdout.splitlines()[-1].replace("@", "").removeprefix("exec "))
        log = self.server.expect(r"(?s)listening on UDP.*ready: serving localhost")
        self.ports = dict(re.findall(r"listening on (\w+) 127\.0\.0\.1 port (\d+)", log))

    def terminal(self, **environment: str) -> Terminal:
        """A terminal that is closed at the end."""
        terminal = Terminal({**self.environment, **environment})
        self.addCleanup(terminal.close)
        return terminal

    def pair(self, transport: str) -> tuple[Terminal, Terminal]:
        """The second and third terminal; their environment names the server's free port."""
        server = f"127.0.0.1:{self.ports[transport]}"
        second, third = (self.terminal(PRESENCE_SERVER=server) for _ in range(2))
        return second, third

    def watch_and_publish(self, transport: str, watch: str, publish: str) -> str:
        """Watch and publish by these command lines, and stop both; what the watcher saw."""
        note = shlex.split(publish)[shlex.split(publish).index("--note") + 1]
        second, third = self.pair(transport)
        second.type(watch)
        second.expect("Password of bob@localhost: ")
        second.type(PASSWORD)
        second.expect(r"[\d:]{8}  sip:alice@localhost  offline\n")
        third.type(publish)
        third.expect("Password of alice@localhost: ")
        third.type(PASSWORD)
        third.expect(r"published sip:alice@localhost for 3600 s, refreshed until Ctrl-C")
        second.expect(rf'[\d:]{{8}}  sip:alice@localhost  open  "{note}"\n')
        self.assertNotIn(PASSWORD, second.shown + third.shown)
        third.interrupt()
        third.expect("removed the publication for sip:alice@localhost")
        third.prompt()
        second.expect(r'"\n[\d:]{8}  sip:alice@localhost  offline\n')
        shown = second.shown.strip()
        second.interrupt()
        second.prompt()
        self.assertEqual((second.status(), third.status()), (0, 0))
        return shown

    def test_walk(self) -> None:
        """Accounts, watching and publishing, over UDP and TLS; the server ends by Ctrl-C.

        What each terminal shows is what the page says (issue 2, item 7).
        """
        text = section(README, "See presence move")
        blocks = commands(text)
        self.assertEqual([len(block) for block in blocks], [3, 1, 1, 1])
        (alice, bob, watch), (publish,), (tls_watch,), (tls_publish,) = blocks
        self.make_accounts(alice, bob)
        shown = self.watch_and_publish("UDP", watch, publish)
        (printed,) = (block for kind, block in _FENCED.findall(text) if not kind)
        self.assertEqual(_CLOCK.sub("", shown), _CLOCK.sub("", printed.strip()))
        self.watch_and_publish("TLS", tls_watch, tls_publish)
        self.server.interrupt()
        self.server.prompt()
        self.assertRegex(self.server.shown, r"\bstopped\n")
        self.assertNotIn("Traceback", self.server.shown)
        self.assertIn(self.server.status(), (0, 128 + signal.SIGINT))

    def make_accounts(self, alice: str, bob: str) -> None:
        """Make the two accounts by these command lines."""
        second = self.terminal()
        for line, user in ((alice, "alice"), (bob, "bob")):
            second.type(line)
            second.expect(f"Password for {user}@localhost: ")
            second.type(PASSWORD)
            second.expect("Once more: ")
            second.type(PASSWORD)
            second.expect(f"added sip:{user}@localhost")
            second.prompt()
        time.sleep(1.5)  # the server looks for new accounts each second; nobody types faster

    def test_documents(self) -> None:
        """Lists and rules, with presencectl and with curl, over HTTPS (issue 3).

        A buddy is added and a watcher blocked by one element each; who follows hears of it.
        """
        if shutil.which("curl") is None:
            raise SkipTest("curl is not installed")
        (alice, bob, _), *_ = commands(section(README, "See presence move"))
        self.make_accounts(alice, bob)
        text = section(README, "Keep lists and rules")
        blocks = commands(text)
        self.assertEqual([len(block) for block in blocks], [2, 3, 3, 4])
        second, third = self.pair("UDP")
        second.type(blocks[0][0])
        second.prompt()
        second.type(blocks[0][1])
        second.expect("Password of alice@localhost: ")
        second.type(PASSWORD)
        time.sleep(1)  # nothing is shown while she has no lists
        third.type(blocks[1][0])
        third.prompt()
        for line in blocks[1][1:]:
            self.password(third, line, r"(written|created), entity-tag \S+")
            second.expect(r"resource-lists/users/sip:alice@localhost/index: \d+ octets")
            second.forget()
        for line in blocks[2][:2]:
            self.password(third, line, r"(written|created), entity-tag \S+")
        third.type("export EDITOR=true")
        third.prompt()
        self.password(third, blocks[2][2], "not changed")
        third.type(blocks[3][0].replace("8443", str(self.https)))
        third.prompt()
        (printed,) = (block for kind, block in _FENCED.findall(text) if not kind)
        for line, expected in zip(
            blocks[3][1:], (None, re.escape(printed.strip()), None), strict=True
        ):
            third.type(line)
            third.expect("Enter host password for user 'alice':")
            third.type(PASSWORD)
            if expected is not None:
                third.expect(expected)
            third.prompt()
            self.assertEqual(third.status(), 0)
        self.password(
            third,
            ".venv/bin/presencectl xcap get --ca $CA org.openmobilealliance.pres-rules/pres-rules",
            "<pr:sub-handling>polite-block</pr:sub-handling>",
        )
        second.interrupt()
        second.prompt()
        self.assertEqual(second.status(), 0)

    def test_decide(self) -> None:
        """Two users by hand: one waits, the other sees him, allows, is told why, and blocks.

        What each terminal shows is what the page says (issue 4).
        """
        (alice, bob, _), *_ = commands(section(README, "See presence move"))
        self.make_accounts(alice, bob)
        text = section(README, "Decide who may see it")
        blocks = commands(text)
        self.assertEqual([len(block) for block in blocks], [3, 1, 4, 1])
        ((export, confirm, publish), (watch,), (watchers, allow, explain, block), (delete,)) = (
            blocks
        )
        (printed,) = (shown for kind, shown in _FENCED.findall(text) if not kind)
        second, third = self.pair("UDP")
        third.type(export)
        third.prompt()
        self.password(third, confirm, "sip:bob@localhost: confirm\n")
        self.password(third, publish, "published sip:alice@localhost for 3600 s")
        second.type(watch)
        second.expect("Password of bob@localhost: ")
        second.type(PASSWORD)
        second.expect("waiting for permission")
        self.password(third, watchers, r"sip:bob@localhost: pending \(subscribe\)")
        self.password(third, allow, "sip:bob@localhost: allow\n")
        second.expect("status-icon .*\n")
        self.password(third, explain, r"because rule presencectl_allow \(identity one\): allow")
        self.password(third, block, "sip:bob@localhost: block\n")
        second.expect("rejected.*\n")
        shown = _CLOCK.sub("", second.shown).strip()
        self.assertIn(_CLOCK.sub("", printed).strip(), shown)
        second.prompt()
        self.assertEqual(second.status(), 1, "refused")
        self.password(third, delete, "removed")

    def test_list(self) -> None:
        """A list is made, watched as a table, changed and removed (issue 5).

        What the terminal shows is what the page says.
        """
        (alice, bob, _), *_ = commands(section(README, "See presence move"))
        self.make_accounts(alice, bob)
        text = section(README, "Watch a whole list")
        blocks = commands(text)
        self.assertEqual([len(block) for block in blocks], [2, 1, 2, 1])
        ((export, create), (watch,), (publish, add), (delete,)) = blocks
        (printed,) = (shown for kind, shown in _FENCED.findall(text) if not kind)
        second, third = self.pair("UDP")
        third.type(export)
        third.prompt()
        self.password(third, create, "sip:alice-friends@localhost\n")
        second.type(watch)
        second.expect("Password of alice@localhost: ")
        second.type(PASSWORD)
        second.expect(r"  Bob +offline")
        self.password(third, publish, "published sip:bob@localhost", "bob")
        second.expect(r"  Bob +open")
        self.password(third, add, "Me <sip:alice@localhost>: added\n")
        second.expect(r"  Me +offline .*\n")
        self.assertIn(_bare(printed), _bare(second.shown))
        self.password(third, delete, "friends: removed\n")
        second.expect("subscription ended: noresource")
        second.prompt()
        self.assertEqual(second.status(), 1)

    def test_picture(self) -> None:
        """A picture is published, shown to another, and gone at the end (issue 6)."""
        (alice, bob, _), *_ = commands(section(README, "See presence move"))
        self.make_accounts(alice, bob)
        (export, publish), (bob_export, watch) = commands(section(README, "Show a picture"))
        picture = b"\x89PNG\r\n\x1a\n" + os.urandom(200_000)
        (self.home / "me.png").write_bytes(picture)
        second, third = self.pair("UDP")
        third.type(export)
        third.prompt()
        third.type(publish)
        third.expect("Password of alice@localhost: ")
        third.type(PASSWORD)
        third.expect("published sip:alice@localhost for 3600 s, refreshed until Ctrl-C")
        second.type(bob_export)
        second.prompt()
        second.type(watch)
        second.expect("Password of bob@localhost: ")
        second.type(PASSWORD)
        second.expect("icon of sip:alice@localhost saved as .*\\.png")
        (saved,) = (self.home / "icons").iterdir()
        self.assertEqual(saved.read_bytes(), picture)
        stored = self.home / ".local/state/txpresence/content/objects"
        self.assertEqual(len([file for file in stored.rglob("*") if file.is_file()]), 1)
        third.interrupt()
        third.expect("removed the publication for sip:alice@localhost")
        third.prompt()
        self.assertEqual([file for file in stored.rglob("*") if file.is_file()], [])
        second.expect("sip:alice@localhost  offline")
        second.interrupt()
        second.prompt()
        self.assertEqual((second.status(), third.status()), (0, 0))

    def password(self, terminal: Terminal, line: str, expected: str, user: str = "alice") -> None:
        """Type a command and the password that it asks for; it succeeds and shows something."""
        terminal.type(line)
        terminal.expect(f"Password of {user}@localhost: ")
        terminal.type(PASSWORD)
        terminal.expect(expected)
        terminal.prompt()
        self.assertEqual(terminal.status(), 0, line)


class CommandTests(SynchronousTestCase):
    """Every other command that the pages show exists."""

    def shown(self) -> Iterator[tuple[str, list[str]]]:
        """Page and words of every command in shell blocks and in running text."""
        for page in PAGES:
            text = page.read_text("utf-8")
            lines = [line for block in commands(text) for line in block]
            lines += _INLINE.findall(re.sub(r"^```.*?^```", "", text, flags=re.M | re.S))
            for line in lines:
                try:
                    words = shlex.split(line, comments=True)
                except ValueError:
                    continue  # not a command
                if words:
                    yield page.name, [words[0].removeprefix(".venv/bin/"), *words[1:]]

    def test_make(self) -> None:
        """Targets of make are in the Makefile, and those for users are shown."""
        makefile = (ROOT / "Makefile").read_text()
        phony = re.search(r"^\.PHONY: (.*)$", makefile, re.M)
        assert phony is not None
        seen = set()
        for page, words in self.shown():
            if words[0] == "make" and len(words) > 1:
                targets = [word for word in words[1:] if "=" not in word and word[0] != "-"]
                self.assertLessEqual(set(targets), set(phony[1].split()), page)
                seen.update(targets)
        self.assertLessEqual({"run", "test", "check", "bench"}, seen)

    def test_presencectl(self) -> None:
        """Commands and options of presencectl are understood as they are written."""
        options = set(_options(make_parser()))
        count = 0
        for page, words in self.shown():
            if words[0] != "presencectl" or len(words) == 1:
                continue
            count += 1
            given = [word.partition("=")[0] for word in words if word.startswith("--")]
            self.assertLessEqual(set(given), options, page)
            if words[1].startswith("-") or (words[1] == "account" and "|" in words[-1]):
                continue  # of an option, or of several commands
            with contextlib.redirect_stderr(io.StringIO()) as told:
                try:
                    make_parser().parse_args(words[1:])
                except SystemExit as error:
                    short = "the following arguments are required" in told.getvalue()
                    self.assertTrue(short or error.code == 0, (page, words, told.getvalue()))
        self.assertGreater(count, 5)

    def test_twistd(self) -> None:
        """Sub-commands and options of twistd presence are in its help."""
        twistd = shutil.which("twistd", path=os.path.dirname(sys.executable)) or "twistd"
        helps: dict[str, str] = {}
        count = 0
        for page, words in self.shown():
            if words[0] != "twistd" or len(words) == 1:
                continue
            count += 1
            parts = [[twistd]]
            for word in words[1:]:
                if word in ("presence", "start", "check-config"):
                    parts.append([*parts[-1][:1], *(p for p in parts[-1][1:] if p[0] != "-"), word])
                elif word.startswith("-"):
                    self.assert_option(page, word, parts[-1], helps)
            self.assertIn("presence", parts[-1], (page, words))
        self.assertGreater(count, 3)

    def assert_option(
        self, page: str, word: str, command: list[str], helps: dict[str, str]
    ) -> None:
        """``word`` is in the help of ``command``."""
        key = " ".join(command)
        if key not in helps:
            environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"}
            done = subprocess.run(
                [*command, "--help"], cwd=ROOT, env=environment, capture_output=True, text=True
            )
            helps[key] = done.stdout
        option = word.partition("=")[0]
        pattern = rf"(?m)(^|[\s,]){re.escape(option)}(?![\w-])"
        self.assertRegex(helps[key], pattern, f"{page}: {key} {word}")

    def test_links(self) -> None:
        """Every file that the pages link to is there."""
        for page in PAGES:
            for link in _LINK.findall(page.read_text("utf-8")):
                if "://" not in link:
                    self.assertTrue((page.parent / link).exists(), f"{page.name}: {link}")

    def test_paths(self) -> None:
        """Every file of the checkout that the README names in running text is there."""
        for name in _INLINE.findall(README.read_text("utf-8")):
            if re.fullmatch(r"[\w.-]+(/[\w.-]+)+/?", name) and not name.startswith(".venv"):
                self.assertTrue((ROOT / name).exists(), name)


def _bare(shown: str) -> str:
    """What a terminal shows without times and the blanks that they stand in."""
    return "\n".join(line.rstrip() for line in _CLOCK.sub("", shown).strip().splitlines())


def _options(parser: argparse.ArgumentParser) -> Iterator[str]:
    """All long options of a parser and its sub-commands."""
    for action in parser._actions:
        yield from (option for option in action.option_strings if option.startswith("--"))
        if isinstance(action, argparse._SubParsersAction):
            for below in action.choices.values():
                yield from _options(below)
