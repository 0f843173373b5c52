"""Compiled before the show, and never in it."""

from __future__ import annotations

import pytest
import torch

from pipelines.attention import Size
from pipelines.tune import attention_times, choose_attention, compile_blocks, compiling, settled
from tests.tiny import wan


def test_nothing_is_compiled_once_the_show_is_on() -> None:
    """What was compiled beforehand is used; anything else runs as it is, to the same numbers."""
    compiled, seen = [], []

    def backend(graph, inputs):
        compiled.append(len(graph.graph.nodes))
        return graph.forward

    layer = torch.compile(lambda x: x.sin() + 1, dynamic=False, backend=backend)
    first, other = torch.ones(2, 4), torch.ones(3, 4)
    seen.append(layer(first))
    with settled():
        seen += [layer(first), layer(other)[:2]]
    assert len(compiled) == 1 and all(torch.equal(each, seen[0]) for each in seen)


def test_several_threads_may_settle_and_compile_in_any_order() -> None:
    """The stance is the whole process's: whoever ends first must not leave it to the others as it was then."""
    compiled = []

    def backend(graph, inputs):
        compiled.append(graph)
        return graph.forward

    layer = torch.compile(lambda x: x.cos() + 1, dynamic=False, backend=backend)
    show, other, warm = settled(), settled(), compiling()
    show.__enter__()
    other.__enter__()
    layer(torch.ones(2))
    assert not compiled
    warm.__enter__()
    layer(torch.ones(3))
    assert len(compiled) == 1, "a system that is made ready beside a show is compiled"
    show.__exit__(None, None, None)
    warm.__exit__(None, None, None)
    layer(torch.ones(4))
    assert len(compiled) == 1, "the other show is still on"
    other.__exit__(None, None, None)
    layer(torch.ones(5))
    assert len(compiled) == 2


@pytest.mark.gpu
def test_attention_is_chosen_by_measuring() -> None:
    model = wan().to("cuda", torch.bfloat16)
    times = attention_times(Size(96, 390, model.config.num_heads, model.config.head_dim), model, recorded=True)
    names = {timed.name for timed in times}
    assert times and times == sorted(times, key=lambda timed: timed.ms)
    assert ("cudnn in 3 parts" in names) == ("cudnn" in names) and "cudnn in 4 parts" not in names
    assert choose_attention(96, 390, model) in names
    unrecorded = attention_times(Size(96, 390, model.config.num_heads, model.config.head_dim), model, recorded=False)
    assert not any("flash 4" in timed.name for timed in unrecorded)


@pytest.mark.gpu
def test_compiled_blocks_give_the_same_bits() -> None:
    from tests.test_live import Forward

    forward = Forward(wan(), torch.bfloat16, "cuda")
    before = forward()
    compile_blocks(forward.model)
    torch.testing.assert_close(forward(), before, rtol=0, atol=0.05)
