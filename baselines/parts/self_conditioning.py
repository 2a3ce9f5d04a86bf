"""Estimates that a network hears of before it estimates again (Chen et al. 2022, arXiv:2208.04202)."""

from jaxtyping import Int, Shaped
from torch import Tensor

from baselines.parts.estimates import Estimate


class Heard(Estimate):
    """An estimate that some rows of a batch hear of before they estimate again; to the others it is 0.

    Args:
        estimate: of the rows that hear of it.
        rows: their numbers.
        batch: rows of the batch.
    """

    def __init__(self, estimate: Estimate, rows: Int[Tensor, " C"], batch: int) -> None:
        self.estimate, self.rows, self.batch = estimate, rows, batch

    @property
    def x0_hat(self) -> Tensor:
        """See `Estimate`."""
        return self.spread(self.estimate.x0_hat)

    @property
    def raw(self) -> Tensor:
        """See `Estimate`."""
        return self.spread(self.estimate.raw)

    def spread(self, values: Shaped[Tensor, "C *shape"]) -> Shaped[Tensor, "B *shape"]:
        """Values of the rows that hear, and 0 elsewhere."""
        return values.new_zeros(self.batch, *values.shape[1:]).index_copy(0, self.rows, values)
