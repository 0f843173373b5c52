"""What a study leaves behind: tables as CSV, and verdicts: a claim, the number, met or not."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

Row = dict[str, "str | float | int"]


class Verdict(NamedTuple):
    """A claim in words, what was found, and whether it holds; None where it is told without a goal."""

    claim: str
    found: str
    met: bool | None

    def line(self) -> str:
        """The verdict as it is printed."""
        mark = {True: "met", False: "NOT MET", None: "found"}[self.met]
        return f"{mark:8} {self.claim}: {self.found}"


class Findings(NamedTuple):
    """Tables by name, verdicts, and pictures uint8 [H, W, 3] by name."""

    tables: dict[str, list[Row]]
    verdicts: list[Verdict]
    pictures: dict[str, Tensor]


def write_tables(folder: Path, study: str, findings: Findings, facts: Row) -> list[Path]:
    """`<study>-<table>.csv` for every table and `<study>.json` with verdicts and what they rest on; the files."""
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    for name, rows in findings.tables.items():
        path = folder / f"{study}-{name}.csv"
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(dict.fromkeys(key for row in rows for key in row)))
            writer.writeheader()
            writer.writerows({key: _short(value) for key, value in row.items()} for row in rows)
        made.append(path)
    path = folder / f"{study}.json"
    verdicts = [verdict._asdict() for verdict in findings.verdicts]
    path.write_text(json.dumps({"facts": facts, "verdicts": verdicts}, indent=1) + "\n", encoding="utf-8")
    return [*made, path]


def read_table(path: Path) -> list[Row]:
    """A table again, numbers as numbers. FileNotFoundError where it is not there."""
    with path.open(newline="", encoding="utf-8") as file:
        return [{key: _number(value) for key, value in row.items()} for row in csv.DictReader(file)]


def mean(values: Tensor) -> float:
    """The mean of what is finite; NaN of nothing."""
    good = values[values.isfinite()]
    return float(good.float().mean()) if len(good) else math.nan


def median(values: Tensor) -> float:
    """The median of what is finite; NaN of nothing."""
    good = values[values.isfinite()]
    return float(good.float().median()) if len(good) else math.nan


def as_text(rows: Sequence[Row]) -> str:
    """Rows as aligned columns."""
    if not rows:
        return ""
    names = list(rows[0])
    cells = [names, *([str(_short(row.get(name, ""))) for name in names] for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(names))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in cells)


def _short(value: str | float | int) -> str | float | int:
    return f"{value:.4g}" if isinstance(value, float) else value


def _number(text: str) -> str | float:
    try:
        return float(text)
    except ValueError:
        return text
