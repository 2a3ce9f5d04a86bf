"""Golden kinds of categorical diffusion -> product code. Conversions and calls only."""

from golden_conversions import even_law, first, floats, ints, last, last_one_hot, one_hot
from golden_stubs import ToyDenoiser

from baselines.engine import Diffusion
from baselines.enumeration import decided, drawn, exact_bound, exact_law, without_mask
from baselines.parts.categorical import Absorbing, Mixing, Uniform, normalised, point
from baselines.parts.chains import (
    DiscretisedGaussian,
    MaskAndUniform,
    NearestNeighbour,
    masking_rates,
    neighbour_rate,
    neighbours,
)
from baselines.parts.clocks import Chain
from baselines.parts.estimates import Estimate
from baselines.parts.objectives import per_example
from baselines.parts.objectives_discrete import bits, bound_term, hybrid, token_error
from baselines.parts.samplers import ancestral
from baselines.parts.spaces import DiscreteSpace
from baselines.parts.steps import Step
from baselines.parts.timesteps import UniformTimes
from harness.schedules.names import build

IMAGE_FLOOR = 1e-6


def chain(name, T, **parameters):
    return build({"name": f"{name}@{T}", **parameters})


# --- image code: rows, probabilities raised by 1e-6, the first step reads the estimate itself ------------------------
def image_table(spec):
    T = spec["num_timesteps"]
    return {
        "linear": lambda: chain("linear-beta-fixed", T, start=spec["start"], stop=spec["stop"]),
        "cosine": lambda: chain("cosine-plain", T),
        "jsd": lambda: chain("linear-alpha-bar", T),
    }[spec["type"]]()


def image_kernel(K, transition, absorbing_index):
    stationary = even_law(K) if transition == "uniform" else one_hot(absorbing_index, K)
    return Mixing(stationary, floor=IMAGE_FLOOR)


def image_levels(spec, t):
    """Levels before and after step t; the first step's observation is ignored, as if it held nothing."""
    table = image_table(spec)
    return (table.table[[t]] if t else floats([0.0]))[:, None], table.levels[[t]][:, None]


def image_transition(K, spec, transition, absorbing_index, t):
    kernel, table = image_kernel(K, transition, absorbing_index), image_table(spec)
    return {
        "Q_t": kernel.transition_matrix(table.table[t], table.levels[t]),
        "Qbar_t": kernel.transition_matrix(table.table[t], 1.0),
    }


def image_law(K, spec, transition, absorbing_index, t, x_t, x0_hat):
    kernel = image_kernel(K, transition, absorbing_index)
    law = kernel.posterior(ints([x_t]), x0_hat, *image_levels(spec, t))
    return first(law.probabilities())


def image_posterior(K, spec, transition, absorbing_index, t, x0, x_t):
    return image_law(K, spec, transition, absorbing_index, t, x_t, point(ints([x0]), K))


def image_p_theta(K, spec, transition, absorbing_index, t, x_t, x0_logits_LK):
    return image_law(K, spec, transition, absorbing_index, t, x_t, normalised(floats([x0_logits_LK])))


def image_loss(K, spec, transition, absorbing_index, t, x0, x_t, x0_logits_LK, lam):
    kernel, (alpha_t, alpha_s) = image_kernel(K, transition, absorbing_index), image_levels(spec, t)
    step = step_of(ints([x0]), ints([x_t]), floats([x0_logits_LK]), alpha_t, alpha_s)
    terms = {"vb": bound_term(kernel), "ce": token_error, "hybrid": hybrid(kernel, auxiliary=lam)}
    return {name: first(bits(per_example(term(step)))) for name, term in terms.items()}


def image_prior(K, spec, transition, absorbing_index, x0):
    kernel = image_kernel(K, transition, absorbing_index)
    return first(bits(per_example(kernel.prior_divergence(ints([x0]), last(image_table(spec).table).view(1, 1)))))


# --- text code: columns, the first step is a reverse step like any other ---------------------------------------------
def text_table(schedule, T, bmin, bmax):
    return {
        "standard": lambda: chain("linear-alpha-bar", T),
        "cosine": lambda: chain("cosine-plain", T),
        "linear": lambda: chain("linear-beta-ramp", T, start=bmin, stop=bmax),
    }[schedule]()


def text_kernel(transition, K, T, table, mask_fraction):
    return {
        "uniform": lambda: Uniform(K),
        "mask": lambda: Mixing(last_one_hot(K)),
        "gauss_paper": lambda: DiscretisedGaussian(K, table.betas),
        "gauss_code": lambda: DiscretisedGaussian(K, table.betas, span=K),
        "mask+uniform": lambda: MaskAndUniform(K, table.betas, masking_rates(T, mask_fraction)),
    }[transition]()


def text_chain(transition, K, T, schedule, bmin, bmax, mask_fraction, t):
    """The kernel, and what is kept before and after step t."""
    table = text_table(schedule, T, bmin, bmax)
    kernel = text_kernel(transition, K, T, table, mask_fraction)
    levels = kernel.levels if transition in ("mask+uniform",) else table.levels
    return kernel, levels[1:][t], levels[t]


def text_matrices(transition, K, T, schedule, bmin, bmax, mask_fraction, t):
    kernel, alpha_t, alpha_s = text_chain(transition, K, T, schedule, bmin, bmax, mask_fraction, t)
    moves = {"Q": (alpha_t, alpha_s), "Qbar": (alpha_s, 1.0), "Qbar_next": (alpha_t, 1.0)}
    return {name: kernel.transition_matrix(*move).mT for name, move in moves.items()}


def step_of(x0, x_t, logits, alpha_t, alpha_s):
    nowhere = x0.isnan()
    return Step(
        ids=x0, given=nowhere, clean=x0, x0=x0, x_t=x_t, estimate=Estimate(normalised(logits), logits), t=alpha_t,
        alpha_t=alpha_t.expand(x0.shape), alpha_s=alpha_s.expand(x0.shape), alpha_T=alpha_t, first=nowhere[:, :1],
    )  # fmt: skip


def text_terms(transition, K, T, schedule, bmin, bmax, mask_fraction, t, x0, x_t_plus_1, x0_logits_LK, lam):
    kernel, *levels = text_chain(transition, K, T, schedule, bmin, bmax, mask_fraction, t)
    levels = [level.view(1, 1) for level in levels]
    step = step_of(ints([x0]), ints([x_t_plus_1]), floats([x0_logits_LK]), *levels)
    true, model = (kernel.posterior(step.x_t, x0_hat, *levels) for x0_hat in (point(step.ids, K), step.estimate.x0_hat))
    return {
        "posterior": first(true.probabilities()),
        "p_theta": first(model.probabilities()),
        "vb": first(bound_term(kernel)(step)),
        "ce": first(token_error(step)),
        "hybrid_total": first(per_example(hybrid(kernel, auxiliary=lam, scale=len(x0))(step))),
    }


def nearest_neighbour(embeddings, k, min_exponent, powers):
    nearest = neighbours(floats(embeddings), k)
    kernel = NearestNeighbour(floats(embeddings), k, steps=len(embeddings), unigram=even_law(len(embeddings)))
    return {
        "neighbours": nearest,
        "rate": neighbour_rate(nearest),
        "base": kernel.power(min_exponent),
        "matrix_powers": [kernel.power(min_exponent, times=power) for power in powers],
    }


# --- exact enumeration -----------------------------------------------------------------------------------------------
def toy(K, L, T, x0, P, W, E, transition):
    kernel, schedule = {"absorbing": (Absorbing, "linear-alpha-bar"), "uniform": (Uniform, "cosine-plain")}[transition]
    kernel = kernel(K)
    model = Diffusion(
        space=DiscreteSpace(K), kernel=kernel, schedule=chain(schedule, T), denoiser=ToyDenoiser(P, W, E),
        objective=bound_term(kernel), times=UniformTimes(T), reverse=ancestral, clock=Chain(T),
        time_input=Chain(T).network_time,
    )  # fmt: skip
    bound = exact_bound(model, ints(x0))
    laws = [without_mask(exact_law(model, L, model.clock.grid(T), end), kernel.states, L, K) for end in (drawn, decided)]
    return {
        "terms_T_to_1": bound.terms.flip(0),
        "prior": bound.prior,
        "total": bound.total,
        "sampler_law": first(laws),
        "sampler_law_last_argmax": last(laws),
    }


KINDS = {
    "d3pm.images.transition": image_transition,
    "d3pm.images.posterior": image_posterior,
    "d3pm.images.p_theta": image_p_theta,
    "d3pm.images.loss": image_loss,
    "d3pm.images.prior_bpd": image_prior,
    "d3pm.text.matrices": text_matrices,
    "d3pm.text.terms": text_terms,
    "d3pm.text.nearest_neighbour": nearest_neighbour,
    "toy.d3pm_exact": toy,
}
