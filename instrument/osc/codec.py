"""OSC packets to Python and back. Every length is checked; the only exception that leaves `decode` is OscError.

Knows nothing of sockets or parameters. Types read: i f s b h d t T F N I c S r m [ ]. A number of OSC 1.0 senders leave
out the type tags of a message without arguments; that is accepted.
"""

from __future__ import annotations

import re
import struct
from functools import lru_cache
from typing import Any, NamedTuple

_DEEPEST = 8  # bundles in bundles, arrays in arrays
_NTP_TO_UNIX = 2208988800
_FIXED = {code: struct.Struct(f">{form}") for code, form in zip("ifhdt", "ifqdQ", strict=True)}
_CONSTANTS = {"T": True, "F": False, "N": None}
_MAGIC = re.compile(r"[*?\[{]|//")


class OscError(ValueError):
    """A packet, or an address pattern, is not OSC; the text says why."""


class Impulse:
    """The argument `I`: something happens, without a value."""

    def __repr__(self) -> str:
        return "IMPULSE"


IMPULSE = Impulse()


class Message(NamedTuple):
    """An address and its arguments: int, float, str, bytes (b, m), bool, None, IMPULSE, (r, g, b, a), lists of them."""

    address: str
    args: tuple[Any, ...]


class Bundle(NamedTuple):
    """Messages that belong together at `when`, seconds since 1970 (0.0: now)."""

    when: float
    messages: tuple[Message, ...]


def decode(packet: bytes) -> list[Bundle]:
    """A datagram as bundles, in order; a lone message is a bundle dated now, and inner bundles follow their outer one.

    Raises OscError.
    """
    if packet[:1] == b"/":
        return [Bundle(0.0, (_message(packet, 0, len(packet)),))]
    found: list[Bundle] = []
    _bundle(packet, 0, len(packet), 0, found)
    return found


def _bundle(data: bytes, at: int, end: int, depth: int, found: list[Bundle]) -> None:
    if data[at : at + 8] != b"#bundle\0" or end - at < 16:
        raise OscError("starts with neither '/' nor '#bundle'")
    if depth > _DEEPEST:
        raise OscError(f"bundles are nested deeper than {_DEEPEST}")
    when = unix_time(_FIXED["t"].unpack_from(data, at + 8)[0])
    slot = len(found)
    found.append(Bundle(when, ()))
    messages = []
    at += 16
    while at < end:
        if end - at < 4:
            raise OscError("a bundle breaks off inside a size")
        size = int.from_bytes(data[at : at + 4], "big")
        at += 4
        if size > end - at or size % 4 or size == 0:
            raise OscError(f"a bundle names an element of {size} bytes where {end - at} are left")
        if data[at] == 0x2F:
            messages.append(_message(data, at, at + size))
        else:
            _bundle(data, at, at + size, depth + 1, found)
        at += size
    found[slot] = Bundle(when, tuple(messages))


def _message(data: bytes, at: int, end: int) -> Message:
    address, at = _string(data, at, end)
    if at == end:
        return Message(address, ())
    tags, at = _string(data, at, end)
    if tags[:1] != ",":
        raise OscError(f"the type tags of {address[:80]} do not start with a comma")
    args: list[Any] = []
    stack: list[list[Any]] = []
    for tag in tags[1:]:
        if tag == "[":
            if len(stack) >= _DEEPEST:
                raise OscError(f"arrays are nested deeper than {_DEEPEST}")
            stack.append(args)
            args = []
        elif tag == "]":
            if not stack:
                raise OscError("an array ends that never began")
            inner, args = args, stack.pop()
            args.append(inner)
        else:
            value, at = _argument(tag, data, at, end)
            args.append(value)
    if stack:
        raise OscError("an array never ends")
    if at != end:
        raise OscError(f"{end - at} bytes are left over after the arguments of {address[:80]}")
    return Message(address, tuple(args))


def _argument(tag: str, data: bytes, at: int, end: int) -> tuple[Any, int]:
    form = _FIXED.get(tag)
    if form is not None:
        if end - at < form.size:
            raise OscError(f"an argument of type {tag} breaks off")
        return form.unpack_from(data, at)[0], at + form.size
    if tag in "sS":
        return _string(data, at, end)
    if tag in _CONSTANTS:
        return _CONSTANTS[tag], at
    if tag == "I":
        return IMPULSE, at
    if tag == "b":
        return _blob(data, at, end)
    if tag in "crm":
        if end - at < 4:
            raise OscError(f"an argument of type {tag} breaks off")
        return _four(tag, data[at : at + 4]), at + 4
    raise OscError(f"argument type {tag!r} is not known, so the rest cannot be read")


def _four(tag: str, four: bytes) -> Any:
    if tag == "m":
        return four
    if tag == "r":
        return tuple(four)
    code = int.from_bytes(four, "big")
    if code > 0x10FFFF or 0xD800 <= code <= 0xDFFF:
        raise OscError(f"character {code} does not exist")
    return chr(code)


def _string(data: bytes, at: int, end: int) -> tuple[str, int]:
    stop = data.find(0, at, end)
    after = at + ((stop - at) // 4 + 1) * 4
    if stop < 0 or after > end:
        raise OscError("text breaks off without its ending zeros")
    try:
        return data[at:stop].decode(), after
    except UnicodeDecodeError:
        raise OscError("text is not UTF-8") from None


def _blob(data: bytes, at: int, end: int) -> tuple[bytes, int]:
    if end - at < 4:
        raise OscError("a blob breaks off inside its size")
    size = int.from_bytes(data[at : at + 4], "big")
    after = at + 4 + (size + 3) // 4 * 4
    if after > end:
        raise OscError(f"a blob names {size} bytes where {end - at - 4} are left")
    return data[at + 4 : at + 4 + size], after


def unix_time(timetag: int) -> float:
    """An OSC timetag (NTP, 32.32 bits) as seconds since 1970; 0.0 for `immediately`."""
    return 0.0 if timetag == 1 else max(0.0, timetag / 2**32 - _NTP_TO_UNIX)


def encode(address: str, *args: Any) -> bytes:
    """A message; int (i, h if large), float (f), str, bool, bytes, None, IMPULSE and lists of them. Raises OscError."""
    tags: list[str] = [","]
    payload: list[bytes] = []
    try:
        for arg in args:
            _encode(arg, tags, payload)
        return b"".join((_padded(address), _padded("".join(tags)), *payload))
    except (ValueError, OverflowError, struct.error) as problem:
        raise OscError(f"{address[:80]} cannot be encoded: {problem}") from None


def _encode(arg: Any, tags: list[str], payload: list[bytes]) -> None:
    """Append the type tag and the bytes of one argument."""
    if arg is None or arg is IMPULSE or isinstance(arg, bool):
        tags.append({None: "N", IMPULSE: "I", True: "T", False: "F"}[arg])
    elif isinstance(arg, (int, float)):
        tag = "f" if isinstance(arg, float) else "i" if -(2**31) <= arg < 2**31 else "h"
        tags.append(tag)
        payload.append(_FIXED[tag].pack(arg))
    elif isinstance(arg, str):
        tags.append("s")
        payload.append(_padded(arg))
    elif isinstance(arg, bytes):
        tags.append("b")
        payload.append(len(arg).to_bytes(4, "big") + arg + bytes(-len(arg) % 4))
    elif isinstance(arg, list):
        tags.append("[")
        for inner in arg:
            _encode(inner, tags, payload)
        tags.append("]")
    else:
        raise ValueError(f"a {type(arg).__name__} has no OSC type")


def _padded(text: str) -> bytes:
    if "\0" in text:
        raise ValueError("text holds a zero character, which ends OSC text")
    data = text.encode()
    return data + bytes(4 - len(data) % 4)


def encode_bundle(elements: list[bytes], when: float = 0.0) -> bytes:
    """Encoded messages or bundles as one bundle dated `when`, seconds since 1970 (0.0: now). Raises OscError for a date
    beyond what OSC can say, 1900 to 2036."""
    timetag = round((when + _NTP_TO_UNIX) * 2**32) if when else 1
    if not 0 <= timetag < 2**64:
        raise OscError(f"a bundle cannot be dated {when:g} s since 1970; OSC ends in 2036")
    head = b"#bundle\0" + timetag.to_bytes(8, "big")
    return head + b"".join(len(element).to_bytes(4, "big") + element for element in elements)


# --- address patterns ---


def is_pattern(address: str) -> bool:
    """Whether an address may mean several: it holds one of * ? [ {, or //."""
    return _MAGIC.search(address) is not None


def matches(pattern: str, address: str) -> bool:
    """OSC 1.0 patterns and the // of 1.1 (any number of levels). Raises OscError for a broken pattern.

    Takes time in proportion to the lengths of both, whatever the pattern.
    """
    at = {0}
    for kind, what in _tokens(pattern):
        at = _advance(kind, what, address, at)
        if not at:
            return False
    return len(address) in at


def _advance(kind: str, what: Any, text: str, at: set[int]) -> set[int]:
    """Where in `text` a match can stand after one more token."""
    if kind == "text":
        return {i + len(what) for i in at if text.startswith(what, i)}
    if kind == "one":
        wanted, chars = what
        return {i + 1 for i in at if i < len(text) and text[i] != "/" and (text[i] in chars) == wanted}
    if kind == "either":
        return {i + len(word) for i in at for word in what if text.startswith(word, i)}
    if kind == "levels":
        starts = [i for i in at if text[i : i + 1] == "/"]
        return {j + 1 for j in range(min(starts), len(text)) if text[j] == "/"} if starts else set()
    found: set[int] = set()  # star: from each place up to the end of its level
    for i in at:
        stop = text.find("/", i)
        found.update(range(i, (len(text) if stop < 0 else stop) + 1))
    return found


@lru_cache(maxsize=256)
def _tokens(pattern: str) -> tuple[tuple[str, Any], ...]:
    if len(pattern) > 256:
        raise OscError("an address pattern is longer than 256 characters")
    tokens: list[tuple[str, Any]] = []
    i = 0
    while i < len(pattern):
        if pattern.startswith("//", i):
            token, i = ("levels", None), i + 2
        elif pattern[i] == "*":
            token, i = ("star", None), i + 1
        elif pattern[i] == "?":
            token, i = ("one", (False, "")), i + 1
        elif pattern[i] in "[{":
            stop = pattern.find("]" if pattern[i] == "[" else "}", i)
            if stop < 0:
                raise OscError(f"'{pattern[:80]}' opens a {pattern[i]} that never closes")
            inside = pattern[i + 1 : stop]
            token = ("one", _set(inside)) if pattern[i] == "[" else ("either", inside.split(","))
            i = stop + 1
        else:
            token, i = ("text", pattern[i]), i + 1
        if token != ("star", None) or tokens[-1:] != [token]:
            tokens.append(token)
    return tuple(tokens)


def _set(inside: str) -> tuple[bool, str]:
    """The inside of [...] -> (True: one of; False: none of, the characters)."""
    wanted = not inside.startswith("!")
    inside = inside if wanted else inside[1:]
    chars = ""
    i = 0
    while i < len(inside):
        if inside[i + 1 : i + 2] == "-" and i + 2 < len(inside):
            lo, hi = sorted((min(ord(inside[i]), 127), min(ord(inside[i + 2]), 127)))
            chars += "".join(map(chr, range(lo, hi + 1)))
            i += 3
        else:
            chars += inside[i]
            i += 1
    return wanted, chars
