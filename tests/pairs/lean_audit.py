"""Watches on the wire what a node tells its watchers, for what lean notification never does."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import attrs
from lxml import etree

from presence.partial.documents import Diff, read
from presence.partial.patching import apply
from pysip.header import parse_subscription_state
from pysip.interfaces import IFlow
from pysip.message import Request, Response
from pysip.mime import decode_body
from pysip.parse import BadMessage, parse_message
from tests.audit import NotifyAudit
from tests.node import SERVER, Node
from tests.presence.view_oracle import canonical

DIFF = "application/pidf-diff+xml"
MARK = re.compile(rb"1\d{6}")
_SOON = 1e-3

Allowed = Callable[[str], set[bytes]]
"""The marks that a watcher may see now, by its URI."""


@attrs.define
class Dialog:
    """What is known of one dialog.

    :ivar base: the document that the watcher has for sure; None in doubt.
    :ivar version: of the last one in ``pidf-diff`` that has arrived.
    :ivar top: the greatest version sent.
    :ivar sent: document, version and CSeq of the NOTIFY that has no answer yet.
    :ivar doubt: whether the next one in ``pidf-diff`` has to be whole.
    :ivar loose: whether its version may be any that is greater.
    :ivar asked: a SUBSCRIBE was answered since the last NOTIFY.
    :ivar last: CSeq of the last NOTIFY.
    :ivar at: when it was sent.
    :ivar rate: ``max-rate`` that it told.
    :ivar state: that it told.
    :ivar subscribe: CSeq of the last SUBSCRIBE that was sent.
    :ivar conditions: of SUBSCRIBEs, by CSeq.
    :ivar condition: in force, "" for none.
    """

    base: bytes | None = None
    version: int = 0
    top: int = 0
    sent: tuple[bytes | None, int, int] | None = None
    doubt: bool = True
    loose: bool = False
    asked: bool = True
    last: int = 0
    at: float = -1e9
    rate: float = 0.0
    state: str = ""
    subscribe: int = 0
    conditions: dict[int, str] = attrs.field(factory=dict)
    condition: str = ""


class LeanAudit(NotifyAudit):
    """Sees all messages of a node; it keeps to what the watchers have asked for.

    :param allowed: tells what watchers may see.

    :ivar counts: NOTIFYs by what they told: ``full``, ``diff``, ``whole`` or ``nothing``.
    """

    def __init__(self, node: Node, allowed: Allowed) -> None:
        self._lean: dict[tuple[str, str], Dialog] = {}
        self._asked: dict[tuple[str, str, int], Request] = {}
        self._tags: dict[str, bytes] = {}
        self._documents: dict[tuple[str, bytes], str] = {}
        self._allowed = allowed
        self.counts: dict[str, int] = {}
        super().__init__(node)

    def attach(self, node: Node) -> None:
        """Hear what answers reach the node; after a restart everything is in doubt."""
        super().attach(node)
        received = node.ua.layer.response_received

        def hear(response: Response, flow: IFlow) -> None:
            if response.status >= 200 and response.cseq[1] == "NOTIFY":
                dialog = self._lean.get((response.call_id, response.from_.tag))
                if dialog is not None:
                    self._answered(dialog, response)
            received(response, flow)

        node.ua.layer.response_received = hear  # type: ignore[method-assign]
        for dialog in self._lean.values():
            dialog.sent, dialog.doubt, dialog.loose, dialog.asked = None, True, True, True

    def _answered(self, dialog: Dialog, response: Response) -> None:
        if dialog.sent is None or response.cseq[0] != dialog.sent[2]:
            return
        document, version, _ = dialog.sent
        dialog.sent = None
        if response.status >= 300:
            dialog.doubt = True
            return
        if version:
            dialog.version = version
            dialog.loose = dialog.doubt = False
        elif document is not None:
            dialog.doubt = True  # it was told in the other type
        if document is not None:
            dialog.base = document

    # -- what is sent -------------------------------------------------------------------

    def _sent(self, protocol: str, source: Any, destination: Any, data: bytes) -> None:
        super()._sent(protocol, source, destination, data)
        try:
            message = parse_message(data)
        except BadMessage:
            return
        here = source[0] == SERVER[0]
        if isinstance(message, Request):
            if message.method == "NOTIFY" and here:
                self._notify(message)
            elif message.method == "SUBSCRIBE" and not here:
                self._subscribe(message)
        elif here and message.cseq[1] == "SUBSCRIBE":
            self._response(message)

    def _wrong(self, request: Request, text: str) -> None:
        self.errors.append(f"{request.call_id} at {self._clock.seconds():.3f}: {text}")

    def _subscribe(self, request: Request) -> None:
        number = request.cseq[0]
        self._asked[request.call_id, request.from_.tag, number] = request
        if not request.to.tag:
            return
        dialog = self._lean.setdefault((request.call_id, request.to.tag), Dialog())
        if number > dialog.subscribe:
            dialog.subscribe = number
            dialog.condition = ""  # the node may have it already

    def _response(self, response: Response) -> None:
        key = response.call_id, response.from_.tag, response.cseq[0]
        request = self._asked.get(key)
        if request is None or response.status >= 300:
            return
        condition = request.first("suppress-if-match") or ""
        if response.status == 204 and not (request.to.tag and condition):
            self._wrong(request, "204 outside of a dialog, or without a condition (SNE-05)")
        dialog = self._lean.setdefault((response.call_id, response.to.tag), Dialog())
        if response.cseq[0] < dialog.subscribe or response.cseq[0] in dialog.conditions:
            return
        dialog.conditions[response.cseq[0]] = condition
        dialog.condition = condition
        if response.status != 204:
            dialog.asked = dialog.doubt = True  # the next one is whole (PNO-05)

    def _notify(self, request: Request) -> None:
        dialog = self._lean.setdefault((request.call_id, request.from_.tag), Dialog())
        number = request.cseq[0]
        if number <= dialog.last:
            return
        if dialog.sent is not None:
            dialog.doubt = True
            if dialog.sent[1]:
                dialog.loose = True  # it may have arrived
        state, params = parse_subscription_state(request.first("subscription-state") or "")
        self._check_rate(dialog, request, state)
        dialog.last, dialog.at = number, self._clock.seconds()
        dialog.rate = float(params.get("max-rate") or 0)
        tag = request.first("sip-etag")
        if not tag or tag == "*":
            self._wrong(request, "no SIP-ETag (SNE-01)")
        document, version = self._document(dialog, request)
        if document is not None and dialog.condition in ("*", tag) and not dialog.asked:
            self._wrong(request, f"told what is suppressed: {dialog.condition} (SNE-04, SNE-09)")
        if document is not None:
            self._check_tag(request, tag or "", document)
        if dialog.condition not in ("*", tag):
            dialog.condition = ""  # what it was about is over
        dialog.state, dialog.asked = state, False
        dialog.sent = document, version, number

    def _check_rate(self, dialog: Dialog, request: Request, state: str) -> None:
        """At most so many a second, but for those that answer SUBSCRIBEs and the like (RAT-04)."""
        told = parse_subscription_state(request.first("subscription-state") or "")[1]
        rates = [rate for rate in (dialog.rate, float(told.get("max-rate") or 0)) if rate]
        if len(rates) < 2 or dialog.asked or dialog.sent is not None or state == "terminated":
            return
        if dialog.state != state:
            return
        if self._clock.seconds() - dialog.at < 1 / max(rates) - _SOON:
            self._wrong(request, f"too soon for {rates} (RAT-04)")

    def _document(self, dialog: Dialog, request: Request) -> tuple[bytes | None, int]:
        """The document that the watcher has after a NOTIFY, and its version."""
        if not request.body:
            self._count("nothing")
            return None, 0
        body = decode_body(request.values("content-encoding"), request.body)
        extra = set(MARK.findall(body)) - self._allowed(request.to.uri)
        if extra:
            self._wrong(request, f"{request.to.uri} must not see {extra}")
        if request.content_type is None or request.content_type.type != DIFF:
            self._count("whole")
            return body, 0
        found = read(body)
        version = found.version or 0
        expected = dialog.version + 1
        if version != expected and not (dialog.loose and version > max(dialog.version, dialog.top)):
            self._wrong(request, f"version {version}, not {expected} (PNO-04)")
        dialog.top = max(dialog.top, version)
        if isinstance(found, Diff):
            self._count("diff")
            if dialog.doubt or dialog.base is None:
                self._wrong(request, "changes of what nobody knows (PNO-05, PNO-09)")
                return None, version
            return apply(dialog.base, body), version
        self._count("full")
        return found.document, version

    def _count(self, kind: str) -> None:
        self.counts[kind] = self.counts.get(kind, 0) + 1

    def _check_tag(self, request: Request, tag: str, document: bytes) -> None:
        """Equal tags mean equal documents, and the other way round (SNE-01, SNE-10)."""
        text = canonical(etree.fromstring(document))
        label = tag.partition(".")[2]
        if self._tags.setdefault(tag, text) != text:
            self._wrong(request, f"tag {tag} of another document (SNE-01)")
        known = self._documents.setdefault((label, text), tag)
        if known != tag:
            self._wrong(request, f"tags {known} and {tag} of one document (SNE-01)")
