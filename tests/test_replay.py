"""Recorded passes: the same numbers as passes played as they are, whatever is turned, said or forgotten in between.

A recording is stood in for by what it must be indistinguishable from: inputs at fixed addresses, and a result that the
next pass overwrites.
"""

from __future__ import annotations

import gc
from dataclasses import replace

import pytest
import torch

from pipelines.bends.bank import Bend
from pipelines.bends.lever import discover
from pipelines.bends.probes import MapLook
from pipelines.recipes import CAUSVID, KREA, LONGLIVE, SELF_FORCING
from pipelines.stream import Stream
from tests.recorded import small
from tests.tiny import RECIPE, prompt, taehv, wan

ROWS = {
    "house": RECIPE,
    "house, a batch": RECIPE,
    "self-forcing": small(SELF_FORCING, window=6, chunk=2, first_chunk=2, steps=(1000, 500)),
    "longlive": small(LONGLIVE, window=6, sink=1, chunk=2, first_chunk=1, steps=(1000, 500)),
    "longlive, relative": small(
        LONGLIVE, window=6, sink=1, chunk=2, first_chunk=2, steps=(1000, 500), positions="window"
    ),
    "causvid": small(CAUSVID, window=8, chunk=2, first_chunk=2, context=2, steps=(1000, 500)),
    "krea": small(KREA, window=6, chunk=2, first_chunk=2, context=3, steps=(1000, 500)),
}
LEVERS = discover()
BENDS = [Bend("memory", LEVERS["self.map.gain"]), Bend("word", LEVERS["cross.map.transform"])]
BENDS += [Bend("hidden", LEVERS["ffn.hidden.noise"])]


class Recorder:
    """Counts what is recorded and what is played."""

    def __init__(self) -> None:
        self.recorded = self.played = 0

    def __call__(self, forward, x, t):
        self.recorded += 1
        own = x.clone(), t.clone()
        out = forward(*own).clone()

        def again(x, t):
            self.played += 1
            own[0].copy_(x), own[1].copy_(t)
            return out.copy_(forward(*own))

        return again


def _stream(row, record, batch: int = 1) -> Stream:
    playing = Stream(wan(config=row.config), taehv(), row, tuple(BENDS), seed=3, batch=batch, record=record)
    if not record:
        playing.play(playing.make_bank(tuple(BENDS), fixed=True))
    playing.read_prompt(prompt())
    return playing


def _played(playing: Stream) -> torch.Tensor:
    """Latents of a stream that is played on: knobs, prompts, the past forgotten, weighed and taken away."""
    made = []
    for chunk in range(14):
        if chunk == 4:
            playing.read_prompt(prompt("another flower over a bright sea", seed=7))
        if chunk == 8:
            playing.forget()
        playing.alone = chunk == 10
        playing.past_weight = 0.5 if chunk > 11 else playing.recipe.past_weight
        for step in playing.denoise():
            values = {"memory.gain": 1 + 0.1 * chunk, "word.x": 0.01 * step, "hidden.amount": 0.02 * chunk}
            playing.bank.write(values)
        made.append(playing.commit().latents)
    return torch.cat(made, dim=2)


@pytest.mark.parametrize("name", ROWS)
def test_recorded_is_what_is_played_as_it_is(name: str) -> None:
    batch, recorder = 2 if "batch" in name else 1, Recorder()
    torch.testing.assert_close(
        _played(_stream(ROWS[name], recorder, batch)), _played(_stream(ROWS[name], False, batch)), rtol=0, atol=0
    )
    assert recorder.played > 2 * recorder.recorded > 0


def test_a_full_cache_is_recorded_once() -> None:
    recorder = Recorder()
    playing = _stream(RECIPE, recorder)
    _played(playing)
    before = recorder.recorded
    playing.past_weight, playing.alone = 1.0, False
    for _ in range(9):
        for _ in playing.denoise():
            playing.bank.write({"memory.gain": 2.0})
        playing.commit()
    assert recorder.recorded == before


def test_rehearsal_records_the_full_cache_and_leaves_the_stream_at_its_start() -> None:
    recorder = Recorder()
    playing, fresh = _stream(RECIPE, recorder), _stream(RECIPE, Recorder())
    playing.rehearse(playing.bank)
    assert recorder.recorded == 2  # with the past's weight turned down, too
    playing.reset(3), fresh.reset(3)
    assert torch.equal(_played(playing), _played(fresh))


@pytest.mark.parametrize("name", ROWS)
def test_rehearsal_fits_every_system(name: str) -> None:
    recorder = Recorder()
    playing = _stream(ROWS[name], recorder)
    playing.rehearse(playing.bank)
    assert recorder.recorded and playing.cache.end == 0


def test_recordings_go_with_their_bank() -> None:
    recorder = Recorder()
    playing = _stream(RECIPE, recorder)
    _played(playing)
    kept = playing._passes._replays._kept
    assert len(kept) == 1
    playing.play(playing.make_bank(()))
    gc.collect()
    assert len(kept) == 0


def test_a_look_is_taken_from_a_pass_that_is_not_recorded() -> None:
    recorder, look = Recorder(), MapLook(0, 0, (0, 1))
    playing, plain = _stream(replace(RECIPE, steps=(1000,)), recorder), _stream(replace(RECIPE, steps=(1000,)), False)
    seen = []
    for each in (playing, plain):
        _played(each)
        each.probes.ask(look)
        for _ in each.denoise():
            pass
        each.commit()
        seen.append(each.probes.take(look))
    assert (seen[0] == seen[1]).all()
