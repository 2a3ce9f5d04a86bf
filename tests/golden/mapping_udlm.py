"""Golden kinds of uniform noise in continuous time -> product code. Conversions and calls only."""

import torch
from golden_conversions import all_but_last, first, floats, ints

from baselines.parts.categorical import Uniform, normalised, point
from baselines.parts.clocks import Chain
from baselines.parts.estimates import Estimate
from baselines.parts.objectives_discrete import bound_term, times, uniform_bound
from baselines.parts.steps import Step
from harness.schedules.names import build

LINEAR = build("linear-alpha-bar")


def level(t):
    return LINEAR.alpha_bar(floats([[t]]))


def step_of(x0, x_t, logits_LV, t, s):
    """A training step from t to s, times of shape [1, 1]."""
    ids, given = ints([x0]), torch.zeros_like(ints([x0])).bool()
    logits = floats([logits_LV])
    return Step(
        ids=ids, given=given, clean=ids, x0=ids, x_t=ints([x_t]), estimate=Estimate(normalised(logits), logits), t=t,
        alpha_t=LINEAR.alpha_bar(t).expand(ids.shape), alpha_s=LINEAR.alpha_bar(s).expand(ids.shape), alpha_T=level(1.0),
        first=torch.zeros_like(s).bool(),
    )  # fmt: skip


def posterior(K, x0, x_t, logits_LV, s, t):
    kernel, estimate = Uniform(K), normalised(floats([logits_LV]))
    laws = [kernel.posterior(ints([x_t]), x0_hat, level(t), level(s)) for x0_hat in (point(ints([x0]), K), estimate)]
    return {name: first(law.probabilities()) for name, law in zip(("posterior", "p_theta"), laws, strict=True)}


def discrete_loss(K, x0, x_t, logits_LV, t, T):
    clock = Chain(T)
    grid = clock.grid(T).tolist()
    following = dict(zip(all_but_last(grid), grid[1:], strict=True))
    step = step_of(x0, x_t, logits_LV, floats([[t]]), floats([[following[t]]]))
    return first(times(clock.span, bound_term(Uniform(K)))(step))


def nelbo(K, x0, x_t, logits_LV, t):
    return first(uniform_bound(LINEAR)(step_of(x0, x_t, logits_LV, floats([[t]]), floats([[t]]))))


KINDS = {
    "udlm.posterior": posterior,
    "udlm.discrete_loss": discrete_loss,
    "udlm.nelbo": nelbo,
}
