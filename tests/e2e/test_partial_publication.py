"""Partial publication against the real server, by wire and by command (RFC 5264)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from xml.etree import ElementTree

from twisted.trial.unittest import SynchronousTestCase

from tests.e2e.daemon import PASSWORD, ROOT, Daemon, tables
from tests.e2e.phone import PIDF, aor, notes, pidf
from tests.e2e.wire import HOST, Message

DIFF = "application/pidf-diff+xml"
_NAMESPACES = (
    'xmlns="urn:ietf:params:xml:ns:pidf" xmlns:p="urn:ietf:params:xml:ns:pidf-diff"'
    f' entity="{aor("alice")}"'
)


def whole(note: str) -> bytes:
    """A ``pidf-full`` about Alice, written by hand."""
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<p:pidf-full {_NAMESPACES}>'
        f'<tuple id="t1"><status><basic>open</basic></status><note>{note}</note></tuple>'
        "</p:pidf-full>"
    ).encode()


def changes(operations: str) -> bytes:
    """A ``pidf-diff`` about Alice."""
    return f"<p:pidf-diff {_NAMESPACES}>{operations}</p:pidf-diff>".encode()


def noted(note: str) -> bytes:
    """The change that gives her another note."""
    return changes(f"<p:replace sel=\"presence/tuple[@id='t1']/note/text()\">{note}</p:replace>")


class PartialPublication(SynchronousTestCase):
    """Alice tells changes, Bob watches."""

    def setUp(self) -> None:
        """A server that lets everybody watch."""
        self.daemon = Daemon(self, None, ("alice", "bob"), tables()).start()
        self.alice = self.daemon.phone("tcp", "alice")
        self.bob = self.daemon.phone("tcp", "bob")

    def publish(self, body: bytes, etag: str = "") -> Message:
        """PUBLISH a partial document."""
        return self.alice.publish(body, etag, content_type=DIFF)

    def test_by_wire(self) -> None:
        """Whole, changed, refused, changed after kill -9, replaced, gone.

        PPU-01, PPU-02, PPU-03, PPU-05, PPU-06, XPO-12.
        """
        self.assertEqual(self.publish(noted("too soon")).status, 400)
        first = self.publish(whole("one"))
        self.assertEqual(first.status, 200)
        watch = self.bob.subscribe("alice", accept=PIDF)
        self.assertEqual(notes(self.bob.notify(watch)), ["one"])

        second = self.publish(noted("two"), first["sip-etag"])
        self.assertEqual(second.status, 200)
        self.assertNotEqual(first["sip-etag"], second["sip-etag"])
        self.assertEqual(notes(self.bob.notify(watch)), ["two"])

        refused = self.publish(changes('<p:remove sel="*/device"/>'), second["sip-etag"])
        self.assertEqual(
            (refused.status, refused["content-type"]), (400, "application/patch-ops-error+xml")
        )
        report = ElementTree.fromstring(refused.body)
        self.assertTrue(report[0].tag.endswith("}unlocated-node"), report[0].tag)
        self.assertEqual(self.publish(noted("late"), first["sip-etag"]).status, 412)

        self.daemon.restart()
        self.alice = self.daemon.phone("tcp", "alice")
        third = self.publish(noted("three"), second["sip-etag"])
        self.assertEqual(third.status, 200)
        self.bob = self.daemon.phone("tcp", "bob")
        watch = self.bob.subscribe("alice", accept=PIDF)
        self.assertEqual(notes(self.bob.notify(watch)), ["three"])

        plain = self.alice.publish(pidf("alice", "plain"), third["sip-etag"])
        self.assertEqual(notes(self.bob.notify(watch)), ["plain"])
        changed = self.publish(noted("changed"), plain["sip-etag"])
        self.assertEqual(notes(self.bob.notify(watch)), ["changed"])
        self.assertEqual(self.alice.publish(etag=changed["sip-etag"], expires=0).status, 200)
        self.assertEqual(notes(self.bob.notify(watch)), [])

        other = self.alice.publish(b"text", content_type="text/plain")
        self.assertEqual(other.status, 415)
        self.assertIn(DIFF, other["accept"])

    def test_by_command(self) -> None:
        """With ``presencectl publish --partial`` (SRC-01)."""
        secret = self.daemon.directory / "secret"
        secret.write_text(f"{PASSWORD}\n")
        common = ["--password-file", str(secret), "--transport", "tcp"]
        common += ["--server", f"{HOST}:{self.daemon.port('tcp')}"]

        def ctl(*words: str) -> str:
            done = subprocess.run(
                [sys.executable, "-m", "presence.ctl", *words, *common],
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"},
                capture_output=True,
                text=True,
                timeout=60,
            )
            self.assertEqual(done.returncode, 0, (done.stdout, done.stderr))
            return done.stdout

        told = ctl("publish", "--user", aor("alice"), "--partial", "--once", "--note", "in parts")
        self.assertIn(f"published {aor('alice')} for 3600 s", told)
        watched = ctl("watch", aor("alice"), "--user", aor("bob"), "--fetch", "--json")
        self.assertIn("in parts", json.loads(watched)["notes"])
