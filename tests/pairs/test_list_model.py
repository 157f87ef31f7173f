"""Random list edits, changes of members and restarts under live list subscriptions.

The model knows what was acknowledged: publications by their notes, and the lists as their
documents have them.  After a quiet time the table that each watcher has made of its NOTIFYs must
show exactly that (RLS-06 to RLS-14, RLS-22, RLS-26, RLO-02, RLO-06).
"""

from __future__ import annotations

import gc
import os
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from presence.rls.listwatch import WatchedList
from presence.rls.sip import SipSettings
from presence.rls.subscription import ListSettings
from pysip.message import Request, Response, response_to
from pysip.transport.loop import LoopNetwork
from tests.node import DOMAIN, Node, Peer, pidf
from tests.presence.listnode import ListNode
from tests.presence.listservices import SERVICES, service, services
from tests.presence.rulesources import JOE, LISTS, DocumentsTestCase, anchor, lists

REMOTE = "other.example"
THERE = ("192.0.2.2", 5060)
ACCEPT = "application/pidf+xml, application/rlmi+xml, multipart/related"
PLACES = {"inline": f"{JOE};pres-list=inline", "referred": f"{JOE};pres-list=referred"}
STATES = {"allow": "active", "confirm": "pending"}
STEPS = 10_000
REMEMBERED = ("xcap.records.Change", "xcap.records.DocumentKey")
"""What the store of documents keeps of the last changes, up to a bound."""
_SEED = 20_260_511
_WINDOW = 0.5
_QUIET = 3.0
"""Seconds after which everything is told that is not lost: windows, and retries."""
_LOST = 45.0
"""Seconds after which a server is missed that does not answer, or is back."""
_REST = 200.0
"""Seconds after which nothing is left of what has ended."""


def resident() -> int:
    """Resident memory of this process in octets."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class Watching:
    """A subscription to a list, and its table.

    :cvar accept: media types.

    :ivar ended: Subscription-State of the last NOTIFY, once that is ``terminated``.
    """

    accept = ACCEPT

    def __init__(self, peer: Peer, list_uri: str, serial: int) -> None:
        self.peer = peer
        self.uri = list_uri
        self.call_id = f"list-{serial}"
        self.tag = f"w{serial}"
        self.to_tag = ""
        self.target = list_uri
        self.cseq = 0
        self.notified = 0
        self.table = WatchedList()
        self.ended = ""

    def subscribe(self, expires: int = 3600, **fields: Any) -> Response:
        """Begin, refresh or end it.

        :param fields: further header fields, and a body.
        """
        self.cseq += 1
        request = self.peer.request(
            "SUBSCRIBE",
            self.target,
            sender=JOE,
            to=self.uri,
            call_id=self.call_id,
            from_tag=self.tag,
            to_tag=self.to_tag,
            cseq=self.cseq,
            supported="eventlist",
            accept=self.accept,
            expires=expires,
            **fields,
        )
        answer = self.peer.ask(request)
        if answer.status == 200:
            self.to_tag = answer.to.tag
            self.target = answer.contacts[0].uri
        return answer

    def take(self, request: Request) -> None:
        """Take a NOTIFY: no table may lack anything, since nothing is lost on the way."""
        if request.cseq[0] <= self.notified:
            return  # a repetition
        self.notified = request.cseq[0]
        taken = self.table.take(request.first("content-type") or "", request.body)
        assert taken.processed or not request.body, "an old version"
        assert not taken.refresh, "a version is missing"
        state = request.first("subscription-state") or ""
        if state.startswith("terminated"):
            self.ended = state

    def states(self) -> list[tuple[str, str]]:
        """Members in the order of the list, with state, reason and note."""
        found = []
        for uri, member in self.table.members.items():
            instance = member.instance
            if instance is None:
                found.append((uri, "-"))
                continue
            note = (instance.document or b"").partition(b"<note>")[2].partition(b"</note>")[0]
            text = f"{instance.state} {instance.reason}".strip()
            found.append((uri, f"{text} {note.decode()}".strip()))
        return found


class ListModelTests(DocumentsTestCase):
    """Two servers, Joe with two lists, and everything at random."""

    def setUp(self) -> None:
        """Start both servers."""
        super().setUp()
        self.random = random.Random(_SEED)
        self.network = LoopNetwork(self.clock)
        self.node: ListNode = ListNode(
            self.clients,
            self.store_feed,
            ListSettings(window=_WINDOW),
            SipSettings(expires=60, retry=(0.2, 0.5)),
            network=self.network,
            hosts={REMOTE: (f"sip:{THERE[0]}:{THERE[1]}",)},
        )
        self.elsewhere = self.start_elsewhere()
        self.phone = self.node.peer("192.0.2.20")
        self.phone.answer = self.take
        self.publisher = self.node.peer("192.0.2.10")
        self.far_publisher = self.elsewhere.peer("192.0.2.11")
        self.people = [f"sip:m{n}@{DOMAIN}" for n in range(20)]
        self.people += [f"sip:r{n}@{REMOTE}" for n in range(10)]
        self.notes: dict[str, tuple[str, str]] = {}
        self.lists: dict[str, list[str]] = {}
        self.watches: dict[str, Watching] = {}
        self.decision = "allow"
        self.serial = 0
        self.compared = 0

    def start_elsewhere(self, node: Node | None = None) -> Node:
        """The Presence Server elsewhere, for the first time or again."""
        return Node(
            network=self.network,
            address=THERE,
            domain=REMOTE,
            tcp=False,
            store=None if node is None else node.store,
        )

    # -- time and messages

    def advance(self, seconds: float) -> None:
        """Let time pass from one event to the next."""
        clock = self.clock
        end = clock.seconds() + seconds
        clock.advance(0)
        while calls := clock.getDelayedCalls():
            due = min(call.getTime() for call in calls)
            if due > end:
                break
            clock.advance(max(0.0, due - clock.seconds()))
        clock.advance(max(0.0, end - clock.seconds()))
        for peer in (self.phone, self.publisher, self.far_publisher):
            del peer.requests[:], peer.responses[:]

    def take(self, request: Request) -> Response:
        """Give a NOTIFY to whom it is for."""
        for watching in self.watches.values():
            if watching.call_id == request.call_id:
                watching.take(request)
                return response_to(request, 200)
        return response_to(request, 481)

    # -- what happens

    def publish(self) -> None:
        """Somebody's document is another one, or gone."""
        who = self.random.choice(self.people)
        peer = self.far_publisher if who.endswith(REMOTE) else self.publisher
        etag, note = self.notes.get(who, ("", ""))
        fields: dict[str, Any] = {"sip_if_match": etag} if etag else {}
        self.serial += 1
        if etag and self.random.random() < 0.1:
            answer = peer.publish(uri=who, expires=0, **fields)
            self.assertEqual(answer.status, 200)
            del self.notes[who]
            return
        note = f"n{self.serial}"
        answer = peer.publish(self.document(who, note), who, expires=86400, **fields)
        self.assertEqual(answer.status, 200)
        self.notes[who] = (answer.first("sip-etag") or "", note)

    def document(self, who: str, note: str) -> bytes:
        """What somebody publishes."""
        return pidf(who, note=note)

    def edit(self) -> None:
        """One of the lists is another one."""
        place = self.random.choice(tuple(PLACES))
        members = list(self.lists[place])
        if self.random.random() < 0.1:
            members = self.random.sample(self.people, self.random.randrange(20))
        else:
            self.random.shuffle(members)
            del members[: self.random.randrange(3)]
            members += self.random.sample(self.people, self.random.randrange(3))
        if members and self.random.random() < 0.2:
            members.append(self.random.choice(members).replace("@e", "@E"))  # RLS-17
        self.lists[place] = members = list(dict.fromkeys(members))
        if place == "inline":
            self.write_services()
        else:
            self.put(LISTS, lists(friends=members))

    def write_services(self) -> None:
        """Store the document of services."""
        inline = service(self.lists.get("inline", ()), PLACES["inline"])
        referred = service(anchor("friends"), PLACES["referred"])
        self.put(SERVICES, services(inline, referred))

    def refresh(self) -> None:
        """A watcher refreshes, and is told everything."""
        watching = self.random.choice(list(self.watches.values()))
        self.assertEqual(watching.subscribe().status, 200)

    def replace(self) -> None:
        """A watcher unsubscribes, and another one begins."""
        place = self.random.choice(tuple(PLACES))
        self.end(place)
        self.begin(place)

    def begin(self, place: str) -> None:
        """Watch a list."""
        self.serial += 1
        watching = self.watches[place] = self.watching(PLACES[place])
        answer = watching.subscribe()
        self.assertEqual(answer.status, 200, answer)

    def watching(self, uri: str) -> Watching:
        """A watcher that is about to begin."""
        return Watching(self.phone, uri, self.serial)

    def end(self, place: str) -> None:
        """Watch it no more: the last NOTIFY tells all and ends it."""
        watching = self.watches[place]
        self.assertEqual(watching.subscribe(0).status, 200)
        self.advance(0.1)
        self.assertEqual(watching.ended, "terminated;reason=timeout")
        del self.watches[place]

    def restart(self) -> None:
        """The list server ends and starts."""
        self.node = self.node.restart()
        self.node.watchers.default = self.decision  # type: ignore[assignment]
        self.node.presence.resume()
        for peer in (self.phone, self.publisher):
            peer.node = self.node

    def restart_elsewhere(self) -> None:
        """The other server ends and starts, at once or in a while."""
        self.elsewhere.stop()
        if self.random.random() < 0.3:
            self.advance(self.random.uniform(1.0, 100.0))
        self.elsewhere = self.start_elsewhere(self.elsewhere)
        self.elsewhere.presence.resume()
        self.far_publisher.node = self.elsewhere
        self.advance(_LOST)

    def decide(self) -> None:
        """The operator decides otherwise on all watchers here."""
        self.decision = self.random.choice(tuple(STATES))
        self.node.watchers.default = self.decision  # type: ignore[assignment]
        self.node.presence.reauthorize()

    # -- the model

    def truth(self, place: str) -> list[tuple[str, str]]:
        """What the table of a list has to be."""
        found = []
        spelt: dict[str, str] = {}
        for uri in self.lists[place]:
            spelt.setdefault(uri.lower(), uri)
        for key, uri in spelt.items():
            note = self.notes.get(key, ("", ""))[1]
            state = "active" if uri.endswith(REMOTE) else STATES[self.decision]
            found.append((uri, f"{state} {note if state == 'active' else ''}".strip()))
        return found

    def compare(self) -> None:
        """After a quiet time all tables are as the truth is."""
        self.advance(_QUIET)
        for place, watching in self.watches.items():
            self.assertEqual(watching.ended, "")
            self.assertEqual(watching.states(), self.truth(place), place)
            self.compared += 1

    def live(self, steps: int) -> None:
        """Begin, do so many random steps, and end everything."""
        for place in PLACES:
            self.lists[place] = self.random.sample(self.people, 10)
        self.put(LISTS, lists(friends=self.lists["referred"]))
        self.write_services()
        for place in PLACES:
            self.begin(place)
        self.compare()
        kinds = self.kinds()
        ways = self.random.choices(list(kinds), list(kinds.values()), k=steps)
        for number, do in enumerate(ways):
            do()
            self.advance(self.random.choice((0.0, 0.0, 0.05, 0.3)))
            if number % 25 == 24:
                self.compare()
        self.compare()
        for place in PLACES:
            self.end(place)
        for who, (etag, _) in list(self.notes.items()):
            peer = self.far_publisher if who.endswith(REMOTE) else self.publisher
            self.assertEqual(peer.publish(uri=who, expires=0, sip_if_match=etag).status, 200)
        self.notes.clear()
        self.delete(SERVICES)
        self.delete(LISTS)
        self.advance(_REST)

    def kinds(self) -> dict[Callable[[], None], float]:
        """What may happen, and how often."""
        return {
            self.publish: 60.0,
            self.edit: 27.0,
            self.refresh: 6.0,
            self.replace: 3.0,
            self.decide: 1.0,
            self.restart: 0.7,
            self.restart_elsewhere: 0.3,
        }

    def census(self) -> Counter[str]:
        """Living objects by type."""
        gc.collect()
        return Counter(
            f"{type(thing).__module__}.{type(thing).__qualname__}" for thing in gc.get_objects()
        )

    def test_truth(self) -> None:
        """The tables always equal the truth; what has ended leaves nothing behind."""
        self.live(300)
        before, memory = self.census(), resident()
        self.live(STEPS)
        self.assertGreater(self.compared, STEPS // 25)
        self.assertEqual(len(self.node.presence.notifier), 0)
        self.assertEqual((len(self.node.router), len(self.node.services)), (0, 0))
        self.assertEqual((self.node.services.documents, len(self.store_feed)), (0, 0))
        after = self.census()
        ours = ("presence.", "pysip.", "xcap.")
        grown = {
            name: (before[name], count)
            for name, count in after.items()
            if count > before[name] + (10 if name.startswith(ours) else 500)
            and name not in REMEMBERED
        }
        self.assertEqual(grown, {})
        self.assertLess(resident() - memory, 24 << 20)
        self.node.stop()
        self.elsewhere.stop()
