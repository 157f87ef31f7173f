"""``presencectl list`` and ``presencectl watch`` of a list against a real server (issue 5)."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, ClassVar
from xml.etree.ElementTree import canonicalize

from twisted.trial.unittest import SynchronousTestCase

from presence.commands.failures import OK, REFUSED
from tests.e2e.daemon import PASSWORD, ROOT, heed_interrupts
from tests.e2e.deployments import AllInOne
from tests.e2e.phone import Phone, aor, pidf
from tests.e2e.test_lists import FRIENDS, services
from tests.e2e.wire import HOST
from tests.e2e.xdm import DOCUMENT, index

LISTS = index("alice")
SERVICES = index("alice", "rls-services")
SECONDS = 30.0


def c14n(document: bytes) -> str:
    """The canonical form of a document, comments included."""
    return canonicalize(document.decode(), with_comments=True)


class Watching:
    """``presencectl watch --json`` that runs on."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.told: list[dict[str, Any]] = []
        self._news = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self._news:
                self.told.append(json.loads(line))
                self._news.notify()

    def until(self, is_so: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Wait for an object that fulfils something; it and what came before it is forgotten."""
        deadline = time.monotonic() + SECONDS
        with self._news:
            while True:
                for number, told in enumerate(self.told):
                    if is_so(told):
                        del self.told[: number + 1]
                        return told
                left = deadline - time.monotonic()
                assert left > 0, self.told
                self._news.wait(left)

    def member(self, user: str, status: str | None, state: str = "active") -> dict[str, Any]:
        """Wait for a member's change."""
        return self.until(
            lambda told: (
                told.get("presentity") == aor(user)
                and (told.get("status"), told.get("subscription")) == (status, state)
            )
        )

    def stop(self) -> int:
        """Interrupt it and give its exit status."""
        self._process.send_signal(signal.SIGINT)
        status = self._process.wait(SECONDS)
        self._reader.join(SECONDS)
        return status


class ListCommandCase(SynchronousTestCase):
    """Base: all roles in one process, and alice at a terminal."""

    changed: ClassVar[dict[str, Any]] = {}

    def setUp(self) -> None:
        """Start."""
        settings = {"rls": {"window": 0.1, "rate": 1000.0}, **self.changed}
        self.xdm = AllInOne(self, **settings)
        self.server = self.xdm.proxy
        self.client = self.xdm.client()
        self.secret = self.server.directory / "secret"
        self.secret.write_text(f"{PASSWORD}\n")
        self.environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "PYTHONWARNINGS": "ignore",
            "TZ": "UTC",
        }

    def phone(self, user: str) -> Phone:
        """Somebody's phone, on TCP."""
        return self.server.phone("tcp", user)

    def words(self, words: tuple[str, ...], user: str) -> list[str]:
        """The whole command line."""
        common = ["--user", aor(user), "--password-file", str(self.secret)]
        if words[0] == "watch":
            common += ["--server", f"{HOST}:{self.server.port('tcp')}", "--transport", "tcp"]
        else:
            common += ["--root", self.xdm.root, "--ca", self.xdm.proxy.certificate]
        return [sys.executable, "-m", "presence.ctl", *words, *common]

    def ctl(self, *words: str, status: int = OK, user: str = "alice") -> tuple[str, str]:
        """Run a command; standard output and standard error."""
        done = subprocess.run(
            self.words(words, user),
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
        )
        self.assertEqual(done.returncode, status, (words, done.stdout, done.stderr))
        self.assertNotIn("Traceback", done.stderr)
        return done.stdout, done.stderr

    def shown(self) -> list[dict[str, Any]]:
        """What ``list show --json`` tells."""
        out, _ = self.ctl("list", "show", "--json")
        return [json.loads(line) for line in out.splitlines()]

    def watch(self, *words: str, user: str = "alice") -> Watching:
        """Watch on and on."""
        process = subprocess.Popen(
            self.words(("watch", "--json", *words), user),
            cwd=ROOT,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            preexec_fn=heed_interrupts,
        )

        def end() -> None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()

        self.addCleanup(end)
        return Watching(process)


class ListTests(ListCommandCase):
    """Lists are made, changed, shown, watched and removed."""

    def test_life(self) -> None:
        """WAT-01, WAT-02, XCLI-02, XCLI-03, XCLI-07, XDM-43: from nothing to nothing.

        A list is made with its service, watched, changed while it is watched, and removed.
        """
        uri = aor("alice-friends")
        made = ("list", "create", "friends", "bob", f"Carol <{aor('carol')}>", "--title", "Friends")
        self.assertEqual(self.ctl(*made), (f"{uri}\n", ""))
        before = self.client.get(LISTS).body, self.client.get(SERVICES).body
        out, err = self.ctl(*made)
        self.assertEqual(out, f"{uri}\n")
        self.assertIn(f"{aor('bob')} is in friends already", err)
        after = self.client.get(LISTS).body, self.client.get(SERVICES).body
        self.assertEqual(after, before, "idempotent")
        (shown,) = self.shown()
        self.assertEqual((shown["name"], shown["title"]), ("friends", "Friends"))
        self.assertEqual([s["uri"] for s in shown["services"]], [uri])
        self.assertEqual([s["packages"] for s in shown["services"]], [["presence"]])
        self.assertEqual(
            shown["members"],
            [{"uri": aor("bob"), "name": None}, {"uri": aor("carol"), "name": "Carol"}],
        )
        bob = self.phone("bob")
        self.assertEqual(bob.publish(pidf("bob", "here")).status, 200)
        watching = self.watch("alice-friends")
        listed = watching.until(lambda told: "members" in told)
        self.assertEqual(
            (listed["list"], listed["subscription"], listed["members"]),
            (uri, "active", [aor("bob"), aor("carol")]),
        )
        told = watching.until(lambda told: told.get("status") == "open")
        self.assertEqual((told["list"], told["presentity"]), (uri, aor("bob")))
        self.assertEqual(told["services"][0]["notes"], ["here"])
        self.assertIn("<note>here", told["document"])
        self.phone("carol").publish(pidf("carol", "in town"))
        self.assertEqual(watching.member("carol", "open")["name"], "Carol")
        out, err = self.ctl("list", "add", "friends", "dave", "bob", "SIP:dave@EXAMPLE.com")
        self.assertIn(f"{aor('dave')}: added", out)
        self.assertIn(f"{aor('bob')}: already in friends", out)
        self.assertIn(f"{aor('dave')} is named twice", err)
        watching.until(lambda told: told.get("members", [])[2:] == [aor("dave")])
        self.phone("dave").publish(pidf("dave", "new"))
        watching.member("dave", "open")
        out, _ = self.ctl("list", "remove", "friends", "bob", "eve")
        self.assertEqual(out, f"{aor('bob')}: removed\n{aor('eve')}: not in friends\n")
        watching.until(lambda told: "removed" in told and told["presentity"] == aor("bob"))
        self.assertEqual(watching.stop(), OK)
        out, _ = self.ctl("watch", uri, "--fetch")
        self.assertIn(f"  {uri}  list  2 members\n", out)
        self.assertIn(f'  Carol <{aor("carol")}>  open  "in town"\n', out)
        out, _ = self.ctl("list", "delete", "friends")
        self.assertEqual(out, f"{uri}: removed\nfriends: removed\n")
        self.assertEqual(self.shown(), [])
        self.assertIn("no list friends", self.ctl("list", "delete", "friends", status=REFUSED)[1])
        self.assertIn("no list friends", self.ctl("list", "add", "friends", "bob", status=1)[1])

    def test_beside_others(self) -> None:
        """XCLI-03, XCLI-05, XDM-46: what other clients have written stays.

        A URI of somebody else is not taken; one of the own that is asked for says whose it is.
        """
        self.client.store(LISTS, DOCUMENT)
        inline = services(aor("bob"), user=FRIENDS)
        self.client.store(SERVICES, inline)
        uri = self.ctl("list", "create", "friends", "dave")[0].strip()
        self.assertEqual(uri, aor("alice-friends-2"), "the own service is not replaced")
        added = b'    <entry uri="sip:dave@example.com"/>\n </list>'
        wanted = DOCUMENT.replace(b" </list>", added)
        self.assertEqual(c14n(self.client.get(LISTS).body), c14n(wanted))
        self.assertIn(c14n(inline)[:-15], c14n(self.client.get(SERVICES).body))
        bob = self.xdm.client("bob")
        bob.store(index("bob", "rls-services"), services(aor("carol"), user="taken"))
        before = self.client.get(LISTS).body, self.client.get(SERVICES).body
        for words, text in (
            (("--uri", "taken"), "is taken, free is"),
            (("--uri", FRIENDS), "another list; nothing was changed"),
            (("--uri", "sip:x@elsewhere.example"), "in a domain served here; nothing was changed"),
        ):
            _, err = self.ctl("list", "create", "work", "bob", *words, status=REFUSED)
            self.assertIn(text, err)
            after = self.client.get(LISTS).body, self.client.get(SERVICES).body
            self.assertEqual(after, before, words)
        bob.store(index("bob", "rls-services"), services(aor("carol"), user="alice-work"))
        uri = self.ctl("list", "create", "work", "bob")[0].strip()
        self.assertNotIn(uri, ("", aor("alice-work")))
        out, _ = self.ctl("list", "show")
        self.assertIn(f"work  {uri}\n  {aor('bob')}\n", out)
        self.assertEqual(self.ctl("list", "create", "work")[0].strip(), uri)

    def test_not_the_owner(self) -> None:
        """RLS-23: who may not use a list is told so; a single presentity is no list."""
        self.client.store(SERVICES, services(aor("bob")))
        self.assertIn("403", self.ctl("watch", FRIENDS, status=REFUSED, user="bob")[1])
        _, err = self.ctl("watch", "--list", "--fetch", "bob", status=REFUSED)
        self.assertIn(f"{aor('bob')}: what has come is no list", err)


class TemplateTests(ListCommandCase):
    """An operator wants URIs of a certain form."""

    changed: ClassVar[dict[str, Any]] = {
        "xcap": {"service_template": "<xui>;pres-list=<id>"},
    }

    def test_template(self) -> None:
        """XDM-56: the form is learnt from the refusal; other URIs leave nothing behind."""
        _, err = self.ctl("list", "create", "friends", "--uri", "alice-x", status=REFUSED)
        self.assertIn("must have the form", err)
        self.assertIn("nothing was changed", err)
        self.assertEqual(self.client.get(LISTS).status, 404)
        self.assertEqual(self.client.get(SERVICES).status, 404)
        uri = self.ctl("list", "create", "friends", "bob")[0].strip()
        self.assertEqual(uri, f"{aor('alice')};pres-list=friends")
        out, _ = self.ctl("watch", uri, "--fetch")
        self.assertIn(f"  {uri}  list  1 member\n", out)
