"""Two HTTP services behind the same ports, told apart by the path."""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from typing import TYPE_CHECKING, Any

from zope.interface import implementer

from xcap.interfaces import IHttpService

if TYPE_CHECKING:
    from xcap.records import Head, HttpResponse, Receive


@implementer(IHttpService)
class PathSwitch:
    """Gives requests to the service below whose path they are.

    :param services: begin of the path, ending in ``/``, and who answers.
    :param others: answers everything else.
    """

    def __init__(self, services: Sequence[tuple[str, IHttpService]], others: IHttpService) -> None:
        self._services = tuple(services)
        self._others = others

    def begin(self, head: Head) -> Coroutine[Any, Any, HttpResponse | Receive]:
        """See :class:`xcap.interfaces.IHttpService`."""
        target = head.target
        for prefix, service in self._services:
            if target.startswith(prefix):
                return service.begin(head)
        return self._others.begin(head)
