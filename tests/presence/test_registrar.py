"""The registrar: RFC 3261 section 10.3 over the in-memory store."""

from __future__ import annotations

from typing import Any, cast

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.logger import Logger, LogPublisher
from twisted.trial.unittest import SynchronousTestCase

from presence.registrar import Registrar, RegistrarPolicy
from presence.store.memory import MemoryStore
from pysip.auth.domains import Domains
from pysip.errors import ParseError, SipError
from pysip.event.records import BindingRecord
from pysip.interfaces import Identity
from pysip.message import Request
from pysip.timers import TimerWheel

ALICE = "sip:alice@example.com"
DESK = "<sip:alice@192.0.2.1>"
LAPTOP = "<sip:alice@192.0.2.2;transport=tcp>"
WALL = 1_000_000.0
LATE = 0.05  # what the timer wheel may be late


class Served:
    """A request being served, and its answer."""

    def __init__(self, request: Request, identity: Identity) -> None:
        self.request = request
        self.identity = identity
        self.status = 0
        self.headers: list[tuple[str, str]] = []

    def respond(self, status: int, reason: str | None = None, headers: Any = ()) -> None:
        """Keep the one answer."""
        assert not self.status, "answered twice"
        self.status = status
        self.headers = list(headers)

    def refuse(self, error: SipError) -> None:
        """Keep a refusal."""
        self.respond(error.status, error.reason, error.headers)

    @property
    def contacts(self) -> list[str]:
        """The Contact values of the answer."""
        return [value for name, value in self.headers if name == "Contact"]


class Lab:
    """A registrar on a clock of its own."""

    def __init__(self, policy: RegistrarPolicy | None = None) -> None:
        self.clock = Clock()
        self.store = MemoryStore(self.clock)
        self.store.start()
        self.policy = policy
        self.cseq = 0
        self.boot()

    def boot(self) -> None:
        """A registrar as after a start of the process."""
        self.wheel = TimerWheel(self.clock)
        self.registrar = Registrar(
            self.store,
            Domains(["example.com", "example.net"], {"127.0.0.1": "example.com"}),
            self.clock,
            self.wheel,
            self.wall,
            self.policy,
        )
        self.registrar.recover()
        self.advance(0)

    def wall(self) -> float:
        """Wall-clock time."""
        return WALL + self.clock.seconds()

    def advance(self, seconds: float) -> None:
        """Let time pass; first everything due at once."""
        for _ in range(5):
            self.clock.advance(0)
        self.clock.advance(seconds)
        for _ in range(5):
            self.clock.advance(0)

    def begin(
        self,
        *contacts: str,
        to: str = f"<{ALICE}>",
        uri: str = "sip:example.com",
        identity: Identity | None = None,
        call_id: str = "c1",
        cseq: int | None = None,
        **fields: str,
    ) -> Served:
        """Hand a REGISTER to the registrar; its answer waits for the store."""
        self.cseq += 1
        headers = {
            "from": [f"{to};tag=1"],
            "to": [to],
            "call-id": [call_id],
            "cseq": [f"{self.cseq if cseq is None else cseq} REGISTER"],
        }
        if contacts:
            headers["contact"] = list(contacts)
        headers.update({name: [value] for name, value in fields.items()})
        served = Served(
            Request("REGISTER", uri, headers),
            Identity((ALICE, "sip:al@example.com")) if identity is None else identity,
        )
        self.registrar.serve(cast("Any", served))
        return served

    def register(self, *contacts: str, **named: Any) -> Served:
        """Send a REGISTER and wait for its answer."""
        served = self.begin(*contacts, **named)
        self.advance(0)
        return served

    def contacts(self, aor: str = ALICE) -> list[str]:
        """The contacts bound to an address of record."""
        return [binding.record.contact for binding in self.registrar.bindings(aor)]

    def stored(self) -> list[str]:
        """The contacts in the store."""
        found: list[str] = []
        self.store.recover_bindings(lambda rows: found.extend(row.contact for row in rows))
        self.advance(0)
        return found


class RegistrarTestCase(SynchronousTestCase):
    """Base with a registrar."""

    def setUp(self) -> None:
        """Make a registrar."""
        self.lab = Lab()

    def refused(self, *contacts: str, **named: Any) -> SipError:
        """Send a REGISTER that is refused without leaving a trace (UAS-09)."""
        before = [b.record for b in self.lab.registrar.bindings(ALICE)]
        error: SipError = self.assertRaises(SipError, self.lab.begin, *contacts, **named)
        self.assertEqual([b.record for b in self.lab.registrar.bindings(ALICE)], before)
        self.lab.advance(0)
        self.assertEqual(sorted(self.lab.stored()), sorted(r.contact for r in before))
        return error


class BindingTests(RegistrarTestCase):
    """Adding, refreshing, removing and fetching."""

    def test_register(self) -> None:
        """CLI-01: a REGISTER is answered with its binding, interval and Date."""
        answer = self.lab.register(DESK, expires="600")
        self.assertEqual(answer.status, 200)
        self.assertEqual(answer.contacts, [f"{DESK};expires=600"])
        self.assertIn(("Date", "Mon, 12 Jan 1970 13:46:40 GMT"), answer.headers)
        self.assertEqual(self.lab.contacts(), ["sip:alice@192.0.2.1"])
        self.assertEqual(self.lab.registrar.count, 1)

    def test_no_gruu(self) -> None:
        """CLI-01: an instance is echoed, but no GRUU and no Service-Route is given."""
        answer = self.lab.register(
            f'{DESK};+sip.instance="<urn:uuid:1>";reg-id=1;q=0.50', supported="gruu, outbound, path"
        )
        self.assertEqual(
            answer.contacts, [f'{DESK};expires=3600;q=0.5;+sip.instance="<urn:uuid:1>"']
        )
        self.assertEqual({name for name, _ in answer.headers}, {"Date", "Contact"})
        (binding,) = self.lab.registrar.bindings(ALICE)
        self.assertEqual((binding.record.instance, binding.record.q), ("<urn:uuid:1>", 500))

    def test_answer_waits_for_store(self) -> None:
        """RFC 3261 10.3: the 200 leaves when the bindings are committed, not before."""
        served = self.lab.begin(DESK)
        self.assertEqual(served.status, 0)
        self.lab.advance(0)
        self.assertEqual(served.status, 200)
        self.assertEqual(self.lab.stored(), ["sip:alice@192.0.2.1"])

    def test_all_bindings_in_answer(self) -> None:
        """RFC 3261 10.3 step 8: the 200 lists all bindings with what is left of them."""
        self.lab.register(DESK, expires="600")
        self.lab.advance(100)
        answer = self.lab.register(LAPTOP, call_id="c2", expires="300")
        self.assertEqual(answer.contacts, [f"{DESK};expires=500", f"{LAPTOP};expires=300"])

    def test_fetch(self) -> None:
        """RFC 3261 10.2.3: without Contact nothing changes and all is told."""
        self.assertEqual(self.lab.register().contacts, [])
        self.lab.register(DESK)
        self.assertEqual(self.lab.register().contacts, [f"{DESK};expires=3600"])

    def test_refresh(self) -> None:
        """A refresh moves the deadline of the same binding."""
        self.lab.register(DESK, expires="600")
        self.lab.advance(500)
        self.assertEqual(self.lab.register(DESK, expires="600").contacts, [f"{DESK};expires=600"])
        self.lab.advance(500)
        self.assertEqual(len(self.lab.contacts()), 1)

    def test_uri_comparison(self) -> None:
        """RFC 3261 10.3 step 7: contacts are matched by URI comparison; the new text stays."""
        self.lab.register("<sip:alice@PC.example.com;transport=udp>")
        self.lab.register("<sip:%61lice@pc.example.com;transport=UDP>")
        self.assertEqual(self.lab.contacts(), ["sip:%61lice@pc.example.com;transport=UDP"])
        self.assertEqual(self.lab.stored(), self.lab.contacts())

    def test_escaped_nul(self) -> None:
        """TOR-04: contacts that differ in %00 only are two bindings."""
        self.lab.register("<sip:%00@192.0.2.1>, <sip:%00%00@192.0.2.1>")
        self.assertEqual(len(self.lab.contacts()), 2)

    def test_contact_parameters(self) -> None:
        """TOR-43, TOR-44: parameters inside the brackets belong to the contact."""
        self.lab.register("<sip:u@192.0.2.1;x=y?Route=%3Csip:a%3E>;z=1", "<sip:u@192.0.2.9>;x=y")
        self.assertEqual(
            self.lab.contacts(), ["sip:u@192.0.2.1;x=y?Route=%3Csip:a%3E", "sip:u@192.0.2.9"]
        )

    def test_remove_one(self) -> None:
        """Interval 0 removes one binding; one that is not there is no error."""
        self.lab.register(DESK, LAPTOP)
        answer = self.lab.register(f"{DESK};expires=0", "<sip:other@192.0.2.9>;expires=0")
        self.assertEqual(answer.contacts, [f"{LAPTOP};expires=3600"])
        self.assertEqual(self.lab.stored(), ["sip:alice@192.0.2.2;transport=tcp"])

    def test_remove_all(self) -> None:
        """RFC 3261 10.3 step 6: Contact * with Expires 0 removes everything."""
        self.lab.register(DESK, call_id="c1")
        self.lab.register(LAPTOP, call_id="c2")
        answer = self.lab.register("*", call_id="c3", expires="0")
        self.assertEqual((answer.status, answer.contacts), (200, []))
        self.assertEqual(self.lab.stored(), [])
        self.assertEqual(self.lab.registrar.count, 0)
        self.assertEqual(self.lab.register("*", expires="0").status, 200)

    def test_remove_all_malformed(self) -> None:
        """RFC 3261 10.3 step 6: * with another contact, or with an interval, is 400."""
        self.lab.register(DESK)
        for contacts, expires in (
            (("*", DESK), {"expires": "0"}),
            (("*", "*"), {"expires": "0"}),
            (("*",), {"expires": "1"}),
            (("*",), {"expires": "x"}),
            (("*",), {}),
        ):
            self.assertEqual(self.refused(*contacts, **expires).status, 400)

    def test_expiry(self) -> None:
        """A binding ends with its interval, in memory and in the store."""
        self.lab.register(f"{DESK};expires=100", f"{LAPTOP};expires=200")
        self.lab.advance(100 + LATE)
        self.assertEqual(self.lab.contacts(), ["sip:alice@192.0.2.2;transport=tcp"])
        self.assertEqual(self.lab.stored(), self.lab.contacts())
        self.assertEqual(self.lab.registrar.count, 1)
        self.lab.advance(100)
        self.assertEqual(self.lab.stored(), [])
        self.assertEqual(len(self.lab.wheel), 0)


class IntervalTests(RegistrarTestCase):
    """How long a binding is for."""

    def granted(self, contact: str, **fields: str) -> str:
        """The ``expires`` of the answer."""
        (value,) = self.lab.register(contact, **fields).contacts
        return value.partition(";expires=")[2]

    def test_order(self) -> None:
        """RFC 3261 10.3 step 7: contact parameter, then Expires, then the default."""
        self.assertEqual(self.granted(f"{DESK};expires=300", expires="600"), "300")
        self.assertEqual(self.granted(DESK, expires="600"), "600")
        self.assertEqual(self.granted(DESK), "3600")

    def test_malformed(self) -> None:
        """TOR-17: an interval that is none, or too large a number, counts as 3600."""
        self.assertEqual(self.granted(f"{DESK};expires=soon", expires="600"), "3600")
        self.assertEqual(self.granted(f"{DESK};expires=4294967296"), "3600")
        self.assertEqual(self.granted(DESK, expires="-1"), "3600")
        self.assertEqual(self.granted(f"{DESK};expires"), "3600")

    def test_too_brief(self) -> None:
        """RFC 3261 10.3 step 7: below the minimum is 423 with Min-Expires."""
        self.lab.register(LAPTOP)
        error = self.refused(f"{LAPTOP};expires=0", f"{DESK};expires=59")
        self.assertEqual(error.status, 423)
        self.assertEqual(error.headers, (("Min-Expires", "60"),))
        self.assertEqual(self.granted(f"{LAPTOP};expires=60"), "60")

    def test_hour_is_never_too_brief(self) -> None:
        """RFC 3261 10.3 step 7: an hour or more is not refused, whatever the minimum."""
        self.lab = Lab(RegistrarPolicy(min_expires=7200))
        self.assertEqual(self.refused(DESK, expires="3599").status, 423)
        self.assertEqual(self.granted(DESK, expires="3600"), "3600")

    def test_maximum(self) -> None:
        """Longer intervals are cut."""
        self.assertEqual(self.granted(DESK, expires="4294967295"), "86400")


class OrderTests(RegistrarTestCase):
    """Call-ID and CSeq."""

    def test_old_cseq(self) -> None:
        """RFC 3261 10.3 step 7: same Call-ID and no higher CSeq fails; all or nothing."""
        self.lab.register(DESK, call_id="c1", cseq=7)
        for cseq in (6, 7):
            error = self.refused(LAPTOP, DESK, call_id="c1", cseq=cseq)
            self.assertEqual(error.status, 500)
            self.refused(f"{DESK};expires=0", call_id="c1", cseq=cseq)
            self.refused("*", call_id="c1", cseq=cseq, expires="0")
        self.assertEqual(self.lab.register(DESK, call_id="c1", cseq=8).status, 200)

    def test_other_call_id(self) -> None:
        """RFC 3261 10.3 step 7: another Call-ID updates and removes with any CSeq."""
        self.lab.register(DESK, call_id="c1", cseq=7)
        self.lab.register(DESK, call_id="c2", cseq=1)
        self.assertEqual(self.lab.register("*", call_id="c3", cseq=1, expires="0").contacts, [])

    def test_same_contact_twice(self) -> None:
        """Of two values for one contact in one REGISTER the later one counts."""
        answer = self.lab.register(f"{DESK};expires=100", f"{DESK};expires=200")
        self.assertEqual(answer.contacts, [f"{DESK};expires=200"])

    def test_pipelined(self) -> None:
        """Requests are processed in their order, each on what the one before has made."""
        first = self.lab.begin(DESK)
        second = self.lab.begin(LAPTOP)
        self.lab.advance(0)
        self.assertEqual(len(first.contacts), 1)
        self.assertEqual(len(second.contacts), 2)


class AuthorizationTests(RegistrarTestCase):
    """Whose bindings, and of which domain."""

    def test_third_party(self) -> None:
        """RFC 3261 10.3 step 4: nobody registers for somebody else."""
        self.assertEqual(self.refused(DESK, to="<sip:bob@example.com>").status, 403)
        self.assertEqual(self.refused(DESK, identity=Identity(())).status, 403)
        self.assertEqual(self.refused(to="<sip:bob@example.com>").status, 403)

    def test_alias_identity(self) -> None:
        """AUT-11: any identity of the user may be registered."""
        self.lab.register(DESK, to="<sip:al@example.com>")
        self.assertEqual(len(self.lab.contacts("sip:al@example.com")), 1)

    def test_domain(self) -> None:
        """RFC 3261 10.3 steps 1 and 5: the domain must be ours and fit the address."""
        self.assertEqual(self.refused(DESK, uri="sip:example.org").status, 404)
        self.assertEqual(self.refused(DESK, uri="sip:example.net").status, 404)
        tel = Identity(("tel:+1555",))
        self.assertEqual(self.refused(DESK, to="<tel:+1-555>", identity=tel).status, 404)

    def test_domain_alias(self) -> None:
        """CLI-13: a numeric address stands for the domain."""
        self.lab.register(DESK, uri="sip:127.0.0.1", to="sip:alice@127.0.0.1")
        self.assertEqual(len(self.lab.contacts()), 1)

    def test_canonical(self) -> None:
        """RFC 3261 10.3 step 5: parameters and escapes do not make another address."""
        self.lab.register(DESK, to="<sip:%61lice@EXAMPLE.com:5060;user=ip>")
        self.assertEqual(len(self.lab.contacts()), 1)

    def test_foreign_scheme(self) -> None:
        """TOR-35: a To that is no address of record is 400."""
        self.assertRaises(ParseError, self.lab.begin, DESK, to="<isbn:2983792873>")

    def test_require(self) -> None:
        """UAS-04: path, outbound and gruu cannot be required of this registrar."""
        error = self.refused(DESK, require="path, gruu", path="<sip:p.example.com;lr>")
        self.assertEqual(error.status, 420)
        self.assertEqual(error.headers, (("Unsupported", "path, gruu"),))
        answer = self.lab.register(DESK, supported="path", path="<sip:p.example.com;lr>")
        self.assertEqual(answer.status, 200)
        self.assertEqual(self.lab.register(require="").status, 200)


class MalformedTests(RegistrarTestCase):
    """Values that break their grammar."""

    def test_bad_values(self) -> None:
        """One bad value spoils the request, and nothing has changed."""
        for bad in (
            "<sip:alice@>",
            f"{DESK};q=2",
            f"{DESK};q=0.1234",
            f"{DESK};q=x",
            f"{DESK};q=.5",
            "*;expires=0",
        ):
            self.assertRaises(ParseError, self.lab.begin, LAPTOP, bad)
            self.assertEqual(self.lab.contacts(), [])


class LimitTests(RegistrarTestCase):
    """How many bindings there can be."""

    def setUp(self) -> None:
        """Make a registrar with three bindings at most."""
        self.lab = Lab(RegistrarPolicy(max_bindings=3))

    def test_too_many(self) -> None:
        """Beyond the limit is 403; replacing within it is not."""
        for i in range(3):
            self.lab.register(f"<sip:alice@192.0.2.{i}>")
        self.assertEqual(self.refused("<sip:alice@192.0.2.7>").status, 403)
        answer = self.lab.register("<sip:alice@192.0.2.0>;expires=0", "<sip:alice@192.0.2.9>")
        self.assertEqual(answer.status, 200)
        many = [f"<sip:alice@192.0.2.{i}>;expires=0" for i in range(7)]
        self.assertEqual(self.refused(*many).status, 403)

    def test_instance_makes_room(self) -> None:
        """CLI-08: what an instance left behind goes when there is no room."""
        self.lab.register("<sip:alice@192.0.2.9>")
        for port in range(1, 6):
            answer = self.lab.register(
                f'<sip:alice@192.0.2.1:{port}>;+sip.instance="<urn:uuid:1>"', call_id=f"c{port}"
            )
            self.assertEqual(answer.status, 200)
            self.lab.advance(1)
        self.assertEqual(
            self.lab.contacts(),
            ["sip:alice@192.0.2.9", "sip:alice@192.0.2.1:4", "sip:alice@192.0.2.1:5"],
        )
        self.assertEqual(len(self.lab.stored()), 3)


class StoreTests(RegistrarTestCase):
    """Outages and restarts."""

    def test_failed_commit(self) -> None:
        """RFC 3261 10.3 step 7: a commit that fails is 500, and all updates are undone."""
        self.lab.register(DESK, expires="600")
        self.lab.store.fail_next()
        first = self.lab.begin(LAPTOP, f"{DESK};expires=0")
        second = self.lab.begin("*", call_id="c2", expires="0")
        fetch = self.lab.begin()
        self.assertEqual(self.lab.contacts(), [])
        self.lab.advance(0)
        self.assertEqual([s.status for s in (first, second, fetch)], [500, 500, 500])
        self.assertEqual(self.lab.contacts(), ["sip:alice@192.0.2.1"])
        self.assertEqual(self.lab.registrar.count, 1)
        self.flushLoggedErrors()
        self.lab.advance(600 + LATE)
        self.assertEqual(self.lab.contacts(), [])

    def test_failed_first(self) -> None:
        """A first registration that could not be stored leaves nothing."""
        self.lab.store.fail_next()
        served = self.lab.begin(DESK)
        self.lab.advance(0)
        self.assertEqual(served.status, 500)
        self.assertEqual((self.lab.contacts(), self.lab.registrar.count), ([], 0))

    def test_outage(self) -> None:
        """While the store refuses writes the answer is 503 with Retry-After."""
        self.lab.store.failed = True
        error = self.assertRaises(SipError, self.lab.begin, DESK)
        self.assertEqual((error.status, error.headers), (503, (("Retry-After", "10"),)))

    def test_damaged_record(self) -> None:
        """P203: a contact that cannot be read any more is reported, and forgotten."""
        events: list[dict[str, Any]] = []
        self.patch(Registrar, "_log", Logger("test", observer=LogPublisher(events.append)))
        self.lab.register("<sip:a@192.0.2.1>")
        record = BindingRecord(ALICE, "no URI <", "c", 1, self.lab.wall() + 600)
        self.lab.store.put_binding(record)
        self.lab.advance(0)
        self.lab.boot()
        self.assertEqual(self.lab.contacts(), ["sip:a@192.0.2.1"])
        self.assertEqual([event["number"] for event in events], [203])
        self.lab.advance(0)
        self.assertEqual(self.lab.stored(), ["sip:a@192.0.2.1"])

    def test_restart(self) -> None:
        """Bindings survive a restart with their deadlines; what expired meanwhile is gone."""
        self.lab.register(
            f'{DESK};expires=100;q=0.3;+sip.instance="<urn:uuid:1>"', f"{LAPTOP};expires=1000"
        )
        self.lab.registrar.stop()
        self.lab.wheel.stop()
        self.lab.advance(200)
        self.lab.boot()
        self.assertEqual(self.lab.register().contacts, [f"{LAPTOP};expires=800"])
        self.assertEqual(len(self.lab.stored()), 1)
        self.assertEqual(self.refused(LAPTOP, cseq=1).status, 500)
        self.lab.advance(800 + LATE)
        self.assertEqual(self.lab.stored(), [])

    def test_wall_clock_jump(self) -> None:
        """OBS-04: a jump of the wall clock expires nothing."""
        self.lab.register(DESK, expires="600")
        wall = self.lab.wall
        self.lab.registrar._wall = lambda: wall() + 3600
        self.lab.advance(500)
        self.assertEqual(len(self.lab.contacts()), 1)


class ModelTests(SynchronousTestCase):
    """Random histories against the sentences of RFC 3261 section 10.3."""

    @settings(max_examples=60, deadline=None)
    @given(
        st.lists(
            st.tuples(
                st.sampled_from(["c1", "c2"]),
                st.integers(1, 4),
                st.lists(
                    st.tuples(st.integers(0, 2), st.sampled_from([0, 60, 120])),
                    max_size=3,
                    unique_by=lambda pair: pair[0],
                ),
                st.booleans(),  # the store fails
                st.sampled_from([0, 30, 90]),  # seconds until the next request
            ),
            max_size=8,
        )
    )
    def test_histories(
        self, history: list[tuple[str, int, list[tuple[int, int]], bool, int]]
    ) -> None:
        """RFC 3261 10.3: bindings follow the rules; store and memory agree (UAS-09)."""
        lab = Lab()
        model: dict[str, tuple[str, int, float]] = {}
        for call_id, cseq, changes, outage, pause in history:
            now = lab.clock.seconds()
            model = {contact: m for contact, m in model.items() if m[2] > now}
            contacts = [f"<sip:u@192.0.2.{place}>;expires={e}" for place, e in changes]
            after = dict(model)
            allowed = True
            for place, expires in changes:
                contact = f"sip:u@192.0.2.{place}"
                old = model.get(contact)
                allowed = allowed and not (old and old[0] == call_id and cseq <= old[1])
                after.pop(contact, None)
                if expires:
                    after[contact] = (call_id, cseq, now + expires)
            if outage and changes:
                lab.store.fail_next()
            try:
                answer = lab.register(*contacts, call_id=call_id, cseq=cseq)
            except SipError as error:
                assert error.status == 500 and not allowed
                lab.store.fail_next(0)
            else:
                assert allowed
                changed = outage and after != model
                if answer.status == 200:
                    model = after
                    assert len(answer.contacts) == len(model)
                else:
                    assert (answer.status == 500 and changed) or outage
            lab.store.fail_next(0)
            lab.advance(1.5 if lab.store.failed else 0)
            assert sorted(lab.contacts()) == sorted(c for c, m in model.items())
            lab.advance(pause + LATE)
            live = sorted(c for c, m in model.items() if m[2] > lab.clock.seconds())
            assert sorted(lab.contacts()) == live
            assert lab.registrar.count == len(live)
        lab.registrar.stop()
        lab.wheel.stop()
        lab.boot()
        assert sorted(lab.contacts()) == sorted(
            c for c, m in model.items() if m[2] > lab.clock.seconds()
        )
