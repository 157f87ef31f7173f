"""The document of the examples, random XML documents, and lxml to compare with."""

from __future__ import annotations

import re

from hypothesis import strategies as st
from lxml import etree

from xcap.uri import NodeSelector, parse_node, quote_node

NS = "urn:example:pack"
PACK = b"""<?xml version="1.0" encoding="UTF-8"?>
<pack xmlns="urn:example:pack">
 <card k="a"/>
 <card k="b"/>
 <!-- mid -->
 <coin k="a"/>
</pack>
"""
"""The example of xcap.md section 3."""

NAMES = ("a", "b", "list", "é", "x-1")
PREFIXES = ("", "p", "q")
NAMESPACES = ("urn:u", "urn:v", "http://example.com/?x&y")

TEXTS = st.text(
    st.one_of(
        st.sampled_from("\t\n\"'/>-] =é日😀"),
        st.characters(min_codepoint=32, max_codepoint=0x2FF, exclude_characters="\x7f<&"),
    ),
    max_size=6,
)
REFERENCES = st.sampled_from(["&amp;", "&lt;", "&gt;", "&quot;", "&apos;", "&#10;", "&#x1F600;"])
SPACES = st.sampled_from(["", "", " ", "\n", "\r\n", "\t "])
COMMENTS = TEXTS.map(lambda text: f"<!--{re.sub('--|-$', '', text).replace('-', ' ')}-->")
INSTRUCTIONS = TEXTS.map(lambda text: f"<?pi {text.replace('?>', '')}?>")
SECTIONS = TEXTS.map(lambda text: f"<![CDATA[<&a>{text.replace(']]>', '')}]]>")
CONTENT = st.one_of(
    TEXTS.map(lambda text: text.replace("]]>", "")), REFERENCES, COMMENTS, INSTRUCTIONS, SECTIONS
)


def selector(text: str, query: str = "", default: str = NS) -> NodeSelector:
    """A node selector written without percent-encoding."""
    return parse_node(quote_node(text), query, default)


def hardened() -> etree.XMLParser:
    """A parser of lxml that reads what a document may be."""
    return etree.XMLParser(resolve_entities=False, no_network=True, huge_tree=True)


@st.composite
def literals(draw: st.DrawFn) -> str:
    """Values of attributes with their quotes."""
    quote = draw(st.sampled_from("\"'"))
    parts = draw(st.lists(st.one_of(TEXTS, REFERENCES), max_size=3))
    return quote + "".join(parts).replace(quote, "") + quote


@st.composite
def elements(draw: st.DrawFn, scope: frozenset[str] = frozenset(), levels: int = 3) -> str:
    """An element, with prefixes declared in itself or in scope."""
    declared = draw(st.lists(st.sampled_from(PREFIXES), max_size=2, unique=True))
    parts = []
    for prefix in declared:
        namespace = draw(st.sampled_from(NAMESPACES)).replace("&", "&amp;")
        parts.append(f"xmlns:{prefix}='{namespace}'" if prefix else f'xmlns="{namespace}"')
    scope |= frozenset(declared)
    usable = sorted(scope | {""})
    name = draw(st.sampled_from(NAMES))
    prefix = draw(st.sampled_from(usable))
    # one prefix only, or two of one namespace may name one attribute twice
    attribute_prefix = draw(st.sampled_from(usable))
    for attribute in draw(st.lists(st.sampled_from(NAMES), max_size=3, unique=True)):
        head = f"{attribute_prefix}:" if attribute_prefix else ""
        equal = draw(st.sampled_from(["=", " = ", "=\n"]))
        parts.append(f"{head}{attribute}{equal}{draw(literals())}")
    parts = draw(st.permutations(parts))
    tag = f"{prefix}:{name}" if prefix else name
    for part in parts:
        tag += draw(st.sampled_from([" ", "  ", "\n\t"])) + part
    tag += draw(SPACES)
    if draw(st.booleans()):
        return f"<{tag}/>"
    content = draw(contents(scope, levels - 1))
    qname = re.split(r"[ \n\t\r]", tag, maxsplit=1)[0]
    return f"<{tag}>{content}</{qname}{draw(SPACES)}>"


@st.composite
def contents(draw: st.DrawFn, scope: frozenset[str], levels: int) -> str:
    """Content of an element."""
    kinds = [CONTENT]
    if levels > 0:
        kinds.append(elements(scope, levels))
    return "".join(draw(st.lists(st.one_of(*kinds), max_size=4)))


@st.composite
def documents(draw: st.DrawFn) -> bytes:
    """Documents: comments, sections, instructions, references, prefixes, a byte-order mark."""
    mark = draw(st.sampled_from(["", "", "\ufeff"]))
    declaration = draw(st.sampled_from(["", '<?xml version="1.0" encoding="UTF-8"?>\r\n']))
    around = st.lists(st.one_of(COMMENTS, INSTRUCTIONS, SPACES), max_size=2).map("".join)
    return (mark + declaration + draw(around) + draw(elements()) + draw(around)).encode()
