"""Unmasking in an order: how many masks a reverse step turns into tokens, where, and which of them come first.

A step draws a token for every mask that it may write, ranks them, and writes as many as are due; the others are masks again.
Chang et al. 2022 (MaskGIT, arXiv:2202.04200) write the most confident tokens first; Nie et al. 2025 (LLaDA,
arXiv:2502.09992) call that low-confidence remasking and write blocks from left to right; Ye et al. 2025 (Dream,
arXiv:2508.15487) rank by entropy and by margin too.

Which step of how many it is need not be known: the masks that are left tell it.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from baselines.parts.categorical import Absorbing
from baselines.parts.estimates import PIECE, Estimate
from baselines.parts.kernels import Kernel
from baselines.parts.randomness import categorical
from baselines.parts.samplers import Level
from baselines.parts.samplers_discrete import lowest, with_tokens_at

Counts = Int[Tensor, " B"]
Law = Float[Tensor, "M V"]
Tokens = Int[Tensor, " M"]
Quota = Callable[[Counts, Counts, Float[Tensor, " B"]], Counts]
"""How many masks are due, from a block's positions, its masks, and the chance that ancestral sampling reveals one of them."""
Confidence = Callable[[Law, Tokens], Float[Tensor, " M"]]
"""What ranks tokens, the highest first, from the log-probabilities that they were drawn from and themselves."""


# --- how many --------------------------------------------------------------------------------------------------------
def evenly(steps: int) -> Quota:
    """As many in every step of a block; what does not divide goes one each to its first steps (LLaDA, as released).

    Args:
        steps: that a block is written in.
    """

    def quota(positions: Counts, masks: Counts, chance: Float[Tensor, " B"]) -> Counts:
        each, longer = positions // steps, positions % steps
        return each + (positions - masks < longer * (each + 1))

    return quota


def as_scheduled(positions: Counts, masks: Counts, chance: Float[Tensor, " B"]) -> Counts:
    """What ancestral sampling would reveal on average, rounded down (Dream, as released)."""
    return (masks * chance).long()


# --- which first -----------------------------------------------------------------------------------------------------
def probability(law: Law, tokens: Tokens) -> Float[Tensor, " M"]:
    """The log-probability of the token itself, without any noise that it was drawn with."""
    return law.gather(-1, tokens[:, None])[:, 0]


def negative_entropy(law: Law, tokens: Tokens) -> Float[Tensor, " M"]:
    """How sure the law is, whatever was drawn."""
    return -torch.special.entr(law.exp()).sum(-1)


def margin(law: Law, tokens: Tokens) -> Float[Tensor, " M"]:
    """By how much the most probable token is ahead of the second, whatever was drawn."""
    best, second = law.topk(2).values.exp().unbind(-1)
    return best - second


def picked(
    laws: Iterable[Float[Tensor, "_ V"]], uniform: Float[Tensor, " M"], confidence: Confidence, *, mode: bool = False
) -> tuple[Tokens, Float[Tensor, " M"]]:  # fmt: skip
    """A token of each law, or its most probable one (`mode`), and its rank; laws come in pieces of `PIECE`."""
    tokens, ranks = list[Tensor](), list[Tensor]()
    for piece, draws in zip(laws, uniform.split(PIECE), strict=True):
        tokens.append(piece.argmax(-1) if mode else categorical(piece.exp(), draws))
        ranks.append(confidence(piece, tokens[-1]))
    return torch.cat(tokens), torch.cat(ranks)


def ranked(
    x_t: Int[Tensor, "B L"], chosen: Bool[Tensor, "B L"], estimate: Estimate, noise: Float[Tensor, "B L 2"],
    confidence: Confidence, *, mode: bool = False,
) -> tuple[Int[Tensor, "B L"], Float[Tensor, "B L"]]:  # fmt: skip
    """x_t with a token in the chosen places, as `picked` takes it, and the places' priorities: the lowest is the surest."""
    tokens, ranks = picked(estimate.pieces(chosen), noise[..., 1][chosen], confidence, mode=mode)
    return x_t.masked_scatter(chosen, tokens), torch.zeros_like(noise[..., 0]).masked_scatter(chosen, -ranks.to(noise.dtype))


# --- where -----------------------------------------------------------------------------------------------------------
def parts_of(free: Bool[Tensor, "B L"], parts: int) -> Int[Tensor, "B L"]:
    """The part in which a free position lies, counted from 0: as many equal parts of every row's free positions, by their rank.

    Where they do not divide, parts differ by one position. Other positions get the part of the free one before them.
    """
    return (free.cumsum(-1) - 1) * parts // free.sum(-1, keepdim=True).clamp(min=1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Ordered:
    """A reverse step that writes the masks which an order puts first, block after block.

    The network is asked by rows in which a token is due, and read at the masks of their blocks alone.

    Attributes:
        quota: how many masks are due; the final step writes all that are left, in whatever block.
        confidence: what ranks them; `None` = a random order, which is drawn before the estimate is looked at.
        blocks: parts of the free positions, each written before the next (semi-autoregressive); 1 = any place at any time.
        mode: whether tokens are the most probable ones instead of draws.
    """

    quota: Quota
    confidence: Confidence | None
    blocks: int = 1
    mode: bool = False

    def __call__(
        self, kernel: Kernel, x_t: Tensor, estimate: Estimate, alpha_t: Level, alpha_s: Level, *, noise: Tensor, final: bool
    ) -> Tensor:
        """The state at s."""
        if not isinstance(kernel, Absorbing):
            raise TypeError(f"unmasking in an order needs absorbing noise; {type(kernel).__name__} has no mask")
        everywhere, free = x_t == kernel.mask, (alpha_t < 1).expand(x_t.shape)
        block = self._block(everywhere, free)
        masked = everywhere if final else everywhere & block
        masks = masked.sum(-1)
        chance = kernel.reveal(alpha_t, alpha_s).expand(x_t.shape).masked_fill(~free, 0.0).amax(-1)
        due = masks if final else self.quota(block.sum(-1), masks, chance)
        left, masked = masks - due, masked & (due > 0)[:, None]
        if self.confidence is None:
            return with_tokens_at(x_t, lowest(noise[..., 0], masked, left), estimate, noise, mode=self.mode)
        if not bool(masked.any()):
            return x_t
        drawn, priority = ranked(x_t, masked, estimate, noise, self.confidence, mode=self.mode)
        return torch.where(lowest(priority, masked, left), drawn, x_t)

    def _block(self, masked: Bool[Tensor, "B L"], free: Bool[Tensor, "B L"]) -> Bool[Tensor, "B L"]:
        """The free positions of every row's first block with masks."""
        part = parts_of(free, self.blocks)
        first = torch.where(masked & free, part, self.blocks).amin(-1, keepdim=True)
        return free & (part == first)
