"""Documents with own lists and services: read and edited."""

from __future__ import annotations

from lxml import etree
from twisted.trial.unittest import SynchronousTestCase

from presence.rls.listedit import (
    NO_SERVICES,
    NoListError,
    add_members,
    put_list,
    remove_list,
    remove_members,
    remove_services,
    service_element,
)
from presence.rls.ownlists import (
    Elsewhere,
    Entry,
    OwnList,
    list_uri,
    read_lists,
    read_services,
)
from xcap.usage.names import RESOURCE_LISTS, RLS_SERVICES
from xcap.validate import validate

ROOT = "https://xcap.example.com/"
ALICE, BOB, CAROL, DAVE = (f"sip:{n}@example.com" for n in ("alice", "bob", "carol", "dave"))
ELSEWHERE = f"resource-lists/users/{ALICE}/index/~~/resource-lists/list%5b1%5d/entry%5b1%5d"
DOCUMENT = f"""<?xml version="1.0" encoding="UTF-8"?>
<!-- mine -->
<rl:resource-lists xmlns:rl="{RESOURCE_LISTS}" xmlns:x="urn:example:x">
  <rl:list name="friends">
    <rl:display-name xml:lang="en">My friends</rl:display-name>
    <rl:entry uri="sip:bob@EXAMPLE.com" x:seen="1"><x:note>kept</x:note></rl:entry>
    <rl:entry-ref ref="{ELSEWHERE}"/>
    <rl:list name="close">
      <rl:entry uri="{CAROL}"><rl:display-name>C</rl:display-name></rl:entry>
    </rl:list>
    <rl:external anchor="{ROOT}resource-lists/users/{BOB}/index/~~/resource-lists/list%5b1%5d"/>
    <x:color>blue</x:color>
  </rl:list>
</rl:resource-lists>
""".encode()


def service(uri: str, content: str, packages: str = "") -> str:
    """A service element."""
    return f'<service uri="{uri}">{content}{packages}</service>'


def services(*elements: str) -> bytes:
    """A document of services."""
    return (
        f'<rls-services xmlns="{RLS_SERVICES}" xmlns:rl="{RESOURCE_LISTS}">'
        f"{''.join(elements)}</rls-services>"
    ).encode()


class ListTests(SynchronousTestCase):
    """Lists."""

    def members(self, document: bytes, name: str = "friends") -> list[str]:
        """URIs of the entries of a list, of a document that a server takes."""
        validate("resource-lists", etree.fromstring(document))
        (found,) = (one for one in read_lists(document) if one.name == name)
        return [item.uri for item in found.items if isinstance(item, Entry)]

    def test_read(self) -> None:
        """Everything that a list may hold, with canonical URIs (XDM-33)."""
        (friends,) = read_lists(DOCUMENT)
        self.assertEqual((friends.name, friends.title), ("friends", "My friends"))
        entry, reference, inner, external = friends.items
        self.assertEqual(entry, Entry(BOB))
        self.assertEqual(inner, OwnList("close", "", (Entry(CAROL, "C"),)))
        kinds = [one.kind for one in (reference, external) if isinstance(one, Elsewhere)]
        self.assertEqual(kinds, ["entry-ref", "external"])
        self.assertEqual(read_lists(b""), ())
        for bad in (b"<", b"<a/>", services()):
            self.assertRaises(ValueError, read_lists, bad)

    def test_new(self) -> None:
        """A document, a list and members, where there are none."""
        made = put_list(b"", "a & b", "Title")
        made, done, left = add_members(made, "a & b", [Entry(BOB), Entry(CAROL, "C <&>")])
        self.assertEqual((done, left), ((Entry(BOB), Entry(CAROL, "C <&>")), ()))
        self.assertEqual(self.members(made, "a & b"), [BOB, CAROL])
        (found,) = read_lists(made)
        self.assertEqual(found, OwnList("a & b", "Title", (Entry(BOB), Entry(CAROL, "C <&>"))))
        self.assertEqual(len(made.splitlines()), 8, made)
        self.assertEqual(put_list(made, "a & b"), made)
        self.assertEqual(put_list(made, "a & b", "Title"), made)
        self.assertEqual(read_lists(put_list(made, "a & b", "New"))[0].title, "New")
        self.assertEqual(len(read_lists(put_list(made, "other"))), 2)

    def test_add(self) -> None:
        """What others have written stays; a member in another spelling is the same one."""
        same, done, left = add_members(DOCUMENT, "friends", [Entry(BOB)])
        self.assertEqual((same, done, left), (DOCUMENT, (), (Entry(BOB),)))
        made, done, left = add_members(DOCUMENT, "friends", [Entry(BOB, "Bob"), Entry(DAVE)])
        self.assertEqual((done, left), ((Entry(BOB, "Bob"), Entry(DAVE)), ()))
        self.assertEqual(self.members(made), [BOB, DAVE])
        for kept in (b"<!-- mine -->", b'x:seen="1"', b"<x:note>kept", b"blue", b"entry-ref"):
            self.assertIn(kept, made)
        added = f'\n    <rl:entry uri="{DAVE}"/>\n    <x:color>'.encode()
        self.assertIn(added, made, "before what the schema wants last")
        self.assertRaises(NoListError, add_members, DOCUMENT, "none", [Entry(BOB)])
        self.assertRaises(NoListError, add_members, b"", "friends", [Entry(BOB)])

    def test_remove(self) -> None:
        """Removing is the inverse of adding; lists in the list are not looked into."""
        made = add_members(put_list(b"", "x"), "x", [Entry(BOB), Entry(CAROL)])[0]
        both = add_members(made, "x", [Entry(DAVE)])[0]
        self.assertEqual(remove_members(both, "x", [DAVE])[0], made)
        after, done, left = remove_members(DOCUMENT, "friends", [BOB, CAROL, DAVE])
        self.assertEqual((done, left), ((BOB,), (CAROL, DAVE)))
        self.assertEqual(self.members(after), [])
        self.assertIn(CAROL.encode(), after)
        self.assertEqual(remove_members(DOCUMENT, "friends", [DAVE])[0], DOCUMENT)
        self.assertEqual(read_lists(remove_list(DOCUMENT, "friends")), ())
        self.assertIn(b"<!-- mine -->", remove_list(DOCUMENT, "friends"))
        self.assertRaises(NoListError, remove_list, DOCUMENT, "none")

    def test_uri(self) -> None:
        """XDM-43: absolute, percent-encoded."""
        self.assertEqual(
            list_uri(ROOT, ALICE, 'a/"b" é'),
            f"{ROOT}resource-lists/users/{ALICE}/index/~~/resource-lists/"
            "list%5b@name=%22a%2F&quot;b&quot;%20%C3%A9%22%5d",
        )


class ServiceTests(SynchronousTestCase):
    """Services."""

    def test_read(self) -> None:
        """For which list each is, and for which packages (XDM-40 to XDM-43)."""
        bobs = list_uri(ROOT, BOB, "friends")
        own = list_uri(ROOT, ALICE, 'a/&"').replace("&", "&amp;")
        document = services(
            service(
                "sip:a@example.com",
                f"<resource-list>\n {own}\n</resource-list>",
                "<packages><package> presence </package></packages>",
            ),
            service("sip:b@example.com", f"<resource-list>{bobs}</resource-list>"),
            service(
                "sip:c@example.com",
                f'<list><rl:entry uri="{BOB}"/></list>',
                "<packages><package>dialog</package></packages>",
            ),
            service("sip:d@example.com", "<resource-list>nonsense</resource-list>"),
        )
        one, two, three, four = read_services(document, ROOT, ALICE)
        self.assertEqual((one.list, one.packages, one.elsewhere), ('a/&"', ("presence",), ""))
        self.assertEqual((two.list, two.packages, two.elsewhere), (None, None, bobs))
        self.assertEqual(three.inline, OwnList("", "", (Entry(BOB),)))
        self.assertEqual(four.elsewhere, "nonsense")
        self.assertEqual(
            [s.serves_presence for s in (one, two, three, four)], [True, True, False, True]
        )
        self.assertTrue(one.is_at("sip:a@EXAMPLE.com;transport=tcp"))
        self.assertFalse(one.is_at("sip:a@example.com;pres-list=x"))
        self.assertEqual(read_services(b"", ROOT, ALICE), ())
        self.assertRaises(ValueError, read_services, DOCUMENT, ROOT, ALICE)

    def test_write(self) -> None:
        """A new service is valid, and read as it was meant; it goes without a trace."""
        element = service_element("sip:a@example.com;x=1", list_uri(ROOT, ALICE, "a&b")).decode()
        document = NO_SERVICES.decode().replace("</rls", f"  {element}\n</rls").encode()
        validate("rls-services", etree.fromstring(document))
        (found,) = read_services(document, ROOT, ALICE)
        self.assertEqual(
            (found.uri, found.list, found.packages), ("sip:a@example.com;x=1", "a&b", ("presence",))
        )
        self.assertEqual(remove_services(document, [found.uri]), NO_SERVICES)
        self.assertEqual(remove_services(document, ["sip:b@example.com"]), document)
        self.assertEqual(remove_services(b"", ["sip:b@example.com"]), b"")
