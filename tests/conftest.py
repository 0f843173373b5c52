"""Shared by all tests: few threads, so that a small machine is not fought over."""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

settings.register_profile("busy", deadline=None)  # a machine that does other things too is no fault
settings.load_profile("busy")

# As `bender` does, and before any test imports torch: waiting threads soon sleep, so that others may have a core.
os.environ.setdefault("GOMP_SPINCOUNT", "2000")


@pytest.fixture(autouse=True, scope="session")
def _few_threads() -> None:
    import torch

    torch.set_num_threads(2)
