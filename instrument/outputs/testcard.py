"""The picture that stands before the first one: colour bars, a grey ramp and a name, drawn with numpy alone.

It lets a cable, a projector and the programs downstream be checked while the model still loads.
"""

from __future__ import annotations

import numpy as np

CARD = object()  # goes along with the test card in place of a frame's own stamp

_BARS = ((191, 191, 191), (191, 191, 0), (0, 191, 191), (0, 191, 0), (191, 0, 191), (191, 0, 0), (0, 0, 191))
_GROUND, _INK = (16, 16, 20), (235, 235, 235)

# Five columns per letter, lowest bit at the top, seven rows.
_GLYPHS = {
    "A": (126, 9, 9, 9, 126), "B": (127, 73, 73, 73, 54), "C": (62, 65, 65, 65, 34), "D": (127, 65, 65, 65, 62),
    "E": (127, 73, 73, 73, 65), "F": (127, 9, 9, 9, 1), "G": (62, 65, 73, 73, 58), "H": (127, 8, 8, 8, 127),
    "I": (0, 65, 127, 65, 0), "J": (32, 64, 64, 64, 63), "K": (127, 8, 20, 34, 65), "L": (127, 64, 64, 64, 64),
    "M": (127, 2, 12, 2, 127), "N": (127, 4, 8, 16, 127), "O": (62, 65, 65, 65, 62), "P": (127, 9, 9, 9, 6),
    "Q": (62, 65, 81, 33, 94), "R": (127, 9, 25, 41, 70), "S": (38, 73, 73, 73, 50), "T": (1, 1, 127, 1, 1),
    "U": (63, 64, 64, 64, 63), "V": (15, 48, 64, 48, 15), "W": (63, 64, 56, 64, 63), "X": (99, 20, 8, 20, 99),
    "Y": (3, 4, 120, 4, 3), "Z": (97, 81, 73, 69, 67), "0": (62, 81, 73, 69, 62), "1": (0, 66, 127, 64, 0),
    "2": (98, 81, 73, 73, 70), "3": (34, 65, 73, 73, 54), "4": (24, 20, 18, 127, 16), "5": (39, 69, 69, 69, 57),
    "6": (60, 74, 73, 73, 48), "7": (1, 113, 9, 5, 3), "8": (54, 73, 73, 73, 54), "9": (6, 73, 73, 41, 30),
    " ": (0, 0, 0, 0, 0), "-": (8, 8, 8, 8, 8), ".": (0, 96, 96, 0, 0), ":": (0, 54, 54, 0, 0), "/": (96, 16, 8, 4, 3),
}  # fmt: skip


def draw_card(width: int, height: int, name: str = "AttentionBender") -> np.ndarray:
    """uint8 [height, width, 3]: seven bars over a ramp, the name and the size in the middle."""
    card = np.empty((height, width, 3), np.uint8)
    split = height * 3 // 4
    columns = np.minimum(np.arange(width) * len(_BARS) // width, len(_BARS) - 1)
    card[:split] = np.array(_BARS, np.uint8)[columns]
    card[split:] = np.linspace(0, 255, width).round().astype(np.uint8)[None, :, None]
    _caption(card, [name, f"{width} x {height}"], height // 2)
    return card


def _caption(card: np.ndarray, lines: list[str], middle: int) -> None:
    """Lines of text on a dark plate, centred on row `middle`, as large as fits; none where it would not be legible."""
    height, width = card.shape[:2]
    masks = [_mask(line) for line in lines]
    wide, high = max(m.shape[1] for m in masks) + 4, 9 * len(masks) + 2
    zoom = min(width * 3 // 4 // wide, height // 3 // high)
    if not zoom:
        return
    plate = np.zeros((high, wide), bool)
    for row, mask in enumerate(masks):
        left = (wide - mask.shape[1]) // 2
        plate[2 + 9 * row : 9 + 9 * row, left : left + mask.shape[1]] = mask
    plate = plate.repeat(zoom, axis=0).repeat(zoom, axis=1)
    top, left = middle - plate.shape[0] // 2, (width - plate.shape[1]) // 2
    space = card[top : top + plate.shape[0], left : left + plate.shape[1]]
    space[:] = np.where(plate[..., None], np.array(_INK, np.uint8), np.array(_GROUND, np.uint8))


def _mask(text: str) -> np.ndarray:
    """bool [7, 6 * letters - 1]; what has no glyph becomes a space."""
    columns: list[int] = []
    for letter in text.upper():
        columns += [*_GLYPHS.get(letter, _GLYPHS[" "]), 0]
    bits = np.array(columns[:-1] or [0], np.uint8)
    return (bits[None, :] >> np.arange(7, dtype=np.uint8)[:, None]) & 1 == 1
