"""Wan2.1's own autoencoder as a stream: diffusers' AutoencoderKLWan, driven by its parts.

One latent frame goes through the decoder at a time, each convolution remembering its last two inputs, so that a stream
is to the last bit what decoding all at once gives. Layouts are those of `taehv`: N T C H W, pixels 0..1, latents as
the transformer sees them; the mean and deviation that lie between them and the autoencoder's are kept in float32.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from pipelines.checkpoint import LoadError, open_checkpoint
from pipelines.load import NOT_IT, make
from pipelines.taehv import TIME_SCALE

T = TypeVar("T")
_RESIDUAL = {"residual.0": "norm1", "residual.2": "conv1", "residual.3": "norm2", "residual.6": "conv2"}
_ENDS = {"head.0": "norm_out", "head.2": "conv_out", "conv1": "conv_in"}
_RESNETS = 3  # of each of the decoder's levels, before its upsampler


class WanVAE(nn.Module):
    """Encoder and decoder; the lists from `fresh` and `fresh_encoder` carry a stream from call to call."""

    def __init__(self, vae: nn.Module) -> None:
        """`vae` is an AutoencoderKLWan."""
        super().__init__()
        self.vae, self.trimmed = vae, TIME_SCALE - 1
        self.at_once = 1  # which takes a compiler half a minute as it is
        size = (1, -1, 1, 1, 1)
        device = next(vae.parameters()).device
        if device.type == "cuda":
            _lay_channels_last(vae)
        self.mean = torch.tensor(vae.config.latents_mean, device=device, dtype=torch.float32).view(size)
        self.std = torch.tensor(vae.config.latents_std, device=device, dtype=torch.float32).view(size)

    def fresh(self) -> list[Tensor | None]:
        """The decoder's memory at the start of a stream."""
        return [None] * self.vae._cached_conv_counts["decoder"]

    def fresh_encoder(self) -> list[Tensor | None]:
        """The encoder's memory at the start of a stream."""
        return [None] * self.vae._cached_conv_counts["encoder"]

    def decode(self, latents: Tensor, memory: list[Tensor | None] | None = None) -> Tensor:
        """Latents [N, T, C, h, w] -> pixels [N, 4T, 3, 8h, 8w] in 0..1; a new stream's first latent frame gives one
        picture instead of four. Without a memory it is a stream of its own."""
        memory = self.fresh() if memory is None else memory
        x = latents.transpose(1, 2).float() * self.std + self.mean
        x = self.vae.post_quant_conv(x.to(latents.dtype))
        made = []
        for frame in x.split(1, dim=2):
            begins = all(entry is None for entry in memory)
            made.append(self.vae.decoder(frame, feat_cache=memory, feat_idx=[0], first_chunk=begins))
        pixels = torch.cat(made, dim=2).clamp_(-1, 1)
        return (pixels.transpose(1, 2) + 1) / 2

    def encode(self, pixels: Tensor, memory: list[Tensor | None] | None = None) -> Tensor:
        """Pixels [N, T, 3, H, W] in 0..1 -> latents [N, F, C, H/8, W/8]: of the first picture of a stream one, then
        one of every four; the last picture repeats to fill up."""
        memory = self.fresh_encoder() if memory is None else memory
        x = pixels.transpose(1, 2) * 2 - 1
        made = []
        while x.shape[2]:
            count = 1 if all(entry is None for entry in memory) else TIME_SCALE
            group, x = x[:, :, :count], x[:, :, count:]
            if group.shape[2] < count:
                group = torch.cat([group, group[:, :, -1:].expand(-1, -1, count - group.shape[2], -1, -1)], dim=2)
            made.append(self.vae.encoder(group, feat_cache=memory, feat_idx=[0]))
        middle = self.vae.quant_conv(torch.cat(made, dim=2)).chunk(2, dim=1)[0]
        return ((middle.float() - self.mean) / self.std).to(pixels.dtype).transpose(1, 2)


def _lay_channels_last(vae: nn.Module) -> None:
    """Weights as the convolutions of graphics cards read them."""
    layouts = {nn.Conv2d: torch.channels_last, nn.Conv3d: torch.channels_last_3d}
    for module in vae.modules():
        layout = next((layout for kind, layout in layouts.items() if isinstance(module, kind)), None)
        if layout is not None:
            module.weight.data = module.weight.data.contiguous(memory_format=layout)


def load_vae(path: Path, like: Tensor) -> WanVAE:
    """From `Wan2.1_VAE.pth` or a diffusers folder, to the device and dtype of `like`. Raises LoadError."""
    AutoencoderKLWan = _autoencoder(str(path))
    stored = vae_names(open_checkpoint(path))
    first = stored.get("encoder.conv_in.weight")
    if first is None:
        raise LoadError(f"{path} holds no Wan autoencoder: it lacks encoder.conv_in.weight; {NOT_IT}")
    return WanVAE(make(lambda: AutoencoderKLWan(base_dim=first.shape[0]), stored, str(path), like))


def random_vae() -> WanVAE:
    """One of the real sizes with random weights, on the default device and dtype: for measuring speed. LoadError."""
    return WanVAE(_autoencoder("Wan's own decoder")())


def _autoencoder(wanted_by: str) -> type[nn.Module]:
    try:
        from diffusers import AutoencoderKLWan
    except ImportError as error:
        raise LoadError(f"{wanted_by} needs the package diffusers; install attentionbender[gpu]") from error
    return AutoencoderKLWan


def vae_names(named: Mapping[str, T]) -> dict[str, T]:
    """Anything kept under the autoencoder's names, the original ones or diffusers', under diffusers'."""
    return {_from_original(name): value for name, value in named.items()}


def _from_original(name: str) -> str:
    whole = re.fullmatch(r"conv([12])\.(\w+)", name)
    if whole:
        return f"{'quant_conv' if whole[1] == '1' else 'post_quant_conv'}.{whole[2]}"
    half, _, rest = name.partition(".")
    for old, new in _ENDS.items():
        if rest.startswith(f"{old}."):
            return f"{half}.{new}.{rest.removeprefix(old + '.')}"
    part = re.fullmatch(r"(middle|downsamples|upsamples)\.(\d+)\.(.+)", rest)
    if part is None:
        return name
    kind, index, inner = part[1], int(part[2]), part[3]
    for old, new in {**_RESIDUAL, "shortcut": "conv_shortcut"}.items():
        if inner.startswith(f"{old}."):
            inner = f"{new}.{inner.removeprefix(old + '.')}"
    return f"{half}.{_block(kind, index)}.{inner}"


def _block(kind: str, index: int) -> str:
    if kind == "middle":
        return "mid_block.attentions.0" if index == 1 else f"mid_block.resnets.{index // 2}"
    if kind == "downsamples":
        return f"down_blocks.{index}"
    level, at = divmod(index, _RESNETS + 1)
    return f"up_blocks.{level}.upsamplers.0" if at == _RESNETS else f"up_blocks.{level}.resnets.{at}"
