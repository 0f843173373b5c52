"""Does the house model draw what it is told?  python -m pipelines.house.evaluate

Held-back captions (combinations never shown in training) are sampled, and the clips are measured beside real clips of
the very same scenes: the hue of what stands out against the colour word, a classifier's answers, sharpness, movement.
Prints a table and JSON.
"""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from pipelines.house import world
from pipelines.house.data import Size, clips, starts
from pipelines.house.judge import ANSWERS, JUDGE, SPAN, Judge, answers, ask, look
from pipelines.house.judge import load as load_judge
from pipelines.house.model import WEIGHTS, describe, load
from pipelines.house.names import COLOURS, HUES
from pipelines.house.sampler import SamplePlan, sample_clips
from pipelines.lighter import FORMS, Chosen, lighten
from pipelines.recipes import HOUSE as RECIPE

STANDS_OUT = 0.01  # share of pixels, the most saturated and bright, that the hue is read from


@dataclass(frozen=True)
class Report:
    """One column of the table; shares in 0..1, hue error as a fraction of the colour circle."""

    hue_error: float
    hue_right: float
    answers: dict[str, float]
    sharpness: float
    movement: float


def dominant_hue(pixels: Tensor) -> Tensor:
    """The mean hue [N], in turns, of the pixels that stand out in clips [N, T, 3, H, W]."""
    red, green, blue = pixels.float().unbind(2)
    high, low = pixels.float().amax(2), pixels.float().amin(2)
    vivid = (high - low).flatten(1)  # saturation times brightness
    hue = torch.atan2(math.sqrt(3) * (green - blue), 2 * red - green - blue).flatten(1)
    strength, index = vivid.topk(max(1, int(STANDS_OUT * vivid.shape[1])), dim=1)
    angle = hue.gather(1, index)
    mean = torch.atan2((strength * angle.sin()).sum(1), (strength * angle.cos()).sum(1))
    return (mean / math.tau) % 1.0


def hue_distance(a: Tensor, b: Tensor) -> Tensor:
    """The shorter way round the circle, 0..0.5."""
    away = (a - b).abs() % 1.0
    return torch.minimum(away, 1 - away)


def sharpness(pixels: Tensor) -> float:
    """The mean absolute difference between neighbouring pixels."""
    across, down = pixels.float().diff(dim=-1).abs().mean(), pixels.float().diff(dim=-2).abs().mean()
    return float(across + down)


def movement(pixels: Tensor) -> float:
    """The mean absolute difference between consecutive frames."""
    return float(pixels.float().diff(dim=1).abs().mean())


def report(pixels: Tensor, scenes: world.Scenes, judge: Judge) -> Report:
    """What clips [N, T, 3, H, W] in 0..1 show, against the scenes they should show."""
    names = list(COLOURS)
    hued = torch.tensor([names[int(index)] in HUES for index in scenes.colour[:, 0]])
    wanted = torch.tensor([HUES.get(names[int(index)], 0.0) for index in scenes.colour[:, 0]])
    found = dominant_hue(pixels)
    circle = torch.tensor(list(HUES.values()))
    nearest = circle[hue_distance(found[:, None], circle[None]).argmin(dim=1)]
    told, right = ask(judge, look(pixels)), answers(scenes)
    return Report(
        float(hue_distance(found, wanted)[hued].mean()),
        float((nearest == wanted)[hued].float().mean()),
        {name: float((told[name] == right[name]).float().mean()) for name in ANSWERS},
        sharpness(pixels),
        movement(pixels),
    )


def evaluate(args: argparse.Namespace) -> dict[str, Report]:
    """Real held-back clips, and clips sampled from their captions."""
    torch.set_float32_matmul_precision("high")
    config, _ = describe(args.weights)
    house = load(args.weights, args.device)
    if args.lighter:
        lighten(house.dit, Chosen(FORMS[args.lighter], args.lighter, False))
    judge, _ = load_judge(args.judge, args.device)
    scenes = world.sample(args.n, seed=args.seed, split="heldback", pairs=0.0)
    size = Size(SPAN, config.height, config.width)
    real = [
        clips(scenes[i : i + 16], starts(args.n, args.seed)[i : i + 16], size, args.device).cpu()
        for i in range(0, args.n, 16)
    ]
    reports = {"real": report(torch.cat(real).float() / 255, scenes, judge)}
    prompts = world.captions(scenes, seed=args.seed, full=True)
    steps = tuple(float(step) for step in args.steps.split(","))
    sampled = sample_clips(house, config, prompts, SamplePlan(args.frames, args.seed, steps))
    reports["sampled"] = report(sampled[:, -SPAN:], scenes, judge)
    return reports


def table(reports: dict[str, Report]) -> str:
    """The reports side by side, as text."""
    rows = ("hue_error", "hue_right", "sharpness", "movement")
    lines = [f"{'':20}" + "".join(f"{name:>10}" for name in reports)]
    for row in rows:
        lines.append(f"{row.replace('_', ' '):20}" + "".join(f"{getattr(r, row):10.4f}" for r in reports.values()))
    for question in ANSWERS:
        lines.append(f"{question + ' right':20}" + "".join(f"{r.answers[question]:10.3f}" for r in reports.values()))
    return "\n".join(lines)


def main(words: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m pipelines.house.evaluate", description=__doc__.split("\n")[0])
    default = "cuda" if torch.cuda.is_available() else "cpu"
    parser.add_argument("--weights", type=Path, default=WEIGHTS)
    parser.add_argument("--device", type=torch.device, default=torch.device(default))
    parser.add_argument("--n", type=int, default=160, help="held-back captions")
    parser.add_argument("--frames", type=int, default=12, help="latent frames per clip; the last eight are measured")
    parser.add_argument(
        "--steps", default=",".join(f"{s:g}" for s in RECIPE.steps), help="denoising steps before warping"
    )
    parser.add_argument("--lighter", choices=tuple(FORMS), help="layers as play on a CPU has them")
    parser.add_argument("--judge", type=Path, default=JUDGE, help="the classifier; see pipelines.house.judge")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, help="write the JSON here, too")
    args = parser.parse_args(words)
    reports = evaluate(args)
    print(table(reports))
    text = json.dumps({name: vars(one) for name, one in reports.items()}, indent=1)
    print(text)
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
