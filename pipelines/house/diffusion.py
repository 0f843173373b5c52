"""Training the house model's transformer: flow matching under teacher forcing, exactly as the stream will ask.

One forward sees [clean frames 0..F-1 ; noisy frames 0..F-1]. A clean frame attends to the clean window that ends with
itself, which is what the cache pass of a stream computes; a noisy frame attends to the clean frames before it and to
itself, which is what a denoising pass computes. So F frames are learned from at once, each at its own noise level.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from pipelines.attention import attend
from pipelines.bends.hooks import LayerBends
from pipelines.house.data import LatentBank
from pipelines.house.loop import Session, autocast
from pipelines.house.model import HouseConfig
from pipelines.house.text import PAD, UNK, HouseText
from pipelines.rope import Rope, Turn
from pipelines.wan import Wan

SHIFT = 5.0
PURE_NOISE = 0.15  # share of frames at sigma 1, where every chunk begins
UNKNOWN = 0.05  # share of words hidden as [UNK]
NO_PROMPT = 0.08  # share of captions left out altogether
PAST_NOISE = 0.2  # the most noise in the past of half of the clips, so that errors of play are forgiven


class Batch(NamedTuple):
    """x [B, C, 2F, h, w], t [B, 2F] in 0..1000, target [B, C, F, h, w], tokens [B, text_len]."""

    x: Tensor
    t: Tensor
    target: Tensor
    tokens: Tensor


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

    def __init__(self, config: HouseConfig, frames: int, device: torch.device, dense: bool = False) -> None:
        patch = config.dit.patch_size[1]
        height, width = config.height // 8 // patch, config.width // 8 // patch
        self.frames, self.dense = frames, dense
        rope = Rope(config.dit.head_dim, height, width, device)
        self.turn: Turn = rope.turn([*range(frames), *range(frames)])
        self.bends = (TeacherForcing(frames, config.window),) * config.dit.num_layers
        self.mask = teacher_mask(frames, height * width, config.window).to(device) if dense else None
        self.compiled = False

    def compile(self, learner: Learner, batch: Batch) -> str:
        """Compile the transformer's blocks (one small graph serves them all), and prove it on a batch.

        A compiler that fails, or computes something else than the plain forward, is switched off again: training is
        only slower without it. Returns what came of it, in words.
        """
        plain = self._trial(learner, batch)
        for block in learner.dit.blocks:
            block.compile()
        try:
            loss = self._trial(learner, batch)
            sound = all(bool(p.grad.isfinite().all()) for p in learner.parameters() if p.grad is not None)
            close = abs(loss - plain) < 0.01 * plain
            outcome = "compiled" if sound and close else f"unsound: loss {loss}, plain {plain}, finite {sound}"
        except torch.cuda.OutOfMemoryError:
            raise
        except Exception as failure:  # compilers throw anything
            outcome = f"failed: {type(failure).__name__}: {str(failure)[:400]}"
        learner.zero_grad(set_to_none=True)
        self.compiled = outcome == "compiled"
        if not self.compiled:
            torch.compiler.set_stance("force_eager")
        return outcome

    def _trial(self, learner: Learner, batch: Batch) -> float:
        learner.zero_grad(set_to_none=True)
        loss = self.loss(learner, batch)
        loss.backward()
        return float(loss.detach())

    def loss(self, learner: Learner, batch: Batch) -> Tensor:
        """Mean squared error of the flow on the noisy half, in float32."""
        with autocast(batch.x.device):
            memory = learner.dit.read_text(learner.text(batch.tokens))
            bends = None if self.dense else self.bends
            flow = learner.dit(batch.x, batch.t, memory, self.turn, None, self.mask, bends)
        return (flow[:, :, self.frames :].float() - batch.target).square().mean()


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


def draw(bank: LatentBank, count: int, generator: torch.Generator) -> Batch:
    """A batch of clips at random noise levels, with one of their captions each."""
    device = bank.latents.device

    def chance(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator, device=device)

    def noise() -> Tensor:
        return torch.randn(clean.shape, generator=generator, device=device)

    index = torch.randint(len(bank), (count,), generator=generator, device=device)
    clean = bank.latents[index].float().transpose(1, 2)  # [B, C, F, h, w]
    frames = clean.shape[2]
    sigma = noise_levels(chance(count, frames), chance(count, frames))
    fresh = noise()
    noisy = torch.lerp(clean, fresh, _wide(sigma))
    spoil = PAST_NOISE * chance(count, 1) * (chance(count, 1) < 0.5)
    past = torch.lerp(clean, noise(), _wide(spoil.expand(-1, frames)))
    t = torch.cat([torch.zeros_like(sigma), 1000 * sigma], dim=1)
    tokens = _one_caption(bank.tokens[index], chance(count))
    hidden = drop_words(tokens, chance(*tokens.shape), chance(count, 1))
    return Batch(torch.cat([past, noisy], dim=2), t, fresh - clean, hidden)


def noise_levels(u: Tensor, pure: Tensor) -> Tensor:
    """Sigmas from uniform numbers: shifted toward noise, and some at exactly 1."""
    return torch.where(pure < PURE_NOISE, torch.ones_like(u), SHIFT * u / (1 + (SHIFT - 1) * u))


def drop_words(tokens: Tensor, word: Tensor, whole: Tensor) -> Tensor:
    """tokens [B, L] with some words unknown and some prompts empty, decided by uniform numbers [B, L] and [B, 1]."""
    tokens = torch.where((tokens != PAD) & (word < UNKNOWN), torch.full_like(tokens, UNK), tokens)
    return torch.where(whole < NO_PROMPT, torch.full_like(tokens, PAD), tokens)


def train(session: Session, teacher: Teacher, bank: LatentBank, show: Callable[[], None], every: float) -> None:
    """Run the session to the end of its time; `show` is called every so many seconds."""
    learner, shown = session.module, time.monotonic()
    while session.running():
        batch = draw(bank, session.settings.batch, session.generator)
        session.update(teacher.loss(learner, batch))
        if time.monotonic() - shown > every:
            show()
            shown = time.monotonic()


def _one_caption(tokens: Tensor, chance: Tensor) -> Tensor:
    which = (chance * tokens.shape[1]).long()
    return tokens[torch.arange(len(tokens), device=tokens.device), which].long()


def _wide(sigma: Tensor) -> Tensor:
    return sigma[:, None, :, None, None]
