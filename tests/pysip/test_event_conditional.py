"""Conditional notification (RFC 5839, events.md F) at the notifier, whatever the package."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from pysip.message import Request, Response, response_to
from tests.node import BOB
from tests.pysip.eventing import Small, SmallNode


def _tag(request: Request) -> str:
    return request.headers["sip-etag"][0]


class ConditionTests(SynchronousTestCase):
    """Suppress-If-Match and what it keeps back."""

    def setUp(self) -> None:
        """A watcher of a text."""
        self.package = Small(bob="here")
        self.node = SmallNode(self.package)
        self.peer = self.node.peer()
        self.answer = self.subscribe()
        (first,) = self.take()
        self.tag = _tag(first)

    def subscribe(self, **fields: Any) -> Response:
        """SUBSCRIBE outside of a dialog."""
        return self.peer.subscribe(event="small", **fields)

    def again(self, **fields: Any) -> Response:
        """SUBSCRIBE in the dialog."""
        answer = self.answer
        return self.subscribe(call_id=answer.call_id, to_tag=answer.to.tag, **fields)

    def take(self) -> list[Request]:
        """The NOTIFYs since the last call."""
        taken = self.peer.notifies()
        self.peer.requests.clear()
        return taken

    def change(self, text: str) -> None:
        """The text is another one."""
        self.package.texts[BOB] = text
        self.node.presence.notifier.changed("small", BOB)
        self.node.advance(0.2)

    def test_every_notify_has_a_tag(self) -> None:
        """With and without body, at all states; one tag is one entity (SNE-01, SNE-02)."""
        self.change("there")
        self.change("here")
        there, here = self.take()
        self.assertNotEqual(_tag(there), self.tag)
        self.assertEqual(_tag(here), self.tag)
        self.package.decision = "pending"
        self.again()
        (pending,) = self.take()
        self.assertEqual(pending.body, b"")
        self.assertNotIn(_tag(pending), ("*", self.tag, _tag(there)))
        self.package.decision = "rejected"
        self.node.presence.notifier.reauthorize("small", BOB)
        self.node.advance(0.2)
        (ended,) = self.take()
        self.assertIn("terminated", ended.headers["subscription-state"][0])
        self.assertTrue(_tag(ended))

    def test_tag_outlives_subscription(self) -> None:
        """It names the state, not the subscription: others have the same (SNE-02)."""
        self.again(expires=0)
        self.take()
        self.subscribe()
        self.assertEqual(_tag(self.take()[0]), self.tag)

    def test_coded_bodies_have_tags_of_their_own(self) -> None:
        """Content-Encoding is part of the entity (RFC 5839 section 4)."""
        self.change("here " * 200)
        plain = _tag(self.take()[0])
        self.again(accept_encoding="gzip")
        self.again(accept_encoding="deflate")
        tags = {plain, *map(_tag, self.take())}
        self.assertEqual(len(tags), 3)
        self.assertEqual(self.again(accept_encoding="gzip", suppress_if_match=plain).status, 200)
        self.assertEqual(len(self.take()[0].headers["content-encoding"]), 1)
        gzip = f"{plain}.gzip"
        self.assertIn(gzip, tags)
        self.assertEqual(self.again(accept_encoding="gzip", suppress_if_match=gzip).status, 204)

    def test_refresh(self) -> None:
        """In the dialog and true: 204 with the new lifetime, and no NOTIFY (SNE-03, SNE-04)."""
        answer = self.again(suppress_if_match=self.tag, expires=600)
        self.assertEqual((answer.status, answer.reason), (204, "No Notification"))
        self.assertEqual(answer.headers["expires"], ["600"])
        self.node.advance(1)
        self.assertEqual(self.take(), [])
        (live,) = self.node.presence.notifier.subscriptions("small", BOB)
        left = live.deadline - self.node.clock.seconds()
        self.assertApproximates(left, 599, 1)
        self.change("here")
        self.assertEqual(self.take(), [])
        self.change("there")
        self.assertEqual([n.body for n in self.take()], [b"there"])
        # the condition is over: the watcher has something else now
        self.change("here")
        self.assertEqual([n.body for n in self.take()], [b"here"])

    def test_bytes_are_compared(self) -> None:
        """Octet by octet (SNE-03); false: as without the header (SNE-07)."""
        for other in (self.tag.upper() + "A", "x", self.tag[:-1], f"{self.tag}.gzip"):
            self.assertEqual(self.again(suppress_if_match=other).status, 200, other)
            self.assertEqual([n.body for n in self.take()], [b"here"])

    def test_outside_of_a_dialog(self) -> None:
        """A subscription that is resumed, and a fetch: NOTIFY without a body (SNE-05, SNE-16)."""
        for expires in (600, 0):
            answer = self.subscribe(suppress_if_match=self.tag, expires=expires)
            self.assertEqual(answer.status, 200)
            (notify,) = self.take()
            self.assertEqual(notify.body, b"")
            self.assertEqual(notify.headers["content-length"], ["0"])
            self.assertNotIn("content-type", notify.headers)
            self.assertEqual(_tag(notify), self.tag)
        self.change("there")
        self.assertEqual([n.body for n in self.take()], [b"there", b"there"])

    def test_outside_of_a_dialog_false(self) -> None:
        """A stale tag gets the state (SNE-07)."""
        self.change("there")
        self.take()
        for expires in (600, 0):
            self.subscribe(suppress_if_match=self.tag, expires=expires)
            self.assertEqual([n.body for n in self.take()], [b"there"])

    def test_wildcard(self) -> None:
        """``*`` is always true: silent until the next SUBSCRIBE without it (SNE-03, SNE-09)."""
        self.assertEqual(self.again(suppress_if_match="*").status, 204)
        for text in ("there", "here", "nowhere"):
            self.change(text)
        self.node.advance(10)
        self.assertEqual(self.take(), [])
        self.assertEqual(self.again(suppress_if_match=self.tag).status, 200)
        self.assertEqual([n.body for n in self.take()], [b"nowhere"])
        self.again(suppress_if_match="*")
        self.assertEqual(self.again().status, 200)
        self.assertEqual([n.body for n in self.take()], [b"nowhere"])
        self.change("again")
        self.assertEqual([n.body for n in self.take()], [b"again"])

    def test_wildcard_from_the_start(self) -> None:
        """A NOTIFY without a body; the state that it has not told is told when it is wanted."""
        answer = self.subscribe(suppress_if_match="*", expires=600)
        (notify,) = self.take()
        self.assertEqual((answer.status, notify.body, _tag(notify)), (200, b"", self.tag))
        self.peer.subscribe(event="small", call_id=answer.call_id, to_tag=answer.to.tag)
        self.assertEqual([n.body for n in self.take()], [b"here"])

    def test_state_of_the_subscription(self) -> None:
        """A NOTIFY that tells a change of it leaves, without its body (SNE-06)."""
        for condition in (self.tag, "*"):
            self.again(suppress_if_match=condition)
            self.package.decision = "pending"
            self.node.presence.notifier.reauthorize("small", BOB)
            self.node.advance(0.2)
            self.package.decision = "active"
            self.node.presence.notifier.reauthorize("small", BOB)
            self.node.advance(0.2)
            states = [n.headers["subscription-state"][0].split(";")[0] for n in self.take()]
            self.assertEqual(states, ["pending", "active"])

    def test_state_changes_with_the_refresh(self) -> None:
        """The condition is true, but Subscription-State is another: 200 and a NOTIFY (SNE-06)."""
        self.package.decision = "pending"
        self.again()
        (pending,) = self.take()
        self.package.decision = "active"
        answer = self.again(suppress_if_match=self.tag)
        (notify,) = self.take()
        self.assertEqual((answer.status, notify.body, _tag(notify)), (200, b"", self.tag))
        self.assertIn("active", notify.headers["subscription-state"][0])
        self.assertEqual(pending.body, b"")

    def test_end(self) -> None:
        """A conditional un-SUBSCRIBE: 204, no last NOTIFY, and it is gone (SNE-08)."""
        answer = self.again(suppress_if_match=self.tag, expires=0)
        self.assertEqual((answer.status, answer.headers["expires"]), (204, ["0"]))
        self.change("there")
        self.node.advance(1)
        self.assertEqual(self.take(), [])
        self.assertEqual(len(self.node.presence.notifier), 0)
        self.assertEqual(self.package.calls.count(("unsubscribed", "timeout")), 1)
        self.assertEqual(self.again().status, 481)

    def test_end_with_a_notify_in_flight(self) -> None:
        """What was owed meanwhile is not sent after the end (SNE-08)."""
        self.peer.answer = 0
        self.change("there")
        self.package.texts[BOB] = "here"
        self.node.presence.notifier.changed("small", BOB)
        self.assertEqual(self.again(suppress_if_match="*", expires=0).status, 204)
        (notify,) = self.take()
        self.peer.send(response_to(notify, 200))
        self.node.advance(1)
        self.assertEqual(self.take(), [])

    def test_end_when_false(self) -> None:
        """Otherwise the last NOTIFY tells the state (SNE-07)."""
        self.assertEqual(self.again(suppress_if_match="x", expires=0).status, 200)
        (notify,) = self.take()
        self.assertIn("terminated", notify.headers["subscription-state"][0])
        self.assertEqual(notify.body, b"here")

    def test_each_subscribe_sets_it(self) -> None:
        """One without the header ends it (SNE-09)."""
        self.again(suppress_if_match=self.tag)
        self.assertEqual(self.again().status, 200)
        self.assertEqual([n.body for n in self.take()], [b"here"])

    def test_malformed(self) -> None:
        """Exactly one token; nothing changes otherwise (SNE-14)."""
        for value in ("", "a, b", '"a"', "a b", "*, *"):
            self.assertEqual(self.again(suppress_if_match=value).status, 400, value)
            self.assertEqual(self.subscribe(suppress_if_match=value).status, 400, value)
        self.assertEqual(self.take(), [])
        self.assertEqual(len(self.node.presence.notifier), 1)

    def test_other_methods(self) -> None:
        """It means something in SUBSCRIBE only (SNE-14)."""
        request = self.peer.request("OPTIONS", BOB, suppress_if_match="a, b")
        self.assertEqual(self.peer.ask(request).status, 200)

    def test_not_stored(self) -> None:
        """A refresh that cannot be kept leaves the old condition."""
        self.again(suppress_if_match="*")
        self.node.store.fail_next()
        self.assertEqual(self.again().status, 500)
        self.change("there")
        self.assertEqual(self.take(), [])

    def test_restart(self) -> None:
        """The condition is durable (SNE-16), until something else was told."""
        self.again(suppress_if_match="*")
        self.node.advance(1)
        self.restart()
        self.change("there")
        self.assertEqual(self.take(), [])
        self.assertEqual(self.again().status, 200)
        there = _tag(self.take()[0])
        self.assertEqual(self.again(suppress_if_match=there).status, 204)
        self.change("here")
        self.assertEqual([n.body for n in self.take()], [b"here"])
        self.node.advance(1)
        self.restart()
        self.change("there")
        self.assertEqual([n.body for n in self.take()], [b"there"])

    def restart(self) -> None:
        """The node begins anew with what it has stored."""
        self.node.stop()
        self.node = SmallNode(self.package, store=self.node.store, network=self.node.network)
        self.peer.node = self.node

    def test_lost_body(self) -> None:
        """A NOTIFY that failed is sent again with its body."""
        self.again(suppress_if_match=self.tag)
        self.peer.answer = _busy
        self.change("there")
        self.peer.answer = 200
        self.node.advance(5)
        self.assertEqual([n.body for n in self.take()], [b"there", b"there"])


def _busy(request: Request) -> Response:
    response = response_to(request, 503)
    response.headers["retry-after"] = ["1"]
    return response
