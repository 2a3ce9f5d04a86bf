"""Glancing: the more of a guess is wrong, the more of the reference is revealed before the network is held to the rest.

Qian et al. 2021 (GLAT, arXiv:2008.07905), section 3.
"""

from jaxtyping import Bool, Float, Int
from torch import Tensor

from baselines.parts.samplers_discrete import lowest

Ids = Int[Tensor, "B L"]
Positions = Bool[Tensor, "B L"]
Counts = Int[Tensor, " B"]


def agreement(ids: Ids, guess: Ids, counted: Positions) -> tuple[Counts, Counts]:
    """How many positions are counted, and in how many of those a guess shows the reference `ids`."""
    return counted.sum(-1), (counted & (guess == ids)).sum(-1)


def to_reveal(length: Counts, correct: Counts, ratio: float) -> Counts:
    """How many tokens are revealed: a share of the Hamming distance, cut to a whole number, in float32 as released."""
    return ((length - correct).float() * ratio).long()


def glanced(
    ids: Ids, guess: Ids, counted: Positions, hidden: Positions, ratio: float, places: Float[Tensor, "B L"]
) -> Positions:  # fmt: skip
    """The positions that are revealed, at random among those that are hidden.

    Args:
        ids: the reference.
        guess: what is held against it.
        counted: where.
        hidden: positions that may be revealed; all counted ones with a wrong guess are among them.
        ratio: share of the distance.
        places: one draw per position; the lowest are revealed.
    """
    return lowest(places, hidden, hidden.sum(-1) - to_reveal(*agreement(ids, guess, counted), ratio))
