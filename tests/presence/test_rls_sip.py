"""Subscriptions to members of a list over SIP, against a scripted notifier (RLS-11, RLS-19)."""

from __future__ import annotations

from itertools import pairwise

from twisted.trial.unittest import SynchronousTestCase

from presence.filters.document import read_filters
from presence.filters.filterset import FilterSet
from presence.partial.difference import difference
from presence.partial.documents import full, partial
from presence.rls.backend import Watching
from presence.rls.model import Instance, Member
from presence.rls.rlmi import enclose, write_related, write_rlmi
from presence.rls.sip import SipBackEnd, SipBackEnds, SipSettings
from pysip.event.subscriber import NotifyRouter
from pysip.interfaces import Identity
from pysip.message import Request
from pysip.mime import MAX_DEPTH, Part, parse_multipart, write_multipart
from tests.pysip.scripted import Pair, accept, answer, ignore

BOB = "sip:bob@other.example"
ALICE = Identity(("sip:alice@example.com", "tel:+15550100"), "Alice")
OWN = "sip:lists@example.com"
NO_FILTERS = FilterSet()
PIDF_DIFF = "application/pidf-diff+xml"
BASIC = "<what><include>//p:tuple/p:status/p:basic</include></what>"
NOTES = "<what><include>//p:tuple/p:note</include></what>"
OPENED = '<trigger><changed from="closed" to="open">//p:basic</changed></trigger>'


def document(basic: str, note: str = "") -> bytes:
    """A presence document that is large enough for changes to be smaller."""
    text = f"<note>{note}</note>" if note else ""
    return (
        f'<presence xmlns="urn:ietf:params:xml:ns:pidf" entity="{BOB}"><tuple id="t1"><status>'
        f"<basic>{basic}</basic></status>{text}</tuple>"
        f'<tuple id="t2"><status/><contact>{"x" * 400}</contact></tuple></presence>'
    ).encode()


def placed(inner: str) -> FilterSet:
    """Filters of a watcher."""
    body = (
        '<filter-set xmlns="urn:ietf:params:xml:ns:simple-filter"><ns-bindings>'
        '<ns-binding prefix="p" urn="urn:ietf:params:xml:ns:pidf"/></ns-bindings>'
        f'<filter id="f1">{inner}</filter></filter-set>'
    )
    return FilterSet().changed(read_filters(body.encode(), "presence"))


class SipBackEndTests(SynchronousTestCase):
    """One member, over an ideal network."""

    def setUp(self) -> None:
        """A list server."""
        self.pair = Pair()
        self.router = NotifyRouter(self.pair.client)
        self.told: list[Instance] = []
        self.pair.script("SUBSCRIBE", accept)
        self.settings = SipSettings(expires=600, retry=(2.0, 8.0))

    def watch(
        self,
        watcher: Identity = ALICE,
        expires: int = 86400,
        secured: tuple[str, ...] = (),
        filters: FilterSet = NO_FILTERS,
    ) -> SipBackEnd:
        """Watch Bob."""
        backends = SipBackEnds(
            self.router,
            lambda: self.pair.contact,
            (),
            OWN,
            self.settings,
        )
        watching = Watching(1, watcher, 42, expires, secured)
        made = backends.subscribe(Member(BOB, BOB), watching, self.told.append, filters)
        self.assertEqual(self.told, [], "nothing before it returns")
        self.pair.run()
        return made

    @property
    def last(self) -> Request:
        """The last SUBSCRIBE."""
        return self.pair.received[-1]

    def states(self) -> list[str]:
        """States and reasons told since this was called last, the same ones once."""
        told, self.told[:] = list(self.told), []
        return [f"{instance.state} {instance.reason}".strip() for instance in told]

    def test_request(self) -> None:
        """RLS-16, RLS-19, RLS-20: in the watcher's name, and for lists, too."""
        self.watch()
        request = self.last
        self.assertEqual(
            request.first("p-asserted-identity"), "<sip:alice@example.com>, <tel:+15550100>"
        )
        self.assertEqual(request.from_.uri, "sip:alice@example.com")
        self.assertEqual(request.first("supported"), "eventlist")
        self.assertEqual(request.max_forwards, 42)
        self.assertEqual(request.first("expires"), "600")
        self.assertEqual(
            request.first("accept"),
            "application/pidf-diff+xml, application/pidf+xml, application/rlmi+xml,"
            " multipart/related",
        )
        self.assertNotIn("privacy", request)

    def test_route(self) -> None:
        """ROU-03: through the core, where the operator names the way to it."""
        core = "<sip:127.0.0.2:5060;lr>"
        backends = SipBackEnds(self.router, lambda: self.pair.contact, (core,), OWN)
        backends.subscribe(
            Member(BOB, BOB), Watching(1, ALICE, 42, 600), self.told.append, NO_FILTERS
        )
        self.pair.run()
        self.assertEqual((self.last.first("route"), self.last.uri), (core, BOB))

    def test_types(self) -> None:
        """RLS-20, RLS-21: signed bodies for who reads them."""
        self.watch(secured=("multipart/signed",))
        self.assertIn("multipart/signed", self.last.first("accept") or "")

    def test_changes(self) -> None:
        """RLS-20: changes are followed, and told whole; who has missed one asks, then gives up.

        PNO-11, PNO-12.
        """

        def tell(body: bytes) -> list[bytes]:
            del self.told[:]
            self.pair.notify(self.last, body=body, content_type=PIDF_DIFF)
            self.pair.run()
            return [instance.body for instance in self.told]

        def change(basic: str, version: int) -> bytes:
            operations = difference(document("open"), document(basic))
            assert operations is not None
            return partial(operations, BOB, version)

        self.watch()
        (first,) = tell(full(document("open"), 1))
        self.assertEqual(self.told[0].content_type, "application/pidf+xml")
        self.assertIn(b"<basic>open<", first)
        (second,) = tell(change("closed", 2))
        self.assertIn(b"<basic>closed<", second)
        self.assertEqual(tell(full(document("open"), 2)), [])  # an old one
        before = len(self.pair.received)
        self.assertEqual(tell(change("closed", 7)), [])
        self.assertEqual(len(self.pair.received), before + 1)
        (third,) = tell(full(document("open"), 8))
        self.assertIn(b"<basic>open<", third)
        for body in (b"<x/>", b"<x/>", b"<x/>"):
            self.assertEqual(tell(body), [])
        self.assertNotIn("diff", self.last.first("accept") or "")

    def test_filters(self) -> None:
        """They go into the first SUBSCRIBE, and changes of them into the next (FLT-28, FLT-29)."""
        made = self.watch(filters=placed(BASIC))
        first = read_filters(self.last.body, "presence")
        self.assertEqual([each.id for each in first.filters], ["f1"])
        self.assertEqual(self.last.first("content-type"), "application/simple-filter+xml")
        self.pair.notify(self.last, body=document("open"))
        self.pair.run()
        before = len(self.pair.received)
        made.filter(placed(BASIC))
        self.pair.run()
        self.assertEqual(len(self.pair.received), before)
        made.filter(placed(NOTES))
        self.pair.run()
        self.assertEqual(read_filters(self.last.body, "presence").filters, placed(NOTES).filters)
        made.filter(FilterSet())
        self.pair.run()
        self.assertEqual(read_filters(self.last.body, "presence").removed, {"f1"})
        made.stop()
        made.filter(placed(NOTES))

    def test_triggers(self) -> None:
        """Who asks is told what is: a server that waits for something is asked (FLT-18)."""
        made = self.watch(filters=placed(OPENED))
        self.pair.notify(self.last, body=document("open"))
        self.pair.run()
        before = len(self.pair.received)
        made.refresh(600)
        self.pair.run()
        self.assertEqual(len(self.pair.received), before + 1)

    def test_no_filters_there(self) -> None:
        """What its server does not take is applied here (FLT-28)."""
        for status in (415, 488):
            self.pair.script("SUBSCRIBE", answer(status), accept)
            made = self.watch(filters=placed(BASIC + OPENED))
            self.pair.run()
            self.assertEqual(self.last.body, b"")
            told = []
            for basic, note in (("open", "a"), ("closed", "b"), ("open", "c"), ("open", "d")):
                self.pair.notify(self.last, body=document(basic, note))
                self.pair.run()
                told += [instance.body for instance in self.told]
                del self.told[:]
            self.assertEqual(len(told), 1)
            self.assertNotIn(b"<note>", told[0])
            made.filter(placed(NOTES))
            self.pair.run()
            (instance,) = self.told
            self.assertIn(b"<note>d<", instance.body)
            self.pair.notify(self.last, body=document("closed"))
            self.pair.run()
            self.assertNotIn(b"<tuple", self.told[-1].body)
            made.stop()
            self.pair.run()
            del self.told[:]

    def test_privacy(self) -> None:
        """RLS-19: who is anonymous stays that, and who is nobody is this server."""
        self.watch(Identity(("sip:alice@example.com",), "Alice", anonymous=True))
        self.assertEqual(self.last.first("privacy"), "id")
        self.assertEqual(self.last.from_.uri, "sip:anonymous@anonymous.invalid")
        self.watch(Identity(()))
        self.assertEqual(self.last.first("p-asserted-identity"), f"<{OWN}>")
        self.assertEqual(self.last.from_.uri, OWN)

    def test_states(self) -> None:
        """RLS-09, RLS-11: as the notifier tells; a new attempt has a new id."""
        self.watch()
        first = self.last
        self.pair.notify(first, "pending")
        self.pair.run()
        self.pair.notify(first, body=b"<presence/>")
        self.pair.run()
        self.pair.notify(first, "terminated;reason=deactivated")
        self.pair.run()
        ids = [instance.id for instance in self.told]
        self.assertEqual(self.states(), ["pending", "active", "terminated deactivated"])
        self.assertEqual(len(set(ids)), 1)
        self.assertNotEqual(self.last.call_id, first.call_id)
        self.pair.notify(self.last, body=b"<presence/>")
        self.pair.run()
        self.assertNotIn(self.told[-1].id, ids)
        self.assertEqual(self.states(), ["active"])

    def test_list(self) -> None:
        """RLS-15: the list of another server is passed on as it is, and asked for when we are."""
        made = self.watch()
        kind, body = write_related(enclose("0@x", write_rlmi(BOB, 4, True, (), ())), (), "limit")
        self.pair.notify(self.last, body=body, content_type=kind)
        self.pair.run()
        told = self.told[-1]
        self.assertEqual((told.state, told.content_type, told.body), ("active", kind, body))
        before = len(self.pair.received)
        made.refresh(600)
        self.pair.run()
        self.assertEqual(len(self.pair.received), before + 1)
        self.assertEqual(self.last.first("expires"), "600")

    def test_unreadable(self) -> None:
        """RLS-15: no body of another server makes that unreadable which it would be put into."""
        self.watch(secured=("multipart/signed",))
        good = b"--b\r\nContent-Type: text/plain\r\n\r\nx\r\n--b--\r\n"
        self.pair.notify(self.last, body=b"<presence/>")
        self.pair.run()
        self.states()
        deep = ("text/plain", b"x")
        for level in range(MAX_DEPTH):
            part = Part({"content-type": [deep[0]]}, deep[1])
            deep = write_multipart([part], "signed", f"b{level}")
        self.assertTrue(parse_multipart(*deep))
        for kind, body in (
            ("multipart/related", b"x"),
            ("multipart/related;boundary=b", b"--c--"),
            ("multipart/related;boundary=b", good),  # no list
            ('multipart/related;type="application/rlmi+xml";boundary=b', good),
            ("multipart/signed;boundary=b", good[:-6]),
            deep,  # it could be read alone
        ):
            self.pair.notify(self.last, body=body, content_type=kind)
            self.pair.run()
            self.assertEqual(self.states(), [], kind)
        self.pair.notify(self.last, body=good, content_type="multipart/signed;boundary=b")
        self.pair.run()
        self.assertEqual(self.states(), ["active"])

    def test_refused(self) -> None:
        """RLS-11: what refusals mean, and which are tried again."""
        for status, reason, attempts in (
            (403, "rejected", 1),
            (404, "noresource", 1),
            (604, "noresource", 1),
            (488, "giveup", 1),
            (503, "probation", 2),
        ):
            self.pair.script("SUBSCRIBE", answer(status))
            del self.pair.received[:]
            made = self.watch()
            self.assertEqual(self.states(), [f"terminated {reason}"], status)
            self.pair.run(2.3)
            self.assertEqual(len(self.pair.received), attempts, status)
            self.states()
            made.stop()

    def test_lost(self) -> None:
        """RLS-11: a notifier that is silent, or knows nothing any more, means probation."""
        for script in (answer(481), ignore):
            self.pair.script("SUBSCRIBE", accept)
            made = self.watch()
            self.pair.notify(self.last, body=b"<presence/>")
            self.pair.run()
            self.assertEqual(self.states(), ["active"])
            self.pair.script("SUBSCRIBE", script)
            self.pair.run(330.0 + 40.0, 1.0)
            self.assertEqual(set(self.states()), {"terminated probation"})
            made.stop()

    def test_retry(self) -> None:
        """SBR-09: each failure doubles the time until the next attempt, up to a bound."""
        self.pair.script("SUBSCRIBE", answer(503))
        self.watch()
        self.pair.run(60.0)
        times = self.pair.times
        delays = [round(after - before) for before, after in pairwise(times)]
        self.assertEqual(delays[:2], [2, 4])
        self.assertTrue(all(8 <= delay <= 9 for delay in delays[2:]), delays)

    def test_fetch(self) -> None:
        """RCL-06: a fetch has the state of its one NOTIFY, even though that ends it."""
        self.watch(expires=0)
        self.assertEqual(self.last.first("expires"), "0")
        self.pair.notify(self.last, "terminated;reason=timeout", body=b"<presence/>")
        self.pair.run()
        self.assertEqual(self.states(), ["active"])

    def test_stop(self) -> None:
        """RLO-06: the end of the list is the end of this, and nothing is told after it."""
        made = self.watch()
        self.pair.notify(self.last, body=b"<presence/>")
        self.pair.run()
        self.states()
        made.stop()
        self.pair.run()
        self.assertEqual(self.last.first("expires"), "0")
        self.pair.notify(self.last, "terminated;reason=timeout")
        self.pair.run(40.0, 1.0)
        self.assertEqual((self.states(), len(self.router)), ([], 0))
