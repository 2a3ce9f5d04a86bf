"""Loss terms on token ids, in nats per position."""

import math
from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor

from baselines.parts.categorical import CategoricalKernel
from baselines.parts.steps import Step

Term = Callable[[Step], Float[Tensor, "B L"]]


def bound_term(kernel: CategoricalKernel) -> Term:
    """One term of the variational bound: the divergence of a reverse step, which for the last one is -log p(x_0 | x_1)."""

    def term(step: Step) -> Float[Tensor, "B L"]:
        return kernel.divergence(step.x_t, step.ids, step.estimate.x0_hat, step.alpha_t, step.alpha_s)

    return term


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
