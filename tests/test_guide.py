"""docs/developer.md and README.md name only files and symbols that exist."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

ROOT = Path(__file__).resolve().parent.parent
PAGES = (ROOT / "docs" / "developer.md", ROOT / "README.md")
CODE = ("pysip", "xcap", "presence", "tests", "bench")

_INLINE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
_FENCE = re.compile(r"^```\w*\n(.*?)^```", re.M | re.S)
_PATH = re.compile(r"(?:[\w.-]+/)+[\w.-]*|[\w-]+\.(?:py|toml|md|cfg)")
_DOTTED = re.compile(r"(?<![\w/.-])(?:pysip|xcap|presence|tests)(?:\.\w+)+")
_CLASS = re.compile(r"(I?[A-Z]+[a-z]\w*)(?:\.(\w+))?")
_CALL = re.compile(r"(\w+)\(\)")
_CONSTANT = re.compile(r"[A-Z][A-Z_]{4,}")
FOREIGN = {"Clock"}
"""Names of Twisted."""


class Names:
    """What the code defines: classes with their members, functions, constants."""

    def __init__(self) -> None:
        self.classes: dict[str, set[str]] = {}
        self.bases: dict[str, set[str]] = {}
        self.functions: set[str] = set()
        self.constants: set[str] = set()
        for folder in CODE:
            for path in (ROOT / folder).rglob("*.py"):
                self._read(ast.parse(path.read_text("utf-8")))

    def _read(self, tree: ast.Module) -> None:
        for node in tree.body:
            if isinstance(node, ast.ClassDef):
                self.classes.setdefault(node.name, set()).update(_members(node))
                bases = (ast.unparse(base).partition("[")[0] for base in node.bases)
                self.bases.setdefault(node.name, set()).update(bases)
            elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                self.functions.add(node.name)
            elif isinstance(node, ast.Assign | ast.AnnAssign):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                self.constants.update(t.id for t in targets if isinstance(t, ast.Name))

    def member(self, cls: str, name: str) -> bool:
        """Whether a class, or one it derives from, has a member."""
        if name in self.classes.get(cls, ()):
            return True
        return any(self.member(base, name) for base in self.bases.get(cls, ()))


def _members(node: ast.ClassDef) -> Iterator[str]:
    for child in node.body:
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield child.name
        elif isinstance(child, ast.AnnAssign) and isinstance(child.target, ast.Name):
            yield child.target.id
        elif isinstance(child, ast.Assign):
            yield from (t.id for t in child.targets if isinstance(t, ast.Name))


def missing(text: str, names: Names) -> list[str]:
    """What is written as code in ``text`` and does not exist."""
    found = []
    prose = _FENCE.sub("", text)
    for word in _INLINE.findall(prose):
        if _PATH.fullmatch(word):
            place = ROOT if "/" in word or (ROOT / word).exists() else ROOT / "docs"
            good = word.startswith(".venv") or (place / word).exists()
        elif _DOTTED.fullmatch(word):
            good = _module(word)
        elif match := _CLASS.fullmatch(word):
            cls, name = match[1], match[2]
            good = cls in FOREIGN or (
                cls in names.classes if name is None else names.member(cls, name)
            )
        elif match := _CALL.fullmatch(word):
            good = match[1] in names.functions
        elif _CONSTANT.fullmatch(word):
            good = word in names.constants or word.isalpha()  # a SIP method is no constant
        else:
            continue
        if not good:
            found.append(word)
    for block in _FENCE.findall(text):
        found += [name for name in _DOTTED.findall(block) if not _module(name)]
    return found


def _module(name: str) -> bool:
    """Whether a dotted name is a module, a package or a test class."""
    parts = name.split(".")
    while parts:
        path = ROOT.joinpath(*parts)
        if path.with_suffix(".py").exists():
            rest = name.split(".")[len(parts) :]
            source = path.with_suffix(".py").read_text("utf-8")
            return all(re.search(rf"^\s*(class|def) {word}\b", source, re.M) for word in rest)
        if path.is_dir():
            return len(parts) == len(name.split("."))
        parts.pop()
    return False


class GuideTests(SynchronousTestCase):
    """The pages, and the search itself."""

    def test_pages(self) -> None:
        """Every file, module, class, member, function and constant that is named exists."""
        names = Names()
        for page in PAGES:
            self.assertEqual(missing(page.read_text("utf-8"), names), [], page.name)

    def test_found(self) -> None:
        """What does not exist is found, in each way to write it."""
        wrong = (
            "pysip/nonesuch.py",
            "nonesuch.toml",
            "pysip.nonesuch",
            "presence.tap.Nonesuch",
            "Nonesuch",
            "UserAgent.nonesuch",
            "nonesuch()",
            "NONE_SUCH",
        )
        right = (
            "pysip/uri.py",
            "presence.tap.Options",
            "UserAgent.allow",
            "SqliteStore.put_binding",
            "parse_uri()",
            "PUBLISH",
            "make test",
        )
        text = " ".join(f"`{word}`" for word in (*right, *wrong))
        self.assertEqual(missing(text, Names()), list(wrong))
        self.assertEqual(missing("```\npysip.ua pysip.gone\n```\n", Names()), ["pysip.gone"])
