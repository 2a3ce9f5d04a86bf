"""Golden kinds of score entropy and of reverse steps by ratios -> product code. Conversions and calls only."""

import torch
from golden_conversions import first, flat, floats, ints

from baselines.parts.categorical import Absorbing, Uniform
from baselines.parts.clocks import Chain
from baselines.parts.objectives import per_canvas
from baselines.parts.objectives_discrete import times
from baselines.parts.scores import EulerSteps, analytic, euler, log_scores, remaining, reverse_rates, score_entropy, zero_at_own
from harness.schedules.names import build
from harness.schedules.quantities import noise_rate, total_noise

NAMES = {"loglinear": ("log-linear", "eps"), "geometric": ("geometric", "sigma_min", "sigma_max")}
KERNELS = {"absorb": Absorbing, "uniform": Uniform}
STEPS = {0.1: 10, 0.05: 20}
"""Steps of a chain by their length in time."""


def schedule_of(noise, noise_args):
    names = NAMES[noise]
    return build({"name": first(names), **dict(zip(names[1:], noise_args, strict=True))})


def level(schedule, time, x_t):
    """What is kept at a time, for every position."""
    return flat(schedule.alpha_bar(time.view(1, 1)).expand(1, len(x_t)))


def entropy(graph, vocab, dim, mask_index, x0, x_t, t, noise, log_score_LD, noise_args):
    schedule = schedule_of(noise, noise_args)
    kept = level(schedule, floats(t), x_t)
    found = score_entropy(KERNELS[graph](vocab), floats(log_score_LD)[:, :vocab], ints(x_t), ints(x0), kept)
    time = floats(t).view(1, 1)
    alpha = schedule.alpha_bar(time)
    rate = first(flat(noise_rate(alpha, schedule.rate(time))))
    return {
        "sigma_bar": first(flat(total_noise(alpha))),
        "dsigma": rate,
        "entropy": found,
        "loss": first(per_canvas(times(float(rate), lambda step: found.view(1, len(x0)))(None))),
    }


def rates(graph, vocab, dim, mask_index, x0, x_t, t, noise, log_score_LD, noise_args):
    kernel, here = KERNELS[graph](vocab), ints(x_t)
    return {
        "transp_rate": kernel.generator().mT[here],
        "rate": kernel.generator()[here],
        "reverse_rate": reverse_rates(kernel, floats(log_score_LD)[:, :vocab], here).weights(dim),
    }


def step_weights(graph, vocab, dim, mask_index, x0, x_t, t, noise, log_score_LD, dt, noise_args):
    kernel, schedule, clock = KERNELS[graph](vocab), schedule_of(noise, noise_args), Chain(STEPS[dt])
    read = kernel, floats(log_score_LD)[:, :vocab], ints(x_t)
    here, there = (level(schedule, time, x_t) for time in clock.interval(clock.index(floats([t]))))
    amount = EulerSteps(schedule).noise(t, dt, schedule.alpha_bar(floats(t).view(1, 1)))
    return {
        "analytic": analytic(*read, remaining(here, there)).weights(dim),
        "euler": euler(*read, flat(amount.expand(1, len(x_t)))).weights(dim),
        "denoise": analytic(*read, remaining(here, torch.ones_like(here))).weights(dim)[:, :vocab],
    }


def rebuilt_entropy(V, mask_index, x0, x_t, logits_LV, t):
    """The states are the tokens and the mask, last."""
    kernel, kept = Absorbing(mask_index), level(schedule_of("loglinear", [0.001]), floats(t), x_t)
    log_score = zero_at_own(log_scores(kernel, floats(logits_LV), kept), ints(x_t))
    return {
        "log_score": log_score,
        "entropy": score_entropy(kernel, log_score[:, :mask_index], ints(x_t), ints(x0), kept),
    }


KINDS = {
    "sedd.score_entropy": entropy,
    "sedd.rates": rates,
    "sedd.step_weights": step_weights,
    "mdlm.sedd_score_entropy": rebuilt_entropy,
}
