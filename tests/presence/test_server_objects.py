"""Publications with objects, and what watchers get of them, at a whole node."""

from __future__ import annotations

from typing import Any

from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from presence.compose.oma import OmaComposition
from presence.content.errors import ContentError
from presence.content.interfaces import IContentObjects
from presence.objects import contents
from presence.objects.contents import PATIENCE
from presence.objects.published import ObjectLimits, decode, unpack
from presence.rules.model import Decision
from presence.rules.permissions import EVERYTHING, Permissions
from pysip.errors import SipError
from pysip.message import Response
from tests.node import BOB, Node, Peer, pidf
from tests.presence.objects import (
    CONTENT,
    ICON,
    PIDF,
    RELATED,
    TAKES_OBJECTS,
    TAKES_REFERENCES,
    Got,
    Shelf,
    got,
    hashed,
    inline,
    multipart,
    person,
    reference,
)
from tests.presence.test_authorization import ALL, Classes

UNLIMITED: Any = {"host": "example.com", "limits": ObjectLimits(), "total": 100000}
PERSONS = Decision("allow", Permissions(persons=EVERYTHING, attributes=frozenset({"note"})))
"""Everything of persons but their icons."""


class ObjectsCase(SynchronousTestCase):
    """A node with a Content Server."""

    def setUp(self) -> None:
        """Start."""
        self.shelf = Shelf()
        self.begin(Node())
        self.bob = self.node.peer("192.0.2.10", protocol="TCP")
        self.watchers: dict[str, Peer] = {}
        self.peers = 0

    def begin(self, node: Node, servers: bool = True) -> None:
        """Use a node."""
        self.node = node
        self.package = node.presence.package
        self.package.composition = OmaComposition()
        if servers:
            self.package.objects.use(self.shelf)

    def publish(self, *parts: bytes, tag: str = "", **fields: Any) -> str:
        """Bob publishes; the entity-tag."""
        response = self.ask(*parts, tag=tag, **fields)
        self.assertEqual(response.status, 200)
        return response.first("sip-etag") or ""

    def ask(
        self, *parts: bytes, tag: str = "", root: bytes | None = None, **fields: Any
    ) -> Response:
        """Bob publishes; the answer."""
        given = multipart(*parts, root=root) if parts else {"body": person()}
        if tag:
            given["sip_if_match"] = tag
        return self.bob.publish(**{**given, **fields})

    def watch(self, accept: str | None, number: int = 0, **fields: Any) -> Got | None:
        """A watcher subscribes; its first document, None while it waits for one."""
        self.peers += 1
        peer = self.node.peer(f"192.0.2.{20 + self.peers}", protocol="TCP")
        sender = f"sip:w{number}@example.com"
        answer = peer.subscribe(sender=sender, accept=accept, **fields)
        self.assertEqual(answer.status, 200)
        self.watchers[accept or ""] = peer
        self.node.advance(0.2)
        notifies = peer.notifies()
        return got(notifies[-1]) if notifies else None

    def first(self, accept: str | None, number: int = 0, **fields: Any) -> Got:
        """As :meth:`watch`, of somebody who does not wait."""
        found = self.watch(accept, number, **fields)
        assert found is not None
        return found

    def news(self, accept: str) -> list[Got]:
        """What a watcher was told since."""
        self.node.advance(0.2)
        peer = self.watchers[accept]
        found = [got(request) for request in peer.notifies()]
        peer.requests.clear()
        return found


class PublishTests(ObjectsCase):
    """PUBLISH of a multipart."""

    def kept(self) -> list[Any]:
        """Live publications of Bob."""
        return self.node.presence.compositor.publications("presence", BOB)

    def test_kept(self) -> None:
        """SRC-03, CIN-08: the document is kept as it is, with what it refers to and no more."""
        self.publish(inline(), inline(b"other", "unused@ua"))
        (record,) = self.kept()
        self.assertEqual((record.content_type, record.body), (PIDF, person()))
        self.assertIn(ICON, record.objects)
        self.assertNotIn(b"unused", record.objects)

    def test_refused(self) -> None:
        """SRC-03, AGP-115, AGP-116, CIN-04: the status of each refusal, with a Warning."""
        self.package.objects.limits = ObjectLimits(2, 100, 100, 1000)
        self.package.document_limit = 2000
        end = self.node.wall() + 60
        for status, case in (
            (413, {"parts": [inline(cid=f"{n}@x") for n in range(3)]}),
            (413, {"parts": [inline(b"x" * 101)]}),
            (413, {"parts": [b"X-Long: " + b"x" * 2000 + b"\r\n" + inline()]}),
            (513, {"parts": [reference(CONTENT, end, size=1001)]}),
            (400, {"parts": [reference("file:///etc/passwd", end)]}),
            (400, {"parts": [inline()], "content_type": RELATED}),
            (400, {"parts": [inline()], "content_type": f"{RELATED};boundary=none"}),
            (415, {"parts": [b"Content-Type: multipart/mixed;boundary=q\r\n\r\n--q\r\n\r\n--q--"]}),
            (415, {"body": b"", "content_type": f"{RELATED};boundary=q", "root": b"x"}),
        ):
            parts: Any = case.pop("parts", ())
            if "body" in case:
                case["body"] = b"--q\r\nContent-Type: image/png\r\n\r\n" + ICON + b"\r\n--q--"
            response = self.ask(*parts, **case)
            self.assertEqual(response.status, status, (case, parts))
            if status != 415:
                self.assertTrue((response.first("warning") or "").startswith("399 "), case)
            else:
                self.assertIn(PIDF, response.first("accept") or "")
        self.assertEqual(self.kept(), [])

    def test_bad_document(self) -> None:
        """PUB-07, PUB-08: the document in a multipart is checked as any other."""
        for root in (b"<presence", person(entity="sip:eve@example.com")):
            self.assertEqual(self.ask(inline(), root=root).status, 400)
        self.assertEqual(self.kept(), [])

    def test_document_by_reference(self) -> None:
        """CIN-04, CIN-05: a PUBLISH whose document is elsewhere gets 415, and a Warning 399."""
        kind = f'message/external-body;access-type=URL;URL="{CONTENT}";expiration="x"'
        response = self.ask(body=b"Content-Type: application/pidf+xml\r\n\r\n", content_type=kind)
        self.assertEqual(response.status, 415)
        accept = (response.first("accept") or "").split(", ")
        self.assertEqual((accept[0], accept[-1]), (PIDF, RELATED))
        self.assertIn("399", response.first("warning") or "")
        self.assertEqual(self.shelf.fetched, [])

    def test_options(self) -> None:
        """CIN-04, AGP-115: OPTIONS tells that references are understood; so does another 415."""
        response = self.bob.ask(self.bob.request("OPTIONS", "sip:example.com"))
        accept = response.first("accept") or ""
        self.assertIn("message/external-body", accept)
        self.assertIn(RELATED, accept)
        response = self.ask(body=b"x", content_type="text/plain")
        self.assertEqual(response.status, 415)
        self.assertTrue(accept.startswith(response.first("accept") or "-"), accept)

    def test_odd_content_ids(self) -> None:
        """CIN-08: odd Content-IDs are found, or refused, or refer to nothing; none does harm."""
        for icon, cid, status, count in (
            ("cid:a%20b@x", "a b@x", 200, 1),
            ("CID:a@x", "a@x", 200, 1),
            ("cid:no-at-sign", "no-at-sign", 200, 1),
            ("cid:%3Ca@x%3E", "<a@x>", 200, 1),
            ("cid:a%zz@x", "a%zz@x", 200, 0),  # no URI: repaired
            ("cid:%ff@x", "a@x", 200, 0),
            ("cid:", "a@x", 200, 0),
            ("cid:a@x#part", "a@x", 200, 0),
            ("cid:a@x", "a@x" * 300, 400, 0),
        ):
            answer = self.ask(inline(cid=cid), root=person(icon))
            self.assertEqual(answer.status, status, icon)
            if status == 200:
                self.assertEqual(len(decode(self.kept()[-1].objects)), count, icon)
                told = self.first(TAKES_OBJECTS, expires=0)
                self.assertEqual(len(told.objects), count, icon)
                self.bob.publish(sip_if_match=answer.first("sip-etag"), expires=0)

    def test_modify_replaces_all(self) -> None:
        """PUB-23: a modify replaces the objects with the document; a refresh leaves them."""
        tag = self.publish(inline())
        tag = self.publish(tag=tag, body=b"")
        self.assertIn(ICON, self.kept()[0].objects)
        self.publish(tag=tag)
        self.assertEqual((self.kept()[0].body, self.kept()[0].objects), (person(), b""))

    def test_changes(self) -> None:
        """Changes of a document leave the objects that it still refers to (RFC 5264).

        They count with the new ones.
        """
        more = "<r:class>cid:b@ua</r:class>"
        self.publish(inline(), inline(b"second", "b@ua"), root=person(more=more))
        (before,) = self.kept()
        new = unpack(**multipart(inline(b"new")), **UNLIMITED).objects
        diff = "Application/pidf-diff+xml;charset=utf-8"
        for document, beside, bodies in (
            (person(more=more), (), [ICON, b"second"]),
            (person(), (), [ICON]),
            (person(more=more), new, [b"new", b"second"]),
            (person("x"), (), []),
        ):
            kept = decode(self.package.objects_of(diff, document, beside, before))
            self.assertEqual([each.body for each in kept], bodies)
        self.assertEqual(self.package.objects_of(PIDF, person(), (), before), b"")
        self.package.objects.limits = ObjectLimits(count=1)
        with self.assertRaises(SipError) as caught:
            self.package.objects_of(diff, person(more=more), new, before)
        self.assertEqual(caught.exception.status, 413)
        self.package.objects.limits = ObjectLimits()
        self.package.document_limit = len(person()) + 2
        with self.assertRaises(SipError) as caught:
            self.package.objects_of(diff, person(), new, before)
        self.assertEqual(caught.exception.status, 413)

    def test_size_of_all(self) -> None:
        """LIM-01: objects count among what a presentity may have published."""
        self.begin(Node(publications={"total_size": 2 * len(person()) + 3000}))
        self.bob = self.node.peer("192.0.2.10", protocol="TCP")
        self.publish(inline(b"x" * 2000))
        self.assertEqual(self.ask(inline(b"y" * 2000)).status, 413)
        self.publish(inline(b"y" * 200))

    def test_failed_modify(self) -> None:
        """UAS-09: after a failed commit the objects are there as before."""
        tag = self.publish(inline())
        self.node.store.fail_next()
        self.assertEqual(self.ask(inline(b"new"), tag=tag).status, 500)
        self.assertIn(ICON, self.kept()[0].objects)

    def test_restart(self) -> None:
        """PUB-09, PUB-10: objects are back after a restart, under the names that they had."""
        self.publish(inline())
        before = self.first(TAKES_OBJECTS)
        self.begin(self.node.restart())
        self.watchers.clear()
        self.node.presence.resume()
        after = self.first(TAKES_OBJECTS)
        self.assertEqual(after.objects, before.objects)
        self.assertEqual(list(after.objects.values()), [ICON])
        self.assertEqual(after.document, before.document)


class NotifyTests(ObjectsCase):
    """What watchers get."""

    def test_accept(self) -> None:
        """CIN-04, CIN-07, CIN-08: who takes multiparts gets the icon, others the document."""
        self.publish(inline())
        for accept in (None, PIDF, "*/*", f"{PIDF}, message/external-body"):
            plain = self.first(accept)
            self.assertEqual(plain.type, PIDF)
            self.assertEqual(len(plain.cids), 1)
        for accept in (TAKES_OBJECTS, TAKES_REFERENCES):
            found = self.first(accept)
            self.assertEqual(found.type, RELATED)
            self.assertEqual(found.cids, list(found.objects))
            self.assertEqual(list(found.objects.values()), [ICON])
            self.assertEqual(list(found.kinds.values()), ["image/png"])
            self.assertEqual(found.document, plain.document)

    def test_nothing_to_add(self) -> None:
        """A document that refers to nothing is told as to anybody."""
        self.bob.publish(pidf())
        self.assertEqual(self.first(TAKES_OBJECTS).type, PIDF)
        self.watchers[TAKES_OBJECTS].requests.clear()
        self.publish()  # a reference without its object
        (told,) = self.news(TAKES_OBJECTS)
        self.assertEqual((told.type, told.cids), (PIDF, ["icon1@ua"]))

    def test_references(self) -> None:
        """CIN-07, AGP-114: who takes references gets them, others what is fetched for them."""
        url = self.shelf.put("1", ICON)
        end = self.node.wall() + 3600
        self.publish(reference(url, end, size=len(ICON), sha=hashed(ICON), disposition="icon"))
        told = self.first(TAKES_REFERENCES)
        self.assertEqual(told.objects, {})
        (cid,) = told.cids
        found = told.references[cid]
        self.assertEqual((found.url, found.expiration), (url, float(int(end))))
        self.assertEqual((found.size, found.sha1), (len(ICON), hashed(ICON)))
        self.assertEqual((found.content_type, found.disposition), ("image/png", "icon"))
        self.assertEqual(self.shelf.fetched, [])
        fetched = self.first(TAKES_OBJECTS)
        self.assertEqual((fetched.references, fetched.objects), ({}, {cid: ICON}))
        self.assertEqual(self.shelf.fetched, [url])
        self.first(TAKES_OBJECTS, expires=0)
        self.assertEqual(self.shelf.fetched, [url])  # once

    def test_several(self) -> None:
        """CIN-11: several references and objects, each in a part of its own."""
        end = self.node.wall() + 3600
        more = '<c:icon xmlns:c="urn:ietf:params:xml:ns:pidf:cipid">cid:card@ua</c:icon>'
        self.publish(inline(), reference(CONTENT + "2", end, "card@ua"), root=person(more=more))
        told = self.first(TAKES_REFERENCES)
        self.assertEqual((len(told.objects), len(told.references)), (1, 1))

    def test_foreign_server(self) -> None:
        """CIN-06: nothing is fetched of servers that are not ours; the document is told."""
        for url in ("https://elsewhere.example/1", "http://127.0.0.1/", "http://[::1]:8080/x"):
            tag = self.publish(reference(url, self.node.wall() + 60))
            told = self.first(TAKES_OBJECTS)
            self.assertEqual((told.type, len(told.cids)), (PIDF, 1))
            (found,) = self.first(TAKES_REFERENCES).references.values()
            self.assertEqual(found.url, url)
            self.bob.publish(sip_if_match=tag, expires=0)
        self.assertEqual((self.shelf.fetched, self.shelf.kept), ([], []))

    def test_without_servers(self) -> None:
        """CIN-06: without any Content Server the same holds of all."""
        self.package.objects.use(None)
        self.publish(reference(self.shelf.put("1", ICON), self.node.wall() + 60))
        self.assertEqual(self.first(TAKES_OBJECTS).type, PIDF)

    def test_too_large_to_fetch(self) -> None:
        """CIN-07, AGP-116: what is larger than the limit stays where it is; 0 means all."""
        end = self.node.wall() + 60
        url = self.shelf.put("1", b"x" * 6000)
        tag = self.publish(reference(url, end, size=6000))
        self.assertEqual(self.first(TAKES_OBJECTS).type, PIDF)
        self.assertEqual(self.shelf.fetched, [])
        # a size that is not told
        self.publish(reference(url, end), tag=tag)
        self.assertEqual(self.first(TAKES_OBJECTS, 1).type, PIDF)
        self.assertEqual(self.shelf.fetched, [url])
        self.package.objects.limits = ObjectLimits(inline=0)
        self.publish(inline())
        self.assertEqual(self.first(TAKES_OBJECTS, 2).objects, {})

    def test_mismatch(self) -> None:
        """CIN-03, CIN-12: what is not as it was promised is ignored, and that is made known."""
        end = self.node.wall() + 60
        url = self.shelf.put("1", ICON)
        for number, promise in enumerate(({"size": 3}, {"sha": hashed(b"other")})):
            with capturedLogs() as logs:
                tag = self.publish(reference(url, end, **promise))
                told = self.first(TAKES_OBJECTS, number)
            self.assertEqual((told.type, len(told.cids)), (PIDF, 1))
            texts = [event["log_format"] for event in logs if event.get("log_format")]
            self.assertTrue(any("not what its reference promises" in text for text in texts))
            self.assertEqual(
                self.package.objects.contents.outcomes["fetch", "mismatch"], number + 1
            )
            self.bob.publish(sip_if_match=tag, expires=0)

    def test_not_to_be_had(self) -> None:
        """CIN-05: an object that cannot be fetched is no error; it is tried again later."""
        url = self.shelf.put("1", ICON)
        self.shelf.down = ContentError("unreachable")
        self.publish(reference(url, self.node.wall() + 3600))
        self.assertEqual(self.first(TAKES_OBJECTS).type, PIDF)
        self.shelf.down = None
        self.assertEqual(self.first(TAKES_OBJECTS, 1, expires=0).type, PIDF)
        self.assertEqual(len(self.shelf.fetched), 1)
        self.node.advance(61, 1)
        self.assertEqual(self.first(TAKES_OBJECTS, 2, expires=0).type, RELATED)

    def test_put_off(self) -> None:
        """CIN-07: a NOTIFY waits for an object, and nothing else does."""
        self.shelf.held = []
        url = self.shelf.put("1", ICON)
        self.publish(reference(url, self.node.wall() + 3600))
        self.assertIsNone(self.watch(TAKES_OBJECTS))
        self.assertIsNone(self.watch(TAKES_OBJECTS + ";q=0.5", 1, expires=0))
        self.assertEqual(self.first(PIDF).type, PIDF)
        self.assertEqual(self.shelf.fetched, [url])
        self.shelf.let()
        for accept in (TAKES_OBJECTS, TAKES_OBJECTS + ";q=0.5"):
            (told,) = self.news(accept)
            self.assertEqual(list(told.objects.values()), [ICON])

    def test_put_off_no_longer(self) -> None:
        """CIN-06: after some seconds it leaves without."""
        self.shelf.held = []
        self.publish(reference(self.shelf.put("1", ICON), self.node.wall() + 3600))
        self.assertIsNone(self.watch(TAKES_OBJECTS))
        self.node.advance(PATIENCE - 0.5)
        self.assertEqual(self.news(TAKES_OBJECTS), [])
        self.node.advance(0.5)
        (told,) = self.news(TAKES_OBJECTS)
        self.assertEqual(told.type, PIDF)

    def test_more_than_is_remembered(self) -> None:
        """CIN-06: a NOTIFY is not put off for ever by objects that take each other's place."""
        self.patch(contents, "_OCTETS", 8000)
        self.shelf.clock = self.node.clock
        end = self.node.wall() + 3600
        parts = [
            reference(self.shelf.put(str(n), bytes([n]) * 3000), end, f"{n}@ua") for n in range(4)
        ]
        more = "".join(f"<r:class>cid:{n}@ua</r:class>" for n in range(4))
        self.publish(*parts, root=person("", more=more))
        self.assertIsNone(self.watch(TAKES_OBJECTS))
        self.node.advance(PATIENCE + 1)
        self.assertEqual(len(self.news(TAKES_OBJECTS)), 1)
        fetched = len(self.shelf.fetched)
        self.assertLess(fetched, 4 * PATIENCE)
        self.node.advance(10)
        self.assertEqual((len(self.shelf.fetched), self.package.objects._since), (fetched, {}))

    def test_end_while_it_waits(self) -> None:
        """Who unsubscribes meanwhile is told the end at once."""
        self.shelf.held = []
        self.publish(reference(self.shelf.put("1", ICON), self.node.wall() + 3600))
        peer = self.node.peer("192.0.2.99", protocol="TCP")
        fields = {"accept": TAKES_OBJECTS, "call_id": "c", "from_tag": "f"}
        made = peer.subscribe(cseq=1, **fields)
        self.assertEqual(peer.notifies(), [])
        peer.subscribe(cseq=2, expires=0, to_tag=made.to.tag, **fields)
        self.node.advance(0.2)
        (notify,) = peer.notifies()
        self.assertIn("terminated", notify.first("subscription-state") or "")
        self.shelf.let()
        self.node.advance(1)
        self.assertEqual(len(peer.notifies()), 1)
        self.assertEqual(self.package.objects._since, {})

    def test_stop_while_it_waits(self) -> None:
        """The end of the server waits for nothing."""
        self.shelf.held = []
        self.publish(reference(self.shelf.put("1", ICON), self.node.wall() + 3600))
        self.watch(TAKES_OBJECTS)
        self.node.presence.stop()
        self.assertEqual([each for each in self.shelf.held if not each.called], [])

    def test_change(self) -> None:
        """AGP-114: another object is told, whatever its Content-ID; the same one is not."""
        tag = self.publish(inline())
        first = self.first(TAKES_OBJECTS)
        self.watchers[TAKES_OBJECTS].requests.clear()
        tag = self.publish(inline(), tag=tag)
        self.assertEqual(self.news(TAKES_OBJECTS), [])
        self.publish(inline(b"another"), tag=tag)
        (told,) = self.news(TAKES_OBJECTS)
        self.assertEqual(list(told.objects.values()), [b"another"])
        self.assertNotEqual(told.cids, first.cids)

    def test_refresh_of_a_subscription(self) -> None:
        """CIN-04: each SUBSCRIBE says anew what is taken, and that holds after a restart."""
        self.publish(inline())
        peer = self.node.peer("192.0.2.99", protocol="TCP")
        fields = {"call_id": "c", "from_tag": "f"}
        made = peer.subscribe(cseq=1, accept=TAKES_OBJECTS, **fields)
        fields["to_tag"] = made.to.tag
        peer.subscribe(cseq=2, accept=PIDF, **fields)
        peer.subscribe(cseq=3, accept=TAKES_OBJECTS, **fields)
        self.node.advance(0.2)
        kinds = [got(notify).type for notify in peer.notifies()]
        self.assertEqual(kinds, [RELATED, PIDF, RELATED])
        self.begin(self.node.restart())
        peer.node = self.node
        peer.requests.clear()
        self.node.presence.resume()
        self.publish(inline(b"new"))
        self.node.advance(1)
        self.assertEqual(got(peer.notifies()[-1]).type, RELATED)

    def test_one_body(self) -> None:
        """Watchers of one view and kind share one body; plain ones share the document.

        Bodies of what is no more are not kept.
        """
        tag = self.publish(inline())
        for number in range(3):
            self.first(TAKES_OBJECTS, number)
        bodies = self.package.objects._bodies[BOB]
        self.assertEqual(len(bodies), 1)
        self.first(PIDF)
        self.assertEqual(len(bodies), 1)
        self.bob.publish(sip_if_match=tag, expires=0)
        self.node.advance(1)
        self.assertEqual(self.package.objects._bodies, {})


class WishTests(ObjectsCase):
    """Objects come after filters and changes, and before conditions (ORD-02)."""

    FILTER = (
        '<?xml version="1.0" encoding="UTF-8"?>'
        '<filter-set xmlns="urn:ietf:params:xml:ns:simple-filter"><ns-bindings>'
        '<ns-binding prefix="p" urn="urn:ietf:params:xml:ns:pidf"/>'
        '<ns-binding prefix="r" urn="urn:ietf:params:xml:ns:pidf:rpid"/></ns-bindings>'
        '<filter id="1"><what><include>//r:%s</include></what></filter></filter-set>'
    )

    def filtering(self, name: str) -> dict[str, Any]:
        """Body of a SUBSCRIBE that wants one element."""
        body = (self.FILTER % name).encode()
        return {"body": body, "content_type": "application/simple-filter+xml"}

    def test_filter(self) -> None:
        """ORD-02: who filters the icon out gets none; who wants nothing else gets it."""
        self.publish(inline(), root=person(more="<r:class>home</r:class>"))
        without = self.first(TAKES_OBJECTS, 0, **self.filtering("class"))
        self.assertEqual((without.type, without.cids), (PIDF, []))
        self.assertIn(b"home", without.document)
        only = self.first(TAKES_OBJECTS, 1, **self.filtering("status-icon"))
        self.assertEqual((only.type, list(only.objects.values())), (RELATED, [ICON]))
        self.assertNotIn(b"home", only.document)

    def test_filter_after_a_restart(self) -> None:
        """PSV-20: filters and what is taken are both there after a restart."""
        self.publish(inline(), root=person(more="<r:class>home</r:class>"))
        self.first(TAKES_OBJECTS, 0, **self.filtering("status-icon"))
        peer = self.watchers[TAKES_OBJECTS]
        self.begin(self.node.restart())
        peer.node = self.node
        peer.requests.clear()
        self.node.presence.resume()
        self.node.advance(1)
        self.assertEqual(peer.notifies(), [])  # nothing is new
        self.publish(inline(b"new"))
        (told, *_) = self.news(TAKES_OBJECTS)
        self.assertIn(b"new", told.objects.values())
        self.assertNotIn(b"home", told.document)

    def test_changes(self) -> None:
        """ORD-02: with a change come the objects that it refers to, and no others."""
        diff = "application/pidf-diff+xml"
        accept = f"{diff}, {PIDF};q=0.5, {RELATED}"
        tag = self.publish(inline())
        first = self.first(accept)
        assert first.related is not None
        self.assertEqual(first.related.root.content_type.type, diff)
        self.assertIn(b"pidf-full", first.document)
        self.assertEqual(list(first.objects.values()), [ICON])
        (notify,) = self.watchers[accept].notifies()
        plain = self.first(f"{diff}, {PIDF};q=0.5", expires=0)
        self.assertEqual(plain.document, first.document)
        (other,) = self.watchers[f"{diff}, {PIDF};q=0.5"].notifies()
        self.assertNotEqual(notify.first("sip-etag"), other.first("sip-etag"))
        self.watchers[accept].requests.clear()
        more = "<r:class>home</r:class>"
        tag = self.publish(inline(), tag=tag, root=person(more=more))
        (told,) = self.news(accept)
        self.assertEqual(told.type, diff)
        self.assertIn(b"home", told.document)
        self.assertNotIn(b"cid:", told.document)
        self.publish(inline(b"new"), tag=tag, root=person(more=more))
        (told,) = self.news(accept)
        self.assertEqual((told.type, list(told.objects.values())), (RELATED, [b"new"]))
        self.assertIn(b"pidf-diff", told.document)
        self.assertNotIn(b"home", told.document)

    def test_condition(self) -> None:
        """SNE-05, SNE-10: an entity-tag holds for the objects too, and for those who take them."""
        tag = self.publish(inline())
        tags: dict[str, str] = {}
        for accept in (PIDF, TAKES_OBJECTS):
            self.first(accept, expires=0)
            (notify,) = self.watchers[accept].notifies()
            tags[accept] = notify.first("sip-etag") or ""
        self.assertEqual(len(set(tags.values())), 2)
        for accept, etag, silent in (
            (TAKES_OBJECTS, tags[TAKES_OBJECTS], True),
            (TAKES_OBJECTS, tags[PIDF], False),
            (PIDF, tags[TAKES_OBJECTS], False),
        ):
            told = self.first(accept, expires=0, suppress_if_match=etag)
            self.assertEqual(told.document == b"", silent, (accept, etag))
        self.publish(inline(b"new"), tag=tag)
        told = self.first(TAKES_OBJECTS, expires=0, suppress_if_match=tags[TAKES_OBJECTS])
        self.assertEqual(list(told.objects.values()), [b"new"])

    def test_condition_in_a_dialog(self) -> None:
        """SNE-04: a refresh is answered 204 where nothing can have to be fetched for it."""
        self.publish(inline())
        fields: dict[str, Any] = {"call_id": "c", "from_tag": "f", "accept": TAKES_OBJECTS}
        peer = self.node.peer("192.0.2.99", protocol="TCP")
        made = peer.subscribe(cseq=1, **fields)
        self.node.advance(0.2)
        etag = peer.notifies()[-1].first("sip-etag")
        again = peer.subscribe(cseq=2, to_tag=made.to.tag, suppress_if_match=etag, **fields)
        self.node.advance(0.2)
        self.assertEqual(again.status, 200)
        self.assertEqual(peer.notifies()[-1].body, b"")

    def test_later_expiration(self) -> None:
        """AGP-114: a reference that is made to live longer is told, with the same Content-ID."""
        start = float(int(self.node.wall()))
        url = CONTENT + "1"
        tag = self.publish(reference(url, start + 600, sha=hashed(ICON)))
        first = self.first(TAKES_REFERENCES)
        self.first(PIDF)
        for accept in (TAKES_REFERENCES, PIDF):
            self.watchers[accept].requests.clear()
        self.publish(reference(url, start + 900, sha=hashed(ICON)), tag=tag)
        (told,) = self.news(TAKES_REFERENCES)
        self.assertEqual(told.cids, first.cids)
        self.assertEqual(told.references[told.cids[0]].expiration, start + 900)
        self.assertEqual(self.news(PIDF), [])


class PermissionTests(ObjectsCase):
    """No object without its reference."""

    def test_icon_withheld(self) -> None:
        """CIN-08, RUL-25: who may not see a status-icon gets no icon, and nothing is fetched."""
        self.node.presence.set_watchers(Classes(ALL, PERSONS))
        url = self.shelf.put("1", b"fetched")
        end = self.node.wall() + 3600
        card = '<c:icon xmlns:c="urn:ietf:params:xml:ns:pidf:cipid">cid:card@ua</c:icon>'
        self.publish(inline(), reference(url, end, "card@ua"), root=person(more=card))
        for accept in (TAKES_OBJECTS, TAKES_REFERENCES):
            withheld = self.first(accept, 1)
            self.assertEqual((withheld.type, withheld.cids), (PIDF, []))
            self.assertNotIn(b"cid:", withheld.document)
        self.assertEqual(self.shelf.fetched, [])
        allowed = self.first(TAKES_OBJECTS, 0)
        self.assertEqual(sorted(allowed.objects.values()), sorted([ICON, b"fetched"]))

    def test_one_of_two_withheld(self) -> None:
        """CIN-08, RUL-25: of two objects the one goes whose reference is withheld."""
        permissions = Permissions(persons=EVERYTHING, attributes=frozenset({"status-icon"}))
        self.node.presence.set_watchers(Classes(ALL, Decision("allow", permissions)))
        card = '<c:icon xmlns:c="urn:ietf:params:xml:ns:pidf:cipid">cid:card@ua</c:icon>'
        self.publish(inline(), inline(b"secret", "card@ua"), root=person(more=card))
        for accept in (TAKES_OBJECTS, TAKES_REFERENCES):
            told = self.first(accept, 1)
            self.assertEqual(list(told.objects.values()), [ICON])
            self.assertEqual(told.cids, list(told.objects))
        self.assertEqual(len(self.first(TAKES_OBJECTS, 0).objects), 2)


class CompositionTests(ObjectsCase):
    """Objects of several publications of one presentity."""

    def test_same_content_id(self) -> None:
        """CIN-08: sources that use one Content-ID for different objects do not mix."""
        self.publish(inline(b"first"))
        self.publish(inline(b"second"), root=person(id="p2"))
        told = self.first(TAKES_OBJECTS)
        self.assertEqual(sorted(told.objects.values()), [b"first", b"second"])
        self.assertEqual(sorted(told.cids), sorted(told.objects))
        self.assertEqual(len(set(told.cids)), 2)

    def test_source_without_object(self) -> None:
        """CIN-08: a reference of one source never finds the object of another."""
        self.publish(inline(b"first"), root=person(id="p1", more="<dm:note>x</dm:note>"))
        self.publish(root=None)  # the same Content-ID, and no object
        told = self.first(TAKES_OBJECTS)
        self.assertIn("icon1@ua", told.cids)
        self.assertEqual(list(told.objects.values()), [b"first"])
        self.assertNotIn("icon1@ua", told.objects)

    def test_same_object(self) -> None:
        """PUB-17: a publication that was made twice is told once, with one object."""
        self.publish(inline())
        self.publish(inline(cid="other@ua"), root=person("cid:other@ua"))
        told = self.first(TAKES_OBJECTS)
        self.assertEqual(len(told.cids), 1)
        self.assertEqual(list(told.objects), told.cids)

    def test_removal(self) -> None:
        """AGP-117: with a publication goes what is told of it; the Content Server keeps its own."""
        url = self.shelf.put("1", b"second")
        first = self.publish(inline(b"first"))
        second = self.publish(
            reference(url, self.node.wall() + 3600), root=person(id="p2"), expires=100
        )
        self.assertEqual(len(self.first(TAKES_OBJECTS).objects), 2)
        self.watchers[TAKES_OBJECTS].requests.clear()
        self.bob.publish(sip_if_match=first, expires=0)
        (told,) = self.news(TAKES_OBJECTS)
        self.assertEqual(list(told.objects.values()), [b"second"])
        self.assertTrue(second)
        self.node.advance(100, 1)
        (told,) = self.news(TAKES_OBJECTS)
        self.assertEqual((told.type, told.cids), (PIDF, []))
        self.assertIn(url, self.shelf.objects)


class ExpiryTests(ObjectsCase):
    """CIN-09: references end."""

    def test_reference_ends(self) -> None:
        """CIN-09: at its expiration a reference goes from the document of all watchers."""
        url = self.shelf.put("1", ICON)
        self.publish(reference(url, self.node.wall() + 100))
        accepts = (PIDF, TAKES_OBJECTS, TAKES_REFERENCES)
        for accept in accepts:
            self.assertEqual(len(self.first(accept).cids), 1)
            self.watchers[accept].requests.clear()
        self.node.advance(98, 1)
        self.assertEqual([self.news(accept) for accept in accepts], [[], [], []])
        self.node.advance(3, 1)
        for accept in accepts:
            (told,) = self.news(accept)
            self.assertEqual((told.type, told.cids), (PIDF, []))
            self.assertNotIn(b"status-icon", told.document)

    def test_over_already(self) -> None:
        """CIN-09: one that was over when it was published is never told."""
        self.publish(reference(self.shelf.put("1", ICON), self.node.wall() - 1))
        self.assertEqual(self.first(PIDF).cids, [])

    def test_after_a_restart(self) -> None:
        """CIN-09: what was over meanwhile is not told after a restart."""
        self.publish(reference(self.shelf.put("1", ICON), self.node.wall() + 10))
        self.node.advance(11)
        self.begin(self.node.restart())
        self.assertEqual(self.first(PIDF).cids, [])


class ServerTests(ObjectsCase):
    """PRS-15: what the Presence Server asks of the Content Server."""

    def test_interface(self) -> None:
        """The Content Server of these tests is one."""
        self.assertTrue(verifyObject(IContentObjects, self.shelf))

    def test_kept_alive(self) -> None:
        """AGP-109: publish and refresh make what they refer to live as long, and wait for nothing.

        Foreign objects are left alone.
        """
        self.shelf.held = []
        url = self.shelf.put("1", ICON)
        end = self.node.wall() + 86400
        start = self.node.wall()
        tag = self.publish(
            reference(url, end),
            reference("https://elsewhere.example/1", end, "other@ua"),
            root=person(more="<r:class>cid:other@ua</r:class>"),
            expires=600,
        )
        self.node.advance(300, 1)
        self.publish(tag=tag, body=b"", expires=600)
        self.node.advance(1)
        self.assertEqual([uri for uri, _ in self.shelf.kept], [url, url])
        first, second = (until - start for _, until in self.shelf.kept)
        self.assertTrue(600 <= first < 601, first)
        self.assertTrue(900 <= second < 902, second)
        # a time-out ends what nobody answers
        self.node.advance(61, 1)
        self.assertEqual(self.package.objects.contents.outcomes["keep", "late"], 2)

    def test_stored(self) -> None:
        """AGP-116: a large object is stored, once, and told by reference to who takes that."""
        self.package.objects.limits = ObjectLimits(size=10000, inline=100)
        large = b"x" * 6000
        tag = self.publish(inline(large), expires=600)
        start = self.node.wall()
        self.assertEqual(self.first(TAKES_OBJECTS).type, PIDF)
        self.assertEqual(self.shelf.stored, [])
        told = self.first(TAKES_REFERENCES)
        ((owner, kind, body, until),) = self.shelf.stored
        self.assertEqual((owner, kind, body), (BOB, "image/png", large))
        self.assertTrue(599 < until - start < 601)
        (found,) = told.references.values()
        self.assertEqual(self.shelf.objects[found.url].body, large)
        self.assertEqual((found.size, found.expiration), (6000, float(int(until))))
        self.assertEqual(found.sha1, hashed(large))
        self.assertEqual(list(told.references), told.cids)
        # a refresh makes it live on, and is told to who asks later
        self.node.advance(300, 1)
        self.publish(tag=tag, body=b"", expires=600)
        self.assertEqual([uri for uri, _ in self.shelf.kept], [found.url])
        later = self.first(TAKES_REFERENCES, 1, expires=0)
        (again,) = later.references.values()
        self.assertEqual((again.url, len(self.shelf.stored)), (found.url, 1))
        self.assertGreater(again.expiration, found.expiration + 299)

    def test_not_stored(self) -> None:
        """CIN-05: when it cannot be stored the document is told without it."""
        self.package.objects.limits = ObjectLimits(size=10000, inline=100)
        self.shelf.down = ContentError("refused", status=507)
        self.publish(inline(b"x" * 6000))
        self.assertEqual(self.first(TAKES_REFERENCES).type, PIDF)
        self.assertEqual(self.package.objects.contents.outcomes["store", "refused"], 1)

    def test_many_fetches(self) -> None:
        """CIN-06: no more than some requests are under way at once."""
        self.shelf.held = []
        end = self.node.wall() + 3600
        for number in range(3):
            cids = [f"{number}-{n}@ua" for n in range(16)]
            more = "".join(f"<r:class>cid:{cid}</r:class>" for cid in cids)
            parts = [reference(self.shelf.put(cid, ICON), end, cid) for cid in cids]
            self.publish(*parts, root=person("", id=f"p{number}", more=more))
        self.watch(TAKES_OBJECTS)
        self.assertEqual(len(self.shelf.fetched), 16)
        self.node.advance(PATIENCE + 1)
        (told,) = self.news(TAKES_OBJECTS)
        self.assertEqual(told.type, PIDF)
