"""Objects of publications over real sockets, and over the end of the process."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from pysip.header import format_date
from tests.e2e.daemon import OPEN_POINTS, Daemon, tables
from tests.e2e.phone import Phone, aor
from tests.presence.objects import (
    ICON,
    PIDF,
    RELATED,
    TAKES_OBJECTS,
    TAKES_REFERENCES,
    Got,
    hashed,
    inline,
    multipart,
    person,
)

EXAMPLE = Path(__file__).parent.parent / "vectors" / "indirection" / "cin-10-publish.txt"
DATE = "Mon, 05 Jan 2026 12:00:00 GMT"
URL = "https://content.home.example/objects/7f3a9"


def example(date: str) -> dict[str, Any]:
    """CIN-10's PUBLISH as one of alice, whose icon is there until ``date``."""
    head, _, body = EXAMPLE.read_text().partition("\n\n")
    body = body.replace("sip:bob@home.example", aor("alice")).replace(DATE, date)
    return {
        "content_type": head.partition(": ")[2],
        "body": body.replace("\n", "\r\n").encode(),
    }


class ObjectTests(SynchronousTestCase):
    """A server with two phones on TCP."""

    def setUp(self) -> None:
        """Start it."""
        self.daemon = Daemon(self, OPEN_POINTS).start()
        self.alice = self.phone("alice")
        self.bob = self.phone("bob")

    def phone(self, user: str) -> Phone:
        """Somebody's phone."""
        return self.daemon.phone("tcp", user)

    def fetch(self, accept: str | None) -> Got:
        """What bob sees who says so."""
        watch = self.bob.subscribe("alice", expires=0, accept=accept)
        self.assertEqual(watch.response.status, 200)
        message = self.bob.notify(watch)
        return Got(message["content-type"], message.body)

    def test_example(self) -> None:
        """CIN-10, CIN-07, CIN-08: a document with an icon elsewhere, for each kind of watcher."""
        date = format_date(time.time() + 3600)
        answer = self.alice.publish(**example(date))
        self.assertEqual(answer.status, 200)
        for accept in (None, PIDF, TAKES_OBJECTS):  # no Content Server is configured (CIN-06)
            plain = self.fetch(accept)
            self.assertEqual((plain.type, len(plain.cids)), (PIDF, 1))
        told = self.fetch(TAKES_REFERENCES)
        self.assertEqual(told.type, RELATED)
        (cid,) = told.cids
        reference = told.references[cid]
        self.assertEqual(reference.url, URL)
        self.assertEqual(format_date(reference.expiration), date)
        self.assertEqual(
            (reference.size, reference.content_type, reference.disposition),
            (18432, "image/png", "render"),
        )
        self.assertEqual(reference.sha1, "10ab568e91245681ac1b10ab568e91245681ac1b")

    def test_example_later(self) -> None:
        """CIN-09: at the time of the example's expiration its icon is gone."""
        self.assertEqual(self.alice.publish(**example(DATE)).status, 200)
        for accept in (None, TAKES_REFERENCES):
            told = self.fetch(accept)
            self.assertEqual((told.type, told.cids), (PIDF, []))

    def test_end_of_a_reference(self) -> None:
        """CIN-09: a watcher hears when a reference ends."""
        watch = self.bob.subscribe("alice", accept=TAKES_REFERENCES)
        self.bob.notify(watch)
        self.alice.publish(**example(format_date(time.time() + 3)))
        first = self.bob.notify(watch)
        self.assertEqual(first["content-type"].partition(";")[0], RELATED)
        second = self.bob.notify(watch)
        self.assertEqual(second["content-type"], PIDF)
        self.assertNotIn(b"status-icon", second.body)

    def test_killed(self) -> None:
        """PUB-09, NFR-07: what was answered 200 is there after a kill, with its object."""
        body = multipart(inline(), root=person(entity=aor("alice")))
        watch = self.bob.subscribe("alice", accept=TAKES_OBJECTS, expires=600)
        self.bob.notify(watch)
        tag = self.alice.publish(**body)["sip-etag"]
        told = self.bob.notify(watch)
        before = Got(told["content-type"], told.body)
        self.assertEqual(list(before.objects.values()), [ICON])
        self.daemon.restart()
        self.alice, self.bob = self.phone("alice"), self.phone("bob")
        after = self.fetch(TAKES_OBJECTS)
        self.assertEqual((after.objects, after.document), (before.objects, before.document))
        self.assertEqual(self.fetch(None).type, PIDF)
        self.assertEqual(self.alice.publish(etag=tag).status, 200)
        self.assertEqual(list(self.fetch(TAKES_OBJECTS).objects.values()), [ICON])

    def test_limits(self) -> None:
        """AGP-116, SRC-03: what does not fit is refused, with a Warning, as the operator wants."""
        root = person(entity=aor("alice"))
        large = multipart(inline(b"x" * 5121), root=root)
        refusal = self.alice.publish(**large)
        self.assertEqual(refusal.status, 413)
        self.assertIn("5120 octets", refusal["warning"])
        many = [inline(cid=f"{n}@x") for n in range(17)]
        self.assertEqual(self.alice.publish(**multipart(*many, root=root)).status, 413)
        self.daemon.settings = tables(publication={"object_size": 6000, "object_inline": 6000})
        self.daemon.reload()
        self.assertEqual(self.alice.publish(**large).status, 200)
        (found,) = self.fetch(TAKES_OBJECTS).objects.values()
        self.assertEqual(hashed(found), hashed(b"x" * 5121))
