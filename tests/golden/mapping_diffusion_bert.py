"""Golden kinds of DiffusionBERT -> product code. Conversions and calls only."""

from golden_conversions import at, first, floats, ints, one_hot

from baselines.parts.categorical import Mixing, normalised, point
from baselines.parts.clocks import Chain
from baselines.parts.estimates import Estimate
from baselines.parts.objectives import per_canvas
from baselines.parts.objectives_discrete import bound_term, hybrid
from baselines.parts.steps import Step
from baselines.systems.diffusion_bert import AUXILIARY, through_base
from harness.schedules.names import build


def times(T, t):
    """One row for each number of completed steps."""
    return at(Chain(T).grid(T).flip(0), t).unsqueeze(1)


def behind_padding(token):
    """An id whose vocabulary begins with padding, which these cases have none of."""
    return range(1000)[1:][token]


def paper_spindle(T, lam, unigram_probs, x0, t):
    schedule = build({"name": f"spindle@{T}", "lam": lam}, unigram=floats([0.0, *unigram_probs]))
    ids = ints([[behind_padding(token) for token in x0]])
    rows = ids.expand(len(t), len(x0))
    return {
        "H": first(schedule.weights[ids]),
        "H_tilde": first(schedule.excess(ids)),
        "alpha_bar_unclipped": schedule.curve(times(T, t), rows),
        "alpha_bar_clipped": schedule.alpha_bar(times(T, t), rows),
    }


def released(lam, counts):
    return build({"name": "spindle-log-frequency", "lam": lam}, unigram=ints(counts))


def code_spindle(K, mask_index, pad_index, T, lam, counts, x0, t):
    schedule, ids = released(lam, counts), ints([x0])
    return {
        "centred_logfreq": first(schedule.frequency(ids)),
        "keep_prob_per_t": schedule.alpha_bar(times(T, t), ids.expand(len(t), len(x0))),
    }


def code_terms(K, mask_index, pad_index, T, lam, counts, x0, t, x_t_plus_1, x0_logits_LK):
    schedule, kernel, ids, logits = released(lam, counts), Mixing(one_hot(mask_index, K)), ints([x0]), floats([x0_logits_LK])
    late, early = Chain(T).interval(ints([t]))
    alpha_s = schedule.alpha_bar(early, ids)
    step = Step(
        ids=ids, given=ids.isnan(), clean=ids, x0=ids, x_t=ints([x_t_plus_1]), estimate=Estimate(normalised(logits), logits),
        t=late, alpha_t=through_base(late, early, alpha_s), alpha_s=alpha_s, alpha_T=alpha_s, first=ids.isnan()[:, :1],
    )  # fmt: skip
    laws = [kernel.posterior(step.x_t, x0_hat, step.alpha_t, alpha_s) for x0_hat in (point(ids, K), step.estimate.x0_hat)]
    posterior, p_theta = [first(law.probabilities()) for law in laws]
    return {
        "posterior": posterior,
        "p_theta": p_theta,
        "base_loss": first(per_canvas(bound_term(kernel)(step))),
        "hybrid_total": first(per_canvas(hybrid(kernel, auxiliary=AUXILIARY)(step))),
    }


KINDS = {
    "diffusionbert.paper.spindle": paper_spindle,
    "diffusionbert.code.spindle": code_spindle,
    "diffusionbert.code.terms": code_terms,
}
