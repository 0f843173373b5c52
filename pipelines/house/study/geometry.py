"""The subject word's attention map moved, turned and enlarged: what does the subject do?

A line through all captions and amounts says by how much it follows: slope 1 is all the way, r^2 how surely. By range
of steps, by range of layers, and for more words than the subject's own.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from pipelines.house.study import measures
from pipelines.house.study.looks import Eyes, Look, strip
from pipelines.house.study.measures import Line
from pipelines.house.study.play import Knob, Plan, Player
from pipelines.house.study.report import Findings, Row, Verdict

FRAMES, LOOKED_AT = 3, 1
FOLLOWS, SURELY = 0.5, 0.5  # slope and r^2 from which a subject is said to follow
ROUND = 0.75  # likeness to itself from which a subject's turn cannot be seen
AGREES = 0.3  # correlation below which a turn is a guess
SMALLEST = 0.04  # a subject smaller than this has no turn to be read
ROWS = 4
MOVES: dict[str, tuple[float, ...]] = {
    "move x": (-0.3, -0.15, 0.15, 0.3),
    "move y": (-0.25, 0.25),
    "turn": (-60.0, -30.0, 30.0, 60.0),
    "size": (0.6, 0.8, 1.3, 1.7),
}


class Hold(NamedTuple):
    """Where the map is held: a name, the words, and ranges of layers and steps."""

    name: str
    words: tuple
    layers: tuple[int, int] | None = None
    steps: tuple[int, int] | None = None


def holds(layers: int, steps: int) -> list[Hold]:
    """What is compared."""
    third, subject = layers // 3, ("subject",)
    return [
        Hold("subject", subject),
        Hold("subject, first step", subject, steps=(0, 0)),
        Hold("subject, all steps but the first", subject, steps=(1, steps - 1)),
        Hold("subject, first third of layers", subject, layers=(0, third - 1)),
        Hold("subject, middle third of layers", subject, layers=(third, 2 * third - 1)),
        Hold("subject, last third of layers", subject, layers=(2 * third, layers - 1)),
        Hold("subject, colour, motion, article", ("article", "colour", "subject", "motion")),
        Hold("all words", ()),
    ]


def amounts(move: str, value: float) -> dict[str, float]:
    """The lever's amounts for a move."""
    if move == "size":
        return {"scale_x": value, "scale_y": value}
    return {{"move x": "translate_x", "move y": "translate_y", "turn": "rotate"}[move]: value}


def study(player: Player, eyes: Eyes) -> Findings:
    """A line for every hold and move."""
    unbent = player.play(Plan(FRAMES))
    seen, rows, points, shown = eyes.look(unbent, LOOKED_AT), [], [], [unbent]
    for hold in holds(player.recipe.config.num_layers, len(player.recipe.steps)):
        for move, values in MOVES.items():
            told: list[tuple[Tensor, Tensor]] = []
            for value in values:
                knob = Knob("cross.map.transform", amounts(move, value), hold.words, hold.layers, hold.steps)
                take = player.play(Plan(FRAMES), knob)
                bent = eyes.look(take, LOOKED_AT)
                asked, found = followed(move, value, seen, bent)
                told.append((asked, found))
                points += _points(hold, move, asked, found)
                if value == values[-1] and hold.name in ("subject", "all words"):
                    shown.append(take)
            asked, found = (torch.cat(part) for part in zip(*told, strict=True))
            rows.append(_row(hold, move, measures.line(asked, found), len(asked)))
    return Findings({"lines": rows, "points": points}, verdicts(rows), {"moves": strip(shown, ROWS)})


def followed(move: str, value: float, before: Look, after: Look) -> tuple[Tensor, Tensor]:
    """What was asked for and what happened, [N] each: fractions of width or height, degrees, or doublings of size;
    NaN where it cannot be read."""
    was, now = measures.stand(before.mask), measures.stand(after.mask)
    if move == "turn":
        asked, found = torch.full_like(was.x, value), turn(before, after)
    elif move == "size":
        asked, found = torch.full_like(was.x, math.log2(value)), torch.log2(now.size / was.size)
    else:
        found = now.x - was.x if move == "move x" else now.y - was.y
        asked = torch.full_like(was.x, value)
    return asked, found


def turn(before: Look, after: Look) -> Tensor:
    """Degrees [N], clockwise, between two looks' last pictures; NaN where nobody could tell."""
    masks = before.mask[:, -1], after.mask[:, -1]
    found = measures.turned(before.pixels[:, -1], after.pixels[:, -1], *masks)
    small = torch.minimum(*(measures.stand(mask[:, None]).size.nan_to_num(0) for mask in masks)) < SMALLEST
    unseen = (found.roundness > ROUND) | (found.agreement < AGREES) | small
    return torch.where(unseen, torch.nan, found.degrees)


def _points(hold: Hold, move: str, asked: Tensor, found: Tensor) -> list[Row]:
    if hold.name not in ("subject", "all words"):
        return []
    pairs = zip(asked.tolist(), found.tolist(), strict=True)
    return [{"hold": hold.name, "move": move, "asked": a, "found": f} for a, f in pairs if not math.isnan(f)]


def _row(hold: Hold, move: str, line: Line, asked: int) -> Row:
    return {
        "hold": hold.name,
        "move": move,
        "slope": line.slope,
        "r2": line.r2,
        "offset": line.offset,
        "points": line.count,
        "unread": asked - line.count,
    }


def verdicts(rows: list[Row]) -> list[Verdict]:
    """How the subject follows its own word, and which hold it follows best."""
    made, claim = [], f"{{}}: the subject follows its word's map (slope >= {FOLLOWS}, r2 >= {SURELY})"
    for move in MOVES:
        lines = {str(row["hold"]): row for row in rows if row["move"] == move}
        own, best = lines["subject"], max(lines.values(), key=_sureness)
        made.append(
            Verdict(
                claim.format(move),
                _told(own),
                _good(own),
            )
        )
        made.append(Verdict(f"{move}: followed best", f"{best['hold']}: {_told(best)}", None))
    return made


def _told(row: Row) -> str:
    return f"slope {row['slope']:.2f}, r2 {row['r2']:.2f}, {row['points']} points, {row['unread']} not to be read"


def _good(row: Row) -> bool:
    return float(row["slope"]) >= FOLLOWS and float(row["r2"]) >= SURELY


def _sureness(row: Row) -> float:
    r2 = float(row["r2"])
    return r2 if r2 == r2 and float(row["slope"]) > 0 else -1.0
