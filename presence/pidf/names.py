"""Expanded names of presence documents and the order the schemas give them.

Prefixes and sources are those of RFC 3863 (PIDF), RFC 4479 (data model), RFC 4480 (RPID),
RFC 4589 (location types), RFC 4481 (timed status) and OMA TS-PRS.
"""

from __future__ import annotations

from typing import Final

PIDF: Final = "urn:ietf:params:xml:ns:pidf"
DM: Final = "urn:ietf:params:xml:ns:pidf:data-model"
RPID: Final = "urn:ietf:params:xml:ns:pidf:rpid"
LOCATION_TYPE: Final = "urn:ietf:params:xml:ns:location-type"
TIMED: Final = "urn:ietf:params:xml:ns:pidf:timed-status"
CIPID: Final = "urn:ietf:params:xml:ns:pidf:cipid"
CAPS: Final = "urn:ietf:params:xml:ns:pidf:caps"
GEOPRIV: Final = "urn:ietf:params:xml:ns:pidf:geopriv10"
OMA: Final = "urn:oma:xml:prs:pidf:oma-pres"
PDE: Final = "urn:oma:xml:pde:pidf:ext"
PDE11: Final = "urn:oma:xml:pde:pidf:ext:1.1"
XML: Final = "http://www.w3.org/XML/1998/namespace"

PREFIXES: Final[dict[str, str]] = {
    DM: "dm",
    RPID: "rpid",
    LOCATION_TYPE: "lt",
    TIMED: "ts",
    CIPID: "ci",
    CAPS: "caps",
    GEOPRIV: "gp",
    OMA: "op",
    PDE: "pde",
    PDE11: "pde11",
}
"""Prefixes for namespaces that a document declares without one."""

PRESENCE: Final = f"{{{PIDF}}}presence"
TUPLE: Final = f"{{{PIDF}}}tuple"
STATUS: Final = f"{{{PIDF}}}status"
BASIC: Final = f"{{{PIDF}}}basic"
CONTACT: Final = f"{{{PIDF}}}contact"
NOTE: Final = f"{{{PIDF}}}note"
TIMESTAMP: Final = f"{{{PIDF}}}timestamp"
PERSON: Final = f"{{{DM}}}person"
DEVICE: Final = f"{{{DM}}}device"
DEVICE_ID: Final = f"{{{DM}}}deviceID"
DM_NOTE: Final = f"{{{DM}}}note"
DM_TIMESTAMP: Final = f"{{{DM}}}timestamp"
ACTIVITIES: Final = f"{{{RPID}}}activities"
MOOD: Final = f"{{{RPID}}}mood"
PLACE_TYPE: Final = f"{{{RPID}}}place-type"
SPHERE: Final = f"{{{RPID}}}sphere"
TIMED_STATUS: Final = f"{{{TIMED}}}timed-status"
GEOPRIV_OBJECT: Final = f"{{{GEOPRIV}}}geopriv"
RPID_NOTE: Final = f"{{{RPID}}}note"
XML_ID: Final = f"{{{XML}}}id"
XML_LANG: Final = f"{{{XML}}}lang"

PLAIN_SERVICE: Final = "txpresence:status"
"""``op:service-id`` of our own sources: whether somebody can be reached at all (OMA-D03)."""

BASICS: Final = frozenset({BASIC, f"{{{OMA}}}basic", f"{{{TIMED}}}basic"})
"""Elements whose value is ``open`` or ``closed``."""

COMPONENTS: Final = frozenset({TUPLE, PERSON, DEVICE})
"""Elements with a mandatory occurrence id (DMO-04)."""

ID_NAMESPACES: Final = (f"{{{PIDF}}}", f"{{{DM}}}", f"{{{RPID}}}")
"""Tag prefixes of the schemas that declare ``id`` attributes of type xs:ID (DMO-04)."""

RPID_PERSON: Final = frozenset(
    {
        "activities",
        "class",
        "mood",
        "place-is",
        "place-type",
        "privacy",
        "sphere",
        "status-icon",
        "time-offset",
        "user-input",
    }
)
"""Local names of the RPID elements of a person (RFC 4480 table 1)."""

CHILDREN: Final[dict[str, tuple[str | None, ...]]] = {
    PRESENCE: (TUPLE, NOTE, PERSON, DEVICE, None),
    TUPLE: (STATUS, None, CONTACT, NOTE, TIMESTAMP),
    STATUS: (BASIC, None),
    PERSON: (None, DM_NOTE, DM_TIMESTAMP),
    DEVICE: (None, DEVICE_ID, DM_NOTE, DM_TIMESTAMP),
    ACTIVITIES: (RPID_NOTE, None),
    MOOD: (RPID_NOTE, None),
    PLACE_TYPE: (RPID_NOTE, None),
    f"{{{RPID}}}place-is": (
        RPID_NOTE,
        f"{{{RPID}}}audio",
        f"{{{RPID}}}video",
        f"{{{RPID}}}text",
        None,
    ),
    f"{{{RPID}}}privacy": (
        RPID_NOTE,
        f"{{{RPID}}}audio",
        f"{{{RPID}}}text",
        f"{{{RPID}}}video",
        None,
    ),
    f"{{{RPID}}}relationship": (RPID_NOTE, None),
    f"{{{RPID}}}service-class": (RPID_NOTE, None),
    f"{{{OMA}}}service-description": (
        f"{{{OMA}}}service-id",
        f"{{{OMA}}}version",
        f"{{{OMA}}}description",
        None,
    ),
    f"{{{OMA}}}willingness": (f"{{{OMA}}}basic", None),
    f"{{{OMA}}}overriding-willingness": (f"{{{OMA}}}basic", None),
    f"{{{OMA}}}session-participation": (f"{{{OMA}}}basic", None),
}
"""Children of the known containers in schema order; None stands for all other elements.

In ``presence`` person and device are extensions like any other; that they come first is
the order of COM-41.
"""

LOCAL_NAMES: Final = RPID_PERSON.union(
    (tag or "}").partition("}")[2] for order in CHILDREN.values() for tag in order
) - {""}
"""Local names that an error text may contain: ours, whatever a document holds."""
