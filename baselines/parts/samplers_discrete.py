"""Reverse steps of absorbing noise other than ancestral sampling."""

from dataclasses import replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from baselines.parts.categorical import Absorbing, Unmasking
from baselines.parts.denoisers import Estimate
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
    x_s, law = x_t.clone(), estimate.at(chosen)
    x_s[chosen] = law.argmax(-1) if mode else categorical(law.softmax(-1), noise[..., 1][chosen])
    return x_s


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
