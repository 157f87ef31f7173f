"""Subscriptions to lists against a server in memory (RFC 4662)."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any

from presence.exposition import exposition
from presence.metrics import collect
from presence.rls import expand
from presence.rls.build import ListServer
from presence.rls.listwatch import WatchedList
from presence.rls.model import Service
from presence.rls.subscription import ListSettings
from pysip.message import Request
from pysip.mime import decode_body
from pysip.transport.loop import LoopNetwork
from tests.node import Peer, pidf
from tests.presence.listnode import ListNode
from tests.presence.listservices import FRIENDS, SERVICES, lists_of, service, services
from tests.presence.rulesources import ANN, BOB, EVE, JOE, DocumentsTestCase
from tests.presence.test_metrics import parse, parts

ACCEPT = "application/pidf+xml, application/rlmi+xml, multipart/related"


class PackageTests(DocumentsTestCase):
    """Joe watches a list of two."""

    def setUp(self) -> None:
        """Start the server."""
        super().setUp()
        self.put(SERVICES, services(service((ANN, BOB))))
        self.start()

    def start(self, *members: str, template: str = "", **settings: Any) -> None:
        """Start the server, with other members and settings of lists."""
        if members:
            self.put(SERVICES, services(service(members)))
        self.node: Any = ListNode(
            self.clients,
            self.store_feed,
            ListSettings(**{"window": 1.0, **settings}),
            template=template,
            network=LoopNetwork(self.clock),
            hosts={"other.example": ("sip:192.0.2.99:5060",)},
        )
        self.peer: Peer = self.node.peer()

    def subscribe(self, request_uri: str = FRIENDS, **fields: Any) -> Request:
        """A SUBSCRIBE of Joe, to the list."""
        usual = {"supported": "eventlist", "accept": ACCEPT, "sender": JOE, "call_id": "c"}
        return self.peer.request("SUBSCRIBE", request_uri, **{**usual, **fields})

    def tables(self, peer: Peer) -> tuple[WatchedList, list[tuple[int | None, bool]]]:
        """The table of all NOTIFYs, and version and fullness of each."""
        table = WatchedList()
        found = []
        for notify in peer.notifies():
            body = decode_body(notify.values("content-encoding"), notify.body)
            taken = table.take(notify.first("content-type") or "", body)
            self.assertTrue(taken.processed and not taken.refresh, notify)
            found.append((table.version, taken.full))
        return table, found

    def test_list_of_a_user(self) -> None:
        """XDM-56: a URI of a user with a parameter may name a list, one without never does.

        RLS-08: the list has the URI that was subscribed to.
        """
        self.assertEqual(self.peer.ask(self.subscribe()).status, 200)
        self.node.advance(3.0)
        table, found = self.tables(self.peer)
        self.assertEqual(found, [(0, True), (1, False)])
        self.assertEqual(list(table.members), [ANN, BOB])
        self.peer.requests.clear()
        written = "SIP:joe@Example.COM;pres-list=friends"
        self.peer.ask(self.subscribe(written, call_id="other"))
        self.node.advance(3.0)
        self.assertEqual(self.tables(self.peer)[0].uri, written)
        single = self.peer.ask(self.peer.request("SUBSCRIBE", JOE, sender=JOE))
        self.assertEqual(single.status, 200)
        self.assertNotIn("require", single)

    def test_bounds(self) -> None:
        """RLS-15: of lists in lists eight levels count, and not more than there are bounds for."""

        def told(*elements: str) -> list[str]:
            self.start()
            self.put(SERVICES, services(*elements))
            self.peer.requests.clear()
            self.peer.ask(self.subscribe())
            self.node.advance(3.0)
            return list(self.tables(self.peer)[0].members)

        def uri(number: int) -> str:
            return f"{JOE};pres-list=l{number}"

        deep = [service((f"sip:m{n}@x.example", uri(n + 1)), uri(n)) for n in range(1, 12)]
        first = service(("sip:m0@x.example", uri(1)))
        self.assertEqual(told(first, *deep), [f"sip:m{n}@x.example" for n in range(8)])
        wide = [service((f"sip:m{n}@x.example",), uri(n)) for n in range(15)]
        for bound in ("LISTS", "MEMBERS"):
            patch = self.patch(expand, bound, 5)
            self.assertEqual(len(told(service(map(uri, range(15))), *wide)), 5)
            patch.restore()

    def test_lists_of_others(self) -> None:
        """RLS-15, RLS-24: a list of somebody else is refused as it is over SIP, and no user."""
        self.start(ANN, f"{BOB};pres-list=friends")
        self.peer.publish(pidf(BOB), BOB)
        self.peer.requests.clear()
        self.peer.ask(self.subscribe())
        self.node.advance(3.0)
        states = [
            row.instance and f"{row.instance.state} {row.instance.reason}".strip()
            for row in self.tables(self.peer)[0].members.values()
        ]
        self.assertEqual(states, ["active", "terminated rejected"])

    def test_accept(self) -> None:
        """RLS-02: lists, multiparts and states have to be accepted, if anything is said."""
        types = ACCEPT.split(", ")
        for number, left_out in enumerate(types):
            accept = ", ".join(kind for kind in types if kind != left_out)
            answer = self.peer.ask(self.subscribe(accept=accept, call_id=f"n{number}"))
            self.assertEqual(answer.status, 406, left_out)
            self.assertIn(left_out, answer.first("accept") or "")
        for number, every in enumerate((None, "*/*", "application/*, multipart/related;q=0.1")):
            answer = self.peer.ask(self.subscribe(accept=every, call_id=f"y{number}"))
            self.assertEqual(answer.status, 200, every)

    def test_unknown(self) -> None:
        """RLS-23, XDM-52: what is named as lists are, and is none, is unknown: no user is it."""
        self.start(template="<xui>;pres-list=<id>")
        for uri, status in (
            (FRIENDS, 200),
            (f"{JOE};pres-list=nothing", 404),
            (f"{JOE};transport=udp", 200),
        ):
            answer = self.peer.ask(self.subscribe(request_uri=uri, call_id=uri))
            self.assertEqual(answer.status, status, uri)

    def test_told_before_the_answer(self) -> None:
        """RLS-06, RLS-07: the NOTIFY after a refresh is full, and comes once."""
        answer = self.peer.ask(self.subscribe())
        self.node.advance(3.0)
        notifier = self.node.presence.notifier
        (live,) = notifier.subscriptions("presence.list", FRIENDS)
        durable: list[Callable[[bool], None]] = []
        patch = self.patch(self.node.store, "when_durable", durable.append)
        self.peer.send(self.subscribe(to_tag=answer.to.tag, expires=600))
        self.node.advance(0.1)
        notifier.touch(live)  # type: ignore[arg-type]
        self.node.advance(0.1)
        patch.restore()
        for done in durable:
            done(True)
        self.node.advance(3.0)
        _, found = self.tables(self.peer)
        self.assertEqual(found, [(0, True), (1, False), (2, True)])

    def test_hops(self) -> None:
        """RLS-16: each list server on the way takes one hop; without any left it ends there."""
        self.start(EVE)
        there = self.node.peer("192.0.2.99")
        self.assertEqual(self.peer.ask(self.subscribe(max_forwards=0)).status, 483)
        self.assertEqual(self.peer.ask(self.subscribe(max_forwards=5)).status, 200)
        self.node.advance(1.0)
        self.assertEqual([request.max_forwards for request in there.requests], [4])

    def test_same_kind_for_life(self) -> None:
        """RLS-29: what began as a list stays one, of one package; RLS-31: its usual lifetime."""
        answer = self.peer.ask(self.subscribe())
        self.assertEqual(answer.first("expires"), "3600")
        self.node.advance(3.0)
        for status, fields in (
            (403, {"event": "presence;id=2"}),
            (421, {"supported": None}),
            (200, {}),
        ):
            again = self.peer.ask(self.subscribe(to_tag=answer.to.tag, **fields))
            self.assertEqual(again.status, status)
        self.node.advance(3.0)
        self.tables(self.peer)
        # now the list is gone, and its URI with it
        self.put(SERVICES, services())
        self.node.advance(3.0)
        last = self.peer.notifies()[-1]
        self.assertEqual(last.first("subscription-state"), "terminated;reason=noresource")
        self.assertTrue(all(notify.first("require") for notify in self.peer.notifies()))

    def test_too_long(self) -> None:
        """RLO-04, XDM-55: of a list that is too long the first are watched, or it is refused."""
        for excess, last in (("unlisted", None), ("terminated", "terminated giveup")):
            self.start(members=1, excess=excess)
            self.peer.ask(self.subscribe())
            self.node.advance(3.0)
            states = [
                row.instance and f"{row.instance.state} {row.instance.reason}".strip()
                for row in self.tables(self.peer)[0].members.values()
            ]
            self.assertEqual(states, ["active", last])
            self.assertEqual(len(self.node.presence.notifier.local_keys()), 1)
        self.start(members=1, excess="refuse")
        refused = self.peer.ask(self.subscribe())
        self.assertEqual(refused.status, 403)
        self.assertIn("399", refused.first("warning") or "")
        self.assertEqual(self.node.presence.notifier.local_keys(), [])

    def test_pace(self) -> None:
        """RLO-05, RLO-06: members begin and end one by one, in their order, after the NOTIFY."""
        members = [f"sip:u{number}@example.com" for number in range(20)]
        self.start(*members)
        notifier = self.node.presence.notifier
        self.node.pace.rate = 10.0
        answer = self.peer.ask(self.subscribe())
        table, found = self.tables(self.peer)
        self.assertEqual((found, list(table.members)), ([(0, True)], members))
        self.node.advance(0.8)
        begun = {key.partition(" ")[2] for key in notifier.local_keys()}
        self.assertEqual(begun, set(members[: len(begun)]))
        self.assertLess(len(begun), 12)
        self.node.advance(3.0)
        self.assertEqual(len(notifier.local_keys()), 20)
        self.peer.ask(self.subscribe(to_tag=answer.to.tag, expires=0))
        self.node.advance(0.5)
        self.assertTrue(10 < len(notifier.local_keys()) < 20)
        self.node.advance(3.0)
        self.assertEqual(notifier.local_keys(), [])

    def test_leaving(self) -> None:
        """RLO-06: members that leave just before the list ends are not watched on."""
        answer = self.peer.ask(self.subscribe())
        self.node.advance(3.0)
        jobs = self.node.pace
        self.assertEqual((len(jobs), self.node.local.count, self.node.sip.count), (0, 2, 0))
        jobs.rate = jobs.total = 1e-9
        self.put(SERVICES, services(service()))
        self.settle()
        self.node.advance(0.5)
        self.peer.ask(self.subscribe(to_tag=answer.to.tag, expires=0))
        self.assertEqual(len(self.node.package.live), 0)
        jobs.rate = jobs.total = 1000.0
        self.node.advance(3.0)
        self.assertEqual(self.node.presence.notifier.local_keys(), [])
        self.assertEqual((len(jobs), self.node.local.count), (0, 0))

    def test_figures(self) -> None:
        """OBS-01: lists and members that are watched are counted; the one that ends is not."""
        self.start(ANN, BOB, EVE)
        node = self.node
        server = ListServer(node.services, node.pace, node.package, node.local, node.sip)

        def figures() -> list[float]:
            families = collect(parts(node, lists=server), {})
            samples = parse(exposition(families))[1]
            return [value for name, value in samples.items() if "_list_" in name]

        answer = self.peer.ask(self.subscribe())
        self.node.advance(3.0)
        self.assertEqual(figures(), [1, 2, 1, 0, 1, 1])
        self.peer.ask(self.subscribe(to_tag=answer.to.tag, expires=0))
        self.node.advance(30.0, 1.0)
        self.assertEqual(figures(), [0, 0, 0, 0, 0, 0])

    def test_left_over(self) -> None:
        """RLO-06: who has left the list while no server ran is watched no longer, after a while."""
        self.peer.ask(self.subscribe())
        self.node.advance(3.0)
        self.node.services.stop()
        self.put(SERVICES, services(service((BOB,))))
        self.node = self.node.restart()
        keys = self.node.presence.notifier.local_keys
        self.node.advance(50.0, 1.0)
        self.assertEqual(len(keys()), 2)
        self.node.advance(20.0, 1.0)
        self.assertEqual([key.partition(" ")[2] for key in keys()], [BOB])

    def test_packed(self) -> None:
        """RLS-18: a large body is split, packed or not; each of its parts can be taken alone."""
        for encoding, packed in ((None, False), ("gzip;q=0", False), ("deflate, gzip", True)):
            members = [f"sip:u{number}@example.com" for number in range(8)]
            self.start(*members, body=4000)
            for uri in members:
                self.peer.publish(pidf(uri), uri)
            self.peer.requests.clear()
            self.peer.ask(self.subscribe(accept_encoding=encoding))
            self.node.advance(8.0)
            told = self.peer.notifies()
            codings = {notify.first("content-encoding") for notify in told[1:]}
            self.assertEqual(codings, {"gzip" if packed else None})
            table, found = self.tables(self.peer)
            self.assertGreater(len(found), 2)
            bodies = [decode_body(one.values("content-encoding"), one.body) for one in told]
            self.assertLess(max(map(len, bodies)), 4001)
            known = [row.instance and row.instance.document for row in table.members.values()]
            self.assertTrue(all(known) and len(known) == len(members))

    def test_spelling(self) -> None:
        """CLI-17: only clients that the operator names get the spellings that they need."""
        self.start(bare_id_agents=("oldphone",))
        for agent, bare in (("OldPhone/1.0", True), ("Other", False), (None, False)):
            self.peer.requests.clear()
            self.peer.ask(self.subscribe(user_agent=agent, call_id=f"{agent}"))
            self.node.advance(3.0)
            for notify in self.peer.notifies():
                self.assertEqual(notify.first("event"), "Presence" if bare else "presence")
                self.assertEqual(b"\r\nContent-Id: " in notify.body, bare)
            self.tables(self.peer)
        first = self.peer.responses[0]
        self.node = self.peer.node = self.node.restart()
        self.peer.requests.clear()
        again = self.subscribe(to_tag=first.to.tag, call_id="OldPhone/1.0")
        self.assertEqual(self.peer.ask(again).status, 200)
        self.node.advance(3.0)
        self.assertEqual(self.peer.notifies()[0].first("event"), "Presence")

    def test_list_in_the_body(self) -> None:
        """RCL-01, RCL-02: where there is a list already no other one is brought along.

        CLI-16: Accept may stand in several lines.
        """
        self.start(service="sip:lists@example.com")
        body = lists_of(f'<list><entry uri="{BOB}"/></list>')
        brought = {"content_type": "application/resource-lists+xml", "body": body}
        self.assertEqual(self.peer.ask(self.subscribe(**brought)).status, 415)
        large = lists_of("<list>" + f'<entry uri="{BOB}"/>' * 10000 + "</list>")
        answers = [
            self.peer.ask(
                self.peer.request(
                    "SUBSCRIBE",
                    "sip:lists@example.com",
                    sender=JOE,
                    supported="eventlist",
                    accept=ACCEPT,
                    content_type="application/resource-lists+xml",
                    body=each,
                    **fields,
                )
            ).status
            for each, fields in (
                (body, {}),
                (zlib.compress(large), {"content_encoding": "deflate"}),
            )
        ]
        self.assertEqual(answers, [200, 413])
        several = self.subscribe("sip:lists@example.com", call_id="lines", **brought)
        several.headers["accept"] = ["application/pidf+xml", " multipart/*, application/rlmi+xml"]
        self.assertEqual(self.peer.ask(several).status, 200)

    def test_address_of_a_user(self) -> None:
        """XDM-45, RLS-23: a list with the address of a user takes nobody's place."""
        found = Service(BOB, JOE, None, (), ())  # which a document server elsewhere let pass
        self.patch(self.node.services, "known", lambda uri: found)
        answer = self.peer.ask(self.peer.request("SUBSCRIBE", BOB, sender=ANN))
        self.assertEqual(answer.status, 200)
        self.assertNotIn("require", answer)
