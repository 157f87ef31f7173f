"""The ua-profile package on a real notifier, over a network in memory."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from pysip.mime import parse_multipart
from tests.xcap.notifying import ANN, INDEX, JOE, ROOT, DocumentNode, lists, subscriber
from xcap.changedoc import DocumentChange

A, B = f"tests/users/{JOE}/a", f"tests/users/{JOE}/b"
APPLICATION = ';profile-type="application"'
EXTERNAL = "message/external-body"


class ProfileTestCase(SynchronousTestCase):
    """A document server and a subscriber."""

    def setUp(self) -> None:
        """Start them."""
        self.start()

    def start(self, **settings: Any) -> None:
        """Start them with some settings."""
        self.node = DocumentNode(**settings)
        self.peer = subscriber(self.node)

    def subscribe(self, auid: str = "", name: str = "", status: int = 200, **fields: Any) -> Any:
        """SUBSCRIBE, wait for the NOTIFY and give the response."""
        response = self.peer.profile(auid, name, **fields)
        self.assertEqual(response.status, status)
        self.node.advance(0.5)
        return response

    def tags(self) -> list[tuple[str, str, str]]:
        """URI, former and new entity-tag in the last NOTIFY."""
        return self.peer.tags()[-1]

    def event(self) -> str:
        """Event of the last NOTIFY."""
        return self.peer.notifies()[-1].headers["event"][0]

    def count(self) -> int:
        """How many NOTIFYs there were."""
        return len(self.peer.notifies())


class SubscribeTests(ProfileTestCase):
    """What is subscribed to."""

    def test_forms(self) -> None:
        """All ways to name a document (UAP-01, UAP-03)."""
        tag = self.node.put(INDEX, lists())
        for auid, name in (
            ("", INDEX),
            ("resource-lists", f"users/{JOE}/index"),
            ("resource-lists", "users/sip%3Ajoe%40example.com/index"),
            ("resource-lists", "index"),
            ("resource-lists", ""),
            ("", ""),
        ):
            self.subscribe(auid, name)
            self.assertEqual(self.tags(), [(INDEX, "", tag)], (auid, name))

    def test_collection(self) -> None:
        """Without a name all of one's documents there; without AUID all there are (UAP-03)."""
        one, two = self.node.put(INDEX, lists()), self.node.put(A, b"<a/>")
        other = self.node.put(f"tests/users/{ANN}/a", b"<a/>")
        self.assertTrue(other)
        self.subscribe("tests")
        self.assertEqual(self.tags(), [(A, "", two)])
        self.subscribe()
        self.assertEqual(self.tags(), [(INDEX, "", one), (A, "", two)])
        self.subscribe("tests", "global/")
        self.assertEqual(self.tags(), [])

    def test_parameters(self) -> None:
        """The type as token or quoted string; others may lack (UAP-01, UAP-02)."""
        tag = self.node.put(A, b"<a/>")
        for event in (
            f'ua-profile;profile-type=application;document="{A}"',
            f'ua-profile;profile-type=APPLICATION;document="{A}";vendor="x\\"y"',
            f'ua-profile;effective-by=5{APPLICATION};document="{A}";other=z',
        ):
            self.subscribe(event=event)
            self.assertEqual(self.tags(), [(A, "", tag)])

    def test_refused(self) -> None:
        """No such type, usage, place or user; no permission (UAP-05)."""
        self.node.put(f"tests/users/{ANN}/a", b"<a/>")
        for auid, name, status in (
            ("unknown", "", 404),
            ("unknown", "index", 404),
            ("resource-lists", "sub/index", 404),
            ("resource-lists", "users/", 404),
            ("", "index", 404),
            ("", f"{INDEX}/~~/resource-lists", 404),
            ("tests", f"users/{ANN}/a", 403),
            ("tests", f"users/{ANN}/never", 403),
            ("tests", f"users/{ANN}/", 403),
            ("tests", "users/sip:unknown@example.com/a", 403),
            ("tests", "users/sip:unknown@example.com/", 403),
        ):
            self.subscribe(auid, name, status=status)
        for kind in ("device", "user", "local-network", "other"):
            event = f'ua-profile;profile-type={kind};vendor="v";model="m";version="1"'
            self.subscribe(event=event, status=404)
        self.subscribe(event="ua-profile", status=404)
        self.subscribe(to="sip:unknown@example.com", status=403)
        self.assertEqual((len(self.node.feed), len(self.node.notifier)), (0, 0))

    def test_body(self) -> None:
        """A body is ignored (UAP-07)."""
        tag = self.node.put(A, b"<a/>")
        self.subscribe("tests", "a", body=b"anything", content_type="text/plain")
        self.assertEqual(self.tags(), [(A, "", tag)])

    def test_lifetime(self) -> None:
        """A day by default; 0 is a fetch (UAP-08)."""
        tag = self.node.put(A, b"<a/>")
        self.assertEqual(self.subscribe("tests", "a").expires, 86400)
        self.subscribe("tests", "a", expires=0)
        self.assertEqual(self.tags(), [(A, "", tag)])
        state = self.peer.notifies()[-1].headers["subscription-state"][0]
        self.assertIn("terminated", state)

    def test_refresh(self) -> None:
        """A refresh repeats the parameters, or has others, or none and the former stay."""
        one, two = self.node.put(A, b"<a/>"), self.node.put(B, b"<b/>")
        response = self.subscribe("tests", "a")
        dialog = {"call_id": response.call_id, "to_tag": response.to.tag}
        self.subscribe("tests", "b", **dialog)
        self.assertEqual(self.tags(), [(B, "", two)])
        self.assertIn('document="b"', self.event())
        self.subscribe(event="ua-profile", **dialog)
        self.assertEqual(self.tags(), [(B, "", two)])
        new = self.node.put(B, b"<c/>")
        self.assertEqual(self.tags(), [(B, two, new)])
        self.assertTrue(one)


class NotifyTests(ProfileTestCase):
    """What NOTIFYs have."""

    def test_absent(self) -> None:
        """A document that does not exist is told of, too, when it appears (UAP-11)."""
        self.subscribe("tests", "a")
        self.assertEqual(self.peer.reports()[0].root, ROOT)
        self.assertEqual(self.tags(), [])
        tag = self.node.put(A, b"<a/>")
        self.assertEqual(self.tags(), [(A, "", tag)])
        self.node.delete(A)
        self.assertEqual(self.tags(), [(A, tag, "")])

    def test_event(self) -> None:
        """NOTIFYs repeat type, AUID and document, of several that of the changed one (UAP-09)."""
        self.subscribe("tests", f"users/{JOE}/a")
        event = f'ua-profile{APPLICATION};auid="tests";document="users/{JOE}/a"'
        self.assertEqual(self.event(), event)
        self.node.put(A, b"<a/>")
        self.assertEqual(self.event(), event)
        self.subscribe()
        self.assertEqual(
            self.event(), f'ua-profile{APPLICATION};auid="tests";document="users/{JOE}/a"'
        )
        self.node.put(INDEX, lists())
        index = f'ua-profile{APPLICATION};auid="resource-lists";document="users/{JOE}/index"'
        self.assertEqual(self.event(), index)
        self.subscribe()
        self.assertEqual(self.event(), f"ua-profile{APPLICATION}")

    def test_plain_event(self) -> None:
        """The parameters can be left out, as RFC 6080 wants it (UAP-09)."""
        self.start(profile_params=False)
        self.subscribe("tests", "a")
        self.assertEqual(self.event(), "ua-profile")

    def test_patches(self) -> None:
        """Tags only; patches when configured (UAP-09)."""
        old, new = (b"<a>%s<b c='%s'/></a>" % (b"<x/>" * 100, c) for c in (b"1", b"2"))
        for mode, patched in (("no-patching", False), ("aggregate", True)):
            self.start(profile_mode=mode)
            self.node.put(A, old)
            self.subscribe("tests", "a")
            self.node.put(A, new)
            (change,) = self.peer.told()[-1]
            self.assertIsInstance(change, DocumentChange)
            self.assertEqual(change.patch is not None, patched)

    def test_draft(self) -> None:
        """Some clients get the syntax of 2005 (UAP-10)."""
        self.start(draft_vendors=frozenset({"v"}), profile_mode="aggregate")
        tag = self.node.put(A, b"<a/>")
        self.subscribe("tests", "a")
        self.assertIn(b"doc-selector=", self.peer.notifies()[-1].body)
        self.assertEqual(self.tags(), [(A, "", tag)])
        event = f'ua-profile{APPLICATION};vendor="other";auid="tests";document="a"'
        self.subscribe(event=event)
        self.assertNotIn(b"doc-selector=", self.peer.notifies()[-1].body)

    def test_without_accept(self) -> None:
        """Without Accept a NOTIFY has no body; neither for an empty one (UAP-06)."""
        self.node.put(A, b"<a/>")
        self.subscribe("tests", "a", accept=None)
        self.node.put(A, b"<b/>")
        self.assertEqual([notify.body for notify in self.peer.notifies()], [b"", b""])
        self.assertNotIn("content-type", self.peer.notifies()[-1].headers)

    def test_accept(self) -> None:
        """Among others that of change documents; 406 when we have none of them (UAP-06)."""
        self.subscribe("tests", "a", accept=f"{EXTERNAL}, application/xcap-diff+xml")
        self.subscribe("tests", "a", accept="*/*")
        for notify in self.peer.notifies():
            self.assertEqual(notify.headers["content-type"], ["application/xcap-diff+xml"])
        self.subscribe("tests", "a", accept="application/x-device-profile", status=406)

    def test_indirect(self) -> None:
        """References to documents for who takes nothing else (UAP-06, RFC 4483)."""
        self.subscribe("tests", "a", accept=EXTERNAL)
        self.assertEqual(self.peer.notifies()[-1].body, b"")
        tag = self.node.put(A, b"<a/>")
        notify = self.peer.notifies()[-1]
        media = notify.content_type
        assert media is not None
        self.assertEqual(media.type, EXTERNAL)
        self.assertEqual(media.params["access-type"], "URL")
        self.assertEqual(media.params["url"], f"{ROOT}{A}")
        self.assertIn("GMT", media.params["expiration"] or "")
        self.assertIn(b"Content-Type: application/xml\r\n", notify.body)
        self.assertIn(b"Content-Disposition: ", notify.body)
        self.assertIn(tag.encode(), notify.body)
        self.assertTrue(notify.body.endswith(b"\r\n\r\n"))
        self.node.delete(A)
        self.assertEqual(self.peer.notifies()[-1].body, b"")

    def test_indirect_several(self) -> None:
        """Several references are parts of one body (RFC 4483 section 5.11)."""
        self.node.put(A, b"<a/>")
        self.node.put(B, b"<a/>")
        self.subscribe("tests", accept=EXTERNAL)
        notify = self.peer.notifies()[-1]
        parts = parse_multipart(notify.headers["content-type"][0], notify.body)
        urls = [part.content_type.params["url"] for part in parts]
        self.assertEqual(urls, [f"{ROOT}{A}", f"{ROOT}{B}"])

    def test_permission(self) -> None:
        """Permission that is lost looks like removal (UAP-13, XEVT-17)."""
        tag = self.node.put(A, b"<a/>")
        self.subscribe("tests", "a")
        self.node.samples.hidden.add("a")
        self.node.feed.recheck()
        self.node.advance(0.5)
        self.assertEqual(self.tags(), [(A, tag, "")])
        self.node.put(A, b"<b/>")
        self.assertEqual(self.count(), 2)

    def test_order(self) -> None:
        """One NOTIFY at a time; a time-out ends the subscription (UAP-13, XEVT-14)."""
        first = self.node.put(A, b"<a/>")
        self.subscribe("tests", "a")
        self.peer.answer = 0
        second = self.node.put(A, b"<b/>")
        third = self.node.put(A, b"<c/>")
        self.assertEqual(self.tags(), [(A, first, second)])
        self.peer.answer = 200
        self.node.advance(5)
        self.assertEqual(self.tags(), [(A, second, third)])
        self.peer.answer = 0
        self.node.put(A, b"<d/>")
        self.node.advance(40, step=0.5)
        self.assertEqual(len(self.node.notifier), 0)

    def test_restart(self) -> None:
        """Subscriptions of both packages go on after a restart (UAP-12, UAP-13)."""
        first = self.node.put(A, b"<a/>")
        self.subscribe("tests", "a")
        other = subscriber(self.node, "192.0.2.11")
        other.uris(A)
        self.node.advance(0.5)
        self.node = self.node.restart()
        self.node.advance(1)
        second = self.node.put(A, b"<b/>")
        self.assertEqual(self.tags(), [(A, first, second)])
        self.assertEqual(other.tags()[-1], [(A, first, second)])
        self.assertEqual((self.count(), len(other.notifies())), (2, 2))
        self.assertIn('document="a"', self.event())
