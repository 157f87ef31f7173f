"""Tests of :mod:`presence.rules.document` and :mod:`presence.rules.defaults`."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from lxml import etree
from twisted.trial.unittest import SynchronousTestCase

from presence.rules.decide import decide, explain
from presence.rules.defaults import default_rules
from presence.rules.document import merge, read_rules
from presence.rules.model import Context, Flavour, Watcher
from presence.rules.permissions import Permissions

VECTORS = Path(__file__).parent.parent / "vectors" / "rules"
SCHEMAS = Path(__file__).parent.parent.parent / "xcap" / "schema"
ANN = Watcher(("sip:ann@example.com",))
JOE = frozenset({"sip:joe@example.com"})
NOW = Context(0.0)
HEAD = (
    '<cp:ruleset xmlns:cp="urn:ietf:params:xml:ns:common-policy"'
    ' xmlns:pr="urn:ietf:params:xml:ns:pres-rules"'
    ' xmlns:ocp="urn:oma:xml:xdm:common-policy" xmlns:x="urn:example:unknown">'
)
ALLOW = "<cp:actions><pr:sub-handling>allow</pr:sub-handling></cp:actions>"
BY_NAME = '<cp:identity><cp:one id="sip:ann@example.com"/></cp:identity>'


def document(*rules: str) -> bytes:
    """A rule document."""
    return f"{HEAD}{''.join(rules)}</cp:ruleset>".encode()


def rule(conditions: str, rest: str = ALLOW, name: str = "a") -> str:
    """A rule with conditions."""
    return f'<cp:rule id="{name}"><cp:conditions>{conditions}</cp:conditions>{rest}</cp:rule>'


def handling(octets: bytes, watcher: Watcher = ANN, flavour: Flavour = "oma") -> str:
    """What a document says about a watcher."""
    return decide(read_rules(octets, flavour), JOE, watcher, NOW).handling


class ReadTests(SynchronousTestCase):
    """Reading rule documents (XDM-90 to XDM-95)."""

    def test_no_rules(self) -> None:
        """XDM-90, RUL-02: a document without rules blocks everybody."""
        decision = decide(read_rules(document(), "oma"), JOE, ANN, NOW)
        self.assertEqual((decision.handling, decision.source), ("block", "none"))
        self.assertEqual(decision.permissions, Permissions.none())

    def test_empty_rule(self) -> None:
        """XDM-90, XDM-135: all children are optional; no sub-handling is block."""
        self.assertEqual(handling(document('<cp:rule id="a"/>')), "block")
        self.assertEqual(handling(document(rule("", "<cp:actions/>"))), "block")

    def test_empty_conditions(self) -> None:
        """XDM-91, XDM-110: no conditions, or none in them, is always true."""
        self.assertEqual(handling(document(rule(""))), "allow")
        self.assertEqual(handling(document(f'<cp:rule id="a">{ALLOW}</cp:rule>')), "allow")
        self.assertEqual(handling(document(rule("")), Watcher()), "allow")

    def test_each_handling(self) -> None:
        """XDM-94: the four values, with white space around."""
        for value in ("block", "confirm", "polite-block", "allow"):
            action = f"<cp:actions><pr:sub-handling> {value}\n</pr:sub-handling></cp:actions>"
            self.assertEqual(handling(document(rule("", action))), value)

    def test_several_handlings(self) -> None:
        """XDM-94: a rule that says several things says the lowest."""
        action = "".join(
            f"<pr:sub-handling>{value}</pr:sub-handling>"
            for value in ("allow", "confirm", "polite-block")
        )
        self.assertEqual(
            handling(document(rule("", f"<cp:actions>{action}</cp:actions>"))), "confirm"
        )

    def test_foreign_action(self) -> None:
        """XDM-95: actions and transformations not known are no obstacle and grant nothing."""
        rest = (
            "<cp:actions><x:beep/><pr:sub-handling>allow</pr:sub-handling></cp:actions>"
            "<cp:transformations><x:provide-everything>true</x:provide-everything>"
            "</cp:transformations>"
        )
        decision = decide(read_rules(document(rule("", rest)), "ietf"), JOE, ANN, NOW)
        self.assertEqual(decision.handling, "allow")
        self.assertEqual(decision.permissions, Permissions.none())

    def test_unknown_condition(self) -> None:
        """XDM-110: an unknown condition is false, in namespaces we know too."""
        for unknown in ("<x:full-moon/>", "<ocp:moon/>", "<cp:moon/>", "<pr:sub-handling/>"):
            self.assertEqual(handling(document(rule(f"{BY_NAME}{unknown}"))), "block", unknown)
            self.assertEqual(handling(document(rule(unknown))), "block", unknown)

    def test_unknown_member(self) -> None:
        """XDM-111: an unknown member of identity is false, the others still count."""
        for members, wanted in (
            ("<x:somebody/>", "block"),
            ('<x:somebody/><cp:one id="sip:ann@example.com"/>', "allow"),
            ('<cp:one id="sip:ann@example.com"><x:somehow/></cp:one>', "allow"),
            ("<cp:many><x:somehow/></cp:many>", "allow"),
        ):
            octets = document(rule(f"<cp:identity>{members}</cp:identity>"))
            self.assertEqual(handling(octets), wanted, members)

    def test_schemes(self) -> None:
        """XDM-113: a SIP identity is written with sip or sips; other schemes are other ones."""
        for uri, wanted in (
            ("sip:ann@example.com", "allow"),
            ("SIPS:ann@example.com", "allow"),
            (" sip:ann@example.com;user=ip ", "allow"),
            ("pres:ann@example.com", "block"),
            ("im:ann@example.com", "block"),
            ("mailto:ann@example.com", "block"),
            ("ann@example.com", "block"),
            ("sip:ann@", "block"),
            ("", "block"),
        ):
            octets = document(rule(f'<cp:identity><cp:one id="{uri}"/></cp:identity>'))
            self.assertEqual(handling(octets), wanted, uri)

    def test_beyond_ascii(self) -> None:
        """XDM-113: characters beyond US-ASCII stand for their escaped octets."""
        octets = document(rule('<cp:identity><cp:one id="sip:é@example.com"/></cp:identity>'))
        self.assertEqual(handling(octets, Watcher(("sip:%C3%A9@example.com",))), "allow")
        self.assertEqual(handling(octets), "block")

    def test_twice(self) -> None:
        """XDM-110: of two identity, sphere or list conditions both have to hold."""
        other = '<cp:identity><cp:one id="sip:bob@example.com"/></cp:identity>'
        self.assertEqual(handling(document(rule(BY_NAME + other))), "block")
        self.assertEqual(handling(document(rule(other + BY_NAME))), "block")
        self.assertEqual(handling(document(rule(BY_NAME + BY_NAME))), "allow")
        spheres = '<cp:sphere value="work"/><cp:sphere value="home"/>'
        rules = read_rules(document(rule(spheres)), "ietf")
        self.assertEqual(decide(rules, JOE, ANN, Context(0.0, "work")).handling, "block")

    def test_contradictory(self) -> None:
        """XDM-96, XDM-121: conditions that exclude each other match nobody."""
        other, anonymous = "<ocp:other-identity/>", "<ocp:anonymous-request/>"
        listed = '<ocp:external-list><ocp:entry anc="https://x.example/"/></ocp:external-list>'
        for conditions in (BY_NAME + other, BY_NAME + anonymous, other + anonymous, listed + other):
            for flavour in ("oma", "ietf"):
                rules = read_rules(document(rule(conditions)), flavour)
                context = Context(0.0, None, lambda anchor: frozenset(ANN.uris))
                for watcher in (ANN, Watcher()):
                    found = decide(rules, JOE, watcher, context)
                    self.assertEqual(found.handling, "block", conditions)

    def test_identity_and_list(self) -> None:
        """XDM-110: identity and list in one rule, as the IETF usage permits, both have to hold."""
        listed = '<ocp:external-list><ocp:entry anc="https://x.example/"/></ocp:external-list>'
        rules = read_rules(document(rule(BY_NAME + listed)), "ietf")
        for members, wanted in ((frozenset(ANN.uris), "allow"), (frozenset[str](), "block")):
            context = Context(0.0, None, {"https://x.example/": members}.get)
            self.assertEqual(decide(rules, JOE, ANN, context).handling, wanted)
        self.assertTrue(decide(rules, JOE, ANN, NOW).undetermined)

    def test_applies_with_all_conditions(self) -> None:
        """XDM-122: a rule whose validity has lapsed, or of another sphere, names nobody."""
        past = (
            "<cp:validity><cp:from>1960-01-01T00:00:00Z</cp:from>"
            "<cp:until>1961-01-01T00:00:00Z</cp:until></cp:validity>"
        )
        listed = '<ocp:external-list><ocp:entry anc="https://x.example/"/></ocp:external-list>'
        confirm = ALLOW.replace("allow", "confirm")
        context = Context(0.0, "home", {"https://x.example/": frozenset(ANN.uris)}.get)
        for more, applies in ((past, False), ('<cp:sphere value="work"/>', False), ("", True)):
            for lower in (listed, "<ocp:other-identity/>"):
                octets = document(rule(BY_NAME + more, "", "a"), rule(lower, confirm, "b"))
                found = decide(read_rules(octets, "oma"), JOE, ANN, context)
                self.assertEqual(found.handling, "block" if applies else "confirm", (more, lower))
            octets = document(rule(listed + more, "", "a"), rule("<ocp:other-identity/>", confirm))
            found = decide(read_rules(octets, "oma"), JOE, ANN, context)
            self.assertEqual(found.handling, "block" if applies else "confirm", more)

    def test_all_of_the_schemas(self) -> None:
        """RUL-29: every condition and action that the schemas know is understood."""
        members = {
            "identity": '<cp:one id="sip:a@x"/>',
            "validity": (
                "<cp:from>2026-01-01T00:00:00Z</cp:from><cp:until>2027-01-01T00:00:00Z</cp:until>"
            ),
        }
        parts = {"ruleset", "rule", "conditions", "actions", "transformations"}
        parts |= {"one", "many", "except", "from", "until", "entry"}
        found = set()
        for prefix, schema in (("cp", "common-policy"), ("ocp", "oma-xdm-common-policy")):
            tree = etree.parse(SCHEMAS / f"{schema}.xsd")
            for name in tree.xpath("//*[local-name()='element']/@name"):  # type: ignore[union-attr]
                if name in parts:
                    continue
                inner = members.get(str(name), "")
                value = ' value="x"' if name == "sphere" else ""
                text = f"<{prefix}:{name}{value}>{inner}</{prefix}:{name}>"
                (read,) = read_rules(document(rule(text)), "ietf").rules
                self.assertNotIn("not understood", read.text, text)
                found.add(str(name))
        self.assertEqual(
            found,
            {"identity", "sphere", "validity"}
            | {"other-identity", "external-list", "anonymous-request"},
        )

    def test_needs(self) -> None:
        """XDM-120, XDM-116: a rule set tells the lists it needs, and whether the sphere counts."""
        entries = '<ocp:entry anc=" https://x.example/1 "/><ocp:entry/><ocp:entry anc=""/>'
        listed = f"<ocp:external-list>{entries}</ocp:external-list>"
        rules = read_rules(document(rule(listed)), "oma")
        self.assertEqual(rules.anchors, {"https://x.example/1"})
        self.assertFalse(rules.uses_sphere)
        rules = read_rules(document(rule(f'{listed}<cp:sphere value="work"/>')), "oma")
        self.assertTrue(rules.uses_sphere)
        rules = read_rules(document(rule(f"{listed}<x:moon/>")), "oma")
        self.assertEqual(rules.anchors, frozenset())

    def test_sphere_tokens(self) -> None:
        """XDM-116: tokens are compared without regard to case; an undefined sphere is none."""
        rules = read_rules(document(rule('<cp:sphere value=" work  Office "/>')), "ietf")
        for sphere, wanted in (
            ("WORK", "allow"),
            ("office", "allow"),
            ("", "block"),
            ("work  Office", "block"),
            (None, "block"),
        ):
            found = decide(rules, JOE, ANN, Context(0.0, sphere))
            self.assertEqual(found.handling, wanted, sphere)
        rules = read_rules(document(rule('<cp:sphere value=""/>')), "ietf")
        for sphere in ("", None, "work"):
            self.assertEqual(decide(rules, JOE, ANN, Context(0.0, sphere)).handling, "block")

    def test_comments(self) -> None:
        """Comments and processing instructions anywhere change nothing."""
        octets = document(
            rule(
                f"<!-- -->{BY_NAME}<?x?>",
                "<cp:actions><pr:sub-handling>al<!-- -->low</pr:sub-handling></cp:actions>",
            )
        )
        self.assertEqual(handling(octets), "allow")

    def test_unreadable(self) -> None:
        """XDM-151: what could be misread is refused with the line, and nothing of the text."""
        end = "<cp:until>2026-01-01T00:00:00Z</cp:until>"
        bad = f"<cp:validity><cp:from>{{0}}</cp:from>{end}</cp:validity>"
        start = "<cp:from>2026-01-01T00:00:00Z</cp:from>"
        for octets in (
            b"",
            b"secret",
            b"<secret/>",
            b'<ruleset xmlns="urn:secret"/>',
            b"<!DOCTYPE secret><secret/>",
            document() + b"secret",
            document("<cp:rule/>"),
            document('<cp:rule id=""/>'),
            document(rule("").replace("<cp:conditions>", "<cp:conditions/><cp:conditions>")),
            document(rule("", ALLOW + ALLOW)),
            document(rule("", "<cp:transformations/><cp:transformations/>")),
            document(
                rule("", "<cp:actions><pr:sub-handling>secret</pr:sub-handling></cp:actions>")
            ),
            document(rule("", "<cp:actions><pr:sub-handling/></cp:actions>")),
            document(rule("<cp:identity/>")),
            document(rule("<cp:identity><cp:one/></cp:identity>")),
            document(rule("<cp:sphere/>")),
            document(rule("<cp:validity/>")),
            document(rule(f"<cp:validity>{start}</cp:validity>")),
            document(rule(f"<cp:validity>{start}{start}</cp:validity>")),
            document(rule(bad.format("secret"))),
            b'<?xml version="1.0" encoding="secret"?>' + document(),
            b"\xff\xfe\xff",
        ):
            with self.assertRaises(ValueError) as caught:
                read_rules(octets, "ietf")
            self.assertNotIn("secret", str(caught.exception))
        self.assertEqual(handling(document(rule(bad.format("1970-01-01T00:00:00Z")))), "allow")

    @given(st.data())
    def test_mutated(self, data: st.DataObject) -> None:
        """Damaged documents are read or refused, by ValueError and nothing else."""
        name = data.draw(st.sampled_from(sorted(VECTORS.glob("*.xml"))))
        octets = bytearray(name.read_bytes())
        for _ in range(data.draw(st.integers(1, 4))):
            at = data.draw(st.integers(0, len(octets) - 1))
            end = at + data.draw(st.integers(0, 12))
            octets[at:end] = data.draw(st.binary(max_size=4) | st.sampled_from([b"<", b'"', b"T"]))
        for flavour in ("oma", "ietf"):
            try:
                rules = read_rules(bytes(octets), flavour)
            except ValueError:
                continue
            decide(rules, JOE, ANN, NOW)
            explain(rules, JOE, ANN, NOW)


class MergeTests(SynchronousTestCase):
    """Several documents as one rule set (XDM-100)."""

    def test_none(self) -> None:
        """XDM-100: no documents at all grant nothing; the default is not decided here."""
        self.assertEqual(decide(merge([]), JOE, ANN, NOW).handling, "block")

    def test_union(self) -> None:
        """XDM-100: with both usages together OMA's classes are what counts."""
        named = document(rule(BY_NAME, ""))
        everybody = document(rule("<cp:identity><cp:many/></cp:identity>"))
        listed = '<ocp:external-list><ocp:entry anc="https://x.example/"/></ocp:external-list>'
        context = Context(0.0, None, lambda anchor: frozenset(ANN.uris))
        both = merge([read_rules(named, "ietf"), read_rules(everybody, "ietf")])
        self.assertEqual(decide(both, JOE, ANN, context).handling, "allow")
        both = merge([read_rules(named, "ietf"), read_rules(document(rule(listed)), "oma")])
        self.assertEqual(decide(both, JOE, ANN, context).handling, "block")
        self.assertEqual(both.anchors, {"https://x.example/"})

    def test_other(self) -> None:
        """XDM-121: the catch-all looks at the rules of all documents."""
        other = read_rules(document(rule("<ocp:other-identity/>")), "ietf")
        named = read_rules(document(rule(BY_NAME, "")), "ietf")
        self.assertEqual(decide(other, JOE, ANN, NOW).handling, "allow")
        self.assertEqual(decide(merge([other, named]), JOE, ANN, NOW).handling, "block")


class DefaultTests(SynchronousTestCase):
    """Presentities without rules (XDM-150)."""

    def test_each(self) -> None:
        """XDM-150, RUL-02: the operator's default is for all; unconfigured it is confirm."""
        self.assertEqual(decide(default_rules(), JOE, ANN, NOW).handling, "confirm")
        for value in ("block", "confirm", "polite-block", "allow"):
            for watcher in (ANN, Watcher(), Watcher(ANN.uris, True)):
                decision = decide(default_rules(value), JOE, watcher, NOW)
                self.assertEqual((decision.handling, decision.source), (value, "default"))
                wanted = Permissions.all() if value == "allow" else Permissions.none()
                self.assertEqual(decision.permissions, wanted)

    def test_own(self) -> None:
        """XDM-138, RUL-02, PSV-14: own identities are allowed, whatever the default."""
        for own in (Watcher(tuple(JOE)), Watcher(tuple(JOE), True)):
            decision = decide(default_rules("block"), JOE, own, NOW)
            self.assertEqual((decision.handling, decision.source), ("allow", "own"))
            self.assertEqual(decision.permissions, Permissions.all())
