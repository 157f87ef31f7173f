"""What a profile says: where the time of an operation goes, by module and by function."""

from __future__ import annotations

import pstats
from collections import Counter
from pathlib import Path
from typing import Any

from bench.servers import ROOT

_Place = tuple[str, int, str]
"""File, line and name of a function; the file of a built-in one is ``~``."""

_WAITING = ("'poll' of 'select.epoll'",)
_SYSTEM = {"'sendto' of": "kernel: sendto", "'recvfrom' of": "kernel: recvfrom"}


def read_profile(path: Path, operations: int, top: int = 15) -> dict[str, Any]:
    """Microseconds per operation of one profile.

    The time of built-in functions counts for the module that calls them, but sending and
    receiving, which is the kernel's; waiting for events is left out.  The profiler itself
    makes everything slower, small functions most.

    :returns: ``total`` (us), ``modules`` and ``functions`` as lists, the costliest first.
    """
    stats: dict[_Place, Any] = pstats.Stats(str(path)).stats  # type: ignore[attr-defined]
    modules: Counter[str] = Counter()
    functions = []
    for place, (_, calls, own, _, callers) in stats.items():
        if any(text in place[2] for text in _WAITING):
            continue
        functions.append((own, calls, _name(place)))
        if place[0] != "~":
            modules[_module(place)] += own
            continue
        kernel = next((name for text, name in _SYSTEM.items() if text in place[2]), "")
        if kernel or not callers:
            modules[kernel or "interpreter"] += own
            continue
        for caller, (_, _, part, _) in callers.items():
            modules[_module(caller)] += part
    scale = 1e6 / operations
    functions.sort(reverse=True)
    return {
        "total": round(sum(modules.values()) * scale, 2),
        "modules": [[name, round(own * scale, 2)] for name, own in modules.most_common(top)],
        "functions": [
            [name, round(calls / operations, 2), round(own * scale, 2)]
            for own, calls, name in functions[:top]
        ],
    }


def _name(place: _Place) -> str:
    file, line, function = place
    if file == "~":
        return function
    return f"{_short(file)}:{line} {function}"


def _module(place: _Place) -> str:
    file = place[0]
    if file == "~":
        return "interpreter"
    short = _short(file)
    return "twisted" if short.startswith("twisted/") else short


def _short(file: str) -> str:
    path = Path(file)
    if path.is_relative_to(ROOT) and ".venv" not in path.parts:
        return str(path.relative_to(ROOT))
    parts = path.parts
    for marker in ("site-packages", "dist-packages"):
        if marker in parts:
            return "/".join(parts[parts.index(marker) + 1 :])
    return (
        "/".join(parts[-2:]) if parts[-2:-1] and not parts[-2].startswith("python") else path.name
    )
