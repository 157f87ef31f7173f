"""Every kind of conflict that XCAP reports, over HTTPS: what is taken, what refused (XCAP 9)."""

from __future__ import annotations

from xml.etree import ElementTree

from tests.e2e.phone import aor
from tests.e2e.test_xdm_status import BOB, CAROL, ENTRY, HOME, INDEX, StatusTestCase
from tests.e2e.xdm import (
    DOCUMENT,
    ELEMENT,
    ERROR_SPACE,
    FRIENDS,
    LISTS,
    LISTS_TYPE,
    entry_step,
    index,
)

SERVICES = index("alice", "rls-services")


class Conditions(StatusTestCase):
    """Section 11: the table of conditions."""

    def test_table(self) -> None:
        """Every cell of the table (XCAP-153 to XCAP-157)."""
        absent, present = f"{HOME}/absent", INDEX
        there, new = f"/~~/resource-lists/list[1]{entry_step(BOB)}", f"{FRIENDS}{entry_step(CAROL)}"
        bob = f'<entry uri="{BOB}"/>'.encode()
        current, other = f'"{self.tag}"', '"other"'
        go = 0
        rows: tuple[tuple[str, str, bytes | None, str, str, int, int], ...] = (
            ("PUT", "", DOCUMENT, "if_match", "current", 412, go),
            ("PUT", "", DOCUMENT, "if_match", other, 412, 412),
            ("PUT", "", DOCUMENT, "if_match", "W/current", 412, 412),
            ("PUT", "", DOCUMENT, "if_match", f"{other}, current", 412, go),
            ("PUT", "", DOCUMENT, "if_match", "*", 412, go),
            ("PUT", "", DOCUMENT, "if_none_match", "*", go, 412),
            ("PUT", "", DOCUMENT, "if_none_match", "current", go, 412),
            ("PUT", "", DOCUMENT, "if_none_match", "W/current", go, 412),
            ("PUT", "", DOCUMENT, "if_none_match", other, go, go),
            ("PUT", there, bob, "if_match", "current", 409, go),
            ("PUT", there, bob, "if_match", other, 409, 412),
            ("PUT", there, bob, "if_none_match", "*", 409, 412),
            ("PUT", new, ENTRY, "if_match", "current", 409, go),
            ("PUT", new, ENTRY, "if_match", other, 409, 412),
            ("PUT", new, ENTRY, "if_none_match", "*", 409, 412),
            ("PUT", f"{FRIENDS}/@name", b'"friends"', "if_match", other, 409, 412),
            ("PUT", f"{FRIENDS}/@name", b'"friends"', "if_match", "current", 409, go),
            ("GET", "", None, "if_none_match", "current", 404, 304),
            ("GET", "", None, "if_none_match", "W/current", 404, 304),
            ("GET", "", None, "if_none_match", "*", 404, 304),
            ("GET", "", None, "if_none_match", other, 404, go),
            ("GET", there, None, "if_none_match", "current", 404, 304),
            ("GET", "", None, "if_match", "current", 404, go),
            ("GET", "", None, "if_match", other, 404, 412),
            ("GET", "", None, "if_modified_since", "Fri, 31 Dec 2100 00:00:00 GMT", 404, 304),
            ("GET", "", None, "if_modified_since", "no date", 404, go),
            ("PUT", "", DOCUMENT, "if_unmodified_since", "Sat, 01 Jan 2000 00:00:00 GMT", go, 412),
            ("DELETE", "", None, "if_match", "current", 404, go),
            ("DELETE", "", None, "if_match", other, 404, 412),
            ("DELETE", there, None, "if_match", "current", 404, go),
            ("DELETE", there, None, "if_match", other, 404, 412),
            ("DELETE", "", None, "if_none_match", "*", 404, 412),
        )
        for method, node, body, name, value, without, with_it in rows:
            current = f'"{self.tag}"'
            fields: dict[str, str | None] = {name: value.replace("current", current)}
            answer = self.client.ask(method, absent + node, body, **fields)
            what = (method, node, fields)
            self.assertEqual(answer.status, without or 201, what)
            if without == 409:
                self.assertEqual(answer.conflict, "no-parent", what)
            if without == go:
                self.assertEqual(self.client.delete(absent).status, 200)
            if with_it == go:
                created = node == new and method == "PUT"
                self.accepted(201 if created else 200, method, present + node, body, fields)
            else:
                answer = self.refused(with_it, method, present + node, body, fields)
                self.assertEqual(answer.etag, self.tag)
                self.assertNotIn("xcap-error", answer["content-type"])


class Conflicts(StatusTestCase):
    """Section 9: each kind of conflict, and what is not one."""

    def conflict(
        self,
        kind: str,
        method: str,
        target: str,
        body: bytes | None = None,
        content_type: str = "",
    ) -> ElementTree.Element:
        """Make a request that is refused with a report; what it says."""
        fields: dict[str, str | None] = {"content_type": content_type} if content_type else {}
        answer = self.refused(409, method, target, body, fields)
        self.assertEqual(answer.conflict, kind, (method, target, body, answer.body))
        self.assertEqual(answer["cache-control"], "no-store")
        error = ElementTree.fromstring(answer.body)[0]
        self.assertTrue(error.get("phrase"), answer.body)
        return error

    def test_syntax(self) -> None:
        """Bodies that are not what they should be (XCAP-81 to XCAP-87, XCAP-161, XCAP-163)."""
        lists = f'<resource-lists xmlns="{LISTS}"'
        node, attribute = f"{INDEX}{FRIENDS}{entry_step(CAROL)}", f"{INDEX}{FRIENDS}/@name"
        for kind, body in (
            ("not-well-formed", b""),
            ("not-well-formed", b"text"),
            ("not-well-formed", f"{lists}>".encode()),
            ("not-well-formed", f"{lists}/>{lists}/>".encode()),
            ("not-well-formed", f"{lists}>&unknown;</resource-lists>".encode()),
            ("not-well-formed", f"{lists}><p:list/></resource-lists>".encode()),
            ("not-well-formed", f'<?xml version="1.1"?>{lists}/>'.encode()),
            ("not-utf-8", f'<?xml version="1.0" encoding="ISO-8859-1"?>{lists}/>'.encode()),
            ("not-utf-8", f"{lists}/>".encode("utf-16")),
            ("not-utf-8", f"{lists}><!-- \xe9 --></resource-lists>".encode("latin-1")),
            ("constraint-failure", f"<!DOCTYPE resource-lists>{lists}/>".encode()),
        ):
            self.conflict(kind, "PUT", INDEX, body)
        self.conflict("not-utf-8", "PUT", INDEX, DOCUMENT, f"{LISTS_TYPE};charset=latin-1")
        for body in (f"{lists}/>".encode(), f"\ufeff{lists}/>".encode(), DOCUMENT):
            self.accepted(200, "PUT", INDEX, body)
        for kind, body in (
            ("not-xml-frag", b""),
            ("not-xml-frag", b"text"),
            ("not-xml-frag", ENTRY + ENTRY),
            ("not-xml-frag", ENTRY + b"x"),
            ("not-xml-frag", b"<!-- c -->" + ENTRY),
            ("not-xml-frag", b'<?xml version="1.0"?>' + ENTRY),
            ("not-xml-frag", b"</list><list>"),
            ("not-xml-frag", ENTRY[:-2] + b">"),
            ("not-xml-frag", ENTRY.replace(b"<entry", b"<p:entry")),
            ("not-xml-frag", b"<!DOCTYPE entry>" + ENTRY),
            ("not-xml-frag", ENTRY.replace(b"carol", b"&carol;")),
            ("not-utf-8", ENTRY.replace(b"/>", b"> \xe9</entry>")),
        ):
            self.conflict(kind, "PUT", node, body)
        self.conflict("not-utf-8", "PUT", node, ENTRY, f"{ELEMENT}; charset=utf-16")
        self.accepted(201, "PUT", node, b" \n" + ENTRY + b"\n")
        self.accepted(201, "PUT", node, ENTRY.replace(b"/>", f' xmlns="{LISTS}"/>'.encode()))
        for kind, body in (
            ("not-xml-att-value", b""),
            ("not-xml-att-value", b'"a<b"'),
            ("not-xml-att-value", b'"a&b"'),
            ("not-xml-att-value", b'"&b;"'),
            ("not-xml-att-value", b'"a"b"'),
            ("not-xml-att-value", b'"a'),
            ("not-utf-8", b'"\xe9"'),
        ):
            self.conflict(kind, "PUT", attribute, body)
        for body in (b'"friends"', b"'friends'", b' "friends" ', b"friends", b'"&#102;riends"'):
            self.accepted(200, "PUT", attribute, body)

    def test_no_parent(self) -> None:
        """There is no parent; the report names the nearest ancestor (XCAP-71 to XCAP-73)."""
        for target, ancestor in (
            (f"{HOME}/absent{FRIENDS}{entry_step(CAROL)}", ""),
            (f"{HOME}/dir/index", ""),
            (f"{INDEX}/~~/no/entry", f"{INDEX}"),
            (f"{INDEX}/~~/resource-lists/no/entry", f"{INDEX}/~~/resource-lists"),
            (f"{INDEX}/~~/resource-lists/list/no/entry", f"{INDEX}/~~/resource-lists/list"),
            (
                f"{INDEX}/~~/resource-lists/list/entry/display-name",
                f"{INDEX}/~~/resource-lists/list",
            ),
            (f"{INDEX}/~~/resource-lists/list[2]/@name", f"{INDEX}/~~/resource-lists"),
        ):
            body = DOCUMENT if target.endswith("index") else ENTRY
            error = self.conflict("no-parent", "PUT", target, body)
            if ancestor:
                found = error.findtext(f"{ERROR_SPACE}ancestor")
                self.assertEqual(found, self.xdm.root + ancestor[1:])
        self.accepted(201, "PUT", f"{INDEX}{FRIENDS}{entry_step(CAROL)}", ENTRY)
        error = self.conflict(
            "no-parent", "PUT", f"{INDEX}/~~/r:resource-lists/r:no/r:no?xmlns(r={LISTS})", ENTRY
        )
        found = error.findtext(f"{ERROR_SPACE}ancestor")
        self.assertEqual(found, f"{self.xdm.root}{INDEX[1:]}/~~/r:resource-lists?xmlns(r={LISTS})")

    def test_cannot_insert(self) -> None:
        """What a later GET would not find is not put in (XCAP-74, XCAP-90 to XCAP-98, XCAP-108)."""
        in_list = f"{INDEX}{FRIENDS}"
        carol = f"[@uri=%22{CAROL}%22]"
        for target, body in (
            (f"{in_list}/entry", ENTRY),
            (f"{in_list}/entry[9]", ENTRY),
            (f"{in_list}/*[9]{carol}", ENTRY),
            (f"{in_list}/entry[0]", ENTRY),
            (f"{in_list}/entry[1]{carol}", b'<entry uri="sip:dave@example.com"/>'),
            (f"{in_list}{entry_step(BOB)}", ENTRY),
            (f"{in_list}/list[@name=%22x%22]", ENTRY),
            (f"{INDEX}/~~/list", b"<list/>"),
            (f"{in_list}{entry_step(BOB)}/@uri", f'"{CAROL}"'.encode()),
            (f"{in_list}/@xmlns", b'"urn:x"'),
            (f"{in_list}/@p:x?xmlns(p=urn:x)", b'"x"'),
        ):
            self.conflict("cannot-insert", "PUT", target, body)
        for target, octets in (
            (f"{in_list}{entry_step(CAROL)}", b'<entry uri="sip:ann@example.com"/>' + ENTRY),
            (f"{in_list}/entry[3]{carol}", b'<entry uri="sip:ann@example.com"/>' + ENTRY),
            (f"{in_list}/entry[2]{carol}", b"</display-name></entry>" + ENTRY),
            (f"{in_list}/entry[1]{carol}", ENTRY + b"<entry uri='sip:bob@example.com'>"),
            (f"{in_list}/*[1]{carol}", ENTRY + b"<entry uri='sip:bob@example.com'>"),
        ):
            self.assertEqual(self.client.put(target, ENTRY).status, 201, target)
            self.assertIn(octets, self.client.octets(INDEX))
            self.assertEqual(self.client.delete(target).status, 200, target)
            self.assertEqual(self.client.octets(INDEX), DOCUMENT)  # XCAP-100
        self.reset()
        self.accepted(200, "PUT", f"{in_list}/entry[2]", ENTRY)
        self.accepted(200, "PUT", f"{in_list}/entry[2]/@uri", f'"{CAROL}"'.encode())

    def test_cannot_delete(self) -> None:
        """Nothing is deleted whose URI would then mean something else (XCAP-121, XCAP-122)."""
        self.conflict("cannot-delete", "DELETE", f"{INDEX}{FRIENDS}/entry[1]")
        self.conflict("cannot-delete", "DELETE", f"{INDEX}{FRIENDS}/*[1]")
        answer = self.accepted(200, "DELETE", f"{INDEX}{FRIENDS}/entry[2]")
        self.assertNotEqual(answer.etag, self.tag)  # XCAP-125
        self.accepted(200, "DELETE", f"{INDEX}{FRIENDS}{entry_step(BOB)}")
        self.accepted(200, "DELETE", f"{INDEX}{FRIENDS}")

    def test_schema(self) -> None:
        """The result has to be valid, after DELETE too (XCAP-123, XCAP-124, XCAP-140)."""
        lists = f'<resource-lists xmlns="{LISTS}">'
        for method, target, body in (
            ("PUT", INDEX, f"{lists}<no/></resource-lists>".encode()),
            ("PUT", INDEX, f"{lists}<list no=''/></resource-lists>".encode()),
            ("PUT", INDEX, f'<list xmlns="{LISTS}"/>'.encode()),
            ("PUT", INDEX, b"<resource-lists/>"),
            ("PUT", f"{INDEX}{FRIENDS}/no", b"<no/>"),
            ("PUT", f"{INDEX}{FRIENDS}/@no", b'"x"'),
            ("DELETE", f"{INDEX}{FRIENDS}/entry[2]/@uri", None),
            ("DELETE", f"{INDEX}/~~/resource-lists", None),
        ):
            self.conflict("schema-validation-error", method, target, body)
        foreign = f'{lists}<list><x xmlns="urn:x"><y/></x></list></resource-lists>'
        self.accepted(200, "PUT", INDEX, foreign.encode())
        self.accepted(200, "DELETE", f"{INDEX}{FRIENDS}/@name")

    def services(self, user: str, name: str) -> bytes:
        """A document with one service of a name."""
        return (
            '<rls-services xmlns="urn:ietf:params:xml:ns:rls-services">'
            f'<service uri="sip:{name}@example.com"><resource-list>'
            f"{self.xdm.root}{index(user)[1:]}{FRIENDS}</resource-list>"
            "<packages><package>presence</package></packages></service></rls-services>"
        ).encode()

    def test_uniqueness(self) -> None:
        """A name that somebody has is refused with others that are free (XCAP-133, XCAP-134)."""
        taken = self.services("alice", "friends")
        self.client.store(SERVICES, taken)
        bob, target = self.xdm.client("bob"), index("bob", "rls-services")
        answer = bob.put(target, self.services("bob", "friends"))
        self.assertEqual(answer.conflict, "uniqueness-failure", answer.body)
        (exists,) = ElementTree.fromstring(answer.body)[0].iter(f"{ERROR_SPACE}exists")
        self.assertIn("rls-services/service", exists.get("field", ""))
        self.assertEqual(bob.get(target).status, 404)
        free = [each.text or "" for each in exists.iter(f"{ERROR_SPACE}alt-value")]
        self.assertTrue(1 <= len(free) <= 5, free)
        name = free[0].removeprefix("sip:").partition("@")[0]
        self.assertEqual(bob.put(target, self.services("bob", name)).status, 201)
        self.assertEqual(self.client.octets(SERVICES), taken)
        # who gives a name up makes it free
        self.assertEqual(self.client.delete(SERVICES).status, 200)
        self.assertEqual(bob.put(target, self.services("bob", "friends")).status, 200)
        # within one document
        twice = f"{INDEX}/~~/resource-lists/list[2][@name=%22friends%22]"
        self.conflict("uniqueness-failure", "PUT", twice, b'<list name="friends"/>')
        self.accepted(201, "PUT", twice.replace("friends", "x"), b'<list name="x"/>')

    def test_constraints(self) -> None:
        """Rules of the usage beyond its schema (XCAP-143, XDM-08)."""
        for place, bad, good in (
            ("entry-ref", "/other", f"resource-lists/users/{aor('alice')}/index/~~/*"),
            ("external", "other", f"{self.xdm.root}{INDEX[1:]}/~~/resource-lists/list"),
        ):
            name = "ref" if place == "entry-ref" else "anchor"
            target = f"{INDEX}{FRIENDS}/{place}"
            self.conflict(
                "constraint-failure", "PUT", target, f'<{place} {name}="{bad}"/>'.encode()
            )
            self.accepted(201, "PUT", target, f'<{place} {name}="{good}"/>'.encode())
        groups = index("alice", "org.openmobilealliance.group-usage-list")
        for lists in ("<list/>", '<list name="a"><entry-ref ref="a"/></list>'):
            body = f'<resource-lists xmlns="{LISTS}">{lists}</resource-lists>'.encode()
            self.conflict("constraint-failure", "PUT", groups, body)
        self.accepted(201, "PUT", groups, body.replace(b"entry-ref ref", b"entry uri"))
        deep = b"<list>" * 64 + b"</list>" * 64
        self.conflict("constraint-failure", "PUT", f"{INDEX}{FRIENDS}/list", deep)
        most = "".join(f'<entry uri="sip:{n}@x"/>' for n in range(501)).encode()
        self.conflict(
            "constraint-failure", "PUT", f"{INDEX}{FRIENDS}/list", b"<list>" + most + b"</list>"
        )
