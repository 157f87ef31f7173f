"""Reactive authorization as appendix I of PKT-PRS tells it, message for message (FLW-01)."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote

from twisted.trial.unittest import SynchronousTestCase

from tests.e2e.daemon import Daemon
from tests.e2e.deployments import AllInOne, Apart, Deployment
from tests.e2e.flow import Course, read
from tests.e2e.phone import DOMAIN, aor
from tests.e2e.wire import HOST, Message, udp
from tests.e2e.xdm import ELEMENT
from tests.e2e.xdm import XcapClient as Client
from tests.ports import free_port

COURSE = Path(__file__).parents[1] / "vectors" / "flows" / "appendix-i.txt"
PLACE = f"org.openmobilealliance.pres-rules/users/{quote(aor('bob'), safe=':@')}/pres-rules"
RULES = f"""<?xml version="1.0" encoding="UTF-8"?>
<cp:ruleset xmlns:cp="urn:ietf:params:xml:ns:common-policy"
            xmlns:pr="urn:ietf:params:xml:ns:pres-rules"
            xmlns:ocp="urn:oma:xml:xdm:common-policy">
  <cp:rule id="friends">
    <cp:conditions>
      <cp:identity><cp:one id="{aor("dave")}"/></cp:identity>
    </cp:conditions>
    <cp:actions><pr:sub-handling>allow</pr:sub-handling></cp:actions>
    <cp:transformations>
      <pr:provide-services><pr:all-services/></pr:provide-services>
      <pr:provide-persons><pr:all-persons/></pr:provide-persons>
      <pr:provide-all-attributes/>
    </cp:transformations>
  </cp:rule>
  <cp:rule id="enemies">
    <cp:conditions>
      <cp:identity><cp:one id="{aor("eve")}"/></cp:identity>
    </cp:conditions>
    <cp:actions><pr:sub-handling>block</pr:sub-handling></cp:actions>
  </cp:rule>
  <cp:rule id="bores">
    <cp:conditions>
      <cp:identity><cp:one id="{aor("eve")}"/></cp:identity>
    </cp:conditions>
    <cp:actions><pr:sub-handling>polite-block</pr:sub-handling></cp:actions>
  </cp:rule>
  <cp:rule id="unlisted">
    <cp:conditions><ocp:other-identity/></cp:conditions>
    <cp:actions><pr:sub-handling>confirm</pr:sub-handling></cp:actions>
  </cp:rule>
</cp:ruleset>
""".encode()
SPACE = "xmlns(cp=urn:ietf:params:xml:ns:common-policy)"


def added(rule: str, user: str) -> str:
    """The URI of a watcher's place in a rule."""
    step = f'cp:rule[@id="{rule}"]/cp:conditions/cp:identity/cp:one[@id="{aor(user)}"]'
    return f"/{PLACE}/~~/cp:ruleset/{quote(step, safe=':@=/')}?{SPACE}"


class Reactive:
    """The parts of the course, in every deployment."""

    changed: ClassVar[dict[str, Any]] = {}
    xdm: Deployment
    server: Daemon
    client: Client
    course: Course

    def deploy(self, point: dict[str, Any], settings: dict[str, Any]) -> Deployment:
        """Start the servers, with one listening point at the Presence Server."""
        raise NotImplementedError

    def setUp(self: Any) -> None:
        """Start; Bob has rules that let Dave see him and confirm others."""
        scscf = udp(0)
        self.addCleanup(scscf.close)
        names = {f"scscf.{DOMAIN}": [f"sip:{HOST}:{scscf.local[1]}"]}
        point = {"transport": "udp", "auth": "trust", "advertise": f"ps.{DOMAIN}"}
        point["port"] = free_port()
        settings = {
            "locator": {"hosts": names},
            "trust": {"peers": [HOST], "network_name": DOMAIN},
            "trace": {"users": ["presence-server@presence.invalid"]},
            **self.changed,
        }
        self.xdm = self.deploy(point, settings)
        self.server = self.xdm.parts["presence-server"]
        self.client = self.xdm.client("bob")
        self.client.store(f"/{PLACE}", RULES)
        scscf.peer = (HOST, point["port"])
        ports = {"ps": str(point["port"]), "scscf": str(scscf.local[1])}
        self.course = Course(read(COURSE, DOMAIN), scscf, **ports)

    def put(self: Any, rule: str, user: str = "alice") -> str:
        """M12, M13: Bob adds a watcher to a rule through the Aggregation Proxy; the new tag."""
        tag = self.client.get(f"/{PLACE}").etag
        space = 'xmlns:cp="urn:ietf:params:xml:ns:common-policy"'
        answer = self.client.put(
            added(rule, user),
            f'<cp:one {space} id="{aor(user)}"/>'.encode(),
            content_type=ELEMENT,
            if_match=f'"{tag}"',
            x_3gpp_intended_identity=f'"{aor("bob")}"',
        )
        self.assertEqual(answer.status, 201, answer)
        self.assertNotEqual(answer.etag, tag)
        return str(answer.etag)

    def told(self: Any, user: str) -> Message:
        """The next NOTIFY to somebody, answered with 200."""
        call = {"alice": "pres-1@192.0.2.10", "bob": "winfo-1@192.0.2.20"}[user]
        message: Message = self.course.next(call)
        self.course.answer(message)
        return message

    def assertWatcher(
        self: Any, version: int, status: str, event: str, state: str = "partial"
    ) -> None:
        """What Bob is told of Alice next."""
        message = self.told("bob")
        for text in (
            f'version="{version}"',
            f'state="{state}"',
            f'id="{self.course.values["w1"]}"',
        ):
            self.assertIn(text.encode(), message.body)
        self.assertRegex(
            message.body.decode(), rf'<watcher [^>]*status="{status}"[^>]*event="{event}"'
        )

    def pending(self: Any) -> None:
        """Parts 1 and 2, until Alice waits and Bob knows."""
        self.course.play("M1", "M2", "M3", "M4", "M5", "M7", "M8", "M9", "M10", "M11")

    def resubscribe(self: Any, cseq: str, expires: str, again: str = "") -> Message:
        """Alice refreshes or ends her subscription, or begins another one."""
        values = self.course.values
        step = self.course.steps["M5"]
        target = f"sip:{values['d-a1']}@ps.{DOMAIN}:{values['ps']};gr"
        changed = {
            "cseq": f"{cseq} SUBSCRIBE",
            "expires": expires,
            "via": f"SIP/2.0/UDP scscf.{DOMAIN}:{values['scscf']};branch=z9hG4bK-again{cseq}",
            "route": f"<sip:ps.{DOMAIN}:{values['ps']};lr>",
        }
        if again:
            target = aor("bob")
            changed["call-id"] = f"pres-1{again}@192.0.2.10"
        else:
            changed["to"] = f"<{aor('bob')}>;tag={values['ps-a1']}"
        fields = dict(step.fields) | changed
        lines = [f"SUBSCRIBE {target} SIP/2.0", *(f"{n}: {v}" for n, v in fields.items())]
        self.course.send("\r\n".join([*lines, "Content-Length: 0", "", ""]).encode())
        answer: Message = self.course.next(fields["call-id"], response=True)
        return answer


class Courses(Reactive):
    """The course and its variants."""

    def test_course(self: Any) -> None:
        """FLW-01, FLW-03: appendix I, with changes of documents for who likes them better."""
        self.pending()
        self.put("friends")
        self.course.play("M16", "M17", "M18", "M19", "M20", "M21", "M22", "M23")
        self.assertTrue(self.course.silent(0.5), "nothing further comes")
        self.asked()

    def asked(self) -> None:
        """M6, M14 and M15 are calls inside a process that has the documents."""

    def test_block(self: Any) -> None:
        """FLW-02: Bob blocks Alice instead."""
        self.pending()
        self.put("enemies")
        told = self.told("alice")
        self.assertEqual(told["subscription-state"], "terminated;reason=rejected")
        self.assertEqual(told.body, b"")
        self.assertWatcher(2, "terminated", "rejected")
        self.assertTrue(self.course.silent(0.5))

    def test_polite_block(self: Any) -> None:
        """FLW-02: Bob blocks Alice politely: she sees what M16 shows, for ever."""
        self.pending()
        self.put("bores")
        self.course.play("M16", "M17", "M18", "M19", "M20", "M21")
        self.assertTrue(self.course.silent(0.5))

    def test_later(self: Any) -> None:
        """FLW-02: Bob comes when Alice waits already: she is in the full document."""
        self.course.play("M5", "M7", "M8", "M9", "M1", "M2")
        body = self.told("bob").body.decode()
        self.assertRegex(body, r'version="0" state="full"')
        watcher = (
            rf'<watcher [^>]*id="([^"]+)" status="pending" event="subscribe".*>{aor("alice")}<'
        )
        self.assertRegex(body, watcher)
        self.put("friends")
        self.course.play("M16", "M17")
        self.assertIn(b'status="active" event="approved"', self.told("bob").body)

    def test_gone_before(self: Any) -> None:
        """FLW-02: Alice ends while she waits; approved, she is told at her next SUBSCRIBE."""
        self.pending()
        self.resubscribe("2", "0")
        self.assertIn("terminated", self.told("alice")["subscription-state"])
        self.assertWatcher(2, "waiting", "timeout")
        self.put("friends")
        self.assertWatcher(3, "terminated", "approved")
        answer = self.resubscribe("3", "3600", again="-2")
        self.assertEqual(answer.status, 200)


class Together(Reactive):
    """All roles in one process."""

    def deploy(self: Any, point: dict[str, Any], settings: dict[str, Any]) -> Deployment:
        """Start it."""
        return AllInOne(self, points={"udp": point}, **settings)


class Separate(Reactive):
    """Presence Server, document servers and Aggregation Proxy as processes of their own."""

    def deploy(self: Any, point: dict[str, Any], settings: dict[str, Any]) -> Deployment:
        """Start them."""
        names = {f"ps.{DOMAIN}": HOST}
        return Apart(self, presence=settings, points={"peers": point}, names=names)


class TogetherTests(Together, Courses, SynchronousTestCase):
    """The course in one process."""


class SeparateTests(Separate, Courses, SynchronousTestCase):
    """The course between processes."""

    def asked(self) -> None:
        """M6, M14, M15: what went between the Presence Server and the Presence XDMS."""
        self.xdm.parts["presence-xdms"].stop()
        log = self.xdm.parts["presence-xdms"].state / "access.log"
        lines = [json.loads(line) for line in log.read_text().splitlines()]
        gets = [x["status"] for x in lines if x["method"] == "GET" and x["target"] == f"/{PLACE}"]
        # M6 before M7, the one of our own in put(), M15 after M14
        self.assertGreaterEqual(gets.count(200), 3, lines)
        self.assertTrue(any(x["method"] == "PUT" and x["status"] == 201 for x in lines))
        trace = (self.server.state / "trace.log").read_text()
        told = [text for text in trace.split("\n--- ") if "\nEvent: xcap-diff" in text]
        changes = [text for text in told if f'sel="{PLACE}" previous-etag' in text]
        self.assertTrue(changes, trace)
        self.assertIn("received from", changes[0].partition("\n")[0])
        self.assertIn("NOTIFY sip:documents@", changes[0])
        self.xdm.parts["presence-xdms"].start()


class GiveUpTests(Together, SynchronousTestCase):
    """Bob decides nothing."""

    changed: ClassVar[dict[str, Any]] = {"winfo": {"pending": 1.0}}

    def test_give_up(self) -> None:
        """FLW-02: Alice's subscription is given up after a while."""
        self.pending()
        told = self.told("alice")
        self.assertEqual(told["subscription-state"], "terminated;reason=giveup")
        self.assertWatcher(2, "terminated", "giveup")


class FailureTests(Separate, SynchronousTestCase):
    """The document server, or what it tells, is not there."""

    changed: ClassVar[dict[str, Any]] = {"fetch": {"poll": 0.5, "check": 1.0}}

    def back(self) -> None:
        """Wait until the proxy has noticed that the document server is there again."""
        deadline = time.monotonic() + 20.0
        while self.client.get(f"/{PLACE}").status == 503:
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.1)

    def test_lost(self) -> None:
        """FLW-04: the server forgets who has subscribed; its documents are looked at all the same.

        PSV-10.
        """
        self.pending()
        server = self.xdm.parts["presence-xdms"]
        server.kill()
        for file in server.state.glob("presence.sqlite*"):
            file.unlink()
        server.start()
        self.back()
        self.put("friends")
        self.course.play("M16", "M17", "M18", "M19")

    def test_restart(self) -> None:
        """PSV-10: what the server is told to tell it tells after a restart, too."""
        self.pending()
        self.xdm.parts["presence-xdms"].restart()
        self.back()
        self.put("friends")
        self.course.play("M16", "M17", "M18", "M19")

    def test_unreachable(self) -> None:
        """PSV-08: while nobody knows the rules everybody waits; they count when they are back."""
        self.put("friends")
        server = self.xdm.parts["presence-xdms"]
        server.stop()
        self.server.expected = "P601"
        self.course.play("M1", "M2", "M3", "M4", "M5", "M7", "M8", "M9", "M10", "M11")
        server.start()
        self.course.play("M16", "M17", "M18", "M19")
