"""Loss terms on token ids, in nats per position."""

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from baselines.parts.categorical import Absorbing, CategoricalKernel
from baselines.parts.steps import Step
from harness.schedules.base import Schedule

Term = Callable[[Step], Float[Tensor, "B L"]]


def bound_term(kernel: CategoricalKernel) -> Term:
    """One term of the variational bound: the divergence of a reverse step, which for the last one is -log p(x_0 | x_1)."""

    def term(step: Step) -> Float[Tensor, "B L"]:
        return kernel.divergence(step.x_t, step.ids, step.estimate.x0_hat, step.alpha_t, step.alpha_s)

    return term


def masked_bound(kernel: Absorbing, schedule: Schedule) -> Term:
    """The integrand over time of the continuous bound of absorbing noise: -alpha' / (1 - alpha) times -log p(x_0), at masks.

    Sahoo et al. 2024 (MDLM, arXiv:2406.07524), equation 10; Shi et al. 2024 (MD4, arXiv:2406.04329), equation 4. Estimates are
    read at masks only.
    """

    def term(step: Step) -> Float[Tensor, "B L"]:
        masked = (step.x_t == kernel.mask) & ~step.given
        weight = (schedule.rate(step.t, step.ids) / (schedule.alpha_bar(step.t, step.ids) - 1)).expand(masked.shape)
        error = -step.estimate.at(masked).gather(-1, step.ids[masked][:, None])[:, 0]
        return torch.zeros_like(weight, dtype=error.dtype).masked_scatter(masked, error * weight[masked].to(error.dtype))

    return term


def times(factor: float, term: Term) -> Term:
    """A term, scaled."""
    return lambda step: factor * term(step)


def token_error(step: Step) -> Float[Tensor, "B L"]:
    """Cross-entropy -log p(x_0 | x_t) of the estimate, at every position, masked or not."""
    return -step.estimate.x0_hat.gather(-1, step.ids[..., None])[..., 0]


def hybrid(kernel: CategoricalKernel, *, auxiliary: float, scale: float = 1.0) -> Term:
    """Bound term plus cross-entropy (Austin et al. 2021, D3PM, arXiv:2107.03006, equation 5).

    Args:
        auxiliary: weight lambda of the cross-entropy beside one term of the bound, as released.
        scale: factor on both; with the number of steps T the first part is an estimate of the bound itself.
    """
    term = bound_term(kernel)

    def objective(step: Step) -> Float[Tensor, "B L"]:
        return scale * (term(step) + auxiliary * token_error(step)) if auxiliary else scale * term(step)

    return objective


def bits(nats: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """Nats in bits."""
    return nats / math.log(2)
