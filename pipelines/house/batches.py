"""What one step of the diffusion stage learns from: clips and single frames from a bank, at random noise levels.

Some clips are spliced: they begin as another scene, and the caption tells only what follows the cut. Often the two
scenes are siblings, alike in all but one thing. So a new prompt is obeyed at once, whatever the past shows, and what
the new prompt leaves as it was goes on undisturbed.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from pipelines.house.data import LatentBank
from pipelines.house.text import PAD, UNK
from pipelines.recipes import HOUSE as RECIPE

SHIFT = RECIPE.shift
PURE_NOISE = 0.15  # share of frames at sigma 1, where every chunk begins
PLAYED = 0.2  # share of frames at one of the other levels that play passes through
UNKNOWN = 0.05  # share of words hidden as [UNK]
NO_PROMPT = 0.08  # share of captions left out altogether
PAST_NOISE = 0.2  # the most noise in the past of half of the clips, so that errors of play are forgiven
SPLICED = 0.25  # share of clips that begin as another scene
SIBLING = 0.7  # share of these that begin as their sibling
SUBJECT = 2.0  # how much more an error weighs where a subject is

_LEVELS = torch.tensor(RECIPE.schedule.sigmas[1:])


class Batch(NamedTuple):
    """x [B, C, P + F, h, w]: P clean frames of the past (F or none), then F noisy ones; t [B, P + F] in 0..1000,
    target and weight [B, C or 1, F, h, w], tokens [B, text_len]."""

    x: Tensor
    t: Tensor
    target: Tensor
    weight: Tensor
    tokens: Tensor


class Dice:
    """Random tensors on one device from one generator."""

    def __init__(self, generator: torch.Generator, device: torch.device) -> None:
        self.generator, self.device = generator, device

    def unit(self, *shape: int) -> Tensor:
        return torch.rand(shape, generator=self.generator, device=self.device)

    def below(self, limit: int, *shape: int) -> Tensor:
        return torch.randint(limit, shape, generator=self.generator, device=self.device)

    def noise(self, like: Tensor) -> Tensor:
        return torch.randn(like.shape, generator=self.generator, device=self.device)


class Shots(NamedTuple):
    """Clean frames [B, F, C, h, w], subjects' masks [B, F, h, w] in 0..1, whether the caption tells each frame
    [B, F], the caption [B, text_len], and which clip of the bank it tells [B]."""

    frames: Tensor
    masks: Tensor
    told: Tensor
    tokens: Tensor
    clip: Tensor


def draw(bank: LatentBank, count: int, generator: torch.Generator) -> Batch:
    """A batch of clips under teacher forcing. First frames are only past: `draw_stills` teaches those."""
    dice = Dice(generator, bank.latents.device)
    drawn = shots(bank, count, dice)
    noisy = _noisy(drawn, dice)
    clean = drawn.frames.transpose(1, 2)
    spoil = PAST_NOISE * dice.unit(count, 1) * (dice.unit(count, 1) < 0.5)
    past = torch.lerp(clean, dice.noise(clean), spoil[:, :, None, None, None])
    told = drawn.told & (torch.arange(clean.shape[2], device=dice.device) > 0)
    return noisy._replace(
        x=torch.cat([past, noisy.x], dim=2),
        t=torch.cat([torch.zeros_like(noisy.t), noisy.t], dim=1),
        weight=noisy.weight * told[:, None, :, None, None],
    )


def draw_stills(bank: LatentBank, count: int, generator: torch.Generator) -> Batch:
    """A batch of first frames alone: no past, P = 0 and F = 1."""
    dice = Dice(generator, bank.latents.device)
    index = dice.below(len(bank), count)
    masks = bank.masks[index, :1].float() / 255
    told = torch.ones(count, 1, dtype=torch.bool, device=dice.device)
    first = bank.latents[index, :1].float()
    return _noisy(Shots(first, masks, told, one_caption(bank, index, dice), index), dice)


def shots(bank: LatentBank, count: int, dice: Dice) -> Shots:
    """Clips from a bank, some of them spliced."""
    frames = bank.latents.shape[1]
    index, other = dice.below(len(bank), count), dice.below(len(bank), count)
    other = torch.where(dice.unit(count) < SIBLING, (index ^ 1).clamp(max=len(bank) - 1), other)
    sibling = other == index ^ 1
    cut = dice.below(max(1, frames - 1), count) + 1 if frames > 1 else torch.zeros_like(index)
    cut = torch.where(dice.unit(count) < SPLICED, cut, 0)[:, None]
    at = torch.arange(frames, device=dice.device).expand(count, -1)
    told = at >= cut
    # A sibling goes on where the cut is, anything else begins there.
    source = torch.where(told, index[:, None], other[:, None])
    moment = torch.where(told & ~sibling[:, None], at - cut, at)
    return Shots(
        bank.latents[source, moment].float(),
        bank.masks[source, moment].float() / 255,
        told,
        one_caption(bank, index, dice),
        index,
    )


def _noisy(drawn: Shots, dice: Dice) -> Batch:
    count, length = drawn.tokens.shape
    clean = drawn.frames.transpose(1, 2)
    sigma = noise_levels(dice.unit(count, clean.shape[2]), dice.unit(count, clean.shape[2]))
    fresh = dice.noise(clean)
    noisy = torch.lerp(clean, fresh, sigma[:, None, :, None, None])
    tokens = drop_words(drawn.tokens, dice.unit(count, length), dice.unit(count, 1))
    return Batch(noisy, 1000 * sigma, fresh - clean, 1 + SUBJECT * drawn.masks[:, None], tokens)


def noise_levels(u: Tensor, kind: Tensor) -> Tensor:
    """Sigmas from uniform numbers: shifted toward noise, some at exactly 1 and some at the levels of play."""
    shifted = SHIFT * u / (1 + (SHIFT - 1) * u)
    levels = _LEVELS.to(u.device)
    played = levels[(u * len(levels)).long().clamp(max=len(levels) - 1)]
    sigma = torch.where(kind < PURE_NOISE + PLAYED, played, shifted)
    return torch.where(kind < PURE_NOISE, torch.ones_like(u), sigma)


def drop_words(tokens: Tensor, word: Tensor, whole: Tensor) -> Tensor:
    """tokens [B, L] with some words unknown and some prompts empty, decided by uniform numbers [B, L] and [B, 1]."""
    tokens = torch.where((tokens != PAD) & (word < UNKNOWN), torch.full_like(tokens, UNK), tokens)
    return torch.where(whole < NO_PROMPT, torch.full_like(tokens, PAD), tokens)


def one_caption(bank: LatentBank, index: Tensor, dice: Dice) -> Tensor:
    """One of the captions of each of these clips, tokens [B, text_len]."""
    return bank.tokens[index, dice.below(bank.tokens.shape[1], len(index))].long()
