"""What can be asked of a medium that holds documents."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from xcap.records import Change, Claim, Document, DocumentKey, Entry


class Reading(Protocol):
    """One consistent look at a medium; see :class:`xcap.interfaces.IDocumentStore`."""

    @abstractmethod
    def fetch(self, key: DocumentKey) -> Document | None:
        """A document."""

    @abstractmethod
    def listing(self, root: str, auid: str | None, xui: str | None, below: str) -> list[Entry]:
        """The documents of a collection."""

    @abstractmethod
    def home(self, xui: str) -> list[Entry]:
        """The documents of a user in all roots."""

    @abstractmethod
    def claimed(self, space: str, name: str) -> tuple[DocumentKey, Claim] | None:
        """Who holds a value."""

    @abstractmethod
    def claims(self, space: str, root: str) -> list[Claim]:
        """All values of a space and root."""

    @abstractmethod
    def claims_tag(self, space: str, root: str) -> str:
        """Their entity-tag."""

    @abstractmethod
    def changes(self, after: int, limit: int) -> list[Change] | None:
        """Changes behind a position."""
