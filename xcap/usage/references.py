"""References in documents to lists in other documents, judged by their text only."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xcap.canonical import HttpUri, parse_http_uri
from xcap.errors import XcapError
from xcap.uri import Target, parse_target

if TYPE_CHECKING:
    from xcap.interfaces import ISubscribers


def below(uri: HttpUri, root: str) -> Target | None:
    """What a URI names below an XCAP root; None when it is elsewhere or names nothing.

    :param root: the XCAP root, ending in ``/``.
    """
    base = parse_http_uri(root)
    if base is None or uri.origin != base.origin:
        return None
    try:
        return parse_target(f"{uri.path}{uri.tail}", base.path)
    except XcapError:
        return None


def is_list_of(target: Target | None, owner: str, subscribers: ISubscribers) -> bool:
    """Whether a target is in the resource lists of a user.

    :param owner: canonical identifier, "" for any user.
    """
    if target is None or target.auid != "resource-lists" or target.tree != "users":
        return False
    if not owner:
        return True
    try:
        return subscribers.canonical(target.xui) == owner
    except ValueError:
        return False
