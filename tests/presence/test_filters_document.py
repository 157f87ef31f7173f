"""Tests of :mod:`presence.filters.document`."""

from __future__ import annotations

from decimal import Decimal

from twisted.trial.unittest import SynchronousTestCase

from presence.filters.document import LIMIT, LONGEST, MEDIA_TYPE, read_filters
from presence.filters.errors import FilterError
from presence.filters.expression import parse_expression
from presence.filters.filterset import FilterSet
from presence.filters.model import Changes, Condition, Filter, Namespace, Trigger, What
from presence.filters.write import write_filters

PIDF = "urn:ietf:params:xml:ns:pidf"
BINDINGS = {"pidf": PIDF, "r": "urn:ietf:params:xml:ns:pidf:rpid"}
INCLUDE = "<what><include>//pidf:tuple</include></what>"


def bindings(**prefixes: str) -> str:
    """An ``<ns-bindings>``."""
    each = "".join(f'<ns-binding prefix="{name}" urn="{urn}"/>' for name, urn in prefixes.items())
    return f"<ns-bindings>{each}</ns-bindings>"


def wrap(inner: str, *, attributes: str = "", bound: str | None = None) -> bytes:
    """A filter document, by default with the usual prefixes."""
    bound = bindings(**BINDINGS) if bound is None else bound
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<filter-set xmlns="urn:ietf:params:xml:ns:simple-filter"{attributes}>'
        f"{bound}{inner}</filter-set>"
    ).encode()


def place(id: str, attributes: str = "", inner: str = INCLUDE) -> str:
    """A ``<filter>``."""
    return f'<filter id="{id}" {attributes}>{inner}</filter>'


def read(inner: str, **options: str) -> Changes:
    """What a document for ``presence`` says."""
    return read_filters(wrap(inner, **options), "presence")


def one(inner: str, **options: str) -> Filter:
    """The only filter of a document, with these contents."""
    (found,) = read(f'<filter id="f">{inner}</filter>', **options).filters
    return found


class Refusals(SynchronousTestCase):
    """What checks share."""

    def refused(self, body: bytes | str, reason: str = "", event: str = "presence") -> None:
        """A document is refused with 488, in words of our own."""
        octets = body if isinstance(body, bytes) else wrap(body)
        error = self.assertRaises(FilterError, read_filters, octets, event)
        self.assertEqual(error.status, 488)
        self.assertIn(reason, error.reason)
        self.assertNotIn("SECRET", error.reason)
        self.assertLess(len(error.reason), 100)


class DocumentTests(Refusals):
    """Documents as a whole."""

    def test_media_type(self) -> None:
        """What filters travel as (FLT-01)."""
        self.assertEqual(MEDIA_TYPE, "application/simple-filter+xml")

    def test_read(self) -> None:
        """A filter with all that it may have (FLT-02, FLT-03, FLT-04, FLT-05, FLT-06)."""
        found = one(
            '<what><include type="xpath">//pidf:tuple</include><include type="namespace"> urn:x '
            "</include><exclude>//pidf:note</exclude></what>"
            '<trigger><changed from=" a " to="b">//pidf:note</changed><added>//pidf:tuple</added>'
            "<removed>//pidf:tuple</removed></trigger>"
            '<trigger><changed by="1.50">//pidf:tuple/@id</changed></trigger>'
        )

        def path(text: str):
            return parse_expression(text, BINDINGS)

        self.assertEqual(
            found,
            Filter(
                "f",
                what=What((path("//pidf:tuple"), Namespace("urn:x")), (path("//pidf:note"),)),
                triggers=(
                    Trigger(
                        (
                            Condition("changed", path("//pidf:note"), "a", "b"),
                            Condition("added", path("//pidf:tuple")),
                            Condition("removed", path("//pidf:tuple")),
                        )
                    ),
                    Trigger((Condition("changed", path("//pidf:tuple/@id"), by=Decimal("1.5")),)),
                ),
            ),
        )

    def test_not_valid(self) -> None:
        """What is not well-formed or not valid by the schema is refused (FLT-01, FLT-26)."""
        good = place("f")
        read(good)
        for body in (
            b"",
            b"SECRET",
            wrap(good)[:-3],
            wrap(""),
            wrap(good).replace(b"simple-filter", b"simple-SECRET"),
            wrap(good.replace("id=", "name=")),
            wrap(f'<filter id="f"><trigger><added>//pidf:x</added></trigger>{INCLUDE}</filter>'),
            wrap(
                '<filter id="f"><what><exclude>//x</exclude><include>//y</include></what></filter>'
            ),
            wrap(good.replace("<include>", '<include type="regexp">')),
            wrap(f'<filter id="f" enabled="SECRET">{INCLUDE}</filter>'),
            wrap('<filter id="f"><trigger><changed by="x">//pidf:x</changed></trigger></filter>'),
            wrap('<filter id="f"><what><include>//x<y/></include></what></filter>'),
            wrap(good, bound="<ns-bindings/>"),
            wrap(good, bound='<ns-bindings><ns-binding prefix="a"/></ns-bindings>'),
            wrap(good, bound=bindings(pidf=PIDF) * 2),
            b'<filter xmlns="urn:ietf:params:xml:ns:simple-filter" id="f"/>',
        ):
            self.refused(body)

    def test_encoding(self) -> None:
        """UTF-8 is the only encoding (FLT-01)."""
        good = wrap(f'<filter id="f\u00fc">{INCLUDE}</filter>')
        self.assertEqual(read_filters(good, "presence").filters[0].id, "f\u00fc")
        self.assertEqual(read_filters(good.split(b"\n", 1)[1], "presence").filters[0].id, "f\u00fc")
        text = good.decode()
        for codec in ("utf-16", "utf-16-le", "iso-8859-1"):
            self.refused(text.replace("UTF-8", codec).encode(codec), "UTF-8")
        self.refused(text.encode("iso-8859-1"))
        self.refused(text.replace('"1.0"', '"1.1"').encode(), "XML 1.0")
        self.refused(text.replace('"1.0"', '"2.0"').encode(), "XML 1.0")
        for declaration in (
            "<?xml version='1.0'?>",
            '<?xml version="1.0" encoding=\'utf-8\' standalone="yes" ?>',
            '\ufeff<?xml version="1.0"?>',
        ):
            body = declaration + text.split("?>", 1)[1]
            self.assertEqual(read_filters(body.encode(), "presence").filters[0].id, "f\u00fc")
        self.refused(text.split("\n", 1)[1].encode("utf-16"))

    def test_package(self) -> None:
        """A filter for another package is refused (FLT-02)."""
        inner = place("f")
        for package in ("presence", "Presence"):
            read(inner, attributes=f' package="{package}"')
        winfo = wrap(inner, attributes=' package="presence.winfo"')
        self.refused(winfo, "another package")
        read_filters(winfo, "presence.winfo")
        self.refused(wrap(inner, attributes=' package=""'), "another package")

    def test_extensions(self) -> None:
        """Elements and attributes of other namespaces are passed over (RFC 4661 section 4)."""
        found = read(
            '<filter id="f" x:y="1" xmlns:x="urn:x"><what><include x:y="1">//pidf:tuple</include>'
            "<x:z/></what><trigger><added>//pidf:tuple</added><x:z/></trigger><x:z/></filter>"
        )
        self.assertEqual(
            found,
            read(
                f'<filter id="f">{INCLUDE}<trigger><added>//pidf:tuple</added></trigger></filter>'
            ),
        )

    def test_comments(self) -> None:
        """Comments and character data sections are as nothing."""
        self.assertEqual(
            one("<what><include>//pidf:<!-- x -->tuple</include></what>"), one(INCLUDE)
        )
        self.assertEqual(
            one("<what><include><![CDATA[//pidf:tuple]]></include></what>"), one(INCLUDE)
        )


class FilterTests(Refusals):
    """Single filters, and those that stand together."""

    def test_ids(self) -> None:
        """Ids are there, once each (FLT-03)."""
        self.refused(
            f'<filter id="f">{INCLUDE}</filter><filter id="f" uri="sip:a@b">{INCLUDE}</filter>'
        )
        self.refused(f'<filter id="f">{INCLUDE}</filter><filter id="f" remove="true"/>', "id")
        self.refused(f'<filter id="">{INCLUDE}</filter>', "id")
        self.refused(f'<filter id=" ">{INCLUDE}</filter>', "id")

    def test_uri_and_domain(self) -> None:
        """Never both, and neither empty (FLT-03)."""
        self.refused(
            f'<filter id="f" uri="sip:a@b" domain="b">{INCLUDE}</filter>', "uri and domain"
        )
        self.refused(f'<filter id="f" uri="">{INCLUDE}</filter>', "empty")
        self.refused(f'<filter id="f" domain="">{INCLUDE}</filter>', "empty")
        found = read(place("f", 'uri="sip:A@B"') + place("g", 'domain="B.C"')).filters
        self.assertEqual(
            [(each.uri, each.domain) for each in found], [("sip:A@B", ""), ("", "b.c")]
        )

    def test_defaults(self) -> None:
        """A filter is enabled and stays unless it says otherwise (FLT-03)."""
        found = read(
            place("a")
            + place("b", 'uri="sip:b@x" enabled="0"')
            + '<filter id="c" remove=" true "/><filter id="d" remove="1"/>'
            + place("e", 'uri="sip:e@x" remove="false" enabled="1"')
        )
        self.assertEqual(
            [(each.id, each.enabled) for each in found.filters],
            [("a", True), ("b", False), ("e", True)],
        )
        self.assertEqual(found.removed, {"c", "d"})

    def test_contents_needed(self) -> None:
        """A new filter says what or when; empty elements do not count (FLT-03, FLT-04, FLT-06)."""
        for inner in ("", "<what/>", "<trigger/>", "<what/><trigger/>"):
            changes = read(f'<filter id="f">{inner}</filter>')
            self.assertEqual(changes.filters, (Filter("f"),))
            error = self.assertRaises(FilterError, FilterSet().changed, changes)
            self.assertEqual(error.status, 488)
        self.assertEqual(one(f"{INCLUDE}<trigger/>"), one(INCLUDE))
        self.assertEqual(
            one("<what/><trigger/><trigger><added>//pidf:x</added></trigger>").what, What()
        )

    def test_two_for_one(self) -> None:
        """Two filters for one resource or domain are refused (FLT-22)."""
        for a, b in (
            ("", ""),
            ('uri="sip:a@b"', 'uri="sip:a@B;transport=tcp"'),
            ('uri="sip:a@b"', 'uri="pres:a@b"'),
            ('domain="b"', 'domain="B"'),
            ('uri="urn:x"', 'uri="urn:x"'),
        ):
            self.refused(
                f'<filter id="f" {a}>{INCLUDE}</filter><filter id="g" {b}>{INCLUDE}</filter>',
                "one resource or domain",
            )
        read(
            place("f", 'uri="sip:b"')
            + place("g", 'domain="b"')
            + place("h")
            + place("i", 'uri="sip:a@b"')
        )

    def test_replaced(self) -> None:
        """One for a resource may go when another one for it comes."""
        changes = read(place("f", 'uri="sip:a@b" remove="true"') + place("g", 'uri="sip:a@b"'))
        self.assertEqual([each.id for each in changes.filters], ["g"])


class ExpressionTests(Refusals):
    """The expressions of a document."""

    def test_erroneous(self) -> None:
        """An erroneous expression is refused, or its filter ignored (FLT-07, FLT-26)."""
        for inner in (
            "<what><include>SECRET</include></what>",
            "<what><include/></what>",
            "<what><exclude>//pidf:tuple[SECRET()]</exclude></what>",
            '<what><include type="namespace"/></what>',
            '<what><include type="namespace">*</include></what>',
            '<what><include type="namespace">urn:x}y</include></what>',
            "<trigger><added>//pidf:tuple[@id='1']</added></trigger>",
            "<trigger><changed>pidf:SECRET</changed></trigger>",
            "<trigger><removed/></trigger>",
        ):
            body = wrap(
                f'<filter id="f">{inner}</filter><filter id="g" domain="x">{INCLUDE}</filter>'
            )
            self.refused(body, "line 2")
            kept = read_filters(body, "presence", ignore_erroneous=True)
            self.assertEqual([each.id for each in kept.filters], ["g"])

    def test_prefixes(self) -> None:
        """Prefixes are those of the bindings, not of the document (FLT-08)."""
        self.refused(
            f'<filter id="f" xmlns:q="{PIDF}"><what><include>//q:tuple</include></what></filter>',
            "prefix",
        )
        for bound in (
            bindings(a=PIDF) + "",
            bindings(a="urn:a").replace("</ns", '<ns-binding prefix="a" urn="urn:b"/></ns', 1),
            bindings(a=""),
            bindings(a="*"),
            bindings(a="urn:{x}"),
            '<ns-bindings><ns-binding prefix="" urn="urn:a"/></ns-bindings>',
        ):
            self.refused(wrap(place("f"), bound=bound))

    def test_lenient(self) -> None:
        """Without any binding names match in every namespace, unless switched off (FLT-08)."""
        inner = '<filter id="f"><what><include>/presence/tuple</include></what></filter>'
        loose = read_filters(wrap(inner, bound=""), "presence")
        strict = read_filters(wrap(inner, bound=""), "presence", lenient=False)
        bound = read(inner)
        self.assertEqual(strict, bound)
        self.assertNotEqual(strict, loose)
        self.assertEqual(
            loose.filters[0].what.includes, (parse_expression("/presence/tuple", {}, lenient=True),)
        )

    def test_by(self) -> None:
        """With ``by`` everything is a decimal (FLT-16)."""
        for attributes in ('by="1" from="x"', 'by="1" to="1e3"', 'by="1" to=""'):
            self.refused(
                place("f", "", f"<trigger><changed {attributes}>//pidf:x</changed></trigger>"),
                "decimal",
            )
        one('<trigger><changed by="+.5" from="-1" to=" 2.0 ">//pidf:x</changed></trigger>')

    def test_written(self) -> None:
        """What is written says the same when it is read, loose names and strict ones (FLT-29)."""
        contents = (
            '<what><include>//pidf:tuple[r:class="a&amp;b" and @id=5]</include><exclude '
            'type="namespace">urn:x</exclude></what><trigger><changed from="&lt;" by="2">//@id'
            "</changed></trigger>".replace('from="&lt;"', 'from="1"')
        )
        for body in (
            wrap(
                place("&quot;", 'uri="sip:a@b"', contents)
                + place("x", 'enabled="false" domain="d"')
            ),
            wrap('<filter id="f"><what><include>//tuple/@id</include></what></filter>', bound=""),
            wrap('<filter id="f"><what><include>//tuple</include></what></filter>'),
            wrap(
                '<filter id="f"><what><include>//q:x/p:x</include></what></filter>',
                bound=bindings(q="urn:1", p="urn:2"),
            ),
        ):
            found = read_filters(body, "presence").filters
            again = write_filters(found, package="presence")
            self.assertEqual(read_filters(again, "presence").filters, found)
        self.assertEqual(write_filters(()), b"")
        self.assertEqual(
            read_filters(write_filters((), removed=["b", "a"]), "x").removed, {"a", "b"}
        )

    def test_mixed(self) -> None:
        """Loose names cannot stand beside bindings: such a filter is left out (FLT-08)."""
        loose = read_filters(
            wrap('<filter id="f"><what><include>//tuple</include></what></filter>', bound=""),
            "presence",
        ).filters
        bound = read(f'<filter id="g" domain="x">{INCLUDE}</filter>').filters
        self.assertEqual(read_filters(write_filters(loose + bound), "presence").filters, bound)


class BoundTests(Refusals):
    """What others can make us do (FLT-27)."""

    def test_numbers(self) -> None:
        """At most 32 filters with 64 expressions of 1 KiB (FLT-27)."""

        def filters(count: int, inner: str = INCLUDE) -> str:
            return "".join(
                f'<filter id="f{number}" uri="sip:{number}@x">{inner}</filter>'
                for number in range(count)
            )

        two = "<what><include>//x</include><exclude>//y</exclude></what>"
        read(filters(32, two))
        self.refused(filters(33), "32 filters")
        self.refused(
            filters(32, two).replace("<exclude>", "<exclude>//z</exclude><exclude>", 1),
            "64 expressions",
        )
        longest = "//" + "a" * (LONGEST - 2)
        one(f"<what><include>{longest}</include></what>")
        self.refused(
            f'<filter id="f"><what><include>{longest}a</include></what></filter>', "octets"
        )
        self.refused(
            f'<filter id="f"><trigger><added>{longest}a</added></trigger></filter>', "octets"
        )
        self.refused(
            f'<filter id="f"><what><include type="namespace">{longest}a</include></what></filter>'
        )

    def test_across_requests(self) -> None:
        """Bounds hold for all filters of a subscription together (FLT-27)."""

        def filters(name: str, count: int) -> Changes:
            return read(
                "".join(
                    f'<filter id="{name}{number}" uri="sip:{name}{number}@x">{INCLUDE}</filter>'
                    for number in range(count)
                )
            )

        full = FilterSet().changed(filters("a", 20)).changed(filters("b", 12))
        self.assertRaises(FilterError, full.changed, filters("c", 1))
        self.assertEqual(full.changed(filters("b", 12)), full)

    def test_hostile(self) -> None:
        """Bombs, depth and size are refused at once (FLT-27)."""
        bomb = "".join(f'<!ENTITY e{n + 1} "{f"&e{n};" * 10}">' for n in range(9))
        include = "<what><include>%s</include></what>"
        for body in (
            f'<!DOCTYPE x [<!ENTITY e0 "x">{bomb}]>'.encode()
            + wrap(f'<filter id="&e9;">{INCLUDE}</filter>').split(b"\n", 1)[1],
            b'<!DOCTYPE x SYSTEM "http://example.com/x">' + wrap(place("f")).split(b"\n", 1)[1],
            wrap("<x>" * 5000),
            wrap('<filter enabled="x" remove="y" q="1" r="2"/>' * 900),
            wrap(place("f", "", f'{INCLUDE}<x:y xmlns:x="urn:x">{"<a>" * 70}{"</a>" * 70}</x:y>')),
            wrap(place("f") * 900),
            wrap(
                place("f"),
                bound=bindings(**{f"p{n}": "urn:x" for n in range(65)}),
            ),
            wrap(place("f"), bound=bindings(a="urn:" + "x" * 2000)),
            wrap(f'<filter id="{"f" * 2000}">{INCLUDE}</filter>'),
            wrap(f'<filter id="f" uri="sip:{"f" * 2000}">{INCLUDE}</filter>'),
            wrap(
                '<filter id="f"><trigger><changed from="%s">//x</changed></trigger></filter>'
                % ("f" * 2000)
            ),
            wrap(
                '<filter id="f"><trigger><changed by="%s">//x</changed></trigger></filter>'
                % ("1" * 2000)
            ),
            wrap(place("f")) + b" " * LIMIT,
            wrap(f'<filter id="f">{include % ("//a[b[" * 150)}</filter>'),
            wrap(f'<filter id="f">{include % ("(" * 1000)}</filter>'),
            wrap(place("f", " ".join(f'x{n}="1"' for n in range(500)))),
        ):
            self.refused(body)
        read_filters(wrap(f'<filter id="f">{include % ("//*" * 340)}</filter>'), "presence")
