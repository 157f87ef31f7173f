"""Objects that are told by reference, for a watcher (WAT-06, CIN-03; RFC 4483)."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from presence.content.client import ContentClient
from presence.content.errors import ContentError
from presence.watching.retrieve import ReferenceRetriever
from pysip.external import ExternalBody

URL = "https://content.example.com/objects/1"
FILE = Path("icon")


class Client:
    """Answers when the test says; what it checks is tested with it."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.waiting: list[Deferred[Any]] = []

    def retrieve(self, uri: str, **how: Any) -> Deferred[Any]:
        """Note it."""
        self.asked.append((uri, how))
        self.waiting.append(Deferred())
        return self.waiting[-1]


class RetrieverTests(SynchronousTestCase):
    """What is asked for, and how."""

    def setUp(self) -> None:
        """One host is allowed."""
        self.client = Client()
        self.retriever = ReferenceRetriever(
            cast(ContentClient, self.client), ["content.example.com"], lambda: 1000.0, 5000
        )

    def ask(self, **told: Any) -> Deferred[Any]:
        """Ask for an object."""
        fields = {"url": URL, "expiration": 2000.0, **told}
        return self.retriever.retrieve(ExternalBody(**fields), FILE)

    def test_checked(self) -> None:
        """CIN-03, CIN-06, WAT-06: allowed hosts, size and hash are told to who gets it."""
        self.ask(size=300, sha1="ab" * 20)
        self.ask()
        hosts = frozenset(["content.example.com"])
        common = {"allowed_hosts": hosts, "limit": 5000, "to": FILE}
        self.assertEqual(
            self.client.asked,
            [
                (URL, {**common, "size": 300, "sha1": "ab" * 20}),
                (URL, {**common, "size": None, "sha1": None}),
            ],
        )

    def test_over(self) -> None:
        """CIN-09: what is over is not asked for."""
        asked = self.ask(expiration=1000.0)
        self.assertEqual(self.failureResultOf(asked, ContentError).value.kind, "missing")
        self.assertEqual(self.client.asked, [])

    def test_a_few_at_once(self) -> None:
        """WAT-06: a document with many references makes few requests at a time."""
        asked = [self.ask(url=f"{URL}{number}") for number in range(300)]
        self.assertEqual(len(self.client.asked), 4)
        for each in asked[260:]:
            self.assertEqual(self.failureResultOf(each, ContentError).value.kind, "late")
        while self.client.waiting:
            self.client.waiting.pop(0).callback("there")
        self.assertEqual([self.successResultOf(each) for each in asked[:260]], ["there"] * 260)
