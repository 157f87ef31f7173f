"""Conditional notification, as the subscriber sees it (RFC 5839 section 5; events.md F)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pysip.header import is_token

if TYPE_CHECKING:
    from pysip.message import Request

ANY: Final = "*"
"""Suppress-If-Match that is always true: no state is notified (SNE-09)."""

_MOST_FAILURES: Final = 2
"""Failures that may be the peer's dislike of conditions, until none is set any more."""


class Conditions:
    """The entity-tag of the state that a subscriber has at hand, and what can be made of it.

    A tag is kept only with its state: the NOTIFY without body of a suppressed state names what
    the subscriber may never have seen, unless that is what the condition named already.

    :param tag: of a state that is at hand from an earlier subscription, or "".

    :ivar tag: names the state at hand; "" when none does (SNE-15).
    :ivar named: the notifier names its states.
    :ivar sent: condition of the SUBSCRIBE sent last, "" for none (SNE-09).
    """

    __slots__ = ("_failures", "_lost", "_waiting", "named", "sent", "tag")

    def __init__(self, tag: str = "") -> None:
        self.tag = tag if is_token(tag) and tag != ANY else ""
        self.named = bool(self.tag)
        self.sent = ""
        self._lost = False
        self._waiting = False  # for a state that proves that all is well without conditions
        self._failures = 0

    @property
    def usable(self) -> bool:
        """Whether conditions may be set; not while peers seem to stumble over them (SNE-12)."""
        return not self._waiting and self._failures < _MOST_FAILURES

    @property
    def can_suspend(self) -> bool:
        """Whether :data:`ANY` will be understood: the notifier names its states (SNE-09)."""
        return self.named and self.usable

    def next(self, *, suspended: bool, wanted: bool) -> str:
        """The condition of the SUBSCRIBE that is about to leave, "" for none (SNE-14).

        :param suspended: nothing is to be notified.
        :param wanted: what is at hand is not to be notified again.
        """
        self.sent = ""
        if suspended and self.can_suspend:
            self.sent = ANY
        elif wanted and not suspended and self.usable:
            self.sent = self.tag
        return self.sent

    def notified(self, request: Request) -> None:
        """A NOTIFY was taken in (SNE-15)."""
        tag = request.first("sip-etag") or ""
        if not is_token(tag) or tag == ANY:
            tag = ""
        if request.body:
            self.tag = tag
            self.named = bool(tag)
            self._lost = self._waiting = False
        elif tag:
            self.named = True
            if not self.sent and not self._lost:
                self.tag = tag

    def discard(self) -> None:
        """The state is not at hand any more, or what was notified last could not be used."""
        self.tag = ""
        self._lost = True

    def failed(self) -> None:
        """A SUBSCRIBE with a condition has ended badly, perhaps because of it (SNE-12).

        There is none until a state was notified without; and none at all after that has
        happened again.
        """
        self._waiting = True
        self._failures += 1
        self.sent = ""

    def doubtful(self, status: int) -> bool:
        """Whether the answer to a SUBSCRIBE may be meant for its condition (SNE-12)."""
        return status == 400 and bool(self.sent)

    def doubted(self) -> None:
        """A subscription has vanished after a suppressed NOTIFY.

        A device on the way may have missed it (SNE-12); or a server was started anew.
        """
        self._failures += 1

    def proved(self) -> None:
        """A subscription has outlived a suppressed NOTIFY: nobody minds them."""
        self._failures = 0
