"""A slow evaluator of presence rules, written from xdm.md sections 8 and 9 alone (XDM-171).

It shares nothing with :mod:`presence.rules`: it walks the XML, scans every rule, and keeps to
the order of the text. What it grants is again an XML element.
"""

from __future__ import annotations

from datetime import UTC, datetime
from urllib.parse import unquote

import attrs
from lxml import etree

CP = "{urn:ietf:params:xml:ns:common-policy}"
PR = "{urn:ietf:params:xml:ns:pres-rules}"
OP = "{urn:oma:xml:prs:pres-rules}"
OCP = "{urn:oma:xml:xdm:common-policy}"

# XDM-135
VALUES = {"block": 0, "confirm": 10, "polite-block": 20, "allow": 30}
# XDM-140, XDM-142
LEVELS = {"false": 0, "bare": 10, "thresholds": 20, "full": 30}
SETS = {"provide-services": "all-services", "provide-persons": "all-persons"}
SETS["provide-devices"] = "all-devices"


@attrs.frozen
class Case:
    """What a decision is asked for; members as in ``tests/vectors/rules/README.md``."""

    oma: bool
    presentity: list[str]
    watcher: list[str]
    anonymous: bool
    switch: bool
    now: datetime
    sphere: str | None
    lists: dict[str, list[str] | None]


def same_uri(one: str, other: str) -> bool:
    """XDM-113."""
    return _normal_uri(one) == _normal_uri(other)


def _normal_uri(uri: str) -> str:
    scheme, _, rest = uri.partition(":")
    if scheme == "tel":
        return "tel:" + "".join(c for c in rest.partition(";")[0] if c not in "-.()")
    user, _, host = rest.rpartition("@")
    host = host.partition(";")[0].partition(":")[0]
    return f"{scheme}:{unquote(user)}@{host.lower()}"


def same_domain(domain: str, uri: str) -> bool:
    """XDM-114: whether a URI is of a domain."""
    scheme, _, rest = uri.partition(":")
    if scheme == "tel":
        return False
    host = rest.rpartition("@")[2].partition(";")[0].partition(":")[0]
    try:
        one = unquote(domain).encode("idna").lower().split(b".")
        other = unquote(host).encode("idna").lower().split(b".")
    except UnicodeError:
        return False
    return all(one) and one == other


def is_anonymous(case: Case) -> bool:
    """XDM-118, XDM-119."""
    if not case.watcher:
        return True
    return case.oma and case.switch and case.anonymous


def identities(case: Case) -> list[str]:
    """The set W, none for an anonymous request (XDM-119)."""
    return [] if is_anonymous(case) else case.watcher


def member(child: etree._Element, case: Case) -> bool:
    """A child of ``identity`` (XDM-111, XDM-113 to XDM-115, XDM-124)."""
    uris = identities(case)
    if child.tag == f"{CP}one":
        return any(same_uri(child.get("id", ""), uri) for uri in uris)
    if child.tag != f"{CP}many" or not uris:
        return False
    domain = child.get("domain")
    if domain is not None and not any(same_domain(domain, uri) for uri in uris):
        return False
    for exception in child.findall(f"{CP}except"):
        name, place = exception.get("id"), exception.get("domain")
        for uri in uris:
            if name is not None and same_uri(name, uri):
                return False
            if place is not None and same_domain(place, uri):
                return False
    return True


def moment(text: str) -> datetime:
    """An xs:dateTime as in our documents; UTC without zone (XDM-117)."""
    when = datetime.fromisoformat(text)
    return when if when.tzinfo else when.replace(tzinfo=UTC)


def listed(condition: etree._Element, case: Case) -> bool | None:
    """XDM-120, XDM-123; None: undetermined."""
    result: bool | None = False
    for entry in condition.findall(f"{OCP}entry"):
        members = case.lists.get(entry.get("anc", ""))
        if members is None:
            result = None if result is False and identities(case) else result
        elif any(same_uri(one, uri) for one in members for uri in identities(case)):
            return True
    return result


def condition_holds(condition: etree._Element, case: Case, rules: list) -> bool | None:
    """One child of ``conditions`` (XDM-110 to XDM-121)."""
    if condition.tag == f"{CP}identity":
        return any(member(child, case) for child in condition)
    if condition.tag == f"{CP}sphere":
        tokens = condition.get("value", "").lower().split(" ")
        return case.sphere is not None and case.sphere.lower() in tokens
    if condition.tag == f"{CP}validity":
        froms = [moment(one.text or "") for one in condition.findall(f"{CP}from")]
        untils = [moment(one.text or "") for one in condition.findall(f"{CP}until")]
        return any(a <= case.now < b for a, b in zip(froms, untils, strict=True))
    if condition.tag == f"{OCP}anonymous-request":
        return is_anonymous(case)
    if condition.tag == f"{OCP}external-list":
        return listed(condition, case)
    if condition.tag == f"{OCP}other-identity":
        if is_anonymous(case):
            return False
        naming = [rule for rule in rules if names(rule) and not has(rule, "other-identity")]
        return not any(matches(rule, case, rules) is True for rule in naming)
    return False


def has(rule: etree._Element, name: str) -> bool:
    """Whether a rule has an OMA condition."""
    return rule.find(f"{CP}conditions/{OCP}{name}") is not None


def names(rule: etree._Element) -> bool:
    """Whether a rule says who by identity or list."""
    return rule.find(f"{CP}conditions/{CP}identity") is not None or has(rule, "external-list")


def matches(rule: etree._Element, case: Case, rules: list) -> bool | None:
    """XDM-110; None: it hangs on a list that is undetermined (XDM-123)."""
    if names(rule) and has(rule, "other-identity"):
        return False  # whom it names is not another
    states = [
        condition_holds(condition, case, rules)
        for conditions in rule.findall(f"{CP}conditions")
        for condition in conditions
    ]
    return False if False in states else None if None in states else True


def rule_class(rule: etree._Element) -> int:
    """XDM-130; 0 without any of the four conditions."""
    if has(rule, "anonymous-request"):
        return 1
    if rule.find(f"{CP}conditions/{CP}identity") is not None:
        return 2
    if has(rule, "external-list"):
        return 3
    return 4 if has(rule, "other-identity") else 0


def handling_of(rule: etree._Element) -> str:
    """XDM-135."""
    return rule.findtext(f"{CP}actions/{PR}sub-handling", "block").strip()


def decide(
    documents: list[etree._Element], case: Case
) -> tuple[str, etree._Element | None, list[str]]:
    """Handling, transformations (None for all there is), and ids of the rules used."""
    rules = [rule for document in documents for rule in document.findall(f"{CP}rule")]
    matching = [rule for rule in rules if matches(rule, case, rules) is True]
    # XDM-138
    own = any(same_uri(one, uri) for one in case.presentity for uri in case.watcher)
    if own and not any(rule_class(rule) == 2 for rule in matching):
        return "allow", None, []
    if case.oma:
        # XDM-130
        classes = sorted({rule_class(rule) for rule in matching} - {0})
        if classes:
            matching = [rule for rule in matching if rule_class(rule) in (0, classes[0])]
    handling = max(
        (handling_of(rule) for rule in matching), key=VALUES.__getitem__, default="block"
    )
    # XDM-123
    by_catch_all = any(rule_class(rule) == 4 for rule in matching)
    undetermined = any(matches(rule, case, rules) is None for rule in rules)
    if by_catch_all and undetermined and VALUES[handling] > VALUES["confirm"]:
        handling = "confirm"
    granted = combine(rule.find(f"{CP}transformations") for rule in matching)
    if handling != "allow":
        granted = etree.Element(f"{CP}transformations")
    return handling, granted, [rule.get("id", "") for rule in matching]


def combine(transformations) -> etree._Element:
    """XDM-140 to XDM-142: one element that grants what all grant together."""
    sets: dict[str, set[tuple[str, str]]] = {}
    booleans: set[tuple[str, str, str]] = set()
    levels: dict[str, str] = {}
    for element in transformations:
        for child in element if element is not None else ():
            local = etree.QName(child).localname
            text = (child.text or "").strip()
            if local in SETS:
                found = sets.setdefault(child.tag, set())
                found.update((one.tag, (one.text or "").strip()) for one in child)
            elif local == "provide-user-input":
                if LEVELS[text] >= LEVELS[levels.get(child.tag, "false")]:
                    levels[child.tag] = text
            elif local in ("provide-all-attributes", "provide-geopriv"):
                if text in ("", "full"):
                    booleans.add((child.tag, text, ""))
            elif text in ("true", "1"):
                booleans.add((child.tag, child.get("name", ""), child.get("ns", "")))
    result = etree.Element(f"{CP}transformations")
    for tag, members in sets.items():
        parent = etree.SubElement(result, tag)
        everything = PR + SETS[etree.QName(tag).localname]
        if everything in {name for name, _ in members}:
            members = {(everything, "")}
        for name, text in sorted(members):
            etree.SubElement(parent, name).text = text
    for tag, text in levels.items():
        etree.SubElement(result, tag).text = text
    for tag, name, namespace in sorted(booleans):
        child = etree.SubElement(result, tag)
        child.text = "true"
        if tag.endswith("provide-unknown-attribute"):
            child.set("name", name)
            child.set("ns", namespace)
        elif tag.endswith(("provide-all-attributes", "provide-geopriv")):
            child.text = name
    return result
