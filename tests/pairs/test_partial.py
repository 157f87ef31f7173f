"""Partial notification (RFC 5262, RFC 5263) by the Presence Server, message by message."""

from __future__ import annotations

from typing import Any

from lxml import etree
from twisted.trial.unittest import SynchronousTestCase

from presence.partial.documents import Diff, Full, read
from presence.partial.patching import apply
from pysip.event.table import NotifierPolicy
from pysip.message import Request, Response, response_to
from tests.node import BOB, Node

PIDF = "application/pidf+xml"
DIFF = "application/pidf-diff+xml"
BOTH = f"{DIFF}, {PIDF}"
NOTES = "".join(f"<note>line {n}</note>" for n in range(20))
"""What makes whole documents larger than any change of them."""
ONLY_BASIC = (
    b'<filter-set xmlns="urn:ietf:params:xml:ns:simple-filter"><ns-bindings>'
    b'<ns-binding prefix="p" urn="urn:ietf:params:xml:ns:pidf"/></ns-bindings><filter id="f">'
    b"<what><include>//p:basic</include></what></filter></filter-set>"
)


def document(basic: str = "open", *, notes: str = NOTES, entity: str = BOB) -> bytes:
    """A published document that is large enough for changes to be smaller."""
    return (
        f'<presence xmlns="urn:ietf:params:xml:ns:pidf" entity="{entity}"><tuple id="t1">'
        f"<status><basic>{basic}</basic></status>{notes}</tuple></presence>"
    ).encode()


def canonical(data: bytes) -> bytes:
    """What tells documents apart."""
    return etree.tostring(etree.fromstring(data), method="c14n", exclusive=True)  # type: ignore


class PartialTests(SynchronousTestCase):
    """One presentity that publishes, one watcher that takes changes."""

    policy: NotifierPolicy | None = None

    def setUp(self) -> None:
        """Somebody is open."""
        self.node = Node(policy=self.policy)
        self.bob = self.node.peer("192.0.2.20")
        self.peer = self.node.peer()
        self.etag = ""
        self.publish("open")

    def publish(self, basic: str, **options: Any) -> None:
        """Publish another state."""
        fields = {"sip_if_match": self.etag} if self.etag else {}
        answer = self.bob.publish(document(basic, **options), **fields)
        self.etag = answer.headers["sip-etag"][0]
        self.node.advance(0.2)

    def subscribe(self, accept: str | None = BOTH, **fields: Any) -> Response:
        """SUBSCRIBE outside of a dialog."""
        self.answer = self.peer.subscribe(accept=accept, **fields)
        return self.answer

    def again(self, accept: str | None = BOTH, **fields: Any) -> Response:
        """SUBSCRIBE in the dialog."""
        answer = self.answer
        dialog = {"call_id": answer.call_id, "to_tag": answer.to.tag, **fields}
        return self.peer.subscribe(accept=accept, **dialog)

    def take(self) -> list[Request]:
        """The NOTIFYs since the last call."""
        taken = self.peer.notifies()
        self.peer.requests.clear()
        return taken

    def one(self) -> Full | Diff:
        """The document of the only NOTIFY since the last call."""
        (notify,) = self.take()
        self.assertEqual(notify.headers["content-type"], [DIFF])
        return read(notify.body)

    def test_preferred(self) -> None:
        """Only where it is named, and liked no less than whole documents (PNO-03)."""
        for accept, kind in (
            (None, PIDF),
            (PIDF, PIDF),
            (BOTH, DIFF),
            (f"{PIDF}, {DIFF}", DIFF),
            (f"{PIDF};q=0.5, {DIFF};q=0.4", PIDF),
            (f"{PIDF};q=0.4, {DIFF};q=0.5", DIFF),
            (f"{PIDF}, {DIFF};q=0", PIDF),
            ("*/*", PIDF),
            (f"application/*, {DIFF};q=0.2", PIDF),
            (DIFF, DIFF),
        ):
            self.subscribe(accept)
            (notify,) = self.take()
            self.assertEqual(notify.headers["content-type"], [kind], accept)

    def test_offered(self) -> None:
        """Who takes neither is told what there is (UAS-06)."""
        answer = self.subscribe("text/plain")
        self.assertEqual((answer.status, answer.headers["accept"]), (406, [f"{PIDF}, {DIFF}"]))

    def test_first_is_full(self) -> None:
        """Then changes, each with the next version (PNO-01, PNO-04)."""
        self.subscribe()
        first = self.one()
        assert isinstance(first, Full)
        self.assertEqual((first.version, first.entity), (1, BOB))
        known = first.document
        for version, basic in enumerate(("closed", "open", "closed"), 2):
            self.publish(basic)
            (notify,) = self.take()
            told = read(notify.body)
            assert isinstance(told, Diff)
            self.assertEqual((told.version, told.entity), (version, BOB))
            self.assertLess(len(notify.body), 400)
            known = apply(known, notify.body)
            self.assertIn(f"<basic>{basic}<".encode(), canonical(known))

    def test_larger_changes(self) -> None:
        """The whole document where changes would be no smaller (PNO-07)."""
        self.subscribe()
        self.take()
        self.publish("open", notes="<note>all else is gone</note>")
        self.assertIsInstance(self.one(), Full)

    def test_refresh(self) -> None:
        """The NOTIFYs after a refresh and at the end are full; versions go on (PNO-04, PNO-05)."""
        self.subscribe()
        self.publish("closed")
        self.take()
        self.again()
        told = self.one()
        self.assertIsInstance(told, Full)
        self.assertEqual(told.version, 3)
        self.publish("open")
        self.assertIsInstance(self.one(), Diff)
        self.again(expires=0)
        told = self.one()
        self.assertIsInstance(told, Full)
        self.assertEqual(told.version, 5)

    def test_each_counts_for_itself(self) -> None:
        """Versions are of a subscription (PNO-04)."""
        self.subscribe()
        self.publish("closed")
        self.take()
        self.subscribe()
        self.assertEqual(self.one().version, 1)
        self.publish("open")
        self.assertEqual(sorted(read(n.body).version or 0 for n in self.take()), [2, 3])

    def test_one_at_a_time(self) -> None:
        """No change is told before the one before has its answer (PNO-06)."""
        self.subscribe()
        self.take()
        self.peer.answer = 0
        for basic in ("closed", "open", "closed"):
            self.publish(basic)
        (notify,) = self.take()
        self.peer.answer = 200
        self.peer.send(response_to(notify, 200))
        self.node.advance(0.5)
        self.assertEqual(self.take(), [])  # it has that state already
        self.publish("open")
        self.assertEqual(self.one().version, 3)

    def test_failed(self) -> None:
        """What has failed uses up no number, and all is told again (PNO-04, PNO-09)."""
        self.subscribe()
        self.take()
        self.peer.answer = _busy
        self.publish("closed")
        self.assertEqual(self.one().version, 2)
        self.peer.answer = 200
        self.node.advance(3)
        told = self.one()
        self.assertIsInstance(told, Full)
        self.assertEqual(told.version, 2)

    def test_unsent(self) -> None:
        """What was made but told nothing new uses up no number (PNO-04)."""
        self.subscribe(body=ONLY_BASIC, content_type="application/simple-filter+xml")
        self.assertEqual(self.one().version, 1)
        self.publish("open", notes="<note>nobody hears of this</note>")
        self.assertEqual(self.take(), [])
        for decision, count in (("confirm", 0), ("allow", 1)):
            self.node.watchers.default = decision  # type: ignore[assignment]
            self.node.presence.notifier.reauthorize("presence", BOB)
            self.node.advance(0.5)
            told = self.take()
            self.assertEqual(len([each for each in told if each.body]), count)
        self.assertEqual(read(told[0].body).version, 2)

    def test_other_type(self) -> None:
        """Back from whole documents the first one is full, and versions go on (PNO-08)."""
        self.subscribe()
        self.publish("closed")
        self.take()
        self.again(PIDF)
        (notify,) = self.take()
        self.assertEqual(notify.headers["content-type"], [PIDF])
        self.publish("open")
        self.take()
        self.again()
        told = self.one()
        self.assertIsInstance(told, Full)
        self.assertEqual(told.version, 3)

    def test_tag(self) -> None:
        """It names the whole state, also with changes (SNE-10)."""
        self.subscribe()
        self.publish("closed")
        told = self.take()[-1]
        self.assertIsInstance(read(told.body), Diff)
        tag = told.headers["sip-etag"][0]
        self.assertEqual(self.again(suppress_if_match=tag).status, 204)
        self.assertEqual(self.take(), [])
        self.subscribe(suppress_if_match=tag)
        (notify,) = self.take()
        self.assertEqual((notify.body, notify.headers["sip-etag"]), (b"", [tag]))
        self.publish("open")
        documents = [read(n.body) for n in self.take()]
        # the new subscription has had no document yet
        self.assertEqual({type(d): d.version for d in documents}, {Full: 1})
        self.assertEqual(len(documents), 2 - 1 + 1)

    def test_pending(self) -> None:
        """No document while somebody decides; the first one then is full, version 1."""
        self.node.watchers.default = "confirm"
        self.subscribe()
        self.assertEqual(self.take()[0].body, b"")
        self.node.watchers.default = "allow"
        self.node.presence.notifier.reauthorize("presence", BOB)
        self.node.advance(0.5)
        told = self.one()
        self.assertIsInstance(told, Full)
        self.assertEqual(told.version, 1)

    def test_restart(self) -> None:
        """The first document after it is full, with a version higher up (PNO-04, PNO-11)."""
        self.subscribe()
        self.publish("closed")
        last = read(self.take()[-1].body).version or 0
        self.node.advance(1)
        self.node = self.node.restart()
        self.bob.node = self.peer.node = self.node
        self.node.presence.resume()
        self.node.advance(1)
        self.assertEqual(self.take(), [])  # nothing has changed
        self.publish("open")
        told = self.one()
        self.assertIsInstance(told, Full)
        self.assertGreater(told.version or 0, last)
        self.publish("closed")
        after = self.one()
        self.assertIsInstance(after, Diff)
        self.assertEqual(after.version, (told.version or 0) + 1)

    def test_condition_after_restart(self) -> None:
        """It is kept for a state that is told in changes, as for others (SNE-06, SNE-16)."""
        self.subscribe()
        tag = self.take()[0].headers["sip-etag"][0]
        self.assertEqual(self.again(suppress_if_match=tag, expires=60).status, 204)
        self.node.advance(1)
        self.node = self.node.restart()
        self.bob.node = self.peer.node = self.node
        self.node.presence.resume()
        self.node.advance(61, step=0.5)
        (last,) = self.take()
        self.assertIn("terminated", last.headers["subscription-state"][0])
        self.assertEqual((last.body, last.headers["sip-etag"]), (b"", [tag]))

    def test_min_rate(self) -> None:
        """Repetitions tell that nothing has changed since (RAT-07)."""
        self.subscribe(event="presence;min-rate=0.1")
        known = read(self.take()[0].body)
        assert isinstance(known, Full)
        self.node.advance(11)
        (notify,) = self.take()
        told = read(notify.body)
        self.assertIsInstance(told, Diff)
        self.assertEqual(told.version, 2)
        self.assertEqual(canonical(apply(known.document, notify.body)), canonical(known.document))

    def test_max_rate(self) -> None:
        """What has gathered becomes one change since what has arrived (RAT-06)."""
        self.subscribe(event="presence;max-rate=0.1")
        first = read(self.take()[0].body)
        assert isinstance(first, Full)
        for basic in ("closed", "open", "closed"):
            self.publish(basic)
        self.node.advance(11)
        (notify,) = self.take()
        self.assertEqual(read(notify.body).version, 2)
        self.assertIn(b"<basic>closed<", canonical(apply(first.document, notify.body)))

    def test_shared(self) -> None:
        """Who stands at the same version gets the same document, made once."""
        peers = [self.node.peer(f"192.0.2.{100 + n}") for n in range(5)]
        for peer in peers:
            peer.subscribe(accept=BOTH, sender=f"sip:{peer.address[0]}@example.org")
        self.publish("closed")
        bodies = {peer.notifies()[-1].body for peer in peers}
        self.assertEqual(len(bodies), 1)
        notifier = self.node.presence.notifier
        live = notifier.subscriptions("presence", BOB)
        made = {id(self.node.presence.package.notification(each)) for each in live}
        self.assertEqual(len(made), 1)


class UncertainTests(PartialTests):
    """All of it, where subscriptions are kept although nobody answers."""

    policy = NotifierPolicy(keep_on_timeout=True)

    def test_lost_answer(self) -> None:
        """The number may be used up, so the next one is taken, and all is told (PNO-09)."""
        self.subscribe()
        self.take()
        self.peer.answer = 0
        self.publish("closed")
        self.node.advance(33, step=0.5)
        self.assertEqual(read(self.take()[0].body).version, 2)
        self.peer.answer = 200
        self.node.advance(3)
        told = self.one()
        self.assertIsInstance(told, Full)
        self.assertEqual(told.version, 3)


def _busy(request: Request) -> Response:
    response = response_to(request, 503)
    response.headers["retry-after"] = ["1"]
    return response
