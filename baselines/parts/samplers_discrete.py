"""Reverse steps of absorbing and of uniform noise: ancestral sampling that draws only where tokens change, and others."""

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from baselines.parts.categorical import Absorbing, Uniform, Unmasking
from baselines.parts.estimates import PIECE, Estimate, Weighted, pieces_of
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
    return written(x_t, chosen, estimate, noise, mode=final)


def written(
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
    law = kernel.posterior(x_t, estimate.x0_hat, alpha_t, alpha_s)
    if not isinstance(law, Unmasking):
        raise TypeError(f"exact-count unmasking needs absorbing noise; {type(kernel).__name__} has no mask")
    if final:
        return law.mode()
    written = (alpha_t < 1).expand(x_t.shape)
    left = ((1 - alpha_s) * written).sum(-1).round().long()
    chosen = lowest(noise[..., 0], x_t == law.mask, left)
    return replace(law, reveal=chosen.double()).sample(noise)


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
    guidance, Schiff et al. 2024, arXiv:2412.10193, section 3.1). That is the mixture above with the logarithms of their m mixed;
    only then is a table of m made, "B L V" in the precision of the estimate, because its sum is not 1.
    """
    if not isinstance(kernel, Uniform):
        raise TypeError(f"renewing tokens needs uniform noise, not {type(kernel).__name__}")
    alpha_s = alpha_s.expand(x_t.shape)
    kept = (alpha_t / alpha_s.clamp_min(torch.finfo(torch.float64).tiny)).expand(x_t.shape)
    tables = estimate.weighted
    if tables is None:
        here = kernel.log_marginal(estimate.of(x_t).double()[..., None], alpha_s)[..., 0]
        total = torch.zeros_like(here)
    else:
        here = _mixed(kernel, [(w, x0_hat.gather(-1, x_t[..., None]).double()) for w, x0_hat in tables], alpha_s)[..., 0]
        total = _mixed(kernel, tables, alpha_s).logsumexp(-1).double()
    stay = torch.sigmoid(math.log(kernel.states) + kept.log() + here - torch.log1p(-kept) - total)
    chosen = noise[..., 0] > stay
    if not bool(chosen.any()):
        return x_t
    tokens = [
        categorical(_renewal(kernel, estimate, tables, piece, alpha_s[piece]).softmax(-1), noise[..., 1][piece])
        for piece in pieces_of(chosen)
    ]
    return x_t.masked_scatter(chosen, torch.cat(tokens))


def _renewal(
    kernel: Uniform, estimate: Estimate, tables: Weighted | None, chosen: Bool[Tensor, "B L"], alpha: Float[Tensor, " M"]
) -> Float[Tensor, "M V"]:
    """Logarithms of what chosen positions are drawn from; not normalised."""
    laws = ((1.0, estimate.at(chosen)),) if tables is None else [(weight, x0_hat[chosen]) for weight, x0_hat in tables]
    return _mixed(kernel, [(weight, law[None]) for weight, law in laws], alpha[None])[0]


def _mixed(kernel: Uniform, estimates: Sequence[tuple[float, Tensor]], alpha: Level) -> Float[Tensor, "B L W"]:
    """Logarithms of the mean of q(x_s | x_0) over each estimate, mixed; not normalised."""
    (weight, x0_hat), *others = estimates
    mixed = weight * kernel.log_marginal(x0_hat, alpha)
    for weight, x0_hat in others:
        mixed += weight * kernel.log_marginal(x0_hat, alpha)
    return mixed


def renewed_then_mode(
    kernel: Kernel, x_t: Tensor, estimate: Estimate, alpha_t: Level, alpha_s: Level, *, noise: Tensor, final: bool
) -> Tensor:
    """As `renewed`, but the final step takes the most probable x_0 of the estimate, whatever x_t is (greedy tail).

    Sahoo et al. 2025 (Duo, arXiv:2506.10892), section 4.2. It is not the mode of p(x_0 | x_t), which so late is x_t itself.
    """
    return estimate.x0_hat.argmax(-1) if final else renewed(kernel, x_t, estimate, alpha_t, alpha_s, noise=noise, final=final)
