"""Terms of a subscription that change while it lasts, one change after the other."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

import attrs
from twisted.internet.defer import Deferred

from pysip.event.wishes import check_rates

if TYPE_CHECKING:
    from pysip.event.rates import Rates
    from pysip.event.terms import SubscriptionTerms
    from pysip.message import Response


class ChangeRefusedError(Exception):
    """The notifier does not accept other terms; those before are in force.

    :ivar response: its answer.
    """

    def __init__(self, response: Response) -> None:
        super().__init__(f"{response.status}")
        self.response = response


@attrs.frozen(slots=True, eq=False)
class Change:
    """Other terms, until they are accepted.

    :ivar fields: of the terms that will be others.
    :ivar update: body of the SUBSCRIBE that tells.
    :ivar done: fires when they are.
    """

    fields: dict[str, Any]
    update: bytes
    done: Deferred[None] = attrs.field(factory=Deferred)

    @property
    def another_view(self) -> bool:
        """Whether the state will be presented otherwise than before."""
        return not self.fields.keys() <= {"rates"}


def make_change(
    accept: tuple[str, ...] | None,
    rates: Rates | None,
    body: tuple[str, bytes] | None,
    update: bytes | None,
) -> Change:
    """A change of what is not None; see :meth:`pysip.event.subscriber.Subscriber.change`.

    :raises ValueError: the rates contradict each other.
    """
    fields: dict[str, Any] = {}
    if accept is not None:
        fields["accept"] = accept
    if rates is not None:
        check_rates(rates)
        fields["rates"] = rates
    if body is not None:
        fields["content_type"], fields["body"] = body
    whole = b"" if body is None else body[1]
    return Change(fields, whole if update is None else update)


class Changes:
    """The terms of a subscription, and their changes.

    :ivar terms: those in force; while others are on their way to the notifier, these.
    :ivar current: the change that is on its way, or None.
    """

    def __init__(self, terms: SubscriptionTerms) -> None:
        self.terms = terms
        self.current: Change | None = None
        self._before = terms
        self._waiting: deque[Change] = deque()

    def add(self, change: Change) -> None:
        """Let it follow those before it."""
        self._waiting.append(change)

    def begin(self) -> Change | None:
        """The change that is to be told now, None while there is one or for none."""
        if self.current is not None or not self._waiting:
            return None
        change = self.current = self._waiting.popleft()
        self._before = self.terms
        self.terms = attrs.evolve(self.terms, **change.fields)
        return change

    def end(self, refusal: Response | None) -> None:
        """The current one is accepted, or refused: then the terms are as before it."""
        change, self.current = self.current, None
        if change is None:
            return
        if refusal is None:
            change.done.callback(None)
        else:
            self.terms = self._before
            change.done.errback(ChangeRefusedError(refusal))
