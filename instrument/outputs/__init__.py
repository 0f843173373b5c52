"""The ways out for frames, by name: `parse("file:clip.mp4?size=512x288")` makes one from its spec.

A spec is kind[:target][?option=value&flag]. Options that any output takes: size=WxH or scale=N,
fit=letterbox|crop|stretch, fps=N, mirror. In an option's value %26 is an ampersand, as in the address of a web page.
A new output is one file and one row in KINDS. Importing this opens nothing.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import unquote

from .adapt import Adapted
from .base import Output, OutputError
from .camera import CameraOutput
from .dummy import DummyOutput
from .file import FileOutput
from .fit import as_fit
from .group import OutputGroup
from .ndi import NdiOutput
from .runner import OutputRunner, OutputStats
from .screen import ScreenOutput
from .spout import SpoutOutput
from .stream import StreamOutput
from .syphon import SyphonOutput

__all__ = ["KINDS", "Output", "OutputError", "OutputGroup", "OutputRunner", "OutputStats", "parse"]

KINDS: dict[str, type[Output]] = {
    "camera": CameraOutput,
    "dummy": DummyOutput,
    "file": FileOutput,
    "ndi": NdiOutput,
    "screen": ScreenOutput,
    "spout": SpoutOutput,
    "stream": StreamOutput,
    "syphon": SyphonOutput,
}


def parse(spec: str) -> Output:
    """The output a spec describes, not yet open. Raises OutputError naming what is wrong and what would be right."""
    head, _, query = spec.strip().partition("?")
    kind, _, target = head.partition(":")
    make = KINDS.get(kind)
    if make is None:
        hint = f"file:{spec}" if "." in head and ":" not in head else None
        raise OutputError(
            spec, f"no kind of output is called '{kind}'", f"did you mean '{hint}'?" if hint else _hint(kind, KINDS)
        )
    known = {**_COMMON, **make.options}
    values: dict[str, Any] = {}
    for part in filter(None, query.split("&")):
        name, given, text = part.partition("=")
        if name not in known:
            raise OutputError(spec, f"'{kind}' has no option '{name}'", _hint(name, known))
        values[name] = _read(spec, name, unquote(text) if given else None, known[name])
    common = {name: values.pop(name) for name in _COMMON if name in values and name not in make.options}
    if "size" in common and "scale" in common:
        raise OutputError(spec, "has a size and a scale", "give one of them")
    if kind == "file" and not target:
        raise OutputError(spec, "needs a file name", "write for example file:clip.mp4")
    output = make(target, **values)
    return Adapted(output, **common) if common else output


def _read(spec: str, name: str, text: str | None, convert: Callable[[str], Any]) -> Any:
    """An option's value from its text; a flag needs none."""
    if convert is bool:
        convert, text = _flag, "yes" if text is None else text
    try:
        return convert(text or "")
    except ValueError as error:
        wanted = {int: "a whole number", float: "a number", str: "text"}.get(convert, str(error))
        raise OutputError(spec, f"option '{name}' cannot be '{text or ''}'", f"give {wanted}") from None


def _flag(text: str) -> bool:
    if text.lower() in ("yes", "true", "on", "1"):
        return True
    if text.lower() in ("no", "false", "off", "0"):
        return False
    raise ValueError("yes or no, or leave the value away")


def _size(text: str) -> tuple[int, int]:
    width, cross, height = text.lower().partition("x")
    if cross and width.isdecimal() and height.isdecimal() and 16 <= int(width) <= 8192 and 16 <= int(height) <= 8192:
        return int(width), int(height)
    raise ValueError("width x height in pixels, for example 512x288")


def _rate(text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = 0.0
    if 0.1 <= rate <= 240:
        return rate
    raise ValueError("frames per second, 0.1 to 240")


def _scale(text: str) -> float:
    try:
        scale = float(text)
    except ValueError:
        scale = 0.0
    if 0.125 <= scale <= 8:
        return scale
    raise ValueError("how many times the picture's size, 0.125 to 8")


_COMMON: dict[str, Callable[[str], Any]] = {"size": _size, "scale": _scale, "fit": as_fit, "fps": _rate, "mirror": bool}


def _hint(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"did you mean '{close[0]}'?" if close else f"there are: {', '.join(sorted(known))}"
