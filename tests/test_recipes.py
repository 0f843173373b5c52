"""Every row plays as the reference implementation does: recorded noise in, latents and caches out."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pipelines.recipes import HOUSE, KREA, RECIPES, UnknownModel, recipe
from tests import golden
from tests.recorded import ANEW, LOOPS, Recorded, ReferenceCodec, anew, loop, model_of, small

TOLERANCE = 1e-4


@pytest.mark.parametrize("case", LOOPS)
def test_the_whole_loop_equals_the_reference(case: str) -> None:
    weights, row = LOOPS[case]
    tensors = golden.tensors(case)
    playing = Recorded(model_of(weights), row, tensors)
    playing.say(tensors["prompt_embeds.p0"])
    latents, cache = loop(playing, case, tensors)
    print(f"{case}: latents within {latents:.1e}, cache within {cache:.1e}")
    assert latents < TOLERANCE and cache < TOLERANCE


def test_a_cache_made_anew_for_every_chunk_equals_the_reference() -> None:
    tensors = golden.tensors(ANEW)
    codec = ReferenceCodec(tensors)
    playing = Recorded(model_of("krea/weights_tiny"), small(KREA), tensors, codec=codec)
    playing.say(tensors["prompt_embeds.p0"])
    latents, cache, encoded = anew(playing, codec, tensors)
    print(f"{ANEW}: latents within {latents:.1e}, cache within {cache:.1e}, re-encoded within {encoded:.1e}")
    assert latents < TOLERANCE and cache < TOLERANCE
    assert encoded < TOLERANCE, "the wrong picture was encoded"


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
