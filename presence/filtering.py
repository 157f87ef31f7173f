"""Filters as SUBSCRIBEs bring them and subscriptions keep them (RFC 4660, events.md H.4)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

from presence.filters.document import MEDIA_TYPE, read_filters
from presence.filters.errors import FilterError
from presence.filters.filterset import FilterSet
from pysip.errors import SipError
from pysip.mime import decode_body

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from presence.filters.model import Filter
    from pysip.message import Request

MOST_OCTETS: Final = 16384
"""Of the filters of one subscription as they are kept; in memory they are 25 times as large."""

__all__ = ["MEDIA_TYPE", "FilterChoices", "Filtering", "brings_filters"]


@attrs.frozen(slots=True)
class FilterChoices:
    """Choices of the operator.

    :ivar lenient: names without a prefix, where no prefix is bound, match any namespace (FLT-08).
    :ivar forgiving: filters with an erroneous expression are left out; else all are refused
        (FLT-26).
    """

    lenient: bool = True
    forgiving: bool = False


def brings_filters(request: Request) -> bool:
    """Whether the body of a SUBSCRIBE is a filter document."""
    if not request.body:
        return False
    media = request.content_type
    return media is not None and media.type == MEDIA_TYPE


class Filtering:
    """Reads filters, and finds those in force.

    :param event: event package, as filters name it.
    :param aliases: the other URIs of a presentity.
    :param serves: whether a domain is one of ours (FLT-24).

    :ivar choices: of the operator.
    """

    def __init__(
        self,
        event: str,
        aliases: Callable[[str], Collection[str]],
        serves: Callable[[str], bool],
    ) -> None:
        self._event = event
        self._aliases = aliases
        self._serves = serves
        self.choices = FilterChoices()

    def changed(self, filters: FilterSet, request: Request, resource: str) -> FilterSet:
        """The filters after a SUBSCRIBE that :func:`brings_filters` (FLT-21).

        :raises SipError: 488 with a Warning, or what is wrong with the coding of the body.
        """
        body = request.body
        if "content-encoding" in request.headers:
            body = decode_body(request.values("content-encoding"), body)
        try:
            changes = read_filters(
                body,
                self._event,
                lenient=self.choices.lenient,
                ignore_erroneous=self.choices.forgiving,
            )
            changed = filters.changed(changes, resource)
            if len(changed.encode()) > MOST_OCTETS:
                raise FilterError(f"filters of more than {MOST_OCTETS} octets")
        except FilterError as error:
            warning = ("Warning", f'399 presence "{error.reason}"')
            raise SipError(error.status, None, (warning,)) from None
        return changed

    def chosen(self, filters: FilterSet, resource: str) -> Filter | None:
        """The filter in force for a resource, None for none (FLT-20, FLT-23 to FLT-25)."""
        if not filters:
            return None
        return filters.chosen(resource, aliases=self._aliases(resource), serves=self._serves)
