"""Digest accounts: the file, and the copy in memory that follows it."""

from __future__ import annotations

import os
import queue
import sqlite3
import stat
import threading
import time
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from presence.accounts import AccountError, Accounts, AccountStore
from pysip.auth.digest import ALGORITHMS, ha1, hash_hex
from pysip.interfaces import ICredentialSource


@implementer(IReactorFromThreads)
class ThreadCalls:
    """A reactor's ``callFromThread``; the test runs the calls itself."""

    def __init__(self) -> None:
        self._calls: queue.Queue[Callable[[], Any]] = queue.Queue()

    def callFromThread(self, function: Any, *args: Any, **named: Any) -> None:
        """Queue a call."""
        self._calls.put(lambda: function(*args, **named))

    def run_until(self, reached: Callable[[], bool]) -> None:
        """Run calls as they come until ``reached()``; 10 s without one fail the test."""
        while not reached():
            self._calls.get(timeout=10)()

    def wait(self, deferred: Deferred[None]) -> None:
        """Run calls until ``deferred`` has fired."""
        self.run_until(lambda: deferred.called)


class AccountStoreTests(SynchronousTestCase):
    """The account file."""

    def setUp(self) -> None:
        """Make a file."""
        self.path = os.path.join(self.mktemp(), "accounts.db")
        self.store = AccountStore(self.path)
        self.addCleanup(self.store.close)

    def test_add_and_list(self) -> None:
        """Accounts are listed by canonical address with their realm and identities."""
        self.store.add("bob@Example.COM", "pw")
        added = self.store.add("sip:alice@example.com", "pw", ["sip:al@example.com", "tel:+1-555"])
        self.assertEqual(
            added.identities, ("sip:alice@example.com", "sip:al@example.com", "tel:+1555")
        )
        self.assertEqual(
            [a.aor for a in self.store.list()], ["sip:alice@example.com", "sip:bob@example.com"]
        )
        self.assertEqual(self.store.list()[0], added)
        self.assertEqual(added.realm, "example.com")

    def test_no_password_in_file(self) -> None:
        """AUT-09: the file holds HA1 values, and nobody else may read it."""
        self.store.add("alice@example.com", "open sesame")
        with open(self.path, "rb") as file:
            content = file.read()
        self.assertNotIn(b"sesame", content)
        self.assertIn(ha1("alice", "example.com", "open sesame", "SHA-256").encode(), content)
        self.assertEqual(stat.S_IMODE(os.stat(self.path).st_mode), 0o600)

    def test_twice(self) -> None:
        """An account that exists is not made again."""
        self.store.add("alice@example.com", "pw")
        self.assertRaises(AccountError, self.store.add, "sip:alice@EXAMPLE.com", "other")

    def test_identity_of_another(self) -> None:
        """AUT-11: no identity belongs to two accounts, and a refused add leaves nothing."""
        self.store.add("alice@example.com", "pw", ["tel:+1555"])
        error = self.assertRaises(
            AccountError, self.store.add, "bob@example.com", "pw", ["tel:+1555"]
        )
        self.assertIn("sip:alice@example.com", str(error))
        self.assertEqual(len(self.store.list()), 1)

    def test_remove(self) -> None:
        """A removed account gives its identities free; an unknown one is an error."""
        self.store.add("alice@example.com", "pw", ["tel:+1555"])
        self.store.remove("alice@example.com")
        self.assertEqual(self.store.list(), [])
        self.store.add("bob@example.com", "pw", ["tel:+1555"])
        self.assertRaises(AccountError, self.store.remove, "alice@example.com")

    def test_unusable_values(self) -> None:
        """No user, a colon or at sign in it, no SIP URI, no password: refused."""
        for aor in (
            "example.com",
            "a%3Ab@example.com",
            "a%40b@example.com",
            "tel:+1555",
            "sip:a b@c",
        ):
            self.assertRaises(AccountError, self.store.add, aor, "pw")
        self.assertRaises(AccountError, self.store.add, "alice@example.com", "")
        self.assertRaises(AccountError, self.store.set_password, "alice@example.com", "pw")

    def test_foreign_file(self) -> None:
        """A file of something else, or of a newer release, is left alone."""
        other = self.mktemp()
        database = sqlite3.connect(other)
        database.execute("CREATE TABLE x (y)")
        database.close()
        self.assertRaises(AccountError, AccountStore, other)
        self.assertRaises(AccountError, AccountStore, __file__)
        database = sqlite3.connect(self.path)
        database.execute("PRAGMA user_version = 99")
        database.close()
        self.assertIn("newer", str(self.assertRaises(AccountError, AccountStore, self.path)))


class AccountsTests(SynchronousTestCase):
    """The copy in memory."""

    def setUp(self) -> None:
        """Start following a file with one account."""
        self.path = os.path.join(self.mktemp(), "accounts.db")
        self.store = AccountStore(self.path)
        self.addCleanup(self.store.close)
        self.store.add("alice@example.com", "pw", ["tel:+1555"])
        self.reactor = ThreadCalls()
        self.accounts = Accounts(self.path, self.reactor, poll=0.01)
        self.reactor.wait(self.accounts.start())
        self.addCleanup(lambda: self.reactor.wait(self.accounts.stop()))

    def test_hashed_names(self) -> None:
        """User names are found by their hash where that is wanted (AGP-36)."""
        digest = hash_hex("SHA-256", "alice:example.com")
        for hashed, found in ((True, "alice"), (False, None)):
            accounts = Accounts(self.path, self.reactor, poll=0.01, hashed=hashed)
            self.reactor.wait(accounts.start())
            self.assertEqual(accounts.username(digest, "example.com", "SHA-256"), found)
            self.assertIsNone(accounts.username(digest, "example.com", "MD5"))
            self.reactor.wait(accounts.stop())

    def test_interface(self) -> None:
        """It is a credential source."""
        verifyObject(ICredentialSource, self.accounts)

    def test_lookup(self) -> None:
        """CLI-02: the user name is the user part or the whole address, with every algorithm."""
        for name in ("alice", "alice@example.com"):
            for algorithm in ALGORITHMS:
                self.assertEqual(
                    self.accounts.ha1(name, "example.com", algorithm),
                    ha1(name, "example.com", "pw", algorithm),
                )
            self.assertEqual(
                self.accounts.identities(name, "example.com"),
                ("sip:alice@example.com", "tel:+1555"),
            )
        self.assertIsNone(self.accounts.ha1("alice", "example.net", "MD5"))
        self.assertIsNone(self.accounts.ha1("bob", "example.com", "MD5"))
        self.assertIsNone(self.accounts.ha1("alice", "example.com", "MD4"))
        self.assertEqual(self.accounts.identities("bob", "example.com"), ())

    def test_owner(self) -> None:
        """Every identity leads to its account."""
        self.assertIn("tel:+1555", self.accounts)
        self.assertEqual(self.accounts.account_of("tel:+1555"), "sip:alice@example.com")
        self.assertIsNone(self.accounts.account_of("sip:bob@example.com"))
        self.assertEqual(len(self.accounts), 1)

    def test_notices_changes(self) -> None:
        """What another connection adds, changes and removes is seen without a restart."""
        self.store.add("bob@example.com", "pw")
        self.reactor.run_until(lambda: "sip:bob@example.com" in self.accounts)
        self.store.set_password("bob@example.com", "new")
        expected = ha1("bob", "example.com", "new")
        self.reactor.run_until(lambda: self.accounts.ha1("bob", "example.com", "MD5") == expected)
        self.store.remove("alice@example.com")
        self.reactor.run_until(lambda: self.accounts.ha1("alice", "example.com", "MD5") is None)

    def test_file_replaced(self) -> None:
        """A file that is moved into place is followed instead."""
        other = self.mktemp()
        with AccountStore(other) as store:
            store.add("carol@example.com", "pw")
        os.rename(other, self.path)
        self.reactor.run_until(lambda: "sip:carol@example.com" in self.accounts)
        self.assertNotIn("sip:alice@example.com", self.accounts)

    def test_file_lost(self) -> None:
        """While the file is missing the accounts stay in force, and it is not made empty."""
        away = self.path + ".away"
        os.rename(self.path, away)
        read = threading.Event()
        self.patch(self.accounts, "_log", _Told(read))
        self.assertTrue(read.wait(10))
        self.assertIn("sip:alice@example.com", self.accounts)
        self.assertFalse(os.path.exists(self.path))
        with AccountStore(away) as store:
            store.add("bob@example.com", "pw")
        os.rename(away, self.path)
        self.reactor.run_until(lambda: "sip:bob@example.com" in self.accounts)

    def test_restart(self) -> None:
        """It can be stopped, keeps its copy, and can be started again."""
        self.reactor.wait(self.accounts.stop())
        self.assertIn("sip:alice@example.com", self.accounts)
        self.reactor.wait(self.accounts.start())

    def follow(self) -> list[dict[str, float]]:
        """What another copy, which starts now, is told of removed identities."""
        accounts = Accounts(self.path, self.reactor, poll=0.01)
        told: list[dict[str, float]] = []
        accounts.when_gone(lambda gone: told.append(dict(gone)))
        self.reactor.wait(accounts.start())
        self.addCleanup(lambda: self.reactor.wait(accounts.stop()))
        return told

    def test_gone(self) -> None:
        """All identities of an account that is removed are told of, with the time (PSV-19)."""
        told = self.follow()
        self.assertEqual(told, [{}])
        before = time.time()
        self.store.set_password("alice@example.com", "new")
        self.store.add("bob@example.com", "pw")
        self.store.remove("alice@example.com")
        self.reactor.run_until(lambda: len(told) > 1)
        self.assertEqual(sorted(told[1]), ["sip:alice@example.com", "tel:+1555"])
        for until in told[1].values():
            # with some seconds in which the server may not have known yet
            self.assertTrue(before + 4 < until < time.time() + 6, until - before)
        self.store.add("carol@example.com", "pw")
        self.store.remove("bob@example.com")
        self.reactor.run_until(lambda: len(told) > 2)
        self.assertEqual([list(gone) for gone in told[2:]], [["sip:bob@example.com"]])

    def test_gone_before_the_start(self) -> None:
        """Who starts later is told before the start is over; what is long ago is not (PSV-19)."""
        self.store.remove("alice@example.com")
        (told,) = self.follow()
        self.assertEqual(sorted(told), ["sip:alice@example.com", "tel:+1555"])
        database = sqlite3.connect(self.path)
        database.execute("UPDATE removal SET at = at - 90 * 86400.0 WHERE uri LIKE 'tel:%'")
        database.commit()
        database.close()
        (told,) = self.follow()
        self.assertEqual(list(told), ["sip:alice@example.com"])

    def test_gone_and_there_again(self) -> None:
        """What was made before the removal is of another owner, and nothing else (PSV-19)."""
        self.store.remove("alice@example.com")
        self.store.add("alice@example.com", "pw")
        after = time.time()
        (told,) = self.follow()
        self.assertLessEqual(told["sip:alice@example.com"], after)
        self.assertGreater(told["tel:+1555"], after)

    def test_file_of_the_release_before(self) -> None:
        """A file without removals gets them; the program that made it can remove, too (PSV-19)."""
        database = sqlite3.connect(self.path)
        database.execute("DROP TABLE removal")
        database.execute("DROP TRIGGER identity_removed")
        database.commit()
        told = self.follow()
        database.execute("PRAGMA foreign_keys = ON")
        database.execute("DELETE FROM account")
        database.commit()
        database.close()
        self.reactor.run_until(lambda: len(told) > 1)
        self.assertEqual(sorted(told[1]), ["sip:alice@example.com", "tel:+1555"])

    def test_unusable_file(self) -> None:
        """A start with a foreign file fails and says why; stopping then is harmless."""
        accounts = Accounts(__file__, self.reactor)
        started = accounts.start()
        self.reactor.wait(started)
        self.assertIn("account file", str(self.failureResultOf(started, AccountError).value))
        self.reactor.run_until(lambda: accounts.stop().called)

    def test_missing_file(self) -> None:
        """A start without a file makes it, for the command line to fill."""
        path = os.path.join(self.mktemp(), "accounts.db")
        accounts = Accounts(path, self.reactor, poll=0.01)
        self.reactor.wait(accounts.start())
        with AccountStore(path) as store:
            store.add("bob@example.com", "pw")
        self.reactor.run_until(lambda: "sip:bob@example.com" in accounts)
        self.reactor.wait(accounts.stop())


class _Told:
    """A log that sets an event on a problem."""

    def __init__(self, event: threading.Event) -> None:
        self._event = event

    def emit(self, *args: object, **fields: object) -> None:
        """Note that something was told."""
        self._event.set()
