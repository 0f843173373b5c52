"""The cheat sheet of a mapping: its controller drawn as SVG, with what every control does, to print and lay beside it.

Knows mappings and profiles; nothing of ports or parameters.
"""

from __future__ import annotations

from collections.abc import Iterator
from xml.sax.saxutils import escape, quoteattr

from instrument.binding import Bound
from instrument.mapping import MappingFile
from instrument.profile import Part

_UNIT = 96  # of the drawing, for a control of size 1
_GAP = 6
_HEAD = 54
_ROW = 8  # controls side by side where there is no profile to say how they lie
_LETTERS = 15  # to a line of a control one unit wide
_LINES = 4  # targets that fit under a control one unit high
_ROUND = ("knob", "encoder")


def draw_sheet(file: MappingFile, name: str) -> str:
    """The whole drawing as an SVG document; it prints on one page, as it scales to any."""
    parts = list(_parts(file))
    wide = max((x + w for x, _, w, _ in (part.box for part in parts)), default=1)
    high = max((y + h for _, y, _, h in (part.box for part in parts)), default=1)
    width, height = wide * _UNIT + 2 * _GAP, high * _UNIT + 2 * _GAP + _HEAD
    body = "\n".join(line for part in parts for line in _control(part, _targets(file, part)))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" font-family="sans-serif">\n'
        f'<rect width="{width:g}" height="{height:g}" fill="white"/>\n{_title(file, name)}\n{body}\n</svg>\n'
    )


def _title(file: MappingFile, name: str) -> str:
    controller = file.controller
    device = controller.name if controller else file.device or "any controller"
    status = controller.status if controller else ""
    pages = "pages: " + ", ".join(file.pages) if file.pages else ""
    small = "; ".join(text for text in (file.description, pages, status) if text)
    return (
        f'<text x="{_GAP}" y="24" font-size="20">{escape(f"{device}: {name}")}</text>\n'
        f'<text x="{_GAP}" y="42" font-size="11" fill="#555">{escape(small)}</text>'
    )


def _parts(file: MappingFile) -> Iterator[Part]:
    """The controls of the profile, and under them the raw messages of the mapping, once each."""
    named = list(file.controller.parts.values()) if file.controller else []
    yield from named
    below = max((part.box[1] + part.box[3] for part in named), default=0.0)
    seen = {part.source for part in named}
    for bound in file.bound:
        if bound.source not in seen:
            place = len(seen) - len({part.source for part in named})
            seen.add(bound.source)
            box = (float(place % _ROW), below + place // _ROW, 1.0, 1.0)
            yield _unnamed(bound, box)


def _unnamed(bound: Bound, box: tuple[float, float, float, float]) -> Part:
    return Part(
        name=bound.words,
        number=0,
        kind="pad" if bound.button or bound.binding.to is None else "knob",
        source=bound.source,
        channel=bound.channel,
        relative=bound.relative,
        notches=bound.notches,
        light=None,
        box=box,
        label="",
    )


def _targets(file: MappingFile, part: Part) -> list[str]:
    """What a control does, a line each: `page: target`, with the modifiers to hold."""
    found: dict[str, None] = {}
    for bound in file.bound:
        if bound.source == part.source and bound.channel in (None, part.channel):
            words = bound.target or f"page {bound.binding.go}"
            pages = sorted(bound.pages or ())
            held = [str(item) for item in bound.binding.when or ()]
            before = "/".join([*(file.pages[page] for page in pages), *(f"+{item}" for item in held)])
            found[f"{before}: {words}" if before else words] = None
    return list(found)


def _control(part: Part, targets: list[str]) -> Iterator[str]:
    x, y, w, h = part.box
    left, top = _GAP + x * _UNIT, _GAP + _HEAD + y * _UNIT
    width, height = w * _UNIT - _GAP, h * _UNIT - _GAP
    yield f"<g id={quoteattr(part.name)}>"
    if part.kind in _ROUND:
        radius = min(width, height) / 2
        yield (f'<rect x="{left:g}" y="{top:g}" width="{width:g}" height="{height:g}" rx="{radius:g}" {_LINE}/>')
    else:
        corner = 2 if part.kind in ("fader", "wheel", "strip") else 8
        yield f'<rect x="{left:g}" y="{top:g}" width="{width:g}" height="{height:g}" rx="{corner}" {_LINE}/>'
    middle = left + width / 2
    lines = [(part.label or part.name, 10, "#000"), (_message(part), 7, "#888")]
    room = max(1, int(_LINES * h))
    if len(targets) > room:
        targets = [*targets[: room - 1], f"and {len(targets) - room + 1} more"]
    lines += [(line, 8, "#06c") for target in targets for line in [_shortened(target, int(_LETTERS * w * 1.25))]]
    if part.label:
        lines.insert(1, (part.name, 7, "#888"))
    at = top + max(14.0, (height - 11 * len(lines)) / 2 + 9)
    for text, size, colour in lines:
        style = f'font-size="{size}" text-anchor="middle" fill="{colour}"'
        yield f'<text x="{middle:g}" y="{at:g}" {style}>{escape(text)}</text>'
        at += 11
    yield f"<title>{escape('; '.join([part.name, *targets]))}</title></g>"


_LINE = 'fill="none" stroke="#333"'


def _message(part: Part) -> str:
    kind, key = part.source
    number = kind if kind in ("pitch", "pressure", "osc") else f"{kind} {key}"
    return f"{number}{f' ch {part.channel}' if part.channel else ''}"


def _shortened(text: str, letters: int) -> str:
    return text if len(text) <= letters else f"{text[: letters - 1]}…"
