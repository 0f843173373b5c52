"""Where reference tensors lie: a few in `tests/golden/`, all of them where BENDER_GOLDEN points."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from safetensors.torch import load_file
from torch import Tensor

HERE = Path(__file__).parent / "golden"


def path(name: str) -> Path:
    """The file itself; the test that asks for one that is not here is skipped."""
    for folder in (HERE, os.environ.get("BENDER_GOLDEN")):
        if folder and (Path(folder) / name).is_file():
            return Path(folder) / name
    pytest.skip(f"reference {name} is not here; set BENDER_GOLDEN to the folder of reference tensors")


def tensors(name: str) -> dict[str, Tensor]:
    """The tensors of one reference file, given without its suffix."""
    return load_file(path(f"{name}.safetensors"))


def facts(name: str) -> dict:
    """The JSON beside a reference file."""
    return json.loads(path(f"{name}.json").read_text())
