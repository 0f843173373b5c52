"""Blocks that lie elsewhere: the same numbers, each block in its place before it works, in any number and order."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

import pytest
import torch

from pipelines.checkpoint import LoadError
from pipelines.offload import PLACES, StreamedBlocks, offload, stream_blocks
from pipelines.quantise import convert
from tests.test_live import Forward, bank_of, every_lever, off_neutral
from tests.tiny import CONFIG, play, stream, wan

CPU = torch.device("cpu")


def _streamed(seed: int = 0, stay: int = 0, layers: int = CONFIG.num_layers):
    return stream_blocks(wan(seed, replace(CONFIG, num_layers=layers)), CPU, stay)


@pytest.mark.parametrize("layers", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("stay", [0, 1, 2, 9])
def test_it_computes_what_the_whole_model_computes_every_time(layers: int, stay: int) -> None:
    config = replace(CONFIG, num_layers=layers)
    plain, streamed = Forward(wan(0, config)), Forward(wan(0, config))
    streamed.model = stream_blocks(streamed.model, CPU, stay)
    for _ in range(3):
        assert torch.equal(streamed(), plain())
        text = streamed.model.read_text(torch.randn(1, 5, CONFIG.text_dim, generator=torch.Generator().manual_seed(1)))
        assert all(
            torch.equal(a, b)
            for a, b in zip(
                text.k,
                plain.model.read_text(torch.randn(1, 5, CONFIG.text_dim, generator=torch.Generator().manual_seed(1))).k,
                strict=True,
            )
        )


def test_a_block_is_in_its_place_while_it_works_and_the_next_is_on_its_way() -> None:
    whole, model = wan(0, replace(CONFIG, num_layers=5)), _streamed(layers=5)
    blocks = model.blocks
    for _ in range(2):
        for index, block in enumerate(blocks):
            mine = whole.blocks[index].state_dict()
            assert all(torch.equal(tensor, mine[name]) for name, tensor in block.state_dict().items())
            held = {place.holds for place in blocks._places}
            assert index in held and (index == 4 or index + 1 in held)
        assert 0 in {place.holds for place in blocks._places}  # for the next time


def test_a_pass_that_breaks_off_harms_no_later_one() -> None:
    plain, streamed = Forward(wan()), Forward(wan())
    streamed.model = stream_blocks(streamed.model, CPU)
    for index, _ in enumerate(streamed.model.blocks):
        if index == 1:
            break
    assert torch.equal(streamed(), plain())


def test_weights_never_change_their_address_and_little_is_held_on_the_device() -> None:
    model = _streamed(layers=6)
    before = [parameter.data_ptr() for parameter in model.parameters()]
    for _ in model.blocks:
        pass
    assert [parameter.data_ptr() for parameter in model.parameters()] == before
    places = {parameter.untyped_storage().data_ptr() for parameter in model.blocks.parameters()}
    assert len(places) == PLACES
    one = sum(tensor.nbytes for tensor in wan().blocks[0].state_dict().values())
    on_device = sum(place.memory.numel() for place in model.blocks._places)
    assert 2 * one <= on_device < 2.2 * one and 6 * one <= model.blocks.held < 6.6 * one


def test_levers_and_eight_bits_go_with_it() -> None:
    whole, model = wan(), wan()
    convert(whole)
    convert(model)
    plain, streamed = Forward(whole), Forward(model)
    streamed.model = stream_blocks(model, CPU, 1)
    for bend in every_lever()[::5]:
        bank = bank_of(bend)
        bank.write({f"{bend.name}.{bend.lever.main}": off_neutral(bend)})
        bank.fold(0)
        assert torch.equal(streamed(bank), plain(bank))


def test_compiled_blocks_read_what_is_in_their_place() -> None:
    torch._dynamo.reset()
    plain, streamed = Forward(wan()), Forward(wan())
    streamed.model = stream_blocks(streamed.model, CPU)
    for block in streamed.model.blocks:
        block.compile(fullgraph=True, dynamic=False, backend="aot_eager")
    try:
        for _ in range(3):
            torch.testing.assert_close(streamed(), plain(), atol=1e-5, rtol=0)
    finally:
        torch._dynamo.reset()


def test_packing_before_or_after_changes_nothing() -> None:
    plain, streamed = Forward(wan()), Forward(wan())
    for block in streamed.model.blocks:
        block.self_attn.pack()
    streamed.model = stream_blocks(streamed.model, CPU)
    assert torch.equal(streamed(), plain())
    for block in streamed.model.blocks:
        block.self_attn.pack()
    assert torch.equal(streamed(), plain())


def test_a_stream_plays_the_same_pictures() -> None:
    plain, streamed = stream(), stream()
    stream_blocks(streamed.model, CPU)
    assert (play(streamed, 2) == play(plain, 2)).all()


def test_devices_without_memory_of_their_own_are_refused() -> None:
    model = wan()
    with pytest.raises(LoadError, match="--offload: device 'cpu' has no memory of its own to save"):
        offload(model, CPU)
    assert not isinstance(model.blocks, StreamedBlocks)


def test_two_threads_that_play_one_model_do_not_mix_up_its_blocks() -> None:
    plain, model = Forward(wan(0, replace(CONFIG, num_layers=5))), _streamed(layers=5)
    whole = [block.state_dict() for block in plain.model.blocks]
    wrong: list[int] = []

    def go() -> None:
        for _ in range(20):
            for index, block in enumerate(model.blocks):
                time.sleep(0.0005)  # the other thread's turn
                if not all(torch.equal(tensor, whole[index][name]) for name, tensor in block.state_dict().items()):
                    wrong.append(index)

    threads = [threading.Thread(target=go) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
