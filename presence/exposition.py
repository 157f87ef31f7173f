"""The text format of Prometheus, version 0.0.4."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from xcap.histogram import Histogram

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"

Labels = Mapping[str, str]


@attrs.frozen(slots=True)
class Family:
    """A metric and its samples.

    :ivar name: without suffix.
    :ivar kind: ``counter``, ``gauge`` or ``histogram``.
    :ivar help: one sentence.
    :ivar samples: (suffix of the name, labels, value).
    """

    name: str
    kind: str
    help: str
    samples: tuple[tuple[str, Labels, float], ...]


def counter(name: str, help: str, *samples: tuple[Labels, float]) -> Family:
    """A value that only rises; its name ends in ``_total``."""
    return Family(name, "counter", help, tuple(("", *sample) for sample in samples))


def gauge(name: str, help: str, *samples: tuple[Labels, float]) -> Family:
    """A value that goes up and down."""
    return Family(name, "gauge", help, tuple(("", *sample) for sample in samples))


def histogram(name: str, help: str, values: Histogram) -> Family:
    """Values counted by size."""
    samples: list[tuple[str, Labels, float]] = []
    below = 0
    for bound, count in zip((*values.bounds, float("inf")), values.counts, strict=True):
        below += count
        samples.append(("_bucket", {"le": _number(bound)}, below))
    samples += (("_sum", {}, values.total), ("_count", {}, below))
    return Family(name, "histogram", help, tuple(samples))


def exposition(families: Iterable[Family]) -> bytes:
    """The families as Prometheus reads them; one without samples is left out."""
    lines = []
    for family in families:
        if not family.samples:
            continue
        lines.append(f"# HELP {family.name} {_escape(family.help)}")
        lines.append(f"# TYPE {family.name} {family.kind}")
        for suffix, labels, value in family.samples:
            text = ",".join(f'{name}="{_escape(v, quote=True)}"' for name, v in labels.items())
            shown = f"{{{text}}}" if text else ""
            lines.append(f"{family.name}{suffix}{shown} {_number(value)}")
    lines.append("")
    return "\n".join(lines).encode()


def _escape(text: str, *, quote: bool = False) -> str:
    text = text.replace("\\", "\\\\").replace("\n", "\\n")
    return text.replace('"', '\\"') if quote else text


def _number(value: float) -> str:
    if value == float("inf"):
        return "+Inf"
    return str(int(value)) if value == int(value) else repr(value)
