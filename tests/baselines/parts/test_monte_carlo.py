"""Draws go on until the total is known well enough, and no longer."""

import pytest
import torch

from baselines.parts.monte_carlo import in_rounds, standard_errors


def rounds(deviation: float, *, most: int = 64) -> tuple[torch.Tensor, list[int]]:
    """Estimates of 50 quantities that are 1, in rounds of 16, and how many draws there were before each round."""
    generator, before = torch.Generator().manual_seed(0), list[int]()

    def draw(drawn: int) -> torch.Tensor:
        before.append(drawn)
        return 1 + deviation * torch.randn(50, 16, generator=generator)

    return in_rounds(draw, most=most, share=0.005), before


@pytest.mark.parametrize(("deviation", "expected"), [(0.0, [0]), (0.1, [0]), (0.18, [0, 16]), (5.0, [0, 16, 32, 48])])
def test_rounds_end_when_the_total_is_known_or_the_draws_are_spent(deviation, expected):
    estimates, before = rounds(deviation)
    assert before == expected
    assert estimates.shape == (50, 16 * len(expected))


def test_standard_errors_are_those_of_the_mean():
    estimates = 3 * torch.randn(4000, 25, generator=torch.Generator().manual_seed(1))
    assert standard_errors(estimates).square().mean().sqrt().item() == pytest.approx(3 / 5, rel=0.02)
    assert estimates.mean(-1).std().item() == pytest.approx(3 / 5, rel=0.05)
