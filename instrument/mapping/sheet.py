"""The cheat sheet of a mapping: its controller drawn as SVG, with what every control does, to print and lay beside it.

Knows mappings and profiles; nothing of ports or parameters.
"""

from __future__ import annotations

from collections.abc import Iterator
from xml.sax.saxutils import escape, quoteattr

from instrument.mapping.binding import Bound
from instrument.mapping.mapping import MappingFile
from instrument.mapping.profile import Part

_UNIT = 96  # of the drawing, for a control of size 1
_GAP = 6
_HEAD = 58
_ROW = 8  # controls side by side where there is no profile to say how they lie
_LINE = 9.5
_LONG = ("fader", "wheel", "strip")
_BROAD = 0.56  # of a letter, as a share of its height


def draw_sheet(file: MappingFile, name: str) -> str:
    """The whole drawing as an SVG document; it prints on one page, as it scales to any."""
    parts = list(_parts(file))
    left = min((part.box[0] for part in parts), default=0)
    top = min((part.box[1] for part in parts), default=0)
    wide = max((part.box[0] + part.box[2] for part in parts), default=left + 1) - left
    high = max((part.box[1] + part.box[3] for part in parts), default=top + 1) - top
    width, height = max(wide * _UNIT, 500) + 2 * _GAP, high * _UNIT + 2 * _GAP + _HEAD
    body = "\n".join(line for part in parts for line in _control(part, (left, top), _targets(file, part)))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" font-family="sans-serif">\n'
        f'<rect width="{width:g}" height="{height:g}" fill="white"/>\n{_title(file, name, width)}\n{body}\n</svg>\n'
    )


def _title(file: MappingFile, name: str, width: float) -> str:
    controller = file.controller
    device = controller.name if controller else file.device or "any controller"
    pages = "; ".join(f"page {number}: {page}" for number, page in enumerate(file.pages, 1))
    second = "; ".join(text for text in (pages, controller.status if controller else "") if text)
    lines = [(f"{device}: {name}", 18, 20), (file.description, 11, 36), (second, 9, 48)]
    return "\n".join(
        f'<text x="{_GAP}" y="{y}" font-size="{_fitting(text, size, width):g}">{escape(text)}</text>'
        for text, size, y in lines
    )


def _fitting(text: str, size: float, width: float) -> float:
    """The size of letters at which a text is no wider than that; never larger than asked."""
    return round(min(size, (width - 2 * _GAP) / (_BROAD * max(1, len(text)))), 2)


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
    """What a control does, a line each: the page's number, the modifiers to hold, the target."""
    found: dict[str, None] = {}
    for bound in file.bound:
        if bound.source == part.source and bound.channel in (None, part.channel):
            pages = "/".join(str(page + 1) for page in sorted(bound.pages or ()))
            held = [f"+{item}" for item in bound.binding.when or ()]
            found[" ".join([*([pages] if pages else []), *held, bound.target or f"page {bound.binding.go}"])] = None
    return list(found)


def _control(part: Part, corner: tuple[float, float], targets: list[str]) -> Iterator[str]:
    x, y, w, h = part.box
    left, top = _GAP + (x - corner[0]) * _UNIT, _GAP + _HEAD + (y - corner[1]) * _UNIT
    width, height = w * _UNIT - _GAP, h * _UNIT - _GAP
    lines = [(part.label or part.name, 10, "#000"), (part.name, 7.5, "#666"), (_message(part), 7.5, "#666")]
    if not part.label:
        del lines[1]
    room = max(1, int((height - 26) / _LINE) - len(lines))
    if len(targets) > room:
        targets = [*targets[: room - 1], f"and {len(targets) - room + 1} more"]
    lines += [(target, 8, "#04a") for target in targets]
    yield f"<g id={quoteattr(part.name)}>{_shape(part.kind, left, top, width, height)}"
    at, middle = top + 32, left + width / 2
    if part.kind in _LONG:  # beside the fader
        middle, width = middle + 8, width - 16
    for text, size, colour in lines:
        style = f'font-size="{_fitting(text, size, width):g}" text-anchor="middle" fill="{colour}"'
        yield f'<text x="{middle:g}" y="{at:g}" {style}>{escape(text)}</text>'
        at += _LINE
    yield f"<title>{escape('; '.join([part.name, *targets]))}</title></g>"


def _shape(kind: str, left: float, top: float, width: float, height: float) -> str:
    """A frame, and in it what kind of control it is."""
    stroke = 'fill="none" stroke="#333"'
    middle, upper = left + width / 2, top + 12
    frame = f'<rect x="{left:g}" y="{top:g}" width="{width:g}" height="{height:g}" rx="6" fill="none" stroke="#bbb"/>'
    if kind in ("knob", "encoder"):
        rings = [
            f'<circle cx="{middle:g}" cy="{upper:g}" r="{r}" {stroke}/>'
            for r in ((8, 5) if kind == "encoder" else (8,))
        ]
        return frame + "".join(rings) + f'<path d="M{middle:g} {upper:g}v-8" {stroke}/>'
    if kind in _LONG:
        across, high = left + 9, height - 16
        cap = f'<rect x="{across - 5:g}" y="{top + 8 + high / 3:g}" width="10" height="6" fill="#333"/>'
        return f'{frame}<path d="M{across:g} {top + 8:g}v{high:g}" {stroke}/>{cap}'
    fill = 'fill="#ddd" stroke="#333"' if kind == "pad" else stroke
    return f'{frame}<rect x="{middle - 10:g}" y="{upper - 7:g}" width="20" height="14" rx="3" {fill}/>'


def _message(part: Part) -> str:
    kind, key = part.source
    number = kind if kind in ("pitch", "pressure", "osc") else f"{kind} {key}"
    return f"{number}{f' ch {part.channel}' if part.channel else ''}"
