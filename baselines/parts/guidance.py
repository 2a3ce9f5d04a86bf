"""Classifier-free guidance: conditions that are left out of what a network sees, in training and beside itself in sampling."""

from jaxtyping import Bool, Float, Int
from torch import Tensor

from baselines.parts.categorical import mixed
from baselines.parts.conditioning import Canvas
from baselines.parts.denoisers import Denoiser, Told, select
from baselines.parts.estimates import Estimate, Weighted
from baselines.parts.spaces import DrawSource


class Guided:
    """Discrete classifier-free guidance: estimates move away from those that are made without the condition.

    Log-probabilities gamma log p(x_0 | x_t, y) + (1 - gamma) log p(x_0 | x_t), normalised (Schiff et al. 2024,
    arXiv:2412.10193, section 3.1; Nie et al. 2025, LLaDA, arXiv:2502.09992, appendix A.2, with gamma = 1 + w). Two evaluations
    a step, or one where a weight is 0, as released.

    The section mixes the reverse laws instead. Under uniform noise the reverse step does, from `weighted`. Under absorbing noise
    that would tilt the chance of a reveal too; released code mixes the estimates there, which leaves the chance as the schedule
    has it, and is followed.

    Args:
        denoiser: what is wrapped.
        gamma: weight of the condition; 1 = as trained with it, 0 = without it.
        null: what stands at given positions where the condition is left out.
    """

    def __init__(self, denoiser: Denoiser, gamma: float, null: int) -> None:
        self.denoiser, self.gamma, self.null = denoiser, gamma, null

    def __call__(self, x_t: Tensor, time: Told, given: Bool[Tensor, "B L"], previous: Estimate | None) -> Estimate:
        """Estimate x0, guided."""
        if self.gamma == 0:
            return self._unconditional(x_t, time, given, previous)
        conditional = self.denoiser(x_t, time, given, previous)
        return conditional if self.gamma == 1 else Mixed(conditional, self._unconditional(x_t, time, given, previous), self.gamma)

    def _unconditional(self, x_t: Tensor, time: Told, given: Bool[Tensor, "B L"], previous: Estimate | None) -> Estimate:
        return self.denoiser(x_t.masked_fill(given, self.null), time, given, previous)

    def select(self, rows: Int[Tensor, " C"]) -> "Guided":
        """For some rows."""
        return Guided(select(self.denoiser, rows), self.gamma, self.null)


class Mixed(Estimate):
    """Log-probabilities of two estimates, mixed with weights gamma and 1 - gamma and normalised.

    Args:
        first: the estimate of weight gamma.
        second: the estimate of weight 1 - gamma.
    """

    def __init__(self, first: Estimate, second: Estimate, gamma: float) -> None:
        self.first, self.second, self.gamma = first, second, gamma

    @property
    def x0_hat(self) -> Tensor:
        """See `Estimate`."""
        return mixed(self.first.x0_hat, self.second.x0_hat, self.gamma)

    @property
    def raw(self) -> Tensor:
        """That of the first."""
        return self.first.raw

    @property
    def weighted(self) -> Weighted:
        """See `Estimate`."""
        return (self.gamma, self.first), (1 - self.gamma, self.second)

    def at(self, chosen: Bool[Tensor, "B L"]) -> Float[Tensor, "M W"]:
        """See `Estimate`."""
        return mixed(self.first.at(chosen), self.second.at(chosen), self.gamma)

    def raw_at(self, chosen: Bool[Tensor, "B L"]) -> Float[Tensor, "M W"]:
        """That of the first."""
        return self.first.raw_at(chosen)

    def everywhere(self) -> Bool[Tensor, "B L"]:
        """See `Estimate`."""
        return self.first.everywhere()


class ConditionDropout:
    """Leaves the condition out of what the network sees, in some rows of a training batch.

    Ho and Salimans 2022 (classifier-free diffusion guidance, arXiv:2207.12598), algorithm 1.

    Args:
        rate: share of rows.
        null: what stands at given positions of those rows.
    """

    def __init__(self, rate: float, null: int) -> None:
        self.rate, self.null = rate, null

    def __call__(self, x_t: Tensor, canvas: Canvas, draws: DrawSource) -> Tensor:
        """States as the network sees them."""
        dropped = draws.uniform("condition")[:, None] < self.rate
        return x_t.masked_fill(canvas.given & dropped, self.null)
