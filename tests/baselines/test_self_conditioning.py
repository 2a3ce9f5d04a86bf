"""Training examples that hear a first estimate of their own."""

import pytest
import torch
from torch import nn

from baselines.engine import Diffusion
from baselines.parts.categorical import Absorbing, normalised
from baselines.parts.clocks import Chain
from baselines.parts.conditioning import Canvas
from baselines.parts.estimates import Estimate
from baselines.parts.objectives_discrete import token_error
from baselines.parts.samplers import ancestral_drawn
from baselines.parts.self_conditioning import Heard
from baselines.parts.spaces import DiscreteSpace
from baselines.parts.timesteps import UniformTimes
from baselines.training import Draws
from harness.schedules.names import build

TOKENS, LENGTH, ROWS = 5, 3, 400


class Stub(nn.Module):
    """Logits of its own table; remembers what it heard."""

    def __init__(self):
        super().__init__()
        self.table = nn.Parameter(torch.arange((TOKENS + 1) * TOKENS, dtype=torch.float32).view(TOKENS + 1, TOKENS).sin())
        self.calls = []

    def forward(self, x_t, time, given, previous):
        self.calls.append((x_t, time, previous, torch.is_grad_enabled()))
        logits = self.table[x_t] if previous is None else self.table[x_t] + previous.x0_hat
        return Estimate(normalised(logits), logits)


def diffusion_of(share):
    clock = Chain(10)
    return Diffusion(
        space=DiscreteSpace(TOKENS), kernel=Absorbing(TOKENS), schedule=build("linear-alpha-bar"), denoiser=Stub(),
        objective=token_error, times=UniformTimes(10), reverse=ancestral_drawn, clock=clock, time_input=clock.network_time,
        self_conditioning=share,
    )  # fmt: skip


def draws_of(rows=slice(ROWS)):
    return Draws(seed=4, batch=ROWS, rows=rows, device=torch.device("cpu"))


def canvas_of(rows=slice(ROWS)):
    ids = (torch.arange(ROWS * LENGTH).view(ROWS, LENGTH) % TOKENS)[rows]
    return Canvas(ids=ids, given=torch.zeros_like(ids, dtype=torch.bool))


@pytest.mark.parametrize("share", [0.5, 0.2])
def test_a_share_of_examples_hears_what_it_estimated_without_a_gradient(share):
    """The share of 400 within 4.5 standard errors."""
    diffusion = diffusion_of(share)
    diffusion.loss(canvas_of(), draws_of())
    (first_x, first_time, nothing, gradient), (x_t, time, heard, learns) = diffusion.denoiser.calls
    assert (nothing, gradient, learns) == (None, False, True)
    assert isinstance(heard, Heard)
    assert abs(len(heard.rows) / ROWS - share) < 4.5 * (share * (1 - share) / ROWS) ** 0.5
    assert torch.equal(first_x, x_t[heard.rows])
    assert torch.equal(first_time, time[heard.rows])
    assert not heard.estimate.x0_hat.requires_grad
    assert torch.equal(heard.x0_hat[heard.rows], normalised(diffusion.denoiser.table[first_x]))
    others = torch.ones(ROWS, dtype=torch.bool).index_fill(0, heard.rows, False)
    assert (heard.x0_hat[others] == 0).all()
    assert (heard.raw[others] == 0).all()
    assert torch.equal(heard.raw[heard.rows], heard.estimate.raw)


@pytest.mark.parametrize(("share", "training"), [(None, True), (0.0, True), (0.5, False)])
def test_nothing_is_heard_otherwise(share, training):
    diffusion = diffusion_of(share).train(training)
    diffusion.loss(canvas_of(), draws_of())
    ((_, _, heard, _),) = diffusion.denoiser.calls
    assert heard is None


def test_the_first_estimate_is_learnt_from_by_nobody():
    """The gradient is that of the second estimate alone, with the first one as a number."""
    diffusion = diffusion_of(0.5)
    diffusion.loss(canvas_of(), draws_of()).mean().backward()
    x_t, _, heard, _ = diffusion.denoiser.calls[1]
    table = diffusion.denoiser.table.detach().clone().requires_grad_()
    logits = table[x_t] + heard.x0_hat
    (-normalised(logits).gather(-1, canvas_of().ids[..., None])).mean().backward()
    assert torch.allclose(diffusion.denoiser.table.grad, table.grad, atol=1e-6)


def test_micro_batches_hear_the_same():
    diffusion = diffusion_of(0.5)
    whole, parts, kept = diffusion.loss(canvas_of(), draws_of()), [], {}
    for rows in (slice(0, 150), slice(150, ROWS)):
        draws = Draws(seed=4, batch=ROWS, rows=rows, device=torch.device("cpu"), kept=kept)
        parts.append(diffusion.loss(canvas_of(rows), draws))
    assert torch.allclose(whole, torch.cat(parts), atol=1e-6)
