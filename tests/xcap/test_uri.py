"""Request targets, node selectors, namespace bindings and the builders of URIs."""

from __future__ import annotations

from urllib.parse import unquote

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from xcap.errors import XcapError
from xcap.records import DocumentKey
from xcap.uri import (
    XMLNS_NAMESPACE,
    Step,
    attribute_step,
    bindings_query,
    build,
    canonical_xui,
    document_path,
    parse_node,
    parse_query,
    parse_target,
    quote_node,
    quote_segment,
    split_node,
    tidy,
    unquote_node,
)

NS = "urn:example:pack"
CP = "urn:ietf:params:xml:ns:common-policy"
HOME = "/resource-lists/users/sip:joe@example.com"

# text that XML can carry
XML_TEXT = st.text(
    st.one_of(
        st.sampled_from("\t\n\r\"'&<>[]/%?#@^() ~;=:"),
        st.characters(
            min_codepoint=32, exclude_categories=("Cs",), exclude_characters="\ufffe\uffff"
        ),
    ),
    max_size=30,
)
NAMES = st.from_regex(r"[a-z_][a-z0-9._-]{0,8}", fullmatch=True)
SEGMENTS = st.text(
    st.characters(
        exclude_categories=("Cs", "Cc"), exclude_characters="/\ufffe\uffff", min_codepoint=32
    ),
    min_size=1,
    max_size=12,
).filter(lambda text: text not in (".", "..", "~~"))


class RefusalTestCase(SynchronousTestCase):
    """Base that compares statuses."""

    def refused(self, status: int, call, *args) -> None:
        """Make sure that a call is refused with a status."""
        error = self.assertRaises(XcapError, call, *args)
        self.assertEqual(error.status, status, args)


class TargetTests(RefusalTestCase):
    """:func:`xcap.uri.parse_target`."""

    def test_parts(self) -> None:
        """A target splits into AUID, tree, XUI, path, node selector and query (XCAP-01)."""
        target = parse_target(HOME + "/index/~~/a/b?xmlns(p=urn:x)")
        self.assertEqual(target.auid, "resource-lists")
        self.assertEqual(target.tree, "users")
        self.assertEqual(target.xui, "sip:joe@example.com")
        self.assertEqual(target.path, ("index",))
        self.assertEqual(target.document, HOME[1:] + "/index")
        self.assertEqual(target.node, "a/b")
        self.assertEqual(target.query, "xmlns(p=urn:x)")

    def test_global(self) -> None:
        """A document of the global tree has no XUI (XCAP-01)."""
        target = parse_target("/rls-services/global/a/index")
        self.assertEqual((target.tree, target.xui), ("global", ""))
        self.assertEqual(target.path, ("a", "index"))
        self.assertIsNone(target.node)

    def test_prefix(self) -> None:
        """A root may have a path; what is not below it is not found (XCAP-02)."""
        target = parse_target("/services" + HOME + "/index", "/services/")
        self.assertEqual(target.document, HOME[1:] + "/index")
        self.refused(404, parse_target, HOME + "/index", "/services/")
        self.refused(404, parse_target, "/services/", "/services/")
        self.refused(404, parse_target, "/services", "/services/")

    def test_root(self) -> None:
        """The root itself is no resource (XCAP-02)."""
        self.refused(404, parse_target, "/")

    def test_trees(self) -> None:
        """After the AUID comes ``global`` or ``users``, in this spelling (XCAP-06)."""
        for bad in ("/a/b/c", "/a/Users/sip:a@b/index", "/a/GLOBAL/index", "/a"):
            self.refused(404, parse_target, bad)
        self.assertEqual(parse_target("/a/%67lobal/index").tree, "global")

    def test_auid(self) -> None:
        """The AUID is a decoded segment, its case kept (XCAP-05)."""
        self.assertEqual(parse_target("/%61b%2Fc.D/global/index").auid, "ab/c.D")

    def test_xui(self) -> None:
        """The XUI is decoded once; other URI characters need no escape (XCAP-07)."""
        for raw, xui in (
            ("sip%3Ajoe%40example.com", "sip:joe@example.com"),
            ("sip:a;b=c,d!$&'()*+e@x", "sip:a;b=c,d!$&'()*+e@x"),
            ("sip:jo%2525e@x", "sip:jo%25e@x"),
            ("sip:a%2Fb@x", "sip:a/b@x"),
            ("tel:+15555550123", "tel:+15555550123"),
        ):
            self.assertEqual(parse_target(f"/a/users/{raw}/index").xui, xui)

    def test_directories(self) -> None:
        """A directory is no resource (XCAP-11)."""
        for bad in (HOME, HOME + "/", HOME + "/x/", "/a/global", "/a/global/", "/a/users/"):
            self.refused(404, parse_target, bad)
            self.refused(404, parse_target, bad + "/~~/x")

    def test_odd_segments(self) -> None:
        """Dot segments and empty ones are never resolved (XCAP-10)."""
        for bad in ("/./index", "/../index", "//index", "/%2e%2E/index", "/.%2e/x", "/a/%2E"):
            self.refused(404, parse_target, HOME + bad)
        self.refused(404, parse_target, "/../etc/passwd")
        self.refused(404, parse_target, "//a/global/index")
        self.assertEqual(parse_target(HOME + "/...").path, ("...",))

    def test_slash_in_segment(self) -> None:
        """An encoded slash makes no second path to a document (XCAP-10, XCAP-12)."""
        for bad in ("/a%2Fb", "/..%2fb", "/%00", "/a%0Ab", "/a%7Fb", "/%EF%BF%BF"):
            self.refused(404, parse_target, HOME + bad)

    def test_separator(self) -> None:
        """The first segment that decodes to two tildes separates (XCAP-12)."""
        for raw in ("~~", "%7E%7E", "%7e~", "~%7E"):
            target = parse_target(f"{HOME}/index/{raw}/a/~~/b")
            self.assertEqual((target.path, target.node), (("index",), "a/~~/b"))
        for raw in ("~", "~~~", "x~~", "%7E", "%257E%257E"):
            target = parse_target(f"{HOME}/{raw}/index")
            self.assertEqual(target.path, (unquote(raw), "index"))
            self.assertIsNone(target.node)
        self.refused(404, parse_target, "/~~/x")

    def test_nothing_selected(self) -> None:
        """A separator without selector leaves an empty selector, which is refused later."""
        self.assertEqual(parse_target(HOME + "/index/~~").node, "")
        self.assertEqual(parse_target(HOME + "/index/~~/").node, "")

    def test_undecodable(self) -> None:
        """Bad escapes and bad UTF-8 are refused wherever they are (XCAP-13)."""
        for bad in ("%", "%4", "%zz", "%C3", "%C3/%A9", "%FF", "%ED%A0%80", "%C0%AF"):
            for place in (f"{HOME}/{bad}", f"{HOME}/i/~~/{bad}", f"{HOME}/i?{bad}", f"/{bad}/x"):
                self.refused(400, parse_target, place)
        self.assertEqual(parse_target(HOME + "/%C3%A9").path, ("\u00e9",))

    def test_fragment(self) -> None:
        """A fragment has no place in a request target (XCAP-15)."""
        self.refused(400, parse_target, HOME + "/index#a")
        self.refused(400, parse_target, HOME + "/index/~~/a#b")

    def test_raw_characters(self) -> None:
        """Brackets, quotes and blanks may be raw (XCAP-32, CLI-18); controls may not."""
        node = 'a[@b="c d"]'
        self.assertEqual(parse_target(f"{HOME}/index/~~/{node}").node, node)
        for bad in ("\x00", "\r\n", "\t", "\x7f", "\x80", "\u00e9", "\ud800"):
            self.refused(400, parse_target, f"{HOME}/{bad}")

    def test_query(self) -> None:
        """A query of a document is kept and means nothing (XCAP-16)."""
        target = parse_target(HOME + "/index?a=b/~~/c?d")
        self.assertEqual((target.path, target.node), (("index",), None))
        self.assertEqual(target.query, "a=b/~~/c?d")

    def test_long(self) -> None:
        """A node selector over 8 KiB is refused, one of that size is not (XCAP-34)."""
        self.assertEqual(len(parse_target(f"{HOME}/i/~~/{'a' * 8192}").node or ""), 8192)
        self.refused(414, parse_target, f"{HOME}/i/~~/{'a' * 8193}")

    @given(st.text(max_size=60))
    def test_any(self, text: str) -> None:
        """Nothing but a target or a documented refusal comes out (XCAP-13)."""
        for target in (text, "/" + text, f"{HOME}/{text}", f"{HOME}/i/~~/{text}"):
            try:
                parsed = parse_target(target)
                if parsed.node is not None:
                    parse_node(parsed.node, parsed.query, NS)
            except XcapError as error:
                self.assertIn(error.status, (400, 404, 414))


class NodeTests(RefusalTestCase):
    """:func:`xcap.uri.parse_node`."""

    def steps(self, node: str, query: str = "") -> tuple[Step, ...]:
        """The steps of a node selector in the example's namespace."""
        return parse_node(node, query, NS).steps

    def test_forms(self) -> None:
        """The four forms of a step (XCAP-21, XCAP-22)."""
        pack, card = f"{{{NS}}}pack", f"{{{NS}}}card"
        for text, step in (
            ("card", Step(card)),
            ("*", Step(None)),
            ("card[2]", Step(card, 2)),
            ("*[2]", Step(None, 2)),
            ('card[@k="b"]', Step(card, None, ("k", "b"))),
            ('*[@k="b"]', Step(None, None, ("k", "b"))),
            ('card[2][@k="b"]', Step(card, 2, ("k", "b"))),
            ('*[002][@k=""]', Step(None, 2, ("k", ""))),
        ):
            self.assertEqual(self.steps("pack/" + text), (Step(pack), step))
            self.assertEqual(self.steps("pack/" + quote_segment(text)), (Step(pack), step))

    def test_default_namespace(self) -> None:
        """Names without prefix are in the usage's namespace, or in none (XCAP-24)."""
        self.assertEqual(parse_node("a", "", "").steps, (Step("a"),))
        self.assertEqual(parse_node("a", "", "urn:d").steps, (Step("{urn:d}a"),))

    def test_prefix(self) -> None:
        """A prefix stands for what the query binds it to (XCAP-24, XCAP-25)."""
        selector = parse_node("cp:a[@cp:b='1']/@cp:c", f"xmlns(cp={CP})", NS)
        self.assertEqual(selector.steps, (Step(f"{{{CP}}}a", None, (f"{{{CP}}}b", "1")),))
        self.assertEqual(selector.attribute, f"{{{CP}}}c")

    def test_attribute(self) -> None:
        """An attribute without prefix is in no namespace (XCAP-25)."""
        selector = parse_node("a[@b='1']/@c", "", NS)
        self.assertEqual(selector.steps[0].attribute, ("b", "1"))
        self.assertEqual(selector.attribute, "c")
        self.assertFalse(selector.namespaces)

    def test_xml_prefix(self) -> None:
        """The prefix ``xml`` needs no binding (XCAP-43)."""
        selector = parse_node("a/@xml:lang", "", NS)
        self.assertEqual(selector.attribute, "{http://www.w3.org/XML/1998/namespace}lang")

    def test_declarations(self) -> None:
        """Namespace declarations are named apart from attributes (XCAP-27, XCAP-110)."""
        self.assertEqual(parse_node("a/@xmlns", "", NS).attribute, f"{{{XMLNS_NAMESPACE}}}xmlns")
        self.assertEqual(parse_node("a/@xmlns:p", "", NS).attribute, f"{{{XMLNS_NAMESPACE}}}p")
        step = self.steps("a[@xmlns='urn:d']")[0]
        self.assertEqual(step.attribute, (f"{{{XMLNS_NAMESPACE}}}xmlns", "urn:d"))

    def test_namespaces(self) -> None:
        """The namespace selector comes last, after an element (XCAP-28)."""
        selector = parse_node("a/b/namespace::*", "", NS)
        self.assertTrue(selector.namespaces)
        self.assertEqual(len(selector.steps), 2)
        self.assertIsNone(selector.attribute)
        for bad in ("namespace::*", "a/namespace::*/b", "namespace::*/a", "a/namespace::p"):
            self.refused(404, parse_node, bad, "", NS)

    def test_values(self) -> None:
        """Values are delimited by either quote, their references expanded (XCAP-26)."""
        for text, value in (
            ('"a\'b"', "a'b"),
            ("'a\"b'", 'a"b'),
            ('"a&amp;b&lt;c&gt;d&quot;e&apos;f"', "a&b<c>d\"e'f"),
            ('"&#65;&#x41;&#9;"', "AA\t"),
            ('"]["', "]["),
            ('"&amp;amp;"', "&amp;"),
            ('"\u00e9"', "\u00e9"),
        ):
            step = self.steps(quote_segment(f"a[@b={text}]"))[0]
            self.assertEqual(step.attribute, ("b", value))

    def test_extensions(self) -> None:
        """A step of no defined form is an extension we do not know (XCAP-22, XCAP-30)."""
        for bad in (
            "a[]",
            "a[x",
            "a]",
            "a[@b]",
            'a[@b="c"][2]',
            "a[2][3]",
            'a[@b="c"][@d="e"]',
            "a[-1]",
            "a[1.5]",
            "a[\u0661]",
            "a[last()]",
            "a [1]",
            "a[ 1 ]",
            'a[@b = "c"]',
            'a[@b="c]',
            "a[@b=c]",
            'a[@b="<"]',
            'a[@b="&"]',
            'a[@b="&nbsp;"]',
            'a[@b="&#0;"]',
            'a[@b="&#x110000;"]',
            'a[@b="&#xD800;"]',
            'a[b="c"]',
            "1a",
            ":a",
            "a:b:c",
            "p:",
            "p:*",
            ".",
            "..",
            "text()",
            "comment()",
            "processing-instruction()",
            "a|b",
            "@a/b",
            "@a",
            "a/@*",
            "a/@b/c",
            "a/@",
            "id('x')",
            "child::a",
        ):
            quoted = "/".join(map(quote_segment, bad.split("/")))
            self.refused(404, parse_node, quoted, "", NS)

    def test_empty_step(self) -> None:
        """An empty step is a fault of syntax (XCAP-30)."""
        for bad in ("", "a//b", "a/", "/a", "a[1]/", "a[1]//b"):
            self.refused(400, parse_node, bad, "", NS)

    def test_unbound(self) -> None:
        """A prefix without binding is refused, before an unknown extension (XCAP-45)."""
        for bad in ("p:a", "a/p:b", "a[@p:b='c']", "a/@p:b", "a[]/p:b", "a/x y/@p:c"):
            self.refused(400, parse_node, quote_node(bad), "", NS)
            self.refused(400, parse_node, quote_node(bad), "xmlns(q=urn:x)", NS)

    def test_unused(self) -> None:
        """Bindings that nobody uses do no harm (XCAP-46)."""
        self.assertEqual(self.steps("a", "xmlns(p=urn:x)xmlns(q=urn:y)"), (Step(f"{{{NS}}}a"),))

    def test_raw_slash(self) -> None:
        """A raw slash in a quoted value belongs to it (XCAP-31)."""
        raw = "list/external%5b@anchor=%22http://x/y%22%5d/@anchor"
        clean = raw.replace("/x/y", "%2fx%2Fy").replace(":/", ":%2F")
        for text in (raw, clean, unquote(raw), raw.replace("%22", "'")):
            selector = parse_node(text, "", NS)
            self.assertEqual(selector.steps[1].attribute, ("anchor", "http://x/y"))
            self.assertEqual(selector.attribute, "anchor")
            self.assertEqual(len(selector.texts), 3)

    def test_slash_outside(self) -> None:
        """Outside of quotes a slash always ends a step (XCAP-31)."""
        self.assertEqual(split_node("a[1]/b"), ["a[1]", "b"])
        self.assertEqual(split_node("a[/b]/c"), ["a[", "b]", "c"])
        self.assertEqual(split_node("a\"/b'/c"), ['a"', "b'", "c"])
        self.assertEqual(split_node("a%2Fb[@x='/']/c"), ["a%2Fb[@x='/']", "c"])

    def test_raw_or_encoded(self) -> None:
        """Syntax may be raw or encoded in either case of digits (XCAP-32, CLI-18)."""
        wanted = self.steps('a[@b="c d"]')
        for text in ("a%5B@b=%22c%20d%22%5D", "a%5b@b=%22c d%22]", 'a[%40b%3d%22c%20d"%5d'):
            self.assertEqual(self.steps(text), wanted)

    def test_positions(self) -> None:
        """Position 0 and positions over 9 digits can match nothing (XCAP-33)."""
        self.assertEqual(self.steps("a[0]")[0].position, 0)
        self.assertEqual(self.steps("a[999999999]")[0].position, 999_999_999)
        self.assertEqual(self.steps("a[0000000001]")[0].position, 0)
        self.assertEqual(self.steps(f"a[{'9' * 5000}]")[0].position, 0)

    def test_many_steps(self) -> None:
        """64 steps are read, 65 are too many (XCAP-34)."""
        self.assertEqual(len(self.steps("/".join("a" * 64))), 64)
        self.refused(414, parse_node, "/".join("a" * 65), "", NS)

    def test_texts(self) -> None:
        """The wire text of every step is kept, of the terminal one too."""
        selector = parse_node("a%5b1%5d/%62/@c", "", NS)
        self.assertEqual(selector.texts, ("a%5b1%5d", "%62", "@c"))

    def test_undecodable(self) -> None:
        """Bad escapes are refused here, too (XCAP-13)."""
        for bad in ("%", "%F", "%FF", "a%5b@b=%22%C3%22%5d"):
            self.refused(400, parse_node, bad, "", NS)

    @given(NAMES, NAMES, XML_TEXT)
    def test_attribute_step(self, name: str, attribute: str, value: str) -> None:
        """A step that is built reads back as it was meant (XCLI-02, XCAP-26)."""
        text = attribute_step(name, attribute, value)
        self.assertTrue(text.isascii())
        self.assertNotIn("/", text)
        self.assertEqual(split_node(f"x/{text}/@y"), ["x", text, "@y"])
        step = parse_node(text, "", "").steps[0]
        test = f"{{{XMLNS_NAMESPACE}}}xmlns" if attribute == "xmlns" else attribute
        self.assertEqual(step, Step(name, None, (test, value)))

    @given(NAMES, st.lists(XML_TEXT, min_size=1, max_size=4))
    def test_quote_node(self, name: str, values: list[str]) -> None:
        """Quoting and unquoting a node selector are inverse (XCAP-133)."""
        safe = [v.translate(str.maketrans({'"': "'", "&": "+", "<": "("})) for v in values]
        node = "/".join(f'{name}[@k="{value}"]' for value in safe)
        quoted = quote_node(node)
        self.assertEqual(len(quoted.split("/")), len(values))
        self.assertEqual(unquote_node(quoted), node)

    def test_attribute_step_refuses(self) -> None:
        """No step is built of what XML cannot carry (XCLI-02)."""
        for bad in ("\x00", "a\x0bb", "\ufffe", "\ud800"):
            self.assertRaises(ValueError, attribute_step, "a", "b", bad)

    def test_attribute_step_example(self) -> None:
        """Escaping as in the RFC's examples, the slash included (XCLI-02)."""
        self.assertEqual(
            attribute_step("external", "anchor", "http://x/a&b"),
            "external%5b@anchor=%22http:%2F%2Fx%2Fa&amp;b%22%5d",
        )


class QueryTests(RefusalTestCase):
    """:func:`xcap.uri.parse_query`."""

    def test_bindings(self) -> None:
        """Parts follow each other with or without blanks (XCAP-40)."""
        wanted = {"cp": CP, "o": "urn:o"}
        for space in ("", "%20", "%20%0A%09", " "):
            self.assertEqual(parse_query(f"xmlns(cp={CP}){space}xmlns(o=urn:o)"), wanted)
        self.assertEqual(parse_query(""), {})

    def test_other_schemes(self) -> None:
        """Other schemes are skipped when they are balanced (XCAP-41)."""
        self.assertEqual(
            parse_query("element(/1/2)xmlns(a=b)xpointer(id(a)/b[c()])q:s(^))"), {"a": "b"}
        )

    def test_escapes(self) -> None:
        """Parentheses balance or are escaped; the circumflex is (XCAP-42)."""
        self.assertEqual(parse_query("xmlns(a=b(c)d)"), {"a": "b(c)d"})
        self.assertEqual(parse_query("xmlns(a=b^(^)^^c)"), {"a": "b()^c"})
        self.assertEqual(parse_query("xmlns(a=%5e%28)"), {"a": "("})

    def test_malformed(self) -> None:
        """What is no sequence of parts is refused (XCAP-42, XCAP-43)."""
        for bad in (
            "a",
            "a=b",
            "xmlns",
            "xmlns(",
            "xmlns(a=b",
            "xmlns(a=b))",
            "xmlns(a=b(c)",
            "xmlns(a=b^)",
            "xmlns(a=^b)",
            "xmlns(a=b^",
            "xmlns(a)",
            "xmlns()",
            "xmlns(=b)",
            "xmlns(1=b)",
            "xmlns(a:b=c)",
            "xmlns( a=b)",
            "xmlns (a=b)",
            "(a=b)",
            "xmlns(a=b)&xmlns(c=d)",
            "xmlns(a=b)+xmlns(c=d)",
            "%",
            "%FF",
        ):
            self.refused(400, parse_query, bad)

    def test_spaces(self) -> None:
        """Blanks around the equals sign are dropped (XCAP-43)."""
        self.assertEqual(parse_query("xmlns(a%20=%20%09b)"), {"a": "b"})

    def test_reserved(self) -> None:
        """``xml`` and ``xmlns`` keep their meaning (XCAP-43)."""
        namespace = "http://www.w3.org/XML/1998/namespace"
        self.assertEqual(parse_query(f"xmlns(xml={namespace})"), {"xml": namespace})
        for bad in ("xmlns(xml=urn:x)", f"xmlns(p={namespace})", "xmlns(xmlns=urn:x)"):
            self.refused(400, parse_query, bad)

    def test_repeated(self) -> None:
        """A later binding replaces the earlier one (XCAP-43)."""
        self.assertEqual(parse_query("xmlns(a=b)xmlns(a=c)"), {"a": "c"})
        self.assertEqual(parse_query("xmlns(a=b)xmlns(a=)"), {})

    def test_decoding(self) -> None:
        """Decoding is one pass and leaves plus signs alone (XCAP-44)."""
        self.assertEqual(parse_query("xmlns(a=b+c%2525)"), {"a": "b+c%25"})

    def test_long(self) -> None:
        """Time stays linear for long queries."""
        self.refused(400, parse_query, "xmlns(a=" + "(" * 100_000)
        self.refused(400, parse_query, "x(" * 50_000)

    @given(st.dictionaries(NAMES.filter(lambda n: not n.startswith("xml")), XML_TEXT, max_size=4))
    def test_round_trip(self, bindings: dict[str, str]) -> None:
        """A query that is built binds what it was built of (XCAP-40, XCAP-42)."""
        wanted = {k: v.strip(" \t\r\n") for k, v in bindings.items()}
        query = bindings_query(wanted)
        self.assertTrue(query.isascii())
        self.assertEqual(parse_query(query), {k: v for k, v in wanted.items() if v})


class CanonicalTests(SynchronousTestCase):
    """:func:`xcap.uri.canonical_xui`."""

    def test_spellings(self) -> None:
        """All spellings of an identifier have one form (XCAP-08)."""
        for text, wanted in (
            ("sip:joe@example.com", "sip:joe@example.com"),
            ("SIP:joe@EXAMPLE.com", "sip:joe@example.com"),
            ("sip:%6aoe@example.com", "sip:joe@example.com"),
            ("sip:Joe@example.com", "sip:Joe@example.com"),
            ("sip:j%20e@example.com", "sip:j%20e@example.com"),
            ("sip:jos\u00e9@example.com", "sip:jos%C3%A9@example.com"),
            ("tel:+1-555-555-0123", "tel:+15555550123"),
            ("urn:x-a:B", "urn:x-a:B"),
            ("HTTP://Example.com/A", "http://Example.com/A"),
        ):
            self.assertEqual(canonical_xui(text), wanted)
            self.assertEqual(canonical_xui(wanted), wanted)

    def test_schemes_differ(self) -> None:
        """A telephone number is another user as a SIP and as a tel URI (XCAP-08)."""
        self.assertNotEqual(canonical_xui("sip:+1555@x.com"), canonical_xui("tel:+1555"))

    def test_no_uri(self) -> None:
        """What is no URI is refused (XCAP-08)."""
        for bad in ("", "joe", "joe@example.com", "sip:", "sip:a b@x", "sip:@", "a\x00:b"):
            self.assertRaises(ValueError, canonical_xui, bad)

    @given(st.text(max_size=30))
    def test_any(self, text: str) -> None:
        """Nothing but ValueError is raised, and the form is stable (XCAP-08)."""
        for xui in (text, f"sip:{text}@example.com"):
            try:
                canonical = canonical_xui(xui)
            except ValueError:
                continue
            self.assertEqual(canonical_xui(canonical), canonical)


class BuildTests(SynchronousTestCase):
    """:func:`xcap.uri.build` and its kin."""

    def test_example(self) -> None:
        """URIs look as in the RFC's examples (XCAP-01, XCLI-02)."""
        self.assertEqual(
            build("https://xcap.example.com/", "resource-lists", "sip:joe@example.com", "index"),
            "https://xcap.example.com/resource-lists/users/sip:joe@example.com/index",
        )
        self.assertEqual(build("http://x/s", "a", "", "b/c"), "http://x/s/a/global/b/c")

    def test_document_path(self) -> None:
        """The path of a key is relative to the root."""
        key = DocumentKey("https://x/", "a", "sip:a/b@x", "d e/f")
        self.assertEqual(document_path(key), "a/users/sip:a%2Fb@x/d%20e/f")

    @given(SEGMENTS, SEGMENTS, st.lists(SEGMENTS, min_size=1, max_size=3))
    def test_round_trip(self, auid: str, xui: str, path: list[str]) -> None:
        """A URI that is built reads back as it was meant (XCLI-02, XCAP-07)."""
        uri = build("https://xcap.example.com", auid, xui, "/".join(path))
        self.assertTrue(uri.isascii())
        target = parse_target(uri.removeprefix("https://xcap.example.com"))
        self.assertEqual((target.auid, target.xui), (auid, xui))
        self.assertEqual(target.path, tuple(path))

    def test_tidy(self) -> None:
        """Raw text becomes a URI, escapes in it stay (XCAP-132)."""
        self.assertEqual(tidy('a[@b="c d"]%2f'), "a%5b@b=%22c%20d%22%5d%2f")
