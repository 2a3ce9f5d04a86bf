"""Noise that masks and replaces at once, in closed form; the reverse law is the mean of q(x_s | x_t, x_0) over the estimate."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from baselines.parts.categorical import CategoricalKernel, Ids, Level, Pairs, joint, point
from baselines.parts.estimates import Estimate, pieces_of
from baselines.parts.kernels import Kernel
from baselines.parts.randomness import categorical
from harness.schedules import mutual_information


class MaskAndReplace(CategoricalKernel):
    """Noise that masks tokens and replaces a few by any token, in closed form (Gu et al. 2022, arXiv:2111.14822).

    q(x_t | x_0) keeps the token with probability a, replaces it by a token drawn from all with probability u = min(r, 1 - a), and
    masks it else. A mask stays a mask. The reverse law is the mean of q(x_s | x_t, x_0) over the estimate, so that a token that
    is no mask can still be replaced. Estimates name tokens only, never the mask. Schedules tell a; no matrix is made.

    Args:
        vocabulary: number of tokens V; the mask has id V.
        replaced: r, the share of tokens that is replaced in the end.

    Raises:
        ValueError: a share that is not between 0 and 1.
    """

    def __init__(self, vocabulary: int, replaced: float) -> None:
        if not 0 < replaced < 1:
            raise ValueError(f"replaced = {replaced}, expected a share between 0 and 1; for 0 take the absorbing kernel")
        super().__init__(vocabulary + 1, point(torch.tensor(vocabulary), vocabulary + 1).exp())
        self.mask, self.replaced = vocabulary, replaced

    def even(self, alpha: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
        """u, the probability that a token was replaced by one drawn from all."""
        return (1 - alpha).clamp(max=self.replaced)

    def between(self, alpha_t: Level, alpha_s: Level) -> tuple[Level, Level]:
        """Probabilities from s to t that a token is kept, and that it is replaced by one drawn from all."""
        here, there, tiny = self.even(alpha_t), self.even(alpha_s), torch.finfo(torch.float64).tiny
        kept = alpha_t / alpha_s.clamp_min(tiny)
        return kept, (here - kept * there).clamp_min(0) / (alpha_s + there).clamp_min(tiny)

    def prior(self, noise: Pairs) -> Ids:
        """Nothing but masks."""
        return torch.full(noise.shape[:2], self.mask, device=noise.device)

    def corrupt(self, x0: Ids, alpha: Level, noise: Pairs) -> Ids:
        """A draw from q(x_t | x_0)."""
        replaced = (noise[..., 1] * self.mask).long()
        moved = torch.where(noise[..., 0] < alpha + self.even(alpha), replaced, self.mask)
        return torch.where(noise[..., 0] < alpha, x0, moved)

    def log_marginal(self, x0_hat: Float[Tensor, "B L V"], alpha: Level) -> Float[Tensor, "B L S"]:
        """See `CategoricalKernel`."""
        even, kept = self.even(alpha)[..., None], x0_hat[..., : self.mask] + alpha.log()[..., None].to(x0_hat.dtype)
        tokens = torch.logaddexp(kept, (even / self.mask).log().to(kept.dtype))
        masked = (1 - alpha[..., None] - even).clamp_min(0).log().to(kept.dtype)
        return torch.cat([tokens, masked.expand(*tokens.shape[:2], 1)], -1)

    def log_transition(self, x_t: Ids, alpha_t: Level, alpha_s: Level) -> Float[Tensor, "B L S"]:
        """See `CategoricalKernel`."""
        kept, moved = (level.expand(x_t.shape) for level in self.between(alpha_t, alpha_s))
        masked = x_t == self.mask
        law = torch.where(masked, (1 - kept - moved).clamp_min(0), moved / self.mask)[..., None].repeat(1, 1, self.states)
        law[..., self.mask] = masked.to(law.dtype)
        return law.scatter_add(-1, x_t[..., None], torch.where(masked, 0.0, kept)[..., None]).log()

    def explaining(
        self, x_t: Int[Tensor, "*batch"], x0_hat: Float[Tensor, "*batch V"], alpha_t: Float[Tensor, "*batch"]
    ) -> Float[Tensor, "*batch V"]:
        """The estimate over q(x_t | x_0), normalised: in the joint form it gives the mean of q(x_s | x_t, x_0)."""
        itself = x_t.clamp(max=self.mask - 1)[..., None]
        lowered = torch.where(x_t == self.mask, 0.0, self.surprise(alpha_t)).to(x0_hat.dtype)
        return x0_hat.scatter_add(-1, itself, lowered[..., None]).log_softmax(-1)

    def surprise(self, alpha_t: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
        """Logarithm of how much rarer a token becomes any other one than it becomes, or stays, itself."""
        even = self.even(alpha_t) / self.mask
        return even.log() - (alpha_t + even).log()

    def posterior(self, x_t: Ids, x0_hat: Float[Tensor, "B L V"], alpha_t: Level, alpha_s: Level) -> "Replacing":
        """The mean of q(x_s | x_t, x_0); see the class."""
        return Replacing(self, x_t, x0_hat, alpha_t.expand(x_t.shape), alpha_s.expand(x_t.shape))

    def divergence(
        self, x_t: Ids, x0: Ids, x0_hat: Float[Tensor, "B L V"], alpha_t: Level, alpha_s: Level
    ) -> Float[Tensor, "B L"]:
        """See `CategoricalKernel`."""
        explaining = self.explaining(x_t, x0_hat, alpha_t.expand(x_t.shape))
        return super().divergence(x_t, x0, explaining, alpha_t, alpha_s)

    def information(self, alpha: Float[Tensor, " M"], unigram: Float[Tensor, " V"]) -> Float[Tensor, " M"]:
        """See `CategoricalKernel`: what is masked tells nothing, the rest is uniform noise of its own."""
        shown = alpha + self.even(alpha)
        uniform = mutual_information.Mixing(torch.full_like(unigram, 1 / len(unigram)))
        return shown * uniform.information(alpha / shown.clamp_min(torch.finfo(torch.float64).tiny), unigram)


@dataclass(frozen=True, slots=True)
class Replacing:
    """The law of one reverse step of `MaskAndReplace`; draws of the size "B L V" are made only where tokens are written anew.

    Attributes:
        kernel: whose step it is.
        x_t: states at t.
        log_x0: log-probabilities of the estimate.
        alpha_t, alpha_s: signal kept at t and s.
    """

    kernel: MaskAndReplace
    x_t: Ids
    log_x0: Float[Tensor, "B L V"]
    alpha_t: Float[Tensor, "B L"]
    alpha_s: Float[Tensor, "B L"]

    def log_probabilities(self) -> Float[Tensor, "B L S"]:
        """The whole law, the mask last."""
        explaining = self.kernel.explaining(self.x_t, self.log_x0, self.alpha_t)
        transition = self.kernel.log_transition(self.x_t, self.alpha_t, self.alpha_s)
        return joint(transition, self.kernel.log_marginal(explaining, self.alpha_s)).log_probabilities()

    def probabilities(self) -> Float[Tensor, "B L S"]:
        """Probabilities."""
        return self.log_probabilities().exp()

    def mode(self) -> Ids:
        """The most probable state of every position."""
        return self.log_probabilities().argmax(-1)

    def rewritten(self) -> tuple[Float[Tensor, "B L"], Float[Tensor, "B L"]]:
        """See `rewritten`."""
        return rewritten(self.kernel, self.x_t, self._estimate(), self.alpha_t, self.alpha_s)

    def sample(self, noise: Pairs) -> Ids:
        """See `drawn`."""
        return drawn(self.kernel, self.x_t, self._estimate(), self.alpha_t, self.alpha_s, noise)

    def _estimate(self) -> Estimate:
        return Estimate(self.log_x0, self.log_x0)


def rewritten(
    kernel: MaskAndReplace, x_t: Ids, estimate: Estimate, alpha_t: Float[Tensor, "B L"], alpha_s: Float[Tensor, "B L"]
) -> tuple[Float[Tensor, "B L"], Float[Tensor, "B L"]]:
    """Probabilities that a position gets a token drawn from all, and that it gets one of the estimate; else it stays."""
    even, shown_t, tiny = kernel.even(alpha_s), alpha_t + kernel.even(alpha_t), torch.finfo(torch.float64).tiny
    shown_s = alpha_s + even
    revealed = (shown_s - shown_t) / (1 - shown_t).clamp_min(tiny)
    kept, moved = kernel.between(alpha_t, alpha_s)
    named = estimate.of(x_t.clamp(max=kernel.mask - 1)).double().exp()
    explained = named * kernel.surprise(alpha_t).exp()
    itself = explained / (explained + 1 - named)  # that the token at t is the clean one
    stays, anew = kept * (alpha_s * itself + even / kernel.mask), moved / kernel.mask * shown_s
    changed = torch.where(x_t == kernel.mask, revealed, anew / (stays + anew))
    return changed * even / shown_s.clamp_min(tiny), changed * alpha_s / shown_s.clamp_min(tiny)


def drawn(
    kernel: MaskAndReplace, x_t: Ids, estimate: Estimate, alpha_t: Float[Tensor, "B L"], alpha_s: Float[Tensor, "B L"],
    noise: Pairs,
) -> Ids:  # fmt: skip
    """A draw of x_s: positions are chosen first; the estimate is looked at in those alone that get a token of it, in pieces."""
    (even, estimated), x_s = rewritten(kernel, x_t, estimate, alpha_t, alpha_s), x_t.clone()
    choice, place = noise[..., 0], noise[..., 1]
    replaced = choice < even
    x_s[replaced] = (place[replaced] * kernel.mask).long()
    for piece in pieces_of(~replaced & (choice < even + estimated)):
        law = kernel.explaining(x_t[piece], estimate.at(piece), alpha_t[piece])
        x_s[piece] = categorical(law.softmax(-1), place[piece])
    return x_s


def rewrite_first(
    kernel: Kernel, x_t: Tensor, estimate: Estimate, alpha_t: Level, alpha_s: Level, *, noise: Tensor, final: bool
) -> Tensor:
    """The reverse step of `MaskAndReplace`, in the final step too, without a table of the vocabulary; see `drawn`.

    Raises:
        TypeError: another kernel.
    """
    if not isinstance(kernel, MaskAndReplace):
        raise TypeError(f"rewriting needs noise that masks and replaces, not {type(kernel).__name__}")
    return drawn(kernel, x_t, estimate, alpha_t.expand(x_t.shape), alpha_s.expand(x_t.shape), noise)
