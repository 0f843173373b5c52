"""Changing a mapping file of the player's own: a line more, lines less, and back to how it was.

The file keeps its comments, order and layout. Knows files and bindings; nothing of ports, touches or parameters.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from ruamel.yaml.comments import CommentedMap, CommentedSeq

from instrument import yamlfile
from instrument.mapping.binding import Binding, Bound
from instrument.mapping.classify import LearnError
from instrument.mapping.mapping import MappingError, MappingFile, load, loads
from instrument.midi.driver import port_matches
from pipelines import whole

OWN = "my.yaml"  # what is learnt goes there where no other file of the player's own plays
UNDER = "default"  # what plays where a new mapping of one's own binds nothing


class Change(NamedTuple):
    """What was done to a file: its text before (None: there was no file) and after, with the file's own ends of lines,
    and what is to be said of it."""

    path: Path
    before: str | None
    after: str
    words: str = ""


def own_path(folder: Path | None) -> Path:
    """Where a mapping of the player's own begins: in the folder of mappings, else where the program was started."""
    return (folder or Path()) / OWN


def beside(own: Path, name: str) -> Path | None:
    """The file of this name, my.yaml say, in the folder of `own`, if there is one; the name may come from the
    network, and leads nowhere else."""
    file = own.parent / Path(name).name
    try:
        there = file.suffix in (".yaml", ".yml") and name in (file.name, str(file)) and file.is_file()
    except OSError:  # longer than a file's name can be, for one
        return None
    return file if there else None


def begun(path: Path) -> MappingFile:
    """The empty mapping that a file which is not there yet stands for; learning writes the file."""
    made = loads(f"over: {UNDER}\n", str(path), path.parent)
    made.files.append(path)
    return made


def add(
    path: Path, line: dict[str, Any], header: dict[str, str], origin: str = "", anew: bool = False
) -> Change | None:
    """Put a binding into a mapping file, making the file, with `header`, if need be. Lines that bind the same control
    of the port `origin` go, and are named in the words; so is what else moves the same or is moved by it. `anew`: what
    the file says is nothing to keep.

    None if all is as it should be. Raises MappingError, with the file untouched, if the file is not a mapping to begin
    with or cannot be written.
    """
    before = yamlfile.read_exactly(path, MappingError) if path.exists() else None
    text = "" if anew else yamlfile.plain_lines(before or "")
    file = loads(text, str(path), path.parent)
    wanted = Binding.model_validate(line)
    there = wanted in file.bindings
    if not there:
        text = _with(text, file, path, line, header)
    after = loads(text, str(path), path.parent)
    index = after.bindings.index(wanted) if there else len(after.bindings) - 1
    rivals = _rivals(after, index, origin)
    yielding = {each for each in rivals if _gives_way(after, each, rivals[each])}
    if there and not yielding:
        return None
    final = _without(text, after, path, yielding)
    words = _words(after, index, yielding, rivals) or _under(after, index, path.parent)
    lasting = loads(final, str(path), path.parent)
    for each in sorted(rivals.keys() - yielding):
        where = lasting.where(each - sum(gone < each for gone in yielding))
        words.append(f"it still moves {_aim(rivals[each][0])} by a row or page, {where}")
    return _written(path, before, final, "; ".join(words))


def forget(path: Path, target: str) -> Change:
    """Take out every line that binds a control to this one target. Raises LearnError where there is none; MappingError
    as `add` does."""
    before = yamlfile.read_exactly(path, MappingError) if path.exists() else ""
    text = yamlfile.plain_lines(before)
    file = loads(text, str(path), path.parent)
    aimed = {bound.index: bound.words for bound in file.bound if bound.target == target}
    gone = {index for index in aimed if all(b.target == target for b in file.bound if b.index == index)}
    if not aimed:
        raise LearnError(f"{path} binds nothing to {target}")
    if not gone:
        raise LearnError(f"{file.where(min(aimed))}: {target} is one of a row there; change the line by hand")
    controls = ", ".join(dict.fromkeys(bound.words for bound in file.bound if bound.index in gone))
    return _written(path, before, _without(text, file, path, gone), f"{target} is moved by {controls} no longer")


def take_back(change: Change) -> str:
    """The file as it was before; its text. One that was made stays, for its controller and over what it lay over, but
    without bindings. Raises MappingError where it has been changed since, or cannot be written."""
    if yamlfile.read_exactly(change.path, MappingError) != change.after:
        raise MappingError(str(change.path), 0, "has been changed since; undo in an editor, or learn.forget what moves")
    text = _unbound(change) if change.before is None else change.before
    _replace(change.path, text)
    return text


# --- lines that bind the same control ---


def _rivals(file: MappingFile, index: int, origin: str) -> dict[int, list[Bound]]:
    """By their lines, the bindings of other lines that hear the control of this one whenever it does."""
    own = [bound for bound in file.bound if bound.index == index]
    found: dict[int, list[Bound]] = {}
    for bound in file.bound:
        device = bound.binding.device
        here = device is None or not origin or port_matches(device, origin.removeprefix("midi:"))
        if bound.index != index and not bound.when and here and any(_meet(bound, one) for one in own):
            found.setdefault(bound.index, []).append(bound)
    return found


def _meet(one: Bound, other: Bound) -> bool:
    """Whether a control can send what both listen to; a 14-bit one sends two controllers."""
    channels = one.channel is None or other.channel is None or one.channel == other.channel
    return channels and bool(_messages(one) & _messages(other))


def _messages(bound: Bound) -> set[tuple[str, int | str]]:
    if bound.kind == "cc14":
        return {("cc", int(bound.key)), ("cc", int(bound.key) + 32)}
    return {bound.source}


def _gives_way(file: MappingFile, index: int, rivals: list[Bound]) -> bool:
    """Whether a line stands for nothing but what is bound anew; not a row, nor a line that holds on some pages."""
    return file.bindings[index].page is None and all(b in rivals for b in file.bound if b.index == index)


def _words(file: MappingFile, index: int, gone: Iterable[int], rivals: dict[int, list[Bound]]) -> list[str]:
    """What a player should know of a new line: what its control moved before, and what else moves the same."""
    own = next(bound for bound in file.bound if bound.index == index)
    before = dict.fromkeys(_aim(bound) for each in gone for bound in rivals[each])
    said = [f"{own.words} moved {' and '.join(before)} before"] if before else []
    left = (b for b in file.bound if b.index not in {index, *gone} and b.target == own.target)
    others = dict.fromkeys(b.words for b in left if b.words != own.words)
    return said + ([f"{', '.join(others)} moves {own.target} too"] if others else [])


def _under(file: MappingFile, index: int, folder: Path) -> list[str]:
    """What the control of a new line moved by the mapping under this one, and does not any more."""
    own = [bound for bound in file.bound if bound.index == index]
    below = load(file.over, folder).bound if file.over else []
    met = [bound for bound in below if not bound.when and any(_meet(bound, one) for one in own)]
    aims = dict.fromkeys(_aim(bound) for bound in met)
    return [f"{own[0].words} moved {' and '.join(aims)} before, by the mapping {file.over}"] if aims else []


def _aim(bound: Bound) -> str:
    return bound.target or f"page {bound.binding.go}"


# --- the text ---


def _with(text: str, file: MappingFile, path: Path, line: dict[str, Any], header: dict[str, str]) -> str:
    """The text with one more binding, after the last one; where the layout does not allow that, the YAML is written
    anew."""
    lines = text.splitlines(keepends=True)
    if file.bindings and not header:
        last = file.line(len(file.bindings) - 1) - 1
        end = _end(lines, last)
        lines[end - 1] = lines[end - 1].rstrip("\n") + "\n"
        blanks = " " * _depth(lines[last])
        lines.insert(end, f"{blanks}{_dumped([_flowing(line)]).lstrip()}")
        if _is("".join(lines), path, file, [*file.bindings, Binding.model_validate(line)]):
            return "".join(lines)
    data = yamlfile.round_trip().load(text)
    kept = text if data is None else ""  # nothing but comments
    if data is None:
        data = CommentedMap(header or {"device": ""})
    for key in [key for key in header if key not in data]:
        data[key] = header[key]
    if data.get("bindings") is None:
        data["bindings"] = CommentedSeq()
    data["bindings"].append(_flowing(line))
    return kept + _dumped(data)


def _flowing(line: dict[str, Any]) -> CommentedMap:
    item = CommentedMap(line)
    item.fa.set_flow_style()
    return item


def _without(text: str, file: MappingFile, path: Path, gone: set[int]) -> str:
    """The text without these bindings. Their own lines are cut out, so that comments between lines stay; where the
    layout does not allow that, the YAML is written anew."""
    if not gone:
        return text
    lines = text.splitlines(keepends=True)
    for index in sorted(gone, reverse=True):
        start = file.line(index) - 1
        del lines[start : _end(lines, start)]
    if _is("".join(lines), path, file, [binding for index, binding in enumerate(file.bindings) if index not in gone]):
        return "".join(lines)
    data = yamlfile.round_trip().load(text)
    for index in sorted(gone, reverse=True):
        del data["bindings"][index]
    return _dumped(data)


def _unbound(change: Change) -> str:
    """The text that a change left, without its bindings."""
    file = loads(change.after, str(change.path), change.path.parent)
    return _without(change.after, file, change.path, set(range(len(file.bindings))))


def _is(text: str, path: Path, file: MappingFile, bindings: list[Binding]) -> bool:
    """Whether a text is this mapping with these bindings instead."""
    try:
        made = loads(text, str(path), path.parent)
    except MappingError:
        return False
    return made.bindings == bindings and made.model_dump(exclude={"bindings"}) == file.model_dump(exclude={"bindings"})


def _end(lines: list[str], start: int) -> int:
    """Where an item of a list that begins at line `start` ends: lines that are indented deeper are its own."""
    depth = _depth(lines[start])
    end = start + 1
    while end < len(lines) and _depth(lines[end]) > depth and not lines[end].lstrip().startswith("#"):
        end += 1
    return end


def _depth(line: str) -> int:
    """Blanks before the words; 0 for an empty line."""
    return len(line) - len(line.lstrip()) if line.strip() else 0


def _dumped(data: Any) -> str:
    out = io.StringIO()
    yamlfile.round_trip().dump(data, out)
    return out.getvalue()


def _written(path: Path, before: str | None, text: str, words: str) -> Change:
    """Write a text whose lines end in \\n, with the ends of lines that the file had before."""
    loads(text, str(path), path.parent)
    after = text.replace("\n", _line_end(before or ""))
    _replace(path, after)
    return Change(path, before, after, words)


def _line_end(text: str) -> str:
    """What ends the first line."""
    first = text.partition("\n")[0]
    return "\r\n" if first.endswith("\r") and first != text else "\n"


def _replace(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        whole.write(path, text.encode())
    except OSError as problem:
        raise MappingError(str(path), 0, f"cannot be written: {problem.strerror}") from None
