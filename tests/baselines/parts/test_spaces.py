"""Embedding spaces: starting values come from the generator that is given."""

import torch

from baselines.networks.initialise import initialise
from baselines.parts.spaces import EmbeddingSpace


def drawn(seed: int, global_seed: int) -> torch.Tensor:
    torch.manual_seed(global_seed)
    space = EmbeddingSpace(500, 16)
    initialise(space, torch.Generator().manual_seed(seed))
    return space.table.detach()


def test_embeddings_depend_on_the_generator_and_on_no_global_state() -> None:
    assert torch.equal(drawn(1, 5), drawn(1, 6))
    assert not torch.equal(drawn(1, 5), drawn(2, 5))


def test_embeddings_start_standard_normal() -> None:
    table = drawn(1, 0)
    assert abs(table.mean().item()) < 0.05
    assert abs(table.std().item() - 1) < 0.05
