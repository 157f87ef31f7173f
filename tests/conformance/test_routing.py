"""Dialogs at the notifier, and what Route and Record-Route mean to it (sip-core.md 5 and 7)."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from pysip.message import Request, Response
from pysip.uri import SipUri, parse_uri
from tests.node import ALICE, BOB, Node, pidf

ROUTES = [
    "<sip:edge.example.net:5070;lr;token=a%20b;transport=udp>;hint=1",
    "<sip:192.0.2.99;lr=on>",
]


class DialogCase(SynchronousTestCase):
    """A node, and Alice who watches Bob."""

    def setUp(self) -> None:
        """Start them."""
        self.node = Node()
        self.alice = self.node.peer("192.0.2.20")
        self.bob = self.node.peer("192.0.2.10")

    def again(self, made: Response, **fields: str | int | None) -> Response:
        """A SUBSCRIBE in the dialog that ``made`` has made."""
        fields.setdefault("event", "presence")
        request = self.alice.request(
            "SUBSCRIBE",
            made.contacts[0].uri,
            to=BOB,
            to_tag=made.to.tag,
            call_id=made.call_id,
            **fields,  # type: ignore[arg-type]
        )
        return self.alice.ask(request)


class RouteSetTests(DialogCase):
    """What the 2xx to SUBSCRIBE makes of a dialog (DLG-02)."""

    def test_record_route(self) -> None:
        """Copied in order with all parameters; NOTIFY's Route is the same (DLG-02, IMS-21)."""
        self.node.ua.sender.locator = Elsewhere(self.alice.address)  # type: ignore[assignment]
        made = self.alice.subscribe(record_route=", ".join(ROUTES))
        self.assertEqual(made.values("record-route"), ROUTES)
        (notify,) = self.alice.notifies()
        self.assertEqual(notify.values("route"), ROUTES)
        self.assertEqual(notify.uri, "sip:peer@192.0.2.20:5060")

    def test_no_record_route(self) -> None:
        """Without one the route set is empty, whatever Route the request had (DLG-02, ROU-02)."""
        route = "<sip:192.0.2.1;lr>, <sip:orig-dialog-7@scscf.example.com;lr>"
        made = self.alice.subscribe(route=route)
        self.assertEqual(made.status, 200)
        self.assertNotIn("record-route", made.headers)
        (notify,) = self.alice.notifies()
        self.assertNotIn("route", notify.headers)

    def test_identifiers(self) -> None:
        """Local URI is To, remote URI is From; both sequences are kept (DLG-02, DLG-16)."""
        made = self.alice.subscribe(to="sip:Bob.Builder@elsewhere.example", cseq=41)
        (notify,) = self.alice.notifies()
        self.assertEqual(notify.from_.uri, "sip:Bob.Builder@elsewhere.example")
        self.assertEqual((notify.to.uri, notify.to.tag), (ALICE, "f1"))
        self.assertEqual(notify.from_.tag, made.to.tag)
        self.assertEqual(self.again(made, cseq=41).status, 500)
        self.assertEqual(self.again(made, cseq=42).status, 200)
        self.assertEqual([n.cseq[0] for n in self.alice.notifies()], [1, 2])

    def test_refresh_leaves_the_route_set(self) -> None:
        """Record-Route in a refresh changes nothing; the Contact does (DLG-08)."""
        made = self.alice.subscribe(record_route="<sip:192.0.2.20;lr>")
        self.again(
            made, record_route="<sip:192.0.2.77;lr>", contact="<sip:moved@192.0.2.20:5060;x=1>"
        )
        notify = self.alice.notifies()[-1]
        self.assertEqual(notify.values("route"), ["<sip:192.0.2.20;lr>"])
        self.assertEqual(notify.uri, "sip:moved@192.0.2.20:5060;x=1")

    def test_gruu_as_target(self) -> None:
        """A Contact with ``gr`` is used as it is, with all its parameters (GRU-01)."""
        target = "sip:alice@192.0.2.20:5060;gr=urn:uuid:f81d4fae-7dec;ob;opaque=%41"
        self.alice.subscribe(contact=f'<{target}>;+sip.instance="<urn:uuid:f81d4fae-7dec>"')
        (notify,) = self.alice.notifies()
        self.assertEqual(notify.uri, target)


class Elsewhere:
    """A locator to which every host is one address."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._address = address

    def immediate(self, uri: object) -> object:
        """The one address."""
        from pysip.interfaces import Target

        return Target("UDP", self._address, "")


class DialogIdTests(DialogCase):
    """Which dialog a request belongs to."""

    def test_all_three(self) -> None:
        """Call-ID and both tags make the dialog; any other is 481 (DLG-01, DLG-09)."""
        made = self.alice.subscribe(call_id="c1")
        uri = made.contacts[0].uri
        right = {"call_id": "c1", "to_tag": made.to.tag, "from_tag": "f1"}
        for name, value in (("call_id", "C1"), ("to_tag", "x"), ("from_tag", "F1")):
            wrong = {**right, name: value}
            self.assertEqual(self.alice.subscribe(uri, to=BOB, **wrong).status, 481, name)
        self.assertEqual(self.alice.subscribe(uri, to=BOB, **right).status, 200)
        self.assertEqual(len(self.node.presence.notifier), 1)

    def test_uris_do_not_count(self) -> None:
        """From and To URIs of a dialog may be written differently (DLG-16, DLG-01)."""
        made = self.alice.subscribe(call_id="c1")
        response = self.alice.subscribe(
            made.contacts[0].uri,
            to="sip:somebody@example.org",
            to_tag=made.to.tag,
            call_id="c1",
        )
        self.assertEqual(response.status, 200)

    def test_one_subscription_in_each(self) -> None:
        """Another Event id in the dialog is 403, the first lives on (SUB-12, DLG-17, DLG-01)."""
        made = self.alice.subscribe()
        for event in ("presence;id=2", "presence;id=3;x=y"):
            response = self.again(made, event=event)
            self.assertEqual(response.status, 403)
            self.assertIn("dialog sharing", response.reason)
        self.assertEqual(len(self.node.presence.notifier), 1)
        self.assertEqual(self.again(made).status, 200)

    def test_contact(self) -> None:
        """The Contact of 2xx and NOTIFY is a GRUU of ours, with an opaque user (SUB-22, GRU-04)."""
        made = self.alice.subscribe()
        (notify,) = self.alice.notifies()
        uri = parse_uri(made.contacts[0].uri)
        assert isinstance(uri, SipUri)
        self.assertIn("gr", uri.params)
        self.assertEqual((uri.host, uri.port), ("192.0.2.1", 5060))
        self.assertNotIn("bob", uri.user or "")
        self.assertNotIn("alice", uri.user or "")
        self.assertEqual(notify.contacts[0].uri, made.contacts[0].uri)


class OwnRouteTests(DialogCase):
    """Requests that come with a Route (ROU-01, ROU-02)."""

    def test_consumed(self) -> None:
        """Our own Route, and what stands behind it, do not move the request on (ROU-01, ROU-02)."""
        self.alice.requests.clear()
        others = self.node.peer("192.0.2.99")
        for number, route in enumerate(
            (
                "<sip:192.0.2.1;lr>",
                "<sip:192.0.2.1:5060;transport=udp;lr>",
                "<sip:example.com;lr>",
                "<sip:192.0.2.1;lr>, <sip:token@192.0.2.99;lr>",
            )
        ):
            fields = {"route": route, "call_id": f"r{number}"}
            self.assertEqual(self.alice.subscribe(**fields).status, 200, route)
            self.assertEqual(self.bob.publish(pidf(), **fields).status, 200, route)
        self.assertEqual(others.requests, [])

    def test_no_record_route_of_ours(self) -> None:
        """We stay in no path: neither answers nor NOTIFYs say Record-Route (ROU-05)."""
        route = "<sip:192.0.2.1;lr>"
        answers = [
            self.alice.subscribe(route=route),
            self.bob.publish(pidf(), route=route),
            self.bob.publish(pidf(), record_route="<sip:192.0.2.77;lr>"),
            self.alice.ask(self.alice.request("OPTIONS", BOB)),
        ]
        for response in answers:
            self.assertEqual(response.status, 200)
            self.assertNotIn("record-route", response.headers)
        for notify in self.alice.notifies():
            self.assertNotIn("record-route", notify.headers)


class ExtensionTests(DialogCase):
    """Extensions in responses (UAS-13)."""

    def test_none_unasked(self) -> None:
        """No response requires anything of a client that said nothing (UAS-13)."""
        answers = [
            self.alice.subscribe(),
            self.alice.subscribe(supported="eventlist, gruu, outbound"),
            self.bob.publish(pidf()),
            self.alice.ask(self.alice.request("OPTIONS", BOB)),
        ]
        for response in answers:
            self.assertEqual(response.status, 200)
            self.assertNotIn("require", response.headers)

    def test_nothing_is_insisted_on(self) -> None:
        """A client that supports no extension at all is served: never 421 (UAS-13)."""
        response = self.alice.subscribe(supported="")
        self.assertEqual(response.status, 200)
        notify: Request = self.alice.notifies()[0]
        self.assertNotIn("require", notify.headers)
