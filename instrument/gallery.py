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
from pipelines.stream import Stream
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
    none for the unbent picture."""

    title: str
    bends: tuple[str, ...] = ()


class Sheet(NamedTuple):
    """One contact sheet: its file, its title, what there is to see, and its columns."""

    name: str
    title: str
    says: str
    columns: tuple[Column, ...]


LINES = (
    Line("a red star spinning above city lights", "red", "star", "city lights", 3),
    Line("a purple tulip swaying over a dark sea", "purple", "tulip", "dark sea", 11),
    Line("a teal jellyfish rising underwater, in neon", "teal", "jellyfish", "underwater", 5),
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
    stream = Stream(system.model, system.decoder, system.recipe, bends, line.seed)
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
        parts += ["| | column | bends |", "|---|---|---|"]
        parts += [_row(number, column) for number, column in enumerate(made.columns, 1)]
    return "\n".join(parts) + "\n"


def _row(number: int, column: Column) -> str:
    return f"| {number} | {column.title} | {'<br>'.join(f'`{{{bend}}}`' for bend in column.bends) or 'none'} |"


_HEAD = """# Gallery

Prompts down, bends across: the same seed in every picture of a row, taken at the same moment; only the bend differs.
`bender gallery` makes this page. A bend is written as in a patch (`<colour>`, `<subject>` and `<place>` stand for the
prompt's own words). How much of it is lawful, and how much entangled, is measured in [study.md](study.md).

Rows:
"""


def _gain(tokens: str, gain: float, more: str = "") -> str:
    return f"name: a, lever: cross.map.gain, scope: {{tokens: {tokens}{more}}}, values: {{gain: {gain:g}}}"


def _geometry(values: str, scope: str = "") -> str:
    return f"name: a, lever: cross.map.transform, {scope}values: {{{values}}}"


UNBENT = Column("unbent")
SHEETS = (
    Sheet(
        "words",
        "Words, louder and softer",
        "The cross-attention map of one word, multiplied after softmax.",
        (
            UNBENT,
            Column("the colour word at 0", (_gain("<colour>", 0),)),
            Column("the colour word at 4", (_gain("<colour>", 4),)),
            Column("the subject at 0", (_gain("<subject>", 0),)),
            Column("the place at 0", (_gain("<place>", 0),)),
            Column("the place at 5", (_gain("<place>", 5),)),
        ),
    ),
    Sheet(
        "geometry",
        "The maps as pictures",
        "A word's cross-attention map is a small video of where it acts; here those of all words are moved and scaled.",
        (
            UNBENT,
            Column("turned by 90°", (_geometry("rotate: 90"),)),
            Column("moved by a quarter", (_geometry("translate_x: 0.25"),)),
            Column("half as large", (_geometry("scale_x: 0.5, scale_y: 0.5"),)),
            Column("twice as large", (_geometry("scale_x: 2, scale_y: 2"),)),
            Column("blurred", (_geometry("blur: 4"),)),
        ),
    ),
    Sheet(
        "noise",
        "Noise at three depths, and elsewhere",
        "The same noise in the hidden neurons of the feed-forward layers, early, in the middle, late; in "
        "self-attention; in the words' values.",
        (
            UNBENT,
            Column("early", ("name: a, lever: ffn.hidden.noise, scope: {layers: [0, 3]}, values: {noise: 2.5}",)),
            Column("middle", ("name: a, lever: ffn.hidden.noise, scope: {layers: [4, 7]}, values: {noise: 2.5}",)),
            Column("late", ("name: a, lever: ffn.hidden.noise, scope: {layers: [8, 11]}, values: {noise: 2.5}",)),
            Column("self-attention", ("name: a, lever: self.out.noise, values: {noise: 1}",)),
            Column("values of words", ("name: a, lever: cross.value.noise, values: {noise: 1.5}",)),
        ),
    ),
    Sheet(
        "inside",
        "Neurons and attention",
        "Bands of hidden neurons tripled in the first third of the layers; the sharpness of attention; how loudly the "
        "picture hears itself.",
        (
            UNBENT,
            Column(
                "a low band",
                ("name: a, lever: ffn.hidden.gain, scope: {layers: [0, 3], neurons: 0-191}, values: {gain: 3}",),
            ),
            Column(
                "a high band",
                ("name: a, lever: ffn.hidden.gain, scope: {layers: [0, 3], neurons: 576-767}, values: {gain: 3}",),
            ),
            Column("only loud neurons", ("name: a, lever: ffn.hidden.threshold, values: {threshold: 1.5}",)),
            Column("attention spread", ("name: a, lever: self.map.focus, values: {focus: 0.3}",)),
            Column("self-attention at 2", ("name: a, lever: self.map.gain, values: {gain: 2}",)),
        ),
    ),
)
