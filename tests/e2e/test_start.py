"""Starts that fail: the real ``twistd`` gives one message and a non-zero status."""

from __future__ import annotations

import os
import pathlib
import socket
import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase

from presence.certificate import ensure_certificate

ROOT = pathlib.Path(__file__).resolve().parents[2]
TWISTD = "import sys; from twisted.scripts.twistd import run; sys.exit(run())"


class FailingStartTests(SynchronousTestCase):
    """Issue item 5: a bad configuration, a port in use, an unusable certificate."""

    def setUp(self) -> None:
        """Make a directory to start in."""
        self.folder = pathlib.Path(self.mktemp()).absolute()
        self.folder.mkdir()

    def run_start(self, text: str, *options: str) -> subprocess.CompletedProcess[str]:
        """Start with the configuration ``text``; it has to fail and leave no PID file."""
        settings = 'state_dir = "state"\nroles = ["presence-server", "presence-xdms"]\n'
        (self.folder / "p.toml").write_text(settings + text)
        done = subprocess.run(
            [sys.executable, "-c", TWISTD, *options, "presence", "start", "-c", "p.toml"],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=60,
        )
        self.assertEqual(done.returncode, 1, done)
        self.assertFalse((self.folder / "twistd.pid").exists())
        return done

    def start(self, text: str, *options: str) -> str:
        """The one line that a start which fails at once prints."""
        done = self.run_start(text, *options)
        self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
        self.assertTrue(done.stderr.startswith("presence: "), done.stderr)
        self.assertEqual(done.stdout, "")
        return done.stderr

    def test_port_in_use(self) -> None:
        """In the foreground and as a daemon alike."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
            taken.bind(("127.0.0.1", 0))
            port = taken.getsockname()[1]
            text = f'[[listen]]\ntransport = "udp"\nport = {port}\n'
            for options in (["-n"], []):
                self.assertIn(f"port {port} is in use", self.start(text, *options))

    def test_unknown_key(self) -> None:
        """The message names file, line and key."""
        message = self.start("[store]\nkind = 1\n", "-n")
        self.assertIn("p.toml, line 4: store.kind: ", message)

    def test_certificate(self) -> None:
        """A key of another certificate."""
        for name in ("a", "b"):
            ensure_certificate(self.folder / name, ["localhost"])
        message = self.start(
            '[tls]\ncertificate = "a/tls/certificate.pem"\nkey = "b/tls/key.pem"\n', "-n"
        )
        self.assertIn("tls.key", message)
        self.assertIn("do not fit together", message)

    def test_damaged_store(self) -> None:
        """What is found only while starting ends the process with its message, too."""
        (self.folder / "state").mkdir()
        (self.folder / "state" / "presence.sqlite").write_bytes(b"no database" * 1000)
        done = self.run_start('[[listen]]\ntransport = "udp"\nport = 0\n', "-n")
        self.assertIn("presence.sqlite", done.stderr)
        self.assertNotIn("Traceback", done.stdout + done.stderr)
