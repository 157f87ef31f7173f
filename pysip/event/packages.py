"""The event packages of a notifier, and what all of them ask of a SUBSCRIBE."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pysip.errors import SipError
from pysip.mime import disposition_optional

if TYPE_CHECKING:
    from pysip.event.interfaces import IEventPackage
    from pysip.event.table import NotifierPolicy
    from pysip.header import EventType
    from pysip.interfaces import Identity
    from pysip.message import Request


class Packages:
    """The packages by name and by event type.

    :ivar by_name: each of them.
    :ivar by_event: those of one event type, the last added first: the order they are asked in.
    """

    def __init__(self) -> None:
        self.by_name: dict[str, IEventPackage] = {}
        self.by_event: dict[str, tuple[IEventPackage, ...]] = {}

    def add(self, package: IEventPackage) -> None:
        """One more package.

        :raises ValueError: its name is taken.
        """
        if package.name in self.by_name:
            raise ValueError(f"there is a package {package.name} already")
        self.by_name[package.name] = package
        self.by_event[package.event] = (package, *self.by_event.get(package.event, ()))

    def find(self, request: Request) -> None:
        """See that the resource of an initial SUBSCRIBE is one of some package (UAS-01).

        :raises SipError: 404, or what a package says of the Request-URI.
        """
        event = request.event
        packages = self.by_event.get(event.package) if event is not None else None
        missing: SipError | None = None
        for package in packages or self.by_name.values():
            try:
                package.resolve(request)
            except SipError as error:
                if error.status != 404:
                    raise
                missing = error
            else:
                return
        if missing is not None:
            raise missing


def event_value(event: EventType) -> str:
    """Event header of the NOTIFYs: type and ``id``, which are what matching compares (SUB-02)."""
    return event.package if event.id is None else f"{event.package};id={event.id}"


def granted(request: Request, package: IEventPackage, policy: NotifierPolicy) -> int:
    """The lifetime to grant in seconds (SUB-04 to SUB-06).

    :raises SipError: 423.
    """
    requested = request.expires
    if requested is None:
        requested = package.default_expires
    if 0 < requested < min(3600, policy.min_expires):
        raise SipError(423, None, (("Min-Expires", str(policy.min_expires)),))
    return min(requested, policy.max_expires)


def agreed_type(request: Request, package: IEventPackage) -> str:
    """The media type to notify with; a body of a type that means nothing is refused (SUB-17).

    :raises SipError: 406, 415 or 421.
    """
    content_type = package.choose_type(request)
    if request.body and "*/*" not in package.subscribe_types:
        media = request.content_type
        if (media is None or media.type not in package.subscribe_types) and (
            not disposition_optional(request.first("content-disposition"))
        ):
            raise SipError(415, None, (("Accept", ", ".join(package.subscribe_types)),))
    return content_type


def admit(
    request: Request,
    package: IEventPackage,
    resource: str,
    watcher: Identity,
    policy: NotifierPolicy,
) -> tuple[str, int, str]:
    """State, lifetime and media type of a subscription that a SUBSCRIBE asks for.

    :raises SipError: the refusal.
    """
    state = package.authorize(resource, watcher)
    if state == "rejected":
        raise SipError(403, None, (("Warning", '399 presence "not authorized to watch"'),))
    expires = granted(request, package, policy)
    return state, expires, agreed_type(request, package)
