"""Attention with keys in half precision, whole and in parts."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from pipelines import attention
from pipelines.attention import MOST, attend

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
