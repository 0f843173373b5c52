"""Loading: original and diffusers names, wrappers, and refusals that name what is wrong."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file

from pipelines.load import LoadError, fill, original_names, read_tensors
from tests.tiny import wan


def test_wrappers_and_prefixes_are_taken_off() -> None:
    own = wan().state_dict()
    wrapped = {f"model._fsdp_wrapped_module.{name}": tensor for name, tensor in own.items()}
    assert original_names(wrapped).keys() == own.keys()


def test_strict_fill_names_keys_and_shapes() -> None:
    model = wan()
    tensors = dict(model.state_dict())
    del tensors["head.head.bias"]
    tensors["blocks.0.extra"] = torch.zeros(1)
    with pytest.raises(LoadError, match=r"missing head\.head\.bias; unexpected blocks\.0\.extra"):
        fill(model, tensors, "file")
    tensors = dict(model.state_dict()) | {"head.head.bias": torch.zeros(3)}
    with pytest.raises(LoadError, match=r"head\.head\.bias is \(3,\)"):
        fill(model, tensors, "file")


def test_missing_and_broken_files_say_so(tmp_path) -> None:
    with pytest.raises(LoadError, match="no weights at"):
        read_tensors(tmp_path / "none.safetensors")
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"not a checkpoint")
    with pytest.raises(LoadError, match="cannot be read"):
        read_tensors(broken)
    save_file({"a": torch.ones(2)}, tmp_path / "good.safetensors")
    assert read_tensors(tmp_path / "good.safetensors")["a"].tolist() == [1.0, 1.0]
