"""Terms of the Gaussian objectives on numbers that golden cases do not reach: much signal at the end, noise at the first step."""

import pytest
import torch

from baselines.parts.estimates import Estimate
from baselines.parts.objectives import denoising_error, end_to_end, noise_error, prior_error, rounding_error
from baselines.parts.spaces import EmbeddingSpace
from baselines.parts.steps import Step

ALPHA, ALPHA_T = 0.36, 0.81


@pytest.fixture
def space():
    torch.manual_seed(0)
    return EmbeddingSpace(5, 3).double()


@pytest.fixture
def step(space):
    """Two rows of two tokens; the first row's step ends at the data, and most of the signal is left at the end."""
    ids = torch.tensor([[0, 1], [3, 4]])
    clean, (drift, noise, x0_hat, raw) = space.encode(ids).detach(), torch.randn(4, 2, 2, 3, dtype=torch.float64)
    x0, levels = clean + 0.1 * drift, torch.ones(2, 2, dtype=torch.float64)
    return Step(
        ids=ids, given=ids < 0, clean=clean, x0=x0, x_t=ALPHA**0.5 * x0 + (1 - ALPHA) ** 0.5 * noise,
        estimate=Estimate(x0_hat, raw), t=levels, alpha_t=ALPHA * levels, alpha_s=levels, alpha_T=ALPHA_T * levels,
        first=torch.tensor([[True], [False]]),
    )  # fmt: skip


def test_the_signal_that_is_left_at_the_end_is_added(space, step):
    rounding = rounding_error(space.logits(step.x0), step.ids)
    expected = denoising_error(step) + ALPHA_T * step.x0.square().mean(-1) + rounding
    assert torch.allclose(end_to_end(space)(step), expected)
    assert torch.allclose(prior_error(step), 0.9**2 * step.x0.square().mean(-1))


def test_the_step_that_ends_at_the_data_compares_embeddings(step):
    estimate = step.estimate
    noise = (step.x_t - ALPHA**0.5 * step.x0) / (1 - ALPHA) ** 0.5
    found = noise_error(step)
    assert torch.allclose(found[0], (step.clean[0] - estimate.x0_hat[0]).square().mean(-1))
    assert torch.allclose(found[1], (noise[1] - estimate.raw[1]).square().mean(-1))
    assert torch.allclose(denoising_error(step)[0], found[0])
    assert torch.allclose(denoising_error(step)[1], (step.x0[1] - estimate.x0_hat[1]).square().mean(-1))
