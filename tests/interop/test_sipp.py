"""SIPp against the real server: publish, subscribe, digest, retransmission (issue 2, item 8)."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.e2e.daemon import OPEN_POINTS, Daemon
from tests.e2e.deployments import AllInOne
from tests.e2e.phone import Phone, aor, notes
from tests.e2e.test_lists import FRIENDS, services
from tests.e2e.xdm import index
from tests.interop.callers import call
from tests.interop.programs import calm, require

_CALLS = 500
_LISTS = 20


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

    # -- lists

    def watch_lists(self, point: str) -> None:
        """Many subscribers of lists, each of its own."""
        users = tuple(f"w{number}" for number in range(1, _LISTS + 1))
        tables = calm(rls={"window": 0.2, "members": 1, "excess": "terminated"})
        xdm = AllInOne(self, users, **{name: tables[name] for name in ("overload", "rls")})
        for number, user in enumerate(users, 1):
            members = (aor(f"p{number}"), aor(f"q{number}"))
            document = services(*members).replace(
                f'uri="{aor(FRIENDS)}"'.encode(), f'uri="{aor(user)};pres-list=friends"'.encode()
            )
            xdm.client(user).store(index(user, "rls-services"), document)
        port = xdm.proxy.port(point)
        call(self, port, point, "list", calls=_LISTS, at_once=_LISTS // 2)

    def test_list_udp(self) -> None:
        """Full and partial state, versions, refresh and end of lists over UDP.

        RLS-03, RLS-04, RLS-06, RLS-07, RLS-10, RLS-14, RLO-04.
        """
        self.watch_lists("udp")

    def test_list_tcp(self) -> None:
        """The same over one connection."""
        self.watch_lists("tcp")

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
