"""Media types that a watcher reads, and one that it sends."""

from __future__ import annotations

from typing import Final

PIDF_TYPE: Final = "application/pidf+xml"
DIFF_TYPE: Final = "application/pidf-diff+xml"
FILTER_TYPE: Final = "application/simple-filter+xml"
RLMI_TYPE: Final = "application/rlmi+xml"
RELATED_TYPE: Final = "multipart/related"
EXTERNAL_TYPE: Final = "message/external-body"
