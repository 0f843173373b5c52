"""FlashAttention 4 where it is installed; what compilers see of it anywhere."""

from __future__ import annotations

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from pipelines.attention import Way, attend_by
from pipelines.flash import flash, installed


def test_a_compiler_sees_sizes_and_dtypes() -> None:
    with FakeTensorMode():
        q, k = torch.empty(2, 7, 3, 16, dtype=torch.bfloat16), torch.empty(2, 30, 3, 16, dtype=torch.bfloat16)
        out, log_sums = flash(q, k, k)
    assert (out.shape, out.dtype) == (q.shape, q.dtype)
    assert (log_sums.shape, log_sums.dtype) == ((2, 3, 7), torch.float32)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("way", [Way("cudnn"), Way("cudnn", 3), Way("flash 4"), Way("flash 4", 3)])
@pytest.mark.parametrize("compiled", [False, True])
def test_on_a_card_every_way_is_attention(way: Way, compiled: bool) -> None:
    if way.kernel == "flash 4" and not installed():
        pytest.skip("flash-attn-4 is not installed")
    torch.manual_seed(0)
    q = torch.randn(1, 130, 4, 128, device="cuda", dtype=torch.bfloat16)
    k, v = torch.randn(2, 1, 4, 390, 128, device="cuda", dtype=torch.bfloat16).transpose(2, 3)  # as a cache keeps them

    def run(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        return attend_by(way, q, k, v)

    with torch.inference_mode():
        got = (torch.compile(run, dynamic=False) if compiled else run)(q, k, v)
        right = attend_by(Way(), q.float(), k.float(), v.float())
    assert (got.float() - right).norm() < 0.01 * right.norm()
