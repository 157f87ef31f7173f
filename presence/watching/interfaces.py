"""Interfaces of a watcher: who brings it objects that are elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zope.interface import Interface

if TYPE_CHECKING:
    from pathlib import Path

    from twisted.internet.defer import Deferred

    from presence.content.client import RetrievedObject
    from pysip.external import ExternalBody


class IObjectRetriever(Interface):
    """Brings objects that are told by reference."""

    def retrieve(reference: ExternalBody, to: Path) -> Deferred[RetrievedObject]:
        """The object that a reference tells of, in a file, checked by what it says (CIN-03).

        :param to: the file that gets it.
        :raises presence.content.errors.ContentError: (in the Deferred) it cannot be had.
        """
