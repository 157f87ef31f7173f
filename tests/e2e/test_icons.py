"""``presencectl publish --icon`` and ``watch --icons``: shown by another (issue 6; SRC-03)."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.names.client import Resolver
from twisted.trial.unittest import SkipTest, SynchronousTestCase, TestCase

import presence.client
from presence.client import ClientSettings, PresenceClient
from presence.commands.failures import OK
from presence.content.client import ContentClient
from presence.publishing.objects import SourceObject
from presence.source import PresenceSource, SourceTerms, Status
from pysip.transport.credentials import load_trust_roots
from pysip.uri import SipUri, parse_uri
from tests.e2e.contents import MIB, ContentDaemon
from tests.e2e.daemon import PASSWORD, ROOT, heed_interrupts
from tests.e2e.phone import aor
from tests.e2e.test_list_commands import SECONDS, Watching
from tests.e2e.test_rules import RULES, one, rule, ruleset
from tests.e2e.wire import HOST
from tests.presence.test_source_objects import Listener
from xcap.agenttls import Trust
from xcap.auth.client import HttpCredentials

PNG = b"\x89PNG\r\n\x1a\n"
SMALL = PNG + os.urandom(3000)
MEDIUM = b"\xff\xd8\xff" + os.urandom(100_000)
LARGE = PNG + os.urandom(5_000_000)
FLAT = 2 * MIB
"""Octets by which the server may grow at most while an icon of 5 MB is published and shown."""


def await_true(condition: Callable[[], bool]) -> None:
    """Wait for something."""
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, condition
        time.sleep(0.02)


class Publishing:
    """``presencectl publish`` that runs on."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.said: list[str] = []
        self._news = threading.Condition()
        self._readers = [
            threading.Thread(target=self._read, args=(stream,), daemon=True)
            for stream in (process.stdout, process.stderr)
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, stream: Any) -> None:
        for line in stream:
            with self._news:
                self.said.append(line)
                self._news.notify()

    def expect(self, text: str) -> None:
        """Wait until it says something."""
        deadline = time.monotonic() + SECONDS
        with self._news:
            while not any(text in line for line in self.said):
                left = deadline - time.monotonic()
                assert left > 0, (text, self.said)
                self._news.wait(left)

    def stop(self) -> int:
        """Press Ctrl-C; its exit status."""
        self.process.send_signal(2)
        status = self.process.wait(SECONDS)
        for reader in self._readers:
            reader.join(SECONDS)
        return status


class IconDaemon(ContentDaemon):
    """All default roles, for icons of up to 6 MiB."""

    def __init__(self, case: SynchronousTestCase, **publication: Any) -> None:
        super().__init__(
            case,
            alone=False,
            content={"size": 6 * MIB},
            publication={"min_expires": 1, "object_referenced": 6 * MIB, **publication},
        )


class IconCase(SynchronousTestCase):
    """Alice and bob at terminals."""

    def setUp(self) -> None:
        """Start the server."""
        self.server = IconDaemon(self).start()
        self.daemon = self.server.daemon
        self.secret = self.daemon.directory / "secret"
        self.secret.write_text(f"{PASSWORD}\n")
        self.icons = self.daemon.directory / "icons"
        self.picture = self.daemon.directory / "picture"

    def words(self, command: str, user: str, *words: str) -> list[str]:
        """The whole command line."""
        return [
            *(sys.executable, "-m", "presence.ctl", command, *words, "--user", aor(user)),
            *("--password-file", str(self.secret), "--transport", "tcp"),
            *("--server", f"{HOST}:{self.daemon.port('tcp')}"),
            *("--ca", self.daemon.certificate, "--content-server", self.server.base),
        ]

    @property
    def environment(self) -> dict[str, str]:
        """Of the commands."""
        return {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore", "TZ": "UTC"}

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Start a command that runs on."""
        process = subprocess.Popen(
            words,
            cwd=ROOT,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=heed_interrupts,
        )
        # the last one first: who reads a stream has ended when it is closed
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                self.addCleanup(stream.close)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process

    def publish(self, body: bytes, *words: str) -> Publishing:
        """Alice publishes an icon, until she is stopped."""
        self.picture.write_bytes(body)
        words = ("--icon", str(self.picture), *words)
        publishing = Publishing(self.start(*self.words("publish", "alice", *words)))
        publishing.expect("published ")
        return publishing

    def watch(self) -> Watching:
        """Bob watches, and saves icons."""
        words = ("alice", "--json", "--icons", str(self.icons))
        return Watching(self.start(*self.words("watch", "bob", *words)))

    def saved(self) -> set[bytes]:
        """The icons that bob has."""
        files = self.icons.iterdir() if self.icons.exists() else ()
        return {file.read_bytes() for file in files if file.suffix != ".part"}

    def end(self, publishing: Publishing) -> None:
        """Alice stops; nothing of hers is left."""
        self.assertEqual(publishing.stop(), OK)
        self.assertEqual(len(publishing.said), 2, publishing.said)
        self.assertIn("removed the publication", publishing.said[1])
        self.assertEqual(self.server.files(), [])


class IconCommandTests(IconCase):
    """Icons of each size."""

    def course(self, body: bytes, suffix: str, *, stored: bool) -> None:
        """Publish, watch, compare, stop."""
        watching = self.watch()
        publishing = self.publish(body, "--note", "look")
        await_true(lambda: self.saved() == {body})
        self.assertEqual([file.suffix for file in self.icons.iterdir()], [suffix])
        self.assertEqual(len(self.server.files()), int(stored))
        self.end(publishing)
        watching.until(lambda told: told["status"] == "offline")
        self.assertEqual(watching.stop(), OK)

    def test_small(self) -> None:
        """SRC-03, AGP-116, CIN-08: a small icon goes in the messages, whatever its file's name."""
        self.course(SMALL, ".png", stored=False)

    def test_medium(self) -> None:
        """SRC-03, CIN-01, AGP-114, AGP-117: 100 kB by reference, and Ctrl-C removes it all."""
        self.course(MEDIUM, ".jpg", stored=True)

    def test_partial(self) -> None:
        """PPU-07: the same with documents told in parts."""
        publishing = self.publish(MEDIUM, "--partial")
        watching = self.watch()
        await_true(lambda: self.saved() == {MEDIUM})
        self.end(publishing)
        self.assertEqual(watching.stop(), OK)

    def test_once(self) -> None:
        """With --once the icon is stored before the command ends, and stays."""
        publishing = self.publish(MEDIUM, "--once", "--expires", "600")
        self.assertEqual(publishing.process.wait(SECONDS), OK)
        self.assertEqual(len(self.server.files()), 1)
        watching = self.watch()
        await_true(lambda: self.saved() == {MEDIUM})
        self.assertEqual(watching.stop(), OK)

    def test_flat(self) -> None:
        """Issue 6: a 5 MB icon of one client is shown by another with the server's memory flat.

        What is needed once is there after an icon of 100 kB; then the peak may be 2 MiB higher.
        """
        watching = self.watch()
        warm = self.publish(MEDIUM)
        await_true(lambda: self.saved() == {MEDIUM})
        self.end(warm)
        try:
            Path(f"/proc/{self.daemon.pid}/clear_refs").write_text("5")  # forget the peak so far
        except OSError as error:
            raise SkipTest(f"the peak cannot be measured: {error}") from None
        before = self.daemon.resident()
        publishing = self.publish(LARGE)
        await_true(lambda: self.saved() == {MEDIUM, LARGE})
        grown = self._peak() - before
        self.assertLess(grown, FLAT)
        self.end(publishing)
        self.assertEqual(watching.stop(), OK)

    def _peak(self) -> int:
        """Most resident memory of the server since it was forgotten, in octets."""
        status = Path(f"/proc/{self.daemon.pid}/status").read_text()
        (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024

    def test_withheld(self) -> None:
        """Rules that withhold status-icon: the watcher gets neither the element nor the object."""
        client = self.server.client("alice")
        shown = (
            "<pr:provide-services><pr:all-services/></pr:provide-services>"
            "<pr:provide-persons><pr:all-persons/></pr:provide-persons>"
            "<pr:provide-note>true</pr:provide-note>"
        )
        client.store(RULES, ruleset(rule("a", one("bob"), "allow", shown)))
        watching = self.watch()
        for body in (SMALL, MEDIUM):
            publishing = self.publish(body, "--note", "look")
            told = watching.until(lambda told: told["status"] == "open")
            self.assertIn("look", str(told))
            self.assertNotIn("status-icon", str(told))
            self.end(publishing)
        self.assertEqual(self.saved(), set())
        client.store(RULES, ruleset(rule("a", one("bob"), "allow")))
        publishing = self.publish(SMALL, "--note", "look")
        await_true(lambda: self.saved() == {SMALL})
        self.end(publishing)
        self.assertEqual(watching.stop(), OK)

    def test_too_large(self) -> None:
        """What the Content Server, or the Presence Server, does not take is told; the rest goes."""
        watching = self.watch()
        publishing = self.publish(PNG + bytes(6 * MIB), "--note", "look")
        publishing.expect("the icon cannot be published: ")
        watching.until(lambda told: told["status"] == "open")
        self.assertEqual(publishing.stop(), OK)
        self.daemon.settings["publication"]["object_referenced"] = 50_000
        self.daemon.reload()
        publishing = self.publish(MEDIUM, "--note", "look")
        publishing.expect("the Presence Server does not take it")
        await_true(lambda: self.server.files() == [])
        self.assertEqual(publishing.stop(), OK)
        self.assertEqual((self.saved(), watching.stop()), (set(), OK))

    def test_small_server(self) -> None:
        """AGP-116: a server that takes smaller ones only gets a reference (413)."""
        self.daemon.settings["publication"]["object_size"] = 1000
        self.daemon.reload()
        publishing = self.publish(SMALL)
        await_true(lambda: len(self.server.files()) == 1)
        watching = self.watch()
        await_true(lambda: self.saved() == {SMALL})
        self.end(publishing)
        self.assertEqual(watching.stop(), OK)

    def test_end_without_server(self) -> None:
        """Ctrl-C while the Content Server hangs: the publication goes, the icon ends later."""
        with socket.socket() as silent:
            silent.bind((HOST, 0))
            silent.listen()
            self.server.base = f"https://{HOST}:{silent.getsockname()[1]}/cs/"
            self.picture.write_bytes(MEDIUM)
            words = ("--icon", str(self.picture), "--note", "look")
            publishing = Publishing(self.start(*self.words("publish", "alice", *words)))
            publishing.expect("published ")
            self.assertEqual(publishing.stop(), OK)
        self.assertEqual(len(publishing.said), 2, publishing.said)
        self.assertIn("removed the publication", publishing.said[1])

    def test_nobody_there(self) -> None:
        """Without the Content Server there is presence, and no icon."""
        self.server.base = "https://127.0.0.1:9/"
        publishing = self.publish(MEDIUM, "--note", "look")
        publishing.expect("the Content Server cannot be reached")
        self.assertEqual(publishing.stop(), OK)


class LibraryTests(TestCase):
    """A program that publishes with the library."""

    async def setUp(self) -> None:  # type: ignore[override]
        """Alice's program, and what others see."""
        from twisted.internet import reactor

        self.server = IconDaemon(self)  # type: ignore[arg-type]
        await deferToThread(self.server.start)
        uri = parse_uri(aor("alice"))
        assert isinstance(uri, SipUri)
        # one that looks for no changed resolv.conf later
        self.patch(
            presence.client,
            "Resolver",
            lambda resolv, reactor: Resolver(servers=[(HOST, 9)], reactor=reactor),
        )
        settings = ClientSettings(
            user=uri, server=(HOST, self.server.daemon.port("tcp")), transport="tcp"
        )
        self.client = PresenceClient(reactor, settings)
        self.addCleanup(lambda: Deferred.fromCoroutine(self.client.stop()))
        await self.client.start()
        self.store = ContentClient(
            reactor,
            self.server.base,
            aor("alice"),
            HttpCredentials("alice", PASSWORD),
            trust=Trust(roots=load_trust_roots((self.server.daemon.certificate,))),
        )
        self.addCleanup(self.store.stop)
        self.told = Listener()
        terms = SourceTerms(
            presentity=aor("alice"),
            local_uri=self.client.local_uri,
            route=self.client.route,
            throttle=0.0,
        )
        self.source = PresenceSource(self.client.publisher, terms, self.told, time.time, self.store)

    async def until(self, condition: Callable[[], Any]) -> None:
        """Wait for something."""
        await deferToThread(await_true, condition)

    async def test_changed(self) -> None:
        """SRC-03, AGP-117: with another icon the old one is deleted, at the end the last one."""
        self.source.set_status(Status(icon=SourceObject(MEDIUM, "image/jpeg")))
        await self.until(lambda: self.told.lifetimes)
        (first,) = self.server.files()
        (row,) = await self.store.listing()
        self.assertEqual((row["size"], row["type"]), (len(MEDIUM), "image/jpeg"))
        self.source.set_status(Status(icon=SourceObject(MEDIUM + b"2", "image/jpeg")))
        await self.until(lambda: len(self.told.lifetimes) == 2)
        await self.until(lambda: len(self.server.files()) == 1)
        self.assertNotEqual(self.server.files(), [first])
        self.source.set_status(Status(note="no icon"))
        await self.until(lambda: self.server.files() == [])
        self.source.set_status(Status(icon=SourceObject(MEDIUM, "image/jpeg")))
        await self.until(lambda: len(self.told.lifetimes) == 4)
        await self.source.stop()
        self.assertEqual((self.server.files(), self.told.missing), ([], []))
