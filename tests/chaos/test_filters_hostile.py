"""Filters and documents that mean ill: refused or ended, in bounded time and memory.

RFC 4660 section 8, FLT-26, FLT-27; everybody else is served meanwhile.
"""

from __future__ import annotations

import gzip
import re
import urllib.request
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from presence.pidf.validate import DEFAULT_LIMIT
from tests.e2e.daemon import OPEN_POINTS, Daemon, tables
from tests.e2e.phone import PIDF, Phone, Watch, aor, notes, pidf
from tests.presence.filters_oracle import FILTERS as SPACE

FILTERS = "application/simple-filter+xml"
BINDING = '<ns-bindings><ns-binding prefix="p" urn="urn:ietf:params:xml:ns:pidf"/></ns-bindings>'
ROUNDS = 5
MIB = 1 << 20
GROWTH = 16 * MIB
"""Octets of memory that the server may have more after all rounds but the first."""
LONGEST = 0.5
"""Seconds that a turn of the reactor may take, on a machine that does other things as well; what
a filter may cost is a fiftieth of that."""
LIMIT = 131072


def filters(*inner: str, head: str = BINDING) -> bytes:
    """A filter document."""
    return f'<filter-set xmlns="{SPACE}">{head}{"".join(inner)}</filter-set>'.encode()


def one(*includes: str, name: str = "f", kind: str = "include") -> str:
    """A filter with some expressions."""
    return f'<filter id="{name}"><what>{_each(kind, includes)}</what></filter>'


def waits(*paths: str) -> str:
    """A filter with a trigger."""
    return f'<filter id="f"><trigger>{_each("changed", paths)}</trigger></filter>'


def _each(kind: str, texts: tuple[str, ...]) -> str:
    escaped = (text.replace("<", "&lt;") for text in texts)
    return "".join(f"<{kind}>{text}</{kind}>" for text in escaped)


def refused() -> dict[str, bytes]:
    """Documents that get 488 (FLT-26, FLT-27)."""
    path = "//p:note"
    deep = "<filter>" * 20_000 + "</filter>" * 20_000
    bomb = (
        '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa">'
        + "".join(
            f'<!ENTITY {n} "{f"&{p};" * 10}">' for p, n in zip("abcdefgh", "bcdefghi", strict=True)
        )
        + "]>"
    )
    outside = '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>'
    many = " ".join(f"a{n}='x'" for n in range(3000))
    bindings = "".join(f'<ns-binding prefix="p{n}" urn="urn:x:{n}"/>' for n in range(65))
    long = "urn:" + "x" * 900
    spread = [
        f'<filter id="f{n}" uri="sip:{n}{"x" * 900}@x">{_what(path)}</filter>' for n in range(30)
    ]
    return {
        "nested": filters(deep),
        "huge": filters(one(path)) + b" " * LIMIT,
        "huge text": filters(one("/" * LIMIT)),
        "filters": filters(*(f'<filter id="f{n}" uri="sip:{n}@x"/>' for n in range(33))),
        "expressions": filters(one(*[path] * 65)),
        "long": filters(one("/p:x" * 257)),
        "many steps and a bracket": filters(one("//*" * 300 + "[")),
        "brackets": filters(one("//p:x" + "[" * 500)),
        "conditions in conditions": filters(one('//p:x[p:y[p:z="1"]="1"]')),
        "functions": filters(one("//p:tuple[count(//*)=1]")),
        "axes": filters(one("//p:tuple/ancestor::*")),
        "position": filters(one("//p:tuple[last()]")),
        "variable": filters(one("$x")),
        "union": filters(one(f"{path}|{path}")),
        "unbound": filters(one("//q:x")),
        "condition in a trigger": filters(waits('//p:note[.="1"]')),
        "number": filters(one(f"//p:note[.={'9' * 500}]")),
        "bomb": bomb.encode() + filters(one("&i;")),
        "outside": outside.encode() + filters(one("&a;")),
        "bindings": filters(one(path), head=f"<ns-bindings>{bindings}</ns-bindings>"),
        "attributes": filters(f"<filter {many}/>"),
        "namespaces": filters(
            one(path).replace("<include", f'<include type="namespace" x="{long}"')
        ),
        "kept": filters(*spread),
        "not XML": b"\xff\xfe\x00",
        "open": filters(one(path))[:-20],
        "UTF-16": filters(one(path)).decode().encode("utf-16"),
    }


def _what(path: str) -> str:
    return f"<what><include>{path}</include></what>"


def costly() -> dict[str, bytes]:
    """Documents that are in order and take too long where there is much to look at."""
    steps = "//*" * 300
    equal = 'p:note="x"'
    either = f"[{' or '.join([equal] * 45)}]"
    return {
        "steps": filters(one(*[f"{steps}"] * 16)),
        "quadratic": filters(one(*[f"{'//*' * 12}[.='{n}']" for n in range(60)])),
        "conditions": filters(one(*[f"//*{either}"] * 16)),
        "text": filters(one(*["//*[.='x' or ..='x' or .='y' or ..='y']"] * 60)),
        "excludes": filters(one(*["//*"] * 30, kind="exclude")),
        "triggers": filters(waits(*["//*"] * 60)),
        "rest": filters(one(*[f"//*/*{either}" for _ in range(14)], kind="exclude")),
    }


def large() -> bytes:
    """As large a document as may be published, with much in it."""
    tuples = "".join(
        f'<tuple id="t{n}"><status><basic>open</basic></status><note>n{n}</note></tuple>'
        for n in range(700)
    )
    space = "urn:ietf:params:xml:ns:pidf"
    return f'<presence xmlns="{space}" entity="{aor("alice")}">{tuples}</presence>'.encode()


class HostileTests(SynchronousTestCase):
    """A server, a busy presentity, somebody honest and somebody who means ill."""

    def setUp(self) -> None:
        """Start; alice has published much, bob watches carol."""
        settings = tables(metrics={"enabled": True, "port": 0}, overload={"enabled": False})
        self.daemon = Daemon(self, OPEN_POINTS, settings=settings).start()
        self.alice, self.bob, self.carol, self.mallory = (
            self.daemon.phone("tcp", user) for user in ("alice", "bob", "carol", "mallory")
        )
        self.assertEqual(self.alice.publish(large()).status, 200)
        self.etag = ""
        self.turn = 0
        self.watch = self.bob.subscribe("carol")
        self.bob.notify(self.watch)

    def figure(self, name: str) -> float:
        """A metric."""
        place = re.search(r"http://(\S+)/metrics", self.daemon.log())
        assert place is not None
        with urllib.request.urlopen(place[0]) as answer:
            for line in answer.read().decode().splitlines():
                if line.startswith(f"{name} "):
                    return float(line.rpartition(" ")[2])
        raise AssertionError(f"no {name}")

    def served(self) -> None:
        """Carol and bob are served as ever."""
        self.turn += 1
        answer = self.carol.publish(pidf("carol", f"turn {self.turn}"), self.etag)
        self.assertEqual(answer.status, 200)
        self.etag = answer["sip-etag"]
        self.assertEqual(notes(self.bob.notify(self.watch, 5.0)), [f"turn {self.turn}"])

    def ask(self, body: bytes, **fields: Any) -> Watch:
        """Mallory's SUBSCRIBE with filters."""
        fields = {"content_type": FILTERS, **fields}
        return self.mallory.subscribe("alice", body=body, **fields)

    def end(self, phone: Phone, watch: Watch) -> None:
        """Watch no more."""
        self.assertEqual(phone.resubscribe(watch, expires=0).status, 200)
        self.assertIn("terminated", phone.notify(watch)["subscription-state"])

    def rounds(self, play: Any) -> None:
        """Play several times: memory has its size after the first, and no turn is long."""
        play()
        before = self.daemon.resident()
        for _ in range(ROUNDS):
            play()
        grown = self.daemon.resident() - before
        self.assertLess(grown, GROWTH, f"{grown >> 10} KiB more")
        self.assertLess(self.figure("presence_event_loop_longest_turn_seconds"), LONGEST)
        self.assertEqual(self.figure('presence_subscriptions{state="active"}'), 1)  # bob's

    def test_refused(self) -> None:
        """FLT-01, FLT-26, FLT-27: 488 with a Warning, at first and in a subscription that lives."""

        def play() -> None:
            watch = self.mallory.subscribe("alice", accept=PIDF)
            self.mallory.notify(watch)
            for name, body in refused().items():
                response = self.ask(body).response
                self.assertEqual(response.status, 488, name)
                self.assertIn("399", response["warning"], name)
                again = self.mallory.resubscribe(watch, body=body, content_type=FILTERS)
                self.assertEqual(again.status, 488, name)
                self.served()
            self.assertTrue(self.mallory.silent(watch, 0.1))
            self.end(self.mallory, watch)

        self.rounds(play)

    def test_coded(self) -> None:
        """MSG-26, FLT-26: what grows when it is unpacked is 413, what cannot be unpacked 400."""
        bomb = gzip.compress(b" " * (64 * MIB), 9)

        def play() -> None:
            for body, status in ((bomb, 413), (bomb[:-9], 400), (b"\x1f\x8b" * 100, 400)):
                response = self.ask(body, content_encoding="gzip").response
                self.assertIn(response.status, (status, 413), response)
                self.served()

        self.rounds(play)

    def test_costly(self) -> None:
        """FLT-26, FLT-27: what takes too long ends its subscription, and that one only."""

        def play() -> None:
            for name, body in costly().items():
                watch = self.ask(body)
                self.assertEqual(watch.response.status, 200, name)
                notify = self.mallory.notify(watch)
                state = notify["subscription-state"]
                if state.startswith("active"):  # a trigger is looked at when something changes
                    answer = self.alice.publish(large().replace(b"open", b"closed", 350))
                    self.assertEqual(answer.status, 200, name)
                    gone = self.alice.publish(etag=answer["sip-etag"], expires=0)
                    self.assertEqual(gone.status, 200)
                    state = self.mallory.notify(watch)["subscription-state"]
                    self.assertTrue(state.startswith("terminated"), name)
                self.assertEqual(state, "terminated;reason=badfilter", name)
                self.served()

        self.rounds(play)

    def test_documents(self) -> None:
        """PUB-08, PID-10, FLT-27: documents that mean ill meet filters that do not."""
        path = "//p:tuple[p:status/p:basic='open']/p:note"
        deep = f"{'<x>' * 5000}{'</x>' * 5000}"
        space = "urn:ietf:params:xml:ns:pidf"
        start = f'<presence xmlns="{space}" entity="{aor("mallory")}">'
        wide = "".join(f'<a{n} xmlns="urn:x:{n}"/>' for n in range(1000))
        bodies = {
            "deep": (400, 413),
            "large": (413,),
            "namespaces": (200, 400, 413),
        }
        texts = {
            "deep": f"{start}{deep}</presence>",
            "large": f"{start}<note>{'x' * DEFAULT_LIMIT}</note></presence>",
            "namespaces": f"{start}{wide}</presence>",
        }

        def play() -> None:
            watch = self.mallory.subscribe(
                "mallory", body=filters(one(path)), content_type=FILTERS, accept=PIDF
            )
            self.mallory.notify(watch)
            for name, statuses in bodies.items():
                answer = self.mallory.publish(texts[name].encode())
                self.assertIn(answer.status, statuses, (name, answer))
                if answer.status == 200:
                    gone = self.mallory.publish(etag=answer["sip-etag"], expires=0)
                    self.assertEqual(gone.status, 200)
                self.served()
            self.end(self.mallory, watch)

        self.rounds(play)
