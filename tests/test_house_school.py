"""Networks that judge pictures: what is saved is what is loaded, and a file that is not one says so."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from pipelines.checkpoint import LoadError
from pipelines.house.school import load, save

REMEDY = "python -m there"


def _network() -> nn.Module:
    return nn.Linear(3, 2)


def test_what_is_saved_is_loaded_with_what_is_known_of_it(tmp_path: Path) -> None:
    network, again = _network().half().float(), _network().train()
    save(network, tmp_path / "in" / "a", {"right": 0.75})
    assert load(again, tmp_path / "in" / "a", REMEDY) == {"right": 0.75}
    assert torch.equal(again.weight, network.weight) and again.weight.dtype == torch.float32
    assert not again.training


def test_a_file_that_is_no_network_of_ours_says_so(tmp_path: Path) -> None:
    (tmp_path / "broken").write_bytes(b"\x08" + bytes(40))
    save_file(_network().state_dict(), tmp_path / "bare")
    save_file(_network().state_dict(), tmp_path / "odd", metadata={"facts": "{"})
    for name in ("broken", "bare", "odd"):
        with pytest.raises(LoadError, match=f"{name}.*school it again: {REMEDY}"):
            load(_network(), tmp_path / name, REMEDY)
    save(nn.Linear(3, 4), tmp_path / "other", {})
    with pytest.raises(LoadError, match="other"):
        load(_network(), tmp_path / "other", REMEDY)
    with pytest.raises(FileNotFoundError, match=f"school one: {REMEDY}"):
        load(_network(), tmp_path / "gone", REMEDY)
