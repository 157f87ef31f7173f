"""Tests of :mod:`xcap.serveragent` with a document server."""

from __future__ import annotations

from zope.interface.verify import verifyObject

from tests.xcap.xdms import ANN, DOCUMENT, JOE, ROOT, TRUSTED, TYPE, Asserter, XdmsTestCase
from xcap.agent import NoAnswer
from xcap.auth.identity import IdentityAsserter
from xcap.client import XcapClient
from xcap.contents import entity_tag
from xcap.interfaces import IDocumentClient, IIdentityAsserter
from xcap.routes import Group, RouteTable
from xcap.serveragent import ServerAgent
from xcap.upstream import LocalBackEnd

INDEX = f"test/users/{JOE}/index"


class AgentTestCase(XdmsTestCase):
    """Base with clients of the server."""

    def client(
        self, *identities: str, root: str = ROOT, asserter: IIdentityAsserter | None = None
    ) -> XcapClient:
        """A client."""
        back_end = LocalBackEnd("local", self.server, ["test"])
        routes = RouteTable([Group("local", (back_end,), frozenset({"test"}))])
        asserters = {"local": asserter or Asserter()}
        return XcapClient(ServerAgent(root, routes, identities, asserters), root)


class ServerAgentTests(AgentTestCase):
    """Requests and who they are from."""

    def test_interface(self) -> None:
        """It is a document client."""
        verifyObject(IDocumentClient, self.client(JOE))

    def test_get(self) -> None:
        """PSV-07: documents, parts of them, and whether they have changed."""
        tag = self.put()
        client = self.client(JOE)
        for uri in (INDEX, f"/{INDEX}", ROOT + INDEX):
            answer = self.successResultOf(client.get(uri))
            self.assertEqual((answer.status, answer.body), (200, DOCUMENT))
            self.assertEqual(entity_tag(answer), tag)
        self.assertEqual(self.successResultOf(client.get(INDEX, tag)).status, 304)
        self.assertEqual(self.successResultOf(client.get(INDEX, "other")).status, 200)
        part = self.successResultOf(client.get(f"{INDEX}/~~/resource-lists/list%5b2%5d"))
        self.assertEqual(part.body, b'<list name="empty"/>')
        self.assertEqual(self.successResultOf(client.get(f"{INDEX}2")).status, 404)

    def test_identity(self) -> None:
        """XDM-05, XDM-29, XDM-101: the server decides by who asks."""
        self.put()
        self.assertEqual(self.successResultOf(self.client(TRUSTED).get(INDEX)).status, 200)
        self.assertEqual(self.successResultOf(self.client(ANN).get(INDEX)).status, 403)
        self.assertEqual(self.successResultOf(self.client(ANN, JOE).get(INDEX)).status, 200)

    def test_asserter(self) -> None:
        """AGP-49: an asserter accepts its own process, whatever networks it trusts."""
        asserter = IdentityAsserter(networks=())
        self.server._asserter = asserter
        self.put_as(self.client(JOE, asserter=asserter))
        other = self.client(ANN, asserter=asserter)
        self.assertEqual(self.successResultOf(other.get(INDEX)).status, 403)

    def put_as(self, client: XcapClient) -> None:
        """PUT that has to succeed."""
        self.assertEqual(self.finish(client.put(INDEX, DOCUMENT, TYPE))[0].status, 201)

    def test_put_and_delete(self) -> None:
        """Changes go the way of all others: conditions and constraints hold."""
        client = self.client(JOE)
        created = self.finish(client.put(INDEX, DOCUMENT, TYPE, match=""))[0]
        self.assertEqual(created.status, 201)
        self.assertEqual(self.finish(client.put(INDEX, DOCUMENT, TYPE, match=""))[0].status, 412)
        tag = entity_tag(created)
        changed = self.finish(client.put(INDEX, DOCUMENT + b"\n", TYPE, match=tag))[0]
        self.assertEqual(changed.status, 200)
        self.assertEqual(self.finish(client.put(INDEX, b"<bad/>", TYPE))[0].status, 409)
        self.assertEqual(self.finish(client.delete(INDEX, match=tag))[0].status, 412)
        self.assertEqual(
            self.finish(client.delete(INDEX, match=entity_tag(changed)))[0].status, 200
        )
        self.assertEqual(self.finish(client.delete(INDEX))[0].status, 404)

    def test_unknown(self) -> None:
        """AGP-51: nobody is asked for what no document server holds."""
        failure = self.failureResultOf(self.client(JOE).get(f"other/users/{JOE}/index"), NoAnswer)
        self.assertEqual(failure.value.kind, "unreachable")

    def test_elsewhere(self) -> None:
        """Only its root is asked."""
        client = self.client(JOE)
        for uri in ("https://other.example.com/" + INDEX, "http://xcap.example.com/" + INDEX):
            self.failureResultOf(client.get(uri), ValueError)
            self.failureResultOf(client.put(uri, b"", TYPE), ValueError)
            self.failureResultOf(client.delete(uri), ValueError)


class RootTests(AgentTestCase):
    """A root with a path and a port."""

    roots = ("http://xcap.example.com:8080/services/",)

    def test_root(self) -> None:
        """XCAP-02: URIs are below the path of the root."""
        client = self.client(JOE, root=self.roots[0])
        for uri in (INDEX, self.roots[0] + INDEX):
            self.assertIn(self.finish(client.put(uri, DOCUMENT, TYPE))[0].status, (200, 201))
        self.assertEqual(self.successResultOf(client.get(INDEX)).body, DOCUMENT)
