"""Modules beside these tests are found, their assertions explained; weights of untrained models are the same in every run."""

import sys
from pathlib import Path

import pytest
import torch

pytest.register_assert_rewrite("toy_sentences")
sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)
