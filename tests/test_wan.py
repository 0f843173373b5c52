"""The transformer against the reference tensors of the original implementations."""

from __future__ import annotations

import pytest
import torch

from pipelines.attention import chunk_causal_mask
from pipelines.cache import KVCache
from pipelines.load import fill, original_names
from pipelines.rope import Rope
from pipelines.wan import Wan, WanConfig
from tests import golden
from tests.tiny import CONFIG, prompt, wan

TOLERANCE = 1e-4
TOKENS = 24  # of one latent frame in the reference runs: 4 x 6 patches


def _model(weights: str) -> Wan:
    model = Wan(CONFIG).eval().requires_grad_(False)
    fill(model, original_names(golden.tensors(weights)), weights)
    return model


@pytest.mark.parametrize("weights", ["weights_original_naming", "weights_diffusers_naming"])
def test_bidirectional_forward_equals_the_reference(weights: str) -> None:
    model = _model(f"diffusers/{weights}")
    case = golden.tensors("diffusers/transformer_tiny")
    text, turn = model.read_text(case["prompt_embeds"]), Rope(32, 4, 6).turn(range(5))
    for t, expected in ((case["t"][:, None].expand(-1, 5), "out"), (case["t_per_frame"], "out_per_frame")):
        torch.testing.assert_close(model(case["x"], t, text, turn), case[expected], atol=TOLERANCE, rtol=0)


def test_equals_diffusers_on_the_same_weights() -> None:
    diffusers = pytest.importorskip("diffusers")
    torch.manual_seed(3)
    theirs = diffusers.WanTransformer3DModel(
        num_attention_heads=4,
        attention_head_dim=32,
        text_dim=48,
        freq_dim=64,
        ffn_dim=256,
        num_layers=2,
        cross_attn_norm=True,
        qk_norm="rms_norm_across_heads",
    ).eval()
    ours = Wan(WanConfig(dim=128, ffn_dim=256, num_heads=4, num_layers=2, text_dim=48, text_len=16, freq_dim=64))
    fill(ours, original_names(theirs.state_dict()), "diffusers")
    x, text, t = torch.randn(1, 16, 3, 8, 12), torch.randn(1, 16, 48), torch.tensor([431.0])
    with torch.no_grad():
        expected = theirs(x, t, text, return_dict=False)[0]
        got = ours.eval()(x, t[:, None].expand(-1, 3), ours.read_text(text), Rope(32, 4, 6).turn(range(3)))
    torch.testing.assert_close(got, expected, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("case", ["global_b1", "local6_b1"])
def test_causal_loop_equals_the_reference(case: str) -> None:
    model = _model("self_forcing/weights")
    tensors, facts = golden.tensors(f"self_forcing/{case}"), golden.facts(f"self_forcing/{case}")
    window = facts["local_attn_size"] if facts["local_attn_size"] > 0 else 21
    cache, rope = KVCache((3, 1, 4, 32), window, TOKENS), Rope(32, 4, 6)
    text = {p: model.read_text(tensors[f"prompt_embeds.{p}"]) for p in {call["prompt"] for call in facts["calls"]}}
    for call in facts["calls"]:
        name, start = f"call{call['i']:03d}", call["current_start"] // TOKENS
        placement = cache.place(start, call["frames"])
        memory = tuple(cache.layer(layer, placement) for layer in range(3))
        turn = rope.turn(range(start, start + call["frames"]))
        x = tensors[f"{name}.x"].transpose(1, 2)
        flow = model(x, tensors[f"{name}.t"], text[call["prompt"]], turn, memory).transpose(1, 2)
        torch.testing.assert_close(flow, tensors[f"{name}.flow"], atol=TOLERANCE, rtol=0)
        for layer in (0, 2):
            if f"{name}.cache{layer}.k" in tensors:
                k, v = cache.ordered(layer)
                torch.testing.assert_close(k, tensors[f"{name}.cache{layer}.k"], atol=TOLERANCE, rtol=0)
                torch.testing.assert_close(v, tensors[f"{name}.cache{layer}.v"], atol=TOLERANCE, rtol=0)


def test_masked_forward_equals_the_cached_one() -> None:
    """What training sees in one pass is what a stream sees chunk by chunk, also past the window's end."""
    model, window = wan(), 3
    x, text = torch.randn(1, 16, 6, 8, 12), model.read_text(prompt().embeddings)
    rope, t = Rope(32, 4, 6), torch.full((1, 6), 400.0)
    mask = chunk_causal_mask(6, TOKENS, chunk=1, window=window)
    whole = model(x, t, text, rope.turn(range(6)), mask=mask)
    cache = KVCache((3, 1, 4, 32), window, TOKENS)
    for frame in range(6):
        placement = cache.place(frame, 1)
        memory = tuple(cache.layer(layer, placement) for layer in range(3))
        part = model(x[:, :, frame : frame + 1], t[:, :1], text, rope.turn([frame]), memory)
        torch.testing.assert_close(part, whole[:, :, frame : frame + 1], atol=TOLERANCE, rtol=0)


def test_padding_is_attended_to() -> None:
    """Fewer text rows are padded with zeros before the projection, so padding counts."""
    model, embeddings = wan(), prompt().embeddings
    full, short = model.read_text(embeddings), model.read_text(embeddings[:, :8])
    for a, b in zip(full.k, short.k, strict=True):
        torch.testing.assert_close(a, b)
    assert full.k[0][:, 8:].abs().max() > 0


def test_errors_name_the_remedy() -> None:
    model = wan()
    with pytest.raises(ValueError, match="do not split into patches"):
        model.grid(1, 9, 12)
    with pytest.raises(ValueError, match="at most 16"):
        model.read_text(torch.zeros(1, 17, 48))
    with pytest.raises(ValueError, match="heads"):
        WanConfig(dim=100, ffn_dim=8, num_heads=3, num_layers=1)
