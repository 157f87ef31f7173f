"""Following documents: what a subscriber does with reports of changes."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from pysip.event.subscriber import NotifyRouter
from pysip.message import Request, Response
from tests.pysip.scripted import Pair, accept
from xcap.agent import HttpAgent, NoAnswer
from xcap.cache import CachedDocument
from xcap.changedoc import (
    MIME_TYPE,
    NAMESPACE,
    AttributeState,
    DocumentChange,
    ElementState,
    Item,
    write,
)
from xcap.client import XcapClient
from xcap.diff import diff
from xcap.follow import DocumentFollower
from xcap.followterms import FollowTerms, State, uri_list
from xcap.records import HttpResponse
from xcap.selection import parse_list

ROOT = "https://xcap.example.com/"
INDEX = "tests/users/sip:alice@example.com/index"
OTHER = "tests/users/sip:alice@example.com/other"
FILLING = b"<filling>" + b"x" * 500 + b"</filling>"


def document(number: int) -> bytes:
    """A version of a document."""
    return b"<doc>" + FILLING + b"<n>%d</n></doc>" % number


def change(before: int, after: int, sel: str = INDEX) -> DocumentChange:
    """The report of a change with its patch."""
    patch = diff(document(before), document(after), {}, NAMESPACE)
    assert patch is not None
    return DocumentChange(sel, str(before), str(after), patch)


class Server:
    """Documents at a server, and what it is asked.

    :ivar documents: version by URI.
    :ivar asked: URI and tag of each GET.
    :ivar wait: GETs wait for :meth:`release`.
    :ivar failure: instead of answers.
    """

    def __init__(self) -> None:
        self.documents: dict[str, int] = {}
        self.asked: list[tuple[str, str]] = []
        self.wait = False
        self.failure: Exception | HttpResponse | None = None
        self._waiting: list[tuple[Deferred[HttpResponse], HttpResponse]] = []

    async def request(
        self, method: str, uri: str, headers: tuple[tuple[str, str], ...] = (), body: bytes = b""
    ) -> HttpResponse:
        """Answer a GET."""
        sel = uri.removeprefix(ROOT)
        tag = dict(headers).get("if-none-match", "").strip('"')
        self.asked.append((sel, tag))
        if isinstance(self.failure, Exception):
            raise self.failure
        if self.failure is not None:
            return self.failure
        number = self.documents.get(sel)
        if number is None:
            response = HttpResponse(404)
        elif str(number) == tag:
            response = HttpResponse(304)
        else:
            response = HttpResponse(200, (("ETag", f'"{number}"'),), document(number))
        if not self.wait:
            return response
        waiting: Deferred[HttpResponse] = Deferred()
        self._waiting.append((waiting, response))
        return await waiting

    def release(self) -> None:
        """Let the answers go that were made when the requests came."""
        waiting, self._waiting = self._waiting, []
        for deferred, response in waiting:
            deferred.callback(response)


class Listener:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.documents: list[tuple[str, bytes | None]] = []
        self.states: list[State] = []
        self.remarks: list[str] = []
        self.failures: list[tuple[int | None, float | None]] = []
        self.ends: list[tuple[str, float | None]] = []

    def document(self, sel: str, document: CachedDocument | None) -> None:
        """A document."""
        self.documents.append((sel, None if document is None else document.octets))

    def component(self, state: State) -> None:
        """A component."""
        self.states.append(state)

    def remark(self, text: str) -> None:
        """A remark."""
        self.remarks.append(text)

    def failed(self, response: Response | None, retry_after: float | None) -> None:
        """A failure."""
        self.failures.append((response.status if response else None, retry_after))

    def ended(self, reason: str, retry_after: float | None) -> None:
        """An end."""
        self.ends.append((reason, retry_after))


class FollowTestCase(SynchronousTestCase):
    """Base with a follower, a scripted notifier and a server of documents."""

    uris: tuple[str, ...] = (INDEX,)

    def setUp(self) -> None:
        """Follow, with one document there."""
        self.pair = Pair()
        self.pair.script("SUBSCRIBE", accept)
        self.server = Server()
        self.server.documents[INDEX] = 1
        self.listener = Listener()
        self.client = XcapClient(cast(HttpAgent, self.server), ROOT)
        self.router = NotifyRouter(self.pair.client)
        self.follower = DocumentFollower(
            self.router,
            self.client,
            FollowTerms(
                uris=self.uris,
                uri="sip:alice@example.com",
                local_uri="<sip:alice@example.com>",
                contact=lambda: self.pair.contact,
            ),
            self.listener,
        )
        self.follower.start()
        self.pair.run()

    @property
    def last(self) -> Request:
        """The newest SUBSCRIBE."""
        return self.pair.received[-1]

    def notify(self, *items: Item, body: bytes | None = None, state: str = "active") -> None:
        """Send a report."""
        octets = write(ROOT, items) if body is None else body
        answers = self.pair.notify(
            self.last, f"{state};expires=3600", body=octets, content_type=MIME_TYPE
        )
        self.pair.run()
        self.assertEqual([answer.status for answer in answers], [200])

    def begin(self) -> None:
        """The first report, and what follows from it."""
        self.notify(DocumentChange(INDEX, after="1"))
        self.assertEqual(self.told(), [(INDEX, document(1))])
        self.server.asked.clear()

    def told(self) -> list[tuple[str, bytes | None]]:
        """What the listener was told of documents, forgotten then."""
        told, self.listener.documents = self.listener.documents, []
        return told


class SubscribeTests(FollowTestCase):
    """The subscription."""

    uris = (INDEX, "tests/users/sip:alice@example.com/", f"{OTHER}/~~/doc/n")

    def test_subscribe(self) -> None:
        """XEVT-21: the SUBSCRIBE asks for patches of a flat list of URIs."""
        self.assertEqual(self.last.uri, "sip:alice@example.com")
        self.assertEqual(self.last.first("event"), "xcap-diff;diff-processing=xcap-patching")
        self.assertEqual(self.last.first("accept"), MIME_TYPE)
        self.assertEqual(self.last.first("content-type"), "application/resource-lists+xml")
        self.assertEqual(tuple(parse_list(self.last.body)), self.uris)

    def test_everything(self) -> None:
        """XEVT-03: without URIs there is no body."""
        self.assertEqual(parse_list(uri_list(())), [])
        follower = DocumentFollower(
            self.router,
            self.client,
            FollowTerms(
                uris=(),
                uri="sip:a@example.com",
                local_uri="<sip:a@example.com>",
                contact=lambda: self.pair.contact,
            ),
            self.listener,
        )
        follower.start()
        self.pair.run()
        self.assertEqual((self.last.body, self.last.first("content-type")), (b"", None))


class DocumentTests(FollowTestCase):
    """XDIFF-09: copies of documents."""

    def test_first(self) -> None:
        """A document that exists is fetched."""
        self.begin()
        self.assertEqual(self.follower.documents[INDEX].etag, "1")

    def test_patch(self) -> None:
        """XDIFF-09: a change of the version that we have is applied without fetching."""
        self.begin()
        self.notify(change(1, 2), change(2, 3))
        self.notify(change(3, 4))
        self.assertEqual([octets for _, octets in self.told()], [document(n) for n in (2, 3, 4)])
        self.assertEqual(self.server.asked, [])
        self.assertEqual(self.follower.documents[INDEX].etag, "4")

    def test_known_afterwards(self) -> None:
        """The client knows what was patched: a fetch asks with the new tag."""
        self.begin()
        self.server.documents[INDEX] = 2
        self.notify(change(1, 2))
        self.successResultOf(Deferred.fromCoroutine(self.client.fetch(INDEX)))
        self.assertEqual(self.server.asked, [(INDEX, "2")])

    def test_without_patch(self) -> None:
        """XDIFF-03: a change without patch is fetched."""
        self.begin()
        self.server.documents[INDEX] = 2
        self.notify(DocumentChange(INDEX, "1", "2"))
        self.assertEqual(self.told(), [(INDEX, document(2))])

    def test_body_not_changed(self) -> None:
        """XDIFF-03: only the tag has changed."""
        self.begin()
        self.notify(DocumentChange(INDEX, "1", "2", body_not_changed=True))
        self.assertEqual((self.told(), self.server.asked), ([], []))
        self.notify(change_from("2", 1, 3))
        self.assertEqual(self.told(), [(INDEX, document(3))])

    def test_removed_and_created(self) -> None:
        """XDIFF-03: a document goes, and comes back."""
        self.begin()
        self.server.documents[INDEX] = 5
        self.notify(DocumentChange(INDEX, "1"), DocumentChange(INDEX, after="5"))
        self.assertEqual(self.told(), [(INDEX, None), (INDEX, document(5))])
        del self.server.documents[INDEX]
        self.notify(DocumentChange(INDEX, "5"))
        self.assertEqual(self.told(), [(INDEX, None)])
        self.assertEqual(self.follower.documents, {})

    def test_duplicates(self) -> None:
        """XDIFF-09: what is told twice counts once."""
        self.begin()
        self.notify(change(1, 2))
        self.notify(change(1, 2))
        self.notify(change(2, 3))
        self.assertEqual([octets for _, octets in self.told()], [document(2), document(3)])
        self.notify(DocumentChange(INDEX, "3"))
        self.notify(DocumentChange(INDEX, "3"))
        self.assertEqual(self.told(), [(INDEX, None)])
        self.assertEqual(self.listener.remarks, [])

    def test_inconsistent(self) -> None:
        """XDIFF-09: a change of another version than reported ends the session; all is fetched."""
        self.begin()
        self.server.documents[INDEX] = 7
        first = self.last
        self.notify(change(5, 6))
        self.pair.run(0.5)
        self.assertEqual(self.told(), [])
        self.assertNotEqual(self.last.call_id, first.call_id)
        unsubscribed = [r for r in self.pair.received if r.call_id == first.call_id][-1]
        self.assertEqual(unsubscribed.first("expires"), "0")
        self.notify(DocumentChange(INDEX, after="7"))
        self.assertEqual(self.told(), [(INDEX, document(7))])
        self.assertEqual(len(self.listener.remarks), 1)

    def test_unreadable(self) -> None:
        """XDIFF-09: a report that cannot be read ends the session, at growing intervals."""
        self.begin()
        for number in range(3):
            before = self.last.call_id
            self.notify(body=b"<nonsense/>")
            self.pair.run(0.5)
            self.assertEqual(self.last.call_id != before, number == 0)
            self.pair.run(30.0)
            self.assertNotEqual(self.last.call_id, before)

    def test_contradiction(self) -> None:
        """XDIFF-03: a document without any tag makes no sense."""
        self.begin()
        octets = f'<xcap-diff xmlns="{NAMESPACE}" xcap-root="{ROOT}"><document sel="{INDEX}"/>'
        self.notify(body=f"{octets}</xcap-diff>".encode())
        self.assertIn("subscribing anew", self.listener.remarks[0])

    def test_patch_that_does_not_fit(self) -> None:
        """XEVT-21: answered 200 all the same; then no patches are asked for, and it is fetched."""
        self.begin()
        self.server.documents[INDEX] = 2
        wrong = b'<remove xmlns="%s" sel="nothing"/>' % NAMESPACE.encode()
        self.notify(DocumentChange(INDEX, "1", "2", wrong))
        self.assertEqual(self.last.first("event"), "xcap-diff;diff-processing=no-patching")
        self.assertEqual(self.last.call_id, self.pair.received[0].call_id)
        self.assertEqual(self.told(), [(INDEX, document(2))])
        self.notify(DocumentChange(INDEX, after="2"))
        self.assertEqual(self.told(), [])
        self.assertIn("unlocated-node", self.listener.remarks[0])

    def test_empty_body(self) -> None:
        """A NOTIFY without a body tells nothing."""
        self.begin()
        self.pair.notify(self.last, "pending")
        self.pair.run()
        self.assertEqual(self.told(), [])


def change_from(tag: str, before: int, after: int) -> DocumentChange:
    """A change whose old version has got another tag."""
    return DocumentChange(INDEX, tag, str(after), change(before, after).patch)


class RaceTests(FollowTestCase):
    """Changes while documents are fetched."""

    def test_fetched_is_newer(self) -> None:
        """What was fetched may be newer than reported; the reports catch up."""
        self.server.documents[INDEX] = 3
        self.notify(DocumentChange(INDEX, after="1"))
        self.assertEqual(self.told(), [(INDEX, document(3))])
        self.notify(change(1, 2))
        self.notify(change(2, 3))
        self.assertEqual(self.told(), [])
        self.notify(change(3, 4))
        self.assertEqual(self.told(), [(INDEX, document(4))])
        self.assertEqual(self.listener.remarks, [])

    def test_changed_while_fetching(self) -> None:
        """A change that is reported while its old version is on the way is fetched after it."""
        self.server.wait = True
        self.notify(DocumentChange(INDEX, after="1"))
        self.server.documents[INDEX] = 2
        self.notify(change(1, 2))
        self.server.release()
        self.assertEqual(self.told(), [(INDEX, document(1))])
        self.server.release()
        self.assertEqual(self.told(), [(INDEX, document(2))])
        self.server.release()
        self.assertEqual([tag for _, tag in self.server.asked], ["", "1"])

    def test_removed_while_fetching(self) -> None:
        """A document that is removed while it is on the way is gone."""
        self.server.wait = True
        self.notify(DocumentChange(INDEX, after="1"))
        del self.server.documents[INDEX]
        self.notify(DocumentChange(INDEX, "1"))
        self.server.release()
        self.server.release()
        self.assertEqual(self.told(), [])
        self.assertEqual(self.follower.documents, {})

    def test_no_answer(self) -> None:
        """A server that does not answer is asked again later."""
        for failure in (NoAnswer("late", "x", "no answer"), HttpResponse(503)):
            self.server.failure = failure
            self.notify(DocumentChange(INDEX, after="1"))
            self.pair.run(3.0)
            self.server.failure = None
            self.pair.run(5.0)
            self.assertEqual(self.told(), [(INDEX, document(1))])
            self.notify(DocumentChange(INDEX, "1"))
            self.told()
        self.assertEqual(len(self.listener.remarks), 2)

    def test_refused(self) -> None:
        """A refusal is not argued about."""
        self.server.failure = HttpResponse(403)
        self.notify(DocumentChange(INDEX, after="1"))
        self.pair.run(60.0)
        self.assertEqual(len(self.server.asked), 1)
        self.assertEqual(len(self.listener.remarks), 1)

    def test_stop(self) -> None:
        """In the end nothing is fetched any more."""
        self.server.failure = HttpResponse(503)
        self.notify(DocumentChange(INDEX, after="1"))
        stopping = self.follower.stop()
        self.pair.run()
        self.assertEqual(self.last.first("expires"), "0")
        self.pair.notify(self.last, "terminated", body=write(ROOT, ()), content_type=MIME_TYPE)
        self.pair.run()
        self.successResultOf(stopping)
        asked = len(self.server.asked)
        self.pair.run(60.0)
        self.assertEqual(len(self.server.asked), asked)

    def test_stop_before_restart(self) -> None:
        """What was to be begun anew is not, once stopped."""
        for _ in range(2):
            self.notify(body=b"nonsense")
            self.pair.run(0.2)
        count = len(self.pair.received)
        self.successResultOf(self.follower.stop())
        self.pair.run(60.0)
        self.assertEqual(len(self.pair.received), count)


class FullStateTests(FollowTestCase):
    """XEVT-21: after a refresh all is stale until reported again."""

    def setUp(self) -> None:
        """Follow two documents and an element."""
        super().setUp()
        self.server.documents[OTHER] = 1
        self.element = ElementState(f"{INDEX}/~~/doc/n", content=b"<n>1</n>")
        self.notify(
            DocumentChange(INDEX, after="1"), DocumentChange(OTHER, after="1"), self.element
        )
        self.told()
        self.listener.states.clear()
        self.server.asked.clear()

    def check(self, again: Callable[[], None]) -> None:
        """Have the full state reported in which one document and the element are gone."""
        del self.server.documents[OTHER]
        again()
        self.notify(DocumentChange(INDEX, after="1"))
        self.assertEqual(self.told(), [(OTHER, None)])
        self.assertEqual(self.listener.states, [ElementState(self.element.sel, False)])
        self.assertEqual(self.server.asked, [])
        self.assertEqual(list(self.follower.documents), [INDEX])

    def test_automatic_refresh(self) -> None:
        """XEVT-21: a report that tells what is known to exist is of the full state."""
        self.check(lambda: None)

    def test_refresh(self) -> None:
        """XEVT-21: after a refresh of our own."""

        def refresh() -> None:
            self.follower.refresh()
            self.pair.run()

        self.check(refresh)

    def test_new_subscription(self) -> None:
        """XEVT-21: after the subscription had to be made anew."""

        def lose() -> None:
            self.pair.notify(self.last, "terminated;reason=deactivated")
            self.pair.run(1.0)
            self.assertEqual(self.listener.ends, [("deactivated", 0.0)])

        self.check(lose)

    def test_current(self) -> None:
        """PSV-10: it tells whether changes would be noticed."""
        self.assertTrue(self.follower.current)
        self.follower.refresh()
        self.assertFalse(self.follower.current)
        self.pair.run()
        self.notify(DocumentChange(INDEX, after="1"))
        self.assertTrue(self.follower.current)
        self.pair.notify(self.last, "terminated;reason=deactivated")
        self.pair.run(1.0)
        self.assertFalse(self.follower.current)  # nothing was reported yet
        self.notify(DocumentChange(INDEX, after="1"))
        self.assertTrue(self.follower.current)
        self.follower.stop()
        self.assertFalse(self.follower.current)

    def test_empty(self) -> None:
        """XEVT-21: an empty report tells that there is nothing."""
        self.notify()
        self.assertEqual(sorted(self.told()), [(INDEX, None), (OTHER, None)])

    def test_partial(self) -> None:
        """A report of a new document, or of changes, says nothing of others."""
        self.server.documents["tests/global/new"] = 1
        self.notify(DocumentChange("tests/global/new", after="1"))
        self.notify(change(1, 2))
        removed = DocumentChange(OTHER, "1")
        self.notify(removed, DocumentChange(OTHER, after="1"))
        self.assertEqual(len(self.follower.documents), 3)
        self.assertEqual(self.listener.states, [])

    def test_changed_meanwhile(self) -> None:
        """What is reported with another tag is fetched."""
        self.server.documents[INDEX] = 4
        self.notify(
            DocumentChange(INDEX, after="4"), DocumentChange(OTHER, after="1"), self.element
        )
        self.assertEqual(self.told(), [(INDEX, document(4))])
        self.assertEqual(self.server.asked, [(INDEX, "1")])
        self.assertEqual(self.listener.states, [])


class ComponentTests(FollowTestCase):
    """Elements and attributes."""

    def test_states(self) -> None:
        """The newest state counts; what is told twice counts once."""
        states: list[State] = [
            AttributeState(f"{INDEX}/~~/doc/@a", True, "1"),
            AttributeState(f"{INDEX}/~~/doc/@a", True, "2"),
            AttributeState(f"{INDEX}/~~/doc/@a", False),
        ]
        for state in states:
            self.notify(state)
            self.notify(state)
        self.assertEqual(self.listener.states, states)


class EndTests(FollowTestCase):
    """Refusals and ends."""

    def test_refused(self) -> None:
        """A refused subscription is told."""
        self.begin()
        self.pair.notify(self.last, "terminated;reason=rejected")
        self.pair.run()
        self.assertEqual(self.listener.ends, [("rejected", None)])

    def test_not_answered(self) -> None:
        """No NOTIFY comes: it is tried again later."""
        self.pair.run(40.0, 1.0)
        self.assertEqual(self.listener.failures[0][0], None)
        self.assertIsNotNone(self.listener.failures[0][1])
