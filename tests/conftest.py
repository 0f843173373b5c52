"""Shared by all tests: few threads, so that a small machine is not fought over."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True, scope="session")
def _few_threads() -> None:
    import torch

    torch.set_num_threads(2)
