"""Where is the subject? A small network that has seen only real pictures of the world and the renderer's true masks.

    python -m pipelines.house.study.masks --minutes 15      # school one; on one processor core

It looks at one picture of half the size, whatever its colours: lessons are recoloured and blurred, so that a subject
whose colour a bend has taken away is still found. Its file says how well it does on pictures of held-back scenes.
"""

from __future__ import annotations

import argparse
from itertools import pairwise
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipelines.house import world
from pipelines.house.data import starts
from pipelines.house.model import WEIGHTS
from pipelines.house.model import load as load_house
from pipelines.house.school import Schooling, save
from pipelines.house.school import load as read
from pipelines.house.school import school as teach

HEIGHT, WIDTH = 72, 128
TRUE = 0.3  # coverage from which a point belongs to the subject
MASKER = WEIGHTS.with_name("masker.safetensors")


class Masker(nn.Module):
    """Pictures [N, 3, HEIGHT, WIDTH] in 0..1 -> logits [N, HEIGHT, WIDTH] of belonging to the subject."""

    def __init__(self) -> None:
        super().__init__()
        widths = (16, 32, 64, 96)
        self.stem = _layer(3, widths[0])
        self.down = nn.ModuleList(_layer(a, b, stride=2) for a, b in pairwise(widths))
        self.middle = nn.Sequential(_layer(widths[-1], widths[-1]), _layer(widths[-1], widths[-1], dilation=2))
        self.narrow = nn.ModuleList(nn.Conv2d(b, a, 1) for a, b in pairwise(widths))
        self.up = nn.ModuleList(_layer(a, a) for a in widths[:-1])
        self.head = nn.Conv2d(widths[0], 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        seen = [self.stem(x - 0.3)]
        for down in self.down:
            seen.append(down(seen[-1]))
        y = self.middle(seen.pop())
        for narrow, up in zip(reversed(self.narrow), reversed(self.up), strict=True):
            skip = seen.pop()
            y = up(F.interpolate(narrow(y), size=skip.shape[-2:], mode="bilinear", align_corners=False) + skip)
        return self.head(y)[:, 0]


def _layer(inside: int, outside: int, stride: int = 1, dilation: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(inside, outside, 3, stride, padding=dilation, dilation=dilation, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outside), nn.ReLU())


@torch.no_grad()
def find(masker: Masker, pixels: Tensor, batch: int = 256) -> Tensor:
    """The subject's masks, bool [N, T, HEIGHT, WIDTH], in clips [N, T, 3, H, W] in 0..1 on any device."""
    device = next(masker.parameters()).device
    flat = pixels.flatten(0, 1)
    parts = [masker(shrunk(part.to(device).float())) > 0 for part in flat.split(batch)]
    return torch.cat(parts).unflatten(0, pixels.shape[:2])


def shrunk(pictures: Tensor) -> Tensor:
    """Pictures [N, 3, H, W] at the masker's size, by averaging."""
    return F.interpolate(pictures, size=(HEIGHT, WIDTH), mode="area")


def overlap(a: Tensor, b: Tensor) -> Tensor:
    """The IoU [N] of masks [N, ..., H, W], each taken as one set of points; 1 where both are empty."""
    a, b = a.flatten(1), b.flatten(1)
    both, any_ = (a & b).sum(1).float(), (a | b).sum(1).float()
    return torch.where(any_ > 0, both / any_.clamp(min=1), torch.ones_like(any_))


def lesson(count: int, seed: int, split: str = "train") -> tuple[Tensor, Tensor]:
    """Real pictures [N, 3, HEIGHT, WIDTH] as bytes, one a scene with one subject, and their true masks, bool."""
    scenes, start = world.sample(count, seed, split, pairs=0.0), starts(count, seed)
    size = (start, 1, HEIGHT, WIDTH)
    pictures = (world.render(scenes, *size)[:, 0] * 255).round_().to(torch.uint8)
    return pictures, world.render_masks(scenes, *size)[:, 0, 0] > TRUE


def recoloured(pictures: Tensor) -> Tensor:
    """Pictures [N, 3, H, W] in other colours: channels in another order for half, paler for a third, softer for half;
    a little noise for all."""
    count, device = len(pictures), pictures.device
    order = torch.rand(count, 3, device=device).argsort(1)
    order = torch.where(torch.rand(count, 1, device=device) < 0.5, order, torch.arange(3, device=device))
    pictures = pictures.gather(1, order[:, :, None, None].expand_as(pictures))
    pale = torch.rand(count, 1, 1, 1, device=device) * (torch.rand(count, 1, 1, 1, device=device) < 0.35)
    pictures = torch.lerp(pictures, pictures.mean(1, keepdim=True).expand_as(pictures), pale)
    soft = F.avg_pool2d(F.pad(pictures, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    pictures = torch.where(torch.rand(count, 1, 1, 1, device=device) < 0.5, soft, pictures)
    return (pictures + 0.015 * torch.randn_like(pictures)).clamp(0, 1)


def school(seconds: float, images: int, seed: int = 5) -> Masker:
    """A masker trained for so long on training scenes, so many pictures at most."""
    torch.manual_seed(seed)
    masker = Masker().to(memory_format=torch.channels_last)
    plan = Schooling(seconds, images, block=128, batch=32, log_every=50)

    def draw(number: int) -> tuple[Tensor, Tensor]:
        return lesson(plan.block, seed * 100_000 + number)

    def losses(pictures: Tensor, masks: Tensor) -> dict[str, Tensor]:
        return _losses(masker(recoloured(pictures.float() / 255)), masks.float())

    teach(masker, plan, draw, losses)
    return masker


def _losses(logits: Tensor, true: Tensor) -> dict[str, Tensor]:
    """Cross entropy, and half of one minus the soft Dice overlap of every picture."""
    told = logits.sigmoid()
    both = 2 * (told * true).sum((1, 2)) + 1
    dice = 1 - both / (told.sum((1, 2)) + true.sum((1, 2)) + 1)
    return {"points": F.binary_cross_entropy_with_logits(logits, true), "overlap": 0.5 * dice.mean()}


@torch.no_grad()
def examine(masker: Masker, count: int, seed: int = 77) -> dict[str, float]:
    """How well subjects of held-back scenes are found: as drawn, recoloured, and as the house model's autoencoder gives
    them back, which is how far a picture can be trusted that the model has made."""
    pictures, masks = lesson(count, seed, "heldback")
    torch.manual_seed(seed)
    plain = pictures.float() / 255
    found = {"as drawn": marks(masker, plain, masks), "recoloured": marks(masker, recoloured(plain), masks)}
    scenes, start, vae = world.sample(count, seed, "heldback", pairs=0.0), starts(count, seed), load_house().vae
    size = (4, 2 * HEIGHT, 2 * WIDTH)  # one latent frame
    decoded, truth = [], []
    for i in range(0, count, 8):
        clips = world.render(scenes[i : i + 8], start[i : i + 8], *size)
        decoded.append(shrunk(vae.decode(vae.encode(clips))[:, -1].clamp(0, 1)))
        truth.append(world.render_masks(scenes[i : i + 8], start[i : i + 8] + 3, 1, HEIGHT, WIDTH)[:, 0, 0] > TRUE)
    found["decoded"] = marks(masker, torch.cat(decoded), torch.cat(truth))
    return {f"{mark} {how}": round(value, 4) for how, both in found.items() for mark, value in both.items()}


def marks(masker: Masker, pictures: Tensor, masks: Tensor) -> dict[str, float]:
    """How well masks [N, H, W] are found in real pictures [N, 3, H, W] in 0..1: the IoU's mean, and its tenth
    percentile."""
    found = find(masker, pictures[:, None])[:, 0].cpu()
    scores = overlap(found, masks.cpu())
    return {"iou": float(scores.mean()), "iou_p10": float(scores.quantile(0.1))}


def load(path: Path = MASKER, device: torch.device | str = "cpu") -> tuple[Masker, dict[str, float]]:
    """A masker and what is known of it. FileNotFoundError when there is none, LoadError when it is another's."""
    masker = Masker()
    facts = read(masker, path, "python -m pipelines.house.study.masks")
    return masker.to(device), facts


def main(words: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m pipelines.house.study.masks", description=__doc__.split("\n")[0])
    parser.add_argument("--minutes", type=float, default=15.0)
    parser.add_argument("--images", type=int, default=12_000, help="real pictures it learns from, at most")
    parser.add_argument(
        "--examine", action="store_true", help="only examine the one there is, and write what it is worth"
    )
    parser.add_argument("--n", type=int, default=256, help="held-back scenes it is examined on")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=MASKER)
    args = parser.parse_args(words)
    torch.set_num_threads(args.threads)
    masker = load(args.out)[0] if args.examine else school(60 * args.minutes, args.images)
    facts = examine(masker, args.n)
    save(masker, args.out, facts)
    print(f"{args.out}: on {args.n} real held-back pictures: {facts}")


if __name__ == "__main__":
    main()
