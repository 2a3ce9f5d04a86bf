"""The Gaussian kernel of variance-preserving diffusion: x_t = sqrt(alpha) x_0 + sqrt(1 - alpha) noise.

Ho et al. 2020 (DDPM, arXiv:2006.11239), equations 4, 6 and 7, for any two levels alpha_t <= alpha_s instead of neighbours only.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from baselines.parts.kernels import Kernel
from baselines.parts.spaces import DrawSource

Level = Float[Tensor, "*levels"]
State = Float[Tensor, "B L S"]
Variance = Callable[[Level, Level], Level]


def posterior_variance(alpha_t: Level, alpha_s: Level) -> Level:
    """Variance of q(x_s | x_t, x_0): (1 - alpha_t / alpha_s) (1 - alpha_s) / (1 - alpha_t). DDPM equation 7, the small choice."""
    return step_variance(alpha_t, alpha_s) * (1 - alpha_s) / _positive(1 - alpha_t)


def step_variance(alpha_t: Level, alpha_s: Level) -> Level:
    """Variance of q(x_t | x_s): 1 - alpha_t / alpha_s, beta_t for neighbours; the large choice of DDPM section 3.2."""
    return 1 - alpha_t / _positive(alpha_s)


def marginal_variance(alpha: Level) -> Level:
    """Variance of q(x_t | x_0)."""
    return 1 - alpha


def clipped_log_variance(levels: Float[Tensor, "T_plus_1"]) -> Float[Tensor, "T"]:
    """Logarithm of the posterior variance of every step of a chain; the first, which is 0, is replaced by the second."""
    variance = posterior_variance(levels[1:], levels[:-1])
    return torch.cat([variance[1:2], variance[1:]]).log()


def large_variance(levels: Float[Tensor, "T_plus_1"]) -> Float[Tensor, "T"]:
    """Step variance of every step of a chain; the first is replaced by the posterior variance of the second (FIXED_LARGE)."""
    return torch.cat([posterior_variance(levels[2:3], levels[1:2]), step_variance(levels[2:], levels[1:-1])])


def posterior_weights(alpha_t: Level, alpha_s: Level) -> tuple[Level, Level]:
    """Weights of x_0 and x_t in the mean of q(x_s | x_t, x_0). DDPM equation 7."""
    noise = _positive(1 - alpha_t)
    of_x0 = alpha_s.sqrt() * step_variance(alpha_t, alpha_s) / noise
    of_x_t = (alpha_t / _positive(alpha_s)).sqrt() * (1 - alpha_s) / noise
    return of_x0, of_x_t


def noise_from_x0(x_t: State, x0: State, alpha: Level) -> State:
    """The noise that turned x_0 into x_t."""
    return (x_t - _like(alpha.sqrt(), x0) * x0) / _like((1 - alpha).sqrt(), x0)


def x0_from_noise(x_t: State, noise: State, alpha: Level) -> State:
    """The x_0 that a noise turned into x_t."""
    return (x_t - _like((1 - alpha).sqrt(), noise) * noise) / _like(alpha.sqrt(), noise)


@dataclass(frozen=True, slots=True)
class Gaussian:
    """A normal law with one variance per position."""

    mean: State
    variance: Level

    def sample(self, noise: State) -> State:
        """Mean plus scaled noise."""
        return self.mean + _like(self.variance.sqrt(), self.mean) * noise

    def mode(self) -> State:
        """The mean."""
        return self.mean


class GaussianKernel(Kernel):
    """Adds Gaussian noise to vectors.

    Args:
        width: dimension S of a state.
        variance: variance of reverse steps: `posterior_variance` or `step_variance`.
    """

    def __init__(self, width: int, variance: Variance) -> None:
        self.width, self.variance = width, variance

    def noise(self, source: DrawSource, key: str | int, positions: int) -> State:
        """Standard normal draws."""
        return source.normal(key, positions, self.width)

    def prior(self, noise: State) -> State:
        """The noise itself."""
        return noise

    def corrupt(self, x0: State, alpha: Level, noise: State) -> State:
        """Mix signal and noise."""
        return _like(alpha.sqrt(), x0) * x0 + _like((1 - alpha).sqrt(), x0) * noise

    def posterior(self, x_t: State, x0_hat: State, alpha_t: Level, alpha_s: Level) -> Gaussian:
        """The reverse step towards an estimate of x_0; where nothing is noisy (alpha_t = 1) the law means nothing."""
        of_x0, of_x_t = posterior_weights(alpha_t, alpha_s)
        return Gaussian(_like(of_x0, x0_hat) * x0_hat + _like(of_x_t, x_t) * x_t, self.variance(alpha_t, alpha_s))


def _positive(level: Level) -> Level:
    """Keep pinned positions, whose noise level is 0, from dividing by it."""
    return torch.where(level > 0, level, 1.0)


def _like(level: Level, state: State) -> Float[Tensor, "B #L 1"]:
    return level.to(state.dtype)[..., None]
