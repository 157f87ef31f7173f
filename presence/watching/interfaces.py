"""Interfaces of a watcher: who gets objects for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
from zope.interface import Interface

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred


@attrs.frozen(slots=True)
class Retrieved:
    """An object, whole.

    :ivar content_type: media type as the server tells it; "" when it does not.
    :ivar etag: names this version of it; "" for none.
    :ivar unchanged: it is the version that was asked about; ``body`` is empty.
    """

    content_type: str
    body: bytes
    etag: str = ""
    unchanged: bool = False


class IObjectFetcher(Interface):
    """Gets objects by HTTP."""

    def fetch(url: str, limit: int, etag: str) -> Deferred[Retrieved]:
        """An object by GET; redirections are not followed, since they may lead anywhere.

        With ``https`` the server has to prove who it is (CIN-12).

        :param url: ``http`` or ``https``.
        :param limit: octets that it may have; no more are read.
        :param etag: of the version that is here, "" for none.
        :raises ContentError: (in the Deferred) it cannot be had.
        """
