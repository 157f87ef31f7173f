"""SUBSCRIBE: subscriptions made, refreshed and ended by SIP (SUB-01 to SUB-23)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from pysip.coding import choose_coding
from pysip.dialog import single_contact, uas_dialog, wants_sips
from pysip.errors import SipError
from pysip.event.dialogsubscription import DialogSubscription
from pysip.event.live import TIMEOUT
from pysip.event.packages import admit, agreed_type, event_value, granted
from pysip.event.rates import Rates, read_rates
from pysip.event.subscription import CSEQ_BLOCK, FORCED
from pysip.header import is_token

if TYPE_CHECKING:
    from twisted.python.failure import Failure

    from pysip.event.interfaces import IEventPackage
    from pysip.event.live import LiveSubscriptions
    from pysip.event.notifier import Notifier
    from pysip.event.packages import Packages
    from pysip.header import EventType
    from pysip.message import Request
    from pysip.ua import ServerRequest, UserAgent

_NOT_STORED = "Server Internal Error: storage"
_NO_RATES = Rates()


class SubscribeServer:
    """Serves SUBSCRIBE.

    :param ua: the user agent.
    :param notifier: what subscriptions belong to.
    :param live: the subscriptions.
    :param packages: asked about each request.
    """

    def __init__(
        self, ua: UserAgent, notifier: Notifier, live: LiveSubscriptions, packages: Packages
    ) -> None:
        self._ua = ua
        self._notifier = notifier
        self._live = live
        self._packages = packages

    def serve(self, served: ServerRequest) -> None:
        """Process one SUBSCRIBE.

        :raises SipError: the refusal; nothing has changed then.
        """
        request = served.request
        event = request.event
        packages = self._packages.by_event.get(event.package) if event is not None else None
        if event is None or packages is None:
            self.find(request)
            raise SipError(489, None, (("Allow-Events", ", ".join(self._ua.events)),))
        if self._live.store.failed:
            raise SipError(503, None, (("Retry-After", "10"),))
        if request.to.tag:
            self._ask_in_dialog(served, event_value(event), self._find_dialog(request))
        else:
            self._ask(served, event, packages)

    def _ask_in_dialog(
        self, served: ServerRequest, event: str, subscription: DialogSubscription
    ) -> None:
        """Let the package of the subscription prepare itself, and go on."""
        package = self._packages.by_name[subscription.package]
        waiting = package.prepare(served.request, served.identity)
        if waiting is None:
            self._serve_in_dialog(served, event, subscription)
            return

        def prepared(served: ServerRequest) -> None:
            self._serve_in_dialog(served, event, self._find_dialog(served.request))

        waiting.addBoth(lambda _: self._ua.resume(served, prepared))

    def _ask(
        self, served: ServerRequest, event: EventType, packages: tuple[IEventPackage, ...]
    ) -> None:
        """Let the first of these packages prepare itself, and go on with it."""
        waiting = packages[0].prepare(served.request, served.identity)
        if waiting is None:
            self._prepared(served, event, packages)
            return

        def go_on(_: object) -> None:
            self._ua.resume(served, lambda served: self._prepared(served, event, packages))

        def refused(failure: Failure) -> None:
            self._ua.resume(served, lambda served: failure.raiseException())

        waiting.addCallbacks(go_on, refused)

    def _prepared(
        self, served: ServerRequest, event: EventType, packages: tuple[IEventPackage, ...]
    ) -> None:
        package = packages[0]
        try:
            resource = package.resolve(served.request)
        except SipError as error:
            if error.status != 404 or len(packages) == 1:
                raise
            self._ask(served, event, packages[1:])
        else:
            self._serve_initial(served, package, resource, event_value(event))

    def find(self, request: Request) -> None:
        """See that a request is for a resource or a dialog that is here (UAS-01 steps 5, 6).

        :raises SipError: 404 or 481.
        """
        if request.to.tag:
            self._find_dialog(request)
        else:
            self._packages.find(request)

    def _find_dialog(self, request: Request) -> DialogSubscription:
        place = (request.call_id, request.to.tag, request.from_.tag)
        found = self._live.table.places.get(place)
        if not isinstance(found, DialogSubscription):
            raise SipError(481)
        return found

    def _serve_initial(
        self, served: ServerRequest, package: IEventPackage, resource: str, event: str
    ) -> None:
        request = served.request
        live = self._live
        watcher = served.identity
        if watcher.info:
            watcher = attrs.evolve(watcher, info="")  # of this request only
        state, expires, content_type = admit(request, package, resource, watcher, live.policy)
        contact = self._ua.contact(served.flow, self._ua.tokens.tag(), wants_sips(request))
        dialog = uas_dialog(request, served.to_tag, contact, served.flow.secure)
        dialog.routing()  # an unusable route set is refused now, not at the NOTIFY
        subscription = DialogSubscription(
            self._notifier,
            live.last_id + 1,
            package.name,
            resource,
            package.entity(request, resource),
            event,
            dialog,
            watcher,
            state,
            content_type,
            live.clock.seconds() + expires,
            live.wall(),
        )
        self._take_fields(subscription, served)
        subscription.wish(*_wishes(request))
        if not expires:
            # A fetch: one NOTIFY, nothing to keep (SUB-09).
            subscription.id = 0
            package.subscribe(request, subscription, True)
            self._answer(served, subscription, 0)
            subscription.ready = True
            subscription.cseq_limit = CSEQ_BLOCK
            live.finish(subscription, TIMEOUT)
            return
        instance = request.contacts[0].params.get("+sip.instance") or ""
        # A device that comes again takes the place of its older subscription, which nobody
        # listens to any more.
        replaced = live.table.same_device(subscription, instance)
        live.table.check_limits(subscription, live.policy, len(replaced))
        package.subscribe(request, subscription, True)
        subscription.instance = instance

        def begun(stored: bool) -> None:
            if not stored:
                served.refuse(SipError(500, _NOT_STORED))
                return
            for older in replaced:
                live.remove(older)
            self._answer(served, subscription, expires)
            self._notifier.sender.pacing.begin(subscription)
            live.ready(subscription)

        live.begin(subscription, begun)

    def _serve_in_dialog(
        self, served: ServerRequest, event: str, subscription: DialogSubscription
    ) -> None:
        """A refresh, an un-SUBSCRIBE, or something foreign in the dialog (SUB-10 to SUB-13)."""
        request = served.request
        live = self._live
        package = self._packages.by_name[subscription.package]
        if subscription.event != event:
            raise SipError(403, "Forbidden: dialog sharing not supported")
        if served.identity.uri != subscription.watcher.uri:
            raise SipError(403, "Forbidden: not the subscriber")
        dialog = subscription.dialog
        cseq = request.cseq[0]
        if not dialog.in_order(cseq):
            raise SipError(500, "Server Internal Error: CSeq out of order")
        expires = granted(request, package, live.policy)
        content_type = subscription.content_type
        if expires:
            content_type = agreed_type(request, package)
        target = single_contact(request) if "contact" in request.headers else dialog.remote_target
        before = subscription.terms()
        repeated = (subscription.event_params, subscription.require, dialog.remote_target)
        wishes = _wishes(request)
        if expires:
            package.subscribe(request, subscription, False)
        subscription.wish(*wishes)
        dialog.remote_cseq = cseq
        if repeated != (subscription.event_params, subscription.require, target):
            dialog.remote_target = target
            subscription.reset_head()
        subscription.content_type = content_type
        if not expires:
            live.leave(subscription)
            live.store.remove_subscription(subscription.id)
        else:
            subscription.deadline = live.clock.seconds() + expires
            live.wheel.after(expires, subscription)
            live.put(subscription)

        def durable(stored: bool) -> None:
            if stored:
                self._refreshed(served, subscription, expires)
                return
            subscription.restore(before)
            if not expires:
                live.enter(subscription)
                self._notifier.sender.pacing.begin(subscription)
                # what it missed meanwhile
                self._notifier.changed(package.name, subscription.resource)
            elif live.table.holds(subscription):
                live.rearm(subscription)
            served.refuse(SipError(500, _NOT_STORED))

        live.store.when_durable(durable)

    def _refreshed(
        self, served: ServerRequest, subscription: DialogSubscription, expires: int
    ) -> None:
        """A refresh or un-SUBSCRIBE is durable: answer, and send the NOTIFY (SUB-08, SUB-10)."""
        live = self._live
        package = self._packages.by_name[subscription.package]
        state = package.authorize(subscription.resource, subscription.watcher)
        if not expires:
            if state == subscription.state and self._quiet(package, subscription):
                self._answer(served, subscription, 0, quiet=True)
                subscription.state, subscription.reason = "terminated", "timeout"
                package.unsubscribed(subscription)
                return
            self._answer(served, subscription, 0)
            subscription.state = "terminated" if state == "rejected" else state
            subscription.reason = "rejected" if state == "rejected" else "timeout"
            package.unsubscribed(subscription)
            live.finish(subscription, TIMEOUT)
        elif subscription.state == "terminated":
            served.refuse(SipError(481))  # it has ended meanwhile
        elif not live.table.holds(subscription):
            self._answer(served, subscription, expires)  # its subscriber is ending it
        elif state == "rejected":
            self._answer(served, subscription, expires)
            live.terminate(subscription, "rejected")
        else:
            self._notifier.sender.pacing.begin(subscription)
            if state == subscription.state and self._quiet(package, subscription):
                self._answer(served, subscription, expires, quiet=True)
                return
            if state != subscription.state:
                live.set_state(subscription, state)
            self._answer(served, subscription, expires)
            subscription.owe(FORCED)

    def _quiet(self, package: IEventPackage, subscription: DialogSubscription) -> bool:
        """Whether a SUBSCRIBE in a dialog is to be followed by no NOTIFY (SNE-04, SNE-08)."""
        if not subscription.suppress:
            return False
        tag = None if subscription.suppress == "*" else package.entity_tag(subscription)
        return subscription.suppresses(tag)

    def _answer(
        self,
        served: ServerRequest,
        subscription: DialogSubscription,
        expires: int,
        *,
        quiet: bool = False,
    ) -> None:
        """The 2xx to a SUBSCRIBE (SUB-07, SUB-14, DLG-02, RLS-03).

        :param quiet: no NOTIFY follows (SNE-04).
        """
        pending = subscription.state == "pending" and self._live.policy.accepted_pending
        ua = self._ua
        headers = [
            ("Record-Route", value) for value in served.request.headers.get("record-route", ())
        ]
        headers += (
            ("Contact", subscription.dialog.contact),
            ("Expires", str(expires)),
            ("Allow", ua.allow),
            ("Allow-Events", ", ".join(ua.events)),
            ("Supported", ", ".join(ua.supported)),
        )
        if subscription.require:
            headers.append(("Require", subscription.require))
        served.respond(204 if quiet else 202 if pending else 200, headers=headers)

    def _take_fields(self, subscription: DialogSubscription, served: ServerRequest) -> None:
        """Header fields for NOTIFYs inside the trust domain (IMS-09, IMS-14, IMS-15)."""
        if not self._ua.identities.trusted(served.flow):
            return
        request = served.request
        asserted = self._live.policy.own_uri or subscription.resource
        fields = [("P-Asserted-Identity", f"<{asserted}>")]
        vector = request.first("p-charging-vector")
        if vector is None and self._ua.network:
            vector = self._ua.charging_vector(subscription.dialog.call_id)
        if vector is not None:
            fields.append(("P-Charging-Vector", vector))
        subscription.fields = tuple(fields)
        subscription.charging = request.first("p-charging-function-addresses") or ""


def _wishes(request: Request) -> tuple[str, str, Rates]:
    """In what coding, under what condition and how often the watcher wants to be told.

    Each SUBSCRIBE says it anew (SNE-09, RAT-03).

    :raises SipError: 400.
    """
    event = request.event
    headers = request.headers
    return (
        choose_coding(headers["accept-encoding"]) if "accept-encoding" in headers else "",
        _condition(headers["suppress-if-match"]) if "suppress-if-match" in headers else "",
        read_rates(event.params) if event is not None and event.params else _NO_RATES,
    )


def _condition(values: list[str]) -> str:
    """The entity-tag of Suppress-If-Match, or ``*`` (SNE-14).

    :raises SipError: 400 when it is not exactly one.
    """
    if len(values) != 1 or not is_token(values[0]):
        raise SipError(400, "Bad Request: Suppress-If-Match is not one entity-tag")
    return values[0]
