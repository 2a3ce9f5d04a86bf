"""How many draws an estimate takes."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

Estimates = Float[Tensor, "N K"]


def in_rounds(draw: Callable[[int], Estimates], *, most: int, share: float) -> Estimates:
    """Estimates of N quantities, K draws of each: round after round until their total is known well enough.

    Args:
        draw: makes a round, told how many draws there are.
        most: draws after which no round begins.
        share: standard error of the total, as a share of it, that is enough.
    """
    estimates = draw(0)
    while estimates.shape[-1] < most and not _known(estimates, share):
        estimates = torch.cat([estimates, draw(estimates.shape[-1])], -1)
    return estimates


def _known(estimates: Estimates, share: float) -> bool:
    return bool(standard_errors(estimates).square().sum().sqrt() < share * estimates.mean(-1).sum())


def standard_errors(estimates: Estimates) -> Float[Tensor, " N"]:
    """Of the mean of each quantity's draws."""
    variances: Tensor = estimates.var(-1)
    return (variances / estimates.shape[-1]).sqrt()
