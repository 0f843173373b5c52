"""The tiny autoencoder: the true architecture against its reference, streaming against one shot."""

from __future__ import annotations

import pytest
import torch

from pipelines.load import fill
from pipelines.taehv import TAEHV, TAEHVConfig
from tests import golden
from tests.tiny import TAE, taehv


def test_taew2_1_equals_the_reference() -> None:
    model = TAEHV().eval().requires_grad_(False)
    weights = {name: tensor.float() for name, tensor in golden.tensors("taehv/weights_fp16").items()}
    fill(model, weights, "taew2_1")
    case = golden.tensors("taehv/decode_encode")
    torch.testing.assert_close(model.decode(case["z"]), case["decode"], atol=1e-4, rtol=0)
    raw = model.raw_decode(case["z"], model.decoder.fresh())
    torch.testing.assert_close(raw, case["raw_untrimmed_unclamped"], atol=1e-4, rtol=0)
    torch.testing.assert_close(model.encode(case["video"]), case["latents"], atol=1e-4, rtol=0)
    memory = model.decoder.fresh()
    for i in range(3):
        chunk = model.decode(case["z"][:, 3 * i : 3 * i + 3], memory)
        torch.testing.assert_close(chunk, case[f"stream_chunk{i}"], atol=1e-4, rtol=0)


def test_taew2_1_has_the_published_shape() -> None:
    tensors = TAEHV().state_dict()
    assert len(tensors) == 128 and sum(name.startswith("decoder.") for name in tensors) == 64
    assert round(sum(t.numel() for t in tensors.values()) / 1e6, 1) == 11.3
    assert tensors["decoder.1.weight"].shape == (256, 16, 3, 3)
    assert tensors["decoder.19.conv.weight"].shape == (128, 64, 1, 1)
    assert tensors["encoder.17.weight"].shape == (16, 64, 3, 3)


@pytest.mark.parametrize("config", [TAE, TAEHVConfig(widths=(16, 8, 8, 8), encoder_width=8)])
def test_streaming_equals_one_shot(config: TAEHVConfig) -> None:
    torch.manual_seed(0)
    model = TAEHV(config).eval().requires_grad_(False)
    z = torch.randn(2, 7, 16, 4, 6)
    whole, memory = model.decode(z), model.decoder.fresh()
    parts = torch.cat([model.decode(z[:, a:b], memory) for a, b in ((0, 1), (1, 4), (4, 7))], dim=1)
    torch.testing.assert_close(parts, whole, atol=1e-5, rtol=0)
    assert whole.shape == (2, 28 - config.trim, 3, 32, 48)
    video = torch.rand(1, 12, 3, 32, 48)
    memory = model.encoder.fresh()
    parts = torch.cat([model.encode(video[:, a : a + 4], memory) for a in (0, 4, 8)], dim=1)
    torch.testing.assert_close(parts, model.encode(video), atol=1e-5, rtol=0)


def test_layout_is_checked() -> None:
    with pytest.raises(ValueError, match="N T 16 H W"):
        taehv().decode(torch.zeros(1, 16, 2, 4, 4))
