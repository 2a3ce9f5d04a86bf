"""Estimates cut to their most probable tokens."""

from jaxtyping import Bool, Float, Int
from torch import Tensor

from baselines.parts.categorical import NEVER
from baselines.parts.denoisers import Denoiser, Told, select
from baselines.parts.estimates import Changed, Estimate


class TopK:
    """Leaves the k most probable tokens in every estimate, and of equally probable ones all (Fan et al. 2018, arXiv:1805.04833).

    Args:
        denoiser: what is wrapped.
        k: how many; more than there are changes nothing.
    """

    def __init__(self, denoiser: Denoiser, k: int) -> None:
        self.denoiser, self.k = denoiser, k

    def __call__(self, x_t: Tensor, time: Told, given: Bool[Tensor, "B L"], previous: Estimate | None) -> Estimate:
        """Estimate x0, cut."""
        return Changed(self.denoiser(x_t, time, given, previous), self.cut)

    def cut(self, x0_hat: Float[Tensor, "*batch V"]) -> Float[Tensor, "*batch V"]:
        """Log-probabilities of what is left, normalised again."""
        least = x0_hat.topk(min(self.k, x0_hat.shape[-1]), -1).values[..., -1:]
        return x0_hat.masked_fill(x0_hat < least, NEVER).log_softmax(-1)

    def select(self, rows: Int[Tensor, " C"]) -> "TopK":
        """For some rows."""
        return TopK(select(self.denoiser, rows), self.k)
