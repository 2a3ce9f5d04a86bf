"""Duo as a text model: the operator from Gaussian to uniform noise, its curriculum, and what it shares with plain training."""

import math

import pytest
import torch
from toy_sentences import EXAMPLES, LENGTH, learns, requests, tiny, trained, view

from baselines.networks.token_denoiser import TokenDenoiser
from baselines.parts.conditioning import Canvas
from baselines.parts.estimates import Estimate
from baselines.parts.objectives_discrete import uniform_gap
from baselines.systems import duo
from baselines.systems.duo import Duo, gamma_of, gaussian, kept_by_argmax, time_of
from baselines.systems.udlm import UDLM
from baselines.training import Draws
from harness.construction import construct
from harness.contracts import Sampling, TaskView
from harness.schedules.names import build
from harness.tokenizer import PAD

RELEASED = 30_522  # tokens of the released runs
TOKENS = len(view().tokenizer)


def draws(rows, progress=0.0, part=None, seed=7):
    return Draws(seed=seed, batch=rows, rows=part or slice(rows), device=torch.device("cpu"), progress=progress)


def canvas_of(rows, length=LENGTH, tokens=TOKENS):
    ids = torch.randint(tokens, (rows, length), generator=torch.Generator().manual_seed(3))
    return Canvas(ids=ids, given=torch.zeros_like(ids, dtype=torch.bool))


# --- from Gaussian to uniform noise ----------------------------------------------------------------------------------
def test_of_two_tokens_the_operator_has_a_closed_form():
    """The argmax of two is the sign of one difference: P = Phi(rho / sqrt(2)), and alpha = 2 P - 1 = erf(rho / 2)."""
    gamma = torch.linspace(-6, 6, 25, dtype=torch.float64)
    kept, _ = kept_by_argmax(gamma, 2)
    torch.testing.assert_close(kept, torch.erf(torch.exp(-gamma / 2) / 2), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("tokens", [2, 14, 300, RELEASED])
def test_its_slope_is_the_derivative(tokens):
    gamma = torch.linspace(-5, 3, 9, dtype=torch.float64)
    (before, _), (after, _), (_, slope) = (kept_by_argmax(gamma + shift, tokens) for shift in (-1e-4, 1e-4, 0.0))
    torch.testing.assert_close(slope, (before - after) / 2e-4, rtol=1e-6, atol=1e-9)
    assert (slope > 0).all()


@pytest.mark.parametrize(("kept", "gamma"), [(duo.KEPT[0], -3.5), (duo.KEPT[1], -1.75)])
def test_the_curriculum_has_the_released_ends_for_the_released_vocabulary(kept, gamma):
    assert gamma_of(kept, RELEASED) == pytest.approx(gamma, abs=1e-3)
    assert gamma_of(kept, 50_257) == pytest.approx({-3.5: -3.55, -1.75: -1.85}[gamma], abs=0.02)
    assert gamma_of(kept, 200) > gamma


@pytest.mark.parametrize("gamma", [-3.0, -0.5])
def test_the_argmax_keeps_so_much_and_is_uniform_else(gamma):
    """n = 100,000, 4.5 standard errors for each of 6 tokens: a false alarm in 20,000."""
    n, tokens = 100_000, 6
    noise = torch.randn(n, 1, tokens, generator=torch.Generator().manual_seed(1))
    ids = torch.full((n, 1), 2)
    x_t, soft = gaussian(ids, torch.full((n,), gamma, dtype=torch.float64), noise)
    kept = kept_by_argmax(torch.tensor([gamma]), tokens)[0].item()
    law = torch.full((tokens,), (1 - kept) / tokens)
    law[2] += kept
    shares = torch.bincount(x_t[:, 0], minlength=tokens) / n
    assert ((shares - law).abs() < 4.5 * (law * (1 - law) / n).sqrt()).all()
    torch.testing.assert_close(soft.sum(-1), torch.ones(n, 1))
    assert torch.equal(soft.argmax(-1), x_t)
    assert 0.98 < soft.max(-1).values.mean() < 1


def test_the_latent_has_unit_size(monkeypatch):
    """Squares of amplitude and deviation add up to 1; a temperature of 1 lets both be read off log-odds."""
    monkeypatch.setattr(duo, "TEMPERATURE", 1.0)
    gamma = torch.tensor([-2.0], dtype=torch.float64)
    amplitude, deviation = (math.sqrt(1 / (1 + math.exp(sign * 2.0))) for sign in (-1, 1))
    _, soft = gaussian(torch.tensor([[1]]), gamma, torch.tensor([[[0.0, 0.5, 2.0]]]))
    expected = torch.tensor([0.0, amplitude + 0.5 * deviation, 2 * deviation]).softmax(-1)
    torch.testing.assert_close(soft[0, 0], expected)


@pytest.mark.parametrize("name", ["log-linear(eps=0.001)", "cosine-squared(s=0)"])
def test_the_time_of_a_level_is_found(name):
    schedule, t = build(name), torch.tensor([0.05, 0.4, 0.93], dtype=torch.float64)
    torch.testing.assert_close(time_of(schedule, schedule.alpha_bar(t[:, None])[:, 0]), t, rtol=1e-9, atol=1e-9)
    assert time_of(build("log-linear(eps=0.001)"), torch.tensor([1e-4]).double()).item() == pytest.approx(1.0)


# --- soft tokens -----------------------------------------------------------------------------------------------------
def test_the_network_reads_probabilities_as_mixed_embeddings():
    network = TokenDenoiser(states=5, vocabulary=5, length=4, width=8, layers=1, heads=2)
    ids, time, given = torch.tensor([[0, 3, 4, 1]]), torch.tensor([30.0]), torch.zeros(1, 4, dtype=torch.bool)
    hard = network(ids, time, given, None).x0_hat
    torch.testing.assert_close(network(torch.nn.functional.one_hot(ids, 5).float(), time, given, None).x0_hat, hard)
    heard = []
    network.transformer.blocks[0].norm_attention.register_forward_pre_hook(lambda module, given: heard.append(given[0]))
    network(torch.full((1, 4, 5), 0.2), time, given, None)
    mean = network.embedding.weight.mean(0) + network.places.weight
    torch.testing.assert_close(heard[0][0], mean)


# --- the curriculum --------------------------------------------------------------------------------------------------
def inputs_of(model):
    seen = []
    model.diffusion.denoiser.register_forward_pre_hook(lambda module, given: seen.append((given[0], given[1])))
    return seen


def test_the_first_part_of_training_reads_soft_tokens_and_evaluation_never():
    model = tiny(Duo, curriculum=0.4)
    seen = inputs_of(model)
    trained(model, 10)
    soft = [x_t.is_floating_point() for x_t, _ in seen]
    assert soft[:10] == [True] * 4 + [False] * 6
    assert not any(soft[10:])
    assert len(soft) > 10
    assert all(x_t.shape[-1] == len(model.task.tokenizer) for x_t, _ in seen[:4])
    seen.clear()
    model.likelihood(EXAMPLES[:2])
    model.generate(requests(1), Sampling(steps=2))
    assert not any(x_t.is_floating_point() for x_t, _ in seen)


def test_a_validation_loss_is_the_bound_even_when_training_is_all_curriculum():
    model, canvas = tiny(Duo, curriculum=0.99), canvas_of(6)
    model.eval()
    plain = tiny(UDLM).eval()
    plain.load_state_dict(model.state_dict())
    assert torch.equal(model.diffusion.loss(canvas, draws(6, progress=0.0)), plain.diffusion.loss(canvas, draws(6)))


def test_without_a_curriculum_training_is_that_of_the_bound_alone():
    model, plain = tiny(Duo, curriculum=0.0), tiny(UDLM)
    trained(model, 4)
    trained(plain, 4)
    assert all(torch.equal(one, other) for one, other in zip(model.parameters(), plain.parameters(), strict=True))


class Hard(torch.nn.Module):
    """Reads the most probable tokens; its estimate depends on all of them and on the time."""

    def __init__(self, tokens):
        super().__init__()
        generator = torch.Generator().manual_seed(2)
        self.table = torch.randn(tokens, tokens, generator=generator, dtype=torch.float64)

    def forward(self, x_t, time, given, previous):
        ids = x_t.argmax(-1) if x_t.is_floating_point() else x_t
        logits = self.table[ids] * (1 + time[:, None, None] / 1000) + self.table[ids].roll(1, 1)
        return Estimate(logits.log_softmax(-1), logits)


@pytest.mark.parametrize("schedule", ["log-linear(eps=0.001)", "cosine-squared(s=0)"])
def test_its_mean_is_the_integral_of_the_bound_over_the_levels_of_the_curriculum(schedule):
    """Of a network that reads soft tokens as hard ones. 40,000 rows, 4.5 standard errors on both sides: one in 100,000."""
    model, rows = tiny(Duo, schedule, length=2), 40_000
    diffusion, tokens = model.diffusion, len(model.task.tokenizer)
    diffusion.denoiser = Hard(tokens)
    canvas = canvas_of(rows, 2, tokens)
    with torch.no_grad():
        soft = diffusion.train().soft_loss(canvas, draws(rows))
        high, low = duo.KEPT
        kept = low + (high - low) * torch.rand(rows, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
        noise = diffusion.kernel.noise(draws(rows, seed=8), "again", 2)
        x_t = diffusion.kernel.corrupt(canvas.ids, kept[:, None], noise)
        told = diffusion.time_input(time_of(diffusion.schedule, kept)[:, None])
        gap = uniform_gap(x_t, canvas.ids, diffusion.denoiser(x_t, told, canvas.given, None).x0_hat, kept[:, None])
    plain = (high - low) * gap.mean(-1)
    error = ((soft.var() + plain.var()) / rows).sqrt()
    assert error < 0.03 * plain.mean()
    assert abs(soft.mean() - plain.mean()) < 4.5 * error


def test_its_network_is_told_the_time_of_the_schedule():
    model = tiny(Duo)
    seen = inputs_of(model)
    model.train()
    model.diffusion.loss(canvas_of(64), draws(64))
    low, high = sorted(1000 * (1 - kept) / 0.999 for kept in duo.KEPT)
    assert low - 1e-6 <= seen[0][1].min() < seen[0][1].max() <= high + 1e-6
    assert seen[0][1].min() < low + 30


def test_micro_batches_see_their_rows_of_the_whole():
    model, canvas = tiny(Duo).train(), canvas_of(6)
    whole = model.diffusion.loss(canvas, draws(6))
    part = Canvas(ids=canvas.ids[2:4], given=canvas.given[2:4])
    torch.testing.assert_close(model.diffusion.loss(part, draws(6, part=slice(2, 4))), whole[2:4])


def test_given_positions_are_read_as_they_are_or_left_out_and_cost_nothing():
    task = TaskView(name="toy", family="t2t", tokenizer=view().tokenizer, max_tokens=LENGTH, max_source_tokens=4)
    model = construct(Duo, Duo.design.schedule, task, {"width": 32, "layers": 1, "heads": 2, "condition_dropout": 0.5}).train()
    canvas = canvas_of(40, 8)
    canvas = Canvas(ids=canvas.ids.clamp(min=PAD + 1), given=torch.arange(8).expand(40, 8) < 3)
    seen = inputs_of(model)
    loss = model.diffusion.loss(canvas, draws(40))
    shown = seen[0][0][:, :3]
    assert ((shown == 0) | (shown == 1)).all()
    dropped = (shown.argmax(-1) == PAD).all(-1)
    assert 5 < dropped.sum() < 35
    assert torch.equal(shown.argmax(-1)[~dropped], canvas.ids[:, :3][~dropped])
    (slope,) = torch.autograd.grad(loss.sum(), model.diffusion.denoiser.places.weight)
    assert slope.isfinite().all()
    with torch.no_grad():
        model.diffusion.hide = None
        alone = Canvas(ids=canvas.ids, given=torch.ones_like(canvas.given))
        assert not model.diffusion.loss(alone, draws(40)).any()


# --- as a text model -------------------------------------------------------------------------------------------------
def test_it_trains_samples_scores_and_survives_saving(tmp_path):
    model = tiny(Duo)
    assert trained(model, 6).updates == 6
    found = model.generate(requests(3), Sampling(steps=4))
    assert [answer.network_calls for answer in found] == [5] * 3
    scores = model.likelihood(EXAMPLES[:4])
    assert (scores.kind, scores.estimator) == ("bound", "continuous")
    model.save(tmp_path)
    again = Duo.load(tmp_path, "cpu")
    assert again.generate(requests(3), Sampling(steps=4)) == found
    assert again.likelihood(EXAMPLES[:4]) == scores
    greedy = Duo.load(tmp_path, "cpu", last_step="greedy")
    assert [answer.network_calls for answer in greedy.generate(requests(3), Sampling(steps=4))] == [5] * 3


def test_schedules_with_steps_and_shares_that_are_none_are_refused():
    with pytest.raises(ValueError, match="has 50 steps; duo is trained in continuous time"):
        tiny(Duo, "cosine-plain@50")
    with pytest.raises(ValueError, match="curriculum"):
        tiny(Duo, curriculum=1.0)


@pytest.mark.slow
def test_learning_lowers_the_bound_towards_the_entropy():
    learns(tiny(Duo, width=48), updates=800, steps=100, bound=3.2, known=48)
