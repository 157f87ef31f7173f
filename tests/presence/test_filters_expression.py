"""Tests of :mod:`presence.filters.expression` and :mod:`presence.filters.evaluate`."""

from __future__ import annotations

import random
import string
from typing import Any

from lxml import etree
from twisted.trial.unittest import SynchronousTestCase

from presence.filters.errors import Exhausted, FilterError
from presence.filters.evaluate import Budget, Evaluation, number
from presence.filters.expression import ANY, Path, parse_expression, write_expression
from presence.filters.write import Prefixes

CASES = 6000
A, B = "urn:example:a", "urn:example:b"
BINDINGS = {"a": A, "b": B}

GOOD = """
/a:x
//a:x
/a:x/a:y
/*/a:y
//*
//a:x//b:y
//@s
//a:x/@s
//a:x//@a:s
//a:x[a:y="1"]
//a:x[a:y='1"']
//a:x[*/a:y="1"]
//*[a:y/b:z="open"]
//a:x[.="1"]
//a:x[..="1"]
//a:x[@s="1"]
//a:x[a:y/@s<5]
//a:x[@s>5]
//a:x[@s=-5.5]
//a:x[@s=.5]
//a:x[a:y="1" and a:z="2" or @s>3]
//a:x[and="1" and or="2"or or='3']
//a:x[a:y="IM"]/a:z/@s[.="t"]
/a:x / a:y [ @s = "1" ]
//a:x-y.z_1
//xml
""".strip().split("\n")

BAD = """
a:x
x
/
//
/a:x/
/a:x//
@s
/@s
/a:x/@*
/a:*
//c:x
/..
/a:x/.
/a:x/..
.
/a:x[1]
/a:x[last()]
/a:x[a:y]
/a:x[@s]
/a:x[@s!="1"]
/a:x[@s<="1"]
/a:x[@s=@t]
/a:x[@s=1e3]
/a:x[@s="1"][@t="2"]
/a:x[a:y[@s="1"]="2"]
/a:x[(@s="1")]
/a:x[not(@s="1")]
/a:x[contains(@s,"1")]
/a:x[.//a:y="1"]
/a:x[/a:y="1"]
/a:x[../a:y="1"]
/a:x[./@s="1"]
/a:x[a:y="1" or]
/a:x[a:y="1" xor a:z="2"]
/a:x[a:y="1]
/a:x[]
/a:x["1"="1"]
/a:x[@s="1"
/a:x]
/child::a:x
/descendant::a:x
/a:x/following::a:y
/a:x/text()
/a:x/node()
/a:x|/a:y
/a:x/namespace::a
count(//a:x)
document("http://example.com")
//a:x[@s=$v]
/a :x
/a:x[@s=11111111111111111111111111111111111111111]
//a:x[a:y="\u0000"]extra
""".strip().split("\n")


def read(text: str, **options: Any) -> Path:
    """An expression with the usual prefixes."""
    return parse_expression(text, BINDINGS, **options)


def find(text: str, document: str, **options: Any) -> list[str]:
    """The ids of elements, or the values of attributes, in a document."""
    evaluation = Evaluation(etree.fromstring(document), Budget())
    path = read(text, **options)
    if path.attribute:
        return [each.attrib[name] for each, name in evaluation.attributes(path)]
    return [each.get("id", "") for each in evaluation.elements(path)]


class GrammarTests(SynchronousTestCase):
    """:func:`presence.filters.expression.parse_expression`."""

    def test_good(self) -> None:
        """What FLT-07 allows is understood; written again it says the same."""
        for text in GOOD:
            prefixes = Prefixes()
            path = read(text)
            written = write_expression(path, prefixes)
            self.assertEqual(parse_expression(written, prefixes.bindings), path, text)

    def test_bad(self) -> None:
        """Whatever else XPath has is an erroneous expression: functions, axes (FLT-07)."""
        for text in ["", " ", *BAD]:
            error = self.assertRaises(FilterError, read, text)
            self.assertEqual(error.status, 488, text)
            if len(text.strip("/. ")) > 1:
                self.assertNotIn(text, error.reason)

    def test_folded(self) -> None:
        """White space around an expression and line breaks between its parts go (FLT-07)."""
        self.assertEqual(
            read('\n   /a:x/\r\n\t a:y[@s="1"\n  or @s="2"]/\n @t \n'),
            read('/a:x/a:y[@s="1" or @s="2"]/@t'),
        )

    def test_no_conditions(self) -> None:
        """What triggers wait for is a reference without condition (FLT-07)."""
        for text in ('//a:x[@s="1"]', '//a:x[@s="1"]/a:y', '//a:x/@s[.="1"]'):
            self.assertRaises(FilterError, read, text, conditions=False)
        self.assertEqual(read("//a:x/@s", conditions=False), read("//a:x/@s"))

    def test_meaning(self) -> None:
        """Expressions are equal when they say the same, whatever their prefixes."""
        self.assertEqual(read('/a:x["1"=""]'.replace('"1"', "@s")), read("/a:x[ @s='']"))
        same = parse_expression("//q:x", {"q": A})
        self.assertEqual((same, hash(same)), (read("//a:x"), hash(read("//a:x"))))
        self.assertNotEqual(read("//a:x"), read("//b:x"))
        self.assertNotEqual(read('//a:x[@s="1"]'), read("//a:x[@s=1]"))

    def test_prefixes(self) -> None:
        """Without prefix a name is in no namespace; a prefix needs a binding (FLT-08)."""
        document = f'<x id="0"><x xmlns="{A}" id="1"/><x xmlns="{B}" id="2"/><x id="3"/></x>'
        self.assertEqual(find("//x", document), ["0", "3"])
        self.assertEqual(find("//a:x", document), ["1"])
        self.assertEqual(find("//x", document, lenient=True), ["0", "1", "2", "3"])
        self.assertEqual(find("/x/x", document, lenient=True), ["1", "2", "3"])
        self.assertEqual(find("/a:x", document), [])
        self.assertRaises(FilterError, read, "//nobody:x")
        self.assertEqual(find("//@xml:lang", '<x xml:lang="de"/>'), ["de"])
        self.assertEqual(
            parse_expression("//any:x", {"any": ANY}), parse_expression("//x", {}, lenient=True)
        )

    def test_lenient_attributes(self) -> None:
        """Attributes without prefix are in no namespace in any case (FLT-08)."""
        document = f'<x id="0" s="1" a:s="2" xmlns:a="{A}"/>'
        self.assertEqual(find("//x/@s", document, lenient=True), ["1"])

    def test_numbers(self) -> None:
        """Numbers are written as they are understood."""
        for text in (
            "5",
            "-5",
            "5.25",
            ".5",
            "-.5",
            "5.",
            "0.000000000000000000000001",
            "9" * 38,
            "-." + "0" * 30 + "123456789",
        ):
            path = read(f"//a:x[@s={text}]")
            again = write_expression(path, Prefixes())
            self.assertEqual(parse_expression(again, {"ns1": A}), path, text)
        for text, value in (("1", 1), (" -1.5\n", -1.5), (".5", 0.5), ("5.", 5)):
            self.assertEqual(number(text), value)
        for text in ("", "1e3", "+1", "1 2", "x", "inf", "nan", "0x1", "\u0661", "9" * 401):
            self.assertNotEqual(number(text), number(text))


class ReferenceTests(SynchronousTestCase):
    """The examples of RFC 4661 section 5, without bindings as they stand there."""

    PRESENCE = (
        '<presence id="p"><tuple id="t1"><status id="s1"><basic id="b1">open</basic></status>'
        '<type>device</type></tuple><tuple id="t2"><status id="s2"><basic id="b2">closed</basic>'
        "</status></tuple></presence>"
    )
    WATCHERS = (
        '<list id="l"><watcher id="w1" duration-subscribed="400" event="rejected"/>'
        '<watcher id="w2" duration-subscribed="500" event="approved"/><watcher id="w3"/></list>'
    )

    def test_examples(self) -> None:
        """Each of them finds what the text says, in several places at once (FLT-07, FLT-09)."""
        for text, document, found in (
            ("/presence/tuple/status/basic", self.PRESENCE, ["b1", "b2"]),
            ("//tuple/status/basic", self.PRESENCE, ["b1", "b2"]),
            ("/*/watcher", self.WATCHERS, ["w1", "w2", "w3"]),
            ('//*[status/basic="open"]', self.PRESENCE, ["t1"]),
            ('/presence/tuple[*/basic="open"]', self.PRESENCE, ["t1"]),
            ("//watcher[@duration-subscribed<500]", self.WATCHERS, ["w1"]),
            ('/*/watcher[@event="rejected"]', self.WATCHERS, ["w1"]),
            ('//tuple[status/basic="open" and type="device"]', self.PRESENCE, ["t1"]),
            ("//watcher/@duration-subscribed", self.WATCHERS, ["400", "500"]),
            ("//@event", self.WATCHERS, ["rejected", "approved"]),
        ):
            self.assertEqual(find(text, document), found, text)


class OracleTests(SynchronousTestCase):
    """Random expressions and documents, compared with an XPath engine."""

    NAMES = ("a:x", "a:y", "b:x", "b:y", "x", "y", "*")
    VALUES = ("", "1", "2", "10", "-1", "open", "1.50", " 1 ", "x y")

    def tree(self, rng: random.Random, depth: int = 0) -> str:
        """A random element."""
        name = rng.choice(self.NAMES[:-1])
        attributes = "".join(
            f' {each}="{rng.choice(self.VALUES)}"'
            for each in ("s", "a:s", "t")
            if rng.random() < 0.3
        )
        inner = rng.choice(self.VALUES) if rng.random() < 0.4 else ""
        if depth < 4:
            for _ in range(rng.choice((0, 1, 2, 3))):
                inner += self.tree(rng, depth + 1)
                inner += rng.choice(self.VALUES) if rng.random() < 0.1 else ""
        return f"<{name}{attributes}>{inner}</{name}>"

    def comparison(self, rng: random.Random) -> str:
        """A random comparison."""
        kind = rng.random()
        if kind < 0.15:
            operand = "."
        elif kind < 0.3:
            operand = ".."
        else:
            operand = "/".join(rng.choice(self.NAMES) for _ in range(rng.choice((1, 1, 2))))
            if kind > 0.7:
                operand = rng.choice(("", f"{operand}/")) + rng.choice(("@s", "@a:s", "@t"))
        value = rng.choice(self.VALUES)
        written = rng.choice((f'"{value}"', f"'{value}'", "1", "-1", "1.5", "10"))
        space = rng.choice(("", " ", "\n"))
        return f"{operand}{space}{rng.choice('=<>')}{space}{written}"

    def condition(self, rng: random.Random) -> str:
        """A random condition, or none."""
        if rng.random() < 0.55:
            return ""
        parts = [self.comparison(rng)]
        while rng.random() < 0.4:
            parts += [rng.choice((" and ", " or ", "\nor\n")), self.comparison(rng)]
        return f"[{''.join(parts)}]"

    def expression(self, rng: random.Random) -> str:
        """A random expression."""
        text = ""
        for _ in range(rng.choice((1, 2, 2, 3, 4))):
            text += (
                rng.choice(("/", "//", "//") if text else ("/", *["//"] * 5))
                + rng.choice((*self.NAMES, "*", "*"))
                + self.condition(rng)
            )
        if rng.random() < 0.25:
            text += rng.choice(("/", "//")) + rng.choice(("@s", "@a:s", "@t"))
            text += rng.choice(("", "", '[.="1"]', "[.>0]", '[..="1"]'))
        elif rng.random() < 0.02:
            text = "//@s"
        return text

    def test_oracle(self) -> None:
        """The same nodes, each once, for each expression of the grammar (FLT-07, FLT-09)."""
        rng = random.Random(4661)
        hits = 0
        for case in range(CASES):
            if case % 20 == 0:
                inner = "".join(self.tree(rng, 1) for _ in range(4))
                root = etree.fromstring(f'<a:x xmlns:a="{A}" xmlns:b="{B}">{inner}</a:x>')
                size = sum(1 for _ in root.iter())
            text = self.expression(rng)
            expected: Any = root.xpath(text, namespaces=BINDINGS)
            evaluation = Evaluation(root, Budget(1000 * size))
            path = read(text)
            if path.attribute:
                found: Any = {(element, name) for element, name in evaluation.attributes(path)}
                wanted: Any = {(each.getparent(), each.attrname) for each in expected}
                self.assertEqual(len(found), len(evaluation.attributes(path)), text)
            else:
                elements = evaluation.elements(path)
                found, wanted = set(elements), set(expected)
                self.assertEqual(len(found), len(elements), text)
            self.assertEqual(found, wanted, text)
            hits += bool(found)
            prefixes = Prefixes()
            again = write_expression(path, prefixes)
            self.assertEqual(parse_expression(again, prefixes.bindings), path, text)
        self.assertGreater(hits, CASES // 5)

    def test_garbage(self) -> None:
        """Expressions that are cut or changed are understood as an engine does, or refused."""
        rng = random.Random(4660)
        letters = string.ascii_letters + "/@[]=<>\"'.:* ()|$,-0129\n"
        root = etree.fromstring(f'<a:x xmlns:a="{A}" xmlns:b="{B}">{self.tree(rng)}</a:x>')
        for _ in range(3000):
            text = list(self.expression(rng))
            for _ in range(rng.choice((1, 1, 2, 3))):
                at = rng.randrange(len(text) + 1)
                text[at : at + rng.choice((0, 1, 1, 3))] = rng.choice((*letters, ""))
            mangled = "".join(text)
            try:
                path = read(mangled)
            except FilterError:
                continue
            evaluation = Evaluation(root, Budget())
            expected: Any = root.xpath(mangled.strip(), namespaces=BINDINGS)
            found = evaluation.attributes(path) if path.attribute else evaluation.elements(path)
            self.assertEqual(len(found), len(expected), mangled)


class CostTests(SynchronousTestCase):
    """What evaluation may cost (FLT-27)."""

    def spent(self, text: str, document: str) -> int | None:
        """Units that an expression costs, None when there are not enough."""
        budget = Budget()
        evaluation = Evaluation(etree.fromstring(document), budget)
        path = read(text, lenient=True)
        try:
            evaluation.attributes(path) if path.attribute else evaluation.elements(path)
        except Exhausted:
            return None
        return Budget()._left - budget._left

    def test_linear(self) -> None:
        """Steps to all descendants cost no more in nested elements than in others."""
        deep = "<x>" * 60 + "</x>" * 60
        wide = f"<x>{'<x/>' * 59}</x>"
        for steps in (1, 3, 30):
            one, other = self.spent("//x" * steps, deep), self.spent("//x" * steps, wide)
            assert one is not None and other is not None
            self.assertLess(one, 30 * 60 * steps)
            self.assertLess(other, 30 * 60 * steps)

    def test_exhausted(self) -> None:
        """The same expression on the same document is refused each time, or never."""
        document = f"<x>{'<x><y>1</y></x>' * 5000}</x>"
        for _ in range(3):
            self.assertIsNone(self.spent("//*" * 40, document))
            self.assertIsNone(self.spent('//*[..="1"]', f"<x>{'<y>11111111</y>' * 2000}</x>"))
            self.assertIsNotNone(self.spent('//y[.="2"]', f"<x>{'<y>1</y>' * 500}</x>"))

    def test_error(self) -> None:
        """It is an error of the filter, with an answer."""
        error = self.assertRaises(Exhausted, Budget(5).spend, 6)
        self.assertIsInstance(error, FilterError)
        self.assertEqual((error.status, error.reason), (488, "filter costs too much"))
