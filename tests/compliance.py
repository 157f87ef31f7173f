"""Requirement → code → test: find who cites which requirement and write docs/compliance.md.

::

    python tests/compliance.py            # write docs/compliance.md; name what is missing
    python tests/compliance.py --check    # write nothing; exit status 1 when anything is wrong

``docs/requirements.toml`` lists the requirements.  They are cited by number in docstrings and
comments of ``pysip``, ``xcap``, ``presence`` and ``tests``: ``TXN-05``, ``TXN-05 to TXN-07`` or
``TXN-05..TXN-07``.  A test proves a requirement that it names itself: what the docstring of a
module says covers too much to prove anything.
"""

from __future__ import annotations

import argparse
import ast
import io
import itertools
import pathlib
import re
import sys
import tokenize
import tomllib
from collections import defaultdict
from collections.abc import Iterable, Iterator

import attrs

ROOT = pathlib.Path(__file__).resolve().parent.parent
REQUIREMENTS = "docs/requirements.toml"
PAGE = "docs/compliance.md"
CODE = ("pysip", "xcap", "presence", "twisted/plugins")
TESTS = "tests"
STRENGTHS = ("must", "should", "may")
SHOWN = 5
"""Places that the page names in one cell, so that it can be read and seldom goes stale."""

OWN = frozenset({"compliance.py", "test_compliance.py"})
"""Their numbers are examples."""
TEST_FILE = re.compile(r"^tests/.*/test_\w+\.py$")
NOT_REQUIREMENTS = frozenset({"AES", "SHA", "UTF"})
NUMBER = re.compile(r"\b([A-Z][A-Z0-9]{1,5}-[A-Z]?)(\d\d\d?)\b")
RANGE = re.compile(
    r"\b([A-Z][A-Z0-9]{1,5}-[A-Z]?)(\d\d\d?)(?:\s+to\s+|\s*\.\.\s*|\s*–\s*)(?:\1)(\d\d\d?)\b"  # noqa: RUF001
)


@attrs.frozen
class Requirement:
    """A line of the list.

    :ivar number: such as ``TXN-05``.
    :ivar reason: why there is nothing or not everything of it, "" when it holds.
    """

    number: str
    section: str
    strength: str
    title: str
    state: str = ""
    reason: str = ""


@attrs.frozen
class Requirements:
    """The list, and the highest number of each prefix of other parts."""

    listed: dict[str, Requirement]
    elsewhere: dict[str, int]

    def known(self, number: str) -> bool:
        """Whether there is such a requirement, here or in another part."""
        match = NUMBER.fullmatch(number)
        assert match is not None
        highest = self.elsewhere.get(match[1].removesuffix("-"), 0)
        return number in self.listed or 0 < int(match[2]) <= highest


@attrs.frozen(order=True)
class Citation:
    """Where a requirement is named.

    :ivar symbol: the innermost class, function or named value around it, "" in a module.
    :ivar single: whether it stands by itself and not between the ends of a range.
    """

    number: str
    path: str
    symbol: str
    single: bool

    @property
    def place(self) -> str:
        """``path:symbol``."""
        return f"{self.path}:{self.symbol}" if self.symbol else self.path

    @property
    def proves(self) -> bool:
        """Whether a test, a class of tests, or the table of a test names it."""
        name = self.symbol.rpartition(".")[2]
        test = name.startswith("test_") or not name[:2].islower()
        return bool(TEST_FILE.search(self.path) and name and test and self.single)


def load(root: pathlib.Path = ROOT) -> Requirements:
    """Read the list.

    :raises ValueError: a line that is not as the list's head says.
    """
    tables = tomllib.loads((root / REQUIREMENTS).read_text("utf-8"))
    elsewhere = tables.pop("elsewhere")
    listed: dict[str, Requirement] = {}
    for section, lines in tables.items():
        for number, line in lines.items():
            strength = [name for name in STRENGTHS if name in line]
            state = [name for name in ("later", "not_applicable") if name in line]
            if len(strength) != 1 or len(state) > 1 or len(line) != 1 + len(state):
                raise ValueError(f"{REQUIREMENTS}: {number}: {line}")
            if number in listed or not NUMBER.fullmatch(number):
                raise ValueError(f"{REQUIREMENTS}: {number} is there twice, or is no number")
            listed[number] = Requirement(
                number,
                section,
                strength[0],
                line[strength[0]],
                state[0].replace("_", " ") if state else "",
                line[state[0]] if state else "",
            )
    return Requirements(listed, elsewhere)


def numbers(text: str) -> Iterator[tuple[str, bool]]:
    """Requirement numbers in a text, and whether each stands by itself."""
    for prefix, digits in NUMBER.findall(text):
        if prefix.removesuffix("-") not in NOT_REQUIREMENTS:
            yield f"{prefix}{digits}", True
    for prefix, first, last in RANGE.findall(text):
        for number in range(int(first) + 1, int(last)):
            yield f"{prefix}{number:02}", False


def citations(root: pathlib.Path = ROOT) -> list[Citation]:
    """Every citation in code and tests, sorted, each place once."""
    found: set[Citation] = set()
    for folder in (*CODE, TESTS):
        for path in sorted((root / folder).rglob("*.py")):
            source = path.read_text("utf-8")
            if path.name not in OWN and NUMBER.search(source):
                name = path.relative_to(root).as_posix()
                found.update(_in_source(name, source))
    single = {(c.number, c.place) for c in found if c.single}
    return sorted(c for c in found if c.single or (c.number, c.place) not in single)


def _in_source(name: str, source: str) -> Iterator[Citation]:
    tree = ast.parse(source)
    places = list(_places(tree, ""))
    for line, text in itertools.chain(_docstrings(tree), _comments(source)):
        around = [place for place in places if place[0] <= line <= place[1]]
        symbol = min(around, key=lambda place: place[1] - place[0])[2] if around else ""
        for number, single in numbers(text):
            yield Citation(number, name, symbol, single)


def _places(node: ast.AST, prefix: str) -> Iterator[tuple[int, int, str]]:
    """First line, last line and name of every definition; comments before it belong to it."""
    before = 0
    for child in ast.iter_child_nodes(node):
        name = ""
        first = getattr(child, "lineno", 0)
        last = getattr(child, "end_lineno", None) or first
        if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            name = prefix + child.name
            first = min([first, *(item.lineno for item in child.decorator_list)])
            if isinstance(child, ast.ClassDef):
                yield from _places(child, name + ".")
        elif isinstance(child, ast.Assign) and isinstance(child.targets[0], ast.Name):
            name = prefix + child.targets[0].id
        elif isinstance(child, ast.AnnAssign) and isinstance(child.target, ast.Name):
            name = prefix + child.target.id
        if name:
            yield (before + 1 if before else first), last, name
        if last:
            before = last


def _docstrings(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and text of every string that stands alone as a statement."""
    for node in ast.walk(tree):
        previous: ast.AST | None = None
        body = getattr(node, "body", None)
        for statement in body if isinstance(body, list) else ():
            if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
                text = statement.value.value
                if isinstance(text, str):
                    # the text below a value belongs to the value
                    below = isinstance(previous, ast.Assign | ast.AnnAssign)
                    yield previous.lineno if below and previous else statement.lineno, text
            previous = statement


def _comments(source: str) -> Iterator[tuple[int, str]]:
    """First line and text of every comment; lines that follow each other are one."""
    block: list[str] = []
    start = last = 0
    lines = source.splitlines()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type != tokenize.COMMENT:
            continue
        line = token.start[0]
        if line != last + 1 or lines[line - 1].lstrip()[0] != "#":
            if block:
                yield start, " ".join(block)
            block, start = [], line
        block.append(token.string.lstrip("# "))
        last = line
    if block:
        yield start, " ".join(block)


def page(requirements: Requirements, cited: Iterable[Citation]) -> str:
    """The text of docs/compliance.md."""
    code, tests = _by_number(cited)
    sections: dict[str, list[Requirement]] = defaultdict(list)
    for requirement in requirements.listed.values():
        sections[requirement.section].append(requirement)
    lines = [
        "# Requirements, code and tests",
        "",
        "Written by `python tests/compliance.py` from [requirements.toml](requirements.toml) and"
        " from the numbers cited in the code and its tests; `tests/test_compliance.py` keeps it"
        f" true. A cell names at most {SHOWN} places. *Later* and *not applicable* say what this"
        " release does not do, or not wholly.",
        "",
        "| section | must | proved by a test | later | not applicable | should, may | later |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    total = [0] * 6
    for section, listed in sections.items():
        row = _counts(listed, tests)
        total = [a + b for a, b in zip(total, row, strict=True)]
        lines.append(f"| {section} | " + " | ".join(map(str, row)) + " |")
    lines.append("| **all** | " + " | ".join(f"**{number}**" for number in total) + " |")
    for section, listed in sections.items():
        lines += ["", f"## {section}", "", "| number | what | code | tests |"]
        lines.append("| --- | --- | --- | --- |")
        for each in listed:
            strength = "" if each.strength == "must" else f" ({each.strength})"
            what = f"{each.title}{strength}"
            if each.state:
                what += f"<br>*{each.state}*: {each.reason}"
            lines.append(
                f"| {each.number} | {what} | {_cell(code[each.number])} |"
                f" {_cell(tests[each.number])} |"
            )
    return "\n".join(lines) + "\n"


def _by_number(cited: Iterable[Citation]) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Places in the code and proving tests of each requirement."""
    code: dict[str, list[str]] = defaultdict(list)
    tests: dict[str, list[str]] = defaultdict(list)
    for citation in cited:
        if citation.proves:
            tests[citation.number].append(citation.place)
        elif not citation.path.startswith("tests/"):
            code[citation.number].append(citation.place)
    for places in code.values():
        # what stands within a range says least
        places.sort(key=lambda place: (":" not in place, place))
    return code, tests


def _counts(listed: list[Requirement], tests: dict[str, list[str]]) -> list[int]:
    musts = [each for each in listed if each.strength == "must"]
    others = [each for each in listed if each.strength != "must"]
    return [
        len(musts),
        sum(not each.state and bool(tests[each.number]) for each in musts),
        sum(each.state == "later" for each in musts),
        sum(each.state == "not applicable" for each in musts),
        len(others),
        sum(bool(each.state) for each in others),
    ]


def _cell(places: list[str]) -> str:
    shown = [f"`{place}`" for place in places[:SHOWN]]
    return "<br>".join([*shown, "…"] if len(places) > SHOWN else shown)


def unproved(requirements: Requirements, cited: Iterable[Citation]) -> list[str]:
    """Numbers of what must hold now and is named by no test."""
    tests = _by_number(cited)[1]
    return [
        each.number
        for each in requirements.listed.values()
        if each.strength == "must" and not each.state and not tests[each.number]
    ]


def unknown(requirements: Requirements, cited: Iterable[Citation]) -> list[str]:
    """``number in place`` for every number that no list has."""
    return [
        f"{citation.number} in {citation.place}"
        for citation in cited
        if citation.single and not requirements.known(citation.number)
    ]


def main() -> int:
    """Write or check the page; the exit status."""
    parser = argparse.ArgumentParser(description="Write docs/compliance.md.")
    parser.add_argument("--check", action="store_true", help="write nothing, tell what is wrong")
    options = parser.parse_args()
    requirements, cited = load(), citations()
    text = page(requirements, cited)
    wrong = [f"no test names {number}" for number in unproved(requirements, cited)]
    wrong += [f"unknown requirement {each}" for each in unknown(requirements, cited)]
    path = ROOT / PAGE
    if not options.check:
        path.write_text(text, "utf-8")
    elif not path.exists() or path.read_text("utf-8") != text:
        wrong.append(f"{PAGE} is out of date: run python tests/compliance.py")
    for line in wrong:
        sys.stderr.write(f"{line}\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
