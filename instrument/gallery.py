"""The gallery: prompts down, bends across, as contact sheets and a page that says what each bend is.

Every picture is of the same moment of a caption's own seed; a column's bend is written as a patch writes it, so any of
them can be copied into one and played.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from instrument.engine.loading import bends_of
from instrument.state import patch as patches
from instrument.state.patch import Patch
from pipelines.house.png import write_png
from pipelines.quicken import make_stream
from pipelines.systems import System

FRAMES = 8  # latent frames until the picture is taken
GAP = 3
TILE = 160  # pixels across


class Line(NamedTuple):
    """A row: a prompt, its words, and its seed."""

    prompt: str
    colour: str
    subject: str
    place: str
    seed: int


class Column(NamedTuple):
    """A bend: a short title, and its lines as in a patch, in which <colour>, <subject> and <place> are a prompt's own;
    none for the unbent picture; and what it does."""

    title: str
    bends: tuple[str, ...] = ()
    says: str = "the picture as the words alone have it"


class Sheet(NamedTuple):
    """One contact sheet: its file, its title, what there is to see, and its columns."""

    name: str
    title: str
    says: str
    columns: tuple[Column, ...]


LINES = (
    Line("a red star spinning above city lights", "red", "star", "city lights", 3),
    Line("a gold butterfly dancing in a misty forest", "gold", "butterfly", "misty forest", 1),
    Line("a pink feather drifting left over mountains", "pink", "feather", "mountains", 2),
    Line("an orange flame flickering in a deep cave", "orange", "flame", "deep cave", 5),
    Line("a blue moon resting over desert dunes", "blue", "moon", "desert dunes", 7),
)


def page(system: System, folder: Path, lines: tuple[Line, ...] = LINES, frames: int = FRAMES) -> Iterator[str]:
    """Play every cell, write the sheets to `folder`/gallery and the page to `folder`/gallery.md; a line for each."""
    for made in SHEETS:
        tiles = [[cell(system, line, column, frames) for column in made.columns] for line in lines]
        path = folder / "gallery" / f"{made.name}.png"
        write_png(path, joined(tiles))
        yield f"{path}: {path.stat().st_size // 1024} KiB"
    path = folder / "gallery.md"
    path.write_text(text(lines), encoding="utf-8")
    yield str(path)


def cell(system: System, line: Line, column: Column, frames: int) -> Tensor:
    """The last picture of a prompt under a column's bends, uint8 [h, w, 3], TILE pixels across."""
    patch = patch_of(line, column)
    bends = bends_of(patch, system.model.config)
    stream = make_stream(system, line.seed, bends=bends)
    stream.read_prompt(system.encoder.encode(line.prompt))
    stream.bank.write(patch.all_values())
    picture = None
    for _ in range(frames):
        for _ in stream.denoise():
            pass
        chunk = stream.commit()
        if chunk is None:
            raise RuntimeError(f"{column.title}: {stream.notice}")
        *_, picture = stream.decode(chunk)
    return _small(torch.from_numpy(picture))


def patch_of(line: Line, column: Column) -> Patch:
    """The patch that plays this cell. PatchError where a column cannot be read."""
    own = {"colour": line.colour, "subject": line.subject, "place": line.place}
    rows = [f"  - {{{bend}}}" for bend in column.bends]
    for word, said in own.items():
        rows = [row.replace(f"<{word}>", said) for row in rows]
    return patches.loads("\n".join([f"prompt: {line.prompt}", f"seed: {line.seed}", "bends:", *(rows or ["  []"])]))


def joined(tiles: list[list[Tensor]]) -> Tensor:
    """Rows of pictures [h, w, 3] as one."""
    padded = [[torch.nn.functional.pad(tile, (0, 0, 0, GAP, 0, GAP), value=255) for tile in row] for row in tiles]
    return torch.cat([torch.cat(row, dim=1) for row in padded])


def _small(picture: Tensor) -> Tensor:
    height = round(TILE * picture.shape[0] / picture.shape[1])
    flat = picture.permute(2, 0, 1)[None].float()
    small = torch.nn.functional.interpolate(flat, size=(height, TILE), mode="area")
    return small[0].permute(1, 2, 0).round().to(torch.uint8)


def text(lines: tuple[Line, ...]) -> str:
    """The page as Markdown."""
    parts = [_HEAD, *(f"{i}. *{line.prompt}*, seed {line.seed}" for i, line in enumerate(lines, 1))]
    for made in SHEETS:
        parts += ["", f"## {made.title}", "", made.says, "", f"![{made.title}](gallery/{made.name}.png)", ""]
        parts += ["| | column | what it does | bends |", "|---|---|---|---|"]
        parts += [_row(number, column) for number, column in enumerate(made.columns, 1)]
    return "\n".join(parts) + "\n"


def _row(number: int, column: Column) -> str:
    bends = "<br>".join(f"`{{{bend}}}`" for bend in column.bends) or "none"
    return f"| {number} | {column.title} | {column.says} | {bends} |"


_HEAD = """# Gallery

Prompts down, bends across: the same seed in every picture of a row, taken at the same moment; only the bend differs.
Prompts and seeds are chosen, the bends' answers are not. `bender gallery` makes this page, the pictures here with
`--device cuda`; what a bend does is said of these. A bend is written as in a patch (`<colour>`, `<subject>` and
`<place>` stand for the prompt's own words). How much of it is lawful, and how much entangled, is measured in
[study.md](study.md).

Rows:
"""


def _gain(tokens: str, gain: float, more: str = "") -> str:
    return f"name: a, lever: cross.map.gain, scope: {{tokens: {tokens}{more}}}, values: {{gain: {gain:g}}}"


def _geometry(values: str, scope: str = "") -> str:
    return f"name: a, lever: cross.map.transform, {scope}values: {{{values}}}"


def _noise(lever: str, noise: float, scope: str = "") -> str:
    return f"name: a, lever: {lever}, {scope}values: {{noise: {noise:g}}}"


def _hidden(gain: float, neurons: str) -> str:
    return f"name: a, lever: ffn.hidden.gain, scope: {{layers: [0, 3], neurons: {neurons}}}, values: {{gain: {gain:g}}}"


UNBENT = Column("unbent")
SHEETS = (
    Sheet(
        "words",
        "Words, louder and softer",
        "The cross-attention map of a word, multiplied after softmax: how loudly the picture hears it.",
        (
            UNBENT,
            Column(
                "the colour word at 0",
                (_gain("<colour>", 0),),
                "no colour is told: another one comes, or the same again (rows 1 and 3)",
            ),
            Column(
                "the colour word at 4",
                (_gain("<colour>", 4),),
                "the colour stays what it is, the shape not always",
            ),
            Column(
                "the subject at 0",
                (_gain("<subject>", 0),),
                "something of that colour, there, but another thing (the feather hardly)",
            ),
            Column("the place at 0", (_gain("<place>", 0),), "the subject is left, its place is another or none"),
            Column("the place at 5", (_gain("<place>", 5),), "the place comes forward; the mountains do not"),
        ),
    ),
    Sheet(
        "geometry",
        "The maps as pictures",
        "A word's cross-attention map is a small video of where it acts; here those of all words are moved and scaled.",
        (
            UNBENT,
            Column(
                "moved by 0.15",
                (_geometry("translate_x: 0.15, padding: border"),),
                "to the right, by 0.15 of the width; the feather stays, the moon becomes two",
            ),
            Column(
                "upside down",
                (_geometry("flip_y: true"),),
                "light from above, city and ceiling go; subjects mostly stay where they are",
            ),
            Column(
                "turned by 90°",
                (_geometry("rotate: 90"),),
                "what lay stands upright (rows 1, 2, 4); specks of light come, places and shapes go",
            ),
            Column(
                "half as large",
                (_geometry("scale_x: 0.5, scale_y: 0.5, padding: border"),),
                "the cave's ceiling comes toward the middle; subjects shrink somewhat or not at all",
            ),
            Column(
                "twice as large",
                (_geometry("scale_x: 2, scale_y: 2"),),
                "the middle of the maps over the whole picture: subjects larger (rows 1, 2, 4) and softer, places fade",
            ),
        ),
    ),
    Sheet(
        "noise",
        "Noise at three depths, and elsewhere",
        "The same noise in the hidden neurons of the feed-forward layers, early, in the middle, late; in "
        "self-attention; in the words' values.",
        (
            UNBENT,
            Column(
                "early",
                (_noise("ffn.hidden.noise", 1.5, "scope: {layers: [0, 3]}, "),),
                "layers 0 to 3: other shapes, few specks",
            ),
            Column(
                "middle",
                (_noise("ffn.hidden.noise", 1.5, "scope: {layers: [4, 7]}, "),),
                "layers 4 to 7: shapes break up, specks come",
            ),
            Column(
                "late",
                (_noise("ffn.hidden.noise", 1.5, "scope: {layers: [8, 11]}, "),),
                "layers 8 to 11: coloured specks everywhere, shapes fall apart",
            ),
            Column(
                "self-attention",
                (_noise("self.out.noise", 0.8),),
                "in what the picture tells itself: specks too, the shapes hold better",
            ),
            Column(
                "values of words",
                (_noise("cross.value.noise", 3),),
                "in what the words say: other shades and shapes, and no specks",
            ),
        ),
    ),
    Sheet(
        "inside",
        "Neurons and attention",
        "Bands of hidden neurons in the first third of the layers; the sharpness of attention; how loudly the "
        "picture hears itself.",
        (
            UNBENT,
            Column("a low band", (_hidden(3, "0-191"),), "the first quarter of the neurons three times: softer"),
            Column(
                "a high band", (_hidden(3, "576-767"),), "the last quarter of the neurons three times: little changes"
            ),
            Column(
                "only loud neurons",
                ("name: a, lever: ffn.hidden.threshold, values: {threshold: 1.5}",),
                "neurons below 1.5 times the rms are silent: a web of the subject's colour",
            ),
            Column(
                "attention sharpened",
                ("name: a, lever: self.map.focus, values: {focus: 3}",),
                "every place looks at fewer places, here and in the past: strands",
            ),
            Column(
                "self-attention at 2",
                ("name: a, lever: self.map.gain, values: {gain: 2}",),
                "the picture hears itself twice as loudly: contrast",
            ),
        ),
    ),
)
