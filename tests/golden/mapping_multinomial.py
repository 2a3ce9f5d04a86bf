"""Golden kinds of multinomial diffusion -> product code. Conversions and calls only."""

from golden_conversions import first, floats, ints, last

from baselines.parts.categorical import Uniform, normalised, point
from baselines.parts.objectives import per_canvas
from baselines.parts.timesteps import LossAware
from baselines.systems.multinomial import FLOORED_COSINE
from harness.schedules.names import build


def table_of(T):
    return build(FLOORED_COSINE.replace("@1000", f"@{T}"))


def levels(T, t):
    """What is kept after and before step t."""
    table = table_of(T).levels
    return table[1:][t].view(1, 1), table[t].view(1, 1)


def estimate(x0_logits_KL):
    return normalised(floats([x0_logits_KL]).mT)


def kernel_rows(K, T, t, x0, x_prev):
    kernel, (alpha_t, alpha_s) = Uniform(K), levels(T, t)
    return {
        "q_one_step": kernel.transition_matrix(alpha_t, alpha_s)[x_prev],
        "q_marginal": kernel.transition_matrix(alpha_t, 1.0)[x0],
    }


def posterior(K, T, t, x0, x_t):
    return first(Uniform(K).posterior(ints([x_t]), point(ints([x0]), K), *levels(T, t)).probabilities())


def p_theta(K, T, t, x_t, x0_logits_KL):
    return first(Uniform(K).posterior(ints([x_t]), estimate(x0_logits_KL), *levels(T, t)).probabilities())


def vlb_term(K, T, t, x0, x_t, x0_logits_KL):
    return first(per_canvas(Uniform(K).divergence(ints([x_t]), ints([x0]), estimate(x0_logits_KL), *levels(T, t))))


def prior(K, T, x0):
    return first(per_canvas(Uniform(K).prior_divergence(ints([x0]), last(table_of(T).levels).view(1, 1))))


def importance(T, Lt_history_ema_of_squared_loss):
    return LossAware(T).by_loss(floats(Lt_history_ema_of_squared_loss))


KINDS = {
    "multinomial.kernel": kernel_rows,
    "multinomial.posterior": posterior,
    "multinomial.p_theta": p_theta,
    "multinomial.vlb_term": vlb_term,
    "multinomial.prior": prior,
    "multinomial.importance": importance,
}
