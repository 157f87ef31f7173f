"""Documents and their watchers when the server is killed, and when its disk fails (issue 3)."""

from __future__ import annotations

import http.client
import random
import sqlite3
import threading
import time
from contextlib import closing
from functools import partial
from itertools import pairwise

from twisted.trial.unittest import SynchronousTestCase

from tests.e2e.deployments import AllInOne
from tests.e2e.phone import NOTED
from tests.e2e.xdiff import Follower
from tests.e2e.xdm import (
    DOCUMENT,
    FRIENDS,
    at_once,
    entry_step,
    index,
)

INDEX = index("alice")
SEL = INDEX[1:]
ROUNDS = 3
"""Kills of the random test."""
_SEED = 20_260_301
_SECONDS = 30.0
_LONG = 60.0
"""Seconds between two NOTIFYs, so that none is due before the kill."""


def _note(number: int) -> bytes:
    """A version of the document."""
    return DOCUMENT.replace(b"Bob", b"Bob %d" % number)


class BetweenPutAndNotify(SynchronousTestCase):
    """The PUT is acknowledged, nobody has heard of it, and the server is killed."""

    def begin(self, interval: float) -> None:
        """Start a server whose NOTIFYs wait; alice follows her document."""
        self.xdm = AllInOne(self, subscription={"notify_interval": interval})
        self.client = self.xdm.client()
        self.tag = self.client.store(INDEX)
        self.follower = Follower(self.xdm.proxy.phone("udp", "alice"))
        self.follower.follow(SEL, mode="xcap-patching")
        self.assertEqual(self.follower.tags(), [(SEL, "", self.tag)])

    def check_once(self, *tags: str) -> None:
        """The watcher hears of the changes once, in a NOTIFY with a higher CSeq (NOT-06)."""
        found: list[tuple[str, str, str]] = []
        while not found or found[-1][2] != tags[-1]:
            found += self.follower.tags()
        self.assertEqual(found[0][:2], (SEL, self.tag))
        # chained: what is told before each is what was told last
        for (_, _, after), (_, before, _) in pairwise(found):
            self.assertEqual(before, after)
        self.assertLessEqual({after for _, _, after in found}, set(tags))
        self.assertTrue(self.follower.silent(NOTED), "told twice")

    def check_document(self, octets: bytes, tag: str) -> None:
        """The document is there as it was acknowledged (XCAP-146)."""
        self.client.close()
        answer = self.client.get(INDEX)
        self.assertEqual((answer.status, answer.body, answer.etag), (200, octets, tag))

    def test_delayed(self) -> None:
        """The NOTIFY was not due: it comes after the restart, once (XCAP-146, XCAP-148)."""
        self.begin(_LONG)
        self.follower.phone.listen(NOTED)
        tag = self.client.store(INDEX, _note(1))
        self.xdm.proxy.restart()
        self.check_document(_note(1), tag)
        self.check_once(tag)

    def test_several(self) -> None:
        """Several changes of document and nodes, told together or one by one (XDIFF-05)."""
        self.begin(_LONG)
        self.follower.phone.listen(NOTED)
        node = f"{INDEX}{FRIENDS}{entry_step('sip:x@y')}"
        tags = [self.client.store(INDEX, _note(number)) for number in range(3)]
        tags.append(self.client.store(node, b'<entry uri="sip:x@y"/>'))
        answer = self.client.delete(node)
        self.assertEqual(answer.status, 200)
        tags.append(answer.etag)
        self.xdm.proxy.restart()
        self.check_document(_note(2), tags[-1])
        self.check_once(*tags)

    def test_deleted(self) -> None:
        """A document that was deleted is gone, and told so once (XCAP-120, XDIFF-03)."""
        self.begin(_LONG)
        self.follower.phone.listen(NOTED)
        self.assertEqual(self.client.delete(INDEX).status, 200)
        self.xdm.proxy.restart()
        self.client.close()
        self.assertEqual(self.client.get(INDEX).status, 404)
        self.check_once("")
        again = self.client.put(INDEX, DOCUMENT)
        self.assertEqual(again.status, 201)
        self.assertNotEqual(again.etag, self.tag)  # XCAP-151

    def test_unanswered(self) -> None:
        """The NOTIFY was on its way and nobody answered it: it is told anew (XEVT-14)."""
        self.begin(0.0)
        self.follower.phone.listen(NOTED)
        self.follower.phone.answer = 0
        tag = self.client.store(INDEX, _note(1))
        lost = self.follower.phone.notify(self.follower.watch, _SECONDS)
        self.assertIn(tag.encode(), lost.body)
        self.xdm.proxy.kill()
        self.follower.phone.listen(0.2)  # what was sent before
        self.follower.phone.answer = 200
        self.xdm.proxy.start()
        self.check_once(tag)


class Random(SynchronousTestCase):
    """Killed at any moment while documents change."""

    def setUp(self) -> None:
        """Start a server; alice follows her document."""
        self.random = random.Random(_SEED)
        self.xdm = AllInOne(self)
        self.client = self.xdm.client()
        self.acknowledged: list[tuple[str, bytes]] = []
        self.asked = b""
        self.number = 0

    def write(self) -> None:
        """PUT one version after the other until the server is gone."""
        try:
            while True:
                self.number += 1
                self.asked = _note(self.number)
                answer = self.client.put(INDEX, self.asked)
                assert answer.status in (200, 201), answer
                self.acknowledged.append((answer.etag, self.asked))
        except (OSError, http.client.HTTPException):
            self.client.close()

    def hear(self, *, killed: bool = False) -> None:
        """Take the next notification: it goes on where the last one ended (XDIFF-05).

        :param killed: it may begin with what was told before, since the server may not have
            noted yet that this had arrived.
        """
        for number, (_, before, after) in enumerate(self.follower.tags()):
            if killed and number == 0:
                self.assertIn(before, self.told)
            else:
                self.assertEqual(before, self.told[-1])
            self.told.append(after)

    def test_random_moments(self) -> None:
        """No acknowledged change is lost, the tags told make one chain (XCAP-146, XDIFF-05)."""
        self.follower = Follower(self.xdm.proxy.phone("udp", "alice"))
        self.follower.follow(SEL, mode="xcap-patching")
        self.assertEqual(self.follower.told(), [])
        self.told = [""]
        for _ in range(ROUNDS):
            done = len(self.acknowledged)
            writer = threading.Thread(target=self.write)
            writer.start()
            deadline = time.monotonic() + _SECONDS
            while len(self.acknowledged) == done and time.monotonic() < deadline:
                self.follower.phone.step(0.01)
            self.follower.phone.listen(self.random.random() * 0.3)
            self.xdm.proxy.kill()
            writer.join(_SECONDS)
            self.assertFalse(writer.is_alive())
            self.assertGreater(len(self.acknowledged), done)
            self.follower.phone.listen(0.1)
            while not self.follower.silent(0):
                self.hear()
            self.xdm.proxy.start()
            now = self.client.get(INDEX)
            tag, octets = self.acknowledged[-1]
            # the last one asked for may have been carried out without an answer
            if now.etag != tag:
                self.assertEqual(now.body, self.asked)
                self.acknowledged.append((now.etag, now.body))
            else:
                self.assertEqual(now.body, octets)
            killed = True
            self.follower.phone.listen(NOTED)
            while self.told[-1] != now.etag or not self.follower.silent(0):
                self.hear(killed=killed)
                killed = False
        tags = [tag for tag, _ in self.acknowledged]
        self.assertEqual(len(set(tags)), len(tags), "a tag was used twice")  # XCAP-151
        self.assertEqual(set(self.told[1:]), set(tags), "each change is told")


class StoreOutage(SynchronousTestCase):
    """The store cannot be written for a while."""

    def test_locked(self) -> None:
        """Changes are refused with 503 and Retry-After, what is there is served (XCAP-52)."""
        xdm = AllInOne(self)
        xdm.proxy.expected = r"documents\.sqlite|store"
        client = xdm.client()
        tag = client.store(INDEX)
        follower = Follower(xdm.proxy.phone("udp", "alice"))
        follower.follow(SEL)
        self.assertEqual(follower.tags(), [(SEL, "", tag)])
        with closing(sqlite3.connect(xdm.proxy.state / "documents.sqlite")) as other:
            other.isolation_level = None
            other.execute("BEGIN EXCLUSIVE")
            clients = [client, xdm.client(), xdm.client()]
            answers = at_once(
                [
                    partial(clients[0].put, INDEX, _note(2)),
                    partial(clients[1].delete, INDEX),
                    partial(clients[2].put, f"{INDEX}2", DOCUMENT),
                ]
            )
            for answer in answers:
                self.assertEqual(answer.status, 503)
                self.assertGreater(int(answer["retry-after"]), 0)
            self.assertEqual(client.get(INDEX).etag, tag)
            other.execute("ROLLBACK")
        self.assertTrue(follower.silent(0.2), "nothing has changed")
        deadline = time.monotonic() + _SECONDS
        while (answer := client.put(INDEX, _note(1))).status != 200:
            self.assertEqual(answer.status, 503)
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.1)
        self.assertEqual(follower.tags(), [(SEL, tag, answer.etag)])
