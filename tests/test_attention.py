"""Attention with keys in half precision, whole and in parts."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from pipelines import attention
from pipelines.attention import MOST, Size, Way, attend, attend_by, use

BIASES = {
    "none": None,
    "of columns": (1, 1, 1, 40),
    "of a matrix": (30, 40),
    "of rows and columns": (2, 1, 30, 40),
    "of heads": (1, 3, 1, 40),
}


def heads(*lengths: int, half: bool = False) -> torch.Tensor:
    made = torch.randn(2, *lengths, 3, 16, generator=torch.Generator().manual_seed(sum(lengths)))
    return made.bfloat16() if half else made


@pytest.mark.parametrize("boolean", [False, True])
@pytest.mark.parametrize("name", BIASES)
@pytest.mark.parametrize("most", [1, 7 * 2 * 3 * 40, 29 * 2 * 3 * 40])
def test_in_parts_it_is_the_same(monkeypatch: pytest.MonkeyPatch, most: int, name: str, boolean: bool) -> None:
    q, k, v = heads(30), heads(40, half=True), heads(41, half=True)[:, 1:]
    bias = None if BIASES[name] is None else torch.randn(BIASES[name], generator=torch.Generator().manual_seed(1))
    bias = bias > -1 if boolean and bias is not None else bias
    whole = attend(q, k, v, bias)
    monkeypatch.setattr(attention, "MOST", most)
    torch.testing.assert_close(attend(q, k, v, bias), whole, atol=1e-2, rtol=0)
    exact = attend(q, k.float(), v.float(), bias)
    torch.testing.assert_close(whole, exact, atol=3e-2, rtol=0)


PEAK = """
import re, torch
from pipelines.attention import attend
torch.set_num_threads(1)
def peak():  # of this program: getrusage counts what its parent held before, too
    return 1024 * int(re.search(r"VmHWM:\\s*(\\d+)", open("/proc/self/status").read())[1])
with torch.inference_mode():
    attend(torch.randn(1, 8, 4, 16), *torch.randn(2, 1, 8, 4, 16).bfloat16())
    q, k, v = torch.randn(1, 8000, 4, 16), *torch.randn(2, 1, 8000, 4, 16).bfloat16()
    bias, before = torch.randn(1, 8000), peak()
    attend(q, k, v, bias)
    print(peak() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="counts bytes as Linux does")
def test_a_large_map_is_never_in_memory_as_a_whole() -> None:
    done = subprocess.run([sys.executable, "-c", PEAK], capture_output=True, text=True, timeout=200, check=True)
    assert 7 * MOST < 4 * 8000 * 8000  # so that the whole of it would take seven times as much
    assert int(done.stdout) < 14 * MOST


def by_formula(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """What a kernel gives: attention, and the logarithms of what its rows were divided by."""
    logits = q.transpose(1, 2) @ k.permute(0, 2, 3, 1) * q.shape[-1] ** -0.5
    return (logits.softmax(-1) @ v.transpose(1, 2)).transpose(1, 2), logits.logsumexp(-1)


@pytest.mark.parametrize("size", [1.0, 30.0])
@pytest.mark.parametrize("parts", [1, 2, 3, 5])
def test_parts_of_the_keys_put_together_are_the_whole(monkeypatch: pytest.MonkeyPatch, parts: int, size: float) -> None:
    """Also where one key has all the weight, so that most parts have none."""
    monkeypatch.setattr(attention, "flash", by_formula)
    q, k, v = (size * heads(count)[:1] for count in (7, 30, 30))
    v = v.transpose(1, 2).contiguous().transpose(1, 2)  # as a cache keeps them
    assert attend_by(Way("flash 4", parts), q, k, v) == pytest.approx(attend(q, k, v), abs=1e-5 * size)


def test_a_way_holds_for_its_size_alone_in_what_is_compiled_and_not_under_a_bias(monkeypatch) -> None:
    asked = []

    def seen(*qkv: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        asked.append(qkv[0].shape)
        return by_formula(*qkv)

    monkeypatch.setattr(attention, "flash", seen)
    monkeypatch.setattr(attention, "_ways", {})
    compiled = torch.compile(attend, dynamic=False, backend="eager")
    q, k = heads(7)[:1], heads(30)[:1]
    plain = compiled(q, k, k)
    use(Size(7, 30, 3, 16), Way("flash 4", 3))
    attend(q, k, k)
    compiled(q, k, k, torch.zeros(1, 1, 1, 30))
    compiled(q, k[:, :28], k[:, :28])
    compiled(heads(7), heads(30), heads(30))
    assert asked == []
    assert compiled(q, k, k) == pytest.approx(plain, abs=1e-5)
    assert asked == [(3, 7, 3, 16)]


def test_keys_that_do_not_split_are_named() -> None:
    with pytest.raises(ValueError, match="28 keys do not split into 3 equal parts"):
        attend_by(Way("cudnn", 3), heads(7), heads(28), heads(28))
