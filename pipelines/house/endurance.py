"""Does the house model stay itself?  python -m pipelines.house.endurance --minutes 10

Streams play on and on while their prompts change: every so many seconds each gets another held-back caption, and
nothing is forgotten. What is drawn is judged right after each change and at the end of each caption, and told minute by
minute beside the sharpness of the picture. With `--pairs` the last minute brings the captions of the first again, and
only these two are looked at: what captions differ in does not count then.
"""

from __future__ import annotations

import argparse
import json
import math
from collections import defaultdict, deque
from collections.abc import Container, Iterator
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

    def __init__(self, text: HouseText, streams: int, frames: int, seed: int, again: int | None = None) -> None:
        """`again`: the number of the caption from which on the first ones come again. ValueError where a caption would
        be over before it can be judged twice."""
        if frames < 2 * SEEN:
            raise ValueError(f"captions of {frames} latent frames are too short to be judged twice; give {2 * SEEN}")
        self.text, self.streams, self.frames, self.seed = text, streams, frames, seed
        self.again = again
        self._number = 0
        self.scenes, self._told = self._next()

    def rows(self, position: int) -> Tensor:
        """The text rows at this latent frame, asked for one after the other; `scenes` are then what they tell."""
        if position // self.frames != self._number:
            self._number = position // self.frames
            self.scenes, self._told = self._next()
        return self._told

    def _next(self) -> tuple[world.Scenes, Tensor]:
        repeated = self.again is not None and self._number >= self.again
        seed = self.seed + 1009 * (self._number - self.again if repeated else self._number)
        scenes = world.sample(self.streams, seed, "heldback", pairs=0.0)
        ids = self.text.batch(world.captions(scenes, seed, full=True))
        return scenes, self.text(ids.to(self.text.norm.weight.device)).detach()


class Verdict(NamedTuple):
    """What was drawn in one minute (from 1), right after a change of prompts or at the end of a caption."""

    minute: int
    when: str
    report: Report


def endure(
    house: House,
    config: HouseConfig,
    judge: Judge,
    programme: Programme,
    plan: SamplePlan,
    minutes: Container[int] | None = None,
) -> Iterator[Verdict]:
    """Play `plan.frames` latent frames and judge them on the way; only in these `minutes`, if they are given."""
    recent: deque[Tensor] = deque(maxlen=SEEN)
    memory = house.vae.decoder.fresh()
    for position, latents in enumerate(roll(house, config, programme.rows, plan)):
        if minutes is not None and minute_of(position) not in minutes:
            memory = house.vae.decoder.fresh()
            continue
        recent.append(house.vae.decode(latents, memory).float().cpu())
        played = position % programme.frames + 1
        if played in (SEEN, programme.frames):
            when = AFTER if played == SEEN else END
            yield Verdict(minute_of(position), when, report(torch.cat(list(recent), dim=1), programme.scenes, judge))


def minute_of(position: int) -> int:
    """The minute, from 1, that a latent frame is played in."""
    return int(position / PER_MINUTE) + 1


def paired(verdicts: list[Verdict]) -> str:
    """The last minute less the first, caption by caption, as text: means, with their standard errors, and shares."""
    last = max(verdict.minute for verdict in verdicts)
    ends = [[one for one in verdicts if one.minute == minute] for minute in (1, last)]
    if last == 1 or len(ends[0]) != len(ends[1]):
        raise ValueError("the first and the last minute do not hold the same captions; play whole minutes")
    lines = [f"{'':12}{'minute 1':>12}{f'minute {last}':>12}{'less':>12}{'std. error':>12}{'of it':>10}"]
    for name in (*ANSWERS, "sharpness", "movement"):
        first, later = (torch.tensor([_told(one.report, name) for one in end], dtype=torch.float64) for end in ends)
        less, share = later - first, later.mean() / first.mean()
        error = less.std() / math.sqrt(len(less))
        lines.append(f"{name:12}{first.mean():12.4f}{later.mean():12.4f}{less.mean():12.4f}{error:12.4f}{share:10.3f}")
    return "\n".join(lines)


def _told(report: Report, name: str) -> float:
    return report.answers[name] if name in report.answers else getattr(report, name)


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
    parser.add_argument("--pairs", action="store_true", help="the last minute has the captions of the first again")
    parser.add_argument("--out", type=Path, help="write every judgement here, as lines of JSON")
    args = parser.parse_args(words)
    house, (config, _) = load(args.weights, args.device), describe(args.weights)
    judge, _ = load_judge(args.judge, args.device)
    frames, last = round(args.seconds * PER_MINUTE / 60), math.ceil(args.minutes)
    again = round((last - 1) * PER_MINUTE) // frames if args.pairs else None
    programme = Programme(house.text, args.streams, frames, args.seed, again)
    plan = SamplePlan(round(args.minutes * PER_MINUTE), args.seed)
    verdicts = []
    for verdict in endure(house, config, judge, programme, plan, (1, last) if args.pairs else None):
        verdicts.append(verdict)
        line = {"minute": verdict.minute, "when": verdict.when, **vars(verdict.report)}
        if args.out:
            with args.out.open("a") as file:
                file.write(json.dumps(line) + "\n")
        print(f"minute {verdict.minute}, {verdict.when}: {verdict.report.answers}", flush=True)
    print(table(verdicts))
    if args.pairs:
        print(paired(verdicts))


if __name__ == "__main__":
    main()
