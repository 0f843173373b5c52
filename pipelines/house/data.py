"""What training reads: fresh clips for the autoencoder, and a bank of latents with tokens for the diffusion model.

Everything stays on the training device. Knows nothing of losses.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from pipelines.house import world
from pipelines.house.loop import autocast
from pipelines.house.scenes import interleave, siblings
from pipelines.house.text import HouseText
from pipelines.taehv import SPACE_SCALE, TAEHV, TIME_SCALE
from pipelines.whole import beside

LATEST_START = 4000  # pixel frames: clips begin anywhere in the first minutes of an endless scene


class Size(NamedTuple):
    """A clip: pixel frames, height, width."""

    frames: int
    height: int
    width: int


def starts(count: int, seed: int) -> Tensor:
    """Random first frames [count]."""
    return torch.randint(LATEST_START, (count,), generator=torch.Generator().manual_seed(seed))


def clips(scenes: world.Scenes, start: Tensor, size: Size, device: torch.device) -> Tensor:
    """Rendered clips, uint8 [N, T, 3, H, W] on the device."""
    frames, height, width = size
    pixels = world.render(scenes, start.to(device), frames, height, width, device=device)
    return (pixels * 255).round_().to(torch.uint8)


class ClipPool:
    """Rendered pieces in device memory, replaced a block at a time: big blocks render far faster than single clips."""

    def __init__(
        self, size: Size, device: torch.device, batch: int, seed: int, blocks: int = 8, uses: int = 8, rest: int = 8
    ) -> None:
        """`blocks` blocks of `uses` batches each; every `rest` batches one block is rendered anew."""
        self.size, self.device, self.batch, self.uses, self.rest = size, device, batch, uses, rest
        self.block = batch * uses
        self.seed, self.drawn, self.next = seed, 0, 0
        self.store = torch.empty(blocks * self.block, size.frames, 3, *size[1:], dtype=torch.uint8, device=device)
        for _ in range(blocks):
            self._refresh()

    def draw(self, generator: torch.Generator) -> Tensor:
        """A batch of clips [batch, T, 3, H, W] in 0..1, float32."""
        if self.drawn and self.drawn % self.rest == 0:
            self._refresh()
        self.drawn += 1
        index = torch.randint(len(self.store), (self.batch,), generator=generator, device=self.device)
        return self.store[index].float() / 255

    def _refresh(self) -> None:
        seed = self.seed * 1_000_003 + self.next
        at = self.next * self.block % len(self.store)
        scenes = world.sample(self.block, seed)
        self.store[at : at + self.block] = clips(scenes, starts(self.block, seed), self.size, self.device)
        self.next += 1


@dataclass(frozen=True)
class LatentBank:
    """latents [N, F, C, h, w] bfloat16, per clip several captions as token ids [N, K, text_len] int16, and where the
    subjects are, masks [N, F, h, w] uint8. In a bank of siblings, clips 2i and 2i + 1 differ in one thing."""

    latents: Tensor
    tokens: Tensor
    masks: Tensor

    def __len__(self) -> int:
        return len(self.latents)


class BankPlan(NamedTuple):
    """How large a bank to make: clips, seconds at most, latent frames per clip, captions per clip, the seed, how many
    clips to render at once (an even number), and whether every second clip is its forerunner's sibling."""

    clips: int
    seconds: float
    frames: int = 8
    captions: int = 4
    seed: int = 1
    block: int = 128
    siblings: bool = False


def make_bank(vae: TAEHV, text: HouseText, plan: BankPlan, size: Size, device: torch.device) -> LatentBank:
    """Render and encode training clips until there are enough or the seconds are over (at least one block)."""
    began = time.monotonic()
    size = Size(plan.frames * TIME_SCALE, size.height, size.width)
    latents, tokens, masks, made = [], [], [], 0
    while made < plan.clips and (not made or time.monotonic() - began < plan.seconds):
        seed = plan.seed * 1_000_003 + len(latents)
        scenes, start = _scenes(plan, min(plan.block, plan.clips - made), seed)
        latents.append(encode(vae, clips(scenes, start, size, device)).to(torch.bfloat16))
        masks.append(latent_masks(scenes, start, size, device))
        tokens.append(_captions(text, scenes, plan.captions, seed))
        made += len(scenes)
        if device.type == "cuda":
            torch.cuda.synchronize(device)  # so that the clock tells the truth
    return LatentBank(torch.cat(latents), torch.cat(tokens).to(device), torch.cat(masks))


def _scenes(plan: BankPlan, count: int, seed: int) -> tuple[world.Scenes, Tensor]:
    """Training scenes, and the pixel frame each begins with."""
    if not plan.siblings:
        return world.sample(count, seed), starts(count, seed)
    scenes = world.sample((count + 1) // 2, seed)
    return interleave(scenes, siblings(scenes, seed)), starts(len(scenes), seed).repeat_interleave(2)


def latent_masks(scenes: world.Scenes, start: Tensor, size: Size, device: torch.device) -> Tensor:
    """Where the subjects are, anywhere within each latent pixel and frame: uint8 [N, T / 4, h, w]."""
    finer = 2  # drawn at twice the size of the latents
    height, width = (finer * side // SPACE_SCALE for side in (size.height, size.width))
    masks = world.render_masks(scenes, start.to(device), size.frames, height, width, device=device).amax(2)
    return F.max_pool3d((masks * 255).round_(), (TIME_SCALE, finer, finer)).to(torch.uint8)


@torch.no_grad()
def encode(vae: TAEHV, pixels: Tensor) -> Tensor:
    """uint8 clips [N, T, 3, H, W] -> latents [N, T/4, C, h, w], each clip as the start of a stream."""
    with autocast(pixels.device):
        return vae.encode(pixels.float() / 255).float()


def read_bank(path: Path, mark: str, device: torch.device) -> LatentBank | None:
    """A bank saved by `write_bank`, or None when there is none or it was made by another autoencoder."""
    if not path.is_file():
        return None
    state = torch.load(path, map_location=device, weights_only=True)
    return LatentBank(state["latents"], state["tokens"], state["masks"]) if state["mark"] == mark else None


def write_bank(path: Path, mark: str, bank: LatentBank) -> None:
    """Keep a bank for the next call; `mark` says which autoencoder made it."""
    with beside(path) as partial:
        torch.save({"mark": mark, "latents": bank.latents, "tokens": bank.tokens, "masks": bank.masks}, partial)


def _captions(text: HouseText, scenes: world.Scenes, count: int, seed: int) -> Tensor:
    told = [text.batch(world.captions(scenes, seed * count + k)) for k in range(count)]
    return torch.stack(told, dim=1).to(torch.int16)
