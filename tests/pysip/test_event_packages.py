"""Several packages for one event type, option tags and content codings of notifications."""

from __future__ import annotations

import ipaddress
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from presence.limits import DomainRates
from pysip.auth.trust import TrustPolicy
from pysip.mime import decode_body
from tests.node import BOB
from tests.pysip.eventing import Small, SmallNode

LIST = "sip:friends@example.com"


class PackageTests(SynchronousTestCase):
    """A package of single resources and one of lists, both of event type ``small``."""

    def setUp(self) -> None:
        """A node with both."""
        self.single = Small(bob="here")
        self.lists = Small("small.list", friends="all of them")
        self.node = SmallNode(self.single, self.lists)
        self.peer = self.node.peer()

    def subscribe(self, uri: str = BOB, **fields: Any) -> Any:
        """SUBSCRIBE."""
        return self.peer.subscribe(uri, event="small", **fields)

    def test_first_that_has_it(self) -> None:
        """Packages are asked in turn, the last added first; who has the resource serves it."""
        self.assertEqual(self.subscribe(LIST).status, 200)
        self.assertEqual(self.single.calls, [])
        self.assertEqual(self.lists.calls[:2], [("prepare", LIST), ("resolve", LIST)])
        self.lists.calls.clear()
        self.assertEqual(self.subscribe(BOB).status, 200)
        self.assertEqual(self.lists.calls, [("prepare", BOB), ("resolve", BOB)])
        self.assertEqual(self.single.calls[:2], [("prepare", BOB), ("resolve", BOB)])
        self.assertEqual(
            [(n.body, n.headers["event"]) for n in self.peer.notifies()],
            [(b"all of them", ["small"]), (b"here", ["small"])],
        )
        self.assertEqual(
            sorted(self.node.notifier.resources()), [("small", BOB), ("small.list", LIST)]
        )

    def test_nobody_has_it(self) -> None:
        """What no package has is not here; another refusal of one ends the search."""
        self.assertEqual(self.subscribe("sip:nobody@example.com").status, 404)
        self.assertEqual(len(self.single.calls), 2)
        self.lists.missing = 403
        self.assertEqual(self.subscribe(BOB).status, 403)
        self.assertEqual(len(self.node.notifier), 0)

    def test_prepared(self) -> None:
        """Each package may have to prepare itself first."""
        first = self.lists.preparing = Deferred()
        second = self.single.preparing = Deferred()
        self.peer.send(self.peer.request("SUBSCRIBE", BOB, event="small"))
        self.node.advance(0.1)
        first.callback(None)
        self.node.advance(0.1)
        self.assertEqual(self.peer.responses, [])
        second.callback(None)
        self.node.advance(0.1)
        self.assertEqual([r.status for r in self.peer.responses], [200])

    def test_in_dialog(self) -> None:
        """A refresh is for the package that has the subscription, whatever others say."""
        answer = self.subscribe(BOB)
        self.lists.calls.clear()
        self.lists.texts[BOB] = "a list now"
        again = {"call_id": answer.call_id, "to_tag": answer.to.tag}
        self.assertEqual(self.subscribe(BOB, **again).status, 200)
        self.assertEqual(self.subscribe(BOB, expires=0, **again).status, 200)
        self.assertEqual(self.lists.calls, [])
        self.assertEqual([n.body for n in self.peer.notifies()], [b"here"] * 3)

    def test_other_event(self) -> None:
        """Another event type in the dialog is refused as ever, and no dialog is 481."""
        answer = self.subscribe(BOB)
        again = {"call_id": answer.call_id, "to_tag": answer.to.tag}
        self.assertEqual(self.peer.subscribe(BOB, event="presence", **again).status, 403)
        self.assertEqual(self.subscribe(BOB, call_id="other", to_tag="none").status, 481)

    def test_found(self) -> None:
        """UAS-01: whether a resource is here is asked of the packages of its event type."""
        unknown = {"require": "nonsense"}
        for uri, event, status in (
            (BOB, "small", 420),
            (LIST, "small", 420),
            ("sip:nobody@example.com", "small", 404),
            (BOB, "other", 420),
            ("sip:bob@elsewhere.example.net", "other", 404),
        ):
            answer = self.peer.subscribe(uri, event=event, **unknown)
            self.assertEqual(answer.status, status, (uri, event))

    def test_offered_once(self) -> None:
        """Allow-Events names an event type once (UAS-17)."""
        answer = self.subscribe(BOB)
        self.assertEqual(answer.first("allow-events"), "presence, small")

    def test_names(self) -> None:
        """Names are unique."""
        self.assertRaises(ValueError, self.node.notifier.add_package, Small("small", "other"))

    def test_rates(self) -> None:
        """The rate gate is asked by the package's name."""
        asked: list[tuple[str, str]] = []

        class Rates(DomainRates):
            def interval(self, package: str, resource: str) -> float:
                asked.append((package, resource))
                return 0.0

        notifier = self.node.notifier
        notifier.set_policy(notifier.policy, Rates(0.0, {}))
        self.subscribe(LIST)
        self.assertEqual(asked, [("small.list", LIST)])

    def test_recovered(self) -> None:
        """After a restart each subscription is again with its package."""
        self.lists.require = "eventlist"
        self.subscribe(LIST, supported="eventlist")
        self.subscribe(BOB)
        self.lists.calls.clear()
        node = self.peer.node = self.node.again()
        self.peer.requests.clear()
        self.lists.texts[LIST] = "fewer"
        node.notifier.changed("small.list", LIST)
        node.advance(0.2)
        (notify,) = self.peer.notifies()
        self.assertEqual((notify.body, notify.first("event")), (b"fewer", "small"))
        self.assertEqual(notify.first("require"), "eventlist")
        self.assertEqual(self.lists.calls[0], ("subscribed", "active", b""))


class OptionTests(SynchronousTestCase):
    """What a package asks of the other side, and content codings."""

    def setUp(self) -> None:
        """A node whose lists ask for ``eventlist``."""
        self.package = Small(bob="x")
        self.package.require = "eventlist"
        trust = TrustPolicy([(ipaddress.ip_network("192.0.2.20"), None)])
        self.node = SmallNode(self.package, trust=trust)
        self.node.ua.supported.append("eventlist")

    def test_without_support(self) -> None:
        """RLS-01: the package sees Supported, and refuses whoever cannot do it."""
        answer = self.node.peer().subscribe(event="small")
        self.assertEqual((answer.status, answer.first("require")), (421, "eventlist"))

    def test_everywhere(self) -> None:
        """RLS-03: each 2xx and each NOTIFY has Require, the last one and a fetch's too."""
        for host in ("192.0.2.10", "192.0.2.20"):  # outside and inside of the trust domain
            peer = self.node.peer(host)
            fields = {"event": "small", "supported": "eventlist"}
            answer = peer.subscribe(**fields)
            again = {"call_id": answer.call_id, "to_tag": answer.to.tag, **fields}
            peer.subscribe(**again)
            self.package.texts[BOB] += "x"
            self.node.notifier.changed("small", BOB)
            self.node.advance(0.2)
            peer.subscribe(expires=0, **again)
            peer.subscribe(expires=0, **fields)
            peer.subscribe(**fields)
            (live,) = self.node.notifier.subscriptions("small", BOB)
            self.node.notifier.terminate(live, "deactivated")
            self.node.advance(0.2)
            self.assertEqual([r.first("require") for r in peer.responses], ["eventlist"] * 5)
            self.assertEqual([n.first("require") for n in peer.notifies()], ["eventlist"] * 7)

    def test_refresh_changes(self) -> None:
        """A SUBSCRIBE may change what is required from then on."""
        peer = self.node.peer()
        fields = {"event": "small", "supported": "eventlist"}
        answer = peer.subscribe(**fields)
        self.package.require = ""
        again = {"call_id": answer.call_id, "to_tag": answer.to.tag, **fields}
        self.assertNotIn("require", peer.subscribe(**again).headers)
        self.assertEqual([n.first("require") for n in peer.notifies()], ["eventlist", None])

    def test_not_stored(self) -> None:
        """A refresh that cannot be kept changes nothing."""
        peer = self.node.peer()
        fields = {"event": "small", "supported": "eventlist"}
        answer = peer.subscribe(**fields)
        (live,) = self.node.notifier.subscriptions("small", BOB)
        before = live.terms()
        self.node.store.fail_next()
        self.package.require = fields["supported"] = "other"
        again = {"call_id": answer.call_id, "to_tag": answer.to.tag, **fields}
        self.assertEqual(peer.subscribe(**again, body=b"y", content_type="text/plain").status, 500)
        self.assertEqual(live.terms(), before)

    def test_encoding(self) -> None:
        """A body is coded for who wants that, when it is worth it (MSG-26)."""
        self.package.require = ""
        self.package.texts[BOB] = "worth it " * 50
        peer = self.node.peer()
        for coding in ("gzip", "deflate"):
            peer.subscribe(event="small", accept_encoding=coding)
            notify = peer.notifies()[-1]
            self.assertEqual(notify.headers["content-encoding"], [coding])
            self.assertEqual(notify.first("content-type"), "text/plain")
            body = decode_body([coding], notify.body)
            self.assertEqual(body.decode(), self.package.texts[BOB])
        for text in ("", "small"):
            self.package.texts[BOB] = text
            self.node.notifier.changed("small", BOB)
            self.node.advance(0.2)
            self.assertNotIn("content-encoding", peer.notifies()[-1].headers)
            self.assertEqual(peer.notifies()[-1].body, text.encode())
