"""The usages of the Presence XDMS: rules, presence, pictures."""

from __future__ import annotations

import base64

from twisted.trial.unittest import SynchronousTestCase

from tests.xcap.usages import (
    CP,
    JOE,
    PR,
    ROOT,
    key,
    rule,
    ruleset,
    schema_verdict,
    usage,
    verdict,
)
from xcap.errors import Conflict, XcapError
from xcap.uri import parse_node
from xcap.usage.base import Quotas

IETF = "pres-rules"
OMA = "org.openmobilealliance.pres-rules"
PIDF = "pidf-manipulation"
CONTENT = "org.openmobilealliance.pres-content"
HOME = "resource-lists/users/sip:joe@example.com/index"
LIST = f"{ROOT}{HOME}/~~/resource-lists/list%5b@name=%22a%22%5d"
IDENTITY = "<cp:identity><cp:one id='sip:a@x'/></cp:identity>"
WHO = (
    IDENTITY,
    f"<ocp:external-list><ocp:entry anc='{LIST}'/></ocp:external-list>",
    "<ocp:other-identity/>",
    "<ocp:anonymous-request/>",
)


def handling(value: str) -> str:
    """An action."""
    return f"<pr:sub-handling>{value}</pr:sub-handling>"


class RuleTests(SynchronousTestCase):
    """``pres-rules`` and ``org.openmobilealliance.pres-rules``."""

    def check_both(self, content: str, phrase: str) -> None:
        """OMA's usage refuses what the IETF's takes (XDM-99), or takes it too."""
        body = ruleset(content)
        kind = "constraint-failure" if phrase else ""
        self.assertEqual(verdict(usage(OMA), body, key(OMA)), (kind, phrase), content)
        self.assertEqual(verdict(usage(IETF), body, key(IETF)), ("", ""), content)

    def test_namespaces(self) -> None:
        """Where both have the same documents, names without prefix differ (XDM-01)."""
        found = parse_node("ruleset", "", usage(OMA).default_namespace).steps[0].name
        self.assertEqual(found, f"{{{CP}}}ruleset")
        found = parse_node("ruleset", "", usage(IETF).default_namespace).steps[0].name
        self.assertEqual(found, f"{{{PR}}}ruleset")

    def test_one_condition(self) -> None:
        """A rule of OMA's says in one way whom it concerns (XDM-96, XDM-99)."""
        phrase = "Complex rules are not allowed"
        for condition in ("", *WHO):
            self.check_both(rule(condition), "")
            self.check_both(rule(f"<cp:sphere value='a'/>{condition}<x xmlns='urn:x'/>"), "")
            for other in WHO:
                if condition:
                    self.check_both(rule(condition + other), phrase)
        second = rule(WHO[2]).replace('"r"', '"s"')
        self.check_both(rule(IDENTITY) + second, "")

    def test_transformations(self) -> None:
        """Who is not allowed gets no transformations from OMA's usage (XDM-97, XDM-99)."""
        phrase = "transformations element not allowed"
        mood = "<pr:provide-mood>true</pr:provide-mood>"
        for action, transformations, wanted in (
            (handling("allow"), mood, ""),
            (handling(" allow\n"), mood, ""),
            ("", mood, ""),
            (handling("block"), "", ""),
            (handling("block"), " <!-- none -->\n", ""),
            (handling("block"), mood, phrase),
            (handling("confirm"), mood, phrase),
            (handling("polite-block"), "<x xmlns='urn:x'/>", phrase),
            (handling("allow") + handling("block"), mood, phrase),
        ):
            self.check_both(rule("", action, transformations), wanted)

    def check_anchor(self, anchor: str, good: bool, **changes: object) -> None:
        """See whether a list may be named in a rule."""
        content = f"<ocp:external-list><ocp:entry anc='{anchor}'/></ocp:external-list>"
        kind, _ = verdict(usage(OMA, **changes), ruleset(rule(content)), key(OMA))
        self.assertEqual(kind, "" if good else "constraint-failure", anchor)
        self.assertEqual(verdict(usage(IETF), ruleset(rule(content)), key(IETF)), ("", ""))

    def test_external_list(self) -> None:
        """A list is the owner's, below the same root (XDM-98)."""
        for anchor in (
            LIST,
            f" {LIST} ",
            LIST.replace("sip:joe@example.com", "tel:+15550100"),
            LIST.replace("~~", "%7e%7E"),
        ):
            self.check_anchor(anchor, True)
        for anchor in (
            "",
            HOME,
            f"{ROOT}{HOME}",
            f"{ROOT}{HOME}/~~/",
            LIST.replace("joe", "bob"),
            LIST.replace("resource-lists/users", "rls-services/users"),
            LIST.replace("xcap.", "xdms."),
            LIST.replace("users/sip:joe@example.com", "global"),
            "sip:joe@example.com",
        ):
            self.check_anchor(anchor, False)
        body = ruleset(rule("<ocp:external-list><ocp:entry/></ocp:external-list>"))
        self.assertEqual(verdict(usage(OMA), body, key(OMA))[0], "constraint-failure")

    def test_foreign_lists(self) -> None:
        """A switch lets rules name the lists of others (XDM-98)."""
        for anchor, good in (
            (LIST.replace("joe", "bob"), True),
            (LIST.replace("xcap.", "xdms."), True),
            (LIST.replace("xcap.example.com", "x.example.net/services"), True),
            (LIST.replace("users/sip:joe@example.com", "global"), True),
            (f"{ROOT}{HOME}", False),
            (LIST.replace("xcap.", "xdms.").partition("/~~/")[0], False),
            (LIST.replace("resource-lists/users", "rls-services/users"), False),
            ("https://elsewhere.example/list", False),
            ("list", False),
        ):
            self.check_anchor(anchor, good, foreign_lists=True)

    def test_global(self) -> None:
        """The operator's own rules may name anybody's lists (XDM-98, XDM-150)."""
        content = f"<ocp:external-list><ocp:entry anc='{LIST}'/></ocp:external-list>"
        at = key(OMA, "pres-rules", "")
        self.assertEqual(verdict(usage(OMA), ruleset(rule(content)), at), ("", ""))

    def test_quota(self) -> None:
        """Rules are counted in both usages (XDM-08)."""
        body = ruleset("".join(f"<cp:rule id='r{number}'/>" for number in range(3)))
        for auid in (OMA, IETF):
            for rules, kind in ((3, ""), (2, "constraint-failure")):
                one = usage(auid, quotas=Quotas(rules=rules))
                self.assertEqual(verdict(one, body, key(auid))[0], kind)

    def test_names(self) -> None:
        """OMA's document is ``pres-rules`` (XDM-100); the IETF's may have any name."""
        usage(OMA).locate("users", ("pres-rules",))
        usage(OMA).locate("global", ("pres-rules",))
        conflict = self.assertRaises(Conflict, usage(OMA).locate, "users", ("index",))
        self.assertEqual(
            (conflict.kind, conflict.phrase),
            ("constraint-failure", "The document must be named pres-rules"),
        )
        usage(IETF).locate("users", ("anything",))

    def test_structure(self) -> None:
        """What the schema takes in rules and conditions.

        XDM-90, XDM-91, XDM-92, XDM-93, XDM-94, XDM-95.
        """
        known = f"<cp:conditions>{IDENTITY}</cp:conditions>"
        allow = f"<cp:actions>{handling('allow')}</cp:actions>"
        for content, good in (
            ("", True),
            ("<cp:rule/>", False),
            ("<cp:rule id='1a'/>", False),
            (f"<cp:rule id='a'>{known}{allow}<cp:transformations/></cp:rule>", True),
            (f"<cp:rule id='a'>{allow}{known}</cp:rule>", False),
            (f"<cp:rule id='a'>{known}{known}</cp:rule>", False),
            ("<cp:rule id='a'><cp:conditions/></cp:rule>", True),
            *(
                (f"<cp:rule id='a'><cp:conditions>{condition}</cp:conditions></cp:rule>", allowed)
                for condition, allowed in (
                    (f"<cp:sphere value='work'/>{IDENTITY}<x:y xmlns:x='urn:x'/>", True),
                    ("<cp:sphere/>", False),
                    ("<cp:identity/>", False),
                    ("<cp:identity><cp:one/></cp:identity>", False),
                    ("<cp:identity><cp:many/></cp:identity>", True),
                    (
                        "<cp:identity><cp:many domain='x'><cp:except id='sip:a@x'/>"
                        "<cp:except domain='y'/></cp:many></cp:identity>",
                        True,
                    ),
                    ("<cp:identity><cp:many><cp:other/></cp:many></cp:identity>", False),
                    ("<cp:validity/>", False),
                    (
                        "<cp:validity><cp:from>2026-12-01T08:00:00Z</cp:from>"
                        "<cp:until>2026-12-01T16:00:00Z</cp:until></cp:validity>",
                        True,
                    ),
                    ("<cp:validity><cp:from>2026-12-01T08:00:00Z</cp:from></cp:validity>", False),
                    (
                        "<cp:validity><cp:from>soon</cp:from><cp:until>x</cp:until></cp:validity>",
                        False,
                    ),
                    ("<ocp:other-identity/><ocp:anonymous-request/>", True),
                    ("<ocp:external-list/>", True),
                    ("<ocp:external-list><ocp:entry anc='http://x/'/></ocp:external-list>", True),
                    ("<ocp:no-such-condition/>", False),
                )
            ),
            (f"<cp:rule id='a'><cp:actions>{handling('maybe')}</cp:actions></cp:rule>", False),
            (
                "<cp:rule id='a'><cp:transformations><x:give xmlns:x='urn:x'/>"
                "</cp:transformations></cp:rule>",
                True,
            ),
        ):
            self.assertEqual(not schema_verdict("common-policy", ruleset(content)), good, content)

    def test_ids(self) -> None:
        """A rule id is unique in its document only (XDM-90, XDM-102, XCAP-167)."""
        self.assertNotEqual(schema_verdict("common-policy", ruleset(rule() + rule())), "")
        self.assertEqual(schema_verdict("common-policy", ruleset(rule())), "")


class PidfTests(SynchronousTestCase):
    """``pidf-manipulation``."""

    def test_name(self) -> None:
        """There is one document in each home directory, ``index`` (XDM-60)."""
        usage(PIDF).locate("users", ("index",))
        conflict = self.assertRaises(Conflict, usage(PIDF).locate, "users", ("other",))
        self.assertEqual(conflict.kind, "constraint-failure")
        error = self.assertRaises(XcapError, usage(PIDF).locate, "global", ("index",))
        self.assertEqual(error.status, 404)

    def test_schema(self) -> None:
        """PIDF and its extensions are validated, nothing further (XDM-61)."""
        ns = "urn:ietf:params:xml:ns:pidf"
        person = (
            '<dm:person xmlns:dm="urn:ietf:params:xml:ns:pidf:data-model" id="p">'
            '<r:activities xmlns:r="urn:ietf:params:xml:ns:pidf:rpid"><r:{}/></r:activities>'
            "</dm:person>"
        )
        for content, good in (
            ("", True),
            ("<tuple id='t'><status/></tuple>", True),
            ("<tuple id='t'/>", False),
            ("<tuple id='t'><status/></tuple><tuple id='t'><status/></tuple>", False),
            (person.format("away"), True),
            (person.format("swimming"), False),
        ):
            body = f'<presence xmlns="{ns}" entity="{JOE}">{content}</presence>'
            self.assertEqual(not schema_verdict("pidf", body), good, content)

    def test_entity(self) -> None:
        """The entity is the owner, in whatever form (XDM-63)."""
        for entity, good in (
            (JOE, True),
            (f" {JOE} ", True),
            ("sip:%6Aoe@EXAMPLE.com", True),
            ("pres:joe@example.com", True),
            ("tel:+1-555-0100", True),
            ("sip:bob@example.com", False),
            ("pres:bob@example.com", False),
            ("", False),
            ("joe", False),
        ):
            body = f'<presence xmlns="urn:ietf:params:xml:ns:pidf" entity="{entity}"/>'
            wanted = (
                ("", "")
                if good
                else ("constraint-failure", "The entity must be the owner of the document")
            )
            self.assertEqual(verdict(usage(PIDF), body, key(PIDF)), wanted, entity)


class ContentTests(SynchronousTestCase):
    """``org.openmobilealliance.pres-content``."""

    def check_content(
        self, mime_type: str, encoding: str, data: str, phrase: str, limit: int = 100
    ) -> None:
        """Check a picture."""
        parts = (("mime-type", mime_type), ("encoding", encoding), ("data", data))
        inner = "".join(f"<{name}>{text}</{name}>" for name, text in parts)
        body = f'<content xmlns="urn:oma:xml:prs:pres-content">{inner}</content>'
        kind = "constraint-failure" if phrase else ""
        one = usage(CONTENT, icon_size=limit)
        self.assertEqual(verdict(one, body, key(CONTENT)), (kind, phrase))

    def test_type(self) -> None:
        """Pictures are JPEG, GIF or PNG (XDM-160)."""
        for mime_type in ("image/jpeg", "image/gif", "image/png", "IMAGE/PNG", " image/gif\n"):
            self.check_content(mime_type, "base64", "AAAA", "")
        for mime_type in ("image/svg+xml", "text/html", "", "image/gif;x=y"):
            self.check_content(mime_type, "base64", "AAAA", "Unsupported MIME type")
        body = '<content xmlns="urn:oma:xml:prs:pres-content"><data>AAAA</data></content>'
        self.assertEqual(
            verdict(usage(CONTENT), body, key(CONTENT)),
            ("constraint-failure", "Unsupported MIME type"),
        )

    def test_encoding(self) -> None:
        """Pictures are in base64 (XDM-160)."""
        self.check_content("image/gif", "base64", "QUJD\n  RA==", "")
        for encoding, data in (("hex", "AAAA"), ("", "AAAA"), ("base64", "?"), ("base64", "A")):
            self.check_content("image/gif", encoding, data, "Unsupported encoding")
        self.check_content("image/gif", "base64", "\u00e4AAA", "Unsupported encoding")

    def test_size(self) -> None:
        """The picture itself is measured (XDM-160)."""
        data = base64.encodebytes(bytes(100)).decode()
        self.check_content("image/gif", "base64", data, "")
        data = base64.encodebytes(bytes(101)).decode()
        phrase = "Size limit exceeded, maximum allowed size is 100 bytes"
        self.check_content("image/gif", "base64", data, phrase)

    def test_place(self) -> None:
        """Documents are in the folder of icons, their names are not OMA's (XDM-160)."""
        content = usage(CONTENT)
        content.locate("users", ("oma_status-icon", "me"))
        for path, kind in (
            (("me",), "constraint-failure"),
            (("oma_status-icon", "oma_me"), "constraint-failure"),
            (("oma_other", "me"), "no-parent"),
            (("icons", "me"), "no-parent"),
            (("oma_status-icon", "a", "b"), "no-parent"),
        ):
            conflict = self.assertRaises(Conflict, content.locate, "users", path)
            self.assertEqual(conflict.kind, kind, path)
        error = self.assertRaises(XcapError, content.locate, "global", ("oma_status-icon", "me"))
        self.assertEqual(error.status, 404)
        self.assertEqual(self.assertRaises(XcapError, content.locate, "users", ()).status, 404)
