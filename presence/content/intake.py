"""The body of a request on its way into the store."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from presence.content.passage import GONE
from xcap.errors import StoreUnavailable, XcapError
from xcap.streams import Intake

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred

    from presence.content.interfaces import IUpload
    from presence.content.passage import Passage
    from presence.content.records import Content
    from xcap.records import HttpResponse


class ContentIntake(Intake):
    """Takes the content of an object.

    :param store: makes the object of the content and gives the answer.
    :param fault: gives the answer to a refusal.
    :param ended: called when there is an answer; completes it.
    :param abandoned: called instead when there is none from here, with a status to tell.
    """

    def __init__(
        self,
        upload: IUpload,
        passage: Passage,
        limit: int,
        seconds: float,
        store: Callable[[Content], Awaitable[HttpResponse]],
        fault: Callable[[Exception], HttpResponse],
        ended: Callable[[HttpResponse], HttpResponse],
        abandoned: Callable[[int], None],
    ) -> None:
        self.limit = limit
        self.seconds = seconds
        self._upload = upload
        self._passage = passage
        self._store = store
        self._fault = fault
        self._ended = ended
        self._abandoned = abandoned
        self._over = False

    def take(self, piece: bytes) -> Deferred[None] | None:
        """A piece of the content."""
        self._passage.received += len(piece)
        try:
            waiting: Deferred[None] | None = self._upload.take(piece)
        except StoreUnavailable:
            raise XcapError(503, "Nothing can be stored now", (("Retry-After", "5"),)) from None
        return waiting

    async def finish(self) -> HttpResponse:
        """All has come: the answer once it is durable."""
        try:
            answer = await self._store(await self._upload.finish())
        except (XcapError, StoreUnavailable) as error:
            answer = self._fault(error)
        self._over = True
        return self._ended(answer)

    def abandon(self, error: BaseException) -> None:
        """It will never be complete."""
        self._upload.abandon()
        if not self._over:
            self._over = True
            self._abandoned(error.status if isinstance(error, XcapError) else GONE)
