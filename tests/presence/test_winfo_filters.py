"""Filters on watcher information (WIN-06, RFC 4660 section 7.2), by its messages."""

from __future__ import annotations

from typing import Any

from pysip.message import Request, Response, response_to
from tests.node import BOB
from tests.presence.test_winfo import WinfoCase

FILTERS = "application/simple-filter+xml"
ACTIVE = "<what><include>//wi:watcher[@status='active']</include></what>"
PENDING = (
    '<what><include>/wi:watcherinfo/wi:watcher-list[@package="presence"]/'
    'wi:watcher[@status="pending"]</include></what>'
)
APPROVED = '<trigger><changed from="pending" to="active">//wi:watcher/@status</changed></trigger>'


def filters(inner: str, attributes: str = "") -> bytes:
    """A filter document."""
    return (
        '<filter-set xmlns="urn:ietf:params:xml:ns:simple-filter" package="presence.winfo">'
        '<ns-bindings><ns-binding prefix="wi" urn="urn:ietf:params:xml:ns:watcherinfo"/>'
        f'</ns-bindings><filter id="f1"{attributes}>{inner}</filter></filter-set>'
    ).encode()


class FilterTests(WinfoCase):
    """Bob wants to hear of some of his watchers."""

    def subscribe(self, inner: str = "", **fields: Any) -> Any:
        """SUBSCRIBE, again in the dialog once there is one."""
        if inner:
            fields = {"body": filters(inner), "content_type": FILTERS, **fields}
        answer = self.bob.subscribe(**fields)
        self.node.advance(0.5)
        return answer

    def take(self) -> list[Request]:
        """The NOTIFYs since the last call."""
        self.node.advance(1)
        taken = self.bob.peer.notifies()
        self.bob.peer.requests.clear()
        return taken

    def users(self) -> list[list[str]]:
        """Who is in each document."""
        return [
            sorted(part.partition("@")[0] for part in body.split(">sip:")[1:])
            for body in (notify.body.decode() for notify in self.take())
        ]

    def test_what(self) -> None:
        """All of those who are selected, whenever that changes (FLT-10, WIN-06)."""
        self.node.decide(alice="allow")
        self.watch("alice")
        self.watch("carol")
        self.assertEqual(self.subscribe(PENDING).status, 200)
        (notify,) = self.take()
        self.assertIn(b'state="full"', notify.body)
        self.assertIn(b'version="0"', notify.body)
        self.assertIn(b">sip:carol@", notify.body)
        self.assertNotIn(b"alice", notify.body)
        self.watch("dave")
        self.assertEqual(self.users(), [["carol", "dave"]])
        self.unwatch("alice")
        self.assertEqual(self.users(), [])
        self.node.decide(carol="allow", dave="allow")
        (notify,) = self.take()
        self.assertIn(f'<watcher-list resource="{BOB}" package="presence"/>'.encode(), notify.body)
        self.assertIn(b'state="full"', notify.body)

    def test_nobody(self) -> None:
        """First a NOTIFY without content, then none (FLT-12)."""
        self.subscribe(ACTIVE)
        (notify,) = self.take()
        self.assertEqual(notify.body, b"")
        self.watch("carol")
        self.assertEqual(self.take(), [])
        self.node.decide(carol="allow")
        self.assertEqual(self.users(), [["carol"]])

    def test_nobody_any_more(self) -> None:
        """Who was told of somebody learns that there is nobody, also when a NOTIFY has failed."""
        self.node.decide(alice="allow")
        self.watch("alice")
        self.subscribe(ACTIVE)
        self.assertEqual(self.users(), [["alice"]])
        self.bob.peer.answer = _busy
        self.unwatch("alice")
        self.take()
        self.bob.peer.answer = 200
        self.node.advance(3)
        (notify,) = self.take()
        self.assertIn(f'<watcher-list resource="{BOB}" package="presence"/>'.encode(), notify.body)

    def test_time(self) -> None:
        """That it is later now is nothing new."""
        self.watch("carol")
        self.subscribe(PENDING)
        self.take()
        self.node.advance(30)
        self.node.presence.notifier.changed("presence.winfo", BOB)
        self.assertEqual(self.take(), [])

    def test_trigger(self) -> None:
        """Everybody is told of when it fires (FLT-15, FLT-19)."""
        self.watch("carol")
        self.subscribe(APPROVED)
        self.assertEqual(self.users(), [["carol"]])
        self.watch("dave")
        self.assertEqual(self.users(), [])
        self.node.decide(carol="allow")
        self.assertEqual(self.users(), [["carol", "dave"]])

    def test_gone(self) -> None:
        """Who has gone is told of once, when it is selected (WFS-06)."""
        self.node.decide("allow")
        self.watch("carol")
        self.subscribe("<what><include>//wi:watcher</include></what>")
        self.take()
        self.unwatch("carol")
        (notify,) = self.take()
        self.assertIn(b'status="terminated"', notify.body)
        self.watch("dave")
        self.assertEqual(self.users(), [["dave"]])

    def test_gone_and_not_wanted(self) -> None:
        """Of who has gone unseen nothing is kept."""
        self.node.decide("allow")
        self.subscribe(PENDING)
        for number in range(5):
            self.watch(f"w{number}")
            self.unwatch(f"w{number}")
            self.take()
        (live,) = self.node.presence.notifier.subscriptions("presence.winfo", BOB)
        view: Any = live.data
        self.assertLessEqual(len(view.changed), 1)

    def test_changes_of_filters(self) -> None:
        """Replaced, suspended, removed (FLT-21)."""
        self.node.decide(alice="allow")
        self.watch("alice")
        self.watch("carol")
        self.subscribe(PENDING)
        self.subscribe(ACTIVE)
        self.subscribe(body=filters("", ' enabled="false"'), content_type=FILTERS)
        self.assertEqual(self.users(), [["carol"], ["alice"], ["alice", "carol"]])
        self.watch("dave")
        (partial,) = self.take()
        self.assertIn(b'state="partial"', partial.body)
        self.subscribe(body=filters("", ' remove="true"'), content_type=FILTERS)
        self.assertEqual(self.users(), [["alice", "carol", "dave"]])

    def test_refused(self) -> None:
        """488 and a Warning (FLT-26)."""
        for body in (b"<x", filters("<what/>").replace(b".winfo", b""), filters("")):
            answer = self.subscribe(body=body, content_type=FILTERS)
            self.assertEqual(answer.status, 488)
            self.assertIn("399", answer.headers["warning"][0])

    def test_restart(self) -> None:
        """They are durable (PSV-20)."""
        self.node.decide(alice="allow")
        self.watch("alice")
        self.watch("carol")
        self.subscribe(PENDING)
        self.take()
        self.node = self.node.restart()
        self.bob.node = self.bob.peer.node = self.phone.node = self.node
        self.assertEqual(self.take(), [])
        self.watch("dave")
        self.assertEqual(self.users(), [["carol", "dave"]])

    def test_condition(self) -> None:
        """A resumed subscription to what has not changed gets no body (SNE-05)."""
        self.watch("carol")
        self.subscribe(PENDING)
        (notify,) = self.take()
        tag = notify.headers["sip-etag"][0]
        self.subscribe(expires=0)
        self.take()
        self.bob.dialog = None
        self.subscribe(PENDING, suppress_if_match=tag)
        (notify,) = self.take()
        self.assertEqual((notify.body, notify.headers["sip-etag"]), (b"", [tag]))


def _busy(request: Request) -> Response:
    response = response_to(request, 503)
    response.headers["retry-after"] = ["1"]
    return response
