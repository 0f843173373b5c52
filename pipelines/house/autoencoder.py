"""Training the house autoencoder: what is lost between a clip and its reconstruction, and how it is measured."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from pipelines.house import world
from pipelines.house.data import ClipPool, Size, clips, starts
from pipelines.house.loop import Session, autocast
from pipelines.taehv import TAEHV, TIME_SCALE

PIECE = 12  # pixel frames
CROP = (8, 96, 128)  # of a piece, per step: many small steps teach more than few large ones
BRIGHT = 3.0  # how much more an error weighs where the picture is bright
LATENT_LIMIT = 3.0  # where the decoder's soft clamp sets in


class Losses(NamedTuple):
    """What training lowers, the parts that it weighs, and what the autoencoder made of the pictures."""

    total: Tensor
    parts: dict[str, Tensor]
    output: Tensor  # [N, T, 3, H, W], not clamped


def reconstruction(vae: TAEHV, pieces: Tensor, generator: torch.Generator, jitter: float) -> Losses:
    """The loss of pieces [N, T, 3, H, W] in 0..1. `jitter`: noise put on the latents, so that the decoder forgives."""
    with autocast(pieces.device):
        latents = vae.encode(pieces)
        noise = torch.randn(latents.shape, generator=generator, device=latents.device)
        output = vae.raw_decode(latents + jitter * noise.to(latents.dtype), vae.decoder.fresh())
    output, latents = output.float(), latents.float()
    # The subject is the brightest thing in the picture and a small part of it: weigh it up.
    error = (output - pieces) * (1 + BRIGHT * pieces.amax(dim=2, keepdim=True))
    parts = {
        "l1": error.abs().mean(),
        "mse": error.square().mean(),
        "edges": (error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()),
        "motion": error.diff(dim=1).abs().mean(),
        "spread": spread(latents),
    }
    total = parts["l1"] + 4 * parts["mse"] + parts["edges"] + 0.5 * parts["motion"] + 0.05 * parts["spread"]
    return Losses(total, parts, output)


def spread(latents: Tensor) -> Tensor:
    """How far latents [N, T, C, h, w] are from zero mean and unit deviation per channel, and beyond the limit."""
    mean = latents.mean(dim=(0, 1, 3, 4))
    deviation = latents.std(dim=(0, 1, 3, 4))
    beyond = F.relu(latents.abs() - LATENT_LIMIT).square().mean()
    return mean.square().mean() + (deviation - 1).square().mean() + beyond


def train(session: Session, size: Size, jitter: float) -> None:
    """Run the session to the end of its time."""
    vae = session.module
    piece = Size(PIECE, size.height, size.width)
    pool = ClipPool(piece, session.device, session.settings.batch, 7 + session.step, rest=40)
    while session.running():
        losses = reconstruction(vae, crop(pool.draw(session.generator)), session.generator, jitter)
        session.update(losses.total, losses.parts)


def crop(pieces: Tensor) -> Tensor:
    """The same random part of every piece [N, T, 3, H, W], no larger than CROP; anywhere in time, space by eights."""
    at = []
    for whole, part, step in zip((pieces.shape[1], *pieces.shape[3:]), CROP, (1, 8, 8), strict=True):
        part = min(whole, part)
        first = step * int(torch.randint((whole - part) // step + 1, ()))
        at.append(slice(first, first + part))
    return pieces[:, at[0], :, at[1], at[2]]


@torch.no_grad()
def stream(vae: TAEHV, pixels: Tensor) -> Tensor:
    """Clips [N, T, 3, H, W] in 0..1 through encoder and decoder, four frames at a time, as in play."""
    coming, going = vae.encoder.fresh(), vae.decoder.fresh()
    pieces = [vae.decode(vae.encode(piece, coming), going) for piece in pixels.split(TIME_SCALE, dim=1)]
    return torch.cat(pieces, dim=1)


class Quality(NamedTuple):
    """Peak signal to noise ratio in dB: mean over clips, and of the worst clip."""

    psnr: float
    worst: float
    pair: Tensor  # originals and reconstructions in turn, [2N, T, 3, H, W]


def quality(vae: TAEHV, count: int, size: Size, device: torch.device) -> Quality:
    """Measured on held-back scenes, streaming; sizes as `Size`, with its frames a multiple of four."""
    scenes = world.sample(count, seed=99, split="heldback")
    ratios, pairs = [], []
    for i in range(0, count, 8):
        group = scenes[i : i + 8]
        pixels = clips(group, starts(len(group), i), size, device).float() / 255
        output = stream(vae, pixels)
        ratios.append(-10 * (output - pixels).square().mean(dim=(1, 2, 3, 4)).clamp(min=1e-10).log10())
        pairs.append(torch.stack([pixels, output], dim=1).flatten(0, 1).cpu())
    every = torch.cat(ratios)
    return Quality(float(every.mean()), float(every.min()), torch.cat(pairs[:1]))
