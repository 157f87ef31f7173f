"""Names of the standards that the application usages share: namespaces, elements, types."""

from __future__ import annotations

from typing import Final

RESOURCE_LISTS: Final = "urn:ietf:params:xml:ns:resource-lists"
RLS_SERVICES: Final = "urn:ietf:params:xml:ns:rls-services"
COMMON_POLICY: Final = "urn:ietf:params:xml:ns:common-policy"
PRES_RULES: Final = "urn:ietf:params:xml:ns:pres-rules"
OMA_COMMON_POLICY: Final = "urn:oma:xml:xdm:common-policy"
OMA_PRES_RULES: Final = "urn:oma:xml:prs:pres-rules"
URI_USAGE: Final = "urn:oma:xml:xdm:resource-list:oma-uriusage"
APP_USAGE: Final = "urn:oma:xml:xdm:resource-list:oma-appusage"
PIDF: Final = "urn:ietf:params:xml:ns:pidf"
DATA_MODEL: Final = "urn:ietf:params:xml:ns:pidf:data-model"
PRES_CONTENT: Final = "urn:oma:xml:prs:pres-content"
XCAP_CAPS: Final = "urn:ietf:params:xml:ns:xcap-caps"
XCAP_DIRECTORY: Final = "urn:oma:xml:xdm:xcap-directory"

PIDF_EXTENSIONS: Final = (
    "urn:ietf:params:xml:ns:pidf:caps",
    "urn:ietf:params:xml:ns:pidf:cipid",
    DATA_MODEL,
    "urn:ietf:params:xml:ns:pidf:geopriv10",
    "urn:ietf:params:xml:ns:pidf:geopriv10:basicPolicy",
    "urn:ietf:params:xml:ns:pidf:geopriv10:civicAddr",
    "urn:ietf:params:xml:ns:pidf:rpid",
    "urn:ietf:params:xml:ns:pidf:timed-status",
    "urn:oma:xml:pde:pidf:ext",
    "urn:oma:xml:pde:pidf:ext:1.1",
    "urn:oma:xml:prs:pidf:oma-pres",
)
"""Namespaces of PIDF extensions with a schema here."""

VALIDATED: Final = tuple(
    sorted(
        {
            RESOURCE_LISTS,
            RLS_SERVICES,
            COMMON_POLICY,
            PRES_RULES,
            OMA_COMMON_POLICY,
            OMA_PRES_RULES,
            URI_USAGE,
            APP_USAGE,
            PIDF,
            *PIDF_EXTENSIONS,
            PRES_CONTENT,
            XCAP_CAPS,
            XCAP_DIRECTORY,
        }
    )
)
"""Every namespace with all its schemas here, whatever document it stands in (XDM-03)."""

LIST: Final = f"{{{RESOURCE_LISTS}}}list"
ENTRY: Final = f"{{{RESOURCE_LISTS}}}entry"
ENTRY_REF: Final = f"{{{RESOURCE_LISTS}}}entry-ref"
EXTERNAL: Final = f"{{{RESOURCE_LISTS}}}external"
DISPLAY_NAME: Final = f"{{{RESOURCE_LISTS}}}display-name"
SERVICE: Final = f"{{{RLS_SERVICES}}}service"
SERVICE_LIST: Final = f"{{{RLS_SERVICES}}}list"
RULE: Final = f"{{{COMMON_POLICY}}}rule"

LIST_ATTRIBUTES: Final = {LIST: "name", ENTRY: "uri", ENTRY_REF: "ref", EXTERNAL: "anchor"}
"""What tells the members of a list apart (XDM-22)."""
