"""What a watcher may see, by brute force, written from presence-data.md K alone (XDM-171).

It shares nothing with :mod:`presence.rules`: of every element it asks the table of the text
whether it is granted, and copies what is.  Permissions are the XML element that
:mod:`tests.presence.rules_oracle` gives, documents are trees.
"""

from __future__ import annotations

from lxml import etree

from tests.presence.rules_oracle import PR

PIDF = "{urn:ietf:params:xml:ns:pidf}"
SPACES = {
    "t": "urn:ietf:params:xml:ns:pidf",
    "dm": "urn:ietf:params:xml:ns:pidf:data-model",
    "r": "urn:ietf:params:xml:ns:pidf:rpid",
    "op": "urn:oma:xml:prs:pidf:oma-pres",
    "gp": "urn:ietf:params:xml:ns:pidf:geopriv10",
    "pr": "urn:ietf:params:xml:ns:pres-rules",
    "opr": "urn:oma:xml:prs:pres-rules",
}
# The table of K.3: the permission, the elements that it opens, and in what: a tuple, a person,
# a device, the status of a tuple, or the root.
TABLE = """
pr:provide-activities            r:activities                P
pr:provide-class                 r:class                     PTD
pr:provide-deviceID              dm:deviceID                 T
pr:provide-mood                  r:mood                      P
pr:provide-place-is              r:place-is                  P
pr:provide-place-type            r:place-type                P
pr:provide-privacy               r:privacy                   PT
pr:provide-relationship          r:relationship              T
pr:provide-sphere                r:sphere                    P
pr:provide-status-icon           r:status-icon               PT
pr:provide-time-offset           r:time-offset               P
pr:provide-user-input            r:user-input                PTD
pr:provide-note                  t:note                      TR
pr:provide-note                  dm:note                     PD
opr:provide-willingness          op:willingness              T
opr:provide-willingness          op:overriding-willingness   P
opr:provide-network-availability op:network-availability     D
opr:provide-session-participation op:session-participation   T
opr:provide-registration-state   op:registration-state       T
opr:provide-barring-state        op:barring-state            T
opr:provide-geopriv              gp:geopriv                  PTDS
always                           t:contact                   T
always                           r:service-class             T
always                           t:status                    T
always                           t:timestamp                 T
always                           op:service-description      T
always                           dm:timestamp                PD
always                           dm:deviceID                 D
always                           t:basic                     S
"""
COMPONENTS = {"tuple": "T", "person": "P", "device": "D"}
SETS = {"T": "provide-services", "P": "provide-persons", "D": "provide-devices"}


def clark(name: str) -> str:
    """The expanded name of a prefixed one."""
    prefix, _, local = name.partition(":")
    return f"{{{SPACES[prefix]}}}{local}" if local else name


ROWS = [
    (clark(permission), clark(element), places)
    for permission, element, places in (line.split() for line in TABLE.split("\n") if line)
]
NAMED = {element for _, element, _ in ROWS}
KNOWN = (clark("t:"), clark("dm:"), clark("r:"))


def value(granted: etree._Element, permission: str) -> str:
    """The value of a permission; "" when it is absent (RUL-05)."""
    return "full" if permission == "always" else granted.findtext(permission, "")


def everything(granted: etree._Element) -> bool:
    """RUL-22."""
    return granted.find(f"{PR}provide-all-attributes") is not None


def same(kind: str, wanted: str, found: str) -> bool:
    """Whether a member of a set names a value; URIs of the generator differ in case only."""
    if kind in ("service-uri", "deviceID"):
        return wanted.lower() == found.lower()
    if kind == "service-uri-scheme":
        return found.startswith(f"{wanted}:")
    return wanted == found


def selected(component: etree._Element, place: str, granted: etree._Element) -> bool:
    """RUL-10 to RUL-13: whether a component is let through at all."""
    for member in granted.findall(f"{PR}{SETS[place]}/*"):
        kind = etree.QName(member).localname
        if kind.startswith("all-"):
            return True
        path = {
            "class": clark("r:class"),
            "service-uri": clark("t:contact"),
            "service-uri-scheme": clark("t:contact"),
            "deviceID": clark("dm:deviceID"),
            "service-id": f"{clark('op:service-description')}/{clark('op:service-id')}",
        }
        if kind == "occurrence-id":
            values = [component.get("id", "")]
        else:
            values = [element.text or "" for element in component.findall(path[kind])]
        if any(same(kind, member.text or "", found) for found in values):
            return True
    return False


def opened(element: etree._Element, place: str, granted: etree._Element) -> bool:
    """RUL-20, RUL-21, RUL-24: whether a child of a component, the status or the root stays."""
    if everything(granted):
        return True
    for permission, name, places in ROWS:
        if name == element.tag and place in places:
            return value(granted, permission) not in ("", "false")
    if place == "S" or element.tag in NAMED or element.tag.startswith(KNOWN):
        return False
    return any(
        f"{{{unknown.get('ns')}}}{unknown.get('name')}" == element.tag
        for unknown in granted.findall(f"{PR}provide-unknown-attribute")
    )


def inside(element: etree._Element, granted: etree._Element) -> etree._Element | None:
    """What is left of an element that stays; None when it may stand nowhere (XDM-142)."""
    copy = etree.Element(element.tag, element.attrib, nsmap=element.nsmap)
    copy.text = element.text
    if not everything(granted):
        for name in ("class", "geopriv", "user-input"):
            (row,) = [row for row in ROWS if row[1].endswith(f"}}{name}")]
            if row[1] == element.tag and value(granted, row[0]) in ("", "false"):
                return None
        if element.tag == clark("r:user-input"):
            level = value(granted, clark("pr:provide-user-input"))
            for attribute in element.attrib:
                times = attribute in ("idle-threshold", "last-input", "since")
                if (level == "bare" and times) or (
                    level == "thresholds" and attribute != "idle-threshold"
                ):
                    del copy.attrib[attribute]
    for child in element:
        kept = inside(child, granted)
        if kept is not None:
            copy.append(kept)
    return copy


def view(document: etree._Element, granted: etree._Element | None) -> bytes:
    """The document of a watcher, as canonical XML.

    :param document: a schema-valid document without comments and blanks between elements.
    :param granted: ``cp:transformations`` of all rules in use together; None for all there is.
    """
    if granted is None:
        return canonical(document)
    result = etree.Element(document.tag, document.attrib, nsmap=document.nsmap)
    for child in document:
        place = COMPONENTS.get(etree.QName(child).localname, "R")
        if place == "R":
            kept = inside(child, granted) if opened(child, "R", granted) else None
        elif selected(child, place, granted):
            kept = etree.Element(child.tag, child.attrib, nsmap=child.nsmap)
            for part in child:
                if not opened(part, place, granted):
                    continue
                if part.tag == clark("t:status"):
                    left = etree.SubElement(kept, part.tag, part.attrib)
                    for one in part:
                        if opened(one, "S", granted) and (got := inside(one, granted)) is not None:
                            left.append(got)
                elif (got := inside(part, granted)) is not None:
                    kept.append(got)
        else:
            kept = None
        if kept is not None:
            result.append(kept)
    return canonical(result)


def canonical(root: etree._Element) -> bytes:
    """Exclusive canonical XML."""
    found: bytes = etree.tostring(root, method="c14n", exclusive=True)
    return found
