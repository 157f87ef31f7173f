"""REGISTER for use without an IMS core (RFC 3261 section 10.3, CLI-01).

A REGISTER is decided at once in memory, all of it or nothing, and answered when the store
has the change; a change that could not be stored is undone.  No GRUU is handed out, and no
Service-Route: clients would send what we could not route (CLI-01).
"""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING

import attrs
from twisted.logger import Logger

from presence.oplog import DAMAGED_RECORD, report
from pysip.errors import ParseError, SipError
from pysip.event.records import BindingRecord
from pysip.header import format_date, format_name_addr, parse_delta, parse_token_list
from pysip.timers import Timed
from pysip.uri import Uri, equivalent, parse_uri

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IReactorTime

    from presence.interfaces import IPresenceStore
    from pysip.auth.domains import Domains
    from pysip.header import NameAddr
    from pysip.interfaces import Identity
    from pysip.message import Request
    from pysip.timers import TimerWheel
    from pysip.ua import ServerRequest

_HOUR = 3600
"""A registrar refuses nothing from here on as too brief; malformed intervals count as it."""


@attrs.frozen(slots=True)
class RegistrarPolicy:
    """Intervals in seconds, and limits.

    :ivar default_expires: for a contact without interval.
    :ivar min_expires: shorter ones get 423, unless they are an hour or more.
    :ivar max_expires: longer ones are cut.
    :ivar max_bindings: of one address of record; beyond it 403.
    """

    default_expires: int = 3600
    min_expires: int = 60
    max_expires: int = 86400
    max_bindings: int = 10


@attrs.frozen(slots=True, eq=False)
class Binding:
    """A contact of an address of record.  Each REGISTER that touches it makes another.

    :ivar record: what the store keeps.
    :ivar uri: the contact, parsed.
    :ivar deadline: on the monotonic clock (OBS-04).
    """

    record: BindingRecord
    uri: Uri
    deadline: float


class _Registration(Timed):
    """The bindings of one address of record, and the timer of the first to expire."""

    __slots__ = ("aor", "bindings", "registrar")

    def __init__(self, registrar: Registrar, aor: str) -> None:
        self._slot = -1
        self.registrar = registrar
        self.aor = aor
        self.bindings: tuple[Binding, ...] = ()

    def fire(self) -> None:
        """A binding has expired."""
        self.registrar.expired(self)


class _Change:
    """One REGISTER between its decision and its durability."""

    __slots__ = ("_answer", "_aor", "_before", "_registrar", "_served")

    def __init__(
        self,
        registrar: Registrar,
        served: ServerRequest,
        aor: str,
        before: tuple[Binding, ...] | None,
    ) -> None:
        """Note the answer and how to go back.

        :param before: the bindings to restore, None when nothing has changed.
        """
        self._registrar = registrar
        self._served = served
        self._aor = aor
        self._before = before
        self._answer = registrar.describe(aor)

    def __call__(self, durable: bool) -> None:
        """Answer."""
        if durable:
            self._served.respond(200, headers=self._answer)
            return
        if self._before is not None:
            self._registrar.assign(self._aor, self._before)
        self._served.refuse(SipError(500, "Server Internal Error: storage"))


class Registrar:
    """Bindings of the served domains.

    :param store: makes the bindings durable.
    :param domains: served domains.
    :param clock: monotonic time.
    :param wheel: expiry timers.
    :param wall: wall-clock seconds; deadlines in the store survive a restart.
    :param policy: intervals and limits.

    :ivar count: bindings there are.
    """

    _log = Logger()

    def __init__(
        self,
        store: IPresenceStore,
        domains: Domains,
        clock: IReactorTime,
        wheel: TimerWheel,
        wall: Callable[[], float],
        policy: RegistrarPolicy | None = None,
    ) -> None:
        self._store = store
        self._domains = domains
        self._clock = clock
        self._wheel = wheel
        self._wall = wall
        self.policy = policy or RegistrarPolicy()
        self.count = 0
        self._registrations: dict[str, _Registration] = {}

    # -- state --------------------------------------------------------------------------

    def recover(self) -> Deferred[None]:
        """Take the bindings back from the store; call once, before the first REGISTER."""
        recovering: Deferred[None] = self._store.recover_bindings(self._recovered)
        return recovering

    def stop(self) -> None:
        """Forget everything; the store keeps it."""
        for registration in self._registrations.values():
            self._wheel.cancel(registration)
        self._registrations.clear()
        self.count = 0

    def bindings(self, aor: str) -> tuple[Binding, ...]:
        """The live bindings of a canonical address of record, in order of registration."""
        registration = self._registrations.get(aor)
        if registration is None:
            return ()
        now = self._clock.seconds()
        return tuple(b for b in registration.bindings if b.deadline > now)

    def expired(self, registration: _Registration) -> None:
        """Remove the bindings of a registration whose time is over."""
        now = self._clock.seconds()
        for binding in registration.bindings:
            if binding.deadline <= now:
                self._store.remove_binding(registration.aor, binding.record.contact)
        self.assign(registration.aor, registration.bindings)

    def assign(self, aor: str, bindings: Iterable[Binding]) -> None:
        """Make these the bindings of an address of record, less those that have expired."""
        now = self._clock.seconds()
        live = tuple(binding for binding in bindings if binding.deadline > now)
        registration = self._registrations.get(aor)
        if registration is None:
            if not live:
                return
            registration = self._registrations[aor] = _Registration(self, aor)
        self.count += len(live) - len(registration.bindings)
        registration.bindings = live
        if live:
            first = min(binding.deadline for binding in live)
            self._wheel.after(first - now, registration)
        else:
            self._wheel.cancel(registration)
            del self._registrations[aor]

    def _recovered(self, records: list[BindingRecord]) -> None:
        now, wall = self._clock.seconds(), self._wall()
        for record in records:
            try:
                uri = parse_uri(record.contact)
            except ParseError:
                uri = None
            if uri is None:
                report(self._log, DAMAGED_RECORD, "a registered contact is no URI")
            if uri is None or record.expires <= wall:
                self._store.remove_binding(record.aor, record.contact)
                continue
            binding = Binding(record, uri, now + record.expires - wall)
            known = self._registrations.get(record.aor)
            self.assign(record.aor, (*(known.bindings if known else ()), binding))

    # -- REGISTER -----------------------------------------------------------------------

    def serve(self, served: ServerRequest) -> None:
        """Process a REGISTER (RFC 3261 section 10.3).

        :raises SipError: the refusal; nothing has changed then.
        :raises ParseError: a header value is malformed.
        """
        request = served.request
        domain = self._domains.domain_of(request.uri)
        if domain is None:
            raise SipError(404)
        if "require" in request.headers:
            # path, outbound and gruu as well: nothing of it is done here
            tags = parse_token_list(request.values("require"))
            if tags:
                raise SipError(420, None, (("Unsupported", ", ".join(tags)),))
        aor = self._address_of_record(request, served.identity, domain)
        if self._store.failed:
            raise SipError(503, None, (("Retry-After", "10"),))
        contacts = request.contacts
        undo = None
        if contacts:
            live = self.bindings(aor)
            if any(contact.uri == "*" for contact in contacts):
                after = self._without_all(request, live)
            else:
                after = self._with(request, aor, contacts, live)
            undo = self._commit(aor, after)
        self._store.when_durable(_Change(self, served, aor, undo))

    def describe(self, aor: str) -> list[tuple[str, str]]:
        """Header fields of the 200: all current bindings, and the Date (step 8)."""
        now = self._clock.seconds()
        fields = [("Date", format_date(self._wall()))]
        for binding in self.bindings(aor):
            record = binding.record
            params: dict[str, str | None] = {"expires": str(ceil(binding.deadline - now))}
            if record.q != 1000:
                params["q"] = f"{record.q / 1000:.3f}".rstrip("0").rstrip(".")
            value = format_name_addr("", record.contact, params)
            if record.instance:
                value += f';+sip.instance="{record.instance}"'
            fields.append(("Contact", value))
        return fields

    def _address_of_record(self, request: Request, identity: Identity, domain: str) -> str:
        """The address to register, which must be the sender's own (steps 4 and 5)."""
        aor = self._domains.canonical(request.to.uri)
        if aor not in identity.uris:
            raise SipError(403, "Forbidden: Not Your Address of Record")
        if self._domains.domain_of(aor) != domain:
            raise SipError(404)
        return aor

    def _without_all(self, request: Request, before: tuple[Binding, ...]) -> list[Binding]:
        """``Contact: *`` (step 6)."""
        if len(request.contacts) != 1 or request.expires != 0:
            raise SipError(400, "Bad Request: Contact * needs Expires 0 and No Other Contact")
        for binding in before:
            _check_order(request, binding)
        return []

    def _with(
        self,
        request: Request,
        aor: str,
        contacts: list[NameAddr],
        before: tuple[Binding, ...],
    ) -> list[Binding]:
        """The bindings after adding, refreshing and removing ``contacts`` (step 7)."""
        policy = self.policy
        if len(contacts) > 2 * policy.max_bindings:
            raise SipError(403, "Forbidden: Too Many Contacts")
        now, wall = self._clock.seconds(), self._wall()
        call_id, cseq = request.call_id, request.cseq[0]
        after = list(before)
        new: list[Binding] = []
        for contact in contacts:
            uri = parse_uri(contact.uri)
            granted = self._grant(contact, request)
            place = _find(after, contact.uri, uri)
            if place is not None and after[place] not in new:
                _check_order(request, after[place])
            if not granted:
                if place is not None:
                    del after[place]
                continue
            record = BindingRecord(
                aor,
                contact.uri,
                call_id,
                cseq,
                wall + granted,
                _thousandths(contact.params.get("q")),
                _instance(contact),
            )
            binding = Binding(record, uri, now + granted)
            new.append(binding)
            if place is None:
                after.append(binding)
            else:
                after[place] = binding
        return self._within_limit(after, new)

    def _grant(self, contact: NameAddr, request: Request) -> int:
        """Seconds to register a contact for; 0 removes it."""
        requested = request.expires
        if "expires" in contact.params:
            requested = parse_delta(contact.params["expires"] or "")
            if requested is None:
                requested = _HOUR  # RFC 3261 section 10.2.1.1
        if requested is None:
            requested = self.policy.default_expires
        if 0 < requested < min(_HOUR, self.policy.min_expires):
            raise SipError(423, None, (("Min-Expires", str(self.policy.min_expires)),))
        return min(requested, self.policy.max_expires)

    def _within_limit(self, after: list[Binding], new: list[Binding]) -> list[Binding]:
        """Make room by giving up what a re-registered instance has left behind.

        A client whose contact names an ephemeral port (CLI-08) leaves one with each of its
        connections.
        """
        excess = len(after) - self.policy.max_bindings
        if excess > 0:
            instances = {b.record.instance for b in new if b.record.instance}
            stale = [b for b in after if b.record.instance in instances and b not in new]
            stale.sort(key=lambda binding: binding.deadline)
            dropped = stale[:excess]
            if len(dropped) < excess:
                raise SipError(403, "Forbidden: Too Many Bindings")
            after = [binding for binding in after if binding not in dropped]
        return after

    def _commit(self, aor: str, after: list[Binding]) -> tuple[Binding, ...]:
        """Change memory and queue the rows; return what there was before."""
        registration = self._registrations.get(aor)
        before = registration.bindings if registration is not None else ()
        kept = {binding.record.contact for binding in after}
        for binding in before:
            if binding.record.contact not in kept:
                self._store.remove_binding(aor, binding.record.contact)
        for binding in after:
            if binding not in before:
                self._store.put_binding(binding.record)
        self.assign(aor, after)
        return before


def _find(bindings: list[Binding], text: str, uri: Uri) -> int | None:
    """Where the binding of a contact is, by the rules of URI comparison."""
    for place, binding in enumerate(bindings):
        if binding.record.contact == text or equivalent(binding.uri, uri):
            return place
    return None


def _check_order(request: Request, binding: Binding) -> None:
    """Refuse a REGISTER that was sent before the one that made ``binding``.

    :raises SipError: 500, as for other requests out of order (RFC 3261 section 12.2.2).
    """
    record = binding.record
    if record.call_id == request.call_id and request.cseq[0] <= record.cseq:
        raise SipError(500, "CSeq Out of Order")


def _thousandths(q: str | None) -> int:
    """A ``q`` parameter in thousandths; 1000 without one.

    :raises ParseError: not 0 to 1 with at most three decimals.
    """
    if q is None:
        return 1000
    whole, _, decimals = q.partition(".")
    digits = whole + decimals
    if len(whole) != 1 or len(decimals) > 3 or not (digits.isascii() and digits.isdigit()):
        raise ParseError("Bad q parameter")
    value = int(whole) * 1000 + int(decimals.ljust(3, "0"))
    if value > 1000:
        raise ParseError("Bad q parameter")
    return value


def _instance(contact: NameAddr) -> str:
    """The ``+sip.instance`` value of a contact, or "" (GRU-03)."""
    instance = contact.params.get("+sip.instance") or ""
    return "" if '"' in instance or "\\" in instance else instance
