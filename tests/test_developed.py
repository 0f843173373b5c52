"""Recorded decoding gives what decoding gives, whatever comes between two recorded chunks."""

from __future__ import annotations

import pytest
import torch

from pipelines.codec import Chunk, Pictures
from pipelines.developed import Developed, developed
from pipelines.taehv import TAEHV, TAEHVConfig

SHAPE = (1, 3, 16, 4, 6)  # N T C h w


@pytest.fixture
def codec() -> TAEHV:
    torch.manual_seed(0)
    return TAEHV(TAEHVConfig(widths=(16, 16, 8, 8))).eval().requires_grad_(False)


def latents(frames: int = 3) -> torch.Tensor:
    return torch.randn(SHAPE[0], frames, *SHAPE[2:])


def recorded(codec: TAEHV) -> Developed:
    """A recording that writes its results over each other, as a CUDA graph does."""
    memory, out = codec.fresh(), []
    codec.decode(latents(), memory)

    def record(forward, given):
        kept = given.clone()

        def run(x: torch.Tensor) -> torch.Tensor:
            kept.copy_(x)
            pixels = forward(kept)
            if not out:
                out.append(pixels.clone())
            return out[0].copy_(pixels)

        return run

    return Developed(codec.decode, latents(), memory, record)


def test_recorded_chunks_among_others_are_what_they_would_be(codec: TAEHV) -> None:
    """A stream begins, goes on, has a short chunk, and begins again."""
    made, plain, whole = recorded(codec), codec.fresh(), codec.fresh()
    for frames, begins in ((3, True), (3, False), (3, False), (1, False), (3, False), (3, True), (3, False)):
        if begins:
            plain, whole = codec.fresh(), codec.fresh()
        x = latents(frames)
        fits = made.fits(x, whole)
        assert fits == (frames == 3 and not begins)
        pixels = made(x, whole) if fits else codec.decode(x, whole)
        assert torch.equal(pixels, codec.decode(x, plain))
        assert all(torch.equal(a, b) for a, b in zip(plain, whole, strict=True))


def test_what_is_not_a_tensor_is_not_recorded() -> None:
    def decode(x: torch.Tensor, memory: list) -> torch.Tensor:
        memory[0] = "Rep"  # as diffusers' decoder keeps after one latent frame
        return x

    assert developed(decode, [None], latents(), 0) is None


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("at_once", [0, 1])
def test_a_streams_pictures_from_a_recording_are_those_of_its_decoder(codec: TAEHV, at_once: int) -> None:
    device = torch.device("cuda")
    codec = codec.to(device)
    codec.at_once = at_once
    one, two = Pictures(codec, device), Pictures(codec, device)
    given = [latents().to(device).transpose(1, 2) for _ in range(6)]
    with torch.inference_mode():
        one.record(given[0])
        for place, x in enumerate(given):
            chunk = Chunk(x, begins=place in (0, 4))
            kept = one.of(chunk)
            torch.testing.assert_close(kept, two.of(chunk), rtol=0, atol=1e-3)
            again = kept.clone()
            if place:
                one.of(Chunk(x, begins=False))
                two.of(Chunk(x, begins=False))
            assert torch.equal(kept, again)  # nobody else's
