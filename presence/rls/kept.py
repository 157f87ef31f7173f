"""What is kept of the SUBSCRIBE to a list, durable with the subscription (PSV-20)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from presence.rls.model import Names

if TYPE_CHECKING:
    from pysip.message import Request


class Kept(msgspec.Struct, frozen=True, array_like=True):
    """What has to be known of a list subscription after a restart.

    :ivar owner: of the list, canonical user identifier.
    :ivar max_forwards: of SUBSCRIBEs for members (RLS-16).
    :ivar accept: values of Accept, None without one.
    :ivar packed: of releases that packed bodies here; the notifier does now.
    :ivar members: that the SUBSCRIBE has brought along (RCL-01); None for a list of documents.
    :ivar bare_ids: the watcher needs other spellings (CLI-17).
    :ivar filters: of the watcher (FLT-21).
    """

    owner: str
    max_forwards: int
    accept: tuple[str, ...] | None = None
    packed: bool = False
    members: tuple[tuple[str, str, Names], ...] | None = None
    bare_ids: bool = False
    filters: bytes = b""


encode_kept = msgspec.msgpack.Encoder().encode
decode_kept = msgspec.msgpack.Decoder(Kept).decode


def keep(
    request: Request,
    owner: str,
    forwards: int,
    members: tuple[tuple[str, str, Names], ...] | None,
    bare_id_agents: tuple[str, ...],
) -> Kept:
    """What is kept of a SUBSCRIBE; for the parameters see :class:`Kept`.

    :param bare_id_agents: how User-Agents begin, in lower case, that need other spellings.
    """
    accept = request.headers.get("accept")
    return Kept(
        owner,
        forwards,
        None if accept is None else tuple(accept),
        members=members,
        bare_ids=(request.first("user-agent") or "").lower().startswith(bare_id_agents),
    )
