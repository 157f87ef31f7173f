"""What can go wrong between a Content Server and those who use it."""

from __future__ import annotations

from typing import Literal

ErrorKind = Literal["missing", "large", "mismatch", "refused", "late", "unreachable", "foreign"]


class ContentError(Exception):
    """An object cannot be had, or cannot be stored.

    :ivar kind: ``missing`` there is no such object, or no right to it; ``large`` it is larger
        than who asks takes, or the server allows; ``mismatch`` size or hash are others than
        promised (CIN-03); ``refused`` for another reason; ``late`` no answer in time;
        ``unreachable`` no connection, or nobody who has to be believed; ``foreign`` the URI is
        of no Content Server that may be asked (CIN-06).
    :ivar status: of the HTTP answer, 0 without one.
    """

    def __init__(self, kind: ErrorKind, text: str = "", status: int = 0) -> None:
        super().__init__(kind, text)
        self.kind: ErrorKind = kind
        self.text = text
        self.status = status
