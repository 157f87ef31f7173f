"""XML patch operations (RFC 5261, XPATCH-01 to XPATCH-10)."""

from __future__ import annotations

from collections.abc import Callable, Collection

from lxml import etree

from xcap import tree
from xcap.mangle import Adoption, NamespaceMissing, attribute_prefix, rename, users
from xcap.operations import (
    KINDS,
    MIME_TYPE,
    NAMESPACE,
    SIMPLE,
    Failure,
    PatchError,
    error_document,
    only_text,
    read_operations,
    selector_of,
    word_of,
)
from xcap.tree import (
    BOUNDS,
    Attribute,
    Bounds,
    Comment,
    Document,
    Element,
    Instruction,
    Node,
    Parent,
    Text,
    TreeError,
    split,
)
from xcap.xpath import (
    XML_ID,
    AttributeNode,
    Budget,
    Exhausted,
    Located,
    NamespaceNode,
    Selector,
    SelectorError,
    every_element,
    locate,
    parse_type,
)

__all__ = [
    "KINDS",
    "MIME_TYPE",
    "NAMESPACE",
    "PatchError",
    "PatchedDocument",
    "apply",
    "apply_tree",
    "error_document",
]

WORK = 5_000_000
"""Nodes that one patch may look at; a second or two."""

_WHITE = " \t\r\n"
_UNWANTED = frozenset(' \t\r\n<>"{}|\\^`')


def apply(
    document: bytes,
    operations: etree._Element | bytes,
    *,
    identifiers: Collection[str] = frozenset({XML_ID}),
    bounds: Bounds = BOUNDS,
) -> bytes:
    """Apply a patch to a document: all of it or nothing (XPATCH-01).

    :param operations: an element with the operations ``add``, ``replace`` and ``remove``, in
        any namespace, as children; or such elements one after the other as octets, each with
        all declarations it needs.
    :param identifiers: attributes of type ID for ``id()``, Clark notation.
    :param bounds: of the document and of each operation.
    :returns: the new document in UTF-8, with an XML declaration if the old one has it.
        Only its canonical form is of interest: CDATA sections have become text.
    :raises PatchError: an operation fails; the documents are not well-formed or too large.
    """
    try:
        target = tree.parse(document, bounds)
    except TreeError as error:
        kind = "invalid-character-set" if error.reason == "encoding" else "invalid-diff-format"
        raise PatchError(kind, f"the document to patch: {error}") from error
    patch = PatchedDocument(target, identifiers, bounds)
    for operation in read_operations(operations, bounds):
        patch.apply(operation)
    return tree.write(target)


def apply_tree(
    root: etree._Element,
    operations: etree._Element | bytes,
    *,
    identifiers: Collection[str] = frozenset({XML_ID}),
    bounds: Bounds = BOUNDS,
) -> etree._Element:
    """Apply a patch to the document of an element; see :func:`apply`.

    :param root: the document element; it is not changed.
    :returns: document element of the new document.
    :raises PatchError: see :func:`apply`.
    """
    octets = etree.tostring(root.getroottree(), encoding="UTF-8")
    new = apply(octets, operations, identifiers=identifiers, bounds=bounds)
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False)
    try:
        return etree.fromstring(new, parser)
    except etree.XMLSyntaxError as error:  # the parsers do not agree on every name
        raise PatchError("invalid-diff-format", str(error)) from error


class PatchedDocument:
    """A document while it is patched.

    :ivar document: as it is after the operations applied so far; not to be used after one failed.
    :param identifiers: attributes of type ID for ``id()``, Clark notation.
    :param work: nodes that the operations may look at.
    """

    def __init__(
        self,
        document: Document,
        identifiers: Collection[str] = frozenset({XML_ID}),
        bounds: Bounds = BOUNDS,
        work: int = WORK,
    ) -> None:
        self.document = document
        self._identifiers = identifiers
        self._bounds = bounds
        self._budget = Budget(work)

    def apply(self, operation: Element) -> None:
        """Carry out one operation.

        :raises PatchError: it fails.
        """
        carry_out: dict[str, Callable[[Element], None]] = {
            "add": self._add,
            "replace": self._replace,
            "remove": self._remove,
        }
        try:
            self._budget.spend()
            carry_out[operation.local](operation)
        except Failure as error:
            kind, phrase = error.kind, error.phrase
        except NamespaceMissing as error:
            kind = "invalid-namespace-uri"
            phrase = f"the document does not declare {error.uri} there"
        except SelectorError as error:
            wrong = error.reason == "prefix"
            kind = "invalid-namespace-prefix" if wrong else "invalid-attribute-value"
            phrase = str(error)
        except Exhausted:
            kind, phrase = "invalid-patch-directive", "the patch takes too much work"
        else:
            return
        if kind in SIMPLE:
            raise PatchError(kind, phrase)
        octets = tree.write_node(operation, operation.scope()).encode()
        raise PatchError(kind, phrase, octets)

    # -- add ------------------------------------------------------------------------------

    def _add(self, operation: Element) -> None:
        """Carry out ``add`` (XPATCH-04)."""
        bindings = operation.scope()
        selector = selector_of(operation, bindings)
        if selector.steps and selector.steps[-1].kind in ("attribute", "namespace"):
            raise Failure("invalid-attribute-value", "nothing can be added to what is selected")
        position = word_of(operation, "pos", ("before", "after", "prepend"))
        kind = operation.attributes.get("type")
        if kind is not None:
            if position is not None:
                raise Failure("invalid-attribute-value", "pos does not go with type")
            axis, prefix, name = parse_type(kind.value, bindings)
            element = self._element(selector)
            value = only_text(operation, "invalid-attribute-value")
            if axis == "namespace":
                self._declare(element, prefix, value)
            else:
                self._set(element, prefix, name, value)
            return
        if position in ("before", "after"):
            node = self._locate(selector)
            if isinstance(node, AttributeNode | NamespaceNode):
                raise Failure("invalid-node-types", "it has no siblings")
            parent = self._parent(node)
            index = parent.children.index(node) + (position == "after")
        else:
            parent = self._element(selector)
            index = 0 if position == "prepend" else len(parent.children)
        self._insert(parent, index, operation.children)

    def _insert(self, parent: Parent, index: int, nodes: list[Node]) -> None:
        """Insert copies of nodes."""
        if isinstance(parent, Document):
            if any(isinstance(node, Element) for node in nodes):
                raise Failure("invalid-root-element-operation", "there can be one root element")
            texts = [node.data for node in nodes if isinstance(node, Text)]
            if "".join(texts).strip(_WHITE):
                raise Failure("invalid-xml-prolog-operation", "no text beside the root element")
            nodes = [node for node in nodes if not isinstance(node, Text)]
        adoption = Adoption(parent)
        copies = [adoption.copy(node) for node in nodes]
        self._check_place(parent, copies)
        for node in copies:
            node.parent = parent
        parent.children[index:index] = copies
        self._merge(parent)

    def _set(self, element: Element, prefix: str, name: str, value: str) -> None:
        """Add an attribute."""
        if name == "xmlns":
            raise Failure("invalid-attribute-value", "xmlns is no attribute")
        if name in element.attributes:
            raise Failure("invalid-patch-directive", "the attribute exists already")
        self._check_place(element, [])
        prefix = attribute_prefix(prefix, split(name)[0], element)
        element.attributes[name] = Attribute(prefix, name, value)

    def _declare(self, element: Element, prefix: str, uri: str) -> None:
        """Add a namespace declaration."""
        _check_namespace(prefix, uri)
        if prefix in element.declarations:
            raise Failure("invalid-patch-directive", "the prefix is declared there already")
        scope = element.scope()
        if len(scope) >= self._bounds.namespaces:
            raise Failure("invalid-patch-directive", "too many namespace declarations")
        if scope.get(prefix, uri) != uri and self._users(element, prefix):
            raise Failure("invalid-namespace-prefix", "the prefix is used with another namespace")
        element.declarations[prefix] = uri

    # -- replace --------------------------------------------------------------------------

    def _replace(self, operation: Element) -> None:
        """Carry out ``replace`` (XPATCH-05)."""
        node = self._locate(selector_of(operation, operation.scope()))
        if isinstance(node, AttributeNode):
            value = only_text(operation, "invalid-node-types")
            node.element.attributes[node.name].value = value
        elif isinstance(node, NamespaceNode):
            uri = only_text(operation, "invalid-node-types")
            _check_namespace(node.prefix, uri)
            _check_declares(node)
            self._users(node.element, node.prefix)
            try:
                rename(node.element, node.prefix, uri)
            except ValueError as error:
                raise Failure("invalid-namespace-uri", str(error)) from error
        elif isinstance(node, Text):
            node.data = only_text(operation, "invalid-node-types")
            self._merge(self._parent(node))
        else:
            self._exchange(node, operation.children)

    def _exchange(self, node: Element | Comment | Instruction, content: list[Node]) -> None:
        """Replace a node by one of its kind."""
        if len(content) != 1 or type(content[0]) is not type(node):
            raise Failure("invalid-node-types", "one node of the same kind is needed")
        parent = self._parent(node)
        copy = Adoption(parent).copy(content[0])
        self._check_place(parent, [copy])
        copy.parent = parent
        parent.children[parent.children.index(node)] = copy

    # -- remove ---------------------------------------------------------------------------

    def _remove(self, operation: Element) -> None:
        """Carry out ``remove`` (XPATCH-06)."""
        if any(not isinstance(child, Text | Comment) for child in operation.children):
            raise Failure("invalid-diff-format", "remove has no content")
        space = word_of(operation, "ws", ("before", "after", "both"))
        node = self._locate(selector_of(operation, operation.scope()))
        if space is not None and isinstance(node, AttributeNode | NamespaceNode | Text):
            raise Failure("invalid-whitespace-directive", "ws does not go with such nodes")
        if isinstance(node, AttributeNode):
            del node.element.attributes[node.name]
            return
        if isinstance(node, NamespaceNode):
            _check_declares(node)
            if self._users(node.element, node.prefix):
                raise Failure("invalid-namespace-prefix", "the prefix is used")
            del node.element.declarations[node.prefix]
            return
        parent = self._parent(node)
        if isinstance(node, Element) and isinstance(parent, Document):
            raise Failure("invalid-root-element-operation", "the root element must remain")
        index = parent.children.index(node)
        first = index - (space in ("before", "both"))
        last = index + (space in ("after", "both"))
        for place in {first, last} - {index}:
            beside = parent.children[place] if 0 <= place < len(parent.children) else None
            if not isinstance(beside, Text) or beside.data.strip(_WHITE):
                raise Failure("invalid-whitespace-directive", "there is no white space")
        del parent.children[first : last + 1]
        self._merge(parent)

    # -- what they share ------------------------------------------------------------------

    def _locate(self, selector: Selector) -> Located:
        """The one node that a selector finds."""
        found = locate(self.document, selector, self._identifiers, self._budget)
        if len(found) == 1:
            return found[0]
        if not found and selector.identifier is not None:
            self._explain(selector.identifier)
        phrase = "several nodes are selected" if found else "no node is selected"
        raise Failure("unlocated-node", phrase)

    def _explain(self, identifier: str) -> None:
        """Say why ``id()`` finds nothing, if that is because of us."""
        if XML_ID not in self._identifiers:
            for element in every_element(self.document, self._budget):
                attribute = element.attributes.get(XML_ID)
                if attribute is not None and attribute.value == identifier:
                    raise Failure("unsupported-xml-id", "xml:id is not supported here")
        if not self._identifiers:
            raise Failure("unsupported-id-function", "no attributes of type ID are known")

    def _element(self, selector: Selector) -> Element:
        """The one element that a selector finds."""
        node = self._locate(selector)
        if not isinstance(node, Element):
            raise Failure("invalid-node-types", "not an element")
        return node

    def _users(self, element: Element, prefix: str) -> list[Element]:
        """What uses a prefix; looking for that costs."""
        stack = [element]
        while stack:
            at = stack.pop()
            self._budget.spend(1 + len(at.attributes))
            stack.extend(at.elements())
        return users(element, prefix)

    def _parent(self, node: Node) -> Parent:
        """The parent of a located node; looking among its children costs."""
        parent = node.parent if node.parent is not None else self.document
        self._budget.spend(len(parent.children))
        return parent

    def _merge(self, parent: Parent) -> None:
        """Join adjoining texts and drop empty ones (XPATCH-06, XPATCH-07)."""
        self._budget.spend(len(parent.children))
        merged: list[Node] = []
        texts: list[str] = []
        for child in [*parent.children, None]:
            if isinstance(child, Text):
                texts.append(child.data)
                continue
            if data := "".join(texts):
                text = Text(data)
                text.parent = parent
                merged.append(text)
            texts.clear()
            if child is not None:
                merged.append(child)
        parent.children[:] = merged

    def _check_place(self, parent: Parent, nodes: list[Node]) -> None:
        """Refuse what would nest too deeply."""
        depth = 0
        at: Parent | None = parent
        while isinstance(at, Element):
            depth += 1
            self._budget.spend(len(at.declarations))
            at = at.parent
        level = [node for node in nodes if isinstance(node, Element)]
        while level:
            depth += 1
            self._budget.spend(len(level))
            level = [child for element in level for child in element.elements()]
        if depth > self._bounds.depth:
            raise Failure("invalid-patch-directive", "elements would be nested too deeply")


def _check_namespace(prefix: str, uri: str) -> None:
    """Refuse declarations that Namespaces in XML forbids."""
    if prefix in ("xml", "xmlns"):
        raise Failure("invalid-namespace-prefix", f"{prefix} cannot be declared")
    if not uri or uri in (tree.XML, tree.XMLNS) or not _UNWANTED.isdisjoint(uri):
        raise Failure("invalid-namespace-uri", "not the URI of a namespace")


def _check_declares(node: NamespaceNode) -> None:
    """Refuse to change a declaration of an ancestor."""
    if node.prefix not in node.element.declarations:
        raise Failure("invalid-namespace-prefix", "the element itself does not declare the prefix")
