"""Loss terms on token ids, in nats per position."""

import math
from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import softplus

from baselines.parts.categorical import Absorbing, CategoricalKernel
from baselines.parts.objectives import placed
from baselines.parts.steps import Step
from harness.schedules.base import Schedule

Term = Callable[[Step], Float[Tensor, "B L"]]
LEAST, MOST = 1e-12, 1 - 1e-12  # signal below and above which it counts as none and as all


def bound_term(kernel: CategoricalKernel) -> Term:
    """One term of the variational bound: the divergence of a reverse step, which for the last one is -log p(x_0 | x_1)."""

    def term(step: Step) -> Float[Tensor, "B L"]:
        return kernel.divergence(step.x_t, step.ids, step.estimate.x0_hat, step.alpha_t, step.alpha_s)

    return term


def masked_bound(kernel: Absorbing, schedule: Schedule) -> Term:
    """The integrand over time of the continuous bound of absorbing noise: -alpha' / (1 - alpha) times -log p(x_0), at masks.

    Sahoo et al. 2024 (MDLM, arXiv:2406.07524), equation 10; Shi et al. 2024 (MD4, arXiv:2406.04329), equation 4. Estimates are
    read at masks only.
    """
    return _at_masks(kernel, lambda step: schedule.rate(step.t, step.ids) / (schedule.alpha_bar(step.t, step.ids) - 1))


def masked_bound_by_share(kernel: Absorbing, schedule: Schedule) -> Term:
    """The integrand of `masked_bound` over the share of masks 1 - alpha instead of over time: 1 / (1 - alpha) times -log p(x_0).

    For what is trained at one time only, where the slope of a schedule may be 0.
    """
    return _at_masks(kernel, lambda step: 1 / (1 - schedule.alpha_bar(step.t, step.ids)))


def _at_masks(kernel: Absorbing, weight_of: Callable[[Step], Float[Tensor, "B #L"]]) -> Term:
    def term(step: Step) -> Float[Tensor, "B L"]:
        masked = (step.x_t == kernel.mask) & ~step.given
        weight = weight_of(step).expand(masked.shape)
        error = -step.estimate.at(masked).gather(-1, step.ids[masked][:, None])[:, 0]
        return placed(masked, error * weight[masked].to(error.dtype))

    return term


def uniform_bound(schedule: Schedule, *, sums: torch.dtype | None = None) -> Term:
    """The integrand over time of the continuous bound of uniform noise: -alpha' times `uniform_gap`.

    Schiff et al. 2024 (UDLM, arXiv:2412.10193), section 4, whose released code takes alpha' = -1 whatever the schedule; here
    it is the schedule's own.

    Args:
        sums: in what to add up over the vocabulary, and of what type the term is; `None` = as the estimate.
    """

    def term(step: Step) -> Float[Tensor, "B L"]:
        lost, x0_hat = -schedule.rate(step.t, step.ids), step.estimate.x0_hat
        return (lost * uniform_gap(step.x_t, step.ids, x0_hat, step.alpha_t, sums=sums)).to(sums or x0_hat.dtype)

    return term


def uniform_gap(
    x_t: Int[Tensor, "*batch"], x0: Int[Tensor, "*batch"], x0_hat: Float[Tensor, "*batch V"], alpha: Float[Tensor, "*#batch"], *,
    sums: torch.dtype | None = None,
) -> Float[Tensor, "*batch"]:  # fmt: skip
    """Nats by which the reverse of uniform noise at an estimate errs, per signal that is lost; 0 at the perfect estimate only.

    With V tokens, z_j = V a x_j + 1 - a of the one-hot x_0 and zh_j of the estimate, and i = x_t, it is

        1 / (V a) * {V / zh_i - V / z_i + sum_j z_j / z_i (log(z_j / z_i) - log(zh_j / zh_i))}.

    In units of 1 - a, with r = V a / (1 - a), z_j is 1 or, at x_0, 1 + r, and log zh_j is softplus(log r + log p_j). The sum
    over j of these is all that takes the whole vocabulary, once; the rest needs the estimate at x_t and at x_0. Where x_t is
    x_0, terms of the size of r cancel and are left out. Sahoo et al. 2025 (Duo, arXiv:2506.10892) rewrite the same quantity.

    Args:
        x_t: noisy tokens.
        x0: clean tokens.
        x0_hat: log-probabilities of the clean tokens.
        alpha: signal that is kept, a.
        sums: in what to add up over the vocabulary; `None` = as the estimate.
    """
    states = x0_hat.shape[-1]
    alpha = alpha.expand(x0.shape).clamp(LEAST, MOST)
    ratio = states * alpha / (1 - alpha)
    raised = x0_hat + ratio.log()[..., None].to(x0_hat.dtype)
    everywhere = softplus(raised, threshold=40).sum(-1, dtype=sums).double()
    own, reached = (x0_hat.gather(-1, ids[..., None])[..., 0].double() for ids in (x0, x_t))
    own_raised, reached_raised = own + ratio.log(), reached + ratio.log()
    short = softplus(own_raised, threshold=40) - torch.log1p(ratio)
    replaced = (states + ratio) * (softplus(reached_raised, threshold=40) - reached_raised.sigmoid()) - ratio * short
    kept = states * short - (states + ratio) * ratio * torch.expm1(own) * torch.sigmoid(-own_raised)
    replaced, kept = (value + torch.log1p(ratio) - everywhere for value in (replaced, kept))
    return torch.where(x_t == x0, kept / (1 + ratio), replaced) / (states * alpha)


def uniform_divergence(
    x_t: Int[Tensor, "B L"], x0: Int[Tensor, "B L"], x0_hat: Float[Tensor, "B L V"], alpha_t: Float[Tensor, "B #L"],
    alpha_s: Float[Tensor, "B #L"],
) -> Float[Tensor, "B L"]:  # fmt: skip
    """KL(q(x_s | x_t, x_0) || p(x_s | x_t)) of uniform noise in float64: `CategoricalKernel.divergence` without tables of laws.

    With V tokens, q(x_t | x_s) is w everywhere and w + k at x_s = x_t, k = alpha_t / alpha_s and w = (1 - k) / V; and in units of
    m = (1 - alpha_s) / V the mean of q(x_s | x_0) is 1 + r p_j, r = alpha_s / m, and 1 or, at x_0, 1 + r of the one-hot x_0.
    The sum of log(1 + r p_j) is all that takes the whole vocabulary, once. Where alpha_s is 1 it is -log p(x_0 | x_t). No
    gradient goes through where alpha_s is 0 or 1.

    Args:
        x_t: noisy tokens.
        x0: clean tokens.
        x0_hat: log-probabilities of the clean tokens, normalised.
        alpha_t, alpha_s: signal that is kept at the two times.
    """
    states, tiny = x0_hat.shape[-1], torch.finfo(torch.float64).tiny
    alpha_s = alpha_s.expand(x_t.shape).double()
    kept = (alpha_t / alpha_s.clamp_min(tiny)).expand(x_t.shape).double()
    own, here = (x0_hat.gather(-1, ids[..., None])[..., 0].double() for ids in (x0, x_t))
    same, move = x_t == x0, (1 - kept) / states
    to_data = torch.log(move + kept * here.exp()) - torch.log(move + kept * same) - own
    if bool((alpha_s == 1).all()):
        return to_data

    unit = (1 - alpha_s) / states
    ratio = alpha_s / unit.clamp_min(tiny)
    everywhere = softplus(x0_hat + ratio.log()[..., None].to(x0_hat.dtype), threshold=40).sum(-1, dtype=torch.float64)
    raised_own, raised_here = (softplus(value + ratio.log(), threshold=40) for value in (own, here))
    true, model = move + kept * unit * (1 + ratio * same), move + kept * unit * raised_here.exp()
    other = move * unit / true  # q of a token that is neither x_0 nor x_t
    at_x0 = (move + kept * same) * (alpha_s + unit) / true
    at_x_t = torch.where(same, 0.0, (move + kept) * unit / true - other)
    error = at_x0 * torch.log1p(ratio) - other * everywhere - (at_x0 - other) * raised_own - at_x_t * raised_here
    return torch.where(alpha_s < 1, error + torch.log(model / true), to_data)


def where_written(term: Term) -> Term:
    """A term where tokens are to be written, and nowhere else made; 0 where they are given."""

    def objective(step: Step) -> Float[Tensor, "B L"]:
        places = ~step.given
        if bool(places.all()):
            return term(step)
        return placed(places, term(step.at(places))[0])

    return objective


def times(factor: float, term: Term) -> Term:
    """A term, scaled."""
    return lambda step: factor * term(step)


def token_error(step: Step) -> Float[Tensor, "B L"]:
    """Cross-entropy -log p(x_0 | x_t) of the estimate, at every position, masked or not."""
    return -step.estimate.x0_hat.gather(-1, step.ids[..., None])[..., 0]


def hybrid(kernel: CategoricalKernel, *, auxiliary: float, scale: float = 1.0) -> Term:
    """Bound term plus cross-entropy (Austin et al. 2021, D3PM, arXiv:2107.03006, equation 5).

    Args:
        auxiliary: weight lambda of the cross-entropy beside one term of the bound, as released.
        scale: factor on both; with the number of steps T the first part is an estimate of the bound itself.
    """
    term = bound_term(kernel)

    def objective(step: Step) -> Float[Tensor, "B L"]:
        return scale * (term(step) + auxiliary * token_error(step)) if auxiliary else scale * term(step)

    return objective


def bits(nats: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """Nats in bits."""
    return nats / math.log(2)
