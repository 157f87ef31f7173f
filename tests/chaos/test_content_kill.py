"""The Content Server is killed in the midst of uploads (issue 6; AGP-113)."""

from __future__ import annotations

import http.client
import json
import os
import random
import threading
import time

from twisted.trial.unittest import SynchronousTestCase

from tests.e2e.contents import ContentDaemon
from tests.e2e.xdm import XcapClient

ROUNDS = 3
"""Kills."""
_WRITERS = 3
_SEED = 20_261_123


class Writer(threading.Thread):
    """One client that stores and deletes until the server is gone.

    :ivar kept: content by target, of what was acknowledged and not deleted.
    :ivar gone: targets whose deletion was acknowledged.
    :ivar unsure: targets whose deletion was not answered.
    """

    def __init__(self, server: ContentDaemon, client: XcapClient, seed: int) -> None:
        super().__init__(daemon=True)
        self.kept: dict[str, bytes] = {}
        self.gone: set[str] = set()
        self.unsure: set[str] = set()
        self._server = server
        self._client = client
        self._draw = random.Random(seed)

    def run(self) -> None:
        """Store small and large objects, the same content now and then."""
        shared = self._draw.randbytes(3000)
        try:
            while True:
                self._one(shared)
        except (OSError, http.client.HTTPException):
            pass  # it has been killed
        finally:
            self._client.close()

    def _one(self, shared: bytes) -> None:
        draw = self._draw
        if self.kept and draw.random() < 0.4:
            target = draw.choice(list(self.kept))
            del self.kept[target]
            self.unsure.add(target)
            assert self._client.ask("DELETE", target).status == 204
            self.unsure.discard(target)
            self.gone.add(target)
            return
        body = shared if draw.random() < 0.2 else draw.randbytes(draw.choice((10, 5000, 400_000)))
        answer = self._client.ask("POST", self._server.home(), body, content_type="image/png")
        assert answer.status == 201, answer
        self.kept[self._server.target(answer["location"])] = body


class Kill(SynchronousTestCase):
    """kill -9 at any moment."""

    def test_kill(self) -> None:
        """No object that was acknowledged is lost, none that was deleted is back, no file stays."""
        server = ContentDaemon(self, content={"objects": 5000, "total_size": 1 << 30}).start()
        draw = random.Random(_SEED)
        kept: dict[str, bytes] = {}
        gone: set[str] = set()
        unsure: set[str] = set()
        for number in range(ROUNDS):
            writers = [
                Writer(server, server.client(), draw.randrange(1 << 30)) for _ in range(_WRITERS)
            ]
            for writer in writers:
                writer.start()
            deadline = time.monotonic() + 20
            wanted = draw.randrange(5, 30)
            while sum(len(w.kept) for w in writers) < wanted and time.monotonic() < deadline:
                time.sleep(0.01)
            time.sleep(draw.random() * 0.1)
            server.daemon.kill()
            for writer in writers:
                writer.join(30)
                self.assertFalse(writer.is_alive())
                kept |= writer.kept
                gone |= writer.gone
                unsure |= writer.unsure
            self.assertGreaterEqual(len(kept), number)
            server.start()
            self.check(server, kept, gone, unsure)

    def check(
        self, server: ContentDaemon, kept: dict[str, bytes], gone: set[str], unsure: set[str]
    ) -> None:
        """The server has what it has acknowledged, and a file for each content."""
        client = server.client()
        for target, body in kept.items():
            answer = client.ask("GET", target)
            self.assertEqual((answer.status, answer.body == body), (200, True), target)
        for target in gone:
            self.assertEqual(client.ask("GET", target).status, 404)
        rows = json.loads(client.ask("GET", server.home()).body)
        listed = {server.target(row["uri"]) for row in rows}
        # besides, there may be what was stored and not answered before the kill
        self.assertLessEqual(set(kept), listed)
        self.assertFalse(listed & gone)
        self.assertLessEqual(len(listed - set(kept) - unsure), _WRITERS * ROUNDS)
        self.assertEqual(len(server.files()), len({row["sha1"] for row in rows}))
        self.assertEqual(os.listdir(server.directory / "incoming"), [])
        client.close()
