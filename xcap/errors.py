"""Refusals of the document servers: each carries its answer."""

from __future__ import annotations

import attrs

REPORTS = frozenset(
    {
        "not-well-formed",
        "not-xml-frag",
        "not-xml-att-value",
        "not-utf-8",
        "no-parent",
        "cannot-insert",
        "cannot-delete",
        "schema-validation-error",
        "uniqueness-failure",
        "constraint-failure",
    }
)
"""Elements that a report of a conflict may have (RFC 4825 section 11.1, XCAP-131)."""


class XcapError(Exception):
    """A refusal of an HTTP request; becomes a response in one place.

    :ivar status: HTTP status code.
    :ivar text: what to tell, plain English without data of users.
    :ivar headers: further header fields, (name, value).
    """

    def __init__(
        self, status: int, text: str = "", headers: tuple[tuple[str, str], ...] = ()
    ) -> None:
        super().__init__(status, text)
        self.status = status
        self.text = text
        self.headers = headers


@attrs.frozen(slots=True)
class Exists:
    """A value that must be unique and is not (XCAP-131, XCAP-133).

    :ivar field: node selector of the value, decoded, from the root element on; prefixes in it
        are bound in ``bindings``.
    :ivar alternatives: values that are free.
    :ivar bindings: (prefix, namespace URI) used in ``field``.
    """

    field: str
    alternatives: tuple[str, ...] = ()
    bindings: tuple[tuple[str, str], ...] = ()


class Conflict(XcapError):
    """A 409 with its report.

    :ivar kind: the element of the report, one of :data:`REPORTS`.
    :ivar phrase: for humans.
    :ivar depth: for ``no-parent``: how many steps of the node selector select an element; 0 is
        the document itself, None the directory.
    :ivar exists: for ``uniqueness-failure``.
    """

    def __init__(
        self,
        kind: str,
        phrase: str,
        *,
        depth: int | None = None,
        exists: tuple[Exists, ...] = (),
    ) -> None:
        super().__init__(409, phrase)
        self.kind = kind
        self.phrase = phrase
        self.depth = depth
        self.exists = exists


class StoreUnavailable(Exception):
    """The document store cannot read or write now; requests get 503."""


class TagMismatch(Exception):
    """Compare-and-set failed: the document has another entity-tag than expected.

    :ivar current: the entity-tag it has, "" when it does not exist.
    """

    def __init__(self, current: str) -> None:
        super().__init__(current)
        self.current = current


class ClaimTaken(Exception):
    """Values that must be unique in the whole store belong to another document.

    :ivar names: the values that are taken.
    """

    def __init__(self, names: tuple[str, ...]) -> None:
        super().__init__(names)
        self.names = names
