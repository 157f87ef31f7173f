"""Users, keys and documents for the tests of application usages."""

from __future__ import annotations

from pathlib import Path

from lxml import etree
from zope.interface import implementer

from xcap.errors import Conflict
from xcap.interfaces import IApplicationUsage, ISubscribers
from xcap.records import DocumentKey, Requester
from xcap.uri import canonical_xui
from xcap.usage.base import Trusted
from xcap.usage.standard import UsageSettings, standard_usages
from xcap.validate import parse_tree, validate

ROOT = "https://xcap.example.com/"
JOE = "sip:joe@example.com"
BOB = "sip:bob@example.com"
VECTORS = Path(__file__).parent.parent / "vectors" / "xcap" / "usage"

RL = "urn:ietf:params:xml:ns:resource-lists"
RLS = "urn:ietf:params:xml:ns:rls-services"
CP = "urn:ietf:params:xml:ns:common-policy"
PR = "urn:ietf:params:xml:ns:pres-rules"
OCP = "urn:oma:xml:xdm:common-policy"


@implementer(ISubscribers)
class Users:
    """Joe, with a telephone number, and Bob."""

    def canonical(self, xui: str) -> str:
        """Joe's number is Joe's."""
        found = canonical_xui(xui)
        return JOE if found == "tel:+15550100" else found

    def known(self, xui: str) -> bool:
        """Whether it is one of the two."""
        return xui in (JOE, BOB)


def serves(domain: str) -> bool:
    """Whether a domain is ours."""
    return domain == "example.com"


def settings(**changes: object) -> UsageSettings:
    """Settings of a small operator."""
    given: dict[str, object] = {"subscribers": Users(), "serves": serves, **changes}
    return UsageSettings(**given)  # type: ignore[arg-type]


def usage(auid: str, **changes: object) -> IApplicationUsage:
    """A usage of the standard ones."""
    roles = standard_usages(settings(**changes))
    return next(one for usages in roles.values() for one in usages if one.auid == auid)


def key(auid: str, path: str = "index", xui: str = JOE, root: str = ROOT) -> DocumentKey:
    """Where a document is."""
    return DocumentKey(root, auid, xui, path)


def vector(auid: str, name: str) -> bytes:
    """A document of the vectors."""
    return (VECTORS / auid / f"{name}.xml").read_bytes()


def tree(one: IApplicationUsage, body: bytes | str) -> etree._Element:
    """A document that the schema allows."""
    root = parse_tree(body.encode() if isinstance(body, str) else body)
    validate(one.schema, root)
    return root


def refusal(one: IApplicationUsage, body: bytes | str, at: DocumentKey) -> Conflict | None:
    """What a usage says against a document that the schema allows; None when it is fine."""
    root = tree(one, body)
    try:
        one.check(root, at)
    except Conflict as conflict:
        return conflict
    return None


def verdict(one: IApplicationUsage, body: bytes | str, at: DocumentKey) -> tuple[str, str]:
    """Kind and phrase of a refusal, ("", "") when there is none."""
    found = refusal(one, body, at)
    return (found.kind, found.phrase) if found else ("", "")


def schema_verdict(schema: str, body: str | bytes) -> str:
    """The phrase of a refusal by the schema, "" when there is none."""
    root = parse_tree(body.encode() if isinstance(body, str) else body)
    try:
        validate(schema, root)
    except Conflict as conflict:
        if conflict.kind != "schema-validation-error":
            raise
        return conflict.phrase
    return ""


def lists(content: str) -> str:
    """A resource-lists document."""
    return f'<resource-lists xmlns="{RL}">{content}</resource-lists>'


def services(content: str) -> str:
    """An rls-services document."""
    return f'<rls-services xmlns="{RLS}" xmlns:rl="{RL}">{content}</rls-services>'


def ruleset(content: str) -> str:
    """A rules document."""
    return f'<cp:ruleset xmlns:cp="{CP}" xmlns:pr="{PR}" xmlns:ocp="{OCP}">{content}</cp:ruleset>'


def rule(conditions: str = "", actions: str = "", transformations: str = "") -> str:
    """A rule."""
    parts = (
        ("conditions", conditions),
        ("actions", actions),
        ("transformations", transformations),
    )
    inner = "".join(f"<cp:{name}>{text}</cp:{name}>" for name, text in parts if text)
    return f'<cp:rule id="r">{inner}</cp:rule>'


RLS_SERVER = Trusted(identity="sip:rls@example.com", auids=frozenset({"rls-services"}))
PROVISIONING = Trusted(name="provisioning.example.com", write=True)
TRUSTED = (RLS_SERVER, PROVISIONING)

OWNER = Requester((JOE, "tel:+15550100"))
OTHER = Requester((BOB,))
NOBODY = Requester()
SERVER = Requester(("sip:rls@example.com",))
PROVISIONER = Requester((), ("provisioning.example.com",))
