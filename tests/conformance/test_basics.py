"""Requirements that need the whole of a node, or all of its answers, to be seen."""

from __future__ import annotations

from collections.abc import Iterator

from twisted.trial.unittest import SynchronousTestCase

from presence import config
from presence.tables import Listen
from pysip.header import is_token, parse_subscription_state
from pysip.message import Request, Response, response_to
from tests.conformance.test_notifier import NotifierCase
from tests.node import BOB, pidf


class ListenTests(SynchronousTestCase):
    """Where a server listens (TRN-01)."""

    def test_default(self) -> None:
        """UDP and TCP on the same addresses and on port 5060, TLS on 5061 (TRN-01, TRN-02)."""
        points: dict[str, set[tuple[str, int]]] = {}
        for point in config.default_listen():
            points.setdefault(point.transport, set()).add((point.address, point.bind_port))
        self.assertEqual(points["udp"], points["tcp"])
        self.assertEqual({port for _, port in points["udp"]}, {5060})
        self.assertEqual({port for _, port in points["tls"]}, {5061})

    def test_told(self) -> None:
        """UDP alone, where others can reach it, is named to the operator (TRN-01)."""
        udp = Listen(transport="udp", address="192.0.2.1")
        for beside, told in (
            (None, True),
            (Listen(transport="tcp", address="192.0.2.1"), False),
            (Listen(transport="tcp", address="192.0.2.1", port=5070), True),
            (Listen(transport="tcp", address="192.0.2.2"), True),
        ):
            points = (udp,) if beside is None else (udp, beside)
            found = config.warnings(config.Config(listen=points))
            self.assertEqual(any("no tcp beside it" in line for line in found), told, beside)


class SubscriptionStateTests(NotifierCase):
    """What NOTIFYs say of their subscription (NOT-02, NOT-03)."""

    def told(self, request: Request) -> tuple[str, dict[str, str | None]]:
        """Its Subscription-State."""
        return parse_subscription_state(request.first("subscription-state") or "")

    def test_expires(self) -> None:
        """Seconds left with active and pending, none with terminated (NOT-02)."""
        for decision, state in (("allow", "active"), ("confirm", "pending")):
            self.make(decision=decision)
            self.alice.subscribe(expires=100)
            self.node.advance(30)
            self.decide("confirm" if decision == "allow" else "allow")
            self.node.presence.reauthorize()
            self.node.advance(1)
            first, second = map(self.told, self.alice.notifies())
            self.assertEqual(first, (state, {"expires": "100"}))
            self.assertEqual(set(second[1]), {"expires"})
            self.assertLessEqual(abs(int(second[1]["expires"] or "") - 70), 1)
            self.node.advance(80)
            self.assertEqual(
                self.told(self.alice.notifies()[-1]), ("terminated", {"reason": "timeout"})
            )

    def test_reasons(self) -> None:
        """The reason of each end; retry-after only where it means something (NOT-03).

        A timeout may tell the state once more, the others tell nothing (NOT-07).
        """
        self.make()
        self.publish("secret")
        notifier = self.node.presence.notifier
        for number, (reason, wait) in enumerate(
            (("deactivated", None), ("noresource", None), ("probation", 30), ("giveup", 60))
        ):
            self.alice.subscribe(call_id=f"c{number}")
            (subscription,) = notifier.subscriptions("presence", BOB)
            notifier.terminate(subscription, reason, wait)
            self.node.advance(0.5)
            last = self.alice.notifies()[-1]
            params = {"reason": reason} | ({"retry-after": str(wait)} if wait else {})
            self.assertEqual(self.told(last), ("terminated", params))
            self.assertEqual(last.body, b"")
        self.alice.subscribe(call_id="rejected")
        self.decide("block")
        self.node.presence.reauthorize()
        self.node.advance(0.5)
        last = self.alice.notifies()[-1]
        self.assertEqual(self.told(last), ("terminated", {"reason": "rejected"}))
        self.assertEqual(last.body, b"")


class NotifyOutcomeTests(NotifierCase):
    """Statuses of the answer to a NOTIFY (DLG-10, NOT-10)."""

    def test_statuses(self) -> None:
        """Which ones end the subscription, and which leave it (DLG-10, NOT-10)."""
        ending = (404, 405, 410, 416, *range(480, 486), 489, 501, 604, 408, 401, 407)
        for status in (*ending, 500, 503, 403):
            self.make()
            self.alice.subscribe()
            self.alice.answer = status
            self.publish("a")
            self.assertEqual(len(self.node.presence.notifier), 0, status)
        for status in (200, 202, 299):
            self.make()
            self.alice.subscribe()
            self.alice.answer = status
            self.publish("a")
            self.assertEqual(len(self.node.presence.notifier), 1, status)
        for status in (500, 503, 403, 413):  # with a time to come again
            self.make()
            self.alice.subscribe()
            self.alice.answer = lambda request, code=status: response_to(
                request, code, headers=(("Retry-After", "5"),)
            )
            self.publish("a")
            self.assertEqual(len(self.node.presence.notifier), 1, status)


class WhenTests(NotifierCase):
    """When watchers are told (PRE-04), and by what a refresh replaces (SUB-16)."""

    def refresh(self, made: Response, **fields: str | int) -> Response:
        """A SUBSCRIBE in the dialog."""
        return self.alice.subscribe(
            made.contacts[0].uri, to=BOB, to_tag=made.to.tag, call_id=made.call_id, **fields
        )

    def test_occasions(self) -> None:
        """At the begin, at each change and refresh and at the end, and else never (PRE-04)."""
        self.make()
        made = self.alice.subscribe()
        told = [1]
        for _ in range(2):
            self.publish(f"n{len(told)}")
            told.append(len(self.alice.notifies()))
            self.assertEqual(self.refresh(made).status, 200)
            told.append(len(self.alice.notifies()))
        self.node.advance(100)
        told.append(len(self.alice.notifies()))
        self.refresh(made, expires=0)
        told.append(len(self.alice.notifies()))
        self.publish("after")
        told.append(len(self.alice.notifies()))
        self.assertEqual(told, [1, 2, 3, 4, 5, 5, 6, 6])

    def test_accept(self) -> None:
        """A refresh is judged by its own Accept; refused, it leaves all as it was (SUB-16)."""
        self.make()
        made = self.alice.subscribe(accept="application/pidf+xml")
        self.assertEqual(self.refresh(made, accept="text/plain").status, 406)
        self.publish("x")
        self.assertEqual(self.alice.notifies()[-1].first("content-type"), "application/pidf+xml")
        self.assertEqual(self.refresh(made, accept="*/*").status, 200)
        self.assertEqual(self.refresh(made).status, 200)


class PublicationTests(NotifierCase):
    """Entity-tags and bodies."""

    def test_tags(self) -> None:
        """Every success gives a tag of its own, a token of 96 bits or more (PUB-02)."""
        self.make()
        seen = [tag for user in ("bob", "carol") for tag in self.tags(f"sip:{user}@example.com")]
        self.assertEqual(len(set(seen)), len(seen))
        for tag in seen:
            self.assertTrue(is_token(tag))
            self.assertGreaterEqual(len(tag), 12)

    def tags(self, uri: str) -> Iterator[str]:
        """The tags of many operations of all kinds."""
        for number in range(10):
            tag = None
            for body, fields in (
                (pidf(uri, note="a"), {}),
                (b"", {}),
                (pidf(uri, note="b"), {}),
                (b"", {"expires": 0}),
            ):
                response = self.bob.publish(
                    body, uri, sip_if_match=tag, call_id=f"{uri}{number}", **fields
                )
                self.assertEqual(response.status, 200)
                tag = response.first("sip-etag")
                assert tag is not None
                yield tag

    def test_no_dialog(self) -> None:
        """Contact and Record-Route of a PUBLISH are ignored, and not answered (PUB-12, DLG-09)."""
        self.make()
        for fields in (
            {"contact": "*"},
            {"contact": "<sip:a@192.0.2.10>, <sip:b@192.0.2.10>"},
            {"record_route": "<sip:192.0.2.77;lr>", "to_tag": "old"},
        ):
            response = self.bob.publish(pidf(), **fields)
            self.assertEqual(response.status, 200)
            self.assertNotIn("contact", response.headers)
            self.assertNotIn("record-route", response.headers)

    def test_type_of_a_body(self) -> None:
        """A body without Content-Type is none we understand; ours always have one (MSG-30)."""
        self.make()
        self.assertEqual(self.bob.publish(pidf(), content_type=None).status, 415)
        self.alice.subscribe()
        self.publish("x")
        for notify in self.alice.notifies():
            self.assertEqual("content-type" in notify.headers, bool(notify.body))
            self.assertNotIn("content-encoding", notify.headers)
            self.assertEqual(notify.first("content-length"), str(len(notify.body)))
