"""Presence lists when the server is killed while they and their members change (RLO-06, PSV-20)."""

from __future__ import annotations

import http.client
import random
import re
import threading

from twisted.trial.unittest import SynchronousTestCase

from tests.e2e.deployments import AllInOne
from tests.e2e.phone import NOTED, Phone, aor
from tests.e2e.test_list_servers import Served
from tests.e2e.test_lists import ACCEPT, FRIENDS, SERVICES, Buddies, services

ROUNDS = 3
_PEOPLE = 8
_SEED = 20_260_517


class KillTests(SynchronousTestCase):
    """Killed at any moment."""

    def setUp(self) -> None:
        """Start a server; alice has a list, and watches it."""
        self.random = random.Random(_SEED)
        self.xdm = AllInOne(self, rls={"window": 0.2, "rate": 1000.0})
        self.client = self.xdm.client()
        self.people = {aor(f"m{n}"): Served(aor(f"m{n}"), self.phone()) for n in range(_PEOPLE)}
        self.members = list(self.people)[:4]
        self.client.store(SERVICES, services(*self.members))
        self.alice = self.xdm.proxy.phone("udp", "alice")
        watch = self.alice.subscribe(FRIENDS, supported="eventlist", accept=ACCEPT)
        self.assertEqual(watch.response.status, 200, watch.response)
        self.buddies = Buddies(self.alice, watch)
        self.serial = 0

    def phone(self) -> Phone:
        """Somebody's phone."""
        return self.xdm.proxy.phone("tcp", "publisher")

    def publish(self) -> None:
        """Some of the people publish, and that is acknowledged."""
        for uri in self.random.sample(list(self.people), 3):
            self.serial += 1
            self.people[uri].publish(f"n{self.serial}")

    def write(self) -> None:
        """Store one list after the other until the server is gone."""
        try:
            while True:
                count = self.random.randrange(1, _PEOPLE)
                members = self.random.sample(list(self.people), count)
                answer = self.client.put(SERVICES, services(*members))
                assert answer.status in (200, 201), answer
                self.members = members
        except (OSError, http.client.HTTPException):
            self.client.close()

    def truth(self) -> dict[str, str]:
        """The list as it is stored, with what its members have published."""
        stored = re.findall(rb'entry uri="([^"]+)"', self.client.get(SERVICES).body)
        return {uri.decode(): self.people[uri.decode()].state for uri in stored}

    def test_kill(self) -> None:
        """Killed while the list is being written: it goes on with what was acknowledged."""
        for _ in range(ROUNDS):
            self.publish()
            self.buddies.until(self.truth())
            self.alice.listen(NOTED)
            server = self.xdm.proxy
            killer = threading.Timer(self.random.uniform(0.02, 0.3), server.kill)
            killer.start()
            self.write()
            killer.join()
            server.start()
            for served in self.people.values():
                served.phone = self.phone()
            self.buddies.until(self.truth())
            self.publish()
            self.buddies.until(self.truth())
        self.assertTrue(self.alice.silent(self.buddies.watch, 1.0))
        self.assertEqual(list(self.buddies.told()), list(self.truth()))
        # each notification is newer, and none is missing that is not made up for by a full one
        self.assertTrue(all(taken.processed for taken in self.buddies.taken))
        self.assertFalse(any(taken.refresh for taken in self.buddies.taken))
