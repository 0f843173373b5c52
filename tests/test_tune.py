"""Compiled before the show, and never in it."""

from __future__ import annotations

import pytest
import torch

from pipelines.tune import attention_times, choose_attention, compile_blocks, settled
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


@pytest.mark.gpu
def test_attention_is_chosen_by_measuring() -> None:
    model = wan().to("cuda", torch.bfloat16)
    times = attention_times(96, 384, model)
    assert times and choose_attention(96, 384, model) in times


@pytest.mark.gpu
def test_compiled_blocks_give_the_same_bits() -> None:
    from tests.test_live import Forward

    forward = Forward(wan(), torch.bfloat16, "cuda")
    before = forward()
    compile_blocks(forward.model)
    torch.testing.assert_close(forward(), before, rtol=0, atol=0.05)
