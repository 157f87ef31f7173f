"""Tests of :mod:`presence.rls.services` with a document server of the same process."""

from __future__ import annotations

import random
from urllib.parse import quote

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.logger import LogLevel, capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from presence.copies import CopySettings
from presence.lists import Limits
from presence.rls.definitions import index_path, member_key, service_key
from presence.rls.entries import ServiceSettings
from presence.rls.model import Member, Service
from presence.rls.services import HeldService, ServiceSource
from pysip.interfaces import Identity
from tests.presence.listservices import (
    FRIENDS,
    GLOBAL,
    SERVICES,
    WORK,
    ServiceSourceTestCase,
    entry,
    lists_of,
    service,
    services,
    uris,
)
from tests.presence.rulesources import (
    ANN,
    BOB,
    EVE,
    FAR,
    FAR_LIST,
    JOE,
    LISTS,
    NUMBER,
    ROOT,
    UNREACHABLE,
    FarServer,
    Users,
    anchor,
    lists,
)
from xcap.interfaces import IDocumentClient
from xcap.records import DocumentKey, Draft, HttpResponse
from xcap.usage.serviceuri import ServiceTemplate

CLOSE = anchor("close")
TEAM = f"resource-lists/users/{ANN}/index"


class KeyTests(SynchronousTestCase):
    """How URIs of services and of members compare."""

    def test_services(self) -> None:
        """XDM-52: spellings of one SIP URI find the service, and nothing else does."""
        for same in (
            "sip:joe@EXAMPLE.com;pres-list=friends",
            "sip:%6Aoe@example.com;PRES-LIST=Friends",
            " sip:joe@example.com;lr;pres-list=friends;transport=tcp",
            "sip:joe@example.com;pres-list=friends?subject=x",
        ):
            self.assertEqual(service_key(same), FRIENDS)
        for other in (
            JOE,
            "sips:joe@example.com;pres-list=friends",
            "sip:JOE@example.com;pres-list=friends",
            "sip:joe@example.com:5060;pres-list=friends",
            "sip:joe@example.com;pres-list=friends;user=phone",
        ):
            self.assertNotEqual(service_key(other), FRIENDS)
        for none in ("", "tel:+15550100", "pres:joe@example.com", "sip:", "nonsense"):
            self.assertRaises(ValueError, service_key, none)

    def test_members(self) -> None:
        """RLS-15, RLS-17: members are told apart as presentities, lists by all of their URI."""
        for same in (ANN, "pres:ann@example.com", "sips:ann@EXAMPLE.com", "sip:ann@example.com;lr"):
            self.assertEqual(member_key(same), ANN)
        self.assertEqual(member_key("tel:+1-555-0100"), NUMBER)
        self.assertEqual(member_key("sip:joe@EXAMPLE.com;pres-list=Work"), WORK)
        for none in ("", "sip:", "mailto:ann@example.com", "sip:ann@exa mple;x=y", "sip:;x=y"):
            self.assertIsNone(member_key(none))

    @settings(max_examples=200, deadline=None)
    @given(st.text(max_size=30), st.text(max_size=10), st.text(max_size=10))
    def test_hostile(self, user: str, name: str, value: str) -> None:
        """No URI makes anything but the documented error, and all others can be asked for."""
        quoted = quote(user, safe="")
        for uri in (user, f"sip:{user}@x;{name}={value}", f"sip:{quoted}@x;{quote(name)}"):
            member_key(uri)
            try:
                key = service_key(uri)
            except ValueError:
                continue
            self.assertEqual(service_key(key), key)
            index_path(key).encode("ascii")


@implementer(IDocumentClient)
class FarIndex(FarServer):
    """A server elsewhere with an index, but nothing of Eve's."""

    def get(self, uri: str, etag: str | None = None) -> Deferred[HttpResponse]:
        """GET."""
        answer = super().get(uri, etag)
        return succeed(HttpResponse(404)) if "/users/" in uri else answer


class FindTests(ServiceSourceTestCase):
    """XDM-52: who may subscribe to what."""

    def setUp(self) -> None:
        """Joe has two lists."""
        super().setUp()
        self.put(
            SERVICES,
            services(
                service((ANN, BOB), packages=("presence", "dialog")),
                service((EVE,), WORK),
            ),
        )

    def test_owner(self) -> None:
        """RLO-01, XDM-52: the owner finds the list, by any spelling and identity."""
        expected = Service(
            FRIENDS,
            JOE,
            frozenset({"presence", "dialog"}),
            (),
            (Member(ANN, ANN), Member(BOB, BOB)),
            key=FRIENDS,
            siblings=frozenset({FRIENDS, WORK}),
        )
        self.assertEqual(self.find(), expected)
        self.assertEqual(self.find("sip:joe@EXAMPLE.com;transport=udp;pres-list=friends"), expected)
        self.assertEqual(self.find(watcher=NUMBER), expected)
        self.assertEqual(self.find(watcher=f"{EVE},{NUMBER},tel:+1999"), expected)
        self.assertEqual(self.gate.asked[0], (SERVICES, None, ""))

    def test_others(self) -> None:
        """RLO-01, XDM-52: a list of somebody else is refused, as the global index tells."""
        for watcher in (ANN, EVE, ""):
            self.assertEqual(self.refused(watcher=watcher).status, 403)
        asked = [path for path in self.gate.paths() if "/users/" not in path]
        place = f"{GLOBAL}%5b@uri=%22sip:joe@example.com;pres-list=friends%22%5d"
        self.assertEqual(asked, [place] * 3)

    def test_none(self) -> None:
        """XDM-52: no list of that URI; the user whose lists there are is none."""
        for uri in (JOE, ANN, f"{JOE};pres-list=foes", "sip:x@elsewhere.example"):
            self.assertIsNone(self.find(uri))
        self.gate.paths()
        for uri in ("pres:joe@example.com", "tel:+15550100", "nonsense", ""):
            self.assertIsNone(self.find(uri))
        self.assertEqual(self.gate.paths(), [])

    def test_whose(self) -> None:
        """RLO-01: what is known of a list is known to its owner."""
        self.find()
        for uris_of, known in (((JOE,), True), ((EVE, NUMBER), True), ((ANN,), False), ((), False)):
            service = self.source.known(FRIENDS, Identity(uris_of))
            self.assertEqual(service is not None, known, uris_of)

    def test_packages(self) -> None:
        """XDM-42, XDM-52: without packages a service is for all, otherwise only for those."""
        self.assertIsNotNone(self.find(package="dialog"))
        error = self.refused(package="reg")
        self.assertEqual(error.status, 489)
        self.assertEqual(error.headers, (("Allow-Events", "dialog, presence"),))
        self.assertIsNotNone(self.find(WORK, package="reg"))
        self.put(SERVICES, services(service((ANN,), packages=())))
        self.settle()
        self.assertEqual(self.refused().status, 489)

    def test_other_documents(self) -> None:
        """XDM-52: only the document named index has services (XDM-47)."""
        self.put(
            f"rls-services/users/{JOE}/more", services(service((ANN,), f"{JOE};pres-list=foes"))
        )
        self.assertIsNone(self.find(f"{JOE};pres-list=foes"))

    def test_long(self) -> None:
        """A URI that is too long to be asked for is none of a list."""
        for length in (900, 1100, 60000):
            self.assertIsNone(self.find(f"{JOE};pres-list={'%00' * (length // 3)}"))
            self.assertEqual(bool(self.gate.paths()), length == 900, length)

    def test_root_of_watcher(self) -> None:
        """A watcher of another domain has no lists here, and gets 403 for those there are."""
        self.assertIsNone(self.find("sip:eve@other.example", EVE))
        self.assertEqual(self.refused(FRIENDS, EVE).status, 403)

    def test_several_roots(self) -> None:
        """XDM-52: a list may be below the XCAP root of the watcher or that of its own domain."""
        far = FarIndex()
        source = ServiceSource(
            self.clock,
            lambda root, reader: far if root == FAR else self.clients(root, reader),
            self.store_feed,
            lambda user: FAR if user == EVE else ROOT,
            Users().canonical,
        )
        for status, expected in ((0, 403), (404, None), (500, 480)):
            far.status = status
            looking = source.find(f"{JOE};pres-list=foes", Identity((EVE,)), "presence")
            self.settle()
            if expected is None:
                self.assertIsNone(self.successResultOf(looking))
            else:
                self.assertEqual(self.failureResultOf(looking).value.status, expected)
            self.assertIn("/global/", far.asked[-1][0])
        source.stop()

    def test_linger(self) -> None:
        """Who holds what was found fetches nothing; a while later all is forgotten."""
        self.find()
        self.gate.paths()
        self.assertEqual(uris(self.source.known(FRIENDS)), [ANN, BOB])
        self.pass_time(9.0)
        held = self.hold()
        self.assertEqual(uris(held.service), [ANN, BOB])
        self.assertTrue(held.known)
        self.pass_time(1000.0, 10.0)
        self.assertEqual(self.gate.paths(), [])
        self.assertEqual(
            uris(self.source.known("sip:joe@EXAMPLE.com;pres-list=friends")), [ANN, BOB]
        )
        held.stop()
        held.stop()
        self.assertEqual(len(self.source), 1)
        self.lapse()
        self.assertIsNone(self.source.known(FRIENDS))
        self.assertIsNone(self.source.known("nonsense"))
        self.assertEqual((len(self.source), self.source.documents), (0, 0))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_appears_meanwhile(self) -> None:
        """A list that is made after somebody has looked for it is found."""
        uri = f"{JOE};pres-list=foes"
        self.assertIsNone(self.find(uri))
        self.put(SERVICES, services(service((EVE,), uri)))
        self.settle()
        self.assertEqual(uris(self.find(uri)), [EVE])

    def test_side_by_side(self) -> None:
        """Many look at the same time; who gives up does not disturb the others."""
        self.gate.closed = lambda path: True
        first, second, third = self.look(), self.look(), self.look(WORK)
        first.cancel()
        self.failureResultOf(first, CancelledError)
        self.assertNoResult(second)
        self.gate.release()
        self.assertEqual(uris(self.wait(second)), [ANN, BOB])
        self.assertEqual(uris(self.wait(third)), [EVE])
        self.assertEqual(self.gate.paths(), [SERVICES])

    def test_stop(self) -> None:
        """Who looks when all is stopped gets an answer."""
        self.gate.closed = lambda path: True
        looking = [self.look(), self.look()]
        held = self.hold()
        self.source.stop()
        for one in looking:
            self.assertEqual(self.failureResultOf(one).value.status, 480)
        held.stop()
        self.gate.release()
        self.assertEqual(self.changes(), [])


class TemplateTests(ServiceSourceTestCase):
    """XDM-56: the URI tells the owner."""

    settings = ServiceSettings(template=ServiceTemplate("<xui>;pres-list=<id>"))

    def test_template(self) -> None:
        """XDM-56: the owner is taken from the URI; other URIs are not looked for."""
        self.put(SERVICES, services(service((ANN,)), service((BOB,), f"{JOE};list=team")))
        self.assertEqual(uris(self.find(watcher=f"{ANN},{JOE}")), [ANN])
        self.assertEqual(self.gate.paths(), [SERVICES])
        self.assertEqual(self.refused(watcher=ANN).status, 403)
        self.assertEqual([path.split("/")[1] for path in self.gate.paths()], ["global"])
        self.assertIsNone(self.find(f"{JOE};pres-list=foes"))
        self.gate.paths()
        for uri in (JOE, f"{JOE};list=team", "sip:team@example.com"):
            self.assertIsNone(self.find(uri))
        self.assertEqual(self.gate.paths(), [])


class PlainTemplateTests(ServiceSourceTestCase):
    """XDM-56: a form without an owner."""

    settings = ServiceSettings(template=ServiceTemplate("sip:lists@example.com;id=<id>"))

    def test_template(self) -> None:
        """XDM-56: the owner's own lists are looked through then."""
        self.put(SERVICES, services(service((ANN,), "sip:lists@example.com;id=1")))
        self.assertEqual(uris(self.find("sip:lists@example.com;id=1")), [ANN])
        self.assertEqual(self.refused("sip:lists@example.com;id=1", ANN).status, 403)
        self.gate.paths()
        self.assertIsNone(self.find(JOE))
        self.assertEqual(self.gate.paths(), [])


class ResolveTests(ServiceSourceTestCase):
    """XDM-28 to XDM-32, XDM-53: flat lists."""

    foreign_lists = True

    def test_inline(self) -> None:
        """XDM-28, XDM-53: the list in the service, nested lists and all kinds of references."""
        staff = "resource-lists/global/staff"
        self.put(staff, lists(team=("sip:s@example.com",)))
        self.put(
            LISTS,
            lists_of(
                f'<list name="close">{entry(BOB)}<list>{entry("sip:n@example.com")}</list></list>'
            ),
        )
        ref = f"{LISTS}/~~/resource-lists/list%5b@name=%22close%22%5d/entry%5b1%5d"
        inner = (
            f"{entry(ANN)}<list name='a'>{entry('pres:p@example.com')}</list>"
            f"<entry-ref ref='{ref}'/><external anchor='{CLOSE}'/>"
            f"<external anchor='{anchor('team', staff)}'/>"
        )
        self.put(SERVICES, services(service(inner)))
        found = self.find()
        assert found is not None
        self.assertEqual(
            uris(found),
            [ANN, "pres:p@example.com", BOB, "sip:n@example.com", "sip:s@example.com"],
        )
        self.assertTrue(found.complete)
        readers = {path: reader for path, _, reader in self.gate.asked}
        self.assertEqual(readers, {SERVICES: "", LISTS: "", staff: ""})

    def test_reference(self) -> None:
        """RLO-02, XDM-52: the list of the Shared XDMS that a service refers to."""
        self.put(LISTS, lists(close=(ANN, anchor("more")), more=(BOB,)))
        self.put(SERVICES, services(service(CLOSE)))
        self.assertEqual(uris(self.find()), [ANN, BOB])

    def test_names(self) -> None:
        """Display names of the list and of members come along, with their languages."""
        ref = f"{LISTS}/~~/resource-lists/list/entry%5b1%5d"
        self.put(
            LISTS,
            lists_of(
                '<list name="close"><display-name>Close</display-name>'
                f"{entry(BOB, ('en', 'Bobby'))}{entry(ANN, ('', '  Ann '))}</list>"
            ),
        )
        inner = (
            '<display-name xml:lang="fr">Amis</display-name>'
            f'<entry-ref ref="{ref}"/><entry uri="{EVE}" xml:lang="de">'
            f"<display-name>Eva</display-name></entry><external anchor='{CLOSE}'>"
            "<display-name>not this</display-name></external>"
        )
        self.put(SERVICES, services(service(inner), service(CLOSE, WORK)))
        found = self.find()
        assert found is not None
        self.assertEqual(found.names, (("fr", "Amis"),))
        self.assertEqual(
            {member.uri: member.names for member in found.members},
            {BOB: (("en", "Bobby"),), EVE: (("de", "Eva"),), ANN: (("", "Ann"),)},
        )
        work = self.find(WORK)
        assert work is not None
        self.assertEqual(work.names, (("", "Close"),))
        self.put(LISTS, lists_of("<list name='close'/>"))
        named = f"<entry-ref ref='{ref}'><display-name>Mine</display-name></entry-ref>"
        self.put(LISTS, lists_of(f"<list>{entry(BOB, ('en', 'Bobby'))}</list>"))
        self.put(SERVICES, services(service(named)))
        self.settle()
        found = self.find()
        assert found is not None
        self.assertEqual(found.members, (Member(BOB, BOB, (("", "Mine"),)),))

    def test_duplicates(self) -> None:
        """XDM-32, RLS-17, RLS-16: nobody is there twice, nor what cannot be subscribed to."""
        inner = (ANN, "pres:ann@example.com", "sip:ann@EXAMPLE.com", BOB, "sips:bob@example.com")
        others = ("mailto:x@example.com", "tel:+15550123", "sip:", FRIENDS, WORK)
        self.put(SERVICES, services(service((*inner, *others))))
        self.assertEqual(uris(self.find()), [ANN, BOB, WORK])

    def test_document_order(self) -> None:
        """XDM-55: members are in document order, so that the first ones can be taken."""
        some = [f"sip:u{n * 7919 % 400}@example.com" for n in range(400)]
        self.put(SERVICES, services(service(some)))
        self.assertEqual(uris(self.find()), some)

    def test_loop(self) -> None:
        """XDM-28, XDM-54: a loop ends the traversal; what was found before is served."""
        self.put(LISTS, lists(close=(ANN, CLOSE, BOB)))
        self.put(SERVICES, services(service(f"<external anchor='{CLOSE}'/>{entry(EVE)}")))
        found = self.find()
        assert found is not None
        self.assertEqual((uris(found), found.complete), ([ANN], False))

    def test_missing(self) -> None:
        """XDM-30, XDM-54: what cannot be resolved is left out until it can."""
        inner = f"{entry(ANN)}<external anchor='{CLOSE}'/>{entry(BOB)}"
        self.put(SERVICES, services(service(inner)))
        held = self.hold()
        assert held.service is not None
        self.assertEqual((uris(held.service), held.service.complete), ([ANN, BOB], False))
        self.put(LISTS, lists(close=(EVE,)))
        self.assertEqual(self.changes(), [[ANN, EVE, BOB]])
        self.assertTrue(held.service.complete)

    def test_complete_only(self) -> None:
        """XDM-54: nothing is told when only nothing is missing any more."""
        self.put(SERVICES, services(service(f"{entry(ANN)}<external anchor='{CLOSE}'/>")))
        held = self.hold()
        self.put(LISTS, lists(close=(ANN,)))
        self.assertEqual(self.changes(), [])
        assert held.service is not None
        self.assertTrue(held.service.complete)

    def test_no_list(self) -> None:
        """XDM-52: a reference to a list that is none is 502; who holds it sees it come."""
        self.put(SERVICES, services(service(CLOSE)))
        self.assertEqual(self.refused().status, 502)
        held = self.hold()
        self.assertEqual(uris(held.service), [])
        self.put(LISTS, lists(close=(ANN,)))
        self.assertEqual(self.changes(), [[ANN]])
        self.assertEqual(uris(self.find()), [ANN])
        self.delete(LISTS)
        self.assertEqual(self.changes(), [[]])
        self.assertEqual(self.refused().status, 502)

    def test_identity(self) -> None:
        """XDM-29: lists of others are read as the owner, and so refused by default."""
        inner = f"{entry(BOB)}<external anchor='{anchor('team', TEAM)}'/>"
        self.put(TEAM, lists(team=(EVE,)))
        self.put(SERVICES, services(service(inner)))
        found = self.find()
        assert found is not None
        self.assertEqual((uris(found), found.complete), ([BOB], False))
        self.assertIn((TEAM, None, JOE), self.gate.asked)

    def test_elsewhere(self) -> None:
        """XDM-29: other servers are not asked unless the operator says so."""
        far = anchor("team", "resource-lists/users/sip:x@y.example/index", "https://y.example/")
        self.put(SERVICES, services(service(f"{entry(BOB)}<external anchor='{far}'/>")))
        found = self.find()
        assert found is not None
        self.assertEqual((uris(found), found.complete), ([BOB], False))
        self.assertEqual(self.gate.paths(), [SERVICES])

    def test_privacy(self) -> None:
        """XDM-54: the log says that a list is not complete, once, and not whose."""
        self.put(SERVICES, services(service(f"{entry(ANN)}<external anchor='{CLOSE}'/>")))
        with capturedLogs() as logged:
            self.hold()
            self.put(LISTS, lists(other=(ANN,)))
            self.changes()
        lines = [formatEvent(one) for one in logged if one["log_level"] is LogLevel.warn]
        self.assertEqual(lines, ["a presence list cannot be resolved: missing"])


class StrictTests(ServiceSourceTestCase):
    """XDM-54: the other choice."""

    settings = ServiceSettings(strict=True, tel=True, limits=Limits(uris=2))

    def test_strict(self) -> None:
        """XDM-54: a list that cannot be resolved in full is refused."""
        self.put(SERVICES, services(service(f"{entry(ANN)}<external anchor='{CLOSE}'/>")))
        self.assertEqual(self.refused().status, 502)
        self.put(LISTS, lists(close=(BOB,)))
        self.settle()
        self.assertEqual(uris(self.find()), [ANN, BOB])

    def test_limits(self) -> None:
        """XDM-28: a list beyond the limits is not resolved in full."""
        self.put(SERVICES, services(service((ANN, BOB, EVE))))
        self.assertEqual(self.refused().status, 502)

    def test_tel(self) -> None:
        """XDM-32: numbers are members where the operator maps them."""
        self.put(SERVICES, services(service(("tel:+1-555-0123",))))
        found = self.find()
        assert found is not None
        self.assertEqual(found.members, (Member("tel:+1-555-0123", "tel:+15550123"),))


class HoldTests(ServiceSourceTestCase):
    """RLO-02: changes of all that a list is made of."""

    def setUp(self) -> None:
        """A service with two lists elsewhere."""
        super().setUp()
        self.staff = "resource-lists/global/staff"
        self.inner = (
            f"{entry(ANN)}<external anchor='{CLOSE}'/>"
            f"<external anchor='{anchor('team', self.staff)}'/>"
        )
        self.put(LISTS, lists(close=(BOB,)))
        self.put(self.staff, lists(team=("sip:s@example.com",)))
        self.put(SERVICES, services(service(self.inner)))
        self.held = self.hold()
        self.assertEqual(uris(self.held.service), [ANN, BOB, "sip:s@example.com"])

    def test_lists(self) -> None:
        """RLO-02: changes of lists that are referred to, each told once."""
        self.put(LISTS, lists(close=(BOB, EVE)))
        self.assertEqual(self.changes(), [[ANN, BOB, EVE, "sip:s@example.com"]])
        self.put(self.staff, lists(team=()))
        self.assertEqual(self.changes(), [[ANN, BOB, EVE]])
        self.put(LISTS, lists(close=(BOB, EVE), other=(JOE,)))
        self.put(f"resource-lists/users/{JOE}/other", lists(close=(JOE,)))
        self.assertEqual(self.changes(), [])
        self.assertEqual(uris(self.held.service), [ANN, BOB, EVE])

    def test_service(self) -> None:
        """RLO-02: changes of the document with the service; of others in it nothing is told."""
        self.put(SERVICES, services(service((EVE,), WORK), service(self.inner)))
        self.assertEqual(self.changes(), [])
        self.put(SERVICES, services(service((EVE,))))
        self.assertEqual(self.changes(), [[EVE]])
        self.assertEqual(self.source.documents, 1)
        self.put(SERVICES, services(service((EVE,), packages=("presence",))))
        self.settle()
        self.assertEqual([one and one.packages for one in self.told], [frozenset({"presence"})])
        self.changes()
        self.put(
            SERVICES,
            services(
                service(f"<display-name>Foes</display-name>{entry(EVE)}", packages=("presence",))
            ),
        )
        self.settle()
        self.assertEqual([one and one.names for one in self.told], [(("", "Foes"),)])

    def test_gone(self) -> None:
        """RLO-02: a service that is removed is told, and one that comes back."""
        self.put(SERVICES, services(service((EVE,), WORK)))
        self.assertEqual(self.changes(), [None])
        self.assertIsNone(self.held.service)
        self.assertTrue(self.held.known)
        self.put(LISTS, lists(close=(EVE,)))
        self.assertEqual(self.changes(), [])
        self.put(SERVICES, services(service(self.inner)))
        self.assertEqual(self.changes(), [[ANN, EVE, "sip:s@example.com"]])
        self.delete(SERVICES)
        self.assertEqual(self.changes(), [None])
        self.assertIsNone(self.find())

    def test_both_at_once(self) -> None:
        """Changes of several documents before anybody looks are one change."""
        client = self.client(JOE)
        inner = f"<external anchor='{anchor('own')}'/>{entry(BOB)}"
        done = [
            client.put(LISTS, lists(close=(BOB,), own=(EVE,)), "application/resource-lists+xml"),
            client.put(SERVICES, services(service(inner)), "application/rls-services+xml"),
        ]
        self.assertEqual(self.changes(), [[EVE, BOB]])
        self.assertEqual([self.successResultOf(one).status for one in done], [200] * 2)

    def test_new_list_late(self) -> None:
        """XDM-28: a new list that takes its time is waited for, though not for ever."""
        work = f"resource-lists/users/{JOE}/work"
        self.put(work, lists(work=(EVE,)))
        self.gate.closed = lambda path: path == work
        inner = f"{entry(ANN)}<external anchor='{anchor('work', work)}'/>"
        self.put(SERVICES, services(service(inner)))
        self.pass_time(4.8, 0.1)
        self.assertEqual(self.changes(), [])
        self.pass_time(0.3, 0.1)
        self.assertEqual(self.changes(), [[ANN]])
        self.gate.release()
        self.assertEqual(self.changes(), [[ANN, EVE]])

    def test_several(self) -> None:
        """Each who holds is told; one that fails or stops does not disturb the others."""
        later: list[Service | None] = []

        def stop_all(found: Service | None) -> None:
            first.stop()
            second.stop()

        self.hold(changed=lambda found: 1 // 0)
        first = self.hold(changed=stop_all)
        second = self.hold(changed=later.append)
        third: list[Service | None] = []
        self.hold(changed=third.append)
        self.put(LISTS, lists(close=()))
        self.assertEqual(self.changes(), [[ANN, "sip:s@example.com"]])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual((later, len(third)), ([], 1))

    def test_stopped(self) -> None:
        """Who has stopped is told nothing, though the change came before."""
        self.store.watch(lambda change: self.held.stop())
        self.put(LISTS, lists(close=()))
        self.assertEqual(self.changes(), [])

    def test_bad_uri(self) -> None:
        """Only what can be a service can be held."""
        self.assertRaises(ValueError, self.hold, "tel:+15550100")

    def test_long_lists(self) -> None:
        """A turn of the reactor looks at no more than a part of what has changed."""
        many = [f"{JOE};pres-list=l{n}" for n in range(20)]
        inner = f"<external anchor='{CLOSE}'/>"
        self.put(SERVICES, services(*(service(inner, uri) for uri in many)))
        told: list[Service | None] = []
        for uri in many:
            self.hold(uri, changed=told.append)
        self.settle()
        told.clear()
        turns = self.clock.turns
        self.put(LISTS, lists(close=[f"sip:u{n}@example.com" for n in range(500)]))  # type: ignore[arg-type]
        self.assertGreater(self.clock.turns - turns, 4)
        self.settle()
        self.assertEqual([len(one.members) for one in told if one], [500] * 20)


class LostTests(ServiceSourceTestCase):
    """RLO-08: document servers that cannot be asked."""

    lossy = True

    def lose(self, failing: bool = True) -> None:
        """Reach it or not."""
        self.gate.failure = lambda path: UNREACHABLE if failing else None

    def assertUnavailable(self, uri: str = FRIENDS, watcher: str = JOE) -> None:
        """Looking for a service fails with 480."""
        error = self.refused(uri, watcher)
        self.assertEqual((error.status, error.headers), (480, (("Retry-After", "20"),)))

    def test_find(self) -> None:
        """RLO-08: 480 with Retry-After, and found as soon as the server can be asked."""
        self.put(SERVICES, services(service((ANN,))))
        self.lose()
        self.assertUnavailable()
        self.assertUnavailable()
        self.lose(False)
        self.assertEqual(uris(self.find()), [ANN])

    def test_index(self) -> None:
        """RLO-08: the index that tells of lists of others cannot be asked."""
        self.put(SERVICES, services(service((ANN,))))
        for failure in (UNREACHABLE, 503, 500, 403, 401):
            self.gate.failure = lambda path, failure=failure: (  # type: ignore[misc]
                failure if "/global/" in path else None
            )
            self.assertUnavailable(watcher=ANN)
        self.gate.failure = lambda path: None
        self.gate.closed = lambda path: "/global/" in path
        looking = self.look(watcher=ANN)
        self.pass_time(5.1, 0.1)
        self.assertEqual(self.failureResultOf(looking).value.status, 480)

    def test_silent(self) -> None:
        """RLO-08, XDM-28: no answer in time; who holds is told when it comes."""
        self.put(SERVICES, services(service((ANN,))))
        self.gate.closed = lambda path: True
        looking = self.look()
        held = self.hold()
        self.pass_time(5.1, 0.1)
        self.assertEqual(self.failureResultOf(looking).value.status, 480)
        self.assertEqual((held.service, held.known, self.changes()), (None, False, []))
        self.gate.closed = lambda path: False
        self.gate.release()
        self.assertEqual(self.changes(), [[ANN]])

    def test_restart(self) -> None:
        """RLO-08: who holds before the server can be asked is told what comes, also nothing."""
        self.lose()
        held = self.hold()
        self.assertFalse(held.known)
        self.lose(False)
        self.pass_time(20.0)
        self.assertEqual(self.changes(), [None])
        self.assertTrue(held.known)

    def test_list(self) -> None:
        """RLO-08: the list itself cannot be had: 480, and nothing is told till it can."""
        self.put(LISTS, lists(close=(ANN,)))
        self.put(SERVICES, services(service(CLOSE)))
        self.gate.failure = lambda path: 503 if path == LISTS else None
        self.assertUnavailable()
        held = self.hold()
        self.assertFalse(held.known)
        self.lose(False)
        self.pass_time(20.0)
        self.assertEqual(self.changes(), [[ANN]])

    def test_part(self) -> None:
        """XDM-54: a part that cannot be had is left out until it can."""
        self.put(LISTS, lists(close=(ANN,)))
        self.put(SERVICES, services(service(f"{entry(BOB)}<external anchor='{CLOSE}'/>")))
        self.gate.failure = lambda path: 503 if path == LISTS else None
        self.assertEqual(uris(self.find()), [BOB])
        self.hold()
        self.lose(False)
        self.pass_time(20.0)
        self.assertEqual(self.changes(), [[BOB, ANN]])

    def test_keep(self) -> None:
        """RLO-08: the last known list is served however long some or all servers are lost."""
        self.put(LISTS, lists(close=(ANN,)))
        self.put(SERVICES, services(service(f"{entry(EVE)}<external anchor='{CLOSE}'/>")))
        held = self.hold()
        self.feed.current = False
        for lost in ((LISTS,), (LISTS, SERVICES)):
            self.gate.failure = lambda path, lost=lost: (  # type: ignore[misc]
                UNREACHABLE if path in lost else None
            )
            self.pass_time(10 * 86400.0, 1000.0)
            self.assertEqual(self.changes(), [])
            self.assertEqual(uris(held.service), [EVE, ANN])
            self.assertEqual(uris(self.find()), [EVE, ANN])
        self.put(LISTS, lists(close=(BOB,)))
        self.lose(False)
        self.pass_time(20.0)
        self.assertEqual(self.changes(), [[EVE, BOB]])

    def test_not_told(self) -> None:
        """XDM-52: where a change may go untold, a list that was not there is looked for again."""
        self.assertIsNone(self.find())
        self.feed.delay = True
        self.put(SERVICES, services(service((ANN,))))
        self.assertEqual(uris(self.find()), [ANN])
        self.gate.paths()
        self.assertEqual(uris(self.find()), [ANN])
        self.assertEqual(self.gate.paths(), [])

    def test_not_told_and_slow(self) -> None:
        """XDM-52: that takes no longer than the first time."""
        self.assertIsNone(self.find())
        self.gate.closed = lambda path: True
        looking = self.look()
        self.pass_time(5.1, 0.1)
        self.assertNoResult(looking)  # the index is asked now
        self.pass_time(5.1, 0.1)
        self.assertEqual(self.failureResultOf(looking).value.status, 480)
        self.gate.release()

    def test_unreadable(self) -> None:
        """RLO-08: a document that was never readable says nothing; the last good one counts."""
        key = DocumentKey(ROOT, "rls-services", JOE, "index")
        self.wait(self.store.commit(Draft(key, "", b"<nonsense/>")))
        self.assertUnavailable()
        self.put(SERVICES, services(service((ANN,))))
        self.settle()
        held = self.hold()
        known = self.wait(self.store.fetch(key))
        self.wait(self.store.commit(Draft(key, known.etag, b"<nonsense/>")))
        self.settle()
        self.assertEqual(uris(held.service), [ANN])
        self.assertEqual(uris(self.find()), [ANN])


class OrderTests(ServiceSourceTestCase):
    """Changes, answers and what is told in any order."""

    lossy = True
    settings = ServiceSettings(copies=CopySettings(poll=20.0, check=40.0))

    def play(self, seed: int) -> None:
        """Change documents at random; in the end what is known is what is there."""
        rng = random.Random(seed)
        work = f"resource-lists/users/{JOE}/work"

        def some() -> str:
            found = "".join(entry(uri) for uri in (ANN, BOB, EVE) if rng.random() < 0.5)
            places = [CLOSE, anchor("work", work), anchor("gone")]
            return found + "".join(
                f"<external anchor='{place}'/>" for place in places if rng.random() < 0.4
            )

        def document(path: str) -> bytes:
            if path != SERVICES:
                name = "close" if path == LISTS else "work"
                return lists_of(f"<list name='{name}'>{some()}</list>")
            inner = CLOSE if rng.random() < 0.3 else some()
            packages = rng.choice([None, ("presence",)])
            found = [service(inner, packages=packages)] if rng.random() < 0.8 else []
            return services(*found, service(some(), WORK))

        present: set[str] = set()
        held: list[HeldService] = []
        last: dict[HeldService, list[Service | None]] = {}
        for _ in range(60):
            action = rng.random()
            if action < 0.4:
                path = rng.choice([SERVICES, LISTS, work])
                if path in present and rng.random() < 0.3:
                    self.delete(path)
                    present.discard(path)
                else:
                    self.put(path, document(path))
                    present.add(path)
            elif action < 0.5 and len(held) < 3:
                told: list[Service | None] = []
                one = self.hold(changed=told.append)
                held.append(one)
                last[one] = told
                told.append(one.service)
            elif action < 0.55 and held:
                held.pop().stop()
            elif action < 0.6:
                self.look(watcher=rng.choice([JOE, ANN])).addErrback(lambda failure: None)
            else:
                self.disturb(rng)
        self.calm()
        told = []
        held.append(one := self.hold(changed=told.append))
        last[one] = told
        told.append(one.service)
        self.pass_time(120.0)
        fresh = self.make(self.settings)
        truth = fresh.hold(FRIENDS, JOE, lambda found: None)
        self.settle()
        self.assertTrue(truth.known)
        for each in held:
            self.assertTrue(each.known)
            self.assertEqual(each.service, truth.service, seed)
            self.assertEqual(_told(last[each][-1]), _told(truth.service), seed)
        fresh.stop()

    def test_any_order(self) -> None:
        """RLO-02: 150 random histories end in what the documents say, and told it."""
        for seed in range(150):
            if seed:
                self.tearDown()
                self.setUp()
            self.play(seed)
            self.source.stop()


def _told(found: Service | None) -> object:
    return found and (found.packages, found.names, found.members)


class ForeignTests(ServiceSourceTestCase):
    """XDM-29, XDM-31: lists at servers of others."""

    settings = ServiceSettings(foreign=True)
    foreign_lists = True

    def clients(self, root: str, reader: str) -> IDocumentClient | None:
        """Also of the other server."""
        if root == FAR:
            self.assertEqual(reader, JOE)
            return self.far
        return super().clients(root, reader)

    def test_foreign(self) -> None:
        """XDM-29, XDM-31: it is fetched as the owner, and again after an hour."""
        self.far = FarServer()
        self.far.members = (ANN,)
        far = anchor("team", FAR_LIST, FAR)
        self.put(SERVICES, services(service(f"{entry(BOB)}<external anchor='{far}'/>")))
        held = self.hold()
        self.assertEqual(uris(held.service), [BOB, ANN])
        self.far.members = (EVE,)
        self.pass_time(3500.0, 10.0)
        self.assertEqual(self.changes(), [])
        self.pass_time(150.0, 10.0)
        self.assertEqual(self.changes(), [[BOB, EVE]])
