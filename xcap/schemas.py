"""The XML schemas of the package: loaded without network, compiled once, and what they declare.

The files are in ``xcap/schema``.  A driver imports all schemas that documents of a kind may
use, because what a lax wildcard admits is checked only when its schema is loaded.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from threading import get_ident
from typing import Any, Final

import attrs
from lxml import etree

PRESENCE: Final = "all-presence.xsd"
"""Driver of presence documents, whole and partial."""
DOCUMENTS: Final = "all-documents.xsd"
"""Driver of the documents of all application usages (XDM-03)."""

_XS: Final = "{http://www.w3.org/2001/XMLSchema}"
_XML: Final = "http://www.w3.org/XML/1998/namespace"
_NESTED: Final = (f"{_XS}sequence", f"{_XS}choice", f"{_XS}all")
_DERIVED: Final = (f"{_XS}extension", f"{_XS}restriction")


def load(name: str) -> etree.XMLSchema:
    """The compiled schema of a file; made on first use (some 5 ms), for each thread its own.

    :param name: name of a file in ``xcap/schema``, such as :data:`PRESENCE`.
    :raises FileNotFoundError: there is no such file.
    """
    return _compiled(name, get_ident())


@cache
def _compiled(name: str, thread: int) -> etree.XMLSchema:
    # what went wrong last is kept in the schema: two threads would see each other's errors
    return etree.XMLSchema(_tree(name))


def warm(*names: str) -> None:
    """Compile schemas now, so that no request waits for it."""
    for name in names or (DOCUMENTS,):
        load(name)
        declarations(name)


@attrs.frozen(slots=True)
class Declarations:
    """The elements that a schema and all it imports declare.

    :ivar namespaces: target namespaces, sorted, without that of ``xml:``.
    :ivar top: Clark names of global elements.
    :ivar inner: Clark names of local elements by that of their parent.
    :ivar names: Clark names of all of them.
    """

    namespaces: tuple[str, ...]
    top: frozenset[str]
    inner: Mapping[str, frozenset[str]]
    names: frozenset[str]
    _spaces: frozenset[str]
    _closed: frozenset[str]

    def covers(self, tag: str) -> bool:
        """Whether an element, in Clark notation, is in one of the namespaces."""
        return tag[:1] == "{" and tag[1:].partition("}")[0] in self._spaces

    def closed(self, root: str, tags: Iterable[str]) -> bool:
        """Whether elements are all of the root's namespace, and it uses no other's types.

        A schema-valid document like that has no element that is not declared, since no
        wildcard of ours admits the namespace it stands in.
        """
        space = root.partition("}")[0] + "}"
        return space in self._closed and all(tag.startswith(space) for tag in tags)


@cache
def declarations(name: str) -> Declarations:
    """What the schema of a file declares.

    :raises FileNotFoundError: there is no such file.
    """
    reader = _Reader()
    reader.read(name, "")
    return reader.result()


def _path(name: str) -> Path:
    if name != Path(name).name or not name.endswith(".xsd"):
        raise FileNotFoundError(name)
    return Path(__file__).with_name("schema") / name


class _Offline(etree.Resolver):
    """Opens files of the schema folder and nothing else (XCAP-160)."""

    def resolve(self, system_url: str, public_id: str | None, context: Any) -> Any:  # type: ignore[override]
        """The file of that name; an empty document for whatever else is asked for."""
        path = Path(__file__).with_name("schema") / Path(system_url).name
        if not path.is_file():
            return super().resolve_string("", context, base_url="")
        return super().resolve_string(path.read_bytes(), context, base_url=str(path))


def _tree(name: str) -> etree._ElementTree:
    # internal entities of our own files are trusted, and one of the files uses them
    parser = etree.XMLParser(no_network=True, load_dtd=False, resolve_entities=True)
    parser.resolvers.add(_Offline())
    path = _path(name)
    return etree.ElementTree(etree.fromstring(path.read_bytes(), parser, base_url=str(path)))


class _Reader:
    """Collects the declarations of schema files.

    Understands what our files use: named and inner types, derivation, inclusion into another
    namespace; no groups of elements.
    """

    def __init__(self) -> None:
        self._read: set[tuple[str, str]] = set()
        self._namespaces: set[str] = set()
        self._top: dict[str, tuple[etree._Element, str]] = {}
        self._types: dict[str, tuple[etree._Element, str]] = {}

    def read(self, name: str, chameleon: str) -> None:
        """Take in a file.

        :param chameleon: namespace that a schema without one becomes part of.
        """
        root = _tree(name).getroot()
        space = root.get("targetNamespace", chameleon)
        if (name, space) in self._read:
            return
        self._read.add((name, space))
        if space and space != _XML:
            self._namespaces.add(space)
        for child in root.iterchildren(etree.Element):
            local = child.get("name", "")
            if child.tag == f"{_XS}import":
                self.read(child.get("schemaLocation", ""), "")
            elif child.tag == f"{_XS}include":
                self.read(child.get("schemaLocation", ""), space)
            elif child.tag == f"{_XS}element":
                self._top[_clark(space, local)] = (child, space)
            elif child.tag == f"{_XS}complexType":
                self._types[_clark(space, local)] = (child, space)

    def result(self) -> Declarations:
        """Everything read so far."""
        inner: dict[str, set[str]] = {}
        seen: set[tuple[str, etree._Element]] = set()
        waiting = [(tag, node, space) for tag, (node, space) in self._top.items()]
        while waiting:
            tag, node, space = waiting.pop()
            found = self._type_of(node, space)
            if found is None or (tag, found[0]) in seen:
                continue
            seen.add((tag, found[0]))
            for child, owner in self._particles(*found):
                if child.get("ref") is None:
                    name = _clark(owner, child.get("name", ""))
                    inner.setdefault(tag, set()).add(name)
                    waiting.append((name, child, owner))
        names = frozenset(self._top).union(*inner.values())
        frozen = {tag: frozenset(children) for tag, children in inner.items()}
        mixed = {
            tag.partition("}")[0]
            for tag, children in inner.items()
            if not all(child.startswith(tag.partition("}")[0]) for child in children)
        }
        return Declarations(
            namespaces=tuple(sorted(self._namespaces)),
            top=frozenset(self._top),
            inner=frozen,
            names=names,
            spaces=frozenset(self._namespaces),
            closed=frozenset(
                f"{{{space}}}" for space in self._namespaces if f"{{{space}" not in mixed
            ),
        )

    def _type_of(self, element: etree._Element, space: str) -> tuple[etree._Element, str] | None:
        """The complex type of an element declaration and the namespace it belongs to."""
        inline = element.find(f"{_XS}complexType")
        if inline is not None:
            return inline, space
        return self._named(element, element.get("type"), space)

    def _named(
        self, node: etree._Element, name: str | None, space: str
    ) -> tuple[etree._Element, str] | None:
        if name is None:
            return None
        prefix, colon, local = name.rpartition(":")
        # without a declaration it is a type of the namespace that includes the file
        bound = node.nsmap.get(prefix if colon else None) or space
        return self._types.get(_clark(bound, local))

    def _particles(self, node: etree._Element, space: str) -> Iterator[tuple[etree._Element, str]]:
        """Element particles of a type and of those it is derived from, with their namespace."""
        for child in node.iterchildren(etree.Element):
            if child.tag == f"{_XS}element":
                yield child, space
            elif child.tag in _NESTED or child.tag == f"{_XS}complexContent":
                yield from self._particles(child, space)
            elif child.tag in _DERIVED:
                base = self._named(child, child.get("base"), space)
                if base is not None:
                    yield from self._particles(*base)
                yield from self._particles(child, space)


def _clark(namespace: str, local: str) -> str:
    return f"{{{namespace}}}{local}" if namespace else local
