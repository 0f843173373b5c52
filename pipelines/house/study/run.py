"""One study from start to end: the model and a cast, the numbers, tables, pictures, charts."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import torch

from pipelines.house.model import WEIGHTS
from pipelines.house.png import write_png
from pipelines.house.study import charts, fig3, fig4, geometry, response
from pipelines.house.study.looks import Eyes, open_eyes
from pipelines.house.study.play import Player, open_player
from pipelines.house.study.report import Findings, as_text, write_tables

STUDIES: dict[str, Callable[[Player, Eyes], Findings]] = {
    "fig3": fig3.study,
    "fig4": fig4.study,
    "geometry": geometry.study,
    "response": lambda player, eyes: response.study(player),
}
FEWEST = 2  # captions: likeness needs two
SILENT = 10.0  # seconds between two words on how far it is
LONG = 24  # rows of a table beyond which it is not printed


class Order(NamedTuple):
    """What is asked for: captions, seed, device, the folder for what comes out, and other weights than those that
    ship."""

    n: int
    seed: int
    device: torch.device
    out: Path
    weights: Path = WEIGHTS


class Progress:
    """Called after every take, it says now and then how many there are."""

    def __init__(self, name: str, say: Callable[[str], None]) -> None:
        self._name, self._say = name, say
        self._takes, self._began = 0, time.monotonic()
        self._said = self._began

    def __call__(self) -> None:
        self._takes += 1
        now = time.monotonic()
        if now - self._said >= SILENT:
            self._said = now
            each = (now - self._began) / self._takes
            self._say(f"{self._name}: {self._takes} takes, {each:.1f} s each")


def run(name: str, order: Order, say: Callable[[str], None] = lambda text: None) -> Iterator[str]:
    """Run a study; its lines: tables, verdicts, files. `say` takes a line on how far it is. ValueError for too few
    captions."""
    if order.n < FEWEST:
        raise ValueError(f"--n {order.n}: a study needs {FEWEST} captions at least")
    began = time.monotonic()
    player = open_player(order.n, order.seed, order.device, order.weights, Progress(name, say))
    eyes = open_eyes(order.device)
    findings = STUDIES[name](player, eyes)
    facts = {"n": order.n, "seed": order.seed, "device": order.device.type, "seconds": time.monotonic() - began}
    files = write_tables(order.out, name, findings, facts)
    for picture, pixels in findings.pictures.items():
        files.append(order.out / f"{name}-{picture}.png")
        write_png(files[-1], pixels)
    for table, rows in findings.tables.items():
        if len(rows) <= LONG or table in ("rows", "lines", "depths"):
            yield f"{name} {table}\n{as_text(rows)}\n"
    yield from (verdict.line() for verdict in findings.verdicts)
    yield from chart(name, order.out)
    yield f"{order.n} captions in {facts['seconds']:.0f} s; in {order.out}: {', '.join(path.name for path in files)}"


def chart(name: str, folder: Path) -> Iterator[str]:
    """Draw a study's charts from its tables in the folder; what came of it. FileNotFoundError where it was not run."""
    missing = charts.lacking()
    if missing:
        yield f"no charts: {missing}"
        return
    yield f"charts: {', '.join(path.name for path in charts.draw(name, folder))}"
