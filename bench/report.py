"""Tables of benchmark results, and their places in RESULTS.md.

``python -m bench.report results.jsonl`` prints the tables of what ``bench/run --out`` has
kept; with ``--write RESULTS.md`` they replace the tables between the comments
``<!-- table NAME -->`` and ``<!-- end -->`` there.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

Result = dict[str, Any]
Key = tuple[str, str, str, str]
"""Load, server, variant, phase."""

TARGET = 0.5
"""Greatest ratio of our processor time to durable Kamailio's (issue 2)."""

_CORE = (
    *("publish-initial", "publish-refresh", "publish-modify"),
    *("subscribe-initial", "subscribe-refresh", "unsubscribe"),
)
_FANOUT = ("fanout-10", "fanout-100", "fanout-1000")
_PHASES = (*_CORE, *_FANOUT, "mixed")
_DETAILED = ("publish-initial", "subscribe-refresh", "fanout-100")
_MODULES = 16
_FUNCTIONS = 12
_PLACE = re.compile(r"(<!-- table (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def median(results: Iterable[Result]) -> Result:
    """The medians of the rounds of one phase, number by number; and the spread of its cost.

    Rounds with faults count only when there is no other.
    """
    given = list(results)
    given = [result for result in given if not result.get("faults")] or given
    first = given[0]
    made: Result = {}
    for key, value in first.items():
        values = [result[key] for result in given if key in result]
        if isinstance(value, dict):
            made[key] = median(values) if key == "latency_ms" or _numbers(value) else value
        elif isinstance(value, int | float) and not isinstance(value, bool):
            made[key] = statistics.median(values)
        else:
            made[key] = value
    if "cpu_ms" in first:
        costs = [result["cpu_ms"] for result in given]
        made["spread"] = max(costs) / min(costs) if min(costs) else 0.0
        made["least"] = min(costs)
        made["rounds"] = len(given)
    return made


def _numbers(value: dict[str, Any]) -> bool:
    return all(isinstance(number, int | float) for number in value.values())


def medians(results: Iterable[Result]) -> dict[Key, Result]:
    """Medians by load, server, variant and phase."""
    grouped: dict[Key, list[Result]] = {}
    for result in results:
        if result["load"] in ("own", "reference", "documents"):
            key = (result["load"], result["server"], result["variant"], result["phase"])
            grouped.setdefault(key, []).append(result)
    return {key: median(group) for key, group in grouped.items()}


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table, the first column to the left, the others to the right."""
    names = list(head)
    lines = [names, ["---", *("---:" for _ in names[1:])], *map(list, rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _latency(result: Result) -> list[str]:
    """p50, p95 and p99 in ms; of a mixture the worst of its kinds."""
    kinds = result["latency_ms"].values()
    return [f"{max(kind[name] for kind in kinds):.1f}" for name in ("p50", "p95", "p99")]


def _name(phase: str) -> str:
    if phase.startswith("fanout-"):
        return f"fan-out to {phase[7:]} watchers"
    return {"mixed": "mixed busy hour"}.get(phase, phase.replace("-", " "))


def _machine(results: list[Result]) -> str:
    rows = [result for result in results if result["load"] == "machine"]
    if not rows:
        return ""
    one = rows[-1]
    return (
        f"Measured {one['date']}, revision {one['revision']}: {one['processor']},"
        f" {one['cores']} cores; {one['system']}; Python {one['python']}, Twisted"
        f" {one['twisted']}, SQLite {one['sqlite']}; {one['kamailio'] or 'no Kamailio'}. Writing"
        f" and flushing 4 KiB took {one['flush_ms']:.2f} ms, and {one['busy']:.1f} processes"
        " were running when the measurements began.\n"
    )


def _own(found: dict[Key, Result]) -> str:
    rows = []
    for phase in _PHASES:
        result = found.get(("own", "txpresence", "sqlite", phase))
        if result is None:
            continue
        per_notify = result.get("cpu_us_per_notify") if phase in _FANOUT else None
        rows.append(
            [
                _name(phase),
                f"{result['cpu_ms']:.3f}",
                f"{result['cpu_ms'] - result['main_cpu_ms']:.3f}",
                f"{per_notify:.1f}" if per_notify is not None else "",
                f"{result['rate']:.0f}",
                *_latency(result),
                f"{result['spread']:.2f}",
            ]
        )
    head = ("operation", "CPU ms", "of it store thread", "µs per NOTIFY", "per s")
    return table((*head, "p50 ms", "p95 ms", "p99 ms", "max/min"), rows) if rows else ""


def _variants(found: dict[Key, Result]) -> str:
    names = ("sqlite", "digest", "memory")
    rows = [
        [_name(phase), *(f"{cost:.3f}" if cost else "" for cost in costs)]
        for phase in _CORE
        if any(costs := [_cost(found, ("own", "txpresence", v, phase)) for v in names][1:])
        and (costs := [_cost(found, ("own", "txpresence", v, phase)) for v in names])
    ]
    return table(("CPU ms", "durable", "durable, Digest", "nothing stored"), rows) if rows else ""


def _cost(found: dict[Key, Result], key: Key) -> float:
    return found[key]["cpu_ms"] if key in found else 0.0


def _memory(found: dict[Key, Result]) -> str:
    result = found.get(("own", "txpresence", "sqlite", "memory"))
    if result is None:
        return ""
    many = f"{result['publications']:.0f} publications"
    rows = [
        ["started", f"{result['start_mb']:.0f}", ""],
        [
            f"{many}, at rest",
            f"{result['published_mb']:.0f}",
            f"{result['publication_octets']:.0f}",
        ],
        [
            f"and {result['subscriptions']:.0f} subscriptions, right after their load",
            f"{result['peak_mb']:.0f}",
            "",
        ],
        [
            "the same at rest",
            f"{result['subscribed_mb']:.0f}",
            f"{result['subscription_octets']:.0f}",
        ],
    ]
    return table(("state", "PSS MB", "octets each"), rows)


_DOCUMENTS = (
    *("put-new", "get", "get-304", "put-replace", "put-if-match", "put-412"),
    *("get-element", "put-element", "delete-element", "delete"),
)


def _documents(found: dict[Key, Result]) -> str:
    rows = []
    for name in _DOCUMENTS:
        ours, proxy, theirs = (
            found.get(("documents", server, "sqlite", f"xcap-{name}"))
            for server in ("xdms", "proxy", "kamailio")
        )
        if ours is None or proxy is None:
            continue
        ratio = least = ""
        if theirs is not None and theirs["cpu_ms"]:
            ratio = f"{ours['cpu_ms'] / theirs['cpu_ms']:.2f}"
            least = f"{ours['least'] / theirs['least']:.2f}"
        rows.append(
            [
                name.replace("-", " "),
                f"{ours['cpu_ms']:.3f}",
                f"{proxy['cpu_ms']:.3f}",
                f"{theirs['cpu_ms']:.3f}" if theirs is not None else "",
                *(ratio, least),
                f"{ours['rate']:.0f} / {proxy['rate']:.0f}",
                f"{_latency(ours)[2]} / {_latency(proxy)[2]}",
                f"{ours['spread']:.2f} / {proxy['spread']:.2f}",
            ]
        )
    head = (
        *("operation", "XDMS", "through the proxy", "Kamailio, SQLite", "XDMS : Kamailio"),
        *("of the best rounds", "per s", "p99 ms", "max/min"),
    )
    return table(head, rows) if rows else ""


def lists_table(results: list[Result]) -> str:
    """What changes of members cost by size of the lists, with aggregation and without."""
    grouped: dict[tuple[int, float], list[Result]] = {}
    for result in results:
        if result["load"] == "lists":
            grouped.setdefault((result["members"], result["window"]), []).append(result)
    rows = []
    for (members, window), group in sorted(grouped.items()):
        one = median(group)
        rows.append(
            [
                f"{members} members, {f'{window:g} s' if window else 'no'} window",
                f"{one['notifies']:.3f}",
                f"{one['octets']:.0f}",
                f"{one['cpu_us']:.0f}",
                f"{one['publish_us']:.0f}",
            ]
        )
    head = (
        *("list", "NOTIFYs per change", "octets per change", "µs per change"),
        "µs of a PUBLISH that nobody watches",
    )
    return table(head, rows) if rows else ""


def partial_table(results: list[Result]) -> str:
    """Octets of whole documents and changes, and what these cost."""
    grouped: dict[str, list[Result]] = {}
    for result in results:
        if result["load"] == "partial":
            grouped.setdefault(result["change"], []).append(result)
    rows = []
    for change, group in grouped.items():
        one = median(group)
        octets, gzip, us = one["octets"], one["gzip"], one["us"]
        rows.append(
            [
                change,
                *(f"{octets[kind]:.0f} ({gzip[kind]:.0f})" for kind in ("pidf", "full", "diff")),
                *(f"{us[work]:.0f}" for work in ("made", "written", "full", "read", "applied")),
            ]
        )
    head = (
        *("change", "PIDF octets (gzip)", "pidf-full", "pidf-diff"),
        *("µs diff found", "µs diff written", "µs full written", "µs full read", "µs diff applied"),
    )
    return table(head, rows) if rows else ""


def lean_table(results: list[Result]) -> str:
    """What a change costs by what watchers ask for."""
    grouped: dict[str, list[Result]] = {}
    for result in results:
        if result["load"] == "lean":
            grouped.setdefault(result["form"], []).append(result)
    rows = []
    for form, group in grouped.items():
        one = median(group)
        rows.append(
            [
                form,
                f"{one['octets']:.0f}",
                f"{one['notifies']:.2f}",
                f"{one['octets'] * one['notifies']:.0f}",
                f"{one['notify_us']:.0f}",
            ]
        )
    head = (
        *("watchers are told", "octets of a NOTIFY", "NOTIFYs per change and watcher"),
        *("octets per change and watcher", "µs per watcher"),
    )
    return table(head, rows) if rows else ""


def _ratios(found: dict[Key, Result]) -> str:
    rows = []
    for phase in _PHASES:
        ours = found.get(("reference", "txpresence", "sqlite", phase))
        theirs = found.get(("reference", "kamailio", "sqlite", phase))
        if ours is None or theirs is None:
            continue
        field, unit = ("cpu_us_per_notify", "µs/NOTIFY") if phase in _FANOUT else ("cpu_ms", "ms")
        digits = 1 if phase in _FANOUT else 3
        ratio = ours[field] / theirs[field] if theirs[field] else 0.0
        rows.append(
            [
                _name(phase),
                f"{ours[field]:.{digits}f} {unit}",
                f"{theirs[field]:.{digits}f} {unit}",
                f"{ratio:.2f}",
                f"{ours['least'] / theirs['least']:.2f}" if theirs["least"] else "",
                "met" if ratio <= TARGET else "**missed**",
                f"{ours['rate']:.0f} / {theirs['rate']:.0f}",
                f"{_latency(ours)[2]} / {_latency(theirs)[2]}",
                f"{ours['spread']:.2f} / {theirs['spread']:.2f}",
            ]
        )
    head = (
        *("workload", "txpresence", "Kamailio, SQLite", "ratio", "of the best rounds"),
        f"target {TARGET:g}",
    )
    return table((*head, "per s", "p99 ms", "max/min"), rows) if rows else ""


def _information(found: dict[Key, Result]) -> str:
    columns = (
        ("txpresence durable", ("txpresence", "sqlite")),
        ("Kamailio, nothing stored", ("kamailio", "mem")),
        ("txpresence durable, Digest", ("txpresence", "digest")),
        ("Kamailio, nothing stored, Digest", ("kamailio", "mem-auth")),
    )
    rows = []
    for phase in (*_CORE, *_FANOUT):
        cells = []
        for _, (server, variant) in columns:
            result = found.get(("reference", server, variant, phase), {})
            if phase in _FANOUT and "cpu_us_per_notify" in result:
                cells.append(f"{result['cpu_us_per_notify']:.1f} µs/NOTIFY")
            else:
                cells.append(f"{result['cpu_ms']:.3f} ms" if "cpu_ms" in result else "")
        if any(cells[1:]):
            rows.append([_name(phase), *cells])
    return table(("workload", *(name for name, _ in columns)), rows) if rows else ""


def _profile(results: list[Result]) -> str:
    """Shares of the modules in all phases, and the costliest functions of some."""
    profiles = {r["phase"]: r for r in results if r["load"] == "profile"}
    if not profiles:
        return ""
    shares: dict[str, dict[str, float]] = {}
    for phase, result in profiles.items():
        for module, own in result["modules"]:
            shares.setdefault(module, {})[phase] = own / result["total"]
    order = sorted(shares, key=lambda module: -sum(shares[module].values()))
    phases = [phase for phase in _PHASES if phase in profiles]
    texts = [
        table(
            ("share of", *map(_short_name, phases)),
            (
                [module, *(f"{shares[module].get(phase, 0.0):.0%}" for phase in phases)]
                for module in order[:_MODULES]
            ),
        )
    ]
    for phase in _DETAILED:
        if phase in profiles:
            result = profiles[phase]
            functions = table(
                ("function", "calls", "share"),
                (
                    [f"`{name}`", f"{calls:g}", f"{own / result['total']:.1%}"]
                    for name, calls, own in result["functions"][:_FUNCTIONS]
                ),
            )
            texts.append(f"Costliest functions themselves, {_name(phase)}:\n\n{functions}")
    return "\n".join(texts)


def _short_name(phase: str) -> str:
    return phase.replace("publish-", "P ").replace("subscribe-", "S ").replace("fanout-", "1:")


def _faults(results: list[Result]) -> str:
    rows = [
        [
            f"{result['load']} {result.get('server', '')} {result.get('variant', '')}",
            f"{result['phase']}, round {result.get('round', 1)}",
            ", ".join(f"{name}: {n}" for name, n in result["faults"].items()),
        ]
        for result in results
        if result.get("faults")
    ]
    return table(("load", "phase", "faults"), rows) if rows else "No load has found a fault.\n"


def tables(results: list[Result]) -> dict[str, str]:
    """All tables that the results fill, by name."""
    found = medians(results)
    makers: dict[str, Callable[[], str]] = {
        "machine": lambda: _machine(results),
        "own": lambda: _own(found),
        "variants": lambda: _variants(found),
        "memory": lambda: _memory(found),
        "ratios": lambda: _ratios(found),
        "documents": lambda: _documents(found),
        "lists": lambda: lists_table(results),
        "partial": lambda: partial_table(results),
        "lean": lambda: lean_table(results),
        "information": lambda: _information(found),
        "profile": lambda: _profile(results),
        "faults": lambda: _faults(results),
    }
    made = {name: make() for name, make in makers.items()}
    return {name: text for name, text in made.items() if text}


def main() -> None:
    """Print the tables or put them in their places."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("results", type=Path, nargs="+")
    parser.add_argument("--write", type=Path, metavar="FILE", help="whose tables to replace")
    given = parser.parse_args()
    results = [json.loads(line) for path in given.results for line in path.read_text().splitlines()]
    made = tables(results)
    if given.write is None:
        print("\n".join(made.values()))
        return

    def place(match: re.Match[str]) -> str:
        return f"{match[1]}{made[match[2]]}{match[3]}" if match[2] in made else match[0]

    given.write.write_text(_PLACE.sub(place, given.write.read_text()))


if __name__ == "__main__":
    main()
