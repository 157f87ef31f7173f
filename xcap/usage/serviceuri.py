"""The form that an operator gives the URIs of presence lists (XDM-56)."""

from __future__ import annotations

import re
from typing import Final

from xcap.canonical import canonical_sip_uri
from xcap.uri import canonical_xui

_SAMPLE_XUI: Final = "sip:user@example.com"
_SAMPLE_ID: Final = "friends"


class ServiceTemplate:
    """A form such as ``<xui>;pres-list=<id>``.

    :param text: ``<id>`` once, and ``<xui>`` at most once.
    :raises ValueError: the text cannot be the form of a canonical SIP URI.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        if text.count("<id>") != 1 or text.count("<xui>") > 1:
            raise ValueError("a template has <id> once and <xui> at most once")
        pattern = re.escape(text)
        pattern = pattern.replace(re.escape("<xui>"), "(?P<xui>sips?:[^;?]+)")
        pattern = pattern.replace(re.escape("<id>"), "(?P<id>[^;?@:]+)")
        self._pattern = re.compile(pattern, re.IGNORECASE)
        sample = canonical_sip_uri(self.make(_SAMPLE_XUI, _SAMPLE_ID))
        if self.identifier(sample, _SAMPLE_XUI) != _SAMPLE_ID:
            raise ValueError("parameters of a template are sorted by name")

    def make(self, xui: str, identifier: str) -> str:
        """The URI of a list of a user."""
        return self.text.replace("<xui>", xui).replace("<id>", identifier)

    def identifier(self, uri: str, xui: str) -> str | None:
        """The ``<id>`` of a service of a user; None when the URI does not fit.

        :param uri: canonical.
        :param xui: canonical.
        """
        match = self._pattern.fullmatch(uri)
        if match is None:
            return None
        if "<xui>" in self.text and self.owner(uri) != xui:
            return None
        return match["id"]

    def fits(self, uri: str) -> bool:
        """Whether a URI has the form, whoever its owner is.

        :param uri: canonical.
        """
        if "<xui>" in self.text:
            return self.owner(uri) is not None
        return self._pattern.fullmatch(uri) is not None

    def owner(self, uri: str) -> str | None:
        """The user whose list a service is; None when the URI does not tell.

        :param uri: canonical.
        """
        match = self._pattern.fullmatch(uri)
        if match is None or "<xui>" not in self.text:
            return None
        try:
            return canonical_xui(match["xui"])
        except ValueError:
            return None
