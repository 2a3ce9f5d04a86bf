"""Golden kinds of noise schedules -> harness.schedules. Conversions and calls only."""

from golden_conversions import at, before, even_law, first, floats, ints, last, last_one_hot, raises, row

from baselines.parts.chains import neighbour_rate, neighbours
from baselines.parts.gaussian import clipped_log_variance, large_variance, posterior_variance, posterior_weights
from baselines.parts.timesteps import network_time, respaced
from harness.schedules.closed_form import offset_for_first_beta
from harness.schedules.discretised import capped_steps, valid
from harness.schedules.mutual_information import (
    Mixing,
    evenly_removed,
    exponents,
    exponents_interpolated,
    matrix_curve,
    mixing_curve,
    powers,
    removed,
)
from harness.schedules.names import betas_of, build
from harness.schedules.quantities import (
    amplitude,
    destroyed,
    log_snr,
    masked_weight,
    noise_rate,
    noise_std,
    score_weight,
    snr,
    spread,
    total_noise,
    velocity_weight,
)

DIFFUSION_LM = {
    "sqrt": "sqrt",
    "cosine": "cosine-squared",
    "trunc_cos": "truncated-cosine-squared",
    "linear": "linear-beta-rescaled",
    "trunc_lin": "truncated-linear-beta",
    "pw_lin": "piecewise-linear-beta",
}
DIFFORMER = {
    "linear": {"name": "linear-beta@{T}"},
    "cosine": {"name": "cosine-squared@{T}"},
    "edm": {"name": "power-sigma@{T}", "sigma_min": 0.002, "sigma_max": 80.0},
    "cdcd": {"name": "power-sigma@{T}", "sigma_min": 1.0, "sigma_max": 300.0},
}
MDLM = {
    "loglinear": "log-linear(eps=0.001)",
    "cosine": "between(of=cosine-plain(s=0),low=0.001)",
    "cosinesqr": "between(of=cosine-squared(s=0),low=0.001)",
    "linear": "linear-beta(beta_min=10,beta_max=10)",
    "geometric": "geometric(sigma_min=0.001,sigma_max=1)",
}
MD4 = {
    "linear": "between(of=linear-alpha-bar,low=0.0001,high=0.9999)",
    "cosine": "between(of=one-minus-cosine,low=0.0001,high=0.9999)",
    "poly2": "between(of=power(k=2),low=0.0001,high=0.9999)",
}
BD3LM = {
    "loglinear": "linear-alpha-bar",
    "cosine": "between(of=cosine-plain(s=0),high=0.999)",
    "log": "logarithmic",
    "square": "power(k=2)",
    "square_root": "power(k=0.5)",
}
LD4LG = {
    "cosine": "cosine-squared(s=0)",
    "simple_linear": "linear-alpha-bar",
    "beta_linear": "linear-beta(beta_min=0,beta_max=20,start=0.0001)",
    "sigmoid": "sigmoid",
}
DINOISER = {
    "linear": "linear-beta",
    "quadratic": "quadratic-beta",
    "geometric": "geometric-sigma",
    "sqrt": "sqrt(s=0)",
    "interchangable": "power(k=2)",
}


def chain(name, T, **parameters):
    return build({"name": f"{name}@{T}", **parameters})


def level(specification, t):
    return first(build(specification).alpha_bar(row(t)))


def slope(specification, t):
    return first(build(specification).rate(row(t)))


# --- tables ----------------------------------------------------------------------------------------------------------
def diffusion_lm_table(schedule, T, indices):
    betas = betas_of(f"{DIFFUSION_LM[schedule]}@{T}")
    table = chain(DIFFUSION_LM[schedule], T).table
    return {
        "num_betas": len(betas),
        "valid": valid(betas),
        "betas": at(betas, indices),
        "alpha_bar": at(table, indices),
        "sigma0_std": noise_std(first(table)),
        "num_betas_capped": capped_steps(betas),
    }


def diffusion_lm_rejected(schedule, T, indices):
    betas = betas_of(f"{DIFFUSION_LM[schedule]}@{T}")
    return {"num_betas": len(betas), "valid": valid(betas), "betas": at(betas, indices)}


def diffusion_lm_respaced(schedule, T, respacing, positions):
    steps = respaced(T, respacing)
    kept = chain(DIFFUSION_LM[schedule], T).respaced(steps)
    return {
        "num_steps": len(steps),
        "timesteps": steps,
        "new_betas": at(kept.betas, positions),
        "alpha_bar": at(kept.table, positions),
        "network_timestep_at_last": network_time(last(steps), T),
    }


def diffusion_lm_refused(schedule, T, respacing):
    return {"error": raises(respaced, T, respacing)}


def rebuilt_or_respaced(schedule, T_train, T_sample, positions):
    steps = respaced(T_train, str(T_sample))
    return {
        "rebuilt_alpha_bar": at(chain(DIFFUSION_LM[schedule], T_sample).table, positions),
        "respaced_alpha_bar": at(chain(DIFFUSION_LM[schedule], T_train).respaced(steps).table, positions),
        "network_timestep_rebuilt": network_time(ints(positions), T_sample),
        "network_timestep_respaced": network_time(at(steps, positions), T_train),
    }


def sqrt_table(T, t):
    return {"alphas_cumprod": at(chain("sqrt", T).table, t)}


def seqdiffuseq_initial(T, t):
    table = chain("sqrt", T).table
    return {"alphas_cumprod": at(table, t), "start_noise_std_x0": noise_std(first(table))}


def genie_table(T, t):
    table = chain("sqrt", T)
    return {
        "alphas_cumprod": at(table.table, t),
        "fixed_large_variance": at(large_variance(table.levels), t),
        "posterior_variance": posterior_variance(at(table.table, t), at(table.levels, t)),
        "start_sigma": noise_std(first(table.table)),
    }


def difformer_sqrt(T, shift, t):
    table = chain("sqrt", T, s=shift)
    return {"alphas_cumprod": at(table.table, t), "betas": at(table.betas, t)}


def difformer_named(schedule, T, t):
    form = DIFFORMER[schedule]
    return {"alphas_cumprod": at(build({**form, "name": form["name"].format(T=T)}).table, t)}


def difformer_rescaled(T, F, t):
    return {"alphas_cumprod": at(chain("noise-rescaled", T, of="sqrt", factor=F).table, t)}


def difformer_respaced(T, steps):
    visited = respaced(T, str(steps))
    kept = chain("sqrt", T).respaced(visited)
    of_x0, of_x_t = posterior_weights(kept.table, before(kept.levels, range(1, len(kept.levels))))
    return {
        "timestep_map": visited,
        "model_t": network_time(visited, T),
        "alphas_cumprod": kept.table,
        "posterior_mean_coef1_x0": of_x0,
        "posterior_mean_coef2_xt": of_x_t,
        "posterior_log_variance_clipped": clipped_log_variance(kept.levels),
    }


def ssdlm_table(T, t):
    table = chain("cosine-squared", T, s=0.0001, max_beta=1)
    alpha_t, alpha_s = at(table.levels, t), before(table.levels, t)
    return {
        "alpha_bar_t": alpha_t,
        "alpha_bar_t_minus_1": alpha_s,
        "beta_t": before(table.betas, t),
        "beta_tilde_t": posterior_variance(alpha_t, alpha_s),
    }


def glyph_tables(T, t):
    return {
        "linear_alphas_cumprod": at(chain("linear-beta-rescaled", T).table, t),
        "cosine_alphas_cumprod": at(chain("cosine-squared", T).table, t),
    }


def ld4lg_first_version(T, t):
    return {"alphas_cumprod": at(chain("linear-beta-rescaled", T).table, t)}


def multinomial_table(T, s, t):
    table = chain("cosine-plain", T, s=s, max_beta=0.9683772233983162)
    return {"alpha_t": at(table.ratios, t), "alpha_bar_t": at(table.table, t)}


def sed_unnormalised(beta_1, T, t):
    offset = offset_for_first_beta(beta_1, T)
    return {"offset": offset, "alpha_bar": at(chain("cosine-squared-unnormalised", T, s=offset).levels, t)}


def d3pm_text(schedule, T, t, bmin, bmax, scale):
    table = {
        "standard": lambda: chain("linear-alpha-bar", T, scale=scale or 1),
        "cosine": lambda: chain("cosine-plain", T),
        "linear": lambda: chain("linear-beta-ramp", T, start=bmin, stop=bmax),
    }[schedule]()
    return {"beta": at(table.betas, t), "cum_keep": at(table.table, t)}


def d3pm_images(spec, t):
    T = spec["num_timesteps"]
    table = {
        "linear": lambda: chain("linear-beta-fixed", T, start=spec["start"], stop=spec["stop"]),
        "cosine": lambda: chain("cosine-plain", T),
        "jsd": lambda: chain("linear-alpha-bar", T),
    }[spec["type"]]()
    return at(table.betas, t)


def diffusion_nat_table(T, K, t):
    kept, unmasked = chain("linear-alpha-bar-fixed", T), chain("linear-alpha-bar-fixed", T, start=0.999991, stop=1e-5)
    one_kept, one_masked = at(kept.ratios, t), at(unmasked.betas, t)
    all_kept, all_masked = at(kept.table, t), destroyed(at(unmasked.table, t))
    return {
        "at": one_kept,
        "ct": one_masked,
        "bt": spread(one_kept, one_masked, K),
        "att": all_kept,
        "ctt": all_masked,
        "btt": spread(all_kept, all_masked, K),
        "att_extra": first(kept.levels),
        "ctt_extra": destroyed(first(unmasked.levels)),
    }


# --- closed forms ----------------------------------------------------------------------------------------------------
def mdlm_noise(noise, t):
    alpha, rate = level(MDLM[noise], t), slope(MDLM[noise], t)
    total = total_noise(alpha)
    return {
        "sigma": total,
        "dsigma": noise_rate(alpha, rate),
        "alpha": alpha,
        "weight": score_weight(total, noise_rate(alpha, rate)),
    }


def sedd_noise(noise, t, noise_args):
    names = {"loglinear": ("log-linear", "eps"), "geometric": ("geometric", "sigma_min", "sigma_max")}[noise]
    form = {"name": first(names), **dict(zip(names[1:], noise_args, strict=True))}
    alpha = level(form, t)
    return {"total": total_noise(alpha), "rate": noise_rate(alpha, slope(form, t)), "move_chance": destroyed(alpha)}


def md4_curve(schedule, t):
    alpha, rate = level(MD4[schedule], t), slope(MD4[schedule], t)
    return {"alpha": alpha, "dalpha": rate, "logsnr": log_snr(alpha), "weight": masked_weight(alpha, rate)}


def bd3lm_curve(noise, t):
    alpha = level(BD3LM[noise], t)
    return {"move_chance": destroyed(alpha), "loss_scaling": masked_weight(alpha, slope(BD3LM[noise], t))}


def duo_curve(noise, eps, t):
    form = {"name": {"log-linear": "log-linear", "cosine": "one-minus-cosine"}[noise], "eps": eps}
    return {"alpha": level(form, t), "dalpha": slope(form, t)}


def ld4lg_curves(t):
    return {
        name: {"raw": level(form, t), "time_to_alpha_scale1": level({"name": "shifted", "of": form}, t)}
        for name, form in LD4LG.items()
    }


def ld4lg_shifted(schedule, scale, t):
    return {"alpha2": level({"name": "shifted", "of": LD4LG[schedule], "scale": scale}, t)}


def ld4lg_weight(t, schedule):
    alpha = level(LD4LG[schedule], t)
    return {"snr": snr(alpha), "x0_weight": velocity_weight(alpha)}


def dinoiser_curves(t):
    return {name: {"std": noise_std(level(form, t)), "scale": amplitude(level(form, t))} for name, form in DINOISER.items()}


# --- mutual information ----------------------------------------------------------------------------------------------
def process(process, K, p0, embeddings, k):
    return {
        "uniform": lambda: mixing_curve(Mixing(even_law(K)), floats(p0)),
        "mask": lambda: mixing_curve(Mixing(last_one_hot(K)), floats(p0)),
        "nn": lambda: matrix_curve(neighbour_rate(neighbours(floats(embeddings), k)), floats(p0)),
    }[process]()


def information_solved(n, **described):
    curve, targets = process(**described), evenly_removed(n)
    found = exponents(curve, targets)
    return {"targets": targets, "exponents": found, "info_removal": removed(curve, found)}


def information_interpolated(n, min_exponent, max_exponent, interpolation_steps, **described):
    found = exponents_interpolated(
        process(**described),
        evenly_removed(n),
        min_exponent=min_exponent,
        max_exponent=max_exponent,
        interpolation_steps=interpolation_steps,
    )
    return {"exponents": found, "powers": powers(found)}


KINDS = {
    "ardiff.schedule.sqrt": sqrt_table,
    "bd3lm.schedule": bd3lm_curve,
    "d3pm.images.betas": d3pm_images,
    "d3pm.text.mi_schedule_exact": information_solved,
    "d3pm.text.mi_schedule_interp": information_interpolated,
    "d3pm.text.schedule": d3pm_text,
    "difformer.respaced": difformer_respaced,
    "difformer.schedule.named": difformer_named,
    "difformer.schedule.rescaled": difformer_rescaled,
    "difformer.schedule.sqrt": difformer_sqrt,
    "diffusion_nat.schedule": diffusion_nat_table,
    "dinoiser.schedules": dinoiser_curves,
    "dlm.rebuilt_vs_respaced": rebuilt_or_respaced,
    "dlm.respacing.refused": diffusion_lm_refused,
    "dlm.respacing.table": diffusion_lm_respaced,
    "dlm.schedule.rejected": diffusion_lm_rejected,
    "dlm.schedule.table": diffusion_lm_table,
    "duo.noise": duo_curve,
    "genie.schedule": genie_table,
    "glyph.schedules": glyph_tables,
    "ld4lg.implied_weight": ld4lg_weight,
    "ld4lg.schedules": ld4lg_curves,
    "ld4lg.shifted_alpha": ld4lg_shifted,
    "ld4lg.v1_schedule": ld4lg_first_version,
    "md4.schedule": md4_curve,
    "mdlm.schedule": mdlm_noise,
    "multinomial.schedule": multinomial_table,
    "sed.schedule_unnormalised": sed_unnormalised,
    "sedd.noise": sedd_noise,
    "seqdiffuseq.schedule": seqdiffuseq_initial,
    "ssdlm.schedule": ssdlm_table,
}
