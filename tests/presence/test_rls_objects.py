"""MIME objects of members in lists (RFC 4662 section 5, CIN-04, CIN-07), in memory."""

from __future__ import annotations

from typing import Any

from presence.rls.listwatch import WatchedList
from tests.presence import test_rls_filters
from tests.presence.rulesources import ANN, BOB

EXTERNAL = "message/external-body"
PICTURE = b"a picture"


class ListObjectTests(test_rls_filters.ListFilterTests):
    """Joe watches a list of two, one of whom shows a picture; filters work as without."""

    def setUp(self) -> None:
        """As before, and a picture."""
        super().setUp()
        self.shows(PICTURE)

    def subscribe(self, *inner: str, **fields: Any) -> Any:
        """SUBSCRIBE of Joe, who takes objects."""
        accept = f"{test_rls_filters.ACCEPT}, {EXTERNAL}"
        return super().subscribe(*inner, **{"accept": accept, **fields})

    def shows(self, picture: bytes) -> None:
        """Bob publishes, with a picture, what he has published before."""
        document = (
            f'<presence xmlns="urn:ietf:params:xml:ns:pidf" entity="{BOB}"'
            ' xmlns:dm="urn:ietf:params:xml:ns:pidf:data-model"'
            ' xmlns:r="urn:ietf:params:xml:ns:pidf:rpid"><tuple id="t1">'
            "<status><basic>open</basic></status><note>b1</note></tuple>"
            '<dm:person id="p"><r:status-icon>cid:icon@x</r:status-icon></dm:person></presence>'
        ).encode()
        body = (
            b"--b\r\nContent-Type: application/pidf+xml\r\n\r\n" + document + b"\r\n--b\r\n"
            b"Content-Type: image/png\r\nContent-ID: <icon@x>\r\n\r\n" + picture + b"\r\n--b--\r\n"
        )
        kind = 'multipart/related;type="application/pidf+xml";boundary=b'
        answer = self.sources[BOB].publish(
            body, uri=BOB, content_type=kind, sip_if_match=self.etags[BOB]
        )
        self.assertEqual(answer.status, 200)
        self.etags[BOB] = answer.headers["sip-etag"][0]

    def objects(self) -> dict[str, list[bytes]]:
        """The objects of each member."""
        table = WatchedList()
        self.node.advance(3.0)
        for notify in self.peer.notifies():
            table.take(notify.headers["content-type"][0], notify.body)
        found: dict[str, list[bytes]] = {}
        for uri, member in table.members.items():
            cache = member.instance.cache if member.instance is not None else None
            known: list[Any] = list(cache.objects.values()) if cache is not None else []
            found[uri] = [each.body for each in known]
        return found

    def test_told(self) -> None:
        """The picture is inside the part of its member, and a new one follows (CIN-08)."""
        self.subscribe()
        self.assertEqual(self.objects(), {ANN: [], BOB: [PICTURE]})
        self.shows(b"another")
        self.assertEqual(self.objects(), {ANN: [], BOB: [b"another"]})

    def test_with_changes(self) -> None:
        """Also for who wants changes of documents."""
        accept = f"application/pidf-diff+xml, {test_rls_filters.ACCEPT}, {EXTERNAL}"
        self.subscribe(accept=accept)
        self.assertEqual(self.objects(), {ANN: [], BOB: [PICTURE]})
        self.shows(b"another")
        self.assertEqual(self.objects(), {ANN: [], BOB: [b"another"]})
        self.publish(BOB, "open", "b2")
        self.assertEqual(self.objects(), {ANN: [], BOB: []})

    def test_not_taken(self) -> None:
        """Who does not say that it takes objects gets documents alone (CIN-07)."""
        self.subscribe(accept=test_rls_filters.ACCEPT)
        self.node.advance(3.0)
        for notify in self.peer.notifies():
            self.assertNotIn(PICTURE, notify.body)
