"""A small classifier that has seen only real clips of the world, to say what a sampled clip shows.

It looks at eight frames, a fifth of a second apart, and names the first subject's kind, colour and motion, and the
place.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipelines.house import world
from pipelines.house.data import Size, clips, starts
from pipelines.house.loop import autocast
from pipelines.house.names import COLOURS, MOTIONS, PLACES, SUBJECTS

SEEN, EVERY = 8, 4  # frames looked at, and one in how many
SPAN = SEEN * EVERY
ANSWERS = {"subject": len(SUBJECTS), "colour": len(COLOURS), "motion": len(MOTIONS), "place": len(PLACES)}


class Judge(nn.Module):
    """Clips [N, 3, SEEN, H, W] in 0..1 -> logits per question."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inside = 6  # the frames and their change
        for stage, outside in enumerate((width, 2 * width, 4 * width, 6 * width)):
            stride = (2 if stage == 2 else 1, 2, 2)
            layers += [nn.Conv3d(inside, outside, 3, stride=stride, padding=1, bias=False), nn.BatchNorm3d(outside)]
            layers += [nn.ReLU()]
            inside = outside
        self.body = nn.Sequential(*layers)
        self.heads = nn.ModuleDict({name: nn.Linear(2 * inside, count) for name, count in ANSWERS.items()})

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        change = F.pad(x.diff(dim=2), (0, 0, 0, 0, 1, 0))
        y = self.body(torch.cat([x - 0.3, 4 * change], dim=1)).float()
        pooled = torch.cat([y.mean(dim=(2, 3, 4)), y.amax(dim=(2, 3, 4))], dim=1)
        return {name: head(pooled) for name, head in self.heads.items()}


class Exam(NamedTuple):
    """Pictures [N, 3, SEEN, h, w] in 0..1, and per question the right answers [N]."""

    pictures: Tensor
    answers: dict[str, Tensor]


@dataclass(frozen=True)
class Schooling:
    """How long a judge learns, on how many clips at most, of what picture size (half the model's is plenty)."""

    seconds: float
    clips: int
    height: int
    width: int
    batch: int = 64
    lr: float = 2e-3


def answers(scenes: world.Scenes) -> dict[str, Tensor]:
    """What there is to say of scenes, as indices of the tables of names."""
    return {
        "subject": scenes.subject[:, 0],
        "colour": scenes.colour[:, 0],
        "motion": scenes.motion[:, 0],
        "place": scenes.place,
    }


def look(pixels: Tensor, height: int, width: int) -> Tensor:
    """The last SPAN frames of clips [N, T, 3, H, W] in 0..1, as the judge sees them [N, 3, SEEN, height, width].

    ValueError when there are fewer.
    """
    if pixels.shape[1] < SPAN:
        raise ValueError(f"a judge looks at {SPAN} frames, got {pixels.shape[1]}; sample more")
    frames = pixels[:, -SPAN:][:, ::EVERY].float()
    small = F.interpolate(frames.flatten(0, 1), size=(height, width), mode="area")
    return small.unflatten(0, (-1, SEEN)).transpose(1, 2)


def school(plan: Schooling, device: torch.device, seed: int = 11) -> Judge:
    """A judge trained on training scenes with one subject; at most a third of the time goes to drawing them."""
    torch.manual_seed(seed)
    judge = Judge().to(device)
    began = time.monotonic()
    exam = _lessons(plan, device, seed)
    optimiser = torch.optim.AdamW(judge.parameters(), lr=plan.lr, weight_decay=0.02)
    halfway = time.monotonic()
    while (now := time.monotonic()) - began < plan.seconds:
        left = 1 - (now - halfway) / max(plan.seconds - (halfway - began), 1e-9)
        for group in optimiser.param_groups:
            group["lr"] = plan.lr * max(left, 0.01)
        index = torch.randint(len(exam.pictures), (plan.batch,), device=device)
        pictures = exam.pictures[index].float() / 255
        pictures = (pictures + 0.02 * torch.randn_like(pictures)).clamp(0, 1)
        with autocast(device):
            told = judge(pictures)
        loss = sum(F.cross_entropy(told[name], right[index]) for name, right in exam.answers.items())
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
    return judge.eval()


@torch.no_grad()
def ask(judge: Judge, pictures: Tensor, batch: int = 64) -> dict[str, Tensor]:
    """The judge's answers [N] per question, on the CPU."""
    device = next(judge.parameters()).device
    told = [judge(part.to(device)) for part in pictures.split(batch)]
    return {name: torch.cat([one[name].argmax(dim=1).cpu() for one in told]) for name in ANSWERS}


def _lessons(plan: Schooling, device: torch.device, seed: int) -> Exam:
    began = time.monotonic()
    block = 128 if device.type == "cuda" else 16
    pictures, scenes = [], []
    while len(pictures) * block < plan.clips and (not pictures or time.monotonic() - began < plan.seconds / 3):
        group = world.sample(block, seed * 1000 + len(pictures), pairs=0.0)
        size = Size(SPAN, plan.height, plan.width)
        drawn = clips(group, starts(block, seed + len(pictures)), size, device)
        pictures.append(drawn[:, ::EVERY].transpose(1, 2).clone())
        scenes.append(answers(group))
        if device.type == "cuda":
            torch.cuda.synchronize(device)
    right = {name: torch.cat([one[name] for one in scenes]).to(device) for name in ANSWERS}
    return Exam(torch.cat(pictures), right)
