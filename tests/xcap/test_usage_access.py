"""What all usages have in common: access, places, data, and the documents of the standards."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.xcap.usages import (
    JOE,
    NOBODY,
    OTHER,
    OWNER,
    PROVISIONER,
    ROOT,
    SERVER,
    TRUSTED,
    VECTORS,
    key,
    lists,
    rule,
    ruleset,
    services,
    settings,
    tree,
    usage,
)
from xcap.errors import Conflict, XcapError
from xcap.interfaces import IApplicationUsage
from xcap.records import Requester
from xcap.usage.base import Trusted
from xcap.usage.standard import standard_usages

URIS = st.one_of(
    st.text(st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="<>&'\ufffe\uffff")),
    st.from_regex(r"(sips?|tel|https?)://?[a-z%@:;=.\[\]0-9/?#~]{0,40}", fullmatch=True),
)


class AccessTests(SynchronousTestCase):
    """:meth:`xcap.interfaces.IApplicationUsage.may`."""

    def check_table(self, auid: str, rows: list[tuple[str, str, Requester, bool, bool]]) -> None:
        """Check who may read and write what."""
        one = usage(auid, trusted=TRUSTED)
        for xui, path, requester, reads, writes in rows:
            at = key(auid, path, xui)
            self.assertEqual(one.may(requester, "read", at), reads, (auid, at, requester))
            self.assertEqual(one.may(requester, "write", at), writes, (auid, at, requester))
            self.assertFalse(one.may(requester, "other", at))

    def test_default(self) -> None:
        """Owners have their home directory, all read ``global`` (XCAP-175, XDM-04).

        So it is at most usages (XDM-39, XDM-57, XDM-66, XDM-101).
        """
        for auid in (
            "resource-lists",
            "pres-rules",
            "org.openmobilealliance.pres-rules",
            "pidf-manipulation",
            "org.openmobilealliance.group-usage-list",
            "org.openmobilealliance.pres-content",
        ):
            self.check_table(
                auid,
                [
                    (JOE, "index", OWNER, True, True),
                    (JOE, "index", OTHER, False, False),
                    (JOE, "index", NOBODY, False, False),
                    ("", "index", OWNER, True, False),
                    ("", "index", NOBODY, False, False),
                ],
            )

    def test_identities(self) -> None:
        """Any asserted identity of a subscriber makes a home directory the own (XCAP-176)."""
        for identities in ((JOE,), ("tel:+15550100", JOE)):
            one = usage("resource-lists")
            self.assertTrue(one.may(Requester(identities), "write", key("resource-lists")))
        self.assertFalse(one.may(Requester(("tel:+15550100",)), "write", key("resource-lists")))

    def test_trusted(self) -> None:
        """Trusted principals read or write as they are trusted, where they are (XDM-05)."""
        self.check_table(
            "rls-services",
            [
                (JOE, "index", SERVER, True, False),
                ("", "other", SERVER, True, False),
                (JOE, "index", PROVISIONER, True, True),
                ("", "other", PROVISIONER, True, True),
            ],
        )
        self.check_table(
            "resource-lists",
            [
                (JOE, "index", SERVER, False, False),
                (JOE, "index", PROVISIONER, True, True),
                ("", "index", PROVISIONER, True, True),
            ],
        )

    def test_trusted_for_writing_only(self) -> None:
        """Somebody who may write need not be one who may read (XDM-05)."""
        trusted = (Trusted(identity="sip:p@example.com", read=False, write=True),)
        one = usage("resource-lists", trusted=trusted)
        someone = Requester(("sip:p@example.com",))
        self.assertTrue(one.may(someone, "write", key("resource-lists")))
        self.assertFalse(one.may(someone, "read", key("resource-lists")))

    def test_nobody_is_trusted(self) -> None:
        """An entry without names trusts nobody."""
        one = usage("resource-lists", trusted=(Trusted(write=True),))
        self.assertFalse(one.may(NOBODY, "read", key("resource-lists")))
        self.assertFalse(one.may(Requester(("",), ("",)), "write", key("resource-lists")))

    def test_index(self) -> None:
        """The index of services is for trusted principals to read; nobody writes it (XDM-49)."""
        self.check_table(
            "rls-services",
            [
                ("", "index", OWNER, False, False),
                ("", "index", SERVER, True, False),
                ("", "index", PROVISIONER, True, False),
                ("", "other", OWNER, True, False),
                (JOE, "index", OWNER, True, True),
                (JOE, "index", OTHER, False, False),
            ],
        )

    def test_capabilities(self) -> None:
        """Every authenticated user reads capabilities, nobody writes them (XCAP-173)."""
        self.check_table(
            "xcap-caps",
            [
                ("", "index", OWNER, True, False),
                ("", "index", PROVISIONER, True, False),
                ("", "index", NOBODY, False, False),
            ],
        )

    def test_directory(self) -> None:
        """A directory is for its owner and trusted principals to read (XDM-85)."""
        self.check_table(
            "org.openmobilealliance.xcap-directory",
            [
                (JOE, "directory.xml", OWNER, True, False),
                (JOE, "directory.xml", OTHER, False, False),
                (JOE, "directory.xml", PROVISIONER, True, False),
                (JOE, "directory.xml", NOBODY, False, False),
            ],
        )


class PlaceTests(SynchronousTestCase):
    """:meth:`xcap.interfaces.IApplicationUsage.locate`."""

    def test_subdirectories(self) -> None:
        """There are none, so a document in one has no parent (XCAP-71)."""
        for auid in ("resource-lists", "rls-services", "pres-rules", "pidf-manipulation"):
            conflict = self.assertRaises(Conflict, usage(auid).locate, "users", ("a", "index"))
            self.assertEqual((conflict.kind, conflict.depth), ("no-parent", None), auid)

    def test_trees(self) -> None:
        """A usage has documents in some trees only."""
        for auid, tree_, name, good in (
            ("resource-lists", "users", "index", True),
            ("resource-lists", "users", "other", True),
            ("resource-lists", "global", "index", True),
            ("org.openmobilealliance.group-usage-list", "global", "index", False),
            ("xcap-caps", "global", "index", True),
            ("xcap-caps", "users", "index", False),
            ("org.openmobilealliance.xcap-directory", "users", "directory.xml", True),
            ("org.openmobilealliance.xcap-directory", "global", "directory.xml", False),
        ):
            if good:
                usage(auid).locate(tree_, (name,))  # type: ignore[arg-type]
            else:
                error = self.assertRaises(XcapError, usage(auid).locate, tree_, (name,))
                self.assertEqual(error.status, 404, auid)

    def test_computed_names(self) -> None:
        """Computed documents have one name (XCAP-170, XDM-80)."""
        for auid, tree_ in (
            ("xcap-caps", "global"),
            ("org.openmobilealliance.xcap-directory", "users"),
        ):
            self.assertRaises(XcapError, usage(auid).locate, tree_, ("other",))
            self.assertTrue(usage(auid).computed)


class DataTests(SynchronousTestCase):
    """What usages tell of themselves."""

    def test_interface(self) -> None:
        """Every usage is one registered object that gives all the core asks for (XCAP-177)."""
        for usages in standard_usages(settings()).values():
            for one in usages:
                verifyObject(IApplicationUsage, one)
                self.assertTrue(one.trees)
                self.assertTrue(set(one.namespaces))

    def test_roles(self) -> None:
        """The document servers and their usages (PKT-PRS 6.1.5)."""
        own = {"xcap-caps", "org.openmobilealliance.xcap-directory"}
        found = {
            role: {one.auid for one in usages} - own
            for role, usages in standard_usages(settings()).items()
        }
        self.assertEqual(
            found,
            {
                "presence-xdms": {
                    "org.openmobilealliance.pres-rules",
                    "pres-rules",
                    "pidf-manipulation",
                    "org.openmobilealliance.pres-content",
                },
                "rls-xdms": {"rls-services"},
                "shared-xdms": {"resource-lists", "org.openmobilealliance.group-usage-list"},
            },
        )
        for usages in standard_usages(settings()).values():
            self.assertTrue(own <= {one.auid for one in usages})

    def test_types(self) -> None:
        """Media types and default document namespaces, as the standards have them."""
        ns = "urn:ietf:params:xml:ns:"
        for auid, mime_type, namespace in (
            ("resource-lists", "resource-lists+xml", f"{ns}resource-lists"),
            (
                "org.openmobilealliance.group-usage-list",
                "vnd.oma.group-usage-list+xml",
                f"{ns}resource-lists",
            ),
            ("rls-services", "rls-services+xml", f"{ns}rls-services"),
            ("pres-rules", "auth-policy+xml", f"{ns}pres-rules"),
            ("org.openmobilealliance.pres-rules", "auth-policy+xml", f"{ns}common-policy"),
            ("pidf-manipulation", "pidf+xml", f"{ns}pidf"),
            (
                "org.openmobilealliance.xcap-directory",
                "vnd.oma.xcap-directory+xml",
                "urn:oma:xml:xdm:xcap-directory",
            ),
            ("xcap-caps", "xcap-caps+xml", f"{ns}xcap-caps"),
            (
                "org.openmobilealliance.pres-content",
                "vnd.oma.pres-content+xml",
                "urn:oma:xml:prs:pres-content",
            ),
        ):
            one = usage(auid)
            self.assertEqual(one.mime_type, f"application/{mime_type}")
            self.assertEqual(one.default_namespace, namespace)

    def test_unique_attributes(self) -> None:
        """What tells siblings apart is known to who writes patches (XPATCH-11)."""
        rl = "{urn:ietf:params:xml:ns:resource-lists}"
        for auid, element, attribute in (
            ("resource-lists", f"{rl}list", "name"),
            ("resource-lists", f"{rl}entry", "uri"),
            ("resource-lists", f"{rl}entry-ref", "ref"),
            ("resource-lists", f"{rl}external", "anchor"),
            ("rls-services", "{urn:ietf:params:xml:ns:rls-services}service", "uri"),
            ("rls-services", f"{rl}entry", "uri"),
            ("pres-rules", "{urn:ietf:params:xml:ns:common-policy}rule", "id"),
            ("pidf-manipulation", "{urn:ietf:params:xml:ns:pidf}tuple", "id"),
        ):
            self.assertEqual(usage(auid).unique_attributes[element], attribute)


class VectorTests(SynchronousTestCase):
    """Documents of the standards and of our requirements."""

    def test_accepted(self) -> None:
        """Each example is valid and breaks no constraint (XCAP-140, XCAP-143, XDM-34)."""
        paths = sorted(VECTORS.glob("*/*.xml"))
        self.assertGreater(len(paths), 10)
        for path in paths:
            auid = path.parent.name
            owner = "sip:someone@example.com" if path.stem.startswith("rfc4827") else JOE
            root = "http://xcap.example.com/" if path.stem.startswith("rfc4826-4") else ROOT
            one = usage(auid)
            try:
                one.check(tree(one, path.read_bytes()), key(auid, "index", owner, root))
            except Conflict as conflict:
                self.fail(f"{path.name}: {conflict.kind} {conflict.phrase}")


class PropertyTests(SynchronousTestCase):
    """Whatever a document holds."""

    @given(URIS)
    def test_only_conflicts(self, uri: str) -> None:
        """Nothing but a Conflict comes out of a check, whatever URIs are in a document."""
        escaped = uri.replace('"', "&quot;")
        for auid, body in (
            ("resource-lists", lists(f"<list><entry-ref ref='{escaped}'/></list>")),
            ("resource-lists", lists(f"<list><external anchor='{escaped}'/></list>")),
            ("rls-services", services(f"<service uri='{escaped}'><list/></service>" * 2)),
            (
                "rls-services",
                services(
                    f"<service uri='sip:a@example.com'><resource-list>{escaped}"
                    "</resource-list></service>"
                ),
            ),
            (
                "org.openmobilealliance.pres-rules",
                ruleset(
                    rule(f"<ocp:external-list><ocp:entry anc='{escaped}'/></ocp:external-list>")
                ),
            ),
            (
                "pidf-manipulation",
                f"<presence xmlns='urn:ietf:params:xml:ns:pidf' entity='{escaped}'/>",
            ),
        ):
            one = usage(auid)
            try:
                root = tree(one, body)
                one.claims(root, key(auid))
                one.check(root, key(auid))
            except Conflict:
                pass
