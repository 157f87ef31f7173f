"""Making a list and the service that it is watched by, so that nothing is left half made."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import attrs

from presence.commands.failures import REFUSED, CommandError
from presence.commands.xcapsession import http_refusal, no_answer
from presence.rls.definitions import services_path
from presence.rls.listedit import NO_SERVICES, add_members, put_list, service_element
from presence.rls.ownlists import Entry, OwnService, list_uri, lists_path, read_services
from pysip.uri import SipUri, escape_user, parse_uri, unescape
from xcap.agent import NoAnswer
from xcap.canonical import canonical_sip_uri
from xcap.client import Refused
from xcap.contents import entity_tag
from xcap.media import ELEMENT_TYPE
from xcap.uri import attribute_step

if TYPE_CHECKING:
    from presence.commands.xcapsession import DocumentSettings
    from xcap.cache import CachedDocument
    from xcap.client import XcapClient

_EXAMPLE = re.compile(r"\bsips?:[^\s\"'<>]+")


@attrs.frozen(slots=True, kw_only=True)
class ListMaking:
    """One list to be there, with a service.

    :ivar settings: whose it is, and where.
    :ivar title: its display name; "" for none, or the one it has.
    :ivar members: to be in it, with canonical URIs.
    :ivar uri: canonical URI of the service; "" for any that the server takes.
    :ivar remark: tells the user of something beside.
    """

    settings: DocumentSettings
    name: str
    title: str
    members: Sequence[Entry]
    uri: str
    remark: Callable[[str], object]

    async def make(self, client: XcapClient) -> str:
        """Make what is not there yet.

        When the service is refused, the list is made undone.

        :returns: the URI to subscribe to.
        :raises CommandError: it cannot be made; says what there is now.
        :raises xcap.client.Refused: the list was refused, and nothing has changed.
        :raises xcap.agent.NoAnswer: nothing was answered, and nothing has changed as far as
            that is known.
        """
        settings = self.settings
        path = services_path(settings.aor)
        present = await client.fetch(path)
        services = _read(present, settings)
        known = self._known(services)
        before, after = await self._put_list(client)
        if known is not None:
            return known.uri
        made = ""
        try:
            if present is None:
                # of two who begin at once one is first, and both have a document
                response = await client.put(path, NO_SERVICES, client.media_type(path), match="")
                if response.status >= 300 and response.status != 412:
                    raise Refused(response)
                made = entity_tag(response) if response.status < 300 else ""
            return await self._put_service(client, path, services)
        except Refused as error:
            told = http_refusal(error.response, f"making the service for {self.name}", settings)
            left = await self._undo(client, before, after)
            if made:
                with contextlib.suppress(NoAnswer):
                    await client.delete(path, match=made)  # as it was, unless it is used now
            raise CommandError(f"{told}; {left}", REFUSED) from None
        except NoAnswer as error:
            told = no_answer(error)
            raise CommandError(
                f"{told}; the list {self.name} is there, perhaps without a URI to watch it by: "
                "give the same command again",
                told.status,
            ) from None

    def _known(self, services: tuple[OwnService, ...]) -> OwnService | None:
        """A service that does already.

        :raises CommandError: the URI that is asked for belongs to another list.
        """
        if not self.uri:
            mine = (s for s in services if s.list == self.name and s.serves_presence)
            return next(mine, None)
        found = next((s for s in services if s.is_at(self.uri)), None)
        if found is None or (found.list == self.name and found.serves_presence):
            return found
        whose = f"your list {found.list}" if found.list is not None else "another list"
        if found.list == self.name:
            whose = f"{self.name}, but not for presence"
        raise CommandError(f"{self.uri} is the URI of {whose}; nothing was changed", REFUSED)

    async def _put_list(self, client: XcapClient) -> tuple[bytes, CachedDocument]:
        """The list and its members; gives the document before and after."""
        found = b""
        left: tuple[Entry, ...] = ()

        def edit(before: bytes) -> bytes:
            nonlocal found, left
            found = before
            made = put_list(before, self.name, self.title)
            made, _, left = add_members(made, self.name, self.members)
            return made

        after = await client.change(lists_path(self.settings.aor), edit)
        for member in left:
            self.remark(f"{member.uri} is in {self.name} already")
        return found, after

    async def _put_service(
        self, client: XcapClient, path: str, services: tuple[OwnService, ...]
    ) -> str:
        settings = self.settings
        element = list_uri(settings.root, settings.aor, self.name)

        def make(uri: str) -> tuple[str, bytes]:
            step = attribute_step("service", "uri", uri)
            return f"{path}/~~/rls-services/{step}", service_element(uri, element)

        if self.uri:
            response = await client.put(*make(self.uri), ELEMENT_TYPE)
            if response.status >= 300:
                raise Refused(response)
            return self.uri
        usual = usual_uri(settings.aor, self.name)
        try:
            return await client.put_unique(make, _unlike(usual, services), ELEMENT_TYPE)
        except Refused as error:
            refused = error
        for uri in wanted_uris(refused, usual, self.name):
            try:
                return await client.put_unique(make, _unlike(uri, services), ELEMENT_TYPE)
            except Refused as error:
                refused = error
        raise refused

    async def _undo(self, client: XcapClient, before: bytes, after: CachedDocument) -> str:
        """Make the list undone; says what there is now."""
        if after.octets == before:
            return f"your list {self.name} is as it was"
        path = lists_path(self.settings.aor)
        with contextlib.suppress(NoAnswer):
            if before:
                media = client.media_type(path)
                response = await client.put(path, before, media, match=after.etag, checked=False)
            else:
                response = await client.delete(path, match=after.etag)
            if response.status < 300:
                return "nothing was changed"
        return f"the list {self.name} remains, without a URI to watch it by"


def usual_uri(aor: str, name: str) -> str:
    """The URI of a list where nobody wants another one: ``sip:alice-friends@example.com``.

    :param aor: canonical address of the owner, a SIP URI.
    """
    user = parse_uri(aor)
    if not isinstance(user, SipUri):
        raise CommandError(f"{aor}: a SIP address is needed", REFUSED)
    made = escape_user(f"{unescape(user.user or '')}-{name}")
    return canonical_sip_uri(str(attrs.evolve(user, user=made)))


def _unlike(uri: str, services: Sequence[OwnService]) -> str:
    """A URI that no service of the user has: to write there would take that one's place."""
    user = parse_uri(uri)
    number = 1
    while any(service.is_at(uri) for service in services) and isinstance(user, SipUri):
        number += 1
        last = next((name for name in reversed(user.params) if user.params[name]), None)
        if last is None:
            other = attrs.evolve(user, user=f"{user.user or ''}-{number}")
        else:
            other = attrs.evolve(
                user, params={**user.params, last: f"{user.params[last]}-{number}"}
            )
        uri = canonical_sip_uri(str(other))
    return uri


def wanted_uris(refused: Refused, usual: str, name: str) -> Iterator[str]:
    """What a server takes by its own words, which are those of an operator's template (XDM-56).

    The example that it gives ends in what tells the refused URI from others; the name of the
    list alone is tried first.
    """
    conflict = refused.conflict
    if conflict is None or conflict.kind != "constraint-failure":
        return
    found = _EXAMPLE.search(conflict.phrase)
    user = parse_uri(usual)
    if found is None or not isinstance(user, SipUri) or user.user is None:
        return
    for uri in (found[0].replace(user.user, escape_user(name)), found[0]):
        with contextlib.suppress(ValueError):
            yield canonical_sip_uri(uri)


def _read(present: CachedDocument | None, settings: DocumentSettings) -> tuple[OwnService, ...]:
    try:
        octets = b"" if present is None else present.octets
        return read_services(octets, settings.root, settings.aor)
    except ValueError as error:
        raise CommandError(f"your services cannot be read: {error}", REFUSED) from None
