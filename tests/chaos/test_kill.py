"""kill -9 at any time loses nothing that was acknowledged (issue 2, item 4 and "is done when")."""

from __future__ import annotations

import time
from collections.abc import Iterator

from twisted.trial.unittest import SynchronousTestCase

from tests.chaos.crowd import Crowd, Prepared
from tests.e2e.daemon import OPEN_POINTS, Daemon, tables
from tests.e2e.phone import NOTED, notes, pidf

COUNT = 1000
"""Publications, and subscriptions, of the great test."""
ROUNDS = 10
"""Kills of the random test."""
_SEED = 20_260_101


def _daemon(case: SynchronousTestCase) -> Daemon:
    settings = tables(
        overload={"enabled": False},
        limits={"publish_rate": 0.0, "subscriptions_per_watcher": 10 * COUNT},
    )
    return Daemon(case, OPEN_POINTS, (), settings).start()


class Kill(SynchronousTestCase):
    """The server is killed; clients go on with what they know."""

    def test_stream_of_publishes(self) -> None:
        """1000 publications, 1000 subscriptions, kill -9 in a stream of PUBLISHes (PUB-09, DLG-13).

        No acknowledged state is missing, watchers are told at most once and only of what has
        changed, with a higher CSeq; refreshes and conditional PUBLISHes succeed.
        """
        daemon = _daemon(self)
        crowd = Crowd(daemon, COUNT, seed=_SEED)
        everybody = crowd.presentities
        crowd.exchange(crowd.publish(p, p.slots[0], "initial") for p in everybody)
        crowd.exchange(crowd.subscribe(p) for p in everybody)
        crowd.until_told()
        # some change and are told, long before the kill
        crowd.exchange(crowd.publish(p, p.slots[0]) for p in everybody[: COUNT // 4])
        crowd.until_told()
        crowd.settle(NOTED)

        stream = everybody[COUNT // 8 : COUNT // 2]

        def endless() -> Iterator[Prepared]:
            while True:
                presentity = crowd.random.choice(stream)
                if presentity.slots[0].asked is None:
                    yield crowd.publish(presentity, presentity.slots[0])

        stop = crowd.answers + COUNT // 2
        crowd.exchange(endless(), lambda: crowd.answers >= stop)
        crowd.kill()
        doubtful = [p for p in everybody if p.slots[0].asked is not None]
        self.assertTrue(doubtful, "nothing was under way")
        daemon.start()
        self.assertIn(f"recovered {COUNT} publications and {COUNT} subscriptions", daemon.log())
        crowd.check_silence()
        crowd.resolve()

        # all go on as if nothing had been
        known = [p for p in everybody if p.slots[0].note is not None]
        self.assertGreaterEqual(len(known), COUNT - len(doubtful))
        crowd.exchange(crowd.publish(p, p.slots[0]) for p in known)
        crowd.until_told()
        crowd.exchange(crowd.unsubscribe(p) for p in everybody)

    def test_random_moments(self) -> None:
        """Killed again and again between any two steps, compared with a model (EVT-01, EVT-03)."""
        daemon = _daemon(self)
        crowd = Crowd(daemon, 30, slots=2, seed=_SEED)
        rng = crowd.random

        def steps() -> Iterator[Prepared]:
            while True:
                presentity = rng.choice(crowd.presentities)
                if rng.random() < 0.3:
                    if presentity.busy:
                        continue
                    if presentity.watching is not None and rng.random() < 0.3:
                        yield crowd.unsubscribe(presentity)
                    else:
                        yield crowd.subscribe(presentity)
                    continue
                slot = rng.choice(presentity.slots)
                if slot.asked is not None:
                    continue
                kinds = ("initial",) if slot.note is None else ("modify", "refresh", "remove")
                yield crowd.publish(presentity, slot, rng.choice(kinds))

        for number in range(ROUNDS):
            stop = crowd.answers + rng.randrange(200)
            crowd.exchange(steps(), lambda stop=stop: crowd.answers >= stop)  # type: ignore[misc]
            if number % 3 == 0:
                crowd.exchange(())
                crowd.settle(NOTED)
            else:
                time.sleep(rng.random() * 0.01)
            crowd.kill()
            if number % 2:
                # once more while it starts
                daemon.launch()
                time.sleep(rng.random())
                crowd.kill_starting()
            daemon.start()
            crowd.check_silence()
            crowd.resolve()

    def test_expired_meanwhile(self) -> None:
        """What expires while the server is down is gone after it, and watchers know (PUB-10)."""
        daemon = _daemon(self)
        phone = daemon.phone("udp", "bob")
        alice, carol = daemon.phone("udp", "alice"), daemon.phone("udp", "carol")
        brief = alice.publish(pidf("alice", "brief"), expires=2)
        alice.publish(pidf("alice", "lasting"), expires=600)
        lasting = carol.publish(pidf("carol", "lasting"), expires=600)
        watch_alice, watch_carol = phone.subscribe("alice"), phone.subscribe("carol")
        ending = phone.subscribe("carol", expires=2)
        for watch in (watch_alice, watch_carol, ending):
            phone.notify(watch)
        phone.listen(NOTED)
        daemon.kill()
        time.sleep(2.2)
        daemon.start()
        self.assertEqual(notes(phone.notify(watch_alice)), ["lasting"])
        state = phone.notify(ending)["subscription-state"]
        self.assertEqual(state, "terminated;reason=timeout")  # NOT-08
        self.assertTrue(phone.silent(watch_carol, NOTED), "carol has not changed")
        self.assertTrue(phone.silent(watch_alice, 0))
        self.assertTrue(phone.silent(ending, 0))
        self.assertEqual(alice.publish(etag=brief["sip-etag"]).status, 412)
        self.assertEqual(carol.publish(etag=lasting["sip-etag"]).status, 200)
        self.assertEqual(phone.resubscribe(ending).status, 481)
        self.assertEqual(phone.resubscribe(watch_alice).status, 200)

    def test_bindings(self) -> None:
        """Registrations survive, with the rest of their lifetime (CLI-01)."""
        daemon = _daemon(self)
        alice = daemon.phone("udp", "alice")
        alice.register(expires=600)
        alice.register(contact="<sip:alice@127.0.0.1:9;transport=tcp>", expires=1)
        daemon.kill()
        time.sleep(1.2)
        daemon.start()
        answer = alice.register(contact=None)
        self.assertEqual(len(answer.every("contact")), 1)
        self.assertIn(alice.contact, answer["contact"])
