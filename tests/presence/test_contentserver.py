"""Tests of :mod:`presence.contentserver`: what is built of a configuration."""

from __future__ import annotations

import pathlib
from typing import Any

import msgspec
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from presence.build import Node, build_node
from presence.config import Config, ContentPeer, ContentTable, HttpListen, Listen, Proxy
from presence.content.switch import PathSwitch
from pysip.transport.credentials import CredentialsError
from tests.certificates import issue, make_ca
from tests.presence.test_operation import Reactor
from xcap.proxy import AggregationProxy

ID = "kq1nT0d2Q1y9vW8mB4xJxA"


class BuildTests(SynchronousTestCase):
    """Nodes that are built and not started."""

    def build(self, content: ContentTable | None = None, **changes: Any) -> Node:
        """A node; without the Content Server's port the proxy's is used."""
        config = Config(
            state_dir=str(pathlib.Path(self.mktemp()).absolute()),
            store=msgspec.structs.replace(Config().store, type="memory"),
            content=content or ContentTable(),
            **{
                "listen": (Listen("udp", port=0),),
                "proxy": Proxy(listen=(HttpListen(port=8443),)),
                **changes,
            },
        )
        node = build_node(config, Reactor())
        self.addCleanup(node.wheel.stop)
        return node

    def test_shared(self) -> None:
        """With the proxy in the process, one site serves both (AGP-106)."""
        node = self.build()
        assert node.content is not None and node.proxy is not None and node.objects is not None
        self.assertIsNone(node.content.site)
        self.assertEqual(len(node.sites), 1)
        self.assertIsInstance(node.proxy.site._serving.service, PathSwitch)
        self.assertTrue(node.objects.all.owns(f"https://localhost:8443/cs/o/{ID}"))
        self.assertFalse(node.objects.all.owns(f"https://example.com/cs/o/{ID}"))
        (root,) = node.content.roots
        self.assertEqual(set(root.aliases), {"127.0.0.1", "::1"})

    def test_apart(self) -> None:
        """With a port of its own it has a site of its own."""
        node = self.build(ContentTable(listen=(HttpListen(port=8444),)))
        assert node.content is not None and node.proxy is not None and node.objects is not None
        self.assertEqual([site for site, _ in node.sites][1], node.content.site)
        self.assertIsInstance(node.proxy.site._serving.service, AggregationProxy)
        self.assertTrue(node.objects.all.owns(f"https://localhost:8444/cs/o/{ID}"))

    def test_locks(self) -> None:
        """AGP-39: nonces and locks are those of the proxy."""
        node = self.build()
        assert node.content is not None and node.proxy is not None
        mine, other = node.content.authenticator, node.proxy.authenticator
        self.assertIs(mine.windows, other.windows)
        self.assertIs(mine._lock_out, other._lock_out)
        self.assertIsNot(mine, other)

    def test_elsewhere(self) -> None:
        """PRS-15, CIN-06: servers elsewhere are known by their base URIs, and no others."""
        ca = make_ca()
        own = issue(ca, ["ps.example.com"])
        peers = (
            ContentPeer(
                "https://content.example.com/cs/",
                ca=ca.file,
                certificate=own.certificate,
                key=own.key,
            ),
            ContentPeer("http://192.0.2.7:8080/objects"),
        )
        node = self.build(ContentTable(server=peers), roles=("presence-server",))
        self.assertIsNone(node.content)
        assert node.objects is not None
        for uri, owned in (
            (f"https://content.example.com/cs/o/{ID}", True),
            (f"http://192.0.2.7:8080/objects/o/{ID}", True),
            (f"https://192.0.2.7:8080/objects/o/{ID}", False),
            (f"https://localhost:8443/cs/o/{ID}", False),
        ):
            self.assertEqual(node.objects.all.owns(uri), owned, uri)
        self.successResultOf(Deferred.fromCoroutine(node.objects.stop()))

    def test_certificate(self) -> None:
        """A certificate that cannot be used is told at the start."""
        peer = ContentPeer("https://h.example/", certificate="/nowhere", key="/nowhere")
        self.assertRaises(
            (CredentialsError, OSError),
            self.build,
            ContentTable(server=(peer,)),
            roles=("presence-server",),
        )

    def test_nothing(self) -> None:
        """A process without the role, and without servers elsewhere, knows no objects."""
        node = self.build(roles=("presence-server",))
        self.assertEqual((node.content, node.objects), (None, None))
