"""Every row plays as the reference implementation does: recorded noise in, latents and caches out."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from pipelines.recipes import CAUSVID, HOUSE, KREA, LONGLIVE, RECIPES, SELF_FORCING, UnknownModel, recipe
from tests import golden
from tests.recorded import Recorded, cache_equals, loop, model_of, small, worst

TOLERANCE = 1e-4

LOOPS = {
    "self_forcing/global_b1": ("self_forcing/weights", small(SELF_FORCING)),
    "self_forcing/local6_b1": ("self_forcing/weights", small(SELF_FORCING, window=6)),
    "longlive/base_local12_sink3": ("longlive/weights", small(LONGLIVE)),
    "longlive/base_lora_merged": ("longlive/weights_lora_merged", small(LONGLIVE, window=9)),
    "causvid/steps3": ("causvid/weights", small(CAUSVID)),
}


@pytest.mark.parametrize("case", LOOPS)
def test_the_whole_loop_equals_the_reference(case: str) -> None:
    latents, cache = loop(case, *LOOPS[case])
    print(f"{case}: latents within {latents:.1e}, cache within {cache:.1e}")
    assert latents < TOLERANCE and cache < TOLERANCE


class _Codec:
    """What the reference run used for an autoencoder: pixels are tanh(D x) and a little more in each of the four that
    a latent frame gives (one, the first); E leads back."""

    def __init__(self, tensors: dict[str, Tensor]) -> None:
        self.down, self.up = tensors["codec.dec"], tensors["codec.enc"]
        self.asked: list[Tensor] = []

    def fresh(self) -> list[Tensor | None]:
        return [None]

    def decode(self, latents: Tensor, memory: list[Tensor | None] | None = None) -> Tensor:
        pixels = torch.einsum("ec,ntchw->ntehw", self.down, latents).tanh()
        pixels = torch.stack([pixels + 0.003 * part for part in range(4)], dim=2).flatten(1, 2)
        begins, memory[0] = memory[0] is None, latents
        return pixels[:, 3:] if begins else pixels

    def encode(self, pixels: Tensor, memory: list[Tensor | None] | None = None) -> Tensor:
        self.asked.append(torch.einsum("ce,ntehw->ntchw", self.up, pixels))
        return self.asked[-1]


def test_a_cache_made_anew_for_every_chunk_equals_the_reference() -> None:
    case = "krea/tiny_kv3_steps5"
    tensors, facts = golden.tensors(case), golden.facts(case)
    codec = _Codec(tensors)
    playing = Recorded(model_of("krea/weights_tiny"), small(KREA), tensors, codec=codec)
    playing.say(tensors["prompt_embeds.p0"])
    last = [f"call{call['i']:03d}" for call in facts["calls"] if call["t"][0] == 0.0 and not call["block_mask"]]
    made, cached = [], 0.0
    for name in last:
        for _ in playing.denoise():
            pass
        cached = max(cached, cache_equals(playing, tensors, name))
        made.append(playing.commit().latents.transpose(1, 2))
    latents = worst(torch.cat(made, 1), tensors["all_latents"])
    encoded = [worst(codec.asked[i], tensors[f"reencoded{i}"]) for i in range(3)]
    print(f"{case}: latents within {latents:.1e}, cache within {cached:.1e}, re-encoded within {max(encoded):.1e}")
    assert len(codec.asked) == 3 and max(encoded) < TOLERANCE  # the right picture was encoded
    assert latents < TOLERANCE and cached < TOLERANCE


def test_a_row_is_found_by_name_and_a_wrong_name_has_a_remedy() -> None:
    assert all(recipe(name).name == name for name in RECIPES)
    with pytest.raises(UnknownModel, match="did you mean 'longlive'"):
        recipe("longlife")


def test_lengths_that_contradict_each_other_are_refused() -> None:
    for wrong in ({"window": 0}, {"first_chunk": 2}, {"context": 3}, {"cache": "rebuild"}):
        with pytest.raises(ValueError, match="house"):
            replace(HOUSE, **wrong)
    with pytest.raises(ValueError, match="context 4 must be 0 to roll, else 1 to 3"):
        replace(KREA, context=4)
