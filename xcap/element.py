"""Elements of a document, and where they are in its octets (XCAP-99)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from xcap.namespaces import Scope, clark, declarations, split_clark

# the syntax of a start tag that is known to be well-formed
_TAG = re.compile(rb"""[^"'>]*+(?:(?:"[^"]*"|'[^']*')[^"'>]*+)*+>""")
_ATTRIBUTE = re.compile(rb"""([ \t\r\n]+)([^ \t\r\n=/>]+)[ \t\r\n]*=[ \t\r\n]*("[^"]*"|'[^']*')""")


class Element:
    """An element and its place in the octets of its document.

    :ivar name: in Clark notation.
    :ivar prefix: as in the document, "" without.
    :ivar attributes: normalised values by Clark name, without namespace declarations
        (XCAP-26, XCAP-27); not to be changed.
    :ivar start: offset of the ``<`` of its start tag.
    :ivar children: child elements in document order.
    :ivar octets: the whole document.
    :ivar scope: namespaces.
    :ivar end_tag: where expat has seen its end.
    """

    __slots__ = (
        "attributes",
        "children",
        "end_tag",
        "name",
        "octets",
        "prefix",
        "scope",
        "start",
    )

    def __init__(
        self,
        name: str,
        prefix: str,
        attributes: dict[str, str],
        start: int,
        scope: Scope,
        octets: bytes,
    ) -> None:
        self.name = name
        self.prefix = prefix
        self.attributes = attributes
        self.start = start
        self.children: list[Element] = []
        self.octets = octets
        self.scope = scope
        self.end_tag = 0

    def __repr__(self) -> str:
        return f"<Element at {self.start}>"  # names may tell about users

    @property
    def qname(self) -> str:
        """Name as in the document: prefix and local name."""
        local = split_clark(self.name)[1]
        return f"{self.prefix}:{local}" if self.prefix else local

    @property
    def open_end(self) -> int:
        """Offset behind the ``>`` of the start tag or empty-element tag."""
        return next(_TAG.finditer(self.octets, self.start)).end()

    @property
    def empty(self) -> bool:
        """Whether it is an empty-element tag."""
        return self.octets[self.open_end - 2] == 0x2F  # a slash can be nowhere else there

    @property
    def close_start(self) -> int:
        """Offset of the ``<`` of the end tag; that of the end for an empty-element tag."""
        return self.open_end if self.empty else self.end_tag

    @property
    def end(self) -> int:
        """Offset behind the whole element."""
        if self.empty:
            # expat's place of the end of such a tag differs by version (XCAP-99)
            return self.open_end
        return self.octets.index(b">", self.end_tag) + 1

    @property
    def source(self) -> bytes:
        """The octets of the element, tags included (XCAP-61)."""
        return self.octets[self.start : self.end]

    @property
    def attributes_end(self) -> int:
        """Offset behind the last attribute, or behind the name in the start tag."""
        end = self._name_end()
        for match in self._attributes():
            end = match.end()
        return end

    def namespaces(self) -> dict[str, str]:
        """Namespaces in scope by prefix, "" being the default one; without ``xml``."""
        return self.scope.all()

    def write_namespaces(self) -> bytes:
        """An empty element of the same name with all namespaces in scope (XCAP-63)."""
        return f"<{self.qname}{declarations(self.namespaces())}/>".encode()

    def attribute_place(self, name: str) -> tuple[int, int, int]:
        """Where an attribute is in the octets.

        :param name: in Clark notation.
        :returns: offset of the white space before it, of the quote before its value, and
            behind the quote after its value.
        :raises KeyError: there is no such attribute.
        """
        local = split_clark(name)[1]
        for match in self._attributes():
            prefix, _, rest = match[2].decode().rpartition(":")
            # a name without namespace may be that of a declaration, which is no attribute
            if rest != local or prefix == "xmlns" or (not prefix and rest == "xmlns"):
                continue
            if clark(self.scope.find(prefix) if prefix else "", rest) == name:
                return match.start(), match.start(3), match.end()
        raise KeyError(name)

    def _name_end(self) -> int:
        return self.start + 1 + len(self.qname.encode())

    def _attributes(self) -> Iterator[re.Match[bytes]]:
        return _ATTRIBUTE.finditer(self.octets, self._name_end(), self.open_end)
