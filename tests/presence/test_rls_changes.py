"""Changes of members in lists (RFC 5263 with RFC 4662, RAT-06), against a server in memory."""

from __future__ import annotations

import re
from typing import Any

from presence.partial.documents import Diff, Full, read
from presence.rls.listwatch import WatchedList
from pysip.message import Request, Response, response_to
from pysip.mime import parse_multipart
from tests.presence import test_rls_filters
from tests.presence.rulesources import ANN, BOB

DIFF = "application/pidf-diff+xml"
ACCEPT = f"{DIFF}, application/pidf+xml, application/rlmi+xml, multipart/related"


class ListChangeTests(test_rls_filters.ListFilterTests):
    """Joe watches a list of two, and wants to hear changes; all that filters do, they do here."""

    def setUp(self) -> None:
        """As before, with a table that keeps what is told."""
        super().setUp()
        self.table = WatchedList()
        self.call_id = ""
        self.publish(ANN, "open", "a1")
        self.publish(BOB, "open", "b1")

    def subscribe(self, *inner: str, **fields: Any) -> Response:
        """SUBSCRIBE of Joe, who takes changes."""
        return super().subscribe(*inner, **{"accept": ACCEPT, **fields})

    def publish(self, uri: str, basic: str, note: str) -> None:
        """Publish something that is large enough for changes to be smaller."""
        super().publish(uri, basic, note + "</note><note>" + 100 * "-")

    def told(self) -> dict[str, str]:
        """What the table has of those who were told of since the last call."""
        self.node.advance(3.0)
        found: dict[str, str] = {}
        for notify in self.peer.notifies():
            if notify.call_id != self.call_id:  # of another subscription than before
                self.call_id, self.table = notify.call_id, WatchedList()
            parts = self.parts(notify)
            self.table.take(notify.headers["content-type"][0], notify.body)
            for uri, member in self.table.members.items():
                document = member.instance and member.instance.document
                if document and any(uri in told for told in parts):
                    texts = document.decode().replace("<note>" + 100 * "-" + "</note>", "")
                    found[uri] = " ".join(_texts(texts))
        self.peer.requests.clear()
        return found

    def parts(self, notify: Request) -> list[str]:
        """Who is told of in a NOTIFY."""
        rlmi, *_ = parse_multipart(notify.headers["content-type"][0], notify.body)
        return [piece for piece in rlmi.body.decode().split("<resource ")[1:] if "cid=" in piece]

    def documents(self) -> list[list[tuple[type, int | None]]]:
        """Kind and version of the documents in each NOTIFY since the last call."""
        self.node.advance(3.0)
        found = []
        for notify in self.peer.notifies():
            _, *parts = parse_multipart(notify.headers["content-type"][0], notify.body)
            kinds = {part.headers["content-type"][0] for part in parts}
            self.assertLessEqual(kinds, {DIFF})
            read_parts = [read(part.body) for part in parts]
            found.append([(type(part), part.version) for part in read_parts])
        self.peer.requests.clear()
        return found

    def test_versions(self) -> None:
        """Each member counts for itself: whole first, then changes (PNO-04, PNO-09)."""
        self.subscribe()
        first, *others = self.documents()
        told = sorted([*first, *(part for each in others for part in each)], key=str)
        self.assertEqual(told, [(Full, 1), (Full, 1)])
        self.publish(ANN, "closed", "a1")
        self.assertEqual(self.documents(), [[(Diff, 2)]])
        self.publish(BOB, "closed", "b1")
        self.publish(ANN, "open", "a1")
        (both,) = self.documents()
        self.assertEqual(sorted(both, key=str), [(Diff, 2), (Diff, 3)])

    def test_refresh(self) -> None:
        """After it all is told whole, and versions go on (PNO-04, PNO-05)."""
        self.subscribe()
        self.documents()
        self.publish(ANN, "closed", "a1")
        self.documents()
        self.again()
        (told,) = self.documents()
        self.assertEqual(sorted(told, key=str), [(Full, 2), (Full, 3)])
        self.publish(ANN, "open", "a1")
        self.assertEqual(self.documents(), [[(Diff, 4)]])

    def test_failed(self) -> None:
        """What has failed uses up no number, and is told whole (PNO-04, PNO-09)."""
        self.subscribe()
        self.documents()
        self.peer.answer = _busy
        self.publish(ANN, "closed", "a1")
        self.assertEqual(self.documents()[0], [(Diff, 2)])
        self.peer.answer = 200
        self.node.advance(3.0)
        self.peer.requests.clear()
        self.publish(ANN, "open", "a1")
        (told,) = self.documents()
        self.assertEqual(told[0][0], Diff)

    def test_larger(self) -> None:
        """Whole where changes would be no smaller (PNO-07)."""
        self.subscribe()
        self.documents()
        super().publish(ANN, "open", "short")
        ((told,),) = self.documents()
        self.assertEqual(told, (Full, 2))

    def test_not_wanted(self) -> None:
        """Who likes whole documents better gets these (PNO-03)."""
        self.subscribe(accept=ACCEPT.replace(DIFF, f"{DIFF};q=0.5"))
        self.node.advance(3.0)
        for notify in self.peer.notifies():
            self.assertNotIn(DIFF.encode(), notify.body)

    def test_restarted(self) -> None:
        """After a restart versions go on above all that may have been used (PNO-04)."""
        self.subscribe()
        self.documents()
        self.node = self.node.restart()
        for peer in (self.peer, *self.sources.values()):
            peer.node = self.node
        self.node.presence.resume()
        self.documents()
        self.publish(ANN, "closed", "a1")
        (told,) = self.documents()
        self.assertTrue(all(kind is Full and (version or 0) > 900 for kind, version in told))
        self.publish(ANN, "open", "a1")
        ((again,),) = self.documents()
        self.assertEqual(again[0], Diff)

    def test_shared(self) -> None:
        """A difference is made once for all lists."""
        for number in range(5):
            self.subscribe(call_id=f"c{number}")
        self.publish(ANN, "closed", "a1")
        self.node.advance(3.0)
        packages = self.node.presence.notifier._packages
        info = packages["presence.list"]._changes.cache_info()
        self.assertEqual((info.misses, info.hits), (1, 4))


def _texts(document: str) -> list[str]:
    return re.findall(r"<(?:basic|note)>([^<]*)<", document)


def _busy(request: Request) -> Response:
    response = response_to(request, 503)
    response.headers["retry-after"] = ["1"]
    return response
