"""Event filters (RFC 4660) at the Presence Server, message by message."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from presence.filtering import FilterChoices
from presence.partial.documents import Diff, Full, read
from presence.rules.model import Decision, Handling
from presence.rules.permissions import EVERYTHING, Permissions
from pysip.coding import encode_body
from pysip.message import Request, Response, response_to
from tests.node import BOB, Node

PIDF = "application/pidf+xml"
DIFF = "application/pidf-diff+xml"
FILTERS = "application/simple-filter+xml"
SPACES = (
    '<ns-bindings><ns-binding prefix="p" urn="urn:ietf:params:xml:ns:pidf"/>'
    '<ns-binding prefix="r" urn="urn:ietf:params:xml:ns:pidf:rpid"/></ns-bindings>'
)
BASIC = "<what><include>//p:tuple/p:status/p:basic</include></what>"
NOTES = "<what><include>//p:tuple/p:note</include></what>"
OPENED = '<trigger><changed to="open">//p:tuple/p:status/p:basic</changed></trigger>'


def filters(*inner: str, attributes: str = "") -> bytes:
    """A filter document."""
    return (
        f'<filter-set xmlns="urn:ietf:params:xml:ns:simple-filter"{attributes}>'
        f"{SPACES}{''.join(inner)}</filter-set>"
    ).encode()


def one(inner: str, attributes: str = "") -> str:
    """A filter with the usual id."""
    return f'<filter id="f1"{attributes}>{inner}</filter>'


def document(basic: str, note: str = "") -> bytes:
    """A published document."""
    text = f"<note>{note}</note>" if note else ""
    return (
        f'<presence xmlns="urn:ietf:params:xml:ns:pidf" entity="{BOB}"><tuple id="t1">'
        f"<status><basic>{basic}</basic></status>{text}</tuple></presence>"
    ).encode()


class FilterTests(SynchronousTestCase):
    """One presentity that publishes, one watcher that wants some of it."""

    def setUp(self) -> None:
        """Somebody is open, and says so."""
        self.node = Node()
        self.bob = self.node.peer("192.0.2.20")
        self.peer = self.node.peer()
        self.etag = ""
        self.publish("open", "here")

    def publish(self, basic: str, note: str = "") -> None:
        """Publish another state."""
        fields = {"sip_if_match": self.etag} if self.etag else {}
        answer = self.bob.publish(document(basic, note), **fields)
        self.etag = answer.headers["sip-etag"][0]
        self.node.advance(0.2)

    def subscribe(self, *inner: str, attributes: str = "", **fields: Any) -> Response:
        """SUBSCRIBE with filters."""
        if inner:
            fields.setdefault("body", filters(*inner, attributes=attributes))
        fields.setdefault("content_type", FILTERS)
        answer = self.peer.subscribe(**fields)
        if answer.status == 200:
            self.answer = answer
        return answer

    def again(self, *inner: str, **fields: Any) -> Response:
        """SUBSCRIBE in the dialog."""
        kept = self.answer
        dialog = {"call_id": kept.call_id, "to_tag": kept.to.tag, **fields}
        answer = self.subscribe(*inner, **dialog)
        self.answer = kept
        return answer

    def take(self) -> list[Request]:
        """The NOTIFYs since the last call."""
        taken = self.peer.notifies()
        self.peer.requests.clear()
        return taken

    def told(self) -> list[str]:
        """What they tell: the basic status, and the note if there is one."""
        return [_told(request.body) for request in self.take()]

    def test_what(self) -> None:
        """Only that is told, and only when it changes (FLT-10, FLT-19, PSV-04)."""
        self.assertEqual(self.subscribe(one(BASIC)).status, 200)
        self.assertEqual(self.told(), ["open"])
        self.publish("open", "there")
        self.assertEqual(self.told(), [])
        self.publish("closed", "there")
        self.assertEqual(self.told(), ["closed"])

    def test_trigger(self) -> None:
        """All is told when it fires; what was told last is what counts (FLT-15, FLT-18, FLT-19)."""
        self.subscribe(one(OPENED))
        self.assertEqual(self.told(), ["open here"])
        self.publish("closed", "away")
        self.publish("closed", "far away")
        self.assertEqual(self.told(), [])
        # closed was not told: of what was, nothing has changed
        self.publish("open", "back")
        self.assertEqual(self.told(), [])
        self.again()  # a refresh tells the state whatever happened
        self.assertEqual(self.told(), ["open back"])
        self.publish("closed")
        self.again()
        self.assertEqual(self.told(), ["closed"])
        self.publish("open", "again")
        self.assertEqual(self.told(), ["open again"])

    def test_both(self) -> None:
        """What is selected, when the trigger fires (FLT-19)."""
        self.publish("closed", "here")
        self.subscribe(one(NOTES + OPENED))
        self.assertEqual(self.told(), ["closed here"])
        self.publish("closed", "there")
        self.assertEqual(self.told(), [])
        self.publish("open", "back")
        self.assertEqual(self.told(), ["open back"])

    def test_nothing_selected(self) -> None:
        """First a NOTIFY without content, then none (FLT-12); that it has gone is told."""
        self.publish("open")
        self.subscribe(one(NOTES))
        (first,) = self.take()
        self.assertEqual(first.body, b"")
        self.assertNotIn("content-type", first.headers)
        self.publish("closed")
        self.assertEqual(self.told(), [])
        self.publish("closed", "here")
        self.assertEqual(self.told(), ["closed here"])
        self.publish("closed")
        (notify,) = self.take()
        self.assertIn(b"<presence", notify.body)
        self.assertNotIn(b"<tuple", notify.body)
        self.publish("open")
        self.assertEqual(self.told(), [])

    def test_nothing_any_more(self) -> None:
        """Who has a document learns that nothing is left, whatever was told or failed meanwhile."""
        self.subscribe(one(NOTES))
        self.assertEqual(self.told(), ["open here"])
        self.peer.answer = _busy
        self.publish("open")
        self.take()
        self.peer.answer = 200
        self.node.advance(3)
        self.bare()
        self.publish("open", "there")
        self.take()
        self.decide("confirm")
        self.assertEqual([n.body for n in self.take()], [b""])
        self.publish("open")
        self.decide("allow")
        self.bare()

    def test_nothing_after_restart(self) -> None:
        """Who waits for a decision may have a document, as far as the server remembers."""
        self.subscribe(one(NOTES))
        self.decide("confirm")
        self.node.advance(1)
        self.node = self.node.restart()
        self.node.watchers.default = "confirm"
        self.bob.node = self.peer.node = self.node
        self.node.presence.resume()
        self.publish("open")
        self.take()
        self.decide("allow")
        self.bare()

    def decide(self, decision: Handling) -> None:
        """Bob decides otherwise."""
        self.node.watchers.default = decision
        self.node.presence.notifier.reauthorize("presence", BOB)
        self.node.advance(0.5)

    def bare(self) -> None:
        """One NOTIFY has told that nothing is left."""
        (notify,) = self.take()
        self.assertIn(b"<presence", notify.body)
        self.assertNotIn(b"<tuple", notify.body)

    def test_life(self) -> None:
        """Kept by a refresh without a body; added, replaced, switched and removed (FLT-21)."""
        self.subscribe(one(BASIC))
        self.again()
        self.assertEqual(self.told(), ["open", "open"])
        self.again(one(NOTES))
        self.assertEqual(self.told(), ["open here"])
        self.publish("open", "there")
        self.assertEqual(self.told(), ["open there"])
        self.again('<filter id="f1" enabled="false"/>')
        self.again('<filter id="f1"/>')
        self.again('<filter id="f1" remove="true"/>')
        self.assertEqual(self.told(), ["open there"] * 3)
        self.publish("closed", "there")
        self.assertEqual(self.told(), ["closed there"])

    def test_refused(self) -> None:
        """488 and a Warning; nothing has changed (FLT-21, FLT-22, FLT-26)."""
        self.subscribe(one(BASIC))
        self.take()
        self.assertEqual(self.again(f'<filter id="f2">{NOTES}</filter>').status, 488)
        for inner in (
            ['<filter id="f2"/>'],
            [one(BASIC), '<filter id="f2"><what><include>//p:x</include></what></filter>'],
            [one("<what><include>//q:x</include></what>")],
            [one("<what><include>count(//p:x)</include></what>")],
            ["<filter/>"],
            [""],
        ):
            for ask in (self.again, self.subscribe):
                answer = ask(*inner)
                self.assertEqual(answer.status, 488, inner)
                self.assertIn("399", answer.headers["warning"][0])
        long = "".join(f"<include>//p:{n}{'x' * 900}</include>" for n in "abcdefghijklmnopqrst")
        self.assertEqual(self.subscribe(one(f"<what>{long}</what>")).status, 488)  # FLT-27
        self.assertEqual(self.again(body=b"<x").status, 488)
        self.assertEqual(self.again(one(BASIC), attributes=' package="winfo"').status, 488)
        self.assertEqual(self.take(), [])
        self.assertEqual(len(self.node.presence.notifier), 1)
        self.publish("open", "there")
        self.assertEqual(self.told(), [])

    def test_choices(self) -> None:
        """An operator may have erroneous filters ignored, and names read strictly.

        FLT-08, FLT-26.
        """
        wrong = one("<what><include>count(//p:x)</include></what>")
        package = self.node.presence.package
        bare = one("<what><include>//tuple/note</include></what>")
        body = filters(bare).replace(SPACES.encode(), b"")
        self.subscribe(body=body)
        self.assertEqual(self.told(), ["open here"])
        package.filtering.choices = FilterChoices(lenient=False, forgiving=True)
        self.assertEqual(self.subscribe(wrong).status, 200)
        self.assertEqual(self.told(), ["open here"])
        self.subscribe(body=body)
        self.assertEqual(self.told(), [""])

    def test_other_bodies(self) -> None:
        """Another type is 415 with what there is (FLT-26)."""
        answer = self.subscribe(body=b"x", content_type="text/plain")
        self.assertEqual((answer.status, answer.headers["accept"]), (415, [FILTERS]))

    def test_coded(self) -> None:
        """The body of a SUBSCRIBE may be coded (MSG-26)."""
        body = encode_body("gzip", filters(one(BASIC)))
        self.assertEqual(self.subscribe(body=body, content_encoding="gzip").status, 200)
        self.assertEqual(self.told(), ["open"])
        self.assertEqual(self.again(body=b"x", content_encoding="gzip").status, 400)

    def test_targets(self) -> None:
        """For whom it is (FLT-23 to FLT-25)."""
        for inner, told in (
            (one(BASIC, f' uri="{BOB}"'), "open"),
            (one(BASIC, ' uri="pres:bob@example.com"'), "open"),
            (one(BASIC, ' uri="sip:carol@example.com"'), "open here"),
            (one(BASIC, ' domain="example.com"'), "open"),
            (one(BASIC, ' domain="example.net"'), "open here"),
            (
                one(BASIC, ' domain="example.com"') + f'<filter id="f2">{NOTES}</filter>',
                "open here",
            ),
        ):
            self.subscribe(inner)
            self.assertEqual(self.told(), [told], inner)

    def test_after_policy(self) -> None:
        """What rules hide no filter brings back, and it is applied to the polite document.

        PBK-05, PSV-12, ORD-02, XDM-147, XDM-149, FLT-13.
        """
        wants = one("<what><include>//p:tuple</include></what>")
        seen = Permissions(services=EVERYTHING)
        self.patch(type(self.node.watchers), "decide", lambda *_: Decision("allow", seen))
        self.subscribe(wants)
        self.assertEqual(self.told(), ["open"])
        self.publish("open", "there")
        self.assertEqual(self.told(), [])  # of what it may see nothing has changed
        self.subscribe(one(NOTES))
        self.assertEqual([n.body for n in self.take()], [b""])
        self.patch(type(self.node.watchers), "decide", lambda *_: Decision("polite-block", seen))
        self.node.presence.package.closed_when_offline = True
        self.subscribe(wants)
        self.assertEqual(self.told(), ["closed"])
        self.publish("open", "back")
        self.assertNotIn("open", " ".join(self.told()))

    def test_partial(self) -> None:
        """Changes are those of what is selected (PNO-10, XDM-147)."""
        self.publish("open", "here")
        notes = "".join("<what><include>//p:note</include></what>" for _ in range(1))
        self.subscribe(one(notes), accept=f"{DIFF}, {PIDF}")
        first = read(self.take()[0].body)
        assert isinstance(first, Full)
        self.publish("closed", "x" * 500)
        self.publish("open", "x" * 500)
        second, third = (read(n.body) for n in self.take())
        self.assertEqual((second.version, third.version), (2, 3))
        self.assertIsInstance(third, Diff)

    def test_tag(self) -> None:
        """It is that of what the filter leaves (SNE-01)."""
        self.subscribe(one(BASIC))
        tag = self.take()[0].headers["sip-etag"][0]
        self.publish("open", "there")
        self.assertEqual(self.again(suppress_if_match=tag).status, 204)
        self.assertEqual(self.again(one(NOTES), suppress_if_match=tag).status, 200)
        self.assertEqual(self.told(), ["open there"])

    def test_fetch(self) -> None:
        """A fetch is filtered, too."""
        self.subscribe(one(BASIC), expires=0)
        self.assertEqual(self.told(), ["open"])

    def test_restart(self) -> None:
        """Filters are durable (PSV-20); after a restart what has changed is told."""
        self.subscribe(one(NOTES + OPENED))
        self.node.advance(1)
        self.node = self.node.restart()
        self.bob.node = self.peer.node = self.node
        self.node.presence.resume()
        self.node.advance(1)
        self.take()
        self.publish("closed", "there")
        self.assertEqual(self.told(), ["closed there"])  # nobody knows what was told before
        self.publish("closed", "far")
        self.assertEqual(self.told(), [])
        self.publish("open", "back")
        self.assertEqual(self.told(), ["open back"])

    def test_not_stored(self) -> None:
        """Filters that cannot be kept are not in force."""
        self.subscribe(one(BASIC))
        self.take()
        self.node.store.fail_next()
        self.assertEqual(self.again(one(NOTES)).status, 500)
        self.node.advance(2)
        self.publish("open", "there")
        self.assertEqual(self.take(), [])

    def test_damaged(self) -> None:
        """A record that cannot be read ends the subscription, so that it is made anew."""
        self.subscribe(one(BASIC))
        (live,) = self.node.presence.notifier.subscriptions("presence", BOB)
        live.detail = b"\xc1"
        self.node.store.put_subscription(live.record(self.node.wall(), 0.0))
        self.node.advance(1)
        self.take()
        self.node = self.node.restart()
        self.bob.node = self.peer.node = self.node
        self.node.presence.resume()
        self.node.advance(1)
        (notify,) = self.take()
        state = notify.headers["subscription-state"]
        self.assertEqual(state, ["terminated;reason=deactivated"])
        self.assertEqual(len(self.flushLoggedErrors()), 0)

    def test_costly(self) -> None:
        """A filter that costs too much ends its subscription: ``badfilter`` (FLT-26, FLT-27)."""
        deep = "//*" * 12 + '[.="x"]'
        include = "".join(f"<include>{deep.replace('x', str(n))}</include>" for n in range(60))
        tuples = "".join(
            f'<tuple id="t{n}"><status><basic>open</basic></status></tuple>' for n in range(300)
        )
        body = f'<presence xmlns="urn:ietf:params:xml:ns:pidf" entity="{BOB}">{tuples}</presence>'
        self.bob.publish(body.encode())
        answer = self.subscribe(one(f"<what>{include}</what>"))
        if answer.status == 488:
            return  # it was seen at once
        self.node.advance(1)
        (notify,) = self.take()
        state = notify.headers["subscription-state"]
        self.assertEqual(state, ["terminated;reason=badfilter"])
        self.assertEqual(len(self.node.presence.notifier), 0)
        self.subscribe(one(f"<what>{include}</what>"), expires=0)
        (notify,) = self.take()
        self.assertEqual(notify.body, b"")

    def test_shared(self) -> None:
        """Equal filters have one result, made once."""
        self.subscribe(one(NOTES))
        self.subscribe(f'<filter id="other">{NOTES}</filter>')
        package = self.node.presence.package
        live = self.node.presence.notifier.subscriptions("presence", BOB)
        self.assertEqual(len({id(package.notification(each)) for each in live}), 1)


def _busy(request: Request) -> Response:
    response = response_to(request, 503)
    response.headers["retry-after"] = ["1"]
    return response


def _told(body: bytes) -> str:
    text = body.decode()
    basic = text.partition("<basic>")[2].partition("<")[0]
    return " ".join(
        (basic, *([text.partition("<note>")[2].partition("<")[0]] if "<note>" in text else []))
    )
