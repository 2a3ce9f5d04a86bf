"""Golden kinds of Diffusion-NAT -> product code. Conversions and calls only."""

from golden_conversions import all_but_last, first, floats, ints

from baselines.parts.categorical import normalised, point
from baselines.parts.replacing import MaskAndReplace
from baselines.systems.diffusion_nat import REPLACED, DiffusionNATCode
from harness.schedules.names import build


def kernel_of(K):
    return MaskAndReplace(range(K)[-1], REPLACED)


def levels(T, t):
    """What is kept after and before step t."""
    table = build(DiffusionNATCode.design.schedule.replace("@2000", f"@{T}")).levels
    return table[1:][t].view(1, 1), table[t].view(1, 1)


def terms(K, T, t, x0, x_t, x0_logits_KL):
    kernel, (alpha_t, alpha_s) = kernel_of(K), levels(T, t)
    estimate = normalised(floats([all_but_last(x0_logits_KL)]).mT)
    return {
        "q_marginal": kernel.transition_matrix(alpha_t, 1.0)[x0],
        "p_theta": first(kernel.posterior(ints([x_t]), estimate, alpha_t, alpha_s).probabilities()),
        "posterior": first(kernel.posterior(ints([x_t]), point(ints([x0]), range(K)[-1]), alpha_t, alpha_s).probabilities()),
    }


KINDS = {"diffusion_nat.terms": terms}
