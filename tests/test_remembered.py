"""The log of what a cache holds: how old each frame is, whether it is pinned, and which bends made it."""

from __future__ import annotations

from dataclasses import replace

from pipelines.bends.bank import Bend
from pipelines.bends.lever import discover
from pipelines.bends.scope import Scope, Span
from pipelines.stream import Stream
from tests.tiny import RECIPE, prompt, stream

LEVERS = discover()
BENDS = (
    Bend("loud", LEVERS["ffn.out.gain"]),
    Bend("brief", LEVERS["ffn.out.noise"], Scope(steps=Span.of(0, 0)), persist="transient"),
    Bend("moved", LEVERS["cross.map.transform"], Scope(tokens="tulip")),
    Bend("absent", LEVERS["cross.map.gain"], Scope(tokens="elephant")),
)


def chunk(playing: Stream, **values: object) -> None:
    """One chunk under these amounts, `name_amount=value`; all others at their defaults."""
    playing.bank.write(playing.bank.defaults() | {id.replace("_", ".", 1): value for id, value in values.items()})
    for _ in playing.denoise():
        pass
    playing.commit()


def ages(playing: Stream) -> list[int]:
    return [frame.age for frame in playing.kept]


def bends(playing: Stream) -> list[tuple[str, ...]]:
    return [frame.bends for frame in playing.kept]


def test_every_frame_remembers_the_bends_that_were_at_work() -> None:
    playing = stream(BENDS)
    assert playing.kept == ()
    chunk(playing)
    chunk(playing, loud_gain=2.0)
    chunk(playing, brief_noise=1.0, moved_rotate=90.0)
    chunk(playing, loud_gain=2.0, loud_on=False, absent_gain=4.0, moved_rotate=90.0, moved_mix=0.0)
    assert bends(playing) == [(), ("loud",), ("brief", "moved"), ()]
    assert ages(playing) == [3, 2, 1, 0]
    chunk(playing)
    assert bends(playing) == [("loud",), ("brief", "moved"), (), ()]  # the window is four frames
    playing.forget()
    assert playing.kept == ()
    chunk(playing)
    assert bends(playing) == [()] and ages(playing) == [0]


def test_the_sink_grows_old_and_is_marked() -> None:
    playing = stream(BENDS, replace(RECIPE, window=4, sink=1))
    chunk(playing, loud_gain=2.0)
    for _ in range(6):
        chunk(playing)
    assert [frame.sink for frame in playing.kept] == [True, False, False, False]
    assert ages(playing) == [6, 2, 1, 0] and bends(playing) == [("loud",), (), (), ()]


def test_frames_written_again_for_a_prompt_take_on_what_bends_then() -> None:
    playing = stream(BENDS, replace(RECIPE, window=4, sink=1, recache="behind sink"))
    chunk(playing)
    chunk(playing)
    playing.read_prompt(prompt("snow on a purple tulip", seed=2))
    chunk(playing, loud_gain=2.0)
    assert bends(playing) == [("loud",), ("loud",), ("loud",)]


def test_a_cache_begun_again_keeps_the_count_of_the_stream() -> None:
    for keep_first, expected in ((True, [8, 1, 0]), (False, [2, 1, 0])):
        again = replace(RECIPE, window=4, cache="restart", context=2, keep_first=keep_first)
        playing = stream(BENDS, again)
        for _ in range(7):
            chunk(playing)
        chunk(playing, loud_gain=2.0)
        chunk(playing)  # begins the cache again, from two frames
        assert len(playing.cache.held()) == 3 and ages(playing) == expected
        assert bends(playing) == [(), ("loud",), ()]


def test_a_cache_made_anew_for_every_chunk() -> None:
    playing = stream(BENDS, replace(RECIPE, window=4, cache="rebuild", context=3, keep_first=True))
    for _ in range(5):
        chunk(playing)
    chunk(playing, moved_flip_x=True)
    assert ages(playing) == [5, 2, 1, 0]
    # The context is written anew under what bends now; that is what the chunk after it hears.
    assert playing.kept[-1].bends == ("moved",) and playing.kept[-2].bends == ("moved",)
