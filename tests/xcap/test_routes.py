"""The table of routes, and the roots."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.xcap.proxies import FakeBackEnd, head
from xcap.errors import XcapError
from xcap.forward import has_body
from xcap.interfaces import IRouteTable
from xcap.records import Headers, HttpPeer
from xcap.roots import Root, Roots
from xcap.routes import SLOTS, STANDARD_AUIDS, Group, RouteTable, Servers, slot, unavailable


class TableTests(SynchronousTestCase):
    """Static and learnt entries."""

    def setUp(self) -> None:
        """Two groups; collect alarms."""
        self.first, self.second = FakeBackEnd("first"), FakeBackEnd("second")
        self.table = RouteTable(
            [
                Group("first", (self.first,), frozenset({"a", "s"})),
                Group("second", (self.second,), frozenset({"b", "s"})),
            ]
        )
        self.alarms: list[object] = []
        globalLogPublisher.addObserver(self._event)
        self.addCleanup(globalLogPublisher.removeObserver, self._event)

    def _event(self, event: dict[str, object]) -> None:
        if event.get("problem") == "route-conflict":
            self.alarms.append(event["auid"])

    def name(self, auid: str) -> str:
        """Whose it is."""
        return self.table.route(auid, "").name

    def test_static(self) -> None:
        """AGP-50, AGP-51: entries of the configuration, and 404 for what is in none."""
        verifyObject(IRouteTable, self.table)
        self.assertEqual([self.name(auid) for auid in "abs"], ["first", "second", "first"])
        error = self.assertRaises(XcapError, self.table.route, "c", "")
        self.assertEqual(error.status, 404)
        self.assertRaises(XcapError, self.table.route, "A", "")

    def test_learnt(self) -> None:
        """AGP-52: usages told by the servers count; static entries win."""
        self.table.learn("second", ["a", "c", "xcap-caps"])
        self.assertEqual((self.name("c"), self.name("a")), ("second", "first"))
        self.assertNotIn("xcap-caps", self.table.auids)
        self.assertEqual(self.alarms, [])
        self.table.learn("second", [])
        self.assertRaises(XcapError, self.table.route, "c", "")

    def test_conflict(self) -> None:
        """AGP-52: of two that claim a usage the one configured first wins, with one alarm."""
        self.table.learn("second", ["c"])
        self.table.learn("first", ["c"])
        self.table.learn("first", ["c", "d"])
        self.assertEqual((self.name("c"), self.alarms), ("first", ["c"]))
        self.assertEqual(self.table.conflicts, {"c"})

    def test_replace(self) -> None:
        """AGP-61: another configuration counts at once; what is known of its groups stays."""
        self.table.learn("second", ["c"])
        self.table.replace([Group("second", (self.second,), frozenset({"a"}))])
        self.assertEqual((self.name("a"), self.name("c")), ("second", "second"))
        self.assertRaises(XcapError, self.table.route, "b", "")
        group = Group("x", (self.first,))
        self.assertRaises(ValueError, self.table.replace, [group, group])

    def test_down(self) -> None:
        """AGP-80: a group with nobody up is 503 with Retry-After."""
        self.first.up = False
        error = self.assertRaises(XcapError, self.table.route, "a", "")
        self.assertEqual((error.status, error.headers[0][0]), (503, "Retry-After"))

    def test_retry_after(self) -> None:
        """AGP-80: between 1 and 30 s, not for all the same."""
        values = {int(unavailable(lambda _, b=b: bytes((b,))).headers[0][1]) for b in range(256)}
        self.assertEqual(values, set(range(1, 31)))

    def test_standard(self) -> None:
        """AGP-50: the usages of the three kinds of servers; none has two homes."""
        for auid, kind in (
            ("resource-lists", "shared-xdms"),
            ("org.openmobilealliance.group-usage-list", "shared-xdms"),
            ("pres-rules", "presence-xdms"),
            ("org.openmobilealliance.pres-rules", "presence-xdms"),
            ("pidf-manipulation", "presence-xdms"),
            ("rls-services", "rls-xdms"),
        ):
            self.assertIn(auid, STANDARD_AUIDS[kind])
        every = [auid for auids in STANDARD_AUIDS.values() for auid in auids]
        self.assertEqual(len(set(every)), len(every))


class PartitionTests(SynchronousTestCase):
    """Which partition holds whom."""

    def setUp(self) -> None:
        """Three servers."""
        self.servers = tuple(FakeBackEnd(str(i)) for i in range(3))

    @given(st.text())
    def test_stable(self, xui: str) -> None:
        """AGP-53: a user is always in the same partition, the global documents designated."""
        group = Group("g", self.servers, designated=2)
        self.assertIs(group.holder(xui), group.holder(xui))
        self.assertIs(group.holder(""), self.servers[2])

    def test_hash(self) -> None:
        """AGP-53: the hash is the same in every process, and spreads."""
        self.assertEqual(slot("sip:alice@example.com"), 215)
        group = Group("g", self.servers)
        found = [group.holder(f"sip:u{i}@example.com").name for i in range(300)]
        for name in "012":
            self.assertGreater(found.count(name), 60)

    def test_ranges(self) -> None:
        """AGP-53: explicit ranges of slots."""
        group = Group("g", self.servers, bounds=(1, 1000))
        for i in range(200):
            xui = f"sip:u{i}@example.com"
            expected = 0 if slot(xui) < 1 else 1 if slot(xui) < 1000 else 2
            self.assertIs(group.holder(xui), self.servers[expected])
        self.assertEqual(SLOTS, 1024)

    def test_bad(self) -> None:
        """AGP-53: partitions that cannot be are refused."""
        self.assertRaises(ValueError, Group, "g", ())
        self.assertRaises(ValueError, Group, "g", self.servers, designated=3)
        self.assertRaises(ValueError, Group, "g", self.servers, bounds=(1,))
        self.assertRaises(ValueError, Group, "g", self.servers, bounds=(9, 1))
        self.assertRaises(ValueError, Servers, "s", [])


class RootTests(SynchronousTestCase):
    """Which root a request is for."""

    def test_parts(self) -> None:
        """XCAP-02, AGP-24: authority, path and realm of a root."""
        root = Root("https://Xcap.Example.com:443/a/b/")
        self.assertEqual(
            (root.authority, root.prefix, root.realm),
            ("xcap.example.com", "/a/b/", "xcap.example.com"),
        )
        root = Root("http://x:8080/", "example.com")
        self.assertEqual((root.authority, root.prefix, root.realm), ("x:8080", "/", "example.com"))
        for uri in ("https://x", "https://x/?a", "ftp://x/", "/x/", "https:///", "https://x/#a"):
            self.assertRaises(ValueError, Root, uri)
        self.assertRaises(ValueError, Roots, [])

    def test_find(self) -> None:
        """XCAP-04, XCAP-14: by authority, then by the longest path; no other host."""
        whole, part = Root("https://x/"), Root("https://x/services/")
        other = Root("https://x:8443/")
        roots = Roots([whole, part, other])
        self.assertEqual(set(roots), {whole, part, other})
        for authority, target, root in (
            ("x", "/a", whole),
            ("X:443", "/services/a", part),
            ("x", "/services", whole),
            ("x:8443", "/services/a", other),
        ):
            self.assertIs(roots.find(head(target, authority=authority)), root)
        for authority in ("y", "x:80", "", "x:8444"):
            error = self.assertRaises(XcapError, roots.find, head("/", authority=authority))
            self.assertEqual(error.status, 421)
        plain = Roots([Root("http://x/")])
        self.assertTrue(plain.find(head("/", authority="x:80", peer=HttpPeer("192.0.2.1"))))
        self.assertEqual(roots.realm(head("/", authority="x")), "x")


class BodyTests(SynchronousTestCase):
    """Whether a request has a body."""

    def test_has_body(self) -> None:
        """AGP-34: a length other than zero, or chunks."""
        for fields, expected in (
            ([], False),
            ([("Content-Length", "0")], False),
            ([("Content-Length", "00")], False),
            ([("Content-Length", "10")], True),
            ([("Transfer-Encoding", "chunked")], True),
        ):
            self.assertIs(has_body(Headers(fields)), expected)
