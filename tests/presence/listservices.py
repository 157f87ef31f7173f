"""What tests of :mod:`presence.rls.services` share: documents of services, and a source of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from twisted.internet.defer import Deferred

from presence.rls.entries import ServiceSettings
from presence.rls.model import Service
from presence.rls.services import HeldService, ServiceSource
from pysip.errors import SipError
from pysip.interfaces import Identity
from tests.presence.rulesources import JOE, ROOT, DocumentsTestCase, Users
from xcap.usage.names import RESOURCE_LISTS, RLS_SERVICES

SERVICES = f"rls-services/users/{JOE}/index"
FRIENDS = f"{JOE};pres-list=friends"
WORK = f"{JOE};pres-list=work"
GLOBAL = "rls-services/global/index/~~/rls-services/service"


def entry(uri: str, *names: tuple[str, str]) -> str:
    """An entry with display names."""
    return f'<entry uri="{uri}">{_display(names)}</entry>'


def _display(names: Iterable[tuple[str, str]]) -> str:
    return "".join(
        f'<display-name xml:lang="{lang}">{name}</display-name>'
        if lang
        else f"<display-name>{name}</display-name>"
        for lang, name in names
    )


def service(
    inner: str | Iterable[str] = (), uri: str = FRIENDS, packages: Iterable[str] | None = None
) -> str:
    """A service with a list.

    :param inner: what the list holds as XML, or URIs; one that begins with ``https:`` is that
        of the list instead.
    """
    if not isinstance(inner, str):
        inner = "".join(map(entry, inner))
    if inner.startswith("https:"):
        inside = f"<s:resource-list>\n  {inner}\n</s:resource-list>"
    else:
        inside = f"<s:list>{inner}</s:list>"
    if packages is not None:
        names = "".join(f"<s:package>{name}</s:package>" for name in packages)
        inside += f"<s:packages>{names}</s:packages>"
    return f'<s:service uri="{uri}">{inside}</s:service>'


def services(*elements: str) -> bytes:
    """A document of services."""
    return (
        f'<s:rls-services xmlns:s="{RLS_SERVICES}" xmlns="{RESOURCE_LISTS}">'
        f"{''.join(elements)}</s:rls-services>"
    ).encode()


def lists_of(inner: str) -> bytes:
    """A document of lists."""
    return f'<resource-lists xmlns="{RESOURCE_LISTS}">{inner}</resource-lists>'.encode()


def uris(found: Service | None) -> list[str] | None:
    """The members of a service."""
    return None if found is None else [member.uri for member in found.members]


class ServiceSourceTestCase(DocumentsTestCase):
    """Base with a service source on a document server.

    :cvar settings: of the source.
    :cvar lossy: whether the feed may be out of order.
    :ivar told: what the source has told who holds a service.
    """

    settings = ServiceSettings()
    lossy = False

    def setUp(self) -> None:
        """Start all."""
        super().setUp()
        self.told: list[Service | None] = []
        self.source = self.make(self.settings)

    def tearDown(self) -> None:
        """Nothing is left when nobody asks for anything."""
        self.source.stop()
        self.assertEqual((len(self.source), self.source.documents), (0, 0))
        self.assertEqual(len(self.store_feed), 0)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def make(self, settings: ServiceSettings) -> ServiceSource:
        """A service source."""
        return ServiceSource(
            self.clock,
            self.clients,
            self.feed if self.lossy else self.store_feed,
            lambda user: ROOT,
            Users().canonical,
            settings,
        )

    def look(
        self, uri: str = FRIENDS, watcher: str = JOE, package: str = "presence"
    ) -> Deferred[Service | None]:
        """Begin to look for a service."""
        identity = Identity(tuple(filter(None, watcher.split(","))))
        return self.source.find(uri, identity, package)

    def find(
        self, uri: str = FRIENDS, watcher: str = JOE, package: str = "presence"
    ) -> Service | None:
        """Look for a service; everything is there at once."""
        found = self.wait(self.look(uri, watcher, package))
        assert found is None or isinstance(found, Service)
        return found

    def refused(
        self, uri: str = FRIENDS, watcher: str = JOE, package: str = "presence"
    ) -> SipError:
        """Look for a service; that fails at once."""
        looking = self.look(uri, watcher, package)
        self.settle()
        error = self.failureResultOf(looking, SipError).value
        assert isinstance(error, SipError)
        return error

    def hold(
        self,
        uri: str = FRIENDS,
        owner: str = JOE,
        changed: Callable[[Service | None], Any] | None = None,
    ) -> HeldService:
        """Hold a service."""
        return self.source.hold(uri, owner, changed or self.told.append)

    def changes(self) -> list[list[str] | None]:
        """The members of what was told since this was called last, after all has settled."""
        self.settle()
        told, self.told[:] = list(self.told), []
        return [uris(one) for one in told]

    def lapse(self) -> None:
        """Let what lingers be forgotten."""
        self.pass_time(self.settings.linger + 0.1, 1.0)
