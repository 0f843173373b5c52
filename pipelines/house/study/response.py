"""How long after a knob's jump is half of its final change on the screen? With the past kept, forgotten, never there.

Two takes from the same seeds, with the same past, differ in the knob alone; their difference, frame by frame after the
jump, is the knob's. A jump falls between two chunks: one in the middle of a chunk is heard up to four frames sooner or
later.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from pipelines.house.study.looks import strip
from pipelines.house.study.measures import half_time
from pipelines.house.study.play import Knob, Past, Plan, Player, Take
from pipelines.house.study.report import Findings, Row, Verdict, median
from pipelines.taehv import TIME_SCALE

BEFORE, AFTER = 6, 14  # latent frames, before the jump as many as attention sees
PASTS: tuple[Past, ...] = ("kept", "reset", "disabled")
ROWS = 4


def knobs(layers: int) -> dict[str, Knob]:
    """What jumps."""
    colour = Knob("cross.map.gain", {"gain": 0.0}, ("colour",))
    return {
        "colour word's gain to 0": colour,
        "colour word's gain to 0, not remembered": Knob(
            "cross.map.gain", {"gain": 0.0}, ("colour",), persist="transient"
        ),
        "subject's gain to 0": Knob("cross.map.gain", {"gain": 0.0}, ("subject",)),
        "all maps turned by 90 degrees": Knob("cross.map.transform", {"rotate": 90.0}),
        "noise 0.5 in early hidden neurons": Knob("ffn.hidden.noise", {"noise": 0.5}, layers=(0, layers // 3 - 1)),
    }


def study(player: Player, before: int = BEFORE, after: int = AFTER) -> Findings:
    """Frames from the jump to half and to nine tenths of the final change, for every knob and past."""
    rows: list[Row] = []
    curves: list[Row] = []
    shown: list[Take] = []
    for past in PASTS:
        plan = Plan(before + after, before, past)
        still = player.play(plan)
        shown.append(still)
        for name, knob in knobs(player.recipe.config.num_layers).items():
            take = player.play(plan, knob)
            change = apart(take, still)[:, before * TIME_SCALE :]
            rows.append({"knob": name, "past": past, **_numbers(change, player.recipe.fps)})
            curves += [
                {"knob": name, "past": past, "frame": frame + 1, "change": value}
                for frame, value in enumerate(change.mean(0).tolist())
            ]
            if name == next(iter(knobs(1))):
                shown.append(take)
    return Findings({"rows": rows, "curves": curves}, verdicts(rows), {"ends": strip(shown, ROWS)})


def apart(a: Take, b: Take) -> Tensor:
    """The rms difference [N, T] of every frame, at a quarter of the size: where a grain lies does not count."""
    changes = []
    for one, other in zip(a.pixels.split(8), b.pixels.split(8), strict=True):
        change = (one.float() - other.float()).flatten(0, 1)
        changes.append(F.avg_pool2d(change, 4).flatten(1).square().mean(1).sqrt().view(one.shape[:2]))
    return torch.cat(changes).cpu()


def _numbers(change: Tensor, fps: float) -> Row:
    """Of changes [N, T]: the median over captions, and that of the mean change."""
    halves = torch.tensor([half_time(one) for one in change])
    most = torch.tensor([half_time(one, 0.9) for one in change])
    return {
        "n": len(change),
        "half": median(halves),
        "half of the mean": half_time(change.mean(0)),
        "half, slowest tenth": float(halves.nanquantile(0.9)),
        "nine tenths": median(most),
        "half, ms": 1000 * median(halves) / fps,
        "final change": float(change[:, -2 * TIME_SCALE :].mean()),
    }


def verdicts(rows: list[Row]) -> list[Verdict]:
    """The median over knobs, by past."""
    made = []
    for past in PASTS:
        own = {str(row["knob"]): float(row["half"]) for row in rows if row["past"] == past}
        told = "; ".join(f"{name} {half:.0f}" for name, half in own.items())
        made.append(Verdict(f"frames to half of the final change, past {past}", told, None))
    kept, reset = (
        median(torch.tensor([float(row["half"]) for row in rows if row["past"] == past])) for past in ("kept", "reset")
    )
    claim = "forgetting the past at the jump halves the way"
    made.append(
        Verdict(claim, f"{kept:.0f} frames kept, {reset:.0f} forgotten (medians over knobs)", reset <= kept / 2)
    )
    return made
