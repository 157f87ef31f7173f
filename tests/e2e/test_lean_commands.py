"""``presencectl watch`` with all that spares traffic, and with icons (issue 6)."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time

from twisted.trial.unittest import SynchronousTestCase

from presence.commands.failures import OK, USAGE
from pysip.external import ExternalBody, write_external
from pysip.mime import Part, write_related
from tests.e2e.daemon import OPEN_POINTS, PASSWORD, ROOT, Daemon, heed_interrupts, tables
from tests.e2e.phone import DOMAIN, PIDF, aor, pidf
from tests.e2e.test_list_commands import Watching
from tests.e2e.wire import HOST
from tests.e2e.xdm import XcapClient
from tests.ports import free_port
from tests.presence.test_watch_options import FILTER

ICON = bytes(range(256)) * 20
LARGE = os.urandom(1 << 20)


def with_icons(*parts: Part) -> tuple[str, bytes]:
    """A publication of alice's with an icon for each part."""
    icons = "".join(
        f'<d:person id="p{number}"><r:status-icon>cid:{number}@x</r:status-icon></d:person>'
        for number in range(len(parts))
    )
    document = (
        '<presence xmlns="urn:ietf:params:xml:ns:pidf" '
        'xmlns:d="urn:ietf:params:xml:ns:pidf:data-model" '
        f'xmlns:r="urn:ietf:params:xml:ns:pidf:rpid" entity="{aor("alice")}">{icons}</presence>'
    ).encode()
    root = Part({"content-type": [PIDF], "content-id": ["<root@x>"]}, document)
    return write_related([root, *parts], "b0undary")


class LeanCommandTests(SynchronousTestCase):
    """Bob at a terminal watches alice."""

    def setUp(self) -> None:
        """Start a server with a Content Server."""
        port = free_port()
        self.root = f"https://localhost:{port}/"
        self.server = Daemon(
            self,
            OPEN_POINTS,
            ("alice", "bob"),
            tables(
                roles=["presence-server", "aggregation-proxy", "shared-xdms", "content-server"],
                proxy={"listen": [{"port": port}], "rate": 0.0},
                xcap={"roots": {self.root: DOMAIN}},
            ),
        ).start()
        self.alice = self.server.phone("tcp", "alice")
        self.http = XcapClient(port, self.server.certificate, "alice", host=f"localhost:{port}")
        self.addCleanup(self.http.close)
        self.secret = self.server.directory / "secret"
        self.secret.write_text(f"{PASSWORD}\n")
        self.filter = self.server.directory / "filter.xml"
        self.filter.write_bytes(FILTER)
        self.icons = self.server.directory / "icons"
        self.environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "PYTHONWARNINGS": "ignore",
            "TZ": "UTC",
        }

    def words(self, *words: str) -> list[str]:
        """The whole command line."""
        common = ["--user", aor("bob"), "--password-file", str(self.secret)]
        common += ["--server", f"{HOST}:{self.server.port('tcp')}", "--transport", "tcp"]
        return [sys.executable, "-m", "presence.ctl", "watch", "alice", *words, *common]

    def fetch(self, *words: str, status: int = OK) -> str:
        """Run it once; what it has said."""
        done = subprocess.run(
            self.words("--fetch", *words),
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
        )
        self.assertEqual(done.returncode, status, (done.stdout, done.stderr))
        self.assertNotIn("Traceback", done.stderr)
        return done.stdout + done.stderr

    def watch(self, *words: str) -> Watching:
        """Let it run on."""
        process = subprocess.Popen(
            self.words("--json", *words),
            cwd=ROOT,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=heed_interrupts,
        )
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                self.addCleanup(stream.close)
        return Watching(process)

    def saved(self) -> set[bytes]:
        """The icons that were saved."""
        return {file.read_bytes() for file in self.icons.iterdir()}

    def test_lean(self) -> None:
        """WAT-04: differences, filters, rates and conditions together: each change is seen."""
        tag = self.alice.publish(body=pidf("alice", "x" * 500))["sip-etag"]
        watching = self.watch(
            *("--partial", "--conditional", "--compress", "--filter", str(self.filter)),
            *("--max-rate", "0.1", "--min-rate", "60", "--expires", "60"),
        )
        watching.until(lambda told: told["status"] == "open")
        for basic, status in (("closed", "offline"), ("open", "open")):
            body = pidf("alice", "x" * 500, basic=basic)
            tag = self.alice.publish(body=body, sip_if_match=tag)["sip-etag"]
            told = watching.until(lambda told, status=status: told["status"] == status)
            self.assertEqual("closed" in told["document"], False)
        self.assertEqual(watching.stop(), OK)

    def test_filter(self) -> None:
        """WAT-04, FLT-26: what does not pass is not there; a filter that is none is not sent."""
        self.alice.publish(body=pidf("alice", "here", basic="closed"))
        self.assertIn("closed", self.fetch())
        nothing = self.fetch("--filter", str(self.filter), "--partial")
        self.assertRegex(nothing, rf"^[\d:]{{8}}  {aor('alice')}  -$")
        self.filter.write_bytes(FILTER.replace(b"p:tuple", b"q:tuple"))
        self.assertIn("line 3", self.fetch("--filter", str(self.filter), status=USAGE))

    def test_icons(self) -> None:
        """WAT-06, CIN-03: icons in the NOTIFY and at the Content Server are saved and checked."""
        answer = self.http.ask(
            "POST", f"/cs/users/{aor('alice')}/", LARGE, content_type="image/png"
        )
        self.assertEqual(answer.status, 201, answer)
        where = answer["location"]
        until = time.time() + 600
        good = hashlib.sha1(LARGE, usedforsecurity=False).hexdigest()
        content_type, body = with_icons(
            Part({"content-type": ["image/gif"], "content-id": ["<0@x>"]}, ICON),
            write_external(ExternalBody(where, until, len(LARGE), good, "image/png", "1@x")),
            write_external(ExternalBody(where, until, 5, "", "image/png", "2@x")),
            write_external(ExternalBody("https://127.0.0.1:9/x", until, content_id="3@x")),
        )
        self.assertEqual(self.alice.publish(body=body, content_type=content_type).status, 200)
        said = self.fetch(
            *("--icons", str(self.icons), "--ca", self.server.certificate),
            *("--content-server", f"{self.root}cs/"),
        )
        self.assertEqual(self.saved(), {ICON, LARGE}, said)
        self.assertEqual(sorted(f.suffix for f in self.icons.iterdir()), [".gif", ".png"])
        self.assertEqual(said.count(" saved as "), 2, said)
        self.assertIn("it is not what was announced", said)
        self.assertIn("not among those that may be asked", said)
        told = json.loads(self.fetch("--json").splitlines()[0])
        self.assertEqual(len(told["persons"]), 4)
