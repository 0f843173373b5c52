"""Does the house model stay itself?  python -m pipelines.house.endurance --minutes 10

Streams play on and on while their prompts change: every so many seconds each gets another held-back caption, and
nothing is forgotten. What is drawn is judged right after each change and at the end of each caption, and told minute by
minute beside the sharpness of the picture.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict, deque
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from pipelines.house import world
from pipelines.house.evaluate import Report, report
from pipelines.house.judge import ANSWERS, JUDGE, SPAN, Judge
from pipelines.house.judge import load as load_judge
from pipelines.house.model import WEIGHTS, House, HouseConfig, describe, load
from pipelines.house.sampler import SamplePlan, roll
from pipelines.house.text import HouseText
from pipelines.recipes import HOUSE as RECIPE
from pipelines.taehv import TIME_SCALE

SEEN = SPAN // TIME_SCALE  # latent frames a judge looks at
PER_MINUTE = 60 * RECIPE.fps / TIME_SCALE  # latent frames
AFTER, END = "after the change", "at the end"


class Programme:
    """What the streams are told, and when: a new scene for each of `streams` every `frames` latent frames."""

    def __init__(self, text: HouseText, streams: int, frames: int, seed: int) -> None:
        """ValueError where a caption would be over before it can be judged twice."""
        if frames < 2 * SEEN:
            raise ValueError(f"captions of {frames} latent frames are too short to be judged twice; give {2 * SEEN}")
        self.text, self.streams, self.frames, self.seed = text, streams, frames, seed
        self._number = 0
        self.scenes, self._told = self._next()

    def rows(self, position: int) -> Tensor:
        """The text rows at this latent frame, asked for one after the other; `scenes` are then what they tell."""
        if position // self.frames != self._number:
            self._number = position // self.frames
            self.scenes, self._told = self._next()
        return self._told

    def _next(self) -> tuple[world.Scenes, Tensor]:
        seed = self.seed + 1009 * self._number
        scenes = world.sample(self.streams, seed, "heldback", pairs=0.0)
        ids = self.text.batch(world.captions(scenes, seed, full=True))
        return scenes, self.text(ids.to(self.text.norm.weight.device)).detach()


class Verdict(NamedTuple):
    """What was drawn in one minute (from 1), right after a change of prompts or at the end of a caption."""

    minute: int
    when: str
    report: Report


def endure(
    house: House, config: HouseConfig, judge: Judge, programme: Programme, plan: SamplePlan
) -> Iterator[Verdict]:
    """Play `plan.frames` latent frames and judge them on the way."""
    recent: deque[Tensor] = deque(maxlen=SEEN)
    memory = house.vae.decoder.fresh()
    for position, latents in enumerate(roll(house, config, programme.rows, plan)):
        recent.append(house.vae.decode(latents, memory).float().cpu())
        played = position % programme.frames + 1
        if played in (SEEN, programme.frames):
            minute, when = int(position / PER_MINUTE) + 1, AFTER if played == SEEN else END
            yield Verdict(minute, when, report(torch.cat(list(recent), dim=1), programme.scenes, judge))


def table(verdicts: list[Verdict]) -> str:
    """The means of every minute, as text."""
    by: dict[tuple[int, str], list[Report]] = defaultdict(list)
    for verdict in verdicts:
        by[verdict.minute, verdict.when].append(verdict.report)
    lines = [f"{'minute':26}" + "".join(f"{name:>10}" for name in (*ANSWERS, "sharpness", "movement"))]
    for (minute, when), reports in by.items():
        columns = [[one.answers[name] for one in reports] for name in ANSWERS]
        columns += [[one.sharpness for one in reports], [one.movement for one in reports]]
        means = (sum(column) / len(column) for column in columns)
        lines.append(f"{minute:<4}{when:22}" + "".join(f"{mean:10.4f}" for mean in means))
    return "\n".join(lines)


def main(words: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m pipelines.house.endurance", description=__doc__.split("\n")[0])
    default = "cuda" if torch.cuda.is_available() else "cpu"
    parser.add_argument("--weights", type=Path, default=WEIGHTS)
    parser.add_argument("--judge", type=Path, default=JUDGE, help="the classifier; see pipelines.house.judge")
    parser.add_argument("--device", type=torch.device, default=torch.device(default))
    parser.add_argument("--streams", type=int, default=8)
    parser.add_argument("--minutes", type=float, default=10.0, help="of play")
    parser.add_argument("--seconds", type=float, default=12.0, help="between changes of the prompts")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, help="write every judgement here, as lines of JSON")
    args = parser.parse_args(words)
    house, (config, _) = load(args.weights, args.device), describe(args.weights)
    judge, _ = load_judge(args.judge, args.device)
    programme = Programme(house.text, args.streams, round(args.seconds * PER_MINUTE / 60), args.seed)
    plan = SamplePlan(round(args.minutes * PER_MINUTE), args.seed)
    verdicts = []
    for verdict in endure(house, config, judge, programme, plan):
        verdicts.append(verdict)
        line = {"minute": verdict.minute, "when": verdict.when, **vars(verdict.report)}
        if args.out:
            with args.out.open("a") as file:
                file.write(json.dumps(line) + "\n")
        print(f"minute {verdict.minute}, {verdict.when}: {verdict.report.answers}", flush=True)
    print(table(verdicts))


if __name__ == "__main__":
    main()
