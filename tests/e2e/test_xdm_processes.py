"""Three document servers and a proxy as four processes are to clients what one process is.

The same tests run against both deployments (issue 3, item 3 and "is done when").
"""

from __future__ import annotations

import gzip
import http.client
import signal
import socket
import ssl
import time
from functools import partial
from typing import Any
from xml.etree import ElementTree

from twisted.trial.unittest import SynchronousTestCase

from tests.certificates import issue, make_ca
from tests.e2e.deployments import AllInOne, Apart, Deployment
from tests.e2e.phone import aor
from tests.e2e.wire import HOST
from tests.e2e.xdiff import Follower
from tests.e2e.xdm import (
    DOCUMENT,
    ELEMENT,
    FRIENDS,
    XcapClient,
    at_once,
    entry_step,
    index,
)
from tests.e2e.xdmcourse import (
    ALICE,
    CAPS,
    DIRECTORY,
    ENTRY,
    INDEX,
    PLACES,
    ROOT,
    example,
    normal,
    place,
    requests,
)


class Suite:
    """What clients may expect of every deployment."""

    xdm: Deployment

    def deploy(self) -> Deployment:
        """Start it."""
        raise NotImplementedError

    def setUp(self) -> None:
        """Start the servers."""
        self.xdm = self.deploy()
        self.client = self.xdm.client()

    def test_documents(self: Any) -> None:
        """Documents of each usage are made, read and deleted (AGP-50, AGP-51, AGP-54, AGP-67).

        Bodies go packed in both directions, with tags to be sent back (AGP-71 to AGP-73); of
        ten conditional changes one wins, of unconditional ones all are kept (XCAP-145).
        """
        for auid in PLACES:
            target, octets = place(auid), example(auid)
            answer = self.client.put(target, octets, if_none_match="*")
            self.assertEqual(answer.status, 201, (auid, answer))
            self.assertEqual(answer["location"], ROOT + target[1:])
            found = self.client.get(target)
            self.assertEqual((found.status, found.body, found.etag), (200, octets, answer.etag))
            self.assertEqual(self.client.put(target, b"<no").conflict, "not-well-formed")
            self.assertEqual(self.client.put(target, b"<no/>").conflict, "schema-validation-error")
            self.assertEqual(self.client.put(target, octets, if_match='"x"').status, 412)
            self.assertEqual(self.client.get(target, if_none_match=found["etag"]).status, 304)
            self.assertEqual(self.xdm.client("bob").put(target, octets).status, 403)
            bindings = self.client.get(f"{target}/~~/*/namespace::*")
            self.assertEqual(bindings["content-type"], "application/xcap-ns+xml")
            self.assertEqual(self.client.octets(target), octets)
        for auid in PLACES:
            self.assertEqual(self.client.delete(place(auid)).status, 200)
            self.assertEqual(self.client.get(place(auid)).status, 404)
        self.assertEqual(self.client.get(index("alice", "unknown")).status, 404)  # AGP-51
        self.nodes()
        self.coded()
        self.many()

    def nodes(self: Any) -> None:
        """Nodes are addressed to the octet as the client wrote it."""
        self.client.store(INDEX)
        anchor = f"{ROOT}x"
        external = f'<external anchor="{anchor}"/>'.encode()
        for wire in (anchor.replace("/", "%2f"), anchor.replace("/", "%2F"), anchor):
            target = f"{INDEX}/%7E%7e/resource-lists/list[1]/external%5B@anchor=%22{wire}%22%5d"
            answer = self.client.put(target, external, content_type=ELEMENT)
            self.assertEqual(answer.status, 201, wire)
            self.assertEqual(self.client.get(target).body, external)
            self.assertEqual(self.client.delete(target).status, 200)
        error = self.client.put(f"{INDEX}/~~/resource-lists/list%5B9%5D/entry", ENTRY)
        self.assertIn(
            f"<ancestor>{ROOT}{INDEX[1:]}/~~/resource-lists</ancestor>".encode(), error.body
        )
        self.assertEqual(self.client.octets(INDEX), DOCUMENT)
        self.assertEqual(self.client.get(f"{INDEX}%252f").status, 404)
        self.assertEqual(self.client.get(f"{INDEX}/~~/p:x/p:y").status, 400)
        self.assertEqual(self.client.delete(INDEX).status, 200)

    def coded(self: Any) -> None:
        """Gzip in both directions."""
        self.client.store(INDEX)
        packed = self.client.get(INDEX, accept_encoding="gzip")
        self.assertEqual(packed["content-encoding"], "gzip")
        self.assertEqual(gzip.decompress(packed.body), DOCUMENT)
        answer = self.client.put(
            INDEX, gzip.compress(DOCUMENT), content_encoding="gzip", if_match=packed["etag"]
        )
        self.assertEqual(answer.status, 200)
        self.assertEqual(self.client.get(INDEX).body, DOCUMENT)

    def many(self: Any) -> None:
        """Ten clients at once."""
        clients = [self.xdm.client() for _ in range(10)]
        tag = self.client.store(INDEX)
        answers = at_once(
            [partial(client.put, INDEX, DOCUMENT, if_match=f'"{tag}"') for client in clients]
        )
        self.assertEqual(sorted(answer.status for answer in answers), [200] + [412] * 9)
        uris = [f"sip:u{number}@example.com" for number in range(10)]
        answers = at_once(
            [
                partial(
                    client.put,
                    f"{INDEX}{FRIENDS}{entry_step(uri)}",
                    f'<entry uri="{uri}"/>'.encode(),
                )
                for client, uri in zip(clients, uris, strict=True)
            ]
        )
        self.assertEqual([answer.status for answer in answers], [201] * 10)
        octets = self.client.octets(INDEX)
        for uri in uris:
            self.assertEqual(octets.count(uri.encode()), 1)

    def test_whole(self: Any) -> None:
        """Capabilities and directory are those of all servers (AGP-57, AGP-58, XCAP-174).

        Nobody becomes somebody else by header fields (AGP-42, AGP-47, AGP-49).
        """
        for auid in PLACES:
            self.client.store(place(auid), example(auid))
        caps = self.client.get(CAPS)
        root = ElementTree.fromstring(caps.body)
        auids = [each.text for each in root.iter("{urn:ietf:params:xml:ns:xcap-caps}auid")]
        both = {"xcap-caps", "org.openmobilealliance.xcap-directory"}
        self.assertEqual(auids, sorted(both | set(PLACES)))
        self.assertEqual(self.client.get(CAPS, if_none_match=caps["etag"]).status, 304)
        self.assertEqual(self.client.get(f"{CAPS}/~~/xcap-caps/auids/auid[9]").status, 200)
        self.assertEqual(self.client.put(CAPS, b"<a/>", content_type="x/y").status, 405)
        self.assertEqual(
            self.folders(), {auid: self.client.get(place(auid)).etag for auid in PLACES}
        )
        one = self.client.get(f"{DIRECTORY}/~~/xcap-directory/folder[@auid=%22rls-services%22]")
        self.assertIn(self.client.get(place("rls-services")).etag.encode(), one.body)
        self.assertEqual(self.xdm.client("bob").get(DIRECTORY).status, 403)
        self.identity()

    def folders(self: Any) -> dict[str, str]:
        """By usage what the directory says: the tag of the one document, or the error."""
        answer = self.client.get(DIRECTORY)
        self.assertEqual(answer.status, 200, answer)
        found = {}
        for folder in ElementTree.fromstring(answer.body):
            (child,) = folder
            auid = folder.get("auid", "")
            found[auid] = child.get("etag", "") or child.text or ""
            if child.get("etag"):
                self.assertEqual(child.get("uri"), ROOT + place(auid)[1:])
        return found

    def identity(self: Any) -> None:
        """Nobody becomes somebody else by header fields."""
        bob = self.xdm.client("bob")
        for auid in PLACES:
            target = place(auid)
            tag = self.client.store(target, example(auid))
            for name in ("x_xcap_asserted_identity", "X_3GPP_ASSERTED_IDENTITY"):
                for value in (f'"{ALICE}"', ALICE, f'"{ALICE}", "{aor("bob")}"'):
                    for method in ("GET", "PUT", "DELETE"):
                        body = example(auid) if method == "PUT" else None
                        answer = bob.ask(method, target, body, **{name: value})
                        self.assertEqual(answer.status, 403, (method, name, value))
            answer = bob.get(target, x_3gpp_intended_identity=f'"{ALICE}"')
            self.assertEqual(answer.status, 403)
            # nor does it hurt
            answer = self.client.get(target, x_xcap_asserted_identity=f'"{aor("bob")}"')
            self.assertEqual((answer.status, answer.etag), (200, tag))
        # names with an underscore, which http.client would not write for us
        given = bob.authorization("GET", INDEX)
        fields = {"authorization": given, "X_XCAP_Asserted_Identity": f'"{ALICE}"'}
        self.assertEqual(bob.send("GET", INDEX, None, fields).status, 403)

    def test_notified(self: Any) -> None:
        """Each server tells its subscribers what came through the proxy (AGP-60, XEVT-07).

        After kill -9 of every process everything is there (XCAP-146, AGP-05).
        """
        for auid in ("resource-lists", "pres-rules", "rls-services"):
            target = place(auid)
            tag = self.client.store(target, example(auid))
            part = self.xdm.parts[PLACES[auid][0]]
            alice, bob = (Follower(part.phone("tcp", user)) for user in ("alice", "bob"))
            for follower, told in ((alice, [(target[1:], "", tag)]), (bob, [])):
                self.assertEqual(follower.follow(target[1:]).status, 200)
                self.assertEqual(follower.tags(), told)
                self.assertEqual(follower.root, ROOT)
            after = self.client.store(target, example(auid))
            self.assertEqual(alice.tags(), [(target[1:], tag, after)])
            self.assertTrue(bob.silent(0.3))
        self.restart()

    def restart(self: Any) -> None:
        """Everything is there after kill -9 of every process."""
        tags = {auid: self.client.store(place(auid), example(auid)) for auid in PLACES}
        for daemon in self.xdm.daemons:
            daemon.kill()
        self.xdm.start()
        self.client.close()
        for auid, tag in tags.items():
            answer = self.client.get(place(auid))
            self.assertEqual((answer.body, answer.etag), (example(auid), tag))


class TogetherTests(Suite, SynchronousTestCase):
    """One process."""

    def deploy(self) -> Deployment:
        """Start it."""
        return AllInOne(self, root=ROOT)


class ApartTests(Suite, SynchronousTestCase):
    """Four processes, and what can happen between them."""

    xdm: Apart

    def deploy(self) -> Deployment:
        """Start them."""
        return Apart(self, root=ROOT)

    def test_one_down(self) -> None:
        """One server is stopped: 502 or 503 for its usages, others go on (AGP-58, AGP-78).

        One that gives no answer: 504 (AGP-80).
        """
        tags = {auid: self.client.store(place(auid), example(auid)) for auid in PLACES}
        self.xdm.proxy.expected = "out of use"
        for role in ("shared-xdms", "presence-xdms", "rls-xdms"):
            self.assertEqual(self.xdm.parts[role].stop(), 0)
            for auid, (holder, _, _) in PLACES.items():
                answer = self.client.get(place(auid))
                if holder != role:
                    self.assertEqual((answer.status, answer.etag), (200, tags[auid]))
                    continue
                self.assertIn(answer.status, (502, 503), auid)
                self.assertNotIn("xcap-error", answer["content-type"])
                answer = self.client.put(place(auid), example(auid))
                self.assertIn(answer.status, (502, 503), auid)
                if answer.status == 503:
                    self.assertTrue(1 <= int(answer["retry-after"]) <= 30)
            folders = self.folders()
            for auid, (holder, _, _) in PLACES.items():
                if holder == role:
                    self.assertRegex(folders[auid], "^50[234] ")
                else:
                    self.assertEqual(folders[auid], tags[auid])
            self.assertEqual(self.client.get(CAPS).status, 200)
            self.xdm.parts[role].start()
            deadline = time.monotonic() + 30
            while self.folders() != tags:  # it is found to be back
                self.assertLess(time.monotonic(), deadline)
                time.sleep(0.1)

        part = self.xdm.parts["rls-xdms"]
        part.signal(signal.SIGSTOP)
        try:
            other = self.xdm.client()
            tasks = [partial(self.client.get, place("rls-services")), partial(other.get, DIRECTORY)]
            answer, directory = at_once(tasks)
        finally:
            part.signal(signal.SIGCONT)
        self.assertEqual((answer.status, directory.status), (504, 200))
        self.assertIn(b"<error-code>504 Gateway Timeout</error-code>", directory.body)
        self.assertEqual(self.client.get(INDEX).etag, tags["resource-lists"])

    def test_past_the_proxy(self) -> None:
        """Who is no configured proxy asserts nothing to a document server (AGP-49, AGP-82)."""
        tag = self.client.store(INDEX)
        port = self.xdm.ports["shared-xdms"]
        asserted = {"x_xcap_asserted_identity": f'"{ALICE}"'}
        both = {**asserted, "x_3gpp_asserted_identity": f'"{aor("bob")}"'}
        stranger = self.xdm.direct(port, "127.0.0.2")
        for fields in (asserted, {"x_3gpp_asserted_identity": f'"{ALICE}"'}, {}):
            for method in ("GET", "PUT", "DELETE"):
                body = DOCUMENT if method == "PUT" else None
                self.assertEqual(stranger.ask(method, INDEX, body, **fields).status, 403)
        proxy = self.xdm.direct(port)  # the address of the proxy
        self.assertEqual(proxy.get(INDEX, **asserted).body, DOCUMENT)
        self.assertEqual(proxy.get(INDEX).status, 401)
        self.assertEqual(proxy.get(INDEX, **both).status, 403)  # AGP-45
        self.assertEqual(proxy.get(index("bob"), **asserted).status, 403)
        self.assertEqual(self.client.get(INDEX).etag, tag)
        self.xdm.parts["shared-xdms"].expected = "asserts two different identities"
        self.certificates()

    def certificates(self) -> None:
        """Nobody without the proxy's certificate gets in where one is needed."""
        port, directory = self.xdm.ports["presence-xdms"], self.xdm.ca.directory
        right = issue(self.xdm.ca, ["proxy.example.com"])
        other = issue(self.xdm.ca, ["other.example.com"])
        forged = issue(make_ca(directory), ["proxy.example.com"])
        target = place("pres-rules")
        self.client.store(target, example("pres-rules"))
        results = []
        for pair in (right, other, forged, None):
            context = ssl.create_default_context(cafile=self.xdm.ca.file)
            if pair is not None:
                context.load_cert_chain(pair.certificate, pair.key)
            client = XcapClient(port, password="", host="xcap.example.com")
            self.addCleanup(client.close)
            try:
                sock = socket.create_connection((HOST, port), 30)
                connection = http.client.HTTPConnection("localhost", port)
                self.addCleanup(sock.close)
                connection.sock = context.wrap_socket(sock, server_hostname="localhost")
                self.addCleanup(connection.close)
                client.use(connection)
                answer = client.get(target, x_xcap_asserted_identity=f'"{ALICE}"')
                results.append(answer.status)
            except (OSError, http.client.HTTPException):
                results.append(0)
        self.assertEqual(results, [200, 403, 0, 0])

    def test_same_answers(self) -> None:
        """A long course of requests has the same answers as in one process (AGP-04)."""
        there = self.course(self.xdm)
        here = self.course(AllInOne(self, root=ROOT))
        for apart, together in zip(there, here, strict=True):
            self.assertEqual(apart, together)

    def course(self, xdm: Deployment) -> list[Any]:
        """Make requests; what was asked and answered, tags replaced by their order."""
        clients = {user: xdm.client(user) for user in ("alice", "bob")}
        found: list[Any] = []
        tags: dict[str, str] = {}
        for user, method, target, body, fields in requests():
            answer = clients[user].ask(method, target, body, **fields)
            status, answered, octets = normal(answer, tags)
            if "folder[@auid" in target:
                # the tag is that of all who were asked: one server, or the one process
                answered = [field for field in answered if field[0] != "etag"]
            found.append((user, method, target, status, answered, octets))
        return found
