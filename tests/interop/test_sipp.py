"""SIPp against the real server: publish, subscribe, digest, retransmission (issue 2, item 8)."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.e2e.daemon import OPEN_POINTS, Daemon
from tests.e2e.phone import Phone, notes
from tests.interop.callers import call
from tests.interop.programs import calm, require

_CALLS = 500


class SippTests(SynchronousTestCase):
    """Each scenario says by itself what has to come; here is how often and over what."""

    def setUp(self) -> None:
        """Do without when SIPp is missing."""
        require("sipp", "sip-tester")

    def open_daemon(self) -> Daemon:
        """A server that believes everybody."""
        return Daemon(self, OPEN_POINTS, (), calm()).start()

    def digest_daemon(self) -> Daemon:
        """A server with an account, that challenges as SIPp understands it.

        SIPp looks at the first challenge only and gives up when that is not for MD5.
        """
        settings = calm(digest={"algorithms": ["MD5"]}, registrar={"max_bindings": 100})
        return Daemon(self, None, ("alice",), settings).start()

    def assert_nothing_published(self, phone: Phone, calls: int) -> None:
        """No presentity of the scenarios has a publication (fetch, RFC 6665 section 4.4.3)."""
        for number in range(1, calls + 1):
            watch = phone.subscribe(f"p{number}", expires=0)
            self.assertEqual(notes(phone.notify(watch)), [], number)

    # -- publish

    def publish(self, point: str) -> None:
        """Many publications from the first PUBLISH to the last."""
        daemon = self.open_daemon()
        call(self, daemon.port(point), point, "publish", calls=_CALLS, at_once=50)
        self.assert_nothing_published(daemon.phone(point, "watcher", ""), 20)

    def test_publish_udp(self) -> None:
        """Initial, refresh, modify, 412 and removal over UDP (PUB-02, PUB-03, PUB-05)."""
        self.publish("udp")

    def test_publish_tcp(self) -> None:
        """The same, all over one connection."""
        self.publish("tcp")

    # -- subscribe

    def test_subscribe_udp(self) -> None:
        """SUBSCRIBE, NOTIFYs with bodies, refresh and end over UDP.

        SUB-08, SUB-10, SUB-11, SUB-13, NOT-01, NOT-06.
        """
        call(self, self.open_daemon().port("udp"), "udp", "subscribe", calls=_CALLS, at_once=50)

    def test_subscribe_tcp(self) -> None:
        """The same over one connection, by which the NOTIFYs come, too (TRN-20)."""
        call(self, self.open_daemon().port("tcp"), "tcp", "subscribe", calls=_CALLS, at_once=50)

    # -- digest

    def digest(self, point: str) -> None:
        """Let in with the password, kept out without."""
        daemon = self.digest_daemon()
        options = ("-auth_uri", "alice@example.com")  # SIPp puts the scheme before it
        call(self, daemon.port(point), point, "digest", *options, calls=24, at_once=8)
        call(self, daemon.port(point), point, "refused", *options, "-ap", "guessed", calls=2)

    def test_digest_udp(self) -> None:
        """Challenge and MD5 answer for REGISTER, PUBLISH and SUBSCRIBE (AUT-02, CLI-02)."""
        self.digest("udp")

    def test_digest_tcp(self) -> None:
        """The same over a connection."""
        self.digest("tcp")

    # -- retransmission

    def test_lost_messages(self) -> None:
        """With every tenth message lost each way all calls succeed, and nothing is doubled.

        A PUBLISH served twice would change the entity-tag twice, so that the next one fails,
        or leave a second publication behind (TXN-07).
        """
        daemon = self.open_daemon()
        patience = 33  # beyond Timer F: with less, one request in 20 000 gets no answer
        totals = call(
            *(self, daemon.port("udp"), "udp", "publish", "-lost", "10"),
            calls=200,
            at_once=200,
            seconds=240,
            patience=patience,
        )
        self.assertGreater(totals.retransmissions, 0)
        self.assert_nothing_published(daemon.phone("udp", "watcher", ""), 200)

    def test_resent_messages(self) -> None:
        """Repeated requests get the same answers and an unanswered NOTIFY is repeated.

        TXN-06, TXN-07, SUB-19.
        """
        call(self, self.open_daemon().port("udp"), "udp", "resend", "-nr", calls=100, at_once=50)
