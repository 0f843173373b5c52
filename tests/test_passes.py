"""Single passes: texts kept by content, and bends in passes of other lengths than a chunk's."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import pytest
import torch

from pipelines.bends.bank import Bend
from pipelines.bends.lever import discover
from pipelines.passes import TEXTS
from pipelines.recipes import LONGLIVE, SELF_FORCING
from tests.recorded import small
from tests.tiny import prompt, stream

RECACHED = small(LONGLIVE, window=6, sink=1, chunk=2, first_chunk=1, steps=(1000, 500))


def _latents(playing, chunks: int) -> torch.Tensor:
    made = []
    for _ in range(chunks):
        for _ in playing.denoise():
            pass
        made.append(playing.commit().latents)
    return torch.cat(made, dim=2)


def _switched(bends=(), values=None) -> torch.Tensor:
    """Latents of a stream whose passes are one, two and six latent frames long."""
    playing = stream(bends, RECACHED)
    playing.bank.write(values or {})
    before = _latents(playing, 4)
    playing.read_prompt(prompt("another flower", seed=7))
    return torch.cat([before, _latents(playing, 2)], dim=2)


@lru_cache
def _unbent() -> torch.Tensor:
    return _switched()


def test_the_same_words_are_read_once() -> None:
    playing = stream(recipe=small(SELF_FORCING))
    first = playing._speech.text
    for seed in range(2, 2 + TEXTS - 1):
        playing.read_prompt(prompt(seed=seed))
        assert playing._speech.text is not first
    playing.read_prompt(replace(prompt(), embeddings=prompt().embeddings.clone()))
    assert playing._speech.text is first
    for seed in range(2, 2 + TEXTS):
        playing.read_prompt(prompt(seed=seed))
    playing.read_prompt(prompt())
    assert playing._speech.text is not first  # only the newest are kept
    torch.testing.assert_close(playing._speech.text.k[0], first.k[0])


def test_neutral_bends_change_nothing_in_passes_of_any_length() -> None:
    bends = [Bend(f"b{i}", lever) for i, lever in enumerate(discover().values())]
    assert torch.equal(_switched(bends), _unbent())


@pytest.mark.parametrize("id", sorted(discover()))
def test_every_lever_bends_passes_of_any_length(id: str) -> None:
    lever = discover()[id]
    amounts = {f"x.{name}": spec.hi for name, spec in lever.amounts.items() if hasattr(spec, "hi") and name != "seed"}
    assert torch.isfinite(bent := _switched([Bend("x", lever)], amounts)).all()
    assert not torch.equal(bent, _unbent())


def test_a_twin_hears_what_was_written_before_and_after_it_was_made() -> None:
    playing = stream((Bend("x", discover()["self.out.gain"]),), RECACHED)
    playing.bank.write({"x.gain": 3.0})
    twin = playing.bank.of(6)
    assert twin is playing.bank.of(6) and twin is not playing.bank and playing.bank.of(2) is playing.bank
    for gain in (3.0, 0.5):
        playing.bank.write({"x.gain": gain})
        twin.fold(0)
        assert twin.layers[0].points["self.out"][0].folded["gain"].flatten()[0] == gain
