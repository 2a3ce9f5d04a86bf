"""Glancing: the more of a guess is wrong, the more of the reference is revealed before the network is held to the rest.

Qian et al. 2021 (GLAT, arXiv:2008.07905), section 3. How texts are written behind a guess, `guess_and_write`, is this harness's
own; its states are the tokens, the mask, and the tokens again, guessed.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from baselines.parts.categorical import Absorbing
from baselines.parts.estimates import Estimate
from baselines.parts.kernels import Kernel
from baselines.parts.remasking import Confidence, ranked
from baselines.parts.samplers import Level
from baselines.parts.samplers_discrete import lowest, with_tokens_at

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


def guess_and_write(
    kernel: Kernel, x_t: Tensor, estimate: Estimate, alpha_t: Level, alpha_s: Level, *, noise: Tensor, final: bool, mode: bool,
    confidence: Confidence | None = None,
) -> Tensor:  # fmt: skip
    """Writes tokens until as many stand as alpha_s says; an unknown canvas gets a guess in all other places.

    The network is asked by rows in which a token is due or nothing is guessed yet.

    Args:
        mode: whether tokens are the most probable ones instead of draws, as they are in the final step, which writes all.
        confidence: what ranks places, from what is drawn there; `None` = a random order, which does not depend on it.
    """
    assert isinstance(kernel, Absorbing)
    hidden, unknown = x_t >= kernel.mask, x_t == kernel.mask
    left = (torch.zeros_like(alpha_s) if final else 1 - alpha_s).expand(x_t.shape).sum(-1).round().long()
    if confidence is None:
        due = lowest(noise[..., 0], hidden, left)
        drawn = with_tokens_at(x_t, due | unknown, estimate, noise, mode=mode or final)
    else:
        asked = hidden & (unknown | (hidden.sum(-1) > left)[:, None])
        if not bool(asked.any()):
            return x_t
        drawn, priority = ranked(x_t, asked, estimate, noise, confidence, mode=mode or final)
        due = lowest(priority, asked, left)
    return torch.where(due, drawn, torch.where(unknown, drawn + kernel.mask + 1, x_t))
