"""Golden kinds of Gaussian diffusion on embeddings -> product code. Conversions and calls only."""

from dataclasses import replace

import torch
from golden_conversions import disagreements, ones, zeros

from baselines.engine import Diffusion
from baselines.parts.clocks import Chain
from baselines.parts.conditioning import Canvas, padded, side_by_side
from baselines.parts.denoisers import Clamped
from baselines.parts.estimates import Estimate
from baselines.parts.gaussian import (
    GaussianKernel,
    clipped_log_variance,
    marginal_variance,
    noise_from_x0,
    posterior_variance,
    step_variance,
    x0_from_noise,
)
from baselines.parts.objectives import denoising_error, end_to_end, noise_error, per_example, prior_error, rounding_error
from baselines.parts.samplers import ancestral, ddim
from baselines.parts.spaces import EmbeddingSpace, noisy_embedding
from baselines.parts.timesteps import UniformTimes, from_the_end, network_time
from harness.decoding import minimum_bayes_risk
from harness.metrics.sentence import candidate_diversity, candidate_self_bleu, distinct_words, sentence_bleu
from harness.schedules.names import build

NAMES = {
    "sqrt": "sqrt",
    "cosine": "cosine-squared",
}
VARIANCES = {"posterior": posterior_variance, "fixed_large": step_variance}
ERRORS = {"x0": denoising_error, "noise": noise_error}


def real(values):
    return torch.tensor(values, dtype=torch.float64)


def table(schedule, T):
    return build({"name": f"{NAMES[schedule]}@{T}"})


def space_of(embedding, bias):
    space = EmbeddingSpace(len(embedding), len(embedding[0])).double()
    space.load_state_dict({"table": real(embedding), "bias": real(bias)})
    return space


class Given:
    """Draws that are the case's own arrays."""

    def __init__(self, **arrays):
        self.arrays = arrays

    def normal(self, key, *shape):
        return real(self.arrays[key])

    def uniform(self, key, *shape):
        return real(self.arrays[key])


class Stub(torch.nn.Module):
    """A network whose answer is the case's own array."""

    def __init__(self, answer):
        super().__init__()
        self.answer = real(answer)

    def forward(self, x_t, time, given, previous):
        return Estimate(self.answer, self.answer)


def diffusion(schedule, space, output, variance, error):
    return Diffusion(
        space=space, kernel=GaussianKernel(space.table.shape[1], variance), schedule=schedule, denoiser=Stub(output),
        objective=end_to_end(space, error), times=UniformTimes(schedule.steps), reverse=ancestral,
        clock=Chain(schedule.steps), time_input=Chain(schedule.steps).network_time, embed=noisy_embedding,
    )  # fmt: skip


def rows(values):
    return values[:, None]


def q_sample_posterior(schedule, T, t, x0, noise):
    chain = table(schedule, T)
    alpha_t, alpha_s = rows(chain.table[t]), rows(chain.levels[t])
    kernel = GaussianKernel(len(x0[0][0]), posterior_variance)
    x_t = kernel.corrupt(real(x0), alpha_t, real(noise))
    law = kernel.posterior(x_t, real(x0), alpha_t, alpha_s)
    return {
        "x_t": x_t,
        "q_mean": kernel.corrupt(real(x0), alpha_t, torch.zeros_like(x_t)),
        "q_variance_per_row": marginal_variance(chain.table[t]),
        "posterior_mean": law.mode(),
        "posterior_variance_per_row": law.variance[:, 0],
        "posterior_log_variance_clipped_per_row": clipped_log_variance(chain.levels)[t],
    }


def eps_x0_conversion(schedule, T, t, x0, noise):
    alpha_t = rows(table(schedule, T).table[t])
    x_t = GaussianKernel(len(x0[0][0]), posterior_variance).corrupt(real(x0), alpha_t, real(noise))
    return {
        "eps_from_true_x0": noise_from_x0(x_t, real(x0), alpha_t),
        "x0_from_true_eps": x0_from_noise(x_t, real(noise), alpha_t),
    }


def each_row(step, schedule, T, t, x_t, output, z, variance):
    """One reverse step per row, because only rows at t = 0 are final."""
    chain, kernel = table(schedule, T), GaussianKernel(len(x_t[0][0]), variance)
    return [
        step(
            kernel, real([x]), Estimate(real([x0]), real([x0])), rows(chain.table[[index]]), rows(chain.levels[[index]]),
            noise=real([draw]), final=not index,
        )[0]
        for index, x, x0, draw in zip(t, x_t, output, z, strict=True)
    ]  # fmt: skip


def ancestral_step(schedule, T, t, x_t, model_output_x0, z, variance):
    chain = table(schedule, T)
    kernel = GaussianKernel(len(x_t[0][0]), VARIANCES[variance])
    return {
        "sample": torch.stack(each_row(ancestral, schedule, T, t, x_t, model_output_x0, z, VARIANCES[variance])),
        "mean": kernel.posterior(real(x_t), real(model_output_x0), rows(chain.table[t]), rows(chain.levels[t])).mode(),
        "model_timestep": network_time(torch.tensor(t), T),
    }


def ddim_step(schedule, T, t, x_t, model_output_x0, z, eta):
    def step(*arguments, **keywords):
        return ddim(*arguments, eta=eta, **keywords)

    return {"sample": torch.stack(each_row(step, schedule, T, t, x_t, model_output_x0, z, posterior_variance))}


def clamped_step(T, t, embedding, x_t, model_output_x0, z):
    space = space_of(embedding, zeros(len(embedding)))
    clamped = Clamped(Stub(model_output_x0), space.snap)(
        real(x_t), torch.zeros(len(x_t)), torch.zeros(len(x_t), len(x_t[0]), dtype=torch.bool), None
    )
    chain, kernel = table("sqrt", T), GaussianKernel(space.table.shape[1], posterior_variance)
    steps = [t for _ in x_t]
    levels = rows(chain.table[steps]), rows(chain.levels[steps])
    return {
        "pred_xstart": clamped.x0_hat,
        "ancestral_sample": ancestral(kernel, real(x_t), clamped, *levels, noise=real(z), final=not t),
        "ddim_eta1_sample": ddim(kernel, real(x_t), clamped, *levels, noise=real(z), final=not t, eta=1.0),
    }


def rounding(embedding, lm_head_bias, x):
    space, x = space_of(embedding, lm_head_bias), real(x)
    clamp, head = space.nearest(x), space.decode(x)
    return {
        "clamp_ids": clamp,
        "clamped": space.snap(x),
        "lm_head_argmax": head,
        "lm_head_logits": space.logits(x),
        "neg_distance_logits": space.distance_logits(x),
        "num_positions_where_clamp_and_lmhead_disagree": disagreements(clamp, head),
    }


def gaussian_logp(embedding, x, ids, sigma):
    space = space_of(embedding, zeros(len(embedding)))
    return rounding_error(space.gaussian_logits(real(x), sigma), torch.tensor(ids))


def taken(model, t, ids, given, z0, noise):
    canvas = Canvas(ids=torch.tensor(ids), given=given)
    return model.step(canvas, *model.clock.interval(torch.tensor(t)), Given(embed=z0, corrupt=noise))


def loss_e2e(schedule, T, t, input_ids, embedding, lm_head_bias, z0, noise, model_output, prediction_target):
    space, error = space_of(embedding, lm_head_bias), ERRORS[prediction_target]
    model = diffusion(table(schedule, T), space, model_output, posterior_variance, error)
    step = taken(model, t, input_ids, torch.zeros_like(torch.tensor(input_ids), dtype=torch.bool), z0, noise)
    if prediction_target in ("noise",):
        x0_hat = x0_from_noise(step.x_t, real(model_output), step.alpha_t)
        step = replace(step, estimate=Estimate(x0_hat, real(model_output)))
    return {
        "x_t": step.x_t,
        "mse": per_example(error(step)),
        "tT": per_example(prior_error(step)),
        "nll": per_example(rounding_error(space.logits(step.x0), step.ids)),
        "loss": per_example(model.objective(step)),
        "model_timestep": model.time_input(model.clock.interval(torch.tensor(t))[0]),
    }


def diffuseq_loss(schedule, T, t, input_ids, mask, embedding, lm_head_bias, z0, noise, model_output):
    space, target = space_of(embedding, lm_head_bias), torch.tensor(mask).bool()
    model = diffusion(table(schedule, T), space, model_output, step_variance, denoising_error)
    step = taken(model, t, input_ids, target.logical_not(), z0, noise)
    return {
        "x_t": step.x_t,
        "mse": per_example(denoising_error(step)),
        "tT": per_example(prior_error(step)),
        "nll_embed": per_example(rounding_error(space.logits(step.x0), step.ids)),
        "nll_masked_logged_only": per_example(rounding_error(space.logits(step.estimate.x0_hat), step.ids), target),
        "loss": per_example(model.objective(step)),
    }


def partial_noising(schedule, T, t, x0, noise, mask):
    vectors = [vector for row in x0 for vector in row]
    space = space_of(vectors, zeros(len(vectors)))
    model = diffusion(table(schedule, T), space, x0, step_variance, denoising_error)
    model.embed = None
    ids = torch.arange(len(space.table)).view_as(torch.tensor(mask))
    return {
        "x_t": model.step(
            Canvas(ids=ids, given=torch.tensor(mask).bool().logical_not()),
            *model.clock.interval(torch.tensor(t)),
            Given(corrupt=noise),
        ).x_t
    }


def reverse_step(schedule, T, t, x_t, model_output_x0, embedding, input_ids, mask, z):
    space = space_of(embedding, zeros(len(embedding)))
    moved = []
    for index, x, output, ids, target, draw in zip(t, x_t, model_output_x0, input_ids, mask, z, strict=True):
        model = diffusion(table(schedule, T), space, [output], step_variance, denoising_error)
        prompt = Canvas(ids=torch.tensor([ids]), given=torch.tensor([target]).bool().logical_not())
        at, below = (float(time) for time in model.clock.interval(torch.tensor([index])))
        clamped = Clamped(model.denoiser, space.snap)
        state, _ = model.advance(real([x]), prompt, at, below, real([draw]), clamped, None, model.reverse)
        moved.append(state[0])
    return {"sample": torch.stack(moved)}


def strided_ddim(schedule, T, gap, x_T, model_output_x0):
    chain, visited = table(schedule, T), from_the_end(T, gap).flip(0)
    kernel, estimate = GaussianKernel(len(x_T[0][0]), posterior_variance), Estimate(real(model_output_x0), real(model_output_x0))

    def move(x, step, alpha_s):
        return ddim(kernel, x, estimate, rows(chain.table[step]), rows(alpha_s), noise=torch.zeros_like(x), final=True)

    first, second = visited[:1], visited[1:2]
    after_one = move(real(x_T), first, chain.levels[first])
    return {
        "num_steps": len(visited),
        "first3": visited[:3],
        "last3": visited[-3:],
        "state_after_1": after_one,
        "state_after_2": move(after_one, second, chain.levels[second]),
        "corrected_first_update": move(real(x_T), first, chain.table[second]),
    }


def layout(src_ids_with_cls_sep, trg_ids_with_cls_sep, seq_len, sep_id, pad_id):
    laid = [
        side_by_side(source[:-1], target[:-1], length=seq_len, end=source[-1], separator=sep_id)
        for source, target in zip(src_ids_with_cls_sep, trg_ids_with_cls_sep, strict=True)
    ]
    given = padded([ones(count) for _, count in laid], seq_len).bool()
    return {"input_ids": padded([row for row, _ in laid], seq_len, pad_id), "input_mask": given.logical_not().long()}


def sentence(recover, reference):
    return {"bleu": sentence_bleu(recover, reference), "dist1": distinct_words(recover)}


def candidate_set(candidates):
    return {
        "mbr_selected": minimum_bayes_risk(candidates, sentence_bleu),
        "self_bleu": candidate_self_bleu(candidates),
        "div4": candidate_diversity(candidates),
    }


KINDS = {
    "diffuseq.metrics.sentence": sentence,
    "diffuseq.metrics.candidate_set": candidate_set,
    "dlm.q_sample_posterior": q_sample_posterior,
    "dlm.eps_x0_conversion": eps_x0_conversion,
    "dlm.ancestral_step": ancestral_step,
    "dlm.ddim_step": ddim_step,
    "dlm.clamped_step": clamped_step,
    "dlm.rounding": rounding,
    "dlm.gaussian_logp": gaussian_logp,
    "dlm.loss.e2e": loss_e2e,
    "diffuseq.loss": diffuseq_loss,
    "diffuseq.partial_noising": partial_noising,
    "diffuseq.reverse_step": reverse_step,
    "diffuseq.strided_ddim": strided_ddim,
    "diffuseq.layout": layout,
}
