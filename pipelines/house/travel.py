"""Does a change of prompts look like travel, or like a cut?  python -m pipelines.house.travel

Streams play one held-back caption and then another, at once or by way of the mixtures between them, and nothing is
forgotten. The largest step from one frame to the next is held against a cut: the difference between the last frame of
the one and the first frame of the other, told from the start. And the judge says whether they arrive.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from pipelines.house import world
from pipelines.house.evaluate import report
from pipelines.house.judge import ANSWERS, JUDGE, SPAN, Judge
from pipelines.house.judge import load as load_judge
from pipelines.house.model import WEIGHTS, House, HouseConfig, describe, load
from pipelines.house.sampler import SamplePlan, roll
from pipelines.taehv import TIME_SCALE
from pipelines.text import between

BEFORE = 8  # latent frames of the first caption
SETTLED = SPAN // TIME_SCALE  # latent frames of the second, once it is wholly told, that the judge looks at
LENGTHS = (0, 4, 10, 20)  # latent frames that a change takes; 0: at once


class Journey(NamedTuple):
    """Medians over all streams. Steps are mean absolute differences between frames, of full range: the usual one
    before the change, the largest after it, and a cut. `right`: the judge's answers, of the second caption."""

    length: int
    usual: float
    largest: float
    cut: float
    largest_of_cut: float
    right: dict[str, float]


def told(start: Tensor, end: Tensor, length: int) -> Callable[[int], Tensor]:
    """Text rows [B, text_len, text_dim] by latent frame: `start`, then from BEFORE on `length` mixtures, then `end`."""
    mixed = [between(start, end, (step + 1) / (length + 1)) for step in range(length)]

    def rows(position: int) -> Tensor:
        since = position - BEFORE
        if since < 0:
            return start
        return mixed[since] if since < length else end

    return rows


@torch.no_grad()
def travel(house: House, config: HouseConfig, judge: Judge, count: int, length: int, seed: int) -> Journey:
    """So many streams, each from one caption to another."""
    scenes = [world.sample(count, seed + part, "heldback", pairs=0.0) for part in (0, 1)]
    device = house.text.norm.weight.device
    starts, ends = (
        house.text(house.text.batch(world.captions(scene, seed, full=True)).to(device)).detach() for scene in scenes
    )
    pixels = _played(house, config, told(starts, ends, length), BEFORE + length + SETTLED, seed)
    other = _played(house, config, lambda _: ends, BEFORE, seed + 2)
    at = BEFORE * TIME_SCALE
    steps = pixels.diff(dim=1).abs().mean((2, 3, 4))  # [N, T - 1]; the change's first is number at - 1
    cut = (pixels[:, at - 1] - other[:, -1]).abs().mean((1, 2, 3))
    largest = steps[:, at - 1 :].amax(1)
    usual = steps[:, at - 1 - SPAN // 2 : at - 1].mean(1)
    medians = (float(x.median()) for x in (usual, largest, cut, largest / cut))
    return Journey(length, *medians, report(pixels[:, -SPAN:], scenes[1], judge).answers)


def _played(house: House, config: HouseConfig, rows: Callable[[int], Tensor], frames: int, seed: int) -> Tensor:
    memory = house.vae.decoder.fresh()
    made = [house.vae.decode(x, memory).float().cpu() for x in roll(house, config, rows, SamplePlan(frames, seed))]
    return torch.cat(made, dim=1)


def table(journeys: list[Journey]) -> str:
    """One line a length, as text."""
    names = ("usual step", "largest", "a cut", "of a cut", *ANSWERS)
    lines = [f"{'latent frames':>14}" + "".join(f"{name:>12}" for name in names)]
    for one in journeys:
        values = (one.usual, one.largest, one.cut, one.largest_of_cut, *(one.right[name] for name in ANSWERS))
        lines.append(f"{one.length or 'at once':>14}" + "".join(f"{value:12.4f}" for value in values))
    return "\n".join(lines)


def main(words: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m pipelines.house.travel", description=__doc__.split("\n")[0])
    default = "cuda" if torch.cuda.is_available() else "cpu"
    parser.add_argument("--weights", type=Path, default=WEIGHTS)
    parser.add_argument("--judge", type=Path, default=JUDGE, help="the classifier; see pipelines.house.judge")
    parser.add_argument("--device", type=torch.device, default=torch.device(default))
    parser.add_argument("--n", type=int, default=32, help="pairs of held-back captions")
    parser.add_argument("--lengths", default=",".join(map(str, LENGTHS)), help="latent frames that a change takes")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args(words)
    house, (config, _) = load(args.weights, args.device), describe(args.weights)
    judge, _ = load_judge(args.judge, args.device)
    lengths = [int(length) for length in args.lengths.split(",")]
    print(table([travel(house, config, judge, args.n, length, args.seed) for length in lengths]))


if __name__ == "__main__":
    main()
