"""Users of the document servers: known ones, aliases, and what becomes of removed ones."""

from __future__ import annotations

import os
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from presence.accounts import Accounts, AccountStore
from presence.subscribers import (
    MOST_REMOVED,
    AccountSubscribers,
    HomeRemover,
    ServedSubscribers,
)
from pysip.auth.domains import Domains
from tests.presence.test_accounts import ThreadCalls
from xcap.errors import StoreUnavailable
from xcap.interfaces import ISubscribers

ALICE = "sip:alice@example.com"


class AccountTests(SynchronousTestCase):
    """Users are those who have an account."""

    def setUp(self) -> None:
        """A file with one account that has three identities."""
        self.path = os.path.join(self.mktemp(), "accounts.db")
        self.file = AccountStore(self.path)
        self.addCleanup(self.file.close)
        self.file.add(ALICE, "pw", ["sip:al@example.com", "tel:+1-555"])
        self.calls = ThreadCalls()
        self.accounts = Accounts(self.path, self.calls, poll=0.01)
        self.calls.wait(self.accounts.start())
        self.addCleanup(lambda: self.calls.wait(self.accounts.stop()))
        domains = Domains(["example.com"], {"192.0.2.1": "example.com"})
        self.subscribers = AccountSubscribers(self.accounts, domains)

    def test_interface(self) -> None:
        """It is what the document servers ask."""
        verifyObject(ISubscribers, self.subscribers)

    def test_aliases(self) -> None:
        """Every spelling and every identity of an account lead to one home (XCAP-08)."""
        for xui in (
            *(ALICE, "sip:alice@EXAMPLE.com", "sip:%61lice@example.com", "sip:alice@192.0.2.1"),
            *("sip:al@example.com", "tel:+1-555", "sips:alice@example.com"),
        ):
            self.assertEqual(self.subscribers.canonical(xui), ALICE, xui)

    def test_known(self) -> None:
        """Others are not known; what is no URI is refused (XCAP-09)."""
        self.assertTrue(self.subscribers.known(ALICE))
        self.assertFalse(self.subscribers.known(self.subscribers.canonical("sip:x@example.com")))
        self.assertRaises(ValueError, self.subscribers.canonical, "alice")

    def test_removed(self) -> None:
        """An account that leaves the file is told of, once (XDM-09)."""
        told: list[set[str]] = []
        self.accounts.when_removed(told.append)
        self.file.add("sip:bob@example.com", "pw")
        self.calls.run_until(lambda: len(self.accounts) == 2)
        self.file.remove(ALICE)
        self.calls.run_until(lambda: bool(told))
        self.assertEqual(told, [{ALICE}])


class ServedTests(SynchronousTestCase):
    """Users are all of the served domains."""

    def test_known(self) -> None:
        """Users of served domains and telephone numbers are known (XCAP-09)."""
        subscribers = ServedSubscribers(Domains(["example.com"], {"192.0.2.1": "example.com"}))
        verifyObject(ISubscribers, subscribers)
        for xui, known in (
            (ALICE, True),
            ("sip:bob@192.0.2.1", True),
            ("tel:+15551234", True),
            ("sip:bob@other.example", False),
            ("sip:example.com", False),
        ):
            self.assertEqual(subscribers.known(subscribers.canonical(xui)), known, xui)
        self.assertRaises(ValueError, subscribers.canonical, "sip:")
        self.assertRaises(ValueError, subscribers.canonical, "urn:x:y")


class Store:
    """A document store that is asked to remove users."""

    def __init__(self, working: bool = True) -> None:
        self.asked: list[str] = []
        self._working = working

    def remove_user(self, xui: str, author: str = "") -> Deferred[int]:
        """Note who is to go."""
        self.asked.append(xui)
        return succeed(2) if self._working else fail(StoreUnavailable("closed"))


class RemovalTests(SynchronousTestCase):
    """Documents of removed accounts go (XDM-09), unless the file looks lost."""

    def remove(self, count: int, working: bool = True) -> tuple[list[str], list[Any]]:
        """Remove so many accounts; who was removed, and the problems logged."""
        store = Store(working)
        problems: list[Any] = []

        def observe(event: Any) -> None:
            if event.get("problem"):
                problems.append(event["problem"])

        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)
        HomeRemover(store).removed({f"sip:u{number}@example.com" for number in range(count)})
        return store.asked, problems

    def test_few(self) -> None:
        """Their home directories are removed."""
        self.assertEqual(self.remove(2), (["sip:u0@example.com", "sip:u1@example.com"], []))

    def test_many(self) -> None:
        """With too many at once nothing is removed, and the operator is told."""
        self.assertEqual(self.remove(MOST_REMOVED + 1), ([], ["accounts-vanished"]))

    def test_store_closed(self) -> None:
        """What could not be removed is told."""
        self.assertEqual(self.remove(1, working=False)[1], ["documents-left"])
