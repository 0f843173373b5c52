"""A small classifier that has seen only real clips of the world, to say what a sampled clip shows.

    python -m pipelines.house.judge --minutes 60      # school one; an hour of one processor core, or a minute of a GPU

It looks at eight frames, a fifth of a second apart and a quarter of the size, and names the first subject's kind,
colour and motion, and the place. Its file says how often it is right on real clips of held-back scenes.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipelines.house import world
from pipelines.house.data import starts
from pipelines.house.loop import autocast
from pipelines.house.model import WEIGHTS
from pipelines.house.names import COLOURS, MOTIONS, PLACES, SUBJECTS
from pipelines.house.school import Schooling, save
from pipelines.house.school import load as read
from pipelines.house.school import school as teach

SEEN, EVERY = 8, 4  # frames looked at, and one in how many
SPAN = SEEN * EVERY
HEIGHT, WIDTH = 36, 64
DRAWN = 2  # lessons are drawn this many times larger, then averaged down
ANSWERS = {"subject": len(SUBJECTS), "colour": len(COLOURS), "motion": len(MOTIONS), "place": len(PLACES)}
JUDGE = WEIGHTS.with_name("judge.safetensors")


class Judge(nn.Module):
    """Clips [N, 3, SEEN, HEIGHT, WIDTH] in 0..1 -> logits per question."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(  # 6 channels: the frames and their change
            *_layer(6, 24, (1, 3, 3), (1, 1, 1)),
            *_layer(24, 48, (1, 3, 3), (1, 2, 2)),
            *_layer(48, 96, (1, 3, 3), (1, 2, 2)),
            *_layer(96, 128, (3, 1, 1), (1, 1, 1)),
            *_layer(128, 128, (1, 3, 3), (1, 1, 1)),
            *_layer(128, 128, (3, 1, 1), (2, 1, 1)),
            *_layer(128, 192, (1, 3, 3), (1, 2, 2)),
        )
        self.heads = nn.ModuleDict({name: nn.Linear(2 * 192, count) for name, count in ANSWERS.items()})

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        pooled = self.features(x)
        return {name: head(pooled) for name, head in self.heads.items()}

    def features(self, x: Tensor) -> Tensor:
        """What the answers are read from, [N, 384]."""
        change = F.pad(x.diff(dim=2), (0, 0, 0, 0, 1, 0))
        y = self.body(torch.cat([x - 0.3, 4 * change], dim=1)).float()
        return torch.cat([y.mean(dim=(2, 3, 4)), y.amax(dim=(2, 3, 4))], dim=1)


def _layer(inside: int, outside: int, kernel: tuple[int, int, int], stride: tuple[int, int, int]) -> list[nn.Module]:
    padding = tuple(side // 2 for side in kernel)
    conv = nn.Conv3d(inside, outside, kernel, stride=stride, padding=padding, bias=False)
    return [conv, nn.BatchNorm3d(outside), nn.ReLU()]


class Exam(NamedTuple):
    """Pictures [N, 3, SEEN, HEIGHT, WIDTH] in 0..1 or as bytes, and per question the right answers [N]."""

    pictures: Tensor
    answers: dict[str, Tensor]


def answers(scenes: world.Scenes) -> dict[str, Tensor]:
    """What there is to say of scenes, as indices of the tables of names."""
    return {
        "subject": scenes.subject[:, 0],
        "colour": scenes.colour[:, 0],
        "motion": scenes.motion[:, 0],
        "place": scenes.place,
    }


def look(pixels: Tensor) -> Tensor:
    """The last SPAN frames of clips [N, T, 3, H, W] in 0..1, as the judge sees them [N, 3, SEEN, HEIGHT, WIDTH].

    ValueError when there are fewer.
    """
    if pixels.shape[1] < SPAN:
        raise ValueError(f"a judge looks at {SPAN} frames, got {pixels.shape[1]}; sample more")
    frames = pixels[:, -SPAN:][:, ::EVERY].float()
    small = F.interpolate(frames.flatten(0, 1), size=(HEIGHT, WIDTH), mode="area")
    return small.unflatten(0, (-1, SEEN)).transpose(1, 2)


def exam(count: int, seed: int, split: str, device: torch.device) -> Exam:
    """Real clips of scenes with one subject, as bytes, and what they show."""
    scenes = world.sample(count, seed, split, pairs=0.0)
    start = starts(count, seed).to(device)
    frames = [  # only those that are looked at
        world.render(scenes, start + EVERY * i, 1, DRAWN * HEIGHT, DRAWN * WIDTH, device=device) for i in range(SEEN)
    ]
    small = [F.avg_pool2d(frame[:, 0], DRAWN) for frame in frames]
    pictures = (torch.stack(small, dim=2) * 255).round_().to(torch.uint8)
    return Exam(pictures, {name: right.to(device) for name, right in answers(scenes).items()})


def school(seconds: float, clips: int, device: torch.device, seed: int = 11) -> Judge:
    """A judge trained for so long on training scenes with one subject, so many clips at most."""
    torch.manual_seed(seed)
    judge = Judge().to(device)
    plan = Schooling(seconds, clips, 512 if device.type == "cuda" else 32, batch=64, log_every=200)

    def draw(number: int) -> tuple[Tensor, ...]:
        paper = exam(plan.block, seed * 100_000 + number, "train", device)
        return paper.pictures, *(paper.answers[name] for name in ANSWERS)

    def losses(pictures: Tensor, *right: Tensor) -> dict[str, Tensor]:
        with autocast(device):
            told = judge(_blurred(pictures.float() / 255))
        return {name: F.cross_entropy(told[name], answer) for name, answer in zip(ANSWERS, right, strict=True)}

    teach(judge, plan, draw, losses)
    return judge


def _blurred(pictures: Tensor) -> Tensor:
    """A little noise, and half of the pictures as soft as a model may draw them: a judge is not to mind either."""
    flat = pictures.transpose(1, 2).flatten(0, 1)
    soft = (
        F.avg_pool2d(F.pad(flat, (1, 1, 1, 1), mode="replicate"), 3, stride=1).unflatten(0, (-1, SEEN)).transpose(1, 2)
    )
    some = torch.rand(len(pictures), 1, 1, 1, 1, device=pictures.device) < 0.5
    pictures = torch.where(some, soft, pictures)
    return (pictures + 0.02 * torch.randn_like(pictures)).clamp(0, 1)


@torch.no_grad()
def ask(judge: Judge, pictures: Tensor, batch: int = 64) -> dict[str, Tensor]:
    """The judge's answers [N] per question, on the CPU."""
    device = next(judge.parameters()).device
    told = [judge(part.to(device)) for part in pictures.split(batch)]
    return {name: torch.cat([one[name].argmax(dim=1).cpu() for one in told]) for name in ANSWERS}


def marks(judge: Judge, paper: Exam) -> dict[str, float]:
    """The share of right answers per question."""
    told = ask(judge, paper.pictures.float() / 255)
    return {name: float((told[name] == right.cpu()).float().mean()) for name, right in paper.answers.items()}


def load(path: Path, device: torch.device) -> tuple[Judge, dict[str, float]]:
    """A judge and what is known of it. FileNotFoundError when there is none, LoadError when it is another's."""
    judge = Judge()
    facts = read(judge, path, "python -m pipelines.house.judge")
    return judge.to(device), facts


def main(words: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m pipelines.house.judge", description=__doc__.split("\n")[0])
    default = "cuda" if torch.cuda.is_available() else "cpu"
    parser.add_argument("--device", type=torch.device, default=torch.device(default))
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--clips", type=int, default=24_000, help="real clips it learns from, at most")
    parser.add_argument("--n", type=int, default=1024, help="held-back scenes it is examined on")
    parser.add_argument("--out", type=Path, default=JUDGE)
    args = parser.parse_args(words)
    judge = school(60 * args.minutes, args.clips, args.device)
    facts = {name: round(mark, 4) for name, mark in marks(judge, exam(args.n, 77, "heldback", args.device)).items()}
    save(judge, args.out, facts)
    print(f"{args.out}: right on {args.n} real held-back clips: {facts}")


if __name__ == "__main__":
    main()
