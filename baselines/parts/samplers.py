"""Reverse steps: plain functions from x_t to x_s. Which steps are visited is an argument of the loop, not theirs."""

from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from baselines.parts.estimates import Estimate
from baselines.parts.gaussian import noise_from_x0
from baselines.parts.kernels import Kernel

Level = Float[Tensor, "B #L"]


@runtime_checkable
class Reverse(Protocol):
    """One reverse step from t to s."""

    def __call__(
        self, kernel: Kernel, x_t: Tensor, estimate: Estimate, alpha_t: Level, alpha_s: Level, *, noise: Tensor, final: bool
    ) -> Tensor:
        """The state at s; `final` steps end at the data."""
        ...


@runtime_checkable
class Timed(Protocol):
    """A reverse step that depends on the times themselves, not on what is kept at them alone."""

    def between(self, t: float, s: float) -> Reverse:
        """The step from t to s."""
        ...


Undo = Reverse | Timed


def ancestral(
    kernel: Kernel, x_t: Tensor, estimate: Estimate, alpha_t: Level, alpha_s: Level, *, noise: Tensor, final: bool
) -> Tensor:
    """Draw from q(x_s | x_t, x_0) at the estimate; the final step takes the mode (Ho et al. 2020, algorithm 2)."""
    law = kernel.posterior(x_t, estimate.x0_hat, alpha_t, alpha_s)
    return law.mode() if final else law.sample(noise)


def ancestral_drawn(
    kernel: Kernel, x_t: Tensor, estimate: Estimate, alpha_t: Level, alpha_s: Level, *, noise: Tensor, final: bool
) -> Tensor:
    """Draw from q(x_s | x_t, x_0) at the estimate, in the final step too."""
    return kernel.posterior(x_t, estimate.x0_hat, alpha_t, alpha_s).sample(noise)


def ddim(
    kernel: Kernel, x_t: Tensor, estimate: Estimate, alpha_t: Level, alpha_s: Level, *, noise: Tensor, final: bool,
    eta: float = 0.0,
) -> Tensor:  # fmt: skip
    """Denoising diffusion implicit step for Gaussian kernels (Song et al. 2021, arXiv:2010.02502, equation 12).

    Args:
        eta: 0 is deterministic; 1 has the variance of the ancestral step.
    """
    variance = eta**2 * (1 - alpha_s) / (1 - alpha_t) * (1 - alpha_t / alpha_s)
    direction = noise_from_x0(x_t, estimate.x0_hat, alpha_t)
    mean = _wide(alpha_s.sqrt(), x_t) * estimate.x0_hat + _wide((1 - alpha_s - variance).sqrt(), x_t) * direction
    return mean if final else mean + _wide(variance.sqrt(), x_t) * noise


def _wide(level: Level, state: Tensor) -> Float[Tensor, "B #L 1"]:
    return torch.nan_to_num(level).to(state.dtype)[..., None]
