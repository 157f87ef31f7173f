"""Changes by HTTPS are told over SIP, by xcap-diff and by ua-profile (issue 3, item 5)."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.e2e.daemon import DIGEST_POINTS, PASSWORD
from tests.e2e.deployments import AllInOne
from tests.e2e.phone import aor
from tests.e2e.xdiff import DIFF, Follower, canonical
from tests.e2e.xdm import (
    DOCUMENT,
    FRIENDS,
    XcapClient,
    entry_step,
    index,
)
from xcap.patch import apply

INDEX = index("alice")
SEL = INDEX[1:]
HOME = SEL.removesuffix("index")
CAROL = "sip:carol@example.com"
ENTRY = f'<entry uri="{CAROL}"/>'.encode()


class EventsTestCase(SynchronousTestCase):
    """Base with a server; alice has a document, and a phone on TCP."""

    def setUp(self) -> None:
        """Start."""
        self.xdm = AllInOne(self)
        self.client = self.xdm.client()
        self.tag = self.client.store(INDEX)

    def follower(self, user: str = "alice") -> Follower:
        """Somebody's phone."""
        return Follower(self.xdm.proxy.phone("tcp", user))


class XcapDiff(EventsTestCase):
    """RFC 5875."""

    def test_document(self) -> None:
        """Changes of a document are told with the tags of HTTP (XEVT-07, XDIFF-03, XDIFF-04)."""
        alice = self.follower()
        self.assertEqual(alice.follow(SEL, HOME + "later").status, 200)
        self.assertEqual(alice.watch.response["expires"], "3600")  # XEVT-06
        self.assertEqual(alice.tags(), [(SEL, "", self.tag)])
        self.assertEqual(alice.root, self.xdm.root)
        second = self.client.store(INDEX)
        self.assertEqual(alice.tags(), [(SEL, self.tag, second)])
        third = self.client.store(f"{INDEX}{FRIENDS}{entry_step(CAROL)}", ENTRY)
        self.assertEqual(alice.tags(), [(SEL, second, third)])
        created = self.client.store(f"/{HOME}later")
        self.assertEqual(alice.tags(), [(HOME + "later", "", created)])
        self.assertEqual(self.client.delete(INDEX).status, 200)
        self.assertEqual(alice.tags(), [(SEL, third, "")])
        self.assertEqual(self.client.put(INDEX, b"<no").status, 409)
        self.assertEqual(self.client.put(INDEX, if_match="*").status, 412)
        self.assertTrue(alice.silent(), "what was refused is no news")

    def test_patches(self) -> None:
        """Each change comes with a patch that makes the new document of the old (XEVT-11)."""
        for mode in ("xcap-patching", "aggregate"):
            alice = self.follower()
            tag = self.client.store(INDEX)
            alice.follow(SEL, mode=mode)
            self.assertEqual(alice.tags(), [(SEL, "", tag)])
            octets = DOCUMENT
            node = f"{INDEX}{FRIENDS}{entry_step(CAROL)}"
            for method, target, body in (
                ("PUT", node, ENTRY),
                ("PUT", f"{INDEX}{FRIENDS}/@name", b'"friends"'),
                ("PUT", node, ENTRY.replace(b"/>", b"><display-name>C</display-name></entry>")),
                ("PUT", f"{node}/display-name", b"<display-name>Carol</display-name>"),
                ("DELETE", f"{INDEX}{FRIENDS}{entry_step('sip:bob@example.com')}", None),
                ("DELETE", f"{INDEX}{FRIENDS}/@name", None),
            ):
                answer = self.client.ask(method, target, body)
                self.assertIn(answer.status, (200, 201), (target, answer))
                (told,) = alice.told()
                self.assertEqual(told.tags, (SEL, tag, answer.etag))
                tag = answer.etag
                if told.element.find("{*}body-not-changed") is None:
                    self.assertNotEqual(len(told.element), 0, "no patch")
                    octets = apply(octets, told.element)
                self.assertEqual(canonical(octets), canonical(self.client.octets(INDEX)))

    def test_component(self) -> None:
        """Elements and attributes are told as they are, or gone (XEVT-13, XDIFF-06, XDIFF-07)."""
        alice = self.follower()
        element, attribute = f"{SEL}{FRIENDS}{entry_step(CAROL)}", f"{SEL}{FRIENDS}/@name"
        alice.follow(element, attribute)
        (told,) = alice.told()
        self.assertEqual((told.kind, told.sel), ("attribute", attribute))
        self.assertEqual(told.element.text, "friends")
        self.client.store(f"/{element}", ENTRY)
        (told,) = alice.told()
        self.assertEqual((told.kind, told.sel, told.exists), ("element", element, True))
        self.assertEqual(told.element[0].get("uri"), CAROL)
        self.client.store(f"{INDEX}{FRIENDS}{entry_step('sip:x@y')}", b'<entry uri="sip:x@y"/>')
        self.assertEqual(self.client.delete(f"/{element}").status, 200)
        (told,) = alice.told()
        self.assertEqual((told.kind, told.sel, told.exists), ("element", element, False))
        self.assertEqual(self.client.delete(INDEX).status, 200)
        (told,) = alice.told()
        self.assertEqual((told.kind, told.exists), ("attribute", False))

    def test_collection(self) -> None:
        """A collection, or all one has, with what is made later (XEVT-02, XEVT-03, XEVT-10)."""
        one, all_of_it = self.follower(), Follower(self.xdm.proxy.phone("udp", "alice"))
        one.follow(HOME)
        self.assertEqual(one.tags(), [(SEL, "", self.tag)])
        all_of_it.watch = all_of_it.phone.subscribe("alice", "xcap-diff", accept=DIFF)
        self.assertEqual(all_of_it.tags(), [(SEL, "", self.tag)])
        other = self.client.store(f"/{HOME}other")
        for follower in (one, all_of_it):
            self.assertEqual(follower.tags(), [(HOME + "other", "", other)])
        services = b'<rls-services xmlns="urn:ietf:params:xml:ns:rls-services"/>'
        tag = self.client.store(index("alice", "rls-services"), services)
        self.assertEqual(all_of_it.tags(), [(index("alice", "rls-services")[1:], "", tag)])
        self.assertTrue(one.silent())
        one.phone.resubscribe(one.watch, expires=0)
        self.assertIn("terminated", one.phone.notify(one.watch)["subscription-state"])
        self.client.store(INDEX)
        self.assertTrue(one.silent())

    def test_permission(self) -> None:
        """Who may not read a document hears nothing of it (XEVT-17, XDIFF-08, XCAP-175)."""
        bob, alice = self.follower("bob"), self.follower()
        alice.follow(SEL)
        alice.told()
        for resource in ("alice", "bob"):
            self.assertEqual(bob.follow(SEL, HOME, user=resource).status, 200)
            self.assertEqual(bob.told(), [])
        self.client.store(INDEX)
        self.client.store(f"/{HOME}other")
        self.assertEqual(len(alice.told()), 1)
        self.assertTrue(bob.silent())
        # what everybody may read, and what is one's own
        bob.follow("xcap-caps/global/index", index("bob")[1:])
        bob.told()
        tag = self.xdm.client("bob").store(index("bob"))
        self.assertEqual(bob.tags(), [(index("bob")[1:], "", tag)])

    def test_refused(self) -> None:
        """What is no subscription is refused (XEVT-05, UAP-05)."""
        alice = self.follower()
        body = {"body": b"<no", "content_type": "application/resource-lists+xml"}
        for status, fields in (
            (406, {"accept": "text/plain"}),
            (400, body),
            (415, {"body": b"x", "content_type": "text/plain"}),
        ):
            watch = alice.phone.subscribe("alice", "xcap-diff", **fields)
            self.assertEqual(watch.response.status, status, fields)
        self.assertEqual(alice.phone.subscribe("alice", "xcap").response.status, 489)


class UaProfile(EventsTestCase):
    """The package of OMA XDM 1.0."""

    def test_forms(self) -> None:
        """Documents may be named in each of the forms seen (UAP-01 to UAP-03, UAP-08, UAP-09)."""
        tag = self.tag
        for params in (
            {"auid": "resource-lists", "document": "index"},
            {"auid": "resource-lists", "document": f"users/{aor('alice')}/index"},
            {"document": SEL},
            {"auid": "resource-lists"},
            {},
        ):
            alice = self.follower()
            self.assertEqual(alice.profile(params).status, 200, params)
            self.assertEqual(alice.watch.response["expires"], "86400")
            self.assertEqual(alice.tags(), [(SEL, "", tag)], params)
            before, tag = tag, self.client.store(INDEX)
            notify = alice.phone.notify(alice.watch)
            self.assertIn(';profile-type="application"', notify["event"])
            self.assertIn(
                'auid="resource-lists"' if "auid" in params or not params else SEL, notify["event"]
            )
            self.assertIn(f'previous-etag="{before}" new-etag="{tag}"'.encode(), notify.body)
            alice.phone.resubscribe(alice.watch, expires=0)

    def test_absent(self) -> None:
        """What is not there yet is told when it is; no body without Accept (UAP-06, UAP-11)."""
        alice = self.follower()
        alice.profile({"auid": "resource-lists", "document": "later"})
        self.assertEqual(alice.told(), [])
        tag = self.client.store(f"/{HOME}later")
        self.assertEqual(alice.tags(), [(HOME + "later", "", tag)])
        bare = self.follower()
        bare.profile({"auid": "resource-lists", "document": "index"}, accept=None)
        self.assertEqual(bare.phone.notify(bare.watch).body, b"")

    def test_refused(self) -> None:
        """No permission 403, no such usage or profile 404 (UAP-05, UAP-13, XEVT-17)."""
        bob = self.follower("bob")
        for status, params in (
            (403, {"document": SEL}),
            (403, {"auid": "resource-lists", "document": f"users/{aor('alice')}/index"}),
            (403, {"document": index("nobody")[1:]}),
            (404, {"auid": "unknown", "document": "index"}),
            (404, {"document": "resource-lists/users"}),
            (200, {"auid": "resource-lists", "document": "index"}),
        ):
            self.assertEqual(bob.profile(params).status, status, params)
        watch = bob.phone.subscribe("bob", "ua-profile;profile-type=device")
        self.assertEqual(watch.response.status, 404)


class Authenticated(SynchronousTestCase):
    """Subscribers who have to prove who they are."""

    def test_digest(self) -> None:
        """Only who knows alice's password watches her documents (XEVT-17, UAP-13)."""
        xdm = AllInOne(self, points=DIGEST_POINTS)
        client: XcapClient = xdm.client()
        tag = client.store(INDEX)
        for password, told in ((PASSWORD, [(SEL, "", tag)]), ("wrong", None)):
            alice = Follower(xdm.proxy.phone("tls", "alice", password))
            status = alice.follow(SEL).status
            if told is None:
                self.assertEqual(status, 401)
            else:
                self.assertEqual((status, alice.tags()), (200, told))
        bob = Follower(xdm.proxy.phone("tcp", "bob", PASSWORD))
        self.assertEqual(bob.follow(SEL).status, 200)
        self.assertEqual(bob.told(), [])
        response = bob.phone.subscribe("alice", "xcap-diff", sender=aor("alice")).response
        self.assertEqual(response.status, 403, "not even in the name of alice")
