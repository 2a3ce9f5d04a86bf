"""D3PM as a text model: variants, training, sampling, likelihood, saving."""

import pytest
import torch
from toy_sentences import EXAMPLES, LENGTH, learns, requests, tiny, trained, view

from baselines.parts.chains import neighbourhood_embeddings
from baselines.parts.conditioning import Canvas
from baselines.parts.denoisers import Tempered
from baselines.parts.objectives_discrete import token_error
from baselines.parts.randomness import Noise
from baselines.systems.d3pm import D3PM, VARIANTS, Complete
from baselines.training import Draws
from harness.construction import construct
from harness.contracts import Request, Sampling
from harness.errors import ModelError
from harness.schedules.names import build


def model_of(schedule=None, **size):
    return tiny(D3PM, schedule, **{"chain": 50, **size})


@pytest.mark.parametrize("kernel", VARIANTS)
def test_every_kernel_trains_samples_scores_and_survives_saving(kernel, tmp_path):
    model = model_of("linear-alpha-bar", kernel=kernel)
    report = trained(model, 5)
    assert report.updates == 5
    assert report.valid_loss > 0
    found = model.generate(requests(3), Sampling(steps=5))
    assert [answer.network_calls for answer in found] == [5, 5, 5]
    scores = model.likelihood(EXAMPLES[:4])
    assert scores.kind == "bound"
    assert scores.estimator == "discrete-T"
    assert all(value > 0 for value in scores.nats)
    assert scores.tokens == (5, 5, 5, 5)
    model.save(tmp_path)
    again = D3PM.load(tmp_path, "cpu")
    assert again.generate(requests(3), Sampling(steps=5)) == found
    assert again.likelihood(EXAMPLES[:4]) == scores


@pytest.mark.parametrize("kernel", VARIANTS)
def test_in_another_format_the_noise_keeps_its_own_precision(kernel):
    model = model_of("linear-alpha-bar", kernel=kernel)
    trained(model, 3)
    before = {name: buffer.clone() for name, buffer in model.diffusion.kernel.named_buffers()}
    answers = model.to(torch.bfloat16).generate(requests(3), Sampling(steps=5))
    assert [len(answer.ids) for answer in answers] == [1, 1, 1]
    assert all(torch.equal(buffer, before[name]) for name, buffer in model.diffusion.kernel.named_buffers())
    assert model.diffusion.kernel.stationary.dtype == torch.float64


@pytest.mark.parametrize("kernel", VARIANTS)
def test_temperature_sharpens_the_estimate_of_x0(kernel):
    """The network's log-probabilities over the temperature, in every reverse step; at 1 nothing changes."""
    model = model_of("linear-alpha-bar", kernel=kernel)
    x_t = torch.randint(len(model.task.tokenizer), (3, LENGTH), generator=torch.Generator().manual_seed(0))
    hearing = x_t, torch.zeros(3), torch.zeros_like(x_t, dtype=torch.bool), None
    plain, sharp = model.diffusion.denoiser(*hearing), Tempered(model.diffusion.denoiser, 0.5)(*hearing)
    squared = plain.x0_hat.exp() ** 2
    assert torch.allclose(sharp.x0_hat.exp(), squared / squared.sum(-1, keepdim=True), atol=1e-6)
    assert torch.equal(sharp.raw, plain.raw)
    asked = requests(8)
    usual = model.generate(asked, Sampling(steps=5))
    assert model.generate(asked, Sampling(steps=5, temperature=1.0)) == usual
    assert [answer.texts for answer in model.generate(asked, Sampling(steps=5, temperature=0.1))] != [
        answer.texts for answer in usual
    ]
    with pytest.raises(ModelError, match="top_p at 1"):
        model.generate(asked, Sampling(steps=5, top_p=0.5))


@pytest.mark.parametrize("candidates", [1, 3])
def test_counts_are_those_of_the_candidates_one_after_the_other(candidates):
    model, seen = model_of("linear-alpha-bar"), []
    model.network.register_forward_pre_hook(lambda module, arguments: seen.append(arguments[0].numel()))
    asked = [Request(id=str(i), seed=i, max_tokens=LENGTH, n=candidates) for i in range(4)]
    (alone,) = model.generate(asked[:1], Sampling(steps=5, micro_batch=1))
    assert (alone.network_calls, alone.positions_processed) == (len(seen), sum(seen))
    assert model.generate(asked, Sampling(steps=5, micro_batch=64))[0] == alone


@pytest.mark.parametrize("kernel", VARIANTS)
def test_native_schedules_build_and_end_in_noise(kernel):
    model = tiny(D3PM, kernel=kernel, width=16)
    ends = model.diffusion.schedule.alpha_bar(torch.tensor([[0.0], [1.0]]).double())
    assert ends[:, 0].tolist() == [1.0, 0.0]
    assert model.diffusion.clock.steps == 1000
    left = model.diffusion.kernel.prior_divergence(torch.arange(6)[None], ends[1:])
    assert bool((left < 0.02).all())


@pytest.mark.parametrize(
    ("kernel", "expected"),
    [
        ("absorbing", "mutual-information"),
        ("uniform", "cosine-plain@1000"),
        ("gaussian", "linear-beta-fixed@1000"),
        ("nearest-neighbour", "mutual-information"),
    ],
)
def test_every_kernel_has_its_native_schedule(kernel, expected):
    assert D3PM.design_for(kernel=kernel).schedule == expected


@pytest.mark.parametrize(
    ("kernel", "weight"), [("absorbing", 0.01), ("uniform", 0.0), ("gaussian", 0.001), ("nearest-neighbour", 0.0)]
)
def test_the_loss_is_the_divergence_and_a_little_cross_entropy(kernel, weight):
    """T (divergence + lambda CE), with the lambda of the kernel."""
    model = model_of("linear-alpha-bar", kernel=kernel, chain=20)
    ids = torch.arange(20 * LENGTH).view(20, LENGTH) % len(model.task.tokenizer)
    canvas = Canvas(ids=ids, given=torch.zeros_like(ids, dtype=torch.bool))
    draws = Draws(seed=1, batch=20, rows=slice(20), device=torch.device("cpu"))
    step = model.diffusion.step(canvas, *model.diffusion.clock.interval(torch.arange(20)), draws)
    divergence = model.diffusion.kernel.divergence(step.x_t, ids, step.estimate.x0_hat, step.alpha_t, step.alpha_s)
    expected = 20 * (divergence + weight * token_error(step))
    assert torch.allclose(model.diffusion.objective(step), expected, rtol=1e-5)
    assert bool((divergence > 0).any())


def test_neighbours_are_those_of_the_training_split():
    """Embeddings of 32 dimensions from the texts that it was fitted to, random ones before."""
    model = model_of("linear-alpha-bar", kernel="nearest-neighbour")
    kernel, tokens = model.diffusion.kernel, len(model.task.tokenizer)
    expected = neighbourhood_embeddings(model._data(EXAMPLES)["ids"], tokens, 32).to(kernel.embeddings.dtype)
    assert not torch.allclose(kernel.embeddings, expected, atol=0.1)
    trained(model, 1)
    assert torch.allclose(kernel.embeddings, expected, atol=1e-6)


def test_a_kernel_has_a_step_for_each_step_of_its_schedule():
    kernel = tiny(D3PM, "linear-beta-fixed@1000", kernel="gaussian", chain=100, width=16).diffusion.kernel
    assert kernel.levels.shape == (1001,)


def test_neighbours_are_refused_where_there_are_none():
    with pytest.raises(ValueError, match="neighbours 3 need the nearest-neighbour kernel; absorbing has none"):
        D3PM.design_for(neighbours=3)


@pytest.mark.slow
def test_learning_lowers_the_bound_towards_the_entropy():
    learns(model_of(width=48, chain=1000), updates=600, steps=50, bound=2.6, known=56)


@pytest.mark.parametrize("swapped", ["cosine-squared", "sqrt", "geometric"])
@pytest.mark.parametrize("kernel", VARIANTS)
def test_a_swapped_schedule_changes_the_corrupted_batch(kernel, swapped):
    """x_t is made anew from equal draws and the swapped levels."""
    native, changed = (model_of(name, kernel=kernel).diffusion for name in ("linear-alpha-bar", swapped))
    ids, index = torch.arange(64 * LENGTH).view(64, LENGTH) % native.space.vocabulary, torch.full((64,), 20)
    draws = Draws(seed=3, batch=64, rows=slice(64), device=torch.device("cpu"))
    canvas = Canvas(ids=ids, given=torch.zeros_like(ids, dtype=torch.bool))
    x_t = [diffusion.step(canvas, *diffusion.clock.interval(index), draws).x_t for diffusion in (native, changed)]
    level = build(swapped).alpha_bar((index[:, None] + 1) / 50)
    assert torch.equal(x_t[1], changed.kernel.corrupt(ids, level, changed.kernel.noise(draws, "corrupt", LENGTH)))
    assert not torch.equal(*x_t)


@pytest.mark.parametrize("swapped", ["cosine-squared", "sqrt", "geometric"])
def test_a_swapped_schedule_changes_the_levels_that_reverse_steps_hear(swapped):
    """Pure noise and data at the ends, the schedule's own levels in between."""
    diffusion, heard = model_of(swapped).diffusion, []

    def reverse(kernel, x_t, estimate, alpha_t, alpha_s, *, noise, final):
        heard.append((alpha_t.unique().item(), alpha_s.unique().item()))
        return diffusion.reverse(kernel, x_t, estimate, alpha_t, alpha_s, noise=noise, final=final)

    empty = torch.zeros(2, LENGTH, dtype=torch.int64)
    prompt = Canvas(ids=empty, given=empty.bool())
    diffusion.sample(prompt, Noise(torch.arange(2)), diffusion.clock.through(torch.tensor([9, 29, 49])), reverse=reverse)
    high, low = build(swapped).alpha_bar(torch.tensor([[0.2], [0.6]], dtype=torch.float64))[:, 0].tolist()
    assert heard == [(0.0, low), (low, high), (high, 1.0)]


def test_the_last_step_takes_the_mode():
    """All requests have noise of their own; from equal states the last step gives one text."""
    answers = model_of("linear-alpha-bar", chain=1).generate(requests(30), Sampling(steps=1, fixed_length=True))
    assert len({answer.ids for answer in answers}) == 1


def test_by_exact_count_as_many_steps_as_positions_reveal_one_mask_each():
    model, left = model_of("linear-alpha-bar", unmasking="exact-count", chain=LENGTH), []
    mask = len(model.task.tokenizer)
    model.network.register_forward_pre_hook(lambda module, given: left.append((given[0] == mask).sum(-1).tolist()))
    model.generate(requests(4), Sampling(steps=LENGTH))
    assert left == [[masks] * 4 for masks in range(LENGTH, 0, -1)]


def test_samples_do_not_depend_on_the_batch():
    model = model_of(unmasking="exact-count")
    together = model.generate(requests(6), Sampling(steps=6, micro_batch=6))
    alone = model.generate(requests(6), Sampling(steps=6, micro_batch=1))
    assert [answer.texts for answer in together] == [answer.texts for answer in alone]


def test_designs_name_their_variant():
    assert D3PM.design_for().name == "d3pm"
    assert D3PM.design_for(kernel="uniform").name == "d3pm-uniform"
    assert D3PM.design_for(kernel="uniform").unmasking is None
    assert D3PM.design_for(unmasking="exact-count").unmasking == "exact-count"


@pytest.mark.parametrize(
    ("size", "message"),
    [
        ({"kernel": "absorb"}, "none of absorbing, uniform"),
        ({"kernel": "uniform", "unmasking": "exact-count"}, "has no mask"),
        ({"unmasking": "all"}, "none of independent"),
        ({"depth": 3}, "unknown key 'depth'"),
    ],
)
def test_wrong_keys_are_refused(size, message):
    with pytest.raises(ValueError, match=message):
        D3PM.design_for(**size)


def test_a_parameter_target_is_met():
    keys = D3PM.size_for(200_000, view(), layers=2)
    model = construct(D3PM, "linear-alpha-bar", view(), {"layers": 2, **keys})
    found = sum(parameter.numel() for parameter in model.parameters())
    assert 0.8 < found / 200_000 < 1.25


def test_complete_keeps_the_inside():
    schedule = build("sqrt")
    time = torch.tensor([[0.0], [0.4], [1.0]]).double()
    levels = Complete(schedule).alpha_bar(time)[:, 0]
    assert levels.tolist() == [1.0, schedule.alpha_bar(time)[1, 0].item(), 0.0]
