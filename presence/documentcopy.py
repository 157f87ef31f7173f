"""A copy of a document that decisions depend on, and what is followed together with others."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Protocol

import attrs
from twisted.logger import Logger

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred

    from presence.following import Feed, Following
    from xcap.cache import CachedDocument

OMA_RULES: Final = "org.openmobilealliance.pres-rules"
IETF_RULES: Final = "pres-rules"
DIRECTORY: Final = "org.openmobilealliance.xcap-directory"
PERMANENT: Final = "pidf-manipulation"


@attrs.frozen(slots=True)
class Source:
    """A document and who reads it.

    :ivar root: XCAP root.
    :ivar path: relative to it, percent-encoded.
    :ivar reader: canonical identity of the user for whom it is read (XDM-29); "" for the
        Presence Server itself (XDM-101).
    :ivar followed: whether changes of it are told; else it is fetched anew now and then.
    """

    root: str
    path: str
    reader: str = ""
    followed: bool = True


class User(Protocol):
    """Somebody who uses copies."""

    @property
    def attended(self) -> bool:
        """Whether somebody waits for what is made of them, or they are only kept at hand."""

    def touched(self) -> None:
        """A copy is not what it was."""


class Copy:
    """What is known of one document.

    :ivar settled: an attempt to fetch it has ended, or its content was told.
    :ivar known: ``octets`` and ``etag`` can be used.
    :ivar octets: None when there is no such document.
    :ivar failing: the last attempt to fetch it has failed.
    :ivar doubted: that it was asked for though changes of it are told.
    :ivar confirmed: when it was last known to be so, unless it is followed.
    :ivar revision: another one whenever something else should be made of it.
    """

    _log = Logger()

    __slots__ = (
        "_made",
        "_made_of",
        "again",
        "checked",
        "confirmed",
        "doubted",
        "etag",
        "failing",
        "known",
        "lost",
        "octets",
        "revision",
        "settled",
        "source",
        "told",
        "unit",
        "users",
        "work",
    )

    def __init__(self, source: Source) -> None:
        self.source = source
        self.unit: Unit | None = None
        self.users: dict[User, None] = {}
        self.settled = self.known = self.failing = False
        self.octets: bytes | None = None
        self.etag = ""
        self.confirmed = self.checked = 0.0
        self.revision = 0
        self.lost = True  # a change may have gone untold since it was fetched
        self.told = 0  # how often its content was told, not fetched
        self.again = False
        self.doubted = False
        self.work: Deferred[None] | None = None
        self._made: Any = None
        self._made_of: bytes | None = None

    @property
    def current(self) -> bool:
        """Whether a change would be told."""
        return self.unit is not None and self.unit.current

    @property
    def sure(self) -> bool:
        """Whether every change is told."""
        return self.unit is not None and self.unit.sure

    @property
    def attended(self) -> bool:
        """Whether somebody waits for what is made of it."""
        return any(user.attended for user in self.users)

    def known_at(self, now: float) -> float:
        """When it was last known to be so."""
        return now if self.current and not self.failing else self.confirmed

    def hold(self, octets: bytes | None, etag: str) -> None:
        """Have other content."""
        self.octets = octets
        self.etag = etag
        if octets is None:
            self._made = self._made_of = None

    @property
    def unread(self) -> int:
        """Octets that the next :meth:`read` has to go through."""
        return 0 if self.octets is None or self._made_of is self.octets else len(self.octets)

    def read(self, make: Callable[[bytes], Any]) -> Any:
        """What a function makes of the content, made once; the same one in every call.

        Of content that cannot be read it is what was made of the content before (XDM-151).

        :param make: raises ValueError for content that cannot be read.
        :returns: None when nothing could be read since there is a document.
        """
        if self.octets is not None and self._made_of is not self.octets:
            self._made_of = self.octets
            try:
                self._made = make(self.octets)
            except ValueError:
                self._log.warn("a document cannot be read; its last good version counts")
        return self._made


class Unit:
    """What is followed together."""

    __slots__ = ("_copies", "_following", "_refetch", "_tell", "key")

    def __init__(
        self,
        key: tuple[str, tuple[str, ...]],
        tell: Callable[[Copy, CachedDocument | None], None],
        refetch: Callable[[Copy], None],
    ) -> None:
        self.key = key
        self._copies: dict[str, dict[Copy, None]] = {}
        self._following: Following | None = None
        self._tell = tell
        self._refetch = refetch

    def __bool__(self) -> bool:
        return bool(self._copies)

    @property
    def current(self) -> bool:
        """Whether changes are told."""
        return self._following is not None and self._following.current

    @property
    def sure(self) -> bool:
        """Whether every change is told."""
        return self._following is not None and self._following.sure

    def start(self, feed: Feed) -> None:
        """Follow."""
        root, uris = self.key
        self._following = feed.follow(root, uris, self._told)

    def stop(self) -> None:
        """Follow no more."""
        if self._following is not None:
            self._following.stop()

    def add(self, copy: Copy) -> None:
        """One more copy."""
        self._copies.setdefault(copy.source.path, {})[copy] = None

    def remove(self, copy: Copy) -> None:
        """One copy less."""
        copies = self._copies[copy.source.path]
        del copies[copy]
        if not copies:
            del self._copies[copy.source.path]

    def _told(self, path: str, document: CachedDocument | None) -> None:
        for copy in list(self._copies.get(path, ())):
            # what another one may read is not what the one may whom this is read for
            if copy.source.reader or (document is not None and not document.octets):
                self._refetch(copy)
            else:
                self._tell(copy, document)
        if path.startswith(f"{IETF_RULES}/users/"):
            for place, copies in list(self._copies.items()):
                if place.startswith(DIRECTORY):
                    for copy in list(copies):
                        self._refetch(copy)


def followed_with(path: str) -> tuple[str, ...]:
    """What is followed to hear of a document: with it all that is likely to be needed, too.

    :param path: relative to the root.
    :returns: documents and home directories, relative to the root.
    """
    auid, _, rest = path.partition("/")
    tree, _, rest = rest.partition("/")
    xui = rest.partition("/")[0]
    if tree != "users":
        return (path,)
    if auid in (OMA_RULES, IETF_RULES, PERMANENT, DIRECTORY):
        # all on one document server: apart from it they are one subscription
        return tuple(f"{each}/users/{xui}/" for each in (OMA_RULES, IETF_RULES, PERMANENT))
    return (f"{auid}/users/{xui}/",)
