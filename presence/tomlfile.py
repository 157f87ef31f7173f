"""Strict decoding of a TOML file into msgspec structs, with errors made for operators.

Unlike :func:`msgspec.toml.decode` this knows the exact key of what is wrong, also inside
tables with free names, and finds its line in the file.
"""

from __future__ import annotations

import difflib
import json
import math
import tomllib
from types import EllipsisType
from typing import Any, get_args, get_origin

import msgspec
import msgspec.inspect
import msgspec.structs
from msgspec import NODEFAULT

Path = tuple[str | int, ...]
"""Keys and list positions from the root of the file to a value."""


class ConfigError(Exception):
    """The configuration cannot be used; ``str()`` is one complete message for the operator.

    :ivar file: name of the file, or "" for the built-in configuration.
    :ivar line: line number in it, or None when unknown.
    :ivar key: dotted key, or "" when the whole file is concerned.
    """

    def __init__(
        self, message: str, file: str = "", line: int | None = None, key: str = ""
    ) -> None:
        self.file = file
        self.line = line
        self.key = key
        place = f"{file}, line {line}" if file and line else file
        super().__init__(": ".join(part for part in (place, message) if part))


class WrongValueError(ValueError):
    """A value that its table refuses; :func:`decode` adds where it stands.

    :param key: key inside the table that raises it, as a path.
    :param found: the value found, ``...`` when there is none, or None when the message
        should not show it.
    :param expected: what may stand there, as it continues "expected …".
    :param remedy: what the operator can do, as a clause.
    """

    def __init__(self, key: Path, found: object, expected: str, remedy: str) -> None:
        super().__init__(key, found, expected, remedy)
        self.key = key
        self.found = found
        self.expected = expected
        self.remedy = remedy

    def below(self, path: Path) -> WrongValueError:
        """The same problem seen from the table that ``path`` leads to this one from."""
        return WrongValueError(path + self.key, self.found, self.expected, self.remedy)

    def message(self) -> str:
        """Key, what was found, what is expected, and the remedy, in one sentence."""
        name = dotted(self.key)
        found = "" if self.found is None else f"found {show(self.found)}, "
        return f"{name}: {found}expected {self.expected}; {self.remedy}"


def dotted(path: Path) -> str:
    """The TOML spelling of a path: ``domain."example.com".notify_interval``, ``listen[0].port``."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
            continue
        bare = part.replace("-", "").replace("_", "").isalnum() and part.isascii()
        text += ("." if text else "") + (part if bare else json.dumps(part))
    return text


def show(value: object) -> str:
    """A value as the operator wrote it, shortened, with its kind."""
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            text = json.dumps(value, ensure_ascii=False)
            return text if len(text) <= 60 else text[:59] + '…"'
        case dict():
            return "a table"
        case list():
            text = ", ".join(show(item) for item in value)
            return f"the list [{text}]" if len(text) <= 60 else "a list"
        case EllipsisType():
            return "nothing"
        case _:
            return str(value)


def toml(value: object) -> str:
    """A plain value in TOML syntax (what :func:`decode` would read back)."""
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return json.dumps(value, ensure_ascii=False)
        case list() | tuple():
            return "[" + ", ".join(toml(item) for item in value) + "]"
        case dict():
            return "{" + ", ".join(f"{dotted((k,))} = {toml(v)}" for k, v in value.items()) + "}"
        case _:
            return str(value)


def read(text: str, name: str = "") -> dict[str, Any]:
    """Parse TOML text.

    :raises ConfigError: the text is not TOML; the message tells line and column.
    """
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(
            f"found what is not TOML: {error}; strings need quotes, true and false do not",
            name,
        ) from error


def decode(data: object, kind: Any, path: Path = (), default: object = NODEFAULT) -> Any:
    """Convert plain TOML data to ``kind``: structs, tuples, string-keyed dicts or plain values.

    :param path: where ``data`` stands, for the error.
    :param default: value that holds when the key is left out, for the error.
    :raises WrongValueError: an unknown or missing key, a wrong type or a refused value.
    """
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return _decode_table(data, kind, path)
    origin = get_origin(kind)
    if origin is tuple and isinstance(data, list):
        return tuple(decode(item, get_args(kind)[0], (*path, i)) for i, item in enumerate(data))
    if origin is dict and isinstance(data, dict):
        return {key: decode(item, get_args(kind)[1], (*path, key)) for key, item in data.items()}
    try:
        value = msgspec.convert(data, kind)
    except msgspec.ValidationError as error:
        raise WrongValueError(path, data, _describe(kind), _remedy(path, default)) from error
    if isinstance(value, float) and not math.isfinite(value):
        raise WrongValueError(path, data, "a finite number", _remedy(path, default))
    return value


def _decode_table(data: object, kind: type[msgspec.Struct], path: Path) -> msgspec.Struct:
    if not isinstance(data, dict):
        raise WrongValueError(path, data, "a table", f"write it as [{dotted(path)}]")
    fields = {field.encode_name: field for field in msgspec.structs.fields(kind)}
    for key in data:
        if key not in fields:
            close = difflib.get_close_matches(key, fields, n=1)
            hint = f"did you mean {close[0]}?" if close else "remove it"
            known = ", ".join(fields)
            raise WrongValueError((*path, key), None, f"one of the keys {known}", hint)
    values = {}
    for name, field in fields.items():
        if name in data:
            values[field.name] = decode(data[name], field.type, (*path, name), field.default)
        elif field.required:
            expected = _describe(field.type)
            raise WrongValueError((*path, name), ..., expected, f"add a line {name} = …")
    try:
        return kind(**values)
    except WrongValueError as error:
        raise error.below(path) from None


def _describe(kind: Any) -> str:
    """What a value of the plain type ``kind`` is, in words."""
    match msgspec.inspect.type_info(kind):
        case msgspec.inspect.LiteralType(values=values):
            return "one of " + ", ".join(show(value) for value in values)
        case msgspec.inspect.BoolType():
            return "true or false"
        case msgspec.inspect.IntType(ge=low, le=high):
            return "a whole number" + _range(low, high)
        case msgspec.inspect.FloatType(ge=low, gt=above, le=high):
            return "a number" + (f" above {above:g}" if above is not None else _range(low, high))
        case msgspec.inspect.StrType(min_length=length):
            return "a text in quotes" + (" that is not empty" if length else "")
        case msgspec.inspect.UnionType(types=types):
            kinds = [t for t in types if not isinstance(t, msgspec.inspect.NoneType)]
            return _describe_first(kinds)
        case msgspec.inspect.VarTupleType():
            return "a list in brackets"
        case msgspec.inspect.DictType():
            return "a table"
        case other:
            return str(other)


def _describe_first(kinds: list[Any]) -> str:
    """As :func:`_describe` for an optional value: TOML has no null, so None cannot be meant."""
    info = kinds[0]
    if isinstance(info, msgspec.inspect.LiteralType):
        return "one of " + ", ".join(show(value) for value in info.values)
    return "a number" + _range(getattr(info, "ge", None), getattr(info, "le", None))


def _range(low: float | None, high: float | None) -> str:
    if low is not None and high is not None:
        return f" from {low:g} to {high:g}"
    if low is not None:
        return f" not below {low:g}"
    return f" not above {high:g}" if high is not None else ""


def _remedy(path: Path, default: object) -> str:
    if default is NODEFAULT or default is None:
        return "correct the value"
    return f"correct it, or leave the key out for the default {toml(default)}"


def line_of(text: str, path: Path) -> int | None:
    """The line of the key, or of the nearest table around it, in TOML text.

    A scan of headers and ``key =`` lines, good enough for messages: it may be misled by
    multi-line strings that look like TOML.
    """
    best: tuple[int, int | None] = (0, None)
    table: Path = ()
    counts: dict[Path, int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if stripped.startswith("[["):
            name = _keys(stripped[2:].split("]]")[0])
            counts[name] = counts.get(name, -1) + 1
            here = table = (*name, counts[name])
        elif stripped.startswith("["):
            here = table = _keys(stripped[1:].rpartition("]")[0] or stripped[1:])
        elif "=" in stripped and not stripped.startswith("#"):
            here = table + _keys(stripped.split("=")[0])
        else:
            continue
        if here == path[: len(here)] and len(here) > best[0]:
            best = (len(here), number)
    return best[1]


def _keys(text: str) -> Path:
    """The parts of a dotted TOML key, () when it is none."""
    try:
        table: Any = tomllib.loads(f"{text} = 0")
    except tomllib.TOMLDecodeError:
        return ()
    parts: list[str | int] = []
    while isinstance(table, dict) and len(table) == 1:
        ((key, table),) = table.items()
        parts.append(key)
    return tuple(parts)
