"""The ring cache: what it holds, in any order of chunks and rewrites."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.cache import KVCache, remember

S = 2  # tokens of a latent frame


def _write(cache: KVCache, start: int, frames: int) -> torch.Tensor:
    """Write frames whose every key is their own position; the valid keys as read, one number a token."""
    placement = cache.place(start, frames)
    k = torch.arange(start, start + frames).repeat_interleave(S).float()[None, :, None, None]
    keys, _ = remember(cache.layer(0, placement), k, -k)
    return keys.flatten()


@settings(max_examples=60, deadline=None)
@given(window=st.integers(2, 9), sink=st.integers(0, 4), sizes=st.lists(st.integers(1, 4), min_size=1, max_size=20))
def test_holds_the_sink_and_the_newest(window: int, sink: int, sizes: list[int]) -> None:
    sink = min(sink, window - 1)
    cache = KVCache((1, 1, 1, 1), window, S, sink)
    end = 0
    for size in sizes:
        size = min(size, window - sink)
        for _ in range(3):  # every denoising step writes the chunk again
            seen = _write(cache, end, size)
        end += size
        everything = list(range(end))
        expected = everything if end <= window else everything[:sink] + everything[end - (window - sink) :]
        assert sorted(seen.tolist()) == sorted(float(p) for p in expected for _ in range(S))
        k, v = cache.ordered(0)
        assert k.flatten().tolist() == [float(p) for p in expected for _ in range(S)]
        assert torch.equal(k, -v)


@settings(max_examples=60, deadline=None)
@given(window=st.integers(2, 9), sink=st.integers(0, 4), before=st.integers(1, 20), after=st.integers(0, 9))
@pytest.mark.parametrize("keep_sink", [True, False])
def test_a_rewrite_reaches_all_that_is_held(window: int, sink: int, before: int, after: int, keep_sink: bool) -> None:
    """Frames keep their place; frames written again are told by 100 more."""
    sink = min(sink, window - 1)
    cache = KVCache((1, 1, 1, 1), window, S, sink)
    for start in range(before):
        _write(cache, start, 1)
    first = max(0, before - window)
    k = torch.arange(first, before).repeat_interleave(S).float()[None, :, None, None] + 100
    keys, _ = remember(cache.layer(0, cache.rewrite(keep_sink)), k, -k)
    kept = sink if first and keep_sink else 0
    expected = [*range(kept), *(100 + p for p in range(first + kept, before))]
    assert sorted(keys.flatten().tolist()) == sorted(float(p) for p in expected for _ in range(S))
    assert cache.ordered(0)[0].flatten().tolist() == [float(p) for p in expected for _ in range(S)]
    for start in range(before, before + after):
        _write(cache, start, 1)
    pinned = expected[:sink]
    if before + after > window:
        held = cache.ordered(0)[0].flatten().tolist()[: sink * S : S]
        assert held == [float(p) for p in pinned] + [float(p) for p in range(before, sink)]


@pytest.mark.parametrize(("keep_sink", "pinned"), [(True, [0, 1]), (False, [3, 4])])
def test_after_a_rewrite_the_sink_is_what_was_written_there(keep_sink: bool, pinned: list[int]) -> None:
    cache = KVCache((1, 1, 1, 1), 5, S, sink=2)
    for start in range(8):
        _write(cache, start, 1)
    assert sorted(cache.held()) == [0, 1, 5, 6, 7]
    cache.rewrite(keep_sink)
    assert sorted(cache.held()) == [*pinned, 5, 6, 7]


def test_ranks_count_from_the_oldest_held() -> None:
    cache = KVCache((1, 1, 1, 1), 4, S, 1)
    for start in range(7):
        placement = cache.place(start, 1)
    by_slot = dict(zip(cache.held(), placement.ranks, strict=True))
    assert by_slot == {0: 0, 4: 1, 5: 2, 6: 3}


def test_memory_is_fixed_and_endless() -> None:
    cache = KVCache((1, 1, 1, 1), 6, S)
    address = cache.k.data_ptr()
    for start in range(5000):
        placement = cache.place(start, 1)
    assert placement.valid == 6 * S and cache.k.data_ptr() == address


def test_refusals() -> None:
    with pytest.raises(ValueError, match="cannot pin a sink"):
        KVCache((1, 1, 1, 1), 3, S, 3)
    cache = KVCache((1, 1, 1, 1), 4, S, 1)
    with pytest.raises(ValueError, match="does not continue"):
        cache.place(2, 1)
    with pytest.raises(ValueError, match="does not fit"):
        cache.place(0, 4)
