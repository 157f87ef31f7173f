"""An account is removed: what its user has left at the server ends (PSV-19)."""

from __future__ import annotations

import os
import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase

from tests.e2e.daemon import OPEN_POINTS, ROOT, Daemon, tables
from tests.e2e.phone import Phone, Watch, aor, pidf

MANY = 600
"""Watchers of one presentity: more than are ended in one turn."""
USERS = ("alice", "bob", "carol")


class Removal(SynchronousTestCase):
    """Alice has published; she is watched, and watches."""

    def setUp(self) -> None:
        """Start the server."""
        settings = tables(
            winfo={"operators": [aor("carol")]},
            limits={"publish_rate": 0.0, "subscriptions_per_presentity": 10_000},
        )
        self.daemon = Daemon(self, OPEN_POINTS, USERS, settings).start()
        self.bob = self.daemon.phone("udp", "bob")

    def remove(self, *users: str) -> None:
        """Run ``presencectl account remove``."""
        for user in users:
            done = subprocess.run(
                [
                    *(sys.executable, "-m", "presence.ctl", "account", "remove"),
                    *(aor(user), "--state-dir", str(self.daemon.state)),
                ],
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"},
                capture_output=True,
                text=True,
                timeout=60,
            )
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def watch(self, phone: Phone, user: str, event: str = "presence") -> Watch:
        """Subscribe and take the first NOTIFY."""
        watch = phone.subscribe(user, event=event)
        self.assertEqual(watch.response.status, 200)
        phone.notify(watch)
        return watch

    def assertEnds(self, phone: Phone, watch: Watch, reason: str) -> None:
        """The next NOTIFY is the last one."""
        message = phone.notify(watch)
        self.assertEqual(message["subscription-state"], f"terminated;reason={reason}")
        self.assertEqual(message.body, b"")

    def recovered(self) -> str:
        """What the server finds after a restart."""
        self.daemon.restart()
        (line,) = (line for line in self.daemon.log().splitlines() if "recovered " in line)
        return line.partition("recovered ")[2].partition(" from")[0]

    def test_running(self) -> None:
        """A server that runs notices: noresource, rejected, and nothing is kept (PSV-19)."""
        alice, carol = self.daemon.phone("udp", "alice"), self.daemon.phone("udp", "carol")
        self.assertEqual(alice.publish(pidf("alice", "here")).status, 200)
        watched = self.watch(self.bob, "alice")
        other = self.watch(self.bob, "carol")
        own = self.watch(alice, "carol")
        looking = self.watch(carol, "alice", "presence.winfo")
        self.remove("alice")
        self.assertEnds(self.bob, watched, "noresource")
        self.assertEnds(alice, own, "rejected")
        while True:
            last = carol.notify(looking)["subscription-state"]
            if not last.startswith("active"):
                break
        self.assertEqual(last, "terminated;reason=noresource")
        self.assertTrue(self.bob.silent(other, 0.3))
        self.assertEqual(self.recovered(), "0 publications and 1 subscriptions")
        self.assertEqual(self.bob.resubscribe(watched).status, 481)
        self.assertEqual(self.bob.resubscribe(other).status, 200)

    def test_not_running(self) -> None:
        """A server that was down learns of it when it starts (PSV-19)."""
        alice = self.daemon.phone("udp", "alice")
        bob = self.bob
        self.assertEqual(alice.publish(pidf("alice", "here")).status, 200)
        watched, own = self.watch(bob, "alice"), self.watch(alice, "carol")
        self.daemon.kill()
        self.remove("alice")
        self.daemon.start()
        self.assertEnds(bob, watched, "noresource")
        self.assertEnds(alice, own, "rejected")
        self.assertEqual(self.recovered(), "0 publications and 0 subscriptions")

    def test_killed(self) -> None:
        """Kill -9 in the middle: everybody else is told after the next start (PSV-19, EVT-03)."""
        bob = self.bob
        watches: dict[str, Watch] = {}
        for number in range(MANY):
            watch = bob.subscribe("alice", sender=aor(f"w{number}"))
            self.assertEqual(watch.response.status, 200)
            watches[watch.call_id] = watch
        for watch in watches.values():
            bob.notify(watch)
        del bob.incoming[:]
        self.remove("alice")
        while not bob.incoming:
            bob.step(0.5)
        self.daemon.kill()
        bob.listen(0.3)
        self.daemon.start()
        while bob.listen(1.0):
            pass
        states = {message["subscription-state"] for message in bob.incoming}
        self.assertEqual(states, {"terminated;reason=noresource"})
        # whose end had become durable when the server was killed may not have heard of it
        told = {message["call-id"] for message in bob.incoming}
        for call_id in watches.keys() - told:
            self.assertEqual(bob.resubscribe(watches[call_id]).status, 481)
        self.assertEqual(self.recovered(), "0 publications and 0 subscriptions")
