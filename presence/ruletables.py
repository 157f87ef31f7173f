"""The configuration's tables of composition, presence rules and watcher information.

They follow the rules of :mod:`presence.tables`.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from presence.addresses import is_address, is_host
from presence.tables import Count, Decision, Positive, Seconds, Table, Text
from presence.tomlfile import WrongValueError


class Composition(Table, frozen=True):
    """How several publications become one document (PSV-02, COM-44).

    :ivar policy: that of OMA, the plain union, or the most recent, or the most credible, source
        being right where sources contradict each other.
    :ivar priorities: with ``priority``: URIs of publishers, ``presentity``, ``others`` and
        ``permanent``, the most credible first.
    """

    policy: Literal["oma", "union", "newest", "priority"] = "oma"
    priorities: tuple[Text, ...] = ()


class OverrideList(Table, frozen=True):
    """An entry of the operator's own lists (XDM-139, PSV-11).

    :ivar name: what logs call it.
    :ivar decision: on the watchers it is for.
    :ivar watchers: their addresses.
    :ivar domains: their domains.
    :ivar anonymous: whether it is for those that are, or ask to be, anonymous.
    :ivar everybody: whether it is for all watchers.
    :ivar presentities: for whom it decides; without these and their domains, for all.
    :ivar presentity_domains: domains of presentities for which it decides.
    """

    name: Text
    decision: Decision
    watchers: tuple[Text, ...] = ()
    domains: tuple[Text, ...] = ()
    anonymous: bool = False
    everybody: bool = False
    presentities: tuple[Text, ...] = ()
    presentity_domains: tuple[Text, ...] = ()

    def __post_init__(self) -> None:
        """Check that it is for somebody, and the addresses."""
        if not (self.watchers or self.domains or self.anonymous or self.everybody):
            raise WrongValueError(
                ("watchers",), [], "somebody whom it is for", "name watchers or domains"
            )
        for key in ("watchers", "presentities"):
            for i, text in enumerate(getattr(self, key)):
                if not is_address(text):
                    raise WrongValueError(
                        (key, i), text, "the address of somebody", 'write "sip:alice@example.com"'
                    )
        for key in ("domains", "presentity_domains"):
            for i, text in enumerate(getattr(self, key)):
                if not is_host(text):
                    raise WrongValueError((key, i), text, "a domain name", "correct it")


class Rules(Table, frozen=True):
    """Presence rules, where their documents are within reach (xdm.md sections 7 to 11).

    :ivar union: OMA and IETF documents of one user count together (XDM-100).
    :ivar default_document: a rule document in the global tree stands in for missing ones (XDM-150).
    :ivar privacy_is_anonymous: OMA rules take who asks for privacy for anonymous (XDM-119).
    :ivar first: how long a decision waits for documents at most (PSV-08).
    :ivar keep: how long a list that cannot be resolved any more is used (XDM-123).
    """

    union: bool = False
    default_document: bool = False
    privacy_is_anonymous: bool = True
    first: Annotated[float, Meta(gt=0, le=20)] = 2.0
    keep: Seconds = 86400.0


class Override(Table, frozen=True):
    """The operator's own lists; in each the first entry that speaks of a watcher decides (PSV-11).

    :ivar before: decides whatever the user's rules say.
    :ivar after: decides where no rule of the user speaks about the watcher.
    """

    before: tuple[OverrideList, ...] = ()
    after: tuple[OverrideList, ...] = ()


class Winfo(Table, frozen=True):
    """Watcher information (WIN-02, WFS-04, WFS-05).

    :ivar operators: who may see the watchers of everybody.
    :ivar pending: how long a subscription waits for a decision.
    :ivar waiting: how long its watcher is remembered after that.
    :ivar per_watcher: of one watcher, that wait for a decision or are remembered.
    :ivar per_presentity: the same of one presentity.
    """

    operators: tuple[Text, ...] = ()
    pending: Positive = 604800.0
    waiting: Positive = 604800.0
    per_watcher: Count = 100
    per_presentity: Count = 1000

    def __post_init__(self) -> None:
        """Check the addresses."""
        for i, text in enumerate(self.operators):
            if not is_address(text):
                raise WrongValueError(
                    ("operators", i),
                    text,
                    "the address of somebody",
                    'write for example "sip:operator@example.com"',
                )
