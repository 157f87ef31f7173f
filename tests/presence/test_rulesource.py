"""Tests of :mod:`presence.rulesource` with a document server of the same process."""

from __future__ import annotations

from twisted.logger import LogLevel, capturedLogs, formatEvent

from presence.lists import Limits
from presence.ruledocuments import RuleSettings
from tests.presence.rulesources import (
    ANN,
    BOB,
    DEFAULT,
    DIRECTORY,
    EVE,
    FAR,
    FAR_LIST,
    IETF,
    JOE,
    LISTS,
    NUMBER,
    OMA,
    ROOT,
    UNREACHABLE,
    FarServer,
    RuleSourceTestCase,
    anchor,
    listed,
    lists,
    one,
    rule,
    ruleset,
)
from xcap.interfaces import IDocumentClient
from xcap.records import DocumentKey, Draft

OTHERS = rule("<ocp:other-identity/>", "block", "others")
FRIENDS = anchor("friends")


class DocumentsTests(RuleSourceTestCase):
    """XDM-100, XDM-150: which documents count."""

    def test_none(self) -> None:
        """XDM-150: without a document the operator's default applies."""
        self.hold()
        self.assertIsNone(self.source.rules(JOE))
        self.assertEqual(self.source.status(JOE), "none")
        self.assertDecisions(ann="(confirm)")

    def test_oma(self) -> None:
        """XDM-100, XDI-01: the OMA document counts, whatever there is besides."""
        self.put(OMA, ruleset(one(ANN)))
        self.put(f"{IETF}index", ruleset(one(BOB)))
        self.hold()
        self.assertDecisions(ann="allow", bob="block")
        self.assertEqual(self.source.status(JOE), "rules")
        self.assertEqual(self.gate.paths(), [OMA])

    def test_ietf(self) -> None:
        """XDM-100, XDI-01: all IETF documents together, if there is no OMA document."""
        self.put(f"{IETF}index", ruleset(one(ANN)))
        self.put(f"{IETF}more", ruleset(one(BOB, handling="polite-block")))
        self.hold()
        self.assertDecisions(ann="allow", bob="polite-block", eve="block")
        self.assertEqual(self.gate.paths(), [OMA, DIRECTORY, f"{IETF}index", f"{IETF}more"])

    def test_other_number(self) -> None:
        """PSV-16: another identity of a user has the same documents."""
        self.put(OMA, ruleset(one(ANN)))
        self.hold(NUMBER)
        self.assertDecisions(NUMBER, ann="allow", bob="block")
        self.put(OMA, ruleset(one(BOB)))
        self.assertEqual(self.changes(), [NUMBER])
        self.assertDecisions(NUMBER, ann="block", bob="allow")

    def test_no_user(self) -> None:
        """A presentity that is no user of the document server has no documents."""
        self.hold("sip:nobody@elsewhere.example")
        self.assertIsNone(self.source.rules("sip:nobody@elsewhere.example"))
        self.hold("urn:service:sos")
        self.assertIsNone(self.source.rules("urn:service:sos"))

    def test_no_directory(self) -> None:
        """A server without directories has an IETF document of the usual name."""
        self.put(f"{IETF}index", ruleset(one(ANN)))
        self.gate.failure = lambda path: 404 if path == DIRECTORY else None
        self.hold()
        self.assertDecisions(ann="allow", bob="block")

    def test_appearing(self) -> None:
        """XDM-100: the choice is made anew when documents come and go."""
        self.hold()
        self.put(f"{IETF}index", ruleset(one(ANN)))
        self.assertEqual(self.changes(), [JOE])
        self.assertDecisions(ann="allow", bob="block")
        self.put(f"{IETF}more", ruleset(one(BOB)))
        self.assertEqual(self.changes(), [JOE])
        self.assertDecisions(ann="allow", bob="allow")
        self.put(OMA, ruleset(one(EVE)))
        self.assertEqual(self.changes(), [JOE])
        self.assertDecisions(ann="block", bob="block", eve="allow")
        self.delete(f"{IETF}index")
        self.assertEqual(self.changes(), [])
        self.delete(OMA)
        self.assertEqual(self.changes(), [JOE])
        self.assertDecisions(ann="block", bob="allow", eve="block")
        self.delete(f"{IETF}more")
        self.assertEqual(self.changes(), [JOE])
        self.assertIsNone(self.source.rules(JOE))

    def test_empty(self) -> None:
        """RUL-02: a document without rules is a document: everybody is blocked."""
        self.put(OMA, ruleset())
        self.hold()
        self.assertDecisions(ann="block")

    def test_identity(self) -> None:
        """XDM-101: rules are read by the Presence Server, which is trusted."""
        self.put(OMA, ruleset(one(ANN)))
        self.hold()
        self.assertEqual(self.gate.asked, [(OMA, None, "")])


class UnionTests(RuleSourceTestCase):
    """XDM-100: the switch."""

    settings = RuleSettings(union=True)

    def test_union(self) -> None:
        """XDM-100: all documents of both usages are one rule set."""
        self.put(OMA, ruleset(one(ANN)))
        self.put(f"{IETF}index", ruleset(one(BOB)))
        self.hold()
        self.assertDecisions(ann="allow", bob="allow", eve="block")
        self.delete(OMA)
        self.assertEqual(self.changes(), [JOE])
        self.assertDecisions(ann="block", bob="allow")


class DefaultTests(RuleSourceTestCase):
    """XDM-150: a document of the operator."""

    settings = RuleSettings(default_document=True)

    def test_default(self) -> None:
        """XDM-150: it is evaluated where there is none of the presentity's."""
        self.put(DEFAULT, ruleset(one(ANN)))
        self.put(OMA, ruleset(one(BOB)))
        self.hold()
        self.hold(ANN)
        self.assertDecisions(ann="block", bob="allow")
        self.assertDecisions(ANN, ann="allow", bob="block")
        self.assertEqual(self.source.status(ANN), "default")
        rules = self.source.rules(ANN)
        assert rules is not None
        self.assertEqual(rules.source, "default")
        self.delete(OMA)
        self.assertEqual(self.changes(), [JOE])
        self.assertDecisions(ann="allow", bob="block")
        self.put(DEFAULT, ruleset(one(BOB)))
        self.assertEqual(sorted(self.changes()), [ANN, JOE])
        self.delete(DEFAULT)
        self.assertEqual(sorted(self.changes()), [ANN, JOE])
        self.assertIsNone(self.source.rules(JOE))

    def test_shared(self) -> None:
        """One copy serves all; many users of it are looked at in several turns."""
        self.put(DEFAULT, ruleset(one(ANN)))
        users = [f"sip:u{number}@example.com" for number in range(50)]
        for user in users:
            self.hold(user)
        self.assertEqual(self.gate.paths().count(DEFAULT), 1)
        turns = self.clock.turns
        self.put(DEFAULT, ruleset(one(BOB)))
        self.assertGreater(self.clock.turns - turns, 2)
        self.assertEqual(sorted(self.changes()), sorted(users))


class DamagedTests(RuleSourceTestCase):
    """XDM-151: documents that cannot be read."""

    def damage(self, path: str, octets: bytes = b"<nonsense/>") -> None:
        """Store what the document server would refuse."""
        auid, _, xui, name = path.split("/")
        key = DocumentKey(ROOT, auid, xui, name)
        known = self.wait(self.store.fetch(key))
        before = known.etag if known is not None else ""
        self.wait(self.store.commit(Draft(key, before, octets)))

    def test_first(self) -> None:
        """XDM-151: everybody is blocked by a document that was never readable."""
        self.damage(OMA)
        self.hold()
        self.assertDecisions(ann="block")
        self.assertEqual(self.source.status(JOE), "damaged")
        self.put(OMA, ruleset(one(ANN)))
        self.assertEqual(self.changes(), [JOE])
        self.assertDecisions(ann="allow")
        self.assertEqual(self.source.status(JOE), "rules")

    def test_later(self) -> None:
        """XDM-151: the last good version is kept."""
        self.put(OMA, ruleset(one(ANN)))
        self.hold()
        self.damage(OMA)
        self.assertEqual(self.changes(), [])
        self.assertDecisions(ann="allow", bob="block")
        self.delete(OMA)
        self.assertEqual(self.changes(), [JOE])
        self.damage(OMA)
        self.changes()
        self.assertDecisions(ann="block")

    def test_one_of_several(self) -> None:
        """XDM-151: a damaged document among others grants nothing."""
        self.put(f"{IETF}index", ruleset(one(ANN)))
        self.damage(f"{IETF}more")
        self.hold()
        self.assertDecisions(ann="allow", bob="block")
        self.assertEqual(self.source.status(JOE), "damaged")


class ListTests(RuleSourceTestCase):
    """XDM-120: external lists."""

    foreign_lists = True

    def test_members(self) -> None:
        """XDM-120, XDI-02: the members of the lists that rules name, at once."""
        self.put(LISTS, lists(friends=(ANN, FRIENDS_MORE), more=("sip:bob@EXAMPLE.com",)))
        self.put(OMA, ruleset(listed(FRIENDS), OTHERS))
        self.hold()
        self.assertDecisions(ann="allow", bob="allow", eve="block")
        self.assertEqual(self.source.lists(JOE)(FRIENDS), {ANN, BOB})
        self.assertIsNone(self.source.lists(JOE)(anchor("other")))
        self.assertEqual(self.gate.paths(), [OMA, LISTS])

    def test_change(self) -> None:
        """PSV-09, RUL-04: a change of a list is told once; of what does not matter never."""
        self.put(LISTS, lists(friends=(ANN,)))
        self.put(OMA, ruleset(listed(FRIENDS), OTHERS))
        self.hold()
        self.put(LISTS, lists(friends=(ANN, BOB)))
        self.assertEqual(self.changes(), [JOE])
        self.assertDecisions(ann="allow", bob="allow")
        self.put(LISTS, lists(friends=(ANN, BOB), foes=(EVE,)))
        self.put(f"resource-lists/users/{JOE}/other", lists(friends=(EVE,)))
        self.assertEqual(self.changes(), [])
        self.put(LISTS, lists(friends=(BOB,)))
        self.assertEqual(self.changes(), [JOE])
        self.assertDecisions(ann="block", bob="allow")

    def test_rules_and_lists(self) -> None:
        """PSV-09: a rule that names a new list is told when both are there, once."""
        other = anchor("work", f"resource-lists/users/{JOE}/work")
        self.put(LISTS, lists(friends=(ANN,)))
        self.put(OMA, ruleset(listed(FRIENDS), OTHERS))
        self.put(f"resource-lists/users/{JOE}/work", lists(work=(BOB,)))
        self.hold()
        self.put(OMA, ruleset(listed(FRIENDS, other), OTHERS))
        self.assertEqual(self.changes(), [JOE])
        self.assertDecisions(ann="allow", bob="allow")
        self.put(OMA, ruleset(listed(other), OTHERS))
        self.assertEqual(self.changes(), [JOE])
        self.assertDecisions(ann="block", bob="allow")
        self.assertEqual(self.source.documents, 2)

    def test_both_at_once(self) -> None:
        """A change of both before anybody looks is one change."""
        self.put(LISTS, lists(friends=(ANN,)))
        self.put(OMA, ruleset(listed(FRIENDS), OTHERS))
        self.hold()
        client = self.client(JOE)
        done = [
            client.put(LISTS, lists(friends=(BOB,)), "application/resource-lists+xml"),
            client.put(
                OMA,
                ruleset(listed(FRIENDS, handling="polite-block"), OTHERS),
                "application/auth-policy+xml",
            ),
        ]
        self.assertEqual(self.changes(), [JOE])
        self.assertEqual([self.successResultOf(one).status for one in done], [200, 200])
        self.assertDecisions(ann="block", bob="polite-block")

    def test_deleted(self) -> None:
        """XDM-123, XDI-02: the last good members count for a day, then they are undetermined."""
        self.put(LISTS, lists(friends=(ANN,)))
        self.put(OMA, ruleset(listed(FRIENDS)))
        self.hold()
        self.delete(LISTS)
        self.assertEqual(self.changes(), [])
        self.pass_time(86390.0, 1000.0)
        self.assertDecisions(ann="allow", bob="block")
        self.pass_time(20.0)
        self.assertEqual(self.changes(), [JOE])
        self.assertDecisions(ann="block", bob="block")
        self.put(LISTS, lists(friends=(BOB,)))
        self.assertEqual(self.changes(), [JOE])
        self.assertDecisions(ann="block", bob="allow")

    def test_never_there(self) -> None:
        """XDM-123: without a good resolution the list is undetermined, and logged, until then."""
        self.put(OMA, ruleset(listed(FRIENDS), rule("<ocp:other-identity/>", "allow", "others")))
        with capturedLogs() as logged:
            self.hold()
        (event,) = (one for one in logged if one["log_level"] is LogLevel.warn)
        self.assertIn("an external list cannot be resolved", formatEvent(event))
        self.assertIsNone(self.source.lists(JOE)(FRIENDS))
        self.assertDecisions(ann="confirm")
        self.put(LISTS, lists(friends=(ANN,)))
        self.assertEqual(self.changes(), [JOE])
        self.assertDecisions(ann="allow", bob="allow")
        self.put(LISTS, lists(other=(ANN,)))
        self.put(LISTS, lists(friends=(BOB,)))
        self.assertEqual(self.changes(), [JOE])
        self.assertDecisions(ann="allow", bob="allow")

    def test_nested_missing(self) -> None:
        """XDM-30: a list that refers to nothing is not resolved."""
        self.put(LISTS, lists(friends=(ANN, anchor("gone"))))
        self.put(OMA, ruleset(listed(FRIENDS)))
        self.hold()
        self.assertIsNone(self.source.lists(JOE)(FRIENDS))
        self.put(LISTS, lists(friends=(ANN, anchor("gone")), gone=(BOB,)))
        self.assertEqual(self.changes(), [JOE])
        self.assertDecisions(ann="allow", bob="allow")
        self.assertEqual(len(self.flushLoggedErrors()), 0)

    def test_identity_of_references(self) -> None:
        """XDM-29: lists of others are read as the presentity, and so refused by default."""
        other = f"resource-lists/users/{ANN}/index"
        self.put(other, lists(team=(BOB,)))
        self.put(OMA, ruleset(listed(anchor("team", other))))
        self.hold()
        self.assertEqual(self.gate.asked, [(OMA, None, ""), (other, None, JOE)])
        self.assertIsNone(self.source.lists(JOE)(anchor("team", other)))
        self.gate.asked.clear()
        self.put(other, lists(team=(BOB, EVE)))
        self.changes()
        self.assertEqual(self.gate.asked, [(other, None, JOE)])

    def test_global_list(self) -> None:
        """XDM-29: a list that everybody may read is followed."""
        staff = "resource-lists/global/staff"
        self.put(staff, lists(team=(BOB,)))
        self.put(OMA, ruleset(listed(anchor("team", staff)), OTHERS))
        self.hold()
        self.assertDecisions(ann="block", bob="allow")
        self.put(staff, lists(team=(ANN,)))
        self.assertEqual(self.changes(), [JOE])
        self.assertDecisions(ann="allow", bob="block")

    def test_elsewhere(self) -> None:
        """XDM-29: other servers are not asked unless the operator says so."""
        far = anchor("team", "resource-lists/users/sip:x@y.example/index", "https://y.example/")
        self.put(OMA, ruleset(listed(far)))
        self.hold()
        self.assertIsNone(self.source.lists(JOE)(far))
        self.assertEqual(self.gate.paths(), [OMA])

    def test_long_lists(self) -> None:
        """A turn of the reactor resolves no more than a part of long lists."""
        names = {f"l{n}": tuple(f"sip:u{n}-{m}@example.com" for m in range(500)) for n in range(40)}
        self.put(LISTS, lists(**names))
        self.put(OMA, ruleset(listed(*map(anchor, names))))
        self.source.hold(JOE)
        ready = self.source.ready(JOE)
        assert ready is not None
        turns = self.clock.turns
        self.clock.advance(0)
        self.assertGreater(self.clock.turns - turns, 2)
        self.successResultOf(ready)
        self.assertEqual(self.decision("sip:u39-499@example.com"), "allow")
        self.assertEqual(self.changes(), [])


FRIENDS_MORE = anchor("more")


class ManyAnchorsTests(RuleSourceTestCase):
    """Bounds."""

    settings = RuleSettings(anchors=2, limits=Limits(uris=3), documents=1)

    def test_anchors(self) -> None:
        """More lists than allowed are undetermined."""
        self.put(LISTS, lists(a=(ANN,), b=(BOB,), c=(EVE,)))
        self.put(OMA, ruleset(listed(anchor("a"), anchor("b"), anchor("c"))))
        self.hold()
        found = [self.source.lists(JOE)(anchor(name)) for name in "abc"]
        self.assertEqual(found, [{ANN}, {BOB}, None])

    def test_limits(self) -> None:
        """XDM-28: a list beyond the limits is not resolved."""
        self.put(LISTS, lists(friends=(ANN, BOB, EVE, "sip:x@example.com")))
        self.put(OMA, ruleset(listed(FRIENDS)))
        self.hold()
        self.assertIsNone(self.source.lists(JOE)(FRIENDS))

    def test_documents(self) -> None:
        """With more documents than are looked at nobody knows the rules."""
        self.put(f"{IETF}index", ruleset(one(ANN)))
        self.put(f"{IETF}more", ruleset(one(ANN)))
        self.hold()
        self.assertDecisions(ann="confirm")


class ForeignTests(RuleSourceTestCase):
    """XDM-29, XDM-31: lists at servers of others."""

    settings = RuleSettings(foreign=True)
    foreign_lists = True

    def setUp(self) -> None:
        """A rule that names a list elsewhere."""
        super().setUp()
        self.far = FarServer()
        self.anchor = anchor("team", FAR_LIST, FAR)
        self.put(OMA, ruleset(listed(self.anchor), OTHERS))

    def clients(self, root: str, reader: str) -> IDocumentClient | None:
        """Also of the other server."""
        if root == FAR:
            self.assertEqual(reader, JOE)
            return self.far
        return super().clients(root, reader)

    def test_foreign(self) -> None:
        """XDM-29, XDM-31: it is fetched as the presentity, and again after an hour."""
        self.far.members = (ANN,)
        self.hold()
        self.assertDecisions(ann="allow", bob="block")
        self.assertEqual(self.far.asked, [(FAR + FAR_LIST, None)])
        self.far.members = (BOB,)
        self.pass_time(3500.0, 10.0)
        self.assertEqual(self.changes(), [])
        self.pass_time(150.0, 10.0)
        self.assertEqual(self.far.asked[1:], [(FAR + FAR_LIST, "1")])
        self.assertEqual(self.changes(), [JOE])
        self.assertDecisions(ann="block", bob="allow")

    def test_refused(self) -> None:
        """A refusal is a list that is not there; it is asked again in time."""
        self.far.status = 403
        self.hold()
        self.assertIsNone(self.source.lists(JOE)(self.anchor))
        self.far.status = 0
        self.far.members = (ANN,)
        self.pass_time(3650.0, 10.0)
        self.assertEqual(self.changes(), [JOE])
        self.assertDecisions(ann="allow")


class HoldTests(RuleSourceTestCase):
    """Holding and releasing."""

    def test_not_held(self) -> None:
        """Of who is not held nothing is known: everybody is confirmed."""
        self.assertIsNone(self.source.ready(JOE))
        self.assertDecisions(ann="confirm")
        self.assertEqual(self.source.status(JOE), "unreachable")
        self.assertRaises(KeyError, self.source.release, JOE)

    def test_count(self) -> None:
        """Who is held twice is released twice; then nothing is left (PSV-10)."""
        self.put(OMA, ruleset(listed(FRIENDS)))
        self.put(LISTS, lists(friends=(ANN,)))
        self.hold()
        self.hold()
        self.source.release(JOE)
        self.assertDecisions(ann="allow")
        self.put(OMA, ruleset(listed(FRIENDS), one(BOB)))
        self.assertEqual(self.changes(), [JOE])
        self.source.release(JOE)
        self.assertEqual((len(self.source), self.source.documents), (0, 0))
        self.assertEqual(len(self.store_feed), 0)
        self.put(OMA, ruleset(one(EVE)))
        self.assertEqual(self.changes(), [])
        self.assertRaises(KeyError, self.source.release, JOE)

    def test_released_before_look(self) -> None:
        """A change is told to nobody who has gone meanwhile."""
        self.put(OMA, ruleset(one(ANN)))
        self.hold()
        self.store.watch(lambda change: self.source.release(JOE))
        self.delete(OMA)
        self.assertEqual(self.changes(), [])

    def test_release_while_fetching(self) -> None:
        """A release ends the waiting, and what is under way."""
        self.gate.closed = lambda path: True
        self.source.hold(JOE)
        ready = self.source.ready(JOE)
        assert ready is not None
        self.source.release(JOE)
        self.successResultOf(ready)
        self.gate.release()
        self.assertEqual(self.changes(), [])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_listener_releases(self) -> None:
        """Who is told may release; one that fails does not stop the others."""
        self.put(OMA, ruleset(one(ANN)))
        self.source.watch(lambda presentity: 1 // 0)
        self.source.watch(self.source.release)
        later: list[str] = []
        self.source.watch(later.append)
        self.hold()
        self.put(OMA, ruleset(one(BOB)))
        self.assertEqual(self.changes(), [JOE])
        self.assertEqual(later, [JOE])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(len(self.source), 0)

    def test_cancelled(self) -> None:
        """Who waits may give up, also another one that is told at the same time."""
        self.gate.closed = lambda path: True
        self.source.hold(JOE)
        first, second = self.source.ready(JOE), self.source.ready(JOE)
        third = self.source.ready(JOE)
        assert first is not None and second is not None and third is not None
        third.cancel()
        self.failureResultOf(third)
        first.addCallback(lambda _: second.cancel())
        self.gate.closed = lambda path: False
        self.gate.release()
        self.settle()
        self.successResultOf(first)
        self.failureResultOf(second)


class UnreachableTests(RuleSourceTestCase):
    """PSV-08: document servers that do not answer."""

    def lose(self, failing: bool = True) -> None:
        """Reach it or not."""
        self.gate.failure = lambda path: UNREACHABLE if failing else None

    def test_no_copy(self) -> None:
        """PSV-08: without a copy everybody is confirmed, until it can be reached."""
        self.put(OMA, ruleset(one(ANN)))
        self.lose()
        self.hold()
        self.assertEqual(self.source.status(JOE), "unreachable")
        self.assertDecisions(ann="confirm", bob="confirm")
        self.assertEqual(self.decision(JOE), "allow")
        self.pass_time(50.0)
        self.assertEqual(self.changes(), [])
        self.lose(False)
        self.pass_time(20.0)
        self.assertEqual(self.changes(), [JOE])
        self.assertDecisions(ann="allow", bob="block")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_statuses(self) -> None:
        """PSV-08: only 404 and 410 say that there is no document."""
        for status, handling in (
            (404, "(confirm)"),
            (410, "(confirm)"),
            (500, "confirm"),
            (503, "confirm"),
            (403, "confirm"),
            (302, "confirm"),
            (304, "confirm"),
            (429, "confirm"),
        ):
            self.gate.failure = lambda path, status=status: status  # type: ignore[misc]
            self.hold()
            self.assertDecisions(ann=handling)
            self.source.release(JOE)

    def test_directory(self) -> None:
        """PSV-08: which IETF documents there are has to be known, too."""
        self.put(f"{IETF}index", ruleset(one(ANN)))
        self.gate.failure = lambda path: 503 if path == DIRECTORY else None
        self.hold()
        self.assertDecisions(ann="confirm")
        self.gate.failure = lambda path: 503 if path == f"{IETF}index" else None
        self.pass_time(20.0)
        self.assertDecisions(ann="confirm")
        self.gate.failure = lambda path: None
        self.pass_time(20.0)
        self.assertDecisions(ann="allow", bob="block")

    def test_lists(self) -> None:
        """XDM-123: a list that cannot be fetched is undetermined until it can."""
        self.put(OMA, ruleset(listed(FRIENDS), rule("<ocp:other-identity/>", "allow", "others")))
        self.put(LISTS, lists(friends=(ANN,)))
        self.gate.failure = lambda path: UNREACHABLE if path == LISTS else None
        self.hold()
        self.assertDecisions(ann="confirm", bob="confirm")
        self.lose(False)
        self.pass_time(20.0)
        self.assertEqual(self.changes(), [JOE])
        self.assertDecisions(ann="allow", bob="allow")

    def test_store_down(self) -> None:
        """PSV-08: in one process, what the store cannot read is not at hand."""
        self.put(OMA, ruleset(one(ANN)))
        self.wait(self.store.stop())
        self.hold()
        self.assertDecisions(ann="confirm")
        self.wait(self.store.start())
        self.pass_time(20.0)
        self.assertDecisions(ann="allow", bob="block")

    def test_bug(self) -> None:
        """What nobody expected is logged, and means that it could not be fetched."""
        self.gate.failure = lambda path: ZeroDivisionError()
        self.hold()
        self.assertDecisions(ann="confirm")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.lose(False)
        self.pass_time(20.0)
        self.assertIsNone(self.source.rules(JOE))


class WaitTests(RuleSourceTestCase):
    """PSV-08: answers that take their time."""

    def setUp(self) -> None:
        """Rules with a list."""
        super().setUp()
        self.put(OMA, ruleset(listed(FRIENDS), OTHERS))
        self.put(LISTS, lists(friends=(ANN,)))
        self.gate.closed = lambda path: True

    def test_ready(self) -> None:
        """PSV-08: it is ready when everything is there; nobody is told of it."""
        self.source.hold(JOE)
        ready = self.source.ready(JOE)
        assert ready is not None
        self.assertEqual(self.gate.paths(), [OMA])
        self.gate.release()
        self.settle()
        self.assertNoResult(ready)
        self.assertEqual(self.gate.paths(), [LISTS])
        self.gate.release()
        self.settle()
        self.successResultOf(ready)
        self.assertIsNone(self.source.ready(JOE))
        self.assertDecisions(ann="allow", bob="block")
        self.assertEqual(self.changes(), [])

    def test_asked_early(self) -> None:
        """Who has decided too early is told when there is something to decide by."""
        self.source.hold(JOE)
        self.assertDecisions(ann="confirm")
        self.gate.closed = lambda path: False
        self.gate.release()
        self.assertEqual(self.changes(), [JOE])
        self.assertDecisions(ann="allow")

    def test_late(self) -> None:
        """PSV-08: after two seconds everybody is confirmed; what comes later is told."""
        self.source.hold(JOE)
        ready = self.source.ready(JOE)
        assert ready is not None
        self.pass_time(1.9, 0.1)
        self.assertNoResult(ready)
        self.pass_time(0.1, 0.1)
        self.successResultOf(ready)
        self.assertDecisions(ann="confirm", bob="confirm")
        self.gate.closed = lambda path: False
        self.gate.release()
        self.assertEqual(self.changes(), [JOE])
        self.assertDecisions(ann="allow", bob="block")

    def test_late_list(self) -> None:
        """XDM-28, PSV-08: a list that takes too long is undetermined until it has come."""
        self.source.hold(JOE)
        ready = self.source.ready(JOE)
        assert ready is not None
        self.gate.release()
        self.pass_time(2.0, 0.1)
        self.successResultOf(ready)
        self.assertDecisions(ann="block", bob="block")
        self.assertIsNone(self.source.lists(JOE)(FRIENDS))
        self.gate.release()
        self.assertEqual(self.changes(), [JOE])
        self.assertDecisions(ann="allow", bob="block")

    def test_new_list_late(self) -> None:
        """PSV-09: after a change of rules the old state serves for half a second at most."""
        self.gate.closed = lambda path: False
        self.hold()
        self.gate.closed = lambda path: True
        other = anchor("work", f"resource-lists/users/{JOE}/work")
        self.put(f"resource-lists/users/{JOE}/work", lists(work=(BOB,)))
        self.put(OMA, ruleset(listed(other), OTHERS))
        self.assertEqual(self.changes(), [])
        self.assertDecisions(ann="allow", bob="block")
        self.pass_time(0.5, 0.1)
        self.assertEqual(self.changes(), [JOE])
        self.assertDecisions(ann="block", bob="block")
        self.gate.release()
        self.assertEqual(self.changes(), [JOE])
        self.assertDecisions(ann="block", bob="allow")

    def test_change_while_fetching(self) -> None:
        """A change that is told while an older answer is on its way counts."""
        self.source.hold(JOE)
        self.put(OMA, ruleset(one(BOB)))
        self.settle()
        self.assertIsNone(self.source.ready(JOE))
        self.assertDecisions(ann="block", bob="allow")
        self.gate.release()
        self.assertEqual(self.changes(), [])
        self.assertDecisions(ann="block", bob="allow")

    def test_removed_while_fetching(self) -> None:
        """So does a removal."""
        self.source.hold(JOE)
        self.delete(OMA)
        self.gate.closed = lambda path: False
        self.settle()
        self.gate.release()
        self.settle()
        self.assertIsNone(self.source.rules(JOE))

    def test_list_changes_while_resolving(self) -> None:
        """A list that changes while others are fetched for it is resolved anew."""
        work = f"resource-lists/users/{JOE}/work"
        self.put(work, lists(work=(BOB,)))
        self.put(LISTS, lists(friends=(ANN, anchor("work", work))))
        self.source.hold(JOE)
        self.gate.release(OMA)
        self.settle()
        self.gate.release(LISTS)
        self.settle()
        self.assertEqual(len(self.gate), 1)
        self.put(LISTS, lists(friends=(EVE, anchor("work", work))))
        self.settle()
        self.gate.release(work)
        self.settle()
        self.assertIsNone(self.source.ready(JOE))
        self.assertEqual(self.source.lists(JOE)(FRIENDS), {EVE, BOB})

    def test_directory_changes_while_fetching(self) -> None:
        """Documents that come while the directory is fetched are seen."""
        self.delete(OMA)
        self.gate.closed = lambda path: path == DIRECTORY
        self.source.hold(JOE)
        self.put(f"{IETF}index", ruleset(one(ANN)))
        self.settle()
        self.gate.release()
        self.settle()
        self.gate.release()
        self.settle()
        self.assertIsNone(self.source.ready(JOE))
        self.assertDecisions(ann="allow", bob="block")
