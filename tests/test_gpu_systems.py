"""The real-time systems on a CUDA device in single precision, blocks compiled and passes recorded, against the
reference runs and against the CPU: pytest -m gpu."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from pipelines import attention, tune
from pipelines.bends.bank import Bend
from pipelines.bends.lever import discover
from pipelines.codec import Codec
from pipelines.quicken import make_stream, quickened
from pipelines.recipes import CAUSVID, KREA, LONGLIVE, SELF_FORCING, Recipe
from pipelines.stream import Stream
from pipelines.systems import System
from pipelines.wan import Wan
from tests import golden
from tests.recorded import ANEW, LOOPS, Recorded, ReferenceCodec, anew, loop, model_of, small
from tests.tiny import Encoder, prompt, taehv, wan

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]

TOLERANCE = 1e-3  # in single precision; the CPU is held to a tenth of it
LEVERS = discover()
BENDS = tuple(Bend(f"b{i}", lever) for i, lever in enumerate(LEVERS.values()))
TURNED = {"cross.map.gain": 3.0, "self.map.focus": 0.7, "ffn.hidden.gain": 1.4, "self.out.noise": 0.3}
FEW = tuple(Bend(lever, LEVERS[lever]) for lever in TURNED)
VARIANTS = {
    "rolling with a sink": small(SELF_FORCING, window=9, sink=3),
    "a first chunk of one frame": small(SELF_FORCING, window=7, first_chunk=1),
    "written again for a new prompt": small(LONGLIVE, window=9, recache="all"),
    "written again behind the sink": small(LONGLIVE, window=9, recache="behind sink"),
    "positions counted in the window": small(LONGLIVE, window=9, positions="window"),
    "begun again when it is full": small(CAUSVID, window=6),
    "made anew for every chunk": small(KREA),
    "made anew, its first frame kept": small(KREA, context=6, window=9, keep_first=True, prompt_chunks=3),
}


@pytest.fixture(autouse=True)
def exact(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Single precision all through; and what is chosen for it holds here alone."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    monkeypatch.setattr(attention, "_ways", {})
    monkeypatch.setattr(tune, "_chosen", {})
    cudnn, flash = torch.backends.cuda.cudnn_sdp_enabled(), torch.backends.cuda.flash_sdp_enabled()
    torch._dynamo.reset()
    yield
    torch.backends.cuda.enable_cudnn_sdp(cudnn)
    torch.backends.cuda.enable_flash_sdp(flash)


def fast(row: Recipe, model: Wan, codec: Codec) -> System:
    """As `bender play` makes it, but for the precision."""
    made = quickened(System(row, model.to("cuda"), codec, Encoder()))
    assert made.recorded
    return made


def ready(playing: Stream, bends: tuple[Bend, ...], embeddings: Tensor) -> None:
    playing.play(playing.make_bank(bends))
    playing.read_prompt(replace(prompt(), embeddings=embeddings))
    playing.rehearse(playing.bank)


@pytest.mark.parametrize("bends", [(), BENDS], ids=["unbent", "neutral"])
@pytest.mark.parametrize("case", LOOPS)
def test_the_whole_loop_equals_the_reference(case: str, bends: tuple[Bend, ...]) -> None:
    weights, row = LOOPS[case]
    tensors = golden.tensors(case)
    made = fast(row, model_of(weights), taehv().to("cuda"))
    playing = Recorded(made.model, row, tensors, codec=made.decoder, record=None)
    ready(playing, bends, tensors["prompt_embeds.p0"])
    latents, cache = loop(playing, case, tensors)
    print(f"{case}: latents within {latents:.1e}, cache within {cache:.1e}")
    assert latents < TOLERANCE and cache < TOLERANCE


def test_a_cache_made_anew_for_every_chunk_equals_the_reference() -> None:
    tensors = golden.tensors(ANEW)
    made = fast(small(KREA), model_of("krea/weights_tiny"), ReferenceCodec(tensors, "cuda"))
    playing = Recorded(made.model, made.recipe, tensors, codec=made.decoder, record=None)
    ready(playing, BENDS, tensors["prompt_embeds.p0"])
    latents, cache, encoded = anew(playing, made.decoder, tensors)
    print(f"{ANEW}: latents within {latents:.1e}, cache within {cache:.1e}, re-encoded within {encoded:.1e}")
    assert latents < TOLERANCE and cache < TOLERANCE and encoded < TOLERANCE


@pytest.mark.parametrize("name", VARIANTS)
def test_a_show_is_the_one_that_a_cpu_plays(name: str) -> None:
    """Knobs, and once the window is full a past that counts less, a new prompt, a past that is not there or is held, a
    reset."""
    row = VARIANTS[name]
    here = make_stream(System(row, wan(5), taehv(), Encoder()))
    there = make_stream(fast(row, wan(5), taehv().to("cuda")))
    ready(there, FEW, prompt().embeddings)
    here.play(here.make_bank(FEW))
    shows = [_show(playing) for playing in (here, there)]
    for chunk, (mine, card) in enumerate(zip(*shows, strict=True)):
        torch.testing.assert_close(card, mine, atol=TOLERANCE, rtol=0, msg=lambda text, at=chunk: f"chunk {at}: {text}")


def _show(playing: Stream) -> list[Tensor]:
    generator = torch.Generator().manual_seed(11)
    size = playing.latent_size
    playing._sampler.noise = lambda frames: torch.randn(1, 16, frames, *size, generator=generator).to(playing.device)
    playing.reset(3)
    playing.past_weight = playing.recipe.past_weight
    playing.read_prompt(prompt())
    made = []
    for count in range(12):
        if count == 1:
            playing.bank.write({f"{bend.name}.{bend.lever.main}": TURNED[bend.name] for bend in FEW})
        if count == 3:
            playing.past_weight = 0.4
        if count == 4:
            playing.read_prompt(replace(prompt(), embeddings=prompt(seed=2).embeddings))
        if count == 9:
            playing.reset()
        playing.alone = count == 6
        playing.past_mode = "hold" if count == 7 else "keep"
        for _ in playing.denoise():
            pass
        made.append(playing.commit().latents.cpu().clone())
    return made
