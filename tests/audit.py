"""Watches the NOTIFYs of a node on the wire for what must never happen (EVT-03)."""

from __future__ import annotations

from typing import Any

import attrs

from pysip.header import parse_subscription_state
from pysip.interfaces import IFlow
from pysip.message import Request, Response
from pysip.parse import BadMessage, parse_message
from tests.node import SERVER, Node

GIVEN_UP = 32.0
"""Seconds after which an unanswered NOTIFY is no longer outstanding."""


@attrs.define
class Dialog:
    """What was seen of the NOTIFYs of one dialog.

    :ivar cseq: of the last NOTIFY.
    :ivar outstanding: when the one that is not answered was sent, or None.
    :ivar ended: a NOTIFY has said ``terminated``.
    :ivar jumped: the node has started anew since the last NOTIFY.
    """

    cseq: int = 0
    outstanding: float | None = None
    ended: bool = False
    jumped: bool = False


class NotifyAudit:
    """Sees all that a node sends and all answers that reach it.

    :ivar errors: what was wrong; to be empty.
    :ivar notifies: NOTIFYs seen, without repetitions.
    """

    def __init__(self, node: Node) -> None:
        self.errors: list[str] = []
        self.notifies = 0
        self._dialogs: dict[tuple[str, str], Dialog] = {}
        self._clock = node.clock
        node.network.taps.append(self._sent)
        self.attach(node)

    def attach(self, node: Node) -> None:
        """Hear what answers reach the node; also after a restart."""
        received = node.ua.layer.response_received

        def hear(response: Response, flow: IFlow) -> None:
            if response.status >= 200 and response.cseq[1] == "NOTIFY":
                dialog = self._dialogs.get((response.call_id, response.from_.tag))
                if dialog is not None and response.cseq[0] == dialog.cseq:
                    dialog.outstanding = None
            received(response, flow)

        node.ua.layer.response_received = hear  # type: ignore[method-assign]
        for dialog in self._dialogs.values():
            dialog.outstanding = None
            dialog.jumped = True

    def _sent(self, protocol: str, source: Any, destination: Any, data: bytes) -> None:
        if source[0] != SERVER[0] or not data.startswith(b"NOTIFY "):
            return
        try:
            notify = parse_message(data)
        except BadMessage as error:
            self.errors.append(f"a malformed NOTIFY: {error.reason}")
            return
        assert isinstance(notify, Request)
        dialog = self._dialogs.setdefault((notify.call_id, notify.from_.tag), Dialog())
        number = notify.cseq[0]
        if number == dialog.cseq:
            return  # a repetition, or the same by another way
        where = f"{notify.call_id} at {self._clock.seconds():.2f}: "
        self.notifies += 1
        if number < dialog.cseq or (number > dialog.cseq + 1 and not dialog.jumped):
            self.errors.append(f"{where}CSeq {number} after {dialog.cseq}")
        if dialog.ended:
            self.errors.append(f"{where}a NOTIFY after terminated")
        since = dialog.outstanding
        if since is not None and self._clock.seconds() < since + GIVEN_UP - 0.1:
            self.errors.append(f"{where}two NOTIFYs outstanding")
        state = parse_subscription_state(notify.first("subscription-state") or "")
        dialog.cseq = number
        dialog.outstanding = self._clock.seconds()
        dialog.jumped = False
        dialog.ended = state[0] == "terminated"
        if dialog.ended and "expires" in state[1]:
            self.errors.append(f"{where}terminated with expires")
        if not dialog.ended and "expires" not in state[1]:
            self.errors.append(f"{where}{state[0]} without expires")
