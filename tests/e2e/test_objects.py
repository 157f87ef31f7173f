"""Objects of publications over real sockets, and over the end of the process."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from twisted.trial.unittest import SynchronousTestCase

from pysip.header import format_date, parse_date
from tests.e2e.daemon import OPEN_POINTS, Daemon, tables
from tests.e2e.deployments import USERS, Deployment
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
    reference,
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


class StoredTests(SynchronousTestCase):
    """A server with a Content Server beside it."""

    def setUp(self) -> None:
        """Start it."""
        roles = ["presence-server", "aggregation-proxy", "presence-xdms", "content-server"]
        publication = {"min_expires": 1, "object_size": 20000}
        self.xdm = Deployed(self, roles, publication)
        self.server = self.xdm.proxy
        self.alice = self.server.phone("tcp", "alice")
        self.bob = self.server.phone("tcp", "bob")
        self.store = self.xdm.client("alice")

    def fetch(self, accept: str | None) -> Got:
        """What bob sees who says so."""
        watch = self.bob.subscribe("alice", expires=0, accept=accept)
        message = self.bob.notify(watch)
        return Got(message["content-type"], message.body)

    def test_reference(self) -> None:
        """CIN-06, CIN-07, AGP-114: an icon that alice has stored, for each kind of watcher."""
        answer = self.store.ask(
            *("POST", f"/cs/users/{aor('alice')}/", ICON),
            content_type="image/png",
            x_expires="120",
        )
        self.assertEqual(answer.status, 201, answer)
        url = answer["location"]
        ends = parse_date(answer["expires"])
        assert ends is not None
        part = reference(url, ends, size=len(ICON), sha=hashed(ICON))
        root = person(entity=aor("alice"))
        self.assertEqual(self.alice.publish(**multipart(part, root=root)).status, 200)
        told = self.fetch(TAKES_REFERENCES)
        (found,) = told.references.values()
        self.assertEqual((found.url, found.expiration), (url, ends))
        fetched = self.fetch(TAKES_OBJECTS)
        self.assertEqual(list(fetched.objects.values()), [ICON])
        self.assertEqual(fetched.cids, told.cids)
        self.assertEqual(self.fetch(None).type, PIDF)
        # AGP-109, CSV-05: it lives as long as the publication that refers to it
        for _ in range(50):
            now = parse_date(self.store.get(urlsplit(url).path)["expires"]) or 0.0
            if now > ends + 3000:
                break
            time.sleep(0.05)
        self.assertGreater(now, ends + 3000)

    def test_wrong_hash(self) -> None:
        """CIN-03, CIN-12: an icon that is another than was promised is ignored, and logged."""
        answer = self.store.ask(
            "POST", f"/cs/users/{aor('alice')}/", ICON, content_type="image/png"
        )
        part = reference(answer["location"], time.time() + 600, sha=hashed(b"other"))
        root = person(entity=aor("alice"))
        self.alice.publish(**multipart(part, root=root))
        self.assertEqual(self.fetch(TAKES_OBJECTS).type, PIDF)
        self.server.await_log("is not what its reference promises")

    def test_large(self) -> None:
        """AGP-116, AGP-117: a large icon is stored in the server's name, and outlives a restart.

        The end of the publication leaves it where it is.
        """
        large = b"\x89PNG" + b"x" * 9996
        root = person(entity=aor("alice"))
        tag = self.alice.publish(**multipart(inline(large), root=root))["sip-etag"]
        self.assertEqual(self.fetch(TAKES_OBJECTS).type, PIDF)
        (found,) = self.fetch(TAKES_REFERENCES).references.values()
        self.assertEqual((found.size, found.sha1), (10000, hashed(large)))
        answer = self.store.get(urlsplit(found.url).path)
        self.assertEqual((answer.status, answer.body), (200, large))
        self.alice.publish(etag=tag, expires=0)
        self.assertEqual(self.fetch(TAKES_REFERENCES).type, PIDF)
        self.assertEqual(self.store.get(urlsplit(found.url).path).status, 200)


class Deployed(Deployment):
    """One process with a Content Server."""

    def __init__(
        self, case: SynchronousTestCase, roles: list[str], publication: dict[str, Any]
    ) -> None:
        super().__init__(case)
        proxy = {"listen": [{"port": self.port}], "rate": 0.0}
        settings = self._settings(roles=roles, proxy=proxy, publication=publication)
        self.proxy = Daemon(case, OPEN_POINTS, USERS, settings)
        self.parts = dict.fromkeys(roles, self.proxy)
        self.start()
