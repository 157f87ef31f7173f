"""Retrieving objects that are told by reference (WAT-06, CIN-03, CIN-12; RFC 4483)."""

from __future__ import annotations

from hashlib import sha1
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from presence.content.errors import ContentError
from presence.watching.interfaces import IObjectFetcher, Retrieved
from presence.watching.retrieve import ObjectRetriever, RetrievalLimits, host_of
from pysip.external import ExternalBody

ICON = b"PNG" * 100
URL = "https://content.example.com/objects/1"
HASH = sha1(ICON, usedforsecurity=False).hexdigest()


@implementer(IObjectFetcher)
class Fetcher:
    """Answers when the test says."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int, str]] = []
        self.waiting: list[Deferred[Retrieved]] = []

    def fetch(self, url: str, limit: int, etag: str) -> Deferred[Retrieved]:
        """Note it."""
        self.asked.append((url, limit, etag))
        self.waiting.append(Deferred())
        return self.waiting[-1]


class RetrieverTests(SynchronousTestCase):
    """What is retrieved, and what not."""

    def setUp(self) -> None:
        """One host is allowed."""
        self.clock = Clock()
        self.fetcher = Fetcher()
        self.make()

    def make(self, hosts: tuple[str, ...] = ("content.example.com",), **limits: Any) -> None:
        """A retriever."""
        self.retriever = ObjectRetriever(
            self.fetcher, hosts, self.clock, self.clock.seconds, RetrievalLimits(**limits)
        )

    def ask(self, url: str = URL, **told: Any) -> Deferred[Retrieved]:
        """Ask for an object."""
        return self.retriever.retrieve(ExternalBody(url, told.pop("expiration", 1e9), **told))

    def answer(self, body: bytes = ICON, **more: Any) -> None:
        """Answer what was asked first."""
        self.fetcher.waiting.pop(0).callback(Retrieved("image/png", body, **more))

    def refused(self, asked: Deferred[Retrieved], kind: str) -> None:
        """It cannot be had, for this reason."""
        self.assertEqual(self.failureResultOf(asked, ContentError).value.kind, kind)

    def test_retrieved(self) -> None:
        """WAT-06: by one GET, checked by size and hash (CIN-03)."""
        asked = self.ask(size=300, sha1=HASH)
        self.assertNoResult(asked)
        self.answer()
        self.assertEqual(self.successResultOf(asked), Retrieved("image/png", ICON))
        self.assertEqual(self.fetcher.asked, [(URL, 8 << 20, "")])

    def test_mismatch(self) -> None:
        """CIN-03: another size or hash: it is ignored."""
        for told in ({"size": 299}, {"sha1": "0" * 40}, {"size": 300, "sha1": "0" * 40}):
            asked = self.ask(**told)
            self.answer()
            self.refused(asked, "mismatch")

    def test_hosts(self) -> None:
        """CIN-06, WAT-06: only hosts that are allowed are asked, whatever the URL looks like."""
        self.make(("content.example.com", "Other.Example.com:8443", "[::1]:8443"))
        for url in (
            "https://evil.example.com/1",
            "https://content.example.com:444/1",
            "https://content.example.com.evil.com/1",
            "https://content.example.com@evil.com/1",
            "https://evil.com#@content.example.com/1",
            "https://other.example.com/1",
            "ftp://content.example.com/1",
            "file:///etc/passwd",
            "https:///1",
            "https://content.example.com:x/1",
            "https://[::1/1",
            "nonsense",
        ):
            self.refused(self.ask(url), "foreign")
        for url in (
            "https://CONTENT.example.com:443/1",
            "https://content.example.com./1",
            "https://other.example.com:8443/1",
            "https://[::1]:8443/1",
        ):
            self.ask(url)
        self.assertEqual(len(self.fetcher.asked), 4)
        self.assertEqual(host_of("http://A.example:80/"), "a.example")

    def test_unprotected(self) -> None:
        """CIN-03, CIN-12: http only with a hash, which shows what was changed on the way."""
        url = URL.replace("https", "http")
        self.refused(self.ask(url), "foreign")
        asked = self.ask(url, sha1=HASH)
        self.answer(b"changed")
        self.refused(asked, "mismatch")
        asked = self.ask(url, sha1=HASH)
        self.answer()
        self.successResultOf(asked)

    def test_bounds(self) -> None:
        """CIN-09, WAT-06: neither what is over nor what is too large is asked for."""
        self.make(octets=300, seconds=10)
        self.refused(self.ask(expiration=0.0), "missing")
        self.refused(self.ask(size=301), "large")
        self.assertEqual(self.fetcher.asked, [])
        asked = self.ask()
        self.clock.advance(10)
        self.refused(asked, "late")
        asked = self.ask()
        self.fetcher.waiting.pop().errback(ContentError("large"))
        self.refused(asked, "large")

    def test_cached_by_hash(self) -> None:
        """WAT-06: what is here and has the hash that is told is not asked for again."""
        self.ask(sha1=HASH)
        self.answer()
        self.assertEqual(self.successResultOf(self.ask(sha1=HASH, size=300)).body, ICON)
        self.assertEqual(len(self.fetcher.asked), 1)

    def test_cached_by_etag(self) -> None:
        """WAT-06: the cache knows a version by URL and entity-tag."""
        self.ask()
        self.answer(etag='"v1"')
        asked = self.ask()
        self.assertEqual(self.fetcher.asked[-1], (URL, 8 << 20, '"v1"'))
        self.answer(b"", unchanged=True, etag='"v1"')
        self.assertEqual(self.successResultOf(asked).body, ICON)
        asked = self.ask()
        self.answer(b"new", etag='"v2"')
        self.assertEqual(self.successResultOf(asked).body, b"new")
        self.ask()
        self.assertEqual(self.fetcher.asked[-1][2], '"v2"')

    def test_cache_is_bounded(self) -> None:
        """WAT-06: the oldest are forgotten; what is larger than all room is never kept."""
        self.make(remembered=700)
        for number in range(4):
            self.ask(f"{URL}{number}", sha1=HASH)
            self.answer()
        for number, calls in ((3, 4), (2, 4), (1, 5)):
            self.ask(f"{URL}{number}", sha1=HASH)
            self.assertEqual(len(self.fetcher.asked), calls)
        self.ask(f"{URL}/large")
        self.answer()  # number 1
        self.answer(bytes(701))
        self.assertEqual(self.retriever._octets, 0)

    def test_asked_once(self) -> None:
        """WAT-06: who asks for the same at the same time gets the same, each with its check."""
        first, second, third = self.ask(), self.ask(sha1=HASH), self.ask(size=1)
        self.assertEqual(len(self.fetcher.asked), 1)
        self.answer()
        self.assertIs(self.successResultOf(first), self.successResultOf(second))
        self.refused(third, "mismatch")

    def test_a_few_at_once(self) -> None:
        """WAT-06: a document with many references makes few requests at a time."""
        asked = [self.ask(f"{URL}{number}") for number in range(300)]
        self.assertEqual(len(self.fetcher.asked), 4)
        for each in asked[260:]:
            self.refused(each, "late")
        for _ in range(260):
            self.answer()
        for each in asked[:260]:
            self.successResultOf(each)
