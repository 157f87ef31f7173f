"""Tests of :mod:`presence.content.switch`: two services behind one port."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from presence.content.switch import PathSwitch
from xcap.interfaces import IHttpService
from xcap.records import Head, Headers, HttpPeer, HttpResponse, Receive


@implementer(IHttpService)
class Named:
    """Answers by its status."""

    def __init__(self, status: int) -> None:
        self._status = status

    async def begin(self, head: Head) -> HttpResponse | Receive:
        """Its answer."""
        return HttpResponse(self._status)


class SwitchTests(SynchronousTestCase):
    """Which service answers."""

    def test_paths(self) -> None:
        """By the begin of the path, as it is spelt; everything else goes on."""
        switch = PathSwitch([("/cs/", Named(201)), ("/a/b/", Named(202))], Named(200))
        verifyObject(IHttpService, switch)
        for target, status in (
            ("/cs/", 201),
            ("/cs/o/x?y", 201),
            ("/a/b/c", 202),
            ("/cs", 200),
            ("/csx/", 200),
            ("/%63s/", 200),
            ("//cs/", 200),
            ("/resource-lists/users/cs/", 200),
            ("*", 200),
        ):
            head = Head("GET", target, "h", Headers(), HttpPeer("192.0.2.1"))
            answer = self.successResultOf(Deferred.fromCoroutine(switch.begin(head)))
            assert isinstance(answer, HttpResponse)
            self.assertEqual(answer.status, status, target)
