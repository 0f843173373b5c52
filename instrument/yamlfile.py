"""Patches and mappings as YAML on disk: find the file, read it, check it, and say where it is wrong.

Errors read `patches/undertow.yaml:7: unknown key 'levr' in bends 1; did you mean 'lever'?`. This file does not know
what a patch or a mapping contains.
"""

from __future__ import annotations

import io
from collections.abc import Mapping as MappingType
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from pydantic_core import PydanticCustomError
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedBase
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from instrument.parameters.params import shorten, suggest
from pipelines.refusal import Refusal

if TYPE_CHECKING:
    from importlib.abc import Traversable

_LARGEST = 1_000_000  # characters; a patch has a few thousand
_DEEPEST = 20
_MOST = 50_000  # values, aliases counted each time they are used
# What the YAML reader raises for a text that is none, and, with tags it only half knows, for its own trouble with it.
_READER_FAILS = (YAMLError, ValueError, RecursionError, LookupError, AttributeError, TypeError, ArithmeticError)
_WORDS = {  # the validator's words for what programmers know by other names
    "model_type": "should be keys and values",
    "dict_type": "should be keys and values",
    "list_type": "should be a list",
    "string_type": "should be text",
    "int_type": "should be a whole number",
    "int_parsing": "should be a whole number",
    "int_from_float": "should be a whole number",
    "float_type": "should be a number",
    "float_parsing": "should be a number",
    "bool_parsing": "should be true or false",
    "bool_type": "should be true or false",
}

_REMEDIES = {  # a part of the YAML reader's words -> what usually helps
    "'\\t'": "indent with spaces, not tabs",
    "but got '<stream end>'": "close every bracket",
    "but got '{'": 'put text that has braces between quotes: "bend.{n}.amount"',
    "but got '<scalar>'": "put a comma between two settings, and close every quote",
    "but got ':'": "put a comma between two settings",
    "mapping values are not allowed here": "put text that has a colon between quotes, and line settings up",
    "expected <block end>": "line the settings up, and begin every item of a list with - at the same place",
    "found unexpected end of stream": "close every quote",
    "cannot start any token": "put the text between quotes",
    "expected alphabetic or numeric character": 'put text that has * or & between quotes: "*.gain"',
    "found undefined alias": 'put text that begins with * between quotes: "*.gain"',
}


class FileError(Refusal, ValueError):
    """A file cannot be used. The text names file, line (from 1; 0 = the whole file), what is wrong and the remedy."""

    def __init__(self, file: str, line: int, problem: str) -> None:
        super().__init__(f"{file}:{line}: {problem}" if line else f"{file}: {problem}")
        self.file = file
        self.line = line
        self.problem = problem


class Strict(BaseModel):
    """A model that answers an unknown key with the nearest known one; a key without a value is as if left out."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=False)

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, data: Any) -> Any:
        if isinstance(data, dict):
            known = [f.alias or name for name, f in cls.model_fields.items()]
            for key in data:
                if key not in known:
                    context = {"key": key, "advice": suggest(str(key), known)}
                    raise PydanticCustomError("unknown_key", "unknown key '{key}'; {advice}", context)
            return {key: value for key, value in data.items() if value is not None}
        return data


@dataclass(frozen=True)
class Document:
    """A YAML text as plain Python data, with the line of every key and item."""

    file: str
    data: Any
    lines: dict[tuple[str | int, ...], int] = field(repr=False)

    def line(self, path: tuple[str | int, ...]) -> int:
        """The line (from 1) of the deepest part of `path` that the file has."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)


def find(which: str | Path, folder: Path | None, package: str) -> Path | Traversable | None:
    """The file meant by `which`, or None.

    A Path is a file, wherever it lies. A str is a name (`undertow`, `clients/pd`), looked for in `folder` and then in
    what ships with the program; it cannot lead out of them, so it may come from the network.
    """
    if isinstance(which, Path):
        return which if which.is_file() else None
    parts = PurePosixPath(which.removesuffix(".yaml")).parts
    if not parts or "\\" in which or ":" in which or "\0" in which or any(p in ("..", "/", ".") for p in parts):
        return None
    for file in _roots(folder, package):
        for part in (*parts[:-1], parts[-1] + ".yaml"):
            file = file / part
        try:
            if file.is_file():
                return file
        except OSError:  # longer than a file's name can be, for one: there is none of it
            continue
    return None


def _roots(folder: Path | None, package: str) -> list[Path | Traversable]:
    shipped = resources.files(package)
    return [root for root in (folder, shipped) if root is not None and root.is_dir()]


def names(folder: Path | None, package: str) -> list[str]:
    """Every name that `find` would find, sorted."""
    found: set[str] = set()
    for root in _roots(folder, package):
        _gather(root, "", found)
    return sorted(found)


def _gather(folder: Path | Traversable, prefix: str, found: set[str]) -> None:
    for item in folder.iterdir():
        if item.is_dir() and not item.name.startswith((".", "__")):
            _gather(item, f"{prefix}{item.name}/", found)
        elif item.name.endswith(".yaml"):
            found.add(prefix + item.name.removesuffix(".yaml"))


def dump(data: Any) -> str:
    """Plain data as text."""
    out = io.StringIO()
    round_trip().dump(data, out)
    return out.getvalue()


def round_trip() -> YAML:
    """A reader and writer that keeps comments, order and quotes."""
    yaml = YAML(typ="rt")
    yaml.preserve_quotes = True
    yaml.width = 120
    yaml.indent(mapping=2, sequence=4, offset=2)
    return yaml


def read_text(file: Path | Traversable, error: type[FileError]) -> str:
    """The text of a file, its lines ended by \\n; raises `error` if it cannot be read or is far too large."""
    return plain_lines(read_exactly(file, error))


def plain_lines(text: str) -> str:
    """The text with every line ended by \\n."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_exactly(file: Path | Traversable, error: type[FileError]) -> str:
    """As `read_text`, with the ends of lines that the file has."""
    try:
        text = file.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError) as problem:
        reason = getattr(problem, "strerror", None) or "it is not UTF-8 text"
        raise error(str(file), 0, f"cannot be read: {reason}") from None
    if len(text) > _LARGEST:
        raise error(str(file), 0, f"has {len(text)} characters; at most {_LARGEST} are read")
    return text


def parse(text: str, file: str, error: type[FileError]) -> Document:
    """YAML text -> Document; an empty text is an empty mapping. Raises `error` with the line."""
    try:
        data = round_trip().load(io.StringIO(text))
    except MarkedYAMLError as problem:
        mark = problem.problem_mark or problem.context_mark
        line = mark.line + 1 if mark else 1
        raise error(file, line, f"not valid YAML: {problem.problem}{_remedy(problem.problem or '')}") from None
    except _READER_FAILS as problem:
        raise error(file, 1, f"not valid YAML: {shorten(str(problem) or type(problem).__name__)}") from None
    lines: dict[tuple[str | int, ...], int] = {(): 1}
    try:
        plain = _plain(data if data is not None else {}, (), lines)
    except ValueError as problem:
        raise error(file, 1, str(problem)) from None
    return Document(file, plain, lines)


def _remedy(problem: str) -> str:
    """What usually puts right what the YAML reader stumbled over; empty where that is anybody's guess."""
    return next((f"; {remedy}" for sign, remedy in _REMEDIES.items() if sign in problem), "")


def _plain(node: Any, path: tuple[str | int, ...], lines: dict[tuple[str | int, ...], int]) -> Any:
    """Nodes of the YAML reader -> dict, list and scalars, while noting lines."""
    if len(path) > _DEEPEST or len(lines) > _MOST:
        raise ValueError(f"nested deeper than {_DEEPEST} levels, or more than {_MOST} values")
    if isinstance(node, MappingType):
        for key in node:
            lines[(*path, key)] = _line(node, key, key=True)
        return {_scalar(key): _plain(value, (*path, key), lines) for key, value in node.items()}
    if isinstance(node, list):
        for index in range(len(node)):
            lines[(*path, index)] = _line(node, index, key=False)
        return [_plain(value, (*path, index), lines) for index, value in enumerate(node)]
    return _scalar(node)


def _line(node: Any, at: Any, key: bool) -> int:
    if isinstance(node, CommentedBase) and node.lc.data and at in node.lc.data:
        return (node.lc.key(at) if key else node.lc.item(at))[0] + 1
    return 1


def _scalar(value: Any) -> Any:
    """The reader's own number and text classes -> Python's; halves of surrogate pairs, which no text can hold, go."""
    if isinstance(value, str):
        return str(value).encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    for plain in (bool, int, float):
        if isinstance(value, plain):
            return plain(value)
    return value


Model = TypeVar("Model", bound=BaseModel)


def check(model: type[Model], document: Document, error: type[FileError]) -> Model:
    """The document as `model`; raises `error` for the first fault, with its line and remedy."""
    if not isinstance(document.data, dict):
        raise error(document.file, 1, f"should be keys and values, such as '{next(iter(model.model_fields))}: ...'")
    try:
        return model.model_validate(document.data)
    except ValidationError as problem:
        fault = problem.errors(include_url=False)[0]
        raise error(document.file, document.line(_path(fault)), _explain(fault)) from None


def _path(fault: Any) -> tuple[str | int, ...]:
    path = tuple(fault["loc"])
    return (*path, fault["ctx"]["key"]) if fault["type"] == "unknown_key" else path


def _explain(fault: Any) -> str:
    path = tuple(fault["loc"])
    if fault["type"] == "unknown_key":
        key, advice = fault["ctx"]["key"], fault["ctx"]["advice"]
        return f"unknown key '{shorten(str(key))}'{' in ' + place(path) if path else ''}; {advice}"
    if fault["type"] == "missing":
        return f"{place(path[:-1]) or 'the file'} needs a key '{path[-1]}'"
    problem = fault["msg"].removeprefix("Value error, ")
    if fault["type"] == "value_error":
        return f"{place(path)}: {problem}" if path else problem
    problem = _WORDS.get(fault["type"], problem.removeprefix("Input ").lower())
    return f"{place(path)}: {problem}, not {shorten(repr(fault['input']))}"


def place(path: tuple[str | int, ...]) -> str:
    """('bends', 0, 'scope') -> 'bends 1 scope': items are counted from 1, as people do."""
    return " ".join(str(part + 1) if isinstance(part, int) else str(part) for part in path)
