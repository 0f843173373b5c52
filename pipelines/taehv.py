"""TAEHV: a tiny streaming video autoencoder (architecture of madebyollin/taehv, MIT), and its narrower kin.

Layout is N T C H W, pixels 0..1, latents as the transformer sees them. One latent frame is four pixel frames and an
eighth of the size. Every stage works on whole chunks in parallel; the only memory between chunks is the last input
of each memory block. The true `taew2_1` is `TAEHVConfig()`; the house model uses other widths and ends in a pixel
shuffle, which keeps the costly full-size convolutions away.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

TIME_SCALE = 4
SPACE_SCALE = 8


@dataclass(frozen=True)
class TAEHVConfig:
    """Widths of the three decoder stages and of the final one, and of the encoder.

    `shuffle`: pixels are packed into shuffle x shuffle blocks of channels at the outer ends. `trim`: pixel frames to
    drop at a stream's start (taew2_1's first latent stands for one pixel frame, not four).
    """

    widths: tuple[int, int, int, int] = (256, 128, 64, 64)
    encoder_width: int = 64
    latent_dim: int = 16
    shuffle: int = 1
    trim: int = 3

    def __post_init__(self) -> None:
        if self.shuffle not in (1, 2):
            raise ValueError(f"TAEHV shuffle {self.shuffle} is not 1 or 2")


class Clamp(nn.Module):
    """Soft limit of latents to -3..3."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(x / 3) * 3


class Mem(nn.Module):
    """A residual block over a frame and the frame before it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(2 * width, width, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 3, padding=1),
        )

    def forward(self, x: Tensor, past: Tensor) -> Tensor:
        """x and past [frames, width, H, W]; past is x one frame earlier."""
        # The first convolution over both frames is the sum of one over each: no need to join them.
        first, *rest = self.conv
        now, then = first.weight.split(x.shape[1], dim=1)
        y = F.conv2d(x, now, first.bias, padding=1).add_(F.conv2d(past, then, padding=1))
        for layer in rest:
            y = layer(y)
        return F.relu_(y.add_(x))


class Grow(nn.Module):
    """One frame into `factor` frames."""

    def __init__(self, width: int, factor: int) -> None:
        super().__init__()
        self.factor = factor
        self.conv = nn.Conv2d(width, factor * width, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        # A 1x1 convolution is a linear map of the channels, which lie innermost here; and the frames come out apart.
        channels = F.linear(x.permute(0, 2, 3, 1), self.conv.weight[:, :, 0, 0])  # [NT, H, W, factor * C]
        frames = channels.unflatten(-1, (self.factor, -1)).permute(0, 3, 4, 1, 2)
        return frames.flatten(0, 1).contiguous(memory_format=torch.channels_last)


class Pool(nn.Module):
    """`factor` frames into one."""

    def __init__(self, width: int, factor: int) -> None:
        super().__init__()
        self.factor = factor
        self.conv = nn.Conv2d(factor * width, width, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x.unflatten(0, (-1, self.factor)).flatten(1, 2))


class Streaming(nn.Sequential):
    """A stack of the layers above, run over [N, T, C, H, W] with the memory of the chunk before.

    Everything between the layers keeps channels innermost in memory, which is what convolutions on a CPU want.
    """

    def fresh(self) -> list[Tensor | None]:
        """The memory at the start of a stream: one entry per memory block."""
        return [None] * sum(isinstance(layer, Mem) for layer in self)

    def run(self, x: Tensor, memory: list[Tensor | None]) -> Tensor:
        """One chunk onward; `memory` is updated in place, so a failed chunk can be retried from a copy."""
        batch = x.shape[0]
        x = x.flatten(0, 1).contiguous(memory_format=torch.channels_last)
        block = 0
        for layer in _grown_first(self):
            if isinstance(layer, Mem):
                past, memory[block] = _shift(x, memory[block], batch)
                x = layer(x, past)
                block += 1
            else:
                x = layer(x)
        return x.unflatten(0, (batch, -1))


def _grown_first(layers: nn.Sequential) -> Iterator[nn.Module]:
    """The layers in order, but a Grow before the nearest-neighbour Upsample in front of it: a map of single pixels
    commutes with their repetition, and costs a quarter before it."""
    waiting: list[nn.Module] = []
    for layer in layers:
        if isinstance(layer, nn.Upsample):
            waiting.append(layer)
        elif isinstance(layer, Grow):
            yield from (layer, *waiting)
            waiting.clear()
        else:
            yield from (*waiting, layer)
            waiting.clear()
    yield from waiting


def _shift(x: Tensor, before: Tensor | None, batch: int) -> tuple[Tensor, Tensor]:
    """Frames x [N*T, C, H, W] one frame later in time, `before` [N, C, H, W] first (zeros at a start), and the last
    frames, to be `before` of the next chunk."""
    frames = x.unflatten(0, (batch, -1))
    last = frames[:, -1].clone(memory_format=torch.channels_last)
    before = torch.zeros_like(last) if before is None else before
    if batch == 1:
        return torch.cat([before, x[:-1]]), last
    past = torch.cat([before[:, None], frames[:, :-1]], dim=1).flatten(0, 1)
    return past.contiguous(memory_format=torch.channels_last), last


def _conv(inside: int, outside: int, bias: bool = True, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inside, outside, 3, padding=1, bias=bias, stride=stride)


def _decoder(config: TAEHVConfig) -> Streaming:
    a, b, c, d = config.widths
    last_up = nn.Upsample(scale_factor=2) if config.shuffle == 1 else nn.Identity()
    return Streaming(
        Clamp(),
        _conv(config.latent_dim, a),
        nn.ReLU(),
        *(Mem(a) for _ in range(3)),
        nn.Upsample(scale_factor=2),
        Grow(a, 1),
        _conv(a, b, bias=False),
        *(Mem(b) for _ in range(3)),
        nn.Upsample(scale_factor=2),
        Grow(b, 2),
        _conv(b, c, bias=False),
        *(Mem(c) for _ in range(3)),
        last_up,
        Grow(c, 2),
        _conv(c, d, bias=False),
        nn.ReLU(),
        _conv(d, 3 * config.shuffle**2),
    )


def _encoder(config: TAEHVConfig) -> Streaming:
    width = config.encoder_width
    layers: list[nn.Module] = [_conv(3 * config.shuffle**2, width), nn.ReLU()]
    # Each stage halves the size; with the pixels packed two by two, the first has nothing left to halve.
    for factor, stride in ((2, 2 // config.shuffle), (2, 2), (1, 2)):
        layers += [Pool(width, factor), _conv(width, width, bias=False, stride=stride), *(Mem(width) for _ in range(3))]
    return Streaming(*layers, _conv(width, config.latent_dim))


class TAEHV(nn.Module):
    """Encoder and decoder. Both stream: pass the list from `fresh` along with consecutive chunks."""

    def __init__(self, config: TAEHVConfig | None = None) -> None:
        super().__init__()
        self.config = config or TAEHVConfig()
        self.encoder = _encoder(self.config)
        self.decoder = _decoder(self.config)
        self.trimmed, self.at_once = self.config.trim, 0
        self.to(memory_format=torch.channels_last)

    def fresh(self) -> list[Tensor | None]:
        """The decoder's memory at the start of a stream."""
        return self.decoder.fresh()

    def fresh_encoder(self) -> list[Tensor | None]:
        """The encoder's memory at the start of a stream."""
        return self.encoder.fresh()

    def decode(self, latents: Tensor, memory: list[Tensor | None] | None = None) -> Tensor:
        """Latents [N, T, C, h, w] -> pixels [N, 4T, 3, 8h, 8w] in 0..1; a new stream lacks `trimmed`."""
        starting = memory is None or all(entry is None for entry in memory)
        x = self.raw_decode(latents, self.decoder.fresh() if memory is None else memory)
        return x[:, self.trimmed if starting else 0 :].clamp(0, 1)

    def raw_decode(self, latents: Tensor, memory: list[Tensor | None]) -> Tensor:
        """The decoder without trimming and clamping."""
        if latents.ndim != 5 or latents.shape[2] != self.config.latent_dim:
            raise ValueError(f"TAEHV decodes N T {self.config.latent_dim} H W latents, got {tuple(latents.shape)}")
        x = self.decoder.run(latents, memory)
        return x if self.config.shuffle == 1 else F.pixel_shuffle(x, self.config.shuffle)

    def encode(self, pixels: Tensor, memory: list[Tensor | None] | None = None) -> Tensor:
        """Pixels [N, T, 3, H, W] in 0..1 -> latents [N, ceil(T/4), C, H/8, W/8]; the last frame repeats to fill up."""
        if pixels.ndim != 5 or pixels.shape[2] != 3:
            raise ValueError(f"TAEHV encodes N T 3 H W pixels, got {tuple(pixels.shape)}")
        short = -pixels.shape[1] % TIME_SCALE
        if short:
            pixels = torch.cat([pixels, pixels[:, -1:].expand(-1, short, -1, -1, -1)], dim=1)
        if self.config.shuffle > 1:
            pixels = F.pixel_unshuffle(pixels, self.config.shuffle)
        return self.encoder.run(pixels, self.encoder.fresh() if memory is None else memory)
