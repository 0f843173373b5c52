"""Ways to play the rows that no reference run here covers, each against the rules written out the long way."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from pipelines.attention import attend
from pipelines.passes import Passes
from pipelines.recipes import CAUSVID, KREA, LONGLIVE, SELF_FORCING, Recipe
from pipelines.stream import Stream
from tests import golden
from tests.recorded import model_of, small
from tests.slow import SlowModel, slow_chunk, softmax_attention, warped
from tests.tiny import prompt, taehv, wan

TOLERANCE = 1e-4
LIST = (1000, 750, 500, 250)


class _Noise:
    """One endless noise, for both sides the same."""

    def __init__(self, batch: int = 1) -> None:
        self.batch, self.generator = batch, torch.Generator().manual_seed(11)

    def __call__(self, frames: int = 3) -> Tensor:
        return torch.randn(self.batch, frames, 16, 8, 12, generator=self.generator)


class _Playing(Stream):
    def __init__(self, recipe: Recipe, batch: int = 1) -> None:
        self.noise = _Noise(batch)
        super().__init__(wan(5), taehv(), recipe, batch=batch)
        self._sampler.noise = lambda frames: self.noise(frames).transpose(1, 2)

    def say(self, embeddings: Tensor) -> None:
        self.read_prompt(replace(prompt(), embeddings=embeddings))

    def chunk(self) -> Tensor:
        for _ in self.denoise():
            pass
        return self.commit().latents.transpose(1, 2)


TEXTS = [prompt(seed=seed).embeddings for seed in (1, 2, 3)]


def _agree(mine: Iterable[Tensor], slow: Iterable[Tensor]) -> None:
    for i, (a, b) in enumerate(zip(mine, slow, strict=True)):
        assert a.shape == b.shape and (a - b).abs().max() < TOLERANCE, f"chunk {i}: {(a - b).abs().max():.1e} apart"


def _slow_roll(
    model: SlowModel,
    sizes: list[int],
    steps: list[float] | None = None,
    shift: float = 5.0,
    given: Tensor | None = None,
) -> list[Tensor]:
    """Chunks of these sizes after given clean latents, one prompt, a clean pass after each."""
    noise, made, start = _Noise(), [], 0 if given is None else given.shape[1]
    at = 0
    for size in sizes:
        if given is not None and at < start:
            model(given[:, at : at + size], 0.0, TEXTS[0], at)
            at += size
            continue
        clean = slow_chunk(model, steps or warped(LIST, 5.0), shift, lambda size=size: noise(size), (TEXTS[0], at))
        model(clean, 0.0, TEXTS[0], at)
        made.append(clean)
        at += size
    return made


def test_the_long_way_is_the_references_way() -> None:
    """What the others here are compared with, compared with a recorded run itself."""
    case = golden.tensors("self_forcing/local6_b1")
    model = SlowModel(model_of("self_forcing/weights"), 6)
    made, again = [], [case[name] for name in sorted(case) if name.startswith("renoise")]
    for b, first in enumerate(case["noise"].split(3, dim=1)):
        noises = iter([first, *(noise[None] for noise in again[3 * b : 3 * b + 3])])
        at = (case["prompt_embeds.p0"], 3 * b)
        made.append(slow_chunk(model, warped(LIST, 5.0), 5.0, lambda noises=noises: next(noises), at))
        model(made[-1], 0.0, *at)
    _agree(made, case["output_latents"].split(3, dim=1))


def test_rolling_with_a_sink() -> None:
    playing = _Playing(small(SELF_FORCING, window=9, sink=3))
    playing.say(TEXTS[0])
    _agree([playing.chunk() for _ in range(5)], _slow_roll(SlowModel(playing.model, 9, 3), [3] * 5))


def test_two_streams_at_once() -> None:
    playing = _Playing(small(SELF_FORCING, window=9), batch=2)
    playing.say(TEXTS[0])
    model, noise = SlowModel(playing.model, 9), _Noise(2)
    for start in range(0, 15, 3):
        clean = slow_chunk(model, warped(LIST, 5.0), 5.0, noise, (TEXTS[0], start))
        model(clean, 0.0, TEXTS[0], start)
        for _ in playing.denoise():
            pass
        chunk = playing.commit()
        _agree([chunk.latents.transpose(1, 2)], [clean])
    assert next(playing.decode(chunk)).shape == (64, 2 * 96, 3)


@pytest.mark.parametrize("picture", [False, True])
def test_a_first_chunk_of_one_frame(picture: bool) -> None:
    """Made or given: then chunks of three follow."""
    playing = _Playing(small(SELF_FORCING, window=7, first_chunk=1))
    playing.say(TEXTS[0])
    given = torch.randn(1, 1, 16, 8, 12, generator=torch.Generator().manual_seed(2)) if picture else None
    if picture:
        (chunk,) = playing.start(given.transpose(1, 2))
        assert chunk.begins and chunk.latents.shape[2] == 1
    mine = [playing.chunk() for _ in range(3 if picture else 4)]
    _agree(mine, _slow_roll(SlowModel(playing.model, 7), [1, 3, 3, 3], given=given))


def test_a_clip_to_go_on_from_fills_whole_chunks() -> None:
    playing = _Playing(small(SELF_FORCING))
    playing.say(TEXTS[0])
    given = torch.randn(1, 6, 16, 8, 12, generator=torch.Generator().manual_seed(2))
    assert [chunk.begins for chunk in playing.start(given.transpose(1, 2))] == [True, False]
    _agree([playing.chunk() for _ in range(2)], _slow_roll(SlowModel(playing.model, 21), [3] * 4, given=given))
    with pytest.raises(ValueError, match="4 latent frames cannot begin a stream; give 3 and then multiples of 3"):
        playing.start(given[:, :4].transpose(1, 2))


@pytest.mark.parametrize("steps", [None, LIST])
def test_absolute_positions_from_given_latents(steps: tuple[int, ...] | None) -> None:
    """The three-step list, and the warped one of four."""
    changes = {} if steps is None else {"steps": steps, "warped": True}
    playing = _Playing(small(CAUSVID, **changes))
    playing.say(TEXTS[0])
    given = torch.randn(1, 3, 16, 8, 12, generator=torch.Generator().manual_seed(2))
    playing.start(given.transpose(1, 2))
    used = [1000.0, 757.0, 522.0] if steps is None else warped(steps, 8.0)
    slow = _slow_roll(SlowModel(playing.model, 21), [3] * 3, used, 8.0, given)
    _agree([playing.chunk() for _ in range(2)], slow)


def test_a_full_window_begins_again_with_an_overlap() -> None:
    """At position 0, from one picture encoded anew and the last two latent frames."""
    playing = _Playing(small(CAUSVID, window=6))
    playing.say(TEXTS[0])
    mine = [playing.chunk() for _ in range(4)]
    model, noise, tae = SlowModel(playing.model, 6), _Noise(), taehv()
    made: list[Tensor] = []
    for b in range(4):
        start = 3 * b
        if b >= 2:  # the window is full after two chunks, and then after every one
            frames = tae.decode(torch.cat(made, 1))  # of the whole video so far
            context = torch.cat([tae.encode(frames[:, -4 * 2 - 1, None]), made[-1][:, -2:]], 1)
            model.empty()
            model(context, 0.0, TEXTS[0], 0)
            start = 3
        clean = slow_chunk(model, [1000.0, 757.0, 522.0], 8.0, noise, (TEXTS[0], start))
        model(clean, 0.0, TEXTS[0], start)
        made.append(clean)
    _agree(mine, made)


@pytest.mark.parametrize("relative", [False, True])
@pytest.mark.parametrize("keep_sink", [True, False])
@pytest.mark.parametrize("switches", [(2, 4), (5, 6)])
def test_a_new_prompt_writes_the_memory_again(keep_sink: bool, relative: bool, switches: tuple[int, int]) -> None:
    """Before and after frames have fallen out of the window."""
    recache, positions = ("behind sink" if keep_sink else "all"), ("window" if relative else "absolute")
    playing = _Playing(small(LONGLIVE, window=9, recache=recache, positions=positions))
    model = SlowModel(playing.model, 9, 3, relative, clip_sink=keep_sink)
    noise, made, mine = _Noise(), torch.zeros(1, 0, 16, 8, 12), []
    for b in range(8):
        text, start = TEXTS[sum(b >= switch for switch in switches)], 3 * b
        if b in (0, *switches):
            playing.say(text)
        if b in switches:
            last = made[:, -9:]
            model(last, 0.0, text, start - last.shape[1])
        clean = slow_chunk(model, warped(LIST, 5.0), 5.0, noise, (text, start))
        model(clean, 0.0, text, start)
        made = torch.cat([made, clean], 1)
        mine.append(playing.chunk())
    _agree(mine, made.split(3, dim=1))


def test_positions_counted_in_the_window() -> None:
    playing = _Playing(small(LONGLIVE, window=9, positions="window"))
    playing.say(TEXTS[0])
    slow = _slow_roll(SlowModel(playing.model, 9, 3, relative=True), [3] * 6)
    _agree([playing.chunk() for _ in range(6)], slow)


@pytest.mark.parametrize(
    ("n", "keep_first", "shares"),
    [(6, False, None), (3, True, None), (6, True, None), (3, False, (0.0, 1.0)), (3, False, (0.0, 0.5, 1.0))],
)
def test_a_memory_made_anew_for_every_chunk(n: int, keep_first: bool, shares: tuple[float, ...] | None) -> None:
    """Contexts of other lengths, with the first frame kept, and with a new prompt that comes in from chunk 2 on."""
    changes = {} if shares is None else {"prompt_chunks": len(shares)}
    playing = _Playing(small(KREA, context=n, window=n + 3, keep_first=keep_first, **changes))
    playing.say(TEXTS[0])
    model, noise, tae = SlowModel(playing.model, n + 3), _Noise(), taehv()
    made: list[Tensor] = []
    mine, text = [], TEXTS[0]
    for b in range(6):
        spoken = text
        if shares is not None and b >= 2:
            share = shares[min(b - 2, len(shares) - 1)]
            text = (1 - share) * TEXTS[0] + share * TEXTS[1]
            if b == 2:
                playing.say(TEXTS[1])
        model.empty()
        start = min(3 * b, n)
        if b:
            all_, frames = torch.cat(made, 1), tae.decode(torch.cat(made, 1))
            first = all_[:, :1]
            if not keep_first and (b - 1) * 3 >= n:
                first = tae.encode(frames[:, -(1 + 4 * (n - 1)), None])
            context = torch.cat([first, all_[:, 1:][:, -(n - 1) :]], 1)
            assert context.shape[1] == start
            block = torch.arange(start).repeat_interleave(24) // 3
            model.mask = block[:, None] >= block[None, :]
            model(context, 0.0, spoken, 0)  # the text of the chunk before
            model.mask = None
        made.append(slow_chunk(model, warped((*LIST, 0), 5.0), 5.0, noise, (text, start)))
        mine.append(playing.chunk())
    _agree(mine, made)


@pytest.mark.parametrize("strength", [0.7, 1.0])
def test_video_in_is_noised_and_played_like_noise(strength: float) -> None:
    """x = (1 - s) latents + s noise, s a thousandth of the first step, then the list from there."""
    playing = _Playing(small(KREA))
    playing.say(TEXTS[0])
    source = torch.randn(1, 3, 16, 8, 12, generator=torch.Generator().manual_seed(8))
    for _ in playing.denoise(source.transpose(1, 2), strength):
        pass
    noise, steps = _Noise(), warped(tuple(int(step * strength) for step in (*LIST, 0)), 5.0)
    first = steps[0] / 1000

    def begun() -> Iterator[Tensor]:
        yield (1 - first) * source + first * noise()
        while True:
            yield noise()

    made = begun()
    slow = slow_chunk(SlowModel(playing.model, 6), steps, 5.0, lambda: next(made), (TEXTS[0], 0))
    _agree([playing.commit().latents.transpose(1, 2)], [slow])
    with pytest.raises(ValueError, match="cannot be a chunk"):
        next(playing.denoise(source[:, :2].transpose(1, 2), strength))


def test_the_weight_of_the_past_equals_the_reference() -> None:
    """Attention under the bias, not that of the first cached frame nor of the chunk itself."""
    case = golden.tensors("units/kv_bias")
    passes = Passes(wan(), small(KREA), (8, 12), 1)
    passes.place(0, 3)
    place = passes.place(3, 3)
    for weight, name in ((1.0, "no_bias"), (0.3, "exact_bias0.3"), (0.05, "exact_bias0.05")):
        bias = passes.past_bias(place, weight)
        got = attend(case["q"], case["k"], case["v"], bias)
        torch.testing.assert_close(got, case[name], atol=TOLERANCE, rtol=0)
    torch.testing.assert_close(softmax_attention(case["q"], case["k"], case["v"]), case["no_bias"], atol=1e-5, rtol=0)


def test_the_weight_of_the_past_changes_what_is_played_and_one_does_not() -> None:
    plain, off, weak = (_Playing(small(KREA)) for _ in range(3))
    weak.past_weight = 0.05
    off.past_weight = 1.0
    for playing in (plain, off, weak):
        playing.say(TEXTS[0])
    made = [[playing.chunk() for _ in range(2)] for playing in (plain, off, weak)]
    assert torch.equal(made[0][1], made[1][1]) and (made[0][1] - made[2][1]).abs().max() > 1e-3
