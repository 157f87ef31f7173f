"""Every constraint of the application usages over HTTPS: what is taken, what refused (XDM-172)."""

from __future__ import annotations

import base64
from xml.etree import ElementTree

from tests.e2e.phone import aor
from tests.e2e.test_xdm_status import StatusTestCase
from tests.e2e.xdm import ERROR_SPACE, index

CP = "urn:ietf:params:xml:ns:common-policy"
PR = "urn:ietf:params:xml:ns:pres-rules"
OCP = "urn:oma:xml:xdm:common-policy"
RL = "urn:ietf:params:xml:ns:resource-lists"
RLS = "urn:ietf:params:xml:ns:rls-services"
PIDF = "urn:ietf:params:xml:ns:pidf"
CONTENT = "urn:oma:xml:prs:pres-content"

UNIQUE, CONSTRAINT, SCHEMA = "uniqueness-failure", "constraint-failure", "schema-validation-error"
OMA = "org.openmobilealliance."
OMA_RULES = f"/{OMA}pres-rules/users/{aor('alice')}/pres-rules"
GROUPS = index("alice", f"{OMA}group-usage-list")
ICON = f"/{OMA}pres-content/users/{aor('alice')}/oma_status-icon/me"

Row = tuple[str, str, str, str, str]
"""Target, what is accepted, what is refused, kind of conflict, phrase or "" for any."""


def lists(content: str) -> str:
    """A document with one list."""
    return f'<resource-lists xmlns="{RL}"><list name="a">{content}</list></resource-lists>'


def rules(content: str) -> str:
    """A document with one rule."""
    return (
        f'<cp:ruleset xmlns:cp="{CP}" xmlns:pr="{PR}" xmlns:ocp="{OCP}">'
        f'<cp:rule id="a">{content}</cp:rule></cp:ruleset>'
    )


def services(*contents: str) -> str:
    """A document with services."""
    return (
        f'<rls-services xmlns="{RLS}" xmlns:rl="{RL}">'
        + "".join(f"<service {content}</service>" for content in contents)
        + "</rls-services>"
    )


def conditions(content: str) -> str:
    """Conditions of a rule."""
    return f"<cp:conditions>{content}</cp:conditions>"


def handled(value: str, transformations: str) -> str:
    """An action, and what it lets through."""
    return (
        f"<cp:actions><pr:sub-handling>{value}</pr:sub-handling></cp:actions>"
        f"<cp:transformations>{transformations}</cp:transformations>"
    )


def presence(entity: str) -> str:
    """A presence document."""
    return f'<presence xmlns="{PIDF}" entity="{entity}"/>'


def icon(kind: str = "image/png", encoding: str = "base64", octets: int = 3) -> str:
    """A picture."""
    data = base64.b64encode(bytes(octets)).decode()
    return (
        f'<content xmlns="{CONTENT}"><mime-type>{kind}</mime-type>'
        f"<encoding>{encoding}</encoding><data>{data}</data></content>"
    )


class Constraints(StatusTestCase):
    """One document that is taken, and one that differs in what is wrong only."""

    def setUp(self) -> None:
        """Bob is there, too."""
        super().setUp()
        self.bob = self.xdm.client("bob")
        self.root = self.xdm.root

    def check(self, rows: tuple[Row, ...]) -> None:
        """What is refused is told as it should be and leaves the stored octets alone."""
        for target, good, bad, kind, phrase in rows:
            accepted = self.client.put(target, good.encode())
            self.assertIn(accepted.status, (200, 201), (good, accepted.body))
            refused = self.client.put(target, bad.encode())
            self.assertEqual(refused.conflict, kind, (bad[:300], refused))
            found = ElementTree.fromstring(refused.body).find(f"{ERROR_SPACE}{kind}")
            assert found is not None
            self.assertTrue(found.get("phrase"), bad[:300])
            if phrase:
                self.assertEqual(found.get("phrase"), phrase, bad[:300])
            self.assertEqual(self.client.octets(target), good.encode(), bad[:300])
            self.client.delete(target)

    def test_lists(self) -> None:
        """resource-lists and group-usage-list.

        XDM-20, XDM-21, XDM-22, XDM-23, XDM-24, XDM-36, XDM-37, XDM-38, XDM-172.
        """
        one = '<entry uri="sip:a@x"/>'
        anchor = '<external anchor="https://x.example/a"/>'
        ref = '<entry-ref ref="resource-lists/users/sip:a@x/index/~~/resource-lists"/>'
        nameless = f'<resource-lists xmlns="{RL}"><list>{one}</list></resource-lists>'
        target = index("alice")
        self.check(
            (
                (target, lists(one), lists("<entry/>"), SCHEMA, ""),
                (target, lists(one), lists(f"{one}<unknown/>"), SCHEMA, ""),
                (target, lists(one + '<entry uri="sip:A@x"/>'), lists(one + one), UNIQUE, ""),
                (
                    target,
                    lists('<list name="b"/><list name="c"/><list/><list/>'),
                    lists('<list name="b"/><list name="b"/>'),
                    UNIQUE,
                    "",
                ),
                (target, lists(ref), lists(ref + ref), UNIQUE, ""),
                (target, lists(anchor), lists(anchor + anchor), UNIQUE, ""),
                (target, lists(ref), lists('<entry-ref ref="/a"/>'), CONSTRAINT, ""),
                (target, lists(ref), lists('<entry-ref ref="http://x/a"/>'), CONSTRAINT, ""),
                (target, lists(anchor), lists('<external anchor="a"/>'), CONSTRAINT, ""),
                (target, lists(anchor), lists("<external/>"), CONSTRAINT, ""),
                (GROUPS, lists(one), nameless, CONSTRAINT, "Name attribute is required"),
                (GROUPS, lists(one), lists(ref), CONSTRAINT, "Not allowed"),
                (GROUPS, lists(one), lists(anchor), CONSTRAINT, "Not allowed"),
                (GROUPS, lists(one), lists(one + one), UNIQUE, ""),
            )
        )

    def test_services(self) -> None:
        """rls-services (XDM-40, XDM-43, XDM-44, XDM-45, XDM-46, XDM-172)."""
        target = index("alice", "rls-services")
        root = self.root
        own = f"{root}resource-lists/users/{aor('alice')}/index/~~/resource-lists/list%5b1%5d"
        other = own.replace(aor("alice"), aor("bob"))
        inline = '<list><rl:entry uri="sip:a@x"/></list>'
        twice = '<list><rl:entry uri="sip:a@x"/><rl:entry uri="sip:a@x"/></list>'
        first, second = (f'uri="{aor("alice")};pres-list={name}">' for name in ("a", "b"))
        good = services(f"{first}{inline}")

        def resource(uri: str) -> str:
            return services(f"{first}<resource-list>{uri}</resource-list>")

        self.check(
            (
                (target, good, services(f">{inline}"), SCHEMA, ""),
                (target, good, services(first), SCHEMA, ""),
                (target, resource(own), resource("no-uri"), CONSTRAINT, ""),
                (target, resource(own), resource(other), CONSTRAINT, ""),
                (target, resource(own), resource("https://y.example/a"), CONSTRAINT, ""),
                (
                    target,
                    resource(own),
                    resource(own.replace("resource-lists/users", "pres-rules/users")),
                    CONSTRAINT,
                    "",
                ),
                (target, good, services(f"{first}{twice}"), UNIQUE, ""),
                (target, good, services(f'uri="sip:x@other.example">{inline}'), CONSTRAINT, ""),
                (target, good, services(f'uri="{aor("bob")}">{inline}'), UNIQUE, ""),
                (
                    target,
                    services(f"{first}{inline}", f"{second}{inline}"),
                    services(f"{first}{inline}", f"{first}{inline}"),
                    UNIQUE,
                    "",
                ),
            )
        )

    def test_service_of_another(self) -> None:
        """A service URI that another user has is refused with free ones (XDM-46, XDM-172)."""
        uri = f"{aor('alice')};pres-list=shared"
        document = services(f'uri="{uri}"><list/>').encode()
        self.client.store(index("alice", "rls-services"), document)
        refused = self.bob.put(index("bob", "rls-services"), document)
        self.assertEqual(refused.conflict, UNIQUE)
        exists = ElementTree.fromstring(refused.body).find(f".//{ERROR_SPACE}exists")
        assert exists is not None
        self.assertIn("@uri", exists.get("field", ""))
        self.assertTrue([each.text for each in exists])
        self.assertEqual(self.bob.get(index("bob", "rls-services")).status, 404)

    def test_rules(self) -> None:
        """Presence rules (XDM-90, XDM-94, XDM-96, XDM-97, XDM-98, XDM-99, XDM-172)."""
        target = index("alice", "pres-rules")
        who = '<cp:identity><cp:one id="sip:a@x"/></cp:identity>'
        own = f"{self.root}resource-lists/users/{aor('alice')}/index/~~/resource-lists/list"
        external = '<ocp:external-list><ocp:entry anc="{}"/></ocp:external-list>'
        both = conditions(f"{who}<ocp:other-identity/>")
        some = "<pr:provide-note>true</pr:provide-note>"
        good = rules(conditions(who))
        self.check(
            (
                (target, rules(both), rules("<cp:actions/><cp:conditions/>"), SCHEMA, ""),
                (target, good, good.replace('id="a"', 'id="1"'), SCHEMA, ""),
                (target, rules(handled("block", some)), rules(handled("perhaps", "")), SCHEMA, ""),
                (OMA_RULES, good, rules(both), CONSTRAINT, "Complex rules are not allowed"),
                (
                    OMA_RULES,
                    rules(handled("allow", some)),
                    rules(handled("block", some)),
                    CONSTRAINT,
                    "transformations element not allowed",
                ),
                (
                    OMA_RULES,
                    rules(conditions(external.format(own))),
                    rules(conditions(external.format(own.replace("alice", "bob")))),
                    CONSTRAINT,
                    "",
                ),
                (
                    OMA_RULES,
                    rules(conditions(external.format(own))),
                    rules(conditions(external.format("a"))),
                    CONSTRAINT,
                    "",
                ),
            )
        )

    def test_presence(self) -> None:
        """pidf-manipulation and pres-content (XDM-60, XDM-61, XDM-63, XDM-160, XDM-172)."""
        target = index("alice", "pidf-manipulation")
        good = presence(aor("alice"))
        large = icon(octets=300 * 1024 + 1)
        self.check(
            (
                (target, good, presence(aor("bob")), CONSTRAINT, ""),
                (target, good, good.replace("/>", "><tuple/></presence>"), SCHEMA, ""),
                (ICON, icon(), icon("image/tiff"), CONSTRAINT, "Unsupported MIME type"),
                (ICON, icon(), icon(encoding="none"), CONSTRAINT, "Unsupported encoding"),
                (
                    ICON,
                    icon(),
                    large,
                    CONSTRAINT,
                    "Size limit exceeded, maximum allowed size is 307200 bytes",
                ),
            )
        )
        elsewhere = target.replace("/index", "/other")
        self.assertEqual(self.client.put(elsewhere, good.encode()).conflict, CONSTRAINT)
        self.assertEqual(self.client.get(elsewhere).status, 404)
