"""Validation: what the schemas refuse, in which words, and in what time."""

from __future__ import annotations

import time
from pathlib import Path

from lxml import etree
from twisted.trial.unittest import SynchronousTestCase

from tests.xcap.usages import RL, lists, rule, ruleset, schema_verdict, services
from xcap.errors import Conflict
from xcap.validate import parse_tree, validate, warm

XSI = "http://www.w3.org/2001/XMLSchema-instance"
PIDF = "urn:ietf:params:xml:ns:pidf"


class ParseTests(SynchronousTestCase):
    """:func:`xcap.validate.parse_tree`."""

    def test_not_well_formed(self) -> None:
        """What is not well-formed after all is refused as such."""
        conflict = self.assertRaises(Conflict, parse_tree, b"<a>\n<b></a>")
        self.assertEqual((conflict.kind, conflict.phrase), ("not-well-formed", conflict.phrase))
        self.assertIn("line 2", conflict.phrase)

    def test_entities(self) -> None:
        """No entity is expanded and no file read, whoever has let them through (XCAP-160)."""
        path = Path(self.mktemp())
        path.write_text("secret")
        root = parse_tree(
            f'<!DOCTYPE a [<!ENTITY e SYSTEM "file://{path.resolve()}">'
            '<!ENTITY i "inner">]><a>&e;&i;</a>'.encode()
        )
        text = "".join(map(str, root.itertext(etree.Element)))
        self.assertNotIn("secret", text)
        self.assertNotIn("inner", text)


class ValidateTests(SynchronousTestCase):
    """:func:`xcap.validate.validate`."""

    def test_phrases(self) -> None:
        """Refusals name line, element and reason, and no value (XCAP-130, XCAP-140)."""
        entry = '<list name="SECRET"><entry/></list>'
        ids = '<cp:rule id="SECRET"/>'
        sub = "<pr:sub-handling>SECRET</pr:sub-handling>"
        for schema, body, phrase in (
            ("resource-lists", lists(f"\n{entry}"), "line 2: entry: attribute uri missing"),
            (
                "resource-lists",
                lists("<list><display-name/>\n<display-name>SECRET</display-name></list>"),
                "line 2: display-name: not expected here; expected one of list, external, entry, "
                "entry-ref",
            ),
            (
                "resource-lists",
                lists('<list secret="SECRET"/>'),
                "line 1: list: attribute not allowed",
            ),
            ("resource-lists", lists("SECRET"), "line 1: resource-lists: text not allowed"),
            ("resource-lists", "<x/>", "line 1: root element must be resource-lists"),
            (
                "resource-lists",
                f'<list xmlns="{RL}"/>',
                "line 1: root element must be resource-lists",
            ),
            (
                "rls-services",
                services('<service uri="sip:a@x"/>'),
                "line 1: service: child element missing; expected one of resource-list, list",
            ),
            (
                "common-policy",
                ruleset(rule(actions=sub)),
                "line 1: sub-handling: value not allowed",
            ),
            (
                "common-policy",
                ruleset(f"{ids}\n{ids}"),
                "line 2: rule: id is not a name or used twice",
            ),
            (
                "common-policy",
                ruleset('<cp:rule id="1SECRET"/>'),
                "line 1: rule: id is not a name or used twice",
            ),
            (
                "common-policy",
                ruleset(rule(transformations="<pr:provide-mood>SECRET</pr:provide-mood>")),
                "line 1: provide-mood: value of the wrong type",
            ),
            (
                "common-policy",
                ruleset(rule("<ocp:other-identity>SECRET</ocp:other-identity>")),
                "line 1: other-identity: must be empty",
            ),
        ):
            self.assertEqual(schema_verdict(schema, body), phrase, body)

    def test_long_names(self) -> None:
        """A name in a phrase is shortened."""
        phrase = schema_verdict("resource-lists", lists(f"<{'x' * 1000}/>"))
        self.assertLess(len(phrase), 100)

    def test_no_such_kind(self) -> None:
        """A kind that is not known is a mistake of ours."""
        self.assertRaises(KeyError, validate, "x", parse_tree(b"<x/>"))

    def test_unknown_namespaces(self) -> None:
        """XCAP-141: what is not ours is taken where a wildcard admits it, and only there."""
        foreign = '<x:any xmlns:x="urn:x" a="1"><x:b/>text<c xmlns=""/></x:any>'
        self.assertEqual(
            schema_verdict(
                "resource-lists", lists(f'<list xmlns:x="urn:x" x:y="">{foreign}</list>')
            ),
            "",
        )
        self.assertEqual(schema_verdict("common-policy", ruleset(rule(foreign))), "")
        self.assertIn("not expected", schema_verdict("resource-lists", lists(foreign)))
        self.assertIn(
            "not expected",
            schema_verdict("resource-lists", lists(f"<list>{foreign}<list/></list>")),
        )

    def test_undeclared_element(self) -> None:
        """XCAP-142: an element of a namespace in xcap-caps must be declared, wildcard or not."""
        for body in (
            lists(
                '<list><entry uri="a"><f:x xmlns:f="urn:oma:xml:prs:pres-rules"/></entry></list>'
            ),
            lists('<list><f:x xmlns:f="urn:oma:xml:xdm:resource-list:oma-uriusage"/></list>'),
            lists(f'<list><x:y xmlns:x="urn:x"><p:x xmlns:p="{PIDF}"/></x:y></list>'),
        ):
            phrase = schema_verdict("resource-lists", body)
            self.assertEqual(phrase, "line 1: x: not declared in its namespace", body)
        for inner in ("<pr:x/>", "<ocp:entry/>", "<pr:all-persons/>"):
            phrase = schema_verdict("common-policy", ruleset(rule(inner)))
            self.assertIn("not declared", phrase, inner)
        # what a type of another schema admits as foreign
        phrase = schema_verdict(
            "rls-services", services('<service uri="sip:a@x"><list><service/></list></service>')
        )
        self.assertEqual(phrase, "line 1: service: not declared in its namespace")

    def test_declared_element(self) -> None:
        """XCAP-142: elements of other documents are taken, and checked, where a wildcard is."""
        person = '<p:presence xmlns:p="urn:ietf:params:xml:ns:pidf" entity="{}"/>'
        body = lists(f"<list>{person.format('sip:a@x')}</list>")
        self.assertEqual(schema_verdict("resource-lists", body), "")
        body = lists('<list><p:presence xmlns:p="urn:ietf:params:xml:ns:pidf"/></list>')
        self.assertIn("attribute entity missing", schema_verdict("resource-lists", body))
        # inside an element that nobody here knows a local name may mean something else
        body = lists('<list><x:y xmlns:x="urn:x"><entry uri="a"/></x:y></list>')
        self.assertEqual(schema_verdict("resource-lists", body), "")

    def test_ids(self) -> None:
        """XCAP-167: IDs are unique in a document, in a large one too, xml:id among them."""
        other = '<cp:rule id="r{}"/>'
        for count in (0, 2000):
            some = "".join(other.format(number) for number in range(count))
            self.assertEqual(
                schema_verdict("common-policy", ruleset(f'{some}<cp:rule id="a"/>')), ""
            )
            phrase = schema_verdict("common-policy", ruleset(f'{some}<cp:rule id="a"/>' * 2))
            self.assertIn("id is not a name or used twice", phrase)
        one = '<cp:identity><cp:one id="sip:a@x"/><cp:one id="sip:a@x"/></cp:identity>'
        self.assertEqual(schema_verdict("common-policy", ruleset(rule(one))), "")

    def test_again(self) -> None:
        """A tree is validated as often as one likes."""
        root = parse_tree(ruleset(rule()).encode())
        for _ in range(3):
            validate("common-policy", root)

    def test_schema_location(self) -> None:
        """XCAP-160: a document does not bring its own schema."""
        path = Path(self.mktemp())
        path.write_text(
            '<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema" targetNamespace="urn:x">'
            '<xs:element name="x" type="xs:integer"/></xs:schema>'
        )
        hint = f'xmlns:i="{XSI}" i:schemaLocation="urn:x file://{path.resolve()}"'
        body = lists(f'<list {hint}><x xmlns="urn:x">no number</x></list>')
        self.assertEqual(schema_verdict("resource-lists", body), "")

    def test_large(self) -> None:
        """A large document is checked as a small one is, and the line is about right."""
        good = '<list><entry uri="a"/></list>\n' * 2000
        self.assertEqual(schema_verdict("resource-lists", lists(good)), "")
        phrase = schema_verdict("resource-lists", lists(f"{good}<x/>"))
        line = int(phrase.removeprefix("line ").partition(":")[0])
        self.assertTrue(1800 < line <= 2001, phrase)
        self.assertIn("x: not expected here", phrase)
        self.assertIn("must be", schema_verdict("rls-services", lists(good)))
        inner = '<list><x:y xmlns:x="urn:x"/></list>' * 1000
        self.assertEqual(schema_verdict("resource-lists", lists(inner)), "")
        wrong = '<list><x:y xmlns:x="urn:oma:xml:prs:pres-rules"/></list>'
        self.assertIn("not declared", schema_verdict("resource-lists", lists(inner + wrong)))

    def test_time(self) -> None:
        """Nothing that a client can send takes time in the square of its size."""
        warm()
        count = 20000
        foreign = '<x xmlns="urn:x"/>'
        for schema, body in (
            ("resource-lists", lists("<list/>" * count)),
            ("resource-lists", lists("<x/>" * count)),
            ("resource-lists", lists("<list><entry/></list>" * count)),
            ("common-policy", ruleset('<cp:rule id="a"/>' * count)),
            ("common-policy", ruleset(rule(foreign * count + "<cp:x/>"))),
            ("common-policy", ruleset(rule("<cp:sphere value=''/>" * count + "<cp:x/>"))),
        ):
            before = time.process_time()
            schema_verdict(schema, body)
            self.assertLess(time.process_time() - before, 1.0, body[:150])

    def test_backtracking(self) -> None:
        """A short document with a mistake at its end is refused at once."""
        warm()
        body = ruleset(rule('<x xmlns="urn:x"/>' * 1000 + "<cp:x/>"))
        before = time.process_time()
        self.assertIn("not expected", schema_verdict("common-policy", body))
        self.assertLess(time.process_time() - before, 1.0)


class SchemaTests(SynchronousTestCase):
    """What the schemas of the usages demand."""

    def check_table(self, schema: str, rows: list[tuple[str, bool]]) -> None:
        """Validate each document of a table."""
        for body, valid in rows:
            phrase = schema_verdict(schema, body)
            self.assertEqual(not phrase, valid, f"{body}: {phrase}")

    def test_resource_lists(self) -> None:
        """Order and attributes of lists and entries (XDM-20, XDM-21)."""
        name = "<display-name xml:lang='en'>N</display-name>"
        self.check_table(
            "resource-lists",
            [
                (lists(""), True),
                (lists(f"<list>{name}</list>"), True),
                (lists("<list name='a'/><list name='b'/>"), True),
                (lists(f"<list>{name}<list/><entry uri='a'/><list/></list>"), True),
                (lists(f"<list><entry uri='a'/>{name}</list>"), False),
                (lists("<entry uri='a'/>"), False),
                (lists("<list><entry/></list>"), False),
                (lists(f"<list><entry uri='a'>{name}</entry></list>"), True),
                (lists("<list><entry-ref ref='a'/></list>"), True),
                (lists("<list><entry-ref/></list>"), False),
                (lists(f"<list><external>{name}</external></list>"), True),
                (lists("<list><entry uri='a' x='b'/></list>"), False),
                (f'<resource-lists xmlns="{RL}" x=""/>', False),
            ],
        )

    def test_usages_of_uris(self) -> None:
        """OMA's extensions of entries (XDM-27)."""
        ou = 'xmlns="urn:oma:xml:xdm:resource-list:oma-uriusage"'
        oa = 'xmlns="urn:oma:xml:xdm:resource-list:oma-appusage"'
        inner = "<list><entry uri='a'>{}</entry></list>"
        self.check_table(
            "resource-lists",
            [
                (lists(inner.format(f"<uriusages {ou}/>")), True),
                (lists(inner.format(f"<uriusages {ou}><x xmlns='urn:x'/></uriusages>")), True),
                (lists(inner.format(f"<uriusages {ou}>text</uriusages>")), False),
                (lists(inner.format(f"<uriusages {ou}><uriusage/></uriusages>")), False),
                (
                    lists(
                        inner.format(
                            f"<appusages {oa}><nodeuri uri='https://x/' auid='a'/></appusages>"
                        )
                    ),
                    True,
                ),
                (lists(inner.format(f"<appusages {oa}><nodeuri uri='a'/></appusages>")), False),
                (lists(inner.format(f"<appusages {oa}><nodeuri auid='a'/></appusages>")), False),
            ],
        )

    def test_rls_services(self) -> None:
        """Content and namespaces of services (XDM-34, XDM-40, XDM-41, XDM-42)."""
        package = "<packages><package>presence</package></packages>"
        self.check_table(
            "rls-services",
            [
                (services(""), True),
                (services("<service uri='a'><list/></service>"), True),
                (services(f"<service uri='a'><list/>{package}</service>"), True),
                (services("<service uri='a'><resource-list>b</resource-list></service>"), True),
                (services(f"<service uri='a'>{package}<list/></service>"), False),
                (services("<service uri='a'><list/><list/></service>"), False),
                (services("<service><list/></service>"), False),
                (services("<service uri='a'><rl:list/></service>"), False),
                (services("<service uri='a'><list><rl:entry uri='b'/></list></service>"), True),
                (services("<service uri='a'><list><entry uri='b'/></list></service>"), False),
                (services("<service uri='a'><list/><packages/></service>"), True),
                (
                    services(
                        "<service uri='a'><list/><packages><package>presence</package>"
                        "<x xmlns='urn:x'/><package>dialog</package></packages></service>"
                    ),
                    True,
                ),
                (services("<service uri='a'><list/><x xmlns='urn:x'/></service>"), True),
            ],
        )

    def test_rules(self) -> None:
        """Structure of rule documents (XDM-90 to XDM-95)."""
        one = "<cp:identity><cp:one id='sip:a@x'/></cp:identity>"
        time = "<cp:from>2026-12-01T08:00:00Z</cp:from><cp:until>2026-12-01T16:00:00Z</cp:until>"
        many = "<cp:identity><cp:many{}>{}</cp:many></cp:identity>"
        self.check_table(
            "common-policy",
            [
                (ruleset(""), True),
                (ruleset("<cp:rule/>"), False),
                (ruleset("<cp:rule id='a'><cp:conditions/></cp:rule>"), True),
                (ruleset("<cp:rule id='a'><cp:actions/><cp:conditions/></cp:rule>"), False),
                (ruleset(rule(one + one)), True),
                (ruleset(rule(f"<cp:sphere value='work'/>{one}")), True),
                (ruleset(rule(f"<x xmlns='urn:x'/>{one}<x xmlns='urn:x'/>")), True),
                (ruleset(rule("<cp:sphere/>")), False),
                (ruleset(rule("<cp:identity/>")), False),
                (ruleset(rule("<cp:identity><cp:one/></cp:identity>")), False),
                (ruleset(rule(many.format("", ""))), True),
                (ruleset(rule(many.format(" domain='x'", "<cp:except id='sip:a@x'/>"))), True),
                (ruleset(rule(many.format("", "<cp:except domain='x'/>"))), True),
                (ruleset(rule(f"<cp:validity>{time}{time}</cp:validity>")), True),
                (ruleset(rule("<cp:validity/>")), False),
                (ruleset(rule("<cp:validity><cp:from>now</cp:from></cp:validity>")), False),
                (ruleset(rule("<ocp:other-identity/>")), True),
                (ruleset(rule("<ocp:anonymous-request/>")), True),
                (ruleset(rule("<ocp:anonymous-request>x</ocp:anonymous-request>")), False),
                (ruleset(rule("<ocp:external-list/>")), True),
                (
                    ruleset(rule("<ocp:external-list><ocp:entry anc='a'/></ocp:external-list>")),
                    True,
                ),
                (
                    ruleset(rule("<ocp:external-list><ocp:list anc='a'/></ocp:external-list>")),
                    False,
                ),
            ],
        )

    def test_handling(self) -> None:
        """The four ways to handle subscriptions (XDM-94)."""
        for value in ("block", "confirm", "polite-block", "allow"):
            body = ruleset(rule(actions=f"<pr:sub-handling>{value}</pr:sub-handling>"))
            self.assertEqual(schema_verdict("common-policy", body), "")
        for value in ("", "Allow", "deny"):
            body = ruleset(rule(actions=f"<pr:sub-handling>{value}</pr:sub-handling>"))
            self.assertNotEqual(schema_verdict("common-policy", body), "")

    def test_transformations(self) -> None:
        """Every permission, and unknown ones of others (XDM-95, XDM-141, XDM-142)."""
        op = 'xmlns:op="urn:oma:xml:prs:pres-rules"'
        good = [
            f"<pr:provide-{name}>true</pr:provide-{name}>"
            for name in (
                "activities",
                "class",
                "deviceID",
                "mood",
                "place-is",
                "place-type",
                "privacy",
                "relationship",
                "sphere",
                "status-icon",
                "time-offset",
                "note",
            )
        ]
        good += [
            f"<op:provide-{name} {op}>false</op:provide-{name}>"
            for name in (
                "willingness",
                "network-availability",
                "session-participation",
                "registration-state",
                "barring-state",
                "geopriv",
            )
        ]
        good += [
            f"<pr:provide-user-input>{value}</pr:provide-user-input>"
            for value in ("false", "bare", "thresholds", "full")
        ]
        good += [
            "<pr:provide-unknown-attribute name='a' ns='urn:x'>true</pr:provide-unknown-attribute>",
            "<pr:provide-all-attributes/>",
            "<pr:provide-services><pr:all-services/></pr:provide-services>",
            "<pr:provide-persons><pr:all-persons/></pr:provide-persons>",
            "<pr:provide-devices><pr:all-devices/></pr:provide-devices>",
            "<pr:provide-services><pr:class>a</pr:class><pr:occurrence-id>b</pr:occurrence-id>"
            "<pr:service-uri>sip:a@x</pr:service-uri><pr:service-uri-scheme>sip"
            f"</pr:service-uri-scheme><op:service-id {op}>c</op:service-id></pr:provide-services>",
            "<pr:provide-devices><pr:deviceID>mac:1</pr:deviceID></pr:provide-devices>",
            f"<op:provide-geopriv {op}>full</op:provide-geopriv>",
            "<x:provide-y xmlns:x='urn:x'>maybe</x:provide-y>",
        ]
        bad = [
            "<pr:provide-unknown-attribute>true</pr:provide-unknown-attribute>",
            "<pr:provide-mood>bare</pr:provide-mood>",
            "<pr:provide-user-input>true</pr:provide-user-input>",
            "<pr:provide-services><pr:all-services/><pr:class>a</pr:class></pr:provide-services>",
            "<pr:provide-persons><pr:deviceID>a</pr:deviceID></pr:provide-persons>",
            f"<op:provide-geopriv {op}>true</op:provide-geopriv>",
            f"<op:provide-willingness {op}>full</op:provide-willingness>",
        ]
        self.check_table(
            "common-policy",
            [(ruleset(rule(transformations=text)), True) for text in good]
            + [(ruleset(rule(transformations=text)), False) for text in bad],
        )
