"""What a watcher wants of its notifications (WAT-04)."""

from __future__ import annotations

import attrs

from presence.watching.media import DIFF_TYPE, EXTERNAL_TYPE, PIDF_TYPE, RELATED_TYPE, RLMI_TYPE
from pysip.event.rates import Rates
from pysip.event.wishes import check_rates


def _fit(_: object, __: object, rates: Rates) -> None:
    check_rates(rates)


@attrs.frozen(slots=True, kw_only=True)
class WatchOptions:
    """How to be notified; nothing of it is certain, for a server may know none of it.

    :ivar partial: tell changes only, where that is shorter (PNO-03).
    :ivar filters: a filter document, or b"" for everything (FLT-01).
    :ivar rates: how often; a ValueError when they contradict each other (RAT-14).
    :ivar conditional: do not tell again what is here already (SNE-03).
    :ivar compressed: bodies may be compressed (MSG-26).
    :ivar objects: tell icons and the like too, in the body or by reference (CIN-04, WAT-06).
    """

    partial: bool = False
    filters: bytes = b""
    rates: Rates = attrs.field(default=Rates(), validator=_fit)
    conditional: bool = False
    compressed: bool = False
    objects: bool = False

    def accept(self, *, lists: bool) -> tuple[str, ...]:
        """Media types for Accept, best first: PIDF always, differences before it (WAT-01, PNO-03).

        :param lists: also what lists are told in (WAT-02, RLS-02).
        """
        types: tuple[str, ...] = (RLMI_TYPE, RELATED_TYPE) if lists else ()
        if self.partial:
            types += (DIFF_TYPE,)
        types += (PIDF_TYPE,)
        if self.objects:
            types += (EXTERNAL_TYPE,) if lists else (RELATED_TYPE, EXTERNAL_TYPE)
        return types


@attrs.frozen(slots=True)
class Known:
    """State of a presentity from an earlier subscription, of a watcher that was started anew.

    :ivar tag: the SIP-ETag that names it.
    :ivar document: in ``application/pidf+xml``.
    """

    tag: str
    document: bytes
