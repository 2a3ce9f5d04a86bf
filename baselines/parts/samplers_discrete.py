"""Reverse steps of absorbing and of uniform noise: ancestral sampling that draws only where tokens change, and others."""

import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from baselines.parts.categorical import Absorbing, Uniform
from baselines.parts.estimates import PIECE, Estimate, pieces_of
from baselines.parts.kernels import Kernel
from baselines.parts.randomness import categorical
from baselines.parts.samplers import Level


def reveal_first(
    kernel: Kernel, x_t: Tensor, estimate: Estimate, alpha_t: Level, alpha_s: Level, *, noise: Tensor, final: bool
) -> Tensor:
    """Ancestral sampling that first draws which masks are revealed and then looks at the estimate of those alone.

    Which masks are revealed does not depend on the estimate, so the law is that of `ancestral_drawn`; where none is, the network
    is not asked. The final step takes the mode of whatever is masked still, as released by Sahoo et al. 2024 (MDLM,
    arXiv:2406.07524).
    """
    if not isinstance(kernel, Absorbing):
        raise TypeError(f"revealing masks needs absorbing noise; {type(kernel).__name__} has no mask")
    masked = x_t == kernel.mask
    chosen = masked & (noise[..., 0] < kernel.reveal(alpha_t, alpha_s))
    return with_tokens_at(x_t, chosen, estimate, noise, mode=final)


def reveal_and_draw(
    kernel: Kernel, x_t: Tensor, estimate: Estimate, alpha_t: Level, alpha_s: Level, *, noise: Tensor, final: bool
) -> Tensor:
    """As `reveal_first`, but tokens are drawn in the final step too."""
    return reveal_first(kernel, x_t, estimate, alpha_t, alpha_s, noise=noise, final=False)


def with_tokens_at(
    x_t: Int[Tensor, "B L"], chosen: Bool[Tensor, "B L"], estimate: Estimate, noise: Float[Tensor, "B L 2"], *, mode: bool = False
) -> Int[Tensor, "B L"]:
    """x_t with a token of the estimate's law in the chosen places, or with its most probable one (`mode`)."""
    if not bool(chosen.any()):
        return x_t
    draws = noise[..., 1][chosen].split(PIECE)
    tokens = [
        law.argmax(-1) if mode else categorical(law.softmax(-1), piece)
        for law, piece in zip(estimate.pieces(chosen), draws, strict=True)
    ]
    return x_t.masked_scatter(chosen, torch.cat(tokens))


def exact_count(
    kernel: Kernel, x_t: Tensor, estimate: Estimate, alpha_t: Level, alpha_s: Level, *, noise: Tensor, final: bool
) -> Tensor:
    """Reveal as many masks as the schedule expects, at random places, instead of each by its own chance.

    After the step round((1 - a_s) n) of the n positions that are written stay masked, so with as many steps as positions they
    are revealed one at a time. The final step takes the mode.
    """
    if not isinstance(kernel, Absorbing):
        raise TypeError(f"exact-count unmasking needs absorbing noise; {type(kernel).__name__} has no mask")
    masked, free = x_t == kernel.mask, (alpha_t < 1).expand(x_t.shape)
    left = ((1 - alpha_s) * free).sum(-1).round().long()
    return with_tokens_at(x_t, masked if final else lowest(noise[..., 0], masked, left), estimate, noise, mode=final)


def lowest(priority: Float[Tensor, "B L"], masked: Bool[Tensor, "B L"], left: Int[Tensor, " B"]) -> Bool[Tensor, "B L"]:
    """The masked positions of lowest priority, as many as must go until `left` are left; of equal ones the first."""
    order = torch.where(masked, priority, torch.inf).argsort(dim=-1, stable=True).argsort(-1)
    return masked & (order < (masked.sum(-1) - left)[:, None])


def renewed(
    kernel: Kernel, x_t: Tensor, estimate: Estimate, alpha_t: Level, alpha_s: Level, *, noise: Tensor, final: bool
) -> Tensor:
    """Ancestral sampling of uniform noise that first draws which tokens stay and then draws anew only those that do not.

    p(x_s | x_t) is proportional to (V k [x_s = x_t] + 1 - k) m(x_s), with k = a_t / a_s and m the mean of q(x_s | x_0) over the
    estimate: the law of `Uniform.posterior`, as a mixture of staying and of a draw from m. How likely it is to stay takes m at
    x_t alone, because m sums to 1.

    Where estimates are mixed, what is mixed are the logarithms of the reverse laws they lead to (discrete classifier-free
    guidance, Schiff et al. 2024, arXiv:2412.10193, section 3.1). That is the mixture above with the logarithms of their m mixed,
    whose sum is not 1: only then is m read at every position, a piece at a time, in the precision of the estimate.
    """
    if not isinstance(kernel, Uniform):
        raise TypeError(f"renewing tokens needs uniform noise, not {type(kernel).__name__}")
    law = Renewal(kernel, x_t, estimate, alpha_t.expand(x_t.shape), alpha_s.expand(x_t.shape))
    chosen = noise[..., 0] > law.stay()
    if not bool(chosen.any()):
        return x_t
    tokens = [categorical(law.anew(piece).softmax(-1), noise[..., 1][piece]) for piece in pieces_of(chosen)]
    return x_t.masked_scatter(chosen, torch.cat(tokens))


class Renewal:
    """The law of one reverse step of uniform noise, as a mixture of staying and of a draw from m; see `renewed`.

    Args:
        kernel: the noise.
        x_t: the states at t.
        estimate: of x_0, one or a mixture.
        alpha_t, alpha_s: signal that is kept at t and at s.
    """

    def __init__(
        self, kernel: Uniform, x_t: Int[Tensor, "B L"], estimate: Estimate, alpha_t: Float[Tensor, "B L"],
        alpha_s: Float[Tensor, "B L"],
    ) -> None:  # fmt: skip
        self.kernel, self.x_t, self.estimate, self.alpha_s = kernel, x_t, estimate, alpha_s
        self.kept = alpha_t / alpha_s.clamp_min(torch.finfo(torch.float64).tiny)

    def stay(self) -> Float[Tensor, "B L"]:
        """The chance that x_t stays without a draw, float64."""
        if self.estimate.weighted is None:
            here = self.kernel.log_marginal(self.estimate.of(self.x_t).double()[..., None], self.alpha_s)[..., 0]
            total = torch.zeros_like(here)
        else:
            here, total = self._here_and_total()
        return torch.sigmoid(math.log(self.kernel.states) + self.kept.log() + here - torch.log1p(-self.kept) - total)

    def anew(self, chosen: Bool[Tensor, "B L"]) -> Float[Tensor, "M V"]:
        """Logarithms of m at chosen positions: q(x_s | x_0) over each estimate, mixed; not normalised."""
        (weight, first), *others = self.estimate.weighted or ((1.0, self.estimate),)
        alpha = self.alpha_s[chosen][None]
        mixed = weight * self.kernel.log_marginal(first.at(chosen)[None], alpha)
        for weight, estimate in others:
            mixed += weight * self.kernel.log_marginal(estimate.at(chosen)[None], alpha)
        return mixed[0]

    def probabilities(self) -> Float[Tensor, "B L V"]:
        """The whole law, float64."""
        stay = self.stay()[..., None]
        drawn = self.anew(torch.ones_like(self.x_t, dtype=torch.bool)).double().softmax(-1).view(*self.x_t.shape, -1)
        return ((1 - stay) * drawn).scatter_add(-1, self.x_t[..., None], stay)

    def _here_and_total(self) -> tuple[Float[Tensor, "B L"], Float[Tensor, "B L"]]:
        """Logarithms of what is mixed, at x_t and in sum."""
        found = []
        for piece in pieces_of(torch.ones_like(self.x_t, dtype=torch.bool)):
            law = self.anew(piece)
            found.append(torch.stack([law.gather(-1, self.x_t[piece][:, None])[:, 0], law.logsumexp(-1)]))
        here, total = torch.cat(found, -1).double()
        return here.view_as(self.alpha_s), total.view_as(self.alpha_s)


def renewed_then_mode(
    kernel: Kernel, x_t: Tensor, estimate: Estimate, alpha_t: Level, alpha_s: Level, *, noise: Tensor, final: bool
) -> Tensor:
    """As `renewed`, but the final step takes the most probable x_0 of the estimate, whatever x_t is (greedy tail).

    Sahoo et al. 2025 (Duo, arXiv:2506.10892). It is not the mode of p(x_0 | x_t), which so late is x_t itself.
    """
    return estimate.mode() if final else renewed(kernel, x_t, estimate, alpha_t, alpha_s, noise=noise, final=final)
