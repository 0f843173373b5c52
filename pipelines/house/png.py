"""Contact sheets: a picture in plain PNG, written with nothing but zlib, so that training needs no imaging library."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import torch
from torch import Tensor

UP = 2  # the filter that keeps each byte's difference to the one above it: half the size of none for smooth pictures


def write_png(path: Path, picture: Tensor) -> None:
    """picture: uint8 [H, W, 3] on any device. ValueError for anything else."""
    if picture.dtype != torch.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
        raise ValueError(f"a PNG is written from uint8 [H, W, 3], got {picture.dtype} {tuple(picture.shape)}")
    height, width, _ = picture.shape
    rows = picture.cpu().flatten(1)
    above = torch.cat([torch.zeros_like(rows[:1]), rows[:-1]])
    filtered = torch.cat([torch.full((height, 1), UP, dtype=torch.uint8), rows - above], dim=1)  # bytes wrap around
    body = b"".join(
        (
            b"\x89PNG\r\n\x1a\n",
            _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)),
            _chunk(b"IDAT", zlib.compress(filtered.numpy().tobytes(), 9)),
            _chunk(b"IEND", b""),
        )
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(body)


def sheet(clips: Tensor, columns: int, gap: int = 4) -> Tensor:
    """Clips [N, T, 3, H, W] in 0..1 -> uint8 picture: one row per clip, `columns` frames spread over its time."""
    times = torch.linspace(0, clips.shape[1] - 1, min(columns, clips.shape[1])).round().long()
    frames = clips[:, times.to(clips.device)].float().clamp(0, 1)
    tiles = torch.nn.functional.pad(frames, (0, gap, 0, gap), value=0.5)  # [N, C, 3, H + gap, W + gap]
    joined = tiles.permute(0, 3, 1, 4, 2).flatten(2, 3).flatten(0, 1)
    return (joined * 255).round().to(torch.uint8)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
