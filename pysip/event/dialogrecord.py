"""How a subscription and its dialog are kept in the store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable


class DialogRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a SubscriptionRecord holds besides its columns.

    :ivar octets: every character stands for one octet of UTF-8, or of what is none.
    :ivar local: key of a subscription from inside the process, which has no dialog; else "".
    """

    call_id: str
    local_tag: str
    remote_tag: str
    local_uri: str
    remote_uri: str
    remote_target: str
    route_set: tuple[str, ...]
    contact: str
    remote_cseq: int
    secure: bool
    event: str
    entity: str
    state: str
    content_type: str
    created: float
    watcher: tuple[str, ...]
    display_name: str = ""
    anonymous: bool = False
    source: str = "none"
    fields: tuple[tuple[str, str], ...] = ()
    instance: str = ""
    charging: str = ""
    octets: bool = False
    event_params: str = ""
    detail: bytes = b""
    local: str = ""
    coding: str = ""
    suppress: str = ""
    rates: tuple[float, ...] = ()


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(DialogRecord).decode


def encode_dialog(record: DialogRecord) -> bytes:
    """The octets to store of a dialog.

    Text that was no UTF-8 on the wire (a display name in Latin-1) cannot be encoded as it is;
    then all text is kept as its octets, and ``octets`` is set.
    """
    try:
        return _encode(record)
    except UnicodeEncodeError:
        return _encode(_recode(msgspec.structs.replace(record, octets=True), _to_octets))


def decode_dialog(data: bytes) -> DialogRecord:
    """What :func:`encode_dialog` was given.

    :raises msgspec.DecodeError: the octets are damaged.
    """
    record = _decode(data)
    return _recode(record, _from_octets) if record.octets else record


def _to_octets(text: str) -> str:
    return text.encode("utf-8", "surrogateescape").decode("latin-1")


def _from_octets(text: str) -> str:
    return text.encode("latin-1").decode("utf-8", "surrogateescape")


def _recode(record: DialogRecord, change: Callable[[str], str]) -> DialogRecord:
    """The record with all text in it changed."""

    def changed(value: Any) -> Any:
        if isinstance(value, str):
            return change(value)
        return tuple(map(changed, value)) if isinstance(value, tuple) else value

    fields = {name: changed(getattr(record, name)) for name in record.__struct_fields__}
    return msgspec.structs.replace(record, **fields)
