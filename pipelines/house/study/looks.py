"""What studies see of a take: some of its pictures with the subject's masks, and what the judge says of it."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from pipelines.house.judge import ANSWERS, JUDGE, SPAN, Judge, answers, ask, look
from pipelines.house.judge import load as load_judge
from pipelines.house.study import measures
from pipelines.house.study.masks import Masker, find, overlap
from pipelines.house.study.masks import load as load_masker
from pipelines.house.study.play import Cast, Take
from pipelines.taehv import TIME_SCALE


class Look(NamedTuple):
    """The last picture of each of a take's last latent frames [N, T, 3, H, W] in 0..1, and its masks [N, T, h, w]."""

    pixels: Tensor
    mask: Tensor

    @property
    def colour(self) -> Tensor:
        """The subject's mean colour [N, 2]; see `measures.chroma`."""
        return measures.chroma(self.pixels, self.mask)


class Eyes(NamedTuple):
    """What looks at pictures: the masker and the judge."""

    masker: Masker
    judge: Judge

    @torch.inference_mode()
    def look(self, take: Take, latent_frames: int) -> Look:
        """At a take's last latent frames."""
        pixels = take.pixels[:, -latent_frames * TIME_SCALE :][:, TIME_SCALE - 1 :: TIME_SCALE].float()
        return Look(pixels, find(self.masker, pixels))

    @torch.inference_mode()
    def first(self, take: Take) -> Look:
        """At the last picture of a take's first latent frame, in which no past has a part yet."""
        pixels = take.pixels[:, TIME_SCALE - 1 : TIME_SCALE].float()
        return Look(pixels, find(self.masker, pixels))

    def judged(self, take: Take, cast: Cast) -> dict[str, float]:
        """The share of captions of which the judge still sees each thing; nothing for takes too short for it."""
        if take.pixels.shape[1] < SPAN:
            return {}
        seen = torch.cat([look(part) for part in take.pixels.split(16)])
        told, right = ask(self.judge, seen), answers(cast.scenes)
        return {f"{name} seen": float((told[name] == right[name].cpu()).float().mean()) for name in ANSWERS}


def open_eyes(device: torch.device) -> Eyes:
    """The masker and the judge that ship. FileNotFoundError, LoadError."""
    return Eyes(load_masker(device=device)[0], load_judge(JUDGE, device)[0])


def kept_place(bent: Look, unbent: Look) -> tuple[Tensor, Tensor]:
    """IoU [N] of the subject with the unbent one's, and the background's change [N] in 0..1; NaN where the unbent take
    shows no subject."""
    away = measures.background_change(bent.pixels, unbent.pixels, bent.mask, unbent.mask)
    there = unbent.mask.flatten(1).sum(1) >= measures.LEAST * unbent.mask.shape[1]
    return torch.where(there, overlap(bent.mask, unbent.mask), torch.nan), torch.where(there, away, torch.nan)


def strip(takes: list[Take], rows: int, gap: int = 3) -> Tensor:
    """The last picture of some captions (rows) in every take (columns), uint8 [H, W, 3] on the CPU, half size."""
    columns = []
    for take in takes:
        last = take.pixels[:rows, -1].float()
        small = (torch.nn.functional.avg_pool2d(last, 2) * 255).round()
        columns.append(torch.nn.functional.pad(small, (0, gap, 0, gap), value=128.0))
    grid = torch.stack(columns, dim=1)  # [rows, takes, 3, h, w]
    return grid.permute(0, 3, 1, 4, 2).flatten(2, 3).flatten(0, 1).to(torch.uint8).cpu()
