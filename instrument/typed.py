"""Words typed on the command line, and sizes wherever they are typed, as values; refusals (argparse.ArgumentTypeError)
say what would do."""

from __future__ import annotations

import argparse
import math
from pathlib import Path

LARGEST = 4096  # pixels a side


def size(text: str) -> tuple[int, int]:
    """Width, height in pixels, of bounded size."""
    found = size_of(text)
    if found is None:
        raise argparse.ArgumentTypeError(f"'{text}' is not a size; write for example 256x144")
    if max(found) > LARGEST:
        raise argparse.ArgumentTypeError(f"{text} is too large; at most {LARGEST} pixels a side")
    return found


def size_of(text: str) -> tuple[int, int] | None:
    """(width, height) from text such as 384x224; None where it is none."""
    width, cross, height = text.strip().lower().partition("x")
    return (int(width), int(height)) if cross and width.isdecimal() and height.isdecimal() else None


def folder(text: str) -> Path:
    """A folder that is there; ~ is the home of whoever types it."""
    path = Path(text).expanduser()
    if not path.is_dir():
        raise argparse.ArgumentTypeError(f"there is no folder '{text}'; make it first")
    return path


def seconds(text: str) -> float:
    """A length of time, seconds, more than 0."""
    return _number(text, 1e-3, 1e9, "seconds, more than 0")


def waiting(text: str) -> float:
    """A length of time that may be none, seconds."""
    return _number(text, 0, 1e6, "seconds, 0 or more")


def rate(text: str) -> float:
    """Frames per second."""
    return _number(text, 0.1, 240, "frames per second, 0.1 to 240")


def count(text: str) -> int:
    """How many of something, at least one."""
    return _whole(text, 1, 10**6, "a whole number, 1 or more")


def none_or_more(text: str) -> int:
    """How many of something, or none."""
    return _whole(text, 0, 1000, "a whole number of blocks, 0 or more")


def port(text: str) -> int:
    """A port; 0 is any that is free."""
    return _whole(text, 0, 65535, "a port, 1 to 65535, or 0 for any free one")


def pin(text: str) -> str:
    """What a page asks for, as it will be typed there."""
    if not (4 <= len(text) <= 64 and text.isascii() and text.isprintable() and text == text.strip()):
        raise argparse.ArgumentTypeError("a PIN has 4 to 64 letters, digits or signs")
    return text


def _number(text: str, lo: float, hi: float, what: str) -> float:
    """A number of that range, ends included."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not lo <= number <= hi:
        raise argparse.ArgumentTypeError(f"'{text}' cannot be; give {what}")
    return number


def _whole(text: str, lo: int, hi: int, what: str) -> int:
    number = _number(text, lo, hi, what)
    if not number.is_integer():
        raise argparse.ArgumentTypeError(f"'{text}' cannot be; give {what}")
    return int(number)
