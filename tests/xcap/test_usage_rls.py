"""The usage ``rls-services`` and its global index."""

from __future__ import annotations

from lxml import etree
from twisted.trial.unittest import SynchronousTestCase

from tests.xcap.usages import (
    BOB,
    JOE,
    RL,
    RLS,
    ROOT,
    key,
    refusal,
    services,
    settings,
    tree,
    usage,
    verdict,
)
from xcap.document import parse_document
from xcap.edit import get_node
from xcap.errors import XcapError
from xcap.records import Claim, DocumentKey
from xcap.uri import parse_node, quote_node
from xcap.usage.base import Quotas
from xcap.usage.index import index_document, wanted_service
from xcap.usage.rlsservices import RlsServices
from xcap.usage.serviceuri import ServiceTemplate
from xcap.usage.standard import standard_usages
from xcap.validate import parse_tree, validate

AUID = "rls-services"
HOME = "resource-lists/users/sip:joe@example.com/index"
LIST = f"{ROOT}{HOME}/~~/resource-lists/list%5b@name=%22a%22%5d"
TEMPLATE = "<xui>;pres-list=<id>"


def service(uri: str, content: str = "<list/>") -> str:
    """A service."""
    return f"<service uri='{uri}'>{content}</service>"


def reference(uri: str) -> str:
    """A document with a service whose list is elsewhere."""
    return services(service("sip:friends@example.com", f"<resource-list>{uri}</resource-list>"))


class ConstraintTests(SynchronousTestCase):
    """What is demanded beyond the schema."""

    def check_reference(self, uri: str, at: DocumentKey, good: bool) -> None:
        """See whether a resource-list is taken."""
        kind, phrase = verdict(usage(AUID), reference(uri), at)
        self.assertEqual(
            (kind, bool(phrase)), ("" if good else "constraint-failure", not good), uri
        )

    def test_resource_list(self) -> None:
        """A reference is to the owner's resource lists below the same root (XDM-43)."""
        at = key(AUID)
        for uri in (
            LIST,
            f"\n  {LIST}\n",
            f"{ROOT}{HOME}",
            f"HTTPS://XCAP.example.com:443/{HOME}/%7E%7E/resource-lists/list",
            f"{ROOT}resource-lists/users/sip%3Ajoe%40EXAMPLE.com/index/~~/resource-lists/list",
            f"{ROOT}resource-lists/users/tel:+15550100/index/~~/resource-lists/list",
            f"{LIST}?xmlns(a=urn:x)",
        ):
            self.check_reference(uri, at, True)
        for uri in (
            "",
            HOME,
            f"/{HOME}",
            "sip:joe@example.com",
            LIST.replace("https", "http"),
            LIST.replace("xcap.", "xdms."),
            LIST.replace("resource-lists/users", "rls-services/users"),
            LIST.replace("resource-lists/users", "x/resource-lists/users"),
            LIST.replace("joe", "bob"),
            LIST.replace("sip:joe@example.com", "joe"),
            f"{ROOT}resource-lists/global/index/~~/resource-lists/list",
            f"{ROOT}resource-lists",
            f"{ROOT}resource-lists/users/sip:bob@example.com/../sip:joe@example.com/index",
            f"{LIST}#a",
        ):
            self.check_reference(uri, at, False)

    def test_resource_list_in_global(self) -> None:
        """In the global tree it may be anybody's, but somebody's (XDM-43)."""
        at = key(AUID, "others", "")
        self.check_reference(LIST, at, True)
        self.check_reference(LIST.replace("joe", "bob"), at, True)
        self.check_reference(f"{ROOT}resource-lists/global/index", at, False)

    def test_root_with_path(self) -> None:
        """A root may have a path of its own (XDM-43, XCAP-02)."""
        root = "https://x.example.com:8443/services/"
        at = key(AUID, root=root)
        self.check_reference(f"{root}{HOME}", at, True)
        self.check_reference(f"https://x.example.com:8443/{HOME}", at, False)

    def test_inner_lists(self) -> None:
        """Lists in services obey the rules of resource lists (XDM-44)."""
        for inner, kind in (
            ("<rl:entry uri='a'/><rl:list><rl:entry uri='a'/></rl:list>", ""),
            ("<rl:entry uri='a'/><rl:entry uri='a'/>", "uniqueness-failure"),
            ("<rl:list name='a'/><rl:list name='a'/>", "uniqueness-failure"),
            ("<rl:entry-ref ref='/a'/>", "constraint-failure"),
            ("<rl:list><rl:external/></rl:list>", "constraint-failure"),
        ):
            body = services(service("sip:friends@example.com", f"<list>{inner}</list>"))
            self.assertEqual(verdict(usage(AUID), body, key(AUID))[0], kind, inner)

    def test_inner_field(self) -> None:
        """The field of a repeated entry binds the prefix it uses (XCAP-133)."""
        inner = "<list><rl:entry uri='a'/><rl:entry uri='a'/></list>"
        body = services(service("sip:friends@example.com", inner))
        conflict = refusal(usage(AUID), body, key(AUID))
        assert conflict is not None
        self.assertEqual(
            conflict.exists[0].field,
            'rls-services/service[1]/list[1]/rl:entry[2][@uri="a"]/@uri',
        )
        self.assertEqual(conflict.exists[0].bindings, (("rl", RL),))

    def test_uri(self) -> None:
        """A service has a SIP URI in a served domain (XDM-45)."""
        for uri, good in (
            ("sip:friends@example.com", True),
            ("sips:friends@EXAMPLE.com", True),
            ("sip:joe@example.com;pres-list=friends", True),
            ("tel:+15550199", False),
            ("friends", False),
            ("https://example.com/", False),
            ("sip:friends@example.net", False),
            ("sip:friends@sub.example.com", False),
        ):
            kind = verdict(usage(AUID), services(service(uri)), key(AUID))[0]
            self.assertEqual(kind, "" if good else "constraint-failure", uri)

    def test_subscriber(self) -> None:
        """A service has no URI of a subscriber or of another resource (XDM-45)."""
        one = usage(AUID, reserved=frozenset({"sip:rls@example.com"}))
        for uri in (
            "sip:bob@example.com",
            "sips:bob@example.com",
            "sip:bob@EXAMPLE.com;transport=tcp",
            "sip:%62ob@example.com?subject=x",
            "sip:rls@example.com",
            "sip:example.com",
        ):
            conflict = refusal(one, services(service(uri)), key(AUID))
            assert conflict is not None, uri
            self.assertEqual(conflict.kind, "uniqueness-failure")
            (exists,) = conflict.exists
            self.assertEqual(exists.field, f'rls-services/service[1][@uri="{uri}"]/@uri')
            self.assertEqual(len(exists.alternatives), 5)
            for free in exists.alternatives:
                self.assertEqual(verdict(one, services(service(free)), key(AUID)), ("", ""), free)
        self.assertEqual(verdict(one, services(service(f"{BOB};x=y")), key(AUID)), ("", ""))

    def test_twice(self) -> None:
        """Two services of a document have different URIs, however spelt (XDM-46)."""
        body = services(
            service("sip:a@example.com;x=1")
            + service("sip:b@example.com")
            + service("sip:%61@EXAMPLE.com;X=1")
        )
        conflict = refusal(usage(AUID), body, key(AUID))
        assert conflict is not None
        self.assertEqual(conflict.kind, "uniqueness-failure")
        (exists,) = conflict.exists
        field = 'rls-services/service[3][@uri="sip:%61@EXAMPLE.com;X=1"]/@uri'
        self.assertEqual(exists.field, field)
        self.assertEqual(exists.alternatives[0], "sip:a@example.com;x=1-2")

    def test_template(self) -> None:
        """A service URI fits the operator's template, whose form is told (XDM-56)."""
        one = usage(AUID, service_template=TEMPLATE)
        for uri in ("sip:joe@example.com;pres-list=a", "sip:joe@EXAMPLE.com;Pres-List=a"):
            self.assertEqual(verdict(one, services(service(uri)), key(AUID)), ("", ""), uri)
        for uri, example in (
            ("sip:a@example.com", "a"),
            ("sip:bob@example.com;pres-list=a", "a"),
            ("sip:joe@example.com;pres-list=a;x=y", "y"),
        ):
            self.assertEqual(
                verdict(one, services(service(uri)), key(AUID)),
                (
                    "constraint-failure",
                    f"The uri of a service must have the form {JOE};pres-list={example}",
                ),
            )
        body = services(service("sip:a@example.com"))
        self.assertEqual(verdict(one, body, key(AUID, "others", "")), ("", ""))

    def test_quotas(self) -> None:
        """Services of a user, lists and entries are counted (XDM-08)."""
        one = usage(AUID, quotas=Quotas(services=2, lists=3, entries=1))
        many = [service(f"sip:a{number}@example.com") for number in range(3)]
        for content, phrase in (
            ("".join(many[:2]), ""),
            ("".join(many), "Too many services, at most 2 are allowed"),
            (
                service("sip:a@example.com", "<list><rl:list/><rl:list/><rl:list/></list>"),
                "Too many lists, at most 3 are allowed",
            ),
            (
                service("sip:a@example.com", "<list><rl:entry uri='a'/><rl:entry uri='b'/></list>"),
                "Too many entries in a list, at most 1 are allowed",
            ),
        ):
            self.assertEqual(verdict(one, services(content), key(AUID))[1], phrase)


class ClaimTests(SynchronousTestCase):
    """What a document claims in the whole store."""

    def setUp(self) -> None:
        """The usage."""
        self.usage = usage(AUID)

    def test_names(self) -> None:
        """Claims have canonical names (XDM-46), and content in ``index`` only (XDM-47)."""
        root = tree(
            self.usage,
            services(service("sip:%61@EXAMPLE.com;X=1") + service("sip:b@example.com")),
        )
        claims = self.usage.claims(root, key(AUID))
        self.assertEqual(
            [(claim.space, claim.name) for claim in claims],
            [(AUID, "sip:a@example.com;x=1"), (AUID, "sip:b@example.com")],
        )
        self.assertTrue(all(claim.content for claim in claims))
        for at in (key(AUID, "other"), key(AUID, "other", "")):
            held = self.usage.claims(root, at)
            self.assertEqual([claim.name for claim in held], [claim.name for claim in claims])
            self.assertFalse(any(claim.content for claim in held))

    def test_stand_alone(self) -> None:
        """A service takes along the declarations it needs (XDM-48)."""
        for body in (
            services(
                service(
                    "sip:a@example.com",
                    "<list><rl:entry uri='sip:b@x'/></list><e:x xmlns:e='urn:e' e:q='rl:z'/>",
                )
            ),
            f"<r:rls-services xmlns:r='{RLS}' xmlns:e='urn:e'><r:service uri='sip:a@example.com'>"
            "<r:list/><e:x><plain/></e:x></r:service></r:rls-services>",
        ):
            root = tree(self.usage, body)
            (claim,) = self.usage.claims(root, key(AUID))
            alone = parse_tree(claim.content)
            index = parse_tree(index_document([claim]))
            validate(AUID, index)
            wanted = [(node.tag, dict(node.attrib), node.text) for node in root[0].iter()]
            for found in (alone, index[0]):
                self.assertEqual(
                    [(node.tag, dict(node.attrib), node.text) for node in found.iter()], wanted
                )

    def test_taken(self) -> None:
        """The refusal tells each service whose URI is another's, with what is free (XDM-46)."""
        root = tree(
            self.usage,
            services(
                service("sip:A@EXAMPLE.com")
                + service("sip:b@example.com")
                + service("sip:c@example.com")
            ),
        )
        free: dict[str, tuple[str, ...]] = {
            "sip:A@example.com": ("sip:A-2@example.com",),
            "sip:c@example.com": (),
        }
        conflict = self.usage.taken(root, key(AUID), free)
        self.assertEqual(conflict.kind, "uniqueness-failure")
        self.assertEqual(
            [(exists.field, exists.alternatives) for exists in conflict.exists],
            [
                (
                    'rls-services/service[@uri="sip:A@EXAMPLE.com"]/@uri',
                    ("sip:A-2@example.com",),
                ),
                ('rls-services/service[@uri="sip:c@example.com"]/@uri', ()),
            ],
        )

    def test_variants(self) -> None:
        """Variants are free of subscribers, canonical, and fit the template (XCAP-134)."""
        found = self.usage.variants("sip:friends@example.com", key(AUID))
        self.assertEqual(found[:2], ("sip:friends-2@example.com", "sip:friends-3@example.com"))
        self.assertEqual(found[-1], f"{JOE};pres-list=friends")
        found = self.usage.variants(f"{JOE};pres-list=a", key(AUID))
        self.assertEqual(found[0], f"{JOE};pres-list=a-2")
        self.assertEqual(len(found), len(set(found)))
        one = usage(AUID, service_template=TEMPLATE)
        template = ServiceTemplate(TEMPLATE)
        found = one.variants(f"{JOE};pres-list=a", key(AUID))
        self.assertGreaterEqual(len(found), 5)
        for uri in found:
            self.assertIsNotNone(template.identifier(uri, JOE))

    def test_others_claim_nothing(self) -> None:
        """Other usages claim nothing and say so when asked."""
        one = usage("resource-lists")
        root = parse_tree(f"<resource-lists xmlns='{RL}'/>".encode())
        self.assertEqual(one.claims(root, key(one.auid)), ())
        self.assertEqual(one.variants("x", key(one.auid)), ())
        self.assertEqual(one.taken(root, key(one.auid), {}).kind, "uniqueness-failure")


class IndexTests(SynchronousTestCase):
    """:mod:`xcap.usage.index`."""

    def setUp(self) -> None:
        """An index of three services, one of them only held."""
        self.usage = usage(AUID)
        root = tree(
            self.usage,
            services(
                service("sip:a@EXAMPLE.com", "<list name='n'/>") + service("sip:b@example.com")
            ),
        )
        self.claims = [
            *self.usage.claims(root, key(AUID)),
            Claim(AUID, "sip:c@example.com"),
        ]

    def test_union(self) -> None:
        """The index has every service and is an rls-services document (XDM-47)."""
        root = parse_tree(index_document(self.claims))
        validate(AUID, root)
        self.assertEqual(
            [node.get("uri") for node in root], ["sip:a@EXAMPLE.com", "sip:b@example.com"]
        )
        validate(AUID, parse_tree(index_document([])))

    def test_one_service(self) -> None:
        """What selects one service by its URI needs that service only (XDM-50)."""
        whole = parse_document(index_document(self.claims))
        for selector in (
            'rls-services/service[@uri="sip:a@EXAMPLE.com"]',
            'rls-services/service[@uri="sip:a@example.com"]',
            'rls-services/service[@uri="sip:b@example.com"]/@uri',
            '*/*[@uri="sip:a@EXAMPLE.com"]/list[@name="n"]',
            'rls-services/service[@uri="sip:a@EXAMPLE.com"]/list/namespace::*',
            'rls-services/service[@uri="sip:x@example.com"]',
            'rls-services/service[@uri="nothing"]',
        ):
            node = parse_node(quote_node(selector), "", RLS)
            name = wanted_service(node)
            self.assertIsNotNone(name, selector)
            part = parse_document(
                index_document([claim for claim in self.claims if claim.name == name])
            )
            found = []
            for document in (whole, part):
                try:
                    found.append(get_node(document, node))
                except XcapError as error:
                    found.append(("", str(error.status).encode()))
            self.assertEqual(found[0], found[1], selector)

    def test_whole(self) -> None:
        """Other selectors need the whole index."""
        for selector in (
            "rls-services",
            "rls-services/service[1]",
            'rls-services/service[1][@uri="sip:a@x"]',
            'rls-services[1]/service[@uri="sip:a@x"]',
            'rls-services[@a="b"]/service[@uri="sip:a@x"]',
            'rls-services/service[@x="sip:a@x"]',
            "rls-services/service/@uri",
            'x/service[@uri="sip:a@x"]',
            'rls-services/x[@uri="sip:a@x"]',
        ):
            self.assertIsNone(wanted_service(parse_node(quote_node(selector), "", RLS)), selector)


class TemplateTests(SynchronousTestCase):
    """:class:`xcap.usage.serviceuri.ServiceTemplate`."""

    def test_owner(self) -> None:
        """A resource list server reads the owner out of the URI (XDM-56)."""
        template = ServiceTemplate(TEMPLATE)
        self.assertEqual(template.make(JOE, "friends"), f"{JOE};pres-list=friends")
        self.assertEqual(template.owner(f"{JOE};pres-list=friends"), JOE)
        self.assertEqual(template.identifier(f"{JOE};pres-list=friends", JOE), "friends")
        self.assertIsNone(template.identifier(f"{JOE};pres-list=friends", BOB))
        for uri in (JOE, f"{JOE};x=y", f"{JOE};pres-list=a;x=y", "sip:lists@example.com"):
            self.assertIsNone(template.owner(uri))

    def test_without_owner(self) -> None:
        """A template need not name the owner."""
        template = ServiceTemplate("sip:lists+<id>@example.com")
        self.assertEqual(template.identifier("sip:lists+a@example.com", JOE), "a")
        self.assertIsNone(template.owner("sip:lists+a@example.com"))
        self.assertIsNone(template.identifier("sip:a@example.com", JOE))

    def test_bad_templates(self) -> None:
        """What cannot be the form of a canonical URI is refused at the start."""
        for text in (
            "<xui>",
            "<xui>;a=<id>;b=<id>",
            "<xui><xui>;a=<id>",
            "<id>",
            "<xui>;z=1;a=<id>",
            "tel:<id>",
        ):
            self.assertRaises(ValueError, ServiceTemplate, text)
            self.assertRaises(ValueError, standard_usages, settings(service_template=text))


class DocumentTests(SynchronousTestCase):
    """Where documents are."""

    def test_index(self) -> None:
        """The index is in the global tree; etags of patches use the URI of a service."""
        one = usage(AUID)
        assert isinstance(one, RlsServices)
        self.assertEqual(one.index, "index")
        self.assertEqual(one.unique_attributes[f"{{{RLS}}}service"], "uri")
        self.assertEqual(etree.QName(f"{{{RLS}}}x").namespace, one.default_namespace)
