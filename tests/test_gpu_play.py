"""Whole shows on a CUDA device, by name: pytest -m gpu."""

from __future__ import annotations

import gc
import random
from dataclasses import replace

import numpy as np
import pytest
import torch

from pipelines.bends import noise
from pipelines.bends.bank import Bend
from pipelines.bends.lever import discover
from pipelines.quicken import make_stream
from pipelines.systems import System
from tests.switching import Live, system
from tests.tiny import RECIPE, play, prompt

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]

ROUNDS = 4


def on_card(made: System) -> System:
    made.model.to("cuda", torch.bfloat16)
    made.decoder.to("cuda", torch.bfloat16).to(memory_format=torch.channels_last)
    return replace(made, recorded=True)


def held() -> int:
    """Bytes of the card that this process has taken."""
    gc.collect()
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    return torch.cuda.memory_reserved()


def test_models_and_their_recordings_come_and_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each plays through its whole window, so that every kind of pass is recorded; what it took is given back."""
    live = Live(monkeypatch, fitted=on_card)
    assert live.engine.stream.recorded
    taken = []
    for turn in range(ROUNDS):
        for model, size in (("other", (64, 48)), ("tiny", (96, 64))):
            live.told.clear()
            live.params.set("engine.model", model, "page")
            live.until_told(f"now playing {model} {size[0]}x{size[1]}")
            live.params.set("loud.gain", 1.0 + turn / 10)
            live.frames.clear()
            assert set(live.chunks(10)) == {size}
            assert live.engine.heard["loud.gain"] == pytest.approx(1.0 + turn / 10)
            assert np.stack([frame for frame, _ in live.frames]).std() > 0 and not live.engine.fault
        taken.append(held())
    assert taken[-1] - taken[1] < 2**26, f"{[size >> 20 for size in taken]} MiB after each round"


def test_pictures_that_the_past_needs_are_made_before_they_are_read() -> None:
    """A cache that is begun anew from pictures: they are decoded on the model's queue, and shown from there."""
    row = replace(RECIPE, cache="rebuild", recache="no", context=2 * RECIPE.chunk)
    made = replace(on_card(system(row)), recipe=row)
    seen = []
    for recorded in (True, False):
        stream = make_stream(replace(made, recorded=recorded), seed=5)
        stream.read_prompt(prompt())
        if recorded:
            stream.rehearse(stream.bank)
            stream.reset(5)
        torch.cuda._sleep(500_000_000)  # the card is far behind, as in a show
        seen.append(play(stream, 6).astype(int))
    off = np.abs(seen[0] - seen[1])
    assert off.max() <= 24 and off.mean() < 0.5, f"off by {off.max()} at most, {off.mean():.3f} on average"


def test_a_recorded_stream_plays_what_a_plain_one_plays() -> None:
    """Passes and pictures, over a start, a whole window, a start in between, and a chunk that is refused."""
    made = on_card(system(RECIPE))
    streams = [make_stream(each, seed=5) for each in (made, replace(made, recorded=False))]
    seen = []
    for stream in streams:
        stream.read_prompt(prompt())
        if stream.recorded:
            stream.rehearse(stream.bank)
            stream.reset(5)
        frames = [play(stream, 6)]
        for _ in stream.denoise():
            pass
        stream._latents = stream._latents * float("nan")
        assert stream.finish() is None and stream.fault == "not finite"
        frames.append(play(stream, 4))
        stream.reset(6)
        frames.append(play(stream, 3))
        seen.append(np.concatenate(frames).astype(int))
    off = np.abs(seen[0] - seen[1])
    assert off.max() <= 24 and off.mean() < 0.5, f"off by {off.max()} at most, {off.mean():.3f} on average"


def test_nothing_is_read_back_within_a_chunk() -> None:
    """Knobs turned while steps are queued, noises for the first time, the clean pass too: the device is asked once a
    chunk, by an event, whether it is fit to be kept."""
    noise._pool.cache_clear()
    bends = tuple(Bend(f"b{i}", lever) for i, lever in enumerate(discover().values()))
    mains = {f"{bend.name}.{bend.lever.main}": bend.lever.amounts[bend.lever.main] for bend in bends}
    stream, dice = make_stream(on_card(system(RECIPE)), seed=5), random.Random(4)
    stream.play(stream.make_bank(bends))
    stream.read_prompt(prompt())
    stream.rehearse(stream.bank)
    play(stream, 2 * RECIPE.window)  # every kind of pass is recorded
    heard: set[str] = set()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(6):
            for _ in stream.denoise():
                stream.bank.write({id: spec.map(0.3 + 0.2 * dice.random()) for id, spec in mains.items()})
                heard |= stream.bank.working()
            assert stream.commit() is not None
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert heard == {bend.name for bend in bends}
