"""PUBLISH at a whole node: RFC 3903 section 6 (events.md section E)."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from pysip.message import Response
from tests.node import ALICE, BOB, Node, pidf


class PublishTests(SynchronousTestCase):
    """The four operations and every refusal."""

    def setUp(self) -> None:
        """A node and the presentity's phone."""
        self.node = Node()
        self.bob = self.node.peer()

    def etag(self, response: Response) -> str:
        """The entity-tag of a 200."""
        self.assertEqual(response.status, 200)
        tag = response.first("sip-etag")
        assert tag is not None
        return tag

    def kept(self) -> list[Any]:
        """Live publications of Bob."""
        return self.node.presence.compositor.publications("presence", BOB)

    def test_initial(self) -> None:
        """200 with Expires, SIP-ETag and Allow once it is stored (PSV-01, PUB-01, UAS-02)."""
        response = self.bob.publish(pidf(), expires=1800)
        self.etag(response)
        self.assertEqual(response.first("expires"), "1800")
        self.assertIn("PUBLISH", response.first("allow") or "")
        self.assertEqual([r.body for r in self.kept()], [pidf()])

    def test_answer_waits_for_the_store(self) -> None:
        """No 200 leaves before the commit (PUB-09)."""
        self.bob.send(self.bob.request("PUBLISH", sender=BOB, body=pidf()))
        self.node.store.fail_next()
        self.node.advance(0.5)
        self.assertEqual([r.status for r in self.bob.responses], [500])
        self.assertEqual(self.kept(), [])

    def test_failed_modify_is_undone(self) -> None:
        """After a failed commit the old entity-tag and body are still there (UAS-09)."""
        tag = self.etag(self.bob.publish(pidf()))
        self.node.store.fail_next()
        response = self.bob.publish(pidf(basic="closed"), sip_if_match=tag)
        self.assertEqual(response.status, 500)
        self.assertEqual([(r.etag, r.body) for r in self.kept()], [(tag, pidf())])
        self.node.advance(3)
        self.etag(self.bob.publish(sip_if_match=tag))

    def test_chained_failures_are_undone_in_reverse(self) -> None:
        """Two changes of one failed batch leave the state before both (UAS-09)."""
        tag = self.etag(self.bob.publish(pidf()))
        self.node.store.fail_next()
        self.bob.send(self.bob.request("PUBLISH", sender=BOB, sip_if_match=tag))
        self.bob.send(self.bob.request("PUBLISH", sender=BOB, body=pidf(note="second")))
        self.node.advance(0.5)
        self.assertEqual([r.status for r in self.bob.responses[1:]], [500, 500])
        self.assertEqual([r.etag for r in self.kept()], [tag])

    def test_refused_while_the_store_fails(self) -> None:
        """During an outage new requests get 503 with Retry-After (OVL-01)."""
        self.node.store.fail_next(3)
        self.bob.publish(pidf())
        response = self.bob.publish(pidf())
        self.assertEqual(response.status, 503)
        self.assertIsNotNone(response.first("retry-after"))

    def test_refresh(self) -> None:
        """A refresh moves the expiry and changes the tag, not the body (PUB-02, PUB-15)."""
        tag = self.etag(self.bob.publish(pidf(), expires=100))
        self.node.advance(50)
        new = self.etag(self.bob.publish(sip_if_match=tag, expires=100))
        self.assertNotEqual(tag, new)
        self.node.advance(60)
        self.assertEqual([r.body for r in self.kept()], [pidf()])
        self.node.advance(45)
        self.assertEqual(self.kept(), [])

    def test_modify_replaces_all(self) -> None:
        """A modify replaces the document; the old tag is dead (PUB-03, PUB-23)."""
        tag = self.etag(self.bob.publish(pidf()))
        self.etag(self.bob.publish(pidf(basic="closed"), sip_if_match=tag))
        self.assertEqual([r.body for r in self.kept()], [pidf(basic="closed")])
        self.assertEqual(self.bob.publish(sip_if_match=tag).status, 412)

    def test_remove(self) -> None:
        """Expires 0 removes the publication at once (PUB-05)."""
        tag = self.etag(self.bob.publish(pidf()))
        response = self.bob.publish(sip_if_match=tag, expires=0)
        self.assertEqual((response.status, response.first("expires")), (200, "0"))
        self.assertEqual(self.kept(), [])
        self.assertEqual(self.bob.publish(sip_if_match=tag).status, 412)

    def test_remove_ignores_a_body(self) -> None:
        """A body with Expires 0 is ignored (PUB-06)."""
        tag = self.etag(self.bob.publish(pidf()))
        self.assertEqual(self.bob.publish(b"rubbish", sip_if_match=tag, expires=0).status, 200)
        self.assertEqual(self.kept(), [])

    def test_initial_with_expires_zero_stores_nothing(self) -> None:
        """Expires 0 without SIP-If-Match: 200, nothing kept (PUB-05)."""
        response = self.bob.publish(pidf(), expires=0)
        self.assertEqual((response.status, response.first("expires")), (200, "0"))
        self.assertEqual(self.kept(), [])

    def test_expiry(self) -> None:
        """At the end of its life a publication is gone (PUB-10)."""
        self.etag(self.bob.publish(pidf(), expires=60))
        self.node.advance(61)
        self.assertEqual(self.kept(), [])
        self.assertEqual(self.node.presence.compositor.count, 0)

    def test_default_and_greatest_expiry(self) -> None:
        """No Expires is 3600 s, more than a day is cut, rubbish is 3600 (PUB-04, MSG-20)."""
        for asked, granted in ((None, "3600"), (100000, "86400"), ("99999999999", "3600")):
            response = self.bob.publish(pidf(), expires=asked)
            self.assertEqual(response.first("expires"), granted, asked)

    def test_too_brief(self) -> None:
        """423 with Min-Expires (PUB-01 step 4)."""
        response = self.bob.publish(pidf(), expires=10)
        self.assertEqual((response.status, response.first("min-expires")), (423, "60"))

    def test_unknown_tag(self) -> None:
        """412 for a tag that never was (PUB-01 step 3)."""
        self.assertEqual(self.bob.publish(pidf(), sip_if_match="nonesuch").status, 412)

    def test_bad_tags(self) -> None:
        """400 for several tags, quotes or nothing (PUB-01 step 3, MSG-17)."""
        for value in ("a, b", '"a"', "", "a b"):
            self.assertEqual(self.bob.publish(pidf(), sip_if_match=value).status, 400, value)

    def test_one_of_ten_modifies_wins(self) -> None:
        """Ten at once with one tag: one 200, nine 412 (PUB-13, WISHES 11)."""
        tag = self.etag(self.bob.publish(pidf()))
        for i in range(10):
            self.bob.send(
                self.bob.request("PUBLISH", sender=BOB, body=pidf(note=str(i)), sip_if_match=tag)
            )
        self.node.advance(0.5)
        statuses = sorted(r.status for r in self.bob.responses[1:])
        self.assertEqual(statuses, [200] + [412] * 9)
        self.assertEqual(self.kept()[0].body, pidf(note="0"))  # in order of arrival (PUB-21)

    def test_event(self) -> None:
        """489 with Allow-Events without or with a foreign Event, case counts (SUB-01, EVT-05)."""
        for event in (None, "dialog", "Presence"):
            response = self.bob.publish(pidf(), event=event)
            self.assertEqual((response.status, response.first("allow-events")), (489, "presence"))

    def test_unknown_resource(self) -> None:
        """404 for another domain or no user; 416 for another scheme (PUB-01 step 1, UAS-12)."""
        for uri, status in (
            ("sip:bob@elsewhere.example", 404),
            ("sip:example.com", 404),
            ("tel:+15550100", 404),
            ("http://example.com/bob", 416),
        ):
            response = self.bob.publish(pidf(), uri=uri, sender=BOB)
            self.assertEqual(response.status, status, uri)

    def test_somebody_else(self) -> None:
        """403 for a publisher that is not the presentity (PSV-17)."""
        self.assertEqual(self.bob.publish(pidf(), sender=ALICE).status, 403)

    def test_network_source(self) -> None:
        """A configured network source publishes for everybody (PUB-20)."""
        self.node.presence.package.publishers = frozenset({"sip:gateway@example.com"})
        self.etag(self.bob.publish(pidf(), sender="sip:gateway@example.com"))

    def test_media_types(self) -> None:
        """415 with Accept for another type or none; 400 without body and tag (PUB-07, UAS-05)."""
        for content_type in ("text/plain", None):
            response = self.bob.publish(pidf(), content_type=content_type)
            self.assertEqual(response.status, 415)
            accept = (response.first("accept") or "").split(", ")
            self.assertEqual(accept[0], "application/pidf+xml")
            self.assertEqual(accept[-2:], ["multipart/related", "message/external-body"])
        self.assertEqual(self.bob.publish().status, 400)

    def test_content_encoding(self) -> None:
        """Gzip is understood, an unknown encoding is 415 with Accept-Encoding (MSG-26)."""
        import gzip

        packed = gzip.compress(pidf())
        self.etag(self.bob.publish(packed, content_encoding="gzip"))
        self.assertEqual(self.kept()[0].body, pidf())
        response = self.bob.publish(packed, content_encoding="br")
        self.assertEqual(response.status, 415)
        self.assertIn("gzip", response.first("accept-encoding") or "")

    def test_bad_documents(self) -> None:
        """400 with a Warning naming the line; nothing stored, the tag lives (PUB-07, PUB-08)."""
        tag = self.etag(self.bob.publish(pidf()))
        for body in (b"<presence", pidf("sip:carol@example.com"), b"<x/>", b"\xff\xfe\x00"):
            response = self.bob.publish(body, sip_if_match=tag)
            self.assertEqual(response.status, 400, body)
            self.assertIn("399", response.first("warning") or "")
        self.assertEqual([r.etag for r in self.kept()], [tag])

    def test_large_document(self) -> None:
        """413 above the limit (PID-10)."""
        self.node.presence.package.document_limit = 1000
        self.assertEqual(self.bob.publish(pidf(note="x" * 1000)).status, 413)

    def test_total_size(self) -> None:
        """413 for what all publications of a user together may not be; the rest stays (LIM-01)."""
        self.node = Node(publications={"total_size": 3000})
        self.bob = self.node.peer()
        tag = self.etag(self.bob.publish(pidf(note="x" * 1200)))
        self.etag(self.bob.publish(pidf(note="y" * 1000)))
        refused = self.bob.publish(pidf(note="z" * 1000))
        self.assertEqual(refused.status, 413)
        self.assertIn("all publications", refused.first("warning") or "")
        self.assertEqual(len(self.kept()), 2)
        # its own place counts as free
        tag = self.etag(self.bob.publish(pidf(note="x" * 1300), sip_if_match=tag))
        self.assertEqual(self.bob.publish(pidf(note="x" * 2000), sip_if_match=tag).status, 413)
        self.assertEqual(self.bob.publish(sip_if_match=tag, expires=0).status, 200)

    def test_entity_by_alias(self) -> None:
        """The entity may name the presentity by an alias of its domain (CLI-13, PUB-07)."""
        self.etag(self.bob.publish(pidf("sip:bob@192.0.2.1"), uri="sip:bob@192.0.2.1", sender=BOB))
        self.assertEqual(len(self.kept()), 1)

    def test_publication_limit(self) -> None:
        """403 for the 33rd publication; modifying goes on (LIM-01)."""
        tags = [self.etag(self.bob.publish(pidf(note=str(i)))) for i in range(32)]
        response = self.bob.publish(pidf())
        self.assertEqual(response.status, 403)
        self.etag(self.bob.publish(pidf(note="new"), sip_if_match=tags[0]))

    def test_rate_guard(self) -> None:
        """503 with Retry-After after a burst of ten; a second later it goes on (PUB-16)."""
        node = Node(publications={"rate": 1.0, "burst": 10})
        bob = node.peer()
        tag = None
        for _ in range(10):
            response = bob.ask(
                bob.request("PUBLISH", sender=BOB, body=pidf(), sip_if_match=tag), 0.01
            )
            tag = response.first("sip-etag")
        response = bob.publish(pidf(), sip_if_match=tag)
        self.assertEqual((response.status, response.first("retry-after")), (503, "1"))
        node.advance(1.0)
        self.assertEqual(bob.publish(pidf(), sip_if_match=tag).status, 200)

    def test_to_tag_is_ignored(self) -> None:
        """A PUBLISH with a To tag is processed like any other (DLG-09, CLI-12, PUB-12)."""
        response = self.bob.publish(pidf(), to_tag="old")
        self.etag(response)
        self.assertEqual(response.to.tag, "old")
        self.assertNotIn("record-route", response.headers)

    def test_retransmission(self) -> None:
        """The same request twice is one publication and one answer twice (SUB-19, TXN-07)."""
        request = self.bob.request("PUBLISH", sender=BOB, body=pidf())
        first = self.bob.ask(request)
        again = self.bob.ask(request)
        self.assertEqual(first.encode(), again.encode())
        self.assertEqual(len(self.kept()), 1)

    def test_lost_answer(self) -> None:
        """A client that publishes anew makes a second publication; the view shows one (PUB-17)."""
        self.bob.publish(pidf())
        self.bob.publish(pidf())
        self.assertEqual(len(self.kept()), 2)
        watcher = self.node.peer("192.0.2.20")
        watcher.subscribe()
        self.assertEqual(watcher.notifies()[-1].body.count(b"<tuple"), 1)

    def test_recovery(self) -> None:
        """After the end of the process every publication is back with its tag (PSV-20)."""
        tag = self.etag(self.bob.publish(pidf(), expires=100))
        node = self.node.restart()
        bob = node.peer("192.0.2.11")
        self.etag(bob.publish(sip_if_match=tag, expires=100))
        self.etag(bob.publish(pidf(note="new id")))
        self.assertEqual(
            len({r.id for r in node.presence.compositor.publications("presence", BOB)}), 2
        )

    def test_expired_while_down(self) -> None:
        """What expired while the node was down is not taken back (PUB-10)."""
        self.bob.publish(pidf(), expires=60)
        self.node.wheel.stop()
        self.node.clock.advance(120)
        self.assertEqual(self.node.restart().presence.compositor.count, 0)
