"""Filters on lists (RFC 4660 section 4, FLT-28, FLT-29, RLO-07), against a server in memory."""

from __future__ import annotations

import re
from typing import Any

from presence.rls.rlmi import read_related
from presence.rls.subscription import ListSettings
from pysip.message import Request, Response
from pysip.mime import parse_multipart
from pysip.transport.loop import LoopNetwork
from tests.node import Peer
from tests.presence.listnode import ListNode
from tests.presence.listservices import FRIENDS, SERVICES, service, services
from tests.presence.rulesources import ANN, BOB, JOE, DocumentsTestCase

ACCEPT = "application/pidf+xml, application/rlmi+xml, multipart/related"
FILTERS = "application/simple-filter+xml"
BASIC = "<what><include>//p:tuple/p:status/p:basic</include></what>"
NOTES = "<what><include>//p:tuple/p:note</include></what>"
OPENED = '<trigger><changed to="open">//p:tuple/p:status/p:basic</changed></trigger>'


def filters(*inner: str) -> bytes:
    """A filter document."""
    return (
        '<filter-set xmlns="urn:ietf:params:xml:ns:simple-filter"><ns-bindings>'
        '<ns-binding prefix="p" urn="urn:ietf:params:xml:ns:pidf"/></ns-bindings>'
        f"{''.join(inner)}</filter-set>"
    ).encode()


def one(inner: str, attributes: str = "", name: str = "f1") -> str:
    """A filter."""
    return f'<filter id="{name}"{attributes}>{inner}</filter>'


class ListFilterTests(DocumentsTestCase):
    """Joe watches a list of two, and wants to hear some of it."""

    def setUp(self) -> None:
        """Both say something."""
        super().setUp()
        self.put(SERVICES, services(service((ANN, BOB))))
        self.node: Any = self.start()
        self.peer: Peer = self.node.peer()
        self.sources = {uri: self.node.peer(f"192.0.2.{n}") for n, uri in enumerate((ANN, BOB), 50)}
        self.etags: dict[str, str] = {}
        self.publish(ANN, "open", "a1")
        self.publish(BOB, "open", "b1")

    def start(self, **options: Any) -> ListNode:
        """Start the server."""
        options.setdefault("network", LoopNetwork(self.clock))
        return ListNode(self.clients, self.store_feed, ListSettings(window=1.0), **options)

    def publish(self, uri: str, basic: str, note: str) -> None:
        """Publish another state."""
        body = (
            f'<presence xmlns="urn:ietf:params:xml:ns:pidf" entity="{uri}"><tuple id="t1">'
            f"<status><basic>{basic}</basic></status><note>{note}</note></tuple></presence>"
        )
        fields = {"sip_if_match": self.etags[uri]} if uri in self.etags else {}
        answer = self.sources[uri].publish(body.encode(), uri=uri, **fields)
        self.etags[uri] = answer.headers["sip-etag"][0]

    def subscribe(self, *inner: str, **fields: Any) -> Response:
        """SUBSCRIBE of Joe."""
        usual = {"supported": "eventlist", "accept": ACCEPT, "sender": JOE}
        if inner:
            usual |= {"content_type": FILTERS, "body": filters(*inner)}
        answer = self.peer.subscribe(FRIENDS, **{**usual, **fields})
        if answer.status == 200:
            self.answer = answer
        self.node.advance(3.0)
        return answer

    def again(self, *inner: str, **fields: Any) -> Response:
        """SUBSCRIBE in the dialog."""
        kept = self.answer
        answer = self.subscribe(*inner, call_id=kept.call_id, to_tag=kept.to.tag, **fields)
        self.answer = kept
        return answer

    def told(self) -> dict[str, str]:
        """The last of what was told of each member since the last call."""
        self.node.advance(3.0)
        found: dict[str, str] = {}
        for notify in self.peer.notifies():
            found |= _members(notify)
        self.peer.requests.clear()
        return found

    def test_for_the_list(self) -> None:
        """A filter without a target, or for the list, is for every member (FLT-28, RLO-07)."""
        for attributes in ("", f' uri="{FRIENDS}"'):
            self.assertEqual(self.subscribe(one(BASIC, attributes)).status, 200)
            self.assertEqual(self.told(), {ANN: "open", BOB: "open"})
        self.publish(ANN, "open", "a2")
        self.assertEqual(self.told(), {})
        self.publish(ANN, "closed", "a2")
        self.assertEqual(self.told(), {ANN: "closed"})

    def test_for_a_member(self) -> None:
        """One for a member goes before that for the list (FLT-25, FLT-28)."""
        self.subscribe(one(BASIC), one(NOTES, f' uri="{BOB}"', "f2"))
        self.assertEqual(self.told(), {ANN: "open", BOB: "open b1"})
        self.subscribe(one(NOTES, f' uri="{BOB}"'), one(BASIC, ' domain="example.com"', "f2"))
        self.assertEqual(self.told(), {ANN: "open", BOB: "open b1"})

    def test_for_others(self) -> None:
        """One for somebody who is no member changes nothing here (FLT-28)."""
        self.subscribe(one(BASIC, ' uri="sip:eve@example.com"'))
        self.assertEqual(self.told(), {ANN: "open a1", BOB: "open b1"})

    def test_triggers(self) -> None:
        """They are for each member; a refresh tells what is (FLT-18)."""
        self.subscribe(one(OPENED))
        self.told()
        self.publish(ANN, "closed", "a2")
        self.assertEqual(self.told(), {})
        self.again()
        self.assertEqual(self.told(), {ANN: "closed a2", BOB: "open b1"})
        self.publish(ANN, "open", "a3")
        self.assertEqual(self.told(), {ANN: "open a3"})

    def test_changed(self) -> None:
        """Replaced and removed by refreshes, in the subscriptions to members, too (FLT-29)."""
        self.subscribe(one(BASIC))
        self.told()
        self.assertEqual(self.again(one(NOTES)).status, 200)
        self.assertEqual(self.told(), {ANN: "open a1", BOB: "open b1"})
        self.publish(BOB, "open", "b2")
        self.assertEqual(self.told(), {BOB: "open b2"})
        self.again(one(BASIC))
        self.assertEqual(self.told(), {ANN: "open", BOB: "open"})
        self.again('<filter id="f1" remove="true"/>')
        self.assertEqual(self.told(), {ANN: "open a1", BOB: "open b2"})

    def test_changed_twice(self) -> None:
        """FLT-21: each SUBSCRIBE changes what the one before has left, told to members or not."""
        self.subscribe(one(BASIC), one(NOTES, f' uri="{BOB}"', "f2"))
        self.told()
        self.peer.answer = 0
        self.publish(ANN, "closed", "a2")
        self.node.advance(3.0)  # the NOTIFYs after these have to wait
        self.assertEqual(len(self.peer.notifies()), 1)
        removed = self.again(one(NOTES), '<filter id="f2" remove="true"/>')
        placed = self.again(one(BASIC, f' uri="{BOB}"', "f3"))
        self.assertEqual((removed.status, placed.status), (200, 200))
        self.assertEqual(len(self.peer.notifies()), 1)
        self.peer.answer = 200
        self.node.advance(10.0)
        self.assertEqual(self.told(), {ANN: "closed a2", BOB: "open"})

    def test_refused(self) -> None:
        """488; and what is in force stays (FLT-22, FLT-26, FLT-28)."""
        self.subscribe(one(BASIC))
        self.told()
        twice = (one(NOTES, "", "f2"), one(BASIC, f' uri="{FRIENDS}"', "f3"))
        for inner in (twice, ("<filter/>",), (one("<what><include>]</include></what>"),)):
            self.assertEqual(self.subscribe(*inner).status, 488)
            self.assertEqual(self.again(*inner).status, 488)
        self.publish(ANN, "open", "a2")
        self.assertEqual(self.told(), {})

    def test_not_stored(self) -> None:
        """Filters that cannot be kept are passed on to nobody."""
        self.subscribe(one(BASIC))
        self.told()
        self.node.store.fail_next()
        self.assertEqual(self.again(one(NOTES)).status, 500)
        self.publish(ANN, "open", "a2")
        self.assertEqual(self.told(), {})

    def test_fetch(self) -> None:
        """A fetch is filtered, too."""
        self.subscribe(one(BASIC), expires=0)
        self.node.advance(6.0)
        self.assertEqual(self.told(), {ANN: "open", BOB: "open"})

    def test_restart(self) -> None:
        """They are durable, with the list and with the members (PSV-20)."""
        self.subscribe(one(BASIC))
        self.again(one(NOTES))
        self.told()
        self.node = self.node.restart()
        for peer in (self.peer, *self.sources.values()):
            peer.node = self.node
        self.node.presence.resume()
        self.told()
        self.publish(ANN, "closed", "a1")
        self.assertEqual(self.told(), {ANN: "closed a1", BOB: "open b1"})
        self.again(one(BASIC))
        self.assertEqual(self.told(), {ANN: "closed", BOB: "open"})


def _members(notify: Request) -> dict[str, str]:
    """What a NOTIFY tells of each member: the texts of its document."""
    kind = notify.headers["content-type"][0]
    _, *parts = parse_multipart(kind, notify.body)
    assert read_related(kind, notify.body)
    found = {}
    for part in parts:
        body = part.body.decode()
        (entity,) = re.findall(r'entity="([^"]*)"', body)
        found[entity] = " ".join(re.findall(r"<(?:basic|note)>([^<]*)<", body))
    return found
