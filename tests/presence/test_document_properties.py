"""What leaves the server, made of random publications: composed, and seen by rules.

All that the schemas of RFC 3863, 4479, 4480, 4481, 4482, 5196, 4119 and of OMA know may stand
in a publication, and what they do not know.
"""

from __future__ import annotations

from itertools import chain as joined
from itertools import count

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lxml import etree
from twisted.trial.unittest import SynchronousTestCase

from presence.compose.newest import NewestComposition
from presence.compose.oma import OmaComposition
from presence.compose.priority import OTHERS, PERMANENT, PRESENTITY, PriorityComposition
from presence.compose.timed import remaining
from presence.compose.union import UnionComposition
from presence.pidf import names
from presence.pidf.instant import instant
from presence.pidf.parse import parse_compact
from presence.rules.permissions import ATTRIBUTES, EVERYTHING, Permissions, UserInput
from presence.rules.polite import polite_document
from presence.rules.transform import transform
from pysip.event.records import PublicationRecord
from tests.presence.compositions import Policy, permanent, publication
from tests.presence.documents import BOB, document, strict

NOW = instant("2026-01-05T12:00:00Z") or 0.0
BEFORE, AFTER = "2026-01-05T11:59:59+00:00", "2026-01-05T07:00:01-05:00"
NAMESPACES = (
    ' xmlns:ts="urn:ietf:params:xml:ns:pidf:timed-status"'
    ' xmlns:ci="urn:ietf:params:xml:ns:pidf:cipid"'
    ' xmlns:caps="urn:ietf:params:xml:ns:pidf:caps"'
    ' xmlns:gp="urn:ietf:params:xml:ns:pidf:geopriv10"'
    ' xmlns:gbp="urn:ietf:params:xml:ns:pidf:geopriv10:basicPolicy"'
    ' xmlns:pde="urn:oma:xml:pde:pidf:ext"'
    ' xmlns:p="urn:ietf:params:xml:ns:pidf"'
    ' xmlns:i="http://www.w3.org/2001/XMLSchema-instance"'
)


def geopriv(expiry: str) -> str:
    """A location, in a place that nobody else has."""
    given = f"<gbp:retention-expiry>{expiry}</gbp:retention-expiry>" if expiry else ""
    return (
        "<gp:geopriv><gp:location-info><x:place>{n}</x:place></gp:location-info>"
        f"<gp:usage-rules>{given}</gp:usage-rules></gp:geopriv>"
    )


LOCATIONS = tuple(geopriv(expiry) for expiry in (BEFORE, AFTER, ""))
KEPT = (
    "<x:text>{n}</x:text>",
    "<x:k{n}/>",
    '<x:k{n} i:type="p:note" xml:lang="en">words</x:k{n}>',
    '<x:k{n}><x:inner p:mustUnderstand="true" xml:id="n{k}"/>text<x:more/></x:k{n}>',
    '<x:k{n}><p:tuple id="n{k}"><p:status/></p:tuple></x:k{n}>',
    '<k{n} xmlns="urn:example:extension" xmlns:w="urn:ietf:params:xml:ns:pidf" i:type="w:note"/>',
    "<x:k{n}><m1:a m2:b=''/><m29:a/></x:k{n}>",
)
ANYWHERE = (
    *KEPT,
    *LOCATIONS,
    "<r:class>forFriends</r:class>",
    '<r:user-input id="n{k}" last-input="2026-01-05T10:00:00Z">idle</r:user-input>',
    *(f'<r:mood id="n{{k}}" until="{until}"><r:sad/></r:mood>' for until in (BEFORE, AFTER)),
    *(f"<r:mood><r:note>n</r:note>{place}</r:mood>" for place in LOCATIONS),
    f"<r:activities><r:away/>{LOCATIONS[0]}</r:activities>",
    f"<r:relationship>{LOCATIONS[0]}</r:relationship>",
    "<r:place-type><x:attic>{n}</x:attic></r:place-type>",
    f"<r:place-is until='{BEFORE}'><r:audio><r:ok/></r:audio></r:place-is>",
    "<r:privacy><r:audio/></r:privacy>",
    f"<op:willingness pde:until='{BEFORE}'><op:basic>open</op:basic></op:willingness>",
    f"<op:overriding-willingness pde:until='{AFTER}'/>",
    "<op:network-availability><op:network id='IMS'><op:active/><pde:home/></op:network>"
    "</op:network-availability>",
    "<op:registration-state>active</op:registration-state>",
    "<ci:display-name xml:lang='de'>{n}</ci:display-name>",
    "<ci:icon>https://{n}</ci:icon>",
    "<caps:servcaps><caps:audio>true</caps:audio><x:more/></caps:servcaps>",
    "<caps:devcaps><caps:description>{n}</caps:description></caps:devcaps>",
    *(
        f"<ts:timed-status from='{start}' until='{end}'><ts:note>{{n}}</ts:note>{inner}"
        "</ts:timed-status>"
        for start, end, inner in (
            (BEFORE, AFTER, ""),
            (AFTER, "2030-01-01T00:00:00Z", LOCATIONS[0]),
            ("2025-01-01T00:00:00", BEFORE, LOCATIONS[2]),
        )
    ),
    "<r:status-icon>cid:{n}</r:status-icon>",
)
SERVICES = (
    "",
    "<op:service-description><op:service-id>org:IM</op:service-id><op:version>1</op:version>"
    "</op:service-description>",
    "<op:service-description><op:service-id> org:IM </op:service-id><op:version>1</op:version>"
    "<op:description>{n}</op:description></op:service-description>",
)
STATUS = ("<x:k{n}/>", "<x:text>{n}</x:text>", *LOCATIONS, "<r:mood><r:sad/></r:mood>")
CONTACTS = (
    "",
    "<contact priority='0.5'>sip:bob@home.example</contact>",
    "<contact>sip:bob@home.example;gr=1</contact>",
    "<contact priority='1'>tel:+1</contact>",
)
NOTES = ("<note>{n}</note>", "<note xml:lang='en'>n</note>")
ENDS = (
    "",
    "".join(NOTES),
    "<note>n</note><timestamp>2026-01-05T10:00:00Z</timestamp>",
    "<timestamp>2026-01-04T11:00:00</timestamp>",
)
DM_ENDS = tuple(end.replace("<", "<dm:").replace("<dm:/", "</dm:") for end in ENDS)
ROOT = (*KEPT, "<r:mood><r:sad/></r:mood>", LOCATIONS[0], "<x:same/>")


Pieces = tuple[str, ...]


def some(values: Pieces, most: int) -> st.SearchStrategy[Pieces]:
    """Some of these, one after the other."""
    return st.lists(st.sampled_from(values), max_size=most).map(tuple)


def chain(*parts: str | Pieces | st.SearchStrategy[Pieces]) -> st.SearchStrategy[Pieces]:
    """Parts one after the other: a text, one of some texts, or what is drawn."""
    drawn = [
        st.just((part,))
        if isinstance(part, str)
        else st.sampled_from(part).map(lambda text: (text,))
        if isinstance(part, tuple)
        else part
        for part in parts
    ]
    return st.tuples(*drawn).map(lambda found: tuple(joined.from_iterable(found)))


def several(component: st.SearchStrategy[Pieces], most: int) -> st.SearchStrategy[Pieces]:
    """Some components, one after the other."""
    return st.lists(component, max_size=most).map(lambda found: tuple(joined.from_iterable(found)))


TUPLES = chain(
    "<tuple id='c{k}' xmlns:s='http://www.w3.org/2001/XMLSchema'><status>",
    ("", "<basic>open</basic>", "<basic>closed</basic>"),
    some(STATUS, 1),
    "</status>",
    SERVICES,
    some((*ANYWHERE, "<dm:deviceID>mac:1</dm:deviceID>", "<x:k{n} i:type='s:token'/>"), 3),
    CONTACTS,
    ENDS,
    "</tuple>",
)
PERSONS = chain("<dm:person id='c{k}'>", some(ANYWHERE, 3), DM_ENDS, "</dm:person>")
DEVICES = chain(
    "<dm:device id='c{k}'>",
    some(ANYWHERE, 3),
    (
        "<dm:deviceID>mac:1</dm:deviceID>",
        "<dm:deviceID>MAC:1</dm:deviceID>",
        "<dm:deviceID>urn:uuid:2</dm:deviceID>",
    ),
    DM_ENDS,
    "</dm:device>",
)
#: content, age in seconds, and whether other prefixes are used
Drawn = tuple[Pieces, int, bool]
INNER = chain(several(TUPLES, 2), some(NOTES, 1), several(PERSONS | DEVICES, 3), some(ROOT, 1))
SOURCES = st.lists(st.tuples(INNER, st.integers(0, 90_000), st.booleans()), min_size=1, max_size=3)
NAMED = st.frozensets(st.sampled_from([("class", "forFriends"), ("occurrence-id", "c1")]))
MEMBERS = st.just(EVERYTHING) | NAMED
PERMISSIONS = st.builds(
    Permissions,
    services=MEMBERS,
    persons=MEMBERS,
    devices=MEMBERS,
    attributes=st.frozensets(st.sampled_from(sorted(ATTRIBUTES))),
    user_input=st.sampled_from(UserInput),
    unknown=st.frozensets(st.sampled_from(["{urn:example:extension}text"])),
    all_attributes=st.sampled_from([False, False, True]),
)
_X = "{urn:example:extension}"


def bodies(drawn: list[Drawn]) -> list[bytes]:
    """Documents whose numbers are of their own, and whose ids are not."""
    numbers = count(70000)
    found = []
    for pieces, _, other_words in drawn:
        ids = count(1)
        text = "".join(piece.format(n=next(numbers), k=next(ids)) for piece in pieces)
        # together more namespaces than a document of a stranger may have
        many = "".join(f' xmlns:m{j}="urn:many:{len(found)}:{j}"' for j in range(90))
        body = document(text, NAMESPACES + many)
        if other_words:
            for prefix, other in ((b"x", b"q"), (b"r", b"x")):
                for mark in (b"<%b:", b"</%b:", b" xmlns:%b="):
                    body = body.replace(mark % prefix, mark % other)
        assert strict(body) is body
        found.append(body)
    return found


def records(drawn: list[Drawn], hard: bool) -> list[PublicationRecord]:
    """The publications at :data:`NOW`, the first as permanent document if that is asked for."""
    made = []
    for number, (body, (_, age, _)) in enumerate(zip(bodies(drawn), drawn, strict=True)):
        body = remaining(body, NOW, NOW - age)
        made.append(
            permanent(body, NOW - age)
            if hard and not number
            else publication(number + 1, body, NOW - age)
        )
    return made


POLICIES: tuple[Policy, ...] = (
    OmaComposition(),
    UnionComposition(),
    NewestComposition(),
    PriorityComposition([PERMANENT, OTHERS, PRESENTITY]),
)


class LeavingTests(SynchronousTestCase):
    """Every document that a watcher gets."""

    @given(SOURCES, st.booleans(), PERMISSIONS)
    @settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    def test_valid(self, drawn: list[Drawn], hard: bool, given: Permissions) -> None:
        """DMO-09, RUL-23: composed by any policy and seen by any rules, it is schema-valid."""
        made = records(drawn, hard)
        for policy in POLICIES:
            composed = policy.compose(BOB, made)
            self.assertIs(strict(composed), composed)
            for permissions in (given, Permissions.all(), Permissions.none()):
                seen = transform(composed, permissions)
                self.assertIs(strict(seen), seen)
        for closed in (True, False):
            polite = polite_document(BOB, closed=closed)
            self.assertIs(strict(polite), polite)

    @given(SOURCES, st.booleans())
    @settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    def test_extensions_kept(self, drawn: list[Drawn], hard: bool) -> None:
        """PID-08, COM-45: what nobody knows is told, by each policy, and given by its name."""
        made = records(drawn, hard)
        said = {mark for record in made for mark in extensions(record.body)}
        texts = {mark for record in made for mark in said_in_text(record.body)}
        by_name = Permissions(
            EVERYTHING,
            EVERYTHING,
            EVERYTHING,
            unknown=frozenset({f"{_X}k{mark}" for mark in said} | {f"{_X}text"}),
        )
        for policy in POLICIES:
            composed = policy.compose(BOB, made)
            self.assertEqual(extensions(composed), said)
            if isinstance(policy, OmaComposition | UnionComposition):
                self.assertEqual(said_in_text(composed), texts)
            seen = transform(composed, by_name)
            self.assertEqual(extensions(seen), extensions(composed, status=False))
            self.assertEqual(said_in_text(seen), said_in_text(composed, status=False))


def extensions(body: bytes, status: bool = True) -> set[str]:
    """The numbers of extensions with a name of their own.

    :param status: those in a ``status``, too.
    """
    return {
        str(element.tag).removeprefix(f"{_X}k")
        for element in parse_compact(body).iter(f"{_X}*")
        if element.tag.startswith(f"{_X}k7") and (status or not _in_status(element))
    }


def said_in_text(body: bytes, status: bool = True) -> set[str]:
    """The numbers in extensions of one name, which may contradict each other.

    Of devices and the root the most recent publication's are told (COM-20, COM-40), so they do
    not count.
    """
    return {
        element.text or ""
        for component in parse_compact(body).iter(names.TUPLE, names.PERSON)
        for element in component.iter(f"{_X}text")
        if status or not _in_status(element)
    }


def _in_status(element: etree._Element) -> bool:
    parent = element.getparent()
    return parent is not None and parent.tag == names.STATUS
