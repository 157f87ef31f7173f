"""Network sources: servers that publish for the users of a domain (PUB-20)."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from presence.limits import PublicationLimits
from pysip.errors import SipError
from tests.e2e.daemon import OPEN_POINTS, Daemon, tables
from tests.e2e.phone import aor, notes, pidf

GATEWAY = "sip:gateway@example.com"


class NetworkSourceTests(SynchronousTestCase):
    """The configured server, and everybody else."""

    def test_configured(self) -> None:
        """Refused, then allowed by a reload, for every user; others stay refused (PUB-20)."""
        daemon = Daemon(self, OPEN_POINTS, (), tables(limits={"publish_rate": 1.0})).start()
        gateway = daemon.phone("udp", "gateway")
        self.assertEqual(gateway.publish(pidf("alice", "x"), user="alice").status, 403)
        daemon.settings["publication"]["network_sources"] = ["gateway@127.0.0.1"]  # an alias
        daemon.reload()
        users = [f"user{number}" for number in range(12)]  # more than one may publish at once
        for user in users:
            self.assertEqual(gateway.publish(pidf(user, "by net"), user=user).status, 200)
        bob = daemon.phone("tcp", "bob")
        self.assertEqual(notes(bob.notify(bob.subscribe(users[-1]))), ["by net"])
        self.assertEqual(bob.publish(pidf("alice", "x"), user="alice").status, 403)

    def test_rate(self) -> None:
        """Its rate is limited for each user apart (PUB-16, PUB-20)."""
        clock = Clock()
        limits = PublicationLimits(clock.seconds, rate=1.0, burst=3)
        for user in ("alice", "bob"):
            for _ in range(3):
                limits.admit(aor(user), GATEWAY, 0, True)
            with self.assertRaises(SipError) as caught:
                limits.admit(aor(user), GATEWAY, 0, True)
            self.assertEqual(caught.exception.status, 503)
