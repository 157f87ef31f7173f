"""Two real softphones see each other's presence (issue 2, item 8; clients.md)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from twisted.trial.unittest import SynchronousTestCase

from tests.e2e.daemon import Daemon
from tests.e2e.phone import DOMAIN, aor
from tests.e2e.wire import HOST
from tests.interop.programs import calm, require
from tests.interop.softphone import Softphone

if TYPE_CHECKING:
    _Base = SynchronousTestCase
else:
    _Base = object

_BUSY = (
    '<?xml version="1.0"?><presence xmlns="urn:ietf:params:xml:ns:pidf"'
    ' xmlns:dm="urn:ietf:params:xml:ns:pidf:data-model"'
    f' xmlns:rpid="urn:ietf:params:xml:ns:pidf:rpid" entity="{aor("bob")}">'
    '<tuple id="desk"><status><basic>open</basic></status></tuple>'
    '<dm:person id="bob"><rpid:activities><rpid:busy/></rpid:activities></dm:person></presence>'
)


class _Pair(_Base):
    """The cases; each subclass runs them over its transport."""

    point = ""

    def setUp(self) -> None:
        """Do without when baresip is missing."""
        require("baresip", "baresip-core")

    def begin(
        self,
        domain: str = DOMAIN,
        lifetime: int = 20,
    ) -> None:
        """A server, and two phones that are registered and see each other online.

        The challenges are those of the default configuration, of which baresip 1.0 can take
        that for MD5 only if it is alone (CLI-02).

        :param lifetime: of publications in seconds.  A phone that is registered just when it
            begins publishes twice at once, and one of the two stays for that long (PUB-17).
        """
        self.daemon = Daemon(self, None, ("alice", "bob"), calm()).start()
        domain = domain.format(port=self.daemon.port(self.point))
        self.alice, self.bob = (
            Softphone(self, self.daemon, self.point, user, friend, domain=domain, lifetime=lifetime)
            for user, friend in (("alice", "bob"), ("bob", "alice"))
        )
        for phone in (self.alice, self.bob):
            phone.await_registered()
        for phone in (self.alice, self.bob):
            phone.await_shown("Online")

    def test_see_each_other(self) -> None:
        """Registered with Digest, both publish and watch; changes and the end are shown.

        The end is an un-PUBLISH without body (CLI-01, CLI-02, CLI-03, CLI-07, CLI-09, CLI-11).
        """
        self.begin()
        self.bob.tell("presence_offline")
        self.alice.await_shown("Offline")
        self.bob.tell("presence_online")
        self.alice.await_shown("Online")
        self.alice.tell("presence_offline")
        self.bob.await_shown("Offline")
        self.alice.tell("presence_online")
        self.bob.await_shown("Online")
        self.bob.quit()
        self.alice.await_shown("Offline")
        self.alice.quit()
        for phone in (self.alice, self.bob):
            self.assert_content(phone)

    def assert_content(self, phone: Softphone) -> None:
        """Everything was answered as the phone wished."""
        statuses = set(re.findall(r"^SIP/2\.0 (\d+)", phone.trace(), re.MULTILINE))
        self.assertEqual(statuses, {"200", "401"}, phone.trace())
        self.assertIn(f"SIP/2.0/{self.point.upper()} {HOST}", phone.trace())

    def test_second_device(self) -> None:
        """What another device of Bob publishes is composed with his phone's (CLI-10, PUB-11)."""
        self.begin()
        desk = self.daemon.phone(self.point, "bob", algorithm="MD5")
        etag = desk.publish(_BUSY.encode())["sip-etag"]
        self.alice.await_shown("Busy")
        desk.publish(etag=etag, expires=0)
        self.alice.await_shown("Online")

    def test_vanished(self) -> None:
        """A phone that falls silent is offline as soon as its publication expires (PUB-10)."""
        self.begin(lifetime=5)
        self.bob.until(lambda: "SIP-If-Match" in self.bob.trace(), "refreshes")
        self.alice.await_shown("Online")
        self.bob.kill()
        self.alice.await_shown("Offline")

    def test_server_restarted(self) -> None:
        """After kill -9 of the server its phones go on, with the same publications and dialogs.

        Over TCP the way to the watcher is a new connection to its Contact (CLI-08, DLG-13,
        PSV-20).
        """
        self.begin()
        self.daemon.restart()
        self.bob.tell("presence_offline")
        self.alice.await_shown("Offline")
        self.alice.tell("presence_offline")
        self.bob.await_shown("Offline")
        for phone in (self.alice, self.bob):
            self.assert_content(phone)


class UdpPhoneTests(_Pair, SynchronousTestCase):
    """Over UDP."""

    point = "udp"

    def test_address_as_domain(self) -> None:
        """A numeric address and port stands where the domain should be (CLI-13)."""
        self.begin(domain=f"{HOST}:{{port}}")
        self.bob.quit()
        self.alice.await_shown("Offline")


class TcpPhoneTests(_Pair, SynchronousTestCase):
    """Over TCP, with NOTIFYs to the port that the phone listens at (CLI-08)."""

    point = "tcp"
