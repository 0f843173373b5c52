"""Training the house model's transformer: flow matching under teacher forcing, exactly as the stream will ask.

One forward sees [clean frames 0..F-1 ; noisy frames 0..F-1]. A clean frame attends to the clean window that ends with
itself, which is what the cache pass of a stream computes; a noisy frame attends to the clean frames before it and to
itself, which is what a denoising pass computes. So F frames are learned from at once, each at its own noise level.

First frames, which have no past and only the words to go by, are learned from apart: a still costs a sixteenth of a
clip of eight frames, and it is from stills that the model learns what words look like.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from pipelines.attention import attend
from pipelines.bends.hooks import LayerBends
from pipelines.house.batches import Batch, draw, draw_stills
from pipelines.house.data import LatentBank
from pipelines.house.loop import Session, autocast
from pipelines.house.model import HouseConfig
from pipelines.house.text import HouseText
from pipelines.rope import Rope, Turn
from pipelines.wan import Wan

GUIDANCE = {"clips": 0.2, "stills": 0.4}
"""How much of the words' own effect is added to what is learned, for each kind of lesson: w makes the model draw as a
model guided by 1 / (1 - w) would, at no cost in play."""
GUIDED_FROM, GUIDED_WHOLLY = 0.4, 0.5  # shares of the training between which the guidance comes in


class TeacherForcing(LayerBends):
    """Hook points of a block that bend nothing, but run self-attention frame by frame instead of under a mask.

    Most of the mask is empty: skipping what it forbids is several times faster.
    """

    def __init__(self, frames: int, window: int) -> None:
        super().__init__({})
        self.frames, self.window = frames, window

    def attention(
        self, site: str, q: Tensor, k: Tensor, v: Tensor, grid: tuple[int, int, int], mask: Tensor | None
    ) -> Tensor:
        if site != "self":
            return attend(q, k, v, mask)
        return framewise(q.to(v.dtype), k.to(v.dtype), v, self.frames, self.window)


class Learner(nn.Module):
    """What the diffusion stage trains: the transformer and the text encoder."""

    def __init__(self, dit: Wan, text: HouseText) -> None:
        super().__init__()
        self.dit, self.text = dit, text


class Teacher:
    """Computes the loss of a batch; holds what stays the same from step to step."""

    def __init__(
        self, config: HouseConfig, frames: int, device: torch.device, dense: bool = False, past: bool = True
    ) -> None:
        """For batches of `frames` noisy frames, behind as many clean ones unless there is no `past`. `dense`: under a
        mask instead of frame by frame."""
        patch = config.dit.patch_size[1]
        height, width = config.height // 8 // patch, config.width // 8 // patch
        self.frames = frames
        self.turn: Turn = Rope(config.dit.head_dim, height, width, device).turn([*range(frames)] * (1 + past))
        forced = (TeacherForcing(frames, config.window),) * config.dit.num_layers
        self.bends = None if dense or not past else forced
        self.mask = teacher_mask(frames, height * width, config.window).to(device) if dense else None

    def loss(self, learner: Learner, batch: Batch, guidance: float = 0.0) -> Tensor:
        """Mean squared error of the flow on the noisy frames, weighted, in float32."""
        flow = self.flow(learner, batch.x, batch.t, batch.tokens)
        target = self._guided(learner, batch, flow.detach(), guidance) if guidance else batch.target
        error = (batch.weight * (flow - target).square()).mean()
        return error / batch.weight.mean()

    def flow(self, learner: Learner, x: Tensor, t: Tensor, tokens: Tensor) -> Tensor:
        """The flow of the noisy frames [B, C, F, h, w], in float32."""
        with autocast(x.device):
            memory = learner.dit.read_text(learner.text(tokens))
            flow = learner.dit(x, t, memory, self.turn, None, self.mask, self.bends)
        return flow[:, :, -self.frames :].float()

    @torch.no_grad()
    def _guided(self, learner: Learner, batch: Batch, flow: Tensor, guidance: float) -> Tensor:
        """The target, moved on by what the words change in the model's own flow (Tang et al. 2025, arXiv 2502.12154).

        Twice as far for one half of the batch, which comes to the same and costs half.
        """
        half = max(1, len(flow) // 2)
        wordless = self.flow(learner, batch.x[:half], batch.t[:half], torch.zeros_like(batch.tokens[:half]))
        target = batch.target.clone()
        target[:half] += 2 * guidance * (flow[:half] - wordless)
        return target


class Lesson(NamedTuple):
    """One part of what every step learns from; `guidance` in full."""

    name: str
    teacher: Teacher
    bank: LatentBank
    draw: Callable[[LatentBank, int, torch.Generator], Batch]
    count: int
    guidance: float

    def loss(self, learner: Learner, generator: torch.Generator, guided: float) -> Tensor:
        """The loss of a fresh batch with a share of the guidance."""
        batch = self.draw(self.bank, self.count, generator)
        return self.teacher.loss(learner, batch, guided * self.guidance)


class Counts(NamedTuple):
    """Clips and stills per step."""

    clips: int
    stills: int


def lessons(config: HouseConfig, clips: LatentBank, stills: LatentBank, counts: Counts, dense: bool) -> list[Lesson]:
    """Clips under teacher forcing, and stills."""
    device, frames = clips.latents.device, clips.latents.shape[1]
    moving = Teacher(config, frames, device, dense)
    still = Teacher(config, 1, device, past=False)
    return [
        Lesson("clips", moving, clips, draw, counts.clips, GUIDANCE["clips"]),
        Lesson("stills", still, stills, draw_stills, counts.stills, GUIDANCE["stills"]),
    ]


def compile_blocks(learner: Learner, taught: list[Lesson]) -> str:
    """Compile the transformer's blocks (one small graph per kind of lesson serves them all), and prove it.

    A compiler that fails, or computes something else than the plain forward, is switched off again: training is
    only slower without it. Returns what came of it, in words.
    """
    plain = _trial(learner, taught)
    for block in learner.dit.blocks:
        block.compile(dynamic=False)
    try:
        loss = _trial(learner, taught)
        sound = all(bool(p.grad.isfinite().all()) for p in learner.parameters() if p.grad is not None)
        close = abs(loss - plain) < 0.01 * plain
        outcome = "compiled" if sound and close else f"unsound: loss {loss}, plain {plain}, finite {sound}"
    except torch.cuda.OutOfMemoryError:
        raise
    except Exception as failure:  # compilers throw anything
        outcome = f"failed: {type(failure).__name__}: {str(failure)[:400]}"
    learner.zero_grad(set_to_none=True)
    if outcome != "compiled":
        torch.compiler.set_stance("force_eager")
    return outcome


def _trial(learner: Learner, taught: list[Lesson]) -> float:
    """The loss of the same batches every time, guided, with its gradients."""
    learner.zero_grad(set_to_none=True)
    total = 0.0
    for lesson in taught:
        generator = torch.Generator(device=lesson.bank.latents.device).manual_seed(0)
        loss = lesson.loss(learner, generator, 1.0)
        loss.backward()
        total += float(loss.detach())
    return total


def framewise(q: Tensor, k: Tensor, v: Tensor, frames: int, window: int) -> Tensor:
    """Self-attention of [clean ; noisy], each [B, 2 * frames * S, heads, d], equal to attention under `teacher_mask`.

    Frames that see equally many others are computed together.
    """
    q, k, v = (x.unflatten(1, (2 * frames, -1)).unbind(1) for x in (q, k, v))
    out: list[Tensor | None] = [None] * (2 * frames)
    for count in range(1, min(frames, window) + 1):
        group = [i for i in range(2 * frames) if len(_sees(i, frames, window)) == count]
        seen = [j for i in group for j in _sees(i, frames, window)]
        query = torch.stack([q[i] for i in group], dim=1).flatten(0, 1)  # [B * G, S, heads, d]
        key, value = (torch.stack([x[j] for j in seen], 1).unflatten(1, (-1, count)).flatten(2, 3) for x in (k, v))
        z = attend(query, key.flatten(0, 1), value.flatten(0, 1)).unflatten(0, (-1, len(group)))
        for i, frame in zip(group, z.unbind(1), strict=True):
            out[i] = frame
    return torch.cat(out, dim=1)


def _sees(index: int, frames: int, window: int) -> list[int]:
    """Which frames of [clean ; noisy] this one attends to."""
    position = index % frames
    return [*range(max(0, position - window + 1), position), index]


def teacher_mask(frames: int, tokens_per_frame: int, window: int) -> Tensor:
    """The same as a bool matrix, True = may attend: [2 * frames * S, 2 * frames * S]."""
    mask = torch.zeros(2 * frames, 2 * frames, dtype=torch.bool)
    for i in range(2 * frames):
        mask[i, _sees(i, frames, window)] = True
    return mask.repeat_interleave(tokens_per_frame, 0).repeat_interleave(tokens_per_frame, 1)


def guided(progress: float) -> float:
    """The share of the guidance at this share of the training."""
    return min(1.0, max(0.0, (progress - GUIDED_FROM) / (GUIDED_WHOLLY - GUIDED_FROM)))


def train(session: Session, taught: list[Lesson], show: Callable[[], None], every: float) -> None:
    """Run the session to the end of its time; `show` is called every so many seconds."""
    learner, shown = session.module, time.monotonic()
    while session.running():
        share = guided(session.progress())
        losses = {lesson.name: lesson.loss(learner, session.generator, share) for lesson in taught}
        session.update(torch.stack([*losses.values()]).sum(), losses)
        if time.monotonic() - shown > every:
            show()
            shown = time.monotonic()
